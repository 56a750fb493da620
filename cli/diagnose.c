/* diagnose.c - `provision diagnose`: cause and remedy of a failed start, from any log. */
#include "rules/diagnose.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "session.h"

#define BLOCK ((size_t)1 << 20)
/* Of a longer log the end counts: what was fatal stands there. */
#define KEPT ((size_t)16 << 20)

static bool
open_input(struct session *session, const char *name, int *fd, struct error *err)
{
	if (strcmp(name, "-") == 0) {
		*fd = dup(STDIN_FILENO);
		return *fd >= 0 || fail_errno(err, "standard input");
	}
	*fd = open(path_absolute(&session->arena, session->found.cwd, name), O_RDONLY | O_CLOEXEC);
	if (*fd < 0 && errno == ENOENT)
		return fail(err, FAULT_NOT_FOUND, "there is no file `%s`", name);
	return *fd >= 0 || fail_errno(err, "open `%s`", name);
}

static bool
read_log(int fd, struct arena *arena, struct buf *log, struct error *err)
{
	char *block = arena_alloc(arena, BLOCK);
	size_t got = BLOCK;

	buf_init(log, 2 * KEPT + BLOCK);
	while (got == BLOCK) {
		if (!file_read_all(fd, block, BLOCK, &got, err))
			return false;
		buf_add(log, block, got);
		if (log->size < 2 * KEPT)
			continue;
		memmove(log->data, log->data + log->size - KEPT, KEPT);
		log->size = KEPT;
	}
	return true;
}

static json_t *
text_json(const char *text)
{
	return text ? diagnostic_json_text(text) : json_null();
}

static json_t *
lines_json(const struct diagnosis *found)
{
	json_t *lines = json_array();

	for (size_t i = 0; i < found->last_count; i++)
		json_array_append_new(lines, text_json(found->last[i]));
	return lines;
}

static void
show(struct session *session, const struct diagnosis *found, const char *class)
{
	struct out *out = &session->out;

	out_paint(out, STYLE_BOLD, "%s", found->id ? found->id : "unknown");
	out_text(out, "  ");
	out_safe(out, found->cause ? found->cause : "this log shows no cause that is known");
	out_text(out, "\n");
	if (found->id && found->evidence) {
		out_text(out, "  log:  ");
		out_safe(out, found->evidence);
		out_text(out, "\n");
	}
	for (size_t i = 0; !found->id && i < found->last_count; i++) {
		out_text(out, "  log:  ");
		out_safe(out, found->last[i]);
		out_text(out, "\n");
	}
	if (found->hint) {
		out_text(out, "  help: ");
		out_safe(out, found->hint);
		out_text(out, "\n");
	}
	if (class)
		out_printf(out, "  class: %s, as in `fallback: on:`\n", class);
	else
		out_text(out, "  class: none, no fallback answers it\n");
}

int
command_diagnose(struct session *session)
{
	struct buf log finally(buf_finish) = { 0 };
	int fd finally(close_fd) = -1;
	struct diagnosis found;
	struct error err = { 0 };
	const char *class;

	session->documents = true;
	if (!project_cwd(&session->found, &session->options, &session->arena, &err) ||
		!open_input(session, session->options.operands.items[0], &fd, &err) || !read_log(fd, &session->arena, &log, &err))
		return (int)session_fail(session, &err, NULL);
	diagnose(log.data, log.size, &session->arena, &found);
	class = failure_class_name(fault_row(found.fault)->class);
	if (session->options.json)
		session_document(session,
			json_pack("{s:s?, s:o, s:o, s:o, s:s?, s:o}", "id", found.id, "cause", text_json(found.cause), "evidence",
				text_json(found.evidence), "help", text_json(found.hint), "class", class, "last_errors", lines_json(&found)));
	else
		show(session, &found, class);
	return found.id ? STATUS_OK : STATUS_FAILED;
}
