/* replace_rows on the device: see replace_rows.c */
#include "autograd/ops/kernel.cuh"

/* Which row of the table takes the place of row n; negative: none. */
struct row_places {
    const int32_t *keys, *map;
    int64_t        first, R;

    __device__ __forceinline__ int64_t of(int64_t n) const
    {
        const int64_t key = keys ? keys[n] : n, r = map ? map[key] : key - first;
        return r < R ? r : -1;
    }
};

static row_places places_of(const op_args *a)
{
    return {op_values_of<int32_t>(a->in[2]), op_values_of<int32_t>(a->in[3]), a->attr->replace_rows.first,
            a->in[1]->s.d[0]};
}

/* The table may be of trained values, which stay wide, or of activations. */
template <class T, class W> static void replace(const op_args *a)
{
    const T         *x = op_values<T>(a->in[0]);
    const W         *table = op_values<W>(a->in[1]);
    T               *y = op_values<T>(a->out[0]);
    const int64_t    C = a->out[0]->s.d[1];
    const row_places p = places_of(a);

    over_values(a, a->out[0], [=] __device__(int64_t i) {
        const int64_t r = p.of(i / C);
        if (r >= 0)
            store(y + i, load(table + r * C + i % C));
        else
            y[i] = x[i];
    });
}

template <class T> static void forward(const op_args *a)
{
    if (op_is<wide<T>>(a->in[1]))
        replace<T, wide<T>>(a);
    else
        replace<T, T>(a);
}

/* A block for each row of the table adds what goes there, in the order of the rows. */
template <class T, class W>
static __global__ void add_places(row_places p, row_count rows, int64_t C, const T *dy, W *dtable)
{
    const int64_t n = rows.used(), r = blockIdx.x;

    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        wide<T> sum = load(dtable + r * C + c);
        for (int64_t i = 0; i < n; i++)
            if (p.of(i) == r)
                sum += load(dy + i * C + c);
        store(dtable + r * C + c, sum);
    }
}

template <class T, class W> static void backward_table(const op_args *a, row_places p)
{
    const int64_t C = shape_last_of(a->gout[0]);

    if (p.R > 0)
        LAUNCH((add_places<T, W>), (unsigned)p.R, threads_for(C), 0, p, op_count(a, a->gout[0]), C,
               op_values<T>(a->gout[0]), op_values<W>(a->gin[1]));
}

template <class T> static void backward(const op_args *a)
{
    const T         *dy = op_values<T>(a->gout[0]);
    T               *dx = op_values<T>(a->gin[0]);
    const int64_t    C = shape_last_of(a->gout[0]);
    const row_places p = places_of(a);
    const bool       fresh = a->fresh[0];

    if (dx)
        over_values(a, a->gout[0], [=] __device__(int64_t i) {
            give(dx + i, p.of(i / C) >= 0 ? wide<T>(0) : load(dy + i), fresh);
        });
    if (a->gin[1] && op_is<wide<T>>(a->gin[1]))
        backward_table<T, wide<T>>(a, p);
    else if (a->gin[1])
        backward_table<T, T>(a, p);
}

OP_CUDA(replace_rows, IN0)
