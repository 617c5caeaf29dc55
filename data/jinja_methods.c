/* jinja_methods: methods of texts and dicts, and the functions that templates may call */
#include "core/utf8.h"
#include "data/jinja.h"
#include "data/tokenizer_parts.h"

#include <string.h>

#include <utf8proc.h>

/* White space as str.strip() knows it. */
static bool strips(uint32_t code)
{
    return unicode_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

static bool in_set(const jvalue *set, const char *text, size_t n)
{
    for (size_t at = 0; at < set->n;) {
        size_t end = at + 1;
        while (end < set->n && ((uint8_t)set->text[end] & 0xC0) == 0x80)
            end++;
        if (end - at == n && memcmp(set->text + at, text, n) == 0)
            return true;
        at = end;
    }
    return false;
}

/* Takes characters of a set (NULL: white space) off either side. */
static status strip(jinja *j, const jvalue *self, const jargs *args, bool left, bool right,
                    jvalue *out)
{
    const jvalue *set = jargs_get(args, 0, "chars");
    size_t begin = 0, end = self->n;
    uint32_t code = 0;

    if (set && set->kind == JV_NONE)
        set = NULL;
    if (set && set->kind != JV_STRING)
        return jinja_fail(j, "strip needs text, there is %s", jvalue_kind(set));
    TRY(jinja_step(j, self->n * (set ? set->n + 1 : 1)));
    while (left && begin < end) {
        const size_t n = (size_t)utf8_next(self->text, end, begin, &code);
        if (n == 0 || !(set ? in_set(set, self->text + begin, n) : strips(code)))
            break;
        begin += n;
    }
    while (right && end > begin) {
        size_t at = end - 1;
        while (at > begin && ((uint8_t)self->text[at] & 0xC0) == 0x80)
            at--;
        if (!utf8_next(self->text, end, at, &code) ||
            !(set ? in_set(set, self->text + at, end - at) : strips(code)))
            break;
        end = at;
    }
    *out = jvalue_string(self->text + begin, end - begin);
    return STATUS_OK;
}

/* Words of str.title() begin behind anything that is not a letter, those of the filter title behind
 * white space and opening brackets. */
typedef enum casing { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_WORDS, CASE_CAPITAL } casing;

static bool is_letter(uint32_t code)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)code);

    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static status change_case(jinja *j, const jvalue *self, casing how, jvalue *out)
{
    char *v = jinja_take(j, 3 * self->n + 4);
    size_t to = 0;
    bool first = true;

    if (!v)
        return STATUS_MEMORY;
    TRY(jinja_step(j, 8 * self->n));
    for (size_t at = 0; at < self->n;) {
        uint32_t code = 0;
        const int n = utf8_next(self->text, self->n, at, &code);
        if (n == 0)
            return jinja_fail(j, "a text is not valid UTF-8");
        const bool upper = how == CASE_UPPER || (how >= CASE_TITLE && first);
        const utf8proc_int32_t c = (utf8proc_int32_t)code;
        if (upper && code == 0xDF) { /* the one letter of Latin-1 that becomes two */
            memcpy(v + to, how == CASE_UPPER ? "SS" : "Ss", 2);
            to += 2;
        } else
            to += (size_t)utf8_put((uint32_t)(upper ? utf8proc_toupper(c) : utf8proc_tolower(c)),
                                   v + to);
        if (how == CASE_TITLE)
            first = !is_letter(code);
        else
            first = how == CASE_WORDS &&
                    (unicode_is_space(code) || (code < 0x80 && code && strchr("-({[<", (int)code)));
        at += (size_t)n;
    }
    *out = jvalue_string(v, to);
    return STATUS_OK;
}

status jinja_title(jinja *j, const jvalue *text, jvalue *out)
{
    return change_case(j, text, CASE_WORDS, out);
}

/* Start of `what` in text at or behind `from`; SIZE_MAX: not there. */
static size_t find(const jvalue *text, const jvalue *what, size_t from)
{
    const char *at = memmem(text->text + from, text->n - from, what->text, what->n);

    return at ? (size_t)(at - text->text) : SIZE_MAX;
}

/* A text argument that must be there. */
static status text_argument(jinja *j, const jargs *args, int place, const char *name,
                            const jvalue **out)
{
    *out = jargs_get(args, place, name);
    if (!*out || (*out)->kind != JV_STRING)
        return jinja_fail(j, "argument %d must be text, is %s", place + 1,
                          *out ? jvalue_kind(*out) : "missing");
    return STATUS_OK;
}

