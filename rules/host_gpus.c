#include "host.h"

#include <string.h>
#include <strings.h>

#include "engine/base/arena.h"
#include "engine/base/finding.h"
#include "engine/base/glob.h"
#include "engine/base/units.h"
#include "engine/base/version.h"
#include "engine/task.h"

struct check {
	const struct host_gpus *want;
	const struct gpus *gpus;
	struct task *task;
	struct arena *arena;
	struct findings *findings;
	struct host_facts *facts;
	bool *good;               /* by device: of the kind that is wanted */
	size_t good_count;
};

/* "RTX 3090" finds "NVIDIA GeForce RTX 3090"; drivers differ in the words before. */
static bool
is_named(const char *name, const char *wanted)
{
	return strpbrk(wanted, "*?[") ? glob_match_name(wanted, name) : strcasestr(name, wanted) != NULL;
}

static bool
is_reserved(const struct check *check, const struct gpu *gpu)
{
	size_t count;
	const int64_t *reserved = task_reserved_gpus(check->task, &count, NULL);

	for (size_t i = 0; i < count; i++)
		if (reserved[i] == (int64_t)gpu->index)
			return true;
	return false;
}

static void
note_broken(const struct check *check, struct finding *finding)
{
	for (size_t i = 0; i < check->gpus->count; i++)
		if (check->gpus->items[i].broken)
			finding_note(check->findings, finding, "GPU %zu cannot be used: %s", i, check->gpus->items[i].broken);
}

/* What is not as wanted, in one finding; a machine with enough GPUs of the right kind may have others beside them. */
static void
check_kind(struct check *check)
{
	const struct host_gpus *want = check->want;
	struct finding *finding = NULL;
	size_t seen = 0;

	for (size_t i = 0; i < check->gpus->count; i++) {
		const struct gpu *gpu = &check->gpus->items[i];
		bool named = !want->name || is_named(gpu->name, want->name);
		bool large = !want->memory || !gpu->total || gpu->total >= (uint64_t)want->memory;

		seen += !gpu->broken;
		check->good[i] = !gpu->broken && named && large;
		check->good_count += check->good[i];
	}
	if (check->good_count == seen || (want->count && check->good_count >= (size_t)want->count))
		return;
	finding = findings_add(check->findings, FAULT_GPU_KIND, task_place(check->task, "gpus"),
		"%zu of %zu GPUs are of the kind asked for%s%s%s%s", check->good_count, seen, want->name ? ": " : "",
		want->name ? want->name : "", want->memory ? ", at least " : "",
		want->memory ? units_show_memory(check->arena, (uint64_t)want->memory) : "");
	for (size_t i = 0; i < check->gpus->count; i++)
		if (!check->good[i] && !check->gpus->items[i].broken)
			finding_note(check->findings, finding, "GPU %zu: %s, %s", i, check->gpus->items[i].name,
				units_show_memory(check->arena, check->gpus->items[i].total));
	finding_help(check->findings, finding, "adapt `gpus` here and the shape to this machine, or use another one");
}

static void
check_count(const struct check *check)
{
	size_t usable = 0;
	struct finding *finding;

	for (size_t i = 0; i < check->gpus->count; i++)
		usable += !check->gpus->items[i].broken;
	if (!check->want->count && check->gpus->count && usable == check->gpus->count)
		return;
	if (check->want->count && usable >= (size_t)check->want->count)
		return;
	finding = findings_add(check->findings, FAULT_GPU_COUNT, task_place(check->task, "gpus"), "%zu of %lld GPUs work",
		usable, (long long)(check->want->count ? check->want->count : (int64_t)check->gpus->count));
	note_broken(check, finding);
	finding_help(check->findings, finding,
		"compare `nvidia-smi -L` with `lspci | grep -i nvidia`; a lost card usually comes back with a reboot");
}

static void
note_holders(const struct check *check, struct finding *finding, const struct gpu *gpu)
{
	if (!gpu->process_count)
		finding_note(check->findings, finding, "GPU %u: %s in use, no process is shown", gpu->index,
			units_show_memory(check->arena, gpu->used));
	for (size_t i = 0; i < gpu->process_count; i++) {
		const struct gpu_process *process = &gpu->processes[i];

		finding_note(check->findings, finding, "GPU %u: %s (pid %u)%s%s, %s", gpu->index,
			*process->name ? process->name : "a process", process->pid, *process->user ? " of " : "", process->user,
			process->memory == UINT64_MAX ? "memory unknown" : units_show_memory(check->arena, process->memory));
	}
}

/* Reserved GPUs are others' to use, and ours are ours to replace; of the rest, as many as are asked for must be idle. */
static void
check_free(const struct check *check)
{
	struct host_facts *facts = check->facts;
	size_t wanted = 0;
	struct finding *finding;

	facts->free_asked = true;
	for (size_t i = 0; i < check->gpus->count; i++) {
		const struct gpu *gpu = &check->gpus->items[i];

		if (!check->good[i])
			continue;
		if (is_reserved(check, gpu)) {
			facts->reserved++;
			continue;
		}
		wanted++;
		if (gpu_is_free(gpu))
			facts->idle++;
		else if (task_is_held_by_us(check->task, ARTIFACT_GPU, gpu->uuid))
			facts->ours++;
	}
	if (check->want->count && (size_t)check->want->count < wanted + facts->reserved)
		wanted = (size_t)check->want->count > facts->reserved ? (size_t)check->want->count - facts->reserved : 0;
	if (facts->idle + facts->ours >= wanted)
		return;
	finding = findings_add(check->findings, FAULT_GPU_BUSY, task_place(check->task, "gpus"), "%zu of %zu GPUs are free",
		facts->idle + facts->ours, wanted);
	for (size_t i = 0; i < check->gpus->count; i++) {
		const struct gpu *gpu = &check->gpus->items[i];

		if (check->good[i] && !is_reserved(check, gpu) && !gpu_is_free(gpu) &&
			!task_is_held_by_us(check->task, ARTIFACT_GPU, gpu->uuid))
			note_holders(check, finding, gpu);
	}
	finding_help(check->findings, finding,
		"ask their owner, wait, or choose other GPUs; nothing is ended that provision did not start");
}

