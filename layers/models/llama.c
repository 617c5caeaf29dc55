/* llama: Llama 1 to 3 and what is built like them (Touvron et al. 2023) */
#include "core/json.h"
#include "layers/decoder.h"

static const decoder_presets presets = {.act_key = "hidden_act", .act = "silu", .positions = 2048, .theta = 1e4};

static status llama_open(arena *a, model *m)
{
    decoder_config c;

    TRY(decoder_read_config(a, m, &presets, &c));
    TRY(json_bool(m->source->config, "attention_bias", false, &c.qkv_bias, "config.json"));
    TRY(json_bool(m->source->config, "mlp_bias", false, &c.mlp_bias, "config.json"));
    c.o_bias = c.qkv_bias;
    return decoder_open(a, m, &c);
}

const model_family model_llama = {.name = "llama", .open = llama_open, .hidden = decoder_hidden};
