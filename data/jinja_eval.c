/* jinja_eval: expressions. A name or item that is not there is undefined: false, empty as text, but
 * nothing can be taken from it or done with it. */
#include "data/jinja.h"

#include <math.h>
#include <string.h>

static status undefined(const jinja *j, const jvalue *v)
{
    if (v->n == 0)
        return jinja_fail(j, "an item that is not there is used");
    return jinja_fail(j, "\"%.*s\" is undefined", v->n < 80 ? (int)v->n : 80, v->text);
}

static void lookup(const jinja *j, const jnode *node, jvalue *out)
{
    static const char *const functions[] = {"range", "namespace", "dict", "raise_exception"};

    for (const jscope *s = j->scope; s; s = s->outer)
        for (size_t i = s->n; i-- > 0;)
            if (s->v[i].n == node->n && memcmp(s->v[i].name, node->text, node->n) == 0) {
                *out = s->v[i].value;
                return;
            }
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        if (strlen(functions[i]) == node->n && memcmp(functions[i], node->text, node->n) == 0) {
            *out = (jvalue){.kind = JV_FUNCTION, .text = functions[i], .n = node->n};
            return;
        }
    *out = (jvalue){.kind = JV_UNDEFINED, .text = node->text, .n = node->n};
}

/* Character number `place` of a text that has it. */
static jvalue character(const jvalue *text, size_t place)
{
    size_t at = 0, end;

    for (;; place--) {
        end = at + 1;
        while (end < text->n && ((uint8_t)text->text[end] & 0xC0) == 0x80)
            end++;
        if (place == 0)
            return jvalue_string(text->text + at, end - at);
        at = end;
    }
}

/* base[key], or undefined */
static status get_item(jinja *j, const jvalue *base, const jvalue *key, jvalue *out)
{
    const jvalue *found = NULL;
    size_t n;

    *out = (jvalue){.kind = JV_UNDEFINED};
    if (key->kind == JV_STRING) {
        out->text = key->text;
        out->n = key->n;
    }
    if (base->kind == JV_UNDEFINED)
        return undefined(j, base);
    if (base->kind == JV_DICT || base->kind == JV_NAMESPACE) {
        TRY(jvalue_find(j, base, key, &found));
        if (found)
            *out = *found;
        return STATUS_OK;
    }
    if (key->kind != JV_INT || (base->kind != JV_LIST && base->kind != JV_STRING))
        return STATUS_OK;
    TRY(jvalue_length(j, base, &n));
    const int64_t place = key->i < 0 ? key->i + (int64_t)n : key->i;
    if (place >= 0 && place < (int64_t)n)
        *out = base->kind == JV_LIST ? base->list->v[place] : character(base, (size_t)place);
    return STATUS_OK;
}

static status eval_slice(jinja *j, const jnode *node, jvalue *out)
{
    const jnode *parts[3] = {node->b, node->c, node->d};
    int64_t at[3] = {0, 0, 1};
    bool given[3] = {false};
    jvalue base, items, v;

    TRY(jinja_eval(j, node->a, &base));
    for (int i = 0; i < 3; i++) {
        if (!parts[i])
            continue;
        TRY(jinja_eval(j, parts[i], &v));
        if (v.kind != JV_INT && v.kind != JV_NONE)
            return jinja_fail(j, "a slice needs whole numbers, there is %s", jvalue_kind(&v));
        given[i] = v.kind == JV_INT;
        at[i] = given[i] ? v.i : at[i];
    }
    if (base.kind == JV_UNDEFINED)
        return undefined(j, &base);
    if (base.kind != JV_LIST && base.kind != JV_STRING)
        return jinja_fail(j, "%s has no slices", jvalue_kind(&base));
    if (at[2] == 0)
        return jinja_fail(j, "the step of a slice is 0");
    TRY(jvalue_items(j, &base, &items));
    const int64_t n = (int64_t)items.list->n, step = at[2];
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
    int64_t ends[2];
    for (int i = 0; i < 2; i++) {
        const int64_t place = at[i] < -n ? -n - 1 : at[i] > n ? n : at[i];
        const int64_t whole = place < 0 ? place + n : place;
        ends[i] = !given[i]      ? ((i == 0) == (step > 0) ? low : high)
                  : whole < low  ? low
                  : whole > high ? high
                                 : whole;
    }
    jvalue list;
    TRY(jvalue_list(j, 4, &list));
    for (int64_t i = ends[0]; step > 0 ? i < ends[1] : i > ends[1];) {
        TRY(jvalue_append(j, &list, items.list->v[i]));
        TRY(jinja_step(j, 0));
        if (step > n || step < -n)
            break;
        i += step;
    }
    *out = list;
    if (base.kind == JV_LIST)
        return STATUS_OK;
    char *text = jinja_take(j, base.n + 1);
    size_t to = 0;
    if (!text)
        return STATUS_MEMORY;
    for (size_t i = 0; i < list.list->n; i++) {
        memcpy(text + to, list.list->v[i].text, list.list->v[i].n);
        to += list.list->v[i].n;
    }
    *out = jvalue_string(text, to);
    return STATUS_OK;
}

