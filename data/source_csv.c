/* source csv: one row of a table becomes one record, columns become fields */
#include "data/csv.h"

#include "core/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const csv_options *o;
    csv                file;
    csv_row            row;
    const char *const *names; /* of the columns */
    int                n_names;
    const int         *take; /* [n_take] columns that become fields */
    int                n_take;
} reader;

static status read_delimiter(const char *text, char *out)
{
    *out = strcmp(text, "tab") == 0 ? '\t' : text[0];
    if ((strlen(text) != 1 && *out != '\t') || strchr("\"\r\n", *out) || (unsigned char)*out >= 0x80)
        return fail(STATUS_USAGE, "csv: delimiter is \"%.20s\", must be one character of ASCII, no quote and no line "
                    "end, or the word tab", text);
    return STATUS_OK;
}

/* From the recipe, else from the first row. */
static status find_names(arena *a, reader *r)
{
    const csv_options *o = r->o;
    const char       **names;

    if (o->columns.n > 0) {
        r->names = o->columns.v;
        r->n_names = o->columns.n;
        for (int i = 0; i < r->n_names; i++)
            if (!r->names[i][0] || text_index(r->names[i], r->names, i) >= 0)
                return fail(STATUS_USAGE, "csv: columns: \"%.60s\" is there twice, or empty", r->names[i]);
        return STATUS_OK;
    }
    TRY(csv_next(&r->file, &r->row));
    if (r->row.n == 0)
        return fail(STATUS_FORMAT, "%s: holds no records: the file is empty", o->path);
    TRY(csv_names(a, &r->file, &r->row, &names));
    r->names = names;
    r->n_names = r->row.n;
    return STATUS_OK;
}

static status find_taken(arena *a, reader *r)
{
    const key_texts *fields = &r->o->fields;
    int             *take;

    r->n_take = fields->n > 0 ? fields->n : r->n_names;
    TRY_TAKE(take, a, r->n_take);
    for (int i = 0; i < r->n_take; i++) {
        take[i] = fields->n > 0 ? text_index(fields->v[i], r->names, r->n_names) : i;
        if (take[i] < 0) {
            const char *near = text_nearest(fields->v[i], r->names, r->n_names);
            return fail(STATUS_FORMAT, "%s: has no column %.60s%s%.60s%s", r->o->path, fields->v[i],
                        near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
    }
    r->take = take;
    return STATUS_OK;
}

static status read_rows(arena *a, reader *r, records *out)
{
    for (;;) {
        record *x = &out->v[out->n];
        field  *fields;

        TRY(csv_next_of(&r->file, &r->row, r->n_names));
        if (r->row.n == 0)
            return STATUS_OK;
        TRY_TAKE(fields, a, r->n_take);
        for (int i = 0; i < r->n_take; i++) {
            fields[i].name = r->names[r->take[i]];
            TRY(csv_text(a, &r->row, r->take[i], &fields[i]));
        }
        *x = (record){.origin = r->o->path, .line = r->row.line, .n_fields = r->n_take, .fields = fields,
                      .batch = -1, .label = -1};
        out->n++;
    }
}

static bool whole_number(const field *f, int32_t *out)
{
    int64_t n = 0;

    for (size_t i = 0; i < f->length; i++) {
        if (f->text[i] < '0' || f->text[i] > '9')
            return false;
        n = n * 10 + (f->text[i] - '0');
        if (n > INT32_MAX)
            return false;
    }
    *out = (int32_t)n;
    return f->length > 0;
}

/* A column of whole numbers only becomes the records' own label or task (offset: where it lies in a record). */
static void take_numbers(records *r, const char *name, size_t offset)
{
    int32_t number;

    for (int64_t i = 0; i < r->n; i++) {
        const field *f = record_field(&r->v[i], name);
        if (!f || !whole_number(f, &number))
            return;
    }
    for (int64_t i = 0; i < r->n; i++)
        whole_number(record_field(&r->v[i], name), (int32_t *)((char *)&r->v[i] + offset));
}

static status read_file(arena *a, reader *r, records *out)
{
    int64_t count = 0;

    TRY(find_names(a, r));
    TRY(find_taken(a, r));
    const csv first = r->file;
    do {
        TRY(csv_next_of(&r->file, &r->row, r->n_names));
        count++;
    } while (r->row.n > 0);
    if (count == 1)
        return fail(STATUS_FORMAT, "%s: holds no records", r->o->path);
    r->file = first;
    TRY_TAKE(out->v, a, count);
    return read_rows(a, r, out);
}

static status csv_load(arena *a, const void *options, records *out)
{
    reader r = {.o = options};
    char   delimiter;

    TRY(read_delimiter(r.o->delimiter, &delimiter));
    TRY(csv_open(&r.file, r.o->path, delimiter, r.o->quotes));
    const status s = read_file(a, &r, out);
    csv_close(&r.file);
    TRY(s);
    take_numbers(out, "label", offsetof(record, label));
    take_numbers(out, "task", offsetof(record, task));
    if (record_field(&out->v[0], "prompt") && record_field(&out->v[0], "target"))
        out->plain = out->chat = (wording){.prompt = "{prompt}", .target = "{target}"};
    else if (record_field(&out->v[0], "text"))
        out->plain = out->chat = (wording){.prompt = "{text}"};
    return STATUS_OK;
}

static const key csv_keys[] = {
    {"path", KEY_TEXT, offsetof(csv_options, path), "!", 0, 0, false, NULL, "",
     "File of comma-separated values (RFC 4180); its first row names the columns."},
    {"fields", KEY_TEXTS, offsetof(csv_options, fields), NULL, 0, 0, false, NULL, "",
     "Columns to take; all when none is named."},
    {"columns", KEY_TEXTS, offsetof(csv_options, columns), NULL, 0, 0, false, NULL, "",
     "Names of the columns of a file whose first row is a record already."},
    {"delimiter", KEY_TEXT, offsetof(csv_options, delimiter), "','", 0, 0, false, NULL, "",
     "Character between cells, or the word tab."},
    {"quotes", KEY_BOOL, offsetof(csv_options, quotes), "yes", 0, 0, false, NULL, "",
     "Whether cells may stand in double quotes; no: a quote is an ordinary character."},
};

const data_source source_csv = {
    .name = "csv",
    .help = "rows of a table; templates name the columns",
    .keys = KEY_TABLE("csv", csv_keys, csv_options),
    .load = csv_load,
};
