/* command_image.h - a command of rule `command` inside a container image.
 *
 * It sees the project, its own directory, inputs and outputs at the paths that they have here, and runs as the user, so that what it makes is the user's. */
#pragma once

#include <stdbool.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct process_result;
struct task;

struct command_image {
	const char *ref;             /* name or id of the image */
	const char *const *argv;     /* ends with NULL */
	const struct pairs *env;     /* what the container gets besides the image's own */
	const struct strings *inputs;  /* absolute paths and patterns */
	const struct strings *outputs; /* absolute paths; their directories are there */
	const char *depfile;         /* absolute, or NULL */
};

/* Directories and files of this machine that it sees, the ones it may write to first. */
void command_image_paths(const struct command_image *command, struct task *task, struct strings *paths, size_t *writable);

/* Run it to its end, its output in the task's log. E0703 if the engine does not hold the image. */
bool command_image_run(const struct command_image *command, struct task *task, struct process_result *result, struct error *err);
