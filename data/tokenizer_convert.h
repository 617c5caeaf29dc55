/* tokenizer_convert: a tokenizer from one kind of file to the other. Byte-level BPE with one of the ways of
 * data/tokenizer_ways.h, and the BPE of SentencePiece; everything else is refused by name. */
#ifndef DATA_TOKENIZER_CONVERT_H
#define DATA_TOKENIZER_CONVERT_H

#include "core/gguf_write.h"

/* The folder has a tokenizer.json. */
bool tokenizer_in_folder(arena *a, const char *folder);

/* tokenizer.json (and tokenizer_config.json, chat_template.jinja) of a folder as metadata tokenizer.*.
 * `words` are the rows of the embedding: llama.cpp wants a token for each, so that rows without one get
 * "[PAD<id>]". */
status tokenizer_to_gguf(arena *a, const char *folder, int64_t words, gguf_meta *m);

/* The metadata as tokenizer.json and tokenizer_config.json in a folder; nothing when the file has no
 * tokenizer. */
status tokenizer_from_gguf(arena *a, const gguf *g, const char *folder);

#endif
