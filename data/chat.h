/* chat: conversations to text by the chat template of a checkpoint.
 *
 * Templates are Jinja2 as transformers runs it (trim_blocks, lstrip_blocks, break and continue,
 * raise_exception, tojson without HTML escapes); the part of the language that templates in the
 * wild use is read, anything else is refused with line and column when the template is parsed.
 * Templates come with downloaded files: work is bounded (steps, memory, depth, output), and none
 * can reach anything but its variables: messages, add_generation_prompt, bos_token, eos_token,
 * tools. */
#ifndef DATA_CHAT_H
#define DATA_CHAT_H

#include "core/arena.h"

#include <stdbool.h>

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct chat_extras {
    const char *bos_token, *eos_token; /* NULL: undefined in the template */
    const cJSON *tools;                /* NULL: none */
} chat_extras;

/* Bytes [begin, end) of the text that one assistant turn trains on. */
typedef struct chat_span {
    size_t begin, end;
} chat_span;

/* Renders messages, a list of {"role", "content", ...}. extras may be NULL. The text lies in the
 * arena with a NUL behind it. STATUS_FORMAT for a wrong template or a raise_exception, with its
 * place. */
status chat_render(arena *a, const char *template_text, size_t n, const cJSON *messages,
                   bool add_generation_prompt, const chat_extras *extras, char **out,
                   size_t *length);

/* The same without a generation prompt, and what each assistant turn trains on: all that the model
 * itself would have to write, its end marker included.
 *
 * Method, for any template: turn i begins where the conversation before it ends when it is rendered
 * with the generation prompt, and ends where the conversation up to it ends when it is rendered
 * without, less white space behind the marker (never less than the content). A marker that stands
 * in the content ends the turn there. A prompt that is not how the turn begins (a template that
 * opens a thought in it, say) is cut back to what they share, at least the conversation before.
 * Both ends must lie in the whole text in the same way: a template that rewrites earlier turns is
 * refused with STATUS_UNSUPPORTED, for its spans would be wrong. */
status chat_render_spans(arena *a, const char *template_text, size_t n, const cJSON *messages,
                         const chat_extras *extras, char **out, size_t *length, chat_span **spans,
                         int64_t *n_spans);

#ifdef __cplusplus
}
#endif
#endif
