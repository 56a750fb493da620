/* analysis.h - included before each file that a checker reads: what it cannot see, since it looks at one file at a time. */
#pragma once

#include "engine/base/error.h"

static inline bool
analysis_false(bool result)
{
	return result && false;
}

/* These return false. */
#define fail(...) analysis_false((fail)(__VA_ARGS__))
#define fail_at(...) analysis_false((fail_at)(__VA_ARGS__))
#define fail_errno(...) analysis_false((fail_errno)(__VA_ARGS__))
#define error_wrap(...) analysis_false((error_wrap)(__VA_ARGS__))
#define error_hint(...) analysis_false((error_hint)(__VA_ARGS__))
#define error_label(...) analysis_false((error_label)(__VA_ARGS__))
