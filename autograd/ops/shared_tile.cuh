/* shared_tile: matrices of bf16 in shared memory, filled by asynchronous copies, multiplied on tensor cores
 *
 * A row of W values, W a multiple of 16, takes tile_row(W) values: 16 bytes more, so that the eight rows of a
 * matrix load lie in different banks.
 *
 * A warp holds a product [16 M, 8 N] as float c[M][N][4]: c[i][n] is the d of core/cuda/mma.cuh for rows 16 i
 * and columns 8 n on. Sizes are template arguments: all loops unroll, so that c stays in registers. */
#ifndef AUTOGRAD_OPS_SHARED_TILE_CUH
#define AUTOGRAD_OPS_SHARED_TILE_CUH

#include "autograd/ops/kernel.cuh"
#include "core/cuda/mma.cuh"

static constexpr __host__ __device__ int tile_row(int W)
{
    return W + 8;
}

/* Begins to copy a tile [ROWS, W]: of `from` with `stride` values from row to row, zeros where row >= rows
 * or column >= columns (a multiple of 8). By all THREADS of the block. */
template <int ROWS, int W, int THREADS>
static __device__ __forceinline__ void copy_tile(bf16 *to, const bf16 *from, int64_t stride, int rows,
                                                 int columns = W)
{
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * (W / 8); i += THREADS) {
        const int row = i / (W / 8), column = i % (W / 8) * 8;
        copy_async_16(to + row * tile_row(W) + column, from + row * stride + column,
                      row < rows && column < columns);
    }
}

/* ---- fragments: x is the first value; ld: from row to row --------------------------------------------- */

/* a of x [16, 16] */
static __device__ __forceinline__ void load_a(unsigned *a, const bf16 *x, int ld)
{
    const int lane = threadIdx.x % WARP_LANES;

    ldmatrix_x4(a, x + lane % 16 * ld + lane / 16 * 8);
}

/* a of x^T, x [16 (k), 16] */
static __device__ __forceinline__ void load_a_turned(unsigned *a, const bf16 *x, int ld)
{
    const int lane = threadIdx.x % WARP_LANES;

    ldmatrix_x4_turned(a, x + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8);
}

/* b[0..1] and b[2..3], 8 columns each, of x^T, x [16, 16 (k)] */
static __device__ __forceinline__ void load_b_turned(unsigned *b, const bf16 *x, int ld)
{
    const int lane = threadIdx.x % WARP_LANES;

    ldmatrix_x4(b, x + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8);
}

/* b[0..1] and b[2..3] of x [16 (k), 16] */
static __device__ __forceinline__ void load_b(unsigned *b, const bf16 *x, int ld)
{
    const int lane = threadIdx.x % WARP_LANES;

    ldmatrix_x4_turned(b, x + lane % 16 * ld + lane / 16 * 8);
}

/* ---- products ----------------------------------------------------------------------------------------- */

/* c[16 M, 8 N] += x[16 M, K] y[8 N, K]^T, both tiles of rows of K values */
template <int K, int M, int N>
static __device__ __forceinline__ void multiply_rows(float (&c)[M][N][4], const bf16 *x, const bf16 *y)
{
    static_assert(N % 2 == 0 && K % 16 == 0, "16 values at a time");
#pragma unroll
    for (int k = 0; k < K; k += 16) {
        unsigned a[M][4], b[4];
#pragma unroll
        for (int i = 0; i < M; i++)
            load_a(a[i], x + 16 * i * tile_row(K) + k, tile_row(K));
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_b_turned(b, y + 8 * n * tile_row(K) + k, tile_row(K));
#pragma unroll
            for (int i = 0; i < M; i++) {
                mma_bf16(c[i][n], a[i], b);
                mma_bf16(c[i][n + 1], a[i], b + 2);
            }
        }
    }
}

/* c[16 M, 8 N] += w[16 M, 8 K] y[8 K, 8 N]: w from registers, rounded; y a tile of rows of 8 N values */
template <int M, int N, int K>
static __device__ __forceinline__ void multiply_weights(float (&c)[M][N][4], const float (&w)[M][K][4],
                                                        const bf16 *y)
{
    static_assert(N % 2 == 0 && K % 2 == 0, "16 values at a time");
#pragma unroll
    for (int k = 0; k < K; k += 2) {
        unsigned a[M][4], b[4];
#pragma unroll
        for (int i = 0; i < M; i++) {
            a[i][0] = pair_of(w[i][k][0], w[i][k][1]);
            a[i][1] = pair_of(w[i][k][2], w[i][k][3]);
            a[i][2] = pair_of(w[i][k + 1][0], w[i][k + 1][1]);
            a[i][3] = pair_of(w[i][k + 1][2], w[i][k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_b(b, y + 8 * k * tile_row(8 * N) + 8 * n, tile_row(8 * N));
#pragma unroll
            for (int i = 0; i < M; i++) {
                mma_bf16(c[i][n], a[i], b);
                mma_bf16(c[i][n + 1], a[i], b + 2);
            }
        }
    }
}

/* c[16 M, 8 N] += x[K, 16 M]^T y[K, 8 N], parts of tiles with ldx and ldy values from row to row */
template <int K, int M, int N>
static __device__ __forceinline__ void multiply_turned(float (&c)[M][N][4], const bf16 *x, int ldx,
                                                       const bf16 *y, int ldy)
{
    static_assert(N % 2 == 0 && K % 16 == 0, "16 values at a time");
#pragma unroll
    for (int k = 0; k < K; k += 16) {
        unsigned a[M][4], b[4];
#pragma unroll
        for (int i = 0; i < M; i++)
            load_a_turned(a[i], x + k * ldx + 16 * i, ldx);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            load_b(b, y + k * ldy + 8 * n, ldy);
#pragma unroll
            for (int i = 0; i < M; i++) {
                mma_bf16(c[i][n], a[i], b);
                mma_bf16(c[i][n + 1], a[i], b + 2);
            }
        }
    }
}

template <int M, int N> static __device__ __forceinline__ void clear_product(float (&c)[M][N][4])
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                c[i][n][e] = 0;
}

/* Sum and maximum of the four lanes that have parts of a row. */
static __device__ __forceinline__ float row_sum(float x)
{
    x += __shfl_xor_sync(~0u, x, 1);
    return x + __shfl_xor_sync(~0u, x, 2);
}

static __device__ __forceinline__ float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

/* ---- pairs in global memory, at 4-byte boundaries ----------------------------------------------------- */

static __device__ __forceinline__ void store_pair(bf16 *p, float x, float y)
{
    *reinterpret_cast<unsigned *>(p) = pair_of(x, y);
}

/* p[0] += x, p[1] += y */
static __device__ __forceinline__ void add_pair(bf16 *p, float x, float y)
{
    store_pair(p, load(p) + x, load(p + 1) + y);
}

#endif
