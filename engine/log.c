#include "log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/strings.h"

#define FILE_LIMIT ((size_t)64 << 20)
#define TAIL_LIMIT ((size_t)64 << 10)
#define LINE_LIMIT ((size_t)64 << 10)

void
log_init(struct log *log, const char *path)
{
	*log = (struct log){ .path = path, .fd = -1 };
	pthread_mutex_init(&log->mutex, NULL);
	buf_init(&log->partial, 4 * LINE_LIMIT);
	buf_init(&log->tail, 2 * TAIL_LIMIT);
}

/* The run's directory is made with its first log. */
static void
open_file(struct log *log)
{
	char *directory finally(free_text) = xstrdup(log->path);
	char *slash = strrchr(directory, '/');
	struct error ignored;

	if (!slash)
		return;
	*slash = '\0';
	if (file_make_dirs(directory, 0700, &ignored))
		log->fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* A log that cannot be written costs no target its build: the tail in memory remains. */
static void
write_file(struct log *log, const char *bytes, size_t size)
{
	struct error ignored;

	if (log->fd < 0)
		open_file(log);
	if (log->fd >= 0)
		file_write_all(log->fd, bytes, size, &ignored);
}

/* The beginning goes to the file as it comes, and as much of the end as the tail holds when the log is finished. */
static void
keep(struct log *log, const char *bytes, size_t size)
{
	if (log->left_out == 0 && log->written + size <= FILE_LIMIT - 2 * TAIL_LIMIT) {
		write_file(log, bytes, size);
		log->written += size;
		return;
	}
	log->left_out += size;
}

static void
write_end(struct log *log)
{
	size_t shown = log->left_out < log->tail.size ? log->left_out : log->tail.size;
	const char *from = log->tail.data + log->tail.size - shown;
	struct buf note finally(buf_finish) = { 0 };

	if (log->left_out == 0)
		return;
	buf_init(&note, 200);
	if (log->left_out > shown)
		buf_printf(&note, "[%zu bytes of this log are left out here]\n", log->left_out - shown);
	write_file(log, note.data, note.size);
	write_file(log, from, shown);
}

static void
add_tail(struct log *log, const char *bytes, size_t size)
{
	struct buf *tail = &log->tail;

	if (tail->size + size > tail->limit) {
		size_t kept = tail->size < TAIL_LIMIT ? tail->size : TAIL_LIMIT;
		char *end = xmalloc(kept);

		memcpy(end, tail->data + tail->size - kept, kept);
		buf_clear(tail);
		buf_add(tail, end, kept);
		free(end);
	}
	if (size > TAIL_LIMIT)
		bytes += size - TAIL_LIMIT;
	buf_add(tail, bytes, size > TAIL_LIMIT ? TAIL_LIMIT : size);
}

/* Control characters (also those of C1, which begin escape sequences too) and broken UTF-8 would reach somebody's terminal sooner or later. */
static void
add_visible(struct buf *line, const char *text, size_t size)
{
	for (size_t i = 0; i < size;) {
		unsigned char c = (unsigned char)text[i];
		size_t step = text_utf8(text + i, size - i);

		if (step == 0 || (step == 2 && c == 0xc2 && (unsigned char)text[i + 1] < 0xa0))
			buf_printf(line, "\\x%02x", step == 0 ? c : (unsigned char)text[i + 1]);
		else if (c == 0x7f || (c < 0x20 && c != '\t'))
			buf_printf(line, "^%c", c ^ 0x40);
		else
			buf_add(line, text + i, step);
		i += step ? step : 1;
	}
}

static void
emit(struct log *log, const char *text, size_t size)
{
	struct buf line finally(buf_finish) = { 0 };

	buf_init(&line, 5 * size + 1);
	add_visible(&line, text, size);
	buf_char(&line, '\n');
	keep(log, line.data, line.size);
	add_tail(log, line.data, line.size);
}

/* With the mutex held: write the partial line but for its last `rest` bytes, which begin the next one. */
static void
end_line(struct log *log, size_t rest)
{
	struct buf redacted finally(buf_finish) = { 0 };
	size_t size;

	buf_init(&redacted, 8 * LINE_LIMIT);
	if (secret_none_loaded())
		buf_add(&redacted, log->partial.data, log->partial.size);
	else
		secret_redact(log->partial.data, log->partial.size, &redacted);
	size = redacted.size > rest ? redacted.size - rest : 0;
	emit(log, redacted.data, size);
	buf_clear(&log->partial);
	buf_add(&log->partial, redacted.data + size, redacted.size - size);
}

void
log_finish(struct log *log)
{
	if (log->partial.size > 0)
		end_line(log, 0);
	if (log->tail.data)
		write_end(log);
	buf_finish(&log->partial);
	buf_finish(&log->tail);
	close_fd(&log->fd);
	pthread_mutex_destroy(&log->mutex);
}

/* With the mutex held. */
static void
take(struct log *log, const char *bytes, size_t size)
{
	/* What is left of an endless line when it is broken, so that no secret is cut in two. */
	size_t rest = secret_longest();

	while (size > 0) {
		/* Where it is broken does not depend on the pieces that it comes in. */
		size_t room = LINE_LIMIT + rest - log->partial.size;
		size_t length = 0;

		while (length < size && length < room && bytes[length] != '\n' && bytes[length] != '\r')
			length++;
		buf_add(&log->partial, bytes, length);
		if (length < size && length < room) {
			bool is_cr = bytes[length] == '\r';
			bool is_empty = log->partial.size == 0;

			/* CR LF is one end, also when it comes in two pieces; a CR at the start of a line is a progress bar's. */
			if (is_cr ? !is_empty : !is_empty || !log->after_cr)
				end_line(log, 0);
			log->after_cr = is_cr && !is_empty;
			length++;
		} else {
			log->after_cr = false;
		}
		if (log->partial.size >= LINE_LIMIT + rest)
			end_line(log, rest);
		bytes += length;
		size -= length;
	}
}

void
log_bytes(struct log *log, const char *bytes, size_t size)
{
	pthread_mutex_lock(&log->mutex);
	take(log, bytes, size);
	pthread_mutex_unlock(&log->mutex);
}

void
log_printf(struct log *log, const char *format, ...)
{
	struct buf line finally(buf_finish) = { 0 };
	struct buf half;
	va_list args;

	buf_init(&line, LINE_LIMIT);
	va_start(args, format);
	buf_vprintf(&line, format, args);
	va_end(args);
	pthread_mutex_lock(&log->mutex);
	/* Not behind half a line of a child's. Where that may end within a secret it waits, since ending it would cut the secret in two. */
	if (log->partial.size > 0 && secret_open_end(log->partial.data, log->partial.size) == 0)
		end_line(log, 0);
	half = log->partial;
	buf_init(&log->partial, half.limit);
	take(log, line.data, line.size);
	if (log->partial.size > 0)
		end_line(log, 0);
	buf_finish(&log->partial);
	log->partial = half;
	pthread_mutex_unlock(&log->mutex);
}

/* What a line that has not ended shows so far, but for what may become a secret. */
static void
add_half(const struct log *log, struct buf *shown)
{
	struct buf redacted finally(buf_finish) = { 0 };
	size_t size;

	buf_init(&redacted, 8 * LINE_LIMIT);
	secret_redact(log->partial.data, log->partial.size, &redacted);
	size = redacted.size - secret_open_end(redacted.data, redacted.size);
	if (size == 0)
		return;
	add_visible(shown, redacted.data, size);
	buf_char(shown, '\n');
}

const char *
log_tail(struct log *log, struct arena *arena)
{
	struct buf shown finally(buf_finish) = { 0 };
	size_t size;

	pthread_mutex_lock(&log->mutex);
	buf_init(&shown, log->tail.size + 40 * LINE_LIMIT);
	buf_add(&shown, log->tail.data, log->tail.size);
	add_half(log, &shown);
	pthread_mutex_unlock(&log->mutex);
	size = shown.size < TAIL_LIMIT ? shown.size : TAIL_LIMIT;
	return arena_copy_bytes(arena, shown.data + shown.size - size, size);
}
