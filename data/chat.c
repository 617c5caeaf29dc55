/* chat: messages through a template, and what of the text the assistant says */
#include "data/chat.h"

#include "data/jinja.h"

#include <stdlib.h>
#include <string.h>

enum { MARKER_MIN = 4 };

/* A parsed template with its values, used for one call of the functions below. */
typedef struct session {
    jinja j;
    jvalue messages, tools, bos, eos;
    size_t mark;
} session;

static status session_open(session *s, const char *text, size_t n, const cJSON *messages,
                           const chat_extras *extras)
{
    static const chat_extras none = {NULL, NULL, NULL};
    jinja *j = &s->j;

    *s = (session){0};
    extras = extras ? extras : &none;
    TRY(arena_open(&j->work, "chat template", JINJA_MEMORY_MAX));
    TRY(jinja_lex(j, text, n));
    TRY(jinja_parse(j));
    if (!cJSON_IsArray(messages))
        return fail(STATUS_FORMAT, "chat: messages must be a list of {\"role\", \"content\"}");
    TRY(jvalue_from_json(j, messages, 0, &s->messages));
    s->tools.kind = JV_NONE;
    if (extras->tools)
        TRY(jvalue_from_json(j, extras->tools, 0, &s->tools));
    if (extras->bos_token)
        TRY(jvalue_copy_string(j, extras->bos_token, strlen(extras->bos_token), &s->bos));
    if (extras->eos_token)
        TRY(jvalue_copy_string(j, extras->eos_token, strlen(extras->eos_token), &s->eos));
    return STATUS_OK;
}

static void session_close(session *s)
{
    arena_close(&s->j.work);
    free(s->j.out);
}

/* Renders the first n messages into j->out[0, n_out). */
static status session_render(session *s, size_t n, bool prompt)
{
    jinja *j = &s->j;
    jlist first = *s->messages.list;
    jscope globals = {0};
    const struct {
        const char *name;
        jvalue value;
    } names[] = {{"messages", {.kind = JV_LIST, .list = &first}},
                 {"add_generation_prompt", jvalue_bool(prompt)},
                 {"tools", s->tools},
                 {"bos_token", s->bos},
                 {"eos_token", s->eos}};

    first.n = n;
    j->n_out = 0;
    j->steps = 0;
    j->depth = 0;
    j->leave = 0;
    j->globals = j->scope = &globals;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (names[i].value.kind != JV_UNDEFINED)
            TRY(jinja_bind(j, &globals, names[i].name, strlen(names[i].name), names[i].value));
    const status result = jinja_run(j, j->root);
    j->globals = j->scope = NULL;
    return result;
}

static status keep(const session *s, arena *a, char **out, size_t *length)
{
    *length = s->j.n_out;
    *out = arena_string(a, s->j.n_out ? s->j.out : "", s->j.n_out);
    return *out ? STATUS_OK : STATUS_MEMORY;
}

status chat_render(arena *a, const char *template_text, size_t n, const cJSON *messages,
                   bool add_generation_prompt, const chat_extras *extras, char **out,
                   size_t *length)
{
    session s;
    status result = session_open(&s, template_text, n, messages, extras);

    if (result == STATUS_OK)
        result = session_render(&s, s.messages.list->n, add_generation_prompt);
    if (result == STATUS_OK)
        result = keep(&s, a, out, length);
    session_close(&s);
    return result;
}

/* ---- spans ---- */

static bool is_assistant(session *s, const jvalue *message, const jvalue **content, status *error)
{
    static const char role[] = "role", text[] = "content";
    const jvalue role_key = jvalue_string(role, 4), content_key = jvalue_string(text, 7);
    const jvalue *value;

    *content = NULL;
    if (message->kind != JV_DICT)
        return false;
    *error = jvalue_find(&s->j, message, &role_key, &value);
    if (*error == STATUS_OK)
        *error = jvalue_find(&s->j, message, &content_key, content);
    return *error == STATUS_OK && value && value->kind == JV_STRING && value->n == 9 &&
           memcmp(value->text, "assistant", 9) == 0;
}

