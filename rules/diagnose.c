#include "diagnose.h"

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "diagnose_memory.h"
#include "diagnose_table.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"

#define LINE_LIMIT 16384
#define EVIDENCE_LIMIT 400
#define GROUPS 4
#define CONTEXT_LINES 16

/* Lines that say what happened when no row knows them, best first. */
static const char *const error_patterns[] = {
	"^([A-Za-z_][A-Za-z0-9_]*\\.)*[A-Z][A-Za-z0-9_]*(Error|Exception|Exit|Interrupt)(:|$)",
	"[Ee]rror|ERROR|FATAL|[Ff]atal|panic|CRITICAL|Killed|Segmentation fault|[Ee]xception|not found|[Ff]ailed",
	"[^ ]",
};

#define ERRORS (sizeof error_patterns / sizeof *error_patterns)

/* One reading of one log. */
struct reading {
	struct arena *arena;
	regex_t rows[LOG_ROWS_MOST];
	regex_t any;             /* of them: most lines match none, and one look tells */
	regex_t errors[ERRORS];
	bool compiled;
	bool after[LOG_ROWS_MOST];        /* the row's `after` was seen */
	unsigned seen[LOG_ROWS_MOST];
	char last[ERRORS][EVIDENCE_LIMIT + 4];
	char recent[CONTEXT_LINES][160];
	size_t lines;
	size_t best;             /* row; log_row_count: none yet */
	char failures[DIAGNOSIS_LINES][EVIDENCE_LIMIT + 4]; /* the last lines that look like an error, in a ring */
	size_t failure_count;
	struct log_numbers numbers;
	struct diagnosis found;
};

static void
reading_finish(struct reading *reading)
{
	for (size_t i = 0; reading->compiled && i < log_row_count; i++)
		regfree(&reading->rows[i]);
	if (reading->compiled)
		regfree(&reading->any);
	for (size_t i = 0; reading->compiled && i < ERRORS; i++)
		regfree(&reading->errors[i]);
}

static int
compile_any(regex_t *any)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, 1 << 16);
	for (size_t i = 0; i < log_row_count; i++)
		buf_printf(&text, "%s(%s)", i ? "|" : "", log_rows[i].pattern);
	return regcomp(any, text.data, REG_EXTENDED | REG_NOSUB);
}

/* The patterns are our own and correct, so that only memory can be missing. */
static void
reading_init(struct reading *reading, struct arena *arena)
{
	int bad = 0;

	*reading = (struct reading){ .arena = arena, .best = log_row_count };
	for (size_t i = 0; i < log_row_count; i++)
		bad |= regcomp(&reading->rows[i], log_rows[i].pattern, REG_EXTENDED);
	for (size_t i = 0; i < ERRORS; i++)
		bad |= regcomp(&reading->errors[i], error_patterns[i], REG_EXTENDED | REG_NOSUB);
	bad |= compile_any(&reading->any);
	if (bad)
		out_of_memory();
	reading->compiled = true;
}

/* `template` with its groups filled in. */
static const char *
fill(struct arena *arena, const char *template, const char *line, const regmatch_t *groups)
{
	struct buf text finally(buf_finish) = { 0 };

	if (!template)
		return NULL;
	buf_init(&text, 1024);
	for (const char *at = template; *at; at++) {
		if (*at != '{' || at[1] < '1' || at[1] >= '0' + GROUPS || at[2] != '}') {
			buf_char(&text, *at);
			continue;
		}
		const regmatch_t *group = &groups[at[1] - '0'];
		if (group->rm_so >= 0)
			buf_add(&text, line + group->rm_so, (size_t)(group->rm_eo - group->rm_so));
		at += 2;
	}
	return arena_copy(arena, text.data);
}

static void
shorten(char text[EVIDENCE_LIMIT + 4], const char *line)
{
	snprintf(text, EVIDENCE_LIMIT + 4, "%.*s%s", EVIDENCE_LIMIT, line, strlen(line) > EVIDENCE_LIMIT ? "..." : "");
}

static bool
is_near(const struct reading *reading, const char *text)
{
	for (size_t i = 0; i < CONTEXT_LINES; i++)
		if (strstr(reading->recent[i], text))
			return true;
	return false;
}

static void
take_row(struct reading *reading, size_t which, const char *line, const regmatch_t *groups)
{
	const struct log_row *row = &log_rows[which];
	regmatch_t also_groups[GROUPS];
	regex_t also;
	char evidence[EVIDENCE_LIMIT + 4];
	const char *hint = fill(reading->arena, row->hint, line, groups);

	if (row->also && regcomp(&also, row->also, REG_EXTENDED) == 0) {
		if (regexec(&also, line, GROUPS, also_groups, 0) == 0)
			hint = fill(reading->arena, row->also_hint, line, also_groups);
		regfree(&also);
	}
	shorten(evidence, line);
	reading->best = which;
	reading->found = (struct diagnosis){
		.id = row->id,
		.cause = fill(reading->arena, row->cause, line, groups),
		.hint = hint,
		.evidence = arena_copy(reading->arena, evidence),
		.fault = row->fault,
	};
}

/* The wrapper's own line tells nothing that a traceback before it does not tell better. */
static bool
is_wrapper(const struct reading *reading, const char *line)
{
	return regexec(&reading->rows[log_row_count - 1], line, 0, NULL, 0) == 0;
}

