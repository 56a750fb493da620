/* summary.h - what came of an `apply`, in a few lines or one event. */
#pragma once

#include "session.h"

struct summary {
	const struct shape *shape;          /* the manifest that was carried out, or would have been */
	const struct apply_result *result;
	const char *run;                    /* NULL: none was begun */
	size_t fallback;                    /* index of the fallback in hand; 0: none */
	enum status status;
};

void summary_show(struct session *session, const struct summary *summary);
