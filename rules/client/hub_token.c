#include "hub_protocol.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#include "engine/base/arena.h"
#include "engine/base/file.h"

/* Variables that hold a token, in the order in which the hubs' own clients look. */
static const struct {
	enum hub_kind kind;
	const char *name;
} variables[] = {
	{ HUB_HUGGINGFACE, "HF_TOKEN" },
	{ HUB_HUGGINGFACE, "HUGGING_FACE_HUB_TOKEN" },
	{ HUB_MODELSCOPE, "MODELSCOPE_API_TOKEN" },
};

static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static bool
is_true(const char *value)
{
	static const char *const words[] = { "1", "ON", "YES", "TRUE" };

	for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
		if (strcasecmp(value, words[i]) == 0)
			return true;
	return false;
}

/* Where the official client keeps its token. */
static const char *
token_file(struct arena *arena)
{
	const char *path = variable("HF_TOKEN_PATH"), *home = variable("HF_HOME"), *cache = variable("XDG_CACHE_HOME");
	const char *user = variable("HOME");

	if (path)
		return path;
	if (home)
		return path_join(arena, home, "token");
	if (cache)
		return path_join(arena, cache, "huggingface/token");
	return user ? path_join(arena, user, ".cache/huggingface/token") : NULL;
}

static bool
load(struct hub *hub, const struct secret_ref *ref, struct error *err)
{
	hub->token_origin = ref->env ? ref->env : ref->file;
	return secret_load(ref, true, &hub->token, err);
}

bool
hub_find_token(struct hub *hub, struct error *err)
{
	const char *file;
	struct stat st;

	if (!hub->source.endpoint_is_public)
		return true;
	if (hub->source.kind == HUB_HUGGINGFACE && is_true(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
		return true;
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		if (variables[i].kind == hub->source.kind && variable(variables[i].name))
			return load(hub, &(struct secret_ref){ .env = variables[i].name }, err);
	file = hub->source.kind == HUB_HUGGINGFACE ? token_file(hub->arena) : NULL;
	if (!file || stat(file, &st) != 0 || st.st_size == 0)
		return true;
	return load(hub, &(struct secret_ref){ .file = arena_copy(hub->arena, file) }, err);
}
