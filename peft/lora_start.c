/* lora_start: parts of the weight that a LoRA begins with
 *
 * pissa: the r largest singular values S and vectors of W (Meng et al. 2024): A0 = sqrt(S / s) V^T,
 * B0 = U sqrt(S / s).
 * corda: of a decomposition that the inputs of some samples turn (peft/corda.h) the r first or last such.
 * olora: W = Q R (Büyükakyüz 2024): A0 the first r rows of R, B0 the first r columns of Q, not divided by s. */
#include "peft/lora_start.h"

#include "core/json.h"
#include "core/linalg.h"
#include "core/log.h"
#include "core/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What the factors are made from. */
typedef struct recipe_of_factors {
    const peft       *p;
    int               module;
    const site       *s;
    const lora_start *o;
    int64_t           rank;
    double            scale;
    lora_factors      f;
} recipe_of_factors;

static bool is(const lora_start *o, const char *init)
{
    return strcmp(o->init, init) == 0;
}

bool lora_start_takes(const lora_start *o)
{
    return is(o, "pissa") || is(o, "olora") || is(o, "corda");
}

bool lora_start_sees(const lora_start *o)
{
    return is(o, "corda") && !o->known;
}

bool lora_start_changes(const lora_start *o)
{
    return lora_start_takes(o) || is(o, "loftq");
}

/* ---- the factors ---------------------------------------------------------------------------------------- */

/* A matrix and its k singular vectors, or Q and R. */
typedef struct parts {
    int64_t m, n, k;
    double *w, *left, *values, *right; /* [m, n], [m, k], [k], [k, n] */
} parts;

static status open_parts(arena *work, const site *s, int64_t k, parts *x)
{
    const tensor *w = &s->weight->value;
    const int64_t bytes = dtype_row_bytes(w->type, s->in);
    float        *row;

    *x = (parts){.m = s->out, .n = s->in, .k = k};
    TRY_TAKE(x->w, work, x->m * x->n);
    TRY_TAKE(x->left, work, x->m * k);
    TRY_TAKE(x->values, work, k);
    TRY_TAKE(x->right, work, k * x->n);
    TRY_TAKE(row, work, x->n);
    for (int64_t r = 0; r < x->m; r++) {
        quant_expand(w->type, (const uint8_t *)w->v + r * bytes, x->n, row);
        for (int64_t c = 0; c < x->n; c++)
            x->w[r * x->n + c] = (double)row[c];
    }
    return STATUS_OK;
}

/* b [out, r] column i and a [r, in] row i: column and row from + i of the parts, each times a root of its value. */
static void write_factors(const recipe_of_factors *r, const parts *x, int64_t from, bool roots)
{
    const lora_factors *f = &r->f;
    float *const        a = f->a->value.v, *const b = f->b->value.v, *const out_a = f->out_a->value.v;
    float *const        out_b = f->out_b->value.v;

    for (int64_t i = 0; i < r->rank; i++) {
        const double root = roots ? sqrt(x->values[from + i] / r->scale) : 1;
        for (int64_t c = 0; c < x->n; c++)
            out_a[i * x->n + c] = a[i * x->n + c] = (float)(x->right[(from + i) * x->n + c] * root);
        for (int64_t o = 0; o < x->m; o++) {
            const float v = (float)(x->left[o * x->k + from + i] * root);
            b[o * r->rank + i] = v;
            out_b[o * r->rank + i] = -v;
        }
    }
}

static status take_singular(arena *work, const recipe_of_factors *r)
{
    const site   *s = r->s;
    const int64_t passes = r->o->pissa_niter, least = s->in < s->out ? s->in : s->out;
    char          purpose[600];
    parts         x;

    TRY(open_parts(work, s, passes > 0 ? r->rank : least, &x));
    snprintf(purpose, sizeof purpose, "pissa:%s:%s", r->p->modules[r->module].name, s->name);
    TRY(passes > 0 ? linalg_svd_some(work, x.w, x.m, x.n, x.k, passes, rng_key_for(r->p->seed, purpose), x.left,
                                     x.values, x.right)
                   : linalg_svd(x.w, x.m, x.n, x.left, x.values, x.right));
    write_factors(r, &x, 0, true);
    return STATUS_OK;
}

