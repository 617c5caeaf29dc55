/* maker: rows of a prompt or prefix that a small network makes of trained ones while training. PEFT's files hold the
 * result alone; the network lies beside it in encoder.safetensors, so that training can go on. */
#ifndef PEFT_MAKER_H
#define PEFT_MAKER_H

#include "peft/peft.h"

enum { MAKER_LAYERS_MAX = 3 };

typedef struct maker {
    peft  *p;
    tuned *rows, *w[MAKER_LAYERS_MAX], *b[MAKER_LAYERS_MAX];
    int    layers;
    bool   relu; /* between the layers, else tanh */
} maker;

/* A network of so many layers for `tokens` rows: width -> hidden -> .. -> out. */
status maker_open(const peft_attach *at, int64_t tokens, int64_t width, int64_t hidden, int64_t out, int layers,
                    bool relu, maker **e);

/* Values that it trains. */
int64_t maker_count(int64_t tokens, int64_t width, int64_t hidden, int64_t out, int layers);

/* The rows [tokens, out] on the tape. */
var *maker_rows(tape *t, const maker *e);

#endif
