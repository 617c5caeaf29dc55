/* jinja: the template language of data/chat.h. Internal to data/.
 *
 * jinja_lex.c cuts the text into tokens, jinja_parse.c and jinja_expression.c make a
 * tree, jinja_run.c runs statements, jinja_eval.c expressions; jinja_value.c has the values,
 * jinja_filters.c, jinja_tests.c and jinja_methods.c what is called by name. */
#ifndef DATA_JINJA_H
#define DATA_JINJA_H

#include "core/arena.h"

#include <stdbool.h>
#include <stdint.h>

#include <cjson/cJSON.h>

enum {
    JINJA_TEXT_MAX = 1 << 20,     /* bytes of a template */
    JINJA_DEPTH_MAX = 64,         /* nesting of expressions, of statements, of values */
    JINJA_NESTED_MAX = 1000,      /* nodes at work inside each other, macros included */
    JINJA_STEPS_MAX = 4000000,    /* nodes run, plus a step for every 64 bytes looked at */
    JINJA_OUTPUT_MAX = 16 << 20,  /* bytes */
    JINJA_MEMORY_MAX = 128 << 20, /* bytes of values and trees */
    JINJA_RANGE_MAX = 100000
};

/* ---- tokens ---- */

typedef enum jtoken_kind {
    JT_END,
    JT_TEXT,
    JT_PRINT_BEGIN, /* {{ */
    JT_PRINT_END,
    JT_TAG_BEGIN, /* {% */
    JT_TAG_END,
    JT_NAME,
    JT_STRING,
    JT_INT,
    JT_FLOAT,
    JT_OPERATOR
} jtoken_kind;

typedef struct jtoken {
    jtoken_kind kind;
    uint32_t line, column;
    const char *text;
    size_t n;
    int64_t i;
    double f;
} jtoken;

/* ---- tree ---- */

typedef enum jnode_kind {
    /* statements; `next` is the one behind */
    JN_TEXT,  /* text */
    JN_PRINT, /* a */
    JN_IF,    /* a: condition, b: body, c: else (a JN_IF for elif) */
    JN_FOR,   /* list: targets, a: iterable, b: body, c: else, d: condition */
    JN_SET,   /* list: targets, a: value; b: body of a block set */
    JN_MACRO, /* text: name, list: parameters (JN_NAME, a: default), b: body */
    JN_BREAK,
    JN_CONTINUE,
    /* expressions */
    JN_LITERAL,   /* value */
    JN_NAME,      /* text */
    JN_LIST,      /* list; op 1: a tuple */
    JN_DICT,      /* list: JN_PAIR */
    JN_PAIR,      /* a: key (or text: keyword), b: value */
    JN_NOT,       /* a */
    JN_NEGATE,    /* a */
    JN_AND,       /* a, b */
    JN_OR,        /* a, b */
    JN_BINARY,    /* op, a, b */
    JN_COMPARE,   /* a, list: JN_PAIR with op and b */
    JN_CHOOSE,    /* a if b else c */
    JN_ATTRIBUTE, /* a, text */
    JN_INDEX,     /* a, b */
    JN_SLICE,     /* a, [b:c:d] */
    JN_CALL,      /* a, list: arguments (JN_PAIR with text: by keyword) */
    JN_FILTER,    /* a, text, list: arguments, function */
    JN_TEST       /* the same; op 1: not */
} jnode_kind;

typedef enum joperator {
    JO_ADD,
    JO_SUBTRACT,
    JO_MULTIPLY,
    JO_DIVIDE,
    JO_FLOOR,
    JO_MODULO,
    JO_POWER,
    JO_CONCAT,
    JO_EQUAL,
    JO_UNEQUAL,
    JO_LESS,
    JO_LESS_EQUAL,
    JO_GREATER,
    JO_GREATER_EQUAL,
    JO_IN,
    JO_NOT_IN
} joperator;

struct jfunction;
struct jlist;
struct jdict;

typedef enum jkind {
    JV_UNDEFINED,
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STRING,
    JV_LIST,
    JV_DICT,
    JV_NAMESPACE, /* a dict that attributes may be set on */
    JV_MACRO,
    JV_FUNCTION /* range, namespace, dict, raise_exception; text: its name */
} jkind;

typedef struct jvalue {
    jkind kind;
    union {
        bool b;
        int64_t i;
        double f;
        const char *text;
        struct jlist *list;
        struct jdict *dict;
        const struct jnode *macro;
    };
    size_t n; /* bytes of text; of an undefined value: of the name that was looked for */
} jvalue;

typedef struct jlist {
    size_t n, room;
    bool tuple; /* written with ( ) */
    jvalue *v;
} jlist;

typedef struct jpair {
    jvalue key, value;
} jpair;

typedef struct jdict { /* in order of insertion */
    size_t n, room;
    jpair *v;
} jdict;

typedef struct jnode {
    uint8_t kind, op;
    uint32_t line, column;
    struct jnode *a, *b, *c, *d, *list, *next;
    const char *text;
    size_t n;
    jvalue value;
    const struct jfunction *function;
} jnode;

/* ---- one template at work ---- */

