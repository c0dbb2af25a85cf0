/*
 * The link between two enrolled hosts (docs/PROTOCOL.link): TLS 1.3 with self-made certificates on both sides, then each side
 * shows a transport key object of its secure processor over its certificate's key, judged under the enrolled root. After that,
 * whole messages: u32 big-endian length, then CBOR {1: type, 2: body}, the body one structure of this page.
 *
 * What may be sent when is the business of the two ends (flow_remote.c coordinates, join.c takes part). A link belongs to
 * one thread at a time, but link_tick may be called beside it. After any failure but TIMED_OUT of link_take it is of no more use.
 */
#ifndef TROTH_JOB_LINK_H
#define TROTH_JOB_LINK_H

#include "enclave/launch.h"
#include "job/peers.h"
#include "net/tls.h"
#include "root/host.h"

enum link_type {
	LINK_HELLO = 1,     /* both sides, the one that connected first: who I am */
	LINK_FAILED = 2,    /* either side, at any time: the reason why it gives up */
	LINK_ALIVE = 3,     /* either side, whenever a second has passed without another message */
	LINK_EPOCHS = 4,    /* either side, after ACCEPT: what is known of roots */
	LINK_REVOCATIONS = 5, /* either side, after HELLO: revocation lists for whoever pins their operators */
	LINK_STAND = 6,     /* whoever connected, instead of OFFER: a standing link (job/standing.h) */
	LINK_HEAD = 7,      /* standing: the newest revocation head */
	LINK_WANT = 8,      /* standing: the list of an operator whose version is newer there */
	LINK_OFFER = 16,    /* coordinator: a run of a job */
	LINK_ACCEPT = 17,   /* participant: somebody has joined it here */
	LINK_LAUNCH = 18,   /* coordinator: prepare your stages */
	LINK_READY = 19,
	LINK_CONNECT = 20,  /* coordinator: the tokens of edges between hosts */
	LINK_CONNECTED = 21,
	LINK_START = 22,
	LINK_PROGRESS = 23, /* participant, at any time from LAUNCH to FINISHED */
	LINK_FINISHED = 24, /* participant: what its stages left */
	LINK_RECEIPT = 25,
	LINK_VERIFIED = 26, /* participant: the receipt convinces it */
	LINK_COMMIT = 27,   /* coordinator: it convinces everybody; publish */
	LINK_PUBLISHED = 28,
};
const char *link_type_name(enum link_type type);

enum {
	LINK_HELLO_MAX = 4 << 20,   /* of a message before the other side is known */
	LINK_MESSAGE_MAX = 320 << 20, /* after that; a receipt fits */
	LINK_TEXT_MAX = 1024,
	LINK_ALIVE_MS = 1000,
	LINK_SILENCE_MS = 10 * 1000, /* a host that says nothing for that long has failed */
	LINK_OPEN_MS = 10 * 1000,    /* connecting, TLS and HELLO together */
	LINK_SEND_MS = 20 * 1000,
	LINK_WAIT_MAX_MS = 8 * 1000, /* of an OFFER: shorter than silence */
	LINK_TOKEN_SIZE = 32,
	LINK_EDGES_MAX = 1024,
	LINK_LISTS_MAX = 64,
};

struct link_hello {
	uint8_t v;
	struct span key;     /* KIND_TRANSPORT_KEY object */
	struct span history; /* epoch_history of its own root */
};

struct link_failed {
	uint32_t reason;
	const char *text;
	const char *stage; /* that failed, or "" */
};

struct link_epochs {
	struct bytes_item *histories; /* epoch_history each */
	size_t history_count;
};

struct link_revocations {
	struct bytes_item *lists;
	size_t list_count;
};

struct link_head {
	struct span head; /* KIND_REVOCATION_HEAD object */
};

struct link_want {
	uint8_t operator_id[KEY_ID_SIZE];
};

struct link_offer {
	uint8_t v;
	uint8_t run_id[RUN_ID_SIZE];
	uint8_t job_digest[SHA256_SIZE];
	uint8_t rand[32];
	uint8_t nonce[32];
	bool has_nonce;
	const char *job;
	uint32_t wait_ms; /* how long to wait for somebody to join */
};

