/* adapter: adapter_config.json, as Hugging Face PEFT writes and reads it */
#include "peft/adapter.h"

#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "peft/router.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- which sites ----------------------------------------------------------------------------- */

/* PEFT's rule for one entry of a list: the module's name, or its end from a dot on. */
static bool entry_selects(const cJSON *entry, const char *name)
{
    if (!cJSON_IsString(entry))
        return false;
    const size_t n = strlen(entry->valuestring), m = strlen(name);
    return text_ends(name, entry->valuestring) && (n == m || name[m - n - 1] == '.');
}

static bool list_selects(const cJSON *list, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        if (entry_selects(item, name))
            return true;
    }
    return false;
}

/* A string is a regular expression for the whole name. */
static status expression_selects(const char *expression, const char *name, const char *what,
                                 bool *selects)
{
    int               code;
    size_t            at;
    pcre2_code       *re = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED,
                                         PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF, &code, &at, NULL);
    pcre2_match_data *data;

    if (!re)
        return fail(STATUS_FORMAT, "%s: '%s' is not a regular expression, at character %zu", what,
                    expression, at + 1);
    data = pcre2_match_data_create_from_pattern(re, NULL);
    *selects = pcre2_match(re, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(re);
    return STATUS_OK;
}

/* Every entry of a target list must be a site: one that is not (an embedding, say) would be left out in
 * silence. */
static status check_targets(const cJSON *list, const model *m, uint32_t kinds, const char *what)
{
    const cJSON *item;

    if (!cJSON_IsArray(list))
        return STATUS_OK;
    cJSON_ArrayForEach(item, list)
    {
        bool found = false;
        for (int i = 0; i < m->n_sites && !found; i++)
            found = (m->sites[i].kind & kinds) && entry_selects(item, m->sites[i].checkpoint);
        if (!found)
            return fail(STATUS_UNSUPPORTED, "%s: target_modules names '%s', which is no site of this model "
                        "where the method can sit", what, cJSON_IsString(item) ? item->valuestring : "?");
    }
    return STATUS_OK;
}

/* The same for an expression: it must not select an embedding. */
static status check_expression(const cJSON *expression, const model *m, uint32_t kinds, const char *what)
{
    if (!cJSON_IsString(expression) || strcmp(expression->valuestring, "all-linear") == 0)
        return STATUS_OK;
    for (int i = 0; i < m->n_sites; i++) {
        const site *s = &m->sites[i];
        bool        selects = false;
        if (s->kind == SITE_EMBEDDING && !(s->kind & kinds))
            TRY(expression_selects(expression->valuestring, s->checkpoint, what, &selects));
        if (selects)
            return fail(STATUS_UNSUPPORTED, "%s: target_modules '%s' selects %s, where the method cannot sit",
                        what, expression->valuestring, s->checkpoint);
    }
    return STATUS_OK;
}

/* What target_modules or exclude_modules says of a site. */
static status modules_select(const cJSON *modules, const site *s, const char *what, bool *selects)
{
    *selects = false;
    if (!modules || cJSON_IsNull(modules))
        return STATUS_OK;
    if (cJSON_IsArray(modules)) {
        *selects = list_selects(modules, s->checkpoint);
        return STATUS_OK;
    }
    if (!cJSON_IsString(modules))
        return fail(STATUS_FORMAT, "%s: target_modules must be text or a list of texts", what);
    if (strcmp(modules->valuestring, "all-linear") == 0) {
        *selects = s->kind == SITE_LINEAR;
        return STATUS_OK;
    }
    return expression_selects(modules->valuestring, s->checkpoint, what, selects);
}

/* A whole name in the list selects its module whatever layers_to_transform says. */
static bool named_whole(const cJSON *list, const char *name)
{
    const cJSON *item;

    if (cJSON_IsArray(list))
        cJSON_ArrayForEach(item, list)
            if (cJSON_IsString(item) && strcmp(item->valuestring, name) == 0)
                return true;
    return false;
}

static bool block_selected(const cJSON *layers, int block)
{
    const cJSON *item;

    if (!layers || cJSON_IsNull(layers))
        return true;
    if (cJSON_IsNumber(layers))
        return block == (int)layers->valuedouble;
    cJSON_ArrayForEach(item, layers)
    {
        if (cJSON_IsNumber(item) && block == (int)item->valuedouble)
            return true;
    }
    return false;
}

