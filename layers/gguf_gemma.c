/* gguf_gemma: the names of gemma, gemma2 and gemma3, and the settings that llama does not have
 *
 * The file has the norms' weights with the one added, rows as they are, and no head of its own (gemma3 may). What a
 * GGUF reader takes for granted is written only where a trunk differs: the scale of the scores, which layers see a
 * window, and the rotary base of those. */
#include "core/json.h"
#include "core/log.h"
#include "layers/gguf_map.h"
#include "layers/weights_files.h"

#include <math.h>
#include <string.h>

#define WHOLE \
    {"token_embd.weight", "model.embed_tokens.weight", "vh", true, 0}, \
    {"output_norm.weight", "model.norm.weight", "h", true, '1'},

#define BLOCK \
    {"attn_norm.weight", "input_layernorm.weight", "h", true, '1'}, \
    {"attn_q.weight", "self_attn.q_proj.weight", "qh", true, 0}, \
    {"attn_k.weight", "self_attn.k_proj.weight", "kh", true, 0}, \
    {"attn_v.weight", "self_attn.v_proj.weight", "kh", true, 0}, \
    {"attn_output.weight", "self_attn.o_proj.weight", "hq", true, 0}, \
    {"ffn_gate.weight", "mlp.gate_proj.weight", "fh", true, 0}, \
    {"ffn_up.weight", "mlp.up_proj.weight", "fh", true, 0}, \
    {"ffn_down.weight", "mlp.down_proj.weight", "hf", true, 0},

/* Norms behind attention and mlp too. */
#define POST_NORMS \
    {"post_attention_norm.weight", "post_attention_layernorm.weight", "h", true, '1'}, \
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight", "h", true, '1'}, \
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight", "h", true, '1'},

static const gguf_role whole[] = {WHOLE};
static const gguf_role whole_gemma3[] = {WHOLE {"output.weight", "lm_head.weight", "vh", false, 0}};

static const gguf_role block[] = {BLOCK {"ffn_norm.weight", "post_attention_layernorm.weight", "h", true, '1'}};
static const gguf_role block_gemma2[] = {BLOCK POST_NORMS};
static const gguf_role block_gemma3[] = {
    BLOCK POST_NORMS {"attn_q_norm.weight", "self_attn.q_norm.weight", "d", true, '1'},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", "d", true, '1'},
};

extern const gguf_map gguf_map_gemma, gguf_map_gemma2, gguf_map_gemma3;

/* How the two later families differ, in what their files do not say. */
typedef struct kin {
    int64_t big;      /* the number of blocks of the trunk whose scores are scaled by width / heads */
    int64_t period;   /* the last layer of so many sees all keys */
    double  caps[2];  /* of scores and logits, where the file has none; 0: none */
} kin;

static const kin kin2 = {46, 2, {50, 30}}, kin3 = {62, 6, {0, 0}};

static const char *const cap_keys[2] = {"attn_logit_softcapping", "final_logit_softcapping"};

static const kin *kin_of(const gguf_map *map)
{
    return map == &gguf_map_gemma2 ? &kin2 : &kin3;
}

/* What the scores are divided by the root of, when the file does not say. */
static double usual_scalar(const kin *k, const gguf_sizes *s)
{
    return s->layers == k->big ? (double)(s->hidden / s->heads) : (double)s->head_size;
}

/* ---- from the metadata ------------------------------------------------------------------------------------ */

static void add_layers(cJSON *config, int64_t layers, int64_t period)
{
    cJSON *types = cJSON_AddArrayToObject(config, "layer_types");

    for (int64_t l = 0; l < layers; l++)
        cJSON_AddItemToArray(types, cJSON_CreateString((l + 1) % period ? "sliding_attention" : "full_attention"));
}

/* f32 in the file: the whole number that it is the rounding of. */
static double scalar_of(double scale)
{
    const double scalar = 1 / (scale * scale), whole = nearbyint(scalar);

    return fabs(scalar - whole) < 1e-5 * scalar ? whole : scalar;
}

