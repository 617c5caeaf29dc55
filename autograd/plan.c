/* plan: which operation runs when, what each gradient needs, how long every value lives.
 *
 * The schedule is a list of kernel calls: forward in recorded order, then backward in reverse; before
 * the backward of a recomputed block come the forward calls that it needs once more, and before the
 * first reader of a cheap value the call that makes it again. Lifetimes are
 * read off this list, memory is then shared wherever lifetimes allow. */
#include "autograd/graph.h"

#include <string.h>

/* ---- what is needed --------------------------------------------------------------------------- */

static uint32_t reads_of(const node *n)
{
    uint32_t mask = 0;

    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->v.wanted)
            mask |= op_rows[n->op].reads[i];
    return mask;
}

static void find_backward(tape *t)
{
    for (int i = 0; i < t->n_slots; i++)
        t->slots[i].reached = t->slots[i].seed || &t->slots[i] == t->loss;
    for (int i = t->n_nodes - 1; i >= 0; i--) {
        node *n = &t->nodes[i];
        bool  reached = false, wanted = false;

        for (int k = 0; k < n->n_out; k++)
            reached |= n->out[k]->reached;
        for (int k = 0; k < n->n_in; k++)
            wanted |= n->in[k] && n->in[k]->v.wanted;
        n->backward = reached && wanted && !(op_rows[n->op].flags & FIXED);
        for (int k = 0; n->backward && k < n->n_in; k++)
            if (n->in[k] && n->in[k]->v.wanted)
                n->in[k]->reached = true;
    }
}

static void find_live(tape *t)
{
    bool *needed = arena_take(&t->memory, (size_t)t->n_slots + 1, sizeof *needed);

    CHECK(needed);
    for (int i = 0; i < t->n_slots; i++)
        needed[i] = t->slots[i].kept || &t->slots[i] == t->loss;
    for (int i = t->n_nodes - 1; i >= 0; i--) {
        node *n = &t->nodes[i];

        n->live = n->backward || (op_rows[n->op].flags & 0xFF0000u) != 0; /* IS: a side effect */
        for (int k = 0; k < n->n_out; k++)
            n->live |= needed[n->out[k]->v.id];
        for (int k = 0; n->live && k < n->n_in; k++)
            if (n->in[k])
                needed[n->in[k]->v.id] = true;
    }
}

/* ---- the schedule ------------------------------------------------------------------------------ */

static void add_entry(tape *t, node *n, call_phase p)
{
    t->entries[t->n_entries++] = (entry){.n = n, .phase = p, .aux_store = -1};
}

/* The forward calls of block b that its backward reads from, in order. */
static void add_again(tape *t, int first, int last)
{
    bool *needed = arena_take(&t->memory, (size_t)t->n_slots + 1, sizeof *needed);
    bool *run = arena_take(&t->memory, (size_t)(last - first) + 1, sizeof *run);

    CHECK(needed && run);
    memset(needed, 0, (size_t)t->n_slots + 1);
    for (int i = last; i >= first; i--) {
        const node    *n = &t->nodes[i];
        const uint32_t mask = n->backward ? reads_of(n) : 0;
        bool           again = (mask & AUX) && n->n_aux;

        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && (mask & (IN0 << k)))
                needed[n->in[k]->v.id] = true;
        for (int k = 0; k < n->n_out; k++)
            again |= needed[n->out[k]->v.id] || (mask & (OUT0 << k)) != 0;
        run[i - first] = again;
        for (int k = 0; again && k < n->n_in; k++)
            if (n->in[k])
                needed[n->in[k]->v.id] = true;
    }
    for (int i = first; i <= last; i++)
        if (run[i - first])
            add_entry(t, &t->nodes[i], PHASE_AGAIN);
}

/* A node whose output need not be kept: it computes from weights alone, or it is cheap and its own backward
 * keeps all of its inputs. */
static bool remade_alone(const node *n)
{
    if (!n || n->block >= 0)
        return false;
    if (n->of_weights)
        return true;
    if (!(op_rows[n->op].flags & CHEAP) || !n->backward)
        return false;
    const uint32_t mask = reads_of(n);
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && !n->in[k]->external && !(mask & (IN0 << k)))
            return false;
    return true;
}

