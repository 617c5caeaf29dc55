/* gguf_gpt2: the names and settings of gpt2, whose weights in blocks the file has turned: [out, in] */
#include "core/json.h"
#include "layers/gguf_map.h"
#include "layers/weights_files.h"

#include <string.h>

static const gguf_role whole[] = {
    {"token_embd.weight", "transformer.wte.weight", "vh", true, 0},
    {"position_embd.weight", "transformer.wpe.weight", "ph", true, 0},
    {"output_norm.weight", "transformer.ln_f.weight", "h", true, 0},
    {"output_norm.bias", "transformer.ln_f.bias", "h", true, 0},
    {"output.weight", "lm_head.weight", "vh", false, 0},
};

static const gguf_role block[] = {
    {"attn_norm.weight", "ln_1.weight", "h", true, 0},
    {"attn_norm.bias", "ln_1.bias", "h", true, 0},
    {"attn_qkv.weight", "attn.c_attn.weight", "sh", true, 't'},
    {"attn_qkv.bias", "attn.c_attn.bias", "s", true, 0},
    {"attn_output.weight", "attn.c_proj.weight", "hh", true, 't'},
    {"attn_output.bias", "attn.c_proj.bias", "h", true, 0},
    {"ffn_norm.weight", "ln_2.weight", "h", true, 0},
    {"ffn_norm.bias", "ln_2.bias", "h", true, 0},
    {"ffn_up.weight", "mlp.c_fc.weight", "fh", true, 't'},
    {"ffn_up.bias", "mlp.c_fc.bias", "f", true, 0},
    {"ffn_down.weight", "mlp.c_proj.weight", "hf", true, 't'},
    {"ffn_down.bias", "mlp.c_proj.bias", "h", true, 0},
};

static status read_sizes(const cJSON *config, const char *what, const gguf_map *map, gguf_sizes *s)
{
    const int64_t most = INT32_MAX / 4;

    *s = map->presets;
    TRY(json_int(config, "n_layer", true, 1, 65536, &s->layers, what));
    TRY(json_int(config, "n_embd", true, 1, most, &s->hidden, what));
    TRY(json_int(config, "n_head", true, 1, s->hidden, &s->heads, what));
    s->inner = 4 * s->hidden;
    TRY(json_int(config, "n_inner", false, 1, INT32_MAX, &s->inner, what));
    TRY(json_int(config, "vocab_size", true, 1, INT32_MAX, &s->words, what));
    TRY(json_int(config, "n_positions", false, 1, INT32_MAX, &s->positions, what));
    if (s->hidden % s->heads)
        return fail(STATUS_FORMAT, "%s: n_embd is %lld, must be a multiple of n_head %lld", what,
                    (long long)s->hidden,
                    (long long)s->heads);
    s->kv_heads = s->heads;
    s->head_size = s->hidden / s->heads;
    return json_bool(config, "tie_word_embeddings", false, &s->tied, what);
}

/* What changes the computation and has no place in the file. */
static status check_plain(const cJSON *config, const char *what, const gguf_map *map)
{
    const char *act = map->acts[0];
    bool        scaled = true, by_layer = false, crosses = false, known = false;

    TRY(json_string(config, map->act_key, false, &act, what));
    for (size_t i = 0; i < COUNT_OF(map->acts) && map->acts[i]; i++)
        known |= strcmp(map->acts[i], act) == 0;
    TRY(json_bool(config, "scale_attn_weights", false, &scaled, what));
    TRY(json_bool(config, "scale_attn_by_inverse_layer_idx", false, &by_layer, what));
    TRY(json_bool(config, "add_cross_attention", false, &crosses, what));
    if (!known || !scaled || by_layer || crosses)
        return fail(STATUS_UNSUPPORTED, "%s: a GGUF file's reader takes activation_function gelu_new (here '%s'), "
                    "scale_attn_weights true, scale_attn_by_inverse_layer_idx and add_cross_attention false",
                    what, act);
    return STATUS_OK;
}

