/* image.c and its parts: planned, built, looked at again and destroyed through the engine's own loop, on a fake container engine and a fake command line. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/file.h"
#include "engine/graph.h"
#include "rules/rules.h"
#include "tests/fake/engine.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define ID_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DIGEST_1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define DIGEST_2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define MISSING "{\"message\":\"No such image\"}"
#define INSPECTED(id) "{\"Id\":\"" id "\",\"Os\":\"linux\",\"Architecture\":\"amd64\",\"Size\":42,\"RepoTags\":[],\"RepoDigests\":[]}"
#define BUILT "  image:\n    rule: image\n    context: docker\n    tag: demo/server:1\n"
#define PULLED "  image:\n    rule: image\n    from: team/base:2\n    tag: demo/base:1\n"

static const struct rule *const rules[] = { &image_rule, NULL };

/* What `docker` is on this PATH: it notes how it was called and does as the files beside it say. */
static const char fake_cli[] =
	"#!/bin/sh\n"
	"printf '%s\\n' \"$@\" -- >> \"$HOME/argv\"\n"
	"env >> \"$HOME/env\"\n"
	"case \"$1\" in\n"
	"buildx) test -e \"$HOME/buildx\"; exit ;;\n"
	"--version) cat \"$HOME/version\"; exit ;;\n"
	"esac\n"
	"while [ $# -gt 0 ]; do\n"
	"	case \"$1\" in\n"
	"	--iidfile) cat \"$HOME/id\" > \"$2\"; shift ;;\n"
	"	--secret=*) cat \"${1#*src=}\" >> \"$HOME/secrets\" ;;\n"
	"	esac\n"
	"	shift\n"
	"done\n"
	"test -e \"$HOME/sleep\" && sleep 30\n"
	"cat \"$HOME/out\"\n"
	"cat \"$HOME/err\" >&2\n"
	"exit \"$(cat \"$HOME/code\")\"\n";

struct world {
	struct site site;
	struct fake_engine *engine;
	char home[128];
};

static void
home_write(struct world *world, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof path, "home/%s", name);
	site_write(&world->site, path, text);
}

static const char *
home_read(struct world *world, const char *name)
{
	const char *text = "";
	struct error err = { 0 };

	file_load(arena_printf(&world->site.arena, "%s/%s", world->home, name), 1 << 20, &world->site.arena, &text, NULL, &err);
	return text;
}

static int
set_up(void **state)
{
	struct world *world = xmalloc(sizeof *world);
	char text[200];

	*world = (struct world){ 0 };
	site_init(&world->site, rules);
	snprintf(world->home, sizeof world->home, "%s/home", world->site.directory);
	home_write(world, "bin/docker", fake_cli);
	assert_int_equal(chmod(site_path(&world->site, "home/bin/docker"), 0755), 0);
	home_write(world, "version", "Docker version 20.10.24+dfsg1, build 297e128\n");
	home_write(world, "id", ID_A);
	home_write(world, "out", "Step 1/2 : FROM scratch\n ---> \nStep 2/2 : COPY x /x\nSuccessfully built aaaaaaaaaaaa\n");
	home_write(world, "err", "");
	home_write(world, "code", "0");
	site_write(&world->site, "docker/Dockerfile", "FROM scratch\nCOPY x /x\n");
	site_write(&world->site, "docker/x", "1");
	setenv("HOME", world->home, 1);
	snprintf(text, sizeof text, "%s/bin:/usr/bin:/bin", world->home);
	setenv("PATH", text, 1);
	snprintf(text, sizeof text, "unix://%s/s", world->home);
	setenv("DOCKER_HOST", text, 1);
	unsetenv("DOCKER_CONFIG");
	unsetenv("DOCKER_BUILDKIT");
	unsetenv("XDG_RUNTIME_DIR");
	world->engine = fake_engine_start(text + 7);
	fake_engine_answer(world->engine, "GET /containers/json", 200, "[]");
	fake_engine_answer(world->engine, "GET /images/", 404, MISSING);
	*state = world;
	return 0;
}

static int
tear_down(void **state)
{
	struct world *world = *state;

	fake_engine_stop(world->engine);
	site_finish(&world->site);
	free(world);
	return 0;
}

