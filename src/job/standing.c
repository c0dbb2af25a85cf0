#include "job/standing.h"

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
#include "crypto/random.h"
#include "job/revocations.h"

/*
 * Theory of operation. A thread for each enrolled host holds at most one link at a time and sleeps in poll on it and on its wake.
 * Each side says its newest revocation head whenever there is another one: a few hundred bytes a second. Who finds in the other's
 * head a newer version of an operator that it pins asks for that list (WANT), one at a time. Lists may be large, so both must never
 * send one at once: whoever was called puts off its answer while it waits for a list itself.
 */

enum {
	WANT_MS = 60 * 1000, /* for a list that was asked for */
	MESSAGES_AT_ONCE = 64,
	MESSAGES_PER_S = 20,
	LISTS_MEMORY = REVOCATION_LIST_MAX + (1 << 20),
	PEERS_MEMORY = 1 << 30,
	LONG_MS = 5000, /* a link that lived that long was a good one */
	WHY_MAX = 300,
};

struct place {
	struct standing *standing;
	struct place *next;
	pthread_t thread;
	char name[PEER_NAME_MAX + 1];
	uint8_t rot_id[OID_SIZE];
	bool has_address;
	struct fd wake; /* something of what follows has changed */
	/* The lock of all places. */
	bool gone, ended; /* not enrolled any more; the thread has left */
	struct link *came; /* the other host has called */
	struct fd hold;	   /* the connection of the call or link that is under way */
	enum standing_state state;
	bool called;
	uint64_t since, tries, next_ns;
	char why[WHY_MAX];
	struct revocation_head_row theirs[REVOCATION_MAX_LISTS];
	size_t their_count;
};

struct standing {
	const struct link_own *own;
	pthread_mutex_t lock;
	bool stopping;
	struct place *places;
};

/* One link, from when it is up. */
struct talk {
	struct place *place;
	struct link *link;
	bool called;
	uint8_t told_epoch[OID_SIZE];
	result told_refusal; /* EPOCH_HALTED, EPOCH_FORKED: the history says it */
	uint8_t told_head[REVOCATION_HEAD_MAX];
	size_t told_head_len;
	bool asked; /* by the other side */
	uint8_t asked_for[KEY_ID_SIZE];
	bool wants; /* a list that is on its way here */
	uint64_t wants_since_ns;
	struct revocation_head_row tried[REVOCATION_MAX_LISTS]; /* asked for on this link, by operator */
	size_t tried_count;
	uint64_t began_ns, messages;
};

const char *standing_state_name(uint8_t state)
{
	static const char *const names[] = {"?", "calling", "up", "down", "awaited"};
	return state < COUNT_OF(names) ? names[state] : names[0];
}

static const struct field operator_fields[] = {
	F_FIXED(struct standing_operator, 1, operator_id),
	F_UINT(struct standing_operator, 2, there, 0),
	F_UINT(struct standing_operator, 3, here, 0),
};
static const struct schema operator_schema = SCHEMA(struct standing_operator, "operator", SHAPE_MAP, operator_fields);

static const struct field row_fields[] = {
	F_TEXT(struct standing_row, 1, name, 1, PEER_NAME_MAX),
	F_UINT(struct standing_row, 2, state, STANDING_AWAITED),
	F_BOOL(struct standing_row, 3, called),
	F_TIME(struct standing_row, 4, since),
	F_UINT(struct standing_row, 5, tries, 0),
	F_UINT(struct standing_row, 6, next_ms, 0),
	F_TEXT(struct standing_row, 7, why, 0, 2 * WHY_MAX),
	F_LIST(struct standing_row, 8, operators, operator_count, &operator_schema, 0, 0, REVOCATION_MAX_LISTS),
};
const struct schema standing_row_schema = SCHEMA(struct standing_row, "link", SHAPE_MAP, row_fields);

/* ---- Waking ----------------------------------------------------------------------------------------- */

static void ring(const struct place *place)
{
	const uint64_t one = 1;
	if (write(place->wake.n, &one, sizeof(one)) != (ssize_t)sizeof(one) && errno != EAGAIN)
		log_warning("a standing link could not be woken");
}

