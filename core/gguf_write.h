/* gguf_write: writing GGUF files (version 3, little endian).
 *
 * Metadata are collected in a list, in the order in which they are put; then everything is written in one
 * atomic step. The first failure of the list is kept and comes back from gguf_write. */
#ifndef CORE_GGUF_WRITE_H
#define CORE_GGUF_WRITE_H

#include "core/gguf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gguf_meta {
    arena     *a; /* holds the list and copies of keys and values */
    int64_t    n, room;
    gguf_pair *pairs;
    status     error;
} gguf_meta;

/* One value; a key that is there gets the new value in its old place. `value` points to a value of the
 * kind. gguf_put takes any value as the reader gives it, and copies nothing but the key. */
void gguf_put(gguf_meta *m, const char *key, const gguf_value *value);
void gguf_put_plain(gguf_meta *m, const char *key, gguf_kind kind, const void *value);
void gguf_put_u32(gguf_meta *m, const char *key, uint32_t value);
void gguf_put_f32(gguf_meta *m, const char *key, float value);
void gguf_put_bool(gguf_meta *m, const char *key, bool value);
void gguf_put_text(gguf_meta *m, const char *key, const char *text, size_t n);
void gguf_put_string(gguf_meta *m, const char *key, const char *text);
void gguf_put_array(gguf_meta *m, const char *key, gguf_kind of, const void *items, uint64_t n);
void gguf_put_texts(gguf_meta *m, const char *key, const gguf_text *texts, uint64_t n);

/* NULL when there is none of that name. */
const gguf_value *gguf_meta_find(const gguf_meta *m, const char *key);

typedef struct gguf_item {
    const char *name;
    tensor      t; /* sizes as everywhere: [out, in]; 1..4 of them, none 0 */
} gguf_item;

/* Writes beside, syncs, renames. Tensors lie in the order given, at multiples of general.alignment (a power
 * of two from 8 on; 32 without that key). `fill` makes the values; NULL: they are items[i].t.v. Keys and
 * names that are empty, equal or not UTF-8, bools other than 0 and 1, and types that the format lacks fail,
 * and nothing is written. */
status gguf_write(const char *path, const gguf_meta *m, const gguf_item *items, int64_t n,
                  const tensor_fill *fill);

#ifdef __cplusplus
}
#endif
#endif
