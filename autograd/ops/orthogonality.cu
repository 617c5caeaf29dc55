/* orthogonality on the device: see orthogonality.c */
#include "autograd/ops/kernel.cuh"

/* e[i,j] = sum_k p_ik p_jk - (i == j); a block for each. step: from one i to the next, turn: from one k. */
template <class W>
static __global__ void products(int64_t R, int64_t K, int64_t step, int64_t turn, const W *p, W *e)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t i = blockIdx.x / R, j = blockIdx.x % R;
    W             sum = 0;

    for (int64_t k = threadIdx.x; k < K; k += blockDim.x)
        sum += p[i * step + k * turn] * p[j * step + k * turn];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        e[i * R + j] = i == j ? sum - 1 : sum;
}

/* e[n] = y[0] = the norm of e[0 .. n-1]; one block */
template <class W> static __global__ void norm(int64_t n, W *e, W *y)
{
    __shared__ W shared[WARP_LANES];
    W            sum = 0;

    for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
        sum += e[i] * e[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        e[n] = y[0] = root_of(sum);
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const bool      turned = a->attr->orthogonality.turned;
    const int64_t   R = a->in[0]->s.d[turned ? 1 : 0], K = a->in[0]->s.d[turned ? 0 : 1];

    if (R > 0)
        LAUNCH(products<W>, (unsigned)(R * R), threads_for(K), 0, R, K, turned ? 1 : K, turned ? R : 1,
               op_values<W>(a->in[0]), op_aux<T>(a));
    LAUNCH(norm<W>, 1, BLOCK, 0, R * R, op_aux<T>(a), op_values<W>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const bool      turned = a->attr->orthogonality.turned;
    const int64_t   R = a->in[0]->s.d[turned ? 1 : 0], K = a->in[0]->s.d[turned ? 0 : 1];
    const int64_t   step = turned ? 1 : K, turn = turned ? R : 1;
    const W        *p = op_values<W>(a->in[0]), *e = op_aux<T>(a), *dy = op_values<W>(a->gout[0]);
    W              *dp = op_values<W>(a->gin[0]);

    if (dp)
        over_values(a, a->gin[0], [=] __device__(int64_t at) {
            const int64_t i = turned ? at % R : at / K, k = turned ? at / R : at % K;
            W             sum = 0;
            if (e[R * R] == 0)
                return;
            for (int64_t j = 0; j < R; j++)
                sum += e[i * R + j] * p[j * step + k * turn];
            dp[at] += 2 * dy[0] / e[R * R] * sum;
        });
}

OP_CUDA(orthogonality, 0)
