#include "rules.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/hub.h"
#include "client/transfer.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/path.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "fetch.h"

struct download {
	const char *url;
	struct strings urls;
	const char *path;
	const char *sha256;
	int64_t size;
	const char *mode;
	struct secret_ref token;
	bool insecure_http;
};

static const struct param params[] = {
	{ "url", PARAM_STRING, offsetof(struct download, url), .unhashed = true, .about = "where the file is: https://, file:// or a path" },
	{ "urls", PARAM_STRINGS, offsetof(struct download, urls), .unhashed = true, .about = "mirrors of it, tried in this order" },
	{ "path", PARAM_PATH, offsetof(struct download, path), .required = true, .about = "where it goes" },
	{ "sha256", PARAM_STRING, offsetof(struct download, sha256), .required = true, .about = "its digest, 64 hex digits" },
	{ "size", PARAM_SIZE, offsetof(struct download, size), .unhashed = true, .about = "its size, if known" },
	{ "mode", PARAM_STRING, offsetof(struct download, mode), .about = "its permissions, octal; `0444` if absent" },
	{ "token", PARAM_SECRET, offsetof(struct download, token), .unhashed = true, .about = "secret for the first URL's origin: `{env: NAME}` or `{file: PATH}`" },
	{ "insecure_http", PARAM_BOOL, offsetof(struct download, insecure_http), .unhashed = true, .about = "allow http: beyond this machine" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "path", "the file", "path" },
	{ "sha256", "its digest", "sha256" },
	{ "size", "its bytes", NULL },
	{ 0 },
};

/* All places to ask, in order. */
static struct strings
places(const struct download *spec, struct arena *arena)
{
	struct strings list = { 0 };

	if (spec->url)
		strings_add(&list, arena, spec->url);
	for (size_t i = 0; i < spec->urls.count; i++)
		strings_add(&list, arena, spec->urls.items[i]);
	return list;
}

/* A URL, or the path of a file on this machine. */
static bool
read_place(const char *text, const char *base_dir, struct arena *arena, struct transfer_source *source, struct error *err)
{
	struct hub_source parsed;

	if (text_starts(text, "https://") || text_starts(text, "http://")) {
		*source = (struct transfer_source){ .url = text, .name = secret_url_shown(arena, text) };
		return true;
	}
	if (!hub_parse(text, NULL, base_dir, arena, &parsed, err))
		return false;
	if (!parsed.base)
		return fail(err, FAULT_BAD_VALUE, "`%s` is no URL of a file", text);
	*source = (struct transfer_source){ .path = parsed.base, .name = hub_source_name(&parsed, arena) };
	return true;
}

static void
add_error(struct errors *errors, struct task *task, const char *param, struct error *err)
{
	err->at = task_place(task, param);
	errors_add(errors, err);
}

static void
validate(const void *spec_, struct task *task, struct errors *errors)
{
	const struct download *spec = spec_;
	struct strings list = places(spec, task_arena(task));
	struct transfer_source source;
	struct error err = { 0 };
	struct digest digest;
	mode_t mode;

	if (list.count == 0 && !task_is_pending(task, "url") && !task_is_pending(task, "urls")) {
		fail(&err, FAULT_MISSING_KEY, "`url` or `urls` is missing");
		add_error(errors, task, "url", &err);
	}
	for (size_t i = 0; i < list.count; i++)
		if (!read_place(list.items[i], task_workdir(task), task_arena(task), &source, &err))
			add_error(errors, task, spec->url && i == 0 ? "url" : "urls", &err);
	if (spec->sha256 && !digest_parse(spec->sha256, &digest)) {
		fail(&err, FAULT_BAD_VALUE, "`sha256` is not 64 hex digits");
		add_error(errors, task, "sha256", &err);
	}
	if (spec->mode && !fetch_parse_mode(spec->mode, &mode)) {
		fail(&err, FAULT_BAD_VALUE, "`mode: %s` is no octal mode of a file, such as `0444`", spec->mode);
		add_error(errors, task, "mode", &err);
	}
}

