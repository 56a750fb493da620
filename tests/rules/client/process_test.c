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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "rules/client/port_table.h"
#include "rules/client/procfs.h"

#define SHELL(script) (const char *const[]) { "/bin/sh", "-c", script, NULL }

static struct arena arena;
static struct error err_ignored;
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
		{ "sleep 60", SIGTERM, 500, 30000 },
		{ "trap '' TERM; while :; do sleep 0.05; done", SIGKILL, 800, 30000 },
		{ "sleep 60 & wait", SIGTERM, 500, 30000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct process_spec spec = { .argv = SHELL(cases[i].script), .timeout_ms = 500, .grace_ms = 300 };
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
	for (int i = 0; i < 500 && (access(path, F_OK) != 0 || !strstr(read_log(path), text)); i++)
		clock_sleep_ms(10, NULL);
	assert_non_null(strstr(read_log(path), text));
}

/* A shell that replaces itself by another program has not done so when it says that it will. */
static void
wait_for_name(pid_t pid, const char *wanted)
{
	char name[32] = "";

	for (int i = 0; i < 500 && strcmp(name, wanted) != 0; i++) {
		clock_sleep_ms(10, NULL);
		procfs_name(pid, name, sizeof name);
	}
	assert_string_equal(name, wanted);
}

/* What carries a mark is looked for on the whole machine, and this test may run twice at once. */
static const char *
own_tag(const char *rest)
{
	return arena_printf(&arena, "test-%d/%s", (int)getpid(), rest);
}

