/* preflight_report.h - what preflight_report.c says of the shapes that were judged; worked out in preflight_shapes.c. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "preflight.h"

/* Sizes are offered up to this, where the number of GPUs is not known. */
#define SIZES_OFFERED 8
#define SHAPES_SHOWN 8

struct report {
	const struct answer *answer;
	const struct fit *fit;
	struct task *task;
	struct arena *arena;
	struct findings *findings;
	struct fit *sizes;        /* tensor parallel 1.. alone, on all GPUs of the machine */
	size_t size_count;
	struct fit *shapes;       /* all on the GPUs that may be used, best first */
	size_t shape_count;
};

/* What a failed condition is called among others, and which parameter it belongs to. */
struct report_kind {
	enum fit_rule rule;
	enum fault fault;
	const char *word;         /* for machines */
	const char *noun;         /* "neither do %s%lld%s" */
	const char *behind;
	const char *param;
};

const struct report_kind *report_kind(enum fit_rule rule);

/* Judge the other sizes and shapes, for the rest of these. */
void report_try_others(struct report *report);

/* "1 (tight), 2, 4"; "" if none works. */
const char *report_sizes_text(const struct report *report);
const char *report_shapes_text(const struct report *report);

/* All GPUs that may be used as one instance by stages; or NULL. */
const struct fit *report_by_stages(const struct report *report);

/* For machines: JSON. */
const char *report_data_of(const struct report *report);
