/* golden broken files: a folder with MANIFEST.json, each file of it to be refused, and good/ with
 * files that must be read (golden/hostile/README.md). Each file is read by a process of its own, so
 * that a crash is one failed case. */
#include "tests/with_golden_hostile.h"
#include "tests/with_golden.h"

#include "core/file.h"
#include "core/gguf.h"
#include "core/quant.h"
#include "data/tokenizer.h"
#include "layers/model.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sums of what was read, so that no read is optimised away. */
static volatile double sink;

/* ---- readers
 * ------------------------------------------------------------------------------------------- */

static void touch_tensor(const tensor *t)
{
    const int64_t n = shape_count(t->s), some = dtype_block(t->type);
    const size_t bytes = tensor_bytes(t);
    const uint8_t *v = t->v;
    float out[256];
    double sum = 0;

    for (size_t i = 0; i < bytes; i += i + 64 < bytes ? 64 : 1)
        sum += v[i];
    if (quant_is_real(t->type))
        for (int64_t i = 0; i + some <= n && i < 64 * some; i += some) {
            quant_expand(t->type, v + i / some * (int64_t)dtype_block_bytes(t->type), some, out);
            sum += (double)out[0];
        }
    sink = sum;
}

static void touch_value(const gguf_value *v)
{
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0, sum = 0;
    bool b = false;
    gguf_text t = {0};

    gguf_as_int(v, &i);
    gguf_as_u64(v, &u);
    gguf_as_double(v, &d);
    gguf_as_bool(v, &b);
    if (gguf_as_text(v, &t))
        for (size_t j = 0; j < t.n; j++)
            sum += t.v[j];
    sink = sum + (double)i + (double)u + d + b;
    if (v->kind == GGUF_ARRAY) {
        const uint8_t *at = NULL;
        gguf_value item;
        while (gguf_next(v, &at, &item))
            touch_value(&item);
    }
}

status hostile_gguf(arena *a, const char *path)
{
    gguf g;
    gguf_text *texts;
    int64_t *ints, n;

    TRY(gguf_open(a, path, &g));
    for (int64_t i = 0; i < g.n_pairs; i++) {
        touch_value(&g.pairs[i].value);
        CHECK(gguf_find(&g, g.pairs[i].key) == &g.pairs[i].value);
        if (gguf_texts(a, &g, g.pairs[i].key, true, &texts, &n) == STATUS_OK && n)
            sink = (double)texts[n - 1].n;
        if (gguf_ints(a, &g, g.pairs[i].key, true, &ints, &n) == STATUS_OK && n)
            sink = (double)ints[n - 1];
    }
    for (int64_t i = 0; i < g.n_tensors; i++)
        touch_tensor(&g.tensors[i].t);
    gguf_close(&g);
    return STATUS_OK;
}

status hostile_safetensors(arena *a, const char *path)
{
    safetensors s;

    TRY(safetensors_open(a, path, &s));
    for (int i = 0; i < s.n; i++) {
        const uint8_t *v = s.e[i].v;
        for (size_t j = 0; j < s.e[i].bytes; j++)
            sink = v[j];
        CHECK(s.e[i].opaque || tensor_bytes(&s.e[i].t) == s.e[i].bytes);
    }
    for (int i = 0; i < s.n_metadata; i++)
        sink = (double)strlen(s.metadata[i].value);
    safetensors_close(&s);
    return STATUS_OK;
}

status hostile_trunk(arena *a, const char *path)
{
    weights w;

    TRY(weights_open(a, path, &w));
    for (int i = 0; i < w.n; i++)
        touch_tensor(&w.w[i].t);
    weights_close(&w);
    return STATUS_OK;
}

static status hostile_tokenizer(arena *a, const char *path)
{
    tokenizer *t;
    token_list ids;

    TRY(tokenizer_open(a, path, &t));
    const status s = tokenizer_encode(t, a, "ab c", 4, true, &ids);
    tokenizer_close(t);
    return s;
}

/* A whole trunk: its weights, the model on them, and the tokenizer in its metadata. */
static status hostile_model(arena *a, const char *path)
{
    weights w;
    model m;

    TRY(hostile_trunk(a, path));
    TRY(weights_open(a, path, &w));
    const status s = model_open(a, &w, TYPE_F32, &m);
    weights_close(&w);
    TRY(s);
    return hostile_tokenizer(a, path);
}

typedef struct hostile_reader {
    status (*read)(arena *a, const char *path);
    size_t limit; /* bytes of the arena: "a few MB" */
} hostile_reader;

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static hostile_reader reader_of(const char *file, bool whole)
{
    const size_t few = (size_t)4 << 20;

    if (ends_with(file, ".gguf"))
        return whole ? (hostile_reader){hostile_model, 4 * few}
                     : (hostile_reader){hostile_gguf, few};
    if (ends_with(file, ".safetensors"))
        return (hostile_reader){hostile_safetensors, few};
    if (ends_with(file, ".json"))
        return (hostile_reader){hostile_tokenizer, 4 * few};
    return (hostile_reader){NULL, 0};
}

/* ---- one file, in a process of its own
 * -------------------------------------------------------------------- */

typedef struct verdict {
    status s;
    double seconds; /* of the processor */
    size_t peak;    /* bytes of the arena */
    long grown;     /* kilobytes of the process, at most */
    char text[1024];
} verdict;

