/* golden adapters: a folder with index.json, base_* trunks, forward/<case>, train/<case> and
 * combine (golden/peft/README.md) */
#include "core/file.h"
#include "core/json.h"
#include "recipes/prepare.h"
#include "recipes/trace.h"
#include "tests/with_golden.h"
#include "tests/with_trajectory.h"

#include <math.h>
#include <string.h>

typedef struct peft_case {
    const char *root, *name, *base;
    const cJSON *entry; /* of index.json */
    cJSON *json;        /* inputs or batches */
    weights w;
    model m;
    peft *p;
    safetensors want;
    arena tuned;
} peft_case;

static status open_base(golden *g, peft_case *c)
{
    TRY(weights_open(g->a, arena_printf(g->a, "%s/%s", c->root, c->base), &c->w));
    TRY(model_open(g->a, &c->w, TYPE_F32, &c->m));
    return peft_open(g->a, &c->m, 0, &c->p);
}

/* The sequences that a start saw, calibration.json, shown to the module again; nothing where there are none. */
static status show_samples(golden *g, peft_case *c, int module, const char *folder, arena *seen)
{
    cJSON *lists;
    const cJSON *list, *v;
    examples x = {0};

    if (!golden_has(folder, "calibration.json"))
        return STATUS_OK;
    TRY(json_read(golden_path(folder, "calibration.json"), &lists));
    x.v = arena_take(g->a, (size_t)cJSON_GetArraySize(lists), sizeof *x.v);
    cJSON_ArrayForEach(list, lists)
    {
        const int n = cJSON_GetArraySize(list);
        int32_t *ids = arena_take(g->a, (size_t)n, sizeof *ids);
        int i = 0;
        cJSON_ArrayForEach(v, list) ids[i++] = (int32_t)v->valuedouble;
        x.v[x.n++] = (example){.n = n, .ids = ids, .label = -1, .batch = -1};
        x.longest = n > x.longest ? n : x.longest;
    }
    cJSON_Delete(lists);
    return prepare_module(c->p, module, &x, seen);
}

/* All folders of adapters at once, each a module of its own. */
static status open_adapters(golden *g, peft_case *c, const char *const *folders, int n)
{
    TRY(json_string(c->entry, "base", true, &c->base, "index.json"));
    TRY(open_base(g, c));
    for (int i = 0; i < n; i++)
        TRY(adapter_add(c->p, folders[i], arena_printf(g->a, "adapter_%d", i), true));
    TRY(arena_open(&c->tuned, "tuned", (size_t)1 << 30));
    for (int i = 0; i < n; i++)
        TRY(show_samples(g, c, i, folders[i], &c->tuned));
    TRY(peft_allocate(c->p, &c->tuned));
    for (int i = 0; i < n; i++)
        TRY(adapter_load(c->p, i, folders[i], NULL));
    return STATUS_OK;
}

static void close_case(peft_case *c)
{
    if (c->want.n)
        safetensors_close(&c->want);
    weights_close(&c->w);
    arena_close(&c->tuned);
    cJSON_Delete(c->json);
}

/* Ten times what plain float32 PyTorch loses (3e-6 is typical where it is not given), and never
 * less than float32's own rounding of logits of about 10: 10 * 1e-6. */
static double logit_bound(const peft_case *c)
{
    double noise = 3e-6;

    json_double(c->entry, "f32_noise", false, &noise, c->name);
    return 10 * (noise > 1e-6 ? noise : 1e-6);
}

/* The label of sequence i of a classifier is i; its task is what PEFT was called with. */
static cJSON *sequences_of(const cJSON *lists, const cJSON *calls, const model *m)
{
    cJSON *out = cJSON_CreateArray();
    const cJSON *list;

    cJSON_ArrayForEach(list, lists)
    {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToObject(o, "ids", cJSON_Duplicate(list, true));
        if (m->head.kind == HEAD_CLASSIFY)
            cJSON_AddNumberToObject(o, "label", cJSON_GetArraySize(out) % (int)m->head.classes);
        const cJSON *call = cJSON_GetArrayItem(calls, cJSON_GetArraySize(out));
        const cJSON *task = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(call, "task_ids"), 0);
        if (task)
            cJSON_AddNumberToObject(o, "task", task->valuedouble);
        cJSON_AddItemToArray(out, o);
    }
    return out;
}

