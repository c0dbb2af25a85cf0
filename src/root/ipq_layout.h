/*
 * Bytes of one ring of the inter-processor queue: the contents of a memfd (docs/PROTOCOL.ipq).
 *
 * The ring is memory that two processes on one machine read with plain loads, not a message: its integers
 * are 64- and 32-bit little-endian words at their natural alignment. Message bodies are big-endian like
 * everything else.
 */
#ifndef TROTH_ROOT_IPQ_LAYOUT_H
#define TROTH_ROOT_IPQ_LAYOUT_H

#include "base/compat.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the ring is defined as little-endian words and this machine would read them the other way round"
#endif

/* How payloads lie in the ring; an end speaks the one it was made for and refuses the other. */
enum ipq_profile { IPQ_PROFILE_LOCAL = 0, IPQ_PROFILE_SEALED = 1 };

enum {
	IPQ_VERSION = 1,

	IPQ_SLOTS = 2048,
	IPQ_SLOT_SIZE = 64,
	IPQ_HEAD_SIZE = 4096,
	IPQ_RING_SIZE = IPQ_HEAD_SIZE + IPQ_SLOTS * IPQ_SLOT_SIZE,

	/* Head. Line 0 is written once, before the ring is passed. */
	IPQ_AT_MAGIC = 0,     /* 8 bytes "troth-q1" */
	IPQ_AT_VERSION = 8,   /* u8 */
	IPQ_AT_PROFILE = 9,   /* u8 */
	IPQ_AT_DIRECTION = 10, /* u8: the role of the owner, 1 host, 2 secure processor */
	IPQ_AT_BARRIER = 11,  /* u8: 1 = the owner runs a global barrier before it sleeps */
	IPQ_AT_SLOTS = 12,    /* u32 */
	/* Line 1: the owner's waiting. */
	IPQ_AT_ASLEEP = 64, /* u32: 0 awake; else the number of this sleep */
	IPQ_AT_BELL = 68,   /* u32: moved by the owner to wake the other side */
	IPQ_AT_STATE = 72,  /* u32: 0 open, 1 closed, 2 poisoned */
	/* Line 2: what the owner has taken from the other ring. */
	IPQ_AT_CREDIT = 128, /* u64: slots */

	/* First slot of a message. */
	IPQ_SLOT_AT_SEQ = 0,	 /* u64: position + 1, positions counted from 0 for the life of the ring */
	IPQ_SLOT_AT_TYPE = 8,	 /* u16 */
	IPQ_SLOT_AT_PROFILE = 10, /* u8 */
	IPQ_SLOT_AT_ZERO = 11,	 /* u8: 0 */
	IPQ_SLOT_AT_LENGTH = 12, /* u32: bytes of payload */
	IPQ_SLOT_AT_ID = 16,	 /* u64 */
	IPQ_SLOT_AT_PAYLOAD = 24,
	IPQ_SLOT_INLINE = 40,
	/* Further slots of the same message: seq, then 56 bytes of payload. */
	IPQ_SLOT_AT_MORE = 8,
	IPQ_SLOT_MORE = 56,

	IPQ_PAYLOAD_MAX = 65536,
	/* The `sealed` profile adds a 16-byte tag to the payload. */
	IPQ_MESSAGE_SLOTS_MAX = 1 + (IPQ_PAYLOAD_MAX + 16 - IPQ_SLOT_INLINE + IPQ_SLOT_MORE - 1) / IPQ_SLOT_MORE,
	/* Credit is published each time this many slots were taken. */
	IPQ_CREDIT_STEP = IPQ_SLOTS / 8,
};

#define IPQ_MAGIC "troth-q1"

/* Whoever has drained the ring may still owe up to one step of credit; the largest message must fit beside it. */
_Static_assert(IPQ_MESSAGE_SLOTS_MAX + IPQ_CREDIT_STEP <= IPQ_SLOTS, "the largest message could wait for ever");
_Static_assert((IPQ_SLOTS & (IPQ_SLOTS - 1)) == 0, "positions are reduced by a mask");

#endif
