/* bert: Devlin et al. 2019, with its heads */
#include "layers/encoder.h"

static const head_layout heads[] = {
    {.kind = HEAD_NONE, .dense = "pooler.dense", .act = ag_tanh},
    {.kind = HEAD_MASKED, .dense = "cls.predictions.transform.dense",
     .norm = "cls.predictions.transform.LayerNorm", .out = "cls.predictions.decoder",
     .bias = "cls.predictions.bias"},
    {.kind = HEAD_CLASSIFY, .dense = "bert.pooler.dense", .act = ag_tanh, .out = "classifier"},
    {.kind = HEAD_TAG, .out = "classifier"},
    {.kind = HEAD_SPAN, .out = "qa_outputs"},
};

static status bert_open(arena *a, model *m)
{
    const head_layout *head;
    encoder_config     c = {.prefix = "bert."};
    int64_t            pad = 0;

    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &c.bare));
    TRY(encoder_read_config(m->source->config, "config.json", &c, &pad));
    TRY(encoder_open(a, m, &c, &encoder_bert_names));
    return encoder_head(a, m, &c, head);
}

const model_family model_bert = {.name = "bert", .open = bert_open, .hidden = encoder_hidden};
