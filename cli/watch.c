#include "watch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Under nohup the terminal may go away at any moment. */
static bool
hangup_is_ignored(void)
{
	struct sigaction action;

	return sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

static bool
can_redraw(const struct session *session)
{
	const char *term = getenv("TERM");

	return session->err.terminal && term && strcmp(term, "dumb") != 0;
}

static enum watch_kind
choose(const struct session *session)
{
	const struct options *options = &session->options;

	if (options->json)
		return WATCH_JSON;
	if (options->progress == PROGRESS_TTY)
		return session->err.terminal ? WATCH_LIVE : WATCH_TEXT;
	if (options->progress != PROGRESS_AUTO || options->quiet || getenv("CI") || hangup_is_ignored())
		return WATCH_TEXT;
	return can_redraw(session) ? WATCH_LIVE : WATCH_TEXT;
}

void
watch_begin(struct watch *watch, struct session *session, const struct shape *shape, const struct plan *plan)
{
	const struct options *options = &session->options;
	/* Removals plan nothing and say little, but what they leave must be said. */
	bool logs = options->verbose > 0 || !plan;
	struct failure_view failures = {
		.form = (enum diagnostic_form)options->diagnostics,
		.sources = &shape->manifest.sources,
		.cwd = session->found.cwd,
	};

	out_flush(&session->out);
	*watch = (struct watch){ .kind = choose(session) };
	switch (watch->kind) {
	case WATCH_JSON:
		session->jsonl.sources = failures.sources;
		watch->watcher = (struct watcher){ .self = &session->jsonl, .tell = jsonl_event };
		break;
	case WATCH_LIVE:
		watch->live = (struct live){
			.out = &session->err, .failures = failures, .plan = plan, .logs = logs
		};
		watch->watcher = (struct watcher){ .self = &watch->live, .tell = live_event };
		live_start(&watch->live);
		break;
	case WATCH_TEXT:
		watch->text = (struct text_report){
			.out = &session->err,
			.failures = failures,
			.graph = &shape->graph,
			.heartbeat = options->quiet || options->progress == PROGRESS_NONE ? 0 : options->heartbeat,
			.only_failures = options->quiet > 1 || options->progress == PROGRESS_NONE,
			.logs = logs,
		};
		watch->watcher = (struct watcher){ .self = &watch->text, .tell = text_event };
		break;
	}
}

void
watch_end(struct watch *watch)
{
	if (watch->kind == WATCH_LIVE)
		live_end(&watch->live);
	else if (watch->kind == WATCH_TEXT)
		text_finish(&watch->text);
}
