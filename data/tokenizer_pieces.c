/* tokenizer_pieces: scores from merges, and merges from scores */
#include "data/tokenizer_pieces.h"

#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MARK "\xE2\x96\x81"

/* ---- is it one ------------------------------------------------------------------------------------ */

static bool is_text(const cJSON *o, const char *key, const char *text)
{
    const cJSON *item = json_member(o, key);

    return cJSON_IsString(item) && strcmp(item->valuestring, text) == 0;
}

static bool is_replace(const cJSON *o, const char *from, const char *to)
{
    return tokenizer_is_type(o, "Replace") && is_text(json_member(o, "pattern"), "String", from) &&
           is_text(o, "content", to);
}

bool pieces_are_in(const cJSON *root)
{
    const cJSON *model = json_member(root, "model");

    return tokenizer_is_type(model, "BPE") && cJSON_IsTrue(json_member(model, "byte_fallback"));
}

/* Blanks become marks, and *prefix: one is put in front. Cutting at blanks then does nothing. */
static bool is_marking(const cJSON *root, bool *prefix)
{
    const cJSON *parts[TOKENIZER_PARTS_MAX], *pre = json_member(root, "pre_tokenizer");
    const int    n = tokenizer_flatten(json_member(root, "normalizer"), "normalizers", parts, 0);

    *prefix = n == 2;
    if (n < 1 || n > 2 || (*prefix && !(tokenizer_is_type(parts[0], "Prepend") && is_text(parts[0], "prepend",
        MARK))))
        return false;
    return is_replace(parts[n - 1], " ", MARK) &&
           (!pre || (tokenizer_is_type(pre, "Split") && is_text(json_member(pre, "pattern"), "String", " ") &&
                     is_text(pre, "behavior", "MergedWithPrevious")));
}

static bool is_unmarking(const cJSON *root, bool prefix)
{
    const cJSON *parts[TOKENIZER_PARTS_MAX];
    const int    n = tokenizer_flatten(json_member(root, "decoder"), "decoders", parts, 0);

    return n == 3 + prefix && is_replace(parts[0], MARK, " ") && tokenizer_is_type(parts[1], "ByteFallback") &&
           tokenizer_is_type(parts[2], "Fuse") && (!prefix || tokenizer_is_type(parts[3], "Strip"));
}

static status check_parts(const tokenizer *t, const cJSON *root, bool *prefix)
{
    if (!is_marking(root, prefix))
        return fail(STATUS_UNSUPPORTED,
                    "%s: a GGUF file of such a BPE makes blanks U+2581, perhaps with one in front; "
                    "normalizer and pre_tokenizer of this one do not say that", t->what);
    if (!is_unmarking(root, *prefix))
        return fail(STATUS_UNSUPPORTED,
                    "%s: the decoder must be Replace, ByteFallback and Fuse, with Strip where a blank "
                    "is put in front", t->what);
    if (t->bpe.ignore_merges || t->bpe.n_prefix || t->bpe.n_suffix)
        return fail(STATUS_UNSUPPORTED,
                    "%s: ignore_merges, prefixes and suffixes cannot be said in a GGUF file of such a "
                    "BPE", t->what);
    if (t->bpe.unknown < 0)
        return fail(STATUS_UNSUPPORTED, "%s: has no unk_token, which a GGUF file of such a BPE must have", t->what);
    for (int byte = 0; byte < 256; byte++)
        if (t->bpe.byte_ids[byte] < 0)
            return fail(STATUS_FORMAT, "%s: byte fallback is on, and <0x%02X> is not a token", t->what,
                        (unsigned)byte);
    for (size_t i = 0; i < t->added.n; i++)
        if (t->added.v[i].normalized && *prefix)
            return fail(STATUS_UNSUPPORTED, "%s: added token \"%.80s\" is normalized, which a GGUF file cannot say",
                        t->what, t->added.v[i].text);
    return STATUS_OK;
}

/* ---- pieces --------------------------------------------------------------------------------------- */

