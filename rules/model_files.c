#include "model_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/path.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "safetensors.h"

#define LIST ".provision/files.json"
#define LIST_FORMAT 1
#define LIST_LIMIT ((size_t)64 << 20)
#define HEAD 4096

/* ---- looking into files ---- */

static bool
check_safetensors(int fd, uint64_t size, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	unsigned char length_bytes[8];
	struct tensor *tensors;
	uint64_t length;
	size_t got, count;
	char *header;

	arena_init(&arena);
	if (size < sizeof length_bytes)
		return fail(err, FAULT_PROTOCOL, "too short for a safetensors file");
	if (!file_pread_all(fd, length_bytes, sizeof length_bytes, 0, &got, err) || !safetensors_length(length_bytes, &length, err))
		return false;
	if (length > size - sizeof length_bytes)
		return fail(err, FAULT_PROTOCOL, "its header is longer than the file");
	header = arena_alloc(&arena, (size_t)length + 1);
	if (!file_pread_all(fd, header, (size_t)length, sizeof length_bytes, &got, err))
		return false;
	return safetensors_read(header, got, size - sizeof length_bytes - length, &arena, &tensors, &count, err);
}

/* A pickle begins with its protocol; torch's newer form is a zip with a pickle inside. */
static bool
is_pickle(const char *head, size_t got)
{
	if (got >= 2 && (unsigned char)head[0] == 0x80 && head[1] >= 2 && head[1] <= 5)
		return true;
	return got > 4 && memcmp(head, "PK\3\4", 4) == 0 && memmem(head, got, "data.pkl", strlen("data.pkl"));
}

static bool
check_one(struct snapshot *snapshot, int dirfd, const char *name, uint64_t size, struct error *err)
{
	int fd finally(close_fd) = path_open_below(dirfd, name, O_RDONLY, 0);
	char head[HEAD];
	size_t got;

	if (fd < 0)
		return fail_errno(err, "`%s/%s`", snapshot->spec->dir, name);
	/* What cannot be read has not been looked at. */
	if (!file_pread_all(fd, head, sizeof head, 0, &got, err))
		return error_wrap(err, "`%s/%s`", snapshot->spec->dir, name);
	if (text_ends(name, ".safetensors") && !check_safetensors(fd, size, err))
		return err->fault == FAULT_IO ? error_wrap(err, "`%s/%s`", snapshot->spec->dir, name)
		                              : error_wrap(err, "`%s` has the bytes that its source gives, but is no sound safetensors file", name);
	if (snapshot->spec->allow_pickle || !is_pickle(head, got))
		return true;
	fail(err, FAULT_CODE_REFUSED, "`%s` is a pickle by its content: loading it runs code of its author", name);
	return error_hint(err, "exclude it, or say `allow_pickle: true` if you trust the author");
}

/* What was there already is looked at too, since a run may have been killed between fetching and looking; but only what came just now is ours to remove. */
bool
model_check_files(struct snapshot *snapshot, int dirfd, const struct fetched *fetched, struct error *err)
{
	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const char *name = snapshot->selection.files[i]->path;

		if (fetched[i].known || check_one(snapshot, dirfd, name, fetched[i].size, err))
			continue;
		if (err->fault == FAULT_CODE_REFUSED && fetched[i].served_by)
			unlinkat(dirfd, name, 0);
		return false;
	}
	return true;
}

/* ---- notes ---- */

static const char *
note_of(const struct snapshot *snapshot, const struct checksum *checksum)
{
	const char *word = checksum->kind == CHECKSUM_NONE ? "none" : checksum_text(snapshot->arena, checksum);

	return arena_printf(snapshot->arena, "{\"by\":\"%s\",\"in_place\":%s}", word, snapshot_is_in_place(snapshot) ? "true" : "false");
}

bool
model_note_says(const char *note, const struct checksum *checksum, struct arena *arena)
{
	return note && checksum->kind != CHECKSUM_NONE &&
		text_starts(note, arena_printf(arena, "{\"by\":\"%s\"", checksum_text(arena, checksum)));
}

bool
model_note_in_place(const char *note)
{
	return note && text_ends(note, "\"in_place\":true}");
}

/* ---- the list beside the files ---- */

static json_t *
list_entry(const struct snapshot *snapshot, size_t i, const struct fetched *fetched, const char *now)
{
	const struct hub_file *file = snapshot->selection.files[i];
	json_t *entry = json_pack("{s:s, s:I, s:s, s:s}", "path", file->path, "size", (json_int_t)fetched[i].size, "sha256",
		digest_text(snapshot->arena, &fetched[i].sha256), "verified_at", now);

	if (!entry)
		out_of_memory();
	if (file->checksum.kind == CHECKSUM_GIT)
		json_object_set_new(entry, "git_sha1", json_string(strchr(checksum_text(snapshot->arena, &file->checksum), ':') + 1));
	if (fetched[i].served_by)
		json_object_set_new(entry, "origin", json_string(fetched[i].served_by));
	return entry;
}

