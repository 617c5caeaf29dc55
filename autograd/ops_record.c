/* ops_record: the operations as functions on a tape */
#include "autograd/ops.h"

static var *apply(tape *t, op_code op, int n, var *a, var *b, var *c)
{
    var *in[] = {a, b, c};

    return tape_apply(t, op, n, in, NULL);
}

var *ag_embed(tape *t, var *table, var *ids)
{
    return apply(t, OP_embed, 2, table, ids, NULL);
}

var *ag_gather_rows(tape *t, var *x, var *rows)
{
    return apply(t, OP_gather_rows, 2, x, rows, NULL);
}

var *ag_pick_rows(tape *t, var *a, var *b, var *rows)
{
    return apply(t, OP_pick_rows, 3, a, b, rows);
}

var *ag_mean_rows(tape *t, var *x, var *from, var *to)
{
    return apply(t, OP_mean_rows, 3, x, from, to);
}

var *ag_columns(tape *t, var *x, int64_t from, int64_t width)
{
    const op_attr attr = {.columns = {from, width}};

    return tape_apply(t, OP_columns, 1, &x, &attr);
}

var *ag_scatter_rows(tape *t, var *cache, var *x, var *slots)
{
    return apply(t, OP_scatter_rows, 3, cache, x, slots);
}

var *ag_put_values(tape *t, var *w, var *v, var *places)
{
    return apply(t, OP_put_values, 3, w, v, places);
}

var *ag_replace_rows(tape *t, var *x, var *table, var *keys, var *map, int32_t first)
{
    var          *in[] = {x, table, keys, map};
    const op_attr attr = {.replace_rows = {first}};

    return tape_apply(t, OP_replace_rows, 4, in, &attr);
}

var *ag_linear(tape *t, var *x, var *w, var *b)
{
    return apply(t, OP_linear, 3, x, w, b);
}

var *ag_lora(tape *t, var *y, var *x, var *a, var *b, double factor)
{
    var          *in[] = {y, x, a, b};
    const op_attr attr = {.lora = {factor}};
    var          *both = tape_reads(t, y, 0, x) ? tape_extend(t, y, OP_linear, OP_linear_lora, 2, in + 2, &attr)
                                                : NULL;

    return both ? both : tape_apply(t, OP_lora, 4, in, &attr);
}

var *ag_linear_lora(tape *t, var *x, var *w, var *bias, var *a, var *b, double factor)
{
    var          *in[] = {x, w, bias, a, b};
    const op_attr attr = {.lora = {factor}};

    return tape_apply(t, OP_linear_lora, 5, in, &attr);
}

var *ag_expand(tape *t, var *w)
{
    return apply(t, OP_expand, 1, w, NULL, NULL);
}

var *ag_transpose(tape *t, var *x)
{
    return apply(t, OP_transpose, 1, x, NULL, NULL);
}

var *ag_dora_gain(tape *t, var *g, var *w, var *a, var *b, double factor)
{
    var          *in[] = {g, w, a, b};
    const op_attr attr = {.lora = {factor}};

    return tape_apply(t, OP_dora_gain, 4, in, &attr);
}

var *ag_cut(tape *t, var *x, var *k, int64_t rows, int64_t columns)
{
    var          *in[] = {x, k};
    const op_attr attr = {.cut = {rows, columns}};

    return tape_apply(t, OP_cut, 2, in, &attr);
}

var *ag_kron(tape *t, var *a, var *b)
{
    return apply(t, OP_kron, 2, a, b, NULL);
}

var *ag_khatri_rao(tape *t, var *a, var *g)
{
    return apply(t, OP_khatri_rao, 2, a, g, NULL);
}

var *ag_waves(tape *t, var *places, int64_t size, bool sine)
{
    const op_attr attr = {.waves = {size, sine}};

    return tape_apply(t, OP_waves, 1, &places, &attr);
}

var *ag_cayley(tape *t, var *q, int terms, double limit)
{
    const op_attr attr = {.cayley = {terms, limit}};

    return tape_apply(t, OP_cayley, 1, &q, &attr);
}

var *ag_householder(tape *t, var *u, bool orthogonal, var **b)
{
    const op_attr attr = {.householder = {orthogonal}};
    var          *a = tape_apply(t, OP_householder, 1, &u, &attr);

    *b = tape_output(t, a, 1);
    return a;
}

