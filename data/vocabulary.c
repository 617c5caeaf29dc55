/* vocabulary: token texts by id, and ids by text through a hash table */
#include "data/tokenizer_parts.h"

#include <string.h>

static uint32_t hash(const char *text, size_t n)
{
    uint64_t h = 0x9E3779B97F4A7C15u ^ n;

    for (; n >= 8; text += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, text, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    uint64_t word = 0;
    memcpy(&word, text, n);
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32);
}

status vocabulary_open(arena *a, size_t tokens, size_t bytes, vocabulary *v)
{
    size_t slots = 16;

    CHECK(tokens < (size_t)1 << 28 && bytes < UINT32_MAX - tokens);
    while (slots < 2 * tokens)
        slots *= 2;
    *v = (vocabulary){.capacity = (int32_t)tokens + TOKEN_ID_SLACK,
                      .room = bytes + tokens,
                      .mask = (uint32_t)slots - 1};
    TRY_TAKE(v->bytes, a, v->room);
    TRY_TAKE(v->at, a, v->capacity);
    TRY_TAKE(v->length, a, v->capacity);
    TRY_TAKE(v->slots, a, slots);
    memset(v->length, 0xFF, (size_t)v->capacity * sizeof *v->length);
    memset(v->slots, 0xFF, slots * sizeof *v->slots);
    return STATUS_OK;
}

status vocabulary_add(vocabulary *v, const char *text, size_t n, int64_t id, bool findable,
                      const char *what)
{
    const int shown = n < 80 ? (int)n : 80;

    if (n == 0)
        return fail(STATUS_FORMAT, "%s: the token with id %lld is empty", what, (long long)id);
    if (id < 0 || id >= v->capacity)
        return fail(STATUS_FORMAT, "%s: token \"%.*s\" has id %lld, must be 0..%d", what, shown,
                    text, (long long)id, v->capacity - 1);
    if (v->length[id] != UINT32_MAX) {
        const int other = v->length[id] < 80 ? (int)v->length[id] : 80;
        return fail(STATUS_FORMAT, "%s: tokens \"%.*s\" and \"%.*s\" both have id %lld", what,
                    other, v->bytes + v->at[id], shown, text, (long long)id);
    }
    CHECK(n < v->room - v->used);
    if (findable) {
        const uint32_t h = hash(text, n);
        uint32_t at = h & v->mask;
        for (; v->slots[at].id >= 0; at = (at + 1) & v->mask) {
            const int32_t there = v->slots[at].id;
            if (v->slots[at].hash == h && v->length[there] == n &&
                memcmp(v->bytes + v->at[there], text, n) == 0)
                return fail(STATUS_FORMAT, "%s: token \"%.*s\" has ids %d and %lld", what, shown,
                            text, there, (long long)id);
        }
        v->slots[at] = (vocabulary_slot){h, (int32_t)id};
    }
    memcpy(v->bytes + v->used, text, n);
    v->at[id] = (uint32_t)v->used;
    v->length[id] = (uint32_t)n;
    v->bytes[v->used + n] = '\0';
    v->used += n + 1;
    if (id >= v->n_ids)
        v->n_ids = (int32_t)id + 1;
    return STATUS_OK;
}

int32_t vocabulary_find(const vocabulary *v, const char *text, size_t n)
{
    const uint32_t h = hash(text, n);

    for (uint32_t at = h & v->mask; v->slots[at].id >= 0; at = (at + 1) & v->mask) {
        const int32_t id = v->slots[at].id;
        if (v->slots[at].hash == h && v->length[id] == n &&
            memcmp(v->bytes + v->at[id], text, n) == 0)
            return id;
    }
    return -1;
}