static json_t *
patterns(const struct strings *list)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static uint64_t
sum_of(const struct snapshot *snapshot, const struct fetched *fetched)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < snapshot->selection.count; i++)
		sum += fetched[i].size;
	return sum;
}

/* What runs that were killed while they wrote the list have left beside it: nobody holds its lock. */
static void
clear_leftovers(const char *directory)
{
	DIR *dir finally(close_dir) = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		int fd finally(close_fd) = -1;

		if (!text_starts(entry->d_name, ".provision-") || !text_ends(entry->d_name, ".tmp"))
			continue;
		fd = path_open_below(dirfd(dir), entry->d_name, O_RDWR, 0);
		if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &whole) == 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
}

bool
model_write_list(struct snapshot *snapshot, const struct fetched *fetched, struct error *err)
{
	const struct model_spec *spec = snapshot->spec;
	const char *now = clock_utc(snapshot->arena, clock_now_ns()), *text, *path = path_join(snapshot->arena, spec->dir, LIST);
	json_t *list finally(json_release) = json_pack("{s:i, s:s, s:s, s:s, s:I, s:s}", "schema", LIST_FORMAT, "source", spec->source, "commit",
		snapshot->commit, "revision", snapshot->hub.source.revision ? snapshot->hub.source.revision : "", "size",
		(json_int_t)sum_of(snapshot, fetched), "tool", "provision " PROVISION_VERSION);
	json_t *files = json_array();

	/* A directory that is only looked at stays as it is. */
	if (snapshot_is_in_place(snapshot)) {
		json_decref(files);
		return true;
	}
	if (!list || !files)
		out_of_memory();
	for (size_t i = 0; i < snapshot->selection.count; i++)
		json_array_append_new(files, list_entry(snapshot, i, fetched, now));
	json_object_set_new(list, "include", patterns(&spec->include));
	json_object_set_new(list, "exclude", patterns(&spec->exclude));
	json_object_set_new(list, "files", files);
	text = json_text(snapshot->arena, list, false);
	if (!file_make_dirs(path_dir(snapshot->arena, path), 0755, err))
		return false;
	clear_leftovers(path_dir(snapshot->arena, path));
	return file_save(path, text, strlen(text), 0644, err);
}

/* ---- the record ---- */

static void
put_digest(struct snapshot *snapshot, const struct fetched *fetched)
{
	struct hasher hasher finally(hasher_finish) = { 0 };
	struct digest digest;

	hasher_init(&hasher);
	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const char *path = snapshot->selection.files[i]->path;

		hasher_add_field(&hasher, path, strlen(path));
		hasher_add_field(&hasher, fetched[i].sha256.bytes, DIGEST_SIZE);
	}
	hasher_digest(&hasher, &digest);
	task_output(snapshot->task, "digest", digest_text(snapshot->arena, &digest));
}

static void
put_materials(struct snapshot *snapshot, const struct fetched *fetched)
{
	const struct hub_source *source = &snapshot->hub.source;
	const char *own = hub_source_name(source, snapshot->arena);

	task_material(snapshot->task, source->endpoint ? arena_printf(snapshot->arena, "%s/%s", source->endpoint, source->repo) : own,
		*snapshot->commit ? arena_printf(snapshot->arena, "git:%s", snapshot->commit) : "");
	for (size_t i = 0; i < snapshot->selection.count; i++)
		if (fetched[i].served_by && strcmp(fetched[i].served_by, own) != 0)
			task_material(snapshot->task, fetched[i].served_by, "");
}

void
model_put_out(struct snapshot *snapshot, const struct fetched *fetched)
{
	struct arena *arena = snapshot->arena;
	uint64_t sum = sum_of(snapshot, fetched);
	size_t count = snapshot->selection.count;

	for (size_t i = 0; i < count; i++)
		task_artifact(snapshot->task, &(struct artifact){
			.kind = ARTIFACT_FILE,
			.name = path_join(arena, snapshot->spec->dir, snapshot->selection.files[i]->path),
			.digest = fetched[i].sha256,
			.size = fetched[i].size,
			.note = note_of(snapshot, &snapshot->selection.files[i]->checksum),
		});
	put_digest(snapshot, fetched);
	put_materials(snapshot, fetched);
	task_output(snapshot->task, "dir", snapshot->spec->dir);
	task_output(snapshot->task, "source", snapshot->spec->source);
	task_output(snapshot->task, "commit", snapshot->commit);
	task_output(snapshot->task, "files", arena_printf(arena, "%zu", count));
	task_output(snapshot->task, "size", arena_printf(arena, "%" PRIu64, sum));
	task_summary(snapshot->task, "%zu file%s, %s", count, count == 1 ? "" : "s", units_show_size(arena, sum));
}

