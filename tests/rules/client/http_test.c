/* http.c against the test hub, and against raw answers of a socket of its own. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/clock.h"
#include "rules/client/http.h"
#include "tests/fake/hub.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

static struct fake_hub hub;

/* A server that answers each connection with the same bytes and closes it. */
struct canned {
	int listener;
	unsigned short port;
	const char *answer;
	char request[4096]; /* of the last connection */
	pthread_t thread;
};

static void *
serve(void *context)
{
	struct canned *canned = context;
	int fd;

	while ((fd = accept(canned->listener, NULL, NULL)) >= 0) {
		size_t size = 0;
		ssize_t got;

		while (size + 1 < sizeof canned->request && (got = read(fd, canned->request + size, sizeof canned->request - 1 - size)) > 0) {
			size += (size_t)got;
			canned->request[size] = '\0';
			if (strstr(canned->request, "\r\n\r\n"))
				break;
		}
		if (send(fd, canned->answer, strlen(canned->answer), MSG_NOSIGNAL) < 0)
			canned->request[0] = '\0';
		shutdown(fd, SHUT_RDWR);
		close(fd);
	}
	return NULL;
}

static void
canned_start(struct canned *canned, const char *answer)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof address;

	*canned = (struct canned){ .answer = answer, .listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	assert_int_equal(bind(canned->listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(canned->listener, 8), 0);
	assert_int_equal(getsockname(canned->listener, (struct sockaddr *)&address, &size), 0);
	canned->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&canned->thread, NULL, serve, canned), 0);
}

static void
canned_stop(struct canned *canned)
{
	shutdown(canned->listener, SHUT_RDWR);
	pthread_join(canned->thread, NULL);
	close(canned->listener);
}

struct seen {
	unsigned heads;
	long status;
	char body[256];
	size_t size;
	size_t most; /* on_body ends the transfer after so many bytes; 0: never */
	bool refuse;
};

static bool
on_head(void *context, const struct http_response *response, struct error *err)
{
	struct seen *seen = context;

	(void)err;
	seen->heads++;
	seen->status = response->status;
	return !seen->refuse;
}

static bool
on_body(void *context, const char *bytes, size_t size)
{
	struct seen *seen = context;

	if (size > sizeof seen->body - seen->size)
		size = sizeof seen->body - seen->size;
	memcpy(seen->body + seen->size, bytes, size);
	seen->size += size;
	return !seen->most || seen->size < seen->most;
}