static status read_later(arena *a, const gguf *g, const gguf_map *map, const gguf_sizes *s, cJSON *config)
{
    const kin *k = kin_of(map);
    double     scale = 0, theta = 10000;
    int64_t    period = k->period;

    TRY(gguf_map_real(a, g, map, "attention.scale", false, &scale));
    cJSON_AddNumberToObject(config, "query_pre_attn_scalar", scale > 0 ? scalar_of(scale) : usual_scalar(k, s));
    for (int i = 0; i < 2; i++) {
        double cap = k->caps[i];
        TRY(gguf_map_real(a, g, map, cap_keys[i], false, &cap));
        if (cap > 0)
            cJSON_AddNumberToObject(config, cap_keys[i], cap);
        else
            cJSON_AddNullToObject(config, cap_keys[i]);
    }
    TRY(gguf_map_int(a, g, map, "attention.sliding_window_pattern", false, 1, INT32_MAX, &period));
    if (!cJSON_GetObjectItemCaseSensitive(config, "sliding_window") && map == &gguf_map_gemma2)
        cJSON_AddNumberToObject(config, "sliding_window", 4096);
    add_layers(config, s->layers, cJSON_GetObjectItemCaseSensitive(config, "sliding_window") ? period : 1);
    if (map != &gguf_map_gemma3)
        return STATUS_OK;
    TRY(gguf_map_real(a, g, map, "rope.freq_base_swa", false, &theta));
    cJSON_AddNumberToObject(config, "rope_local_base_freq", theta);
    return STATUS_OK;
}

static status read_config(arena *a, const gguf *g, const gguf_map *map, cJSON **out)
{
    gguf_sizes s;

    TRY(weights_gguf_config(a, g, map, out));
    cJSON_DeleteItemFromObjectCaseSensitive(*out, "mlp_bias");
    if (map == &gguf_map_gemma)
        return STATUS_OK;
    TRY(weights_gguf_sizes(*out, g->map.path, map, &s));
    return read_later(a, g, map, &s, *out);
}

/* ---- from config.json ------------------------------------------------------------------------------------- */

/* True when these are the layers that see a window where the last of every `period` sees all keys. */
static bool is_period(const cJSON *types, int64_t period)
{
    const cJSON *type;
    int64_t      l = 0;

    cJSON_ArrayForEach(type, types)
    {
        const bool slides = cJSON_IsString(type) && strcmp(type->valuestring, "sliding_attention") == 0;
        if (slides != (++l % period != 0))
            return false;
    }
    return true;
}

/* The period of layer_types, or else of sliding_window_pattern. */
static status find_period(const cJSON *config, const char *what, const kin *k, int64_t layers, int64_t *period)
{
    const cJSON *types = cJSON_GetObjectItemCaseSensitive(config, "layer_types");

    *period = k->period;
    if (k == &kin3)
        TRY(json_int(config, "sliding_window_pattern", false, 1, INT32_MAX, period, what));
    if (!cJSON_IsArray(types) || is_period(types, *period))
        return STATUS_OK;
    for (*period = 1; *period <= layers + 1; ++*period)
        if (is_period(types, *period))
            return STATUS_OK;
    return fail(STATUS_UNSUPPORTED, "%s: layer_types has full_attention elsewhere than in every n-th layer, which a "
                "GGUF file cannot say", what);
}

static status write_caps(const cJSON *config, const char *what, const gguf_map *map, gguf_meta *m)
{
    for (int i = 0; i < 2; i++) {
        const cJSON *given = cJSON_GetObjectItemCaseSensitive(config, cap_keys[i]);
        double       cap = given ? 0 : kin_of(map)->caps[i];
        TRY(json_double(config, cap_keys[i], false, &cap, what));
        if (map == &gguf_map_gemma2 ? cap == 0 : i == 0 && cap != 0)
            return fail(STATUS_UNSUPPORTED, "%s: %s is %g, which a GGUF reader of %s does not know", what,
                        cap_keys[i],
                        cap, map->architecture);
        if (cap != 0)
            TRY(gguf_map_put_real(m, map, cap_keys[i], what, cap_keys[i], cap));
    }
    return STATUS_OK;
}

