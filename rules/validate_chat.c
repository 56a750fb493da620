#include "validate.h"

#include <stdarg.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/task.h"

#define FILE_LIMIT ((size_t)32 << 20) /* of messages, and of an image */
#define BODY_LIMIT ((size_t)128 << 20)
#define DEEP 64

static struct finding *add_finding(struct session *session, const struct check *check, struct place at, bool is_suspect, const char *format,
	va_list args) __attribute__((format(printf, 5, 0)));

/* `check` NULL: said of the server itself. */
static struct finding *
add_finding(struct session *session, const struct check *check, struct place at, bool is_suspect, const char *format, va_list args)
{
	struct findings *findings = task_findings(session->task);
	const char *text = arena_vprintf(task_arena(session->task), format, args);
	struct finding *finding;

	task_log(session->task, "%s: %s", is_suspect ? "suspect" : "not accepted", text);
	if (check)
		finding = findings_add(findings, FAULT_NOT_ACCEPTED, at, "check `%s`%s: %s", check->name, is_suspect ? " is suspect" : "", text);
	else
		finding = findings_add(findings, FAULT_NOT_ACCEPTED, at, "%s", text);
	finding->data = is_suspect ? "{\"verdict\":\"suspect\"}" : "{\"verdict\":\"down\"}";
	return finding;
}

struct finding *
validate_finding(struct session *session, const struct check *check, struct place at, const char *format, ...)
{
	struct finding *finding;
	va_list args;

	va_start(args, format);
	finding = add_finding(session, check, at, false, format, args);
	va_end(args);
	return finding;
}

struct finding *
validate_suspect(struct session *session, const struct check *check, struct place at, const char *format, ...)
{
	struct finding *finding;
	va_list args;

	va_start(args, format);
	finding = add_finding(session, check, at, true, format, args);
	va_end(args);
	return finding;
}

bool
validate_ask(struct session *session, const struct check *check, struct place at, const char *url, const struct buf *body, int64_t timeout,
	struct http_response *response, int64_t *duration, bool *answered, struct error *err)
{
	struct findings *findings = task_findings(session->task);
	const struct http_request request = {
		.method = body ? "POST" : NULL,
		.url = url,
		.bearer = session->key,
		.body = body ? body->data : NULL,
		.body_size = body ? body->size : 0,
		.body_type = body ? "application/json" : NULL,
		.timeout_ms = timeout,
		.no_stall_limit = true, /* a model thinks in silence */
		.no_redirect = true,
		.no_proxy = http_is_loopback(url),
		.insecure_http = session->insecure_http,
	};
	int64_t began = clock_monotonic_ms();
	struct finding *finding;

	task_log(session->task, "> %s %s (%zu bytes)", body ? "POST" : "GET", url, body ? body->size : 0);
	*answered = http_do(session->http, &request, task_arena(session->task), response, err);
	*duration = clock_monotonic_ms() - began;
	if (*answered) {
		task_log(session->task, "< %ld, %zu bytes in %lld ms", response->status, response->body.size, (long long)*duration);
		if (*duration > session->slowest)
			session->slowest = *duration;
		return true;
	}
	if (err->fault == FAULT_INTERRUPTED || err->fault == FAULT_INSECURE)
		return false;
	finding = validate_finding(session, check, at, "no answer from %s: %s", url, err->text);
	if (*err->hint)
		finding_help(findings, finding, "%s", err->hint);
	else
		finding_help(findings, finding, "is the service running, and is this its address? its log says more");
	return true;
}

const char *
validate_message(struct arena *arena, const struct http_response *response)
{
	static const char *const paths[] = { "error.message", "error", "message", "detail" };
	json_t *json finally(json_release) = NULL;
	const char *text = NULL;
	struct error ignored;

	if (json_parse(response->body.data, response->body.size, "the answer", &json, &ignored))
		for (size_t i = 0; i < sizeof paths / sizeof *paths && !text; i++)
			text = json_string_at(json, paths[i]);
	if (!text)
		text = response->body.size > 0 ? response->body.data : "no further words";
	return validate_shown(arena, text);
}

