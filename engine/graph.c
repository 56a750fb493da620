#include "graph.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/finding.h"
#include "base/suggest.h"
#include "inspect.h"
#include "link.h"
#include "task_internal.h"

#define NAME_LIMIT 63
#define MOST_SUGGESTIONS 50

/* Keys that every target has. */
struct common {
	const char *rule;
	struct strings needs;
	const char *description;
	int64_t timeout;
	int64_t retries;
	const char *workdir;
	bool optional;
};

static const struct param common_params[] = {
	{ "rule", PARAM_STRING, offsetof(struct common, rule), .required = true, .about = "the kind of the target" },
	{ "needs", PARAM_STRINGS, offsetof(struct common, needs), .about = "targets that come first, beside those whose outputs are named" },
	{ "description", PARAM_STRING, offsetof(struct common, description), .unhashed = true, .about = "a note for people" },
	{ "timeout", PARAM_DURATION, offsetof(struct common, timeout), .unhashed = true, .about = "how long an attempt may take" },
	{ "retries", PARAM_INT, offsetof(struct common, retries), .unhashed = true, .about = "further attempts after a failure", .most = 1000 },
	{ "workdir", PARAM_PATH, offsetof(struct common, workdir), .about = "where commands run; by default the manifest's directory" },
	{ "optional", PARAM_BOOL, offsetof(struct common, optional), .unhashed = true, .about = "left out unless the target is named" },
	{ 0 },
};

const struct param *
graph_common_params(void)
{
	return common_params;
}

const struct rule *
graph_rule(const struct graph *graph, const char *name)
{
	for (const struct rule *const *rule = graph->rules; rule && *rule; rule++)
		if (strcmp((*rule)->name, name) == 0)
			return *rule;
	return NULL;
}

const struct target *
graph_find(const struct graph *graph, const char *name)
{
	uint32_t id = names_find(&graph->names, name);

	return id < graph->count ? &graph->targets[id] : NULL;
}

const char *
graph_plain_output(const struct target *target, const char *name, struct arena *arena)
{
	const struct output *output = target->rule->outputs;

	while (output && output->name && strcmp(output->name, name) != 0)
		output++;
	if (!output || !output->name || !output->param || !target->spec)
		return NULL;
	for (const struct param *param = target->rule->params; param->name; param++)
		if (strcmp(param->name, output->param) == 0)
			return params_text(param, target->spec, arena);
	return NULL;
}

/* ---- reading the targets */

static bool
name_is_good(const char *name)
{
	size_t length = strlen(name);

	/* `${env.X}` is the environment. */
	if (length == 0 || length > NAME_LIMIT || name[0] < 'a' || name[0] > 'z' || strcmp(name, "env") == 0)
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length;
}

static void
unknown_rule(const struct linking *linking, const struct node *rule, const char *target)
{
	struct error err = { 0 };
	const char *near = NULL;

	for (const struct rule *const *known = linking->graph->rules; *known; known++)
		near = suggest_better(rule->text, near, (*known)->name);
	fail_at(&err, node_origin(rule), FAULT_UNKNOWN_RULE, "target `%s`: there is no rule `%s`", target, rule->text);
	error_label(&err, "unknown rule");
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	else
		error_hint(&err, "`provision rules` lists them");
	errors_add(linking->errors, &err);
}

static const struct rule *
find_rule(const struct linking *linking, const struct entry *entry)
{
	const struct node *rule = node_get(entry->value, "rule");
	const struct rule *found = NULL;
	struct error err = { 0 };

	if (!rule) {
		fail_at(&err, entry->at, FAULT_MISSING_KEY, "target `%s` has no `rule`", entry->key);
		error_label(&err, "`rule` is missing");
		error_hint(&err, "`provision rules` lists the kinds of target");
		errors_add(linking->errors, &err);
	} else if (rule->kind != NODE_SCALAR) {
		fail_at(&err, node_origin(rule), FAULT_BAD_VALUE, "target `%s`: `rule` is %s, not a name", entry->key, node_describe(rule));
		errors_add(linking->errors, &err);
	} else if (!(found = graph_rule(linking->graph, rule->text))) {
		unknown_rule(linking, rule, entry->key);
	}
	return found;
}

