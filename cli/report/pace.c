#include "pace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"

#define SAMPLE_MS 500   /* shorter ones say more about the disk cache than about the network */
#define SMOOTH 0.3      /* weight of the newest sample */

void
pace_finish(struct pace *pace)
{
	free(pace->rows);
	*pace = (struct pace){ 0 };
}

static struct pace_row *
find(const struct pace *pace, const char *target)
{
	for (size_t i = 0; i < pace->count; i++)
		if (strcmp(pace->rows[i].target, target) == 0)
			return &pace->rows[i];
	return NULL;
}

static struct pace_row *
add(struct pace *pace, const char *target, int64_t now_ms)
{
	struct pace_row *row;

	if (pace->count == pace->capacity) {
		pace->capacity = pace->capacity ? pace->capacity * 2 : 16;
		pace->rows = xrealloc(pace->rows, pace->capacity * sizeof *pace->rows);
	}
	row = &pace->rows[pace->count++];
	*row = (struct pace_row){ .started_ms = now_ms, .sampled_ms = now_ms, .said_ms = now_ms };
	snprintf(row->target, sizeof row->target, "%s", target);
	return row;
}

/* Another stage counts something else: its pace starts anew. */
static void
enter_stage(struct pace_row *row, const struct event *event, int64_t now_ms)
{
	if (strcmp(row->stage, event->stage) == 0)
		return;
	snprintf(row->stage, sizeof row->stage, "%s", event->stage);
	snprintf(row->unit, sizeof row->unit, "%s", event->unit ? event->unit : "");
	row->rate = 0;
	row->sampled = event->done;
	row->sampled_ms = now_ms;
}

static void
sample(struct pace_row *row, int64_t now_ms)
{
	int64_t passed = now_ms - row->sampled_ms;
	double rate;

	if (passed < SAMPLE_MS || row->done < row->sampled)
		return;
	rate = (double)(row->done - row->sampled) * 1000 / (double)passed;
	row->rate = row->rate > 0 ? row->rate + SMOOTH * (rate - row->rate) : rate;
	row->sampled = row->done;
	row->sampled_ms = now_ms;
}

struct pace_row *
pace_note(struct pace *pace, const struct event *event, int64_t now_ms)
{
	struct pace_row *row = find(pace, event->target);

	if (!row)
		row = add(pace, event->target, now_ms);
	row->reverting = row->reverting || event->kind == EVENT_REVERTING;
	row->removing = row->removing || event->removes;
	if (event->kind != EVENT_PROGRESS || !event->stage)
		return row;
	enter_stage(row, event, now_ms);
	row->done = event->done;
	row->total = event->total;
	snprintf(row->file, sizeof row->file, "%s", event->file ? event->file : "");
	row->file_done = event->file_done;
	row->file_total = event->file_total;
	sample(row, now_ms);
	return row;
}

const struct pace_row *
pace_find(const struct pace *pace, const char *target)
{
	return find(pace, target);
}

void
pace_drop(struct pace *pace, const char *target)
{
	struct pace_row *row = find(pace, target);

	if (!row)
		return;
	if (pace_is_bytes(row))
		pace->bytes_ended += row->done;
	*row = pace->rows[--pace->count];
}

int64_t
pace_left(const struct pace_row *row)
{
	if (row->total == 0 || row->rate <= 0 || row->done > row->total)
		return -1;
	return (int64_t)((double)(row->total - row->done) * 1000 / row->rate);
}

bool
pace_is_bytes(const struct pace_row *row)
{
	return strcmp(row->unit, "bytes") == 0;
}
