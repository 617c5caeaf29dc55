/* tokenizer: text to token ids and back, exactly as the checkpoint was trained.
 *
 * Read from tokenizer.json (and tokenizer_config.json, chat_template.jinja beside it), from the
 * metadata of a GGUF file, from vocab.txt (WordPiece) or from a SentencePiece model. BPE, Unigram,
 * WordPiece and WordLevel stand with the reference's normalizers, pre-tokenizers, post-processors
 * and decoders; what is not known is refused by name, never approximated. Truncation and padding of
 * the file are checked and ignored: the caller packs, or cuts with a token_limit.
 *
 * The way of a text: added tokens written in it are found first; each stretch between them is
 * normalised, cut into pieces, and each piece becomes tokens; then the template adds <s> and the
 * like. Offsets are bytes of the text as given, whatever happened on the way.
 *
 * Threads: a const tokenizer may be used by any number of threads at once, each with its own arena.
 */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include "core/arena.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tokenizer tokenizer;

typedef struct token_list {
    int64_t n;
    int32_t *ids;
    uint32_t *begin, *end; /* [begin, end) of the text; a part of a character has the whole one's
                              range; tokens of the template have 0, 0 */
    uint8_t *types;        /* token type: 0, or what the template gives the second text */
    uint8_t *special;      /* 1: from the template, not from the text */
} token_list;

/* Reads a tokenizer: path is a .json, .gguf or .model file, a vocab.txt, or a folder with
 * tokenizer.json, else tokenizer.model, spiece.model or sentencepiece.bpe.model, else vocab.txt.
 * Everything but the compiled patterns lies in the arena. Failures name the file and what in it is
 * wrong. */
status tokenizer_open(arena *a, const char *path, tokenizer **out);

/* True when a folder holds one of these files. */
bool tokenizer_is_in(arena *a, const char *folder);

/* Gives the compiled patterns back; NULL is fine. The arena stays the caller's. */
void tokenizer_close(tokenizer *t);

/* Tokens of a text of at most 1 GiB of valid UTF-8 (it may hold NULs). add_special: with the tokens
 * of the template (BOS, EOS ...); special tokens written in the text are recognised either way.
 * Bytes without a token and without an unknown token are dropped, as the reference does. */
status tokenizer_encode(const tokenizer *t, arena *a, const char *text, size_t length,
                        bool add_special, token_list *out);

/* The same for two texts; offsets are those of the text that a token came from. */
status tokenizer_encode_pair(const tokenizer *t, arena *a, const char *text, size_t length,
                             const char *second, size_t second_length, bool add_special,
                             token_list *out);

/* Which text loses tokens when both are too long together. */
typedef enum token_cut { TOKEN_CUT_LONGEST, TOKEN_CUT_FIRST, TOKEN_CUT_SECOND } token_cut;

typedef struct token_limit {
    int64_t max; /* tokens in all, those of the template included */
    token_cut how;
    bool left; /* tokens go from the beginning of a text, not from its end */
} token_limit;

/* Both of the above (second NULL: one text), cut to a limit unless that is NULL. */
status tokenizer_encode_limited(const tokenizer *t, arena *a, const char *text, size_t length,
                                const char *second, size_t second_length, bool add_special,
                                const token_limit *limit, token_list *out);

/* Text of n ids, NUL-terminated; ids that have no token are left out, and so are special tokens
 * when skip_special is true. Bytes that are not UTF-8 (a character cut in the middle) become
 * U+FFFD. */
status tokenizer_decode(const tokenizer *t, arena *a, const int32_t *ids, int64_t n,
                        bool skip_special, char **text, size_t *length);

/* Largest id + 1: an embedding table needs at least that many rows. */
int32_t tokenizer_size(const tokenizer *t);

/* Id of a token by its text in the file ("<|im_end|>"), -1 when there is none. */
int32_t tokenizer_id(const tokenizer *t, const char *token);

/* Text of an id as it stands in the file (length in *length, a NUL behind it), NULL when there is
 * none. */
const char *tokenizer_token(const tokenizer *t, int32_t id, size_t *length);

/* True for added tokens that are special: decoding leaves them out on request. */
bool tokenizer_is_special(const tokenizer *t, int32_t id);

/* Begin and end of text, -1 when the file names none. */
int32_t tokenizer_bos(const tokenizer *t);
int32_t tokenizer_eos(const tokenizer *t);

/* The chat template (see data/chat.h), NULL when there is none. */
const char *tokenizer_chat_template(const tokenizer *t);

#ifdef __cplusplus
}
#endif
#endif
