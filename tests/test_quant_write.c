/* quant_write: values into blocks and back */
#include "tests/helpers.h"

#include "core/quant.h"
#include "core/quant_write.h"
#include "core/rng.h"
#include "core/safetensors.h"

#include <math.h>

enum { N = 256 * 64 };

static const dtype block_types[] = {TYPE_Q8_0, TYPE_Q4_0, TYPE_Q4_1, TYPE_Q4_K, TYPE_Q6_K};

static float   given[N], back[N], again[N];
static uint8_t blocks[N * 4];

static uint64_t next_random(uint64_t *state)
{
    /* xorshift64*: Marsaglia 2003, Vigna 2016 */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1Du;
}

/* Near a normal distribution: the sum of twelve uniform numbers. */
static float normal(uint64_t *state)
{
    double sum = -6;

    for (int i = 0; i < 12; i++)
        sum += (double)(next_random(state) >> 11) * 0x1p-53;
    return (float)sum;
}

static void through(dtype t, const float *v, float *out)
{
    quant_write(t, v, N, blocks);
    quant_expand(t, blocks, N, out);
}

static double relative_rms(const float *a, const float *b)
{
    double e = 0, x = 0;

    for (int i = 0; i < N; i++) {
        e += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        x += (double)a[i] * (double)a[i];
    }
    return sqrt(e / x);
}

/* Of normal values. What uniform steps over the range of a block must cost at least, times 1.1 for the
 * rounding of the scales: measured here are 0.00510, 0.0852, 0.0738, 0.0700 and 0.0173 */
static double bound_of(dtype t)
{
    switch (t) {
    case TYPE_Q8_0:
        return 0.0055;
    case TYPE_Q4_0:
        return 0.090;
    case TYPE_Q4_1:
        return 0.080;
    case TYPE_Q4_K:
        return 0.075;
    default:
        return 0.019;
    }
}

START_TEST(errors_are_small)
{
    uint64_t r = 88172645463325252u;

    for (int i = 0; i < N; i++)
        given[i] = 0.05f * normal(&r);
    for (size_t k = 0; k < COUNT_OF(block_types); k++) {
        through(block_types[k], given, back);
        const double e = relative_rms(given, back);
        printf("%s: relative rms error of normal values %.5f\n", dtype_name(block_types[k]), e);
        ck_assert_msg(e < bound_of(block_types[k]), "%s: %g", dtype_name(block_types[k]), e);
        ck_assert(e > 0);
    }
}
END_TEST

/* A scale is a half, 2^-11 off at most: 127 steps of q8_0 add 1/16 of a step to the half. The blocks of q4
 * may cut the largest value by a step for the sake of the others. */
START_TEST(no_value_moves_far)
{
    const struct {
        dtype type;
        float levels, far;
    } types[] = {{TYPE_Q8_0, 127, 0.57f}, {TYPE_Q4_0, 7, 1.3f}, {TYPE_Q4_1, 7.5f, 1.3f}};
    uint64_t r = 1234567;

    for (int i = 0; i < N; i++) /* blocks between 1e-3 and 1e3, some with an outlier */
        given[i] = normal(&r) * (float)pow(10, (double)(i / 32 % 7 - 3)) * (i % 97 == 0 ? 20 : 1);
    for (size_t k = 0; k < COUNT_OF(types); k++) {
        through(types[k].type, given, back);
        for (int i = 0; i < N; i += 32) {
            float most = 0;
            for (int j = i; j < i + 32; j++)
                most = fmaxf(most, fabsf(given[j]));
            for (int j = i; j < i + 32; j++)
                ck_assert_msg(fabsf(back[j] - given[j]) <= types[k].far * most / types[k].levels,
                              "%s: %g became %g, the block's largest is %g", dtype_name(types[k].type),
                              (double)given[j], (double)back[j], (double)most);
        }
    }
}
END_TEST

START_TEST(what_a_type_holds_stays)
{
    uint64_t r = 42;

    for (int i = 0; i < N; i++)
        given[i] = 0.02f * normal(&r) * (1 + (float)(i / 256));
    for (size_t k = 0; k < COUNT_OF(block_types); k++) {
        through(block_types[k], given, back);
        through(block_types[k], back, again);
        for (int i = 0; i < N; i++)
            ck_assert_msg(back[i] == again[i], "%s: value %d: %g, then %g", dtype_name(block_types[k]), i,
                          (double)back[i], (double)again[i]);
    }
}
END_TEST

static void put_half(uint8_t *b, float x)
{
    const uint16_t h = f32_to_f16(x);

    memcpy(b, &h, 2);
}

