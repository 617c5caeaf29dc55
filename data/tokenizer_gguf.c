/* tokenizer_gguf: the tokenizer in a GGUF file's metadata. The file has the vocabulary and the
 * merges; how texts are cut it says by a name only (tokenizer.ggml.pre), see data/tokenizer_ways.h. */
#include "core/gguf.h"
#include "data/tokenizer_parts.h"
#include "data/tokenizer_ways.h"

#include <string.h>

static status read_way(arena *a, const gguf *g, tokenizer *t, bool *add_bos)
{
    const char *name, *known = TOKEN_WAY_NAMES;

    TRY(gguf_string(a, g, "tokenizer.ggml.pre", true, &name));
    for (size_t i = 0; i < COUNT_OF(token_ways); i++) {
        if (strcmp(token_ways[i].name, name) != 0)
            continue;
        const char *pattern = token_ways[i].pattern ? token_ways[i].pattern : PATTERN_GPT2;
        t->n_normalizers = token_ways[i].nfc;
        t->normalizers[0] = NORMALIZE_NFC;
        t->bpe.ignore_merges = token_ways[i].ignore_merges;
        *add_bos = token_ways[i].add_bos;
        if (token_ways[i].digits)
            TRY(pre_add_digits(t, true));
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
        added += types[i] >= TOKEN_UNKNOWN && types[i] <= TOKEN_USER;
    TRY_TAKE(t->added.v, a, added);
    for (int64_t i = 0; i < n; i++)
        if (types[i] >= TOKEN_UNKNOWN && types[i] <= TOKEN_USER)
            t->added.v[t->added.n++] = (added_token){.text = t->words.bytes + t->words.at[i],
                                                     .n = t->words.length[i],
                                                     .id = (int32_t)i,
                                                     .special = types[i] != TOKEN_USER};
    return STATUS_OK;
}

/* BOS and EOS, and a template with them where the file wants them added. */
static status read_ends(arena *a, const gguf *g, tokenizer *t, int64_t n, bool add_bos)
{
    int64_t bos = -1, eos = -1;
    bool add_eos = false;

    TRY(gguf_int(g, "tokenizer.ggml.bos_token_id", false, 0, n - 1, &bos));
    TRY(gguf_int(g, "tokenizer.ggml.eos_token_id", false, 0, n - 1, &eos));
    TRY(gguf_bool(g, "tokenizer.ggml.add_bos_token", false, &add_bos));
    TRY(gguf_bool(g, "tokenizer.ggml.add_eos_token", false, &add_eos));
    t->bos = (int32_t)bos;
    t->eos = (int32_t)eos;
    if ((add_bos && bos < 0) || (add_eos && eos < 0))
        return fail(STATUS_FORMAT,
                    "%s: a token is to be added at the %s of a text, %s_token_id is "
                    "missing",
                    t->what, add_bos && bos < 0 ? "beginning" : "end",
                    add_bos && bos < 0 ? "bos" : "eos");
    template_item both[6];
    int k = 0, single = 0;
    for (uint8_t text = 0; text < 2; text++) {
        if (add_bos)
            both[k++] = (template_item){.id = t->bos, .type = text};
        both[k++] = (template_item){.id = -1, .text = text, .type = text};
        if (add_eos)
            both[k++] = (template_item){.id = t->eos, .type = text};
        single = text == 0 ? k : single;
    }
    t->single.v = t->pair.v = arena_copy(a, both, sizeof both);
    t->single.n = single;
    t->pair.n = k;
    return t->pair.v ? STATUS_OK : STATUS_MEMORY;
}

static status read_all(arena *a, const gguf *g, tokenizer *t)
{
    static const token_model kind = {"BPE", bpe_encode};
    const char *model;
    bool add_bos = false;
    int64_t n;

    TRY(gguf_string(a, g, "tokenizer.ggml.model", true, &model));
    if (strcmp(model, "gpt2") != 0)
        return fail(STATUS_UNSUPPORTED,
                    "%s: tokenizer.ggml.model is \"%.80s\", known: gpt2 "
                    "(byte-level BPE)",
                    t->what, model);
    t->byte_level = true;
    t->decoder = DECODE_BYTES;
    t->model = &kind;
    TRY(read_way(a, g, t, &add_bos));
    TRY(read_tokens(a, g, t, &n));
    TRY(read_merges(a, g, t));
    bpe_finish(t);
    TRY(read_types(a, g, t, n));
    TRY(read_ends(a, g, t, n, add_bos));
    return gguf_string(a, g, "tokenizer.chat_template", false, &t->chat_template);
}

status tokenizer_read_gguf(arena *a, const char *path, tokenizer *t)
{
    gguf g;

    TRY(gguf_open(a, path, &g));
    const status s = read_all(a, &g, t);
    gguf_close(&g);
    return s;
}
