/* cross_entropy: log-sum-exp of a row in parts, for cross_entropy and cross_entropy_head.
 *
 * exp is taken in the type of the logits, at most EXP_LANES numbers are added in it, everything else is
 * added in f64: the loss is within a few units in the last place of the exact one. */
#ifndef AUTOGRAD_OPS_CROSS_ENTROPY_H
#define AUTOGRAD_OPS_CROSS_ENTROPY_H

#include "autograd/ops/kernel.h"
#include "autograd/ops/vector_math.h"

enum { LOSS_WORDS = 2048, EXP_LANES = 64 };

typedef struct loss_row {
    double m, others, target; /* largest logit so far; sum of exp(x - m) but for the target; its logit */
} loss_row;

static inline loss_row loss_start(void)
{
    return (loss_row){-INFINITY, 0, 0};
}

static inline real loss_largest(const real *x, int64_t n)
{
    real most[EXP_LANES], m = -(real)INFINITY;

    for (int l = 0; l < EXP_LANES; l++)
        most[l] = m;
    for (int64_t i = 0; i < n; i += EXP_LANES) {
        const int64_t width = n - i < EXP_LANES ? n - i : EXP_LANES;
        for (int64_t l = 0; l < width; l++)
            most[l] = x[i + l] > most[l] ? x[i + l] : most[l];
    }
    for (int l = 0; l < EXP_LANES; l++)
        m = most[l] > m ? most[l] : m;
    return m;
}

/* The next n <= LOSS_WORDS logits of a row, the target's at x[target] if that is one of them. Where `keep`
 * is not NULL it gets exp(x - m), zero for the target, and may be x. Returns what sums of earlier exps must
 * be multiplied with, now that the largest logit may have grown. */
static ALWAYS_INLINE double loss_take(loss_row *row, const real *x, int64_t n, int64_t target, real *keep)
{
    const double before = row->m;
    real         sum[EXP_LANES] = {0};
    double       added = 0, shrink = 1;
    const real   largest = loss_largest(x, n), m = largest > before ? largest : (real)before;

    if (target >= 0 && target < n)
        row->target = x[target];
    for (int64_t i = 0; i < n; i += EXP_LANES) {
        const int64_t width = n - i < EXP_LANES ? n - i : EXP_LANES;
        const int     skip = target >= i && target < i + width ? (int)(target - i) : -1;
        for (int l = 0; l < width; l++) {
            const real e = l == skip ? 0 : real_exp(x[i + l] - m);
            sum[l] += e;
            if (keep)
                keep[i + l] = e;
        }
    }
    for (int l = 0; l < EXP_LANES; l++)
        added += sum[l];
    if (m > before) {
        shrink = exp(before - m);
        row->m = m;
    }
    row->others = row->others * shrink + added;
    return shrink;
}

/* Sum of exp(x - m) over all words. */
static inline double loss_total(const loss_row *row)
{
    return row->others + exp(row->target - row->m);
}

static inline double loss_of(const loss_row *row)
{
    if (row->target == row->m)
        return log1p(row->others);
    return log(loss_total(row)) + (row->m - row->target);
}

/* x becomes g * (softmax(x) - [i == target]); m and s: largest logit, log of the sum of exp(x - m). */
static inline void loss_gradient(real *RESTRICT x, int64_t n, int64_t target, real m, real s, real g)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = g * real_exp((x[i] - m) - s);
    if (target >= 0 && target < n)
        x[target] -= g;
}

/* Upstream gradient of row t's loss: of the sum and of the row. */
static inline real loss_upstream(const op_args *a, int64_t t)
{
    const real *sum = op_value(a->gout[0]), *each = op_value(a->gout[1]);

    return (sum ? sum[0] : 0) + (each ? each[t] : 0);
}

/* Rows in use: of the first input and of the targets. */
static inline int64_t loss_rows(const tensor *x, const tensor *targets)
{
    const int64_t n = rows_in_use(x), m = rows_in_use(targets);

    return n < m ? n : m;
}

/* each[t] of T rows, and the sum in f64. Rows past T of `each` are zero. */
static inline void loss_write(const op_args *a, const loss_row *rows, int64_t T)
{
    real  *each = a->out[1]->v;
    double sum = 0;

    for (int64_t t = 0; t < T; t++) {
        const double loss = loss_of(&rows[t]);
        each[t] = (real)loss;
        sum += loss;
    }
    for (int64_t t = T; t < a->out[1]->s.d[0]; t++)
        each[t] = 0;
    *(real *)a->out[0]->v = (real)sum;
}

/* aux[2t], aux[2t+1] of T rows: what loss_gradient needs. */
static inline void loss_keep(const op_args *a, const loss_row *rows, int64_t T)
{
    for (int64_t t = 0; t < T; t++) {
        a->aux[2 * t] = (real)rows[t].m;
        a->aux[2 * t + 1] = (real)log(loss_total(&rows[t]));
    }
}

#endif
