/* file: mapped reading and atomic replacing.
 *
 * Every failure names the path, what the system said and, where there is one, the remedy. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include "core/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What helps against a failure of the system (an errno), as the end of a message: "; ..." or "". */
const char *file_remedy(int error);

/* A whole file, read only. */
typedef struct file_map {
    const char    *path; /* as given; must outlive the map */
    const uint8_t *v;
    size_t         bytes;
} file_map;

/* Maps a regular file; an empty one gives v = "" and bytes = 0. Folders and devices are refused. */
status file_map_open(file_map *m, const char *path);
void   file_map_close(file_map *m);

/* Bytes of the map take no memory until they are read again. */
void file_map_let_go(const file_map *m, const void *v, size_t bytes);

/* A whole text file as a NUL-terminated string in the arena (it may hold NULs: use *length). Files
 * larger than `limit` bytes are refused. */
status file_read(arena *a, const char *path, size_t limit, char **text, size_t *length);

/* Writes path.tmp, syncs it and renames it to path: the path holds the old or the new bytes, never a
 * mixture, whenever the machine stops. */
status file_replace(const char *path, const void *bytes, size_t count);

/* The same in pieces. file_writer_close(w, true) syncs and renames; with false, or on failure, the
 * .tmp file is removed. The first failure is kept: later writes do nothing, close returns it. */
typedef struct file_writer {
    FILE  *f;
    char   path[4096], tmp[4112];
    status error;
    char   text[1024]; /* the first failure's text */
} file_writer;

status file_writer_open(file_writer *w, const char *path);
void   file_write(file_writer *w, const void *bytes, size_t count);
void   file_printf(file_writer *w, const char *format, ...) PRINTF_LIKE(2, 3);
status file_writer_close(file_writer *w, bool keep);

/* Folders. make: with parents, existing is fine. sync: flushes a folder's entries. remove_tree: all
 * below and itself; symbolic links are removed, not followed; a missing path is fine. */
bool   path_exists(const char *path);
bool   path_is_folder(const char *path);
status folder_make(const char *path);
status folder_sync(const char *path);
status folder_remove_tree(const char *path);

/* Copies a file, or a folder with all below, to a path that takes its place as one when all is written; a folder's must
 * not exist. */
status file_copy(const char *from, const char *to);
status folder_copy(const char *from, const char *to);

/* Syncs `tmp` (a folder: its files too) and renames it to `path`, which must not exist. */
status folder_publish(const char *tmp, const char *path);

/* The same of a file, which replaces one that is there. */
status file_publish(const char *tmp, const char *path);

/* "a/b" in the arena; b alone when it is absolute or a is "" or ".". NULL after fail. */
char *path_join(arena *a, const char *folder, const char *name);

/* The cache folder: CAMBIUM_CACHE, else $XDG_CACHE_HOME/cambium, else ~/.cache/cambium; made when it
 * is missing. */
status cache_folder(arena *a, char **path);

#ifdef __cplusplus
}
#endif
#endif
