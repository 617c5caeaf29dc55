/* cross_entropy_place on the device: see cross_entropy_place.c; a block for each sequence */
#include "autograd/ops/cross_entropy.cuh"

template <class T>
static __global__ void forward_places(row_count sequences, int64_t K, const T *x, const int32_t *offsets,
                                      const int32_t *targets, wide<T> *each, wide<T> *aux)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     s = blockIdx.x;
    double            sum = 0;

    if (s >= sequences.used())
        return;
    const int64_t n = offsets[s + 1] - offsets[s];
    for (int64_t k = 0; k < K; k++) {
        const T      *column = x + offsets[s] * K + k;
        const int64_t target = targets[s * K + k];
        double        top = -INFINITY, others = 0;
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            top = (double)load(column + i * K) > top ? (double)load(column + i * K) : top;
        top = block_max(top, shared);
        for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
            others += i == target ? 0 : (double)exp_of(load(column + i * K) - (wide<T>)top);
        others = block_sum(others, shared);
        const double own = (double)load(column + target * K), total = others + exp(own - top);
        sum += own == top ? log1p(others) : log(total) + (top - own);
        if (threadIdx.x == 0) {
            aux[2 * (s * K + k)] = (wide<T>)top;
            aux[2 * (s * K + k) + 1] = (wide<T>)log(total);
        }
    }
    if (threadIdx.x == 0)
        each[s] = (wide<T>)(sum / (double)K);
}

template <class T>
static __global__ void backward_places(row_count sequences, int64_t K, const T *x, const int32_t *offsets,
                                       const int32_t *targets, const wide<T> *aux, const wide<T> *dsum,
                                       const wide<T> *deach, T *dx)
{
    const int64_t s = blockIdx.x;

    if (s >= sequences.used())
        return;
    const wide<T> g = ((dsum ? *dsum : 0) + (deach ? deach[s] : 0)) / (wide<T>)K;
    const int64_t first = offsets[s], n = (offsets[s + 1] - first) * K;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        const int64_t k = i % K, at = first * K + i;
        const wide<T> p = exp_of((load(x + at) - aux[2 * (s * K + k)]) - aux[2 * (s * K + k) + 1]);
        add_to(dx + at, i / K == targets[s * K + k] ? g * p - g : g * p);
    }
}

static row_count sequences_of(const op_args *a)
{
    return row_count{op_count_there(a, a->in[2]), NULL, 0, op_capacity(a->in[2]), 0};
}

template <class T> static void forward(const op_args *a)
{
    const row_count count = sequences_of(a);
    wide<T>        *each = op_values<wide<T>>(a->out[1]);
    const int64_t   S = op_bound(a->in[2]);

    if (S > 0)
        LAUNCH(forward_places<T>, (unsigned)S, BLOCK, 0, count, a->in[0]->s.d[1], op_values<T>(a->in[0]),
               op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]), each, op_aux<T>(a));
    LAUNCH(sum_losses<wide<T>>, 1, BLOCK, 0, count, each, op_values<wide<T>>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const int64_t S = op_bound(a->in[2]);

    if (a->gin[0] && S > 0)
        LAUNCH(backward_places<T>, (unsigned)S, BLOCK, 0, sequences_of(a), a->in[0]->s.d[1], op_values<T>(a->in[0]),
               op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]), op_aux<T>(a),
               op_values<wide<T>>(a->gout[0]), op_values<wide<T>>(a->gout[1]), op_values<T>(a->gin[0]));
}

OP_CUDA(cross_entropy_place, 0)
