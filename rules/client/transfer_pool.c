#include "transfer_pool.h"

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "transfer_fetch.h"
#include "transfer_part.h"

void
transfer_pool_add(struct transfer_pool *pool, struct part *part)
{
	pthread_mutex_lock(&pool->mutex);
	if (pool->count < TRANSFER_MOST_CONNECTIONS)
		pool->parts[pool->count++] = part;
	pthread_mutex_unlock(&pool->mutex);
}

void
transfer_pool_remove(struct transfer_pool *pool, struct part *part)
{
	pthread_mutex_lock(&pool->mutex);
	for (size_t i = 0; i < pool->count; i++)
		if (pool->parts[i] == part)
			pool->parts[i--] = pool->parts[--pool->count];
	pthread_mutex_unlock(&pool->mutex);
	part_close(part);
}

/* Some part that lets a guest in, the `number`th first. */
static struct part *
enter(struct transfer_pool *pool, size_t number)
{
	struct part *part = NULL;

	pthread_mutex_lock(&pool->mutex);
	if (number < pool->count && part_enter(pool->parts[number]))
		part = pool->parts[number];
	pthread_mutex_unlock(&pool->mutex);
	return part;
}

bool
transfer_pool_help(struct transfer_pool *pool, struct http *http)
{
	bool helped = false;

	for (size_t i = 0; i < TRANSFER_MOST_CONNECTIONS && !helped; i++) {
		struct arena arena finally(arena_finish) = { 0 };
		struct part *part = enter(pool, i);

		if (!part)
			continue;
		helped = transfer_lend_a_hand(part, http, &arena);
		part_exit(part);
	}
	return helped;
}
