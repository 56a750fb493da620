#include "validate.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/names.h"
#include "engine/base/units.h"
#include "engine/task.h"

#define SHOWN 200         /* characters of an answer in a finding */
#define PIECE 20          /* characters */
#define REPEATS 8
#define ANSWER_LIMIT ((size_t)128 << 20) /* more than a response may have */
#define SEARCHED_FIRST ((size_t)128 << 10) /* bytes of an answer that patterns are looked for in: a search takes time by the square of its length */
#define SEARCHED_LAST ((size_t)64 << 10)
#define JUDGED ((size_t)256 << 10) /* bytes of an answer that are searched for repetition */

const char *
validate_shown(struct arena *arena, const char *text)
{
	struct buf out finally(buf_finish) = { 0 };
	size_t size = strlen(text);
	size_t at = 0;

	buf_init(&out, 8 * SHOWN);
	for (unsigned count = 0; at < size && count < SHOWN; count++) {
		unsigned char c = (unsigned char)text[at];
		size_t step = text_utf8(text + at, size - at);

		if (c == '\n' || c == '\t')
			buf_text(&out, c == '\n' ? "\\n" : "\\t");
		else if (step == 0 || c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[at + 1] < 0xa0))
			buf_printf(&out, "\\x%02x", c == 0xc2 && step ? (unsigned char)text[at + 1] : c);
		else
			buf_add(&out, text + at, step);
		at += step ? step : 1;
	}
	if (at < size)
		buf_text(&out, "\xe2\x80\xa6");
	return arena_copy_bytes(arena, out.data, out.size);
}

/* `\1`: no part of the extended syntax, though the C library knows it, and a search with it may never end. */
static bool
refers_back(const char *pattern)
{
	for (const char *at = pattern; *at; at++) {
		if (*at == '[') {
			at += at[1] == '^' ? 2 : 1;
			at += *at == ']';
			at += strcspn(at, "]");
			if (!*at)
				return false;
		} else if (*at == '\\' && at[1]) {
			at++;
			if (*at >= '1' && *at <= '9')
				return true;
		}
	}
	return false;
}

bool
validate_pattern_ok(const char *pattern, char *why, size_t size)
{
	regex_t regex;
	int code;

	if (refers_back(pattern)) {
		snprintf(why, size, "references back (`\\1`) are not supported");
		return false;
	}
	code = regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB);
	if (code != 0)
		regerror(code, &regex, why, size);
	else
		regfree(&regex);
	return code == 0;
}

bool
validate_matches(const char *pattern, const char *text)
{
	regex_t regex;
	bool found;

	if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return false;
	found = regexec(&regex, text, 0, NULL, 0) == 0;
	regfree(&regex);
	return found;
}

bool
validate_matches_answer(const char *pattern, const char *text)
{
	struct buf first finally(buf_finish) = { 0 };
	size_t size = strlen(text);

	if (size <= SEARCHED_FIRST)
		return validate_matches(pattern, text);
	buf_init(&first, SEARCHED_FIRST);
	buf_add(&first, text, SEARCHED_FIRST);
	return validate_matches(pattern, first.data) || validate_matches(pattern, text + size - SEARCHED_LAST);
}

static size_t
count_characters(const char *text)
{
	size_t size = strlen(text);
	size_t count = 0;

	for (size_t at = 0; at < size; count++) {
		size_t step = text_utf8(text + at, size - at);

		at += step ? step : 1;
	}
	return count;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Where the action begins, by the client's own rule: the first of these that is there at all. */
static size_t
action_offset(const char *text)
{
	static const char *const starts[] = { "finish(message=", "do(action=", "<answer>" };

	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		const char *start = strstr(text, starts[i]);

		if (start)
			return (size_t)(start - text);
	}
	return 0;
}

static void
add_without_tags(struct buf *out, const char *text, size_t size)
{
	static const char *const tags[] = { "<think>", "</think>", "<answer>", "</answer>" };

	for (size_t at = 0; at < size;) {
		size_t skip = 0;

		for (size_t i = 0; i < sizeof tags / sizeof *tags && skip == 0; i++)
			if (strncmp(text + at, tags[i], strlen(tags[i])) == 0)
				skip = strlen(tags[i]);
		if (skip == 0)
			buf_char(out, text[at]);
		at += skip ? skip : 1;
	}
}

const char *
validate_thinking(struct arena *arena, const struct answer *answer)
{
	struct buf out finally(buf_finish) = { 0 };
	size_t start = 0;

	buf_init(&out, ANSWER_LIMIT);
	if (answer->reasoning)
		add_without_tags(&out, answer->reasoning, strlen(answer->reasoning));
	add_without_tags(&out, answer->text, action_offset(answer->text));
	while (out.size > 0 && is_space(out.data[out.size - 1]))
		out.data[--out.size] = '\0';
	while (is_space(out.data[start]))
		start++;
	return arena_copy_bytes(arena, out.data + start, out.size - start);
}

/* Bytes of the next PIECE characters, 0 if there are fewer. */
static size_t
piece_size(const char *text, size_t size)
{
	size_t at = 0;

	for (unsigned i = 0; i < PIECE; i++) {
		size_t step;

		if (at >= size)
			return 0;
		step = text_utf8(text + at, size - at);
		at += step ? step : 1;
	}
	return at;
}

struct repeats {
	struct names names;
	unsigned *counts;   /* by id in `names` */
	size_t *ends;       /* where the last one that was counted ended */
	size_t capacity;
};

static void
repeats_finish(struct repeats *repeats)
{
	names_finish(&repeats->names);
	free(repeats->counts);
	free(repeats->ends);
}