/* What a merge may make, and what is found where it is written: as a reader of the file sees it. */
typedef struct kinds {
    bool *use, *raw; /* [ids] */
} kinds;

static status find_kinds(arena *a, const tokenizer *t, kinds *k)
{
    const int32_t *bytes = t->spm.use ? t->spm.bytes : t->bpe.byte_ids;

    TRY_TAKE(k->use, a, t->words.n_ids);
    TRY_TAKE(k->raw, a, t->words.n_ids);
    for (int32_t i = 0; i < t->words.n_ids; i++) {
        k->use[i] = vocabulary_has(&t->words, i);
        k->raw[i] = false;
    }
    for (int byte = 0; byte < 256; byte++)
        if (bytes[byte] >= 0)
            k->use[bytes[byte]] = false;
    for (size_t i = 0; i < t->added.n; i++) {
        const added_token *x = &t->added.v[i];
        k->use[x->id] = !x->special;
        k->raw[x->id] = !memmem(x->text, x->n, MARK, strlen(MARK));
    }
    return STATUS_OK;
}

/* The end of the first character of text[0, n). */
static size_t one_character(const char *text, size_t n)
{
    size_t at = 1;

    while (at < n && ((uint8_t)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

/* A part of a piece: a token that may be merged, -1 where it is none. *is: a part could be that. */
static int32_t part_of(const tokenizer *t, const kinds *k, const char *text, size_t n, bool *is)
{
    const int32_t id = vocabulary_find(&t->words, text, n);
    const bool    may = id >= 0 && k->use[id];

    *is = may || one_character(text, n) == n;
    return may ? id : -1;
}

/* ---- from merges to scores ------------------------------------------------------------------------ */

typedef struct made {
    uint32_t first, last; /* ranks of the merges that make it */
    int32_t  id;
} made;

static int by_first(const void *a, const void *b)
{
    const made *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* The pieces that merges make, in the order of these. */
static status order_pieces(arena *a, const tokenizer *t, made **out, int64_t *n)
{
    made *all;

    *out = NULL;
    *n = 0;
    TRY_TAKE(all, a, t->words.n_ids);
    *out = all;
    for (int32_t i = 0; i < t->words.n_ids; i++)
        all[i] = (made){UINT32_MAX, 0, i};
    for (uint64_t i = 0; i <= t->bpe.mask; i++) {
        const bpe_merge *x = &t->bpe.slots[i];
        if (x->left == UINT32_MAX)
            continue;
        all[x->id].first = x->rank < all[x->id].first ? x->rank : all[x->id].first;
        all[x->id].last = x->rank > all[x->id].last ? x->rank : all[x->id].last;
    }
    qsort(all, (size_t)t->words.n_ids, sizeof *all, by_first);
    for (; *n < t->words.n_ids && all[*n].first != UINT32_MAX; ++*n)
        if (*n > 0 && all[*n].first < all[*n - 1].last)
            return fail(STATUS_UNSUPPORTED,
                        "%s: merges that make \"%.80s\" stand among those of another token; a GGUF "
                        "file can only say which token is made first", t->what,
                        t->words.bytes + t->words.at[all[*n].id]);
    return STATUS_OK;
}

/* Every two parts that make the piece are in the list. */
static status check_splits(const tokenizer *t, const kinds *k, int32_t id)
{
    const char  *text = t->words.bytes + t->words.at[id];
    const size_t n = t->words.length[id];

    for (size_t at = one_character(text, n); at < n; at += one_character(text + at, n - at)) {
        bool          left_is, right_is;
        const int32_t left = part_of(t, k, text, at, &left_is), right = part_of(t, k, text + at, n - at, &right_is);
        if (left_is && right_is && (left < 0 || right < 0 || !bpe_merges(&t->bpe, left, right)))
            return fail(STATUS_UNSUPPORTED,
                        "%s: \"%.*s\" and \"%s\" are not merged, although they make a token; a GGUF "
                        "file of such a BPE cannot say that", t->what, (int)at, text, text + at);
    }
    return STATUS_OK;
}

status pieces_to_gguf(arena *a, const tokenizer *t, const cJSON *root, int64_t words, gguf_meta *m)
{
    bool    prefix;
    kinds   k;
    made   *order;
    int64_t n;
    float  *scores;

    TRY(check_parts(t, root, &prefix));
    if (t->words.n_ids > words)
        return fail(STATUS_FORMAT, "%s: has ids up to %d, the embedding has %lld rows", t->what, t->words.n_ids - 1,
                    (long long)words);
    TRY(find_kinds(a, t, &k));
    TRY(order_pieces(a, t, &order, &n));
    for (int32_t i = 0; i < t->words.n_ids; i++)
        if (k.use[i] && !k.raw[i])
            TRY(check_splits(t, &k, i));
    TRY_TAKE(scores, a, words);
    for (int64_t i = 0; i < words; i++)
        scores[i] = 0;
    for (int64_t i = n; i < t->words.n_ids; i++) /* no merge makes them: behind all that are made */
        scores[order[i].id] = k.use[order[i].id] ? -(float)i : 0;
    for (int64_t i = 0; i < n; i++)
        scores[order[i].id] = -(float)i;
    gguf_put_string(m, "tokenizer.ggml.model", "llama");
    gguf_put_string(m, "tokenizer.ggml.pre", "default");
    gguf_put_array(m, "tokenizer.ggml.scores", GGUF_F32, scores, (uint64_t)words);
    gguf_put_bool(m, "tokenizer.ggml.add_space_prefix", prefix);
    gguf_put_u32(m, "tokenizer.ggml.unknown_token_id", (uint32_t)t->bpe.unknown);
    return STATUS_OK;
}

/* ---- from scores to merges ------------------------------------------------------------------------ */

typedef struct scored {
    float   score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    return x->score > y->score ? -1 : x->score < y->score ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* Pairs of tokens that make the piece, at most one for each of its characters, by their ids. */
static int64_t splits_of(const tokenizer *t, const kinds *k, int32_t id, piece_merge *to)
{
    const char  *text = t->words.bytes + t->words.at[id];
    const size_t n = t->words.length[id];
    int64_t      found = 0;

    for (size_t at = one_character(text, n); at < n; at += one_character(text + at, n - at)) {
        bool              is;
        const piece_merge x = {part_of(t, k, text, at, &is), part_of(t, k, text + at, n - at, &is)};
        int64_t           place = found;
        if (x.left < 0 || x.right < 0)
            continue;
        for (; place > 0 && (to[place - 1].left > x.left ||
                             (to[place - 1].left == x.left && to[place - 1].right > x.right)); place--)
            to[place] = to[place - 1];
        to[place] = x;
        found++;
    }
    return found;
}

status pieces_merges(arena *a, const tokenizer *t, piece_merge **out, int64_t *n, int64_t *lost)
{
    size_t  room = 0;
    int64_t pieces = 0;
    scored *order;
    kinds   k;

    TRY(find_kinds(a, t, &k));
    TRY_TAKE(order, a, t->words.n_ids);
    for (int32_t i = 0; i < t->words.n_ids; i++) {
        const bool many = k.use[i] && one_character(t->words.bytes + t->words.at[i],
                                                    t->words.length[i]) < t->words.length[i];
        k.use[i] = k.use[i] && t->spm.use[i];
        if (!many || !k.use[i])
            continue;
        room += t->words.length[i];
        order[pieces++] = (scored){t->spm.scores[i], i};
    }
    qsort(order, (size_t)pieces, sizeof *order, by_score);
    TRY_TAKE(*out, a, room);
    *n = *lost = 0;
    for (int64_t i = 0; i < pieces; i++) {
        const int64_t found = splits_of(t, &k, order[i].id, *out + *n);
        *lost += found == 0 && !k.raw[order[i].id];
        *n += found;
    }
    return STATUS_OK;
}
