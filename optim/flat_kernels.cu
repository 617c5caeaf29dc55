/* flat_kernels: sums, cuts and norms of flat buffers on the device */
#include "core/cuda/dialect.cuh"

#include "optim/flat_kernels.h"
#include "optim/flat_rule.h"

enum { BLOCK = 256, WARPS = BLOCK / WARP_LANES, PIECES_OF_WARP = WARP_LANES / SQUARE_LANES };

static unsigned grid_for(int64_t n)
{
    const int64_t blocks = (n + BLOCK - 1) / BLOCK, most = (int64_t)cuda_processors() * 16;

    return (unsigned)(blocks < most ? blocks : most);
}

static int64_t piece_count(int64_t n)
{
    return (n + FLAT_PIECE - 1) / FLAT_PIECE;
}

static __global__ void add_values(float *to, const float *a, const float *b, int64_t n)
{
    const int64_t step = (int64_t)gridDim.x * BLOCK;

    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += step)
        to[i] = a[i] + b[i];
}

static void add(float *to, const float *a, const float *b, int64_t n)
{
    cuda_begin_operation("sum of gradients");
    if (n > 0)
        LAUNCH(add_values, grid_for(n), BLOCK, 0, to, a, b, n);
}

static __global__ void cut_values(float *g, int64_t n, float scale, float limit)
{
    const int64_t step = (int64_t)gridDim.x * BLOCK;

    for (int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x; i < n; i += step)
        g[i] = flat_cut(scale * g[i], limit);
}

static void cut(float *g, int64_t n, float scale, float limit)
{
    cuda_begin_operation("clip by value");
    if (n > 0)
        LAUNCH(cut_values, grid_for(n), BLOCK, 0, g, n, scale, limit);
}

/* Eight threads a piece, one a lane: each adds in the CPU's order, and so do the lanes. Few threads a piece,
 * but a warp reads whole sectors, and a buffer has many pieces. */
static __global__ void square_pieces(const float *g, int64_t n, double scale, double *part)
{
    const int     lane = threadIdx.x % SQUARE_LANES;
    const int64_t piece = (int64_t)blockIdx.x * PIECES_OF_WARP + threadIdx.x / SQUARE_LANES;
    const int64_t left = n - piece * FLAT_PIECE;
    const int     count = left < 0 ? 0 : left < FLAT_PIECE ? (int)left : (int)FLAT_PIECE;
    double        sum = 0;

    g += count > 0 ? piece * FLAT_PIECE : 0;
#pragma unroll 16
    for (int i = lane; i < count; i += SQUARE_LANES)
        sum += flat_square(scale, g[i]);
    for (int bits = 1; bits < SQUARE_LANES; bits *= 2)
        sum += __shfl_xor_sync(~0u, sum, bits);
    if (lane == 0 && count > 0)
        part[piece] = sum;
}

static const double *squares(const float *g, int64_t n, double scale)
{
    const int64_t pieces = piece_count(n);

    cuda_begin_operation("gradient norm");
    double *part = static_cast<double *>(cuda_scratch(SCRATCH_OWN, (size_t)pieces * sizeof(double)));
    if (pieces > 0 && part)
        LAUNCH(square_pieces, (unsigned)((pieces + PIECES_OF_WARP - 1) / PIECES_OF_WARP), WARP_LANES, 0, g, n,
               scale, part);
    return part;
}

static __device__ double warp_larger(double most)
{
    for (int bits = 1; bits < WARP_LANES; bits *= 2)
        most = flat_larger(most, __shfl_xor_sync(~0u, most, bits));
    return most;
}

/* A block a piece. */
static __global__ void largest_of_pieces(const float *g, int64_t n, double scale, double *part)
{
    __shared__ double shared[WARPS];
    const int64_t     left = n - (int64_t)blockIdx.x * FLAT_PIECE;
    const int         count = left < FLAT_PIECE ? (int)left : (int)FLAT_PIECE;
    const int         lane = threadIdx.x % WARP_LANES, warp = threadIdx.x / WARP_LANES;
    double            most = 0;

    g += (int64_t)blockIdx.x * FLAT_PIECE;
    for (int i = threadIdx.x; i < count; i += BLOCK)
        most = flat_larger(most, fabs(scale * (double)g[i]));
    most = warp_larger(most);
    if (lane == 0)
        shared[warp] = most;
    __syncthreads();
    most = warp_larger(lane < WARPS ? shared[lane] : 0);
    if (threadIdx.x == 0)
        part[blockIdx.x] = most;
}

static const double *largest(const float *g, int64_t n, double scale)
{
    const int64_t pieces = piece_count(n);

    cuda_begin_operation("gradient norm");
    double *part = static_cast<double *>(cuda_scratch(SCRATCH_OWN, (size_t)pieces * sizeof(double)));
    if (pieces > 0 && part)
        LAUNCH(largest_of_pieces, (unsigned)pieces, BLOCK, 0, g, n, scale, part);
    return part;
}

extern "C" {
__attribute__((visibility("default"))) extern const flat_kernels cambium_flat_kernels;
const flat_kernels cambium_flat_kernels = {add, cut, squares, largest};
}
