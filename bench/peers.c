/* peers: comparisons with other programs are scripts; this hands over to the one that runs them in
 * turns */
#include "bench/bench.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

status bench_peers(bench *b)
{
    static char script[] = BENCH_SOURCE "/bench/peers/run.sh";
    char      **v;
    int         n = 0;

    TRY_TAKE(v, b->a, b->argc + 1);
    v[n++] = script;
    for (int i = 2; i < b->argc; i++)
        v[n++] = b->argv[i];
    v[n] = NULL;
    execv(script, v);
    return fail(STATUS_IO, "%s: %s; the comparisons need the project's tree", script,
                strerror(errno));
}
