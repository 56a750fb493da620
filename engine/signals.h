/* signals.h - signals as bytes to read, for the one loop. No handler does any work (reliability.md section 5). */
#pragma once

#include <signal.h>
#include <stdbool.h>

struct signals {
	int fd;          /* signalfd; readable when one came */
	sigset_t before; /* the mask to go back to */
};

/* From now on INT, TERM, HUP (unless it was ignored, as under nohup) and USR1 come through the descriptor. Workers started later inherit the blocked mask. */
bool signals_init(struct signals *signals);
void signals_finish(struct signals *signals);

/* The next signal, 0 if none is waiting. */
int signals_read(const struct signals *signals);

/* INT, TERM and HUP end the process again; signals_finish puts everything back. */
void signals_let_go(void);

/* SIGKILL to the groups of all our children but those with a session of their own, which are services. */
void signals_kill_children(void);
