/* span: the answer to a question, as a span of its context (Devlin et al. 2019, section 4.2)
 *
 * Two logits a row: how well an answer begins, and ends, there. The loss of a sample is the mean of both
 * cross-entropies among the rows of its sequence, virtual ones included. A long context comes in windows that overlap.
 * Where a window does not hold the whole answer, or there is none, both places are the first token ([CLS]).
 * Prediction: over all windows of a record the span of context tokens, at most `longest`, with the largest sum of the
 * two logits; with no_answer none, where the first token's sum is larger in every window (SQuAD 2.0, threshold 0). */
#include "core/json.h"
#include "core/utf8.h"
#include "recipes/objective.h"

#include <math.h>
#include <string.h>

typedef struct span_options {
    goal_options common;
    const char  *question, *context, *answer, *start;
    int64_t      stride, longest;
    bool         no_answer;
} span_options;

#define AT(member) offsetof(span_options, member)
static const key rows[] = {
    GOAL_KEYS("[exact_match, token_f1]"),
    {.name = "question", .kind = KEY_TEXT, .offset = AT(question), .preset = "question",
     .help = "Field with the question."},
    {.name = "context", .kind = KEY_TEXT, .offset = AT(context), .preset = "context",
     .help = "Field with the text that holds the answer."},
    {.name = "answer", .kind = KEY_TEXT, .offset = AT(answer), .preset = "answer",
     .help = "Field with the answer; absent or empty: there is none. Or several, any of which is right, as SQuAD has "
             "them: {\"text\": [..], \"answer_start\": [..]}."},
    {.name = "start", .kind = KEY_TEXT, .offset = AT(start), .preset = "start",
     .help = "Field with the character of the context, from 0, where the answer begins; -1: there is none."},
    {.name = "stride", .kind = KEY_INT, .offset = AT(stride), .preset = "128", .lo = 0, .hi = 1 << 24,
     .unit = "tokens", .help = "That neighbouring windows of a long context share."},
    {.name = "longest", .kind = KEY_INT, .offset = AT(longest), .preset = "30", .lo = 1, .hi = 1 << 24,
     .unit = "tokens", .help = "That a predicted answer may have."},
    {.name = "no_answer", .kind = KEY_BOOL, .offset = AT(no_answer), .preset = "no",
     .help = "Whether it may be predicted that there is no answer."},
};
#undef AT

/* What is predicted for a record. */
typedef struct found {
    float                 best, none; /* largest sum of logits, and the smallest of first tokens */
    const example_window *w;          /* NULL: there is no context in any window */
    int32_t               from, to;   /* its tokens */
} found;

typedef struct span_state {
    const examples *x;
    found          *v; /* [x->n_windowed] by number of the record */
} span_state;

/* ---- samples --------------------------------------------------------------------------------------- */

/* The answers of a record, any of which is right; the first is learnt. */
typedef struct answers {
    int          n;
    metric_text *v;     /* [n] */
    double       start; /* character of the first */
} answers;

/* {"text": [..], "answer_start": [..]} */
static status read_squad(const span_options *o, arena *a, const record *r, const cJSON *x, answers *out)
{
    const cJSON *texts = cJSON_GetObjectItemCaseSensitive(x, "text");
    const cJSON *starts = cJSON_GetObjectItemCaseSensitive(x, "answer_start");
    char         where[256];
    const int    n = cJSON_GetArraySize(texts);

    if (!cJSON_IsArray(texts) || !cJSON_IsArray(starts) || cJSON_GetArraySize(starts) != n)
        return fail(STATUS_FORMAT, "%s: %s must be a text, or {\"text\": [..], \"answer_start\": [..]}",
                    record_where(r, where), o->answer);
    TRY_TAKE(out->v, a, n);
    for (const cJSON *t = texts->child, *s = starts->child; t && s; t = t->next, s = s->next) {
        if (!cJSON_IsString(t) || !cJSON_IsNumber(s))
            return fail(STATUS_FORMAT, "%s: answer %d of %s must be a text with a number", record_where(r, where),
                        out->n + 1, o->answer);
        const size_t length = strlen(t->valuestring);
        char        *text = arena_string(a, t->valuestring, length);
        if (!text)
            return STATUS_MEMORY;
        out->start = out->n == 0 ? s->valuedouble : out->start;
        out->v[out->n++] = (metric_text){text, length};
    }
    return STATUS_OK;
}

static status read_answers(const span_options *o, arena *a, const record *r, answers *out)
{
    const field *f = record_field(r, o->answer);
    char         where[256];
    cJSON       *x;

    *out = (answers){.start = -1};
    if (!f || f->length == 0)
        return STATUS_OK;
    if (f->text[0] == '{') {
        TRY(json_parse(f->text, f->length, record_where(r, where), &x));
        const status s = read_squad(o, a, r, x, out);
        cJSON_Delete(x);
        return s;
    }
    TRY(goal_number(r, o->start, &out->start));
    TRY_TAKE(out->v, a, 1);
    out->v[0] = (metric_text){f->text, f->length};
    out->n = out->start >= 0;
    return STATUS_OK;
}

