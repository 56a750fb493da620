#include "rules.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crew.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/path.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "fetch.h"
#include "model_adopt.h"
#include "model_files.h"
#include "snapshot.h"

static const struct param params[] = {
	{ "source", PARAM_STRING, offsetof(struct model_spec, source), .required = true, .about = "`huggingface:ORG/NAME[@REV]`, `modelscope:ORG/NAME[@REV]`, URL of a directory with SHA256SUMS, or a path" },
	{ "mirrors", PARAM_JSON, offsetof(struct model_spec, mirrors), .unhashed = true, .about = "sources, or `{source, endpoint, token}`, that hold the same bytes" },
	{ "dir", PARAM_PATH, offsetof(struct model_spec, dir), .required = true, .about = "directory for the files" },
	{ "include", PARAM_STRINGS, offsetof(struct model_spec, include), .about = "patterns of files to take; what a server needs if absent" },
	{ "exclude", PARAM_STRINGS, offsetof(struct model_spec, exclude), .about = "patterns of files to leave out" },
	{ "checksums", PARAM_PATH, offsetof(struct model_spec, checksums), .unhashed = true, .about = "`sha256sum` file that overrules what a hub says" },
	{ "token", PARAM_SECRET, offsetof(struct model_spec, token), .unhashed = true, .about = "secret for `source`: `{env: NAME}` or `{file: PATH}`" },
	{ "endpoint", PARAM_STRING, offsetof(struct model_spec, endpoint), .unhashed = true, .about = "base URL of the hub; HF_ENDPOINT, MODELSCOPE_ENDPOINT or the public one if absent" },
	{ "mode", PARAM_STRING, offsetof(struct model_spec, mode), .about = "permissions of the files, octal; `0444` if absent" },
	{ "allow_pickle", PARAM_BOOL, offsetof(struct model_spec, allow_pickle), .about = "take pickles, which run code of their author when they are loaded" },
	{ "allow_code", PARAM_BOOL, offsetof(struct model_spec, allow_code), .about = "take Python files; only with a pinned commit" },
	{ "insecure_http", PARAM_BOOL, offsetof(struct model_spec, insecure_http), .unhashed = true, .about = "allow http: beyond this machine" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "dir", "directory with the files", "dir" },
	{ "source", "where they come from", "source" },
	{ "commit", "revision of the source, empty if it has none", NULL },
	{ "digest", "SHA-256 over all names and digests", NULL },
	{ "files", "number of files", NULL },
	{ "size", "bytes", NULL },
	{ 0 },
};

/* ---- parameters ---- */

static void
check_code(const struct model_spec *spec, const struct hub_source *source, struct task *task, struct errors *errors)
{
	struct error err = { 0 };

	if (!spec->allow_code || !source->repo || (source->revision && strspn(source->revision, "0123456789abcdef") == 40))
		return;
	fail_at(&err, task_place(task, "allow_code"), FAULT_CONFLICT, "`allow_code` goes with a pinned commit: `source: %s@<40 hex digits>`",
		source->text);
	errors_add(errors, &err);
}

static void
validate(const void *spec_, struct task *task, struct errors *errors)
{
	const struct model_spec *spec = spec_;
	struct hub_source source = { 0 };
	struct mirror *mirrors;
	struct error err = { 0 };
	size_t count;
	mode_t mode;

	if (spec->source && !hub_parse(spec->source, spec->endpoint, task_workdir(task), task_arena(task), &source, &err)) {
		err.at = task_place(task, "source");
		errors_add(errors, &err);
	} else if (spec->source) {
		check_code(spec, &source, task, errors);
	}
	err = (struct error){ 0 };
	if (!snapshot_mirrors(spec, task_workdir(task), task_arena(task), &mirrors, &count, &err)) {
		err.at = task_place(task, "mirrors");
		errors_add(errors, &err);
	}
	if (spec->mode && !fetch_parse_mode(spec->mode, &mode)) {
		fail_at(&err, task_place(task, "mode"), FAULT_BAD_VALUE, "`mode: %s` is no octal mode of a file, such as `0444`", spec->mode);
		errors_add(errors, &err);
	}
}

