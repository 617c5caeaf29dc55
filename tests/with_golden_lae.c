/* golden methods, card lae: three modules on a ViT, and the whole run of tasks with two experts
 * (golden/methods/README.md) */
#include "recipes/experts.h"
#include "recipes/trace.h"
#include "tests/with_golden.h"
#include "tests/with_options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct lae_case {
    golden     *g;
    cJSON      *json;
    const cJSON *settings;
    const char *pet;
    int64_t     size, tasks, classes, batch, epochs, freeze, freeze_from, offline_from;
    double      beta, lr;
    safetensors start, want, images;
    session     s;
    goal        goal;
    trainer     x;
    experts     e;
    examples   *train; /* [tasks] */
    examples    test;  /* of all tasks */
    int64_t    *n_test; /* [tasks] of the tasks up to this one */
} lae_case;

static const char what[] = "case.json";

/* ---- opening ------------------------------------------------------------------------------------------- */

static status read_settings(lae_case *c)
{
    const cJSON *optim = cJSON_GetObjectItemCaseSensitive(c->json, "optim"), *s = c->settings;
    const char  *name = "adam";

    TRY(json_string(s, "pet", true, &c->pet, what));
    TRY(json_int(s, "size", true, 1, 1 << 20, &c->size, what));
    TRY(json_int(s, "tasks", true, 1, 1000, &c->tasks, what));
    TRY(json_int(s, "classes_a_task", true, 1, 1000, &c->classes, what));
    TRY(json_int(s, "batch", true, 1, 1 << 20, &c->batch, what));
    TRY(json_int(s, "epochs", true, 1, 1 << 20, &c->epochs, what));
    TRY(json_int(s, "freeze_epochs", true, 0, 1 << 20, &c->freeze, what));
    TRY(json_int(s, "freeze_from_task", true, 0, 1000, &c->freeze_from, what));
    TRY(json_int(s, "offline_from_task", true, 0, 1000, &c->offline_from, what));
    TRY(json_double(s, "beta", true, &c->beta, what));
    TRY(json_double(optim, "lr", true, &c->lr, what));
    TRY(json_string(optim, "name", false, &name, what));
    return strcmp(name, "adam") == 0 ? STATUS_OK : fail(STATUS_UNSUPPORTED, "%s: the optimizer is '%s'", what, name);
}

/* The module of the case: its method, options and sites. */
static status add_module(lae_case *c, peft *p, bool compensate)
{
    static const struct {
        const char *pet, *method, *options, *sites[2];
    } pets[] = {
        {"adapter", "bottleneck", "{\"size\": %lld, \"act\": \"gelu\", \"place\": \"parallel\", \"bias\": true}",
         {"after_attn", NULL}},
        {"lora", "lora", "{\"rank\": %lld, \"alpha\": 1}", {"attn.k", "attn.v"}},
        {"prefix", "prefix", "{\"tokens\": %lld}", {"kv", NULL}},
    };
    const cJSON *blocks = cJSON_GetObjectItemCaseSensitive(c->settings, "blocks"), *block;
    const char  *at[64], *head[] = {"classifier"};
    char         text[256];
    void        *options;
    int          n = 0, pet = 0;

    while (pet < 3 && strcmp(pets[pet].pet, c->pet) != 0)
        pet++;
    if (pet == 3)
        return fail(STATUS_UNSUPPORTED, "%s: pet is '%s'", what, c->pet);
    cJSON_ArrayForEach(block, blocks) for (int i = 0; i < 2 && pets[pet].sites[i] && n < 64; i++)
        at[n++] = arena_printf(c->g->a, "block.%d.%s", block->valueint, pets[pet].sites[i]);
    const peft_method *m = peft_find(pets[pet].method);
    snprintf(text, sizeof text, pets[pet].options, (long long)c->size);
    cJSON *json = cJSON_Parse(text);
    cJSON_AddBoolToObject(json, "learned", true);
    if (pet == 2)
        cJSON_AddBoolToObject(json, "compensate", compensate);
    const status s = options_from_json(c->g->a, m->keys, json, NULL, &options);
    cJSON_Delete(json);
    TRY(s);
    TRY(peft_add(p, "main", m, options, at, n, true));
    TRY(peft_tune_whole(p, p->n_modules - 1, head, 1, false));
    return peft_allocate(p, &c->s.tuned);
}

