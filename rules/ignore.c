#include "ignore.h"

#include <stdint.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/strings.h"

#define LINE_LIMIT (64u << 10)

enum token_kind {
	TOKEN_CHARACTER, /* itself */
	TOKEN_ANY,       /* `?`: one character, no slash */
	TOKEN_STAR,      /* `*`: any number of characters, no slash */
	TOKEN_DEEP,      /* `**` with something behind it: nothing, or anything up to a slash */
	TOKEN_ALL,       /* `**` at the end, or at the start of a plain name: anything */
	TOKEN_CLASS,     /* `[a-z]` */
};

/* A character is its UTF-8 bytes, at most four, so that numbers compare like code points of equal length. */
struct token {
	enum token_kind kind;
	uint32_t character;
	const char *set; /* of TOKEN_CLASS: what stands behind `[` */
};

struct ignore_rule {
	const char *pattern; /* cleaned */
	bool brings_back;
	struct token *tokens;
	size_t count;
};

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
trim(const char **text, size_t *size)
{
	while (*size > 0 && is_space((*text)[*size - 1]))
		(*size)--;
	while (*size > 0 && is_space(**text)) {
		(*text)++;
		(*size)--;
	}
}

/* Drop the last component of what is there so far. False if there is none that `..` could take back. */
static bool
go_up(const char *out, size_t *used)
{
	size_t at = *used;

	while (at > 0 && out[at - 1] != '/')
		at--;
	if (*used == 0 || (*used - at == 2 && memcmp(out + at, "..", 2) == 0))
		return false;
	*used = at > 0 ? at - 1 : 0;
	return true;
}

/* Without doubled slashes, `.` and `..`, as Go's filepath.Clean does, and without the slash in front: patterns count from the context's root. A `..` that leaves it
 * stays and matches nothing. */
static const char *
clean(struct arena *arena, const char *text, size_t size)
{
	bool rooted = size > 0 && *text == '/';
	char *out = arena_alloc(arena, size + 2);
	size_t used = 0;

	while (size > 0) {
		const char *slash = memchr(text, '/', size);
		size_t length = slash ? (size_t)(slash - text) : size;
		bool up = length == 2 && memcmp(text, "..", 2) == 0;

		bool here = length == 0 || (length == 1 && *text == '.');

		/* At the root `..` leads nowhere. */
		if (!here && !(up && (go_up(out, &used) || rooted))) {
			if (used > 0)
				out[used++] = '/';
			memcpy(out + used, text, length);
			used += length;
		}
		length += slash != NULL;
		text += length;
		size -= length;
	}
	out[used] = '\0';
	return out;
}

/* The character at `*text`, which moves behind it; a byte that is no UTF-8 stands for itself. */
static uint32_t
next_character(const char **text)
{
	size_t length = text_utf8(*text, strnlen(*text, 4));
	uint32_t character = 0;

	length = length ? length : 1;
	for (size_t i = 0; i < length; i++)
		character = character << 8 | (unsigned char)(*text)[i];
	*text += length;
	return character;
}

/* One end of a range in a class, which an escape may hide. False where a class cannot go on. */
static bool
class_character(const char **at, uint32_t *character)
{
	if (**at == '\\')
		(*at)++;
	else if (**at == '-' || **at == ']')
		return false;
	if (!**at)
		return false;
	*character = next_character(at);
	return true;
}

/* From behind `[` to behind `]`; false if that is no class (Go's filepath.Match refuses it too). With `wanted` also says whether it is in. */
static bool
read_class(const char **at, uint32_t wanted, bool *in)
{
	bool negated = **at == '^';
	bool found = false;
	size_t ranges = 0;

	*at += negated;
	while (ranges == 0 || **at != ']') {
		uint32_t low, high;

		if (!class_character(at, &low))
			return false;
		high = low;
		if (**at == '-') {
			(*at)++;
			if (!class_character(at, &high))
				return false;
		}
		found = found || (low <= wanted && wanted <= high);
		ranges++;
	}
	(*at)++;
	*in = found != negated;
	return true;
}

