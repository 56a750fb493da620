/* transfer_pool.h - parts that are being filled now, and threads that have nothing else to do. For transfer*.c alone. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "transfer.h"

struct part;

/* Parts that guests may enter. */
struct transfer_pool {
	pthread_mutex_t mutex;
	struct part *parts[TRANSFER_MOST_CONNECTIONS];
	size_t count;
};

void transfer_pool_add(struct transfer_pool *pool, struct part *part);

/* Nobody comes in any more; those who are in it may still be. */
void transfer_pool_remove(struct transfer_pool *pool, struct part *part);

/* Fetch a few pieces of some part. False: there are none to fetch. */
bool transfer_pool_help(struct transfer_pool *pool, struct http *http);
