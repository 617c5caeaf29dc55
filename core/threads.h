/* threads: a pool of workers, with the rules that keep results independent of how many there are.
 *
 * Work is split into pieces whose borders do not depend on the number of threads; a piece is summed
 * by one thread, and pieces are joined in a fixed order. Workers stay awake between the operations of a
 * step, but give their core to whoever else wants it: a busy machine slows a run by what it takes. */
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

/* Runs body(context, piece) for piece = 0 .. pieces-1, all threads; returns when all are done.
 * Pieces below a single thread's worth should be merged by the caller. Called from within a piece
 * it runs all pieces itself. For the thread that opened the program's work, one at a time. */
void threads_run(int64_t pieces, void (*body)(void *context, int64_t piece), void *context);

/* Order between pieces: waits until *turn is `value`; lets the next one pass. Pieces are begun in ascending
 * order, so a piece may wait for what a smaller one does. */
void threads_await(const int32_t *turn, int32_t value);
void threads_pass(int32_t *turn);

/* Scratch of the calling thread, at least `bytes` at a 64-byte boundary, kept between calls and
 * grown when needed. Slots 0 and 1 belong to operations, 2 and 3 to the matrix product, 4 to the f32 product
 * and to the weights of f64 operations, which do not meet. Contents are unspecified. Growing is an
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
