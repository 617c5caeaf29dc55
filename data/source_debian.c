/* source debian: the package descriptions of this machine's archive as learning tasks.
 *
 * One row a description (the first package by name keeps it). Rows are split by the name of their
 * source package, so that siblings, which share paragraphs, fall on one side: FNV-1a-64 of the name mod
 * 100, below 10 test, below 15 validation, else train. Rows come in the order of FNV-1a-64 of their
 * package's name, a fixed shuffle that later releases keep; `limit` takes the first. */
#include "data/debian.h"
#include "data/source.h"

#include "core/log.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* The sections with at least 100 rows; B: those about a topic, among them. Sorted. */
static const char *const sections_a[] = {
    "admin",  "database", "debug",  "devel",         "doc",         "editors",    "electronics",
    "fonts",  "games",    "gnome",  "gnu-r",         "golang",      "graphics",   "hamradio",
    "haskell", "interpreters", "introspection", "java", "javascript", "kde",      "libdevel",
    "libs",   "lisp",     "mail",   "math",          "misc",        "net",        "ocaml",
    "otherosfs", "perl",  "php",    "python",        "ruby",        "rust",       "science",
    "sound",  "text",     "utils",  "video",         "web",         "x11"};
static const char *const sections_b[] = {
    "admin", "devel", "fonts", "games", "gnu-r", "golang", "haskell", "java", "javascript", "lisp",
    "net",   "perl",  "php",   "python", "ruby", "rust",   "science", "sound", "text",      "x11"};

static const struct {
    const char *code, *name;
} language_names[] = {
    {"cs", "Czech"},      {"da", "Danish"},     {"de", "German"},
    {"en", "English"},    {"es", "Spanish"},    {"fi", "Finnish"},
    {"fr", "French"},     {"hu", "Hungarian"},  {"it", "Italian"},
    {"ja", "Japanese"},   {"ko", "Korean"},     {"nl", "Dutch"},
    {"pl", "Polish"},     {"pt", "Portuguese"}, {"pt_BR", "Brazilian Portuguese"},
    {"ru", "Russian"},    {"sk", "Slovak"},     {"sr", "Serbian"},
    {"sv", "Swedish"},    {"tr", "Turkish"},    {"uk", "Ukrainian"},
    {"vi", "Vietnamese"}, {"zh_CN", "Simplified Chinese"}, {"zh_TW", "Traditional Chinese"},
};

/* A row on its way to a record. */
typedef struct row {
    uint64_t              order;
    const debian_package *p;
    int32_t               label;
} row;

typedef struct work {
    arena                *a;
    const debian_options *o;
    const char           *language; /* beside English, or NULL */
    bool                  synopsis, section, translation;
    int64_t               invalid;  /* rows left out: not valid UTF-8 */
    char                 *text[2], *brief[2]; /* long and short description: English, other */
    size_t                n_text[2], n_brief[2];
} work;

static bool in_split(const debian_package *p, const char *split)
{
    const uint64_t r = debian_hash(p->source, p->n_source) % 100;
    const char    *is = r < 10 ? "test" : r < 15 ? "validation" : "train";

    return strcmp(split, "all") == 0 || strcmp(split, is) == 0;
}

static int by_order(const void *a, const void *b)
{
    const row *x = a, *y = b;

    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->p < y->p ? -1 : 1; /* packages lie in the order of their names */
}

/* The number of a section among the classes, -1: none of them. */
static int32_t class_of(const work *w, const debian_package *p)
{
    const bool         b = strcmp(w->o->set, "B") == 0;
    const char *const *names = b ? sections_b : sections_a;
    const int32_t      n = b ? (int32_t)COUNT_OF(sections_b) : (int32_t)COUNT_OF(sections_a);

    for (int32_t c = 0; c < n; c++)
        if (strlen(names[c]) == p->n_section && memcmp(names[c], p->section, p->n_section) == 0)
            return c;
    return -1;
}