/* "block.1.lora_k.A" of the file is "....layer.1.attention.attention.key.lora_A.weight". NULL: no such tensor. */
static tuned *find(const lae_case *c, const char *name)
{
    static const struct {
        const char *part, *site, *suffix;
    } names[] = {{"adapter.down.weight", "after_attn", "adapter_down.weight"},
                 {"adapter.down.bias", "after_attn", "adapter_down.bias"},
                 {"adapter.up.weight", "after_attn", "adapter_up.weight"},
                 {"adapter.up.bias", "after_attn", "adapter_up.bias"},
                 {"adapter.scale", "after_attn", "adapter_scaling"},
                 {"lora_k.A", "attn.k", "lora_A.weight"},
                 {"lora_k.B", "attn.k", "lora_B.weight"},
                 {"lora_k.scale", "attn.k", "lora_scale"},
                 {"lora_v.A", "attn.v", "lora_A.weight"},
                 {"lora_v.B", "attn.v", "lora_B.weight"},
                 {"lora_v.scale", "attn.v", "lora_scale"},
                 {"prefix.key", "kv", "prefix_key"},
                 {"prefix.value", "kv", "prefix_value"},
                 {"prefix.key_scale", "kv", "prefix_key_scale"},
                 {"prefix.value_scale", "kv", "prefix_value_scale"}};
    const model *m = &c->s.m;
    int          block = -1, end = 0;
    char         at[64];

    if (sscanf(name, "block.%d.%n", &block, &end) != 1)
        return NULL;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i].part, name + end) != 0)
            continue;
        snprintf(at, sizeof at, "block.%d.%s", block, names[i].site);
        for (int k = 0; k < m->n_sites; k++)
            for (int t = 0; strcmp(m->sites[k].name, at) == 0 && t < c->s.p->n_tuned; t++)
                if (tuned_is(&c->s.p->tensors[t], arena_printf(c->g->a, "base_model.model.%s.%s",
                                                               m->sites[k].checkpoint, names[i].suffix)))
                    return &c->s.p->tensors[t];
    }
    return NULL;
}

/* "head.2.bias" is rows of the tensor in the place of the classifier's. */
static tensor head_part(const lae_case *c, const char *name)
{
    const model_weight *w = strstr(name, "bias") ? c->s.m.head.out->bias : c->s.m.head.out->weight;
    const int64_t       rows = c->classes, columns = w == c->s.m.head.out->bias ? 1 : c->s.m.width;
    int                 task = 0;

    for (int i = 0; i < c->s.p->n_tuned; i++) {
        const tuned *u = &c->s.p->tensors[i];
        if (u->place == w && sscanf(name, "head.%d.", &task) == 1 && task < (int)c->tasks)
            return (tensor){.s = columns == 1 ? shape_1(rows) : shape_2(rows, columns), .type = TYPE_F32,
                            .v = (float *)u->value.v + task * rows * columns};
    }
    return (tensor){0};
}

/* The values that the file calls so; v NULL: there are none. */
static tensor values_of(const lae_case *c, const char *name)
{
    const tuned *u = find(c, name);

    return u ? u->value : head_part(c, name);
}

static status load_start(lae_case *c)
{
    int64_t loaded = 0;

    for (int i = 0; i < c->start.n; i++) {
        const safetensors_entry *e = &c->start.e[i];
        const tensor             to = values_of(c, e->name);
        if (!to.v || shape_count(to.s) != shape_count(e->t.s) || e->t.type != TYPE_F32)
            return fail(STATUS_FORMAT, "start.safetensors: %s fits no tensor", e->name);
        memcpy(to.v, e->v, e->bytes);
        loaded += shape_count(to.s);
    }
    if (loaded != c->s.p->trained)
        golden_wrong(c->g, "start.safetensors has %lld values, %lld are tuned", (long long)loaded,
                     (long long)c->s.p->trained);
    return STATUS_OK;
}

static int64_t int_at(const safetensors_entry *e, int64_t i)
{
    int64_t wide;
    int32_t v;

    if (e->t.type == TYPE_I64) {
        memcpy(&wide, (const char *)e->v + 8 * i, 8);
        return wide;
    }
    memcpy(&v, (const char *)e->v + 4 * i, 4);
    return v;
}