/* ---- operators ---- */

static status joined(jinja *j, const jvalue *a, const jvalue *b, jvalue *out)
{
    char *text = jinja_take(j, a->n + b->n + 1);

    if (!text)
        return STATUS_MEMORY;
    if (a->n)
        memcpy(text, a->text, a->n);
    if (b->n)
        memcpy(text + a->n, b->text, b->n);
    *out = jvalue_string(text, a->n + b->n);
    return jinja_step(j, a->n + b->n);
}

static status repeated(jinja *j, const jvalue *what, int64_t times, jvalue *out)
{
    const size_t unit = what->kind == JV_STRING ? what->n : what->list->n;
    size_t n;

    times = times < 0 ? 0 : times;
    if (MUL_OVERFLOWS(unit, (size_t)times, &n) || n > JINJA_OUTPUT_MAX)
        return jinja_fail(j, "repeating makes more than %d bytes or items", JINJA_OUTPUT_MAX);
    TRY(jinja_step(j, n));
    if (what->kind == JV_LIST) {
        TRY(jvalue_list(j, n, out));
        for (size_t i = 0; i < n; i++)
            TRY(jvalue_append(j, out, what->list->v[i % unit]));
        return STATUS_OK;
    }
    char *text = jinja_take(j, n + 1);
    if (!text)
        return STATUS_MEMORY;
    for (size_t i = 0; i < n; i += unit)
        memcpy(text + i, what->text, unit);
    *out = jvalue_string(text, n);
    return STATUS_OK;
}

static status integers(jinja *j, joperator op, int64_t a, int64_t b, jvalue *out)
{
    int64_t r = 0;
    bool over = false;

    switch (op) {
    case JO_ADD:
        over = ADD_OVERFLOWS(a, b, &r);
        break;
    case JO_SUBTRACT:
        over = __builtin_sub_overflow(a, b, &r);
        break;
    case JO_MULTIPLY:
        over = MUL_OVERFLOWS(a, b, &r);
        break;
    case JO_FLOOR:
    case JO_MODULO:
        if (b == 0)
            return jinja_fail(j, "division by zero");
        if (b == -1) { /* INT64_MIN / -1 does not fit */
            over = op == JO_FLOOR && __builtin_sub_overflow((int64_t)0, a, &r);
            break;
        }
        r = a % b;
        if (op == JO_FLOOR)
            r = a / b - (r != 0 && (r < 0) != (b < 0));
        else
            r += r != 0 && (r < 0) != (b < 0) ? b : 0;
        break;
    default: /* JO_POWER, b >= 0 */
        r = 1;
        for (; b > 0 && !over; b--) {
            if (a == 0 || a == 1) {
                r = a;
                break;
            }
            if (a == -1) {
                r = b % 2 ? -r : r;
                break;
            }
            over = MUL_OVERFLOWS(r, a, &r);
        }
    }
    if (over)
        return jinja_fail(j, "a whole number does not fit 64 bits");
    *out = jvalue_int(r);
    return STATUS_OK;
}

