/* golden adapters: a folder with index.json, base_* trunks, forward/<case> and train/<case>
 * (golden/peft/README.md) */
#include "core/file.h"
#include "core/json.h"
#include "recipes/trace.h"
#include "recipes/trainer.h"
#include "tests/with_golden.h"

#include <math.h>
#include <string.h>

typedef struct peft_case {
    const char  *root, *name;
    const cJSON *entry; /* of index.json */
    cJSON       *json;  /* inputs or batches */
    weights      w;
    model        m;
    peft        *p;
    safetensors  want;
    arena        tuned;
} peft_case;

static status open_adapter(golden *g, peft_case *c, const char *folder)
{
    const peft_method  *method;
    void               *options;
    const char *const  *sites;
    int                 n;
    const char         *base = NULL;

    TRY(json_string(c->entry, "base", true, &base, "index.json"));
    TRY(weights_open(g->a, arena_printf(g->a, "%s/%s", c->root, base), &c->w));
    TRY(model_open(g->a, &c->w, TYPE_F32, &c->m));
    TRY(peft_open(g->a, &c->m, 0, &c->p));
    TRY(adapter_read_config(g->a, folder, &c->m, &method, &options, &sites, &n));
    TRY(peft_add(c->p, "main", method, options, sites, n, true));
    TRY(arena_open(&c->tuned, "tuned", (size_t)1 << 30));
    TRY(peft_allocate(c->p, &c->tuned));
    return adapter_load(c->p, 0, folder, NULL);
}

static void close_case(peft_case *c)
{
    if (c->want.n)
        safetensors_close(&c->want);
    weights_close(&c->w);
    arena_close(&c->tuned);
    cJSON_Delete(c->json);
}

/* Ten times what plain float32 PyTorch loses, and never less than float32's own rounding of logits of
 * about 10: 10 * 1e-6. */
static double logit_bound(const peft_case *c)
{
    double noise = 1e-6;

    json_double(c->entry, "f32_noise", false, &noise, c->name);
    return 10 * (noise > 1e-6 ? noise : 1e-6);
}

static cJSON *sequences_of(const cJSON *lists)
{
    cJSON       *out = cJSON_CreateArray();
    const cJSON *list;

    cJSON_ArrayForEach(list, lists)
    {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddItemToObject(o, "ids", cJSON_Duplicate(list, true));
        cJSON_AddItemToArray(out, o);
    }
    return out;
}

static status trace_case(golden *g, peft_case *c, bool gradients, trace_result *r)
{
    const cJSON  *own = cJSON_GetObjectItemCaseSensitive(c->entry, "sequences");
    const char   *base = cJSON_GetObjectItemCaseSensitive(c->entry, "base")->valuestring;
    trace_options o = {0};
    const char  **names;

    TRY_TAKE(names, g->a, c->want.n + 1);
    for (int i = 0; gradients && i < c->want.n; i++)
        if (strncmp(c->want.e[i].name, "grad.", 5) == 0)
            names[o.n_gradients++] = c->want.e[i].name + 5;
    o.gradients = names;
    cJSON       *sequences = sequences_of(own ? own : cJSON_GetObjectItemCaseSensitive(c->json, base));
    const status s = trace_run(g->a, &c->m, c->p, sequences, c->name, &o, r);
    cJSON_Delete(sequences);
    return s;
}

static void compare_logits(golden *g, const peft_case *c, const trace_result *r, const char *prefix,
                           double bound)
{
    for (int i = 0; i < r->n; i++) {
        char want[64];
        int  n;
        if (sscanf(r->items[i].name, "seq%d.logits", &n) != 1)
            continue;
        snprintf(want, sizeof want, "%s.%d", prefix, n);
        if (safetensors_find(&c->want, want))
            golden_tensor(g, want, &r->items[i].t, safetensors_find(&c->want, want), bound, true);
    }
}

/* The trunk's own tensor with the module's part added is merged_weight.<name>; the whole merged trunk
 * gives merged.<i>. */
