/* rules.h - the table of all kinds: the place to read what exists. */
#pragma once

#include "engine/rule.h"

extern const struct rule host_rule, directory_rule, download_rule, model_rule, image_rule, preflight_rule, service_rule, validate_rule, command_rule;

/* Ends with NULL. */
extern const struct rule *const all_rules[];
