/* on_device: a planned tape on a device.
 *
 * The tape's values lie in one stretch of device memory, at the planner's offsets. Before a run, one copy
 * brings over the image: the run's settings, the numbers of rows in use, every external value that has no
 * twin there (core/device.h). After it the kept values come back into host memory, so that whoever recorded
 * the tape reads them as ever.
 *
 * The calls of a phase are captured as a CUDA graph when the same key (key_of) comes for the second time, and
 * replayed from then on: the same calls with the same arguments, so the same bits. At most GRAPHS are kept a
 * phase, the oldest goes; an observer switches them off.
 *
 * far_...: of a tape on a device; there: an address on it. */
#include "autograd/graph.h"

#include "core/quant.h"

#include <stdlib.h>
#include <string.h>

enum { GRAPHS = 32, COUNTS_MAX = 64 };

/* What stands at the image's beginning. */
typedef struct image_head {
    op_run  run;
    float   one;
    double  wide_one;
    int32_t counts[COUNTS_MAX];
} image_head;

/* Host values and their copy on the device. */
typedef struct copied {
    const tensor *from;
    tensor       *gradient; /* of a parameter without a twin */
    slot         *s;
    void         *host, *there; /* in the image; gradients have no host */
    dtype         as;
    bool          again; /* an earlier one is the same gradient */
} copied;

typedef struct captured {
    uint64_t key;
    void    *graph; /* NULL: seen once */
} captured;

typedef struct on_device {
    device              *d;
    const device_plugin *f;
    const op_kernels    *kernels;
    dtype                narrow; /* type of values that are not wide */
    device_arena         memory;
    image_head          *image;
    image_head          *image_there;
    size_t               image_bytes;
    const int32_t       *counts[COUNTS_MAX];
    int                  n_counts;
    copied              *inputs, *gradients;
    int                  n_inputs, n_gradients;
    captured             graphs[2][GRAPHS];
    int                  n_graphs[2];
    bool                 capture;
    void                *look;
    size_t               look_bytes;
} on_device;

/* ---- opening ---------------------------------------------------------------------------------------- */

status far_open(tape *t, device *d)
{
    const dtype       narrow = t->real == TYPE_F32 ? device_activations(d) : t->real;
    const char *const symbol = narrow == TYPE_F64    ? "cambium_ops_f64"
                               : narrow == TYPE_BF16 ? "cambium_ops_bf16"
                                                     : "cambium_ops_f32";
    const char       *wish = getenv("CAMBIUM_CUDA_GRAPHS");
    on_device        *x = arena_take(&t->memory, 1, sizeof *x);

    CHECK(x != NULL);
    *x = (on_device){.d = d, .f = device_functions(d), .narrow = narrow, .kernels = device_symbol(d, symbol),
                     .capture = !wish || strcmp(wish, "0") != 0};
    t->far = x;
    return STATUS_OK;
}

static void forget_graphs(on_device *x)
{
    for (int p = 0; p < 2; p++) {
        for (int i = 0; i < x->n_graphs[p]; i++)
            x->f->graph_close(x->graphs[p][i].graph);
        x->n_graphs[p] = 0;
    }
}

void far_close(tape *t)
{
    forget_graphs(t->far);
    device_arena_close(&t->far->memory);
    free(t->far->look);
}

dtype far_type(const tape *t, const slot *s)
{
    if (s->v.t.type != t->real)
        return s->v.t.type;
    return s->wide || s->external ? t->real : t->far->narrow;
}

/* ---- sizes ---------------------------------------------------------------------------------------------- */

static bool has_twin(const tape *t, const tensor *x)
{
    dtype type;

    return device_find(t->far->d, x->v, &type) != NULL;
}

static bool is_input(const tape *t, const slot *s)
{
    return s->external && !has_twin(t, s->external);
}

static size_t image_bytes(const tape *t)
{
    size_t bytes = device_arena_room(sizeof(image_head));

    for (int i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        if (is_input(t, s))
            bytes += device_arena_room(tensor_bytes(s->external));
        if (s->seed)
            bytes += device_arena_room(tensor_bytes(s->seed));
    }
    return bytes;
}

