/* kron on the device: see kron.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const T      *x = op_values<T>(a->in[0]), *z = op_values<T>(a->in[1]);
    T            *y = op_values<T>(a->out[0]);
    const int64_t B = a->in[0]->s.d[1], C = a->in[1]->s.d[0], D = a->in[1]->s.d[1];

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t m = i / (B * D), n = i % (B * D);
        store(y + i, load(x + m / C * B + n / D) * load(z + m % C * D + n % D));
    });
}

/* A block for a value of a. */
template <class T>
static __global__ void sums_a(int64_t B, int64_t C, int64_t D, const T *z, const T *dy, T *dx, bool fresh)
{
    __shared__ wide<T> shared[WARP_LANES];
    const int64_t      i = blockIdx.x / B, j = blockIdx.x % B;
    wide<T>            sum = 0;

    for (int64_t p = threadIdx.x; p < C * D; p += blockDim.x)
        sum += load(dy + ((i * C + p / D) * B + j) * D + p % D) * load(z + p);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        give(dx + blockIdx.x, sum, fresh);
}

template <class T> static void backward(const op_args *a)
{
    const int64_t A = a->in[0]->s.d[0], B = a->in[0]->s.d[1], C = a->in[1]->s.d[0], D = a->in[1]->s.d[1];
    const T      *x = op_values<T>(a->in[0]), *z = op_values<T>(a->in[1]), *dy = op_values<T>(a->gout[0]);
    T            *dx = op_values<T>(a->gin[0]), *dz = op_values<T>(a->gin[1]);
    const bool    fresh = a->fresh[1];

    if (dx && A * B > 0)
        LAUNCH(sums_a<T>, (unsigned)(A * B), threads_for(C * D), 0, B, C, D, z, dy, dx, a->fresh[0]);
    if (dz)
        over_values(a, a->gin[1], [=] __device__(int64_t p) {
            wide<T> sum = 0;
            for (int64_t i = 0; i < A; i++)
                for (int64_t j = 0; j < B; j++)
                    sum += load(dy + ((i * C + p / D) * B + j) * D + p % D) * load(x + i * B + j);
            give(dz + p, sum, fresh);
        });
}

OP_CUDA(kron, IN0 | IN1)