static status take_orthogonal(arena *work, const recipe_of_factors *r)
{
    const site *s = r->s;
    parts       x;

    TRY(open_parts(work, s, s->in < s->out ? s->in : s->out, &x));
    TRY(linalg_qr(work, x.w, x.m, x.n, x.left, x.right));
    write_factors(r, &x, 0, false);
    return STATUS_OK;
}

static status take_turned(arena *work, const recipe_of_factors *r)
{
    const site       *s = r->s;
    const covariance *seen = *r->f.seen;
    parts             x;

    if (!seen)
        return fail(STATUS_UNSUPPORTED, "init_lora_weights is 'corda', which changes the trunk by what samples "
                    "showed; a folder that does not hold that must be converted to an ordinary LoRA where it was "
                    "made (path_initial_model_for_weight_conversion)");
    TRY(open_parts(work, s, s->in < s->out ? s->in : s->out, &x));
    TRY(corda_decompose(work, x.w, x.m, x.n, seen, x.left, x.values, x.right));
    write_factors(r, &x, strcmp(r->o->corda_method, "kpm") == 0 ? x.k - r->rank : 0, true);
    return STATUS_OK;
}

static status make_instead(arena *work, const recipe_of_factors *r)
{
    const lora_factors *f = &r->f;
    const bool          known = r->o->known;

    return loftq_make(work, &r->o->loftq, r->s, r->rank, r->scale, &f->instead->value, known ? NULL : f->a->value.v,
                      known ? NULL : f->b->value.v);
}

/* The start of the last tensor of a site makes all. */
static status make_factors(arena *structure, const void *context, const tensor *value)
{
    const recipe_of_factors *r = context;
    const module            *m = &r->p->modules[r->module];
    arena                    work;

    (void)structure, (void)value;
    if (r->s == m->at[0])
        log_info("module %s: %s %s %d weights", m->name, r->o->init, r->f.instead ? "quantises" : "decomposes",
                 m->n_sites);
    TRY(arena_open(&work, "start", (size_t)1 << 40));
    const status done = r->f.instead          ? make_instead(&work, r)
                        : is(r->o, "pissa")   ? take_singular(&work, r)
                        : is(r->o, "corda")   ? take_turned(&work, r)
                                              : take_orthogonal(&work, r);
    arena_close(&work);
    return fail_in(done, "%s in %s", r->o->init, r->s->name);
}

/* ---- their tensors ---------------------------------------------------------------------------------------- */

static status check_changes(const peft_attach *at, const lora_start *o, int64_t rank)
{
    const site   *s = at->s;
    const int64_t most = s->in < s->out ? s->in : s->out;

    if (s->kind == SITE_EMBEDDING)
        return fail(STATUS_UNSUPPORTED, "lora: init_lora_weights %s needs a linear layer, %s is an embedding",
                    o->init, s->name);
    if (rank > most)
        return fail(STATUS_SHAPE, "lora: %s takes 1..%lld directions out of this weight, rank is %lld", o->init,
                    (long long)most, (long long)rank);
    const bool decomposes = !o->known || (is(o, "loftq") && o->loftq.turns > 1);
    if (decomposes && !linalg_available())
        return fail(STATUS_UNSUPPORTED, "lora: init_lora_weights %s needs LAPACK, which this build does not have; "
                    "install liblapacke-dev (Debian's name) and build again", o->init);
    return STATUS_OK;
}

static status add_taken(const peft_attach *at, const lora_start *o, int64_t rank, double scale, lora_factors *f)
{
    const site        *s = at->s;
    recipe_of_factors *r;

    TRY(check_changes(at, o, rank));
    TRY_TAKE(r, at->p->a, 1);
    tuned_start start = {.how = INIT_VALUE, .unsaved = true};
    TRY(peft_tuned(at, "lora_A.weight", shape_2(rank, s->in), START_ZERO, &f->a));
    TRY(peft_tuned(at, "lora_B.weight", shape_2(s->out, rank), START_ZERO, &f->b));
    TRY(peft_fixed(at, "lora_A.taken", shape_2(rank, s->in), start, &f->out_a));
    if (!o->known) {
        start.how = INIT_MADE;
        start.context = r;
        start.make = make_factors;
    }
    TRY(peft_fixed(at, "lora_B.taken", shape_2(s->out, rank), start, &f->out_b));
    if (lora_start_sees(o)) {
        TRY_TAKE(f->seen, at->p->a, 1);
        *f->seen = NULL;
    }
    f->a->rest = f->out_a;
    f->b->rest = f->out_b;
    f->b->beside = true;
    *r = (recipe_of_factors){.p = at->p, .module = at->module, .s = s, .o = o, .rank = rank, .scale = scale,
                             .f = *f};
    return STATUS_OK;
}

