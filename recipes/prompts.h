/* prompts: what the model is asked: texts of the command line, of a file, or of standard input, as ids. */
#ifndef RECIPES_PROMPTS_H
#define RECIPES_PROMPTS_H

#include "recipes/decoder.h"
#include "recipes/session.h"

typedef struct asked {
    const char *text; /* a user's turn, or a plain text; of messages the last one's */
    const char *json; /* a JSON object with messages; NULL: `text` is all */
    const char *where; /* "FILE:12" */
    prompt      p;
} asked;

typedef struct prompt_source {
    const char *const *texts; /* "-": all of standard input is one */
    int                n_texts;
    const char        *file; /* a prompt a line; .jsonl: objects with `prompt` or `messages`, else left alone; NULL */
} prompt_source;

/* All of them, in order; without any the lines of standard input. Blank lines are left out. */
status prompts_read(arena *a, const prompt_source *from, asked **out, int *n);

/* Fills x->p: through the chat template where the trunk has one, unless the text is to be continued as it is (plain);
 * system: a turn in front, or NULL. */
status prompts_encode(session *s, const char *system, bool plain, asked *x);

/* A list of messages through the trunk's template, with the beginning of an answer. */
status prompts_chat(session *s, arena *a, const cJSON *messages, prompt *out);

/* Appends {"role", "content"} to a list. */
status prompts_say(cJSON *messages, const char *role, const char *content);

#endif
