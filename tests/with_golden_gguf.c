/* golden GGUF: tensor types with their expansions (types.json), trunks with their logits
 * (models.json), and containers with what they hold (golden/gguf/README.md) */
#include "core/file.h"
#include "core/gguf.h"
#include "core/quant.h"
#include "recipes/trace.h"
#include "tests/with_golden_tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static status expanded(arena *a, const tensor *t, float **out)
{
    const int64_t n = shape_count(t->s);

    TRY_TAKE(*out, a, n);
    quant_expand(t->type, t->v, n, *out);
    return STATUS_OK;
}

/* ---- types.json: file NAME.gguf with one tensor w, expected.safetensors with NAME
 * -------------------- */

static status compare_type(golden *g, const char *folder, const char *name,
                           const safetensors *expected, const cJSON *entry)
{
    const safetensors_entry *want = safetensors_find(expected, name);
    const gguf_tensor *w;
    int64_t wrong = 0, block = 0, bytes = 0;
    float *v = NULL;
    gguf f;

    if (!want || want->opaque || want->t.type != TYPE_F32)
        return fail(STATUS_FORMAT, "expected.safetensors must hold %s as F32", name);
    TRY(gguf_open(g->a, arena_printf(g->a, "%s/%s.gguf", folder, name), &f));
    w = gguf_find_tensor(&f, "w");
    status s = w ? expanded(g->a, &w->t, &v) : fail(STATUS_FORMAT, "%s.gguf has no tensor w", name);
    if (s == STATUS_OK && !shape_equal(w->t.s, want->t.s))
        s = fail(STATUS_SHAPE, "w is %s, must be %s", shape_text(w->t.s), shape_text(want->t.s));
    for (int64_t i = 0; s == STATUS_OK && i < shape_count(want->t.s); i++)
        wrong += memcmp(v + i, (const char *)want->v + 4 * i, 4) != 0;
    if (s == STATUS_OK) {
        golden_exact(g, "bits of its values", wrong);
        s = json_int(entry, "block", true, 1, 4096, &block, "types.json");
        if (s == STATUS_OK)
            s = json_int(entry, "bytes per block", true, 1, 4096, &bytes, "types.json");
        if (s == STATUS_OK &&
            (block != dtype_block(w->t.type) || bytes != (int64_t)dtype_block_bytes(w->t.type)))
            golden_wrong(g, "%s has another block size than types.json says", name);
    }
    gguf_close(&f);
    return s;
}

static void run_types(golden *g, const char *folder)
{
    cJSON *list = NULL;
    const cJSON *entry;
    safetensors expected = {0};
    const char *name;

    golden_begin(g, folder, "types.json");
    status s = json_read(golden_path(folder, "types.json"), &list);
    if (s == STATUS_OK)
        s = safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &expected);
    if (s == STATUS_OK && cJSON_GetArraySize(list) == 0)
        s = fail(STATUS_FORMAT, "types.json lists nothing");
    if (s != STATUS_OK)
        golden_end(g, s);
    else
        cJSON_ArrayForEach(entry, list)
        {
            const size_t mark = arena_mark(g->a);
            name = "?";
            golden_begin(g, folder, "");
            s = json_string(entry, "type", true, &name, "types.json");
            snprintf(g->name, sizeof g->name, "%s %s", folder, name);
            golden_end(g, s == STATUS_OK ? compare_type(g, folder, name, &expected, entry) : s);
            arena_rewind(g->a, mark);
        }
    if (expected.n)
        safetensors_close(&expected);
    cJSON_Delete(list);
}

/* ---- models.json: trunks
 * ------------------------------------------------------------------------------ */

typedef struct trunk {
    weights w;
    model m;
    safetensors want;
} trunk;

static status int_list(const safetensors *f, const char *name, int sizes,
                       const safetensors_entry **out)
{
    *out = safetensors_find(f, name);
    if (!*out || (*out)->opaque || (*out)->t.type != TYPE_I32 || (*out)->t.s.n != sizes)
        return fail(STATUS_FORMAT, "the expected file must hold %s as I32 with %d sizes", name,
                    sizes);
    return STATUS_OK;
}

