/* with_device: see the header */
#include "tests/with_device.h"

#include "core/quant.h"
#include "tests/check.h"

#include <unistd.h>

enum { COPIES_MAX = 64 };

device *test_device(dtype activations)
{
    device *d;

    if (!getenv("CAMBIUM_CUDA_PLUGIN"))
        setenv("CAMBIUM_CUDA_PLUGIN", BUILD_FOLDER "/libcambium_emu.so", 1);
    if (access(getenv("CAMBIUM_CUDA_PLUGIN"), F_OK) != 0)
        return NULL;
    MUST(device_open("cuda", activations, &d));
    return d;
}

bool test_device_is_emulated(const device *d)
{
    return strncmp(device_about(d)->name, "emulated", 8) == 0;
}

/* ---- cases -------------------------------------------------------------------------------------------- */

/* Inputs that are f32 where activations are bf16: weights and tables, with f32 gradients. */
static uint32_t wide_inputs(op_code op)
{
    switch (op) {
    case OP_embed: return IN0;
    case OP_linear: return IN1 | IN2;
    case OP_lora_each:
    case OP_lora: return IN2 | IN3;
    case OP_linear_lora: return IN1 | IN2 | IN3 | IN4;
    case OP_lora_routed: return IN2 | IN3 | IN4 | IN5;
    case OP_scores: return IN1;
    case OP_route: return IN0 | IN1;
    case OP_expand: return IN0;
    case OP_top_gate: return IN1;
    case OP_gate_loss: return IN0;
    case OP_lora_gated: return IN2 | IN3 | IN5;
    case OP_stack_factors: return IN0;
    case OP_gain_columns: return IN1 | IN3;
    case OP_dora_gain: return IN0 | IN2 | IN3;
    case OP_affine: return IN1 | IN2;
    case OP_mix_skills:
    case OP_cut:
    case OP_khatri_rao: return IN0 | IN1;
    case OP_skill_weights:
    case OP_cayley:
    case OP_householder:
    case OP_orthogonality: return IN0;
    case OP_distance: return IN0;
    case OP_put_values: return IN1;
    case OP_sparse: return IN2;
    case OP_preference: return IN0 | IN2;
    case OP_rotate: return IN1;
    case OP_replace_rows:
    case OP_scale_by: return IN1;
    case OP_attention_join: return IN1 | IN3;
    case OP_rmsnorm: return IN1;
    case OP_rmsnorm_add: return IN2;
    case OP_layernorm: return IN1 | IN2;
    case OP_attention: return IN7;
    case OP_rope_table:
    case OP_rope: return IN1;
    case OP_cross_entropy_head: return IN1 | IN2;
    default: return 0;
    }
}

typedef struct copy {
    const tensor *from;
    tensor        there;
    bool          back; /* it is an output */
} copy;

typedef struct elsewhere {
    device           *d;
    dtype             type;
    const op_kernels *kernels;
    void             *setup_there; /* the grad_setup itself: rows in use, settings of the run */
    void             *aux_there;
    copy              copies[COPIES_MAX];
    int               n;
} elsewhere;

static void *take(const elsewhere *e, size_t bytes)
{
    void *p = device_functions(e->d)->take(bytes + 1);

    ck_assert_msg(p != NULL, "no device memory");
    return p;
}

static void give_copies(elsewhere *e)
{
    for (int i = 0; i < e->n; i++)
        device_functions(e->d)->give(e->copies[i].there.v);
    e->n = 0;
}

/* The tensor there, copied over if it is not yet. */
static tensor *send(elsewhere *e, const tensor *x, bool wide, bool back)
{
    const bool real = x->type == TYPE_F32 || x->type == TYPE_F64;

    for (int i = 0; i < e->n; i++)
        if (e->copies[i].from == x) {
            e->copies[i].back |= back;
            return &e->copies[i].there;
        }
    ck_assert_int_lt(e->n, COPIES_MAX);
    copy *c = &e->copies[e->n++];
    *c = (copy){x, *x, back};
    if (real && !wide)
        c->there.type = e->type;
    c->there.v = NULL;
    if (x->v) {
        c->there.v = take(e, tensor_bytes(&c->there));
        device_upload(e->d, c->there.v, c->there.type, x->v, x->type, shape_count(x->s));
    }
    return &c->there;
}

