/* balance on the device: see balance.c */
#include "autograd/ops/kernel.cuh"
#include "autograd/ops/route.h"

template <class T> static void forward(const op_args *a)
{
    typedef wide<T> W;
    const int64_t   r = a->in[0]->s.d[0];
    const W        *counts = op_values<W>(a->in[1]), rate = (W)a->attr->balance.rate;
    const op_run   *run = op_run_there(a);
    W              *b = op_values<W>(a->in[0]);

    over_values(a, a->in[0], [=] __device__(int64_t i) {
        double total = 0;
        for (int64_t e = 0; e < r; e++)
            total += (double)counts[e];
        if (run->training)
            b[i] += rate * (W)balance_way(total, (double)r, (double)counts[i]);
    });
}

template <class T> static void backward(const op_args *)
{
}

OP_CUDA(balance, 0)
