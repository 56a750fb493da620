#include <string.h>

#include "client/docker.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/base/digest.h"
#include "engine/base/units.h"
#include "engine/task.h"
#include "image.h"

#define OUTPUT_LIMIT (1u << 20)
#define RECORD_MS (10 * 60 * 1000) /* a list of packages takes seconds */
#define POLL_MS 100
#define MEMORY (INT64_C(4) << 30)
#define PROCESSES 512

/* Output of one command. */
struct capture {
	struct task *task;
	struct buf out;
	struct buf last; /* of stderr: the line to show if it fails */
};

static void
finish_capture(struct capture *capture)
{
	buf_finish(&capture->out);
	buf_finish(&capture->last);
}

static void
take_output(void *context, bool is_stderr, const char *bytes, size_t size)
{
	struct capture *capture = context;

	task_log_bytes(capture->task, is_stderr, bytes, size);
	buf_add(is_stderr ? &capture->last : &capture->out, bytes, size);
}

/* Labels by which a container of ours is known, whatever became of the run that made it. */
static void
add_labels(struct strings *labels, struct task *task)
{
	struct arena *arena = task_arena(task);

	strings_add(labels, arena, arena_printf(arena, "provision.project=%s", task_project(task)));
	strings_add(labels, arena, arena_printf(arena, "provision.deployment=%s", task_deployment(task)));
	strings_add(labels, arena, arena_printf(arena, "provision.target=%s", task_target(task)));
	strings_add(labels, arena, "provision.role=record");
}

bool
image_remove_containers(struct docker *docker, struct task *task, struct error *err)
{
	struct strings labels = { 0 };
	json_t *list finally(json_release) = NULL;

	add_labels(&labels, task);
	if (!docker_containers(docker, &labels, &list, err))
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *id = json_string_at(json_array_get(list, i), "Id");

		if (id && !docker_remove(docker, id, err))
			return false;
	}
	return true;
}

/* No network, no capabilities, nothing mounted: it has only to read what is in the image. */
static json_t *
container_body(struct task *task, const char *id, const json_t *argv)
{
	struct arena *arena = task_arena(task);
	struct strings labels = { 0 };
	json_t *named = json_object();
	json_t *arguments = json_array();
	json_t *body;

	add_labels(&labels, task);
	for (size_t i = 0; i < labels.count; i++) {
		const char *equals = strchr(labels.items[i], '=');

		json_object_set_new(named, arena_copy_bytes(arena, labels.items[i], (size_t)(equals - labels.items[i])), json_string(equals + 1));
	}
	for (size_t i = 1; i < json_array_size(argv); i++)
		json_array_append(arguments, json_array_get(argv, i));
	/* The program is the entry point: an image's own would take it for an argument. */
	body = json_pack("{s:s, s:[O], s:o, s:o, s:b, s:{s:s, s:s, s:[s], s:[s], s:I, s:i}}", "Image", id, "Entrypoint", json_array_get(argv, 0),
		"Cmd", arguments, "Labels", named, "NetworkDisabled", 1, "HostConfig", "NetworkMode", "none", "IpcMode", "private", "CapDrop", "ALL",
		"SecurityOpt", "no-new-privileges", "Memory", (json_int_t)MEMORY, "PidsLimit", PROCESSES);
	if (!body)
		out_of_memory();
	return body;
}

static bool
wait_for(struct docker *docker, struct task *task, const char *container, int64_t *code, struct error *err)
{
	int64_t deadline = clock_monotonic_ms() + RECORD_MS;

	for (;;) {
		json_t *seen finally(json_release) = NULL;
		bool missing;

		if (!docker_container(docker, container, &seen, &missing, err))
			return false;
		if (missing)
			return fail(err, FAULT_ENGINE, "the container was removed while it ran");
		if (!json_is_true(json_at(seen, "State.Running")))
			return json_int_at(seen, "State.ExitCode", code) || fail(err, FAULT_PROTOCOL, "the engine gives no exit code");
		if (task_cancel(task) && *task_cancel(task))
			return fail(err, FAULT_INTERRUPTED, "interrupted");
		if (clock_monotonic_ms() > deadline)
			return fail(err, FAULT_TIME_LIMIT, "not done within %d minutes", RECORD_MS / 60000);
		clock_sleep_ms(POLL_MS, task_cancel(task));
	}
}

