#include "hub_protocol.h"

#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"

/* What an answer says, as far as it says anything. */
struct complaint {
	const char *code;    /* X-Error-Code, or "" */
	const char *message; /* of header or body, or "" */
};

/* One row of the tables of meanings; the first that fits counts. */
struct meaning {
	enum hub_kind kind;
	long status;         /* 0: any */
	const char *code;    /* NULL: any */
	const char *message; /* part of it; NULL: any */
	bool with_token;     /* fits only if a token was sent */
	enum fault fault;
	const char *text;    /* follows the name of the repository */
	const char *hint;    /* may be NULL */
};

#define TERMS "open its page on the hub, accept the terms with the account of your token, and set HF_TOKEN"
#define LOG_IN "if it is private or needs approval, set MODELSCOPE_API_TOKEN (the hub hides such models from others)"
#define RIGHTS "make a token that may read this repository, or check the name"

static const struct meaning meanings[] = {
	{ HUB_HUGGINGFACE, 0, "GatedRepo", NULL, false, FAULT_HUB_DENIED, "is gated: its terms were not accepted", TERMS },
	{ HUB_HUGGINGFACE, 401, NULL, "Invalid credentials", true, FAULT_HUB_DENIED, "refused the token", "make a new token, or unset it if the repository is public" },
	{ HUB_HUGGINGFACE, 403, NULL, "is disabled", false, FAULT_HUB_DENIED, "was disabled by the hub", NULL },
	{ HUB_HUGGINGFACE, 404, "RevisionNotFound", NULL, false, FAULT_HUB_NOT_FOUND, "has no such revision", "a commit may be gone after its branch was rewritten: `--refresh` asks what the branch is now" },
	{ HUB_HUGGINGFACE, 404, "EntryNotFound", NULL, false, FAULT_HUB_NOT_FOUND, "has no such file", NULL },
	{ HUB_HUGGINGFACE, 401, NULL, NULL, true, FAULT_HUB_DENIED, "was not found, or is private and the token has no access", RIGHTS },
	{ HUB_HUGGINGFACE, 401, NULL, NULL, false, FAULT_HUB_DENIED, "was not found, or is private; no token was sent", "check the name; for a private repository set HF_TOKEN" },
	{ HUB_HUGGINGFACE, 403, NULL, NULL, false, FAULT_HUB_DENIED, "may not be read with this token", RIGHTS },
	{ HUB_HUGGINGFACE, 404, NULL, NULL, false, FAULT_HUB_NOT_FOUND, "was not found, or is private", "check the name; for a private repository set HF_TOKEN" },
	{ HUB_MODELSCOPE, 401, NULL, NULL, true, FAULT_HUB_DENIED, "refused the token", "make a new token at https://modelscope.cn/my/myaccesstoken" },
	{ HUB_MODELSCOPE, 401, NULL, NULL, false, FAULT_HUB_DENIED, "needs a token", "set MODELSCOPE_API_TOKEN" },
	{ HUB_MODELSCOPE, 403, NULL, NULL, true, FAULT_HUB_DENIED, "refused the token, or it has no access", RIGHTS },
	{ HUB_MODELSCOPE, 403, NULL, NULL, false, FAULT_HUB_DENIED, "is private, or does not exist", LOG_IN },
	{ HUB_MODELSCOPE, 404, NULL, NULL, false, FAULT_HUB_NOT_FOUND, "was not found", LOG_IN },
	{ HUB_HTTP, 401, NULL, NULL, false, FAULT_HUB_DENIED, "wants a valid token", "name one with `token:`" },
	{ HUB_HTTP, 403, NULL, NULL, false, FAULT_HUB_DENIED, "may not be read", "name a token with `token:`, or ask its owner" },
	{ HUB_HTTP, 404, NULL, NULL, false, FAULT_HUB_NOT_FOUND, "was not found", NULL },
};

static const char *
message_in(const json_t *body)
{
	static const char *const keys[] = { "error", "message", "Message", "msg", "Msg", "Error", "detail", "Detail" };
	const json_t *list;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const json_t *value = json_object_get(body, keys[i]);

		if (json_is_array(value))
			value = json_array_get(value, 0);
		if (json_is_string(value))
			return json_string_value(value);
	}
	list = json_object_get(body, "errors");
	return json_string_at(json_array_get(list, 0), "message");
}

static const char *
header_or(const struct http_response *response, const char *name, const char *other)
{
	const char *value = http_header(response, name);

	return value ? value : other;
}

/* Control characters of a foreign text must not reach a terminal. */
static const char *
plain(struct arena *arena, const char *text)
{
	char *copy = arena_copy_bytes(arena, text, strnlen(text, 200));

	for (char *c = copy; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	return copy;
}

static void
read_complaint(const struct hub *hub, const struct http_response *response, struct complaint *complaint)
{
	json_t *body finally(json_release) = NULL;
	struct error ignored = { 0 };
	const char *message = http_header(response, "x-error-message");

	complaint->code = header_or(response, "x-error-code", "");
	if (!message && response->body.size > 0 && json_parse(response->body.data, response->body.size, "", &body, &ignored))
		message = message_in(body);
	complaint->message = message ? plain(hub->arena, message) : "";
}

static const struct meaning *
find_meaning(const struct hub *hub, long status, const struct complaint *complaint)
{
	for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
		const struct meaning *row = &meanings[i];

		if (row->kind == hub->source.kind && (row->status == 0 || row->status == status) &&
			(!row->code || strcmp(row->code, complaint->code) == 0) &&
			(!row->message || strstr(complaint->message, row->message)) && (!row->with_token || hub->token.length > 0))
			return row;
	}
	return NULL;
}

static void
add_hint(const struct hub *hub, const struct http_response *response, const struct meaning *row, struct error *err)
{
	const char *id = header_or(response, "x-request-id", header_or(response, "x-amzn-trace-id", NULL));

	if (row && row->hint)
		error_hint(err, "%s", row->hint);
	else if (err->fault == FAULT_RATE_LIMIT && response->retry_after > 0)
		error_hint(err, "the hub asks to wait %lld s; a token raises the limit", (long long)response->retry_after);
	else if (id)
		error_hint(err, "the hub knows this request as %s", plain(hub->arena, id));
}

bool
hub_fail(const struct hub *hub, const char *what, const struct http_response *response, struct error *err)
{
	const char *name = hub_source_name(&hub->source, hub->arena), *host = http_host(hub->arena, response->location);
	const char *type = header_or(response, "content-type", "");
	struct complaint complaint;
	const struct meaning *row;

	read_complaint(hub, response, &complaint);
	row = find_meaning(hub, response->status, &complaint);
	if (response->status < 300 && strncasecmp(type, "text/html", 9) == 0) {
		fail(err, FAULT_PROTOCOL, "%s: `%s`: got an HTML page from `%s`", what, name, host);
		return error_hint(err, "a proxy, firewall or sign-in page answered instead of the hub");
	}
	if (row)
		fail(err, row->fault, "%s: `%s` %s (%s)", what, name, row->text, host);
	else if (response->status < 400)
		fail(err, FAULT_PROTOCOL, "%s: `%s` gave an answer with status %ld", what, host, response->status);
	else
		http_fail_status(arena_printf(hub->arena, "%s: `%s` from `%s`", what, name, host), response, err);
	if (*complaint.message && !row)
		error_wrap(err, "\"%s\"", complaint.message);
	add_hint(hub, response, row, err);
	return false;
}
