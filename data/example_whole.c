/* example_whole: samples that a model reads as a whole: a text, two texts or more, running text, an image */
#include "data/example_maker.h"

#include <string.h>

enum { BYTES_A_TOKEN = 16 }; /* of running text, more than tokens have but seldom */

status sample_keep(sample_maker *m, const record *r, example *e)
{
    example *grown;

    if (m->w->target)
        TRY(m->w->target(m->w->context, m->a, r, e));
    if (m->out->n == m->room) {
        TRY_TAKE(grown, m->a, 2 * m->room);
        memcpy(grown, m->out->v, (size_t)m->room * sizeof *grown);
        m->out->v = grown;
        m->room *= 2;
    }
    m->out->v[m->out->n++] = *e;
    return STATUS_OK;
}

/* ---- texts ------------------------------------------------------------------------------------------- */

/* The template's wording, else the source's, else the field `text`. */
static status choose_wording(sample_maker *m, const records *r, const text_template *t)
{
    char   *text;
    size_t  n;
    wording own = r->plain;

    if (t && t->chat)
        return fail(STATUS_USAGE, "template: chat is for objectives that learn to write; here the template is "
                                  "{prompt: \"..{field}..\"}, with `pair` for a second text");
    if (!own.prompt && r->v[0].n_fields && record_field(&r->v[0], "text"))
        own.prompt = "{text}";
    m->words = t && t->words.prompt ? t->words : own;
    if (!m->words.prompt)
        return fail(STATUS_USAGE, "template: %s has no field `text`: write template: {prompt: \"..{field}..\"}",
                    r->v[0].origin);
    TRY(template_fill(m->words.prompt, &r->v[0], m->work, &text, &n));
    if (m->w->kind == WHOLE_ANSWER && !m->words.target)
        return fail(STATUS_USAGE, "template: names no target: write template: {prompt: \"..{field}..\", target: "
                                  "\"..{field}..\"}");
    if (m->w->kind == WHOLE_ANSWER)
        TRY(template_fill(m->words.target, &r->v[0], m->work, &text, &n));
    return m->words.pair ? template_fill(m->words.pair, &r->v[0], m->work, &text, &n) : STATUS_OK;
}

status sample_too_long(sample_maker *m, const record *r, int64_t n, int64_t length, bool *dropped)
{
    char where[256];

    if (strcmp(m->o->overlong, "error") == 0)
        return fail(STATUS_FORMAT, "%s: has %lld tokens, length is %lld (overlong: cut or drop)",
                    record_where(r, where), (long long)n, (long long)length);
    *dropped = strcmp(m->o->overlong, "drop") == 0;
    m->out->n_dropped += *dropped;
    m->out->n_cut += !*dropped;
    return STATUS_OK;
}

status sample_encode(sample_maker *m, const record *r, const whole_text *x, int64_t length, token_list *list,
                    bool *dropped)
{
    char where[256];

    TRY(m->encoder->whole(m->encoder->context, m->work, x, INT64_MAX, list));
    if (list->n == 0)
        return fail(STATUS_FORMAT, "%s: gives no tokens", record_where(r, where));
    if (list->n <= length)
        return STATUS_OK;
    TRY(sample_too_long(m, r, list->n, length, dropped));
    return *dropped ? STATUS_OK : m->encoder->whole(m->encoder->context, m->work, x, length, list);
}

status sample_tokens(sample_maker *m, const token_list *list, example *e)
{
    int32_t *ids, *types;
    bool     any = false;

    TRY_TAKE(ids, m->a, list->n);
    memcpy(ids, list->ids, (size_t)list->n * sizeof *ids);
    for (int64_t i = 0; i < list->n; i++)
        any |= list->types && list->types[i];
    e->n = (int32_t)list->n;
    e->ids = ids;
    if (!any)
        return STATUS_OK;
    TRY_TAKE(types, m->a, list->n);
    for (int64_t i = 0; i < list->n; i++)
        types[i] = list->types[i];
    e->types = types;
    return STATUS_OK;
}

static status make_text(sample_maker *m, const record *r, example *e, bool *dropped)
{
    whole_text x = {0};
    token_list list;
    char      *text, *second = NULL;

    TRY(template_fill(m->words.prompt, r, m->work, &text, &x.length));
    if (m->words.pair)
        TRY(template_fill(m->words.pair, r, m->work, &second, &x.second_length));
    x.text = text;
    x.second = second;
    TRY(sample_encode(m, r, &x, m->o->length, &list, dropped));
    return *dropped ? STATUS_OK : sample_tokens(m, &list, e);
}