static void
test_start_identify_stop(void **state)
{
	const char *log = in_directory("start.log");
	struct process_id id, found[4];
	struct error err;
	int code, number;

	(void)state;
	start("echo first", own_tag("d/t/r/0/AAAA"), log, &id);
	wait_for_text(log, "first\n");
	while (process_is_alive(&id))
		clock_sleep_ms(5, NULL);
	assert_true(process_reap(&id, &code, &number));
	assert_int_equal(code, 0);
	assert_false(process_reap(&id, &code, &number));

	start("echo second; exec sleep 60", own_tag("d/t/r/0/BBBB"), log, &id);
	wait_for_text(log, "first\nsecond\n");
	struct procfs_stat stat;
	assert_true(procfs_stat(id.pid, &stat));
	assert_int_equal(stat.session, id.pid);
	wait_for_name(id.pid, "sleep");
	/* Only a new look knows its executable. */
	assert_true(process_identify(id.pid, &id));
	assert_true(process_is_alive(&id));
	assert_int_equal(process_find_tagged(own_tag("d/t/r/0/BBBB"), found, 4), 1);
	assert_int_equal(found[0].pid, id.pid);
	assert_int_equal(process_find_tagged(own_tag("d/t/"), found, 4), 1);
	assert_int_equal(process_find_tagged(own_tag("d/t"), found, 4), 0);
	assert_int_equal(process_find_tagged(own_tag("d/t/r/0/BBB"), found, 4), 0);

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
	assert_true(process_stop(&other, own_tag("d/t/r/0/BBBB"), 100, &err));
	other = id;
	other.exe_inode++;
	assert_false(process_is_alive(&other));
	assert_true(process_is_alive(&id));

	assert_true(process_stop(&id, own_tag("d/t/r/0/BBBB"), 1000, &err));
	assert_false(runs(id.pid));
	assert_true(process_stop(&id, own_tag("d/t/r/0/BBBB"), 1000, &err));
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
	wait_for_name(id.pid, "sleep");
	stale = id;
	stale.start -= 5;
	assert_true(process_stop(&stale, "x", 100, &err));
	assert_true(runs(id.pid));
	assert_true(process_identify(id.pid, &id));
	assert_true(process_stop(&id, "x", 1000, &err));
	assert_false(runs(id.pid));

	/* Nor one that carries the mark of another service. */
	start("echo marked; exec sleep 60", own_tag("d/other/r/0/CCCC"), in_directory("other.log"), &id);
	wait_for_text(in_directory("other.log"), "marked");
	wait_for_name(id.pid, "sleep");
	stale = id;
	stale.start -= 5;
	assert_true(process_stop(&stale, own_tag("d/t/r/0/BBBB"), 100, &err));
	assert_true(runs(id.pid));
	/* Programs that write a title of their own over their environment leave it alone when they are told so: the mark stays. */
	assert_true(procfs_has_variable(id.pid, "SPT_NOENV", "1"));
	assert_true(process_identify(id.pid, &id));
	assert_true(process_stop(&id, own_tag("d/other/r/0/CCCC"), 1000, &err));
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

/* Another process that waits for a child by a note, as a run does, so that it can be killed. */
static pid_t
run_elsewhere(const char *script, const char *note, const char *tag)
{
	pid_t runner = fork();

	if (runner == 0) {
		struct arena own;
		struct process_result result;
		struct error err;
		const struct process_spec spec = { .argv = SHELL(script), .note = note, .tag = tag };

		arena_init(&own);
		_exit(process_run(&spec, &own, &result, &err) ? 0 : 1);
	}
	assert_true(runner > 0);
	return runner;
}

static pid_t
pid_in(const char *path)
{
	wait_for_text(path, "\n");
	return (pid_t)strtol(read_log(path), NULL, 10);
}

static void
test_what_a_killed_run_left_is_cleared(void **state)
{
	const char *note = in_directory("note"), *tag = own_tag("d/t/child/RUN/ID");
	const char *child = in_directory("child"), *grandchild = in_directory("grandchild"), *unmarked = in_directory("unmarked"), *away = in_directory("away");
	const char *script = arena_printf(&arena,
		"echo $$ >%s; trap '' HUP; (trap '' TERM; echo ready; while :; do sleep 0.05; done) >/dev/null 2>&1 & echo $! >%s; "
		"env -i /bin/sh -c 'echo $$ >%s; exec /bin/sleep 60' & setsid -f /bin/sh -c 'echo $$ >%s; exec /bin/sleep 60'; wait",
		child, grandchild, unmarked, away);
	struct process_id stranger;
	struct error err = { 0 };
	int status;

	(void)state;
	/* Its mark begins like ours, and it runs the same. */
	start("exec sleep 60", own_tag("d/t/child/RUN/ID2"), in_directory("stranger2.log"), &stranger);
	pid_t runner = run_elsewhere(script, note, tag);
	const pid_t pids[] = { pid_in(child), pid_in(grandchild), pid_in(unmarked), pid_in(away) };
	wait_for_text(note, arena_printf(&arena, "\n=%d ", (int)pids[0]));

	process_forget(note);
	assert_int_equal(access(note, F_OK), 0);
	kill(runner, SIGKILL);
	assert_int_equal(waitpid(runner, &status, 0), runner);
	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
		assert_true(runs(pids[i]));
	if (!process_clear(note, 200, &err))
		fail_msg("%s", err.text);
	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
		assert_false(runs(pids[i]));
	assert_int_equal(access(note, F_OK), -1);
	assert_true(runs(stranger.pid));
	assert_true(process_clear(note, 200, &err));
	assert_true(process_identify(stranger.pid, &stranger));
	assert_true(process_stop(&stranger, own_tag("d/t/child/RUN/ID2"), 1000, &err));
}

/* Told of while it runs, and that it ended: also of what cannot be started. Nothing is looked for then, not even what went into the background on purpose. */
static void
test_notes_of_what_has_ended(void **state)
{
	const char *note = in_directory("deep/notes"), *daemon = in_directory("daemon");
	const char *const script = arena_printf(&arena, "cat %s; echo mark=$PROVISION_INSTANCE; setsid -f /bin/sh -c 'echo $$ >%s; exec sleep 60' >/dev/null 2>&1; "
		"while ! [ -s %s ]; do sleep 0.02; done", note, daemon, daemon);
	const struct process_spec spec = { .argv = SHELL(script), .note = note, .tag = own_tag("d/t/child/R/1"), .capture = 4096 };
	const struct process_spec none = { .argv = (const char *const[]) { "/no/such", NULL }, .note = note, .tag = own_tag("d/t/child/R/2") };
	struct process_result result;
	struct error err = { 0 };

	(void)state;
	if (!process_run(&spec, &arena, &result, &err))
		fail_msg("%s", err.text);
	assert_int_equal(result.exit_code, 0);
	assert_non_null(strstr(result.out, arena_printf(&arena, "\n+%s\n", spec.tag)));
	assert_non_null(strstr(result.out, arena_printf(&arena, "\nmark=%s\n", spec.tag)));
	assert_false(process_run(&none, &arena, &result, &err));
	process_forget(note);
	assert_int_equal(access(note, F_OK), -1);
	assert_true(process_clear(note, 200, &err));
	pid_t left = pid_in(daemon);
	assert_true(runs(left));
	kill(left, SIGKILL);
}

/* Torn, copied, of an earlier start of the machine, or under a number that somebody else has by now: nothing is signalled, and it goes. */
static void
test_notes_that_prove_nothing(void **state)
{
	static const struct {
		const char *lines; /* TAG, PID and START are the stranger's */
		bool copied, of_earlier_boot;
	} cases[] = {
		{ "", false, false }, { "+\n", false, false }, { "+TAG", false, false }, { "-TAG\n+", false, false }, { "+TAG\n-TAG\n", false, false },
		{ "+TAG\n=PID START TAG\n-TAG\n", false, false }, { "+TAG\n=PID START TAG\n", true, false }, { "+TAG\n=PID START TAG\n", false, true },
		{ "+TA\n", false, false }, { "+none\n=PID 1 none\n", false, false }, { "=PID START none\n", false, false },
		{ "+none\n=-1 1 none\n=1 1 none\n=x none\n", false, false }, { "+TAG/\n+x\n-x\n", false, false },
	};
	const char *note = in_directory("proves-nothing"), *tag = own_tag("d/t/r/0/DDDD");
	struct process_id stranger;
	struct error err = { 0 };
	struct stat st;

	(void)state;
	start("exec sleep 60", tag, in_directory("stranger3.log"), &stranger);
	wait_for_name(stranger.pid, "sleep");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		FILE *file = fopen(note, "we");
		assert_int_equal(fstat(fileno(file), &st), 0);
		fprintf(file, "@%llu %s\n", (unsigned long long)st.st_ino + cases[i].copied,
			cases[i].of_earlier_boot ? "00000000-0000-0000-0000-000000000000" : stranger.boot);
		for (const char *at = cases[i].lines; *at;) {
			if (strncmp(at, "TAG", 3) == 0)
				at += 3, fputs(tag, file);
			else if (strncmp(at, "PID", 3) == 0)
				at += 3, fprintf(file, "%d", (int)stranger.pid);
			else if (strncmp(at, "START", 5) == 0)
				at += 5, fprintf(file, "%llu", (unsigned long long)stranger.start);
			else
				fputc(*at++, file);
		}
		fclose(file);
		if (!process_clear(note, 200, &err))
			fail_msg("%zu: %s", i, err.text);
		assert_int_equal(access(note, F_OK), -1);
		if (!runs(stranger.pid))
			fail_msg("%zu: a stranger was stopped", i);
	}
	/* The same without a flaw does end it. */
	FILE *file = fopen(note, "we");
	assert_int_equal(fstat(fileno(file), &st), 0);
	fprintf(file, "@%llu %s\n+%s\n", (unsigned long long)st.st_ino, stranger.boot, tag);
	fclose(file);
	assert_true(process_clear(note, 1000, &err));
	assert_false(runs(stranger.pid));
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

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static socklen_t
fill_name(const char *address, int port, union name *name)
{
	*name = (union name){ 0 };
	if (inet_pton(AF_INET, address, &name->v4.sin_addr) == 1) {
		name->v4.sin_family = AF_INET;
		name->v4.sin_port = htons((uint16_t)port);
		return sizeof name->v4;
	}
	assert_int_equal(inet_pton(AF_INET6, address, &name->v6.sin6_addr), 1);
	name->v6.sin6_family = AF_INET6;
	name->v6.sin6_port = htons((uint16_t)port);
	return sizeof name->v6;
}

/* As servers do it. -1: it cannot listen there. */
static int
serve_at(const char *address, int port, bool v6_alone)
{
	union name name;
	socklen_t size = fill_name(address, port, &name);
	int fd = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (v6_alone)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
	if (bind(fd, &name.any, size) == 0 && listen(fd, 4) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Who closes first lingers: the server's side, on the server's port. */
static void
leave_lingering(int listener, const char *address, int port)
{
	const char *to = strcmp(address, "0.0.0.0") == 0 ? "127.0.0.1" : strcmp(address, "::") == 0 ? "::1" : address;
	union name name;
	socklen_t size = fill_name(to, port, &name);
	int client = socket(name.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	assert_int_equal(connect(client, &name.any, size), 0);
	int server = accept(listener, NULL, NULL);
	close(server);
	assert_int_equal(read(client, &byte, 1), 0);
	close(client);
}

static int
own_port(void)
{
	/* Below the range that the kernel deals out, another for each process. */
	static int next;
	int fd;

	if (!next)
		next = 12000 + (int)getpid() % 200 * 100;
	for (;; next++)
		if ((fd = serve_at("0.0.0.0", next, false)) >= 0) {
			close(fd);
			return next++;
		}
}

/* What netlink answers is what the text says, and both see whether somebody listens. */
static void
compare_tables(const char *address, int port, bool somebody)
{
	struct port_table asked = { .port = (unsigned)port }, read = { .port = (unsigned)port };
	struct in_addr v4;

	if (inet_pton(AF_INET, address, &v4) == 1)
		asked.address = port_address_of_ipv4(v4.s_addr);
	else
		assert_int_equal(inet_pton(AF_INET6, address, &asked.address), 1);
	read.address = asked.address;
	assert_true(port_table_read(&read));
	assert_int_equal(port_table_lingers(&asked), read.lingering);
	assert_true(read.count == 1 || !somebody);
	if (!port_table_ask(&asked))
		return; /* a kernel without sock_diag */
	assert_int_equal(asked.count, read.count);
	for (size_t i = 0; i < asked.count; i++)
		assert_int_equal(asked.inodes[i], read.inodes[i]);
}

/* The port is free exactly if a server could be started, whoever listens or has listened there. */
static void
test_a_port_is_free_if_a_server_can_start(void **state)
{
	static const struct {
		const char *address;
		bool v6_alone;
	} listeners[] = { { "127.0.0.1", false }, { "127.0.0.2", false }, { "0.0.0.0", false }, { "::1", false }, { "::", false }, { "::", true } };
	static const char *const wanted[] = { "127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::" };
	size_t held = 0, free_ones = 0, lingering_ones = 0;

	(void)state;
	for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++)
		for (int lingers = 0; lingers < 2; lingers++)
			for (int listens = 0; listens < 2; listens++) {
				int port = own_port(), fd = serve_at(listeners[i].address, port, listeners[i].v6_alone);
				if (fd < 0)
					continue; /* no IPv6 here */
				if (lingers)
					leave_lingering(fd, listeners[i].address, port);
				if (!listens)
					close(fd);
				compare_tables(listeners[i].address, port, listens);
				for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
					compare_tables(wanted[k], port, false);
					int server = serve_at(wanted[k], port, false);
					bool can_start = server >= 0;
					if (can_start)
						close(server);
					const char *holder = process_port_holder(wanted[k], port, &arena);
					if (!holder != can_start)
						fail_msg("%s for %s, %s, %s: held by %s, and a server %s start", listeners[i].address, wanted[k],
							listens ? "listening" : "closed", lingers ? "lingering" : "nothing lingers",
							holder ? holder : "nobody", can_start ? "can" : "cannot");
					held += !can_start;
					free_ones += can_start;
					lingering_ones += can_start && lingers && !listens;
				}
				if (listens)
					close(fd);
			}
	assert_true(held > 0 && free_ones > 0 && lingering_ones > 0);
}

static void
test_port_stranger(void **state)
{
	char name[32], expected[64];
	struct process_id ours;
	int port;

	(void)state;
	int fd = open_socket(0, true, &port);
	procfs_name(getpid(), name, sizeof name);
	snprintf(expected, sizeof expected, "%s (pid %d)", name, (int)getpid());
	/* A process that we started, and that does not listen: the answer would be ours. */
	start("exec sleep 60", own_tag("d/t/r/0/EEEE"), in_directory("deaf.log"), &ours);
	wait_for_name(ours.pid, "sleep");
	assert_string_equal(process_port_stranger("127.0.0.1", port, &ours, own_tag("d/t/r/0/EEEE"), &arena), expected);
	assert_null(process_port_stranger("127.0.0.2", port, &ours, own_tag("d/t/r/0/EEEE"), &arena));
	close(fd);
	assert_null(process_port_stranger("127.0.0.1", port, &ours, own_tag("d/t/r/0/EEEE"), &arena));
	assert_true(process_identify(ours.pid, &ours));
	assert_true(process_stop(&ours, own_tag("d/t/r/0/EEEE"), 1000, &err_ignored));

	/* Those that listen themselves, by a child, and by one that left the session. */
	static const char *const scripts[] = { "exec %s", "%s & wait", "setsid -f %s; exec sleep 60" };
	for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
		const char *log = in_directory(arena_printf(&arena, "listens%zu.log", i));
		const char *server = arena_printf(&arena, "python3 -c 'import socket, time; s = socket.create_server((\"127.0.0.1\", %d)); "
			"print(\"listening\", flush=True); time.sleep(60)'", port = own_port());
		const char *tag = own_tag(arena_printf(&arena, "d/t/r/%zu/FFFF", i));
		struct process_id left[8];
		const char *before = strchr(scripts[i], '%');
		start(arena_printf(&arena, "%.*s%s%s", (int)(before - scripts[i]), scripts[i], server, before + 2), tag, log, &ours);
		wait_for_text(log, "listening");
		assert_null(process_port_stranger("127.0.0.1", port, &ours, tag, &arena));
		assert_non_null(process_port_stranger("127.0.0.1", port, &(struct process_id){ .pid = 1 }, "another", &arena));
		assert_true(process_identify(ours.pid, &ours));
		assert_true(process_stop(&ours, tag, 1000, &err_ignored));
		for (size_t k = process_find_tagged(tag, left, 8); k-- > 0;)
			kill(left[k].pid, SIGKILL);
	}
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
		cmocka_unit_test(test_what_a_killed_run_left_is_cleared),
		cmocka_unit_test(test_notes_of_what_has_ended),
		cmocka_unit_test(test_notes_that_prove_nothing),
		cmocka_unit_test(test_bad_identities_are_refused),
		cmocka_unit_test(test_port_holder),
		cmocka_unit_test(test_a_port_is_free_if_a_server_can_start),
		cmocka_unit_test(test_port_stranger),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
