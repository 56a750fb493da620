/* process.h - argv in a process group of its own: output, time limit, end.
 *
 * posix_spawn, never fork; no shell; a built environment; descriptors 0-2 alone (reliability.md section 6). A pid alone is never an identity. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct arena;

#define PROCESS_TAG "PROVISION_INSTANCE" /* in the environment of what is ours */

struct process_spec {
	const char *const *argv;      /* ends with NULL; argv[0] is looked up in PATH of `env` unless it holds a slash */
	const char *const *env;       /* "NAME=value", ends with NULL: process_environment() */
	const char *workdir;          /* or NULL: as it is */
	int64_t timeout_ms;           /* 0: none */
	int64_t grace_ms;             /* between SIGTERM and SIGKILL; 0: 10 s */
	const atomic_bool *cancel;  /* set: SIGTERM to the group, grace, SIGKILL; or NULL */
	void (*output)(void *context, bool is_stderr, const char *bytes, size_t size); /* or NULL */
	void *context;
	const char *tag;              /* becomes PROVISION_INSTANCE in its environment; or NULL */
	const char *note;             /* with `tag`: file in which process_clear() finds what is left if we are killed; or NULL. Many may share it */
	size_t capture;               /* keep that much of the beginning of stdout in result.out; 0: none */
};

struct process_result {
	int exit_code;   /* -1 if ended by a signal */
	int signal;
	bool timed_out;
	bool cancelled;
	const char *out; /* captured stdout, in the arena */
	int64_t duration_ms;
};

/* Which process exactly. */
struct process_id {
	pid_t pid;
	uint64_t start;     /* field 22 of /proc/PID/stat */
	char boot[40];      /* /proc/sys/kernel/random/boot_id */
	uint64_t exe_device;
	uint64_t exe_inode;
};

/* The environment of a child: PATH HOME USER LANG=C.UTF-8 TZ XDG_RUNTIME_DIR DOCKER_HOST DOCKER_CONFIG SSL_CERT_FILE and proxies as they are here, then `extra`, which wins. */
const char *const *process_environment(const struct pairs *extra, struct arena *arena);

/* Absolute path of a program in a PATH (NULL: /usr/local/bin:/usr/bin:/bin); NULL if there is none. */
const char *process_find(const char *program, const char *path, struct arena *arena);

/* Run to the end. True if it was started and waited for, whatever its exit; its whole group is gone then. Not found is E0510, no permission E0907. */
bool process_run(const struct process_spec *spec, struct arena *arena, struct process_result *result, struct error *err);

/* End what each process_run() with this `note` left running when its process was killed (whoever asks knows that it was: it holds a lock), and remove the note: all that
 * carries its tag, in whatever group or session, and the child's group. Nothing if there is no such file. E0810 if something stays. */
bool process_clear(const char *note, int64_t grace_ms, struct error *err);

/* Remove the note if all that it tells of has ended. */
void process_forget(const char *note);

/* Start and leave running, in a session of its own, output appended to `log`. `tag` becomes PROVISION_INSTANCE in its environment. */
bool process_start(const struct process_spec *spec, const char *log, const char *tag, struct arena *arena, struct process_id *id, struct error *err);

bool process_identify(pid_t pid, struct process_id *id);
bool process_is_alive(const struct process_id *id);

/* How a process that this program started has ended; false while it runs, and for one that somebody else started. */
bool process_reap(const struct process_id *id, int *exit_code, int *signal);

/* SIGTERM to its session, grace, SIGKILL, until nothing of it is left; fine if it is gone already. Who outlived it is known by `tag`. E0810 if it stays. */
bool process_stop(const struct process_id *id, const char *tag, int64_t grace_ms, struct error *err);

/* Processes of ours whose environment holds PROVISION_INSTANCE=tag: what a killed run left. A tag that ends in `/` stands for all that begin with it. */
size_t process_find_tagged(const char *tag, struct process_id *ids, size_t most);

/* As JSON for a record, and back. */
const char *process_id_text(const struct process_id *id, struct arena *arena);
bool process_id_parse(const char *text, struct process_id *id);

/* Who listens on a TCP port (an address of NULL: any): "python3 (pid 4711)" in the arena, "another process" if it cannot be told, NULL if the port is free.
 * Tries to bind for a moment, then reads /proc. */
const char *process_port_holder(const char *address, int port, struct arena *arena);

/* Who listens there instead of the session of `id` and of what carries `tag`: NULL if it is one of them, or nobody that can be seen (sockets of other users cannot). */
const char *process_port_stranger(const char *address, int port, const struct process_id *id, const char *tag, struct arena *arena);
