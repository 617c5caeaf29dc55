/* lora_routed: lora with k of its R ranks for each row, each with a gate:
 * y'[n] = y[n] + factor sum_j gates[n,j] h[n,j] b[:,c], h[n,j] = x[n] . a[c], c = chosen[n,j]   (aux: h)
 *
 * t[n,j] = factor dy'[n] . b[:,c], dgates = h t, dh = gates t, dx[n] += sum_j dh a[c], da[c] += dh x[n],
 * db[:,c] += factor gates h dy'[n]; dy += dy'
 *
 * It is computed in one of two ways. Masked: as two plain products over all ranks, with zeros between them for
 * those that are not chosen. Gathered: with the chosen ranks alone, a row at a time, for many ranks of which few are
 * chosen, and for few rows. Which of them depends on shapes only, and on whether it decodes. */
#include "autograd/ops/linear.h"
#include "autograd/ops/lora_routed.h"

/* From so many ranks for each chosen one it is gathered: `bench routed` shows what both forms take. */
enum { GATHER_RANKS = 6 };

status op_lora_routed_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *y = a->in[0], *x = a->in[1], *low = a->in[2], *chosen = a->in[5];

    TRY(op_want_matrix("lora_routed", "y", y));
    TRY(op_want_matrix("lora_routed", "x", x));
    TRY(op_want_real("lora_routed", "x", x, shape_2(y->s.d[0], x->s.d[1])));
    TRY(op_want_matrix("lora_routed", "a", low));
    TRY(op_want_real("lora_routed", "a", low, shape_2(low->s.d[0], x->s.d[1])));
    TRY(op_want_real("lora_routed", "b", a->in[3], shape_2(y->s.d[1], low->s.d[0])));
    TRY(op_want_matrix("lora_routed", "chosen", chosen));
    TRY(op_want_real("lora_routed", "gates", a->in[4], chosen->s));
    if (chosen->s.d[0] != y->s.d[0] || chosen->s.d[1] < 1 || chosen->s.d[1] > low->s.d[0])
        return fail(STATUS_SHAPE, "lora_routed: chosen is %s, must be %lld rows of 1..%lld ranks",
                    shape_text(chosen->s), (long long)y->s.d[0], (long long)low->s.d[0]);
    *out = y->s;
    *n_aux = shape_count(chosen->s);
    return STATUS_OK;
}

static bool gathers(const op_args *a)
{
    const routed_form form = a->attr->lora_routed.form;

    if (form != ROUTED_AUTO)
        return form == ROUTED_GATHERED;
    return a->run->decoding || a->in[2]->s.d[0] >= GATHER_RANKS * a->in[5]->s.d[1];
}

static routed routed_of(const op_args *a, const tensor *y)
{
    return (routed){.N = rows_in_use(y), .K = a->in[1]->s.d[1], .M = y->s.d[1], .R = a->in[2]->s.d[0],
                    .k = a->in[5]->s.d[1], .most = y->s.d[0], .factor = (real)a->attr->lora_routed.factor,
                    .x = a->in[1]->v, .a = a->in[2]->v, .b = a->in[3]->v, .gates = a->in[4]->v,
                    .chosen = a->in[5]->v, .h = a->aux, .dx = op_value(a->gin[1]), .da = op_value(a->gin[2]),
                    .db = op_value(a->gin[3]), .dgates = op_value(a->gin[4])};
}

/* ---- masked: two plain products ------------------------------------------------------------------------ */

/* Scratch for all rows of all ranks. */
static real *all_ranks(const routed *r)
{
    return threads_scratch(SLOT_SHARED, (size_t)(r->most * r->R) * sizeof(real));
}

/* h from all products, of which those that count stay, times their gates. */
static void mask_inner(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++) {
        real *row = r->parts + n * r->R;
        for (int64_t j = 0; j < r->k; j++)
            r->h[n * r->k + j] = row[routed_expert(r, n, j)];
        memset(row, 0, (size_t)r->R * sizeof *row);
        for (int64_t j = 0; j < r->k; j++)
            row[routed_expert(r, n, j)] = r->gates[n * r->k + j] * r->h[n * r->k + j];
    }
}

/* The same rows from the h that is kept. */
static void mask_kept(const routed *r, int64_t from, int64_t to)
{
    for (int64_t n = from; n < to; n++) {
        real *row = r->parts + n * r->R;
        memset(row, 0, (size_t)r->R * sizeof *row);
        for (int64_t j = 0; j < r->k; j++)
            row[routed_expert(r, n, j)] = r->gates[n * r->k + j] * r->h[n * r->k + j];
    }
}

/* t of all ranks becomes dh. */
static void mask_back(const routed *r, int64_t from, int64_t to)
{
    real *t = threads_scratch(SLOT_WEIGHT, (size_t)r->k * sizeof *t);

    for (int64_t n = from; n < to; n++) {
        real *row = r->parts + n * r->R;
        for (int64_t j = 0; j < r->k; j++)
            t[j] = row[routed_expert(r, n, j)];
        for (int64_t j = 0; j < r->k && r->dgates; j++)
            r->dgates[n * r->k + j] += r->h[n * r->k + j] * t[j];
        if (!r->da && !r->dx)
            continue;
        memset(row, 0, (size_t)r->R * sizeof *row);
        for (int64_t j = 0; j < r->k; j++)
            row[routed_expert(r, n, j)] = r->gates[n * r->k + j] * t[j];
    }
}

static void masked_forward(const op_args *a, routed *r)
{
    r->parts = all_ranks(r);
    product_turned(r->x, a->in[2], r->N, r->parts, 1, false);
    routed_over(r, r->N, op_piece_rows(r->R), mask_inner);
    product_turned(r->parts, a->in[3], r->N, r->y, a->attr->lora_routed.factor, true);
}

static void masked_backward(const op_args *a, routed *r)
{
    r->parts = all_ranks(r);
    if (r->dgates || r->dx || r->da) {
        product_plain(r->dy, a->in[3], r->N, r->parts, a->attr->lora_routed.factor, false, NULL);
        routed_over(r, r->N, op_piece_rows(r->R), mask_back);
    }
    if (r->da)
        product_rows(r->parts, r->x, r->N, r->R, r->K, r->da, 1);
    if (r->dx)
        product_plain(r->parts, a->in[2], r->N, r->dx, 1, true, NULL);
    if (r->db) {
        routed_over(r, r->N, op_piece_rows(r->R), mask_kept);
        product_rows(r->dy, r->parts, r->N, r->M, r->R, r->db, a->attr->lora_routed.factor);
    }
}

/* ---- both ---------------------------------------------------------------------------------------------- */

void op_lora_routed_fwd_cpu(const op_args *a)
{
    routed r = routed_of(a, a->out[0]);

    op_pass(a);
    r.y = a->out[0]->v;
    if (gathers(a))
        routed_forward(&r, a->run->decoding);
    else
        masked_forward(a, &r);
}

void op_lora_routed_bwd_cpu(const op_args *a)
{
    routed r = routed_of(a, a->gout[0]);

    r.dy = a->gout[0]->v;
    if (gathers(a))
        routed_backward(&r);
    else
        masked_backward(a, &r);
    op_pass_back(a);
}