/* Adds the images of a task's split, from number `first` of x on. */
static status read_images(lae_case *c, int64_t task, const char *split, examples *x, int64_t first)
{
    const patch_grid        *grid = &c->s.m.image;
    arena                   *a = c->g->a;
    const char              *name = arena_printf(a, "task%lld.%s", (long long)task, split);
    const safetensors_entry *images = safetensors_find(&c->images, arena_printf(a, "%s.images", name));
    const safetensors_entry *labels = safetensors_find(&c->images, arena_printf(a, "%s.labels", name));
    const int64_t            one = patches_count(grid) * patches_values(grid);
    float                   *pixels;

    if (!images || !labels || images->t.type != TYPE_F32 || shape_count(images->t.s) != images->t.s.d[0] * one)
        return fail(STATUS_FORMAT, "images.safetensors: %s is missing or has other sizes", name);
    pixels = arena_copy(a, images->v, images->bytes);
    if (!pixels)
        return STATUS_MEMORY;
    for (int64_t i = 0; i < images->t.s.d[0]; i++) {
        float   *patches;
        example *e = &x->v[first + i];
        TRY_TAKE(patches, a, one);
        patches_cut(grid, pixels + i * one, patches);
        *e = (example){.n = (int32_t)(1 + patches_count(grid)), .patches = patches, .label = (int32_t)int_at(labels, i),
                       .batch = x->batched ? i / c->batch : -1, .task = 0};
        x->n_tokens += e->n;
        x->longest = e->n;
    }
    x->n = first + images->t.s.d[0];
    x->n_targets = x->n;
    return STATUS_OK;
}

static status read_tasks(lae_case *c)
{
    const int64_t values = patches_values(&c->s.m.image);

    TRY_TAKE(c->train, c->g->a, c->tasks);
    TRY_TAKE(c->n_test, c->g->a, c->tasks);
    c->test = (examples){.place = TARGET_SEQUENCE, .patch = values};
    TRY_TAKE(c->test.v, c->g->a, 1 << 12);
    for (int64_t t = 0; t < c->tasks; t++) {
        c->train[t] = (examples){.place = TARGET_SEQUENCE, .patch = values, .batched = true};
        TRY_TAKE(c->train[t].v, c->g->a, 1 << 12);
        TRY(read_images(c, t, "train", &c->train[t], 0));
        TRY(read_images(c, t, "test", &c->test, c->test.n));
        c->n_test[t] = c->test.n;
    }
    return STATUS_OK;
}

/* Slow values go over to the experts of the next trainer. */
static void carry_over(const experts *from, experts *to)
{
    to->there = from->there;
    for (int i = 0; i < from->n; i++)
        memcpy(to->slow[i].v, from->slow[i].v, (size_t)from->slow[i].n * sizeof(float));
}

/* For a task: a fresh optimizer, and a loss of its classes. */
static status open_trainer(lae_case *c, int64_t task)
{
    const int64_t   tokens = c->batch * c->test.longest;
    const int64_t   an_epoch = (c->train[task].n + c->batch - 1) / c->batch;
    const experts   before = c->e;
    cJSON          *json = cJSON_CreateObject();
    trainer_options o = {.goal = &c->goal, .schedule = {.schedule = "constant"}, .steps = 1 << 20, .pack = tokens,
                         .seqs = c->batch, .leaves = 1,
                         .freeze_steps = task >= c->freeze_from ? c->freeze * an_epoch : 0};
    void           *options;

    TRY(optim_find("adam", &o.optimizer));
    cJSON_AddNumberToObject(json, "lr", c->lr);
    const status s = options_from_json(c->g->a, o.optimizer->keys, json, NULL, &options);
    cJSON_Delete(json);
    TRY(s);
    o.optimizer_options = options;
    trainer_close(&c->x);
    TRY(goal_choose_classes(&c->goal, task * c->classes, (task + 1) * c->classes));
    TRY(trainer_open(&c->x, c->g->a, &c->s.tuned, &c->s.m, c->s.p, &o, false));
    TRY(experts_open(&c->e, &c->s.tuned, &c->x, c->beta));
    carry_over(&before, &c->e);
    return task == c->offline_from ? experts_begin(&c->e) : STATUS_OK;
}

