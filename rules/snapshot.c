#include "snapshot.h"

#include <fcntl.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/path.h"
#include "engine/task.h"

#define INDEX "model.safetensors.index.json"
#define LONGEST_INDEX ((size_t)64 << 20)

/* ---- mirrors ---- */

static bool
read_token(const json_t *value, const char *source, const char *base_dir, struct arena *arena, struct secret_ref *token,
	struct error *err)
{
	const char *env = json_string_value(json_object_get(value, "env")), *file = json_string_value(json_object_get(value, "file"));

	if (!value)
		return true;
	if (!env == !file || json_object_size(value) != 1)
		return fail(err, FAULT_BAD_VALUE, "mirror `%s`: a token is `{env: NAME}` or `{file: PATH}`", source);
	token->env = env ? arena_copy(arena, env) : NULL;
	token->file = file ? path_absolute(arena, base_dir, file) : NULL;
	return true;
}

static bool
read_mirror(const json_t *value, const char *base_dir, struct arena *arena, struct mirror *mirror, struct error *err)
{
	const char *source = json_is_string(value) ? json_string_value(value) : json_string_value(json_object_get(value, "source"));
	const json_t *endpoint = json_object_get(value, "endpoint");
	const char *key;
	const json_t *ignored;

	if (!source)
		return fail(err, FAULT_BAD_VALUE, "a mirror is a source, or `{source: ..., endpoint: ..., token: ...}`");
	json_object_foreach((json_t *)(uintptr_t)value, key, ignored)
		if (strcmp(key, "source") != 0 && strcmp(key, "endpoint") != 0 && strcmp(key, "token") != 0)
			return fail(err, FAULT_UNKNOWN_KEY, "mirror `%s`: unknown key `%s`", source, key);
	if (endpoint && !json_is_string(endpoint))
		return fail(err, FAULT_BAD_VALUE, "mirror `%s`: `endpoint` is a URL", source);
	return read_token(json_object_get(value, "token"), source, base_dir, arena, &mirror->token, err) &&
		hub_parse(source, json_string_value(endpoint), base_dir, arena, &mirror->source, err);
}

bool
snapshot_mirrors(const struct model_spec *spec, const char *base_dir, struct arena *arena, struct mirror **mirrors,
	size_t *count, struct error *err)
{
	json_t *list finally(json_release) = NULL;
	struct mirror *made;
	size_t i;
	const json_t *value;

	*mirrors = NULL;
	*count = 0;
	if (!spec->mirrors)
		return true;
	if (!json_parse(spec->mirrors, strlen(spec->mirrors), "mirrors", &list, err))
		return false;
	if (!json_is_array(list))
		return fail(err, FAULT_BAD_VALUE, "`mirrors` is a list of sources");
	made = arena_array(arena, json_array_size(list) + 1, sizeof *made);
	json_array_foreach(list, i, value)
		if (!read_mirror(value, base_dir, arena, &made[i], err))
			return false;
	*mirrors = made;
	*count = json_array_size(list);
	return true;
}

/* Commits of one hub mean the same on all of its mirrors; those of another hub must be asked for. */
static bool
mirror_commit(struct snapshot *snapshot, struct hub *hub, const char **commit, struct error *err)
{
	const struct hub_source *own = &snapshot->hub.source;

	if (hub->source.kind == HUB_HUGGINGFACE && own->kind == HUB_HUGGINGFACE && !hub->source.revision) {
		*commit = snapshot->commit;
		return true;
	}
	/* Whether that hub takes commits is not known; the digests say whether it was the right one. */
	hub->by_name = hub->source.kind == HUB_MODELSCOPE && !(hub->source.revision && strlen(hub->source.revision) == 40);
	if (hub->by_name) {
		*commit = "";
		return true;
	}
	return hub_resolve(hub, commit, err);
}

bool
snapshot_open_mirrors(struct snapshot *snapshot, struct error *err)
{
	struct mirror *mirrors;
	size_t count;

	if (!snapshot_mirrors(snapshot->spec, task_workdir(snapshot->task), snapshot->arena, &mirrors, &count, err))
		return false;
	snapshot->mirrors = arena_array(snapshot->arena, count + 1, sizeof *snapshot->mirrors);
	snapshot->mirror_commits = arena_array(snapshot->arena, count + 1, sizeof *snapshot->mirror_commits);
	for (size_t i = 0; i < count; i++) {
		struct hub *hub = &snapshot->mirrors[snapshot->mirror_count];
		struct error cause = { 0 };

		if (!hub_open(hub, &mirrors[i].source, &mirrors[i].token, snapshot->spec->insecure_http, NULL, task_cancel(snapshot->task),
				snapshot->arena, &cause)) {
			task_log(snapshot->task, "mirror `%s` is left out: %s", mirrors[i].source.text, cause.text);
			continue;
		}
		if (mirror_commit(snapshot, hub, &snapshot->mirror_commits[snapshot->mirror_count], &cause)) {
			snapshot->mirror_count++;
			continue;
		}
		hub_close(hub);
		if (cause.fault == FAULT_INTERRUPTED) {
			*err = cause;
			return false;
		}
		task_log(snapshot->task, "mirror `%s` is left out: %s", mirrors[i].source.text, cause.text);
	}
	return true;
}

/* ---- the source ---- */

const char *
snapshot_recorded(const struct model_spec *spec, const struct task *task)
{
	const struct record *record = task_record(task);
	const char *source = record ? pairs_get(&record->outputs, "source") : NULL;

	return source && strcmp(source, spec->source) == 0 ? pairs_get(&record->outputs, "commit") : NULL;
}

