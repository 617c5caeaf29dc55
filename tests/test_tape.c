/* tape: recording, planning, running: what is kept, what is shared, what is never allocated */
#include "tests/helpers.h"

#include "autograd/ops.h"
#include "core/rng.h"

#include <math.h>

enum { N = 8, C = 16, LAYERS = 4 };

/* A small chain: h = h + w2(swiglu(g(norm h), u(norm h))), each layer a block. */
typedef struct chain {
    arena        memory, step;
    tensor       x, norm[LAYERS], g[LAYERS], u[LAYERS], w[LAYERS], grad[LAYERS];
    int32_t      rows;
    tape        *t;
    var         *loss;
    bool         trained[LAYERS];
} chain;

static tensor noise(arena *a, int64_t rows, int64_t columns, const char *name)
{
    float *v = arena_take(a, (size_t)(rows * columns), sizeof *v);

    rng_fill_normal(rng_key_for(1, name), 0, 0.3f, v, rows * columns);
    return (tensor){.s = rows == 1 ? shape_1(columns) : shape_2(rows, columns), .type = TYPE_F32, .v = v};
}

static void chain_open(chain *c, int first_trained)
{
    memset(c, 0, sizeof *c);
    MUST(arena_open(&c->memory, "test", 1 << 24));
    c->rows = N;
    c->x = noise(&c->memory, N, C, "x");
    c->x.rows = &c->rows;
    for (int l = 0; l < LAYERS; l++) {
        char name[16];
        snprintf(name, sizeof name, "%d", l);
        c->norm[l] = noise(&c->memory, 1, C, name);
        c->g[l] = noise(&c->memory, 2 * C, C, name);
        c->u[l] = noise(&c->memory, 2 * C, C, strcat(name, "u"));
        c->w[l] = noise(&c->memory, C, 2 * C, strcat(name, "w"));
        c->grad[l] = noise(&c->memory, C, 2 * C, "grad");
        c->trained[l] = l >= first_trained;
    }
}

static var *layer(chain *c, int l, var *h)
{
    tape *t = c->t;
    var  *n = ag_rmsnorm(t, h, tape_tensor(t, &c->norm[l]), 1e-5);
    var  *y = ag_swiglu(t, ag_linear(t, n, tape_tensor(t, &c->g[l]), NULL),
                        ag_linear(t, n, tape_tensor(t, &c->u[l]), NULL));
    var  *w = c->trained[l] ? tape_param(t, &c->w[l], &c->grad[l]) : tape_tensor(t, &c->w[l]);
    return ag_add(t, h, ag_linear(t, y, w, NULL));
}

static void chain_plan(chain *c, recompute how)
{
    MUST(tape_open(&c->t, TYPE_F32));
    var *h = tape_input(c->t, &c->x);
    for (int l = 0; l < LAYERS; l++) {
        tape_enter(c->t, "block.%d", l);
        tape_block_begin(c->t);
        h = layer(c, l, h);
        tape_block_end(c->t);
        tape_leave(c->t);
    }
    c->loss = ag_sum(c->t, ag_mul(c->t, h, h));
    tape_keep(c->t, c->loss);
    MUST(tape_plan(c->t, c->loss, how));
    MUST(arena_open(&c->step, "step", tape_step_bytes(c->t) + 4096));
    MUST(tape_bind(c->t, &c->step));
}

static void chain_run(chain *c)
{
    for (int l = 0; l < LAYERS; l++)
        memset(c->grad[l].v, 0, tensor_bytes(&c->grad[l]));
    tape_forward(c->t);
    tape_backward(c->t);
}

static void chain_close(chain *c)
{
    tape_close(c->t);
    arena_close(&c->step);
    arena_close(&c->memory);
}

