#include "validate.h"

#include <string.h>

#include "child.h"
#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/digest.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/units.h"
#include "engine/rule.h"
#include "engine/task.h"
#include "rules.h"

#define STDOUT_LIMIT ((size_t)1 << 20)

struct validate {
	const char *url;
	struct served served;
	struct secret_ref api_key;
	bool insecure_http;
	struct list checks;
};

static const struct param expect_params[] = {
	{ "contains", PARAM_STRINGS, offsetof(struct expect, contains), .about = "texts that the answer holds" },
	{ "matches", PARAM_STRINGS, offsetof(struct expect, matches), .about = "extended regular expressions that match somewhere in the answer" },
	{ "not_contains", PARAM_STRINGS, offsetof(struct expect, not_contains), .about = "texts that the answer does not hold" },
	{ "min_tokens", PARAM_INT, offsetof(struct expect, min_tokens), .about = "tokens generated, at least", .most = INT64_C(1) << 40 },
	{ "min_thinking", PARAM_INT, offsetof(struct expect, min_thinking), .about = "characters before the action, at least", .most = INT64_C(1) << 40 },
	{ "finish_reason", PARAM_STRING, offsetof(struct expect, finish_reason), .about = "`stop`, `length`, ..." },
	{ "min_prompt_tokens", PARAM_INT, offsetof(struct expect, min_prompt_tokens), .about = "tokens of the prompt, at least: shows that an image was seen",
		.most = INT64_C(1) << 40 },
	{ "no_repetition", PARAM_BOOL, offsetof(struct expect, no_repetition), .fallback = "true", .about = "no 20 characters stand in the answer 8 times" },
	{ "valid_utf8", PARAM_BOOL, offsetof(struct expect, valid_utf8), .fallback = "true", .about = "no character that could not be decoded" },
	{ "latency", PARAM_DURATION, offsetof(struct expect, latency), .about = "time that the answer takes, at most" },
	{ "exit", PARAM_INT, offsetof(struct expect, exit), .about = "exit status of `command` (0)", .most = 255 },
	{ "stdout_matches", PARAM_STRING, offsetof(struct expect, stdout_matches), .about = "extended regular expression that matches in what `command` prints" },
	{ 0 },
};

static const struct param http_params[] = {
	{ "path", PARAM_STRING, offsetof(struct http_check, path), .required = true, .about = "from the server's root, without `/v1`" },
	{ "status", PARAM_INT, offsetof(struct http_check, status), .fallback = "200", .about = "expected status", .least = 100, .most = 599 },
	{ 0 },
};

static const struct param check_params[] = {
	{ "name", PARAM_STRING, offsetof(struct check, name), .required = true, .about = "what findings call it" },
	{ "prompt", PARAM_STRING, offsetof(struct check, prompt), .about = "text of the user's message" },
	{ "messages", PARAM_PATH, offsetof(struct check, messages), .unhashed = true, .about = "JSON file with the list of messages, sent as it is" },
	{ "image", PARAM_PATH, offsetof(struct check, image), .unhashed = true, .about = "image file that goes before `prompt`" },
	{ "max_tokens", PARAM_INT, offsetof(struct check, max_tokens), .about = "tokens to generate, at most", .most = INT64_C(1) << 40 },
	{ "temperature", PARAM_JSON, offsetof(struct check, temperature), .about = "as the API has it" },
	{ "top_p", PARAM_JSON, offsetof(struct check, top_p), .about = "as the API has it" },
	{ "top_k", PARAM_JSON, offsetof(struct check, top_k), .about = "as the API has it" },
	{ "min_p", PARAM_JSON, offsetof(struct check, min_p), .about = "as the API has it" },
	{ "frequency_penalty", PARAM_JSON, offsetof(struct check, frequency_penalty), .about = "as the API has it" },
	{ "presence_penalty", PARAM_JSON, offsetof(struct check, presence_penalty), .about = "as the API has it" },
	{ "repetition_penalty", PARAM_JSON, offsetof(struct check, repetition_penalty), .about = "as vLLM has it" },
	{ "seed", PARAM_JSON, offsetof(struct check, seed), .about = "as the API has it" },
	{ "stop", PARAM_JSON, offsetof(struct check, stop), .about = "as the API has it" },
	{ "extra", PARAM_JSON, offsetof(struct check, extra), .about = "map of further keys of the request" },
	{ "command", PARAM_STRINGS, offsetof(struct check, command), .about = "instead of a prompt: argv of a program that checks" },
	{ "http", PARAM_STRUCT, offsetof(struct check, http), .fields = http_params, .size = sizeof(struct http_check), .about = "instead of a prompt: a plain GET" },
	{ "expect", PARAM_STRUCT, offsetof(struct check, expect), .fields = expect_params, .size = sizeof(struct expect), .about = "what the answer must be like" },
	{ "timeout", PARAM_DURATION, offsetof(struct check, timeout), .unhashed = true, .fallback = "10m", .about = "how long to wait for the answer" },
	{ 0 },
};

