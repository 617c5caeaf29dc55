/* weights: the tensors of a GGUF file under their checkpoint names, checked against the config */
#include "core/json.h"
#include "core/quant.h"
#include "layers/weights_files.h"

#include <string.h>

typedef struct reader {
    const char     *path;
    int64_t         layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
    const gguf_map *map;
    uint8_t        *seen; /* [layers][n_block] */
} reader;

/* The config's reader has checked all ranges. */
static status read_sizes(const cJSON *config, reader *r)
{
    const struct {
        const char *key;
        int64_t    *to;
    } sizes[] = {{"num_hidden_layers", &r->layers},
                 {"hidden_size", &r->hidden},
                 {"intermediate_size", &r->ffn},
                 {"num_attention_heads", &r->heads},
                 {"num_key_value_heads", &r->kv_heads},
                 {"head_dim", &r->head_dim},
                 {"vocab_size", &r->vocab}};

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        TRY(json_int(config, sizes[i].key, true, 1, INT32_MAX, sizes[i].to, r->path));
    return STATUS_OK;
}

static int64_t size_of(const reader *r, char letter)
{
    switch (letter) {
    case 'v':
        return r->vocab;
    case 'h':
        return r->hidden;
    case 'f':
        return r->ffn;
    case 'q':
        return r->heads * r->head_dim;
    case 'k':
        return r->kv_heads * r->head_dim;
    case 'd':
        return r->head_dim;
    default:
        return r->head_dim / 2;
    }
}

static status check_tensor(const reader *r, const gguf_role *as, const gguf_tensor *g)
{
    shape want = {.n = (int)strlen(as->sizes)};

    for (int i = 0; i < want.n; i++)
        want.d[i] = size_of(r, as->sizes[i]);
    if (!shape_equal(g->t.s, want))
        return fail(STATUS_SHAPE, "%s: tensor %.200s is %s, must be %s", r->path, g->name,
                    shape_text(g->t.s), shape_text(want));
    if (!quant_is_real(g->t.type))
        return fail(STATUS_FORMAT, "%s: tensor %.200s is stored as %s, must hold real numbers",
                    r->path, g->name, dtype_name(g->t.type));
    return STATUS_OK;
}

/* Rows are put back as bytes. */
static status unpermute(arena *a, const reader *r, int64_t heads, tensor *t)
{
    void *to;

    if (t->s.n == 1 && dtype_block(t->type) != 1)
        return fail(STATUS_UNSUPPORTED,
                    "%s: a bias of q or k is stored as %s, must be a plain type", r->path,
                    dtype_name(t->type));
    to = arena_take(a, tensor_bytes(t), 1);
    if (!to)
        return STATUS_MEMORY;
    gguf_permute(t->v, to, heads, r->head_dim, tensor_bytes(t) / (size_t)(heads * r->head_dim), false);
    t->v = to;
    return STATUS_OK;
}

static status translate(arena *a, const reader *r, const gguf_tensor *g, weight *out)
{
    const gguf_role *as;
    int64_t          number;

    TRY(gguf_map_checkpoint(a, r->map, g->name, &as, &number, &out->name));
    if (!as)
        return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is not known for this architecture",
                    r->path, g->name);
    if (number >= r->layers)
        return fail(STATUS_FORMAT,
                    "%s: tensor %.200s: the block must be 0..%lld, block_count is "
                    "%lld",
                    r->path, g->name, (long long)r->layers - 1, (long long)r->layers);
    if (number >= 0)
        r->seen[number * r->map->n_block + (as - r->map->block)] = 1;
    TRY(check_tensor(r, as, g));
    out->t = g->t;
    if (as->permuted && r->map->permutes)
        TRY(unpermute(a, r, as->permuted == 'q' ? r->heads : r->kv_heads, &out->t));
    return STATUS_OK;
}

static status check_complete(const reader *r, const gguf *g)
{
    const gguf_map *map = r->map;

    for (int i = 0; i < map->n_whole; i++)
        if (map->whole[i].need && !gguf_find_tensor(g, map->whole[i].gguf))
            return fail(STATUS_FORMAT, "%s: has no tensor %s", r->path, map->whole[i].gguf);
    for (int j = 0; j < map->n_block; j++) {
        bool any = map->block[j].need;
        for (int64_t n = 0; n < r->layers; n++)
            any = any || r->seen[n * map->n_block + j];
        for (int64_t n = 0; any && n < r->layers; n++)
            if (!r->seen[n * map->n_block + j])
                return fail(STATUS_FORMAT, "%s: has no tensor blk.%lld.%s, must have %lld blocks",
                            r->path, (long long)n, map->block[j].gguf, (long long)r->layers);
    }
    return STATUS_OK;
}

static status find_map(arena *a, const gguf *g, const char *path, const gguf_map **out)
{
    const char *architecture, *type = "model";

    TRY(gguf_string(a, g, "general.architecture", true, &architecture));
    TRY(gguf_string(a, g, "general.type", false, &type));
    if (strcmp(type, "model") != 0)
        return fail(STATUS_UNSUPPORTED, "%s: holds %s %.60s, must hold a model%s", path,
                    strchr("aeiou", type[0]) ? "an" : "a", type,
                    strcmp(type, "adapter") == 0 ? "; `convert` makes an adapter folder of it" : "");
    *out = gguf_map_of(architecture);
    return *out ? STATUS_OK
                : fail(STATUS_UNSUPPORTED, "%s: architecture is %.80s, must be %s", path, architecture,
                       gguf_map_names(a));
}

status weights_from_gguf(arena *a, weights *w)
{
    const gguf *g = &w->files->container;
    reader      r = {.path = w->path};

    TRY(find_map(a, g, w->path, &r.map));
    TRY(r.map->read_config(a, g, r.map, &w->config));
    TRY(read_sizes(w->config, &r));
    TRY_TAKE(r.seen, a, r.layers * r.map->n_block);
    memset(r.seen, 0, (size_t)(r.layers * r.map->n_block));
    TRY_TAKE(w->w, a, g->n_tensors);
    for (int64_t i = 0; i < g->n_tensors; i++)
        TRY(translate(a, &r, &g->tensors[i], &w->w[i]));
    w->n = (int)g->n_tensors;
    return check_complete(&r, g);
}
