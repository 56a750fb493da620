#include "engine/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/task.h"

struct make {
	const char *path;
	struct strings reads;
	const char *text;
	int64_t port;
};

static const struct param make_params[] = {
	{ "path", PARAM_PATH, offsetof(struct make, path), .about = "" },
	{ "reads", PARAM_PATHS, offsetof(struct make, reads), .about = "" },
	{ "text", PARAM_STRING, offsetof(struct make, text), .about = "" },
	{ "port", PARAM_INT, offsetof(struct make, port), .most = 65535 },
	{ 0 },
};

static const struct output make_outputs[] = {
	{ "path", "where it is", "path" }, { "port", "where it listens", "port" }, { "id", "known when built", NULL }, { 0 },
};

static void
make_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct make *make = spec;
	struct error err;

	if (!make->text || strcmp(make->text, "bad") != 0)
		return;
	fail_at(&err, task_place(task, "text"), FAULT_CONFLICT, "bad text");
	errors_add(errors, &err);
}

static void
make_paths(const void *spec, struct arena *arena, struct paths *paths)
{
	const struct make *make = spec;

	if (make->path)
		strings_add(&paths->makes, arena, make->path);
	for (size_t i = 0; i < make->reads.count; i++)
		strings_add(&paths->reads, arena, make->reads.items[i]);
}

static const struct rule make_rule = {
	.name = "make", .version = 1, .params = make_params, .size = sizeof(struct make), .outputs = make_outputs, .validate = make_validate, .paths = make_paths,
};

/* Claims `port` at the place `text`, and the tag `path`, which targets of one definition may share. */
static void
hold_claims(const void *spec, struct arena *arena, struct claims *claims)
{
	const struct make *make = spec;

	if (make->port)
		claims_add(claims, arena, &(struct claim){ .kind = "port", .name = arena_printf(arena, "%lld", (long long)make->port), .where = make->text,
			.param = "port" });
	if (make->path)
		claims_add(claims, arena, &(struct claim){ .kind = "tag", .name = make->path, .param = "path", .shared = true });
}

static const struct rule hold_rule = {
	.name = "hold", .version = 1, .params = make_params, .size = sizeof(struct make), .outputs = make_outputs, .claims = hold_claims,
};

static const struct rule *const rules[] = { &make_rule, &hold_rule, NULL };

struct world {
	struct arena arena;
	struct errors errors;
	struct manifest manifest;
	struct graph graph;
};

static bool
load(struct world *world, const char *text)
{
	char path[] = "/tmp/graph-XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	bool ok;

	*world = (struct world){ 0 };
	arena_init(&world->arena);
	errors_init(&world->errors, &world->arena);
	fputs("provision: 1\nname: d\ntargets:\n", file);
	fputs(text, file);
	fclose(file);
	ok = manifest_load(&world->manifest, path, "/tmp", NULL, &world->arena, &world->errors);
	unlink(path);
	if (!ok)
		fail_msg("%s", world->errors.items[0].text);
	return graph_link(&world->graph, &world->manifest, rules, &world->errors);
}

static void
end(struct world *world)
{
	graph_finish(&world->graph);
	arena_finish(&world->arena);
}