static status compare_merged(golden *g, peft_case *c)
{
    peft_detach(c->p);
    for (int i = 0; i < c->m.n_sites; i++) {
        site         *s = &c->m.sites[i];
        const int64_t n = s->in * s->out;
        char          name[512];
        float        *w;
        TRY_TAKE(w, g->a, n);
        memcpy(w, s->weight->value.v, (size_t)n * sizeof *w);
        TRY(peft_merged_weight(c->p, s, w));
        if (s->kind == SITE_LINEAR)
            s->weight->value.v = w;
        snprintf(name, sizeof name, "merged_weight.%s.weight", s->checkpoint);
        const tensor got = {.s = shape_2(s->out, s->in), .type = TYPE_F32, .v = w};
        if (safetensors_find(&c->want, name))
            golden_tensor(g, name, &got, safetensors_find(&c->want, name), 2e-6, false);
    }
    trace_result r;
    TRY(trace_case(g, c, false, &r));
    compare_logits(g, c, &r, "merged", logit_bound(c));
    return STATUS_OK;
}

static status run_forward(golden *g, peft_case *c, const char *folder)
{
    trace_result r;

    TRY(open_adapter(g, c, folder));
    TRY(json_read(golden_path(c->root, "inputs.json"), &c->json));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(trace_case(g, c, true, &r));
    compare_logits(g, c, &r, "logits", logit_bound(c));
    const safetensors_entry *loss = safetensors_find(&c->want, "loss");
    if (loss) {
        const tensor got = {.s = shape_1(1), .type = TYPE_F64, .v = &r.loss};
        golden_tensor(g, "loss", &got, loss, 1e-5, false);
    }
    for (int i = 0; i < r.n; i++)
        if (strncmp(r.items[i].name, "grad.", 5) == 0)
            golden_tensor(g, r.items[i].name, &r.items[i].t,
                          safetensors_find(&c->want, r.items[i].name), 5e-5, false);
    return safetensors_find(&c->want, "merged.0") ? compare_merged(g, c) : STATUS_OK;
}

/* ---- training ------------------------------------------------------------------------------------- */

static status read_ints(arena *a, const cJSON *list, int32_t **out, int32_t *n)
{
    const cJSON *item;

    *n = 0;
    TRY_TAKE(*out, a, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)(*out)[(*n)++] = (int32_t)item->valuedouble;
    return STATUS_OK;
}

/* batches.json as examples with given micro-batches; `micro` of them a step. */
static status read_batches(arena *a, const cJSON *batches, int micro, examples *x)
{
    const cJSON *list, *item;
    int64_t      number = 0;

    *x = (examples){.batched = true};
    TRY_TAKE(x->v, a, 100000);
    cJSON_ArrayForEach(list, batches)
    {
        const int size = (cJSON_GetArraySize(list) + micro - 1) / micro;
        int       i = 0;
        cJSON_ArrayForEach(item, list)
        {
            example *e = &x->v[x->n++];
            int32_t *ids, *labels, n_labels;
            if (!cJSON_GetObjectItemCaseSensitive(item, "labels"))
                return fail(STATUS_UNSUPPORTED, "classification is not in this version");
            *e = (example){.label = -1, .batch = number + i++ / size};
            TRY(read_ints(a, cJSON_GetObjectItemCaseSensitive(item, "ids"), &ids, &e->n));
            TRY(read_ints(a, cJSON_GetObjectItemCaseSensitive(item, "labels"), &labels, &n_labels));
            CHECK(n_labels == e->n);
            e->ids = ids;
            e->labels = labels;
            x->n_tokens += e->n;
            if (e->n > x->longest)
                x->longest = e->n;
        }
        number += micro;
    }
    return STATUS_OK;
}

typedef struct adamw_like { /* the options of adamw, by its key table's offsets */
    char bytes[256];
} adamw_like;

static void set_option(const optimizer *o, adamw_like *options, const char *name, double value)
{
    for (int i = 0; i < o->keys->n; i++)
        if (strcmp(o->keys->keys[i].name, name) == 0)
            memcpy(options->bytes + o->keys->keys[i].offset, &value, sizeof value);
}

static status adamw_options(const cJSON *hyper, const optimizer **kind, adamw_like *options)
{
    static const char *const betas[] = {"0.9", "0.999"};
    static const key_texts   list = {2, betas};
    double                   lr = 0, eps = 0, decay = 0;

    TRY(optim_find("adamw", kind));
    CHECK((*kind)->keys->size <= sizeof *options);
    memset(options, 0, sizeof *options);
    TRY(json_double(hyper, "lr", true, &lr, "hyper"));
    TRY(json_double(hyper, "eps", true, &eps, "hyper"));
    TRY(json_double(hyper, "weight_decay", true, &decay, "hyper"));
    set_option(*kind, options, "lr", lr);
    set_option(*kind, options, "eps", eps);
    set_option(*kind, options, "weight_decay", decay);
    for (int i = 0; i < (*kind)->keys->n; i++)
        if (strcmp((*kind)->keys->keys[i].name, "betas") == 0)
            memcpy(options->bytes + (*kind)->keys->keys[i].offset, &list, sizeof list);
    return STATUS_OK;
}