/* Schedules the forward of a node again, and before it that of inputs which are not kept either. */
static void add_alone(tape *t, node *n);

/* The same for the producers of those inputs that `mask` names. */
static void add_producers(tape *t, const node *n, uint32_t mask)
{
    for (int k = 0; k < n->n_in; k++) {
        node *from = n->in[k] && n->in[k]->v.producer >= 0 ? &t->nodes[n->in[k]->v.producer] : NULL;
        if ((mask & (IN0 << k)) && remade_alone(from) && !from->again)
            add_alone(t, from);
    }
}

static void add_alone(tape *t, node *n)
{
    n->again = true;
    add_producers(t, n, n->of_weights ? ~0u : reads_of(n));
    add_entry(t, n, PHASE_AGAIN);
}

/* What the backward of n reads and was not kept is made again right before it. */
static void add_cheap(tape *t, node *n)
{
    const uint32_t mask = reads_of(n), own = OUT0 | OUT1 | OUT2 | OUT3 | AUX;

    add_producers(t, n, mask);
    if (n->of_weights && n->block < 0 && (mask & own) && !n->again)
        add_alone(t, n);
}

static void add_block(tape *t, int last)
{
    int first = last;

    while (first > 0 && t->nodes[first - 1].block == t->nodes[last].block)
        first--;
    add_again(t, first, last);
}

static void build_schedule(tape *t, recompute how)
{
    int done = -1; /* block whose forward was scheduled again last */

    t->entries = arena_take(&t->memory, (size_t)t->n_nodes * 3 + 1, sizeof *t->entries);
    CHECK(t->entries);
    t->n_entries = 0;
    for (int i = 0; i < t->n_nodes; i++) {
        if (how == RECOMPUTE_NONE)
            t->nodes[i].block = -1;
        t->nodes[i].again = false;
        if (t->nodes[i].live)
            add_entry(t, &t->nodes[i], PHASE_FORWARD);
    }
    t->n_forward = t->n_entries;
    for (int i = t->n_nodes - 1; i >= 0; i--) {
        node *n = &t->nodes[i];
        if (!n->backward)
            continue;
        if (n->block >= 0 && n->block != done) {
            add_block(t, i);
            done = n->block;
        }
        add_cheap(t, n);
        add_entry(t, n, PHASE_BACKWARD);
    }
}

/* ---- lifetimes --------------------------------------------------------------------------------- */

static size_t real_bytes(const tape *t, int64_t count)
{
    return (size_t)count * (t->real == TYPE_F64 ? 8 : 4);
}

/* Bytes of n values of a slot in the tape's memory. */
static size_t slot_bytes(const tape *t, const slot *s, int64_t n)
{
    return t->far ? (size_t)n * (size_t)dtype_block_bytes(far_type(t, s)) : real_bytes(t, n);
}

static int new_store(tape *t, size_t bytes)
{
    CHECK(t->n_stores < t->stores_max);
    t->stores[t->n_stores] = (store){.bytes = bytes, .birth = -1, .death = -1, .root = t->n_stores};
    return t->n_stores++;
}

static void touch(tape *t, int at, int when)
{
    store *s = &t->stores[at];

    if (s->birth < 0 || when < s->birth)
        s->birth = when;
    if (when > s->death)
        s->death = when;
}

/* Which instance of a value a call sees: the second one once it has been made again. */
static int instance(const tape *t, const slot *s)
{
    return s->v.producer >= 0 && t->nodes[s->v.producer].again;
}

static tensor *value_tensor(const tape *t, slot *s, int which)
{
    if (t->far)
        return &s->there[which && !s->external ? THERE_AGAIN : THERE_VALUE];
    return s->external ? (tensor *)(uintptr_t)s->external : which ? &s->again : &s->v.t;
}

