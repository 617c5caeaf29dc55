/* command_line: options by tables */
#include "recipes/command_line.h"

#include "recipes/nearest.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reading {
    arena             *a;
    const cli_program *p;
    const cli_command *c;
    int                argc, i; /* i: the argument that is looked at */
    char *const       *argv;
    char              *settings;
    bool              *given; /* of the command's options, then of the program's */
    const char       **rest;
    int                n_rest;
} reading;

static int count_options(const reading *r)
{
    return r->c->n_options + r->p->n_options;
}

static const cli_option *option_at(const reading *r, int i)
{
    return i < r->c->n_options ? &r->c->options[i] : &r->p->options[i - r->c->n_options];
}

/* Adds where to read on. */
static status see_help(const reading *r, status s)
{
    return fail_in(s, "see: %s %s --help", r->p->name, r->c->name);
}

/* ---- names ----------------------------------------------------------------------------------------- */

static status unknown_option(const reading *r, const char *name)
{
    const char **names;
    const int    n = count_options(r);

    TRY_TAKE(names, r->a, n);
    for (int i = 0; i < n; i++)
        names[i] = option_at(r, i)->name;
    const char *hint = name_hint(r->a, name, names, n);
    return see_help(r, fail(STATUS_USAGE, "%s: there is no option '%.100s'; %s", r->c->name, name,
                            hint ? hint : ""));
}

/* The option of an argument "--name" or "--name=value": its number, or -1. */
static int find_option(const reading *r, const char *argument)
{
    const size_t n = strcspn(argument, "=");

    for (int i = 0; i < count_options(r); i++) {
        const char *name = option_at(r, i)->name;
        if (strlen(name) == n && strncmp(name, argument, n) == 0)
            return i;
    }
    return -1;
}

status cli_find(arena *a, const cli_program *p, const char *name, const cli_command **out)
{
    const char **names;

    TRY_TAKE(names, a, p->n_commands);
    for (int i = 0; i < p->n_commands; i++) {
        names[i] = p->commands[i].name;
        *out = &p->commands[i];
        if (strcmp(name, names[i]) == 0)
            return STATUS_OK;
    }
    const char *hint = name_hint(a, name, names, p->n_commands);
    fail(STATUS_USAGE, "there is no command '%.100s'; %s", name, hint ? hint : "");
    return fail_in(STATUS_USAGE, "see: %s --help", p->name);
}

/* ---- values ---------------------------------------------------------------------------------------- */

static status read_number(const reading *r, const cli_option *o, const char *text, void *to)
{
    const bool whole = o->kind == CLI_INT;
    char      *end;

    errno = 0;
    const long long i = whole ? strtoll(text, &end, 10) : 0;
    const double    x = whole ? (double)i : strtod(text, &end);
    if (end == text || *end || errno == ERANGE || !(x >= o->lo && x <= o->hi))
        return see_help(r, fail(STATUS_USAGE, "%s: %s is '%.60s', must be a %snumber in %.15g..%.15g",
                                r->c->name, o->name, text, whole ? "whole " : "", o->lo, o->hi));
    if (whole)
        *(int64_t *)to = i;
    else
        *(double *)to = x;
    return STATUS_OK;
}

static status add_text(const reading *r, key_texts *list, const char *text)
{
    const char **v;

    TRY_TAKE(v, r->a, list->n + 1);
    for (int i = 0; i < list->n; i++)
        v[i] = list->v[i];
    v[list->n] = text;
    *list = (key_texts){.n = list->n + 1, .v = v};
    return STATUS_OK;
}

/* What follows "=" or, without one, the next argument. */
static status take_value(reading *r, const cli_option *o, const char *argument, const char **text)
{
    const char *equals = strchr(argument, '=');

    if (equals)
        *text = equals + 1;
    else if (r->i + 1 >= r->argc)
        return see_help(r, fail(STATUS_USAGE, "%s: %s needs a value: %s %s", r->c->name, o->name, o->name,
                                o->value));
    else {
        *text = r->argv[++r->i];
        if (strncmp(*text, "--", 2) == 0)
            return see_help(r, fail(STATUS_USAGE, "%s: %s needs a value, and '%.60s' looks like an option; "
                                    "if it is meant, write %s=%.60s",
                                    r->c->name, o->name, *text, o->name, *text));
    }
    return STATUS_OK;
}

