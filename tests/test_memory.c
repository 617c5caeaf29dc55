/* memory: what `plan` says is what a run takes
 * tests/run: alone, no asan, no device */
#include "tests/helpers.h"
#include "tests/with_trunk.h"

#include "core/linalg.h"
#include "core/log.h"
#include "core/memory_use.h"
#include "recipes/commands.h"
#include "recipes/registry.h"
#include "recipes/train.h"

#include <math.h>
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
static double planned(recipe *r)
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
    compare("modules=[{name: main, method: sparse_delta, at: '*', k: 0.05}]");
    if (linalg_available()) /* the quantised weights, expanded, are 8.7 MB */
        compare("modules=[{name: main, method: lora, at: 're:.*layers.0.mlp.*proj', init_lora_weights: loftq}]");
}
END_TEST

/* One weight of [384, 1024], decomposed exactly, in turns, by QR and of what quantising lost. */
START_TEST(a_start_takes_what_plan_says)
{
    static const struct {
        int init, niter;
    } cases[] = {{2, 0}, {2, 3}, {3, 0}, {5, 0}};
    static const char *const names[] = {"init_lora_weights", "pissa_niter", "rank", NULL};
    const peft_method       *lora = peft_find("lora");
    const char              *at = "down_proj";

    if (!linalg_available())
        SKIP("this build has no LAPACK");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const double values[] = {cases[i].init, cases[i].niter, 64};
        int64_t      before, peak;
        small        s;
        small_open_as(&s, "{\"model_type\": \"llama\", \"vocab_size\": 128, \"hidden_size\": 384, "
                      "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 4, "
                      "\"intermediate_size\": 1024, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000, "
                      "\"max_position_embeddings\": 64, \"tie_word_embeddings\": true}", 7);
        MUST(peft_add(s.p, "main", lora, small_options(&s, lora, names, values), &at, 1, true));
        const peft_start_cost c = peft_cost_of_start(s.p);
        ck_assert_int_eq(c.sites, 1);
        ck_assert(c.flops > 1e7 && c.all == 0);
        if (!memory_peak_reset())
            SKIP("the system does not reset the peak");
        memory_use(&before, NULL);
        MUST(peft_allocate(s.p, &s.tuned));
        memory_use(NULL, &peak);
        const double kept = 4.0 * (double)(s.p->size + s.p->fixed_size) + (double)peft_instead_bytes(s.p);
        const double took = (double)(peak - before) - kept, planned_bytes = (double)c.each;
        fprintf(stderr, "start %zu: planned %.1f MB, taken %.1f MB\n", i, planned_bytes / 1e6, took / 1e6);
        ck_assert(fabs(took - planned_bytes) < 1e6 + planned_bytes * 0.1);
        small_close(&s);
    }
}
END_TEST

TESTS(memory, a_run_takes_what_plan_says, a_start_takes_what_plan_says)
