/* distilbert: bert without token types, with its own names (Sanh et al. 2019) */
#include "core/json.h"
#include "layers/encoder.h"

static const encoder_names names = {
    .block = "transformer.layer.",
    .q = "attention.q_lin",
    .k = "attention.k_lin",
    .v = "attention.v_lin",
    .o = "attention.out_lin",
    .attn_norm = "sa_layer_norm",
    .up = "ffn.lin1",
    .down = "ffn.lin2",
    .mlp_norm = "output_layer_norm",
    .attn = "attention",
    .mlp = "ffn",
};

static const head_layout heads[] = {
    {.kind = HEAD_NONE},
    {.kind = HEAD_MASKED, .dense = "vocab_transform", .norm = "vocab_layer_norm", .out = "vocab_projector"},
    {.kind = HEAD_CLASSIFY, .dense = "pre_classifier", .act = ag_relu, .out = "classifier"},
    {.kind = HEAD_TAG, .out = "classifier"},
    {.kind = HEAD_SPAN, .out = "qa_outputs"},
};

static status read_config(const cJSON *config, const char *what, encoder_config *c)
{
    const char   *act = "gelu";
    const int64_t most = INT32_MAX;

    c->places = 512;
    c->eps = 1e-12; /* no key says otherwise */
    TRY(json_int(config, "dim", true, 1, most, &c->hidden, what));
    TRY(json_int(config, "hidden_dim", true, 1, most, &c->inner, what));
    TRY(json_int(config, "n_layers", true, 1, 4096, &c->layers, what));
    TRY(json_int(config, "n_heads", true, 1, 65536, &c->heads, what));
    TRY(json_int(config, "vocab_size", true, 1, most, &c->words, what));
    TRY(json_int(config, "max_position_embeddings", false, 1, most, &c->places, what));
    TRY(json_string(config, "activation", false, &act, what));
    return activation_find(act, what, &c->act);
}

static status distilbert_open(arena *a, model *m)
{
    const head_layout *head;
    encoder_config     c = {.prefix = "distilbert."};

    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &c.bare));
    TRY(read_config(m->source->config, "config.json", &c));
    TRY(encoder_open(a, m, &c, &names));
    return encoder_head(a, m, &c, head);
}

const model_family model_distilbert = {.name = "distilbert", .open = distilbert_open,
                                       .hidden = encoder_hidden};
