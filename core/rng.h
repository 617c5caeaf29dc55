/* rng: counter-based random numbers (Philox4x32-10; Salmon et al., "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011).
 *
 * A number is a pure function of a key and a counter, so it does not matter who asks, in which order
 * or on which device. Key: the recipe's seed and a purpose. Counter: four 32-bit words that name the
 * number, for example step, site, sample, position and channel; never a row of a buffer. */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are made on devices too. */
#ifdef __CUDACC__
#define RNG_FN static inline __host__ __device__
#else
#define RNG_FN static inline
#endif

typedef struct rng_key {
    uint32_t k[2];
} rng_key;

typedef struct rng_block {
    uint32_t r[4];
} rng_block;

/* Key for one purpose ("init", "dropout", "shuffle"): the purpose's FNV-1a hash mixed with the seed. */
rng_key rng_key_for(uint64_t seed, const char *purpose);

/* Four 32-bit words for a counter. */
RNG_FN rng_block rng_philox(rng_key key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3)
{
    uint32_t k0 = key.k[0], k1 = key.k[1];

    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;

        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const rng_block block = {{c0, c1, c2, c3}};
    return block;
}

/* Uniform in [0, 1) with 24 bits; in (0, 1] when used as u for a logarithm: 1 - rng_unit. */
RNG_FN float rng_unit(uint32_t r)
{
    return (float)(r >> 8) * 0x1p-24f;
}

/* The same kept off both ends, for ln u - ln(1 - u): in [2^-23, 1 - 2^-23]. */
RNG_FN double rng_inside(uint32_t r)
{
    const double u = (double)rng_unit(r), end = 0x1p-23;

    return u < end ? end : u > 1 - end ? 1 - end : u;
}

/* Two standard normals from two words (Box-Muller). */
void rng_normal(uint32_t a, uint32_t b, double out[2]);

/* Fills v[n] with uniform values in [lo, hi) / normals with a standard deviation; value i depends on
 * key, stream and i only. */
void rng_fill_uniform(rng_key key, uint32_t stream, float lo, float hi, float *v, int64_t n);
void rng_fill_normal(rng_key key, uint32_t stream, float deviation, float *v, int64_t n);

/* The i-th value of a pseudo-random permutation of 0 .. n-1 (cycle-walking Feistel network on
 * Philox): a shuffle that needs no memory and can be entered anywhere. */
int64_t rng_permute(rng_key key, uint32_t epoch, int64_t n, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
