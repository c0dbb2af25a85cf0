/*
 * Re-handshake of an open IECP channel in place (docs/PROTOCOL.iecp "Re-handshake", constructions/iecp.md): M1..M3 travel
 * inside HS records while the old keys carry data; SWITCH ends the old keys of a direction. An engine: no I/O, no clock.
 *
 *	iecp_rekey_configure	once the channel is open, and again when the own certificate is a new one
 *	iecp_rekey_start	this side wants new keys: appends the records of M1
 *	iecp_rekey_receive	what an HS record held: appends what is to be answered, SWITCH included
 *
 * SWITCH of the peer is dealt with in iecp_open. A side that was never configured ends the channel when the peer starts.
 * Both may start at once: then the M1 of the side that opened the channel counts. Any failure ends the channel.
 * The peer must be who it was: same signing key, static KEM point, name and root; so must this side.
 *
 * After CLOSE both ways there is nothing to re-key: what still arrives of a handshake is passed over.
 */
#ifndef TROTH_ENCLAVE_IECP_REKEY_H
#define TROTH_ENCLAVE_IECP_REKEY_H

#include "enclave/iecp_channel.h"

/*
 * How this side does it: certificate, keys, epoch, own_name, verifier and hooks of `config`; the rest is the channel's. What
 * it points to is borrowed until it is replaced and the re-handshake that uses it is over. BAD_VALUE when keys or root are
 * not those the channel was opened with; ILLEGAL_STATE without a complete verifier.
 */
NODISCARD result iecp_rekey_configure(struct iecp_channel *channel, const struct iecp_config *config);

/* Between M1 and the peer's SWITCH. Meanwhile this side starts no other. */
bool iecp_rekey_is_running(const struct iecp_channel *channel);

/*
 * ILLEGAL_STATE while one is running or without iecp_rekey_configure, CHANNEL_CLOSED after CLOSE both ways: nothing has
 * changed. REKEY_NEEDED when no key generation is left, and anything else: the channel has ended.
 */
NODISCARD result iecp_rekey_start(struct iecp_channel *channel, struct iecp_time now, struct writer *out);

/* `piece` is the plaintext of one HS record, in the order of arrival. */
NODISCARD result iecp_rekey_receive(struct iecp_channel *channel, struct span piece, struct iecp_time now, struct writer *out);

/* How many were finished on this channel, from M1 to both SWITCHes. */
uint64_t iecp_rekey_count(const struct iecp_channel *channel);

#endif
