/* kv_pages: who has which page, and copies of those that are begun */
#include "recipes/kv_pages.h"

#include <string.h>

static int64_t pages_for(int64_t positions)
{
    return (positions + KV_PAGE - 1) / KV_PAGE;
}

static status open_rows(arena *a, const model *m, int64_t pages, tensor **out)
{
    const int64_t W = m->kv_width;

    TRY_TAKE(*out, a, m->layers);
    for (int64_t l = 0; l < m->layers; l++) {
        float *v;
        TRY_TAKE(v, a, pages * KV_PAGE * W);
        (*out)[l] = (tensor){.s = shape_2(pages * KV_PAGE, W), .type = TYPE_F32, .v = v};
    }
    return STATUS_OK;
}

static status open_table(kv_pages *p, arena *a)
{
    const int64_t n = p->need.prompts, beams = p->need.beams;

    TRY_TAKE(p->table, a, n * beams * p->each);
    TRY_TAKE(p->before, a, beams * p->each);
    TRY_TAKE(p->used, a, p->pool);
    for (int64_t i = 0; i < n; i++)
        for (int64_t b = 0; b < p->each; b++)
            p->table[i * beams * p->each + b] = (int32_t)(i * p->pool + b);
    return STATUS_OK;
}

status kv_pages_open(kv_pages *p, arena *a, const model *m, const kv_need *need)
{
    const int64_t shared = need->common / KV_PAGE;

    *p = (kv_pages){.need = *need, .each = pages_for(need->positions), .source_each = pages_for(need->source)};
    p->pool = shared + need->beams * (p->each - shared);
    const int64_t pages = need->prompts * p->pool, source = need->prompts * p->source_each;
    if (pages > INT32_MAX / KV_PAGE || source > INT32_MAX / KV_PAGE)
        return fail(STATUS_USAGE, "%lld prompts of %lld tokens are too many at once", (long long)need->prompts,
                    (long long)(p->pool + p->source_each) * KV_PAGE);
    p->cache.layers = (int)m->layers;
    TRY(open_table(p, a));
    TRY(open_rows(a, m, pages, &p->cache.k));
    TRY(open_rows(a, m, pages, &p->cache.v));
    if (source == 0)
        return STATUS_OK;
    TRY(open_rows(a, m, source, &p->cache.source_k));
    return open_rows(a, m, source, &p->cache.source_v);
}

void kv_pages_close(kv_pages *p)
{
    device_arena_close(&p->there);
}

/* ---- on a device --------------------------------------------------------------------------------------------- */

static size_t bytes_of(const kv_pages *p, const tensor *rows)
{
    if (!rows)
        return 0;
    const tensor one = {.s = rows[0].s, .type = device_activations(device_current())};

    return (size_t)p->cache.layers * device_arena_room(tensor_bytes(&one));
}

size_t kv_pages_bytes(const kv_pages *p)
{
    return 2 * (bytes_of(p, p->cache.k) + bytes_of(p, p->cache.source_k));
}

status kv_pages_hold(kv_pages *p)
{
    tensor *const all[] = {p->cache.k, p->cache.v, p->cache.source_k, p->cache.source_v};
    device       *there = device_current();

    TRY(device_arena_open(there, &p->there, "the cache of keys and values", kv_pages_bytes(p)));
    for (size_t i = 0; i < COUNT_OF(all); i++)
        for (int l = 0; all[i] && l < p->cache.layers; l++)
            TRY(device_hold(&p->there, &all[i][l], device_activations(there)));
    return STATUS_OK;
}

/* ---- pages --------------------------------------------------------------------------------------------------- */

const int32_t *kv_pages_of(const kv_pages *p, int64_t prompt, int64_t beam)
{
    return p->table + (prompt * p->need.beams + beam) * p->each;
}

int32_t kv_pages_slot(const kv_pages *p, int64_t prompt, int64_t beam, int64_t position)
{
    return kv_pages_of(p, prompt, beam)[position / KV_PAGE] * KV_PAGE + (int32_t)(position % KV_PAGE);
}

static void copy_rows(const tensor *x, int64_t to, int64_t from, int64_t rows)
{
    const int64_t       W = shape_last(x->s);
    const device *const there = device_current();
    float              *v = x->v;
    dtype               type;

    if (!there) {
        memcpy(v + to * W, v + from * W, (size_t)(rows * W) * sizeof *v);
        return;
    }
    void *at = device_find(there, v + to * W, &type), *source = device_find(there, v + from * W, &type);
    device_functions(there)->copy(at, source, (size_t)dtype_row_bytes(type, rows * W));
}

static void copy_page(const kv_pages *p, int32_t to, int32_t from, int64_t rows)
{
    for (int l = 0; l < p->cache.layers; l++) {
        copy_rows(&p->cache.k[l], (int64_t)to * KV_PAGE, (int64_t)from * KV_PAGE, rows);
        copy_rows(&p->cache.v[l], (int64_t)to * KV_PAGE, (int64_t)from * KV_PAGE, rows);
    }
}

static int32_t take_page(kv_pages *p, int64_t prompt)
{
    int64_t i = 0;

    while (i < p->pool && p->used[i])
        i++;
    CHECK(i < p->pool);
    p->used[i] = true;
    return (int32_t)(prompt * p->pool + i);
}

static bool comes_again(const int32_t *parents, int64_t i)
{
    for (int64_t k = 0; k < i; k++)
        if (parents[k] == parents[i])
            return true;
    return false;
}

/* The page that is begun stays with a parent's first child; the others get a copy. */
void kv_pages_follow(kv_pages *p, int64_t prompt, const int32_t *parents, int64_t n, int64_t positions)
{
    const int64_t whole = positions / KV_PAGE, part = positions % KV_PAGE, kept = whole + (part > 0);
    const int64_t size = p->need.beams * p->each;
    int32_t      *table = p->table + prompt * size;

    CHECK(n <= p->need.beams && whole < p->each);
    memcpy(p->before, table, (size_t)size * sizeof *table);
    memset(p->used, 0, (size_t)p->pool * sizeof *p->used);
    for (int64_t i = 0; i < n; i++)
        for (int64_t b = 0; b < kept; b++) {
            const int32_t page = p->before[parents[i] * p->each + b];
            table[i * p->each + b] = page;
            p->used[page - prompt * p->pool] = true;
        }
    for (int64_t i = 0; i < n; i++) {
        int32_t *page = &table[i * p->each + whole];
        if (part == 0)
            *page = take_page(p, prompt);
        else if (comes_again(parents, i)) {
            const int32_t begun = *page;
            *page = take_page(p, prompt);
            copy_page(p, *page, begun, part);
        }
    }
}