static tensor *use_value(tape *t, slot *s, int when)
{
    const int which = instance(t, s);

    if (!s->external) {
        if (s->store[which] < 0)
            s->store[which] = new_store(t, slot_bytes(t, s, shape_count(s->v.t.s)));
        touch(t, s->store[which], when);
    }
    return value_tensor(t, s, which);
}

static tensor *use_gradient(tape *t, slot *s, int when)
{
    if (s->external_grad)
        return t->far ? &s->there[THERE_GRADIENT] : s->external_grad;
    if (s->grad_store < 0)
        s->grad_store = new_store(t, slot_bytes(t, s, shape_count(s->v.t.s)));
    touch(t, s->grad_store, when);
    return t->far ? &s->there[THERE_GRADIENT] : &s->grad;
}

static tensor *bare_tensor(const tape *t, slot *s)
{
    return t->far ? &s->there[THERE_BARE] : &s->bare;
}

static void use_forward(tape *t, entry *e, int when)
{
    node *n = e->n;

    for (int k = 0; k < n->n_in; k++) {
        e->args.in[k] = n->in[k] ? use_value(t, n->in[k], when) : NULL;
        e->args.wanted[k] = n->backward && n->in[k] && n->in[k]->v.wanted;
    }
    for (int k = 0; k < n->n_out; k++)
        e->args.out[k] = use_value(t, n->out[k], when);
    if (n->n_aux) {
        const int which = e->phase == PHASE_AGAIN;
        n->aux_store[which] = new_store(t, real_bytes(t, n->n_aux));
        touch(t, n->aux_store[which], when);
        e->aux_store = n->aux_store[which];
    }
}

static void use_backward(tape *t, entry *e, int when)
{
    node          *n = e->n;
    const uint32_t mask = reads_of(n);

    for (int k = 0; k < n->n_in; k++) {
        slot *s = n->in[k];
        if (!s)
            continue;
        e->args.in[k] = (mask & (IN0 << k)) ? use_value(t, s, when) : bare_tensor(t, s);
        if (s->v.wanted)
            e->args.gin[k] = use_gradient(t, s, when);
    }
    for (int k = 0; k < n->n_out; k++) {
        slot *s = n->out[k];
        e->args.out[k] = (mask & (OUT0 << k)) ? use_value(t, s, when) : bare_tensor(t, s);
        e->args.gout[k] = s->reached ? use_gradient(t, s, when) : NULL;
    }
    if (n->n_aux && (mask & AUX)) {
        const int which = n->again;
        CHECK(n->aux_store[which] >= 0);
        touch(t, n->aux_store[which], when);
        e->aux_store = n->aux_store[which];
    }
}

static void forget_again(tape *t)
{
    for (int i = 0; i < t->n_nodes; i++)
        t->nodes[i].again = false;
}

static void find_lifetimes(tape *t)
{
    const int end = t->n_entries;

    forget_again(t);
    for (int i = 0; i < t->n_entries; i++) {
        entry *e = &t->entries[i];
        e->args.n_in = e->n->n_in;
        e->args.n_out = e->n->n_out;
        e->args.attr = &e->n->attr;
        e->args.run = &t->run;
        e->args.n_aux = e->n->n_aux;
        e->n->again |= e->phase == PHASE_AGAIN;
        if (e->phase == PHASE_BACKWARD)
            use_backward(t, e, i);
        else
            use_forward(t, e, i);
    }
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        if (s->kept && s->store[0] >= 0)
            touch(t, s->store[0], end);
        if (s->grad_store >= 0 && (s->seed || s == t->loss))
            touch(t, s->grad_store, t->n_forward);
        if (s->grad_store >= 0 && s->grad_out)
            touch(t, s->grad_store, end);
    }
}

/* ---- sharing memory ------------------------------------------------------------------------------ */

static int root_of(const tape *t, int at)
{
    while (t->stores[at].root != at)
        at = t->stores[at].root;
    return at;
}

