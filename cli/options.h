/* options.h - the table of options, and a command line read by it.
 *
 * Options may stand before or after operands; `--` ends them. The environment and the user's settings fill what the command line leaves
 * open, each value with its origin. Help and did-you-mean read the same table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/strings.h"

struct arena;
struct command;
struct node;

enum option_kind {
	OPTION_FLAG,     /* bool */
	OPTION_COUNT,    /* unsigned: how often it was given */
	OPTION_TEXT,     /* const char * */
	OPTION_LIST,     /* struct strings: repeatable */
	OPTION_PAIRS,    /* struct pairs: KEY=VALUE, repeatable */
	OPTION_CHOICE,   /* int: index into `choices` */
	OPTION_NUMBER,   /* int64_t */
	OPTION_DURATION, /* int64_t, milliseconds */
	OPTION_SIZE,     /* int64_t, bytes */
	OPTION_PART,     /* double, above 0 and at most 1 */
};

enum origin { ORIGIN_DEFAULT, ORIGIN_SYSTEM, ORIGIN_USER, ORIGIN_ENVIRONMENT, ORIGIN_OPTION };

enum progress { PROGRESS_AUTO, PROGRESS_TTY, PROGRESS_PLAIN, PROGRESS_NONE };
enum format { FORMAT_TEXT, FORMAT_DOT, FORMAT_JSON };

#define OPTIONS_MOST 64

struct options {
	const struct command *command; /* NULL: none was given */
	struct strings operands;

	bool help;
	const char *chdir;
	const char *cache;
	struct pairs sets;
	bool json;
	int colour;          /* enum choice */
	int progress;        /* enum progress */
	int diagnostics;     /* enum diagnostic_form */
	unsigned quiet;
	unsigned verbose;
	bool no_input;
	bool offline;
	bool ascii;
	int64_t max_errors;

	struct strings targets;
	struct strings excludes;
	struct strings replaces;
	bool refresh;
	bool deep;
	bool quick;
	bool detailed_exitcode;
	bool yes;
	bool no_fallback;
	int64_t keep_going;
	int64_t jobs;
	int64_t downloads;
	int64_t lock_timeout;
	int64_t grace;
	int64_t heartbeat;

	const char *run;
	const char *head;
	int format;          /* enum format */
	bool dot;

	const char *gpus;
	int64_t gpu_memory;
	int64_t gpu_count;
	int64_t max_model_len;
	int64_t max_num_seqs;
	double gpu_memory_utilization;
	int dtype;               /* index of preflight_dtypes */
	int kv_cache_dtype;      /* index of preflight_kv_dtypes */
	int mm_encoder_tp_mode;  /* enum shapes_encoder */
	const char *limit_mm_per_prompt;

	unsigned char origins[OPTIONS_MOST]; /* by row of the table: enum origin */
};

struct option {
	const char *name;             /* without the dashes */
	char letter;                  /* or 0 */
	enum option_kind kind;
	size_t offset;
	const char *argument;         /* name of its value in help; NULL where it takes none */
	const char *about;
	unsigned commands;            /* bits of enum command_id; 0: all */
	const char *const *choices;   /* ends with NULL */
	int64_t least, most;
	const char *fallback;         /* default as it would be written, or NULL: zero */
	const char *environment;      /* variable that sets it, or NULL */
	bool setting;                 /* may stand in the user's settings, under its name */
};

extern const struct option option_table[]; /* ends with a row without a name */

/* Read the command line. With `help` the rest of it was not looked at. Texts are borrowed from `argv` or live in the arena. */
bool options_parse(struct options *options, int argc, char *const *argv, struct arena *arena, struct error *err);

/* Fill what is still open from the environment. */
bool options_environment(
	struct options *options, const char *(*lookup)(const char *name), struct arena *arena, struct error *err);

/* Fill what is still open from a file of settings, one map of option names. */
bool options_settings(
	struct options *options, const struct node *map, enum origin origin, struct arena *arena, struct error *err);

/* The value of one row as text, for `version`; NULL if it is unset. */
const char *options_value(const struct options *options, const struct option *option, struct arena *arena);

const char *origin_name(enum origin origin);