/* Where the first answer begins in the bytes of the context. */
static status find_answer(const span_options *o, const record *r, const answers *x, size_t *begin)
{
    const field *context = record_field(r, o->context);
    char         where[256];
    size_t       at = 0;

    for (double i = 0; i < x->start && at < context->length; i++) {
        uint32_t code;
        at += (size_t)utf8_next(context->text, context->length, at, &code);
    }
    if (x->start < 0 || at + x->v->length > context->length ||
        memcmp(context->text + at, x->v->text, x->v->length) != 0)
        return fail(STATUS_FORMAT, "%s: %s \"%.60s\" does not stand at character %.0f of %s", record_where(r, where),
                    o->answer, x->v->text, x->start, o->context);
    *begin = at;
    return STATUS_OK;
}

/* The last token that begins at or before the answer, and the first that ends at or behind its end. */
static status set_span(void *context, arena *a, const record *r, example *e)
{
    const goal           *g = context;
    const example_window *w = e->window;
    const size_t          mark = arena_mark(a);
    answers               x;
    size_t                begin = 0, end;
    int32_t               from = 0, to = w->n - 1;

    TRY(read_answers(g->options, a, r, &x));
    if (x.n == 0)
        return STATUS_OK; /* both places are 0 */
    TRY(find_answer(g->options, r, &x, &begin));
    end = begin + x.v->length;
    arena_rewind(a, mark);
    if (w->n == 0 || w->begin[0] > begin || w->end[w->n - 1] < end)
        return STATUS_OK;
    while (from + 1 < w->n && w->begin[from + 1] <= begin)
        from++;
    while (to > 0 && w->end[to - 1] >= end)
        to--;
    e->span[0] = w->first + from;
    e->span[1] = w->first + to;
    return STATUS_OK;
}

static status open_goal(goal *g, records *train, records *test)
{
    const span_options *o = g->options;
    span_state         *x;
    char                where[256];

    (void)test;
    if (train->v[0].ids || train->v[0].pixels || train->v[0].n_words > 0 || train->running)
        return fail(STATUS_USAGE, "%s: is no record with fields of texts", record_where(&train->v[0], where));
    g->samples = (whole_options){.kind = WHOLE_WINDOWS, .place = TARGET_SPAN, .first = o->question,
                                 .second = o->context, .stride = o->stride, .target = set_span, .context = g};
    g->predicts = METRIC_TEXTS;
    TRY_TAKE(x, &g->s->setup, 1);
    *x = (span_state){0};
    g->state = x;
    return STATUS_OK;
}

static var *record_loss(const goal *g, tape *t, model *m, var *hidden, const feed *f, goal_vars *v)
{
    (void)g;
    v->scores = head_logits(t, &m->head, hidden);
    return ag_cross_entropy_place(t, v->scores, f->recorded.q_offsets, f->spans_var, &v->each);
}

/* ---- predictions ----------------------------------------------------------------------------------- */

static status start(const goal *g, arena *a, const examples *x)
{
    span_state *s = g->state;

    s->x = x;
    TRY_TAKE(s->v, a, x->n_windowed);
    for (int64_t i = 0; i < x->n_windowed; i++)
        s->v[i] = (found){.best = -INFINITY, .none = INFINITY};
    return STATUS_OK;
}

/* z [rows of the sample, 2] */
static void search(const span_options *o, const example_window *w, const float *z, found *f)
{
    const float *own = z + (int64_t)w->first * 2, none = z[0] + z[1];

    f->none = none < f->none ? none : f->none;
    for (int32_t i = 0; i < w->n; i++)
        for (int32_t k = i; k < w->n && k - i < o->longest; k++) {
            const float sum = own[2 * i] + own[2 * k + 1];
            if (sum > f->best) {
                f->best = sum;
                f->w = w;
                f->from = i;
                f->to = k;
            }
        }
}

static void look(const goal *g, const batch *b, const float *scores, int64_t columns)
{
    const span_state *s = g->state;

    for (int32_t i = 0; i < b->n_seqs; i++) {
        const example_window *w = s->x->v[b->example[i]].window;
        search(g->options, w, scores + (b->offsets[i] + b->front) * columns, &s->v[w->number]);
    }
}

static metric_text text_of(const span_options *o, const found *f)
{
    const bool none = !f->w || (o->no_answer && f->none > f->best);

    if (none)
        return (metric_text){"", 0};
    const size_t begin = f->w->begin[f->from], end = f->w->end[f->to];
    return (metric_text){record_field(f->w->r, o->context)->text + begin, end - begin};
}

static status finish(const goal *g, metric_tally *tally)
{
    static const metric_text none = {"", 0};
    const span_options      *o = g->options;
    const span_state        *s = g->state;
    const size_t             mark = arena_mark(&g->s->setup);

    for (int64_t i = 0, done = 0; i < s->x->n; i++) {
        const example_window *w = s->x->v[i].window;
        answers               x;
        if (w->number < done)
            continue;
        TRY(read_answers(o, &g->s->setup, w->r, &x));
        TRY(metric_add_text(tally, text_of(o, &s->v[w->number]), x.n ? x.v : &none, x.n ? x.n : 1));
        arena_rewind(&g->s->setup, mark);
        done = w->number + 1;
    }
    return STATUS_OK;
}

const objective objective_span = {
    .name = "span",
    .help = "The span of a context that answers a question.",
    .keys = KEY_TABLE("span", rows, span_options),
    .task_type = "QUESTION_ANS",
    .head = HEAD_SPAN,
    .whole = true,
    .open = open_goal,
    .loss = record_loss,
    .start = start,
    .look = look,
    .finish = finish,
};
