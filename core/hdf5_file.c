/* hdf5_file: the few calls of libhdf5 that this project needs, with its errors as status */
#include "core/hdf5_file.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Room for the file's own structures beside the arrays, reserved ahead. */
enum { MARGIN = 1 << 18, TEXT_MAX = 60000, LIST_MAX = 1 << 20, NAME_MAX_BYTES = 1024 };

/* The innermost reason of the library's error stack. */
static herr_t innermost(unsigned n, const H5E_error2_t *error, void *context)
{
    char *out = context;

    (void)n;
    if (error->desc && out[0] == '\0')
        snprintf(out, 300, "%s", error->desc);
    return 0;
}

static void silence(void)
{
    /* files are closed by hand; one that could not be closed would crash the cleanup at exit */
    H5dont_atexit();
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5Eclear2(H5E_DEFAULT);
}

status h5_failed(const h5_file *f, const char *name, const char *what)
{
    char reason[300] = "";

    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, reason);
    H5Eclear2(H5E_DEFAULT);
    return fail(STATUS_IO, "%s: cannot %s%s%s: %s", f->path, what, name[0] ? " " : "", name,
                reason[0] ? reason : "HDF5 gives no reason");
}

/* Keeps the first failure of a file that is being written. */
static status remember(h5_file *f, status s)
{
    if (s != STATUS_OK && f->error == STATUS_OK) {
        f->error = s;
        snprintf(f->text, sizeof f->text, "%s", status_text());
    }
    return s;
}

static status again(h5_file *f)
{
    return fail(f->error, "%s", f->text);
}

/* f16 and bf16, whose bytes are never converted; made once. */
static hid_t half_type(dtype t)
{
    static hid_t types[2] = {-1, -1};
    const bool   brain = t == TYPE_BF16;
    const size_t exponent = brain ? 8 : 5;

    if (types[brain] >= 0)
        return types[brain];
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (H5Tset_fields(type, 15, 15 - exponent, exponent, 0, 15 - exponent) < 0 || H5Tset_size(type, 2) < 0 ||
        H5Tset_ebias(type, brain ? 127 : 15) < 0)
        return -1;
    return types[brain] = type;
}

/* Handle of a type in files (little-endian) and in memory. */
static hid_t file_type(dtype t)
{
    return t == TYPE_F16 || t == TYPE_BF16 ? half_type(t)
           : t == TYPE_F32 ? H5T_IEEE_F32LE
           : t == TYPE_F64 ? H5T_IEEE_F64LE
           : t == TYPE_I32 ? H5T_STD_I32LE
           : t == TYPE_I64 ? H5T_STD_I64LE
           : t == TYPE_U8  ? H5T_STD_U8LE
                           : -1;
}

static hid_t memory_type(dtype t)
{
    return t == TYPE_F16 || t == TYPE_BF16 ? half_type(t)
           : t == TYPE_F32 ? H5T_NATIVE_FLOAT
           : t == TYPE_F64 ? H5T_NATIVE_DOUBLE
           : t == TYPE_I32 ? H5T_NATIVE_INT32
           : t == TYPE_I64 ? H5T_NATIVE_INT64
                           : H5T_NATIVE_UINT8;
}

/* ---- writing ---- */

status h5_create(h5_file *f, const char *path)
{
    silence();
    *f = (h5_file){.path = path, .fd = -1};
    f->id = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (f->id < 0) {
        f->id = 0;
        return h5_failed(f, "", "write");
    }
    f->fd = open(path, O_WRONLY | O_CLOEXEC);
    return STATUS_OK;
}

/* A library that meets a full disk while it flushes its own structures cannot close the file any
 * more. So the space is taken from the file system first, and a full disk is met here. */
static status reserve(h5_file *f, int64_t bytes)
{
    struct rlimit limit;
    struct stat st;

    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return fail(STATUS_IO, "%s: cannot write: %s", f->path, strerror(errno));
    const int64_t end = f->reserved + bytes + (f->reserved ? 0 : MARGIN);
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && (uint64_t)end > limit.rlim_cur)
        return fail(STATUS_IO, "%s: cannot write %lld bytes: %s", f->path, (long long)bytes,
                    strerror(EFBIG));
    if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, end) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS)
        return fail(STATUS_IO, "%s: cannot write %lld bytes: %s; free some space and run again",
                    f->path, (long long)bytes, strerror(errno));
    f->reserved = end;
    return STATUS_OK;
}

