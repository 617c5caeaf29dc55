/* debian: the contents of Packages and Translation files (deb-control(5): stanzas of "Field: value"
 * lines, continuation lines begin with a blank) */
#include "data/debian.h"

#include <stdlib.h>
#include <string.h>

/* Texts longer than this are refused: a stanza's lengths are kept in 32 bits. */
static const size_t LIST_MAX_BYTES = (size_t)2 << 30;

typedef struct cursor {
    const char *at, *end;
} cursor;

static bool next_line(cursor *c, const char **line, size_t *n)
{
    if (c->at >= c->end)
        return false;
    const char *stop = memchr(c->at, '\n', (size_t)(c->end - c->at));
    *line = c->at;
    *n = (size_t)((stop ? stop : c->end) - c->at);
    c->at = stop ? stop + 1 : c->end;
    return true;
}

static bool is_blank(char ch)
{
    return ch == ' ' || ch == '\t';
}

static void strip(const char **v, size_t *n)
{
    while (*n > 0 && (is_blank(**v) || **v == '\r'))
        ++*v, --*n;
    while (*n > 0 && (is_blank((*v)[*n - 1]) || (*v)[*n - 1] == '\r'))
        --*n;
}

/* The value of "name: value", when the line is one. */
static bool value_of(const char *line, size_t n, const char *name, size_t n_name, const char **v,
                     uint32_t *length)
{
    if (n <= n_name || line[n_name] != ':' || memcmp(line, name, n_name) != 0)
        return false;
    const char *from = line + n_name + 1;
    size_t      left = n - n_name - 1;
    strip(&from, &left);
    *v = from;
    *length = (uint32_t)left;
    return true;
}
#define VALUE_OF(name, v, length) value_of(line, n, name, sizeof(name) - 1, v, length)

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool read_md5(const char *v, uint32_t n, uint8_t out[16])
{
    if (n != 32)
        return false;
    for (int i = 0; i < 16; i++) {
        const int high = hex_digit(v[2 * i]), low = hex_digit(v[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static int compare_names(const debian_package *a, const debian_package *b)
{
    const uint32_t n = a->n_name < b->n_name ? a->n_name : b->n_name;
    const int      c = memcmp(a->name, b->name, n);

    return c ? c : (a->n_name > b->n_name) - (a->n_name < b->n_name);
}

static int by_name(const void *a, const void *b)
{
    return compare_names(a, b);
}

/* What is being built: packages in a growing array, and a table of their numbers (+ 1) by md5. */
typedef struct reading {
    debian_package *v;
    int64_t         n, room;
    uint32_t       *by_md5;
    uint64_t        mask;
} reading;

static status push(reading *r, const debian_package *p)
{
    if (r->n == r->room) {
        const int64_t room = r->room ? 2 * r->room : 1 << 16;
        void         *v = room > INT32_MAX ? NULL : realloc(r->v, (size_t)room * sizeof *r->v);
        if (!v)
            return fail(STATUS_MEMORY, "debian: no memory for %lld packages", (long long)room);
        r->v = v;
        r->room = room;
    }
    r->v[r->n++] = *p;
    return STATUS_OK;
}

/* "name (version)": the name alone. */
static void cut_version(debian_package *p)
{
    const char *blank = memchr(p->source, ' ', p->n_source);

    if (blank)
        p->n_source = (uint32_t)(blank - p->source);
}

static status read_packages(reading *r, const file_map *m)
{
    cursor         c = {(const char *)m->v, (const char *)m->v + m->bytes};
    debian_package p = {0};
    const char    *line, *md5 = NULL, *slash;
    uint32_t       n_md5 = 0;
    size_t         n;
    bool           more = true;

    while (more) {
        more = next_line(&c, &line, &n);
        if (more && n > 0) {
            if (line[0] == 'P')
                VALUE_OF("Package", &p.name, &p.n_name);
            else if (line[0] == 'S')
                (void)(VALUE_OF("Source", &p.source, &p.n_source) ||
                       VALUE_OF("Section", &p.section, &p.n_section));
            else if (line[0] == 'D')
                VALUE_OF("Description-md5", &md5, &n_md5);
            continue;
        }
        if (p.n_name > 0 && md5 && read_md5(md5, n_md5, p.md5)) {
            if (p.n_source == 0) {
                p.source = p.name;
                p.n_source = p.n_name;
            }
            cut_version(&p);
            if (p.section && (slash = memchr(p.section, '/', p.n_section)) != NULL) {
                p.n_section -= (uint32_t)(slash + 1 - p.section); /* "universe/net" */
                p.section = slash + 1;
            }
            TRY(push(r, &p));
        }
        p = (debian_package){0};
        md5 = NULL;
    }
    return STATUS_OK;
}

static status make_table(int64_t n, uint32_t **table, uint64_t *mask)
{
    uint64_t size = 16;

    while (size < 2 * (uint64_t)n)
        size *= 2;
    *mask = size - 1;
    *table = calloc(size, sizeof **table);
    return *table ? STATUS_OK : fail(STATUS_MEMORY, "debian: no memory for %lld packages", (long long)n);
}

/* Drops every package whose name came before. */
static status first_of_name(reading *r)
{
    uint32_t *table;
    uint64_t  mask;
    int64_t   kept = 0;

    TRY(make_table(r->n, &table, &mask));
    for (int64_t i = 0; i < r->n; i++) {
        uint64_t at = debian_hash(r->v[i].name, r->v[i].n_name) & mask;
        while (table[at] && compare_names(&r->v[table[at] - 1], &r->v[i]) != 0)
            at = (at + 1) & mask;
        if (table[at])
            continue;
        r->v[kept++] = r->v[i];
        table[at] = (uint32_t)kept;
    }
    r->n = kept;
    free(table);
    return STATUS_OK;
}

static uint32_t *slot_of(const reading *r, const uint8_t md5[16])
{
    uint64_t at;

    memcpy(&at, md5, sizeof at);
    at &= r->mask;
    while (r->by_md5[at] && memcmp(r->v[r->by_md5[at] - 1].md5, md5, 16) != 0)
        at = (at + 1) & r->mask;
    return &r->by_md5[at];
}

/* Of all packages with one description the first by name enters the table. */
static status first_of_description(reading *r)
{
    TRY(make_table(r->n, &r->by_md5, &r->mask));
    for (int64_t i = 0; i < r->n; i++) {
        uint32_t *slot = slot_of(r, r->v[i].md5);
        if (*slot == 0 || compare_names(&r->v[i], &r->v[*slot - 1]) < 0)
            *slot = (uint32_t)i + 1;
    }
    return STATUS_OK;
}

/* Gives the texts of a Translation file to the packages with their md5. */
static void read_translation(reading *r, const file_map *m, const char *language, bool other)
{
    cursor       c = {(const char *)m->v, (const char *)m->v + m->bytes};
    char         wanted[64];
    const int    n_field = snprintf(wanted, sizeof wanted, "Description-%.40s", language);
    const char  *line;
    size_t       n;
    uint8_t      md5[16];
    bool         have = false, inside = false;
    debian_text *text = NULL;

    while (next_line(&c, &line, &n)) {
        const char *v;
        uint32_t    length;

        if (n > 0 && is_blank(line[0])) {
            if (inside && text)
                text->n = (size_t)(line + n - text->v);
            continue;
        }
        inside = false;
        if (n == 0)
            have = false;
        else if (VALUE_OF("Description-md5", &v, &length))
            have = read_md5(v, length, md5);
        else if (have && value_of(line, n, wanted, (size_t)n_field, &v, &length)) {
            const uint32_t slot = *slot_of(r, md5);
            text = !slot ? NULL : other ? &r->v[slot - 1].other : &r->v[slot - 1].english;
            if (text)
                *text = (debian_text){v, length};
            inside = true;
        }
    }
}

/* Set U in the arena. */
static status collect(arena *a, const reading *r, debian_archive *out)
{
    TRY_TAKE(out->v, a, r->n);
    for (uint64_t i = 0; i <= r->mask; i++)
        if (r->by_md5[i] && r->v[r->by_md5[i] - 1].english.v)
            out->v[out->n++] = r->v[r->by_md5[i] - 1];
    qsort(out->v, (size_t)out->n, sizeof *out->v, by_name);
    return STATUS_OK;
}

static status read_all(arena *a, reading *r, const debian_lists *l, const char *other,
                       debian_archive *out)
{
    for (int i = 0; i < l->n; i++) {
        file_map *m = &out->maps[out->n_maps];
        if (l->v[i].language[0] && strcmp(l->v[i].language, "en") != 0 &&
            (!other || strcmp(l->v[i].language, other) != 0))
            continue;
        TRY(file_map_open(m, l->v[i].path));
        out->n_maps++;
        if (m->bytes > LIST_MAX_BYTES)
            return fail(STATUS_FORMAT, "%s: has %zu bytes, may have 2 GB", m->path, m->bytes);
        if (!l->v[i].language[0])
            TRY(read_packages(r, m));
    }
    if (r->n == 0)
        return fail(STATUS_FORMAT, "debian: there are no packages in the lists%s%s",
                    l->n ? ", the first is " : "", l->n ? l->v[0].path : "");
    TRY(first_of_name(r));
    TRY(first_of_description(r));
    for (int i = 0, map = 0; map < out->n_maps; i++) {
        if (out->maps[map].path != l->v[i].path)
            continue;
        if (l->v[i].language[0]) {
            const bool english = strcmp(l->v[i].language, "en") == 0;
            read_translation(r, &out->maps[map], l->v[i].language, !english);
        }
        map++;
    }
    return collect(a, r, out);
}

status debian_read(arena *a, const debian_lists *l, const char *other, debian_archive *out)
{
    reading r = {0};

    *out = (debian_archive){0};
    const status s = read_all(a, &r, l, other, out);
    free(r.v);
    free(r.by_md5);
    if (s != STATUS_OK)
        debian_close(out);
    return s;
}

void debian_close(debian_archive *archive)
{
    for (int i = 0; i < archive->n_maps; i++)
        file_map_close(&archive->maps[i]);
    *archive = (debian_archive){0};
}

size_t debian_short(debian_text text, char *out)
{
    cursor      c = {text.v, text.v + text.n};
    const char *line = "";
    size_t      n = 0;

    next_line(&c, &line, &n);
    strip(&line, &n);
    memcpy(out, line, n);
    return n;
}

size_t debian_long(debian_text text, char *out)
{
    cursor      c = {text.v, text.v + text.n};
    const char *line;
    size_t      n, to = 0;
    bool        paragraph = false; /* the last line of out can go on */

    next_line(&c, &line, &n);
    while (next_line(&c, &line, &n)) {
        if (n > 0 && line[0] == ' ')
            line++, n--;
        const bool list = n > 0 && is_blank(line[0]);
        strip(&line, &n);
        if (n == 0 || (!list && n == 1 && line[0] == '.')) {
            paragraph = false;
            continue;
        }
        if (to > 0)
            out[to++] = paragraph && !list ? ' ' : '\n';
        memcpy(out + to, line, n);
        to += n;
        paragraph = !list;
    }
    return to;
}
