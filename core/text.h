/* text: small helpers for names and messages */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Glob with '*' only: the whole text must match. */
bool text_matches(const char *pattern, const char *text);

/* True when text ends with `end`. */
bool text_ends(const char *text, const char *end);

/* The place of a text among n, -1: it is none of them. */
int text_index(const char *text, const char *const *names, int n);

/* Sorts n texts by bytes and keeps equal ones once; how many are left. */
int64_t text_sort(const char **v, int64_t n);

/* The place of a text among n sorted ones, -1: it is none of them. */
int64_t text_sorted_index(const char *text, const char *const *sorted, int64_t n);

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; at most `limit` + 1. */
int text_distance(const char *a, const char *b, int limit);

/* The name nearest to `wrong`, or NULL when none is within two edits or a third of its length. */
const char *text_nearest(const char *wrong, const char *const *names, int n);

#ifdef __cplusplus
}
#endif
#endif