/* Gradients that have no twin. */
static size_t gradient_bytes(const tape *t)
{
    size_t bytes = 0;

    for (int i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        if (s->external_grad && !has_twin(t, s->external_grad))
            bytes += device_arena_room(tensor_bytes(s->external_grad));
    }
    return bytes;
}

static bool is_fetched(const slot *s)
{
    return s->kept && !s->external;
}

size_t far_host_bytes(const tape *t)
{
    size_t bytes = image_bytes(t) + device_arena_room(1);

    for (int i = 0; i < t->n_slots; i++) {
        const slot  *s = &t->slots[i];
        const size_t own = device_arena_room(tensor_bytes(&s->v.t));
        bytes += is_fetched(s) ? own : 0;
        bytes += s->grad_out && !s->external_grad ? own : 0;
    }
    return bytes;
}

size_t far_bytes(const tape *t)
{
    return t->step_bytes + image_bytes(t) + gradient_bytes(t) + 4 * device_arena_room(1);
}

/* ---- binding ------------------------------------------------------------------------------------------- */

/* Where the number of rows stands in the image: the same for tensors that share it. */
static const int32_t *count_in_image(on_device *x, const int32_t *rows)
{
    if (!rows)
        return NULL;
    for (int i = 0; i < x->n_counts; i++)
        if (x->counts[i] == rows)
            return &x->image->counts[i];
    CHECK(x->n_counts < COUNTS_MAX);
    x->counts[x->n_counts] = rows;
    return &x->image->counts[x->n_counts++];
}

static uint8_t *take_there(on_device *x, size_t bytes)
{
    uint8_t *p = device_arena_take(&x->memory, bytes);

    CHECK(p != NULL); /* far_bytes counts all of it */
    return p;
}

/* A parameter that was recorded twice has one gradient. */
static const copied *same_gradient(const on_device *x, const tensor *gradient)
{
    for (int i = 0; i < x->n_gradients; i++)
        if (x->gradients[i].gradient->v == gradient->v)
            return &x->gradients[i];
    return NULL;
}

/* What an operation gives that changes an input in place is that input's copy. */
static const copied *changed_in_place(const tape *t, const slot *s)
{
    const node *n = s->v.producer >= 0 ? &t->nodes[s->v.producer] : NULL;

    for (int i = 0; n && i < t->far->n_inputs; i++)
        for (int k = 0; k < n->n_in; k++)
            if ((op_rows[n->op].flags & (uint32_t)IS(k)) && t->far->inputs[i].s == n->in[k])
                return &t->far->inputs[i];
    return NULL;
}

/* Lists what is copied, and gives it places behind the image's head. */
static status bind_copies(tape *t, arena *a)
{
    on_device *x = t->far;
    size_t     at = device_arena_room(sizeof(image_head));

    TRY_TAKE(x->inputs, a, t->n_slots + 1);
    TRY_TAKE(x->gradients, a, t->n_slots + 1);
    x->n_inputs = x->n_gradients = 0;
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        const copied *changed = is_input(t, s) ? changed_in_place(t, s) : NULL;
        if (changed) {
            copied *same = &x->inputs[x->n_inputs++];
            *same = *changed;
            same->s = s;
        } else if (is_input(t, s)) {
            x->inputs[x->n_inputs++] = (copied){.from = s->external, .s = s, .host = (uint8_t *)x->image + at,
                                                .there = (uint8_t *)x->image_there + at, .as = s->v.t.type};
            at += device_arena_room(tensor_bytes(s->external));
        }
        if (s->seed) {
            x->inputs[x->n_inputs++] = (copied){.from = s->seed, .host = (uint8_t *)x->image + at,
                                                .there = (uint8_t *)x->image_there + at, .as = far_type(t, s)};
            at += device_arena_room(tensor_bytes(s->seed));
        }
        if (s->external_grad && !has_twin(t, s->external_grad)) {
            const copied *same = same_gradient(x, s->external_grad);
            x->gradients[x->n_gradients++] = (copied){
                .gradient = s->external_grad, .s = s, .as = t->real, .again = same != NULL,
                .there = same ? same->there : take_there(x, tensor_bytes(s->external_grad))};
        }
    }
    return STATUS_OK;
}

