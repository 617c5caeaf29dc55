/* yaml_write: a tree as block YAML, with the origin of every value behind it */
#include "core/utf8.h"
#include "recipes/yaml.h"

#include <ctype.h>
#include <string.h>

/* True when the text may stand without quotes, in a block or in [a, b]. */
static bool is_plain(const char *text)
{
    if (!isalnum((unsigned char)text[0]) && text[0] != '.' && text[0] != '_' && text[0] != '/' &&
        !((text[0] == '-' || text[0] == '+') && isdigit((unsigned char)text[1])))
        return false;
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_./+-*", *p) &&
            !(*p == ':' && isalnum((unsigned char)p[1])))
            return false;
    return strcmp(text, "...") != 0;
}

static void write_quoted(FILE *out, const char *text)
{
    const size_t length = strlen(text);

    putc('"', out);
    for (size_t at = 0; at < length;) {
        uint32_t  code;
        const int bytes = utf8_next(text, length, at, &code);

        if (bytes == 0) /* cannot come from libyaml; a command line may hold anything */
            fprintf(out, "\\x%02X", (unsigned char)text[at]);
        else if (code == '"' || code == '\\')
            fprintf(out, "\\%c", (int)code);
        else if (code == '\n')
            fputs("\\n", out);
        else if (code == '\t')
            fputs("\\t", out);
        else if (code < 0x20 || (code >= 0x7F && code < 0xA0))
            fprintf(out, "\\x%02X", code);
        else if (code == 0x2028 || code == 0x2029 || code == 0xFEFF || (code & 0xFFFE) == 0xFFFE)
            fprintf(out, "\\U%08X", code);
        else
            fwrite(text + at, 1, (size_t)bytes, out);
        at += bytes ? (size_t)bytes : 1;
    }
    putc('"', out);
}

static void write_text(FILE *out, const yaml_node *n)
{
    if (yaml_is_null(n))
        fputs("null", out);
    else if (!n->quoted && is_plain(n->text))
        fputs(n->text, out);
    else
        write_quoted(out, n->text);
}

static void write_origin(FILE *out, const yaml_node *n, bool origins)
{
    if (origins && !n->file)
        fputs("  # default", out);
    else if (origins && n->line == 0)
        fprintf(out, "  # %s", n->file);
    else if (origins) {
        fputs("  # ", out);
        for (const char *p = n->file; *p; p++) /* a path may hold what would end the comment */
            putc((unsigned char)*p < 0x20 ? '?' : *p, out);
        fprintf(out, ":%d", n->line);
    }
    putc('\n', out);
}

static bool is_short_list(const yaml_node *n)
{
    if (n->kind != YAML_LIST)
        return false;
    for (int i = 0; i < n->n; i++)
        if (n->v[i].value->kind != YAML_TEXT)
            return false;
    return true;
}

static void write_value(FILE *out, const yaml_node *n, int indent, bool origins);

/* Entries of a block, each on its own line; the first one's indent is already there when `begun`. */
static void write_block(FILE *out, const yaml_node *n, int indent, bool begun, bool origins)
{
    for (int i = 0; i < n->n; i++) {
        const yaml_node *value = n->v[i].value;

        if (i || !begun)
            fprintf(out, "%*s", indent, "");
        if (n->kind == YAML_MAP) {
            write_text(out, n->v[i].key);
            putc(':', out);
            write_value(out, value, indent + 2, origins);
        } else if (value->kind == YAML_MAP && value->n) {
            fputs("- ", out);
            write_block(out, value, indent + 2, true, origins);
        } else {
            putc('-', out);
            write_value(out, value, indent + 2, origins);
        }
    }
}

/* What follows "key:" or "-". */
static void write_value(FILE *out, const yaml_node *n, int indent, bool origins)
{
    if (n->kind == YAML_TEXT || n->n == 0 || is_short_list(n)) {
        putc(' ', out);
        if (n->kind == YAML_TEXT)
            write_text(out, n);
        else if (n->kind == YAML_MAP)
            fputs("{}", out);
        else {
            putc('[', out);
            for (int i = 0; i < n->n; i++) {
                fputs(i ? ", " : "", out);
                write_text(out, n->v[i].value);
            }
            putc(']', out);
        }
        write_origin(out, n, origins);
    } else {
        putc('\n', out);
        write_block(out, n, indent, false, origins);
    }
}

void yaml_write(FILE *out, const yaml_node *root, bool origins)
{
    if (root->kind == YAML_TEXT || root->n == 0 || is_short_list(root))
        write_value(out, root, 0, origins);
    else
        write_block(out, root, 0, false, origins);
}
