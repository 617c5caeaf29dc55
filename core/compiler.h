/* compiler: the extensions to C11 that this project uses, named in one place. GCC and Clang. */
#ifndef CORE_COMPILER_H
#define CORE_COMPILER_H

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NO_INLINE __attribute__((noinline))
#define ALIGNED(n) __attribute__((aligned(n)))
#define UNUSED __attribute__((unused))

#ifdef __cplusplus
#define NO_RETURN [[noreturn]]
#define THREAD_LOCAL thread_local
#define RESTRICT __restrict__
#else
#define NO_RETURN _Noreturn
#define THREAD_LOCAL _Thread_local
#define RESTRICT restrict
#endif

/* GCC vector extensions: a vector of `bytes` bytes of type T; unaligned loads go through memcpy. */
#define VECTOR(T, bytes) T __attribute__((vector_size(bytes)))

/* The compiler must keep pointer p in a register of its own instead of deriving it from another. */
#define KEEP_POINTER(p) __asm__ volatile("" : "+r"(p))

/* Checked size arithmetic: true when the result does not fit. */
#define ADD_OVERFLOWS(a, b, out) __builtin_add_overflow(a, b, out)
#define MUL_OVERFLOWS(a, b, out) __builtin_mul_overflow(a, b, out)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#endif