var *ag_lora_each(tape *t, var *y, var *x, var *a, var *b, var *offsets, double factor)
{
    var          *in[] = {y, x, a, b, offsets};
    const op_attr attr = {.lora = {factor}};

    return tape_apply(t, OP_lora_each, 5, in, &attr);
}

var *ag_skill_weights(tape *t, var *logits, var *tasks, var *samples, var *offsets, int64_t skills, uint32_t site)
{
    var          *in[] = {logits, tasks, samples, offsets};
    const op_attr attr = {.skill_weights = {skills, site}};

    return tape_apply(t, OP_skill_weights, 4, in, &attr);
}

var *ag_mix_skills(tape *t, var *m, var *w, bool beside)
{
    var          *in[] = {m, w};
    const op_attr attr = {.mix_skills = {beside}};

    return tape_apply(t, OP_mix_skills, 2, in, &attr);
}

var *ag_lora_routed(tape *t, var *y, var *x, var *a, var *b, var *gates, var *chosen, double factor,
                    routed_form form)
{
    var          *in[] = {y, x, a, b, gates, chosen};
    const op_attr attr = {.lora_routed = {factor, form}};

    return tape_apply(t, OP_lora_routed, 6, in, &attr);
}

var *ag_scores(tape *t, var *x, var *w)
{
    return apply(t, OP_scores, 2, x, w, NULL);
}

var *ag_route(tape *t, var *z, var *b, int64_t active, bool in_weight, var **chosen)
{
    var          *in[] = {z, b};
    const op_attr attr = {.route = {active, in_weight}};
    var          *gates = tape_apply(t, OP_route, 2, in, &attr);

    *chosen = tape_output(t, gates, 1);
    return gates;
}

var *ag_tally(tape *t, var *counts, var *chosen, bool anew)
{
    var          *in[] = {counts, chosen};
    const op_attr attr = {.tally = {anew}};

    return tape_apply(t, OP_tally, 2, in, &attr);
}

var *ag_balance(tape *t, var *b, var *counts, double rate)
{
    var          *in[] = {b, counts};
    const op_attr attr = {.balance = {rate}};

    return tape_apply(t, OP_balance, 2, in, &attr);
}

var *ag_top_gate(tape *t, var *x, var *g, int64_t k, double temperature, var **z)
{
    var          *in[] = {x, g};
    const op_attr attr = {.top_gate = {k, temperature}};

    *z = tape_apply(t, OP_top_gate, 2, in, &attr);
    return tape_output(t, *z, 1);
}

var *ag_gate_loss(tape *t, var *z, var *tasks, var *offsets)
{
    return apply(t, OP_gate_loss, 3, z, tasks, offsets);
}

var *ag_task_gates(tape *t, var *x, var *tasks, var *offsets, int64_t E)
{
    var          *in[] = {x, tasks, offsets};
    const op_attr attr = {.task_gates = {E}};

    return tape_apply(t, OP_task_gates, 3, in, &attr);
}

var *ag_lora_gated(tape *t, var *y, var *x, var *values, var *w, var *table, var *scales, int64_t rank, int64_t most)
{
    var          *in[] = {y, x, values, w, table, scales};
    const op_attr attr = {.experts = {rank, most}};

    return tape_apply(t, OP_lora_gated, 6, in, &attr);
}

var *ag_stack_factors(tape *t, var *values, var *table, int64_t R, int64_t in, int64_t out, var **b)
{
    var          *both[] = {values, table};
    const op_attr attr = {.stack_factors = {R, in, out}};
    var          *a = tape_apply(t, OP_stack_factors, 2, both, &attr);

    *b = tape_output(t, a, 1);
    return a;
}

var *ag_gain_columns(tape *t, var *u, var *w, var *owner, var *scales)
{
    var *in[] = {u, w, owner, scales};

    return tape_apply(t, OP_gain_columns, 4, in, NULL);
}

var *ag_sparse(tape *t, var *y, var *x, var *v, var *places)
{
    var *in[] = {y, x, v, places};

    return tape_apply(t, OP_sparse, 4, in, NULL);
}

var *ag_rotate(tape *t, var *x, var *r, var *channels, int64_t first, int64_t blocks)
{
    var          *in[] = {x, r, channels};
    const op_attr attr = {.rotate = {first, blocks}};

    return tape_apply(t, OP_rotate, 3, in, &attr);
}

var *ag_affine(tape *t, var *x, var *k, var *b)
{
    var          *in[] = {x, k, b};
    const op_attr attr = {.affine = {1}};

    return tape_apply(t, OP_affine, 3, in, &attr);
}

