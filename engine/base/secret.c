#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arena.h"
#include "buf.h"
#include "cleanup.h"
#include "file.h"

#define LARGEST_SECRET ((size_t)64 << 10)
#define SHORTEST_FORM  6  /* shorter text is found everywhere, and protects nothing */
#define SHORTEST_LINE  16 /* of a secret of several lines: a key in PEM form */
#define MOST_SECRETS   256
#define POOL_SIZE      ((size_t)16 << 10)

/* One spelling of a secret. */
struct form {
	const char *text;
	size_t length;
	const char *name;
};

/* What was loaded in this process. Grows only; guarded by `lock`, but for `loaded`, which is read on the way of every line. */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct secret secrets[MOST_SECRETS];
static size_t secret_count;
static struct form *forms; /* the longest first */
static size_t form_count;
static bool first_bytes[256];
static char *pool; /* locked memory that nobody has yet */
static size_t pool_left;
static atomic_bool loaded;

/* Memory for values: locked, and left out of dumps. Where the limit of locked memory is zero the value lies in ordinary pages: better than no value. */
static char *
safe_memory(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		out_of_memory();
	(void)mlock(memory, size);
	(void)madvise(memory, size, MADV_DONTDUMP);
	return memory;
}

static void
wipe(char *memory, size_t size)
{
	explicit_bzero(memory, size);
	munmap(memory, size);
}

/* A copy for the life of the process, with a NUL. Few pages for all of them, since locked memory is scarce. */
static char *
keep(const char *text, size_t length)
{
	char *copy;

	if (pool_left <= length) {
		pool_left = length < POOL_SIZE ? POOL_SIZE : length + 1;
		pool = safe_memory(pool_left);
	}
	copy = pool;
	memcpy(copy, text, length);
	pool += length + 1;
	pool_left -= length + 1;
	return copy;
}

/* Neither a core file nor another process of the same user shall see it: /proc/PID/environ and mem are closed by this. */
static void
close_process(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) == 0) {
		limit.rlim_cur = 0;
		(void)setrlimit(RLIMIT_CORE, &limit);
	}
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Where the value lies within `text`, without space at both ends. */
static const char *
trim(const char *text, size_t *size)
{
	while (*size > 0 && is_space(text[*size - 1]))
		(*size)--;
	while (*size > 0 && is_space(*text)) {
		text++;
		(*size)--;
	}
	return text;
}

static void
add_form(const char *text, size_t length, const char *name)
{
	struct form form = { .length = length, .name = name };
	size_t at = 0;

	if (length < SHORTEST_FORM)
		return;
	while (at < form_count && forms[at].length > length)
		at++;
	for (size_t i = at; i < form_count && forms[i].length == length; i++)
		if (memcmp(forms[i].text, text, length) == 0)
			return;
	form.text = keep(text, length);
	forms = xrealloc(forms, (form_count + 1) * sizeof *forms);
	memmove(forms + at + 1, forms + at, (form_count - at) * sizeof *forms);
	forms[at] = form;
	form_count++;
	first_bytes[(unsigned char)*text] = true;
}

/* Base64 of `value` where `shift` unknown bytes stand before it: the letters that depend on the value alone. */
static void
add_base64(const char *value, size_t length, size_t shift, bool url, const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char url_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unsigned char *bytes = (const unsigned char *)value;
	size_t first = (shift * 8 + 5) / 6;
	size_t end = (shift + length) * 8 / 6;
	char *text = safe_memory(end + 1);

	for (size_t i = first; i < end; i++) {
		size_t bit = i * 6 - shift * 8;
		unsigned pair = (unsigned)bytes[bit / 8] << 8 | (bit / 8 + 1 < length ? bytes[bit / 8 + 1] : 0u);

		text[i - first] = (url ? url_letters : letters)[pair >> (10 - bit % 8) & 63];
	}
	add_form(text, end - first, name);
	wipe(text, end + 1);
}