static status trace_case(golden *g, peft_case *c, bool gradients, trace_result *r)
{
    const cJSON *lists = cJSON_GetObjectItemCaseSensitive(c->entry, "sequences");
    trace_options o = {.front = true};
    const char **names;

    if (!lists)
        TRY(golden_list(c->json, c->base, &lists, "inputs.json"));
    TRY_TAKE(names, g->a, c->want.n + 1);
    for (int i = 0; gradients && i < c->want.n; i++)
        if (strncmp(c->want.e[i].name, "grad.", 5) == 0)
            names[o.n_gradients++] = c->want.e[i].name + 5;
    o.gradients = names;
    cJSON *sequences = sequences_of(lists, cJSON_GetObjectItemCaseSensitive(c->entry, "call"), &c->m);
    const status s = trace_run(g->a, &c->m, c->p, sequences, c->name, &o, r);
    cJSON_Delete(sequences);
    return s;
}

static const tensor *traced(const trace_result *r, const char *name)
{
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return &r->items[i].t;
    return NULL;
}

/* Every expected tensor prefix.<sequence>. */
static void compare_logits(golden *g, const peft_case *c, const trace_result *r, const char *prefix,
                           double bound)
{
    const size_t n = strlen(prefix);

    for (int i = 0; i < c->want.n; i++) {
        const safetensors_entry *e = &c->want.e[i];
        char name[64];
        int sequence, end = 0;
        if (strncmp(e->name, prefix, n) != 0 ||
            sscanf(e->name + n, ".%d%n", &sequence, &end) != 1 || e->name[n + (size_t)end])
            continue;
        snprintf(name, sizeof name, "seq%d.logits", sequence);
        const tensor *got = traced(r, name);
        if (got)
            golden_tensor(g, e->name, got, e, bound, true);
        else
            golden_wrong(g, "%s: there is no such sequence", e->name);
    }
}

/* The trunk's own tensor with the module's part added is merged_weight.<name>; the whole merged
 * trunk gives merged.<i>. */
static status compare_merged(golden *g, peft_case *c)
{
    peft_detach(c->p);
    for (int i = 0; i < c->p->n_tuned; i++)
        if (c->p->tensors[i].place)
            c->p->tensors[i].place->value = c->p->tensors[i].value;
    for (int i = 0; i < c->m.n_sites; i++) {
        site *s = &c->m.sites[i];
        const int64_t n = s->in * s->out;
        char name[512];
        float *w, *b = NULL;
        if (!(s->kind & (SITE_LINEAR | SITE_HEAD | SITE_EMBEDDING)))
            continue;
        TRY_TAKE(w, g->a, n);
        memcpy(w, s->weight->value.v, (size_t)n * sizeof *w);
        if (s->bias) {
            TRY_TAKE(b, g->a, s->out);
            memcpy(b, s->bias->value.v, (size_t)s->out * sizeof *b);
        }
        TRY(peft_merged(c->p, s, w, b));
        s->weight->value.v = w;
        if (b)
            s->bias->value.v = b;
        snprintf(name, sizeof name, "merged_weight.%s.weight", s->checkpoint);
        tensor got = {.s = s->weight->value.s, .type = TYPE_F32, .v = w};
        if (s->weight->turned)
            TRY(weights_turned(g->a, &got, &got));
        if (safetensors_find(&c->want, name))
            golden_tensor(g, name, &got, safetensors_find(&c->want, name), 2e-6, false);
    }
    trace_result r;
    TRY(trace_case(g, c, false, &r));
    compare_logits(g, c, &r, "merged", logit_bound(c));
    return STATUS_OK;
}

/* residual.<module>: the trunk's weight without what a start took out of it, which is the module without all that
 * it trains. Where samples say what that is, they went through the trunk in f32, which is good to 1e-6 of an input
 * and turns directions by so much over the gaps between their values: five times the bound. */
