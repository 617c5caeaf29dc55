/* embed on the device: see embed.c */
#include "autograd/ops/rows.cuh"

template <class T> static void forward(const op_args *a)
{
    cuda_weight_rows(a->in[0], op_values_of<int32_t>(a->in[1]), op_count_there(a, a->in[1]),
                     op_bound(a->in[1]), a->out[0]->v, dtype_of<T>::value);
}

template <class T> static void backward(const op_args *a)
{
    if (!a->gin[0])
        return;
    if (op_is<T>(a->gin[0])) /* a table of values */
        add_rows<T>(a, a->in[1], a->gout[0], op_values<T>(a->gin[0]));
    else
        add_rows<T>(a, a->in[1], a->gout[0], op_values<wide<T>>(a->gin[0]));
}

OP_CUDA(embed, 0)
