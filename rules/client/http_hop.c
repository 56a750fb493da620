#include "http_hop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"

#define ERROR_BODY ((size_t)64 << 10)
#define DEFAULT_BODY ((size_t)64 << 20)
#define POLL_MS 50
#define CLOSE_MS 5

bool
http_is_cancelled(const struct http *http)
{
	return http->cancel && *http->cancel;
}

static bool
is_redirect(const struct http_response *response)
{
	long status = response->status;

	return (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) &&
		http_header(response, "location");
}

static bool
may_redirect(const struct http_request *request)
{
	const char *method = request->method ? request->method : "GET";

	return !request->no_redirect && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
}

/* ---- what libcurl calls ---- */

static void
add_header(struct exchange *exchange, const char *line, size_t size)
{
	struct pairs *headers = &exchange->response->headers;
	const char *colon = memchr(line, ':', size), *end = line + size, *before;
	char *name, *value;

	if (!colon || colon == line)
		return;
	name = arena_copy_bytes(exchange->arena, line, (size_t)(colon - line));
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	for (colon++; colon < end && (*colon == ' ' || *colon == '\t'); colon++)
		;
	while (end > colon && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	value = arena_copy_bytes(exchange->arena, colon, (size_t)(end - colon));
	before = pairs_get(headers, name);
	if (before && strcmp(name, "location") == 0)
		return;
	pairs_set(headers, exchange->arena, name, before ? arena_printf(exchange->arena, "%s, %s", before, value) : value);
}

static bool
is_encoded(const struct http_response *response)
{
	const char *encoding = http_header(response, "content-encoding");

	return encoding && *encoding && strcasecmp(encoding, "identity") != 0;
}

/* Whether the body of the final answer is wanted. */
static bool
accept_head(struct exchange *exchange)
{
	const struct http_request *request = exchange->request;
	struct http_response *response = exchange->response;

	if (request->on_head)
		return request->on_head(request->context, response, &exchange->refusal);
	if (response->status < 300 && is_encoded(response))
		return fail(&exchange->refusal, FAULT_PROTOCOL, "the answer is encoded as `%s`, which nobody asked for",
			http_header(response, "content-encoding"));
	return true;
}

static void
limit_body(struct exchange *exchange, size_t limit)
{
	buf_finish(&exchange->response->body);
	buf_init(&exchange->response->body, limit);
}

static bool
end_head(struct exchange *exchange)
{
	const struct http_session *session = exchange->http->session;
	long status = 0;

	session->curl->easy_getinfo(session->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status < 200)
		return true;
	exchange->response->status = status;
	exchange->head_done = true;
	exchange->follows = may_redirect(exchange->request) && is_redirect(exchange->response);
	if (status >= 300)
		limit_body(exchange, ERROR_BODY);
	if (exchange->follows || accept_head(exchange))
		return true;
	exchange->halt = HALT_REFUSED;
	return false;
}

static size_t
on_header(char *line, size_t unit, size_t count, void *context)
{
	struct exchange *exchange = context;
	size_t size = unit * count, all = size;

	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n'))
		size--;
	/* What comes after the head is the trailer of a chunked body: of no use to anyone here. */
	if (exchange->head_done)
		return all;
	if (size == 0)
		return end_head(exchange) ? all : 0;
	if (size > 5 && strncasecmp(line, "HTTP/", 5) == 0)
		exchange->response->headers = (struct pairs){ 0 };
	else
		add_header(exchange, line, size);
	return all;
}

static size_t
keep_body(struct exchange *exchange, const char *bytes, size_t size)
{
	struct buf *body = &exchange->response->body;

	buf_add(body, bytes, size);
	if (!body->truncated)
		return size;
	exchange->halt = exchange->response->status >= 300 ? HALT_ENOUGH : HALT_TOO_LONG;
	return 0;
}

static size_t
on_body(char *bytes, size_t unit, size_t count, void *context)
{
	struct exchange *exchange = context;
	const struct http_request *request = exchange->request;
	size_t size = unit * count;

	exchange->http->received += size;
	exchange->response->received += size;
	if (exchange->response->status >= 300 || !request->on_body)
		return keep_body(exchange, bytes, size);
	if (request->on_body(request->context, bytes, size))
		return size;
	exchange->halt = HALT_ENDED;
	return 0;
}

/* Called when a connection stands and nothing was sent yet. */
static int
/* NOLINTNEXTLINE(readability-non-const-parameter): the parameters are those of libcurl's callback */
on_connected(void *context, char *address, char *local, int port, int local_port)
{
	struct exchange *exchange = context;
	enum reach reach = url_reach(address);

	(void)local, (void)port, (void)local_port;
	if (exchange->hop == 0)
		exchange->first_reach = reach;
	if (exchange->hop == 0 || exchange->own_origin || reach == REACH_PUBLIC || reach == exchange->first_reach ||
		(reach == REACH_PRIVATE && exchange->first_reach == REACH_LOOPBACK))
		return CURL_PREREQFUNC_OK;
	exchange->halt = HALT_REACH;
	return CURL_PREREQFUNC_ABORT;
}

/* ---- one hop ---- */

static void
listen_to(struct exchange *exchange)
{
	const struct http_session *session = exchange->http->session;
	CURLcode (*set)(CURL *, CURLoption, ...) = session->curl->easy_setopt;

	set(session->easy, CURLOPT_HEADERFUNCTION, on_header);
	set(session->easy, CURLOPT_HEADERDATA, exchange);
	set(session->easy, CURLOPT_WRITEFUNCTION, on_body);
	set(session->easy, CURLOPT_WRITEDATA, exchange);
	set(session->easy, CURLOPT_PREREQFUNCTION, on_connected);
	set(session->easy, CURLOPT_PREREQDATA, exchange);
}

/* Whether libcurl can go on; without memory nobody can. */
static bool
is_well(CURLMcode code)
{
	if (code == CURLM_OUT_OF_MEMORY)
		out_of_memory();
	return code == CURLM_OK;
}

static CURLcode
perform(struct exchange *exchange)
{
	const struct http_session *session = exchange->http->session;
	const struct libcurl *curl = session->curl;
	CURLcode code = CURLE_ABORTED_BY_CALLBACK;
	int running = 1, left;
	CURLMsg *message;

	if (!is_well(curl->multi_add_handle(session->multi, session->easy)))
		return CURLE_FAILED_INIT;
	while (running > 0) {
		if (http_is_cancelled(exchange->http)) {
			exchange->halt = HALT_CANCELLED;
			break;
		}
		if (!is_well(curl->multi_perform(session->multi, &running))) {
			code = CURLE_FAILED_INIT;
			break;
		}
		if (running > 0)
			curl->multi_poll(session->multi, NULL, 0, POLL_MS, NULL);
	}
	while ((message = curl->multi_info_read(session->multi, &left)))
		if (message->msg == CURLMSG_DONE)
			code = message->data.result;
	curl->multi_remove_handle(session->multi, session->easy);
	return code;
}

static bool
is_untrusted(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
}

static const char *
no_answer_words(const struct http_session *session, CURLcode code)
{
	if (code == CURLE_OK)
		return "it ended within the head";
	/* libcurl says the same of a line beyond its limit. */
	if (code == CURLE_OUT_OF_MEMORY)
		return "a line of the head is too long, or memory has run out";
	return *session->words ? session->words : session->curl->easy_strerror(code);
}

/* libcurl counts from a moment of its own, and may give up a little before the deadline. */
static bool
is_over(const struct exchange *exchange)
{
	return exchange->deadline && clock_monotonic_ms() + CLOSE_MS >= exchange->deadline;
}

/* No answer came, or only a piece of its head. */
static bool
no_answer(const struct exchange *exchange, CURLcode code, struct error *err)
{
	const struct http_session *session = exchange->http->session;
	const char *words = no_answer_words(session, code);
	char name[264];

	http_shown_host(exchange->url, name);
	if (is_untrusted(code)) {
		exchange->http->hopeless = true;
		fail(err, FAULT_NETWORK, "the certificate of `%s` is not trusted: %s", name, words);
		return error_hint(err, "if it is signed by your own authority, name its file in SSL_CERT_FILE");
	}
	exchange->http->hopeless = is_over(exchange);
	if (code == CURLE_OPERATION_TIMEDOUT && exchange->http->hopeless)
		return fail(err, FAULT_NETWORK, "`%s` did not answer in time (%lld ms)", name,
			(long long)exchange->request->timeout_ms);
	return fail(err, FAULT_NETWORK, "no answer from `%s`: %s", name, words);
}

/* Whether the hop gave an answer that can be judged. */
static bool
judge(struct exchange *exchange, CURLcode code, struct error *err)
{
	char name[264];

	http_shown_host(exchange->url, name);
	switch (exchange->halt) {
	case HALT_CANCELLED:
		return fail(err, FAULT_INTERRUPTED, "stopped while waiting for `%s`", name);
	case HALT_REFUSED:
		if (exchange->refusal.fault == FAULT_NONE)
			return fail(err, FAULT_PROTOCOL, "the answer of `%s` is not what was asked for", name);
		*err = exchange->refusal;
		return error_wrap(err, "%s", name);
	case HALT_TOO_LONG:
		return fail(err, FAULT_PROTOCOL, "the answer of `%s` is longer than %zu bytes", name, exchange->response->body.limit);
	case HALT_REACH:
		return fail(err, FAULT_PROTOCOL, "redirected to `%s`, an address inside another network", name);
	case HALT_ENDED:
	case HALT_ENOUGH:
		return true;
	case HALT_NOT:
		break;
	}
	if (code == CURLE_OK && exchange->head_done)
		return true;
	if (!exchange->head_done || is_over(exchange))
		return no_answer(exchange, code, err);
	exchange->response->partial = true;
	exchange->response->stalled = code == CURLE_OPERATION_TIMEDOUT;
	return true;
}

bool
http_hop(struct exchange *exchange, struct error *err)
{
	struct http_session *session = exchange->http->session;
	struct header_list headers finally(header_list_finish) = { .session = session };
	struct http_response *response = exchange->response;
	struct url parts;
	CURLcode code;

	if (!http_hop_check(exchange, exchange->url, &parts, err) || !http_set_up(exchange, &parts, &headers, err))
		return false;
	listen_to(exchange);
	exchange->head_done = exchange->follows = exchange->http->hopeless = false;
	*session->words = '\0';
	response->headers = (struct pairs){ 0 };
	response->partial = false;
	response->received = 0;
	limit_body(exchange, exchange->request->limit ? exchange->request->limit : DEFAULT_BODY);
	code = perform(exchange);
	return judge(exchange, code, err);
}