bool
snapshot_is_local(const struct snapshot *snapshot)
{
	return snapshot->hub.source.kind == HUB_LOCAL || snapshot->hub.source.kind == HUB_FILE;
}

bool
snapshot_is_in_place(const struct snapshot *snapshot)
{
	return snapshot_is_local(snapshot) && strcmp(snapshot->hub.source.base, snapshot->spec->dir) == 0;
}

bool
snapshot_open(struct snapshot *snapshot, const struct model_spec *spec, struct task *task, bool anew, struct error *err)
{
	const char *recorded = anew ? NULL : snapshot_recorded(spec, task);
	struct hub_source source;

	*snapshot = (struct snapshot){ .spec = spec, .task = task, .arena = task_arena(task) };
	if (!hub_parse(spec->source, spec->endpoint, task_workdir(task), snapshot->arena, &source, err))
		return false;
	if (task_offline(task) && source.kind != HUB_LOCAL && source.kind != HUB_FILE)
		return fail(err, FAULT_OFFLINE, "`%s` would have to be asked", hub_source_name(&source, snapshot->arena));
	if (!hub_open(&snapshot->hub, &source, &spec->token, spec->insecure_http, spec->checksums, task_cancel(task), snapshot->arena, err))
		return false;
	/* A plan that cannot ask says so at once; a run has patience. */
	snapshot->hub.tries = task_planning(task) ? 1 : 0;
	snapshot->pinned = recorded != NULL;
	snapshot->commit = recorded;
	return recorded || hub_resolve(&snapshot->hub, &snapshot->commit, err);
}

void
snapshot_close(struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->mirror_count; i++)
		hub_close(&snapshot->mirrors[i]);
	hub_close(&snapshot->hub);
}

/* A commit that is gone is never replaced by another in silence. */
static bool
list(struct snapshot *snapshot, struct error *err)
{
	struct error ignored;
	const char *now;

	if (hub_list(&snapshot->hub, snapshot->commit, &snapshot->listing, err))
		return true;
	if (err->fault == FAULT_HUB_NOT_FOUND && snapshot->pinned && *snapshot->commit && hub_resolve(&snapshot->hub, &now, &ignored) &&
		strcmp(now, snapshot->commit) != 0)
		return error_hint(err, "the record pins commit %.12s; today the revision is %.12s, and `--refresh` takes it", snapshot->commit, now);
	return false;
}

static const struct hub_file *
find_index(const struct hub_listing *listing)
{
	for (size_t i = 0; i < listing->count; i++)
		if (strcmp(listing->files[i].path, INDEX) == 0)
			return &listing->files[i];
	return NULL;
}

static bool
check_digests(const struct snapshot *snapshot, struct error *err)
{
	if (snapshot->hub.source.kind == HUB_LOCAL)
		return true;
	for (size_t i = 0; i < snapshot->selection.count; i++)
		if (snapshot->selection.files[i]->checksum.kind == CHECKSUM_NONE) {
			fail(err, FAULT_NO_DIGEST, "`%s` gives no digest of `%s`", hub_source_name(&snapshot->hub.source, snapshot->arena),
				snapshot->selection.files[i]->path);
			return error_hint(err, "name a list with `checksums:`, or leave the file out with `exclude:`");
		}
	return true;
}

static void
hash_text(const struct buf *text, enum checksum_kind kind, struct checksum *found)
{
	struct hasher hasher finally(hasher_finish) = { 0 };

	if (kind == CHECKSUM_GIT)
		hasher_init_git(&hasher, text->size);
	else
		hasher_init(&hasher);
	hasher_add(&hasher, text->data, text->size);
	hasher_checksum(&hasher, found);
}

/* The file as it lies in the target's directory, if it is the very one of the listing: then nobody is asked for it. */
static bool
read_standing(const struct snapshot *snapshot, const struct hub_file *file, struct buf *text)
{
	int dirfd finally(close_fd) = open(snapshot->spec->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd finally(close_fd) = dirfd < 0 ? -1 : path_open_below(dirfd, file->path, O_RDONLY, 0);
	char *bytes finally(free_text) = NULL;
	struct checksum found;
	struct error ignored;
	size_t got;

	if (fd < 0 || file->checksum.kind == CHECKSUM_NONE || file->size > LONGEST_INDEX)
		return false;
	bytes = xmalloc((size_t)file->size + 1);
	if (!file_read_all(fd, bytes, (size_t)file->size + 1, &got, &ignored) || got != file->size)
		return false;
	buf_add(text, bytes, got);
	hash_text(text, file->checksum.kind, &found);
	if (checksum_equal(&found, &file->checksum))
		return true;
	buf_clear(text);
	return false;
}

bool
snapshot_select(struct snapshot *snapshot, struct error *err)
{
	const struct model_spec *spec = snapshot->spec;
	struct selection_rules rules = { .include = &spec->include, .exclude = &spec->exclude, .allow_pickle = spec->allow_pickle,
		.allow_code = spec->allow_code };
	struct buf index finally(buf_finish) = { 0 };
	const struct hub_file *file;

	if (!list(snapshot, err))
		return false;
	file = spec->include.count == 0 ? find_index(&snapshot->listing) : NULL;
	buf_init(&index, LONGEST_INDEX);
	if (file && !read_standing(snapshot, file, &index) && !hub_read(&snapshot->hub, snapshot->commit, file, 0, 0, &index, NULL, err))
		return false;
	rules.index = file ? index.data : NULL;
	rules.index_size = index.size;
	return select_files(&snapshot->listing, &rules, snapshot->arena, &snapshot->selection, err) && check_digests(snapshot, err);
}
