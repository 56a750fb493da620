#include "diagnostic.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/manifest.h"
#include "excerpt.h"
#include "out.h"
#include "width.h"

#define TEXT_MOST (256u << 10)
#define GUTTER 2 /* digits of a line number where none is shown */

bool
diagnostic_is_error(const struct diagnostic *diagnostic)
{
	const char *code = fault_row(diagnostic->finding->fault)->code;

	return !diagnostic->covered && !diagnostic->finding->advice && code[0] == 'E';
}

static const char *
level(const struct diagnostic *diagnostic)
{
	return diagnostic_is_error(diagnostic) ? "error" : "warning";
}

static const struct source *
source_of(const struct diagnostic *diagnostic)
{
	const struct place *at = &diagnostic->finding->at;

	return diagnostic->sources && at->file && at->line ? sources_find(diagnostic->sources, at->file) : NULL;
}

static size_t
digits(uint32_t number)
{
	size_t count = 1;

	for (; number >= 10; number /= 10)
		count++;
	return count;
}

/* Lines after the first stand under the first. */
static void
print_lines(struct out *out, const char *text, size_t indent)
{
	struct buf line finally(buf_finish) = { 0 };

	buf_init(&line, TEXT_MOST);
	for (;;) {
		size_t length = strcspn(text, "\n");

		buf_clear(&line);
		buf_add(&line, text, length);
		out_safe(out, line.data);
		out_text(out, "\n");
		text += length;
		if (!*text || !text[1])
			return;
		text++;
		out_pad(out, indent);
	}
}

static void
print_fact(struct out *out, size_t gutter, const char *word, enum style style, const char *text)
{
	out_pad(out, gutter + 1);
	out_text(out, "= ");
	out_paint(out, style, "%s", word);
	out_text(out, ": ");
	print_lines(out, text, gutter + 3 + strlen(word) + 2);
}

static void
print_source(struct out *out, size_t gutter, const struct diagnostic *diagnostic, const struct source *source)
{
	const struct place *at = &diagnostic->finding->at;
	const char *label = diagnostic->finding->label;
	struct buf line finally(buf_finish) = { 0 };
	struct excerpt excerpt;

	if (!excerpt_find(&excerpt, source, at->line))
		return;
	buf_init(&line, TEXT_MOST);
	excerpt_show(&excerpt, at->column, at->length, &line);
	out_pad(out, gutter + 1);
	out_text(out, "|\n");
	out_paint(out, STYLE_BOLD, "%*u", (int)gutter, (unsigned)at->line);
	out_text(out, line.size ? " | " : " |");
	out_text(out, line.data);
	out_text(out, "\n");
	out_pad(out, gutter + 1);
	out_text(out, "| ");
	out_pad(out, excerpt.from);
	if (out->colour)
		out_text(out, colour_begin(diagnostic_is_error(diagnostic) ? STYLE_ERROR : STYLE_WARNING));
	for (size_t i = 0; i < excerpt.columns; i++)
		out_text(out, "^");
	if (label && *label) {
		out_text(out, " ");
		out_safe(out, label);
	}
	if (out->colour)
		out_text(out, COLOUR_END);
	out_text(out, "\n");
	if (diagnostic->finding->notes[0] || diagnostic->finding->helps[0]) {
		out_pad(out, gutter + 1);
		out_text(out, "|\n");
	}
}

static void
print_place(struct out *out, size_t gutter, const struct place *at)
{
	out_pad(out, gutter);
	out_text(out, "--> ");
	out_paint_safe(out, STYLE_BOLD, at->file);
	if (at->line)
		out_paint(out, STYLE_BOLD, ":%u:%u", (unsigned)at->line, (unsigned)at->column);
	out_text(out, "\n");
}

static void
print_human(struct out *out, const struct diagnostic *diagnostic)
{
	const struct finding *finding = diagnostic->finding;
	const struct source *source = source_of(diagnostic);
	size_t gutter = source && digits(finding->at.line) > GUTTER ? digits(finding->at.line) : GUTTER;

	out_paint(out, diagnostic_is_error(diagnostic) ? STYLE_ERROR : STYLE_WARNING, "%s[%s]", level(diagnostic),
		fault_row(finding->fault)->code);
	out_text(out, ": ");
	out_paint_safe(out, STYLE_BOLD, finding->text);
	if (diagnostic->aside) {
		out_text(out, "; ");
		out_safe(out, diagnostic->aside);
	}
	out_text(out, "\n");
	if (finding->at.file)
		print_place(out, gutter, &finding->at);
	if (source)
		print_source(out, gutter, diagnostic, source);
	else if (finding->label && *finding->label)
		print_fact(out, gutter, "note", STYLE_BOLD, finding->label);
	for (size_t i = 0; i < sizeof finding->notes / sizeof *finding->notes && finding->notes[i]; i++)
		print_fact(out, gutter, "note", STYLE_BOLD, finding->notes[i]);
	for (size_t i = 0; i < sizeof finding->helps / sizeof *finding->helps && finding->helps[i]; i++)
		print_fact(out, gutter, "help", STYLE_HINT, finding->helps[i]);
}

static void
print_short(struct out *out, const struct diagnostic *diagnostic)
{
	const struct finding *finding = diagnostic->finding;

	if (finding->at.file) {
		out_safe(out, finding->at.file);
		if (finding->at.line)
			out_printf(out, ":%u:%u", (unsigned)finding->at.line, (unsigned)finding->at.column);
		out_text(out, ": ");
	}
	out_printf(out, "%s[%s]: ", level(diagnostic), fault_row(finding->fault)->code);
	out_safe(out, finding->text);
	out_text(out, "\n");
}

