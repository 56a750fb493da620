#include "engine.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"

#define MOST_ANSWERS 64
#define REQUEST_LIMIT (1u << 20)

struct answer {
	const char *request;
	int status;
	const char *headers;
	const char *body;
	size_t size;
	size_t slice;
	bool once;
	bool given;
};

struct fake_engine {
	struct arena arena;
	pthread_t thread;
	pthread_mutex_t mutex;
	int fd;
	const char *ping;
	bool breaks_off;
	struct answer answers[MOST_ANSWERS];
	size_t count;
	struct buf requests;
	char *shown;
};

/* The request's path without `/v1.41`. */
static const char *
without_version(const char *path)
{
	const char *slash = strncmp(path, "/v1.", 4) == 0 ? strchr(path + 1, '/') : NULL;

	return slash ? slash : path;
}

static void
send_all(int fd, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

		if (sent <= 0)
			return;
		bytes += sent;
		size -= (size_t)sent;
	}
}

static void
reply(struct fake_engine *engine, int fd, const struct answer *answer)
{
	char head[1024];
	size_t slice = answer->slice ? answer->slice : answer->size;
	int length = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\n%sConnection: close\r\nContent-Length: %zu\r\n\r\n", answer->status, answer->headers,
		answer->size + engine->breaks_off);

	send_all(fd, head, (size_t)length);
	for (size_t at = 0; at < answer->size; at += slice) {
		size_t size = answer->size - at < slice ? answer->size - at : slice;

		send_all(fd, answer->body + at, size);
		if (answer->slice)
			usleep(200);
	}
}

static void
serve(struct fake_engine *engine, int fd, char *head, const char *body)
{
	static const struct answer unknown = { "", 404, "Content-Type: application/json\r\n", "{\"message\":\"page not found\"}", 28, 0, false, false };
	struct answer answer = unknown;
	char *end = strstr(head, " HTTP/1");
	char *space = strchr(head, ' ');
	char key[4096];

	if (!end || !space || space >= end)
		return;
	*end = '\0';
	snprintf(key, sizeof key, "%.*s%s", (int)(space - head + 1), head, without_version(space + 1));
	pthread_mutex_lock(&engine->mutex);
	buf_printf(&engine->requests, "%s%s%s\n", head, *body ? " " : "", body);
	if (strcmp(key, "GET /_ping") == 0)
		answer = (struct answer){ "", 200, engine->ping, "OK", 2, 0, false, false };
	for (size_t i = engine->count; i-- > 0;)
		if (!(engine->answers[i].once && engine->answers[i].given) &&
			strncmp(key, engine->answers[i].request, strlen(engine->answers[i].request)) == 0) {
			engine->answers[i].given = true;
			answer = engine->answers[i];
			break;
		}
	pthread_mutex_unlock(&engine->mutex);
	reply(engine, fd, &answer);
}

/* Read head and body; false if the connection ends before. */
static bool
read_request(int fd, char *bytes, size_t limit, const char **body)
{
	size_t size = 0;

	for (;;) {
		ssize_t got = read(fd, bytes + size, limit - size - 1);
		const char *end, *length;

		if (got <= 0)
			return false;
		size += (size_t)got;
		bytes[size] = '\0';
		end = strstr(bytes, "\r\n\r\n");
		if (!end)
			continue;
		length = strcasestr(bytes, "\r\ncontent-length:");
		*body = end + 4;
		if (!length || length > end || size - (size_t)(end + 4 - bytes) >= strtoul(length + 17, NULL, 10))
			return true;
	}
}

static void *
run(void *context)
{
	struct fake_engine *engine = context;
	char *bytes = xmalloc(REQUEST_LIMIT);
	const char *body;
	int fd;

	while ((fd = accept(engine->fd, NULL, NULL)) >= 0) {
		if (read_request(fd, bytes, REQUEST_LIMIT, &body))
			serve(engine, fd, bytes, body);
		close(fd);
	}
	free(bytes);
	return NULL;
}

struct fake_engine *
fake_engine_start(const char *path)
{
	struct fake_engine *engine = xmalloc(sizeof *engine);
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	*engine = (struct fake_engine){ .ping = "Api-Version: 1.41\r\nServer: Docker/20.10.24 (linux)\r\n" };
	arena_init(&engine->arena);
	buf_init(&engine->requests, REQUEST_LIMIT);
	pthread_mutex_init(&engine->mutex, NULL);
	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	engine->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(engine->fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(engine->fd, 16) != 0 ||
		pthread_create(&engine->thread, NULL, run, engine) != 0)
		abort();
	return engine;
}

void
fake_engine_stop(struct fake_engine *engine)
{
	shutdown(engine->fd, SHUT_RDWR);
	pthread_join(engine->thread, NULL);
	close(engine->fd);
	pthread_mutex_destroy(&engine->mutex);
	buf_finish(&engine->requests);
	arena_finish(&engine->arena);
	free(engine->shown);
	free(engine);
}

void
fake_engine_answer_bytes(struct fake_engine *engine, const char *request, int status, const char *headers, const void *body, size_t size, size_t slice)
{
	struct answer answer = { .request = request, .status = status, .headers = headers, .size = size, .slice = slice };

	pthread_mutex_lock(&engine->mutex);
	answer.body = arena_copy_bytes(&engine->arena, body, size);
	answer.request = arena_copy(&engine->arena, request);
	if (engine->count == MOST_ANSWERS)
		abort();
	engine->answers[engine->count++] = answer;
	pthread_mutex_unlock(&engine->mutex);
}

void
fake_engine_answer(struct fake_engine *engine, const char *request, int status, const char *body)
{
	fake_engine_answer_bytes(engine, request, status, "Content-Type: application/json\r\n", body, strlen(body), 0);
}

void
fake_engine_answer_once(struct fake_engine *engine, const char *request, int status, const char *body)
{
	fake_engine_answer(engine, request, status, body);
	pthread_mutex_lock(&engine->mutex);
	engine->answers[engine->count - 1].once = true;
	pthread_mutex_unlock(&engine->mutex);
}

void
fake_engine_ping(struct fake_engine *engine, const char *headers)
{
	pthread_mutex_lock(&engine->mutex);
	engine->ping = arena_copy(&engine->arena, headers);
	pthread_mutex_unlock(&engine->mutex);
}

void
fake_engine_break_off(struct fake_engine *engine, bool on)
{
	pthread_mutex_lock(&engine->mutex);
	engine->breaks_off = on;
	pthread_mutex_unlock(&engine->mutex);
}

const char *
fake_engine_requests(struct fake_engine *engine)
{
	pthread_mutex_lock(&engine->mutex);
	free(engine->shown);
	engine->shown = xstrdup(engine->requests.data);
	pthread_mutex_unlock(&engine->mutex);
	return engine->shown;
}

void
fake_engine_forget(struct fake_engine *engine)
{
	pthread_mutex_lock(&engine->mutex);
	buf_clear(&engine->requests);
	engine->count = 0;
	pthread_mutex_unlock(&engine->mutex);
}
