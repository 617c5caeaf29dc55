/* kernel: what the operations' .cu files share.
 *
 * An operation's file has two launchers, templates over the type of activations T (float, double, bf16), and
 * ends with OP_CUDA(name), which makes the functions of the table out of them:
 *
 *     template <class T> static void forward(const op_args *a);
 *     template <class T> static void backward(const op_args *a);
 *
 * and says which gradients backward assigns when they are `fresh`: IN0 | IN1, or 0: it adds to all of them.
 *
 * Arithmetic is in wide<T>: float for float and bf16, double for double. So are weights of norms, biases,
 * low-rank factors, losses and log-sum-exps (WIDE outputs of autograd/ops.def), and `aux`.
 *
 * Shapes are capacities. How many rows are in use stands in memory that the kernels read (op_count), so that
 * a captured graph stays valid; a launcher may ask for an upper bound of it (op_rows) for its grid and its
 * products. Rows between the number and the bound may hold anything: they must not enter a sum, and only a
 * cuBLASLt product may write them. */
#ifndef AUTOGRAD_OPS_KERNEL_CUH
#define AUTOGRAD_OPS_KERNEL_CUH

#include "core/cuda/dialect.cuh"

#include "autograd/op_table.h"
#include "core/cuda/product.h"
#include "core/cuda/weight.h"

enum { BLOCK = 256 };

template <class T> struct wide_of {
    typedef float type;
};
template <> struct wide_of<double> {
    typedef double type;
};
template <class T> using wide = typename wide_of<T>::type;

template <class T> struct dtype_of;
template <> struct dtype_of<float> {
    static const dtype value = TYPE_F32;
};
template <> struct dtype_of<double> {
    static const dtype value = TYPE_F64;
};
template <> struct dtype_of<bf16> {
    static const dtype value = TYPE_BF16;
};

/* *p += x, or *p = x where nothing is there yet */
template <class T, class W> static __device__ __forceinline__ void give(T *p, W x, bool fresh)
{
    store(p, fresh ? x : load(p) + x);
}

/* *p += x */
template <class T, class W> static __device__ __forceinline__ void add_to(T *p, W x)
{
    store(p, load(p) + x);
}

/* ---- arguments -------------------------------------------------------------------------------------- */

/* The value, which must be of type T: NULL for an absent tensor. */
template <class T> static inline T *op_values(const tensor *t)
{
    if (!t)
        return NULL;
    if (t->type != dtype_of<T>::value)
        cuda_fail_type(t->type, dtype_of<T>::value);
    return static_cast<T *>(t->v);
}

template <class T> static inline bool op_is(const tensor *t)
{
    return t->type == dtype_of<T>::value;
}

/* The same for whole numbers. */
template <class T> static inline T *op_values_of(const tensor *t)
{
    return t ? static_cast<T *>(t->v) : NULL;
}

static inline int64_t shape_last_of(const tensor *t)
{
    return t->s.n ? t->s.d[t->s.n - 1] : 1;
}

/* Rows in use, for kernels: how many stands on the device. */
struct row_count {
    const int32_t *count, *other;   /* the smaller of the two; NULL: all of the capacity */
    int64_t        first, capacity; /* of a stretch of rows: those from `first` on, at most `capacity` */
    int64_t        more;            /* a row is taken for 1 + more: its equal parts */

    __device__ __forceinline__ int64_t used() const
    {
        int64_t n = first + capacity;

        if (count && *count < n)
            n = *count;
        if (other && *other < n)
            n = *other;
        return n > first ? (n - first) * (1 + more) : 0;
    }
};

/* The last of n sequences, at least one, that begins at or before a row. */
template <class I> static __device__ __forceinline__ I sequence_at(const int32_t *offsets, I n, I row)
{
    I lo = 0;

    while (n - lo > 1) {
        const I middle = (lo + n) / 2;
        if (offsets[middle] <= row)
            lo = middle;
        else
            n = middle;
    }
    return lo;
}

static inline int64_t op_capacity(const tensor *t)
{
    return t->s.n ? t->s.d[0] : 1;
}

static inline const int32_t *op_count_there(const op_args *a, const tensor *t)
{
    return t->rows ? reinterpret_cast<const int32_t *>(reinterpret_cast<const char *>(t->rows) + a->there)
                   : NULL;
}

static inline row_count op_count(const op_args *a, const tensor *t)
{
    return row_count{op_count_there(a, t), NULL, 0, op_capacity(t), 0};
}

template <class T> static inline wide<T> *op_aux(const op_args *a)
{
    return reinterpret_cast<wide<T> *>(a->aux);
}

static inline const op_run *op_run_there(const op_args *a)
{
    return reinterpret_cast<const op_run *>(reinterpret_cast<const char *>(a->run) + a->there);
}

/* An upper bound of the rows in use, for grids and products. */
static inline int64_t op_bound(const tensor *t)
{
    const int64_t capacity = op_capacity(t);

    if (!t->rows)
        return capacity;
    const int64_t step = cuda_rows_step(), n = (*t->rows + step - 1) / step * step;
    return n < capacity ? n : capacity;
}

