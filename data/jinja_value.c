/* jinja_value: the values of templates, with Python's meaning of truth, equality, order and text */
#include "core/utf8.h"
#include "data/jinja.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

jvalue jvalue_string(const char *text, size_t n)
{
    return (jvalue){.kind = JV_STRING, .text = text, .n = n};
}

jvalue jvalue_bool(bool b)
{
    return (jvalue){.kind = JV_BOOL, .b = b};
}

jvalue jvalue_int(int64_t i)
{
    return (jvalue){.kind = JV_INT, .i = i};
}

const char *jvalue_kind(const jvalue *v)
{
    static const char *const names[] = {"undefined",   "none",    "true or false", "a whole number",
                                        "a number",    "text",    "a list",        "a dict",
                                        "a namespace", "a macro", "a function"};

    return names[v->kind];
}

bool jvalue_true(const jvalue *v)
{
    switch (v->kind) {
    case JV_UNDEFINED:
    case JV_NONE:
        return false;
    case JV_BOOL:
        return v->b;
    case JV_INT:
        return v->i != 0;
    case JV_FLOAT:
        return v->f != 0;
    case JV_STRING:
        return v->n > 0;
    case JV_LIST:
        return v->list->n > 0;
    case JV_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

status jvalue_copy_string(jinja *j, const char *text, size_t n, jvalue *out)
{
    char *copy = jinja_take(j, n + 1);

    if (!copy)
        return STATUS_MEMORY;
    memcpy(copy, text, n);
    copy[n] = '\0';
    *out = jvalue_string(copy, n);
    return jinja_step(j, n);
}

status jvalue_list(jinja *j, size_t room, jvalue *out)
{
    jlist *list = jinja_take(j, sizeof *list);
    jvalue *v = jinja_take(j, (room ? room : 1) * sizeof *v);

    if (!list || !v)
        return STATUS_MEMORY;
    *list = (jlist){.room = room ? room : 1, .v = v};
    *out = (jvalue){.kind = JV_LIST, .list = list};
    return STATUS_OK;
}

status jvalue_append(jinja *j, jvalue *list, jvalue item)
{
    jlist *l = list->list;

    if (l->n == l->room) {
        jvalue *v = jinja_take(j, 2 * l->room * sizeof *v);
        if (!v)
            return STATUS_MEMORY;
        memcpy(v, l->v, l->n * sizeof *v);
        l->v = v;
        l->room *= 2;
    }
    l->v[l->n++] = item;
    return STATUS_OK;
}

status jvalue_dict(jinja *j, size_t room, jvalue *out)
{
    jdict *dict = jinja_take(j, sizeof *dict);
    jpair *v = jinja_take(j, (room ? room : 1) * sizeof *v);

    if (!dict || !v)
        return STATUS_MEMORY;
    *dict = (jdict){.room = room ? room : 1, .v = v};
    *out = (jvalue){.kind = JV_DICT, .dict = dict};
    return STATUS_OK;
}

status jvalue_find(jinja *j, const jvalue *dict, const jvalue *key, const jvalue **out)
{
    const jdict *d = dict->dict;
    bool same;

    *out = NULL;
    TRY(jinja_step(j, 8 * d->n));
    for (size_t i = 0; i < d->n && !*out; i++) {
        TRY(jvalue_equal(j, &d->v[i].key, key, 0, &same));
        if (same)
            *out = &d->v[i].value;
    }
    return STATUS_OK;
}

status jvalue_put(jinja *j, jvalue *dict, jvalue key, jvalue value)
{
    jdict *d = dict->dict;
    const jvalue *there;

    TRY(jvalue_find(j, dict, &key, &there));
    if (there) {
        d->v[(const jpair *)((const char *)there - offsetof(jpair, value)) - d->v].value = value;
        return STATUS_OK;
    }
    if (d->n == d->room) {
        jpair *v = jinja_take(j, 2 * d->room * sizeof *v);
        if (!v)
            return STATUS_MEMORY;
        memcpy(v, d->v, d->n * sizeof *v);
        d->v = v;
        d->room *= 2;
    }
    d->v[d->n++] = (jpair){key, value};
    return STATUS_OK;
}

static bool is_number(const jvalue *v)
{
    return v->kind == JV_BOOL || v->kind == JV_INT || v->kind == JV_FLOAT;
}

static double number(const jvalue *v)
{
    return v->kind == JV_BOOL ? v->b : v->kind == JV_INT ? (double)v->i : v->f;
}

static status equal_dicts(jinja *j, const jvalue *a, const jvalue *b, int depth, bool *out)
{
    const jdict *d = a->dict;

    *out = d->n == b->dict->n;
    for (size_t i = 0; *out && i < d->n; i++) {
        const jvalue *other;
        TRY(jvalue_find(j, b, &d->v[i].key, &other));
        *out = other != NULL;
        if (other)
            TRY(jvalue_equal(j, &d->v[i].value, other, depth + 1, out));
    }
    return STATUS_OK;
}

status jvalue_equal(jinja *j, const jvalue *a, const jvalue *b, int depth, bool *out)
{
    if (depth > JINJA_DEPTH_MAX)
        return jinja_fail(j, "values nested deeper than %d levels are compared", JINJA_DEPTH_MAX);
    if (is_number(a) && is_number(b)) {
        *out = a->kind != JV_FLOAT && b->kind != JV_FLOAT && a->kind == b->kind && a->kind == JV_INT
                   ? a->i == b->i
                   : number(a) == number(b);
        return STATUS_OK;
    }
    *out = false;
    if (a->kind != b->kind)
        return STATUS_OK;
    switch (a->kind) {
    case JV_STRING:
        *out = a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
        return a->n == b->n ? jinja_step(j, a->n) : STATUS_OK;
    case JV_LIST:
        *out = a->list->n == b->list->n;
        for (size_t i = 0; *out && i < a->list->n; i++)
            TRY(jvalue_equal(j, &a->list->v[i], &b->list->v[i], depth + 1, out));
        return jinja_step(j, a->list->n);
    case JV_DICT:
        return equal_dicts(j, a, b, depth, out);
    case JV_NAMESPACE:
        *out = a->dict == b->dict;
        return STATUS_OK;
    case JV_MACRO:
        *out = a->macro == b->macro;
        return STATUS_OK;
    case JV_FUNCTION:
        *out = a->text == b->text;
        return STATUS_OK;
    default: /* undefined, none */
        *out = true;
        return STATUS_OK;
    }
}

status jvalue_less(jinja *j, const jvalue *a, const jvalue *b, bool *out)
{
    if (is_number(a) && is_number(b)) {
        *out = a->kind == JV_INT && b->kind == JV_INT ? a->i < b->i : number(a) < number(b);
        return STATUS_OK;
    }
    if (a->kind == JV_STRING && b->kind == JV_STRING) { /* UTF-8 sorts like its code points */
        const size_t n = a->n < b->n ? a->n : b->n;
        const int c = n ? memcmp(a->text, b->text, n) : 0;
        *out = c < 0 || (c == 0 && a->n < b->n);
        return jinja_step(j, n);
    }
    return jinja_fail(j, "%s and %s have no order", jvalue_kind(a), jvalue_kind(b));
}

static status text_from_json(jinja *j, const char *text, jvalue *out)
{
    const size_t n = strlen(text);
    char *copy = jinja_take(j, n + 1);
    size_t to = 0;

    if (!copy)
        return STATUS_MEMORY;
    for (size_t i = 0; i < n; i++) /* core/json.c keeps NUL as C0 80 */
        copy[to++] = (uint8_t)text[i] == 0xC0 ? (i++, '\0') : text[i];
    copy[to] = '\0';
    *out = jvalue_string(copy, to);
    return STATUS_OK;
}

status jvalue_from_json(jinja *j, const cJSON *item, int depth, jvalue *out)
{
    const cJSON *child;

    if (depth > JINJA_DEPTH_MAX)
        return jinja_fail(j, "values are nested deeper than %d levels", JINJA_DEPTH_MAX);
    TRY(jinja_step(j, 0));
    if (cJSON_IsString(item))
        return text_from_json(j, item->valuestring, out);
    if (cJSON_IsBool(item))
        *out = jvalue_bool(cJSON_IsTrue(item));
    else if (cJSON_IsNumber(item)) {
        const double f = item->valuedouble;
        *out = f == floor(f) && fabs(f) <= 0x1p53 ? jvalue_int((int64_t)f)
                                                  : (jvalue){.kind = JV_FLOAT, .f = f};
    } else if (cJSON_IsArray(item)) {
        TRY(jvalue_list(j, 4, out));
        cJSON_ArrayForEach(child, item)
        {
            jvalue v;
            TRY(jvalue_from_json(j, child, depth + 1, &v));
            TRY(jvalue_append(j, out, v));
        }
    } else if (cJSON_IsObject(item)) {
        TRY(jvalue_dict(j, 4, out));
        cJSON_ArrayForEach(child, item)
        {
            jvalue key, v;
            TRY(text_from_json(j, child->string, &key));
            TRY(jvalue_from_json(j, child, depth + 1, &v));
            TRY(jvalue_put(j, out, key, v));
        }
    } else
        *out = (jvalue){.kind = JV_NONE};
    return STATUS_OK;
}

status jvalue_length(jinja *j, const jvalue *v, size_t *n)
{
    *n = 0;
    switch (v->kind) {
    case JV_STRING:
        for (size_t i = 0; i < v->n; i++)
            *n += ((uint8_t)v->text[i] & 0xC0) != 0x80;
        return jinja_step(j, v->n);
    case JV_LIST:
        *n = v->list->n;
        return STATUS_OK;
    case JV_DICT:
        *n = v->dict->n;
        return STATUS_OK;
    case JV_UNDEFINED:
        return STATUS_OK;
    default:
        return jinja_fail(j, "%s has no length", jvalue_kind(v));
    }
}

status jvalue_items(jinja *j, const jvalue *v, jvalue *list)
{
    switch (v->kind) {
    case JV_LIST:
        *list = *v;
        return STATUS_OK;
    case JV_UNDEFINED:
        return jvalue_list(j, 0, list);
    case JV_DICT:
        TRY(jvalue_list(j, v->dict->n, list));
        for (size_t i = 0; i < v->dict->n; i++)
            TRY(jvalue_append(j, list, v->dict->v[i].key));
        return STATUS_OK;
    case JV_STRING:
        TRY(jvalue_list(j, v->n, list));
        for (size_t at = 0; at < v->n;) {
            size_t end = at + 1;
            while (end < v->n && ((uint8_t)v->text[end] & 0xC0) == 0x80)
                end++;
            TRY(jvalue_append(j, list, jvalue_string(v->text + at, end - at)));
            at = end;
        }
        return STATUS_OK;
    default:
        return jinja_fail(j, "%s cannot be walked through", jvalue_kind(v));
    }
}

/* ---- as text ---- */

/* A growing text; at its end the writer gives it to the template's memory. */
typedef struct writer {
    jinja *j;
    char *v;
    size_t n, room;
    jjson_style style;
    bool json;
    status error;
} writer;

static void put(writer *w, const char *text, size_t n)
{
    if (w->error != STATUS_OK)
        return;
    if (n > JINJA_OUTPUT_MAX - w->n) {
        w->error = jinja_fail(w->j, "a text is longer than %d bytes", JINJA_OUTPUT_MAX);
        return;
    }
    if (w->n + n > w->room) {
        const size_t room = 2 * (w->n + n) + 64;
        char *v = jinja_take(w->j, room);
        if (!v) {
            w->error = STATUS_MEMORY;
            return;
        }
        if (w->n)
            memcpy(v, w->v, w->n);
        w->v = v;
        w->room = room;
    }
    memcpy(w->v + w->n, text, n);
    w->n += n;
}

static void puts_text(writer *w, const char *text)
{
    put(w, text, strlen(text));
}

/* Shortest digits that give the number back, as Python writes it. */
static void put_float(writer *w, double f)
{
    char text[64], exponent[64];

    if (isnan(f) || isinf(f)) {
        puts_text(w, isnan(f)  ? w->json ? "NaN" : "nan"
                     : f < 0   ? w->json ? "-Infinity" : "-inf"
                     : w->json ? "Infinity"
                               : "inf");
        return;
    }
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, f);
        if (strtod(text, NULL) == f)
            break;
    }
    snprintf(exponent, sizeof exponent, "%.*e", digits - 1, f);
    const int e = atoi(strchr(exponent, 'e') + 1);
    if (e < -4 || e >= 16)
        snprintf(text, sizeof text, "%s", exponent);
    else
        snprintf(text, sizeof text, "%.*f", digits - 1 - e > 1 ? digits - 1 - e : 1, f);
    puts_text(w, text);
}

