/* gate_loss on the device: see gate_loss.c; logits are never bf16 */
#include "autograd/ops/total.cuh"

/* What both directions read. */
template <class W> struct gates {
    const W       *z;
    const int32_t *tasks, *offsets;
    row_count      ends; /* one more than there are sequences */
    int64_t        E;

    /* the task of a row that counts, else -1 */
    __device__ __forceinline__ int64_t task_of(int64_t n) const
    {
        const int64_t s = sequence_at(offsets, ends.used() - 1, n);

        return n + 1 < offsets[s + 1] ? tasks[s] : -1;
    }
    /* the largest logit of a row, and the sum of exp(z - largest) */
    __device__ __forceinline__ W largest(int64_t n, W *sum) const
    {
        W top = z[n * E];

        for (int64_t e = 1; e < E; e++)
            top = z[n * E + e] > top ? z[n * E + e] : top;
        *sum = 0;
        for (int64_t e = 0; e < E; e++)
            *sum += exp_of(z[n * E + e] - top);
        return top;
    }
};

template <class W> static gates<W> gates_of(const op_args *a)
{
    return {op_values<W>(a->in[0]), op_values_of<int32_t>(a->in[1]), op_values_of<int32_t>(a->in[2]),
            op_count(a, a->in[2]), shape_last_of(a->in[0])};
}

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const gates<W>  g = gates_of<W>(a);

    total<W>(a, a->in[0], op_values<W>(a->out[0]), false, [=] __device__(int64_t i) -> double {
        const int64_t n = i / g.E, task = i % g.E == 0 ? g.task_of(n) : -1;
        W             sum;
        if (task < 0)
            return 0;
        const W top = g.largest(n, &sum);
        return log((double)sum) + ((double)top - (double)g.z[n * g.E + task]);
    });
}

template <class T> static void backward(const op_args *a)
{
    typedef wide<T> W;
    const gates<W>  g = gates_of<W>(a);
    const W        *up = op_values<W>(a->gout[0]);
    W              *dz = op_values<W>(a->gin[0]);

    if (dz)
        over_values(a, a->gin[0], [=] __device__(int64_t i) {
            const int64_t n = i / g.E, task = g.task_of(n);
            W             sum;
            if (task < 0)
                return;
            const W top = g.largest(n, &sum);
            dz[i] += *up * (exp_of(g.z[i] - top) / sum - (i % g.E == task ? 1 : 0));
        });
}

OP_CUDA(gate_loss, 0)
