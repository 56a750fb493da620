#include "process.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "process_note.h"
#include "procfs.h"

#define DEFAULT_GRACE_MS 10000
#define AFTER_KILL_MS 10000
#define LOOK_MS 20
#define MEMBERS 512
#define SCANS 3
#define BETWEEN_SCANS_MS 5

/* Of a number that is given away again the start time differs. */
struct member {
	pid_t pid;
	uint64_t start;
};

/* Processes that belong together, as a scan found them. */
struct members {
	const struct process_id *leader;
	const char *tag;
	void (*scan)(struct members *members);
	bool group_is_ours; /* the leader runs and is the one we mean, or a marked process vouches for the group: then all that are in it are ours */
	struct member items[MEMBERS];
	size_t count;
};

static bool
has_ended(const struct procfs_stat *stat)
{
	return stat->state == 'Z' || stat->state == 'X';
}

/* False: there is no room for another. */
static bool
add(struct members *members, pid_t pid, const struct procfs_stat *stat)
{
	members->items[members->count++] = (struct member){ pid, stat->start };
	return members->count < MEMBERS;
}

static bool
add_of_session(void *context, pid_t pid)
{
	struct members *members = context;
	struct procfs_stat stat;

	if (!procfs_stat(pid, &stat) || stat.session != members->leader->pid || has_ended(&stat))
		return true;
	/* Once the leader is gone its number may name another session one day, of another service too: then only the mark in the environment proves
	 * that a process belongs to this one. */
	if (!members->group_is_ours && !procfs_has_variable(pid, PROCESS_TAG, members->tag))
		return true;
	return add(members, pid, &stat);
}

static void
scan_session(struct members *members)
{
	members->group_is_ours = process_is_alive(members->leader);
	procfs_each(add_of_session, members);
}

static bool
add_marked(void *context, pid_t pid)
{
	struct members *members = context;
	struct procfs_stat stat;

	if (pid == getpid() || !procfs_has_variable(pid, PROCESS_TAG, members->tag) || !procfs_stat(pid, &stat) || has_ended(&stat))
		return true;
	members->group_is_ours |= stat.group == members->leader->pid;
	return add(members, pid, &stat);
}

/* Whoever dropped the mark (`env -i`), but not the group. */
static bool
add_unmarked_of_group(void *context, pid_t pid)
{
	struct members *members = context;
	struct procfs_stat stat;

	if (!procfs_stat(pid, &stat) || stat.group != members->leader->pid || has_ended(&stat) || procfs_has_variable(pid, PROCESS_TAG, members->tag))
		return true;
	return add(members, pid, &stat);
}

static void
scan_marked(struct members *members)
{
	members->group_is_ours = process_is_alive(members->leader);
	procfs_each(add_marked, members);
	if (members->group_is_ours && members->leader->pid > 1 && members->count < MEMBERS)
		procfs_each(add_unmarked_of_group, members);
}

static bool
has(const struct members *members, const struct member *member)
{
	for (size_t i = 0; i < members->count; i++)
		if (members->items[i].pid == member->pid)
			return true;
	return false;
}

/* Whoever was found once is waited for, also where nobody is left to vouch for it, or where it is just becoming another program and shows no environment. */
static void
keep_those_before(struct members *members, const struct member *before, size_t count)
{
	struct procfs_stat stat;

	for (size_t i = 0; i < count && members->count < MEMBERS; i++)
		if (!has(members, &before[i]) && procfs_stat(before[i].pid, &stat) && stat.start == before[i].start && !has_ended(&stat))
			add(members, before[i].pid, &stat);
}

static void
find(struct members *members)
{
	struct member before[MEMBERS];
	size_t count = members->count;
	char boot[40];

	memcpy(before, members->items, count * sizeof *before);
	members->count = 0;
	/* A leader we started and that has ended waits for us to take its status. */
	if (members->leader->pid > 0)
		waitpid(members->leader->pid, NULL, WNOHANG);
	if (procfs_boot(boot) && strcmp(boot, members->leader->boot) == 0)
		members->scan(members);
	keep_those_before(members, before, count);
}

/* One scan misses who is being born, or is just becoming another program. */
static bool
is_none_left(struct members *members)
{
	for (int i = 0; i < SCANS; i++) {
		find(members);
		if (members->count > 0)
			return false;
		if (i + 1 < SCANS)
			clock_sleep_ms(BETWEEN_SCANS_MS, NULL);
	}
	return true;
}

/* Through a pidfd, so that a number that was given away in between is not hit. */
static void
signal_member(const struct member *member, int number)
{
	int fd finally(close_fd) = (int)syscall(SYS_pidfd_open, member->pid, 0);
	struct procfs_stat stat;

	if (!procfs_stat(member->pid, &stat) || stat.start != member->start)
		return;
	if (fd >= 0)
		syscall(SYS_pidfd_send_signal, fd, number, NULL, 0);
	else
		kill(member->pid, number);
}

static void
signal_all(const struct members *members, int number)
{
	for (size_t i = 0; i < members->count; i++)
		signal_member(&members->items[i], number);
}

static bool
wait_until_gone(struct members *members, int64_t ms)
{
	int64_t deadline = clock_monotonic_ms() + ms;

	for (;;) {
		if (is_none_left(members))
			return true;
		if (clock_monotonic_ms() >= deadline)
			return false;
		clock_sleep_ms(LOOK_MS, NULL);
	}
}

static bool
fail_left(const struct members *members, struct error *err)
{
	struct buf pids finally(buf_finish) = { 0 };
	char name[32];

	buf_init(&pids, 256);
	for (size_t i = 0; i < members->count; i++) {
		procfs_name(members->items[i].pid, name, sizeof name);
		buf_printf(&pids, "%s%s (pid %d)", i ? ", " : "", name, (int)members->items[i].pid);
	}
	fail(err, FAULT_NOT_STOPPED, "still running after SIGKILL: %s", pids.data);
	return error_hint(err, "a process that hangs in a driver call ends only when the call does; see `dmesg`");
}

static bool
stop(struct members *members, int64_t grace_ms, struct error *err)
{
	if (is_none_left(members))
		return true;
	signal_all(members, SIGTERM);
	if (wait_until_gone(members, grace_ms > 0 ? grace_ms : DEFAULT_GRACE_MS))
		return true;
	/* Again and again: one that is just being born is missed by a single round. */
	for (int64_t deadline = clock_monotonic_ms() + AFTER_KILL_MS; clock_monotonic_ms() < deadline;) {
		signal_all(members, SIGKILL);
		if (wait_until_gone(members, LOOK_MS * 5))
			return true;
	}
	return fail_left(members, err);
}

bool
process_stop(const struct process_id *id, const char *tag, int64_t grace_ms, struct error *err)
{
	struct members members = { .leader = id, .tag = tag, .scan = scan_session };

	return id->pid <= 1 || stop(&members, grace_ms, err);
}

bool
process_stop_marked(const struct process_id *leader, const char *tag, int64_t grace_ms, struct error *err)
{
	struct members members = { .leader = leader, .tag = tag, .scan = scan_marked };

	return stop(&members, grace_ms, err);
}