static cJSON *sequences_of(const safetensors_entry *ids)
{
    const int64_t n = ids->t.s.d[0], T = ids->t.s.d[1];
    const int32_t *v = ids->v;
    cJSON *out = cJSON_CreateArray();

    for (int64_t b = 0; b < n; b++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToObject(o, "ids", cJSON_CreateIntArray(v + b * T, (int)T));
        cJSON_AddItemToArray(out, o);
    }
    return out;
}

/* The rows of the logits [T, V] that `at` names, against rows of the expected [n, positions, V]. */
static status compare_rows(golden *g, const trace_result *r, int64_t b, const safetensors_entry *at,
                           const safetensors_entry *logits, double bound)
{
    const int64_t V = logits->t.s.d[2], P = logits->t.s.d[1];
    const int32_t *rows = at->v;
    char name[32], what[64];

    snprintf(name, sizeof name, "seq%lld.logits", (long long)b);
    for (int i = 0; i < r->n; i++) {
        const tensor *t = &r->items[i].t;
        if (strcmp(r->items[i].name, name) != 0)
            continue;
        if (shape_last(t->s) != V)
            return fail(STATUS_SHAPE, "%s has %lld columns, must have %lld", name,
                        (long long)shape_last(t->s), (long long)V);
        for (int64_t p = 0; p < P; p++) {
            if (rows[p] < 0 || rows[p] >= t->s.d[0])
                return fail(STATUS_FORMAT, "position %d is outside the sequence", rows[p]);
            const tensor got = {
                .s = shape_1(V), .type = TYPE_F32, .v = (float *)t->v + rows[p] * V};
            safetensors_entry want = *logits;
            want.t.s = shape_1(V);
            want.v = (const float *)logits->v + (b * P + p) * V;
            snprintf(what, sizeof what, "%s[%d]", name, rows[p]);
            golden_tensor(g, what, &got, &want, bound, true);
        }
        return STATUS_OK;
    }
    return fail(STATUS_FORMAT, "%s was not computed", name);
}

/* The reference is float32 itself: an independent float64 forward differs from it by at
 * most 1.3e-5, in trunks of width 64 as in one of width 512 and 4 layers. */
static const double logit_bound = 2e-5;

static status compare_logits(golden *g, trunk *x, const char *folder, const char *stem)
{
    const safetensors_entry *ids, *at, *logits;
    trace_options o = {0};
    trace_result r;

    TRY(weights_open(g->a, arena_printf(g->a, "%s/%s.gguf", folder, stem), &x->w));
    TRY(model_open(g->a, &x->w, TYPE_F32, &x->m));
    TRY(safetensors_open(g->a, arena_printf(g->a, "%s/%s.expected.safetensors", folder, stem),
                         &x->want));
    TRY(int_list(&x->want, "ids", 2, &ids));
    TRY(int_list(&x->want, "positions", 1, &at));
    logits = safetensors_find(&x->want, "logits");
    if (!logits || logits->opaque || logits->t.type != TYPE_F32 || logits->t.s.n != 3 ||
        logits->t.s.d[0] != ids->t.s.d[0] || logits->t.s.d[1] != at->t.s.d[0])
        return fail(STATUS_FORMAT,
                    "%s.expected.safetensors: logits must be F32 [sequences, positions, "
                    "words]",
                    stem);
    cJSON *sequences = sequences_of(ids);
    status s = trace_run(g->a, &x->m, NULL, sequences, stem, &o, &r);
    cJSON_Delete(sequences);
    for (int64_t b = 0; s == STATUS_OK && b < ids->t.s.d[0]; b++)
        s = compare_rows(g, &r, b, at, logits, logit_bound);
    return s;
}

static bool same_number(const cJSON *a, const cJSON *b)
{
    return cJSON_IsNumber(a) && cJSON_IsNumber(b) && a->valuedouble == b->valuedouble;
}