static void hear_ring(const struct place *place)
{
	uint64_t count;
	if (read(place->wake.n, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_warning("eventfd");
}

static bool is_over(struct place *place)
{
	pthread_mutex_lock(&place->standing->lock);
	bool over = place->gone || place->standing->stopping;
	pthread_mutex_unlock(&place->standing->lock);
	return over;
}

static bool has_caller(struct place *place)
{
	pthread_mutex_lock(&place->standing->lock);
	bool came = place->came != NULL;
	pthread_mutex_unlock(&place->standing->lock);
	return came;
}

/* ---- Saying ----------------------------------------------------------------------------------------- */

static result say_epoch(struct talk *talk)
{
	struct root_host *root = talk->place->standing->own->root;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	ROOT_IDENTITY_HELD now = root_host_hold(root);
	result refusal = root_host_refusal(root);
	if (!now || (memcmp(now->epoch_oid, talk->told_epoch, OID_SIZE) == 0 && refusal == talk->told_refusal))
		return OK;
	TRY(root_host_history(root, &history));
	struct bytes_item item = {bytes_span(&history)};
	TRY(link_send(talk->link, LINK_EPOCHS, &(struct link_epochs){&item, 1}));
	memcpy(talk->told_epoch, now->epoch_oid, OID_SIZE);
	talk->told_refusal = refusal;
	return OK;
}

/* The head is taken first, and said last: the epoch that signed it is known there by then. */
static result say_news(struct talk *talk)
{
	struct revocation_host *revocations = talk->place->standing->own->revocations;
	uint8_t head[REVOCATION_HEAD_MAX];
	size_t len;
	revocations_head(revocations, head, &len);
	TRY(say_epoch(talk));
	if (len == 0 || (len == talk->told_head_len && memcmp(head, talk->told_head, len) == 0))
		return OK;
	TRY(link_send(talk->link, LINK_HEAD, &(struct link_head){span_of(head, len)}));
	memcpy(talk->told_head, head, len);
	talk->told_head_len = len;
	return OK;
}

static result answer(struct talk *talk)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LISTS_MEMORY);
	struct bytes_item item;
	if (!talk->asked || (talk->wants && talk->called))
		return OK;
	talk->asked = false;
	TRY(revocations_list_of(talk->place->standing->own->revocations, talk->asked_for, &arena, &item.bytes));
	return link_send(talk->link, LINK_REVOCATIONS, &(struct link_revocations){&item, item.bytes.len > 0});
}

static struct revocation_head_row *find_tried(struct talk *talk, const uint8_t *operator_id)
{
	for (size_t i = 0; i < talk->tried_count; i++)
		if (memcmp(talk->tried[i].operator_id, operator_id, KEY_ID_SIZE) == 0)
			return &talk->tried[i];
	return NULL;
}

/* Each version is asked for once: one that is refused here is refused again. */
static bool is_wanted(struct talk *talk, const struct revocation_head_row *theirs)
{
	const struct revocation_head_row *tried = find_tried(talk, theirs->operator_id);
	uint64_t here;
	return revocations_version(talk->place->standing->own->revocations, theirs->operator_id, &here) && theirs->version > here &&
	       (tried ? tried->version < theirs->version : talk->tried_count < REVOCATION_MAX_LISTS);
}

static result want(struct talk *talk)
{
	const struct place *place = talk->place; /* what is theirs is changed by this thread alone */
	if (talk->wants && clock_monotonic_ns() - talk->wants_since_ns > WANT_MS * UINT64_C(1000000))
		return fail(LINK_BROKEN, "a revocation list that was asked for did not come");
	for (size_t i = 0; i < place->their_count && !talk->wants; i++) {
		const struct revocation_head_row *theirs = &place->theirs[i];
		if (!is_wanted(talk, theirs))
			continue;
		struct revocation_head_row *tried = find_tried(talk, theirs->operator_id);
		if (!tried)
			tried = &talk->tried[talk->tried_count++];
		*tried = *theirs;
		talk->wants = true;
		talk->wants_since_ns = clock_monotonic_ns();
		struct link_want body;
		memcpy(body.operator_id, theirs->operator_id, KEY_ID_SIZE);
		TRY(link_send(talk->link, LINK_WANT, &body));
	}
	return OK;
}

/* ---- Hearing ---------------------------------------------------------------------------------------- */

