/* attention_join: two attentions of the same queries over different keys become one over both
 *
 * m = max(lse1, lse2), e_i = exp(lse_i - m), w_i = e_i / (e_1 + e_2), a row and head:
 * y = w_1 y1 + c w_2 y2, lse = m + log(e_1 + e_2). Where neither saw a key, y is 0 and lse -infinity. c is 1, or, where
 * the second is added whole, 1 / max(w_2, ATTENTION_SHARE_MIN) (Gao et al. 2023: the second's keys weigh 1 together).
 *
 * dy1 += w_1 dy, dy2 += c w_2 dy
 * dlse_1 += w_1 (w_2 dy . (y1 - k y2) + dlse), dlse_2 likewise, k the derivative of c w_2 by w_2 */
#include "autograd/ops/kernel.h"

#include <math.h>

#ifdef REAL_IS_F64
#define REAL_EXP exp
#define REAL_LOG log
#else
#define REAL_EXP expf
#define REAL_LOG logf
#endif

status op_attention_join_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const shape y = a->in[0]->s, lse = a->in[1]->s;

    TRY(op_want_matrix("attention_join", "y1", a->in[0]));
    TRY(op_want_matrix("attention_join", "lse1", a->in[1]));
    TRY(op_want_real("attention_join", "y2", a->in[2], y));
    TRY(op_want_real("attention_join", "lse2", a->in[3], lse));
    if (lse.d[0] != y.d[0] || lse.d[1] < 1 || y.d[1] % lse.d[1] != 0)
        return fail(STATUS_SHAPE, "attention_join: y is %s and lse %s; heads must divide a row", shape_text(y),
                    shape_text(lse));
    out[0] = y;
    out[1] = lse;
    *n_aux = 0;
    return STATUS_OK;
}

/* The shares of the two in row n * H + h; returns the log-sum-exp of both. */
static real shares(const op_args *a, int64_t at, real *w1, real *w2)
{
    const real l1 = ((const real *)a->in[1]->v)[at], l2 = ((const real *)a->in[3]->v)[at], m = l1 > l2 ? l1 : l2;

    if (m == -(real)INFINITY) {
        *w1 = *w2 = 0;
        return m;
    }
    const real e1 = REAL_EXP(l1 - m), e2 = REAL_EXP(l2 - m), sum = e1 + e2;
    *w1 = e1 / sum;
    *w2 = e2 / sum;
    return m + REAL_LOG(sum);
}

/* c w2 and its derivative for a share w2 of the second. */
static void weight_of_second(const op_args *a, real w2, real *weight, real *slope)
{
    const real least = (real)ATTENTION_SHARE_MIN;

    *weight = w2;
    *slope = 1;
    if (a->attr->attention_join.whole) {
        *weight = w2 < least ? w2 / least : 1;
        *slope = w2 < least ? 1 / least : 0;
    }
}

static int64_t head_size(const op_args *a)
{
    return a->in[0]->s.d[1] / a->in[1]->s.d[1];
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t  D = head_size(a);
    const real    *y1 = a->in[0]->v, *y2 = a->in[2]->v;
    real *RESTRICT y = a->out[0]->v, *lse = a->out[1]->v, w1, w2, slope;

    for (int64_t i = from; i < to; i++) {
        lse[i] = shares(a, i, &w1, &w2);
        weight_of_second(a, w2, &w2, &slope);
        for (int64_t d = i * D; d < (i + 1) * D; d++)
            y[d] = w1 * y1[d] + w2 * y2[d];
    }
}

void op_attention_join_fwd_cpu(const op_args *a)
{
    op_over(a, values_in_use(a->out[1]), op_piece_rows(head_size(a)), forward);
}

static real dot_difference(const real *dy, const real *y1, real slope, const real *y2, int64_t D)
{
    return op_dot(dy, y1, D) - slope * op_dot(dy, y2, D);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t D = head_size(a);
    const real   *dy = op_value(a->gout[0]), *dlse = op_value(a->gout[1]), *y1 = a->in[0]->v, *y2 = a->in[2]->v;
    real *dy1 = op_value(a->gin[0]), *dlse1 = op_value(a->gin[1]), *dy2 = op_value(a->gin[2]),
         *dlse2 = op_value(a->gin[3]), w1, w2, weight, slope;

    for (int64_t i = from; i < to; i++) {
        shares(a, i, &w1, &w2);
        weight_of_second(a, w2, &weight, &slope);
        for (int64_t d = i * D; dy && dy1 && d < (i + 1) * D; d++)
            dy1[d] += w1 * dy[d];
        for (int64_t d = i * D; dy && dy2 && d < (i + 1) * D; d++)
            dy2[d] += weight * dy[d];
        if (!dlse1 && !dlse2)
            continue;
        const real both = dlse ? dlse[i] : 0;
        const real apart = dy ? w1 * w2 * dot_difference(dy + i * D, y1 + i * D, slope, y2 + i * D, D) : 0;
        if (dlse1)
            dlse1[i] += apart + w1 * both;
        if (dlse2)
            dlse2[i] += w2 * both - apart;
    }
}

void op_attention_join_bwd_cpu(const op_args *a)
{
    const tensor *g = a->gout[0] ? a->gout[0] : a->gout[1];

    op_over(a, rows_in_use(g) * a->in[1]->s.d[1], op_piece_rows(head_size(a)), backward);
}
