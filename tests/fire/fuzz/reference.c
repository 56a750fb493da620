/* Vars, environment and outputs in text, against the plainest way to replace them.
 *
 * Input: the texts of the vars `a` to `d` and the text to be resolved, separated by 0x1e. */
#include "engine/scope.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/reference.h"
#include "engine/resolve.h"
#include "fuzz.h"

#define LARGEST 1024
#define VARS 4
#define LONGEST ((size_t)64 << 10)

struct naive {
	const char *vars[VARS];
	bool refused; /* something that is an error, or more than is worth comparing */
};

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
static const char later[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789-";

static bool
is_name(const char *text, size_t size)
{
	if (size == 0 || !memchr(letters, *text, sizeof letters - 1))
		return false;
	for (size_t i = 0; i < size; i++)
		if (!memchr(later, text[i], sizeof later - 1))
			return false;
	return true;
}

static void expand(struct naive *naive, const char *text, unsigned depth, struct buf *out);

/* What stands between `${` and `}`. */
static void
replace(struct naive *naive, const char *name, size_t size, unsigned depth, struct buf *out)
{
	const char *dot = memchr(name, '.', size);
	size_t front = dot ? (size_t)(dot - name) : size;

	if (!is_name(name, front) || (dot && !is_name(dot + 1, size - front - 1))) {
		naive->refused = true;
	} else if (!dot) {
		if (size == 1 && *name >= 'a' && *name < 'a' + VARS)
			expand(naive, naive->vars[*name - 'a'], depth + 1, out);
		else
			naive->refused = true;
	} else if (front == 3 && memcmp(name, "env", 3) == 0) {
		if (size == 8 && memcmp(name, "env.FUZZ", 8) == 0)
			buf_text(out, "${a}$");
		else
			naive->refused = true;
	} else {
		buf_printf(out, "<%.*s>", (int)size, name);
	}
}

static void
expand(struct naive *naive, const char *text, unsigned depth, struct buf *out)
{
	if (depth > VARS)
		naive->refused = true;
	while (*text && !naive->refused && out->size < LONGEST) {
		const char *end = strchr(text, '}');

		if (strncmp(text, "$${", 3) == 0) {
			buf_text(out, "${");
			text += 3;
		} else if (strncmp(text, "${", 2) == 0) {
			if (!end) {
				naive->refused = true;
				return;
			}
			replace(naive, text + 2, (size_t)(end - text - 2), depth, out);
			text = end + 1;
		} else {
			buf_char(out, *text++);
		}
	}
}

static const char *
output(void *context, const char *target, const char *name)
{
	return arena_printf(context, "<%s.%s>", target, name);
}

static struct node *
scalar(struct arena *arena, const char *text)
{
	struct node *node = arena_alloc(arena, sizeof *node);

	*node = (struct node){ .kind = NODE_SCALAR, .quoted = true, .pending = strstr(text, "${") != NULL, .text = text,
		.weight = 1 + (uint32_t)(strlen(text) / NODE_TEXT), .at = { .file = "m", .line = 1, .column = 1 } };
	return node;
}

/* Pieces follow each other without a gap, and say of themselves where they are. */
static void
check_pieces(const char *text)
{
	size_t offset = 0, end = 0;
	struct piece piece;

	while (reference_next(text, &offset, &piece)) {
		promise(piece.offset == end && offset > end);
		promise(piece.kind == PIECE_TEXT || piece.size == offset - end);
		promise((piece.kind == PIECE_BAD) == (piece.problem != NULL) || piece.kind != PIECE_BAD);
		end = offset;
	}
	promise(end == strlen(text));
}

static const char *
resolve(const struct naive *naive, const char *text, struct arena *arena)
{
	struct scope scope finally(scope_finish) = { 0 };
	struct entry entries[VARS];
	struct node vars = { .kind = NODE_MAP, .count = VARS, .entries = entries, .weight = VARS + 1, .height = 1 };
	static const char *const names[VARS] = { "a", "b", "c", "d" };
	const char *unknown;
	struct errors errors;
	struct node *node;

	for (size_t i = 0; i < VARS; i++)
		entries[i] = (struct entry){ .key = names[i], .value = scalar(arena, naive->vars[i]) };
	errors_init(&errors, arena);
	scope_init(&scope, &vars, NULL, &errors, arena);
	node = scope_resolve(&scope, scalar(arena, text));
	if (errors.count)
		return NULL;
	if (node->pending)
		node = resolve_outputs(node, output, arena, arena, &unknown);
	promise(node && !node->pending && node->kind == NODE_SCALAR);
	return node->text;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct buf wanted finally(buf_finish) = { 0 };
	struct feed feed = { data, size };
	struct naive naive = { 0 };
	const char *text, *got;

	if (size > LARGEST || memchr(data, '\0', size))
		return 0;
	for (size_t i = 0; i < VARS; i++)
		naive.vars[i] = feed_text(&feed, &arena, NULL);
	text = feed_text(&feed, &arena, NULL);
	check_pieces(text);
	setenv("FUZZ", "${a}$", 1);
	buf_init(&wanted, 2 * LONGEST);
	expand(&naive, text, 0, &wanted);
	got = resolve(&naive, text, &arena);
	/* More may be refused than this knows of (a circle that is never walked, an ambiguous `$`), but never less. */
	promise(!naive.refused || !got || wanted.size >= LONGEST);
	if (got && !naive.refused && wanted.size < LONGEST)
		promise(strcmp(got, wanted.data) == 0);
	return 0;
}
