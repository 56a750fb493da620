/* graph.c - `provision graph`: targets and needs as text, for Graphviz, or as JSON. */
#include "commands.h"

#include "session.h"

/* Target names need no quoting inside quotes: the manifest allows letters, digits, `_` and `-`. */
static void
show_dot(struct out *out, const struct graph *graph, const char *name)
{
	out_printf(out, "digraph \"%s\" {\n\trankdir = LR;\n\tnode [shape = box];\n", name);
	for (uint32_t i = 0; i < graph->count && !out->error; i++) {
		const struct target *target = &graph->targets[graph->order[i]];

		out_printf(out, "\t\"%s\" [label = \"%s\\n%s\"%s];\n", target->name, target->name, target->rule->name,
			target->rule->check ? ", style = rounded" : "");
		for (uint32_t j = 0; j < target->need_count; j++)
			out_printf(out, "\t\"%s\" -> \"%s\";\n", graph->targets[graph->needs[target->needs + j]].name,
				target->name);
	}
	out_text(out, "}\n");
}

static void
show_text(struct out *out, const struct graph *graph)
{
	for (uint32_t i = 0; i < graph->count && !out->error; i++) {
		const struct target *target = &graph->targets[graph->order[i]];

		out_printf(out, "%s (%s)", target->name, target->rule->name);
		for (uint32_t j = 0; j < target->need_count; j++)
			out_printf(out, "%s %s", j ? "," : " <-", graph->targets[graph->needs[target->needs + j]].name);
		if (target->optional)
			out_text(out, "  [only if named]");
		out_text(out, "\n");
	}
}

static void
show_json(struct session *session, const struct graph *graph, const char *name)
{
	json_t *targets = json_array();

	for (uint32_t i = 0; i < graph->count; i++) {
		const struct target *target = &graph->targets[graph->order[i]];
		json_t *needs = json_array();

		for (uint32_t j = 0; j < target->need_count; j++)
			json_array_append_new(needs, json_string(graph->targets[graph->needs[target->needs + j]].name));
		json_array_append_new(targets,
			json_pack("{s:s, s:s, s:b, s:b, s:o}", "target", target->name, "rule", target->rule->name,
				"check", (int)target->rule->check, "optional", (int)target->optional, "needs", needs));
	}
	session_document(session, json_pack("{s:s, s:o}", "deployment", name, "targets", targets));
}

int
command_graph(struct session *session)
{
	struct shape shape = { 0 };
	enum format format = session->options.dot    ? FORMAT_DOT
			     : session->options.json ? FORMAT_JSON
						     : (enum format)session->options.format;
	enum status status = session_find(session, true);

	session->documents = true;
	if (status == STATUS_OK)
		status = session_load(session, session->found.manifest, &shape);
	if (status == STATUS_OK && format == FORMAT_DOT)
		show_dot(&session->out, &shape.graph, shape.manifest.name);
	else if (status == STATUS_OK && format == FORMAT_JSON)
		show_json(session, &shape.graph, shape.manifest.name);
	else if (status == STATUS_OK)
		show_text(&session->out, &shape.graph);
	shape_finish(&shape);
	return (int)status;
}
