#include "job/listener.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "job/standing.h"
#include "net/tcp.h"

/*
 * Theory of operation. One thread accepts; each connection is served by a thread of its own until it is known what it is
 * for: then it is handed to the seat or to whoever awaits its token, and the thread ends. All tables are under one lock, and
 * `changed` is signalled whenever one of them changes. At the end the accepting thread is joined, connections are shut down and their
 * threads waited for.
 */

enum {
	MOST_CONNECTIONS = 64, /* that have not been handed on */
	MOST_OF_ONE = 24,      /* of one address */
	FIRST_MS = 5000,       /* for the first bytes */
	EDGE_WAIT_MS = 10000,  /* an edge's connection may come before anybody awaits it */
	OFFER_MS = 10000,
	LOG_EVERY_MS = 1000,
};

static const char EDGE_PREAMBLE[] = "troth-edge-1";
enum { PREAMBLE_SIZE = sizeof(EDGE_PREAMBLE) - 1, TLS_HANDSHAKE = 0x16 };

struct connection {
	struct listener *listener;
	bool used, ended, handed;
	pthread_t thread;
	struct fd fd, hold; /* hold: the same socket, to shut it down while it is not handed on */
	char from[TCP_ADDRESS_MAX + 1], host[TCP_ADDRESS_MAX + 1];
};

struct expected {
	struct expected *next;
	const uint8_t *token;
	struct fd fd;
};

struct join_seat {
	struct join_seat *next;
	struct listener *listener;
	uint8_t job_digest[SHA256_SIZE], coordinator[OID_SIZE];
	bool any, offered;
	struct fd event;
	struct link *link;
	struct bytes offer; /* body of the OFFER */
};

struct listener {
	const struct link_own *own;
	char address[TCP_ADDRESS_MAX + 1];
	struct fd socket, wake;
	pthread_t thread;
	bool running, stopping;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct connection connections[MOST_CONNECTIONS];
	struct expected *expected;
	struct join_seat *seats;
	uint64_t logged_ns;
};

const char *listener_address(const struct listener *listener)
{
	return listener->address;
}

const struct link_own *listener_own(const struct listener *listener)
{
	return listener->own;
}

static struct timespec until(uint64_t deadline_ns)
{
	return (struct timespec){(time_t)(deadline_ns / 1000000000), (long)(deadline_ns % 1000000000)};
}

static uint64_t in_ms(uint64_t ms)
{
	return clock_monotonic_ns() + ms * 1000000;
}

/* ---- Edges ------------------------------------------------------------------------------------------ */

static struct expected *find_expected(struct listener *listener, const uint8_t *token)
{
	for (struct expected *e = listener->expected; e; e = e->next)
		if (e->fd.n < 0 && secret_equal(span_of(e->token, LINK_TOKEN_SIZE), span_of(token, LINK_TOKEN_SIZE)))
			return e;
	return NULL;
}

static result serve_edge(struct connection *connection)
{
	struct listener *listener = connection->listener;
	uint8_t first[PREAMBLE_SIZE + LINK_TOKEN_SIZE];
	TRY(tcp_receive(connection->fd.n, first, sizeof(first), in_ms(FIRST_MS)));
	if (memcmp(first, EDGE_PREAMBLE, PREAMBLE_SIZE) != 0)
		return fail(LINK_BROKEN, "neither TLS nor an edge");
	struct timespec end = until(in_ms(EDGE_WAIT_MS));
	struct expected *expected;
	pthread_mutex_lock(&listener->lock);
	while (!(expected = find_expected(listener, first + PREAMBLE_SIZE)) && !listener->stopping)
		if (pthread_cond_clockwait(&listener->changed, &listener->lock, CLOCK_MONOTONIC, &end) != 0)
			break;
	if (expected) {
		connection->handed = true;
		expected->fd = fd_move(&connection->fd);
		pthread_cond_broadcast(&listener->changed);
	}
	pthread_mutex_unlock(&listener->lock);
	return expected ? OK : fail(LINK_BROKEN, "an edge that nobody awaits");
}

