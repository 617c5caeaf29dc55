/* layernorm on the device: see layernorm.c; a block for each row */
#include "autograd/ops/columns.cuh"

template <class T>
static __global__ void norm_forward(row_count rows, int64_t C, double eps, const T *x, const wide<T> *w,
                                    const wide<T> *b, T *y, wide<T> *mean, wide<T> *factor)
{
    __shared__ wide<T> shared[WARP_LANES];
    const int64_t      row = blockIdx.x, at = row * C;
    wide<T>            sum = 0, squares = 0;

    if (row >= rows.used())
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        sum += load(x + at + c);
    const wide<T> m = block_sum(sum, shared) / (wide<T>)C;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        const wide<T> v = load(x + at + c) - m;
        squares += v * v;
    }
    const wide<T> r = 1 / root_of(block_sum(squares, shared) / (wide<T>)C + (wide<T>)eps);
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        store(y + at + c, (load(x + at + c) - m) * r * w[c] + b[c]);
    if (threadIdx.x == 0) {
        mean[row] = m;
        factor[row] = r;
    }
}

template <class T>
static __global__ void norm_backward(row_count rows, int64_t C, const T *x, const wide<T> *w,
                                     const wide<T> *mean, const wide<T> *factor, const T *dy, T *dx,
                                     bool fresh)
{
    __shared__ wide<T> shared[WARP_LANES];
    const int64_t      row = blockIdx.x, at = row * C;
    wide<T>            sum = 0, product = 0;

    if (row >= rows.used())
        return;
    const wide<T> m = mean[row], r = factor[row];
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        const wide<T> g = load(dy + at + c) * w[c];
        sum += g;
        product += g * ((load(x + at + c) - m) * r);
    }
    const wide<T> flat = block_sum(sum, shared) / (wide<T>)C, along = block_sum(product, shared) / (wide<T>)C;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        const wide<T> h = (load(x + at + c) - m) * r;
        give(dx + at + c, r * (load(dy + at + c) * w[c] - flat - along * h), fresh);
    }
}

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0];
    wide<T>      *aux = op_aux<T>(a);

    if (op_bound(x) > 0)
        LAUNCH(norm_forward<T>, (unsigned)op_bound(x), threads_for(x->s.d[1]), 0, op_count(a, x), x->s.d[1],
               a->attr->rmsnorm.eps, op_values<T>(x), op_values<wide<T>>(a->in[1]),
               op_values<wide<T>>(a->in[2]), op_values<T>(a->out[0]), aux, aux + x->s.d[0]);
}

template <class T> static void backward(const op_args *a)
{
    const tensor  *x = a->in[0], *dy = a->gout[0];
    const int64_t  C = shape_last_of(dy);
    const T       *v = op_values<T>(x), *d = op_values<T>(dy);
    const wide<T> *mean = op_aux<T>(a), *factor = mean ? mean + op_capacity(dy) : NULL;

    if (a->gin[0] && op_bound(dy) > 0)
        LAUNCH(norm_backward<T>, (unsigned)op_bound(dy), threads_for(C), 0, op_count(a, dy), C, v,
               op_values<wide<T>>(a->in[1]), mean, factor, d, op_values<T>(a->gin[0]), a->fresh[0]);
    if (a->gin[1])
        add_columns<wide<T>>(op_count(a, dy), C, op_values<wide<T>>(a->gin[1]),
                             [=] __device__(int64_t n, int64_t c) {
                                 return load(d + n * C + c) * ((load(v + n * C + c) - mean[n]) * factor[n]);
                             });
    if (a->gin[2])
        add_columns<wide<T>>(op_count(a, dy), C, op_values<wide<T>>(a->gin[2]),
                             [=] __device__(int64_t n, int64_t c) -> wide<T> { return load(d + n * C + c); });
}

OP_CUDA(layernorm, IN0)