static void
add_escaped_url(const char *value, size_t length, const char *digits, const char *name)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char *text = safe_memory(3 * length);
	size_t size = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)value[i];

		if (strchr(plain, c)) {
			text[size++] = value[i];
		} else {
			text[size++] = '%';
			text[size++] = digits[c >> 4];
			text[size++] = digits[c & 15];
		}
	}
	add_form(text, size, name);
	wipe(text, 3 * length);
}

/* `escaped` pairs each character with the letter behind its backslash; many writers of JSON escape `/` too. */
static void
add_escaped_json(const char *value, size_t length, const char *escaped, const char *name)
{
	char *text = safe_memory(2 * length);
	size_t size = 0;

	for (size_t i = 0; i < length; i++) {
		char letter = value[i];

		for (const char *pair = escaped; *pair; pair += 2)
			if (*pair == value[i]) {
				text[size++] = '\\';
				letter = pair[1];
			}
		text[size++] = letter;
	}
	add_form(text, size, name);
	wipe(text, 2 * length);
}

static void
add_lines(const char *value, const char *name)
{
	for (const char *line = value; *line; line += strspn(line, "\r\n")) {
		size_t length = strcspn(line, "\r\n");

		if (length >= SHORTEST_LINE)
			add_form(line, length, name);
		line += length;
	}
}

static void
add_forms(const struct secret *secret)
{
	add_form(secret->value, secret->length, secret->name);
	for (size_t shift = 0; shift < 3; shift++) {
		add_base64(secret->value, secret->length, shift, false, secret->name);
		add_base64(secret->value, secret->length, shift, true, secret->name);
	}
	add_escaped_url(secret->value, secret->length, "0123456789ABCDEF", secret->name);
	add_escaped_url(secret->value, secret->length, "0123456789abcdef", secret->name);
	add_escaped_json(secret->value, secret->length, "\"\"\\\\\nn\rr\tt", secret->name);
	add_escaped_json(secret->value, secret->length, "\"\"\\\\\nn\rr\tt//", secret->name);
	add_lines(secret->value, secret->name);
}

/* Into the list, which owns value and name from now on. False if it is full: what cannot be redacted may not be used. */
static bool
remember(const char *label, const char *value, size_t length, struct secret *secret, struct error *err)
{
	struct arena arena finally(arena_finish) = { 0 };
	const char *name = arena_printf(&arena, "<%s>", label);
	bool known = false;
	struct secret entry;

	pthread_rwlock_wrlock(&lock);
	for (size_t i = 0; i < secret_count && !known; i++) {
		entry = secrets[i];
		known = entry.length == length && memcmp(entry.value, value, length) == 0 &&
			strcmp(entry.name, name) == 0;
	}
	if (!known && secret_count < MOST_SECRETS) {
		entry = (struct secret){ .name = xstrdup(name), .value = keep(value, length), .length = length };
		secrets[secret_count++] = entry;
		add_forms(&entry);
		known = true;
	}
	pthread_rwlock_unlock(&lock);
	if (!known)
		return fail(err, FAULT_TOO_LARGE, "more than %d secrets", MOST_SECRETS);
	atomic_store_explicit(&loaded, true, memory_order_release);
	close_process();
	*secret = entry;
	return true;
}

static bool
take_value(const char *label, const char *text, size_t size, struct secret *secret, struct error *err)
{
	const char *value = trim(text, &size);

	if (size == 0)
		return fail(err, FAULT_PERMISSION, "the secret `%s` is empty", label);
	if (memchr(value, '\0', size))
		return fail(err, FAULT_PERMISSION, "the secret `%s` has a NUL inside", label);
	return remember(label, value, size, secret, err);
}

