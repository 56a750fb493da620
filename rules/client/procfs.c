#include "procfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"

#define ENVIRON_LIMIT (1u << 20)

static int
open_entry(pid_t pid, const char *entry)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, entry);
	return open(path, O_RDONLY | O_CLOEXEC);
}

bool
procfs_stat(pid_t pid, struct procfs_stat *stat)
{
	int fd finally(close_fd) = open_entry(pid, "stat");
	struct error ignored;
	char text[1024], state;
	size_t got = 0;
	int group, session;
	unsigned long long start;

	if (fd < 0 || !file_read_all(fd, text, sizeof text - 1, &got, &ignored))
		return false;
	text[got] = '\0';
	/* The name in brackets may hold spaces and brackets itself: what counts begins behind the last one. */
	const char *rest = strrchr(text, ')');
	if (!rest || sscanf(rest + 1, " %c %*d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state,
			&group, &session, &start) != 4)
		return false;
	*stat = (struct procfs_stat){ state, group, session, start };
	return true;
}

bool
procfs_boot(char boot[40])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!file)
		return false;
	bool read = fgets(boot, 40, file) != NULL;
	fclose(file);
	boot[strcspn(boot, "\n")] = '\0';
	return read;
}

void
procfs_name(pid_t pid, char *name, size_t size)
{
	int fd finally(close_fd) = open_entry(pid, "comm");
	struct error ignored;
	size_t got = 0;

	if (fd >= 0 && !file_read_all(fd, name, size - 1, &got, &ignored))
		got = 0;
	name[got] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

static bool
value_matches(const char *value, const char *wanted)
{
	size_t length = strlen(wanted);

	if (length == 0 || wanted[length - 1] == '/')
		return strncmp(value, wanted, length) == 0;
	return strcmp(value, wanted) == 0;
}

bool
procfs_has_variable(pid_t pid, const char *name, const char *value)
{
	int fd finally(close_fd) = open_entry(pid, "environ");
	struct buf text finally(buf_finish) = { 0 };
	size_t length = strlen(name);
	char chunk[4096];

	if (fd < 0)
		return false;
	buf_init(&text, ENVIRON_LIMIT);
	for (ssize_t got; (got = read(fd, chunk, sizeof chunk)) > 0 && !text.truncated;)
		buf_add(&text, chunk, (size_t)got);
	for (const char *at = text.data; at < text.data + text.size; at += strlen(at) + 1)
		if (strncmp(at, name, length) == 0 && at[length] == '=' && value_matches(at + length + 1, value))
			return true;
	return false;
}

void
procfs_each(bool (*visit)(void *context, pid_t pid), void *context)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	struct stat st;

	if (!proc)
		return;
	while ((entry = readdir(proc))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (*end || pid <= 0 || fstatat(dirfd(proc), entry->d_name, &st, 0) != 0)
			continue;
		if (st.st_uid == geteuid() && !visit(context, (pid_t)pid))
			break;
	}
	closedir(proc);
}