static result take_epochs(struct talk *talk, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct link_epochs body;
	TRY(link_decode(message, &arena, &body));
	for (size_t i = 0; i < body.history_count; i++) {
		bool changed;
		result followed = peers_follow(talk->place->standing->own->peers, body.histories[i].bytes, clock_wall_ms(), &changed);
		if (followed != OK && followed != PEER_UNKNOWN)
			return followed;
	}
	return OK;
}

static result take_head(struct talk *talk, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	struct place *place = talk->place;
	struct link_head body;
	struct revocation_head head;
	TRY(link_decode(message, &arena, &body));
	TRY(object_peek(KIND_REVOCATION_HEAD, body.head, &arena, &head, NULL));
	if (memcmp(head.rot_id, place->rot_id, OID_SIZE) != 0 || head.list_count > REVOCATION_MAX_LISTS)
		return fail(REVOCATION_HEAD_WRONG, "it is not of the host that shows it");
	TRY(peers_judge(place->standing->own->peers, head.rot_id, head.epoch_oid, clock_wall_ms(), &sign));
	TRY(object_verify(KIND_REVOCATION_HEAD, body.head, &sign));
	pthread_mutex_lock(&place->standing->lock);
	place->their_count = head.list_count;
	for (size_t i = 0; i < head.list_count; i++)
		place->theirs[i] = head.lists[i];
	pthread_mutex_unlock(&place->standing->lock);
	return OK;
}

static result take_want(struct talk *talk, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct link_want body;
	TRY(link_decode(message, &arena, &body));
	if (talk->asked)
		return fail(LINK_BROKEN, "a second WANT before the answer to the first");
	talk->asked = true;
	memcpy(talk->asked_for, body.operator_id, KEY_ID_SIZE);
	return OK;
}

/* What does not count is no fault of whoever passes it on; it is not asked for again. */
static result take_lists(struct talk *talk, const struct link_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct link_revocations body;
	if (!talk->wants)
		return fail(LINK_BROKEN, "a revocation list that nobody asked for");
	talk->wants = false;
	TRY(link_decode(message, &arena, &body));
	for (size_t i = 0; i < body.list_count; i++) {
		bool changed = false;
		result offered = revocations_offer(talk->place->standing->own->revocations, body.lists[i].bytes, &changed);
		if (offered != OK)
			log_failure(LOG_LEVEL_WARNING, "a revocation list of another host was not taken", offered);
		else if (changed)
			log_info("it came over a standing link", LOG_TEXT("host", talk->place->name));
	}
	return OK;
}

static result take_failed(struct talk *talk, const struct link_message *message)
{
	(void)talk;
	return link_refusal(message);
}

static const struct {
	enum link_type type;
	result (*take)(struct talk *talk, const struct link_message *message);
} takers[] = {
	{LINK_EPOCHS, take_epochs}, {LINK_HEAD, take_head}, {LINK_WANT, take_want}, {LINK_REVOCATIONS, take_lists}, {LINK_FAILED, take_failed},
};

static result check_rate(struct talk *talk)
{
	uint64_t seconds = (clock_monotonic_ns() - talk->began_ns) / 1000000000;
	talk->messages++;
	return talk->messages <= MESSAGES_AT_ONCE + seconds * MESSAGES_PER_S ? OK : fail(LINK_LIMITED, "it says too much");
}

static result hear(struct talk *talk)
{
	for (;;) {
		CLEANUP(link_message_free) struct link_message message = LINK_MESSAGE_EMPTY;
		result taken = link_take(talk->link, 0, &message);
		if (taken == TIMED_OUT)
			return OK;
		TRY(taken);
		TRY(check_rate(talk));
		size_t at = 0;
		while (at < COUNT_OF(takers) && takers[at].type != message.type)
			at++;
		if (at == COUNT_OF(takers))
			return fail(LINK_BROKEN, "%s on a standing link", link_type_name(message.type));
		TRY(takers[at].take(talk, &message));
	}
}

/* ---- One link --------------------------------------------------------------------------------------- */

static bool is_to_end(const struct talk *talk)
{
	bool old = !talk->called && clock_monotonic_ns() - talk->began_ns > STANDING_RENEW_MS * UINT64_C(1000000);
	return old || is_over(talk->place) || has_caller(talk->place);
}

