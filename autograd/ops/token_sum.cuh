/* token_sum: products that sum over tokens, dw[P, Q] += alpha x[N, P]^T y[N, Q]: gradients of weights.
 *
 * Only the rows in use enter the sum, whose number stands on the device. A block makes a tile of dw; where
 * there are few tiles the rows are cut into shares, whose sums are joined in their order. bf16 goes through
 * tensor cores where sizes allow 16-byte copies; a tile is then as wide as the smaller of P and Q, if that is
 * a rank, so that the larger operand is read once. */
#ifndef AUTOGRAD_OPS_TOKEN_SUM_CUH
#define AUTOGRAD_OPS_TOKEN_SUM_CUH

#include "autograd/ops/shared_tile.cuh"
#include "autograd/ops/shares.cuh"

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

/* ---- on tensor cores ---------------------------------------------------------------------------------- */

/* Rows at a time, and how many such steps are under way at once. */
enum { TOKEN_ROWS = 32, TOKEN_STAGES = 4, TOKEN_WARPS = 4, TOKEN_LANES = TOKEN_WARPS * WARP_LANES };

/* A tile [TP, TQ] by WP x WQ warps. */
template <int TP, int TQ, int WP, int WQ>
static __global__ void __launch_bounds__(TOKEN_LANES)
    token_sum_mma(row_count rows, const bf16 *x, int64_t P, int64_t ldx, const bf16 *y, int64_t Q,
                  int shares, float *parts)
{
    constexpr int M = TP / WP / 16, N = TQ / WQ / 8, STAGE = TOKEN_ROWS * (tile_row(TP) + tile_row(TQ));
    DYNAMIC_SHARED(bf16, shared);
    const int64_t n = rows.used(), share = (n + shares - 1) / shares, from = blockIdx.z * share;
    const int64_t to = from + share < n ? from + share : n;
    const int     steps = from < to ? (int)((to - from + TOKEN_ROWS - 1) / TOKEN_ROWS) : 0;
    const int64_t p0 = (int64_t)blockIdx.y * TP, q0 = (int64_t)blockIdx.x * TQ;
    const int     warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES;
    const int     wp = warp / WQ * (TP / WP), wq = warp % WQ * (TQ / WQ);
    float         sum[M][N][4];
    const auto    copy_rows = [&](int step) {
        bf16         *sx = shared + step % TOKEN_STAGES * STAGE;
        const int64_t row = from + (int64_t)step * TOKEN_ROWS;
        const int     there = (int)(to - row);
        if (step < steps) {
            copy_tile<TOKEN_ROWS, TP, TOKEN_LANES>(sx, x + row * ldx + p0, ldx, there, (int)(P - p0));
            copy_tile<TOKEN_ROWS, TQ, TOKEN_LANES>(sx + TOKEN_ROWS * tile_row(TP), y + row * Q + q0, Q, there,
                                                   (int)(Q - q0));
        }
        copy_async_commit(); /* of nothing past the last step: groups are counted */
    };

    clear_product(sum);
    for (int step = 0; step < TOKEN_STAGES - 1; step++)
        copy_rows(step);
    for (int step = 0; step < steps; step++) {
        const bf16 *sx = shared + step % TOKEN_STAGES * STAGE + wp;
        const bf16 *sy = shared + step % TOKEN_STAGES * STAGE + TOKEN_ROWS * tile_row(TP) + wq;
        copy_async_wait<TOKEN_STAGES - 2>();
        __syncthreads(); /* the rows are there, and nobody reads the step before */
        copy_rows(step + TOKEN_STAGES - 1);
        multiply_turned<TOKEN_ROWS>(sum, sx, tile_row(TP), sy, tile_row(TQ));
    }
#pragma unroll
    for (int i = 0; i < 2 * M; i++)
#pragma unroll
        for (int j = 0; j < N; j++) {
            const int64_t p = p0 + wp + 8 * i + lane / 4, q = q0 + wq + 8 * j + lane % 4 * 2;
            if (p < P && q < Q)
                *reinterpret_cast<float2 *>(parts + (blockIdx.z * P + p) * Q + q) =
                    make_float2(sum[i / 2][j][i % 2 * 2], sum[i / 2][j][i % 2 * 2 + 1]);
        }
}

