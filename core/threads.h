/* threads: OpenMP, with the rules that keep results independent of the number of threads.
 *
 * Work is split into pieces whose borders do not depend on the number of threads; a piece is summed
 * by one thread, and pieces are joined in a fixed order. An operation opens at most one parallel
 * region. */
#ifndef CORE_THREADS_H
#define CORE_THREADS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Number of threads that kernels use: CAMBIUM_THREADS, else OMP_NUM_THREADS, else the CPUs this
 * process may run on. threads_set changes it (tests, benchmarks); n < 1 means the default. */
int  threads_count(void);
void threads_set(int n);

/* Runs body(context, piece) for piece = 0 .. pieces-1, any order, all threads; returns when all are
 * done. Pieces below a single thread's worth should be merged by the caller. */
void threads_run(int64_t pieces, void (*body)(void *context, int64_t piece), void *context);

/* Scratch of the calling thread, at least `bytes` at a 64-byte boundary, kept between calls and
 * grown when needed (slot 0 .. 3: a caller's nested needs). Contents are unspecified. Growing is an
 * allocation: kernels ask for the same sizes every step, so it happens in the first step only. */
void *threads_scratch(int slot, size_t bytes);

/* Gives every thread's slots the largest size that any thread has asked for, so that which thread takes
 * which piece does not matter later. To be called when no scratch is in use; costs nothing when no slot
 * has grown since the last call. */
void threads_scratch_level(void);

#ifdef __cplusplus
}
#endif
#endif
