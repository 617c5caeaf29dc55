/* keys: the description of options. Everything a recipe can set is a row of such a table, with its
 * kind, unit, range, default and a sentence of help; the recipe reader, `schema` and `methods` work
 * from these rows alone. A table belongs to the file that uses the options (a method, a source, an
 * optimizer, the loop), and each row says where in that file's options struct the value goes. */
#ifndef CORE_KEYS_H
#define CORE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum key_kind {
    KEY_INT,    /* int64_t */
    KEY_REAL,   /* double */
    KEY_BOOL,   /* bool; yes/no/true/false */
    KEY_TEXT,   /* const char *; NULL when absent and without a default */
    KEY_CHOICE, /* const char *, one of `choices` */
    KEY_TEXTS,  /* key_texts: one text or a list of texts */
    KEY_MAP     /* key_map: pattern -> number, in file order (rank_pattern) */
} key_kind;

typedef struct key_texts {
    int                n;
    const char *const *v;
} key_texts;

typedef struct key_map {
    int n;
    const struct key_pair {
        const char *name;
        double      value;
    } *v;
} key_map;

typedef struct key {
    const char *name;   /* "rank" */
    key_kind    kind;
    size_t      offset; /* of the value in the options struct */
    const char *preset; /* default as it would be written in YAML ("16", "[a, b]"); NULL: the zero
                           value; "!" : must be given */
    double      lo, hi; /* inclusive range of numbers; both 0: no bound */
    bool        whole;  /* for KEY_MAP: values are whole numbers */
    const char *choices; /* KEY_CHOICE: "none|all|lora_only"; KEY_TEXTS: each must be one, NULL: any text */
    const char *unit;   /* "tokens", "steps", "bytes" or "" */
    const char *help;   /* one sentence */
} key;

/* A table of options: an array of rows and the size of the struct they fill. */
typedef struct key_table {
    const char *what; /* "lora", "debian": the name in messages */
    const key  *keys;
    int         n;
    size_t      size; /* sizeof the options struct */
} key_table;

#define KEY_TABLE(name_, array, type)                                                              \
    {                                                                                              \
        .what = name_, .keys = array, .n = (int)(sizeof(array) / sizeof(array[0])),                \
        .size = sizeof(type)                                                                       \
    }

#ifdef __cplusplus
}
#endif
#endif
