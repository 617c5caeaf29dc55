/* token_sum: products that sum over tokens, dw[P, Q] += alpha x[N, P]^T y[N, Q]: gradients of weights.
 *
 * Only the rows in use enter the sum, whose number stands on the device. A block makes a tile of dw; where
 * there are few tiles the rows are cut into shares, whose sums are joined in their order. */
#ifndef AUTOGRAD_OPS_TOKEN_SUM_CUH
#define AUTOGRAD_OPS_TOKEN_SUM_CUH

#include "autograd/ops/kernel.cuh"

/* A block of 16 x 16 threads, each with 4 x 4 values of a tile of 64 x 64, 16 rows at a time. */
enum { TOKEN_TILE = 64, TOKEN_STEP = 16, TOKEN_THREADS = 256, TOKEN_SHARES = 64 };

template <class T>
static __global__ void token_sum_tiles(row_count rows, const T *x, int64_t P, int64_t ldx,
                                       const T *y, int64_t Q, int shares, wide<T> *parts)
{
    __shared__ wide<T> sx[TOKEN_STEP][TOKEN_TILE], sy[TOKEN_STEP][TOKEN_TILE];
    const int64_t      n = rows.used(), share = (n + shares - 1) / shares;
    const int64_t      from = blockIdx.z * share, to = from + share < n ? from + share : n;
    const int64_t      p0 = (int64_t)blockIdx.y * TOKEN_TILE, q0 = (int64_t)blockIdx.x * TOKEN_TILE;
    const int          tp = threadIdx.x / 16, tq = threadIdx.x % 16;
    wide<T>            sum[4][4] = {};

    for (int64_t row = from; row < to; row += TOKEN_STEP) {
        for (int i = threadIdx.x; i < TOKEN_STEP * TOKEN_TILE; i += TOKEN_THREADS) {
            const int     r = i / TOKEN_TILE, c = i % TOKEN_TILE;
            const int64_t at = row + r;
            sx[r][c] = at < to && p0 + c < P ? load(x + at * ldx + p0 + c) : wide<T>(0);
            sy[r][c] = at < to && q0 + c < Q ? load(y + at * Q + q0 + c) : wide<T>(0);
        }
        __syncthreads();
        for (int r = 0; r < TOKEN_STEP; r++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++)
                    sum[i][j] += sx[r][tp + 16 * i] * sy[r][tq + 16 * j];
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            const int64_t p = p0 + tp + 16 * i, q = q0 + tq + 16 * j;
            if (p < P && q < Q)
                parts[(blockIdx.z * P + p) * Q + q] = sum[i][j];
        }
}

template <class W>
static __global__ void token_sum_join(const W *parts, int shares, int64_t values, W alpha, W *dw)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    W             sum = 0;

    if (i >= values)
        return;
    for (int s = 0; s < shares; s++)
        sum += parts[s * values + i];
    dw[i] += alpha * sum;
}

/* Shares that fill the device; a function of the sizes only. */
static inline int token_shares(int64_t tiles, int64_t rows)
{
    const int64_t fill = (2 * cuda_processors() + tiles - 1) / tiles, most = (rows + 255) / 256;
    const int64_t n = fill < most ? fill : most;

    return n < 1 ? 1 : n > TOKEN_SHARES ? TOKEN_SHARES : (int)n;
}

/* x and y begin at the first of the rows; ldx: from a row of x to the next, 0 for P. */
template <class T>
static void token_sum(row_count rows, const T *x, int64_t P, const T *y, int64_t Q, wide<T> *dw,
                      double alpha, int64_t ldx = 0)
{
    const unsigned tp = blocks_for(P, TOKEN_TILE), tq = blocks_for(Q, TOKEN_TILE);
    const int      shares = token_shares((int64_t)tp * tq, rows.capacity);
    wide<T>       *parts = static_cast<wide<T> *>(cuda_scratch(SCRATCH_OWN, (size_t)(shares * P * Q) * sizeof(wide<T>)));

    LAUNCH(token_sum_tiles<T>, dim3(tq, tp, (unsigned)shares), TOKEN_THREADS, 0, rows, x, P,
           ldx ? ldx : P, y, Q, shares, parts);
    LAUNCH(token_sum_join<wide<T>>, blocks_for(P * Q, BLOCK), BLOCK, 0, parts, shares, P * Q, (wide<T>)alpha, dw);
}

#endif
