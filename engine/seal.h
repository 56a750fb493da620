/* seal.h - what looking at up-to-date targets consisted of, so that the next look can be that alone.
 *
 * A seal lists, for each target that was found up to date, the files that its inspection asked for, with their stat data; the manifest's own files too.
 * While the manifest is the same and nothing was recorded since (every run drops the seal before it changes anything), a target whose files have not changed, and
 * whose needs are up to date, is up to date itself. Only targets that look at nothing but files can be sealed. The seal is a shortcut, never evidence: what
 * it does not hold for is looked at in the ordinary way. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/file.h"

struct arena;
struct buf;
struct graph;
struct inspection;
struct manifest;

#define SEAL_KEY "seal"            /* where the memory keeps it, among the checkpoints */
#define SEAL_WORTH 64              /* sealed targets from which on the seal of a part of a project is worth keeping */

/* Zeroed memory is a seal that holds for nothing. */
struct seal {
	const char *manifest;          /* absolute paths */
	const char *root;
	const char *home;              /* `~` stands for it */
	const unsigned char *sources;  /* digests of the manifest's files, which are the first ones of `paths` */
	uint32_t source_count;
	bool complete;                 /* all targets that a plain `apply` looks at are in it */
	uint32_t wanted;               /* how many those are */
	const char **paths;            /* below the root, or absolute */
	const struct stat_key *keys;
	unsigned char *changed;        /* by file, after seal_look */
	uint32_t file_count;
	uint32_t changed_count;
	uint32_t *firsts;              /* by target id: where its files begin in `trail` */
	uint32_t *counts;              /* SEAL_NONE: not sealed */
	uint32_t target_count;
	const uint32_t *trail;         /* indexes of files */
	uint32_t trail_count;
};

#define SEAL_NONE UINT32_MAX

/* Read one that was made by this version; its texts stay in `bytes`, which lives as long as the arena. False: torn, or none. */
bool seal_read(struct seal *seal, const void *bytes, size_t size, struct arena *arena);

/* Whether it is of this manifest and root (absolute paths), looked at by the same user. */
bool seal_is_of(const struct seal *seal, const char *manifest, const char *root);

/* Look at all files by stat, on two threads if there are many. */
void seal_look(struct seal *seal);

/* After seal_look: everything is as it was when all was up to date. */
bool seal_holds(const struct seal *seal);

/* Whether the manifest that was loaded and linked is the one that was sealed. */
bool seal_fits(const struct seal *seal, const struct manifest *manifest, const struct graph *graph);

/* After seal_look: no file of this target has changed. */
bool seal_has(const struct seal *seal, uint32_t target);

/* Forget the targets that an inspection had to look at itself. */
void seal_narrow(struct seal *seal, const struct inspection *inspection);

/* Pack the seal of an inspection. What it took from an earlier seal (its wishes') is taken over. False: it cannot be sealed, or is not worth it, and nothing is wrong. */
bool seal_make(const struct inspection *inspection, struct buf *bytes);
