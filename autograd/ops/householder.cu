/* householder on the device: see householder.c */
#include "autograd/ops/kernel.cuh"

/* ---- forward ------------------------------------------------------------------------------------------- */

/* v_i = u_i / |u_i|; a block for each */
template <class W> static __global__ void normalise(int64_t C, int64_t R, const W *u, W *v, W *length)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t i = blockIdx.x;
    W             sum = 0;

    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        sum += u[c * R + i] * u[c * R + i];
    const W norm = root_of(block_sum(sum, shared));
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        v[i * C + c] = u[c * R + i] / norm;
    if (threadIdx.x == 0)
        length[i] = norm;
}

/* sum over c of x[c * step_x] y[c * step_y]; all threads of the block get it */
template <class W>
static __device__ W dot(int64_t C, const W *x, int64_t step_x, const W *y, int64_t step_y, W *shared)
{
    W sum = 0;

    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        sum += x[c * step_x] * y[c * step_y];
    return block_sum(sum, shared);
}

/* z[i, j] = sign x_i . y_j, vectors of C values; a block for each. step: from vector to vector, turn: within
 * one. */
template <class W>
static __global__ void products(int64_t C, int64_t R, W sign, const W *x, const W *y, int64_t step,
                                int64_t turn, W *z)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t i = blockIdx.x / R, j = blockIdx.x % R;
    const W       sum = dot(C, x + i * C, 1, y + j * step, turn, shared);

    if (threadIdx.x == 0)
        z[blockIdx.x] = sign * sum;
}

/* T of g = V^T V; one block, a thread for a row */
template <class W> static __global__ void triangle(int64_t R, const W *g, W *T)
{
    for (int64_t i = threadIdx.x; i < R; i += blockDim.x)
        for (int64_t j = 0; j < R; j++) {
            W sum = 0;
            for (int64_t k = i; k < j; k++)
                sum -= 2 * T[i * R + k] * g[k * R + j];
            T[i * R + j] = i == j ? W(2) : sum;
        }
}

/* Gram-Schmidt; one block */
template <class W>
static __global__ void orthogonalise(int64_t C, int64_t R, const W *u, W *v, W *length, W *r)
{
    __shared__ W shared[WARP_LANES];

    for (int64_t i = 0; i < R; i++) {
        for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
            v[i * C + c] = u[c * R + i];
        for (int64_t j = 0; j < i; j++) {
            const W along = dot(C, v + j * C, 1, v + i * C, 1, shared);
            for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
                v[i * C + c] -= along * v[j * C + c];
            if (threadIdx.x == 0)
                r[j * R + i] = along;
        }
        const W norm = root_of(dot(C, v + i * C, 1, v + i * C, 1, shared));
        for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
            v[i * C + c] /= norm;
        if (threadIdx.x == 0)
            length[i] = norm;
    }
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    const bool      orthogonal = a->attr->householder.orthogonal;
    const W        *u = op_values<W>(a->in[0]);
    W *v = op_values<W>(a->out[0]), *b = op_values<W>(a->out[1]), *length = op_aux<T>(a), *t = length + R;

    if (R == 0)
        return;
    if (orthogonal)
        LAUNCH(orthogonalise<W>, 1, threads_for(C), 0, C, R, u, v, length, t);
    else {
        W *g = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(R * R) * sizeof(W)));
        LAUNCH(normalise<W>, (unsigned)R, threads_for(C), 0, C, R, u, v, length);
        LAUNCH(products<W>, (unsigned)(R * R), threads_for(C), 0, C, R, W(1), v, v, C, 1, g);
        LAUNCH(triangle<W>, 1, threads_for(R), 0, R, g, t);
    }
    over_values(a, a->out[1], [=] __device__(int64_t at) {
        const int64_t c = at / R, j = at % R;
        W             sum = 0;
        for (int64_t i = 0; i <= j && !orthogonal; i++)
            sum -= v[i * C + c] * t[i * R + j];
        b[at] = orthogonal ? -2 * v[j * C + c] : sum;
    });
}

/* ---- backward ------------------------------------------------------------------------------------------ */

