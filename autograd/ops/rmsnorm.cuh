/* rmsnorm: the kernels of rmsnorm and rmsnorm_add on the device, a block for each row */
#ifndef AUTOGRAD_OPS_RMSNORM_CUH
#define AUTOGRAD_OPS_RMSNORM_CUH

#include "autograd/ops/columns.cuh"

/* s = x + q, or x itself (q and s NULL); y = s r (o + w), r = 1 / sqrt(mean s^2 + eps) */
template <class T>
static __global__ void norm_forward(row_count rows, int64_t C, double eps, wide<T> o, const T *x,
                                    const T *q, const wide<T> *w, T *s, T *y, wide<T> *factors)
{
    __shared__ wide<T> shared[WARP_LANES];
    const int64_t      row = blockIdx.x;
    wide<T>            sum = 0;

    if (row >= rows.used())
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        wide<T> v = load(x + row * C + c);
        if (q) {
            store(s + row * C + c, v + load(q + row * C + c));
            v = load(s + row * C + c); /* as it is kept */
        }
        sum += v * v;
    }
    sum = block_sum(sum, shared);
    const wide<T> r = 1 / root_of(sum / (wide<T>)C + (wide<T>)eps);
    const T      *v = q ? s : x;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        store(y + row * C + c, load(v + row * C + c) * r * (o + w[c]));
    if (threadIdx.x == 0)
        factors[row] = r;
}

/* g = ds + r dy (o + w) - s r^3 mean(dy (o + w) s); dx += g, dq += g; ds, dy, dx, dq may be NULL */
template <class T>
static __global__ void norm_backward(row_count rows, int64_t C, wide<T> o, const T *s, const wide<T> *w,
                                     const wide<T> *factors, const T *ds, const T *dy, T *dx, T *dq,
                                     bool fresh_x, bool fresh_q)
{
    __shared__ wide<T> shared[WARP_LANES];
    const int64_t      row = blockIdx.x, at = row * C;
    wide<T>            sum = 0;

    if (row >= rows.used())
        return;
    for (int64_t c = threadIdx.x; dy && c < C; c += blockDim.x)
        sum += load(dy + at + c) * (o + w[c]) * load(s + at + c);
    sum = block_sum(sum, shared);
    const wide<T> r = dy ? factors[row] : 0, k = r * r * r * sum / (wide<T>)C;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        wide<T> g = ds ? load(ds + at + c) : 0;
        if (dy)
            g += r * (load(dy + at + c) * (o + w[c])) - k * load(s + at + c);
        if (dx)
            give(dx + at + c, g, fresh_x);
        if (dq)
            give(dq + at + c, g, fresh_q); /* may be dx */
    }
}

template <class T>
static void norm_weight_backward(const op_args *a, row_count rows, const tensor *s, const tensor *dy, const tensor *dw)
{
    const int64_t  C = op_capacity(dw);
    const T       *v = op_values<T>(s), *d = op_values<T>(dy);
    const wide<T> *factors = op_aux<T>(a);

    add_columns<wide<T>>(rows, C, op_values<wide<T>>(dw), [=] __device__(int64_t n, int64_t c) {
        return load(d + n * C + c) * (load(v + n * C + c) * factors[n]);
    });
}

#endif
