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
 * sees it (tokens of the model); added tokens beyond the model are found by added_tokens.c alone. */
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

/* ---- unicode_class.c: classes of characters as the reference knows them ---- */

bool unicode_is_space(uint32_t code);      /* White_Space */
bool unicode_is_word(uint32_t code);       /* \w */
bool unicode_is_number(uint32_t code);     /* Nd, Nl, No */
bool unicode_is_punctuation(uint32_t code);
bool unicode_is_mark(uint32_t code);       /* Mn, Mc, Me */
bool unicode_is_nonspacing(uint32_t code); /* Mn */
bool unicode_is_control(uint32_t code);    /* what WordPiece's cleaning removes; tab, LF, CR are not */
bool unicode_is_chinese(uint32_t code);
uint32_t unicode_lower(uint32_t code);     /* U+0130 is the caller's: it becomes two */

/* ---- added_tokens.c ---- */

typedef struct added_token {
    const char *text;
    size_t n;
    const char *found; /* as looked for: differs from text when normalised */
    size_t n_found;
    int32_t id;
    bool literal; /* looked for after normalisation, but not normalised itself */
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
    int32_t *by_id;         /* [capacity] index into v, -1: not an added token */
} added_tokens;

typedef struct added_match {
    size_t begin, end; /* with the blanks that lstrip and rstrip eat */
    size_t found;      /* where the token itself ends: the next one is looked for from here */
    const added_token *token;
} added_match;

struct tokenizer_work;

/* Fills both tries; content that is normalised goes through the normaliser first. */
status added_tokens_index(arena *a, tokenizer *t);

/* How an added token reads when it is decoded: as it was looked for. NULL: not an added token. */
const added_token *added_by_id(const added_tokens *all, int32_t id);

/* The first match at or behind `at`; false when there is none. Blanks before `from` are not eaten.
 */
bool added_find(const added_tokens *all, const token_trie *trie, const char *text, size_t length,
                size_t at, size_t from, added_match *out);

/* ---- aligned.c: texts that know where their bytes came from ---- */

/* A text and the given bytes that each of its bytes came from. */
typedef struct text_view {
    const char *v;
    size_t n;
    const uint32_t *from, *to; /* [n]; NULL: byte i is the given text's base + i */
    size_t base;
    size_t origin; /* where in the given text the stretch begins that this was made of */
} text_view;

/* One that owns its bytes and grows. */
typedef struct aligned_text {
    char *v;
    uint32_t *from, *to;
    size_t n, room, room_from, room_to;
} aligned_text;

void aligned_close(aligned_text *t);

/* The part [begin, end) of a view, as a stretch of its own. */
text_view view_part(const text_view *in, size_t begin, size_t end);

/* Where byte i came from: the whole character's range. */
size_t view_from(const text_view *in, size_t i);
size_t view_to(const text_view *in, size_t i);

/* Writes a new text beside an old one. A character put with change 0 takes the next character's
 * place, with -k also that of k more behind it; with 1 it is new and shares the place of the byte
 * before. This is how the reference counts, whatever the characters are. */
typedef struct rewriter {
    text_view in;
    size_t at; /* bytes of `in` that are replaced */
    aligned_text *out;
} rewriter;

rewriter rewrite_begin(const text_view *in, aligned_text *out);
status rewrite_put(rewriter *r, uint32_t code, int32_t change);
status rewrite_copy(rewriter *r, size_t n); /* the next n bytes stay */
void rewrite_skip(rewriter *r, size_t n);   /* the next n bytes go */

/* A copy of `in` whose bytes the caller may change one by one; *out keeps the places. */
status aligned_same(const text_view *in, aligned_text *copy, text_view *out);
text_view rewrite_view(const rewriter *r);

/* ---- pattern.c: regular expressions ---- */

enum { PATTERNS_MAX = 32 };

/* Compiles a pattern of the file (Oniguruma's syntax as far as PCRE2 agrees; literal: a plain
 * text). The tokenizer closes it. part: who has it, for messages. */
status pattern_open(tokenizer *t, const char *part, const char *text, size_t n, bool literal,
                    pcre2_code **out);

/* The matches in a text from left to right, in the manner of the reference: nothing is matched right
 * behind a match and in an empty text, but elsewhere it is. */
typedef struct pattern_search {
    const tokenizer *t;
    const pcre2_code *pattern;
    pcre2_match_data *match;
    const char *text;
    size_t n, from, last;
} pattern_search;

pattern_search pattern_begin(const tokenizer *t, const pcre2_code *pattern,
                             pcre2_match_data *match, const char *text, size_t n);