static const struct param params[] = {
	{ "url", PARAM_STRING, offsetof(struct validate, url), .required = true, .about = "base URL of the API, with `/v1`" },
	{ "model", PARAM_STRING, offsetof(struct validate, served.model), .about = "served name; the first that /v1/models lists if absent" },
	{ "max_model_len", PARAM_INT, offsetof(struct validate, served.max_model_len), .about = "what /v1/models must say of it", .most = INT64_C(1) << 40 },
	{ "version", PARAM_STRING, offsetof(struct validate, served.version), .about = "what /version must say" },
	{ "api_key", PARAM_SECRET, offsetof(struct validate, api_key), .unhashed = true, .about = "the service's key" },
	{ "insecure_http", PARAM_BOOL, offsetof(struct validate, insecure_http), .unhashed = true, .about = "send the key without encryption beyond loopback" },
	{ "checks", PARAM_LIST, offsetof(struct validate, checks), .fields = check_params, .size = sizeof(struct check), .about = "a smoke test if absent" },
	{ 0 },
};

static const struct output outputs[] = {
	{ "verdict", "`passed`", NULL }, { "model", "served name that was asked", NULL }, { "tokens", "tokens generated by all checks", NULL }, { "latency", "of the slowest answer", NULL }, { 0 },
};

static const struct expect plain_expect = { .no_repetition = true, .valid_utf8 = true };

/* What the client's own start-up check asks. */
static const struct check smoke = {
	.name = "smoke", .prompt = "Hi", .max_tokens = 5, .temperature = "0", .expect = &plain_expect, .timeout = 120000,
};

static const struct check *
checks_of(const struct validate *validate)
{
	return validate->checks.items;
}

static void
conflict(struct errors *errors, struct place at, const struct check *check, const char *text)
{
	struct error err;

	fail_at(&err, at, FAULT_CONFLICT, "check `%s`: %s", check->name ? check->name : "?", text);
	errors_add(errors, &err);
}

static void
check_pattern(struct errors *errors, struct place at, const struct check *check, const char *pattern)
{
	struct error err;
	char why[100];

	if (!pattern || validate_pattern_ok(pattern, why, sizeof why))
		return;
	fail_at(&err, at, FAULT_BAD_VALUE, "check `%s`: `%s` is no regular expression: %s", check->name ? check->name : "?", pattern, why);
	error_hint(&err, "POSIX extended syntax; write `\\(` for a parenthesis of the text");
	errors_add(errors, &err);
}

static bool
is_map(const char *json)
{
	return !json || *json == '{';
}

static void
validate_check(const struct check *check, struct place at, struct errors *errors)
{
	const struct expect *expect = check->expect;

	if (check->image && check->messages)
		conflict(errors, at, check, "`messages` is sent as it is: put the image into it, or use `prompt`");
	if (!is_map(check->extra))
		conflict(errors, at, check, "`extra` must be a map");
	if (!expect)
		return;
	for (size_t i = 0; i < expect->matches.count; i++)
		check_pattern(errors, at, check, expect->matches.items[i]);
	check_pattern(errors, at, check, expect->stdout_matches);
	if ((expect->exit || expect->stdout_matches) && check->command.count == 0)
		conflict(errors, at, check, "`exit` and `stdout_matches` are for a `command`");
}

static void
validate_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct validate *validate = spec;
	const struct check *checks = checks_of(validate);
	bool pending = task_is_pending(task, "checks");
	struct error err;

	if (validate->url && !text_starts(validate->url, "http://") && !text_starts(validate->url, "https://")) {
		fail_at(&err, task_place(task, "url"), FAULT_BAD_VALUE, "`%s` is no URL of http or https", validate->url);
		errors_add(errors, &err);
	}
	for (size_t i = 0; i < validate->checks.count; i++) {
		const struct check *check = &checks[i];
		int kinds = (check->prompt != NULL) + (check->messages != NULL) + (check->command.count > 0) + (check->http != NULL);

		/* What is pending is zero, and will be there. */
		if (kinds > 1 || (kinds == 0 && !pending))
			conflict(errors, validate->checks.at[i], check, "it has one of `prompt`, `messages`, `command` and `http`");
		else
			validate_check(check, validate->checks.at[i], errors);
	}
}

