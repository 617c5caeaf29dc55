/* recipe_write: the resolved recipe as text, the origin of a value, the fingerprint of the whole */
#include "core/file.h"
#include "recipes/recipe_keys.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

status recipe_text(arena *a, const recipe *r, bool origins, char **text)
{
    char  *v = NULL;
    size_t length = 0;
    FILE  *f = open_memstream(&v, &length);

    if (!f)
        return fail(STATUS_MEMORY, "%s: no memory to write it", r->file);
    yaml_write(f, r->tree, origins);
    const bool broken = ferror(f) != 0;
    if (fclose(f) != 0 || broken) {
        free(v);
        return fail(STATUS_MEMORY, "%s: no memory to write it", r->file);
    }
    *text = arena_string(a, v, length);
    free(v);
    return *text ? STATUS_OK : STATUS_MEMORY;
}

status recipe_write(const recipe *r, const char *path)
{
    arena  a;
    char  *text;
    status s;

    TRY(arena_open(&a, "recipe text", 64 << 20));
    s = recipe_text(&a, r, true, &text);
    if (s == STATUS_OK)
        s = file_replace(path, text, strlen(text));
    arena_close(&a);
    return s;
}

const char *recipe_origin(const recipe *r, const char *path, char *text, size_t room)
{
    yaml_node *n = NULL;
    arena      a;

    if (arena_open(&a, "path", 1 << 20) != STATUS_OK)
        return NULL;
    const status s = recipe_tree_find(&a, r->tree, path, &n);
    arena_close(&a);
    if (s != STATUS_OK || !n)
        return NULL;
    if (n->file && n->line)
        snprintf(text, room, "%s:%d", n->file, n->line);
    else
        snprintf(text, room, "%s", n->file ? n->file : "default");
    return text;
}

/* ---- fingerprint ------------------------------------------------------------------------------ */

typedef struct meaning {
    FILE *f;
    bool  evaluations; /* decide something: train.eval_every counts */
} meaning;

static bool is_left_out(const meaning *m, const char *path)
{
    static const char *const paths[] = {".name", ".out", ".train.save_every", ".train.keep",
                                        ".train.threads"};

    for (size_t i = 0; i < COUNT_OF(paths); i++)
        if (strcmp(paths[i], path) == 0)
            return true;
    return !m->evaluations && strcmp(path, ".train.eval_every") == 0;
}

static bool evaluations_decide(const yaml_node *root)
{
    const yaml_node *train = yaml_find(root, "train");
    const yaml_node *select = train ? yaml_find(train, "select") : NULL;
    const yaml_node *patience = train ? yaml_find(train, "patience") : NULL;

    return (select && select->text && strcmp(select->text, "best") == 0) ||
           (patience && patience->text && strtoll(patience->text, NULL, 10) > 0);
}

static int by_key(const void *a, const void *b)
{
    const yaml_entry *x = a, *y = b;

    return strcmp(x->key->text, y->key->text);
}

/* One line a value, "path=bytes:text", in an order that does not depend on the file's. */
static status write_meaning(const meaning *m, const yaml_node *n, const char *path)
{
    char  *below = NULL;
    status s = STATUS_OK;

    if (is_left_out(m, path))
        return STATUS_OK;
    if (n->as_list) {
        yaml_node one = *n;
        one.as_list = false;
        if (asprintf(&below, "%s.0", path) < 0)
            return fail(STATUS_MEMORY, "no memory for a fingerprint");
        s = write_meaning(m, &one, below);
        free(below);
        return s;
    }
    if (n->kind == YAML_TEXT) {
        const char *text = n->meaning ? n->meaning : n->text;
        fprintf(m->f, "%s=%zu:%s\n", path, strlen(text), text);
        return STATUS_OK;
    }

    yaml_entry *v = malloc(((size_t)n->n + 1) * sizeof *v);
    if (!v)
        return fail(STATUS_MEMORY, "no memory for a fingerprint");
    if (n->n)
        memcpy(v, n->v, (size_t)n->n * sizeof *v);
    if (n->kind == YAML_MAP && !n->ordered)
        qsort(v, (size_t)n->n, sizeof *v, by_key);
    for (int i = 0; i < n->n && s == STATUS_OK; i++) {
        const int made = v[i].key ? asprintf(&below, "%s.%s", path, v[i].key->text)
                                  : asprintf(&below, "%s.%d", path, i);
        if (made < 0) {
            s = fail(STATUS_MEMORY, "no memory for a fingerprint");
            break;
        }
        s = write_meaning(m, v[i].value, below);
        free(below);
    }
    free(v);
    return s;
}

