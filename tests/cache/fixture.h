/* fixture.h - what the tests of the cache share: a directory that goes away, runs and outcomes, this program again in another process. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/ledger.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/record.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

struct fixture {
	struct arena arena;
	const char *root;  /* a fresh directory */
	const char *state; /* ROOT/.provision, not made yet */
	const char *path;  /* ROOT/.provision/cache.db */
};

static inline int
fixture_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = test_calloc(1, sizeof *fixture);
	char root[] = "/tmp/provision-cache-XXXXXX";

	assert_non_null(mkdtemp(root));
	fixture->root = arena_copy(&fixture->arena, root);
	fixture->state = arena_printf(&fixture->arena, "%s/.provision", root);
	fixture->path = arena_printf(&fixture->arena, "%s/cache.db", fixture->state);
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	chmod(fixture->state, 0700);
	nftw(fixture->root, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	arena_finish(&fixture->arena);
	test_free(fixture);
	return 0;
}

static inline void
close_ledger(struct ledger **ledger)
{
	ledger_close(*ledger);
	*ledger = NULL;
}

/* The text of the failure becomes the text of the failed test. */
#define must(call) \
	do { \
		if (!(call)) \
			fail_msg("%s: %s: %s", #call, fault_row(err.fault)->code, err.text); \
	} while (0)

#define must_fail(call, with) \
	do { \
		assert_false(call); \
		if (err.fault != (with)) \
			fail_msg("%s: %s: %s", #call, fault_row(err.fault)->code, err.text); \
	} while (0)

static inline struct run_info
run_named(const char *id, const char *deployment)
{
	return (struct run_info){ .id = id, .command = "apply", .deployment = deployment, .manifest = "a.yaml", .argv = "[\"apply\"]",
		.user = "li", .host = "gpubox", .tool = "0.1.0", .started_ns = 1000 };
}

static inline struct record
record_named(const char *target, const char *value)
{
	struct record record = { .target = target, .rule = "command", .rule_version = 3, .summary = value, .run = "AAAAAAAA" };

	digest_of(value, strlen(value), &record.fingerprint);
	digest_of(target, strlen(target), &record.output);
	return record;
}

static inline struct outcome
outcome_of(const struct record *record)
{
	return (struct outcome){ .target = record->target, .action = "make", .result = "ok", .reasons = "[]", .started_ns = 2000000,
		.ended_ns = 9000000, .record = record };
}

/* This program again, as `MODE PATH`; its standard output is readable from `*out` if that is asked for. */
static inline pid_t
spawn_self(const char *mode, const char *path, int *out)
{
	extern char **environ;
	char *argv[] = { strdup("self"), strdup(mode), strdup(path), NULL };
	posix_spawn_file_actions_t actions;
	int ends[2] = { -1, -1 };
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	if (out) {
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
		*out = ends[0];
	}
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	if (out)
		close(ends[1]);
	for (int i = 0; i < 3; i++)
		free(argv[i]);
	return pid;
}

static inline int
wait_for_exit(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	return status;
}

/* One byte from the other process, at most 20 s from now (by alarm). */
static inline char
wait_for_word(int fd)
{
	char word = 0;

	assert_int_equal(read(fd, &word, 1), 1);
	return word;
}
