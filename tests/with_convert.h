/* with_convert: a folder of the test's own, and `convert` in it, for tests */
#ifndef TESTS_WITH_CONVERT_H
#define TESTS_WITH_CONVERT_H

#include "tests/helpers.h"

#include "recipes/commands.h"

/* Of the test that runs, between convert_begin and convert_end. */
extern arena setup;
extern char  folder[64];

void convert_begin(void);
void convert_end(void);

/* A path in the folder. */
const char *here(const char *name);

status try_convert(const char *from, const char *to, const char *type, const char *base, double shard);

/* The path in the folder of what `from` becomes. */
const char *converted(const char *from, const char *to, const char *type);

#endif