static bool as_number(const jvalue *v, double *f, int64_t *i)
{
    *i = v->kind == JV_BOOL ? v->b : v->kind == JV_INT ? v->i : 0;
    *f = v->kind == JV_FLOAT ? v->f : (double)*i;
    return v->kind == JV_BOOL || v->kind == JV_INT || v->kind == JV_FLOAT;
}

static status numbers(jinja *j, joperator op, const jvalue *a, const jvalue *b, jvalue *out)
{
    double x, y, r = 0;
    int64_t m, n;

    as_number(a, &x, &m);
    as_number(b, &y, &n);
    const bool whole = a->kind != JV_FLOAT && b->kind != JV_FLOAT;
    if (whole && op != JO_DIVIDE && !(op == JO_POWER && n < 0))
        return integers(j, op, m, n, out);
    if (y == 0 && (op == JO_DIVIDE || op == JO_FLOOR || op == JO_MODULO))
        return jinja_fail(j, "division by zero");
    switch (op) {
    case JO_ADD:
        r = x + y;
        break;
    case JO_SUBTRACT:
        r = x - y;
        break;
    case JO_MULTIPLY:
        r = x * y;
        break;
    case JO_DIVIDE:
        r = x / y;
        break;
    case JO_FLOOR:
        r = floor(x / y);
        break;
    case JO_MODULO:
        r = fmod(x, y);
        r += r != 0 && (r < 0) != (y < 0) ? y : 0;
        break;
    default:
        r = pow(x, y);
    }
    *out = (jvalue){.kind = JV_FLOAT, .f = r};
    return STATUS_OK;
}

status jinja_binary(jinja *j, joperator op, const jvalue *a, const jvalue *b, jvalue *out)
{
    double f;
    int64_t i;

    if (op == JO_CONCAT) {
        jvalue x, y;
        TRY(jvalue_text(j, a, &x));
        TRY(jvalue_text(j, b, &y));
        return joined(j, &x, &y, out);
    }
    if (a->kind == JV_UNDEFINED)
        return undefined(j, a);
    if (b->kind == JV_UNDEFINED)
        return undefined(j, b);
    if (as_number(a, &f, &i) && as_number(b, &f, &i))
        return numbers(j, op, a, b, out);
    if (op == JO_ADD && a->kind == JV_STRING && b->kind == JV_STRING)
        return joined(j, a, b, out);
    if (op == JO_ADD && a->kind == JV_LIST && b->kind == JV_LIST) {
        TRY(jvalue_list(j, a->list->n + b->list->n, out));
        for (size_t k = 0; k < a->list->n; k++)
            TRY(jvalue_append(j, out, a->list->v[k]));
        for (size_t k = 0; k < b->list->n; k++)
            TRY(jvalue_append(j, out, b->list->v[k]));
        return jinja_step(j, 16 * out->list->n);
    }
    if (op == JO_MULTIPLY && (a->kind == JV_STRING || a->kind == JV_LIST) && b->kind == JV_INT)
        return repeated(j, a, b->i, out);
    if (op == JO_MULTIPLY && (b->kind == JV_STRING || b->kind == JV_LIST) && a->kind == JV_INT)
        return repeated(j, b, a->i, out);
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "**"};
    return jinja_fail(j, "%s %s %s is not defined", jvalue_kind(a), signs[op], jvalue_kind(b));
}

static status contains(jinja *j, const jvalue *item, const jvalue *all, bool *out)
{
    const jvalue *found;

    *out = false;
    switch (all->kind) {
    case JV_STRING:
        if (item->kind != JV_STRING)
            return jinja_fail(j, "%s is looked for in text", jvalue_kind(item));
        *out = item->n == 0 || memmem(all->text, all->n, item->text, item->n) != NULL;
        return jinja_step(j, all->n);
    case JV_LIST:
        for (size_t i = 0; i < all->list->n && !*out; i++) {
            TRY(jinja_step(j, 0));
            TRY(jvalue_equal(j, item, &all->list->v[i], 0, out));
        }
        return STATUS_OK;
    case JV_DICT:
        TRY(jvalue_find(j, all, item, &found));
        *out = found != NULL;
        return STATUS_OK;
    case JV_UNDEFINED:
        return STATUS_OK;
    default:
        return jinja_fail(j, "nothing can be in %s", jvalue_kind(all));
    }
}