static void
add_token(struct ignore_rule *rule, enum token_kind kind, uint32_t character)
{
	rule->tokens[rule->count++] = (struct token){ .kind = kind, .character = character };
}

static void
add_stars(struct ignore_rule *rule, const char **at)
{
	bool first = *at == rule->pattern;

	(*at)++;
	if (**at != '*') {
		add_token(rule, TOKEN_STAR, 0);
		return;
	}
	(*at)++;
	/* `**name` at the start is matched by what ends so, as in the original, where it is a test of the suffix. */
	if (first && **at && **at != '/' && !strpbrk(*at, "*?[]\\")) {
		add_token(rule, TOKEN_ALL, 0);
		return;
	}
	*at += **at == '/';
	add_token(rule, **at ? TOKEN_DEEP : TOKEN_ALL, 0);
}

static bool
compile(struct ignore_rule *rule, struct arena *arena)
{
	const char *at = rule->pattern;

	rule->tokens = arena_array(arena, strlen(at) + 1, sizeof *rule->tokens);
	while (*at) {
		const char *set;
		bool in;

		switch (*at) {
		case '*':
			add_stars(rule, &at);
			break;
		case '?':
			at++;
			add_token(rule, TOKEN_ANY, 0);
			break;
		case '[':
			set = ++at;
			if (!read_class(&at, 0, &in))
				return false;
			add_token(rule, TOKEN_CLASS, 0);
			rule->tokens[rule->count - 1].set = set;
			break;
		case '\\':
			if (!*++at)
				return false;
			add_token(rule, TOKEN_CHARACTER, next_character(&at));
			break;
		default:
			add_token(rule, TOKEN_CHARACTER, next_character(&at));
		}
	}
	return true;
}

static bool
add_line(struct ignore *ignore, const char *text, size_t size, size_t line, struct arena *arena, struct error *err)
{
	struct ignore_rule rule = { 0 };

	if (size > LINE_LIMIT)
		return fail(err, FAULT_TOO_LARGE, "line %zu is over %u bytes", line, LINE_LIMIT);
	if (memchr(text, '\0', size))
		return fail(err, FAULT_ENCODING, "line %zu holds a NUL", line);
	if (size > 0 && *text == '#')
		return true;
	trim(&text, &size);
	if (size == 0)
		return true;
	if (*text == '!') {
		rule.brings_back = true;
		text++;
		size--;
		trim(&text, &size);
		if (size == 0)
			return fail(err, FAULT_BAD_VALUE, "line %zu: `!` without a pattern", line);
	}
	rule.pattern = clean(arena, text, size);
	if (!*rule.pattern)
		return true;
	if (!compile(&rule, arena))
		return fail(err, FAULT_BAD_VALUE, "line %zu: `%s` is no pattern: a `[` without its end, or a `\\` with nothing behind it", line, rule.pattern);
	ignore->rules[ignore->count++] = rule;
	ignore->brings_back = ignore->brings_back || rule.brings_back;
	return true;
}

static size_t
count_lines(const char *text, size_t size)
{
	size_t lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	return lines;
}

bool
ignore_parse(const char *text, size_t size, struct arena *arena, struct ignore *ignore, struct error *err)
{
	struct ignore parsed = { 0 };

	parsed.rules = arena_array(arena, count_lines(text, size), sizeof *parsed.rules);
	if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		size -= 3;
	}
	for (size_t line = 1; size > 0; line++) {
		const char *end = memchr(text, '\n', size);
		size_t length = end ? (size_t)(end - text) : size;

		if (!add_line(&parsed, text, length, line, arena, err))
			return false;
		length += end != NULL;
		text += length;
		size -= length;
	}
	*ignore = parsed;
	return true;
}

