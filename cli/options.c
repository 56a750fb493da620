#include "options.h"

#include <string.h>

#include "commands.h"
#include "engine/base/arena.h"
#include "engine/base/suggest.h"
#include "engine/base/units.h"
#include "engine/manifest.h"

static bool
takes_value(const struct option *option)
{
	return option->argument != NULL;
}

static const struct option *
find_long(const char *name, size_t length)
{
	for (const struct option *option = option_table; option->name; option++)
		if (strlen(option->name) == length && memcmp(option->name, name, length) == 0)
			return option;
	return NULL;
}

static const struct option *
find_letter(char letter)
{
	for (const struct option *option = option_table; option->name; option++)
		if (option->letter && option->letter == letter)
			return option;
	return NULL;
}

static bool
unknown_option(const char *name, size_t length, struct arena *arena, struct error *err)
{
	const char *word = arena_copy_bytes(arena, name, length);
	const char *near = NULL;

	for (const struct option *option = option_table; option->name; option++)
		near = suggest_better(word, near, option->name);
	fail(err, FAULT_USAGE, "unknown option `--%s`", word);
	/* `--version` and the like, as other programs have them. */
	if (!near && command_find(word))
		return error_hint(err, "it is a command: provision %s", word);
	return near ? error_hint(err, "did you mean `--%s`?", near) : false;
}

static bool
set_choice(const struct option *option, int *field, const char *value, struct error *err)
{
	for (int i = 0; option->choices[i]; i++)
		if (strcmp(option->choices[i], value) == 0) {
			*field = i;
			return true;
		}
	return fail(err, FAULT_USAGE, "`--%s` is one of %s, not `%s`", option->name, option->argument, value);
}

static bool
set_number(const struct option *option, int64_t *field, const char *value, struct error *err)
{
	bool is_time = option->kind == OPTION_DURATION;
	int64_t number;

	if (is_time ? !units_duration(value, &number) : !units_int(value, &number)) {
		fail(err, FAULT_USAGE, "`--%s` wants %s, not `%s`", option->name, is_time ? "a duration" : "a number",
			value);
		return is_time ? error_hint(err, "durations look like 90s, 15m or 1h30m") : false;
	}
	if (number < option->least || number > option->most)
		return is_time ? fail(err, FAULT_USAGE, "`--%s`: %s is too long", option->name, value)
			       : fail(err, FAULT_USAGE, "`--%s` is from %lld to %lld, not %s", option->name,
					 (long long)option->least, (long long)option->most, value);
	*field = number;
	return true;
}

static bool
set_size(const struct option *option, int64_t *field, const char *value, struct error *err)
{
	int64_t bytes;

	if (!units_size(value, &bytes) || bytes < option->least) {
		fail(err, FAULT_USAGE, "`--%s` wants a size, not `%s`", option->name, value);
		return error_hint(err, "sizes look like 24GiB or 80GB");
	}
	*field = bytes;
	return true;
}

static bool
set_part(const struct option *option, double *field, const char *value, struct error *err)
{
	double part;

	if (!units_float(value, &part) || !(part > 0 && part <= 1))
		return fail(err, FAULT_USAGE, "`--%s` is above 0 and at most 1, not `%s`", option->name, value);
	*field = part;
	return true;
}

static bool
set_pair(struct pairs *pairs, const char *value, struct arena *arena, struct error *err)
{
	const char *equals = strchr(value, '=');

	if (!equals || equals == value)
		return fail(err, FAULT_USAGE, "`--set` wants KEY=VALUE, not `%s`", value);
	pairs_set(pairs, arena, arena_copy_bytes(arena, value, (size_t)(equals - value)), equals + 1);
	return true;
}

static bool
set_flag(const struct option *option, bool *field, const char *value, struct error *err)
{
	static const char *const words[] = { "0", "1", "false", "true" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i], value) == 0) {
			*field = i % 2;
			return true;
		}
	return fail(err, FAULT_USAGE, "`%s` is 1 or 0, not `%s`", option->name, value);
}

/* Give one option a value, wherever that comes from; a flag on the command line has the value "1". */
static bool
assign(struct options *options, const struct option *option, const char *value, enum origin origin, struct arena *arena,
	struct error *err)
{
	char *field = (char *)options + option->offset;
	void *at = field;
	bool ok = true;

