/* words.h - the words for what the engine says with numbers: reasons, kinds of action, sentences about one target.
 *
 * The words of reasons are fixed, so that they can be searched and counted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "colour.h"
#include "engine/plan.h"

struct arena;
struct event;
struct pace_row;

/* How a kind of action is shown. */
struct action_words {
	const char *symbol;  /* three columns */
	enum style style;
	const char *id;      /* of the JSON stream */
	const char *count;   /* in a verdict: "to redo" */
};

const struct action_words *words_action(enum action_kind kind);

/* "never built", "input changed" ... */
const char *words_reason(enum reason reason);

/* What sentences about the actions of one plan are made from. */
struct words {
	const struct plan *plan;
	const char **blocker;  /* by target id: the refused target behind which it stands; NULL where nothing refuses */
	struct arena *arena;
};

void words_init(struct words *words, const struct plan *plan, struct arena *arena);

/* The reason and what it is about: "input changed: docker/Dockerfile". */
const char *words_sentence(const struct words *words, const struct action *action);

/* What was said of a first-hand cause: "line 7: a -> b", "25480 -> 16384"; NULL if there is nothing to show. */
const char *words_cause(const struct cause *cause, struct arena *arena);

/* A duration that is a forecast, so coarser: "40 s", "2 m 10 s", "14 m". */
const char *words_forecast(struct arena *arena, int64_t milliseconds);

/* How far and how fast: "12.8 / 20.6 GB, 44 MB/s, 2 m 57 s left"; NULL where there is no number. */
const char *words_progress(const struct pace_row *row, const char *between, struct arena *arena);

/* What became of a target: "18 files, 20.6 GB", "passed", "ended before it was ready (E0803)". `row`: as it ran, or NULL. */
const char *words_ended(const struct event *event, const struct pace_row *row, bool check, struct arena *arena);

/* "1 target", "2 targets". */
const char *words_count(struct arena *arena, uint64_t count, const char *one, const char *many);

/* Text cut to `columns`, with an ellipsis of ASCII. */
const char *words_cut(struct arena *arena, const char *text, size_t columns);

/* `weights, image and 3 more`: at most `most` of the names. */
const char *words_list(struct arena *arena, const char *const *names, size_t count, size_t most);