static long resident(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

static void read_here(hostile_reader r, const char *path, verdict *v)
{
    const clock_t began = clock();
    arena a;

    memset(v, 0, sizeof *v);
    v->grown = -resident();
    status_clear();
    v->s = arena_open(&a, "hostile", (size_t)1 << 30);
    if (v->s == STATUS_OK)
        v->s = r.read(&a, path);
    v->peak = a.peak;
    v->grown += resident();
    v->seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    snprintf(v->text, sizeof v->text, "%s", status_text());
    arena_close(&a);
}

static status read_apart(hostile_reader r, const char *path, verdict *v)
{
    int ends[2], code = 0;

    fflush(stdout);
    if (pipe(ends) != 0)
        return fail(STATUS_IO, "a pipe cannot be made");
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        read_here(r, path, v);
        _exit(write(ends[1], v, sizeof *v) == (ssize_t)sizeof *v ? 0 : 3);
    }
    close(ends[1]);
    const bool whole = child > 0 && read(ends[0], v, sizeof *v) == (ssize_t)sizeof *v;
    close(ends[0]);
    if (child < 0 || waitpid(child, &code, 0) != child)
        return fail(STATUS_IO, "a process cannot be started");
    if (WIFSIGNALED(code))
        return fail(STATUS_FORMAT, "the reader was ended by signal %d", WTERMSIG(code));
    return whole && code == 0 ? STATUS_OK
                              : fail(STATUS_FORMAT, "the reader ended with code %d", code);
}

static void compare_cost(golden *g, hostile_reader r, const verdict *v)
{
    golden_number(g, "bytes of memory", (double)v->peak, 0, (double)r.limit, false);
#ifndef __SANITIZE_ADDRESS__
    if ((size_t)v->grown << 10 > 2 * r.limit)
        golden_wrong(g, "took %ld KB of memory", v->grown);
#endif
    if (v->seconds >= 1)
        golden_wrong(g, "took %.3f s of the processor, must be below 1", v->seconds);
}

static status must_refuse(golden *g, hostile_reader r, const char *path, const char *file,
                          const char *wrong)
{
    verdict v;

    TRY(read_apart(r, path, &v));
    if (v.s == STATUS_OK)
        golden_wrong(g, "was read, but: %s", wrong);
    else if (!strstr(v.text, file))
        golden_wrong(g, "was refused without its name: %s", v.text);
    compare_cost(g, r, &v);
    return STATUS_OK;
}

static status must_read(golden *g, hostile_reader r, const char *path)
{
    verdict v;

    TRY(read_apart(r, path, &v));
    if (v.s != STATUS_OK)
        return fail(v.s, "%s", v.text);
    compare_cost(g, r, &v);
    return STATUS_OK;
}

/* ---- the folder
 * ----------------------------------------------------------------------------------------- */

static void run_broken(golden *g, const char *folder, const cJSON *item)
{
    const char *file = "", *wrong = "?", *by = "";

    golden_begin(g, folder, "MANIFEST.json");
    status s = json_string(item, "file", true, &file, "MANIFEST.json");
    if (s == STATUS_OK)
        s = json_string(item, "wrong", false, &wrong, "MANIFEST.json");
    if (s == STATUS_OK)
        s = json_string(item, "refused_by", false, &by, "MANIFEST.json");
    const hostile_reader r = reader_of(file, strcmp(by, "reader") != 0);
    const char *path = arena_printf(g->a, "%s/%s", folder, file);
    golden_begin(g, folder, file);
    if (s == STATUS_OK && path && !path_exists(path))
        s = fail(STATUS_FORMAT, "%s: is in the manifest, but not there", path);
    if (s == STATUS_OK && !r.read)
        s = fail(STATUS_UNSUPPORTED, "no reader of this version takes such files");
    golden_end(g, s == STATUS_OK ? must_refuse(g, r, path, file, wrong) : s);
}

static bool is_trunk(golden *g, const char *path)
{
    gguf f;

    if (!ends_with(path, ".gguf") || gguf_open(g->a, path, &f) != STATUS_OK)
        return false;
    const bool found = gguf_find_tensor(&f, "token_embd.weight") != NULL;
    gguf_close(&f);
    return found;
}

static void run_good(golden *g, const char *folder)
{
    char **names, *below = path_join(g->a, folder, "good");
    int n;

    if (!below || !path_is_folder(below) ||
        golden_names(g->a, below, false, &names, &n) != STATUS_OK)
        return;
    for (int i = 0; i < n; i++) {
        const char *path = path_join(g->a, below, names[i]);
        golden_begin(g, below, names[i]);
        const hostile_reader r = reader_of(names[i], path && is_trunk(g, path));
        golden_end(g, r.read && path
                          ? must_read(g, r, path)
                          : fail(STATUS_UNSUPPORTED, "no reader of this version takes it"));
    }
}

bool golden_hostile(golden *g, const char *folder)
{
    const size_t mark = arena_mark(g->a);
    cJSON *root = NULL;
    const cJSON *item;

    if (!golden_has(folder, "MANIFEST.json"))
        return false;
    golden_begin(g, folder, "MANIFEST.json");
    status s = json_read(golden_path(folder, "MANIFEST.json"), &root);
    const cJSON *list =
        cJSON_IsArray(root) ? root : cJSON_GetObjectItemCaseSensitive(root, "files");
    if (s == STATUS_OK && cJSON_GetArraySize(list) == 0)
        s = fail(STATUS_FORMAT, "%s/MANIFEST.json: must be a list of files", folder);
    if (s != STATUS_OK)
        golden_end(g, s);
    cJSON_ArrayForEach(item, list)
    {
        const size_t own = arena_mark(g->a);
        run_broken(g, folder, item);
        arena_rewind(g->a, own);
    }
    run_good(g, folder);
    cJSON_Delete(root);
    arena_rewind(g->a, mark);
    return true;
}
