#include "rules.h"

#include "child.h"
#include "service_internal.h"

const struct rule *const all_rules[] = {
	&host_rule,
	&directory_rule,
	&download_rule,
	&model_rule,
	&image_rule,
	&preflight_rule,
	&service_rule,
	&validate_rule,
	&command_rule,
	NULL,
};

bool
rules_tidy(const char *state_dir, int64_t grace_ms, struct arena *arena, struct error *err)
{
	return child_clear(state_dir, grace_ms, arena, err) && service_cut_logs(state_dir, arena, err);
}

void
rules_leave(const char *state_dir, struct arena *arena)
{
	child_forget(state_dir, arena);
}

bool
rules_must_tidy(const char *state_dir, struct arena *arena)
{
	return child_any_left(state_dir, arena);
}
