/* columns: sums over rows, for gradients of what all rows share: biases, weights of norms.
 *
 * The rows are cut into SHARES shares, whose sums (in f64 for f64, else f32) are joined in their order. */
#ifndef AUTOGRAD_OPS_COLUMNS_CUH
#define AUTOGRAD_OPS_COLUMNS_CUH

#include "autograd/ops/shares.cuh"

enum { COLUMN_BLOCK = 128, SHARES = 32 };

/* parts[share, c] = sum over the share's rows of f(row, c) */
template <class W, class F>
static __global__ void column_parts(row_count rows, int64_t C, W *parts, F f)
{
    const int64_t n = rows.used(), share = (n + SHARES - 1) / SHARES;
    const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const int64_t from = blockIdx.y * share, to = from + share < n ? from + share : n;
    W             sum = 0;

    if (c >= C)
        return;
    for (int64_t row = from; row < to; row++)
        sum += f(row, c);
    parts[blockIdx.y * C + c] = sum;
}

/* sum[c] += sum over the rows in use of f(row, c), c < C */
template <class W, class F> static void add_columns(row_count rows, int64_t C, W *sum, F f)
{
    W             *parts = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(SHARES * C) * sizeof(W)));
    const unsigned blocks = blocks_for(C, COLUMN_BLOCK);

    LAUNCH((column_parts<W, F>), dim3(blocks, SHARES), COLUMN_BLOCK, 0, rows, C, parts, f);
    LAUNCH(join_shares<W>, blocks, COLUMN_BLOCK, 0, parts, (int)SHARES, C, W(1), sum);
}

#endif
