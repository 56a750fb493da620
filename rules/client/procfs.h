/* procfs.h - what /proc says of a process.
 *
 * Answers are a moment old: whoever signals a process opens a pidfd first and asks again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct procfs_stat {
	char state; /* 'Z': ended, but nobody has asked for its status */
	pid_t group;
	pid_t session;
	uint64_t start; /* clock ticks since boot */
};

bool procfs_stat(pid_t pid, struct procfs_stat *stat);

/* Which start of the machine this is: a pid and a start time say nothing beyond it. */
bool procfs_boot(char boot[40]);

/* "python3", or "" if it is gone. */
void procfs_name(pid_t pid, char *name, size_t size);

/* Whether its environment holds NAME=VALUE; a `value` that ends in `/` stands for all that begin with it, "" for any. */
bool procfs_has_variable(pid_t pid, const char *name, const char *value);

/* Call `visit` for each process of our user until it returns false. */
void procfs_each(bool (*visit)(void *context, pid_t pid), void *context);
