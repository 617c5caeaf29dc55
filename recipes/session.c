/* session: opening trunk, tokenizer and modules */
#include "recipes/session.h"

#include "core/file.h"
#include "core/log.h"
#include "core/memory_use.h"
#include "data/fetch.h"
#include "layers/weights.h"
#include "peft/router.h"
#include "peft/whole.h"
#include "recipes/prepare.h"

#include <string.h>

status session_open(session *s)
{
    *s = (session){0};
    TRY(arena_open(&s->setup, "setup", (size_t)64 << 30));
    TRY(arena_open(&s->trunk, "model", (size_t)256 << 30));
    return arena_open(&s->tuned, "tuned", (size_t)256 << 30);
}

void session_close(session *s)
{
    device_arena_close(&s->there);
    tokenizer_close(s->words);
    if (!s->shares)
        weights_close(&s->w);
    arena_close(&s->tuned);
    arena_close(&s->trunk);
    arena_close(&s->setup);
}

/* ---- trunk --------------------------------------------------------------------------------------- */

/* The folder of a file, for the tokenizer beside it. */
static char *folder_of(arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? arena_string(a, path, (size_t)(slash - path)) : arena_string(a, ".", 1);
}

static status open_tokenizer(session *s)
{
    const gguf *file = weights_gguf(&s->w);
    const bool  bare = file && !gguf_find(file, "tokenizer.ggml.model");
    char       *where = s->w.random || bare ? folder_of(&s->setup, s->path) : s->path;

    if (!where)
        return STATUS_MEMORY;
    const bool bytes = path_is_folder(where) && !tokenizer_is_in(&s->setup, where);
    if (bare)
        log_info("%s has no tokenizer: %s%s", s->path, bytes ? "bytes are tokens, as none lies beside it" :
                 "taken from the files beside it, in ", bytes ? "" : where);
    if (bytes)
        return STATUS_OK; /* a trunk with too few words is refused when text comes */
    s->words_in = where;
    TRY(tokenizer_open(&s->setup, where, &s->words));
    if (tokenizer_size(s->words) > s->m.words)
        return fail(STATUS_FORMAT,
                    "%s: its tokenizer has ids up to %d, the model has %lld words; they do not belong "
                    "together",
                    s->path, tokenizer_size(s->words) - 1, (long long)s->m.words);
    return STATUS_OK;
}

/* The values of a random trunk are made at once, so they must fit before. */
static status check_fits(const char *config)
{
    arena   a;
    weights w;
    model   m;
    size_t  bytes = 0;

    TRY(weights_random(config, 0, true, &w));
    status s = arena_open(&a, "shapes", (size_t)1 << 42);
    if (s == STATUS_OK)
        s = model_open(&a, &w, TYPE_F32, &m);
    for (int i = 0; s == STATUS_OK && i < m.n_tensors; i++)
        bytes += tensor_bytes(&m.tensors[i].value);
    arena_close(&a);
    weights_close(&w);
    const size_t have = memory_free();
    if (s == STATUS_OK && have > 0 && bytes > have)
        s = fail(STATUS_MEMORY, "%s: its weights take %.0f MB, %.0f MB are free; use a smaller model",
                 config, (double)bytes / 1e6, (double)have / 1e6);
    return s;
}

status session_base(session *s, const char *base, uint64_t seed, bool shapes_only)
{
    const head_wish none = {0};

    return session_base_for(s, base, seed, shapes_only, &none);
}

status session_base_adapter(session *s, const char *base, const char *adapter)
{
    head_wish head;

    TRY(adapter_head(&s->setup, adapter, &head));
    return session_base_for(s, base, 0, false, &head);
}

status session_base_for(session *s, const char *base, uint64_t seed, bool shapes_only, const head_wish *head)
{
    s->base = base;
    if (s->shares) {
        s->path = s->shares->path;
        s->w = s->shares->w;
    } else if (strncmp(base, "random:", 7) == 0) {
        s->path = arena_string(&s->setup, base + 7, strlen(base + 7));
        if (!s->path)
            return STATUS_MEMORY;
        if (!shapes_only)
            TRY_IN(check_fits(s->path), "in base %s", base);
        TRY_IN(weights_random(s->path, seed, shapes_only, &s->w), "in base %s", base);
    } else {
        TRY_IN(fetch_base(&s->setup, base, &s->path), "in base %s", base);
        TRY_IN(weights_open(&s->trunk, s->path, &s->w), "in base %s", base);
    }
    TRY_IN(model_open_for(&s->trunk, &s->w, TYPE_F32, head, &s->m), "in base %s", base);
    if (s->m.image.channels > 0)
        TRY_IN(session_image_scale(s), "in base %s", base);
    TRY_IN(open_tokenizer(s), "in base %s", base);
    return peft_open(&s->setup, &s->m, seed, &s->p);
}

