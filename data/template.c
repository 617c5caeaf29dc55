/* template: places for fields, and conversations */
#include "data/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One part of a wording: a literal text, or a field's name. */
typedef struct part {
    const char *text;
    size_t      length;
    bool        is_field;
} part;

/* Takes the next part from *at; false at the end. A lone brace is an error. */
static status next_part(const char **at, part *out, bool *more)
{
    const char *p = *at;

    *more = *p != '\0';
    if (!*more)
        return STATUS_OK;
    if ((p[0] == '{' || p[0] == '}') && p[1] == p[0]) {
        *out = (part){.text = p, .length = 1};
        *at = p + 2;
    } else if (*p == '{') {
        const size_t n = strcspn(p + 1, "{}");
        if (n == 0 || p[1 + n] != '}')
            return fail(STATUS_USAGE, "template: \"%.40s\": a field is written {name}, a brace {{", p);
        *out = (part){.text = p + 1, .length = n, .is_field = true};
        *at = p + n + 2;
    } else if (*p == '}') {
        return fail(STATUS_USAGE, "template: \"%.40s\": a single } closes nothing; a brace is }}", p);
    } else {
        const size_t n = strcspn(p, "{}");
        *out = (part){.text = p, .length = n};
        *at = p + n;
    }
    return STATUS_OK;
}

static int field_index(const record *r, const part *p)
{
    for (int i = 0; i < r->n_fields; i++)
        if (strlen(r->fields[i].name) == p->length &&
            memcmp(r->fields[i].name, p->text, p->length) == 0)
            return i;
    return -1;
}

static status no_field(const record *r, const part *p)
{
    char   names[400] = "", where[256];
    size_t at = 0;

    for (int i = 0; i < r->n_fields && at < sizeof names - 1; i++)
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "",
                               r->fields[i].name);
    return fail(STATUS_USAGE, "template: there is no field {%.*s}; %s has: %s", (int)p->length, p->text,
                record_where(r, where), r->n_fields ? names : "none");
}

/* Writes the wording with the record's fields; with out NULL only measures. */
static status fill(const char *words, const record *r, char *out, size_t *length)
{
    part p;
    bool more;

    *length = 0;
    for (;;) {
        TRY(next_part(&words, &p, &more));
        if (!more)
            return STATUS_OK;
        if (p.is_field) {
            const int i = field_index(r, &p);
            if (i < 0)
                return no_field(r, &p);
            p.text = r->fields[i].text;
            p.length = r->fields[i].length;
        }
        if (out)
            memcpy(out + *length, p.text, p.length);
        *length += p.length;
    }
}

status template_fill(const char *words, const record *r, arena *a, char **out, size_t *length)
{
    TRY(fill(words, r, NULL, length));
    TRY_TAKE(*out, a, *length + 1);
    TRY(fill(words, r, *out, length));
    (*out)[*length] = '\0';
    return STATUS_OK;
}

status template_resolve(text_template *t, const records *r, const chat_renderer *chat)
{
    size_t n;

    if (t->chat && (!chat || !chat->render))
        return fail(STATUS_USAGE, "template: chat needs a tokenizer that has a chat template");
    if (!t->words.prompt && !(t->chat && r->v[0].messages))
        t->words = t->chat ? r->chat : r->plain;
    if (!t->words.prompt) {
        if (t->chat && r->v[0].messages)
            return t->rejected ? fill(t->rejected, &r->v[0], NULL, &n) : STATUS_OK;
        return fail(STATUS_USAGE, "template: %s has no wording of its own: write "
                                  "template: {prompt: \"..{field}..\", target: \"..\"}%s",
                    r->v[0].origin, r->v[0].messages ? " or template: chat" : "");
    }
    TRY(fill(t->words.prompt, &r->v[0], NULL, &n));
    if (t->rejected)
        TRY(fill(t->rejected, &r->v[0], NULL, &n));
    return t->words.target ? fill(t->words.target, &r->v[0], NULL, &n) : STATUS_OK;
}

bool template_fits(const char *words, const record *r)
{
    part p;
    bool more = true, all = true;

    while (all && next_part(&words, &p, &more) == STATUS_OK && more)
        all = !p.is_field || field_index(r, &p) >= 0;
    return all;
}

