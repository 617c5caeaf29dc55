/* rows: a few rows of f32 against rows of a stored weight
 *
 * N rows of the weight go side by side, M rows of a share every expanded vector. Each output has one
 * vector of sums; the value of k at step s goes to a lane that depends on k alone, and the lanes are
 * added in one fixed order. Products of a scale (11 bits) and a stored number (at most 8 bits) are exact
 * in f32, so that an expanded value has the bits of the format's definition whether or not the
 * compiler fuses. */
#include "core/cpu/isa/names.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#define NATIVE 1
#else
#define NATIVE 0
#endif

enum {
    L = TILE_LANES,
    STEP = DOT_STEP,  /* values of k that are expanded together: one block */
    PAIRS = STEP / (2 * L),
    CHUNK = 64,       /* blocks whose scales are read ahead */
    PART = 512,       /* values of a row that are expanded through memory, for types without kernels */
    AHEAD = 4096      /* bytes of b that are asked for ahead of their use */
};

/* ---- expansion ------------------------------------------------------------------------------------- */

static ALWAYS_INLINE vec load(const float *x)
{
    vec v;

    memcpy(&v, x, sizeof v);
    return v;
}

/* Minus zero, unlike plus zero, changes no value: this is a broadcast and nothing else. */
static ALWAYS_INLINE vec all(float x)
{
    return x - (vec){0};
}

static ALWAYS_INLINE int64_t step_bytes(const dtype type)
{
    return type == TYPE_F32 ? 4 * STEP : type == TYPE_Q4_0 ? 18 : type == TYPE_Q4_1 ? 20
           : type == TYPE_Q8_0 ? 34 : 2 * STEP;
}

#if NATIVE
#if TILE_LANES == 16
typedef __m512i ints;
static ALWAYS_INLINE ints bytes_to_ints(const uint8_t *b)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)b));
}
static ALWAYS_INLINE vec signed_bytes(const uint8_t *b)
{
    return (vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)b)));
}
static ALWAYS_INLINE vec halves(const uint8_t *b)
{
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)b));
}
static ALWAYS_INLINE vec bfloats(const uint8_t *b)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)b);
    return (vec)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
#else
typedef __m256i ints;
static ALWAYS_INLINE ints bytes_to_ints(const uint8_t *b)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)b));
}
static ALWAYS_INLINE vec signed_bytes(const uint8_t *b)
{
    return (vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)b)));
}
static ALWAYS_INLINE vec halves(const uint8_t *b)
{
    return (vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)b));
}
static ALWAYS_INLINE vec bfloats(const uint8_t *b)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)b);
    return (vec)_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
#endif

/* Scales of a row's blocks as f32: d and, for q4_1, m. */
static ALWAYS_INLINE void read_scales(const dtype type, const uint8_t *b, int64_t blocks, float *scales)
{
#pragma GCC unroll 4
    for (int64_t i = 0; i < blocks; i++, b += step_bytes(type)) {
        const __m128 x = _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)(const void *)b));
        _mm_storel_pi((__m64 *)(void *)(scales + 2 * i), x);
    }
}

/* What turns the 4-bit numbers of a block into values. */
typedef struct nibbles {
    vec d, m; /* of AVX-512, d is the table of 16 values */
} nibbles;

static ALWAYS_INLINE nibbles block_nibbles(const dtype type, const float *scales)
{
    const vec d = all(scales[0]), m = type == TYPE_Q4_1 ? all(scales[1]) : (vec){0};
#if TILE_LANES == 16
    const vec numbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (nibbles){.d = type == TYPE_Q4_1 ? numbers * d + m : (numbers - 8) * d};
#else
    return (nibbles){d, type == TYPE_Q4_1 ? m : d * -8};
#endif
}

/* The low and the high halves of L bytes. */
static ALWAYS_INLINE void expand_nibbles(const nibbles *t, const uint8_t *b, vec *low, vec *high)
{
    const ints q = bytes_to_ints(b);
#if TILE_LANES == 16 /* the table's lookup takes no notice of higher bits */
    *low = (vec)_mm512_permutexvar_ps(q, (__m512)t->d);
    *high = (vec)_mm512_permutexvar_ps(_mm512_srli_epi32(q, 4), (__m512)t->d);
#else
    *low = (vec)_mm256_cvtepi32_ps(_mm256_and_si256(q, _mm256_set1_epi32(15))) * t->d + t->m;
    *high = (vec)_mm256_cvtepi32_ps(_mm256_srli_epi32(q, 4)) * t->d + t->m;
#endif
}
#endif

/* ---- sums of lanes ---------------------------------------------------------------------------------- */

typedef VECTOR(float, 16) vec4;

/* Lanes i, i + 4, i + 8 .. of four sums. */
static ALWAYS_INLINE vec4 fold(vec v)
{
    vec4 part[L / 4];

    memcpy(part, &v, sizeof part);
#if TILE_LANES == 16
    return (part[0] + part[2]) + (part[1] + part[3]);
#elif TILE_LANES == 8
    return part[0] + part[1];
#else
    return part[0];
#endif
}

