/* the flat buffers of a step on a device: the same bits as on the CPU, whatever order threads run in, and the
 * host's buffers untouched (they are closed while the device works) */
#include "tests/check.h"

#include "core/file.h"
#include "optim/clip.h"
#include "optim/flat_kernels.h"
#include "optim/state.h"
#include "recipes/leaf_sum.h"
#include "tests/helpers.h"
#include "tests/with_device.h"
#include "tests/with_options.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *const orders[] = {"forward", "backward", "random"};

static void fill(float *v, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (float)(seed >> 8) * 0x1p-23f - 1;
    }
}

/* Makes the whole pages of a stretch accessible, or not. */
static void set_access(void *at, size_t bytes, bool open)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = ((uintptr_t)at + page - 1) / page * page, to = ((uintptr_t)at + bytes) / page * page;

    if (to > from)
        ck_assert_int_eq(mprotect((void *)from, to - from, open ? PROT_READ | PROT_WRITE : PROT_NONE), 0);
}

static status hold(device_arena *a, float *v, int64_t n)
{
    const tensor x = {.s = shape_1(n), .type = TYPE_F32, .v = v};

    return device_hold(a, &x, TYPE_F32);
}

/* Values to a flat buffer and from it, on the device when it lies there. */
static void set(float *buffer, const float *v, int64_t n)
{
    float *there = flat_find(buffer);

    if (there)
        device_functions(device_current())->upload(there, v, (size_t)n * sizeof *v);
    else
        memcpy(buffer, v, (size_t)n * sizeof *v);
}

static void get(const float *buffer, float *out, int64_t n)
{
    const float *there = flat_find(buffer);

    if (there)
        device_functions(device_current())->download(out, there, (size_t)n * sizeof *out);
    else
        memcpy(out, buffer, (size_t)n * sizeof *out);
}

