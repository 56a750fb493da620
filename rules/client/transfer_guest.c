#include <time.h>

#include "engine/base/clock.h"
#include "transfer_part.h"

#define WAIT_MS 50
#define WINDOW_NS ((int64_t)20 * 1000000) /* so long the owner is watched */

void
part_wait(struct part *part)
{
	pthread_mutex_lock(&part->mutex);
	clock_wait_ms(&part->changed, &part->mutex, WAIT_MS);
	pthread_mutex_unlock(&part->mutex);
}

void
part_close(struct part *part)
{
	pthread_mutex_lock(&part->mutex);
	part->closing = true;
	while (part->guests > 0)
		pthread_cond_wait(&part->changed, &part->mutex);
	pthread_mutex_unlock(&part->mutex);
}

void
part_reopen(struct part *part)
{
	pthread_mutex_lock(&part->mutex);
	part->closing = false;
	pthread_mutex_unlock(&part->mutex);
}

/* With the mutex held. */
static bool
is_open(const struct part *part)
{
	return !part->closing && !part->one_lane && part->size != UINT64_MAX;
}

static int64_t
read_clock(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* With the mutex held. */
static bool
wants_help(struct part *part)
{
	int64_t now = read_clock(CLOCK_MONOTONIC), passed = now - part->looked_ns;

	if (passed >= WINDOW_NS) {
		int64_t worked = read_clock(part->owner_clock);

		part->wants_help = (worked - part->worked_ns) * 100 < passed * TRANSFER_BUSY;
		part->looked_ns = now;
		part->worked_ns = worked;
	}
	return part->wants_help;
}

bool
part_wants_help(struct part *part)
{
	bool wants;

	pthread_mutex_lock(&part->mutex);
	wants = wants_help(part);
	pthread_mutex_unlock(&part->mutex);
	return wants;
}

void
part_watch_owner(struct part *part)
{
	pthread_getcpuclockid(pthread_self(), &part->owner_clock);
	part->looked_ns = read_clock(CLOCK_MONOTONIC);
	part->worked_ns = read_clock(part->owner_clock);
	/* Until the first look nobody knows. */
	part->wants_help = TRANSFER_BUSY > 100;
}

bool
part_enter(struct part *part)
{
	bool open;

	pthread_mutex_lock(&part->mutex);
	open = is_open(part) && wants_help(part);
	part->guests += open;
	pthread_mutex_unlock(&part->mutex);
	return open;
}

bool
part_is_open(struct part *part)
{
	bool open;

	pthread_mutex_lock(&part->mutex);
	open = is_open(part);
	pthread_mutex_unlock(&part->mutex);
	return open;
}

void
part_take_one_lane(struct part *part)
{
	pthread_mutex_lock(&part->mutex);
	part->one_lane = true;
	pthread_mutex_unlock(&part->mutex);
}

void
part_set_source(struct part *part, size_t source)
{
	pthread_mutex_lock(&part->mutex);
	part->source = source;
	part->one_lane = false;
	pthread_mutex_unlock(&part->mutex);
}

size_t
part_source(struct part *part)
{
	size_t source;

	pthread_mutex_lock(&part->mutex);
	source = part->source;
	pthread_mutex_unlock(&part->mutex);
	return source;
}

void
part_exit(struct part *part)
{
	pthread_mutex_lock(&part->mutex);
	part->guests--;
	pthread_cond_broadcast(&part->changed);
	pthread_mutex_unlock(&part->mutex);
}
