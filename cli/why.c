/* why.c - `provision why`: the whole reason chain of one target, down to where it began. */
#include "commands.h"

#include "engine/base/clock.h"
#include "report/words.h"
#include "session.h"

#define CHAIN_SHOWN 200 /* targets of one answer */

struct asking {
	struct session *session;
	const struct plan *plan;
	struct words words;
	const struct action **action_of; /* by target id */
	unsigned char *told;             /* by target id */
	size_t shown;
};

static void
index_actions(struct asking *asking)
{
	const struct graph *graph = asking->plan->inspection->graph;

	asking->action_of = arena_array(&asking->session->arena, graph->count + 1, sizeof *asking->action_of);
	asking->told = arena_alloc(&asking->session->arena, graph->count + 1);
	for (size_t i = 0; i < asking->plan->count; i++)
		if (asking->plan->actions[i].target)
			asking->action_of[asking->plan->actions[i].target->id] = &asking->plan->actions[i];
}

static void
show_causes(struct asking *asking, const struct action *action, size_t depth)
{
	const struct causes *causes = &action->seen->detail->causes;
	struct out *out = &asking->session->out;

	for (size_t i = 0; i < causes->count; i++) {
		const struct cause *cause = &causes->items[i];
		const char *change = words_cause(cause, &asking->session->arena);

		out_pad(out, depth * 2 + 4);
		out_printf(out, "%s: ", words_reason(cause->reason));
		out_safe(out, cause->what);
		if (change) {
			out_text(out, ": ");
			out_safe(out, change);
		}
		out_text(out, "\n");
	}
}

static bool
is_changing(const struct action *action)
{
	return action && action->kind != ACTION_NONE && !(action->kind == ACTION_CHECK && action->seen->passed_now);
}

static void show(struct asking *asking, const struct action *action, size_t depth);

/* What it needs and what changes too; each target is explained once. */
static void
show_needs(struct asking *asking, const struct target *target, size_t depth)
{
	const struct graph *graph = asking->plan->inspection->graph;

	for (uint32_t i = 0; i < target->need_count; i++) {
		uint32_t id = graph->needs[target->needs + i];
		const struct action *action = asking->action_of[id];

		if (!is_changing(action) || asking->told[id])
			continue;
		if (asking->shown >= CHAIN_SHOWN) {
			out_pad(&asking->session->out, depth * 2);
			out_text(&asking->session->out, "...\n");
			return;
		}
		show(asking, action, depth);
	}
}

static void
show(struct asking *asking, const struct action *action, size_t depth)
{
	struct session *session = asking->session;

	asking->told[action->target->id] = 1;
	asking->shown++;
	out_pad(&session->out, depth * 2);
	out_safe(&session->out, action->name);
	out_printf(&session->out, " (%s): ", action->target->rule->name);
	out_safe(&session->out, words_sentence(&asking->words, action));
	out_text(&session->out, "\n");
	if (action->seen->detail)
		show_causes(asking, action, depth);
	show_needs(asking, action->target, depth + 1);
}

/* What a target that is up to date was made from. */
static void
show_made_from(struct asking *asking, const struct action *action)
{
	struct session *session = asking->session;
	const struct record *record = action->seen->record;
	struct record whole;

	out_safe(&session->out, action->name);
	out_printf(&session->out, " (%s): up to date", action->target->rule->name);
	if (!record) {
		out_text(&session->out, "\n");
		return;
	}
	out_printf(&session->out, " since run %s, %s\n", record->run ? record->run : "?",
		clock_local(&session->arena, record->ended_ns));
	out_printf(&session->out, "    fingerprint %s\n", digest_text(&session->arena, &record->fingerprint));
	whole = *record;
	if (!record_unpack_why(&whole, whole.body, whole.body_size, &session->arena))
		return;
	for (size_t i = 0; i < whole.ingredients.count; i++) {
		const struct ingredient *ingredient = &whole.ingredients.items[i];

		out_text(&session->out, "    ");
		out_safe(&session->out, ingredient->name);
		out_text(&session->out, "  ");
		out_safe(&session->out,
			words_cut(&session->arena, ingredient->value, session->options.verbose ? 10000 : 100));
		out_text(&session->out, "\n");
	}
}

static json_t *
chain_json(struct asking *asking, const struct action *action)
{
	const struct graph *graph = asking->plan->inspection->graph;
	const struct detail *detail = action->seen->detail;
	json_t *node = json_object();
	json_t *causes = json_array();
	json_t *needs = json_array();

	asking->told[action->target->id] = 1;
	asking->shown++;
	json_object_set_new(node, "target", json_string(action->name));
	json_object_set_new(node, "rule", json_string(action->target->rule->name));
	json_object_set_new(node, "reason", json_string(reason_id(is_changing(action) ? action->reason : REASON_NONE)));
	json_object_set_new(node, "msg", diagnostic_json_text(words_sentence(&asking->words, action)));
	for (size_t i = 0; detail && i < detail->causes.count; i++) {
		const struct cause *cause = &detail->causes.items[i];
		json_t *value = json_pack("{s:s}", "id", reason_id(cause->reason));

		json_object_set_new(value, "what", diagnostic_json_text(cause->what));
		if (cause->before)
			json_object_set_new(value, "before", diagnostic_json_text(cause->before));
		if (cause->after)
			json_object_set_new(value, "after", diagnostic_json_text(cause->after));
		if (cause->line)
			json_object_set_new(value, "line", json_integer(cause->line));
		json_array_append_new(causes, value);
	}
	for (uint32_t i = 0; i < action->target->need_count && asking->shown < CHAIN_SHOWN; i++) {
		uint32_t id = graph->needs[action->target->needs + i];

		if (is_changing(asking->action_of[id]) && !asking->told[id])
			json_array_append_new(needs, chain_json(asking, asking->action_of[id]));
	}
	json_object_set_new(node, "causes", causes);
	json_object_set_new(node, "needs", needs);
	if (action->seen->record && action->seen->record->run)
		json_object_set_new(node, "run", json_string(action->seen->record->run));
	return node;
}

static enum status
answer(struct session *session, const struct shape *shape, const char *name)
{
	const struct target *target = graph_find(&shape->graph, name);
	struct asking asking = { .session = session, .plan = &shape->plan };
	const struct action *action;
	struct error err = { 0 };

	index_actions(&asking);
	words_init(&asking.words, &shape->plan, &session->arena);
	action = target ? asking.action_of[target->id] : NULL;
	if (!action) {
		fail(&err, FAULT_NO_SUCH_TARGET, target ? "target `%s` is left out" : "the manifest has no target `%s`",
			name);
		return session_fail(session, &err, NULL);
	}
	if (session->options.json)
		session_document(session, chain_json(&asking, action));
	else if (is_changing(action))
		show(&asking, action, 0);
	else
		show_made_from(&asking, action);
	return STATUS_OK;
}

int
command_why(struct session *session)
{
	struct shape shape = { 0 };
	struct error err = { 0 };
	enum status status;

	session->documents = true;
	status = session_look(session, &shape, false);
	if (status == STATUS_OK)
		status = session_plan(session, &shape);
	if (status == STATUS_OK && session->targets.count != 1) {
		fail(&err, FAULT_USAGE, "`provision why` wants one target");
		error_hint(&err, "usage: provision why [MANIFEST] TARGET");
		status = session_fail(session, &err, NULL);
	} else if (status == STATUS_OK) {
		status = answer(session, &shape, session->targets.items[0]);
	}
	shape_finish(&shape);
	return (int)status;
}
