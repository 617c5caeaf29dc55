/* profile: what one step spends its time on, as a trace that a browser shows.
 *
 * The file is in the trace event format of Chrome: https://ui.perfetto.dev and chrome://tracing open it. */
#ifndef RECIPES_PROFILE_H
#define RECIPES_PROFILE_H

#include "autograd/tape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct profile_event {
    op_code     op;
    int         phase;         /* as in tape_observer */
    const char *place;         /* the tape's */
    double      from, seconds; /* since the step's beginning */
} profile_event;

typedef struct profile {
    const char    *path; /* NULL: not wanted */
    profile_event *v;
    int            n, max;
    double         started;
} profile;

/* Takes the memory for the events of a step into the arena; path NULL: nothing happens then or later. */
status profile_open(profile *p, arena *a, const char *path);

/* Around a step. end writes the file and says where the time went. */
void   profile_begin(profile *p, tape *t);
status profile_end(profile *p, tape *t, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
