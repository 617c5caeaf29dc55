/* safetensors: the writer */
#include "core/safetensors.h"

#include "core/json.h"
#include "core/safetensors_types.h"
#include "core/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Row of the type in safetensors_types, or -1. */
static int type_rank(dtype t)
{
    for (size_t i = 0; i < COUNT_OF(safetensors_types); i++)
        if (safetensors_types[i].type == (int)t)
            return (int)i;
    return -1;
}

static int compare_items(const void *a, const void *b)
{
    const safetensors_item *const *x = a, *const *y = b;
    const int                      i = type_rank((*x)->t.type), j = type_rank((*y)->t.type);

    return i != j ? i - j : strcmp((*x)->name, (*y)->name);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const safetensors_item *const *)a)->name,
                  (*(const safetensors_item *const *)b)->name);
}

static int compare_pairs(const void *a, const void *b)
{
    return strcmp((*(const safetensors_pair *const *)a)->key,
                  (*(const safetensors_pair *const *)b)->key);
}

static status check_text(const char *path, const char *text)
{
    size_t bad;

    if (!utf8_valid(text, strlen(text), &bad))
        return fail(STATUS_FORMAT, "%s: \"%.100s\" is not valid UTF-8", path, text);
    return STATUS_OK;
}

static status check_items(const char *path, const safetensors_item **sorted, int n)
{
    for (int i = 0; i < n; i++) {
        const safetensors_item *item = sorted[i];
        if (!item->name[0] || strcmp(item->name, "__metadata__") == 0)
            return fail(STATUS_FORMAT, "%s: \"%s\" is no name for a tensor", path, item->name);
        TRY(check_text(path, item->name));
        if (type_rank(item->t.type) < 0)
            return fail(STATUS_UNSUPPORTED, "%s: tensor %.200s is %s, which the format cannot hold",
                        path, item->name, dtype_name(item->t.type));
    }
    qsort(sorted, (size_t)n, sizeof(*sorted), compare_names);
    for (int i = 1; i < n; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return fail(STATUS_FORMAT, "%s: two tensors are named %.200s", path, sorted[i]->name);
    qsort(sorted, (size_t)n, sizeof(*sorted), compare_items);
    return STATUS_OK;
}

static status print_quoted(arena *a, FILE *f, const char *text)
{
    const size_t mark = arena_mark(a);
    const char  *quoted = json_quote(a, text, strlen(text));

    if (!quoted)
        return STATUS_MEMORY;
    fputs(quoted, f);
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status print_metadata(arena *a, FILE *f, const char *path, const safetensors_pair *metadata,
                             int n)
{
    const safetensors_pair **sorted;

    TRY_TAKE(sorted, a, n);
    for (int i = 0; i < n; i++)
        sorted[i] = &metadata[i];
    qsort(sorted, (size_t)n, sizeof(*sorted), compare_pairs);
    fputs("\"__metadata__\":{", f);
    for (int i = 0; i < n; i++) {
        if (i && strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
            return fail(STATUS_FORMAT, "%s: the metadata key %.100s occurs twice", path,
                        sorted[i]->key);
        TRY(check_text(path, sorted[i]->key));
        TRY(check_text(path, sorted[i]->value));
        if (i)
            fputc(',', f);
        TRY(print_quoted(a, f, sorted[i]->key));
        fputc(':', f);
        TRY(print_quoted(a, f, sorted[i]->value));
    }
    fputc('}', f);
    return STATUS_OK;
}

static status print_header(arena *a, FILE *f, const char *path, const safetensors_item **sorted,
                           int n, const safetensors_pair *metadata, int n_metadata)
{
    size_t at = 0;

    fputc('{', f);
    if (n_metadata)
        TRY(print_metadata(a, f, path, metadata, n_metadata));
    for (int i = 0; i < n; i++) {
        const tensor *t = &sorted[i]->t;
        const size_t  bytes = tensor_bytes(t);
        if (i || n_metadata)
            fputc(',', f);
        TRY(print_quoted(a, f, sorted[i]->name));
        fprintf(f, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_types[type_rank(t->type)].name);
        for (int d = 0; d < t->s.n; d++)
            fprintf(f, "%s%" PRId64, d ? "," : "", t->s.d[d]);
        fprintf(f, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    fputc('}', f);
    while (ftell(f) % 8)
        fputc(' ', f);
    return STATUS_OK;
}

/* What is written, and where its values come from. */
typedef struct contents {
    const safetensors_item  *items;
    const safetensors_item **sorted;
    int                      n;
    const tensor_fill       *fill;
} contents;

static status write_data(file_writer *w, const contents *c)
{
    for (int i = 0; i < c->n && w->error == STATUS_OK; i++) {
        const void *bytes = c->sorted[i]->t.v;
        if (c->fill)
            TRY_IN(c->fill->run(c->fill->context, c->sorted[i] - c->items, &bytes), "in tensor %.200s",
                   c->sorted[i]->name);
        file_write(w, bytes, tensor_bytes(&c->sorted[i]->t));
    }
    return STATUS_OK;
}

static status write_file(const char *path, const char *header, size_t length, const contents *c)
{
    const uint64_t count = length;
    file_writer    w;
    char           text[1024];

    TRY(file_writer_open(&w, path));
    file_write(&w, &count, sizeof count);
    file_write(&w, header, length);
    const status s = write_data(&w, c);
    if (s == STATUS_OK)
        return file_writer_close(&w, true);
    snprintf(text, sizeof text, "%s", status_text());
    file_writer_close(&w, false);
    return fail(s, "%s", text);
}

static status write_all(arena *a, const char *path, contents *c, const safetensors_pair *metadata,
                        int n_metadata)
{
    char  *header = NULL;
    size_t length = 0;

    TRY_TAKE(c->sorted, a, c->n);
    for (int i = 0; i < c->n; i++)
        c->sorted[i] = &c->items[i];
    TRY(check_items(path, c->sorted, c->n));

    FILE *f = open_memstream(&header, &length);
    if (!f)
        return fail(STATUS_MEMORY, "%s: no memory for the header", path);
    status s = print_header(a, f, path, c->sorted, c->n, metadata, n_metadata);
    if (fclose(f) != 0 && s == STATUS_OK)
        s = fail(STATUS_MEMORY, "%s: no memory for the header", path);
    if (s == STATUS_OK)
        s = write_file(path, header, length, c);
    free(header);
    return s;
}

status safetensors_write_made(const char *path, const safetensors_item *items, int n,
                              const safetensors_pair *metadata, int n_metadata, const tensor_fill *fill)
{
    contents c = {.items = items, .n = n, .fill = fill};
    arena    a = {0};

    TRY(arena_open(&a, "safetensors header", (size_t)1 << 30));
    const status s = write_all(&a, path, &c, metadata, n_metadata);
    arena_close(&a);
    return s;
}

status safetensors_write(const char *path, const safetensors_item *items, int n,
                         const safetensors_pair *metadata, int n_metadata)
{
    return safetensors_write_made(path, items, n, metadata, n_metadata, NULL);
}
