/* softmax on the device: see softmax.c; a block for each row */
#include "autograd/ops/kernel.cuh"

template <class T>
static __global__ void softmax_forward(row_count rows, int64_t each, int64_t C, const T *x, T *y)
{
    typedef wide<T> W;
    __shared__ W    shared[WARP_LANES];
    const int64_t   row = blockIdx.x;
    W               m = -INFINITY, sum = 0;

    if (row >= rows.used() * each)
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        m = load(x + row * C + c) > m ? load(x + row * C + c) : m;
    m = block_max(m, shared);
    const W base = m == (W)-INFINITY ? W(0) : m;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        sum += exp_of(load(x + row * C + c) - base);
    sum = block_sum(sum, shared);
    const W inverse = sum > 0 ? 1 / sum : sum;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        store(y + row * C + c, exp_of(load(x + row * C + c) - base) * inverse);
}

template <class T>
static __global__ void softmax_backward(row_count rows, int64_t each, int64_t C, const T *y, const T *dy,
                                        T *dx)
{
    typedef wide<T> W;
    __shared__ W    shared[WARP_LANES];
    const int64_t   row = blockIdx.x;
    W               mean = 0;

    if (row >= rows.used() * each)
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        mean += load(dy + row * C + c) * load(y + row * C + c);
    mean = block_sum(mean, shared);
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x)
        add_to(dx + row * C + c, load(y + row * C + c) * (load(dy + row * C + c) - mean));
}

/* Rows of the last size in a row of the first. */
static int64_t vectors_a_row(const tensor *x)
{
    const int64_t C = shape_last_of(x);

    return C ? op_row_values(x) / C : 0;
}

template <class T> static void forward(const op_args *a)
{
    const tensor *x = a->in[0];
    const int64_t each = vectors_a_row(x);

    if (op_bound(x) * each > 0)
        LAUNCH(softmax_forward<T>, (unsigned)(op_bound(x) * each), threads_for(shape_last_of(x)), 0,
               op_count(a, x), each, shape_last_of(x), op_values<T>(x), op_values<T>(a->out[0]));
}

template <class T> static void backward(const op_args *a)
{
    const tensor *dy = a->gout[0];
    const int64_t each = vectors_a_row(dy);

    if (a->gin[0] && op_bound(dy) * each > 0)
        LAUNCH(softmax_backward<T>, (unsigned)(op_bound(dy) * each), threads_for(shape_last_of(dy)), 0,
               op_count(a, dy), each, shape_last_of(dy), op_values<T>(a->out[0]), op_values<T>(dy),
               op_values<T>(a->gin[0]));
}

OP_CUDA(softmax, 0)
