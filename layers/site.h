/* site: every place of a model where a method can sit.
 *
 * A model lists its sites when it is opened; whoever wants to change what happens there hangs a hook
 * on the site. This folder does not know who. Sites have two names: the model's own
 * ("block.3.attn.q") and the checkpoint's ("model.layers.3.self_attn.q_proj"). */
#ifndef LAYERS_SITE_H
#define LAYERS_SITE_H

#include "autograd/ops.h"

typedef enum site_kind {
    SITE_LINEAR = 1,    /* y = x W^T + b */
    SITE_HEAD = 2,      /* the output projection: linear, but not part of "all-linear" */
    SITE_NORM = 4,      /* a norm's weight, and bias if it has one: in = out = its width */
    SITE_EMBEDDING = 8, /* a table of rows [in, out]: in words of `out` values */
    SITE_KV = 16,       /* keys and values of a block's attention, in = out = their width; has no weight */
    SITE_BLOCK = 32     /* what a half of a block adds to the stream, before it does; has no weight */
} site_kind;

/* Some values of a weight that are trained, those at `places` (ag_put_values): the rest of it stays. */
typedef struct weight_part {
    tensor *values, *grad, *places;
} weight_part;

/* A weight of the trunk, expanded or as stored. Tied uses share one. grad is NULL while frozen. */
typedef struct model_weight {
    const char *name; /* in the file */
    const char *full; /* among the architecture's modules, from which files often leave the prefix or endings */
    tensor      value;
    tensor     *grad;
    const weight_part *part; /* NULL: none of it, or all */
    bool        fresh;  /* the file lacks it: made for a head that is to be trained */
    bool        turned; /* the checkpoint has it as [in, out]: value is a turned copy */
    shape       on_disk; /* where it has other sizes in the checkpoint than `value`; else without sizes */
} model_weight;

typedef struct site      site;
typedef struct site_hook site_hook;

/* Functions may be NULL. Hooks are called in the order in which they were hung, kind after kind:
 *     input: x -> x' before the product;
 *     weight: W -> W', both values (not stored types); recorded between tape_weight_begin and _end;
 *     product: (x', x' W'^T) -> y before the bias is added;
 *     output: (x', y with bias) -> y'. x is what entered the site: ids at an embedding;
 *     kv: keys and values [n, in] more, in front of every sequence's own; offsets i32 [2]: 0 and n. */
struct site_hook {
    void   *state;
    int32_t tasks; /* numbers of tasks that it tells apart, 0: none; a sequence's must be below */
    int32_t front; /* virtual tokens in front of every sequence whose rows the hook makes (embedding); positions
                      that its keys and values take there (kv) */
    bool whole;    /* of kv: attention to its keys is added as a whole, ag_attention_add */
    const int32_t *front_labels; /* [front] what training is to predict of those tokens, -100: nothing; NULL: none */
    var *(*input)(tape *t, const site *s, void *state, var *x);
    var *(*weight)(tape *t, const site *s, void *state, var *w);
    var *(*product)(tape *t, const site *s, void *state, var *x, var *y);
    var *(*output)(tape *t, const site *s, void *state, var *x, var *y);
    void (*kv)(tape *t, const site *s, void *state, var **k, var **v, var **offsets);
    site_hook *next;
};

struct site {
    site_kind     kind;
    const char   *name;       /* "block.3.attn.q" */
    const char   *checkpoint; /* "model.layers.3.self_attn.q_proj" */
    int           block;      /* 3; -1 outside of blocks */
    uint32_t      number;     /* index in the model's list: names the site for random numbers */
    int64_t       in, out;
    model_weight *weight; /* [out, in]; NULL at kv and block sites */
    model_weight *bias;   /* [out] or NULL */
    site_hook    *hooks;
};

/* What the frozen computation needs beside x at a site: names of the rows for random numbers, their sequences. */
typedef struct row_names {
    var    *samples, *positions; /* i32 [N] */
    int32_t first;               /* position of a sequence's first row */
    var    *tasks;               /* i32 [S], of the sequences; NULL: no hook tells tasks apart */
    var    *offsets;             /* i32 [S + 1] of the sequences */
} row_names;

void site_hang(site *s, site_hook *hook);
void site_unhang(site *s, site_hook *hook);

/* x [N, in] -> [N, out] through the site and its hooks. */
var *site_linear(tape *t, const site *s, var *x);

/* The same at the place of that name, for messages. */
var *site_product(tape *t, const char *place, const site *s, var *x);

/* ids i32 [N] -> [N, out] through an embedding and its output hooks. A head tied to it does not see them. */
var *site_embed(tape *t, const site *s, var *ids);

/* x [N, C] -> [N, C] through a LayerNorm's site (Ba et al. 2016). */
var *site_layernorm(tape *t, const site *s, var *x, double eps);

/* What half of a block makes of x, y, through the hooks. */
var *site_block(tape *t, const site *s, var *x, var *y);

/* The weight on the tape: frozen, or a parameter when it has a gradient, or with the values of its part in it. */
var *weight_var(tape *t, model_weight *w);

/* Patterns, for sites of these kinds (site_kind bits) only. One of: a name, either kind, with '*' for
 * any stretch; the end of a checkpoint name from a dot on ("q_proj", "mlp.up_proj"); "all-linear";
 * "re:EXPRESSION", a regular expression for the whole checkpoint name. match[i] is set to true for
 * every site that any pattern selects; a pattern that selects nothing fails, with the nearest names. */
status sites_match(const site *sites, int n, uint32_t kinds, const char *const *patterns, int n_patterns,
                   bool *match);

#endif
