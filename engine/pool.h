/* pool.h - workers that run one blocking call each. Knows no plan.
 *
 * Workers block all signals. Calls are run in the order they were given. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct job {
	void (*run)(struct job *job);
	struct job *next;
};

struct pool {
	pthread_mutex_t mutex;
	pthread_cond_t work;
	struct job *first, *last;   /* waiting */
	struct job *done;           /* finished, newest first */
	pthread_t *threads;
	size_t count;
	bool ending;
	int wake;                   /* eventfd: readable when something finished */
};

/* `wake` is an eventfd of the caller's that is written after each finished job. False, with errno, where not one thread could be started. */
bool pool_init(struct pool *pool, size_t workers, int wake);
void pool_finish(struct pool *pool); /* waits for the running ones */
void pool_start(struct pool *pool, struct job *job);
struct job *pool_take_done(struct pool *pool); /* a list, or NULL */
