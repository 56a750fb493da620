#include "site.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/graph.h"
#include "engine/known.h"
#include "engine/plan.h"

static const struct pairs no_sets;

/* Everything between a manifest and a plan. */
struct view {
	struct manifest manifest;
	struct graph graph;
	struct known known;
	struct inspection inspection;
	struct project project;
};

static void
give_up(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	abort();
}

void
site_init(struct site *site, const struct rule *const *rules)
{
	*site = (struct site){ .directory = "/tmp/site-XXXXXX", .rules = rules };
	if (!mkdtemp(site->directory))
		give_up("mkdtemp", site->directory);
	arena_init(&site->arena);
	fake_memory_init(&site->memory);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void
site_finish(struct site *site)
{
	nftw(site->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	fake_memory_finish(&site->memory);
	arena_finish(&site->arena);
}

const char *
site_path(struct site *site, const char *name)
{
	return path_join(&site->arena, site->directory, name);
}

void
site_write(struct site *site, const char *name, const char *text)
{
	const char *path = site_path(site, name);
	struct error err = { 0 };

	if (!file_make_dirs(path_dir(&site->arena, path), 0755, &err) || !file_save(path, text, strlen(text), 0644, &err))
		give_up(path, err.text);
}

/* Load and link; false if the manifest is refused. */
static bool
load(struct site *site, const char *targets, struct view *view)
{
	const char *text, *path;

	arena_finish(&site->arena);
	arena_init(&site->arena);
	errors_init(&site->errors, &site->arena);
	text = arena_printf(&site->arena, "provision: 1\nname: demo\ntargets:\n%s", targets);
	site_write(site, "m.yaml", text);
	path = site_path(site, "m.yaml");
	return manifest_load(&view->manifest, path, site->directory, &no_sets, &site->arena, &site->errors) &&
		graph_link(&view->graph, &view->manifest, site->rules, &site->errors);
}

static void
look(struct site *site, const char *targets, bool estimate, struct view *view)
{
	struct error err = { 0 };

	*view = (struct view){ 0 };
	if (!load(site, targets, view))
		give_up("manifest", site->errors.items[0].text);
	view->project = (struct project){ .root = site->directory, .state_dir = site_path(site, ".provision"), .id = "0123456789ab" };
	site->wishes.estimate = estimate;
	known_init(&view->known, &site->memory.socket, &site->arena);
	if (!inspect(&view->inspection, &view->manifest, &view->graph, &site->memory.socket, &view->project, &site->wishes, &view->known, &site->arena, &err))
		give_up("inspect", err.text);
}

static void
end(struct view *view)
{
	known_finish(&view->known);
	graph_finish(&view->graph);
}

const char *
site_check(struct site *site, const char *targets)
{
	struct view view = { 0 };
	bool good = load(site, targets, &view);

	graph_finish(&view.graph);
	return good ? "" : arena_printf(&site->arena, "%s %s", fault_row(site->errors.items[0].fault)->code, site->errors.items[0].text);
}

struct seen *
site_plan(struct site *site, const char *targets, const char *name)
{
	struct view view;
	struct seen *seen;

	look(site, targets, true, &view);
	seen = &view.inspection.seen[graph_find(&view.graph, name)->id];
	end(&view);
	return seen;
}

static struct apply_options
options(struct site *site)
{
	return (struct apply_options){
		.jobs = 2,
		.grace = 2000,
		.run = { .id = "TESTRUN1", .command = "apply", .deployment = "demo", .manifest = site_path(site, "m.yaml"), .argv = "[]", .user = "u", .host = "h",
			.tool = "t", .started_ns = 1 },
	};
}

struct apply_result
site_apply(struct site *site, const char *targets)
{
	struct apply_result result = { 0 };
	struct apply_options how;
	struct error err = { 0 };
	struct view view;
	struct plan plan;

	look(site, targets, false, &view);
	how = options(site);
	if (!plan_make(&plan, &view.inspection, &site->arena, &err) || !apply(&plan, NULL, &how, &site->arena, &result, &err))
		give_up("apply", err.text);
	end(&view);
	return result;
}

struct apply_result
site_destroy(struct site *site, const char *targets, const char *name)
{
	struct apply_result result = { 0 };
	struct apply_options how;
	struct error err = { 0 };
	struct strings names = { 0 };
	struct view view;

	look(site, targets, false, &view);
	how = options(site);
	strings_add(&names, &site->arena, name);
	if (!apply_destroy(&view.inspection, &names, NULL, &how, &site->arena, &result, &err))
		give_up("destroy", err.text);
	end(&view);
	return result;
}

const struct record *
site_record(struct site *site, const char *name)
{
	const struct row *row = fake_memory_row(&site->memory, name);
	struct record *record;

	if (!row)
		return NULL;
	record = arena_alloc(&site->arena, sizeof *record);
	*record = (struct record){ .target = row->target, .rule = row->rule, .fingerprint = row->fingerprint, .output = row->output };
	if (!record_unpack(record, row->body, row->body_size, &site->arena) || !record_unpack_why(record, row->body, row->body_size, &site->arena))
		give_up("record", "torn");
	return record;
}
