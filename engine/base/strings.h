/* strings.h - plain lists of text and of pairs, as parameters and outputs hold them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct arena;

struct strings {
	const char **items;
	size_t count;
	size_t capacity;
};

struct pair {
	const char *key;
	const char *value;
};

struct pairs {
	struct pair *items;
	size_t count;
	size_t capacity;
};

void strings_add(struct strings *strings, struct arena *arena, const char *text);
bool strings_has(const struct strings *strings, const char *text);

/* Replace the value if the key is there, else append. */
void pairs_set(struct pairs *pairs, struct arena *arena, const char *key, const char *value);

/* NULL if there is none. */
const char *pairs_get(const struct pairs *pairs, const char *key);

/* The last line that holds anything, without blanks behind it; NULL: there is none. */
const char *text_last_line(struct arena *arena, const char *text, size_t size);

bool text_equal(const char *a, const char *b); /* NULL equals NULL alone */
bool text_starts(const char *text, const char *prefix);
bool text_ends(const char *text, const char *suffix);

/* As it is typed into a shell: in quotes where blanks or other characters mean something there. */
const char *text_shell(struct arena *arena, const char *text);

/* Bytes of the well-formed UTF-8 character at the start of `text`, 0 if there is none. */
size_t text_utf8(const char *text, size_t size);
