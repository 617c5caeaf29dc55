/* spm: a tokenizer from what SentencePiece models hold */
#include "data/spm.h"

#include <math.h>
#include <string.h>

static status check(const tokenizer *t, const spm_source *s)
{
    if (s->n < 1 || s->n >= 1 << 24)
        return fail(STATUS_FORMAT, "%s: %lld pieces, must be 1..16777215", t->what, (long long)s->n);
    for (int64_t i = 0; i < s->n; i++) {
        const spm_piece *p = &s->pieces[i];
        if (!isfinite(p->score))
            return fail(STATUS_FORMAT, "%s: the score of piece %lld is %g, must be a number",
                        t->what, (long long)i, (double)p->score);
        if (p->type < SPM_NORMAL || p->type > SPM_BYTE)
            return fail(STATUS_FORMAT, "%s: piece %lld is of type %lld, must be 1..6", t->what,
                        (long long)i, (long long)p->type);
    }
    return STATUS_OK;
}

static status read_words(arena *a, tokenizer *t, const spm_source *s)
{
    size_t bytes = 0;

    for (int64_t i = 0; i < s->n; i++)
        bytes += s->pieces[i].n;
    if (bytes >= UINT32_MAX / 2)
        return fail(STATUS_FORMAT, "%s: pieces of %zu bytes, may be 2 GB", t->what, bytes);
    TRY(vocabulary_open(a, (size_t)s->n + s->more, bytes + s->more_bytes, &t->words));
    for (int64_t i = 0; i < s->n; i++)
        TRY(vocabulary_add(&t->words, s->pieces[i].v, s->pieces[i].n, i, true,
                           t->what));
    return STATUS_OK;
}

static status add_tokens(arena *a, tokenizer *t, const spm_source *s)
{
    size_t n = 0;

    for (int64_t i = 0; i < s->n; i++)
        n += s->pieces[i].type >= SPM_UNKNOWN && s->pieces[i].type <= SPM_USER_DEFINED;
    TRY_TAKE(t->added.v, a, n + s->more);
    for (int64_t i = 0; i < s->n; i++) {
        const int64_t type = s->pieces[i].type;
        if (type < SPM_UNKNOWN || type > SPM_USER_DEFINED)
            continue;
        const bool inside = type == SPM_USER_DEFINED && !s->user_raw;
        t->added.v[t->added.n++] = (added_token){.text = t->words.bytes + t->words.at[i],
                                                 .n = t->words.length[i],
                                                 .id = (int32_t)i,
                                                 .normalized = inside,
                                                 .literal = inside,
                                                 .special = type != SPM_USER_DEFINED};
    }
    return STATUS_OK;
}

static status open_model(arena *a, tokenizer *t, const spm_source *s)
{
    double *scores, lowest = INFINITY;
    float *ranks;
    bool *use;
    int32_t unknown = -1;

    TRY_TAKE(scores, a, s->n);
    TRY_TAKE(ranks, a, s->n);
    TRY_TAKE(use, a, s->n);
    for (int64_t i = 0; i < s->n; i++) {
        const spm_piece *p = &s->pieces[i];
        scores[i] = (double)p->score;
        ranks[i] = p->score;
        use[i] = p->type == SPM_NORMAL || p->type == SPM_USER_DEFINED;
        lowest = p->type == SPM_NORMAL ? fmin(lowest, scores[i]) : lowest;
        if (p->type == SPM_UNKNOWN && unknown >= 0)
            return fail(STATUS_FORMAT, "%s: pieces %d and %lld are both the unknown one", t->what,
                        unknown, (long long)i);
        unknown = p->type == SPM_UNKNOWN ? (int32_t)i : unknown;
    }
    if (unknown < 0)
        return fail(STATUS_FORMAT, "%s: none of the %lld pieces is the unknown one", t->what,
                    (long long)s->n);
    if (s->bpe)
        return spm_bpe_open(t, ranks, use, unknown, s->byte_fallback);
    TRY(unigram_open(a, t, scores, lowest, unknown, s->byte_fallback, use));
    t->unigram.single = true;
    return STATUS_OK;
}

static status add_decoders(tokenizer *t, const spm_source *s)
{
    pcre2_code *mark;

    TRY(pattern_open(t, "decoder", "\xE2\x96\x81", 3, true, &mark));
    TRY(decoder_add(t, (decoder){.kind = DECODE_REPLACE, .text = " ", .n = 1, .pattern = mark}));
    TRY(decoder_add(t, (decoder){.kind = DECODE_BYTE_FALLBACK}));
    TRY(decoder_add(t, (decoder){.kind = DECODE_FUSE}));
    return s->prefix ? decoder_add(t, (decoder){.kind = DECODE_STRIP,
                                                .character = ' ',
                                                .start = !s->at_end,
                                                .stop = s->at_end})
                     : STATUS_OK;
}

status spm_build(arena *a, tokenizer *t, const spm_source *s)
{
    normalizer n = {.kind = NORMALIZE_PIECES,
                    .collapse = s->collapse,
                    .prefix = s->prefix,
                    .at_end = s->at_end};
    charsmap *map;

    TRY(check(t, s));
    TRY(read_words(a, t, s));
    if (s->n_charsmap > 0) {
        TRY(charsmap_open(a, t->what, s->charsmap, s->n_charsmap, &map));
        n.map = map;
    }
    TRY(normalizer_add(t, n));
    TRY(open_model(a, t, s));
    TRY(add_tokens(a, t, s));
    return add_decoders(t, s);
}

status spm_template(arena *a, tokenizer *t, bool add_bos, bool add_eos)
{
    template_item both[6];
    int k = 0, single = 0;

    if ((add_bos && t->bos < 0) || (add_eos && t->eos < 0))
        return fail(STATUS_FORMAT,
                    "%s: a token is to be added at the %s of a text, and the file names none",
                    t->what, add_bos && t->bos < 0 ? "beginning" : "end");
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