/* ---- without a network ---- */

/* One file of the list, as a file of a selection and as what is on disk. */
static bool
believe_entry(struct snapshot *snapshot, const json_t *entry, struct hub_file *file, struct fetched *fetched, const char **missing)
{
	const char *path = json_string_at(entry, "path"), *hex = json_string_at(entry, "sha256"), *git = json_string_at(entry, "git_sha1"), *why;
	struct digest wanted;
	struct error ignored;
	int64_t size;

	*missing = path ? path : LIST;
	if (!path || !hex || !path_is_safe(path, &why) || !digest_parse(hex, &wanted) || !json_int_at(entry, "size", &size))
		return false;
	file->path = *missing = arena_copy(snapshot->arena, path);
	file->size = fetched->size = (uint64_t)size;
	if (!(git ? checksum_parse(CHECKSUM_GIT, git, &file->checksum) : checksum_parse(CHECKSUM_SHA256, hex, &file->checksum)))
		return false;
	return task_digest(snapshot->task, path_join(snapshot->arena, snapshot->spec->dir, path), &fetched->sha256, &fetched->key, &ignored) &&
		digest_equal(&fetched->sha256, &wanted);
}

static bool
believe_list(struct snapshot *snapshot, const json_t *files, struct fetched *fetched, struct error *err)
{
	struct hub_file *made = arena_array(snapshot->arena, json_array_size(files) + 1, sizeof *made);
	const json_t *entry;
	const char *missing;
	size_t i;

	snapshot->selection.files = arena_array(snapshot->arena, json_array_size(files) + 1, sizeof *snapshot->selection.files);
	json_array_foreach(files, i, entry) {
		if (!believe_entry(snapshot, entry, &made[i], &fetched[i], &missing))
			return fail(err, FAULT_OFFLINE, "`%s` is missing or differs in `%s`, and would have to be fetched", missing, snapshot->spec->dir);
		snapshot->selection.files[snapshot->selection.count++] = &made[i];
	}
	return true;
}

bool
model_build_offline(const struct model_spec *spec, struct task *task, struct error *err)
{
	struct snapshot snapshot = { .spec = spec, .task = task, .arena = task_arena(task) };
	json_t *list finally(json_release) = NULL;
	struct error unread = { 0 };
	struct fetched *fetched;
	const json_t *files;
	const char *source, *commit;

	if (!json_parse_file(path_join(snapshot.arena, spec->dir, LIST), LIST_LIMIT, &list, &unread))
		return fail(err, FAULT_OFFLINE, "`%s` would have to be asked, and `%s` has no list of what was fetched", spec->source, spec->dir);
	source = json_string_at(list, "source");
	commit = json_string_at(list, "commit");
	files = json_at(list, "files");
	if (!source || !commit || strcmp(source, spec->source) != 0 || !json_is_array(files) || json_array_size(files) == 0)
		return fail(err, FAULT_OFFLINE, "`%s` would have to be asked: `%s` holds another source", spec->source, spec->dir);
	snapshot.commit = arena_copy(snapshot.arena, commit);
	fetched = arena_array(snapshot.arena, json_array_size(files) + 1, sizeof *fetched);
	if (!hub_parse(spec->source, spec->endpoint, task_workdir(task), snapshot.arena, &snapshot.hub.source, err) ||
		!believe_list(&snapshot, files, fetched, err))
		return false;
	model_put_out(&snapshot, fetched);
	return true;
}

/* ---- bookkeeping ---- */

static DIR *
open_parts(const char *dir)
{
	struct arena arena finally(arena_finish) = { 0 };

	arena_init(&arena);
	return opendir(path_join(&arena, dir, ".provision/parts"));
}

uint64_t
model_parts_size(const char *dir)
{
	DIR *parts finally(close_dir) = open_parts(dir);
	struct dirent *entry;
	uint64_t sum = 0;
	struct stat st;

	while (parts && (entry = readdir(parts)))
		if (text_ends(entry->d_name, ".part") && fstatat(dirfd(parts), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}

bool
model_remove_bookkeeping(const char *dir, struct error *err)
{
	DIR *parts finally(close_dir) = open_parts(dir);
	int fd finally(close_fd) = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;

	if (fd < 0)
		return errno == ENOENT || fail_errno(err, "open `%s`", dir);
	while (parts && (entry = readdir(parts)))
		if (text_ends(entry->d_name, ".part"))
			unlinkat(dirfd(parts), entry->d_name, 0);
	unlinkat(fd, LIST, 0);
	/* Whatever else lies there keeps the directories. */
	unlinkat(fd, ".provision/parts", AT_REMOVEDIR);
	unlinkat(fd, ".provision", AT_REMOVEDIR);
	rmdir(dir);
	return true;
}
