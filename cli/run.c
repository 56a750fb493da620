#include "run.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/secret.h"

const char *
run_new_id(struct session *session)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned char bytes[8];
	char id[sizeof bytes + 1] = { 0 };

	random_bytes(bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++)
		id[i] = alphabet[bytes[i] % 32];
	return arena_copy(&session->arena, id);
}

/* The command line as a JSON list; what looks like a secret is not kept. */
static const char *
argv_json(struct session *session)
{
	json_t *list finally(json_release) = json_array();

	for (int i = 0; i < session->argc; i++) {
		const char *equals = strchr(session->argv[i], '=');
		const char *value = equals ? equals + 1 : session->argv[i];
		const char *shown = session->argv[i];

		if (secret_looks_like_one(value))
			shown = arena_printf(&session->arena, "%.*s***", (int)(value - session->argv[i]), session->argv[i]);
		json_array_append_new(list, diagnostic_json_text(shown));
	}
	return json_text(&session->arena, list, false);
}

void
run_describe(struct session *session, const struct shape *shape, const char *run, const char *fallback_of,
	struct run_info *info)
{
	const struct passwd *user = getpwuid(getuid());
	char host[256] = { 0 };

	if (gethostname(host, sizeof host - 1) != 0)
		host[0] = '\0';
	*info = (struct run_info){
		.id = run,
		.command = session->options.command->name,
		.deployment = shape->manifest.name,
		/* Seen from the root, so that it can be found again from anywhere. */
		.manifest = strcmp(shape->path, "-") == 0
				    ? "-"
				    : path_shown(&session->arena, session->found.root, shape->path),
		.manifest_digest = shape->manifest.digest,
		.argv = argv_json(session),
		.user = user ? arena_copy(&session->arena, user->pw_name)
			     : arena_printf(&session->arena, "%u", (unsigned)getuid()),
		.host = arena_copy(&session->arena, host),
		.tool = PROVISION_VERSION,
		.fallback_of = fallback_of,
		.started_ns = clock_now_ns(),
	};
}
