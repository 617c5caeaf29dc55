/* merge: the base with an adapter's parts added to its weights, as a Hugging Face folder */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/log.h"
#include "core/quant.h"
#include "data/tokenizer_convert.h"
#include "recipes/config_file.h"
#include "recipes/merge_config.h"
#include "recipes/merge_write.h"
#include "recipes/session.h"

#include "core/safetensors.h"

#include <math.h>
#include <string.h>

/* A site with what sits on it, once it was asked for. */
typedef struct merged_site {
    float *w, *b;
} merged_site;

typedef struct merge {
    session          *s;
    merged_site      *sites; /* [sites of the model] */
    dtype             type;
    bool              as_stored;
    double            loss; /* largest relative rounding of a merged value */
    safetensors_item *items;
    int               n;
} merge;

static bool plain(dtype t)
{
    return t == TYPE_F32 || t == TYPE_F16 || t == TYPE_BF16;
}

/* f32 values as `type`, noting the largest rounding against the largest value. */
static status store(merge *m, const float *v, int64_t n, dtype type, void **out)
{
    double largest = 0, error = 0;

    if (type == TYPE_F32) {
        *out = (void *)(uintptr_t)v;
        return STATUS_OK;
    }
    uint16_t *h;
    TRY_TAKE(h, &m->s->trunk, n);
    for (int64_t i = 0; i < n; i++) {
        h[i] = type == TYPE_F16 ? f32_to_f16(v[i]) : f32_to_bf16(v[i]);
        const double back = (double)(type == TYPE_F16 ? f16_to_f32(h[i]) : bf16_to_f32(h[i]));
        error = fmax(error, fabs(back - (double)v[i]));
        largest = fmax(largest, fabs((double)v[i]));
    }
    if (largest > 0)
        m->loss = fmax(m->loss, error / largest);
    *out = h;
    return STATUS_OK;
}

/* The site whose weight (*bias: whose bias) the tensor is, if modules change anything there. */
static const site *site_of(const merge *m, const char *name, bool *bias)
{
    *bias = false;
    for (int i = 0; i < m->s->m.n_sites; i++) {
        const site *s = &m->s->m.sites[i];
        *bias = s->bias && strcmp(s->bias->name, name) == 0;
        if (s->weight && s->kind != SITE_NORM && (*bias || strcmp(s->weight->name, name) == 0) &&
            peft_changes(m->s->p, s))
            return s;
    }
    return NULL;
}

/* Values of a site's weight [out, in] as the file has them. */
static status turn_back(merge *m, const model_weight *w, const float **v)
{
    const tensor here = {.s = w->value.s, .type = TYPE_F32, .v = (void *)(uintptr_t)*v};
    tensor       file;

    if (!w->turned)
        return STATUS_OK;
    TRY(weights_turned(&m->s->trunk, &here, &file));
    *v = file.v;
    return STATUS_OK;
}

static status expanded(merge *m, const tensor *w, float **out)
{
    const int64_t n = shape_count(w->s);

    TRY_TAKE(*out, &m->s->trunk, n);
    quant_expand(w->type, w->v, n, *out);
    return STATUS_OK;
}

static status merge_site(merge *m, const site *s, const merged_site **out)
{
    merged_site *x = &m->sites[s - m->s->m.sites];

    *out = x;
    if (x->w)
        return STATUS_OK;
    TRY(expanded(m, &s->weight->value, &x->w));
    if (s->bias)
        TRY(expanded(m, &s->bias->value, &x->b));
    return peft_merged(m->s->p, s, x->w, x->b);
}

/* The values of a tensor with everything that was trained in it; NULL: nothing was. */
static status tuned_values(merge *m, const weight *w, const float **out)
{
    bool               bias;
    const site        *s = site_of(m, w->name, &bias);
    const tensor      *instead = peft_stand_in(m->s->p, w->name);
    const merged_site *merged;

    *out = instead ? instead->v : NULL;
    if (!s)
        return STATUS_OK;
    TRY(merge_site(m, s, &merged));
    *out = bias ? merged->b : merged->w;
    if (!bias)
        TRY(turn_back(m, s->weight, out));
    return STATUS_OK;
}

