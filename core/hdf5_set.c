/* hdf5_set: opening arrays that others wrote, and reading numbers */
#include "core/hdf5_set.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>

/* What deflate makes of a byte at most. */
enum { INFLATED_MAX = 1032, NAME_MAX_BYTES = 1024 };

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Every part of the name must lie in this file. */
static status check_links(h5_file *f, const char *name)
{
    char   part[NAME_MAX_BYTES];
    size_t n = strlen(name);

    if (n == 0 || n >= sizeof part || name[0] == '/' || name[n - 1] == '/')
        return fail(STATUS_USAGE, "%s: \"%.60s\" is no name of an array, such as train/images", f->path, name);
    for (size_t at = 1; at <= n; at++) {
        H5L_info_t info;

        if (name[at] != '/' && name[at] != '\0')
            continue;
        memcpy(part, name, at);
        part[at] = '\0';
        const htri_t there = H5Lexists(f->id, part, H5P_DEFAULT);
        if (there == 0)
            return fail(STATUS_FORMAT, "%s: there is no %s", f->path, part);
        if (there < 0 || H5Lget_info(f->id, part, &info, H5P_DEFAULT) < 0)
            return h5_failed(f, part, "read");
        if (info.type != H5L_TYPE_HARD)
            return fail(STATUS_FORMAT, "%s: %s is a link, must be an array or a group", f->path, part);
    }
    return STATUS_OK;
}

/* Bytes that the array can have: what is stored of it in one piece, or what the file's own bytes can become. */
static status storage(const h5_file *f, const h5_set *s, size_t size, double *most)
{
    const hsize_t      stored = H5Dget_storage_size(s->id);
    const hid_t        how = H5Dget_create_plist(s->id);
    const H5D_layout_t layout = H5Pget_layout(how);
    hsize_t            file = 0, chunk[SHAPE_MAX];
    double             chunk_bytes = (double)size;
    status             result = STATUS_OK;

    if (how < 0 || H5Fget_filesize(f->id, &file) < 0)
        result = h5_failed(f, s->name, "read");
    else if (layout == H5D_VIRTUAL || H5Pget_external_count(how) != 0)
        result = fail(STATUS_FORMAT, "%s: %s lies in other files", f->path, s->name);
    *most = (double)(layout == H5D_CHUNKED || file < stored ? file : stored);
    if (result == STATUS_OK && layout == H5D_CHUNKED) {
        for (int i = 0, n = H5Pget_chunk(how, SHAPE_MAX, chunk); i < n && i < SHAPE_MAX; i++)
            chunk_bytes *= (double)chunk[i];
        if (chunk_bytes > H5_CHUNK_MAX)
            result = fail(STATUS_FORMAT, "%s: %s has chunks of %.0f bytes, may have %d", f->path, s->name,
                          chunk_bytes, H5_CHUNK_MAX);
        *most *= H5Pget_nfilters(how) > 0 ? INFLATED_MAX : 1;
    }
    H5Pclose(how);
    return result;
}

static status read_shape(const h5_file *f, h5_set *s)
{
    const hid_t space = H5Dget_space(s->id);
    const int   n = H5Sget_simple_extent_ndims(space);
    hsize_t     sizes[SHAPE_MAX] = {0};
    status      result = STATUS_OK;

    if (n < 1 || n > SHAPE_MAX || H5Sget_simple_extent_dims(space, sizes, NULL) < 0)
        result = fail(STATUS_FORMAT, "%s: %s has %d sizes, must have 1..%d", f->path, s->name, n, SHAPE_MAX);
    s->s.n = n;
    for (int i = 0; result == STATUS_OK && i < n; i++) {
        s->s.d[i] = (int64_t)sizes[i];
        if (sizes[i] < 1 || sizes[i] > INT32_MAX)
            result = fail(STATUS_FORMAT, "%s: size %d of %s is %llu, must be 1..%d", f->path, i, s->name,
                          (unsigned long long)sizes[i], INT32_MAX);
    }
    H5Sclose(space);
    return result;
}

static status read_kind(const h5_file *f, h5_set *s, hid_t type)
{
    const H5T_class_t class = H5Tget_class(type);
    const size_t      size = H5Tget_size(type);
    double            most, wanted = (double)size;

    if (class != H5T_STRING && !((class == H5T_INTEGER || class == H5T_FLOAT) && size <= 8))
        return fail(STATUS_FORMAT, "%s: %s must hold texts, whole numbers, or reals of at most 64 bits", f->path,
                    s->name);
    s->kind = class == H5T_STRING ? H5_TEXTS : class == H5T_INTEGER ? H5_WHOLE : H5_REAL;
    s->bytes = class == H5T_INTEGER && size == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
    TRY(storage(f, s, size, &most));
    for (int i = 0; i < s->s.n; i++)
        wanted *= (double)s->s.d[i];
    if (wanted > most)
        return fail(STATUS_FORMAT, "%s: %s would have %.0f bytes, the file can hold %.0f", f->path, s->name, wanted,
                    most);
    return STATUS_OK;
}

static status describe(const h5_file *f, h5_set *s)
{
    const hid_t type = H5Dget_type(s->id);

    if (type < 0)
        return h5_failed(f, s->name, "read");
    status result = read_shape(f, s);
    if (result == STATUS_OK)
        result = read_kind(f, s, type);
    H5Tclose(type);
    return result;
}

status h5_set_open(h5_file *f, const char *name, h5_set *out)
{
    *out = (h5_set){.name = name};
    H5PLset_loading_state(0); /* a file does not make the program load code */
    TRY(check_links(f, name));
    const hid_t id = H5Dopen2(f->id, name, H5P_DEFAULT);
    if (id < 0)
        return h5_failed(f, name, "read");
    out->id = id;
    return describe(f, out);
}

void h5_set_close(h5_set *s)
{
    if (s->id > 0)
        H5Dclose(s->id);
    s->id = 0;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

status h5_set_read(h5_file *f, const h5_set *s, dtype type, void *out)
{
    const hid_t as = type == TYPE_U8 ? H5T_NATIVE_UINT8 : type == TYPE_I64 ? H5T_NATIVE_INT64 : H5T_NATIVE_FLOAT;

    CHECK((type == TYPE_U8 && s->bytes) || (type == TYPE_I64 && s->kind == H5_WHOLE) ||
          (type == TYPE_F32 && s->kind == H5_REAL));
    return H5Dread(s->id, as, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0 ? h5_failed(f, s->name, "read") : STATUS_OK;
}
