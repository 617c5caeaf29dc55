/* route: for each row the k experts of the r with the largest a = s + b, s = sigmoid(z), the lowest index first among
 * equals, in ascending order, and their gates g = k w / D, D = the sum of the chosen w, which sum to k. w is a, or s:
 * then b has a part in the choice alone. z may hold a value for several experts that follow one another.
 *
 * dw = (k / D) (dg - sum_j dg_j g_j / k), dz += dw s (1 - s). Only chosen experts have a gradient; b has none. k = 1:
 * g is 1 itself, and dz nothing: a quotient would leave roundings, which Adam blows up. D is at least ROUTE_LEAST. */
#include "autograd/ops/kernel.h"
#include "autograd/ops/route.h"
#include "autograd/ops/vector_math.h"

status op_route_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *z = a->in[0], *b = a->in[1];
    const int64_t k = a->attr->route.active, r = b->s.n ? b->s.d[0] : 1;

    TRY(op_want_matrix("route", "z", z));
    TRY(op_want_real("route", "b", b, shape_1(r)));
    if (z->s.d[1] < 1 || r % z->s.d[1] != 0)
        return fail(STATUS_SHAPE, "route: b has %lld values, must be a multiple of the %lld scores of a row",
                    (long long)r, (long long)z->s.d[1]);
    if (k < 1 || k > r)
        return fail(STATUS_SHAPE, "route: %lld experts are to be chosen, must be 1..%lld", (long long)k,
                    (long long)r);
    out[0] = out[1] = shape_2(z->s.d[0], k);
    *n_aux = 0;
    return STATUS_OK;
}

/* best[k] become the places of the k largest of a[r], in ascending order. */
static void choose(const real *a, int64_t r, int64_t k, int64_t *best)
{
    for (int64_t i = 0; i < r; i++) { /* best[0 .. n-1] fall */
        int64_t at = i < k ? i : k;
        while (at > 0 && a[i] > a[best[at - 1]]) {
            if (at < k)
                best[at] = best[at - 1];
            at--;
        }
        if (at < k)
            best[at] = i;
    }
    for (int64_t j = 1; j < k; j++) {
        const int64_t place = best[j];
        int64_t       at = j;
        for (; at > 0 && best[at - 1] > place; at--)
            best[at] = best[at - 1];
        best[at] = place;
    }
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t Z = a->in[0]->s.d[1], r = a->in[1]->s.d[0], k = a->attr->route.active, p = r / Z;
    const real   *b = a->in[1]->v;
    int64_t      *best = threads_scratch(SLOT_SHARED, (size_t)k * sizeof *best + 2 * (size_t)r * sizeof(real));
    real         *s = (real *)(best + k), *score = s + r;

    for (int64_t n = from; n < to; n++) {
        const real *z = (const real *)a->in[0]->v + n * Z;
        real       *g = (real *)a->out[0]->v + n * k, *chosen = (real *)a->out[1]->v + n * k, sum = 0;

        for (int64_t i = 0; i < Z; i++)
            score[i] = real_sigmoid(z[i]);
        for (int64_t i = 0; i < r; i++)
            s[i] = score[i / p];
        for (int64_t i = 0; i < r; i++)
            score[i] = s[i] + b[i];
        choose(score, r, k, best);
        const real *w = a->attr->route.in_weight ? score : s;
        for (int64_t j = 0; j < k; j++)
            sum += w[best[j]];
        for (int64_t j = 0; j < k; j++) {
            chosen[j] = (real)best[j];
            g[j] = k == 1 ? 1 : (real)k * w[best[j]] / (sum > (real)ROUTE_LEAST ? sum : (real)ROUTE_LEAST);
        }
    }
}

void op_route_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), op_piece_rows(16 * a->in[1]->s.d[0]), forward);
}

static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t Z = a->in[0]->s.d[1], r = a->in[1]->s.d[0], k = a->attr->route.active, p = r / Z;
    const real   *b = a->in[1]->v;
    real         *s = threads_scratch(SLOT_SHARED, 2 * (size_t)k * sizeof *s), *w = s + k;

    for (int64_t n = from; n < to; n++) {
        const real *z = (const real *)a->in[0]->v + n * Z, *chosen = (const real *)a->out[1]->v + n * k;
        const real *dg = (const real *)a->gout[0]->v + n * k;
        real       *dz = (real *)a->gin[0]->v + n * Z, sum = 0, along = 0;

        for (int64_t j = 0; j < k; j++) {
            const int64_t i = (int64_t)chosen[j];
            s[j] = real_sigmoid(z[i / p]);
            w[j] = s[j] + (a->attr->route.in_weight ? b[i] : 0);
            sum += w[j];
        }
        const bool kept = !(sum > (real)ROUTE_LEAST);
        if (kept)
            sum = (real)ROUTE_LEAST;
        for (int64_t j = 0; j < k && !kept; j++)
            along += dg[j] * w[j] / sum;
        for (int64_t j = 0; j < k; j++)
            dz[(int64_t)chosen[j] / p] += (real)k / sum * (dg[j] - along) * s[j] * (1 - s[j]);
    }
}

void op_route_bwd_cpu(const op_args *a)
{
    if (a->gin[0] && a->gout[0] && a->attr->route.active > 1)
        op_over(a, rows_in_use(a->gout[0]), op_piece_rows(16 * a->attr->route.active), backward);
}
