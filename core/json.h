/* json: strict reading of JSON texts, on top of cJSON.
 *
 * Hostile texts are refused before cJSON sees them: invalid UTF-8, more than 64 levels, control
 * characters in strings, keys that occur twice, anything behind the value. */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/arena.h"
#include "core/keys.h"

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JSON_DEPTH_MAX = 64 };

/* Parses exactly one JSON value; `what` names the text in messages (a path, or "x.jsonl:12").
 * Free with cJSON_Delete. Messages give line and column. */
status json_parse(const char *text, size_t length, const char *what, cJSON **out);

/* Reads and parses a whole file of at most 256 MB. */
status json_read(const char *path, cJSON **out);

/* Typed access to members of an object. A missing key or a JSON null leaves *out as it is when
 * `need` is false, else fails; a wrong kind always fails: "config.json: hidden_size is text, must be
 * a whole number". Whole numbers must be exact and within [lo, hi]. Strings point into the cJSON. */
status json_int(const cJSON *o, const char *key, bool need, int64_t lo, int64_t hi, int64_t *out,
                const char *what);
status json_double(const cJSON *o, const char *key, bool need, double *out, const char *what);
status json_bool(const cJSON *o, const char *key, bool need, bool *out, const char *what);
status json_string(const cJSON *o, const char *key, bool need, const char **out, const char *what);

/* A list of texts, or a single one; copied into the arena. A missing key is an empty list. */
status json_texts(const cJSON *o, const char *key, arena *a, key_texts *out, const char *what);

/* A string item's text with its length: the way to read texts that may hold NUL (cJSON's own strings
 * end there). The text lies in the arena, or in the cJSON when it has no NUL. */
status json_text(arena *a, const cJSON *item, const char **text, size_t *length);

/* Writes text as a JSON string with quotes into the arena (NUL bytes become \u0000). */
char *json_quote(arena *a, const char *text, size_t length);

#ifdef __cplusplus
}
#endif
#endif
