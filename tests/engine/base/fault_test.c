#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/fault.h"

static size_t
sentences(const char *text)
{
	size_t count = 0;

	for (const char *at = text; *at; at++)
		count += (*at == '.' || *at == '?' || *at == ':') && (at[1] == ' ' || at[1] == '\n' || !at[1]);
	return count;
}

static void
every_row_is_complete(void **state)
{
	(void)state;
	for (enum fault fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++) {
		const struct fault_row *row = fault_row(fault);

		if (!row->code || !row->title || !row->text)
			fail_msg("fault %d has an empty row", (int)fault);
		if (strlen(row->code) != 5 || !strchr("EW", row->code[0]) || strspn(row->code + 1, "0123456789") != 4)
			fail_msg("`%s` is no code", row->code);
		if ((row->code[0] == 'W') != (row->status == STATUS_OK))
			fail_msg("%s: only a warning may end well", row->code);
		if (strlen(row->title) < 8 || strlen(row->title) > 72 || isupper((unsigned char)row->title[0]) || strchr(row->title, '\n'))
			fail_msg("%s: the title `%s`", row->code, row->title);
		if (sentences(row->text) < 3 || strlen(row->text) < 250)
			fail_msg("%s: the text explains nothing", row->code);
		if (strstr(row->text, "  ") && !strstr(row->text, "\n  "))
			fail_msg("%s: two spaces in a sentence", row->code);
		for (const char *at = row->text; *at; at++)
			if ((unsigned char)*at >= 0x80 || (*at == ' ' && at[1] == '\n'))
				fail_msg("%s: a space at the end of a line, or no ASCII, at `%.20s`", row->code, at);
	}
}

static void
codes_are_found_again_and_unique(void **state)
{
	(void)state;
	for (enum fault fault = FAULT_NONE + 1; fault < FAULT_COUNT; fault++) {
		char lower[8];

		snprintf(lower, sizeof lower, "%s", fault_row(fault)->code);
		assert_int_equal(fault_find(lower), fault);
		lower[0] = (char)tolower((unsigned char)lower[0]);
		assert_int_equal(fault_find(lower), fault);
	}
	assert_int_equal(fault_find("E0000"), FAULT_NONE);
	assert_int_equal(fault_find("E1234"), FAULT_NONE);
	assert_int_equal(fault_find(""), FAULT_NONE);
	assert_int_equal(fault_find("E04011"), FAULT_NONE);
	assert_int_equal(fault_find("W0401"), FAULT_NONE);
	assert_ptr_equal(fault_row(FAULT_COUNT), fault_row(FAULT_INTERNAL));
	assert_ptr_equal(fault_row((enum fault)(FAULT_COUNT + 5)), fault_row(FAULT_INTERNAL));
}