/* Output 0 over input k: when this call is the last to need the input. */
static void share_forward(tape *t, const entry *e, int when)
{
    const node *n = e->n;
    const int   to = n->out[0]->external ? -1 : n->out[0]->store[instance(t, n->out[0])];

    for (int k = 0; to >= 0 && k < n->n_in; k++) {
        slot *s = n->in[k];
        if (!s || !(op_rows[n->op].flags & (uint32_t)OVER(k)) || s->external)
            continue;
        bool twice = false;
        for (int j = 0; j < n->n_in; j++)
            twice |= j != k && n->in[j] == s;
        const int from = root_of(t, s->store[instance(t, s)]);
        if (twice || t->stores[from].death != when || t->stores[from].bytes != t->stores[to].bytes)
            continue;
        t->stores[to].root = from;
        t->stores[from].death = t->stores[to].death;
        return;
    }
}

/* The gradient of output 0 becomes that of input k, if it is the first to arrive there. */
static bool pass_gradient(tape *t, entry *e, int k, int when)
{
    node *n = e->n;
    slot *from = n->out[0], *to = n->in[k];

    if (!(op_rows[n->op].flags & (uint32_t)PASS(k)) || !from->reached || from->grad_out ||
        to->born || to->external_grad || to->seed || to == t->loss || from->grad_store < 0)
        return false;

    const int root = root_of(t, from->grad_store);
    if (t->stores[root].death != when || t->stores[root].bytes != t->stores[to->grad_store].bytes)
        return false;
    t->stores[to->grad_store].root = root;
    t->stores[root].death = t->stores[to->grad_store].death;
    return true;
}

static void share_backward(tape *t, entry *e, int when)
{
    bool passed = false;

    for (int k = 0; k < e->n->n_in; k++) {
        slot *s = e->n->in[k];
        if (!s || !e->args.gin[k])
            continue;
        bool twice = false;
        for (int j = 0; j < e->n->n_in; j++)
            twice |= j != k && e->n->in[j] == s;
        if (!passed && !twice && pass_gradient(t, e, k, when)) {
            e->args.gin[k] = NULL;
            passed = true;
        } else if (!s->born && !s->external_grad && !s->seed && s != t->loss)
            e->zero[e->n_zero++] = e->args.gin[k];
        s->born = true;
    }
}

static void share(tape *t)
{
    for (int i = 0; i < t->n_slots; i++)
        t->slots[i].born = false;
    forget_again(t);
    for (int i = 0; i < t->n_entries; i++) {
        t->entries[i].n->again |= t->entries[i].phase == PHASE_AGAIN;
        if (t->entries[i].phase == PHASE_BACKWARD)
            share_backward(t, &t->entries[i], i);
        else
            share_forward(t, &t->entries[i], i);
    }
}

status tape_plan(tape *t, var *loss, recompute how)
{
    TRY(tape_status(t));
    CHECK(t->block < 0 && t->n_places == 0 && t->entries == NULL);
    t->loss = (slot *)loss;
    if (loss)
        CHECK(shape_count(loss->t.s) == 1);
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        s->bare = s->v.t;
        s->bare.v = NULL;
        s->again = s->grad = s->bare;
    }
    find_backward(t);
    find_live(t);
    build_schedule(t, how);
    t->stores_max = 3 * t->n_slots + 2 * t->n_nodes + 1;
    t->stores = arena_take(&t->memory, (size_t)t->stores_max, sizeof *t->stores);
    CHECK(t->stores);
    find_lifetimes(t);
    share(t);
    t->kept_bytes = 0;
    for (int i = 0; i < t->n_stores; i++)
        if (t->stores[i].root == i && t->stores[i].birth >= 0 &&
            t->stores[i].birth < t->n_forward && t->stores[i].death >= t->n_forward)
            t->kept_bytes += t->stores[i].bytes;
    t->step_bytes = place_stores(&t->memory, t->stores, t->n_stores);
    return STATUS_OK;
}

size_t tape_step_bytes(const tape *t)
{
    return t->far ? far_host_bytes(t) : t->step_bytes;
}

size_t tape_device_scratch(tape *t)
{
    return t->far ? far_measure(t) : 0;
}

size_t tape_device_bytes(const tape *t)
{
    return t->far ? far_bytes(t) : 0;
}
