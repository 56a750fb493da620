/* explain.c - `provision explain`: the long text of a diagnostic code. */
#include "commands.h"

#include <string.h>

#include "engine/base/fault.h"
#include "engine/base/suggest.h"
#include "session.h"

#define PROSE_MOST 120

static enum status
unknown_code(struct session *session, const char *code)
{
	struct error err = { 0 };
	const char *near = NULL;

	for (unsigned i = FAULT_NONE + 1; i < FAULT_COUNT; i++)
		near = suggest_better(code, near, fault_row((enum fault)i)->code);
	fail(&err, FAULT_USAGE, "there is no diagnostic `%s`", code);
	if (near)
		error_hint(&err, "did you mean `%s`? all codes: provision explain", near);
	else
		error_hint(&err, "all codes: provision explain");
	return session_fail(session, &err, NULL);
}

static void
list(struct session *session)
{
	json_t *codes = json_array();

	for (unsigned i = FAULT_NONE + 1; i < FAULT_COUNT; i++) {
		const struct fault_row *row = fault_row((enum fault)i);

		json_array_append_new(codes,
			json_pack("{s:s, s:s, s:i}", "code", row->code, "title", row->title, "exit", (int)row->status));
		if (!session->options.json)
			out_printf(&session->out, "%s  %s\n", row->code, row->title);
	}
	if (session->options.json)
		session_document(session, codes);
	else
		json_decref(codes);
}

/* Prose is wrapped on a terminal alone, and no wider than is read with ease. Lines that begin with a space are examples. */
static void
show_prose(struct out *out, const char *text)
{
	size_t columns = out->columns < PROSE_MOST ? out->columns : PROSE_MOST;
	size_t used = 0;
	bool as_it_is = *text == ' ';

	while (*text) {
		size_t length = strcspn(text, " \n");

		if (columns && !as_it_is && used > 0 && used + 1 + length > columns) {
			out_text(out, "\n");
			used = 0;
		} else if (used > 0) {
			out_text(out, " ");
			used++;
		}
		out_bytes(out, text, length);
		used += length;
		text += length;
		if (*text == '\n') {
			out_text(out, "\n");
			used = 0;
			as_it_is = text[1] == ' ';
		}
		text += *text != '\0';
		for (; as_it_is && used == 0 && *text == ' '; text++)
			out_text(out, " ");
	}
	out_text(out, "\n");
}

int
command_explain(struct session *session)
{
	const struct strings *operands = &session->options.operands;
	const struct fault_row *row;
	const char *class;
	enum fault fault;

	session->documents = true;
	if (operands->count == 0) {
		list(session);
		return STATUS_OK;
	}
	fault = fault_find(operands->items[0]);
	if (fault == FAULT_NONE)
		return (int)unknown_code(session, operands->items[0]);
	row = fault_row(fault);
	class = failure_class_name(row->class);
	if (session->options.json) {
		session_document(
			session, json_pack("{s:s, s:s, s:s, s:i, s:s?}", "code", row->code, "title", row->title, "text",
					 row->text, "exit", (int)row->status, "class", class));
		return STATUS_OK;
	}
	out_paint(&session->out, STYLE_BOLD, "%s", row->code);
	out_printf(&session->out, "  %s\n\n", row->title);
	show_prose(&session->out, row->text);
	out_text(&session->out, "\n");
	if (row->status != STATUS_OK)
		out_printf(&session->out, "Exit status %d.", (int)row->status);
	else
		out_text(&session->out, "A warning: it changes no exit status.");
	if (class)
		out_printf(&session->out, " A fallback for `%s` may answer it.", class);
	out_text(&session->out, "\n");
	return STATUS_OK;
}
