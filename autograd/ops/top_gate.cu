/* top_gate on the device: see top_gate.c. Logits are f32 where activations are bf16, of the gate as it is stored. */
#include "autograd/ops/kernel.cuh"

enum { GATE_ROWS = 8 };

/* A block for GATE_ROWS rows, a warp for a logit of each. */
template <class T>
static __global__ void gate_logits(row_count rows, int64_t E, int64_t C, const T *x, const wide<T> *g, wide<T> *z)
{
    const int64_t first = (int64_t)blockIdx.x * GATE_ROWS, n = rows.used(), lane = threadIdx.x % WARP_LANES;

    for (int64_t e = threadIdx.x / WARP_LANES; e < E && first < n; e += blockDim.x / WARP_LANES) {
        wide<T> sum[GATE_ROWS] = {};
        for (int64_t c = lane; c < C; c += WARP_LANES)
            for (int i = 0; i < GATE_ROWS; i++)
                if (first + i < n)
                    sum[i] += load(x + (first + i) * C + c) * g[e * C + c];
        for (int i = 0; i < GATE_ROWS; i++) {
            const wide<T> total = warp_sum(sum[i]);
            if (lane == 0 && first + i < n)
                z[(first + i) * E + e] = total;
        }
    }
}

/* A thread for a row. */
template <class W>
static __global__ void gate_gains(row_count rows, int64_t E, int64_t k, W temperature, const W *logits, W *gains)
{
    const int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (n >= rows.used())
        return;
    const W *z = logits + n * E;
    W       *w = gains + n * E, top = 0, sum = 0;
    for (int64_t e = 0; e < E; e++)
        w[e] = 0;
    for (int64_t i = 0; i < k; i++) {
        int64_t best = -1;
        for (int64_t e = 0; e < E; e++)
            if (w[e] == 0 && (best < 0 || z[e] > z[best]))
                best = e;
        w[best] = 1;
        if (i == 0)
            top = z[best];
    }
    for (int64_t e = 0; e < E && k > 1; e++)
        if (w[e] != 0)
            sum += w[e] = exp_of((z[e] - top) / temperature);
    for (int64_t e = 0; e < E && k > 1; e++)
        w[e] /= sum;
}

template <class T> static wide<T> temperature(const op_args *a)
{
    return a->run->training ? 1 : (wide<T>)a->attr->top_gate.temperature;
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   E = shape_last_of(a->out[0]), N = op_bound(a->in[0]);
    W              *z = op_values<W>(a->out[0]);

    if (N == 0)
        return;
    LAUNCH(gate_logits<T>, blocks_for(N, GATE_ROWS), BLOCK, 0, op_count(a, a->in[0]), E, shape_last_of(a->in[0]),
           op_values<T>(a->in[0]), op_values<W>(a->in[1]), z);
    LAUNCH(gate_gains<W>, blocks_for(N, BLOCK), BLOCK, 0, op_count(a, a->in[0]), E, a->attr->top_gate.k,
           temperature<T>(a), z, op_values<W>(a->out[1]));
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T>  W;
    const tensor    *any = a->gout[0] ? a->gout[0] : a->gout[1];
    const int64_t    E = shape_last_of(any), C = shape_last_of(a->in[0]);
    const row_count  rows = op_count(a, any);
    const W         *dz = op_values<W>(a->gout[0]), *dw = op_values<W>(a->gout[1]), *w = op_values<W>(a->out[1]);
    const W         *g = op_values<W>(a->in[1]), t = temperature<T>(a);
    const T         *x = op_values<T>(a->in[0]);
    T               *dx = op_values<T>(a->gin[0]);
    W               *dg = op_values<W>(a->gin[1]);
    const bool       fresh = a->fresh[0];
    W *dq = static_cast<W *>(cuda_scratch(SCRATCH_OWN, (size_t)(op_capacity(any) * E + 1) * sizeof(W)));

    over_values(a, any, [=] __device__(int64_t i) {
        W along = 0;
        for (int64_t e = 0; e < E && dw; e++)
            along += w[i / E * E + e] * dw[i / E * E + e];
        dq[i] = (dz ? dz[i] : 0) + (dw ? w[i] * (dw[i] - along) / t : 0);
    });
    if (dx)
        over_values(a, a->gin[0], [=] __device__(int64_t i) {
            W sum = 0;
            for (int64_t e = 0; e < E; e++)
                sum += dq[i / C * E + e] * g[e * C + i % C];
            give(dx + i, sum, fresh);
        });
    if (dg)
        over_values(a, a->gin[1], [=] __device__(int64_t i) {
            const int64_t n = rows.used();
            W             sum = 0;
            for (int64_t r = 0; r < n; r++)
                sum += dq[r * E + i / C] * load(x + r * C + i % C);
            dg[i] += sum;
        });
}

OP_CUDA(top_gate, IN0)
