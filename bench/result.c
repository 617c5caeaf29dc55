/* result: figures as a table on the terminal, and as JSON and Markdown files
 *
 * One file a bench and machine kind: bench/results/matmul-intel-xeon-e5-2c.json and .md. Both say
 * with which command, of which commit and when they were made. */
#include "bench/bench.h"

#include "core/cpu/matmul.h"
#include "core/cpu/probe.h"
#include "core/file.h"
#include "core/log.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct origin {
    char cpu[128], date[32], commit[64];
    int  threads;
} origin;

/* "a1b2c3d4e5f6", with "-changed" behind it when the tree is not that of the commit. */
static void find_commit(char *out, size_t room)
{
    static const char command[] =
        "cd \"$CAMBIUM_BENCH_SOURCE\" 2>/dev/null && git rev-parse --short=12 HEAD 2>/dev/null &&"
        " { git diff --quiet HEAD -- . ':!bench/results' 2>/dev/null || echo -changed; }";
    char  line[64];
    FILE *p;

    out[0] = '\0';
    setenv("CAMBIUM_BENCH_SOURCE", BENCH_SOURCE, 1);
    if ((p = popen(command, "r")) != NULL) {
        while (fgets(line, sizeof line, p)) {
            line[strcspn(line, "\n")] = '\0';
            strncat(out, line, room - strlen(out) - 1);
        }
        pclose(p);
    }
    if (!out[0])
        snprintf(out, room, "unknown");
}

static origin find_origin(const bench *b)
{
    origin       o = {.threads = b->machine_threads};
    const time_t t = time(NULL);
    struct tm    day;

    probe_name(o.cpu);
    find_commit(o.commit, sizeof o.commit);
    strftime(o.date, sizeof o.date, "%Y-%m-%d", gmtime_r(&t, &day));
    return o;
}

void bench_title(const bench *b)
{
    char cpu[128];

    probe_name(cpu);
    if (!b->o.json)
        fprintf(b->out, "%s on %s, %d threads, %s\n%-38s %3s %12s %8s %12s %12s %10s %6s\n",
                b->name, cpu, b->machine_threads, matmul_path(), "what", "thr", "median", "unit",
                "best", "worst", "probe", "share");
}

static const char *share_text(const figure *f, char text[16])
{
    snprintf(text, 16, "%.1f %%", 100 * f->share);
    return f->share > 0 ? text : "";
}

static const char *probe_text(const figure *f, char text[16])
{
    snprintf(text, 16, "%.1f", f->probe);
    return f->probe > 0 ? text : "";
}

void bench_print(const bench *b, const figure *f)
{
    char share[16], probe[16];

    if (b->o.json)
        return;
    fprintf(b->out, "%-38s %3d %12.4g %8s %12.4g %12.4g %10s %6s\n", f->what, f->threads, f->value,
            f->unit, f->best, f->worst, probe_text(f, probe), share_text(f, share));
    fflush(b->out);
}

static void put_quoted(FILE *out, const char *name, const char *text)
{
    fprintf(out, "\"%s\": \"", name);
    for (; *text; text++)
        if ((unsigned char)*text < ' ')
            fprintf(out, "\\u%04x", *text);
        else
            fprintf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    fputc('"', out);
}

static void put_figure(FILE *out, const figure *f)
{
    fputs("    {", out);
    put_quoted(out, "what", f->what);
    fprintf(out, ", \"threads\": %d, ", f->threads);
    put_quoted(out, "unit", f->unit);
    fprintf(out, ", \"median\": %.6g, \"best\": %.6g, \"worst\": %.6g, \"repetitions\": %d",
            f->value, f->best, f->worst, f->n);
    if (f->probe > 0)
        fprintf(out, ", \"probe\": %.6g", f->probe);
    if (f->share > 0)
        fprintf(out, ", \"share\": %.4f", f->share);
    fputs(", ", out);
    put_quoted(out, "note", f->note);
    fputc('}', out);
}

static void put_json(const bench *b, const origin *o, FILE *out)
{
    fputs("{\n  ", out);
    put_quoted(out, "bench", b->name);
    fputs(",\n  \"machine\": {", out);
    put_quoted(out, "cpu", o->cpu);
    fprintf(out, ", \"threads\": %d, ", o->threads);
    put_quoted(out, "path", matmul_path());
    fputs("},\n  ", out);
    put_quoted(out, "command", b->command);
    fputs(",\n  ", out);
    put_quoted(out, "commit", o->commit);
    fputs(",\n  ", out);
    put_quoted(out, "date", o->date);
    fputs(",\n  \"figures\": [\n", out);
    for (int i = 0; i < b->n; i++) {
        put_figure(out, &b->v[i]);
        fputs(i + 1 < b->n ? ",\n" : "\n", out);
    }
    fputs("  ]\n}\n", out);
}

void bench_json(const bench *b, FILE *out)
{
    const origin o = find_origin(b);

    put_json(b, &o, out);
}

static void put_markdown(const bench *b, const origin *o, FILE *out)
{
    fprintf(out, "# %s\n\n%s, %d threads, %s. `%s`, commit %s, %s.\n\n", b->name, o->cpu,
            o->threads, matmul_path(), b->command, o->commit, o->date);
    fputs(
        "Medians of the repetitions; the probe is what the machine reached right before each of "
        "them\n"
        "(GFLOP/s, or GB/s of reading), and the share is the work done a second, of that.\n\n"
        "| what | threads | median | unit | best | worst | repetitions | probe | share | remark |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n",
        out);
    for (int i = 0; i < b->n; i++) {
        const figure *f = &b->v[i];
        char          share[16], probe[16];
        fprintf(out, "| %s | %d | %.4g | %s | %.4g | %.4g | %d | %s | %s | %s |\n", f->what,
                f->threads, f->value, f->unit, f->best, f->worst, f->n, probe_text(f, probe),
                share_text(f, share), f->note);
    }
}

/* The machine as part of a file's name: small letters, digits and hyphens. */
static void machine_name(const origin *o, char *out, size_t room)
{
    size_t n = 0;

    for (const char *p = o->cpu; *p && n + 8 < room; p++)
        if (isalnum((unsigned char)*p))
            out[n++] = (char)tolower((unsigned char)*p);
        else if (n > 0 && out[n - 1] != '-')
            out[n++] = '-';
    snprintf(out + n, room - n, "%s%dt", n > 0 && out[n - 1] == '-' ? "" : "-", o->threads);
}

static status write_one(const bench *b, const origin *o, const char *path,
                        void (*put)(const bench *, const origin *, FILE *))
{
    char  *text = NULL;
    size_t n = 0;
    FILE  *f = open_memstream(&text, &n);

    if (!f)
        return fail(STATUS_MEMORY, "%s: no memory for the result", path);
    put(b, o, f);
    fclose(f);
    const status s = file_replace(path, text, n);
    free(text);
    if (s == STATUS_OK)
        log_info("written: %s", path);
    return s;
}

status bench_save(const bench *b)
{
    const origin o = find_origin(b);
    const char  *folder = b->o.results ? b->o.results : BENCH_SOURCE "/bench/results";
    char         machine[96];

    machine_name(&o, machine, sizeof machine);
    TRY(folder_make(folder));
    char *json = arena_printf(b->a, "%s/%s-%s.json", folder, b->name, machine);
    char *text = arena_printf(b->a, "%s/%s-%s.md", folder, b->name, machine);
    if (!json || !text)
        return STATUS_MEMORY;
    TRY(write_one(b, &o, json, put_json));
    return write_one(b, &o, text, put_markdown);
}
