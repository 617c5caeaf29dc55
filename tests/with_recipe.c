/* with_recipe: made-up options in the shape of the real ones */
#include "tests/with_recipe.h"

static const key lora_rows[] = {
    {.name = "rank", .kind = KEY_INT, .offset = offsetof(fake_lora, rank), .preset = "8", .lo = 1,
     .hi = 65536, .help = "Rank of the update."},
    {.name = "alpha", .kind = KEY_REAL, .offset = offsetof(fake_lora, alpha), .preset = "8",
     .help = "Scale of the update, times 1 / rank."},
    {.name = "rslora", .kind = KEY_BOOL, .offset = offsetof(fake_lora, rslora), .preset = "no",
     .help = "Scale by 1 / sqrt(rank)."},
    {.name = "dropout", .kind = KEY_REAL, .offset = offsetof(fake_lora, dropout), .preset = "0",
     .lo = 0, .hi = 1, .help = "Share of the inputs that are dropped."},
    {.name = "bias", .kind = KEY_CHOICE, .offset = offsetof(fake_lora, bias), .preset = "none",
     .choices = "none|all|lora_only", .help = "Which biases are trained."},
    {.name = "rank_pattern", .kind = KEY_MAP, .offset = offsetof(fake_lora, rank_pattern), .lo = 1,
     .hi = 65536, .whole = true, .help = "Other ranks for some sites."},
    {.name = "alpha_pattern", .kind = KEY_MAP, .offset = offsetof(fake_lora, alpha_pattern),
     .help = "Other scales for some sites."},
};

static const key debian_rows[] = {
    {.name = "task", .kind = KEY_CHOICE, .offset = offsetof(fake_debian, task),
     .preset = "synopsis", .choices = "synopsis|section|translation", .help = "What is asked."},
    {.name = "split", .kind = KEY_CHOICE, .offset = offsetof(fake_debian, split),
     .preset = "train", .choices = "train|validation|test|all", .help = "Which packages."},
    {.name = "limit", .kind = KEY_INT, .offset = offsetof(fake_debian, limit), .preset = "0",
     .lo = 0, .hi = 1e9, .unit = "records", .help = "Records at most; 0: all."},
    {.name = "languages", .kind = KEY_TEXTS, .offset = offsetof(fake_debian, languages),
     .preset = "en", .help = "Languages of the texts."},
};

static const key jsonl_rows[] = {
    {.name = "path", .kind = KEY_TEXT, .offset = 0, .preset = "!", .help = "The file."},
};

static const key adamw_rows[] = {
    {.name = "lr", .kind = KEY_REAL, .offset = offsetof(fake_adamw, lr), .preset = "1e-3",
     .lo = 0, .hi = 1e6, .help = "Learning rate."},
    {.name = "betas", .kind = KEY_TEXTS, .offset = offsetof(fake_adamw, betas),
     .preset = "[0.9, 0.999]", .help = "Decay of the moments."},
    {.name = "eps", .kind = KEY_REAL, .offset = offsetof(fake_adamw, eps), .preset = "1e-8",
     .lo = 0, .hi = 1, .help = "Added to the root."},
    {.name = "weight_decay", .kind = KEY_REAL, .offset = offsetof(fake_adamw, weight_decay),
     .preset = "0.01", .lo = 0, .hi = 1e3, .help = "Pull to zero."},
};

static const key average_rows[] = {
    {.name = "average", .kind = KEY_CHOICE, .offset = offsetof(fake_average, average),
     .preset = "none", .choices = "none|ema", .help = "Running average."},
    {.name = "warmup", .kind = KEY_REAL, .offset = offsetof(fake_average, warmup), .preset = "0",
     .lo = 0, .hi = 1e12, .help = "The general key again."},
};

static const key answer_rows[] = {
    {.name = "answers", .kind = KEY_INT, .offset = offsetof(fake_answers, answers), .preset = "0",
     .lo = 0, .hi = 1e6, .help = "Prompts that are answered."},
    {.name = "show", .kind = KEY_INT, .offset = offsetof(fake_answers, show), .preset = "5", .lo = 0,
     .hi = 1e6, .help = "Answers that are printed."},
    {.name = "scores", .kind = KEY_TEXTS, .offset = offsetof(fake_answers, scores), .preset = "[bleu]",
     .choices = "bleu|chrf|rouge", .help = "What they are scored with."},
};

static const key classify_rows[] = {
    {.name = "classes", .kind = KEY_INT, .offset = offsetof(fake_classify, classes),
     .preset = "!", .lo = 2, .hi = 1e6, .help = "Number of classes."},
};

static const key_table lora = KEY_TABLE("lora", lora_rows, fake_lora);
static const key_table debian = KEY_TABLE("debian", debian_rows, fake_debian);
static const key_table jsonl = {.what = "jsonl", .keys = jsonl_rows, .n = 1, .size = sizeof(char *)};
static const key_table adamw = KEY_TABLE("adamw", adamw_rows, fake_adamw);
static const key_table average = KEY_TABLE("average", average_rows, fake_average);
static const key_table answers = KEY_TABLE("train", answer_rows, fake_answers);
static const key_table classify = KEY_TABLE("classify", classify_rows, fake_classify);

static const option_set sets[] = {
    {.group = "method", .name = "lora", .table = &lora, .help = "Low-rank update."},
    {.group = "method", .name = "scaling", .help = "One factor a channel."},
    {.group = "source", .name = "debian", .table = &debian, .help = "Package descriptions."},
    {.group = "source", .name = "jsonl", .table = &jsonl, .help = "JSON lines."},
    {.group = "optimizer", .name = "adamw", .table = &adamw, .help = "Adam, decoupled decay."},
    {.group = "optimizer", .name = "sgd", .help = "Plain gradient steps."},
    {.group = "objective", .name = "causal_lm", .help = "The next token."},
    {.group = "objective", .name = "classify", .table = &classify, .help = "One of n classes."},
    {.group = "router", .name = "mean", .help = "All, averaged."},
    {.group = "+optim", .name = "average", .table = &average, .help = "Average of the values."},
    {.group = "+train", .name = "answers", .table = &answers, .help = "Answers to test prompts."},
};

const option_registry fake_registry = {.v = sets, .n = sizeof sets / sizeof sets[0]};