static status write_config(arena *a, const cJSON *config, const char *what, const gguf_map *map, gguf_meta *m)
{
    double     eps = 1e-5;
    gguf_sizes s;

    (void)a;
    TRY(check_plain(config, what, map));
    TRY(read_sizes(config, what, map, &s));
    TRY(json_double(config, "layer_norm_epsilon", false, &eps, what));
    gguf_map_put_sizes(m, map, &s);
    gguf_map_put_int(m, map, "vocab_size", s.words);
    return gguf_map_put_real(m, map, "attention.layer_norm_epsilon", what, "layer_norm_epsilon", eps);
}

static status read_facts(arena *a, const gguf *g, const gguf_map *map, gguf_sizes *s, double *eps)
{
    const int64_t most = INT32_MAX, blocks = g->n_tensors < 65536 ? g->n_tensors : 65536;

    *s = (gguf_sizes){0};
    TRY(gguf_map_int(a, g, map, "block_count", true, 1, blocks, &s->layers));
    TRY(gguf_map_int(a, g, map, "context_length", true, 1, most, &s->positions));
    TRY(gguf_map_int(a, g, map, "embedding_length", true, 1, most / 4, &s->hidden));
    TRY(gguf_map_int(a, g, map, "feed_forward_length", true, 1, most, &s->inner));
    TRY(gguf_map_int(a, g, map, "attention.head_count", true, 1, s->hidden, &s->heads));
    s->kv_heads = s->heads;
    TRY(gguf_map_int(a, g, map, "attention.head_count_kv", false, 1, most, &s->kv_heads));
    if (s->kv_heads != s->heads)
        return fail(STATUS_UNSUPPORTED, "%s: %lld heads and %lld key heads; a gpt2 has as many", g->map.path,
                    (long long)s->heads, (long long)s->kv_heads);
    TRY(gguf_map_real(a, g, map, "attention.layer_norm_epsilon", true, eps));
    return gguf_map_words(g, &s->words);
}

static status read_config(arena *a, const gguf *g, const gguf_map *map, cJSON **out)
{
    gguf_sizes s;
    double     eps;

    *out = NULL;
    TRY(read_facts(a, g, map, &s, &eps));
    *out = cJSON_CreateObject();
    if (!*out)
        return fail(STATUS_MEMORY, "%s: no memory for its config", g->map.path);
    const struct {
        const char *name;
        double      value;
    } numbers[] = {{"vocab_size", (double)s.words},      {"n_embd", (double)s.hidden},
                   {"n_inner", (double)s.inner},         {"n_layer", (double)s.layers},
                   {"n_head", (double)s.heads},          {"n_positions", (double)s.positions},
                   {"n_ctx", (double)s.positions},       {"layer_norm_epsilon", eps}};
    cJSON *classes = cJSON_AddArrayToObject(*out, "architectures");
    cJSON_AddItemToArray(classes, cJSON_CreateString(map->class_name));
    cJSON_AddStringToObject(*out, "model_type", map->model_type);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        cJSON_AddNumberToObject(*out, numbers[i].name, numbers[i].value);
    cJSON_AddStringToObject(*out, map->act_key, map->acts[0]);
    cJSON_AddBoolToObject(*out, "tie_word_embeddings", !gguf_find_tensor(g, "output.weight"));
    return gguf_map_ends(g, s.words, *out);
}

extern const gguf_map gguf_map_gpt2;

const gguf_map gguf_map_gpt2 = {.architecture = "gpt2", .stored_as = "gpt2", .model_type = "gpt2",
                                .class_name = "GPT2LMHeadModel", .act_key = "activation_function",
                                .acts = {"gelu_new", "gelu_pytorch_tanh"},
                                .presets = {.positions = 1024, .tied = true}, .blocks = "transformer.h.",
                                .prefix = "transformer.", .made = {".attn.bias", ".attn.masked_bias"},
                                .whole = whole, .n_whole = COUNT_OF(whole), .block = block,
                                .n_block = COUNT_OF(block), .read_sizes = read_sizes, .read_config = read_config,
                                .write_config = write_config};
