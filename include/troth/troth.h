/*
 * libtroth: what a program inside an isolated runtime environment says to the runtime around it (docs/LIBTROTH.md;
 * the protocol below it: docs/PROTOCOL.fabric). It calls other enclaves of its job, serves their calls, pushes data along an
 * edge, has the runtime sign records and statements, seals to itself, and gets fresh evidence about itself.
 *
 *	struct troth *t;
 *	if (troth_open(&t) != TROTH_OK) ...			once; not in several threads at once
 *	troth_call(t, "lookup", "", question, len, &answer, &answer_len);
 *	while (troth_accept(t, &call) == TROTH_OK) { ...read...; troth_respond(t, call.handle, answer, len); }
 *	troth_close(t);
 *
 * Every function that can fail returns an enum troth_status; troth_error() then has a sentence and troth_reason() the number
 * of the reason, both until the next call on the same `struct troth`. Outputs are untouched on failure.
 *
 * Ownership: what troth_call and troth_read_all give is the caller's, to be freed with free(). Strings of `struct
 * troth_incoming` and of troth_name live until troth_close. Handles are numbers; each is given back with troth_finish.
 *
 * The library needs libc alone, starts no thread, installs no signal handler and holds no key.
 */
#ifndef TROTH_TROTH_H
#define TROTH_TROTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TROTH_API __attribute__((visibility("default")))
#else
#define TROTH_API
#endif

enum troth_status {
	TROTH_OK = 0,
	TROTH_DENIED = 1,      /* a policy, the job or evidence forbids it */
	TROTH_PEER_FAILED = 2, /* the other side gave up, died or lied */
	TROTH_TIMED_OUT = 3,
	TROTH_CANCELLED = 4,
	TROTH_LIMIT = 5,       /* as many as may be, for now */
	TROTH_MISUSED = 6,     /* it makes no sense at this point; see troth_error */
	TROTH_TROUBLE = 7,     /* of the machine: memory, the runtime, the host */
	TROTH_END = 8,	       /* troth_accept: nobody is left who could call */
	TROTH_NO_FABRIC = 9,   /* troth_open: the job gives this program no descriptor */
};
TROTH_API const char *troth_status_name(enum troth_status status);

struct troth;

/* The conversation on the descriptor that TROTH_FABRIC names. TROTH_NO_FABRIC, TROTH_TROUBLE. Free with troth_close. */
TROTH_API enum troth_status troth_open(struct troth **out);
/* Unfinished calls are given up. Accepts NULL. */
TROTH_API void troth_close(struct troth *t);

TROTH_API const char *troth_name(const struct troth *t);       /* of this enclave */
TROTH_API const uint8_t *troth_run_id(const struct troth *t);  /* 32 bytes */
TROTH_API const char *troth_error(const struct troth *t);      /* "" after a success */
TROTH_API uint32_t troth_reason(const struct troth *t);	       /* 0 after a success; numbers as in `troth` messages */

/* ---- Calling ----------------------------------------------------------------------------------------------------- */

/*
 * Asks `peer` and waits for its whole answer. `operation` "" when the job has one edge to it. *out is the caller's.
 * In an enclave that serves exactly one call at this moment, the call is made on its behalf.
 */
TROTH_API enum troth_status troth_call(struct troth *t, const char *peer, const char *operation, const void *data, size_t len,
	void **out, size_t *out_len);

/* How to call; zeroes are good defaults. */
struct troth_options {
	uint64_t timeout_ms;	/* 0: 60 s */
	const uint64_t *causes; /* handles that this is based on: calls being served, answers received in full */
	size_t cause_count;	/* at most 56 */
	bool push;		/* one way: the other side only acknowledges it */
};

/* Streaming form: begins a call and returns at once; several may be in flight. `options` may be NULL. */
TROTH_API enum troth_status troth_connect(struct troth *t, const char *peer, const char *operation, const struct troth_options *options,
	uint64_t *out_handle);
