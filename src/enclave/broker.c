#include "enclave/broker.h"

#include "base/sock.h"
#include "enclave/ring.h"

enum { CONNECT_MS = 5000 };

static result give_end(struct ire *ire, const char *peer, bool initiator, const struct broker_edge *edge, int fd, int memory)
{
	struct launch_channel channel = {
		.edge = edge->edge,
		.peer = peer,
		.operation = edge->operation,
		.port = initiator ? edge->output : edge->input,
		.initiator = initiator,
	};
	return launch_give_channel(ire, &channel, fd, memory);
}

result broker_connect(struct ire *from, struct ire *to, const struct broker_edge *edge)
{
	CLEANUP(fd_close) struct fd memory = FD_NONE;
	struct fd pair[2];
	TRY(sock_pair(pair));
	/* Without a ring the socket carries the bytes. */
	if (ring_create(&memory) != OK)
		failure_clear();
	result given = give_end(from, launch_name(to), true, edge, pair[0].n, memory.n);
	if (given == OK)
		given = give_end(to, launch_name(from), false, edge, pair[1].n, memory.n);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
	return given;
}

result broker_connect_external(struct ire *ire, const struct broker_external *external, bool sends,
	const struct broker_edge *edge)
{
	CLEANUP(fd_close) struct fd socket = FD_NONE;
	struct launch_channel channel = {
		.edge = edge->edge,
		.peer = external->name,
		.operation = edge->operation,
		.port = sends ? edge->output : edge->input,
		.initiator = sends,
		.external = true,
		.uri = external->uri,
		.above = external->above,
	};
	memcpy(channel.point, external->point, POINT_SIZE);
	result connected = sock_connect(external->socket, CONNECT_MS, &socket);
	if (connected != OK)
		return fail_within(connected, "external peer '%s'", external->name);
	return launch_give_channel(ire, &channel, socket.n, -1);
}

result broker_connect_remote(struct ire *ire, const char *peer, bool sends, const struct broker_edge *edge, int fd)
{
	return give_end(ire, peer, sends, edge, fd, -1);
}
