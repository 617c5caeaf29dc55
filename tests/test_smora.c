/* smora at one site: what must hold whatever the numbers are (the method's card, "Oracle tests") */
#include "tests/helpers.h"
#include "tests/with_smora.h"

#include <math.h>

static arena memory;

static smora_site open_site(int64_t r, int64_t k, int64_t p, bool in_weight)
{
    smora_site s = {.N = 13, .K = 9, .M = 7, .r = r, .p = p, .k = k, .in_weight = in_weight};

    s.factor = 16.0 / (double)k;
    MUST(arena_open(&memory, "test", (size_t)1 << 30));
    MUST(smora_site_open(&memory, &s, 3));
    return s;
}

static double farthest(const double *a, const double *b, int64_t n)
{
    double worst = 0;

    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

static double largest(const double *a, int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i]));
    return most;
}

static double *copy(const double *v, int64_t n)
{
    double *c = arena_take(&memory, (size_t)n, sizeof *c);

    ck_assert(c != NULL);
    memcpy(c, v, (size_t)n * sizeof *c);
    return c;
}

static double score(const smora_site *s, int64_t n, int64_t i, bool with_bias)
{
    double z = 0;

    for (int64_t c = 0; c < s->K; c++)
        z += s->router[i / s->p * s->K + c] * s->x[n * s->K + c];
    return 1 / (1 + exp(-z)) + (with_bias ? s->bias[i] : 0);
}

/* ---- 1 ------------------------------------------------------------------------------------------------- */

static void run_lora(const smora_site *s, float *y)
{
    const shape sizes[] = {shape_2(s->N, s->M), shape_2(s->N, s->K), shape_2(s->r, s->K), shape_2(s->M, s->r)};
    const double *from[] = {s->base, s->x, s->a, s->b};
    tensor        in[4];
    tape         *t;

    MUST(tape_open(&t, TYPE_F32));
    for (int i = 0; i < 4; i++) {
        in[i] = (tensor){.s = sizes[i], .type = TYPE_F32};
        in[i].v = arena_take(&memory, tensor_bytes(&in[i]), 1);
        for (int64_t k = 0; k < shape_count(sizes[i]); k++)
            ((float *)in[i].v)[k] = (float)from[i][k];
    }
    var *out = ag_lora(t, tape_input(t, &in[0]), tape_input(t, &in[1]), tape_input(t, &in[2]), tape_input(t, &in[3]),
                       s->factor);
    tape_keep(t, out);
    MUST(tape_plan(t, NULL, RECOMPUTE_NONE));
    MUST(tape_bind(t, &memory));
    tape_forward(t);
    memcpy(y, out->t.v, (size_t)(s->N * s->M) * sizeof *y);
    tape_close(t);
}

START_TEST(all_ranks_at_equal_scores_are_a_lora)
{
    static const int64_t ranks[] = {8, 6, 20};

    for (int i = 0; i < 3; i++) {
        smora_site s = open_site(ranks[i], ranks[i], 1, true);
        float     *y = arena_take(&memory, (size_t)(s.N * s.M), sizeof *y);
        memset(s.router, 0, (size_t)(s.r * s.K) * sizeof *s.router);
        memset(s.bias, 0, (size_t)s.r * sizeof *s.bias);
        MUST(smora_site_run(&s, TYPE_F32));
        run_lora(&s, y);
        for (int64_t k = 0; k < s.N * s.k; k++)
            ck_assert(s.gates[k] == 1);
        for (int64_t k = 0; k < s.N * s.M; k++)
            ck_assert(s.y[k] == (double)y[k]);
        arena_close(&memory);
    }
}
END_TEST

/* ---- 3, 10 --------------------------------------------------------------------------------------------- */

START_TEST(gates_sum_to_the_number_of_ranks)
{
    for (int64_t k = 1; k <= 8; k++)
        for (int in_weight = 0; in_weight < 2; in_weight++) {
            smora_site s = open_site(8, k, 1, in_weight);
            MUST(smora_site_run(&s, TYPE_F32));
            for (int64_t n = 0; n < s.N; n++) {
                double sum = 0;
                for (int64_t j = 0; j < k; j++)
                    sum += s.gates[n * k + j];
                ck_assert(fabs(sum - (double)k) < 1e-6 * (double)k); /* k roundings of values about 1 */
            }
            arena_close(&memory);
        }
}
END_TEST

