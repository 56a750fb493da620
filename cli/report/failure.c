#include "failure.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/event.h"
#include "out.h"

#define TAIL_BYTES (32u << 10)
#define TAIL_LINES 20

/* Where the last `lines` lines of a text start. */
static const char *
last_lines(const char *text, size_t size, unsigned lines)
{
	const char *at = text + size;

	if (at > text && at[-1] == '\n')
		at--;
	for (; at > text; at--)
		if (at[-1] == '\n' && --lines == 0)
			break;
	return at;
}

static void
print_lines(struct out *out, const char *at, const char *end)
{
	struct buf line finally(buf_finish) = { 0 };

	buf_init(&line, TAIL_BYTES);
	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		if (!stop)
			stop = end;
		buf_clear(&line);
		buf_add(&line, at, (size_t)(stop - at));
		out_text(out, "    | ");
		out_safe(out, line.data);
		out_text(out, "\n");
		at = stop + 1;
	}
}

void
failure_log_tail(struct out *out, const char *path, unsigned lines)
{
	int fd finally(close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct arena arena finally(arena_finish) = { 0 };
	struct error err = { 0 };
	struct stat st;
	size_t got;
	char *text;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return;
	arena_init(&arena);
	text = arena_alloc(&arena, TAIL_BYTES);
	if (!file_pread_all(fd, text, TAIL_BYTES,
		    st.st_size > (off_t)TAIL_BYTES ? (uint64_t)st.st_size - TAIL_BYTES : 0, &got, &err))
		return;
	print_lines(out, last_lines(text, got, lines), text + got);
}

static void
show_findings(struct out *out, const struct failure_view *view, const struct findings *findings)
{
	for (size_t i = 0; i < findings->count; i++)
		diagnostic_print(out, view->form,
			&(struct diagnostic){ .finding = &findings->items[i], .sources = view->sources });
}

void
failure_show_advice(struct out *out, const struct failure_view *view, const struct event *event)
{
	for (size_t i = 0; event->findings && i < event->findings->count; i++)
		if (event->findings->items[i].late)
			diagnostic_print(out, view->form,
				&(struct diagnostic){ .finding = &event->findings->items[i], .sources = view->sources });
}

void
failure_show(struct out *out, const struct failure_view *view, const struct event *event)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct stat st;

	arena_init(&arena);
	if (view->form == DIAGNOSTIC_HUMAN && event->log && stat(event->log, &st) == 0 && st.st_size > 0) {
		out_text(out, "  last lines of ");
		out_safe(out, path_shown(&arena, view->cwd, event->log));
		out_text(out, ":\n");
		failure_log_tail(out, event->log, TAIL_LINES);
	}
	if (event->findings && findings_refuse(event->findings)) {
		show_findings(out, view, event->findings);
	} else if (event->error) {
		struct findings findings;

		findings_init(&findings, &arena);
		findings_add_error(&findings, event->error);
		show_findings(out, view, &findings);
	}
}
