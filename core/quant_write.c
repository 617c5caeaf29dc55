/* quant_write: plain types, and blocks with one scale (q8_0, q4_0) or a scale and a minimum (q4_1) */
#include "core/quant_write.h"

#include "core/quant_fit.h"

#include <string.h>

enum { N = 32, STEPS = 6 }; /* values of a block; scales tried on either side of the first one */

/* ---- plain types --------------------------------------------------------------------------------- */

static void block_write_f32(const float *x, uint8_t *b)
{
    memcpy(b, x, 4);
}

static void block_write_f16(const float *x, uint8_t *b)
{
    const uint16_t h = f32_to_f16(*x);

    memcpy(b, &h, 2);
}

static void block_write_bf16(const float *x, uint8_t *b)
{
    const uint16_t h = f32_to_bf16(*x);

    memcpy(b, &h, 2);
}

/* ---- q d + m ------------------------------------------------------------------------------------- */

/* A block's numbers and what they cost. */
typedef struct scales {
    float d, m, error;
} scales;

static void load(const float *x, floats16 v[2])
{
    memcpy(v, x, N * sizeof *x);
}

static ALWAYS_INLINE floats16 levels(floats16 x, scales s, float lo, float hi)
{
    return s.d != 0 ? clamp16(nearest16((x - s.m) * (1 / s.d)), lo, hi) : (floats16){0};
}

static float error_of(const floats16 x[2], scales s, float lo, float hi)
{
    floats16 sum = {0};

    for (int i = 0; i < 2; i++) {
        const floats16 e = levels(x[i], s, lo, hi) * s.d + s.m - x[i];
        sum += e * e;
    }
    return sum16(sum);
}

/* Every value is a level exactly. */
static bool exact(const float *x, float d, float m, float lo, float hi)
{
    if (d == 0 || !isfinite(d) || !isfinite(m))
        return false;
    for (int i = 0; i < N; i++) {
        const float q = nearest((x[i] - m) / d);
        if (!(q >= lo && q <= hi) || q * d + m != x[i])
            return false;
    }
    return true;
}

static void keep_better(const floats16 x[2], scales *best, float d, float m, float lo, float hi)
{
    scales s = {.d = d, .m = m};

    s.error = error_of(x, s, lo, hi);
    if (s.error < best->error)
        *best = s;
}

/* The scale with the smallest squared error for the levels that a first guess gives. */
static float fitted(const floats16 x[2], float guess, float lo, float hi)
{
    floats16 xq = {0}, qq = {0};

    for (int i = 0; i < 2; i++) {
        const floats16 q = levels(x[i], (scales){.d = guess}, lo, hi);
        xq += x[i] * q;
        qq += q * q;
    }
    const float most = sum16(qq);
    return most > 0 ? sum16(xq) / most : 0;
}

/* The same for a line: *d and *m. */
static void fitted_line(const floats16 x[2], float *d, float *m, float hi)
{
    floats16 q1 = {0}, qq = {0}, xs = {0}, xq = {0};

    for (int i = 0; i < 2; i++) {
        const floats16 q = levels(x[i], (scales){.d = *d, .m = *m}, 0, hi), from = x[i] - *m;
        q1 += q;
        qq += q * q;
        xs += from;
        xq += from * q;
    }
    const float a = sum16(q1), b = sum16(qq), c = sum16(xs), e = sum16(xq), det = N * b - a * a;
    if (det <= 0)
        return;
    *d = (N * e - a * c) / det;
    *m += (b * c - a * e) / det;
}

/* The value that is farthest from zero. */
static float farthest(const float *x)
{
    float most = 0;

    for (int i = 0; i < N; i++)
        most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
    return most;
}

/* The share of a value between `from` (0) and `from` + `width` (1); 0 when none lies there. Whole levels make
 * it a whole number of k-th parts, which is quickly seen not to be so. */
static float some_share(const float *x, float from, float width)
{
    for (int i = 0; i < N; i++) {
        const float share = (x[i] - from) / width;
        if (share != 0 && fabsf(share) < 1)
            return share;
    }
    return 0;
}

static bool may_be_whole(float share, float k)
{
    return fabsf(share * k - nearest(share * k)) < 0.01f;
}