static double expected(const peft_case *c, const char *name, int64_t i)
{
    const safetensors_entry *e = safetensors_find(&c->want, name);

    if (!e || i >= shape_count(e->t.s))
        return NAN;
    if (e->t.type == TYPE_F64)
        return ((const double *)e->v)[i];
    return e->t.type == TYPE_F32 ? (double)((const float *)e->v)[i] : (double)((const int32_t *)e->v)[i];
}

static status run_steps(golden *g, peft_case *c, trainer *x, packer *data, int64_t steps)
{
    for (int64_t t = 0; t < steps; t++) {
        step_report r;
        TRY(trainer_step(x, data, t, &r));
        golden_number(g, "loss", r.loss, expected(c, "loss", t), 2e-5, true);
        golden_number(g, "grad_norm", r.grad_norm, expected(c, "grad_norm", t), 5e-5, true);
        golden_number(g, "lr", r.lr, expected(c, "lr", t), 1e-6, true); /* stored as float32 */
    }
    return STATUS_OK;
}

static void compare_final(golden *g, const peft_case *c)
{
    for (int i = 0; i < c->p->n_tuned; i++) {
        char name[600];
        snprintf(name, sizeof name, "final.%s", c->p->tensors[i].name);
        golden_tensor(g, name, &c->p->tensors[i].value, safetensors_find(&c->want, name), 2e-5, false);
    }
}

static status run_train(golden *g, peft_case *c, const char *folder, int micro)
{
    const cJSON     *hyper = cJSON_GetObjectItemCaseSensitive(c->entry, "hyper");
    trainer_options  o = {.schedule = {.schedule = "cosine"}, .clip = {.clip = 1}};
    adamw_like       options;
    examples         e;
    packer           data;
    trainer          x = {0};

    TRY(open_adapter(g, c, arena_printf(g->a, "%s/start", folder)));
    TRY(json_read(golden_path(folder, "batches.json"), &c->json));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(read_batches(g->a, c->json, micro, &e));
    TRY(packer_open(g->a, &e, &(pack_options){.accumulate = micro}, &data));
    TRY(adamw_options(hyper, &o.optimizer, &options));
    o.optimizer_options = &options;
    TRY(json_double(hyper, "warmup", true, &o.schedule.warmup, "hyper"));
    TRY(json_int(hyper, "steps", true, 1, 100000, &o.steps, "hyper"));
    o.pack = data.capacity;
    o.seqs = data.seqs_capacity;
    o.leaves = data.leaves_capacity;
    status s = trainer_open(&x, g->a, &c->tuned, &c->m, c->p, &o, false);
    if (s == STATUS_OK)
        s = run_steps(g, c, &x, &data, o.steps);
    trainer_close(&x);
    if (s == STATUS_OK)
        compare_final(g, c);
    return s;
}

static void run_case(golden *g, const char *root, const cJSON *entry, const char *kind, int micro)
{
    const size_t mark = arena_mark(g->a);
    peft_case    c = {.root = root, .name = entry->string, .entry = entry};
    char        *folder = arena_printf(g->a, "%s/%s/%s", root, kind, entry->string);

    if (!path_is_folder(folder))
        return;
    golden_begin(g, folder, micro == 2 ? "(two micro-batches)" : "");
    golden_end(g, strcmp(kind, "train") == 0 ? run_train(g, &c, folder, micro)
                                             : run_forward(g, &c, folder));
    close_case(&c);
    arena_rewind(g->a, mark);
}

bool golden_peft(golden *g, const char *folder)
{
    cJSON       *index;
    const cJSON *entry;

    if (!golden_has(folder, "index.json") || !golden_has(folder, "inputs.json"))
        return false;
    if (json_read(golden_path(folder, "index.json"), &index) != STATUS_OK)
        return false;
    char root[2048];
    snprintf(root, sizeof root, "%s", folder);
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "forward"))
        run_case(g, root, entry, "forward", 1);
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(index, "train"))
    {
        run_case(g, root, entry, "train", 1);
        run_case(g, root, entry, "train", 2);
    }
    cJSON_Delete(index);
    return true;
}
