/* source conll: sentences with a word a line, an empty line behind each, as shared tasks give them.
 *
 * In CoNLL-U files a line of # is a comment, and a word whose number is a range (1-2) or has a point (1.1) is none of
 * the sentence's own words. */
#include "data/lines.h"
#include "data/source.h"

#include "core/text.h"
#include "core/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS_MAX = 256 };

typedef struct cell {
    const char *text;
    size_t      length;
} cell;

typedef struct reader {
    const conll_options *o;
    lines                file;
    long                 word, tag; /* columns from 1, from the end where negative; tag 0: there is none */
    cell                 cells[CELLS_MAX];
    int                  n;    /* cells of the current line; 0: it is no word */
    int64_t              last; /* line of the word before, 0: none */
    field               *words;
    const char         **tags; /* [words] */
    int64_t              n_words;
} reader;

/* ---- a line ------------------------------------------------------------------------------------------ */

static status cut_line(reader *r)
{
    const char *at = r->file.text, *end = at + r->file.length;
    const char *space = r->o->conllu ? "\t" : " \t";

    end -= end[-1] == '\r';
    for (r->n = 0; at < end;) {
        const char *from = at;

        while (at < end && *at != space[0] && *at != '\t')
            at++;
        if (at > from || r->o->conllu) {
            if (r->n == CELLS_MAX)
                return fail(STATUS_FORMAT, "%s:%lld: has more than %d columns", r->o->path, (long long)r->file.number,
                            CELLS_MAX);
            r->cells[r->n++] = (cell){from, (size_t)(at - from)};
        }
        at++;
    }
    return STATUS_OK;
}

static bool cell_is(const cell *c, const char *text)
{
    return c->length == strlen(text) && memcmp(c->text, text, c->length) == 0;
}

/* Steps to the next word; false at the end of the file. *apart: something between sentences came before it. */
static status next_word(reader *r, bool *found, bool *apart)
{
    *apart = false;
    while ((*found = lines_next(&r->file))) {
        size_t bad;

        *apart |= r->file.number > r->last + 1;
        if (!utf8_valid(r->file.text, r->file.length, &bad))
            return fail(STATUS_FORMAT, "%s:%lld: not valid UTF-8 at byte %zu of the line", r->o->path,
                        (long long)r->file.number, bad);
        TRY(cut_line(r));
        r->last = r->file.number;
        if (cell_is(&r->cells[0], "-DOCSTART-"))
            *apart = true;
        else if (!r->o->conllu ||
                 (r->cells[0].text[0] != '#' && !memchr(r->cells[0].text, '-', r->cells[0].length) &&
                  !memchr(r->cells[0].text, '.', r->cells[0].length)))
            break;
    }
    return STATUS_OK;
}

static status pick(const reader *r, long column, const cell **out)
{
    const long at = column > 0 ? column - 1 : r->n + column;

    if (at < 0 || at >= r->n)
        return fail(STATUS_FORMAT, "%s:%lld: has %d columns, column %ld is wanted", r->o->path,
                    (long long)r->file.number, r->n, column);
    *out = &r->cells[at];
    if ((*out)->length == 0 || memchr((*out)->text, '\0', (*out)->length))
        return fail(STATUS_FORMAT, "%s:%lld: column %ld is empty, or holds a NUL byte", r->o->path,
                    (long long)r->file.number, column);
    return STATUS_OK;
}

/* ---- sentences --------------------------------------------------------------------------------------- */

static status read_columns(reader *r)
{
    const key_texts *c = &r->o->columns;
    long            *to[] = {&r->word, &r->tag};

    if (c->n < 1 || c->n > 2)
        return fail(STATUS_USAGE, "conll: columns has %d numbers, must have two: of the word and of its tag; or one",
                    c->n);
    for (int i = 0; i < c->n; i++) {
        char *end;

        *to[i] = strtol(c->v[i], &end, 10);
        if (*end || end == c->v[i] || *to[i] == 0 || labs(*to[i]) > CELLS_MAX)
            return fail(STATUS_USAGE, "conll: columns: \"%.20s\" must be a whole number 1..%d, or -1..-%d from the "
                        "end", c->v[i], CELLS_MAX, CELLS_MAX);
    }
    return STATUS_OK;
}

static status take_word(arena *a, reader *r)
{
    const cell *word, *tag;

    TRY(pick(r, r->word, &word));
    r->words[r->n_words] = (field){.text = arena_string(a, word->text, word->length), .length = word->length};
    if (!r->words[r->n_words].text)
        return STATUS_MEMORY;
    if (r->tag) {
        TRY(pick(r, r->tag, &tag));
        r->tags[r->n_words] = arena_string(a, tag->text, tag->length);
        if (!r->tags[r->n_words])
            return STATUS_MEMORY;
    }
    r->n_words++;
    return STATUS_OK;
}