static void
paths(const void *spec_, struct arena *arena, struct paths *into)
{
	const struct model_spec *spec = spec_;

	if (spec->checksums)
		strings_add(&into->reads, arena, spec->checksums);
	if (spec->dir)
		strings_add(&into->makes, arena, spec->dir);
}

/* Not the commit: it is pinned by the record, so that an unchanged target asks nobody; --refresh finds a newer one by inspecting. */
static bool
ingredients(const void *spec_, struct task *task, struct error *err)
{
	const struct model_spec *spec = spec_;
	struct digest digest;

	if (!spec->checksums || task_is_made_later(task, spec->checksums))
		return true;
	if (!task_digest(task, spec->checksums, &digest, NULL, err))
		return error_wrap(err, "checksums");
	task_ingredient(task, INGREDIENT_FILE, "file:checksums", digest_text(task_arena(task), &digest), NULL, spec->checksums);
	return true;
}

/* ---- looking ---- */

static const char *
revision_words(const struct snapshot *snapshot)
{
	const struct hub_source *source = &snapshot->hub.source;

	if (source->revision)
		return source->revision;
	return source->kind == HUB_MODELSCOPE ? "master" : "main";
}

/* With --refresh the source is asked whether its revision still means the recorded commit. */
static bool
look_upstream(const struct model_spec *spec, struct task *task, struct look *look, struct error *err)
{
	struct snapshot snapshot finally(snapshot_close) = { 0 };
	const char *recorded = snapshot_recorded(spec, task);

	if (!task_refresh(task) || !recorded || *recorded == '\0')
		return true;
	if (!snapshot_open(&snapshot, spec, task, true, err))
		return false;
	if (strcmp(snapshot.commit, recorded) == 0)
		return true;
	*look = (struct look){ .state = STATE_DRIFTED, .reason = REASON_UPSTREAM_MOVED,
		.what = arena_printf(task_arena(task), "%s is %.7s now, was %.7s", revision_words(&snapshot), snapshot.commit, recorded) };
	return true;
}

static bool
inspect(const void *spec_, struct task *task, struct look *look, struct error *err)
{
	const struct model_spec *spec = spec_;
	const struct record *record = task_record(task);
	size_t files = 0, missing = 0, wrong = 0;
	const char *first = NULL;

	*look = (struct look){ .state = STATE_FRESH };
	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];
		const char *what;
		enum fetch_state state;

		if (artifact->kind != ARTIFACT_FILE)
			continue;
		files++;
		state = fetch_look(task, artifact, &what);
		missing += state == FETCH_MISSING;
		wrong += state == FETCH_DIFFERS || state == FETCH_UNKNOWN;
		if (state != FETCH_SAME && !first)
			first = arena_printf(task_arena(task), "%s: %s", path_shown(task_arena(task), spec->dir, artifact->name), what);
	}
	if (!first)
		return look_upstream(spec, task, look, err);
	look->state = missing == files ? STATE_ABSENT : STATE_DRIFTED;
	look->reason = wrong ? REASON_OUTPUT_DIFFERS : REASON_OUTPUT_MISSING;
	look->what = missing + wrong > 1 ? arena_printf(task_arena(task), "%s, and %zu more", first, missing + wrong - 1) : first;
	return true;
}

/* ---- cost ---- */

/* Recorded as a file of other content: an older version, mostly of the same size. */
static bool
is_other(const struct snapshot *snapshot, const char *path, const struct checksum *wanted)
{
	const struct record *record = task_record(snapshot->task);
	const struct artifact *before = record ? record_artifact(record, ARTIFACT_FILE, path) : NULL;

	if (!before || wanted->kind == CHECKSUM_NONE)
		return false;
	if (wanted->kind == CHECKSUM_SHA256)
		return memcmp(before->digest.bytes, wanted->bytes, DIGEST_SIZE) != 0;
	return !model_note_says(before->note, wanted, snapshot->arena);
}

