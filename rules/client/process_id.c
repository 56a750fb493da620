#include "process.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "procfs.h"

struct tagged {
	const char *tag;
	struct process_id *ids;
	size_t count;
	size_t most;
};

bool
process_identify(pid_t pid, struct process_id *id)
{
	struct process_id found = { .pid = pid };
	struct procfs_stat stat_now;
	struct stat st;
	char path[64];

	if (!procfs_stat(pid, &stat_now) || !procfs_boot(found.boot))
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
add_tagged(void *context, pid_t pid)
{
	struct tagged *tagged = context;

	if (procfs_has_variable(pid, PROCESS_TAG, tagged->tag) && pid != getpid() && process_identify(pid, &tagged->ids[tagged->count]))
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
