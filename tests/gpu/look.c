/* look.c - what rules/client/gpu.c makes of this machine, as JSON on stdout: for tests/gpu/run, which compares it with nvidia-smi. */
#include <jansson.h>
#include <stdio.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "rules/client/gpu.h"

static json_t *
processes_json(const struct gpu *gpu)
{
	json_t *list = json_array();

	for (size_t i = 0; i < gpu->process_count; i++) {
		const struct gpu_process *process = &gpu->processes[i];

		json_push(list, json_pack("{s:i, s:o, s:s, s:s}", "pid", (int)process->pid, "memory",
			process->memory == UINT64_MAX ? json_null() : json_integer((json_int_t)process->memory), "name", process->name, "user", process->user));
	}
	return list;
}

static json_t *
links_json(const signed char *links, size_t count, size_t row)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_push(list, json_integer(links[row * count + i]));
	return list;
}

static json_t *
gpu_json(const struct gpus *gpus, size_t index)
{
	const struct gpu *gpu = &gpus->items[index];

	return json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:[ii], s:s?, s:b, s:o, s:o, s:o}", "index", (int)gpu->index, "uuid", gpu->uuid,
		"name", gpu->name, "pci", gpu->pci, "total", (json_int_t)gpu->total, "used", (json_int_t)gpu->used, "free", (json_int_t)gpu->free,
		"reserved", (json_int_t)gpu->reserved, "capability", gpu->major, gpu->minor, "broken", gpu->broken, "is_free", (int)gpu_is_free(gpu),
		"processes", processes_json(gpu), "p2p", links_json(gpus->p2p, gpus->count, index), "nvlink",
		links_json(gpus->nvlink, gpus->count, index));
}

int
main(void)
{
	struct arena arena finally(arena_finish) = { 0 };
	json_t *list = json_array(), *document finally(json_release) = NULL;
	struct error err = { 0 };
	struct gpus gpus;

	if (!gpus_read(&gpus, &arena, &err)) {
		json_decref(list);
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < gpus.count; i++)
		json_push(list, gpu_json(&gpus, i));
	document = json_pack("{s:s, s:s, s:o}", "driver", gpus.driver, "cuda", gpus.cuda, "gpus", list);
	puts(json_text(&arena, document, false));
	return 0;
}