/* By size and record alone: what is there with the right one is most likely right, and build reads it. */
static uint64_t
bytes_missing(const struct snapshot *snapshot, size_t *count)
{
	uint64_t sum = 0;

	*count = 0;
	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const struct hub_file *file = snapshot->selection.files[i];
		const char *path = path_join(snapshot->arena, snapshot->spec->dir, file->path);
		struct stat st;

		if (file->size != UINT64_MAX && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == file->size &&
			!is_other(snapshot, path, &file->checksum))
			continue;
		sum += file->size == UINT64_MAX ? 0 : file->size;
		++*count;
	}
	return sum;
}

static void
tell_cost(const struct snapshot *snapshot, struct cost *cost)
{
	struct arena *arena = snapshot->arena;
	const struct selection *selection = &snapshot->selection;
	const char **line = cost->lines;
	size_t count;
	uint64_t missing = bytes_missing(snapshot, &count);
	bool known = selection->bytes != UINT64_MAX, local = snapshot_is_local(snapshot);

	if (!snapshot->pinned && *snapshot->commit)
		*line++ = arena_printf(arena, "%s is %.7s today", revision_words(snapshot), snapshot->commit);
	cost->download = local ? 0 : known ? (int64_t)missing : -1;
	cost->keep = known ? (int64_t)selection->bytes : -1;
	if (known)
		*line++ = arena_printf(arena, "%s %s in %zu %s, keep %s", local ? "copy" : "download", units_show_size(arena, missing), count,
			count == 1 ? "file" : "files", units_show_size(arena, selection->bytes));
	else
		*line++ = arena_printf(arena, "%zu files whose sizes the source does not tell", count);
	if (snapshot->spec->allow_pickle || snapshot->spec->allow_code)
		*line++ = "takes files that run code of the model's author";
	if (selection->skipped > 0)
		*line++ = arena_printf(arena, "leaves out %zu %s, %s", selection->skipped, selection->skipped == 1 ? "file" : "files",
			units_show_size(arena, selection->skipped_bytes));
}

static bool
estimate(const void *spec_, struct task *task, struct cost *cost, struct error *err)
{
	struct snapshot snapshot finally(snapshot_close) = { 0 };
	bool good;

	cost->download = cost->keep = cost->duration = -1;
	good = snapshot_open(&snapshot, spec_, task, task_refresh(task), err) && snapshot_select(&snapshot, err);
	if (good) {
		tell_cost(&snapshot, cost);
		return true;
	}
	/* A hub that cannot be reached now says nothing about the plan; one that refuses does. */
	if (err->fault != FAULT_OFFLINE && err->fault != FAULT_NETWORK && err->fault != FAULT_RATE_LIMIT)
		return false;
	cost->lines[0] = err->fault == FAULT_OFFLINE ? "offline: its size was not asked" : arena_copy(task_arena(task), err->text);
	return true;
}

/* ---- building ---- */

static const char *
file_path(const struct snapshot *snapshot, size_t index)
{
	return path_join(snapshot->arena, snapshot->spec->dir, snapshot->selection.files[index]->path);
}

/* Files that the record and their stat data vouch for are not touched. */
static void
pass_over_known(struct snapshot *snapshot, struct fetched *fetched)
{
	const struct record *record = task_record(snapshot->task);

	for (size_t i = 0; record && i < snapshot->selection.count; i++) {
		const char *path = file_path(snapshot, i), *what;
		const struct artifact *before = record_artifact(record, ARTIFACT_FILE, path);
		struct stat st;

		if (!before || !model_note_says(before->note, &snapshot->selection.files[i]->checksum, snapshot->arena) ||
			fetch_look(snapshot->task, before, &what) != FETCH_SAME || lstat(path, &st) != 0)
			continue;
		fetched[i] = (struct fetched){ .sha256 = before->digest, .size = before->size, .key = stat_key_of(&st),
			.known = true, .done = true };
	}
}