status jinja_compare(jinja *j, joperator op, const jvalue *a, const jvalue *b, bool *out)
{
    switch (op) {
    case JO_EQUAL:
        return jvalue_equal(j, a, b, 0, out);
    case JO_UNEQUAL:
        TRY(jvalue_equal(j, a, b, 0, out));
        *out = !*out;
        return STATUS_OK;
    case JO_IN:
        return contains(j, a, b, out);
    case JO_NOT_IN:
        TRY(contains(j, a, b, out));
        *out = !*out;
        return STATUS_OK;
    case JO_LESS:
        return jvalue_less(j, a, b, out);
    case JO_GREATER:
        return jvalue_less(j, b, a, out);
    default: { /* <=, >= */
        bool same;
        TRY(op == JO_LESS_EQUAL ? jvalue_less(j, a, b, out) : jvalue_less(j, b, a, out));
        TRY(jvalue_equal(j, a, b, 0, &same));
        *out = *out || same;
        return STATUS_OK;
    }
    }
}

static status eval_chain(jinja *j, const jnode *node, jvalue *out)
{
    jvalue left, right;
    bool holds = true;

    TRY(jinja_eval(j, node->a, &left));
    for (const jnode *pair = node->list; pair && holds; pair = pair->next) {
        TRY(jinja_eval(j, pair->b, &right));
        TRY(jinja_compare(j, (joperator)pair->op, &left, &right, &holds));
        left = right;
    }
    *out = jvalue_bool(holds);
    return STATUS_OK;
}

/* ---- calls ---- */

static status eval_arguments(jinja *j, const jnode *list, jargs *args)
{
    args->n = args->n_named = 0;
    for (const jnode *pair = list; pair; pair = pair->next) {
        jvalue v;
        TRY(jinja_eval(j, pair->b, &v));
        if (pair->text && args->n_named < (int)COUNT_OF(args->named)) {
            args->named[args->n_named].name = pair->text;
            args->named[args->n_named].n = pair->n;
            args->named[args->n_named++].value = v;
        } else if (!pair->text && args->n < (int)COUNT_OF(args->v)) {
            if (args->n_named)
                return jinja_fail(j, "an argument by place follows one by name");
            args->v[args->n++] = v;
        } else
            return jinja_fail(j, "too many arguments: at most %d by place, %d by name",
                              (int)COUNT_OF(args->v), (int)COUNT_OF(args->named));
    }
    return STATUS_OK;
}

static status eval_call(jinja *j, const jnode *node, jvalue *out)
{
    jargs args;
    jvalue f, base;

    f = (jvalue){.kind = JV_UNDEFINED, .text = node->a->text, .n = node->a->n};
    if (node->a->kind ==
        JN_ATTRIBUTE) { /* a method, unless the base holds something of that name */
        const jvalue key = jvalue_string(node->a->text, node->a->n);
        TRY(jinja_eval(j, node->a->a, &base));
        if (base.kind == JV_UNDEFINED)
            return undefined(j, &base);
        TRY(get_item(j, &base, &key, &f));
    } else
        TRY(jinja_eval(j, node->a, &f));
    TRY(eval_arguments(j, node->list, &args));
    j->line = node->line;
    j->column = node->column;
    if (f.kind == JV_MACRO)
        return jinja_call_macro(j, f.macro, &args, out);
    if (f.kind == JV_FUNCTION)
        return jinja_function(j, &f, &args, out);
    if (node->a->kind == JN_ATTRIBUTE)
        return jinja_method(j, &base, node->a->text, node->a->n, &args, out);
    return f.kind == JV_UNDEFINED ? undefined(j, &f)
                                  : jinja_fail(j, "%s cannot be called", jvalue_kind(&f));
}

