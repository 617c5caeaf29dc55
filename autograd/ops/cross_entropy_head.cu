/* cross_entropy_head on the device: see cross_entropy_head.c.
 *
 * The rows go by in chunks whose logits, in f32, take CHUNK_BYTES at most; a chunk sees the whole vocabulary,
 * so that its softmax is exact at once. Logits become their gradient in place, in the type of activations,
 * and a product with w makes dx of it: on the way forward where only dx is wanted (aux: [T, C]), else in
 * backward from logits that are made again (aux: as in cross_entropy.cu). */
#include "autograd/ops/columns.cuh"
#include "autograd/ops/cross_entropy.cuh"
#include "autograd/ops/token_sum.cuh"

static const int64_t CHUNK_BYTES = 128 << 20, CHUNK_ROWS = 128;

/* A chunk of rows. */
template <class T> struct chunk {
    const op_args *a;
    const T       *x, *w;
    wide<T>       *logits;
    row_count      rows; /* of the chunk, in use */
    int64_t        n;    /* rows that are computed */
    int64_t        C, V, most;
};

template <class T> static chunk<T> open_chunks(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[1], V = a->in[1]->s.d[0], capacity = a->in[0]->s.d[0];
    int64_t       most = CHUNK_BYTES / (V * (int64_t)sizeof(wide<T>)) / CHUNK_ROWS * CHUNK_ROWS;

    most = most < CHUNK_ROWS ? CHUNK_ROWS : most;
    most = most < capacity ? most : capacity;
    return chunk<T>{a,
                    op_values<T>(a->in[0]),
                    static_cast<const T *>(cuda_weight(a->in[1], dtype_of<T>::value)),
                    static_cast<wide<T> *>(cuda_scratch(SCRATCH_LOW, (size_t)(most * V) * sizeof(wide<T>))),
                    loss_count_of(a, a->in[0], a->in[3]),
                    0,
                    C,
                    V,
                    most};
}

/* logits[n, V] = x w^T */
template <class T> static void chunk_logits(const chunk<T> &c)
{
    cuda_product p = {};

    p.m = c.n, p.n = c.V, p.k = c.C;
    p.a = c.x + c.rows.first * c.C, p.lda = c.C;
    p.b = c.w, p.ldb = c.C, p.b_turned = true;
    p.type = dtype_of<T>::value;
    p.c = c.logits, p.ldc = c.V, p.type_c = dtype_of<wide<T>>::value;
    p.alpha = 1;
    cuda_multiply(&p);
}

/* The gradient that stands where logits were: rows of T at the places of rows of wide<T>. */
template <class T> static int64_t gradient_stride(int64_t V)
{
    return V * (int64_t)(sizeof(wide<T>) / sizeof(T));
}

/* dx[n, C] = gradient w (+ dx) */
template <class T, class D> static void chunk_times_words(const chunk<T> &c, D *dx, bool accumulate)
{
    cuda_product p = {};

    p.m = c.n, p.n = c.C, p.k = c.V;
    p.a = c.logits, p.lda = gradient_stride<T>(c.V);
    p.b = c.w, p.ldb = c.C;
    p.type = dtype_of<T>::value;
    p.c = dx, p.ldc = c.C, p.type_c = dtype_of<D>::value;
    p.alpha = 1;
    p.accumulate = accumulate;
    cuda_multiply(&p);
}

/* run(c) for every chunk, with its logits */
template <class T, class F> static void over_chunks(const op_args *a, F run)
{
    chunk<T>      c = open_chunks<T>(a);
    const int64_t rows = loss_rows(a->in[0], a->in[3]);

    for (int64_t first = 0; first < rows; first += c.most) {
        c.n = rows - first < c.most ? rows - first : c.most;
        c.rows.first = first;
        c.rows.capacity = c.n;
        chunk_logits(c);
        run(c);
    }
}

/* ---- kernels, a block for each row ------------------------------------------------------------------- */

/* x[v] becomes f(v, x[v]) in T, at the row's beginning: values are read before what is written reaches them. */
template <class T, class F> static __device__ void replace_row(wide<T> *x, int64_t V, F f)
{
    T *out = reinterpret_cast<T *>(x);

    for (int64_t base = 0; base < V; base += blockDim.x) {
        const int64_t v = base + threadIdx.x;
        const wide<T> value = v < V ? f(v, x[v]) : wide<T>(0);
        __syncthreads();
        if (v < V)
            store(out + v, value);
    }
}

template <class W> static __device__ __forceinline__ void bias_and_cap(W *x, const W *b, W cap, int64_t V)
{
    for (int64_t v = threadIdx.x; (b || cap > 0) && v < V; v += blockDim.x) {
        const W value = x[v] + (b ? b[v] : W(0)); /* read again by this thread only, or behind a barrier */
        x[v] = cap > 0 ? cap * tanh_of(value / cap) : value;
    }
}

/* How a capped logit follows the logit. */
template <class W> static __device__ __forceinline__ W slope_of(W value, W cap)
{
    return cap > 0 ? 1 - (value / cap) * (value / cap) : W(1);
}

