/* Which sockets of this network namespace listen on a TCP port. */
#ifndef PROVISION_RULES_CLIENT_PORT_TABLE_H
#define PROVISION_RULES_CLIENT_PORT_TABLE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define PORT_LISTENERS 16 /* several sockets may share a port (SO_REUSEPORT, two families); more are not looked at */

struct port_table {
	struct in6_addr address; /* asked for; IPv4 is mapped; all zero: any */
	unsigned port;
	unsigned long inodes[PORT_LISTENERS]; /* of the sockets that listen there, or for every address */
	size_t count;
	bool lingering; /* there are sockets that have the port and do not listen; port_table_lingers asks for them */
};

bool port_address_is_any(const struct in6_addr *address);
struct in6_addr port_address_of_ipv4(in_addr_t address);

/* Fill in who listens; nobody if the kernel does not tell. */
void port_table_fill(struct port_table *table);

/* Whether connections have the port, those included that are closed but not forgotten. The kernel goes through all connections there are: milliseconds. */
bool port_table_lingers(const struct port_table *table);

/* The two ways of port_table_fill, false if the kernel does not offer it: by sock_diag(7), which looks at what listens alone, and by the text of /proc/net/tcp and tcp6
 * (proc(5)), which goes through all connections. */
bool port_table_ask(struct port_table *table);
bool port_table_read(struct port_table *table);

#endif
