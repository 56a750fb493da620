/* jsonl.h - the JSON stream: one object a line, numbered without gaps, flushed per event.
 *
 * The first line is always `version`. Members: `type`, `seq`, `ts`, and what the event has. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/apply.h"
#include "pace.h"

struct arena;
struct diagnostic;
struct lock_holder;
struct out;
struct sources;

struct jsonl {
	struct out *out;
	struct arena *arena;
	const char *command;
	const char *manifest; /* as shown; NULL: none */
	const char *run;      /* NULL: none */
	const struct sources *sources; /* of the manifest in hand, for diagnostics; or NULL */
	int64_t seq;
	struct pace pace;
	bool logs;            /* `target_log` too */
};

void jsonl_init(struct jsonl *jsonl, struct out *out, struct arena *arena, const char *command);
void jsonl_finish(struct jsonl *jsonl);

/* Add one event, whose other members are given; it is released. */
void jsonl_emit(struct jsonl *jsonl, json_t *event);

void jsonl_diagnostic(struct jsonl *jsonl, const struct diagnostic *diagnostic);

/* `target_planned` for each action, then `plan_summary`. */
void jsonl_plan(struct jsonl *jsonl, const struct plan *plan);

void jsonl_fallback(struct jsonl *jsonl, const char *from, const char *to, size_t index, const char *because);
void jsonl_lock_wait(struct jsonl *jsonl, const struct lock_holder *holder);

/* What a watcher of the engine calls with `self` a struct jsonl. */
void jsonl_event(void *self, const struct event *event);

struct jsonl_summary {
	const char *result;  /* ok, failed, interrupted, declined */
	int status;
	uint32_t changed, failed;
	int64_t duration;    /* ms */
	int64_t downtime;    /* ms; -1: not known */
	uint64_t downloaded;
	size_t fallback;     /* index; 0: none */
};

void jsonl_summary(struct jsonl *jsonl, const struct jsonl_summary *summary);