/* Filter or test. */
static status eval_apply(jinja *j, const jnode *node, jvalue *out)
{
    jvalue self;
    jargs args;

    TRY(jinja_eval(j, node->a, &self));
    TRY(eval_arguments(j, node->list, &args));
    j->line = node->line;
    j->column = node->column;
    TRY(jinja_apply(j, node->function, node->kind == JN_FILTER ? "filter" : "test", &self, &args,
                    out));
    if (node->kind == JN_TEST && node->op)
        out->b = !out->b;
    return STATUS_OK;
}

static status eval_items(jinja *j, const jnode *node, jvalue *out)
{
    jvalue key, v;

    TRY(node->kind == JN_LIST ? jvalue_list(j, 4, out) : jvalue_dict(j, 4, out));
    if (node->kind == JN_LIST)
        out->list->tuple = node->op;
    for (const jnode *item = node->list; item; item = item->next) {
        if (node->kind == JN_LIST) {
            TRY(jinja_eval(j, item, &v));
            TRY(jvalue_append(j, out, v));
            continue;
        }
        TRY(jinja_eval(j, item->a, &key));
        TRY(jinja_eval(j, item->b, &v));
        TRY(jvalue_put(j, out, key, v));
    }
    return STATUS_OK;
}

static status eval_node(jinja *j, const jnode *node, jvalue *out)
{
    jvalue a, b;

    switch ((jnode_kind)node->kind) {
    case JN_LITERAL:
        *out = node->value;
        return STATUS_OK;
    case JN_NAME:
        lookup(j, node, out);
        return STATUS_OK;
    case JN_LIST:
    case JN_DICT:
        return eval_items(j, node, out);
    case JN_NOT:
        TRY(jinja_eval(j, node->a, &a));
        *out = jvalue_bool(!jvalue_true(&a));
        return STATUS_OK;
    case JN_NEGATE:
        b = jvalue_int(0);
        TRY(jinja_eval(j, node->a, &a));
        return jinja_binary(j, JO_SUBTRACT, &b, &a, out);
    case JN_AND:
    case JN_OR:
        TRY(jinja_eval(j, node->a, out));
        return jvalue_true(out) == (node->kind == JN_AND) ? jinja_eval(j, node->b, out) : STATUS_OK;
    case JN_BINARY:
        TRY(jinja_eval(j, node->a, &a));
        TRY(jinja_eval(j, node->b, &b));
        j->line = node->line;
        j->column = node->column;
        return jinja_binary(j, (joperator)node->op, &a, &b, out);
    case JN_COMPARE:
        return eval_chain(j, node, out);
    case JN_CHOOSE:
        TRY(jinja_eval(j, node->b, &b));
        if (jvalue_true(&b))
            return jinja_eval(j, node->a, out);
        *out = (jvalue){.kind = JV_UNDEFINED};
        return node->c ? jinja_eval(j, node->c, out) : STATUS_OK;
    case JN_ATTRIBUTE:
        TRY(jinja_eval(j, node->a, &a));
        b = jvalue_string(node->text, node->n);
        return get_item(j, &a, &b, out);
    case JN_INDEX:
        TRY(jinja_eval(j, node->a, &a));
        TRY(jinja_eval(j, node->b, &b));
        j->line = node->line;
        j->column = node->column;
        return get_item(j, &a, &b, out);
    case JN_SLICE:
        return eval_slice(j, node, out);
    case JN_CALL:
        return eval_call(j, node, out);
    case JN_FILTER:
    case JN_TEST:
        return eval_apply(j, node, out);
    default:
        CHECK(!"an expression");
        return STATUS_FORMAT;
    }
}

status jinja_eval(jinja *j, const jnode *node, jvalue *out)
{
    j->line = node->line;
    j->column = node->column;
    TRY(jinja_step(j, 0));
    if (++j->depth > JINJA_NESTED_MAX)
        return jinja_fail(j, "more than %d nested calls", JINJA_NESTED_MAX);
    TRY(eval_node(j, node, out));
    j->depth--;
    return STATUS_OK;
}
