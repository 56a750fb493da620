/* out.h - a stream that people or programs read: buffered, redacted, coloured where that is wanted.
 *
 * What could not be written is remembered, never retried: `error` tells at the end. Text from outside goes through
 * `out_safe` or `out_cell`, so that it cannot send escapes. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "colour.h"
#include "engine/base/buf.h"

struct out {
	int fd;            /* -1: text is only gathered */
	bool terminal;
	bool colour;
	bool utf8;         /* symbols beyond ASCII may be used */
	unsigned columns;  /* of the terminal, at least 40; 0: none, nothing is cut */
	int error;         /* errno of the first write that failed */
	struct buf pending;
};

/* `colour`: what the user asked for. `ascii`: no symbols beyond ASCII. */
void out_init(struct out *out, int fd, enum choice colour, bool ascii);

/* A stream that only gathers, without colour: `out_held` is its text. */
void out_init_memory(struct out *out);
const char *out_held(const struct out *out);

void out_finish(struct out *out);

void out_text(struct out *out, const char *text);
void out_bytes(struct out *out, const char *bytes, size_t size);
void out_printf(struct out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void out_paint(struct out *out, enum style style, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Text from outside, control characters escaped. */
void out_safe(struct out *out, const char *text);

/* The same, then spaces up to `columns`; at least one where the text is longer. */
void out_cell(struct out *out, const char *text, size_t columns);

void out_pad(struct out *out, size_t spaces);
void out_paint_safe(struct out *out, enum style style, const char *text);

/* Write what is pending. False if anything was ever lost. */
bool out_flush(struct out *out);

/* Columns of the terminal now; 0 if it is none. */
unsigned out_columns(const struct out *out);
