/* finding.h - what a check found: the parts of a verdict.
 *
 * A check that fails is no error. Its verdict is a list of findings, each in the shape of a diagnostic. Text lives in the list's arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct finding {
	enum fault fault;
	bool late;                /* only the work itself could find it: no plan has told it */
	bool advice;              /* does not fail the check, whatever the code's letter */
	struct place at;
	const char *text;         /* one sentence, what is wrong */
	const char *label;        /* words beside the caret, or NULL */
	const char *notes[6];     /* facts that help to understand; NULL ends the list */
	const char *helps[6];     /* what to do; NULL ends the list */
	const char *data;         /* JSON object for machines, or NULL */
};

struct findings {
	struct arena *arena;
	struct finding *items;
	size_t count;
	size_t capacity;
};

void findings_init(struct findings *findings, struct arena *arena);

/* Append and return it for notes and helps to be added. */
struct finding *findings_add(struct findings *findings, enum fault fault, struct place at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void finding_label(struct findings *findings, struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void finding_note(struct findings *findings, struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void finding_help(struct findings *findings, struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* An error as a finding. */
struct finding *findings_add_error(struct findings *findings, const struct error *err);

/* Whether one of them refuses: code E and not advice. */
bool findings_refuse(const struct findings *findings);
