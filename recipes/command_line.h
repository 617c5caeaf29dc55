/* command_line: arguments read by tables, one a command, and the help made of the same tables.
 *
 * Knows nothing of what the commands do: recipes/main.c holds the tables. Options may stand before, between
 * and behind the other arguments, as `--name value` or `--name=value`; behind `--` nothing is an option. */
#ifndef RECIPES_COMMAND_LINE_H
#define RECIPES_COMMAND_LINE_H

#include "core/arena.h"
#include "core/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cli_kind {
    CLI_FLAG,  /* bool; no value */
    CLI_TEXT,  /* const char * */
    CLI_TEXTS, /* key_texts; the option may be given again and again */
    CLI_INT,   /* int64_t in lo..hi */
    CLI_REAL   /* double in lo..hi */
} cli_kind;

typedef struct cli_option {
    const char *name; /* "--resume" */
    cli_kind    kind;
    size_t      offset; /* into the struct that cli_read fills */
    const char *value;  /* name of the value in help, "FILE"; NULL: a flag */
    double      lo, hi;
    bool        needed;
    const char *help;
} cli_option;

struct call; /* what a command gets: the caller's own */

typedef struct cli_command {
    const char       *name;
    status          (*run)(struct call *c, FILE *out); /* not called here */
    const char       *arguments; /* "RECIPE [KEY=VALUE...]" */
    int               least, most; /* how many of them */
    const char       *help;        /* one line, no full stop */
    const char       *more;        /* further lines, or NULL */
    const char       *examples;    /* lines, each a call and perhaps a remark */
    const cli_option *options;
    int               n_options;
} cli_command;

typedef struct cli_program {
    const char        *name, *help, *footer;
    const cli_command *commands;
    int                n_commands;
    const cli_option  *options; /* of every command */
    int                n_options;
} cli_program;

/* Reads the arguments of a command (those behind its name) into `settings`, which holds the defaults, and
 * the rest, in order, into *rest. Everything lies in the arena or in argv. Wrong usage is STATUS_USAGE with
 * the nearest name. When one of the flags `until` points into settings is set (help), nothing is required. */
status cli_read(arena *a, const cli_program *p, const cli_command *c, int argc, char *const *argv,
                void *settings, const bool *until, key_texts *rest);

/* The command called `name`; STATUS_USAGE with the nearest one. */
status cli_find(arena *a, const cli_program *p, const char *name, const cli_command **out);

/* The help of the program, and of one command. */
void cli_help(const cli_program *p, FILE *out);
void cli_help_command(const cli_program *p, const cli_command *c, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