static result converse(struct talk *talk)
{
	if (!talk->called)
		TRY(link_send(talk->link, LINK_STAND, NULL));
	while (!is_to_end(talk)) {
		struct pollfd wait[] = {{.fd = link_fd(talk->link), .events = POLLIN}, {.fd = talk->place->wake.n, .events = POLLIN}};
		TRY(hear(talk));
		TRY(say_news(talk));
		TRY(answer(talk));
		TRY(want(talk));
		TRY(link_tick(talk->link));
		(void)poll(wait, COUNT_OF(wait), STANDING_TURN_MS);
		if (wait[1].revents)
			hear_ring(talk->place);
	}
	return OK;
}

static void set_state(struct place *place, enum standing_state state, bool called)
{
	pthread_mutex_lock(&place->standing->lock);
	place->state = state;
	place->called = called;
	place->since = clock_wall_ms();
	if (state != STANDING_UP)
		place->their_count = 0;
	pthread_mutex_unlock(&place->standing->lock);
}

/* The next call: soon after a link that was up for long, else later and later, never two hosts in step. */
static void put_off(struct place *place, bool was_up, bool unwanted)
{
	uint64_t wait = unwanted ? STANDING_UNWANTED_MS : STANDING_RETRY_MS;
	uint32_t random;
	random_bytes(&random, sizeof(random));
	pthread_mutex_lock(&place->standing->lock);
	place->tries = was_up ? 0 : place->tries + 1;
	for (uint64_t i = 1; i < place->tries && wait < STANDING_RETRY_MOST_MS; i++)
		wait *= 2;
	if (wait > STANDING_RETRY_MOST_MS && !unwanted)
		wait = STANDING_RETRY_MOST_MS;
	place->next_ns = clock_monotonic_ns() + (wait / 2 + random % (wait / 2 + 1)) * 1000000;
	pthread_mutex_unlock(&place->standing->lock);
	set_state(place, place->has_address ? STANDING_WAITING : STANDING_AWAITED, false);
}

static void note_why(struct place *place, result why)
{
	char text[WHY_MAX];
	snprintf(text, sizeof(text), "%s: %s", reason_name(why), failure_text());
	pthread_mutex_lock(&place->standing->lock);
	snprintf(place->why, sizeof(place->why), "%s", text);
	pthread_mutex_unlock(&place->standing->lock);
}

/* Kept beside, to be shut down at the end of everything. */
static void on_connected(void *ctx, int fd)
{
	struct place *place = ctx;
	struct fd hold = FD_NONE;
	if (fd_duplicate(fd, &hold) != OK)
		return;
	pthread_mutex_lock(&place->standing->lock);
	fd_close(&place->hold);
	place->hold = hold;
	if (place->standing->stopping || place->gone)
		(void)shutdown(fd, SHUT_RDWR);
	pthread_mutex_unlock(&place->standing->lock);
}

static void let_go(struct place *place)
{
	pthread_mutex_lock(&place->standing->lock);
	fd_close(&place->hold);
	pthread_mutex_unlock(&place->standing->lock);
}

static void serve(struct place *place, struct link *link, bool called)
{
	struct talk talk = {.place = place, .link = link, .called = called, .began_ns = clock_monotonic_ns()};
	set_state(place, STANDING_UP, called);
	on_connected(place, link_fd(link)); /* so that a host that does not read holds up no end */
	log_info("an enrolled host is linked", LOG_TEXT("host", place->name), LOG_TEXT("called", called ? "there" : "here"));
	result ended = converse(&talk);
	if (is_over(place))
		ended = OK;
	if (ended != OK) {
		note_why(place, ended);
		log_failure(LOG_LEVEL_WARNING, "the link to an enrolled host has ended", ended);
	}
	/* Whoever went or complained is told nothing. */
	link_end(link, ended == LINK_BROKEN || ended == LINK_LIMITED || ended == REVOCATION_HEAD_WRONG ? ended : OK);
	let_go(place);
	put_off(place, ended == OK || clock_monotonic_ns() - talk.began_ns > LONG_MS * UINT64_C(1000000), ended == NO_STANDING_LINK);
}

/* ---- Calling ---------------------------------------------------------------------------------------- */

static void call(struct place *place)
{
	const struct link_call how = {place->wake.n, on_connected, place};
	struct link *link = NULL;
	set_state(place, STANDING_CALLING, false);
	result dialled = link_dial_with(place->standing->own, place->rot_id, &how, &link);
	if (dialled != OK)
		note_why(place, dialled);
	let_go(place);
	pthread_mutex_lock(&place->standing->lock);
	bool quiet = place->tries > 0;
	pthread_mutex_unlock(&place->standing->lock);
	if (dialled == OK) {
		serve(place, link, false);
		return;
	}
	log_failure(quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "an enrolled host is not linked", dialled);
	put_off(place, false, false);
}