/* One row, so that biases can make any scores of it: those three times as large. */
START_TEST(gates_see_only_the_ratio_of_scores)
{
    smora_site s = open_site(8, 3, 1, true);

    s.N = 1;
    MUST(smora_site_run(&s, TYPE_F64));
    const double *gates = copy(s.gates, 3), *chosen = copy(s.chosen, 3);
    for (int64_t i = 0; i < s.r; i++)
        s.bias[i] = 3 * score(&s, 0, i, true) - score(&s, 0, i, false);
    MUST(smora_site_run(&s, TYPE_F64));
    ck_assert(farthest(chosen, s.chosen, 3) == 0);
    ck_assert(farthest(gates, s.gates, 3) < 1e-13);
    arena_close(&memory);
}
END_TEST

START_TEST(equal_biases_change_gates_only_where_they_are_in_them)
{
    for (int in_weight = 0; in_weight < 2; in_weight++) {
        smora_site s = open_site(8, 3, 1, in_weight);
        const int64_t n = s.N * 3;
        MUST(smora_site_run(&s, TYPE_F64));
        const double *gates = copy(s.gates, n), *chosen = copy(s.chosen, n), *y = copy(s.y, s.N * s.M);
        for (int64_t i = 0; i < s.r; i++)
            s.bias[i] += 0.375;
        MUST(smora_site_run(&s, TYPE_F64));
        ck_assert(farthest(chosen, s.chosen, n) == 0);
        if (!in_weight) {
            ck_assert(farthest(gates, s.gates, n) < 1e-13 && farthest(y, s.y, s.N * s.M) < 1e-11);
        } else
            for (int64_t i = 0; i < n; i++)
                ck_assert(fabs(s.gates[i] - 1) < fabs(gates[i] - 1)); /* flatter */
        arena_close(&memory);
    }
}
END_TEST

/* ---- 4 ------------------------------------------------------------------------------------------------- */

START_TEST(both_forms_compute_the_same)
{
    static const int64_t sizes[][5] = {
        {13, 9, 7, 8, 3}, {150, 70, 130, 64, 8}, {1, 33, 65, 16, 16}, {40, 130, 72, 24, 1}};

    for (int i = 0; i < 4; i++) {
        smora_site s = open_site(8, 3, 1, true);
        s.N = sizes[i][0], s.K = sizes[i][1], s.M = sizes[i][2], s.r = sizes[i][3], s.k = sizes[i][4];
        MUST(smora_site_open(&memory, &s, 5));
        smora_site g = s, few = s;
        MUST(smora_site_open(&memory, &g, 5));
        MUST(smora_site_open(&memory, &few, 5));
        s.form = ROUTED_MASKED;
        g.form = ROUTED_GATHERED;
        few.decodes = true;
        MUST(smora_site_run(&s, TYPE_F32));
        MUST(smora_site_run(&g, TYPE_F32));
        MUST(smora_site_run(&few, TYPE_F32));
        ck_assert(farthest(s.y, few.y, s.N * s.M) <= 1e-5 * fmax(1, largest(s.y, s.N * s.M)));
        const double *a[] = {s.y, s.dx, s.da, s.db, s.drouter}, *b[] = {g.y, g.dx, g.da, g.db, g.drouter};
        const int64_t n[] = {s.N * s.M, s.N * s.K, s.r * s.K, s.M * s.r, s.r * s.K};
        for (int k = 0; k < 5; k++)
            ck_assert_msg(farthest(a[k], b[k], n[k]) <= 1e-5 * fmax(1, largest(a[k], n[k])), "sizes %d, tensor %d", i,
                          k);
        arena_close(&memory);
    }
}
END_TEST

/* ---- 5 ------------------------------------------------------------------------------------------------- */

