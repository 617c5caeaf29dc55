/* example: encoding pieces, labels, and samples that are too long */
#include "data/example.h"

#include <string.h>

typedef struct maker {
    arena               *a, *work;
    const chat_renderer *chat;
    const text_encoder  *encoder;
    text_template        t;
    int64_t              length;
    bool                 cut, drop, all, assistant;
    examples            *out;
    int64_t              room; /* examples that out->v has place for */
} maker;

/* A sample that is being made, in the work arena. */
typedef struct sample {
    int64_t  n;
    int32_t *ids, *labels;
} sample;

static int64_t count_targets(const int32_t *labels, int64_t from, int64_t n)
{
    int64_t targets = 0;

    for (int64_t i = from; i < n; i++)
        targets += labels[i] != LABEL_NONE;
    return targets;
}

int64_t example_targets(const example *e, target_place place)
{
    if (place == TARGET_SEQUENCE || place == TARGET_LAST)
        return e->label >= 0 || e->values;
    if (place == TARGET_SPAN)
        return 1;
    if (place == TARGET_MASKED)
        return e->masked;
    if (place == TARGET_TEXTS)
        return 1;
    return e->labels ? count_targets(e->labels, place == TARGET_NEXT, e->n) : 0;
}

int32_t example_texts(const example *e)
{
    return e->ends ? e->n_texts : 1;
}

int32_t example_begin(const example *e, int32_t i)
{
    return i > 0 ? e->ends[i - 1] : 0;
}

int32_t example_end(const example *e, int32_t i)
{
    return e->ends ? e->ends[i] : e->n;
}

/* Copies a sample of so many texts into the result. */
static status add(maker *m, const sample *s, int texts, const record *r)
{
    int32_t *both, *ends = NULL;
    int64_t  n = 0, at = 0;

    CHECK(m->out->n < m->room);
    for (int i = 0; i < texts; i++)
        n += s[i].n;
    TRY_TAKE(both, m->a, 2 * n);
    if (texts > 1)
        TRY_TAKE(ends, m->a, texts);
    for (int i = 0; i < texts; i++) {
        memcpy(both + at, s[i].ids, (size_t)s[i].n * sizeof *both);
        memcpy(both + n + at, s[i].labels, (size_t)s[i].n * sizeof *both);
        at += s[i].n;
        if (ends)
            ends[i] = (int32_t)at;
    }
    m->out->v[m->out->n++] = (example){.n = (int32_t)n,
                                       .ids = both,
                                       .labels = both + n,
                                       .n_texts = ends ? texts : 0,
                                       .ends = ends,
                                       .task = r->task,
                                       .label = r->label,
                                       .batch = r->batch};
    return STATUS_OK;
}

/* target: in place of the template's. */
static status encode_record(maker *m, const char *target, const record *r, sample *out)
{
    text_pieces   pieces;
    int32_t     **ids;
    int64_t      *counts, n = 2, at = 0;
    const bool    ends = !m->t.chat;
    text_template t = m->t;

    t.words.target = target;
    TRY(template_render(&t, m->chat, r, m->work, &pieces));
    TRY_TAKE(ids, m->work, pieces.n);
    TRY_TAKE(counts, m->work, pieces.n);
    for (int i = 0; i < pieces.n; i++) {
        TRY(m->encoder->encode(m->encoder->context, m->work, pieces.v[i].text, pieces.v[i].length,
                               &ids[i], &counts[i]));
        n += counts[i];
    }
    TRY_TAKE(out->ids, m->work, n);
    TRY_TAKE(out->labels, m->work, n);
    if (ends && m->encoder->begin >= 0) {
        out->labels[at] = LABEL_NONE;
        out->ids[at++] = m->encoder->begin;
    }
    bool counts_last = m->all;
    for (int i = 0; i < pieces.n; i++) {
        const bool learnt = m->all || (m->assistant ? pieces.v[i].assistant : pieces.v[i].target);
        for (int64_t k = 0; k < counts[i]; k++, at++) {
            out->ids[at] = ids[i][k];
            out->labels[at] = learnt ? ids[i][k] : LABEL_NONE;
        }
        counts_last = learnt;
    }
    if (ends && m->encoder->end >= 0) {
        out->labels[at] = counts_last ? m->encoder->end : LABEL_NONE;
        out->ids[at++] = m->encoder->end;
    }
    out->n = at;
    return STATUS_OK;
}