static bool same_pair(const debian_package *a, const debian_package *b)
{
    return a->n_source == b->n_source && a->n_section == b->n_section &&
           memcmp(a->source, b->source, a->n_source) == 0 &&
           memcmp(a->section, b->section, a->n_section) == 0;
}

/* Of all packages with one source and section only the first by name stays. */
static status one_a_section(row *rows, int64_t *n)
{
    uint64_t size = 16;
    int64_t  kept = 0;

    while (size < 2 * (uint64_t)*n)
        size *= 2;
    uint32_t *table = calloc(size, sizeof *table);
    if (!table)
        return fail(STATUS_MEMORY, "debian: no memory for %lld rows", (long long)*n);
    for (int64_t i = 0; i < *n; i++) {
        const debian_package *p = rows[i].p;
        uint64_t at = debian_hash(p->source, p->n_source) ^ debian_hash(p->section, p->n_section) * 31;
        for (at &= size - 1; table[at] && !same_pair(rows[table[at] - 1].p, p);)
            at = (at + 1) & (size - 1);
        if (table[at])
            continue;
        rows[kept++] = rows[i];
        table[at] = (uint32_t)kept;
    }
    *n = kept;
    free(table);
    return STATUS_OK;
}

static int64_t characters(const char *text, size_t n)
{
    int64_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += ((uint8_t)text[i] & 0xC0) != 0x80;
    return count;
}

static bool has_word(const char *text, size_t n, const char *word)
{
    const size_t m = strlen(word);

    for (size_t i = 0; i + m <= n; i++)
        if (strncasecmp(text + i, word, m) == 0)
            return true;
    return false;
}

/* Reads a row's texts into the scratch; false when the task leaves the row out. */
static bool wanted(work *w, const row *r)
{
    const bool  other = w->language != NULL;
    const int   main_text = other && !w->translation ? 1 : 0;
    size_t      bad;

    for (int k = 0; k <= (other ? 1 : 0); k++) {
        const debian_text t = k ? r->p->other : r->p->english;

        if (!t.v)
            return false;
        if (!utf8_valid(t.v, t.n, &bad)) {
            w->invalid++;
            return false;
        }
        w->n_brief[k] = debian_short(t, w->brief[k]);
        w->n_text[k] = debian_long(t, w->text[k]);
    }
    if (w->n_brief[main_text] == 0)
        return false;
    if (w->synopsis)
        return characters(w->text[main_text], w->n_text[main_text]) >= 80 &&
               !has_word(w->brief[main_text], w->n_brief[main_text], "transitional");
    if (w->translation)
        return w->n_brief[1] > 0 && (w->n_brief[0] != w->n_brief[1] ||
                                     memcmp(w->brief[0], w->brief[1], w->n_brief[0]) != 0);
    return true;
}

static status set_field(arena *a, field *f, const char *name, const char *text, size_t n)
{
    *f = (field){.name = name, .text = arena_string(a, text, n), .length = n};
    return f->text ? STATUS_OK : STATUS_MEMORY;
}

/* "short\nlong" of language k in the arena. */
static status set_whole(work *w, field *f, const char *name, int k)
{
    const size_t n = w->n_brief[k] + (w->n_text[k] ? 1 + w->n_text[k] : 0);
    char        *text;

    TRY_TAKE(text, w->a, n + 1);
    memcpy(text, w->brief[k], w->n_brief[k]);
    if (w->n_text[k]) {
        text[w->n_brief[k]] = '\n';
        memcpy(text + w->n_brief[k] + 1, w->text[k], w->n_text[k]);
    }
    text[n] = '\0';
    *f = (field){.name = name, .text = text, .length = n};
    return STATUS_OK;
}

static const char *language_name(const char *code)
{
    for (size_t i = 0; i < COUNT_OF(language_names); i++)
        if (strcmp(language_names[i].code, code) == 0)
            return language_names[i].name;
    return code;
}

