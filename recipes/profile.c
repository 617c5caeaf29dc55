/* profile: the tape's observer into a list, the list into JSON */
#include "recipes/profile.h"

#include "autograd/op_table.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/log.h"

#include <string.h>

enum { EVENTS_MAX = 1 << 18, OPS_SHOWN = 5 };

static const char *const phases[] = {"forward", "recompute", "backward"};

status profile_open(profile *p, arena *a, const char *path)
{
    *p = (profile){.path = path, .max = EVENTS_MAX};
    if (path)
        TRY_TAKE(p->v, a, p->max);
    return STATUS_OK;
}

static void observe(void *context, op_code op, const char *place, int phase, double seconds)
{
    profile *p = context;

    if (p->n < p->max)
        p->v[p->n] = (profile_event){op, phase, place, clock_seconds() - p->started - seconds, seconds};
    p->n++;
}

void profile_begin(profile *p, tape *t)
{
    p->n = 0;
    p->started = clock_seconds();
    tape_observe(t, observe, p);
}

/* The operations that took most, each with its share of the step. */
static void say_shares(const profile *p, double step)
{
    double by_op[OP_COUNT] = {0};
    char   line[512] = "";

    for (int i = 0; i < p->n; i++)
        by_op[p->v[i].op] += p->v[i].seconds;
    for (int shown = 0; shown < OPS_SHOWN; shown++) {
        int most = 0;
        for (int op = 1; op < OP_COUNT; op++)
            if (by_op[op] > by_op[most])
                most = op;
        if (by_op[most] <= 0)
            break;
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s %.0f %%", shown ? ", " : "",
                 op_name((op_code)most), 100 * by_op[most] / step);
        by_op[most] = 0;
    }
    log_info("profile: %s of %.3f s", line, step);
}

static status write_trace(const profile *p)
{
    file_writer w;

    TRY(file_writer_open(&w, p->path));
    file_printf(&w, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
    for (int i = 0; i < p->n; i++) {
        const profile_event *e = &p->v[i];
        file_printf(&w, "{\"name\": \"%s %s\", \"cat\": \"%s\", \"ph\": \"X\", \"ts\": %.3f, \"dur\": %.3f, "
                    "\"pid\": 1, \"tid\": 1, \"args\": {\"phase\": \"%s\"}}%s\n",
                    op_name(e->op), e->place, phases[e->phase], 1e6 * e->from, 1e6 * e->seconds,
                    phases[e->phase], i + 1 < p->n ? "," : "");
    }
    file_printf(&w, "]}\n");
    return file_writer_close(&w, true);
}

status profile_end(profile *p, tape *t, int64_t step)
{
    const double seconds = clock_seconds() - p->started;
    const int    lost = p->n > p->max ? p->n - p->max : 0;

    tape_observe(t, NULL, NULL);
    p->n -= lost;
    TRY(write_trace(p));
    say_shares(p, seconds);
    log_info("profile: step %lld is in %s; https://ui.perfetto.dev shows it", (long long)step, p->path);
    if (lost)
        log_warn("profile: the last %d operations of the step are left out", lost);
    return STATUS_OK;
}