/* PEFT's own choice when target_modules is left out, by model type. */
static const char *default_targets(const peft_method *method, const char *family)
{
    static const char *const known[][2] = {{"llama", "[\"q_proj\", \"v_proj\"]"},
                                           {"gpt2", "[\"c_attn\"]"},
                                           {"bert", "[\"query\", \"value\"]"},
                                           {"roberta", "[\"query\", \"value\"]"},
                                           {"xlm-roberta", "[\"query\", \"value\"]"}};

    if (method->default_targets)
        return method->default_targets(family);
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(known[i][0], family) == 0)
            return known[i][1];
    return NULL;
}

/* All sites of the method's kinds; of embeddings that of words. */
static status select_everywhere(arena *a, const model *m, const peft_method *method, const char ***names, int *n)
{
    *n = 0;
    TRY_TAKE(*names, a, m->n_sites);
    for (int i = 0; i < m->n_sites; i++) {
        const site *s = &m->sites[i];
        if ((s->kind & method->sites) && (s->kind != SITE_EMBEDDING || s == model_words(m)))
            (*names)[(*n)++] = s->checkpoint;
    }
    return STATUS_OK;
}

static status select_sites(arena *a, const cJSON *config, const model *m, const peft_method *method,
                           const char *what, const char ***names, int *n)
{
    const cJSON *targets = cJSON_GetObjectItemCaseSensitive(config, "target_modules");
    const cJSON *exclude = cJSON_GetObjectItemCaseSensitive(config, "exclude_modules");
    const cJSON *layers = cJSON_GetObjectItemCaseSensitive(config, "layers_to_transform");
    cJSON       *own = NULL;
    status       s = STATUS_OK;

    if (method->everywhere && (!targets || cJSON_IsNull(targets)))
        return select_everywhere(a, m, method, names, n);
    if (!targets || cJSON_IsNull(targets)) {
        const char *text = default_targets(method, m->family->name);
        if (!text)
            return fail(STATUS_FORMAT, "%s: target_modules is missing", what);
        targets = own = cJSON_Parse(text);
    }
    s = check_targets(targets, m, method->sites, what);
    if (s == STATUS_OK)
        s = check_expression(targets, m, method->sites, what);
    *names = arena_take(a, (size_t)m->n_sites, sizeof **names);
    if (!*names)
        s = STATUS_MEMORY;
    *n = 0;
    for (int i = 0; i < m->n_sites && s == STATUS_OK; i++) {
        bool in = false, out = false;
        if (!(m->sites[i].kind & method->sites))
            continue;
        s = modules_select(targets, &m->sites[i], what, &in);
        if (s == STATUS_OK)
            s = modules_select(exclude, &m->sites[i], what, &out);
        const bool here = named_whole(targets, m->sites[i].checkpoint) ||
                          block_selected(layers, m->sites[i].block);
        if (s == STATUS_OK && in && !out && here)
            (*names)[(*n)++] = m->sites[i].checkpoint;
    }
    cJSON_Delete(own);
    if (s == STATUS_OK && *n == 0)
        s = fail(STATUS_FORMAT, "%s: target_modules selects no site of this %s model", what,
                 m->family->name);
    return s;
}

/* ---- reading ------------------------------------------------------------------------------------ */

static bool is_type(const peft_method *m, const char *peft_type)
{
    return m->read_config && strcasecmp(m->peft_type ? m->peft_type : m->name, peft_type) == 0;
}

static status find_type(const char *peft_type, const char *path, const peft_method **out)
{
    char                      known[1024] = "";
    int                       n;
    const peft_method *const *all = peft_methods(&n);

    for (int i = 0; i < n; i++) {
        if (is_type(all[i], peft_type)) {
            *out = all[i];
            return STATUS_OK;
        }
        if (all[i]->read_config)
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", known[0] ? ", " : "",
                     all[i]->peft_type ? all[i]->peft_type : all[i]->name);
    }
    return fail(STATUS_UNSUPPORTED, "%s: peft_type is '%s'; this version reads %s", path, peft_type, known);
}

