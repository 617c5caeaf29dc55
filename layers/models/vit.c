/* vit: Dosovitskiy et al. 2021: patches of an image as tokens behind a class token, learned positions, LayerNorm
 * before attention and mlp, and one at the end. */
#include "core/json.h"
#include "layers/attention.h"

#include <math.h>
#include <stdio.h>

typedef struct vit_block {
    site *q, *k, *v, *o, *up, *down, *attn_norm, *mlp_norm;
    block_places places;
} vit_block;

typedef struct vit {
    int64_t     hidden, inner, layers, heads;
    double      eps;
    bool        qkv_bias;
    activation *act;
    const char *prefix; /* of this architecture */
    model_weight *patch, *patch_bias;
    site       *classes, *places, *norm;
    vit_block  *blocks;
    tensor      zero; /* i32 [1], the row of the class token's table */
    int32_t     zero_value;
} vit;

enum { LINEAR_PER_BLOCK = 6, NORMS_PER_BLOCK = 2, OTHER_SITES = 5 /* tables, norm, head */ };

static const head_layout heads[] = {
    {.kind = HEAD_CLASSIFY, .out = "classifier"},
    {.kind = HEAD_NONE, .dense = "pooler.dense", .act = ag_tanh},
};

/* ---- config -------------------------------------------------------------------------------------------- */

/* A number, or [height, width]. */
static status read_sizes(const cJSON *config, const char *key, const char *what, int64_t *height, int64_t *width)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(config, key);
    const cJSON *first = cJSON_IsArray(v) ? v->child : v, *last = cJSON_IsArray(v) && first ? first->next : v;
    int64_t     *out[] = {height, width};
    const cJSON *from[] = {first, last};

    if (!v || cJSON_IsNull(v))
        return STATUS_OK;
    for (int i = 0; i < 2; i++) {
        const double n = cJSON_IsNumber(from[i]) ? from[i]->valuedouble : 0;
        if (n < 1 || n > 65536 || n != (double)(int64_t)n || (cJSON_IsArray(v) && cJSON_GetArraySize(v) != 2))
            return fail(STATUS_FORMAT, "%s: %s must be a whole number 1..65536 or two of them", what, key);
        *out[i] = (int64_t)n;
    }
    return STATUS_OK;
}