/* In quotes: JSON's escapes, or Python's with single quotes where it can. */
static void put_quoted(writer *w, const char *text, size_t n)
{
    const bool single = !w->json && !(memchr(text, '\'', n) && !memchr(text, '"', n));
    const char quote = single ? '\'' : '"';
    size_t from = 0;

    put(w, &quote, 1);
    for (size_t i = 0; i < n; i++) {
        static const char special[] = "\n\r\t\b\f", names[] = "nrtbf";
        const char c = text[i];
        const char *known = c ? strchr(special, c) : NULL;
        char escape[8];
        if (known && (w->json || known - special < 3))
            snprintf(escape, sizeof escape, "\\%c", names[known - special]);
        else if (c == quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else if ((uint8_t)c < 0x20 || (!w->json && c == 0x7F))
            snprintf(escape, sizeof escape, w->json ? "\\u%04x" : "\\x%02x", (unsigned)(uint8_t)c);
        else
            continue;
        put(w, text + from, i - from);
        puts_text(w, escape);
        from = i + 1;
    }
    put(w, text + from, n - from);
    put(w, &quote, 1);
}

static void put_value(writer *w, const jvalue *v, int depth);

static void put_line(writer *w, int depth)
{
    static const char blanks[] = "                                ";
    size_t n = (size_t)w->style.indent * (size_t)depth;

    puts_text(w, "\n");
    for (; n > 0 && w->error == STATUS_OK; n -= n < 32 ? n : 32)
        put(w, blanks, n < 32 ? n : 32);
}

static void put_mark(writer *w, const jvalue *given, const char *usual)
{
    put(w, given ? given->text : usual, given ? given->n : strlen(usual));
}

static void put_items(writer *w, const jvalue *v, int depth)
{
    const bool dict = v->kind != JV_LIST;
    const size_t n = dict ? v->dict->n : v->list->n;
    const bool lines = w->json && w->style.indent >= 0 && n > 0;

    const bool tuple = !dict && v->list->tuple && !w->json;

    puts_text(w, dict ? "{" : tuple ? "(" : "[");
    for (size_t i = 0; i < n && w->error == STATUS_OK; i++) {
        if (i > 0)
            put_mark(w, w->style.item, lines ? "," : ", ");
        if (lines)
            put_line(w, depth + 1);
        if (dict) {
            put_value(w, &v->dict->v[i].key, depth + 1);
            put_mark(w, w->style.key, ": ");
        }
        put_value(w, dict ? &v->dict->v[i].value : &v->list->v[i], depth + 1);
    }
    if (lines)
        put_line(w, depth);
    puts_text(w, dict ? "}" : !tuple ? "]" : n == 1 ? ",)" : ")");
}

static void put_value(writer *w, const jvalue *v, int depth)
{
    char text[32];

    if (w->error == STATUS_OK)
        w->error = jinja_step(w->j, 0);
    if (w->error == STATUS_OK && depth > JINJA_DEPTH_MAX)
        w->error = jinja_fail(w->j, "values are nested deeper than %d levels", JINJA_DEPTH_MAX);
    if (w->error != STATUS_OK)
        return;
    switch (v->kind) {
    case JV_NONE:
        puts_text(w, w->json ? "null" : "None");
        break;
    case JV_BOOL:
        puts_text(w, v->b ? w->json ? "true" : "True" : w->json ? "false" : "False");
        break;
    case JV_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->i);
        puts_text(w, text);
        break;
    case JV_FLOAT:
        put_float(w, v->f);
        break;
    case JV_STRING:
        put_quoted(w, v->text, v->n);
        break;
    case JV_LIST:
    case JV_DICT:
        put_items(w, v, depth);
        break;
    default:
        w->error = jinja_fail(w->j, "%s cannot be written as text", jvalue_kind(v));
    }
}

static status finish(writer *w, jvalue *out)
{
    put(w, "", 1);
    TRY(w->error);
    *out = jvalue_string(w->v, w->n - 1);
    return jinja_step(w->j, w->n);
}

status jvalue_text(jinja *j, const jvalue *v, jvalue *out)
{
    writer w = {.j = j, .style.indent = -1};

    if (v->kind == JV_STRING) {
        *out = *v;
        return STATUS_OK;
    }
    if (v->kind != JV_UNDEFINED)
        put_value(&w, v, 0);
    return finish(&w, out);
}

status jvalue_json(jinja *j, const jvalue *v, const jjson_style *style, jvalue *out)
{
    writer w = {.j = j, .style = *style, .json = true};

    put_value(&w, v, 0);
    return finish(&w, out);
}