/* y of row n as a mixture of r / 2 LoRAs of rank 2, of which k / 2 work, with gates that sum to their number. */
static void mixture(const smora_site *s, int64_t n, double *y)
{
    const int64_t E = s->r / 2, top = s->k / 2;
    bool          taken[64] = {false};
    int64_t       best[64];
    double        sum = 0;

    for (int64_t j = 0; j < top; j++) {
        best[j] = -1;
        for (int64_t e = 0; e < E; e++)
            if (!taken[e] && (best[j] < 0 || score(s, n, 2 * e, false) > score(s, n, 2 * best[j], false)))
                best[j] = e;
        taken[best[j]] = true;
        sum += score(s, n, 2 * best[j], false);
    }
    memcpy(y, s->base + n * s->M, (size_t)s->M * sizeof *y);
    for (int64_t j = 0; j < top; j++)
        for (int64_t i = 2 * best[j]; i < 2 * best[j] + 2; i++) {
            const double gate = (double)top * score(s, n, i, false) / sum;
            double       u = 0;
            for (int64_t c = 0; c < s->K; c++)
                u += s->a[i * s->K + c] * s->x[n * s->K + c];
            for (int64_t m = 0; m < s->M; m++)
                y[m] += 16.0 / (double)top / 2 * gate * u * s->b[m * s->r + i];
        }
}

START_TEST(a_partition_is_a_mixture_of_loras)
{
    smora_site s = open_site(12, 6, 2, true);
    double     y[7];

    memset(s.bias, 0, (size_t)s.r * sizeof *s.bias);
    MUST(smora_site_run(&s, TYPE_F64));
    for (int64_t n = 0; n < s.N; n++) {
        mixture(&s, n, y);
        ck_assert(farthest(y, s.y + n * s.M, s.M) < 1e-12);
        for (int64_t j = 0; j < s.k; j += 2)
            ck_assert(s.chosen[n * s.k + j + 1] == s.chosen[n * s.k + j] + 1);
    }
    arena_close(&memory);
}
END_TEST

/* ---- 6 ------------------------------------------------------------------------------------------------- */

START_TEST(one_rank_has_the_gate_one_and_its_router_no_gradient)
{
    static const dtype types[] = {TYPE_F32, TYPE_F64};

    for (int type = 0; type < 2; type++) {
        smora_site s = open_site(8, 1, 1, true);
        MUST(smora_site_run(&s, types[type]));
        for (int64_t n = 0; n < s.N; n++) {
            int64_t i = 0;
            double  u = 0;
            for (int64_t e = 1; e < s.r; e++)
                i = score(&s, n, e, true) > score(&s, n, i, true) ? e : i;
            for (int64_t c = 0; c < s.K; c++)
                u += s.a[i * s.K + c] * s.x[n * s.K + c];
            ck_assert(s.gates[n] == 1 && s.chosen[n] == (double)i);
            for (int64_t m = 0; m < s.M; m++)
                ck_assert(fabs(s.y[n * s.M + m] - s.base[n * s.M + m] - 16 * u * s.b[m * s.r + i]) < 1e-4);
        }
        ck_assert(largest(s.drouter, s.r * s.K) == 0);
        ck_assert(largest(s.da, s.r * s.K) > 0.1);
        arena_close(&memory);
    }
}
END_TEST

/* Equal scores: the lowest numbers, in every form of a choice. */
START_TEST(among_equals_the_first_are_chosen)
{
    smora_site s = open_site(8, 3, 1, true);

    memset(s.router, 0, (size_t)(s.r * s.K) * sizeof *s.router);
    memset(s.bias, 0, (size_t)s.r * sizeof *s.bias);
    s.bias[5] = 0.25;
    MUST(smora_site_run(&s, TYPE_F32));
    for (int64_t n = 0; n < s.N; n++)
        ck_assert(s.chosen[n * 3] == 0 && s.chosen[n * 3 + 1] == 1 && s.chosen[n * 3 + 2] == 5);
    arena_close(&memory);
}
END_TEST

/* ---- 8, 9, 12 ------------------------------------------------------------------------------------------ */

/* The gradient of a score is that of z / (s (1 - s)); x is what makes one row's z differ from another's, so with one
 * row dz of rank i is drouter's row divided by x. */
START_TEST(gradients_of_scores_cancel)
{
    smora_site s = open_site(8, 3, 1, true);
    double     sum = 0, size = 0;

    s.N = 1;
    MUST(smora_site_run(&s, TYPE_F64));
    for (int64_t i = 0; i < s.r; i++) {
        const double share = score(&s, 0, i, false), dz = s.drouter[i * s.K] / s.x[0];
        const double term = score(&s, 0, i, true) * dz / (share * (1 - share));
        sum += term;
        size += fabs(term);
    }
    ck_assert(size > 1e-2 && fabs(sum) < 1e-6 * size);
    arena_close(&memory);
}
END_TEST

