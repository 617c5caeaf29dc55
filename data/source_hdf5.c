/* source hdf5: arrays of a file as texts, images or token ids, by what they hold:
 *
 *     texts          [n]                          records with the field `text`
 *     u8, reals      [n, h, w] and [n, h, w, 1], [n, h, w, 3], [n, 1, h, w], [n, 3, h, w]
 *                                                 images; reals are 0..1
 *     whole numbers  [n, t]                       n sequences of token ids
 *     whole numbers  [n]                          a stream of token ids, cut into pieces of `length` */
#include "core/hdf5_set.h"
#include "core/utf8.h"
#include "data/image.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CLASSES_MAX = 1 << 16 };

typedef struct reader {
    const hdf5_options *o;
    h5_file             file;
    h5_set              set, labels; /* labels.id 0: none */
    const image_scale  *scale;
} reader;

static const char *place(const reader *r, char out[256], const char *name, int64_t i)
{
    snprintf(out, 256, "%.150s: value %lld of %.60s", r->o->path, (long long)i, name);
    return out;
}

static status check_text(const reader *r, const char *name, const h5_text *t, int64_t i)
{
    char   where[256];
    size_t bad;

    if (utf8_valid(t->v, t->n, &bad))
        return STATUS_OK;
    return fail(STATUS_FORMAT, "%s is not valid UTF-8 at byte %zu", place(r, where, name, i), bad);
}

