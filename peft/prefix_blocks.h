/* prefix_blocks: keys and values in front of every sequence that are a block's own, in any blocks. They take no
 * positions: tokens keep theirs. Private to peft/prefix.c.
 *
 * Tensors of a block: prefix_key, prefix_value [tokens, width]; when they are scaled by trained factors also
 * prefix_key_scale, prefix_value_scale [1], which start at 1. */
#ifndef PEFT_PREFIX_BLOCKS_H
#define PEFT_PREFIX_BLOCKS_H

#include "peft/peft.h"

typedef struct prefix_blocks {
    int64_t tokens;
    double  size;               /* of the start: deviation, or with `uniform` the largest, 0 the least */
    bool    uniform, learned, compensate;
} prefix_blocks;

/* Takes place at a kv site, with the hook `kv` of prefix_blocks_kv. */
status prefix_blocks_attach(const peft_attach *at, const prefix_blocks *o, void **state);
void   prefix_blocks_kv(tape *t, const site *s, void *state, var **k, var **v, var **offsets);

/* Values at a site. */
int64_t prefix_blocks_count(const prefix_blocks *o, const site *s);

#endif
