/* cayley on the device: see cayley.c. A block for a matrix; its working matrices lie in scratch. */
#include "autograd/ops/kernel.cuh"

enum { MATRICES = 4 }; /* and those of the series */

template <class W> struct small {
    int64_t h, n; /* n: values of q a matrix */
    int     terms, highest;
    bool    triangle;
    W       limit;

    __device__ W factor(int i) const
    {
        return i == 0 || (terms > 2 && i == highest) ? W(1) : W(2);
    }
};

template <class W> static small<W> small_of(const op_args *a)
{
    const int     terms = a->attr->cayley.terms;
    const shape   q = a->in[0]->s;
    const int64_t h = a->out[0]->s.d[2];

    return small<W>{h, q.n == 2 ? q.d[1] : h * h, terms, terms <= 2 ? terms - 1 : terms == 3 ? 3 : terms - 1,
                    q.n == 2, (W)a->attr->cayley.limit};
}

template <class W> static W *room(const op_args *a, const small<W> &s, int64_t *step)
{
    *step = s.h * s.h * (MATRICES + (s.terms > 0 ? s.terms + 1 : 0));
    return static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(a->out[0]->s.d[0] * *step) * sizeof(W)));
}

template <class W> static __device__ W entry(const small<W> &s, const W *q, int64_t i, int64_t j)
{
    if (i == j)
        return 0;
    if (!s.triangle)
        return (q[i * s.h + j] - q[j * s.h + i]) / 2;
    const int64_t low = i < j ? i : j, high = i < j ? j : i;
    const W       x = q[low * s.h - low * (low + 1) / 2 + high - low - 1];
    return i < j ? x : -x;
}

/* Q of this block, as it is used */
template <class W> static __device__ void skew(const small<W> &s, const W *q, W *Q)
{
    __shared__ W shared[WARP_LANES];
    W            sum = 0;

    for (int64_t i = threadIdx.x; i < s.h * s.h; i += blockDim.x) {
        Q[i] = entry(s, q, i / s.h, i % s.h);
        sum += Q[i] * Q[i];
    }
    const W norm = root_of(block_sum(sum, shared));
    if (s.limit > 0 && norm > s.limit)
        for (int64_t i = threadIdx.x; i < s.h * s.h; i += blockDim.x)
            Q[i] *= s.limit / norm;
    __syncthreads();
}

/* c = alpha op(a) op(b), or added; all threads meet behind it */
template <class W>
static __device__ void multiply(int64_t h, W alpha, const W *a, bool a_turned, const W *b, bool b_turned,
                                W *c, bool add)
{
    for (int64_t i = threadIdx.x; i < h * h; i += blockDim.x) {
        const int64_t m = i / h, n = i % h;
        W             sum = 0;
        for (int64_t k = 0; k < h; k++)
            sum += (a_turned ? a[k * h + m] : a[m * h + k]) * (b_turned ? b[n * h + k] : b[k * h + n]);
        c[i] = alpha * sum + (add ? c[i] : W(0));
    }
    __syncthreads();
}

template <class W> static __device__ void series(const small<W> &s, const W *Q, W *p)
{
    const int64_t size = s.h * s.h;

    for (int i = s.highest; i >= 0; i--) {
        if (i < s.highest)
            multiply(s.h, W(1), Q, false, p + (i + 1) * size, false, p + i * size, false);
        for (int64_t k = threadIdx.x; k < size; k += blockDim.x)
            p[i * size + k] = (i < s.highest ? p[i * size + k] : W(0)) +
                              (k % (s.h + 1) == 0 ? s.factor(i) : W(0));
        __syncthreads();
    }
}

/* m becomes its inverse; column: h values */
template <class W> static __device__ void invert(int64_t h, W *m, W *column)
{
    for (int64_t p = 0; p < h; p++) {
        const W pivot = 1 / m[p * h + p];
        for (int64_t i = threadIdx.x; i < h; i += blockDim.x)
            column[i] = m[i * h + p];
        __syncthreads();
        for (int64_t j = threadIdx.x; j < h; j += blockDim.x)
            m[p * h + j] = (j == p ? W(1) : m[p * h + j]) * pivot;
        __syncthreads();
        for (int64_t i = threadIdx.x; i < h * h; i += blockDim.x)
            if (i / h != p)
                m[i] = (i % h == p ? W(0) : m[i]) - column[i / h] * m[p * h + i % h];
        __syncthreads();
    }
}