/* The same trunk as a Hugging Face folder in f16: values equal after rounding, and the config's
 * sizes. */
static status compare_folder(golden *g, const weights *file, const weights *folder)
{
    static const char *const same[] = {"vocab_size",          "hidden_size",
                                       "intermediate_size",   "num_hidden_layers",
                                       "num_attention_heads", "num_key_value_heads",
                                       "rope_theta",          "max_position_embeddings",
                                       "bos_token_id",        "eos_token_id"};
    int64_t wrong = 0;

    for (int i = 0; i < folder->n; i++) {
        const size_t mark = arena_mark(g->a);
        const weight *of_file;
        float *v, *w;
        TRY(weights_need(file, folder->w[i].name, &of_file));
        if (!shape_equal(of_file->t.s, folder->w[i].t.s))
            return fail(STATUS_SHAPE, "%s is %s, must be %s", folder->w[i].name,
                        shape_text(of_file->t.s), shape_text(folder->w[i].t.s));
        TRY(expanded(g->a, &of_file->t, &v));
        TRY(expanded(g->a, &folder->w[i].t, &w));
        for (int64_t j = 0; j < shape_count(of_file->t.s); j++)
            wrong += f32_to_f16(v[j]) != f32_to_f16(w[j]);
        arena_rewind(g->a, mark);
    }
    golden_exact(g, "values as f16", wrong);
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        const cJSON *want = cJSON_GetObjectItem(folder->config, same[i]);
        if (want && !cJSON_IsNull(want) &&
            !same_number(cJSON_GetObjectItem(file->config, same[i]), want))
            golden_wrong(g, "%s of the config differs", same[i]);
    }
    return STATUS_OK;
}

static status compare_twin(golden *g, const char *folder, const char *stem)
{
    weights file, twin;
    TRY(weights_open(g->a, arena_printf(g->a, "%s/%s.gguf", folder, stem), &file));
    status s = weights_open(g->a, arena_printf(g->a, "%s/%s_hf", folder, stem), &twin);
    if (s == STATUS_OK) {
        s = compare_folder(g, &file, &twin);
        weights_close(&twin);
    }
    weights_close(&file);
    return s;
}

/* The tokenizer in the files is that of ../../tokenizers/bpe_gpt2. */
static status compare_tokenizer(golden *g, const char *path, const char *cases)
{
    tokenizer *t;

    TRY(tokenizer_open(g->a, path, &t));
    const status s = golden_tokenizer_texts(g, t, cases);
    tokenizer_close(t);
    return s;
}

static void run_model(golden *g, const char *folder, const char *stem)
{
    const size_t mark = arena_mark(g->a);
    trunk x = {0};
    char name[600];
    const char *cases = golden_path(folder, "../../tokenizers/bpe_gpt2/cases.json");

    snprintf(name, sizeof name, "%s logits", stem);
    golden_begin(g, folder, name);
    golden_end(g, compare_logits(g, &x, folder, stem));
    if (x.want.n)
        safetensors_close(&x.want);
    weights_close(&x.w);
    arena_rewind(g->a, mark);
    if (path_is_folder(arena_printf(g->a, "%s/%s_hf", folder, stem))) {
        snprintf(name, sizeof name, "%s equals its folder", stem);
        golden_begin(g, folder, name);
        golden_end(g, compare_twin(g, folder, stem));
        arena_rewind(g->a, mark);
    }
    if (path_exists(cases)) {
        snprintf(name, sizeof name, "%s tokenizer", stem);
        golden_begin(g, folder, name);
        golden_end(g, compare_tokenizer(g, arena_printf(g->a, "%s/%s.gguf", folder, stem),
                                        arena_string(g->a, cases, strlen(cases))));
        arena_rewind(g->a, mark);
    }
}

