#include "rules.h"

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
