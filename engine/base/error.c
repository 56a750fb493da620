#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "strings.h"

/* Formats by way of `scratch`, so that the arguments may point into the error that is written. */
static void put(char *to, size_t size, const char *format, va_list args) __attribute__((format(printf, 3, 0)));
static void put_text(char *to, size_t size, const char *text);

static void
put(char *to, size_t size, const char *format, va_list args)
{
	char scratch[1024];

	if (vsnprintf(scratch, sizeof scratch, format, args) < 0)
		scratch[0] = '\0';
	put_text(to, size, scratch);
}

/* What is too long ends with an ellipsis, and never in the middle of a character. */
static void
put_text(char *to, size_t size, const char *text)
{
	static const char ellipsis[] = "\xe2\x80\xa6";
	size_t length = strlen(text);
	size_t at = 0;

	if (length < size) {
		memcpy(to, text, length + 1);
		return;
	}
	for (;;) {
		size_t step = text_utf8(text + at, length - at);

		if (step == 0)
			step = 1;
		if (at + step > size - sizeof ellipsis)
			break;
		at += step;
	}
	memcpy(to, text, at);
	memcpy(to + at, ellipsis, sizeof ellipsis);
}

static void set(struct error *err, struct place at, enum fault fault, const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

static void
set(struct error *err, struct place at, enum fault fault, const char *format, va_list args)
{
	if (!err)
		return;
	put(err->text, sizeof err->text, format, args);
	err->fault = fault;
	err->at = at;
	err->label[0] = '\0';
	err->hint[0] = '\0';
}

bool
(fail)(struct error *err, enum fault fault, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(err, (struct place){ 0 }, fault, format, args);
	va_end(args);
	return false;
}

bool
(fail_at)(struct error *err, struct place at, enum fault fault, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(err, at, fault, format, args);
	va_end(args);
	return false;
}

static enum fault
fault_of_errno(int number)
{
	switch (number) {
	case ENOENT:
		return FAULT_NOT_FOUND;
	case ENOSPC:
	case EDQUOT:
	case EROFS:
		return FAULT_CANNOT_CREATE;
	case EACCES:
	case EPERM:
		return FAULT_PERMISSION;
	default:
		return FAULT_IO;
	}
}

bool
(fail_errno)(struct error *err, const char *format, ...)
{
	int number = errno;
	/* Not strerror: the words must not depend on the locale, nor on another thread. */
	const char *reason = strerrordesc_np(number);
	char text[sizeof err->text];
	va_list args;

	va_start(args, format);
	put(text, sizeof text, format, args);
	va_end(args);
	if (reason)
		fail(err, fault_of_errno(number), "%s: %s", text, reason);
	else
		fail(err, fault_of_errno(number), "%s: error %d", text, number);
	errno = number;
	return false;
}

bool
(error_wrap)(struct error *err, const char *format, ...)
{
	char context[sizeof err->text];
	char whole[2 * sizeof err->text + 3];
	va_list args;

	if (!err)
		return false;
	va_start(args, format);
	put(context, sizeof context, format, args);
	va_end(args);
	snprintf(whole, sizeof whole, "%s: %s", context, err->text);
	put_text(err->text, sizeof err->text, whole);
	return false;
}

bool
(error_hint)(struct error *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return false;
	va_start(args, format);
	put(err->hint, sizeof err->hint, format, args);
	va_end(args);
	return false;
}

bool
(error_label)(struct error *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return false;
	va_start(args, format);
	put(err->label, sizeof err->label, format, args);
	va_end(args);
	return false;
}

void
errors_init(struct errors *errors, struct arena *arena)
{
	*errors = (struct errors){ .arena = arena };
}

void
errors_add(struct errors *errors, const struct error *err)
{
	if (errors->count == errors->capacity)
		errors->items = arena_grow(
			errors->arena, errors->items, errors->count, &errors->capacity, sizeof *errors->items);
	errors->items[errors->count++] = *err;
}

static int
compare_numbers(uint32_t a, uint32_t b)
{
	return (a > b) - (a < b);
}

static int
compare_places(const struct place *a, const struct place *b)
{
	int order = (!a->file || a->line == 0) - (!b->file || b->line == 0);

	if (order == 0 && a->file && b->file)
		order = strcmp(a->file, b->file);
	if (order == 0)
		order = compare_numbers(a->line, b->line);
	if (order == 0)
		order = compare_numbers(a->column, b->column);
	return order;
}

static int
compare_errors(const void *first, const void *second)
{
	const struct error *a = *(const struct error *const *)first;
	const struct error *b = *(const struct error *const *)second;
	int order = compare_places(&a->at, &b->at);

	/* They lie in one array: what was found first stays first. */
	return order ? order : (a > b) - (a < b);
}

void
errors_sort(struct errors *errors)
{
	const struct error **order;
	struct error *sorted;

	if (errors->count < 2)
		return;
	order = arena_array(errors->arena, errors->count, sizeof *order);
	for (size_t i = 0; i < errors->count; i++)
		order[i] = &errors->items[i];
	qsort(order, errors->count, sizeof *order, compare_errors);
	sorted = arena_array(errors->arena, errors->count, sizeof *sorted);
	for (size_t i = 0; i < errors->count; i++)
		sorted[i] = *order[i];
	errors->items = sorted;
	errors->capacity = errors->count;
}