/* Shapes, types and numbers of rows of a slot's tensors there; no addresses. */
static void describe_slot(const tape *t, slot *s)
{
    const tensor as = {.s = s->v.t.s, .type = far_type(t, s), .rows = count_in_image(t->far, s->v.t.rows)};

    for (int i = 0; i < THERE_COUNT; i++)
        s->there[i] = as;
    if (s->external_grad)
        s->there[THERE_GRADIENT].type = t->real;
}

static status bind_slot(tape *t, slot *s, uint8_t *base, arena *a)
{
    describe_slot(t, s);
    s->there[THERE_VALUE].v = s->external ? NULL : store_memory(t, base, s->store[0]);
    s->there[THERE_AGAIN].v = store_memory(t, base, s->store[1]);
    s->there[THERE_GRADIENT].v = store_memory(t, base, s->grad_store);
    if (is_fetched(s)) {
        s->v.t.v = arena_take(a, tensor_bytes(&s->v.t), 1);
        if (!s->v.t.v)
            return STATUS_MEMORY;
    }
    if (s->grad_out && !s->external_grad && s->there[THERE_GRADIENT].v) {
        s->grad.v = arena_take(a, tensor_bytes(&s->v.t), 1);
        if (!s->grad.v)
            return STATUS_MEMORY;
    }
    if (s->grad_out)
        *s->grad_out = s->external_grad ? s->external_grad : s->grad.v ? &s->grad : NULL;
    return STATUS_OK;
}

/* Gradients that the kernel assigns need not be cleared before it. */
static void assign_fresh(const on_device *x, entry *e)
{
    const uint32_t assigns = *x->kernels[e->n->op].assigns;
    int            n = 0;

    for (int i = 0; i < e->n_zero; i++) {
        int k = 0;
        while (e->args.gin[k] != e->zero[i]) /* the first of inputs that are one value */
            k++;
        e->args.fresh[k] = (assigns & (IN0 << k)) != 0;
        if (!e->args.fresh[k])
            e->zero[n++] = e->zero[i];
    }
    e->n_zero = n;
}

status far_bind(tape *t, arena *step)
{
    on_device *x = t->far;

    forget_graphs(x);
    device_arena_close(&x->memory);
    TRY(device_arena_open(x->d, &x->memory, "the step", far_bytes(t)));
    x->image_bytes = image_bytes(t);
    x->image = arena_take(step, x->image_bytes, 1);
    if (!x->image)
        return STATUS_MEMORY;
    memset(x->image, 0, x->image_bytes);
    x->image_there = (image_head *)take_there(x, x->image_bytes);
    x->n_counts = 0;
    uint8_t *base = take_there(x, t->step_bytes);
    TRY(bind_copies(t, &t->memory));
    for (int i = 0; i < t->n_slots; i++)
        TRY(bind_slot(t, &t->slots[i], base, step));
    for (int i = 0; i < x->n_inputs; i++)
        if (x->inputs[i].s)
            x->inputs[i].s->there[THERE_VALUE].v = x->inputs[i].there;
    for (int i = 0; i < x->n_gradients; i++)
        x->gradients[i].s->there[THERE_GRADIENT].v = x->gradients[i].there;
    for (int i = 0; i < t->n_entries; i++) {
        op_args *a = &t->entries[i].args;
        a->aux = store_memory(t, base, t->entries[i].aux_store);
        a->run = &x->image->run;
        a->there = (const char *)x->image_there - (const char *)x->image;
        assign_fresh(x, &t->entries[i]);
    }
    return device_check(x->d);
}

static void run_call(const on_device *x, const entry *e)
{
    for (int i = 0; i < e->n_zero; i++) /* all of it: rows past those in use cost less than to know them */
        x->f->zero(e->zero[i]->v, tensor_bytes(e->zero[i]));
    if (e->phase == PHASE_BACKWARD)
        x->kernels[e->n->op].backward(&e->args);
    else
        x->kernels[e->n->op].forward(&e->args);
}