/* All of it, in a text that the caller frees. */
static status meaning_text(const yaml_node *root, char **text, size_t *length)
{
    *text = NULL;
    *length = 0;
    const meaning m = {.f = open_memstream(text, length), .evaluations = evaluations_decide(root)};

    if (!m.f)
        return fail(STATUS_MEMORY, "no memory for a fingerprint");
    status s = write_meaning(&m, root, "");
    if (fclose(m.f) != 0 && s == STATUS_OK)
        s = fail(STATUS_MEMORY, "no memory for a fingerprint");
    return s;
}

status recipe_fingerprint(const yaml_node *root, uint64_t *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char         *text;
    size_t        length;
    status        s = meaning_text(root, &text, &length);

    if (s == STATUS_OK && !EVP_Digest(text, length, digest, NULL, EVP_sha256(), NULL))
        s = fail(STATUS_UNSUPPORTED, "libcrypto has no SHA-256");
    free(text);
    TRY(s);
    *out = 0;
    for (int i = 0; i < 8; i++)
        *out = *out << 8 | digest[i];
    return STATUS_OK;
}

/* ---- difference --------------------------------------------------------------------------------- */

typedef struct meant {
    const char *path, *text;
    int         path_length, length;
} meant;

/* The next "path=bytes:text" line; false at the end. */
static bool next_meant(const char **at, meant *x)
{
    char *colon;

    if (!*at || !**at)
        return false;
    x->path = *at + 1; /* behind the dot in front */
    x->path_length = (int)strcspn(x->path, "=");
    x->length = (int)strtoll(x->path + x->path_length + 1, &colon, 10);
    x->text = colon + 1;
    *at = x->text + x->length + 1;
    return true;
}

static bool same_path(const meant *x, const meant *y)
{
    return x->path_length == y->path_length && memcmp(x->path, y->path, (size_t)x->path_length) == 0;
}

static bool find_meant(const char *in, const meant *x, meant *found)
{
    while (next_meant(&in, found))
        if (same_path(found, x))
            return true;
    return false;
}

static status describe(arena *a, const char *was, const char *now, char **text)
{
    meant       x, other;
    const char *at = now;

    while (next_meant(&at, &x)) {
        if (!find_meant(was, &x, &other))
            *text = arena_printf(a, "%.*s is '%.*s', was not there", x.path_length, x.path, x.length,
                                 x.text);
        else if (other.length != x.length || memcmp(other.text, x.text, (size_t)x.length) != 0)
            *text = arena_printf(a, "%.*s is '%.*s', was '%.*s'", x.path_length, x.path, x.length,
                                 x.text, other.length, other.text);
        else
            continue;
        return *text ? STATUS_OK : STATUS_MEMORY;
    }
    for (at = was; next_meant(&at, &x);)
        if (!find_meant(now, &x, &other)) {
            *text = arena_printf(a, "%.*s is not there, was '%.*s'", x.path_length, x.path, x.length,
                                 x.text);
            return *text ? STATUS_OK : STATUS_MEMORY;
        }
    return STATUS_OK;
}

status recipe_difference(arena *a, const recipe *was, const recipe *now, char **text)
{
    char  *x, *y = NULL;
    size_t n;
    status s = meaning_text(was->tree, &x, &n);

    *text = NULL;
    if (s == STATUS_OK)
        s = meaning_text(now->tree, &y, &n);
    if (s == STATUS_OK)
        s = describe(a, x, y, text);
    free(x);
    free(y);
    return s;
}
