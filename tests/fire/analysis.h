/* analysis.h - included before each file that a checker reads: what it cannot see, since it looks at one file at a time. */
#pragma once

#include "engine/base/error.h"

/* These return false: said in an expression of its own, since a checker does not look into every function. */
#define fail(...) __extension__({ (void)(fail)(__VA_ARGS__); (bool)false; })
#define fail_at(...) __extension__({ (void)(fail_at)(__VA_ARGS__); (bool)false; })
#define fail_errno(...) __extension__({ (void)(fail_errno)(__VA_ARGS__); (bool)false; })
#define error_wrap(...) __extension__({ (void)(error_wrap)(__VA_ARGS__); (bool)false; })
#define error_hint(...) __extension__({ (void)(error_hint)(__VA_ARGS__); (bool)false; })
#define error_label(...) __extension__({ (void)(error_label)(__VA_ARGS__); (bool)false; })
