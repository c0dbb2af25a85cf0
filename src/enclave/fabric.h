/*
 * What a program and the troth-ire around it say to each other (docs/PROTOCOL.fabric): messages lv(CBOR) on the descriptor
 * that the manifest names. Every request has a tag and gets exactly one reply, in any order.
 *
 *	request = {1: type, 2: tag, 3: body bstr}	reply = {1: tag, 2: status, 3: reason, 4: text, 5: body bstr}
 *
 * An engine: it reads requests and writes replies. The program is hostile; what it may do is decided by runtime_fabric.c.
 * Decoded structures borrow from the request's bytes and from the arena.
 */
#ifndef TROTH_ENCLAVE_FABRIC_H
#define TROTH_ENCLAVE_FABRIC_H

#include "object/record.h"

enum {
	FABRIC_VERSION = 1,
	FABRIC_MAX = 64 * 1024,	     /* of a request or reply */
	FABRIC_DATA_MAX = 60 * 1024, /* bytes that one of them carries */
	FABRIC_MAX_CAUSES = 56,
	FABRIC_TEXT_MAX = 512,
	FABRIC_NONCE_MAX = 64,
	FABRIC_SEAL_MAX = 56 * 1024, /* of a value before it is sealed; sealed it is at most FABRIC_DATA_MAX */
};

enum fabric_type {
	FABRIC_HELLO = 1,
	FABRIC_CALL = 2,
	FABRIC_ACCEPT = 3,
	FABRIC_READ = 4,
	FABRIC_WRITE = 5,
	FABRIC_CLOSE = 6,
	FABRIC_RECORD = 7,
	FABRIC_ATTEST = 8,
	FABRIC_SIGN = 9,
	FABRIC_SEAL = 10,
	FABRIC_UNSEAL = 11,
};

/* What a program does with a refusal; the reason beside it says more. Equal to enum troth_status of troth.h. */
enum fabric_status {
	FABRIC_OK = 0,
	FABRIC_DENIED = 1,    /* a policy, the job or evidence forbids it */
	FABRIC_PEER_FAILED = 2, /* the other side gave up, died or lied */
	FABRIC_TIMED_OUT = 3,
	FABRIC_CANCELLED = 4,
	FABRIC_LIMIT = 5,
	FABRIC_MISUSED = 6,   /* the request makes no sense here */
	FABRIC_TROUBLE = 7,   /* the machine: memory, the host */
};
enum fabric_status fabric_status_of(enum reason reason);

struct fabric_handle {
	uint64_t number;
};

struct fabric_hello {
	uint64_t version;
};
struct fabric_edge {
	const char *name, *peer, *operation;
	bool outgoing;
};
struct fabric_welcome {
	uint64_t version;
	const char *enclave;
	uint8_t run_id[RUN_ID_SIZE];
	struct fabric_edge *edges;
	size_t edge_count;
};

struct fabric_call {
	const char *to;	       /* enclave */
	const char *operation; /* "": the only one that is declared */
	struct fabric_handle *causes;
	size_t cause_count;
	uint64_t timeout_ms; /* 0: the default */
	bool push;
	struct span data;
	bool last;
};
struct fabric_called {
	uint64_t handle;
};

struct fabric_accept {
	bool wait;
};
struct fabric_accepted {
	uint64_t handle; /* 0: none */
	const char *from, *edge, *operation;
	bool push;
	uint64_t timeout_ms;
	bool end; /* nobody is left who could call */
};

struct fabric_read {
	uint64_t handle;
	uint64_t most; /* bytes; 0: as many as fit */
};
struct fabric_data {
	struct span data;
	bool last; /* all of it has arrived and was vouched for */
};

struct fabric_write {
	uint64_t handle;
	struct span data;
	bool last;
};

struct fabric_close {
	uint64_t handle;
};

struct fabric_record {
	const char *name;
	struct fabric_handle *causes;
	size_t cause_count;
	struct span data;
};
struct fabric_recorded {
	uint8_t oid[OID_SIZE], salt[32], commit[SHA256_SIZE];
};

struct fabric_attest {
	struct span nonce;
};
struct fabric_attested {
	struct span certificate, report;
};

struct fabric_sign {
	const char *name, *media_type;
	struct span data;
};
struct fabric_object {
	struct span object; /* statement, or sealed value */
};

struct fabric_plain {
	struct span data; /* of SEAL, or from UNSEAL */
};

struct fabric_empty {
	bool nothing;
};

extern const struct schema fabric_hello_schema, fabric_welcome_schema, fabric_call_schema, fabric_called_schema, fabric_accept_schema,
	fabric_accepted_schema, fabric_read_schema, fabric_data_schema, fabric_write_schema, fabric_close_schema, fabric_record_schema,
	fabric_recorded_schema, fabric_attest_schema, fabric_attested_schema, fabric_sign_schema, fabric_object_schema, fabric_plain_schema,
	fabric_empty_schema;

union fabric_body {
	struct fabric_hello hello;
	struct fabric_call call;
	struct fabric_accept accept;
	struct fabric_read read;
	struct fabric_write write;
	struct fabric_close close;
	struct fabric_record record;
	struct fabric_attest attest;
	struct fabric_sign sign;
	struct fabric_plain plain;
	struct fabric_object object;
};

struct fabric_request {
	enum fabric_type type;
	uint64_t tag;
	union fabric_body body;
};

/*
 * One request. When `type` and `tag` could be read but the body could not, they are filled and *out_tagged is true: then the
 * program can be told. Otherwise nothing can be said any more.
 */
NODISCARD result fabric_parse(struct span message, struct arena *arena, struct fabric_request *out, bool *out_tagged);

/* Appends one reply, its length first; `body` of `schema`. */
NODISCARD result fabric_put_reply(uint64_t tag, const struct schema *schema, const void *body, struct writer *out);
/* The same of a refusal. `text` is cut. */
NODISCARD result fabric_put_refusal(uint64_t tag, enum reason reason, const char *text, struct writer *out);

#endif
