/* trace: numbers of a model to compare with other programs: logits, hidden states, loss, gradients.
 *
 * Names of inputs and outputs are those of the golden trunks: sequences with ids and labels (unshifted, -100
 * = not a target; labels[0] never counts; without labels every token but the first is a target), and
 * tensors seqN.logits [T, V], seqN.hidden.k [T, C], seqN.hidden.norm, grad.NAME. */
#ifndef RECIPES_TRACE_H
#define RECIPES_TRACE_H

#include "core/safetensors.h"
#include "peft/peft.h"

typedef struct trace_options {
    bool               hidden;
    const char *const *gradients; /* trunk weights by checkpoint name, tuned tensors by file name */
    int                n_gradients;
    recompute          how;
} trace_options;

typedef struct trace_result {
    safetensors_item *items;
    int               n;
    double            loss; /* mean over all targets of all sequences */
    double            loss_sum;
    int64_t           targets;
    const float      *each; /* loss of every target, in order */
} trace_result;

/* `sequences` is the JSON list; `p` may be NULL. Results lie in the arena. All sequences are packed into
 * one stream. Gradients are those of the mean loss. */
status trace_run(arena *a, model *m, peft *p, const cJSON *sequences, const char *what,
                 const trace_options *o, trace_result *out);

#endif
