/* engine.h - a container engine of canned answers on a unix socket, for tests.
 *
 * One thread answers one connection after the other and closes each. Answers may be added while it runs; the newest that fits a request wins. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct fake_engine;

/* Listen at `path`. The ping answers as Docker 20.10 with API 1.41 until it is told otherwise. */
struct fake_engine *fake_engine_start(const char *path);
void fake_engine_stop(struct fake_engine *engine);

/* Answer requests whose "METHOD /path?query", the version left out, begins with `request`. The body may hold NULs and is sent in slices of `slice` bytes (0: at once). */
void fake_engine_answer(struct fake_engine *engine, const char *request, int status, const char *body);
void fake_engine_answer_bytes(struct fake_engine *engine, const char *request, int status, const char *headers, const void *body, size_t size, size_t slice);

/* The same for one request alone: then the answer that was there before is given again. */
void fake_engine_answer_once(struct fake_engine *engine, const char *request, int status, const char *body);

/* What the ping says: header lines, each ended by CR LF. */
void fake_engine_ping(struct fake_engine *engine, const char *headers);

/* Announce one byte more than is sent: the connection breaks off. */
void fake_engine_break_off(struct fake_engine *engine, bool on);

/* All requests so far, one a line ("GET /v1.41/info"), bodies behind a space. Valid until the next call. */
const char *fake_engine_requests(struct fake_engine *engine);
void fake_engine_forget(struct fake_engine *engine);
