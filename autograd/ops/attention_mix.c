/* attention_mix: y[n,h] = sum_j p[n,h,j] v[j] over the keys j of n's sequence
 *
 * dp[n,h,j] += dy[n,h] . v[j], dv[j] += p[n,h,j] dy[n,h].
 * The plain composition that attention is tested against: clear, not fast. */
#include "autograd/ops/attention.h"

status op_attention_mix_shape(const op_args *a, shape *out, int64_t *n_aux)
{
    const tensor *p = a->in[0], *v = a->in[1];
    const int32_t H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;

    TRY(attention_want_heads("attention_mix", a));
    TRY(op_want_matrix("attention_mix", "v", v));
    TRY(op_want_real("attention_mix", "p", p, shape_3(shape_rows(p->s) / H, H, v->s.d[0])));
    if (v->s.d[1] % Hk != 0)
        return fail(STATUS_SHAPE, "attention_mix: v has %lld columns, must be a multiple of %d heads",
                    (long long)v->s.d[1], Hk);
    TRY(attention_want_offsets("attention_mix", a, 2));
    *out = shape_2(p->s.d[0], v->s.d[1] / Hk * H);
    *n_aux = 0;
    return STATUS_OK;
}

static void forward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t        D = a->in[1]->s.d[1] / a->attr->attention.kv_heads, Nk = a->in[1]->s.d[0];
    const attention_view w = attention_view_of(a, 2, D);
    const real          *p = a->in[0]->v, *v = a->in[1]->v;

    for (int64_t s = 0; s < w.S; s++)
        for (int64_t n = w.q_offsets[s]; n < w.q_offsets[s + 1]; n++) {
            if (n < from || n >= to)
                continue;
            for (int64_t h = 0; h < w.H; h++) {
                real *RESTRICT y = (real *)a->out[0]->v + (n * w.H + h) * D;
                memset(y, 0, (size_t)D * sizeof *y);
                for (int64_t j = w.k_offsets[s]; j < w.k_offsets[s + 1]; j++)
                    for (int64_t d = 0; d < D; d++)
                        y[d] += p[(n * w.H + h) * Nk + j] * v[(j * w.Hk + h / w.G) * D + d];
            }
        }
}

void op_attention_mix_fwd_cpu(const op_args *a)
{
    op_over(a, rows_in_use(a->in[0]), ROW_BLOCK, forward);
}

/* Key heads from .. to-1 */
static void backward(const op_args *a, int64_t from, int64_t to)
{
    const int64_t        H = a->attr->attention.heads, Hk = a->attr->attention.kv_heads;
    const int64_t        D = a->in[1]->s.d[1] / Hk, Nk = a->in[1]->s.d[0];
    const attention_view w = attention_view_of(a, 2, D);
    const real          *p = a->in[0]->v, *v = a->in[1]->v, *dy = a->gout[0]->v;
    real                *dp = op_value(a->gin[0]), *dv = op_value(a->gin[1]);

    for (int64_t s = 0; s < w.S; s++)
        for (int64_t n = w.q_offsets[s]; n < w.q_offsets[s + 1]; n++)
            for (int64_t h = from * H / Hk; h < to * H / Hk; h++)
                for (int64_t j = w.k_offsets[s]; j < w.k_offsets[s + 1]; j++) {
                    const int64_t at = n * H + h, key = (j * Hk + h / w.G) * D;
                    if (dp)
                        dp[at * Nk + j] += op_dot(dy + at * D, v + key, D);
                    for (int64_t d = 0; dv && d < D; d++)
                        dv[key + d] += p[at * Nk + j] * dy[at * D + d];
                }
}

void op_attention_mix_bwd_cpu(const op_args *a)
{
    op_over(a, a->attr->attention.kv_heads, 1, backward);
}