static size_t shared(const char *a, size_t n, const char *b, size_t m)
{
    size_t i = 0;

    while (i < n && i < m && a[i] == b[i])
        i++;
    while (i > 0 && i < n && ((uint8_t)a[i] & 0xC0) == 0x80) /* whole characters */
        i--;
    return i;
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where a turn in text[begin, end) ends: behind its end marker, which follows the content; white
 * space behind the marker is left out, white space that is all there is behind the content is not.
 * A marker that is written in the content ends the turn there, as it would when the model writes it
 * (unless it is so short that it may well be ordinary text). */
static size_t marker_end(const char *text, size_t begin, size_t end, const jvalue *content)
{
    size_t behind = begin, to = end;

    if (content && content->kind == JV_STRING && content->n > 0 && content->n <= end - begin)
        for (size_t at = end - content->n + 1; at-- > begin && behind == begin;)
            if (memcmp(text + at, content->text, content->n) == 0)
                behind = at + content->n;
    while (to > behind && blank(text[to - 1]))
        to--;
    if (to == behind)
        return end;
    const size_t marker = to - behind;
    const char *first = behind > begin && marker >= MARKER_MIN
                            ? memmem(text + begin, to - begin, text + behind, marker)
                            : NULL;
    return first ? (size_t)(first - text) + marker : to;
}

/* Span of turn i in the whole text. */
static status find_turn(session *s, size_t i, const jvalue *content, const char *text,
                        size_t length, arena *scratch, chat_span *span)
{
    char *before, *prompt;
    size_t n_before, n_prompt;

    TRY(session_render(s, i, false));
    TRY(keep(s, scratch, &before, &n_before));
    TRY(session_render(s, i, true));
    TRY(keep(s, scratch, &prompt, &n_prompt));
    TRY(session_render(s, i + 1, false));
    const char *with = s->j.n_out ? s->j.out : "";
    const size_t n_with = s->j.n_out;
    const size_t begin = shared(prompt, n_prompt, with, n_with);
    const size_t end = marker_end(with, begin, n_with, content);
    if (begin < shared(before, n_before, with, n_with) || n_before > n_with ||
        memcmp(before, with, n_before) != 0 || end > length || memcmp(with, text, end) != 0)
        return fail(
            STATUS_UNSUPPORTED,
            "chat template: what is trained on cannot be found: message "
            "%zu changes the text of the messages before it, or those behind change its own",
            i + 1);
    *span = (chat_span){begin, end};
    return STATUS_OK;
}

static status find_spans(session *s, arena *a, const char *text, size_t length, chat_span **spans,
                         int64_t *n_spans)
{
    const jlist *messages = s->messages.list;
    arena scratch = {0};
    status result = arena_open(&scratch, "chat spans", (size_t)3 * JINJA_OUTPUT_MAX);

    *n_spans = 0;
    *spans = arena_take(a, messages->n, sizeof **spans);
    if (!*spans)
        result = STATUS_MEMORY;
    for (size_t i = 0; i < messages->n && result == STATUS_OK; i++) {
        const jvalue *content;
        arena_rewind(&scratch, 0);
        s->j.steps = 0;
        if (is_assistant(s, &messages->v[i], &content, &result))
            result = find_turn(s, i, content, text, length, &scratch, &(*spans)[(*n_spans)++]);
    }
    arena_close(&scratch);
    return result;
}

status chat_render_spans(arena *a, const char *template_text, size_t n, const cJSON *messages,
                         const chat_extras *extras, char **out, size_t *length, chat_span **spans,
                         int64_t *n_spans)
{
    session s;
    status result = session_open(&s, template_text, n, messages, extras);

    if (result == STATUS_OK)
        result = session_render(&s, s.messages.list->n, false);
    if (result == STATUS_OK)
        result = keep(&s, a, out, length);
    if (result == STATUS_OK)
        result = find_spans(&s, a, *out, *length, spans, n_spans);
    session_close(&s);
    return result;
}