/* Of two uses of one weight, a tied head's, only one would be meant. */
static status add_instead(const peft_attach *at, const lora_start *o, int64_t rank, double scale, lora_factors *f)
{
    recipe_of_factors *r;
    tensor             q;

    TRY(check_changes(at, o, rank));
    if (at->s->kind != SITE_LINEAR)
        return fail(STATUS_UNSUPPORTED, "lora: init_lora_weights loftq needs a linear layer, %s is the head",
                    at->s->name);
    TRY(loftq_shape(&o->loftq, at->s, &q));
    TRY_TAKE(r, at->p->a, 1);
    TRY(peft_tuned(at, "lora_A.weight", shape_2(rank, at->s->in), START_ZERO, &f->a));
    TRY(peft_tuned(at, "lora_B.weight", shape_2(at->s->out, rank), START_ZERO, &f->b));
    TRY(peft_instead(at, at->s->weight, q.type, (tuned_start){.how = INIT_MADE, .context = r, .make = make_factors},
                     &f->instead));
    *r = (recipe_of_factors){.p = at->p, .module = at->module, .s = at->s, .o = o, .rank = rank, .scale = scale,
                             .f = *f};
    return STATUS_OK;
}

status lora_start_add(const peft_attach *at, const lora_start *o, int64_t rank, double scale, lora_factors *f)
{
    const tuned_start normal = {.how = INIT_NORMAL, .size = 1};
    const tuned_start narrow = {.how = INIT_NORMAL, .size = 1 / (double)rank};

    *f = (lora_factors){0};
    if (lora_start_takes(o))
        return add_taken(at, o, rank, scale, f);
    if (is(o, "loftq"))
        return add_instead(at, o, rank, scale, f);
    if (at->s->kind == SITE_EMBEDDING) {
        TRY(peft_tuned(at, "lora_embedding_A", shape_2(rank, at->s->in), START_ZERO, &f->a));
        return peft_tuned(at, "lora_embedding_B", shape_2(at->s->out, rank), normal, &f->b);
    }
    TRY(peft_tuned(at, "lora_A.weight", shape_2(rank, at->s->in),
                   is(o, "gaussian") ? narrow : start_linear(at->s->in), &f->a));
    return peft_tuned(at, "lora_B.weight", shape_2(at->s->out, rank), START_ZERO, &f->b);
}

/* ---- what it costs ----------------------------------------------------------------------------------------- */

/* FLOPs of thin decompositions of a matrix with sides more and k (Golub and Van Loan 2013, sections 5.2, 8.6). */
static double svd_flops(double more, double k)
{
    return 6 * more * k * k + 20 * k * k * k;
}

static double qr_flops(double more, double k)
{
    return 4 * k * k * (more - k / 3);
}

/* Values in f64: w and its parts (struct parts), and LAPACK's own. */
static double svd_values(double m, double n, double k)
{
    return m * n + m * k + k + k * n + 5 * k * k;
}

static void cost_of_loftq(const lora_start *o, double m, double n, double k, double rank, double *values,
                          double *flops)
{
    const double times = (double)o->loftq.turns - (o->known ? 1 : 0);

    *values = m * n + (m + n) * rank / 2 + svd_values(m, n, k); /* f32: two of the first, one of the second */
    *flops = times * svd_flops(m > n ? m : n, k);
}

static void cost_of_part(const lora_start *o, double m, double n, double k, double rank, double *values,
                         double *flops)
{
    const double more = m > n ? m : n, turns = (double)o->pissa_niter;

    *values = svd_values(m, n, k);
    *flops = svd_flops(more, k);
    if (is(o, "olora")) {
        *values = 2 * m * n + m * k + k * n;
        *flops = qr_flops(more, k);
    } else if (is(o, "corda")) {
        *values += n * n + m * n + k * n;
        *flops += 2 * n * n * (m + n + k);
    } else if (turns > 0) {
        *values = m * n + m * rank + 2.5 * rank * n + 3 * more * rank;
        *flops = (2 * turns + 2) * 2 * m * n * rank + (2 * turns + 1) * qr_flops(more, rank);
    }
}

