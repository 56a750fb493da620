#include <errno.h>
#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "transfer.h"
#include "transfer_fetch.h"
#include "transfer_pool.h"

#define LOOK_MS 50

struct crew {
	struct transfer *transfers;
	struct arena *arena;
	struct transfer_pool pool;
	size_t *order;         /* indexes of transfers, the largest first: then no long one is left for the end */
	size_t count;
	unsigned threads;      /* that there may be */

	pthread_mutex_t mutex; /* of all below */
	pthread_cond_t changed;
	size_t next;           /* in `order` */
	unsigned running;      /* threads */
	unsigned busy;         /* those that have a file of their own */
	bool failed;
	size_t culprit;
	struct error error;
	atomic_bool halt;      /* what transfers look at */
};

static bool
take_next(struct crew *crew, size_t *index)
{
	bool any;

	pthread_mutex_lock(&crew->mutex);
	any = !crew->halt && crew->next < crew->count;
	if (any) {
		*index = crew->order[crew->next++];
		crew->busy++;
	}
	pthread_mutex_unlock(&crew->mutex);
	return any;
}

/* A failure says more than the interruptions that follow from it. */
static void
report(struct crew *crew, size_t index, const struct error *err)
{
	pthread_mutex_lock(&crew->mutex);
	if (!crew->failed) {
		crew->error = *err;
		crew->culprit = index;
	}
	crew->failed = true;
	crew->halt = true;
	pthread_mutex_unlock(&crew->mutex);
}

static bool
fetch_one(struct crew *crew, size_t index, struct http *http, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct transfer *transfer = &crew->transfers[index];
	bool ok;

	transfer->http = http;
	transfer->cancel = &crew->halt;
	transfer->pool = http && crew->threads > 1 ? &crew->pool : NULL;
	ok = transfer_fetch(transfer, &arena, err);
	pthread_mutex_lock(&crew->mutex);
	transfer->http = NULL;
	transfer->pool = NULL;
	transfer->checkpoint = transfer->checkpoint ? arena_copy(crew->arena, transfer->checkpoint) : NULL;
	transfer->done = ok;
	crew->busy--;
	pthread_cond_broadcast(&crew->changed);
	pthread_mutex_unlock(&crew->mutex);
	return ok;
}

/* Until something has changed, or a moment has passed. False: nobody has a file of his own any more. */
static bool
wait_for_work(struct crew *crew)
{
	bool more;

	pthread_mutex_lock(&crew->mutex);
	more = crew->busy > 0 && !crew->halt;
	if (more)
		clock_wait_ms(&crew->changed, &crew->mutex, LOOK_MS);
	pthread_mutex_unlock(&crew->mutex);
	return more;
}

static bool
needs_http(const struct crew *crew)
{
	for (size_t i = 0; i < crew->count; i++)
		if (transfer_has_url(&crew->transfers[crew->order[i]]))
			return true;
	return false;
}

static void
work(struct crew *crew)
{
	struct http http finally(http_finish) = { 0 };
	struct error err = { 0 };
	bool remote = needs_http(crew), more = true;
	size_t index;

	if (remote && !http_init(&http, &crew->halt, &err)) {
		report(crew, crew->count, &err);
		return;
	}
	while (more) {
		if (take_next(crew, &index)) {
			more = fetch_one(crew, index, remote ? &http : NULL, &err);
			if (!more)
				report(crew, index, &err);
		} else if (!remote || crew->halt || !transfer_pool_help(&crew->pool, &http)) {
			more = remote && wait_for_work(crew);
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
	pthread_cond_broadcast(&crew->changed);
	pthread_mutex_unlock(&crew->mutex);
	return NULL;
}

/* With the mutex held: until all have ended. The callers' cancel is handed on. */
static void
wait_for_all(struct crew *crew, const atomic_bool *cancel)
{
	while (crew->running > 0) {
		clock_wait_ms(&crew->changed, &crew->mutex, LOOK_MS);
		if (cancel && *cancel)
			crew->halt = true;
	}
}

static int
larger_first(const void *a, const void *b, void *context)
{
	const struct transfer *transfers = context;
	uint64_t left = transfers[*(const size_t *)a].size, right = transfers[*(const size_t *)b].size;

	return (left < right) - (left > right);
}

/* As many threads as there could be pieces; of a file of unknown size nobody knows. */
static unsigned
threads_wanted(const struct crew *crew, unsigned connections)
{
	uint64_t pieces = 0;

	connections = connections < 1 ? 1 : connections > TRANSFER_MOST_CONNECTIONS ? TRANSFER_MOST_CONNECTIONS : connections;
	for (size_t i = 0; i < crew->count && pieces < connections; i++) {
		uint64_t size = crew->transfers[crew->order[i]].size;

		pieces += size == UINT64_MAX ? connections : size / TRANSFER_PIECE + 1;
	}
	return pieces < connections ? (unsigned)pieces : connections;
}

static bool
start(struct crew *crew, pthread_t *thread)
{
	int number = pthread_create(thread, NULL, run, crew);

	crew->running += number == 0;
	if (number == 0 || crew->running > 0)
		return number == 0;
	errno = number;
	crew->failed = true;
	return fail_errno(&crew->error, "start a thread");
}

static void
crew_finish(struct crew *crew)
{
	pthread_cond_destroy(&crew->changed);
	pthread_mutex_destroy(&crew->mutex);
	pthread_mutex_destroy(&crew->pool.mutex);
}

bool
transfer_fetch_all(struct transfer *transfers, size_t count, unsigned connections, const atomic_bool *cancel, struct arena *arena,
	size_t *failed, struct error *err)
{
	struct crew crew finally(crew_finish) = { .transfers = transfers, .arena = arena, .culprit = count };
	pthread_t threads[TRANSFER_MOST_CONNECTIONS];
	unsigned started = 0;

	*failed = count;
	crew.order = arena_array(arena, count + 1, sizeof *crew.order);
	for (; crew.count < count; crew.count++)
		crew.order[crew.count] = crew.count;
	qsort_r(crew.order, count, sizeof *crew.order, larger_first, transfers);
	pthread_mutex_init(&crew.mutex, NULL);
	pthread_mutex_init(&crew.pool.mutex, NULL);
	pthread_cond_init(&crew.changed, NULL);
	crew.threads = threads_wanted(&crew, connections);
	pthread_mutex_lock(&crew.mutex);
	while (started < crew.threads && start(&crew, &threads[started]))
		started++;
	wait_for_all(&crew, cancel);
	pthread_mutex_unlock(&crew.mutex);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (crew.failed) {
		*err = crew.error;
		*failed = crew.culprit;
	} else if (crew.halt) {
		return fail(err, FAULT_INTERRUPTED, "stopped");
	}
	return !crew.failed;
}
