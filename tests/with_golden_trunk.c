/* golden trunks: a Hugging Face folder with case.json and expected.safetensors
 * (golden/trunks/README.md) */
#include "core/json.h"
#include "core/quant.h"
#include "recipes/trace.h"
#include "tests/with_golden.h"

#include <string.h>

typedef struct trunk_case {
    cJSON *json;
    weights w;
    safetensors want;
    model m;
} trunk_case;

static status gradient_names(arena *a, const cJSON *json, const char *const **names, int *n)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "gradients"), *item;
    const char **v;

    *n = 0;
    TRY_TAKE(v, a, cJSON_GetArraySize(list) + 1);
    cJSON_ArrayForEach(item, list) v[(*n)++] = item->valuestring;
    *names = v;
    return STATUS_OK;
}

static bool has_narrow(const model *m)
{
    for (int i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].value.type != TYPE_F32)
            return true;
    return false;
}

/* Weights that are stored narrower become f32: gradients of stored ones are not computed. */
static status widen(arena *a, model *m)
{
    for (int i = 0; i < m->n_tensors; i++) {
        tensor *t = &m->tensors[i].value;
        float *v;
        if (t->type == TYPE_F32)
            continue;
        TRY_TAKE(v, a, shape_count(t->s));
        quant_expand(t->type, t->v, shape_count(t->s), v);
        *t = (tensor){.s = t->s, .type = TYPE_F32, .v = v};
    }
    return STATUS_OK;
}

/* seqN.cotangent of all sequences, one after another. */
static status join_cotangents(golden *g, const trunk_case *c, int n, tensor *out)
{
    const int64_t C = c->m.width;
    int64_t rows = 0;
    float *v = NULL;

    for (int pass = 0; pass < 2; pass++) {
        rows = 0;
        for (int i = 0; i < n; i++) {
            char name[64];
            snprintf(name, sizeof name, "seq%d.cotangent", i);
            const safetensors_entry *e = safetensors_find(&c->want, name);
            if (!e || e->t.type != TYPE_F32 || shape_last(e->t.s) != C)
                return fail(STATUS_FORMAT, "expected.safetensors: %s must be there as F32 with %lld columns", name,
                            (long long)C);
            if (v)
                memcpy(v + rows * C, e->v, (size_t)shape_count(e->t.s) * sizeof *v);
            rows += shape_count(e->t.s) / C;
        }
        if (!v)
            TRY_TAKE(v, g->a, rows * C);
    }
    *out = (tensor){.s = shape_2(rows, C), .type = TYPE_F32, .v = v};
    return STATUS_OK;
}

/* seqN.pixel_values of all sequences. */
static status find_pixels(golden *g, const trunk_case *c, int n, const tensor **out)
{
    tensor *v;

    TRY_TAKE(v, g->a, n);
    *out = v;
    for (int i = 0; i < n; i++) {
        char name[64];
        snprintf(name, sizeof name, "seq%d.pixel_values", i);
        const safetensors_entry *e = safetensors_find(&c->want, name);
        if (!e)
            return fail(STATUS_FORMAT, "expected.safetensors: %s is missing", name);
        v[i] = e->t;
        v[i].v = (void *)(uintptr_t)e->v;
    }
    return STATUS_OK;
}

/* What case.json calls the head of a model. */
static const char *kind_of(const model *m)
{
    if (m->head.kind == HEAD_CLASSIFY && m->image.channels > 0)
        return "image_classify";
    return m->head.kind == HEAD_NONE ? "hidden" : head_name(m->head.kind);
}

/* Every expected tensor, without the gradients when they were not asked for. */
static void compare(golden *g, const trunk_case *c, const trace_result *r, bool gradients)
{
    const cJSON *tolerance = cJSON_GetObjectItemCaseSensitive(c->json, "tolerance");
    double tensor_bound = 2e-5, loss_bound = 1e-5, loss = 0;

    json_double(tolerance, "tensor", false, &tensor_bound, g->name);
    json_double(tolerance, "loss", false, &loss_bound, g->name);
    json_double(c->json, "loss", true, &loss, g->name);
    golden_number(g, "loss", r->loss, loss, loss_bound, true);
    for (int i = 0; i < c->want.n; i++) {
        bool found = (!gradients && strncmp(c->want.e[i].name, "grad.", 5) == 0) ||
                     strstr(c->want.e[i].name, ".cotangent") || strstr(c->want.e[i].name, ".pixel_values");
        for (int k = 0; k < r->n; k++)
            if (strcmp(r->items[k].name, c->want.e[i].name) == 0) {
                golden_tensor(g, r->items[k].name, &r->items[k].t, &c->want.e[i], tensor_bound,
                              false);
                found = true;
            }
        if (!found)
            golden_wrong(g, "%s was not computed", c->want.e[i].name);
    }
}

static status run(golden *g, const char *folder, trunk_case *c, recompute how)
{
    trace_options o = {.hidden = true, .how = how};
    const cJSON *sequences;
    const char *kind = "";
    tensor cotangent = {0};
    trace_result r;

    TRY(json_read(golden_path(folder, "case.json"), &c->json));
    TRY(weights_open(g->a, folder, &c->w));
    TRY(model_open(g->a, &c->w, TYPE_F32, &c->m));
    TRY(safetensors_open(g->a, golden_path(folder, "expected.safetensors"), &c->want));
    TRY(json_string(c->json, "kind", true, &kind, folder));
    if (strcmp(kind, kind_of(&c->m)) != 0)
        return fail(STATUS_FORMAT, "%s: kind is %s, the head is %s", folder, kind, kind_of(&c->m));
    TRY(golden_list(c->json, "sequences", &sequences, folder));
    if (c->m.head.kind == HEAD_NONE)
        TRY(join_cotangents(g, c, cJSON_GetArraySize(sequences), &cotangent));
    o.cotangent = cotangent.v ? &cotangent : NULL;
    if (c->m.image.channels > 0)
        TRY(find_pixels(g, c, cJSON_GetArraySize(sequences), &o.pixels));
    if (has_narrow(&c->m)) {
        TRY(trace_run(g->a, &c->m, NULL, sequences, folder, &o, &r));
        compare(g, c, &r, false);
        TRY(widen(g->a, &c->m));
    }
    TRY(gradient_names(g->a, c->json, &o.gradients, &o.n_gradients));
    TRY(trace_run(g->a, &c->m, NULL, sequences, folder, &o, &r));
    compare(g, c, &r, true);
    return STATUS_OK;
}

bool golden_trunk(golden *g, const char *folder)
{
    if (!golden_has(folder, "case.json") || !golden_has(folder, "config.json"))
        return false;
    for (int how = RECOMPUTE_NONE; how <= RECOMPUTE_BLOCK; how++) {
        trunk_case c = {0};
        const size_t mark = arena_mark(g->a);

        golden_begin(g, folder, how == RECOMPUTE_BLOCK ? "(blocks recomputed)" : "");
        golden_end(g, run(g, folder, &c, (recompute)how));
        if (c.want.n)
            safetensors_close(&c.want);
        weights_close(&c.w);
        cJSON_Delete(c.json);
        arena_rewind(g->a, mark);
    }
    return true;
}
