#include "summary.h"

#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "report/words.h"

/* Where the services of this deployment answer now. */
static void
show_services(struct session *session, const struct shape *shape)
{
	const struct memory *memory = session->memory;
	const char *deployment = shape->manifest.name;

	for (uint32_t i = 0; i < shape->graph.count; i++) {
		const struct target *target = &shape->graph.targets[i];
		struct record record = { .target = target->name };
		struct error err = { 0 };
		struct row *row;
		const char *url;

		if (strcmp(target->rule->name, "service") != 0 ||
			!memory->record(memory->self, deployment, target->name, &session->arena, &row, &err))
			continue;
		if (!row || !record_unpack(&record, row->body, row->body_size, &session->arena))
			continue;
		url = pairs_get(&record.outputs, "url");
		if (!url)
			continue;
		out_text(&session->out, "Serving ");
		out_safe(&session->out, deployment);
		out_text(&session->out, " at ");
		out_safe(&session->out, url);
		out_text(&session->out, ".\n");
	}
}

static void
show_success(struct session *session, const struct summary *summary)
{
	const struct apply_result *result = summary->result;
	struct arena *arena = &session->arena;
	size_t count = summary->shape->plan.count;

	out_text(&session->out, "Applied ");
	out_safe(&session->out, summary->shape->manifest.name);
	out_text(&session->out, ", ");
	out_safe(&session->out, summary->shape->shown);
	out_printf(&session->out, ", in %s: ", units_show_duration(arena, result->duration));
	if (result->changed == count)
		out_text(&session->out, words_count(arena, count, "target", "targets"));
	else
		out_printf(&session->out, "%u of %s", (unsigned)result->changed,
			words_count(arena, count, "target", "targets"));
	if (result->downloaded > 0)
		out_printf(&session->out, ", %s downloaded", units_show_size(arena, result->downloaded));
	out_printf(&session->out, ", run %s.\n", summary->run);
	show_services(session, summary->shape);
	if (!session->options.quiet)
		out_text(&session->out, "  provision status        provision audit\n");
}

static void
show_failure(struct session *session, const struct summary *summary)
{
	const struct apply_result *result = summary->result;
	const struct plan *plan = &summary->shape->plan;
	size_t total = plan->counts[ACTION_MAKE] + plan->counts[ACTION_REDO] + plan->counts[ACTION_CHECK] +
		       plan->counts[ACTION_REMOVE];
	size_t done = (size_t)result->changed + result->same;
	size_t ended = done + result->failed + result->skipped;

	out_printf(&session->out, "%s after %s: %zu done", result->signal ? "Interrupted" : "Failed",
		units_show_duration(&session->arena, result->duration), done);
	if (result->failed > 0)
		out_printf(&session->out, ", %u failed", (unsigned)result->failed);
	if (total > ended)
		out_printf(&session->out, ", %zu stopped", total - ended);
	if (result->skipped > 0)
		out_printf(&session->out, ", %u not started", (unsigned)result->skipped);
	out_printf(&session->out, ", run %s. Run the same command to go on.\n", summary->run);
}

void
summary_show(struct session *session, const struct summary *summary)
{
	enum status status = summary->status;
	const struct apply_result *result = summary->result;
	bool ran = summary->run != NULL;
	bool ok = status == STATUS_OK || status == STATUS_CHANGES || status == STATUS_FALLBACK;

	if (session->options.json) {
		jsonl_summary(
			&session->jsonl, &(struct jsonl_summary){ .result = ok				? "ok"
									    : result->signal		? "interrupted"
									    : status == STATUS_DECLINED ? "declined"
													: "failed",
						 .status = (int)status,
						 .changed = result->changed,
						 .failed = result->failed,
						 .duration = clock_monotonic_ms() - session->started_ms,
						 .downtime = summary->shape->plan.cost.stops ? -1 : 0,
						 .downloaded = result->downloaded,
						 .fallback = summary->fallback });
		return;
	}
	if (!ran)
		return;
	if (!ok)
		show_failure(session, summary);
	else if (session->options.quiet < 2)
		show_success(session, summary);
}
