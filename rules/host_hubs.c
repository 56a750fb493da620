#include "host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "client/hub.h"
#include "client/http.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/finding.h"
#include "engine/task.h"

#define MOST_THREADS 16
#define TIMEOUT_MS 5000

/* One hub, asked on a thread of its own: it has its own arena and connection. */
struct question {
	const char *name;
	const char *url;
	const atomic_bool *cancel;
	pthread_t thread;
	bool started;
	bool good;
	struct error err;
};

const char *
host_hub_url(const char *hub, struct arena *arena)
{
	struct hub_source source;
	struct error ignored = { 0 };

	if (strcmp(hub, "huggingface") == 0 || strcmp(hub, "modelscope") == 0)
		return hub_parse(arena_printf(arena, "%s:a/b", hub), NULL, "/", arena, &source, &ignored) ? source.endpoint :
																									NULL;
	return text_starts(hub, "https://") || text_starts(hub, "http://") ? hub : NULL;
}

/* Any answer will do, but for a gateway's that there is none. */
static void
ask(struct question *question)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct http http finally(http_finish) = { 0 };
	struct http_response response finally(http_response_finish) = { 0 };
	const struct http_request request = {
		.method = "HEAD",
		.url = question->url,
		.timeout_ms = TIMEOUT_MS,
		.connect_timeout_ms = TIMEOUT_MS,
		.no_redirect = true,
	};

	arena_init(&arena);
	if (!http_init(&http, question->cancel, &question->err) ||
		!http_do(&http, &request, &arena, &response, &question->err))
		return;
	question->good = response.status < 500;
	if (!question->good)
		fail(&question->err, FAULT_HUB_UNREACHABLE, "answers with status %ld", response.status);
}

static void *
run(void *context)
{
	ask(context);
	return NULL;
}

static void
report(const struct question *question, struct task *task)
{
	struct findings *findings = task_findings(task);
	struct finding *finding;

	if (question->good)
		return;
	finding = findings_add(
		findings, FAULT_HUB_UNREACHABLE, task_place(task, "hubs"), "`%s` cannot be reached", question->name);
	finding_note(findings, finding, "%s: %s", question->url, question->err.text);
	if (*question->err.hint)
		finding_help(findings, finding, "%s", question->err.hint);
	finding_help(findings, finding, "set HTTPS_PROXY, or use another hub or mirror (HF_ENDPOINT, MODELSCOPE_ENDPOINT)");
}

void
host_check_hubs(const struct host *host, struct task *task)
{
	size_t count = host->hubs.count;
	struct question *questions = arena_array(task_arena(task), count + 1, sizeof *questions);

	for (size_t i = 0; i < count; i++) {
		questions[i] = (struct question){
			.name = host->hubs.items[i],
			.url = host_hub_url(host->hubs.items[i], task_arena(task)),
			.cancel = task_cancel(task),
		};
		/* The last one needs no thread: this one waits anyway. */
		questions[i].started = i + 1 < count && i < MOST_THREADS && pthread_create(&questions[i].thread, NULL, run, &questions[i]) == 0;
		if (!questions[i].started)
			ask(&questions[i]);
	}
	for (size_t i = 0; i < count; i++) {
		if (questions[i].started)
			pthread_join(questions[i].thread, NULL);
		report(&questions[i], task);
	}
}
