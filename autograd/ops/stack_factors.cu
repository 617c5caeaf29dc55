/* stack_factors on the device: see stack_factors.c */
#include "autograd/ops/experts.cuh"

/* Where a value of the stacked factors stands among the values of the experts. */
struct stack {
    expert_table experts;
    int64_t      E, R, K;

    /* the expert of row r of A, and of column r of B; r becomes its own */
    __device__ __forceinline__ int64_t owner(int64_t *r) const
    {
        int64_t e = 0;

        for (; e + 1 < E && *r >= experts.rank(e); e++)
            *r -= experts.rank(e);
        return e;
    }
    __device__ __forceinline__ int64_t low(int64_t i) const
    {
        int64_t       r = i / K;
        const int64_t e = owner(&r);

        return experts.low(e) + r * K + i % K;
    }
    __device__ __forceinline__ int64_t high(int64_t i) const
    {
        int64_t       r = i % R;
        const int64_t e = owner(&r);

        return experts.high(e) + i / R * experts.rank(e) + r;
    }
};

static stack stack_of(const op_args *a)
{
    return {{op_values_of<int32_t>(a->in[1])}, op_capacity(a->in[1]), a->attr->stack_factors.ranks,
            a->attr->stack_factors.in};
}

template <class T> static void forward(const op_args *a)
{
    const stack    s = stack_of(a);
    const wide<T> *v = op_values<wide<T>>(a->in[0]);
    wide<T>       *low = op_values<wide<T>>(a->out[0]), *high = op_values<wide<T>>(a->out[1]);

    over_values(a, a->out[0], [=] __device__(int64_t i) { low[i] = v[s.low(i)]; });
    over_values(a, a->out[1], [=] __device__(int64_t i) { high[i] = v[s.high(i)]; });
}

template <class T> static void backward(const op_args *a)
{
    const stack    s = stack_of(a);
    const wide<T> *low = op_values<wide<T>>(a->gout[0]), *high = op_values<wide<T>>(a->gout[1]);
    wide<T>       *v = op_values<wide<T>>(a->gin[0]);

    if (v && low)
        over_values(a, a->gout[0], [=] __device__(int64_t i) { v[s.low(i)] += low[i]; });
    if (v && high)
        over_values(a, a->gout[1], [=] __device__(int64_t i) { v[s.high(i)] += high[i]; });
}

OP_CUDA(stack_factors, 0)
