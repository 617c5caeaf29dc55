/* losses: means of rows, and losses of several texts, against the numbers of PyTorch
 * tests/run: no device */
#include "autograd/ops.h"

#include "tests/helpers.h"

#include <math.h>

/* A recorded loss of inputs, and what came out. */
typedef struct run {
    arena         memory, step;
    tape         *t;
    dtype         real;
    tensor        in[2], grad[2];
    var          *x[2], *loss, *out;
} run;

static void open_run(run *r, dtype real)
{
    *r = (run){.real = real};
    MUST(arena_open(&r->memory, "test", (size_t)1 << 24));
    MUST(tape_open(&r->t, real));
}

/* Input i: sin(step), sin(2 step), .. + more */
static void wave(run *r, int i, shape s, double step, double more)
{
    const int64_t n = shape_count(s);
    tensor       *t[] = {&r->in[i], &r->grad[i]};

    for (int k = 0; k < 2; k++) {
        *t[k] = (tensor){.s = s, .type = r->real, .v = arena_take(&r->memory, (size_t)n, 8)};
        memset(t[k]->v, 0, (size_t)n * 8);
    }
    for (int64_t k = 0; k < n; k++) {
        const double v = sin((double)(k + 1) * step) + more;
        if (r->real == TYPE_F64)
            ((double *)r->in[i].v)[k] = v;
        else
            ((float *)r->in[i].v)[k] = (float)v;
    }
    r->x[i] = tape_param(r->t, &r->in[i], &r->grad[i]);
}

static void compute(run *r)
{
    tape_keep(r->t, r->loss);
    if (r->out)
        tape_keep(r->t, r->out);
    MUST(tape_plan(r->t, r->loss, RECOMPUTE_NONE));
    MUST(arena_open(&r->step, "step", tape_step_bytes(r->t) + 4096));
    MUST(tape_bind(r->t, &r->step));
    tape_forward(r->t);
    tape_backward(r->t);
}

static void close_run(run *r)
{
    tape_close(r->t);
    arena_close(&r->step);
    arena_close(&r->memory);
}

static double at(const tensor *t, int64_t i)
{
    return t->type == TYPE_F64 ? ((const double *)t->v)[i] : (double)((const float *)t->v)[i];
}

/* The numbers have 12 digits; in f32 sums of some ten values below 10, each rounded. */
static void same(const char *what, const tensor *t, const double *must, int64_t n)
{
    const double may = t->type == TYPE_F64 ? 1e-10 : 100 * 0x1p-23;

    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(fabs(at(t, i) - must[i]) <= may, "%s[%d] is %.12g, must be %.12g", what, (int)i, at(t, i),
                      must[i]);
}

static tensor ints(int32_t *v, int64_t n)
{
    return (tensor){.s = shape_1(n), .type = TYPE_I32, .v = v};
}

static const dtype reals[] = {TYPE_F64, TYPE_F32};

/* cross_entropy of 2 a b^T with the targets 0 1 2, reduction sum; both: the mean of it and that of the first three
 * columns turned (sentence-transformers' MultipleNegativesSymmetricRankingLoss) */
START_TEST(contrast_is_cross_entropy)
{
    static const struct numbers {
        double loss, da[12], db[16];
    } must[2] = {
        {12.0260048761,
         {-0.218252711707, -0.541010728543, -0.60932294622, -0.391061061355, 0.810544306757, 3.04573021413,
          3.84846161095, 2.84120137827, -0.00682929015275, -2.50408296602, -3.82362729559, -3.34485996222},
         {-0.547203480662, -0.489076829135, 0.0187048036052, 0.509289326172, 2.28210522521, 0.0747454604309,
          -2.20133493596, -2.45351814421, -2.45771246764, 0.701792790556, 3.2160729936, 2.77351051801,
          0.722810723093, -0.287461421852, -1.03344286124, -0.829281699973}},
        {11.5381011377,
         {-0.157948337938, -0.294603440659, -0.292701941931, -0.15313814632, 0.812462040308, 3.05445623334,
          3.85989193263, 2.84996014353, -0.361782549921, -2.75953453289, -3.85943430613, -3.14418181987},
         {-0.399340373267, -0.333301572742, 0.0391731566634, 0.375632266489, 2.50309087056, -0.213053980936,
          -2.73331798491, -2.7405820389, -2.4453115574, 0.715365326212, 3.21833862798, 2.76238623731,
          0.361405361546, -0.143730710926, -0.516721430621, -0.414640849986}}};

    for (int k = 0; k < 4; k++) {
        run r;
        open_run(&r, reals[k / 2]);
        wave(&r, 0, shape_2(3, 4), 1, 0);
        wave(&r, 1, shape_2(4, 4), 0.7, 0);
        r.loss = ag_contrast(r.t, r.x[0], r.x[1], 2, k % 2, &r.out);
        compute(&r);
        same("loss", &r.loss->t, &must[k % 2].loss, 1);
        same("da", &r.grad[0], must[k % 2].da, 12);
        same("db", &r.grad[1], must[k % 2].db, 16);
        for (int i = 0; i < 12; i++) {
            double z = 0;
            for (int c = 0; c < 4; c++)
                z += at(&r.in[0], i / 4 * 4 + c) * at(&r.in[1], i % 4 * 4 + c);
            ck_assert_msg(fabs(at(&r.out->t, i) - z) < 1e-5, "product %d", i);
        }
        close_run(&r);
    }
}
END_TEST

