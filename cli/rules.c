/* rules.c - `provision rules`: kinds of targets and their parameters, from the tables that validate them. */
#include "rules/rules.h"

#include <string.h>

#include "commands.h"
#include "engine/base/suggest.h"
#include "report/table.h"
#include "session.h"

static const struct rule *
find(const char *name)
{
	for (size_t i = 0; all_rules[i]; i++)
		if (strcmp(all_rules[i]->name, name) == 0)
			return all_rules[i];
	return NULL;
}

static const char *
choices(const struct param *param, struct arena *arena)
{
	const char *text = NULL;

	for (size_t i = 0; param->choices && param->choices[i]; i++)
		text = text ? arena_printf(arena, "%s|%s", text, param->choices[i]) : param->choices[i];
	return text;
}

/* Fields of nested maps follow their parameter, indented. */
static void
add_params(struct table *table, const struct param *params, const char *indent, struct arena *arena)
{
	for (; params && params->name; params++) {
		const char *about = params->about ? params->about : "";

		if (params->fallback)
			about = arena_printf(arena, "%s%s(%s)", about, *about ? " " : "", params->fallback);
		table_add(table, (const char *const[]){
			arena_printf(arena, "%s%s%s", indent, params->name, params->required ? " *" : ""),
			params->choices ? choices(params, arena) : params_type_name(params),
			about,
		});
		add_params(table, params->fields, arena_printf(arena, "%s  ", indent), arena);
	}
}

static void
show(struct session *session, const struct rule *rule)
{
	static const char *const heads[] = { "PARAMETER", "TYPE", "MEANING (DEFAULT)", NULL };
	static const char *const output_heads[] = { "OUTPUT", "MEANING", NULL };
	struct arena *arena = &session->arena;
	struct table params, outputs;

	out_paint(&session->out, STYLE_BOLD, "%s", rule->name);
	out_printf(&session->out, ": %s%s\n\n", rule->about, rule->check ? " (a check: its product is a verdict)" : "");
	table_init(&params, heads, 16, arena);
	add_params(&params, rule->params, "", arena);
	table_print(&params, &session->out);
	out_text(&session->out, "\n* required; every target also has: rule *, needs, description, timeout, retries, workdir, optional\n");
	if (!rule->outputs || !rule->outputs->name)
		return;
	out_text(&session->out, "\n");
	table_init(&outputs, output_heads, 8, arena);
	for (const struct output *output = rule->outputs; output->name; output++)
		table_add(&outputs, (const char *const[]){ output->name, output->about ? output->about : "" });
	table_print(&outputs, &session->out);
}

static json_t *
params_json(const struct param *params)
{
	json_t *list = json_array();

	for (; params && params->name; params++) {
		json_t *value =
			json_pack("{s:s, s:s, s:b, s:s?, s:s?}", "name", params->name, "type", params_type_name(params),
				"required", (int)params->required, "about", params->about, "default", params->fallback);

		if (params->choices) {
			json_t *words = json_array();

			for (size_t i = 0; params->choices[i]; i++)
				json_array_append_new(words, json_string(params->choices[i]));
			json_object_set_new(value, "choices", words);
		}
		if (params->fields)
			json_object_set_new(value, "fields", params_json(params->fields));
		json_array_append_new(list, value);
	}
	return list;
}

static json_t *
rule_json(const struct rule *rule)
{
	json_t *outputs = json_array();

	for (const struct output *output = rule->outputs; output && output->name; output++)
		json_array_append_new(outputs, json_pack("{s:s, s:s?}", "name", output->name, "about", output->about));
	return json_pack("{s:s, s:s, s:i, s:b, s:b, s:o, s:o}", "rule", rule->name, "about", rule->about, "version",
		(int)rule->version, "check", (int)rule->check, "precious", (int)rule->precious, "params",
		params_json(rule->params), "outputs", outputs);
}

static void
list(struct session *session)
{
	static const char *const heads[] = { "RULE", "MAKES", NULL };
	json_t *rules;
	struct table table;

	if (session->options.json) {
		rules = json_array();
		for (size_t i = 0; all_rules[i]; i++)
			json_array_append_new(rules, rule_json(all_rules[i]));
		session_document(session, rules);
		return;
	}
	table_init(&table, heads, 16, &session->arena);
	for (size_t i = 0; all_rules[i]; i++)
		table_add(&table, (const char *const[]){ all_rules[i]->name, all_rules[i]->about });
	table_print(&table, &session->out);
	if (!session->options.quiet)
		out_text(&session->out, "\nprovision rules NAME    its parameters and outputs\n");
}

int
command_rules(struct session *session)
{
	const struct strings *operands = &session->options.operands;
	const struct rule *rule;
	struct error err = { 0 };
	const char *near = NULL;

	session->documents = true;
	if (operands->count == 0) {
		list(session);
		return STATUS_OK;
	}
	rule = find(operands->items[0]);
	if (!rule) {
		for (size_t i = 0; all_rules[i]; i++)
			near = suggest_better(operands->items[0], near, all_rules[i]->name);
		fail(&err, FAULT_USAGE, "there is no rule `%s`", operands->items[0]);
		error_hint(&err, "%s",
			near ? arena_printf(&session->arena, "did you mean `%s`?", near)
			     : "all rules: provision rules");
		return (int)session_fail(session, &err, NULL);
	}
	if (session->options.json)
		session_document(session, rule_json(rule));
	else
		show(session, rule);
	return STATUS_OK;
}
