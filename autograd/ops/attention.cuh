/* attention: what a query may see, and where keys lie, on the device; see attention.h */
#ifndef AUTOGRAD_OPS_ATTENTION_CUH
#define AUTOGRAD_OPS_ATTENTION_CUH

#include "autograd/ops/kernel.cuh"
#include "autograd/ops/relative.h"

enum { PAGE_KEYS = 32 };

/* By value into kernels. */
struct attention_view {
    int            H, Hk, G, D; /* G = H / Hk query heads read one key head */
    const int32_t *q_offsets, *k_offsets, *q_start, *blocks;
    const int32_t *count; /* of the offsets: sequences + 1; NULL: capacity */
    int            capacity, n_blocks, window;
    bool           causal;
    double         scale, cap;

    __device__ __forceinline__ int sequences() const
    {
        return (count ? *count : capacity) - 1;
    }

    /* The sequence of a row of `offsets`, -1 for rows past the last. */
    __device__ __forceinline__ int sequence_of(const int32_t *offsets, int row) const
    {
        const int n = sequences();

        return n < 1 || row < offsets[0] || row >= offsets[n] ? -1 : sequence_at(offsets, n, row);
    }

    __device__ __forceinline__ int keys(int s) const
    {
        return k_offsets[s + 1] - k_offsets[s];
    }

    /* Position among its keys of query i of sequence s. */
    __device__ __forceinline__ int position(int s, int i) const
    {
        return i + (q_start ? q_start[s] : 0);
    }

    /* A query at position t sees keys *lo .. *hi of n; none when *hi < *lo. */
    __device__ __forceinline__ void range(int t, int n, int *lo, int *hi) const
    {
        *lo = window && t - window + 1 > 0 ? t - window + 1 : 0;
        *hi = (causal || window) && t < n - 1 ? t : n - 1;
    }

    /* Row of key j of sequence s. */
    __device__ __forceinline__ int64_t key_row(int s, int j) const
    {
        return blocks ? (int64_t)blocks[s * n_blocks + j / PAGE_KEYS] * PAGE_KEYS + j % PAGE_KEYS
                      : (int64_t)k_offsets[s] + j;
    }
};

/* offsets: index of the input q_offsets; D: size of a head. */
static inline attention_view attention_view_of(const op_args *a, int offsets, int64_t D)
{
    const tensor  *q = a->in[offsets];
    const tensor  *start = offsets + 2 < a->n_in ? a->in[offsets + 2] : NULL;
    const tensor  *blocks = offsets + 3 < a->n_in ? a->in[offsets + 3] : NULL;
    attention_view w = {};

    w.H = a->attr->attention.heads;
    w.Hk = a->attr->attention.kv_heads;
    w.G = w.H / w.Hk;
    w.D = (int)D;
    w.q_offsets = op_values_of<int32_t>(q);
    w.k_offsets = op_values_of<int32_t>(a->in[offsets + 1]);
    w.q_start = op_values_of<int32_t>(start);
    w.blocks = op_values_of<int32_t>(blocks);
    w.n_blocks = blocks ? (int)blocks->s.d[1] : 0;
    w.count = op_count_there(a, q);
    w.capacity = (int)q->s.d[0];
    w.causal = a->attr->attention.causal;
    w.window = a->attr->attention.window;
    w.scale = a->attr->attention.scale;
    w.cap = a->attr->attention.softcap;
    return w;
}

#endif
