#include "service_internal.h"

#include <stdio.h>
#include <string.h>

#include "client/http.h"
#include "diagnose.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "engine/task.h"

#define FIRST_PAUSE_MS 100
#define REQUEST_MS 5000
#define LOG_LIMIT (8u << 20)
#define LINE_LIMIT 1024

/* How far a server has come, by what it says: later rows are later stages. */
static const struct {
	const char *text;
	const char *stage;
} stages[] = {
	{ "Loading safetensors checkpoint shards", "loading weights" },
	{ "Starting to load model", "loading weights" },
	{ "Loading weights took", "warming up" },
	{ "Model loading took", "warming up" },
	{ "Capturing CUDA graphs", "warming up" },
	{ "Application startup complete", "port open" },
};

/* One instance on its way. */
struct follower {
	struct site *site;
	struct instance *instance;
	bool several;
	struct buf log;   /* the last few MiB, for diagnosis */
	struct buf line;  /* one that has not ended yet */
	bool ready;
	struct service_stage stage; /* told last */
	char answer[200]; /* why it is not ready, in the words of the last request */
};

struct followers {
	struct follower *items;
	size_t count;
	struct http http;
	int64_t started;
};

static void
followers_finish(struct followers *followers)
{
	for (size_t i = 0; i < followers->count; i++) {
		buf_finish(&followers->items[i].log);
		buf_finish(&followers->items[i].line);
	}
	http_finish(&followers->http);
}

bool
service_stage_of(const char *line, struct service_stage *stage)
{
	unsigned long long done, total;

	for (size_t i = sizeof stages / sizeof *stages; i-- > 0;) {
		const char *at = strstr(line, stages[i].text), *bar;
		if (!at)
			continue;
		*stage = (struct service_stage){ 0 };
		snprintf(stage->name, sizeof stage->name, "%s", stages[i].stage);
		/* "Loading safetensors checkpoint shards:  75% Completed | 3/4 [00:09<00:03]" */
		bar = strchr(at, '|');
		if (bar && sscanf(bar, "| %llu/%llu", &done, &total) == 2 && done <= total) {
			stage->done = done;
			stage->total = total;
		}
		return true;
	}
	return false;
}

static void
tell(struct follower *follower, const struct service_stage *stage)
{
	char text[80];

	follower->stage = *stage;
	if (follower->several)
		snprintf(text, sizeof text, "replica %d: %s", (int)follower->instance->replica, stage->name);
	else
		snprintf(text, sizeof text, "%s", stage->name);
	task_progress(follower->site->task, text, stage->done, stage->total, "parts");
}

static void
tell_name(struct follower *follower, const char *name)
{
	struct service_stage stage = { 0 };

	snprintf(stage.name, sizeof stage.name, "%s", name);
	tell(follower, &stage);
}

/* The beginning goes when there is too much: what ended a server stands at the end. */
static void
remember(struct buf *log, const char *bytes, size_t size)
{
	if (log->size + size > LOG_LIMIT) {
		struct buf tail finally(buf_finish) = { 0 };

		buf_init(&tail, LOG_LIMIT / 2);
		buf_add(&tail, log->data + log->size / 2, log->size - log->size / 2);
		buf_clear(log);
		buf_add(log, tail.data, tail.size);
	}
	buf_add(log, bytes, size);
}

/* Bytes of the log: into the run's log, into memory for diagnosis, and line by line for the progress. */
static void
take_log(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct follower *follower = context;
	struct service_stage stage;

	task_log_bytes(follower->site->task, is_stderr, bytes, size);
	remember(&follower->log, bytes, size);
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != '\n' && bytes[i] != '\r') {
			buf_char(&follower->line, bytes[i] ? bytes[i] : ' ');
			continue;
		}
		if (service_stage_of(follower->line.data, &stage))
			tell(follower, &stage);
		buf_clear(&follower->line);
	}
}

static const char *
who(const struct follower *follower)
{
	return follower->several ? arena_printf(follower->site->arena, "replica %d", (int)follower->instance->replica) : "the service";
}

static const char *
ending(const struct instance_state *state, struct arena *arena)
{
	if (state->out_of_memory)
		return " (killed: out of memory)";
	if (state->signal)
		return arena_printf(arena, " (signal %d)", state->signal);
	if (!state->known)
		return "";
	/* The engine reports a signal as 128 and its number. */
	if (state->exit_code > 128 && state->exit_code < 160)
		return arena_printf(arena, " (exit %d: signal %d)", state->exit_code, state->exit_code - 128);
	return arena_printf(arena, " (exit %d)", state->exit_code);
}

/* The reason that the log knows, or the one that the engine does, as the error. */
static bool
fail_ended(struct follower *follower, const struct instance_state *state, struct error *err)
{
	struct arena *arena = follower->site->arena;
	struct diagnosis found;
	struct error ignored;

	/* A container that was removed has no log any more; what was read before is all there is. */
	follower->instance->runtime->read_log(follower->site, follower->instance, take_log, follower, &ignored);
	diagnose(follower->log.data, follower->log.size, arena, &found);
	const char *cause = found.id && found.cause ? arena_printf(arena, ": %s", found.cause) : "";
	const char *last = found.evidence ? arena_printf(arena, "; log: %s", found.evidence) : state->detail ? arena_printf(arena, "; %s", state->detail) : "";
	fail(err, found.id ? found.fault : FAULT_START, "%s ended before it was ready%s%s%s", who(follower), ending(state, arena), cause, last);
	if (found.hint)
		return error_hint(err, "%s", found.hint);
	if (state->out_of_memory)
		return error_hint(err, "the host has too little memory for it, or its limit is too low");
	return error_hint(err, "read its log: provision logs %s", task_target(follower->site->task));
}

