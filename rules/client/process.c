#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "process_note.h"
#include "procfs.h"

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"
#define DEFAULT_GRACE_MS 10000
#define LOOK_MS 50        /* between two looks at the cancel flag */
#define BACKGROUND_MS 500 /* for what a program leaves behind in its group when it ends by itself */
#define AFTER_KILL_MS 10000

/* Kept from our own environment; all else is left behind, so that a build does not depend on who starts it. */
static const char *const inherited[] = { "PATH", "HOME", "USER", "TZ", "XDG_RUNTIME_DIR", "DOCKER_HOST", "DOCKER_CONFIG",
	"SSL_CERT_FILE", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY" };

enum phase { PHASE_RUNNING, PHASE_ASKED, PHASE_KILLED };

/* A child on its way. */
struct run {
	const struct process_spec *spec;
	struct process_result result;
	struct buf captured;
	enum phase phase;
	int64_t started;
	int64_t deadline; /* of the phase; -1: none */
	pid_t pid;
	int pidfd;
	int note;         /* the file that tells of the child; -1: none */
	int pipes[2];     /* our ends: stdout, stderr; -1 when they have ended */
	bool reaped;
};

const char *const *
process_environment(const struct pairs *extra, struct arena *arena)
{
	struct pairs all = { 0 };

	for (size_t i = 0; i < sizeof inherited / sizeof *inherited; i++) {
		const char *value = getenv(inherited[i]);
		if (value)
			pairs_set(&all, arena, inherited[i], value);
	}
	if (!pairs_get(&all, "PATH"))
		pairs_set(&all, arena, "PATH", DEFAULT_PATH);
	pairs_set(&all, arena, "LANG", "C.UTF-8");
	for (size_t i = 0; extra && i < extra->count; i++)
		pairs_set(&all, arena, extra->items[i].key, extra->items[i].value);

	const char **env = arena_array(arena, all.count + 1, sizeof *env);
	for (size_t i = 0; i < all.count; i++)
		env[i] = arena_printf(arena, "%s=%s", all.items[i].key, all.items[i].value);
	return env;
}

const char *
process_find(const char *program, const char *path, struct arena *arena)
{
	struct stat st;

	if (strchr(program, '/'))
		return stat(program, &st) == 0 && S_ISREG(st.st_mode) ? program : NULL;
	for (const char *at = path ? path : DEFAULT_PATH; *at;) {
		int length = (int)strcspn(at, ":");
		/* An empty or relative entry would run whatever lies in the working directory. */
		if (*at == '/') {
			const char *candidate = arena_printf(arena, "%.*s/%s", length, at, program);
			if (stat(candidate, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111))
				return candidate;
		}
		at += length + (at[length] == ':');
	}
	return NULL;
}

/* With the mark by which a process of ours is known, whoever has become of its starter. */
static const char *const *
add_mark(const char *const *env, const char *tag, struct arena *arena)
{
	size_t count = 0;

	while (env[count])
		count++;
	const char **all = arena_array(arena, count + 3, sizeof *all);
	all[0] = arena_printf(arena, PROCESS_TAG "=%s", tag);
	/* Servers in Python write a title over their environment in /proc, and with it the mark; setproctitle leaves it alone with this. */
	all[1] = "SPT_NOENV=1";
	memcpy(all + 2, env, count * sizeof *all);
	return all;
}

static const char *
path_of(const char *const *env)
{
	for (; env && *env; env++)
		if (strncmp(*env, "PATH=", 5) == 0)
			return *env + 5;
	return NULL;
}

static bool
find_program(const struct process_spec *spec, struct arena *arena, const char **program, struct error *err)
{
	const char *name = spec->argv[0];

	*program = strchr(name, '/') ? name : process_find(name, path_of(spec->env), arena);
	if (*program)
		return true;
	fail(err, FAULT_NO_COMMAND, "no program `%s` in PATH (%s)", name, path_of(spec->env) ? path_of(spec->env) : DEFAULT_PATH);
	return error_hint(err, "install `%s`, or give its path", name);
}

/* posix_spawn has one errno for several causes: look which it was. */
static bool
fail_spawn(const struct process_spec *spec, const char *program, int code, struct error *err)
{
	struct stat st;

	if (spec->workdir && (stat(spec->workdir, &st) != 0 || !S_ISDIR(st.st_mode)))
		return fail(err, FAULT_NOT_FOUND, "run `%s`: no directory `%s` to work in", program, spec->workdir);
	if (code == ENOENT && *program == '/' && stat(program, &st) == 0)
		return fail(err, FAULT_NO_COMMAND, "run `%s`: the interpreter named in its first line does not exist", program);
	if (code == ENOENT || code == ENOTDIR)
		return fail(err, FAULT_NO_COMMAND, "run `%s`: no such program", program);
	if (code == ENOEXEC)
		return fail(err, FAULT_NO_COMMAND, "run `%s`: neither a program for this machine nor a script with a `#!` line", program);
	errno = code;
	return fail_errno(err, "run `%s`", program);
}

/* The child: a group or session of its own, default signals, /dev/null to read, `out` and `error` to write, nothing else open. */
static bool
spawn(const struct process_spec *spec, short kind, int out, int error, struct arena *arena, pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	const char *program;
	int code;

	if (!find_program(spec, arena, &program, err))
		return false;
	size_t count = 0;
	while (spec->argv[count])
		count++;
	char **argv = arena_array(arena, count + 1, sizeof *argv);
	for (size_t i = 0; i < count; i++)
		argv[i] = arena_copy(arena, spec->argv[i]);
	const char *const *env = spec->env ? spec->env : process_environment(NULL, arena);
	if (spec->tag)
		env = add_mark(env, spec->tag, arena);
	for (count = 0; env[count]; count++)
		;
	char **envp = arena_array(arena, count + 1, sizeof *envp);
	for (size_t i = 0; i < count; i++)
		envp[i] = arena_copy(arena, env[i]);

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0)
		out_of_memory();
	code = posix_spawnattr_setflags(&attributes, (short)(kind | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
	code = code ? code : posix_spawnattr_setsigmask(&attributes, &none);
	code = code ? code : posix_spawnattr_setsigdefault(&attributes, &all);
	code = code ? code : posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	code = code ? code : posix_spawn_file_actions_adddup2(&actions, out, 1);
	code = code ? code : posix_spawn_file_actions_adddup2(&actions, error, 2);
	code = code ? code : posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (spec->workdir)
		code = code ? code : posix_spawn_file_actions_addchdir_np(&actions, spec->workdir);
	code = code ? code : posix_spawn(pid, program, &actions, &attributes, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return code == 0 || fail_spawn(spec, program, code, err);
}

/* A pipe whose ends are above 2: the child's dup2 would otherwise overwrite one of them where a standard descriptor was closed. */
static bool
open_pipe(int *reads, int *writes, struct error *err)
{
	int raw[2], moved[2];

	if (pipe2(raw, O_CLOEXEC) != 0)
		return fail_errno(err, "pipe");
	for (int i = 0; i < 2; i++) {
		moved[i] = raw[i] > 2 ? raw[i] : fcntl(raw[i], F_DUPFD_CLOEXEC, 3);
		if (moved[i] != raw[i])
			close(raw[i]);
	}
	*reads = moved[0];
	*writes = moved[1];
	if (*reads < 0 || *writes < 0 || fcntl(*reads, F_SETFL, O_NONBLOCK) != 0)
		return fail_errno(err, "pipe");
	return true;
}

static void
signal_group(const struct run *run, int number)
{
	/* The number cannot have been given to others: our unreaped child, or a member of the group, still holds it. */
	kill(-run->pid, number);
}

static bool
is_alive_in_group(void *context, pid_t pid)
{
	pid_t *group = context;
	struct procfs_stat stat;

	if (!procfs_stat(pid, &stat) || stat.group != *group || stat.state == 'Z' || stat.state == 'X')
		return true;
	*group = 0;
	return false;
}

/* Whether nothing runs in the group any more. Grandchildren are reaped if they were handed to us; zombies that wait for somebody else do not count. */
static bool
group_is_gone(const struct run *run)
{
	pid_t group = run->pid;

	while (waitpid(-run->pid, NULL, WNOHANG) > 0)
		;
	if (kill(-run->pid, 0) != 0 && errno == ESRCH)
		return true;
	procfs_each(is_alive_in_group, &group);
	return group != 0;
}

static void
take_output(struct run *run, int which)
{
	char bytes[16384];
	ssize_t got;

	/* At most one full pipe at a time, so that a chatterer cannot keep us from looking at the clock. */
	for (int i = 0; i < 8 && run->pipes[which] >= 0; i++) {
		got = read(run->pipes[which], bytes, sizeof bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			close_fd(&run->pipes[which]);
			return;
		}
		if (which == 0 && run->spec->capture)
			buf_add(&run->captured, bytes, (size_t)got);
		if (run->spec->output)
			run->spec->output(run->spec->context, which == 1, bytes, (size_t)got);
	}
}

static void
reap(struct run *run)
{
	int status;

	if (waitpid(run->pid, &status, WNOHANG) != run->pid)
		return;
	run->reaped = true;
	run->result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	run->result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Ask once, then insist. */
static void
press(struct run *run, int64_t grace)
{
	bool ask = run->phase == PHASE_RUNNING;

	signal_group(run, ask ? SIGTERM : SIGKILL);
	run->phase = ask ? PHASE_ASKED : PHASE_KILLED;
	run->deadline = clock_monotonic_ms() + (ask ? grace : AFTER_KILL_MS);
}

static void
look_at_limits(struct run *run)
{
	int64_t grace = run->spec->grace_ms > 0 ? run->spec->grace_ms : DEFAULT_GRACE_MS;
	bool late = run->deadline >= 0 && clock_monotonic_ms() >= run->deadline;

	if (run->phase == PHASE_RUNNING && run->spec->cancel && *run->spec->cancel) {
		run->result.cancelled = true;
		press(run, grace);
	} else if (run->phase == PHASE_RUNNING && late) {
		run->result.timed_out = true;
		press(run, grace);
	} else if (run->phase == PHASE_ASKED && late) {
		press(run, 0);
	}
}

static int
patience(const struct run *run)
{
	int64_t left = run->deadline < 0 ? LOOK_MS : run->deadline - clock_monotonic_ms();

	if (run->deadline < 0 && !run->spec->cancel && run->pidfd >= 0 && !run->reaped)
		return -1;
	return left < 0 ? 0 : left < LOOK_MS ? (int)left : LOOK_MS;
}

static void
wait_a_moment(struct run *run)
{
	struct pollfd watched[3] = { { .fd = run->reaped ? -1 : run->pidfd, .events = POLLIN },
		{ .fd = run->pipes[0], .events = POLLIN }, { .fd = run->pipes[1], .events = POLLIN } };

	poll(watched, 3, patience(run));
	take_output(run, 0);
	take_output(run, 1);
	if (!run->reaped)
		reap(run);
}

/* Until the child has ended, by itself or not. */
static void
wait_for_child(struct run *run)
{
	while (!run->reaped) {
		wait_a_moment(run);
		if (!run->reaped)
			look_at_limits(run);
	}
}

/* What the child left in its group ends with it. False: something survives even SIGKILL. */
static bool
end_group(struct run *run)
{
	if (!group_is_gone(run) && run->phase == PHASE_RUNNING)
		press(run, BACKGROUND_MS);
	while (!group_is_gone(run)) {
		wait_a_moment(run);
		if (run->phase == PHASE_KILLED && clock_monotonic_ms() >= run->deadline)
			return false;
		if (run->phase == PHASE_ASKED && clock_monotonic_ms() >= run->deadline)
			press(run, 0);
	}
	take_output(run, 0);
	take_output(run, 1);
	return true;
}

static void
run_finish(struct run *run)
{
	close_fd(&run->pipes[0]);
	close_fd(&run->pipes[1]);
	close_fd(&run->pidfd);
	close_fd(&run->note);
	buf_finish(&run->captured);
}

bool
process_run(const struct process_spec *spec, struct arena *arena, struct process_result *result, struct error *err)
{
	struct run run finally(run_finish) = { .spec = spec, .pidfd = -1, .note = -1, .pipes = { -1, -1 }, .deadline = -1 };
	int out finally(close_fd) = -1, error finally(close_fd) = -1;

	if (spec->cancel && *spec->cancel) {
		*result = (struct process_result){ .exit_code = -1, .cancelled = true, .out = "" };
		return true;
	}
	if (!open_pipe(&run.pipes[0], &out, err) || !open_pipe(&run.pipes[1], &error, err))
		return false;
	if (spec->note && !process_note_begin(spec->note, spec->tag, &run.note, err))
		return false;
	run.started = clock_monotonic_ms();
	if (!spawn(spec, POSIX_SPAWN_SETPGROUP, out, error, arena, &run.pid, err)) {
		if (spec->note)
			process_note_end(run.note, spec->tag);
		return false;
	}
	if (spec->note)
		process_note_child(run.note, spec->tag, run.pid);
	/* Ours must close, or the pipes would never end. */
	close_fd(&out);
	close_fd(&error);
	/* Without a pidfd (an old kernel) the waiting below looks every few milliseconds instead. */
	run.pidfd = (int)syscall(SYS_pidfd_open, run.pid, 0);
	if (spec->timeout_ms > 0)
		run.deadline = run.started + spec->timeout_ms;
	if (spec->capture)
		buf_init(&run.captured, spec->capture);
	wait_for_child(&run);
	if (!end_group(&run))
		return fail(err, FAULT_NOT_STOPPED, "processes of `%s` (group %d) survive SIGKILL", spec->argv[0], (int)run.pid);
	if (spec->note)
		process_note_end(run.note, spec->tag);
	run.result.duration_ms = clock_monotonic_ms() - run.started;
	run.result.out = spec->capture ? arena_copy_bytes(arena, run.captured.data, run.captured.size) : "";
	*result = run.result;
	return true;
}

bool
process_start(const struct process_spec *spec, const char *log, const char *tag, struct arena *arena, struct process_id *id,
	struct error *err)
{
	struct process_spec tagged = *spec;
	int raw finally(close_fd) = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	int fd finally(close_fd) = raw < 0 ? -1 : fcntl(raw, F_DUPFD_CLOEXEC, 3);
	pid_t pid = 0;

	if (fd < 0)
		return fail_errno(err, "log `%s`", log);
	tagged.tag = tag;
	if (!spawn(&tagged, POSIX_SPAWN_SETSID, fd, fd, arena, &pid, err))
		return false;
	if (process_identify(pid, id))
		return true;
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return fail(err, FAULT_START, "`%s` ended as soon as it was started", spec->argv[0]);
}
