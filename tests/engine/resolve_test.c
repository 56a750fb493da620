#include "engine/resolve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"

#define HEAD "provision: 1\nname: d\n"

struct file {
	const char *name;
	const char *text;
};

struct world {
	struct arena arena;
	struct errors errors;
	struct manifest manifest;
	char directory[64];
};

static void
write_file(const struct world *world, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", world->directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void
begin(struct world *world)
{
	char path[128];

	*world = (struct world){ .directory = "/tmp/resolve-XXXXXX" };
	arena_init(&world->arena);
	errors_init(&world->errors, &world->arena);
	assert_non_null(mkdtemp(world->directory));
	snprintf(path, sizeof path, "%s/sub", world->directory);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void
end(struct world *world)
{
	static const char *const names[] = { "m.yaml", "a.yaml", "b.yaml", "sub/c.yaml", "sub", "" };
	char path[128];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "%s/%s", world->directory, names[i]);
		if (remove(path) != 0)
			continue;
	}
	arena_finish(&world->arena);
}

static bool
load(struct world *world, const char *text, const struct pairs *sets)
{
	write_file(world, "m.yaml", text);
	return manifest_load(&world->manifest, "m.yaml", world->directory, sets, &world->arena, &world->errors);
}

static const char *
targets_json(struct world *world)
{
	return node_json(world->manifest.targets, &world->arena);
}

static void
test_references(void **state)
{
	static const struct {
		const char *text, *json;
	} cases[] = {
		{ "vars: {a: 1, b: [1, 2], c: {x: 1}, d: true}\ntargets: {t: {p: \"${a}\", q: \"${b}\", r: \"${c}\", s: \"${d}\"}}\n",
			"{\"t\":{\"p\":1,\"q\":[1,2],\"r\":{\"x\":1},\"s\":true}}" },
		{ "vars: {a: x, b: \"${a}y\", c: \"${b}${b}\"}\ntargets: {t: {p: \"<${c}>\"}}\n", "{\"t\":{\"p\":\"<xyxy>\"}}" },
		{ "vars: {n: 1, m: 2}\ntargets: {t: {p: \"${n}.${m}\", q: \"${n}0\"}}\n", "{\"t\":{\"p\":\"1.2\",\"q\":\"10\"}}" },
		{ "targets: {t: {p: \"$${x}\", q: \"$${\", r: \"$$${y}\", s: \"a$b$\", t: \"$$\"}}\n",
			"{\"t\":{\"p\":\"${x}\",\"q\":\"${\",\"r\":\"$${y}\",\"s\":\"a$b$\",\"t\":\"$$\"}}" },
		{ "targets: {t: {p: \"${env.PROVISION_TEST_NUMBER}\", q: \"<${env.PROVISION_TEST_NUMBER}>\"}}\n", "{\"t\":{\"p\":42,\"q\":\"<42>\"}}" },
		{ "vars: {a: \"$${x}\"}\ntargets: {t: {p: \"${a}\", q: \"${a}${a}\"}}\n", "{\"t\":{\"p\":\"${x}\",\"q\":\"${x}${x}\"}}" },
		{ "vars: {a: null}\ntargets: {t: {p: \"${a}\"}}\n", "{\"t\":{\"p\":null}}" },
		{ "vars: {a: 1, b: [\"${a}\", {c: \"${a}\"}]}\ntargets: {t: {p: \"${b}\"}}\n", "{\"t\":{\"p\":[1,{\"c\":1}]}}" },
		{ "vars: {a: {rule: x}}\ntargets: {t: \"${a}\"}\n", "{\"t\":{\"rule\":\"x\"}}" },
		{ "vars: {u: \"${s.url}\"}\ntargets: {t: {p: \"${u}\", q: \"<${s.url}>$${\", r: \"${u}/v1\"}, s: {}}\n",
			"{\"t\":{\"p\":\"${s.url}\",\"q\":\"<${s.url}>$${\",\"r\":\"${s.url}/v1\"},\"s\":{}}" },
		/* A `$` at the end of one text and what begins the next do not make a reference that nobody wrote. */
		{ "vars: {u: \"${s.url}$\", b: \"{${s.url}\"}\ntargets: {t: {p: \"${u}{x}\", q: \"a$${b}\", r: \"$$${u}\", s: \"${u}${b}\"}, s: {}}\n",
			"{\"t\":{\"p\":\"${s.url}$${x}\",\"q\":\"a${b}\",\"r\":\"$${u}\",\"s\":\"${s.url}$${${s.url}\"},\"s\":{}}" },
	};

	(void)state;
	setenv("PROVISION_TEST_NUMBER", "42", 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		char text[1024];

		begin(&world);
		snprintf(text, sizeof text, "%s%s", HEAD, cases[i].text);
		if (!load(&world, text, NULL))
			fail_msg("case %zu: %s", i, world.errors.items[0].text);
		assert_string_equal(targets_json(&world), cases[i].json);
		end(&world);
	}
}

