/* template: how a record becomes text.
 *
 * A template is a wording with places for fields: "Describe it.\n\n{long}" and " {short}"; {{ and }}
 * stand for braces. With `chat` the two become the turns of a user and an assistant, or the record's
 * own `messages` are taken, and the tokenizer's template renders them. */
#ifndef DATA_TEMPLATE_H
#define DATA_TEMPLATE_H

#include "data/chat.h"
#include "data/source.h"

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Renders a list of messages with the tokenizer's template into the arena, with what each turn of the assistant trains
 * on (chat_render_spans). */
typedef status (*render_chat)(void *context, arena *a, const cJSON *messages, char **text, size_t *length,
                              chat_span **spans, int64_t *n_spans);

typedef struct chat_renderer {
    render_chat render;
    void       *context;
} chat_renderer;

typedef struct text_template {
    bool    chat;
    wording words; /* prompt NULL: the source's own wording, or the record's messages, where a target takes the place
                      of the last answer */
    const char *rejected; /* a second target for the same prompt, in a text of its own; NULL: there is none */
} text_template;

/* A piece of the rendered text; the pieces of a record are encoded one by one, so that a prompt has the
 * same ids with and without its answer. */
typedef struct text_piece {
    const char *text;
    size_t      length;
    bool        target;    /* counts under loss_on: target */
    bool        assistant; /* counts under loss_on: assistant */
} text_piece;

typedef struct text_pieces {
    int         n;
    text_piece *v;
} text_pieces;

/* Fills in the source's wording and checks that the template fits: known fields (of the first record),
 * braces in order, a renderer where one is needed. */
status template_resolve(text_template *t, const records *r, const chat_renderer *chat);

/* The pieces of one record, in the arena. The record must have every field that the template names. */
status template_render(const text_template *t, const chat_renderer *chat, const record *r, arena *a,
                       text_pieces *out);

/* A wording with the record's fields as text in the arena. */
status template_fill(const char *words, const record *r, arena *a, char **text, size_t *length);

/* True when the record has every field that the wording names. */
bool template_fits(const char *words, const record *r);

/* The number of the longest field that the prompt names (the one to shorten when a sample is too long);
 * -1: none. */
int template_longest(const text_template *t, const record *r);

#ifdef __cplusplus
}
#endif
#endif