/* The largest good place to cut text[n] at or before `to`: between characters, at a blank if one lies
 * within 40 bytes. */
static size_t cut_place(const char *text, size_t to)
{
    for (size_t back = 0; back < 40 && back < to; back++)
        if (text[to - back] == ' ' || text[to - back] == '\n')
            return to - back;
    while (to > 0 && ((uint8_t)text[to] & 0xC0) == 0x80)
        to--;
    return to;
}

/* Shortens the prompt's longest field until the sample fits, in *shortened; leaves *s too long when it cannot. */
static status shorten(maker *m, const char *target, const record *r, sample *s, record *shortened)
{
    const int which = template_longest(&m->t, r);
    record    copy = *r;
    field    *fields;
    sample    bare;

    if (which < 0)
        return STATUS_OK;
    TRY_TAKE(fields, m->work, r->n_fields);
    memcpy(fields, r->fields, (size_t)r->n_fields * sizeof *fields);
    copy.fields = fields;

    const char *text = fields[which].text;
    size_t      keep = fields[which].length;
    fields[which] = (field){.name = fields[which].name, .text = "", .length = 0};
    TRY(encode_record(m, target, &copy, &bare));
    if (bare.n > m->length)
        return STATUS_OK;
    *shortened = copy;
    while (s->n > m->length) {
        const double share = (double)(m->length - bare.n) / (double)(s->n - bare.n);

        keep = cut_place(text, (size_t)((double)keep * (share > 0.999 ? 0.999 : share)));
        if (keep == 0) {
            fields[which] = (field){.name = fields[which].name, .text = "", .length = 0};
            *s = bare;
            return STATUS_OK;
        }
        fields[which].text = arena_string(m->work, text, keep);
        fields[which].length = keep;
        if (!fields[which].text)
            return STATUS_MEMORY;
        TRY(encode_record(m, target, &copy, s));
    }
    return STATUS_OK;
}

/* The texts of a record, not too long; *kept false: it is left out. */
static status fit(maker *m, const char *const *targets, int texts, const record *r, sample *s, bool *kept)
{
    const int  most = texts > 1 && s[1].n > s[0].n;
    record     shorter = *r;
    bool       had[2];
    char       where[256];

    *kept = true;
    if (s[most].n <= m->length)
        return STATUS_OK;
    *kept = !m->drop;
    m->out->n_dropped += m->drop;
    if (m->drop)
        return STATUS_OK;
    if (!m->cut)
        return fail(STATUS_FORMAT, "%s: has %lld tokens, length is %lld (overlong: cut or drop)",
                    record_where(r, where), (long long)s[most].n, (long long)m->length);
    for (int i = 0; i < texts; i++)
        had[i] = count_targets(s[i].labels, 1, s[i].n) > 0;
    TRY(shorten(m, targets[most], r, &s[most], &shorter));
    if (texts > 1)
        TRY(encode_record(m, targets[!most], &shorter, &s[!most]));
    for (int i = 0; i < texts; i++) {
        s[i].n = s[i].n > m->length ? m->length : s[i].n;
        *kept &= !had[i] || count_targets(s[i].labels, 1, s[i].n) > 0;
    }
    m->out->n_dropped += !*kept;
    m->out->n_cut += *kept;
    return STATUS_OK;
}

