/* lokr: W' = W + alpha / r kron(w1, w2), w1 [o1, i1], w2 [o2, i2] with out = o1 o2 and in = i1 i2 (Edalati et
 * al. 2022; Yeh et al. 2024). Each is whole, or a product w_a w_b of rank r where that is smaller, w1 only
 * with decompose_both. w1, or w1_a, starts at zero; all others uniform like a linear layer's. */
#include "peft/fields.h"
#include "peft/patterns.h"
#include "peft/peft.h"

#include "core/json.h"

#include <stdio.h>

typedef struct lokr_options {
    int64_t rank, factor;
    double  alpha;
    bool    decompose_both;
    key_map rank_pattern, alpha_pattern;
} lokr_options;

#define AT(member) offsetof(lokr_options, member)
static const key lokr_keys[] = {
    {.name = "rank", .kind = KEY_INT, .offset = AT(rank), .preset = "8", .lo = 1, .hi = 65536,
     .help = "Rank r of a factor that is a product; one of at most 2 r rows and columns is whole."},
    {.name = "alpha", .kind = KEY_REAL, .offset = AT(alpha), .preset = "8", .lo = 1e-6, .hi = 1e6,
     .help = "The change of the weight is scaled by alpha / rank."},
    {.name = "decompose_both", .kind = KEY_BOOL, .offset = AT(decompose_both), .preset = "no",
     .help = "Let the left factor be a product too."},
    {.name = "factor", .kind = KEY_INT, .offset = AT(factor), .preset = "-1", .lo = -1, .hi = 65536,
     .help = "Rows and columns of the left factor where they divide the weight's, else the next below; -1: "
             "about the "
             "square root."},
    {.name = "rank_pattern", .kind = KEY_MAP, .offset = AT(rank_pattern), .lo = 1, .hi = 65536, .whole = true,
     .help = "Other ranks for sites whose checkpoint name ends with the pattern."},
    {.name = "alpha_pattern", .kind = KEY_MAP, .offset = AT(alpha_pattern), .lo = 1e-6, .hi = 1e6,
     .help = "Other alphas for sites whose checkpoint name ends with the pattern."},
};
static const key_table lokr_table = KEY_TABLE("lokr", lokr_keys, lokr_options);

/* One of the two: whole, or a product. */
typedef struct lokr_factor {
    int64_t rows, columns;
    bool    whole;
    tuned  *w, *a, *b;
} lokr_factor;

typedef struct lokr_state {
    peft       *p;
    lokr_factor left, right;
    double      scale;
} lokr_state;

/* PEFT's rule: m n = size; m is `factor` if that divides, else the largest divisor up to it that keeps m + n
 * from growing, or with -1 of all. */
static void factorise(int64_t size, int64_t factor, int64_t *m, int64_t *n)
{
    if (factor > 0 && size % factor == 0) {
        *m = factor;
        *n = size / factor;
        return;
    }
    const int64_t most = factor == -1 ? size : factor, length = 1 + size;
    *m = 1;
    *n = size;
    while (*m < *n) {
        int64_t next = *m + 1;
        while (size % next != 0)
            next++;
        if (next + size / next > length || next > most)
            break;
        *m = next;
        *n = size / next;
    }
    if (*m > *n) {
        const int64_t larger = *m;
        *m = *n;
        *n = larger;
    }
}

static bool is_whole(const lokr_factor *f, int64_t rank)
{
    return 2 * rank >= (f->rows > f->columns ? f->rows : f->columns);
}

static status plan_site(const lokr_options *o, const site *s, lokr_state *l, int64_t *rank)
{
    double r = (double)o->rank, alpha = o->alpha;

    TRY(pattern_value(&o->rank_pattern, s->checkpoint, &r));
    TRY(pattern_value(&o->alpha_pattern, s->checkpoint, &alpha));
    if (o->factor == 0)
        return fail(STATUS_USAGE, "lokr: factor is 0, must be -1 or above 0");
    *rank = (int64_t)r;
    l->scale = alpha / r;
    factorise(s->out, o->factor, &l->left.rows, &l->right.rows);
    factorise(s->in, o->factor, &l->left.columns, &l->right.columns);
    l->left.whole = !o->decompose_both || is_whole(&l->left, *rank);
    l->right.whole = is_whole(&l->right, *rank);
    return STATUS_OK;
}

