/* Its inline pread would stand in the way of ours. */
#undef _FORTIFY_SOURCE

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/strings.h"
#include "durable.h"
#include "scratch.h"

/* Positioned calls that are short, and interrupted each third time, as long as this is set. */
static bool sips;

static size_t
sip(size_t size)
{
	static unsigned calls;

	if (sips && ++calls % 3 == 0)
		return 0;
	return sips && size > 3 ? 3 : size;
}

ssize_t
pread(int fd, void *bytes, size_t size, off_t offset)
{
	size_t count = sip(size);

	if (size > 0 && count == 0) {
		errno = EINTR;
		return -1;
	}
	return (ssize_t)syscall(SYS_pread64, fd, bytes, count, offset);
}

ssize_t
pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	size_t count = sip(size);

	if (size > 0 && count == 0) {
		errno = EINTR;
		return -1;
	}
	return (ssize_t)syscall(SYS_pwrite64, fd, bytes, count, offset);
}

static size_t
entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void
what_is_saved_is_loaded(void **state)
{
	struct scratch *scratch = *state;
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 100000 };
	struct arena arena = { 0 };
	struct error err = { 0 };
	char *bytes = calloc(1, 100000);

	for (size_t i = 0; i < 100000; i++)
		bytes[i] = (char)(i * 7);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const char *path = scratch_path(scratch, "file");
		const char *text;
		struct stat st;
		size_t size;

		assert_true(file_save(path, bytes, sizes[i], i % 2 ? 0640 : 0444, &err));
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, i % 2 ? 0640 : 0444);
		assert_true(file_load(path, sizes[i], &arena, &text, &size, &err));
		assert_int_equal(size, sizes[i]);
		assert_memory_equal(text, bytes, size);
		assert_int_equal(text[size], '\0');
		if (sizes[i] > 0) {
			assert_false(file_load(path, sizes[i] - 1, &arena, &text, &size, &err));
			assert_int_equal(err.fault, FAULT_TOO_LARGE);
			assert_int_equal(size, sizes[i]);
		}
		assert_int_equal(entries(scratch->path), 1);
	}
	free(bytes);
	arena_finish(&arena);
}

