/* sparse on the device: see sparse.c */
#include "autograd/ops/columns.cuh"

static const int64_t COLUMNS_AT_ONCE = 8192; /* sums of dx in shared memory */

/* first[m] = the first entry of row m or later, for m <= M */
static __global__ void find_rows(const int32_t *m, int64_t E, int64_t M, int32_t *first)
{
    const int64_t row = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int64_t       low = 0, high = E;

    if (row > M)
        return;
    while (low < high) {
        const int64_t at = (low + high) / 2;
        if (m[at] < row)
            low = at + 1;
        else
            high = at;
    }
    first[row] = (int32_t)low;
}

static const int32_t *row_starts(const tensor *places, int64_t M)
{
    const int64_t E = places->s.d[1];
    int32_t      *first = static_cast<int32_t *>(cuda_scratch(SCRATCH_LOW, (size_t)(M + 1) * sizeof *first));

    LAUNCH(find_rows, blocks_for(M + 1, BLOCK), BLOCK, 0, op_values_of<int32_t>(places), E, M, first);
    return first;
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   M = a->out[0]->s.d[1], K = a->in[1]->s.d[1], E = a->in[2]->s.d[0];
    const int32_t  *first = row_starts(a->in[3], M), *k = op_values_of<int32_t>(a->in[3]) + E;
    const T        *y = op_values<T>(a->in[0]), *x = op_values<T>(a->in[1]);
    const W        *v = op_values<W>(a->in[2]);
    T              *z = op_values<T>(a->out[0]); /* may be y */

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t n = i / M, row = i % M;
        W             sum = load(y + i);
        for (int32_t e = first[row]; e < first[row + 1]; e++)
            sum += v[e] * load(x + n * K + k[e]);
        store(z + i, sum);
    });
}

/* A block for a token and a stretch of columns: its lanes take the entries of one row of S, whose columns
 * differ. */
template <class T>
static __global__ void add_columns_of(row_count rows, int64_t M, int64_t K, const int32_t *first,
                                      const int32_t *k, const wide<T> *v, const T *dy, T *dx, bool fresh)
{
    DYNAMIC_SHARED(wide<T>, sum);
    const int64_t n = blockIdx.x, c0 = (int64_t)blockIdx.y * COLUMNS_AT_ONCE;
    const int64_t C = K - c0 < COLUMNS_AT_ONCE ? K - c0 : COLUMNS_AT_ONCE;

    if (n >= rows.used())
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        sum[c] = 0;
    __syncthreads();
    for (int64_t row = 0; row < M; row++) {
        const wide<T> d = load(dy + n * M + row);
        for (int32_t e = first[row] + (int32_t)threadIdx.x; e < first[row + 1]; e += (int32_t)blockDim.x)
            if (k[e] >= c0 && k[e] < c0 + C)
                sum[k[e] - c0] += v[e] * d;
        __syncthreads();
    }
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        give(dx + n * K + c0 + c, sum[c], fresh);
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   M = a->gout[0]->s.d[1], K = a->in[1]->s.d[1], E = a->in[2]->s.d[0],
                    N = op_bound(a->gout[0]);
    const int32_t  *m = op_values_of<int32_t>(a->in[3]), *k = m ? m + E : NULL;
    const T        *dy = op_values<T>(a->gout[0]);
    T              *dz = op_values<T>(a->gin[0]);
    const bool      fresh = a->fresh[0];

    if (dz)
        over_values(a, a->gout[0], [=] __device__(int64_t i) { give(dz + i, load(dy + i), fresh); });
    if (a->gin[1] && N > 0) {
        const int64_t C = K < COLUMNS_AT_ONCE ? K : COLUMNS_AT_ONCE;
        LAUNCH(add_columns_of<T>, dim3((unsigned)N, blocks_for(K, COLUMNS_AT_ONCE)), WARP_LANES,
               (size_t)C * sizeof(W), op_count(a, a->gout[0]), M, K, row_starts(a->in[3], M), k,
               op_values<W>(a->in[2]), dy, op_values<T>(a->gin[1]), a->fresh[1]);
    }
    if (a->gin[2]) {
        const T *x = op_values<T>(a->in[1]);
        add_columns(op_count(a, a->gout[0]), E, op_values<W>(a->gin[2]),
                    [=] __device__(int64_t n, int64_t e) -> W {
                        return load(dy + n * M + m[e]) * load(x + n * K + k[e]);
                    });
    }
}

OP_CUDA(sparse, IN0 | IN1)