/* The objective classify without a recipe. */
static status open_goal(lae_case *c)
{
    const objective *o = NULL;
    void            *options;

    for (int i = 0; objective_at(i); i++)
        if (strcmp(objective_at(i)->name, "classify") == 0)
            o = objective_at(i);
    CHECK(o);
    TRY(options_from_json(c->g->a, &o->keys, NULL, NULL, &options));
    c->goal = (goal){.o = o, .options = options, .s = &c->s, .predicts = METRIC_CLASSES,
                     .head = {.given = true, .kind = o->head, .classes = c->tasks * c->classes}};
    return STATUS_OK;
}

static status open_case(lae_case *c, const char *folder)
{
    const char *base = "", *images = "";

    TRY(read_settings(c));
    TRY(json_string(c->settings, "base", true, &base, what));
    TRY(json_string(c->settings, "images", true, &images, what));
    TRY(safetensors_open(c->g->a, golden_path(folder, "start.safetensors"), &c->start));
    TRY(safetensors_open(c->g->a, golden_path(folder, "expect.safetensors"), &c->want));
    TRY(safetensors_open(c->g->a, arena_printf(c->g->a, "%s/../%s", folder, images), &c->images));
    TRY(session_open(&c->s));
    TRY(open_goal(c));
    TRY(session_base_for(&c->s, arena_printf(c->g->a, "%s/../../%s", folder, base), 0, false, &c->goal.head));
    TRY(add_module(c, c->s.p, true));
    TRY(load_start(c));
    return read_tasks(c);
}

/* ---- comparing ----------------------------------------------------------------------------------------- */

/* Ten times what float32 loses in the reference, of the largest value of a tensor. */
static double bound_of(const lae_case *c, const char *group)
{
    const cJSON *errors = cJSON_GetObjectItemCaseSensitive(c->json, "f32_error");
    const cJSON *of = cJSON_GetObjectItemCaseSensitive(errors, group);
    double       v = 0;

    if (json_double(of, "rel_to_max", true, &v, what) != STATUS_OK)
        golden_wrong(c->g, "case.json: f32_error has no %s", group);
    return 10 * fmax(v, 1e-7);
}

static bool is_noise(const lae_case *c, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(c->json, "zero_gradient_up_to_rounding"))
        if (strcmp(item->valuestring, name) == 0)
            return true;
    return false;
}

static void compare(lae_case *c, const char *group, const char *name, const tensor *got)
{
    golden_tensor(c->g, name, got, safetensors_find(&c->want, name), bound_of(c, group), false);
}

static double real_at(const safetensors_entry *e, int64_t i)
{
    double d;
    float  f;

    if (e->t.type == TYPE_F64) {
        memcpy(&d, (const char *)e->v + 8 * i, 8);
        return d;
    }
    memcpy(&f, (const char *)e->v + 4 * i, 4);
    return (double)f;
}

static double largest_of(const safetensors_entry *e)
{
    double most = 0;

    for (int64_t i = 0; i < shape_count(e->t.s); i++)
        most = fmax(most, fabs(real_at(e, i)));
    return most;
}

/* Adam's first step of a gradient g is lr g / (|g| + eps): an error d of a g near eps moves the value by
 * lr eps d / (|g| + eps)^2, at most by two steps. Where that is more than the bound of the tensor, and d what gradients
 * may be off by, values within it become the expected ones. */
static status forgive_small_gradients(lae_case *c, const char *group, const char *name, const safetensors_entry *want,
                                      tensor *got)
{
    const safetensors_entry *g = safetensors_find(&c->want, arena_printf(c->g->a, "grad.%s", name));
    const double eps = 1e-8, d = g ? bound_of(c, "grad") * largest_of(g) : 0, bound = bound_of(c, group) * largest_of(want);
    float       *v;

    if (!g || shape_count(g->t.s) != shape_count(got->s) || shape_count(want->t.s) != shape_count(got->s))
        return STATUS_OK;
    got->v = v = arena_copy(c->g->a, got->v, tensor_bytes(got));
    if (!v)
        return STATUS_MEMORY;
    for (int64_t i = 0; i < shape_count(got->s); i++) {
        const double size = fabs(real_at(g, i)) + eps, allowed = fmin(c->lr * eps * d / (size * size), 2 * c->lr);
        if (allowed > bound && fabs((double)v[i] - real_at(want, i)) <= bound + allowed)
            v[i] = (float)real_at(want, i);
    }
    return STATUS_OK;
}