/* Names in run order, each with what it needs. */
static void
test_orders(void **state)
{
	static const struct {
		const char *text, *order;
	} cases[] = {
		{ "  a: {rule: make}\n  b: {rule: make}\n", "a b" },
		{ "  a: {rule: make, needs: [c]}\n  b: {rule: make}\n  c: {rule: make}\n", "b c a(c)" },
		{ "  a: {rule: make, needs: c}\n  b: {rule: make, needs: [c, c, a]}\n  c: {rule: make}\n", "c a(c) b(ac)" },
		{ "  a: {rule: make, text: \"x${b.id}\"}\n  b: {rule: make}\n", "b a(b)" },
		{ "  a: {rule: make, port: \"${b.port}\"}\n  b: {rule: make, port: 5}\n", "b a(b)" },
		{ "  a: {rule: make, reads: [x/y/z]}\n  b: {rule: make, path: x}\n", "b a(b)" },
		{ "  a: {rule: make, reads: [x]}\n  b: {rule: make, path: x/y}\n", "a b" },
		{ "  a: {rule: make, reads: [xy]}\n  b: {rule: make, path: x}\n", "a b" },
		{ "  a: {rule: make, path: x, reads: [x]}\n", "a" },
		{ "  a: {rule: make, reads: [/q/b], needs: [c]}\n  b: {rule: make, path: \"${c.path}/b\"}\n  c: {rule: make, path: /q}\n", "c b(c) a(bc)" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		struct buf order = { 0 };

		buf_init(&order, 1000);
		if (!load(&world, cases[i].text))
			fail_msg("case %zu: %s", i, world.errors.items[0].text);
		for (uint32_t k = 0; k < world.graph.count; k++) {
			const struct target *target = &world.graph.targets[world.graph.order[k]];

			buf_printf(&order, "%s%s%s", k ? " " : "", target->name, target->need_count ? "(" : "");
			for (uint32_t n = 0; n < target->need_count; n++)
				buf_text(&order, world.graph.targets[world.graph.needs[target->needs + n]].name);
			buf_text(&order, target->need_count ? ")" : "");
		}
		if (strcmp(order.data, cases[i].order) != 0)
			fail_msg("case %zu: %s, not %s", i, order.data, cases[i].order);
		buf_finish(&order);
		end(&world);
	}
}

static void
test_errors(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
		size_t count;
		uint32_t line, column;
		const char *words, *hint;
	} cases[] = {
		{ "  A: {rule: make}\n", FAULT_BAD_NAME, 1, 4, 3, "`A`", NULL },
		{ "  env: {rule: make}\n", FAULT_BAD_NAME, 1, 4, 3, "`env`", NULL },
		{ "  a: {rule: mkae}\n", FAULT_UNKNOWN_RULE, 1, 4, 13, "`mkae`", "did you mean `make`" },
		{ "  a: {}\n", FAULT_MISSING_KEY, 1, 4, 3, "no `rule`", NULL },
		{ "  image: {rule: make}\n  b: {rule: make, needs: [imgae]}\n", FAULT_UNKNOWN_TARGET, 1, 5, 27, "`imgae`", "did you mean `image`" },
		{ "  image: {rule: make}\n  b: {rule: make, text: \"ab${imgae.id}\"}\n", FAULT_UNKNOWN_TARGET, 1, 5, 28, "`imgae`", "did you mean `image`" },
		{ "  a: {rule: make}\n  b: {rule: make, text: \"${a.idd}\"}\n", FAULT_UNKNOWN_OUTPUT, 1, 5, 26, "no output `idd`", "did you mean `id`" },
		{ "  a: {rule: make, path: x}\n  b: {rule: make, path: ./x}\n", FAULT_TWO_MAKERS, 1, 5, 3, "both make", NULL },
		{ "  a: {rule: make, needs: [a]}\n", FAULT_CYCLE, 1, 4, 27, "a -> a", "itself" },
		{ "  image: {rule: make, needs: [service]}\n  x: {rule: make, needs: [image]}\n  service: {rule: make, needs: [x, image]}\n", FAULT_CYCLE, 1, 4, 31,
			"image -> service -> image", "`service` needs `image`" },
		{ "  d: {rule: make, needs: [c]}\n  c: {rule: make, text: \"${a.id}\"}\n  b: {rule: make, needs: [c]}\n  a: {rule: make, needs: [b]}\n", FAULT_CYCLE, 1, 5, 26,
			"c -> a -> b -> c", "remove one" },
		{ "  a: {rule: make, reads: [y], path: x}\n  b: {rule: make, reads: [x], path: y}\n", FAULT_CYCLE, 1, 4, 0, "a -> b -> a", NULL },
		{ "  a: {rule: make, text: bad}\n", FAULT_CONFLICT, 1, 4, 25, "bad text", NULL },
		{ "  a: {rule: make, retries: -1}\n", FAULT_BAD_VALUE, 1, 4, 28, "retries", NULL },
		{ "  b: {rule: make, port: x}\n  a: {rule: make, needs: [a], txt: 1}\n  c: {rule: make, text: bad}\n", FAULT_CYCLE, 4, 5, 27, "a -> a", NULL },
		{ "  a: {rule: make, port: \"${b.path}\"}\n  b: {rule: make, path: x}\n", FAULT_BAD_VALUE, 1, 4, 25, "an integer", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		const struct error *err;

		if (load(&world, cases[i].text))
			fail_msg("case %zu is accepted", i);
		err = &world.errors.items[0];
		if (err->fault != cases[i].fault || world.errors.count != cases[i].count || err->at.line != cases[i].line
			|| (cases[i].column && err->at.column != cases[i].column) || !strstr(err->text, cases[i].words)
			|| (cases[i].hint && !strstr(err->hint, cases[i].hint)))
			fail_msg("case %zu: %zu errors, fault %d at %u:%u: %s (%s)", i, world.errors.count, err->fault, err->at.line, err->at.column, err->text,
				err->hint);
		end(&world);
	}
}

/* What one target alone can have, as far as it is known. */
static void
test_claims(void **state)
{
	static const struct {
		const char *text;
		size_t count;
		const char *words;
	} cases[] = {
		{ "  a: {rule: hold, port: 8000}\n  b: {rule: hold, port: 8000}\n", 1, "targets `a` and `b` both want port `8000`" },
		{ "  a: {rule: hold, port: 8000}\n  b: {rule: hold, port: 8001}\n", 0, NULL },
		{ "  a: {rule: hold, port: 8000, text: x}\n  b: {rule: hold, port: 8000, text: y}\n", 0, NULL },
		{ "  a: {rule: hold, port: 8000, text: x}\n  b: {rule: hold, port: 8000, text: y}\n  c: {rule: hold, port: 8000, text: y}\n", 1,
			"targets `b` and `c` both" },
		{ "  a: {rule: hold, port: 8000, text: x}\n  b: {rule: hold, port: 8000}\n  c: {rule: hold, port: 8000}\n", 2, "targets `a` and `b` both" },
		{ "  a: {rule: hold, path: x}\n  b: {rule: hold, path: ./x}\n", 0, NULL },
		{ "  a: {rule: hold, path: x}\n  b: {rule: hold, path: x, reads: [y]}\n", 1, "targets `a` and `b` both want tag `/" },
		{ "  m: {rule: make}\n  a: {rule: hold, path: x}\n  b: {rule: hold, path: x, text: \"${m.id}\"}\n", 0, NULL },
		{ "  a: {rule: hold, port: 8000}\n  m: {rule: make}\n  b: {rule: hold, port: \"${m.id}\"}\n", 0, NULL },
		{ "  a: {rule: hold, port: 8000}\n  b: {rule: hold, port: \"${a.port}\"}\n", 1, "both want port" },
		{ "  a: {rule: hold, port: 8000}\n  b: {rule: hold, port: 8000, optional: true}\n", 0, NULL },
		{ "  a: {rule: hold, port: 8000, path: x}\n  b: {rule: hold, port: 8000, path: x}\n  c: {rule: mkae}\n", 2, "both want port" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		bool ok = load(&world, cases[i].text);

		if (ok != (cases[i].count == 0) || world.errors.count != cases[i].count)
			fail_msg("case %zu: %zu errors: %s", i, world.errors.count, world.errors.count ? world.errors.items[0].text : "");
		for (size_t j = 0, found = 0; j < world.errors.count; j++) {
			const struct error *err = &world.errors.items[j];

			if (err->fault != FAULT_TWO_MAKERS)
				continue;
			if (found++ == 0 && !strstr(err->text, cases[i].words))
				fail_msg("case %zu: %s", i, err->text);
			/* The one that comes later is where it is told, and the hint leads to the other. */
			assert_true(err->at.line > 4 && err->at.column > 5);
			assert_non_null(strstr(err->hint, "` does so at /tmp/graph-"));
		}
		end(&world);
	}
}

/* Outputs that are parameters are known before anything is built, through several targets; those of a build are not. */
static void
test_known_outputs(void **state)
{
	struct world world;
	const struct make *make;
	const struct target *target;

	(void)state;
	assert_true(load(&world, "  a: {rule: make, path: \"${b.path}/a\", port: \"${b.port}\"}\n  b: {rule: make, path: \"${c.path}/b\", port: 8000}\n"
		"  c: {rule: make, path: c}\n  d: {rule: make, text: \"${c.path}:${c.id}\", path: \"${a.path}/d\"}\n"));
	make = graph_find(&world.graph, "a")->spec;
	assert_string_equal(make->path, "/tmp/c/b/a");
	assert_int_equal(make->port, 8000);
	assert_false(graph_find(&world.graph, "a")->pending);
	target = graph_find(&world.graph, "d");
	make = target->spec;
	assert_true(target->pending);
	assert_null(make->text);
	assert_string_equal(make->path, "/tmp/c/b/a/d");
	assert_string_equal(node_get(target->node, "text")->text, "/tmp/c:${c.id}");
	assert_int_equal(graph_maker(&world.graph, "/tmp/c/b/a/d/e/f"), target->id);
	assert_int_equal(graph_maker(&world.graph, "/tmp/c/b/x"), graph_find(&world.graph, "b")->id);
	assert_int_equal(graph_maker(&world.graph, "/tmp"), NO_NAME);
	assert_null(graph_find(&world.graph, "e"));
	end(&world);
}

static void
test_common_keys(void **state)
{
	struct world world;
	const struct target *target;

	(void)state;
	assert_true(load(&world, "  a: {rule: make, description: a note, timeout: 5m, retries: 2, workdir: w, optional: true}\n  b: {rule: make}\n"));
	target = graph_find(&world.graph, "a");
	assert_string_equal(target->description, "a note");
	assert_int_equal(target->timeout, 300000);
	assert_int_equal(target->retries, 2);
	assert_string_equal(target->workdir, "/tmp/w");
	assert_true(target->optional);
	assert_string_equal(graph_find(&world.graph, "b")->workdir, "/tmp");
	end(&world);
}

static void
test_marks(void **state)
{
	struct world world;
	unsigned char up[4] = { 0 }, down[4] = { 0 };

	(void)state;
	assert_true(load(&world, "  a: {rule: make}\n  b: {rule: make, needs: [a]}\n  c: {rule: make, needs: [b]}\n  d: {rule: make, needs: [a]}\n"));
	graph_mark_needs(&world.graph, 2, down);
	graph_mark_users(&world.graph, 1, up);
	assert_memory_equal(down, "\1\1\1\0", 4);
	assert_memory_equal(up, "\0\1\1\0", 4);
	end(&world);
}

/* 100,000 targets in order, in reverse, in one ring, and all behind a small ring: the test's time limit is the judge. */
static void
test_many(void **state)
{
	static const struct {
		int step;
		bool ring, ok;
	} cases[] = { { -1, false, true }, { 1, false, true }, { 1, true, false }, { -1, true, false } };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		struct buf text = { 0 };

		buf_init(&text, 1 << 26);
		for (int k = 0; k < 100000; k++) {
			int need = k + cases[i].step;

			if (cases[i].ring)
				need = cases[i].step > 0 ? (k + 1) % 100000 : k < 2 ? 1 - k : k - 1;
			if (need >= 0 && need < 100000)
				buf_printf(&text, "  t%d: {rule: make, needs: [t%d], path: p%d, reads: [q/r/s/%d]}\n", k, need, k, k);
			else
				buf_printf(&text, "  t%d: {rule: make}\n", k);
		}
		assert_int_equal(load(&world, text.data), cases[i].ok);
		if (!cases[i].ok) {
			assert_int_equal(world.errors.count, 1);
			assert_int_equal(world.errors.items[0].fault, FAULT_CYCLE);
		}
		buf_finish(&text);
		end(&world);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders), cmocka_unit_test(test_errors), cmocka_unit_test(test_claims), cmocka_unit_test(test_known_outputs), cmocka_unit_test(test_common_keys),
		cmocka_unit_test(test_marks), cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
