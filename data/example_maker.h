/* example_maker: what makers of samples that are read as a whole share. Callers use data/example.h. */
#ifndef DATA_EXAMPLE_MAKER_H
#define DATA_EXAMPLE_MAKER_H

#include "data/example.h"

typedef struct sample_maker {
    arena                 *a, *work;
    wording                words;
    const text_encoder    *encoder;
    const example_options *o;
    const whole_options   *w;
    examples              *out;
    bool                   running;
    int64_t                room; /* examples that out->v has place for */
} sample_maker;

/* Takes the sample, with what is wanted of it. */
status sample_keep(sample_maker *m, const record *r, example *e);

/* What `overlong` says of n tokens. *dropped: the sample is left out; else it is to be cut. */
status sample_too_long(sample_maker *m, const record *r, int64_t n, int64_t length, bool *dropped);

/* Encodes within a length. *dropped: the sample is left out. */
status sample_encode(sample_maker *m, const record *r, const whole_text *x, int64_t length, token_list *list,
                    bool *dropped);

/* ids and types */
status sample_tokens(sample_maker *m, const token_list *list, example *e);

/* A sentence by words with tags (data/example_words.c). */
status sample_words(sample_maker *m, const record *r, example *e, bool *dropped);

/* Takes the windows of a record (data/example_windows.c). */
status sample_windows(sample_maker *m, const record *r);

#endif
