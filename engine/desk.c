#include "task_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "graph.h"
#include "rule.h"

void
desk_init(struct desk *desk, int wake)
{
	*desk = (struct desk){ .wake = wake };
	pthread_mutex_init(&desk->mutex, NULL);
	pthread_cond_init(&desk->answered, NULL);
}

void
desk_finish(struct desk *desk)
{
	pthread_cond_destroy(&desk->answered);
	pthread_mutex_destroy(&desk->mutex);
}

static void
wake_up(int fd)
{
	uint64_t one = 1;

	/* The counter of an eventfd cannot fill up here, and a lost wake-up costs one poll interval. */
	while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

/* Put a request on the desk and wait until the loop has answered it. */
static bool
ask(struct request *request, struct error *err)
{
	struct desk *desk = request->task->desk;

	request->err = err;
	if (!desk)
		return fail(err, FAULT_INTERNAL, "target `%s`: a durable step was asked for while planning", request->task->name);
	pthread_mutex_lock(&desk->mutex);
	if (!desk->closed) {
		if (desk->last)
			desk->last->next = request;
		else
			desk->first = request;
		desk->last = request;
		wake_up(desk->wake);
		while (!request->done)
			pthread_cond_wait(&desk->answered, &desk->mutex);
	}
	pthread_mutex_unlock(&desk->mutex);
	return request->done ? request->ok : fail(err, FAULT_INTERRUPTED, "the run is over");
}


static bool
serve_intents(struct request *request, const struct memory *memory, const char *deployment)
{
	struct intent *all;
	size_t count;

	if (!memory->intents(memory->self, deployment, request->arena, &all, &count, request->err))
		return false;
	request->intents = all;
	request->intent_count = 0;
	for (size_t i = 0; i < count; i++) {
		const char *slash = strchr(all[i].kind, '/');

		if (strcmp(all[i].target, request->task->name) != 0)
			continue;
		request->intents[request->intent_count] = all[i];
		if (slash)
			request->intents[request->intent_count].kind = slash + 1;
		request->intent_count++;
	}
	return true;
}

static bool
serve(struct request *request, const struct memory *memory, const char *deployment)
{
	switch (request->kind) {
	case REQUEST_CHECKPOINT:
		return memory->checkpoint(memory->self, request->key, request->arena, &request->bytes, &request->size, request->err);
	case REQUEST_SAVE_CHECKPOINT:
		return memory->save_checkpoint(memory->self, request->key, request->bytes, request->size, request->err);
	case REQUEST_INTENT:
		return memory->add_intent(memory->self, &request->intent, request->err);
	case REQUEST_DROP_INTENT:
		return memory->drop_intent(memory->self, request->key, request->err);
	case REQUEST_INTENTS:
		return serve_intents(request, memory, deployment);
	}
	return fail(request->err, FAULT_INTERNAL, "unknown request of target `%s`", request->task->name);
}

void
desk_serve(struct desk *desk, const struct memory *memory, const char *deployment)
{
	pthread_mutex_lock(&desk->mutex);
	while (desk->first) {
		struct request *request = desk->first;

		desk->first = request->next;
		if (!desk->first)
			desk->last = NULL;
		/* The memory is slow and needs no desk: others may put requests down meanwhile. */
		pthread_mutex_unlock(&desk->mutex);
		request->ok = serve(request, memory, deployment);
		pthread_mutex_lock(&desk->mutex);
		request->done = true;
		pthread_cond_broadcast(&desk->answered);
	}
	pthread_mutex_unlock(&desk->mutex);
}

bool
task_checkpoint(struct task *task, const char *key, struct arena *arena, const void **bytes, size_t *size, struct error *err)
{
	struct request request = { .kind = REQUEST_CHECKPOINT, .task = task, .key = key, .arena = arena };

	if (!ask(&request, err))
		return false;
	*bytes = request.bytes;
	*size = request.size;
	return true;
}

bool
task_save_checkpoint(struct task *task, const char *key, const void *bytes, size_t size, struct error *err)
{
	struct request request = { .kind = REQUEST_SAVE_CHECKPOINT, .task = task, .key = key, .bytes = bytes, .size = size };

	return ask(&request, err);
}

void
task_checkpoint_done(struct task *task, const char *key)
{
	strings_add(&task->checkpoints_done, task->arena, arena_copy(task->arena, key));
}

bool
task_intent(struct task *task, const char *id, const char *kind, const char *name, struct error *err)
{
	char qualified[128];
	struct request request = {
		.kind = REQUEST_INTENT,
		.task = task,
		.intent = { .id = id, .target = task->name, .kind = qualified, .name = name, .run = task->run },
	};

	/* The rule's name goes with it: the manifest may have dropped the target when the intent is found again. */
	snprintf(qualified, sizeof qualified, "%s/%s", task->target ? task->target->rule->name : task->record->rule, kind);
	return ask(&request, err);
}

bool
task_intent_drop(struct task *task, const char *id, struct error *err)
{
	struct request request = { .kind = REQUEST_DROP_INTENT, .task = task, .key = id };

	return ask(&request, err);
}

void
task_intent_done(struct task *task, const char *id)
{
	strings_add(&task->intents_done, task->arena, arena_copy(task->arena, id));
}

bool
task_intents(struct task *task, const struct intent **intents, size_t *count, struct error *err)
{
	struct request request = { .kind = REQUEST_INTENTS, .task = task, .arena = task->arena };

	if (!ask(&request, err))
		return false;
	*intents = request.intents;
	*count = request.intent_count;
	return true;
}
