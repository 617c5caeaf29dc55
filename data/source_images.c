/* source images: pictures with a class each */
#include "data/csv.h"
#include "data/image.h"

#include "core/text.h"
#include "core/utf8.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const images_options *o;
    const image_scale    *scale;
    records              *out;
    int64_t               room;
} reader;

/* ---- folders ----------------------------------------------------------------------------------------- */

/* The names in a folder, sorted; hidden ones are left out. */
static status list_folder(arena *a, const char *path, const char ***names, int *n)
{
    DIR                 *dir = opendir(path);
    const struct dirent *e;
    int                  room = 0;
    size_t               bad;
    status               s = STATUS_OK;

    *n = 0;
    if (!dir)
        return fail(STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    while ((e = readdir(dir)))
        room += e->d_name[0] != '.';
    rewinddir(dir);
    *names = arena_take(a, (size_t)room, sizeof **names);
    if (!*names)
        s = STATUS_MEMORY;
    while (s == STATUS_OK && *n < room && (e = readdir(dir)))
        if (e->d_name[0] != '.') {
            (*names)[*n] = arena_string(a, e->d_name, strlen(e->d_name));
            s = (*names)[(*n)++] ? STATUS_OK : STATUS_MEMORY;
        }
    closedir(dir);
    TRY(s);
    for (int i = 0; i < *n; i++)
        if (!utf8_valid((*names)[i], strlen((*names)[i]), &bad))
            return fail(STATUS_FORMAT, "%s: a name in it is not valid UTF-8: \"%.60s\"", path, (*names)[i]);
    *n = (int)text_sort(*names, *n);
    return STATUS_OK;
}

static status make_room(arena *a, reader *r, int64_t more)
{
    record *grown;

    if (r->out->n + more <= r->room)
        return STATUS_OK;
    r->room = 2 * (r->out->n + more);
    TRY_TAKE(grown, a, r->room);
    if (r->out->n > 0)
        memcpy(grown, r->out->v, (size_t)r->out->n * sizeof *grown);
    r->out->v = grown;
    return STATUS_OK;
}

/* One picture. line: of the list that names it, 0: none does. */
static status add(arena *a, reader *r, const char *path, const field fields[2], int32_t label, const char *list,
                  int64_t line)
{
    image  image;
    field *copy = arena_copy(a, fields, 2 * sizeof *fields);

    if (!copy || !path)
        return STATUS_MEMORY;
    const status s = image_read(a, path, r->o->size, &image);
    if (s != STATUS_OK)
        return line ? fail_in(s, "at %s:%lld", list, (long long)line) : s;
    r->out->v[r->out->n++] = (record){.origin = line ? list : path, .line = line, .n_fields = 2, .fields = copy,
                                      .batch = -1, .label = label, .pixels = image.pixels, .height = image.height,
                                      .width = image.width, .scale = r->scale};
    return STATUS_OK;
}

static status read_class(arena *a, reader *r, int32_t label)
{
    const char  *name = r->out->labels[label], *folder = path_join(a, r->o->path, name);
    const char **files;
    int          n;

    if (!folder)
        return STATUS_MEMORY;
    TRY(list_folder(a, folder, &files, &n));
    if (n == 0)
        return fail(STATUS_FORMAT, "%s: holds no image", folder);
    TRY(make_room(a, r, n));
    for (int i = 0; i < n; i++) {
        char       *file = arena_printf(a, "%s/%s", name, files[i]);
        const field fields[] = {{"file_name", file, file ? strlen(file) : 0}, {"label", name, strlen(name)}};

        TRY(add(a, r, path_join(a, folder, files[i]), fields, label, NULL, 0));
    }
    return STATUS_OK;
}

static status read_folder(arena *a, reader *r)
{
    const key_texts *classes = &r->o->classes;
    const char     **names;
    char             path[4096];

    r->out->labels = classes->v;
    r->out->n_labels = classes->n;
    if (classes->n == 0) {
        TRY(list_folder(a, r->o->path, &names, &r->out->n_labels));
        r->out->labels = names;
    }
    if (r->out->n_labels == 0)
        return fail(STATUS_FORMAT, "%s: holds no folder of a class", r->o->path);
    for (int i = 0; i < r->out->n_labels; i++) {
        snprintf(path, sizeof path, "%s/%s", r->o->path, r->out->labels[i]);
        if (!path_is_folder(path))
            return fail(STATUS_FORMAT, "%s: must be a folder with the images of a class", path);
    }
    for (int i = 0; i < r->out->n_labels; i++)
        TRY(read_class(a, r, i));
    return STATUS_OK;
}

/* ---- a list ------------------------------------------------------------------------------------------ */

static status read_rows(arena *a, reader *r, csv *c, csv_row *row)
{
    static const char *const wanted[] = {"file_name", "label"};
    const char              *slash = strrchr(r->o->path, '/');
    const char              *folder = arena_string(a, r->o->path, slash ? (size_t)(slash - r->o->path) + 1 : 0);
    const char             **names;
    int                      column[2];

    if (!folder)
        return STATUS_MEMORY;
    TRY(csv_next(c, row));
    TRY(csv_names(a, c, row, &names));
    const int n = row->n;
    for (int i = 0; i < 2; i++)
        if ((column[i] = text_index(wanted[i], names, n)) < 0)
            return fail(STATUS_FORMAT, "%s: has no column %s, a list of images needs file_name and label", r->o->path,
                        wanted[i]);
    for (;;) {
        field fields[2];

        TRY(csv_next_of(c, row, n));
        if (row->n == 0)
            return STATUS_OK;
        for (int i = 0; i < 2; i++) {
            fields[i].name = wanted[i];
            TRY(csv_text(a, row, column[i], &fields[i]));
        }
        TRY(make_room(a, r, 1));
        TRY(add(a, r, path_join(a, folder, fields[0].text), fields, -1, r->o->path, row->line));
    }
}

static status read_list(arena *a, reader *r)
{
    csv     c;
    csv_row row;

    TRY(csv_open(&c, r->o->path, ',', true));
    const status s = read_rows(a, r, &c, &row);
    csv_close(&c);
    TRY(s);
    if (r->out->n == 0)
        return fail(STATUS_FORMAT, "%s: names no image", r->o->path);
    return records_classes(a, r->out, "label", r->o->classes.n, r->o->classes.v);
}

static status images_load(arena *a, const void *options, records *out)
{
    reader r = {.o = options, .out = out};

    TRY(image_scale_read(a, "images", &r.o->mean, &r.o->std, &r.scale));
    return path_is_folder(r.o->path) ? read_folder(a, &r) : read_list(a, &r);
}

static const key images_keys[] = {
    {"path", KEY_TEXT, offsetof(images_options, path), "!", 0, 0, false, NULL, "",
     "Folder with a folder of PNG, PPM or PGM files for each class, or a CSV file with columns file_name and label."},
    {"size", KEY_INT, offsetof(images_options, size), "0", 0, 8192, true, NULL, "pixels",
     "Side of the square that images are resized to (bilinear); 0: as they are."},
    {"classes", KEY_TEXTS, offsetof(images_options, classes), NULL, 0, 0, false, NULL, "",
     "Names of the classes in the order of their numbers; all, sorted, when none is named."},
    IMAGE_KEYS(images_options),
};

const data_source source_images = {
    .name = "images",
    .help = "pictures in a folder for each class, or in a list",
    .keys = KEY_TABLE("images", images_keys, images_options),
    .load = images_load,
};
