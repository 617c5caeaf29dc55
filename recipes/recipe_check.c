/* recipe_check: what no single key can say */
#include "recipes/keys_read.h"
#include "recipes/nearest.h"
#include "recipes/recipe_keys.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The node of a path, or the whole recipe when there is none: a place for a message. */
static const yaml_node *at(arena *a, const recipe *r, const char *path)
{
    yaml_node *n = NULL;

    return recipe_tree_find(a, r->tree, path, &n) == STATUS_OK && n ? n : r->tree;
}

static const yaml_node *at_module(arena *a, const recipe *r, int i, const char *name)
{
    const char *path = arena_printf(a, "modules.%d%s%s", i, *name ? "." : "", name);

    return path ? at(a, r, path) : r->tree;
}

static status check_modules(arena *a, const recipe *r)
{
    for (int i = 0; i < r->n_modules; i++) {
        const recipe_module *m = &r->modules[i];
        for (int j = 0; j < i; j++)
            if (strcmp(m->name, r->modules[j].name) == 0)
                return fail_at(at_module(a, r, i, ""),
                               "modules.%d and modules.%d are both called '%s'; give each its own "
                               "name",
                               j, i, m->name);
        if (!m->load && m->at.n == 0)
            return fail_at(at_module(a, r, i, ""),
                           "modules.%d (%s) needs the key 'at': the sites it sits on, for example "
                           "all-linear",
                           i, m->name);
    }
    return STATUS_OK;
}

static status check_router(arena *a, const recipe *r)
{
    const char **names;

    TRY_TAKE(names, a, r->n_modules);
    for (int i = 0; i < r->n_modules; i++)
        names[i] = r->modules[i].name;
    for (int i = 0; i < r->router.over.n; i++) {
        int found = 0;
        for (int j = 0; j < r->n_modules; j++)
            found |= strcmp(names[j], r->router.over.v[i]) == 0;
        if (found)
            continue;
        const char *hint = name_hint(a, r->router.over.v[i], names, r->n_modules);
        return fail_at(at(a, r, "router.over"), "router.over: there is no module '%s'; %s",
                       r->router.over.v[i], hint ? hint : "");
    }
    return STATUS_OK;
}

/* Of the sources of a list either all name a task, or none. */
static status check_tasks(arena *a, const recipe *r, const char *where, const recipe_source *v, int n)
{
    int named = 0;

    for (int i = 0; i < n; i++)
        named += v[i].task != NULL;
    if (named > 0 && named < n)
        return fail_at(at(a, r, where), "%s: %d of %d sources have a task, all or none must", where, named, n);
    return STATUS_OK;
}

static status check_data(arena *a, const recipe *r)
{
    double weights = 0;

    if (r->data.n_train == 0)
        return fail_at(at(a, r, "data"), "data needs the key 'train': the source to learn from");
    for (int i = 0; i < r->data.n_train; i++)
        weights += r->data.train[i].weight;
    if (weights == 0)
        return fail_at(at(a, r, "data.train"), "data.train: all weights are 0, one must not be");
    TRY(check_tasks(a, r, "data.train", r->data.train, r->data.n_train));
    TRY(check_tasks(a, r, "data.test", r->data.test, r->data.n_test));
    TRY(check_tasks(a, r, "data.prepare", r->data.prepare, r->data.n_prepare));
    if (r->data.length > r->data.pack)
        return fail_at(at(a, r, "data.pack"),
                       "data.length is %" PRId64 ", must be at most data.pack, which is %" PRId64
                       " tokens",
                       r->data.length, r->data.pack);
    return STATUS_OK;
}

static status check_train(arena *a, const recipe *r)
{
    const recipe_train *t = &r->train;
    const int sizes = (t->batch_tokens > 0) + (t->batch_samples > 0) + (t->accumulate > 0);
    yaml_node *steps = NULL; /* 0 steps are a length too */

    TRY(recipe_tree_find(a, r->tree, "train.steps", &steps));
    if ((steps != NULL) + (t->epochs > 0) != 1)
        return fail_at(at(a, r, "train"), "train needs one of steps and epochs, has %s",
                       steps ? "both" : "none");
    if (sizes != 1)
        return fail_at(at(a, r, "train"),
                       "train needs one of batch_tokens, batch_samples and accumulate, has %s",
                       sizes ? "more" : "none");
    if (t->batch_tokens % r->data.pack != 0)
        return fail_at(at(a, r, "train.batch_tokens"),
                       "train.batch_tokens is %" PRId64 ", must be a multiple of data.pack, which is "
                       "%" PRId64 ": %" PRId64 " or %" PRId64,
                       t->batch_tokens, r->data.pack,
                       t->batch_tokens < r->data.pack ? r->data.pack
                                                      : t->batch_tokens / r->data.pack * r->data.pack,
                       (t->batch_tokens / r->data.pack + 1 + (t->batch_tokens < r->data.pack)) *
                           r->data.pack);
    if ((t->patience > 0 || strcmp(t->select, "best") == 0) && r->data.n_test == 0)
        return fail_at(at(a, r, t->patience > 0 ? "train.patience" : "train.select"),
                       "train.select: best and train.patience need evaluations, but there is no "
                       "data.test");
    if (t->patience > 0 && t->eval_every == 0)
        return fail_at(at(a, r, "train.patience"),
                       "train.patience is %" PRId64 " evaluations, but train.eval_every is 0",
                       t->patience);
    return STATUS_OK;
}

static status check_optim(arena *a, const recipe *r)
{
    const double warmup = r->optim.warmup;

    if (warmup >= 1 && warmup != floor(warmup))
        return fail_at(at(a, r, "optim.warmup"),
                       "optim.warmup is %g, must be below 1 (a share of the steps) or whole (steps)",
                       warmup);
    if (r->train.steps && recipe_warmup(r, r->train.steps) > r->train.steps)
        return fail_at(at(a, r, "optim.warmup"),
                       "optim.warmup is %g steps, must be at most train.steps, which is %" PRId64,
                       warmup, r->train.steps);
    return STATUS_OK;
}

static status check_device(arena *a, const recipe *r)
{
    const char *d = r->device;
    const bool  number = strncmp(d, "cuda:", 5) == 0 && d[5] && strlen(d) <= 7 &&
                        strspn(d + 5, "0123456789") == strlen(d + 5);

    if (strcmp(d, "auto") != 0 && strcmp(d, "cpu") != 0 && strcmp(d, "cuda") != 0 && !number)
        return fail_at(at(a, r, "device"), "device is '%.60s', must be auto, cpu, cuda or cuda:1", d);
    if (*r->name == '\0' || strchr(r->name, '/') || r->name[0] == '.')
        return fail_at(at(a, r, "name"),
                       "name is '%.60s', must be the name of a folder: no '/', no '.' in front",
                       r->name);
    return STATUS_OK;
}

status recipe_check(arena *a, const recipe *r)
{
    TRY(check_device(a, r));
    if (r->together.n)
        return STATUS_OK;
    if (!r->base)
        return fail_at(r->tree, "the recipe needs the key 'base': %s",
                       key_find(recipe_parts[PART_TOP].table, "base")->help);
    if (r->n_modules == 0)
        return fail_at(r->tree, "the recipe needs the key 'modules' (or 'together'): %s",
                       recipe_parts[PART_MODULES].help);
    TRY(check_modules(a, r));
    TRY(check_router(a, r));
    TRY(check_data(a, r));
    TRY(check_train(a, r));
    return check_optim(a, r);
}
