/* service_internal.h - what the files of the rule `service` share: parameters, instances, runtimes.
 *
 * An instance is one replica: a container or a process. Its note in the record holds all that is needed to find it, stop it and start it again without the manifest.
 * Whatever is ours carries a tag, PROJECT/DEPLOYMENT/TARGET/RUN/REPLICA/ID, whose last part is the intent that was durable before it was made. */
#pragma once

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/docker.h"
#include "client/gpu.h"
#include "client/process.h"
#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/strings.h"
#include "engine/params.h"
#include "engine/record.h"
#include "engine/rule.h"

struct arena;
struct task;

enum service_runtime { RUNTIME_DOCKER, RUNTIME_PROCESS, RUNTIME_COUNT };

struct mount {
	const char *source;
	const char *target;
	bool readonly;
};

struct ready {
	const char *path;
	int64_t timeout;
	int64_t interval;
};

struct service {
	int runtime;
	const char *image;
	struct strings command;
	const char *args;     /* JSON */
	struct pairs env;
	struct strings env_from;
	const char *gpus;     /* JSON */
	int64_t replicas;
	const char *host;
	int64_t port;
	int64_t container_port;
	struct list mounts;
	int ipc;
	int64_t shm_size;
	struct pairs ulimits;
	const char *user;
	int restart;
	const struct ready *ready;
	int64_t stop_timeout;
	struct pairs labels;
};

extern const char *const service_ipc_modes[];
extern const char *const service_restart_policies[];

struct instance {
	const struct runtime *runtime;
	const char *id;           /* container id, or pid */
	const char *tag;
	const char *run;          /* that started it */
	const char *intent;       /* not in the note */
	int64_t replica;
	const char *host;         /* address it listens on */
	int64_t port;
	struct strings gpus;      /* UUIDs */
	int64_t stop_timeout;
	struct ready ready;
	int64_t ready_ms;         /* how long it took to become ready; 0: not yet */
	struct strings env_from;
	size_t log_taken;         /* bytes of the log that were read already; not in the note */
	const char *log_since;    /* what a container said before counts no more; NULL: all counts; not in the note */

	/* Containers. */
	const char *name;
	const char *image;        /* id */
	const char *key;          /* digest of the body it was created from */
	const char *restart;      /* policy once it is ready */

	/* Processes. */
	struct process_id process;
	struct strings argv;
	struct pairs env;         /* what is added to the environment; no secrets */
	const char *workdir;
	const char *log;
};

struct instances {
	struct instance *items;
	size_t count;
};

/* What there is to work with. `cancel` is NULL where the work must be done even though the run was interrupted. */
struct site {
	struct task *task;
	struct arena *arena;
	const atomic_bool *cancel;
	struct docker docker;
	bool has_docker;
};

struct instance_state {
	bool running;
	bool gone;                /* for good: it cannot be started again */
	bool known;               /* the runtime can tell how it ended */
	int exit_code;            /* -1: by a signal */
	int signal;
	bool out_of_memory;       /* of the host, or of the container's limit */
	const char *detail;       /* the engine's own words, or NULL */
};

/* What is done with instances, by kind. */
struct runtime {
	const char *name;
	enum artifact_kind artifact;
	const char *words;        /* "container" */
	bool (*prepare)(struct site *site, const struct service *spec, struct instance *instance, struct error *err); /* all that can fail before anything is touched */
	bool (*start)(struct site *site, const struct service *spec, struct instance *instance, struct error *err); /* the intent is durable */
	bool (*look)(struct site *site, struct instance *instance, struct instance_state *state, struct error *err);
	bool (*inspect)(struct site *site, const struct service *spec, struct instance *instance, struct look *look, struct error *err); /* milliseconds */
	bool (*read_log)(struct site *site, struct instance *instance, void (*output)(void *context, bool is_stderr, const char *bytes, size_t size),
		void *context, struct error *err); /* what is new since the last time */
	bool (*became_ready)(struct site *site, struct instance *instance, struct error *err);
	bool (*halt)(struct site *site, struct instance *instance, struct error *err);   /* stopped, but can be resumed */
	bool (*resume)(struct site *site, struct instance *instance, struct error *err);
	bool (*remove)(struct site *site, struct instance *instance, struct error *err);
	bool (*sweep)(struct site *site, const struct instances *keep, struct error *err); /* remove all of this target that is not kept */
};

extern const struct runtime docker_runtime, process_runtime;

