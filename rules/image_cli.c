#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/version.h"
#include "engine/task.h"
#include "image.h"
#include "image_command.h"

#define ID_LIMIT 256

enum builder { BUILDER_CLASSIC, BUILDER_BUILDKIT, BUILDER_PODMAN };

/* One build by the command line. */
struct making {
	const struct image *image;
	struct command command;
	enum builder builder;
	const char *directory; /* private, for the id and the secrets */
};

static void
finish_making(struct making *making)
{
	command_finish(&making->command);
}

/* BuildKit is within the command line from 18.09 to 22, and a plugin of its own since 23. */
static bool
holds_buildkit(struct command *command)
{
	const char *out;
	const char *version;

	if (!command_ask(command, "--version", NULL, &out))
		return false;
	version = strstr(out, "version ");
	return version && version_compare(version + 8, "18.09") >= 0 && version_compare(version + 8, "23") < 0;
}

static bool
is_true(const char *text)
{
	return strcmp(text, "1") == 0 || strcmp(text, "true") == 0 || strcmp(text, "TRUE") == 0 || strcmp(text, "True") == 0 || strcmp(text, "t") == 0;
}

/* Which builder the command line will use: said to it, so that it is no guess. */
static bool
choose_builder(struct making *making, struct error *err)
{
	struct command *command = &making->command;
	const struct image *image = making->image;
	struct arena *arena = task_arena(command->task);
	const char *asked = getenv("DOCKER_BUILDKIT");
	const char *dockerfile = image_dockerfile(image, arena);
	const char *ignore = context_ignore_file(command->task, image->context, dockerfile);
	bool own_ignore = ignore && text_starts(ignore, dockerfile);
	const char *why = image->secrets.count > 0 ? "`secrets`" : command->file->wants_buildkit ? "the Dockerfile" : own_ignore ? ignore : NULL;
	const char *out;
	bool buildkit;

	if (strcmp(path_base(command->program), "podman") == 0) {
		making->builder = BUILDER_PODMAN;
		return true;
	}
	if (asked && *asked)
		buildkit = is_true(asked);
	else
		buildkit = command_ask(command, "buildx", "version", &out) || (why && holds_buildkit(command));
	making->builder = buildkit ? BUILDER_BUILDKIT : BUILDER_CLASSIC;
	pairs_set(&command->env, arena, "DOCKER_BUILDKIT", buildkit ? "1" : "0");
	if (buildkit || !why)
		return true;
	fail(err, FAULT_NO_COMMAND, "%s needs BuildKit, and %s %s", why, command->program,
		asked && *asked ? "is told by DOCKER_BUILDKIT to do without" : "has no buildx plugin");
	return error_hint(err, "install the plugin (package docker-buildx-plugin), or do without mounts, secrets, heredocs and a Dockerfile's own ignore file");
}

