#include "http_hop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"

#define RECEIVE_BUFFER (512L << 10)
#define STALL_BYTES 1024L
#define CONNECT_MS 10000

const char *
http_shown_host(const char *url, char name[264])
{
	struct url parts;
	const char *why;

	if (!url_split(url, &parts, &why))
		return "an unreadable URL";
	snprintf(name, 264, parts.bracketed ? "[%.*s]" : "%.*s", (int)parts.host_size, parts.host);
	return name;
}

bool
http_hop_check(const struct exchange *exchange, const char *url, struct url *parts, struct error *err)
{
	bool https, http, loopback;
	char name[264];
	const char *why;

	if (!url_split(url, parts, &why))
		return fail(err, exchange->hop ? FAULT_PROTOCOL : FAULT_BAD_VALUE, "a URL cannot be read: %s", why);
	https = url_has_scheme(parts, "https");
	http = url_has_scheme(parts, "http");
	if (!https && !http)
		return fail(err, FAULT_PROTOCOL, "`%.*s:` is no scheme that may be used", (int)parts->scheme_size, parts->scheme);
	loopback = exchange->request->unix_socket || url_is_loopback(parts);
	http_shown_host(url, name);
	if (parts->user_info)
		return fail(err, FAULT_INSECURE, "the URL of `%s` holds a user name or password", name);
	if (http && exchange->hop > 0 && url_has_scheme(&exchange->first, "https"))
		return fail(err, FAULT_INSECURE, "`%s` is to be asked without encryption after a redirect from https", name);
	if (http && !loopback && !exchange->request->insecure_http) {
		fail(err, FAULT_INSECURE, "`%s` would be asked without encryption (http:)", name);
		return error_hint(err, "use https://, or say `insecure_http: true` if the network in between can be trusted");
	}
	if (http && !loopback && exchange->own_origin && exchange->request->bearer)
		return fail(err, FAULT_INSECURE, "the token <%s> is not sent to `%s` without encryption (http:)",
			exchange->request->bearer->name, name);
	return true;
}

