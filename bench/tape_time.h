/* tape_time: seconds of one operation on a tape, forward or backward, as its observer sees them */
#ifndef BENCH_TAPE_TIME_H
#define BENCH_TAPE_TIME_H

#include "autograd/ops.h"
#include "bench/bench.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tape_time {
    arena  *a;
    tape   *t;
    op_code op;
    var    *out;
    int     phase;   /* what is counted: 0 forward, 2 backward */
    double  seconds; /* of the last run */
    double  amount[3]; /* by phase, for reading.amount */
} tape_time;

/* Inputs, filled with noise: with a gradient, without one, and whole numbers (the caller's to
 * fill). */
status tape_time_open(tape_time *x, bench *b, op_code op);
var   *tape_time_param(tape_time *x, shape s);
var   *tape_time_fixed(tape_time *x, shape s);
var   *tape_time_ints(tape_time *x, shape s, int32_t **v);

/* Ends recording with `out` and noise as its upstream gradient. */
status tape_time_plan(tape_time *x, var *out);
void   tape_time_close(tape_time *x);

/* For bench_time: forward and backward once, of which the operation's own phase is counted. */
status tape_time_run(void *context, reading *r);

#ifdef __cplusplus
}
#endif
#endif