/* d for levels lo..hi, lo = -(hi + 1). cut: the farthest value may move for the sake of the others. */
static float symmetric(const float *x, float lo, float hi, bool cut)
{
    const float most = farthest(x);
    scales      best = {.error = INFINITY};
    floats16    v[2];

    if (most == 0)
        return 0;
    const float share = some_share(x, 0, most);
    for (float k = -lo; k > 0; k--) {
        if (!may_be_whole(share, k))
            continue;
        if (exact(x, half(most / k), 0, lo, hi))
            return half(most / k);
        if (exact(x, half(most / -k), 0, lo, hi))
            return half(most / -k);
    }
    load(x, v);
    for (int side = 0; side < 2; side++)
        keep_better(v, &best, half_not_zero(most / (side ? lo : hi)), 0, lo, hi);
    for (int t = -STEPS; cut && t <= STEPS; t++)
        for (int side = 0; side < 2; side++) {
            const float edge = side ? lo - 0.1f * (float)t : hi + 0.1f * (float)t;
            keep_better(v, &best, half_not_zero(fitted(v, most / edge, lo, hi)), 0, lo, hi);
        }
    return best.error < INFINITY ? best.d : INFINITY;
}

static void block_write_q8_0(const float *x, uint8_t *b)
{
    const float d = symmetric(x, -128, 127, false);

    put_half(b, d);
    for (int i = 0; i < N; i++)
        b[2 + i] = (uint8_t)(int8_t)(d != 0 ? clamp(nearest(x[i] / d), -128, 127) : 0);
}

/* Half bytes: value i in the low, value i + 16 in the high half. */
static void pack(const float *x, scales s, float lo, uint8_t *b)
{
    for (int i = 0; i < 16; i++) {
        int q[2];
        for (int k = 0; k < 2; k++)
            q[k] = (int)(s.d != 0 ? clamp(nearest((x[i + 16 * k] - s.m) / s.d), lo, lo + 15) - lo : -lo);
        b[i] = (uint8_t)(q[0] | q[1] << 4);
    }
}

static void block_write_q4_0(const float *x, uint8_t *b)
{
    const float d = symmetric(x, -8, 7, true);

    put_half(b, d);
    pack(x, (scales){.d = d}, -8, b + 2);
}

/* d and m that represent the block exactly; false when there are none. The smallest value has level `from`,
 * the largest `from + k`, or the other way round with a negative d. */
static bool exact_line(const float *x, float least, float most, scales *out)
{
    const float share = some_share(x, least, most - least);

    for (int k = 15; k > 0; k--)
        for (int from = may_be_whole(share, (float)k) ? 0 : 16; from + k <= 15; from++)
            for (int side = 0; side < 2; side++) {
                const float d = half((side ? least - most : most - least) / (float)k);
                const float m = half((side ? most : least) - (float)from * d);
                if (!exact(x, d, m, 0, 15))
                    continue;
                *out = (scales){.d = d, .m = m};
                return true;
            }
    return false;
}

static scales line(const float *x)
{
    float    least = x[0], most = x[0];
    scales   best = {.error = INFINITY};
    floats16 v[2];

    for (int i = 1; i < N; i++) {
        least = fminf(least, x[i]);
        most = fmaxf(most, x[i]);
    }
    if (most == least && half(least) == least)
        return (scales){.m = least};
    if (exact_line(x, least, most, &best))
        return best;
    load(x, v);
    if (most == least) /* what the minimum lacks, as one level */
        return (scales){.d = half_not_zero(least - half(least)), .m = half(least)};
    for (int t = -STEPS; t <= STEPS; t++) {
        float d = (most - least) / (15 + 0.2f * (float)t), m = least + (most - least - 15 * d) / 2;
        keep_better(v, &best, half_not_zero(d), half(m), 0, 15);
        m = least;
        fitted_line(v, &d, &m, 15);
        keep_better(v, &best, half_not_zero(d), half(m), 0, 15);
    }
    return best.error < INFINITY ? best : (scales){.d = INFINITY};
}

static void block_write_q4_1(const float *x, uint8_t *b)
{
    const scales s = line(x);

    put_half(b, s.d);
    put_half(b + 2, s.m);
    pack(x, s, 0, b + 4);
}

/* ---- all types ----------------------------------------------------------------------------------- */

typedef void block_writer(const float *x, uint8_t *b);

static block_writer *const writers[TYPE_COUNT] = {
    [TYPE_F32] = block_write_f32,   [TYPE_F16] = block_write_f16,   [TYPE_BF16] = block_write_bf16,
    [TYPE_Q8_0] = block_write_q8_0, [TYPE_Q4_0] = block_write_q4_0, [TYPE_Q4_1] = block_write_q4_1,
    [TYPE_Q4_K] = block_write_q4_k, [TYPE_Q6_K] = block_write_q6_k};

bool quant_can_write(dtype t)
{
    return t < TYPE_COUNT && writers[t] != NULL;
}

void quant_write(dtype t, const float *v, int64_t n, void *blocks)
{
    const int64_t values = dtype_block(t), bytes = dtype_block_bytes(t);
    uint8_t      *b = blocks;

    CHECK(quant_can_write(t));
    CHECK(n >= 0 && n % values == 0);
    for (int64_t i = 0; i < n / values; i++)
        writers[t](v + i * values, b + i * bytes);
}
