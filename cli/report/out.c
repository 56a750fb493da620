#include "out.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/secret.h"
#include "engine/base/units.h"
#include "width.h"

#define PENDING_MOST (64u << 10)
#define LIMIT (1u << 20)
#define MEMORY_MOST (16u << 20)
#define COLUMNS_LEAST 40
#define COLUMNS_USUAL 80

static const char *
environment(const char *name)
{
	return getenv(name);
}

unsigned
out_columns(const struct out *out)
{
	const char *text = getenv("COLUMNS");
	struct winsize size = { 0 };
	int64_t number;

	if (!out->terminal)
		return 0;
	if (ioctl(out->fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col < COLUMNS_LEAST ? COLUMNS_LEAST : size.ws_col;
	if (text && units_int(text, &number) && number > 0 && number < 10000)
		return number < COLUMNS_LEAST ? COLUMNS_LEAST : (unsigned)number;
	return COLUMNS_USUAL;
}

void
out_init(struct out *out, int fd, enum choice colour, bool ascii)
{
	*out = (struct out){ .fd = fd, .terminal = isatty(fd) == 1 };
	out->colour = colour_wanted(colour, environment, out->terminal);
	out->utf8 = !ascii && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	out->columns = out_columns(out);
	buf_init(&out->pending, LIMIT);
}

void
out_init_memory(struct out *out)
{
	*out = (struct out){ .fd = -1 };
	buf_init(&out->pending, MEMORY_MOST);
}

const char *
out_held(const struct out *out)
{
	return out->pending.data;
}

void
out_finish(struct out *out)
{
	buf_finish(&out->pending);
}

static void
write_all(struct out *out, const char *bytes, size_t size)
{
	while (size > 0 && !out->error) {
		ssize_t wrote = write(out->fd, bytes, size);

		if (wrote < 0) {
			struct pollfd room = { .fd = out->fd, .events = POLLOUT };

			/* Whoever shares the terminal may have made it non-blocking. */
			if (errno == EAGAIN)
				poll(&room, 1, -1);
			else if (errno != EINTR)
				out->error = errno;
			continue;
		}
		bytes += wrote;
		size -= (size_t)wrote;
	}
}

static void
write_redacted(struct out *out, size_t size)
{
	struct buf shown finally(buf_finish) = { 0 };

	if (secret_none_loaded()) {
		write_all(out, out->pending.data, size);
		return;
	}
	buf_init(&shown, (size_t)LIMIT * 8);
	secret_redact(out->pending.data, size, &shown);
	write_all(out, shown.data, shown.size);
}

/* Whole lines only, so that a secret is never cut in two before it is looked for. */
static void
write_lines(struct out *out)
{
	const char *end = memrchr(out->pending.data, '\n', out->pending.size);
	size_t size = end ? (size_t)(end - out->pending.data) + 1 : out->pending.size;
	struct buf rest finally(buf_finish) = { 0 };

	if (out->fd < 0 || (!end && size < LIMIT / 2))
		return;
	write_redacted(out, size);
	buf_init(&rest, LIMIT);
	buf_add(&rest, out->pending.data + size, out->pending.size - size);
	buf_clear(&out->pending);
	buf_add(&out->pending, rest.data, rest.size);
}

bool
out_flush(struct out *out)
{
	if (out->pending.size > 0)
		write_redacted(out, out->pending.size);
	buf_clear(&out->pending);
	return out->error == 0;
}

void
out_bytes(struct out *out, const char *bytes, size_t size)
{
	while (size > 0) {
		size_t part = size < PENDING_MOST ? size : PENDING_MOST;

		buf_add(&out->pending, bytes, part);
		bytes += part;
		size -= part;
		if (out->pending.size >= PENDING_MOST)
			write_lines(out);
	}
}

void
out_text(struct out *out, const char *text)
{
	out_bytes(out, text, strlen(text));
}

static void
out_vprintf(struct out *out, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void
out_vprintf(struct out *out, const char *format, va_list args)
{
	buf_vprintf(&out->pending, format, args);
	if (out->pending.size >= PENDING_MOST)
		write_lines(out);
}

void
out_printf(struct out *out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	out_vprintf(out, format, args);
	va_end(args);
}

void
out_paint(struct out *out, enum style style, const char *format, ...)
{
	bool painted = out->colour && style != STYLE_PLAIN;
	va_list args;

	if (painted)
		out_text(out, colour_begin(style));
	va_start(args, format);
	out_vprintf(out, format, args);
	va_end(args);
	if (painted)
		out_text(out, COLOUR_END);
}

static size_t
add_safe(struct out *out, const char *text)
{
	size_t columns = width_add_safe(&out->pending, text, strlen(text));

	if (out->pending.size >= PENDING_MOST)
		write_lines(out);
	return columns;
}

void
out_safe(struct out *out, const char *text)
{
	add_safe(out, text);
}

void
out_pad(struct out *out, size_t spaces)
{
	static const char blank[] = "                                ";

	while (spaces > 0) {
		size_t part = spaces < sizeof blank - 1 ? spaces : sizeof blank - 1;

		out_bytes(out, blank, part);
		spaces -= part;
	}
}

void
out_cell(struct out *out, const char *text, size_t columns)
{
	size_t used = add_safe(out, text);

	out_pad(out, used < columns ? columns - used : 1);
}

void
out_paint_safe(struct out *out, enum style style, const char *text)
{
	bool painted = out->colour && style != STYLE_PLAIN;

	if (painted)
		out_text(out, colour_begin(style));
	out_safe(out, text);
	if (painted)
		out_text(out, COLOUR_END);
}
