/* with_golden_tokenizer: a tokenizer against the cases of a golden folder, for handlers and tests
 * that have it from somewhere else (a GGUF file) */
#ifndef TESTS_WITH_GOLDEN_TOKENIZER_H
#define TESTS_WITH_GOLDEN_TOKENIZER_H

#include "data/tokenizer.h"
#include "tests/with_golden.h"

/* cases.json: ids, offsets and both decodings of every text. Notes how many of them differ, and the
 * first. */
status golden_tokenizer_texts(golden *g, const tokenizer *t, const char *cases);

/* A new folder below /tmp, for the caller to remove. */
status golden_folder_make(char path[64]);

#endif
