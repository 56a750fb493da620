/* site.h - a project in a directory of its own, with a memory in the process: rules are planned, applied and destroyed as the engine does it.
 *
 * A step that cannot be carried through ends the test. What a step returns lives until the next one. */
#pragma once

#include "engine/apply.h"
#include "tests/fake/memory.h"

struct site {
	char directory[64];          /* absolute */
	const struct rule *const *rules;
	struct fake_memory memory;
	struct wishes wishes;
	struct arena arena;          /* of the last step */
	struct errors errors;        /* of site_check */
};

void site_init(struct site *site, const struct rule *const *rules);
void site_finish(struct site *site);

/* Write a file below the directory, its parents too. */
void site_write(struct site *site, const char *name, const char *text);
const char *site_path(struct site *site, const char *name);

/* What is wrong with the targets: "CODE text", or "" if nothing is. */
const char *site_check(struct site *site, const char *targets);

/* Inspect the one target called `name`. */
struct seen *site_plan(struct site *site, const char *targets, const char *name);

/* Plan and apply all. */
struct apply_result site_apply(struct site *site, const char *targets);

/* Destroy one target by name. */
struct apply_result site_destroy(struct site *site, const char *targets, const char *name);

/* The record of a target, whole; NULL if there is none. */
const struct record *site_record(struct site *site, const char *name);