static void
saving_replaces_and_never_writes_in_place(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	struct stat before, behind, elsewhere;
	const char *path;

	scratch_file(scratch, "file", "old");
	scratch_file(scratch, "other", "other");
	path = scratch_path(scratch, "file");
	assert_int_equal(stat(path, &before), 0);
	assert_true(file_save(path, "new", 3, 0600, &err));
	assert_int_equal(stat(path, &behind), 0);
	assert_int_not_equal(before.st_ino, behind.st_ino);
	/* A link is replaced, and what it led to stays as it was. */
	assert_int_equal(symlinkat("other", scratch->fd, "link"), 0);
	assert_true(file_save(scratch_path(scratch, "link"), "new", 3, 0600, &err));
	assert_int_equal(fstatat(scratch->fd, "link", &behind, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(behind.st_mode));
	assert_int_equal(fstatat(scratch->fd, "other", &elsewhere, 0), 0);
	assert_int_equal(elsewhere.st_size, 5);
}

static void
a_failed_save_leaves_nothing(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	char path[300];
	pid_t pid;
	int status;

	assert_false(file_save(scratch_path(scratch, "missing/file"), "x", 1, 0600, &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
	/* A directory has the name: everything succeeds but the rename. */
	assert_int_equal(mkdirat(scratch->fd, "dir", 0755), 0);
	err = (struct error){ 0 };
	assert_false(file_save(scratch_path(scratch, "dir"), "x", 1, 0600, &err));
	assert_int_equal(err.fault, FAULT_IO);
	assert_true(text_starts(err.text, "write `") && text_ends(err.text, "/dir`: Is a directory"));
	assert_int_equal(entries(scratch->path), 1);
	/* A write that fails half-way. */
	snprintf(path, sizeof path, "%s/dir/file", scratch->path);
	pid = fork();
	if (pid == 0) {
		static char bytes[100000];
		struct rlimit limit = { 50000, 50000 };

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &limit);
		_exit(file_save(path, bytes, sizeof bytes, 0600, &err) ? 1 : err.fault == FAULT_IO && strstr(err.text, "File too large") ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	snprintf(path, sizeof path, "%s/dir", scratch->path);
	assert_int_equal(entries(path), 0);
}

static void
loading_fails_by_name(void **state)
{
	struct scratch *scratch = *state;
	struct arena arena = { 0 };
	struct error err = { 0 };
	const char *text = "untouched";

	assert_false(file_load(scratch_path(scratch, "missing"), 10, &arena, &text, NULL, &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
	assert_true(text_ends(err.text, "/missing`: No such file or directory"));
	/* A directory in a file's place is a wrong name, and no failure of the disk. */
	assert_false(file_load(scratch->path, 10, &arena, &text, NULL, &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
	assert_true(text_ends(err.text, "` is a directory, not a file"));
	assert_string_equal(text, "untouched");
	arena_finish(&arena);
}

static void *
feed(void *fd)
{
	int out = *(int *)fd;

	for (int i = 0; i < 3000; i++)
		if (write(out, "0123456789", 10) != 10)
			abort();
	close(out);
	return NULL;
}

static void
pipes_and_proc_can_be_loaded(void **state)
{
	struct arena arena = { 0 };
	struct error err = { 0 };
	pthread_t thread;
	const char *text;
	char path[40];
	int pipes[2];
	size_t size;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(pthread_create(&thread, NULL, feed, &pipes[1]), 0);
	snprintf(path, sizeof path, "/dev/fd/%d", pipes[0]);
	assert_true(file_load(path, 30000, &arena, &text, &size, &err));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(size, 30000);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(text[i], '0' + (int)(i % 10));
	close(pipes[0]);
	assert_true(file_load("/proc/self/status", 100000, &arena, &text, &size, &err));
	assert_true(size > 100);
	arena_finish(&arena);
}

static void
ignore(int signal)
{
	(void)signal;
}

static void *
drain(void *fd)
{
	static char bytes[1 << 20];
	int in = *(int *)fd;
	size_t total = 0;
	ssize_t got;

	/* Small sips and signals: the writer sees short counts and EINTR. */
	while ((got = read(in, bytes, 3000)) > 0)
		total += (size_t)got;
	return (void *)total;
}

static void *
disturb(void *thread)
{
	for (int i = 0; i < 400; i++) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		usleep(100);
	}
	return NULL;
}

static void
short_counts_and_signals_are_normal(void **state)
{
	struct sigaction action = { .sa_handler = ignore };
	pthread_t reader, disturber, self = pthread_self();
	static char bytes[3 << 20];
	struct error err = { 0 };
	void *total;
	int pair[2];

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(pthread_create(&reader, NULL, drain, &pair[1]), 0);
	assert_int_equal(pthread_create(&disturber, NULL, disturb, &self), 0);
	for (int i = 0; i < 10; i++)
		assert_true(file_write_all(pair[0], bytes, sizeof bytes, &err));
	assert_int_equal(pthread_join(disturber, NULL), 0);
	close(pair[0]);
	assert_int_equal(pthread_join(reader, &total), 0);
	assert_int_equal((uintptr_t)total, 10 * sizeof bytes);
	close(pair[1]);
}

static void *
feed_late(void *fd)
{
	usleep(30000);
	return feed(fd);
}

static void *
drain_late(void *fd)
{
	usleep(30000);
	return drain(fd);
}

/* Signals while nothing has come or gone yet: EINTR, and no bytes are lost. */
static void
signals_before_the_first_byte(void **state)
{
	struct sigaction action = { .sa_handler = ignore };
	pthread_t other, disturber, self = pthread_self();
	static char bytes[30000];
	struct error err = { 0 };
	int pipes[2];
	size_t got;
	void *total;

	(void)state;
	sigaction(SIGUSR1, &action, NULL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(pthread_create(&disturber, NULL, disturb, &self), 0);
	assert_int_equal(pthread_create(&other, NULL, feed_late, &pipes[1]), 0);
	assert_true(file_read_all(pipes[0], bytes, sizeof bytes, &got, &err));
	assert_int_equal(got, sizeof bytes);
	for (size_t i = 0; i < got; i++)
		assert_int_equal(bytes[i], '0' + (int)(i % 10));
	assert_int_equal(pthread_join(other, NULL), 0);
	assert_int_equal(pthread_join(disturber, NULL), 0);
	close(pipes[0]);
	assert_int_equal(pipe(pipes), 0);
	/* As much as a pipe takes, so that the next byte has to wait. */
	assert_int_equal(fcntl(pipes[1], F_SETFL, O_NONBLOCK), 0);
	for (got = 0; write(pipes[1], bytes, 1) == 1;)
		got++;
	assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&disturber, NULL, disturb, &self), 0);
	assert_int_equal(pthread_create(&other, NULL, drain_late, &pipes[0]), 0);
	assert_true(file_write_all(pipes[1], bytes, sizeof bytes, &err));
	assert_int_equal(pthread_join(disturber, NULL), 0);
	close(pipes[1]);
	assert_int_equal(pthread_join(other, &total), 0);
	assert_int_equal((uintptr_t)total, got + sizeof bytes);
	close(pipes[0]);
}

static void
positions_count(void **state)
{
	struct scratch *scratch = *state;
	int fd = openat(scratch->fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct error err = { 0 };
	char bytes[10] = "";
	size_t got = 99;

	assert_true(file_pwrite_all(fd, "world", 5, 5000000000, &err));
	assert_true(file_pwrite_all(fd, "hello", 5, 4999999995, &err));
	assert_true(file_pread_all(fd, bytes, 10, 4999999995, &got, &err));
	assert_int_equal(got, 10);
	assert_memory_equal(bytes, "helloworld", 10);
	sips = true;
	assert_true(file_pwrite_all(fd, "HELLOWORLD", 10, 4999999995, &err));
	assert_true(file_pread_all(fd, bytes, 10, 4999999995, &got, &err));
	sips = false;
	assert_int_equal(got, 10);
	assert_memory_equal(bytes, "HELLOWORLD", 10);
	assert_true(file_pread_all(fd, bytes, 10, 5000000003, &got, &err));
	assert_int_equal(got, 2);
	assert_true(file_pread_all(fd, bytes, 10, 6000000000, &got, &err));
	assert_int_equal(got, 0);
	assert_true(file_read_all(fd, bytes, 10, &got, &err));
	assert_int_equal(got, 10);
	got = 99;
	assert_false(file_read_all(-1, bytes, 10, &got, &err));
	assert_false(file_write_all(-1, bytes, 10, &err));
	assert_false(file_pwrite_all(fd, bytes, 10, UINT64_MAX, &err));
	assert_int_equal(got, 99);
	close(fd);
}

static void
a_full_disk_is_said(void **state)
{
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct error err = { 0 };

	(void)state;
	assert_false(file_write_all(fd, "x", 1, &err));
	assert_int_equal(err.fault, FAULT_CANNOT_CREATE);
	close(fd);
}

static void
syncing_closes_whatever_happens(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	int fd = openat(scratch->fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	int copy = fd;
	int pipes[2];

	assert_true(file_sync_close(&fd, "file", &err));
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	/* A pipe cannot be synced. */
	assert_int_equal(pipe(pipes), 0);
	fd = pipes[1];
	assert_false(file_sync_close(&fd, "the pipe", &err));
	assert_string_equal(err.text, "write `the pipe`: Invalid argument");
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(pipes[1], F_GETFD), -1);
	close(pipes[0]);
	assert_true(file_sync_dir(scratch->path, &err));
	assert_false(file_sync_dir(scratch_path(scratch, "file"), &err));
	assert_false(file_sync_dir(scratch_path(scratch, "missing"), &err));
	assert_int_equal(err.fault, FAULT_NOT_FOUND);
}

static mode_t
mode_of(struct scratch *scratch, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(scratch->fd, name, &st, 0), 0);
	return st.st_mode & 07777;
}

static void
directories_are_made_with_their_parents(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	mode_t mask = umask(077);

	assert_true(file_make_dirs(scratch_path(scratch, "a/b//c/"), 0750, &err));
	assert_int_equal(mode_of(scratch, "a"), 0755);
	assert_int_equal(mode_of(scratch, "a/b"), 0755);
	assert_int_equal(mode_of(scratch, "a/b/c"), 0750);
	/* Again, with another mode: it is there, and stays as it is. */
	assert_true(file_make_dirs(scratch_path(scratch, "a/b/c"), 0700, &err));
	assert_int_equal(mode_of(scratch, "a/b/c"), 0750);
	assert_true(file_make_dirs(scratch_path(scratch, "a/./b/../d"), 0700, &err));
	assert_int_equal(mode_of(scratch, "a/d"), 0700);
	/* A setgid directory hands it on. */
	assert_int_equal(fchmodat(scratch->fd, "a/d", 02755, 0), 0);
	if (mode_of(scratch, "a/d") & S_ISGID) {
		assert_true(file_make_dirs(scratch_path(scratch, "a/d/e"), 0755, &err));
		assert_int_equal(mode_of(scratch, "a/d/e"), 02755);
	}
	/* Through a link of ours. */
	assert_int_equal(symlinkat("a", scratch->fd, "link"), 0);
	assert_true(file_make_dirs(scratch_path(scratch, "link/f"), 0755, &err));
	assert_int_equal(mode_of(scratch, "a/f"), 0755);
	assert_true(file_make_dirs("/", 0755, &err));
	assert_true(file_make_dirs(".", 0755, &err));
	umask(mask);
}

/* Killed after the directory had its name and before it had its mode. */
static void
a_directory_that_was_not_finished_is(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	mode_t mask = umask(077);

	assert_int_equal(mkdirat(scratch->fd, "half", 01700), 0);
	assert_true(file_make_dirs(scratch_path(scratch, "half/below"), 0750, &err));
	assert_int_equal(mode_of(scratch, "half"), 0755);
	assert_int_equal(mkdirat(scratch->fd, "other", 01700), 0);
	assert_true(file_make_dirs(scratch_path(scratch, "other"), 0750, &err));
	assert_int_equal(mode_of(scratch, "other"), 0750);
	assert_int_equal(mkdirat(scratch->fd, "private", 0700), 0);
	assert_true(file_make_dirs(scratch_path(scratch, "private/below"), 0755, &err));
	assert_int_equal(mode_of(scratch, "private"), 0700);
	umask(mask);
}

static void
what_is_in_the_way_is_named(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	char expected[200];

	scratch_file(scratch, "file", "x");
	snprintf(expected, sizeof expected, "`%s/file` is in the way: it is not a directory", scratch->path);
	assert_false(file_make_dirs(scratch_path(scratch, "file"), 0755, &err));
	assert_int_equal(err.fault, FAULT_CANNOT_CREATE);
	assert_string_equal(err.text, expected);
	assert_false(file_make_dirs(scratch_path(scratch, "file/a/b"), 0755, &err));
	assert_string_equal(err.text, expected);
	assert_int_equal(symlinkat("nowhere", scratch->fd, "link"), 0);
	snprintf(expected, sizeof expected, "`%s/link` is in the way: a symbolic link that leads nowhere", scratch->path);
	assert_false(file_make_dirs(scratch_path(scratch, "link/a"), 0755, &err));
	assert_int_equal(err.fault, FAULT_CANNOT_CREATE);
	assert_string_equal(err.text, expected);
	if (geteuid() != 0) {
		assert_false(file_make_dirs("/provision-test/a", 0755, &err));
		assert_int_equal(err.fault, FAULT_PERMISSION);
	}
	assert_false(file_make_dirs("/proc/provision-test", 0755, &err));
}

static void
saving_is_durable_in_the_right_order(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };

	assert_int_equal(mkdirat(scratch->fd, "dir", 0755), 0);
	durable_reset(0, 0);
	assert_true(file_save(scratch_path(scratch, "dir/file"), "new", 3, 0600, &err));
	assert_string_equal(durable.log, "sync TEMPORARY; rename file; sync dir; ");
}

/* A failed sync is never asked for a second time; EINTR is a failure too. A directory that cannot be synced at all needs none. */
static void
a_failed_sync_is_final(void **state)
{
	static const struct {
		int failing, number;
		bool saved;
		const char *content, *log;
	} cases[] = {
		{ 1, EIO, false, "old", "fail TEMPORARY; " },
		{ 1, EINTR, false, "old", "fail TEMPORARY; " },
		{ 1, EINVAL, false, "old", "fail TEMPORARY; " },
		{ 2, EIO, false, "new", "sync TEMPORARY; rename file; fail dir; " },
		{ 2, EINTR, false, "new", "sync TEMPORARY; rename file; fail dir; " },
		{ 2, EINVAL, true, "new", "sync TEMPORARY; rename file; fail dir; " },
		{ 0, 0, true, "new", "sync TEMPORARY; rename file; sync dir; " },
	};
	struct scratch *scratch = *state;

	assert_int_equal(mkdirat(scratch->fd, "dir", 0755), 0);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct error err = { 0 };
		const char *text;

		scratch_file(scratch, "dir/file", "old");
		durable_reset(cases[i].failing, cases[i].number);
		assert_int_equal(file_save(scratch_path(scratch, "dir/file"), "new", 3, 0644, &err), cases[i].saved);
		assert_string_equal(durable.log, cases[i].log);
		assert_int_equal(err.fault, cases[i].saved ? FAULT_NONE : FAULT_IO);
		assert_true(file_load(scratch_path(scratch, "dir/file"), 10, &arena, &text, NULL, &err));
		assert_string_equal(text, cases[i].content);
		assert_int_equal(entries(scratch_path(scratch, "dir")), 1);
		arena_finish(&arena);
	}
	durable_reset(0, 0);
	durable.no_modes = true;
	assert_false(file_save(scratch_path(scratch, "dir/file"), "newer", 5, 0644, &(struct error){ 0 }));
	assert_string_equal(durable.log, "");
	assert_int_equal(entries(scratch_path(scratch, "dir")), 1);
	durable_reset(0, 0);
}

static void
directories_are_durable_with_their_names(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	char expected[200];

	durable_reset(0, 0);
	assert_true(file_make_dirs(scratch_path(scratch, "a/b"), 0755, &err));
	snprintf(expected, sizeof expected, "sync %s; sync a; sync a; sync b; ", path_base(scratch->path));
	assert_string_equal(durable.log, expected);
	durable_reset(0, 0);
	assert_true(file_make_dirs(scratch_path(scratch, "a/b"), 0755, &err));
	assert_string_equal(durable.log, "");
	for (int failing = 1; failing <= 2; failing++) {
		const char *path = scratch_path(scratch, failing == 1 ? "a/c" : "a/d");

		durable_reset(failing, EIO);
		assert_false(file_make_dirs(path, 0755, &err));
		assert_int_equal(err.fault, FAULT_IO);
	}
	durable_reset(0, 0);
}

static void
paths_as_text(void **state)
{
	static const struct {
		const char *directory, *name, *joined, *absolute;
	} cases[] = {
		{ "/a", "b", "/a/b", "/a/b" },
		{ "/a/", "b", "/a/b", "/a/b" },
		{ "/a", "/b", "/b", "/b" },
		{ "/", "b", "/b", "/b" },
		{ "/a", "", "/a/", "/a" },
		{ "/a/b", "../c", "/a/b/../c", "/a/c" },
		{ "/a/b", "../../../../c", "/a/b/../../../../c", "/c" },
		{ "/a", "..", "/a/..", "/" },
		{ "/a", "./b/.//c/.", "/a/./b/.//c/.", "/a/b/c" },
		{ "/a", "b/..", "/a/b/..", "/a" },
		{ "/a", "...", "/a/...", "/a/..." },
		{ "/a", "..b/.c", "/a/..b/.c", "/a/..b/.c" },
		{ "//a//", "b//", "//a//b//", "/a/b" },
		{ "", "b", "b", "/b" },
		{ "/", "/", "/", "/" },
		{ "/", "..", "/..", "/" },
	};
	static const struct {
		const char *path, *dir, *base;
	} parts[] = {
		{ "/a/b", "/a", "b" },  { "/a", "/", "a" },    { "a", ".", "a" },      { "a/b", "a", "b" },      { "", ".", "" },
		{ "/", "/", "" },       { "a/", ".", "" },     { "/a/b/", "/a", "" },  { "a//b", "a", "b" },     { "//a", "/", "a" },
	};
	static const struct {
		const char *base, *path, *shown;
	} shown[] = {
		{ "/a", "/a/b/c", "b/c" }, { "/a", "/a", "." },     { "/a", "/ab", "/ab" },  { "/a", "/b", "/b" },
		{ "/a/", "/a/b", "b" },    { "/", "/a/b", "a/b" },  { "/a", "b", "b" },      { "", "/a", "/a" },
		{ "/a", "/a/", "/a/" },    { "/", "/", "/" },
	};
	struct arena arena = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_string_equal(path_join(&arena, cases[i].directory, cases[i].name), cases[i].joined);
		assert_string_equal(path_absolute(&arena, cases[i].directory, cases[i].name), cases[i].absolute);
	}
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		assert_string_equal(path_dir(&arena, parts[i].path), parts[i].dir);
		assert_string_equal(path_base(parts[i].path), parts[i].base);
	}
	for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
		assert_string_equal(path_shown(&arena, shown[i].base, shown[i].path), shown[i].shown);
	arena_finish(&arena);
}

static void
stat_keys_tell_changes(void **state)
{
	struct scratch *scratch = *state;
	struct stat_key one, other;
	struct stat st;

	scratch_file(scratch, "file", "x");
	assert_int_equal(fstatat(scratch->fd, "file", &st, 0), 0);
	one = stat_key_of(&st);
	assert_int_equal(one.size, 1);
	assert_int_equal(one.mtime_ns, st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec);
	for (int field = 0; field < 6; field++) {
		other = one;
		other.device += field == 1;
		other.inode += field == 2;
		other.size += field == 3;
		other.mtime_ns += field == 4;
		other.ctime_ns += field == 5;
		assert_int_equal(stat_key_equal(&one, &other), field == 0);
	}
}

static void
free_space_of_what_does_not_exist_yet(void **state)
{
	struct scratch *scratch = *state;
	struct error err = { 0 };
	uint64_t here = 0, there = 0;

	assert_true(file_free_space(scratch->path, &here, &err));
	assert_true(here > 0);
	assert_true(file_free_space(scratch_path(scratch, "a/b/c"), &there, &err));
	/* Others write as well: about the same is the same. */
	assert_true(there > here / 2 && there / 2 < here);
	assert_true(file_free_space("not/there", &there, &err));
	assert_true(file_free_space("/not/there", &there, &err));
	scratch_file(scratch, "file", "x");
	assert_true(file_free_space(scratch_path(scratch, "file/x"), &there, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_saved_is_loaded, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(saving_replaces_and_never_writes_in_place, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(a_failed_save_leaves_nothing, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(loading_fails_by_name, scratch_setup, scratch_teardown),
		cmocka_unit_test(pipes_and_proc_can_be_loaded),
		cmocka_unit_test(short_counts_and_signals_are_normal),
		cmocka_unit_test(signals_before_the_first_byte),
		cmocka_unit_test_setup_teardown(positions_count, scratch_setup, scratch_teardown),
		cmocka_unit_test(a_full_disk_is_said),
		cmocka_unit_test_setup_teardown(syncing_closes_whatever_happens, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(directories_are_made_with_their_parents, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(a_directory_that_was_not_finished_is, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(what_is_in_the_way_is_named, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(saving_is_durable_in_the_right_order, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(a_failed_sync_is_final, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(directories_are_durable_with_their_names, scratch_setup, scratch_teardown),
		cmocka_unit_test(paths_as_text),
		cmocka_unit_test_setup_teardown(stat_keys_tell_changes, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(free_space_of_what_does_not_exist_yet, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