static status read_config(const cJSON *config, const char *what, vit *x, patch_grid *g)
{
    const char   *act = "gelu";
    const int64_t most = INT32_MAX;

    *x = (vit){.hidden = 768, .inner = 3072, .layers = 12, .heads = 12, .eps = 1e-12, .qkv_bias = true};
    *g = (patch_grid){3, 224, 224, 16, 16};
    TRY(json_int(config, "hidden_size", false, 1, most, &x->hidden, what));
    TRY(json_int(config, "intermediate_size", false, 1, most, &x->inner, what));
    TRY(json_int(config, "num_hidden_layers", false, 1, 4096, &x->layers, what));
    TRY(json_int(config, "num_attention_heads", false, 1, 65536, &x->heads, what));
    TRY(json_int(config, "num_channels", false, 1, 65536, &g->channels, what));
    TRY(json_double(config, "layer_norm_eps", false, &x->eps, what));
    TRY(json_bool(config, "qkv_bias", false, &x->qkv_bias, what));
    TRY(json_string(config, "hidden_act", false, &act, what));
    TRY(read_sizes(config, "image_size", what, &g->height, &g->width));
    TRY(read_sizes(config, "patch_size", what, &g->patch_height, &g->patch_width));
    if (x->hidden % x->heads != 0)
        return fail(STATUS_FORMAT, "%s: hidden_size is %lld, must be a multiple of num_attention_heads %lld", what,
                    (long long)x->hidden, (long long)x->heads);
    if (g->height % g->patch_height != 0 || g->width % g->patch_width != 0)
        return fail(STATUS_UNSUPPORTED, "%s: images of %lld x %lld are not whole patches of %lld x %lld", what,
                    (long long)g->height, (long long)g->width, (long long)g->patch_height,
                    (long long)g->patch_width);
    return activation_find(act, what, &x->act);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static status open_block(arena *a, model *m, const vit *x, int l, vit_block *b)
{
    const int64_t C = x->hidden;
    const struct {
        site      **at;
        const char *name, *checkpoint;
        int64_t     in, out;
        bool        bias;
    } sites[LINEAR_PER_BLOCK] = {
        {&b->q, "attn.q", "attention.attention.query", C, C, x->qkv_bias},
        {&b->k, "attn.k", "attention.attention.key", C, C, x->qkv_bias},
        {&b->v, "attn.v", "attention.attention.value", C, C, x->qkv_bias},
        {&b->o, "attn.o", "attention.output.dense", C, C, true},
        {&b->up, "mlp.up", "intermediate.dense", C, x->inner, true},
        {&b->down, "mlp.down", "output.dense", x->inner, C, true},
    };
    char name[64], checkpoint[128];

    for (int i = 0; i < LINEAR_PER_BLOCK; i++) {
        snprintf(name, sizeof name, "block.%d.%s", l, sites[i].name);
        snprintf(checkpoint, sizeof checkpoint, "%sencoder.layer.%d.%s", x->prefix, l, sites[i].checkpoint);
        *sites[i].at = model_next_site(m);
        TRY(model_site(a, m, *sites[i].at, SITE_LINEAR, name, checkpoint, l, sites[i].in, sites[i].out,
                       sites[i].bias));
    }
    snprintf(name, sizeof name, "block.%d.attn_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%sencoder.layer.%d.layernorm_before", x->prefix, l);
    TRY(model_layernorm(a, m, name, checkpoint, l, &b->attn_norm));
    snprintf(name, sizeof name, "block.%d.mlp_norm", l);
    snprintf(checkpoint, sizeof checkpoint, "%sencoder.layer.%d.layernorm_after", x->prefix, l);
    return model_layernorm(a, m, name, checkpoint, l, &b->mlp_norm);
}

static status open_places(arena *a, model *m, const vit *x, int l, vit_block *b)
{
    char attn[128], mlp[128];

    snprintf(attn, sizeof attn, "%sencoder.layer.%d.attention", x->prefix, l);
    snprintf(mlp, sizeof mlp, "%sencoder.layer.%d.output", x->prefix, l);
    return model_places(a, m, l, attn, mlp, &b->places);
}

/* The patches' convolution is a product, since patches do not overlap. It is no site: adapters of convolutions have
 * sizes of their own in PEFT's files. */
static status open_embeddings(arena *a, model *m, vit *x)
{
    const patch_grid *g = &m->image;
    const int64_t     C = x->hidden, K = patches_values(g), N = m->positions;
    const shape       kernel = {4, {C, g->channels, g->patch_height, g->patch_width}};
    char              name[128];

    snprintf(name, sizeof name, "%sembeddings.patch_embeddings.projection.weight", x->prefix);
    TRY(model_tensor_as(a, m, name, kernel, shape_2(C, K), false, &x->patch));
    snprintf(name, sizeof name, "%sembeddings.patch_embeddings.projection.bias", x->prefix);
    TRY(model_tensor(a, m, name, shape_1(C), true, true, &x->patch_bias));
    snprintf(name, sizeof name, "%sembeddings.cls_token", x->prefix);
    x->classes = model_next_site(m);
    TRY(model_table_as(a, m, x->classes, "embedding.class", name, shape_3(1, 1, C), 1, C));
    snprintf(name, sizeof name, "%sembeddings.position_embeddings", x->prefix);
    x->places = model_next_site(m);
    return model_table_as(a, m, x->places, "embedding.position", name, shape_3(1, N, C), N, C);
}

static void fill_model(model *m, vit *x)
{
    m->state = x;
    m->prefix = "vit.";
    m->layers = x->layers;
    m->width = m->kv_width = x->hidden;
    m->heads = m->kv_heads = x->heads;
    m->head_size = x->hidden / x->heads;
    m->positions = 1 + patches_count(&m->image);
    m->position_table = true;
    m->sees_all = true;
    x->zero = (tensor){.s = shape_1(1), .type = TYPE_I32, .v = &x->zero_value};
}

/* The pooler of a bare trunk, which a file may lack. */
static status open_head(arena *a, model *m, const vit *x, const head_layout *layout)
{
    head_layout   here = *layout;
    model_weight *pooler = NULL;

    if (here.kind == HEAD_NONE)
        TRY(model_tensor(a, m, "pooler.dense.weight", shape_2(x->hidden, x->hidden), false, false, &pooler));
    if (!pooler)
        here.dense = NULL;
    return model_open_head(a, m, &here, NULL, NULL, x->eps);
}

static status vit_open(arena *a, model *m)
{
    const head_layout *head;
    char               name[64];
    vit               *x;
    bool               bare;

    TRY_TAKE(x, a, 1);
    TRY(head_choose(m->source->config, &m->wish, heads, COUNT_OF(heads), "config.json", &head, &bare));
    TRY(read_config(m->source->config, "config.json", x, &m->image));
    TRY_TAKE(x->blocks, a, x->layers);
    TRY_TAKE(m->sites, a, x->layers * (LINEAR_PER_BLOCK + NORMS_PER_BLOCK + PLACES_PER_BLOCK) + OTHER_SITES);
    fill_model(m, x);
    x->prefix = bare ? "" : m->prefix;
    TRY(open_embeddings(a, m, x));
    for (int l = 0; l < (int)x->layers; l++)
        TRY(open_block(a, m, x, l, &x->blocks[l]));
    snprintf(name, sizeof name, "%slayernorm", x->prefix);
    TRY(model_layernorm(a, m, "norm", name, -1, &x->norm));
    for (int l = 0; l < (int)x->layers; l++)
        TRY(open_places(a, m, x, l, &x->blocks[l]));
    return open_head(a, m, x, head);
}

/* ---- recording ------------------------------------------------------------------------------------------ */

static var *attention(const model *m, tape *t, const vit_block *b, const stream *s, var *x)
{
    const attention_options o = {.heads = (int32_t)m->heads, .kv_heads = (int32_t)m->heads,
                                 .scale = 1 / sqrt((double)m->head_size)};
    var *q = site_product(t, "attn.q", b->q, x), *k = site_product(t, "attn.k", b->k, x);
    var *v = site_product(t, "attn.v", b->v, x);

    tape_enter(t, "attn");
    var *y = site_attention(t, b->places.kv, s, q, k, v, &o);
    tape_leave(t);
    return site_product(t, "attn.o", b->o, y);
}

static var *embed(tape *t, const vit *x, const stream *s)
{
    tape_enter(t, "embed");
    var *patches = ag_linear(t, s->patches, weight_var(t, x->patch), weight_var(t, x->patch_bias));
    var *class = site_embed(t, x->classes, tape_input(t, &x->zero));
    var *y = ag_add(t, ag_pick_rows(t, patches, class, s->places), site_embed(t, x->places, s->positions));
    tape_leave(t);
    return y;
}

static var *vit_hidden(model *m, tape *t, stream *s)
{
    const vit *x = m->state;
    var       *h = embed(t, x, s);

    for (int i = 0; i < (int)m->layers; i++) {
        const vit_block *b = &x->blocks[i];

        if (s->hidden)
            s->hidden[i] = h;
        tape_enter(t, "block.%d", i);
        tape_block_begin(t);
        var *in = site_layernorm(t, b->attn_norm, h, x->eps), *y = attention(m, t, b, s, in);
        h = ag_add(t, h, site_block(t, b->places.after_attn, in, y));
        in = site_layernorm(t, b->mlp_norm, h, x->eps);
        y = site_product(t, "mlp.down", b->down, x->act(t, site_product(t, "mlp.up", b->up, in)));
        h = ag_add(t, h, site_block(t, b->places.after_mlp, in, y));
        tape_block_end(t);
        tape_leave(t);
    }
    tape_enter(t, "norm");
    var *y = site_layernorm(t, x->norm, h, x->eps);
    tape_leave(t);
    if (s->hidden) {
        s->hidden[m->layers] = h;
        s->hidden[m->layers + 1] = y;
    }
    return y;
}

const model_family model_vit = {.name = "vit", .open = vit_open, .hidden = vit_hidden};
