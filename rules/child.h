/* child.h - children of a target's build, which a killed run does not leave behind.
 *
 * `.provision/runtime/children` tells of them while they run, and their environment carries PROJECT/DEPLOYMENT/TARGET/child/RUN/ID. After a kill -9 of the run the next one
 * ends what is left before it does anything else. A daemon that a child left behind before it ended by itself is not looked for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

struct arena;
struct process_result;
struct process_spec;
struct task;

/* process_run() in the task's name. */
bool child_run(struct task *task, const struct process_spec *spec, struct process_result *result, struct error *err);

/* Whether a killed run may have left something: one look at a name. */
bool child_any_left(const char *state_dir, struct arena *arena);

/* At the end of a run: forget what has ended. */
void child_forget(const char *state_dir, struct arena *arena);

/* End what a killed run left, of whatever target. Only for who holds the project's lock, and has no child. */
bool child_clear(const char *state_dir, int64_t grace_ms, struct arena *arena, struct error *err);
