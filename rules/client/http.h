/* http.h - requests, limits, unix sockets: the only libcurl.
 *
 * libcurl is loaded (dlopen) when the first session is opened, since loading it costs more than a whole plan. Redirects are followed here, by hand: at most 5, never to a lower
 * scheme, never with user info, and a secret goes only to the origin it belongs to (reliability.md section 8, model-hubs.md section 5). No cookies, no netrc, no automatic
 * decoding; https alone but for loopback, unix sockets and `insecure_http`. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/secret.h"
#include "engine/base/strings.h"

struct arena;
struct http_response;
struct http_session;

/* A connection cache; one thread at a time. */
struct http {
	struct http_session *session; /* libcurl's handles */
	const atomic_bool *cancel; /* set: the request ends within 100 ms with E0910; may be NULL */
	uint64_t received;          /* body bytes so far, over all requests */
	bool hopeless;              /* the last request failed in a way that another try would not mend (a certificate, its whole time used up) */
};

struct http_range {
	uint64_t from;
	uint64_t to; /* inclusive */
};

struct http_request {
	const char *method;         /* NULL: GET */
	const char *url;            /* http://localhost/... with a unix socket */
	const char *unix_socket;    /* or NULL */
	struct strings headers;     /* "Name: value", no secrets */
	const struct secret *bearer; /* Authorization: Bearer, to the first origin alone; or NULL */
	const char *secret_cookie;  /* name of a cookie that carries the same secret (ModelScope), or NULL */
	const void *body;
	size_t body_size;
	const char *body_type;      /* Content-Type of the body */
	const struct http_range *range; /* closed range; answers are for the caller to judge */
	size_t limit;               /* of a body kept in memory: more is E0605; 0: 64 MiB */
	int64_t timeout_ms;         /* for the whole request; 0: none but the stall detection (1024 B/s over 30 s, or over PROVISION_STALL_TIMEOUT) */
	int64_t connect_timeout_ms; /* 0: 10 s, or the stall detection's span if that is shorter */
	bool no_stall_limit;        /* streams that may be silent for long (logs, wait, stop) */
	unsigned silence;           /* streams that say little: only nothing at all, for so many times the stall detection's span, ends them; 0: the stall detection holds */
	bool no_redirect;           /* redirects of GET and HEAD alone are followed at all */
	bool no_proxy;
	bool insecure_http;

	/* Called once with the final answer's head before its body; false refuses the body (E0605 unless err was filled). NULL: accept. */
	bool (*on_head)(void *context, const struct http_response *response, struct error *err);
	/* Body bytes as they come; false ends the transfer. NULL: kept in response.body. Bodies of answers with status >= 300 are always kept (64 KiB). */
	bool (*on_body)(void *context, const char *bytes, size_t size);
	void *context;
};

struct http_response {
	long status;
	struct pairs headers;       /* of the final answer; names in lower case; in the arena */
	struct pairs first_headers; /* of the first answer, if there were redirects */
	struct buf body;
	const char *url;            /* final one, for people: without query */
	const char *location;       /* full URL of the final hop; it may be a signed one, so a secret: for range requests only */
	int64_t retry_after;        /* s that the server asked for (Retry-After or RateLimit); 0: nothing */
	uint64_t received;          /* body bytes */
	bool partial;               /* the connection ended before the announced length: what came was delivered */
	bool stalled;               /* and it was we who ended it, since next to nothing came */
};

/* The environment may set two spans: PROVISION_STALL_TIMEOUT (30s) until a connection on which next to nothing comes is given up, PROVISION_RETRY_PAUSE (1s) before the second try
 * of a request, doubled for each further one up to thirty times as much. */
bool http_init(struct http *http, const atomic_bool *cancel, struct error *err);
void http_finish(struct http *http);
void http_response_finish(struct http_response *response);

/* True when an answer came, whatever its status (also a partial body: `partial`). False: no answer; E0601 names host and cause, E0603 TLS and 401/403 are never made here but by callers. */
bool http_do(struct http *http, const struct http_request *request, struct arena *arena, struct http_response *response, struct error *err);

/* Retry of what may pass: 408, 429, 5xx, connect errors; model-hubs.md 5.6 with at most `tries`. */
bool http_do_retrying(struct http *http, const struct http_request *request, unsigned tries, struct arena *arena,
	struct http_response *response, struct error *err);

/* Whether the server wants more time to pass than a run waits. */
bool http_asks_too_much(const struct http_response *response);

/* Milliseconds to wait before the try after `tries` failed ones; `retry_after` (s, 0: none) is what the server asked for. */
int64_t http_back_off(const struct http *http, unsigned tries, int64_t retry_after);

/* A duration out of the environment, else `usual`; E0103 for what cannot be read, since who sets it relies on it. */
bool http_span(const char *name, int64_t usual, int64_t *ms, struct error *err);

/* How long a connection may bring next to nothing, in ms. */
int64_t http_stall_ms(const struct http *http);

/* What a status of 400 or more means where nothing more is known: E0602, E0603, E0604, E0605, or E0601 for what may pass. Returns false. */
bool http_fail_status(const char *what, const struct http_response *response, struct error *err);

const char *http_header(const struct http_response *response, const char *name); /* lower-case name; NULL */

/* `Content-Range: bytes A-B/T`; total UINT64_MAX for `*`. */
bool http_content_range(const struct http_response *response, uint64_t *from, uint64_t *to, uint64_t *total);

/* Percent-encode all but A-Za-z0-9_.-~ and the characters in `keep`. */
const char *http_escape(struct arena *arena, const char *text, const char *keep);

/* Whether scheme, host and port are equal; whether the host is loopback; the host for messages. */
bool http_same_origin(const char *a, const char *b);
bool http_is_loopback(const char *url);
const char *http_host(struct arena *arena, const char *url);
