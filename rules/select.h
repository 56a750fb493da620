/* select.h - which files of a repository are taken (model-hubs.md section 7): what a server needs, never duplicate formats, no code, no pickles unasked. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/hub.h"
#include "engine/base/strings.h"

struct selection_rules {
	const struct strings *include; /* empty: what a server needs */
	const struct strings *exclude;
	bool allow_pickle;
	bool allow_code;
	const char *index;             /* text of model.safetensors.index.json, NULL if the repository has none */
	size_t index_size;
};

struct selection {
	const struct hub_file **files; /* in order of path */
	size_t count;
	uint64_t bytes;                /* UINT64_MAX if a size is not known */
	uint64_t skipped_bytes;
	size_t skipped;
};

/* E0613 for a pattern that matches nothing, E0611 for pickle or code asked for without the switch, E0605 for an index that names what is not there. */
bool select_files(const struct hub_listing *listing, const struct selection_rules *rules, struct arena *arena, struct selection *selection, struct error *err);