static struct link *take_caller(struct place *place)
{
	pthread_mutex_lock(&place->standing->lock);
	struct link *link = place->came;
	place->came = NULL;
	pthread_mutex_unlock(&place->standing->lock);
	return link;
}

/* Until something has changed, or it is time to call. */
static bool await_turn(struct place *place)
{
	struct pollfd wait = {.fd = place->wake.n, .events = POLLIN};
	pthread_mutex_lock(&place->standing->lock);
	uint64_t now = clock_monotonic_ns(), next = place->next_ns;
	pthread_mutex_unlock(&place->standing->lock);
	if (place->has_address && next <= now)
		return true;
	(void)poll(&wait, 1, place->has_address ? (int)((next - now) / 1000000 + 1) : -1);
	return false;
}

static void *place_main(void *arg)
{
	struct place *place = arg;
	for (;;) {
		hear_ring(place);
		if (is_over(place))
			break;
		struct link *link = take_caller(place);
		if (link)
			serve(place, link, true);
		else if (await_turn(place))
			call(place);
	}
	link_free(take_caller(place));
	pthread_mutex_lock(&place->standing->lock);
	place->ended = true;
	pthread_mutex_unlock(&place->standing->lock);
	return NULL;
}

/* ---- Being called ----------------------------------------------------------------------------------- */

static struct place *find_place(struct standing *standing, const uint8_t *rot_id)
{
	for (struct place *place = standing->places; place; place = place->next)
		if (!place->gone && memcmp(place->rot_id, rot_id, OID_SIZE) == 0)
			return place;
	return NULL;
}

result standing_adopt(struct standing *standing, struct link **link)
{
	if (!standing)
		return fail(NO_STANDING_LINK, "host %s", link_peer(*link));
	ROOT_IDENTITY_HELD own = root_host_hold(standing->own->root);
	struct link *over = NULL;
	pthread_mutex_lock(&standing->lock);
	struct place *place = standing->stopping ? NULL : find_place(standing, link_peer_root(*link));
	if (place) {
		bool ours = place->state == STANDING_UP && !place->called && own && memcmp(own->rot_id, place->rot_id, OID_SIZE) < 0;
		over = ours ? *link : place->came;
		if (!ours)
			place->came = *link;
		*link = NULL;
		ring(place);
	}
	pthread_mutex_unlock(&standing->lock);
	link_end(over, OK);
	return place ? OK : fail(PEER_UNKNOWN, "no standing link is made with it");
}

/* ---- Which hosts are enrolled ------------------------------------------------------------------------ */

static void place_free(struct place *place)
{
	pthread_join(place->thread, NULL);
	fd_close(&place->wake);
	fd_close(&place->hold);
	free(place);
}

/* The lock is held. */
static void drop_gone(struct standing *standing, const struct peer *peers, size_t count)
{
	for (struct place *place = standing->places; place; place = place->next) {
		bool enrolled = false;
		for (size_t i = 0; i < count; i++)
			enrolled |= memcmp(peers[i].rot_id, place->rot_id, OID_SIZE) == 0;
		if (enrolled || place->gone)
			continue;
		place->gone = true;
		if (place->hold.n >= 0)
			(void)shutdown(place->hold.n, SHUT_RDWR);
		ring(place);
	}
}

static struct place *take_ended(struct standing *standing)
{
	for (struct place **at = &standing->places; *at; at = &(*at)->next)
		if ((*at)->ended) {
			struct place *place = *at;
			*at = place->next;
			return place;
		}
	return NULL;
}

/* The lock is held. */
static result add_place(struct standing *standing, const struct peer *peer)
{
	struct place *place = calloc(1, sizeof(*place));
	if (!place)
		return fail(NO_MEMORY, "a standing link");
	*place = (struct place){.standing = standing, .has_address = peer->address_count > 0, .hold = FD_NONE, .since = clock_wall_ms()};
	place->state = place->has_address ? STANDING_WAITING : STANDING_AWAITED;
	snprintf(place->name, sizeof(place->name), "%s", peer->name);
	memcpy(place->rot_id, peer->rot_id, OID_SIZE);
	place->wake = fd_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (place->wake.n < 0 || pthread_create(&place->thread, NULL, place_main, place) != 0) {
		fd_close(&place->wake);
		free(place);
		return fail(NO_MEMORY, "a thread for a standing link");
	}
	place->next = standing->places;
	standing->places = place;
	return OK;
}