static status put_array(h5_file *f, const char *name, dtype type, shape s, const void *v)
{
    hsize_t sizes[SHAPE_MAX];

    for (int i = 0; i < s.n; i++)
        sizes[i] = (hsize_t)s.d[i];
    TRY(reserve(f, shape_count(s) * dtype_block_bytes(type) + 4096));

    const hid_t space = H5Screate_simple(s.n, sizes, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    status result = STATUS_OK;
    hid_t set = -1;

    if (space < 0 || how < 0 || H5Pset_obj_track_times(how, 0) < 0 ||
        H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) < 0 ||
        (set = H5Dcreate2(f->id, name, file_type(type), space, H5P_DEFAULT, how, H5P_DEFAULT)) <
            0 ||
        H5Dwrite(set, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, v) < 0)
        result = h5_failed(f, name, "write");
    if (set >= 0 && H5Dclose(set) < 0 && result == STATUS_OK)
        result = h5_failed(f, name, "write");
    H5Pclose(how);
    H5Sclose(space);
    return result;
}

status h5_put(h5_file *f, const char *name, dtype type, shape s, const void *v)
{
    CHECK(f->id > 0 && name[0] && !strchr(name, '/') && file_type(type) >= 0);
    CHECK(s.n >= 1 && shape_count(s) > 0);
    return f->error ? again(f) : remember(f, put_array(f, name, type, s, v));
}

static status put_attribute(h5_file *f, const char *name, hid_t in_file, hid_t in_memory,
                            const void *v)
{
    TRY(reserve(f, TEXT_MAX / 8 + (int64_t)H5Tget_size(in_file)));

    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t at = H5Acreate2(f->id, name, in_file, space, H5P_DEFAULT, H5P_DEFAULT);
    status result = STATUS_OK;

    if (at < 0 || H5Awrite(at, in_memory, v) < 0)
        result = h5_failed(f, name, "write attribute");
    if (at >= 0)
        H5Aclose(at);
    H5Sclose(space);
    return result;
}

status h5_put_int(h5_file *f, const char *name, int64_t value)
{
    if (f->error)
        return again(f);
    return remember(f, put_attribute(f, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value));
}

status h5_put_real(h5_file *f, const char *name, double value)
{
    if (f->error)
        return again(f);
    return remember(f, put_attribute(f, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value));
}

status h5_put_text(h5_file *f, const char *name, const char *text)
{
    const size_t n = strlen(text);

    if (f->error)
        return again(f);
    if (n > TEXT_MAX)
        return remember(
            f, fail(STATUS_IO, "%s: %s has %zu bytes, may have %d", f->path, name, n, TEXT_MAX));
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, n + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    const status s = remember(f, put_attribute(f, name, type, type, text));
    H5Tclose(type);
    return s;
}

status h5_finish(h5_file *f)
{
    struct stat st;

    CHECK(f->id > 0);
    if (H5Fclose(f->id) < 0)
        remember(f, h5_failed(f, "", "finish"));
    f->id = 0;
    /* gives back what was reserved and not needed */
    if (f->fd >= 0 && fstat(f->fd, &st) == 0 && ftruncate(f->fd, st.st_size) != 0)
        remember(f, fail(STATUS_IO, "%s: cannot finish: %s", f->path, strerror(errno)));
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
    return f->error ? again(f) : STATUS_OK;
}

/* ---- reading ---- */