static status make_one(maker *m, const record *r)
{
    const char *const targets[2] = {m->t.words.target, m->t.rejected};
    const int         texts = m->t.rejected ? 2 : 1;
    char              where[256];
    sample            s[2];
    bool              kept;

    for (int i = 0; i < texts; i++) {
        TRY(encode_record(m, targets[i], r, &s[i]));
        if (s[i].n == 0)
            return fail(STATUS_FORMAT, "%s: gives no tokens", record_where(r, where));
    }
    TRY(fit(m, targets, texts, r, s, &kept));
    if (!kept)
        return STATUS_OK;
    for (int i = 0; i < texts && texts > 1; i++)
        if (count_targets(s[i].labels, 1, s[i].n) == 0)
            return fail(STATUS_FORMAT, "%s: its %s answer has no tokens", record_where(r, where),
                        i ? "rejected" : "chosen");
    return add(m, s, texts, r);
}

/* Running text: pieces of `length` tokens, every token a target. A last piece of one token is left
 * out: it predicts nothing. */
static status make_running(maker *m, const record *r)
{
    int32_t *ids, *all;
    int64_t  n, at = 0;

    TRY(m->encoder->encode(m->encoder->context, m->work, r->fields[0].text, r->fields[0].length, &ids,
                           &n));
    TRY_TAKE(all, m->work, n + 2);
    if (m->encoder->begin >= 0)
        all[at++] = m->encoder->begin;
    if (n > 0)
        memcpy(all + at, ids, (size_t)n * sizeof *all);
    at += n;
    if (m->encoder->end >= 0)
        all[at++] = m->encoder->end;

    const int64_t pieces = (at + m->length - 1) / m->length;
    example      *grown;
    if (pieces > 1) {
        m->room += pieces - 1;
        TRY_TAKE(grown, m->a, m->room);
        if (m->out->n > 0)
            memcpy(grown, m->out->v, (size_t)m->out->n * sizeof *grown);
        m->out->v = grown;
    }
    for (int64_t from = 0; from < at; from += m->length) {
        const int64_t here = at - from < m->length ? at - from : m->length;
        if (here > 1 || pieces == 1)
            TRY(add(m, &(sample){.n = here, .ids = all + from, .labels = all + from}, 1, r));
    }
    return STATUS_OK;
}

/* The ids source: nothing to encode, too long is an error whatever `overlong` says of texts. */
static status make_ids(maker *m, const record *r)
{
    char where[256];

    if (m->t.rejected)
        return fail(STATUS_USAGE, "%s: is one list of ids, and the objective reads two texts a sample",
                    record_where(r, where));
    if (r->source)
        return fail(STATUS_USAGE, "%s: has a source, which only the objective seq2seq reads", record_where(r, where));
    if (m->length > 0 && r->n_ids > m->length && r->batch < 0)
        return fail(STATUS_FORMAT, "%s: has %d ids, length is %lld", record_where(r, where), r->n_ids,
                    (long long)m->length);
    m->out->v[m->out->n++] = (example){.n = r->n_ids,
                                       .ids = r->ids,
                                       .labels = r->labels,
                                       .task = r->task,
                                       .label = r->label,
                                       .batch = r->batch};
    return STATUS_OK;
}

status examples_finish(const records *r, int64_t length, examples *out)
{
    bool classes = false;

    for (int64_t i = 0; i < out->n; i++) {
        const example *e = &out->v[i];
        out->n_tokens += e->n;
        out->n_targets += example_targets(e, out->place);
        for (int32_t k = 0; k < example_texts(e); k++) {
            const int32_t n = example_end(e, k) - example_begin(e, k);
            out->longest = n > out->longest ? n : out->longest;
        }
        out->longest_source = e->n_source > out->longest_source ? e->n_source : out->longest_source;
        classes |= e->label >= 0;
    }
    if (out->n == 0)
        return fail(STATUS_FORMAT, "data: none of %lld records is left: %lld were longer than %lld tokens",
                    (long long)r->n, (long long)out->n_dropped, (long long)length);
    if (out->n_targets == 0 && !classes)
        return fail(STATUS_USAGE, "data: %lld examples have no target to learn: the template needs a "
                                  "target, or loss_on must be all",
                    (long long)out->n);
    out->batched = r->batched;
    out->n_labels = r->n_labels;
    out->labels = r->labels;
    return STATUS_OK;
}