static void run_models(golden *g, const char *folder)
{
    cJSON *list = NULL;
    const cJSON *entry;
    char stem[256];

    golden_begin(g, folder, "models.json");
    status s = json_read(golden_path(folder, "models.json"), &list);
    if (s == STATUS_OK && cJSON_GetArraySize(list) == 0)
        s = fail(STATUS_FORMAT, "models.json lists nothing");
    if (s != STATUS_OK)
        golden_end(g, s);
    else
        cJSON_ArrayForEach(entry, list)
        {
            const char *file = "";
            golden_begin(g, folder, "models.json");
            s = json_string(entry, "file", true, &file, "models.json");
            const size_t n = strlen(file);
            if (s == STATUS_OK && (n < 6 || n >= sizeof stem || strcmp(file + n - 5, ".gguf") != 0))
                s = fail(STATUS_FORMAT, "models.json: file is '%s', must end in .gguf", file);
            if (s != STATUS_OK) {
                golden_end(g, s);
                continue;
            }
            snprintf(stem, sizeof stem, "%.*s", (int)(n - 5), file);
            run_model(g, folder, stem);
        }
    cJSON_Delete(list);
}

/* ---- containers: NAME.gguf and what it holds in NAME.json
 * ---------------------------------------------- */

static bool same_value(golden *g, const gguf_value *v, const char *kind, const cJSON *want);

static bool same_array(golden *g, const gguf_value *v, const cJSON *want)
{
    const cJSON *values = cJSON_GetObjectItem(want, "values"),
                *of = cJSON_GetObjectItem(want, "of");
    const uint8_t *at = NULL;
    gguf_value item;
    int n = 0;

    if (!cJSON_IsString(of) || (int64_t)v->n != cJSON_GetArraySize(values))
        return false;
    for (; gguf_next(v, &at, &item); n++)
        if (!same_value(g, &item, of->valuestring, cJSON_GetArrayItem(values, n)))
            return false;
    return n == (int)v->n;
}

static bool same_value(golden *g, const gguf_value *v, const char *kind, const cJSON *want)
{
    static const char *const kinds[GGUF_KINDS] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                  "i32", "f32", "bool", "string", "array",
                                                  "u64", "i64", "f64"};
    int64_t i;
    uint64_t u;
    double d;
    bool b;
    gguf_text t;
    const char *text;
    size_t length;

    if (strcmp(kinds[v->kind], kind) != 0 || !want)
        return false;
    switch (v->kind) {
    case GGUF_ARRAY:
        return same_array(g, v, want);
    case GGUF_TEXT:
        return json_text(g->a, want, &text, &length) == STATUS_OK && gguf_as_text(v, &t) &&
               t.n == length && memcmp(t.v, text, length) == 0;
    case GGUF_U64:
        return cJSON_IsString(want) && gguf_as_u64(v, &u) &&
               u == strtoull(want->valuestring, NULL, 10);
    case GGUF_I64:
        return cJSON_IsString(want) && gguf_as_int(v, &i) &&
               i == strtoll(want->valuestring, NULL, 10);
    case GGUF_BOOL:
        return gguf_as_bool(v, &b) && b == cJSON_IsTrue(want);
    case GGUF_F32:
        return gguf_as_double(v, &d) && d == (double)(float)want->valuedouble;
    case GGUF_F64:
        return gguf_as_double(v, &d) && d == want->valuedouble;
    default:
        return gguf_as_int(v, &i) && (double)i == want->valuedouble;
    }
}

static status compare_tensor(golden *g, const gguf *f, const cJSON *item)
{
    const cJSON *values, *sizes;
    const char *name = "";
    const gguf_tensor *t;
    int64_t i = 0, wrong = 0;
    float *v;

    TRY(json_string(item, "name", true, &name, "tensors"));
    TRY(golden_list(item, "shape", &sizes, name));
    TRY(golden_list(item, "values", &values, name));
    t = gguf_find_tensor(f, name);
    if (!t || t->t.s.n != cJSON_GetArraySize(sizes) ||
        shape_count(t->t.s) != cJSON_GetArraySize(values)) {
        golden_wrong(g, "tensor %s is missing or of another shape", name);
        return STATUS_OK;
    }
    for (int k = 0; k < t->t.s.n; k++)
        wrong += t->t.s.d[k] != cJSON_GetArrayItem(sizes, k)->valueint;
    TRY(expanded(g->a, &t->t, &v));
    for (const cJSON *w = values->child; w; w = w->next)
        wrong += v[i++] != (float)w->valuedouble;
    golden_exact(g, name, wrong);
    return STATUS_OK;
}