/* The engine holds the image under its tag. */
static void
hold(struct world *world, const char *tag, const char *inspected)
{
	char request[200];

	snprintf(request, sizeof request, "GET /images/%s/json", tag);
	fake_engine_answer(world->engine, request, 200, inspected);
}

static void
gone(struct world *world, const char *tag)
{
	char request[200];

	snprintf(request, sizeof request, "GET /images/%s/json", tag);
	fake_engine_answer(world->engine, request, 404, MISSING);
}

static void
must_apply(struct world *world, const char *targets, unsigned changed)
{
	struct apply_result result = site_apply(&world->site, targets);

	if (result.failed || result.changed != changed)
		fail_msg("changed %u, failed %u: %s (%s)", result.changed, result.failed, result.error.text, result.error.hint);
}

static void
must_fail(struct world *world, const char *targets, enum fault fault, const char *words)
{
	struct apply_result result = site_apply(&world->site, targets);

	if (result.failed != 1 || result.error.fault != fault || !strstr(result.error.text, words))
		fail_msg("failed %u, fault %d: `%s`, wanted `%s`", result.failed, result.error.fault, result.error.text, words);
}

static void
must_plan(struct world *world, const char *targets, enum reason reason, const char *what)
{
	struct seen *seen = site_plan(&world->site, targets, "image");

	if (seen->refused)
		fail_msg("%s", seen->detail->error.text);
	if (seen->reason != reason || (what && !text_equal(seen->detail->look.what, what)))
		fail_msg("%s: `%s`, wanted %s `%s`", reason_id(seen->reason), seen->detail ? seen->detail->look.what : "", reason_id(reason), what);
}

