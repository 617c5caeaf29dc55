/* weights: the metadata of a GGUF file that a config.json amounts to, for llama and its relatives */
#include "core/json.h"
#include "layers/gguf_map.h"
#include "layers/weights_files.h"

#include <string.h>

typedef struct writer {
    const cJSON    *config;
    const char     *what;
    const gguf_map *map;
    gguf_meta      *m;
} writer;

static status write_rope(const writer *w, int64_t context)
{
    const cJSON *o = gguf_map_rope(w->config);
    const char  *kind = "default";
    double       theta = w->map->theta, factor = 1;
    int64_t      original = context;

    TRY(json_double(w->config, "rope_theta", false, &theta, w->what));
    if (o) {
        TRY(json_double(o, "rope_theta", false, &theta, w->what));
        TRY(json_string(o, "type", false, &kind, w->what));
        TRY(json_string(o, "rope_type", false, &kind, w->what));
    }
    TRY(gguf_map_put_real(w->m, w->map, "rope.freq_base", w->what, "rope_theta", theta));
    if (strcmp(kind, "default") == 0 ||
        strcmp(kind, "llama3") == 0) /* llama3: the tensor rope_freqs.weight */
        return STATUS_OK;
    if (strcmp(kind, "linear") != 0 && strcmp(kind, "yarn") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rope scaling of type '%s' cannot be said in a GGUF file; default, "
                    "linear, yarn and llama3 can",
                    w->what, kind);
    TRY(json_double(o, "factor", true, &factor, w->what));
    gguf_map_put_string(w->m, w->map, "rope.scaling.type", kind);
    TRY(gguf_map_put_real(w->m, w->map, "rope.scaling.factor", w->what, "rope_scaling.factor", factor));
    if (strcmp(kind, "yarn") == 0) {
        TRY(json_int(o, "original_max_position_embeddings", false, 1, INT32_MAX, &original, w->what));
        gguf_map_put_int(w->m, w->map, "rope.scaling.original_context_length", original);
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
        (!w->map->has_window && !cJSON_GetObjectItemCaseSensitive(w->config, "use_sliding_window")))
        return STATUS_OK;
    if (!w->map->has_window)
        return fail(STATUS_UNSUPPORTED, "%s: a sliding window of a %s model is not handled", w->what,
                    w->map->model_type);
    gguf_map_put_int(w->m, w->map, "attention.sliding_window", window);
    return STATUS_OK;
}

/* The activation is one of those that the file's reader takes for granted. */
static status check_act(const writer *w)
{
    const char *act = w->map->acts[0];

    TRY(json_string(w->config, w->map->act_key, false, &act, w->what));
    for (size_t i = 0; i < COUNT_OF(w->map->acts) && w->map->acts[i]; i++)
        if (strcmp(w->map->acts[i], act) == 0)
            return STATUS_OK;
    return fail(STATUS_UNSUPPORTED, "%s: %s is '%s', must be %s", w->what, w->map->act_key, act, w->map->acts[0]);
}

status weights_gguf_sizes(const cJSON *config, const char *what, const gguf_map *map, gguf_sizes *s)
{
    const int64_t most = INT32_MAX;

    *s = map->presets;
    TRY(json_int(config, "num_hidden_layers", true, 1, most, &s->layers, what));
    TRY(json_int(config, "hidden_size", true, 1, most, &s->hidden, what));
    TRY(json_int(config, "intermediate_size", true, 1, most, &s->inner, what));
    TRY(json_int(config, "num_attention_heads", true, 1, s->hidden, &s->heads, what));
    s->kv_heads = s->heads;
    TRY(json_int(config, "num_key_value_heads", false, 1, s->heads, &s->kv_heads, what));
    if (s->head_size == 0)
        s->head_size = s->hidden / s->heads;
    TRY(json_int(config, "head_dim", false, 2, most, &s->head_size, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &s->words, what));
    TRY(json_int(config, "max_position_embeddings", false, 1, most, &s->positions, what));
    if (s->head_size % 2)
        return fail(STATUS_FORMAT, "%s: the head size is %lld, must be even", what, (long long)s->head_size);
    return json_bool(config, "tie_word_embeddings", false, &s->tied, what);
}

/* What transformers takes when config.json says nothing is written out. */
status weights_gguf_metadata(arena *a, const cJSON *config, const char *what, const gguf_map *map,
                             gguf_meta *m)
{
    const writer w = {config, what, map, m};
    double       eps = 1e-6;
    gguf_sizes   s;

    (void)a;
    TRY(check_act(&w));
    TRY(weights_gguf_sizes(config, what, map, &s));
    TRY(json_double(config, "rms_norm_eps", false, &eps, what));
    gguf_map_put_sizes(m, map, &s);
    gguf_map_put_int(m, map, "attention.head_count_kv", s.kv_heads);
    TRY(gguf_map_put_real(m, map, "attention.layer_norm_rms_epsilon", what, "rms_norm_eps", eps));
    gguf_map_put_int(m, map, "rope.dimension_count", s.head_size);
    gguf_map_put_int(m, map, "attention.key_length", s.head_size);
    gguf_map_put_int(m, map, "attention.value_length", s.head_size);
    gguf_map_put_int(m, map, "vocab_size", s.words);
    TRY(write_window(&w));
    return write_rope(&w, s.positions);
}