result listener_await(struct listener *listener, const uint8_t token[static LINK_TOKEN_SIZE], int timeout_ms, struct fd *out)
{
	struct expected own = {.token = token, .fd = FD_NONE}, **at;
	struct timespec end = until(in_ms((uint64_t)timeout_ms));
	if (!listener->running)
		return fail(NO_LISTENER, "an edge from another host ends here");
	pthread_mutex_lock(&listener->lock);
	own.next = listener->expected;
	listener->expected = &own;
	pthread_cond_broadcast(&listener->changed);
	while (own.fd.n < 0 && !listener->stopping)
		if (pthread_cond_clockwait(&listener->changed, &listener->lock, CLOCK_MONOTONIC, &end) != 0)
			break;
	for (at = &listener->expected; *at != &own; at = &(*at)->next)
		;
	*at = own.next;
	pthread_mutex_unlock(&listener->lock);
	if (own.fd.n < 0)
		return fail(TIMED_OUT, "the other host did not connect the edge");
	*out = own.fd;
	return OK;
}

result listener_dial_edge(struct listener *listener, const uint8_t rot_id[static OID_SIZE], const uint8_t token[static LINK_TOKEN_SIZE],
	struct fd *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 << 20);
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct peer peer;
	TRY(peers_find(listener->own->peers, rot_id, &arena, &peer));
	result connected = fail(PEER_UNREACHABLE, "no address of host %s is known", peer.name);
	for (size_t i = 0; i < peer.address_count && connected != OK; i++)
		connected = tcp_connect(peer.addresses[i].text, FIRST_MS, &fd);
	if (connected == OK)
		connected = tcp_send(fd.n, span_str(EDGE_PREAMBLE), in_ms(FIRST_MS));
	if (connected == OK)
		connected = tcp_send(fd.n, span_of(token, LINK_TOKEN_SIZE), in_ms(FIRST_MS));
	if (connected != OK)
		return fail_within(connected, "an edge to host %s", peer.name);
	*out = fd_move(&fd);
	return OK;
}

/* ---- Seats ------------------------------------------------------------------------------------------ */

result listener_join(struct listener *listener, const uint8_t job_digest[static SHA256_SIZE], const uint8_t *coordinator,
	struct join_seat **out)
{
	if (!listener->running)
		return fail(NO_LISTENER, "joining a job");
	struct join_seat *seat = calloc(1, sizeof(*seat));
	if (!seat)
		return fail(NO_MEMORY, "joining a job");
	seat->event = fd_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (seat->event.n < 0) {
		free(seat);
		return fail_errno("eventfd");
	}
	seat->listener = listener;
	memcpy(seat->job_digest, job_digest, SHA256_SIZE);
	seat->any = !coordinator;
	if (coordinator)
		memcpy(seat->coordinator, coordinator, OID_SIZE);
	pthread_mutex_lock(&listener->lock);
	seat->next = listener->seats;
	listener->seats = seat;
	pthread_cond_broadcast(&listener->changed);
	pthread_mutex_unlock(&listener->lock);
	*out = seat;
	return OK;
}

int join_seat_fd(const struct join_seat *seat)
{
	return seat->event.n;
}

result join_seat_take(struct join_seat *seat, struct arena *arena, struct link **out_link, struct link_offer *out_offer)
{
	struct span offer;
	pthread_mutex_lock(&seat->listener->lock);
	struct link *link = seat->link;
	seat->link = NULL;
	pthread_mutex_unlock(&seat->listener->lock);
	if (!link)
		return fail(TIMED_OUT, "no run is offered");
	result kept = arena_copy(arena, bytes_span(&seat->offer), &offer);
	if (kept == OK)
		kept = schema_decode(link_schema(LINK_OFFER), offer, arena, out_offer);
	if (kept != OK) {
		link_free(link);
		return kept;
	}
	*out_link = link;
	return OK;
}

void join_seat_free(struct join_seat *seat)
{
	if (!seat)
		return;
	struct join_seat **at = &seat->listener->seats;
	pthread_mutex_lock(&seat->listener->lock);
	while (*at != seat)
		at = &(*at)->next;
	*at = seat->next;
	pthread_mutex_unlock(&seat->listener->lock);
	link_free(seat->link);
	bytes_free(&seat->offer);
	fd_close(&seat->event);
	free(seat);
}

/* A seat for this offer; `out_other`: somebody has joined the job, but for another coordinator. */
static struct join_seat *find_seat(struct listener *listener, const struct link_offer *offer, const struct link *link, bool *out_other)
{
	*out_other = false;
	for (struct join_seat *seat = listener->seats; seat; seat = seat->next) {
		if (seat->offered || memcmp(seat->job_digest, offer->job_digest, SHA256_SIZE) != 0)
			continue;
		if (seat->any || memcmp(seat->coordinator, link_peer_root(link), OID_SIZE) == 0)
			return seat;
		*out_other = true;
	}
	return NULL;
}