static void
add_target(struct linking *linking, const struct entry *entry)
{
	struct graph *graph = linking->graph;
	struct error err = { 0 };
	const struct rule *rule;
	struct target *target;

	if (!name_is_good(entry->key)) {
		fail_at(&err, entry->at, FAULT_BAD_NAME, "`%s` is no name for a target", entry->key);
		error_hint(&err, "a name begins with a small letter and goes on with small letters, digits, `_` and `-`, at most %d; `env` is the environment", NAME_LIMIT);
		errors_add(linking->errors, &err);
		return;
	}
	if (entry->value->kind != NODE_MAP) {
		fail_at(&err, entry->at, FAULT_BAD_VALUE, "target `%s` is %s, not a map", entry->key, node_describe(entry->value));
		errors_add(linking->errors, &err);
		return;
	}
	rule = find_rule(linking, entry);
	if (!rule)
		return;
	target = &graph->targets[graph->count];
	*target = (struct target){ .id = graph->count, .name = entry->key, .at = entry->at, .rule = rule, .node = entry->value };
	target->pending = entry->value->pending;
	names_add(&graph->names, entry->key);
	graph->count++;
}

/* ---- needs, as far as names and references tell */

static void
unknown_target(const struct linking *linking, const struct target *target, const char *name, struct place at)
{
	struct error err = { 0 };
	const char *near = NULL;

	if (linking->broken && node_get(linking->manifest->targets, name))
		return; /* it is there, and its own error was told */
	/* Each look costs as much as there are targets. */
	for (uint32_t i = 0; linking->errors->count < MOST_SUGGESTIONS && i < linking->graph->count; i++)
		near = suggest_better(name, near, linking->graph->targets[i].name);
	fail_at(&err, at, FAULT_UNKNOWN_TARGET, "target `%s` needs `%s`, which the manifest does not have", target->name, name);
	error_label(&err, "unknown target");
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	errors_add(linking->errors, &err);
}

static void
unknown_output(const struct linking *linking, const struct target *need, const char *name, struct place at)
{
	struct error err = { 0 };
	const char *near = NULL;

	for (const struct output *output = need->rule->outputs; output && output->name; output++)
		near = suggest_better(name, near, output->name);
	fail_at(&err, at, FAULT_UNKNOWN_OUTPUT, "target `%s` (rule: %s) has no output `%s`", need->name, need->rule->name, name);
	error_label(&err, "unknown output");
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	else
		error_hint(&err, "`provision rules %s` lists its outputs", need->rule->name);
	errors_add(linking->errors, &err);
}

static bool
has_output(const struct rule *rule, const char *name)
{
	for (const struct output *output = rule->outputs; output && output->name; output++)
		if (strcmp(output->name, name) == 0)
			return true;
	return false;
}

static void
on_reference(void *context, const char *name, const char *output, struct place at)
{
	struct linking *linking = context;
	const struct target *need = graph_find(linking->graph, name);

	if (!need)
		unknown_target(linking, linking->target, name, at);
	else if (!has_output(need->rule, output))
		unknown_output(linking, need, output, at);
	else
		link_edge(linking, linking->target->id, need->id);
}

static void
read_needs(struct linking *linking, const struct target *target)
{
	const struct node *needs = node_get(target->node, "needs");
	uint32_t count = !needs ? 0 : needs->kind == NODE_LIST ? needs->count : 1;

	for (uint32_t i = 0; i < count; i++) {
		const struct node *item = needs->kind == NODE_LIST ? needs->items[i] : needs;
		const struct target *need;

		if (item->kind != NODE_SCALAR)
			continue; /* params_fill says what is wrong with it */
		need = graph_find(linking->graph, item->text);
		if (need)
			link_edge(linking, target->id, need->id);
		else
			unknown_target(linking, target, item->text, node_origin(item));
	}
	linking->target = target;
	if (target->pending)
		resolve_references(target->node, on_reference, linking, linking->scratch);
}

/* ---- parameters */

static const char *
plain_output(void *context, const char *name, const char *output)
{
	const struct linking *linking = context;
	const struct target *target = graph_find(linking->graph, name);

	return target ? graph_plain_output(target, output, linking->graph->arena) : NULL;
}

static const char *
owner_name(const struct target *target, struct arena *arena)
{
	return arena_printf(arena, "target `%s` (rule: %s)", target->name, target->rule->name);
}

/* False: errors were added, and `spec` stays NULL. */
static bool
fill_target(struct linking *linking, struct target *target)
{
	struct graph *graph = linking->graph;
	struct arena *arena = graph->arena;
	struct common common = { 0 };
	void *spec = arena_alloc(arena, target->rule->size);

	if (target->pending) {
		target->node = resolve_known(target->node, plain_output, linking, arena);
		target->pending = target->node->pending;
	}
	if (!params_fill(target->rule->params, target->node, target->at, owner_name(target, linking->scratch), graph->sources, common_params, &common,
		    arena, spec, linking->errors))
		return false;
	target->spec = spec;
	target->optional = common.optional;
	target->description = common.description;
	target->workdir = common.workdir ? common.workdir : linking->manifest->directory;
	target->timeout = common.timeout;
	target->retries = common.retries;
	return true;
}

