/* tape: records a computation once, plans its memory, then runs it any number of times.
 *
 *     tape *t;  TRY(tape_open(&t, TYPE_F32));
 *     var *x = tape_input(t, &ids), *w = tape_tensor(t, &weight), *a = tape_param(t, &value, &grad);
 *     var *loss = ag_sum(t, ag_linear(t, ag_embed(t, w, x), a, NULL));
 *     tape_keep(t, loss);
 *     TRY(tape_plan(t, loss, RECOMPUTE_NONE));     also reports what went wrong while recording
 *     TRY(tape_bind(t, &step_arena));
 *     loop: fill the inputs; tape_forward(t); tape_backward(t);
 *
 * Shapes are capacities; a tensor's `rows` says how many leading rows are in use in a run. The tape
 * keeps only what a wanted gradient reads; nothing below the first wanted gradient is kept or
 * differentiated. The first error sticks, later recording calls do nothing, and tape_plan returns
 * it: models read like formulas. After tape_bind a run allocates nothing. */
#ifndef AUTOGRAD_TAPE_H
#define AUTOGRAD_TAPE_H

#include "autograd/op.h"
#include "core/arena.h"

typedef struct tape tape;

typedef struct var {
    tensor t;        /* value; t.v is set by tape_bind unless the value is external */
    bool   wanted;   /* a gradient is wanted here or below */
    int    id;       /* index on the tape */
    int    producer; /* operation number, -1: external */
    int    output;   /* which of its outputs */
} var;

typedef enum recompute { RECOMPUTE_NONE, RECOMPUTE_BLOCK } recompute;

/* type: of activations, TYPE_F32 or TYPE_F64. It runs on the current device (core/device.h), which may keep
 * f32 activations as bf16. */
status tape_open(tape **out, dtype type);
void   tape_close(tape *t);
dtype  tape_real(const tape *t);

/* External values: the tape keeps a pointer to the caller's tensor `x`, whose v and *rows are read
 * at every run. input and tensor are frozen; param has a gradient tensor of the same shape and of the
 * tape's real type, to which backward adds (the caller zeroes it). */
var *tape_input(tape *t, const tensor *x);
var *tape_tensor(tape *t, const tensor *x);
var *tape_param(tape *t, const tensor *x, tensor *grad);

/* True when input i of the operation that makes y is x. */
bool tape_reads(const tape *t, const var *y, int i, const var *x);

/* Turns the newest operation into another one that computes more in one go: y must be the only result of
 * the newest operation, a `from`, and nothing else may read it; it becomes a `to` with further inputs.
 * NULL, with nothing changed, when y is not that. */
var *tape_extend(tape *t, var *y, op_code from, op_code to, int n_extra, var *const *extra,
                 const op_attr *attr);

/* Recording, used by ag_* functions. Absent inputs are NULL. */
var *tape_apply(tape *t, op_code op, int n_in, var *const *in, const op_attr *attr);
var *tape_output(tape *t, var *first, int i); /* output i of the operation that made `first` */

/* A failure of the caller's own, recorded like an operation's. */
var *tape_fail(tape *t, status code);
/* Ok until the first failure. */
status tape_status(const tape *t);

/* Names of places, for messages: tape_enter(t, "block.%d.attn", 3) ... tape_leave(t). */
void tape_enter(tape *t, const char *format, ...) PRINTF_LIKE(2, 3);
void tape_leave(tape *t);

/* Operations recorded between these two are run again in backward when recompute is BLOCK. */
void tape_block_begin(tape *t);
void tape_block_end(tape *t);

/* Operations recorded between these two compute from weights alone: the changed weight of a site. Their values
 * are not kept for backward but made again there, one site a time; the bits are the same. */
void tape_weight_begin(tape *t);
void tape_weight_end(tape *t);

/* The value stays readable after forward (and backward). */
void tape_keep(tape *t, var *x);
/* Backward begins here with this upstream gradient (external tensor, copied at each run) instead of
 * the loss's 1. For tests and for losses made outside. Several may be given. */
void tape_seed(tape *t, var *x, const tensor *upstream);
/* The gradient of this value stays readable after backward; *grad is filled by tape_bind. */
void tape_keep_gradient(tape *t, var *x, const tensor **grad);

/* Decides what is kept, how long, and where. loss: a [1] value whose gradient is 1, or NULL. */
status tape_plan(tape *t, var *loss, recompute how);
/* Bytes that bind will take from the arena, and on the device; valid after tape_plan. */
size_t tape_step_bytes(const tape *t);
size_t tape_device_bytes(const tape *t);
/* Scratch that its operations share on the device with those of other tapes; before tape_bind. */
size_t tape_device_scratch(tape *t);
/* Takes the memory and sets every address; may be called again after the arena was rewound. */
status tape_bind(tape *t, arena *step);

void tape_set_run(tape *t, const op_run *run); /* read at every run; default: seed 0, step 0, no training */
void tape_forward(tape *t);
void tape_backward(tape *t);
/* What the device says of the runs so far; on the CPU nothing can fail. */
status tape_check(const tape *t);

/* After a run whose result is not finite: runs forward again operation by operation and names the
 * first one with a value that is not finite, or the first external value that is not:
 * fail(STATUS_NUMERIC, "block.3.attn.q: linear gives NaN"). STATUS_OK when all are finite. */
status tape_find_nonfinite(tape *t);

/* Called after every operation of every run with its place, phase (0 forward, 1 recompute, 2 backward)
 * and seconds; NULL switches it off. */
typedef void (*tape_observer)(void *context, op_code op, const char *place, int phase,
                              double seconds);
void tape_observe(tape *t, tape_observer observer, void *context);

typedef struct tape_counts {
    int    operations, backward_operations, values;
    size_t kept_bytes; /* values alive between forward and backward */
} tape_counts;
tape_counts tape_count(const tape *t);

/* Needed FLOPs of forward and backward with the rows that are in use now: a multiply-add is 2, products
 * only, no recomputation, no gradient that nobody wants. */
typedef struct tape_work {
    double forward, backward;
} tape_work;

/* Query-key pairs of all sequences that the mask lets through, a head. */
typedef struct tape_pairs {
    double     own;           /* of the stream's rows among themselves */
    const var *source;        /* offsets of an encoder's rows, NULL: there is none */
    double     read, crossed; /* of the encoder's rows among themselves; of the stream's with the encoder's */
} tape_pairs;
tape_work tape_flops(const tape *t, const tape_pairs *pairs);

#endif