static status read_config(arena *a, const cJSON *config, const char *path, const model *m,
                          const peft_method **method, void **options, const char *const **sites,
                          int *n_sites)
{
    const char  *type;
    const char **names = NULL;

    TRY(json_string(config, "peft_type", true, &type, path));
    TRY(find_type(type, path, method));
    *options = arena_take(a, 1, (*method)->keys->size);
    if (!*options)
        return STATUS_MEMORY;
    TRY((*method)->read_config(config, a, *options, path));
    TRY(select_sites(a, config, m, *method, path, &names, n_sites));
    *sites = names;
    return STATUS_OK;
}

static status read_shapes(arena *a, const char *folder, const peft_method *method, void *options)
{
    char       *path = path_join(a, folder, "adapter_model.safetensors");
    safetensors f;

    if (!path)
        return STATUS_MEMORY;
    TRY(safetensors_open(a, path, &f));
    const status s = method->read_shapes(&f, options, path);
    safetensors_close(&f);
    return s;
}

status adapter_read_config(arena *a, const char *folder, const model *m, const peft_method **method,
                           void **options, const char *const **sites, int *n_sites)
{
    char  *path = path_join(a, folder, "adapter_config.json"), *encoder = path_join(a, folder, ENCODER_FILE);
    cJSON *config;

    if (!path || !encoder)
        return STATUS_MEMORY;
    if (!path_exists(path))
        return fail(STATUS_IO, "%s: is not an adapter: adapter_config.json is missing", folder);
    TRY(json_read(path, &config));
    status s = cJSON_IsObject(config)
                         ? read_config(a, config, path, m, method, options, sites, n_sites)
                         : fail(STATUS_FORMAT, "%s: must be a JSON object", path);
    cJSON_Delete(config);
    if (s == STATUS_OK && (*method)->read_shapes)
        s = read_shapes(a, folder, *method, *options);
    if (s == STATUS_OK && (*method)->with_encoder && path_exists(encoder))
        (*method)->with_encoder(*options);
    return s;
}

/* ---- beside the sites --------------------------------------------------------------------------- */

/* trainable_token_indices: a list for the embedding, or an object with one list under its name. */
static status read_tokens(const peft *p, const cJSON *config, const char *what, int32_t **ids, int64_t *n)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "trainable_token_indices"), *item;

    *n = 0;
    *ids = NULL;
    if (cJSON_IsObject(list) && cJSON_GetArraySize(list) == 1 &&
        text_ends(model_words(p->m)->checkpoint, list->child->string))
        list = list->child;
    if (!list || cJSON_IsNull(list))
        return STATUS_OK;
    if (!cJSON_IsArray(list))
        return fail(STATUS_UNSUPPORTED, "%s: trainable_token_indices must be a list of tokens of the embedding", what);
    TRY_TAKE(*ids, p->a, cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item) || item->valuedouble != (double)item->valueint)
            return fail(STATUS_FORMAT, "%s: trainable_token_indices must be whole numbers", what);
        (*ids)[(*n)++] = item->valueint;
    }
    return STATUS_OK;
}

static status add_beside(peft *p, const cJSON *config, const char *path)
{
    const int number = p->n_modules - 1;
    key_texts whole;
    bool      tie = false;
    int32_t  *ids;
    int64_t   n;

    TRY(json_texts(config, "modules_to_save", p->a, &whole, path));
    TRY(json_bool(config, "ensure_weight_tying", false, &tie, path));
    TRY(read_tokens(p, config, path, &ids, &n));
    if (n > 0)
        TRY_IN(peft_tune_tokens(p, number, ids, n), "in %s", path);
    return whole.n > 0 ? fail_in(peft_tune_whole(p, number, whole.v, whole.n, tie), "in %s", path) : STATUS_OK;
}

/* A module that goes on training is again what it was. */
static status train_on(arena *a, const char *folder, const peft_method *method, void *options)
{
    const char *was = NULL;

    if (!method->train_as)
        return STATUS_OK;
    TRY(adapter_trained_as(a, folder, &was));
    return was ? method->train_as(a, options, was, folder) : STATUS_OK;
}

status adapter_add(peft *p, const char *folder, const char *name, bool trains)
{
    const peft_method *method;
    void              *options;
    const char *const *sites;
    int                n;
    cJSON             *config;
    char              *path = path_join(p->a, folder, "adapter_config.json");

    if (!path)
        return STATUS_MEMORY;
    TRY(adapter_read_config(p->a, folder, p->m, &method, &options, &sites, &n));
    if (trains)
        TRY(train_on(p->a, folder, method, options));
    TRY(peft_add(p, name, method, options, sites, n, trains));
    TRY(json_read(path, &config));
    const status s = add_beside(p, config, path);
    cJSON_Delete(config);
    return s;
}

