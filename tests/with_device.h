/* with_device: a device for tests, and cases of tests/grad_cases.def on it.
 *
 * The device is the one that CAMBIUM_CUDA_PLUGIN names; if it names none, the emulated one, which every
 * machine has. Every tensor of a case gets device memory of its own, so that a sanitizer sees reads and writes
 * past its end. */
#ifndef TESTS_WITH_DEVICE_H
#define TESTS_WITH_DEVICE_H

#include "core/device.h"
#include "tests/with_gradcheck.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Opens it with these activations; NULL when this build has none (the test must SKIP). */
device *test_device(dtype activations);
bool    test_device_is_emulated(const device *d);

/* Makes a case run on the device with activations of `type`; its real numbers here stay what grad_open made
 * them (f64 for f64, else f32). */
void grad_elsewhere(grad_setup *g, device *d, dtype type);
void grad_elsewhere_close(grad_setup *g);

/* Rounds the case's real numbers to what the type can hold. */
void grad_round(grad_setup *g, dtype type);

#ifdef __cplusplus
}
#endif
#endif
