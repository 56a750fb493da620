#include "process_note.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "engine/base/file.h"
#include "procfs.h"

#define LINE_LIMIT 1024

/* A child that has begun and not ended. */
struct open_child {
	const char *tag;
	struct process_id id; /* pid 0: it may not have come to life */
};

struct notes {
	struct arena arena;
	char boot[40];        /* "": nothing that is said here can be believed */
	struct open_child *items;
	size_t count;
	size_t capacity;
};

/* The file is born with what it is: this file, on this start of the machine. */
static bool
create(const char *path, int *fd, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	char line[LINE_LIMIT], boot[40];
	struct stat st;

	arena_init(&arena);
	if (!file_make_dirs(path_dir(&arena, path), 0700, err))
		return false;
	*fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*fd < 0)
		return errno == EEXIST || fail_errno(err, "make `%s`", path);
	if (fstat(*fd, &st) != 0 || !procfs_boot(boot))
		return fail_errno(err, "make `%s`", path);
	int size = snprintf(line, sizeof line, "@%llu %s\n", (unsigned long long)st.st_ino, boot);
	return file_write_all(*fd, line, (size_t)size, err) || error_wrap(err, "`%s`", path);
}

static int
open_existing(const char *path)
{
	return open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
}

bool
process_note_begin(const char *path, const char *tag, int *fd, struct error *err)
{
	char line[LINE_LIMIT];

	*fd = open_existing(path);
	if (*fd < 0 && errno == ENOENT) {
		if (!create(path, fd, err))
			return false;
		/* Another worker was quicker. */
		if (*fd < 0)
			*fd = open_existing(path);
	}
	if (*fd < 0)
		return fail_errno(err, "open `%s`", path);
	int size = snprintf(line, sizeof line, "+%.900s\n", tag);
	return file_write_all(*fd, line, (size_t)size, err) || error_wrap(err, "`%s`", path);
}

void
process_note_child(int fd, const char *tag, pid_t pid)
{
	struct procfs_stat stat;
	struct error ignored;
	char line[LINE_LIMIT];

	/* Without it the mark in their environment still finds them. */
	if (!procfs_stat(pid, &stat))
		return;
	int size = snprintf(line, sizeof line, "=%d %llu %.900s\n", (int)pid, (unsigned long long)stat.start, tag);
	file_write_all(fd, line, (size_t)size, &ignored);
}

void
process_note_end(int fd, const char *tag)
{
	struct error ignored;
	char line[LINE_LIMIT];

	int size = snprintf(line, sizeof line, "-%.900s\n", tag);
	file_write_all(fd, line, (size_t)size, &ignored);
}

static struct open_child *
find(struct notes *notes, const char *tag)
{
	for (size_t i = notes->count; i-- > 0;)
		if (strcmp(notes->items[i].tag, tag) == 0)
			return &notes->items[i];
	return NULL;
}

static void
begun(struct notes *notes, const char *tag)
{
	/* An empty tag would be anybody's. */
	if (!*tag)
		return;
	if (notes->count == notes->capacity)
		notes->items = arena_grow(&notes->arena, notes->items, notes->count, &notes->capacity, sizeof *notes->items);
	notes->items[notes->count++] = (struct open_child){ .tag = arena_copy(&notes->arena, tag) };
}

static void
came_to_life(struct notes *notes, const char *text)
{
	unsigned long long start;
	int used = 0, pid;

	if (sscanf(text, "%d %llu %n", &pid, &start, &used) != 2 || !used || pid <= 1)
		return;
	struct open_child *child = find(notes, text + used);
	if (child)
		child->id = (struct process_id){ .pid = pid, .start = start };
}

static void
ended(struct notes *notes, const char *tag)
{
	struct open_child *child = find(notes, tag);

	if (child)
		*child = notes->items[--notes->count];
}

static void
take_line(struct notes *notes, const char *line, unsigned long long inode)
{
	unsigned long long named;
	char boot[40];

	switch (*line) {
	case '@':
		if (sscanf(line, "@%llu %39s", &named, boot) == 2 && named == inode)
			memcpy(notes->boot, boot, sizeof boot);
		break;
	case '+':
		begun(notes, line + 1);
		break;
	case '=':
		came_to_life(notes, line + 1);
		break;
	case '-':
		ended(notes, line + 1);
		break;
	}
}

static void
notes_finish(struct notes *notes)
{
	arena_finish(&notes->arena);
}

static void
close_file(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* A line without an end was cut by the kill: what it was to say had not happened yet. */
static void
read_notes(FILE *file, unsigned long long inode, struct notes *notes)
{
	char line[LINE_LIMIT];

	while (fgets(line, sizeof line, file)) {
		char *end = strchr(line, '\n');

		if (!end)
			continue;
		*end = '\0';
		take_line(notes, line, inode);
	}
}

/* False: there is none, or it cannot be read. */
static bool
load(const char *path, struct notes *notes)
{
	FILE *file finally(close_file) = fopen(path, "re");
	struct stat st;

	arena_init(&notes->arena);
	if (!file || fstat(fileno(file), &st) != 0)
		return false;
	read_notes(file, st.st_ino, notes);
	return true;
}

bool
process_clear(const char *path, int64_t grace_ms, struct error *err)
{
	struct notes notes finally(notes_finish) = { 0 };

	if (!load(path, &notes))
		return errno == ENOENT || fail_errno(err, "read `%s`", path);
	for (size_t i = 0; *notes.boot && i < notes.count; i++) {
		struct open_child *child = &notes.items[i];

		memcpy(child->id.boot, notes.boot, sizeof notes.boot);
		if (!process_stop_marked(&child->id, child->tag, grace_ms, err))
			return error_wrap(err, "what a killed run left");
	}
	return unlink(path) == 0 || errno == ENOENT || fail_errno(err, "remove `%s`", path);
}

void
process_forget(const char *path)
{
	struct notes notes finally(notes_finish) = { 0 };

	if (load(path, &notes) && notes.count == 0)
		unlink(path);
}