/* Every expected tensor <group>.<name> with the values that are called so now. */
static status compare_values(lae_case *c, const char *group, int64_t task)
{
    char    start[64];
    int64_t n = 0;

    snprintf(start, sizeof start, "%s.%lld.", group, (long long)task);
    for (int i = 0; i < c->want.n; i++) {
        const char *name = c->want.e[i].name;
        if (strncmp(name, start, strlen(start)) != 0)
            continue;
        tensor got = values_of(c, name + strlen(start));
        if (!got.v)
            golden_wrong(c->g, "%s: there is no such tensor", name);
        else if (!is_noise(c, name + strlen(start))) {
            TRY(forgive_small_gradients(c, group, name + strlen(start), &c->want.e[i], &got));
            compare(c, group, name, &got);
        }
        n += got.v ? shape_count(got.s) : 0;
    }
    const int64_t head = c->classes * (c->s.m.width + 1), all = c->s.p->trained - c->tasks * head;
    if (n != (strcmp(group, "head_after") == 0 ? (task + 1) * head : all))
        golden_wrong(c->g, "%s: %lld values are expected", start, (long long)n);
    return STATUS_OK;
}

/* ---- at the start ------------------------------------------------------------------------------------------ */

/* The final hidden states of the class tokens of task 0's first batch, and all logits; compensated or not. */
static status compare_forward(lae_case *c, peft *p, const char *features, bool logits)
{
    const int64_t   C = c->s.m.width, V = c->tasks * c->classes, n = c->batch;
    const safetensors_entry *images = safetensors_find(&c->images, "task0.train.images");
    cJSON          *sequences = cJSON_CreateArray();
    tensor         *pixels;
    float          *hidden, *scores;
    trace_options   o = {.hidden = true};
    trace_result    r;

    TRY_TAKE(pixels, c->g->a, n);
    TRY_TAKE(hidden, c->g->a, n * C);
    TRY_TAKE(scores, c->g->a, n * V);
    for (int64_t i = 0; i < n; i++) {
        const shape s = images->t.s;
        pixels[i] = (tensor){.s = shape_3(s.d[1], s.d[2], s.d[3]), .type = TYPE_F32};
        pixels[i].v = (char *)(uintptr_t)images->v + i * (int64_t)tensor_bytes(&pixels[i]);
        cJSON_AddItemToArray(sequences, cJSON_CreateObject());
    }
    o.pixels = pixels;
    const status s = trace_run(c->g->a, &c->s.m, p, sequences, what, &o, &r);
    cJSON_Delete(sequences);
    TRY(s);
    for (int i = 0; i < r.n; i++) {
        int at, end = 0;
        if (sscanf(r.items[i].name, "seq%d.%n", &at, &end) != 1)
            continue;
        if (strcmp(r.items[i].name + end, "hidden.norm") == 0)
            memcpy(hidden + at * C, r.items[i].t.v, (size_t)C * sizeof *hidden);
        if (strcmp(r.items[i].name + end, "logits") == 0)
            memcpy(scores + at * V, r.items[i].t.v, (size_t)V * sizeof *scores);
    }
    compare(c, features, features, &(tensor){.s = shape_2(n, C), .type = TYPE_F32, .v = hidden});
    if (logits)
        compare(c, "logits", "logits", &(tensor){.s = shape_2(n, V), .type = TYPE_F32, .v = scores});
    return STATUS_OK;
}

/* The same values in a module that does not compensate. */
static status compare_plain(lae_case *c)
{
    peft *p;

    if (!safetensors_find(&c->want, "features_no_compensation"))
        return STATUS_OK;
    peft_detach(c->s.p);
    TRY(peft_open(c->g->a, &c->s.m, 0, &p));
    TRY(add_module(c, p, false));
    CHECK(p->size == c->s.p->size);
    memcpy(p->values, c->s.p->values, (size_t)p->size * sizeof *p->values);
    TRY(compare_forward(c, p, "features_no_compensation", false));
    peft_detach(p);
    peft_attach_again(c->s.p);
    return STATUS_OK;
}

