/* put_values: y is w with v[e] at the place places[e], places in rising order, none twice. On a tape y is w's memory,
 * changed in place; w has no gradient
 *
 * dv[e] += dy[places[e]] */
#include "autograd/ops/kernel.h"

status op_put_values_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *w = a->in[0], *v = a->in[1];

    if (w->type != REAL_TYPE && !quant_is_real(w->type)) /* a plan is made with what the copy is made of */
        return fail(STATUS_SHAPE, "put_values: w is %s, must be of a real type", dtype_name(w->type));
    TRY(op_want_real("put_values", "v", v, shape_1(shape_count(v->s))));
    TRY(op_want_ints("put_values", "places", a->in[2], v->s));
    if (a->wanted[0])
        return fail(STATUS_UNSUPPORTED, "put_values: w has a gradient, must be frozen: only v is trained");
    *out = w->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void put(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  most = shape_count(a->out[0]->s);
    const int32_t *places = a->in[2]->v;
    const real    *v = a->in[1]->v;
    real          *y = a->out[0]->v;

    for (int64_t e = from; e < to; e++) {
        CHECK(places[e] >= 0 && places[e] < most);
        y[places[e]] = v[e];
    }
}

void op_put_values_fwd_cpu(const op_args *a)
{
    CHECK(a->in[0]->type == REAL_TYPE);
    op_pass(a);
    op_over(a, shape_count(a->in[1]->s), PIECE_VALUES, put);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int32_t *places = a->in[2]->v;
    const real    *dy = a->gout[0]->v;
    real *RESTRICT dv = a->gin[1]->v;

    for (int64_t e = from; e < to; e++)
        dv[e] += dy[places[e]];
}

void op_put_values_bwd_cpu(const op_args *a)
{
    if (a->gin[1])
        op_over(a, shape_count(a->in[1]->s), PIECE_VALUES, backward);
}
