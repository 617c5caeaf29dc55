/* test_delta: places as the authors' files code them, files of sparse changes and what is wrong with them, sums
 * tests/run: no device */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/file.h"
#include "core/hdf5_file.h"
#include "core/rng.h"
#include "peft/delta.h"

#include <math.h>

static const shape sizes = {3, {3, 4, 5}};

/* (0,1,2), (2,3,4), (1,0,0) with the last index fastest are 7, 59, 20; with the first one 27, 59, 1. */
START_TEST(the_first_index_is_the_fastest)
{
    const int32_t at[] = {7, 20, 59};
    int64_t       steps[3], order[3];
    int32_t       back[3];

    MUST(delta_code(sizes, at, 3, steps, order));
    ck_assert_mem_eq(steps, ((int64_t[]){1, 26, 32}), sizeof steps);
    ck_assert_mem_eq(order, ((int64_t[]){1, 0, 2}), sizeof order);
    MUST(delta_decode(sizes, steps, 3, back, order, "x"));
    ck_assert_mem_eq(back, at, sizeof at);
    ck_assert_mem_eq(order, ((int64_t[]){1, 0, 2}), sizeof order);
}
END_TEST

START_TEST(every_place_comes_back)
{
    const shape shapes[] = {{1, {60}}, {2, {4, 15}}, {3, {3, 4, 5}}, {5, {2, 3, 1, 2, 5}}};

    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        int32_t at[60], back[60];
        int64_t steps[60], order[60], again[60], n = 0;
        for (int32_t k = 0; k < 60; k++)
            if (rng_philox(rng_key_for(i, "some"), (uint32_t)k, 0, 0, 0).r[0] & 1)
                at[n++] = k;
        MUST(delta_code(shapes[i], at, n, steps, order));
        MUST(delta_decode(shapes[i], steps, n, back, again, "x"));
        ck_assert_mem_eq(at, back, (size_t)n * sizeof *at);
        for (int64_t k = 0; k < n; k++)
            ck_assert_int_eq(order[again[k]], k);
    }
}
END_TEST

START_TEST(steps_that_leave_the_tensor_are_refused)
{
    const struct {
        int64_t     steps[2];
        const char *says;
    } wrong[] = {{{1, 59}, "step 1 is 59, must be 1..58"}, {{1, 0}, "step 1 is 0, must be 1..58"},
                 {{-1, 1}, "step 0 is -1, must be 0..59"}, {{60, 1}, "step 0 is 60, must be 0..59"},
                 {{3, INT64_MAX}, "step 1 is"}, {{3, -1}, "step 1 is -1"}};
    int32_t     at[2];
    int64_t     order[2];
    const shape large = {2, {65536, 32768}};

    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        MUST_FAIL(delta_decode(sizes, wrong[i].steps, 2, at, order, "x"), wrong[i].says);
    MUST_FAIL(delta_decode(large, (int64_t[]){1}, 1, at, order, "x"), "has 2147483648 values");
}
END_TEST

/* ---- files ------------------------------------------------------------------------------------------------ */

static const int32_t some_at[] = {7, 20, 59};
static const float   some_by[] = {0.5f, -2e-8f, 3};

static delta example(delta_tensor *of, delta_dense *dense)
{
    static float bias[] = {1, -2};

    *of = (delta_tensor){"a.weight", sizes, 3, some_at, some_by};
    *dense = (delta_dense){"head.bias", {.s = {1, {2}}, .type = TYPE_F32, .v = bias}};
    return (delta){.fingerprint = "aa", .n = 1, .n_dense = 1, .of = of, .dense = dense};
}

START_TEST(a_file_comes_back)
{
    char         folder[64], path[128];
    delta_tensor of;
    delta_dense  dense;
    delta        d = example(&of, &dense), back;
    arena        a;

    MUST(arena_open(&a, "delta", (size_t)1 << 28));
    test_folder(folder);
    snprintf(path, sizeof path, "%s/x.h5", folder);
    MUST(delta_write(&a, &d, 0, path));
    MUST(delta_read(&a, path, &back));
    ck_assert_str_eq(back.fingerprint, "aa");
    ck_assert_int_eq(back.n, 1);
    ck_assert_str_eq(back.of[0].name, "a.weight");
    ck_assert(shape_equal(back.of[0].s, sizes));
    ck_assert_int_eq(back.of[0].n, 3);
    ck_assert_mem_eq(back.of[0].at, some_at, sizeof some_at);
    ck_assert_mem_eq(back.of[0].by, some_by, sizeof some_by);
    ck_assert_int_eq(back.n_dense, 1);
    ck_assert_str_eq(back.dense[0].name, "head.bias");
    ck_assert_mem_eq(back.dense[0].t.v, dense.t.v, 8);

    MUST(delta_write(&a, &d, 1e-7, path)); /* the small one is left out */
    MUST(delta_read(&a, path, &back));
    ck_assert_int_eq(back.of[0].n, 2);
    ck_assert_int_eq(back.of[0].at[1], 59);
    arena_close(&a);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* A file with one thing wrong. */
typedef struct wrong_file {
    const char *says, *names;
    int64_t     size[2], steps[2];
    float       values[2];
    int64_t     n_values;
} wrong_file;

static void write_wrong(const char *path, const wrong_file *w)
{
    h5_file f;

    MUST(h5_create(&f, path));
    MUST(h5_put_text(&f, "base_sha256", ""));
    MUST(h5_put(&f, "diffs", TYPE_U8, shape_1((int64_t)strlen(w->names)), w->names));
    MUST(h5_put(&f, "0.size", TYPE_I64, shape_1(2), w->size));
    MUST(h5_put(&f, "0.index_steps", TYPE_I64, shape_1(2), w->steps));
    MUST(h5_put(&f, "0.values", TYPE_F32, shape_1(w->n_values), w->values));
    MUST(h5_finish(&f));
}

START_TEST(a_wrong_file_is_refused)
{
    static const wrong_file wrong[] = {
        {"each ended by a line end", "a", {2, 3}, {1, 1}, {1, 1}, 2},
        {"each ended by a line end", "\n", {2, 3}, {1, 1}, {1, 1}, 2},
        {"1.size is missing", "a\nb\n", {2, 3}, {1, 1}, {1, 1}, 2},
        {"size 1 of 0.size is 0, must be", "a\n", {2, 0}, {1, 1}, {1, 1}, 2},
        {"size 1 of 0.size is 3, must be 1..1", "a\n", {1 << 30, 3}, {1, 1}, {1, 1}, 2},
        {"step 1 is 5, must be 1..4", "a\n", {2, 3}, {1, 5}, {1, 1}, 2},
        {"0.index_steps is missing or not i64 with 1..1", "a\n", {1, 1}, {0, 1}, {1, 1}, 2},
        {"has 1 values for 2 places", "a\n", {2, 3}, {1, 1}, {1, 1}, 1},
        {"value 1 of a is nan, must be finite", "a\n", {2, 3}, {1, 1}, {1, NAN}, 2}};
    char  folder[64], path[128];
    delta d;
    arena a;

    MUST(arena_open(&a, "delta", (size_t)1 << 28));
    test_folder(folder);
    snprintf(path, sizeof path, "%s/x.h5", folder);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        write_wrong(path, &wrong[i]);
        MUST_FAIL(delta_read(&a, path, &d), wrong[i].says);
    }
    MUST_FAIL(delta_read(&a, "/nowhere.h5", &d), "/nowhere.h5");
    MUST_FAIL(delta_read(&a, folder, &d), "adapter_config.json");
    arena_close(&a);
    MUST(folder_remove_tree(folder));
}
END_TEST