/* NaN is NaN: which one is not promised. */
static bool same(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* ---- optimizers ------------------------------------------------------------------------------------- */

enum {
    SPANS = 6,
    LONG = OPTIM_PIECE + 77,
    VALUES = 15 + LONG + 1 + 4000 + 24 + 9 + 2 * OPTIM_PIECE, /* nine values of nobody */
    STEPS = 8                                                  /* radam's rectification begins in the sixth */
};

static const optim_span spans[SPANS] = {
    {.first = 0, .count = 15, .rows = 3, .columns = 5},
    {.first = 15, .count = LONG, .group = 1},
    {.first = 15 + LONG, .count = 1},
    {.first = 16 + LONG, .count = 4000, .rows = 40, .columns = 100},
    {.first = 4016 + LONG, .count = 24, .group = 1, .rows = 2, .columns = 3},
    {.first = 4049 + LONG, .count = 2 * OPTIM_PIECE, .rows = 128, .columns = 256},
};

/* Option sets beside the presets. */
static const struct {
    const char *name, *json;
} sets[] = {
    {"adamw", "{\"amsgrad\": true, \"betas\": [0.8, 0.95]}"},
    {"adam", "{\"amsgrad\": true, \"eps\": 0.001}"},
    {"sgd", "{\"momentum\": 0.9}"},
    {"sgd", "{\"momentum\": 0.9, \"dampening\": 0.25}"},
    {"sgd", "{\"momentum\": 0.9, \"nesterov\": true}"},
    {"lion", "{\"betas\": [0.5, 0.75]}"},
    {"adafactor", "{\"beta1\": 0.9}"},
    {"adafactor", "{\"lr\": 0.01, \"relative_step\": false, \"scale_parameter\": false}"},
    {"adafactor_torch", "{\"d\": 0.5}"},
    {"rmsprop", "{\"momentum\": 0.9}"},
    {"rmsprop", "{\"centered\": true}"},
    {"rmsprop", "{\"centered\": true, \"momentum\": 0.5}"},
    {"adagrad", "{\"lr_decay\": 0.1, \"initial_accumulator_value\": 0.25}"},
    {"adamax", "{\"betas\": [0.5, 0.75]}"},
    {"nadam", "{\"decoupled_weight_decay\": true, \"momentum_decay\": 0.1}"},
    {"radam", "{\"decoupled_weight_decay\": true, \"betas\": [0.9, 0.99]}"},
};

typedef struct run {
    device      *d; /* NULL: the CPU */
    arena        a;
    device_arena there;
    optim        o;
    float       *p, *g;
} run;

static void run_access(run *r, bool open)
{
    if (!r->d || !r->o.kind->kernel)
        return; /* the others compute here */
    set_access(r->p, VALUES * sizeof *r->p, open);
    set_access(r->g, VALUES * sizeof *r->g, open);
    for (int i = 0; i < r->o.n_slots; i++)
        set_access(r->o.slot[i].v, (size_t)r->o.slot[i].count * sizeof(float), open);
}

static void run_open(run *r, device *d, const optimizer *kind, const void *options)
{
    const size_t bytes = 2 * device_arena_room(VALUES * sizeof(float)) +
                         (d ? optim_device_bytes(kind, options, spans, SPANS) : 0);
    static float start[VALUES];

    *r = (run){.d = d};
    MUST(arena_open(&r->a, "test", 1 << 24));
    r->p = arena_take(&r->a, VALUES, sizeof *r->p);
    r->g = arena_take(&r->a, VALUES, sizeof *r->g);
    if (d) {
        MUST(device_arena_open(d, &r->there, "test", bytes));
        MUST(hold(&r->there, r->p, VALUES));
        MUST(hold(&r->there, r->g, VALUES));
    }
    MUST(optim_open(&r->o, &r->a, kind, options, spans, SPANS));
    if (d) {
        MUST(optim_hold(&r->o, &r->there));
        ck_assert_uint_eq(r->there.used, bytes);
    }
    fill(start, VALUES, 1);
    set(r->p, start, VALUES);
    run_access(r, false);
}

static void run_close(run *r)
{
    device_arena_close(&r->there);
    arena_close(&r->a);
}

static void run_steps(run *r, uint32_t from, uint32_t to)
{
    static float g[VALUES];

    for (uint32_t t = from; t < to; t++) {
        const optim_group groups[] = {{1e-2, 0.1}, {2e-2 / (1 + t), 0}};
        const uint8_t     skip[SPANS] = {0, t == 1, t == 5, t < 4, 1, t == 2};
        fill(g, VALUES, 7 + t);
        set(r->g, g, VALUES);
        optim_step(&r->o, r->p, r->g, 0.5, groups, t == 3 ? NULL : skip);
    }
    if (r->d)
        MUST(device_check(r->d));
}

/* Values, state and counts of two runs: the same bits. */
static void compare(run *here, run *there, const char *order)
{
    static float a[VALUES], b[VALUES];
    const char  *name = here->o.kind->name;

    get(here->p, a, VALUES);
    get(there->p, b, VALUES);
    int64_t i = 0;
    while (i < VALUES && memcmp(&a[i], &b[i], sizeof *a) == 0)
        i++;
    ck_assert_msg(i == VALUES, "%s, %s: value %lld is %a on the device, %a here", name, order, (long long)i, b[i],
                  a[i]);
    run_access(there, true);
    MUST(optim_pull(&there->o));
    for (int k = 0; k < here->o.n_slots; k++)
        ck_assert_msg(memcmp(here->o.slot[k].v, there->o.slot[k].v,
                             (size_t)here->o.slot[k].count * sizeof(float)) == 0,
                      "%s, %s: %s differs", name, order, here->o.slot[k].name);
    ck_assert(memcmp(here->o.steps, there->o.steps, SPANS * sizeof *here->o.steps) == 0);
}

static void check_steps(device *d, const optimizer *kind, const char *json)
{
    run    here, there;
    arena  a;
    void  *options;
    cJSON *given = cJSON_Parse(json);

    MUST(arena_open(&a, "options", 1 << 20));
    ck_assert(given != NULL);
    MUST(options_from_json(&a, kind->keys, given, NULL, &options));
    run_open(&here, NULL, kind, options);
    run_steps(&here, 0, STEPS);
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        setenv("CAMBIUM_EMU_ORDER", orders[i], 1);
        run_open(&there, d, kind, options);
        run_steps(&there, 0, 1);
        const size_t left = device_functions(d)->memory_free();
        run_steps(&there, 1, STEPS);
        ck_assert_uint_eq(device_functions(d)->memory_free(), left);
        compare(&here, &there, orders[i]);
        run_close(&there);
    }
    run_close(&here);
    cJSON_Delete(given);
    arena_close(&a);
}

START_TEST(optimizers)
{
    device          *d = test_device(TYPE_F32);
    const optimizer *kind;

    if (!d)
        SKIP("this build has no device");
    for (int row = 0; optim_row(row); row++)
        check_steps(d, optim_row(row), "{}");
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        MUST(optim_find(sets[i].name, &kind));
        check_steps(d, kind, sets[i].json);
    }
    device_close(d);
}
END_TEST

