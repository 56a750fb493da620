/* diagnostic.h - errors and findings as people, editors and machines read them.
 *
 * The human form is that of rustc: level and code, the place with its source line and a caret, notes, helps. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "engine/base/finding.h"

struct buf;
struct out;
struct sources;

enum diagnostic_form { DIAGNOSTIC_HUMAN, DIAGNOSTIC_SHORT, DIAGNOSTIC_JSON, DIAGNOSTIC_GITHUB };

/* What the human form starts with: a warning, if a feasible fallback covers the error. */
struct diagnostic {
	const struct finding *finding;
	const struct sources *sources; /* to show lines of; may be NULL */
	bool covered;                  /* an error that a fallback covers: a warning with the same code */
	const char *aside;             /* behind the text: "fallback 1 covers it"; or NULL */
};

bool diagnostic_is_error(const struct diagnostic *diagnostic);

void diagnostic_print(struct out *out, enum diagnostic_form form, const struct diagnostic *diagnostic);

/* Members of the JSON form but `seq` and `ts`. The caller owns it. */
json_t *diagnostic_json(const struct diagnostic *diagnostic);

/* Text as a JSON string; what is no UTF-8 is escaped, since JSON cannot carry it. */
json_t *diagnostic_json_text(const char *text);
