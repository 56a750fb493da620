/* diagnose.h - table of log patterns -> cause, hint and failure class (vllm.md section 4). Knows no service. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/fault.h"

struct arena;

#define DIAGNOSIS_LINES 5

struct diagnosis {
	const char *id;        /* "F06"; NULL: unknown */
	const char *cause;
	const char *hint;
	const char *evidence;  /* the line of the log, without colours and prefix */
	enum fault fault;      /* whose class is what `fallback: on:` means */
	const char *last[DIAGNOSIS_LINES]; /* the last lines that look like an error, oldest first */
	size_t last_count;
};

/* Read a whole log. Specific rows win over generic ones wherever they stand. Unknown: the last line that looks like an error is the evidence. */
void diagnose(const char *log, size_t size, struct arena *arena, struct diagnosis *diagnosis);
