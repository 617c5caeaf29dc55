/* rope_table on the device: see rope_table.c */
#include "autograd/ops/kernel.cuh"

/* Dynamic NTK; factor 0: off. */
struct dynamic {
    double         theta, factor, length;
    const int32_t *offsets, *positions;
    row_count      sequences; /* + 1 */
    int64_t        half;

    __device__ double sequence_length(int64_t n) const
    {
        const int64_t S = sequences.used() - 1;
        int64_t       low = 0, high = S - 1;

        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (n < offsets[middle + 1])
                high = middle;
            else
                low = middle + 1;
        }
        return S > 0 ? positions[offsets[low + 1] - 1] + 1.0 : 0.0;
    }

    __device__ double frequency(int64_t n, int64_t c, double f) const
    {
        const double is = factor > 0 ? sequence_length(n) : 0.0, D = 2.0 * (double)half;

        if (factor <= 0 || is <= length)
            return f;
        const double changed = theta * pow(factor * is / length - (factor - 1), D / (D - 2));
        return pow(changed, -(double)c / (double)half);
    }
};

template <class T, class F> static void fill(const op_args *a, const F *f)
{
    const int64_t  half = a->in[1]->s.d[0];
    const int32_t *positions = op_values_of<int32_t>(a->in[0]);
    wide<T>       *y = op_values<wide<T>>(a->out[0]);
    const double   scale = a->attr->rope_table.scale;
    dynamic        change = {a->attr->rope_table.theta, a->attr->rope_table.factor, a->attr->rope_table.length,
                             op_values_of<int32_t>(a->in[2]), positions, {}, half};
    const tensor   rows = {
          .s = {2, {a->in[0]->s.d[0], half}}, .type = TYPE_I32, .v = NULL, .rows = a->in[0]->rows};

    if (a->in[2])
        change.sequences = op_count(a, a->in[2]);
    else
        change.factor = 0;
    over_values(a, &rows, [=] __device__(int64_t i) {
        const int64_t n = i / half, c = i % half;
        const double  t = positions[n] * change.frequency(n, c, (double)f[c]);
        y[n * 2 * half + c] = (wide<T>)(scale * cos(t));
        y[n * 2 * half + half + c] = (wide<T>)(scale * sin(t));
    });
}

template <class T> static void forward(const op_args *a)
{
    if (a->in[1]->type == TYPE_F64)
        fill<T>(a, op_values<double>(a->in[1]));
    else
        fill<T>(a, op_values<float>(a->in[1]));
}

template <class T> static void backward(const op_args *a)
{
    (void)a;
}

OP_CUDA(rope_table, 0)
