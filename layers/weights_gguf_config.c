/* weights: the config.json that the metadata of a GGUF file amount to, for llama and its relatives
 *
 * Real numbers are f32 in the file and
 * keep that value: an epsilon of 1e-5 reads 9.99999975e-6. */
#include "layers/weights_files.h"

#include <string.h>

/* What a config is made of, read and checked before it is built. */
typedef struct facts {
    const gguf_map *arch;
    int64_t         layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context, window;
    double          eps, theta;
} facts;

static status read_heads(arena *a, const gguf *g, facts *f)
{
    int64_t rotary;

    TRY(gguf_map_int(a, g, f->arch, "attention.head_count", true, 1, f->hidden, &f->heads));
    f->kv_heads = f->heads;
    TRY(gguf_map_int(a, g, f->arch, "attention.head_count_kv", false, 1, f->heads, &f->kv_heads));
    if (f->heads % f->kv_heads)
        return fail(STATUS_FORMAT, "%s: %lld heads share %lld key heads, must be a multiple",
                    g->map.path, (long long)f->heads, (long long)f->kv_heads);

    TRY(gguf_map_int(a, g, f->arch, "rope.dimension_count", false, 1, INT32_MAX, &f->head_dim));
    rotary = f->head_dim;
    TRY(gguf_map_int(a, g, f->arch, "attention.key_length", false, 1, INT32_MAX, &f->head_dim));
    if (f->head_dim == 0 && f->hidden % f->heads == 0)
        f->head_dim = f->hidden / f->heads;
    if (f->head_dim == 0 || f->head_dim % 2)
        return fail(STATUS_FORMAT,
                    "%s: the head size is %lld (width %lld, %lld heads), must be even", g->map.path,
                    (long long)f->head_dim, (long long)f->hidden, (long long)f->heads);
    if (rotary && rotary != f->head_dim)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rotary positions cover %lld of a head's %lld values, must "
                    "cover all",
                    g->map.path, (long long)rotary, (long long)f->head_dim);
    return STATUS_OK;
}

static status read_facts(arena *a, const gguf *g, const gguf_map *map, facts *f)
{
    const int64_t blocks_max = g->n_tensors < INT32_MAX ? g->n_tensors : INT32_MAX;
    int64_t       experts = 0;

    *f = (facts){.arch = map, .theta = map->theta};
    TRY(gguf_map_int(a, g, f->arch, "expert_count", false, 0, INT32_MAX, &experts));
    if (experts)
        return fail(STATUS_UNSUPPORTED, "%s: has %lld experts; mixtures of experts are not handled",
                    g->map.path, (long long)experts);
    TRY(gguf_map_int(a, g, f->arch, "block_count", true, 1, blocks_max, &f->layers));
    TRY(gguf_map_int(a, g, f->arch, "embedding_length", true, 1, INT32_MAX, &f->hidden));
    TRY(gguf_map_int(a, g, f->arch, "feed_forward_length", true, 1, INT32_MAX, &f->ffn));
    TRY(gguf_map_int(a, g, f->arch, "context_length", true, 1, INT32_MAX, &f->context));
    TRY(gguf_map_int(a, g, f->arch, "attention.sliding_window", false, 0, INT32_MAX, &f->window));
    if (f->window && !map->has_window)
        return fail(STATUS_UNSUPPORTED, "%s: a sliding window of a %s model is not handled",
                    g->map.path, f->arch->architecture);
    TRY(gguf_map_real(a, g, f->arch, "attention.layer_norm_rms_epsilon", true, &f->eps));
    TRY(gguf_map_real(a, g, f->arch, "rope.freq_base", false, &f->theta));
    TRY(read_heads(a, g, f));
    return gguf_map_words(g, &f->vocab);
}

