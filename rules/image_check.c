#include "image_check.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/digest.h"
#include "engine/base/secret.h"
#include "engine/task.h"
#include "image.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define NAME_LIMIT 255
#define TAG_LIMIT 128

struct check {
	const struct image *image;
	struct task *task;
	struct errors *errors;
};

static void
refuse(const struct check *check, const char *param, enum fault fault, const char *text)
{
	struct error err = { 0 };

	fail_at(&err, task_place(check->task, param), fault, "%s", text);
	errors_add(check->errors, &err);
}

static void
refuse_value(const struct check *check, const char *param, const char *value, const char *why)
{
	struct error err = { 0 };

	fail_at(&err, task_place(check->task, param), FAULT_BAD_VALUE, "`%s`: `%s` %s", param, value, why);
	errors_add(check->errors, &err);
}

/* What stands before the first slash is a registry if it looks like a host. */
static bool
is_host(const char *text, size_t size)
{
	return memchr(text, '.', size) || memchr(text, ':', size) || (size == 9 && memcmp(text, "localhost", 9) == 0);
}

/* Components of a name: lower case, separated by slashes; the first may be HOST:PORT in any case. */
static bool
is_name(const char *text, size_t size)
{
	bool first = true;

	while (size > 0) {
		const char *slash = memchr(text, '/', size);
		size_t length = slash ? (size_t)(slash - text) : size;
		bool host = first && slash && is_host(text, length);
		size_t fits = strspn(text, host ? LOWER UPPER "._-:" : LOWER "._-");

		if (length == 0 || fits < length || !strchr(LOWER UPPER, text[0]) || !strchr(LOWER UPPER, text[length - 1]))
			return false;
		if (slash && length + 1 == size)
			return false;
		length += slash != NULL;
		text += length;
		size -= length;
		first = false;
	}
	return !first;
}

static bool
is_tag(const char *text, size_t size)
{
	return size > 0 && size <= TAG_LIMIT && *text != '.' && *text != '-' && strspn(text, LOWER UPPER "_.-") >= size;
}

bool
image_is_reference(const char *text, bool may_have_digest)
{
	const char *at = strchr(text, '@');
	size_t size = at ? (size_t)(at - text) : strlen(text);
	const char *slash = memrchr(text, '/', size);
	const char *colon = memchr(slash ? slash : text, ':', size - (slash ? (size_t)(slash - text) : 0));
	size_t name = colon ? (size_t)(colon - text) : size;
	struct digest digest;

	if (at && (!may_have_digest || strncmp(at, "@sha256:", 8) != 0 || !digest_parse(at + 8, &digest)))
		return false;
	if (colon && !is_tag(colon + 1, size - name - 1))
		return false;
	return name <= NAME_LIMIT && is_name(text, name);
}

static bool
is_identifier(const char *text)
{
	return *text && !strchr("0123456789", *text) && strspn(text, LOWER UPPER "_") == strlen(text);
}

/* Parameters that exclude each other. */
static void
check_kind(const struct check *check)
{
	static const struct {
		const char *name;
		size_t offset;
	} texts[] = {
		{ "dockerfile", offsetof(struct image, dockerfile) },
		{ "target", offsetof(struct image, target) },
	};
	const struct image *image = check->image;
	bool builds = image->context || task_is_pending(check->task, "context");
	bool pulls = image->from || task_is_pending(check->task, "from");

	if (builds && pulls)
		refuse(check, "from", FAULT_CONFLICT, "`from` pulls an image and `context` builds one: only one of them can be meant");
	if (!builds && !pulls)
		refuse(check, "rule", FAULT_MISSING_KEY, "an image wants `context` (to build it) or `from` (to pull it)");
	for (size_t i = 0; pulls && !builds && i < sizeof texts / sizeof *texts; i++) {
		const char *value;

		memcpy(&value, (const char *)image + texts[i].offset, sizeof value);
		if (value)
			refuse(check, texts[i].name, FAULT_CONFLICT, "a Dockerfile's settings have no meaning for an image that is pulled (`from`)");
	}
	if (pulls && !builds && image->args.count > 0)
		refuse(check, "args", FAULT_CONFLICT, "build arguments have no meaning for an image that is pulled (`from`)");
	if (pulls && !builds && image->secrets.count > 0)
		refuse(check, "secrets", FAULT_CONFLICT, "build secrets have no meaning for an image that is pulled (`from`)");
}

