/* child: one run in a process of its own, which shows its start and its memory */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include "bench/bench.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct child_report {
    double started, ended; /* by bench_now: before the process is made, after its first step */
    double idle, peak, planned; /* bytes: at main, at most, as the bill says */
} child_report;

/* Calls this program for `steps` steps of a recipe and waits. */
status child_call(bench *b, const char *recipe, int threads, int steps, child_report *r);

/* What the called one does: the steps of b->o.recipe, and the report to stdout. */
status child_run(bench *b);

#ifdef __cplusplus
}
#endif
#endif
