/* source.h - the texts that a manifest is made of, and what must be true of a text before YAML is read from it.
 *
 * Sources are kept whole for the life of their arena, so that diagnostics can show their lines. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/error.h"

struct arena;
struct node;

/* One file that was read. Kept whole, so that diagnostics can show its lines. */
struct source {
	const char *file;  /* as shown; `place.file` of its nodes is this very pointer */
	const char *path;  /* absolute; "-" for standard input and for text that is not a file */
	const char *directory; /* absolute: where relative paths that are written in it start */
	const char *text;
	size_t size;
	struct digest digest;
	const struct node *tree; /* what it was parsed to without an error; or NULL */
	bool recalled;           /* the tree comes from an earlier run */
};

/* Who remembers what a text was parsed to (parsed.h). */
struct recall {
	void *self;
	/* The bytes, in the arena, or NULL. */
	const void *(*parsed)(void *self, const struct source *source, struct arena *arena, size_t *size);
};

struct sources {
	struct arena *arena;
	const char *cwd; /* absolute; the directory of what is no file */
	const struct recall *recall; /* or NULL */
	struct source *items;
	size_t count;
	size_t capacity;
};

/* Read a file ("-": standard input), at most 64 MiB, and add it. NULL if that fails. */
const struct source *sources_read(struct sources *sources, const char *file, const char *path, struct error *err);

/* Add text that is no file. */
const struct source *sources_add_text(struct sources *sources, const char *file, const char *text, size_t size);

/* By the pointer or the text of `place.file`; NULL if there is none. */
const struct source *sources_find(const struct sources *sources, const char *file);

/* The place of a byte of the text. */
struct place source_place(const struct source *source, size_t offset);

/* Refuse what YAML would read differently from an editor, and what makes its parser slow: line ends other than LF and CR LF (E0107), heaps of directives (E0106). */
bool source_check(const struct source *source, struct error *err);

/* What people most often did when YAML cannot be read behind so many lines. */
const char *source_syntax_hint(const struct source *source, size_t lines);
