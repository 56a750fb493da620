/* version.c - `provision version`: the version, and with --json or -v every setting with where it came from. */
#include "commands.h"

#include "session.h"

static json_t *
settings_json(struct session *session)
{
	const struct options *options = &session->options;
	json_t *settings = json_object();

	for (const struct option *option = option_table; option->name; option++) {
		const char *value = options_value(options, option, &session->arena);

		if (!option->setting && !option->environment)
			continue;
		json_object_set_new(settings, option->name,
			json_pack("{s:s?, s:s}", "value", value, "origin",
				origin_name((enum origin)options->origins[option - option_table])));
	}
	return settings;
}

static void
show_settings(struct session *session)
{
	const struct options *options = &session->options;

	for (const struct option *option = option_table; option->name; option++) {
		const char *value = options_value(options, option, &session->arena);

		if (!option->setting && !option->environment)
			continue;
		out_text(&session->out, "  ");
		out_cell(&session->out, option->name, 16);
		out_cell(&session->out, value ? value : "-", 12);
		out_printf(&session->out, "%s\n", origin_name((enum origin)options->origins[option - option_table]));
	}
	out_printf(&session->out, "  %-16s", "root");
	out_safe(&session->out, session->found.root);
	out_printf(&session->out, "  (%s)\n  %-16s", session->found.root_origin, "cache");
	out_safe(&session->out, session->found.cache);
	out_printf(&session->out, "%s\n", session->found.cache_exists ? "" : "  (none yet)");
	if (session->found.manifest) {
		out_printf(&session->out, "  %-16s", "manifest");
		out_safe(&session->out, session->found.manifest);
		out_printf(&session->out, "  (%s)\n", session->found.manifest_origin);
	}
}

int
command_version(struct session *session)
{
	enum status status = session_find(session, false);

	session->documents = true;
	if (status != STATUS_OK)
		return (int)status;
	if (session->options.json) {
		session_document(
			session, json_pack("{s:s, s:i, s:s, s:s, s:s, s:s?, s:s?, s:o}", "version", PROVISION_VERSION,
					 "manifest_format", 1, "root", session->found.root, "root_origin",
					 session->found.root_origin, "cache", session->found.cache, "manifest",
					 session->found.manifest, "manifest_origin", session->found.manifest_origin,
					 "settings", settings_json(session)));
		return STATUS_OK;
	}
	out_printf(&session->out, "provision %s\n", PROVISION_VERSION);
	if (session->options.verbose)
		show_settings(session);
	return STATUS_OK;
}