/* Values of a row (of the first size). */
static inline int64_t op_row_values(const tensor *t)
{
    int64_t n = 1;

    for (int i = 1; i < t->s.n; i++)
        n *= t->s.d[i];
    return n;
}

/* Threads of a block that goes along a row of C values: whole warps. */
static inline unsigned threads_for(int64_t C)
{
    return C >= BLOCK        ? (unsigned)BLOCK
           : C <= WARP_LANES ? (unsigned)WARP_LANES
                             : (unsigned)((C + WARP_LANES - 1) / WARP_LANES * WARP_LANES);
}

static inline unsigned blocks_for(int64_t n, int64_t block)
{
    return (unsigned)((n + block - 1) / block);
}

/* ---- by element --------------------------------------------------------------------------------------- */

/* f(i) for all values in use of a tensor with `row` values a row */
template <class F> static __global__ void each_value(row_count rows, int64_t row, F f)
{
    const int64_t n = rows.used() * row, step = (int64_t)gridDim.x * blockDim.x;

    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        f(i);
}

template <class F> static inline void over_values(const op_args *a, const tensor *t, F f)
{
    const int64_t row = op_row_values(t), n = op_bound(t) * row, most = (int64_t)cuda_processors() * 16;

    if (n == 0)
        return;
    const int64_t blocks = blocks_for(n, BLOCK);
    LAUNCH(each_value<F>, (unsigned)(blocks < most ? blocks : most), BLOCK, 0, op_count(a, t), row, f);
}

/* ---- sums of a block ---------------------------------------------------------------------------------- */

template <class W> static __device__ __forceinline__ W warp_sum(W x)
{
    for (int bits = 16; bits; bits >>= 1)
        x += __shfl_xor_sync(~0u, x, bits);
    return x;
}

template <class W> static __device__ __forceinline__ W warp_max(W x)
{
    for (int bits = 16; bits; bits >>= 1) {
        const W other = __shfl_xor_sync(~0u, x, bits);
        x = other > x ? other : x;
    }
    return x;
}

/* Lane i gets x of warp i, lanes beyond the last warp get `none`. For blocks of whole warps. `shared`: 32 values,
 * which may be used again at once for another sum. */
template <class W> static __device__ __forceinline__ W of_each_warp(W x, W *shared, W none)
{
    const int lane = threadIdx.x % WARP_LANES, warp = threadIdx.x / WARP_LANES;

    __syncthreads();
    if (lane == 0)
        shared[warp] = x;
    __syncthreads();
    return lane < (int)(blockDim.x / WARP_LANES) ? shared[lane] : none;
}

/* All threads get the result. */
template <class W> static __device__ __forceinline__ W block_sum(W x, W *shared)
{
    return warp_sum(of_each_warp(warp_sum(x), shared, W(0)));
}

template <class W> static __device__ __forceinline__ W block_max(W x, W *shared)
{
    return warp_max(of_each_warp(warp_max(x), shared, W(-INFINITY)));
}

/* ---- functions ------------------------------------------------------------------------------------------ */

static __device__ __forceinline__ float exp_of(float x)
{
    return expf(x);
}

static __device__ __forceinline__ double exp_of(double x)
{
    return exp(x);
}

static __device__ __forceinline__ float log_of(float x)
{
    return logf(x);
}

static __device__ __forceinline__ double log_of(double x)
{
    return log(x);
}

static __device__ __forceinline__ float log1p_of(float x)
{
    return log1pf(x);
}

static __device__ __forceinline__ double log1p_of(double x)
{
    return log1p(x);
}

static __device__ __forceinline__ float tanh_of(float x)
{
    return tanhf(x);
}

static __device__ __forceinline__ double tanh_of(double x)
{
    return tanh(x);
}

static __device__ __forceinline__ float erfc_of(float x)
{
    return erfcf(x);
}

static __device__ __forceinline__ double erfc_of(double x)
{
    return erfc(x);
}

static __device__ __forceinline__ float root_of(float x)
{
    return sqrtf(x);
}

static __device__ __forceinline__ double root_of(double x)
{
    return sqrt(x);
}

template <class W> static __device__ __forceinline__ W sigmoid(W x)
{
    return 1 / (1 + exp_of(-x));
}

/* ---- the table -------------------------------------------------------------------------------------------- */

#define OP_CUDA_TYPE(name, suffix, T)                                                                        \
    void op_##name##_fwd_cuda_##suffix(const op_args *a)                                                     \
    {                                                                                                        \
        cuda_begin_operation(#name " forward");                                                              \
        forward<T>(a);                                                                                       \
    }                                                                                                        \
    void op_##name##_bwd_cuda_##suffix(const op_args *a)                                                     \
    {                                                                                                        \
        cuda_begin_operation(#name " backward");                                                             \
        backward<T>(a);                                                                                      \
    }
#define OP_CUDA(name, assigns)                                                                               \
    extern "C" {                                                                                             \
    extern const uint32_t op_##name##_assigns_cuda;                                                          \
    const uint32_t        op_##name##_assigns_cuda = (assigns);                                              \
    OP_CUDA_TYPE(name, f32, float)                                                                           \
    OP_CUDA_TYPE(name, f64, double)                                                                          \
    OP_CUDA_TYPE(name, bf16, bf16)                                                                           \
    }

#endif
