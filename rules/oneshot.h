/* oneshot.h - a container that runs one command to its end and is removed: a `command` in an image, a question that a check puts to one.
 *
 * Its intent is durable before it is created and forgotten when it is gone, so that the next run removes what a killed one left. It gets no capability, no GPU that was not
 * asked for, and of the host nothing but its mounts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/docker.h"
#include "engine/base/error.h"
#include "engine/base/strings.h"

struct task;

struct oneshot_mount {
	const char *path;         /* absolute, the same on both sides */
	bool readonly;
};

struct oneshot {
	const char *role;         /* its label: "command", "preflight" */
	const char *engine;       /* that `docker` was connected with; NULL: "auto" */
	const char *image;        /* id */
	const char *const *argv;  /* verbatim, ends with NULL: the image's entry point is set aside */
	const struct pairs *env;  /* besides the image's own; or NULL */
	const char *workdir;      /* or NULL: "/" */
	const struct oneshot_mount *mounts;
	size_t mount_count;
	const char *file;         /* text to read in the container, below `file_at`; or NULL */
	const char *file_name;
	const char *file_at;
	const struct strings *gpus; /* UUIDs, all GPUs if empty; NULL: none */
	bool as_caller;           /* the user, so that what it writes is ours; otherwise the image's user */
	bool network;
	bool closed;              /* can write nowhere but in /tmp, and take little memory */
	bool init;                /* a first process that passes signals on; without it a missing program is an error of the start */
	int64_t timeout_ms;       /* 0: none */
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size);
	void *context;
};

struct oneshot_result {
	int exit_code;
	bool timed_out;
	bool cancelled;
};

/* Run it to its end. True if it was started, whatever its exit; it is gone then. */
bool oneshot_run(struct docker *docker, struct task *task, const struct oneshot *oneshot, struct oneshot_result *result, struct error *err);

/* Remove what killed runs left of this target. Fits rule.sweep. */
bool oneshot_sweep(struct task *task, struct error *err);

/* The id of an image that the engine holds; E0703 at the parameter if it does not. */
bool oneshot_image(struct docker *docker, struct task *task, const char *param, const char *ref, const char **id, struct error *err);

/* Add the id behind a name as an ingredient, so that an image that was built anew makes stale what came of the old one. An image that is not there
 * (any more) changes nothing. Asks the engine unless `ref` is an id. */
bool oneshot_ingredient(struct task *task, const char *engine, const char *ref, struct error *err);
