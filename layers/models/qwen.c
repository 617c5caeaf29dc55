/* qwen2: llama with biases on q, k and v (Yang et al. 2024); qwen3: norms of the heads of q and k in their place
 * (Yang et al. 2025). Later layers may have a window of keys. */
#include "core/json.h"
#include "layers/decoder.h"

static const decoder_presets qwen2 = {.act_key = "hidden_act", .act = "silu", .positions = 32768, .theta = 1e4};
static const decoder_presets qwen3 = {.act_key = "hidden_act", .act = "silu", .positions = 32768, .theta = 1e4,
                                      .head_size = 128};

static bool late(int64_t layer, int64_t first)
{
    return layer >= first;
}

static status read_windows(arena *a, const cJSON *config, decoder_config *c)
{
    int64_t window = 4096, first = 28;
    bool    slides = false;

    TRY(json_bool(config, "use_sliding_window", false, &slides, "config.json"));
    TRY(json_int(config, "max_window_layers", false, 0, INT32_MAX, &first, "config.json"));
    TRY(json_int(config, "sliding_window", false, 1, INT32_MAX, &window, "config.json"));
    return slides ? decoder_windows(a, config, window, late, first, c) : STATUS_OK;
}

static status qwen2_open(arena *a, model *m)
{
    decoder_config c;

    TRY(decoder_read_config(a, m, &qwen2, &c));
    c.qkv_bias = true;
    TRY(read_windows(a, m->source->config, &c));
    return decoder_open(a, m, &c);
}

static status qwen3_open(arena *a, model *m)
{
    decoder_config c;

    TRY(decoder_read_config(a, m, &qwen3, &c));
    TRY(json_bool(m->source->config, "attention_bias", false, &c.qkv_bias, "config.json"));
    c.o_bias = c.qkv_bias;
    c.qk_norm = true;
    TRY(read_windows(a, m->source->config, &c));
    return decoder_open(a, m, &c);
}

const model_family model_qwen2 = {.name = "qwen2", .open = qwen2_open, .hidden = decoder_hidden};
const model_family model_qwen3 = {.name = "qwen3", .open = qwen3_open, .hidden = decoder_hidden};