var *ag_shift(tape *t, var *x, var *b, double factor)
{
    var          *in[] = {x, NULL, b};
    const op_attr attr = {.affine = {factor}};

    return tape_apply(t, OP_affine, 3, in, &attr);
}

var *ag_add(tape *t, var *a, var *b)
{
    return apply(t, OP_add, 2, a, b, NULL);
}

var *ag_mul(tape *t, var *a, var *b)
{
    return apply(t, OP_mul, 2, a, b, NULL);
}

var *ag_scale(tape *t, var *x, double factor)
{
    const op_attr attr = {.scale = {factor}};

    return tape_apply(t, OP_scale, 1, &x, &attr);
}

var *ag_scale_by(tape *t, var *x, var *s)
{
    return apply(t, OP_scale_by, 2, x, s, NULL);
}

var *ag_silu(tape *t, var *x)
{
    return apply(t, OP_silu, 1, x, NULL, NULL);
}

var *ag_gelu(tape *t, var *x, gelu_kind kind)
{
    const op_attr attr = {.gelu = {kind}};

    return tape_apply(t, OP_gelu, 1, &x, &attr);
}

var *ag_relu(tape *t, var *x)
{
    return apply(t, OP_relu, 1, x, NULL, NULL);
}

var *ag_softplus(tape *t, var *x)
{
    return apply(t, OP_softplus, 1, x, NULL, NULL);
}

var *ag_tanh(tape *t, var *x)
{
    return apply(t, OP_tanh, 1, x, NULL, NULL);
}

var *ag_swiglu(tape *t, var *gate, var *up)
{
    return apply(t, OP_swiglu, 2, gate, up, NULL);
}

var *ag_dropout(tape *t, var *x, var *samples, var *positions, double p, uint32_t site)
{
    var          *in[] = {x, samples, positions};
    const op_attr attr = {.dropout = {p, site}};

    return tape_apply(t, OP_dropout, 3, in, &attr);
}

var *ag_rmsnorm(tape *t, var *x, var *w, double eps)
{
    var          *in[] = {x, w};
    const op_attr attr = {.rmsnorm = {eps, 0}};

    return tape_apply(t, OP_rmsnorm, 2, in, &attr);
}

var *ag_rmsnorm_plus(tape *t, var *x, var *w, double eps)
{
    var          *in[] = {x, w};
    const op_attr attr = {.rmsnorm = {eps, 1}};

    return tape_apply(t, OP_rmsnorm, 2, in, &attr);
}

var *ag_rmsnorm_add(tape *t, var *x, var *r, var *w, double eps, var **sum)
{
    var          *in[] = {x, r, w};
    const op_attr attr = {.rmsnorm = {eps, 0}};

    *sum = tape_apply(t, OP_rmsnorm_add, 3, in, &attr);
    return tape_output(t, *sum, 1);
}

var *ag_layernorm(tape *t, var *x, var *w, var *b, double eps)
{
    var          *in[] = {x, w, b};
    const op_attr attr = {.rmsnorm = {eps, 0}};

    return tape_apply(t, OP_layernorm, 3, in, &attr);
}

var *ag_rope_table(tape *t, var *positions, var *frequencies, var *offsets, const rope_options *o)
{
    var          *in[] = {positions, frequencies, o->factor > 0 ? offsets : NULL};
    const op_attr attr = {.rope_table = {o->scale, o->theta, o->factor, o->length}};

    return tape_apply(t, OP_rope_table, 3, in, &attr);
}

var *ag_rope(tape *t, var *x, var *table)
{
    return apply(t, OP_rope, 2, x, table, NULL);
}

static op_attr attention_attr(const attention_options *o)
{
    return (op_attr){.attention = {.heads = o->heads, .kv_heads = o->kv_heads, .causal = o->causal,
                                   .window = o->window, .scale = o->scale, .softcap = o->softcap,
                                   .reach = o->reach, .both = o->both}};
}

var *ag_attention(tape *t, var *q, var *k, var *v, var *q_offsets, var *k_offsets, var *q_start,
                  var *blocks, const attention_options *o, var **lse)
{
    var          *in[] = {q, k, v, q_offsets, k_offsets, q_start, blocks, o->bias};
    const op_attr attr = attention_attr(o);
    var          *y = tape_apply(t, OP_attention, 8, in, &attr);

    if (lse)
        *lse = tape_output(t, y, 1);
    return y;
}

