/* jinja_parse: tokens into a tree: statements, and what their parsing shares with expressions */
#include "data/jinja_parse.h"

#include <stdio.h>
#include <string.h>

static status parse_body(jinja *j, jnode **out);

const jtoken *jparse_here(const jinja *j)
{
    return &j->tokens[j->at];
}

const jtoken *jparse_ahead(const jinja *j)
{
    return &j->tokens[j->at + (jparse_here(j)->kind != JT_END)];
}

void jparse_mark(jinja *j)
{
    j->line = jparse_here(j)->line;
    j->column = jparse_here(j)->column;
}

jnode *jparse_node(jinja *j, jnode_kind kind)
{
    jnode *n = jinja_take(j, sizeof *n);

    if (n)
        *n = (jnode){
            .kind = (uint8_t)kind, .line = jparse_here(j)->line, .column = jparse_here(j)->column};
    return n;
}

bool jparse_is(const jtoken *t, jtoken_kind kind, const char *text)
{
    return t->kind == kind && t->n == strlen(text) && memcmp(t->text, text, t->n) == 0;
}

bool jparse_is_op(const jinja *j, const char *text)
{
    return jparse_is(jparse_here(j), JT_OPERATOR, text);
}

bool jparse_is_word(const jinja *j, const char *text)
{
    return jparse_is(jparse_here(j), JT_NAME, text);
}

bool jparse_take_op(jinja *j, const char *text)
{
    const bool found = jparse_is_op(j, text);

    j->at += found;
    return found;
}

bool jparse_take_word(jinja *j, const char *text)
{
    const bool found = jparse_is_word(j, text);

    j->at += found;
    return found;
}

status jparse_expected(jinja *j, const char *what)
{
    const jtoken *t = jparse_here(j);

    jparse_mark(j);
    switch (t->kind) {
    case JT_END:
        return jinja_fail(j, "the template ends, %s must follow", what);
    case JT_NAME:
    case JT_OPERATOR:
        return jinja_fail(j, "\"%.*s\" is there, must be %s", t->n < 40 ? (int)t->n : 40, t->text,
                          what);
    default:
        return jinja_fail(j, "must be %s", what);
    }
}

status jparse_need_op(jinja *j, const char *text)
{
    return jparse_take_op(j, text) ? STATUS_OK : jparse_expected(j, text);
}

status jparse_need_word(jinja *j, const char *text)
{
    return jparse_take_word(j, text) ? STATUS_OK : jparse_expected(j, text);
}

status jparse_need_kind(jinja *j, jtoken_kind kind, const char *what)
{
    if (jparse_here(j)->kind != kind)
        return jparse_expected(j, what);
    j->at++;
    return STATUS_OK;
}

status jparse_enter(jinja *j)
{
    if (++j->depth > JINJA_DEPTH_MAX) {
        jparse_mark(j);
        return jinja_fail(j, "nested deeper than %d levels", JINJA_DEPTH_MAX);
    }
    return STATUS_OK;
}

/* ---- statements ---- */

static status end_tag(jinja *j)
{
    return jparse_need_kind(j, JT_TAG_END, "%}");
}

static bool at_tag(const jinja *j, const char *word)
{
    return jparse_here(j)->kind == JT_TAG_BEGIN && jparse_is(jparse_ahead(j), JT_NAME, word);
}

/* {% word %} */
static status need_tag(jinja *j, const char *word)
{
    char text[64];

    snprintf(text, sizeof text, "{%% %s %%}", word);
    if (!at_tag(j, word))
        return jparse_expected(j, text);
    j->at += 2;
    return end_tag(j);
}

/* A body, and the tag that ends it. */
static status parse_block(jinja *j, const char *end, jnode **out)
{
    TRY(end_tag(j));
    TRY(parse_body(j, out));
    return need_tag(j, end);
}

/* Targets of for and set: names, or a name's attribute (set only). */
static status parse_targets(jinja *j, bool attributes, jnode **list)
{
    const bool brackets = jparse_take_op(j, "(");

    for (jnode **tail = list;; tail = &(*tail)->next) {
        TRY_NODE(*tail, j, JN_NAME);
        (*tail)->text = jparse_here(j)->text;
        (*tail)->n = jparse_here(j)->n;
        TRY(jparse_need_kind(j, JT_NAME, "a name"));
        if (attributes && jparse_is_op(j, ".")) {
            jnode *attribute;
            TRY_NODE(attribute, j, JN_ATTRIBUTE);
            j->at++;
            attribute->a = *tail;
            attribute->text = jparse_here(j)->text;
            attribute->n = jparse_here(j)->n;
            TRY(jparse_need_kind(j, JT_NAME, "a name"));
            *tail = attribute;
        }
        if (!jparse_take_op(j, ","))
            break;
    }
    return brackets ? jparse_need_op(j, ")") : STATUS_OK;
}

/* "for" was read. */
static status parse_for(jinja *j, jnode *n)
{
    TRY(parse_targets(j, false, &n->list));
    TRY(jparse_need_word(j, "in"));
    TRY(jparse_logic(j, 0, &n->a)); /* "if" is the loop's here */
    if (jparse_take_word(j, "if"))
        TRY(jparse_expression(j, &n->d));
    TRY(end_tag(j));
    j->loops++;
    TRY(parse_body(j, &n->b));
    j->loops--;
    if (at_tag(j, "else")) {
        j->at += 2;
        TRY(end_tag(j));
        TRY(parse_body(j, &n->c));
    }
    return need_tag(j, "endfor");
}

