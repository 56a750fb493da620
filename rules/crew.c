#include "crew.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/task.h"

static void
describe(const struct hub *hub, const char *commit, const char *file, struct arena *arena, struct transfer_source *source)
{
	bool token = hub->token.length > 0;

	*source = (struct transfer_source){
		.name = hub_source_name(&hub->source, arena),
		.bearer = token ? &hub->token : NULL,
		.secret_cookie = token && hub->source.kind == HUB_MODELSCOPE ? "m_session_id" : NULL,
		.insecure_http = hub->insecure_http,
	};
	source->url = hub_file_url(hub, commit, file, &source->path, arena);
}

static void
prepare(struct snapshot *snapshot, size_t index, int dirfd, mode_t mode, struct fetch *fetch, struct transfer *transfer)
{
	const struct hub_file *file = snapshot->selection.files[index];
	const struct record *record = task_record(snapshot->task);
	struct arena *arena = snapshot->arena;
	struct transfer_source *sources = arena_array(arena, snapshot->mirror_count + 1, sizeof *sources);

	describe(&snapshot->hub, snapshot->commit, file->path, arena, &sources[0]);
	for (size_t i = 0; i < snapshot->mirror_count; i++)
		describe(&snapshot->mirrors[i], snapshot->mirror_commits[i], file->path, arena, &sources[i + 1]);
	*transfer = (struct transfer){
		.sources = sources,
		.source_count = snapshot->mirror_count + 1,
		.dirfd = dirfd,
		.dir = snapshot->spec->dir,
		.name = file->path,
		.size = file->size,
		.checksum = file->checksum,
		.mode = mode,
		.replace = record && record_artifact(record, ARTIFACT_FILE, path_join(arena, snapshot->spec->dir, file->path)),
	};
	fetch_connect(fetch, transfer);
}

static void
take_result(const struct transfer *transfer, struct fetched *fetched)
{
	*fetched = (struct fetched){
		.sha256 = transfer->sha256,
		.key = transfer->key,
		.size = transfer->actual_size,
		.served_by = transfer->adopted ? NULL : transfer->served_by,
		.checkpoint = transfer->checkpoint,
		.done = true,
	};
}

bool
crew_fetch(struct snapshot *snapshot, int dirfd, mode_t mode, struct fetch *fetch, struct fetched *fetched, struct error *err)
{
	size_t most = snapshot->selection.count, count = 0, failed;
	struct transfer *transfers = arena_array(snapshot->arena, most + 1, sizeof *transfers);
	size_t *files = arena_array(snapshot->arena, most + 1, sizeof *files);
	bool ok;

	for (size_t i = 0; i < most; i++)
		if (!fetched[i].done) {
			prepare(snapshot, i, dirfd, mode, fetch, &transfers[count]);
			files[count++] = i;
		}
	ok = transfer_fetch_all(transfers, count, task_downloads(snapshot->task), task_cancel(snapshot->task), snapshot->arena, &failed, err);
	for (size_t i = 0; i < count; i++)
		if (transfers[i].done)
			take_result(&transfers[i], &fetched[files[i]]);
	return ok;
}
