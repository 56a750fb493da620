/* snapshot.h - the files of a model repository that a target wants: from its source and revision to a list with sizes and digests.
 *
 * A revision is resolved once; from then on the record pins the commit, until --refresh or another source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/hub.h"
#include "engine/base/strings.h"
#include "select.h"

struct task;

/* Parameters of the rule `model`. */
struct model_spec {
	const char *source;
	const char *mirrors; /* JSON: a list of sources, or of {source, endpoint, token} */
	const char *dir;
	struct strings include;
	struct strings exclude;
	const char *checksums;
	struct secret_ref token;
	const char *endpoint;
	const char *mode;
	bool allow_pickle;
	bool allow_code;
	bool insecure_http;
};

struct mirror {
	struct hub_source source;
	struct secret_ref token;
};

struct snapshot {
	const struct model_spec *spec;
	struct task *task;
	struct arena *arena;
	struct hub hub;
	const char *commit;       /* "" where the source has none */
	bool pinned;              /* by the record */
	struct hub_listing listing;
	struct selection selection;
	struct hub *mirrors;      /* those that can be asked */
	const char **mirror_commits;
	size_t mirror_count;
};

/* The mirrors that the manifest names. E0103 with the entry that cannot be read. */
bool snapshot_mirrors(const struct model_spec *spec, const char *base_dir, struct arena *arena, struct mirror **mirrors, size_t *count, struct error *err);

/* The commit that the record holds for this very source; NULL if it holds none. */
const char *snapshot_recorded(const struct model_spec *spec, const struct task *task);

/* Open the source and settle the commit, by the record or by asking. `anew`: ask in any case. */
bool snapshot_open(struct snapshot *snapshot, const struct model_spec *spec, struct task *task, bool anew, struct error *err);
void snapshot_close(struct snapshot *snapshot);

/* List and select. Files of a local source may be without a digest then; of any other that is E0608. */
bool snapshot_select(struct snapshot *snapshot, struct error *err);

/* Make the mirrors ready to be asked for files; one that cannot be is left out, with a line in the log. */
bool snapshot_open_mirrors(struct snapshot *snapshot, struct error *err);

/* The source lies on this machine; it is the target's directory itself. */
bool snapshot_is_local(const struct snapshot *snapshot);
bool snapshot_is_in_place(const struct snapshot *snapshot);
