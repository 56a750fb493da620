/* logs.c - `provision logs`: the stored log of a target. */
#include "commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/path.h"
#include "session.h"

#define BLOCK (64u << 10)

/* Ids of runs become parts of paths. */
static bool
is_run_id(const char *text)
{
	return *text && strlen(text) <= 63 &&
	       text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")] == '\0';
}

static const char *
log_path(struct session *session, const char *run, const char *target)
{
	return arena_printf(&session->arena, "%s/logs/%s/%s.log", session->found.state_dir, run, target);
}

static bool
last_of_history(struct session *session, const char *target, const char **run, struct error *err)
{
	const struct memory *memory = session->memory;
	struct history_entry *entries;
	struct stat st;
	size_t count;

	if (!memory->history(memory->self, NULL, &session->arena, &entries, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (entries[i].target && strcmp(entries[i].target, target) == 0)
			*run = entries[i].run;
	/* What was interrupted has no entry of its own, and may have a log. */
	for (size_t i = count; i-- > 0 && !*run;)
		if (entries[i].run && is_run_id(entries[i].run) && stat(log_path(session, entries[i].run, target), &st) == 0)
			*run = entries[i].run;
	return true;
}

/* The run that touched the target last, in any deployment; NULL if none did. */
static const char *
last_run(struct session *session, const char *target, struct error *err)
{
	const struct memory *memory = session->memory;
	const char *run = NULL;
	const char **names;
	int64_t newest = -1;
	size_t count;

	if (!memory->deployments(memory->self, &session->arena, &names, &count, err))
		return NULL;
	for (size_t i = 0; i < count; i++) {
		struct history_entry entry;
		bool found = false;

		if (!memory->last_action(memory->self, names[i], target, &session->arena, &entry, &found, err))
			return NULL;
		if (found && entry.seq > newest) {
			newest = entry.seq;
			run = entry.run;
		}
	}
	/* Where nothing has succeeded yet no deployment is known; the history has what failed. */
	if (!run && !last_of_history(session, target, &run, err))
		return NULL;
	if (!run)
		fail(err, FAULT_NO_RECORD, "nothing is recorded of a target `%s`", target);
	return run;
}

static bool
open_log(struct session *session, const char *run, const char *target, int *fd, struct error *err)
{
	const char *path = log_path(session, run, target);
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (*fd < 0 && errno == ENOENT) {
		fail(err, FAULT_NO_RECORD, "`%s` has no log in run %s", target, run);
		return error_hint(
			err, "a target that printed nothing leaves none; runs are listed by: provision audit log");
	}
	if (*fd < 0 || fstat(*fd, &st) != 0)
		return fail_errno(err, "open `%s`", path);
	return S_ISREG(st.st_mode) || fail(err, FAULT_IO, "`%s` is no regular file", path);
}

static bool
copy(struct session *session, int fd, struct error *err)
{
	char *block = arena_alloc(&session->arena, BLOCK);
	size_t got;

	do {
		if (!file_read_all(fd, block, BLOCK, &got, err))
			return false;
		out_bytes(&session->out, block, got);
	} while (got == BLOCK && !session->out.error);
	return true;
}

/* The same lines that a run tells with -v. */
static bool
tell(struct session *session, const char *target, int *fd, struct error *err)
{
	FILE *log = fdopen(*fd, "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	if (!log)
		return fail_errno(err, "read the log of `%s`", target);
	*fd = -1;
	session->documents = false;
	session->jsonl.logs = true;
	while ((length = getline(&line, &size, log)) >= 0 && !session->out.error) {
		if (length > 0 && line[length - 1] == '\n')
			line[length - 1] = '\0';
		jsonl_event(&session->jsonl, &(struct event){ .kind = EVENT_LOG, .target = target, .text = line });
	}
	free(line);
	return fclose(log) == 0 || fail_errno(err, "read the log of `%s`", target);
}

int
command_logs(struct session *session)
{
	const char *target = session->options.operands.items[0];
	const char *run = session->options.run;
	int fd finally(close_fd) = -1;
	struct error err = { 0 };
	const char *why;
	enum status status = session_find(session, false);

	session->documents = true;
	if (status == STATUS_OK)
		status = session_read(session);
	if (status != STATUS_OK)
		return (int)status;
	if (strchr(target, '/') || !path_is_safe(target, &why))
		fail(&err, FAULT_USAGE, "`%s` is no name of a target", target);
	else if (run && !is_run_id(run))
		fail(&err, FAULT_USAGE, "`%s` is no id of a run", run);
	else if (!run)
		run = last_run(session, target, &err);
	if (err.fault != FAULT_NONE || !open_log(session, run, target, &fd, &err) ||
		!(session->options.json ? tell(session, target, &fd, &err) : copy(session, fd, &err)))
		return (int)session_fail(session, &err, NULL);
	return STATUS_OK;
}