static bool
is_one_line(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

static void
wipe_list(const struct http_session *session, struct curl_slist *list)
{
	for (struct curl_slist *item = list; item; item = item->next)
		explicit_bzero(item->data, strlen(item->data));
	session->curl->slist_free_all(list);
}

void
header_list_finish(struct header_list *list)
{
	if (list->session)
		wipe_list(list->session, list->items);
}

static void
header_list_add(struct header_list *list, const char *line)
{
	struct curl_slist *longer = list->session->curl->slist_append(list->items, line);

	if (!longer)
		out_of_memory();
	list->items = longer;
}

static bool
add_secret(struct header_list *list, const struct http_request *request, struct error *err)
{
	const struct secret *secret = request->bearer;
	struct buf line finally(buf_finish) = { 0 };

	if (!is_one_line(secret->value))
		return fail(err, FAULT_PERMISSION, "the token <%s> holds more than one line of plain text", secret->name);
	buf_init(&line, secret->length + 300);
	buf_printf(&line, "Authorization: Bearer %s", secret->value);
	header_list_add(list, line.data);
	if (request->secret_cookie) {
		buf_clear(&line);
		buf_printf(&line, "Cookie: %s=%s", request->secret_cookie, secret->value);
		header_list_add(list, line.data);
	}
	explicit_bzero(line.data, line.capacity);
	return true;
}

static bool
make_headers(const struct exchange *exchange, struct header_list *list, struct error *err)
{
	const struct http_request *request = exchange->request;

	header_list_add(list, "User-Agent: provision/" PROVISION_VERSION);
	header_list_add(list, "Accept-Encoding: identity");
	header_list_add(list, "Expect:");
	if (request->body || request->body_type)
		header_list_add(list, arena_printf(exchange->arena, "Content-Type:%s%s", request->body_type ? " " : "",
			request->body_type ? request->body_type : ""));
	for (size_t i = 0; i < request->headers.count; i++) {
		if (!is_one_line(request->headers.items[i]))
			return fail(err, FAULT_BAD_VALUE, "a header holds more than one line");
		header_list_add(list, request->headers.items[i]);
	}
	if (request->bearer && request->bearer->length > 0 && exchange->own_origin)
		return add_secret(list, request, err);
	return true;
}

static void
set_method(const struct http_session *session, const struct http_request *request)
{
	const char *method = request->method ? request->method : "GET";
	CURLcode (*set)(CURL *, CURLoption, ...) = session->curl->easy_setopt;

	if (strcmp(method, "HEAD") == 0) {
		set(session->easy, CURLOPT_NOBODY, 1L);
	} else if (request->body || strcmp(method, "POST") == 0) {
		set(session->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_size);
		set(session->easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
		set(session->easy, CURLOPT_CUSTOMREQUEST, method);
	} else if (strcmp(method, "GET") != 0) {
		set(session->easy, CURLOPT_CUSTOMREQUEST, method);
	}
}

static long
stall_seconds(const struct http_session *session, const struct http_request *request)
{
	return (long)((session->stall_ms * (request->silence ? request->silence : 1) + 999) / 1000);
}

static void
set_transport(const struct http_session *session, const struct exchange *exchange, const struct url *parts)
{
	const struct http_request *request = exchange->request;
	CURLcode (*set)(CURL *, CURLoption, ...) = session->curl->easy_setopt;
	int64_t usual = exchange->http->session->stall_ms < CONNECT_MS ? exchange->http->session->stall_ms : CONNECT_MS;
	int64_t connect = request->connect_timeout_ms ? request->connect_timeout_ms : usual;
	const char *authorities = getenv("SSL_CERT_FILE");

	set(session->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect);
	if (exchange->deadline) {
		int64_t left = exchange->deadline - clock_monotonic_ms();

		set(session->easy, CURLOPT_TIMEOUT_MS, (long)(left > 1 ? left : 1));
	}
	if (!request->no_stall_limit) {
		set(session->easy, CURLOPT_LOW_SPEED_LIMIT, request->silence ? 1L : STALL_BYTES);
		set(session->easy, CURLOPT_LOW_SPEED_TIME, stall_seconds(session, request));
	}
	if (request->unix_socket)
		set(session->easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_socket);
	if (request->unix_socket || request->no_proxy || url_is_loopback(parts))
		set(session->easy, CURLOPT_NOPROXY, "*");
	set(session->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	set(session->easy, CURLOPT_SSL_VERIFYPEER, 1L);
	set(session->easy, CURLOPT_SSL_VERIFYHOST, 2L);
	set(session->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (authorities && *authorities)
		set(session->easy, CURLOPT_CAINFO, authorities);
	/* Several connections for ranges pay only if they do not share one TCP stream. */
	set(session->easy, CURLOPT_HTTP_VERSION, (long)(request->range ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
}

bool
http_set_up(const struct exchange *exchange, const struct url *parts, struct header_list *headers, struct error *err)
{
	const struct http_session *session = exchange->http->session;
	const struct http_request *request = exchange->request;
	CURLcode (*set)(CURL *, CURLoption, ...) = session->curl->easy_setopt;
	char range[48];

	if (!make_headers(exchange, headers, err))
		return false;
	session->curl->easy_reset(session->easy);
	set(session->easy, CURLOPT_ERRORBUFFER, session->words);
	set(session->easy, CURLOPT_NOSIGNAL, 1L);
	set(session->easy, CURLOPT_QUICK_EXIT, 1L);
	set(session->easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
	set(session->easy, CURLOPT_HTTPHEADER, headers->items);
	set_method(session, request);
	set_transport(session, exchange, parts);
	if (request->range) {
		snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)request->range->from,
			(unsigned long long)request->range->to);
		set(session->easy, CURLOPT_RANGE, range);
	}
	if (set(session->easy, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
		set(session->easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https") != CURLE_OK ||
		set(session->easy, CURLOPT_URL, exchange->url) != CURLE_OK)
		return fail(err, FAULT_NETWORK, "libcurl does not take the settings of a request");
	return true;
}
