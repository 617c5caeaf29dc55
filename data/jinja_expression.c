/* jinja_expression: expressions, by recursive descent. Precedence from weak to strong: a if b else
 * c, or, and, not, comparisons, + -, ~, * / // %, **, - as a sign, then calls, .name, [index],
 * filters and tests, which bind to what stands right before them. */
#include "data/jinja_parse.h"

#include <string.h>

static status parse_unary(jinja *j, bool filters, jnode **out);

/* Items up to the closing bracket, separated by commas; a dict's are key: value. */
static status parse_items(jinja *j, const char *close, bool pairs, jnode **list)
{
    jnode **tail = list;

    while (!jparse_take_op(j, close)) {
        jnode *item;
        if (pairs) {
            TRY_NODE(item, j, JN_PAIR);
            TRY(jparse_expression(j, &item->a));
            TRY(jparse_need_op(j, ":"));
            TRY(jparse_expression(j, &item->b));
        } else
            TRY(jparse_expression(j, &item));
        *tail = item;
        tail = &item->next;
        if (!jparse_is_op(j, close))
            TRY(jparse_need_op(j, ","));
    }
    return STATUS_OK;
}

/* Arguments behind "(": JN_PAIR nodes, with text for keywords. */
static status parse_arguments(jinja *j, jnode **list)
{
    jnode **tail = list;

    while (!jparse_take_op(j, ")")) {
        jnode *pair;
        TRY_NODE(pair, j, JN_PAIR);
        if (jparse_here(j)->kind == JT_NAME && jparse_is(jparse_ahead(j), JT_OPERATOR, "=")) {
            pair->text = jparse_here(j)->text;
            pair->n = jparse_here(j)->n;
            j->at += 2;
        }
        TRY(jparse_expression(j, &pair->b));
        *tail = pair;
        tail = &pair->next;
        if (!jparse_is_op(j, ")"))
            TRY(jparse_need_op(j, ","));
    }
    return STATUS_OK;
}

/* ( ) is a list, like a tuple; a value in brackets is itself. */
static status parse_brackets(jinja *j, jnode **out)
{
    jnode *list, *first;

    TRY_NODE(list, j, JN_LIST);
    list->op = true;
    if (jparse_take_op(j, ")")) {
        *out = list;
        return STATUS_OK;
    }
    TRY(jparse_expression(j, &first));
    if (jparse_take_op(j, ",")) {
        list->list = first;
        *out = list;
        return parse_items(j, ")", false, &first->next);
    }
    *out = first;
    return jparse_need_op(j, ")");
}

static bool word_value(const jtoken *t, jvalue *out)
{
    if (jparse_is(t, JT_NAME, "true") || jparse_is(t, JT_NAME, "True"))
        *out = jvalue_bool(true);
    else if (jparse_is(t, JT_NAME, "false") || jparse_is(t, JT_NAME, "False"))
        *out = jvalue_bool(false);
    else if (jparse_is(t, JT_NAME, "none") || jparse_is(t, JT_NAME, "None"))
        *out = (jvalue){.kind = JV_NONE};
    else
        return false;
    return true;
}

/* "a" "b" is "ab". */
static status parse_string(jinja *j, jnode *literal)
{
    size_t n = 0, from = j->at;

    for (; jparse_here(j)->kind == JT_STRING; j->at++)
        n += jparse_here(j)->n;
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
    const jtoken *t = jparse_here(j);

    if (jparse_take_op(j, "("))
        return parse_brackets(j, out);
    TRY_NODE(*out, j, JN_LITERAL);
    if (jparse_take_op(j, "[")) {
        (*out)->kind = JN_LIST;
        return parse_items(j, "]", false, &(*out)->list);
    }
    if (jparse_take_op(j, "{")) {
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
        return jparse_expected(j, "a value");
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
        if (!jparse_is_op(j, ":") && !jparse_is_op(j, "]"))
            TRY(jparse_expression(j, parts[i]));
        if (i == 2 || !jparse_take_op(j, ":"))
            break;
        n->kind = JN_SLICE;
    }
    if (n->kind == JN_INDEX && !n->b)
        return jparse_expected(j, "an index");
    *out = n;
    return jparse_need_op(j, "]");
}