/* A count argument: below 0 or absent means without limit. */
static status count_argument(jinja *j, const jargs *args, int place, const char *name, int64_t *out)
{
    const jvalue *v = jargs_get(args, place, name);

    *out = INT64_MAX;
    if (!v || v->kind == JV_NONE)
        return STATUS_OK;
    if (v->kind != JV_INT)
        return jinja_fail(j, "%s must be a whole number, is %s", name, jvalue_kind(v));
    *out = v->i < 0 ? INT64_MAX : v->i;
    return STATUS_OK;
}

static status replace(jinja *j, const jvalue *self, const jargs *args, jvalue *out)
{
    const jvalue *old, *new;
    int64_t most, found = 0;

    TRY(text_argument(j, args, 0, "old", &old));
    TRY(text_argument(j, args, 1, "new", &new));
    TRY(count_argument(j, args, 2, "count", &most));
    if (old->n == 0)
        return jinja_fail(j, "replace: the text to be replaced is empty");
    for (size_t at = find(self, old, 0); at != SIZE_MAX && found < most;
         at = find(self, old, at + old->n))
        found++;
    size_t n;
    if (MUL_OVERFLOWS((size_t)found, new->n, &n) || n > JINJA_OUTPUT_MAX)
        return jinja_fail(j, "replace makes more than %d bytes", JINJA_OUTPUT_MAX);
    TRY(jinja_step(j, self->n + n));
    char *v = jinja_take(j, self->n + n + 1), *to = v;
    if (!v)
        return STATUS_MEMORY;
    size_t from = 0;
    for (; found > 0; found--) {
        const size_t at = find(self, old, from);
        memcpy(to, self->text + from, at - from);
        to += at - from;
        if (new->n)
            memcpy(to, new->text, new->n);
        to += new->n;
        from = at + old->n;
    }
    if (self->n > from)
        memcpy(to, self->text + from, self->n - from);
    *out = jvalue_string(v, (size_t)(to - v) + self->n - from);
    return STATUS_OK;
}

/* Words between white space, at most `most` cuts; the rest keeps its inner white space. */
static status split_words(jinja *j, const jvalue *self, int64_t most, jvalue *out)
{
    const jargs none = {0};
    jvalue rest;

    TRY(strip(j, self, &none, true, false, &rest));
    while (rest.n > 0) {
        size_t end = 0;
        uint32_t code = 0;
        while (most > 0 && end < rest.n) {
            const int n = utf8_next(rest.text, rest.n, end, &code);
            if (n == 0 || strips(code))
                break;
            end += (size_t)n;
        }
        if (most-- <= 0) {
            TRY(strip(j, &rest, &none, false, true, &rest));
            return jvalue_append(j, out, rest);
        }
        TRY(jvalue_append(j, out, jvalue_string(rest.text, end)));
        const jvalue behind = jvalue_string(rest.text + end, rest.n - end);
        size_t skip = 0;
        while (skip < behind.n) {
            const int n = utf8_next(behind.text, behind.n, skip, &code);
            if (n == 0 || !strips(code))
                break;
            skip += (size_t)n;
        }
        if (end == 0 && skip == 0)
            return jinja_fail(j, "a text is not valid UTF-8");
        rest = jvalue_string(behind.text + skip, behind.n - skip);
    }
    return jinja_step(j, self->n);
}

static status split(jinja *j, const jvalue *self, const jargs *args, jvalue *out)
{
    const jvalue *sep = jargs_get(args, 0, "sep");
    int64_t most;
    size_t from = 0;

    TRY(count_argument(j, args, 1, "maxsplit", &most));
    TRY(jvalue_list(j, 4, out));
    if (!sep || sep->kind == JV_NONE)
        return split_words(j, self, most, out);
    if (sep->kind != JV_STRING || sep->n == 0)
        return jinja_fail(j, "split needs a text that is not empty");
    for (size_t at = 0; most > 0 && (at = find(self, sep, from)) != SIZE_MAX; most--) {
        TRY(jvalue_append(j, out, jvalue_string(self->text + from, at - from)));
        from = at + sep->n;
    }
    TRY(jvalue_append(j, out, jvalue_string(self->text + from, self->n - from)));
    return jinja_step(j, self->n);
}

