#include "crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/task.h"

#define MOST_THREADS 16u
#define LOOK_MS 50

struct crew {
	struct snapshot *snapshot;
	struct fetch *fetch;
	struct fetched *fetched;
	int dirfd;
	mode_t mode;
	const struct record *record;
	size_t *order;         /* indices of files, the largest first: then no long one is left for the end */
	size_t order_count;

	pthread_mutex_t mutex; /* of all below, and of the task's arena */
	pthread_cond_t changed;
	size_t next;           /* in `order` */
	unsigned running;
	bool failed;
	struct error error;
	atomic_bool halt;    /* what transfers look at */
};

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

static bool
fetch_one(struct crew *crew, size_t index, struct http *http, struct arena *arena, struct error *err)
{
	struct snapshot *snapshot = crew->snapshot;
	const struct hub_file *file = snapshot->selection.files[index];
	struct transfer_source *sources = arena_array(arena, snapshot->mirror_count + 1, sizeof *sources);
	struct fetched *result = &crew->fetched[index];
	struct transfer transfer = {
		.sources = sources,
		.source_count = snapshot->mirror_count + 1,
		.dirfd = crew->dirfd,
		.dir = snapshot->spec->dir,
		.name = file->path,
		.size = file->size,
		.checksum = file->checksum,
		.mode = crew->mode,
		.http = http,
		.cancel = &crew->halt,
	};

	describe(&snapshot->hub, snapshot->commit, file->path, arena, &sources[0]);
	for (size_t i = 0; i < snapshot->mirror_count; i++)
		describe(&snapshot->mirrors[i], snapshot->mirror_commits[i], file->path, arena, &sources[i + 1]);
	transfer.replace = crew->record && record_artifact(crew->record, ARTIFACT_FILE, path_join(arena, transfer.dir, file->path));
	fetch_connect(crew->fetch, &transfer);
	if (!transfer_fetch(&transfer, arena, err))
		return false;
	pthread_mutex_lock(&crew->mutex);
	*result = (struct fetched){ .sha256 = transfer.sha256, .key = transfer.key, .size = transfer.actual_size, .done = true };
	result->checkpoint = arena_copy(snapshot->arena, transfer.checkpoint);
	if (!transfer.adopted)
		result->served_by = arena_copy(snapshot->arena, transfer.served_by);
	pthread_mutex_unlock(&crew->mutex);
	return true;
}

static bool
take_next(struct crew *crew, size_t *index)
{
	bool any;

	pthread_mutex_lock(&crew->mutex);
	any = !crew->halt && crew->next < crew->order_count;
	if (any)
		*index = crew->order[crew->next++];
	pthread_mutex_unlock(&crew->mutex);
	return any;
}

/* A failure says more than the interruptions that follow from it. */
static void
report(struct crew *crew, const struct error *err)
{
	pthread_mutex_lock(&crew->mutex);
	if (!crew->failed)
		crew->error = *err;
	crew->failed = true;
	crew->halt = true;
	pthread_mutex_unlock(&crew->mutex);
}

static void
finish_http(struct http *http)
{
	if (http->session)
		http_finish(http);
}

static void
work(struct crew *crew)
{
	struct http http finally(finish_http) = { 0 };
	struct error err = { 0 };
	size_t index;

	if (!snapshot_is_local(crew->snapshot) && !http_init(&http, &crew->halt, &err)) {
		report(crew, &err);
		return;
	}
	while (take_next(crew, &index)) {
		struct arena arena finally(arena_finish) = { 0 };

		arena_init(&arena);
		if (!fetch_one(crew, index, http.session ? &http : NULL, &arena, &err)) {
			report(crew, &err);
			return;
		}
	}
}

static void *
run(void *context)
{
	struct crew *crew = context;

	work(crew);
	pthread_mutex_lock(&crew->mutex);
	crew->running--;
	pthread_cond_signal(&crew->changed);
	pthread_mutex_unlock(&crew->mutex);
	return NULL;
}

/* With the mutex held: until all have ended. The task's own cancel is handed on. */
static void
wait_for_all(struct crew *crew, const atomic_bool *cancel)
{
	while (crew->running > 0) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOOK_MS * 1000000L;
		until.tv_sec += until.tv_nsec / 1000000000L;
		until.tv_nsec %= 1000000000L;
		pthread_cond_timedwait(&crew->changed, &crew->mutex, &until);
		if (cancel && *cancel)
			crew->halt = true;
	}
}

static int
larger_first(const void *a, const void *b, void *context)
{
	const struct selection *selection = context;
	uint64_t left = selection->files[*(const size_t *)a]->size, right = selection->files[*(const size_t *)b]->size;

	return (left < right) - (left > right);
}

static void
make_order(struct crew *crew)
{
	struct selection *selection = &crew->snapshot->selection;

	crew->order = arena_array(crew->snapshot->arena, selection->count + 1, sizeof *crew->order);
	for (size_t i = 0; i < selection->count; i++)
		if (!crew->fetched[i].done)
			crew->order[crew->order_count++] = i;
	qsort_r(crew->order, crew->order_count, sizeof *crew->order, larger_first, selection);
}

static bool
start(struct crew *crew, pthread_t *thread, struct error *err)
{
	int number = pthread_create(thread, NULL, run, crew);

	if (number == 0) {
		crew->running++;
		return true;
	}
	errno = number;
	return fail_errno(err, "start a thread");
}

bool
crew_fetch(struct snapshot *snapshot, int dirfd, mode_t mode, struct fetch *fetch, struct fetched *fetched, struct error *err)
{
	struct crew crew = { .snapshot = snapshot, .fetch = fetch, .fetched = fetched, .dirfd = dirfd, .mode = mode,
		.record = task_record(snapshot->task) };
	unsigned wanted = task_downloads(snapshot->task), count = 0;
	pthread_t threads[MOST_THREADS];

	make_order(&crew);
	if (crew.order_count == 0)
		return true;
	wanted = wanted > MOST_THREADS ? MOST_THREADS : wanted;
	pthread_mutex_init(&crew.mutex, NULL);
	pthread_cond_init(&crew.changed, NULL);
	pthread_mutex_lock(&crew.mutex);
	while (count < wanted && count < crew.order_count && start(&crew, &threads[count], &crew.error))
		count++;
	crew.failed = count == 0;
	wait_for_all(&crew, task_cancel(snapshot->task));
	pthread_mutex_unlock(&crew.mutex);
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_cond_destroy(&crew.changed);
	pthread_mutex_destroy(&crew.mutex);
	if (crew.failed)
		*err = crew.error;
	else if (crew.halt)
		return fail(err, FAULT_INTERRUPTED, "stopped");
	return !crew.failed;
}