static void
validate_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct validate *validate = spec;
	const struct check *checks = checks_of(validate);

	for (size_t i = 0; i < validate->checks.count; i++) {
		if (checks[i].messages)
			strings_add(&paths->reads, arena, checks[i].messages);
		if (checks[i].image)
			strings_add(&paths->reads, arena, checks[i].image);
	}
}

static bool
add_file(struct task *task, const char *path, struct place at, struct strings *added, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct digest digest;

	if (!path || strings_has(added, path) || task_is_made_later(task, path))
		return true;
	strings_add(added, arena, path);
	if (!task_digest(task, path, &digest, NULL, err)) {
		err->at = at;
		return false;
	}
	task_ingredient(task, INGREDIENT_FILE, arena_printf(arena, "file:%s", path_shown(arena, task_workdir(task), path)), digest_text(arena, &digest), NULL, path);
	return true;
}

static bool
validate_ingredients(const void *spec, struct task *task, struct error *err)
{
	const struct validate *validate = spec;
	const struct check *checks = checks_of(validate);
	struct strings added = { 0 };

	for (size_t i = 0; i < validate->checks.count; i++)
		if (!add_file(task, checks[i].messages, validate->checks.at[i], &added, err) || !add_file(task, checks[i].image, validate->checks.at[i], &added, err))
			return false;
	return true;
}

/* The verdict is given by build alone: a plan asks no model. */
static bool
validate_inspect(const void *spec, struct task *task, struct look *look, struct error *err)
{
	(void)spec;
	(void)err;
	if (task_record(task))
		*look = (struct look){ .state = STATE_FRESH };
	else
		*look = (struct look){ .state = STATE_ABSENT, .reason = REASON_NEVER_BUILT };
	return true;
}

static const char *
without_slash(struct arena *arena, const char *url)
{
	size_t size = strlen(url);

	while (size > 0 && url[size - 1] == '/')
		size--;
	return arena_copy_bytes(arena, url, size);
}

static const char *
root_of(struct arena *arena, const char *url)
{
	return text_ends(url, "/v1") ? arena_copy_bytes(arena, url, strlen(url) - 3) : url;
}

static bool
run_http(struct session *session, const struct check *check, struct place at, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	/* That a text repeats itself says something of a model, and nothing of a list of figures. */
	struct expect expect = check->expect ? *check->expect : plain_expect;
	struct arena *arena = task_arena(session->task);
	const char *url = arena_printf(arena, "%s%s%s", session->root, check->http->path[0] == '/' ? "" : "/", check->http->path);
	struct check judged = *check;
	struct answer answer = { .tokens = -1, .prompt_tokens = -1 };
	bool answered;

	if (!validate_ask(session, check, at, url, NULL, check->timeout, &response, &answer.duration, &answered, err))
		return false;
	if (!answered)
		return true;
	if (response.status != check->http->status) {
		validate_finding(session, check, at, "%s answers %ld instead of %lld: %s", url, response.status, (long long)check->http->status,
			validate_message(arena, &response));
		return true;
	}
	expect.no_repetition = false;
	judged.expect = &expect;
	answer.text = response.body.data ? response.body.data : "";
	validate_judge(session, &judged, at, &answer);
	return true;
}

static bool
run_command(struct session *session, const struct check *check, struct place at, struct error *err)
{
	const struct expect *expect = check->expect ? check->expect : &plain_expect;
	struct arena *arena = task_arena(session->task);
	const char **argv = arena_array(arena, check->command.count + 1, sizeof *argv);
	struct process_spec spec = {
		.env = process_environment(NULL, arena),
		.workdir = task_workdir(session->task),
		.timeout_ms = check->timeout,
		.grace_ms = task_grace(session->task),
		.cancel = task_cancel(session->task),
		.output = task_log_bytes,
		.context = session->task,
		.capture = STDOUT_LIMIT,
	};
	struct process_result result;

	memcpy(argv, check->command.items, check->command.count * sizeof *argv);
	spec.argv = argv;
	if (!child_run(session->task, &spec, &result, err)) {
		err->at = at;
		return error_wrap(err, "check `%s`", check->name);
	}
	if (result.cancelled)
		return fail(err, FAULT_INTERRUPTED, "check `%s` was interrupted", check->name);
	if (result.timed_out)
		validate_finding(session, check, at, "the command did not end within %s", units_show_duration(arena, check->timeout));
	else if (result.signal)
		validate_finding(session, check, at, "the command was ended by signal %d", result.signal);
	else if (result.exit_code != expect->exit)
		validate_finding(session, check, at, "exit status %lld is expected, and it is %d: `%s`", (long long)expect->exit, result.exit_code,
			validate_shown(arena, task_log_tail(session->task)));
	if (expect->stdout_matches && !validate_matches(expect->stdout_matches, result.out ? result.out : ""))
		validate_finding(session, check, at, "what the command prints does not match `%s`: `%s`", expect->stdout_matches,
			validate_shown(arena, result.out ? result.out : ""));
	if (expect->latency > 0 && result.duration_ms > expect->latency)
		validate_finding(session, check, at, "an end within %s is expected, and it took %s", units_show_duration(arena, expect->latency),
			units_show_duration(arena, result.duration_ms));
	return true;
}

