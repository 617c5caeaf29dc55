/* inspect: what is inside a model, an adapter, a run or a checkpoint. Nothing is executed, no value read. */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/gguf.h"
#include "core/json.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "recipes/checkpoint.h"

#include <string.h>

typedef struct listing {
    FILE   *out;
    bool    json, any;
    int64_t tensors, values;
    size_t  bytes;
} listing;

static void print_tensor(listing *l, const char *name, const char *type, shape s, size_t bytes)
{
    l->tensors++;
    l->values += shape_count(s);
    l->bytes += bytes;
    if (l->json) {
        fprintf(l->out, "%s{\"name\": \"%s\", \"type\": \"%s\", \"shape\": %s, \"bytes\": %zu}",
                l->any ? ",\n  " : "\n  ", name, type, shape_text(s), bytes);
        l->any = true;
    } else
        fprintf(l->out, "  %-70s %-7s %s\n", name, type, shape_text(s));
}

static void begin(listing *l, const char *kind, const char *path)
{
    if (l->json)
        fprintf(l->out, "{\"kind\": \"%s\", \"path\": \"%s\", \"tensors\": [", kind, path);
    else
        fprintf(l->out, "%s: %s\n", path, kind);
}

static void end(listing *l)
{
    if (l->json)
        fprintf(l->out, "],\n \"count\": %lld, \"values\": %lld, \"bytes\": %zu}\n",
                (long long)l->tensors, (long long)l->values, l->bytes);
    else
        fprintf(l->out, "  %lld tensors, %lld values, %.1f MB\n", (long long)l->tensors,
                (long long)l->values, (double)l->bytes / 1e6);
}

static void print_safetensors(listing *l, const safetensors *f)
{
    for (int i = 0; i < f->n_metadata && !l->json; i++)
        fprintf(l->out, "  %s = %.100s\n", f->metadata[i].key, f->metadata[i].value);
    for (int i = 0; i < f->n; i++)
        print_tensor(l, f->e[i].name, f->e[i].type_name, f->e[i].opaque ? shape_1(0) : f->e[i].t.s,
                     f->e[i].bytes);
}

static status inspect_safetensors(arena *a, listing *l, const char *path)
{
    safetensors f;

    TRY(safetensors_open(a, path, &f));
    begin(l, "safetensors", path);
    print_safetensors(l, &f);
    end(l);
    safetensors_close(&f);
    return STATUS_OK;
}

static void print_pair(listing *l, const gguf_pair *p)
{
    int64_t   whole;
    double    real;
    gguf_text text;

    if (gguf_as_text(&p->value, &text))
        fprintf(l->out, "  %s = %.*s%s\n", p->key, (int)(text.n < 80 ? text.n : 80), text.v,
                text.n > 80 ? "..." : "");
    else if (gguf_as_int(&p->value, &whole))
        fprintf(l->out, "  %s = %lld\n", p->key, (long long)whole);
    else if (gguf_as_double(&p->value, &real))
        fprintf(l->out, "  %s = %g\n", p->key, real);
    else
        fprintf(l->out, "  %s: %llu items\n", p->key, (unsigned long long)p->value.n);
}

static status inspect_gguf(arena *a, listing *l, const char *path)
{
    gguf g;

    TRY(gguf_open(a, path, &g));
    begin(l, "GGUF", path);
    for (int64_t i = 0; i < g.n_pairs && !l->json; i++)
        print_pair(l, &g.pairs[i]);
    for (int64_t i = 0; i < g.n_tensors; i++)
        print_tensor(l, g.tensors[i].name, dtype_name(g.tensors[i].t.type), g.tensors[i].t.s,
                     tensor_bytes(&g.tensors[i].t));
    end(l);
    gguf_close(&g);
    return STATUS_OK;
}

static status print_text_file(arena *a, listing *l, const char *folder, const char *name)
{
    char  *path = path_join(a, folder, name), *text;
    size_t n;

    if (!path || !path_exists(path) || l->json)
        return STATUS_OK;
    TRY(file_read(a, path, 1 << 20, &text, &n));
    fprintf(l->out, "%s:\n%s\n", path, text);
    return STATUS_OK;
}

static status inspect_run(arena *a, listing *l, const char *path)
{
    checkpoint_found found;

    TRY(checkpoint_find_newest_good(a, path, &found));
    if (l->json) {
        fprintf(l->out, "{\"kind\": \"run\", \"path\": \"%s\", \"step\": %lld, \"checkpoint\": %s%s%s}\n",
                path, found.any ? (long long)found.step : -1LL, found.any ? "\"" : "",
                found.any ? found.path : "null", found.any ? "\"" : "");
        return STATUS_OK;
    }
    fprintf(l->out, "%s: run\n", path);
    if (found.any)
        fprintf(l->out, "  newest good checkpoint: %s, after step %lld\n  base %s\n  recipe %s\n",
                found.path, (long long)found.step, found.facts.base ? found.facts.base : "?",
                found.facts.recipe ? found.facts.recipe : "?");
    else
        fprintf(l->out, "  no good checkpoint\n");
    return print_text_file(a, l, path, "recipe.yaml");
}

static status inspect_checkpoint(arena *a, listing *l, const char *path)
{
    checkpoint_found found;

    TRY(checkpoint_verify(a, path, &found));
    fprintf(l->out, l->json ? "{\"kind\": \"checkpoint\", \"path\": \"%s\", \"step\": %lld, \"good\": true}\n"
                            : "%s: checkpoint after step %lld, every byte as it was written\n",
            path, (long long)found.step);
    return STATUS_OK;
}

static bool has(arena *a, const char *folder, const char *name)
{
    const char *path = path_join(a, folder, name);
    return path && path_exists(path);
}

static status inspect_folder(arena *a, listing *l, const char *path)
{
    if (has(a, path, "MANIFEST.json"))
        return inspect_checkpoint(a, l, path);
    if (has(a, path, "metrics.jsonl"))
        return inspect_run(a, l, path);
    if (has(a, path, "adapter_config.json")) {
        TRY(print_text_file(a, l, path, "adapter_config.json"));
        return inspect_safetensors(a, l, path_join(a, path, "adapter_model.safetensors"));
    }
    if (has(a, path, "config.json")) {
        TRY(print_text_file(a, l, path, "config.json"));
        if (has(a, path, "model.safetensors"))
            return inspect_safetensors(a, l, path_join(a, path, "model.safetensors"));
        return print_text_file(a, l, path, "model.safetensors.index.json");
    }
    return fail(STATUS_USAGE, "%s: is no model, adapter, run or checkpoint: it holds none of config.json, "
                "adapter_config.json, metrics.jsonl, MANIFEST.json", path);
}

status command_inspect(const char *path, bool json, FILE *out)
{
    arena   a;
    listing l = {.out = out, .json = json};
    status  s;

    TRY(arena_open(&a, "setup", (size_t)4 << 30));
    if (path_is_folder(path))
        s = inspect_folder(&a, &l, path);
    else if (text_ends(path, ".gguf"))
        s = inspect_gguf(&a, &l, path);
    else if (text_ends(path, ".yaml") || text_ends(path, ".yml"))
        s = fail(STATUS_USAGE, "inspect: %s is a recipe; ./cambium plan %s tells what it means", path, path);
    else
        s = inspect_safetensors(&a, &l, path);
    arena_close(&a);
    return s;
}