bool
graph_fill(const struct graph *graph, const struct target *target, const struct node *resolved, struct arena *arena, const void **spec,
	struct error *err)
{
	struct common common = { 0 };
	void *filled = arena_alloc(arena, target->rule->size);
	struct errors errors;

	errors_init(&errors, arena);
	if (!params_fill(target->rule->params, resolved, target->at, owner_name(target, arena), graph->sources, common_params, &common, arena, filled,
		    &errors)) {
		*err = errors.items[0];
		return false;
	}
	*spec = filled;
	return true;
}

static void
validate_target(struct linking *linking, const struct target *target)
{
	struct task task = { .target = target, .name = target->name, .arena = linking->graph->arena };

	if (target->spec && target->rule->validate)
		target->rule->validate(target->spec, &task, linking->errors);
}

/* ---- the whole */

static void
init(struct graph *graph, const struct manifest *manifest, const struct rule *const *rules)
{
	uint32_t count = manifest->targets ? manifest->targets->count : 0;

	*graph = (struct graph){ .arena = manifest->arena, .rules = rules, .sources = &manifest->sources };
	graph->targets = arena_array(graph->arena, count + 1, sizeof *graph->targets);
	names_init(&graph->names, graph->arena);
	names_init(&graph->paths, graph->arena);
	names_init(&graph->parents, graph->arena);
}

static void
list_pending(struct graph *graph)
{
	graph->pending = arena_array(graph->arena, graph->count + 1, sizeof *graph->pending);
	for (uint32_t i = 0; i < graph->count; i++)
		if (graph->targets[i].pending)
			graph->pending[graph->pending_count++] = i;
}

static void
link_all(struct linking *linking)
{
	struct graph *graph = linking->graph;
	const struct node *targets = linking->manifest->targets;
	bool ordered, filled = true;

	for (uint32_t i = 0; targets && i < targets->count; i++)
		add_target(linking, &targets->entries[i]);
	linking->broken = targets && graph->count < targets->count;
	for (uint32_t i = 0; i < graph->count; i++)
		read_needs(linking, &graph->targets[i]);
	link_slices(linking);
	ordered = link_order(linking);
	/* Parameters are looked at in any case, so that all errors are found; an order matters to outputs that are parameters alone. */
	for (uint32_t i = 0; i < graph->count; i++)
		filled &= fill_target(linking, &graph->targets[ordered ? graph->order[i] : i]);
	list_pending(graph);
	for (uint32_t i = 0; i < graph->count; i++)
		validate_target(linking, &graph->targets[i]);
	link_claims(linking);
	if (ordered && filled && link_paths(linking)) {
		link_slices(linking);
		link_order(linking);
	}
}

bool
graph_link(struct graph *graph, const struct manifest *manifest, const struct rule *const *rules, struct errors *errors)
{
	struct arena scratch = { 0 };
	struct linking linking = { .graph = graph, .manifest = manifest, .errors = errors, .scratch = &scratch };
	size_t before = errors->count;

	init(graph, manifest, rules);
	arena_init(&scratch);
	link_all(&linking);
	arena_finish(&scratch);
	free(linking.edges);
	return errors->count == before;
}

void
graph_finish(struct graph *graph)
{
	names_finish(&graph->names);
	names_finish(&graph->paths);
	names_finish(&graph->parents);
}

/* Mark everything that can be reached over one kind of edge. Each target is entered once. */
static void
mark(const struct graph *graph, uint32_t id, unsigned char *marks, bool up)
{
	uint32_t *stack = xmalloc((graph->count + 1) * sizeof *stack);
	size_t depth = 0;

	marks[id] = 1;
	stack[depth++] = id;
	while (depth > 0) {
		const struct target *target = &graph->targets[stack[--depth]];
		const uint32_t *next = up ? &graph->users[target->users] : &graph->needs[target->needs];
		uint32_t count = up ? target->user_count : target->need_count;

		for (uint32_t i = 0; i < count; i++)
			if (!marks[next[i]]) {
				marks[next[i]] = 1;
				stack[depth++] = next[i];
			}
	}
	free(stack);
}

void
graph_mark_needs(const struct graph *graph, uint32_t id, unsigned char *marks)
{
	mark(graph, id, marks, false);
}

void
graph_mark_users(const struct graph *graph, uint32_t id, unsigned char *marks)
{
	mark(graph, id, marks, true);
}
