/* The rule `image` against a real engine and the real command line: whatever DOCKER_HOST or the default leads to. Skipped where no engine answers or none may be used. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "engine/base/json.h"
#include "rules/client/docker.h"
#include "rules/client/process.h"
#include "rules/rules.h"
#include "tests/fake/site.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define TAG "provision-test/image-rule:1"
#define OTHER_TAG "provision-test/image-rule:2"
#define BUILT \
	"  image:\n    rule: image\n    context: docker\n    tag: " TAG "\n    args: {WORD: hello there}\n" \
	"    record: [[/bin/busybox, cat, /packages], [/bin/busybox, cat, /word]]\n"
#define DOCKERFILE \
	"FROM scratch\nARG WORD\nCOPY busybox /bin/busybox\nCOPY packages /packages\n" \
	"RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo $WORD > /word\"]\n"

static const struct rule *const rules[] = { &image_rule, NULL };

struct world {
	struct site site;
	struct arena arena;
	struct docker docker;
};

static void
copy_busybox(struct world *world)
{
	const char *program = process_find("busybox", "/bin:/usr/bin", &world->arena);
	struct error err = { 0 };
	const char *bytes;
	size_t size;

	if (!program)
		skip();
	assert_true(file_load(program, 64 << 20, &world->arena, &bytes, &size, &err));
	assert_true(file_save(site_path(&world->site, "docker/busybox"), bytes, size, 0755, &err));
}

static int
set_up(void **state)
{
	struct world *world = xmalloc(sizeof *world);
	struct error err = { 0 };
	bool missing;

	*world = (struct world){ 0 };
	*state = world;
	site_init(&world->site, rules);
	site_write(&world->site, "docker/Dockerfile", DOCKERFILE);
	site_write(&world->site, "docker/packages", "torch==2.9.0\n");
	if (!docker_init(&world->docker, "auto", NULL, &world->arena, &err)) {
		fprintf(stderr, "skipped: %s\n", err.text);
		return 0;
	}
	docker_image_remove(&world->docker, TAG, &missing, &err);
	docker_image_remove(&world->docker, OTHER_TAG, &missing, &err);
	return 0;
}

static int
tear_down(void **state)
{
	struct world *world = *state;
	struct error err = { 0 };
	bool missing;

	if (world->docker.socket) {
		docker_image_remove(&world->docker, TAG, &missing, &err);
		docker_image_remove(&world->docker, OTHER_TAG, &missing, &err);
	}
	docker_finish(&world->docker);
	site_finish(&world->site);
	arena_finish(&world->arena);
	free(world);
	return 0;
}

static void
begin(struct world *world)
{
	if (!world->docker.socket)
		skip();
	copy_busybox(world);
}

static void
must_apply(struct world *world, unsigned changed)
{
	struct apply_result result = site_apply(&world->site, BUILT);

	if (result.failed || result.changed != changed)
		fail_msg("changed %u, failed %u: %s (%s)", result.changed, result.failed, result.error.text, result.error.hint);
}

static const char *
reason_now(struct world *world)
{
	struct seen *seen = site_plan(&world->site, BUILT, "image");

	return seen->refused ? seen->detail->error.text : reason_id(seen->reason);
}

static size_t
containers_of_ours(struct world *world)
{
	struct strings labels = { 0 };
	json_t *list finally(json_release) = NULL;
	struct error err = { 0 };

	strings_add(&labels, &world->arena, "provision.project=0123456789ab");
	assert_true(docker_containers(&world->docker, &labels, &list, &err));
	return json_array_size(list);
}

static void
built_looked_at_destroyed(void **state)
{
	struct world *world = *state;
	const struct record *record;
	json_t *image finally(json_release) = NULL;
	struct digest output;
	const char *id;
	struct error err = { 0 };
	bool missing;

	begin(world);
	must_apply(world, 1);
	record = site_record(&world->site, "image");
	id = arena_copy(&world->arena, pairs_get(&record->outputs, "id"));
	output = record->output;
	assert_string_equal(pairs_get(&record->outputs, "record"), "torch==2.9.0\nhello there\n");
	assert_string_equal(pairs_get(&record->materials, "pkg:pypi/torch"), "2.9.0");
	assert_true(docker_image(&world->docker, TAG, &image, &missing, &err));
	assert_string_equal(json_string_at(image, "Id"), id);
	assert_string_equal(json_string_value(json_object_get(json_at(image, "Config.Labels"), "provision.target")), "image");
	assert_int_equal(containers_of_ours(world), 0);
	assert_string_equal(reason_now(world), "up_to_date");
	must_apply(world, 0);

	/* A file that the Dockerfile does not use is an input, but the product stays the same. */
	site_write(&world->site, "docker/notes", "x");
	assert_string_equal(reason_now(world), "input_changed");
	must_apply(world, 1);
	assert_true(digest_equal(&output, &site_record(&world->site, "image")->output));

	assert_true(docker_image_tag(&world->docker, id, OTHER_TAG, &err));
	assert_true(docker_image_remove(&world->docker, TAG, &missing, &err));
	assert_string_equal(reason_now(world), "output_missing");
	must_apply(world, 1);
	assert_string_equal(reason_now(world), "up_to_date");

	assert_int_equal(site_destroy(&world->site, BUILT, "image").failed, 0);
	assert_true(docker_image(&world->docker, TAG, &image, &missing, &err));
	assert_true(missing);
	json_decref(image);
	image = NULL;
	assert_true(docker_image(&world->docker, OTHER_TAG, &image, &missing, &err));
	assert_false(missing);
}

