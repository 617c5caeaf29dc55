/* signals: one flag */
#include "recipes/signals.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t asked;

static void handle(int signal, void (*handler)(int))
{
    struct sigaction how;

    memset(&how, 0, sizeof how);
    how.sa_handler = handler;
    how.sa_flags = SA_RESTART;
    sigaction(signal, &how, NULL);
}

static void on_stop(int signal)
{
    if (signal == SIGINT && asked == SIGINT) {
        handle(SIGINT, SIG_DFL);
        raise(SIGINT); /* delivered when this handler returns */
        return;
    }
    asked = signal;
}

static void on_ask(int signal)
{
    asked = signal;
}

void signals_install(void)
{
    handle(SIGTERM, on_stop);
    handle(SIGINT, on_stop);
    handle(SIGPIPE, SIG_IGN);
    handle(SIGXFSZ, SIG_IGN);
}

void signals_end_at_once(void)
{
    handle(SIGTERM, SIG_DFL);
    handle(SIGINT, SIG_DFL);
}

void signals_only_ask(void)
{
    handle(SIGTERM, SIG_DFL);
    handle(SIGINT, on_ask);
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
