/* Plain progress: one line per event. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/report/out.h"
#include "cli/report/text.h"
#include "engine/record.h"

/* What is said of an event, without the time of day. */
static void
expect(const struct event *event, const char *expected)
{
	struct text_report report = { .out = &(struct out){ 0 } };
	char got[500] = "";
	ssize_t size;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	out_init(report.out, ends[1], CHOICE_NEVER, true);
	if (event->kind == EVENT_ENDED)
		text_event(&report, &(struct event){ .kind = EVENT_STARTED, .target = event->target, .removes = event->removes, .reason = event->reason });
	text_event(&report, event);
	text_finish(&report);
	out_finish(report.out);
	close(ends[1]);
	size = read(ends[0], got, sizeof got - 1);
	close(ends[0]);
	assert_true(size > 9);
	got[size - 1] = '\0';
	assert_string_equal(strrchr(got, '\n') ? strrchr(got, '\n') + 10 : got + 9, expected);
}

static void
says(void **state)
{
	const struct record ready = { .summary = "1 instance at http://127.0.0.1:8000/v1, ready in 0.8 s" };
	const struct record file = { .summary = "1 output, 8 B" };

	(void)state;
	expect(&(struct event){ .kind = EVENT_STARTED, .target = "a", .reason = REASON_NEVER_BUILT, .total_count = 2 }, "[0/2] a: start, never built");
	expect(&(struct event){ .kind = EVENT_STARTED, .target = "a", .reason = REASON_ASKED_FOR, .removes = true, .total_count = 2 },
		"[0/2] a: removing");
	expect(&(struct event){ .kind = EVENT_ENDED, .target = "a", .reason = REASON_ASKED_FOR, .removes = true, .record = &file, .done_count = 1,
		.total_count = 2 }, "[1/2] a: removed");
	expect(&(struct event){ .kind = EVENT_ENDED, .target = "a", .record = &file, .duration = 1200, .done_count = 1, .total_count = 1 },
		"[1/1] a: 1 output, 8 B in 1.2 s");
	expect(&(struct event){ .kind = EVENT_ENDED, .target = "s", .record = &ready, .duration = 900, .done_count = 1, .total_count = 1 },
		"[1/1] s: 1 instance at http://127.0.0.1:8000/v1, ready in 0.8 s");
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(says) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
