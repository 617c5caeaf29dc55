/* pretokenize: cutting a stretch into pieces that no token crosses.
 *
 * Steps run one inside the other: each cuts what it is given, and each part goes through the next
 * step at once. A step that changes the text puts a new one in the place of the view while the
 * steps behind it run. */
#include "core/utf8.h"
#include "data/tokenizer_parts.h"

#include <string.h>

const char *const PATTERN_GPT2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

status pre_add(tokenizer *t, pre_step step)
{
    if (t->n_steps == PRE_STEPS_MAX)
        return fail(STATUS_FORMAT, "%s: more than %d pre-tokenizers", t->what, PRE_STEPS_MAX);
    t->steps[t->n_steps++] = step;
    return STATUS_OK;
}

status pre_add_split(tokenizer *t, const char *pattern, size_t n, bool literal,
                     split_behavior behavior, bool invert)
{
    pcre2_code *code;

    TRY(pattern_open(t, "Split", pattern, n, literal, &code));
    return pre_add(t, (pre_step){.pattern = code, .behavior = behavior, .invert = invert});
}

status pre_add_bert(tokenizer *t)
{
    TRY(pre_add(
        t, (pre_step){.kind = PRE_CLASS, .is = unicode_is_space, .behavior = SPLIT_REMOVED}));
    return pre_add(
        t, (pre_step){.kind = PRE_CLASS, .is = unicode_is_punctuation, .behavior = SPLIT_ISOLATED});
}

status pre_add_metaspace(tokenizer *t, uint32_t character, prepend_scheme prepend, bool split)
{
    TRY(pre_add(t, (pre_step){.kind = PRE_METASPACE, .character = character, .prepend = prepend}));
    return split ? pre_add(t, (pre_step){.kind = PRE_CHARACTER,
                                         .character = character,
                                         .behavior = SPLIT_MERGED_WITH_NEXT})
                 : STATUS_OK;
}

/* ---- where to cut ---- */

typedef struct span {
    size_t begin, end;
    bool found;
} span;

static inline size_t next_code(const char *text, size_t end, size_t at, uint32_t *code)
{
    *code = (uint8_t)text[at];
    return *code < 0x80 ? 1 : (size_t)utf8_next(text, end, at, code);
}

static span next_character(const pre_step *step, const char *text, size_t from, size_t end)
{
    char first[4];

    utf8_put(step->character, first);
    for (size_t at = from; at < end;) {
        uint32_t code;
        const char *p = memchr(text + at, first[0], end - at);
        if (!p)
            break;
        at = (size_t)(p - text);
        const size_t n = next_code(text, end, at, &code);
        if (code == step->character)
            return (span){at, at + n, true};
        at += n;
    }
    return (span){0};
}

static span next_of_class(const pre_step *step, const char *text, size_t from, size_t end)
{
    uint32_t code;

    for (size_t at = from, n; at < end; at += n) {
        n = next_code(text, end, at, &code);
        if (step->is(code))
            return (span){at, at + n, true};
    }
    return (span){0};
}

static span next_words(const char *text, size_t from, size_t end)
{
    uint32_t code;
    size_t at = from, n = 0;

    while (at < end && (n = next_code(text, end, at, &code), unicode_is_space(code)))
        at += n;
    const size_t begin = at;
    if (at == end)
        return (span){0};
    const bool word = unicode_is_word(code);
    do
        at += n;
    while (at < end && (n = next_code(text, end, at, &code), unicode_is_word(code) == word) &&
           (word || !unicode_is_space(code)));
    return (span){begin, at, true};
}

static span next_length(const pre_step *step, const char *text, size_t from, size_t end)
{
    size_t at = from;
    uint32_t code;

    for (size_t k = 0; k < step->length && at < end; k++)
        at += next_code(text, end, at, &code);
    return (span){from, at, at > from};
}

/* Next match of the step in the view's [begin, end) at or behind `from`. */
static status next_match(tokenizer_work *w, const pre_step *step, size_t begin, size_t end,
                         size_t from, pattern_search *search, span *m)
{
    const char *text = w->view.v;

    switch (step->kind) {
    case PRE_CHARACTER:
        *m = next_character(step, text, from, end);
        return STATUS_OK;
    case PRE_CLASS:
        *m = next_of_class(step, text, from, end);
        return STATUS_OK;
    case PRE_WORDS:
        *m = next_words(text, from, end);
        return STATUS_OK;
    case PRE_LENGTH:
        *m = next_length(step, text, from, end);
        return STATUS_OK;
    default:
        break;
    }
    TRY(pattern_next(search, &m->begin, &m->end, &m->found));
    m->begin += begin;
    m->end += begin;
    return STATUS_OK;
}

/* Parts of one step on their way to the next; some behaviours hold one back. */
typedef struct splitter {
    tokenizer_work *w;
    int step;
    bool held, held_match, last_match;
    size_t begin, end; /* of the one held */
} splitter;

