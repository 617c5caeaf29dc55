/* swiglu: y = gate * s * up, s = 1 / (1 + exp(-gate))
 *
 * dgate += dy * up * s * (1 + gate * (1 - s))
 * dup   += dy * gate * s */
#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

status op_swiglu_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    TRY(op_want_real("swiglu", "gate", a->in[0], a->in[0]->s));
    TRY(op_want_real("swiglu", "up", a->in[1], a->in[0]->s));
    *out = a->in[0]->s;
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const real    *gate = a->in[0]->v, *up = a->in[1]->v;
    real *RESTRICT y = a->out[0]->v;

    for (int64_t i = from; i < to; i++)
        y[i] = gate[i] * real_sigmoid(gate[i]) * up[i];
}

void op_swiglu_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[0]), PIECE_VALUES, forward);
}

static void gate_backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *gate = a->in[0]->v, *up = a->in[1]->v, *dy = a->gout[0]->v;
    real *RESTRICT dgate = a->gin[0]->v;

    for (int64_t i = from; i < to; i++) {
        const real s = real_sigmoid(gate[i]);
        dgate[i] += dy[i] * up[i] * (s * (1 + gate[i] * (1 - s)));
    }
}

static void up_backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *gate = a->in[0]->v, *dy = a->gout[0]->v;
    real *RESTRICT dup = a->gin[1]->v;

    for (int64_t i = from; i < to; i++)
        dup[i] += dy[i] * (gate[i] * real_sigmoid(gate[i]));
}

static void both_backward(const op_args *a, int64_t from, int64_t to)
{
    const real    *gate = a->in[0]->v, *up = a->in[1]->v, *dy = a->gout[0]->v;
    real *RESTRICT dgate = a->gin[0]->v, *RESTRICT dup = a->gin[1]->v;

    for (int64_t i = from; i < to; i++) {
        const real s = real_sigmoid(gate[i]), y = gate[i] * s;
        dup[i] += dy[i] * y;
        dgate[i] += dy[i] * up[i] * (s * (1 + (gate[i] - y)));
    }
}

static void apart(const op_args *a, int64_t from, int64_t to)
{
    if (a->gin[0])
        gate_backward(a, from, to);
    if (a->gin[1])
        up_backward(a, from, to);
}

void op_swiglu_bwd_cpu(const op_args *a)
{
    const bool both = a->gin[0] && a->gin[1] && a->gin[0]->v != a->gin[1]->v;

    op_over(a, values_in_use(a->gout[0]), PIECE_VALUES, both ? both_backward : apart);
}
