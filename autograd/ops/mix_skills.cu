/* mix_skills on the device: see mix_skills.c */
#include "autograd/ops/kernel.cuh"

/* A block is `pieces` stretches of `length` values; piece p of block h begins at (p H + h) length of a matrix. */
struct layout {
    int64_t H, K, length, size; /* size: of a block */

    /* where value i of block h stands in a matrix */
    __device__ __forceinline__ int64_t place(int64_t h, int64_t i) const
    {
        return (i / length * H + h) * length + i % length;
    }
};

static layout layout_of(const op_args *a)
{
    const shape    s = a->in[0]->s;
    const int64_t *d = s.d + s.n - 3, pieces = a->attr->mix_skills.beside ? d[1] : 1, size = d[1] * d[2];

    return {s.n == 4 ? s.d[0] : 1, d[0], size / pieces, size};
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const layout    l = layout_of(a);
    const W        *m = op_values<W>(a->in[0]), *w = op_values<W>(a->in[1]);
    W              *y = op_values<W>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t at) {
        const int64_t s = at / (l.H * l.size), i = at % (l.H * l.size), h = i / l.length % l.H;
        const int64_t inside = i / (l.H * l.length) * l.length + i % l.length;
        W             sum = 0;
        for (int64_t k = 0; k < l.K; k++)
            sum += w[(s * l.H + h) * l.K + k] * m[(h * l.K + k) * l.size + inside];
        y[at] = sum;
    });
}

/* A block for each weight. */
template <class W>
static __global__ void add_products(row_count rows, layout l, const W *dy, const W *m, W *dw)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t n = l.H * l.K, s = blockIdx.x / n, j = blockIdx.x % n;
    W             sum = 0;

    if (s >= rows.used())
        return;
    for (int64_t i = threadIdx.x; i < l.size; i += blockDim.x)
        sum += dy[s * l.H * l.size + l.place(j / l.K, i)] * m[j * l.size + i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0)
        dw[blockIdx.x] += sum;
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const layout    l = layout_of(a);
    const row_count seqs = op_count(a, a->gout[0]);
    const W        *m = op_values<W>(a->in[0]), *w = op_values<W>(a->in[1]), *dy = op_values<W>(a->gout[0]);
    const int64_t   blocks = op_bound(a->gout[0]) * l.H * l.K;
    W              *dm = op_values<W>(a->gin[0]), *dw = op_values<W>(a->gin[1]);

    if (dm)
        over_values(a, a->gin[0], [=] __device__(int64_t at) {
            const int64_t j = at / l.size, i = l.place(j / l.K, at % l.size), n = seqs.used();
            W             sum = 0;
            for (int64_t s = 0; s < n; s++)
                sum += w[s * l.H * l.K + j] * dy[s * l.H * l.size + i];
            dm[at] += sum;
        });
    if (dw && blocks > 0)
        LAUNCH(add_products<W>, (unsigned)blocks, threads_for(l.size), 0, seqs, l, dy, m, dw);
}

OP_CUDA(mix_skills, 0)