static result give_seat(struct listener *listener, struct link **link, const struct link_offer *offer, struct bytes *body)
{
	struct timespec end = until(in_ms(offer->wait_ms));
	struct join_seat *seat;
	bool other;
	pthread_mutex_lock(&listener->lock);
	while (!(seat = find_seat(listener, offer, *link, &other)) && !listener->stopping)
		if (pthread_cond_clockwait(&listener->changed, &listener->lock, CLOCK_MONOTONIC, &end) != 0)
			break;
	if (seat) {
		const uint64_t one = 1;
		seat->offered = true;
		seat->link = *link;
		seat->offer = bytes_move(body);
		*link = NULL;
		if (write(seat->event.n, &one, sizeof(one)) != (ssize_t)sizeof(one))
			log_warning("a seat could not be woken");
	}
	pthread_mutex_unlock(&listener->lock);
	if (!seat && other)
		return fail(NOT_JOINED, "job '%s' was joined here, but for another coordinator than %s", offer->job, link_peer(*link));
	return seat ? OK : fail(NOT_JOINED, "job '%s'", offer->job);
}

static result serve_offer(struct listener *listener, struct link **link)
{
	CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	struct link_offer offer;
	result taken = link_take(*link, OFFER_MS - LINK_ALIVE_MS, &message);
	TRY(taken);
	if (message.type == LINK_STAND)
		return standing_adopt(listener->own->standing, link);
	if (message.type != LINK_OFFER)
		return fail(LINK_BROKEN, "%s instead of OFFER", link_type_name(message.type));
	TRY(bytes_copy(message.body, &body));
	TRY(link_decode(&message, &arena, &offer));
	return give_seat(listener, link, &offer, &body);
}

static void connection_handed(struct connection *connection, bool handed)
{
	pthread_mutex_lock(&connection->listener->lock);
	connection->handed |= handed;
	pthread_mutex_unlock(&connection->listener->lock);
}

static result serve_link(struct connection *connection)
{
	struct listener *listener = connection->listener;
	struct link *link = NULL;
	TRY(link_welcome(listener->own, &connection->fd, &link));
	result served = serve_offer(listener, &link);
	connection_handed(connection, !link);
	link_end(link, served);
	return served;
}

/* ---- Connections ------------------------------------------------------------------------------------ */

static result serve_connection(struct connection *connection)
{
	uint8_t first;
	TRY(tcp_peek(connection->fd.n, &first, 1, in_ms(FIRST_MS)));
	if (first == TLS_HANDSHAKE)
		return serve_link(connection);
	if (first == (uint8_t)EDGE_PREAMBLE[0])
		return serve_edge(connection);
	return fail(LINK_BROKEN, "neither TLS nor an edge");
}

