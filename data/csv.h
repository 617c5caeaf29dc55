/* csv: rows of comma-separated values, as RFC 4180 says.
 *
 * A cell may stand in double quotes; then it may hold delimiters, line ends and doubled quotes. Lines end with LF or
 * CRLF; empty lines are passed over; a byte order mark at the beginning too. A quote inside a cell that does not
 * begin with one, and anything behind a closing quote, is an error. Messages name file and line. */
#ifndef DATA_CSV_H
#define DATA_CSV_H

#include "core/file.h"
#include "data/source.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CSV_COLUMNS_MAX = 1024 };

typedef struct csv {
    file_map map;
    char     delimiter;
    bool     quotes; /* false: a quote is an ordinary character */
    size_t   at;
    int64_t  line;   /* of `at`, from 1 */
} csv;

typedef struct csv_row {
    int64_t line; /* where it begins */
    int     n;    /* cells; 0: the file has ended */
    struct csv_cell {
        const char *text; /* between the quotes, in the map */
        size_t      length;
        bool        quoted;
    } cells[CSV_COLUMNS_MAX];
} csv_row;

/* Maps a file, which must be UTF-8. `path` must outlive it. */
status csv_open(csv *c, const char *path, char delimiter, bool quotes);
void   csv_close(csv *c);

/* Back to the first row. */
void csv_rewind(csv *c);

/* Steps to the next row. */
status csv_next(csv *c, csv_row *row);

/* The text of a cell, with single quotes for doubled ones, in the arena. */
status csv_text(arena *a, const csv_row *row, int cell, field *out);

/* The names of all cells of a row, none empty, none twice. */
status csv_names(arena *a, const csv *c, const csv_row *row, const char ***names);

/* Steps to the next row, which must have n cells, or none at the end. */
status csv_next_of(csv *c, csv_row *row, int n);

#ifdef __cplusplus
}
#endif
#endif
