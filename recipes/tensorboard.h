/* tensorboard: scalars for TensorBoard, written without its libraries.
 *
 * A file of TFRecords (length u64, masked CRC-32C of it, data, masked CRC-32C of that; all
 * little-endian), each a tensorflow.Event protobuf: wall_time = 1 double, step = 2 varint,
 * file_version = 3 text, summary = 5 {value = 1 {tag = 1 text, simple_value = 2 float}},
 * session_log = 7 {status = 1 varint}.
 *
 * Every start writes a new file whose second event is a session_log START at the step it goes on
 * from: TensorBoard then drops what earlier files hold of that step and later ones. */
#ifndef RECIPES_TENSORBOARD_H
#define RECIPES_TENSORBOARD_H

#include "core/status.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tensorboard {
    int  fd; /* -1: closed */
    char path[4096];
} tensorboard;

/* Makes folder/events.out.tfevents.<seconds>.<pid>.<number>. from_step: the first step that will be
 * written, 0 for a new run. */
status tensorboard_open(tensorboard *t, const char *folder, int64_t from_step);

/* One scalar, one write. wall is seconds since 1970; tag has at most 255 bytes. */
status tensorboard_scalar(tensorboard *t, double wall, int64_t step, const char *tag, float value);

void tensorboard_close(tensorboard *t);

/* CRC-32C (Castagnoli) of bytes. */
uint32_t crc32c(const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
