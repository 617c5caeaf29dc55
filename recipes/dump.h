/* dump: the micro-batches of a run as lines of the `ids` source, for other programs to train on. */
#ifndef RECIPES_DUMP_H
#define RECIPES_DUMP_H

#include "data/pack.h"

/* Writes every micro-batch of the first `steps` steps of a fresh packer with these options: lines
 * {"batch": b, "step": s, "ids": [...], "labels": [...]}. */
status dump_batches(arena *a, const char *path, const examples *x, const pack_options *o,
                    int64_t steps);

/* Writes all examples, each as a batch of its own. */
status dump_examples(const char *path, const examples *x);

#endif