static void
check_p2p(const struct check *check)
{
	size_t count = check->gpus->count, refused = 0, unknown = 0;
	struct finding *finding;

	for (size_t a = 0; a < count; a++)
		for (size_t b = 0; b < count; b++) {
			if (!check->good[a] || !check->good[b] || is_reserved(check, &check->gpus->items[a]) ||
				is_reserved(check, &check->gpus->items[b]))
				continue;
			refused += check->gpus->p2p[a * count + b] == 0;
			unknown += check->gpus->p2p[a * count + b] < 0;
		}
	if (!refused && !unknown)
		return;
	finding = findings_add(check->findings, FAULT_P2P, task_place(check->task, "gpus"),
		"%s", refused ? "not all GPUs can read each other's memory" : "whether the GPUs can read each other's memory is unknown");
	finding->advice = !refused;
	for (size_t a = 0; a < count; a++)
		for (size_t b = a + 1; b < count; b++)
			if (check->gpus->p2p[a * count + b] == 0)
				finding_note(check->findings, finding, "not between GPU %zu and GPU %zu", a, b);
	finding_help(check->findings, finding,
		"GeForce cards have no peer access without an NVLink bridge; leave `p2p` out: shared memory is used then");
}

static void
check_version(struct task *task, const char *what, const char *param, const char *have, const char *want,
	enum fault fault, const char *help)
{
	struct findings *findings = task_findings(task);
	struct finding *finding;

	if (!want || (*have && version_meets(have, want)))
		return;
	if (*have)
		finding = findings_add(findings, fault, task_place(task, param), "%s is %s, asked for is %s", what, have, want);
	else
		finding = findings_add(
			findings, fault, task_place(task, param), "%s does not say its version, asked for is %s", what, want);
	finding->advice = !*have;
	finding_help(findings, finding, "%s", help);
}

void
host_check_gpus(const struct host *host, bool settled, struct task *task, struct host_facts *facts)
{
	struct arena *arena = task_arena(task);
	struct error err = { 0 };
	struct check check = {
		.want = host->gpus, .gpus = &facts->gpus, .task = task, .arena = arena, .findings = task_findings(task), .facts = facts
	};

	if (!host->gpus && !host->driver && !host->cuda && !(host->container && host->container->nvidia))
		return;
	if (!gpus_read(&facts->gpus, arena, &err)) {
		err.at = task_place(task, host->gpus ? "gpus" : host->driver ? "driver" : host->cuda ? "cuda" : "container");
		findings_add_error(check.findings, &err);
		return;
	}
	facts->gpus_known = true;
	check_version(task, "the NVIDIA driver", "driver", facts->gpus.driver, host->driver, FAULT_DRIVER_VERSION,
		"ask the administrator for a newer driver, or use an image built on an older CUDA");
	check_version(task, "the driver's CUDA", "cuda", facts->gpus.cuda, host->cuda, FAULT_CUDA_VERSION,
		"ask the administrator for a newer driver, or use an image built on an older CUDA");
	if (!host->gpus)
		return;
	check.good = arena_array(arena, facts->gpus.count + 1, sizeof *check.good);
	check_count(&check);
	check_kind(&check);
	facts->suits = check.good;
	if (host->gpus->free && !settled)
		check_free(&check);
	if (host->gpus->p2p)
		check_p2p(&check);
}

/* "24 GiB each", "24 GiB to 48 GiB": of those that are as asked. */
static const char *
memory_text(const struct host_facts *facts, struct arena *arena)
{
	uint64_t least = UINT64_MAX, most = 0;

	for (size_t i = 0; i < facts->gpus.count; i++) {
		uint64_t total = facts->suits && !facts->suits[i] ? 0 : facts->gpus.items[i].total;

		if (total && total < least)
			least = total;
		if (total > most)
			most = total;
	}
	if (!most)
		return "memory unknown";
	if (least == most)
		return arena_printf(arena, "%s each", units_show_memory(arena, most));
	return arena_printf(arena, "%s to %s", units_show_memory(arena, least), units_show_memory(arena, most));
}

/* How many of them are as asked, if not all: what else is in the machine is not to be counted on. */
static const char *
share_text(const struct host_facts *facts, struct arena *arena)
{
	size_t count = facts->gpus.count, suit = 0;
	const char *text;

	for (size_t i = 0; i < count; i++)
		suit += !facts->suits || facts->suits[i];
	if (suit == count && (!facts->free_asked || facts->idle == count))
		return arena_printf(arena, "%zu GPU%s", count, count == 1 ? "" : "s");
	if (!facts->free_asked)
		return arena_printf(arena, "%zu of %zu GPUs as asked", suit, count);
	text = arena_printf(arena, "%zu of %zu GPU%s %sfree", facts->idle, count, count == 1 ? "" : "s", suit == count ? "" : "as asked and ");
	if (facts->ours)
		text = arena_printf(arena, "%s, %zu in use by this deployment", text, facts->ours);
	return facts->reserved ? arena_printf(arena, "%s, %zu reserved", text, facts->reserved) : text;
}

const char *
host_gpus_text(const struct host_facts *facts, struct arena *arena)
{
	return arena_printf(arena, "%s, %s", share_text(facts, arena), memory_text(facts, arena));
}
