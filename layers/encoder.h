/* encoder: the trunk of the bert family (Devlin et al. 2019): word, position and token type embeddings under
 * a norm, then blocks that norm after each of their two halves, and no norm at the end. */
#ifndef LAYERS_ENCODER_H
#define LAYERS_ENCODER_H

#include "layers/model.h"

typedef struct encoder_config {
    const char *prefix; /* "bert." */
    bool        bare;   /* the names of this architecture go without it */
    int64_t     hidden, inner, layers, heads, words;
    int64_t     places; /* rows of the position table */
    int64_t     types;  /* rows of the token type table; 0: none */
    double      eps;
    activation *act;
} encoder_config;

/* What the parts of a block are called, behind "<prefix><block>N.". */
typedef struct encoder_names {
    const char *block;
    const char *q, *k, *v, *o, *attn_norm, *up, *down, *mlp_norm;
    const char *attn, *mlp; /* the halves as a whole */
} encoder_names;

/* Fills the model: its sites (with room for a head's), its numbers, its state. */
status encoder_open(arena *a, model *m, const encoder_config *c, const encoder_names *names);
var   *encoder_hidden(model *m, tape *t, stream *s);

/* Reads the keys that bert, roberta and xlm-roberta share; pad: pad_token_id. */
status encoder_read_config(const cJSON *config, const char *what, encoder_config *c, int64_t *pad);

/* The names that those three share. */
extern const encoder_names encoder_bert_names;

/* Opens the head over the embedding that it may be tied to; its layout and `bare` come from head_choose. */
status encoder_head(arena *a, model *m, const encoder_config *c, const head_layout *layout);

#endif