static void
add_base64(struct buf *out, const unsigned char *bytes, size_t size)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < size; i += 3) {
		size_t left = size - i;
		unsigned group = (unsigned)bytes[i] << 16 | (left > 1 ? (unsigned)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);

		buf_char(out, letters[group >> 18 & 63]);
		buf_char(out, letters[group >> 12 & 63]);
		buf_char(out, left > 1 ? letters[group >> 6 & 63] : '=');
		buf_char(out, left > 2 ? letters[group & 63] : '=');
	}
}

/* By its first bytes, as a browser would tell. */
static const char *
image_type(const char *bytes, size_t size)
{
	static const struct {
		const char *type;
		size_t offset, size;
		const char *bytes;
	} kinds[] = {
		{ "image/png", 0, 4, "\x89PNG" }, { "image/jpeg", 0, 3, "\xff\xd8\xff" }, { "image/gif", 0, 4, "GIF8" }, { "image/webp", 8, 4, "WEBP" },
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (size >= kinds[i].offset + kinds[i].size && memcmp(bytes + kinds[i].offset, kinds[i].bytes, kinds[i].size) == 0)
			return kinds[i].type;
	return NULL;
}

static bool
add_image(struct buf *body, const struct check *check, struct place at, struct arena *arena, struct error *err)
{
	const char *bytes, *type;
	size_t size;

	if (!file_load(check->image, FILE_LIMIT, arena, &bytes, &size, err)) {
		err->at = at;
		return error_wrap(err, "check `%s`", check->name);
	}
	type = image_type(bytes, size);
	if (!type) {
		fail_at(err, at, FAULT_BAD_VALUE, "check `%s`: `%s` is no PNG, JPEG, GIF or WebP image", check->name, check->image);
		return false;
	}
	buf_printf(body, "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:%s;base64,", type);
	add_base64(body, (const unsigned char *)bytes, size);
	buf_text(body, "\"}},");
	return true;
}

static bool
add_prompt(struct buf *body, const struct check *check, struct place at, struct arena *arena, struct error *err)
{
	buf_text(body, "[{\"role\":\"user\",\"content\":");
	if (check->image) {
		buf_char(body, '[');
		if (!add_image(body, check, at, arena, err))
			return false;
		buf_text(body, "{\"type\":\"text\",\"text\":");
		json_quote(body, check->prompt);
		buf_text(body, "}]");
	} else {
		json_quote(body, check->prompt);
	}
	buf_text(body, "}]");
	return true;
}

/* The file's bytes as they are: parsed only to know that they will be understood. */
static bool
add_messages(struct buf *body, const struct check *check, struct place at, struct arena *arena, struct error *err)
{
	json_t *json finally(json_release) = NULL;
	const char *text;
	size_t size;

	if (!file_load(check->messages, FILE_LIMIT, arena, &text, &size, err)) {
		err->at = at;
		return error_wrap(err, "check `%s`", check->name);
	}
	if (!json_depth_ok(text, size, DEEP) || !json_parse(text, size, check->messages, &json, err) || !json_is_array(json) || json_array_size(json) == 0) {
		fail_at(err, at, FAULT_BAD_VALUE, "check `%s`: `%s` is not a JSON list of messages", check->name, check->messages);
		return error_hint(err, "such as [{\"role\": \"user\", \"content\": \"Hi\"}]");
	}
	buf_add(body, text, size);
	return true;
}

static void
add_sampling(struct buf *body, const struct check *check)
{
	const struct {
		const char *key;
		const char *json;
	} values[] = {
		{ "temperature", check->temperature }, { "top_p", check->top_p }, { "top_k", check->top_k }, { "min_p", check->min_p },
		{ "frequency_penalty", check->frequency_penalty }, { "presence_penalty", check->presence_penalty },
		{ "repetition_penalty", check->repetition_penalty }, { "seed", check->seed }, { "stop", check->stop },
	};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++)
		if (values[i].json)
			buf_printf(body, ",\"%s\":%s", values[i].key, values[i].json);
	if (check->max_tokens > 0)
		buf_printf(body, ",\"max_tokens\":%lld", (long long)check->max_tokens);
	/* `extra` is a map: its inside, if there is any. */
	if (check->extra && strcmp(check->extra, "{}") != 0) {
		buf_char(body, ',');
		buf_add(body, check->extra + 1, strlen(check->extra) - 2);
	}
}

