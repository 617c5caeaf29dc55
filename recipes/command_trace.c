/* trace, tokenize: numbers and ids to compare with other programs */
#include "recipes/commands.h"

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "recipes/session.h"
#include "recipes/trace.h"

#include <stdlib.h>
#include <string.h>

static status split_names(arena *a, const char *list, trace_options *o)
{
    const char **names;

    TRY_TAKE(names, a, strlen(list) + 1);
    for (const char *p = list; *p;) {
        const size_t n = strcspn(p, ",");
        if (n > 0) {
            names[o->n_gradients] = arena_string(a, p, n);
            if (!names[o->n_gradients++])
                return STATUS_MEMORY;
        }
        p += n + (p[n] == ',');
    }
    o->gradients = names;
    return STATUS_OK;
}

/* The list of sequences of a case: {"sequences": [...]}, or the list itself. */
static const cJSON *sequences_of(const cJSON *json)
{
    return cJSON_IsObject(json) ? cJSON_GetObjectItemCaseSensitive(json, "sequences") : json;
}

/* seqN.pixel_values of every sequence. */
static status read_pixels(arena *a, const safetensors *file, const cJSON *sequences, trace_options *o)
{
    const int n = cJSON_GetArraySize(sequences);
    tensor   *v;
    char      name[64];

    TRY_TAKE(v, a, n + 1);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "seq%d.pixel_values", i);
        const safetensors_entry *e = safetensors_find(file, name);
        if (!e || e->opaque)
            return fail(STATUS_FORMAT, "--pixels: there is no tensor %s that can be read", name);
        v[i] = e->t;
        v[i].v = (void *)(uintptr_t)e->v;
    }
    o->pixels = v;
    return STATUS_OK;
}

static status run_trace(session *s, const trace_request *q, const cJSON *sequences, trace_options *o,
                        trace_result *r)
{
    safetensors file;

    if (!q->pixels)
        return trace_run(&s->setup, &s->m, s->p, sequences, q->ids, o, r);
    TRY(safetensors_open(&s->setup, q->pixels, &file));
    status done = read_pixels(&s->setup, &file, sequences, o);
    if (done == STATUS_OK)
        done = trace_run(&s->setup, &s->m, s->p, sequences, q->ids, o, r);
    safetensors_close(&file);
    return done;
}

static status trace(session *s, const trace_request *q, const cJSON *json, FILE *out)
{
    trace_options     o = {.hidden = q->hidden};
    trace_result      r;
    char              loss[64];
    safetensors_pair  pairs[2] = {{.key = "format", .value = "pt"}, {.key = "loss", .value = loss}};

    TRY(q->adapter ? session_base_adapter(s, q->base, q->adapter) : session_base(s, q->base, 0, false));
    if (q->adapter)
        TRY(session_adapter(s, q->adapter, q->force));
    for (int i = 0; i < s->p->n_modules; i++)
        s->p->modules[i].trains = q->gradients != NULL;
    if (q->gradients)
        TRY(split_names(&s->setup, q->gradients, &o));
    TRY(session_hold(s));
    TRY(run_trace(s, q, sequences_of(json), &o, &r));
    snprintf(loss, sizeof loss, "%.17g", r.loss);
    TRY(safetensors_write(q->out, r.items, r.n, pairs, 2));
    if (q->json)
        fprintf(out, "{\"loss\": %.17g, \"loss_sum\": %.17g, \"targets\": %lld, \"tensors\": %d}\n",
                r.loss, r.loss_sum, (long long)r.targets, r.n);
    else
        fprintf(out, "loss %.9g over %lld targets; %d tensors in %s\n", r.loss, (long long)r.targets,
                r.n, q->out);
    return STATUS_OK;
}

status command_trace(const trace_request *q, FILE *out)
{
    session s;
    cJSON  *json;

    TRY(json_read(q->ids, &json));
    status done = session_open(&s);
    if (done == STATUS_OK)
        done = trace(&s, q, json, out);
    session_close(&s);
    cJSON_Delete(json);
    return done;
}

/* ---- tokenize -------------------------------------------------------------------------------------- */

static status encode_line(session *s, char *line, size_t n, FILE *out)
{
    const size_t mark = arena_mark(&s->setup);
    int32_t     *ids;
    int64_t      count;

    TRY(session_encode(s, &s->setup, line, n, true, &ids, &count));
    fputs("{\"ids\": [", out);
    for (int64_t i = 0; i < count; i++)
        fprintf(out, i ? ", %d" : "%d", ids[i]);
    fputs("]}\n", out);
    arena_rewind(&s->setup, mark);
    return STATUS_OK;
}

static status decode_line(session *s, const char *line, size_t n, const char *what, FILE *out)
{
    const size_t mark = arena_mark(&s->setup);
    cJSON       *json;
    const cJSON *list, *item;
    int32_t     *ids;
    int64_t      count = 0;
    char        *text;
    size_t       length;

    TRY(json_parse(line, n, what, &json));
    list = cJSON_IsObject(json) ? cJSON_GetObjectItemCaseSensitive(json, "ids") : json;
    status s_ = cJSON_IsArray(list) ? STATUS_OK
                                    : fail(STATUS_FORMAT, "%s: must be {\"ids\": [...]} or a list", what);
    ids = arena_take(&s->setup, (size_t)cJSON_GetArraySize(list) + 1, sizeof *ids);
    cJSON_ArrayForEach(item, list)
    {
        if (ids && cJSON_IsNumber(item))
            ids[count++] = (int32_t)item->valuedouble;
    }
    if (s_ == STATUS_OK)
        s_ = ids ? session_decode(s, &s->setup, ids, count, &text, &length) : STATUS_MEMORY;
    if (s_ == STATUS_OK) {
        fwrite(text, 1, length, out);
        fputc('\n', out);
    }
    cJSON_Delete(json);
    arena_rewind(&s->setup, mark);
    return s_;
}

static status tokenize(session *s, const char *base, bool decode, FILE *in, FILE *out)
{
    char  *line = NULL, what[64];
    size_t room = 0;
    status done = STATUS_OK;

    TRY(session_base(s, base, 0, true));
    for (int64_t number = 1; done == STATUS_OK; number++) {
        const ssize_t n = getline(&line, &room, in);
        if (n < 0)
            break;
        const size_t length = (size_t)n - (n > 0 && line[n - 1] == '\n');
        snprintf(what, sizeof what, "stdin:%lld", (long long)number);
        done = decode ? decode_line(s, line, length, what, out) : encode_line(s, line, length, out);
    }
    free(line);
    return done;
}

status command_tokenize(const char *base, bool decode, FILE *in, FILE *out)
{
    session s;

    TRY(session_open(&s));
    const status done = tokenize(&s, base, decode, in, out);
    session_close(&s);
    return done;
}
