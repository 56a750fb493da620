#include "finding.h"

#include <stdarg.h>

#include "arena.h"

void
findings_init(struct findings *findings, struct arena *arena)
{
	*findings = (struct findings){ .arena = arena };
}

static struct finding *
append(struct findings *findings, struct finding finding)
{
	if (findings->count == findings->capacity)
		findings->items = arena_grow(findings->arena, findings->items, findings->count, &findings->capacity,
			sizeof *findings->items);
	findings->items[findings->count] = finding;
	return &findings->items[findings->count++];
}

struct finding *
findings_add(struct findings *findings, enum fault fault, struct place at, const char *format, ...)
{
	struct finding finding = { .fault = fault, .at = at };
	va_list args;

	va_start(args, format);
	finding.text = arena_vprintf(findings->arena, format, args);
	va_end(args);
	return append(findings, finding);
}

void
finding_label(struct findings *findings, struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	finding->label = arena_vprintf(findings->arena, format, args);
	va_end(args);
}

/* A list that is full keeps what came first: the most telling facts are added first. The last place stays NULL. */
static void
put(const char **list, size_t size, const char *text)
{
	for (size_t i = 0; i + 1 < size; i++)
		if (!list[i]) {
			list[i] = text;
			return;
		}
}

void
finding_note(struct findings *findings, struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(finding->notes, sizeof finding->notes / sizeof *finding->notes,
		arena_vprintf(findings->arena, format, args));
	va_end(args);
}

void
finding_help(struct findings *findings, struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(finding->helps, sizeof finding->helps / sizeof *finding->helps,
		arena_vprintf(findings->arena, format, args));
	va_end(args);
}

struct finding *
findings_add_error(struct findings *findings, const struct error *err)
{
	struct finding *finding = findings_add(findings, err->fault, err->at, "%s", err->text);

	if (err->label[0])
		finding_label(findings, finding, "%s", err->label);
	if (err->hint[0])
		finding_help(findings, finding, "%s", err->hint);
	return finding;
}

bool
findings_refuse(const struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		if (!findings->items[i].advice && fault_row(findings->items[i].fault)->code[0] == 'E')
			return true;
	return false;
}