/* rope.scaling.*: linear and yarn have config.json's names; what else there is is refused. */
static status add_scaling(arena *a, const gguf *g, const facts *f, cJSON *config)
{
    const char *key = arena_printf(a, "%s.rope.scaling.type", f->arch->architecture), *kind = "none";
    double      factor = 0;
    int64_t     original = f->context;

    if (!key)
        return STATUS_MEMORY;
    TRY(gguf_string(a, g, key, false, &kind));
    if (strcmp(kind, "none") == 0)
        return STATUS_OK;
    if (strcmp(kind, "linear") != 0 && strcmp(kind, "yarn") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: %s is %.60s, must be none, linear or yarn",
                    g->map.path, key, kind);
    TRY(gguf_map_real(a, g, f->arch, "rope.scaling.factor", true, &factor));
    TRY(gguf_map_int(a, g, f->arch, "rope.scaling.original_context_length", false, 1, INT32_MAX, &original));

    cJSON *o = cJSON_AddObjectToObject(config, "rope_scaling");
    cJSON_AddStringToObject(o, "rope_type", kind);
    cJSON_AddNumberToObject(o, "factor", factor);
    if (strcmp(kind, "yarn") == 0)
        cJSON_AddNumberToObject(o, "original_max_position_embeddings", (double)original);
    return STATUS_OK;
}

static void add_numbers(const facts *f, cJSON *config)
{
    const struct {
        const char *name;
        double      value;
    } numbers[] = {{"vocab_size", (double)f->vocab},
                   {"hidden_size", (double)f->hidden},
                   {"intermediate_size", (double)f->ffn},
                   {"num_hidden_layers", (double)f->layers},
                   {"num_attention_heads", (double)f->heads},
                   {"num_key_value_heads", (double)f->kv_heads},
                   {"head_dim", (double)f->head_dim},
                   {"max_position_embeddings", (double)f->context},
                   {"rms_norm_eps", f->eps},
                   {"rope_theta", f->theta}};

    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        cJSON_AddNumberToObject(config, numbers[i].name, numbers[i].value);
}

static status fill(arena *a, const gguf *g, const facts *f, cJSON *config)
{
    /* a llama with a window is a mistral stored under llama's name */
    const gguf_map *arch = f->window && f->arch->permutes ? gguf_map_of("mistral") : f->arch;
    cJSON          *classes = cJSON_AddArrayToObject(config, "architectures");

    cJSON_AddItemToArray(classes, cJSON_CreateString(arch->class_name));
    cJSON_AddStringToObject(config, "model_type", arch->model_type);
    add_numbers(f, config);
    cJSON_AddStringToObject(config, arch->act_key, arch->acts[0]);
    cJSON_AddBoolToObject(config, "tie_word_embeddings", !gguf_find_tensor(g, "output.weight"));
    if (f->window)
        cJSON_AddNumberToObject(config, "sliding_window", (double)f->window);
    if (!f->arch->has_bias) {
        cJSON_AddBoolToObject(config, "attention_bias",
                              gguf_find_tensor(g, "blk.0.attn_q.bias") != NULL);
        cJSON_AddBoolToObject(config, "mlp_bias", gguf_find_tensor(g, "blk.0.ffn_up.bias") != NULL);
    } else if (!gguf_find_tensor(g, "blk.0.attn_q.bias"))
        return fail(STATUS_FORMAT, "%s: has no blk.0.attn_q.bias, which a %s model must have",
                    g->map.path, f->arch->architecture);
    TRY(add_scaling(a, g, f, config));
    return gguf_map_ends(g, f->vocab, config);
}

status weights_gguf_config(arena *a, const gguf *g, const gguf_map *map, cJSON **out)
{
    facts f;

    *out = NULL;
    TRY(read_facts(a, g, map, &f));
    *out = cJSON_CreateObject();
    if (!*out)
        return fail(STATUS_MEMORY, "%s: no memory for its config", g->map.path);
    return fill(a, g, &f, *out); /* weights_close frees it also after a failure */
}
