/* recipe: one YAML file that says everything about a run, as a struct.
 *
 * What a recipe may say is described by tables alone: the general keys in recipe_keys.c, the options of
 * methods, sources, optimizers, objectives, routers and procedures in their own files. The latter come
 * in through a registry, so this reader knows none of them. */
#ifndef RECIPES_RECIPE_H
#define RECIPES_RECIPE_H

#include "core/arena.h"
#include "core/keys.h"
#include "recipes/yaml.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One named set of options. Groups: "method", "source", "optimizer", "objective", "router", "procedure",
 * each chosen by name; and "+data", "+optim", "+train": more keys for that part of every recipe. */
typedef struct option_set {
    const char      *group;
    const char      *name;
    const key_table *table; /* NULL: no options */
    const char      *help;  /* one sentence, or NULL */
} option_set;

typedef struct option_registry {
    const option_set *v;
    int               n;
} option_registry;

/* The row of a group and name, or NULL. */
const option_set *option_find(const option_registry *registry, const char *group, const char *name);

/* A choice from a group with the options that belong to it. */
typedef struct recipe_choice {
    const char       *name;    /* NULL: nothing chosen */
    const option_set *set;     /* row of the registry */
    void             *options; /* struct filled by set->table; NULL without a table */
} recipe_choice;

typedef struct recipe_source {
    recipe_choice source;
    double        weight; /* share of a mixture */
    const char   *task;   /* or NULL */
} recipe_source;

typedef struct recipe_template {
    bool        chat;
    const char *prompt, *target; /* both NULL: the source's own wording */
    const char *pair;            /* a second text that is read with the prompt, or NULL */
} recipe_template;

typedef struct recipe_data {
    int             n_train, n_test, n_prepare;
    recipe_source  *train, *test, *prepare; /* the latter: samples that modules' starts see; none: those of train */
    recipe_template wording; /* key `template` */
    int64_t         length, pack; /* tokens */
    const char     *overlong, *loss_on;
    bool            shuffle;
} recipe_data;

typedef struct recipe_module {
    recipe_choice method; /* nothing chosen: the folder in `load` says it */
    const char   *name;
    key_texts     at;
    const char   *load; /* folder of an adapter, or NULL */
    bool          train;
    int64_t       copies;
    key_texts     save, train_tokens; /* trained beside the sites */
    bool          save_tied;
} recipe_module;

typedef struct recipe_group {
    key_texts match;
    double    lr, weight_decay; /* the optimizer's own where the group says none */
} recipe_group;

typedef struct recipe_optim {
    recipe_choice optimizer;
    double        lr, weight_decay;
    const char   *schedule;
    double        warmup; /* as written: see recipe_warmup */
    double        min_lr, clip;
    int           n_groups;
    recipe_group *groups;
} recipe_optim;

typedef struct recipe_train {
    int64_t     steps, epochs;                           /* one of them is 0 */
    int64_t     batch_tokens, batch_samples, accumulate; /* two of them are 0 */
    int64_t     eval_every, save_every;                  /* steps; 0: at the end only */
    int64_t     keep;
    const char *select, *metric;
    int64_t     patience; /* evaluations; 0: never stops early */
    const char *recompute;
    int64_t     threads;  /* 0: as many as the machine has */
} recipe_train;

typedef struct recipe_router {
    recipe_choice router;
    key_texts     over; /* names of modules; none: all */
} recipe_router;

typedef struct recipe {
    const char    *file, *from; /* as given; from may be NULL */
    const char    *name;
    int64_t        seed;
    const char    *device, *precision, *base, *out; /* out NULL: runs/<name> */
    recipe_data    data;
    int            n_modules;
    recipe_module *modules;
    recipe_choice  objective, procedure;
    recipe_optim   optim;
    recipe_train   train;
    recipe_router  router;
    key_texts      together; /* paths, as seen from where the program runs */

    yaml_node *tree;        /* everything as resolved, defaults included */
    uint64_t   fingerprint; /* of all that can change the result: without name, out, save_every, keep,
                               threads, and eval_every where evaluations decide nothing */
    int           n_extra;
    recipe_choice *extra;   /* the "+part" sets, see recipe_options */
} recipe;

/* Reads a recipe with everything that it is built on (`from`), applies overrides ("optim.lr=1e-4",
 * "modules.main.rank=8", "modules.0.rank=8"; an empty value takes a key away), checks all of it and fills
 * the struct. Everything lies in the arena. A mapping of a later file is laid over the earlier one key by
 * key; a list, and a mapping that names another method, source, optimizer or the like, replaces it. */
status recipe_load(arena *a, const char *path, const key_texts *overrides,
                   const option_registry *registry, recipe **out);

/* The same recipe under the one in the file `over` (NULL: none), and with further overrides. */
status recipe_derive(arena *a, const recipe *r, const char *over, const key_texts *overrides,
                     const option_registry *registry, recipe **out);

/* The options of an extra set: recipe_options(r, "+optim", "schedule"). NULL: no such set. */
const void *recipe_options(const recipe *r, const char *group, const char *name);

/* Steps of warm-up in a run of `steps` steps: a share is rounded up. */
int64_t recipe_warmup(const recipe *r, int64_t steps);

/* Where a value comes from: "recipes/x.yaml:12", "command line", "default", into text[room]; NULL when the
 * recipe has no such key. Path as in overrides. */
const char *recipe_origin(const recipe *r, const char *path, char *text, size_t room);

/* The resolved recipe as YAML that recipe_load reads back to an equal recipe; each line ends with the
 * value's origin. In the arena / to a file. */
status recipe_text(arena *a, const recipe *r, bool origins, char **text);
status recipe_write(const recipe *r, const char *path);

/* The first value in which two recipes can give different results, in words ("optim.lr is 0.01, was
 * 0.02"); *text NULL: there is none. What the fingerprint leaves out is left out here too. */
status recipe_difference(arena *a, const recipe *was, const recipe *now, char **text);

/* JSON Schema (draft 2020-12) of the whole language, for editors. */
status schema_json(const option_registry *registry, FILE *out);

/* The registry as a readable table: all sets, or the keys of those called `name` (a part of the recipe,
 * "optim", too). An unknown name is STATUS_USAGE with the nearest one. */
status methods_print(const option_registry *registry, const char *name, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
