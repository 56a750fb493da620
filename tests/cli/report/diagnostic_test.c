#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "cli/report/diagnostic.h"
#include "cli/report/out.h"
#include "engine/base/arena.h"
#include "engine/base/json.h"
#include "engine/manifest.h"

#define FILE_NAME "manifests/tp3.yaml"

struct row {
	const char *name;
	const char *text;         /* of the manifest */
	struct place at;
	const char *message;
	const char *label;
	const char *note;
	const char *help;
	bool covered;
	const char *human;
	const char *brief;
	const char *github;
};

static const struct row rows[] = {
	{
		.name = "unknown key",
		.text = "a: 1\n    contaner_port: 8000\n",
		.at = { FILE_NAME, 2, 5, 13 },
		.message = "unknown key `contaner_port` in target `service` (rule: service)",
		.label = "unknown key",
		.help = "did you mean `container_port`?",
		.human = "error[E0102]: unknown key `contaner_port` in target `service` (rule: service)\n"
			 "  --> manifests/tp3.yaml:2:5\n"
			 "   |\n"
			 " 2 |     contaner_port: 8000\n"
			 "   |     ^^^^^^^^^^^^^ unknown key\n"
			 "   |\n"
			 "   = help: did you mean `container_port`?\n",
		.brief = "manifests/tp3.yaml:2:5: error[E0102]: unknown key `contaner_port` in target `service` (rule: "
			 "service)\n",
		.github = "::error file=manifests/tp3.yaml,line=2,col=5,title=E0102::unknown key `contaner_port` in "
			  "target `service` "
			  "(rule: service); help: did you mean `container_port`?\n",
	},
	{
		.name = "wide characters",
		.text = "    ready: {path: /健康, timeot: 15m}",
		.at = { FILE_NAME, 1, 24, 6 },
		.message = "unknown key `timeot` in `ready`",
		.label = "unknown key",
		.human = "error[E0102]: unknown key `timeot` in `ready`\n"
			 "  --> manifests/tp3.yaml:1:24\n"
			 "   |\n"
			 " 1 |     ready: {path: /健康, timeot: 15m}\n"
			 "   |                          ^^^^^^ unknown key\n",
	},
	{
		.name = "a tab before the place, and an escape in the line",
		.text = "x:\ty \x1b[2J z\n",
		.at = { FILE_NAME, 1, 11, 1 },
		.message = "say \x1b[31mred",
		.human = "error[E0102]: say \\x1b[31mred\n"
			 "  --> manifests/tp3.yaml:1:11\n"
			 "   |\n"
			 " 1 | x:  y \\x1b[2J z\n"
			 "   |               ^\n",
	},
	{
		.name = "a secret in the line is masked, and the caret stays right",
		.text = "    token: abcdefghijklmnop  # here",
		.at = { FILE_NAME, 1, 30, 1 },
		.message = "m",
		.human = "error[E0102]: m\n"
			 "  --> manifests/tp3.yaml:1:30\n"
			 "   |\n"
			 " 1 |     token: ********  # here\n"
			 "   |                      ^\n",
	},
	{
		.name = "a known kind of secret is masked wherever it stands",
		.text = "  x: \"hf_abcdefghijklmnopqrstuvwxyzABCDEFGH\"",
		.at = { FILE_NAME, 1, 3, 1 },
		.message = "m",
		.human = "error[E0102]: m\n"
			 "  --> manifests/tp3.yaml:1:3\n"
			 "   |\n"
			 " 1 |   x: \"********\"\n"
			 "   |   ^\n",
	},
	{
		.name = "the name of a secret is no secret",
		.text = "  token: {env: HF_TOKEN}",
		.at = { FILE_NAME, 1, 3, 5 },
		.message = "m",
		.human = "error[E0102]: m\n"
			 "  --> manifests/tp3.yaml:1:3\n"
			 "   |\n"
			 " 1 |   token: {env: HF_TOKEN}\n"
			 "   |   ^^^^^\n",
	},
	{
		.name = "behind the end of the line",
		.text = "a:\r\nb\n",
		.at = { FILE_NAME, 1, 9, 3 },
		.message = "m",
		.human = "error[E0102]: m\n"
			 "  --> manifests/tp3.yaml:1:9\n"
			 "   |\n"
			 " 1 | a:\n"
			 "   |   ^\n",
	},
	{
		.name = "a line that the source does not have",
		.text = "a: 1\n",
		.at = { FILE_NAME, 7, 1, 1 },
		.message = "m",
		.human = "error[E0102]: m\n  --> manifests/tp3.yaml:7:1\n",
	},
	{
		.name = "nowhere, with a note of two lines",
		.message = "m",
		.label = "l",
		.note = "one\ntwo",
		.human = "error[E0102]: m\n   = note: l\n   = note: one\n           two\n",
		.brief = "error[E0102]: m\n",
		.github = "::error title=E0102::m\n",
	},
	{
		.name = "covered by a fallback",
		.message = "50%: a,b",
		.covered = true,
		.human = "warning[E0102]: 50%: a,b; fallback 1 covers it\n",
		.github = "::warning title=E0102::50%25: a,b\n",
	},
};