template <class W> static __global__ void rotations(small<W> s, const W *q, W *work, int64_t step, W *r)
{
    const int64_t size = s.h * s.h;
    W            *Q = work + blockIdx.x * step, *p = Q + size;

    q += blockIdx.x * s.n;
    r += blockIdx.x * size;
    skew(s, q, Q);
    if (s.terms > 0)
        series(s, Q, p);
    else {
        for (int64_t i = threadIdx.x; i < s.h; i += blockDim.x)
            Q[i * s.h + i] += 1;
        __syncthreads();
        invert(s.h, Q, p);
    }
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x)
        r[i] = s.terms > 0 ? p[i] : 2 * Q[i] - (i % (s.h + 1) == 0 ? W(1) : W(0));
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const small<W>  s = small_of<W>(a);
    int64_t         step;
    W              *work = room(a, s, &step);

    if (a->out[0]->s.d[0] > 0)
        LAUNCH(rotations<W>, (unsigned)a->out[0]->s.d[0], threads_for(s.h * s.h), 0, s,
               op_values<W>(a->in[0]), work, step, op_values<W>(a->out[0]));
}

template <class W>
static __device__ void series_backward(const small<W> &s, const W *Q, const W *dR, W *p, W *d, W *dQ)
{
    const int64_t size = s.h * s.h;
    W            *next = d + size;

    series(s, Q, p);
    for (int64_t i = threadIdx.x; i < size; i += blockDim.x) {
        d[i] = dR[i];
        dQ[i] = 0;
    }
    __syncthreads();
    for (int i = 0; i < s.highest; i++) {
        multiply(s.h, W(1), d, false, p + (i + 1) * size, true, dQ, true);
        multiply(s.h, W(1), Q, true, d, false, next, false);
        W *other = d;
        d = next;
        next = other;
    }
}

template <class W>
static __global__ void gradients(small<W> s, const W *q, const W *r, const W *dr, W *work, int64_t step,
                                 W *dq)
{
    const int64_t size = s.h * s.h;
    W            *Q = work + blockIdx.x * step, *dQ = Q + size, *d = dQ + size;

    dr += blockIdx.x * size;
    dq += blockIdx.x * s.n;
    if (s.terms > 0) {
        skew(s, q + blockIdx.x * s.n, Q);
        series_backward(s, Q, dr, d + 2 * size, d, dQ);
    } else {
        for (int64_t i = threadIdx.x; i < size; i += blockDim.x)
            Q[i] = r[blockIdx.x * size + i] + (i % (s.h + 1) == 0 ? W(1) : W(0));
        __syncthreads();
        multiply(s.h, W(1), Q, true, dr, false, d, false);
        multiply(s.h, W(-0.5), d, false, Q, true, dQ, false);
    }
    __syncthreads();
    for (int64_t k = threadIdx.x; k < size; k += blockDim.x) {
        const int64_t i = k / s.h, j = k % s.h;
        const W       x = dQ[i * s.h + j] - dQ[j * s.h + i];
        if (!s.triangle)
            dq[k] += x / 2;
        else if (i < j)
            dq[i * s.h - i * (i + 1) / 2 + j - i - 1] += x;
    }
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const small<W>  s = small_of<W>(a);
    int64_t         step;
    W              *work = room(a, s, &step);

    if (a->gin[0] && a->out[0]->s.d[0] > 0)
        LAUNCH(gradients<W>, (unsigned)a->out[0]->s.d[0], threads_for(s.h * s.h), 0, s,
               op_values<W>(a->in[0]), op_values<W>(a->out[0]), op_values<W>(a->gout[0]), work, step,
               op_values<W>(a->gin[0]));
}

OP_CUDA(cayley, 0)
