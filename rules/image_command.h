/* image_command.h - the docker or podman command line at work, for the rule `image`: its output logged, its steps told, its last words in the error. */
#pragma once

#include <stdbool.h>

#include "engine/base/buf.h"
#include "image.h"

#define COMMAND_LINE_LIMIT 4096

struct command {
	struct docker *docker;
	struct task *task;
	const char *program;            /* absolute path */
	struct pairs env;
	const struct dockerfile *file;  /* with `bases`: digests that the builder tells of the file's bases are put there */
	struct pairs *bases;

	struct buf lines[2];            /* stdout's and stderr's line that is not over yet */
	char last[2][COMMAND_LINE_LIMIT]; /* last line of each that says something */
};

/* Find the program and make it use the very engine that we talk to. E0510 if there is none. */
bool command_init(struct command *command, struct docker *docker, struct task *task, struct error *err);
void command_finish(struct command *command);

/* Run argv (ended by NULL) to the end, within the target's timeout. What it says when it fails becomes an error of that fault. */
bool command_run(struct command *command, const struct strings *argv, enum fault fault, const char *what, struct error *err);

/* Whether a question to it (one or two words) is answered with success; `out` gets what it printed. */
bool command_ask(struct command *command, const char *first, const char *second, const char **out);