static bool first_of(const op_args *a, int i)
{
    for (int k = 0; k < i; k++)
        if (a->gin[k] == a->gin[i])
            return false;
    return true;
}

/* NaN in the rows in use. */
static void spoil(const elsewhere *e, const tensor *t)
{
    const int64_t n = grad_used_values(t);
    double       *nan = malloc((size_t)n * 8 + 8);

    ck_assert(nan != NULL);
    memset(nan, 0xff, (size_t)n * 8);
    device_functions(e->d)->upload(t->v, nan, (size_t)dtype_row_bytes(t->type, n));
    free(nan);
}

static void run(grad_setup *g, const op_args *here, bool backward)
{
    elsewhere     *e = g->place;
    const op_row  *row = &op_rows[g->c->op];
    const uint32_t wide = wide_inputs(g->c->op);
    op_args        a = *here;

    device_functions(e->d)->upload(e->setup_there, g, sizeof *g);
    a.there = (char *)e->setup_there - (char *)g;
    if (g->n_aux && !e->aux_there)
        e->aux_there = take(e, (size_t)g->n_aux * 8);
    a.aux = here->aux ? e->aux_there : NULL;
    for (int i = 0; i < a.n_in; i++) {
        const bool w = (wide & (IN0 << i)) != 0;
        if (a.in[i])
            a.in[i] = send(e, a.in[i], w, row->flags & (uint32_t)IS(i));
        if (a.gin[i])
            a.gin[i] = send(e, a.gin[i], w, true);
    }
    for (int i = 0; i < a.n_out; i++) {
        const bool w = (row->flags & (uint32_t)WIDE(i)) != 0;
        a.out[i] = send(e, a.out[i], w, !backward);
        if (a.gout[i])
            a.gout[i] = send(e, a.gout[i], w, false);
    }
    for (int i = 0; backward && i < a.n_in; i++) /* of inputs that are one value, the first */
        if (a.gin[i] && (g->fresh & *e->kernels[g->c->op].assigns & (IN0 << i)) && first_of(&a, i)) {
            a.fresh[i] = true;
            spoil(e, a.gin[i]);
        }
    if (backward)
        e->kernels[g->c->op].backward(&a);
    else
        e->kernels[g->c->op].forward(&a);
    device_functions(e->d)->wait();
    MUST(device_check(e->d));
    for (int i = 0; i < e->n; i++) {
        const copy *c = &e->copies[i];
        if (c->back && c->from->v)
            device_download(e->d, c->from->v, c->from->type, c->there.v, c->there.type, shape_count(c->from->s));
    }
    give_copies(e);
}

void grad_elsewhere(grad_setup *g, device *d, dtype type)
{
    elsewhere *e = calloc(1, sizeof *e);

    ck_assert(e != NULL);
    *e = (elsewhere){.d = d, .type = type};
    e->kernels = device_symbol(d, type == TYPE_F64 ? "cambium_ops_f64" : type == TYPE_BF16 ? "cambium_ops_bf16"
                                                                                            : "cambium_ops_f32");
    e->setup_there = take(e, sizeof *g);
    g->elsewhere = run;
    g->place = e;
}

void grad_elsewhere_close(grad_setup *g)
{
    elsewhere *e = g->place;

    device_functions(e->d)->give(e->setup_there);
    device_functions(e->d)->give(e->aux_there);
    free(e);
    g->place = NULL;
    g->elsewhere = NULL;
}

static void round_tensor(tensor *t)
{
    for (int64_t i = 0; t->v && (t->type == TYPE_F32 || t->type == TYPE_F64) && i < shape_count(t->s); i++)
        grad_set(t, i, bf16_to_f32(f32_to_bf16((float)grad_get(t, i))));
}

void grad_round(grad_setup *g, dtype type)
{
    for (int i = 0; type == TYPE_BF16 && i < OP_IN_MAX; i++) {
        round_tensor(&g->in[i]);
        round_tensor(&g->start[i]);
    }
    for (int i = 0; type == TYPE_BF16 && i < OP_OUT_MAX; i++)
        round_tensor(&g->gout[i]);
}
