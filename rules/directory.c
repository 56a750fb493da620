#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/units.h"
#include "engine/rule.h"
#include "engine/task.h"
#include "rules.h"

#define MADE_BY_US "{\"made\":true}"
#define MODE_BITS 07777u

struct directory {
	const char *path;
	const char *mode;  /* octal digits, or NULL: whatever it is */
	const char *owner; /* name or uid, or NULL */
};

static const struct param params[] = {
	{ "path", PARAM_PATH, offsetof(struct directory, path), .required = true, .about = "the directory; missing parents are made too" },
	{ "mode", PARAM_STRING, offsetof(struct directory, mode), .about = "permissions, octal: `0750`; if absent, 0755 when it is made" },
	{ "owner", PARAM_STRING, offsetof(struct directory, owner), .about = "user, by name or uid; another than oneself wants root" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "path", "the directory", "path" },
	{ 0 },
};

static bool
parse_mode(const char *text, mode_t *mode)
{
	size_t length = strlen(text);
	char *end;

	if (length < 3 || length > 5 || strspn(text, "01234567") != length)
		return false;
	*mode = (mode_t)strtoul(text, &end, 8);
	return *mode <= MODE_BITS;
}

static bool
find_owner(const char *text, uid_t *uid, struct error *err)
{
	char scratch[4096];
	struct passwd entry, *found = NULL;
	int64_t number;

	if (units_int(text, &number) && number >= 0 && number < UINT32_MAX) {
		*uid = (uid_t)number;
		return true;
	}
	if (getpwnam_r(text, &entry, scratch, sizeof scratch, &found) != 0 || !found)
		return fail(err, FAULT_BAD_VALUE, "this host has no user `%s`", text);
	*uid = found->pw_uid;
	return true;
}

static void
directory_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct directory *directory = spec;
	struct error err;
	mode_t mode;

	if (!directory->mode || parse_mode(directory->mode, &mode))
		return;
	fail_at(&err, task_place(task, "mode"), FAULT_BAD_VALUE, "`mode: %s` is no permissions in octal", directory->mode);
	error_hint(&err, "write it like `0750`");
	errors_add(errors, &err);
}

/* What of the wishes the directory does not meet, in words; NULL if nothing. */
static bool
find_difference(const struct directory *directory, const struct stat *st, struct arena *arena, const char **what, struct error *err)
{
	mode_t mode;
	uid_t uid;

	*what = NULL;
	if (!S_ISDIR(st->st_mode)) {
		*what = "it is not a directory";
		return true;
	}
	if (directory->mode && parse_mode(directory->mode, &mode) && (st->st_mode & MODE_BITS) != mode) {
		*what = arena_printf(arena, "mode is %04o, not %04o", (unsigned)(st->st_mode & MODE_BITS), (unsigned)mode);
		return true;
	}
	if (!directory->owner)
		return true;
	if (!find_owner(directory->owner, &uid, err))
		return false;
	if (st->st_uid != uid)
		*what = arena_printf(arena, "owner is uid %u, not %u", (unsigned)st->st_uid, (unsigned)uid);
	return true;
}

static bool
directory_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	const struct directory *directory = spec;
	const char *what;
	struct stat st;

	if (stat(directory->path, &st) < 0) {
		if (errno != ENOENT && errno != ENOTDIR)
			return fail_errno(err, "`%s`", directory->path);
		*look = (struct look){ .state = STATE_ABSENT, .reason = REASON_OUTPUT_MISSING, .what = directory->path };
		return true;
	}
	if (!find_difference(directory, &st, task_arena(task), &what, err))
		return false;
	if (what)
		*look = (struct look){ .state = STATE_DRIFTED, .reason = REASON_OUTPUT_DIFFERS,
			.what = arena_printf(task_arena(task), "%s: %s", directory->path, what) };
	return true;
}

