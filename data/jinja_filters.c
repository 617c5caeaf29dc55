/* jinja_filters: filters, by name */
#include "core/utf8.h"
#include "data/jinja.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILTER(name)                                                                               \
    static status filter_##name(jinja *j UNUSED, const jvalue *self UNUSED,                        \
                                const jargs *args UNUSED, jvalue *out)
const jvalue *jargs_get(const jargs *args, int place, const char *name)
{
    if (place < args->n)
        return &args->v[place];
    for (int i = 0; i < args->n_named; i++)
        if (args->named[i].n == strlen(name) &&
            memcmp(args->named[i].name, name, strlen(name)) == 0)
            return &args->named[i].value;
    return NULL;
}

/* A method's namesake filter works on str(self). */
static status as_method(jinja *j, const char *name, const jvalue *self, const jargs *args,
                        jvalue *out)
{
    jvalue text;

    TRY(jvalue_text(j, self, &text));
    return jinja_method(j, &text, name, strlen(name), args, out);
}

FILTER(trim)
{
    return as_method(j, "strip", self, args, out);
}

FILTER(upper)
{
    return as_method(j, "upper", self, args, out);
}

FILTER(lower)
{
    return as_method(j, "lower", self, args, out);
}

FILTER(title)
{
    jvalue text;

    TRY(jvalue_text(j, self, &text));
    return jinja_title(j, &text, out);
}

FILTER(capitalize)
{
    return as_method(j, "capitalize", self, args, out);
}

FILTER(replace)
{
    return as_method(j, "replace", self, args, out);
}

FILTER(string)
{
    return jvalue_text(j, self, out);
}

FILTER(safe)
{
    *out = *self;
    return STATUS_OK;
}

FILTER(length)
{
    size_t n;

    TRY(jvalue_length(j, self, &n));
    *out = jvalue_int((int64_t)n);
    return STATUS_OK;
}

/* transformers' own tojson: what is not ASCII and HTML's characters stay as they are. */
FILTER(tojson)
{
    const jvalue *ascii = jargs_get(args, 0, "ensure_ascii"),
                 *sort = jargs_get(args, 3, "sort_keys");
    const jvalue *indent = jargs_get(args, 1, "indent"), *marks = jargs_get(args, 2, "separators");
    jjson_style style = {.indent = -1};

    if ((ascii && jvalue_true(ascii)) || (sort && jvalue_true(sort)))
        return jinja_fail(j, "tojson: ensure_ascii and sort_keys must be false");
    if (indent && indent->kind != JV_NONE) {
        if (indent->kind != JV_INT || indent->i < 0 || indent->i > 64)
            return jinja_fail(j, "tojson: indent must be 0..64");
        style.indent = indent->i;
    }
    if (marks && marks->kind != JV_NONE) {
        if (marks->kind != JV_LIST || marks->list->n != 2 || marks->list->v[0].kind != JV_STRING ||
            marks->list->v[1].kind != JV_STRING)
            return jinja_fail(j, "tojson: separators must be two texts");
        style.item = &marks->list->v[0];
        style.key = &marks->list->v[1];
    }
    return jvalue_json(j, self, &style, out);
}

FILTER(default)
{
    const jvalue *value = jargs_get(args, 0, "default_value");
    const jvalue *boolean = jargs_get(args, 1, "boolean");
    const bool other =
        boolean && jvalue_true(boolean) ? !jvalue_true(self) : self->kind == JV_UNDEFINED;

    *out = !other ? *self : value ? *value : jvalue_string("", 0);
    return STATUS_OK;
}

/* item.a.b of a dotted name */
static status attribute(jinja *j, const jvalue *item, const jvalue *name, jvalue *out)
{
    if (name->kind != JV_STRING)
        return jinja_fail(j, "an attribute's name must be text");
    *out = *item;
    for (size_t at = 0; at <= name->n;) {
        const char *dot = at < name->n ? memchr(name->text + at, '.', name->n - at) : NULL;
        const size_t end = dot ? (size_t)(dot - name->text) : name->n;
        const jvalue key = jvalue_string(name->text + at, end - at);
        const jvalue *found = NULL;
        if (out->kind == JV_DICT || out->kind == JV_NAMESPACE)
            TRY(jvalue_find(j, out, &key, &found));
        *out = found ? *found : (jvalue){.kind = JV_UNDEFINED, .text = key.text, .n = key.n};
        at = end + 1;
    }
    return STATUS_OK;
}

