/* bill: the memory of a run, foretold before it starts, and kept. */
#ifndef RECIPES_BILL_H
#define RECIPES_BILL_H

#include "recipes/session.h"
#include "recipes/trainer.h"

typedef struct bill {
    size_t trunk;      /* weights as stored (mapped) and expanded ones */
    size_t values, gradients, optimizer;
    size_t step;       /* activations */
    size_t scratch;    /* of all threads: panels of the products, pieces of the vocabulary */
    size_t data;       /* recipe, tokens, texts */
    size_t program;    /* pages of code and libraries that a run touches */
    size_t starts;     /* while modules start, before the memory of a step is taken; given back */
    size_t running;    /* all but that */
    size_t total;      /* the more of both times */
    struct bill_device {
        size_t trunk;  /* as the device has it, with the tuned values */
        size_t gradients, optimizer, step, scratch;
        size_t context; /* the driver's and the libraries' own */
        size_t total, free; /* free: before the context was made */
    } device;          /* total 0: the run is on the CPU */
} bill;

/* Once for a trainer that was opened with only_plan: the scratch of a device is found by walking its tape. */
bill bill_of(const session *s, const trainer *x);

/* Says what a run takes, or refuses one that does not fit into the memory that is free now, before anything is
 * taken. *total: of the device if there is one. */
status bill_check(const session *s, const trainer *x, size_t *total);

/* A table with a line an item. */
void bill_print(const bill *b, FILE *out);

#endif
