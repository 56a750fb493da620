/* hub_protocol.h - what each kind of hub owes hub.c. For the hub files alone. */
#pragma once

#include "engine/base/json.h"
#include "hub.h"

#define HUB_MOST_FILES 100000
#define HUB_MOST_SIZE ((uint64_t)1 << 53)
#define HUB_TRIES 5u

/* A listing while it grows. */
struct hub_files {
	struct arena *arena;
	struct hub_file *items;
	size_t count;
	size_t capacity;
};

struct hub_protocol {
	const char *name;       /* the word before the colon */
	const char *endpoint;   /* public base URL, or NULL */
	const char *cookie;     /* that carries the token too, or NULL */
	bool wants_id;          /* each request has an id of ours */
	bool (*resolve)(struct hub *hub, const char **commit, struct error *err); /* NULL: it has no commits */
	bool (*list)(struct hub *hub, const char *commit, struct hub_files *files, struct error *err);
	const char *(*url)(const struct hub *hub, const char *commit, const char *file, struct arena *arena); /* NULL: files lie here */
};

extern const struct hub_protocol hub_huggingface, hub_modelscope, hub_http, hub_here;

const struct hub_protocol *hub_protocol(const struct hub *hub);

/* Append; E0605 for an absurd size or too many. Names are judged when files are taken, so that `exclude` can leave one out. */
bool hub_add_file(struct hub_files *files, const struct hub_file *file, struct error *err);

bool hub_is_commit(const char *text);

/* GET with the hub's token; a token that is refused although none was needed is left out (and noted). Any status; the response is the caller's to finish. */
bool hub_get(struct hub *hub, const char *url, const char *what, struct http_response *response, struct error *err);

/* The same for JSON; a status of 400 or more fails through hub_fail. `response` (may be NULL) keeps the head. The value is the caller's. */
bool hub_get_json(struct hub *hub, const char *url, const char *what, struct http_response *head, json_t **value, struct error *err);

/* How long one answer may take, or one listing with all its pages. Files are fetched by transfer.c, which has no such limit. */
int64_t hub_patience_ms(const struct hub *hub);

/* Fill `request` with what every request of this hub carries. */
void hub_request(struct hub *hub, const char *url, struct http_request *request);

/* The list that `checksums` names, as files of unknown size. */
bool hub_load_checksums(const struct hub *hub, struct hub_file **files, size_t *count, struct error *err);

/* Tokens of the environment and of the clients' own plain-text files, for public endpoints alone. */
bool hub_find_token(struct hub *hub, struct error *err);
