/* audit.h - records against the world, as findings. Changes nothing. */
#pragma once

#include "inspect.h"

struct audit_row {
	const struct record *record;
	bool ok;
	struct findings findings; /* E0911 for each thing that differs */
};

struct audit {
	struct audit_row *rows;
	size_t count;
	size_t differing;
};

/* Verify every record of the deployment (or the named ones) by its rule; `deep` reads every byte. `rules` ends with NULL. */
bool audit_verify(struct audit *audit, const char *deployment, const struct strings *names, const struct rule *const *rules, const struct memory *memory,
	const struct project *project, struct known *known, bool deep, struct arena *arena, struct error *err);
