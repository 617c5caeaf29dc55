/* golden optimizers: a folder with problem.safetensors and what optimizers, clipping and averages
 * make of it, and schedules.json (golden/peft/README.md, section 6) */
#include "optim/average.h"
#include "optim/clip.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "tests/with_golden.h"
#include "tests/with_options.h"

#include "core/file.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS_MAX = 64 };

/* The tensors start.<name> of the problem, one after another in a flat buffer, and the gradients
 * grad.<t>.<name> of its steps. */
typedef struct problem {
    const char *folder;
    safetensors file, want;
    int n;
    const char *names[TENSORS_MAX];
    optim_span spans[TENSORS_MAX];
    int64_t values, steps;
    float *p, *g, *w;
} problem;

static bool has_step(const problem *x, int64_t t)
{
    char name[600];

    snprintf(name, sizeof name, "grad.%lld.%s", (long long)t, x->names[0]);
    return safetensors_find(&x->file, name) != NULL;
}

static status open_problem(golden *g, const char *folder, const char *want, problem *x)
{
    *x = (problem){.folder = folder};
    TRY(safetensors_open(g->a, golden_path(folder, "problem.safetensors"), &x->file));
    TRY(safetensors_open(g->a, golden_path(folder, want), &x->want));
    for (int i = 0; i < x->file.n; i++) {
        const safetensors_entry *e = &x->file.e[i];
        const shape s = e->t.s;
        if (strncmp(e->name, "start.", 6) != 0)
            continue;
        if (x->n == TENSORS_MAX || e->opaque || e->t.type != TYPE_F32 || s.n < 1)
            return fail(STATUS_FORMAT,
                        "%s/problem.safetensors: %s must be one of at most %d F32 tensors", folder,
                        e->name, TENSORS_MAX);
        x->names[x->n] = e->name + 6;
        x->spans[x->n++] = (optim_span){.first = x->values,
                                        .count = shape_count(s),
                                        .rows = s.n > 1 ? s.d[s.n - 2] : 0,
                                        .columns = s.n > 1 ? s.d[s.n - 1] : 0};
        x->values += shape_count(s);
    }
    if (x->n == 0)
        return fail(STATUS_FORMAT, "%s/problem.safetensors: has no tensor start.*", folder);
    while (has_step(x, x->steps))
        x->steps++;
    TRY_TAKE(x->p, g->a, x->values);
    TRY_TAKE(x->g, g->a, x->values);
    TRY_TAKE(x->w, g->a, x->values);
    return STATUS_OK;
}

static void close_problem(problem *x)
{
    if (x->want.n)
        safetensors_close(&x->want);
    if (x->file.n)
        safetensors_close(&x->file);
}

static status one_tensor(const safetensors *f, const char *name, float *out, int64_t n)
{
    const safetensors_entry *e = safetensors_find(f, name);

    if (!e || e->opaque || e->t.type != TYPE_F32 || shape_count(e->t.s) != n)
        return fail(STATUS_FORMAT, "the golden file must have %s with %lld F32 values", name,
                    (long long)n);
    memcpy(out, e->v, e->bytes);
    return STATUS_OK;
}

/* prefix.<name> of all tensors into one flat buffer */
static status flat(const problem *x, const safetensors *f, const char *prefix, float *out)
{
    for (int i = 0; i < x->n; i++) {
        char name[600];
        snprintf(name, sizeof name, "%s.%s", prefix, x->names[i]);
        TRY(one_tensor(f, name, out + x->spans[i].first, x->spans[i].count));
    }
    return STATUS_OK;
}

static status gradient(const problem *x, int64_t t, float *out)
{
    char prefix[64];

    snprintf(prefix, sizeof prefix, "grad.%lld", (long long)t);
    return flat(x, &x->file, prefix, out);
}

/* When the golden file holds `what` after n steps: *there, and x->w filled. */
static status wanted(const problem *x, const char *what, int64_t n, bool *there)
{
    char prefix[600], first[700];

    snprintf(prefix, sizeof prefix, "%s.step%lld", what, (long long)n);
    snprintf(first, sizeof first, "%s.%s", prefix, x->names[0]);
    *there = safetensors_find(&x->want, first) != NULL;
    return *there ? flat(x, &x->want, prefix, x->w) : STATUS_OK;
}

/* A step rounds a value of at most `largest` three times (decay, change, sum), and its change by
 * some ten roundings of at most lr, which weighs less; the reference is rounded once. Values up to
 * 2 share a bound. */
