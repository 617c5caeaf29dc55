/* debian: the parts of the debian source: the archive's lists, their contents, and a kept result */
#ifndef DATA_DEBIAN_H
#define DATA_DEBIAN_H

#include "core/file.h"
#include "data/source.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { DEBIAN_FILES_MAX = 256 };

/* FNV-1a, 64 bits: what splits and orders the packages. */
static inline uint64_t debian_hash(const char *text, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)text[i]) * 0x100000001b3u;
    return h;
}

/* A list on disk: a Packages file (language "") or a Translation file. */
typedef struct debian_file {
    const char *language, *path;
} debian_file;

typedef struct debian_lists {
    int         n;
    debian_file v[DEBIAN_FILES_MAX];
} debian_lists;

/* The lists of this machine with English and the n other languages, fetched into
 * cache_folder()/debian when they are missing or older than max_age days. Old ones serve, with a
 * warning, when nothing can be fetched. */
status debian_fetch(arena *a, int n, const char *const *languages, int64_t max_age, debian_lists *out);

/* The lists in a folder that has been made by other means: files that end in Packages, and in
 * Translation-XX. */
status debian_look(arena *a, const char *folder, debian_lists *out);

/* True when there is a Translation file of the language. */
bool debian_has(const debian_lists *l, const char *language);

/* A text of the archive: pointers into the mapped lists. */
typedef struct debian_text {
    const char *v; /* the short description, then lines that begin with a blank; NULL: none */
    size_t      n;
} debian_text;

/* A package, first of its name. */
typedef struct debian_package {
    const char *name, *source, *section;
    uint32_t    n_name, n_source, n_section;
    uint8_t     md5[16];     /* of the English description */
    debian_text english, other;
} debian_package;

typedef struct debian_archive {
    int64_t         n;
    debian_package *v; /* set U: one a description, by name; those without an English text left out */
    int             n_maps;
    file_map        maps[DEBIAN_FILES_MAX]; /* what close unmaps */
} debian_archive;

/* Reads the lists; `other` is a second language or NULL. On failure nothing stays open. */
status debian_read(arena *a, const debian_lists *l, const char *other, debian_archive *out);
void   debian_close(debian_archive *archive);

/* The short description in out [text.n], and the long one as flowing text: paragraphs become lines. Both
 * return the length; out is not NUL-terminated. */
size_t debian_short(debian_text text, char *out);
size_t debian_long(debian_text text, char *out);

/* Records as one file: mapped, checked, and copied into the arena; at most `limit` of them (0: all).
 * `stamp` says what they were made from: another one fails. All records must have the same fields, at
 * most 8 of them. */
status debian_keep(const char *path, uint64_t stamp, const records *r);
status debian_kept(arena *a, const char *path, uint64_t stamp, int64_t limit, records *out);

#ifdef __cplusplus
}
#endif
#endif