/* A local source without a list of digests is what it is: its bytes are the ones to be had. */
static bool
digest_source(struct snapshot *snapshot, struct error *err)
{
	struct hub_file *files = arena_array(snapshot->arena, snapshot->selection.count + 1, sizeof *files);

	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const char *path;
		struct digest digest;

		files[i] = *snapshot->selection.files[i];
		if (files[i].checksum.kind != CHECKSUM_NONE)
			continue;
		hub_file_url(&snapshot->hub, "", files[i].path, &path, snapshot->arena);
		if (!task_digest(snapshot->task, path, &digest, NULL, err))
			return false;
		files[i].checksum.kind = CHECKSUM_SHA256;
		memcpy(files[i].checksum.bytes, digest.bytes, DIGEST_SIZE);
		snapshot->selection.files[i] = &files[i];
	}
	return true;
}

/* The source is the directory itself: nothing is moved, everything is read once. */
static bool
verify_in_place(struct snapshot *snapshot, struct fetched *fetched, struct error *err)
{
	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const struct hub_file *file = snapshot->selection.files[i];
		struct checksum found = { .kind = CHECKSUM_SHA256 };

		task_progress(snapshot->task, "verify", i, snapshot->selection.count, "files");
		if (!task_digest(snapshot->task, file_path(snapshot, i), &fetched[i].sha256, &fetched[i].key, err))
			return false;
		memcpy(found.bytes, fetched[i].sha256.bytes, DIGEST_SIZE);
		if (file->checksum.kind != CHECKSUM_NONE && !checksum_equal(&found, &file->checksum))
			return fail(err, FAULT_DIGEST, "`%s`: expected %s, got %s", file_path(snapshot, i),
				checksum_text(snapshot->arena, &file->checksum), checksum_text(snapshot->arena, &found));
		fetched[i].size = fetched[i].key.size;
		fetched[i].done = true;
	}
	return true;
}

static bool
check_space(const struct snapshot *snapshot, const struct fetched *fetched, struct fetch *fetch, struct error *err)
{
	uint64_t missing = 0, room;

	for (size_t i = 0; i < snapshot->selection.count; i++) {
		const struct hub_file *file = snapshot->selection.files[i];
		struct stat st;

		if (fetched[i].done || file->size == UINT64_MAX)
			continue;
		fetch->total += file->size;
		if (lstat(file_path(snapshot, i), &st) != 0 || (uint64_t)st.st_size != file->size)
			missing += file->size;
	}
	if (!file_free_space(snapshot->spec->dir, &room, err))
		return false;
	/* Each transfer asks again for what it really lacks: here, parts of a former run hold some of it already. */
	missing = missing > model_parts_size(snapshot->spec->dir) ? missing - model_parts_size(snapshot->spec->dir) : 0;
	if (missing + missing / 20 <= room)
		return true;
	return fail(err, FAULT_NO_SPACE, "%s are needed in `%s` and %s are free", units_show_size(snapshot->arena, missing + missing / 20),
		snapshot->spec->dir, units_show_size(snapshot->arena, room));
}

static bool
fetch_all(struct snapshot *snapshot, int dirfd, struct fetched *fetched, struct error *err)
{
	struct fetch fetch = { .task = snapshot->task, .stage = snapshot_is_local(snapshot) ? "copy" : "download" };
	mode_t mode = 0;

	if (snapshot->spec->mode)
		fetch_parse_mode(snapshot->spec->mode, &mode);
	if (snapshot_is_in_place(snapshot))
		return verify_in_place(snapshot, fetched, err);
	if (snapshot->hub.source.kind == HUB_LOCAL && !digest_source(snapshot, err))
		return false;
	pass_over_known(snapshot, fetched);
	if (task_adopting(snapshot->task))
		return model_adopt(snapshot, dirfd, fetched, err);
	fetch.many = snapshot->selection.count > 1;
	return check_space(snapshot, fetched, &fetch, err) && snapshot_open_mirrors(snapshot, err) &&
		crew_fetch(snapshot, dirfd, mode, &fetch, fetched, err);
}

