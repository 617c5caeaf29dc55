/* child: the program calls itself and reads a line of numbers */
#include "bench/child.h"

#include "bench/trial.h"
#include "core/memory_use.h"
#include "recipes/bill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static status step(bench *b, trial *t, double *ended)
{
    reading r;

    TRY(trial_open(t, b, b->o.recipe));
    for (int64_t i = 0; i < b->o.steps; i++) {
        TRY(trial_step(t, &r));
        if (i == 0)
            *ended = bench_now();
    }
    return STATUS_OK;
}

status child_run(bench *b)
{
    int64_t idle, peak;
    double  ended = 0;
    trial   t = {0};

    memory_use(&idle, NULL);
    status s = step(b, &t, &ended);
    if (s == STATUS_OK) {
        const bill planned = bill_of(&t.in.s, &t.x);
        memory_use(NULL, &peak);
        fprintf(b->out, "%.9f %lld %lld %zu\n", ended, (long long)idle, (long long)peak,
                planned.total);
    }
    trial_close(&t);
    return s;
}

/* The called process: its standard output goes into `to`. */
static NO_RETURN void become(const char *name, const char *recipe, int threads, int steps, int to)
{
    char option[32], many[32];

    snprintf(option, sizeof option, "--steps=%d", steps);
    snprintf(many, sizeof many, "%d", threads);
    setenv("CAMBIUM_THREADS", many, 1);
    if (dup2(to, STDOUT_FILENO) >= 0)
        execl("/proc/self/exe", "cambium-bench", name, "--child", "--recipe", recipe, option,
              (char *)NULL);
    _exit(127);
}

static status read_report(int from, child_report *r)
{
    FILE *f = fdopen(from, "r");

    if (!f) {
        close(from);
        return fail(STATUS_IO, "no report: %s", strerror(errno));
    }
    const int n = fscanf(f, "%lf %lf %lf %lf", &r->ended, &r->idle, &r->peak, &r->planned);
    fclose(f);
    return n == 4 ? STATUS_OK
                  : fail(STATUS_FORMAT,
                         "the run of its own has reported nothing; its messages are above");
}

status child_call(bench *b, const char *recipe, int threads, int steps, child_report *r)
{
    int ends[2], code = 0;

    if (pipe(ends) != 0)
        return fail(STATUS_IO, "no pipe to a run of its own: %s", strerror(errno));
    fflush(b->out);
    r->started = bench_now();
    const pid_t child = fork();
    if (child == 0)
        become(b->name, recipe, threads, steps, ends[1]);
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return fail(STATUS_IO, "a run of its own cannot be started: %s", strerror(errno));
    }
    const status s = read_report(ends[0], r);
    waitpid(child, &code, 0);
    return s;
}
