/* attention: a block's attention with what modules put in front of it, in one line for every trunk */
#ifndef LAYERS_ATTENTION_H
#define LAYERS_ATTENTION_H

#include "layers/model.h"

/* q [N, H*D] over the stream's keys and values k, v (its cache, where it has one), and over the keys and values of
 * the hooks at `kv`, which every query sees. */
var *site_attention(tape *t, const site *kv, const stream *s, var *q, var *k, var *v, const attention_options *o);

#endif
