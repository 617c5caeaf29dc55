/* gemma (Gemma Team 2024): norms of 1 + w, scaled embeddings, wide heads. gemma2: norms behind attention and mlp too,
 * capped scores and logits, a window in every other layer. gemma3 (Gemma Team 2025): no caps, norms of the heads of q and k, and a
 * window in five of six layers, which have rotary frequencies of their own. */
#include "core/json.h"
#include "layers/decoder.h"

#include <math.h>
#include <string.h>

static const decoder_presets gemma = {.act_key = "hidden_act", .act = "gelu_pytorch_tanh", .tied = true,
                                      .head_size = 256, .positions = 8192, .theta = 1e4};
static const decoder_presets gemma2 = {.act_key = "hidden_activation", .act = "gelu_pytorch_tanh", .tied = true,
                                       .head_size = 256, .positions = 8192, .theta = 1e4};
static const decoder_presets gemma3 = {.act_key = "hidden_activation", .act = "gelu_pytorch_tanh", .tied = true,
                                       .head_size = 256, .positions = 131072, .theta = 1e6};

/* The first files say "gelu" and mean its approximation. */
static status gemma_open(arena *a, model *m)
{
    const char    *act = gemma.act;
    decoder_config c;

    TRY(decoder_read_config(a, m, &gemma, &c));
    TRY(json_bool(m->source->config, "attention_bias", false, &c.qkv_bias, "config.json"));
    TRY(json_string(m->source->config, gemma.act_key, false, &act, "config.json"));
    if (strcmp(act, "gelu") == 0)
        TRY(activation_find(gemma.act, "config.json", &c.act));
    c.o_bias = c.qkv_bias;
    c.plus_one = true;
    c.embed_scale = sqrt((double)c.hidden);
    return decoder_open(a, m, &c);
}

/* A null is no cap; without the key there is the preset. */
static status read_cap(const cJSON *config, const char *key, double preset, double *cap)
{
    *cap = cJSON_GetObjectItemCaseSensitive(config, key) ? 0 : preset;
    return json_double(config, key, false, cap, "config.json");
}

static status read_shared(arena *a, model *m, const decoder_presets *p, double score_cap, double logit_cap,
                          decoder_config *c)
{
    const cJSON *config = m->source->config;
    double       scalar = 256;

    TRY(decoder_read_config(a, m, p, c));
    TRY(json_bool(config, "attention_bias", false, &c->qkv_bias, "config.json"));
    TRY(json_double(config, "query_pre_attn_scalar", false, &scalar, "config.json"));
    TRY(read_cap(config, "attn_logit_softcapping", score_cap, &c->score_cap));
    TRY(read_cap(config, "final_logit_softcapping", logit_cap, &c->logit_cap));
    if (!(scalar > 0) || c->score_cap < 0 || c->logit_cap < 0)
        return fail(STATUS_FORMAT, "config.json: query_pre_attn_scalar is %g, attn_logit_softcapping %g, "
                    "final_logit_softcapping %g; must be > 0 (caps: or null)", scalar, c->score_cap, c->logit_cap);
    c->o_bias = c->qkv_bias;
    c->plus_one = c->post_norms = true;
    c->embed_scale = sqrt((double)c->hidden);
    c->scale = 1 / sqrt(scalar);
    return STATUS_OK;
}

static bool even(int64_t layer, int64_t n)
{
    (void)n;
    return layer % 2 == 0;
}

static bool not_every(int64_t layer, int64_t n)
{
    return (layer + 1) % n != 0;
}

static status gemma2_open(arena *a, model *m)
{
    decoder_config c;
    int64_t        window = 4096;

    TRY(read_shared(a, m, &gemma2, 50, 30, &c));
    TRY(json_int(m->source->config, "sliding_window", false, 1, INT32_MAX, &window, "config.json"));
    TRY(decoder_windows(a, m->source->config, window, even, 0, &c));
    return decoder_open(a, m, &c);
}

static status gemma3_open(arena *a, model *m)
{
    const cJSON   *config = m->source->config;
    decoder_config c;
    int64_t        window = 4096, pattern = 6;
    double         theta = 1e4;
    bool          *local;

    TRY(read_shared(a, m, &gemma3, 0, 0, &c));
    c.qk_norm = true;
    TRY(json_int(config, "sliding_window", false, 1, INT32_MAX, &window, "config.json"));
    TRY(json_int(config, "sliding_window_pattern", false, 1, INT32_MAX, &pattern, "config.json"));
    TRY(decoder_windows(a, config, window, not_every, pattern, &c));
    TRY_TAKE(local, a, c.layers);
    for (int64_t l = 0; l < c.layers; l++)
        local[l] = c.windows[l] > 0;
    c.local = local;
    TRY(json_double(config, "rope_local_base_freq", false, &theta, "config.json"));
    TRY(rope_read(a, config, "config.json", "sliding_attention", theta, c.head_size, c.positions, NULL, &c.local_rope));
    return decoder_open(a, m, &c);
}

const model_family model_gemma = {.name = "gemma", .open = gemma_open, .hidden = decoder_hidden};
const model_family model_gemma2 = {.name = "gemma2", .open = gemma2_open, .hidden = decoder_hidden};
const model_family model_gemma3 = {.name = "gemma3_text", .open = gemma3_open, .hidden = decoder_hidden};
