/* process_note.h - what is left of children whose starter was killed.
 *
 * A file that all children of a run share gets a line when one with a tag is about to start, one when it runs and one when nothing is left of it; appending to it costs a few
 * microseconds, where a file for each child would cost a tenth of a `cp`. Whoever finds the file, and knows that its writer is gone, ends what carries a tag that has begun and
 * not ended, and the child's whole group. The file need not outlive a power cut: no process does. A copy of it says nothing: it names its own inode. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "process.h"

/* Open the file, making it and its directory if need be, and say that a child begins. */
bool process_note_begin(const char *path, const char *tag, int *fd, struct error *err);
void process_note_child(int fd, const char *tag, pid_t pid);
void process_note_end(int fd, const char *tag);

/* End what carries the tag wherever it went, and of the leader's group what dropped it. The leader may be a number that nobody has (pid 0). */
bool process_stop_marked(const struct process_id *leader, const char *tag, int64_t grace_ms, struct error *err);
