/* json: a strict check of the text, then cJSON, then a check for keys that occur twice.
 *
 * cJSON's strings end at a NUL, but JSON texts may say \u0000. Such an escape is handed to cJSON as the
 * two bytes C0 80, which valid UTF-8 cannot hold, and json_text turns them back. */
#include "core/json.h"

#include "core/file.h"
#include "core/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct checker {
    const char *text;
    size_t      length, at;
    const char *what;
    int         nuls; /* \u0000 escapes seen */
} checker;

static status bad(const checker *c, const char *message)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < c->at && i < c->length; i++) {
        column++;
        if (c->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return fail(STATUS_FORMAT, "%s:%zu:%zu: not valid JSON: %s", c->what, line, column, message);
}

static int peek(const checker *c)
{
    return c->at < c->length ? (unsigned char)c->text[c->at] : -1;
}

static void skip_blanks(checker *c)
{
    while (c->at < c->length && strchr(" \t\n\r", c->text[c->at]) && c->text[c->at])
        c->at++;
}

static int hex4(const checker *c, size_t at)
{
    int value = 0;

    for (size_t i = at; i < at + 4; i++) {
        const int ch = i < c->length ? c->text[i] : 0;
        const int digit = ch >= '0' && ch <= '9'   ? ch - '0'
                          : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                          : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                                   : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static status check_escape(checker *c)
{
    c->at++;
    const int kind = peek(c);

    if (kind != 'u') {
        if (kind < 0 || !strchr("\"\\/bfnrt", kind) || kind == 0)
            return bad(c, "unknown escape in a string");
        c->at++;
        return STATUS_OK;
    }
    const int code = hex4(c, c->at + 1);
    if (code < 0)
        return bad(c, "\\u needs four hexadecimal digits");
    if (code == 0)
        c->nuls++;
    if (code >= 0xDC00 && code <= 0xDFFF)
        return bad(c, "lone surrogate in a string");
    c->at += 5;
    if (code >= 0xD800 && code <= 0xDBFF) {
        const int low = peek(c) == '\\' && c->at + 1 < c->length && c->text[c->at + 1] == 'u'
                            ? hex4(c, c->at + 2)
                            : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return bad(c, "lone surrogate in a string");
        c->at += 6;
    }
    return STATUS_OK;
}

static status check_string(checker *c)
{
    c->at++;
    for (;;) {
        const int ch = peek(c);
        if (ch < 0)
            return bad(c, "a string does not end");
        if (ch < 0x20)
            return bad(c, "control character in a string");
        if (ch == '"') {
            c->at++;
            return STATUS_OK;
        }
        if (ch == '\\') {
            TRY(check_escape(c));
            continue;
        }
        uint32_t  code;
        const int n = utf8_next(c->text, c->length, c->at, &code);
        if (n == 0)
            return bad(c, "a string is not valid UTF-8");
        c->at += (size_t)n;
    }
}

static bool digits(checker *c)
{
    const size_t from = c->at;

    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at > from;
}

static status check_number(checker *c)
{
    if (peek(c) == '-')
        c->at++;
    if (peek(c) == '0')
        c->at++;
    else if (!digits(c))
        return bad(c, "unexpected character");
    if (peek(c) == '.') {
        c->at++;
        if (!digits(c))
            return bad(c, "a number needs digits behind the point");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        c->at++;
        if (peek(c) == '+' || peek(c) == '-')
            c->at++;
        if (!digits(c))
            return bad(c, "a number needs digits in its exponent");
    }
    return STATUS_OK;
}

static status check_value(checker *c, int depth);

/* Items between brackets; of an object each begins with its key. */
static status check_items(checker *c, int depth, char close)
{
    c->at++;
    skip_blanks(c);
    if (peek(c) == close) {
        c->at++;
        return STATUS_OK;
    }
    for (;;) {
        if (close == '}') {
            if (peek(c) != '"')
                return bad(c, "a key must be a string");
            TRY(check_string(c));
            skip_blanks(c);
            if (peek(c) != ':')
                return bad(c, "a ':' must follow the key");
            c->at++;
        }
        TRY(check_value(c, depth + 1));
        if (peek(c) == close) {
            c->at++;
            return STATUS_OK;
        }
        if (peek(c) != ',')
            return bad(c, close == '}' ? "',' or '}' must follow" : "',' or ']' must follow");
        c->at++;
        skip_blanks(c);
    }
}

static status check_value(checker *c, int depth)
{
    static const char *const words[] = {"true", "false", "null"};

    if (depth > JSON_DEPTH_MAX)
        return bad(c, "nested deeper than 64 levels");
    skip_blanks(c);
    const int ch = peek(c);
    if (ch == '{' || ch == '[')
        TRY(check_items(c, depth, ch == '{' ? '}' : ']'));
    else if (ch == '"')
        TRY(check_string(c));
    else {
        bool word = false;
        for (size_t i = 0; i < COUNT_OF(words) && !word; i++) {
            const size_t n = strlen(words[i]);
            word = c->length - c->at >= n && memcmp(c->text + c->at, words[i], n) == 0;
            c->at += word ? n : 0;
        }
        if (ch < 0)
            return bad(c, "a value is missing");
        if (!word)
            TRY(check_number(c));
    }
    skip_blanks(c);
    return STATUS_OK;
}

static uint64_t hash(const char *text)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *text; text++)
        h = (h ^ (uint8_t)*text) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* Keys that occur twice: small objects by comparing, large ones through a hash table. */
static status check_keys(const cJSON *item, const char *what)
{
    const cJSON *child;
    size_t       n = 0;

    cJSON_ArrayForEach(child, item)
    {
        n++;
        if (child->child)
            TRY(check_keys(child, what));
    }
    if (!cJSON_IsObject(item) || n < 2)
        return STATUS_OK;

    size_t size = 4;
    while (size < 2 * n)
        size *= 2;
    const cJSON **table = calloc(size, sizeof *table);
    if (!table)
        return fail(STATUS_MEMORY, "%s: no memory for %zu keys", what, n);
    cJSON_ArrayForEach(child, item)
    {
        size_t at = hash(child->string) & (size - 1);
        for (; table[at]; at = (at + 1) & (size - 1))
            if (strcmp(table[at]->string, child->string) == 0) {
                free(table);
                return fail(STATUS_FORMAT, "%s: not valid JSON: the key \"%.80s\" occurs twice", what,
                            child->string);
            }
        table[at] = child;
    }
    free(table);
    return STATUS_OK;
}

/* A copy of the text in which every \u0000 is C0 80. */
static char *encode_nuls(const char *text, size_t *length)
{
    char  *copy = malloc(*length + 1);
    size_t to = 0;

    for (size_t i = 0; copy && i < *length;) {
        if (text[i] == '\\' && text[i + 1] == 'u' && memcmp(text + i + 2, "0000", 4) == 0) {
            copy[to++] = (char)0xC0;
            copy[to++] = (char)0x80;
            i += 6;
        } else if (text[i] == '\\') {
            copy[to++] = text[i++];
            copy[to++] = text[i++];
        } else
            copy[to++] = text[i++];
    }
    *length = to;
    return copy;
}

status json_parse(const char *text, size_t length, const char *what, cJSON **out)
{
    checker c = {.text = text, .length = length, .what = what};
    char   *copy = NULL;

    *out = NULL;
    skip_blanks(&c);
    TRY(check_value(&c, 1));
    if (c.at < length)
        return bad(&c, "something follows the value");
    if (c.nuls) {
        copy = encode_nuls(text, &length);
        if (!copy)
            return fail(STATUS_MEMORY, "%s: no memory for %zu bytes of JSON", what, length);
        text = copy;
    }
    cJSON *item = cJSON_ParseWithLength(text, length);
    free(copy);
    if (!item)
        return fail(STATUS_FORMAT, "%s: not valid JSON", what);
    const status s = check_keys(item, what);
    if (s != STATUS_OK) {
        cJSON_Delete(item);
        return s;
    }
    *out = item;
    return STATUS_OK;
}

status json_read(const char *path, cJSON **out)
{
    file_map m;

    *out = NULL;
    TRY(file_map_open(&m, path));
    const status s = m.bytes > (size_t)256 << 20
                         ? fail(STATUS_FORMAT, "%s: has %zu bytes, may have 256 MB", path, m.bytes)
                         : json_parse((const char *)m.v, m.bytes, path, out);
    file_map_close(&m);
    return s;
}

static const char *kind_name(const cJSON *item)
{
    return cJSON_IsString(item)   ? "text"
           : cJSON_IsNumber(item) ? "a number"
           : cJSON_IsBool(item)   ? "true or false"
           : cJSON_IsArray(item)  ? "a list"
           : cJSON_IsObject(item) ? "an object"
                                  : "null";
}

/* The member, or NULL when it is absent or null and not needed; fails as described in the header. */
static status member(const cJSON *o, const char *key, bool need, const char *kind, const char *what,
                     const cJSON **out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    *out = NULL;
    if (!item || cJSON_IsNull(item))
        return need ? fail(STATUS_FORMAT, "%s: %s is missing, must be %s", what, key, kind) : STATUS_OK;
    *out = item;
    return STATUS_OK;
}

static status wrong(const cJSON *item, const char *key, const char *kind, const char *what)
{
    return fail(STATUS_FORMAT, "%s: %s is %s, must be %s", what, key, kind_name(item), kind);
}

status json_int(const cJSON *o, const char *key, bool need, int64_t lo, int64_t hi, int64_t *out,
                const char *what)
{
    const cJSON *item;

    TRY(member(o, key, need, "a whole number", what, &item));
    if (!item)
        return STATUS_OK;
    if (!cJSON_IsNumber(item))
        return wrong(item, key, "a whole number", what);

    const double v = item->valuedouble;
    if (v != floor(v) || fabs(v) > 0x1p53)
        return fail(STATUS_FORMAT, "%s: %s is %.17g, must be a whole number", what, key, v);
    if (v < (double)lo || v > (double)hi)
        return fail(STATUS_FORMAT, "%s: %s is %.0f, must be %lld..%lld", what, key, v, (long long)lo,
                    (long long)hi);
    *out = (int64_t)v;
    return STATUS_OK;
}

status json_double(const cJSON *o, const char *key, bool need, double *out, const char *what)
{
    const cJSON *item;

    TRY(member(o, key, need, "a number", what, &item));
    if (item && !cJSON_IsNumber(item))
        return wrong(item, key, "a number", what);
    if (item)
        *out = item->valuedouble;
    return STATUS_OK;
}

status json_bool(const cJSON *o, const char *key, bool need, bool *out, const char *what)
{
    const cJSON *item;

    TRY(member(o, key, need, "true or false", what, &item));
    if (item && !cJSON_IsBool(item))
        return wrong(item, key, "true or false", what);
    if (item)
        *out = cJSON_IsTrue(item);
    return STATUS_OK;
}

status json_string(const cJSON *o, const char *key, bool need, const char **out, const char *what)
{
    const cJSON *item;

    TRY(member(o, key, need, "text", what, &item));
    if (item && !cJSON_IsString(item))
        return wrong(item, key, "text", what);
    if (item)
        *out = item->valuestring;
    return STATUS_OK;
}

status json_texts(const cJSON *o, const char *key, arena *a, key_texts *out, const char *what)
{
    const cJSON *item, *one;
    const char **v;
    int          n = 0;

    TRY(member(o, key, false, "a list of texts", what, &item));
    *out = (key_texts){0};
    if (!item)
        return STATUS_OK;
    if (!cJSON_IsArray(item) && !cJSON_IsString(item))
        return wrong(item, key, "a list of texts", what);
    TRY_TAKE(v, a, cJSON_GetArraySize(item) + 1);
    for (one = cJSON_IsArray(item) ? item->child : item; one; one = one == item ? NULL : one->next) {
        if (!cJSON_IsString(one))
            return wrong(one, key, "a list of texts", what);
        v[n] = arena_string(a, one->valuestring, strlen(one->valuestring));
        if (!v[n++])
            return STATUS_MEMORY;
    }
    *out = (key_texts){n, v};
    return STATUS_OK;
}

status json_text(arena *a, const cJSON *item, const char **text, size_t *length)
{
    CHECK(cJSON_IsString(item));
    const char  *from = item->valuestring;
    const size_t n = strlen(from);

    *text = from;
    *length = n;
    if (!memchr(from, 0xC0, n))
        return STATUS_OK;

    char *copy = arena_take(a, n + 1, 1);
    if (!copy)
        return STATUS_MEMORY;
    size_t to = 0;
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)from[i] == 0xC0)
            copy[to++] = '\0', i++;
        else
            copy[to++] = from[i];
    copy[to] = '\0';
    *text = copy;
    *length = to;
    return STATUS_OK;
}

char *json_quote(arena *a, const char *text, size_t length)
{
    char *out = arena_take(a, length * 6 + 3, 1);
    char *p = out;

    if (!out)
        return NULL;
    *p++ = '"';
    for (size_t i = 0; i < length; i++) {
        const unsigned char ch = (unsigned char)text[i];
        if (ch == '"' || ch == '\\')
            *p++ = '\\', *p++ = (char)ch;
        else if (ch == '\n')
            *p++ = '\\', *p++ = 'n';
        else if (ch == '\t')
            *p++ = '\\', *p++ = 't';
        else if (ch < 0x20 || ch == 0x7F)
            p += sprintf(p, "\\u%04x", ch);
        else
            *p++ = (char)ch;
    }
    *p++ = '"';
    *p = '\0';
    return out;
}
