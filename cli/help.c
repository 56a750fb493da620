#include "help.h"

#include <ctype.h>
#include <string.h>

#include "commands.h"
#include "report/width.h"

#define NAME_COLUMNS 11
#define OPTION_COLUMNS 30
#define LINE_COLUMNS 80

void
help_brief(struct session *session)
{
	static const enum command_id main_ones[] = { COMMAND_PLAN, COMMAND_APPLY, COMMAND_STATUS, COMMAND_WHY,
		COMMAND_AUDIT };

	out_text(&session->out,
		"provision: make for GPU servers. A manifest names what a model-serving host\n"
		"must have; only what is stale is built, in order, and all of it is recorded.\n"
		"\n"
		"  provision plan manifests/tp3.yaml      what would happen, and why\n"
		"  provision apply manifests/tp4.yaml     do it\n"
		"\n"
		"Commands:\n");
	for (size_t i = 0; i < sizeof main_ones / sizeof *main_ones; i++)
		for (const struct command *command = command_table; command->name; command++)
			if (command->id == main_ones[i])
				out_printf(&session->out, "  %-*s%s\n", NAME_COLUMNS, command->name, command->about);
	out_text(&session->out,
		"\n"
		"provision help             all commands and options\n"
		"provision help COMMAND     one command, with examples\n");
}

static void
show_option(struct out *out, const struct option *option)
{
	char letter[] = "    ";
	size_t used;

	if (option->letter) {
		letter[0] = '-';
		letter[1] = option->letter;
		letter[2] = ',';
	}
	out_printf(out, "  %s--%s", letter, option->name);
	used = 2 + 4 + 2 + strlen(option->name);
	if (option->argument) {
		out_printf(out, " %s", option->argument);
		used += 1 + width_of(option->argument);
	}
	if (used + 2 > OPTION_COLUMNS) {
		out_text(out, "\n");
		used = 0;
	}
	out_pad(out, OPTION_COLUMNS - used);
	out_text(out, option->about);
	if (option->fallback) {
		size_t width = OPTION_COLUMNS + width_of(option->about) + strlen(option->fallback) + 3;

		if (width > LINE_COLUMNS) {
			out_text(out, "\n");
			out_pad(out, OPTION_COLUMNS - 1);
		}
		out_printf(out, " (%s)", option->fallback);
	}
	out_text(out, "\n");
}

static void
show_options(struct session *session, const char *title,
	bool (*wanted)(const struct option *option, const struct command *command), const struct command *command)
{
	bool any = false;

	for (const struct option *option = option_table; option->name; option++) {
		if (!wanted(option, command))
			continue;
		if (!any)
			out_printf(&session->out, "\n%s:\n", title);
		any = true;
		show_option(&session->out, option);
	}
}

static bool
is_shared(const struct option *option, const struct command *command)
{
	(void)command;
	return option->commands == 0;
}

static bool
is_of_command(const struct option *option, const struct command *command)
{
	return (option->commands & COMMAND_BIT(command->id)) != 0;
}

void
help_one(struct session *session, const struct command *command)
{
	out_printf(&session->out, "Usage: provision %s%s%s [OPTION...]\n\n%c%s.\n", command->name,
		*command->operands ? " " : "", command->operands, toupper((unsigned char)*command->about), command->about + 1);
	out_text(&session->out, "\nExamples:\n");
	for (size_t i = 0; i < sizeof command->examples / sizeof *command->examples && command->examples[i]; i++)
		out_printf(&session->out, "  %s\n", command->examples[i]);
	if (command->text)
		out_printf(&session->out, "\n%s\n", command->text);
	show_options(session, "Options", is_of_command, command);
	show_options(session, "Options of all commands", is_shared, command);
}

void
help_all(struct session *session)
{
	out_text(&session->out, "Usage: provision COMMAND [OPERAND...] [OPTION...]\n\nCommands:\n");
	for (const struct command *command = command_table; command->name; command++)
		out_printf(&session->out, "  %-*s%s\n", NAME_COLUMNS, command->name, command->about);
	show_options(session, "Options of all commands", is_shared, NULL);
	out_text(&session->out,
		"\n"
		"The manifest is the operand, PROVISION_MANIFEST, ./provision.yaml, or the one\n"
		"applied last. provision help COMMAND shows one command; provision rules, the\n"
		"kinds of targets; provision explain CODE, what a diagnostic means.\n");
}

int
command_help(struct session *session)
{
	const struct strings *operands = &session->options.operands;
	const struct command *command = operands->count > 0 ? command_find(operands->items[0]) : NULL;
	struct error err = { 0 };
	const char *near;

	if (operands->count == 0) {
		help_all(session);
		return STATUS_OK;
	}
	if (command) {
		help_one(session, command);
		return STATUS_OK;
	}
	near = command_suggest(operands->items[0]);
	fail(&err, FAULT_USAGE, "there is no command `%s`", operands->items[0]);
	if (near)
		error_hint(&err, "did you mean `%s`?", near);
	else
		error_hint(&err, "`provision help` lists the commands");
	return (int)session_fail(session, &err, NULL);
}