static void compare_values(golden *g, const problem *x, const float *got, int64_t n)
{
    char what[64];
    double largest = 2, worst = 0;

    for (int64_t i = 0; i < x->values; i++) {
        const double off = fabs((double)got[i] - (double)x->w[i]);
        largest = fmax(largest, fabs((double)x->w[i]));
        if (!(off <= worst))
            worst = isnan(off) ? INFINITY : off;
    }
    snprintf(what, sizeof what, "step %lld", (long long)n);
    golden_number(g, what, worst, 0, (double)(3 * n + 1) * 0x1p-24 * largest, false);
}

/* ---- optimizers ---------------------------------------------------------------------------------
 */

static status optimizer_of(const cJSON *entry, const optimizer **out)
{
    const cJSON *decoupled = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(entry, "options"), "decoupled_weight_decay");
    const char *class = "", *from = "";
    char name[64];
    size_t n = 0;

    TRY(json_string(entry, "class", true, &class, entry->string));
    TRY(json_string(entry, "from", false, &from, entry->string));
    for (; class[n] && n + 1 < sizeof name; n++)
        name[n] = (char)tolower((unsigned char)class[n]);
    name[n] = '\0';
    if (strcmp(name, "adafactor") == 0 && strcmp(from, "torch.optim") == 0)
        strcpy(name, "adafactor_torch");
    if (strcmp(name, "adam") == 0 && cJSON_IsTrue(decoupled))
        strcpy(name, "adamw");
    if (optim_find(name, out) != STATUS_OK)
        return fail(STATUS_UNSUPPORTED, "the optimizer %s is not in this version", class);
    return STATUS_OK;
}

static status run_optimizer(golden *g, problem *x, const cJSON *entry)
{
    const cJSON *given = cJSON_GetObjectItemCaseSensitive(entry, "options");
    const optimizer *kind;
    void *options;
    optim o;
    bool there;

    TRY(optimizer_of(entry, &kind));
    const bool plain = strcmp(kind->name, "adam") == 0 || strcmp(kind->name, "adamw") == 0;
    TRY(options_from_json(g->a, kind->keys, given, plain ? "decoupled_weight_decay" : NULL,
                          &options));
    const optim_common *common = options;
    const optim_group group = {common->lr, common->weight_decay};
    TRY(optim_open(&o, g->a, kind, options, x->spans, x->n));
    TRY(flat(x, &x->file, "start", x->p));
    for (int64_t t = 0; t < x->steps; t++) {
        TRY(gradient(x, t, x->g));
        for (int64_t i = 0; i < x->values; i++)
            x->g[i] *= 8; /* exact, undone by the scale */
        optim_step(&o, x->p, x->g, 0.125, &group, NULL);
        TRY(wanted(x, entry->string, t + 1, &there));
        if (there)
            compare_values(g, x, x->p, t + 1);
    }
    return STATUS_OK;
}

/* ---- clipping
 * ------------------------------------------------------------------------------------- */

static status clip_options_of(const cJSON *entry, clip_options *o)
{
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(entry, "norm_type");

    *o = (clip_options){0};
    TRY(json_double(entry, "max_norm", false, &o->clip, entry->string));
    TRY(json_double(entry, "clip_value", false, &o->clip_value, entry->string));
    if (cJSON_IsString(type) && strcmp(type->valuestring, "inf") == 0)
        o->clip_norm = "inf";
    else if (type && !(cJSON_IsNumber(type) && type->valuedouble == 2))
        return fail(STATUS_UNSUPPORTED,
                    "clipping by another norm than 2 and inf is not in this version");
    return STATUS_OK;
}

static status run_clip(golden *g, problem *x, const cJSON *entry)
{
    clip_options o;
    char prefix[600], total_name[640];
    double norm, worst = 0;
    float total;

    TRY(clip_options_of(entry, &o));
    TRY(gradient(x, 0, x->g));
    for (int64_t i = 0; i < x->values; i++)
        x->g[i] *= 4; /* exact, undone by the scale */
    const double factor = clip_gradient(&o, x->g, x->values, 0.25, &norm);
    snprintf(prefix, sizeof prefix, "clip.%s", entry->string);
    TRY(flat(x, &x->want, prefix, x->w));
    for (int64_t i = 0; i < x->values; i++) {
        const double w = (double)x->w[i], off = fabs(factor * (double)x->g[i] - w);
        if (off != 0)
            worst = fmax(worst, off / fabs(w));
    }
    golden_number(g, "values", worst, 0, 0x1p-23,
                  false); /* product and reference are rounded once each */
    if (o.clip > 0) {
        snprintf(total_name, sizeof total_name, "%s.total", prefix);
        TRY(one_tensor(&x->want, total_name, &total, 1));
        golden_number(g, "norm", norm, (double)total, 0x1p-24, true); /* the reference is rounded */
    }
    return STATUS_OK;
}

