/* A container that runs one command, against an engine of canned answers: what it is asked for, and what becomes of it when something fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/cleanup.h"
#include "engine/base/json.h"
#include "rules/rules.h"
#include "tests/fake/engine.h"
#include "tests/fake/site.h"

static const struct rule *const rules[] = { &command_rule, NULL };

#define RUN "  t: {rule: command, image: box, command: [./tool, 'a b', '$x'], inputs: [in], outputs: [out], env: {K: v}}\n"

struct world {
	struct site site;
	struct fake_engine *engine;
};

static int
setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	char host[160];

	if (!world)
		return -1;
	site_init(&world->site, rules);
	snprintf(host, sizeof host, "unix://%s", site_path(&world->site, "engine.sock"));
	setenv("DOCKER_HOST", host, 1);
	world->engine = fake_engine_start(host + strlen("unix://"));
	site_write(&world->site, "in", "x");
	site_write(&world->site, "out", "made before");
	fake_engine_answer(world->engine, "GET /info", 200, "{\"SecurityOptions\":[]}");
	fake_engine_answer(world->engine, "GET /images/box/json", 200, "{\"Id\":\"sha256:1111\"}");
	fake_engine_answer(world->engine, "POST /containers/create", 201, "{\"Id\":\"c1\"}");
	fake_engine_answer(world->engine, "POST /containers/c1/start", 204, "");
	fake_engine_answer_bytes(world->engine, "GET /containers/c1/logs", 200, "", "\1\0\0\0\0\0\0\3hey", 11, 0);
	fake_engine_answer(world->engine, "POST /containers/c1/wait", 200, "{\"StatusCode\":0}");
	fake_engine_answer(world->engine, "POST /containers/c1/stop", 204, "");
	fake_engine_answer(world->engine, "DELETE /containers/", 204, "");
	*state = world;
	return 0;
}

static int
teardown(void **state)
{
	struct world *world = *state;

	fake_engine_stop(world->engine);
	unsetenv("DOCKER_HOST");
	site_finish(&world->site);
	free(world);
	return 0;
}

/* The body of the creation. */
static json_t *
asked(struct world *world)
{
	const char *at = strstr(fake_engine_requests(world->engine), "POST /v1.41/containers/create");
	struct error err = { 0 };
	json_t *body = NULL;

	assert_non_null(at);
	at = strchr(at, '{');
	if (!json_parse(at, strcspn(at, "\n"), "body", &body, &err))
		fail_msg("%s", err.text);
	return body;
}

static void
what_the_engine_is_asked_for(void **state)
{
	struct world *world = *state;
	struct apply_result result = site_apply(&world->site, RUN);
	json_t *body finally(json_release) = NULL;
	struct arena *arena = &world->site.arena;
	const char *root = world->site.directory;

	if (result.status != STATUS_OK)
		fail_msg("%s", result.error.text);
	body = asked(world);
	assert_string_equal(json_string_at(body, "Image"), "sha256:1111");
	assert_string_equal(json_string_at(body, "WorkingDir"), root);
	assert_string_equal(json_string_at(body, "User"), arena_printf(arena, "%u:%u", geteuid(), getegid()));
	assert_string_equal(json_text(arena, json_at(body, "Entrypoint"), false), arena_printf(arena, "[\"%s/tool\"]", root));
	assert_string_equal(json_text(arena, json_at(body, "Cmd"), false), "[\"a b\",\"$x\"]");
	assert_string_equal(json_text(arena, json_at(body, "HostConfig.Mounts"), false),
		arena_printf(arena, "[{\"Type\":\"bind\",\"Source\":\"%s\",\"Target\":\"%s\",\"ReadOnly\":false}]", root, root));
	assert_string_equal(json_text(arena, json_at(body, "HostConfig.CapDrop"), false), "[\"ALL\"]");
	assert_string_equal(json_text(arena, json_at(body, "HostConfig.SecurityOpt"), false), "[\"no-new-privileges\"]");
	assert_null(json_at(body, "HostConfig.DeviceRequests"));
	assert_null(json_at(body, "HostConfig.NetworkMode"));
	assert_string_equal(json_string_value(json_object_get(json_at(body, "Labels"), "provision.role")), "command");
	assert_string_equal(json_string_value(json_object_get(json_at(body, "Labels"), "provision.run")), "TESTRUN1");
	assert_string_equal(pairs_get(&site_record(&world->site, "t")->materials, "image:box"), "sha256:1111");
	assert_int_equal(world->site.memory.intent_count, 0);
}

/* Where root in the container is the user, the user's own number would be somebody else. */
static void
the_user_of_a_rootless_engine(void **state)
{
	struct world *world = *state;
	json_t *body finally(json_release) = NULL;

	fake_engine_answer(world->engine, "GET /info", 200, "{\"SecurityOptions\":[\"name=rootless\"]}");
	assert_int_equal(site_apply(&world->site, RUN).status, STATUS_OK);
	body = asked(world);
	assert_string_equal(json_string_at(body, "User"), "0:0");
	assert_int_equal(json_array_size(json_at(body, "HostConfig.GroupAdd")), 0);
}