static void
paths(const void *spec_, struct arena *arena, struct paths *into)
{
	const struct download *spec = spec_;

	if (spec->path)
		strings_add(&into->makes, arena, spec->path);
}

static bool
inspect(const void *spec_, struct task *task, struct look *look, struct error *err)
{
	const struct download *spec = spec_;
	const struct artifact *artifact = record_artifact(task_record(task), ARTIFACT_FILE, spec->path);
	const char *what = "missing";
	enum fetch_state state = artifact ? fetch_look(task, artifact, &what) : FETCH_MISSING;

	(void)err;
	*look = (struct look){ .state = STATE_FRESH };
	if (state == FETCH_SAME)
		return true;
	look->state = state == FETCH_MISSING ? STATE_ABSENT : STATE_DRIFTED;
	look->reason = state == FETCH_MISSING ? REASON_OUTPUT_MISSING : REASON_OUTPUT_DIFFERS;
	look->what = arena_printf(task_arena(task), "%s: %s", path_shown(task_arena(task), task_root(task), spec->path), what);
	return true;
}

static bool
estimate(const void *spec_, struct task *task, struct cost *cost, struct error *err)
{
	const struct download *spec = spec_;
	struct stat st;

	(void)task, (void)err;
	cost->keep = spec->size ? spec->size : -1;
	cost->download = cost->keep;
	cost->duration = -1;
	if (spec->size && lstat(spec->path, &st) == 0 && st.st_size == spec->size)
		cost->download = 0;
	return true;
}

/* The token belongs to the origin of the first URL; mirrors elsewhere never see it. */
static bool
read_places(const struct download *spec, struct task *task, const struct secret *token, struct transfer_source **sources, size_t *count,
	struct error *err)
{
	struct arena *arena = task_arena(task);
	struct strings list = places(spec, arena);
	struct transfer_source *made = arena_array(arena, list.count + 1, sizeof *made);
	size_t n = 0;

	for (size_t i = 0; i < list.count; i++) {
		if (!read_place(list.items[i], task_workdir(task), arena, &made[n], err))
			return false;
		made[n].insecure_http = spec->insecure_http;
		if (token->length > 0 && made[n].url && http_same_origin(made[n].url, list.items[0]))
			made[n].bearer = token;
		n += !(made[n].url && task_offline(task)) && !task_adopting(task);
	}
	*sources = made;
	*count = n;
	return true;
}

/* Nobody may be asked: the file is there, or it is not. */
static bool
not_there(const struct download *spec, struct task *task, const char *what, struct error *err)
{
	if (!task_adopting(task))
		return fail(err, FAULT_OFFLINE, "`%s` is missing or differs, and would have to be fetched", spec->path);
	fail(err, FAULT_NOT_THERE, "`%s` %s", spec->path, what);
	return error_hint(err, "provision apply %s     fetches what is missing; a file with other bytes must be moved away first", task_target(task));
}