static var *join_attentions(tape *t, var *y1, var *lse1, var *y2, var *lse2, bool whole, var **lse)
{
    var          *in[] = {y1, lse1, y2, lse2};
    const op_attr attr = {.attention_join = {whole}};
    var          *y = tape_apply(t, OP_attention_join, 4, in, &attr);

    if (lse)
        *lse = tape_output(t, y, 1);
    return y;
}

var *ag_attention_join(tape *t, var *y1, var *lse1, var *y2, var *lse2, var **lse)
{
    return join_attentions(t, y1, lse1, y2, lse2, false, lse);
}

var *ag_attention_add(tape *t, var *y1, var *lse1, var *y2, var *lse2, var **lse)
{
    return join_attentions(t, y1, lse1, y2, lse2, true, lse);
}

var *ag_attention_scores(tape *t, var *q, var *k, var *q_offsets, var *k_offsets, var *q_start,
                         const attention_options *o)
{
    var          *in[] = {q, k, q_offsets, k_offsets, q_start};
    const op_attr attr = attention_attr(o);

    return tape_apply(t, OP_attention_scores, 5, in, &attr);
}

var *ag_softmax(tape *t, var *x)
{
    return apply(t, OP_softmax, 1, x, NULL, NULL);
}

var *ag_attention_mix(tape *t, var *p, var *v, var *q_offsets, var *k_offsets,
                      const attention_options *o)
{
    var          *in[] = {p, v, q_offsets, k_offsets};
    const op_attr attr = attention_attr(o);

    return tape_apply(t, OP_attention_mix, 4, in, &attr);
}

var *ag_cross_entropy(tape *t, var *logits, var *targets, var **each)
{
    var *sum = apply(t, OP_cross_entropy, 2, logits, targets, NULL);

    if (each)
        *each = tape_output(t, sum, 1);
    return sum;
}

var *ag_softcap(tape *t, var *x, double cap)
{
    return cap > 0 ? ag_scale(t, ag_tanh(t, ag_scale(t, x, 1 / cap)), cap) : x;
}

var *ag_cross_entropy_head(tape *t, var *x, var *w, var *b, var *targets, double softcap, var **each)
{
    var          *in[] = {x, w, b, targets};
    const op_attr attr = {.cross_entropy_head = {softcap}};
    var          *sum = tape_apply(t, OP_cross_entropy_head, 4, in, &attr);

    if (each)
        *each = tape_output(t, sum, 1);
    return sum;
}

var *ag_contrast(tape *t, var *a, var *b, double factor, bool both, var **products)
{
    var          *in[] = {a, b};
    const op_attr attr = {.contrast = {factor, both}};
    var          *sum = tape_apply(t, OP_contrast, 2, in, &attr);

    *products = tape_output(t, sum, 1);
    return sum;
}

var *ag_preference(tape *t, var *each, var *offsets, var *reference, const preference_options *o, var **margins)
{
    var          *in[] = {each, offsets, reference};
    const op_attr attr = {.preference = {o->beta, o->smoothing, o->squared, o->by_token}};
    var          *sum = tape_apply(t, OP_preference, 3, in, &attr);

    *margins = tape_output(t, sum, 1);
    return sum;
}

var *ag_cross_entropy_place(tape *t, var *x, var *offsets, var *targets, var **each)
{
    var *sum = apply(t, OP_cross_entropy_place, 3, x, offsets, targets);

    if (each)
        *each = tape_output(t, sum, 1);
    return sum;
}

var *ag_distillation(tape *t, var *x, var *y, var *targets, const distillation_options *o, var **each)
{
    var          *in[] = {x, y, targets};
    const op_attr attr = {.distillation = {o->temperature, o->hard, o->soft}};
    var          *sum = tape_apply(t, OP_distillation, 3, in, &attr);

    if (each)
        *each = tape_output(t, sum, 1);
    return sum;
}

var *ag_sum(tape *t, var *x)
{
    return apply(t, OP_sum, 1, x, NULL, NULL);
}

var *ag_orthogonality(tape *t, var *p, bool turned)
{
    const op_attr attr = {.orthogonality = {turned}};

    return tape_apply(t, OP_orthogonality, 1, &p, &attr);
}

var *ag_distance(tape *t, var *x, var *x0)
{
    return apply(t, OP_distance, 2, x, x0, NULL);
}