/* ---- averages
 * --------------------------------------------------------------------------------------- */

static status run_average(golden *g, problem *x, const cJSON *entry, const char *kind)
{
    average v;
    char what[128];
    const char *step = "";
    double decay = 0.9, rate = 0;
    float *out;
    bool there;

    TRY(json_double(entry, "decay", true, &decay, "average"));
    TRY(json_string(entry, "step", true, &step, "average"));
    if (sscanf(step, "p -= %lf * gradient", &rate) != 1)
        return fail(STATUS_FORMAT, "average: step is '%s', must be 'p -= NUMBER * gradient'", step);
    TRY_TAKE(out, g->a, x->values);
    TRY(flat(x, &x->file, "start", x->p));
    TRY(average_open(&v, g->a, &(average_options){kind, decay}, x->p, x->values));
    snprintf(what, sizeof what, "average.%.63s", kind);
    for (int64_t t = 0; t < x->steps; t++) {
        TRY(gradient(x, t, x->g));
        for (int64_t i = 0; i < x->values; i++)
            x->p[i] -= (float)rate * x->g[i];
        average_update(&v, x->p);
        TRY(wanted(x, what, t + 1, &there));
        if (!there)
            continue;
        average_read(&v, out);
        compare_values(g, x, out, t + 1);
    }
    return STATUS_OK;
}

/* The kinds in the file: average.<kind>.step<n>.<tensor>; "params" is the trajectory itself. */
static int average_kinds(const safetensors *f, char kinds[][64], int most)
{
    int n = 0;

    for (int i = 0; i < f->n; i++) {
        char kind[64];
        bool known = false;
        if (sscanf(f->e[i].name, "average.%63[^.].", kind) != 1 || strcmp(kind, "params") == 0)
            continue;
        for (int k = 0; k < n; k++)
            known |= strcmp(kinds[k], kind) == 0;
        if (!known && n < most)
            strcpy(kinds[n++], kind);
    }
    return n;
}

/* ---- schedules
 * ------------------------------------------------------------------------------------ */

static const char *schedule_of(const char *function)
{
    static const char *const names[][2] = {
        {"get_constant_schedule", "constant"},
        {"get_constant_schedule_with_warmup", "constant_with_warmup"},
        {"get_linear_schedule_with_warmup", "linear"},
        {"get_cosine_schedule_with_warmup", "cosine"},
        {"get_cosine_with_hard_restarts_schedule_with_warmup", "cosine_with_restarts"},
        {"get_cosine_with_min_lr_schedule_with_warmup", "cosine_with_min_lr"},
        {"get_polynomial_decay_schedule_with_warmup", "polynomial"},
        {"get_inverse_sqrt_schedule", "inverse_sqrt"},
        {"get_wsd_schedule", "wsd"}};

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(names[i][0], function) == 0)
            return names[i][1];
    return NULL;
}

/* The reference's arguments: num_warmup_steps is our warmup, min_lr_rate our min_lr_ratio,
 * num_training_steps our number of steps. */
static status schedule_arguments(const cJSON *given, cJSON *ours, double *total)
{
    const cJSON *item;
    double stable = -1, warmup = 0, decay = 0;

    TRY(json_double(given, "num_training_steps", false, total, "options"));
    TRY(json_double(given, "num_stable_steps", false, &stable, "options"));
    TRY(json_double(given, "num_warmup_steps", false, &warmup, "options"));
    TRY(json_double(given, "num_decay_steps", false, &decay, "options"));
    if (stable >= 0)
        *total = warmup + stable + decay;
    cJSON_ArrayForEach(item, given)
    {
        const char *name = strcmp(item->string, "num_warmup_steps") == 0 ? "warmup"
                           : strcmp(item->string, "min_lr_rate") == 0    ? "min_lr_ratio"
                                                                         : item->string;
        if (strcmp(name, "num_training_steps") != 0)
            cJSON_AddItemToObject(ours, name, cJSON_Duplicate(item, true));
    }
    return STATUS_OK;
}

