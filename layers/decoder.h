/* decoder: the trunk of the llama family and its relatives: RMSNorm before attention and mlp, rotary positions,
 * grouped key and value heads, a gated mlp. What families change is a field of the config. */
#ifndef LAYERS_DECODER_H
#define LAYERS_DECODER_H

#include "layers/activation.h"
#include "layers/model.h"
#include "layers/rope.h"

typedef struct decoder_config {
    int64_t     hidden, inner, layers, heads, kv_heads, head_size, words, positions;
    double      eps;
    bool        tied;
    bool        qkv_bias, o_bias, mlp_bias;
    bool        qk_norm;    /* RMSNorm of every head of q and k, before rope */
    bool        plus_one;   /* norms' weights are 1 + w */
    bool        post_norms; /* norms behind attention and mlp too, before the residual */
    double      embed_scale;
    double      scale;                  /* of q.k */
    double      score_cap, logit_cap;   /* 0: none */
    activation *act;                    /* of the gate; NULL: silu */
    const int32_t *windows;             /* [layers]; 0: all keys */
    const bool    *local;               /* [layers]: local_rope in place of full_rope; NULL: nowhere */
    rope          full_rope, local_rope;
} decoder_config;

/* What a family takes for keys that a config leaves out. */
typedef struct decoder_presets {
    const char *act_key, *act; /* the key, and its value */
    bool        tied;
    int64_t     head_size; /* 0: hidden / heads */
    int64_t     positions;
    double      theta;
} decoder_presets;

/* Reads the keys that all relatives share, the rotary frequencies among them; the others are left at: no biases, no
 * caps, no norms more than llama's, every key seen. */
status decoder_read_config(arena *a, model *m, const decoder_presets *p, decoder_config *c);

/* windows from layer_types, or where that is absent from `windowed(layer)`: `window` there, 0 elsewhere. */
status decoder_windows(arena *a, const cJSON *config, int64_t window, bool (*windowed)(int64_t layer, int64_t n),
                       int64_t n, decoder_config *c);

/* Fills the model: its sites, its numbers, its head, its state. */
status decoder_open(arena *a, model *m, const decoder_config *c);
var   *decoder_hidden(model *m, tape *t, stream *s);

#endif
