/* prompts: lines to texts, texts to turns, turns to ids */
#include "recipes/prompts.h"

#include "core/json.h"
#include "data/chat.h"
#include "data/lines.h"

#include <stdlib.h>
#include <string.h>

enum { PROMPTS_MAX = 1 << 20 };

typedef struct reader {
    arena *a;
    asked *v;
    int    n, room;
} reader;

static status grow(reader *r)
{
    asked *more;

    if (r->n == PROMPTS_MAX)
        return fail(STATUS_USAGE, "more than %d prompts", PROMPTS_MAX);
    if (r->n < r->room)
        return STATUS_OK;
    TRY_TAKE(more, r->a, r->room * 2 + 16);
    if (r->n > 0)
        memcpy(more, r->v, (size_t)r->n * sizeof *more);
    r->v = more;
    r->room = r->room * 2 + 16;
    return STATUS_OK;
}

static status add(reader *r, const char *text, size_t n, const char *where)
{
    TRY(grow(r));
    r->v[r->n] = (asked){.text = arena_string(r->a, text, n), .where = where};
    return r->v[r->n++].text ? STATUS_OK : STATUS_MEMORY;
}

/* ---- where they come from -------------------------------------------------------------------------------------- */

/* Standard input, by lines or (separator -1) as a whole. */
static status read_stdin(reader *r, bool whole)
{
    char   *line = NULL;
    size_t  room = 0;
    ssize_t n;
    status  s = STATUS_OK;

    while (s == STATUS_OK && (n = getdelim(&line, &room, whole ? '\0' : '\n', stdin)) >= 0) {
        while (n > 0 && strchr("\r\n", line[n - 1]))
            n--;
        if (n > 0)
            s = add(r, line, (size_t)n, "standard input");
    }
    free(line);
    return s;
}

/* {"prompt": "..."} or {"messages": [{"role": ..., "content": ...}, ...]} */
static status read_object(reader *r, const cJSON *o, const char *line, size_t n, const char *where)
{
    const cJSON *messages = cJSON_GetObjectItemCaseSensitive(o, "messages"), *last;
    const char  *text = NULL;

    if (!messages) {
        TRY(json_string(o, "prompt", true, &text, where));
        return add(r, text, strlen(text), where);
    }
    last = cJSON_IsArray(messages) ? cJSON_GetArrayItem(messages, cJSON_GetArraySize(messages) - 1) : NULL;
    if (!last)
        return fail(STATUS_FORMAT, "%s: messages must be a list with at least one turn", where);
    TRY(json_string(last, "content", false, &text, where));
    TRY(add(r, text ? text : "", text ? strlen(text) : 0, where));
    r->v[r->n - 1].json = arena_string(r->a, line, n);
    return r->v[r->n - 1].json ? STATUS_OK : STATUS_MEMORY;
}

static status read_line(reader *r, const lines *l, const char *file, bool json)
{
    const char *where = arena_printf(r->a, "%s:%lld", file, (long long)l->number);
    cJSON      *o;

    if (!where)
        return STATUS_MEMORY;
    if (!json)
        return add(r, l->text, l->length, where);
    TRY(json_parse(l->text, l->length, where, &o));
    const status s = read_object(r, o, l->text, l->length, where);
    cJSON_Delete(o);
    return s;
}

static status read_file(reader *r, const char *file)
{
    const size_t n = strlen(file);
    const bool   json = n > 6 && strcmp(file + n - 6, ".jsonl") == 0;
    lines        l;
    int64_t      count;
    status       s = STATUS_OK;

    TRY(lines_open(&l, file, &count));
    while (s == STATUS_OK && lines_next(&l))
        s = read_line(r, &l, file, json);
    lines_close(&l);
    return s;
}

status prompts_read(arena *a, const prompt_source *from, asked **out, int *n)
{
    reader r = {.a = a};

    for (int i = 0; i < from->n_texts; i++)
        if (strcmp(from->texts[i], "-") == 0)
            TRY(read_stdin(&r, true));
        else
            TRY(add(&r, from->texts[i], strlen(from->texts[i]), "--prompt"));
    if (from->file)
        TRY(read_file(&r, from->file));
    if (from->n_texts == 0 && !from->file)
        TRY(read_stdin(&r, false));
    *out = r.v;
    *n = r.n;
    if (r.n > 0)
        return STATUS_OK;
    return fail(STATUS_USAGE, "no prompt: give --prompt TEXT, --prompts FILE, or lines on stdin");
}

/* ---- to ids ---------------------------------------------------------------------------------------------------- */

status prompts_say(cJSON *messages, const char *role, const char *content)
{
    cJSON *turn = cJSON_CreateObject();

    if (cJSON_AddStringToObject(turn, "role", role) && cJSON_AddStringToObject(turn, "content", content) &&
        cJSON_AddItemToArray(messages, turn))
        return STATUS_OK;
    cJSON_Delete(turn);
    return fail(STATUS_MEMORY, "no memory for a turn of %zu bytes", strlen(content));
}

status prompts_chat(session *s, arena *a, const cJSON *messages, prompt *out)
{
    const char   *template_text = s->words ? tokenizer_chat_template(s->words) : NULL;
    const int32_t bos = s->words ? tokenizer_bos(s->words) : -1, eos = s->words ? tokenizer_eos(s->words) : -1;
    size_t        n;
    char         *rendered;
    int32_t      *ids;

    if (!template_text)
        return fail(STATUS_USAGE, "%s has no chat template: turns of a conversation cannot be told apart", s->base);
    const chat_extras extras = {.bos_token = bos >= 0 ? tokenizer_token(s->words, bos, &n) : NULL,
                                .eos_token = eos >= 0 ? tokenizer_token(s->words, eos, &n) : NULL};
    TRY(chat_render(a, template_text, strlen(template_text), messages, true, &extras, &rendered, &n));
    TRY(session_encode(s, a, rendered, n, false, &ids, &out->n));
    out->ids = ids;
    return out->n > 0 ? STATUS_OK : fail(STATUS_USAGE, "the chat template made nothing of the turns");
}

static status encode_turns(session *s, const char *system, const asked *x, cJSON *messages, prompt *out)
{
    cJSON *o = NULL;

    if (system)
        TRY(prompts_say(messages, "system", system));
    if (!x->json) {
        TRY(prompts_say(messages, "user", x->text));
        return prompts_chat(s, &s->setup, messages, out);
    }
    TRY(json_parse(x->json, strlen(x->json), x->where, &o));
    cJSON *turns = cJSON_GetObjectItemCaseSensitive(o, "messages");
    while (turns->child)
        cJSON_AddItemToArray(messages, cJSON_DetachItemFromArray(turns, 0));
    cJSON_Delete(o);
    TRY_IN(prompts_chat(s, &s->setup, messages, out), "at %s", x->where);
    return STATUS_OK;
}

status prompts_encode(session *s, const char *system, bool plain, asked *x)
{
    const bool has_template = s->words && tokenizer_chat_template(s->words);
    int32_t   *ids;

    if (x->json || system || (has_template && !plain)) {
        cJSON       *messages = cJSON_CreateArray();
        const status done = encode_turns(s, system, x, messages, &x->p);
        cJSON_Delete(messages);
        return done;
    }
    TRY(session_encode(s, &s->setup, x->text, strlen(x->text), true, &ids, &x->p.n));
    x->p.ids = ids;
    return x->p.n > 0 ? STATUS_OK : fail(STATUS_USAGE, "a prompt is empty");
}
