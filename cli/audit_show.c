/* audit_show.c - `provision audit show TARGET`: all that is recorded of one target. */
#include "audit.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/suggest.h"
#include "report/words.h"

#define SHOWN_MOST 20   /* lines of one list without -v */
#define VALUE_MOST 120

static void
line(struct session *session, const char *name, const char *value)
{
	size_t most = session->options.verbose ? SIZE_MAX : VALUE_MOST;

	out_text(&session->out, "  ");
	out_cell(&session->out, name, 13);
	out_safe(&session->out, words_cut(&session->arena, value, most));
	out_text(&session->out, "\n");
}

static void
show_artifacts(struct session *session, const struct record *record)
{
	static const char *const kinds[] = {
		[ARTIFACT_FILE] = "file",
		[ARTIFACT_DIRECTORY] = "directory",
		[ARTIFACT_IMAGE] = "image",
		[ARTIFACT_CONTAINER] = "container",
		[ARTIFACT_PROCESS] = "process",
		[ARTIFACT_PORT] = "port",
		[ARTIFACT_GPU] = "gpu",
	};
	struct arena *arena = &session->arena;

	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];
		const char *text = artifact->name;

		if (i >= SHOWN_MOST && !session->options.verbose) {
			line(session, "",
				arena_printf(arena, "... and %zu more (-v shows all)", record->artifacts.count - i));
			return;
		}
		if (!digest_is_zero(&artifact->digest))
			text = arena_printf(arena, "%s  %llu bytes, sha256:%s", text, (unsigned long long)artifact->size,
				digest_text(arena, &artifact->digest));
		line(session, kinds[artifact->kind], text);
	}
}

static void
show_pairs(struct session *session, const char *name, const struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++)
		line(session, i ? "" : name, pairs->items[i].value && *pairs->items[i].value
			? arena_printf(&session->arena, "%s: %s", pairs->items[i].key, pairs->items[i].value)
			: pairs->items[i].key);
}

static void
show_ingredients(struct session *session, const struct record *record)
{
	for (size_t i = 0; i < record->ingredients.count; i++) {
		const struct ingredient *ingredient = &record->ingredients.items[i];

		if (i >= SHOWN_MOST && !session->options.verbose) {
			line(session, "",
				arena_printf(&session->arena, "... and %zu more (-v shows all)",
					record->ingredients.count - i));
			return;
		}
		line(session, i ? "" : "made from",
			arena_printf(&session->arena, "%s  %s", ingredient->name, ingredient->value));
	}
}

static void
show_text(struct session *session, const char *deployment, const struct record *record)
{
	struct arena *arena = &session->arena;
	struct run_memo memo = { 0 };
	const char *who = audit_who(session, record->run, &memo);

	out_safe(&session->out, record->target);
	out_printf(&session->out, ", run %s, %s - %s, ", record->run ? record->run : "?",
		clock_local(arena, record->started_ns), clock_hms(arena, record->ended_ns));
	out_safe(&session->out, who);
	out_text(&session->out, "\n");
	line(session, "rule", arena_printf(arena, "%s, version %u", record->rule, (unsigned)record->rule_version));
	line(session, "deployment", deployment);
	if (memo.manifest)
		line(session, "manifest", memo.manifest);
	if (record->summary)
		line(session, "summary", record->summary);
	line(session, "fingerprint", digest_text(arena, &record->fingerprint));
	line(session, "output", digest_text(arena, &record->output));
	show_pairs(session, "outputs", &record->outputs);
	show_artifacts(session, record);
	show_pairs(session, "materials", &record->materials);
	show_ingredients(session, record);
}

static json_t *
pairs_json(const struct pairs *pairs)
{
	json_t *object = json_object();

	for (size_t i = 0; i < pairs->count; i++)
		json_object_set_new(object, pairs->items[i].key,
			diagnostic_json_text(pairs->items[i].value ? pairs->items[i].value : ""));
	return object;
}

static json_t *
artifacts_json(struct session *session, const struct record *record)
{
	json_t *artifacts = json_array();

	for (size_t i = 0; i < record->artifacts.count; i++) {
		const struct artifact *artifact = &record->artifacts.items[i];
		json_t *value = json_object();

		json_object_set_new(value, "name", diagnostic_json_text(artifact->name));
		json_object_set_new(value, "size", json_integer((json_int_t)artifact->size));
		if (!digest_is_zero(&artifact->digest))
			json_object_set_new(value, "digest",
				json_pack("{s:s}", "sha256", digest_text(&session->arena, &artifact->digest)));
		json_array_append_new(artifacts, value);
	}
	return artifacts;
}

static void
show_json(struct session *session, const char *deployment, const struct record *record)
{
	struct arena *arena = &session->arena;
	json_t *document = json_object();
	json_t *ingredients = json_object();

	for (size_t i = 0; i < record->ingredients.count; i++)
		json_object_set_new(ingredients, record->ingredients.items[i].name,
			diagnostic_json_text(record->ingredients.items[i].value));
	json_object_set_new(document, "target", diagnostic_json_text(record->target));
	json_object_set_new(document, "deployment", json_string(deployment));
	json_object_set_new(document, "rule", json_string(record->rule));
	json_object_set_new(document, "rule_version", json_integer(record->rule_version));
	json_object_set_new(document, "run", json_string(record->run ? record->run : ""));
	json_object_set_new(document, "started", json_string(clock_utc(arena, record->started_ns)));
	json_object_set_new(document, "ended", json_string(clock_utc(arena, record->ended_ns)));
	json_object_set_new(
		document, "fingerprint", json_pack("{s:s}", "sha256", digest_text(arena, &record->fingerprint)));
	json_object_set_new(document, "output", json_pack("{s:s}", "sha256", digest_text(arena, &record->output)));
	if (record->summary)
		json_object_set_new(document, "summary", diagnostic_json_text(record->summary));
	json_object_set_new(document, "outputs", pairs_json(&record->outputs));
	json_object_set_new(document, "artifacts", artifacts_json(session, record));
	json_object_set_new(document, "materials", pairs_json(&record->materials));
	json_object_set_new(document, "ingredients", ingredients);
	session_document(session, document);
}

enum status
audit_show(struct session *session, const char *target)
{
	struct records *deployments;
	struct error err = { 0 };
	const char *near = NULL;
	size_t count;
	enum status status = audit_records(session, &deployments, &count);

	if (status != STATUS_OK)
		return status;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < deployments[i].count; j++) {
			const struct record *record = &deployments[i].items[j];

			if (strcmp(record->target, target) == 0) {
				if (session->options.json)
					show_json(session, deployments[i].deployment, record);
				else
					show_text(session, deployments[i].deployment, record);
				return STATUS_OK;
			}
			near = suggest_better(target, near, record->target);
		}
	fail(&err, FAULT_NO_RECORD, "nothing is recorded of a target `%s`", target);
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	return session_fail(session, &err, NULL);
}