FILTER(join)
{
    const jvalue *sep = jargs_get(args, 0, "d"), *by = jargs_get(args, 1, "attribute");
    jvalue items, between = jvalue_string("", 0), text = between, part;

    TRY(jvalue_items(j, self, &items));
    if (sep)
        TRY(jvalue_text(j, sep, &between));
    size_t n = 0;
    jvalue texts;
    TRY(jvalue_list(j, items.list->n, &texts));
    for (size_t i = 0; i < items.list->n; i++) {
        part = items.list->v[i];
        if (by)
            TRY(attribute(j, &items.list->v[i], by, &part));
        TRY(jvalue_text(j, &part, &part));
        TRY(jvalue_append(j, &texts, part));
        n += part.n + between.n;
    }
    TRY(jinja_step(j, n));
    char *to = jinja_take(j, n + 1);
    if (!to)
        return STATUS_MEMORY;
    text.text = to;
    for (size_t i = 0; i < texts.list->n; i++) {
        if (i > 0 && between.n) {
            memcpy(to, between.text, between.n);
            to += between.n;
        }
        if (texts.list->v[i].n)
            memcpy(to, texts.list->v[i].text, texts.list->v[i].n);
        to += texts.list->v[i].n;
    }
    text.n = (size_t)(to - text.text);
    *out = text;
    return STATUS_OK;
}

static status one_of(jinja *j, const jvalue *self, bool last, jvalue *out)
{
    jvalue items;

    TRY(jvalue_items(j, self, &items));
    const size_t n = items.list->n;
    *out = n ? items.list->v[last ? n - 1 : 0] : (jvalue){.kind = JV_UNDEFINED};
    return STATUS_OK;
}

FILTER(first)
{
    return one_of(j, self, false, out);
}

FILTER(last)
{
    return one_of(j, self, true, out);
}

FILTER(list)
{
    jvalue items;

    TRY(jvalue_items(j, self, &items));
    TRY(jvalue_list(j, items.list->n, out));
    for (size_t i = 0; i < items.list->n; i++)
        TRY(jvalue_append(j, out, items.list->v[i]));
    return jinja_step(j, items.list->n);
}

FILTER(reverse)
{
    jvalue items;

    TRY(jvalue_items(j, self, &items));
    TRY(jvalue_list(j, items.list->n, out));
    for (size_t i = items.list->n; i-- > 0;)
        TRY(jvalue_append(j, out, items.list->v[i]));
    if (self->kind == JV_STRING) {
        const jargs none = {0};
        return filter_join(j, out, &none, out);
    }
    return STATUS_OK;
}

FILTER(unique)
{
    jvalue items;
    bool same;

    TRY(jvalue_items(j, self, &items));
    TRY(jvalue_list(j, items.list->n, out));
    for (size_t i = 0; i < items.list->n; i++) {
        same = false;
        for (size_t k = 0; k < out->list->n && !same; k++) {
            TRY(jinja_step(j, 0));
            TRY(jvalue_equal(j, &items.list->v[i], &out->list->v[k], 0, &same));
        }
        if (!same)
            TRY(jvalue_append(j, out, items.list->v[i]));
    }
    return STATUS_OK;
}

/* Insertion sort, stable; steps bound it. Items may be [key, value] pairs: by_key compares keys. */
static status sort_list(jinja *j, jlist *l, bool by_key, bool reverse)
{
    for (size_t i = 1; i < l->n; i++) {
        const jvalue v = l->v[i];
        size_t to = i;
        for (; to > 0; to--) {
            const jvalue *a = &v, *b = &l->v[to - 1];
            bool less;
            if (by_key) {
                a = &a->list->v[0];
                b = &b->list->v[0];
            }
            TRY(jinja_step(j, 0));
            TRY(reverse ? jvalue_less(j, b, a, &less) : jvalue_less(j, a, b, &less));
            if (!less)
                break;
            l->v[to] = l->v[to - 1];
        }
        l->v[to] = v;
    }
    return STATUS_OK;
}

FILTER(sort)
{
    const jvalue *reverse = jargs_get(args, 0, "reverse");

    TRY(filter_list(j, self, args, out));
    return sort_list(j, out->list, false, reverse && jvalue_true(reverse));
}

FILTER(items)
{
    if (self->kind == JV_UNDEFINED)
        return jvalue_list(j, 0, out);
    if (self->kind != JV_DICT)
        return jinja_fail(j, "items: %s is there, must be a dict", jvalue_kind(self));
    const jargs none = {0};
    return jinja_method(j, self, "items", 5, &none, out);
}

FILTER(dictsort)
{
    TRY(filter_items(j, self, args, out));
    return sort_list(j, out->list, true, false);
}

FILTER(abs)
{
    const jvalue zero = jvalue_int(0);
    bool negative;

    TRY(jvalue_less(j, self, &zero, &negative));
    *out = *self;
    return negative ? jinja_binary(j, JO_SUBTRACT, &zero, self, out) : STATUS_OK;
}