	switch (option->kind) {
	case OPTION_FLAG:
		ok = set_flag(option, at, value, err);
		break;
	case OPTION_COUNT:
		++*(unsigned *)at;
		break;
	case OPTION_TEXT:
		*(const char **)at = value;
		break;
	case OPTION_LIST:
		strings_add(at, arena, value);
		break;
	case OPTION_PAIRS:
		ok = set_pair(at, value, arena, err);
		break;
	case OPTION_CHOICE:
		ok = set_choice(option, at, value, err);
		break;
	case OPTION_NUMBER:
	case OPTION_DURATION:
		ok = set_number(option, at, value, err);
		break;
	case OPTION_SIZE:
		ok = set_size(option, at, value, err);
		break;
	case OPTION_PART:
		ok = set_part(option, at, value, err);
		break;
	}
	if (ok)
		options->origins[option - option_table] = (unsigned char)origin;
	return ok;
}

/* Where reading stands. */
struct reader {
	struct options *options;
	char *const *argv;
	int argc;
	int at;
	struct arena *arena;
};

static bool
next_value(struct reader *reader, const struct option *option, const char **value, struct error *err)
{
	if (reader->at + 1 >= reader->argc)
		return fail(err, FAULT_USAGE, "`--%s` wants a value: %s", option->name, option->argument);
	*value = reader->argv[++reader->at];
	return true;
}

static bool
read_long(struct reader *reader, const char *text, struct error *err)
{
	size_t length = strcspn(text, "=");
	const struct option *option = find_long(text, length);
	const char *value = text[length] ? text + length + 1 : NULL;

	if (!option)
		return unknown_option(text, length, reader->arena, err);
	if (!takes_value(option)) {
		if (value)
			return fail(err, FAULT_USAGE, "`--%s` takes no value", option->name);
		value = "1";
	} else if (!value && !next_value(reader, option, &value, err)) {
		return false;
	}
	return assign(reader->options, option, value, ORIGIN_OPTION, reader->arena, err);
}

/* A cluster of letters; one that takes a value takes the rest of it. */
static bool
read_letters(struct reader *reader, const char *text, struct error *err)
{
	for (; *text; text++) {
		const struct option *option = find_letter(*text);
		const char *value = "1";

		if (!option)
			return fail(err, FAULT_USAGE, "unknown option `-%c`", *text);
		if (takes_value(option)) {
			value = text + 1;
			if (!*value && !next_value(reader, option, &value, err))
				return false;
		}
		if (!assign(reader->options, option, value, ORIGIN_OPTION, reader->arena, err))
			return false;
		if (takes_value(option))
			return true;
	}
	return true;
}

static bool
read_operand(struct reader *reader, const char *text, struct error *err)
{
	struct options *options = reader->options;
	const char *near;

	if (options->command) {
		strings_add(&options->operands, reader->arena, text);
		return true;
	}
	options->command = command_find(text);
	if (options->command)
		return true;
	near = command_suggest(text);
	fail(err, FAULT_USAGE, "unknown command `%s`", text);
	return near ? error_hint(err, "did you mean `%s`?", near) : error_hint(err, "`provision help` lists the commands");
}

/* A request for help is answered whatever else the line says. */
static bool
wants_help(struct options *options, int argc, char *const *argv)
{
	bool wanted = false;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		wanted = wanted || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
		if (!options->command && argv[i][0] != '-')
			options->command = command_find(argv[i]);
	}
	options->help = wanted;
	if (!wanted)
		options->command = NULL;
	return wanted;
}

static bool
fits_command(const struct options *options, struct error *err)
{
	const struct command *command = options->command;

	for (const struct option *option = option_table; option->name; option++)
		if (options->origins[option - option_table] == ORIGIN_OPTION && option->commands &&
			!(option->commands & COMMAND_BIT(command->id))) {
			fail(err, FAULT_USAGE, "`provision %s` has no option `--%s`", command->name, option->name);
			return error_hint(err, "see: provision help %s", command->name);
		}
	if (options->operands.count < command->least || options->operands.count > command->most) {
		if (options->operands.count > command->most)
			fail(err, FAULT_USAGE, "`provision %s`: `%s` is too much", command->name,
				options->operands.items[command->most]);
		else
			fail(err, FAULT_USAGE, "`provision %s` wants %s", command->name, command->operands);
		return error_hint(err, "usage: provision %s%s%s", command->name, *command->operands ? " " : "", command->operands);
	}
	for (size_t i = 0; i < options->targets.count; i++)
		if (strings_has(&options->excludes, options->targets.items[i]))
			return fail(err, FAULT_USAGE, "`--target` and `--exclude` both name `%s`",
				options->targets.items[i]);
	return true;
}

