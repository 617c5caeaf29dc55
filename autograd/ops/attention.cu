/* attention on the device: see attention.c */
#include "autograd/ops/attention_flash.cuh"

template <class T> static void forward(const op_args *a)
{
    const attention_view w = attention_view_of(a, 3, a->in[0]->s.d[1] / a->attr->attention.heads);

    if (!attention_flash<T>::forward(a, w))
        attention_plain_forward<T>(a, w);
}

template <class T> static void backward(const op_args *a)
{
    const attention_view w = attention_view_of(a, 3, a->in[0]->s.d[1] / a->attr->attention.heads);

    if (!attention_flash<T>::backward(a, w))
        attention_plain_backward<T>(a, w);
}

OP_CUDA(attention, 0)