static void
build_that_fails(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	begin(world);
	site_write(&world->site, "docker/Dockerfile", DOCKERFILE "RUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo cannot go on; exit 7\"]\n");
	result = site_apply(&world->site, BUILT);
	assert_int_equal(result.failed, 1);
	assert_int_equal(result.error.fault, FAULT_BUILD);
	assert_non_null(strstr(result.error.text, "7"));
	assert_null(site_record(&world->site, "image"));
	assert_int_equal(containers_of_ours(world), 0);
}

static void
secret_for_a_step(void **state)
{
	struct world *world = *state;
	const char *targets = "  image:\n    rule: image\n    context: docker\n    tag: " TAG "\n    secrets: [{id: tok, env: MY_TOKEN}]\n"
			      "    record: [[/bin/busybox, cat, /length]]\n";
	struct apply_result result;
	const char *log;
	struct error err = { 0 };

	begin(world);
	setenv("MY_TOKEN", "canary-4711-canary", 1);
	site_write(&world->site, "docker/Dockerfile", "FROM scratch\nCOPY busybox /bin/busybox\n"
		"RUN --mount=type=secret,id=tok [\"/bin/busybox\", \"sh\", \"-c\", \"cat /run/secrets/tok; wc -c < /run/secrets/tok > /length\"]\n");
	result = site_apply(&world->site, targets);
	/* A command line without BuildKit must be told from one that has it before it is started. */
	if (result.failed) {
		assert_int_equal(result.error.fault, FAULT_NO_COMMAND);
		assert_non_null(strstr(result.error.text, "needs BuildKit"));
		return;
	}
	assert_string_equal(pairs_get(&site_record(&world->site, "image")->outputs, "record"), "18\n");
	assert_true(file_load(site_path(&world->site, ".provision/logs/TESTRUN1/image.log"), 1 << 20, &world->site.arena, &log, NULL, &err));
	assert_null(strstr(log, "canary"));
}

static void
output_that_cannot_be_recorded(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	begin(world);
	result = site_apply(&world->site, BUILT "    pull: missing\n    platform: linux/amd64\n");
	assert_int_equal(result.failed, 0);
	result = site_apply(&world->site, "  image: {rule: image, context: docker, tag: '" TAG "', args: {WORD: x}, record: [[/none]]}\n");
	assert_int_equal(result.failed, 1);
	assert_non_null(strstr(result.error.text, "`/none` in the finished image: start container"));
	assert_int_equal(containers_of_ours(world), 0);
}

static void
image_that_is_nowhere(void **state)
{
	struct world *world = *state;
	struct apply_result result;

	begin(world);
	result = site_apply(&world->site, "  image: {rule: image, from: 'localhost:1/provision-test/none:1', tag: '" TAG "'}\n");
	assert_int_equal(result.failed, 1);
	assert_non_null(strstr(result.error.text, "pull `localhost:1/provision-test/none:1`: "));
}

static void
pulled_image_that_is_here(void **state)
{
	struct world *world = *state;
	const char *targets = "  image: {rule: image, from: '" OTHER_TAG "', tag: '" TAG "'}\n";
	struct apply_result result;
	struct error err = { 0 };
	const char *id;

	begin(world);
	must_apply(world, 1);
	id = arena_copy(&world->arena, pairs_get(&site_record(&world->site, "image")->outputs, "id"));
	assert_true(docker_image_tag(&world->docker, id, OTHER_TAG, &err));
	result = site_apply(&world->site, targets);
	if (result.failed)
		fail_msg("%s", result.error.text);
	assert_string_equal(pairs_get(&site_record(&world->site, "image")->outputs, "id"), id);
	assert_int_equal(site_plan(&world->site, targets, "image")->reason, REASON_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(built_looked_at_destroyed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(build_that_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(secret_for_a_step, set_up, tear_down),
		cmocka_unit_test_setup_teardown(output_that_cannot_be_recorded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(image_that_is_nowhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(pulled_image_that_is_here, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
