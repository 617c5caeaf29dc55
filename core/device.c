/* device: opening a plug-in, twins of host memory */
#include "core/device.h"

#include "core/quant.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BOUNDARY = 256, CHUNK = 1 << 20 };

/* A stretch of host memory and where it lies on the device. */
typedef struct twin {
    const uint8_t *host;
    size_t         bytes; /* of the host's */
    uint8_t       *there;
    dtype          type, as;
} twin;

struct device {
    int                  users; /* device_open that no device_close has met */
    const device_plugin *f;
    void                *library;
    device_info          info;
    dtype                activations;
    twin                *twins; /* by host address */
    int                  n_twins, max_twins;
    float               *chunk; /* [CHUNK] and as many bf16 behind them, for conversions */
};

static device *current;

/* ---- the plug-in ---------------------------------------------------------------------------------- */

/* Beside the program, in the folder above it (the tests' programs), or where it was installed. */
static bool find_plugin(char path[4096])
{
    static const char *const places[] = {"%s/libcambium_cuda.so", "%s/../libcambium_cuda.so",
                                         "%s/../lib/cambium/libcambium_cuda.so"};
    const char *given = getenv("CAMBIUM_CUDA_PLUGIN");
    char        folder[2048];

    if (given) {
        snprintf(path, 4096, "%s", given);
        return access(path, F_OK) == 0;
    }
    const ssize_t n = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (n < 0)
        return false;
    folder[n] = '\0';
    *strrchr(folder, '/') = '\0';
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        snprintf(path, 4096, places[i], folder);
        if (access(path, F_OK) == 0)
            return true;
    }
    snprintf(path, 4096, places[0], folder);
    return false;
}

bool device_has_plugin(void)
{
    char path[4096];

    return find_plugin(path);
}

static status load(const char *name, device *d)
{
    char path[4096];

    if (!find_plugin(path))
        return fail(STATUS_DEVICE, "device %s: this build has no CUDA plug-in (%s is not there); install the CUDA "
                    "toolkit and build again, or say device: cpu", name, path);
    d->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!d->library)
        return fail(STATUS_DEVICE, "device %s: the CUDA plug-in cannot be opened: %s", name, dlerror());
    const device_plugin *(*get)(void) = NULL;
    *(void **)&get = dlsym(d->library, "cambium_device_plugin");
    d->f = get ? get() : NULL;
    if (!d->f || d->f->abi != DEVICE_ABI)
        return fail(STATUS_DEVICE, "device %s: %s is of another version (%d, must be %d); build again", name, path,
                    d->f ? d->f->abi : 0, DEVICE_ABI);
    return STATUS_OK;
}

/* "cuda" 0, "cuda:3" 3, else -1 */
static int number_of(const char *name)
{
    char *end;

    if (strcmp(name, "cuda") == 0)
        return 0;
    if (strncmp(name, "cuda:", 5) != 0 || name[5] < '0' || name[5] > '9')
        return -1;
    const long n = strtol(name + 5, &end, 10);
    return *end == '\0' && n < 1024 ? (int)n : -1;
}

static status start(const char *name, device *d)
{
    const int number = number_of(name);

    if (number < 0)
        return fail(STATUS_USAGE, "device is '%s', must be cpu, cuda or cuda:1", name);
    TRY(load(name, d));
    const int count = d->f->count();
    if (count < 0)
        return fail(STATUS_DEVICE, "device %s: %s", name, d->f->failure());
    if (number >= count)
        return fail(STATUS_DEVICE, "device %s: this machine has %d, numbered from 0", name, count);
    if (!d->f->open(number, &d->info))
        return fail(STATUS_DEVICE, "device %s: %s", name, d->f->failure());
    d->info.number = number;
    d->info.count = count;
    return STATUS_OK;
}