void lora_start_cost(const lora_start *o, const site *s, int64_t rank, peft_start_cost *c)
{
    const double m = (double)s->out, n = (double)s->in, k = m < n ? m : n;
    double       values, flops;

    if (!lora_start_changes(o) || (o->known && lora_start_takes(o)))
        return;
    if (is(o, "loftq"))
        cost_of_loftq(o, m, n, k, (double)rank, &values, &flops);
    else
        cost_of_part(o, m, n, k, (double)rank, &values, &flops);
    const size_t bytes = (size_t)(values * sizeof(double));
    c->sites++;
    c->each = bytes > c->each ? bytes : c->each;
    c->all += is(o, "corda") ? (size_t)(n * n) * sizeof(float) : 0;
    c->flops += flops;
}

/* ---- what corda sees --------------------------------------------------------------------------------------- */

status lora_start_see(const site *s, const lora_factors *f, const peft_inputs *in, const lora_factors *same)
{
    if (same) {
        *f->seen = *same->seen;
        return STATUS_OK;
    }
    if (!*f->seen)
        TRY(covariance_open(in->a, s->in, in->most_rows, f->seen));
    return covariance_add(*f->seen, in->x, in->rows);
}

/* ---- files --------------------------------------------------------------------------------------------------- */

static void multiply(cJSON *number, double factor)
{
    cJSON_SetNumberValue(number, number->valuedouble * factor);
}

static void multiply_all(cJSON *object, double factor)
{
    for (cJSON *item = object ? object->child : NULL; item; item = item->next)
        multiply(item, factor);
}

void lora_start_double(cJSON *config, bool rslora)
{
    const double alpha = rslora ? sqrt(2) : 2; /* the scale stays */

    multiply(cJSON_GetObjectItemCaseSensitive(config, "r"), 2);
    multiply(cJSON_GetObjectItemCaseSensitive(config, "lora_alpha"), alpha);
    multiply_all(cJSON_GetObjectItemCaseSensitive(config, "rank_pattern"), 2);
    multiply_all(cJSON_GetObjectItemCaseSensitive(config, "alpha_pattern"), alpha);
}

void lora_start_write(cJSON *config, const lora_start *o)
{
    if (!is(o, "loftq")) {
        cJSON_AddBoolToObject(config, "init_lora_weights", true);
        return;
    }
    cJSON_AddStringToObject(config, "init_lora_weights", o->init);
    loftq_write(&o->loftq, config);
}

status lora_start_read(const cJSON *config, arena *a, lora_start *o, const char *what)
{
    static const char *const changing[] = {"pissa", "mica", "lora_ga"};
    const cJSON             *init = cJSON_GetObjectItemCaseSensitive(config, "init_lora_weights");

    *o = (lora_start){.init = "default"};
    if (!cJSON_IsString(init))
        return STATUS_OK;
    if (strcmp(init->valuestring, "pissa") == 0)
        o->init = "pissa";
    else if (strcasecmp(init->valuestring, "olora") == 0)
        o->init = "olora";
    else if (strcmp(init->valuestring, "loftq") == 0) {
        *o = (lora_start){.init = "loftq", .known = true};
        return loftq_read(config, a, &o->loftq, what);
    }
    else if (strcasecmp(init->valuestring, "corda") == 0) {
        const cJSON *own = cJSON_GetObjectItemCaseSensitive(config, "corda_config");
        const char  *method = "ipm";
        TRY(json_string(own, "corda_method", false, &method, what));
        *o = (lora_start){.init = "corda", .corda_method = strcmp(method, "kpm") == 0 ? "kpm" : "ipm",
                          .corda_samples = 256};
    }
    for (size_t i = 0; i < COUNT_OF(changing) && !lora_start_takes(o); i++)
        if (strncasecmp(init->valuestring, changing[i], strlen(changing[i])) == 0)
            return fail(STATUS_UNSUPPORTED,
                        "%s: init_lora_weights is '%s', which changes the trunk by what the folder does not hold; "
                        "convert the adapter to an ordinary LoRA first (path_initial_model_for_weight_conversion)",
                        what, init->valuestring);
    return STATUS_OK;
}
