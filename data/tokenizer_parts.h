/* tokenizer_parts: what a tokenizer is made of. Internal to data/; readers of file formats fill
 * these parts through the functions below, and encoding walks through them. */
#ifndef DATA_TOKENIZER_PARTS_H
#define DATA_TOKENIZER_PARTS_H

#include "data/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Ids may lie at most this far beyond the number of tokens. */
enum { TOKEN_ID_SLACK = 4096 };
#define TOKEN_TEXT_MAX ((size_t)1 << 30)

/* ---- vocabulary.c: text <-> id ---- */

typedef struct vocabulary_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
} vocabulary_slot;

typedef struct vocabulary {
    int32_t capacity; /* ids are below it */
    int32_t n_ids;    /* largest id + 1 */
    char *bytes;      /* all texts, each with a NUL behind it */
    size_t used, room;
    uint32_t *at, *length; /* [capacity]; length UINT32_MAX: no such token */
    vocabulary_slot *slots;
    uint32_t mask;
} vocabulary;

/* Room for `tokens` texts of `bytes` bytes together. */
status vocabulary_open(arena *a, size_t tokens, size_t bytes, vocabulary *v);

/* Refuses an id that is taken or too large, and a text that is there. findable: vocabulary_find
 * sees it (tokens of the model); added tokens beyond the model are found by added.c alone. */
status vocabulary_add(vocabulary *v, const char *text, size_t n, int64_t id, bool findable,
                      const char *what);
int32_t vocabulary_find(const vocabulary *v, const char *text, size_t n);

static inline bool vocabulary_has(const vocabulary *v, int64_t id)
{
    return id >= 0 && id < v->n_ids && v->length[id] != UINT32_MAX;
}

/* ---- byte_level.c: bytes as printable characters ---- */

/* The character that stands for a byte in a byte-level vocabulary, and back (-1: stands for none).
 */
uint32_t byte_stand_in(uint8_t byte);
int byte_of_stand_in(uint32_t code);

/* The stand-ins of n bytes as UTF-8: at most 2 n bytes; returns their number. */
size_t byte_stand_ins(const char *text, size_t n, char *out);

/* Unicode White_Space, and \w as the reference's regular expressions know it. */
bool unicode_is_space(uint32_t code);
bool unicode_is_word(uint32_t code);

/* ---- added_tokens.c ---- */

typedef struct added_token {
    const char *text;
    size_t n;
    size_t n_found; /* bytes as looked for: differs from n when normalised */
    int32_t id;
    bool lstrip, rstrip, single_word, normalized, special;
} added_token;

/* A trie over bytes: nodes with first child and next sibling. */
typedef struct token_trie {
    struct trie_node *nodes;
    uint32_t n, room;
    uint32_t root[256]; /* 0: none */
} token_trie;

typedef struct added_tokens {
    added_token *v;
    size_t n;
    token_trie raw, normal; /* looked for before and after normalisation */
    uint8_t *special;       /* [capacity of the vocabulary] */
} added_tokens;

typedef struct added_match {
    size_t begin, end; /* with the blanks that lstrip and rstrip eat */
    const added_token *token;
} added_match;

struct tokenizer_work;

/* Fills both tries; content that is normalised goes through the normaliser first. */
status added_tokens_index(arena *a, tokenizer *t);

/* The first match at or behind `from`; false when there is none. */
bool added_find(const added_tokens *all, const token_trie *trie, const char *text, size_t length,
                size_t from, added_match *out);

/* ---- normalize.c ---- */

/* A text with the given bytes that each of its bytes came from. */
typedef struct aligned_text {
    char *v;
    uint32_t *from, *to; /* [n] */
    size_t n, room, room_from, room_to;
} aligned_text;

typedef enum normalizer_kind { NORMALIZE_NFC } normalizer_kind;

/* True when NFC leaves the text as it is for a cheap reason: no character from U+0300 on. */
bool normalize_is_plain(const char *text, size_t n);
status normalize_nfc(struct tokenizer_work *w, const char *text, size_t n, size_t base,
                     aligned_text *out);

/* ---- pretokenize.c ---- */

typedef enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
} split_behavior;

typedef struct pre_step {
    pcre2_code *pattern; /* NULL: category N instead of a pattern */
    split_behavior behavior;
    bool invert;
} pre_step;

enum { PRE_STEPS_MAX = 16 };

/* A step that splits at a pattern (Oniguruma's syntax as far as both agree; literal: a plain text),
 * or at characters of category N. */
status pre_add_split(tokenizer *t, const char *pattern, size_t n, bool literal,
                     split_behavior behavior, bool invert);
