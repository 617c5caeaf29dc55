/* gguf_llama: the names of llama, mistral, qwen2 and qwen3 */
#include "layers/gguf_map.h"
#include "layers/weights_files.h"

static const gguf_role whole[] = {
    {"token_embd.weight", "model.embed_tokens.weight", "vh", true, 0},
    {"output_norm.weight", "model.norm.weight", "h", true, 0},
    {"output.weight", "lm_head.weight", "vh", false, 0},
    {"rope_freqs.weight", "rope_freqs.weight", "r", false, 0},
};

#define BLOCK \
    {"attn_norm.weight", "input_layernorm.weight", "h", true, 0},                                \
    {"attn_q.weight", "self_attn.q_proj.weight", "qh", true, 'q'},                               \
    {"attn_k.weight", "self_attn.k_proj.weight", "kh", true, 'k'},                               \
    {"attn_v.weight", "self_attn.v_proj.weight", "kh", true, 0},                                 \
    {"attn_output.weight", "self_attn.o_proj.weight", "hq", true, 0},                            \
    {"ffn_norm.weight", "post_attention_layernorm.weight", "h", true, 0},                        \
    {"ffn_gate.weight", "mlp.gate_proj.weight", "fh", true, 0},                                  \
    {"ffn_up.weight", "mlp.up_proj.weight", "fh", true, 0},                                      \
    {"ffn_down.weight", "mlp.down_proj.weight", "hf", true, 0},                                  \
    {"attn_q.bias", "self_attn.q_proj.bias", "q", false, 'q'},                                   \
    {"attn_k.bias", "self_attn.k_proj.bias", "k", false, 'k'},                                   \
    {"attn_v.bias", "self_attn.v_proj.bias", "k", false, 0},                                     \
    {"attn_output.bias", "self_attn.o_proj.bias", "h", false, 0},                                \
    {"ffn_gate.bias", "mlp.gate_proj.bias", "f", false, 0},                                      \
    {"ffn_up.bias", "mlp.up_proj.bias", "f", false, 0},                                          \
    {"ffn_down.bias", "mlp.down_proj.bias", "h", false, 0},

static const gguf_role block[] = {BLOCK};

/* The norms of the heads of q and k. */
static const gguf_role block_qwen3[] = {
    BLOCK
    {"attn_q_norm.weight", "self_attn.q_norm.weight", "d", true, 0},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", "d", true, 0},
};

#define NAMES(block_)                                                                              \
    .blocks = "model.layers.", .whole = whole, .n_whole = COUNT_OF(whole), .block = block_,        \
    .n_block = COUNT_OF(block_), .made = {"rotary_emb.inv_freq"}, .act_key = "hidden_act",         \
    .acts = {"silu", "swish"}, .presets = {.positions = 2048}, .theta = 10000,                     \
    .read_sizes = weights_gguf_sizes, .read_config = weights_gguf_config,                          \
    .write_config = weights_gguf_metadata

extern const gguf_map gguf_map_llama, gguf_map_mistral, gguf_map_qwen2, gguf_map_qwen3;

const gguf_map gguf_map_llama = {.architecture = "llama", .stored_as = "llama", .model_type = "llama",
                                 .class_name = "LlamaForCausalLM", .permutes = true, .has_window = true,
                                 NAMES(block)};
const gguf_map gguf_map_mistral = {.architecture = "mistral", .stored_as = "llama", .model_type = "mistral",
                                   .class_name = "MistralForCausalLM", .permutes = true, .has_window = true,
                                   NAMES(block)};
const gguf_map gguf_map_qwen2 = {.architecture = "qwen2", .stored_as = "qwen2", .model_type = "qwen2",
                                 .class_name = "Qwen2ForCausalLM", .has_bias = true, NAMES(block)};
const gguf_map gguf_map_qwen3 = {.architecture = "qwen3", .stored_as = "qwen3", .model_type = "qwen3",
                                 .class_name = "Qwen3ForCausalLM", NAMES(block_qwen3)};
