/* trial: a training run made for measuring: a recipe, opened as `train` opens it, of which single
 * steps run */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include "bench/bench.h"
#include "recipes/opening.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A recipe over samples of equal length whose every token is a target. */
typedef struct trial_spec {
    const char *base, *module; /* module: what stands in the braces, "method: lora, rank: 16" */
    int64_t     tokens;        /* of a step; one micro-batch */
    int64_t     length;        /* of a sample; divides tokens */
    const char *recompute;     /* NULL: none */
} trial_spec;

typedef struct trial {
    bench  *b;
    opening in;
    trainer x;
    arena   activations; /* of trials that stand beside one another */
    bool    open;
    int64_t step;
} trial;

/* A module for trial_spec: lora on all linear layers, alpha twice the rank. NULL: no memory. */
const char *trial_lora(bench *b, int64_t rank);

/* Writes recipe and data into a folder of the program's own, which trial_clean removes (main calls it); *path is
 * in b->a. */
status trial_write(bench *b, const trial_spec *s, char **path);
void   trial_clean(void);

/* A folder for further files of a bench, removed with it. */
status trial_folder(const char **folder);

/* `path`: a recipe. Close it also after a failure. */
status trial_open(trial *t, bench *b, const char *path);
status trial_open_spec(trial *t, bench *b, const trial_spec *s);
/* The same beside an open one of the same base, with its weights and memory of a step; closed before it. */
status trial_open_beside(trial *t, bench *b, const trial_spec *s, trial *first);
void   trial_close(trial *t);

/* For bench_time: one step; tokens, and needed GFLOP as work. */
status trial_step(void *context, reading *r);

#ifdef __cplusplus
}
#endif
#endif