/* Blocks of random bytes with reasonable scales, as no quantiser need have made them. */
START_TEST(random_blocks_stay)
{
    uint64_t r = 4711;

    for (size_t k = 0; k < COUNT_OF(block_types); k++) {
        const dtype   t = block_types[k];
        const int64_t bytes = dtype_block_bytes(t), n = N / dtype_block(t);
        for (int64_t i = 0; i < n * bytes; i++)
            blocks[i] = (uint8_t)(next_random(&r) >> 32);
        for (int64_t i = 0; i < n; i++) {
            uint8_t    *b = blocks + i * bytes;
            const float d = 0.001f + 0.01f * (float)(next_random(&r) >> 40) * 0x1p-24f;
            put_half(t == TYPE_Q6_K ? b + 208 : b, d);
            if (t == TYPE_Q4_1 || t == TYPE_Q4_K)
                put_half(b + 2, t == TYPE_Q4_1 ? -7 * d : d / 2);
        }
        quant_expand(t, blocks, N, back);
        through(t, back, again);
        int wrong = 0;
        for (int i = 0; i < N; i++)
            wrong += back[i] != again[i];
        ck_assert_msg(wrong == 0, "%s: %d of %d values changed", dtype_name(t), wrong, N);
    }
}
END_TEST

START_TEST(odd_blocks)
{
    for (size_t k = 0; k < COUNT_OF(block_types); k++) {
        const dtype t = block_types[k];
        for (int i = 0; i < N; i++) /* zeros, a constant, one value, tiny ones, an outlier */
            given[i] = i / 256 % 8 == 0   ? 0
                       : i / 256 % 8 == 1 ? 0.75f
                       : i / 256 % 8 == 2 ? (i % 256 == 77 ? -3.f : 0)
                       : i / 256 % 8 == 3 ? (float)(i % 16) * 1e-7f
                       : i / 256 % 8 == 4 ? (float)(i % 8) * 1e-30f
                       : i / 256 % 8 == 5 ? -0.3f
                       : i / 256 % 8 == 6 ? (i % 32 == 5 ? 1000 : 1e-3f * (float)(i % 8))
                                          : (float)(i % 2);
        through(t, given, back);
        for (int i = 0; i < N; i++) {
            const int kind = i / 256 % 8;
            ck_assert(isfinite(back[i]));
            if (kind == 0 || kind == 7)
                ck_assert_msg(back[i] == given[i], "%s", dtype_name(t));
            if (kind == 1 || kind == 2 || kind == 5)
                ck_assert_msg(fabsf(back[i] - given[i]) <= 1e-3f * fabsf(given[i]), "%s: %g became %g",
                              dtype_name(t), (double)given[i], (double)back[i]);
            if (kind == 4)
                ck_assert(fabsf(back[i]) < 1e-7f);
        }
        given[0] = 1e9f; /* beyond a half as a scale: it shows */
        through(t, given, back);
        ck_assert_msg(!isfinite(back[0]), "%s: 1e9 became %g", dtype_name(t), (double)back[0]);
    }
}
END_TEST

START_TEST(plain_types_round)
{
    float v[4] = {1, -2.5f, 65504, 1e-8f}, out[4];

    quant_write(TYPE_F32, v, 4, blocks);
    ck_assert(memcmp(blocks, v, sizeof v) == 0);
    quant_write(TYPE_F16, v, 4, blocks);
    quant_expand(TYPE_F16, blocks, 4, out);
    ck_assert(out[0] == 1 && out[1] == -2.5f && out[2] == 65504 && out[3] == 0);
    v[2] = 1.00390625f;
    quant_write(TYPE_BF16, v, 4, blocks);
    quant_expand(TYPE_BF16, blocks, 4, out);
    ck_assert(out[0] == 1 && out[1] == -2.5f && out[2] == 1);
    ck_assert(!quant_can_write(TYPE_Q5_K) && !quant_can_write(TYPE_I32) && quant_can_write(TYPE_Q6_K));
}
END_TEST

/* The reference's expanded blocks, some of which hold random bytes, are made again. */
START_TEST(golden_types_stay)
{
    safetensors s;
    arena       a = {0};

    if (!golden_folder())
        SKIP("no golden files");
    MUST(arena_open(&a, "setup", (size_t)1 << 28));
    MUST(safetensors_open(&a, arena_printf(&a, "%s/gguf/types/expected.safetensors", golden_folder()), &s));
    for (size_t k = 0; k < COUNT_OF(block_types); k++) {
        const safetensors_entry *e = safetensors_find(&s, dtype_name(block_types[k]));
        ck_assert_ptr_nonnull(e);
        const int64_t n = shape_count(e->t.s);
        ck_assert_int_le(n, N);
        memcpy(given, e->v, e->bytes);
        quant_write(block_types[k], given, n, blocks);
        quant_expand(block_types[k], blocks, n, back);
        for (int64_t i = 0; i < n; i++)
            ck_assert_msg(back[i] == given[i], "%s: value %d: %g, then %g", dtype_name(block_types[k]),
                          (int)i, (double)given[i], (double)back[i]);
    }
    safetensors_close(&s);
    arena_close(&a);
}
END_TEST

TESTS(quant_write, errors_are_small, no_value_moves_far, what_a_type_holds_stays, random_blocks_stay,
      odd_blocks, plain_types_round, golden_types_stay)
