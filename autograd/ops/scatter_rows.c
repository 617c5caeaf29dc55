/* scatter_rows: cache[slots[n], c] = x[n,c], in place; no gradient */
#include "autograd/ops/kernel.h"

status op_scatter_rows_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_matrix("scatter_rows", "cache", a->in[0]));
    TRY(op_want_matrix("scatter_rows", "x", a->in[1]));

    const shape cache = a->in[0]->s, x = a->in[1]->s;
    if (cache.d[1] != x.d[1])
        return fail(STATUS_SHAPE, "scatter_rows: x has %lld columns, the cache %lld",
                    (long long)x.d[1], (long long)cache.d[1]);
    TRY(op_want_ints("scatter_rows", "slots", a->in[2], shape_1(x.d[0])));
    *out = cache;
    *n_aux = 0;
    return STATUS_OK;
}

void op_scatter_rows_fwd_cpu(const op_args *a)
{
    const int64_t  N = rows_in_use(a->in[1]), C = a->in[0]->s.d[1], P = a->in[0]->s.d[0];
    const int32_t *slots = a->in[2]->v;
    const real    *x = a->in[1]->v;
    real          *cache = a->in[0]->v;

    for (int64_t n = 0; n < N; n++) {
        CHECK(slots[n] >= 0 && slots[n] < P);
        memcpy(cache + slots[n] * C, x + n * C, (size_t)C * sizeof(real));
    }
}

void op_scatter_rows_bwd_cpu(const op_args *a)
{
    (void)a;
}