static status make_record(work *w, const row *r, record *out)
{
    const int k = w->language && !w->translation ? 1 : 0;
    field    *f;

    *out = (record){.batch = -1, .label = r->label};
    out->origin = arena_string(w->a, r->p->name, r->p->n_name);
    TRY_TAKE(f, w->a, 3);
    out->fields = f;
    if (!out->origin)
        return STATUS_MEMORY;
    if (w->synopsis) {
        TRY(set_field(w->a, &f[0], "long", w->text[k], w->n_text[k]));
        TRY(set_field(w->a, &f[1], "short", w->brief[k], w->n_brief[k]));
        out->n_fields = 2;
    } else if (w->section) {
        TRY(set_whole(w, &f[0], "text", k));
        TRY(set_field(w->a, &f[1], "short", w->brief[k], w->n_brief[k]));
        TRY(set_field(w->a, &f[2], "section", r->p->section, r->p->n_section));
        out->n_fields = 3;
    } else {
        const char *name = language_name(w->language);
        if (strcmp(w->o->text, "short") == 0) {
            TRY(set_field(w->a, &f[0], "source", w->brief[0], w->n_brief[0]));
            TRY(set_field(w->a, &f[1], "target", w->brief[1], w->n_brief[1]));
        } else {
            TRY(set_whole(w, &f[0], "source", 0));
            TRY(set_whole(w, &f[1], "target", 1));
        }
        TRY(set_field(w->a, &f[2], "language", name, strlen(name)));
        out->n_fields = 3;
    }
    return STATUS_OK;
}

/* The task's rows of an archive, in their order. */
static status choose(work *w, const debian_archive *archive, row **out, int64_t *n)
{
    row *rows;

    *n = 0;
    TRY_TAKE(rows, w->a, archive->n);
    for (int64_t i = 0; i < archive->n; i++) {
        const debian_package *p = &archive->v[i];
        if (!in_split(p, w->o->split))
            continue;
        rows[*n] = (row){.order = debian_hash(p->name, p->n_name), .p = p, .label = -1};
        if (w->section && (rows[*n].label = class_of(w, p)) < 0)
            continue;
        ++*n;
    }
    if (w->section && !w->language)
        TRY(one_a_section(rows, n));
    qsort(rows, (size_t)*n, sizeof *rows, by_order);
    *out = rows;
    return STATUS_OK;
}

static status take_scratch(work *w, const debian_archive *archive)
{
    size_t longest = 0;

    for (int64_t i = 0; i < archive->n; i++) {
        const debian_package *p = &archive->v[i];
        longest = p->english.n > longest ? p->english.n : longest;
        longest = p->other.n > longest ? p->other.n : longest;
    }
    for (int k = 0; k < 2; k++) {
        TRY_TAKE(w->text[k], w->a, longest + 1);
        TRY_TAKE(w->brief[k], w->a, longest + 1);
    }
    return STATUS_OK;
}

/* Appends the records of one language. */
static status add_language(work *w, const debian_lists *l, records *out)
{
    debian_archive archive;
    row           *rows;
    record        *all;
    int64_t        n;

    TRY(debian_read(w->a, l, w->language, &archive));
    status s = take_scratch(w, &archive);
    if (s == STATUS_OK)
        s = choose(w, &archive, &rows, &n);
    if (s == STATUS_OK && (all = arena_take(w->a, (size_t)(out->n + n), sizeof *all)) == NULL)
        s = STATUS_MEMORY;
    if (s == STATUS_OK) {
        if (out->n > 0)
            memcpy(all, out->v, (size_t)out->n * sizeof *all);
        out->v = all;
    }
    for (int64_t i = 0; s == STATUS_OK && i < n; i++)
        if (wanted(w, &rows[i]))
            s = make_record(w, &rows[i], &out->v[out->n++]);
    debian_close(&archive);
    return s;
}