/* ---- launches ----------------------------------------------------------------------------------------- */

/* Shares that fill the device; a function of the sizes only. */
static inline int token_shares(int64_t tiles, int64_t rows)
{
    const int64_t fill = (2 * cuda_processors() + tiles - 1) / tiles, most = (rows + 255) / 256;
    const int64_t n = fill < most ? fill : most;

    return n < 1 ? 1 : n > TOKEN_SHARES ? TOKEN_SHARES : (int)n;
}

/* What a sum is of, for launches. */
template <class T> struct token_sums {
    row_count rows;
    const T  *x, *y;
    int64_t   P, Q, ldx;
    wide<T>  *dw;
    double    alpha;
};

/* parts [shares, P, Q]; then dw += alpha times their sum */
template <class T, class F>
static void token_sum_shares(const token_sums<T> &t, int64_t tp, int64_t tq, F launch)
{
    const unsigned np = blocks_for(t.P, tp), nq = blocks_for(t.Q, tq);
    const int      shares = token_shares((int64_t)np * nq, t.rows.capacity);
    wide<T>       *parts = static_cast<wide<T> *>(
        cuda_scratch(SCRATCH_OWN, (size_t)(shares * t.P * t.Q) * sizeof(wide<T>)));

    launch(dim3(nq, np, (unsigned)shares), shares, parts);
    LAUNCH(join_shares<wide<T>>, blocks_for(t.P * t.Q, BLOCK), BLOCK, 0, parts, shares, t.P * t.Q,
           (wide<T>)t.alpha, t.dw);
}

template <int TP, int TQ, int WP, int WQ> static void token_sum_fast(const token_sums<bf16> &t)
{
    const size_t shared = (size_t)(TOKEN_STAGES * TOKEN_ROWS * (tile_row(TP) + tile_row(TQ))) * sizeof(bf16);

    token_sum_shares(t, TP, TQ, [&](dim3 grid, int shares, float *parts) {
        LAUNCH((token_sum_mma<TP, TQ, WP, WQ>), grid, TOKEN_LANES, shared, t.rows, t.x, t.P, t.ldx, t.y, t.Q,
               shares, parts);
    });
}

/* False: not on tensor cores. */
template <class T> static bool token_sum_on_tensor_cores(const token_sums<T> &)
{
    return false;
}

static inline bool token_sum_on_tensor_cores(const token_sums<bf16> &t)
{
    if (t.P % 8 || t.Q % 8 || t.ldx % 8)
        return false;
    if (t.Q <= 16)
        token_sum_fast<128, 16, 4, 1>(t);
    else if (t.Q <= 32)
        token_sum_fast<128, 32, 4, 1>(t);
    else if (t.Q <= 64)
        token_sum_fast<128, 64, 4, 1>(t);
    else if (t.P <= 16)
        token_sum_fast<16, 128, 1, 4>(t);
    else if (t.P <= 32)
        token_sum_fast<32, 128, 1, 4>(t);
    else if (t.P <= 64)
        token_sum_fast<64, 128, 1, 4>(t);
    else
        token_sum_fast<128, 128, 2, 2>(t);
    return true;
}

/* x and y begin at the first of the rows, which is where memory was taken or a whole number of rows from
 * there; ldx: from a row of x to the next, 0 for P. */
template <class T>
static void token_sum(row_count rows, const T *x, int64_t P, const T *y, int64_t Q, wide<T> *dw,
                      double alpha, int64_t ldx = 0)
{
    const token_sums<T> t = {rows, x, y, P, Q, ldx ? ldx : P, dw, alpha};

    if (token_sum_on_tensor_cores(t))
        return;
    token_sum_shares(t, TOKEN_TILE, TOKEN_TILE, [&](dim3 grid, int shares, wide<T> *parts) {
        LAUNCH(token_sum_tiles<T>, grid, TOKEN_THREADS, 0, rows, x, P, t.ldx, y, Q, shares, parts);
    });
}

#endif