/* out[i] = ((f[i][0] + f[i][1]) + (f[i][2] + f[i][3])) */
static ALWAYS_INLINE vec4 fold_four(const vec4 f[4])
{
    typedef VECTOR(int32_t, 16) index;
    const vec4 a = __builtin_shuffle(f[0], f[1], (index){0, 2, 4, 6});
    const vec4 b = __builtin_shuffle(f[0], f[1], (index){1, 3, 5, 7});
    const vec4 c = __builtin_shuffle(f[2], f[3], (index){0, 2, 4, 6});
    const vec4 d = __builtin_shuffle(f[2], f[3], (index){1, 3, 5, 7});
    const vec4 x = a + b, y = c + d; /* x: 01 and 23 of f[0], then of f[1] */

    return __builtin_shuffle(x, y, (index){0, 2, 4, 6}) + __builtin_shuffle(x, y, (index){1, 3, 5, 7});
}

/* ---- dot products ----------------------------------------------------------------------------------- */

/* One step of k: N rows of b at bytes b + n * row, a[M, STEP]. scales: N rows of 2 * CHUNK. */
static ALWAYS_INLINE void step(const dtype type, const int M, const int N, const float *a,
                               const uint8_t *b, int64_t row, const float *scales, vec sum[][DOT_ROWS])
{
#if NATIVE
    nibbles    t[4];
    const bool four = type == TYPE_Q4_0 || type == TYPE_Q4_1;

    if (four) {
#pragma GCC unroll 4
        for (int n = 0; n < N; n++)
            t[n] = block_nibbles(type, scales + n * 2 * CHUNK);
    }
#else
    (void)type, (void)scales, (void)all;
#endif
#pragma GCC unroll 4
    for (int p = 0; p < PAIRS; p++) {
        vec     w[4][2];
        int64_t at[2] = {2 * p * L, (2 * p + 1) * L};
#pragma GCC unroll 4
        for (int n = 0; n < N; n++) {
            const uint8_t *r = b + n * row;
#if NATIVE
            if (four) {
                expand_nibbles(&t[n], r + (type == TYPE_Q4_1 ? 4 : 2) + p * L, &w[n][0], &w[n][1]);
                continue;
            }
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++)
                w[n][i] = type == TYPE_Q8_0   ? signed_bytes(r + 2 + at[i]) * all(scales[n * 2 * CHUNK])
                          : type == TYPE_F16  ? halves(r + 2 * at[i])
                          : type == TYPE_BF16 ? bfloats(r + 2 * at[i])
                                              : load((const float *)(const void *)r + at[i]);
#else
            w[n][0] = load((const float *)(const void *)r + at[0]);
            w[n][1] = load((const float *)(const void *)r + at[1]);
#endif
        }
#if NATIVE
        if (four)
            at[0] = p * L, at[1] = STEP / 2 + p * L;
#endif
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++)
#pragma GCC unroll 8
            for (int m = 0; m < M; m++) {
                const vec x = load(a + m * STEP + at[i]);
#pragma GCC unroll 4
                for (int n = 0; n < N; n++)
                    sum[n][m] += w[n][i] * x;
            }
    }
}

/* Types without kernels, and what is left of a row: through memory, a part of each row at a time, as f32
 * with zeros up to a whole step. */
static ALWAYS_INLINE void by_parts(const dot_args *d, const dtype type, const int M, const int N, int64_t from,
                                   const uint8_t *b, vec sum[][DOT_ROWS])
{
    const int64_t block = dtype_block(type), bytes = dtype_block_bytes(type);
    float ALIGNED(64) w[4 * PART];

    for (int64_t k = from; k < d->k; k += PART) {
        const int64_t part = d->k - k < PART ? d->k - k : PART, whole = (part + STEP - 1) / STEP * STEP;
        for (int n = 0; n < N; n++) {
            d->expand(type, b + n * d->row + k / block * bytes, part, w + n * PART);
            memset(w + n * PART + part, 0, (size_t)(whole - part) * sizeof *w);
        }
        for (int64_t s = 0; s < whole; s += STEP)
            step(TYPE_F32, M, N, d->a + (k + s) * M, (const uint8_t *)(w + s), PART * sizeof(float), NULL, sum);
    }
}

/* The last n values of f32 rows, whole vectors; each goes to the lane that a whole step puts it in. */
static ALWAYS_INLINE void last_vectors(const int M, const int N, const float *a, const float *b, int64_t row,
                                       int64_t n, vec sum[][DOT_ROWS])
{
    for (int64_t k = 0; k < n; k += L)
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            const vec x = load(a + m * STEP + k);
#pragma GCC unroll 4
            for (int r = 0; r < N; r++)
                sum[r][m] += load(b + r * row + k) * x;
        }
}

