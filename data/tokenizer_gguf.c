/* tokenizer_gguf: the tokenizer in a GGUF file's metadata.
 *
 * tokenizer.ggml.model says which of four it is: gpt2 (byte-level BPE; how texts are cut stands in a
 * name only, tokenizer.ggml.pre: data/tokenizer_ways.h), llama (SentencePiece's BPE), t5
 * (its unigram) and bert (WordPiece). */
#include "core/gguf.h"
#include "data/spm.h"
#include "data/tokenizer_ways.h"

#include <stdio.h>
#include <string.h>

static status read_way(arena *a, const gguf *g, tokenizer *t, bool *add_bos)
{
    const char *name, *known = TOKEN_WAY_NAMES;

    TRY(gguf_string(a, g, "tokenizer.ggml.pre", true, &name));
    for (size_t i = 0; i < COUNT_OF(token_ways); i++) {
        const token_way *way = &token_ways[i];
        if (strcmp(way->name, name) != 0)
            continue;
        const char *pattern = way->pattern ? way->pattern : PATTERN_GPT2;
        if (way->nfc)
            TRY(normalizer_add(t, (normalizer){.kind = NORMALIZE_NFC}));
        t->bpe.ignore_merges = way->ignore_merges;
        *add_bos = way->add_bos;
        if (way->digits)
            TRY(pre_add(t, (pre_step){.kind = PRE_CLASS,
                                      .is = unicode_is_number,
                                      .behavior = SPLIT_ISOLATED}));
        return pre_add_split(t, pattern, strlen(pattern), false, SPLIT_ISOLATED, false);
    }
    return fail(STATUS_UNSUPPORTED, "%s: tokenizer.ggml.pre is \"%.80s\", known: %s", t->what, name,
                known);
}

static status read_tokens(arena *a, const gguf *g, tokenizer *t, int64_t *n)
{
    gguf_text *tokens;
    size_t bytes = 0;

    TRY(gguf_texts(a, g, "tokenizer.ggml.tokens", true, &tokens, n));
    if (*n < 1 || *n >= 1 << 24)
        return fail(STATUS_FORMAT, "%s: %lld tokens, must be 1..16777215", t->what, (long long)*n);
    for (int64_t i = 0; i < *n; i++)
        bytes += tokens[i].n;
    if (bytes >= UINT32_MAX / 2)
        return fail(STATUS_FORMAT, "%s: tokens of %zu bytes, may be 2 GB", t->what, bytes);
    TRY(vocabulary_open(a, (size_t)*n, bytes, &t->words));
    for (int64_t i = 0; i < *n; i++)
        TRY(vocabulary_add(&t->words, tokens[i].v, tokens[i].n, i, true, t->what));
    return STATUS_OK;
}

static status read_merges(arena *a, const gguf *g, tokenizer *t)
{
    const bool ignore_merges = t->bpe.ignore_merges;
    gguf_text *merges;
    int64_t n;

    TRY(gguf_texts(a, g, "tokenizer.ggml.merges", true, &merges, &n));
    if (n >= 1 << 24)
        return fail(STATUS_FORMAT, "%s: %lld merges, may be 16777215", t->what, (long long)n);
    TRY(bpe_open(a, (size_t)n, &t->bpe));
    t->bpe.ignore_merges = ignore_merges;
    for (int64_t i = 0; i < n; i++) {
        const char *text = merges[i].v, *blank = memchr(text, ' ', merges[i].n);
        const size_t left = blank ? (size_t)(blank - text) : 0;
        const size_t right = blank ? merges[i].n - left - 1 : 0;
        if (left == 0 || right == 0 || memchr(blank + 1, ' ', right))
            return fail(STATUS_FORMAT,
                        "%s: merge %lld must be two tokens with one blank between them", t->what,
                        (long long)i);
        TRY(bpe_add_merge(t, text, left, blank + 1, right));
    }
    return STATUS_OK;
}

/* Control tokens are special added tokens, user-defined ones added tokens. */
static status read_types(arena *a, const gguf *g, tokenizer *t, int64_t n_tokens)
{
    int64_t *types, n;
    size_t added = 0;

    TRY(gguf_ints(a, g, "tokenizer.ggml.token_type", false, &types, &n));
    if (n != 0 && n != n_tokens)
        return fail(STATUS_FORMAT, "%s: tokenizer.ggml.token_type has %lld values, must have %lld",
                    t->what, (long long)n, (long long)n_tokens);
    for (int64_t i = 0; i < n; i++)
        added += types[i] >= SPM_UNKNOWN && types[i] <= SPM_USER_DEFINED;
    TRY_TAKE(t->added.v, a, added);
    for (int64_t i = 0; i < n; i++)
        if (types[i] >= SPM_UNKNOWN && types[i] <= SPM_USER_DEFINED)
            t->added.v[t->added.n++] = (added_token){.text = t->words.bytes + t->words.at[i],
                                                     .n = t->words.length[i],
                                                     .id = (int32_t)i,
                                                     .special = types[i] != SPM_USER_DEFINED};
    return STATUS_OK;
}

