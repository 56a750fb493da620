/* hub.h - table of hubs: a source and revision in, files with sizes and digests out.
 *
 * Hugging Face, ModelScope, an HTTP(S) or file:// directory with a checksum list, a local directory. Protocols: model-hubs.md. Knows no target. Names in a listing are as the hub
 * says them: what is taken of it must have passed path_set_is_safe (select.h sees to it), so that one odd name that nobody wants can be excluded. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/digest.h"
#include "engine/base/error.h"
#include "engine/base/secret.h"
#include "http.h"

struct arena;

enum hub_kind { HUB_HUGGINGFACE, HUB_MODELSCOPE, HUB_HTTP, HUB_FILE, HUB_LOCAL };

/* Where a repository is, as the manifest says it. */
struct hub_source {
	enum hub_kind kind;
	const char *text;       /* as written */
	const char *repo;       /* ORG/NAME of a hub */
	const char *revision;   /* as asked for; NULL: the hub's default (main, master) */
	const char *base;       /* URL of an HTTP directory; path of a file:// or local one */
	const char *endpoint;   /* base URL of a hub, no slash at the end: option, else environment, else public */
	bool endpoint_is_public;
};

struct hub_file {
	const char *path;        /* relative; not looked at yet */
	uint64_t size;           /* UINT64_MAX: not known before it is fetched */
	struct checksum checksum; /* CHECKSUM_NONE: the source gives none */
	const char *refusal;     /* why it may not be taken ("a symlink"), or NULL */
};

struct hub_listing {
	const char *commit;      /* 40 hex; "" where the source has none */
	struct hub_file *files;  /* sorted by path */
	size_t count;
};

/* One conversation with one source; one thread at a time. */
struct hub {
	struct http http;
	struct hub_source source;
	struct secret token;     /* length 0: none */
	const char *token_origin; /* "HF_TOKEN", a file's name: for messages */
	bool insecure_http;
	unsigned tries;         /* of a request that may pass; 0: as many as a download deserves */
	const char *checksums;   /* path of a checksum list that the manifest names, or NULL */
	bool by_name;            /* the hub does not take a commit for a revision: its name is asked for */
	const char *note;        /* what the user should hear of although it worked, or NULL */
	struct arena *arena;
};

/* `huggingface:ORG/NAME@REV`, `modelscope:...`, `https://...`, `file://...` (`file://./` is below `base_dir`), or a path (relative to `base_dir`). Pure, but for the environment's endpoints. E0103 on what cannot be read. */
bool hub_parse(const char *text, const char *endpoint, const char *base_dir, struct arena *arena, struct hub_source *source, struct error *err);

/* `token`: the manifest's; NULL fields: the environment and the clients' own plain-text files, only for public endpoints (model-hubs.md 2.6). */
bool hub_open(struct hub *hub, const struct hub_source *source, const struct secret_ref *token, bool insecure_http, const char *checksums,
	const atomic_bool *cancel, struct arena *arena, struct error *err);
void hub_close(struct hub *hub);

/* The commit that the revision means now; "" where there is none. */
bool hub_resolve(struct hub *hub, const char **commit, struct error *err);

/* All files at a commit, sorted by path. A listing that contradicts itself, is endless or empty fails as model-hubs.md says. */
bool hub_list(struct hub *hub, const char *commit, struct hub_listing *listing, struct error *err);

/* A small file, or a range of one (`size` 0: all, at most the buffer's limit). A whole file is verified when `file` has a checksum. `*missing` (may be NULL) instead of E0602. */
bool hub_read(struct hub *hub, const char *commit, const struct hub_file *file, uint64_t offset, uint64_t size, struct buf *into, bool *missing, struct error *err);

/* URL of a file's content, for transfer; NULL for file and local sources, whose path is then in `*path`. */
const char *hub_file_url(const struct hub *hub, const char *commit, const char *file, const char **path, struct arena *arena);

/* "sha256sum" lists: `<64 hex><space><space or *><name>`. E0303 with the line. */
bool hub_parse_checksums(const char *text, size_t size, const char *what, struct arena *arena, struct hub_file **files, size_t *count, struct error *err);

/* For records and people: "huggingface:ORG/NAME", never with a secret. */
const char *hub_source_name(const struct hub_source *source, struct arena *arena);

/* What a failed answer means (model-hubs.md 2.7, 3.6): fills err with E0602, E0603, E0604, E0605, E0601. Returns false. */
bool hub_fail(const struct hub *hub, const char *what, const struct http_response *response, struct error *err);