/* From the right: the cuts that are too many are joined again. */
static status rsplit(jinja *j, const jvalue *self, const jargs *args, jvalue *out)
{
    const jvalue *sep;
    int64_t most;
    jargs all = {.n = 1};
    jvalue parts;

    TRY(text_argument(j, args, 0, "sep", &sep));
    TRY(count_argument(j, args, 1, "maxsplit", &most));
    all.v[0] = *sep;
    TRY(split(j, self, &all, &parts));
    const size_t n = parts.list->n;
    const size_t joined = most < (int64_t)n - 1 ? n - (size_t)most : 1;
    TRY(jvalue_list(j, 4, out));
    const jvalue *last = &parts.list->v[joined - 1];
    TRY(jvalue_append(j, out,
                      jvalue_string(self->text, (size_t)(last->text + last->n - self->text))));
    for (size_t i = joined; i < n; i++)
        TRY(jvalue_append(j, out, parts.list->v[i]));
    return STATUS_OK;
}

static status split_lines(jinja *j, const jvalue *self, jvalue *out)
{
    TRY(jvalue_list(j, 4, out));
    for (size_t at = 0; at < self->n;) {
        size_t end = at;
        while (end < self->n && self->text[end] != '\n' && self->text[end] != '\r')
            end++;
        TRY(jvalue_append(j, out, jvalue_string(self->text + at, end - at)));
        at = end + 1;
        if (end + 1 < self->n && self->text[end] == '\r' && self->text[end + 1] == '\n')
            at++;
    }
    return jinja_step(j, self->n);
}

/* startswith and endswith take a text or a list of them. */
static status affix(jinja *j, const jvalue *self, const jargs *args, bool start, jvalue *out)
{
    const jvalue *what = jargs_get(args, 0, "");
    const size_t n = what && what->kind == JV_LIST ? what->list->n : 1;
    const jvalue *v = what && what->kind == JV_LIST ? what->list->v : what;

    *out = jvalue_bool(false);
    for (size_t i = 0; i < n; i++) {
        if (!v || v[i].kind != JV_STRING)
            return jinja_fail(j, "%s needs text, there is %s", start ? "startswith" : "endswith",
                              v ? jvalue_kind(&v[i]) : "none");
        TRY(jinja_step(j, v[i].n));
        if (v[i].n <= self->n &&
            memcmp(self->text + (start ? 0 : self->n - v[i].n), v[i].text, v[i].n) == 0)
            *out = jvalue_bool(true);
    }
    return STATUS_OK;
}

/* find (in characters) and count */
static status locate(jinja *j, const jvalue *self, const jargs *args, bool count, jvalue *out)
{
    const jvalue *what;
    int64_t n = 0;

    TRY(text_argument(j, args, 0, "sub", &what));
    TRY(jinja_step(j, self->n));
    if (!count) {
        const size_t at = find(self, what, 0);
        for (size_t i = 0; at != SIZE_MAX && i < at; i++)
            n += ((uint8_t)self->text[i] & 0xC0) != 0x80;
        *out = jvalue_int(at == SIZE_MAX ? -1 : n);
        return STATUS_OK;
    }
    if (what->n == 0)
        return jinja_fail(j, "count: the text to be counted is empty");
    for (size_t at = find(self, what, 0); at != SIZE_MAX; at = find(self, what, at + what->n))
        n++;
    *out = jvalue_int(n);
    return STATUS_OK;
}

static bool named(const char *name, size_t n, const char *want)
{
    return strlen(want) == n && memcmp(name, want, n) == 0;
}

static status unknown(const jinja *j, const jvalue *self, const char *name, size_t n)
{
    return jinja_fail(j, "%s has no method \"%.*s\"", jvalue_kind(self), n < 80 ? (int)n : 80,
                      name);
}

static status text_method(jinja *j, const jvalue *self, const char *name, size_t n,
                          const jargs *args, jvalue *out)
{
    if (named(name, n, "strip"))
        return strip(j, self, args, true, true, out);
    if (named(name, n, "lstrip"))
        return strip(j, self, args, true, false, out);
    if (named(name, n, "rstrip"))
        return strip(j, self, args, false, true, out);
    if (named(name, n, "split"))
        return split(j, self, args, out);
    if (named(name, n, "rsplit"))
        return rsplit(j, self, args, out);
    if (named(name, n, "splitlines"))
        return split_lines(j, self, out);
    if (named(name, n, "startswith"))
        return affix(j, self, args, true, out);
    if (named(name, n, "endswith"))
        return affix(j, self, args, false, out);
    if (named(name, n, "upper"))
        return change_case(j, self, CASE_UPPER, out);
    if (named(name, n, "lower"))
        return change_case(j, self, CASE_LOWER, out);
    if (named(name, n, "title"))
        return change_case(j, self, CASE_TITLE, out);
    if (named(name, n, "capitalize"))
        return change_case(j, self, CASE_CAPITAL, out);
    if (named(name, n, "replace"))
        return replace(j, self, args, out);
    if (named(name, n, "find"))
        return locate(j, self, args, false, out);
    if (named(name, n, "count"))
        return locate(j, self, args, true, out);
    return unknown(j, self, name, n);
}