static status add_factor(const peft_attach *at, const char *name, int64_t rank, bool zero, lokr_factor *f)
{
    const tuned_start start = zero ? START_ZERO : start_linear(f->whole ? f->columns : rank);
    char              a[32], b[32];

    if (f->whole)
        return peft_tuned(at, name, shape_2(f->rows, f->columns), start, &f->w);
    snprintf(a, sizeof a, "%s_a", name);
    snprintf(b, sizeof b, "%s_b", name);
    TRY(peft_tuned(at, a, shape_2(f->rows, rank), start, &f->a));
    return peft_tuned(at, b, shape_2(rank, f->columns), start_linear(f->columns), &f->b);
}

static status lokr_attach(const peft_attach *at, const void *options, void **state)
{
    lokr_state *l;
    int64_t     rank;

    TRY_TAKE(l, at->p->a, 1);
    *l = (lokr_state){.p = at->p};
    TRY(plan_site(options, at->s, l, &rank));
    TRY(add_factor(at, "lokr_w1", rank, true, &l->left));
    TRY(add_factor(at, "lokr_w2", rank, false, &l->right));
    *state = l;
    return STATUS_OK;
}

static var *factor_value(tape *t, const peft *p, const lokr_factor *f)
{
    if (f->whole)
        return peft_value(t, p, f->w);
    return ag_linear(t, peft_value(t, p, f->a), ag_transpose(t, peft_value(t, p, f->b)), NULL);
}

static var *lokr_weight(tape *t, const site *s, void *state, var *w)
{
    const lokr_state *l = state;
    var              *left = factor_value(t, l->p, &l->left), *right = factor_value(t, l->p, &l->right);

    (void)s;
    return ag_add(t, w, ag_scale(t, ag_kron(t, left, right), l->scale));
}

static int64_t factor_count(const lokr_factor *f, int64_t rank)
{
    return f->whole ? f->rows * f->columns : rank * (f->rows + f->columns);
}

static int64_t lokr_count(const site *s, const void *options)
{
    lokr_state l;
    int64_t    rank;

    if (plan_site(options, s, &l, &rank) != STATUS_OK)
        return -1;
    return factor_count(&l.left, rank) + factor_count(&l.right, rank);
}

static status lokr_write_config(const void *options, cJSON *config)
{
    const lokr_options *o = options;

    cJSON_AddStringToObject(config, "peft_type", "LOKR");
    cJSON_AddNumberToObject(config, "r", (double)o->rank);
    cJSON_AddNumberToObject(config, "alpha", o->alpha);
    cJSON_AddBoolToObject(config, "decompose_both", o->decompose_both);
    cJSON_AddNumberToObject(config, "decompose_factor", (double)o->factor);
    pattern_write(config, "rank_pattern", &o->rank_pattern);
    pattern_write(config, "alpha_pattern", &o->alpha_pattern);
    return STATUS_OK;
}

static status lokr_read_config(const cJSON *config, arena *a, void *options, const char *what)
{
    static const char *const off[] = {"rank_dropout", "module_dropout", NULL};
    lokr_options            *o = options;

    *o = (lokr_options){.rank = 8, .alpha = 8, .factor = -1};
    TRY(fields_refuse(config, off, what));
    TRY(json_int(config, "r", false, 1, 65536, &o->rank, what));
    TRY(json_double(config, "alpha", false, &o->alpha, what));
    TRY(json_bool(config, "decompose_both", false, &o->decompose_both, what));
    TRY(json_int(config, "decompose_factor", false, -1, 1 << 30, &o->factor, what));
    TRY(pattern_read(config, "rank_pattern", a, &o->rank_pattern, what));
    return pattern_read(config, "alpha_pattern", a, &o->alpha_pattern, what);
}

const peft_method peft_lokr = {
    .name = "lokr",
    .sites = SITE_LINEAR,
    .traits = PEFT_IDENTITY_AT_START | PEFT_MERGES | PEFT_FILE,
    .keys = &lokr_table,
    .help = "The change of a weight is the Kronecker product of two small matrices (Edalati et al. 2022).",
    .attach = lokr_attach,
    .weight = lokr_weight,
    .count = lokr_count,
    .write_config = lokr_write_config,
    .read_config = lokr_read_config,
};
