/* ask.h - one question on the terminal. */
#pragma once

#include "session.h"

/* Whether people watch: a terminal on both ends, and nothing that forbids prompts. */
bool ask_possible(const struct session *session);

/* Only `y` and `yes` are yes. False: no, or nobody could be asked; `*asked` tells which. */
bool ask_user(struct session *session, const char *question, bool *asked);