/* Start it, wait, take its output. */
static bool
run_in(struct docker *docker, struct task *task, const char *container, struct capture *capture, struct error *err)
{
	const struct buf *said = &capture->out;
	const char *line;
	int64_t code;

	if (!docker_start(docker, container, err) || !wait_for(docker, task, container, &code, err))
		return false;
	if (!docker_logs(docker, container, false, "", take_output, capture, err))
		return false;
	if (code != 0) {
		said = capture->last.size ? &capture->last : said;
		line = text_last_line(task_arena(task), said->data, said->size);
		return fail(err, FAULT_COMMAND, "exit status %lld: %s", (long long)code, line ? line : "it said nothing");
	}
	if (capture->out.truncated)
		return fail(err, FAULT_TOO_LARGE, "it printed more than %u bytes", OUTPUT_LIMIT);
	return true;
}

/* `pip freeze` and its like name what is in the image: each package becomes a material. */
static void
add_packages(struct task *task, const char *text)
{
	struct arena *arena = task_arena(task);

	while (*text) {
		size_t length = strcspn(text, "\r\n");
		const char *line = arena_copy_bytes(arena, text, length);
		const char *equals = strstr(line, "==");

		if (equals && equals > line && equals[2] && !strpbrk(line, " \t@;"))
			task_material(task, arena_printf(arena, "pkg:pypi/%.*s", (int)(equals - line), line), equals + 2);
		text += length;
		text += strspn(text, "\r\n");
	}
}

static const char *
command_text(struct arena *arena, const json_t *argv)
{
	struct buf text finally(buf_finish) = { 0 };

	buf_init(&text, 4096);
	for (size_t i = 0; i < json_array_size(argv); i++)
		buf_printf(&text, "%s%s", i ? " " : "", json_string_value(json_array_get(argv, i)));
	return arena_copy(arena, text.data);
}

static bool
run_one(struct docker *docker, struct task *task, const char *id, const json_t *argv, struct buf *all, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct capture capture finally(finish_capture) = { .task = task };
	json_t *body finally(json_release) = container_body(task, id, argv);
	const char *name = arena_printf(arena, "provision-%s-%s-record-%s", task_deployment(task), task_target(task), task_new_id(task, arena));
	struct error ignored = { 0 };
	struct digest digest;
	const char *container;
	bool ran;

	buf_init(&capture.out, OUTPUT_LIMIT);
	buf_init(&capture.last, OUTPUT_LIMIT);
	if (!docker_create(docker, name, body, &container, err))
		return false;
	ran = run_in(docker, task, container, &capture, err);
	/* Cancelled or not, it must not stay: the request is a session of its own, which no flag ends. */
	docker->http.cancel = NULL;
	if (!docker_remove(docker, container, ran ? err : &ignored))
		ran = false;
	docker->http.cancel = task_cancel(task);
	if (!ran)
		return false;
	digest_of(capture.out.data, capture.out.size, &digest);
	task_material(task, arena_printf(arena, "record:%s", command_text(arena, argv)), arena_printf(arena, "sha256:%s", digest_text(arena, &digest)));
	add_packages(task, capture.out.data);
	buf_add(all, capture.out.data, capture.out.size);
	return true;
}

bool
image_run_records(const struct image *image, struct docker *docker, struct task *task, const char *id, const char **text, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct buf all finally(buf_finish) = { 0 };
	json_t *list finally(json_release) = NULL;

	*text = NULL;
	if (!image->record)
		return true;
	if (!json_parse(image->record, strlen(image->record), "record", &list, err))
		return false;
	buf_init(&all, OUTPUT_LIMIT);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *argv = json_array_get(list, i);

		task_progress(task, "record", i, json_array_size(list), "commands");
		if (!run_one(docker, task, id, argv, &all, err))
			return error_wrap(err, "`%s` in the finished image", command_text(arena, argv));
	}
	if (all.truncated)
		return fail(err, FAULT_TOO_LARGE, "the commands of `record` printed more than %u bytes in all", OUTPUT_LIMIT);
	*text = arena_copy(arena, all.data);
	return true;
}
