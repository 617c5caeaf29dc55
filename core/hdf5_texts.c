/* hdf5_texts: arrays of texts, of one length and of any.
 *
 * A text of any length lies in a heap of the file; the array holds its length in 4 bytes, the address of the heap, and
 * its number there in 4 bytes. These are read here, within the file: the library believes what they say.
 *
 * A heap: "GCOL", version 1, 3 bytes, its size; then its texts: number (2 bytes), 6 bytes, size, bytes. All of these
 * parts begin at multiples of 8; number 0 is what is free. */
#include "core/file.h"
#include "core/hdf5_set.h"

#include <hdf5.h>
#include <string.h>

enum { HEAP_TEXTS = 65536 };

typedef struct heaps {
    const h5_set *set;
    file_map      map;
    uint64_t      base;    /* of addresses */
    size_t        address; /* bytes of one */
    size_t        length;  /* bytes of a size */
    uint64_t      open;    /* where the heap at hand begins, 0: none */
    uint64_t     *at;      /* [HEAP_TEXTS] of its texts, 0: there is none */
    double        sum;     /* of the lengths of all texts so far */
} heaps;

/* ---- texts of one length ------------------------------------------------------------------------------- */

static status fixed_texts(h5_file *f, const h5_set *s, hid_t type, arena *a, h5_text *out)
{
    const size_t    size = H5Tget_size(type);
    const H5T_str_t pad = H5Tget_strpad(type);
    const int64_t   n = shape_count(s->s);
    char           *bytes, *text;

    TRY_TAKE(bytes, a, (size_t)n * size);
    if (H5Dread(s->id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
        return h5_failed(f, s->name, "read");
    for (int64_t i = 0; i < n; i++) {
        const char *from = bytes + (size_t)i * size;
        size_t      length = pad == H5T_STR_SPACEPAD ? size : strnlen(from, size);

        while (pad == H5T_STR_SPACEPAD && length > 0 && from[length - 1] == ' ')
            length--;
        if ((text = arena_string(a, from, length)) == NULL)
            return STATUS_MEMORY;
        out[i] = (h5_text){text, length};
    }
    return STATUS_OK;
}

/* ---- heaps --------------------------------------------------------------------------------------------- */

static uint64_t number(const uint8_t *v, size_t bytes)
{
    uint64_t n = 0;

    for (size_t i = bytes; i-- > 0;)
        n = n << 8 | v[i];
    return n;
}

static uint64_t next_eight(uint64_t n)
{
    return (n + 7) & ~(uint64_t)7;
}

static status damaged(const heaps *h, const char *what)
{
    return fail(STATUS_FORMAT, "%s: %s: the heap of its texts is damaged: %s", h->map.path, h->set->name, what);
}

/* Finds the texts of the heap at a place of the file. */
static status open_heap(heaps *h, uint64_t at)
{
    const uint64_t file = h->map.bytes, head = next_eight(8 + h->length);

    if (at == h->open && at > 0)
        return STATUS_OK;
    memset(h->at, 0, HEAP_TEXTS * sizeof *h->at);
    h->open = 0;
    if (at == 0 || at > file || file - at < head || memcmp(h->map.v + at, "GCOL\1", 5) != 0)
        return damaged(h, "it is not where it should be");
    const uint64_t size = number(h->map.v + at + 8, h->length);
    if (size < head || size > file - at)
        return damaged(h, "it would be longer than the file");
    for (uint64_t x = at + head, end = at + size; end - x >= head;) {
        const uint64_t name = number(h->map.v + x, 2), bytes = number(h->map.v + x + 8, h->length);

        if (name == 0)
            break;
        if (bytes > end - x - head)
            return damaged(h, "a text reaches beyond its end");
        h->at[name] = x;
        x = next_eight(bytes) > end - x - head ? end : x + head + next_eight(bytes);
    }
    h->open = at;
    return STATUS_OK;
}

/* The text that an element of the array names. */
static status find_text(heaps *h, arena *a, const uint8_t *element, h5_text *out)
{
    const uint64_t length = number(element, 4), name = number(element + 4 + h->address, 4);
    const uint64_t heap = number(element + 4, h->address), head = next_eight(8 + h->length);
    const char    *text = "";
    size_t         n = 0;

    h->sum += (double)length;
    if (h->sum > (double)h->map.bytes)
        return fail(STATUS_FORMAT, "%s: the texts of %s would have %.0f bytes or more, the file has %zu", h->map.path,
                    h->set->name, h->sum, h->map.bytes);
    if (length > 0) {
        TRY(open_heap(h, heap > h->map.bytes ? 0 : h->base + heap));
        if (name >= HEAP_TEXTS || h->at[name] == 0 || number(h->map.v + h->at[name] + 8, h->length) < length)
            return damaged(h, "it lacks a text");
        text = (const char *)h->map.v + h->at[name] + head;
        n = strnlen(text, length);
    }
    text = arena_string(a, text, n);
    *out = (h5_text){text, n};
    return text ? STATUS_OK : STATUS_MEMORY;
}

/* ---- the array's elements -------------------------------------------------------------------------------- */

static status contiguous_texts(heaps *h, arena *a, int64_t n, h5_text *out)
{
    const size_t  size = 4 + h->address + 4;
    const haddr_t at = H5Dget_offset(h->set->id);

    if (at > h->map.bytes || (uint64_t)n > (h->map.bytes - at) / size)
        return fail(STATUS_FORMAT, "%s: %s reaches beyond the file's end", h->map.path, h->set->name);
    for (int64_t i = 0; i < n; i++)
        TRY(find_text(h, a, h->map.v + at + (size_t)i * size, &out[i]));
    return STATUS_OK;
}

/* n texts from a chunk, the first of which is number `first` of the array. */
static status chunk_texts(h5_file *f, heaps *h, arena *a, hsize_t first, hsize_t n, h5_text *out)
{
    const size_t size = 4 + h->address + 4;
    hsize_t      bytes = 0;
    uint32_t     filters = 0;
    uint8_t     *v;

    if (H5Dget_chunk_storage_size(h->set->id, &first, &bytes) < 0)
        return h5_failed(f, h->set->name, "read");
    if (bytes > H5_CHUNK_MAX || (bytes > 0 && bytes < n * size))
        return fail(STATUS_FORMAT, "%s: %s has a chunk of %llu bytes, must be %llu", f->path, h->set->name,
                    (unsigned long long)bytes, (unsigned long long)(n * size));
    TRY_TAKE(v, a, bytes > 0 ? bytes : n * size);
    if (bytes == 0)
        memset(v, 0, n * size); /* it was not written */
    else if (H5Dread_chunk(h->set->id, H5P_DEFAULT, &first, &filters, v) < 0)
        return h5_failed(f, h->set->name, "read");
    for (hsize_t i = 0; i < n; i++)
        TRY(find_text(h, a, v + i * size, &out[first + i]));
    return STATUS_OK;
}

static status free_texts(h5_file *f, heaps *h, arena *a, h5_text *out)
{
    const hid_t        how = H5Dget_create_plist(h->set->id), file = H5Fget_create_plist(f->id);
    const H5D_layout_t layout = H5Pget_layout(how);
    const bool         packed = H5Pget_nfilters(how) != 0;
    const hsize_t      n = (hsize_t)h->set->s.d[0];
    hsize_t            chunk = 0, base = 0;
    const bool         chunks = layout == H5D_CHUNKED && H5Pget_chunk(how, 1, &chunk) == 1 && chunk > 0;
    const bool         known = H5Pget_sizes(file, &h->address, &h->length) >= 0 && H5Pget_userblock(file, &base) >= 0;

    H5Pclose(file);
    H5Pclose(how);
    h->base = base;
    if (!known || h->address < 2 || h->address > 8 || h->length < 2 || h->length > 8)
        return h5_failed(f, h->set->name, "read");
    if (packed || (!chunks && layout != H5D_CONTIGUOUS))
        return fail(STATUS_UNSUPPORTED, "%s: %s has texts of any length that are compact or compressed; store them "
                    "contiguous or in plain chunks, or as texts of one length", f->path, h->set->name);
    if (!chunks)
        return contiguous_texts(h, a, (int64_t)n, out);
    for (hsize_t first = 0; first < n; first += chunk)
        TRY(chunk_texts(f, h, a, first, n - first < chunk ? n - first : chunk, out));
    return STATUS_OK;
}

status h5_set_texts(h5_file *f, const h5_set *s, arena *a, h5_text **out)
{
    const hid_t type = H5Dget_type(s->id);
    heaps       h = {.set = s};
    status      result = STATUS_MEMORY;

    CHECK(s->kind == H5_TEXTS && s->s.n == 1);
    *out = arena_take(a, (size_t)s->s.d[0], sizeof **out);
    h.at = arena_take(a, HEAP_TEXTS, sizeof *h.at);
    if (*out && h.at && H5Tis_variable_str(type) > 0) {
        result = file_map_open(&h.map, f->path);
        if (result == STATUS_OK)
            result = free_texts(f, &h, a, *out);
        file_map_close(&h.map);
    } else if (*out && h.at)
        result = fixed_texts(f, s, type, a, *out);
    H5Tclose(type);
    return result;
}
