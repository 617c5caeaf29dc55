/* contrast on the device: see contrast.c */
#include "autograd/ops/total.cuh"

/* z[i,j], a warp for each; 0 where there is no row */
template <class T>
static __global__ void products(row_count rows, row_count columns, int64_t C, const T *a, const T *b, wide<T> *z)
{
    const int64_t i = blockIdx.x, Q = columns.capacity;
    const int     lane = threadIdx.x % WARP_LANES, warps = blockDim.x / WARP_LANES;
    const bool    used = i < rows.used();

    for (int64_t j = threadIdx.x / WARP_LANES; j < Q; j += warps) {
        wide<T> sum = 0;
        if (used && j < columns.used())
            for (int64_t c = lane; c < C; c += WARP_LANES)
                sum += (wide<T>)load(a + i * C + c) * (wide<T>)load(b + j * C + c);
        sum = warp_sum(sum);
        if (lane == 0)
            z[i * Q + j] = sum;
    }
}

/* log sum_j exp(factor z[j step]), of a block */
template <class W>
static __device__ double log_sum(const W *z, int64_t n, int64_t step, double factor, double *shared)
{
    double most = -INFINITY, sum = 0;

    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        most = factor * (double)z[j * step] > most ? factor * (double)z[j * step] : most;
    most = block_max(most, shared);
    for (int64_t j = threadIdx.x; j < n; j += blockDim.x)
        sum += exp(factor * (double)z[j * step] - most);
    return most + log(block_sum(sum, shared));
}

/* aux[2 i]: of row i, aux[2 i + 1]: of column i; a block for each */
template <class W>
static __global__ void log_sums(row_count rows, row_count columns, double factor, const W *z, W *aux)
{
    __shared__ double shared[WARP_LANES];
    const int64_t     i = blockIdx.x, Q = columns.capacity;

    if (i >= rows.used())
        return;
    const double row = log_sum(z + i * Q, columns.used(), 1, factor, shared);
    const double column = log_sum(z + i, rows.used(), Q, factor, shared);
    if (threadIdx.x == 0) {
        aux[2 * i] = (W)row;
        aux[2 * i + 1] = (W)column;
    }
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   P = op_capacity(a->in[0]), Q = op_capacity(a->in[1]);
    const double    factor = a->attr->contrast.factor;
    const bool      both = a->attr->contrast.both;
    const row_count rows = op_count(a, a->in[0]), columns = op_count(a, a->in[1]);
    W              *z = op_values<W>(a->out[1]), *aux = op_aux<T>(a);

    if (P == 0)
        return;
    LAUNCH(products<T>, (unsigned)P, BLOCK, 0, rows, columns, shape_last_of(a->in[0]), op_values<T>(a->in[0]),
           op_values<T>(a->in[1]), z);
    LAUNCH(log_sums<W>, (unsigned)P, threads_for(Q), 0, rows, columns, factor, z, aux);
    const tensor one = {.s = {1, {P}}, .type = TYPE_F32, .v = NULL, .rows = a->in[0]->rows};
    total(a, &one, op_values<W>(a->out[0]), false, [=] __device__(int64_t i) -> double {
        const double row = (double)aux[2 * i], column = (double)aux[2 * i + 1];
        return (both ? (row + column) / 2 : row) - factor * (double)z[i * Q + i];
    });
}

template <class W> struct contrast_gradient {
    const W  *z, *aux, *dsum, *dz;
    row_count rows;
    int64_t   Q;
    double    factor;
    bool      both;

    __device__ __forceinline__ W at(int64_t i, int64_t j) const
    {
        const double x = factor * (double)z[i * Q + j];
        double       share = exp(x - (double)aux[2 * i]);

        if (both)
            share = (share + (j < rows.used() ? exp(x - (double)aux[2 * j + 1]) : 0)) / 2;
        return (dz ? dz[i * Q + j] : W(0)) + (dsum ? *dsum * (W)(factor * (share - (i == j))) : W(0));
    }
};

/* g [P, Q], 0 where there is no row; a block for each row */
template <class W>
static __global__ void gradients(contrast_gradient<W> g, row_count columns, W *out)
{
    const int64_t i = blockIdx.x;

    for (int64_t j = threadIdx.x; j < g.Q; j += blockDim.x)
        out[i * g.Q + j] = i < g.rows.used() && j < columns.used() ? g.at(i, j) : W(0);
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T>            W;
    const tensor              *any = a->gin[0] ? a->gin[0] : a->gin[1];
    const row_count            rows = op_count(a, a->in[0]), columns = op_count(a, a->in[1]);
    const T                   *x = op_values<T>(a->in[0]), *y = op_values<T>(a->in[1]);
    T                         *dx = op_values<T>(a->gin[0]), *dy = op_values<T>(a->gin[1]);
    const int64_t              P = op_capacity(a->in[0]), Q = op_capacity(a->in[1]);
    const contrast_gradient<W> g = {op_values<W>(a->out[1]), op_aux<T>(a), op_values<W>(a->gout[0]),
                                    op_values<W>(a->gout[1]), rows, Q, a->attr->contrast.factor,
                                    a->attr->contrast.both};

    if (!any || P == 0)
        return;
    const int64_t C = shape_last_of(any);
    W            *all = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(P * Q) * sizeof(W)));
    LAUNCH(gradients<W>, (unsigned)P, threads_for(Q), 0, g, columns, all);
    if (dx)
        over_values(a, a->gin[0], [=] __device__(int64_t at) {
            const int64_t i = at / C, c = at % C, n = columns.used();
            W             sum = 0;
            for (int64_t j = 0; j < n; j++)
                sum += all[i * Q + j] * (W)load(y + j * C + c);
            add_to(dx + at, sum);
        });
    if (dy)
        over_values(a, a->gin[1], [=] __device__(int64_t at) {
            const int64_t j = at / C, c = at % C, n = rows.used();
            W             sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += all[i * Q + j] * (W)load(x + i * C + c);
            add_to(dy + at, sum);
        });
}

OP_CUDA(contrast, 0)
