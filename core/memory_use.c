/* memory_use: /proc/self/status, read without the C library's buffers */
#include "core/memory_use.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number of kB behind a name at the beginning of a line, in bytes. */
static int64_t bytes_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    return at ? strtoll(at + strlen(name), NULL, 10) * 1024 : -1;
}

void memory_use(int64_t *now, int64_t *peak)
{
    char text[4096];
    size_t used = 0;
    const int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    while (fd >= 0 && used < sizeof text - 1) {
        const ssize_t n = read(fd, text + used, sizeof text - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    text[used] = '\0';
    if (fd >= 0)
        close(fd);
    if (now)
        *now = bytes_of(text, "\nVmRSS:");
    if (peak)
        *peak = bytes_of(text, "\nVmHWM:");
}

size_t memory_free(void)
{
    FILE              *f = fopen("/proc/meminfo", "r");
    char               line[128];
    unsigned long long kb = 0, limit = 0, used = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
            break;
    if (f)
        fclose(f);

    FILE *most = fopen("/sys/fs/cgroup/memory.max", "r"), *now = fopen("/sys/fs/cgroup/memory.current", "r");
    if (most && now && fscanf(most, "%llu", &limit) == 1 && fscanf(now, "%llu", &used) == 1 &&
        limit > used && limit - used < kb * 1024)
        kb = (limit - used) / 1024;
    if (most)
        fclose(most);
    if (now)
        fclose(now);
    return (size_t)kb * 1024;
}

int memory_peak_reset(void)
{
    const int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    const int done = write(fd, "5", 1) == 1;
    close(fd);
    return done;
}

int64_t memory_heap(void)
{
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    const struct mallinfo2 m = mallinfo2();
    return (int64_t)(m.uordblks + m.hblkhd);
#else
    return 0;
#endif
}
