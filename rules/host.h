/* host.h - is this machine as the manifest wants it: the parts that the rule `host` is made of.
 *
 * Every check adds findings and goes on, so that all of them are known at once. Nothing is changed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/gpu.h"
#include "engine/base/strings.h"
#include "engine/params.h"

struct task;

struct host_gpus {
	int64_t count;
	const char *name;
	int64_t memory;
	bool free;
	bool p2p;
};

struct host_disk {
	const char *path;
	int64_t free;
};

struct host_container {
	int engine;
	const char *version;
	bool nvidia;
	const char *self_test;    /* image to look for the GPUs from; or NULL */
};

struct host {
	const struct host_gpus *gpus;
	const char *driver;
	const char *cuda;
	struct list disk;         /* of struct host_disk */
	struct ints ports;
	int64_t port_count;       /* so many from each of them on */
	struct strings hubs;
	const struct host_container *container;
	struct strings commands;
};

enum { HOST_ENGINE_AUTO, HOST_ENGINE_DOCKER, HOST_ENGINE_PODMAN };
extern const char *const host_engines[];

/* What was seen, for outputs and summary. */
struct host_facts {
	struct gpus gpus;
	bool gpus_known;
	const bool *suits;        /* by GPU: it works and is of the kind asked for; NULL: nothing is asked of them */
	bool free_asked;          /* then the GPUs that suit are counted here, each once */
	size_t idle, ours, reserved;
	const char *engine;       /* "Docker 29.0.1", or NULL */
	size_t contained;         /* GPUs that a container has seen; 0: none was started */
	uint64_t disk_free;       /* of the fullest path asked for */
	bool disk_known;
};

/* `settled`: what was built since has used up what was free then, so only what the machine is, is judged again. */
void host_check_gpus(const struct host *host, bool settled, struct task *task, struct host_facts *facts);
/* What was found, and how much of it is as asked: "1 of 2 GPUs free, 24 GiB each". */
const char *host_gpus_text(const struct host_facts *facts, struct arena *arena);
void host_check_disk(const struct host *host, bool settled, struct task *task, struct host_facts *facts);
void host_check_ports(const struct host *host, struct task *task);
void host_check_commands(const struct host *host, struct task *task);
void host_check_container(const struct host *host, struct task *task, struct host_facts *facts);

/* Start a container that looks for all GPUs that are not reserved, and say why it does not see them. False if it was interrupted. Not while planning. */
bool host_self_test(const struct host *host, struct task *task, struct host_facts *facts, struct error *err);

/* What that test depends on: the driver, the GPUs, the image. */
void host_self_test_facts(const struct host *host, struct task *task);

/* Ask all hubs side by side; at most 5 s. */
void host_check_hubs(const struct host *host, struct task *task);

/* URL of a hub's front door: `huggingface`, `modelscope` (endpoints as everywhere) or a URL. NULL: not understood. */
const char *host_hub_url(const char *hub, struct arena *arena);
