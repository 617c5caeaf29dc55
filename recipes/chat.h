/* chat: a conversation with the model, a line of the user's after the other. */
#ifndef RECIPES_CHAT_H
#define RECIPES_CHAT_H

#include "recipes/commands.h"
#include "recipes/session.h"

/* Reads lines of `in` until it ends and answers each, printed while it is made. What the user says and the model
 * answers goes through the trunk's chat template; the line "/new" begins another conversation. SIGINT stops an answer,
 * which stays a part of the conversation as far as it came. The session holds trunk and adapter. */
status chat_run(session *s, const generate_request *q, FILE *in, FILE *out);

#endif