static void
failures_have_names(void **state)
{
	static const struct {
		const char *request;
		int status;
		const char *body;
		enum fault fault;
		const char *says;
		size_t intents;     /* that stay for the next run */
	} cases[] = {
		{ "GET /images/box/json", 404, "{\"message\":\"No such image: box\"}", FAULT_NO_IMAGE, "the engine has no image `box`", 0 },
		{ "POST /containers/create", 400, "{\"message\":\"invalid mount\"}", FAULT_ENGINE, "invalid mount", 0 },
		{ "POST /containers/c1/start", 500, "{\"message\":\"no space left on device\"}", FAULT_NO_SPACE, "no space left", 0 },
		{ "GET /containers/c1/logs", 501, "{\"message\":\"configured logging driver does not support reading\"}", FAULT_ENGINE, "logging driver", 0 },
		{ "POST /containers/c1/wait", 500, "{\"message\":\"lost it\"}", FAULT_ENGINE, "lost it", 0 },
		{ "POST /containers/c1/wait", 200, "{\"StatusCode\":3}", FAULT_COMMAND, "ended with status 3", 0 },
		{ "DELETE /containers/", 500, "{\"message\":\"device or resource busy\"}", FAULT_ENGINE, "resource busy", 1 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world *world = *state;
		struct apply_result result;

		fake_engine_answer(world->engine, cases[i].request, cases[i].status, cases[i].body);
		result = site_apply(&world->site, RUN);
		if (result.error.fault != cases[i].fault || !strstr(result.error.text, cases[i].says))
			fail_msg("case %zu: %s %s", i, fault_row(result.error.fault)->code, result.error.text);
		if (world->site.memory.intent_count != cases[i].intents)
			fail_msg("case %zu: %zu intents", i, world->site.memory.intent_count);
		teardown(state);
		setup(state);
	}
}

/* What an intent names is removed; what only has the name, and not our label, is not. */
static void
sweeps_what_is_ours(void **state)
{
	static const struct {
		int status;
		const char *container;
		bool removed, forgotten;
	} cases[] = {
		{ 200, "{\"Config\":{\"Labels\":{\"provision.project\":\"0123456789ab\"}}}", true, true },
		{ 404, "{\"message\":\"No such container\"}", true, true },
		{ 200, "{\"Config\":{\"Labels\":{\"provision.project\":\"ba9876543210\"}}}", false, false },
		{ 200, "{\"Config\":{\"Labels\":null}}", false, false },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world *world = *state;
		struct error err = { 0 };
		const struct intent left = { .id = "i1", .target = "t", .kind = "command/container-in-auto", .name = "provision-demo-t-OLDRUN00-i1", .run = "OLDRUN00" };
		const struct intent other = { .id = "i2", .target = "u", .kind = "command/container-in-auto", .name = "provision-demo-u-OLDRUN00-i2", .run = "OLDRUN00" };
		struct memory *memory = &world->site.memory.socket;

		assert_int_equal(site_apply(&world->site, RUN).status, STATUS_OK);
		assert_true(memory->add_intent(memory->self, &left, &err) && memory->add_intent(memory->self, &other, &err));
		fake_engine_answer(world->engine, "GET /containers/provision-demo-t-OLDRUN00-i1/json", cases[i].status, cases[i].container);
		site_destroy(&world->site, RUN, "t");
		assert_int_equal(strstr(fake_engine_requests(world->engine), "DELETE /v1.41/containers/provision-demo-t-OLDRUN00-i1") != NULL, cases[i].removed);
		assert_null(strstr(fake_engine_requests(world->engine), "provision-demo-u"));
		assert_int_equal(memory == NULL ? 0 : world->site.memory.intent_count, cases[i].forgotten ? 1 : 2);
		teardown(state);
		setup(state);
	}
}

/* An image that is gone is no other image; one that was built anew under the same name is. */
static void
the_image_is_an_ingredient(void **state)
{
	struct world *world = *state;

	assert_int_equal(site_apply(&world->site, RUN).status, STATUS_OK);
	assert_int_equal(site_plan(&world->site, RUN, "t")->reason, REASON_NONE);
	fake_engine_answer(world->engine, "GET /images/box/json", 404, "{\"message\":\"No such image: box\"}");
	assert_int_equal(site_plan(&world->site, RUN, "t")->reason, REASON_NONE);
	fake_engine_answer(world->engine, "GET /images/box/json", 200, "{\"Id\":\"sha256:2222\"}");
	assert_int_equal(site_plan(&world->site, RUN, "t")->reason, REASON_UPSTREAM_MOVED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_the_engine_is_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(the_user_of_a_rootless_engine, setup, teardown),
		cmocka_unit_test_setup_teardown(failures_have_names, setup, teardown),
		cmocka_unit_test_setup_teardown(sweeps_what_is_ours, setup, teardown),
		cmocka_unit_test_setup_teardown(the_image_is_an_ingredient, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
