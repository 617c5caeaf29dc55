/* adalora: the choice of ranks beside a plain one, step by step */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/rng.h"

#include <math.h>

enum { STEPS = 20, WARMUP = 4, FINAL = 5, INTERVAL = 3, RANK = 6, TARGET = 2, SITES = 3, ALL = SITES * RANK };

static const char  *names[] = {"rank", "target_rank", "warmup", "final", "interval", NULL};
static const double values[] = {RANK, TARGET, WARMUP, FINAL, INTERVAL};

/* Smoothed importance and its uncertainty of each value, kept by this test. */
typedef struct memory {
    double *s, *u;
} memory;

static void remember(memory *m, const peft *p, const float *g, double factor)
{
    for (int i = 0; i < p->n_tuned; i++)
        for (int64_t k = p->tensors[i].first;
             !p->tensors[i].fixed && k < p->tensors[i].first + shape_count(p->tensors[i].value.s); k++) {
            const double now = fabs((double)p->values[k] * (double)g[k] * factor);
            m->s[k] = 0.85 * m->s[k] + 0.15 * now;
            m->u[k] = 0.85 * m->u[k] + 0.15 * fabs(now - m->s[k]);
        }
}

static const tuned *tensor_of(const peft *p, int site, const char *name)
{
    char text[200];

    snprintf(text, sizeof text, "base_model.model.model.layers.%d.self_attn.v_proj.%s", site, name);
    for (int i = 0; i < p->n_tuned; i++)
        if (strcmp(p->tensors[i].name, text) == 0)
            return &p->tensors[i];
    ck_abort_msg("%s is not there", text);
}

static double score(const memory *m, const peft *p, int site, int r)
{
    const tuned *A = tensor_of(p, site, "lora_A"), *B = tensor_of(p, site, "lora_B"),
                *E = tensor_of(p, site, "lora_E");
    const int64_t in = A->value.s.d[1], out = B->value.s.d[0];
    double        a = 0, b = 0;

    for (int64_t i = 0; i < in; i++)
        a += m->s[A->first + r * in + i] * m->u[A->first + r * in + i];
    for (int64_t o = 0; o < out; o++)
        b += m->s[B->first + o * RANK + r] * m->u[B->first + o * RANK + r];
    return m->s[E->first + r] * m->u[E->first + r] + a / (double)in + b / (double)out;
}

/* How many singular values of more importance there are than this one. */
static int before(const memory *m, const peft *p, int site, int r)
{
    const double own = score(m, p, site, r);
    int          n = 0;

    for (int k = 0; k < SITES; k++)
        for (int j = 0; j < RANK; j++)
            n += score(m, p, k, j) > own;
    return n;
}

/* -1: nothing is taken away at this step. */
static int budget(int step)
{
    const int last = STEPS - FINAL;

    if (step <= WARMUP || step > last || (step < last && step % INTERVAL != 0))
        return -1;
    const double left = 1 - (double)(step - WARMUP) / (last - WARMUP);
    return (int)((ALL - TARGET * SITES) * left * left * left) + TARGET * SITES;
}

static void new_values(peft *p, float *g, int step)
{
    rng_fill_normal(rng_key_for(3, "gradients"), (uint32_t)step, 0.1f, g, p->size);
    rng_fill_normal(rng_key_for(4, "values"), (uint32_t)step, 0.3f, p->values, p->size);
}

START_TEST(ranks_are_chosen_as_the_schedule_says)
{
    small  s;
    memory m;
    bool   kept[SITES][RANK] = {{false}};
    int    chosen = 0;

    small_open(&s, 7);
    small_add(&s, "adalora", "v_proj", names, values);
    peft  *p = s.p;
    float *g = arena_take(&s.memory, (size_t)p->size, sizeof *g);
    m.s = arena_take(&s.memory, (size_t)p->size, sizeof *m.s);
    m.u = arena_take(&s.memory, (size_t)p->size, sizeof *m.u);
    memset(m.s, 0, (size_t)p->size * sizeof *m.s);
    memset(m.u, 0, (size_t)p->size * sizeof *m.u);
    ck_assert(peft_steps(p));
    for (int step = 0; step < STEPS; step++) {
        const peft_step now = {.step = step, .steps = STEPS, .gradients = g, .factor = 0.5};
        const int       most = budget(step);
        new_values(p, g, step);
        if (step < STEPS - FINAL)
            remember(&m, p, g, now.factor);
        MUST(peft_after_step(p, &now));
        int left = 0;
        for (int k = 0; k < SITES; k++)
            for (int r = 0; r < RANK; r++) {
                const bool is = ((const float *)tensor_of(p, k, "lora_E")->value.v)[r] != 0;
                if (most >= 0)
                    kept[k][r] = before(&m, p, k, r) < most;
                const bool must = most >= 0 || step > STEPS - FINAL ? kept[k][r] : true;
                ck_assert_msg(is == must, "step %d: value %d of site %d %s", step, r, k,
                              is ? "stays" : "goes");
                left += is;
            }
        chosen += most >= 0;
        ck_assert_int_eq(left, most >= 0 ? most : step > STEPS - FINAL ? TARGET * SITES : ALL);
    }
    ck_assert_int_eq(chosen, 4); /* 6, 9, 12, 15 */
    small_close(&s);
}
END_TEST

/* The weights of the factors' distances add up to the option. */
START_TEST(factors_are_kept_orthogonal)
{
    small       s;
    tape       *t;
    peft_losses l;
    double      sum = 0;

    small_open(&s, 7);
    small_add(&s, "adalora", "v_proj", names, values);
    MUST(tape_open(&t, TYPE_F32));
    MUST(peft_extra_loss(t, s.p, &s.memory, &l));
    ck_assert_int_eq(l.n, 2 * SITES);
    for (int i = 0; i < l.n; i++)
        sum += l.v[i].weight;
    ck_assert(fabs(sum - 0.5) < 1e-12);
    MUST(tape_status(t));
    tape_close(t);
    small_close(&s);
}
END_TEST

TESTS(adalora, ranks_are_chosen_as_the_schedule_says, factors_are_kept_orthogonal)