/* .name, [index], (arguments) */
static status parse_postfix(jinja *j, jnode **n)
{
    for (int i = 0;; i++) {
        jnode *outer = NULL;
        if (i > JINJA_DEPTH_MAX)
            return jparse_expected(j, "less of .name, [index] and (arguments)");
        if (jparse_is_op(j, ".")) {
            TRY_NODE(outer, j, JN_ATTRIBUTE);
            j->at++;
            outer->a = *n;
            outer->text = jparse_here(j)->text;
            outer->n = jparse_here(j)->n;
            TRY(jparse_need_kind(j, JT_NAME, "a name"));
        } else if (jparse_take_op(j, "["))
            TRY(parse_index(j, *n, &outer));
        else if (jparse_is_op(j, "(")) {
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
    test->op = jparse_take_word(j, "not");
    const jtoken *name = jparse_here(j);
    TRY(jparse_need_kind(j, JT_NAME, "a test"));
    test->text = name->text;
    test->n = name->n;
    test->function = jinja_find_test(name->text, name->n);
    if (!test->function) {
        j->at--;
        jparse_mark(j);
        return jinja_fail(j, "there is no test \"%.*s\"", (int)name->n, name->text);
    }
    const jtoken *t = jparse_here(j);
    *out = test;
    if (jparse_take_op(j, "("))
        return parse_arguments(j, &test->list);
    const bool word = t->kind == JT_NAME && !jparse_is_word(j, "else") &&
                      !jparse_is_word(j, "or") && !jparse_is_word(j, "and") &&
                      !jparse_is_word(j, "if") && !jparse_is_word(j, "is") &&
                      !jparse_is_word(j, "in") && !jparse_is_word(j, "not");
    if (word || t->kind == JT_STRING || t->kind == JT_INT || t->kind == JT_FLOAT ||
        jparse_is_op(j, "[") || jparse_is_op(j, "{")) {
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
            return jparse_expected(j, "less of filters and tests");
        if (jparse_take_op(j, "|")) {
            TRY_NODE(outer, j, JN_FILTER);
            outer->a = *n;
            outer->text = jparse_here(j)->text;
            outer->n = jparse_here(j)->n;
            TRY(jparse_need_kind(j, JT_NAME, "a filter"));
            outer->function = jinja_find_filter(outer->text, outer->n);
            if (!outer->function) {
                j->at--;
                jparse_mark(j);
                return jinja_fail(j, "there is no filter \"%.*s\"", (int)outer->n, outer->text);
            }
            if (jparse_take_op(j, "("))
                TRY(parse_arguments(j, &outer->list));
        } else if (jparse_take_word(j, "is"))
            TRY(parse_test(j, *n, &outer));
        else
            return STATUS_OK;
        *n = outer;
    }
}

static status parse_unary(jinja *j, bool filters, jnode **out)
{
    TRY(jparse_enter(j));
    if (jparse_is_op(j, "-") || jparse_is_op(j, "+")) {
        const bool minus = jparse_is_op(j, "-");
        jnode *n;
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
    joperator op;
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
        while (w->text && !jparse_is_op(j, w->text))
            w++;
        if (!w->text)
            return STATUS_OK;
        if (++depth > 16 * JINJA_DEPTH_MAX)
            return jparse_expected(j, "fewer operators in a row");
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
    static const operator_word words[] = {{"==", JO_EQUAL},      {"!=", JO_UNEQUAL},
                                          {"<=", JO_LESS_EQUAL}, {">=", JO_GREATER_EQUAL},
                                          {"<", JO_LESS},        {">", JO_GREATER}};

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (jparse_take_op(j, words[i].text)) {
            *op = words[i].op;
            return true;
        }
    if (jparse_take_word(j, "in")) {
        *op = JO_IN;
        return true;
    }
    if (jparse_is_word(j, "not") && jparse_is(jparse_ahead(j), JT_NAME, "in")) {
        j->at += 2;
        *op = JO_NOT_IN;
        return true;
    }
    return false;
}

static status parse_compare(jinja *j, jnode **out)
{
    jnode *chain, **tail;
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
    if (!jparse_is_word(j, "not"))
        return parse_compare(j, out);
    TRY_NODE(*out, j, JN_NOT);
    j->at++;
    TRY(jparse_enter(j));
    TRY(parse_not(j, &(*out)->a));
    j->depth--;
    return STATUS_OK;
}

/* or (level 0), and (level 1) */
status jparse_logic(jinja *j, int level, jnode **out)
{
    if (level == 2)
        return parse_not(j, out);
    TRY(jparse_logic(j, level + 1, out));
    for (int depth = 0; jparse_is_word(j, level ? "and" : "or");) {
        jnode *n;
        if (++depth > 16 * JINJA_DEPTH_MAX)
            return jparse_expected(j, "fewer operators in a row");
        TRY_NODE(n, j, level ? JN_AND : JN_OR);
        j->at++;
        n->a = *out;
        TRY(jparse_logic(j, level + 1, &n->b));
        *out = n;
    }
    return STATUS_OK;
}

/* a if b else c; without else the value is undefined. */
status jparse_expression(jinja *j, jnode **out)
{
    TRY(jparse_enter(j));
    TRY(jparse_logic(j, 0, out));
    for (int depth = 0; jparse_is_word(j, "if"); depth++) {
        jnode *n;
        if (depth > JINJA_DEPTH_MAX)
            return jparse_expected(j, "fewer conditions in a row");
        TRY_NODE(n, j, JN_CHOOSE);
        j->at++;
        n->a = *out;
        TRY(jparse_logic(j, 0, &n->b));
        if (jparse_take_word(j, "else"))
            TRY(jparse_expression(j, &n->c));
        *out = n;
    }
    j->depth--;
    return STATUS_OK;
}