/* The texts of a record one after another. */
static status make_texts(sample_maker *m, const record *r, example *e, bool *dropped)
{
    const int64_t cut = m->out->n_cut;
    token_list   *lists;
    int32_t      *ids, *ends, *types;
    int64_t       n = 0;

    TRY_TAKE(lists, m->work, m->w->n_texts);
    TRY_TAKE(ends, m->a, m->w->n_texts);
    for (int i = 0; i < m->w->n_texts && !*dropped; i++) {
        whole_text x = {0};
        char      *text;
        if (i >= m->w->needed && !template_fits(m->w->texts[i], r))
            continue;
        TRY(template_fill(m->w->texts[i], r, m->work, &text, &x.length));
        x.text = text;
        TRY(sample_encode(m, r, &x, m->o->length, &lists[e->n_texts], dropped));
        n += lists[e->n_texts].n;
        ends[e->n_texts++] = (int32_t)n;
    }
    if (*dropped)
        return STATUS_OK;
    m->out->n_cut = cut + (m->out->n_cut > cut); /* of samples, not of texts */
    TRY_TAKE(ids, m->a, n);
    TRY_TAKE(types, m->a, n);
    for (int i = 0; i < e->n_texts; i++)
        for (int64_t k = 0; k < lists[i].n; k++) {
            ids[ends[i] - lists[i].n + k] = lists[i].ids[k];
            types[ends[i] - lists[i].n + k] = lists[i].types ? lists[i].types[k] : 0;
        }
    e->n = (int32_t)n;
    e->ids = ids;
    e->types = types;
    e->ends = ends;
    return STATUS_OK;
}

/* What the encoder reads. */
static status make_prompt(sample_maker *m, const record *r, example *e, bool *dropped)
{
    const int64_t length = m->w->source_length > 0 ? m->w->source_length : m->o->length;
    whole_text    x = {0};
    token_list    list;
    char         *text;
    int32_t      *ids;

    TRY(template_fill(m->words.prompt, r, m->work, &text, &x.length));
    x.text = text;
    TRY(sample_encode(m, r, &x, length, &list, dropped));
    if (*dropped)
        return STATUS_OK;
    TRY_TAKE(ids, m->a, list.n);
    memcpy(ids, list.ids, (size_t)list.n * sizeof *ids);
    e->source = ids;
    e->n_source = (int32_t)list.n;
    return STATUS_OK;
}

/* What the decoder learns, and what it reads: the same one place later, behind its first token. */
static status make_answer(sample_maker *m, const record *r, example *e, bool *dropped)
{
    const int64_t length = m->o->length, ends = m->encoder->end >= 0, cut = m->out->n_cut;
    char         *text, where[256];
    size_t        bytes;
    int32_t      *ids, *labels;
    int64_t       n;

    TRY(make_prompt(m, r, e, dropped));
    if (*dropped)
        return STATUS_OK;
    TRY(template_fill(m->words.target, r, m->work, &text, &bytes));
    TRY(m->encoder->encode(m->encoder->context, m->work, text, bytes, &ids, &n));
    if (n + ends == 0)
        return fail(STATUS_FORMAT, "%s: its target gives no tokens", record_where(r, where));
    if (n + ends > length) {
        TRY(sample_too_long(m, r, n + ends, length, dropped));
        m->out->n_cut = *dropped ? cut : cut + 1; /* once, whatever is cut of it */
        n = length - ends;
    }
    TRY_TAKE(labels, m->a, 2 * (n + ends));
    for (int64_t i = 0; i < n; i++)
        labels[i] = ids[i];
    if (ends)
        labels[n] = m->encoder->end;
    e->n = (int32_t)(n + ends);
    e->labels = labels;
    e->ids = ids = labels + e->n;
    ids[0] = m->w->begin;
    memcpy(ids + 1, labels, (size_t)(e->n - 1) * sizeof *ids);
    return STATUS_OK;
}

/* The largest place at or before `to` between characters of text. */
static size_t between_characters(const char *text, size_t to)
{
    while (to > 0 && ((uint8_t)text[to] & 0xC0) == 0x80)
        to--;
    return to;
}

/* One piece of running text: as much as `length` tokens hold of the first bytes. *used: bytes of it. */
static status make_piece(sample_maker *m, const record *r, const char *text, size_t n, size_t *used)
{
    const size_t window = (size_t)m->o->length * BYTES_A_TOKEN;
    whole_text   x = {.text = text, .length = n > window ? between_characters(text, window) : n};
    token_list   list;
    example      e = {.task = r->task, .label = r->label, .batch = r->batch};

    TRY(m->encoder->whole(m->encoder->context, m->work, &x, m->o->length, &list));
    *used = 0;
    for (int64_t i = 0; i < list.n; i++)
        if (!list.special[i] && list.end[i] > *used)
            *used = list.end[i];
    if (*used == 0) {
        *used = x.length; /* nothing but blanks */
        return STATUS_OK;
    }
    TRY(sample_tokens(m, &list, &e));
    return sample_keep(m, r, &e);
}