static status compare_container(golden *g, const gguf *f, const cJSON *want)
{
    const cJSON *list, *item;
    int64_t n = 0, alignment = 32;

    TRY(golden_list(want, "metadata", &list, "container"));
    TRY(json_int(want, "alignment", false, 1, 1 << 20, &alignment, "container"));
    if (f->n_pairs != cJSON_GetArraySize(list) || (int64_t)f->alignment != alignment)
        golden_wrong(g, "%lld pairs and alignment %lld", (long long)f->n_pairs,
                     (long long)f->alignment);
    cJSON_ArrayForEach(item, list)
    {
        const char *key = "", *type = "";
        TRY(json_string(item, "key", true, &key, "metadata"));
        TRY(json_string(item, "type", true, &type, "metadata"));
        const gguf_value *v = gguf_find(f, key);
        if (!v || n >= f->n_pairs || strcmp(f->pairs[n++].key, key) != 0 ||
            !same_value(g, v, type, cJSON_GetObjectItem(item, "value")))
            golden_wrong(g, "%s is missing or differs", key);
    }
    TRY(golden_list(want, "tensors", &list, "container"));
    golden_exact(g, "tensors", llabs((long long)(f->n_tensors - cJSON_GetArraySize(list))));
    cJSON_ArrayForEach(item, list) TRY(compare_tensor(g, f, item));
    return STATUS_OK;
}

/* Without a JSON: it opens, and is of the version that its name says ("version2.gguf"). */
static status run_container(golden *g, const char *folder, const char *name)
{
    char *json = arena_string(g->a, name, strlen(name));
    cJSON *want = NULL;
    gguf f;
    unsigned version;

    if (!json)
        return STATUS_MEMORY;
    strcpy(json + strlen(json) - 5, ".json");
    TRY(gguf_open(g->a, arena_printf(g->a, "%s/%s", folder, name), &f));
    status s = golden_has(folder, json) ? json_read(golden_path(folder, json), &want) : STATUS_OK;
    if (s == STATUS_OK && want)
        s = compare_container(g, &f, want);
    if (sscanf(name, "version%u", &version) == 1 && version != f.version)
        golden_wrong(g, "the version is %u", f.version);
    if (strncmp(name, "no_tensors", 10) == 0)
        golden_exact(g, "tensors", f.n_tensors);
    if (!want)
        golden_exact(g, "is read", 0);
    cJSON_Delete(want);
    gguf_close(&f);
    return s;
}

static void run_containers(golden *g, const char *folder)
{
    char **names;
    int n;

    if (golden_names(g->a, folder, false, &names, &n) != STATUS_OK)
        return;
    for (int i = 0; i < n; i++) {
        const size_t mark = arena_mark(g->a), length = strlen(names[i]);
        if (length < 6 || strcmp(names[i] + length - 5, ".gguf") != 0)
            continue;
        golden_begin(g, folder, names[i]);
        golden_end(g, run_container(g, folder, names[i]));
        arena_rewind(g->a, mark);
    }
}

bool golden_gguf(golden *g, const char *folder)
{
    const size_t mark = arena_mark(g->a);
    const bool types = golden_has(folder, "types.json"), models = golden_has(folder, "models.json");

    if (types)
        run_types(g, folder);
    if (models)
        run_models(g, folder);
    if (!types && !models && !golden_has(folder, "MANIFEST.json"))
        run_containers(g, folder);
    arena_rewind(g->a, mark);
    return types || models;
}