static status flush(splitter *s)
{
    if (!s->held)
        return STATUS_OK;
    s->held = false;
    return pretokenize(s->w, s->step + 1, s->begin, s->end);
}

static status hold(splitter *s, size_t begin, size_t end, bool match)
{
    TRY(flush(s));
    s->held = true;
    s->held_match = match;
    s->begin = begin;
    s->end = end;
    return STATUS_OK;
}

static status part(splitter *s, size_t begin, size_t end, bool match)
{
    const pre_step *step = &s->w->t->steps[s->step];
    const bool is = match != step->invert, after = s->last_match;

    s->last_match = is;
    switch (step->behavior) {
    case SPLIT_ISOLATED:
        return pretokenize(s->w, s->step + 1, begin, end);
    case SPLIT_REMOVED:
        return is ? STATUS_OK : pretokenize(s->w, s->step + 1, begin, end);
    case SPLIT_MERGED_WITH_PREVIOUS:
        if (is && !after && s->held) {
            s->end = end;
            return STATUS_OK;
        }
        return hold(s, begin, end, is);
    case SPLIT_MERGED_WITH_NEXT:
        if (!is && s->held && s->held_match) {
            s->held = false;
            return pretokenize(s->w, s->step + 1, s->begin, end);
        }
        return hold(s, begin, end, is);
    case SPLIT_CONTIGUOUS:
        if (s->held && s->held_match == is) {
            s->end = end;
            return STATUS_OK;
        }
        return hold(s, begin, end, is);
    }
    return STATUS_OK;
}

/* ---- steps that change the text ---- */

static status change(const pre_step *step, const text_view *in, aligned_text *copy, text_view *out)
{
    const uint32_t front = step->kind == PRE_BLANK ? ' ' : step->character;
    bool prepend = step->kind == PRE_BLANK || (step->kind == PRE_METASPACE &&
                                               (step->prepend == PREPEND_ALWAYS ||
                                                (step->prepend == PREPEND_FIRST && in->origin == 0)));
    uint32_t code;

    const size_t n = next_code(in->v, in->n, 0, &code);
    if (step->kind == PRE_METASPACE && code == ' ')
        code = front;
    prepend = prepend && code != front;
    *out = *in;
    if (!prepend && (step->kind == PRE_BLANK ||
                     (step->kind == PRE_METASPACE && !memchr(in->v, ' ', in->n))))
        return STATUS_OK;

    rewriter r = rewrite_begin(in, copy);
    if (prepend) {
        TRY(rewrite_put(&r, front, 0));
        TRY(rewrite_put(&r, code, 1));
        r.at = n;
    }
    while (r.at < in->n) {
        if (step->kind == PRE_BYTES) {
            const size_t at = r.at, k = next_code(in->v, in->n, at, &code);
            for (size_t i = 0; i < k; i++)
                TRY(rewrite_put(&r, byte_stand_in((uint8_t)in->v[at + i]), i > 0));
            continue;
        }
        const char *rest = in->v + r.at, *blank = NULL;
        if (step->kind == PRE_METASPACE)
            blank = memchr(rest, ' ', in->n - r.at);
        TRY(rewrite_copy(&r, blank ? (size_t)(blank - rest) : in->n - r.at));
        if (blank)
            TRY(rewrite_put(&r, front, 0));
    }
    *out = rewrite_view(&r);
    return STATUS_OK;
}

static status pretokenize_changed(tokenizer_work *w, int step, size_t begin, size_t end)
{
    const text_view before = w->view, part = view_part(&before, begin, end);
    text_view after;

    TRY(change(&w->t->steps[step], &part, &w->changed[step], &after));
    w->view = after;
    const status s = pretokenize(w, step + 1, 0, after.n);
    w->view = before;
    return s;
}

status pretokenize(tokenizer_work *w, int step, size_t begin, size_t end)
{
    if (begin == end)
        return STATUS_OK;
    if (step == w->t->n_steps)
        return w->t->model->encode(w, begin, end);
    if (w->t->steps[step].kind >= PRE_BLANK)
        return pretokenize_changed(w, step, begin, end);

    const pre_step *how = &w->t->steps[step];
    splitter s = {.w = w, .step = step};
    pattern_search search =
        pattern_begin(w->t, how->pattern, w->match, w->view.v + begin, end - begin);
    size_t done = begin;
    for (;;) {
        span m;
        TRY(next_match(w, how, begin, end, done, &search, &m));
        if (!m.found)
            break;
        if (m.begin > done)
            TRY(part(&s, done, m.begin, false));
        TRY(part(&s, m.begin, m.end, true));
        done = m.end;
    }
    if (done < end)
        TRY(part(&s, done, end, false));
    return flush(&s);
}
