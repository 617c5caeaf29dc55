/* signals: one flag */
#include "recipes/signals.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t asked;

static void on_stop(int signal)
{
    if (signal == SIGINT && asked == SIGINT) {
        struct sigaction plain;

        memset(&plain, 0, sizeof plain);
        plain.sa_handler = SIG_DFL;
        sigaction(SIGINT, &plain, NULL);
        raise(SIGINT); /* delivered when this handler returns */
        return;
    }
    asked = signal;
}

void signals_install(void)
{
    struct sigaction stop, ignore;

    memset(&stop, 0, sizeof stop);
    memset(&ignore, 0, sizeof ignore);
    stop.sa_handler = on_stop;
    stop.sa_flags = SA_RESTART;
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

void signals_end_at_once(void)
{
    struct sigaction plain;

    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    sigaction(SIGTERM, &plain, NULL);
    sigaction(SIGINT, &plain, NULL);
}

bool signals_stop_requested(void)
{
    return asked != 0;
}

int signals_which(void)
{
    return asked;
}

const char *signals_name(void)
{
    return asked == SIGTERM ? "SIGTERM" : asked == SIGINT ? "SIGINT" : "";
}

void signals_forget(void)
{
    asked = 0;
}