status device_open(const char *name, dtype activations, device **out)
{
    device *d = current;

    *out = d;
    if (d && number_of(name) == d->info.number && activations == d->activations) {
        d->users++;
        return STATUS_OK;
    }
    *out = NULL;
    if (d)
        return fail(STATUS_USAGE, "device %s in %s: cuda:%d is open in %s; a process has one device", name,
                    dtype_name(activations), d->info.number, dtype_name(d->activations));
    d = calloc(1, sizeof *d);
    if (!d)
        return fail(STATUS_MEMORY, "device %s: no memory", name);
    d->users = 1;
    d->activations = activations;
    const status s = start(name, d);
    if (s != STATUS_OK) {
        free(d); /* the library stays: it may have threads */
        return s;
    }
    *out = current = d;
    return STATUS_OK;
}

void device_close(device *d)
{
    if (!d || --d->users > 0)
        return;
    d->f->close();
    free(d->twins);
    free(d->chunk);
    free(d);
    current = NULL;
}

device *device_current(void)
{
    return current;
}

const device_info *device_about(const device *d)
{
    return &d->info;
}

const device_plugin *device_functions(const device *d)
{
    return d->f;
}

dtype device_activations(const device *d)
{
    return d->activations;
}

status device_check(const device *d)
{
    const char *text = d->f->failure();

    return text[0] ? fail(STATUS_DEVICE, "device cuda:%d (%s): %s", d->info.number, d->info.name, text) : STATUS_OK;
}

