/* tensorboard: records and events by hand */
#include "recipes/tensorboard.h"

#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint32_t crc32c(const void *bytes, size_t n)
{
    const uint8_t *v = bytes;
    uint32_t crc = ~0u;

    for (size_t i = 0; i < n; i++) {
        crc ^= v[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* A message under construction; records are short, so their place is fixed. */
typedef struct message {
    size_t n;
    uint8_t v[600];
} message;

static void put_bytes(message *m, const void *bytes, size_t n)
{
    CHECK(m->n + n <= sizeof m->v);
    memcpy(m->v + m->n, bytes, n);
    m->n += n;
}

static void put_little(message *m, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        put_bytes(m, &(uint8_t){(uint8_t)(value >> 8 * i)}, 1);
}

static void put_varint(message *m, uint64_t value)
{
    for (; value >= 128; value >>= 7)
        put_little(m, value | 128, 1);
    put_little(m, value, 1);
}

/* Wire types of protobuf: 0 varint, 1 eight bytes, 2 counted bytes, 5 four bytes. */
static void put_field(message *m, int number, int wire)
{
    put_varint(m, (uint64_t)number << 3 | (uint64_t)wire);
}

static void put_counted(message *m, int number, const void *bytes, size_t n)
{
    put_field(m, number, 2);
    put_varint(m, n);
    put_bytes(m, bytes, n);
}

static message event(double wall, int64_t step)
{
    message m = {0};
    uint64_t bits;

    memcpy(&bits, &wall, sizeof bits);
    put_field(&m, 1, 1);
    put_little(&m, bits, 8);
    put_field(&m, 2, 0);
    put_varint(&m, (uint64_t)step);
    return m;
}

static uint32_t masked(const void *bytes, size_t n)
{
    const uint32_t crc = crc32c(bytes, n);

    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static status write_record(tensorboard *t, const message *m)
{
    message record = {0};

    put_little(&record, m->n, 8);
    put_little(&record, masked(record.v, 8), 4);
    put_bytes(&record, m->v, m->n);
    put_little(&record, masked(m->v, m->n), 4);

    const off_t before = lseek(t->fd, 0, SEEK_END);
    const ssize_t n = write(t->fd, record.v, record.n);
    if (n == (ssize_t)record.n)
        return STATUS_OK;
    const int error = n < 0 ? errno : ENOSPC;
    if (n > 0 && ftruncate(t->fd, before) != 0)
        return fail(STATUS_IO, "%s: cannot cut a torn record: %s", t->path, strerror(errno));
    return fail(STATUS_IO, "%s: cannot write: %s%s", t->path, strerror(error), file_remedy(error));
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static status write_start(tensorboard *t, int64_t from_step)
{
    static const char version[] = "brain.Event:2";
    message first = event(now(), 0);

    put_counted(&first, 3, version, sizeof version - 1);
    TRY(write_record(t, &first));
    message start = event(now(), from_step);
    put_counted(&start, 7, "\x08\x01", 2); /* status = START */
    return write_record(t, &start);
}

status tensorboard_open(tensorboard *t, const char *folder, int64_t from_step)
{
    t->fd = -1;
    for (int i = 0; t->fd < 0; i++) {
        if (snprintf(t->path, sizeof t->path, "%s/events.out.tfevents.%lld.%ld.%d", folder,
                     (long long)time(NULL), (long)getpid(), i) >= (int)sizeof t->path)
            return fail(STATUS_IO, "%s: path is too long", folder);
        t->fd = open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (t->fd < 0 && errno != EEXIST)
            return fail(STATUS_IO, "%s: cannot write: %s%s", t->path, strerror(errno), file_remedy(errno));
    }
    const status s = write_start(t, from_step);
    if (s != STATUS_OK) {
        tensorboard_close(t);
        unlink(t->path);
    }
    return s;
}

status tensorboard_scalar(tensorboard *t, double wall, int64_t step, const char *tag, float value)
{
    message m = event(wall, step), scalar = {0}, summary = {0};
    uint32_t bits;

    CHECK(strlen(tag) <= 255);
    memcpy(&bits, &value, sizeof bits);
    put_counted(&scalar, 1, tag, strlen(tag));
    put_field(&scalar, 2, 5);
    put_little(&scalar, bits, 4);
    put_counted(&summary, 1, scalar.v, scalar.n);
    put_counted(&m, 5, summary.v, summary.n);
    return write_record(t, &m);
}

void tensorboard_close(tensorboard *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}