static bool
check_file(const char *path, const struct stat *st, bool lenient, struct error *err)
{
	if (!S_ISREG(st->st_mode))
		return fail(err, FAULT_PERMISSION, "the secret's file `%s` is not a regular file", path);
	if (lenient)
		return true;
	if (st->st_uid != geteuid())
		return fail(err, FAULT_PERMISSION, "the secret's file `%s` belongs to another user (uid %u)", path,
			(unsigned)st->st_uid);
	if (st->st_mode & 077) {
		fail(err, FAULT_PERMISSION, "others can read or write the secret's file `%s` (mode %04o)", path,
			(unsigned)(st->st_mode & 07777));
		return error_hint(err, "chmod 600 %s", path);
	}
	return true;
}

static bool
load_file(const char *path, bool lenient, struct secret *secret, struct error *err)
{
	/* O_NONBLOCK, since a FIFO would wait for its writer before it can be refused. */
	int fd finally(close_fd) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t size;
	char *text;
	bool done;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fail_errno(err, "open the secret's file `%s`", path);
		if (err)
			err->fault = FAULT_PERMISSION;
		return false;
	}
	if (!check_file(path, &st, lenient, err))
		return false;
	text = safe_memory(LARGEST_SECRET + 1);
	done = file_read_all(fd, text, LARGEST_SECRET + 1, &size, err);
	if (!done)
		error_wrap(err, "the secret's file `%s`", path);
	else if (size > LARGEST_SECRET)
		done = fail(
			err, FAULT_TOO_LARGE, "the secret's file `%s` has more than %zu bytes", path, LARGEST_SECRET);
	else
		done = take_value(path_base(path), text, size, secret, err);
	wipe(text, LARGEST_SECRET + 1);
	return done;
}

bool
secret_load(const struct secret_ref *ref, bool lenient, struct secret *secret, struct error *err)
{
	const char *value;

	if (!ref->env && !ref->file)
		return fail(err, FAULT_PERMISSION, "the secret names neither a variable nor a file");
	if (!ref->env)
		return load_file(ref->file, lenient, secret, err);
	value = getenv(ref->env);
	if (!value)
		return fail(err, FAULT_PERMISSION, "the environment variable `%s` is not set", ref->env);
	return take_value(ref->env, value, strlen(value), secret, err);
}

void
secret_finish(struct secret *secret)
{
	*secret = (struct secret){ 0 };
}

static const struct form *
form_at(const char *text, size_t size)
{
	for (size_t i = 0; i < form_count; i++)
		if (forms[i].length <= size && memcmp(forms[i].text, text, forms[i].length) == 0)
			return &forms[i];
	return NULL;
}

void
secret_redact(const char *text, size_t size, struct buf *out)
{
	size_t clean = 0; /* text before this is in `out` */
	size_t at = 0;

	if (secret_none_loaded()) {
		buf_add(out, text, size);
		return;
	}
	pthread_rwlock_rdlock(&lock);
	while (at < size) {
		const struct form *form = first_bytes[(unsigned char)text[at]] ? form_at(text + at, size - at) : NULL;

		if (!form) {
			at++;
			continue;
		}
		buf_add(out, text + clean, at - clean);
		buf_text(out, form->name);
		at += form->length;
		clean = at;
	}
	pthread_rwlock_unlock(&lock);
	buf_add(out, text + clean, size - clean);
}

size_t
secret_longest(void)
{
	size_t longest;

	if (secret_none_loaded())
		return 0;
	pthread_rwlock_rdlock(&lock);
	longest = form_count > 0 ? forms[0].length : 0;
	pthread_rwlock_unlock(&lock);
	return longest;
}

size_t
secret_open_end(const char *text, size_t size)
{
	size_t open = 0;

	if (secret_none_loaded())
		return 0;
	pthread_rwlock_rdlock(&lock);
	for (size_t i = 0; i < form_count; i++) {
		size_t length = forms[i].length - 1 < size ? forms[i].length - 1 : size;

		while (length > open && memcmp(text + size - length, forms[i].text, length) != 0)
			length--;
		open = length > open ? length : open;
	}
	pthread_rwlock_unlock(&lock);
	return open;
}

bool
secret_none_loaded(void)
{
	return !atomic_load_explicit(&loaded, memory_order_acquire);
}
