/* convert: a trunk as a GGUF file */
#include "recipes/convert.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/quant.h"
#include "core/text.h"
#include "data/tokenizer_convert.h"
#include "layers/gguf_map.h"

#include <string.h>

/* The number that general.file_type has for a file mostly of a type: llama.cpp's llama_ftype. */
static uint32_t file_type(const convert *c)
{
    static const struct {
        dtype    type;
        uint32_t number;
    } numbers[] = {{TYPE_F32, 0},     {TYPE_F16, 1},     {TYPE_Q4_0, 2},  {TYPE_Q4_1, 3},
                   {TYPE_Q8_0, 7},    {TYPE_Q5_0, 8},    {TYPE_Q5_1, 9},  {TYPE_Q2_K, 10},
                   {TYPE_Q3_K, 12},   {TYPE_Q4_K, 15},   {TYPE_Q5_K, 17}, {TYPE_Q6_K, 18},
                   {TYPE_IQ4_NL, 25}, {TYPE_IQ4_XS, 30}, {TYPE_BF16, 32}, {TYPE_MXFP4, 38}};
    double   values[TYPE_COUNT] = {0};
    uint32_t out = 0;
    dtype    most = TYPE_F32;

    for (int i = 0; i < c->n; i++)
        values[c->items[i].type] += (double)shape_count(c->items[i].from.s);
    for (int t = 0; t < TYPE_COUNT; t++)
        most = values[t] > values[most] ? (dtype)t : most;
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        out = numbers[i].type == most ? numbers[i].number : out;
    return out;
}

/* The type that a tensor gets: what has one size stays or becomes f32, as llama.cpp wants it. */
static status choose_type(convert *c, const char *name, convert_item *x)
{
    const tensor *t = &x->from;
    const int64_t row = shape_last(x->to);
    dtype        *out = &x->type;

    *out = t->type;
    if (!quant_is_real(t->type))
        return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is stored as %s, must hold real numbers", c->path,
                    name, dtype_name(t->type));
    if (t->s.n < 2)
        *out = TYPE_F32;
    else if (c->typed)
        *out = c->type;
    else if (t->type == TYPE_F64)
        *out = TYPE_F32;
    if (dtype_row_bytes(*out, row) >= 0)
        return STATUS_OK;
    *out = row % dtype_block(TYPE_Q8_0) == 0 ? TYPE_Q8_0 : TYPE_F16;
    c->short_rows++;
    if (!c->instead || *out == TYPE_Q8_0)
        c->instead = c->instead && *out == TYPE_Q8_0 ? "q8_0 (or f16)" : dtype_name(*out);
    return STATUS_OK;
}

/* ---- from a folder ------------------------------------------------------------------------------- */

typedef struct facts {
    const gguf_map *map;
    gguf_sizes      s;
} facts;

static status read_facts(convert *c, facts *f)
{
    const char *type;

    TRY(json_string(c->w.config, "model_type", true, &type, c->path));
    f->map = gguf_map_of_model(type);
    if (!f->map)
        return fail(STATUS_UNSUPPORTED, "%s: model_type is '%.60s', a GGUF file can be made of %s", c->path,
                    type, gguf_map_names(&c->setup));
    return f->map->read_sizes(c->w.config, c->path, f->map, &f->s);
}

/* The tensor of a name, which a bare trunk's files have without the prefix. */
static status need(const convert *c, const gguf_map *map, const char *name)
{
    const weight *found = weights_find(&c->w, name);

    if (!found && map->prefix)
        found = weights_find(&c->w, name + strlen(map->prefix));
    return found ? STATUS_OK : weights_need(&c->w, name, &found);
}

static status need_all(convert *c, const facts *f)
{
    const gguf_map *map = f->map;

    for (int i = 0; i < map->n_whole; i++)
        if (map->whole[i].need)
            TRY(need(c, map, map->whole[i].checkpoint));
    for (int64_t l = 0; l < f->s.layers; l++)
        for (int i = 0; i < map->n_block; i++) {
            const char *name = map->block[i].need ? arena_printf(&c->setup, "%s%lld.%s", map->blocks,
                                                                 (long long)l, map->block[i].checkpoint)
                                                  : NULL;
            if (map->block[i].need && !name)
                return STATUS_MEMORY;
            if (name)
                TRY(need(c, map, name));
        }
    if (!f->s.tied && !weights_find(&c->w, "lm_head.weight"))
        return fail(STATUS_FORMAT, "%s: has no tensor lm_head.weight, and tie_word_embeddings is false",
                    c->path);
    return STATUS_OK;
}

