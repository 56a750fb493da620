/* rules.h - the table of all kinds: the place to read what exists. */
#pragma once

#include "engine/rule.h"

extern const struct rule host_rule, directory_rule, download_rule, model_rule, image_rule, preflight_rule, service_rule, validate_rule, command_rule;

/* For who holds the project's lock. Before a run that may change something: end what killed runs left running, and cut logs that have grown too long. */
bool rules_tidy(const char *state_dir, int64_t grace_ms, struct arena *arena, struct error *err);

/* After it: what has ended need not be looked for by the next one. */
void rules_leave(const char *state_dir, struct arena *arena);

/* Whether something may still run that must not: not the moment to say that nothing is to be done. */
bool rules_must_tidy(const char *state_dir, struct arena *arena);

/* Ends with NULL. */
extern const struct rule *const all_rules[];
