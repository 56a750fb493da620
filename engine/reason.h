/* reason.h - why a target is not up to date. The words are cli/report's. */
#pragma once

enum reason {
	REASON_NONE = 0,          /* up to date */
	REASON_NEVER_BUILT,
	REASON_ASKED_FOR,         /* --replace */
	REASON_INPUT_CHANGED,
	REASON_PARAMETER_CHANGED,
	REASON_UPSTREAM_MOVED,    /* with --refresh */
	REASON_OUTPUT_MISSING,
	REASON_OUTPUT_DIFFERS,
	REASON_DEPENDENCY,        /* dependency will change */
	REASON_NEED_MENDED,       /* something live, and what it needs was put right after it started: it may hold what was wrong */
	REASON_RULE_VERSION,
	REASON_CONTAINER_GONE,    /* or the process */
	REASON_CONTAINER_NOT_OURS,
	REASON_UNKNOWN_UNTIL,
	REASON_NOT_WANTED,        /* recorded, but the manifest has it no more */
	REASON_COUNT,
};

/* "never_built", "input_changed" ...: ids of the JSON stream; the words on screen are these with spaces. */
const char *reason_id(enum reason reason);