/* optim_open writes no slot that starts at zero: the second one's are closed before they are taken. */
START_TEST(slots_are_only_addresses)
{
    const optimizer *kind;
    void            *options;
    optim            o[2];
    arena            a[2];

    for (int i = 0; i < 2; i++)
        MUST(arena_open(&a[i], "test", 1 << 24));
    MUST(optim_find("adamw", &kind));
    MUST(options_from_json(&a[0], kind->keys, NULL, NULL, &options));
    const size_t before = arena_mark(&a[0]);
    ck_assert_ptr_nonnull(arena_take(&a[1], before, 1));
    MUST(optim_open(&o[0], &a[0], kind, options, spans, SPANS));
    for (int i = 0; i < o[0].n_slots; i++)
        set_access(a[1].base + ((uint8_t *)o[0].slot[i].v - a[0].base), sizeof(float) * (size_t)o[0].slot[i].count,
                   false);
    MUST(optim_open(&o[1], &a[1], kind, options, spans, SPANS));
    for (int i = 0; i < o[0].n_slots; i++)
        ck_assert((uint8_t *)o[0].slot[i].v - a[0].base == (uint8_t *)o[1].slot[i].v - a[1].base);
    for (int i = 0; i < 2; i++)
        arena_close(&a[i]);
}
END_TEST

/* ---- state through a file ---------------------------------------------------------------------------- */

static void save(run *r, const char *path)
{
    h5_file f;

    MUST(h5_create(&f, path));
    run_access(r, true);
    MUST(optim_state_put(&r->o, &f));
    run_access(r, false);
    MUST(h5_finish(&f));
}

static void load(run *r, const char *path)
{
    h5_file f;

    MUST(h5_open(&f, path));
    run_access(r, true);
    MUST(optim_state_get(&r->o, &f));
    run_access(r, false);
    h5_close(&f);
}

/* Steps on the device, saved; the rest on the device or here. */
static void check_resumed(device *d, device *later, const optimizer *kind, const void *options, const char *path,
                          run *whole)
{
    static float p[VALUES];
    run          first, second;

    run_open(&first, d, kind, options);
    run_steps(&first, 0, 5);
    save(&first, path);
    get(first.p, p, VALUES);
    run_close(&first);
    run_open(&second, later, kind, options);
    load(&second, path);
    set(second.p, p, VALUES);
    run_steps(&second, 5, STEPS);
    compare(whole, &second, later ? "resumed there" : "resumed here");
    run_close(&second);
}

static void check_not_finite(device *d, const optimizer *kind, const void *options, const char *path)
{
    const float bad = NAN;
    run         r;
    h5_file     f;

    run_open(&r, d, kind, options);
    run_access(&r, true);
    if (r.o.there.slot[0]) {
        set(&r.o.slot[0].v[r.o.slot[0].count - 1], &bad, 1);
        MUST(h5_create(&f, path));
        MUST_FAIL(optim_state_put(&r.o, &f), "of tensor 5 is nan, must be finite");
        MUST(h5_finish(&f));
    }
    run_close(&r);
}

START_TEST(state_in_a_file)
{
    device *d = test_device(TYPE_F32);
    char    folder[64], path[128];
    arena   a;
    int     checked = 0;

    if (!d)
        SKIP("this build has no device");
    MUST(arena_open(&a, "options", 1 << 20));
    snprintf(path, sizeof path, "%s/state.h5", test_folder(folder));
    for (int row = 0; optim_row(row); row++) {
        const optimizer *kind = optim_row(row);
        void            *options;
        run              whole;
        MUST(options_from_json(&a, kind->keys, NULL, NULL, &options));
        run_open(&whole, NULL, kind, options);
        run_steps(&whole, 0, STEPS);
        check_resumed(d, d, kind, options, path, &whole);
        check_resumed(d, NULL, kind, options, path, &whole);
        check_not_finite(d, kind, options, path);
        run_close(&whole);
        checked += kind->kernel != NULL;
    }
    ck_assert_int_ge(checked, 9);
    MUST(folder_remove_tree(folder));
    arena_close(&a);
    device_close(d);
}
END_TEST

/* ---- clipping ---------------------------------------------------------------------------------------- */

enum { BIG = 9 * OPTIM_PIECE + 77 };

typedef struct clipped {
    double norm, factor;
    float  g[BIG];
} clipped;

static void clip(clipped *out, float *buffer, const float *g, int64_t n, const clip_options *options)
{
    set(buffer, g, n);
    out->factor = clip_gradient(options, buffer, n, 0.7, &out->norm);
    get(buffer, out->g, n);
}

static bool same_number(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* buffer has a twin, here has none. */
static void check_clip(float *buffer, float *here, const float *g, int64_t n, const clip_options *options)
{
    static clipped want, got;

    clip(&want, here, g, n, options);
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        setenv("CAMBIUM_EMU_ORDER", orders[i], 1);
        clip(&got, buffer, g, n, options);
        ck_assert_msg(same_number(got.norm, want.norm), "%lld values, %s: the norm is %a, must be %a", (long long)n,
                      orders[i], got.norm, want.norm);
        ck_assert_msg(same_number(got.factor, want.factor), "%lld values, %s: the factor is %a, must be %a",
                      (long long)n, orders[i], got.factor, want.factor);
        ck_assert_msg(same(got.g, want.g, n), "%lld values, %s: values differ", (long long)n, orders[i]);
    }
}

