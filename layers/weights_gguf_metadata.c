/* weights: the metadata of a GGUF file that a config.json amounts to, for llama and its relatives */
#include "core/json.h"
#include "layers/gguf_map.h"
#include "layers/weights_files.h"

#include <math.h>
#include <string.h>

typedef struct writer {
    arena          *a;
    const cJSON    *config;
    const char     *what;
    const gguf_map *map;
    gguf_meta      *m;
} writer;

static const char *key_of(const writer *w, const char *key)
{
    const char *full = arena_printf(w->a, "%s.%s", w->map->stored_as, key);

    if (!full)
        w->m->error = STATUS_MEMORY;
    return full ? full : "";
}

static void put_int(const writer *w, const char *key, int64_t value)
{
    gguf_put_u32(w->m, key_of(w, key), (uint32_t)value);
}

static status put_real(const writer *w, const char *key, const char *name, double value)
{
    if (!(value > 0) || !isfinite(value) || !isfinite((float)value))
        return fail(STATUS_FORMAT, "%s: %s is %g, must be above 0 and finite", w->what, name, value);
    gguf_put_f32(w->m, key_of(w, key), (float)value);
    return STATUS_OK;
}

static status write_rope(const writer *w, int64_t context)
{
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(w->config, "rope_scaling");
    const cJSON *fresh = cJSON_GetObjectItemCaseSensitive(w->config, "rope_parameters");
    const char  *kind = "default";
    double       theta = 10000, factor = 1;
    int64_t      original = context;

    if (cJSON_IsObject(fresh))
        o = fresh;
    TRY(json_double(w->config, "rope_theta", false, &theta, w->what));
    if (cJSON_IsObject(o)) {
        TRY(json_double(o, "rope_theta", false, &theta, w->what));
        TRY(json_string(o, "type", false, &kind, w->what));
        TRY(json_string(o, "rope_type", false, &kind, w->what));
    }
    TRY(put_real(w, "rope.freq_base", "rope_theta", theta));
    if (strcmp(kind, "default") == 0 ||
        strcmp(kind, "llama3") == 0) /* llama3: the tensor rope_freqs.weight */
        return STATUS_OK;
    if (strcmp(kind, "linear") != 0 && strcmp(kind, "yarn") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rope scaling of type '%s' cannot be said in a GGUF file; default, "
                    "linear, yarn and llama3 can",
                    w->what, kind);
    TRY(json_double(o, "factor", true, &factor, w->what));
    gguf_put_string(w->m, key_of(w, "rope.scaling.type"), kind);
    TRY(put_real(w, "rope.scaling.factor", "rope_scaling.factor", factor));
    if (strcmp(kind, "yarn") == 0) {
        TRY(json_int(o, "original_max_position_embeddings", false, 1, INT32_MAX, &original, w->what));
        put_int(w, "rope.scaling.original_context_length", original);
    }
    return STATUS_OK;
}

static status write_window(const writer *w)
{
    int64_t window = 0;
    bool    uses = true;

    TRY(json_int(w->config, "sliding_window", false, 0, INT32_MAX, &window, w->what));
    TRY(json_bool(w->config, "use_sliding_window", false, &uses, w->what));
    if (!window || !uses ||
        (!w->map->permutes && !cJSON_GetObjectItemCaseSensitive(w->config, "use_sliding_window")))
        return STATUS_OK;
    if (!w->map->permutes) /* qwen */
        return fail(STATUS_UNSUPPORTED, "%s: a sliding window of a %s model is not handled", w->what,
                    w->map->model_type);
    put_int(w, "attention.sliding_window", window);
    return STATUS_OK;
}

/* What transformers takes when config.json says nothing is written out. */
status weights_gguf_metadata(arena *a, const cJSON *config, const char *what, const gguf_map *map,
                             gguf_meta *m)
{
    const writer  w = {a, config, what, map, m};
    const int64_t most = INT32_MAX;
    const char   *act = "silu";
    int64_t       layers, hidden, ffn, heads, kv_heads, head_size = 0, words, context = 2048;
    double        eps = 1e-6;

    TRY(json_string(config, "hidden_act", false, &act, what));
    if (strcmp(act, "silu") != 0 && strcmp(act, "swish") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: hidden_act is '%s', must be silu", what, act);
    TRY(json_int(config, "num_hidden_layers", true, 1, most, &layers, what));
    TRY(json_int(config, "hidden_size", true, 1, most, &hidden, what));
    TRY(json_int(config, "intermediate_size", true, 1, most, &ffn, what));
    TRY(json_int(config, "num_attention_heads", true, 1, hidden, &heads, what));
    kv_heads = heads;
    TRY(json_int(config, "num_key_value_heads", false, 1, heads, &kv_heads, what));
    TRY(json_int(config, "head_dim", false, 2, most, &head_size, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &words, what));
    TRY(json_int(config, "max_position_embeddings", false, 1, most, &context, what));
    TRY(json_double(config, "rms_norm_eps", false, &eps, what));
    if (head_size == 0)
        head_size = hidden / heads;
    gguf_put_string(m, "general.architecture", map->stored_as);
    gguf_put_string(m, "general.type", "model");
    put_int(&w, "block_count", layers);
    put_int(&w, "context_length", context);
    put_int(&w, "embedding_length", hidden);
    put_int(&w, "feed_forward_length", ffn);
    put_int(&w, "attention.head_count", heads);
    put_int(&w, "attention.head_count_kv", kv_heads);
    TRY(put_real(&w, "attention.layer_norm_rms_epsilon", "rms_norm_eps", eps));
    put_int(&w, "rope.dimension_count", head_size);
    put_int(&w, "attention.key_length", head_size);
    put_int(&w, "attention.value_length", head_size);
    put_int(&w, "vocab_size", words);
    TRY(write_window(&w));
    return write_rope(&w, context);
}
