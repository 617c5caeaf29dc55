/* memory: what `plan` says is what a run takes
 * tests/run: alone, no asan, no device */
#include "tests/helpers.h"

#include "core/log.h"
#include "core/memory_use.h"
#include "recipes/commands.h"
#include "recipes/registry.h"
#include "recipes/train.h"

#include <sys/wait.h>
#include <unistd.h>

enum { LARGEST_OVERRIDES = 16 };

/* A llama of 40 million values: the parts of the bill are of a size that can be told apart. */
static const char *const trunk =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 512,"
    " \"intermediate_size\": 1408, \"num_hidden_layers\": 8, \"num_attention_heads\": 8,"
    " \"num_key_value_heads\": 4, \"vocab_size\": 16384, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000,"
    " \"max_position_embeddings\": 2048, \"tie_word_embeddings\": true}";

static char folder[64];

static void put(const char *name, const char *text, int times)
{
    char  path[128];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < times; i++)
        fprintf(f, "%s\n", text);
    fclose(f);
}

static status load(arena *a, const char *more, recipe **r)
{
    char        base[160], data[160], out[160];
    const char *v[LARGEST_OVERRIDES] = {base, data, out, "train.steps=3", "train.eval_every=1",
                                        "data.length=512", "data.pack=512", "train.batch_tokens=1024",
                                        "modules.0.rank=16", more};
    key_texts   list = {.v = v, .n = more ? 10 : 9};

    snprintf(base, sizeof base, "base=random:%s/trunk.json", folder);
    snprintf(data, sizeof data, "data.train.path=%s/data.jsonl", folder);
    snprintf(out, sizeof out, "out=%s/run", folder);
    return recipe_load(a, SOURCE_FOLDER "/recipes/tiny.yaml", &list, registry(), r);
}

/* The total of `plan --json`. */
static double planned(const recipe *r)
{
    char  *text = NULL;
    size_t n = 0;
    FILE  *out = open_memstream(&text, &n);

    MUST(command_plan(r, true, out));
    fclose(out);
    const char *total = strstr(text, "\"total\": ");
    ck_assert_ptr_nonnull(total);
    const double bytes = strtod(total + strlen("\"total\": "), NULL);
    free(text);
    return bytes;
}

/* Runs in a process of its own; prints idle and peak bytes to `to`. */
static void run_child(const char *more, int to)
{
    arena         a;
    recipe       *r;
    int64_t       numbers[2] = {0};
    train_options o = {0};

    memory_use(&numbers[0], NULL);
    if (arena_open(&a, "setup", (size_t)1 << 28) != STATUS_OK || load(&a, more, &r) != STATUS_OK ||
        train_run(r, &o) != STATUS_OK) {
        fprintf(stderr, "%s\n", status_text());
        _exit(1);
    }
    memory_use(NULL, &numbers[1]);
    _exit(write(to, numbers, sizeof numbers) != sizeof numbers);
}

static void compare(const char *more)
{
    arena   a;
    recipe *r;
    int     ends[2], code;
    int64_t numbers[2];

    MUST(arena_open(&a, "setup", (size_t)1 << 28));
    MUST(load(&a, more, &r));
    const double plan = planned(r);
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0)
        run_child(more, ends[1]);
    ck_assert_int_eq(waitpid(child, &code, 0), child);
    ck_assert_int_eq(code, 0);
    ck_assert_int_eq(read(ends[0], numbers, sizeof numbers), sizeof numbers);
    close(ends[0]), close(ends[1]);
    const double grown = (double)(numbers[1] - numbers[0]);
    const double may = 0.02 * plan > 8e6 ? 0.02 * plan : 8e6;
    fprintf(stderr, "%s: planned %.1f MB, taken %.1f MB\n", more ? more : "as it is", plan / 1e6, grown / 1e6);
    ck_assert_msg(grown - plan < may && plan - grown < may,
                  "%s: planned %.1f MB, taken %.1f MB, may differ by %.1f", more ? more : "as it is",
                  plan / 1e6, grown / 1e6, may / 1e6);
    arena_close(&a);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s/run", folder);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(a_run_takes_what_plan_says)
{
    log_set_level(LOG_QUIET);
    test_folder(folder);
    put("trunk.json", trunk, 1);
    /* short samples fill a micro-batch to its last rows */
    put("data.jsonl", "{\"prompt\": \"wood\", \"target\": \"stays.\"}", 600);
    compare(NULL);
    compare("train.recompute=block");
    compare("data.pack=1024");
    compare("optim.name=sgd");
}
END_TEST

TESTS(memory, a_run_takes_what_plan_says)