/* All of the contract, written down a second time: a code is never reused. */
static void
codes_statuses_and_classes(void **state)
{
	static const struct {
		const char *code;
		enum fault fault;
		int status;
		enum failure_class class;
	} cases[] = {
		{ "E0001", FAULT_USAGE, 64, 0 }, { "E0002", FAULT_NO_SUCH_TARGET, 64, 0 },
		{ "E0101", FAULT_SYNTAX, 65, 0 }, { "E0102", FAULT_UNKNOWN_KEY, 65, 0 }, { "E0103", FAULT_BAD_VALUE, 65, 0 },
		{ "E0104", FAULT_MISSING_KEY, 65, 0 }, { "E0105", FAULT_DUPLICATE_KEY, 65, 0 }, { "E0106", FAULT_TOO_LARGE, 65, 0 },
		{ "E0107", FAULT_ENCODING, 65, 0 }, { "E0108", FAULT_FORMAT_VERSION, 65, 0 }, { "E0109", FAULT_UNKNOWN_RULE, 65, 0 },
		{ "E0110", FAULT_UNDEFINED, 65, 0 }, { "E0111", FAULT_REFERENCE, 65, 0 }, { "E0112", FAULT_EXTENDS, 65, 0 },
		{ "E0113", FAULT_BAD_NAME, 65, 0 }, { "E0114", FAULT_SECRET_IN_TEXT, 65, 0 }, { "E0115", FAULT_CONFLICT, 65, 0 },
		{ "E0116", FAULT_FALLBACK, 65, 0 },
		{ "E0201", FAULT_CYCLE, 65, 0 }, { "E0202", FAULT_UNKNOWN_TARGET, 65, 0 }, { "E0203", FAULT_UNKNOWN_OUTPUT, 65, 0 },
		{ "E0204", FAULT_TWO_MAKERS, 65, 0 },
		{ "E0301", FAULT_NOT_FOUND, 66, 0 }, { "E0302", FAULT_INPUT_CHANGED, 1, 0 }, { "E0303", FAULT_CHECKSUM_LIST, 65, 0 },
		{ "E0304", FAULT_UNSAFE_DIRECTORY, 77, 0 },
		{ "E0401", FAULT_INFEASIBLE, 3, CLASS_INFEASIBLE }, { "E0402", FAULT_MEMORY, 3, CLASS_INFEASIBLE },
		{ "E0403", FAULT_TOO_FEW_GPUS, 3, CLASS_INFEASIBLE }, { "W0404", FAULT_MODEL_UNKNOWN, 0, 0 },
		{ "E0405", FAULT_RESERVED_GPU, 3, CLASS_INFEASIBLE }, { "W0406", FAULT_TIGHT, 0, 0 }, { "W0407", FAULT_MODEL_CODE, 0, 0 },
		{ "W0408", FAULT_QUANTISED, 0, 0 }, { "E0409", FAULT_IMAGE_DISAGREES, 3, CLASS_INFEASIBLE }, { "W0410", FAULT_IMAGE_UNASKED, 0, 0 },
		{ "E0501", FAULT_NO_DRIVER, 4, CLASS_HOST }, { "E0502", FAULT_GPU_COUNT, 4, CLASS_HOST }, { "E0503", FAULT_GPU_KIND, 4, CLASS_HOST },
		{ "E0504", FAULT_DRIVER_VERSION, 4, CLASS_HOST }, { "E0505", FAULT_CUDA_VERSION, 4, CLASS_HOST },
		{ "E0506", FAULT_GPU_BUSY, 4, CLASS_HOST }, { "E0507", FAULT_DISK, 4, CLASS_HOST }, { "E0508", FAULT_PORT, 4, CLASS_HOST },
		{ "E0509", FAULT_HUB_UNREACHABLE, 4, CLASS_HOST }, { "E0510", FAULT_NO_COMMAND, 4, CLASS_HOST },
		{ "E0511", FAULT_NO_ENGINE, 69, CLASS_HOST }, { "E0512", FAULT_ENGINE_GPUS, 4, CLASS_HOST },
		{ "E0513", FAULT_ENGINE_VERSION, 4, CLASS_HOST }, { "E0514", FAULT_P2P, 4, CLASS_HOST }, { "E0515", FAULT_HOST_IN_LOG, 4, CLASS_HOST },
		{ "E0601", FAULT_NETWORK, 69, 0 }, { "E0602", FAULT_HUB_NOT_FOUND, 66, 0 }, { "E0603", FAULT_HUB_DENIED, 77, 0 },
		{ "E0604", FAULT_RATE_LIMIT, 69, 0 }, { "E0605", FAULT_PROTOCOL, 69, 0 }, { "E0606", FAULT_DIGEST, 1, 0 },
		{ "E0607", FAULT_HOSTILE_NAME, 69, 0 }, { "E0608", FAULT_NO_DIGEST, 69, 0 }, { "E0609", FAULT_NO_SPACE, 73, 0 },
		{ "E0610", FAULT_INSECURE, 65, 0 }, { "E0611", FAULT_CODE_REFUSED, 65, 0 }, { "E0612", FAULT_NOT_OURS, 73, 0 },
		{ "E0613", FAULT_NO_MATCH, 66, 0 }, { "E0614", FAULT_OFFLINE, 69, 0 }, { "E0615", FAULT_NOT_THERE, 5, 0 },
		{ "E0701", FAULT_ENGINE, 69, 0 }, { "E0702", FAULT_BUILD, 1, 0 }, { "E0703", FAULT_NO_IMAGE, 1, 0 },
		{ "W0801", FAULT_OPEN_PORT, 0, 0 }, { "E0802", FAULT_NOT_READY, 1, CLASS_START_FAILED }, { "E0803", FAULT_START, 1, CLASS_START_FAILED },
		{ "E0804", FAULT_NOT_ACCEPTED, 1, CLASS_NOT_ACCEPTED }, { "E0805", FAULT_PORT_HELD, 4, CLASS_HOST },
		{ "E0806", FAULT_GPU_HELD, 4, CLASS_HOST }, { "E0807", FAULT_COMMAND, 1, 0 }, { "E0808", FAULT_TIME_LIMIT, 1, 0 },
		{ "E0809", FAULT_OUT_OF_MEMORY, 1, CLASS_OUT_OF_MEMORY }, { "E0810", FAULT_NOT_STOPPED, 1, 0 }, { "W0802", FAULT_SECRET_VISIBLE, 0, 0 },
		{ "E0901", FAULT_LOCKED, 75, 0 }, { "E0902", FAULT_DATABASE, 74, 0 }, { "E0903", FAULT_NO_LOCKS, 74, 0 },
		{ "E0904", FAULT_NEWER_DATABASE, 74, 0 }, { "E0905", FAULT_IO, 74, 0 }, { "E0906", FAULT_CANNOT_CREATE, 73, 0 },
		{ "E0907", FAULT_PERMISSION, 77, 0 }, { "E0908", FAULT_NO_RECORD, 64, 0 }, { "E0909", FAULT_DECLINED, 7, 0 },
		{ "E0910", FAULT_INTERRUPTED, 130, 0 }, { "E0911", FAULT_MISMATCH, 5, 0 }, { "E0999", FAULT_INTERNAL, 70, 0 },
	};

	(void)state;
	assert_int_equal(sizeof cases / sizeof *cases, FAULT_COUNT - 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct fault_row *row = fault_row(cases[i].fault);

		if (strcmp(row->code, cases[i].code) != 0 || (int)row->status != cases[i].status || row->class != cases[i].class)
			fail_msg("%s is now %s, %d, %d", cases[i].code, row->code, (int)row->status, (int)row->class);
	}
}

