/* help.h - help as it is printed, from the tables of commands and options. */
#pragma once

#include "session.h"

struct command;

/* 15 lines: what this is, and where to go on. */
void help_brief(struct session *session);

/* All commands, or one. */
void help_all(struct session *session);
void help_one(struct session *session, const struct command *command);