/* ---- around the texts ---- */

static status read_id(const gguf *g, const char *name, int64_t n, int32_t *id)
{
    char key[64];
    int64_t at = *id;

    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    TRY(gguf_int(g, key, false, 0, n - 1, &at));
    *id = (int32_t)at;
    return STATUS_OK;
}

/* BOS and EOS, and a template with them where the file, or else the kind, wants them added. */
static status read_ends(arena *a, const gguf *g, tokenizer *t, bool add_bos, bool add_eos)
{
    TRY(read_id(g, "bos", t->words.n_ids, &t->bos));
    TRY(read_id(g, "eos", t->words.n_ids, &t->eos));
    TRY(gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &add_bos));
    TRY(gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &add_eos));
    return spm_template(a, t, add_bos, add_eos);
}

/* ---- gpt2 ---- */

static status read_gpt2(arena *a, const gguf *g, tokenizer *t)
{
    bool add_bos = false;
    int64_t n;

    t->byte_level = true;
    TRY(decoder_add(t, (decoder){.kind = DECODE_BYTES}));
    TRY(read_way(a, g, t, &add_bos));
    TRY(read_tokens(a, g, t, &n));
    TRY(read_merges(a, g, t));
    bpe_finish(t);
    TRY(read_types(a, g, t, n));
    return read_ends(a, g, t, add_bos, false);
}

/* ---- llama and t5 ---- */

static status read_pieces(arena *a, const gguf *g, const char *what, spm_source *s)
{
    gguf_text *tokens;
    float *scores;
    int64_t *types, n_scores, n_types;

    TRY(gguf_texts(a, g, "tokenizer.ggml.tokens", true, &tokens, &s->n));
    TRY(gguf_floats(a, g, "tokenizer.ggml.scores", true, &scores, &n_scores));
    TRY(gguf_ints(a, g, "tokenizer.ggml.token_type", true, &types, &n_types));
    if (n_scores != s->n || n_types != s->n)
        return fail(STATUS_FORMAT,
                    "%s: %lld tokens, %lld scores and %lld token types, must be as many", what,
                    (long long)s->n, (long long)n_scores, (long long)n_types);
    TRY_TAKE(s->pieces, a, s->n);
    for (int64_t i = 0; i < s->n; i++)
        s->pieces[i] = (spm_piece){tokens[i].v, tokens[i].n, scores[i], types[i]};
    return STATUS_OK;
}

static status read_charsmap(arena *a, const gguf *g, spm_source *s)
{
    const char *key = "tokenizer.ggml.precompiled_charsmap";
    int64_t *bytes, n;
    char *to;

    TRY(gguf_ints(a, g, key, false, &bytes, &n));
    TRY_TAKE(to, a, n);
    for (int64_t i = 0; i < n; i++) {
        if (bytes[i] < -128 || bytes[i] > 255)
            return fail(STATUS_FORMAT, "%s: %s holds %lld, must be bytes", g->map.path, key,
                        (long long)bytes[i]);
        to[i] = (char)bytes[i];
    }
    s->charsmap = to;
    s->n_charsmap = (size_t)n;
    return STATUS_OK;
}

/* SentencePiece's BPE without a normaliser: blanks become U+2581, and one is put in front. */
static status read_llama(arena *a, const gguf *g, tokenizer *t)
{
    spm_source s = {.bpe = true, .byte_fallback = true, .prefix = true, .user_raw = true};

    TRY(gguf_bool(g, "tokenizer.ggml.add_space_prefix", false, &s.prefix));
    TRY(read_pieces(a, g, t->what, &s));
    TRY(spm_build(a, t, &s));
    return read_ends(a, g, t, true, false);
}

static status read_t5(arena *a, const gguf *g, tokenizer *t)
{
    spm_source s = {.prefix = true, .collapse = true, .user_raw = true};

    TRY(gguf_bool(g, "tokenizer.ggml.add_space_prefix", false, &s.prefix));
    TRY(gguf_bool(g, "tokenizer.ggml.remove_extra_whitespaces", false, &s.collapse));
    TRY(read_pieces(a, g, t->what, &s));
    TRY(read_charsmap(a, g, &s));
    TRY(spm_build(a, t, &s));
    return read_ends(a, g, t, false, true);
}

/* ---- bert ---- */

