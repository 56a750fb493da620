/* libcurl.h - the functions of libcurl, found when they are first needed. For http.c alone.
 *
 * Loading libcurl costs more than a whole plan, so it is not linked. The table is filled once and never again. */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>

#include "engine/base/error.h"

struct libcurl {
	CURLcode (*global_init)(long flags);
	curl_version_info_data *(*version_info)(CURLversion age);
	CURL *(*easy_init)(void);
	void (*easy_reset)(CURL *easy);
	void (*easy_cleanup)(CURL *easy);
	CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
	CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
	const char *(*easy_strerror)(CURLcode code);
	CURLM *(*multi_init)(void);
	CURLMcode (*multi_cleanup)(CURLM *multi);
	CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
	CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
	CURLMcode (*multi_perform)(CURLM *multi, int *running);
	CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd extra[], unsigned extras, int ms, int *ready);
	CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
	const char *(*multi_strerror)(CURLMcode code);
	struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
	void (*slist_free_all)(struct curl_slist *list);
	CURLU *(*url)(void);
	void (*url_cleanup)(CURLU *url);
	CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
	CURLUcode (*url_get)(const CURLU *url, CURLUPart part, char **text, unsigned flags);
	void (*free)(void *memory);
};

/* The one table, NULL with E0601 if the library is missing or too old. Thread-safe. */
const struct libcurl *libcurl(struct error *err);