/* dS = -T^T dT T^T; one block */
template <class W> static __global__ void inverse_gradient(int64_t R, const W *T, const W *dT, W *half, W *dS)
{
    for (int64_t at = threadIdx.x; at < R * R; at += blockDim.x) {
        W sum = 0;
        for (int64_t k = 0; k < R; k++)
            sum -= T[k * R + at / R] * dT[k * R + at % R];
        half[at] = sum;
    }
    __syncthreads();
    for (int64_t at = threadIdx.x; at < R * R; at += blockDim.x) {
        W sum = 0;
        for (int64_t l = 0; l < R; l++)
            sum += half[at / R * R + l] * T[at % R * R + l];
        dS[at] = sum;
    }
}

/* du_i += dv_i without its part along v_i, over |u_i|; a block for each */
template <class W>
static __global__ void lengths_gradient(int64_t C, int64_t R, const W *v, const W *length, const W *dv, W *du)
{
    __shared__ W  shared[WARP_LANES];
    const int64_t i = blockIdx.x;
    const W       along = dot(C, dv + i * C, 1, v + i * C, 1, shared);

    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        du[c * R + i] += (dv[i * C + c] - along * v[i * C + c]) / length[i];
}

/* The same through Gram-Schmidt, the last vector first; one block. w: C values. */
template <class W>
static __global__ void orthogonal_gradient(int64_t C, int64_t R, const W *v, const W *length, const W *r,
                                           W *dv, W *w, W *du)
{
    __shared__ W shared[WARP_LANES];

    for (int64_t i = R - 1; i >= 0; i--) {
        const W along = dot(C, dv + i * C, 1, v + i * C, 1, shared);
        for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
            dv[i * C + c] = (dv[i * C + c] - along * v[i * C + c]) / length[i];
            w[c] = length[i] * v[i * C + c];
        }
        for (int64_t j = i - 1; j >= 0; j--) {
            const W d = -dot(C, dv + i * C, 1, v + j * C, 1, shared), s = r[j * R + i];
            for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
                w[c] += s * v[j * C + c];
                dv[j * C + c] += d * w[c] - s * dv[i * C + c];
                dv[i * C + c] += d * v[j * C + c];
            }
        }
        for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
            du[c * R + i] += dv[i * C + c];
    }
}

/* dv [R, C] of both outputs, into scratch; more: room behind it */
template <class T> static wide<T> *vectors_gradient(const op_args *a, int64_t more)
{
    typedef wide<T> W;
    const int64_t   C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    const bool      orthogonal = a->attr->householder.orthogonal;
    const W        *v = op_values<W>(a->out[0]), *t = op_aux<T>(a) + R;
    const W        *da = op_values<W>(a->gout[0]), *db = op_values<W>(a->gout[1]);
    W              *dv = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(R * C + more) * sizeof(W)));
    W              *dT = dv + R * C, *half = dT + R * R, *dS = half + R * R;
    const bool      chain = !orthogonal && db;

    if (chain) {
        LAUNCH(products<W>, (unsigned)(R * R), threads_for(C), 0, C, R, W(-1), v, db, 1, R, dT);
        LAUNCH(inverse_gradient<W>, 1, threads_for(R * R), 0, R, t, dT, half, dS);
    }
    over_values(a, a->out[0], [=] __device__(int64_t at) {
        const int64_t i = at / C, c = at % C;
        W             sum = (da ? da[at] : W(0)) - (orthogonal && db ? 2 * db[c * R + i] : W(0));
        for (int64_t j = 0; j < R && chain; j++) {
            sum -= t[i * R + j] * db[c * R + j];
            if (j != i)
                sum += (i < j ? dS[i * R + j] : dS[j * R + i]) * v[j * C + c];
        }
        dv[at] = sum;
    });
    return dv;
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   C = a->in[0]->s.d[0], R = a->in[0]->s.d[1];
    const W        *v = op_values<W>(a->out[0]), *length = op_aux<T>(a);
    W              *du = op_values<W>(a->gin[0]);

    if (!du || R == 0)
        return;
    W *dv = vectors_gradient<T>(a, 3 * R * R + C);
    if (a->attr->householder.orthogonal)
        LAUNCH(orthogonal_gradient<W>, 1, threads_for(C), 0, C, R, v, length, length + R, dv, dv + R * C, du);
    else
        LAUNCH(lengths_gradient<W>, (unsigned)R, threads_for(C), 0, C, R, v, length, dv, du);
}

OP_CUDA(householder, 0)