/* A token as vocab.txt has it: the file marks the beginnings of words, not what continues them. */
static status bert_text(arena *a, gguf_text *token)
{
    const bool special = token->n > 1 && token->v[0] == '[' && token->v[token->n - 1] == ']';
    char *with;

    if (special)
        return STATUS_OK;
    if (token->n >= 3 && memcmp(token->v, "\xE2\x96\x81", 3) == 0) {
        token->v += 3;
        token->n -= 3;
        return STATUS_OK;
    }
    TRY_TAKE(with, a, token->n + 2);
    memcpy(with, "##", 2);
    memcpy(with + 2, token->v, token->n);
    *token = (gguf_text){with, token->n + 2};
    return STATUS_OK;
}

/* The file does not say whether texts are lower-cased; a vocabulary without capitals does. */
static status check_uncased(const tokenizer *t, const gguf_text *token)
{
    for (size_t i = 0; i < token->n && token->v[0] != '['; i++)
        if (token->v[i] >= 'A' && token->v[i] <= 'Z')
            return fail(STATUS_UNSUPPORTED,
                        "%s: tokenizer.ggml.model bert with capitals in its vocabulary (\"%.*s\") "
                        "does not say how texts are normalised, known: without capitals",
                        t->what, token->n < 80 ? (int)token->n : 80, token->v);
    return STATUS_OK;
}

static status read_bert_words(arena *a, const gguf *g, tokenizer *t)
{
    gguf_text *tokens;
    size_t bytes = 0;
    int64_t n;

    TRY(gguf_texts(a, g, "tokenizer.ggml.tokens", true, &tokens, &n));
    if (n < 1 || n >= 1 << 24)
        return fail(STATUS_FORMAT, "%s: %lld tokens, must be 1..16777215", t->what, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        TRY(bert_text(a, &tokens[i]));
        TRY(check_uncased(t, &tokens[i]));
        bytes += tokens[i].n;
    }
    if (bytes >= UINT32_MAX / 2)
        return fail(STATUS_FORMAT, "%s: tokens of %zu bytes, may be 2 GB", t->what, bytes);
    TRY(vocabulary_open(a, (size_t)n, bytes, &t->words));
    for (int64_t i = 0; i < n; i++)
        TRY(vocabulary_add(&t->words, tokens[i].v, tokens[i].n, i, true, t->what));
    return STATUS_OK;
}

static status read_bert(arena *a, const gguf *g, tokenizer *t)
{
    int32_t ids[2];

    TRY(read_bert_words(a, g, t));
    ids[0] = vocabulary_find(&t->words, "[CLS]", 5);
    ids[1] = vocabulary_find(&t->words, "[SEP]", 5);
    TRY(read_id(g, "cls", t->words.n_ids, &ids[0]));
    TRY(read_id(g, "seperator", t->words.n_ids, &ids[1])); /* so spelled in the format */
    if (ids[0] < 0 || ids[1] < 0)
        return fail(STATUS_FORMAT, "%s: there is no [%s], nor its id", t->what,
                    ids[0] < 0 ? "CLS" : "SEP");
    const template_item items[] = {
        {ids[0], 0, 0}, {-1, 0, 0}, {ids[1], 0, 0}, {-1, 1, 1}, {ids[1], 0, 1}};
    t->single.v = t->pair.v = arena_copy(a, items, sizeof items);
    t->single.n = 3;
    t->pair.n = 5;
    if (!t->pair.v)
        return STATUS_MEMORY;
    TRY(read_types(a, g, t, t->words.n_ids));
    TRY(normalizer_add_bert(t, true, true, true, true));
    TRY(pre_add_bert(t));
    TRY(wordpiece_open(a, t, "[UNK]", "##", 100));
    return decoder_add(
        t, (decoder){.kind = DECODE_WORDPIECE, .text = "##", .n = 2, .cleanup = true});
}

/* ---- which ---- */

static status read_all(arena *a, const gguf *g, tokenizer *t)
{
    static const struct {
        const char *name;
        status (*read)(arena *a, const gguf *g, tokenizer *t);
    } models[] = {
        {"gpt2", read_gpt2}, {"llama", read_llama}, {"t5", read_t5}, {"bert", read_bert}};
    const char *model;

    TRY(gguf_string(a, g, "tokenizer.ggml.model", true, &model));
    for (size_t i = 0; i < COUNT_OF(models); i++)
        if (strcmp(model, models[i].name) == 0) {
            TRY(models[i].read(a, g, t));
            return gguf_string(a, g, "tokenizer.chat_template", false, &t->chat_template);
        }
    return fail(STATUS_UNSUPPORTED,
                "%s: tokenizer.ggml.model is \"%.80s\", known: gpt2 (byte-level BPE), llama "
                "(SentencePiece's BPE), t5 (its unigram), bert (WordPiece)",
                t->what, model);
}

status tokenizer_read_gguf(arena *a, const char *path, tokenizer *t)
{
    gguf g;

    TRY(gguf_open(a, path, &g));
    const status s = read_all(a, &g, t);
    gguf_close(&g);
    return s;
}