/* The first error of each; `count` of them in all. */
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
		{ "targets: {t: {p: \"${nothing}\"}}\n", FAULT_UNDEFINED, 1, 3, 19, "nothing", "--set" },
		{ "vars: {gpu_count: 1}\ntargets: {t: {p: \"ab${gpu-cont}\"}}\n", FAULT_UNDEFINED, 1, 4, 21, "gpu-cont", "${gpu_count}" },
		{ "targets: {t: {p: \"${t}\"}}\n", FAULT_UNDEFINED, 1, 3, 19, "`${t}`", "${t.OUTPUT}" },
		{ "targets:\n  t:\n    p: 健${x\n", FAULT_REFERENCE, 1, 5, 9, "without a `}`", "$${" },
		{ "targets: {t: {p: \"${}\"}}\n", FAULT_REFERENCE, 1, 3, 19, "a reference is", NULL },
		{ "targets: {t: {p: \"${a.b.c}\"}}\n", FAULT_REFERENCE, 1, 3, 19, "a reference is", NULL },
		{ "targets: {t: {p: \"${ a }\"}}\n", FAULT_REFERENCE, 1, 3, 19, "a reference is", NULL },
		{ "vars: {a: \"${b}\", b: \"${c}\", c: \"x${a}\"}\ntargets: {t: {p: \"${a}\"}}\n", FAULT_REFERENCE, 1, 3, 0, "a -> b -> c -> a", NULL },
		{ "vars: {a: \"${a}\"}\ntargets: {}\n", FAULT_REFERENCE, 1, 3, 12, "a -> a", NULL },
		{ "vars: {a: [1]}\ntargets: {t: {p: \"x${a}\"}}\n", FAULT_REFERENCE, 1, 4, 20, "a list and cannot stand", NULL },
		{ "vars: {a: {b: 1}}\ntargets: {t: {p: \"${a.b}\"}}\n", FAULT_REFERENCE, 1, 4, 19, "`a` is a var", NULL },
		{ "targets: {t: {p: \"${env.PROVISION_TEST_NUMBR}\"}}\n", FAULT_UNDEFINED, 1, 3, 19, "is not set", "PROVISION_TEST_NUMBER" },
		{ "targets: {t: {p: \"${env.HF_TOKEN}\"}}\n", FAULT_SECRET_IN_TEXT, 1, 3, 19, "HF_TOKEN", "{env: HF_TOKEN}" },
		{ "targets: {t: {p: \"${env.MY_APIKEY}\"}}\n", FAULT_SECRET_IN_TEXT, 1, 3, 19, "MY_APIKEY", NULL },
		{ "targets: {t: {p: \"${env.DB_PASSWD_FILE}\"}}\n", FAULT_SECRET_IN_TEXT, 1, 3, 19, "DB_PASSWD_FILE", NULL },
		{ "targets: {t: {p: \"${env.TOKENIZERS_PARALLELISM_X}\"}}\n", FAULT_UNDEFINED, 1, 3, 19, "not set", NULL },
		{ "vars: {d: \"$\"}\ntargets: {t: {p: \"${d}${t.x}\"}}\n", FAULT_REFERENCE, 1, 4, 18, "directly before", NULL },
		{ "vars: {d: \"${t.y}$\"}\ntargets: {t: {p: \"${d}${t.x}\"}}\n", FAULT_REFERENCE, 1, 4, 18, "directly before", NULL },
		{ "vars: {a: \"${zz}\"}\ntargets: {t: {p: \"${a}\", q: \"${a}\"}}\n", FAULT_UNDEFINED, 1, 3, 12, "zz", NULL },
		{ "vars: {1x: 1, \"a.b\": 2}\ntargets: {}\n", FAULT_BAD_NAME, 2, 3, 8, "1x", NULL },
		{ "target: {}\n", FAULT_UNKNOWN_KEY, 2, 3, 1, "`target`", "did you mean `targets`" },
		{ "targets: []\n", FAULT_BAD_VALUE, 1, 3, 10, "must be a map, not a list", NULL },
		{ "vars: 5\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 7, "must be a map", NULL },
		{ "vars: \"${x}\"\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 7, "must be a map", NULL },
		{ "targets: {t: 5}\n", FAULT_BAD_VALUE, 1, 3, 11, "target `t` must be a map", NULL },
		{ "", FAULT_MISSING_KEY, 1, 1, 1, "targets", NULL },
		{ "fallback: {manifest: x.yaml, on: infeasable}\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 34, "infeasable", "infeasible" },
		{ "fallback: [[x]]\ntargets: {}\n", FAULT_FALLBACK, 1, 3, 12, "not a list", NULL },
		{ "fallback: {on: host}\ntargets: {}\n", FAULT_MISSING_KEY, 1, 3, 11, "manifest", NULL },
		{ "reserve: {gpu: [3]}\ntargets: {}\n", FAULT_UNKNOWN_KEY, 2, 3, 11, "`gpu` in `reserve`", "gpus" },
		{ "reserve: {gpus: [x]}\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 18, "an integer", NULL },
		{ "limits: {download: 80GiX}\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 20, "a size", NULL },
		{ "limits: {time: \"${t.x}\"}\ntargets: {t: {}}\n", FAULT_REFERENCE, 1, 3, 17, "in targets alone", NULL },
		{ "extends: m.yaml\ntargets: {}\n", FAULT_EXTENDS, 1, 3, 10, "circle", NULL },
		{ "extends: nowhere.yaml\ntargets: {}\n", FAULT_NOT_FOUND, 1, 3, 10, "nowhere.yaml", "relative" },
		{ "extends: \"${x}\"\ntargets: {}\n", FAULT_EXTENDS, 1, 3, 10, "references", NULL },
		{ "extends: [a]\ntargets: {}\n", FAULT_BAD_VALUE, 1, 3, 10, "path of a manifest", NULL },
	};

	(void)state;
	setenv("PROVISION_TEST_NUMBER", "42", 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		char text[1024];
		const struct error *err;

		begin(&world);
		snprintf(text, sizeof text, "%s%s", HEAD, cases[i].text);
		if (load(&world, text, NULL))
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

static void
test_head(void **state)
{
	static const struct {
		const char *text;
		enum fault fault;
	} cases[] = {
		{ "name: x\ntargets: {}\n", FAULT_MISSING_KEY }, { "provision: 1\ntargets: {}\n", FAULT_MISSING_KEY },
		{ "provision: 2\nname: x\ntargets: {}\n", FAULT_FORMAT_VERSION }, { "provision: '1'\nname: x\ntargets: {}\n", FAULT_FORMAT_VERSION },
		{ "provision: 1\nname: X\ntargets: {}\n", FAULT_BAD_NAME }, { "provision: 1\nname: .x\ntargets: {}\n", FAULT_BAD_NAME },
		{ "provision: 1\nname: ''\ntargets: {}\n", FAULT_BAD_NAME }, { "provision: 1\nname: a/b\ntargets: {}\n", FAULT_BAD_NAME },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;

		begin(&world);
		assert_false(load(&world, cases[i].text, NULL));
		assert_int_equal(world.errors.count, 1);
		assert_int_equal(world.errors.items[0].fault, cases[i].fault);
		end(&world);
	}
}

static void
test_extends(void **state)
{
	struct world world;
	const struct manifest *manifest = &world.manifest;
	char path[128];

	(void)state;
	begin(&world);
	write_file(&world, "sub/c.yaml", "provision: 1\nname: d\nfallback: next.yaml\nvars: {root: /data, tp: 4, gone: 1}\n"
		"targets: {a: {rule: x, p: {q: 1, r: 2}, l: [1, 2]}, b: {rule: y}, c: {rule: z, dir: \"${root}/c\"}}\n");
	write_file(&world, "a.yaml", "provision: 1\nextends: sub/c.yaml\nvars: {tp: 3}\ntargets: {b: null, a: {p: {q: 5}}}\n");
	assert_true(load(&world, "provision: 1\nextends: a.yaml\nvars: {gone: null}\nreserve: {gpus: [3], for: training}\nlimits: {downtime: 10m}\n"
		"targets: {d: {rule: w, tp: \"${tp}\"}, a: {l: [3]}}\nx-note: {anything: [1]}\n", NULL));
	assert_string_equal(targets_json(&world), "{\"a\":{\"rule\":\"x\",\"p\":{\"q\":5,\"r\":2},\"l\":[3]},\"c\":{\"rule\":\"z\",\"dir\":\"/data/c\"},"
		"\"d\":{\"rule\":\"w\",\"tp\":3}}");
	assert_string_equal(manifest->name, "d");
	assert_string_equal(manifest->name_at.file, "sub/c.yaml");
	assert_int_equal(manifest->fallback_count, 1);
	snprintf(path, sizeof path, "%s/sub/next.yaml", world.directory);
	assert_string_equal(manifest->fallbacks[0].manifest, path);
	assert_string_equal(manifest->fallbacks[0].shown, "sub/next.yaml");
	assert_int_equal(manifest->fallbacks[0].classes, 1u << CLASS_INFEASIBLE);
	assert_int_equal(manifest->reserve.count, 1);
	assert_int_equal(manifest->reserve.gpus[0], 3);
	assert_string_equal(manifest->reserve.purpose, "training");
	assert_int_equal(manifest->limits.downtime, 600000);
	assert_int_equal(manifest->limits.download, -1);
	assert_string_equal(node_json(manifest->vars, &world.arena), "{\"root\":\"/data\",\"tp\":3}");
	/* `tp` is written in a.yaml, line 3; the parameter in m.yaml. */
	assert_string_equal(node_place(node_get(manifest->targets, "d"), "tp").file, "a.yaml");
	assert_int_equal(node_place(node_get(manifest->targets, "d"), "tp").line, 3);
	assert_string_equal(node_get(node_get(manifest->targets, "d"), "tp")->at.file, "m.yaml");
	end(&world);
}

static void
test_extends_circle(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	write_file(&world, "a.yaml", "extends: b.yaml\n");
	write_file(&world, "b.yaml", "extends: ./sub/../a.yaml\n");
	assert_false(load(&world, HEAD "extends: a.yaml\ntargets: {}\n", NULL));
	assert_int_equal(world.errors.items[0].fault, FAULT_EXTENDS);
	assert_string_equal(world.errors.items[0].at.file, "b.yaml");
	end(&world);
}

static void
test_fallbacks(void **state)
{
	struct world world;

	(void)state;
	begin(&world);
	assert_true(load(&world, HEAD "targets: {}\nvars: {n: b.yaml}\nfallback:\n  - a.yaml\n  - {manifest: \"${n}\", on: [host, out_of_memory]}\n"
		"  - {manifest: /c.yaml, on: start_failed}\n", NULL));
	assert_int_equal(world.manifest.fallback_count, 3);
	assert_int_equal(world.manifest.fallbacks[0].classes, 1u << CLASS_INFEASIBLE);
	assert_int_equal(world.manifest.fallbacks[1].classes, 1u << CLASS_HOST | 1u << CLASS_OUT_OF_MEMORY);
	assert_string_equal(world.manifest.fallbacks[1].shown, "b.yaml");
	assert_int_equal(world.manifest.fallbacks[1].at.line, 4);
	assert_string_equal(world.manifest.fallbacks[2].manifest, "/c.yaml");
	end(&world);
}

static void
test_sets(void **state)
{
	struct pair items[] = { { "port", "9000" }, { "list", "[1, two]" }, { "map.b", "x" }, { "fresh.deep.er", "true" }, { "none", "" } };
	struct pairs sets = { .items = items, .count = sizeof items / sizeof *items };
	struct pair bad[] = { { "a b", "1" }, { "x", "[" }, { "", "1" } };
	struct pairs bad_sets = { .items = bad, .count = sizeof bad / sizeof *bad };
	struct world world;
	struct digest first;

	(void)state;
	begin(&world);
	assert_true(load(&world, HEAD "vars: {port: 8000, map: {a: 1, b: 2}}\n"
		"targets: {t: {p: \"${port}\", q: \"${list}\", r: \"${map}\", s: \"${fresh}\", u: \"${none}\"}}\n", &sets));
	assert_string_equal(targets_json(&world),
		"{\"t\":{\"p\":9000,\"q\":[1,\"two\"],\"r\":{\"a\":1,\"b\":\"x\"},\"s\":{\"deep\":{\"er\":true}},\"u\":null}}");
	assert_string_equal(node_place(node_get(world.manifest.targets, "t"), "p").file, "--set port");
	first = world.manifest.digest;
	items[0].value = "9001";
	assert_true(manifest_load(&world.manifest, "m.yaml", world.directory, &sets, &world.arena, &world.errors));
	assert_false(digest_equal(&first, &world.manifest.digest));
	items[0].value = "9000";
	assert_true(manifest_load(&world.manifest, "m.yaml", world.directory, &sets, &world.arena, &world.errors));
	assert_true(digest_equal(&first, &world.manifest.digest));
	assert_false(manifest_load(&world.manifest, "m.yaml", world.directory, &bad_sets, &world.arena, &world.errors));
	assert_int_equal(world.errors.count, 3);
	end(&world);
}

/* Vars that double nine times nine: the text is small, what it stands for is not. */
static void
test_var_bombs(void **state)
{
	static const char *const shapes[] = { "[\"${v%d}\", \"${v%d}\", \"${v%d}\", \"${v%d}\"]", "\"${v%d}${v%d}${v%d}${v%d}\"" };

	(void)state;
	for (size_t shape = 0; shape < 2; shape++) {
		struct world world;
		struct buf text = { 0 };

		begin(&world);
		buf_init(&text, 1 << 20);
		buf_text(&text, HEAD "vars:\n  v0: some text that is repeated\n");
		for (int i = 1; i < 40; i++) {
			char line[200];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			snprintf(line, sizeof line, shapes[shape], i - 1, i - 1, i - 1, i - 1);
#pragma GCC diagnostic pop
			buf_printf(&text, "  v%d: %s\n", i, line);
		}
		buf_text(&text, "targets: {t: {p: \"${v39}\"}}\n");
		assert_false(load(&world, text.data, NULL));
		assert_int_equal(world.errors.items[0].fault, FAULT_TOO_LARGE);
		buf_finish(&text);
		end(&world);
	}
}

static void
test_long_chain(void **state)
{
	struct world world;
	struct buf text = { 0 };

	(void)state;
	begin(&world);
	buf_init(&text, 1 << 24);
	buf_text(&text, HEAD "vars:\n");
	for (int i = 0; i < 50000; i++)
		buf_printf(&text, "  v%d: \"${v%d}\"\n", i, i + 1);
	buf_text(&text, "  v50000: 1\ntargets: {}\n");
	assert_false(load(&world, text.data, NULL));
	assert_int_equal(world.errors.items[0].fault, FAULT_TOO_LARGE);
	buf_finish(&text);
	end(&world);
}

/* Outputs that are known or not, in turn. */
static const char *
look_up(void *context, const char *target, const char *output)
{
	const char *known = context;

	return strcmp(target, known) == 0 && strcmp(output, "url") == 0 ? "http://x$/${" : NULL;
}

static void
count_references(void *context, const char *target, const char *output, struct place at)
{
	struct buf *seen = context;

	buf_printf(seen, "%s.%s@%u:%u ", target, output, at.line, at.column);
}

static void
test_outputs(void **state)
{
	struct world world;
	const struct node *target;
	const struct node *known;
	const char *unknown = NULL;
	struct buf seen = { 0 };
	char name[] = "s";

	(void)state;
	begin(&world);
	assert_true(load(&world, HEAD "targets:\n  s: {}\n  u: {}\n  t: {p: \"${s.url}/$${v1\", q: [\"${u.id}\", 5], r: 7}\n  o: {p: \"a${s.url}b\"}\n", NULL));
	target = node_get(world.manifest.targets, "t");
	assert_true(target->pending);
	assert_null(resolve_outputs(target, look_up, name, &world.arena, &unknown));
	assert_string_equal(unknown, "u");
	known = resolve_known(target, look_up, name, &world.arena);
	assert_true(known->pending);
	assert_string_equal(node_json(known, &world.arena), "{\"p\":\"http://x$/${/${v1\",\"q\":[\"${u.id}\",5],\"r\":7}");
	known = resolve_outputs(node_get(world.manifest.targets, "o"), look_up, name, &world.arena, &unknown);
	assert_string_equal(node_json(known, &world.arena), "{\"p\":\"ahttp://x$/${b\"}");
	assert_ptr_equal(node_get(known, "p")->at.file, node_get(node_get(world.manifest.targets, "o"), "p")->at.file);
	buf_init(&seen, 1000);
	resolve_references(target, count_references, &seen, &world.arena);
	assert_string_equal(seen.data, "s.url@6:11 u.id@6:33 ");
	buf_finish(&seen);
	end(&world);
}

/* What has no reference is not copied. */
static void
test_sharing(void **state)
{
	struct world world;
	const struct node *t, *u;

	(void)state;
	begin(&world);
	assert_true(load(&world, HEAD "vars: {l: [1, 2, 3]}\ntargets: {t: {p: \"${l}\"}, u: {p: \"${l}\"}}\n", NULL));
	t = node_get(node_get(world.manifest.targets, "t"), "p");
	u = node_get(node_get(world.manifest.targets, "u"), "p");
	assert_ptr_equal(t->items, u->items);
	assert_ptr_not_equal(t, u);
	end(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references), cmocka_unit_test(test_errors), cmocka_unit_test(test_head), cmocka_unit_test(test_extends),
		cmocka_unit_test(test_extends_circle), cmocka_unit_test(test_fallbacks), cmocka_unit_test(test_sets), cmocka_unit_test(test_var_bombs),
		cmocka_unit_test(test_long_chain), cmocka_unit_test(test_outputs), cmocka_unit_test(test_sharing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
