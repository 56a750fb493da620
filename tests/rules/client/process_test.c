#include "rules/client/process.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "rules/client/procfs.h"

#define SHELL(script) (const char *const[]) { "/bin/sh", "-c", script, NULL }

static struct arena arena;
static char directory[64];

static int
setup(void **state)
{
	(void)state;
	arena_init(&arena);
	snprintf(directory, sizeof directory, "/tmp/process_test.XXXXXX");
	return mkdtemp(directory) ? 0 : -1;
}

static int
teardown(void **state)
{
	const char *const argv[] = { "/bin/rm", "-r", directory, NULL };
	const struct process_spec spec = { .argv = argv };
	struct process_result result;
	struct error err;

	(void)state;
	assert_true(process_run(&spec, &arena, &result, &err));
	arena_finish(&arena);
	return 0;
}

static const char *
in_directory(const char *name)
{
	return arena_printf(&arena, "%s/%s", directory, name);
}

/* Whether the process runs: a zombie does not. */
static bool
runs(pid_t pid)
{
	struct procfs_stat stat;

	return procfs_stat(pid, &stat) && stat.state != 'Z' && stat.state != 'X';
}

static void
test_exit_and_output(void **state)
{
	static const struct {
		const char *script;
		int exit_code, signal;
		const char *out;
	} cases[] = {
		{ "exit 0", 0, 0, "" },
		{ "exit 7", 7, 0, "" },
		{ "echo one; echo two >&2; printf three", 0, 0, "one\nthree" },
		{ "kill -9 $$", -1, SIGKILL, "" },
		{ "kill -TERM $$", -1, SIGTERM, "" },
		{ "cat; echo end of stdin", 0, 0, "end of stdin\n" },
		{ "echo /proc/$$/fd/*", 0, 0, NULL },
		{ "ps -o pgid= -p $$ | tr -d ' ' | grep -qx $$", 0, 0, "" },
		{ "kill -USR1 $$; echo survived", -1, SIGUSR1, "" },
		{ "printf 'x%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20", 0, 0, "xxxxxxxxxxxxxxxx" },
	};

	(void)state;
	/* Not handed down: neither an ignored signal nor a blocked one, nor a descriptor without O_CLOEXEC. */
	sigset_t blocked;
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGUSR1, SIG_IGN);
	int leak = dup(1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct process_spec spec = { .argv = SHELL(cases[i].script), .capture = 16 };
		struct process_result result;
		struct error err = { 0 };
		assert_true(process_run(&spec, &arena, &result, &err));
		assert_int_equal(result.exit_code, cases[i].exit_code);
		assert_int_equal(result.signal, cases[i].signal);
		if (cases[i].out)
			assert_string_equal(result.out, cases[i].out);
		assert_false(result.timed_out || result.cancelled);
	}
	close(leak);
	signal(SIGUSR1, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
}

static void
collect(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct buf *bufs = context;

	buf_add(&bufs[is_stderr], bytes, size);
}

static void
test_streams_are_told_apart_and_whole(void **state)
{
	struct buf bufs[2];
	const struct process_spec spec = {
		.argv = SHELL("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done; echo err >&2; ls /proc/self/fd | wc -l"),
		.output = collect, .context = bufs,
	};
	struct process_result result;
	struct error err;

	(void)state;
	buf_init(&bufs[0], 1 << 20);
	buf_init(&bufs[1], 1 << 20);
	assert_true(process_run(&spec, &arena, &result, &err));
	assert_string_equal(bufs[1].data, "err\n");
	/* 0, 1, 2 and the directory that `ls` itself reads. */
	assert_int_equal(bufs[0].size, 20000 * 11 + 2);
	assert_string_equal(bufs[0].data + 20000 * 11, "4\n");
	buf_finish(&bufs[0]);
	buf_finish(&bufs[1]);
}