/* Made from other things when the trunk is opened: not stored in a GGUF file. */
static bool left_out(const facts *f, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(f->map->made) && f->map->made[i]; i++)
        if (text_ends(name, f->map->made[i]))
            return true;
    return f->s.tied && strcmp(name, "lm_head.weight") == 0;
}

static status add_weight(convert *c, const facts *f, const weight *w)
{
    convert_item    *x = &c->items[c->n];
    const gguf_role *role;

    *x = (convert_item){.from = w->t, .to = w->t.s};
    TRY(gguf_map_name(&c->setup, f->map, w->name, &role, &x->name));
    if (left_out(f, w->name)) {
        log_info("%s is not stored: a GGUF file's reader makes it", w->name);
        return STATUS_OK;
    }
    if (!role)
        return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s has no place in a GGUF file of a %s model",
                    c->path, w->name, f->map->model_type);
    x->heads = gguf_map_heads(f->map, role, &f->s);
    if (x->heads && (w->t.s.n < 1 || w->t.s.d[0] != x->heads * f->s.head_size))
        return fail(STATUS_SHAPE, "%s: tensor %.200s is %s, must have %lld rows", c->path, w->name,
                    shape_text(w->t.s), (long long)(x->heads * f->s.head_size));
    x->turned = role->stored == 't';
    x->plus = role->stored == '1';
    if (x->turned && w->t.s.n != 2)
        return fail(STATUS_SHAPE, "%s: tensor %.200s is %s, must be a matrix", c->path, w->name, shape_text(w->t.s));
    if (x->turned)
        x->to = shape_2(w->t.s.d[1], w->t.s.d[0]);
    TRY(choose_type(c, w->name, x));
    c->n++;
    return STATUS_OK;
}

static status add_divisors(convert *c, const facts *f)
{
    float *v;

    TRY(gguf_rope_divisors(&c->setup, c->w.config, c->path, f->s.head_size, &v));
    const gguf_role *role;
    const char      *name;
    TRY(gguf_map_name(&c->setup, f->map, "rope_freqs.weight", &role, &name));
    if (v && !role)
        return fail(STATUS_UNSUPPORTED,
                    "%s: rope scaling of type 'llama3' cannot be said in a GGUF file of a %s model",
                    c->path, f->map->model_type);
    if (v)
        c->items[c->n++] = (convert_item){
            .name = "rope_freqs.weight",
            .from = {.s = shape_1(f->s.head_size / 2), .type = TYPE_F32, .v = v},
            .to = shape_1(f->s.head_size / 2),
            .type = TYPE_F32};
    return STATUS_OK;
}

static status from_folder(convert *c, gguf_meta *m)
{
    facts f = {0};

    TRY(read_facts(c, &f));
    TRY(need_all(c, &f));
    TRY(f.map->write_config(&c->setup, c->w.config, c->path, f.map, m));
    TRY_TAKE(c->items, &c->setup, c->w.n + 1);
    for (int i = 0; i < c->w.n; i++)
        TRY(add_weight(c, &f, &c->w.w[i]));
    TRY(add_divisors(c, &f));
    if (tokenizer_in_folder(&c->setup, c->path))
        return tokenizer_to_gguf(&c->setup, c->path, f.s.words, m);
    log_warn("%s has no tokenizer.json: the GGUF file is without a tokenizer", c->path);
    return STATUS_OK;
}

/* ---- from a GGUF file ----------------------------------------------------------------------------- */

static status from_gguf(convert *c, gguf_meta *m)
{
    const gguf *g = weights_gguf(&c->w);

    TRY_TAKE(c->items, &c->setup, g->n_tensors);
    for (int64_t i = 0; i < g->n_pairs; i++)
        gguf_put(m, g->pairs[i].key, &g->pairs[i].value);
    for (int64_t i = 0; i < g->n_tensors; i++) {
        convert_item *x = &c->items[c->n++];
        *x = (convert_item){.name = g->tensors[i].name, .from = g->tensors[i].t, .to = g->tensors[i].t.s};
        TRY(choose_type(c, x->name, x));
    }
    return STATUS_OK;
}

status convert_to_gguf(convert *c, const char *path)
{
    const tensor_fill fill = convert_fill(c);
    gguf_meta         m = {.a = &c->setup};
    gguf_item        *items;

    TRY(c->w.is_gguf ? from_gguf(c, &m) : from_folder(c, &m));
    gguf_put_u32(&m, "general.file_type", file_type(c));
    gguf_put_u32(&m, "general.quantization_version", 2);
    TRY_TAKE(items, &c->setup, c->n);
    for (int i = 0; i < c->n; i++)
        items[i] = (gguf_item){c->items[i].name, {.s = c->items[i].to, .type = c->items[i].type}};
    return gguf_write(path, &m, items, c->n, &fill);
}