START_TEST(clipping)
{
    const int64_t      sizes[] = {0, 1, 7, 31, 64, 100, 777, OPTIM_PIECE + 9};
    const clip_options options[] = {{.clip = 1}, {.clip = 1, .clip_norm = "inf"}, {.clip = 1, .clip_value = 0.25},
                                    {.clip_norm = "inf", .clip_value = 0.25}};
    const float        bad[] = {NAN, INFINITY, -INFINITY, -3e38f};
    static float       g[BIG];
    device            *d = test_device(TYPE_F32);
    device_arena       there;
    arena              a;

    if (!d)
        SKIP("this build has no device");
    MUST(arena_open(&a, "test", 1 << 24));
    MUST(device_arena_open(d, &there, "test", BIG * sizeof *g));
    float *buffer = arena_take(&a, BIG, sizeof *g), *here = arena_take(&a, BIG, sizeof *g);
    MUST(hold(&there, buffer, BIG));
    set_access(buffer, BIG * sizeof *g, false);
    for (size_t k = 0; k < COUNT_OF(options); k++) {
        for (uint32_t seed = 3; seed < 13; seed++) { /* one sum in another order has the same bits by chance */
            fill(g, BIG, seed);
            for (size_t i = 0; i < COUNT_OF(sizes); i++)
                check_clip(buffer, here, g, sizes[i], &options[k]);
        }
        check_clip(buffer, here, g, BIG, &options[k]);
        for (size_t i = 0; i < COUNT_OF(bad); i++) {
            g[2 * OPTIM_PIECE + 9] = bad[i];
            check_clip(buffer, here, g, BIG, &options[k]);
        }
        g[BIG - 1] = NAN;
        check_clip(buffer, here, g, BIG, &options[k]);
    }
    MUST(device_check(d));
    device_arena_close(&there);
    arena_close(&a);
    device_close(d);
}
END_TEST

/* ---- sums of gradients -------------------------------------------------------------------------------- */

enum { GRADIENT = 3 * 4096 + 5, LEAVES = 9 };

/* A step of n leaves whose gradients are added to what the buffer holds at first: zero. */
static void sum_leaves(leaf_sum *s, int n, float *out, double *loss)
{
    static float before[GRADIENT], g[GRADIENT];

    leaf_sum_start(s);
    for (int leaf = 0; leaf < n; leaf++) {
        float *buffer = leaf_sum_begin(s);
        get(buffer, before, GRADIENT);
        int64_t zeros = 0;
        for (int64_t i = 0; i < GRADIENT; i++)
            zeros += before[i] == 0;
        ck_assert_int_eq(zeros, GRADIENT);
        fill(g, GRADIENT, 11 + (uint32_t)leaf);
        set(buffer, g, GRADIENT);
        leaf_sum_end(s, 1.0 / (leaf + 3));
    }
    get(leaf_sum_total(s, loss), out, GRADIENT);
}

START_TEST(sums_of_gradients)
{
    static float want[GRADIENT], got[GRADIENT];
    device      *d = test_device(TYPE_F32);
    const int    buffers = leaf_sum_buffers(LEAVES);
    leaf_sum     here, there;
    double       want_loss, got_loss;
    device_arena memory;
    arena        a;

    if (!d)
        SKIP("this build has no device");
    MUST(arena_open(&a, "test", 1 << 24));
    MUST(leaf_sum_open(&here, &a, GRADIENT, LEAVES));
    MUST(leaf_sum_open(&there, &a, GRADIENT, LEAVES));
    MUST(device_arena_open(d, &memory, "test", (size_t)buffers * device_arena_room(sizeof want)));
    for (int i = 0; i < buffers; i++) {
        MUST(hold(&memory, there.buffer[i], GRADIENT));
        set_access(there.buffer[i], sizeof want, false);
    }
    for (int n = 1; n <= LEAVES; n++)
        for (size_t i = 0; i < COUNT_OF(orders); i++) {
            setenv("CAMBIUM_EMU_ORDER", orders[i], 1);
            sum_leaves(&here, n, want, &want_loss);
            sum_leaves(&there, n, got, &got_loss);
            ck_assert_msg(memcmp(want, got, sizeof want) == 0, "%d leaves, %s: the sum differs", n, orders[i]);
            ck_assert(want_loss == got_loss);
        }
    MUST(device_check(d));
    device_arena_close(&memory);
    arena_close(&a);
    device_close(d);
}
END_TEST

TESTS(cuda_optim, optimizers, slots_are_only_addresses, state_in_a_file, clipping, sums_of_gradients)