static void *connection_main(void *arg)
{
	struct connection *connection = arg;
	struct listener *listener = connection->listener;
	const uint64_t one = 1;
	result served = serve_connection(connection);
	if (served != OK)
		log_warning("a connection was turned away", LOG_TEXT("from", connection->from), LOG_TEXT("reason", reason_name(served)),
			LOG_TEXT("text", failure_text()));
	pthread_mutex_lock(&listener->lock);
	connection->ended = true;
	pthread_mutex_unlock(&listener->lock);
	fd_close(&connection->fd);
	if (write(listener->wake.n, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_warning("the listener could not be woken");
	return NULL;
}

static void reap(struct listener *listener)
{
	for (size_t i = 0; i < MOST_CONNECTIONS; i++) {
		struct connection *connection = &listener->connections[i];
		pthread_mutex_lock(&listener->lock);
		bool ended = connection->used && connection->ended;
		pthread_mutex_unlock(&listener->lock);
		if (!ended)
			continue;
		pthread_join(connection->thread, NULL);
		fd_close(&connection->hold);
		connection->used = false;
	}
}

static struct connection *free_place(struct listener *listener, const char *host)
{
	struct connection *place = NULL;
	size_t of_one = 0;
	for (size_t i = 0; i < MOST_CONNECTIONS; i++) {
		struct connection *connection = &listener->connections[i];
		if (!connection->used)
			place = connection;
		else
			of_one += strcmp(connection->host, host) == 0;
	}
	return of_one < MOST_OF_ONE ? place : NULL;
}

static void say_limited(struct listener *listener, const char *from)
{
	uint64_t now = clock_monotonic_ns();
	if (now - listener->logged_ns < LOG_EVERY_MS * UINT64_C(1000000))
		return;
	listener->logged_ns = now;
	log_warning("a connection was turned away", LOG_TEXT("from", from), LOG_TEXT("reason", reason_name(LINK_LIMITED)));
}

static void admit(struct listener *listener, struct fd *fd)
{
	char from[TCP_ADDRESS_MAX + 1], host[TCP_ADDRESS_MAX + 1];
	tcp_remote(fd->n, from);
	snprintf(host, sizeof(host), "%s", from);
	char *colon = strrchr(host, ':');
	if (colon)
		*colon = '\0';
	struct connection *place = free_place(listener, host);
	if (!place) {
		say_limited(listener, from);
		return;
	}
	struct fd hold = FD_NONE;
	if (fd_duplicate(fd->n, &hold) != OK)
		return;
	*place = (struct connection){.listener = listener, .fd = fd_move(fd), .hold = hold, .used = true};
	snprintf(place->from, sizeof(place->from), "%s", from);
	snprintf(place->host, sizeof(place->host), "%s", host);
	if (pthread_create(&place->thread, NULL, connection_main, place) != 0) {
		fd_close(&place->fd);
		fd_close(&place->hold);
		place->used = false;
		log_warning("no thread for a connection");
	}
}

static void *listener_main(void *arg)
{
	struct listener *listener = arg;
	for (;;) {
		struct pollfd fds[] = {{.fd = listener->socket.n, .events = POLLIN}, {.fd = listener->wake.n, .events = POLLIN}};
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		uint64_t rung;
		if (poll(fds, COUNT_OF(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents && read(listener->wake.n, &rung, sizeof(rung)) < 0 && errno != EAGAIN)
			break;
		reap(listener);
		pthread_mutex_lock(&listener->lock);
		bool stopping = listener->stopping;
		pthread_mutex_unlock(&listener->lock);
		if (stopping)
			break;
		if (!fds[0].revents)
			continue;
		result accepted = tcp_accept(listener->socket.n, &fd);
		if (accepted == OK)
			admit(listener, &fd);
		else if (accepted != TIMED_OUT)
			(void)poll(NULL, 0, 100); /* out of descriptors: not in a tight loop */
	}
	return NULL;
}

/* ---- Start and end ---------------------------------------------------------------------------------- */

static result begin(struct listener *listener, const char *address)
{
	listener->wake = fd_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (listener->wake.n < 0)
		return fail_errno("eventfd");
	if (!address)
		return OK;
	TRY(tcp_listen(address, &listener->socket));
	tcp_local(listener->socket.n, listener->address);
	if (pthread_create(&listener->thread, NULL, listener_main, listener) != 0)
		return fail(NO_MEMORY, "a thread that listens");
	listener->running = true;
	log_info("other hosts are listened to", LOG_TEXT("address", listener->address));
	return OK;
}

result listener_start(const struct link_own *own, const char *address, struct listener **out)
{
	struct listener *listener = calloc(1, sizeof(*listener));
	if (!listener)
		return fail(NO_MEMORY, "a listener");
	listener->own = own;
	listener->socket = listener->wake = FD_NONE;
	pthread_mutex_init(&listener->lock, NULL);
	pthread_cond_init(&listener->changed, NULL);
	result begun = begin(listener, address);
	if (begun != OK) {
		listener_stop(listener);
		return begun;
	}
	*out = listener;
	return OK;
}

static void end_connections(struct listener *listener)
{
	for (size_t i = 0; i < MOST_CONNECTIONS; i++)
		if (listener->connections[i].used && !listener->connections[i].handed)
			(void)shutdown(listener->connections[i].hold.n, SHUT_RDWR);
}

void listener_stop(struct listener *listener)
{
	const uint64_t one = 1;
	if (!listener)
		return;
	pthread_mutex_lock(&listener->lock);
	listener->stopping = true;
	end_connections(listener);
	pthread_cond_broadcast(&listener->changed);
	pthread_mutex_unlock(&listener->lock);
	if (listener->running && write(listener->wake.n, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(listener->thread, NULL);
	for (size_t i = 0; i < MOST_CONNECTIONS; i++)
		if (listener->connections[i].used) {
			pthread_join(listener->connections[i].thread, NULL);
			fd_close(&listener->connections[i].hold);
		}
	fd_close(&listener->socket);
	fd_close(&listener->wake);
	pthread_cond_destroy(&listener->changed);
	pthread_mutex_destroy(&listener->lock);
	free(listener);
}
