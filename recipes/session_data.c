/* session: text to tokens, sources to examples and questions */
#include "recipes/session.h"

#include "core/text.h"
#include "data/chat.h"
#include "data/mixture.h"

#include <string.h>

/* ---- tokens --------------------------------------------------------------------------------------- */

enum { BYTE_END = 256 }; /* id behind an answer when bytes are tokens */

static status encode_bytes(const session *s, arena *a, const char *text, size_t n, int32_t **ids,
                           int64_t *count)
{
    if (s->m.words <= BYTE_END)
        return fail(STATUS_FORMAT,
                    "%s: has no tokenizer (tokenizer.json, .model or vocab.txt), and %lld words are too few for bytes "
                    "as tokens (257)",
                    s->path, (long long)s->m.words);
    TRY_TAKE(*ids, a, n);
    for (size_t i = 0; i < n; i++)
        (*ids)[i] = (uint8_t)text[i];
    *count = (int64_t)n;
    return STATUS_OK;
}

status session_encode(const session *s, arena *a, const char *text, size_t n, bool special,
                      int32_t **ids, int64_t *count)
{
    token_list list;

    if (!s->words)
        return encode_bytes(s, a, text, n, ids, count);
    TRY(tokenizer_encode(s->words, a, text, n, special, &list));
    *ids = list.ids;
    *count = list.n;
    return STATUS_OK;
}

status session_decode(const session *s, arena *a, const int32_t *ids, int64_t n, char **text,
                      size_t *length)
{
    if (s->words)
        return tokenizer_decode(s->words, a, ids, n, true, text, length);
    *length = 0;
    TRY_TAKE(*text, a, n + 1);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < BYTE_END)
            (*text)[(*length)++] = (char)ids[i];
    (*text)[*length] = '\0';
    return STATUS_OK;
}

