/* linear_lora on the device: see linear_lora.c. The low-rank part is written first, so that the large product
 * adds to it while it writes. */
#include "autograd/ops/linear.cuh"

template <class T> static low_rank<T> low_rank_of(const op_args *a)
{
    return low_rank<T>{a, a->in[0], a->in[3], a->in[4], a->gin[3], a->gin[4], reinterpret_cast<T *>(a->aux),
                       a->attr->lora.factor};
}

template <class T> static void forward(const op_args *a)
{
    const bool spread = a->in[2] && !product_bias<T>(a->in[2]);

    if (spread)
        spread_bias<T>(a, op_values<wide<T>>(a->in[2]), a->out[0]);
    low_rank_forward(low_rank_of<T>(a), op_values<T>(a->out[0]), spread);
    linear_forward<T>(a, true);
}

template <class T> static void backward(const op_args *a)
{
    low_rank_backward(low_rank_of<T>(a), a->gout[0], op_values<T>(a->gin[0]), a->fresh[0]);
    linear_backward<T>(a, true);
}

OP_CUDA(linear_lora, IN0)
