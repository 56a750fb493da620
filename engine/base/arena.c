#include "arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FIRST_CHUNK ((size_t)8 << 10)
#define LAST_CHUNK  ((size_t)8 << 20)
#define HUGE_CHUNK  ((size_t)4 << 20) /* from here on huge pages are asked for: a page fault for each 4 KiB costs more than its use */

struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	_Alignas(max_align_t) unsigned char bytes[];
};

void
out_of_memory(void)
{
	/* Nothing here may allocate, and exit() would run handlers that might. */
	static const char message[] = "provision: out of memory\n";
	ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);

	(void)written;
	_exit(70);
}

void
arena_init(struct arena *arena)
{
	*arena = (struct arena){ 0 };
}

void
arena_finish(struct arena *arena)
{
	struct arena_chunk *chunk = arena->chunk;

	while (chunk) {
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	*arena = (struct arena){ 0 };
}

/* Advice alone: refused, everything works as before. */
static void
advise_huge(void *memory, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)memory + page - 1) / page * page, to = (uintptr_t)memory + size;

	madvise((char *)memory + (from - (uintptr_t)memory), (to - from) / page * page, MADV_HUGEPAGE);
}

static struct arena_chunk *
new_chunk(size_t size)
{
	struct arena_chunk *chunk;
	size_t total;

	if (__builtin_add_overflow(sizeof *chunk, size, &total))
		out_of_memory();
	chunk = calloc(1, total);
	if (!chunk)
		out_of_memory();
	if (size >= HUGE_CHUNK)
		advise_huge(chunk, total);
	chunk->size = size;
	return chunk;
}

static void *
take(struct arena *arena, size_t size, size_t align)
{
	struct arena_chunk *chunk = arena->chunk;
	size_t at = (arena->used + align - 1) & ~(align - 1);
	size_t next = FIRST_CHUNK;

	if (chunk && at <= chunk->size && size <= chunk->size - at) {
		arena->used = at + size;
		return chunk->bytes + at;
	}
	if (chunk)
		next = chunk->size < LAST_CHUNK / 2 ? chunk->size * 2 : LAST_CHUNK;
	if (size > next / 4) {
		struct arena_chunk *own = new_chunk(size);

		/* Behind the newest, whose rest stays in use: one large array does not waste it. */
		if (chunk) {
			own->next = chunk->next;
			chunk->next = own;
		} else {
			arena->chunk = own;
			arena->used = size;
		}
		return own->bytes;
	}
	chunk = new_chunk(next);
	chunk->next = arena->chunk;
	arena->chunk = chunk;
	arena->used = size;
	return chunk->bytes;
}

struct arena_mark
arena_mark(const struct arena *arena)
{
	return (struct arena_mark){
		.chunk = arena->chunk, .behind = arena->chunk ? arena->chunk->next : NULL, .used = arena->used
	};
}

void
arena_rewind(struct arena *arena, struct arena_mark mark)
{
	struct arena_chunk *chunk = arena->chunk;
	size_t end = arena->used;

	while (chunk != mark.chunk) {
		/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): the mark is of this arena */
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
		end = chunk ? chunk->size : 0;
	}
	arena->chunk = chunk;
	arena->used = mark.used;
	if (!chunk)
		return;
	while (chunk->next != mark.behind) {
		struct arena_chunk *own = chunk->next;

		chunk->next = own->next;
		free(own);
	}
	memset(chunk->bytes + mark.used, 0, end - mark.used);
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	return take(arena, size, _Alignof(max_align_t));
}

void *
arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(count, size, &total))
		out_of_memory();
	return arena_alloc(arena, total);
}

void *
arena_grow(struct arena *arena, const void *items, size_t count, size_t *capacity, size_t size)
{
	size_t wanted;
	void *larger;

	if (__builtin_mul_overflow(*capacity, (size_t)2, &wanted))
		out_of_memory();
	if (wanted < 8)
		wanted = 8;
	larger = arena_array(arena, wanted, size);
	if (count > 0)
		memcpy(larger, items, count * size);
	*capacity = wanted;
	return larger;
}

char *
arena_copy(struct arena *arena, const char *text)
{
	return arena_copy_bytes(arena, text, strlen(text));
}

char *
arena_copy_bytes(struct arena *arena, const void *bytes, size_t size)
{
	size_t total;
	char *copy;

	if (__builtin_add_overflow(size, (size_t)1, &total))
		out_of_memory();
	copy = take(arena, total, 1);
	if (size > 0)
		memcpy(copy, bytes, size);
	return copy;
}

char *
arena_join(struct arena *arena, const char *first, const char *second)
{
	size_t head = strlen(first), tail = strlen(second);
	char *text = take(arena, head + tail + 1, 1);

	memcpy(text, first, head);
	memcpy(text + head, second, tail + 1);
	return text;
}

char *
arena_printf(struct arena *arena, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = arena_vprintf(arena, format, args);
	va_end(args);
	return text;
}

char *
arena_vprintf(struct arena *arena, const char *format, va_list args)
{
	char first[256];
	va_list again;
	char *text;
	int size;

	va_copy(again, args);
	size = vsnprintf(first, sizeof first, format, args);
	if (size < 0)
		out_of_memory();
	if ((size_t)size < sizeof first) {
		text = arena_copy_bytes(arena, first, (size_t)size);
	} else {
		text = take(arena, (size_t)size + 1, 1);
		vsnprintf(text, (size_t)size + 1, format, again);
	}
	va_end(again);
	return text;
}

size_t
arena_size(const struct arena *arena)
{
	size_t size = 0;

	for (const struct arena_chunk *chunk = arena->chunk; chunk; chunk = chunk->next)
		size += sizeof *chunk + chunk->size;
	return size;
}

void *
xmalloc(size_t size)
{
	void *memory = malloc(size ? size : 1);

	if (!memory)
		out_of_memory();
	return memory;
}

void *
xrealloc(void *old, size_t size)
{
	void *memory = realloc(old, size ? size : 1);

	if (!memory)
		out_of_memory();
	return memory;
}

char *
xstrdup(const char *text)
{
	size_t size = strlen(text) + 1;

	return memcpy(xmalloc(size), text, size);
}