status pattern_next(pattern_search *s, size_t *begin, size_t *end, bool *found);

/* ---- precompiled.c: the charsmap of SentencePiece ---- */

typedef struct charsmap {
    const uint32_t *units; /* a double array */
    size_t n_units;
    const char *values; /* texts, each with a NUL behind it */
    size_t n_values;
    bool plain[128]; /* ASCII that no entry begins with */
} charsmap;

/* Reads `bytes` and checks all of it: every place inside, no circle, every value UTF-8. The bytes
 * must live as long as the map. */
status charsmap_open(arena *a, const char *what, const char *bytes, size_t n, charsmap **out);

/* The value of the longest (or shortest) entry that text[0, n) begins with: its bytes *used, or
 * NULL. */
const char *charsmap_find(const charsmap *m, const char *text, size_t n, bool longest, size_t *used,
                          size_t *length);

/* ---- normalize.c ---- */

typedef enum normalizer_kind {
    NORMALIZE_NFC,
    NORMALIZE_NFD,
    NORMALIZE_NFKC,
    NORMALIZE_NFKD,
    NORMALIZE_LOWERCASE,
    NORMALIZE_STRIP,            /* blanks at the ends */
    NORMALIZE_STRIP_MARKS,      /* all marks */
    NORMALIZE_STRIP_NONSPACING, /* Mn */
    NORMALIZE_CLEAN,            /* BERT's: control characters away, white space becomes blanks */
    NORMALIZE_CHINESE,          /* BERT's: blanks around Chinese characters */
    NORMALIZE_NMT,
    NORMALIZE_PREPEND,
    NORMALIZE_REPLACE,
    NORMALIZE_CHARSMAP, /* by grapheme clusters, as the reference applies it */
    NORMALIZE_PIECES,   /* as SentencePiece itself does: charsmap, blanks */
    NORMALIZE_BYTES
} normalizer_kind;

typedef struct normalizer {
    normalizer_kind kind;
    const char *text; /* what is prepended or put instead */
    size_t n;
    const pcre2_code *pattern;
    const charsmap *map;
    bool left, right;             /* STRIP */
    bool collapse, prefix, at_end; /* PIECES: runs of blanks; the blank put in front, or at the end */
} normalizer;

enum { NORMALIZERS_MAX = 24 };

status normalizer_add(tokenizer *t, normalizer n);

/* BERT's, as the four steps that it is made of. */
status normalizer_add_bert(tokenizer *t, bool clean, bool chinese, bool strip_accents, bool lower);

/* All normalisers over a stretch; *out is `in` itself when nothing changes, else it lies in w. */
status normalize(struct tokenizer_work *w, const text_view *in, text_view *out);

/* Single ones: *changed false when the text stays as it is, and then *out is not set. */
status normalize_form(struct tokenizer_work *w, normalizer_kind form, const text_view *in,
                      aligned_text *copy, text_view *out, bool *changed);
status normalize_charsmap(const charsmap *map, const text_view *in, aligned_text *copy,
                          text_view *out, bool *changed);
status normalize_pieces(const normalizer *how, const text_view *in, aligned_text *copy,
                        text_view *out);

/* ---- pretokenize.c ---- */

typedef enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
} split_behavior;

typedef enum prepend_scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER } prepend_scheme;

typedef enum pre_kind {
    PRE_PATTERN,   /* split at a pattern */
    PRE_CLASS,     /* at the characters of a class */
    PRE_CHARACTER, /* at one character */
    PRE_WORDS,     /* at runs of \w and runs of neither \w nor white space */
    PRE_LENGTH,    /* after every so many characters */
    PRE_BLANK,     /* a blank in front */
    PRE_METASPACE, /* blanks become another character, one in front */
    PRE_BYTES      /* stand-ins for bytes */
} pre_kind;

typedef struct pre_step {
    pre_kind kind;
    const pcre2_code *pattern;
    bool (*is)(uint32_t code);
    uint32_t character;
    size_t length;
    prepend_scheme prepend;
    split_behavior behavior;
    bool invert;
} pre_step;

enum { PRE_STEPS_MAX = 16 };

status pre_add(tokenizer *t, pre_step step);

/* Splits at a pattern (pattern_open). */
status pre_add_split(tokenizer *t, const char *pattern, size_t n, bool literal,
                     split_behavior behavior, bool invert);

/* BERT's: white space goes away, punctuation stands alone. */
status pre_add_bert(tokenizer *t);

/* SentencePiece's U+2581 for blanks; split: each with the word behind it is a piece. */
status pre_add_metaspace(tokenizer *t, uint32_t character, prepend_scheme prepend, bool split);

