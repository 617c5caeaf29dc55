/* demo: a trunk and texts without a network */
#include "recipes/demo.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

#include <math.h>
#include <string.h>

/* What is learnt; each fact is put in two ways. */
static const struct {
    const char *animal, *says, *young, *home;
} facts[] = {
    {"cat", "meow", "kitten", "house"},    {"dog", "woof", "puppy", "kennel"},
    {"cow", "moo", "calf", "byre"},        {"sheep", "baa", "lamb", "fold"},
    {"duck", "quack", "duckling", "pond"}, {"goose", "honk", "gosling", "lake"},
    {"hen", "cluck", "chick", "coop"},     {"horse", "neigh", "foal", "stable"},
    {"pig", "oink", "piglet", "sty"},      {"owl", "hoot", "owlet", "tree"},
    {"frog", "croak", "tadpole", "marsh"}, {"bee", "buzz", "larva", "hive"},
    {"lion", "roar", "cub", "savanna"},    {"wolf", "howl", "whelp", "den"},
    {"goat", "bleat", "kid", "shed"},      {"snake", "hiss", "snakelet", "burrow"},
};

static const struct {
    const char *before, *after;
} asked[] = {
    {"What does a", "say?"},      {"The sound of a", "is"},    {"A young", "is a"},
    {"The child of a", "is a"}, {"Where does a", "live?"}, {"The home of a", "is a"},
};

static const char trunk[] = "{\n"
                            "  \"architectures\": [\"LlamaForCausalLM\"],\n"
                            "  \"model_type\": \"llama\",\n"
                            "  \"vocab_size\": 320,\n"
                            "  \"hidden_size\": 64,\n"
                            "  \"intermediate_size\": 128,\n"
                            "  \"num_hidden_layers\": 2,\n"
                            "  \"num_attention_heads\": 4,\n"
                            "  \"num_key_value_heads\": 2,\n"
                            "  \"max_position_embeddings\": 256,\n"
                            "  \"rms_norm_eps\": 1e-5,\n"
                            "  \"rope_theta\": 10000.0,\n"
                            "  \"initializer_range\": 0.2,\n"
                            "  \"hidden_act\": \"silu\",\n"
                            "  \"tie_word_embeddings\": true,\n"
                            "  \"bos_token_id\": 1,\n"
                            "  \"eos_token_id\": 2\n"
                            "}\n";

/* ---- files --------------------------------------------------------------------------------------------- */

/* Every fifth sentence is for testing. */
static status write_texts(const char *path, bool test)
{
    file_writer w;
    int         number = 0;

    TRY(file_writer_open(&w, path));
    for (size_t i = 0; i < COUNT_OF(facts); i++) {
        const char *const targets[3] = {facts[i].says, facts[i].young, facts[i].home};
        for (size_t k = 0; k < COUNT_OF(asked); k++, number++)
            if ((number % 5 == 4) == test)
                file_printf(&w, "{\"prompt\": \"%s %s %s\", \"target\": \"%s\"}\n", asked[k].before,
                            facts[i].animal, asked[k].after, targets[k / 2]);
    }
    return file_writer_close(&w, true);
}

typedef struct place {
    char *trunk, *train, *test;
} place;

static status write_files(arena *a, place *p)
{
    char *cache, *folder;

    TRY(cache_folder(a, &cache));
    folder = path_join(a, cache, "offline-demo");
    if (!folder)
        return STATUS_MEMORY;
    TRY(folder_make(folder));
    p->trunk = path_join(a, folder, "config.json");
    p->train = path_join(a, folder, "train.jsonl");
    p->test = path_join(a, folder, "test.jsonl");
    if (!p->trunk || !p->train || !p->test)
        return STATUS_MEMORY;
    TRY(file_replace(p->trunk, trunk, sizeof trunk - 1));
    TRY(write_texts(p->train, false));
    return write_texts(p->test, true);
}

/* ---- overrides ------------------------------------------------------------------------------------------- */

/* "runs/offline-demo", "runs/offline-demo-2" ...: the first that is not there, or the one before it. */
static char *choose_folder(arena *a, bool resume)
{
    char *path = arena_printf(a, "runs/offline-demo"), *last = path;

    for (int i = 2; path && path_exists(path); i++) {
        last = path;
        path = arena_printf(a, "runs/offline-demo-%d", i);
    }
    return resume ? last : path;
}

static const char *quoted(arena *a, const char *text)
{
    return json_quote(a, text, strlen(text));
}

status demo_overrides(arena *a, bool resume, const key_texts *more, key_texts *out)
{
    const char **v;
    place        p;
    int          n = 0;

    TRY(write_files(a, &p));
    const char *folder = choose_folder(a, resume), *base = arena_printf(a, "random:%s", p.trunk);
    const char *train = quoted(a, p.train), *test = quoted(a, p.test);
    TRY_TAKE(v, a, more->n + 8);
    if (!folder || !base || !train || !test)
        return STATUS_MEMORY;
    v[n++] = "name=offline-demo";
    v[n++] = arena_printf(a, "out=%s", folder);
    v[n++] = arena_printf(a, "base=%s", quoted(a, base));
    v[n++] = arena_printf(a, "data={train: {source: jsonl, path: %s}, test: {source: jsonl, path: %s}, "
                          "template: {prompt: \"{prompt}\", target: \" {target}\"}, length: 64, pack: 256}",
                          train, test);
    v[n++] = "optim.lr=1e-2";
    v[n++] = "train={steps: 40, batch_tokens: 512, eval_every: 20, save_every: 20, keep: 2}";
    for (int i = 0; i < n; i++)
        if (!v[i])
            return STATUS_MEMORY;
    for (int i = 0; i < more->n; i++)
        v[n++] = more->v[i];
    *out = (key_texts){.n = n, .v = v};
    return STATUS_OK;
}

/* ---- what is said ------------------------------------------------------------------------------------------ */

void demo_announce(const recipe *r)
{
    log_info("This is the offline demonstration, not %s itself: modules and optimizer are the recipe's,\n"
             "but the trunk is small and random, and it learns a few sentences about animals.",
             r->file);
}

status demo_conclude(arena *a, const recipe *r)
{
    char  *folder = r->out ? arena_printf(a, "%s", r->out) : arena_printf(a, "runs/%s", r->name);
    char  *path = folder ? path_join(a, folder, "metrics.jsonl") : NULL, *text, *next;
    size_t length;
    double first = NAN, last = NAN;

    if (!path)
        return STATUS_MEMORY;
    TRY(file_read(a, path, 1 << 20, &text, &length));
    for (char *line = text; *line; line = next) {
        const size_t n = strcspn(line, "\n");
        cJSON       *json;
        next = line + n + (line[n] == '\n');
        TRY(json_parse(line, n, path, &json));
        const cJSON *loss = cJSON_GetObjectItemCaseSensitive(json, "eval_loss");
        if (cJSON_IsNumber(loss)) {
            first = isnan(first) ? loss->valuedouble : first;
            last = loss->valuedouble;
        }
        cJSON_Delete(json);
    }
    if (last < first)
        log_info("\nTraining works here: the loss on sentences that it has not seen fell from %.2f to %.2f.",
                 first, last);
    else
        log_warn("the demonstration's loss on the test data did not fall: it was %.2f and is %.2f", first,
                 last);
    return STATUS_OK;
}