status session_fingerprint(session *s)
{
    return s->fingerprint[0] ? STATUS_OK : weights_fingerprint(&s->w, s->fingerprint);
}

/* ---- modules -------------------------------------------------------------------------------------- */

static status load_folder(session *s, int module, const char *folder, bool force)
{
    adapter_info info = {.base = s->base};

    if (!force) {
        TRY(session_fingerprint(s));
        info.fingerprint = s->fingerprint;
    }
    return adapter_load(s->p, module, folder, &info);
}

/* A router and its modules, each from where its folder says it lies. */
static status routed_adapter(session *s, const char *folder, bool force)
{
    TRY(router_add(s->p, folder));
    TRY(peft_allocate(s->p, &s->tuned));
    for (int i = 0; i < s->p->n_modules; i++)
        TRY(load_folder(s, i, s->p->modules[i].folder, force));
    return STATUS_OK;
}

status session_adapter(session *s, const char *folder, bool force)
{
    bool routed;

    TRY(router_is_folder(&s->setup, folder, &routed));
    if (routed)
        return routed_adapter(s, folder, force);
    TRY(adapter_add(s->p, folder, "main", false));
    TRY(peft_allocate(s->p, &s->tuned));
    return load_folder(s, 0, folder, force);
}

/* What the module trains whole: what the recipe says, and the head for the objective's classes if it is the first
 * module that is trained from its start. */
static status whole_parts(session *s, const recipe_module *x, key_texts *out)
{
    const char  *head[HEAD_PARTS];
    const char **v;
    const int    n = s->m.wish.given && x->train && !s->head_trained ? model_head_parts(&s->setup, &s->m, head) : 0;

    *out = x->save;
    if (n == 0)
        return STATUS_OK;
    TRY_TAKE(v, &s->setup, x->save.n + n);
    for (int i = 0; i < x->save.n + n; i++)
        v[i] = i < x->save.n ? x->save.v[i] : head[i - x->save.n];
    *out = (key_texts){.n = x->save.n + n, .v = v};
    s->head_trained = true;
    return STATUS_OK;
}

/* What the module trains beside its sites. */
static status add_beside(session *s, const recipe_module *x)
{
    const int number = s->p->n_modules - 1;
    key_texts parts;
    int32_t  *ids;

    TRY(whole_parts(s, x, &parts));
    if (x->train_tokens.n > 0) {
        TRY(whole_token_ids(&s->setup, &x->train_tokens, s->m.words, &ids));
        TRY(peft_tune_tokens(s->p, number, ids, x->train_tokens.n));
    }
    return parts.n > 0 ? peft_tune_whole(s->p, number, parts.v, parts.n, x->save_tied) : STATUS_OK;
}

static status add_module(session *s, const recipe_module *x)
{
    if (x->load && (x->save.n || x->train_tokens.n))
        return fail(STATUS_USAGE, "module %s: save and train_tokens stand in the folder that it loads", x->name);
    if (x->load)
        return adapter_add(s->p, x->load, x->name, x->train);
    const peft_method *method = peft_find(x->method.name);
    CHECK(method);
    const status done = peft_add(s->p, x->name, method, x->method.options, x->at.v, x->at.n,
                                 x->train);
    if (done == STATUS_SHAPE)
        return STATUS_USAGE; /* the recipe asks for what does not fit */
    TRY(done);
    return add_beside(s, x);
}

/* A head that was made must be trained, or come with an adapter. */
static status check_head(const session *s)
{
    for (int i = 0; i < s->m.n_tensors; i++) {
        const model_weight *w = &s->m.tensors[i];
        bool                placed = !w->fresh;
        for (int k = 0; k < s->p->n_tuned; k++)
            placed |= s->p->tensors[k].place == w;
        if (!placed)
            return fail(STATUS_USAGE, "%s: has no %s, so it was made for the objective, and no module trains it; a "
                        "module with `load` needs an adapter that holds it", s->path, w->name);
    }
    return STATUS_OK;
}

/* Values, started: some by what the data shows. */
static status start_values(session *s, const recipe *r, session_samples *samples, void *context)
{
    const peft_start_cost cost = peft_cost_of_start(s->p);
    const size_t          need = cost.each + cost.all, have = memory_free();
    arena                 seen;

    if (have > 0 && need > have)
        return fail(STATUS_MEMORY, "starting the modules needs %.0f MB, %.0f MB are free; take fewer or smaller "
                    "sites, or with pissa a pissa_niter", (double)need / 1e6, (double)have / 1e6);
    TRY(arena_open(&seen, "seen", (size_t)256 << 30));
    status done = prepare_modules(s, r, samples, context, &seen);
    if (done == STATUS_OK)
        done = peft_allocate(s->p, &s->tuned);
    arena_close(&seen);
    return done;
}

