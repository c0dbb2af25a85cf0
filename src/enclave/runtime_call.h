/*
 * Calls between enclaves, inside troth-ire (constructions/dac.md; docs/PROTOCOL.dac "Calls", docs/PROTOCOL.fabric):
 *
 *	runtime_call.c		streams of calls on their channels, from OPEN to both ENDs
 *	runtime_fabric.c	the program: its requests and what it may do
 *	runtime_fetch.c		ancestors that do not come with END
 *	runtime_seal.c		what it seals to itself
 *	runtime_call_records.c	what is signed about calls, and how answers and questions are judged
 *
 * A call belongs to the runtime from its OPEN until both directions have ended and the program has closed it. Everything
 * that a program or a peer can make grow has a limit here. A channel of calls that breaks ends its calls, not the enclave.
 */
#ifndef TROTH_ENCLAVE_RUNTIME_CALL_H
#define TROTH_ENCLAVE_RUNTIME_CALL_H

#include "enclave/call_frame.h"
#include "enclave/fabric.h"
#include "enclave/runtime_internal.h"

enum {
	MAX_CALLS = 2560,     /* of one enclave, both directions, until they are closed */
	MAX_LINK_CALLS = 1280, /* of one channel */
	MAX_ACCEPTS = 64,     /* ACCEPTs that wait */
	CALL_DEFAULT_MS = 60 * 1000,
	CALL_LONGEST_MS = 24 * 3600 * 1000,
	CALLEE_SLACK_MS = 5000,
	LINK_BACKLOG_MAX = 4 << 20, /* of frames that a peer does not take: then it is not read from either */
	LINK_BACKLOG_ENOUGH = 256 * 1024,
	FABRIC_BACKLOG_MAX = 1 << 20, /* of replies that the program does not take: then it is not read from either */
	CALL_TEXT_MAX = 256,
	FOLD_AT = 40, /* leaves */
	MAX_GRANTS = 16, /* that a secure processor gives one launch, secrets of the manifest included */
};

/* What a record may be built on: another record, and the data that it brings. */
struct cause {
	struct record_parent parent;
	bool has_data;
	const char *name;
	uint8_t commit[SHA256_SIZE];
};

/* An END that waits for the ancestors of one before it. */
struct parked_end {
	uint64_t sid;
	struct data_end end; /* points into the arena */
};

/* What a channel of calls has beside the channel itself. */
struct call_link {
	struct deframer deframer;
	uint64_t last_sid; /* the greatest that was opened */
	size_t open;	   /* streams that are not over */
	struct id_set known; /* ids that the peer has, or may have for the asking: of records, certificates, reports and policies */
	bool dead; /* broken; its calls have failed */
	struct fetch_giver giver;
	struct fetch_taker taker;
	bool fetching; /* the END of stream fetch_sid waits for its ancestors */
	uint64_t fetch_sid, fetch_until_ns;
	struct parked_end *parked;
	size_t parked_count, parked_cap;
};

struct call_sending {
	uint8_t salt[DATA_SALT_SIZE], commit[SHA256_SIZE];
	struct hmac hmac;
	bool opened, last, ended; /* last: the program has given all of it; ended: END was sent */
	uint64_t length, credit;
	struct backlog waiting;
	bool has_writer;
	uint64_t writer; /* tag of a WRITE that waits for room */
};

struct call_receiving {
	uint8_t salt[DATA_SALT_SIZE], commit[SHA256_SIZE];
	struct hmac hmac;
	bool opened, ended; /* ended: END was verified */
	uint64_t length;
	struct backlog queue; /* at most CALL_WINDOW bytes */
	size_t untold;	      /* taken by the program, not told to the peer yet */
	bool has_reader;
	uint64_t reader, reader_most;
};

struct call {
	struct channel *channel; /* NULL: broken */
	uint64_t handle, sid;
	bool we_ask, push;
	bool accepted; /* the program knows of it */
	bool closed;   /* the program is done with it */
	bool out_over, in_over; /* nothing more goes out, comes in */
	bool noted;    /* among the leaves of the chain */
	uint8_t call_id[CALL_ID_SIZE];
	struct call_sending out;
	struct call_receiving in;
	enum reason reason; /* OK: not failed */
	char text[CALL_TEXT_MAX];
	struct record_parent theirs, ours; /* REQUEST or RESPONSE of the peer, of this side */
	bool has_theirs, has_ours;
	uint64_t causes_of[FABRIC_MAX_CAUSES]; /* handles */
	struct cause causes[FABRIC_MAX_CAUSES]; /* we_ask: named at the start; else: answers that came in for it */
	size_t cause_count;
	uint64_t deadline_ns;
};

/* A sealed value whose key was released to this launch: asked for once, opened as often as the program likes. */
struct released {
	uint8_t seal_oid[OID_SIZE], grant_oid[OID_SIZE];
	struct secret key;
	struct span grant;
	bool entered; /* its ORIGIN is signed */
};