/* The rotary base of the layers that see a window. */
static status write_local(const cJSON *config, const char *what, const gguf_map *map, gguf_meta *m)
{
    const cJSON *fresh = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    const cJSON *o = cJSON_GetObjectItemCaseSensitive(fresh, "sliding_attention");
    const char  *kind = "default";
    double       theta = 10000;

    TRY(json_double(config, "rope_local_base_freq", false, &theta, what));
    if (cJSON_IsObject(o)) {
        TRY(json_double(o, "rope_theta", false, &theta, what));
        TRY(json_string(o, "rope_type", false, &kind, what));
    }
    if (strcmp(kind, "default") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rope scaling of type '%s' in layers with a window cannot be said in a GGUF "
                    "file", what, kind);
    return theta == 10000 ? STATUS_OK
                          : gguf_map_put_real(m, map, "rope.freq_base_swa", what, "rope_local_base_freq", theta);
}

static status write_later(const cJSON *config, const char *what, const gguf_map *map, gguf_meta *m)
{
    const kin *k = kin_of(map);
    double     scalar = 256;
    int64_t    period, window = 4096;
    gguf_sizes s;

    TRY(weights_gguf_sizes(config, what, map, &s));
    TRY(json_double(config, "query_pre_attn_scalar", false, &scalar, what));
    if (!(scalar > 0))
        return fail(STATUS_FORMAT, "%s: query_pre_attn_scalar is %g, must be above 0", what, scalar);
    if (scalar != usual_scalar(k, &s)) {
        TRY(gguf_map_put_real(m, map, "attention.scale", what, "query_pre_attn_scalar", 1 / sqrt(scalar)));
        log_warn("query_pre_attn_scalar is %g, written as attention.scale; llama.cpp reads %s files as if it were %g",
                 scalar, map->architecture, usual_scalar(k, &s));
    }
    TRY(write_caps(config, what, map, m));
    TRY(json_int(config, "sliding_window", false, 1, INT32_MAX, &window, what));
    TRY(find_period(config, what, k, s.layers, &period));
    gguf_map_put_int(m, map, "attention.sliding_window", window);
    if (period != k->period)
        gguf_map_put_int(m, map, "attention.sliding_window_pattern", period);
    return map == &gguf_map_gemma3 ? write_local(config, what, map, m) : STATUS_OK;
}

static status write_config(arena *a, const cJSON *config, const char *what, const gguf_map *map, gguf_meta *m)
{
    TRY(weights_gguf_metadata(a, config, what, map, m));
    return map == &gguf_map_gemma ? STATUS_OK : write_later(config, what, map, m);
}

/* ---- maps ------------------------------------------------------------------------------------------------- */

#define NAMES(whole_, block_) \
    .blocks = "model.layers.", .whole = whole_, .n_whole = COUNT_OF(whole_), .block = block_, \
    .n_block = COUNT_OF(block_), .made = {"rotary_emb.inv_freq"}, .read_sizes = weights_gguf_sizes, \
    .read_config = read_config, .write_config = write_config

const gguf_map gguf_map_gemma = {
    .architecture = "gemma", .stored_as = "gemma", .model_type = "gemma", .class_name = "GemmaForCausalLM",
    .act_key = "hidden_act", .acts = {"gelu_pytorch_tanh", "gelu_new", "gelu"}, .theta = 10000,
    .presets = {.positions = 8192, .head_size = 256, .tied = true}, NAMES(whole, block)};
const gguf_map gguf_map_gemma2 = {
    .architecture = "gemma2", .stored_as = "gemma2", .model_type = "gemma2", .class_name = "Gemma2ForCausalLM",
    .act_key = "hidden_activation", .acts = {"gelu_pytorch_tanh", "gelu_new"}, .theta = 10000, .has_window = true,
    .presets = {.positions = 8192, .head_size = 256, .tied = true}, NAMES(whole, block_gemma2)};
const gguf_map gguf_map_gemma3 = {
    .architecture = "gemma3", .stored_as = "gemma3", .model_type = "gemma3_text", .class_name = "Gemma3ForCausalLM",
    .act_key = "hidden_activation", .acts = {"gelu_pytorch_tanh", "gelu_new"}, .theta = 1e6, .has_window = true,
    .presets = {.positions = 131072, .head_size = 256, .tied = true}, NAMES(whole_gemma3, block_gemma3)};