static bool
set_defaults(struct options *options, struct arena *arena, struct error *err)
{
	for (const struct option *option = option_table; option->name; option++)
		if (option->fallback && !assign(options, option, option->fallback, ORIGIN_DEFAULT, arena, err))
			return false;
	return true;
}

bool
options_parse(struct options *options, int argc, char *const *argv, struct arena *arena, struct error *err)
{
	struct reader reader = { .options = options, .argv = argv, .argc = argc, .arena = arena };
	bool ended = false;

	*options = (struct options){ 0 };
	if (!set_defaults(options, arena, err))
		return false;
	if (wants_help(options, argc, argv))
		return true;
	for (reader.at = 1; reader.at < argc; reader.at++) {
		const char *text = argv[reader.at];
		bool ok;

		if (!ended && strcmp(text, "--") == 0) {
			ended = true;
			continue;
		}
		if (ended || text[0] != '-' || !text[1])
			ok = read_operand(&reader, text, err);
		else
			ok = text[1] == '-' ? read_long(&reader, text + 2, err) : read_letters(&reader, text + 1, err);
		if (!ok)
			return false;
	}
	return !options->command || fits_command(options, err);
}

bool
options_environment(struct options *options, const char *(*lookup)(const char *name), struct arena *arena,
	struct error *err)
{
	for (const struct option *option = option_table; option->name; option++) {
		const char *value = option->environment ? lookup(option->environment) : NULL;

		if (!value || !*value || options->origins[option - option_table] >= ORIGIN_ENVIRONMENT)
			continue;
		if (!assign(options, option, arena_copy(arena, value), ORIGIN_ENVIRONMENT, arena, err))
			return error_wrap(err, "%s", option->environment);
	}
	return true;
}

static bool
unknown_setting(const struct entry *entry, struct error *err)
{
	const char *near = NULL;

	for (const struct option *option = option_table; option->name; option++)
		if (option->setting)
			near = suggest_better(entry->key, near, option->name);
	fail_at(err, entry->at, FAULT_UNKNOWN_KEY, "unknown setting `%s`", entry->key);
	error_label(err, "unknown setting");
	return near ? error_hint(err, "did you mean `%s`?", near) : false;
}

bool
options_settings(
	struct options *options, const struct node *map, enum origin origin, struct arena *arena, struct error *err)
{
	for (uint32_t i = 0; map->kind == NODE_MAP && i < map->count; i++) {
		const struct entry *entry = &map->entries[i];
		const struct option *option = find_long(entry->key, strlen(entry->key));

		if (!option || !option->setting)
			return unknown_setting(entry, err);
		if (entry->value->kind != NODE_SCALAR)
			return fail_at(err, entry->value->at, FAULT_BAD_VALUE, "`%s` wants one value, not %s", entry->key,
				node_describe(entry->value));
		if (options->origins[option - option_table] >= origin)
			continue;
		if (!assign(options, option, entry->value->text, origin, arena, err)) {
			err->at = entry->value->at;
			err->fault = FAULT_BAD_VALUE;
			return false;
		}
	}
	return true;
}

const char *
options_value(const struct options *options, const struct option *option, struct arena *arena)
{
	const void *at = (const char *)options + option->offset;

	switch (option->kind) {
	case OPTION_FLAG:
		return *(const bool *)at ? "true" : "false";
	case OPTION_COUNT:
		return arena_printf(arena, "%u", *(const unsigned *)at);
	case OPTION_TEXT:
		return *(const char *const *)at;
	case OPTION_CHOICE:
		return option->choices[*(const int *)at];
	case OPTION_NUMBER:
	case OPTION_SIZE:
		return arena_printf(arena, "%lld", (long long)*(const int64_t *)at);
	case OPTION_DURATION:
		return arena_printf(arena, "%lldms", (long long)*(const int64_t *)at);
	case OPTION_PART:
		return arena_printf(arena, "%g", *(const double *)at);
	case OPTION_LIST:
	case OPTION_PAIRS:
		break;
	}
	return NULL;
}

const char *
origin_name(enum origin origin)
{
	static const char *const names[] = { "default", "system", "user", "environment", "option" };

	return names[origin];
}
