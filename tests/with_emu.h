/* with_emu: what tests of the emulator (C++) share: the device of this very program, device memory as a
 * vector, and a child process in which a fault may stop the program. */
#ifndef TESTS_WITH_EMU_H
#define TESTS_WITH_EMU_H

#include "tests/check.h"

#include "core/device_plugin.h"

#ifdef __cplusplus

#include "core/cuda/dialect.cuh"

#include <algorithm>
#include <csignal>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
enum { EMU_ASAN = 1, EMU_TSAN = 0 };
#elif defined(__SANITIZE_THREAD__)
enum { EMU_ASAN = 0, EMU_TSAN = 1 };
#else
enum { EMU_ASAN = 0, EMU_TSAN = 0 };
#endif

static const char *const emu_orders[] = {"forward", "backward", "random"};

/* The device, open while it lives. */
struct emu_device {
    const device_plugin *f = cambium_device_plugin();
    device_info          info;

    emu_device()
    {
        ck_assert_msg(f->count() == 1 && f->open(0, &info), "%s", f->failure());
    }
    ~emu_device()
    {
        f->close();
    }
    emu_device(const emu_device &) = delete;
};

/* Values on the device. */
template <class T> struct emu_values {
    T     *there, *gone = nullptr;
    size_t n;

    explicit emu_values(size_t count) : n(count)
    {
        there = static_cast<T *>(cambium_device_plugin()->take(n * sizeof(T)));
        ck_assert_ptr_nonnull(there);
    }
    explicit emu_values(const std::vector<T> &from) : emu_values(from.size())
    {
        cambium_device_plugin()->upload(there, from.data(), n * sizeof(T));
    }
    ~emu_values()
    {
        if (there)
            cambium_device_plugin()->give(there);
    }
    emu_values(const emu_values &) = delete;

    std::vector<T> back() const
    {
        std::vector<T> out(n);
        cambium_device_plugin()->download(out.data(), there, n * sizeof(T));
        ck_assert_str_eq(cambium_device_plugin()->failure(), "");
        return out;
    }
    /* The memory is the caller's to give back; `gone` remembers where it was. */
    T *release()
    {
        gone = there;
        there = nullptr;
        return gone;
    }
};

/* How a child process ended, and all that it wrote. */
struct emu_end {
    int         code, signal;
    std::string text;
};

template <class F> static inline emu_end emu_child(F work)
{
    int     ends[2], how = 0;
    char    part[4096];
    emu_end e = {0, 0, ""};

    fflush(stdout);
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        work();
        fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;)
        e.text.append(part, (size_t)n);
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &how, 0), child);
    e.code = WIFEXITED(how) ? WEXITSTATUS(how) : 0;
    e.signal = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    return e;
}

#endif
#endif
