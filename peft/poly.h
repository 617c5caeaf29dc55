/* poly: what the method, the inventories it begins with, and tests share */
#ifndef PEFT_POLY_H
#define PEFT_POLY_H

#include "peft/peft.h"

typedef struct poly_options {
    int64_t     rank, tasks, skills, splits;
    double      alpha;
    const char *init, *inventory, *adapt;
    bool        noise;
} poly_options;

/* What adapt says. */
typedef enum poly_way { POLY_ALL, POLY_MIXTURE, POLY_MEAN, POLY_COPIES } poly_way;
poly_way poly_way_of(const poly_options *o);

extern const peft_method peft_poly;

/* ---- inventories: poly_inventory.c ---- */

/* Skills in the folder of a trained module. */
typedef struct poly_inventory poly_inventory;

/* Reads the folder's configuration, which the options and the number of sites must agree with; its tensors are read
 * when values start. */
status poly_inventory_open(const peft_attach *at, const poly_options *o, int n_sites, poly_inventory **out);

/* Starts "poly_lora_A" or "poly_lora_B" at the site as the folder has it. */
status poly_inventory_start(const peft_attach *at, poly_inventory *x, const char *suffix, tuned_start *out);

/* Starts a matrix of an adapter, [r, in] or [out, r], with the mean over the skills of that tensor. */
status poly_inventory_mean(const peft_attach *at, poly_inventory *x, const char *suffix, tuned_start *out);

/* ---- for tests ---- */

/* Noise of the module's i-th site that is given and not drawn: f32 [sequences, splits * skills], added to the logits
 * of the sequences of a micro-batch, which are numbered in `rows`, i32 [sequences]: 0, 1, .. To be called before the
 * module is recorded; both are read at every run. NULL: none is given any more. */
void poly_give_noise(const peft *p, int module, int i, const tensor *noise, const tensor *rows);

#endif
