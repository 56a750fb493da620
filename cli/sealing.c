#include "sealing.h"

#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/cleanup.h"
#include "engine/base/clock.h"
#include "engine/parsed.h"
#include "report/verdict.h"

#define BYTES_LIMIT (15u << 20) /* below what the cache takes for one value */
#define PARSED_KEY "parsed:"    /* and the path, among the checkpoints */

/* Options that ask for more than whether anything is to do. */
static bool
asks_for_more(const struct session *session)
{
	const struct options *options = &session->options;

	return options->json || options->verbose || options->deep || options->refresh || options->sets.count || session->targets.count ||
	       options->excludes.count || options->replaces.count;
}

static bool
read_seal(struct session *session, struct arena *arena, const void **bytes, size_t *size)
{
	struct error ignored;

	return session->memory->checkpoint(session->memory->self, SEAL_KEY, arena, bytes, size, &ignored) && *bytes;
}

bool
sealing_holds(struct session *session)
{
	struct sealing *sealing = &session->sealing;
	struct seal *seal = &sealing->seal;

	if (asks_for_more(session) || !session_try_read(session) || !read_seal(session, &session->arena, &sealing->bytes, &sealing->size))
		return false;
	if (!seal_read(seal, sealing->bytes, sealing->size, &session->arena) || !seal_is_of(seal, session->found.manifest, session->found.root)) {
		*sealing = (struct sealing){ .bytes = NULL };
		return false;
	}
	seal_look(seal);
	if (!seal_holds(seal))
		return false;
	if (session->options.quiet < 2)
		verdict_nothing(&session->out, seal->wanted, seal->file_count, 0, clock_monotonic_ms() - session->started_ms, &session->arena);
	return true;
}

/* A run that ended after the files were looked at has dropped the seal, or made another one. */
static bool
is_still_there(struct session *session)
{
	struct arena arena finally(arena_finish) = { 0 };
	const void *bytes;
	size_t size;

	return read_seal(session, &arena, &bytes, &size) && size == session->sealing.size && memcmp(bytes, session->sealing.bytes, size) == 0;
}

const struct seal *
sealing_for(struct session *session, const struct shape *shape)
{
	struct sealing *sealing = &session->sealing;

	if (!sealing->bytes || !seal_fits(&sealing->seal, &shape->manifest, &shape->graph))
		return NULL;
	if (!is_still_there(session)) {
		*sealing = (struct sealing){ .bytes = NULL };
		return NULL;
	}
	session->known.stats += sealing->seal.file_count;
	return &sealing->seal;
}

static const char *
parsed_key(struct arena *arena, const struct source *source)
{
	return arena_join(arena, PARSED_KEY, source->path);
}

static const void *
find_parsed(void *self, const struct source *source, struct arena *arena, size_t *size)
{
	const struct session *session = self;
	const void *bytes = NULL;
	struct error ignored;

	if (!session->ledger)
		return NULL;
	return session->memory->checkpoint(session->memory->self, parsed_key(arena, source), arena, &bytes, size, &ignored) ? bytes : NULL;
}

struct recall
sealing_recall(struct session *session)
{
	return (struct recall){ .self = session, .parsed = find_parsed };
}

static enum status
save(struct session *session, const char *key, const struct buf *bytes)
{
	struct error err = { 0 };

	if (session->memory->save_checkpoint(session->memory->self, key, bytes->data, bytes->size, &err))
		return STATUS_OK;
	return session_fail(session, &err, NULL);
}

static enum status
keep_parsed(struct session *session, const struct sources *sources)
{
	enum status status = STATUS_OK;

	for (size_t i = 0; i < sources->count && status == STATUS_OK; i++) {
		const struct source *source = &sources->items[i];
		struct buf bytes finally(buf_finish) = { 0 };

		if (source->path[0] != '/' || source->size < PARSED_WORTH || !source->tree || source->recalled)
			continue;
		buf_init(&bytes, BYTES_LIMIT);
		parsed_pack(source, source->tree, &bytes);
		if (!bytes.truncated)
			status = save(session, parsed_key(&session->arena, source), &bytes);
	}
	return status;
}

/* Whether a seal could be complete, or large enough to be worth keeping. */
static bool
can_be_worth_it(const struct graph *graph)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < graph->count; i++)
		count += graph->targets[i].rule->files_alone;
	return count == graph->count || count >= SEAL_WORTH;
}

enum status
sealing_make(struct session *session, struct shape *shape, bool ran)
{
	const struct wishes wishes = { .files_alone = true, .grace = session->options.grace, .seal = session->wishes.seal };
	struct buf bytes finally(buf_finish) = { 0 };
	struct sealing *sealing = &session->sealing;
	struct inspection again, *inspection = &shape->inspection;
	enum status status = keep_parsed(session, &shape->manifest.sources);
	struct error ignored;

	if (status != STATUS_OK || asks_for_more(session) || !can_be_worth_it(&shape->graph))
		return status;
	if (ran && wishes.seal)
		seal_narrow(&sealing->seal, inspection);
	if (ran) {
		inspection = &again;
		if (!inspect(inspection, &shape->manifest, &shape->graph, session->memory, &session->project, &wishes, &session->known, &session->arena, &ignored))
			return STATUS_OK;
	}
	buf_init(&bytes, BYTES_LIMIT);
	if (!seal_make(inspection, &bytes))
		return STATUS_OK;
	/* What stands there already need not be written. */
	if (!ran && sealing->bytes && sealing->size == bytes.size && memcmp(sealing->bytes, bytes.data, bytes.size) == 0)
		return STATUS_OK;
	return save(session, SEAL_KEY, &bytes);
}
