/* check.c - `provision check`: manifests parsed and linked, nothing looked at. */
#include "commands.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/file.h"
#include "planning.h"
#include "report/words.h"
#include "session.h"

/* Whether the fallback can be read and is of the same deployment: it is looked at again when it is needed, which is late. */
static enum status
check_fallback(struct session *session, const struct shape *shape, const struct fallback_entry *entry)
{
	struct shape next = { 0 };
	struct error err = { 0 };
	enum status status;
	struct stat st;

	if (stat(entry->manifest, &st) != 0) {
		fail_at(&err, entry->at, FAULT_FALLBACK, "the fallback `%s` cannot be read: %s", entry->shown, strerror(errno));
		return session_fail(session, &err, &shape->manifest.sources);
	}
	status = session_load(session, entry->manifest, &next);
	if (status == STATUS_OK)
		status = planning_check_name(session, shape, entry, &next);
	shape_finish(&next);
	return status;
}

static enum status
check_one(struct session *session, const char *path)
{
	struct shape shape = { 0 };
	enum status status = session_load(session, path, &shape);

	if (status == STATUS_OK)
		for (size_t i = 0; i < shape.manifest.fallback_count; i++)
			status = status_worse(status, check_fallback(session, &shape, &shape.manifest.fallbacks[i]));
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
