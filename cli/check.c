/* check.c - `provision check`: manifests parsed and linked, nothing looked at. */
#include "commands.h"

#include <string.h>

#include "engine/base/file.h"
#include "report/words.h"
#include "session.h"

static enum status
check_one(struct session *session, const char *path)
{
	struct shape shape = { 0 };
	enum status status = session_load(session, path, &shape);

	if (status == STATUS_OK && !session->options.json && session->options.quiet < 2) {
		out_safe(&session->out, shape.shown);
		out_printf(&session->out, ": ok, %s\n",
			words_count(&session->arena, shape.graph.count, "target", "targets"));
	}
	shape_finish(&shape);
	return status;
}

int
command_check(struct session *session)
{
	const struct strings *operands = &session->options.operands;
	enum status status = session_find(session, operands->count == 0);

	if (status != STATUS_OK)
		return (int)status;
	if (operands->count == 0)
		status = check_one(session, session->found.manifest);
	for (size_t i = 0; i < operands->count; i++) {
		const char *operand = operands->items[i];

		status = status_worse(status, check_one(session, strcmp(operand, "-") == 0 ? operand
			: path_absolute(&session->arena, session->found.cwd, operand)));
	}
	if (session->options.json)
		jsonl_summary(&session->jsonl, &(struct jsonl_summary){ .result = status == STATUS_OK ? "ok" : "failed",
						       .status = (int)status });
	return (int)status;
}
