/* jinja_parse: what the two files of the parser share. Internal to data/. */
#ifndef DATA_JINJA_PARSE_H
#define DATA_JINJA_PARSE_H

#include "data/jinja.h"

/* The token at hand and the one behind it; mark: messages name the one at hand. */
const jtoken *jparse_here(const jinja *j);
const jtoken *jparse_ahead(const jinja *j);
void jparse_mark(jinja *j);

/* A node at the place of the token at hand; NULL after a failure. */
jnode *jparse_node(jinja *j, jnode_kind kind);
#define TRY_NODE(to, j, kind)                                                                      \
    do {                                                                                           \
        if (!((to) = jparse_node(j, kind)))                                                        \
            return STATUS_MEMORY;                                                                  \
    } while (0)

/* Whether a token, or the one at hand, is this; take: and steps over it; need: fails otherwise. */
bool jparse_is(const jtoken *t, jtoken_kind kind, const char *text);
bool jparse_is_op(const jinja *j, const char *text);
bool jparse_is_word(const jinja *j, const char *text);
bool jparse_take_op(jinja *j, const char *text);
bool jparse_take_word(jinja *j, const char *text);
status jparse_need_op(jinja *j, const char *text);
status jparse_need_word(jinja *j, const char *text);
status jparse_need_kind(jinja *j, jtoken_kind kind, const char *what);

/* Fails: what is at hand, and what must be. */
status jparse_expected(jinja *j, const char *what);

/* One level deeper; who enters subtracts one from j->depth again. */
status jparse_enter(jinja *j);

/* An expression; logic: without "a if b else c" (level 0). */
status jparse_expression(jinja *j, jnode **out);
status jparse_logic(jinja *j, int level, jnode **out);
#endif