/* ---- service_params.c */
extern const struct param service_params[];
extern const struct output service_outputs[];
void service_claims(const void *filled, struct arena *arena, struct claims *claims);
void service_validate(const void *filled, struct task *task, struct errors *errors);

/* vLLM's cache of images in shared memory has a fixed name, and an instance that was killed leaves it behind. One that shares /dev/shm with others has a name of its
 * own, in this variable. */
#define SERVICE_SHM_VARIABLE "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"
const char *service_shm_name(const struct instance *instance, struct arena *arena);

/* ---- service_site.c */
void site_init(struct site *site, struct task *task, const atomic_bool *cancel);
void site_finish(struct site *site);
bool site_docker(struct site *site, struct error *err); /* connect, once */

/* PROJECT/DEPLOYMENT/TARGET/, "" before the project has an id. */
const char *service_tag_prefix(struct task *task, struct arena *arena);

/* Remove everything of this target but `keep`, of both runtimes, and forget the intents of earlier runs. */
bool service_sweep(struct site *site, const struct instances *keep, struct error *err);

/* ---- service_instance.c */
const char *instance_note(const struct instance *instance, struct arena *arena);
bool instance_parse(const struct artifact *artifact, struct arena *arena, struct instance *instance, struct error *err);
bool service_instances(const struct record *record, struct arena *arena, struct instances *instances, struct error *err); /* NULL: none */
void service_report(struct task *task, const struct instances *instances); /* outputs and artifacts */
const char *instance_address(const struct instance *instance); /* numeric, as reached from here */
const char *instance_url(const struct instance *instance, const char *path, struct arena *arena); /* as reached from here */
bool instances_collide(const struct instance *a, const struct instance *b); /* need one port or GPU */

/* ---- service_log.c
 * The log of a process is a file that it appends to by itself. Nobody stands between the two: a program that copied its output would have to outlive every run, and its
 * death would be the service's (SIGPIPE, or a full pipe); a limit on the file's size (RLIMIT_FSIZE) would hold for all that the service writes. So each instance has a
 * log of its own, the last 3 of instances that are gone stay, and each run that may change something cuts one of more than 64 MiB: its last 16 MiB move to LOG.1.
 * Between two runs it can grow: who never runs `apply` for months runs it from a timer, or uses containers, whose engine bounds their logs. */
bool service_place_log(struct site *site, struct instance *instance, struct error *err); /* choose instance->log */
bool service_remove_log(const char *log, struct arena *arena, struct error *err);
bool service_prune_logs(struct site *site, const struct instances *keep, struct error *err);
bool service_cut_logs(const char *state_dir, struct arena *arena, struct error *err);

/* ---- service_args.c */
bool service_args(const char *json, struct arena *arena, struct strings *argv, struct error *err);
const char *service_fill(const char *text, const struct instance *instance, struct arena *arena); /* {host} {port} {replica} */
bool service_secrets(const struct strings *names, struct arena *arena, struct pairs *env, struct error *err); /* NAME -> value, from our environment */
bool service_has_api_key(const struct service *spec, struct arena *arena);
bool service_ulimit(const char *text, int64_t *soft, int64_t *hard);

/* ---- service_docker.c */
/* The body to create a container from, without what is secret or differs from run to run; the caller owns it. */
bool service_docker_body(const struct service *spec, const struct instance *instance, bool podman, struct arena *arena, json_t **body, struct error *err);

/* ---- service_devices.c */
/* What `old` holds counts as free: it is stopped before the new ones start. */
bool service_choose_gpus(const struct service *spec, struct site *site, const struct instances *old, struct instances *instances, struct error *err);
/* Free, or free within `patience_ms`; what `old` holds is not looked at. */
bool service_check_ports(struct site *site, const struct instances *instances, const struct instances *old, int64_t patience_ms, struct error *err);
bool service_check_gpus(struct site *site, const struct instances *instances, const struct instances *old, int64_t patience_ms, struct error *err);
bool service_wait_released(struct site *site, const struct instances *instances, struct error *err); /* after a stop: ports closed, GPU memory back */
bool service_is_listening(const char *host, int64_t port);

/* ---- service_ready.c */
struct service_stage {
	char name[48];
	uint64_t done, total;
};

/* What a line of the log says of the progress of a start; false: nothing. */
bool service_stage_of(const char *line, struct service_stage *stage);

/* Until every instance answers 200, one has ended (E0803 or what its log says) or the time is over (E0802). */
bool service_wait_ready(struct site *site, struct instances *instances, struct error *err);
