/* with_smora: what smora computes at one site, on a tape of its own, for tests */
#ifndef TESTS_WITH_SMORA_H
#define TESTS_WITH_SMORA_H

#include "autograd/ops.h"

typedef struct smora_site {
    int64_t     N, K, M, r; /* rows, inputs, outputs, ranks; */
    int64_t     p, k;       /* ranks that share a score, that work for a row */
    double      factor;
    bool        in_weight, decodes;
    routed_form form;
    /* [N, K], [N, M], [r, K], [M, r], [r / p, K], [r]; and the gradient that arrives at y, [N, M] */
    double *x, *base, *a, *b, *router, *bias, *dy;
    double *y, *gates, *chosen;       /* [N, M], [N, k], [N, k] */
    double *dx, *da, *db, *drouter;
} smora_site;

/* Takes memory for all, and fills the inputs with noise. */
status smora_site_open(arena *a, smora_site *s, uint64_t seed);

/* Computes in TYPE_F32 or TYPE_F64, on the current device. */
status smora_site_run(smora_site *s, dtype type);

/* How often each rank was chosen, from `chosen`: counts[r]. */
void smora_site_counts(const smora_site *s, double *counts);

#endif
