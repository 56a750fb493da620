#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "transfer_part.h"

#define READ_SIZE ((size_t)256 << 10) /* it is in the page cache still, and fits into a core's own cache */
#define STEP ((uint64_t)TRANSFER_PIECE / 64) /* so much is handed over at once */
#define FIRST (TRANSFER_PIECE / 16)    /* a file that is shorter is not worth a thread */

/* Hash [from, to), or less of it if nobody wants it any more. */
static bool
hash_span(struct part *part, char *buffer, uint64_t from, uint64_t to, struct error *err)
{
	while (from < to && !part->follower.leaving) {
		size_t want = to - from < READ_SIZE ? (size_t)(to - from) : READ_SIZE, got;

		if (!file_pread_all(part->fd, buffer, want, from, &got, err))
			return error_wrap(err, "part of `%s`", part->transfer->name);
		if (got < want)
			return fail(err, FAULT_IO, "the part of `%s` changed while it was written", part->transfer->name);
		part_hash(part, buffer, got);
		from += got;
	}
	return true;
}

static void *
follow(void *context)
{
	struct part *part = context;
	struct follower *follower = &part->follower;
	char *buffer finally(free_text) = xmalloc(READ_SIZE);
	struct error err = { 0 };

	pthread_mutex_lock(&part->mutex);
	while (!follower->leaving) {
		uint64_t from = follower->hashed, to = follower->goal;
		bool ok;

		if (follower->failed || from == to) {
			pthread_cond_wait(&follower->changed, &part->mutex);
			continue;
		}
		pthread_mutex_unlock(&part->mutex);
		ok = hash_span(part, buffer, from, to, &err);
		pthread_mutex_lock(&part->mutex);
		if (ok)
			follower->hashed = to;
		else
			follower->why = err;
		follower->failed = !ok;
		pthread_cond_broadcast(&follower->changed);
	}
	pthread_mutex_unlock(&part->mutex);
	return NULL;
}

static bool
start(struct part *part)
{
	struct follower *follower = &part->follower;

	pthread_cond_init(&follower->changed, NULL);
	follower->running = pthread_create(&follower->thread, NULL, follow, part) == 0;
	if (!follower->running)
		pthread_cond_destroy(&follower->changed);
	return follower->running;
}

/* All before `to` is the thread's, but for what the owner has hashed himself; then the thread had nothing left to do (part_settle). */
static void
hand_over(struct part *part, uint64_t to)
{
	struct follower *follower = &part->follower;

	pthread_mutex_lock(&part->mutex);
	if (follower->hashed == follower->goal)
		follower->hashed = follower->given;
	follower->goal = follower->given = to;
	pthread_cond_broadcast(&follower->changed);
	pthread_mutex_unlock(&part->mutex);
}

void
part_move_front(struct part *part, uint64_t to)
{
	part->front = part->follower.given = to;
}

void
part_pass(struct part *part, const void *bytes, size_t size)
{
	struct follower *follower = &part->follower;

	follower->passed += size;
	if (!follower->running && (follower->passed < FIRST || !start(part))) {
		part_hash(part, bytes, size);
		part_move_front(part, part->front + size);
		return;
	}
	part->front += size;
	if (part->front - follower->given >= STEP)
		hand_over(part, part->front);
}

bool
part_settle(struct part *part, struct error *err)
{
	struct follower *follower = &part->follower;
	bool ok;

	if (!follower->running)
		return true;
	if (part->front > follower->given)
		hand_over(part, part->front);
	pthread_mutex_lock(&part->mutex);
	while (follower->hashed != follower->goal && !follower->failed)
		pthread_cond_wait(&follower->changed, &part->mutex);
	ok = !follower->failed;
	if (!ok)
		*err = follower->why;
	pthread_mutex_unlock(&part->mutex);
	return ok;
}

void
part_unfollow(struct part *part)
{
	struct follower *follower = &part->follower;

	if (!follower->running)
		return;
	pthread_mutex_lock(&part->mutex);
	follower->leaving = true;
	pthread_cond_broadcast(&follower->changed);
	pthread_mutex_unlock(&part->mutex);
	pthread_join(follower->thread, NULL);
	pthread_cond_destroy(&follower->changed);
	*follower = (struct follower){ .running = false };
}