static status add_weight(merge *m, const weight *w)
{
    const int64_t     n = shape_count(w->t.s);
    safetensors_item *item = &m->items[m->n];
    const dtype       type = m->as_stored ? (plain(w->t.type) ? w->t.type : TYPE_F32) : m->type;
    const float      *v;
    void             *stored;

    if (!quant_is_real(w->t.type) || strcmp(w->name, "rope_freqs.weight") == 0)
        return STATUS_OK;
    TRY(tuned_values(m, w, &v));
    *item = (safetensors_item){.name = w->name, .t = w->t};
    m->n++;
    if (!v && w->t.type == type && !w->turned)
        return STATUS_OK;
    if (!v) {
        tensor as_it_is;
        TRY(weights_expanded(&m->s->trunk, w, &as_it_is));
        v = as_it_is.v;
    }
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return fail(STATUS_NUMERIC, "value %lld is %g, must be finite; nothing was written", (long long)i,
                        (double)v[i]);
    TRY(store(m, v, n, type, &stored));
    item->t = (tensor){.s = weights_shape(w), .type = type, .v = stored};
    return STATUS_OK;
}

/* A head was made in the place of this weight. */
static bool is_replaced(const merge *m, const char *name)
{
    for (int i = 0; i < m->s->m.n_tensors; i++)
        if (m->s->m.tensors[i].fresh && strcmp(m->s->m.tensors[i].name, name) == 0)
            return true;
    return false;
}

/* What goes before the names of a bare trunk's files once it has a head; "" otherwise. */
static const char *missing_prefix(const merge *m)
{
    const char *prefix = m->s->m.prefix ? m->s->m.prefix : "";
    bool        headed = false;

    for (int i = 0; i < m->s->m.n_tensors; i++)
        headed |= m->s->m.tensors[i].fresh;
    for (int i = 0; i < m->s->w.n; i++)
        headed &= strncmp(m->s->w.w[i].name, prefix, strlen(prefix)) != 0;
    return headed ? prefix : "";
}

/* The weights that were made for a head. */
static status add_fresh(merge *m)
{
    for (int i = 0; i < m->s->m.n_tensors && !m->s->w.random; i++) {
        const model_weight *from = &m->s->m.tensors[i];
        const weight        w = {.name = from->name, .t = from->value};
        if (from->fresh)
            TRY_IN(add_weight(m, &w), "in %s", w.name);
    }
    return STATUS_OK;
}

/* The weights of the trunk's files, or those that a random trunk has made. */
static status add_weights(merge *m)
{
    const bool  made = m->s->w.random;
    const int   n = made ? m->s->m.n_tensors : m->s->w.n;
    const char *prefix = missing_prefix(m);

    TRY_TAKE(m->items, &m->s->setup, n + m->s->m.n_tensors);
    TRY_TAKE(m->sites, &m->s->setup, m->s->m.n_sites + 1);
    memset(m->sites, 0, (size_t)(m->s->m.n_sites + 1) * sizeof *m->sites);
    for (int i = 0; i < n; i++) {
        const model_weight *from = &m->s->m.tensors[i];
        weight              w = made ? (weight){.name = from->name, .t = from->value} : m->s->w.w[i];
        if (made && from->turned)
            TRY(weights_turned(&m->s->trunk, &from->value, &w.t));
        if (made && from->on_disk.n)
            w.t.s = from->on_disk;
        if (is_replaced(m, w.name))
            continue;
        const int before = m->n;
        TRY_IN(add_weight(m, &w), "in %s", w.name);
        if (m->n > before && !(m->items[before].name = arena_printf(&m->s->setup, "%s%s", prefix, w.name)))
            return STATUS_MEMORY;
    }
    return add_fresh(m);
}

/* The length of a path without slashes at its end. */
static size_t without_slashes(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    return n;
}

static status copy_file(arena *a, const char *from, const char *to, const char *name)
{
    char *source = path_join(a, from, name), *target = path_join(a, to, name);

    if (!source || !target)
        return STATUS_MEMORY;
    return path_exists(source) ? file_copy(source, target) : STATUS_OK;
}

static status write_folder(merge *m, const char *folder)
{
    static const char *const beside[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                         "sentencepiece.bpe.model", "vocab.txt",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json", "generation_config.json",
                                         "chat_template.jinja"};
    const safetensors_pair   pair = {.key = "format", .value = "pt"};
    char                    *path = path_join(&m->s->setup, folder, "model.safetensors");

    if (!path)
        return STATUS_MEMORY;
    TRY(folder_make(folder));
    TRY(safetensors_write(path, m->items, m->n, &pair, 1));
    TRY(config_write(&m->s->setup, &m->s->w, folder));
    const char *words = m->s->w.is_gguf ? m->s->words_in : m->s->path;
    if (words && !path_is_folder(words) && m->s->w.is_gguf)
        return tokenizer_from_gguf(&m->s->setup, weights_gguf(&m->s->w), folder);
    for (size_t i = 0; words && i < COUNT_OF(beside); i++)
        TRY(copy_file(&m->s->setup, words, folder, beside[i]));
    return STATUS_OK;
}