extern const char *const PATTERN_GPT2;

/* Cuts w->view[begin, end) with the steps from `step` on; pieces go to the model. */
status pretokenize(struct tokenizer_work *w, int step, size_t begin, size_t end);

/* ---- piece_trie.c: longest and all matches of a vocabulary ---- */

typedef struct piece_node {
    uint32_t first; /* the first child; the children end where the next node's begin */
    int32_t id;     /* of the token that ends here, -1: none */
} piece_node;

typedef struct piece_trie {
    piece_node *nodes; /* [n + 1], level by level; node 0 is the root */
    uint8_t *labels;   /* [n] the byte that leads to a node */
    uint32_t n;
    uint32_t roots[256]; /* children of the root, 0: none */
} piece_trie;

/* A trie of the tokens that the vocabulary finds and `use` (or NULL: all) keeps. */
status piece_trie_open(arena *a, const vocabulary *words, const bool *use, piece_trie *trie);

/* The child of a node for a byte, 0: none. */
static inline uint32_t piece_child(const piece_trie *trie, uint32_t node, uint8_t byte)
{
    uint32_t at = trie->nodes[node].first, n = trie->nodes[node + 1].first - at;
    const uint32_t end = at + n;

    while (n > 8) { /* the first half of those left, or the rest */
        const uint32_t half = n / 2;
        at += trie->labels[at + half - 1] < byte ? half : 0;
        n -= half;
    }
    while (at < end && trie->labels[at] < byte)
        at++;
    return at < end && trie->labels[at] == byte ? at : 0;
}

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

enum { BPE_AFFIX_MAX = 32 };
typedef struct bpe_model {
    bpe_merge *slots;
    uint64_t mask;
    int shift;
    uint32_t n_merges;
    int32_t byte_ids[256]; /* of stand-ins, or with byte fallback of <0xNN>; -1: none */
    int32_t unknown;       /* -1: none */
    bool fuse_unknown, ignore_merges, byte_fallback;
    const char *prefix, *suffix; /* of parts inside a word, of its last part; "" is none */
    size_t n_prefix, n_suffix;
    bpe_cached *cache;
} bpe_model;

status bpe_open(arena *a, size_t merges, bpe_model *b);

/* The next merge in order of rank. Both parts and the whole must be tokens. */
status bpe_add_merge(tokenizer *t, const char *left, size_t n_left, const char *right,
                     size_t n_right);

/* The list has this pair. */
bool bpe_merges(const bpe_model *b, int32_t left, int32_t right);

/* When vocabulary and merges are complete; the model is set. */
void bpe_finish(tokenizer *t);

/* Ids of the tokens <0x00> .. <0xFF>, -1: no such token. */
void byte_tokens(const vocabulary *words, int32_t ids[256]);

/* A part of a piece on its way to a token. */
typedef struct bpe_symbol {
    int32_t id;
    uint32_t begin, end;     /* bytes of the piece */
    uint32_t next, previous; /* UINT32_MAX: none; only in long pieces */
} bpe_symbol;

/* bpe_chars.c: the symbols of a piece whose characters are tokens; v has room for bpe_chars_room of
 * its n bytes. */
size_t bpe_chars_room(const bpe_model *b, size_t n);
size_t bpe_chars_begin(const tokenizer *t, const char *piece, size_t n, bpe_symbol *v);

/* ---- unigram.c ---- */

enum { UNKNOWN_PENALTY = 10 };

typedef struct unigram_model {
    piece_trie trie;
    double *scores; /* [ids] */
    double unknown_score;
    int32_t unknown; /* -1: none */
    bool byte_fallback;
    bool single;        /* sums of scores are rounded to float32, as SentencePiece has them */
    int32_t bytes[256]; /* ids of <0xNN>, -1: none */
} unigram_model;

/* scores: one for each id of the vocabulary; unknown: the id or -1; use: as in piece_trie_open. */
status unigram_open(arena *a, tokenizer *t, double *scores, double lowest, int32_t unknown,
                    bool byte_fallback, const bool *use);

/* ---- wordpiece.c ---- */

typedef struct wordpiece_model {
    piece_trie trie;
    uint32_t inside; /* node behind the prefix of continuing pieces; UINT32_MAX: there are none */
    size_t max_characters;
    int32_t unknown;
} wordpiece_model;

/* unknown: text of the token for words that cannot be spelled. */
status wordpiece_open(arena *a, tokenizer *t, const char *unknown, const char *prefix,
                      int64_t max_characters);

/* WordLevel: a word is one token. */
status wordlevel_open(tokenizer *t, const char *unknown);

