/* rows: adding rows to where they were looked up, for embed, gather_rows and pick_rows */
#ifndef AUTOGRAD_OPS_ROWS_CUH
#define AUTOGRAD_OPS_ROWS_CUH

#include "autograd/ops/kernel.cuh"

/* The first row of dy that goes to a place adds all of them there, in their order; the others do nothing. A
 * block for each row. A place below 0 is nowhere; turned: places are -1 - what stands there. */
template <class T, class W>
static __global__ void add_rows_kernel(const int32_t *places, row_count rows, int64_t C, bool turned, const T *dy,
                                       W *dx)
{
    const int64_t n = rows.used(), row = blockIdx.x;
    const int32_t there = row < n ? places[row] : turned ? 0 : -1, place = turned ? -1 - there : there;
    int           earlier = 0;

    for (int64_t i = threadIdx.x; i < row && place >= 0; i += blockDim.x)
        earlier |= places[i] == there;
    if (__syncthreads_or(earlier) || place < 0)
        return;
    for (int64_t c = threadIdx.x; c < C; c += blockDim.x) {
        wide<T> sum = load(dx + place * C + c);
        for (int64_t i = row; i < n; i++)
            if (places[i] == there)
                sum += load(dy + i * C + c);
        store(dx + place * C + c, sum);
    }
}

/* dx[places[t]] += dy[t] */
template <class T, class W>
static void add_rows(const op_args *a, const tensor *places, const tensor *dy, W *dx, bool turned = false)
{
    const int64_t rows = op_bound(places);

    if (rows > 0)
        LAUNCH((add_rows_kernel<T, W>), (unsigned)rows, threads_for(shape_last_of(dy)), 0,
               op_values_of<int32_t>(places), op_count(a, places), shape_last_of(dy), turned, op_values<T>(dy),
               dx);
}

#endif