static status add_router(session *s, const recipe_router *r)
{
    if (!r->router.name)
        return STATUS_OK;
    return peft_route(s->p, "router", peft_find_router(r->router.name), r->router.options, r->over.v, r->over.n);
}

status session_modules(session *s, const recipe *r, bool shapes_only, session_samples *samples, void *context)
{
    char text[512];

    for (int i = 0; i < r->n_modules; i++) {
        char        path[64];
        const char *origin;
        const recipe_module *x = &r->modules[i];
        if (x->copies > 1)
            return fail(STATUS_UNSUPPORTED,
                        "modules.%d: copies is %lld; several equal modules of one entry are not in this version: "
                        "list them one by one",
                        i, (long long)x->copies);
        snprintf(path, sizeof path, "modules.%d.%s", i, x->load ? "load" : "at");
        origin = recipe_origin(r, path, text, sizeof text);
        TRY_IN(add_module(s, x), "at %s", origin ? origin : r->file);
    }
    TRY(add_router(s, &r->router));
    TRY(check_head(s));
    if (shapes_only)
        return STATUS_OK;
    TRY(start_values(s, r, samples, context));
    for (int i = 0; i < r->n_modules; i++)
        if (r->modules[i].load)
            TRY(load_folder(s, i, r->modules[i].load, false));
    return STATUS_OK;
}

/* ---- on a device ----------------------------------------------------------------------------------------- */

/* The two buffers of the modules: trained values, and fixed ones. */
static tensor module_values(const session *s, bool fixed)
{
    return (tensor){.s = shape_1(fixed ? s->p->fixed_size : s->p->size), .type = TYPE_F32,
                    .v = fixed ? s->p->fixed_values : s->p->values};
}

static status hold_values(session *s, bool fixed)
{
    const tensor values = module_values(s, fixed);

    if (!values.v || shape_count(values.s) == 0)
        return STATUS_OK;
    TRY(device_hold(&s->there, &values, TYPE_F32));
    device_push(s->there.d, &values);
    return STATUS_OK;
}

/* The weight of a site that parted from the one it shared, and stays as it is; NULL: of another. */
static const tensor *parted_weight(const session *s, int site_number)
{
    const model_weight *w = s->m.sites[site_number].weight;

    return w && !w->grad && !w->part && !(w >= s->m.tensors && w < s->m.tensors + s->m.n_tensors) ? &w->value : NULL;
}

size_t session_device_bytes(const session *s)
{
    const device *d = device_current();
    size_t        bytes = 0;

    for (int fixed = 0; fixed < 2; fixed++) {
        const tensor values = module_values(s, fixed);
        bytes += device_arena_room(tensor_bytes(&values));
    }
    for (int i = 0; d && i < s->m.n_tensors; i++) {
        const tensor *x = &s->m.tensors[i].value, there = {.s = x->s, .type = device_weight_type(d, x)};
        dtype         type;
        if (!s->shares || !device_find(d, x->v, &type))
            bytes += device_arena_room(tensor_bytes(&there));
    }
    for (int i = 0; d && i < s->m.n_sites; i++) {
        const tensor *x = parted_weight(s, i);
        if (x) {
            const tensor there = {.s = x->s, .type = device_weight_type(d, x)};
            bytes += device_arena_room(tensor_bytes(&there));
        }
    }
    return d ? bytes : 0;
}

/* The twin of a weight that has no values here. */
static void make_noise(const device *d, const tensor *x, uint64_t seed)
{
    dtype type;
    void *there = device_find(d, x->v, &type);

    device_functions(d)->noise(there, type == TYPE_BF16, (size_t)shape_count(x->s), seed, 0.02f);
}

static status hold_parted(session *s)
{
    device *d = s->there.d;
    dtype   type;

    for (int i = 0; i < s->m.n_sites; i++) {
        const tensor *x = parted_weight(s, i);
        if (!x || device_find(d, x->v, &type))
            continue;
        TRY(device_hold(&s->there, x, device_weight_type(d, x)));
        device_push(d, x);
    }
    return STATUS_OK;
}

status session_hold(session *s)
{
    device *d = device_current();
    dtype   type;

    if (!d || s->there.base)
        return STATUS_OK;
    TRY(device_arena_open(d, &s->there, "the trunk", session_device_bytes(s)));
    TRY(hold_values(s, false));
    TRY(hold_values(s, true));
    for (int i = 0; i < s->m.n_tensors; i++) {
        const tensor *x = &s->m.tensors[i].value;
        if (device_find(d, x->v, &type)) /* a tuned bias stands in the trunk's place */
            continue;
        TRY(device_hold(&s->there, x, device_weight_type(d, x)));
        if (s->w.random && s->w.empty && x->s.n > 1)
            make_noise(d, x, (uint64_t)i);
        else
            device_push(d, x);
    }
    TRY(hold_parted(s));
    return device_check(d);
}