struct bench {
	struct arena arena;
	struct sources sources;
	struct findings findings;
	struct diagnostic diagnostic;
};

static void
set_up(struct bench *bench, const struct row *row)
{
	struct finding *finding;

	memset(bench, 0, sizeof *bench);
	arena_init(&bench->arena);
	bench->sources.arena = &bench->arena;
	bench->sources.cwd = "/";
	if (row->text)
		sources_add_text(&bench->sources, FILE_NAME, row->text, strlen(row->text));
	findings_init(&bench->findings, &bench->arena);
	finding = findings_add(&bench->findings, FAULT_UNKNOWN_KEY, row->at, "%s", row->message);
	if (row->label)
		finding_label(&bench->findings, finding, "%s", row->label);
	if (row->note)
		finding_note(&bench->findings, finding, "%s", row->note);
	if (row->help)
		finding_help(&bench->findings, finding, "%s", row->help);
	bench->diagnostic = (struct diagnostic){ .finding = finding, .sources = &bench->sources, .covered = row->covered,
		.aside = row->covered ? "fallback 1 covers it" : NULL };
}

static void
expect(const struct bench *bench, enum diagnostic_form form, const char *wanted)
{
	struct out out;

	if (!wanted)
		return;
	out_init_memory(&out);
	diagnostic_print(&out, form, &bench->diagnostic);
	assert_string_equal(out_held(&out), wanted);
	out_finish(&out);
}

static void
prints_every_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct bench bench;

		print_message("%s\n", rows[i].name);
		set_up(&bench, &rows[i]);
		expect(&bench, DIAGNOSTIC_HUMAN, rows[i].human);
		expect(&bench, DIAGNOSTIC_SHORT, rows[i].brief);
		expect(&bench, DIAGNOSTIC_GITHUB, rows[i].github);
		arena_finish(&bench.arena);
	}
}

/* Byte offsets are of the source, whatever the line looks like on screen. */
static void
json_has_bytes(void **state)
{
	const struct row row = {
		.text = "a: 1\n\t健: token: abcdefgh, x: y\n",
		.at = { FILE_NAME, 2, 22, 1 },
		.message = "bad \xff byte",
	};
	struct bench bench;
	json_t *value;
	const json_t *span;
	int64_t number;

	(void)state;
	set_up(&bench, &row);
	value = diagnostic_json(&bench.diagnostic);
	span = json_array_get(json_object_get(value, "spans"), 0);
	assert_string_equal(json_string_value(json_object_get(value, "code")), "E0102");
	assert_string_equal(json_string_value(json_object_get(value, "level")), "error");
	assert_string_equal(json_string_value(json_object_get(value, "msg")), "bad \\xff byte");
	assert_non_null(span);
	assert_true(json_int_at(span, "byte", &number));
	assert_int_equal(number, (int64_t)(strstr(row.text, "x: y") - row.text));
	assert_true(json_int_at(span, "byte_end", &number));
	assert_int_equal(number, (int64_t)(strstr(row.text, "x: y") - row.text) + 1);
	assert_non_null(strstr(json_string_value(json_object_get(value, "rendered")), "********"));
	assert_null(strstr(json_string_value(json_object_get(value, "rendered")), "abcdefgh"));
	json_decref(value);
	arena_finish(&bench.arena);
}

/* A line of a megabyte is cut around the caret. */
static void
long_lines_are_cut(void **state)
{
	static char text[1000001];
	const struct row row = { .text = text, .at = { FILE_NAME, 1, 500000, 3 }, .message = "m" };
	struct bench bench;
	struct out out;
	const char *line, *carets;

	(void)state;
	memset(text, 'a', sizeof text - 1);
	memcpy(text + 499999, "XYZ", 3);
	set_up(&bench, &row);
	out_init_memory(&out);
	diagnostic_print(&out, DIAGNOSTIC_HUMAN, &bench.diagnostic);
	assert_true(strlen(out_held(&out)) < 1000);
	line = strstr(out_held(&out), " 1 | ");
	carets = strstr(out_held(&out), "^^^");
	assert_non_null(line);
	assert_non_null(carets);
	assert_int_equal(strstr(line, "XYZ") - line, carets - (strrchr(out_held(&out), '|') - 3));
	out_finish(&out);
	arena_finish(&bench.arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_every_form),
		cmocka_unit_test(json_has_bytes),
		cmocka_unit_test(long_lines_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
