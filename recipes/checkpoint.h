/* checkpoint: the state of a run on disk, whole or not at all.
 *
 *     <run>/checkpoints/step-000016/adapter/...   written by the caller
 *                                  /state.h5      written by the caller
 *                                  /MANIFEST.json written here
 *
 * The folder is written as .step-000016.tmp, every file and folder in it is synced, and it is
 * renamed as one; then older ones beyond `keep` are removed. The manifest holds size and SHA-256 of
 * every file, and of itself, so that no changed byte loads. Whatever happens while a checkpoint is
 * written (kill, power, full disk), the one before stays. One process at a time: the run folder's
 * lock. */
#ifndef RECIPES_CHECKPOINT_H
#define RECIPES_CHECKPOINT_H

#include "core/arena.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What else the manifest says. Texts may be NULL (not known); they may hold 255 bytes. */
typedef struct checkpoint_facts {
    const char *base, *tokenizer, *data, *recipe; /* fingerprints */
    const char *device; /* that it was computed on: "cpu avx2" */
    int64_t metrics_bytes, timing_bytes;          /* lengths of the logs at this step */
} checkpoint_facts;

typedef struct checkpoint {
    char folder[PATH_MAX]; /* <run>/checkpoints */
    char path[PATH_MAX];   /* the .tmp folder, while it is being written */
    int64_t step;
} checkpoint;

/* Makes the empty folder c->path. Then the caller writes into it, and commits or aborts. */
status checkpoint_begin(checkpoint *c, const char *run, int64_t step);

/* Publishes c->path as step-NNNNNN (the same step again: replaced) and removes the older ones
 * beyond the newest `keep` (at least 2), except the step `best` (-1: none), and any of later steps,
 * which belong to a run that was cut back. On failure c->path is removed and everything older
 * stays; an older one that cannot be removed is only a warning. */
status checkpoint_commit(checkpoint *c, const checkpoint_facts *facts, int keep, int64_t best);

/* Removes c->path; after a failure of the caller's own. */
void checkpoint_abort(checkpoint *c);

typedef struct checkpoint_found {
    bool any;
    int n_bad; /* newer ones that were skipped */
    char path[PATH_MAX];
    int64_t step;
    checkpoint_facts facts; /* texts lie in the arena, NULL when not known */
} checkpoint_found;

/* The newest checkpoint of a run whose every byte is as it was written. Those that are not are
 * skipped with a warning that says which and why, and stay where they are; unfinished .tmp folders
 * are removed. None, or no such folder: any = false. */
status checkpoint_find_newest_good(arena *a, const char *run, checkpoint_found *out);

/* The same among those of steps before `below`. */
status checkpoint_find_good(arena *a, const char *run, int64_t below, checkpoint_found *out);

/* The checkpoint of one step; one that is missing or damaged is a failure. */
status checkpoint_open(arena *a, const char *run, int64_t step, checkpoint_found *out);

/* Checks one checkpoint folder and reads its manifest. */
status checkpoint_verify(arena *a, const char *path, checkpoint_found *out);

#ifdef __cplusplus
}
#endif
#endif