/* "if" was read; an elif is an if in the else. */
static status parse_if(jinja *j, jnode *n)
{
    for (int i = 0;; i++) {
        if (i > 256)
            return jparse_expected(j, "fewer elif");
        TRY(jparse_expression(j, &n->a));
        TRY(end_tag(j));
        TRY(parse_body(j, &n->b));
        if (!at_tag(j, "elif"))
            break;
        j->at++;
        TRY_NODE(n->c, j, JN_IF);
        j->at++;
        n = n->c;
    }
    if (at_tag(j, "else")) {
        j->at += 2;
        TRY(end_tag(j));
        TRY(parse_body(j, &n->c));
    }
    return need_tag(j, "endif");
}

/* "set" was read: with a value, or a block up to endset. A value with commas is a tuple. */
static status parse_set(jinja *j, jnode *n)
{
    TRY(parse_targets(j, true, &n->list));
    if (!jparse_take_op(j, "="))
        return parse_block(j, "endset", &n->b);
    TRY(jparse_expression(j, &n->a));
    if (jparse_is_op(j, ",")) {
        jnode *tuple, **tail;
        TRY_NODE(tuple, j, JN_LIST);
        tuple->op = true;
        tuple->list = n->a;
        tail = &n->a->next;
        while (jparse_take_op(j, ",") && jparse_here(j)->kind != JT_TAG_END) {
            TRY(jparse_expression(j, tail));
            tail = &(*tail)->next;
        }
        n->a = tuple;
    }
    return end_tag(j);
}

/* "macro" was read. */
static status parse_macro(jinja *j, jnode *n)
{
    jnode **tail = &n->list;
    const int loops = j->loops;

    n->text = jparse_here(j)->text;
    n->n = jparse_here(j)->n;
    TRY(jparse_need_kind(j, JT_NAME, "a name"));
    TRY(jparse_need_op(j, "("));
    while (!jparse_take_op(j, ")")) {
        TRY_NODE(*tail, j, JN_NAME);
        (*tail)->text = jparse_here(j)->text;
        (*tail)->n = jparse_here(j)->n;
        TRY(jparse_need_kind(j, JT_NAME, "a name"));
        if (jparse_take_op(j, "="))
            TRY(jparse_expression(j, &(*tail)->a));
        tail = &(*tail)->next;
        if (!jparse_is_op(j, ")"))
            TRY(jparse_need_op(j, ","));
    }
    j->loops = 0;
    TRY(parse_block(j, "endmacro", &n->b));
    j->loops = loops;
    return STATUS_OK;
}

/* {% was read; the tag's node, or what it holds. */
static status parse_tag(jinja *j, jnode **out)
{
    TRY_NODE(*out, j, JN_TEXT);
    if (jparse_take_word(j, "if")) {
        (*out)->kind = JN_IF;
        return parse_if(j, *out);
    }
    if (jparse_take_word(j, "for")) {
        (*out)->kind = JN_FOR;
        return parse_for(j, *out);
    }
    if (jparse_take_word(j, "set")) {
        (*out)->kind = JN_SET;
        return parse_set(j, *out);
    }
    if (jparse_take_word(j, "macro")) {
        (*out)->kind = JN_MACRO;
        return parse_macro(j, *out);
    }
    if (jparse_take_word(j,
                         "generation")) { /* marks what the assistant says; found otherwise here */
        (*out)->kind = JN_IF;
        TRY_NODE((*out)->a, j, JN_LITERAL);
        (*out)->a->value = jvalue_bool(true);
        return parse_block(j, "endgeneration", &(*out)->b);
    }
    if (jparse_is_word(j, "break") || jparse_is_word(j, "continue")) {
        if (!j->loops)
            return jparse_expected(j, "inside a loop");
        (*out)->kind = jparse_is_word(j, "break") ? JN_BREAK : JN_CONTINUE;
        j->at++;
        return end_tag(j);
    }
    return jparse_expected(
        j, "if, for, set, macro, break, continue or generation, or the end of an open tag");
}

/* Statements up to a tag that is not one, which its opener must take. */
static status parse_body(jinja *j, jnode **out)
{
    static const char *const ends[] = {"elif",   "else",     "endif",        "endfor",
                                       "endset", "endmacro", "endgeneration"};

    TRY(jparse_enter(j));
    for (jnode **tail = out;; tail = &(*tail)->next) {
        const jtoken *t = jparse_here(j);
        bool end = t->kind == JT_END;
        for (size_t i = 0; i < COUNT_OF(ends); i++)
            end = end || at_tag(j, ends[i]);
        if (end)
            break;
        if (t->kind == JT_TAG_BEGIN) {
            j->at++;
            TRY(parse_tag(j, tail));
            continue;
        }
        TRY_NODE(*tail, j, t->kind == JT_TEXT ? JN_TEXT : JN_PRINT);
        (*tail)->text = t->text;
        (*tail)->n = t->n;
        j->at++;
        if (t->kind != JT_TEXT) {
            TRY(jparse_expression(j, &(*tail)->a));
            TRY(jparse_need_kind(j, JT_PRINT_END, "}}"));
        }
    }
    j->depth--;
    return STATUS_OK;
}

status jinja_parse(jinja *j)
{
    TRY(parse_body(j, &j->root));
    return jparse_here(j)->kind == JT_END ? STATUS_OK
                                          : jparse_expected(j, "a tag that is open here");
}
