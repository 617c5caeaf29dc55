/* dropout on the device: see dropout.c */
#include "autograd/ops/kernel.cuh"

/* What m is made from; the step and whether it trains stand on the device. */
struct mask {
    const int32_t *samples, *positions;
    const op_run  *run;
    rng_key        key;
    uint32_t       site;
    float          p;
    double         keep;
    int64_t        C;

    /* m of channel c of row n */
    template <class W> __device__ __forceinline__ W at(int64_t n, int64_t c) const
    {
        if (!run->training || !(p > 0))
            return 1;
        const uint32_t blocks = (uint32_t)((C + 3) / 4);
        const rng_block r = rng_philox(key, (uint32_t)positions[n] * blocks + (uint32_t)(c / 4),
                                       (uint32_t)samples[n], site, run->step);
        return rng_unit(r.r[c % 4]) < p ? W(0) : (W)keep;
    }
};

static mask mask_of(const op_args *a, int64_t C)
{
    const double p = a->attr->dropout.p;

    return mask{op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]), op_run_there(a),
                rng_key_for(a->run->seed, "dropout"), a->attr->dropout.site, (float)p, 1 / (1 - p), C};
}

template <class T> static void forward(const op_args *a)
{
    const int64_t C = a->in[0]->s.d[1];
    const mask    m = mask_of(a, C);
    const T      *x = op_values<T>(a->in[0]);
    T            *y = op_values<T>(a->out[0]); /* may be x */

    over_values(a, a->in[0], [=] __device__(int64_t i) {
        const wide<T> k = m.at<wide<T>>(i / C, i % C);
        store(y + i, k > 0 ? load(x + i) * k : 0);
    });
}

template <class T> static void backward(const op_args *a)
{
    const int64_t C = shape_last_of(a->gout[0]);
    const mask    m = mask_of(a, C);
    const T      *dy = op_values<T>(a->gout[0]);
    T            *dx = op_values<T>(a->gin[0]);
    const bool    fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            const wide<T> k = m.at<wide<T>>(i / C, i % C);
            give(dx + i, k > 0 ? load(dy + i) * k : 0, fresh);
        });
}

OP_CUDA(dropout, IN0)
