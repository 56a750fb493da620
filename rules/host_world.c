#include "host.h"

#include <string.h>

#include "client/process.h"
#include "engine/base/arena.h"
#include "engine/base/file.h"
#include "engine/base/finding.h"
#include "engine/base/units.h"
#include "engine/task.h"

#define PORT_MOST 65535

static void
check_one_disk(const struct host_disk *disk, struct place at, bool settled, struct task *task, struct host_facts *facts)
{
	struct findings *findings = task_findings(task);
	struct arena *arena = task_arena(task);
	struct finding *finding;
	struct error err = { 0 };
	uint64_t free;

	if (!file_free_space(disk->path, &free, &err)) {
		err.at = at;
		findings_add_error(findings, &err);
		return;
	}
	if (!facts->disk_known || free < facts->disk_free)
		facts->disk_free = free;
	facts->disk_known = true;
	if (settled || free >= (uint64_t)disk->free)
		return;
	finding = findings_add(findings, FAULT_DISK, at, "%s is free at `%s`, %s is asked for",
		units_show_size(arena, free), disk->path, units_show_size(arena, (uint64_t)disk->free));
	finding_help(findings, finding, "free %s there, or point the manifest at another file system",
		units_show_size(arena, (uint64_t)disk->free - free));
}

void
host_check_disk(const struct host *host, bool settled, struct task *task, struct host_facts *facts)
{
	const struct host_disk *disks = host->disk.items;

	for (size_t i = 0; i < host->disk.count; i++)
		check_one_disk(&disks[i], host->disk.at ? host->disk.at[i] : task_place(task, "disk"), settled, task, facts);
}

/* A service of this deployment may hold it, on whatever address it was given. */
static bool
is_ours(struct task *task, int64_t port)
{
	static const char *const addresses[] = { "127.0.0.1", "0.0.0.0", "localhost", "::1", "::" };

	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++)
		if (task_is_held_by_us(
				task, ARTIFACT_PORT, arena_printf(task_arena(task), "%s:%lld", addresses[i], (long long)port)))
			return true;
	return false;
}

static void
check_port(int64_t port, struct task *task)
{
	struct findings *findings = task_findings(task);
	const char *holder = is_ours(task, port) ? NULL : process_port_holder(NULL, (int)port, task_arena(task));
	struct finding *finding;

	if (!holder)
		return;
	finding = findings_add(
		findings, FAULT_PORT, task_place(task, "ports"), "port %lld is held by %s", (long long)port, holder);
	finding_help(findings, finding,
		"choose another port, or stop that program if it is yours: ss -ltnp 'sport = :%lld'", (long long)port);
}

void
host_check_ports(const struct host *host, struct task *task)
{
	for (size_t i = 0; i < host->ports.count; i++)
		for (int64_t k = 0; k < host->port_count && host->ports.items[i] + k <= PORT_MOST; k++)
			check_port(host->ports.items[i] + k, task);
}

void
host_check_commands(const struct host *host, struct task *task)
{
	struct findings *findings = task_findings(task);

	for (size_t i = 0; i < host->commands.count; i++) {
		struct finding *finding;

		if (process_find(host->commands.items[i], NULL, task_arena(task)))
			continue;
		finding = findings_add(
			findings, FAULT_NO_COMMAND, task_place(task, "commands"), "`%s` is not installed", host->commands.items[i]);
		finding_note(findings, finding, "searched in /usr/local/bin, /usr/bin and /bin");
		finding_help(findings, finding, "ask the administrator for it, or name it with its absolute path");
	}
}