/* The examples of one source. */
static status make_all(maker *m, const records *r, const text_template *t)
{
    const bool   ready = r->n > 0 && r->v[0].ids;
    const size_t mark = arena_mark(m->work);

    CHECK(ready || m->encoder);
    m->t = t ? *t : (text_template){0};
    if (m->t.rejected && r->running)
        return fail(STATUS_USAGE, "%s: is running text, and the objective reads two texts a sample", r->v[0].origin);
    if (!ready && !r->running)
        TRY(template_resolve(&m->t, r, m->chat));
    for (int64_t i = 0; i < r->n; i++) {
        const status s = ready        ? make_ids(m, &r->v[i])
                         : r->running ? make_running(m, &r->v[i])
                                      : make_one(m, &r->v[i]);
        char         where[256];
        arena_rewind(m->work, mark);
        if (s != STATUS_OK && !strstr(status_text(), record_where(&r->v[i], where)))
            return fail_in(s, "in %s", where);
        TRY(s);
    }
    return STATUS_OK;
}

status examples_part(const records *part, int64_t first, int64_t length, examples *out)
{
    char where[256];

    out->parts[out->n_parts++] = (example_part){.first = first, .n = out->n - first, .weight = part->weight};
    if (out->n == first)
        return fail(STATUS_FORMAT, "data: none of %lld records of the source that begins with %s is left, all "
                    "were longer than %lld tokens", (long long)part->n, record_where(&part->v[0], where),
                    (long long)length);
    return STATUS_OK;
}

/* Those of a mixture. */
static status make_parts(maker *m, const records *r, const text_template *t)
{
    TRY_TAKE(m->out->parts, m->a, r->n_parts);
    for (int i = 0; i < r->n_parts; i++) {
        const int64_t first = m->out->n;
        TRY(make_all(m, &r->parts[i], t));
        TRY(examples_part(&r->parts[i], first, m->length, m->out));
    }
    return STATUS_OK;
}

status examples_make(arena *a, arena *work, const records *r, const text_template *t,
                     const chat_renderer *chat, const text_encoder *encoder, const example_options *o,
                     examples *out)
{
    maker m = {.a = a,
               .work = work,
               .chat = chat,
               .encoder = encoder,
               .length = o->length,
               .cut = strcmp(o->overlong, "cut") == 0,
               .drop = strcmp(o->overlong, "drop") == 0,
               .all = strcmp(o->loss_on, "all") == 0,
               .assistant = strcmp(o->loss_on, "assistant") == 0,
               .out = out,
               .room = r->n};

    *out = (examples){.place = t && t->rejected ? TARGET_TEXTS : TARGET_NEXT};
    CHECK(o->length >= 1);
    TRY_TAKE(out->v, a, r->n);
    TRY(r->n_parts > 0 ? make_parts(&m, r, t) : make_all(&m, r, t));
    return examples_finish(r, o->length, out);
}

static const key rows[] = {
    {"length", KEY_INT, offsetof(example_options, length), "512", 1, 1 << 24, true, NULL, "tokens",
     "Tokens that a sample may have."},
    {"overlong", KEY_CHOICE, offsetof(example_options, overlong), "cut", 0, 0, false, "cut|drop|error",
     "", "What happens to longer samples: shorten the prompt's longest field, leave out, or stop."},
    {"loss_on", KEY_CHOICE, offsetof(example_options, loss_on), "target", 0, 0, false,
     "target|assistant|all", "",
     "Tokens that are learnt: the target (last answer), every answer of `messages`, or all."},
};
const key_table example_keys = KEY_TABLE("data", rows, example_options);