/* The escapes of workflow commands; in a property colons and commas too. */
static void
github_escape(struct out *out, const char *text, bool property)
{
	for (; *text; text++) {
		if (*text == '%' || *text == '\r' || *text == '\n' || (property && (*text == ':' || *text == ',')))
			out_printf(out, "%%%02X", (unsigned)(unsigned char)*text);
		else if ((unsigned char)*text >= 0x20 || *text == '\t')
			out_bytes(out, text, 1);
	}
}

static void
print_github(struct out *out, const struct diagnostic *diagnostic)
{
	const struct finding *finding = diagnostic->finding;

	out_printf(out, "::%s ", level(diagnostic));
	if (finding->at.file) {
		out_text(out, "file=");
		github_escape(out, finding->at.file, true);
		if (finding->at.line)
			out_printf(out, ",line=%u,col=%u", (unsigned)finding->at.line, (unsigned)finding->at.column);
		out_text(out, ",");
	}
	out_printf(out, "title=%s::", fault_row(finding->fault)->code);
	github_escape(out, finding->text, false);
	if (finding->helps[0]) {
		out_text(out, "; help: ");
		github_escape(out, finding->helps[0], false);
	}
	out_text(out, "\n");
}

static json_t *
span(const struct diagnostic *diagnostic)
{
	const struct finding *finding = diagnostic->finding;
	const struct place *at = &finding->at;
	const struct source *source = source_of(diagnostic);
	uint32_t length = at->length > 0 ? at->length : 1;
	struct buf line finally(buf_finish) = { 0 };
	struct excerpt excerpt;
	json_t *value = json_object();

	json_object_set_new(value, "file", diagnostic_json_text(at->file));
	json_object_set_new(value, "line", json_integer(at->line));
	json_object_set_new(value, "col", json_integer(at->column));
	json_object_set_new(value, "end_line", json_integer(at->line));
	json_object_set_new(value, "end_col", json_integer((json_int_t)at->column + length));
	if (source && excerpt_find(&excerpt, source, at->line)) {
		buf_init(&line, TEXT_MOST);
		excerpt_show(&excerpt, at->column, at->length, &line);
		json_object_set_new(value, "byte", json_integer((json_int_t)excerpt.byte));
		json_object_set_new(value, "byte_end", json_integer((json_int_t)excerpt.byte_end));
	}
	if (finding->label && *finding->label)
		json_object_set_new(value, "label", diagnostic_json_text(finding->label));
	json_object_set_new(value, "primary", json_true());
	return value;
}

static json_t *
rendered(const struct diagnostic *diagnostic)
{
	struct out text finally(out_finish) = { 0 };

	out_init_memory(&text);
	print_human(&text, diagnostic);
	return diagnostic_json_text(out_held(&text));
}

json_t *
diagnostic_json(const struct diagnostic *diagnostic)
{
	const struct finding *finding = diagnostic->finding;
	json_t *value = json_object();
	json_t *spans = json_array();
	json_t *notes = json_array();
	json_t *helps = json_array();
	json_t *data = finding->data ? json_loads(finding->data, 0, NULL) : NULL;

	json_object_set_new(value, "type", json_string("diagnostic"));
	json_object_set_new(value, "level", json_string(level(diagnostic)));
	json_object_set_new(value, "code", json_string(fault_row(finding->fault)->code));
	json_object_set_new(value, "msg", diagnostic_json_text(finding->text));
	if (finding->at.file)
		json_array_append_new(spans, span(diagnostic));
	for (size_t i = 0; i < sizeof finding->notes / sizeof *finding->notes && finding->notes[i]; i++)
		json_array_append_new(notes, diagnostic_json_text(finding->notes[i]));
	for (size_t i = 0; i < sizeof finding->helps / sizeof *finding->helps && finding->helps[i]; i++)
		json_array_append_new(helps, json_pack("{s:o}", "msg", diagnostic_json_text(finding->helps[i])));
	json_object_set_new(value, "spans", spans);
	json_object_set_new(value, "notes", notes);
	json_object_set_new(value, "helps", helps);
	if (data)
		json_object_set_new(value, "data", data);
	json_object_set_new(value, "rendered", rendered(diagnostic));
	return value;
}

static void
print_json(struct out *out, const struct diagnostic *diagnostic)
{
	json_t *value finally(json_release) = diagnostic_json(diagnostic);
	char *text finally(free_text) = json_dumps(value, JSON_COMPACT);

	out_text(out, text ? text : "{}");
	out_text(out, "\n");
}

void
diagnostic_print(struct out *out, enum diagnostic_form form, const struct diagnostic *diagnostic)
{
	static void (*const printers[])(struct out *, const struct diagnostic *) = {
		[DIAGNOSTIC_HUMAN] = print_human,
		[DIAGNOSTIC_SHORT] = print_short,
		[DIAGNOSTIC_JSON] = print_json,
		[DIAGNOSTIC_GITHUB] = print_github,
	};

	printers[form](out, diagnostic);
}

json_t *
diagnostic_json_text(const char *text)
{
	struct buf safe finally(buf_finish) = { 0 };
	json_t *string = json_string(text);

	if (string)
		return string;
	buf_init(&safe, TEXT_MOST);
	width_add_safe(&safe, text, strlen(text));
	return json_string(safe.data);
}