static status build(work *w, const debian_lists *l, records *out)
{
    const debian_options *o = w->o;
    const bool            english = o->languages.n == 0 || strcmp(o->languages.v[0], "en") == 0;

    for (int i = 0; i < (o->languages.n ? o->languages.n : 1); i++) {
        w->language = english ? NULL : o->languages.v[i];
        if (w->language && !debian_has(l, w->language))
            return fail(STATUS_IO, "debian: there is no Translation-%s among the lists", w->language);
        TRY(add_language(w, l, out));
    }
    if (w->invalid)
        log_warn("debian: %lld descriptions were left out: not valid UTF-8", (long long)w->invalid);
    if (out->n == 0)
        return fail(STATUS_FORMAT, "debian: the lists hold nothing for task %s, split %s; the first "
                                   "is %s",
                    o->task, o->split, l->v[0].path);
    return STATUS_OK;
}

static uint64_t mix(uint64_t h, const void *bytes, size_t n)
{
    return (h ^ debian_hash(bytes, n)) * 0x100000001b3u + n;
}

static uint64_t hash_options(const debian_options *o)
{
    uint64_t h = 3; /* raise it when the rules of this file change */

    h = mix(h, o->task, strlen(o->task));
    h = mix(h, o->split, strlen(o->split));
    h = mix(h, o->set, strlen(o->set));
    h = mix(h, o->text, strlen(o->text));
    for (int i = 0; i < o->languages.n; i++)
        h = mix(h, o->languages.v[i], strlen(o->languages.v[i]));
    return h;
}

/* What the lists that the options ask for are: path, size, time, inode. */
static uint64_t hash_lists(uint64_t h, const debian_options *o, const debian_lists *l)
{
    for (int i = 0; i < l->n; i++) {
        struct stat st;
        int64_t     facts[4] = {0};
        const char *language = l->v[i].language;
        bool        read = !language[0] || strcmp(language, "en") == 0;

        for (int k = 0; k < o->languages.n; k++)
            read |= strcmp(language, o->languages.v[k]) == 0;
        if (!read)
            continue;
        if (stat(l->v[i].path, &st) == 0) {
            facts[0] = st.st_size;
            facts[1] = st.st_mtim.tv_sec;
            facts[2] = st.st_mtim.tv_nsec;
            facts[3] = (int64_t)st.st_ino;
        }
        h = mix(h, l->v[i].path, strlen(l->v[i].path));
        h = mix(h, facts, sizeof facts);
    }
    return h;
}

/* Reads the lists and keeps the records, in memory that is given back: it is several times as much. */
static status build_and_keep(const work *w, const debian_lists *l, const char *path, uint64_t stamp)
{
    arena   a;
    work    aside = *w;
    records all = {0};

    TRY(arena_open(&a, "debian", (size_t)16 << 30));
    aside.a = &a;
    status s = build(&aside, l, &all);
    if (s == STATUS_OK)
        s = debian_keep(path, stamp, &all);
    arena_close(&a);
    return s;
}

/* The records from the kept file, which is made of the lists where it is missing or older than they. */
static status load_kept(work *w, const debian_lists *l, records *out)
{
    const uint64_t options = hash_options(w->o), stamp = hash_lists(options, w->o, l);
    char          *cache, *path;

    TRY(cache_folder(w->a, &cache));
    path = arena_printf(w->a, "%s/debian/records-%016llx", cache, (unsigned long long)options);
    if (!path)
        return STATUS_MEMORY;
    if (path_exists(path) && debian_kept(w->a, path, stamp, w->o->limit, out) == STATUS_OK)
        return STATUS_OK;
    *out = (records){0};
    if (build_and_keep(w, l, path, stamp) == STATUS_OK &&
        debian_kept(w->a, path, stamp, w->o->limit, out) == STATUS_OK)
        return STATUS_OK;
    log_warn("debian: the records could not be kept for the next run: %s", status_text());
    *out = (records){0};
    return build(w, l, out);
}