/* Sends; blocks while the other side has no room. `last`: that was all, and it is signed for. Any length. */
TROTH_API enum troth_status troth_send(struct troth *t, uint64_t handle, const void *data, size_t len, bool last);
/*
 * Receives 0..cap bytes, waiting for the first. *out_last: all has arrived and was vouched for; before that nothing of it
 * counts. Of a push there is nothing to receive but that.
 */
TROTH_API enum troth_status troth_receive(struct troth *t, uint64_t handle, void *buffer, size_t cap, size_t *out_len, bool *out_last);
/* All of it, at most `max` bytes (TROTH_LIMIT beyond). *out is the caller's and NUL-terminated behind out_len. */
TROTH_API enum troth_status troth_read_all(struct troth *t, uint64_t handle, size_t max, void **out, size_t *out_len);
/* Done with it; an unfinished one is given up. */
TROTH_API enum troth_status troth_finish(struct troth *t, uint64_t handle);

/* One way: sends all of it and waits for the acknowledgement. */
TROTH_API enum troth_status troth_push(struct troth *t, const char *peer, const char *operation, const void *data, size_t len);

/* ---- Serving ------------------------------------------------------------------------------------------------------ */

struct troth_incoming {
	uint64_t handle;
	const char *from, *edge, *operation;
	bool push;	     /* no answer is wanted: read it and finish it */
	uint64_t timeout_ms; /* how long the caller still waits */
};
/* Waits for the next call. TROTH_END once every caller has ended or the enclave is told to stop: then end, too. */
TROTH_API enum troth_status troth_accept(struct troth *t, struct troth_incoming *out);
/* Sends the whole answer and finishes the call. */
TROTH_API enum troth_status troth_respond(struct troth *t, uint64_t handle, const void *data, size_t len);

/* ---- Records, evidence, statements ---------------------------------------------------------------------------------- */

struct troth_record {
	uint8_t oid[32], salt[32], commit[32]; /* commit = HMAC-SHA256(salt, data); the salt is yours to disclose */
};
/* The runtime signs that this program put out `data` under `name`, based on `causes`. At most 60 KiB. */
TROTH_API enum troth_status troth_record(struct troth *t, const char *name, const void *data, size_t len, const uint64_t *causes,
	size_t cause_count, struct troth_record *out);

/*
 * Fresh evidence over a verifier's nonce of 16 to 64 bytes: this enclave's certificate and the host's report about it, whose
 * challenge is SHA-512(lv("troth attest1") ‖ lv(nonce)). Both are the caller's.
 */
TROTH_API enum troth_status troth_attest(struct troth *t, const void *nonce, size_t len, void **out_certificate, size_t *out_certificate_len,
	void **out_report, size_t *out_report_len);

/* A statement object "program/NAME" about `data`, at most 60 KiB, signed with the enclave's key. *out is the caller's. */
TROTH_API enum troth_status troth_sign(struct troth *t, const char *name, const char *media_type, const void *data, size_t len, void **out,
	size_t *out_len);

/* ---- Sealing ---------------------------------------------------------------------------------------------------------- */

enum { TROTH_SEAL_MAX = 56 * 1024 };
/*
 * Seals at most TROTH_SEAL_MAX bytes to this very enclave: its name, its measurement, the root of trust of this host. What comes out
 * may lie anywhere; the program has to have it kept, as an output or with a peer. *out is the caller's.
 */
TROTH_API enum troth_status troth_seal(struct troth *t, const void *data, size_t len, void **out, size_t *out_len);
/*
 * Opens what this enclave sealed, in this launch or one before it. The receipt says so: who unseals may know it from then on.
 * At most 16 values in one launch (TROTH_LIMIT), the secrets of the job among them; TROTH_DENIED for what is another enclave's,
 * TROTH_MISUSED for what was altered. *out is the caller's, NUL-terminated behind out_len; wipe it.
 */
TROTH_API enum troth_status troth_unseal(struct troth *t, const void *sealed, size_t len, void **out, size_t *out_len);

#ifdef __cplusplus
}
#endif

#endif