size_t far_measure(tape *t)
{
    on_device *x = t->far;

    CHECK(!x->image);
    x->image = arena_take(&t->memory, 1, sizeof *x->image);
    CHECK(x->image != NULL);
    memset(x->image, 0, sizeof *x->image);
    x->n_counts = 0;
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        describe_slot(t, s);
        if (s->external && !s->external_grad)
            s->there[THERE_VALUE].type = device_weight_type(x->d, s->external);
    }
    for (int i = 0; i < x->n_counts; i++)
        x->image->counts[i] = INT32_MAX / 2; /* more than any capacity */
    x->image->run.training = true;
    x->f->measure(true);
    for (int i = 0; i < t->n_entries; i++) {
        t->entries[i].args.run = &x->image->run;
        run_call(x, &t->entries[i]);
    }
    x->f->measure(false);
    x->image = NULL;
    return x->f->scratch_bytes();
}

/* ---- before and after a run ------------------------------------------------------------------------------ */

/* Addresses of what has twins: gradients lie elsewhere in every micro-batch. */
static void find_twins(tape *t)
{
    on_device *x = t->far;

    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        dtype type;
        void *there;
        if (s->external && (there = device_find(x->d, s->external->v, &type)) != NULL) {
            s->there[THERE_VALUE].v = there;
            s->there[THERE_VALUE].type = type;
        }
        if (s->external_grad && (there = device_find(x->d, s->external_grad->v, &type)) != NULL)
            s->there[THERE_GRADIENT].v = there;
    }
}

static void fill(const copied *c)
{
    const int64_t n = (int64_t)(bytes_in_use(c->from) / (size_t)dtype_block_bytes(c->from->type));

    if (c->as == c->from->type)
        memcpy(c->host, c->from->v, bytes_in_use(c->from));
    else
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)c->host)[i] = f32_to_bf16(((const float *)c->from->v)[i]);
}

static void upload_image(tape *t)
{
    on_device *x = t->far;

    x->image->run = t->run;
    x->image->one = 1;
    x->image->wide_one = 1;
    for (int i = 0; i < x->n_counts; i++)
        x->image->counts[i] = *x->counts[i];
    for (int i = 0; i < x->n_inputs; i++)
        fill(&x->inputs[i]);
    x->f->upload(x->image_there, x->image, x->image_bytes);
}

/* The rows in use of a value there, into host memory of the tape's type. */
static void fetch(const tape *t, const tensor *there, tensor *here)
{
    const int64_t n = (int64_t)(bytes_in_use(here) / (size_t)dtype_block_bytes(here->type));

    if (n > 0)
        device_download(t->far->d, here->v, here->type, there->v, there->type, n);
}

static void fetch_kept(tape *t, bool gradients)
{
    for (int i = 0; i < t->n_slots; i++) {
        slot *s = &t->slots[i];
        if (is_fetched(s) && s->there[THERE_VALUE].v)
            fetch(t, &s->there[THERE_VALUE], &s->v.t);
        if (gradients && s->grad_out && !s->external_grad && s->grad.v)
            fetch(t, &s->there[THERE_GRADIENT], &s->grad);
    }
}

/* ---- runs ---------------------------------------------------------------------------------------------- */

static void start_gradients(const tape *t)
{
    const on_device *x = t->far;

    for (int i = 0; i < t->n_slots; i++) {
        const slot *s = &t->slots[i];
        if (s->grad_store < 0)
            continue;
        const tensor *g = &s->there[THERE_GRADIENT];
        if (s == t->loss)
            x->f->copy(g->v, g->type == TYPE_F64 ? (void *)&x->image_there->wide_one : &x->image_there->one,
                       (size_t)dtype_block_bytes(g->type));
        for (int k = 0; s != t->loss && s->seed && k < x->n_inputs; k++)
            if (x->inputs[k].from == s->seed && !x->inputs[k].s)
                x->f->copy(g->v, x->inputs[k].there, tensor_bytes(g));
    }
}

static void run_calls(tape *t, bool backward)
{
    if (backward)
        start_gradients(t);
    for (int i = backward ? t->n_forward : 0; i < (backward ? t->n_entries : t->n_forward); i++)
        run_call(t->far, &t->entries[i]);
}

