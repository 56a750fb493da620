/* run.h - what a run is known by in the history: its id, who runs what, and where. */
#pragma once

#include "session.h"

/* A fresh id: 8 base32 characters in the arena. */
const char *run_new_id(struct session *session);

/* Who runs what. `fallback_of`: the manifest that this one stands in for, or NULL. */
void run_describe(struct session *session, const struct shape *shape, const char *run, const char *fallback_of,
	struct run_info *info);
