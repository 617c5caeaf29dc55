/* rng: Philox4x32-10 and what is made from it */
#include "core/rng.h"

#include <math.h>
#include <stddef.h>

rng_key rng_key_for(uint64_t seed, const char *purpose)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const char *p = purpose; *p; p++)
        h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    h ^= seed * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return (rng_key){{(uint32_t)h, (uint32_t)(h >> 32)}};
}

void rng_normal(uint32_t a, uint32_t b, double out[2])
{
    const double u = ((double)a + 0.5) * 0x1p-32, angle = 6.283185307179586 * ((double)b * 0x1p-32);
    const double radius = sqrt(-2.0 * log(u));

    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

void rng_fill_uniform(rng_key key, uint32_t stream, float lo, float hi, float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i += 4) {
        const rng_block b = rng_philox(key, (uint32_t)(i / 4), (uint32_t)((i / 4) >> 32), stream, 0);
        for (int64_t j = 0; j < 4 && i + j < n; j++)
            v[i + j] = lo + (hi - lo) * rng_unit(b.r[j]);
    }
}

void rng_fill_normal(rng_key key, uint32_t stream, float deviation, float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i += 4) {
        const rng_block b = rng_philox(key, (uint32_t)(i / 4), (uint32_t)((i / 4) >> 32), stream, 1);
        double          x[4];

        rng_normal(b.r[0], b.r[1], x);
        rng_normal(b.r[2], b.r[3], x + 2);
        for (int64_t j = 0; j < 4 && i + j < n; j++)
            v[i + j] = (float)(x[j] * deviation);
    }
}

int64_t rng_permute(rng_key key, uint32_t epoch, int64_t n, int64_t i)
{
    int half = 1; /* bits of each half: the network permutes 0 .. 4^half - 1 */

    while (((int64_t)1 << (2 * half)) < n)
        half++;

    const uint32_t mask = (uint32_t)(((uint64_t)1 << half) - 1);
    int64_t        x = i;

    do {
        uint32_t left = (uint32_t)(x >> half) & mask, right = (uint32_t)x & mask;
        for (uint32_t round = 0; round < 6; round++) {
            const uint32_t f = rng_philox(key, right, round, epoch, 2).r[0] & mask;
            const uint32_t next = left ^ f;
            left = right;
            right = next;
        }
        x = (int64_t)(((uint64_t)left << half) | right);
    } while (x >= n);
    return x;
}
