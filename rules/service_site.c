#include "service_internal.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/task.h"

void
site_init(struct site *site, struct task *task, const atomic_bool *cancel)
{
	*site = (struct site){ .task = task, .arena = task_arena(task), .cancel = cancel };
}

void
site_finish(struct site *site)
{
	if (site->has_docker)
		docker_finish(&site->docker);
	site->has_docker = false;
}

bool
site_docker(struct site *site, struct error *err)
{
	if (!site->has_docker && !docker_init(&site->docker, "auto", site->cancel, site->arena, err)) {
		docker_finish(&site->docker);
		return false;
	}
	site->has_docker = true;
	return true;
}

const char *
service_tag_prefix(struct task *task, struct arena *arena)
{
	if (!*task_project(task))
		return "";
	return arena_printf(arena, "%s/%s/%s/", task_project(task), task_deployment(task), task_target(task));
}

static bool
mentions_containers(const struct instances *keep, const struct intent *intents, size_t count)
{
	for (size_t i = 0; i < keep->count; i++)
		if (keep->items[i].runtime == &docker_runtime)
			return true;
	for (size_t i = 0; i < count; i++)
		if (strcmp(intents[i].kind, docker_runtime.words) == 0)
			return true;
	return false;
}

bool
service_sweep(struct site *site, const struct instances *keep, struct error *err)
{
	const struct intent *intents;
	struct error no_engine;
	size_t count;

	if (!task_intents(site->task, &intents, &count, err))
		return false;
	/* A host that serves without containers may have no engine, and then no containers of ours. */
	if (site_docker(site, &no_engine)) {
		if (!docker_runtime.sweep(site, keep, err))
			return false;
	} else if (mentions_containers(keep, intents, count)) {
		*err = no_engine;
		return false;
	}
	if (!process_runtime.sweep(site, keep, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!task_intent_drop(site->task, intents[i].id, err))
			return false;
	return true;
}
