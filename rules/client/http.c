#include "http.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"
#include "engine/base/units.h"
#include "http_hop.h"

#define MOST_REDIRECTS 5
#define STALL_MS 30000
#define PAUSE_MS 1000
#define LONGEST_WAIT_MS (15 * 60 * 1000)
#define LONGEST_BACK_OFF 30 /* pauses */
#define LONGEST_SPAN_MS (24 * 3600 * 1000)

static void
free_url(CURLU **url)
{
	struct error ignored = { 0 };

	if (*url)
		libcurl(&ignored)->url_cleanup(*url);
}

/* The target of `Location`, absolute, as libcurl writes it. */
static bool
next_url(struct exchange *exchange, const char **next, struct error *err)
{
	const struct libcurl *curl = exchange->http->session->curl;
	CURLU *url finally(free_url) = curl->url();
	const char *location = http_header(exchange->response, "location");
	char *text = NULL;
	char name[264];

	if (!url)
		out_of_memory();
	if (curl->url_set(url, CURLUPART_URL, exchange->url, 0) != CURLUE_OK ||
		curl->url_set(url, CURLUPART_URL, location, CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE) != CURLUE_OK ||
		curl->url_set(url, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK ||
		curl->url_get(url, CURLUPART_URL, &text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		return fail(err, FAULT_PROTOCOL, "`%s` redirects to something that is no URL", http_shown_host(exchange->url, name));
	*next = arena_copy(exchange->arena, text);
	curl->free(text);
	return true;
}

static bool
follow(struct exchange *exchange, struct error *err)
{
	char name[264];
	const char *next;
	struct url parts;

	http_shown_host(exchange->url, name);
	if (exchange->hop == MOST_REDIRECTS)
		return fail(err, FAULT_PROTOCOL, "more than %d redirects; the last one from `%s`", MOST_REDIRECTS, name);
	if (!next_url(exchange, &next, err))
		return false;
	if (exchange->hop == 0)
		exchange->response->first_headers = exchange->response->headers;
	exchange->hop++;
	exchange->halt = HALT_NOT;
	exchange->own_origin = false;
	if (!http_hop_check(exchange, next, &parts, err))
		return error_wrap(err, "redirect of `%s`", name);
	exchange->own_origin = !exchange->request->unix_socket && url_same_origin(&parts, &exchange->first);
	exchange->url = next;
	return true;
}

static const char *
rate_limit_value(const char *header, const char *key)
{
	const char *at = header;

	while ((at = strchr(at, ';'))) {
		at++;
		while (*at == ' ')
			at++;
		if (text_starts(at, key))
			return at + strlen(key);
	}
	return NULL;
}

/* RateLimit says when the window ends, which is more exact than Retry-After. */
static int64_t
asked_wait(const struct http_session *session, const struct http_response *response)
{
	const char *limit = http_header(response, "ratelimit");
	const char *remaining = limit ? rate_limit_value(limit, "r=") : NULL;
	const char *reset = limit ? rate_limit_value(limit, "t=") : NULL;
	curl_off_t seconds = 0;

	if (response->status < 400)
		return 0;
	if (remaining && reset && strtol(remaining, NULL, 10) == 0) {
		long wait = strtol(reset, NULL, 10);

		return wait >= 0 && wait < 1000000 ? wait + 1 : 1;
	}
	session->curl->easy_getinfo(session->easy, CURLINFO_RETRY_AFTER, &seconds);
	return seconds;
}

static bool
exchange_all(struct exchange *exchange, struct error *err)
{
	struct http_response *response = exchange->response;

	do {
		if (http_is_cancelled(exchange->http))
			return fail(err, FAULT_INTERRUPTED, "stopped before a request");
		if (!http_hop(exchange, err))
			return false;
	} while (exchange->follows && follow(exchange, err));
	if (exchange->follows)
		return false;
	response->location = exchange->url;
	response->url = secret_url_shown(exchange->arena, exchange->url);
	response->retry_after = asked_wait(exchange->http->session, response);
	return true;
}

bool
http_span(const char *name, int64_t usual, int64_t *ms, struct error *err)
{
	const char *text = getenv(name);

	*ms = usual;
	if (!text || !*text || (units_duration(text, ms) && *ms > 0 && *ms <= LONGEST_SPAN_MS))
		return true;
	return fail(err, FAULT_BAD_VALUE, "%s is `%s`: a duration such as `30s` is wanted", name, text);
}

bool
http_init(struct http *http, const atomic_bool *cancel, struct error *err)
{
	const struct libcurl *curl = libcurl(err);
	struct http_session *session;
	int64_t stall, pause;

	if (!curl || !http_span("PROVISION_STALL_TIMEOUT", STALL_MS, &stall, err) ||
		!http_span("PROVISION_RETRY_PAUSE", PAUSE_MS, &pause, err))
		return false;
	session = xmalloc(sizeof *session);
	*session = (struct http_session){ .curl = curl, .easy = curl->easy_init(), .multi = curl->multi_init(), .stall_ms = stall, .pause_ms = pause };
	if (!session->easy || !session->multi)
		out_of_memory();
	*http = (struct http){ .session = session, .cancel = cancel };
	return true;
}

void
http_finish(struct http *http)
{
	struct http_session *session = http->session;

	if (!session)
		return;
	session->curl->easy_cleanup(session->easy);
	session->curl->multi_cleanup(session->multi);
	free(session);
	http->session = NULL;
}

void
http_response_finish(struct http_response *response)
{
	buf_finish(&response->body);
	*response = (struct http_response){ 0 };
}

bool
http_do(struct http *http, const struct http_request *request, struct arena *arena, struct http_response *response,
	struct error *err)
{
	struct exchange exchange = { .http = http, .request = request, .arena = arena, .response = response,
		.url = request->url, .own_origin = true };
	const char *why;

	*response = (struct http_response){ 0 };
	if (request->timeout_ms)
		exchange.deadline = clock_monotonic_ms() + request->timeout_ms;
	if (url_split(request->url, &exchange.first, &why) && exchange_all(&exchange, err))
		return true;
	if (!exchange.first.scheme)
		fail(err, FAULT_BAD_VALUE, "a URL cannot be read: %s", why);
	http_response_finish(response);
	return false;
}

static bool
passes(const struct http_response *response)
{
	static const long statuses[] = { 408, 429, 500, 502, 503, 504 };

	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		if (response->status == statuses[i])
			return true;
	return response->partial;
}

bool
http_asks_too_much(const struct http_response *response)
{
	return response->retry_after > LONGEST_WAIT_MS / 1000;
}

int64_t
http_stall_ms(const struct http *http)
{
	return http->session->stall_ms;
}

int64_t
http_back_off(const struct http *http, unsigned tries, int64_t retry_after)
{
	int64_t wait = http->session->pause_ms * (tries < 5 ? 1 << tries : LONGEST_BACK_OFF);
	unsigned char chance;

	if (retry_after > 0)
		return retry_after < LONGEST_WAIT_MS / 1000 ? retry_after * 1000 : LONGEST_WAIT_MS;
	random_bytes(&chance, 1);
	return wait / 2 + wait * chance / 255;
}

bool
http_do_retrying(struct http *http, const struct http_request *request, unsigned tries, struct arena *arena,
	struct http_response *response, struct error *err)
{
	for (unsigned n = 0;; n++) {
		bool answered = http_do(http, request, arena, response, err);
		bool last = n + 1 >= tries;

		if (answered ? !passes(response) || http_asks_too_much(response) || last : err->fault != FAULT_NETWORK || http->hopeless || last)
			return answered;
		clock_sleep_ms(http_back_off(http, n, answered ? response->retry_after : 0), http->cancel);
		if (answered)
			http_response_finish(response);
	}
}
