/* delta: sparse changes of a trunk, as modules of sparse_delta leave them, and files of them that need no trunk to be
 * opened: added to weights, listed, written as HDF5. */
#ifndef PEFT_DELTA_H
#define PEFT_DELTA_H

#include "core/arena.h"
#include "core/tensor.h"

/* Of one tensor, by its full name: places counted over the whole tensor, the last index fastest, rising. */
typedef struct delta_tensor {
    const char    *name;
    shape          s; /* no sizes: not said */
    int64_t        n;
    const int32_t *at;
    const float   *by; /* what is added there */
} delta_tensor;

/* A tensor that was trained whole: of a head. */
typedef struct delta_dense {
    const char *name;
    tensor      t; /* f32 */
} delta_dense;

typedef struct delta {
    const char   *path, *fingerprint; /* of the trunk that it was trained on; NULL: not said */
    const char   *origin;             /* of the one that `compose` made that trunk of; NULL: of none */
    int           n, n_dense;
    delta_tensor *of;
    delta_dense  *dense;
} delta;

/* Reads an adapter folder of sparse_delta, or a .h5 file. Everything lies in the arena. */
status delta_read(arena *a, const char *path, delta *out);
status delta_read_h5(arena *a, const char *path, delta *out);

/* Writes a .h5 file; changes of at most `least` in size are left out. Every tensor must have its sizes. In it: `diffs` and
 * `abs`, names joined by line ends; for each of the first, N its number, N.size, N.index_steps (delta_code), N.values, all
 * in the file's order; for each of the second abs.N and abs.N.size. The attribute base_sha256 is the trunk's. */
status delta_write(arena *a, const delta *d, double least, const char *path);

/* The values that two change, and those of them that they push apart. */
typedef struct delta_overlap {
    int64_t common, opposite;
} delta_overlap;
delta_overlap delta_compare(const delta *a, double a_weight, const delta *b, double b_weight);

/* v, a whole tensor of so many values, with weight times the change: v + by where the weight is 1. */
void delta_add(const delta_tensor *x, double weight, float *v);

/* ---- places as the authors' files have them ---------------------------------------------------------------- */

/* The FIRST index is the fastest there, and places are the first one and then the distances between neighbours.
 * at[n]: ours, rising, below the number of values of s; steps[n] gets theirs and order[n] which of ours each is. */
status delta_code(shape s, const int32_t *at, int64_t n, int64_t *steps, int64_t *order);

/* And back: at[n] rising, order[n] says which of the steps each is. Steps of a file: whatever is no place is refused. */
status delta_decode(shape s, const int64_t *steps, int64_t n, int32_t *at, int64_t *order, const char *what);

#endif