int session_ends(const session *s, int32_t ends[4])
{
    static const char *const turns[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>"};
    int                      n = 0;

    if (!s->words) {
        ends[n++] = BYTE_END;
        return n;
    }
    if (tokenizer_eos(s->words) >= 0)
        ends[n++] = tokenizer_eos(s->words);
    for (size_t i = 0; i < COUNT_OF(turns) && n < 4; i++) {
        const int32_t id = tokenizer_id(s->words, turns[i]);
        if (id >= 0 && id != ends[0])
            ends[n++] = id;
    }
    return n;
}

int32_t session_mask(const session *s)
{
    static const char *const names[] = {"[MASK]", "<mask>"};
    int32_t                  id = -1;

    for (size_t i = 0; i < COUNT_OF(names) && s->words && id < 0; i++)
        id = tokenizer_id(s->words, names[i]);
    return id;
}

/* ---- callbacks for data/ ---------------------------------------------------------------------------- */

static status encode_plain(void *context, arena *a, const char *text, size_t n, int32_t **ids,
                           int64_t *count)
{
    return session_encode(context, a, text, n, false, ids, count);
}

/* Bytes with an end behind each text, when there is no tokenizer. */
static status encode_bytes_whole(const session *s, arena *a, const whole_text *x, int64_t max, token_list *out)
{
    const char *const texts[] = {x->text, x->second};
    size_t            n[] = {x->length, x->second_length};
    const size_t      ends = x->second ? 2 : 1;
    int32_t          *ids = NULL;
    int64_t           count = 0;

    if (max < (int64_t)ends)
        return fail(STATUS_USAGE, "data: length is %lld, too short for %zu texts", (long long)max, ends);
    while ((int64_t)(n[0] + (x->second ? n[1] : 0) + ends) > max)
        n[x->second && n[1] > n[0]]--;
    *out = (token_list){0};
    TRY_TAKE(out->ids, a, n[0] + n[1] + ends);
    TRY_TAKE(out->begin, a, n[0] + n[1] + ends);
    TRY_TAKE(out->end, a, n[0] + n[1] + ends);
    TRY_TAKE(out->types, a, n[0] + n[1] + ends);
    TRY_TAKE(out->special, a, n[0] + n[1] + ends);
    for (size_t i = 0; i < ends; i++) {
        TRY(encode_bytes(s, a, texts[i], n[i], &ids, &count));
        for (int64_t k = 0; k <= count; k++, out->n++) {
            out->ids[out->n] = k < count ? ids[k] : BYTE_END;
            out->begin[out->n] = (uint32_t)k;
            out->end[out->n] = (uint32_t)(k + (k < count));
            out->special[out->n] = k == count;
            out->types[out->n] = (uint8_t)i;
        }
    }
    return STATUS_OK;
}

static status encode_with_ends(void *context, arena *a, const whole_text *x, int64_t max, token_list *out)
{
    const session    *s = context;
    const token_limit limit = {.max = max, .how = TOKEN_CUT_LONGEST};

    if (!s->words)
        return encode_bytes_whole(s, a, x, max, out);
    return tokenizer_encode_limited(s->words, a, x->text, x->length, x->second, x->second_length, true,
                                    max == INT64_MAX ? NULL : &limit, out);
}

static status render_template(void *context, arena *a, const cJSON *messages, char **text, size_t *length,
                              chat_span **spans, int64_t *n_spans)
{
    const session *s = context;
    const char    *t = s->words ? tokenizer_chat_template(s->words) : NULL;
    const int32_t  bos = s->words ? tokenizer_bos(s->words) : -1;
    const int32_t  eos = s->words ? tokenizer_eos(s->words) : -1;
    size_t         n;
    chat_extras    extras = {0};

    if (!t)
        return fail(STATUS_USAGE, "template: chat needs a chat template, and %s has none; write "
                    "template: {prompt: \"...\", target: \"...\"}", s->path);
    extras.bos_token = bos >= 0 ? tokenizer_token(s->words, bos, &n) : NULL;
    extras.eos_token = eos >= 0 ? tokenizer_token(s->words, eos, &n) : NULL;
    return chat_render_spans(a, t, strlen(t), messages, &extras, text, length, spans, n_spans);
}

static status encode_image_of(void *context, arena *a, arena *work, const record *r, example *e)
{
    return session_image(context, a, work, r, e);
}

/* The token that the tokenizer's own template puts before a text, -1 when there is none. */
static status begin_token(session *s, int32_t *begin)
{
    token_list list;

    *begin = -1;
    if (!s->words)
        return STATUS_OK;
    TRY(tokenizer_encode(s->words, &s->setup, "", 0, true, &list));
    if (list.n > 0 && list.ids[0] == tokenizer_bos(s->words))
        *begin = list.ids[0];
    return STATUS_OK;
}

/* The names of tasks in the order of their first appearance in the recipe, train before test. */
static status task_names(arena *a, const recipe_data *d, const char ***names, int *n)
{
    *n = 0;
    TRY_TAKE(*names, a, d->n_train + d->n_test);
    for (int i = 0; i < d->n_train + d->n_test; i++) {
        const char *task = i < d->n_train ? d->train[i].task : d->test[i - d->n_train].task;
        if (task && text_index(task, *names, *n) < 0)
            (*names)[(*n)++] = task;
    }
    return STATUS_OK;
}

status session_records(session *s, const recipe *r, const recipe_source *sources, int n, records *out)
{
    mixture_part *parts;
    const char  **tasks;
    int           n_tasks;

    TRY(task_names(&s->setup, &r->data, &tasks, &n_tasks));
    TRY_TAKE(parts, &s->setup, n);
    for (int i = 0; i < n; i++) {
        const int task = sources[i].task ? text_index(sources[i].task, tasks, n_tasks) : -1;
        parts[i] = (mixture_part){.weight = sources[i].weight, .task = task};
        TRY(source_load(&s->setup, sources[i].source.name, sources[i].source.options, &parts[i].r));
    }
    return mixture_join(&s->setup, parts, n, out);
}

typedef struct words {
    text_template t;
    text_encoder  encoder;
    chat_renderer chat;
} words;

static status open_words(session *s, const recipe *r, words *w)
{
    const recipe_template *x = &r->data.wording;

    *w = (words){.t = {.chat = x->chat, .words = {x->prompt, x->target, x->pair}},
                 .encoder = {.encode = encode_plain, .whole = encode_with_ends, .image = encode_image_of,
                             .context = s, .patch = patches_values(&s->m.image), .end = BYTE_END},
                 .chat = {.render = render_template, .context = s}};
    if (s->words)
        w->encoder.end = tokenizer_eos(s->words);
    return begin_token(s, &w->encoder.begin);
}

/* ids may be NULL: there are none. */
static status check_ids(const session *s, int64_t sample, const int32_t *ids, int32_t n)
{
    for (int32_t k = 0; ids && k < n; k++)
        if (ids[k] < 0 || ids[k] >= s->m.words)
            return fail(STATUS_FORMAT, "data: sample %lld has the token %d, must be 0..%lld", (long long)sample,
                        ids[k], (long long)s->m.words - 1);
    return STATUS_OK;
}

/* Labels that are words, and kinds of tokens. */
static status check_beside(const session *s, int64_t sample, const example *e, bool words)
{
    for (int32_t k = 0; words && e->labels && k < e->n; k++)
        if (e->labels[k] != LABEL_NONE && (e->labels[k] < 0 || e->labels[k] >= s->m.words))
            return fail(STATUS_FORMAT, "data: sample %lld has the label %d, must be 0..%lld, or %d for none",
                        (long long)sample, e->labels[k], (long long)s->m.words - 1, LABEL_NONE);
    for (int32_t k = 0; s->m.types > 0 && e->types && k < e->n; k++)
        if (e->types[k] < 0 || e->types[k] >= s->m.types)
            return fail(STATUS_USAGE,
                        "data: sample %lld has a token of kind %d, as second texts of pairs have; the model "
                        "knows %lld kinds", (long long)sample, e->types[k], (long long)s->m.types);
    return STATUS_OK;
}

status session_examples(session *s, const recipe *r, const records *list, const whole_options *how, examples *out)
{
    const example_options o = {.length = r->data.length, .overlong = r->data.overlong,
                               .loss_on = r->data.loss_on};
    words                 w;
    arena                 work;

    TRY(open_words(s, r, &w));
    const bool pair = how && how->kind == WHOLE_PAIR;
    if (pair) {
        w.t.rejected = how->rejected;
        const bool turns = w.t.chat && list->v[0].messages; /* the record's own, which end with the chosen answer */
        w.t.words = w.t.words.prompt || turns ? w.t.words : how->pair;
    }
    TRY(arena_open(&work, "work", (size_t)16 << 30));
    const status done = how && !pair ? examples_whole(&s->setup, &work, list, &w.t, &w.encoder, &o, how, out)
                                     : examples_make(&s->setup, &work, list, &w.t, &w.chat, &w.encoder, &o, out);
    arena_close(&work);
    TRY(done);
    const model_front front = model_in_front(&s->m);
    const int64_t     most = s->m.positions - front.tokens - front.positions;
    out->front = front.tokens;
    if (out->longest > most)
        return fail(STATUS_USAGE,
                    "data: a sample has %d tokens, the model has %lld positions%s; data.length may be %lld",
                    out->longest, (long long)s->m.positions,
                    most < s->m.positions ? ", some taken by what is in front" : "", (long long)most);
    const bool tasks = model_tasks(&s->m) > 0; /* it asks every hook */
    const bool words = out->place == TARGET_NEXT || out->place == TARGET_TEXTS || s->m.has_source;
    for (int64_t i = 0; i < out->n; i++) {
        const example *e = &out->v[i];
        if (tasks)
            TRY_IN(model_check_task(&s->m, e->task), "in sample %lld", (long long)i);
        TRY(check_ids(s, i, e->ids, e->n));
        TRY(check_ids(s, i, e->source, e->n_source));
        TRY(check_beside(s, i, e, words));
    }
    return STATUS_OK;
}

/* ---- questions --------------------------------------------------------------------------------------- */

/* Without what ends the answer: the end of a turn, and space. */
static size_t truth_length(const session *s, const char *truth, size_t n)
{
    int32_t   ends[4];
    const int n_ends = s->words ? session_ends(s, ends) : 0;

    for (int i = -1; i < n_ends; i++) {
        size_t      length = 0;
        const char *end = i >= 0 ? tokenizer_token(s->words, ends[i], &length) : NULL;
        if (length > 0 && n >= length && memcmp(truth + n - length, end, length) == 0) {
            n -= length;
            i = -1;
        }
        while (n > 0 && strchr(" \t\r\n", truth[n - 1]))
            n--;
    }
    return n;
}

/* What an encoder reads, cut as a sample is; a decoder begins by itself. */
static status make_source_question(session *s, const words *w, const record *x, int64_t length, question *q)
{
    whole_text in = {0};
    token_list list;
    char      *prompt, *truth, where[256];
    size_t     n;

    TRY(template_fill(w->t.words.prompt, x, &s->setup, &prompt, &in.length));
    TRY(template_fill(w->t.words.target, x, &s->setup, &truth, &n));
    in.text = prompt;
    TRY(encode_with_ends(s, &s->setup, &in, length, &list));
    *q = (question){.ids = list.ids, .n = list.n, .task = x->task, .truth = truth,
                    .truth_length = truth_length(s, truth, n), .name = record_where(x, where)};
    q->name = arena_string(&s->setup, q->name, strlen(q->name));
    return q->name ? STATUS_OK : STATUS_MEMORY;
}

/* The pieces before the first target are the prompt; the targets are the answer. */
static status make_question(session *s, const words *w, const record *x, int64_t length, question *q)
{
    text_pieces pieces;
    int64_t     n = 0, room = length;
    int32_t    *ids;
    char        where[256];

    TRY(template_render(&w->t, &w->chat, x, &s->setup, &pieces));
    TRY_TAKE(ids, &s->setup, room);
    if (!w->t.chat && w->encoder.begin >= 0)
        ids[n++] = w->encoder.begin;
    *q = (question){.truth = "", .task = x->task, .name = record_where(x, where)};
    q->name = arena_string(&s->setup, q->name, strlen(q->name));
    for (int i = 0; i < pieces.n; i++) {
        const text_piece *p = &pieces.v[i];
        int32_t          *more;
        int64_t           count;
        if (p->target) {
            q->truth = p->text;
            q->truth_length = truth_length(s, p->text, p->length);
            break;
        }
        TRY(session_encode(s, &s->setup, p->text, p->length, false, &more, &count));
        if (n + count > room)
            return STATUS_OK; /* too long to be asked: n stays 0 */
        memcpy(ids + n, more, (size_t)count * sizeof *ids);
        n += count;
    }
    q->ids = ids;
    q->n = n;
    return STATUS_OK;
}

/* The place-th question of each part of the data, in turn, until there are `limit`. */
static status ask_in_turn(session *s, words *w, const records *parts, int n, int64_t length, int64_t limit,
                          question *out, int64_t *asked)
{
    const wording given = w->t.words;
    bool          more = true;

    for (int64_t place = 0; more; place++) {
        more = false;
        for (int i = 0; i < n && *asked < limit; i++) {
            if (place >= parts[i].n)
                continue;
            w->t.words = given;
            TRY(template_resolve(&w->t, &parts[i], &w->chat));
            TRY((s->m.has_source ? make_source_question : make_question)(s, w, &parts[i].v[place], length,
                                                                         &out[*asked]));
            *asked += out[*asked].n > 0;
            more = true;
        }
    }
    return STATUS_OK;
}

status session_questions(session *s, const recipe *r, const records *list, int64_t length, int64_t limit,
                         question **out, int64_t *n)
{
    words w;

    *n = 0;
    TRY(open_words(s, r, &w));
    TRY_TAKE(*out, &s->setup, limit);
    return ask_in_turn(s, &w, list->n_parts ? list->parts : list, list->n_parts ? list->n_parts : 1, length, limit,
                       *out, n);
}
