/* dropout: what lora's dropout does to a training step, and that its gradients are those of what it did
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_training.h"

#include "core/rng.h"

#include <math.h>

enum { TOKENS = 11 };

/* One micro-batch of one sample, in the middle of a training; *gradients: of all tuned values. */
static void open_training(training *g, double dropout, float **gradients)
{
    memset(g, 0, sizeof *g);
    small_open(&g->s, 5);
    small_add(&g->s, "lora", "all-linear", (const char *const[]){"rank", "dropout", NULL},
              (const double[]){3, dropout});
    small_stir(&g->s, 6);
    for (int64_t i = 0; i < g->s.p->size; i++)
        g->s.p->values[i] *= 0.25f; /* small enough for differences: attention bends much */
    training_open(g, 1, TOKENS, 1, 1);
    packer_fill(&g->data, &g->plan, 0, &g->t.f.b);
    *gradients = arena_take(&g->s.memory, (size_t)g->s.p->size, sizeof **gradients);
    peft_use_gradients(g->s.p, *gradients);
}

/* Mean loss, summed in double. */
static double loss(training *g)
{
    double sum = 0;

    tape_set_run(g->t.t, &g->t.run);
    feed_load(&g->t.f);
    tape_forward(g->t.t);
    for (int i = 0; i < g->t.f.b.n_targets; i++)
        sum += (double)((const float *)g->t.out.each->t.v)[i];
    return sum / g->t.f.b.n_targets;
}

START_TEST(a_step_is_a_function_of_seed_and_number)
{
    training g;
    float   *gradients;

    open_training(&g, 0.4, &gradients);
    const double first = loss(&g);
    ck_assert(first == loss(&g));
    g.t.run.step = 5;
    ck_assert_msg(fabs(loss(&g) - first) > 1e-3, "another step drops the same inputs");
    g.t.run.step = 4;
    g.t.run.seed = 10;
    ck_assert_msg(fabs(loss(&g) - first) > 1e-3, "another seed drops the same inputs");
    g.t.run.training = false;
    const double whole = loss(&g);
    ck_assert_msg(fabs(whole - first) > 1e-3, "training drops nothing");
    training_close(&g);
    open_training(&g, 0, &gradients);
    ck_assert(loss(&g) == whole); /* evaluation is as if there were no dropout */
    training_close(&g);
}
END_TEST

/* d loss / d *v from four values of the loss, good to the fifth derivative's share (h^4). The losses are good
 * to 1e-6, so the quotient is good to 1.5e-6 / h = 3e-4 with h = 5e-3. */
static double difference(training *g, float *v)
{
    const float h = 5e-3f, was = *v;
    double      f[4];

    for (int i = 0; i < 4; i++) {
        *v = was + h * (float)(i < 2 ? i - 2 : i - 1);
        f[i] = loss(g);
    }
    *v = was;
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * (double)h);
}

START_TEST(gradients_agree_with_differences)
{
    training g;
    float   *gradients;
    int      zero = 0;

    open_training(&g, 0.4, &gradients);
    loss(&g);
    memset(gradients, 0, (size_t)g.s.p->size * sizeof *gradients);
    tape_backward(g.t.t);
    for (int k = 0; k < g.s.p->n_tuned; k++) {
        const tuned  *x = &g.s.p->tensors[k];
        const int64_t n = shape_count(x->value.s);
        for (int i = 0; i < 3; i++) {
            const int64_t at = (int64_t)(rng_philox(rng_key_for(2, "at"), (uint32_t)k, (uint32_t)i, 0, 0).r[0] %
                                         (uint64_t)n);
            const double  is = (double)gradients[x->first + at] / g.t.f.b.n_targets;
            const double  want = difference(&g, (float *)x->value.v + at);
            ck_assert_msg(fabs(is - want) < 5e-4 + 1e-2 * fabs(want), "%s[%lld]: %g, must be %g", x->name,
                          (long long)at, is, want);
            zero += want == 0;
        }
    }
    ck_assert_int_lt(zero, g.s.p->n_tuned);
    training_close(&g);
}
END_TEST

TESTS(dropout, a_step_is_a_function_of_seed_and_number, gradients_agree_with_differences)
