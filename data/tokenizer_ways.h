/* tokenizer_ways: what a name in tokenizer.ggml.pre means, for reading and writing GGUF files. Internal to
 * data/. */
#ifndef DATA_TOKENIZER_WAYS_H
#define DATA_TOKENIZER_WAYS_H

#include <stdbool.h>

#define LETTERS_AND_MARKS(digits)                                                                  \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct token_way {
    const char *name, *pattern;              /* NULL: GPT-2's */
    bool        digits;                      /* characters of category N apart first */
    bool        nfc, ignore_merges, add_bos; /* add_bos: when the file does not say */
} token_way;

/* A way that several names have is written under the first of them. */
static const token_way token_ways[] = {
    {"gpt-2", 0, false, false, false, false},
    {"default", 0, false, false, false, false},
    {"phi-2", 0, false, false, false, false},
    {"smollm", 0, true, false, false, false},
    {"starcoder", 0, true, false, false, false},
    {"refact", 0, true, false, false, false},
    {"llama-bpe", LETTERS_AND_MARKS("{1,3}"), false, false, true, true},
    {"llama3", LETTERS_AND_MARKS("{1,3}"), false, false, true, true},
    {"qwen2", LETTERS_AND_MARKS(""), false, true, false, false},
    {"deepseek-r1-qwen", LETTERS_AND_MARKS(""), false, true, false, false},
};
#define TOKEN_WAY_NAMES                                                                                        \
    "gpt-2, default, phi-2, smollm, starcoder, refact, llama-bpe, llama3, qwen2, deepseek-r1-qwen"

#endif