/* Another piece; true if it is the last straw. Those that overlap count as one. */
static bool
add_piece(struct repeats *repeats, const char *text, size_t at, size_t size)
{
	size_t known = repeats->names.count;
	uint32_t id = names_add_n(&repeats->names, text + at, size);

	if (id >= repeats->capacity) {
		repeats->capacity = repeats->names.capacity;
		repeats->counts = xrealloc(repeats->counts, repeats->capacity * sizeof *repeats->counts);
		repeats->ends = xrealloc(repeats->ends, repeats->capacity * sizeof *repeats->ends);
	}
	if (id == known)
		repeats->counts[id] = 0;
	else if (at < repeats->ends[id])
		return false;
	repeats->ends[id] = at + size;
	return ++repeats->counts[id] >= REPEATS;
}

const char *
validate_repetition(struct arena *arena, const char *text)
{
	struct repeats repeats finally(repeats_finish) = { 0 };
	struct arena scratch finally(arena_finish) = { 0 };
	size_t size = strnlen(text, JUDGED);
	size_t at = 0;

	arena_init(&scratch);
	names_init(&repeats.names, &scratch);
	while (at < size) {
		size_t piece = piece_size(text + at, size - at);
		size_t step = text_utf8(text + at, size - at);

		if (piece == 0)
			return NULL;
		if (add_piece(&repeats, text, at, piece))
			return arena_copy_bytes(arena, text + at, piece);
		at += step ? step : 1;
	}
	return NULL;
}

static void
judge_words(struct session *session, const struct check *check, struct place at, const struct answer *answer)
{
	struct arena *arena = task_arena(session->task);
	const struct expect *expect = check->expect;
	const char *shown = validate_shown(arena, answer->text);

	for (size_t i = 0; i < expect->contains.count; i++)
		if (!strstr(answer->text, expect->contains.items[i]))
			validate_suspect(session, check, at, "the answer does not contain `%s`: `%s`", expect->contains.items[i], shown);
	for (size_t i = 0; i < expect->matches.count; i++)
		if (!validate_matches_answer(expect->matches.items[i], answer->text))
			validate_suspect(session, check, at, "the answer does not match `%s`: `%s`", expect->matches.items[i], shown);
	for (size_t i = 0; i < expect->not_contains.count; i++)
		if (strstr(answer->text, expect->not_contains.items[i]))
			validate_suspect(session, check, at, "the answer contains `%s`: `%s`", expect->not_contains.items[i], shown);
}

static void
judge_count(struct session *session, const struct check *check, struct place at, const char *what, int64_t least, int64_t count)
{
	if (least <= 0 || count >= least)
		return;
	if (count < 0)
		validate_suspect(session, check, at, "at least %lld %s are expected, and the server does not say how many there were", (long long)least, what);
	else
		validate_suspect(session, check, at, "at least %lld %s are expected, and there were %lld", (long long)least, what, (long long)count);
}

static bool
is_blank(const char *text)
{
	while (is_space(*text))
		text++;
	return !*text;
}

static void
judge_quality(struct session *session, const struct check *check, struct place at, const struct answer *answer)
{
	struct arena *arena = task_arena(session->task);
	const struct expect *expect = check->expect;
	const char *piece = expect->no_repetition ? validate_repetition(arena, answer->text) : NULL;
	struct finding *finding;

	if (answer->is_message && !answer->calls_tools && is_blank(answer->text) && (!answer->reasoning || is_blank(answer->reasoning))) {
		finding = validate_suspect(session, check, at, "the answer is empty");
		finding_help(task_findings(session->task), finding, "a chat template of another model, or a stop word that comes first: see the service's log");
	}
	if (piece) {
		finding = validate_suspect(session, check, at, "the answer repeats itself: `%s` at least %d times", validate_shown(arena, piece), REPEATS);
		finding_help(task_findings(session->task), finding, "a model that was damaged on its way, or sampling settings: compare with the model's own");
	}
	if (expect->valid_utf8 && strstr(answer->text, "\xef\xbf\xbd")) {
		finding = validate_suspect(session, check, at, "the answer holds characters that could not be decoded: `%s`", validate_shown(arena, answer->text));
		finding_help(task_findings(session->task), finding, "a wrong tokenizer, or one of another version than the weights");
	}
}

void
validate_judge(struct session *session, const struct check *check, struct place at, const struct answer *answer)
{
	struct arena *arena = task_arena(session->task);
	const struct expect *expect = check->expect;
	struct finding *finding;

	judge_words(session, check, at, answer);
	judge_count(session, check, at, "tokens", expect->min_tokens, answer->tokens);
	if (expect->min_prompt_tokens > 0 && answer->prompt_tokens < expect->min_prompt_tokens) {
		judge_count(session, check, at, "prompt tokens", expect->min_prompt_tokens, answer->prompt_tokens);
		finding = &task_findings(session->task)->items[task_findings(session->task)->count - 1];
		finding_help(task_findings(session->task), finding, "an image that was not seen by the model costs no tokens: look at its image settings");
	}
	judge_count(session, check, at, "characters of thinking", expect->min_thinking, (int64_t)count_characters(validate_thinking(arena, answer)));
	if (expect->finish_reason && !text_equal(expect->finish_reason, answer->finish_reason))
		validate_suspect(session, check, at, "finish_reason `%s` is expected, and it is `%s`", expect->finish_reason,
			answer->finish_reason ? validate_shown(arena, answer->finish_reason) : "absent");
	judge_quality(session, check, at, answer);
	if (expect->latency > 0 && answer->duration > expect->latency)
		validate_suspect(session, check, at, "an answer within %s is expected, and it took %s", units_show_duration(arena, expect->latency),
			units_show_duration(arena, answer->duration));
}