/* A module's folder: what is added is what its values have moved by; the whole tensors beside it come along. */
START_TEST(a_module_is_a_delta)
{
    const adapter_info info = {.base = "small", .fingerprint = "aa", .origin = "bb"};
    const char        *whole = "model.norm";
    const double       k = 300;
    const char        *at = "q_proj";
    char               folder[64];
    small              s;
    delta              d;
    int64_t            n = 0;

    small_open(&s, 7);
    const peft_method *m = peft_find("sparse_delta");
    MUST(peft_add(s.p, "main", m, small_options(&s, m, (const char *const[]){"k", NULL}, &k), &at, 1, true));
    MUST(peft_tune_whole(s.p, 0, &whole, 1, false));
    MUST(peft_allocate(s.p, &s.tuned));
    for (int64_t i = 0; i < s.p->size; i++)
        s.p->values[i] += 0.25f;
    test_folder(folder);
    MUST(adapter_save(s.p, 0, folder, &info));
    MUST(delta_read(&s.memory, folder, &d));
    ck_assert_str_eq(d.fingerprint, "aa");
    ck_assert_str_eq(d.origin, "bb");
    ck_assert_int_eq(d.n_dense, 1);
    ck_assert_str_eq(d.dense[0].name, "model.norm.weight");
    for (int i = 0; i < d.n; i++) {
        const tensor *w = &model_find(&s.m, d.of[i].name)->value;
        for (int64_t j = 0; j < d.of[i].n; j++) {
            ck_assert_int_lt(d.of[i].at[j], shape_count(w->s));
            ck_assert_double_eq_tol(d.of[i].by[j], 0.25, 2e-7);
        }
        n += d.of[i].n;
    }
    ck_assert_int_eq(n, 300);
    MUST(folder_remove_tree(folder));
    small_close(&s);
}
END_TEST

/* ---- sums -------------------------------------------------------------------------------------------------- */

/* Each change is added by itself, in the order of the calls. */
START_TEST(changes_add_up_in_order)
{
    const int32_t      a_at[] = {0, 2}, b_at[] = {1, 2, 3};
    const float        a_by[] = {0.1f, 3e7f}, b_by[] = {0.2f, -3e7f, 0.3f}, w[] = {0.7f, -0.7f, 1, 0};
    const delta_tensor a = {.name = "x", .n = 2, .at = a_at, .by = a_by}, b = {.name = "x", .n = 3, .at = b_at, .by = b_by};
    delta_tensor       a_of = a, b_of = b, other = b;
    const delta        da = {.n = 1, .of = &a_of}, db = {.n = 1, .of = &b_of}, dc = {.n = 1, .of = &other};
    float              v[4];

    memcpy(v, w, sizeof v);
    delta_add(&a, 1, v);
    delta_add(&b, 1, v);
    const float between = w[2] + a_by[1];
    ck_assert(v[0] == w[0] + a_by[0] && v[1] == w[1] + b_by[0] && v[2] == between + b_by[1] && v[3] == w[3] + b_by[2]);
    ck_assert(v[2] != w[2]); /* rounded in between */
    memcpy(v, w, sizeof v);
    delta_add(&a, -0.5, v);
    ck_assert(v[0] == w[0] + -0.05f);

    other.name = "y";
    ck_assert_int_eq(delta_compare(&da, 1, &db, 1).common, 1);
    ck_assert_int_eq(delta_compare(&da, 1, &db, 1).opposite, 1);
    ck_assert_int_eq(delta_compare(&da, 1, &db, -1).opposite, 0);
    ck_assert_int_eq(delta_compare(&da, 1, &dc, 1).common, 0);
}
END_TEST

TESTS(delta, the_first_index_is_the_fastest, every_place_comes_back, steps_that_leave_the_tensor_are_refused,
      a_file_comes_back, a_wrong_file_is_refused, a_module_is_a_delta, changes_add_up_in_order)