static status compare_residuals(golden *g, peft_case *c, const char *folder)
{
    static const char start[] = "residual.";
    const double bound = golden_has(folder, "calibration.json") ? 1e-5 : 2e-6;
    float *const was = arena_copy(g->a, c->p->values, (size_t)c->p->size * sizeof *was);

    if (!was)
        return STATUS_MEMORY;
    memset(c->p->values, 0, (size_t)c->p->size * sizeof *c->p->values);
    for (int i = 0; i < c->m.n_sites; i++) {
        const site *s = &c->m.sites[i];
        const safetensors_entry *want = safetensors_find(&c->want, arena_printf(g->a, "%s%s", start, s->checkpoint));
        tensor got = {.s = shape_2(s->out, s->in), .type = TYPE_F32};
        if (!want)
            continue;
        got.v = arena_copy(g->a, s->weight->value.v, tensor_bytes(&got));
        if (!got.v)
            return STATUS_MEMORY;
        TRY(peft_merged(c->p, s, got.v, NULL));
        if (s->weight->turned)
            TRY(weights_turned(g->a, &got, &got));
        golden_tensor(g, want->name, &got, want, bound, false);
    }
    memcpy(c->p->values, was, (size_t)c->p->size * sizeof *was);
    return STATUS_OK;
}

/* A gradient that is zero but for float64's rounding (of a key's bias, which softmax does not see) is in float32
 * the rounding of the terms that cancel: as large as 2^-20 of the largest gradient's values. */
static void compare_gradient(golden *g, const peft_case *c, const safetensors_item *got)
{
    const safetensors_entry *want = safetensors_find(&c->want, got->name);
    double largest = 0;

    for (int i = 0; i < c->want.n; i++)
        if (strncmp(c->want.e[i].name, "grad.", 5) == 0)
            largest = fmax(largest, golden_largest(&c->want.e[i]));
    const bool zero = want && golden_largest(want) < largest * 0x1p-40;
    golden_tensor(g, got->name, &got->t, want, zero ? largest * 0x1p-20 : 5e-5, zero);
}

static status run_forward(golden *g, peft_case *c, const char *folder)
{
    trace_result r;

    TRY(open_adapters(g, c, &folder, 1));
    TRY(json_read(golden_path(c->root, "inputs.json"), &c->json));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(trace_case(g, c, true, &r));
    compare_logits(g, c, &r, "logits", logit_bound(c));
    if (!safetensors_find(&c->want, "logits.0"))
        golden_wrong(g, "expected.safetensors has no logits.0");
    const safetensors_entry *loss = safetensors_find(&c->want, "loss");
    if (loss) {
        const tensor got = {.s = shape_1(1), .type = TYPE_F64, .v = &r.loss};
        golden_tensor(g, "loss", &got, loss, 1e-5, false);
    }
    for (int i = 0; i < r.n; i++)
        if (strncmp(r.items[i].name, "grad.", 5) == 0)
            compare_gradient(g, c, &r.items[i]);
    TRY(compare_residuals(g, c, folder));
    return safetensors_find(&c->want, "merged.0") ? compare_merged(g, c) : STATUS_OK;
}

/* ---- training
 * ------------------------------------------------------------------------------------- */