/* Owner before mode: a change of owner takes the set-id bits away. */
static bool
set_wishes(const struct directory *directory, int fd, struct error *err)
{
	mode_t mode = 0;
	uid_t uid = 0;
	struct stat st;

	if (directory->owner && !find_owner(directory->owner, &uid, err))
		return false;
	if (fstat(fd, &st) < 0)
		return fail_errno(err, "`%s`", directory->path);
	if (directory->owner && st.st_uid != uid && fchown(fd, uid, (gid_t)-1) < 0) {
		fail_errno(err, "give `%s` to `%s`", directory->path, directory->owner);
		return error_hint(err, "only root may give a directory away: leave `owner` out, or let an administrator run `chown %s %s`",
			directory->owner, directory->path);
	}
	if (directory->mode && parse_mode(directory->mode, &mode) && fchmod(fd, mode) < 0)
		return fail_errno(err, "set the mode of `%s`", directory->path);
	if (fsync(fd) < 0 && errno != EINVAL)
		return fail_errno(err, "sync `%s`", directory->path);
	return true;
}

/* Whether destroy may remove it: it was not there before us. */
static bool
is_made_by_us(const struct task *task, const char *path)
{
	const struct record *record = task_record(task);
	const struct artifact *artifact = record ? record_artifact(record, ARTIFACT_DIRECTORY, path) : NULL;
	struct stat st;

	return (artifact && artifact->note && strcmp(artifact->note, MADE_BY_US) == 0) || (stat(path, &st) < 0 && errno == ENOENT);
}

/* What is to be adopted is neither made nor altered. */
static bool
is_as_wished(const void *spec, struct task *task, struct error *err)
{
	const struct directory *directory = spec;
	struct look look = { .state = STATE_FRESH };

	if (!directory_inspect(spec, task, &look, err))
		return false;
	if (look.state == STATE_FRESH)
		return true;
	fail(err, FAULT_NOT_THERE, "%s", look.state == STATE_ABSENT ? arena_printf(task_arena(task), "`%s` is not there", directory->path) : look.what);
	return error_hint(err, "provision apply %s     makes it so", task_target(task));
}

static bool
directory_build(const void *spec, struct task *task, struct error *err)
{
	const struct directory *directory = spec;
	bool ours = is_made_by_us(task, directory->path);
	int fd finally(close_fd) = -1;
	mode_t mode = 0755;
	struct stat st;

	if (directory->mode && !parse_mode(directory->mode, &mode))
		return fail(err, FAULT_BAD_VALUE, "`mode: %s` is no permissions in octal", directory->mode);
	if (task_adopting(task) && !is_as_wished(spec, task, err))
		return false;
	if (!file_make_dirs(directory->path, mode, err))
		return false;
	fd = open(directory->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "open the directory `%s`", directory->path);
	if (!set_wishes(directory, fd, err))
		return false;
	if (fstat(fd, &st) < 0)
		return fail_errno(err, "`%s`", directory->path);
	task_artifact(task, &(struct artifact){ .kind = ARTIFACT_DIRECTORY, .name = directory->path, .note = ours ? MADE_BY_US : NULL });
	task_summary(task, "mode %04o", (unsigned)(st.st_mode & MODE_BITS));
	return true;
}

static void
directory_claims(const void *spec, struct arena *arena, struct claims *claims)
{
	const struct directory *directory = spec;

	if (directory->path)
		claims_add(claims, arena, &(struct claim){ .kind = "directory", .name = directory->path, .param = "path" });
}

static bool
remove_one(struct task *task, const struct artifact *artifact, struct error *err)
{
	if (!artifact->note || strcmp(artifact->note, MADE_BY_US) != 0) {
		task_log(task, "left `%s`: it was there before", artifact->name);
		return true;
	}
	if (rmdir(artifact->name) == 0)
		return file_sync_dir(path_dir(task_arena(task), artifact->name), err);
	if (errno == ENOENT)
		return true;
	if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR || errno == EBUSY) {
		task_log(task, "left `%s`: %s", artifact->name, errno == ENOTDIR ? "it is not a directory any more" : "it is not empty");
		return true;
	}
	return fail_errno(err, "remove `%s`", artifact->name);
}

static bool
directory_destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);

	for (size_t i = 0; record && i < record->artifacts.count; i++)
		if (record->artifacts.items[i].kind == ARTIFACT_DIRECTORY && !remove_one(task, &record->artifacts.items[i], err))
			return false;
	return true;
}

const struct rule directory_rule = {
	.name = "directory",
	.about = "a directory, its mode and owner",
	.version = 1,
	.adopts = true,
	.params = params,
	.size = sizeof(struct directory),
	.outputs = outputs,
	.validate = directory_validate,
	.claims = directory_claims,
	.inspect = directory_inspect,
	.build = directory_build,
	.destroy = directory_destroy,
};
