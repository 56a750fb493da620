#include "event.h"

static const char *const reason_ids[REASON_COUNT] = {
	[REASON_NONE] = "up_to_date",
	[REASON_NEVER_BUILT] = "never_built",
	[REASON_ASKED_FOR] = "asked_for",
	[REASON_INPUT_CHANGED] = "input_changed",
	[REASON_PARAMETER_CHANGED] = "parameter_changed",
	[REASON_UPSTREAM_MOVED] = "upstream_moved",
	[REASON_OUTPUT_MISSING] = "output_missing",
	[REASON_OUTPUT_DIFFERS] = "output_differs",
	[REASON_DEPENDENCY] = "dependency_will_change",
	[REASON_NEED_MENDED] = "need_mended",
	[REASON_RULE_VERSION] = "rule_version_changed",
	[REASON_CONTAINER_GONE] = "container_gone",
	[REASON_CONTAINER_NOT_OURS] = "container_not_ours",
	[REASON_UNKNOWN_UNTIL] = "unknown_until",
	[REASON_NOT_WANTED] = "not_in_the_manifest",
};

static const char *const result_ids[] = {
	[RESULT_OK] = "ok",
	[RESULT_SAME] = "same",
	[RESULT_FAILED] = "failed",
	[RESULT_SKIPPED] = "skipped",
	[RESULT_INTERRUPTED] = "interrupted",
};

const char *
reason_id(enum reason reason)
{
	return reason_ids[reason];
}

const char *
result_id(enum result result)
{
	return result_ids[result];
}