static status run_schedule(golden *g, const cJSON *entry, cJSON *ours)
{
    const cJSON *lr, *given = cJSON_GetObjectItemCaseSensitive(entry, "options"), *item;
    const char *function = "";
    double peak = 0, total;
    void *options;
    schedule s;
    int64_t t = 0;

    TRY(json_string(entry, "function", true, &function, entry->string));
    TRY(json_double(entry, "peak", true, &peak, entry->string));
    TRY(golden_list(entry, "lr", &lr, entry->string));
    const char *name = schedule_of(function);
    if (!name)
        return fail(STATUS_UNSUPPORTED, "the schedule %s is not in this version", function);
    total = cJSON_GetArraySize(lr);
    TRY(schedule_arguments(given, ours, &total));
    if (strcmp(name, "polynomial") == 0 && !cJSON_HasObjectItem(ours, "lr_end"))
        cJSON_AddNumberToObject(ours, "lr_end", 1e-7); /* transformers' default */
    TRY(options_from_json(g->a, &schedule_keys, ours, NULL, &options));
    ((schedule_options *)options)->schedule = name;
    TRY(schedule_open(&s, options, (int64_t)total, peak));
    cJSON_ArrayForEach(item, lr)
    {
        char what[32];
        snprintf(what, sizeof what, "lr[%lld]", (long long)t);
        /* both in double: a few roundings, and cos() of an angle rounded at 5 */
        golden_number(g, what, schedule_lr(&s, peak, t++), item->valuedouble, peak * 0x1p-49,
                      false);
    }
    return STATUS_OK;
}

/* ---- the folder ---------------------------------------------------------------------------------
 */

typedef status (*runner)(golden *g, problem *x, const cJSON *entry);

static void run_list(golden *g, const char *folder, const cJSON *list, const char *what,
                     const char *want, runner run)
{
    const cJSON *entry;

    cJSON_ArrayForEach(entry, list)
    {
        const size_t mark = arena_mark(g->a);
        problem x = {0};
        char name[600];
        snprintf(name, sizeof name, "%s %s", what, entry->string ? entry->string : "?");
        golden_begin(g, folder, name);
        status s = open_problem(g, folder, want, &x);
        golden_end(g, s == STATUS_OK ? run(g, &x, entry) : s);
        close_problem(&x);
        arena_rewind(g->a, mark);
    }
}

static void run_averages(golden *g, const char *folder, const cJSON *entry)
{
    char kinds[16][64];
    problem x = {0};
    const int n = open_problem(g, folder, "clip_average.safetensors", &x) == STATUS_OK
                      ? average_kinds(&x.want, kinds, 16)
                      : 0;

    for (int i = 0; i < n; i++) {
        char name[128];
        snprintf(name, sizeof name, "average %.63s", kinds[i]);
        golden_begin(g, folder, name);
        golden_end(g, run_average(g, &x, entry, kinds[i]));
    }
    if (n == 0) {
        golden_begin(g, folder, "averages");
        golden_wrong(g, "no average.* in clip_average.safetensors");
        golden_end(g, STATUS_OK);
    }
    close_problem(&x);
}

static void run_schedules(golden *g, const char *folder)
{
    const size_t mark = arena_mark(g->a);
    const cJSON *entry;
    cJSON *list = NULL;

    golden_begin(g, folder, "schedules.json");
    const status s = json_read(golden_path(folder, "schedules.json"), &list);
    if (s != STATUS_OK || !list->child)
        golden_end(g, s != STATUS_OK ? s : fail(STATUS_FORMAT, "schedules.json is empty"));
    cJSON_ArrayForEach(entry, list)
    {
        char name[600];
        cJSON *ours = cJSON_CreateObject();
        snprintf(name, sizeof name, "schedule %s", entry->string ? entry->string : "?");
        golden_begin(g, folder, name);
        golden_end(g, run_schedule(g, entry, ours));
        cJSON_Delete(ours);
        arena_rewind(g->a, mark);
    }
    cJSON_Delete(list);
}

bool golden_optim(golden *g, const char *folder)
{
    const size_t mark = arena_mark(g->a);
    cJSON *index = NULL;
    const cJSON *list;

    if (!golden_has(folder, "problem.safetensors") && !golden_has(folder, "schedules.json"))
        return false;
    if (golden_has(folder, "schedules.json"))
        run_schedules(g, folder);
    if (golden_has(folder, "problem.safetensors") || golden_has(folder, "index.json")) {
        golden_begin(g, folder, "index.json");
        const status s = json_read(golden_path(folder, "index.json"), &index);
        if (s != STATUS_OK)
            golden_end(g, s);
        list = cJSON_GetObjectItemCaseSensitive(index, "optimizers");
        run_list(g, folder, list, "optimizer", "optimizers.safetensors", run_optimizer);
        list = cJSON_GetObjectItemCaseSensitive(index, "clip");
        run_list(g, folder, list, "clip", "clip_average.safetensors", run_clip);
        list = cJSON_GetObjectItemCaseSensitive(index, "average");
        if (list)
            run_averages(g, folder, list);
    }
    cJSON_Delete(index);
    arena_rewind(g->a, mark);
    return true;
}
