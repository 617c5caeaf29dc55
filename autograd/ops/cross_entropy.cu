/* cross_entropy on the device: see cross_entropy.c */
#include "autograd/ops/cross_entropy.cuh"

template <class T>
static __global__ void forward_rows(row_count rows, int64_t V, const T *x, const int32_t *targets,
                                    wide<T> *each, wide<T> *aux)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     t = blockIdx.x;
    wide<T>           m, s, rest;

    if (t >= rows.used())
        return;
    const double loss = row_loss<T>(x + t * V, V, targets[t], &m, &s, &rest, shared);
    if (threadIdx.x == 0) {
        each[t] = (wide<T>)loss;
        aux[2 * t] = m;
        aux[2 * t + 1] = s;
    }
}

template <class T>
static __global__ void backward_rows(row_count rows, int64_t V, const T *x, const int32_t *targets,
                                     const wide<T> *aux, const wide<T> *dsum, const wide<T> *deach, T *dx)
{
    const int64_t t = blockIdx.x;

    if (t >= rows.used())
        return;
    const wide<T> g = (dsum ? *dsum : 0) + (deach ? deach[t] : 0), m = aux[2 * t], s = aux[2 * t + 1];
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x) {
        const wide<T> p = exp_of((load(x + t * V + v) - m) - s);
        add_to(dx + t * V + v, v == targets[t] ? g * p - g : g * p);
    }
}

template <class T> static void forward(const op_args *a)
{
    const tensor   *x = a->in[0];
    const row_count count = loss_count_of(a, x, a->in[1]);
    wide<T>        *each = op_values<wide<T>>(a->out[1]);
    const int64_t   rows = loss_rows(x, a->in[1]);

    if (rows > 0)
        LAUNCH(forward_rows<T>, (unsigned)rows, threads_for(x->s.d[1]), 0, count, x->s.d[1], op_values<T>(x),
               op_values_of<int32_t>(a->in[1]), each, op_aux<T>(a));
    LAUNCH(sum_losses<wide<T>>, 1, BLOCK, 0, count, each, op_values<wide<T>>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const tensor *x = a->in[0];
    const int64_t rows = loss_rows(x, a->in[1]);

    if (a->gin[0] && rows > 0)
        LAUNCH(backward_rows<T>, (unsigned)rows, threads_for(x->s.d[1]), 0, loss_count_of(a, x, a->in[1]),
               x->s.d[1], op_values<T>(x), op_values_of<int32_t>(a->in[1]), op_aux<T>(a),
               op_values<wide<T>>(a->gout[0]), op_values<wide<T>>(a->gout[1]), op_values<T>(a->gin[0]));
}

OP_CUDA(cross_entropy, 0)
