/* convert: which way, and what is said about it */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/gguf.h"
#include "core/quant_write.h"
#include "core/text.h"
#include "data/fetch.h"
#include "recipes/convert.h"

#include <string.h>

static const size_t room = (size_t)256 << 30;

static bool is_hdf5(const char *path)
{
    return text_ends(path, ".h5") || text_ends(path, ".hdf5");
}

static status is_gguf_adapter(arena *a, const char *path, bool *out)
{
    const char *type = "";
    gguf        g;

    *out = false;
    if (path_is_folder(path) || is_hdf5(path) || text_ends(path, ".safetensors") || text_ends(path, ".json"))
        return STATUS_OK;
    TRY(gguf_open(a, path, &g));
    const status s = gguf_string(a, &g, "general.type", false, &type);
    gguf_close(&g);
    *out = s == STATUS_OK && strcmp(type, "adapter") == 0;
    return s;
}

static status read_type(const char *text, dtype *type)
{
    if (!dtype_find(text, type) || !quant_can_write(*type))
        return fail(STATUS_USAGE, "--type is %s, must be f32, f16, bf16, q8_0, q4_0, q4_1, q4_k or q6_k",
                    text);
    return STATUS_OK;
}

static status convert_trunk(convert *c, const convert_request *q, FILE *out)
{
    const bool to_gguf = text_ends(q->to, ".gguf");

    c->typed = q->type != NULL;
    c->shard = (int64_t)(q->shard * 1e6);
    if (q->type)
        TRY(read_type(q->type, &c->type));
    TRY_IN(weights_open(&c->trunk, c->path, &c->w), "in %s", q->from);
    TRY(to_gguf ? convert_to_gguf(c, q->to) : convert_to_folder(c, q->to));
    convert_print(c, out);
    fprintf(out, "%s: %d tensors\n", q->to, c->n);
    return STATUS_OK;
}

static status convert_adapter(const convert *c, const convert_request *q, bool from_gguf, FILE *out)
{
    const bool to_gguf = text_ends(q->to, ".gguf");

    if (from_gguf == to_gguf)
        return fail(STATUS_USAGE, "%s: an adapter %s becomes %s", q->to, from_gguf ? "file" : "folder",
                    from_gguf ? "a folder" : "a file *.gguf");
    if (q->type)
        return fail(STATUS_USAGE, "--type: the factors of an adapter stay as they are, in f32");
    return from_gguf ? convert_adapter_to_folder(c->path, q->base, q->to, out)
                     : convert_adapter_to_gguf(c->path, q->base, q->force, q->to, out);
}

/* To an HDF5 file or from one. */
static status convert_hdf5(convert *c, const convert_request *q, bool adapter, FILE *out)
{
    if (q->type)
        return fail(STATUS_USAGE, "--type: an HDF5 file holds the tensors of an adapter as they are");
    if (is_hdf5(c->path))
        return is_hdf5(q->to) || text_ends(q->to, ".gguf")
                   ? fail(STATUS_USAGE, "%s: an adapter in an HDF5 file becomes a folder", q->to)
                   : convert_hdf5_to_adapter(&c->setup, c->path, q->to, out);
    return adapter ? convert_adapter_to_hdf5(&c->setup, c->path, q->to, out)
                   : fail(STATUS_USAGE,
                          "%s: an HDF5 file is made of an adapter folder; %s has no adapter_config.json",
                          q->to, q->from);
}

static status run(convert *c, const convert_request *q, FILE *out)
{
    bool  adapter_file = false;
    char *path;

    if (path_exists(q->to))
        return fail(STATUS_USAGE, "%s: exists already; choose another name", q->to);
    TRY(arena_open(&c->setup, "setup", room));
    TRY(arena_open(&c->trunk, "model", room));
    TRY(arena_open(&c->work, "work", room));
    TRY_IN(fetch_base(&c->setup, q->from, &path), "in %s", q->from);
    c->path = path;
    TRY(is_gguf_adapter(&c->setup, path, &adapter_file));
    const char *config = path_join(&c->setup, path, "adapter_config.json");
    if (!config)
        return STATUS_MEMORY;
    const bool folder = path_is_folder(path) && path_exists(config);
    if (is_hdf5(path) || is_hdf5(q->to))
        return convert_hdf5(c, q, folder, out);
    if (adapter_file || folder)
        return convert_adapter(c, q, adapter_file, out);
    return convert_trunk(c, q, out);
}

status command_convert(const convert_request *q, FILE *out)
{
    convert      c = {0};
    const status s = run(&c, q, out);

    weights_close(&c.w);
    arena_close(&c.work);
    arena_close(&c.trunk);
    arena_close(&c.setup);
    return s;
}