FILTER(int)
{
    const jvalue *other = jargs_get(args, 0, "default");
    jvalue text;
    char *end;

    *out = other ? *other : jvalue_int(0);
    if (self->kind == JV_INT || self->kind == JV_BOOL)
        *out = jvalue_int(self->kind == JV_INT ? self->i : self->b);
    else if (self->kind == JV_FLOAT && fabs(self->f) < 0x1p62)
        *out = jvalue_int((int64_t)self->f);
    else if (self->kind == JV_STRING) {
        TRY(jvalue_copy_string(j, self->text, self->n, &text));
        errno = 0;
        const long long i = strtoll(text.text, &end, 10);
        if (!errno && end > text.text && end == text.text + text.n)
            *out = jvalue_int(i);
    }
    return STATUS_OK;
}

FILTER(float)
{
    const jvalue *other = jargs_get(args, 0, "default");
    jvalue text;
    char *end;

    *out = other ? *other : (jvalue){.kind = JV_FLOAT};
    if (self->kind == JV_INT || self->kind == JV_BOOL)
        *out = (jvalue){.kind = JV_FLOAT, .f = self->kind == JV_INT ? (double)self->i : self->b};
    else if (self->kind == JV_FLOAT)
        *out = *self;
    else if (self->kind == JV_STRING) {
        TRY(jvalue_copy_string(j, self->text, self->n, &text));
        const double f = strtod(text.text, &end);
        if (end > text.text && end == text.text + text.n)
            *out = (jvalue){.kind = JV_FLOAT, .f = f};
    }
    return STATUS_OK;
}

/* Blanks before each line but the first, empty ones left out, unless asked for. */
FILTER(indent)
{
    const jvalue *width = jargs_get(args, 0, "width"), *first = jargs_get(args, 1, "first"),
                 *blank = jargs_get(args, 2, "blank");
    jvalue text;
    size_t lines = 1;

    TRY(jvalue_text(j, self, &text));
    if (width && (width->kind != JV_INT || width->i < 0 || width->i > 256))
        return jinja_fail(j, "indent: width must be 0..256");
    const size_t n = width ? (size_t)width->i : 4;
    for (size_t i = 0; i < text.n; i++)
        lines += text.text[i] == '\n';
    TRY(jinja_step(j, text.n + lines * n));
    char *v = jinja_take(j, text.n + lines * n + 1), *to = v;
    if (!v)
        return STATUS_MEMORY;
    for (size_t at = 0; at <= text.n;) {
        const char *end = at < text.n ? memchr(text.text + at, '\n', text.n - at) : NULL;
        const size_t size = (end ? (size_t)(end - text.text) : text.n) - at;
        if (at == 0 ? first && jvalue_true(first) : size > 0 || (blank && jvalue_true(blank))) {
            memset(to, ' ', n);
            to += n;
        }
        if (size)
            memcpy(to, text.text + at, size);
        to += size;
        if (end)
            *to++ = '\n';
        at += size + 1;
    }
    *out = jvalue_string(v, (size_t)(to - v));
    return STATUS_OK;
}

/* ---- filters over filters and tests ---- */

/* args without the first `skip` by place. */
static jargs behind(const jargs *args, int skip)
{
    jargs rest = *args;

    rest.n = args->n > skip ? args->n - skip : 0;
    for (int i = 0; i < rest.n; i++)
        rest.v[i] = args->v[i + skip];
    return rest;
}

FILTER(map)
{
    const jvalue *by = jargs_get(args, 8, "attribute"), *other = jargs_get(args, 8, "default");
    jvalue items, v;

    TRY(jvalue_items(j, self, &items));
    TRY(jvalue_list(j, items.list->n, out));
    if (!by && (args->n < 1 || args->v[0].kind != JV_STRING))
        return jinja_fail(j, "map needs attribute=, or the name of a filter");
    const jfunction *f = by ? NULL : jinja_find_filter(args->v[0].text, args->v[0].n);
    if (!by && !f)
        return jinja_fail(j, "there is no filter \"%.*s\"", (int)args->v[0].n, args->v[0].text);
    const jargs rest = behind(args, 1);
    for (size_t i = 0; i < items.list->n; i++) {
        TRY(jinja_step(j, 0));
        if (f)
            TRY(jinja_apply(j, f, "filter", &items.list->v[i], &rest, &v));
        else
            TRY(attribute(j, &items.list->v[i], by, &v));
        if (by && other && v.kind == JV_UNDEFINED)
            v = *other;
        TRY(jvalue_append(j, out, v));
    }
    return STATUS_OK;
}

