/* csv: stepping through a mapped file */
#include "data/csv.h"

#include "core/text.h"
#include "core/utf8.h"

#include <string.h>

static const char mark[] = "\xef\xbb\xbf"; /* byte order mark */

void csv_rewind(csv *c)
{
    c->at = c->map.bytes >= 3 && memcmp(c->map.v, mark, 3) == 0 ? 3 : 0;
    c->line = 1;
}

status csv_open(csv *c, const char *path, char delimiter, bool quotes)
{
    size_t bad;

    *c = (csv){.delimiter = delimiter, .quotes = quotes};
    TRY(file_map_open(&c->map, path));
    csv_rewind(c);
    if (utf8_valid((const char *)c->map.v, c->map.bytes, &bad))
        return STATUS_OK;
    for (size_t i = 0; i < bad; i++)
        c->line += c->map.v[i] == '\n';
    const status s = fail(STATUS_FORMAT, "%s:%lld: not valid UTF-8 at byte %zu", path, (long long)c->line, bad);
    csv_close(c);
    return s;
}

void csv_close(csv *c)
{
    file_map_close(&c->map);
    *c = (csv){0};
}

/* Bytes of the line end at a place: 1 or 2, 0 where there is none. */
static size_t line_end(const csv *c, size_t at)
{
    const uint8_t *v = c->map.v;
    const size_t   n = c->map.bytes;

    if (at < n && (v[at] == '\n' || (v[at] == '\r' && at + 1 == n)))
        return 1;
    return at + 1 < n && v[at] == '\r' && v[at + 1] == '\n' ? 2 : 0;
}

static status quoted_cell(csv *c, struct csv_cell *cell)
{
    const char   *v = (const char *)c->map.v, *from = v + c->at + 1, *end = v + c->map.bytes;
    const int64_t line = c->line;
    const char   *at = from;

    while (at < end && (*at != '"' || (at + 1 < end && at[1] == '"'))) {
        c->line += *at == '\n';
        at += *at == '"' ? 2 : 1;
    }
    if (at == end)
        return fail(STATUS_FORMAT, "%s:%lld: a quoted cell has no closing quote%s", c->map.path, (long long)line,
                    "; if quotes mean nothing in this file, write quotes: no");
    *cell = (struct csv_cell){.text = from, .length = (size_t)(at - from), .quoted = true};
    c->at = (size_t)(at + 1 - v);
    if (c->at < c->map.bytes && v[c->at] != c->delimiter && !line_end(c, c->at))
        return fail(STATUS_FORMAT, "%s:%lld: a closing quote must be followed by the delimiter or the line's end; a "
                    "quote inside a quoted cell is written twice", c->map.path, (long long)c->line);
    return STATUS_OK;
}

static status plain_cell(csv *c, struct csv_cell *cell)
{
    const char  *v = (const char *)c->map.v;
    const size_t from = c->at;

    for (; c->at < c->map.bytes && v[c->at] != c->delimiter && !line_end(c, c->at); c->at++)
        if (c->quotes && v[c->at] == '"')
            return fail(STATUS_FORMAT, "%s:%lld: a quote inside a cell that does not begin with one; if quotes mean "
                        "nothing in this file, write quotes: no", c->map.path, (long long)c->line);
    *cell = (struct csv_cell){.text = v + from, .length = c->at - from};
    return STATUS_OK;
}

status csv_next(csv *c, csv_row *row)
{
    const uint8_t *v = c->map.v;

    for (size_t end; (end = line_end(c, c->at)) > 0; c->at += end)
        c->line++;
    row->n = 0;
    row->line = c->line;
    if (c->at >= c->map.bytes)
        return STATUS_OK;
    for (bool more = true; more;) {
        if (row->n == CSV_COLUMNS_MAX)
            return fail(STATUS_FORMAT, "%s:%lld: has more than %d cells", c->map.path, (long long)row->line,
                        CSV_COLUMNS_MAX);
        const bool quoted = c->quotes && c->at < c->map.bytes && v[c->at] == '"';
        TRY((quoted ? quoted_cell : plain_cell)(c, &row->cells[row->n++]));
        more = c->at < c->map.bytes && v[c->at] == (uint8_t)c->delimiter;
        c->at += more;
    }
    const size_t end = line_end(c, c->at);
    c->line += end > 0;
    c->at += end;
    return STATUS_OK;
}

status csv_next_of(csv *c, csv_row *row, int n)
{
    TRY(csv_next(c, row));
    if (row->n > 0 && row->n != n)
        return fail(STATUS_FORMAT, "%s:%lld: has %d cells, there are %d columns", c->map.path, (long long)row->line,
                    row->n, n);
    return STATUS_OK;
}

status csv_text(arena *a, const csv_row *row, int cell, field *out)
{
    const struct csv_cell *x = &row->cells[cell];
    char                  *text = arena_string(a, x->text, x->length);
    size_t                 n = 0;

    if (!text)
        return STATUS_MEMORY;
    for (size_t i = 0; i < x->length; i++) {
        text[n++] = x->text[i];
        i += x->quoted && x->text[i] == '"'; /* the second one */
    }
    text[n] = '\0';
    out->text = text;
    out->length = n;
    return STATUS_OK;
}

status csv_names(arena *a, const csv *c, const csv_row *row, const char ***names)
{
    TRY_TAKE(*names, a, row->n);
    for (int i = 0; i < row->n; i++) {
        field f;

        TRY(csv_text(a, row, i, &f));
        if (f.length == 0)
            return fail(STATUS_FORMAT, "%s:%lld: column %d has no name", c->map.path, (long long)row->line, i + 1);
        if (text_index(f.text, *names, i) >= 0)
            return fail(STATUS_FORMAT, "%s:%lld: column %d is called \"%.60s\" like one before it", c->map.path,
                        (long long)row->line, i + 1, f.text);
        (*names)[i] = f.text;
    }
    return STATUS_OK;
}