status pre_add_digits(tokenizer *t, bool individual);

extern const char *const PATTERN_GPT2;

/* Cuts w->text[begin, end) with the steps from `step` on; pieces go to the model. */
status pretokenize(struct tokenizer_work *w, int step, size_t begin, size_t end);

/* ---- bpe.c ---- */

typedef struct bpe_merge {
    uint32_t left, right; /* left UINT32_MAX: empty slot */
    uint32_t rank, id;
} bpe_merge;

/* Pieces seen before. A slot is locked while it is looked at; who finds it locked goes without. */
enum { BPE_CACHE_BYTES = 28, BPE_CACHE_TOKENS = 6, BPE_CACHE_SLOTS = 1 << 15 };
typedef struct bpe_cached {
    bool busy;         /* by atomic operations only */
    uint8_t length, n; /* length 0: empty */
    uint8_t ends[BPE_CACHE_TOKENS];
    char piece[BPE_CACHE_BYTES];
    int32_t ids[BPE_CACHE_TOKENS];
} bpe_cached;

typedef struct bpe_model {
    bpe_merge *slots;
    uint64_t mask;
    int shift;
    uint32_t n_merges;
    int32_t byte_ids[256]; /* -1: the byte has no token */
    int32_t unknown;       /* -1: none */
    bool fuse_unknown, ignore_merges;
    bpe_cached *cache;
} bpe_model;

status bpe_open(arena *a, size_t merges, bpe_model *b);

/* The next merge in order of rank. Both parts and the whole must be tokens. */
status bpe_add_merge(tokenizer *t, const char *left, size_t n_left, const char *right,
                     size_t n_right);

/* When vocabulary and merges are complete. */
void bpe_finish(tokenizer *t);
status bpe_encode(struct tokenizer_work *w, size_t begin, size_t end);

/* ---- the whole ---- */

/* What a model must offer; one table a model. */
typedef struct token_model {
    const char *name;
    status (*encode)(struct tokenizer_work *w, size_t begin, size_t end); /* of w->text */
} token_model;

typedef struct template_item {
    int32_t id;   /* -1: a text */
    uint8_t text; /* 0: the first, 1: the second */
    uint8_t type;
} template_item;

typedef struct token_template {
    template_item *v;
    int n;
} token_template;

typedef enum decoder_kind { DECODE_JOIN_BLANKS, DECODE_BYTES } decoder_kind;

struct tokenizer {
    const char *what; /* the file's path, for messages */
    vocabulary words;
    added_tokens added;
    normalizer_kind normalizers[4];
    int n_normalizers;
    pre_step steps[PRE_STEPS_MAX];
    int n_steps;
    bool byte_level, prefix_blank;
    const token_model *model;
    bpe_model bpe;
    bool trim, trim_prefix; /* offsets without blanks; the prefix blank stays in */
    token_template single, pair;
    decoder_kind decoder;
    int32_t bos, eos;
    const char *chat_template;
};

typedef struct work_token {
    int32_t id;
    uint32_t begin, end;
    bool added; /* found in the text, not made by the model */
} work_token;

/* Growing temporaries of one encoding; freed at its end. */
typedef struct tokenizer_work {
    const tokenizer *t;
    const char *given; /* the caller's text */
    size_t given_length;
    const char *text; /* the stretch at work */
    size_t length;
    const uint32_t *from, *to; /* given bytes of each byte of text; NULL: text is given + base */
    size_t base;
    work_token *tokens;
    size_t n_tokens, room_tokens;
    aligned_text normal, prefixed;
    pcre2_match_data *match;
    void *scratch[3]; /* normalisation, symbols, heap */
    size_t room_scratch[3];
} tokenizer_work;

/* Makes room for `need` items of `size` bytes; *room counts items. */
status grow(void *pointer, size_t *room, size_t need, size_t size);

/* A token that covers w->text[begin, end). */
status work_emit(tokenizer_work *w, int32_t id, size_t begin, size_t end);

/* Readers of the two formats; they fill everything but `what`. */
status tokenizer_read_json(arena *a, const char *path, tokenizer *t);
status tokenizer_read_gguf(arena *a, const char *path, tokenizer *t);

/* BOS, EOS and the chat template from the files beside tokenizer.json, as far as they are there. */
status tokenizer_read_config(arena *a, const char *path, tokenizer *t);

/* Sets single and pair to the bare texts. */
status template_default(arena *a, tokenizer *t);

/* Tokens of a text behind those already in w, template left out. */
status work_encode(tokenizer_work *w, const char *text, size_t length);
void work_close(tokenizer_work *w);
#endif
