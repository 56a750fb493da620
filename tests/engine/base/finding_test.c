#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/finding.h"

static void
findings_are_kept_in_order(void **state)
{
	struct arena arena = { 0 };
	struct findings findings;
	char word[8] = "first";

	(void)state;
	findings_init(&findings, &arena);
	assert_int_equal(findings.count, 0);
	for (int i = 0; i < 100; i++) {
		struct finding *finding = findings_add(&findings, FAULT_GPU_COUNT, (struct place){ "a.yaml", (uint32_t)i, 1, 0 }, "%s %d", word, i);

		finding_note(&findings, finding, "note %d", i);
		finding_help(&findings, finding, "help %d", i);
		finding_label(&findings, finding, "label %d", i);
	}
	/* The words are copies. */
	word[0] = 'x';
	assert_int_equal(findings.count, 100);
	assert_string_equal(findings.items[7].text, "first 7");
	assert_string_equal(findings.items[7].label, "label 7");
	assert_string_equal(findings.items[7].notes[0], "note 7");
	assert_null(findings.items[7].notes[1]);
	assert_string_equal(findings.items[7].helps[0], "help 7");
	assert_null(findings.items[7].helps[1]);
	assert_int_equal(findings.items[7].at.line, 7);
	assert_null(findings.items[7].data);
	arena_finish(&arena);
}

static void
lists_end_with_null(void **state)
{
	struct arena arena = { 0 };
	struct findings findings;
	struct finding *finding;

	(void)state;
	findings_init(&findings, &arena);
	finding = findings_add(&findings, FAULT_DISK, (struct place){ 0 }, "full");
	for (int i = 0; i < 20; i++) {
		finding_note(&findings, finding, "%d", i);
		finding_help(&findings, finding, "%d", i);
	}
	assert_string_equal(finding->notes[0], "0");
	assert_string_equal(finding->notes[4], "4");
	assert_null(finding->notes[5]);
	assert_string_equal(finding->helps[4], "4");
	assert_null(finding->helps[5]);
	arena_finish(&arena);
}

static void
an_error_becomes_a_finding(void **state)
{
	struct arena arena = { 0 };
	struct findings findings;
	struct error err = { 0 };
	const struct finding *finding;

	(void)state;
	findings_init(&findings, &arena);
	fail_at(&err, (struct place){ "a.yaml", 3, 4, 5 }, FAULT_PORT, "port 8000 is 100%% in use");
	finding = findings_add_error(&findings, &err);
	assert_null(finding->label);
	assert_null(finding->helps[0]);
	error_label(&err, "held by nginx");
	error_hint(&err, "choose another");
	finding = findings_add_error(&findings, &err);
	err.text[0] = err.label[0] = err.hint[0] = 'X';
	assert_int_equal(finding->fault, FAULT_PORT);
	assert_string_equal(finding->text, "port 8000 is 100% in use");
	assert_string_equal(finding->label, "held by nginx");
	assert_string_equal(finding->helps[0], "choose another");
	assert_int_equal(finding->at.column, 4);
	arena_finish(&arena);
}

static void
only_errors_that_are_no_advice_refuse(void **state)
{
	static const struct {
		enum fault fault;
		bool advice;
		bool refuses;
	} cases[] = {
		{ FAULT_TIGHT, false, false }, { FAULT_P2P, true, false }, { FAULT_P2P, false, true }, { FAULT_TIGHT, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena arena = { 0 };
		struct findings findings;

		findings_init(&findings, &arena);
		assert_false(findings_refuse(&findings));
		findings_add(&findings, FAULT_MODEL_UNKNOWN, (struct place){ 0 }, "a warning");
		findings_add(&findings, cases[i].fault, (struct place){ 0 }, "this")->advice = cases[i].advice;
		findings_add(&findings, FAULT_OPEN_PORT, (struct place){ 0 }, "a warning");
		assert_int_equal(findings_refuse(&findings), cases[i].refuses);
		arena_finish(&arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(findings_are_kept_in_order),
		cmocka_unit_test(lists_end_with_null),
		cmocka_unit_test(an_error_becomes_a_finding),
		cmocka_unit_test(only_errors_that_are_no_advice_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
