/* experts: see the header */
#include "recipes/experts.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(experts_options, member)
static const key rows[] = {
    {.name = "freeze_epochs", .kind = KEY_INT, .offset = AT(freeze_epochs), .preset = "0", .lo = 0, .hi = 1000000,
     .unit = "epochs", .help = "First epochs in which the head for classes alone is trained."},
    {.name = "slow_copy", .kind = KEY_BOOL, .offset = AT(slow_copy), .preset = "no",
     .help = "Let a slow copy follow the modules; both predict: of each class the larger probability."},
    {.name = "slow_keep", .kind = KEY_REAL, .offset = AT(slow_keep), .preset = "0.9999", .lo = 0, .hi = 1,
     .help = "Share of the slow copy that a step leaves."},
    {.name = "slow_load", .kind = KEY_TEXT, .offset = AT(slow_load),
     .help = "Folder of the adapter that the slow copy begins as; none: as the modules."},
};
#undef AT
const key_table experts_keys = KEY_TABLE("train", rows, experts_options);

bool experts_have(const peft *p, const tuned *x)
{
    return !x->fixed && p->modules[x->module].trains && !(x->place && model_in_head(p->m, x->place));
}

static float *trained(const experts *e, int i)
{
    return e->p->tensors[e->tensor[i]].value.v;
}

static void copy_trained(experts *e)
{
    for (int i = 0; i < e->n; i++)
        memcpy(e->slow[i].v, trained(e, i), (size_t)e->slow[i].n * sizeof(float));
    e->there = true;
}

status experts_begin(experts *e)
{
    TRY(peft_pull(e->p));
    copy_trained(e);
    return STATUS_OK;
}

static status load_modules(peft *p, const char *folder)
{
    char path[PATH_MAX];

    for (int i = 0; i < p->n_modules; i++) {
        const bool alone = p->n_modules == 1;
        if ((size_t)snprintf(path, sizeof path, "%s%s%s", folder, alone ? "" : "/", alone ? "" : p->modules[i].name) >=
            sizeof path)
            return fail(STATUS_IO, "%s: path is too long", folder);
        TRY(adapter_load(p, i, path, NULL));
    }
    return STATUS_OK;
}

status experts_load(experts *e, arena *work, const char *folder)
{
    const size_t bytes = (size_t)e->p->size * sizeof(float), mark = arena_mark(work);

    TRY(peft_pull(e->p));
    float *const was = arena_copy(work, e->p->values, bytes);
    if (!was)
        return STATUS_MEMORY;
    const status done = load_modules(e->p, folder);
    if (done == STATUS_OK)
        copy_trained(e);
    memcpy(e->p->values, was, bytes);
    arena_rewind(work, mark);
    return done;
}

static status follow(trainer *x)
{
    experts *e = x->beside;

    if (!e->there)
        return STATUS_OK;
    TRY(peft_pull(e->p));
    for (int i = 0; i < e->n; i++)
        average_update(&e->slow[i], trained(e, i));
    return STATUS_OK;
}

status experts_swap(experts *e)
{
    TRY(peft_pull(e->p));
    for (int i = 0; i < e->n; i++) {
        float *a = trained(e, i), *b = e->slow[i].v;
        for (int64_t k = 0; k < e->slow[i].n; k++) {
            const float was = a[k];
            a[k] = b[k];
            b[k] = was;
        }
    }
    return peft_push(e->p);
}

/* Logarithms of the probabilities of n classes; -infinity stays. */
static void log_softmax(const float *z, int64_t n, double *out)
{
    const double most = z[goal_largest(z, n)];
    double       sum = 0;

    for (int64_t c = 0; c < n; c++)
        sum += exp((double)z[c] - most);
    for (int64_t c = 0; c < n; c++)
        out[c] = (double)z[c] - most - log(sum);
}

/* scores of a row become those of both, z [n] of the one and of the other, which are replaced; -log of the target's
 * share. work [2n]. */
static double join_row(const float *one, float *other, int64_t n, int32_t target, double *work)
{
    double sum = 0;

    log_softmax(one, n, work);
    log_softmax(other, n, work + n);
    for (int64_t c = 0; c < n; c++) {
        const double both = fmax(work[c], work[n + c]);
        other[c] = (float)both;
        sum += exp(both);
        work[c] = both;
    }
    return log(sum) - work[target];
}

static status predict(trainer *x, double *loss)
{
    experts      *e = x->beside;
    const batch  *b = &x->f.b;
    const tensor *s = &x->out.scores->t;
    const int64_t columns = shape_last(s->s);

    TRY(trainer_forward(x, loss));
    if (!e->there)
        return STATUS_OK;
    memcpy(e->scores, s->v, (size_t)(b->n_targets * columns) * sizeof(float));
    TRY(experts_swap(e));
    const status slow = trainer_forward(x, loss);
    TRY(experts_swap(e));
    TRY(slow);
    *loss = 0;
    for (int32_t i = 0; i < b->n_targets; i++)
        *loss += join_row(e->scores + i * columns, (float *)s->v + i * columns, columns, b->target_ids[i], e->work);
    return STATUS_OK;
}

status experts_open(experts *e, arena *tuned, trainer *x, double keep)
{
    const average_options o = {"ema", keep};
    const shape           scores = x->out.scores->t.s;
    peft                 *p = x->p;

    *e = (experts){.p = p};
    TRY_TAKE(e->tensor, tuned, p->n_tuned);
    TRY_TAKE(e->slow, tuned, p->n_tuned);
    TRY_TAKE(e->scores, tuned, shape_count(scores));
    TRY_TAKE(e->work, tuned, 2 * shape_last(scores));
    for (int i = 0; i < p->n_tuned; i++) {
        const tensor *v = &p->tensors[i].value;
        if (!experts_have(p, &p->tensors[i]))
            continue;
        TRY(average_open(&e->slow[e->n], tuned, &o, v->v, shape_count(v->s)));
        e->tensor[e->n++] = i;
    }
    x->predict = predict;
    x->follow = follow;
    x->beside = e;
    return STATUS_OK;
}

/* "slow.<name of the tensor>" */
static void name_of(const experts *e, int i, char name[600])
{
    snprintf(name, 600, "slow.%s", e->p->tensors[e->tensor[i]].name);
}

status experts_put(const experts *e, h5_file *f)
{
    char name[600];

    TRY(h5_put_int(f, "slow", e->there));
    for (int i = 0; i < e->n && e->there; i++) {
        name_of(e, i, name);
        TRY(h5_put(f, name, TYPE_F32, shape_1(e->slow[i].n), e->slow[i].v));
    }
    return STATUS_OK;
}

status experts_get(experts *e, h5_file *f)
{
    char    name[600];
    int64_t there;

    TRY(h5_get_int(f, "slow", &there));
    e->there = there != 0;
    for (int i = 0; i < e->n && e->there; i++) {
        name_of(e, i, name);
        TRY(h5_get(f, name, TYPE_F32, shape_1(e->slow[i].n), e->slow[i].v));
    }
    return STATUS_OK;
}
