/* trace: numbers of a model to compare with other programs: logits, hidden states, loss, gradients.
 *
 * Names of inputs and outputs are those of the golden trunks. A sequence has ids, perhaps token_type_ids, and
 * what its model's head wants: labels (-100 = not a target) or, of a classifier, a label; for modules that tell tasks
 * apart a `task`, 0 when it is missing. A causal head's labels
 * are unshifted and labels[0] never counts; without labels every token but the first is a target. With an encoder
 * `ids` are its tokens and labels those of the decoder, which reads decoder_ids, or where there are none the labels
 * behind its first token. A trunk of images has pixels in place of ids. Tensors are seqN.logits [T, V] or [classes],
 * seqN.hidden.k [T, C], seqN.hidden.norm (with an encoder seqN.encoder.hidden.k and seqN.decoder.hidden.k),
 * seqN.pooled [C], grad.NAME. */
#ifndef RECIPES_TRACE_H
#define RECIPES_TRACE_H

#include "core/safetensors.h"
#include "peft/peft.h"

typedef struct trace_options {
    bool               hidden;
    bool               front; /* the rows of virtual tokens too, before a sequence's own */
    const char *const *gradients; /* trunk weights by checkpoint name, tuned tensors by file name */
    int                n_gradients;
    recompute          how;
    const tensor      *pixels; /* of every sequence, f32 [channels, height, width], for a trunk of images */
    const tensor      *cotangent; /* f32 [N, C] of all tokens, for a bare trunk: the loss is the sum of its
                                     product with the last hidden state over the tokens; NULL: no loss */
} trace_options;

typedef struct trace_result {
    safetensors_item *items;
    int               n;
    double            loss; /* mean over all targets of all sequences */
    double            loss_sum;
    int64_t           targets;
    const float      *each; /* loss of every target, in order; NULL of a bare trunk */
} trace_result;

/* `sequences` is the JSON list; `p` may be NULL. Results lie in the arena. All sequences are packed into
 * one stream. Gradients are those of the mean loss. */
status trace_run(arena *a, model *m, peft *p, const cJSON *sequences, const char *what,
                 const trace_options *o, trace_result *out);

#endif
