/* image_check.h - what the rule `image` asks of its parameters beyond their types. Pure. */
#pragma once

#include <stdbool.h>

struct errors;
struct task;

/* The verb `validate` of the rule. */
void image_validate(const void *spec, struct task *task, struct errors *errors);

/* `NAME[:TAG][@sha256:DIGEST]` as the distribution project writes it: lower case, and never an option by mistake. */
bool image_is_reference(const char *text, bool may_have_digest);
