/* session.h - what the commands share: streams, project, cache, and the way from a manifest to a plan.
 *
 * Functions that return a status have already said what went wrong; STATUS_OK is success. Only cli/ prints, and mostly here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/lock.h"
#include "engine/apply.h"
#include "engine/base/arena.h"
#include "engine/seal.h"
#include "options.h"
#include "project.h"
#include "report/diagnostic.h"
#include "report/jsonl.h"
#include "report/out.h"

struct ledger;

/* The seal of an earlier run (sealing.h), where it does not hold for everything. */
struct sealing {
	struct seal seal;
	const void *bytes;        /* as the memory had it when the files were looked at; NULL: none */
	size_t size;
};

struct session {
	struct arena arena;
	struct options options;
	int argc;
	char *const *argv;
	struct out out;           /* what was asked for */
	struct out err;           /* progress, prompts, diagnostics, hints */
	struct jsonl jsonl;
	bool documents;           /* the command prints one JSON document, no stream */
	size_t reported;          /* diagnostics so far */
	bool sets_checked;        /* against the manifest that was named */
	struct found found;
	struct project project;
	struct lock lock;
	struct ledger *ledger;
	const struct memory *memory;
	struct known known;
	bool known_ready;
	struct sealing sealing;
	struct recall recall;     /* asks the open ledger what texts were parsed to */
	struct wishes wishes;
	struct strings targets;   /* of the command line: operands behind the manifest, and --target */
	int64_t started_ms;
	int signal;               /* to die from at the end; 0: none */
};

/* One manifest, carried as far as a plan: manifests of one name are shapes of one deployment. */
struct shape {
	const char *path;
	const char *shown;        /* as the user would type it */
	struct manifest manifest;
	struct graph graph;
	bool linked;
	struct inspection inspection;
	struct plan plan;
};

/* Read the command line, the environment and the settings. */
enum status session_init(struct session *session, int argc, char *const *argv);
void session_finish(struct session *session);

/* Print an error and return its exit status. `sources` (may be NULL) has the lines to show. */
enum status session_fail(struct session *session, const struct error *err, const struct sources *sources);

/* Print one diagnostic. */
void session_report(struct session *session, const struct diagnostic *diagnostic);

/* A hint on stderr; nothing with -q or --json. */
void session_hint(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Find manifest, root and cache; operands become the manifest and `targets`. `wants_manifest`: it is an error if there is none. */
enum status session_find(struct session *session, bool wants_manifest);

/* Load and link a manifest; all of its errors are shown. */
enum status session_load(struct session *session, const char *path, struct shape *shape);
void shape_finish(struct shape *shape);

/* Open the cache for reading. */
enum status session_read(struct session *session);

/* The same, but silently: false if it cannot be read. */
bool session_try_read(struct session *session);

/* Take the lock and open the cache for writing. `run` is for the lock's text. */
enum status session_write(struct session *session, const char *run);

/* Whether the manifest has the targets that were named: asked before anything is made. */
enum status session_check_names(struct session *session, const struct shape *shape);

/* Look at the world. */
enum status session_inspect(struct session *session, struct shape *shape, bool estimate);
enum status session_plan(struct session *session, struct shape *shape);

/* All of it for a command that only reads: find, load, open, inspect. */
enum status session_look(struct session *session, struct shape *shape, bool estimate);

/* The same after session_find. */
enum status session_look_found(struct session *session, struct shape *shape, bool estimate);

/* Keep digests that were learnt, where nothing else will. */
enum status session_learn(struct session *session);

/* Print one JSON document on stdout; it is released. */
void session_document(struct session *session, json_t *document);

/* A path as people see it: from the working directory where it lies below it. */
const char *session_shown(struct session *session, const char *path);
