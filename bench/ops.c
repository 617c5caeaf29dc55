/* ops: what is bound by memory, in bytes that must be read or written once, against reading memory
 *
 * Backward reads what autograd/ops.def says and the upstream gradient, and writes one gradient for
 * each input that has one; an input whose gradient is the upstream's costs nothing. */
#include "bench/tape_time.h"

#include "autograd/op_table.h"

#include <string.h>

enum { ROWS = 8192, COLUMNS = 1536, WORDS = 2048, HEAD = 64 };

typedef struct sizes {
    int64_t N, C, V;
} sizes;

/* Inputs of the operation being recorded, for counting bytes. */
typedef struct recorded {
    var *in[OP_IN_MAX], *out;
} recorded;

static var *param(tape_time *x, recorded *r, int i, int64_t rows, int64_t columns)
{
    return r->in[i] = tape_time_param(x, rows ? shape_2(rows, columns) : shape_1(columns));
}

/* 0, 7, 14 ... below `limit`. */
static var *ints(tape_time *x, recorded *r, int i, int64_t n, int64_t limit)
{
    int32_t *v;

    r->in[i] = tape_time_ints(x, shape_1(n), &v);
    for (int64_t k = 0; v && k < n; k++)
        v[k] = (int32_t)(7 * k % limit);
    return r->in[i];
}

/* from, from + 64, from + 128 ... */
static var *steps(tape_time *x, recorded *r, int i, int64_t n, int32_t from)
{
    int32_t *v;

    r->in[i] = tape_time_ints(x, shape_1(n), &v);
    for (int64_t k = 0; v && k < n; k++)
        v[k] = from + 64 * (int32_t)k;
    return r->in[i];
}

static var *record(tape_time *x, recorded *r, const sizes *s)
{
    const int64_t N = s->N, C = s->C;
    var          *sum;

    switch (x->op) {
    case OP_embed: return ag_embed(x->t, param(x, r, 0, s->V, C), ints(x, r, 1, N, s->V));
    case OP_gather_rows: return ag_gather_rows(x->t, param(x, r, 0, N, C), ints(x, r, 1, N, N));
    case OP_replace_rows:
        return ag_replace_rows(x->t, param(x, r, 0, N, C), param(x, r, 1, s->V, C), ints(x, r, 2, N, 2 * s->V), NULL,
                               0);
    case OP_mean_rows: {
        var *x0 = param(x, r, 0, N, C), *from = steps(x, r, 1, N / 64, 0);
        return ag_mean_rows(x->t, x0, from, steps(x, r, 2, N / 64, 63));
    }
    case OP_columns: return ag_columns(x->t, param(x, r, 0, N, 3 * C), C, C);
    case OP_add: return ag_add(x->t, param(x, r, 0, N, C), param(x, r, 1, N, C));
    case OP_affine: return ag_affine(x->t, param(x, r, 0, N, C), param(x, r, 1, 0, C), param(x, r, 2, 0, C));
    case OP_transpose: return ag_transpose(x->t, param(x, r, 0, N, C));
    case OP_cut: return ag_cut(x->t, param(x, r, 0, N, C), param(x, r, 1, 0, N), N, C);
    case OP_kron: return ag_kron(x->t, param(x, r, 0, N / 16, C / 16), param(x, r, 1, 16, 16));
    case OP_khatri_rao: return ag_khatri_rao(x->t, param(x, r, 0, 16, C), param(x, r, 1, N / 16, C));
    case OP_mix_skills: {
        const int64_t skills[] = {4, 8, C / 4, 16};
        r->in[0] = tape_time_param(x, shape_of(4, skills));
        return ag_mix_skills(x->t, r->in[0], param(x, r, 1, N / 64, 32), false);
    }
    case OP_route:
        r->in[0] = tape_time_param(x, shape_2(N, HEAD));
        return ag_route(x->t, r->in[0], r->in[1] = tape_time_fixed(x, shape_1(HEAD)), 8, true, &sum);
    case OP_mul: return ag_mul(x->t, param(x, r, 0, N, C), param(x, r, 1, N, C));
    case OP_scale: return ag_scale(x->t, param(x, r, 0, N, C), 0.5);
    case OP_scale_by: return ag_scale_by(x->t, param(x, r, 0, N, C), param(x, r, 1, 0, 1));
    case OP_silu: return ag_silu(x->t, param(x, r, 0, N, C));
    case OP_gelu: return ag_gelu(x->t, param(x, r, 0, N, C), GELU_ERF);
    case OP_relu: return ag_relu(x->t, param(x, r, 0, N, C));
    case OP_tanh: return ag_tanh(x->t, param(x, r, 0, N, C));
    case OP_softplus: return ag_softplus(x->t, param(x, r, 0, N, C));
    case OP_swiglu: return ag_swiglu(x->t, param(x, r, 0, N, C), param(x, r, 1, N, C));
    case OP_dropout:
        return ag_dropout(x->t, param(x, r, 0, N, C), ints(x, r, 1, N, N), ints(x, r, 2, N, N), 0.1,
                          1);
    case OP_rmsnorm: return ag_rmsnorm(x->t, param(x, r, 0, N, C), param(x, r, 1, 0, C), 1e-5);
    case OP_rmsnorm_add:
        return ag_rmsnorm_add(x->t, param(x, r, 0, N, C), param(x, r, 1, N, C),
                              param(x, r, 2, 0, C), 1e-5, &sum);
    case OP_layernorm:
        return ag_layernorm(x->t, param(x, r, 0, N, C), param(x, r, 1, 0, C), param(x, r, 2, 0, C), 1e-5);
    case OP_rope:
        return ag_rope(x->t, param(x, r, 0, N, C), r->in[1] = tape_time_fixed(x, shape_2(N, HEAD)));
    case OP_attention_join:
        return ag_attention_join(x->t, param(x, r, 0, N, C), param(x, r, 1, N, C / HEAD), param(x, r, 2, N, C),
                                 param(x, r, 3, N, C / HEAD), NULL);
    case OP_softmax: return ag_softmax(x->t, param(x, r, 0, N, C));
    case OP_cross_entropy:
        return ag_cross_entropy(x->t, param(x, r, 0, N, s->V), ints(x, r, 1, N, s->V), NULL);
    case OP_distillation:
        return ag_distillation(x->t, param(x, r, 0, N, s->V), r->in[1] = tape_time_fixed(x, shape_2(N, s->V)),
                               ints(x, r, 2, N, s->V), &(distillation_options){2, 0.5, 2}, NULL);
    case OP_sum: return ag_sum(x->t, param(x, r, 0, N, C));
    default: return NULL;
    }
}

