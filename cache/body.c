#include "body.h"

#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/memory.h"
#include "engine/record.h"

static const char *const ingredient_kinds[] = {
	[INGREDIENT_PARAM] = "param",
	[INGREDIENT_FILE] = "file",
	[INGREDIENT_TREE] = "tree",
	[INGREDIENT_NEED] = "need",
	[INGREDIENT_FACT] = "fact",
};

static const char *const artifact_kinds[] = {
	[ARTIFACT_FILE] = "file",
	[ARTIFACT_DIRECTORY] = "directory",
	[ARTIFACT_IMAGE] = "image",
	[ARTIFACT_CONTAINER] = "container",
	[ARTIFACT_PROCESS] = "process",
	[ARTIFACT_PORT] = "port",
	[ARTIFACT_GPU] = "gpu",
};

/* A member of an object; left out where there is nothing to say. */
static void
add_text(struct buf *body, const char *key, const char *value)
{
	if (!value)
		return;
	if (body->data[body->size - 1] != '{')
		buf_char(body, ',');
	json_quote(body, key);
	buf_char(body, ':');
	json_quote(body, value);
}

static void
add_key(struct buf *body, const char *key)
{
	if (body->data[body->size - 1] != '{')
		buf_char(body, ',');
	json_quote(body, key);
	buf_char(body, ':');
}

static void
add_digest(struct buf *body, const char *key, const struct digest *digest)
{
	char hex[DIGEST_HEX];

	digest_hex(digest, hex);
	add_text(body, key, hex);
}

static void
add_pairs(struct buf *body, const char *key, const struct pairs *pairs)
{
	add_key(body, key);
	buf_char(body, '{');
	for (size_t i = 0; i < pairs->count; i++)
		add_text(body, pairs->items[i].key, pairs->items[i].value ? pairs->items[i].value : "");
	buf_char(body, '}');
}

static void
add_artifacts(struct buf *body, const struct artifacts *artifacts)
{
	add_key(body, "artifacts");
	buf_char(body, '[');
	for (size_t i = 0; i < artifacts->count; i++) {
		const struct artifact *artifact = &artifacts->items[i];

		buf_text(body, i > 0 ? ",{" : "{");
		add_text(body, "kind", artifact_kinds[artifact->kind]);
		add_text(body, "name", artifact->name);
		if (!digest_is_zero(&artifact->digest))
			add_digest(body, "digest", &artifact->digest);
		buf_printf(body, ",\"size\":%llu}", (unsigned long long)artifact->size);
	}
	buf_char(body, ']');
}

static void
add_ingredients(struct buf *body, const struct ingredients *ingredients)
{
	add_key(body, "ingredients");
	buf_char(body, '[');
	for (size_t i = 0; i < ingredients->count; i++) {
		const struct ingredient *ingredient = &ingredients->items[i];

		buf_text(body, i > 0 ? ",{" : "{");
		add_text(body, "kind", ingredient_kinds[ingredient->kind]);
		add_text(body, "name", ingredient->name);
		add_text(body, "value", ingredient->value);
		buf_char(body, '}');
	}
	buf_char(body, ']');
}

void
body_of_run(struct buf *body, const struct run_info *run)
{
	buf_char(body, '{');
	add_text(body, "command", run->command);
	add_text(body, "deployment", run->deployment);
	add_text(body, "manifest", run->manifest);
	add_digest(body, "manifest_digest", &run->manifest_digest);
	add_key(body, "argv");
	buf_text(body, run->argv ? run->argv : "[]");
	add_text(body, "user", run->user);
	add_text(body, "host", run->host);
	add_text(body, "tool", run->tool);
	add_text(body, "fallback_of", run->fallback_of);
	buf_char(body, '}');
}

void
body_of_action(struct buf *body, const struct outcome *outcome)
{
	const struct record *record = outcome->record;

	buf_char(body, '{');
	add_key(body, "reasons");
	buf_text(body, outcome->reasons ? outcome->reasons : "[]");
	add_text(body, "message", outcome->message);
	if (record) {
		add_text(body, "rule", record->rule);
		buf_printf(body, ",\"rule_version\":%u", record->rule_version);
		add_digest(body, "fingerprint", &record->fingerprint);
		add_digest(body, "output", &record->output);
		add_text(body, "summary", record->summary);
		add_pairs(body, "outputs", &record->outputs);
		add_artifacts(body, &record->artifacts);
		add_pairs(body, "materials", &record->materials);
		add_ingredients(body, &record->ingredients);
	}
	buf_char(body, '}');
}
