/* ceiling: multiply-adds on registers alone */
#include "core/cpu/isa/names.h"

#if TILE_LANES == 16
enum { CHAINS = 24 };
#else
enum { CHAINS = 12 };
#endif

float ISA_NAME(ceiling_fma)(int64_t rounds);

/* CHAINS * TILE_LANES multiply-adds a round; the result keeps the work from being dropped. */
float ISA_NAME(ceiling_fma)(int64_t rounds)
{
    vec   x[CHAINS], factor = (vec){0} + 0.999f, term = (vec){0} + 0.001f;
    float sum = 0;

#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; i++)
        x[i] = (vec){0} + (float)i;
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            x[i] = x[i] * factor + term;
    }
    for (int i = 0; i < CHAINS; i++)
        sum += x[i][0];
    return sum;
}
