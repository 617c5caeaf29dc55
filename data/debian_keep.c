/* debian: records kept in a file, so that the next run maps them instead of reading the lists.
 *
 * Little-endian (the file never leaves the machine): the head, then for each record its lengths
 * [2 + n_fields] u32: of its origin, its label, of each field; then the texts in that order, each with
 * a NUL byte. */
#include "data/debian.h"

#include <string.h>

enum { KEPT_FIELDS_MAX = 8, KEPT_NAME_MAX = 24 };

typedef struct kept_head {
    char     magic[8];
    uint64_t stamp;
    int64_t  n;
    int64_t  n_fields;
    uint64_t bytes; /* of the texts */
    char     names[KEPT_FIELDS_MAX][KEPT_NAME_MAX];
} kept_head;

static const char kept_magic[8] = "cmbrec1";

status debian_keep(const char *path, uint64_t stamp, const records *r)
{
    file_writer w;
    kept_head   head = {.stamp = stamp, .n = r->n, .n_fields = r->v[0].n_fields};

    CHECK(head.n_fields <= KEPT_FIELDS_MAX);
    memcpy(head.magic, kept_magic, sizeof head.magic);
    for (int f = 0; f < head.n_fields; f++)
        snprintf(head.names[f], KEPT_NAME_MAX, "%.23s", r->v[0].fields[f].name);
    for (int64_t i = 0; i < r->n; i++) {
        head.bytes += strlen(r->v[i].origin) + 1;
        for (int f = 0; f < head.n_fields; f++)
            head.bytes += r->v[i].fields[f].length + 1;
    }
    TRY(file_writer_open(&w, path));
    file_write(&w, &head, sizeof head);
    for (int64_t i = 0; i < r->n; i++) {
        uint32_t row[2 + KEPT_FIELDS_MAX] = {(uint32_t)strlen(r->v[i].origin),
                                             (uint32_t)r->v[i].label};
        CHECK(r->v[i].n_fields == head.n_fields);
        for (int f = 0; f < head.n_fields; f++)
            row[2 + f] = (uint32_t)r->v[i].fields[f].length;
        file_write(&w, row, (size_t)(2 + head.n_fields) * sizeof *row);
    }
    for (int64_t i = 0; i < r->n; i++) {
        file_write(&w, r->v[i].origin, strlen(r->v[i].origin) + 1);
        for (int f = 0; f < head.n_fields; f++)
            file_write(&w, r->v[i].fields[f].text, r->v[i].fields[f].length + 1);
    }
    return file_writer_close(&w, true);
}

/* Takes one text of n bytes and its NUL from the block of texts. */
static bool take(const char *block, uint64_t bytes, uint64_t *at, uint32_t n, const char **out)
{
    if (*at >= bytes || n >= bytes - *at || block[*at + n] != '\0')
        return false;
    *out = block + *at;
    *at += (uint64_t)n + 1;
    return true;
}

/* Checks the sizes in the head against the file's. */
static bool fits(const kept_head *head, size_t file_bytes)
{
    const size_t left = file_bytes - sizeof *head;
    uint64_t     rows;

    if (memcmp(head->magic, kept_magic, sizeof head->magic) != 0 || head->n < 1 || head->n_fields < 1 ||
        head->n_fields > KEPT_FIELDS_MAX)
        return false;
    for (int f = 0; f < head->n_fields; f++)
        if (!memchr(head->names[f], '\0', KEPT_NAME_MAX))
            return false;
    return !MUL_OVERFLOWS((uint64_t)head->n, (uint64_t)(2 + head->n_fields) * sizeof(uint32_t), &rows) &&
           rows <= left && head->bytes == left - rows;
}

static status copy_records(arena *a, const file_map *m, int64_t limit, records *out)
{
    const kept_head *head = (const kept_head *)m->v;
    const int        width = 2 + (int)head->n_fields;
    const uint32_t  *rows = (const uint32_t *)(m->v + sizeof *head);
    const char      *block = (const char *)(rows + head->n * width);
    const int64_t    n = limit > 0 && limit < head->n ? limit : head->n;
    uint64_t         bytes = 0, at = 0;
    char            *texts, *names;
    field           *fields;

    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < width; k++)
            bytes += k == 1 ? 0 : (uint64_t)rows[i * width + k] + 1;
    if (bytes > head->bytes)
        return fail(STATUS_FORMAT, "%s: the lengths of its texts exceed the file", m->path);
    if (!(texts = arena_copy(a, block, bytes)) || !(names = arena_copy(a, head->names, sizeof head->names)))
        return STATUS_MEMORY;
    TRY_TAKE(fields, a, n * head->n_fields);
    TRY_TAKE(out->v, a, n);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t *row = rows + i * width;
        record         *r = &out->v[i];
        bool            ok;

        *r = (record){.n_fields = (int)head->n_fields, .fields = fields, .batch = -1};
        r->label = (int32_t)row[1];
        ok = take(texts, bytes, &at, row[0], &r->origin);
        for (int f = 0; ok && f < head->n_fields; f++, fields++) {
            fields->name = names + f * KEPT_NAME_MAX;
            fields->length = row[2 + f];
            ok = take(texts, bytes, &at, row[2 + f], &fields->text);
        }
        if (!ok)
            return fail(STATUS_FORMAT, "%s: record %lld is damaged", m->path, (long long)i);
    }
    out->n = n;
    return STATUS_OK;
}

status debian_kept(arena *a, const char *path, uint64_t stamp, int64_t limit, records *out)
{
    file_map m;
    status   s;

    TRY(file_map_open(&m, path));
    const kept_head *head = (const kept_head *)m.v;
    if (m.bytes < sizeof *head || !fits(head, m.bytes))
        s = fail(STATUS_FORMAT, "%s: is not a file of kept records", path);
    else if (head->stamp != stamp)
        s = fail(STATUS_FORMAT, "%s: was made from other lists", path);
    else
        s = copy_records(a, &m, limit, out);
    file_map_close(&m);
    return s;
}