START_TEST(recompute_gives_the_same_bits)
{
    chain a, b;

    chain_open(&a, 0);
    chain_open(&b, 0);
    chain_plan(&a, RECOMPUTE_NONE);
    chain_plan(&b, RECOMPUTE_BLOCK);
    ck_assert_uint_lt(tape_count(b.t).kept_bytes, tape_count(a.t).kept_bytes);
    chain_run(&a);
    chain_run(&b);
    ck_assert_mem_eq(a.loss->t.v, b.loss->t.v, sizeof(float));
    for (int l = 0; l < LAYERS; l++)
        ck_assert_mem_eq(a.grad[l].v, b.grad[l].v, tensor_bytes(&a.grad[l]));
    chain_close(&a);
    chain_close(&b);
}
END_TEST

START_TEST(repeated_runs_give_the_same_bits)
{
    chain a;
    float first[C * 2 * C];

    chain_open(&a, 0);
    chain_plan(&a, RECOMPUTE_NONE);
    chain_run(&a);
    memcpy(first, a.grad[1].v, sizeof first);
    memset(a.step.base, 0xFF, a.step.used); /* NaN everywhere: nothing may be read before it is written */
    chain_run(&a);
    ck_assert_mem_eq(first, a.grad[1].v, sizeof first);
    ck_assert(isfinite(*(float *)a.loss->t.v));
    chain_close(&a);
}
END_TEST

START_TEST(nothing_below_the_first_module_is_kept)
{
    chain all, last, none;

    chain_open(&all, 0);
    chain_open(&last, LAYERS - 1);
    chain_open(&none, LAYERS);
    chain_plan(&all, RECOMPUTE_NONE);
    chain_plan(&last, RECOMPUTE_NONE);
    chain_plan(&none, RECOMPUTE_NONE);
    ck_assert_uint_lt(2 * tape_count(last.t).kept_bytes, tape_count(all.t).kept_bytes);
    ck_assert_int_eq(tape_count(none.t).backward_operations, 0);
    /* last: sum, mul, add, linear(w) */
    ck_assert_int_eq(tape_count(last.t).backward_operations, 4);
    chain_run(&last);
    chain_run(&all);
    ck_assert_mem_eq(last.grad[LAYERS - 1].v, all.grad[LAYERS - 1].v, tensor_bytes(&all.grad[0]));
    chain_close(&all);
    chain_close(&last);
    chain_close(&none);
}
END_TEST

START_TEST(cheap_values_are_made_again)
{
    chain a;

    chain_open(&a, 0);
    chain_plan(&a, RECOMPUTE_NONE);
    /* a layer keeps h, g, u and the norm's one value a row; not norm's output, not swiglu's */
    const size_t row = sizeof(float) * (C + 4 * C + 16);
    ck_assert_uint_le(tape_count(a.t).kept_bytes, N * row * LAYERS + N * C * 3 * sizeof(float) + 4096);
    chain_close(&a);
}
END_TEST

START_TEST(fewer_rows_use_the_same_plan)
{
    chain a, b;

    chain_open(&a, 0);
    chain_open(&b, 0);
    chain_plan(&a, RECOMPUTE_NONE);
    chain_plan(&b, RECOMPUTE_NONE);
    chain_run(&a);
    a.rows = 3;
    memset((float *)a.x.v + 3 * C, 0xFF, (N - 3) * C * sizeof(float)); /* NaN that must not be read */
    b.rows = 3;
    chain_run(&a);
    chain_run(&b);
    ck_assert(isfinite(*(float *)a.loss->t.v));
    ck_assert_mem_eq(a.grad[0].v, b.grad[0].v, tensor_bytes(&a.grad[0]));
    chain_close(&a);
    chain_close(&b);
}
END_TEST

