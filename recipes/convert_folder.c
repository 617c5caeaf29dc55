/* convert: a trunk as a folder in Hugging Face layout */
#include "recipes/convert.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/quant.h"
#include "data/tokenizer_convert.h"
#include "layers/gguf_map.h"
#include "recipes/config_file.h"

#include <string.h>

static const char divisors_name[] = "rope_freqs.weight"; /* said by config.json here */

/* A folder's name without slashes at its end. */
static char *tmp_name(arena *a, const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    return arena_printf(a, "%.*s.tmp", (int)n, path);
}

status convert_publish(arena *a, const char *folder, status (*write)(void *context, const char *tmp),
                       void *context)
{
    char  text[1024];
    char *tmp = tmp_name(a, folder);

    if (!tmp)
        return STATUS_MEMORY;
    if (path_exists(tmp))
        return fail(STATUS_USAGE, "%s: is there, perhaps left by a run that was stopped; remove it", tmp);
    status s = folder_make(tmp);
    if (s == STATUS_OK)
        s = write(context, tmp);
    if (s == STATUS_OK)
        s = folder_publish(tmp, folder);
    if (s == STATUS_OK)
        return s;
    snprintf(text, sizeof text, "%s", status_text());
    if (folder_remove_tree(tmp) != STATUS_OK)
        log_warn("%s", status_text());
    return fail(s, "%s", text);
}

static status add_items(convert *c)
{
    TRY_TAKE(c->items, &c->setup, c->w.n);
    for (int i = 0; i < c->w.n; i++) {
        const weight *w = &c->w.w[i];
        const bool    real = quant_is_real(w->t.type);
        dtype         type = w->t.type;
        if (c->w.is_gguf && strcmp(w->name, divisors_name) == 0)
            continue;
        if (real && c->typed)
            type = c->type;
        else if (real && dtype_block(type) > 1)
            type = TYPE_F32;
        c->items[c->n++] = (convert_item){
            .name = w->name, .from = w->t, .to = weights_shape(w), .type = type, .turned = w->turned};
    }
    return STATUS_OK;
}

static status config_of_gguf(convert *c)
{
    const weight *divisors = weights_find(&c->w, divisors_name);
    cJSON        *config = c->w.config;
    int64_t       head_size = 0;

    if (!divisors)
        return STATUS_OK;
    TRY(json_int(config, "head_dim", true, 2, INT32_MAX, &head_size, c->path));
    if (divisors->t.type != TYPE_F32)
        return fail(STATUS_UNSUPPORTED, "%s: tensor %s is stored as %s, must be f32", c->path, divisors_name,
                    dtype_name(divisors->t.type));
    return gguf_rope_scaling(&c->setup, divisors->t.v, head_size, c->path, config);
}

/* The type of most values, as PyTorch calls it. */
static const char *main_type(const convert *c)
{
    double count[TYPE_COUNT] = {0};
    dtype  most = TYPE_F32;

    for (int i = 0; i < c->n; i++)
        count[c->items[i].type] += (double)shape_count(c->items[i].from.s);
    for (int t = 0; t < TYPE_COUNT; t++)
        most = count[t] > count[most] ? (dtype)t : most;
    return most == TYPE_F16    ? "float16"
           : most == TYPE_BF16 ? "bfloat16"
           : most == TYPE_F64  ? "float64"
                               : "float32";
}

static status write_config(convert *c, const char *folder)
{
    cJSON *config = c->w.config;

    cJSON_DeleteItemFromObjectCaseSensitive(config, "dtype");
    cJSON_DeleteItemFromObjectCaseSensitive(config, "torch_dtype");
    cJSON_AddStringToObject(config, "torch_dtype", main_type(c));
    return config_write(&c->setup, &c->w, folder);
}

static status copy_beside(convert *c, const char *folder)
{
    static const char *const beside[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "generation_config.json",
                                         "chat_template.jinja",
                                         "vocab.txt",
                                         "vocab.json",
                                         "merges.txt",
                                         "tokenizer.model",
                                         "spiece.model",
                                         "added_tokens.json"};

    for (size_t i = 0; i < COUNT_OF(beside); i++) {
        const char *from = path_join(&c->setup, c->path, beside[i]),
                   *to = path_join(&c->setup, folder, beside[i]);
        if (!from || !to)
            return STATUS_MEMORY;
        if (path_exists(from))
            TRY(file_copy(from, to));
    }
    return STATUS_OK;
}

static status write_folder(void *context, const char *folder)
{
    convert          *c = context;
    const tensor_fill fill = convert_fill(c);
    safetensors_item *items;
    int               files;

    TRY_TAKE(items, &c->setup, c->n);
    for (int i = 0; i < c->n; i++)
        items[i] = (safetensors_item){c->items[i].name, {.s = c->items[i].to, .type = c->items[i].type}};
    TRY(write_config(c, folder));
    if (c->w.is_gguf)
        TRY(tokenizer_from_gguf(&c->setup, weights_gguf(&c->w), folder));
    else
        TRY(copy_beside(c, folder));
    return safetensors_write_shards(folder, items, c->n, c->shard, &fill, &files);
}

status convert_to_folder(convert *c, const char *folder)
{
    if (c->typed && !convert_is_plain(c->type))
        return fail(STATUS_USAGE,
                    "--type is %s, a safetensors file holds f32, f16 or bf16; name OUT.gguf for %s",
                    dtype_name(c->type), dtype_name(c->type));
    if (c->w.is_gguf)
        TRY(config_of_gguf(c));
    TRY(add_items(c));
    return convert_publish(&c->setup, folder, write_folder, c);
}