/* Of the local loss of task 0's first batch. */
static status compare_gradients(lae_case *c)
{
    const pack_options o = {.pack = c->x.o.pack};
    packer             data;
    pack_step          plan;
    double             loss;
    const char         head[] = "head.0.";

    TRY(packer_open(c->g->a, &c->train[0], &o, &data));
    packer_step(&data, &plan);
    packer_fill(&data, &plan, 0, &c->x.f.b);
    leaf_sum_start(&c->x.sum);
    float *g = leaf_sum_begin(&c->x.sum);
    peft_use_gradients(c->s.p, g);
    c->x.run.training = true;
    TRY(trainer_forward(&c->x, &loss));
    tape_backward(c->x.t);
    leaf_sum_end(&c->x.sum, loss);
    tensor all = {.s = shape_1(c->s.p->size), .type = TYPE_F32, .v = g};
    if (device_current())
        device_pull(device_current(), &all);
    for (int64_t i = 0; i < c->s.p->size; i++)
        g[i] /= (float)plan.n_targets;
    for (int i = 0; i < c->want.n; i++) {
        const char *name = c->want.e[i].name;
        if (strncmp(name, "grad.", 5) != 0 || is_noise(c, name + 5))
            continue;
        tensor got = values_of(c, name + 5);
        if (!got.v) {
            golden_wrong(c->g, "%s: there is no such tensor", name);
            continue;
        }
        got.v = g + ((const float *)got.v - c->s.p->values);
        compare(c, "grad", name, &got);
    }
    /* other tasks' classes have none at all */
    for (int64_t t = 1; t < c->tasks; t++)
        for (int k = 0; k < 2; k++) {
            const char  *name = arena_printf(c->g->a, "head.%lld.%s", (long long)t, k ? "bias" : "weight");
            const tensor v = head_part(c, name);
            int64_t      wrong = 0;
            for (int64_t i = 0; i < shape_count(v.s); i++)
                wrong += g[(const float *)v.v - c->s.p->values + i] != 0;
            golden_exact(c->g, name, wrong);
        }
    if (!safetensors_find(&c->want, arena_printf(c->g->a, "grad.%sbias", head)))
        golden_wrong(c->g, "expect.safetensors has no gradients");
    return STATUS_OK;
}

/* ---- the run ----------------------------------------------------------------------------------------------- */

/* What `forward` gives for the test images of the tasks so far: [n, seen] of the scores. */
static status predict(lae_case *c, int64_t task, status (*forward)(trainer *x, double *loss), tensor *out)
{
    const int64_t seen = (task + 1) * c->classes, columns = c->tasks * c->classes;
    const examples some = {.n = c->n_test[task], .v = c->test.v, .place = TARGET_SEQUENCE, .longest = c->test.longest,
                           .n_targets = c->n_test[task], .patch = c->test.patch};
    packer    data;
    pack_step plan;
    float    *v;
    int64_t   row = 0;

    TRY_TAKE(v, c->g->a, some.n * seen);
    TRY(packer_open_once(c->g->a, &some, c->x.o.pack, 0, &data));
    c->x.run.training = false;
    for (packer_step(&data, &plan); plan.n_leaves > 0; packer_step(&data, &plan)) {
        double loss;
        packer_fill(&data, &plan, 0, &c->x.f.b);
        TRY(forward(&c->x, &loss));
        const float *z = c->x.out.scores->t.v;
        for (int32_t i = 0; i < c->x.f.b.n_targets; i++, row++)
            memcpy(v + row * seen, z + i * columns, (size_t)seen * sizeof *v);
    }
    CHECK(row == some.n);
    *out = (tensor){.s = shape_2(some.n, seen), .type = TYPE_F32, .v = v};
    return STATUS_OK;
}

