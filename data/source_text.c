/* source text: running text, one record a file */
#include "data/source.h"

#include "core/file.h"
#include "core/utf8.h"

static const size_t TEXT_MAX_BYTES = (size_t)1 << 30;

static status text_load(arena *a, const void *options, records *out)
{
    const text_options *o = options;
    field              *fields;

    TRY_TAKE(out->v, a, o->path.n);
    TRY_TAKE(fields, a, o->path.n);
    for (int i = 0; i < o->path.n; i++) {
        char  *text;
        size_t n, bad;

        TRY(file_read(a, o->path.v[i], TEXT_MAX_BYTES, &text, &n));
        if (n == 0)
            return fail(STATUS_FORMAT, "%s: holds no text: the file is empty", o->path.v[i]);
        if (!utf8_valid(text, n, &bad)) {
            int64_t line = 1;
            for (size_t at = 0; at < bad; at++)
                line += text[at] == '\n';
            return fail(STATUS_FORMAT, "%s:%lld: not valid UTF-8 at byte %zu", o->path.v[i],
                        (long long)line, bad);
        }
        fields[i] = (field){.name = "text", .text = text, .length = n};
        out->v[i] = (record){.origin = o->path.v[i],
                             .n_fields = 1,
                             .fields = &fields[i],
                             .batch = -1,
                             .label = -1};
    }
    out->n = o->path.n;
    out->running = true;
    out->plain = (wording){.prompt = "{text}"};
    return STATUS_OK;
}

static const key text_keys[] = {
    {"path", KEY_TEXTS, offsetof(text_options, path), "!", 0, 0, false, NULL, "",
     "File of running text, or a list of files; cut at `length` tokens."},
};

const data_source source_text = {
    .name = "text",
    .help = "running text, cut at `length`",
    .keys = KEY_TABLE("text", text_keys, text_options),
    .load = text_load,
};
