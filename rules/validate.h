/* validate.h - the inside of the rule `validate`: one check, how it is asked, and how its answer is judged. For validate*.c alone.
 *
 * Whatever a server answers is a finding at most; errors are for what makes asking impossible: an interruption, a file that is gone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/http.h"
#include "engine/base/finding.h"
#include "engine/params.h"

struct task;

struct expect {
	struct strings contains;
	struct strings matches;        /* POSIX extended */
	struct strings not_contains;
	int64_t min_tokens;
	int64_t min_thinking;          /* characters */
	const char *finish_reason;
	int64_t min_prompt_tokens;
	bool no_repetition;
	bool valid_utf8;
	int64_t latency;               /* ms; 0: any */
	int64_t exit;
	const char *stdout_matches;
};

struct http_check {
	const char *path;
	int64_t status;
};

struct check {
	const char *name;
	const char *prompt;
	const char *messages;          /* absolute */
	const char *image;             /* absolute */
	int64_t max_tokens;
	const char *temperature;       /* these as JSON: they go out as they are written */
	const char *top_p;
	const char *top_k;
	const char *min_p;
	const char *frequency_penalty;
	const char *presence_penalty;
	const char *repetition_penalty;
	const char *seed;
	const char *stop;
	const char *extra;             /* JSON map of further keys of the request, or NULL */
	struct strings command;
	const struct http_check *http;
	const struct expect *expect;
	int64_t timeout;               /* ms */
};

/* What is said of the server itself. */
struct served {
	const char *model;             /* NULL: any */
	int64_t max_model_len;         /* 0: any */
	const char *version;           /* NULL: any */
};

/* One run of the rule. */
struct session {
	struct task *task;
	struct http *http;
	const struct secret *key;      /* or NULL */
	const char *url;               /* with `/v1`, without a slash behind */
	const char *root;              /* without `/v1` */
	const char *model;             /* NULL until it is known */
	bool insecure_http;
	int64_t tokens;                /* generated so far */
	int64_t slowest;               /* ms of the slowest answer */
};

/* An answer to a prompt, as far as it could be read. */
struct answer {
	const char *text;              /* of the message: thinking and action; never NULL */
	bool is_message;               /* of a model */
	bool calls_tools;              /* which needs no text */
	const char *reasoning;         /* where the server keeps it apart; or NULL */
	const char *finish_reason;     /* or NULL */
	int64_t tokens;                /* -1: the server does not say */
	int64_t prompt_tokens;         /* -1 */
	int64_t duration;              /* ms */
};

/* The service does not do its work. What every finding says: which check, and that it is not passed. */
struct finding *validate_finding(struct session *session, const struct check *check, struct place at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The service works, and an answer is not good. */
struct finding *validate_suspect(struct session *session, const struct check *check, struct place at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Health, the served model, its length, the version. `*ok`: it is worth going on. */
bool validate_server(struct session *session, const struct served *want, bool needs_model, bool *ok, struct error *err);

/* Text of others for people: at most 200 characters, nothing that a terminal would obey. */
const char *validate_shown(struct arena *arena, const char *text);

/* GET or POST (with a body). False with an error when nothing can go on; an unreachable server is a finding, and then `*answered` is false. */
bool validate_ask(struct session *session, const struct check *check, struct place at, const char *url, const struct buf *body, int64_t timeout,
	struct http_response *response, int64_t *duration, bool *answered, struct error *err);

/* The server's own words about a failure: from its JSON, or the text. */
const char *validate_message(struct arena *arena, const struct http_response *response);

/* A prompt or a file of messages. `*answered` is false when a finding says why there is nothing to judge. */
bool validate_chat(struct session *session, const struct check *check, struct place at, struct answer *answer, bool *answered, struct error *err);

/* Findings for what was expected and did not come. */
void validate_judge(struct session *session, const struct check *check, struct place at, const struct answer *answer);

/* The words before the action, without tags: what `min_thinking` counts. */
const char *validate_thinking(struct arena *arena, const struct answer *answer);

/* A piece of 20 characters that stands in the text at least 8 times, one behind or apart from the other; NULL if there is none. */
const char *validate_repetition(struct arena *arena, const char *text);

/* Whether a pattern can be read; `why` gets a few words if not. */
bool validate_pattern_ok(const char *pattern, char *why, size_t size);
bool validate_matches(const char *pattern, const char *text);

/* Of a text that a server has chosen, its first 128 KiB and its last 64 are searched. */
bool validate_matches_answer(const char *pattern, const char *text);
