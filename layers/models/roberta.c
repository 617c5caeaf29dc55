/* roberta and xlm-roberta: bert with positions that begin behind that of the padding, and other heads (Liu et
 * al. 2019, Conneau et al. 2020) */
#include "layers/encoder.h"

static const head_layout heads[] = {
    {.kind = HEAD_NONE, .dense = "pooler.dense", .act = ag_tanh},
    {.kind = HEAD_MASKED, .dense = "lm_head.dense", .act = activation_gelu, .norm = "lm_head.layer_norm",
     .out = "lm_head.decoder", .bias = "lm_head.bias"},
    {.kind = HEAD_CLASSIFY, .dense = "classifier.dense", .dense_is_head = true, .act = ag_tanh,
     .out = "classifier.out_proj"},
    {.kind = HEAD_TAG, .out = "classifier"},
    {.kind = HEAD_SPAN, .out = "qa_outputs"},
};

static status roberta_open(arena *a, model *m)
{
    const head_layout *head;
    encoder_config     c = {.prefix = "roberta."};
    int64_t            pad = 1;

    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &c.bare));
    TRY(encoder_read_config(m->source->config, "config.json", &c, &pad));
    m->pad = (int32_t)pad;
    m->first_position = (int32_t)pad + 1;
    TRY(encoder_open(a, m, &c, &encoder_bert_names));
    return encoder_head(a, m, &c, head);
}

const model_family model_roberta = {.name = "roberta", .open = roberta_open, .hidden = encoder_hidden};
const model_family model_xlm_roberta = {.name = "xlm-roberta", .open = roberta_open,
                                        .hidden = encoder_hidden};
