/* lottery: sparse fine-tuning as a lottery ticket (Ansell et al. 2022, LT-SFT). First everything that the module may
 * choose from is trained densely (method full on the same sites, and the head); then the k values that moved furthest from
 * the trunk's, over all tensors together, are chosen; then training begins again from the trunk with these alone, with
 * another optimizer, schedule and order of the data, as if the first phase had not been. Its result is only the mask. */
#include "recipes/procedure.h"

#include "core/file.h"
#include "core/log.h"
#include "core/quant.h"
#include "peft/sparse_delta.h"
#include "recipes/session.h"

#include <string.h>

typedef struct lottery_options {
    int64_t     steps, epochs;
    double      lr, l1;
    const char *ties;
    bool        keep;
} lottery_options;

#define AT(member) offsetof(lottery_options, member)
static const key lottery_keys[] = {
    {.name = "full_steps", .kind = KEY_INT, .offset = AT(steps), .preset = "0", .lo = 0, .hi = 1e12, .unit = "steps",
     .help = "Length of the dense phase; 0: as train says."},
    {.name = "full_epochs", .kind = KEY_INT, .offset = AT(epochs), .preset = "0", .lo = 0, .hi = 1e9, .unit = "epochs",
     .help = "The same in epochs; 0: as train says."},
    {.name = "full_lr", .kind = KEY_REAL, .offset = AT(lr), .preset = "0", .lo = 0, .hi = 1e6,
     .help = "Learning rate of the dense phase; 0: optim.lr."},
    {.name = "full_l1", .kind = KEY_REAL, .offset = AT(l1), .preset = "-1", .lo = -1, .hi = 1e9,
     .help = "l1 of the dense phase; -1: the module's."},
    {.name = "ties", .kind = KEY_CHOICE, .offset = AT(ties), .preset = "cap", .choices = "cap|keep",
     .help = "Among values that moved as far as the k-th: those that come first, or all of them."},
    {.name = "keep_full", .kind = KEY_BOOL, .offset = AT(keep), .preset = "no",
     .help = "Keep weights and checkpoints of the dense phase, which are as large as the trunk."},
};

static const char FULL[] = "1-full", SPARSE[] = "2-sparse", MASK[] = "mask.safetensors";

/* ---- phases ------------------------------------------------------------------------------------------- */

static status check(const procedure_run *x)
{
    const recipe *r = x->r;

    if (r->n_modules != 1 || r->modules[0].load || !r->modules[0].method.name ||
        strcmp(r->modules[0].method.name, peft_sparse_delta.name) != 0)
        return fail(STATUS_USAGE, "lottery: needs one module, of method sparse_delta, that begins from the trunk");
    if (((const lottery_options *)x->options)->steps > 0 && ((const lottery_options *)x->options)->epochs > 0)
        return fail(STATUS_USAGE, "lottery: full_steps and full_epochs are both given, must be one of them");
    return sparse_delta_draws(r->modules[0].method.options)
               ? STATUS_OK
               : fail(STATUS_USAGE, "lottery: chooses the values by itself; leave the module's mask and mask_file away");
}

static status say_length(const procedure_run *x, phase *out)
{
    const lottery_options *o = x->options;
    const bool             epochs = x->r->train.epochs > 0;

    if (o->steps > 0) {
        if (epochs)
            TRY(phase_say(x->a, out, "train.epochs="));
        return phase_say(x->a, out, "train.steps=%lld", (long long)o->steps);
    }
    if (o->epochs > 0) {
        if (!epochs)
            TRY(phase_say(x->a, out, "train.steps="));
        return phase_say(x->a, out, "train.epochs=%lld", (long long)o->epochs);
    }
    return STATUS_OK;
}

/* The same sites, but for the head, whole. */
static status full_phase(const procedure_run *x, phase *out)
{
    const lottery_options *o = x->options;
    const char            *name = x->r->modules[0].name;

    out->name = FULL;
    TRY(phase_say(x->a, out, "modules.%s.method=full", name));
    TRY(phase_say(x->a, out, "modules.%s.head=no", name));
    TRY(phase_say(x->a, out, "modules.%s.k=", name));
    TRY(phase_say(x->a, out, "modules.%s.mask=", name));
    if (o->l1 >= 0)
        TRY(phase_say(x->a, out, "modules.%s.l1=%.17g", name, o->l1));
    if (o->lr > 0)
        TRY(phase_say(x->a, out, "optim.lr=%.17g", o->lr));
    return say_length(x, out);
}

static status lottery_phase(const procedure_run *x, int i, phase *out)
{
    const char *name = x->r->modules[0].name, *full = procedure_folder(x, FULL);

    TRY(check(x));
    if (i == 0)
        return full_phase(x, out);
    if (i > 1)
        return STATUS_OK;
    out->name = SPARSE;
    if (!full)
        return STATUS_MEMORY;
    if (x->foretold) /* as many values, wherever they are */
        return STATUS_OK;
    TRY(phase_say(x->a, out, "modules.%s.mask=file", name));
    return phase_say(x->a, out, "modules.%s.mask_file=%s/%s", name, full, MASK);
}

