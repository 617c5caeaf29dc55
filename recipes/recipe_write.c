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

static bool is_left_out(const char *path)
{
    static const char *const paths[] = {".name", ".out", ".train.eval_every", ".train.save_every",
                                        ".train.keep", ".train.threads"};

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(paths[i], path) == 0)
            return true;
    return false;
}

static int by_key(const void *a, const void *b)
{
    const yaml_entry *x = a, *y = b;

    return strcmp(x->key->text, y->key->text);
}

/* One line a value, "path=bytes:text", in an order that does not depend on the file's. */
static status write_meaning(FILE *f, const yaml_node *n, const char *path)
{
    char  *below = NULL;
    status s = STATUS_OK;

    if (is_left_out(path))
        return STATUS_OK;
    if (n->as_list) {
        yaml_node one = *n;
        one.as_list = false;
        if (asprintf(&below, "%s.0", path) < 0)
            return fail(STATUS_MEMORY, "no memory for a fingerprint");
        s = write_meaning(f, &one, below);
        free(below);
        return s;
    }
    if (n->kind == YAML_TEXT) {
        const char *text = n->meaning ? n->meaning : n->text;
        fprintf(f, "%s=%zu:%s\n", path, strlen(text), text);
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
        s = write_meaning(f, v[i].value, below);
        free(below);
    }
    free(v);
    return s;
}

status recipe_fingerprint(const yaml_node *root, uint64_t *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char         *text = NULL;
    size_t        length = 0;
    FILE         *f = open_memstream(&text, &length);

    if (!f)
        return fail(STATUS_MEMORY, "no memory for a fingerprint");
    status s = write_meaning(f, root, "");
    if (fclose(f) != 0 && s == STATUS_OK)
        s = fail(STATUS_MEMORY, "no memory for a fingerprint");
    if (s == STATUS_OK && !EVP_Digest(text, length, digest, NULL, EVP_sha256(), NULL))
        s = fail(STATUS_UNSUPPORTED, "libcrypto has no SHA-256");
    free(text);
    TRY(s);
    *out = 0;
    for (int i = 0; i < 8; i++)
        *out = *out << 8 | digest[i];
    return STATUS_OK;
}
