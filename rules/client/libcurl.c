#include "libcurl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define LEAST_VERSION 0x075500 /* 7.85.0: CURLOPT_PROTOCOLS_STR */

static const struct {
	const char *name;
	size_t offset;
} symbols[] = {
	{ "curl_global_init", offsetof(struct libcurl, global_init) },
	{ "curl_version_info", offsetof(struct libcurl, version_info) },
	{ "curl_easy_init", offsetof(struct libcurl, easy_init) },
	{ "curl_easy_reset", offsetof(struct libcurl, easy_reset) },
	{ "curl_easy_cleanup", offsetof(struct libcurl, easy_cleanup) },
	{ "curl_easy_setopt", offsetof(struct libcurl, easy_setopt) },
	{ "curl_easy_getinfo", offsetof(struct libcurl, easy_getinfo) },
	{ "curl_easy_strerror", offsetof(struct libcurl, easy_strerror) },
	{ "curl_multi_init", offsetof(struct libcurl, multi_init) },
	{ "curl_multi_cleanup", offsetof(struct libcurl, multi_cleanup) },
	{ "curl_multi_add_handle", offsetof(struct libcurl, multi_add_handle) },
	{ "curl_multi_remove_handle", offsetof(struct libcurl, multi_remove_handle) },
	{ "curl_multi_perform", offsetof(struct libcurl, multi_perform) },
	{ "curl_multi_poll", offsetof(struct libcurl, multi_poll) },
	{ "curl_multi_info_read", offsetof(struct libcurl, multi_info_read) },
	{ "curl_multi_strerror", offsetof(struct libcurl, multi_strerror) },
	{ "curl_slist_append", offsetof(struct libcurl, slist_append) },
	{ "curl_slist_free_all", offsetof(struct libcurl, slist_free_all) },
	{ "curl_url", offsetof(struct libcurl, url) },
	{ "curl_url_cleanup", offsetof(struct libcurl, url_cleanup) },
	{ "curl_url_set", offsetof(struct libcurl, url_set) },
	{ "curl_url_get", offsetof(struct libcurl, url_get) },
	{ "curl_free", offsetof(struct libcurl, free) },
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct libcurl table;
static char failure[200]; /* why the table is empty; "" once it is filled */

static void
load(void)
{
	void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		snprintf(failure, sizeof failure, "libcurl.so.4 cannot be loaded: %s", dlerror());
		return;
	}
	for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
		void *symbol = dlsym(library, symbols[i].name);

		if (!symbol) {
			snprintf(failure, sizeof failure, "libcurl.so.4 is too old: it has no %s", symbols[i].name);
			return;
		}
		memcpy((char *)&table + symbols[i].offset, &symbol, sizeof symbol);
	}
	if (table.version_info(CURLVERSION_NOW)->version_num < LEAST_VERSION)
		snprintf(failure, sizeof failure, "libcurl.so.4 is too old: it is %s, and 7.85.0 is needed",
			table.version_info(CURLVERSION_NOW)->version);
	else if (table.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		snprintf(failure, sizeof failure, "libcurl.so.4 cannot be initialised");
}

const struct libcurl *
libcurl(struct error *err)
{
	pthread_once(&once, load);
	if (*failure == '\0')
		return &table;
	fail(err, FAULT_NETWORK, "%s", failure);
	error_hint(err, "install libcurl 7.85 or newer (package libcurl4)");
	return NULL;
}