static bool
fail_late(struct follower *follower, struct error *err)
{
	struct arena *arena = follower->site->arena;
	const struct instance *instance = follower->instance;
	struct diagnosis found;

	diagnose(follower->log.data, follower->log.size, arena, &found);
	const char *cause = found.id && found.cause ? arena_printf(arena, ": %s", found.cause) : "";
	const char *last = found.evidence ? arena_printf(arena, "; log: %s", found.evidence) : "";
	fail(err, FAULT_NOT_READY, "%s was not ready within %s: GET %s %s%s%s", who(follower), units_show_duration(arena, instance->ready.timeout),
		instance_url(instance, instance->ready.path, arena), *follower->answer ? follower->answer : "gave no answer", cause, last);
	if (found.id && found.hint)
		return error_hint(err, "%s", found.hint);
	if (strcmp(follower->answer, "answered 404") == 0)
		return error_hint(err, "name what the server does answer with 200: `ready: {path}`");
	return error_hint(err, "raise `ready: {timeout}` if it only needs longer, or read its log: provision logs %s", task_target(follower->site->task));
}

static bool
ask(struct followers *followers, struct follower *follower, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	const struct instance *instance = follower->instance;
	const struct http_request request = {
		.url = instance_url(instance, instance->ready.path, follower->site->arena),
		.timeout_ms = REQUEST_MS, .connect_timeout_ms = REQUEST_MS, .limit = 1u << 20,
		.no_redirect = true, .no_proxy = true, .insecure_http = true,
	};
	struct error not_yet = { 0 };

	/* Refused, reset and empty replies are all the same: not yet. */
	if (!http_do(&followers->http, &request, follower->site->arena, &response, &not_yet)) {
		if (not_yet.fault == FAULT_INTERRUPTED) {
			*err = not_yet;
			return false;
		}
		snprintf(follower->answer, sizeof follower->answer, "failed (%.150s)", not_yet.text);
		return true;
	}
	snprintf(follower->answer, sizeof follower->answer, "answered %ld", response.status);
	if (response.status != 200) {
		snprintf(follower->stage.name, sizeof follower->stage.name, "answers %ld, not 200", response.status);
		follower->stage.done = follower->stage.total = 0;
		return true;
	}
	if (!instance->runtime->became_ready(follower->site, follower->instance, err))
		return false;
	follower->ready = true;
	tell_name(follower, "health 200");
	follower->instance->ready_ms = clock_monotonic_ms() - followers->started + 1; /* 0 means that it never was */
	return true;
}

static bool
attend(struct followers *followers, struct follower *follower, struct error *err)
{
	const struct runtime *runtime = follower->instance->runtime;
	struct instance_state state;

	if (!runtime->look(follower->site, follower->instance, &state, err))
		return false;
	if (!state.running)
		return fail_ended(follower, &state, err);
	if (follower->ready)
		return true;
	if (!runtime->read_log(follower->site, follower->instance, take_log, follower, err) || !ask(followers, follower, err))
		return false;
	if (follower->ready)
		return true;
	if (clock_monotonic_ms() - followers->started >= follower->instance->ready.timeout)
		return fail_late(follower, err);
	/* Told again, so that who watches sees that somebody still asks. */
	struct service_stage stage = follower->stage;
	tell(follower, &stage);
	return true;
}

/* One round over all. */
static bool
attend_all(struct followers *followers, bool *all_ready, struct error *err)
{
	*all_ready = true;
	for (size_t i = 0; i < followers->count; i++) {
		if (!attend(followers, &followers->items[i], err))
			return false;
		*all_ready &= followers->items[i].ready;
	}
	return true;
}

bool
service_wait_ready(struct site *site, struct instances *instances, struct error *err)
{
	struct followers followers finally(followers_finish) = { .started = clock_monotonic_ms() };
	int64_t pause = FIRST_PAUSE_MS;
	bool all_ready = false;

	if (!http_init(&followers.http, site->cancel, err))
		return false;
	followers.items = arena_array(site->arena, instances->count, sizeof *followers.items);
	for (; followers.count < instances->count; followers.count++) {
		struct follower *follower = &followers.items[followers.count];
		*follower = (struct follower){ .site = site, .instance = &instances->items[followers.count], .several = instances->count > 1 };
		buf_init(&follower->log, LOG_LIMIT);
		buf_init(&follower->line, LINE_LIMIT);
		tell_name(follower, follower->instance->runtime == &docker_runtime ? "container up" : "process up");
	}
	while (attend_all(&followers, &all_ready, err)) {
		if (all_ready)
			return true;
		clock_sleep_ms(pause, site->cancel);
		if (site->cancel && *site->cancel)
			return fail(err, FAULT_INTERRUPTED, "interrupted while the service was starting");
		pause += pause / 2;
		if (pause > instances->items[0].ready.interval)
			pause = instances->items[0].ready.interval;
	}
	return false;
}
