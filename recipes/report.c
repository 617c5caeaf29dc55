/* report: lines and figures of a run */
#include "recipes/report.h"

#include "core/clock.h"
#include "core/device.h"
#include "core/log.h"
#include "core/memory_use.h"

#include <math.h>
#include <unistd.h>

static void format_seconds(double s, char out[32])
{
    if (s < 90)
        snprintf(out, 32, "%.0f s", s);
    else if (s < 5400)
        snprintf(out, 32, "%.0f min", s / 60);
    else
        snprintf(out, 32, "%.1f h", s / 3600);
}

/* Bytes in use of those that were planned: of the device, or of this process since it began. */
static double used_bytes(const report *p, int64_t peak)
{
    const device *d = device_current();

    return d ? (double)device_about(d)->free - (double)device_functions(d)->memory_free() : (double)(peak - p->idle);
}

static void print_step(report *p, const step_report *r, double rate, int64_t peak)
{
    const double left = (double)(p->steps - r->step - 1);
    const double spent = clock_seconds() - p->started;
    const double each = spent / (double)(r->step + 1 - p->first_step);
    char         line[256], time_left[32], share[48] = "";

    format_seconds(left * each, time_left);
    if (p->ceiling > 0 && p->flops_token > 0)
        snprintf(share, sizeof share, "  %.0f %% of ceiling",
                 100 * rate * p->flops_token / p->ceiling);
    snprintf(line, sizeof line, "step %lld/%lld  loss %.4f  lr %.2e  %.0f tokens/s%s  %.0f of %.0f MB  %s left",
             (long long)r->step + 1, (long long)p->steps, r->loss, r->lr, rate, share,
             used_bytes(p, peak) / 1e6, (double)p->planned / 1e6, time_left);
    if (isatty(STDERR_FILENO))
        log_live(line);
    else
        log_info("%s", line);
}

status report_step(report *p, run_state *st, const step_report *r)
{
    const double    now = clock_seconds(), seconds = now - p->last;
    const double    rate = (double)r->tokens / (seconds > 0 ? seconds : 1e-9);
    int64_t         resident, peak;
    const run_value metrics[] = {{"loss", r->loss, false},
                                 {"lr", r->lr, false},
                                 {"grad_norm", r->grad_norm, false},
                                 {"tokens", (double)r->tokens, true},
                                 {"targets", (double)r->targets, true},
                                 {"samples", (double)r->samples, true},
                                 {"micro_batches", (double)r->leaves, true}};

    memory_use(&resident, &peak);
    const run_value timing[] = {{"seconds", seconds, false},
                                {"tokens_per_second", rate, false},
                                {"resident_bytes", (double)resident, true},
                                {"peak_bytes", (double)peak, true},
                                {"device_bytes", device_current() ? used_bytes(p, peak) : 0, true}};
    p->last = now;
    p->tokens += r->tokens;
    print_step(p, r, rate, peak);
    TRY(run_folder_metrics(st->folder, r->step + 1, metrics, (int)COUNT_OF(metrics)));
    return run_folder_timing(st->folder, r->step + 1, timing,
                             (int)COUNT_OF(timing) - !device_current());
}

status report_evaluation(report *p, run_state *st, double loss, int64_t targets, bool perplexity)
{
    char            words[48] = "";
    const run_value v[] = {{"eval_loss", loss, false}, {"eval_targets", (double)targets, true}};

    p->last = clock_seconds();
    if (perplexity)
        snprintf(words, sizeof words, ", perplexity %.2f", exp(loss));
    log_info("step %lld  loss on the test data %.4f (%lld targets)%s", (long long)st->step, loss, (long long)targets,
             words);
    return run_folder_metrics(st->folder, st->step, v, (int)COUNT_OF(v));
}

status report_figure(run_state *st, const char *name, double value)
{
    const run_value v = {name, value, false};

    return run_folder_metrics(st->folder, st->step, &v, 1);
}
