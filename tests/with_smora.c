/* with_smora: see the header */
#include "tests/with_smora.h"

#include "core/rng.h"
#include "tests/check.h"

static double *take(arena *a, int64_t n)
{
    double *v = arena_take(a, (size_t)n, sizeof *v);

    ck_assert(v != NULL);
    memset(v, 0, (size_t)n * sizeof *v);
    return v;
}

static double *noise(arena *a, int64_t n, double size, uint64_t seed, const char *what)
{
    double        *v = take(a, n);
    const rng_key  key = rng_key_for(seed, what);

    for (int64_t i = 0; i < n; i++)
        v[i] = (double)(float)(size * (2 * (double)rng_unit(rng_philox(key, (uint32_t)i, 0, 0, 0).r[0]) - 1));
    return v;
}

void smora_site_open(arena *a, smora_site *s, uint64_t seed)
{
    s->x = noise(a, s->N * s->K, 1.5, seed, "x");
    s->base = noise(a, s->N * s->M, 1.5, seed, "base");
    s->a = noise(a, s->r * s->K, 0.7, seed, "a");
    s->b = noise(a, s->M * s->r, 0.7, seed, "b");
    s->router = noise(a, s->r / s->p * s->K, 0.7, seed, "router");
    s->bias = noise(a, s->r, 0.1, seed, "bias");
    s->dy = noise(a, s->N * s->M, 1, seed, "dy");
    s->y = take(a, s->N * s->M);
    s->gates = take(a, s->N * s->k);
    s->chosen = take(a, s->N * s->k);
    s->dx = take(a, s->N * s->K);
    s->da = take(a, s->r * s->K);
    s->db = take(a, s->M * s->r);
    s->drouter = take(a, s->r / s->p * s->K);
}

/* ---- one run ------------------------------------------------------------------------------------------- */

typedef struct made {
    arena memory;
    dtype type;
} made;

static tensor *tensor_of(made *m, shape s, const double *v)
{
    tensor       *t = arena_take(&m->memory, 1, sizeof *t);
    const int64_t n = shape_count(s);

    *t = (tensor){.s = s, .type = m->type};
    t->v = arena_take(&m->memory, tensor_bytes(t), 1);
    ck_assert(t->v != NULL);
    for (int64_t i = 0; i < n; i++)
        if (m->type == TYPE_F64)
            ((double *)t->v)[i] = v ? v[i] : 0;
        else
            ((float *)t->v)[i] = v ? (float)v[i] : 0;
    return t;
}

static void read_back(const tensor *t, double *v)
{
    for (int64_t i = 0; i < shape_count(t->s); i++)
        v[i] = t->type == TYPE_F64 ? ((const double *)t->v)[i] : (double)((const float *)t->v)[i];
}

void smora_site_run(smora_site *s, dtype type)
{
    const shape sx = shape_2(s->N, s->K), sa = shape_2(s->r, s->K), sb = shape_2(s->M, s->r),
                sr = shape_2(s->r / s->p, s->K), sy = shape_2(s->N, s->M);
    made        m = {.type = type};
    tape       *t;
    var        *chosen;

    MUST(arena_open(&m.memory, "smora site", (size_t)1 << 32));
    MUST(tape_open(&t, type));
    tensor *dx = tensor_of(&m, sx, NULL), *da = tensor_of(&m, sa, NULL), *db = tensor_of(&m, sb, NULL),
           *drouter = tensor_of(&m, sr, NULL);
    var *x = tape_param(t, tensor_of(&m, sx, s->x), dx), *a = tape_param(t, tensor_of(&m, sa, s->a), da);
    var *b = tape_param(t, tensor_of(&m, sb, s->b), db), *r = tape_param(t, tensor_of(&m, sr, s->router), drouter);
    var *z = ag_scores(t, x, r);
    var *gates = ag_route(t, z, tape_tensor(t, tensor_of(&m, shape_1(s->r), s->bias)), s->k, s->in_weight, &chosen);
    var *y = ag_lora_routed(t, tape_input(t, tensor_of(&m, sy, s->base)), x, a, b, gates, chosen, s->factor, s->form);
    tape_keep(t, y);
    tape_keep(t, gates);
    tape_keep(t, chosen);
    tape_seed(t, y, tensor_of(&m, sy, s->dy));
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &m.memory));
    tape_set_run(t, &(op_run){.training = !s->decodes, .decoding = s->decodes});
    tape_forward(t);
    tape_backward(t);
    MUST(tape_check(t));
    read_back(&y->t, s->y);
    read_back(&gates->t, s->gates);
    read_back(&chosen->t, s->chosen);
    read_back(dx, s->dx);
    read_back(da, s->da);
    read_back(db, s->db);
    read_back(drouter, s->drouter);
    tape_close(t);
    arena_close(&m.memory);
}

void smora_site_counts(const smora_site *s, double *counts)
{
    memset(counts, 0, (size_t)s->r * sizeof *counts);
    for (int64_t i = 0; i < s->N * s->k; i++)
        counts[(int64_t)s->chosen[i]]++;
}
