/* run_folder: what a run leaves behind, besides its checkpoints.
 *
 *     <out>/metrics.jsonl   one line a report: only what is reproducible (step, loss, lr, ...)
 *          /timing.jsonl    seconds, token/s, memory
 *          /events.out.tfevents.*   both, for TensorBoard
 *          /.lock           held while a process writes here; holds its number
 *
 * A line is written with one write, so that a reader never sees half of one. A checkpoint remembers
 * how long both logs were; resuming cuts them back to that. */
#ifndef RECIPES_RUN_FOLDER_H
#define RECIPES_RUN_FOLDER_H

#include "core/status.h"
#include "recipes/tensorboard.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct run_log {
    char path[PATH_MAX];
    int fd;
} run_log;

typedef struct run_folder {
    char path[PATH_MAX];
    int lock;
    run_log metrics, timing;
    tensorboard events;
} run_folder;

/* One number of a line. Names are letters, digits, '_', '.', '/' and '-'. */
typedef struct run_value {
    const char *name;
    double value;
    bool whole; /* printed as a whole number (exact below 2^53), else with nine digits */
} run_value;

/* Makes the folder when it is missing, and locks it. One that holds a run already is refused unless
 * resume; one that another process writes to always is, with that process's number. */
status run_folder_open(run_folder *r, const char *path, bool resume);

/* Starts the logs for writing, first step to be written from_step (0: a new run). On resume
 * metrics_bytes and timing_bytes are the checkpoint's: both logs are cut back to them; a log that
 * is shorter is an error. */
status run_folder_start(run_folder *r, int64_t from_step, int64_t metrics_bytes,
                        int64_t timing_bytes);

/* Adds {"step": ..., name: value, ...} to metrics.jsonl / timing.jsonl and the scalars to the
 * TensorBoard events. What is not finite is null. A line that cannot be written leaves no trace. */
status run_folder_metrics(run_folder *r, int64_t step, const run_value *v, int n);
status run_folder_timing(run_folder *r, int64_t step, const run_value *v, int n);

/* Syncs both logs and tells their lengths: for the checkpoint's manifest. */
status run_folder_lengths(run_folder *r, int64_t *metrics_bytes, int64_t *timing_bytes);

/* Ends writing and gives the lock back; a run folder that failed to open may be closed too. */
void run_folder_close(run_folder *r);

#ifdef __cplusplus
}
#endif
#endif