static bool
build_body(struct session *session, const struct check *check, struct place at, struct buf *body, struct error *err)
{
	struct arena *arena = task_arena(session->task);

	buf_text(body, "{\"model\":");
	json_quote(body, session->model);
	buf_text(body, ",\"messages\":");
	if (!(check->messages ? add_messages(body, check, at, arena, err) : add_prompt(body, check, at, arena, err)))
		return false;
	add_sampling(body, check);
	buf_text(body, ",\"stream\":false}");
	if (body->truncated)
		return fail_at(err, at, FAULT_TOO_LARGE, "check `%s`: a request of more than %zu bytes", check->name, BODY_LIMIT);
	return true;
}

static void
refused(struct session *session, const struct check *check, struct place at, const struct http_response *response)
{
	static const struct {
		long status;
		const char *help;
	} helps[] = {
		{ 401, "the service wants its key: `api_key: {env: NAME}`" },
		{ 404, "the served name is what /v1/models lists: set `model` to it" },
		{ 413, "something in between limits the size of a request (nginx: client_max_body_size)" },
		{ 503, "the engine behind the server has ended: see the service's log" },
	};
	struct findings *findings = task_findings(session->task);
	struct finding *finding = validate_finding(session, check, at, "the server answers %ld: %s", response->status,
		validate_message(task_arena(session->task), response));

	for (size_t i = 0; i < sizeof helps / sizeof *helps; i++)
		if (helps[i].status == response->status)
			finding_help(findings, finding, "%s", helps[i].help);
}

/* False: there is a finding. */
static bool
read_answer(struct session *session, const struct check *check, struct place at, const struct http_response *response, struct answer *answer)
{
	struct arena *arena = task_arena(session->task);
	json_t *json finally(json_release) = NULL;
	const json_t *choice, *message;
	const char *text, *reasoning, *reason;
	struct error err;

	if (!json_parse(response->body.data, response->body.size, "the answer", &json, &err)) {
		validate_finding(session, check, at, "the answer is not JSON in UTF-8 (%s): `%s`", err.text, validate_shown(arena, response->body.data));
		return false;
	}
	choice = json_array_get(json_at(json, "choices"), 0);
	message = choice ? json_at(choice, "message") : NULL;
	if (!message) {
		validate_finding(session, check, at, "the answer has no choices: `%s`", validate_shown(arena, response->body.data));
		return false;
	}
	text = json_string_at(message, "content");
	reasoning = json_string_at(message, "reasoning_content");
	if (!reasoning)
		reasoning = json_string_at(message, "reasoning");
	reason = json_string_at(choice, "finish_reason");
	answer->text = arena_copy(arena, text ? text : "");
	answer->is_message = true;
	answer->calls_tools = json_array_size(json_at(message, "tool_calls")) > 0;
	answer->reasoning = reasoning ? arena_copy(arena, reasoning) : NULL;
	answer->finish_reason = reason ? arena_copy(arena, reason) : NULL;
	if (!json_int_at(json, "usage.completion_tokens", &answer->tokens))
		answer->tokens = -1;
	if (!json_int_at(json, "usage.prompt_tokens", &answer->prompt_tokens))
		answer->prompt_tokens = -1;
	return true;
}

bool
validate_chat(struct session *session, const struct check *check, struct place at, struct answer *answer, bool *answered, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	struct buf body finally(buf_finish) = { 0 };
	const char *url = arena_printf(task_arena(session->task), "%s/chat/completions", session->url);
	int64_t duration;

	buf_init(&body, BODY_LIMIT);
	*answer = (struct answer){ .text = "", .tokens = -1, .prompt_tokens = -1 };
	if (!build_body(session, check, at, &body, err))
		return false;
	if (!validate_ask(session, check, at, url, &body, check->timeout, &response, &duration, answered, err))
		return false;
	if (!*answered)
		return true;
	*answered = response.status == 200;
	if (*answered)
		*answered = read_answer(session, check, at, &response, answer);
	else
		refused(session, check, at, &response);
	answer->duration = duration;
	if (!*answered)
		return true;
	task_log(session->task, "%s", answer->text);
	task_log(session->task, "finish_reason %s, %lld tokens for a prompt of %lld", answer->finish_reason ? answer->finish_reason : "absent",
		(long long)answer->tokens, (long long)answer->prompt_tokens);
	if (answer->tokens > 0)
		session->tokens += answer->tokens;
	return true;
}