static void
check_args(const struct check *check)
{
	for (size_t i = 0; i < check->image->args.count; i++) {
		const struct pair *arg = &check->image->args.items[i];

		if (!is_identifier(arg->key))
			refuse_value(check, "args", arg->key, "is no name of a build argument");
		if (arg->value && secret_looks_like_one(arg->value))
			refuse(check, "args", FAULT_SECRET_IN_TEXT, "a build argument stays readable in the image: use `secrets`");
	}
}

static void
check_secrets(const struct check *check)
{
	const struct image_secret *secrets = check->image->secrets.items;

	for (size_t i = 0; i < check->image->secrets.count; i++) {
		if (secrets[i].id && strspn(secrets[i].id, LOWER UPPER "_.-") != strlen(secrets[i].id))
			refuse_value(check, "secrets", secrets[i].id, "is no id of a secret: letters, digits, `_`, `.` and `-`");
		if (!secrets[i].env == !secrets[i].file)
			refuse(check, "secrets", FAULT_CONFLICT, "a secret wants one of `env` and `file`");
		for (size_t j = 0; j < i; j++)
			if (text_equal(secrets[i].id, secrets[j].id))
				refuse_value(check, "secrets", secrets[i].id, "is there twice");
	}
}

/* `record` is a list of argv: each a list of texts. */
static void
check_record(const struct check *check)
{
	json_t *list finally(json_release) = NULL;
	struct error ignored = { 0 };
	bool good;

	if (!check->image->record)
		return;
	good = json_parse(check->image->record, strlen(check->image->record), "record", &list, &ignored) && json_is_array(list);
	for (size_t i = 0; good && i < json_array_size(list); i++) {
		const json_t *argv = json_array_get(list, i);

		good = json_array_size(argv) > 0;
		for (size_t j = 0; good && j < json_array_size(argv); j++)
			good = json_is_string(json_array_get(argv, j));
	}
	if (!good)
		refuse(check, "record", FAULT_BAD_VALUE, "`record` is a list of commands, each a list of texts: [[pip, freeze]]");
}

/* OS/ARCH or OS/ARCH/VARIANT. */
static bool
is_platform(const char *text)
{
	size_t slashes = 0;

	for (const char *at = text; *at; at++)
		slashes += *at == '/';
	return slashes >= 1 && slashes <= 2 && strspn(text, LOWER "_./") == strlen(text) && *text != '/' && text[strlen(text) - 1] != '/' &&
		!strstr(text, "//");
}

void
image_validate(const void *spec, struct task *task, struct errors *errors)
{
	const struct image *image = spec;
	struct check check = { .image = image, .task = task, .errors = errors };

	check_kind(&check);
	if (image->tag && !image_is_reference(image->tag, false))
		refuse_value(&check, "tag", image->tag, "is no name of an image: lower case, like `team/server:1.2`");
	if (image->from && !image_is_reference(image->from, true))
		refuse_value(&check, "from", image->from, "is no reference: `NAME:TAG` or `NAME@sha256:...`, lower case");
	if (image->platform && !is_platform(image->platform))
		refuse_value(&check, "platform", image->platform, "is no platform: `linux/amd64`");
	if (image->target && strspn(image->target, LOWER UPPER "_.-") != strlen(image->target))
		refuse_value(&check, "target", image->target, "is no name of a stage");
	check_args(&check);
	check_secrets(&check);
	check_record(&check);
}
