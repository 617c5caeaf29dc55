/* jinja_run: statements, scopes and output. A loop's body and a macro's body have scopes of their
 * own; what is set in them is gone behind them. A condition's body has none. */
#include "data/jinja.h"
#include "data/tokenizer_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

status jinja_fail(const jinja *j, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return fail(STATUS_FORMAT, "chat template:%u:%u: %s", j->line, j->column, text);
}

void *jinja_take(jinja *j, size_t n)
{
    enum { BLOCK = 1 << 16 };

    n = n > JINJA_MEMORY_MAX ? JINJA_MEMORY_MAX + 1 : (n + 15) & ~(size_t)15;
    const size_t wanted = n > BLOCK / 4 ? n : n > j->block_left ? BLOCK : 0;
    uint8_t *taken = wanted ? arena_take(&j->work, wanted, 1) : NULL;
    if (wanted && !taken) {
        jinja_fail(j, "needs more than %d bytes", JINJA_MEMORY_MAX);
        return NULL;
    }
    if (wanted == n)
        return taken;
    if (taken) {
        j->block = taken;
        j->block_left = BLOCK;
    }
    void *p = j->block;
    j->block += n;
    j->block_left -= n;
    return p;
}

status jinja_step(jinja *j, size_t bytes)
{
    j->steps += 1 + (int64_t)(bytes / 64);
    return j->steps > JINJA_STEPS_MAX
               ? jinja_fail(j, "runs too long: more than %d steps", JINJA_STEPS_MAX)
               : STATUS_OK;
}

status jinja_print(jinja *j, const char *text, size_t n)
{
    if (n > JINJA_OUTPUT_MAX - j->n_out)
        return jinja_fail(j, "writes more than %d bytes", JINJA_OUTPUT_MAX);
    TRY(grow(&j->out, &j->room_out, j->n_out + n, 1));
    if (n)
        memcpy(j->out + j->n_out, text, n);
    j->n_out += n;
    return jinja_step(j, n);
}

status jinja_bind(jinja *j, jscope *scope, const char *name, size_t n, jvalue value)
{
    for (size_t i = 0; i < scope->n; i++)
        if (scope->v[i].n == n && memcmp(scope->v[i].name, name, n) == 0) {
            scope->v[i].value = value;
            return STATUS_OK;
        }
    if (scope->n == scope->room) {
        const size_t room = scope->room ? 2 * scope->room : 8;
        jbinding *v = jinja_take(j, room * sizeof *v);
        if (!v)
            return STATUS_MEMORY;
        if (scope->n)
            memcpy(v, scope->v, scope->n * sizeof *v);
        scope->v = v;
        scope->room = room;
    }
    scope->v[scope->n++] = (jbinding){name, n, value};
    return STATUS_OK;
}

/* One target: a name, or an attribute of a namespace. */
static status assign_one(jinja *j, const jnode *target, jvalue value)
{
    jvalue base;

    if (target->kind == JN_NAME)
        return jinja_bind(j, j->scope, target->text, target->n, value);
    TRY(jinja_eval(j, target->a, &base));
    if (base.kind != JV_NAMESPACE)
        return jinja_fail(j, "attributes can be set on a namespace only, \"%.*s\" is %s",
                          (int)target->a->n, target->a->text, jvalue_kind(&base));
    return jvalue_put(j, &base, jvalue_string(target->text, target->n), value);
}

static status assign(jinja *j, const jnode *targets, jvalue value)
{
    jvalue items;
    size_t n = 0;

    if (!targets->next)
        return assign_one(j, targets, value);
    for (const jnode *t = targets; t; t = t->next)
        n++;
    TRY(jvalue_items(j, &value, &items));
    if (items.list->n != n)
        return jinja_fail(j, "%zu names are given %zu values", n, items.list->n);
    n = 0;
    for (const jnode *t = targets; t; t = t->next)
        TRY(assign_one(j, t, items.list->v[n++]));
    return STATUS_OK;
}

/* What `loop` is in iteration i. */
static status loop_value(jinja *j, const jlist *items, size_t i, jvalue *out)
{
    const jvalue none = {.kind = JV_UNDEFINED};
    const struct {
        const char *name;
        jvalue value;
    } parts[] = {{"index", jvalue_int((int64_t)i + 1)},
                 {"index0", jvalue_int((int64_t)i)},
                 {"revindex", jvalue_int((int64_t)(items->n - i))},
                 {"revindex0", jvalue_int((int64_t)(items->n - i) - 1)},
                 {"first", jvalue_bool(i == 0)},
                 {"last", jvalue_bool(i + 1 == items->n)},
                 {"length", jvalue_int((int64_t)items->n)},
                 {"previtem", i > 0 ? items->v[i - 1] : none},
                 {"nextitem", i + 1 < items->n ? items->v[i + 1] : none}};

    TRY(jvalue_dict(j, COUNT_OF(parts), out));
    for (size_t k = 0; k < COUNT_OF(parts); k++)
        out->dict->v[out->dict->n++] =
            (jpair){jvalue_string(parts[k].name, strlen(parts[k].name)), parts[k].value};
    return STATUS_OK;
}

