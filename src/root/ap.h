/*
 * The secure processor as an engine: it holds the root of trust, records measurements, endorses the keys of launches,
 * seals and unseals, and signs only objects that it can parse. No I/O, no clock: the program around it (cmd/troth_ap.c)
 * moves messages between the queue and ap_step, and writes what ap_step wants persisted.
 *
 *   ap_step -> AP_REPLY:   send reply
 *           -> AP_PERSIST: write `persist` durably, then ap_persisted(OK or why not) -> AP_REPLY
 *           -> AP_ROTATE:  ap_rotation_run(rotation) on another thread while ap_step goes on with other requests; when it
 *                          has returned, ap_rotated -> the reply to the request that gave AP_ROTATE
 *
 * A failed request yields an error reply (reason and text) and changes nothing. What may be asked in which state is a
 * table (ap.c). Once AP_FAILED nothing is endorsed, signed or unsealed until a restart.
 *
 * Rotation. The rotation works on copies: keys of the next epoch, its record, the whole new state; then it writes that
 * state, and only then the engine changes epoch. Until then everything is answered under the old epoch; requests that would
 * change the state are ROTATION_RUNNING. At most one rotation is under way.
 */
#ifndef TROTH_ROOT_AP_H
#define TROTH_ROOT_AP_H

#include "root/ap_message.h"
#include "root/ipq_message.h"

struct ap;
struct ap_platform;
struct token;

enum { AP_STATE_MAX = 48 * 1024, AP_MAX_LAUNCHES = 256, AP_MAX_REMEMBERED = 32768, CLOCK_BACK_MS = 5 * 60 * 1000 };

struct ap_config {
	struct span state;	    /* the newest persisted state; empty on the very first start */
	const struct secret *wrap_key; /* WRAP_KEY_SIZE bytes; copied */
	bool instrumented;	    /* carries the instrumentation call list */
	bool without_namespaces;    /* tier L: what the host event of register 1 must say */
	const char *secret_memory;
	/*
	 * Where signing keys of new roots are made, and lie; NULL: they come from seeds. Borrowed; used by ap_step and by
	 * ap_rotation_run, which wait for it. A root that was made without a token never uses one.
	 */
	struct token *token;
	const struct ap_denial *denials; /* provoked after confinement; borrowed */
	size_t denial_count;
	struct ap_platform *platform; /* a TPM (root/ap_platform.h); NULL: none. Borrowed */
};

enum ap_action_kind { AP_REPLY, AP_REPLY_ERROR, AP_PERSIST, AP_ROTATE };

struct ap_rotation;

struct ap_action {
	enum ap_action_kind kind;
	struct span reply;   /* AP_REPLY: body, borrowed until the next call */
	struct span persist; /* AP_PERSIST: the whole new state */
	enum reason reason;  /* AP_REPLY_ERROR */
	const char *text;
	struct ap_rotation *rotation; /* AP_ROTATE: owned by the engine */
};

/*
 * Loads the state and counts this boot: the first action is AP_PERSIST of the state with boot_gen + 1, and must be
 * acknowledged before anything else. BAD_TAG with another wrap key, parse reasons, CLOCK_BACK.
 */
NODISCARD result ap_new(const struct ap_config *config, uint64_t now_ms, struct ap **out, struct ap_action *out_first);
void ap_free(struct ap *ap); /* accepts NULL; wipes */

uint64_t ap_boot_gen(const struct ap *ap);

/* Profile sealed of the queue: an ipq_sign_hello whose context is the engine. Nothing is signed before there is a root. */
struct queue_hello;
NODISCARD result ap_sign_queue_hello(void *ap, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object);

/* What the machine's steady clock (CLOCK_MONOTONIC) shows: leases are measured by it. It never goes back here. */
void ap_tick(struct ap *ap, uint64_t steady_ms);

/* `body` is the message's payload as received, with its (era, epoch) head where the table says so. */
void ap_step(struct ap *ap, enum ipq_type type, struct span body, uint64_t now_ms, struct ap_action *out);
void ap_persisted(struct ap *ap, result written, struct ap_action *out);

/*
 * The work of a rotation, of a drain or of adopting a candidate. May run on any thread, once; touches nothing that ap_step
 * changes meanwhile. Calls `write` once, or twice when the former epoch has to go from both slots at once; `write`
 * returns OK when the bytes are durable. How it went is kept in the rotation.
 */
typedef result ap_write(void *context, struct span state);
void ap_rotation_run(struct ap_rotation *rotation, ap_write *write, void *context);

/* After ap_rotation_run has returned, on the engine's thread: changes epoch, frees the rotation, gives the reply. */
void ap_rotated(struct ap *ap, struct ap_rotation *rotation, uint64_t now_ms, struct ap_action *out);

#endif