/* Raw answers: what is taken as the head, what as the body, what is refused. */
static void
answers(void **state)
{
	static const struct {
		const char *answer;
		bool good, partial;
		long status;
		const char *body, *header, *value;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok", true, false, 200, "ok", "x-a", "1" },
		{ "HTTP/1.1 100 Continue\r\nX-A: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, false, 200, "ok", "x-a", NULL },
		{ "HTTP/1.1 200 OK\r\nLink: <a>; rel=x\r\nLINK: <b>; rel=next\r\nContent-Length: 0\r\n\r\n", true, false, 200, "", "link",
			"<a>; rel=x, <b>; rel=next" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", true, true, 200, "short", NULL, NULL },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: trailer\r\n\r\n", true, false, 200, "ok", "x-a", NULL },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz", true, true, 200, "ok", NULL, NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", true, false, 404, "no", NULL, NULL },
		{ "HTTP/1.1 304 Not Modified\r\n\r\n", true, false, 304, "", NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", true, false, 302, "", NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nLocation: http://me:pw@127.0.0.1/\r\nContent-Length: 0\r\n\r\n", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nLocation: http://a/http://b\\c\r\nContent-Length: 0\r\n\r\n", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 200", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Le", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", false, false, 0, NULL, NULL, NULL },
		{ "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/x\r\n", false, false, 0, NULL, NULL, NULL },
		{ "garbage\r\n\r\n", false, false, 0, NULL, NULL, NULL },
		{ "", false, false, 0, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct canned canned;
		struct http http = { 0 };
		struct http_request request = { 0 };
		struct http_response response = { 0 };
		struct error err = { 0 };
		struct arena arena;
		bool good;

		arena_init(&arena);
		canned_start(&canned, cases[i].answer);
		request.url = arena_printf(&arena, "http://127.0.0.1:%u/x", canned.port);
		assert_true(http_init(&http, NULL, &err));
		good = http_do(&http, &request, &arena, &response, &err);
		if (good != cases[i].good)
			fail_msg("%s: %s", cases[i].answer, good ? "taken" : err.text);
		if (good) {
			assert_int_equal(response.status, cases[i].status);
			assert_int_equal(response.partial, cases[i].partial);
			assert_string_equal(response.body.data, cases[i].body);
			if (cases[i].header)
				assert_true(text_equal(http_header(&response, cases[i].header), cases[i].value));
		} else {
			assert_true(err.fault == FAULT_NETWORK || err.fault == FAULT_PROTOCOL || err.fault == FAULT_INSECURE);
		}
		http_response_finish(&response);
		http_finish(&http);
		canned_stop(&canned);
		arena_finish(&arena);
	}
}

/* What is sent, and what never is. */
static void
requests(void **state)
{
	struct canned canned;
	struct http http = { 0 };
	struct http_response response;
	struct error err = { 0 };
	struct arena arena;
	struct secret secret = { .name = "TOKEN", .value = arena_copy(&hub.arena, "canary"), .length = 6 };
	struct http_range range = { 5, 9 };
	struct http_request request = { .bearer = &secret, .secret_cookie = "m_session_id", .range = &range };

	(void)state;
	arena_init(&arena);
	canned_start(&canned, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_true(http_init(&http, NULL, &err));
	request.url = arena_printf(&arena, "http://127.0.0.1:%u/x?y=z", canned.port);
	strings_add(&request.headers, &arena, "X-Mine: 1");
	assert_true(http_do(&http, &request, &arena, &response, &err));
	assert_string_equal(response.url, arena_printf(&arena, "http://127.0.0.1:%u/x", canned.port));
	http_response_finish(&response);
	assert_non_null(strstr(canned.request, "GET /x?y=z HTTP/1.1\r\n"));
	assert_non_null(strstr(canned.request, "Range: bytes=5-9\r\n"));
	assert_non_null(strstr(canned.request, "Accept-Encoding: identity\r\n"));
	assert_non_null(strstr(canned.request, "Authorization: Bearer canary\r\n"));
	assert_non_null(strstr(canned.request, "Cookie: m_session_id=canary\r\n"));
	assert_non_null(strstr(canned.request, "X-Mine: 1\r\n"));

	request = (struct http_request){ .url = request.url, .method = "PUT", .body = "{}", .body_size = 2, .body_type = "application/json" };
	assert_true(http_do(&http, &request, &arena, &response, &err));
	http_response_finish(&response);
	assert_non_null(strstr(canned.request, "PUT /x?y=z"));
	assert_non_null(strstr(canned.request, "Content-Type: application/json\r\n"));
	assert_null(strstr(canned.request, "Expect:"));
	assert_null(strstr(canned.request, "canary"));

	secret.value = arena_copy(&arena, "two\r\nX-Evil: lines");
	request = (struct http_request){ .url = request.url, .bearer = &secret };
	secret.length = strlen(secret.value);
	assert_false(http_do(&http, &request, &arena, &response, &err));
	assert_int_equal(err.fault, FAULT_PERMISSION);
	assert_null(strstr(err.text, "Evil"));
	http_finish(&http);
	canned_stop(&canned);
	arena_finish(&arena);
}

/* URLs that are not asked at all. */
static void
refused_urls(void **state)
{
	static const struct {
		const char *url;
		bool insecure, token;
		enum fault fault;
	} cases[] = {
		{ "http://192.0.2.1/", false, false, FAULT_INSECURE },
		{ "http://192.0.2.1/", true, true, FAULT_INSECURE },
		{ "https://me:pw@192.0.2.1/", false, false, FAULT_INSECURE },
		{ "ftp://192.0.2.1/", true, false, FAULT_PROTOCOL },
		{ "file:///etc/passwd", true, false, FAULT_PROTOCOL },
		{ "nonsense", false, false, FAULT_BAD_VALUE },
		{ "http://127.0.0.1:1/", false, false, FAULT_NETWORK },
	};
	struct secret secret = { .name = "TOKEN", .value = arena_copy(&hub.arena, "canary"), .length = 6 };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct http http = { 0 };
		struct http_request request = { .url = cases[i].url, .insecure_http = cases[i].insecure, .bearer = cases[i].token ? &secret : NULL };
		struct http_response response;
		struct error err = { 0 };

		assert_true(http_init(&http, NULL, &err));
		if (http_do(&http, &request, &hub.arena, &response, &err) || err.fault != cases[i].fault)
			fail_msg("%s: %s", cases[i].url, err.text);
		http_finish(&http);
	}
}

/* The secret goes to its own origin and no further; what follows a redirect is known to the caller. */
static void
redirects(void **state)
{
	struct secret secret = { .name = "TOKEN", .value = arena_copy(&hub.arena, "canary"), .length = 6 };
	struct http http = { 0 };
	struct seen seen = { 0 };
	struct http_response response;
	struct error err = { 0 };
	struct http_request request = { .bearer = &secret, .on_head = on_head, .on_body = on_body, .context = &seen };

	(void)state;
	fake_hub_reset(&hub);
	assert_true(http_init(&http, NULL, &err));
	request.url = arena_printf(&hub.arena, "%s/acme/h/resolve/main/w.bin", hub.url);
	assert_true(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(seen.heads, 1);
	assert_int_equal(seen.status, 200);
	assert_int_equal(seen.size, 10);
	assert_non_null(pairs_get(&response.first_headers, "x-linked-size"));
	assert_non_null(strstr(response.location, "signature="));
	assert_null(strstr(response.url, "signature="));
	http_response_finish(&response);
	assert_int_equal(fake_hub_leaks(&hub), 0);
	assert_int_equal(fake_hub_authorized(&hub), 1);

	request.no_redirect = true;
	assert_true(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(response.status, 302);
	http_response_finish(&response);

	request = (struct http_request){ .url = request.url, .on_head = on_head, .context = &seen };
	seen.refuse = true;
	assert_false(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
	http_finish(&http);
}

static void
limits(void **state)
{
	struct http http = { 0 };
	struct seen seen = { .most = 3 };
	struct http_response response;
	struct error err = { 0 };
	struct http_request request = { .limit = 5 };

	(void)state;
	fake_hub_reset(&hub);
	assert_true(http_init(&http, NULL, &err));
	request.url = arena_printf(&hub.arena, "%s/plain/acme/h/w.bin", hub.url);
	assert_false(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(err.fault, FAULT_PROTOCOL);
	request = (struct http_request){ .url = request.url, .on_body = on_body, .context = &seen };
	assert_true(http_do(&http, &request, &hub.arena, &response, &err));
	assert_true(seen.size >= 3);
	http_response_finish(&response);
	http_finish(&http);
}

static void *
set_soon(void *flag)
{
	usleep(200000);
	*(atomic_bool *)flag = true;
	return NULL;
}

/* A stalled answer: the flag ends it at once, the request's own time limit too. */
static void
waiting(void **state)
{
	atomic_bool cancel = false;
	struct http http = { 0 };
	struct http_response response;
	struct error err = { 0 };
	struct http_request request = { 0 };
	pthread_t thread;
	int64_t begun;

	(void)state;
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"w.bin\",\"behaviour\":\"stall\",\"times\":-1}");
	request.url = arena_printf(&hub.arena, "%s/plain/acme/h/w.bin", hub.url);
	assert_true(http_init(&http, &cancel, &err));
	assert_int_equal(pthread_create(&thread, NULL, set_soon, (void *)(uintptr_t)&cancel), 0);
	begun = clock_monotonic_ms();
	assert_false(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(err.fault, FAULT_INTERRUPTED);
	assert_in_range((uintmax_t)(clock_monotonic_ms() - begun), 190, 300);
	pthread_join(thread, NULL);
	cancel = false;
	request.timeout_ms = 300;
	begun = clock_monotonic_ms();
	assert_false(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(err.fault, FAULT_NETWORK);
	assert_non_null(strstr(err.text, "in time"));
	assert_in_range((uintmax_t)(clock_monotonic_ms() - begun), 290, 900);
	http_finish(&http);
}

static void
retries(void **state)
{
	struct http http = { 0 };
	struct http_response response;
	struct error err = { 0 };
	struct http_request request = { 0 };

	(void)state;
	fake_hub_reset(&hub);
	fake_hub_fault(&hub, "{\"path\":\"w.bin\",\"behaviour\":\"503\",\"arg\":1}");
	fake_hub_fault(&hub, "{\"path\":\"w.bin\",\"behaviour\":\"truncate\",\"arg\":4}");
	request.url = arena_printf(&hub.arena, "%s/plain/acme/h/w.bin", hub.url);
	assert_true(http_init(&http, NULL, &err));
	assert_true(http_do_retrying(&http, &request, 4, &hub.arena, &response, &err));
	assert_int_equal(response.status, 200);
	assert_false(response.partial);
	assert_int_equal(response.body.size, 10);
	http_response_finish(&response);
	fake_hub_fault(&hub, "{\"path\":\"w.bin\",\"behaviour\":\"429\",\"arg\":7}");
	assert_true(http_do(&http, &request, &hub.arena, &response, &err));
	assert_int_equal(response.status, 429);
	assert_int_equal(response.retry_after, 8);
	http_response_finish(&response);
	fake_hub_fault(&hub, "{\"path\":\"w.bin\",\"behaviour\":\"404\"}");
	assert_true(http_do_retrying(&http, &request, 4, &hub.arena, &response, &err));
	assert_int_equal(response.status, 404);
	http_response_finish(&response);
	for (unsigned n = 0; n < 8; n++)
		assert_in_range((uintmax_t)http_back_off(&http, n, 0), (uintmax_t)(n < 5 ? 500 << n : 15000), (uintmax_t)(n < 5 ? 1500 << n : 45000));
	assert_int_equal(http_back_off(&http, 0, 3), 3000);
	assert_int_equal(http_back_off(&http, 0, 1000000000), 15 * 60 * 1000);
	http_finish(&http);
}

/* The environment sets how long silence lasts and how long a pause is; what cannot be read is refused. */
static void
spans_of_the_environment(void **state)
{
	static const char *const refused[] = { "soon", "0s", "-1s", "9999h" };
	struct error err = { 0 };
	struct http http;

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		assert_int_equal(setenv("PROVISION_STALL_TIMEOUT", refused[i], 1), 0);
		assert_false(http_init(&http, NULL, &err));
		assert_int_equal(err.fault, FAULT_BAD_VALUE);
		assert_non_null(strstr(err.text, "PROVISION_STALL_TIMEOUT"));
	}
	assert_int_equal(setenv("PROVISION_STALL_TIMEOUT", "1s", 1), 0);
	assert_int_equal(setenv("PROVISION_RETRY_PAUSE", "10ms", 1), 0);
	assert_true(http_init(&http, NULL, &err));
	assert_int_equal(http_stall_ms(&http), 1000);
	assert_in_range((uintmax_t)http_back_off(&http, 7, 0), 150, 450);
	http_finish(&http);
	assert_int_equal(unsetenv("PROVISION_STALL_TIMEOUT") | unsetenv("PROVISION_RETRY_PAUSE"), 0);
}

static void
unix_sockets(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct canned canned = { .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" };
	struct http http = { 0 };
	struct http_response response;
	struct error err = { 0 };
	struct http_request request = { .url = "http://localhost/_ping", .unix_socket = address.sun_path };

	(void)state;
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", hub.directory);
	canned.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(canned.listener, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(canned.listener, 8), 0);
	assert_int_equal(pthread_create(&canned.thread, NULL, serve, &canned), 0);
	assert_true(http_init(&http, NULL, &err));
	if (!http_do(&http, &request, &hub.arena, &response, &err))
		fail_msg("%s", err.text);
	assert_string_equal(response.body.data, "ok");
	http_response_finish(&response);
	http_finish(&http);
	canned_stop(&canned);
}

static int
start(void **state)
{
	(void)state;
	fake_hub_start(&hub, NULL);
	fake_hub_write(&hub, "acme/h/w.bin", "0123456789", 10);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	fake_hub_stop(&hub);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(requests),
		cmocka_unit_test(refused_urls),
		cmocka_unit_test(redirects),
		cmocka_unit_test(limits),
		cmocka_unit_test(waiting),
		cmocka_unit_test(retries),
		cmocka_unit_test(spans_of_the_environment),
		cmocka_unit_test(unix_sockets),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
