#include "validate.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "engine/task.h"

#define SHORT_MS 30000         /* for what needs no model to think */

/* `*ok`: it is worth going on. */
static bool
ask_health(struct session *session, struct place at, bool *ok, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	const char *url = arena_printf(task_arena(session->task), "%s/health", session->root);
	struct finding *finding;
	int64_t duration;

	if (!validate_ask(session, NULL, at, url, NULL, SHORT_MS, &response, &duration, ok, err))
		return false;
	if (!*ok)
		return true;
	if (response.status == 404)
		task_log(session->task, "the server has no /health: not every one has");
	*ok = response.status == 200 || response.status == 404;
	if (!*ok) {
		finding = validate_finding(session, NULL, at, "%s answers %ld: %s", url, response.status,
			validate_message(task_arena(session->task), &response));
		finding_help(task_findings(session->task), finding, "the server runs, but is not well: see the service's log");
	}
	return true;
}

/* The names that are served; true if `want` (NULL: any) is among them, and then the session has a model. */
static bool
find_model(struct session *session, const json_t *models, const char *want, struct buf *names)
{
	struct arena *arena = task_arena(session->task);
	const json_t *list = json_at(models, "data");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = json_string_at(json_array_get(list, i), "id");

		if (!id)
			continue;
		buf_printf(names, "%s`%s`", names->size ? ", " : "", validate_shown(arena, id));
		if (!session->model && (!want || strcmp(id, want) == 0))
			session->model = arena_copy(arena, id);
	}
	return session->model;
}

/* What a request may be as long as is the surest sign of the arguments that the server runs with. */
static void
judge_length(struct session *session, const json_t *models, const struct served *want, struct place at)
{
	const json_t *list = json_at(models, "data");
	int64_t length = -1;

	if (!want->max_model_len)
		return;
	for (size_t i = 0; i < json_array_size(list); i++)
		if (text_equal(json_string_at(json_array_get(list, i), "id"), session->model) &&
			!json_int_at(json_array_get(list, i), "max_model_len", &length))
			length = -1;
	if (length < 0)
		validate_finding(session, NULL, at, "max_model_len %lld is expected, and the server does not say what it is",
			(long long)want->max_model_len);
	else if (length != want->max_model_len)
		validate_finding(session, NULL, at, "max_model_len %lld is expected, and the server has %lld", (long long)want->max_model_len,
			(long long)length);
}

static bool
ask_models(struct session *session, const struct served *want, struct place at, bool *ok, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	struct arena *arena = task_arena(session->task);
	struct findings *findings = task_findings(session->task);
	const char *url = arena_printf(arena, "%s/models", session->url);
	json_t *models finally(json_release) = NULL;
	struct buf names finally(buf_finish) = { 0 };
	struct finding *finding;
	struct error bad;
	int64_t duration;

	buf_init(&names, 2000);
	if (!validate_ask(session, NULL, at, url, NULL, SHORT_MS, &response, &duration, ok, err))
		return false;
	if (!*ok)
		return true;
	*ok = response.status == 200 && json_parse(response.body.data, response.body.size, "the list of models", &models, &bad);
	if (!*ok) {
		finding = validate_finding(session, NULL, at, "%s answers %ld: %s", url, response.status, validate_message(arena, &response));
		if (response.status == 401)
			finding_help(findings, finding, "the service wants its key: `api_key: {env: NAME}`");
		return true;
	}
	*ok = find_model(session, models, want->model, &names);
	if (*ok) {
		judge_length(session, models, want, at);
		return true;
	}
	finding = validate_finding(session, NULL, want->model ? task_place(session->task, "model") : at, "%s%s%s is not served", want->model ? "model `" : "a model",
		want->model ? want->model : "", want->model ? "`" : "");
	finding_note(findings, finding, "%s lists %s", url, names.size ? names.data : "nothing");
	finding_help(findings, finding, "the served name is what `--served-model-name` says, else the path of the model");
	return true;
}

static bool
ask_version(struct session *session, const struct served *want, struct place at, struct error *err)
{
	struct http_response response finally(http_response_finish) = { 0 };
	struct arena *arena = task_arena(session->task);
	const char *url = arena_printf(arena, "%s/version", session->root), *version = NULL;
	json_t *json finally(json_release) = NULL;
	struct error bad;
	int64_t duration;
	bool answered;

	if (!validate_ask(session, NULL, at, url, NULL, SHORT_MS, &response, &duration, &answered, err))
		return false;
	if (!answered)
		return true;
	if (response.status == 200 && json_parse(response.body.data, response.body.size, "the version", &json, &bad))
		version = json_string_at(json, "version");
	if (!version)
		validate_finding(session, NULL, at, "version `%s` is expected, and %s answers %ld: %s", want->version, url, response.status,
			validate_message(arena, &response));
	else if (strcmp(version, want->version) != 0)
		validate_finding(session, NULL, at, "version `%s` is expected, and the server is `%s`", want->version, validate_shown(arena, version));
	return true;
}

bool
validate_server(struct session *session, const struct served *want, bool needs_model, bool *ok, struct error *err)
{
	struct place at = task_place(session->task, "url");

	if (!ask_health(session, at, ok, err))
		return false;
	if (*ok && needs_model && !ask_models(session, want, at, ok, err))
		return false;
	return !*ok || !want->version || ask_version(session, want, at, err);
}