static void compare_predictions(lae_case *c, int64_t task, const tensor *joint)
{
    const char              *name = arena_printf(c->g->a, "prediction.%lld", (long long)task);
    const safetensors_entry *want = safetensors_find(&c->want, name);
    float                   *v = joint->v;
    const int64_t            seen = joint->s.d[1];
    int64_t                  wrong = 0;

    if (!want || want->t.type != TYPE_I32 || shape_count(want->t.s) != joint->s.d[0]) {
        golden_wrong(c->g, "%s is missing or has other sizes", name);
        return;
    }
    for (int64_t i = 0; i < joint->s.d[0]; i++)
        wrong += goal_largest(v + i * seen, seen) != int_at(want, i);
    golden_exact(c->g, name, wrong);
    double sum = 0;
    for (int64_t i = 0; i < shape_count(joint->s); i++) {
        if (i % seen == 0) { /* the first expert alone gives logits */
            sum = 0;
            for (int64_t k = 0; k < seen && !c->e.there; k++)
                sum += exp((double)v[i + k]);
        }
        v[i] = (float)(exp((double)v[i]) / (c->e.there ? 1 : sum));
    }
    compare(c, "prob", arena_printf(c->g->a, "prob.%lld", (long long)task), joint);
}

static status compare_task(lae_case *c, int64_t task)
{
    arena *a = c->g->a;
    tensor z;

    TRY(peft_pull(c->s.p));
    TRY(compare_values(c, "online_after", task));
    TRY(compare_values(c, "head_after", task));
    TRY(predict(c, task, trainer_forward, &z));
    compare(c, "logits_online", arena_printf(a, "logits_online.%lld", (long long)task), &z);
    TRY(predict(c, task, c->x.predict, &z));
    compare_predictions(c, task, &z);
    if (!c->e.there)
        return STATUS_OK;
    TRY(experts_swap(&c->e));
    TRY(compare_values(c, "offline_after", task));
    TRY(predict(c, task, trainer_forward, &z));
    compare(c, "logits_offline", arena_printf(a, "logits_offline.%lld", (long long)task), &z);
    return experts_swap(&c->e);
}

static status run_task(lae_case *c, int64_t task, int64_t *step)
{
    const cJSON  *losses = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(c->json, "expect"), "loss");
    const cJSON  *error = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(c->json, "f32_error"),
                                                           "number:loss");
    const pack_options o = {.pack = c->x.o.pack, .epochs = c->epochs};
    packer        data;
    step_report   r;
    double        bound = 0;

    TRY(json_double(error, "abs", true, &bound, what));
    if (task > 0)
        TRY(open_trainer(c, task));
    TRY(packer_open(c->g->a, &c->train[task], &o, &data));
    for (int64_t i = 0;; i++, ++*step) {
        TRY(trainer_step(&c->x, &data, i, &r));
        if (r.leaves == 0)
            break;
        const cJSON *want = cJSON_GetArrayItem(losses, (int)*step);
        golden_number(c->g, "loss", r.loss, want ? want->valuedouble : NAN, 10 * fmax(bound, 1e-7), false);
    }
    return compare_task(c, task);
}

static status run(lae_case *c, const char *folder)
{
    int64_t step = 0;

    TRY(open_case(c, folder));
    TRY(compare_forward(c, c->s.p, "features", true));
    TRY(compare_plain(c));
    TRY(open_trainer(c, 0));
    TRY(compare_gradients(c));
    for (int64_t t = 0; t < c->tasks; t++)
        TRY_IN(run_task(c, t, &step), "in task %lld", (long long)t);
    const cJSON *losses = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(c->json, "expect"), "loss");
    golden_exact(c->g, "steps", step - cJSON_GetArraySize(losses));
    return STATUS_OK;
}

bool golden_lae(golden *g, const char *folder)
{
    lae_case c = {.g = g};

    if (!golden_has(folder, "case.json") || !golden_has(folder, "expect.safetensors") ||
        json_read(golden_path(folder, "case.json"), &c.json) != STATUS_OK) {
        status_clear();
        return false;
    }
    c.settings = cJSON_GetObjectItemCaseSensitive(c.json, "settings");
    if (!cJSON_GetObjectItemCaseSensitive(c.settings, "pet") ||
        !cJSON_GetObjectItemCaseSensitive(c.settings, "freeze_epochs")) {
        cJSON_Delete(c.json);
        return false;
    }
    const size_t mark = arena_mark(g->a);
    golden_begin(g, folder, "");
    golden_end(g, run(&c, folder));
    trainer_close(&c.x);
    if (c.s.setup.base)
        session_close(&c.s);
    safetensors *files[] = {&c.start, &c.want, &c.images};
    for (int i = 0; i < 3; i++)
        if (files[i]->n)
            safetensors_close(files[i]);
    cJSON_Delete(c.json);
    arena_rewind(g->a, mark);
    return true;
}
