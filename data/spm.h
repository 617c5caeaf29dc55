/* spm: a tokenizer from what SentencePiece models hold, wherever it was read from (a .model file,
 * the metadata of a GGUF file). Internal to data/. */
#ifndef DATA_SPM_H
#define DATA_SPM_H

#include "data/tokenizer_parts.h"

/* Types of pieces; the numbers are those of both formats. */
typedef enum spm_type {
    SPM_NORMAL = 1,
    SPM_UNKNOWN,
    SPM_CONTROL,
    SPM_USER_DEFINED,
    SPM_UNUSED,
    SPM_BYTE
} spm_type;

typedef struct spm_piece {
    const char *v;
    size_t n;
    float score;
    int64_t type;
} spm_piece;

typedef struct spm_source {
    spm_piece *pieces; /* by id */
    int64_t n;
    bool bpe; /* else unigram */
    bool byte_fallback;
    const char *charsmap; /* n_charsmap bytes, which live as long as the tokenizer; 0: none */
    size_t n_charsmap;
    bool prefix, collapse, at_end; /* a blank in front (or behind), runs of blanks are one */
    size_t more, more_bytes; /* room for as many added tokens beyond the pieces */
    bool user_raw; /* user-defined pieces are looked for before normalisation, not behind it */
} spm_source;

/* Fills vocabulary, normaliser, model, added tokens and decoder. Control and unknown pieces are
 * special added tokens, so that they are found where they are written. */
status spm_build(arena *a, tokenizer *t, const spm_source *s);

/* A template with t->bos and t->eos, those that are to be added; both texts of a pair have them. */
status spm_template(arena *a, tokenizer *t, bool add_bos, bool add_eos);
#endif
