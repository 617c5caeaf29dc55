/* jinja_parse: tokens into a tree, by recursive descent. Precedence from weak to strong: a if b else c,
 * or, and, not, comparisons, + -, ~, * / // %, **, - as a sign, then calls, .name, [index], filters and
 * tests, which bind to what stands right before them. */
#include "data/jinja.h"

#include <stdio.h>
#include <string.h>

static status parse_expression(jinja *j, jnode **out);
static status parse_body(jinja *j, jnode **out);
static status parse_unary(jinja *j, bool filters, jnode **out);

static const jtoken *here(const jinja *j)
{
    return &j->tokens[j->at];
}

static const jtoken *ahead(const jinja *j)
{
    return &j->tokens[j->at + (here(j)->kind != JT_END)];
}

static void mark(jinja *j)
{
    j->line = here(j)->line;
    j->column = here(j)->column;
}

static jnode *node(jinja *j, jnode_kind kind)
{
    jnode *n = jinja_take(j, sizeof *n);

    if (n)
        *n = (jnode){.kind = (uint8_t)kind, .line = here(j)->line, .column = here(j)->column};
    return n;
}

#define TRY_NODE(to, j, kind)                                                                      \
    do {                                                                                           \
        if (!((to) = node(j, kind)))                                                               \
            return STATUS_MEMORY;                                                                  \
    } while (0)

static bool is(const jtoken *t, jtoken_kind kind, const char *text)
{
    return t->kind == kind && t->n == strlen(text) && memcmp(t->text, text, t->n) == 0;
}

static bool is_op(const jinja *j, const char *text)
{
    return is(here(j), JT_OPERATOR, text);
}

static bool is_word(const jinja *j, const char *text)
{
    return is(here(j), JT_NAME, text);
}

static bool take_op(jinja *j, const char *text)
{
    const bool found = is_op(j, text);

    j->at += found;
    return found;
}

static bool take_word(jinja *j, const char *text)
{
    const bool found = is_word(j, text);

    j->at += found;
    return found;
}

