/* error.h - a failure as a value: what went wrong, where in the manifest, what to do.
 *
 * `true` is success. The fail functions return false, so that the line that finds a failure also leaves. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"

struct arena;

/* A place in a manifest. `file` is NULL for nowhere in particular; then line is 0. Columns count Unicode code points from 1. */
struct place {
	const char *file;
	uint32_t line;
	uint32_t column;
	uint32_t length; /* code points that a caret should underline; 0 or 1: one */
};

struct error {
	enum fault fault;
	struct place at;
	char text[480];
	char label[120]; /* words beside the caret; empty: none */
	char hint[300];  /* what to do about it; empty: nothing to say */
};

/* Errors gathered while loading and linking. Lives in its arena. */
struct errors {
	struct arena *arena;
	struct error *items;
	size_t count;
	size_t capacity;
};

/* The parentheses keep cmocka's macro of that name away; a test that includes both calls `(fail)(&err, ...)`. */
bool (fail)(struct error *err, enum fault fault, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool fail_at(struct error *err, struct place at, enum fault fault, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* As `fail`, with the text of errno behind it; the fault follows from errno: ENOENT E0301, ENOSPC, EDQUOT and EROFS E0906, EACCES and
 * EPERM E0907, else E0905. */
bool fail_errno(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Put the wider context in front: "context: text". */
bool error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What to do about it; the last one stays. Returns false. */
bool error_hint(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Words beside the caret. Returns false. */
bool error_label(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

void errors_init(struct errors *errors, struct arena *arena);
void errors_add(struct errors *errors, const struct error *err);

/* Sort by file, line and column; errors without a place last. */
void errors_sort(struct errors *errors);
