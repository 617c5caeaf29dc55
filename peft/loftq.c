/* loftq: quantising and decomposing in turns */
#include "peft/loftq.h"

#include "core/cpu/matmul.h"
#include "core/linalg.h"
#include "core/quant.h"
#include "core/quant_write.h"

#include <math.h>
#include <string.h>

/* ---- types ------------------------------------------------------------------------------------------------ */

enum { NF4_BLOCK = 64 };

/* Dettmers et al. 2023, appendix E. */
static const float nf4[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

static float largest(const float *v, int64_t n)
{
    float most = 0;

    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(v[i]));
    return most;
}

static float nearest_nf4(float x)
{
    int i = 0;

    while (i < 15 && x > (nf4[i] + nf4[i + 1]) / 2)
        i++;
    return nf4[i];
}

static void round_nf4(const float *v, int64_t n, float *out)
{
    for (int64_t at = 0; at < n; at += NF4_BLOCK) {
        const int64_t m = n - at < NF4_BLOCK ? n - at : NF4_BLOCK;
        const float   most = largest(v + at, m);
        for (int64_t i = at; i < at + m; i++)
            out[i] = most > 0 ? nearest_nf4(v[i] / most) * most : 0;
    }
}

static void round_int8(const float *v, int64_t rows, int64_t columns, float *out)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *row = v + r * columns;
        const float  most = largest(row, columns);
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] = most > 0 ? rintf(row[c] * (127 / most)) * (most / 127) : 0;
    }
}

static bool is(const loftq_options *o, const char *type)
{
    return strcmp(o->type, type) == 0;
}

/* PEFT's, which lie expanded. */
static bool lies_expanded(const loftq_options *o)
{
    return is(o, "nf4") || is(o, "int8");
}

status loftq_shape(const loftq_options *o, const site *s, tensor *q)
{
    const dtype type = s->weight->value.type;

    *q = (tensor){.s = shape_2(s->out, s->in), .type = TYPE_F32};
    if (type != TYPE_F32 && type != TYPE_F16 && type != TYPE_BF16)
        return fail(STATUS_UNSUPPORTED, "lora: init_lora_weights loftq quantises the weight itself, which is %s "
                    "already; use the trunk that this one was made of, in f32, f16 or bf16", dtype_name(type));
    if (lies_expanded(o))
        return STATUS_OK;
    if (!dtype_find(o->type, &q->type) || !quant_can_write(q->type))
        return fail(STATUS_UNSUPPORTED, "lora: loftq_type is '%.40s', must be one of " LOFTQ_TYPES, o->type);
    if (dtype_row_bytes(q->type, s->in) < 0)
        return fail(STATUS_SHAPE, "lora: loftq_type %s needs rows of whole blocks of %lld values, this weight's "
                    "have %lld", o->type, (long long)dtype_block(q->type), (long long)s->in);
    return STATUS_OK;
}

/* ---- in turns ----------------------------------------------------------------------------------------------- */

typedef struct turn {
    int64_t m, n, k;
    float  *rest, *expanded, *a, *b;   /* [m, n] each; [rank, n], [m, rank] */
    double *lost, *left, *value, *right; /* [m, n], [m, k], [k], [k, n] */
} turn;

static status open_turn(arena *work, const site *s, int64_t rank, turn *x)
{
    *x = (turn){.m = s->out, .n = s->in, .k = s->in < s->out ? s->in : s->out};
    TRY_TAKE(x->rest, work, x->m * x->n);
    TRY_TAKE(x->expanded, work, x->m * x->n);
    TRY_TAKE(x->a, work, rank * x->n);
    TRY_TAKE(x->b, work, x->m * rank);
    TRY_TAKE(x->lost, work, x->m * x->n);
    TRY_TAKE(x->left, work, x->m * x->k);
    TRY_TAKE(x->value, work, x->k);
    TRY_TAKE(x->right, work, x->k * x->n);
    return STATUS_OK;
}

