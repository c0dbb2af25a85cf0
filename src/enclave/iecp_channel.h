/*
 * An open IECP channel: sealing and opening of records (docs/PROTOCOL.iecp, "Records"). An engine; used by one
 * thread at a time.
 *
 * A record is header[16] ‖ ciphertext ‖ tag[16]. Records are strictly in order: a gap, a repeat, a foreign
 * generation or a bad tag ends the channel, both ways, and every later call gives the first reason again. After
 * such a failure one ALERT may still be sent.
 *
 * A stream ends well only with CLOSE; iecp_channel_end says whether it did. CLOSE ends the data of its direction;
 * what renews keys may follow it. After an hour the channel carries no more data (REKEY_NEEDED) unless it was
 * re-handshaked (iecp_rekey.h); at the limits of volume the sender says KEYUPDATE and goes on.
 *
 * A channel is dead in a child of fork(2) (CHANNEL_FORKED): two processes would use one nonce twice.
 */
#ifndef TROTH_ENCLAVE_IECP_CHANNEL_H
#define TROTH_ENCLAVE_IECP_CHANNEL_H

#include "enclave/iecp.h"

enum iecp_record_type {
	IECP_DATA = 1,
	IECP_CLOSE = 2,
	IECP_KEYUPDATE = 3, /* the last record under this key: the next one comes from it */
	IECP_HS = 4,	    /* a piece of a re-handshake (iecp_rekey.h) */
	IECP_SWITCH = 5,    /* the last record under the keys of the handshake before */
	IECP_ALERT = 6,
};

enum {
	IECP_HEADER_SIZE = 16,
	IECP_RECORD_OVERHEAD = 32, /* header and tag */
	IECP_MAX_PLAIN = 65536,
	IECP_MAX_RECORD = IECP_MAX_PLAIN + IECP_RECORD_OVERHEAD,
	IECP_CHANNEL_ID_SIZE = 32,
	IECP_MAX_RECORDS = 1 << 23, /* per direction and generation */
};
#define IECP_MAX_BYTES ((uint64_t)1 << 36) /* of plaintext, per direction and generation */

/* A record that was opened. `plain` borrows from the caller's buffer. */
struct iecp_record {
	enum iecp_record_type type; /* KEYUPDATE and SWITCH have been dealt with; HS goes to iecp_rekey_receive */
	struct span plain;	    /* DATA, HS */
	uint16_t alert;		    /* ALERT: number of the peer's reason */
};

void iecp_channel_free(struct iecp_channel *channel); /* accepts NULL; wipes */

const struct iecp_peer *iecp_channel_peer(const struct iecp_channel *channel);
/* Equal on both sides, never secret: names the channel in logs and is psk_id of a re-handshake. */
const uint8_t *iecp_channel_id(const struct iecp_channel *channel);

/* The suite of its last handshake. Never lower than before. */
uint16_t iecp_channel_suite(const struct iecp_channel *channel);

/*
 * Seals `plain` (1..IECP_MAX_PLAIN bytes) as DATA into out, which has room for plain.len + IECP_RECORD_OVERHEAD.
 * In place when plain.data == out + IECP_HEADER_SIZE. REKEY_NEEDED, CHANNEL_FORKED, CHANNEL_CLOSED, BAD_VALUE.
 */
NODISCARD result iecp_seal(struct iecp_channel *channel, struct span plain, uint64_t now_steady_ms, uint8_t *out);

/*
 * To be asked before iecp_seal of `len` bytes: when true, iecp_seal_keyupdate must come first (iecp_seal would fail with
 * REKEY_NEEDED). A sender may do it at any other time too.
 */
bool iecp_keyupdate_due(const struct iecp_channel *channel, size_t len);
/* A lower limit of this side's own on what it sends under one key: at most so much plaintext before KEYUPDATE is due. 0: none. */
void iecp_channel_keyupdate_after(struct iecp_channel *channel, uint64_t bytes);
/* REKEY_NEEDED when this was the last generation: the channel can only be closed. */
NODISCARD result iecp_seal_keyupdate(struct iecp_channel *channel, uint8_t out[static IECP_RECORD_OVERHEAD]);

/* Ends the data of the own direction; the other may go on. Writes IECP_RECORD_OVERHEAD bytes. */
NODISCARD result iecp_seal_close(struct iecp_channel *channel, uint8_t out[static IECP_RECORD_OVERHEAD]);

/* Tells the peer why the channel ends, and ends it. Writes IECP_RECORD_OVERHEAD + 2 bytes. */
enum { IECP_ALERT_RECORD = IECP_RECORD_OVERHEAD + 2 };
NODISCARD result iecp_seal_alert(struct iecp_channel *channel, enum reason why, uint8_t out[static IECP_ALERT_RECORD]);

/*
 * Total size of the record that `buffered` begins with, from its header; 0 while that is incomplete. The header is not
 * authentic yet, but a length or type that no record has is refused here and ends the channel.
 */
NODISCARD result iecp_record_size(struct iecp_channel *channel, struct span buffered, size_t *out_total);

/*
 * Opens one whole record. `out` has room for record.len - IECP_RECORD_OVERHEAD bytes and may be
 * record.data + IECP_HEADER_SIZE. Once both sides have said CLOSE nothing is opened any more: CHANNEL_CLOSED, and that
 * ends nothing. An ALERT is delivered as a record and ends the channel (later calls: PEER_ALERT).
 */
NODISCARD result iecp_open(struct iecp_channel *channel, struct span record, uint64_t now_steady_ms, uint8_t *out,
	struct iecp_record *out_record);

/* The transport has ended. OK iff the peer's CLOSE came before; CHANNEL_TRUNCATED otherwise. */
NODISCARD result iecp_channel_end(struct iecp_channel *channel);

/* EX(exporter, label, context, len): a key that both sides, and nobody else, can derive. CHANNEL_FORKED, BAD_VALUE. */
NODISCARD result iecp_channel_export(const struct iecp_channel *channel, const char *label, struct span context,
	uint8_t *out, size_t len);

/* Key generation of one direction. */
uint16_t iecp_channel_generation(const struct iecp_channel *channel, bool sending);

/* Until when (steady ms) it carries data: an hour from its last handshake, or to the end of the peer's certificate. */
uint64_t iecp_channel_until(const struct iecp_channel *channel);
/* No longer than this, unless a re-handshake is finished before: the end of a grace. Never lengthens. */
void iecp_channel_end_by(struct iecp_channel *channel, uint64_t steady_ms);

/* psk_next: what a re-handshake of this channel mixes in. Borrowed secret memory. */
struct span iecp_channel_psk(const struct iecp_channel *channel);

#endif
