/* Runs a fuzz target over files and directories of files, without libFuzzer: with any compiler, as an ordinary test. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/strings.h"
#include "fuzz.h"

#define LARGEST ((size_t)1 << 20)

static bool
replay_file(const char *path)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct error err = { 0 };
	const char *text;
	uint8_t *exact;
	size_t size;

	if (!file_load(path, LARGEST, &arena, &text, &size, &err)) {
		fprintf(stderr, "%s\n", err.text);
		return false;
	}
	/* In memory that ends where the input ends, so that a sanitizer sees who reads on. */
	exact = malloc(size ? size : 1);
	promise(exact);
	memcpy(exact, text, size);
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return true;
}

static bool
replay(const char *path)
{
	struct arena arena finally(arena_finish) = { 0 };
	struct strings names = { 0 };
	struct dirent *entry;
	DIR *dir = opendir(path);
	bool ok = true;

	if (!dir)
		return replay_file(path);
	while ((entry = readdir(dir)))
		if (*entry->d_name != '.')
			strings_add(&names, &arena, path_join(&arena, path, entry->d_name));
	closedir(dir);
	for (size_t i = 0; i < names.count; i++)
		ok &= replay(names.items[i]);
	return ok && names.count > 0;
}

int
main(int count, char **arguments)
{
	bool ok = count > 1;

	for (int i = 1; i < count; i++)
		ok &= replay(arguments[i]);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
