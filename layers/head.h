/* head: what stands on a trunk, from its last hidden state to logits.
 *
 * All heads are one chain of which some lack parts: dense, activation, norm, out. A family has a table of
 * layouts, one a kind, from which config.json's `architectures` chooses. Which rows a head reads: */
#ifndef LAYERS_HEAD_H
#define LAYERS_HEAD_H

#include "layers/activation.h"
#include "layers/site.h"

#include <cjson/cJSON.h>

typedef enum head_kind {
    HEAD_NONE,    /* a bare trunk; dense, if there is one, is its pooler and reads first rows */
    HEAD_CAUSAL,  /* every row: the next word */
    HEAD_MASKED,  /* every row: the word there */
    HEAD_TAG,     /* every row: its class */
    HEAD_CLASSIFY, /* the first row of a sequence, or its last: the sequence's class */
    HEAD_SEQ2SEQ,  /* every row of a decoder that has begun with a token of its own: the word there */
    HEAD_SPAN      /* every row: how well a span begins, and ends, there */
} head_kind;

/* A head that the caller wants instead of that of config.json. What a checkpoint lacks of it is made from the seed:
 * normal with `deviation` or else the config's initializer_range, biases zero. */
typedef struct head_wish {
    bool      given;
    head_kind kind;
    int64_t   classes; /* of HEAD_TAG and HEAD_CLASSIFY; 0: the config's */
    uint64_t  seed;
    double    deviation; /* 0: initializer_range */
} head_wish;

typedef struct model_head {
    head_kind     kind;
    int64_t       classes; /* columns of the logits: words or classes */
    site         *dense;   /* [C, C], or NULL */
    activation   *act;     /* behind dense */
    model_weight *norm, *norm_bias; /* behind act, or NULL */
    double        eps;
    site         *out;  /* [classes, C], NULL: HEAD_NONE */
    bool          tied; /* out's weight is the embedding */
    double        scale;   /* of the rows that out reads; 0: they stay */
    bool          last;    /* HEAD_CLASSIFY reads last rows */
    double        softcap; /* logits become cap * tanh(logits / cap); 0: they stay */
} model_head;

/* How a family calls the parts, all with the trunk's prefix where they have it. */
typedef struct head_layout {
    head_kind   kind;
    const char *dense;         /* NULL: none */
    bool        dense_is_head; /* PEFT counts it to the classifier: it is not part of "all-linear" */
    activation *act;           /* NULL: the config's */
    const char *norm;          /* NULL: none */
    const char *out;
    const char *bias; /* "" none; NULL: out's own; else under this name, unless it is not tied */
    bool        last; /* it reads last rows of sequences, not first ones */
} head_layout;

/* "masked_lm" */
const char *head_name(head_kind kind);

/* The layout of the wished kind, else that for config.json's first architecture; the first layout when it names none.
 * *bare: the architecture is the trunk alone, whose names have no prefix. */
status head_choose(const cJSON *config, const head_wish *wish, const head_layout *layouts, int n, const char *what,
                   const head_layout **out, bool *bare);

/* True for kinds whose number of classes is not the vocabulary's. */
bool head_has_classes(head_kind kind);

/* Columns of its logits: as wished, else entries of id2label, else num_labels, else 2. */
status head_classes(const cJSON *config, const head_wish *wish, head_kind kind, const char *what, int64_t *classes);

/* x [T, C] of rows that the head reads -> what its last product reads, then the logits [T, classes]. */
var *head_features(tape *t, const model_head *h, var *x);
var *head_logits(tape *t, const model_head *h, var *x);

/* The sum of the losses at these rows; *each: by row. */
var *head_loss(tape *t, const model_head *h, var *x, var *targets, var **each);

#endif