static void
test_limits(void **state)
{
	static const struct {
		const char *script;
		int signal;
		int64_t least, most; /* ms */
	} cases[] = {
		{ "sleep 60", SIGTERM, 100, 1000 },
		{ "trap '' TERM; while :; do sleep 0.05; done", SIGKILL, 400, 2000 },
		{ "sleep 60 & wait", SIGTERM, 100, 1000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct process_spec spec = { .argv = SHELL(cases[i].script), .timeout_ms = 100, .grace_ms = 300 };
		struct process_result result;
		struct error err;
		int64_t began = clock_monotonic_ms();
		assert_true(process_run(&spec, &arena, &result, &err));
		assert_true(result.timed_out);
		assert_int_equal(result.signal, cases[i].signal);
		assert_in_range(clock_monotonic_ms() - began, cases[i].least, cases[i].most);
	}
}

static atomic_bool cancel;

static void *
cancel_soon(void *unused)
{
	clock_sleep_ms(150, NULL);
	cancel = true;
	return unused;
}

static void
test_cancel(void **state)
{
	const struct process_spec spec = { .argv = SHELL("sleep 60"), .cancel = &cancel };
	struct process_result result;
	struct error err;
	pthread_t thread;
	int64_t began = clock_monotonic_ms();

	(void)state;
	cancel = false;
	pthread_create(&thread, NULL, cancel_soon, NULL);
	assert_true(process_run(&spec, &arena, &result, &err));
	pthread_join(thread, NULL);
	assert_true(result.cancelled);
	assert_in_range(clock_monotonic_ms() - began, 150, 150 + 400);
	/* Set before the start: nothing is started at all. */
	const struct process_spec never = { .argv = SHELL("echo started"), .cancel = &cancel, .capture = 16 };
	assert_true(process_run(&never, &arena, &result, &err));
	assert_true(result.cancelled);
	assert_string_equal(result.out, "");
}

static void
test_group_is_gone_on_return(void **state)
{
	static const char *const scripts[] = { "sleep 60 >/dev/null 2>&1 & echo $!", "sleep 60 & echo $!",
		"sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & echo $!" };

	(void)state;
	for (int reaper = 0; reaper < 2; reaper++) {
		prctl(PR_SET_CHILD_SUBREAPER, reaper);
		for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
			const struct process_spec spec = { .argv = SHELL(scripts[i]), .capture = 32 };
			struct process_result result;
			struct error err;
			assert_true(process_run(&spec, &arena, &result, &err));
			assert_int_equal(result.exit_code, 0);
			pid_t pid = (pid_t)strtol(result.out, NULL, 10);
			assert_true(pid > 1);
			assert_false(runs(pid));
		}
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void
write_file(const char *path, const char *text, mode_t mode)
{
	struct error err;

	assert_true(file_save(path, text, strlen(text), mode, &err));
	assert_int_equal(chmod(path, mode), 0);
}

static void
test_what_cannot_be_run(void **state)
{
	const char *script = in_directory("script"), *plain = in_directory("plain"), *empty = in_directory("empty");
	const struct {
		const char *program, *workdir, *env;
		enum fault fault;
		const char *says;
	} cases[] = {
		{ "no-such-program-anywhere", NULL, NULL, FAULT_NO_COMMAND, "no program `no-such-program-anywhere`" },
		{ "/no/such/program", NULL, NULL, FAULT_NO_COMMAND, "no such program" },
		{ script, NULL, NULL, FAULT_NO_COMMAND, "interpreter" },
		{ empty, NULL, NULL, FAULT_NO_COMMAND, "#!" },
		{ plain, NULL, NULL, FAULT_PERMISSION, "plain" },
		{ "true", "/no/such/directory", NULL, FAULT_NOT_FOUND, "/no/such/directory" },
		{ "true", NULL, "PATH=.:relative", FAULT_NO_COMMAND, "no program `true`" },
	};

	(void)state;
	write_file(script, "#!/no/such/interpreter\n", 0755);
	write_file(plain, "#!/bin/sh\n", 0644);
	write_file(empty, "exit 0\n", 0755);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *const argv[] = { cases[i].program, NULL };
		const char *const env[] = { cases[i].env, NULL };
		const struct process_spec spec = { .argv = argv, .workdir = cases[i].workdir, .env = cases[i].env ? env : NULL };
		struct process_result result;
		struct error err = { 0 };
		assert_false(process_run(&spec, &arena, &result, &err));
		assert_int_equal(err.fault, cases[i].fault);
		assert_non_null(strstr(err.text, cases[i].says));
	}
}

static void
test_environment(void **state)
{
	struct pairs extra = { 0 };
	struct process_result result;
	struct error err;

	(void)state;
	setenv("LD_PRELOAD_TEST", "leaks", 1);
	setenv("TZ", "Asia/Shanghai", 1);
	pairs_set(&extra, &arena, "HOME", "/elsewhere");
	pairs_set(&extra, &arena, "MINE", "a b\"c");
	const struct process_spec spec = {
		.argv = SHELL("echo \"$HOME|$MINE|$TZ|$LANG|$LD_PRELOAD_TEST|$(pwd)\""),
		.env = process_environment(&extra, &arena), .capture = 256, .workdir = "/usr",
	};
	assert_true(process_run(&spec, &arena, &result, &err));
	assert_string_equal(result.out, "/elsewhere|a b\"c|Asia/Shanghai|C.UTF-8||/usr\n");
	unsetenv("LD_PRELOAD_TEST");
	unsetenv("TZ");
	assert_string_equal(process_find("sh", "/nowhere:/bin", &arena), "/bin/sh");
	assert_null(process_find("sh", "", &arena));
	assert_null(process_find("sh", "bin:.:", &arena));
}

static const char *
read_log(const char *path)
{
	const char *text = NULL;
	struct error err;

	assert_true(file_load(path, 1 << 20, &arena, &text, NULL, &err));
	return arena_copy(&arena, text);
}

static void
start(const char *script, const char *tag, const char *log, struct process_id *id)
{
	const struct process_spec spec = { .argv = SHELL(script) };
	struct error err = { 0 };

	if (!process_start(&spec, log, tag, &arena, id, &err))
		fail_msg("%s", err.text);
}

static void
wait_for_text(const char *path, const char *text)
{
	for (int i = 0; i < 500 && !strstr(read_log(path), text); i++)
		clock_sleep_ms(10, NULL);
	assert_non_null(strstr(read_log(path), text));
}

static void
test_start_identify_stop(void **state)
{
	const char *log = in_directory("start.log");
	struct process_id id, found[4];
	struct error err;
	int code, number;

	(void)state;
	start("echo first", "p/d/t/r/0/AAAA", log, &id);
	wait_for_text(log, "first\n");
	while (process_is_alive(&id))
		clock_sleep_ms(5, NULL);
	assert_true(process_reap(&id, &code, &number));
	assert_int_equal(code, 0);
	assert_false(process_reap(&id, &code, &number));

	start("echo second; exec sleep 60", "p/d/t/r/0/BBBB", log, &id);
	wait_for_text(log, "first\nsecond\n");
	struct procfs_stat stat;
	assert_true(procfs_stat(id.pid, &stat));
	assert_int_equal(stat.session, id.pid);
	/* The shell became `sleep`: only a new look knows its executable. */
	assert_true(process_identify(id.pid, &id));
	assert_true(process_is_alive(&id));
	assert_int_equal(process_find_tagged("p/d/t/r/0/BBBB", found, 4), 1);
	assert_int_equal(found[0].pid, id.pid);
	assert_int_equal(process_find_tagged("p/d/t/", found, 4), 1);
	assert_int_equal(process_find_tagged("p/d/t", found, 4), 0);
	assert_int_equal(process_find_tagged("p/d/t/r/0/BBB", found, 4), 0);

	struct process_id parsed;
	assert_true(process_id_parse(process_id_text(&id, &arena), &parsed));
	assert_memory_equal(&parsed, &id, sizeof id);
	assert_true(process_is_alive(&parsed));

	/* Not the same process: another start time, boot or executable. Nothing is signalled. */
	struct process_id other = id;
	other.start++;
	assert_false(process_is_alive(&other));
	other = id;
	other.boot[0] = other.boot[0] == 'x' ? 'y' : 'x';
	assert_false(process_is_alive(&other));
	assert_true(process_stop(&other, "p/d/t/r/0/BBBB", 100, &err));
	other = id;
	other.exe_inode++;
	assert_false(process_is_alive(&other));
	assert_true(process_is_alive(&id));

	assert_true(process_stop(&id, "p/d/t/r/0/BBBB", 1000, &err));
	assert_false(runs(id.pid));
	assert_true(process_stop(&id, "p/d/t/r/0/BBBB", 1000, &err));
}

static void
test_stop_of_a_stranger_does_nothing(void **state)
{
	struct process_id id, stale;
	struct error err;

	(void)state;
	/* A process of ours that carries no mark, under the number of a recorded one. */
	start("exec env -u PROVISION_INSTANCE sh -c 'echo unmarked; exec sleep 60'", "x", in_directory("stranger.log"), &id);
	wait_for_text(in_directory("stranger.log"), "unmarked");
	stale = id;
	stale.start -= 5;
	assert_true(process_stop(&stale, "x", 100, &err));
	assert_true(runs(id.pid));
	assert_true(process_identify(id.pid, &id));
	assert_true(process_stop(&id, "x", 1000, &err));
	assert_false(runs(id.pid));

	/* Nor one that carries the mark of another service. */
	start("echo marked; exec sleep 60", "p/d/other/r/0/CCCC", in_directory("other.log"), &id);
	wait_for_text(in_directory("other.log"), "marked");
	stale = id;
	stale.start -= 5;
	assert_true(process_stop(&stale, "p/d/t/r/0/BBBB", 100, &err));
	assert_true(runs(id.pid));
	/* Programs that write a title of their own over their environment leave it alone when they are told so: the mark stays. */
	assert_true(procfs_has_variable(id.pid, "SPT_NOENV", "1"));
	assert_true(process_identify(id.pid, &id));
	assert_true(process_stop(&id, "p/d/other/r/0/CCCC", 1000, &err));
	assert_false(runs(id.pid));
}

static void
test_stop_ends_all_members(void **state)
{
	static const struct {
		const char *name, *script;
	} cases[] = {
		{ "workers", "sleep 60 & sleep 60 & echo worker=$!, ready; wait" },
		{ "stubborn", "sh -c 'trap \"\" TERM; while :; do sleep 0.05; done' & trap '' TERM; echo worker=$!, ready; while :; do sleep 0.05; done" },
		{ "own group", "bash -mc 'sleep 60 & echo worker=$!, ready'; sleep 60" },
		{ "outlives its leader", "trap '' HUP; sleep 60 & echo worker=$!, ready" },
	};

	(void)state;
	const char *tag = arena_printf(&arena, "members/%d/", (int)getpid());
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const char *log = in_directory(cases[i].name);
		struct process_id id, found[8];
		struct error err = { 0 };
		start(cases[i].script, tag, log, &id);
		wait_for_text(log, "ready");
		const char *said = strstr(read_log(log), "worker=");
		pid_t worker = said ? (pid_t)strtol(said + strlen("worker="), NULL, 10) : 0;
		assert_true(runs(worker));
		if (!process_stop(&id, tag, 300, &err))
			fail_msg("%s: %s", cases[i].name, err.text);
		assert_false(runs(worker));
		assert_false(runs(id.pid));
		assert_int_equal(process_find_tagged(tag, found, 8), 0);
	}
}