/* ---- choosing ----------------------------------------------------------------------------------------- */

typedef struct chooser {
    session         s;
    lottery_tensor *x; /* [n] */
    tensor         *t; /* their shapes */
    int             n;
    int64_t         values, chosen;
} chooser;

/* It is the weight or bias of one of the module's sites, not a part that is trained whole beside them. */
static bool is_of_site(const module *m, const model_weight *w)
{
    for (int i = 0; i < m->n_sites; i++)
        if (m->at[i]->kind != SITE_HEAD && (m->at[i]->weight == w || m->at[i]->bias == w))
            return true;
    return false;
}

/* Where its values were and are. */
static status add_tensor(chooser *c, const tuned *t)
{
    arena         *a = &c->s.setup;
    const int64_t  n = shape_count(t->value.s);
    lottery_tensor x = {.name = t->place->full, .n = n, .now = t->value.v, .start = t->kept.v};
    float         *start;

    if (t->kept.type != TYPE_F32) {
        TRY_TAKE(start, a, n);
        quant_expand(t->kept.type, t->kept.v, n, start);
        x.start = start;
    }
    TRY_TAKE(x.mask, a, n);
    memset(x.mask, 0, (size_t)n);
    c->t[c->n] = (tensor){.s = t->value.s, .type = TYPE_U8, .v = x.mask};
    c->x[c->n++] = x;
    c->values += n;
    return STATUS_OK;
}

static status list_tensors(chooser *c)
{
    const peft *p = c->s.p;

    TRY_TAKE(c->x, &c->s.setup, p->n_tuned + 1);
    TRY_TAKE(c->t, &c->s.setup, p->n_tuned + 1);
    for (int i = 0; i < p->n_tuned; i++)
        if (p->tensors[i].place && is_of_site(&p->modules[0], p->tensors[i].place))
            TRY(add_tensor(c, &p->tensors[i]));
    return STATUS_OK;
}

static status write_mask(chooser *c, const char *path)
{
    safetensors_item *items;

    TRY_TAKE(items, &c->s.setup, c->n);
    for (int i = 0; i < c->n; i++)
        items[i] = (safetensors_item){.name = c->x[i].name, .t = c->t[i]};
    return safetensors_write(path, items, c->n, NULL, 0);
}

static status choose_in(chooser *c, const procedure_run *x, const char *folder)
{
    const lottery_options *o = x->options;
    const recipe          *r = x->r;
    arena                 *a = &c->s.setup;
    const char            *adapter = path_join(a, folder, "adapter"), *path = path_join(a, folder, MASK);
    head_wish              head;
    int64_t                k;

    if (!adapter || !path)
        return STATUS_MEMORY;
    TRY(adapter_head(a, adapter, &head));
    head.seed = (uint64_t)r->seed;
    TRY(session_base_for(&c->s, r->base, (uint64_t)r->seed, false, &head));
    TRY(session_adapter(&c->s, adapter, false));
    TRY(list_tensors(c));
    TRY(lottery_count(sparse_delta_k(r->modules[0].method.options), c->values, &k));
    TRY(lottery_select_moved(c->x, c->n, k, strcmp(o->ties, "keep") == 0 ? LOTTERY_KEEP : LOTTERY_CAP, &c->chosen));
    log_info("lottery: %lld of %lld values are chosen, in %d tensors", (long long)c->chosen, (long long)c->values, c->n);
    return write_mask(c, path);
}

static status choose(const procedure_run *x, const char *folder)
{
    chooser c = {0};

    TRY(session_open(&c.s));
    const status s = choose_in(&c, x, folder);
    session_close(&c.s);
    return s;
}

static status lottery_after(const procedure_run *x, int i, const char *folder)
{
    const char *checkpoints = path_join(x->a, folder, "checkpoints"), *adapter = path_join(x->a, folder, "adapter");

    if (i > 0)
        return STATUS_OK;
    if (!checkpoints || !adapter)
        return STATUS_MEMORY;
    TRY_IN(choose(x, folder), "choosing the values that are trained");
    if (((const lottery_options *)x->options)->keep)
        return STATUS_OK;
    TRY(folder_remove_tree(checkpoints)); /* a run that is resumed here begins the phase anew */
    return folder_remove_tree(adapter);
}

const procedure procedure_lottery = {
    .name = "lottery",
    .help = "Everything is trained once to find the k values that move furthest, then these alone from the start "
            "(Ansell et al. 2022).",
    .keys = KEY_TABLE("lottery", lottery_keys, lottery_options),
    .phase = lottery_phase,
    .after = lottery_after,
};
