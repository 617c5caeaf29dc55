/* answer_text: an answer's text while its tokens come: up to a stop string, and how much of it will stay. */
#ifndef RECIPES_ANSWER_TEXT_H
#define RECIPES_ANSWER_TEXT_H

#include "core/keys.h"
#include "recipes/session.h"

typedef struct answer_text {
    const char *text;
    size_t      length; /* up to the first stop string */
    size_t      sure;   /* so many bytes stay as they are whatever comes: whole characters, and no beginning of a stop
                           string at their end */
    bool        stopped;
} answer_text;

/* Of n tokens, in the arena. stops: texts that end an answer and are no part of it. */
status answer_text_of(const session *s, arena *a, const int32_t *ids, int64_t n, const key_texts *stops,
                      answer_text *out);

#endif