void standing_refresh(struct standing *standing)
{
	CLEANUP(arena_free) struct arena arena = arena_of(PEERS_MEMORY);
	struct peer *peers;
	size_t count;
	struct place *ended;
	if (!standing)
		return;
	result listed = peers_list(standing->own->peers, &arena, &peers, &count);
	if (listed != OK) {
		log_failure(LOG_LEVEL_WARNING, "standing links stay as they are", listed);
		return;
	}
	pthread_mutex_lock(&standing->lock);
	drop_gone(standing, peers, count);
	for (size_t i = 0; i < count && !standing->stopping; i++)
		if (!find_place(standing, peers[i].rot_id) && add_place(standing, &peers[i]) != OK)
			log_warning("no standing link with a host", LOG_TEXT("host", peers[i].name), LOG_TEXT("why", failure_text()));
	while ((ended = take_ended(standing)))
		place_free(ended);
	pthread_mutex_unlock(&standing->lock);
}

/* ---- What is shown ---------------------------------------------------------------------------------- */

/* The lock is held. */
static result show_place(const struct standing *standing, const struct place *place, struct arena *arena, struct standing_row *out)
{
	uint64_t now = clock_monotonic_ns();
	void *operators;
	*out = (struct standing_row){
		.state = (uint8_t)place->state,
		.called = place->state == STANDING_UP && place->called,
		.since = place->since,
		.tries = place->tries,
		.next_ms = place->state == STANDING_WAITING && place->next_ns > now ? (place->next_ns - now) / 1000000 : 0,
	};
	TRY(arena_string(arena, span_str(place->name), &out->name));
	TRY(arena_string(arena, span_str(place->why), &out->why));
	TRY(arena_alloc(arena, REVOCATION_MAX_LISTS, sizeof(*out->operators), &operators));
	out->operators = operators;
	for (size_t i = 0; i < place->their_count; i++) {
		struct standing_operator *row = &out->operators[out->operator_count];
		row->there = place->theirs[i].version;
		memcpy(row->operator_id, place->theirs[i].operator_id, KEY_ID_SIZE);
		out->operator_count += revocations_version(standing->own->revocations, row->operator_id, &row->here);
	}
	return OK;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct standing_row *)a)->name, ((const struct standing_row *)b)->name);
}

result standing_status(struct standing *standing, struct arena *arena, struct standing_row **out, size_t *out_count)
{
	struct standing_row *rows;
	void *room;
	result shown = OK;
	*out_count = 0;
	TRY(arena_alloc(arena, PEERS_MAX, sizeof(*rows), &room));
	*out = rows = room;
	if (!standing)
		return OK;
	pthread_mutex_lock(&standing->lock);
	for (const struct place *place = standing->places; place && shown == OK && *out_count < PEERS_MAX; place = place->next)
		if (!place->gone)
			shown = show_place(standing, place, arena, &rows[(*out_count)++]);
	pthread_mutex_unlock(&standing->lock);
	if (shown == OK)
		qsort(rows, *out_count, sizeof(*rows), by_name);
	return shown;
}

/* ---- Start and end ---------------------------------------------------------------------------------- */

result standing_start(const struct link_own *own, struct standing **out)
{
	struct standing *standing = calloc(1, sizeof(*standing));
	if (!standing)
		return fail(NO_MEMORY, "standing links");
	standing->own = own;
	pthread_mutex_init(&standing->lock, NULL);
	standing_refresh(standing);
	*out = standing;
	return OK;
}

void standing_stop(struct standing *standing)
{
	if (!standing)
		return;
	pthread_mutex_lock(&standing->lock);
	standing->stopping = true;
	drop_gone(standing, NULL, 0);
	pthread_mutex_unlock(&standing->lock);
	while (standing->places) {
		struct place *place = standing->places;
		standing->places = place->next;
		place_free(place);
	}
	pthread_mutex_destroy(&standing->lock);
	free(standing);
}
