/* source: where examples come from.
 *
 * A source is one file (source_jsonl.c) and one row in sources.def. It reads its options, described by
 * a table of keys, and gives records: rows of named texts, or token ids that are ready. How a record
 * becomes text is the template's matter (data/template.h), how text becomes ids the example's
 * (data/example.h). */
#ifndef DATA_SOURCE_H
#define DATA_SOURCE_H

#include "core/arena.h"
#include "core/keys.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A named text. It may hold NUL bytes; it is valid UTF-8 and a NUL byte follows it. */
typedef struct field {
    const char *name, *text;
    size_t      length;
} field;

/* How a pixel becomes the value that a model reads, by channel: (pixel / 255 - mean) / std. */
typedef struct image_scale {
    float mean[3], std[3];
} image_scale;

typedef struct record {
    const char    *origin;   /* file, or package: for messages */
    int64_t        line;     /* in that file, from 1; 0: not a line of a file */
    int            n_fields;
    const field   *fields;
    const char    *messages; /* JSON text [{"role": .., "content": ..}, ..], checked; NULL: none */
    int32_t        n_ids;    /* of the ids source, else 0 */
    const int32_t *ids;
    const int32_t *labels;   /* [n_ids], unshifted, -100 = not a target */
    int32_t        n_source; /* beside ids: what an encoder reads, else 0 */
    const int32_t *source;   /* [n_source] */
    int64_t        batch;    /* micro-batch it belongs to, -1: none given */
    int32_t        task;     /* 0 unless the record says otherwise */
    int32_t        label;    /* class of the whole record, -1: none */
    int32_t        n_words;  /* of a sentence that is given by words, else 0 */
    const field   *words;    /* [n_words] without names */
    const int32_t *tags;     /* [n_words] numbers in the records' labels; NULL: no tags */
    const uint8_t *pixels;   /* of an image: [height, width, 3], red, green, blue; NULL: none */
    int32_t        height, width;
    const image_scale *scale; /* of an image; NULL: as the model wants it */
} record;

/* A prompt and its target, with {field} places; target NULL: there is none. pair: a second text to be read with the
 * prompt, NULL: none. */
typedef struct wording {
    const char *prompt, *target, *pair;
} wording;

typedef struct records {
    int64_t            n;
    record            *v;
    bool               running;  /* running text: one record a file, to be cut at `length` */
    bool               batched;  /* micro-batches are given (record.batch) */
    wording            plain;    /* what this source says when the recipe has no template .. */
    wording            chat;     /* .. and with `template: chat`; prompt NULL: no such wording */
    int                n_labels; /* number of classes or tags, when the source knows them, else 0 */
    const char *const *labels;   /* [n_labels] their names */
    double             weight;   /* of a part of a mixture, else 0 */
    int                n_parts;  /* of a mixture, else 0: its sources, whose records lie one after another in v */
    const struct records *parts; /* [n_parts] each with its own wording; labels are those of the whole */
} records;

typedef struct data_source {
    const char *name, *help;
    key_table   keys;
    status    (*load)(arena *a, const void *options, records *out); /* options: keys.size bytes */
} data_source;

/* The i-th source (NULL past the last) and the one of a name (NULL: none). */
const data_source *source_at(int i);
const data_source *source_find(const char *name);

/* Loads all records of a source into the arena. Errors name file and line; a source without any
 * record fails. `options` is the struct that the source's keys describe (below). */
status source_load(arena *a, const char *name, const void *options, records *out);

/* The field of a name; NULL: none. */
const field *record_field(const record *r, const char *name);

/* "train.jsonl:12" or "bash", for messages. */
const char *record_where(const record *r, char out[256]);

/* Gives every record the number of the class that its field `name` holds. names [n] are the classes in
 * order; with n = 0 the texts that occur, sorted by bytes, which are then found in r->labels. A record
 * without the field, or with another class, is an error. */
status records_classes(arena *a, records *r, const char *name, int n, const char *const *names);

/* jsonl: one JSON object a line. Texts, numbers and truth values become fields; lists and objects too,
 * as JSON; null means absent. "messages" must be a list of {role, content}; whole numbers under "label"
 * and "task" become the record's own. */
typedef struct jsonl_options {
    const char *path;
    key_texts   fields; /* taken from each line, all needed; none given: all that are there */
} jsonl_options;

/* csv: one row a record, columns become fields (data/csv.h). Columns `label` and `task` that hold whole numbers only
 * become the record's own too. */
typedef struct csv_options {
    const char *path;
    key_texts   fields;    /* columns to take, none given: all */
    key_texts   columns;   /* names of the columns where the file does not begin with them */
    const char *delimiter; /* one character, or "tab" */
    bool        quotes;
} csv_options;

/* conll: sentences by words, with a tag for each, numbered in the order of their names; also the fields `text` and
 * `tags`, the same with blanks between. See source_conll.c. */
typedef struct conll_options {
    const char *path;
    key_texts   columns; /* of the word, and of the tag */
    bool        conllu;
} conll_options;

/* hdf5: texts, images or token ids from arrays of a file; see source_hdf5.c. */
typedef struct hdf5_options {
    const char *path, *dataset;
    const char *labels; /* NULL: none */
    int64_t     length; /* of the pieces of a stream */
    int64_t     size;   /* side that images are resized to, 0: none */
    key_texts   mean, std;
} hdf5_options;

/* images: a folder with a folder of PNG, PPM or PGM files for each class, or a CSV file with the columns file_name
 * and label, and paths from its own folder on. Fields: file_name and label. See source_images.c. */
typedef struct images_options {
    const char *path;
    int64_t     size;      /* side that images are resized to, 0: none */
    key_texts   classes;   /* in order; none given: all, sorted */
    key_texts   mean, std; /* one number, or one a channel */
} images_options;

/* glyphs: characters of fonts (data/font.h), black on white. Fields: character and font. See source_glyphs.c. */
typedef struct glyphs_options {
    key_texts   fonts;      /* files and patterns, none given: all that are installed */
    key_texts   characters; /* and ranges of them, "a-z" */
    const char *classes;    /* character | font */
    int64_t     per_class;  /* images, 0: one of each font (or character) */
    int64_t     size;       /* side in pixels */
    double      vary;       /* 0..1 */
    int64_t     seed;
    key_texts   mean, std;
} glyphs_options;

/* text: running text, a file is one record with the field "text". */
typedef struct text_options {
    key_texts path;
} text_options;

/* ids: lines {"batch": 0, "ids": [..], "labels": [..], "task": 0, "label": 0}; "source": [..] is what an encoder
 * reads, `ids` are its decoder's then, and each label belongs to the place of its id. */
typedef struct ids_options {
    const char *path;
} ids_options;

/* debian: the package descriptions of this machine's archive; see source_debian.c. */
typedef struct debian_options {
    const char *task;      /* synopsis: long, short | section: text, section | translation: source, target */
    key_texts   languages; /* synopsis, section: one; translation: those beside English */
    const char *split;     /* train | validation | test | all */
    int64_t     limit;     /* records at most, 0: all */
    const char *set;       /* section: A (all large sections) | B (topical ones) */
    const char *text;      /* translation: full | short */
    int64_t     max_age;   /* days after which new lists are asked for */
    const char *lists;     /* a folder with Packages and Translation files to read instead; nothing is
                              fetched and nothing is cached */
} debian_options;

#ifdef __cplusplus
}
#endif
#endif
