#include "process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/arena.h"
#include "engine/base/cleanup.h"
#include "port_table.h"
#include "procfs.h"

struct search {
	const struct port_table *table;
	const struct process_id *ours; /* NULL: anybody will do */
	const char *tag;
	pid_t holder;                  /* 0: nobody that can be seen */
	bool is_ours;
};

static bool
is_listener(const struct port_table *table, const char *target)
{
	char wanted[64];

	for (size_t i = 0; i < table->count; i++) {
		snprintf(wanted, sizeof wanted, "socket:[%lu]", table->inodes[i]);
		if (strcmp(target, wanted) == 0)
			return true;
	}
	return false;
}

static bool
holds_listener(pid_t pid, const struct port_table *table)
{
	const struct dirent *entry;
	char path[64], target[64];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *directory = opendir(path);
	if (!directory)
		return false;
	while (!found && (entry = readdir(directory))) {
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
		target[length > 0 ? length : 0] = '\0';
		found = is_listener(table, target);
	}
	closedir(directory);
	return found;
}

static bool
is_of(pid_t pid, const struct process_id *id, const char *tag)
{
	struct procfs_stat stat;

	return (procfs_stat(pid, &stat) && stat.session == id->pid) || procfs_has_variable(pid, PROCESS_TAG, tag);
}

static bool
look_at_holder(void *context, pid_t pid)
{
	struct search *search = context;

	if (!holds_listener(pid, search->table))
		return true;
	search->is_ours = search->ours && is_of(pid, search->ours, search->tag);
	if (!search->holder || search->is_ours)
		search->holder = pid;
	return search->ours && !search->is_ours;
}

static const char *
describe(pid_t pid, struct arena *arena)
{
	char name[32];

	procfs_name(pid, name, sizeof name);
	return arena_printf(arena, "%s (pid %d)", name, (int)pid);
}

/* 0 if the address can be bound, else the errno. `::` stands for IPv4 too, as it does for a server that says no more (unless the system says otherwise). */
static int
try_bind(const struct in6_addr *address, unsigned port, bool reuse)
{
	int family = IN6_IS_ADDR_V4MAPPED(address) ? AF_INET : AF_INET6, one = 1;
	int fd finally(close_fd) = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = *address };

	if (fd < 0)
		return errno;
	memcpy(&v4.sin_addr, address->s6_addr + 12, sizeof v4.sin_addr);
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	const struct sockaddr *name = family == AF_INET ? (const void *)&v4 : (const void *)&v6;
	socklen_t size = family == AF_INET ? sizeof v4 : sizeof v6;
	return bind(fd, name, size) == 0 ? 0 : errno;
}

static struct in6_addr
parse_address(const char *address)
{
	struct in6_addr parsed;
	struct in_addr v4;

	if (address && inet_pton(AF_INET, address, &v4) == 1)
		return port_address_of_ipv4(v4.s_addr);
	if (address && inet_pton(AF_INET6, address, &parsed) == 1)
		return parsed;
	return address && strcmp(address, "localhost") == 0 ? port_address_of_ipv4(htonl(INADDR_LOOPBACK)) : port_address_of_ipv4(INADDR_ANY);
}

const char *
process_port_holder(const char *address, int port, struct arena *arena)
{
	struct port_table table = { .address = parse_address(address), .port = (unsigned)port };
	struct search search = { .table = &table };

	int code = try_bind(&table.address, table.port, false);
	/* EACCES is a privileged port: that it may not be bound says nothing about who holds it. */
	if (code != EADDRINUSE && code != EACCES)
		return NULL;
	port_table_fill(&table);
	if (!table.count && code == EACCES)
		return NULL;
	/* Connections of an earlier server hold the port against a plain bind for a minute, but not against a server, which sets SO_REUSEADDR: with it the kernel refuses only
	 * what listens. Not asked so at first, because a socket that is bound and does not listen yet, a server that is about to start, would be passed over. */
	if (!table.count && port_table_lingers(&table) && try_bind(&table.address, table.port, true) == 0)
		return NULL;
	if (table.count)
		procfs_each(look_at_holder, &search);
	return search.holder ? describe(search.holder, arena) : "another process";
}

const char *
process_port_stranger(const char *address, int port, const struct process_id *id, const char *tag, struct arena *arena)
{
	struct port_table table = { .address = parse_address(address), .port = (unsigned)port };
	struct search search = { .table = &table, .ours = id, .tag = tag };

	port_table_fill(&table);
	/* Mostly it is the leader that listens: then nobody else need be looked at. */
	if (!table.count || holds_listener(id->pid, &table))
		return NULL;
	procfs_each(look_at_holder, &search);
	return search.holder && !search.is_ours ? describe(search.holder, arena) : NULL;
}
