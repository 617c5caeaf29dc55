/* experts: beside what is trained a slow copy that follows it, and predictions of both (Gao et al. 2023, LAE).
 *
 * The slow copy is of all that modules train but for the head, which both have in common:
 * slow <- keep slow + (1 - keep) trained. They predict together: of each class the larger of the two softmax
 * probabilities p, so that scores of an evaluation are log max(p_trained, p_slow), and its losses those of the maxima
 * divided by their sum. Before the slow copy has begun the trained one predicts alone. */
#ifndef RECIPES_EXPERTS_H
#define RECIPES_EXPERTS_H

#include "core/hdf5_file.h"
#include "optim/average.h"
#include "recipes/trainer.h"

/* Further keys of `train`. */
typedef struct experts_options {
    int64_t     freeze_epochs;
    bool        slow_copy;
    double      slow_keep;
    const char *slow_load; /* folder, or NULL */
} experts_options;
extern const key_table experts_keys;

typedef struct experts {
    peft    *p;
    int      n;      /* tensors of the slow copy */
    int     *tensor; /* [n] their numbers in p */
    average *slow;   /* [n] */
    bool     there;  /* the slow copy has begun */
    float   *scores; /* of a micro-batch, as the trained one gives them */
    double  *work;   /* of a row of both */
} experts;

/* True for what a slow copy has: trained, and not in the place of the head. */
bool experts_have(const peft *p, const tuned *x);

/* For a trainer that is open and whose goal has scores, which then updates the slow copy after every step and evaluates
 * both; memory from `tuned`; keep: from 0 to 1. */
status experts_open(experts *e, arena *tuned, trainer *x, double keep);

/* The slow copy begins as what is trained now. */
status experts_begin(experts *e);

/* The same as what lies in a folder of adapters, where the trained values stay as they are; between runs of the trainer.
 * `work` is scratch. */
status experts_load(experts *e, arena *work, const char *folder);

/* Trained and slow values change places. */
status experts_swap(experts *e);

/* In a checkpoint. */
status experts_put(const experts *e, h5_file *f);
status experts_get(experts *e, h5_file *f);

#endif