/* Running text in pieces. */
static status make_running(sample_maker *m, const record *r)
{
    const char *text = r->fields[0].text;
    size_t      left = r->fields[0].length, used;

    for (; left > 0; text += used, left -= used) {
        const size_t mark = arena_mark(m->work);
        TRY(make_piece(m, r, text, left, &used));
        arena_rewind(m->work, mark);
    }
    return STATUS_OK;
}

/* ---- all --------------------------------------------------------------------------------------------- */

static status make_image(sample_maker *m, const record *r, example *e)
{
    char where[256];

    if (!r->pixels)
        return fail(STATUS_USAGE, "%s: is no image, and the model reads images", record_where(r, where));
    return m->encoder->image(m->encoder->context, m->a, m->work, r, e);
}

/* Token ids that are ready. */
static status take_ids(const sample_maker *m, const record *r, example *e)
{
    const bool wanted = m->w->kind == WHOLE_ANSWER;
    char       where[256];

    if (wanted != (r->source != NULL))
        return fail(STATUS_USAGE, "%s: %s", record_where(r, where),
                    wanted ? "has no \"source\", which the model's encoder reads"
                           : "has a source, which only the objective seq2seq reads");
    e->n = r->n_ids;
    e->ids = r->ids;
    e->labels = r->labels;
    e->n_source = r->n_source;
    e->source = r->source;
    return STATUS_OK;
}

static status make_one(sample_maker *m, const record *r)
{
    example e = {.task = r->task, .label = r->label, .batch = r->batch};
    bool    dropped = false;
    char    where[256];

    if (m->w->kind == WHOLE_TEXTS && (m->running || r->ids || r->pixels || r->n_words))
        return fail(STATUS_USAGE, "%s: is one sequence, and the objective reads several texts a sample",
                    record_where(r, where));
    if (m->running && m->w->kind == WHOLE_ANSWER)
        return fail(STATUS_USAGE, "%s: is running text, without prompts and targets", r->origin);
    if (m->w->kind == WHOLE_WINDOWS)
        return sample_windows(m, r);
    if (m->running)
        return make_running(m, r);
    if (r->ids)
        TRY(take_ids(m, r, &e));
    else if (m->w->kind == WHOLE_IMAGE)
        TRY(make_image(m, r, &e));
    else if (m->w->kind == WHOLE_TEXTS)
        TRY(make_texts(m, r, &e, &dropped));
    else if (m->w->kind == WHOLE_ANSWER)
        TRY(make_answer(m, r, &e, &dropped));
    else
        TRY(m->w->kind == WHOLE_WORDS ? sample_words(m, r, &e, &dropped) : make_text(m, r, &e, &dropped));
    if (dropped)
        return STATUS_OK;
    return sample_keep(m, r, &e);
}

/* The examples of one source. */
static status make_all(sample_maker *m, const records *r, const text_template *t)
{
    const bool texts = m->w->kind == WHOLE_TEXT || m->w->kind == WHOLE_ANSWER;

    m->running = r->running;
    if (m->w->kind == WHOLE_TEXTS && t && (t->chat || t->words.prompt))
        return fail(STATUS_USAGE, "template: the objective words its texts itself");
    if (texts && !r->v[0].ids && !r->running)
        TRY(choose_wording(m, r, t));
    for (int64_t i = 0; i < r->n; i++) {
        const size_t mark = arena_mark(m->work);
        char         where[256];
        const status s = make_one(m, &r->v[i]);
        arena_rewind(m->work, mark);
        if (s != STATUS_OK && !strstr(status_text(), record_where(&r->v[i], where)))
            return fail_in(s, "in %s", where);
        TRY(s);
    }
    return STATUS_OK;
}

status examples_whole(arena *a, arena *work, const records *r, const text_template *t, const text_encoder *encoder,
                      const example_options *o, const whole_options *w, examples *out)
{
    sample_maker m = {.a = a, .work = work, .encoder = encoder, .o = o, .w = w, .out = out,
               .room = r->n};

    *out = (examples){.place = w->place, .width = w->width, .patch = w->kind == WHOLE_IMAGE ? encoder->patch : 0};
    TRY_TAKE(out->v, a, r->n);
    if (r->n_parts == 0)
        TRY(make_all(&m, r, t));
    else
        TRY_TAKE(out->parts, a, r->n_parts);
    for (int i = 0; i < r->n_parts; i++) {
        const int64_t first = out->n;
        TRY(make_all(&m, &r->parts[i], t));
        TRY(examples_part(&r->parts[i], first, o->length, out));
    }
    return examples_finish(r, o->length, out);
}