void *device_symbol(const device *d, const char *name)
{
    void *p = dlsym(d->library, name);

    CHECK(p != NULL);
    return p;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

size_t device_arena_room(size_t bytes)
{
    return (bytes + BOUNDARY - 1) / BOUNDARY * BOUNDARY;
}

status device_arena_open(device *d, device_arena *a, const char *name, size_t bytes)
{
    *a = (device_arena){.d = d, .name = name, .limit = device_arena_room(bytes + 1)};
    a->base = d->f->take(a->limit);
    if (a->base)
        return STATUS_OK;
    TRY(device_check(d));
    return fail(STATUS_MEMORY, "device cuda:%d (%s): %s needs %.0f MB, %.0f MB are free", d->info.number,
                d->info.name, name, (double)a->limit / 1e6, (double)d->f->memory_free() / 1e6);
}

void device_arena_close(device_arena *a)
{
    device *d = a->d;
    int     n = 0;

    if (!a->base)
        return;
    for (int i = 0; i < d->n_twins; i++)
        if (d->twins[i].there < a->base || d->twins[i].there >= a->base + a->limit)
            d->twins[n++] = d->twins[i];
    d->n_twins = n;
    d->f->give(a->base);
    *a = (device_arena){0};
}

void *device_arena_take(device_arena *a, size_t bytes)
{
    uint8_t *p = a->base + a->used;

    if (device_arena_room(bytes) > a->limit - a->used) {
        fail(STATUS_MEMORY, "device arena %s: %zu bytes wanted, %zu of %zu are in use", a->name, bytes, a->used,
             a->limit);
        return NULL;
    }
    a->used += device_arena_room(bytes);
    return p;
}

/* ---- twins ------------------------------------------------------------------------------------------- */

/* Index of the last twin that begins at or before the address; -1: none. */
static int at_or_before(const device *d, const void *host)
{
    int lo = 0, hi = d->n_twins;

    while (lo < hi) {
        const int middle = (lo + hi) / 2;
        if (d->twins[middle].host <= (const uint8_t *)host)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo - 1;
}

static const twin *twin_at(const device *d, const void *host)
{
    const int i = at_or_before(d, host);

    return i >= 0 && (const uint8_t *)host < d->twins[i].host + d->twins[i].bytes ? &d->twins[i] : NULL;
}

status device_hold(device_arena *a, const tensor *x, dtype as)
{
    device       *d = a->d;
    const tensor  there = {.s = x->s, .type = as};
    const size_t  bytes = tensor_bytes(&there);
    void         *p = device_arena_take(a, bytes);

    if (!p)
        return STATUS_MEMORY;
    CHECK(as == x->type || (x->type == TYPE_F32 && as == TYPE_BF16) || as == TYPE_BF16);
    if (d->n_twins == d->max_twins) {
        const int more = d->max_twins ? 2 * d->max_twins : 64;
        twin     *grown = realloc(d->twins, (size_t)more * sizeof *grown);
        if (!grown)
            return fail(STATUS_MEMORY, "device: no memory for the list of its values");
        d->twins = grown;
        d->max_twins = more;
    }
    const int at = at_or_before(d, x->v) + 1;
    memmove(d->twins + at + 1, d->twins + at, (size_t)(d->n_twins - at) * sizeof *d->twins);
    d->twins[at] = (twin){x->v, tensor_bytes(x), p, x->type, as};
    d->n_twins++;
    CHECK(at == 0 || d->twins[at - 1].host + d->twins[at - 1].bytes <= (const uint8_t *)x->v);
    CHECK(at + 1 == d->n_twins || (const uint8_t *)x->v + tensor_bytes(x) <= d->twins[at + 1].host);
    return STATUS_OK;
}

static void *place_in(const twin *t, const void *host)
{
    const size_t offset = (size_t)((const uint8_t *)host - t->host);

    if (t->type == t->as)
        return t->there + offset;
    return t->there + offset / (size_t)dtype_block_bytes(t->type) * (size_t)dtype_block_bytes(t->as);
}

void *device_find(const device *d, const void *host, dtype *type)
{
    const twin *t = host ? twin_at(d, host) : NULL;

    if (!t)
        return NULL;
    *type = t->as;
    return place_in(t, host);
}

void device_push(device *d, const tensor *x)
{
    const twin *t = twin_at(d, x->v);

    CHECK(t && t->type == x->type);
    device_upload(d, place_in(t, x->v), t->as, x->v, x->type, shape_count(x->s));
}

void device_pull(device *d, tensor *x)
{
    const twin *t = twin_at(d, x->v);

    CHECK(t && t->type == x->type);
    device_download(d, x->v, x->type, place_in(t, x->v), t->as, shape_count(x->s));
}

dtype device_weight_type(const device *d, const tensor *x)
{
    const bool plain = x->type == TYPE_F32 || x->type == TYPE_F16 || x->type == TYPE_BF16;

    return d->activations == TYPE_BF16 && plain && x->s.n >= 2 ? TYPE_BF16 : x->type;
}

/* ---- copies ------------------------------------------------------------------------------------------- */

static float *chunk_of(device *d)
{
    if (!d->chunk)
        d->chunk = malloc(CHUNK * (sizeof(float) + sizeof(uint16_t)));
    CHECK(d->chunk != NULL);
    return d->chunk;
}

void device_upload(device *d, void *to, dtype to_type, const void *from, dtype from_type, int64_t n)
{
    if (to_type == from_type) {
        d->f->upload(to, from, (size_t)dtype_row_bytes(to_type, n));
        return;
    }
    CHECK(to_type == TYPE_BF16 && quant_is_real(from_type) && dtype_block(from_type) == 1);
    const size_t size = (size_t)dtype_block_bytes(from_type);
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t m = n - at < CHUNK ? n - at : CHUNK;
        float        *wide = chunk_of(d);
        uint16_t     *narrow = (uint16_t *)(wide + CHUNK);
        quant_expand(from_type, (const uint8_t *)from + (size_t)at * size, m, wide);
        for (int64_t i = 0; i < m; i++)
            narrow[i] = f32_to_bf16(wide[i]);
        d->f->upload((uint16_t *)to + at, narrow, (size_t)m * 2);
    }
}

void device_download(device *d, void *to, dtype to_type, const void *from, dtype from_type, int64_t n)
{
    if (to_type == from_type) {
        d->f->download(to, from, (size_t)dtype_row_bytes(to_type, n));
        return;
    }
    CHECK(to_type == TYPE_F32 && from_type == TYPE_BF16);
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t m = n - at < CHUNK ? n - at : CHUNK;
        uint16_t     *narrow = (uint16_t *)chunk_of(d);
        d->f->download(narrow, (const uint16_t *)from + at, (size_t)m * 2);
        for (int64_t i = 0; i < m; i++)
            ((float *)to)[at + i] = bf16_to_f32(narrow[i]);
    }
}
