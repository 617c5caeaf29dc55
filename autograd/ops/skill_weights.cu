/* skill_weights on the device: see skill_weights.c */
#include "autograd/ops/kernel.cuh"

/* What p is made from; the step and whether it trains stand on the device. */
template <class W> struct chances {
    const W       *logits;
    const int32_t *tasks, *samples, *offsets; /* samples NULL: no noise */
    const op_run  *run;
    rng_key        key;
    uint32_t       site;
    int64_t        C;

    /* p of value i of sequence s */
    __device__ __forceinline__ W at(int64_t s, int64_t i) const
    {
        W z = logits[tasks[s] * C + i];

        if (samples && run->training) {
            const uint32_t  sample = (uint32_t)samples[offsets[s]];
            const rng_block r = rng_philox(key, (uint32_t)(i / 4), sample, site, run->step);
            const double    u = rng_inside(r.r[i % 4]);
            z += W(log_of(u) - log_of(1 - u));
        }
        return sigmoid(z);
    }
};

template <class W> static __device__ __forceinline__ W total(const W *p, int64_t K)
{
    W sum = W(1e-12);

    for (int64_t k = 0; k < K; k++)
        sum += p[k];
    return sum;
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T>  W;
    const int64_t    C = a->in[0]->s.d[1], K = a->attr->skill_weights.skills;
    const chances<W> c = {op_values<W>(a->in[0]), op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]),
                          op_values_of<int32_t>(a->in[3]), op_run_there(a), rng_key_for(a->run->seed, "skills"),
                          a->attr->skill_weights.site, C};
    W               *w = op_values<W>(a->out[0]), *p = op_aux<T>(a);

    over_values(a, a->out[0], [=] __device__(int64_t i) { p[i] = c.at(i / C, i % C); });
    over_values(a, a->out[0], [=] __device__(int64_t i) { w[i] = p[i] / total(p + i / K * K, K); });
}

/* The sequences of a task in their order. */
template <class T> static void backward(const op_args *a)
{
    typedef wide<T>  W;
    const int64_t    C = shape_last_of(a->gout[0]), K = a->attr->skill_weights.skills;
    const row_count  seqs = op_count(a, a->gout[0]);
    const int32_t   *tasks = op_values_of<int32_t>(a->in[1]);
    const W         *dw = op_values<W>(a->gout[0]), *p = op_aux<T>(a);
    W               *dz = op_values<W>(a->gin[0]);

    if (dz)
        over_values(a, a->gin[0], [=] __device__(int64_t i) {
            const int64_t task = i / C, c = i % C, first = c / K * K, n = seqs.used();
            W             gradient = 0;
            for (int64_t s = 0; s < n; s++) {
                const W *ps = p + s * C + first, *ds = dw + s * C + first;
                if (tasks[s] != task)
                    continue;
                const W sum = total(ps, K);
                W       along = 0;
                for (int64_t k = 0; k < K; k++)
                    along += ds[k] * ps[k];
                const W x = ps[c - first];
                gradient += (ds[c - first] - along / sum) / sum * x * (1 - x);
            }
            dz[i] += gradient;
        });
}

OP_CUDA(skill_weights, 0)
