#include "depfile.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"

struct reader {
	const char *at;
	const char *end;
	unsigned line;
};

/* Length of a line end that `\` makes no line end, 0 if there is none here. */
static size_t
continuation(const struct reader *reader)
{
	if (reader->end - reader->at >= 2 && reader->at[0] == '\\' && reader->at[1] == '\n')
		return 2;
	if (reader->end - reader->at >= 3 && reader->at[0] == '\\' && reader->at[1] == '\r' && reader->at[2] == '\n')
		return 3;
	return 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* To the next word or the end of the logical line. */
static void
skip_blanks(struct reader *reader)
{
	while (reader->at < reader->end) {
		size_t length = continuation(reader);

		if (length > 0)
			reader->line++;
		else if (is_blank(*reader->at))
			length = 1;
		if (length == 0)
			return;
		reader->at += length;
	}
}

/* A colon ends a target where a blank or the end of the line follows: `c:/x` and `a::b` are names. */
static bool
is_rule_colon(const struct reader *reader)
{
	const char *next = reader->at + 1;

	return *reader->at == ':' && (next == reader->end || is_blank(*next) || *next == '\n' || *next == '\\');
}

/* `\` before a blank, `#`, `\` or `:` and `$` before `$` stand for the second character alone. */
static bool
is_escape(const struct reader *reader)
{
	if (reader->end - reader->at < 2)
		return false;
	if (*reader->at == '$')
		return reader->at[1] == '$';
	return *reader->at == '\\' && strchr(" \t#:", reader->at[1]) && reader->at[1] != '\0';
}

static void
read_word(struct reader *reader, struct buf *word)
{
	buf_clear(word);
	while (reader->at < reader->end && !is_blank(*reader->at) && *reader->at != '\n' && continuation(reader) == 0 &&
		!is_rule_colon(reader)) {
		if (is_escape(reader))
			reader->at++;
		buf_char(word, *reader->at++);
	}
}

/* One logical line: targets, a colon, prerequisites. An empty line and a comment are none. */
static bool
read_rule(struct reader *reader, struct buf *word, struct arena *arena, struct strings *paths, struct error *err)
{
	unsigned line = reader->line;
	bool targets = false, colon = false;

	for (;;) {
		skip_blanks(reader);
		if (reader->at == reader->end || *reader->at == '\n')
			break;
		if (*reader->at == '#') {
			while (reader->at < reader->end && *reader->at != '\n')
				reader->at++;
			break;
		}
		if (is_rule_colon(reader) || (*reader->at == ':' && targets && !colon)) {
			reader->at++;
			if (!targets || colon)
				return fail(err, FAULT_PROTOCOL, "line %u: a colon that no target stands before", line);
			colon = true;
			continue;
		}
		read_word(reader, word);
		if (word->truncated)
			return fail(err, FAULT_PROTOCOL, "line %u: a path of more than %zu bytes", line, word->limit);
		if (colon)
			strings_add(paths, arena, arena_copy_bytes(arena, word->data, word->size));
		targets = true;
	}
	return !targets || colon || fail(err, FAULT_PROTOCOL, "line %u: a target that no colon follows", line);
}

bool
depfile_parse(const char *text, size_t size, struct arena *arena, struct strings *paths, struct error *err)
{
	struct reader reader = { .at = text, .end = text + size, .line = 1 };
	struct buf word finally(buf_finish) = { 0 };

	if (memchr(text, '\0', size))
		return fail(err, FAULT_PROTOCOL, "a depfile holds no NUL");
	buf_init(&word, 4096);
	while (reader.at < reader.end) {
		if (!read_rule(&reader, &word, arena, paths, err))
			return false;
		if (reader.at < reader.end) {
			reader.at++;
			reader.line++;
		}
	}
	return true;
}