static status read_option(reading *r, const char *argument)
{
    const int   i = find_option(r, argument);
    const char *name = arena_string(r->a, argument, strcspn(argument, "=")), *text = NULL;

    if (i < 0)
        return name ? unknown_option(r, name) : STATUS_MEMORY;
    const cli_option *o = option_at(r, i);
    void             *to = r->settings + o->offset;
    if (r->given[i] && o->kind != CLI_TEXTS && o->kind != CLI_FLAG)
        return see_help(r, fail(STATUS_USAGE, "%s: %s is given twice", r->c->name, o->name));
    r->given[i] = true;
    if (o->kind == CLI_FLAG) {
        if (strchr(argument, '='))
            return see_help(r, fail(STATUS_USAGE, "%s: %s takes no value", r->c->name, o->name));
        *(bool *)to = true;
        return STATUS_OK;
    }
    TRY(take_value(r, o, argument, &text));
    if (o->kind == CLI_TEXTS)
        return add_text(r, to, text);
    if (o->kind != CLI_TEXT)
        return read_number(r, o, text, to);
    if (!*text)
        return see_help(r, fail(STATUS_USAGE, "%s: %s is empty, must be %s", r->c->name, o->name, o->value));
    *(const char **)to = text;
    return STATUS_OK;
}

/* ---- the whole line ---------------------------------------------------------------------------------- */

static status check_complete(const reading *r)
{
    const cli_command *c = r->c;

    for (int i = 0; i < count_options(r); i++)
        if (option_at(r, i)->needed && !r->given[i])
            return see_help(r, fail(STATUS_USAGE, "%s: %s %s is missing", c->name, option_at(r, i)->name,
                                    option_at(r, i)->value));
    if (r->n_rest < c->least)
        return see_help(r, fail(STATUS_USAGE, "%s: too few arguments, must be: %s %s %s", c->name, r->p->name,
                                c->name, c->arguments));
    if (r->n_rest > c->most)
        return see_help(r, fail(STATUS_USAGE, "%s: '%.100s' is one argument too many, must be: %s %s%s%s",
                                c->name, r->rest[c->most], r->p->name, c->name, *c->arguments ? " " : "",
                                c->arguments));
    return STATUS_OK;
}

status cli_read(arena *a, const cli_program *p, const cli_command *c, int argc, char *const *argv,
                void *settings, const bool *until, key_texts *rest)
{
    reading r = {.a = a, .p = p, .c = c, .argc = argc, .argv = argv, .settings = settings};
    bool    only_arguments = false;

    TRY_TAKE(r.given, a, count_options(&r));
    memset(r.given, 0, (size_t)count_options(&r) * sizeof *r.given);
    TRY_TAKE(r.rest, a, argc);
    for (; r.i < argc; r.i++) {
        const char *argument = argv[r.i];
        if (!only_arguments && strcmp(argument, "--") == 0)
            only_arguments = true;
        else if (!only_arguments && argument[0] == '-' && argument[1])
            TRY(read_option(&r, strcmp(argument, "-h") == 0 ? "--help" : argument));
        else
            r.rest[r.n_rest++] = argument;
    }
    *rest = (key_texts){.n = r.n_rest, .v = r.rest};
    return until && *until ? STATUS_OK : check_complete(&r);
}

/* ---- help -------------------------------------------------------------------------------------------- */

static void print_options(const cli_option *options, int n, FILE *out)
{
    for (int i = 0; i < n; i++) {
        const cli_option *o = &options[i];
        char              left[64];
        snprintf(left, sizeof left, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
        fprintf(out, "  %-22s %s%s\n", left, o->help, o->kind == CLI_TEXTS ? " (may be repeated)" : "");
    }
}

/* Each line of a text behind two spaces. */
static void print_lines(const char *text, FILE *out)
{
    while (*text) {
        const size_t n = strcspn(text, "\n");
        fprintf(out, "  %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

void cli_help_command(const cli_program *p, const cli_command *c, FILE *out)
{
    fprintf(out, "usage: %s %s%s%s%s\n\n%s.\n", p->name, c->name, c->n_options ? " [OPTION...]" : "",
            *c->arguments ? " " : "", c->arguments, c->help);
    if (c->more)
        fprintf(out, "%s\n", c->more);
    fputs("\noptions\n", out);
    print_options(c->options, c->n_options, out);
    print_options(p->options, p->n_options, out);
    fputs("\nexamples\n", out);
    print_lines(c->examples, out);
}

void cli_help(const cli_program *p, FILE *out)
{
    fprintf(out, "usage: %s COMMAND [ARGUMENT...]\n\n%s\n\ncommands\n", p->name, p->help);
    for (int i = 0; i < p->n_commands; i++)
        fprintf(out, "  %-10s %s\n", p->commands[i].name, p->commands[i].help);
    fputs("\noptions of every command\n", out);
    print_options(p->options, p->n_options, out);
    fprintf(out, "\n%s\n", p->footer);
}