/* Where private files of a build may lie: in memory if the system has such a place for us. */
static const char *
runtime_directory(struct task *task)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct arena *arena = task_arena(task);
	struct stat st;

	if (runtime && *runtime == '/' && lstat(runtime, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
		return arena_printf(arena, "%s/provision-%s", runtime, task_project(task));
	return path_join(arena, task_state_dir(task), "runtime");
}

/* Remove what a build put into its directory, then the directory. What is not there is fine: it was an earlier run that was killed. */
static bool
remove_directory(struct arena *arena, const char *directory, struct error *err)
{
	struct stat st;

	for (unsigned i = 0;; i++) {
		const char *path = arena_printf(arena, "%s/secret-%u", directory, i);

		if (lstat(path, &st) != 0)
			break;
		if (unlink(path) != 0 && errno != ENOENT)
			return fail_errno(err, "remove `%s`", path);
	}
	if (unlink(path_join(arena, directory, "id")) != 0 && errno != ENOENT && errno != ENOTDIR)
		return fail_errno(err, "remove `%s/id`", directory);
	if (rmdir(directory) != 0 && errno != ENOENT)
		return fail_errno(err, "remove `%s`", directory);
	return true;
}

bool
image_remove_files(struct task *task, struct error *err)
{
	const struct intent *intents;
	size_t count;

	if (!task_intents(task, &intents, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (strcmp(intents[i].kind, "image") != 0)
			continue;
		if (!remove_directory(task_arena(task), intents[i].name, err) || !task_intent_drop(task, intents[i].id, err))
			return false;
	}
	return true;
}

static bool
make_directory(struct making *making, const char **intent, struct error *err)
{
	struct task *task = making->command.task;
	struct arena *arena = task_arena(task);
	const char *parent = runtime_directory(task);

	*intent = task_new_id(task, arena);
	making->directory = arena_printf(arena, "%s/image-%s", parent, *intent);
	if (!file_make_dirs(parent, 0700, err) || !task_intent(task, *intent, "image", making->directory, err))
		return false;
	return mkdir(making->directory, 0700) == 0 || fail_errno(err, "make `%s`", making->directory);
}

static bool
write_secret(struct making *making, const struct image_secret *wanted, size_t number, const char **path, struct error *err)
{
	struct secret_ref ref = { .env = wanted->env, .file = wanted->file };
	struct secret secret finally(secret_finish) = { 0 };
	int fd finally(close_fd) = -1;

	if (!secret_load(&ref, false, &secret, err))
		return error_wrap(err, "secret `%s`", wanted->id);
	*path = arena_printf(task_arena(making->command.task), "%s/secret-%zu", making->directory, number);
	fd = open(*path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
	if (fd < 0)
		return fail_errno(err, "make `%s`", *path);
	return file_write_all(fd, secret.value, secret.length, err);
}

static void
add_all(struct strings *argv, struct arena *arena, const char *const *items)
{
	for (size_t i = 0; items[i]; i++)
		strings_add(argv, arena, items[i]);
}

static bool
build_argv(struct making *making, struct strings *argv, struct error *err)
{
	const struct image *image = making->image;
	struct task *task = making->command.task;
	struct arena *arena = task_arena(task);
	const struct image_secret *secrets = image->secrets.items;
	/* No digest of the ingredients among the labels: they are part of the image, and an unused file must not give it a new id. */
	const char *const head[] = { making->command.program, "build", "--iidfile", path_join(arena, making->directory, "id"),
		"-f", image_dockerfile(image, arena), "-t", image->tag,
		"--label", arena_printf(arena, "provision.project=%s", task_project(task)),
		"--label", arena_printf(arena, "provision.deployment=%s", task_deployment(task)),
		"--label", arena_printf(arena, "provision.target=%s", task_target(task)), NULL };
	const char *path = NULL;

	add_all(argv, arena, head);
	if (making->builder == BUILDER_BUILDKIT)
		strings_add(argv, arena, "--progress=plain");
	if (making->builder == BUILDER_CLASSIC)
		strings_add(argv, arena, "--force-rm");
	if (image->platform)
		strings_add(argv, arena, arena_printf(arena, "--platform=%s", image->platform));
	if (image->target)
		strings_add(argv, arena, arena_printf(arena, "--target=%s", image->target));
	if ((image->pull == PULL_ALWAYS || (task_refresh(task) && image->pull != PULL_NEVER)) && !task_offline(task))
		strings_add(argv, arena, "--pull");
	for (size_t i = 0; i < image->args.count; i++)
		strings_add(argv, arena, arena_printf(arena, "--build-arg=%s=%s", image->args.items[i].key, image->args.items[i].value));
	for (size_t i = 0; i < image->secrets.count; i++) {
		if (!write_secret(making, &secrets[i], i, &path, err))
			return false;
		strings_add(argv, arena, arena_printf(arena, "--secret=id=%s,src=%s", secrets[i].id, path));
	}
	strings_add(argv, arena, image->context);
	strings_add(argv, arena, NULL);
	return true;
}

static bool
read_id(struct making *making, const char **id, struct error *err)
{
	struct arena *arena = task_arena(making->command.task);
	const char *text;
	size_t size;

	if (!file_load(path_join(arena, making->directory, "id"), ID_LIMIT, arena, &text, &size, err))
		return error_wrap(err, "the builder ended well, but left no id");
	*id = arena_copy_bytes(arena, text, strcspn(text, " \r\n"));
	return **id != '\0' || fail(err, FAULT_BUILD, "the builder ended well, but left an empty id");
}

static bool
build(struct making *making, const char **id, struct error *err)
{
	struct strings argv = { 0 };

	return build_argv(making, &argv, err) && command_run(&making->command, &argv, FAULT_BUILD, "build", err) && read_id(making, id, err);
}

bool
image_run_build(const struct image *image, struct docker *docker, struct task *task, const struct dockerfile *file, const char **id,
	struct pairs *bases, struct error *err)
{
	struct making making finally(finish_making) = { .image = image };
	struct error ignored = { 0 };
	const char *intent;
	bool built;

	if (!command_init(&making.command, docker, task, err))
		return false;
	making.command.file = file;
	making.command.bases = bases;
	if (!choose_builder(&making, err) || !make_directory(&making, &intent, err))
		return false;
	built = build(&making, id, err);
	/* The intent stays if the files do, so that the next run removes them. */
	if (!remove_directory(task_arena(task), making.directory, built ? err : &ignored))
		return false;
	if (built)
		task_intent_done(task, intent);
	else
		task_intent_drop(task, intent, &ignored);
	return built;
}

static void
pull_progress(void *context, uint64_t done, uint64_t total)
{
	task_progress(context, "pull", done, total, "bytes");
}

bool
image_pull(struct docker *docker, struct task *task, const char *ref, const char *platform, struct error *err)
{
	struct arena *arena = task_arena(task);
	struct command command finally(command_finish) = { 0 };
	struct strings argv = { 0 };

	task_progress(task, "pull", 0, 0, "bytes");
	if (!docker_has_login(ref, arena))
		return docker_pull(docker, ref, platform, pull_progress, task, err);
	if (!command_init(&command, docker, task, err))
		return false;
	strings_add(&argv, arena, command.program);
	strings_add(&argv, arena, "pull");
	if (platform)
		strings_add(&argv, arena, arena_printf(arena, "--platform=%s", platform));
	strings_add(&argv, arena, ref);
	strings_add(&argv, arena, NULL);
	return command_run(&command, &argv, FAULT_NO_IMAGE, arena_printf(arena, "pull `%s`", ref), err);
}
