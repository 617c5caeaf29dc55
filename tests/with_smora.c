/* with_smora: see the header */
#include "tests/with_smora.h"

#include "core/rng.h"

#include <string.h>

/* Zeros, or noise of this size where `what` names it. */
static status take(arena *a, int64_t n, double size, uint64_t seed, const char *what, double **out)
{
    double *v;

    TRY_TAKE(v, a, n);
    for (int64_t i = 0; i < n; i++) {
        const rng_block b = rng_philox(rng_key_for(seed, what ? what : ""), (uint32_t)i, 0, 0, 0);
        v[i] = (double)(float)(size * (2 * (double)rng_unit(b.r[0]) - 1));
    }
    *out = v;
    return STATUS_OK;
}

status smora_site_open(arena *a, smora_site *s, uint64_t seed)
{
    TRY(take(a, s->N * s->K, 1.5, seed, "x", &s->x));
    TRY(take(a, s->N * s->M, 1.5, seed, "base", &s->base));
    TRY(take(a, s->r * s->K, 0.7, seed, "a", &s->a));
    TRY(take(a, s->M * s->r, 0.7, seed, "b", &s->b));
    TRY(take(a, s->r / s->p * s->K, 0.7, seed, "router", &s->router));
    TRY(take(a, s->r, 0.1, seed, "bias", &s->bias));
    TRY(take(a, s->N * s->M, 1, seed, "dy", &s->dy));
    TRY(take(a, s->N * s->M, 0, seed, NULL, &s->y));
    TRY(take(a, s->N * s->k, 0, seed, NULL, &s->gates));
    TRY(take(a, s->N * s->k, 0, seed, NULL, &s->chosen));
    TRY(take(a, s->N * s->K, 0, seed, NULL, &s->dx));
    TRY(take(a, s->r * s->K, 0, seed, NULL, &s->da));
    TRY(take(a, s->M * s->r, 0, seed, NULL, &s->db));
    return take(a, s->r / s->p * s->K, 0, seed, NULL, &s->drouter);
}

/* ---- one run ------------------------------------------------------------------------------------------- */

enum { X, BASE, A, B, ROUTER, BIAS, DY, INPUTS };

typedef struct made {
    arena  memory;
    tape  *t;
    tensor in[INPUTS], gradient[INPUTS];
} made;

static status make(made *m, dtype type, shape s, const double *v, tensor *out)
{
    const int64_t n = shape_count(s);
    tensor        t = {.s = s, .type = type};

    t.v = arena_take(&m->memory, tensor_bytes(&t), 1);
    if (!t.v)
        return STATUS_MEMORY;
    for (int64_t i = 0; i < n; i++)
        if (type == TYPE_F64)
            ((double *)t.v)[i] = v ? v[i] : 0;
        else
            ((float *)t.v)[i] = v ? (float)v[i] : 0;
    *out = t;
    return STATUS_OK;
}

static void read_back(const tensor *t, double *v)
{
    for (int64_t i = 0; i < shape_count(t->s); i++)
        v[i] = t->type == TYPE_F64 ? ((const double *)t->v)[i] : (double)((const float *)t->v)[i];
}

static status make_inputs(made *m, const smora_site *s, dtype type)
{
    const shape sizes[] = {shape_2(s->N, s->K), shape_2(s->N, s->M),        shape_2(s->r, s->K), shape_2(s->M, s->r),
                           shape_2(s->r / s->p, s->K), shape_1(s->r), shape_2(s->N, s->M)};
    const double *values[] = {s->x, s->base, s->a, s->b, s->router, s->bias, s->dy};

    for (int i = 0; i < INPUTS; i++) {
        TRY(make(m, type, sizes[i], values[i], &m->in[i]));
        TRY(make(m, type, sizes[i], NULL, &m->gradient[i]));
    }
    return STATUS_OK;
}

static var *param(made *m, int i)
{
    return tape_param(m->t, &m->in[i], &m->gradient[i]);
}

static status run(made *m, smora_site *s, dtype type)
{
    var *chosen;

    TRY(make_inputs(m, s, type));
    TRY(tape_open(&m->t, type));
    var *x = param(m, X), *z = ag_scores(m->t, x, param(m, ROUTER));
    var *gates = ag_route(m->t, z, tape_tensor(m->t, &m->in[BIAS]), s->k, s->in_weight, &chosen);
    var *y = ag_lora_routed(m->t, tape_input(m->t, &m->in[BASE]), x, param(m, A), param(m, B), gates, chosen,
                            s->factor, s->form);
    tape_keep(m->t, y);
    tape_keep(m->t, gates);
    tape_keep(m->t, chosen);
    tape_seed(m->t, y, &m->in[DY]);
    TRY(tape_plan(m->t, NULL, RECOMPUTE_NONE));
    TRY(tape_bind(m->t, &m->memory));
    tape_set_run(m->t, &(op_run){.training = !s->decodes, .decoding = s->decodes});
    tape_forward(m->t);
    tape_backward(m->t);
    TRY(tape_check(m->t));
    read_back(&y->t, s->y);
    read_back(&gates->t, s->gates);
    read_back(&chosen->t, s->chosen);
    read_back(&m->gradient[X], s->dx);
    read_back(&m->gradient[A], s->da);
    read_back(&m->gradient[B], s->db);
    read_back(&m->gradient[ROUTER], s->drouter);
    return STATUS_OK;
}

status smora_site_run(smora_site *s, dtype type)
{
    made m = {.t = NULL};

    TRY(arena_open(&m.memory, "smora site", (size_t)1 << 32));
    const status done = run(&m, s, type);
    tape_close(m.t);
    arena_close(&m.memory);
    return done;
}

void smora_site_counts(const smora_site *s, double *counts)
{
    memset(counts, 0, (size_t)s->r * sizeof *counts);
    for (int64_t i = 0; i < s->N * s->k; i++)
        counts[(int64_t)s->chosen[i]]++;
}