/* select, reject (test by name, or truth), selectattr, rejectattr (of an attribute). */
static status choose(jinja *j, const jvalue *self, const jargs *args, bool by_attribute, bool keep,
                     jvalue *out)
{
    const jfunction *f = NULL;
    const int skip = by_attribute;
    jvalue items, v, holds;

    TRY(jvalue_items(j, self, &items));
    TRY(jvalue_list(j, items.list->n, out));
    if (args->n < skip)
        return jinja_fail(j, "the name of an attribute is missing");
    if (args->n > skip) {
        const jvalue *name = &args->v[skip];
        f = name->kind == JV_STRING ? jinja_find_test(name->text, name->n) : NULL;
        if (!f)
            return jinja_fail(j, "there is no test of that name");
    }
    const jargs rest = behind(args, skip + 1);
    for (size_t i = 0; i < items.list->n; i++) {
        TRY(jinja_step(j, 0));
        v = items.list->v[i];
        if (by_attribute)
            TRY(attribute(j, &items.list->v[i], &args->v[0], &v));
        holds = v;
        if (f)
            TRY(jinja_apply(j, f, "test", &v, &rest, &holds));
        if (jvalue_true(&holds) == keep)
            TRY(jvalue_append(j, out, items.list->v[i]));
    }
    return STATUS_OK;
}

FILTER(select)
{
    return choose(j, self, args, false, true, out);
}

FILTER(reject)
{
    return choose(j, self, args, false, false, out);
}

FILTER(selectattr)
{
    return choose(j, self, args, true, true, out);
}

FILTER(rejectattr)
{
    return choose(j, self, args, true, false, out);
}

/* ---- by name ---- */

static const jfunction filters[] = {
    {"trim", filter_trim, 0, 1, "chars,"},
    {"upper", filter_upper, 0, 0, NULL},
    {"lower", filter_lower, 0, 0, NULL},
    {"title", filter_title, 0, 0, NULL},
    {"capitalize", filter_capitalize, 0, 0, NULL},
    {"replace", filter_replace, 2, 3, "old,new,count,"},
    {"string", filter_string, 0, 0, NULL},
    {"safe", filter_safe, 0, 0, NULL},
    {"length", filter_length, 0, 0, NULL},
    {"count", filter_length, 0, 0, NULL},
    {"tojson", filter_tojson, 0, 4, "ensure_ascii,indent,separators,sort_keys,"},
    {"default", filter_default, 0, 2, "default_value,boolean,"},
    {"d", filter_default, 0, 2, "default_value,boolean,"},
    {"join", filter_join, 0, 2, "d,attribute,"},
    {"first", filter_first, 0, 0, NULL},
    {"last", filter_last, 0, 0, NULL},
    {"list", filter_list, 0, 0, NULL},
    {"reverse", filter_reverse, 0, 0, NULL},
    {"unique", filter_unique, 0, 0, NULL},
    {"sort", filter_sort, 0, 1, "reverse,"},
    {"items", filter_items, 0, 0, NULL},
    {"dictsort", filter_dictsort, 0, 0, NULL},
    {"abs", filter_abs, 0, 0, NULL},
    {"int", filter_int, 0, 1, "default,"},
    {"float", filter_float, 0, 1, "default,"},
    {"indent", filter_indent, 0, 3, "width,first,blank,"},
    {"map", filter_map, 1, 8, "attribute,default,"},
    {"select", filter_select, 0, 8, NULL},
    {"reject", filter_reject, 0, 8, NULL},
    {"selectattr", filter_selectattr, 1, 8, NULL},
    {"rejectattr", filter_rejectattr, 1, 8, NULL}};

const jfunction *jinja_find(const jfunction *v, size_t count, const char *name, size_t n)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(v[i].name) == n && memcmp(v[i].name, name, n) == 0)
            return &v[i];
    return NULL;
}

const jfunction *jinja_find_filter(const char *name, size_t n)
{
    return jinja_find(filters, COUNT_OF(filters), name, n);
}

/* The first keyword that is not among names, or NULL. */
static const char *unknown_keyword(const jargs *args, const char *names, size_t *n)
{
    for (int i = 0; i < args->n_named; i++) {
        bool known = false;
        for (const char *at = names ? names : ""; *at && !known;) {
            const size_t size = strcspn(at, ",");
            known = size == args->named[i].n && memcmp(at, args->named[i].name, size) == 0;
            at += size + 1;
        }
        *n = args->named[i].n;
        if (!known)
            return args->named[i].name;
    }
    return NULL;
}

status jinja_apply(jinja *j, const jfunction *f, const char *kind, const jvalue *self,
                   const jargs *args, jvalue *out)
{
    const int n = args->n + args->n_named;

    if (n < f->least || n > f->most)
        return jinja_fail(j, "%s %s has %d arguments, must have %d..%d", kind, f->name, n, f->least,
                          f->most);
    size_t size;
    const char *keyword = unknown_keyword(args, f->names, &size);
    if (keyword)
        return jinja_fail(j, "%s %s has no argument \"%.*s\"", kind, f->name, (int)size, keyword);
    return f->body(j, self, args, out);
}