/* q = the rest, quantised */
static void quantise(const loftq_options *o, const turn *x, const tensor *q)
{
    if (is(o, "nf4"))
        round_nf4(x->rest, x->m * x->n, q->v);
    else if (is(o, "int8"))
        round_int8(x->rest, x->m, x->n, q->v);
    else
        quant_write(q->type, x->rest, x->m * x->n, q->v);
}

static void expand(const tensor *w, float *out)
{
    quant_expand(w->type, w->v, shape_count(w->s), out);
}

/* The factors of w - q. */
static status decompose(turn *x, const tensor *w, const tensor *q, int64_t rank, double scale)
{
    expand(w, x->rest);
    expand(q, x->expanded);
    for (int64_t i = 0; i < x->m * x->n; i++)
        x->lost[i] = (double)x->rest[i] - (double)x->expanded[i];
    TRY(linalg_svd(x->lost, x->m, x->n, x->left, x->value, x->right));
    for (int64_t r = 0; r < rank; r++) {
        const double root = sqrt(x->value[r] / scale);
        for (int64_t c = 0; c < x->n; c++)
            x->a[r * x->n + c] = (float)(x->right[r * x->n + c] * root);
        for (int64_t i = 0; i < x->m; i++)
            x->b[i * rank + r] = (float)(x->left[i * x->k + r] * root);
    }
    return STATUS_OK;
}

/* rest = w - s b a */
static void take_out(turn *x, const tensor *w, int64_t rank, double scale)
{
    expand(w, x->rest);
    matmul_run(&(matmul){.m = x->m, .n = x->n, .k = rank, .a = x->b, .type_a = TYPE_F32, .lda = rank, .b = x->a,
                         .type_b = TYPE_F32, .ldb = x->n, .c = x->rest, .type_c = TYPE_F32, .ldc = x->n,
                         .alpha = -scale, .accumulate = true});
}

status loftq_make(arena *work, const loftq_options *o, const site *s, int64_t rank, double scale,
                  const tensor *q, float *a, float *b)
{
    const tensor *w = &s->weight->value;
    turn          x;

    TRY(open_turn(work, s, rank, &x));
    for (int64_t i = 0; i < o->turns; i++) {
        if (i == 0)
            expand(w, x.rest);
        else
            take_out(&x, w, rank, scale);
        quantise(o, &x, q);
        if (i + 1 < o->turns || a)
            TRY(decompose(&x, w, q, rank, scale));
    }
    if (a) {
        memcpy(a, x.a, (size_t)(rank * x.n) * sizeof *a);
        memcpy(b, x.b, (size_t)(x.m * rank) * sizeof *b);
    }
    return STATUS_OK;
}

/* ---- files ---------------------------------------------------------------------------------------------------- */

void loftq_write(const loftq_options *o, cJSON *config)
{
    cJSON *own = cJSON_AddObjectToObject(config, "loftq_config");

    cJSON_AddNumberToObject(own, "loftq_bits", is(o, "nf4") ? 4 : is(o, "int8") ? 8 : 0);
    cJSON_AddNumberToObject(own, "loftq_iter", (double)o->turns);
    if (!lies_expanded(o))
        cJSON_AddStringToObject(own, "cambium_type", o->type);
}

status loftq_read(const cJSON *config, arena *a, loftq_options *o, const char *what)
{
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(config, "loftq_config");
    const char  *type = NULL;
    int64_t      bits = 4;

    *o = (loftq_options){.turns = 1};
    TRY(json_int(own, "loftq_bits", false, 0, 64, &bits, what));
    TRY(json_int(own, "loftq_iter", false, 1, 1000, &o->turns, what));
    TRY(json_string(own, "cambium_type", false, &type, what));
    if (!type && bits != 4 && bits != 8)
        return fail(STATUS_UNSUPPORTED, "%s: loftq_bits is %lld, must be 4 or 8", what, (long long)bits);
    if (!type)
        type = bits == 4 ? "nf4" : "int8";
    o->type = arena_string(a, type, strlen(type));
    return o->type ? STATUS_OK : STATUS_MEMORY;
}
