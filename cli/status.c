/* status.c - `provision status`: what is there, and whether it still matches. */
#include "commands.h"

#include <string.h>

#include "engine/base/clock.h"
#include "report/words.h"
#include "session.h"
#include "report/table.h"

/* What is not as it was recorded, as opposed to what is merely to be made. */
static bool
is_mismatch(enum reason reason)
{
	return reason == REASON_OUTPUT_MISSING || reason == REASON_OUTPUT_DIFFERS || reason == REASON_CONTAINER_GONE ||
		reason == REASON_CONTAINER_NOT_OURS;
}

struct looking {
	struct session *session;
	const struct shape *shape;
	struct words words;
	size_t same, stale, differing;
};

static const char *
state_of(struct looking *looking, const struct action *action)
{
	if (action->kind == ACTION_NONE || (action->kind == ACTION_CHECK && action->seen->passed_now)) {
		looking->same++;
		return "up to date";
	}
	if (is_mismatch(action->reason) && !action->seen->refused)
		looking->differing++;
	else
		looking->stale++;
	return words_sentence(&looking->words, action);
}

static const struct record *
record_of(const struct action *action)
{
	return action->seen ? action->seen->record : action->record;
}

/* "11-22 10:05". */
static const char *
short_time(struct arena *arena, int64_t ns)
{
	const char *text = clock_local(arena, ns);

	return arena_copy_bytes(arena, text + 5, 11);
}

static void
show_table(struct looking *looking)
{
	static const char *const heads[] = { "TARGET", "STATE", "SINCE", "RUN", "WHAT", NULL };
	const struct plan *plan = &looking->shape->plan;
	struct arena *arena = &looking->session->arena;
	struct table table;

	table_init(&table, heads, plan->count, arena);
	for (size_t i = 0; i < plan->count; i++) {
		const struct record *record = record_of(&plan->actions[i]);
		const char *state = state_of(looking, &plan->actions[i]);

		table_add(
			&table, (const char *const[]){ plan->actions[i].name, state,
					record ? short_time(arena, record->ended_ns) : "-", record ? record->run : "-",
					record && record->summary ? record->summary : "-" });
	}
	table_print(&table, &looking->session->out);
}

static void
add_outputs(json_t *target, const struct record *record)
{
	json_t *outputs = json_object();

	for (size_t i = 0; i < record->outputs.count; i++)
		json_object_set_new(outputs, record->outputs.items[i].key,
			diagnostic_json_text(record->outputs.items[i].value ? record->outputs.items[i].value : ""));
	json_object_set_new(target, "outputs", outputs);
}

static json_t *
target_json(struct looking *looking, const struct action *action)
{
	struct arena *arena = &looking->session->arena;
	const struct record *record = record_of(action);
	const char *state = state_of(looking, action);
	json_t *target = json_object();

	json_object_set_new(target, "target", json_string(action->name));
	json_object_set_new(
		target, "rule", json_string(action->target ? action->target->rule->name : action->record->rule));
	json_object_set_new(
		target, "state", json_string(reason_id(action->kind == ACTION_NONE ? REASON_NONE : action->reason)));
	json_object_set_new(target, "msg", diagnostic_json_text(state));
	if (!record)
		return target;
	json_object_set_new(target, "run", json_string(record->run ? record->run : ""));
	json_object_set_new(target, "since", json_string(clock_utc(arena, record->ended_ns)));
	if (record->summary)
		json_object_set_new(target, "summary", diagnostic_json_text(record->summary));
	add_outputs(target, record);
	return target;
}

static void
show_json(struct looking *looking)
{
	const struct plan *plan = &looking->shape->plan;
	json_t *targets = json_array();
	json_t *document = json_object();

	for (size_t i = 0; i < plan->count; i++)
		json_array_append_new(targets, target_json(looking, &plan->actions[i]));
	json_object_set_new(document, "deployment", json_string(looking->shape->manifest.name));
	json_object_set_new(document, "manifest", diagnostic_json_text(looking->shape->shown));
	json_object_set_new(document, "targets", targets);
	json_object_set_new(document, "up_to_date", json_integer((json_int_t)looking->same));
	json_object_set_new(document, "stale", json_integer((json_int_t)looking->stale));
	json_object_set_new(document, "differing", json_integer((json_int_t)looking->differing));
	session_document(looking->session, document);
}

/* Where what runs can be reached. */
static void
show_services(struct looking *looking)
{
	const struct plan *plan = &looking->shape->plan;
	struct out *out = &looking->session->out;

	for (size_t i = 0; i < plan->count; i++) {
		const struct action *action = &plan->actions[i];
		const struct record *record = action->kind == ACTION_NONE ? action->seen->record : NULL;
		const char *url = record ? pairs_get(&record->outputs, "url") : NULL;

		if (!url || strcmp(record->rule, "service") != 0)
			continue;
		out_text(out, "Serving ");
		out_safe(out, action->name);
		out_text(out, " at ");
		out_safe(out, url);
		out_text(out, ".\n");
	}
}

static void
show_text(struct looking *looking)
{
	struct session *session = looking->session;
	struct lock_holder holder;

	out_safe(&session->out, looking->shape->manifest.name);
	out_text(&session->out, ", ");
	out_safe(&session->out, looking->shape->shown);
	out_text(&session->out, "\n");
	if (lock_read(session->found.state_dir, &session->arena, &holder))
		out_printf(&session->out, "%s is running now, pid %lld, since %s\n",
			holder.command ? holder.command : "a run", (long long)holder.pid,
			clock_local(&session->arena, holder.since_ns));
	out_text(&session->out, "\n");
	show_table(looking);
	out_text(&session->out, "\n");
	show_services(looking);
	out_printf(&session->out, "%zu up to date, %zu stale, %zu not as recorded.\n", looking->same, looking->stale,
		looking->differing);
}

int
command_status(struct session *session)
{
	struct shape shape = { 0 };
	struct looking looking = { .session = session, .shape = &shape };
	enum status status;

	session->documents = true;
	status = session_look(session, &shape, false);
	if (status == STATUS_OK)
		status = session_plan(session, &shape);
	if (status == STATUS_OK) {
		words_init(&looking.words, &shape.plan, &session->arena);
		if (session->options.json)
			show_json(&looking);
		else
			show_text(&looking);
		status = looking.differing > 0 ? STATUS_MISMATCH : STATUS_OK;
	}
	shape_finish(&shape);
	return (int)status;
}
