/* mean_rows on the device: see mean_rows.c */
#include "autograd/ops/kernel.cuh"

/* A block for each of the means. */
template <class T>
static __global__ void means(row_count count, int64_t C, const T *x, const int32_t *from, const int32_t *to, T *y)
{
    const int64_t s = blockIdx.x;

    if (s >= count.used())
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        wide<T> sum = 0;
        for (int64_t i = from[s]; i <= to[s]; i++)
            sum += load(x + i * C + c);
        store(y + s * C + c, sum / (wide<T>)(to[s] - from[s] + 1));
    }
}

template <class T>
static __global__ void spread(row_count count, int64_t C, const T *dy, const int32_t *from, const int32_t *to, T *dx)
{
    const int64_t s = blockIdx.x;

    if (s >= count.used())
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        const wide<T> g = load(dy + s * C + c) / (wide<T>)(to[s] - from[s] + 1);
        for (int64_t i = from[s]; i <= to[s]; i++)
            add_to(dx + i * C + c, g);
    }
}

template <class T> static void forward(const op_args *a)
{
    const int64_t C = shape_last_of(a->in[0]), S = op_bound(a->in[1]);

    if (S > 0)
        LAUNCH(means<T>, (unsigned)S, threads_for(C), 0, op_count(a, a->in[1]), C, op_values<T>(a->in[0]),
               op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]), op_values<T>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const int64_t C = shape_last_of(a->gout[0]), S = op_bound(a->in[1]);

    if (a->gin[0] && S > 0)
        LAUNCH(spread<T>, (unsigned)S, threads_for(C), 0, op_count(a, a->in[1]), C, op_values<T>(a->gout[0]),
               op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]), op_values<T>(a->gin[0]));
}

OP_CUDA(mean_rows, 0)
