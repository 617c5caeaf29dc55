/* attention_scores: s[n,h,j] = cap(scale q[n,h] . k[j]), -infinity where masked; j counts all rows of k
 *
 * With t = s / cap: ds' = ds (1 - t^2); dq[n,h] += scale ds' k[j], dk[j] += scale ds' q[n,h].
 * The plain composition that attention is tested against: clear, not fast. */
#include "autograd/ops/attention.h"
#include "autograd/ops/vector_math.h"

status op_attention_scores_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *q = a->in[0], *k = a->in[1];
    const int32_t H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;

    TRY(attention_want_heads("attention_scores", a));
    TRY(op_want_matrix("attention_scores", "q", q));
    TRY(op_want_matrix("attention_scores", "k", k));
    if (q->s.d[1] % H != 0 || k->s.d[1] != q->s.d[1] / H * Hk)
        return fail(STATUS_SHAPE, "attention_scores: q is %s with %d heads, k %s with %d; heads must "
                    "have one size", shape_text(q->s), H, shape_text(k->s), Hk);
    TRY(attention_want_offsets("attention_scores", a, 2));
    *out = shape_3(q->s.d[0], H, k->s.d[0]);
    *n_aux = 0;
    return STATUS_OK;
}

static real score(const op_args *a, const real *q, const real *k, int64_t D)
{
    const real cap = (real)a->attr->attention.softcap, s = (real)a->attr->attention.scale * op_dot(q, k, D);

    return cap > 0 ? cap * real_tanh(s / cap) : s;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t        D = a->in[0]->s.d[1] / a->attr->attention.heads, Nk = a->in[1]->s.d[0];
    const attention_view w = attention_view_of(a, 2, D);
    const real          *q = a->in[0]->v, *k = a->in[1]->v;

    for (int64_t s = 0; s < w.S; s++)
        for (int64_t n = w.q_offsets[s]; n < w.q_offsets[s + 1]; n++) {
            int32_t lo, hi;
            if (n < from || n >= to)
                continue;
            attention_range(&w, s, n - w.q_offsets[s], &lo, &hi);
            for (int64_t h = 0; h < w.H; h++) {
                real *out = (real *)a->out[0]->v + (n * w.H + h) * Nk;
                for (int64_t j = 0; j < Nk; j++)
                    out[j] = -(real)INFINITY;
                for (int64_t j = lo; j <= hi; j++) {
                    const int64_t row = w.k_offsets[s] + j;
                    out[row] = score(a, q + (n * w.H + h) * D, k + (row * w.Hk + h / w.G) * D, D);
                }
            }
        }
}

void op_attention_scores_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), ROW_BLOCK, forward);
}

/* Key heads from .. to-1 */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t        H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;
    const int64_t        D = a->in[0]->s.d[1] / H, Nk = a->in[1]->s.d[0];
    const attention_view w = attention_view_of(a, 2, D);
    const real           scale = (real)a->attr->attention.scale, cap = (real)a->attr->attention.softcap;
    const real          *q = a->in[0]->v, *k = a->in[1]->v, *ds = a->gout[0]->v;
    real                *dq = op_value(a->gin[0]), *dk = op_value(a->gin[1]);

    for (int64_t s = 0; s < w.S; s++)
        for (int64_t i = 0; i < attention_queries(&w, s); i++)
            for (int64_t h = from * H / Hk; h < to * H / Hk; h++) {
                const int64_t at = (w.q_offsets[s] + i) * H + h;
                int32_t       lo, hi;
                attention_range(&w, s, i, &lo, &hi);
                for (int64_t j = lo; j <= hi; j++) {
                    const int64_t row = w.k_offsets[s] + j, key = (row * Hk + h / w.G) * D;
                    const real    t = cap > 0 ? score(a, q + at * D, k + key, D) / cap : 0;
                    const real    g = scale * ds[at * Nk + row] * (1 - t * t);
                    for (int64_t d = 0; dq && d < D; d++)
                        dq[at * D + d] += g * k[key + d];
                    for (int64_t d = 0; dk && d < D; d++)
                        dk[key + d] += g * q[at * D + d];
                }
            }
}

void op_attention_scores_bwd_cpu(const op_args *a)
{
    op_over(a, a->attr->attention.kv_heads, 1, backward);
}
