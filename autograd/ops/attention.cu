/* attention on the device: see attention.c */
#include "autograd/ops/attention_plain.cuh"

template <class T> static void forward(const op_args *a)
{
    attention_plain_forward<T>(a, attention_view_of(a, 3, a->in[0]->s.d[1] / a->attr->attention.heads));
}

template <class T> static void backward(const op_args *a)
{
    attention_plain_backward<T>(a, attention_view_of(a, 3, a->in[0]->s.d[1] / a->attr->attention.heads));
}

OP_CUDA(attention, 0)