START_TEST(gradients_agree_with_differences)
{
    chain a;

    chain_open(&a, 1);
    chain_plan(&a, RECOMPUTE_NONE);
    chain_run(&a);
    for (int i = 0; i < 20; i++) {
        const int l = 1 + i % (LAYERS - 1), at = i * 37 % (2 * C * C);
        float    *v = (float *)a.w[l].v + at, was = *v;
        const float g = ((float *)a.grad[l].v)[at];
        *v = was + 1e-2f;
        tape_forward(a.t);
        const double up = (double)*(float *)a.loss->t.v;
        *v = was - 1e-2f;
        tape_forward(a.t);
        const double down = (double)*(float *)a.loss->t.v;
        *v = was;
        /* the loss is about 100 in f32: 100 * 6e-8 / 2e-2 = 3e-4, and the third derivative's h^2 / 6 */
        ck_assert_double_eq_tol((double)g, (up - down) / 2e-2, 2e-2 + 1e-2 * fabs((double)g));
    }
    chain_close(&a);
}
END_TEST

START_TEST(the_first_error_sticks_and_has_its_place)
{
    chain a;

    chain_open(&a, 0);
    MUST(tape_open(&a.t, TYPE_F32));
    tape_enter(a.t, "block.%d", 3);
    tape_enter(a.t, "attn.q");
    var *bad = ag_linear(a.t, tape_input(a.t, &a.x), tape_tensor(a.t, &a.w[0]), NULL);
    tape_leave(a.t);
    tape_leave(a.t);
    bad = ag_add(a.t, bad, bad);
    ck_assert_ptr_nonnull(bad);
    MUST_FAIL(tape_plan(a.t, bad, RECOMPUTE_NONE), "in block.3.attn.q");
    ck_assert_ptr_nonnull(strstr(status_text(), "linear"));
    chain_close(&a);
}
END_TEST

START_TEST(what_is_not_finite_is_named)
{
    chain a;

    chain_open(&a, 0);
    chain_plan(&a, RECOMPUTE_NONE);
    tape_forward(a.t);
    MUST(tape_find_nonfinite(a.t));
    ((float *)a.u[2].v)[5] = NAN;
    tape_forward(a.t);
    ck_assert(isnan(*(float *)a.loss->t.v));
    MUST_FAIL(tape_find_nonfinite(a.t), "block.2: a weight or input of linear holds NaN");
    chain_close(&a);
}
END_TEST

/* Lifetimes from random numbers: no two stores that live at once may overlap, and the total is at least
 * the largest sum at any moment and at most their sum. */
#include "autograd/graph.h"
START_TEST(placed_stores_never_overlap)
{
    enum { STORES = 300, TIMES = 200 };
    static store stores[STORES];
    arena        scratch;
    size_t       busiest = 0;

    MUST(arena_open(&scratch, "scratch", 1 << 20));
    for (uint32_t i = 0; i < STORES; i++) {
        const rng_block r = rng_philox(rng_key_for(5, "stores"), i, 0, 0, 0);
        stores[i] = (store){.bytes = 1 + r.r[0] % 5000, .birth = (int)(r.r[1] % TIMES), .root = (int)i};
        stores[i].death = stores[i].birth + (int)(r.r[2] % 40);
    }
    const size_t total = place_stores(&scratch, stores, STORES);
    for (int i = 0; i < STORES; i++)
        for (int j = 0; j < i; j++) {
            const store *a = &stores[i], *b = &stores[j];
            const bool   together = a->birth <= b->death && b->birth <= a->death;
            const bool   overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            ck_assert(!(together && overlap));
        }
    for (int now = 0; now < TIMES + 40; now++) {
        size_t sum = 0;
        for (int i = 0; i < STORES; i++)
            sum += stores[i].birth <= now && now <= stores[i].death ? stores[i].bytes : 0;
        busiest = sum > busiest ? sum : busiest;
    }
    ck_assert_uint_ge(total, busiest);
    ck_assert_uint_le(total, busiest + busiest / 4);
    arena_close(&scratch);
}
END_TEST

TESTS(tape, recompute_gives_the_same_bits, repeated_runs_give_the_same_bits,
      nothing_below_the_first_module_is_kept, cheap_values_are_made_again,
      fewer_rows_use_the_same_plan, gradients_agree_with_differences,
      the_first_error_sticks_and_has_its_place, what_is_not_finite_is_named,
      placed_stores_never_overlap)