/* Whole or not at all: written beside, then renamed. */
static status publish_folder(merge *m, const char *folder)
{
    char   text[1024];
    char  *tmp = arena_printf(&m->s->setup, "%.*s.tmp", (int)without_slashes(folder), folder);

    if (!tmp)
        return STATUS_MEMORY;
    if (path_exists(tmp))
        return fail(STATUS_USAGE, "%s: is there, perhaps left by a merge that was stopped; remove it", tmp);
    status s = write_folder(m, tmp);

    if (s == STATUS_OK)
        s = folder_publish(tmp, folder);
    if (s == STATUS_OK)
        return s;
    snprintf(text, sizeof text, "%s", status_text());
    if (folder_remove_tree(tmp) != STATUS_OK)
        log_warn("%s", status_text());
    return fail(s, "%s", text);
}

/* A module computes something at the site; one that trains rows or the whole tensor does not. */
static bool is_hooked(const peft *p, const site *s)
{
    for (int i = 0; i < p->n_modules; i++)
        for (int k = 0; k < p->modules[i].n_sites; k++) {
            const site_hook *h = &p->modules[i].hooks[k];
            if (p->modules[i].at[k] == s && (h->input || h->weight || h->product || h->output))
                return true;
        }
    return false;
}

/* Embedding and head in one tensor: what is added to one alone has no place in the files. */
static status check_tied(const peft *p)
{
    const site *head = p->m->head.out;

    for (int i = 0; head && i < p->m->n_sites; i++) {
        const site *s = &p->m->sites[i], *other = s == head ? model_words(p->m) : head;
        if (s != other && s->weight && s->weight == other->weight && is_hooked(p, s))
            return fail(STATUS_UNSUPPORTED,
                        "the adapter sits on %s, whose weight is that of %s too: merged, it would change both",
                        s->checkpoint, other->checkpoint);
    }
    return STATUS_OK;
}

static status check_merges(const peft *p)
{
    for (int i = 0; i < p->n_modules; i++)
        if (!(peft_traits(p->modules[i].method, p->modules[i].options) & PEFT_MERGES))
            return fail(STATUS_UNSUPPORTED, "%s cannot be merged: no weights of the trunk compute what it does",
                        p->modules[i].method->name);
    if (peft_parts_tied(p))
        return fail(STATUS_UNSUPPORTED, "embedding and head are one tensor of the trunk's files, and the adapter has "
                    "trained one of them alone: merged, there would be two");
    return check_tied(p);
}

status merge_check(const char *folder, const char *type)
{
    dtype found;

    if (type && (!dtype_find(type, &found) || !plain(found)))
        return fail(STATUS_USAGE, "--type is %s, must be f32, f16 or bf16", type);
    if (path_exists(folder))
        return fail(STATUS_USAGE, "%s: exists already; choose another folder", folder);
    return STATUS_OK;
}

status merge_write(session *s, const char *adapter, const char *folder, const char *type, merge_result *r)
{
    merge m = {.s = s, .as_stored = type == NULL};

    if (type)
        CHECK(dtype_find(type, &m.type));
    TRY(add_weights(&m));
    if (s->m.wish.given)
        TRY(merge_config(s, adapter));
    TRY(publish_folder(&m, folder));
    *r = (merge_result){m.n, m.loss};
    return STATUS_OK;
}

void merge_print(const merge_result *r, const char *folder, const char *type, FILE *out)
{
    if (r->loss > 0)
        fprintf(out, "%s: %d tensors; rounding to %s changed values by up to %.2g of a tensor's largest\n",
                folder, r->tensors, type ? type : "the stored type", r->loss);
    else
        fprintf(out, "%s: %d tensors, nothing rounded\n", folder, r->tensors);
}

static status run(session *s, const char *base, const char *adapter, const char *folder,
                  const char *type, int64_t task, bool force, FILE *out)
{
    merge_result r;

    TRY(merge_check(folder, type));
    TRY(session_base_adapter(s, base, adapter));
    TRY(session_adapter(s, adapter, force));
    TRY(model_check_task(&s->m, task < 0 ? 0 : task));
    s->p->task = (int32_t)task;
    TRY(check_merges(s->p));
    TRY(merge_write(s, adapter, folder, type, &r));
    merge_print(&r, folder, type, out);
    return STATUS_OK;
}

status command_merge(const char *base, const char *adapter, const char *folder, const char *type, int64_t task,
                     bool force, FILE *out)
{
    session s;
    status  done = session_open(&s);

    if (done == STATUS_OK)
        done = run(&s, base, adapter, folder, type, task, force, out);
    session_close(&s);
    return done;
}
