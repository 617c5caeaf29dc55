/* rule: what the files optim/<name>_rule.h share.
 *
 * A rule says what a step does to one value. It is written once, for the CPU's loop (OPTIM_LOOP in
 * optim/options.h) and for the device's kernel (OPTIM_CUDA in optim/step.cuh); both are compiled without
 * contraction, and a rule uses only what IEEE 754 rounds in one way (+ - * / and the root), so that the CPU
 * and a device give the same bits. What needs more, such as a power, is computed once for a span, in
 * double, by the optimizer's `factors`.
 *
 *     typedef struct <name>_factors { float scale, ...; } <name>_factors;       numbers of a span's step
 *     OPTIM_RULE void <name>_value(<name>_factors f, int mode, int64_t i, float *p, const float *g,
 *                                  float *const s[])                            p[i], g[i], s[slot][i] */
#ifndef OPTIM_RULE_H
#define OPTIM_RULE_H

#include "core/compiler.h"

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define OPTIM_RULE static __host__ __device__ __forceinline__
#else
#define OPTIM_RULE static ALWAYS_INLINE UNUSED
#endif

#endif