static void
remember(struct snapshot *snapshot, const struct fetched *fetched)
{
	uint64_t bytes = 0;
	int64_t newest = 0, settled;

	for (size_t i = 0; i < snapshot->selection.count; i++) {
		bytes += fetched[i].served_by ? fetched[i].size : 0;
		newest = fetched[i].key.ctime_ns > newest ? fetched[i].key.ctime_ns : newest;
	}
	settled = fetch_settle(snapshot->task, newest, bytes);
	for (size_t i = 0; i < snapshot->selection.count; i++) {
		task_learned(snapshot->task, &fetched[i].key, &fetched[i].sha256, settled);
		if (fetched[i].checkpoint)
			task_checkpoint_done(snapshot->task, fetched[i].checkpoint);
	}
}

/* What is only to be looked at is not made. */
static bool
open_directory(const struct snapshot *snapshot, int *dirfd, struct error *err)
{
	const char *dir = snapshot->spec->dir;
	struct stat st;

	if (!task_adopting(snapshot->task))
		return path_open_dir(dir, !snapshot_is_in_place(snapshot), dirfd, err);
	if (lstat(dir, &st) == 0 || errno != ENOENT)
		return path_open_dir(dir, false, dirfd, err);
	fail(err, FAULT_NOT_THERE, "`%s` is not there: all %zu files of `%s` are missing", dir, snapshot->selection.count, snapshot->spec->source);
	return error_hint(err, "provision apply %s     fetches them", task_target(snapshot->task));
}

static bool
build(const void *spec_, struct task *task, struct error *err)
{
	const struct model_spec *spec = spec_;
	struct snapshot snapshot finally(snapshot_close) = { 0 };
	struct fetched *fetched;
	int dirfd finally(close_fd) = -1;

	if (!snapshot_open(&snapshot, spec, task, task_refresh(task), err))
		return err->fault == FAULT_OFFLINE ? model_build_offline(spec, task, err) : false;
	if (!snapshot_select(&snapshot, err) || !open_directory(&snapshot, &dirfd, err))
		return false;
	if (snapshot.hub.note)
		task_log(task, "%s", snapshot.hub.note);
	task_log(task, "%zu files of `%s`, commit %s; %zu files left out", snapshot.selection.count,
		hub_source_name(&snapshot.hub.source, snapshot.arena), *snapshot.commit ? snapshot.commit : "none", snapshot.selection.skipped);
	fetched = arena_array(snapshot.arena, snapshot.selection.count + 1, sizeof *fetched);
	if (!fetch_all(&snapshot, dirfd, fetched, err) || !model_check_files(&snapshot, dirfd, fetched, err) ||
		!model_write_list(&snapshot, fetched, err))
		return false;
	remember(&snapshot, fetched);
	model_put_out(&snapshot, fetched);
	return true;
}

/* ---- removing ---- */

static bool
destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);
	const char *dir = record ? pairs_get(&record->outputs, "dir") : NULL;

	if (!dir)
		return true;
	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];

		if (artifact->kind != ARTIFACT_FILE)
			continue;
		if (model_note_in_place(artifact->note)) {
			task_log(task, "left `%s`: it was there before, and only verified", dir);
			return true;
		}
		task_progress(task, "remove", i, record->artifacts.count, "files");
		if (!fetch_remove(task, dir, artifact, err))
			return false;
	}
	return model_remove_bookkeeping(dir, err);
}

const struct rule model_rule = {
	.name = "model",
	.about = "a model repository on disk, every file verified",
	.version = 1,
	.precious = true,
	.adopts = true,
	.params = params,
	.size = sizeof(struct model_spec),
	.outputs = outputs,
	.validate = validate,
	.paths = paths,
	.ingredients = ingredients,
	.inspect = inspect,
	.estimate = estimate,
	.build = build,
	.destroy = destroy,
};