static bool
run_chat(struct session *session, const struct check *check, struct place at, struct error *err)
{
	struct check judged = *check;
	struct answer answer;
	bool answered;

	judged.expect = check->expect ? check->expect : &plain_expect;
	if (!validate_chat(session, &judged, at, &answer, &answered, err))
		return false;
	if (answered)
		validate_judge(session, &judged, at, &answer);
	return true;
}

static bool
run_check(struct session *session, const struct check *check, struct place at, struct error *err)
{
	task_log(session->task, "check `%s`", check->name);
	if (check->command.count > 0)
		return run_command(session, check, at, err);
	return check->http ? run_http(session, check, at, err) : run_chat(session, check, at, err);
}

static bool
asks_a_model(const struct validate *validate)
{
	const struct check *checks = checks_of(validate);
	bool asks = validate->checks.count == 0 || validate->served.model || validate->served.max_model_len;

	for (size_t i = 0; i < validate->checks.count; i++)
		asks |= checks[i].prompt || checks[i].messages;
	return asks;
}

static bool
run_all(struct session *session, const struct validate *validate, struct error *err)
{
	struct task *task = session->task;
	struct place at = task_place(task, "url");
	const struct check *checks = checks_of(validate);
	size_t count = validate->checks.count;
	bool ok;

	if (!validate_server(session, &validate->served, asks_a_model(validate), &ok, err))
		return false;
	/* A server that is down fails every check in the same way: said once. */
	if (!ok)
		return true;
	if (count == 0)
		return run_check(session, &smoke, at, err);
	for (size_t i = 0; i < count; i++) {
		task_progress(task, checks[i].name, i, count, "checks");
		if (!run_check(session, &checks[i], validate->checks.at[i], err))
			return false;
	}
	return true;
}

static bool
validate_build(const void *spec, struct task *task, struct error *err)
{
	const struct validate *validate = spec;
	struct arena *arena = task_arena(task);
	struct secret key finally(secret_finish) = { 0 };
	struct http http finally(http_finish) = { 0 };
	struct session session = { .task = task, .http = &http, .url = without_slash(arena, validate->url) };
	bool has_key = validate->api_key.env || validate->api_key.file;

	if (!http_init(&http, task_cancel(task), err) || (has_key && !secret_load(&validate->api_key, false, &key, err)))
		return false;
	session.key = has_key ? &key : NULL;
	session.root = root_of(arena, session.url);
	/* Without a key there is nothing to protect. */
	session.insecure_http = validate->insecure_http || !has_key;
	if (!run_all(&session, validate, err))
		return false;
	task_output(task, "verdict", findings_refuse(task_findings(task)) ? "failed" : "passed");
	if (session.model)
		task_output(task, "model", session.model);
	task_output(task, "tokens", arena_printf(arena, "%lld", (long long)session.tokens));
	task_output(task, "latency", units_show_duration(arena, session.slowest));
	task_summary(task, "%zu %s, %lld tokens, slowest answer %s", validate->checks.count ? validate->checks.count : 1,
		validate->checks.count > 1 ? "checks" : "check", (long long)session.tokens,
		units_show_duration(arena, session.slowest));
	return true;
}

const struct rule validate_rule = {
	.name = "validate",
	.about = "verdict: the service answers as expected",
	.version = 2,
	.check = true,
	.params = params,
	.size = sizeof(struct validate),
	.outputs = outputs,
	.validate = validate_validate,
	.paths = validate_paths,
	.ingredients = validate_ingredients,
	.inspect = validate_inspect,
	.build = validate_build,
};
