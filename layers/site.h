/* site: every place of a model where a method can sit.
 *
 * A model lists its sites when it is opened; whoever wants to change what happens there hangs a hook
 * on the site. This folder does not know who. Sites have two names: the model's own
 * ("block.3.attn.q") and the checkpoint's ("model.layers.3.self_attn.q_proj"). */
#ifndef LAYERS_SITE_H
#define LAYERS_SITE_H

#include "autograd/ops.h"

typedef enum site_kind {
    SITE_LINEAR = 1, /* y = x W^T + b */
    SITE_HEAD = 2    /* the output projection: linear, but not part of "all-linear" */
} site_kind;

/* A weight of the trunk, expanded or as stored. Tied uses share one. grad is NULL while frozen. */
typedef struct model_weight {
    const char *name; /* in the file */
    const char *full; /* among the architecture's modules, from which files often leave the prefix or endings */
    tensor      value;
    tensor     *grad;
    bool        turned; /* the checkpoint has it as [in, out]: value is a turned copy */
} model_weight;

typedef struct site      site;
typedef struct site_hook site_hook;

/* Functions may be NULL. input: x -> x' before the product; output: (x', y) -> y' after it;
 * weight: W -> W' (materialised). Hooks are called in the order in which they were hung. */
struct site_hook {
    void *state;
    var *(*input)(tape *t, const site *s, void *state, var *x);
    var *(*weight)(tape *t, const site *s, void *state, var *w);
    var *(*output)(tape *t, const site *s, void *state, var *x, var *y);
    site_hook *next;
};

struct site {
    site_kind     kind;
    const char   *name;       /* "block.3.attn.q" */
    const char   *checkpoint; /* "model.layers.3.self_attn.q_proj" */
    int           block;      /* 3; -1 outside of blocks */
    uint32_t      number;     /* index in the model's list: names the site for random numbers */
    int64_t       in, out;
    model_weight *weight; /* [out, in] */
    model_weight *bias;   /* [out] or NULL */
    site_hook    *hooks;
};

/* What the frozen computation needs beside x at a site: names of the rows for dropout. */
typedef struct row_names {
    var *samples, *positions; /* i32 [N] */
} row_names;

void site_hang(site *s, site_hook *hook);
void site_unhang(site *s, site_hook *hook);

/* x [N, in] -> [N, out] through the site and its hooks. */
var *site_linear(tape *t, const site *s, var *x);

/* The weight on the tape: frozen, or a parameter when it has a gradient. */
var *weight_var(tape *t, model_weight *w);

/* Patterns. One of: a name, either kind, with '*' for any stretch; the end of a checkpoint name from
 * a dot on ("q_proj", "mlp.up_proj"); "all-linear"; "re:EXPRESSION", a regular expression for the
 * whole checkpoint name. match[i] is set to true for every site that any pattern selects; a pattern that
 * selects nothing fails, with the nearest names. */
status sites_match(const site *sites, int n, const char *const *patterns, int n_patterns,
                   bool *match);

#endif