static void write_beside(const module *x, cJSON *config)
{
    if (x->n_tokens > 0)
        cJSON_AddItemToObject(config, "trainable_token_indices", cJSON_CreateIntArray(x->tokens, (int)x->n_tokens));
    if (x->n_whole > 0)
        cJSON_AddItemToObject(config, "modules_to_save", cJSON_CreateStringArray(x->whole, x->n_whole));
    if (x->tie)
        cJSON_AddBoolToObject(config, "ensure_weight_tying", true);
}

/* ---- writing ------------------------------------------------------------------------------------ */

static const char *last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static bool taken(const module *x, const site *s)
{
    for (int i = 0; i < x->n_sites; i++)
        if (x->at[i] == s)
            return true;
    return false;
}

/* True when the module sits on every linear site whose name ends like this one's. */
static bool whole_kind(const peft *p, const module *x, const char *part)
{
    for (int i = 0; i < p->m->n_sites; i++)
        if ((p->m->sites[i].kind & x->method->sites) && strcmp(last_part(p->m->sites[i].checkpoint), part) == 0 &&
             !taken(x, &p->m->sites[i]))
            return false;
    return true;
}

/* Short names ("q_proj") where the module sits on all sites of that name, whole names elsewhere. */
static void add_targets(cJSON *config, const peft *p, const module *x)
{
    cJSON *list = cJSON_AddArrayToObject(config, "target_modules");

    for (int i = 0; i < x->n_sites; i++) {
        const char *part = last_part(x->at[i]->checkpoint);
        const char *name = whole_kind(p, x, part) ? part : x->at[i]->checkpoint;
        bool        there = false;
        for (const cJSON *item = list->child; item; item = item->next)
            there |= strcmp(item->valuestring, name) == 0;
        if (!there)
            cJSON_AddItemToArray(list, cJSON_CreateString(name));
    }
}

/* fan_in_fan_out, for methods that have the field: the trunk's own files have the weight as [in, out]. */
static void say_orientation(cJSON *config, const module *x)
{
    bool turned = false;

    for (int i = 0; i < x->n_sites; i++)
        turned |= x->at[i]->weight && x->at[i]->weight->turned;
    if (cJSON_HasObjectItem(config, "fan_in_fan_out"))
        cJSON_ReplaceItemInObjectCaseSensitive(config, "fan_in_fan_out", cJSON_CreateBool(turned));
}

/* A method that sits everywhere names its sites when they are some only. */
static bool names_targets(const peft *p, const module *x)
{
    int n = 0;

    for (int i = 0; i < p->m->n_sites; i++)
        n += (p->m->sites[i].kind & x->method->sites) != 0;
    return !x->method->everywhere || (x->method->sites != SITE_EMBEDDING && x->n_sites < n);
}

status adapter_write_config(const peft *p, int number, const char *folder, const adapter_info *info)
{
    const module *x = &p->modules[number];
    const char   *path = path_join(p->a, folder, "adapter_config.json");
    cJSON        *config = cJSON_CreateObject();
    status        s;

    if (!path) {
        cJSON_Delete(config);
        return STATUS_MEMORY;
    }
    if (!x->method->write_config) {
        cJSON_Delete(config);
        return fail(STATUS_UNSUPPORTED, "%s has no adapter file", x->method->name);
    }
    cJSON_AddStringToObject(config, "base_model_name_or_path", info->base ? info->base : "");
    cJSON_AddItemToObject(config, "task_type",
                          info->task_type ? cJSON_CreateString(info->task_type) : cJSON_CreateNull());
    cJSON_AddBoolToObject(config, "inference_mode", true);
    s = x->method->write_config(x->options, config);
    if (s == STATUS_OK && x->n_over > 0)
        s = router_write(p, number, folder, config);
    say_orientation(config, x);
    if (names_targets(p, x))
        add_targets(config, p, x);
    write_beside(x, config);
    if (s == STATUS_OK) {
        char *text = cJSON_Print(config);
        s = text ? file_replace(path, text, strlen(text))
                 : fail(STATUS_MEMORY, "%s: no memory for its text", path);
        free(text);
    }
    cJSON_Delete(config);
    return s;
}
