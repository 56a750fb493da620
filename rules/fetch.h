/* fetch.h - what the rules that fetch files have in common: how a recorded file is looked at and removed, and how a transfer talks to its task. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/transfer.h"
#include "engine/record.h"

struct task;

/* Octal permissions of a file, `0644`; nothing beyond rwx for the three. */
bool fetch_parse_mode(const char *text, mode_t *mode);

enum fetch_state { FETCH_SAME, FETCH_MISSING, FETCH_DIFFERS, FETCH_UNKNOWN /* nobody could look */ };

/* A recorded file against the disk, by its stat data where that is enough. `*what` says what differs, without the name. */
enum fetch_state fetch_look(struct task *task, const struct artifact *artifact, const char **what);

/* Remove a recorded file and the directories below `dir` that become empty, unless its content is no longer what was
 * recorded: that is left, and said in the log. */
bool fetch_remove(struct task *task, const char *dir, const struct artifact *artifact, struct error *err);

/* The context of a transfer's callbacks. */
struct fetch {
	struct task *task;
	const char *stage; /* "download", or "copy" where nothing comes over a network */
	_Atomic uint64_t done;
	uint64_t total; /* 0: not known */
	bool many;      /* files: then each is told of by name */
	const struct transfer *_Atomic shown; /* the one that is told of now */
};

/* Connect a transfer with its task: checkpoints, progress, cancel, run. */
void fetch_connect(struct fetch *fetch, struct transfer *transfer);

/* Wait until the file's time stamps are older than the clock can tell apart, so that its digest is believed from now on;
 * longer after `bytes` that are dear to read again. The time to give to task_learned. */
int64_t fetch_settle(struct task *task, int64_t ctime_ns, uint64_t bytes);
