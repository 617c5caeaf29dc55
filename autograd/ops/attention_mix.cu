/* attention_mix on the device: see attention_mix.c. Clear, not fast: a thread for each value. */
#include "autograd/ops/attention.cuh"

static attention_view view_of(const op_args *a)
{
    return attention_view_of(a, 2, a->in[1]->s.d[1] / a->attr->attention.kv_heads);
}

template <class T> static void forward(const op_args *a)
{
    const attention_view w = view_of(a);
    const int64_t        Nk = a->in[1]->s.d[0];
    const T             *p = op_values<T>(a->in[0]), *v = op_values<T>(a->in[1]);
    T                   *y = op_values<T>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t at = i / w.D, h = at % w.H;
        const int     s = w.sequence_of(w.q_offsets, (int)(at / w.H));
        wide<T>       sum = 0;
        if (s < 0)
            return;
        for (int64_t j = w.k_offsets[s]; j < w.k_offsets[s + 1]; j++)
            sum += load(p + at * Nk + j) * load(v + (j * w.Hk + h / w.G) * w.D + i % w.D);
        store(y + i, sum);
    });
}

template <class T> static void backward_p(const op_args *a, const attention_view &view)
{
    const attention_view w = view;
    const int64_t        Nk = a->in[1]->s.d[0];
    const T             *v = op_values<T>(a->in[1]), *dy = op_values<T>(a->gout[0]);
    T                   *dp = op_values<T>(a->gin[0]);

    over_values(a, a->in[0], [=] __device__(int64_t i) {
        const int64_t at = i / Nk, j = i % Nk, h = at % w.H;
        const int     s = w.sequence_of(w.q_offsets, (int)(at / w.H));
        wide<T>       sum = 0;
        if (s < 0 || w.sequence_of(w.k_offsets, (int)j) != s)
            return;
        for (int d = 0; d < w.D; d++)
            sum += load(dy + at * w.D + d) * load(v + (j * w.Hk + h / w.G) * w.D + d);
        add_to(dp + i, sum);
    });
}

template <class T> static void backward_v(const op_args *a, const attention_view &view)
{
    const attention_view w = view;
    const int64_t        Nk = a->in[1]->s.d[0];
    const T             *p = op_values<T>(a->in[0]), *dy = op_values<T>(a->gout[0]);
    T                   *dv = op_values<T>(a->gin[1]);

    over_values(a, a->in[1], [=] __device__(int64_t i) {
        const int64_t j = i / w.D / w.Hk, hk = i / w.D % w.Hk;
        const int     s = w.sequence_of(w.k_offsets, (int)j);
        wide<T>       sum = 0;
        if (s < 0)
            return;
        for (int64_t n = w.q_offsets[s]; n < w.q_offsets[s + 1]; n++)
            for (int64_t h = hk * w.G; h < (hk + 1) * w.G; h++)
                sum += load(p + (n * w.H + h) * Nk + j) * load(dy + (n * w.H + h) * w.D + i % w.D);
        add_to(dv + i, sum);
    });
}

template <class T> static void backward(const op_args *a)
{
    if (a->gin[0])
        backward_p<T>(a, view_of(a));
    if (a->gin[1])
        backward_v<T>(a, view_of(a));
}

OP_CUDA(attention_mix, 0)
