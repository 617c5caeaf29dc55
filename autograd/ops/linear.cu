/* linear on the device: see linear.c */
#include "autograd/ops/linear.cuh"

template <class T> static void forward(const op_args *a)
{
    linear_forward<T>(a, false);
}

template <class T> static void backward(const op_args *a)
{
    linear_backward<T>(a, !a->fresh[0]);
}

OP_CUDA(linear, IN0)
