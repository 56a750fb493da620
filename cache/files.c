#include "files.h"

#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "rows.h"
#include "sql.h"

static bool
read_file(const struct rows *rows, struct known_file *file)
{
	*file = (struct known_file){
		.key = { .device = rows_bits(rows, 0), .inode = rows_bits(rows, 1), .size = rows_bits(rows, 2),
			.mtime_ns = rows_int(rows, 3), .ctime_ns = rows_int(rows, 4) },
		.hashed_ns = rows_int(rows, 5),
	};
	return rows_digest(rows, 6, &file->digest);
}

bool
files_load(struct sql *sql, struct arena *arena, struct known_file **files, size_t *count, struct error *err)
{
	struct growing found finally(growing_finish) = { .size = sizeof(struct known_file) };
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_FILES, NO_VALUES, &rows, err))
		return false;
	while (rows_next(&rows, &more, err)) {
		if (!more) {
			*files = growing_take(&found, arena, count);
			return true;
		}
		if (!read_file(&rows, growing_add(&found)))
			return fail(err, FAULT_DATABASE, "`%s`: a known file has no digest", sql->path);
	}
	return false;
}

bool
files_one(struct sql *sql, uint64_t device, uint64_t inode, struct known_file *file, bool *found, struct error *err)
{
	struct rows rows finally(rows_finish) = { 0 };
	bool more;

	if (!sql_ask(sql, SQL_FILE_ONE, VALUES(value_bits(device), value_bits(inode)), &rows, err) || !rows_next(&rows, &more, err))
		return false;
	if (more && !read_file(&rows, file))
		return fail(err, FAULT_DATABASE, "`%s`: a known file has no digest", sql->path);
	*found = more;
	return true;
}

bool
files_save(struct sql *sql, const struct known_file *files, size_t count, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct stat_key *key = &files[i].key;

		if (!sql_run(sql, SQL_PUT_FILE,
			    VALUES(value_bits(key->device), value_bits(key->inode), value_bits(key->size), value_int(key->mtime_ns),
				    value_int(key->ctime_ns), value_int(files[i].hashed_ns),
				    value_blob(files[i].digest.bytes, DIGEST_SIZE)),
			    err))
			return false;
	}
	return true;
}
