/* diagnose_table.h - how failures of a server show in its log (vllm.md section 4): the place to teach it another one. */
#pragma once

#include <stddef.h>

#include "engine/base/fault.h"

#define LOG_ROWS_MOST 64

/* `{1}` in cause and hint is a group of `pattern`; in `also_hint` of `also`. */
struct log_row {
	const char *id;
	const char *pattern;   /* POSIX extended, on one line without colours and prefix */
	enum fault fault;
	const char *cause;
	const char *hint;
	const char *also;      /* a second pattern on the same line; if it matches, `also_hint` takes the hint's place */
	const char *also_hint;
	const char *after;     /* only if this text stood in an earlier line */
	const char *near;      /* only if this text stands within the few lines before */
	unsigned times;        /* only if it matches this often; 0: once */
};

/* In order of rank: the first row that matches anywhere in the log is the answer. The last one is what wraps any failure. */
extern const struct log_row log_rows[];
extern const size_t log_row_count;
