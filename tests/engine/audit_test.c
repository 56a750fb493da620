/* audit.c: recorded files against the disk, at three levels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/audit.h"
#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "tests/fake/memory.h"

#include <cmocka.h> /* last: its macro `fail` hides our function */

#define FILES 3

/* A project whose target `w` made three files, all of them known by stat data. */
struct world {
	struct arena arena;
	struct fake_memory memory;
	struct known known;
	char directory[32];
	const char *paths[FILES];
	struct artifact artifacts[FILES];
};

static void
put(const char *path, const char *text)
{
	struct error err = { 0 };

	assert_true(file_save(path, text, strlen(text), 0600, &err));
}

static void
begin(struct world *world)
{
	struct record record = { .target = "w", .rule = "none", .artifacts = { .items = world->artifacts, .count = FILES } };

	*world = (struct world){ .directory = "/tmp/audit-XXXXXX" };
	assert_non_null(mkdtemp(world->directory));
	arena_init(&world->arena);
	fake_memory_init(&world->memory);
	known_init(&world->known, NULL, &world->arena);
	for (size_t i = 0; i < FILES; i++) {
		const char *path = world->paths[i] = arena_printf(&world->arena, "%s/%zu", world->directory, i);
		struct stat_key key;
		struct stat st;

		put(path, "recorded");
		assert_int_equal(stat(path, &st), 0);
		key = stat_key_of(&st);
		world->artifacts[i] = (struct artifact){ .kind = ARTIFACT_FILE, .name = path, .size = 8 };
		digest_of("recorded", 8, &world->artifacts[i].digest);
		known_add(&world->known, &key, &world->artifacts[i].digest, clock_now_ns() + INT64_C(10000000000));
	}
	fake_memory_put(&world->memory, &record);
}

static void
end(struct world *world)
{
	for (size_t i = 0; i < FILES; i++)
		unlink(world->paths[i]);
	rmdir(world->directory);
	known_finish(&world->known);
	fake_memory_finish(&world->memory);
	arena_finish(&world->arena);
}

static void
verify(struct world *world, enum audit_level level, struct audit *audit)
{
	static const struct rule *const no_rules[] = { NULL };
	const struct strings all = { 0 };
	const struct audit_wishes wishes = { .deployment = "demo", .names = &all, .rules = no_rules, .level = level };
	const struct project project = { .root = world->directory, .state_dir = world->directory, .id = "" };
	struct error err = { 0 };

	if (!audit_verify(audit, &wishes, &world->memory.socket, &project, &world->known, &world->arena, &err))
		fail_msg("%s", err.text);
	assert_int_equal(audit->count, 1);
}

static void
leave(const char *path)
{
	(void)path;
}

static void
touch(const char *path)
{
	put(path, "recorded");
}

static void
alter(const char *path)
{
	put(path, "recordeD");
}

static void
lengthen(const char *path)
{
	put(path, "recorded?");
}

static void
lose(const char *path)
{
	unlink(path);
}

static void
turn(const char *path)
{
	unlink(path);
	assert_int_equal(symlink("2", path), 0);
}

/* What befell the second of the files, and what each level says of it: NULL if nothing. */
static const struct {
	const char *name;
	void (*befall)(const char *path);
	const char *quick, *normal, *deep;
	size_t read; /* files, at the normal level */
} cases[] = {
	{ "leave", leave, NULL, NULL, NULL, 0 },
	{ "touch", touch, "is not the file whose bytes were recorded", NULL, NULL, 1 },
	{ "alter", alter, "is not the file whose bytes were recorded", "differs", "differs", 1 },
	{ "lengthen", lengthen, "differs", "differs", "differs", 0 },
	{ "lose", lose, "is missing", "is missing", "is missing", 0 },
	{ "turn", turn, "is no regular file any more", "is no regular file any more", "is no regular file any more", 0 },
};

static void
check(const char *name, const struct audit *audit, const char *path, const char *wanted)
{
	const struct findings *findings = &audit->rows[0].findings;

	if (audit->rows[0].ok != !wanted || audit->differing != (wanted != NULL) || findings->count != (wanted != NULL))
		fail_msg("%s: %zu findings", name, findings->count);
	if (wanted && (findings->items[0].fault != FAULT_MISMATCH || !strstr(findings->items[0].text, wanted) || !strstr(findings->items[0].text, path)))
		fail_msg("%s: %s", name, findings->items[0].text);
}

static void
three_levels(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct world world;
		struct audit audit;

		begin(&world);
		cases[i].befall(world.paths[1]);
		verify(&world, AUDIT_QUICK, &audit);
		check(cases[i].name, &audit, world.paths[1], cases[i].quick);
		assert_int_equal(audit.files, 0);
		verify(&world, AUDIT_NORMAL, &audit);
		check(cases[i].name, &audit, world.paths[1], cases[i].normal);
		assert_int_equal(audit.files, cases[i].read);
		verify(&world, AUDIT_DEEP, &audit);
		check(cases[i].name, &audit, world.paths[1], cases[i].deep);
		assert_int_equal(audit.files, cases[i].read || cases[i].befall == leave ? FILES : FILES - 1);
		assert_int_equal(audit.bytes, audit.files * 8);
		end(&world);
	}
}

/* Stat data that lies: time and size are as they were, the bytes are not. Only reading finds it. */
static void
only_reading_finds_it(void **state)
{
	struct world world;
	struct audit audit;
	struct stat_key key;
	struct stat st;

	(void)state;
	begin(&world);
	alter(world.paths[2]);
	assert_int_equal(stat(world.paths[2], &st), 0);
	key = stat_key_of(&st);
	known_add(&world.known, &key, &world.artifacts[2].digest, clock_now_ns() + INT64_C(10000000000));
	verify(&world, AUDIT_QUICK, &audit);
	check("quick", &audit, world.paths[2], NULL);
	verify(&world, AUDIT_NORMAL, &audit);
	check("normal", &audit, world.paths[2], NULL);
	verify(&world, AUDIT_DEEP, &audit);
	check("deep", &audit, world.paths[2], "differs");
	assert_non_null(strstr(audit.rows[0].findings.items[0].notes[0], "recorded sha256"));
	end(&world);
}

/* A file as young as its digest: stat data alone is what --quick asks for, the normal level reads it. */
static void
too_young_to_be_believed(void **state)
{
	struct world world;
	struct audit audit;
	struct stat_key key;
	struct stat st;

	(void)state;
	begin(&world);
	assert_int_equal(stat(world.paths[0], &st), 0);
	key = stat_key_of(&st);
	known_add(&world.known, &key, &world.artifacts[0].digest, key.ctime_ns);
	verify(&world, AUDIT_QUICK, &audit);
	check("quick", &audit, world.paths[0], NULL);
	verify(&world, AUDIT_NORMAL, &audit);
	check("normal", &audit, world.paths[0], NULL);
	assert_int_equal(audit.files, 1);
	end(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_levels),
		cmocka_unit_test(only_reading_finds_it),
		cmocka_unit_test(too_young_to_be_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