/* TRL's formulas: -logsigmoid(beta h) (1 - smoothing) - logsigmoid(-beta h) smoothing, and for ipo
 * (h - 1 / (2 beta))^2 of log-probabilities divided by the number of tokens */
START_TEST(preference_is_that_of_trl)
{
    static const preference_options how[2] = {{.beta = 0.3, .smoothing = 0.1},
                                              {.beta = 0.5, .squared = true, .by_token = true}};
    static const struct numbers {
        double loss, margins[2], deach[9];
    } must[2] = {{1.8832868819,
                  {-1.00789452107, 0.0718897203949},
                  {0.189782370456, 0.189782370456, -0.189782370456, 0.114610591868, 0.114610591868, 0.114610591868,
                   0.114610591868, -0.114610591868, -0.114610591868}},
                 {4.22382617651,
                  {-0.492132098878, 0.767638641648},
                  {1.98426419776, 1.98426419776, -3.96852839551, -0.267638641648, -0.267638641648, -0.267638641648,
                   -0.267638641648, 0.535277283295, 0.535277283295}}};
    int32_t offsets[] = {0, 2, 3, 7, 9};

    for (int k = 0; k < 4; k++) {
        double       wide[] = {0.25, -0.5};
        float        narrow[] = {0.25f, -0.5f};
        const tensor where = ints(offsets, 5);
        const bool   f64 = reals[k / 2] == TYPE_F64;
        const tensor reference = {.s = shape_2(2, 1), .type = reals[k / 2], .v = f64 ? (void *)wide : narrow};
        run          r;
        open_run(&r, reals[k / 2]);
        wave(&r, 0, shape_1(9), 1, 1.5);
        var *const in[] = {tape_input(r.t, &where), tape_tensor(r.t, &reference)};
        r.loss = ag_preference(r.t, r.x[0], in[0], in[1], &how[k % 2], &r.out);
        compute(&r);
        same("loss", &r.loss->t, &must[k % 2].loss, 1);
        same("margin", &r.out->t, must[k % 2].margins, 2);
        same("deach", &r.grad[0], must[k % 2].deach, 9);
        close_run(&r);
    }
}
END_TEST

START_TEST(means_are_sums_of_rows)
{
    int32_t from[] = {4, 0, 3}, to[] = {5, 2, 3};

    for (int k = 0; k < 2; k++) {
        const tensor first = ints(from, 3), last = ints(to, 3);
        run          r;
        open_run(&r, reals[k]);
        wave(&r, 0, shape_2(6, 70), 0.3, 0);
        r.out = ag_mean_rows(r.t, r.x[0], tape_input(r.t, &first), tape_input(r.t, &last));
        r.loss = ag_sum(r.t, r.out);
        compute(&r);
        for (int i = 0; i < 210; i++) {
            const int s = i / 70, n = to[s] - from[s] + 1;
            double    sum = 0;
            for (int row = from[s]; row <= to[s]; row++)
                sum += at(&r.in[0], row * 70 + i % 70) / n;
            ck_assert_msg(fabs(at(&r.out->t, i) - sum) <= 4 * 0x1p-24, "mean %d", i);
        }
        ck_assert(at(&r.grad[0], 4 * 70) == 0.5 && at(&r.grad[0], 3 * 70 + 69) == 1);
        ck_assert(fabs(at(&r.grad[0], 2 * 70) - 1.0 / 3) < 0x1p-24);
        close_run(&r);
    }
}
END_TEST

TESTS(losses, contrast_is_cross_entropy, preference_is_that_of_trl, means_are_sums_of_rows)