static status read_ints(arena *a, const cJSON *item, const char *key, int32_t **out, int32_t *n)
{
    const cJSON *list, *v;

    *n = 0;
    TRY(golden_list(item, key, &list, "batches.json"));
    TRY_TAKE(*out, a, cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(v, list)(*out)[(*n)++] = (int32_t)v->valuedouble;
    return STATUS_OK;
}

static status read_label(const cJSON *item, int32_t *label)
{
    int64_t v;

    TRY(json_int(item, "label", true, 0, INT32_MAX, &v, "batches.json"));
    *label = (int32_t)v;
    return STATUS_OK;
}

/* batches.json as examples with given micro-batches; `micro` of them a step. */
static status read_batches(arena *a, const cJSON *batches, int micro, const model *m, examples *x)
{
    const cJSON *list, *item;
    int64_t number = 0, most = 0;

    *x = (examples){.batched = true, .front = model_in_front(m).tokens,
                    .place = m->head.kind == HEAD_CLASSIFY ? TARGET_SEQUENCE : TARGET_NEXT};
    cJSON_ArrayForEach(list, batches) most += cJSON_GetArraySize(list);
    TRY_TAKE(x->v, a, most + 1);
    cJSON_ArrayForEach(list, batches)
    {
        const int size = (cJSON_GetArraySize(list) + micro - 1) / micro;
        int i = 0;
        cJSON_ArrayForEach(item, list)
        {
            example *e = &x->v[x->n++];
            int32_t *ids, *labels, n_labels;
            int64_t task = 0;
            TRY(json_int(item, "task", false, 0, INT32_MAX, &task, "batches.json"));
            *e = (example){.label = -1, .batch = number + i++ / size, .task = (int32_t)task};
            TRY(read_ints(a, item, "ids", &ids, &e->n));
            e->ids = ids;
            if (x->place == TARGET_SEQUENCE)
                TRY(read_label(item, &e->label));
            else {
                TRY(read_ints(a, item, "labels", &labels, &n_labels));
                if (n_labels != e->n)
                    return fail(STATUS_FORMAT, "batches.json: %d ids have %d labels", e->n, n_labels);
                e->labels = labels;
            }
            x->n_tokens += e->n;
            if (e->n > x->longest)
                x->longest = e->n;
        }
        number += micro;
    }
    return STATUS_OK;
}

static double expected(const peft_case *c, const char *name, int64_t i)
{
    const safetensors_entry *e = safetensors_find(&c->want, name);

    if (!e || i >= shape_count(e->t.s))
        return NAN;
    if (e->t.type == TYPE_F64)
        return ((const double *)e->v)[i];
    return e->t.type == TYPE_F32 ? (double)((const float *)e->v)[i]
                                 : (double)((const int32_t *)e->v)[i];
}

typedef struct compared {
    golden *g;
    const peft_case *c;
} compared;

static status compare_step(trajectory *t, const step_report *r)
{
    const compared *x = t->context;
    golden *g = x->g;

    golden_number(g, "loss", r->loss, expected(x->c, "loss", r->step), 2e-5, true);
    golden_number(g, "grad_norm", r->grad_norm, expected(x->c, "grad_norm", r->step), 5e-5, true);
    golden_number(g, "lr", r->lr, expected(x->c, "lr", r->step), 1e-6, true); /* stored as float32 */
    golden_number(g, "count", (double)r->targets, expected(x->c, "count", r->step), 0, false);
    return STATUS_OK;
}

/* The expected tensors prefix.* are those of the tuned ones, no more and no less. */
static void compare_names(golden *g, const peft_case *c, const char *prefix)
{
    const size_t length = strlen(prefix);
    int n = 0;

    for (int i = 0; i < c->want.n; i++)
        n += strncmp(c->want.e[i].name, prefix, length) == 0 && c->want.e[i].name[length] == '.';
    int trained = 0;
    for (int i = 0; i < c->p->n_tuned; i++)
        trained += !c->p->tensors[i].fixed;
    if (n != trained)
        golden_wrong(g, "%d tensors %s.* are expected, %d are tuned", n, prefix, trained);
}

/* `bound` of a tensor's largest value. Where ten times what plain float32 PyTorch loses is more
 * than that for the largest of all, it is the bound: AdamW makes whole steps of gradients near
 * zero. */
static void compare_tuned(golden *g, const peft_case *c, const char *prefix, const char *tuned_name,
                          const tensor *got, double bound)
{
    const cJSON *noises = cJSON_GetObjectItemCaseSensitive(c->entry, "float32_noise");
    double noise = 0, largest = 0;
    char name[600];

    snprintf(name, sizeof name, "%s.%s", prefix, tuned_name);
    json_double(noises, prefix, false, &noise, c->name);
    for (int i = 0; i < c->want.n; i++)
        if (strncmp(c->want.e[i].name, prefix, strlen(prefix)) == 0)
            largest = fmax(largest, golden_largest(&c->want.e[i]));
    const bool noisy = 10 * noise > bound * largest;
    golden_tensor(g, name, got, safetensors_find(&c->want, name), noisy ? 10 * noise : bound,
                  noisy);
}

/* The gradient of the first batch, before any step. */
static status compare_first(golden *g, peft_case *c)
{
    trace_options o = {0};
    trace_result r;
    const char **names;

    TRY_TAKE(names, g->a, c->p->n_tuned);
    for (int i = 0; i < c->p->n_tuned; i++)
        if (!c->p->tensors[i].fixed)
            names[o.n_gradients++] = c->p->tensors[i].name;
    o.gradients = names;
    TRY(trace_run(g->a, &c->m, c->p, c->json->child, c->name, &o, &r));
    compare_names(g, c, "grad0");
    for (int i = 0; i < r.n; i++)
        if (strncmp(r.items[i].name, "grad.", 5) == 0)
            compare_tuned(g, c, "grad0", r.items[i].name + 5, &r.items[i].t, 5e-5);
    return STATUS_OK;
}

static void compare_final(golden *g, const peft_case *c)
{
    compare_names(g, c, "final");
    for (int i = 0; i < c->p->n_tuned; i++)
        if (!c->p->tensors[i].fixed)
            compare_tuned(g, c, "final", c->p->tensors[i].name, &c->p->tensors[i].value, 2e-5);
}

/* The runs have no noise, where a method has any. */
static void without_noise(const module *m)
{
    for (int i = 0; i < m->method->keys->n; i++)
        if (strcmp(m->method->keys->keys[i].name, "noise") == 0)
            *(bool *)((char *)(uintptr_t)m->options + m->method->keys->keys[i].offset) = false;
}

static status run_train(golden *g, peft_case *c, const char *folder, int micro)
{
    const char *start = arena_printf(g->a, "%s/start", folder);
    compared both = {g, c};
    examples e;
    trajectory t = {.a = g->a, .tuned = &c->tuned, .m = &c->m, .x = &e, .micro = micro, .after = compare_step,
                    .context = &both};

    TRY(open_adapters(g, c, &start, 1));
    without_noise(&c->p->modules[0]);
    TRY(json_read(golden_path(folder, "batches.json"), &c->json));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(trajectory_options(g->a, cJSON_GetObjectItemCaseSensitive(c->entry, "hyper"), "hyper", &t.o));
    TRY(read_batches(g->a, c->json, micro, &c->m, &e));
    TRY(compare_first(g, c));
    t.p = c->p;
    TRY(trajectory_run(&t));
    compare_final(g, c);
    return STATUS_OK;
}

/* ---- combinations
 * --------------------------------------------------------------------------------- */

/* The adapters of combine/, and what PEFT made of them: <name>.logits.<i> of combine/<name>, and of
 * all those together that active_<letters> names. */
static status run_combined(golden *g, peft_case *c, const char *folder)
{
    static const char together[] = "active_";
    const char *folders[26], *letters = c->name + sizeof together - 1;
    char prefix[300];
    trace_result r;
    int n = 0;

    if (strncmp(c->name, together, sizeof together - 1) == 0)
        for (; *letters && n < 26; letters++)
            folders[n++] = arena_printf(g->a, "%s/%c", folder, *letters);
    else
        folders[n++] = arena_printf(g->a, "%s/%s", folder, c->name);
    TRY(open_adapters(g, c, folders, n));
    TRY(json_read(golden_path(c->root, "inputs.json"), &c->json));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(trace_case(g, c, false, &r));
    snprintf(prefix, sizeof prefix, "%s.logits", c->name);
    compare_logits(g, c, &r, prefix, logit_bound(c));
    return STATUS_OK;
}

static void run_combinations(golden *g, const char *root, const cJSON *entry)
{
    const cJSON *item;
    char *folder = arena_printf(g->a, "%s/combine", root);

    cJSON_ArrayForEach(item, entry)
    {
        const size_t mark = arena_mark(g->a);
        peft_case c = {.root = root, .name = item->string, .entry = entry};
        if (strcmp(item->string, "base") == 0)
            continue;
        golden_begin(g, folder, item->string);
        golden_end(g, run_combined(g, &c, folder));
        close_case(&c);
        arena_rewind(g->a, mark);
    }
}

/* ---- bare trunks
 * ---------------------------------------------------------------------------------- */

static status run_base(golden *g, peft_case *c)
{
    trace_result r;

    TRY(open_base(g, c));
    TRY(json_read(golden_path(c->root, "inputs.json"), &c->json));
    TRY(safetensors_open(g->a, arena_printf(g->a, "%s/%s_expected.safetensors", c->root, c->base),
                         &c->want));
    TRY(trace_case(g, c, false, &r));
    compare_logits(g, c, &r, "logits", logit_bound(c));
    return STATUS_OK;
}

static void run_bases(golden *g, const char *root)
{
    char **names;
    int n;

    if (golden_names(g->a, root, true, &names, &n) != STATUS_OK)
        return;
    for (int i = 0; i < n; i++) {
        const size_t mark = arena_mark(g->a);
        peft_case c = {.root = root, .name = names[i], .base = names[i]};
        if (!golden_has(root, arena_printf(g->a, "%s_expected.safetensors", names[i])))
            continue;
        golden_begin(g, root, names[i]);
        golden_end(g, run_base(g, &c));
        close_case(&c);
        arena_rewind(g->a, mark);
    }
}

/* ---- the folder
 * ----------------------------------------------------------------------------------- */

static void run_case(golden *g, const char *root, const cJSON *entry, const char *name, bool train,
                     int micro)
{
    const size_t mark = arena_mark(g->a);
    peft_case c = {.root = root, .name = name, .entry = entry};
    char *folder = arena_printf(g->a, "%s/%s/%s", root, train ? "train" : "forward", name);

    golden_begin(g, folder, micro == 2 ? "(two micro-batches)" : "");
    golden_end(g, !path_is_folder(folder)
                      ? fail(STATUS_FORMAT, "index.json names it, but it is not there")
                  : train ? run_train(g, &c, folder, micro)
                          : run_forward(g, &c, folder));
    close_case(&c);
    arena_rewind(g->a, mark);
}

static void run_forwards(golden *g, const char *root, const cJSON *list)
{
    const cJSON *entry, *converted;

    cJSON_ArrayForEach(entry, list)
    {
        if (strcmp(entry->string, "combine") == 0) {
            run_combinations(g, root, entry);
            continue;
        }
        run_case(g, root, entry, entry->string, false, 1);
        converted = cJSON_GetObjectItemCaseSensitive(entry, "converted");
        const char *folder = NULL, *slash;
        if (converted &&
            json_string(converted, "folder", true, &folder, "index.json") == STATUS_OK) {
            slash = strrchr(folder, '/');
            run_case(g, root, entry, slash ? slash + 1 : folder, false, 1);
        }
    }
}

/* Folders below forward/ or train/ that the index does not name have no trunk to run on. */
static void leave_out(golden *g, const char *root, const char *kind, const cJSON *list)
{
    char **names, *folder = path_join(g->a, root, kind);
    int n;

    if (!folder || !path_is_folder(folder) ||
        golden_names(g->a, folder, true, &names, &n) != STATUS_OK)
        return;
    for (int i = 0; i < n; i++) {
        const cJSON *entry;
        bool known = cJSON_HasObjectItem(list, names[i]);
        cJSON_ArrayForEach(entry, list)
        {
            const cJSON *f = cJSON_GetObjectItem(cJSON_GetObjectItem(entry, "converted"), "folder");
            const char *slash = cJSON_IsString(f) ? strrchr(f->valuestring, '/') : NULL;
            known = known || (slash && strcmp(slash + 1, names[i]) == 0);
        }
        if (!known)
            golden_skip(g, folder, names[i], "index.json does not name it");
    }
}

bool golden_peft(golden *g, const char *folder)
{
    cJSON *index = NULL;
    const cJSON *entry, *forward, *train;

    if (!golden_has(folder, "index.json") ||
        !(golden_has(folder, "inputs.json") || golden_has(folder, "forward") ||
          golden_has(folder, "train")))
        return false;
    golden_begin(g, folder, "index.json");
    const status s = json_read(golden_path(folder, "index.json"), &index);
    forward = cJSON_GetObjectItemCaseSensitive(index, "forward");
    train = cJSON_GetObjectItemCaseSensitive(index, "train");
    if (s != STATUS_OK || (!forward && !train))
        golden_end(g, s != STATUS_OK
                          ? s
                          : fail(STATUS_FORMAT, "index.json has neither forward nor train"));
    run_bases(g, folder);
    run_forwards(g, folder, forward);
    cJSON_ArrayForEach(entry, train)
    {
        run_case(g, folder, entry, entry->string, true, 1);
        run_case(g, folder, entry, entry->string, true, 2);
    }
    leave_out(g, folder, "forward", forward);
    leave_out(g, folder, "train", train);
    cJSON_Delete(index);
    return true;
}