/* items, keys, values */
static status dict_parts(jinja *j, const jdict *d, bool keys, bool values, jvalue *out)
{
    TRY(jvalue_list(j, d->n, out));
    for (size_t i = 0; i < d->n; i++) {
        jvalue pair = keys ? d->v[i].key : d->v[i].value;
        if (keys && values) {
            TRY(jvalue_list(j, 2, &pair));
            pair.list->tuple = true;
            TRY(jvalue_append(j, &pair, d->v[i].key));
            TRY(jvalue_append(j, &pair, d->v[i].value));
        }
        TRY(jvalue_append(j, out, pair));
    }
    return jinja_step(j, d->n);
}

status jinja_method(jinja *j, const jvalue *self, const char *name, size_t n, const jargs *args,
                    jvalue *out)
{
    if (self->kind == JV_STRING)
        return text_method(j, self, name, n, args, out);
    if (self->kind != JV_DICT)
        return unknown(j, self, name, n);
    if (named(name, n, "items"))
        return dict_parts(j, self->dict, true, true, out);
    if (named(name, n, "keys"))
        return dict_parts(j, self->dict, true, false, out);
    if (named(name, n, "values"))
        return dict_parts(j, self->dict, false, true, out);
    if (named(name, n, "get")) {
        const jvalue *key = jargs_get(args, 0, "key"), *other = jargs_get(args, 1, "default"),
                     *found;
        if (!key)
            return jinja_fail(j, "get needs a key");
        TRY(jvalue_find(j, self, key, &found));
        *out = found ? *found : other ? *other : (jvalue){.kind = JV_NONE};
        return STATUS_OK;
    }
    return unknown(j, self, name, n);
}

static status range(jinja *j, const jargs *args, jvalue *out)
{
    int64_t v[3] = {0, 0, 1};

    for (int i = 0; i < args->n; i++)
        if (args->v[i].kind != JV_INT)
            return jinja_fail(j, "range needs whole numbers, there is %s",
                              jvalue_kind(&args->v[i]));
    if (args->n < 1 || args->n > 3 || args->n_named)
        return jinja_fail(j, "range has %d arguments, must have 1..3", args->n + args->n_named);
    v[1] = args->v[0].i;
    for (int i = 0; i < args->n && args->n > 1; i++)
        v[i] = args->v[i].i;
    if (v[2] == 0)
        return jinja_fail(j, "the step of a range is 0");
    TRY(jvalue_list(j, 4, out));
    for (int64_t i = v[0]; v[2] > 0 ? i < v[1] : i > v[1];) {
        if (out->list->n == JINJA_RANGE_MAX)
            return jinja_fail(j, "a range has more than %d numbers", JINJA_RANGE_MAX);
        TRY(jinja_step(j, 0));
        TRY(jvalue_append(j, out, jvalue_int(i)));
        if (ADD_OVERFLOWS(i, v[2], &i))
            break;
    }
    return STATUS_OK;
}

status jinja_function(jinja *j, const jvalue *function, const jargs *args, jvalue *out)
{
    const char *name = function->text;

    if (strcmp(name, "range") == 0)
        return range(j, args, out);
    if (strcmp(name, "raise_exception") == 0) {
        jvalue text = jvalue_string("", 0);
        if (args->n)
            TRY(jvalue_text(j, &args->v[0], &text));
        return jinja_fail(j, "the template refuses the conversation: %.*s",
                          text.n < 300 ? (int)text.n : 300, text.text);
    }
    if (args->n)
        return jinja_fail(j, "%s takes name=value only", name);
    TRY(jvalue_dict(j, 4, out));
    for (int i = 0; i < args->n_named; i++)
        TRY(jvalue_put(j, out, jvalue_string(args->named[i].name, args->named[i].n),
                       args->named[i].value));
    if (strcmp(name, "namespace") == 0)
        out->kind = JV_NAMESPACE;
    return STATUS_OK;
}