static void
note_failure(struct reading *reading, const char *line)
{
	for (size_t i = 0; i < ERRORS; i++) {
		bool is_last = i + 1 == ERRORS;

		if (regexec(&reading->errors[i], line, 0, NULL, 0) != 0)
			continue;
		if (is_last || !is_wrapper(reading, line))
			shorten(reading->last[i], line);
		if (!is_last)
			shorten(reading->failures[reading->failure_count++ % DIAGNOSIS_LINES], line);
		break;
	}
}

static void
match_rows(struct reading *reading, const char *line)
{
	regmatch_t groups[GROUPS];

	for (size_t i = 0; i < reading->best; i++) {
		const struct log_row *row = &log_rows[i];

		if (row->after && !reading->after[i])
			continue;
		if (regexec(&reading->rows[i], line, GROUPS, groups, 0) != 0 || (row->near && !is_near(reading, row->near)))
			continue;
		if (++reading->seen[i] >= row->times)
			take_row(reading, i, line, groups);
	}
}

static void
read_line(struct reading *reading, const char *line)
{
	if (regexec(&reading->any, line, 0, NULL, 0) == 0)
		match_rows(reading, line);
	for (size_t i = 0; i < reading->best && i < log_row_count; i++)
		if (log_rows[i].after && !reading->after[i])
			reading->after[i] = strstr(line, log_rows[i].after) != NULL;
	note_failure(reading, line);
	numbers_read(&reading->numbers, line);
	char *recent = reading->recent[reading->lines++ % CONTEXT_LINES];
	memccpy(recent, line, '\0', sizeof *reading->recent - 1);
}

/* Behind an escape sequence that begins at `at`. */
static const char *
skip_escape(const char *at, const char *end)
{
	at++;
	if (at < end && *at == '[') {
		at++;
		while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x40)
			at++;
	}
	return at < end ? at + 1 : end;
}

/* Behind `vllm-1  | `, which Compose writes before each line. */
static const char *
skip_service(const char *line)
{
	size_t word = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
	const char *bar = line + word + strspn(line + word, " ");

	return word > 0 && bar > line + word && bar[0] == '|' && bar[1] == ' ' ? bar + 2 : line;
}

/* Behind `(Worker_TP0 pid=123) ` and `ERROR 11-22 10:04:31 [core.py:600] `, as often as they stand there. */
static const char *
skip_prefix(const char *line)
{
	static const char *const levels[] = { "DEBUG ", "INFO ", "WARNING ", "ERROR ", "CRITICAL " };

	line = skip_service(line);
	for (const char *before = NULL; before != line;) {
		before = line;
		const char *close = *line == '(' ? strstr(line, ") ") : NULL;
		const char *pid = *line == '(' ? strstr(line, " pid=") : NULL;
		if (pid && close && pid < close)
			line = close + 2;
		for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
			size_t length = strlen(levels[i]);
			const char *bracket = strncmp(line, levels[i], length) == 0 && isdigit((unsigned char)line[length]) ? strstr(line, "] ") : NULL;
			if (bracket)
				line = bracket + 2;
		}
		line += strspn(line, " ");
	}
	return line;
}

/* Without escape sequences, control characters, and spaces at its end. */
static void
clean(struct buf *text, const char *line, const char *end)
{
	size_t spaces = 0;

	buf_clear(text);
	while (line < end) {
		if (*line == '\033') {
			line = skip_escape(line, end);
		} else if ((unsigned char)*line++ <= ' ') {
			spaces++;
		} else {
			for (; spaces; spaces--)
				buf_char(text, ' ');
			buf_char(text, line[-1]);
		}
	}
}

static void
take_failures(const struct reading *reading, struct diagnosis *diagnosis)
{
	size_t count = reading->failure_count < DIAGNOSIS_LINES ? reading->failure_count : DIAGNOSIS_LINES;

	for (size_t i = 0; i < count; i++)
		diagnosis->last[i] = reading->failures[(reading->failure_count - count + i) % DIAGNOSIS_LINES];
	diagnosis->last_count = count;
	if (count == 0 && diagnosis->evidence)
		diagnosis->last[diagnosis->last_count++] = diagnosis->evidence;
}

static void
conclude(struct reading *reading, struct diagnosis *diagnosis)
{
	bool known = reading->best < log_row_count;
	const char *advice = known ? numbers_advice(&reading->numbers, log_rows[reading->best].id, reading->arena) : NULL;

	*diagnosis = known ? reading->found : (struct diagnosis){ .fault = FAULT_START };
	if (advice)
		diagnosis->hint = advice;
	for (size_t i = 0; reading->best + 1 >= log_row_count && i < ERRORS; i++) {
		/* Of a wrapper the traceback's own line is better evidence; the last line of all is not. */
		if (*reading->last[i] && (!known || i == 0)) {
			diagnosis->evidence = reading->last[i];
			break;
		}
	}
	take_failures(reading, diagnosis);
}

void
diagnose(const char *log, size_t size, struct arena *arena, struct diagnosis *diagnosis)
{
	struct reading *reading = arena_alloc(arena, sizeof *reading);
	struct buf line finally(buf_finish) = { 0 };
	const char *end = log + size;

	reading_init(reading, arena);
	buf_init(&line, LINE_LIMIT);
	for (const char *at = log; at < end;) {
		const char *stop = at;
		while (stop < end && *stop != '\n' && *stop != '\r')
			stop++;
		clean(&line, at, stop);
		if (line.size)
			read_line(reading, skip_prefix(line.data));
		at = stop + 1;
	}
	conclude(reading, diagnosis);
	reading_finish(reading);
}