/* Whole numbers within lo..INT32_MAX, or -100 where `target` says so; what they were read into is given back. */
static status read_whole(arena *a, reader *r, const h5_set *s, bool target, int32_t **out)
{
    const int64_t n = shape_count(s->s);
    char          where[256];
    int64_t      *wide;

    if (s->kind != H5_WHOLE)
        return fail(STATUS_FORMAT, "%s: %s must hold whole numbers", r->o->path, s->name);
    TRY_TAKE(*out, a, n);
    const size_t mark = arena_mark(a);
    TRY_TAKE(wide, a, n);
    TRY(h5_set_read(&r->file, s, TYPE_I64, wide));
    for (int64_t i = 0; i < n; i++) {
        if (wide[i] > INT32_MAX || (wide[i] < 0 && !(target && wide[i] == -100)))
            return fail(STATUS_FORMAT, "%s is %lld, must be a whole number 0..%d%s", place(r, where, s->name, i),
                        (long long)wide[i], INT32_MAX, target ? ", or -100" : "");
        (*out)[i] = (int32_t)wide[i];
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

static status make_records(arena *a, const reader *r, int64_t n, records *out)
{
    TRY_TAKE(out->v, a, n);
    out->n = n;
    for (int64_t i = 0; i < n; i++)
        out->v[i] = (record){.origin = r->o->path, .line = i + 1, .batch = -1, .label = -1};
    return STATUS_OK;
}

/* ---- texts --------------------------------------------------------------------------------------------- */

static status add_field(arena *a, record *x, const char *name, const char *text, size_t n)
{
    field *more;

    TRY_TAKE(more, a, x->n_fields + 1);
    if (x->n_fields)
        memcpy(more, x->fields, (size_t)x->n_fields * sizeof *more);
    more[x->n_fields] = (field){name, text, n};
    x->fields = more;
    x->n_fields++;
    return STATUS_OK;
}

static status read_texts(arena *a, reader *r, records *out)
{
    h5_text *texts;

    if (r->set.s.n != 1)
        return fail(STATUS_FORMAT, "%s: %s has texts of shape %s, must be [n]", r->o->path, r->set.name,
                    shape_text(r->set.s));
    TRY(h5_set_texts(&r->file, &r->set, a, &texts));
    TRY(make_records(a, r, r->set.s.d[0], out));
    for (int64_t i = 0; i < out->n; i++) {
        TRY(check_text(r, r->set.name, &texts[i], i));
        TRY(add_field(a, &out->v[i], "text", texts[i].v, texts[i].n));
    }
    out->plain = out->chat = (wording){.prompt = "{text}"};
    return STATUS_OK;
}

/* ---- images -------------------------------------------------------------------------------------------- */

typedef struct layout {
    int64_t n, height, width, channels;
    bool    first; /* channels before height */
} layout;

static status find_layout(const reader *r, layout *l)
{
    const shape s = r->set.s;
    const bool  last = s.n == 4 && (s.d[3] == 1 || s.d[3] == 3), first = s.n == 4 && (s.d[1] == 1 || s.d[1] == 3);

    if (s.n == 3)
        *l = (layout){s.d[0], s.d[1], s.d[2], 1, false};
    else if (last)
        *l = (layout){s.d[0], s.d[1], s.d[2], s.d[3], false};
    else if (first)
        *l = (layout){s.d[0], s.d[2], s.d[3], s.d[1], true};
    else
        return fail(STATUS_FORMAT, "%s: %s has the shape %s; images are [n, h, w], or have 1 or 3 channels behind or "
                    "before h, w", r->o->path, r->set.name, shape_text(s));
    return image_check(r->o->path, (uint64_t)l->width, (uint64_t)l->height, 0, 0);
}

/* All values as bytes; those of reals are in 0..1. */
static status read_bytes(arena *a, reader *r, uint8_t **out)
{
    const int64_t n = shape_count(r->set.s);
    char          where[256];
    float        *reals;

    TRY_TAKE(*out, a, n);
    if (r->set.bytes)
        return h5_set_read(&r->file, &r->set, TYPE_U8, *out);
    const size_t mark = arena_mark(a);
    TRY_TAKE(reals, a, n);
    TRY(h5_set_read(&r->file, &r->set, TYPE_F32, reals));
    for (int64_t i = 0; i < n; i++) {
        if (!(reals[i] >= 0 && reals[i] <= 1))
            return fail(STATUS_FORMAT, "%s is %g, an image of reals must be 0..1", place(r, where, r->set.name, i),
                        (double)reals[i]);
        (*out)[i] = (uint8_t)lrintf(reals[i] * 255);
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

static void spread(const layout *l, const uint8_t *from, uint8_t *to)
{
    const int64_t places = l->height * l->width;

    for (int64_t i = 0; i < places; i++)
        for (int64_t c = 0; c < 3; c++) {
            const int64_t channel = l->channels == 3 ? c : 0;
            to[i * 3 + c] = from[l->first ? channel * places + i : i * l->channels + channel];
        }
}

static status read_images(arena *a, reader *r, records *out)
{
    const int32_t side = (int32_t)r->o->size;
    layout        l = {0};
    uint8_t      *bytes, *all;

    TRY(find_layout(r, &l));
    TRY(make_records(a, r, l.n, out));
    const int64_t height = side ? side : l.height, width = side ? side : l.width;
    TRY_TAKE(all, a, l.n * height * width * 3);
    const size_t mark = arena_mark(a);
    TRY(read_bytes(a, r, &bytes));
    const size_t within = arena_mark(a);
    for (int64_t i = 0; i < l.n; i++) {
        record *x = &out->v[i];
        image   from = {.height = (int32_t)l.height, .width = (int32_t)l.width},
                to = {all + i * height * width * 3, (int32_t)height, (int32_t)width};

        TRY_TAKE(from.pixels, a, l.height * l.width * 3);
        spread(&l, bytes + i * l.channels * l.height * l.width, from.pixels);
        TRY(image_resize(a, &from, &to));
        arena_rewind(a, within);
        x->pixels = to.pixels;
        x->height = to.height;
        x->width = to.width;
        x->scale = r->scale;
    }
    arena_rewind(a, mark);
    return STATUS_OK;
}

/* ---- token ids ----------------------------------------------------------------------------------------- */

/* Every token is a target where the file has no labels for them. */
static status read_ids(arena *a, reader *r, records *out)
{
    const bool    stream = r->set.s.n == 1;
    const int64_t total = shape_count(r->set.s), length = stream ? r->o->length : r->set.s.d[1];
    int64_t       n = (total + length - 1) / length;
    int32_t      *ids;

    if (r->set.s.n > 2)
        return fail(STATUS_FORMAT, "%s: %s has token ids of shape %s, must be [n] or [n, t]", r->o->path, r->set.name,
                    shape_text(r->set.s));
    n -= stream && n > 1 && total % length == 1; /* a last piece of one token predicts nothing */
    TRY(read_whole(a, r, &r->set, false, &ids));
    TRY(make_records(a, r, n, out));
    for (int64_t i = 0; i < n; i++) {
        const int64_t left = total - i * length;

        out->v[i].ids = out->v[i].labels = ids + i * length;
        out->v[i].n_ids = (int32_t)(left < length ? left : length);
    }
    return STATUS_OK;
}

/* ---- labels -------------------------------------------------------------------------------------------- */

static status token_labels(arena *a, reader *r, records *out)
{
    int32_t *labels;

    TRY(read_whole(a, r, &r->labels, true, &labels));
    for (int64_t i = 0; i < out->n; i++)
        out->v[i].labels = labels + (out->v[i].ids - out->v[0].ids);
    return STATUS_OK;
}

/* The classes are called as their numbers. */
static status name_numbers(arena *a, records *out, const int32_t *labels)
{
    const char **names;

    for (int64_t i = 0; i < out->n; i++)
        out->n_labels = labels[i] >= out->n_labels ? labels[i] + 1 : out->n_labels;
    TRY_TAKE(names, a, out->n_labels);
    for (int i = 0; i < out->n_labels; i++)
        if ((names[i] = arena_printf(a, "%d", i)) == NULL)
            return STATUS_MEMORY;
    out->labels = names;
    return STATUS_OK;
}

static status class_numbers(arena *a, reader *r, records *out)
{
    int32_t *labels, *none;
    char     where[256];

    TRY(read_whole(a, r, &r->labels, false, &labels));
    for (int64_t i = 0; i < out->n; i++)
        if (labels[i] >= CLASSES_MAX)
            return fail(STATUS_FORMAT, "%s is %d, a class must be 0..%d", place(r, where, r->labels.name, i),
                        labels[i], CLASSES_MAX - 1);
    TRY(name_numbers(a, out, labels));
    const int32_t most = out->v[0].n_ids;
    TRY_TAKE(none, a, most);
    for (int32_t i = 0; i < most; i++)
        none[i] = -100;
    for (int64_t i = 0; i < out->n; i++) {
        record     *x = &out->v[i];
        const char *name = out->labels[labels[i]];

        x->label = labels[i];
        if (x->ids)
            x->labels = none; /* what is wanted is the class */
        TRY(add_field(a, x, "label", name, strlen(name)));
    }
    return STATUS_OK;
}

static status class_names(arena *a, reader *r, records *out)
{
    h5_text *texts;

    TRY(h5_set_texts(&r->file, &r->labels, a, &texts));
    for (int64_t i = 0; i < out->n; i++) {
        TRY(check_text(r, r->labels.name, &texts[i], i));
        TRY(add_field(a, &out->v[i], "label", texts[i].v, texts[i].n));
    }
    return records_classes(a, out, "label", 0, NULL);
}

static status read_labels(arena *a, reader *r, records *out)
{
    const shape s = r->labels.s;

    if (out->v[0].ids && shape_equal(s, r->set.s))
        return token_labels(a, r, out);
    if (s.n != 1 || s.d[0] != out->n || (out->v[0].ids && r->set.s.n == 1))
        return fail(STATUS_SHAPE, "%s: %s has the shape %s, and %s has %s: labels are as many as records%s",
                    r->o->path, r->labels.name, shape_text(s), r->set.name, shape_text(r->set.s),
                    out->v[0].ids ? ", or as tokens" : "");
    return r->labels.kind == H5_TEXTS && !out->v[0].ids ? class_names(a, r, out) : class_numbers(a, r, out);
}

static status read_set(arena *a, reader *r, records *out)
{
    TRY(h5_set_open(&r->file, r->o->dataset, &r->set));
    if (r->o->labels)
        TRY(h5_set_open(&r->file, r->o->labels, &r->labels));
    const bool images = r->set.kind == H5_REAL || (r->set.bytes && r->set.s.n > 2);
    TRY((r->set.kind == H5_TEXTS ? read_texts : images ? read_images : read_ids)(a, r, out));
    return r->o->labels ? read_labels(a, r, out) : STATUS_OK;
}

static status hdf5_load(arena *a, const void *options, records *out)
{
    reader r = {.o = options};

    TRY(image_scale_read(a, "hdf5", &r.o->mean, &r.o->std, &r.scale));
    TRY(h5_open(&r.file, r.o->path));
    const status s = read_set(a, &r, out);
    h5_set_close(&r.labels);
    h5_set_close(&r.set);
    h5_close(&r.file);
    return s;
}

static const key hdf5_keys[] = {
    {"path", KEY_TEXT, offsetof(hdf5_options, path), "!", 0, 0, false, NULL, "", "HDF5 file."},
    {"dataset", KEY_TEXT, offsetof(hdf5_options, dataset), "!", 0, 0, false, NULL, "",
     "Array of the samples (train/images): texts [n], images [n, h, w] or with channels, token ids [n, t], or a "
     "stream of token ids [n]."},
    {"labels", KEY_TEXT, offsetof(hdf5_options, labels), NULL, 0, 0, false, NULL, "",
     "Array of the classes [n], numbers or names, or of each token's target, -100 for none; without it every token "
     "is one."},
    {"length", KEY_INT, offsetof(hdf5_options, length), "512", 2, 1 << 24, true, NULL, "tokens",
     "Pieces that a stream of token ids is cut into."},
    {"size", KEY_INT, offsetof(hdf5_options, size), "0", 0, 8192, true, NULL, "pixels",
     "Side of the square that images are resized to (bilinear); 0: as they are."},
    IMAGE_KEYS(hdf5_options),
};

const data_source source_hdf5 = {
    .name = "hdf5",
    .help = "texts, images or token ids from arrays of an HDF5 file",
    .keys = KEY_TABLE("hdf5", hdf5_keys, hdf5_options),
    .load = hdf5_load,
};
