/* poly: skills of a trained module as the start of another */
#include "peft/poly.h"

#include "core/file.h"
#include "core/json.h"
#include "core/quant.h"
#include "core/text.h"

#include <string.h>

struct poly_inventory {
    const peft         *p;
    const poly_options *o;
    const char         *folder;
    int                 n_sites;
    bool                checked; /* its file as a whole */
};

/* One tensor of it. */
typedef struct piece {
    poly_inventory *x;
    const char     *name; /* in the file */
    bool            second, mean;
    int64_t         in, out; /* of the site */
} piece;

/* ---- its configuration --------------------------------------------------------------------------- */

static status check_number(const poly_inventory *x, const char *name, double is, double has)
{
    if (is == has)
        return STATUS_OK;
    return fail(STATUS_USAGE, "poly: %s is %g, must be %g as in the inventory %s", name, is, has, x->folder);
}

static status check_options(const poly_inventory *x, const poly_options *has)
{
    TRY(check_number(x, "rank", (double)x->o->rank, (double)has->rank));
    TRY(check_number(x, "skills", (double)x->o->skills, (double)has->skills));
    TRY(check_number(x, "splits", (double)x->o->splits, (double)has->splits));
    return check_number(x, "alpha", x->o->alpha, has->alpha);
}

static status check_config(const poly_inventory *x, const cJSON *config, const char *path)
{
    const char  *type = "";
    poly_options has;

    TRY(json_string(config, "peft_type", true, &type, path));
    if (strcmp(type, "POLY") != 0)
        return fail(STATUS_USAGE, "poly: the inventory %s is a %s adapter, must be a POLY one", x->folder, type);
    TRY(peft_poly.read_config(config, x->p->a, &has, path));
    return check_options(x, &has);
}

status poly_inventory_open(const peft_attach *at, const poly_options *o, int n_sites, poly_inventory **out)
{
    char           *path = path_join(at->p->a, o->inventory, "adapter_config.json");
    poly_inventory *x;
    cJSON          *config;

    TRY_TAKE(x, at->p->a, 1);
    *x = (poly_inventory){.p = at->p, .o = o, .folder = o->inventory, .n_sites = n_sites};
    if (!path)
        return STATUS_MEMORY;
    TRY(json_read(path, &config));
    const status s = check_config(x, config, path);
    cJSON_Delete(config);
    *out = x;
    return s;
}

/* ---- its tensors --------------------------------------------------------------------------------- */

/* Nothing is left behind in silence but old tasks, and nothing is of another trunk. */
static status check_file(const poly_inventory *x, const safetensors *f, const char *path)
{
    const char *made_on = safetensors_metadata(f, "cambium.base_sha256");
    char        own[65];
    int         sites = 0;

    for (int i = 0; i < f->n; i++) {
        const char *name = f->e[i].name;
        sites += text_ends(name, ".poly_lora_A");
        if (!text_ends(name, ".poly_lora_A") && !text_ends(name, ".poly_lora_B") &&
            !text_ends(name, ".poly_router.module_logits"))
            return fail(STATUS_USAGE, "poly: the inventory %s also holds %s, which would be lost; only skills can be "
                        "taken", x->folder, name);
    }
    if (sites != x->n_sites)
        return fail(STATUS_USAGE, "poly: the inventory %s has skills at %d sites, `at` selects %d; must be the same",
                    x->folder, sites, x->n_sites);
    if (!made_on)
        return STATUS_OK;
    TRY(weights_fingerprint(x->p->m->source, own));
    if (strcmp(own, made_on) != 0)
        return fail(STATUS_USAGE,
                    "%s: was trained on another base model (SHA-256 %.12s..., this one is %.12s...); use that base",
                    path, made_on, own);
    return STATUS_OK;
}

/* The sizes of a tensor in the file: A [S, K, in / S, r], B [S, K, r, out / S]. */
static shape file_shape(const piece *t)
{
    const poly_options *o = t->x->o;
    const int64_t       S = o->splits;
    const int64_t       a[] = {S, o->skills, t->in / S, o->rank}, b[] = {S, o->skills, o->rank, t->out / S};

    return shape_of(4, t->second ? b : a);
}

/* The mean over the skills of every head: a [r, in], whose columns are head after head, or b [out, r], whose rows
 * are. */
static void mean_of(const piece *t, const float *v, float *out)
{
    const poly_options *o = t->x->o;
    const int64_t       S = o->splits, K = o->skills, R = o->rank, width = (t->second ? t->out : t->in) / S;

    for (int64_t h = 0; h < S; h++)
        for (int64_t i = 0; i < width; i++)
            for (int64_t r = 0; r < R; r++) {
                double sum = 0;
                for (int64_t k = 0; k < K; k++) {
                    const float *skill = v + (h * K + k) * width * R;
                    sum += (double)(t->second ? skill[r * width + i] : skill[i * R + r]);
                }
                const int64_t n = h * width + i;
                out[t->second ? n * R + r : r * t->in + n] = (float)(sum / (double)K);
            }
}

static status read_piece(arena *work, const piece *t, const safetensors *f, const char *path, const tensor *value)
{
    const safetensors_entry *e = safetensors_find(f, t->name);
    const shape              want = file_shape(t);
    float                   *v;

    if (!t->x->checked)
        TRY(check_file(t->x, f, path));
    t->x->checked = true;
    if (!e)
        return fail(STATUS_USAGE, "poly: the inventory %s has no tensor %s", t->x->folder, t->name);
    if (e->opaque || !quant_is_real(e->t.type) || !shape_equal(e->t.s, want))
        return fail(STATUS_FORMAT, "%s: tensor %s is %s %s, must be real numbers %s", path, t->name, e->type_name,
                    shape_text(e->t.s), shape_text(want));
    if (!t->mean) {
        quant_expand(e->t.type, e->v, shape_count(want), value->v);
        return STATUS_OK;
    }
    const size_t mark = arena_mark(work);
    TRY_TAKE(v, work, shape_count(want));
    quant_expand(e->t.type, e->v, shape_count(want), v);
    mean_of(t, v, value->v);
    arena_rewind(work, mark);
    return STATUS_OK;
}

static status make_value(arena *work, const void *context, const tensor *value)
{
    const piece *t = context;
    char        *path = path_join(work, t->x->folder, "adapter_model.safetensors");
    safetensors  f;

    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(work, path, &f));
    const status s = read_piece(work, t, &f, path, value);
    safetensors_close(&f);
    return s;
}

static status start(const peft_attach *at, poly_inventory *x, const char *suffix, bool mean, tuned_start *out)
{
    piece *t;

    TRY_TAKE(t, at->p->a, 1);
    *t = (piece){.x = x, .second = text_ends(suffix, "B"), .mean = mean, .in = at->s->in, .out = at->s->out};
    t->name = arena_printf(at->p->a, "base_model.model.%s.%s", at->s->checkpoint, suffix);
    *out = (tuned_start){.how = INIT_MADE, .context = t, .make = make_value};
    return t->name ? STATUS_OK : STATUS_MEMORY;
}

status poly_inventory_start(const peft_attach *at, poly_inventory *x, const char *suffix, tuned_start *out)
{
    return start(at, x, suffix, false, out);
}

status poly_inventory_mean(const peft_attach *at, poly_inventory *x, const char *suffix, tuned_start *out)
{
    return start(at, x, suffix, true, out);
}