static void
build_one(struct world *world)
{
	hold(world, "demo/server:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	must_apply(world, BUILT, 1);
}

/* How many entries a directory has; 0 if it is not there. */
static size_t
entries(struct world *world, const char *name)
{
	DIR *directory = opendir(site_path(&world->site, name));
	size_t count = 0;

	while (directory && readdir(directory))
		count++;
	if (directory)
		closedir(directory);
	return count > 2 ? count - 2 : 0;
}

/* No secrets: only what tells of children. */
static void
nothing_is_left(struct world *world)
{
	assert_int_equal(entries(world, ".provision/runtime"), 1);
	assert_int_equal(access(site_path(&world->site, ".provision/runtime/children"), F_OK), 0);
}

/* ---- parameters */

static void
parameters(void **state)
{
	static const struct {
		const char *lines, *wanted;
	} cases[] = {
		{ "context: docker, tag: a", "" },
		{ "context: docker, tag: 'r.io:5000/team/a.b-c_d:V1.2', args: {A_1: x}, platform: linux/arm64/v8, target: s", "" },
		{ "from: 'a@" DIGEST_1 "', tag: a", "" },
		{ "from: 'a:1@" DIGEST_1 "', tag: a, pull: never", "" },
		{ "context: docker, tag: a, record: [[pip, freeze], [id]]", "" },
		{ "context: docker, tag: a, secrets: [{id: hf, env: HF_TOKEN}, {id: b, file: x}]", "" },
		{ "context: docker", "E0104" },
		{ "tag: a", "E0104" },
		{ "context: docker, from: b, tag: a", "E0115" },
		{ "from: b, tag: a, dockerfile: x", "E0115" },
		{ "from: b, tag: a, target: x", "E0115" },
		{ "from: b, tag: a, args: {A: x}", "E0115" },
		{ "from: b, tag: a, secrets: [{id: x, env: X}]", "E0115" },
		{ "context: docker, tag: A/b", "E0103 `tag`: `A/b`" },
		{ "context: docker, tag: '-a'", "E0103" },
		{ "context: docker, tag: a/", "E0103" },
		{ "context: docker, tag: 'a:'", "E0103" },
		{ "context: docker, tag: 'a:b:c'", "E0103" },
		{ "context: docker, tag: 'a@" DIGEST_1 "'", "E0103" },
		{ "context: docker, tag: 'a b'", "E0103" },
		{ "from: 'a@sha256:12', tag: a", "E0103" },
		{ "context: docker, tag: a, platform: linux", "E0103" },
		{ "context: docker, tag: a, target: '-x y'", "E0103" },
		{ "context: docker, tag: a, args: {'A-B': x}", "E0103" },
		{ "context: docker, tag: a, args: {TOKEN: hf_abcdefghijklmnopqrstuvwxyzABCDEFGH}", "E0114" },
		{ "context: docker, tag: a, secrets: [{id: x}]", "E0115" },
		{ "context: docker, tag: a, secrets: [{id: x, env: A, file: b}]", "E0115" },
		{ "context: docker, tag: a, secrets: [{id: 'x,src=y', env: A}]", "E0103" },
		{ "context: docker, tag: a, secrets: [{id: x, env: A}, {id: x, env: B}]", "E0103" },
		{ "context: docker, tag: a, record: [pip, freeze]", "E0103" },
		{ "context: docker, tag: a, record: [[]]", "E0103" },
		{ "context: docker, tag: a, record: [[1]]", "E0103" },
		{ "context: docker, tag: a, pull: sometimes", "E0103" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char targets[1000];
		const char *said;

		snprintf(targets, sizeof targets, "  image: {rule: image, %s}\n", cases[i].lines);
		said = site_check(&world->site, targets);
		if (strncmp(said, cases[i].wanted, strlen(cases[i].wanted)) != 0 || !*said != !*cases[i].wanted)
			fail_msg("`%s`: `%s`", cases[i].lines, said);
	}
}

/* ---- building */

static void
built_and_up_to_date(void **state)
{
	struct world *world = *state;
	const struct record *record;

	must_plan(world, BUILT, REASON_NEVER_BUILT, NULL);
	assert_string_equal(site_plan(&world->site, BUILT, "image")->detail->cost.lines[0], "build 2 steps");
	build_one(world);
	record = site_record(&world->site, "image");
	assert_string_equal(pairs_get(&record->outputs, "id"), ID_A);
	assert_string_equal(pairs_get(&record->outputs, "ref"), "demo/server:1");
	assert_string_equal(record->summary, "sha256:aaaa...aaaa");
	assert_int_equal(record->artifacts.count, 1);
	assert_int_equal(record->artifacts.items[0].kind, ARTIFACT_IMAGE);
	assert_int_equal(record->artifacts.items[0].size, 42);
	assert_int_equal(record->artifacts.items[0].digest.bytes[0], 0xaa);
	assert_string_equal(pairs_get(&record->materials, "engine:docker"), "20.10.24");
	assert_non_null(ingredients_find(&record->ingredients, "file:docker/Dockerfile"));
	assert_non_null(ingredients_find(&record->ingredients, "file:docker/x"));
	assert_non_null(ingredients_find(&record->ingredients, "tree:docker"));
	nothing_is_left(world);
	assert_int_equal(world->site.memory.intent_count, 0);
	fake_engine_forget(world->engine);
	hold(world, "demo/server:1", INSPECTED(ID_A));
	must_plan(world, BUILT, REASON_NONE, NULL);
	assert_string_equal(fake_engine_requests(world->engine), "GET /_ping\nGET /v1.41/images/demo/server:1/json\n");
	must_apply(world, BUILT, 0);
}

static void
command_line(void **state)
{
	struct world *world = *state;
	const char *wanted;

	hold(world, "a:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	site_write(&world->site, "docker/Dockerfile", "FROM scratch AS one\nCOPY x /x\n");
	must_apply(world, "  image: {rule: image, context: docker, tag: 'a:1', target: one, platform: linux/amd64, pull: always, args: {A: 'x y', B: '-z'}}\n", 1);
	wanted = arena_printf(&world->site.arena,
		"\n-f\n%s/docker/Dockerfile\n-t\na:1\n--label\nprovision.project=0123456789ab\n--label\nprovision.deployment=demo\n--label\nprovision.target=image\n"
		"--force-rm\n--platform=linux/amd64\n--target=one\n--pull\n--build-arg=A=x y\n--build-arg=B=-z\n%s/docker\n--\n", world->site.directory,
		world->site.directory);
	assert_non_null(strstr(home_read(world, "argv"), wanted));
	assert_non_null(strstr(home_read(world, "env"), "\nDOCKER_BUILDKIT=0\n"));
	assert_non_null(strstr(home_read(world, "env"), arena_printf(&world->site.arena, "DOCKER_HOST=unix://%s/s\n", world->home)));
}

static void
what_changed(void **state)
{
	struct world *world = *state;
	struct seen *seen;

	build_one(world);
	site_write(&world->site, "docker/Dockerfile", "FROM scratch\nCOPY x /y\n");
	seen = site_plan(&world->site, BUILT, "image");
	assert_int_equal(seen->reason, REASON_INPUT_CHANGED);
	assert_string_equal(seen->detail->causes.items[0].what, "docker/Dockerfile");
	assert_int_equal(seen->detail->causes.items[0].line, 2);
	assert_string_equal(seen->detail->causes.items[0].before, "COPY x /x");
	assert_string_equal(seen->detail->causes.items[0].after, "COPY x /y");
	site_write(&world->site, "docker/Dockerfile", "FROM scratch\nCOPY x /x\n");
	site_write(&world->site, "docker/sub/new", "1");
	seen = site_plan(&world->site, BUILT, "image");
	assert_int_equal(seen->reason, REASON_INPUT_CHANGED);
	assert_string_equal(seen->detail->causes.items[0].what, "docker/sub/new");
	site_write(&world->site, "docker/.dockerignore", "sub\n.dockerignore\n");
	must_plan(world, BUILT, REASON_NONE, NULL);
	seen = site_plan(&world->site, BUILT "    args: {A: 1}\n", "image");
	assert_int_equal(seen->reason, REASON_PARAMETER_CHANGED);
	must_plan(world, BUILT "    secrets: [{id: x, env: HOME}]\n", REASON_PARAMETER_CHANGED, NULL);
}

static void
early_cut_off(void **state)
{
	struct world *world = *state;
	struct digest before;

	build_one(world);
	before = site_record(&world->site, "image")->output;
	site_write(&world->site, "docker/Dockerfile", "# words\nFROM scratch\nCOPY x /x\n");
	must_apply(world, BUILT, 1);
	assert_true(digest_equal(&before, &site_record(&world->site, "image")->output));
}

static void
what_the_world_did(void **state)
{
	struct world *world = *state;
	struct seen *seen;

	build_one(world);
	hold(world, "demo/server:1", INSPECTED(ID_B));
	must_plan(world, BUILT, REASON_OUTPUT_DIFFERS, "tag `demo/server:1` points to another image");
	gone(world, "demo/server:1");
	must_plan(world, BUILT, REASON_OUTPUT_MISSING, "tag `demo/server:1` was removed");
	gone(world, ID_A);
	must_plan(world, BUILT, REASON_OUTPUT_MISSING, "image deleted");
	setenv("DOCKER_HOST", "unix:///nowhere/s", 1);
	seen = site_plan(&world->site, BUILT, "image");
	assert_true(seen->refused);
	assert_int_equal(seen->detail->error.fault, FAULT_NO_ENGINE);
}

static void
builds_that_fail(void **state)
{
	struct world *world = *state;

	home_write(world, "code", "1");
	home_write(world, "err", "The command '/bin/sh -c false' returned a non-zero code: 1\n\n");
	must_fail(world, BUILT, FAULT_BUILD, "image `demo/server:1`: build: The command '/bin/sh -c false' returned a non-zero code: 1");
	nothing_is_left(world);
	assert_int_equal(world->site.memory.intent_count, 0);
	home_write(world, "err", "write /x: no space left on device\n");
	must_fail(world, BUILT, FAULT_NO_SPACE, "no space left");
	home_write(world, "err", "");
	home_write(world, "out", "ended\r\n");
	must_fail(world, BUILT, FAULT_BUILD, "build: ended");
	home_write(world, "code", "0");
	must_fail(world, BUILT, FAULT_NO_IMAGE, "the builder says that it made " ID_A ", but the engine does not hold it");
	hold(world, ID_A, INSPECTED(ID_A));
	must_fail(world, BUILT, FAULT_ENGINE, "the tag `demo/server:1` is gone");
	hold(world, "demo/server:1", INSPECTED(ID_B));
	must_fail(world, BUILT, FAULT_ENGINE, "points to another image: somebody else used the name");
	home_write(world, "id", "");
	must_fail(world, BUILT, FAULT_BUILD, "left an empty id");
	home_write(world, "sleep", "");
	must_fail(world, BUILT "    timeout: 300ms\n", FAULT_TIME_LIMIT, "not done within");
	site_write(&world->site, "docker/Dockerfile", "RUN x\n");
	must_plan(world, "  image: {rule: image, from: a, tag: b}\n", REASON_NEVER_BUILT, NULL);
	assert_true(site_plan(&world->site, BUILT, "image")->refused);
	unlink(site_path(&world->site, "docker/Dockerfile"));
	assert_int_equal(site_plan(&world->site, BUILT, "image")->detail->error.fault, FAULT_NOT_FOUND);
	assert_int_equal(site_plan(&world->site, BUILT, "image")->detail->error.at.line, 6);
}

static void
no_command_line(void **state)
{
	struct world *world = *state;

	setenv("PATH", "/nowhere", 1);
	must_fail(world, BUILT, FAULT_NO_COMMAND, "no `docker` command in PATH");
}

static void
choice_of_builder(void **state)
{
	static const struct {
		const char *version, *asked, *dockerfile;
		bool buildx;
		const char *env; /* NULL: refused */
	} cases[] = {
		{ "Docker version 20.10.24, build x", NULL, "FROM scratch\n", false, "DOCKER_BUILDKIT=0" },
		{ "Docker version 28.2.2, build x", NULL, "FROM scratch\n", true, "DOCKER_BUILDKIT=1" },
		{ "Docker version 28.2.2, build x", "0", "FROM scratch\n", true, "DOCKER_BUILDKIT=0" },
		{ "Docker version 20.10.24, build x", "1", "FROM scratch\n", false, "DOCKER_BUILDKIT=1" },
		{ "Docker version 20.10.24, build x", NULL, "FROM scratch\nRUN --mount=type=cache,target=/c x\n", false, "DOCKER_BUILDKIT=1" },
		{ "Docker version 28.2.2, build x", NULL, "FROM scratch\nRUN --mount=type=cache,target=/c x\n", false, NULL },
		{ "Docker version 28.2.2, build x", "0", "FROM scratch\nRUN --mount=type=cache,target=/c x\n", true, NULL },
	};
	struct world *world = *state;

	hold(world, "demo/server:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		home_write(world, "env", "");
		home_write(world, "version", cases[i].version);
		site_write(&world->site, "docker/Dockerfile", cases[i].dockerfile);
		/* Another input each time, so that there is something to build. */
		site_write(&world->site, "docker/x", (const char[]){ (char)('a' + i), '\0' });
		if (cases[i].asked)
			setenv("DOCKER_BUILDKIT", cases[i].asked, 1);
		else
			unsetenv("DOCKER_BUILDKIT");
		if (cases[i].buildx)
			home_write(world, "buildx", "");
		else
			unlink(site_path(&world->site, "home/buildx"));
		if (!cases[i].env) {
			must_fail(world, BUILT, FAULT_NO_COMMAND, "the Dockerfile needs BuildKit");
			continue;
		}
		must_apply(world, BUILT, 1);
		if (!strstr(home_read(world, "env"), cases[i].env))
			fail_msg("case %zu: %s", i, home_read(world, "env"));
	}
}

static void
secrets_stay_secret(void **state)
{
	struct world *world = *state;
	const char *targets = BUILT "    secrets: [{id: tok, env: MY_TOKEN}]\n";
	const char *log = NULL;
	struct error err = { 0 };

	setenv("MY_TOKEN", "canary-4711-canary", 1);
	hold(world, "demo/server:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	home_write(world, "code", "1");
	home_write(world, "err", "it was canary-4711-canary\n");
	must_fail(world, targets, FAULT_BUILD, "it was <MY_TOKEN>");
	home_write(world, "code", "0");
	must_apply(world, targets, 1);
	assert_non_null(strstr(home_read(world, "secrets"), "canary-4711-canary"));
	assert_null(strstr(home_read(world, "argv"), "canary"));
	assert_null(strstr(home_read(world, "env"), "canary"));
	assert_non_null(strstr(home_read(world, "argv"), "--secret=id=tok,src="));
	nothing_is_left(world);
	assert_true(file_load(site_path(&world->site, ".provision/logs/TESTRUN1/image.log"), 1 << 20, &world->site.arena, &log, NULL, &err));
	assert_non_null(strstr(log, "<MY_TOKEN>"));
	assert_null(strstr(log, "canary"));
	unsetenv("MY_TOKEN");
	site_write(&world->site, "docker/x", "2");
	must_fail(world, targets, FAULT_PERMISSION, "secret `tok`");
}

static void
killed_builds_are_cleared(void **state)
{
	struct world *world = *state;
	struct intent intent = { .id = "OLD", .target = "image", .kind = "image", .run = "R0" };
	struct error err = { 0 };

	site_write(&world->site, ".provision/runtime/image-OLD/secret-0", "canary");
	site_write(&world->site, ".provision/runtime/image-OLD/id", "x");
	intent.name = arena_copy(&world->site.memory.arena, site_path(&world->site, ".provision/runtime/image-OLD"));
	assert_true(world->site.memory.socket.add_intent(world->site.memory.socket.self, &intent, &err));
	fake_engine_answer(world->engine, "GET /containers/json", 200, "[{\"Id\":\"left\"}]");
	fake_engine_answer(world->engine, "DELETE /containers/left?v=1&force=1", 204, "");
	build_one(world);
	nothing_is_left(world);
	assert_int_equal(world->site.memory.intent_count, 0);
	assert_non_null(strstr(fake_engine_requests(world->engine), "DELETE /v1.41/containers/left"));
	assert_non_null(strstr(fake_engine_requests(world->engine), "provision.role%3Drecord"));
}

static void
digests_of_bases(void **state)
{
	struct world *world = *state;
	const struct record *record;

	home_write(world, "buildx", "");
	home_write(world, "err", "#4 [stage-1 1/2] FROM docker.io/library/told:1@" DIGEST_1 "\n#5 [stage-1 2/2] RUN x\n");
	site_write(&world->site, "docker/Dockerfile", "FROM told:1 AS a\nFROM r.io/held@" DIGEST_2 "\nCOPY --from=local:3 /a /a\nCOPY --from=kept/x /a /a\n");
	hold(world, "local:3", INSPECTED(ID_B));
	hold(world, "kept/x", "{\"Id\":\"" ID_B "\",\"RepoDigests\":[\"other/x@" DIGEST_1 "\",\"kept/x@" DIGEST_2 "\"]}");
	build_one(world);
	record = site_record(&world->site, "image");
	assert_string_equal(pairs_get(&record->materials, "pkg:docker/told@1?platform=linux%2Famd64"), DIGEST_1);
	assert_string_equal(pairs_get(&record->materials, "pkg:docker/held?platform=linux%2Famd64&repository_url=r.io"), DIGEST_2);
	assert_string_equal(pairs_get(&record->materials, "pkg:docker/local@3?platform=linux%2Famd64"), ID_B);
	assert_string_equal(pairs_get(&record->materials, "pkg:docker/kept/x@latest?platform=linux%2Famd64"), DIGEST_2);
}

/* ---- pulling */

#define PULLED_IMAGE "{\"Id\":\"" ID_A "\",\"Os\":\"linux\",\"Architecture\":\"amd64\",\"RepoTags\":[\"team/base:2\"],\"RepoDigests\":[\"team/base@" DIGEST_1 "\"]}"

/* The engine finds an image only when it is asked for the second time, behind the pull. */
static void
pull_one(struct world *world)
{
	must_fail(world, PULLED, FAULT_NO_IMAGE, "pull `team/base:2`: manifest unknown");
	hold(world, "team/base:2", PULLED_IMAGE);
	hold(world, ID_A, PULLED_IMAGE);
	fake_engine_answer(world->engine, "POST /images/" ID_A "/tag?repo=demo%2Fbase&tag=1", 201, "");
	must_apply(world, PULLED, 1);
	hold(world, "demo/base:1", PULLED_IMAGE);
}

static void
pulled_and_pinned(void **state)
{
	struct world *world = *state;
	const struct record *record;

	fake_engine_answer(world->engine, "POST /images/create?fromImage=team%2Fbase&tag=2", 404, "{\"message\":\"manifest unknown\"}");
	pull_one(world);
	record = site_record(&world->site, "image");
	assert_string_equal(pairs_get(&record->outputs, "id"), ID_A);
	assert_string_equal(pairs_get(&record->materials, "pkg:docker/team/base@2?platform=linux%2Famd64"), DIGEST_1);
	must_plan(world, PULLED, REASON_NONE, NULL);
	/* Gone from the engine, it comes back by the digest that was pinned, whatever the tag means now. */
	gone(world, "demo/base:1");
	gone(world, ID_A);
	gone(world, "team/base@" DIGEST_1);
	fake_engine_forget(world->engine);
	fake_engine_answer(world->engine, "GET /containers/json", 200, "[]");
	fake_engine_answer(world->engine, "GET /images/", 404, MISSING);
	fake_engine_answer(world->engine, "POST /images/create?fromImage=team%2Fbase&tag=sha256%3A1111", 500, "{\"message\":\"dial tcp: no route\"}");
	must_fail(world, PULLED, FAULT_NETWORK, "pull `team/base@" DIGEST_1 "`");
	hold(world, "demo/base:1", PULLED_IMAGE);
	/* A refresh asks the registry: the same digest changes nothing, another one does, and is pulled. */
	world->site.wishes.refresh = true;
	fake_engine_answer(world->engine, "GET /distribution/team/base:2/json", 200, "{\"Descriptor\":{\"digest\":\"" DIGEST_1 "\"}}");
	must_plan(world, PULLED, REASON_NONE, NULL);
	fake_engine_answer(world->engine, "GET /distribution/team/base:2/json", 200, "{\"Descriptor\":{\"digest\":\"" DIGEST_2 "\"}}");
	must_plan(world, PULLED, REASON_UPSTREAM_MOVED, NULL);
	hold(world, "team/base@" DIGEST_2,
		"{\"Id\":\"" ID_B "\",\"Os\":\"linux\",\"Architecture\":\"amd64\",\"RepoDigests\":[\"team/base@" DIGEST_2 "\"]}");
	hold(world, ID_B, INSPECTED(ID_B));
	fake_engine_answer(world->engine, "POST /images/" ID_B "/tag", 201, "");
	must_apply(world, PULLED, 1);
	hold(world, "demo/base:1", INSPECTED(ID_B));
	must_plan(world, PULLED, REASON_NONE, NULL);
	world->site.wishes.refresh = false;
	must_plan(world, PULLED, REASON_NONE, NULL);
}

static void
pulls_that_may_not_be(void **state)
{
	struct world *world = *state;

	must_fail(world, PULLED "    pull: never\n", FAULT_NO_IMAGE, "`pull: never` forbids");
	world->site.wishes.offline = true;
	must_fail(world, PULLED, FAULT_OFFLINE, "--offline forbids");
	site_write(&world->site, "docker/Dockerfile", "FROM there\nFROM not/there:1\n");
	hold(world, "there", INSPECTED(ID_B));
	must_fail(world, BUILT, FAULT_OFFLINE, "base image: `not/there:1`");
	assert_null(strstr(fake_engine_requests(world->engine), "POST"));
	assert_string_equal(home_read(world, "argv"), "");
}

static void
pull_with_credentials(void **state)
{
	struct world *world = *state;

	home_write(world, ".docker/config.json", "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"eA==\"}}}");
	home_write(world, "code", "1");
	home_write(world, "err", "Error response from daemon: pull access denied\n");
	must_fail(world, PULLED, FAULT_NO_IMAGE, "pull `team/base:2`: Error response from daemon: pull access denied");
	assert_string_equal(home_read(world, "argv"), "pull\nteam/base:2\n--\n");
	assert_null(strstr(fake_engine_requests(world->engine), "images/create"));
}

static void
other_platform(void **state)
{
	struct world *world = *state;

	hold(world, "team/base:2", PULLED_IMAGE);
	fake_engine_answer(world->engine, "POST /images/create?fromImage=team%2Fbase&tag=2&platform=linux%2Farm64", 200, "{\"status\":\"ok\"}");
	must_fail(world, PULLED "    platform: linux/arm64\n", FAULT_NO_IMAGE, "does not hold it for linux/arm64");
}

/* ---- what is in the image */

static void
recorded_output(void **state)
{
	static const char frames[] = "\1\0\0\0\0\0\0\x1etorch==2.9.0\nvllm==0.12.0\n# x\n\2\0\0\0\0\0\0\1!";
	const char *targets = BUILT "    record: [[pip, freeze, --all]]\n";
	struct world *world = *state;
	const struct record *record;

	hold(world, "demo/server:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	fake_engine_answer(world->engine, "POST /containers/create", 201, "{\"Id\":\"c1\"}");
	fake_engine_answer(world->engine, "POST /containers/c1/start", 204, "");
	fake_engine_answer(world->engine, "GET /containers/c1/json", 200, "{\"State\":{\"Running\":false,\"ExitCode\":0}}");
	fake_engine_answer_bytes(world->engine, "GET /containers/c1/logs", 200, "", frames, sizeof frames - 1, 5);
	fake_engine_answer(world->engine, "DELETE /containers/c1", 204, "");
	must_apply(world, targets, 1);
	record = site_record(&world->site, "image");
	assert_string_equal(pairs_get(&record->outputs, "record"), "torch==2.9.0\nvllm==0.12.0\n# x\n");
	assert_string_equal(pairs_get(&record->materials, "pkg:pypi/torch"), "2.9.0");
	assert_string_equal(pairs_get(&record->materials, "pkg:pypi/vllm"), "0.12.0");
	assert_non_null(pairs_get(&record->materials, "record:pip freeze --all"));
	assert_non_null(strstr(fake_engine_requests(world->engine), "\"Entrypoint\":[\"pip\"],\"Cmd\":[\"freeze\",\"--all\"]"));
	assert_non_null(strstr(fake_engine_requests(world->engine), "\"NetworkMode\":\"none\""));
	fake_engine_answer(world->engine, "GET /containers/c1/json", 200, "{\"State\":{\"Running\":false,\"ExitCode\":127}}");
	site_write(&world->site, "docker/x", "2");
	must_fail(world, targets, FAULT_COMMAND, "`pip freeze --all` in the finished image: exit status 127: !");
	fake_engine_forget(world->engine);
	fake_engine_answer(world->engine, "GET /containers/json", 200, "[]");
	hold(world, "demo/server:1", INSPECTED(ID_A));
	hold(world, ID_A, INSPECTED(ID_A));
	fake_engine_answer(world->engine, "POST /containers/create", 201, "{\"Id\":\"c1\"}");
	fake_engine_answer(world->engine, "POST /containers/c1/start", 500, "{\"message\":\"exec: pip: not found\"}");
	fake_engine_answer(world->engine, "DELETE /containers/c1", 204, "");
	must_fail(world, targets, FAULT_ENGINE, "exec: pip: not found");
	assert_non_null(strstr(fake_engine_requests(world->engine), "DELETE /v1.41/containers/c1?v=1&force=1"));
}

/* ---- removing */

static void
destroyed(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	build_one(world);
	fake_engine_answer(world->engine, "DELETE /images/demo/server:1", 200, "[]");
	fake_engine_answer(world->engine, "DELETE /images/" ID_A, 200, "[]");
	result = site_destroy(&world->site, BUILT, "image");
	assert_int_equal(result.failed, 0);
	assert_non_null(strstr(fake_engine_requests(world->engine), "DELETE /v1.41/images/demo/server:1\n"));
	assert_non_null(strstr(fake_engine_requests(world->engine), "DELETE /v1.41/images/" ID_A "\n"));
	assert_null(site_record(&world->site, "image"));
}

static void
destroys_no_more_than_its_own(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	build_one(world);
	hold(world, "demo/server:1", INSPECTED(ID_B));
	hold(world, ID_A, "{\"Id\":\"" ID_A "\",\"RepoTags\":[\"mine:1\"]}");
	result = site_destroy(&world->site, BUILT, "image");
	assert_int_equal(result.failed, 0);
	assert_null(strstr(fake_engine_requests(world->engine), "DELETE"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(parameters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(built_and_up_to_date, set_up, tear_down),
		cmocka_unit_test_setup_teardown(command_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_changed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(early_cut_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_the_world_did, set_up, tear_down),
		cmocka_unit_test_setup_teardown(builds_that_fail, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_command_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(choice_of_builder, set_up, tear_down),
		cmocka_unit_test_setup_teardown(secrets_stay_secret, set_up, tear_down),
		cmocka_unit_test_setup_teardown(killed_builds_are_cleared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(digests_of_bases, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pulled_and_pinned, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pulls_that_may_not_be, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pull_with_credentials, set_up, tear_down),
		cmocka_unit_test_setup_teardown(other_platform, set_up, tear_down),
		cmocka_unit_test_setup_teardown(recorded_output, set_up, tear_down),
		cmocka_unit_test_setup_teardown(destroyed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(destroys_no_more_than_its_own, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
