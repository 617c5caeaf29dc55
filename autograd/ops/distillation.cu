/* distillation on the device: see distillation.c; a block for each row */
#include "autograd/ops/cross_entropy.cuh"

enum { AUX_ROW = 5 };

/* What of the settings a row needs, in the type of its arithmetic. */
template <class W> struct share {
    W hard, soft, cold; /* cold: 1 / temperature */
};

template <class T> static __device__ wide<T> row_largest(const T *x, int64_t V, double *shared)
{
    double top = -INFINITY;

    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        top = (double)load(x + v) > top ? (double)load(x + v) : top;
    return (wide<T>)block_max(top, shared);
}

/* log of the sum of exp(c (x - m)); all threads get it. */
template <class T> static __device__ double row_total(const T *x, int64_t V, wide<T> c, wide<T> m, double *shared)
{
    double total = 0;

    for (int64_t v = threadIdx.x; v < V; v += blockDim.x)
        total += (double)exp_of(c * (load(x + v) - m));
    return log(block_sum(total, shared));
}

template <class T>
static __global__ void forward_rows(row_count rows, int64_t V, share<wide<T>> o, const T *x, const T *y,
                                    const int32_t *targets, wide<T> *each, wide<T> *aux)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     t = blockIdx.x;
    double            sum = 0;

    if (t >= rows.used())
        return;
    x += t * V;
    y += t * V;
    const wide<T> mx = row_largest(x, V, shared), my = row_largest(y, V, shared);
    const double  hard = row_total(x, V, (wide<T>)1, mx, shared);
    const wide<T> sx = (wide<T>)row_total(x, V, o.cold, mx, shared);
    const wide<T> sy = (wide<T>)row_total(y, V, o.cold, my, shared);
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x) {
        const wide<T> lp = o.cold * (load(y + v) - my) - sy, lq = o.cold * (load(x + v) - mx) - sx;
        sum += (double)(exp_of(lp) * (lp - lq));
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        wide<T>     *row = aux + AUX_ROW * t;
        const double loss = hard + ((double)mx - (double)load(x + targets[t]));
        each[t] = (wide<T>)((double)o.hard * loss + (double)o.soft * sum);
        row[0] = mx;
        row[1] = (wide<T>)hard;
        row[2] = sx;
        row[3] = my;
        row[4] = sy;
    }
}

template <class T>
static __global__ void backward_rows(row_count rows, int64_t V, share<wide<T>> o, const T *x, const T *y,
                                     const int32_t *targets, const wide<T> *aux, const wide<T> *dsum,
                                     const wide<T> *deach, T *dx)
{
    const int64_t t = blockIdx.x;

    if (t >= rows.used())
        return;
    const wide<T>  g = (dsum ? *dsum : 0) + (deach ? deach[t] : 0), hard = g * o.hard, soft = g * o.cold * o.soft;
    const wide<T> *row = aux + AUX_ROW * t;
    for (int64_t v = threadIdx.x; v < V; v += blockDim.x) {
        const wide<T> own = load(x + t * V + v), its = load(y + t * V + v);
        const wide<T> q = exp_of(o.cold * (own - row[0]) - row[2]), p = exp_of(o.cold * (its - row[3]) - row[4]);
        const wide<T> d = hard * exp_of((own - row[0]) - row[1]) + soft * (q - p);
        add_to(dx + t * V + v, v == targets[t] ? d - hard : d);
    }
}

template <class T> static share<wide<T>> share_of(const op_args *a)
{
    return share<wide<T>>{(wide<T>)a->attr->distillation.hard, (wide<T>)a->attr->distillation.soft,
                          (wide<T>)(1 / a->attr->distillation.temperature)};
}

template <class T> static void forward(const op_args *a)
{
    const tensor   *x = a->in[0];
    const row_count count = loss_count_of(a, x, a->in[2]);
    wide<T>        *each = op_values<wide<T>>(a->out[1]);
    const int64_t   rows = loss_rows(x, a->in[2]);

    if (rows > 0)
        LAUNCH(forward_rows<T>, (unsigned)rows, threads_for(x->s.d[1]), 0, count, x->s.d[1], share_of<T>(a),
               op_values<T>(x), op_values<T>(a->in[1]), op_values_of<int32_t>(a->in[2]), each, op_aux<T>(a));
    LAUNCH(sum_losses<wide<T>>, 1, BLOCK, 0, count, each, op_values<wide<T>>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const tensor *x = a->in[0];
    const int64_t rows = loss_rows(x, a->in[2]);

    if (a->gin[0] && rows > 0)
        LAUNCH(backward_rows<T>, (unsigned)rows, threads_for(x->s.d[1]), 0, loss_count_of(a, x, a->in[2]), x->s.d[1],
               share_of<T>(a), op_values<T>(x), op_values<T>(a->in[1]), op_values_of<int32_t>(a->in[2]), op_aux<T>(a),
               op_values<wide<T>>(a->gout[0]), op_values<wide<T>>(a->gout[1]), op_values<T>(a->gin[0]));
}

OP_CUDA(distillation, 0)
