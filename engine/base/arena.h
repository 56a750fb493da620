/* arena.h - memory that is released all at once.
 *
 * Chunks grow; nothing is moved or freed before the end. Out of memory ends the program with status 70. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

struct arena {
	struct arena_chunk *chunk;
	size_t used; /* bytes given out of the newest chunk */
};

void arena_init(struct arena *arena);
void arena_finish(struct arena *arena);

/* Zeroed memory, aligned for any type. */
void *arena_alloc(struct arena *arena, size_t size);

/* Zeroed array; ends the program if count * size overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size);

/* A larger copy of an array that holds `count` items; `*capacity` is updated. The old one stays until the arena ends. */
void *arena_grow(struct arena *arena, const void *items, size_t count, size_t *capacity, size_t size);

char *arena_copy(struct arena *arena, const char *text);
char *arena_copy_bytes(struct arena *arena, const void *bytes, size_t size); /* with a NUL behind */
char *arena_join(struct arena *arena, const char *first, const char *second); /* one behind the other */
char *arena_printf(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

/* A point to go back to: what was given out after it is gone, and its memory is used again. */
struct arena_mark {
	struct arena_chunk *chunk;
	struct arena_chunk *behind; /* the chunk after it: large arrays come to lie there */
	size_t used;
};

struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);

/* Bytes held from the system, for reports. */
size_t arena_size(const struct arena *arena);

/* Say so and end the program with status 70, for what allocates by other ways. Allocates nothing. */
_Noreturn void out_of_memory(void);

/* malloc, realloc and strdup that end the program with status 70 instead of returning NULL. */
void *xmalloc(size_t size);
void *xrealloc(void *old, size_t size);
char *xstrdup(const char *text);
