#include "pool.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"

static void
tell_finished(struct pool *pool)
{
	uint64_t one = 1;

	while (write(pool->wake, &one, sizeof one) < 0 && errno == EINTR)
		;
}

static struct job *
take(struct pool *pool)
{
	struct job *job;

	while (!pool->first && !pool->ending)
		pthread_cond_wait(&pool->work, &pool->mutex);
	job = pool->first;
	if (job) {
		pool->first = job->next;
		if (!pool->first)
			pool->last = NULL;
	}
	return job;
}

static void *
work(void *argument)
{
	struct pool *pool = argument;
	struct job *job;

	pthread_mutex_lock(&pool->mutex);
	while ((job = take(pool))) {
		pthread_mutex_unlock(&pool->mutex);
		job->run(job);
		pthread_mutex_lock(&pool->mutex);
		job->next = pool->done;
		pool->done = job;
		tell_finished(pool);
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

bool
pool_init(struct pool *pool, size_t workers, int wake)
{
	sigset_t all, before;
	int number = 0;

	*pool = (struct pool){ .wake = wake, .threads = xmalloc(workers * sizeof *pool->threads) };
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_cond_init(&pool->work, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->count < workers && (number = pthread_create(&pool->threads[pool->count], NULL, work, pool)) == 0)
		pool->count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (pool->count > 0)
		return true;
	pool_finish(pool);
	errno = number;
	return false;
}

void
pool_finish(struct pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	pool->ending = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->mutex);
	for (size_t i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	free(pool->threads);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->mutex);
}

void
pool_start(struct pool *pool, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool->mutex);
	if (pool->last)
		pool->last->next = job;
	else
		pool->first = job;
	pool->last = job;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->mutex);
}

struct job *
pool_take_done(struct pool *pool)
{
	struct job *done;

	pthread_mutex_lock(&pool->mutex);
	done = pool->done;
	pool->done = NULL;
	pthread_mutex_unlock(&pool->mutex);
	return done;
}