static bool
take_what_is_there(const struct download *spec, struct task *task, struct transfer *transfer, struct error *err)
{
	struct error unread = { 0 };
	struct digest wanted;
	struct stat st;
	int fd;

	if (lstat(spec->path, &st) != 0)
		return not_there(spec, task, "is missing", err);
	if (!S_ISREG(st.st_mode))
		return not_there(spec, task, "is no plain file", err);
	if (!task_digest(task, spec->path, &transfer->sha256, &transfer->key, &unread))
		return not_there(spec, task, arena_printf(task_arena(task), "cannot be read: %s", unread.text), err);
	if (!digest_parse(spec->sha256, &wanted) || !digest_equal(&transfer->sha256, &wanted))
		return not_there(spec, task, arena_printf(task_arena(task), "has other bytes: sha256 %s", digest_text(task_arena(task), &transfer->sha256)), err);
	/* Whoever wrote it may not have waited for the disk. */
	fd = open(spec->path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fail_errno(err, "open `%s`", spec->path);
	if (!file_sync_close(&fd, spec->path, err) || !file_sync_dir(path_dir(task_arena(task), spec->path), err))
		return false;
	transfer->actual_size = transfer->key.size;
	transfer->adopted = true;
	return true;
}

static void
put_out(const struct download *spec, struct task *task, const struct transfer *transfer)
{
	struct arena *arena = task_arena(task);
	int64_t settled = fetch_settle(task, transfer->key.ctime_ns, transfer->adopted ? 0 : transfer->actual_size);

	task_learned(task, &transfer->key, &transfer->sha256, settled);
	if (transfer->checkpoint)
		task_checkpoint_done(task, transfer->checkpoint);
	task_artifact(task, &(struct artifact){ .kind = ARTIFACT_FILE, .name = spec->path, .digest = transfer->sha256,
		.size = transfer->actual_size });
	task_output(task, "path", spec->path);
	task_output(task, "sha256", digest_text(arena, &transfer->sha256));
	task_output(task, "size", arena_printf(arena, "%" PRIu64, transfer->actual_size));
	if (!transfer->adopted)
		task_material(task, transfer->served_by, arena_printf(arena, "sha256:%s", digest_text(arena, &transfer->sha256)));
	task_summary(task, "%s", units_show_size(arena, transfer->actual_size));
}

static bool
build(const void *spec_, struct task *task, struct error *err)
{
	const struct download *spec = spec_;
	const char *dir = path_dir(task_arena(task), spec->path);
	struct secret token finally(secret_finish) = { 0 };
	struct fetch fetch = { .task = task, .stage = "download", .total = (uint64_t)spec->size };
	int dirfd finally(close_fd) = -1;
	struct transfer_source *sources;
	size_t failed;
	struct transfer transfer = {
		.dir = dir,
		.name = path_base(spec->path),
		.size = spec->size ? (uint64_t)spec->size : UINT64_MAX,
		.replace = task_record(task) && record_artifact(task_record(task), ARTIFACT_FILE, spec->path),
	};

	if (!checksum_parse(CHECKSUM_SHA256, spec->sha256, &transfer.checksum))
		return fail(err, FAULT_BAD_VALUE, "`sha256` is not 64 hex digits");
	if (spec->mode && !fetch_parse_mode(spec->mode, &transfer.mode))
		return fail(err, FAULT_BAD_VALUE, "`mode: %s` is no octal mode", spec->mode);
	if ((spec->token.env || spec->token.file) && !secret_load(&spec->token, false, &token, err))
		return false;
	if (!read_places(spec, task, &token, &sources, &transfer.source_count, err))
		return false;
	if (transfer.source_count > 0 && !path_open_dir(dir, true, &dirfd, err))
		return false;
	transfer.sources = sources;
	transfer.dirfd = dirfd;
	fetch_connect(&fetch, &transfer);
	if (!(transfer.source_count ? transfer_fetch_all(&transfer, 1, task_downloads(task), task_cancel(task), task_arena(task), &failed, err)
			: take_what_is_there(spec, task, &transfer, err)))
		return false;
	put_out(spec, task, &transfer);
	return true;
}

static bool
destroy(struct task *task, struct error *err)
{
	const struct record *record = task_record(task);

	for (size_t i = 0; record && i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];

		if (artifact->kind == ARTIFACT_FILE && !fetch_remove(task, path_dir(task_arena(task), artifact->name), artifact, err))
			return false;
	}
	return true;
}

const struct rule download_rule = {
	.name = "download",
	.about = "one file, by digest",
	.version = 1,
	.adopts = true,
	.params = params,
	.size = sizeof(struct download),
	.outputs = outputs,
	.validate = validate,
	.paths = paths,
	.inspect = inspect,
	.estimate = estimate,
	.build = build,
	.destroy = destroy,
};