/* ---- spm_bpe.c: BPE of SentencePiece, which merges what makes the piece of the best score ---- */

typedef struct spm_bpe_model {
    float *scores; /* [ids] */
    bool *use;     /* [ids] pieces that a merge may make */
    size_t longest; /* bytes of the longest piece */
    int32_t unknown;
    bool byte_fallback;
    int32_t bytes[256];
} spm_bpe_model;

/* scores and use: one for each id, and theirs from now on. */
status spm_bpe_open(tokenizer *t, float *scores, bool *use, int32_t unknown, bool byte_fallback);

/* ---- decode.c ---- */

typedef enum decoder_kind {
    DECODE_BYTES,
    DECODE_WORDPIECE,
    DECODE_METASPACE,
    DECODE_BPE,
    DECODE_CTC,
    DECODE_FUSE,
    DECODE_STRIP,
    DECODE_REPLACE,
    DECODE_BYTE_FALLBACK
} decoder_kind;

typedef struct decoder {
    decoder_kind kind;
    const char *text; /* prefix, suffix, pad token, replacement */
    size_t n;
    const char *second; /* CTC's word delimiter */
    size_t n_second;
    const pcre2_code *pattern;
    uint32_t character;
    int64_t start, stop; /* STRIP */
    bool cleanup;        /* METASPACE: the first token's blanks go */
} decoder;

enum { DECODERS_MAX = 16 };

status decoder_add(tokenizer *t, decoder d);

/* ---- the whole ---- */

/* What a model must offer; one table a model. */
typedef struct token_model {
    const char *name;
    status (*encode)(struct tokenizer_work *w, size_t begin, size_t end); /* of w->view */
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

struct tokenizer {
    const char *what; /* the file's path, for messages */
    vocabulary words;
    added_tokens added;
    normalizer normalizers[NORMALIZERS_MAX];
    int n_normalizers;
    pre_step steps[PRE_STEPS_MAX];
    int n_steps;
    pcre2_code *patterns[PATTERNS_MAX];
    int n_patterns;
    bool byte_level; /* the model takes bytes, not their stand-ins */
    const token_model *model;
    bpe_model bpe;
    unigram_model unigram;
    wordpiece_model wordpiece;
    spm_bpe_model spm;
    bool trim, trim_prefix; /* offsets without blanks; the prefix blank stays in */
    token_template single, pair;
    bool template_set;
    decoder decoders[DECODERS_MAX];
    int n_decoders;
    int32_t bos, eos;
    const char *chat_template;
};

typedef struct work_token {
    int32_t id;
    uint32_t begin, end;
    int32_t leading, trailing; /* blanks of a token that stands for a text of its own; -1: its own */
} work_token;

/* Growing temporaries of one encoding; freed at its end. */
typedef struct tokenizer_work {
    const tokenizer *t;
    const char *given; /* the caller's text */
    size_t given_length;
    text_view view; /* the stretch at work */
    work_token *tokens;
    size_t n_tokens, room_tokens;
    aligned_text normal[2], changed[PRE_STEPS_MAX];
    pcre2_match_data *match;
    void *scratch[3]; /* normalisation and best paths, symbols, heap */
    size_t room_scratch[3];
} tokenizer_work;

/* The token emitted last stands for the view's [begin, end) as it is. */
void work_own_text(tokenizer_work *w, size_t begin, size_t end);

/* Makes room for `need` items of `size` bytes; *room counts items. */
status grow(void *pointer, size_t *room, size_t need, size_t size);

/* A token that covers w->view[begin, end). */
status work_emit(tokenizer_work *w, int32_t id, size_t begin, size_t end);

/* Readers of the formats; they fill everything but `what`. */
status tokenizer_read_json(arena *a, const char *path, tokenizer *t);
status tokenizer_read_gguf(arena *a, const char *path, tokenizer *t);
status tokenizer_read_spm(arena *a, const char *path, tokenizer *t);
status tokenizer_read_vocab(arena *a, const char *path, tokenizer *t);

/* BOS, EOS and the chat template from the files beside tokenizer.json, as far as they are there. */
status tokenizer_read_config(arena *a, const char *path, tokenizer *t);

/* The path of a file beside another one. */
char *beside_file(arena *a, const char *path, const char *name);

/* Sets single and pair to the bare texts. */
status template_default(arena *a, tokenizer *t);

/* Tokens of a text behind those already in w, template left out. */
status work_encode(tokenizer_work *w, const char *text, size_t length);
void work_close(tokenizer_work *w);

/* Room for matches of patterns. */
status work_match(tokenizer_work *w);
#endif