/* The items for which the loop's own condition holds. */
static status chosen(jinja *j, const jnode *node, const jvalue *items, jvalue *out)
{
    jscope scope = {.outer = j->scope};

    TRY(jvalue_list(j, items->list->n, out));
    j->scope = &scope;
    for (size_t i = 0; i < items->list->n; i++) {
        jvalue holds;
        TRY(assign(j, node->list, items->list->v[i]));
        TRY(jinja_eval(j, node->d, &holds));
        if (jvalue_true(&holds))
            TRY(jvalue_append(j, out, items->list->v[i]));
    }
    j->scope = scope.outer;
    return STATUS_OK;
}

static status run_for(jinja *j, const jnode *node)
{
    jvalue over, items, loop;

    TRY(jinja_eval(j, node->a, &over));
    TRY(jvalue_items(j, &over, &items));
    if (node->d) {
        const jvalue all = items;
        TRY(chosen(j, node, &all, &items));
    }
    if (items.list->n == 0)
        return node->c ? jinja_run(j, node->c) : STATUS_OK;
    jscope scope = {.outer = j->scope};
    j->scope = &scope;
    for (size_t i = 0; i < items.list->n; i++) {
        scope.n = 0;
        TRY(loop_value(j, items.list, i, &loop));
        TRY(jinja_bind(j, &scope, "loop", 4, loop));
        TRY(assign(j, node->list, items.list->v[i]));
        TRY(jinja_run(j, node->b));
        const int leave = j->leave;
        j->leave = 0;
        if (leave == JN_BREAK)
            break;
    }
    j->scope = scope.outer;
    return STATUS_OK;
}

/* Runs a body and takes what it wrote as a text. */
static status capture(jinja *j, const jnode *body, jvalue *out)
{
    const size_t from = j->n_out;

    TRY(jinja_run(j, body));
    TRY(jvalue_copy_string(j, j->n_out > from ? j->out + from : "", j->n_out - from, out));
    j->n_out = from;
    return STATUS_OK;
}

status jinja_call_macro(jinja *j, const jnode *macro, const jargs *args, jvalue *out)
{
    jscope scope = {.outer = j->globals}, *before = j->scope;
    int place = 0, used = 0;

    j->scope = &scope;
    for (const jnode *p = macro->list; p; p = p->next, place++) {
        jvalue v = {.kind = JV_UNDEFINED, .text = p->text, .n = p->n};
        bool given = place < args->n;
        if (given)
            v = args->v[place];
        for (int i = 0; i < args->n_named && !given; i++)
            if (args->named[i].n == p->n && memcmp(args->named[i].name, p->text, p->n) == 0) {
                v = args->named[i].value;
                given = true;
                used++;
            }
        if (!given && p->a)
            TRY(jinja_eval(j, p->a, &v));
        TRY(jinja_bind(j, &scope, p->text, p->n, v));
    }
    if (args->n > place || args->n_named > used)
        return jinja_fail(j, "macro %.*s has no place for an argument", (int)macro->n, macro->text);
    TRY(capture(j, macro->b, out));
    j->scope = before;
    return STATUS_OK;
}

static status run_one(jinja *j, const jnode *node)
{
    jvalue v;

    switch ((jnode_kind)node->kind) {
    case JN_TEXT:
        return jinja_print(j, node->text, node->n);
    case JN_PRINT:
        TRY(jinja_eval(j, node->a, &v));
        TRY(jvalue_text(j, &v, &v));
        return jinja_print(j, v.text, v.n);
    case JN_IF:
        for (; node; node = node->c) { /* elif is an if alone in the else */
            if (node->kind != JN_IF)
                return jinja_run(j, node);
            TRY(jinja_eval(j, node->a, &v));
            if (jvalue_true(&v))
                return jinja_run(j, node->b);
            if (node->c && node->c->next)
                return jinja_run(j, node->c);
        }
        return STATUS_OK;
    case JN_FOR:
        return run_for(j, node);
    case JN_SET:
        TRY(node->a ? jinja_eval(j, node->a, &v) : capture(j, node->b, &v));
        return assign(j, node->list, v);
    case JN_MACRO:
        return jinja_bind(j, j->scope, node->text, node->n,
                          (jvalue){.kind = JV_MACRO, .macro = node});
    default: /* JN_BREAK, JN_CONTINUE */
        j->leave = node->kind;
        return STATUS_OK;
    }
}

status jinja_run(jinja *j, const jnode *body)
{
    if (++j->depth > JINJA_NESTED_MAX)
        return jinja_fail(j, "more than %d nested calls", JINJA_NESTED_MAX);
    for (const jnode *node = body; node && !j->leave; node = node->next) {
        j->line = node->line;
        j->column = node->column;
        TRY(jinja_step(j, 0));
        TRY(run_one(j, node));
    }
    j->depth--;
    return STATUS_OK;
}