static void
classes_have_the_words_of_the_manifest(void **state)
{
	static const char *const names[] = { NULL, "infeasible", "host", "out_of_memory", "start_failed", "not_accepted" };

	(void)state;
	assert_null(failure_class_name(CLASS_NONE));
	for (size_t i = 1; i < sizeof names / sizeof *names; i++)
		assert_string_equal(failure_class_name((enum failure_class)i), names[i]);
}

static void
the_worse_status_stands_for_both(void **state)
{
	/* From the worst down; equal letters are of equal rank. */
	static const struct {
		int status;
		char rank;
	} order[] = {
		{ 143, 'a' }, { 130, 'a' }, { 70, 'b' }, { 64, 'c' }, { 65, 'c' }, { 66, 'c' }, { 3, 'd' }, { 4, 'e' }, { 75, 'f' },
		{ 7, 'g' }, { 69, 'h' }, { 73, 'i' }, { 74, 'i' }, { 77, 'i' }, { 1, 'j' }, { 5, 'k' }, { 6, 'l' }, { 2, 'm' }, { 0, 'n' },
	};

	(void)state;
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		for (size_t k = 0; k < sizeof order / sizeof *order; k++) {
			int worse = (int)status_worse((enum status)order[i].status, (enum status)order[k].status);
			int expected = order[k].rank < order[i].rank ? order[k].status : order[i].status;

			if (worse != expected)
				fail_msg("of %d and %d: %d, not %d", order[i].status, order[k].status, worse, expected);
		}
}

static void
the_administrator_gets_all_that_is_needed(void **state)
{
	static const char *const parts[] = {
		"nvidia-container-toolkit", "nvidia-ctk runtime configure --runtime=docker", "systemctl restart docker", "nvidia-ctk cdi generate",
		"live-restore", "nvidia-smi -L", "administrator",
	};
	const char *text = fault_row(FAULT_ENGINE_GPUS)->text;

	(void)state;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		if (!strstr(text, parts[i]))
			fail_msg("E0512 lacks `%s`", parts[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_complete),
		cmocka_unit_test(codes_are_found_again_and_unique),
		cmocka_unit_test(codes_statuses_and_classes),
		cmocka_unit_test(classes_have_the_words_of_the_manifest),
		cmocka_unit_test(the_worse_status_stands_for_both),
		cmocka_unit_test(the_administrator_gets_all_that_is_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
