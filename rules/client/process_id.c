#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
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
#include "engine/base/json.h"
#include "procfs.h"

#define TAG "PROVISION_INSTANCE"
#define DEFAULT_GRACE_MS 10000
#define AFTER_KILL_MS 10000
#define LOOK_MS 20
#define MEMBERS 512

/* Processes of one session, as a scan found them. */
struct members {
	const struct process_id *leader;
	const char *tag;
	bool leader_is_ours; /* it runs and is the one we mean, so whoever is in its session is ours */
	pid_t pids[MEMBERS];
	size_t count;
};

struct tagged {
	const char *tag;
	struct process_id *ids;
	size_t count;
	size_t most;
};

static bool
read_boot(char boot[40])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!file)
		return false;
	bool read = fgets(boot, 40, file) != NULL;
	fclose(file);
	boot[strcspn(boot, "\n")] = '\0';
	return read;
}

bool
process_identify(pid_t pid, struct process_id *id)
{
	struct process_id found = { .pid = pid };
	struct procfs_stat stat_now;
	struct stat st;
	char path[64];

	if (!procfs_stat(pid, &stat_now) || !read_boot(found.boot))
		return false;
	found.start = stat_now.start;
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	/* Not readable for processes of others, nor when it has ended: then start time and boot have to do. */
	if (stat(path, &st) == 0) {
		found.exe_device = st.st_dev;
		found.exe_inode = st.st_ino;
	}
	*id = found;
	return true;
}

/* Whether the pid still means the process, dead or alive. */
static bool
is_same(const struct process_id *id)
{
	struct process_id now;

	if (id->pid <= 0 || !process_identify(id->pid, &now) || now.start != id->start || strcmp(now.boot, id->boot) != 0)
		return false;
	return !now.exe_inode || !id->exe_inode || (now.exe_inode == id->exe_inode && now.exe_device == id->exe_device);
}

bool
process_is_alive(const struct process_id *id)
{
	struct procfs_stat stat_now;

	return is_same(id) && procfs_stat(id->pid, &stat_now) && stat_now.state != 'Z' && stat_now.state != 'X';
}

bool
process_reap(const struct process_id *id, int *exit_code, int *signal)
{
	int status;

	if (id->pid <= 0 || waitpid(id->pid, &status, WNOHANG) != id->pid)
		return false;
	*exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	*signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	return true;
}

static bool
add_member(void *context, pid_t pid)
{
	struct members *members = context;
	struct procfs_stat stat_now;

	if (!procfs_stat(pid, &stat_now) || stat_now.session != members->leader->pid || stat_now.state == 'Z' || stat_now.state == 'X')
		return true;
	/* Once the leader is gone its number may name another session one day, of another service too: then only the mark in the environment proves
	 * that a process belongs to this one. */
	if (!members->leader_is_ours && !procfs_has_variable(pid, TAG, members->tag))
		return true;
	members->pids[members->count++] = pid;
	return members->count < MEMBERS;
}

static void
find_members(struct members *members, const struct process_id *id, const char *tag)
{
	char boot[40];

	*members = (struct members){ .leader = id, .tag = tag, .leader_is_ours = process_is_alive(id) };
	/* A leader we started and that has ended waits for us to take its status. */
	waitpid(id->pid, NULL, WNOHANG);
	if (read_boot(boot) && strcmp(boot, id->boot) == 0)
		procfs_each(add_member, members);
}

/* Through a pidfd, so that a number that was given away in between is not hit. */
static void
signal_member(const struct members *members, pid_t pid, int number)
{
	int fd finally(close_fd) = (int)syscall(SYS_pidfd_open, pid, 0);
	struct procfs_stat stat_now;

	if (!procfs_stat(pid, &stat_now) || stat_now.session != members->leader->pid)
		return;
	if (fd >= 0)
		syscall(SYS_pidfd_send_signal, fd, number, NULL, 0);
	else
		kill(pid, number);
}

static bool
wait_until_gone(struct members *members, const struct process_id *id, const char *tag, int64_t ms)
{
	int64_t deadline = clock_monotonic_ms() + ms;

	for (;;) {
		find_members(members, id, tag);
		if (members->count == 0)
			return true;
		if (clock_monotonic_ms() >= deadline)
			return false;
		clock_sleep_ms(LOOK_MS, NULL);
	}
}

bool
process_stop(const struct process_id *id, const char *tag, int64_t grace_ms, struct error *err)
{
	struct members members;
	struct buf pids finally(buf_finish) = { 0 };
	char name[32];

	if (id->pid <= 1)
		return true;
	find_members(&members, id, tag);
	for (size_t i = 0; i < members.count; i++)
		signal_member(&members, members.pids[i], SIGTERM);
	if (wait_until_gone(&members, id, tag, grace_ms > 0 ? grace_ms : DEFAULT_GRACE_MS))
		return true;
	/* Again and again: one that is just being born is missed by a single round. */
	for (int64_t deadline = clock_monotonic_ms() + AFTER_KILL_MS; clock_monotonic_ms() < deadline;) {
		for (size_t i = 0; i < members.count; i++)
			signal_member(&members, members.pids[i], SIGKILL);
		if (wait_until_gone(&members, id, tag, LOOK_MS * 5))
			return true;
	}
	buf_init(&pids, 256);
	for (size_t i = 0; i < members.count; i++) {
		procfs_name(members.pids[i], name, sizeof name);
		buf_printf(&pids, "%s%s (pid %d)", i ? ", " : "", name, (int)members.pids[i]);
	}
	fail(err, FAULT_NOT_STOPPED, "still running after SIGKILL: %s", pids.data);
	return error_hint(err, "a process that hangs in a driver call ends only when the call does; see `dmesg`");
}

static bool
add_tagged(void *context, pid_t pid)
{
	struct tagged *tagged = context;

	if (procfs_has_variable(pid, TAG, tagged->tag) && pid != getpid() && process_identify(pid, &tagged->ids[tagged->count]))
		tagged->count++;
	return tagged->count < tagged->most;
}

size_t
process_find_tagged(const char *tag, struct process_id *ids, size_t most)
{
	struct tagged tagged = { tag, ids, 0, most };

	if (most)
		procfs_each(add_tagged, &tagged);
	return tagged.count;
}

const char *
process_id_text(const struct process_id *id, struct arena *arena)
{
	json_t *value finally(json_release) = json_pack("{s:I,s:I,s:s,s:I,s:I}", "pid", (json_int_t)id->pid, "start", (json_int_t)id->start,
		"boot", id->boot, "exe_device", (json_int_t)id->exe_device, "exe_inode", (json_int_t)id->exe_inode);

	if (!value)
		out_of_memory();
	return json_text(arena, value, false);
}

bool
process_id_parse(const char *text, struct process_id *id)
{
	struct error ignored;
	json_t *value finally(json_release) = NULL;
	int64_t pid, start, device, inode;

	if (!json_parse(text, strlen(text), "process", &value, &ignored))
		return false;
	const char *boot = json_string_at(value, "boot");
	if (!json_int_at(value, "pid", &pid) || pid <= 1 || pid > INT32_MAX || !json_int_at(value, "start", &start) || !boot ||
		strlen(boot) >= sizeof id->boot || !json_int_at(value, "exe_device", &device) || !json_int_at(value, "exe_inode", &inode))
		return false;
	*id = (struct process_id){ .pid = (pid_t)pid, .start = (uint64_t)start, .exe_device = (uint64_t)device, .exe_inode = (uint64_t)inode };
	memcpy(id->boot, boot, strlen(boot));
	return true;
}