static void
test_bad_identities_are_refused(void **state)
{
	static const char *const texts[] = { "", "{}", "[]", "{\"pid\":1,\"start\":1,\"boot\":\"b\",\"exe_device\":1,\"exe_inode\":1}",
		"{\"pid\":4294967297,\"start\":1,\"boot\":\"b\",\"exe_device\":1,\"exe_inode\":1}",
		"{\"pid\":\"5\",\"start\":1,\"boot\":\"b\",\"exe_device\":1,\"exe_inode\":1}",
		"{\"pid\":5,\"start\":1,\"boot\":\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\",\"exe_device\":1,\"exe_inode\":1}" };
	struct process_id id = { .pid = 77 };

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		assert_false(process_id_parse(texts[i], &id));
	assert_int_equal(id.pid, 77);
}

static int
open_socket(int port, bool listening, int *chosen)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t size = sizeof name;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	if (listening)
		assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	*chosen = ntohs(name.sin_port);
	return fd;
}

static void
test_port_holder(void **state)
{
	char name[32], expected[64];
	int port;

	(void)state;
	int fd = open_socket(0, true, &port);
	procfs_name(getpid(), name, sizeof name);
	snprintf(expected, sizeof expected, "%s (pid %d)", name, (int)getpid());
	assert_string_equal(process_port_holder("127.0.0.1", port, &arena), expected);
	assert_string_equal(process_port_holder(NULL, port, &arena), expected);
	assert_string_equal(process_port_holder("0.0.0.0", port, &arena), expected);
	assert_string_equal(process_port_holder("localhost", port, &arena), expected);
	assert_null(process_port_holder("127.0.0.2", port, &arena));
	assert_null(process_port_holder("::1", port, &arena));
	close(fd);
	assert_null(process_port_holder("127.0.0.1", port, &arena));

	/* Bound, but not listening yet: a server on its way. */
	fd = open_socket(0, false, &port);
	assert_string_equal(process_port_holder("127.0.0.1", port, &arena), "another process");
	close(fd);
	assert_null(process_port_holder("127.0.0.1", port, &arena));
}

static void
test_closed_connections_do_not_hold_a_port(void **state)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	char byte;
	int port;

	(void)state;
	int listener = open_socket(0, true, &port);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	name.sin_port = htons((uint16_t)port);
	assert_int_equal(connect(client, (struct sockaddr *)&name, sizeof name), 0);
	int server = accept(listener, NULL, NULL);
	/* Who closes first lingers: the server's side, on the server's port. */
	close(server);
	assert_int_equal(read(client, &byte, 1), 0);
	close(client);
	close(listener);
	assert_null(process_port_holder("127.0.0.1", port, &arena));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_and_output),
		cmocka_unit_test(test_streams_are_told_apart_and_whole),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_group_is_gone_on_return),
		cmocka_unit_test(test_what_cannot_be_run),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_start_identify_stop),
		cmocka_unit_test(test_stop_of_a_stranger_does_nothing),
		cmocka_unit_test(test_stop_ends_all_members),
		cmocka_unit_test(test_bad_identities_are_refused),
		cmocka_unit_test(test_port_holder),
		cmocka_unit_test(test_closed_connections_do_not_hold_a_port),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