static double bytes_of(const var *v)
{
    return v ? (double)tensor_bytes(&v->t) : 0;
}

/* embed and its like read what they are asked for, not the whole. */
static double bytes_in(const tape_time *x, const recorded *r, int i)
{
    return (x->op == OP_embed || x->op == OP_columns) && i == 0 ? bytes_of(r->out) : bytes_of(r->in[i]);
}

static void count_bytes(tape_time *x, const recorded *r)
{
    const op_row *row = &op_rows[x->op];
    double        forward = bytes_of(r->out), backward = bytes_of(r->out);
    uint32_t      reads = 0;

    for (int i = 0; i < row->n_in; i++) {
        forward += bytes_in(x, r, i);
        if (!r->in[i] || !r->in[i]->wanted || row->flags & PASS(i))
            continue;
        reads |= row->reads[i];
        backward += bytes_in(x, r, i);
    }
    for (int i = 0; i < row->n_in; i++)
        backward += reads & (IN0 << i) ? bytes_in(x, r, i) : 0;
    backward += reads & OUT0 ? bytes_of(r->out) : 0;
    if (x->op == OP_rmsnorm_add)
        forward += bytes_of(r->out); /* the sum is the second result */
    x->amount[0] = 1e-9 * forward;
    x->amount[2] = 1e-9 * backward;
}

/* All inputs' gradients are handed on: nothing runs backward. */
static bool only_passes(const tape_time *x)
{
    return x->op == OP_add;
}

static status measure(bench *b, tape_time *x, const sizes *s)
{
    recorded r = {0};
    char     what[64];

    r.out = record(x, &r, s);
    TRY(tape_time_plan(x, r.out));
    count_bytes(x, &r);
    for (x->phase = 0; x->phase <= (only_passes(x) ? 0 : 2); x->phase += 2) {
        snprintf(what, sizeof what, "%s %s", op_name(x->op), x->phase ? "backward" : "forward");
        TRY(bench_time_threads(b, (timed){.what = what, .unit = "GB/s",
                                          .ceiling = CEILING_BANDWIDTH, .run = tape_time_run, .context = x}));
    }
    return STATUS_OK;
}

status bench_ops(bench *b)
{
    static const op_code ops[] = {OP_embed,   OP_gather_rows, OP_columns,    OP_add,       OP_mul,
                                  OP_scale,   OP_silu,        OP_gelu,       OP_relu,      OP_tanh,
                                  OP_softplus, OP_swiglu, OP_dropout,     OP_rmsnorm,    OP_rmsnorm_add,
                                  OP_layernorm, OP_rope,      OP_softmax,    OP_cross_entropy,
                                  OP_sum,     OP_affine,      OP_transpose,  OP_cut,       OP_kron,
                                  OP_khatri_rao, OP_replace_rows, OP_scale_by, OP_attention_join,
                                  OP_mix_skills, OP_mean_rows, OP_distillation, OP_route};
    const sizes s = b->o.quick ? (sizes){64, 64, 48} : (sizes){ROWS, COLUMNS, WORDS};

    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        const size_t mark = arena_mark(&b->work);
        tape_time    x;
        if (b->o.only && !strstr(b->o.only, op_name(ops[i])) &&
            !strstr(op_name(ops[i]), b->o.only) && !strstr("forward backward", b->o.only))
            continue;
        TRY(tape_time_open(&x, b, ops[i]));
        const status done = measure(b, &x, &s);
        tape_time_close(&x);
        arena_rewind(&b->work, mark);
        TRY(done);
    }
    return STATUS_OK;
}
