/* noise: normal numbers on the device, by Box and Muller from Philox; for measurements only: not the bits of
 * rng_fill_normal */
#include "core/cuda/dialect.cuh"

#include "core/cuda/state.h"
#include "core/rng.h"

#include <cmath>

/* A thread makes four at a time. */
template <class T> static __global__ void fill_normal(T *p, int64_t n, rng_key key, float deviation)
{
    const int64_t step = (int64_t)gridDim.x * blockDim.x;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i * 4 < n; i += step) {
        const rng_block b = rng_philox(key, (uint32_t)i, (uint32_t)(i >> 32), 0, 0);
        for (int k = 0; k < 4 && i * 4 + k < n; k++) {
            const float radius = sqrtf(-2 * logf(1 - rng_unit(b.r[k & 2]))),
                        angle = 6.2831853f * rng_unit(b.r[k | 1]);
            store(p + i * 4 + k, deviation * radius * (k & 1 ? sinf(angle) : cosf(angle)));
        }
    }
}

void cuda_noise(void *p, bool narrow, size_t n, uint64_t seed, float deviation)
{
    const unsigned blocks = 4 * (unsigned)cuda_processors();
    const rng_key  key = rng_key_for(seed, "noise");

    if (n == 0)
        return;
    if (narrow)
        LAUNCH(fill_normal<bf16>, blocks, 256, 0, static_cast<bf16 *>(p), (int64_t)n, key, deviation);
    else
        LAUNCH(fill_normal<float>, blocks, 256, 0, static_cast<float *>(p), (int64_t)n, key, deviation);
}