typedef struct jbinding {
    const char *name;
    size_t n;
    jvalue value;
} jbinding;

typedef struct jscope {
    struct jscope *outer;
    jbinding *v;
    size_t n, room;
} jscope;

typedef struct jinja {
    arena work; /* trees and values; its limit bounds them */
    uint8_t *block;
    size_t block_left;
    jtoken *tokens;
    size_t n_tokens, room_tokens, at;
    int depth, loops; /* while parsing; depth also while running */
    int64_t steps;
    char *out; /* malloc */
    size_t n_out, room_out;
    jscope *scope, *globals;
    int leave;             /* JN_BREAK or JN_CONTINUE on its way to its loop, else 0 */
    uint32_t line, column; /* of the node at work, for messages */
    jnode *root;
} jinja;

/* Arguments of a filter, test, method or function: by place, then by keyword. */
typedef struct jargs {
    jvalue v[8];
    int n;
    struct {
        const char *name;
        size_t n;
        jvalue value;
    } named[16];
    int n_named;
} jargs;

typedef status (*jfunction_body)(jinja *j, const jvalue *self, const jargs *args, jvalue *out);

typedef struct jfunction {
    const char *name;
    jfunction_body body;
    int least, most;   /* arguments by place or keyword */
    const char *names; /* "width,first,": keywords that are known; NULL: none */
} jfunction;

/* Fails at the node at work: "chat template:3:14: ...". */
status jinja_fail(const jinja *j, const char *format, ...) PRINTF_LIKE(2, 3);

/* n bytes of values; NULL after a failure. */
void *jinja_take(jinja *j, size_t n);

/* Counts work; fails when it is too much. */
status jinja_step(jinja *j, size_t bytes);

status jinja_lex(jinja *j, const char *text, size_t n);
status jinja_parse(jinja *j);
status jinja_run(jinja *j, const jnode *body);
status jinja_call_macro(jinja *j, const jnode *macro, const jargs *args, jvalue *out);
status jinja_print(jinja *j, const char *text, size_t n);
status jinja_bind(jinja *j, jscope *scope, const char *name, size_t n, jvalue value);

status jinja_eval(jinja *j, const jnode *node, jvalue *out);
status jinja_binary(jinja *j, joperator op, const jvalue *a, const jvalue *b, jvalue *out);
status jinja_compare(jinja *j, joperator op, const jvalue *a, const jvalue *b, bool *out);

/* Filters and tests by name (NULL: none such); methods and functions are called by name. */
const jfunction *jinja_find(const jfunction *table, size_t count, const char *name, size_t n);
const jfunction *jinja_find_filter(const char *name, size_t n);
const jfunction *jinja_find_test(const char *name, size_t n);
status jinja_method(jinja *j, const jvalue *self, const char *name, size_t n, const jargs *args,
                    jvalue *out);
status jinja_function(jinja *j, const jvalue *function, const jargs *args, jvalue *out);

/* The filter title (the method of that name begins words behind everything but letters). */
status jinja_title(jinja *j, const jvalue *text, jvalue *out);

/* A called filter or test: the number of arguments is checked. */
status jinja_apply(jinja *j, const jfunction *f, const char *kind, const jvalue *self,
                   const jargs *args, jvalue *out);

/* Argument by place or keyword; NULL when it was not given. */
const jvalue *jargs_get(const jargs *args, int place, const char *name);

/* ---- values ---- */

jvalue jvalue_string(const char *text, size_t n);
jvalue jvalue_bool(bool b);
jvalue jvalue_int(int64_t i);
const char *jvalue_kind(const jvalue *v);
bool jvalue_true(const jvalue *v);
status jvalue_copy_string(jinja *j, const char *text, size_t n, jvalue *out);
status jvalue_list(jinja *j, size_t room, jvalue *out);
status jvalue_append(jinja *j, jvalue *list, jvalue item);
status jvalue_dict(jinja *j, size_t room, jvalue *out);
status jvalue_put(jinja *j, jvalue *dict, jvalue key, jvalue value);
status jvalue_find(jinja *j, const jvalue *dict, const jvalue *key, const jvalue **out);
status jvalue_equal(jinja *j, const jvalue *a, const jvalue *b, int depth, bool *out);
status jvalue_less(jinja *j, const jvalue *a, const jvalue *b, bool *out);
status jvalue_from_json(jinja *j, const cJSON *item, int depth, jvalue *out);

/* Number of items of a string (characters), list or dict. */
status jvalue_length(jinja *j, const jvalue *v, size_t *n);

/* The items that a for loop sees: of a string its characters, of a dict its keys. */
status jvalue_items(jinja *j, const jvalue *v, jvalue *list);

/* How JSON is written: on one line when indent < 0; between items and behind keys ", " and ": "
 * unless given. */
typedef struct jjson_style {
    int64_t indent;
    const jvalue *item, *key;
} jjson_style;

/* str(v) and json.dumps(v, ensure_ascii=False) as string values. */
status jvalue_text(jinja *j, const jvalue *v, jvalue *out);
status jvalue_json(jinja *j, const jvalue *v, const jjson_style *style, jvalue *out);
#endif
