#include "model_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/bulk.h"
#include "engine/base/cleanup.h"
#include "engine/base/path.h"
#include "engine/base/units.h"
#include "engine/task.h"

#define MOST_NAMED 20 /* files that are named one by one */

struct adoption {
	struct snapshot *snapshot;
	struct fetched *fetched;
	int dirfd;
	struct bulk bulk;
	size_t *index;       /* of each file of the bulk, in the selection */
	size_t wrong;
	uint64_t missing;    /* bytes that would have to be fetched */
};

/* ---- what is wrong ---- */

static void
name_wrong(struct adoption *adoption, const struct hub_file *file, const char *what)
{
	struct task *task = adoption->snapshot->task;

	if (adoption->wrong++ < MOST_NAMED)
		findings_add(task_findings(task), FAULT_NOT_THERE, task_place(task, "dir"), "`%s` %s", file->path, what);
	adoption->missing += file->size == UINT64_MAX ? 0 : file->size;
}

static bool
refuse(struct adoption *adoption, struct error *err)
{
	struct task *task = adoption->snapshot->task;
	struct findings *findings = task_findings(task);
	const char *text = arena_printf(task_arena(task), "%zu of %zu files are missing or differ in `%s`", adoption->wrong,
		adoption->snapshot->selection.count, adoption->snapshot->spec->dir);
	struct finding *sum = findings_add(findings, FAULT_NOT_THERE, task_place(task, "dir"), "%s", text);

	finding_note(findings, sum, "%s of them by the listing of `%s`; what is right was left as it is", units_show_size(task_arena(task), adoption->missing),
		adoption->snapshot->spec->source);
	finding_help(findings, sum, "provision apply %s     fetches what is missing; a file with other bytes must be moved away first", task_target(task));
	return fail(err, FAULT_NOT_THERE, "%s", text);
}

/* ---- looking ---- */

/* What stat data tells against a file; NULL if its bytes must decide. */
static const char *
look(struct adoption *adoption, const struct hub_file *file)
{
	struct arena *arena = adoption->snapshot->arena;
	const char *last;
	int parent finally(close_fd) = path_open_parent(adoption->dirfd, file->path, false, &last);
	struct stat st;

	if (parent < 0 || fstatat(parent, last, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? "is missing" : arena_printf(arena, "cannot be looked at: %s", strerror(errno));
	if (S_ISLNK(st.st_mode))
		return "is a symbolic link: copy the file itself here";
	if (!S_ISREG(st.st_mode))
		return "is no plain file";
	if (st.st_nlink > 1)
		return "has another name as well (a hard link), through which it could change: copy it";
	if (file->size != UINT64_MAX && (uint64_t)st.st_size != file->size)
		return arena_printf(arena, "has %lld bytes, and the source %llu", (long long)st.st_size, (unsigned long long)file->size);
	return NULL;
}

static void
list_readable(struct adoption *adoption)
{
	const struct selection *selection = &adoption->snapshot->selection;
	struct bulk *bulk = &adoption->bulk;

	bulk->files = arena_array(adoption->snapshot->arena, selection->count + 1, sizeof *bulk->files);
	adoption->index = arena_array(adoption->snapshot->arena, selection->count + 1, sizeof *adoption->index);
	for (size_t i = 0; i < selection->count; i++) {
		const struct hub_file *file = selection->files[i];
		const char *what;

		if (adoption->fetched[i].done)
			continue;
		what = look(adoption, file);
		if (what) {
			name_wrong(adoption, file, what);
			continue;
		}
		adoption->index[bulk->count] = i;
		bulk->files[bulk->count++] = (struct bulk_file){
			.path = file->path,
			.size = file->size == UINT64_MAX ? 0 : file->size,
			.git = file->checksum.kind == CHECKSUM_GIT,
		};
	}
}

static void
tick(void *self)
{
	struct adoption *adoption = self;
	const atomic_bool *cancel = task_cancel(adoption->snapshot->task);

	if (cancel && *cancel)
		adoption->bulk.halt = true;
	task_progress(adoption->snapshot->task, "verify", adoption->bulk.done, adoption->bulk.total, "bytes");
}

/* ---- taking over ---- */

static void
take(struct adoption *adoption, const struct bulk_file *read, size_t index)
{
	const struct hub_file *file = adoption->snapshot->selection.files[index];
	struct arena *arena = adoption->snapshot->arena;
	struct checksum found = read->blob;

	if (read->fault != FAULT_NONE) {
		name_wrong(adoption, file, arena_printf(arena, "cannot be read: %s", read->why));
		return;
	}
	if (!read->git) {
		found.kind = CHECKSUM_SHA256;
		memcpy(found.bytes, read->sha256.bytes, DIGEST_SIZE);
	}
	if (!checksum_equal(&found, &file->checksum)) {
		name_wrong(adoption, file, arena_printf(arena, "has other bytes: %s, and the source %s", checksum_text(arena, &found),
			checksum_text(arena, &file->checksum)));
		return;
	}
	adoption->fetched[index] = (struct fetched){ .sha256 = read->sha256, .key = read->key, .size = read->key.size, .done = true };
}

bool
model_adopt(struct snapshot *snapshot, int dirfd, struct fetched *fetched, struct error *err)
{
	struct adoption adoption = { .snapshot = snapshot, .fetched = fetched, .dirfd = dirfd, .bulk = { .dirfd = dirfd } };
	bool ok;

	list_readable(&adoption);
	ok = bulk_hash(&adoption.bulk, tick, &adoption, err);
	if (ok && adoption.bulk.halt)
		ok = fail(err, FAULT_INTERRUPTED, "stopped");
	for (size_t i = 0; i < adoption.bulk.count && ok; i++)
		take(&adoption, &adoption.bulk.files[i], adoption.index[i]);
	bulk_finish(&adoption.bulk);
	if (!ok)
		return false;
	if (adoption.wrong > 0)
		return refuse(&adoption, err);
	/* Whoever wrote the files may not have waited for the disk: what is recorded survives a power cut (W1). */
	return syncfs(dirfd) == 0 || fail_errno(err, "sync `%s`", snapshot->spec->dir);
}
