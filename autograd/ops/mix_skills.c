/* mix_skills: a matrix for each sequence, of blocks that are weighted means of skills: block h is sum_k w[s, h K + k]
 * m[h,k], m [H, K, P, Q], or [K, P, Q] with one block. Blocks stand one below another, y [S, H P, Q], or beside
 * another, y [S, P, H Q].
 *
 * dm[h,k]      += sum_s w[s, h K + k] dy[s, block h]
 * dw[s, h K + k] += <dy[s, block h], m[h,k]> */
#include "autograd/ops/kernel.h"

status op_mix_skills_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *m = a->in[0], *w = a->in[1];

    if (m->type != REAL_TYPE || m->s.n < 3 || m->s.n > 4)
        return fail(STATUS_SHAPE, "mix_skills: m is %s %s, must be %s with three or four sizes", dtype_name(m->type),
                    shape_text(m->s), dtype_name(REAL_TYPE));
    const int64_t *d = m->s.d + m->s.n - 3, H = m->s.n == 4 ? m->s.d[0] : 1, P = d[1], Q = d[2];
    TRY(op_want_matrix("mix_skills", "w", w));
    TRY(op_want_real("mix_skills", "w", w, shape_2(w->s.d[0], H * d[0])));
    *out = a->attr->mix_skills.beside ? shape_3(w->s.d[0], P, H * Q) : shape_3(w->s.d[0], H * P, Q);
    *n_aux = 0;
    return STATUS_OK;
}

/* A block is `pieces` stretches of `length` values; piece p of block h begins at (p H + h) length of a matrix. */
typedef struct layout {
    int64_t H, K, pieces, length, size; /* size: of a block */
} layout;

static layout layout_of(const op_args *a)
{
    const shape    s = a->in[0]->s;
    const int64_t *d = s.d + s.n - 3, pieces = a->attr->mix_skills.beside ? d[1] : 1, size = d[1] * d[2];

    return (layout){s.n == 4 ? s.d[0] : 1, d[0], pieces, size / pieces, size};
}

/* Blocks from .. to-1 of all sequences. */
static void forward(const op_args *a, int64_t from, int64_t to)
{
    const layout l = layout_of(a);
    const real  *w = a->in[1]->v;

    for (int64_t b = from; b < to; b++)
        for (int64_t p = 0; p < l.pieces; p++) {
            const int64_t  s = b / l.H, h = b % l.H;
            real *RESTRICT y = (real *)a->out[0]->v + s * l.H * l.size + (p * l.H + h) * l.length;
            memset(y, 0, (size_t)l.length * sizeof *y);
            for (int64_t k = 0; k < l.K; k++) {
                const real *m = (const real *)a->in[0]->v + (h * l.K + k) * l.size + p * l.length;
                const real  share = w[b * l.K + k];
                for (int64_t i = 0; i < l.length; i++)
                    y[i] += share * m[i];
            }
        }
}

void op_mix_skills_fwd_cpu(const op_args *a)
{
    const layout l = layout_of(a);

    op_over(a, rows_in_use(a->in[1]) * l.H, op_piece_rows(l.size), forward);
}

/* Skills from .. to-1 of all heads, the sequences in their order. */
static void backward_skills(const op_args *a, int64_t from, int64_t to)
{
    const layout  l = layout_of(a);
    const int64_t S = rows_in_use(a->gout[0]);
    const real   *w = a->in[1]->v, *dy = a->gout[0]->v;

    for (int64_t j = from; j < to; j++)
        for (int64_t s = 0; s < S; s++)
            for (int64_t p = 0; p < l.pieces; p++) {
                const real    *d = dy + s * l.H * l.size + (p * l.H + j / l.K) * l.length;
                const real     share = w[s * l.H * l.K + j];
                real *RESTRICT dm = (real *)a->gin[0]->v + j * l.size + p * l.length;
                for (int64_t i = 0; i < l.length; i++)
                    dm[i] += share * d[i];
            }
}

/* Weights from .. to-1 of all sequences. */
static void backward_weights(const op_args *a, int64_t from, int64_t to)
{
    const layout l = layout_of(a);
    const real  *dy = a->gout[0]->v;

    for (int64_t i = from; i < to; i++) {
        const int64_t s = i / (l.H * l.K), j = i % (l.H * l.K);
        const real   *m = (const real *)a->in[0]->v + j * l.size;
        real          sum = 0;
        for (int64_t p = 0; p < l.pieces; p++)
            sum += op_dot(dy + s * l.H * l.size + (p * l.H + j / l.K) * l.length, m + p * l.length, l.length);
        ((real *)a->gin[1]->v)[i] += sum;
    }
}

void op_mix_skills_bwd_cpu(const op_args *a)
{
    const layout l = layout_of(a);

    if (a->gin[0])
        op_over(a, l.H * l.K, 1, backward_skills);
    if (a->gin[1])
        op_over(a, rows_in_use(a->gout[0]) * l.H * l.K, op_piece_rows(l.size), backward_weights);
}