static ALWAYS_INLINE void by_steps(const dot_args *d, const dtype type, const int M, const int N,
                                   const uint8_t *b, vec sum[][DOT_ROWS])
{
    const int64_t steps = d->k / STEP, bytes = step_bytes(type);
    float         scales[4 * 2 * CHUNK];

    if (d->row == steps * bytes) /* rows lie one behind the other */
        for (int64_t at = 0; at < N * d->row; at += 64)
            __builtin_prefetch(b + AHEAD + at);
    for (int64_t s = 0; s < steps; s += CHUNK) {
        const int64_t  n_steps = steps - s < CHUNK ? steps - s : CHUNK;
        const float   *a = d->a + s * M * STEP;
        const uint8_t *at = b + s * bytes;
#if NATIVE
        if (type == TYPE_Q4_0 || type == TYPE_Q4_1 || type == TYPE_Q8_0)
            for (int n = 0; n < N; n++)
                read_scales(type, at + n * d->row, n_steps, scales + n * 2 * CHUNK);
#endif
        for (int64_t i = 0; i < n_steps; i++)
            step(type, M, N, a + i * M * STEP, at + i * bytes, d->row, scales + 2 * i, sum);
    }
    if (steps * STEP == d->k)
        return;
    if (type == TYPE_F32 && d->k % L == 0)
        last_vectors(M, N, d->a + steps * M * STEP, (const float *)(const void *)b + steps * STEP,
                     d->row / (int64_t)sizeof(float), d->k % STEP, sum);
    else
        by_parts(d, type, M, N, steps * STEP, b, sum);
}

/* Rows j .. j + N - 1 of b. type: TYPE_COUNT stands for those without kernels. */
static ALWAYS_INLINE void some_rows(const dot_args *d, const dtype type, const int M, const int N, int64_t j)
{
    const uint8_t *b = (const uint8_t *)d->b + j * d->row;
    vec            sum[4][DOT_ROWS];

#pragma GCC unroll 4
    for (int n = 0; n < N; n++)
#pragma GCC unroll 8
        for (int m = 0; m < M; m++)
            sum[n][m] = (vec){0};
    if (type == TYPE_COUNT)
        by_parts(d, d->type, M, N, 0, b, sum);
    else
        by_steps(d, type, M, N, b, sum);
#pragma GCC unroll 8
    for (int m = 0; m < M; m++) {
        vec4 f[4] = {{0}};
#pragma GCC unroll 4
        for (int n = 0; n < N; n++)
            f[n] = fold(sum[n][m]);
        f[0] = fold_four(f);
        memcpy(d->out + m * d->ldo + j, &f[0], N * sizeof(float));
    }
}

/* As many rows of b at once as registers hold sums for. */
static ALWAYS_INLINE void all_rows(const dot_args *d, const dtype type, const int M)
{
#if TILE_LANES == 16
    const int N = M <= 4 ? 4 : 2;
#else
    const int N = M == 1 ? 4 : M <= 4 ? 2 : 1;
#endif
    int64_t j = 0;

    for (; j + N <= d->n; j += N)
        some_rows(d, type, M, N, j);
    if (N > 1)
        for (; j < d->n; j++)
            some_rows(d, type, M, 1, j);
}

#define DEFINE(type)                                                                               \
    static void dot_##type(const dot_args *d)                                                      \
    {                                                                                              \
        switch (d->m) {                                                                            \
        case 1: all_rows(d, TYPE_##type, 1); break;                                                \
        case 2: all_rows(d, TYPE_##type, 2); break;                                                \
        case 3: all_rows(d, TYPE_##type, 3); break;                                                \
        case 4: all_rows(d, TYPE_##type, 4); break;                                                \
        case 5: all_rows(d, TYPE_##type, 5); break;                                                \
        case 6: all_rows(d, TYPE_##type, 6); break;                                                \
        case 7: all_rows(d, TYPE_##type, 7); break;                                                \
        default: all_rows(d, TYPE_##type, 8); break;                                               \
        }                                                                                          \
    }
DEFINE(F32)
DEFINE(COUNT)
#if NATIVE
DEFINE(BF16)
DEFINE(F16)
DEFINE(Q8_0)
DEFINE(Q4_0)
DEFINE(Q4_1)
#endif

void ISA_NAME(dot_rows)(const dot_args *d)
{
    switch (d->type) {
    case TYPE_F32: dot_F32(d); break;
#if NATIVE
    case TYPE_BF16: dot_BF16(d); break;
    case TYPE_F16: dot_F16(d); break;
    case TYPE_Q8_0: dot_Q8_0(d); break;
    case TYPE_Q4_0: dot_Q4_0(d); break;
    case TYPE_Q4_1: dot_Q4_1(d); break;
#endif
    default: dot_COUNT(d); break;
    }
}
