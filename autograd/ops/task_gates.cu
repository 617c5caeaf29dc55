/* task_gates on the device: see task_gates.c */
#include "autograd/ops/kernel.cuh"

template <class T> static void forward(const op_args *a)
{
    const int64_t   E = shape_last_of(a->out[0]);
    const int32_t  *tasks = op_values_of<int32_t>(a->in[1]), *offsets = op_values_of<int32_t>(a->in[2]);
    const row_count ends = op_count(a, a->in[2]);
    wide<T>        *w = op_values<wide<T>>(a->out[0]);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t n = i / E, s = sequence_at(offsets, ends.used() - 1, n);
        w[i] = n < offsets[s + 1] && tasks[s] == i % E ? 1 : 0;
    });
}

template <class T> static void backward(const op_args *a)
{
    (void)a;
}

OP_CUDA(task_gates, 0)