status h5_open(h5_file *f, const char *path)
{
    struct stat st;

    silence();
    *f = (h5_file){.path = path, .fd = -1};
    if (stat(path, &st) != 0)
        return fail(STATUS_IO, "%s: cannot open: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(STATUS_IO, "%s: must be a file", path);
    f->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (f->id < 0) {
        f->id = 0;
        return h5_failed(f, "", "open");
    }
    return STATUS_OK;
}

void h5_close(h5_file *f)
{
    if (f->id > 0)
        H5Fclose(f->id);
    f->id = 0;
}

/* Opens a dataset that lies in this file itself; *set is -1 when there is none of that name. */
static status open_set(h5_file *f, const char *name, hid_t *set)
{
    H5L_info_t info;

    *set = -1;
    CHECK(f->id > 0 && name[0] && !strchr(name, '/'));
    const htri_t there = H5Lexists(f->id, name, H5P_DEFAULT);
    if (there == 0)
        return STATUS_OK;
    if (there < 0 || H5Lget_info(f->id, name, &info, H5P_DEFAULT) < 0)
        return h5_failed(f, name, "read");
    if (info.type != H5L_TYPE_HARD)
        return fail(STATUS_FORMAT, "%s: %s is a link, must be an array", f->path, name);
    *set = H5Dopen2(f->id, name, H5P_DEFAULT);
    return *set < 0 ? h5_failed(f, name, "read") : STATUS_OK;
}

/* The values are all there, in the file itself. */
static status check_bytes(h5_file *f, const char *name, hid_t set, dtype type, const shape *s)
{
    double  wanted = dtype_block_bytes(type);
    hsize_t file = 0;

    for (int i = 0; i < s->n; i++)
        wanted *= (double)s->d[i];
    if (H5Fget_filesize(f->id, &file) < 0)
        return h5_failed(f, name, "read");
    if (wanted > (double)file || wanted > (double)H5Dget_storage_size(set))
        return fail(STATUS_FORMAT, "%s: %s would have %.0f bytes, which the file does not hold", f->path, name,
                    wanted);
    return STATUS_OK;
}

static status describe(h5_file *f, const char *name, hid_t set, dtype *type, shape *s)
{
    static const dtype known[] = {TYPE_F32, TYPE_F64, TYPE_I32, TYPE_I64, TYPE_U8, TYPE_F16, TYPE_BF16};
    const hid_t space = H5Dget_space(set), kind = H5Dget_type(set);
    const hid_t how = H5Dget_create_plist(set);
    const int n = H5Sget_simple_extent_ndims(space);
    hsize_t sizes[SHAPE_MAX] = {0};
    bool found = false;
    status result = STATUS_OK;

    if (n < 0 || n > SHAPE_MAX || H5Sget_simple_extent_dims(space, sizes, NULL) < 0)
        result =
            fail(STATUS_FORMAT, "%s: %s has %d sizes, may have %d", f->path, name, n, SHAPE_MAX);
    else if (H5Pget_layout(how) != H5D_CONTIGUOUS || H5Pget_external_count(how) != 0)
        result = fail(STATUS_FORMAT, "%s: %s is chunked or stored elsewhere, must be contiguous",
                      f->path, name);
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (H5Tequal(kind, file_type(known[i])) > 0) {
            *type = known[i];
            found = true;
        }
    if (result == STATUS_OK && !found)
        result = fail(STATUS_FORMAT, "%s: %s has a type that is none of f32, f64, f16, bf16, i32, i64, u8",
                      f->path, name);
    *s = (shape){.n = n};
    for (int i = 0; result == STATUS_OK && i < n; i++) {
        if (sizes[i] > INT64_MAX)
            result = fail(STATUS_FORMAT, "%s: %s is too large", f->path, name);
        s->d[i] = (int64_t)sizes[i];
    }
    if (result == STATUS_OK)
        result = check_bytes(f, name, set, *type, s);
    H5Pclose(how);
    H5Tclose(kind);
    H5Sclose(space);
    H5Eclear2(H5E_DEFAULT);
    return result;
}

bool h5_has(h5_file *f, const char *attribute)
{
    const bool there = H5Aexists(f->id, attribute) > 0;

    H5Eclear2(H5E_DEFAULT);
    return there;
}

status h5_list(h5_file *f, arena *a, const char ***names, int64_t *n)
{
    H5G_info_t root;
    char       name[NAME_MAX_BYTES];

    *n = 0;
    if (H5Gget_info(f->id, &root) < 0)
        return h5_failed(f, "", "list");
    if (root.nlinks > LIST_MAX)
        return fail(STATUS_FORMAT, "%s: has %llu arrays, may have %d", f->path, (unsigned long long)root.nlinks,
                    LIST_MAX);
    TRY_TAKE(*names, a, root.nlinks + 1);
    for (hsize_t i = 0; i < root.nlinks; i++) {
        const ssize_t length =
            H5Lget_name_by_idx(f->id, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
        if (length < 0)
            return h5_failed(f, "", "list");
        if (length == 0 || length >= (ssize_t)sizeof name)
            return fail(STATUS_FORMAT, "%s: array %llu has a name of %lld bytes, must have 1..%d", f->path,
                        (unsigned long long)i, (long long)length, NAME_MAX_BYTES - 1);
        if (!((*names)[*n] = arena_string(a, name, (size_t)length)))
            return STATUS_MEMORY;
        ++*n;
    }
    return STATUS_OK;
}

status h5_find(h5_file *f, const char *name, bool *found, dtype *type, shape *s)
{
    hid_t set;

    TRY(open_set(f, name, &set));
    *found = set >= 0;
    if (!*found)
        return STATUS_OK;
    const status result = describe(f, name, set, type, s);
    H5Dclose(set);
    return result;
}

status h5_get(h5_file *f, const char *name, dtype type, shape s, void *out)
{
    hid_t set;
    dtype there = TYPE_F32;
    shape have = {0};

    TRY(open_set(f, name, &set));
    if (set < 0)
        return fail(STATUS_FORMAT, "%s: has no array %s", f->path, name);
    status result = describe(f, name, set, &there, &have);
    if (result == STATUS_OK && (there != type || !shape_equal(have, s)))
        result = fail(STATUS_SHAPE, "%s: %s is %s %s, must be %s %s", f->path, name,
                      dtype_name(there), shape_text(have), dtype_name(type), shape_text(s));
    if (result == STATUS_OK &&
        H5Dread(set, memory_type(type), H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        result = h5_failed(f, name, "read");
    H5Dclose(set);
    return result;
}

/* Opens an attribute whose value is a single one; *type is its stored type. */
static status open_attribute(h5_file *f, const char *name, hid_t *at, hid_t *type)
{
    CHECK(f->id > 0);
    *at = H5Aexists(f->id, name) > 0 ? H5Aopen(f->id, name, H5P_DEFAULT) : -1;
    if (*at < 0) {
        H5Eclear2(H5E_DEFAULT);
        return fail(STATUS_FORMAT, "%s: has no attribute %s", f->path, name);
    }
    const hid_t space = H5Aget_space(*at);
    const bool single = H5Sget_simple_extent_type(space) == H5S_SCALAR;
    H5Sclose(space);
    if (!single) {
        H5Aclose(*at);
        return fail(STATUS_FORMAT, "%s: attribute %s must be a single value", f->path, name);
    }
    *type = H5Aget_type(*at);
    return STATUS_OK;
}

static status get_number(h5_file *f, const char *name, hid_t want, hid_t in_memory, void *out)
{
    hid_t at, type;
    status result = STATUS_OK;

    TRY(open_attribute(f, name, &at, &type));
    if (H5Tequal(type, want) <= 0)
        result = fail(STATUS_FORMAT, "%s: attribute %s has another type", f->path, name);
    else if (H5Aread(at, in_memory, out) < 0)
        result = h5_failed(f, name, "read attribute");
    H5Tclose(type);
    H5Aclose(at);
    return result;
}

status h5_get_int(h5_file *f, const char *name, int64_t *value)
{
    return get_number(f, name, H5T_STD_I64LE, H5T_NATIVE_INT64, value);
}

status h5_get_real(h5_file *f, const char *name, double *value)
{
    return get_number(f, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, value);
}

status h5_get_text(h5_file *f, const char *name, char *text, size_t capacity)
{
    hid_t at, type;
    status result = STATUS_OK;

    TRY(open_attribute(f, name, &at, &type));
    const size_t bytes = H5Tget_size(type);
    if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) > 0)
        result =
            fail(STATUS_FORMAT, "%s: attribute %s must be a text of fixed length", f->path, name);
    else if (bytes > capacity)
        result = fail(STATUS_FORMAT, "%s: attribute %s has %zu bytes, may have %zu", f->path, name,
                      bytes, capacity);
    else if (H5Aread(at, type, text) < 0)
        result = h5_failed(f, name, "read attribute");
    else
        text[bytes ? bytes - 1 : 0] = '\0';
    H5Tclose(type);
    H5Aclose(at);
    return result;
}