START_TEST(the_order_of_ranks_does_not_matter)
{
    smora_site s = open_site(8, 3, 1, true), p = s;

    MUST(smora_site_open(&memory, &p, 3));
    for (int64_t i = 0; i < s.r; i++) {
        const int64_t to = (3 * i + 5) % s.r;
        memcpy(p.a + to * s.K, s.a + i * s.K, (size_t)s.K * sizeof *p.a);
        memcpy(p.router + to * s.K, s.router + i * s.K, (size_t)s.K * sizeof *p.router);
        p.bias[to] = s.bias[i];
        for (int64_t m = 0; m < s.M; m++)
            p.b[m * s.r + to] = s.b[m * s.r + i];
    }
    MUST(smora_site_run(&s, TYPE_F64));
    MUST(smora_site_run(&p, TYPE_F64));
    ck_assert(farthest(s.y, p.y, s.N * s.M) < 1e-12);
    ck_assert(farthest(s.dx, p.dx, s.N * s.K) < 1e-11);
    arena_close(&memory);
}
END_TEST

static double along_dy(smora_site *s)
{
    double sum = 0;

    MUST(smora_site_run(s, TYPE_F64));
    for (int64_t i = 0; i < s->N * s->M; i++)
        sum += s->y[i] * s->dy[i];
    return sum;
}

/* The distance between the last chosen score and the next. */
static double margin(const smora_site *s)
{
    double least = 1;

    for (int64_t n = 0; n < s->N; n++) {
        double in = INFINITY, out = -INFINITY;
        for (int64_t i = 0; i < s->r; i++) {
            bool chosen = false;
            for (int64_t j = 0; j < s->k; j++)
                chosen |= s->chosen[n * s->k + j] == (double)i;
            const double a = score(s, n, i, true);
            in = chosen ? fmin(in, a) : in;
            out = chosen ? out : fmax(out, a);
        }
        least = fmin(least, in - out);
    }
    return least;
}

/* h = 1e-4 moves a score by 1.5e-4 at most. The quotient is good to h^2 and to 1e-13 / h of the sum, about 100. */
START_TEST(gradients_are_derivatives)
{
    for (int form = ROUTED_MASKED; form <= ROUTED_GATHERED; form++) {
        smora_site s = open_site(8, 3, 1, true);
        s.form = form;
        for (uint64_t seed = 3; smora_site_run(&s, TYPE_F64) == STATUS_OK && margin(&s) < 1e-3; seed++)
            MUST(smora_site_open(&memory, &s, seed));
        double *const values[] = {s.x, s.a, s.b, s.router};
        const double *const gradients[] = {copy(s.dx, s.N * s.K), copy(s.da, s.r * s.K), copy(s.db, s.M * s.r),
                                           copy(s.drouter, s.r * s.K)};
        const int64_t n[] = {s.N * s.K, s.r * s.K, s.M * s.r, s.r * s.K};
        for (int k = 0; k < 4; k++)
            for (int64_t i = 0; i < n[k]; i += 5) {
                const double was = values[k][i], h = 1e-4;
                values[k][i] = was + h;
                const double up = along_dy(&s);
                values[k][i] = was - h;
                const double down = along_dy(&s);
                values[k][i] = was;
                ck_assert_msg(fabs((up - down) / (2 * h) - gradients[k][i]) < 1e-5 * fmax(1, fabs(gradients[k][i])),
                              "tensor %d, value %lld", k, (long long)i);
            }
        arena_close(&memory);
    }
}
END_TEST

TESTS(smora, all_ranks_at_equal_scores_are_a_lora, gates_sum_to_the_number_of_ranks,
      gates_see_only_the_ratio_of_scores, equal_biases_change_gates_only_where_they_are_in_them,
      both_forms_compute_the_same, a_partition_is_a_mixture_of_loras,
      one_rank_has_the_gate_one_and_its_router_no_gradient, among_equals_the_first_are_chosen,
      gradients_of_scores_cancel, the_order_of_ranks_does_not_matter, gradients_are_derivatives)
