/* sparse_delta: what procedures and files use of the method (peft/sparse_delta.c). */
#ifndef PEFT_SPARSE_DELTA_H
#define PEFT_SPARSE_DELTA_H

#include "peft/lottery_select.h"
#include "peft/peft.h"

/* Chosen places of the tensor with this full name: rising, counted over the whole tensor in the order of our weights. */
typedef struct sparse_places {
    const char    *name;
    int64_t        n, of; /* of: values of the tensor; 0: not said */
    const int32_t *at;
} sparse_places;

typedef struct sparse_mask {
    int            n;
    sparse_places *of;
} sparse_mask;

/* The module that is added with these options trains the values of the mask, which outlives it. Every tensor of the mask
 * must be one of its sites'. */
void sparse_delta_select(void *options, const sparse_mask *mask);

/* Their k; and whether they say no more of which values are trained: drawn at random. */
double sparse_delta_k(const void *options);
bool   sparse_delta_draws(const void *options);

extern const peft_method peft_sparse_delta;

/* The places that are 1 in the masks, of tensors where any are. */
status sparse_mask_of(arena *a, const lottery_tensor *x, int n, sparse_mask *out);

/* Reads the places of a module's file; `what` is its path. */
status sparse_mask_read(arena *a, const safetensors *f, const char *what, sparse_mask *out);

/* Adds lambda / N times the sum of |value - start| over all that the module trains, parts and whole tensors; N counts all
 * values of the model, frozen ones and an untied head's copy too. For peft_method.extra_loss. */
void sparse_delta_penalty(tape *t, const peft *p, int module, double lambda, peft_losses *l);

#endif
