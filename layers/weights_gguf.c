/* weights: the tensors of a GGUF file under their checkpoint names, checked against the config */
#include "core/quant.h"
#include "layers/weights_files.h"

#include <string.h>

typedef struct reader {
    const char     *path;
    gguf_sizes      s;
    const gguf_map *map;
    uint8_t        *seen; /* [layers][n_block] */
} reader;

static int64_t size_of(const gguf_sizes *s, char letter)
{
    switch (letter) {
    case 'v':
        return s->words;
    case 'p':
        return s->positions;
    case 'h':
        return s->hidden;
    case 'f':
        return s->inner;
    case 'q':
        return s->heads * s->head_size;
    case 'k':
        return s->kv_heads * s->head_size;
    case 's':
        return (s->heads + 2 * s->kv_heads) * s->head_size;
    case 'd':
        return s->head_size;
    default:
        return s->head_size / 2;
    }
}

static status check_tensor(const reader *r, const gguf_role *as, const gguf_tensor *g)
{
    shape want = {.n = (int)strlen(as->sizes)};

    for (int i = 0; i < want.n; i++)
        want.d[i] = size_of(&r->s, as->sizes[i]);
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
    gguf_permute(t->v, to, heads, r->s.head_size, tensor_bytes(t) / (size_t)(heads * r->s.head_size), false);
    t->v = to;
    return STATUS_OK;
}

/* The weight of a norm without the one that the file has added. */
static status take_one(arena *a, tensor *t)
{
    const int64_t n = shape_count(t->s);
    float        *v;

    TRY_TAKE(v, a, n);
    quant_expand(t->type, t->v, n, v);
    for (int64_t i = 0; i < n; i++)
        v[i] -= 1;
    t->type = TYPE_F32;
    t->v = v;
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
    if (number >= r->s.layers)
        return fail(STATUS_FORMAT,
                    "%s: tensor %.200s: the block must be 0..%lld, block_count is "
                    "%lld",
                    r->path, g->name, (long long)r->s.layers - 1, (long long)r->s.layers);
    if (number >= 0)
        r->seen[number * r->map->n_block + (as - r->map->block)] = 1;
    TRY(check_tensor(r, as, g));
    out->t = g->t;
    out->turned = as->stored == 't';
    if (as->stored == '1')
        return take_one(a, &out->t);
    const int64_t heads = gguf_map_heads(r->map, as, &r->s);
    return heads ? unpermute(a, r, heads, &out->t) : STATUS_OK;
}

static status check_complete(const reader *r, const gguf *g)
{
    const gguf_map *map = r->map;

    for (int i = 0; i < map->n_whole; i++)
        if (map->whole[i].need && !gguf_find_tensor(g, map->whole[i].gguf))
            return fail(STATUS_FORMAT, "%s: has no tensor %s", r->path, map->whole[i].gguf);
    for (int j = 0; j < map->n_block; j++) {
        bool any = map->block[j].need;
        for (int64_t n = 0; n < r->s.layers; n++)
            any = any || r->seen[n * map->n_block + j];
        for (int64_t n = 0; any && n < r->s.layers; n++)
            if (!r->seen[n * map->n_block + j])
                return fail(STATUS_FORMAT, "%s: has no tensor blk.%lld.%s, must have %lld blocks",
                            r->path, (long long)n, map->block[j].gguf, (long long)r->s.layers);
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
    TRY(r.map->read_sizes(w->config, w->path, r.map, &r.s));
    TRY_TAKE(r.seen, a, r.s.layers * r.map->n_block);
    memset(r.seen, 0, (size_t)(r.s.layers * r.map->n_block));
    TRY_TAKE(w->w, a, g->n_tensors);
    memset(w->w, 0, (size_t)g->n_tensors * sizeof *w->w);
    for (int64_t i = 0; i < g->n_tensors; i++)
        TRY(translate(a, &r, &g->tensors[i], &w->w[i]));
    w->n = (int)g->n_tensors;
    return check_complete(&r, g);
}
