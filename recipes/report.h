/* report: what a run tells while it trains: log files, events, and a line for a person */
#ifndef RECIPES_REPORT_H
#define RECIPES_REPORT_H

#include "recipes/run_state.h"

typedef struct report {
    double  started, last; /* seconds */
    int64_t first_step, steps;
    int64_t tokens;        /* since the start */
    double  flops_token;   /* needed FLOPs a token, 0: not known */
    double  ceiling;       /* FLOP/s of this machine, 0: not probed */
    size_t  planned;       /* bytes */
    int64_t idle;          /* bytes of the process before the run */
} report;

/* A step: metrics.jsonl, timing.jsonl, events, and the live line or a plain one. */
status report_step(report *p, run_state *st, const step_report *r);

/* An evaluation after st->step steps; perplexity: the loss is that of words. */
status report_evaluation(report *p, run_state *st, double loss, int64_t targets, bool perplexity);

/* A named figure of predictions or answers ("rouge_l"). */
status report_figure(run_state *st, const char *name, double value);

#endif