/* each, and aux where it is wanted; with `gradient` x becomes softmax - onehot */
template <class T>
static __global__ void head_forward(row_count rows, int64_t V, wide<T> *logits, const wide<T> *bias,
                                    wide<T> cap, const int32_t *targets, wide<T> *each, wide<T> *aux, bool gradient)
{
    typedef wide<T>   W;
    __shared__ double shared[WARP_LANES];
    const int64_t     t = rows.first + blockIdx.x;
    W                *x = logits + (int64_t)blockIdx.x * V;
    W                 m, s, rest;

    if ((int64_t)blockIdx.x >= rows.used())
        return;
    const int64_t target = targets[t];
    bias_and_cap(x, bias, cap, V);
    __syncthreads();
    const double loss = row_loss<W>(x, V, target, &m, &s, &rest, shared);
    if (threadIdx.x == 0) {
        each[t] = (W)loss;
        if (aux) {
            aux[2 * t] = m;
            aux[2 * t + 1] = s;
        }
    }
    if (gradient)
        replace_row<T>(x, V,
                       [=](int64_t v, W value) {
                           return slope_of(value, cap) * (v == target ? -rest : exp_of((value - m) - s));
                       });
}

template <class T>
static __global__ void head_backward(row_count rows, int64_t V, wide<T> *logits, const wide<T> *bias,
                                     wide<T> cap, const int32_t *targets, const wide<T> *aux, const wide<T> *dsum,
                                     const wide<T> *deach)
{
    typedef wide<T> W;
    const int64_t   t = rows.first + blockIdx.x;
    W              *x = logits + (int64_t)blockIdx.x * V;

    if ((int64_t)blockIdx.x >= rows.used())
        return;
    const W       g = (dsum ? *dsum : 0) + (deach ? deach[t] : 0), m = aux[2 * t], s = aux[2 * t + 1];
    const int64_t target = targets[t];
    bias_and_cap(x, bias, cap, V);
    replace_row<T>(x, V, [=](int64_t v, W value) {
        const W p = exp_of((value - m) - s);
        return slope_of(value, cap) * (v == target ? g * p - g : g * p);
    });
}

/* ---- launchers ----------------------------------------------------------------------------------------- */

template <class T> static void forward(const op_args *a)
{
    const bool     weights = a->wanted[1] || a->wanted[2], on_the_way = a->wanted[0] && !weights;
    const int32_t *targets = op_values_of<int32_t>(a->in[3]);
    const wide<T> *bias = op_values<wide<T>>(a->in[2]);
    wide<T>       *each = op_values<wide<T>>(a->out[1]), *aux = op_aux<T>(a);
    const wide<T>  cap = (wide<T>)a->attr->cross_entropy_head.softcap;

    over_chunks<T>(a, [&](const chunk<T> &c) {
        LAUNCH(head_forward<T>, (unsigned)c.n, threads_for(c.V), 0, c.rows, c.V, c.logits, bias, cap, targets,
               each, weights ? aux : (wide<T> *)NULL, on_the_way);
        if (on_the_way)
            chunk_times_words<T>(c, aux + c.rows.first * c.C, false);
    });
    LAUNCH(sum_losses<wide<T>>, 1, BLOCK, 0, loss_count_of(a, a->in[0], a->in[3]), each,
           op_values<wide<T>>(a->out[0]));
}

/* What forward made, times the upstream factors of the rows. */
template <class T> static void spread(const op_args *a)
{
    const int64_t   C = shape_last_of(a->gin[0]);
    const wide<T>  *dsum = op_values<wide<T>>(a->gout[0]), *deach = op_values<wide<T>>(a->gout[1]);
    const wide<T>  *aux = op_aux<T>(a);
    const row_count rows = loss_count_of(a, a->gin[0], a->in[3]);
    T              *dx = op_values<T>(a->gin[0]);

    over_values(a, a->gin[0], [=] __device__(int64_t i) {
        const int64_t t = i / C;
        if (t < rows.used())
            add_to(dx + i, ((dsum ? *dsum : 0) + (deach ? deach[t] : 0)) * aux[i]);
    });
}

/* Gradients of the words from one chunk: dw += gradient^T x, db += column sums. */
template <class T> static void add_words(const chunk<T> &c)
{
    const int64_t stride = gradient_stride<T>(c.V);
    const T      *g = reinterpret_cast<const T *>(c.logits);

    if (c.a->gin[1])
        token_sum<T>(c.rows, g, c.V, c.x + c.rows.first * c.C, c.C, op_values<wide<T>>(c.a->gin[1]), 1,
                     stride);
    if (c.a->gin[2])
        add_columns<wide<T>>(c.rows, c.V, op_values<wide<T>>(c.a->gin[2]),
                             [=] __device__(int64_t n, int64_t v) { return load(g + n * stride + v); });
}

template <class T> static void backward(const op_args *a)
{
    if (!a->gin[1] && !a->gin[2]) {
        if (a->gin[0])
            spread<T>(a);
        return;
    }
    T *dx = op_values<T>(a->gin[0]);
    over_chunks<T>(a, [&](const chunk<T> &c) {
        LAUNCH(head_backward<T>, (unsigned)c.n, threads_for(c.V), 0, c.rows, c.V, c.logits,
               op_values<wide<T>>(a->in[2]), (wide<T>)a->attr->cross_entropy_head.softcap,
               op_values_of<int32_t>(a->in[3]), op_aux<T>(a),
               op_values<wide<T>>(a->gout[0]), op_values<wide<T>>(a->gout[1]));
        if (dx)
            chunk_times_words<T>(c, dx + c.rows.first * c.C, true);
        add_words(c);
    });
}

OP_CUDA(cross_entropy_head, 0)
