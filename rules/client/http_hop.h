/* http_hop.h - one request to one host, without its redirects. For http.c alone.
 *
 * Only here does libcurl learn what it may do; whatever it finds out goes into the exchange. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http.h"
#include "libcurl.h"
#include "url.h"

struct http_session {
	const struct libcurl *curl;
	CURL *easy;
	CURLM *multi;
	int64_t stall_ms;      /* how long next to nothing may come */
	int64_t pause_ms;      /* before the first other try */
	char words[CURL_ERROR_SIZE];
};

/* Why an exchange ended before its body did. */
enum halt {
	HALT_NOT,
	HALT_REFUSED,  /* on_head said no; its error is in `refusal` */
	HALT_ENDED,    /* on_body wants no more */
	HALT_ENOUGH,   /* more of a redirect's or an error's body than anyone will read */
	HALT_TOO_LONG,
	HALT_REACH,    /* a redirect to an address further in than where it came from */
	HALT_CANCELLED,
};

/* One request and all its hops. */
struct exchange {
	struct http *http;
	const struct http_request *request;
	struct arena *arena;
	struct http_response *response;
	struct error refusal;
	const char *url;       /* of this hop */
	struct url first;      /* parts of the first hop's URL */
	enum reach first_reach;
	unsigned hop;
	bool own_origin;       /* this hop still goes where the secret belongs */
	bool head_done;
	bool follows;
	enum halt halt;
	int64_t deadline;      /* monotonic ms; 0: none */
};

/* Headers of one hop. The list may hold a secret, so it is wiped when the hop ends. */
struct header_list {
	const struct http_session *session;
	struct curl_slist *items;
};

void header_list_finish(struct header_list *list);

/* Tell libcurl everything about the hop but whom to call. */
bool http_set_up(const struct exchange *exchange, const struct url *parts, struct header_list *headers, struct error *err);

/* Whether a URL may be asked at all: scheme, user info, encryption, and no token without it. */
bool http_hop_check(const struct exchange *exchange, const char *url, struct url *parts, struct error *err);

/* Ask `exchange->url`. True when the head of an answer came that can be judged; `exchange->follows` says that it is a redirect to be followed. */
bool http_hop(struct exchange *exchange, struct error *err);

bool http_is_cancelled(const struct http *http);

/* Host of a URL for messages. */
const char *http_shown_host(const char *url, char name[264]);