struct link_edge {
	const char *edge;
	uint8_t token[LINK_TOKEN_SIZE];
};
struct link_connect {
	struct link_edge *edges;
	size_t edge_count;
};

struct link_progress {
	const char *stage;
	const char *state; /* "" when only the amounts have changed */
	uint64_t bytes_in, bytes_out;
};

/* One stage's launch_result. */
struct link_stage {
	const char *name;
	struct launch_result left;
};
struct link_finished {
	struct link_stage *stages;
	size_t stage_count;
	struct bytes_item *platform; /* platform evidence of that host, if it has any */
	size_t platform_count;
	struct span history; /* of its root, as it is now */
};

struct link_receipt {
	struct span receipt;
};

struct link_empty {
	bool nothing;
};

/* Of the body of a type; NULL for an unknown one. */
const struct schema *link_schema(enum link_type type);
/* The {type, body} of one message, for engines and fuzzing. */
NODISCARD result link_parse(struct span bytes, enum link_type *out_type, struct span *out_body);

/* ---- links ----------------------------------------------------------------------------------------------------- */

struct revocation_host;
struct standing;

/* What a host shows and judges with; shared by all its links. */
struct link_own {
	struct root_host *root;
	struct peers *peers;
	struct tls_identity *identity;
	struct revocation_host *revocations; /* lists are passed on to each other; NULL: none */
	struct standing *standing; /* takes over standing links; NULL: there are none */
};

struct link;

/* To an enrolled host. PEER_UNREACHABLE, TLS_FAILED, TRANSPORT_KEY_WRONG, the reasons of peers_follow and peers_judge, and the peer's. */
NODISCARD result link_dial(const struct link_own *own, const uint8_t rot_id[static OID_SIZE], struct link **out);
/* The same; given up with TIMED_OUT once `cancel` is readable, and each connection is shown to `connected` before TLS begins. */
struct link_call {
	int cancel;
	void (*connected)(void *ctx, int fd);
	void *ctx;
};
NODISCARD result link_dial_with(const struct link_own *own, const uint8_t rot_id[static OID_SIZE], const struct link_call *call, struct link **out);
/* The other end of a connection that was accepted; takes the descriptor. */
NODISCARD result link_welcome(const struct link_own *own, struct fd *fd, struct link **out);
/* Ends it; tells the other side `why` first unless that is OK (text: failure_text() of this thread). Accepts NULL. */
void link_end(struct link *link, result why);
void link_free(struct link *link); /* as a crash would; accepts NULL */

const char *link_peer(const struct link *link); /* the name it is enrolled under */
const uint8_t *link_peer_root(const struct link *link);
/* Readable when link_take may have something. */
int link_fd(const struct link *link);

NODISCARD result link_send(struct link *link, enum link_type type, const void *body);

struct link_message {
	enum link_type type;
	struct bytes raw;
	struct span body;
};
#define LINK_MESSAGE_EMPTY ((struct link_message){.raw = {NULL, 0}})
void link_message_free(struct link_message *message);
NODISCARD result link_decode(const struct link_message *message, struct arena *arena, void *out);

/*
 * The next message; ALIVE is taken in silence. TIMED_OUT when there is none yet. FAILED of the other side is returned as a message.
 * HOST_FAILED when the other side ended or broke the connection or has been silent for too long; LINK_BROKEN for what is no message.
 */
NODISCARD result link_take(struct link *link, int timeout_ms, struct link_message *out);
/* How long the other side may be silent before link_take fails; from the start LINK_SILENCE_MS. A shorter time is a lease: LEASE_ENDED. */
void link_set_silence(struct link *link, uint32_t ms);
/* The FAILED that link_take gave, as a failure. */
NODISCARD result link_refusal(const struct link_message *message);
/* Says that this side lives, when it is time to. Call at least every LINK_ALIVE_MS. */
NODISCARD result link_tick(struct link *link);

#endif