/* All words, each sentence a record that points at its part of them. */
static status read_sentences(arena *a, reader *r, records *out)
{
    bool found, apart;

    for (;;) {
        TRY(next_word(r, &found, &apart));
        if (!found)
            return STATUS_OK;
        if (apart || out->n == 0)
            out->v[out->n++] = (record){.origin = r->o->path, .line = r->file.number, .batch = -1, .label = -1,
                                        .words = r->words + r->n_words};
        out->v[out->n - 1].n_words++;
        TRY(take_word(a, r));
    }
}

/* The tags that occur, sorted, and their numbers at the words. */
static status number_tags(arena *a, const reader *r, records *out)
{
    const char **names;
    int32_t     *tags;

    TRY_TAKE(names, a, r->n_words);
    TRY_TAKE(tags, a, r->n_words);
    memcpy(names, r->tags, (size_t)r->n_words * sizeof *names);
    const int64_t n = text_sort(names, r->n_words);
    for (int64_t i = 0; i < r->n_words; i++)
        tags[i] = (int32_t)text_sorted_index(r->tags[i], names, n);
    for (int64_t i = 0; i < out->n; i++)
        out->v[i].tags = tags + (out->v[i].words - r->words);
    out->labels = names;
    out->n_labels = (int)n;
    return STATUS_OK;
}

/* The words, or their tags, with a blank between them. */
static status join(arena *a, const record *x, const char *const *tags, field *out)
{
    size_t n = 0, at = 0;
    char  *text;

    for (int32_t i = 0; i < x->n_words; i++)
        n += 1 + (tags ? strlen(tags[i]) : x->words[i].length);
    TRY_TAKE(text, a, n);
    for (int32_t i = 0; i < x->n_words; i++) {
        const char  *from = tags ? tags[i] : x->words[i].text;
        const size_t length = tags ? strlen(from) : x->words[i].length;

        memcpy(text + at, from, length);
        at += length;
        text[at++] = i + 1 < x->n_words ? ' ' : '\0';
    }
    out->text = text;
    out->length = n - 1;
    return STATUS_OK;
}

static status add_fields(arena *a, const reader *r, records *out)
{
    const int n = r->tag ? 2 : 1;
    field    *fields;

    for (int64_t i = 0; i < out->n; i++) {
        record *x = &out->v[i];

        TRY_TAKE(fields, a, n);
        fields[0].name = "text";
        TRY(join(a, x, NULL, &fields[0]));
        if (r->tag) {
            fields[1].name = "tags";
            TRY(join(a, x, r->tags + (x->words - r->words), &fields[1]));
        }
        x->fields = fields;
        x->n_fields = n;
    }
    out->plain = (wording){.prompt = r->tag ? "{text}\n" : "{text}", .target = r->tag ? "{tags}" : NULL};
    return STATUS_OK;
}

static status conll_load(arena *a, const void *options, records *out)
{
    reader  r = {.o = options};
    int64_t count;

    TRY(read_columns(&r));
    TRY(lines_open(&r.file, r.o->path, &count));
    r.words = arena_take(a, (size_t)count, sizeof *r.words);
    r.tags = arena_take(a, (size_t)count, sizeof *r.tags);
    out->v = arena_take(a, (size_t)count, sizeof *out->v);
    const status s = r.words && r.tags && out->v ? read_sentences(a, &r, out) : STATUS_MEMORY;
    lines_close(&r.file);
    TRY(s);
    if (out->n == 0)
        return fail(STATUS_FORMAT, "%s: holds no sentence", r.o->path);
    if (r.tag)
        TRY(number_tags(a, &r, out));
    return add_fields(a, &r, out);
}

static const key conll_keys[] = {
    {"path", KEY_TEXT, offsetof(conll_options, path), "!", 0, 0, false, NULL, "",
     "File with a word a line and an empty line behind each sentence; lines of -DOCSTART- are left out."},
    {"columns", KEY_TEXTS, offsetof(conll_options, columns), "[1, -1]", 0, 0, false, NULL, "",
     "Numbers of the word's column and of its tag's, from 1, or from -1 at the end; one number: no tags."},
    {"conllu", KEY_BOOL, offsetof(conll_options, conllu), "no", 0, 0, false, NULL, "",
     "CoNLL-U: only tabs part columns; comments (#), ranges (1-2) and empty nodes (1.1) are left out."},
};

const data_source source_conll = {
    .name = "conll",
    .help = "sentences by words, with a tag for each",
    .keys = KEY_TABLE("conll", conll_keys, conll_options),
    .load = conll_load,
};
