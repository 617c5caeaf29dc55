/* choose_device: auto, cpu, cuda */
#include "recipes/choose_device.h"

#include "core/log.h"

#include <string.h>

status choose_device(const char *name, const char *precision)
{
    const bool  wide = strcmp(precision, "f32") == 0, cpu = strcmp(name, "cpu") == 0;
    const dtype activations = wide ? TYPE_F32 : TYPE_BF16;
    device     *d;

    if (!cpu) {
        const status s = device_open(strcmp(name, "auto") == 0 ? "cuda" : name, activations, &d);
        if (s == STATUS_OK) {
            log_info("device: cuda:%d, %s, %.0f of %.0f GB free, %s", device_about(d)->number, device_about(d)->name,
                     (double)device_about(d)->free / 1e9, (double)device_about(d)->memory / 1e9, precision);
            return STATUS_OK;
        }
        if (strcmp(name, "auto") != 0)
            return s;
    }
    if (!wide)
        return fail(STATUS_UNSUPPORTED,
                    "precision is %s; the CPU of this version computes in f32, bf16 needs device: cuda%s%s",
                    precision, cpu ? "" : "\n", cpu ? "" : status_text());
    if (!cpu) {
        if (device_has_plugin())
            log_info("device: cpu (%s)", status_cause());
        status_clear();
    }
    return STATUS_OK;
}
