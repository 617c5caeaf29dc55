/* optim: how a step is made.
 *
 * The tuned values of a run lie in one flat f32 buffer, their gradients in a second one of the same
 * layout, and an optimizer's state in further flat buffers ("slots"). A span is one tensor in them.
 * A step is one pass over fixed pieces of the spans, so its result does not depend on the number of
 * threads. Every span counts its own steps: one that is skipped (no gradient) keeps its value, its
 * state and its count.
 *
 * When the gradient has a twin on the current device (core/device.h), the parameters must have one, and
 * the step is made there: one launch for all spans, with the state of optim_hold. Optimizers of whole
 * tensors (no `kernel`) compute on the CPU also then: values and gradients come, values go back. Nothing
 * else touches the host's buffers then.
 *
 * An optimizer is one file (optim/<name>.c) and one row of optim/optims.def; one that treats every value
 * alone has its rule in optim/<name>_rule.h and a kernel made of it in optim/<name>.cu. */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "core/arena.h"
#include "core/device.h"
#include "core/keys.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    OPTIM_SLOTS = 4,     /* state buffers an optimizer has at most */
    OPTIM_CONSTANTS = 8, /* numbers it derives from its options */
    OPTIM_FACTORS = 11,  /* numbers a rule gets for a span */
    OPTIM_PIECE = 16384  /* values of a piece */
};

/* One tensor of the flat buffers. rows and columns are its last two sizes; both 0 for a vector or a
 * single value. count / (rows * columns) such matrices follow each other. */
typedef struct optim_span {
    int64_t first, count;
    int group;
    int64_t rows, columns;
} optim_span;

/* What a group of spans is stepped with; lr is the rate of this step. */
typedef struct optim_group {
    double lr, weight_decay;
} optim_group;

/* Every optimizer's options begin with these. */
typedef struct optim_common {
    double lr, weight_decay;
} optim_common;

typedef struct optim optim;

/* A stretch of a span, as an optimizer's `piece` sees it: p[n], g[n], s[slot]. The gradient counts
 * times scale. s[slot] starts at the same value as p, or, for a slot with its own counts, at the
 * span's beginning. */
typedef struct optim_piece {
    int64_t n;
    float *p;
    const float *g;
    float *s[OPTIM_SLOTS];
    double lr, weight_decay;
    float scale;
    int64_t step; /* of this span, from 1 */
    int span;
} optim_piece;

typedef struct optimizer {
    const char *name;
    const key_table *keys;
    bool whole; /* a piece is always a whole span */
    const char *const *slot_names;
    /* Number of slots that these options need (at most OPTIM_SLOTS). */
    int (*slots)(const void *options);
    /* Values of a slot for a span; NULL: as many as the span has. */
    int64_t (*slot_count)(const void *options, const optim_span *span, int slot);
    /* Checks the options, fills o->c and starts the slots (they are zero). May be NULL. */
    status (*setup)(optim *o);
    /* Called by one thread for every span that takes this step, before its pieces. May be NULL. */
    void (*begin)(optim *o, int span, int64_t step);
    void (*piece)(const optim *o, const optim_piece *k);
    /* For a rule (optim/rule.h): puts <name>_factors of a span's step into out and returns the mode, 0 or
     * more. Of k it reads lr, weight_decay, scale, step and span. NULL when there is no kernel. */
    int (*factors)(const optim *o, const optim_piece *k, void *out);
    const char *kernel; /* symbol of the device's plug-in (optim/flat_kernels.h), or NULL */
} optimizer;

/* A slot of all spans: what a checkpoint stores. */
typedef struct optim_slot {
    const char *name; /* "m" */
    float *v;
    int64_t count;
    int64_t *first; /* [n_spans]: where a span's values begin */
    bool as_span;   /* a span has as many values here as in the parameters */
    float start;    /* its values before the first step */
} optim_slot;

/* What optim_hold made; all zero without it. */
typedef struct optim_there {
    device *d;
    struct flat_piece *pieces;    /* [n_pieces], as they lie on the device */
    struct flat_factors *factors; /* [n_spans], of the newest step */
    float *slot[OPTIM_SLOTS];     /* NULL: not there */
} optim_there;

struct optim {
    const optimizer *kind;
    const void *options;
    double c[OPTIM_CONSTANTS];
    const optim_span *spans;
    int n_spans;
    int64_t *steps; /* [n_spans] steps made: state too */
    int n_slots;
    optim_slot slot[OPTIM_SLOTS];
    int64_t n_pieces;
    struct optim_border {
        int span;
        int64_t begin, count; /* within the span */
    } * pieces;
    optim_there there;
};

/* The optimizer of a name; STATUS_USAGE with all names when there is none. */
status optim_find(const char *name, const optimizer **out);
/* Row i of the table, NULL past the end. */
const optimizer *optim_row(int i);

/* Makes the state (all from `tuned`) for spans of a flat buffer. kind, options (a struct filled by
 * kind->keys) and spans must outlive it. Values out of range are STATUS_USAGE. */
status optim_open(optim *o, arena *tuned, const optimizer *kind, const void *options,
                  const optim_span *spans, int n_spans);

/* Bytes of state that optim_open would take for such spans: the line of the memory bill. */
int64_t optim_state_bytes(const optimizer *kind, const void *options, const optim_span *spans,
                          int n_spans);

/* Twins of the state on a device, started as optim_open starts it; right after optim_open. Slots that
 * are one number a span stay on the host, and so does all state of optimizers without a kernel. */
status optim_hold(optim *o, device_arena *a);
/* Bytes that optim_hold takes from the arena. */
size_t optim_device_bytes(const optimizer *kind, const void *options, const optim_span *spans,
                          int n_spans);
/* The state that optim_hold keeps on the device, to the host's slots and back; nothing without it. */
status optim_pull(const optim *o);
status optim_push(const optim *o);

/* One step of parameters with scale * gradient. groups are indexed by span.group. skip, when not
 * NULL, is one byte a span; spans with a non-zero byte had no gradient and stay as they are. Does not
 * wait for a device; device_check says whether it failed. */
void optim_step(optim *o, float *parameters, const float *gradient, double scale,
                const optim_group *groups, const uint8_t *skip);

/* For setup: a slot whose values start at something other than 0. */
void optim_start_slot(optim *o, int slot, float value);

/* For setup: reads exactly n numbers of a list option, each within [lo, hi). */
status optim_numbers(const optimizer *kind, const char *what, const key_texts *list, int n,
                     double lo, double hi, double *out);

#define OPTIMIZER(name) extern const optimizer optim_##name;
#include "optim/optims.def"
#undef OPTIMIZER

#ifdef __cplusplus
}
#endif
#endif