static void set_wording(const work *w, records *out)
{
    if (w->synopsis) {
        out->plain = (wording){"Describe this package in one line.\n\n{long}\n\nOne line:", " {short}", NULL};
        out->chat = (wording){"Describe this package in one line.\n\n{long}", "{short}", NULL};
    } else if (w->translation) {
        out->plain = (wording){"Translate to {language}.\n\n{source}\n\n{language}:", " {target}", NULL};
        out->chat = (wording){"Translate to {language}.\n\n{source}", "{target}", NULL};
    } else {
        const bool b = strcmp(w->o->set, "B") == 0;
        out->plain = out->chat = (wording){"{text}", NULL, NULL};
        out->labels = b ? sections_b : sections_a;
        out->n_labels = b ? (int)COUNT_OF(sections_b) : (int)COUNT_OF(sections_a);
    }
}

static status check_languages(const debian_options *o, bool translation)
{
    if (!translation && o->languages.n > 1)
        return fail(STATUS_USAGE, "debian: task %s takes one language, %d are given", o->task,
                    o->languages.n);
    for (int i = 0; translation && i < o->languages.n; i++)
        if (strcmp(o->languages.v[i], "en") == 0)
            return fail(STATUS_USAGE, "debian: translation is from English: languages names the others");
    if (translation && o->languages.n == 0)
        return fail(STATUS_USAGE, "debian: translation needs languages, such as [de]");
    return STATUS_OK;
}

static status debian_load(arena *a, const void *options, records *out)
{
    const debian_options *o = options;
    debian_lists          lists;
    work                  w = {.a = a,
                               .o = o,
                               .synopsis = strcmp(o->task, "synopsis") == 0,
                               .section = strcmp(o->task, "section") == 0,
                               .translation = strcmp(o->task, "translation") == 0};

    CHECK(w.synopsis || w.section || w.translation);
    TRY(check_languages(o, w.translation));
    if (o->lists) {
        TRY(debian_look(a, o->lists, &lists));
        TRY(build(&w, &lists, out));
    } else {
        TRY(debian_fetch(a, o->languages.n, o->languages.v, o->max_age, &lists));
        TRY(load_kept(&w, &lists, out));
    }
    if (o->limit > 0 && out->n > o->limit)
        out->n = o->limit;
    set_wording(&w, out);
    return STATUS_OK;
}

#define ROW(member, kind) #member, kind, offsetof(debian_options, member)
static const key debian_keys[] = {
    {ROW(task, KEY_CHOICE), "synopsis", 0, 0, false, "synopsis|section|translation", "",
     "Long description to one line; description to its section (a class); English to other languages."},
    {ROW(languages, KEY_TEXTS), NULL, 0, 0, false, NULL, "",
     "Language of the texts (English unless given); for translation the languages beside English."},
    {ROW(split, KEY_CHOICE), "train", 0, 0, false, "train|validation|test|all", "",
     "Part of the rows, divided by the name of the source package."},
    {ROW(limit, KEY_INT), "0", 0, 1e9, true, NULL, "records", "Records at most; 0: all."},
    {ROW(set, KEY_CHOICE), "B", 0, 0, false, "A|B", "",
     "Classes of task section: A the 41 large sections, B the 20 about a topic."},
    {ROW(text, KEY_CHOICE), "full", 0, 0, false, "full|short", "",
     "Task translation: whole descriptions, or their first lines."},
    {ROW(max_age, KEY_INT), "30", 0, 1e5, true, NULL, "days",
     "Age of the fetched lists after which newer ones are asked for."},
    {ROW(lists, KEY_TEXT), NULL, 0, 0, false, NULL, "",
     "Folder with Packages and Translation files to read instead of fetching."},
};

const data_source source_debian = {
    .name = "debian",
    .help = "package descriptions of this machine's archive",
    .keys = KEY_TABLE("debian", debian_keys, debian_options),
    .load = debian_load,
};
