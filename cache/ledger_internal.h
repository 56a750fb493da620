/* ledger_internal.h - the inside of a ledger, for its two halves: ledger.c reads, ledger_write.c writes. */
#pragma once

#include "database.h"
#include "history.h"
#include "ledger.h"

struct ledger {
	struct database database;
	struct memory memory;
	char project[16];       /* "" while there is no database */
	bool running;           /* between begin_run and end_run */
	struct current_run run;
	int64_t deployment;     /* id of the run's */
};

/* The writing half of the memory's socket. */
void ledger_plug_writing(struct ledger *ledger);