/* Names what a captured graph has in it: addresses of external values, bounds of rows, where scratch lies, and the
 * settings that launchers read on the host (seed, training, decoding). The step is read on the device. */
static uint64_t key_of(const tape *t, bool backward)
{
    const on_device *x = t->far;
    uint64_t         h = 0xcbf29ce484222325u;

#define MIX(value) (h = (h ^ (uint64_t)(value)) * 0x100000001b3u, h ^= h >> 31)
    for (int i = 0; i < t->n_slots; i++)
        if (t->slots[i].external) {
            MIX((uintptr_t)t->slots[i].there[THERE_VALUE].v);
            if (backward)
                MIX((uintptr_t)t->slots[i].there[THERE_GRADIENT].v);
        }
    for (int i = 0; i < x->n_counts; i++)
        MIX((x->image->counts[i] + DEVICE_ROWS_STEP - 1) / DEVICE_ROWS_STEP);
    MIX(t->run.seed), MIX(t->run.training), MIX(t->run.decoding);
    MIX(x->f->scratch_generation());
#undef MIX
    return h;
}

static captured *find_graph(on_device *x, int phase, uint64_t key)
{
    for (int i = 0; i < x->n_graphs[phase]; i++)
        if (x->graphs[phase][i].key == key)
            return &x->graphs[phase][i];
    if (x->n_graphs[phase] == GRAPHS) { /* the oldest goes */
        x->f->graph_close(x->graphs[phase][0].graph);
        memmove(x->graphs[phase], x->graphs[phase] + 1, (GRAPHS - 1) * sizeof *x->graphs[phase]);
        x->n_graphs[phase]--;
    }
    x->graphs[phase][x->n_graphs[phase]++] = (captured){.key = key};
    return NULL;
}

static void run_phase(tape *t, bool backward)
{
    on_device *x = t->far;
    captured  *c = x->capture ? find_graph(x, backward, key_of(t, backward)) : NULL;

    if (!c) {
        run_calls(t, backward);
        return;
    }
    if (!c->graph) {
        x->f->graph_begin();
        run_calls(t, backward);
        c->graph = x->f->graph_end();
    }
    if (c->graph)
        x->f->graph_run(c->graph);
}

void far_forward(tape *t)
{
    find_twins(t);
    upload_image(t);
    if (t->observer)
        for (int i = 0; i < t->n_forward; i++)
            run_entry(t, &t->entries[i]);
    else
        run_phase(t, false);
    fetch_kept(t, false);
}

void far_backward(tape *t)
{
    on_device *x = t->far;

    find_twins(t);
    for (int i = 0; i < x->n_gradients; i++)
        if (!x->gradients[i].again)
            x->f->upload(x->gradients[i].there, x->gradients[i].gradient->v, tensor_bytes(x->gradients[i].gradient));
    if (t->observer) {
        start_gradients(t);
        for (int i = t->n_forward; i < t->n_entries; i++)
            run_entry(t, &t->entries[i]);
    } else
        run_phase(t, true);
    for (int i = 0; i < x->n_gradients; i++)
        if (!x->gradients[i].again)
            x->f->download(x->gradients[i].gradient->v, x->gradients[i].there, tensor_bytes(x->gradients[i].gradient));
    fetch_kept(t, true);
}

void far_run(tape *t, const entry *e)
{
    run_call(t->far, e);
    t->far->f->wait();
}

const void *far_look(tape *t, const tensor *x)
{
    on_device    *o = t->far;
    const bool    whole = x->type == TYPE_F64 || x->type == TYPE_F32;
    tensor        here = {.s = x->s, .type = whole ? x->type : TYPE_F32, .rows = x->rows};
    const size_t  bytes = tensor_bytes(&here);

    if (bytes > o->look_bytes) {
        free(o->look);
        o->look = malloc(bytes);
        CHECK(o->look != NULL);
        o->look_bytes = bytes;
    }
    here.v = o->look;
    fetch(t, x, &here);
    return o->look;
}