int template_longest(const text_template *t, const record *r)
{
    const char *at = t->words.prompt;
    part        p;
    bool        more = at != NULL;
    int         best = -1;

    while (more && next_part(&at, &p, &more) == STATUS_OK && more) {
        const int i = p.is_field ? field_index(r, &p) : -1;
        if (i >= 0 && (best < 0 || r->fields[i].length > r->fields[best].length))
            best = i;
    }
    return best;
}

static void add_piece(text_pieces *out, const char *text, size_t n, bool target, bool assistant)
{
    if (n > 0)
        out->v[out->n++] = (text_piece){text, n, target, assistant};
}

/* The turns of the assistant, and what lies between them. */
static status render_messages(const chat_renderer *chat, const record *r, const cJSON *messages, arena *a,
                              text_pieces *out)
{
    chat_span *spans;
    char      *text, where[256];
    size_t     length, done = 0;
    int64_t    n;

    TRY_IN(chat->render(chat->context, a, messages, &text, &length, &spans, &n), "in %s", record_where(r, where));
    TRY_TAKE(out->v, a, 2 * n + 1);
    for (int64_t i = 0; i < n; i++) {
        add_piece(out, text + done, spans[i].begin - done, false, false);
        add_piece(out, text + spans[i].begin, spans[i].end - spans[i].begin, i == n - 1, true);
        done = spans[i].end;
    }
    const size_t blank = strspn(text + done, " \t\r\n"); /* line ends behind an answer are never generated */
    if (done == 0 || done + blank < length)
        add_piece(out, text + done, length - done, false, false);
    return STATUS_OK;
}

static cJSON *add_message(cJSON *list, const char *role, const char *content)
{
    cJSON *m = cJSON_CreateObject();

    cJSON_AddStringToObject(m, "role", role);
    cJSON_AddStringToObject(m, "content", content);
    cJSON_AddItemToArray(list, m);
    return m;
}

/* The record's messages; a target takes the place of the answer that they end with. */
static status own_messages(const text_template *t, const record *r, arena *a, cJSON **out)
{
    char  *target, where[256];
    size_t n;

    if (!r->messages)
        return fail(STATUS_FORMAT, "%s: has no messages", record_where(r, where));
    *out = cJSON_Parse(r->messages);
    if (!*out || !t->words.target)
        return STATUS_OK;
    cJSON       *last = cJSON_GetArrayItem(*out, cJSON_GetArraySize(*out) - 1);
    const cJSON *role = cJSON_GetObjectItemCaseSensitive(last, "role");
    if (!cJSON_IsString(role) || strcmp(role->valuestring, "assistant") != 0)
        return fail(STATUS_FORMAT,
                    "%s: its messages end with a turn of '%.40s', must end with the assistant's, the chosen "
                    "answer", record_where(r, where), cJSON_IsString(role) ? role->valuestring : "");
    TRY(template_fill(t->words.target, r, a, &target, &n));
    cJSON_ReplaceItemInObjectCaseSensitive(last, "content", cJSON_CreateString(target));
    return STATUS_OK;
}

static status render_conversation(const text_template *t, const chat_renderer *chat, const record *r,
                                  arena *a, text_pieces *out)
{
    cJSON *messages = NULL;

    if (t->words.prompt) {
        char  *prompt, *target = NULL;
        size_t n;

        TRY(template_fill(t->words.prompt, r, a, &prompt, &n));
        if (t->words.target)
            TRY(template_fill(t->words.target, r, a, &target, &n));
        messages = cJSON_CreateArray();
        add_message(messages, "user", prompt);
        if (target)
            add_message(messages, "assistant", target);
    } else {
        const status read = own_messages(t, r, a, &messages);
        if (read != STATUS_OK)
            cJSON_Delete(messages);
        TRY(read);
    }
    if (!messages)
        return fail(STATUS_MEMORY, "template: no memory for messages");
    const status s = render_messages(chat, r, messages, a, out);
    cJSON_Delete(messages);
    return s;
}

status template_render(const text_template *t, const chat_renderer *chat, const record *r, arena *a,
                       text_pieces *out)
{
    char  *text;
    size_t n;

    *out = (text_pieces){0};
    if (t->chat)
        return render_conversation(t, chat, r, a, out);
    TRY_TAKE(out->v, a, 2);
    TRY(template_fill(t->words.prompt, r, a, &text, &n));
    add_piece(out, text, n, false, false);
    if (t->words.target) {
        TRY(template_fill(t->words.target, r, a, &text, &n));
        add_piece(out, text, n, true, true);
    }
    return STATUS_OK;
}
