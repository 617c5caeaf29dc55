/* transpose on the device: see transpose.c */
#include "autograd/ops/kernel.cuh"

enum { TILE = 32, TILE_ROWS = 8 };

/* to[n, m] = from[m, n], or added to it; a block turns a tile over in shared memory */
template <class T>
static __global__ void turn(int64_t M, int64_t N, const T *from, T *to, bool assign)
{
    __shared__ wide<T> tile[TILE][TILE + 1];
    const int64_t      m0 = (int64_t)blockIdx.y * TILE, n0 = (int64_t)blockIdx.x * TILE;

    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS)
        if (m0 + i < M && n0 + threadIdx.x < N)
            tile[i][threadIdx.x] = load(from + (m0 + i) * N + n0 + threadIdx.x);
    __syncthreads();
    for (int i = threadIdx.y; i < TILE; i += TILE_ROWS)
        if (n0 + i < N && m0 + threadIdx.x < M)
            give(to + (n0 + i) * M + m0 + threadIdx.x, tile[threadIdx.x][i], assign);
}

template <class T> static void run(const tensor *from, const tensor *to, bool assign)
{
    const int64_t M = from->s.d[0], N = from->s.d[1];

    if (M > 0 && N > 0)
        LAUNCH(turn<T>, dim3(blocks_for(N, TILE), blocks_for(M, TILE)), dim3(TILE, TILE_ROWS), 0, M, N,
               op_values<T>(from), op_values<T>(to), assign);
}

template <class T> static void forward(const op_args *a)
{
    run<T>(a->in[0], a->out[0], true);
}

template <class T> static void backward(const op_args *a)
{
    if (a->gin[0])
        run<T>(a->gout[0], a->gin[0], a->fresh[0]);
}

OP_CUDA(transpose, IN0)