static status expected(jinja *j, const char *what)
{
    const jtoken *t = here(j);

    mark(j);
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

static status need_op(jinja *j, const char *text)
{
    return take_op(j, text) ? STATUS_OK : expected(j, text);
}

static status need_word(jinja *j, const char *text)
{
    return take_word(j, text) ? STATUS_OK : expected(j, text);
}

static status need_kind(jinja *j, jtoken_kind kind, const char *what)
{
    if (here(j)->kind != kind)
        return expected(j, what);
    j->at++;
    return STATUS_OK;
}

static status enter(jinja *j)
{
    if (++j->depth > JINJA_DEPTH_MAX) {
        mark(j);
        return jinja_fail(j, "nested deeper than %d levels", JINJA_DEPTH_MAX);
    }
    return STATUS_OK;
}

/* ---- expressions ---- */

/* Items up to the closing bracket, separated by commas; a dict's are key: value. */
static status parse_items(jinja *j, const char *close, bool pairs, jnode **list)
{
    jnode **tail = list;

    while (!take_op(j, close)) {
        jnode *item;
        if (pairs) {
            TRY_NODE(item, j, JN_PAIR);
            TRY(parse_expression(j, &item->a));
            TRY(need_op(j, ":"));
            TRY(parse_expression(j, &item->b));
        } else
            TRY(parse_expression(j, &item));
        *tail = item;
        tail = &item->next;
        if (!is_op(j, close))
            TRY(need_op(j, ","));
    }
    return STATUS_OK;
}

/* Arguments behind "(": JN_PAIR nodes, with text for keywords. */
static status parse_arguments(jinja *j, jnode **list)
{
    jnode **tail = list;

    while (!take_op(j, ")")) {
        jnode *pair;
        TRY_NODE(pair, j, JN_PAIR);
        if (here(j)->kind == JT_NAME && is(ahead(j), JT_OPERATOR, "=")) {
            pair->text = here(j)->text;
            pair->n = here(j)->n;
            j->at += 2;
        }
        TRY(parse_expression(j, &pair->b));
        *tail = pair;
        tail = &pair->next;
        if (!is_op(j, ")"))
            TRY(need_op(j, ","));
    }
    return STATUS_OK;
}

/* ( ) is a list, like a tuple; a value in brackets is itself. */
static status parse_brackets(jinja *j, jnode **out)
{
    jnode *list, *first;

    TRY_NODE(list, j, JN_LIST);
    list->op = true;
    if (take_op(j, ")")) {
        *out = list;
        return STATUS_OK;
    }
    TRY(parse_expression(j, &first));
    if (take_op(j, ",")) {
        list->list = first;
        *out = list;
        return parse_items(j, ")", false, &first->next);
    }
    *out = first;
    return need_op(j, ")");
}

static bool word_value(const jtoken *t, jvalue *out)
{
    if (is(t, JT_NAME, "true") || is(t, JT_NAME, "True"))
        *out = jvalue_bool(true);
    else if (is(t, JT_NAME, "false") || is(t, JT_NAME, "False"))
        *out = jvalue_bool(false);
    else if (is(t, JT_NAME, "none") || is(t, JT_NAME, "None"))
        *out = (jvalue){.kind = JV_NONE};
    else
        return false;
    return true;
}

/* "a" "b" is "ab". */
static status parse_string(jinja *j, jnode *literal)
{
    size_t n = 0, from = j->at;

    for (; here(j)->kind == JT_STRING; j->at++)
        n += here(j)->n;
    char *text = jinja_take(j, n + 1);
    if (!text)
        return STATUS_MEMORY;
    n = 0;
    for (size_t i = from; i < j->at; i++) {
        memcpy(text + n, j->tokens[i].text, j->tokens[i].n);
        n += j->tokens[i].n;
    }
    literal->value = jvalue_string(text, n);
    return STATUS_OK;
}

static status parse_primary(jinja *j, jnode **out)
{
    const jtoken *t = here(j);

    if (take_op(j, "("))
        return parse_brackets(j, out);
    TRY_NODE(*out, j, JN_LITERAL);
    if (take_op(j, "[")) {
        (*out)->kind = JN_LIST;
        return parse_items(j, "]", false, &(*out)->list);
    }
    if (take_op(j, "{")) {
        (*out)->kind = JN_DICT;
        return parse_items(j, "}", true, &(*out)->list);
    }
    switch (t->kind) {
    case JT_STRING:
        return parse_string(j, *out);
    case JT_INT:
        (*out)->value = jvalue_int(t->i);
        break;
    case JT_FLOAT:
        (*out)->value = (jvalue){.kind = JV_FLOAT, .f = t->f};
        break;
    case JT_NAME:
        if (!word_value(t, &(*out)->value)) {
            (*out)->kind = JN_NAME;
            (*out)->text = t->text;
            (*out)->n = t->n;
        }
        break;
    default:
        return expected(j, "a value");
    }
    j->at++;
    return STATUS_OK;
}

/* [i] or [from:to:step] */
static status parse_index(jinja *j, jnode *base, jnode **out)
{
    jnode *n;
    jnode **parts[3];

    TRY_NODE(n, j, JN_INDEX);
    n->a = base;
    parts[0] = &n->b, parts[1] = &n->c, parts[2] = &n->d;
    for (int i = 0; i < 3; i++) {
        if (!is_op(j, ":") && !is_op(j, "]"))
            TRY(parse_expression(j, parts[i]));
        if (i == 2 || !take_op(j, ":"))
            break;
        n->kind = JN_SLICE;
    }
    if (n->kind == JN_INDEX && !n->b)
        return expected(j, "an index");
    *out = n;
    return need_op(j, "]");
}

/* .name, [index], (arguments) */
static status parse_postfix(jinja *j, jnode **n)
{
    for (int i = 0;; i++) {
        jnode *outer = NULL;
        if (i > JINJA_DEPTH_MAX)
            return expected(j, "less of .name, [index] and (arguments)");
        if (is_op(j, ".")) {
            TRY_NODE(outer, j, JN_ATTRIBUTE);
            j->at++;
            outer->a = *n;
            outer->text = here(j)->text;
            outer->n = here(j)->n;
            TRY(need_kind(j, JT_NAME, "a name"));
        } else if (take_op(j, "["))
            TRY(parse_index(j, *n, &outer));
        else if (is_op(j, "(")) {
            TRY_NODE(outer, j, JN_CALL);
            j->at++;
            outer->a = *n;
            TRY(parse_arguments(j, &outer->list));
        } else
            return STATUS_OK;
        *n = outer;
    }
}

/* "is" was read: a test with its arguments, in brackets or one without. */
static status parse_test(jinja *j, jnode *value, jnode **out)
{
    jnode *test;

    TRY_NODE(test, j, JN_TEST);
    test->a = value;
    test->op = take_word(j, "not");
    const jtoken *name = here(j);
    TRY(need_kind(j, JT_NAME, "a test"));
    test->text = name->text;
    test->n = name->n;
    test->function = jinja_find_test(name->text, name->n);
    if (!test->function) {
        j->at--;
        mark(j);
        return jinja_fail(j, "there is no test \"%.*s\"", (int)name->n, name->text);
    }
    const jtoken *t = here(j);
    *out = test;
    if (take_op(j, "("))
        return parse_arguments(j, &test->list);
    const bool word = t->kind == JT_NAME && !is_word(j, "else") && !is_word(j, "or") &&
                      !is_word(j, "and") && !is_word(j, "if") && !is_word(j, "is") &&
                      !is_word(j, "in") && !is_word(j, "not");
    if (word || t->kind == JT_STRING || t->kind == JT_INT || t->kind == JT_FLOAT ||
        is_op(j, "[") || is_op(j, "{")) {
        TRY_NODE(test->list, j, JN_PAIR);
        TRY(parse_primary(j, &test->list->b));
        return parse_postfix(j, &test->list->b);
    }
    return STATUS_OK;
}

static status parse_filters(jinja *j, jnode **n)
{
    for (int i = 0;; i++) {
        jnode *outer = NULL;
        if (i > JINJA_DEPTH_MAX)
            return expected(j, "less of filters and tests");
        if (take_op(j, "|")) {
            TRY_NODE(outer, j, JN_FILTER);
            outer->a = *n;
            outer->text = here(j)->text;
            outer->n = here(j)->n;
            TRY(need_kind(j, JT_NAME, "a filter"));
            outer->function = jinja_find_filter(outer->text, outer->n);
            if (!outer->function) {
                j->at--;
                mark(j);
                return jinja_fail(j, "there is no filter \"%.*s\"", (int)outer->n, outer->text);
            }
            if (take_op(j, "("))
                TRY(parse_arguments(j, &outer->list));
        } else if (take_word(j, "is"))
            TRY(parse_test(j, *n, &outer));
        else
            return STATUS_OK;
        *n = outer;
    }
}

static status parse_unary(jinja *j, bool filters, jnode **out)
{
    TRY(enter(j));
    if (is_op(j, "-") || is_op(j, "+")) {
        const bool minus = is_op(j, "-");
        jnode     *n;
        TRY_NODE(n, j, JN_NEGATE);
        j->at++;
        TRY(parse_unary(j, false, &n->a));
        *out = minus ? n : n->a;
    } else
        TRY(parse_primary(j, out));
    TRY(parse_postfix(j, out));
    j->depth--;
    return filters ? parse_filters(j, out) : STATUS_OK;
}

typedef struct operator_word {
    const char *text;
    joperator   op;
} operator_word;

/* Operators of one level, left to right; levels: 0 + -, 1 ~, 2 * / // %, 3 **. */
static status parse_level(jinja *j, int level, jnode **out)
{
    static const operator_word words[4][5] = {
        {{"+", JO_ADD}, {"-", JO_SUBTRACT}},
        {{"~", JO_CONCAT}},
        {{"*", JO_MULTIPLY}, {"//", JO_FLOOR}, {"/", JO_DIVIDE}, {"%", JO_MODULO}},
        {{"**", JO_POWER}}};

    if (level == 4)
        return parse_unary(j, true, out);
    TRY(parse_level(j, level + 1, out));
    for (int depth = 0;;) {
        const operator_word *w = words[level];
        while (w->text && !is_op(j, w->text))
            w++;
        if (!w->text)
            return STATUS_OK;
        if (++depth > 16 * JINJA_DEPTH_MAX)
            return expected(j, "fewer operators in a row");
        jnode *n;
        TRY_NODE(n, j, JN_BINARY);
        j->at++;
        n->op = (uint8_t)w->op;
        n->a = *out;
        TRY(parse_level(j, level + 1, &n->b));
        *out = n;
    }
}

static bool take_comparison(jinja *j, joperator *op)
{
    static const operator_word words[] = {{"==", JO_EQUAL},   {"!=", JO_UNEQUAL},
                                          {"<=", JO_LESS_EQUAL}, {">=", JO_GREATER_EQUAL},
                                          {"<", JO_LESS},     {">", JO_GREATER}};

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (take_op(j, words[i].text)) {
            *op = words[i].op;
            return true;
        }
    if (take_word(j, "in")) {
        *op = JO_IN;
        return true;
    }
    if (is_word(j, "not") && is(ahead(j), JT_NAME, "in")) {
        j->at += 2;
        *op = JO_NOT_IN;
        return true;
    }
    return false;
}

static status parse_compare(jinja *j, jnode **out)
{
    jnode   *chain, **tail;
    joperator op;

    TRY(parse_level(j, 0, out));
    const size_t at = j->at;
    if (!take_comparison(j, &op))
        return STATUS_OK;
    j->at = at;
    TRY_NODE(chain, j, JN_COMPARE);
    chain->a = *out;
    *out = chain;
    tail = &chain->list;
    while (take_comparison(j, &op)) {
        TRY_NODE(*tail, j, JN_PAIR);
        (*tail)->op = (uint8_t)op;
        TRY(parse_level(j, 0, &(*tail)->b));
        tail = &(*tail)->next;
    }
    return STATUS_OK;
}

static status parse_not(jinja *j, jnode **out)
{
    if (!is_word(j, "not"))
        return parse_compare(j, out);
    TRY_NODE(*out, j, JN_NOT);
    j->at++;
    TRY(enter(j));
    TRY(parse_not(j, &(*out)->a));
    j->depth--;
    return STATUS_OK;
}

/* or (level 0), and (level 1) */
static status parse_logic(jinja *j, int level, jnode **out)
{
    if (level == 2)
        return parse_not(j, out);
    TRY(parse_logic(j, level + 1, out));
    for (int depth = 0; is_word(j, level ? "and" : "or");) {
        jnode *n;
        if (++depth > 16 * JINJA_DEPTH_MAX)
            return expected(j, "fewer operators in a row");
        TRY_NODE(n, j, level ? JN_AND : JN_OR);
        j->at++;
        n->a = *out;
        TRY(parse_logic(j, level + 1, &n->b));
        *out = n;
    }
    return STATUS_OK;
}

/* a if b else c; without else the value is undefined. */
static status parse_expression(jinja *j, jnode **out)
{
    TRY(enter(j));
    TRY(parse_logic(j, 0, out));
    for (int depth = 0; is_word(j, "if"); depth++) {
        jnode *n;
        if (depth > JINJA_DEPTH_MAX)
            return expected(j, "fewer conditions in a row");
        TRY_NODE(n, j, JN_CHOOSE);
        j->at++;
        n->a = *out;
        TRY(parse_logic(j, 0, &n->b));
        if (take_word(j, "else"))
            TRY(parse_expression(j, &n->c));
        *out = n;
    }
    j->depth--;
    return STATUS_OK;
}

/* ---- statements ---- */

static status end_tag(jinja *j)
{
    return need_kind(j, JT_TAG_END, "%}");
}

static bool at_tag(const jinja *j, const char *word)
{
    return here(j)->kind == JT_TAG_BEGIN && is(ahead(j), JT_NAME, word);
}

/* {% word %} */
static status need_tag(jinja *j, const char *word)
{
    char text[64];

    snprintf(text, sizeof text, "{%% %s %%}", word);
    if (!at_tag(j, word))
        return expected(j, text);
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
    const bool brackets = take_op(j, "(");

    for (jnode **tail = list;; tail = &(*tail)->next) {
        TRY_NODE(*tail, j, JN_NAME);
        (*tail)->text = here(j)->text;
        (*tail)->n = here(j)->n;
        TRY(need_kind(j, JT_NAME, "a name"));
        if (attributes && is_op(j, ".")) {
            jnode *attribute;
            TRY_NODE(attribute, j, JN_ATTRIBUTE);
            j->at++;
            attribute->a = *tail;
            attribute->text = here(j)->text;
            attribute->n = here(j)->n;
            TRY(need_kind(j, JT_NAME, "a name"));
            *tail = attribute;
        }
        if (!take_op(j, ","))
            break;
    }
    return brackets ? need_op(j, ")") : STATUS_OK;
}

/* "for" was read. */
static status parse_for(jinja *j, jnode *n)
{
    TRY(parse_targets(j, false, &n->list));
    TRY(need_word(j, "in"));
    TRY(parse_logic(j, 0, &n->a)); /* "if" is the loop's here */
    if (take_word(j, "if"))
        TRY(parse_expression(j, &n->d));
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
            return expected(j, "fewer elif");
        TRY(parse_expression(j, &n->a));
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
    if (!take_op(j, "="))
        return parse_block(j, "endset", &n->b);
    TRY(parse_expression(j, &n->a));
    if (is_op(j, ",")) {
        jnode *tuple, **tail;
        TRY_NODE(tuple, j, JN_LIST);
        tuple->op = true;
        tuple->list = n->a;
        tail = &n->a->next;
        while (take_op(j, ",") && here(j)->kind != JT_TAG_END) {
            TRY(parse_expression(j, tail));
            tail = &(*tail)->next;
        }
        n->a = tuple;
    }
    return end_tag(j);
}

/* "macro" was read. */
static status parse_macro(jinja *j, jnode *n)
{
    jnode    **tail = &n->list;
    const int loops = j->loops;

    n->text = here(j)->text;
    n->n = here(j)->n;
    TRY(need_kind(j, JT_NAME, "a name"));
    TRY(need_op(j, "("));
    while (!take_op(j, ")")) {
        TRY_NODE(*tail, j, JN_NAME);
        (*tail)->text = here(j)->text;
        (*tail)->n = here(j)->n;
        TRY(need_kind(j, JT_NAME, "a name"));
        if (take_op(j, "="))
            TRY(parse_expression(j, &(*tail)->a));
        tail = &(*tail)->next;
        if (!is_op(j, ")"))
            TRY(need_op(j, ","));
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
    if (take_word(j, "if")) {
        (*out)->kind = JN_IF;
        return parse_if(j, *out);
    }
    if (take_word(j, "for")) {
        (*out)->kind = JN_FOR;
        return parse_for(j, *out);
    }
    if (take_word(j, "set")) {
        (*out)->kind = JN_SET;
        return parse_set(j, *out);
    }
    if (take_word(j, "macro")) {
        (*out)->kind = JN_MACRO;
        return parse_macro(j, *out);
    }
    if (take_word(j, "generation")) { /* marks what the assistant says; found otherwise here */
        (*out)->kind = JN_IF;
        TRY_NODE((*out)->a, j, JN_LITERAL);
        (*out)->a->value = jvalue_bool(true);
        return parse_block(j, "endgeneration", &(*out)->b);
    }
    if (is_word(j, "break") || is_word(j, "continue")) {
        if (!j->loops)
            return expected(j, "inside a loop");
        (*out)->kind = is_word(j, "break") ? JN_BREAK : JN_CONTINUE;
        j->at++;
        return end_tag(j);
    }
    return expected(j, "if, for, set, macro, break, continue or generation, or the end of an open tag");
}

/* Statements up to a tag that is not one, which its opener must take. */
static status parse_body(jinja *j, jnode **out)
{
    static const char *const ends[] = {"elif",   "else",     "endif",        "endfor",
                                       "endset", "endmacro", "endgeneration"};

    TRY(enter(j));
    for (jnode **tail = out;; tail = &(*tail)->next) {
        const jtoken *t = here(j);
        bool          end = t->kind == JT_END;
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
            TRY(parse_expression(j, &(*tail)->a));
            TRY(need_kind(j, JT_PRINT_END, "}}"));
        }
    }
    j->depth--;
    return STATUS_OK;
}

status jinja_parse(jinja *j)
{
    TRY(parse_body(j, &j->root));
    return here(j)->kind == JT_END ? STATUS_OK : expected(j, "a tag that is open here");
}