/* Whether a token takes the character and stays or moves on. */
static bool
takes(const struct token *token, uint32_t character)
{
	const char *at = token->set;
	bool in = false;

	switch (token->kind) {
	case TOKEN_CHARACTER:
		return token->character == character;
	case TOKEN_ANY:
	case TOKEN_STAR:
		return character != '/';
	case TOKEN_CLASS:
		return read_class(&at, character, &in) && in;
	case TOKEN_DEEP:
	case TOKEN_ALL:
		break;
	}
	return true;
}

/* States of the automaton: before token i, or (DEEP alone) within it. */
enum { BEFORE = 1, WITHIN = 2 };

/* What can be skipped is skipped: the state behind it holds as well. */
static void
skip(const struct ignore_rule *rule, unsigned char *states)
{
	for (size_t i = 0; i < rule->count; i++) {
		enum token_kind kind = rule->tokens[i].kind;

		if ((states[i] & BEFORE) && (kind == TOKEN_STAR || kind == TOKEN_ALL || kind == TOKEN_DEEP))
			states[i + 1] |= BEFORE;
	}
}

static bool
step(const struct ignore_rule *rule, const unsigned char *now, unsigned char *next, uint32_t character)
{
	bool alive = false;

	memset(next, 0, rule->count + 1);
	for (size_t i = 0; i < rule->count; i++) {
		const struct token *token = &rule->tokens[i];

		if (!now[i] || !takes(token, character))
			continue;
		alive = true;
		if (token->kind == TOKEN_STAR || token->kind == TOKEN_ALL)
			next[i] |= BEFORE;
		else if (token->kind == TOKEN_DEEP)
			next[i] |= WITHIN;
		else
			next[i + 1] |= BEFORE;
		if (token->kind == TOKEN_DEEP && character == '/')
			next[i + 1] |= BEFORE;
	}
	skip(rule, next);
	return alive;
}

/* With `beginning`, whether the pattern could match something that begins with `path`. */
static bool
run(const struct ignore_rule *rule, const char *path, bool beginning)
{
	unsigned char few[2][256];
	char *more finally(free_text) = NULL;
	unsigned char *now = few[0], *next = few[1];
	size_t size = rule->count + 1;

	if (size > sizeof few[0]) {
		more = xmalloc(2 * size);
		now = (unsigned char *)more;
		next = now + size;
	}
	memset(now, 0, size);
	now[0] = BEFORE;
	skip(rule, now);
	while (*path) {
		unsigned char *spare = now;

		if (!step(rule, now, next, next_character(&path)))
			return false;
		now = next;
		next = spare;
	}
	if (!beginning)
		return now[rule->count] != 0;
	for (size_t i = 0; i < rule->count; i++)
		if (now[i])
			return true;
	return false;
}

bool
ignore_step(const struct ignore *ignore, const char *path, const bool *above, bool *own)
{
	bool ignored = false;

	for (size_t i = 0; i < ignore->count; i++) {
		own[i] = (above && above[i]) || run(&ignore->rules[i], path, false);
		if (own[i])
			ignored = !ignore->rules[i].brings_back;
	}
	return ignored;
}

bool
ignore_matches(const struct ignore *ignore, const char *path)
{
	struct arena arena finally(arena_finish) = { 0 };
	bool *own = arena_array(&arena, ignore->count + 1, sizeof *own);
	const bool *above = NULL;
	bool ignored = false;

	for (const char *end = path; *end; end += *end == '/') {
		end += strcspn(end, "/");
		ignored = ignore_step(ignore, arena_copy_bytes(&arena, path, (size_t)(end - path)), above, own);
		above = own;
	}
	return ignored;
}

bool
ignore_enters(const struct ignore *ignore, const char *directory)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *inside = arena_printf(&arena, "%s/", directory);

	for (size_t i = 0; i < ignore->count; i++)
		if (ignore->rules[i].brings_back && run(&ignore->rules[i], inside, true))
			return true;
	return false;
}
