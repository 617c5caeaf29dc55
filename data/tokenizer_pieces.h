/* tokenizer_pieces: SentencePiece's BPE, which a GGUF file has as pieces with scores and tokenizer.json as a list of
 * merges. Internal to data/.
 *
 * Of neighbouring parts a score merges all that make a piece together, the best piece first; a list merges the pairs
 * in it, in its order. They agree when the list has every pair of parts that makes a piece, pieces one after
 * another: so are the lists that are made of SentencePiece models, and others are refused. */
#ifndef DATA_TOKENIZER_PIECES_H
#define DATA_TOKENIZER_PIECES_H

#include "core/gguf_write.h"
#include "data/spm.h"
#include "data/tokenizer_json.h"

enum { TOKENIZER_PARTS_MAX = 8 };

/* The parts of a part, Sequences opened; returns how many there are with those before, of which at most
 * TOKENIZER_PARTS_MAX are kept. */
int  tokenizer_flatten(const cJSON *o, const char *list, const cJSON **parts, int n);
bool tokenizer_is_type(const cJSON *o, const char *type);

/* A tokenizer.json with such a model. */
bool pieces_are_in(const cJSON *root);

/* Model and scores as metadata, without the tokens themselves. `words`: rows of the embedding. */
status pieces_to_gguf(arena *a, const tokenizer *t, const cJSON *root, int64_t words, gguf_meta *m);

/* A merge that a piece is made by. */
typedef struct piece_merge {
    int32_t left, right;
} piece_merge;

/* The list of merges of pieces in an opened GGUF tokenizer; *lost: pieces that no list of merges reaches. */
status pieces_merges(arena *a, const tokenizer *t, piece_merge **out, int64_t *n, int64_t *lost);

#endif