struct calls {
	struct call *rows[MAX_CALLS];
	size_t count;
	uint64_t last_handle;
	int number; /* of the program's descriptor */
	struct fd program, far_end; /* far_end: until the program starts */
	struct deframer deframer;
	struct backlog replies;
	uint64_t accepts[MAX_ACCEPTS]; /* tags */
	size_t accept_count;
	result host_failed; /* in the middle of a request */
	bool deaf;    /* the program's end is closed */
	bool stopping; /* no new calls are accepted */
	bool quiet;   /* the program has ended and everything about calls is signed */
	struct cause leaves[FOLD_AT];
	size_t leaf_count;
	struct record_parent base; /* what everything of this enclave rests on: its inputs */
	bool has_base, base_is_origin;
	uint8_t base_commit[SHA256_SIZE];
	struct released released[MAX_GRANTS];
	size_t released_count;
	struct cause unsealed; /* all of them that have entered, so far */
	bool has_unsealed;
	uint64_t asked_at_ns; /* budget of what costs the secure processor */
	unsigned asked;
};

/* runtime_call.c */
struct call *call_find(const struct runtime *rt, uint64_t handle);
NODISCARD result call_new(struct runtime *rt, struct channel *channel, struct call **out);
/* Ends it on this side; the peer is told. The text is for the own program. */
void call_fail(struct runtime *rt, struct call *call, enum reason reason, const char *text);
/* As call_fail with what fail() noted. */
void call_fail_noted(struct runtime *rt, struct call *call, enum reason reason);
/* The program is done with it. */
void call_close(struct runtime *rt, struct call *call);
/* The first frame of this side. */
NODISCARD result call_open_out(struct runtime *rt, struct call *call, uint64_t timeout_ms);
/* Sends what can be sent, ends what can be ended, answers READs and WRITEs. */
void call_move(struct runtime *rt, struct call *call);
bool call_is_over(const struct call *call);

/* runtime_fabric.c */
void fabric_reply(struct runtime *rt, uint64_t tag, const struct schema *schema, const void *body);
void fabric_refuse(struct runtime *rt, uint64_t tag, enum reason reason, const char *text);
void fabric_done(struct runtime *rt, uint64_t tag);
/* Calls that wait to be accepted, or that nobody can come any more. */
void fabric_offer(struct runtime *rt);

/* The END of this stream has come, with all that its record depends on. A failure breaks the link. */
NODISCARD result call_end_is_whole(struct runtime *rt, struct channel *channel, uint64_t sid);

/* runtime_fetch.c: each failure breaks the link */
void fetch_free(struct call_link *link);
NODISCARD result fetch_answer(struct runtime *rt, struct channel *channel, uint64_t sid, const struct fetch_asked *asked);
NODISCARD result fetch_take_end(struct runtime *rt, struct channel *channel, uint64_t sid, const struct data_end *end);
NODISCARD result fetch_take_nodes(struct runtime *rt, struct channel *channel, uint64_t sid, const struct data_end *nodes);
NODISCARD result fetch_check_time(const struct channel *channel, uint64_t now_ns);

/* runtime_call_records.c */
/* Into the set: what came with END, and its record, whose ancestors are looked for from now on; what came with NODES. */
NODISCARD result call_take_records(struct runtime *rt, struct call_link *link, const struct data_end *end);
NODISCARD result call_take_nodes(struct runtime *rt, struct call_link *link, const struct data_end *nodes);
/* These records and what they name that the peer lacks. */
NODISCARD result call_fill_nodes(struct runtime *rt, struct call_link *link, const size_t *indices, size_t count, struct data_end *out);
NODISCARD result call_sign_request(struct runtime *rt, struct call *call, struct data_end *end);
NODISCARD result call_sign_response(struct runtime *rt, struct call *call, struct data_end *end);
/* Judges the record of END, after call_take_records, its closure, the policy. Fills `theirs`. */
NODISCARD result call_judge(struct runtime *rt, struct call *call);
/* Both, of an END that is whole. */
NODISCARD result call_accept(struct runtime *rt, struct call *call, const struct data_end *end);
/* One record for many answers that a call was served with. */
NODISCARD result call_fold_causes(struct runtime *rt, struct call *call);
/* What the call leaves in the chain becomes part of the enclave's own last record. */
NODISCARD result call_note(struct runtime *rt, struct call *call);
NODISCARD result call_record(struct runtime *rt, const struct cause *causes, size_t count, const char *name,
	const uint8_t commit[static SHA256_SIZE], uint8_t out_oid[static OID_SIZE]);
/* All that was unsealed becomes a parent of what is signed from now on. */
NODISCARD result call_note_unsealed(struct runtime *rt, const struct cause *origin);

/* runtime_seal.c */
void released_free(struct calls *calls);
NODISCARD result seal_value(struct runtime *rt, struct span data, struct bytes *out);
/* *out is wiped by its owner. */
NODISCARD result unseal_value(struct runtime *rt, struct span value, struct bytes *out);

#endif
