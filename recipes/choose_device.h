/* choose_device: the device that a recipe or an option asks for. */
#ifndef RECIPES_CHOOSE_DEVICE_H
#define RECIPES_CHOOSE_DEVICE_H

#include "core/device.h"

/* "cpu"; "cuda" or "cuda:1", which must be there; "auto": a GPU if one can be had, else the CPU, and a line
 * that says why not, if this build has the plug-in at all. precision: "f32", or "bf16", which needs a GPU in
 * this version. Opens it as the current device; end with device_close(device_current()). */
status choose_device(const char *name, const char *precision);

#endif
