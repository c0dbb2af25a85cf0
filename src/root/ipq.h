/*
 * The inter-processor queue: how `trothd host` and its secure processor `troth-ap` talk (docs/PROTOCOL.ipq).
 *
 * Theory of operation. Two one-way rings, each in a memfd of its own. The end that writes a ring creates it,
 * maps it read-write and seals it, so that the other end can only ever map it read-only; how far an end has
 * read and whether it sleeps are told in that end's own ring. The other end may be malicious: cursors
 * are private, nothing of one's own is ever read back from shared memory, a slot is copied once and the copy is
 * checked. The first violation poisons the queue for good; the cure is a new secure processor with new rings.
 *
 *   host: ipq_create(IPQ_HOST)   pass ipq_fd to the AP, receive its fd    ipq_attach   ipq_greet
 *   AP:   ipq_create(IPQ_AP)     pass ipq_fd to the host, receive its fd  ipq_attach   ipq_greet_reply
 *   then  host: ipq_call, or ipq_request ... ipq_receive      AP: ipq_receive, ipq_reply | ipq_reply_error | ipq_event
 *
 * Two profiles, fixed when the queue is made: `local` (ipq_create) and `sealed` (ipq_create_sealed, ipq_greet_sealed,
 * ipq_greet_reply_sealed), in which payloads are encrypted for the way. On one machine `local` protects as
 * much; `sealed` is for a way that others can reach: PCIe, a card, a socket.
 *
 * Rules that both ends enforce: the type table of ipq_message.def; request ids rise and belong to this boot
 * of the secure processor (a request kept from an earlier boot is QUEUE_REPLAY); requests are answered in
 * any order, each exactly once, by its own reply type or ERROR; events carry id 0.
 *
 * A queue belongs to one thread at a time (only ipq_interrupt and ipq_nudge may be called from another). No hidden
 * threads.
 * Waiting: spin briefly, then sleep on a futex until the deadline; nobody spins when idle. After ipq_attach the
 * queue needs these system calls: futex, membarrier, clock_gettime (where it is no vDSO call); ipq_free adds
 * munmap and close. If membarrier is refused with an error, sleeping falls back to slices of 10 ms.
 *
 * Ownership: ipq_create allocates, ipq_free unmaps and closes. ipq_attach borrows the fd; the caller closes it.
 * Deadlines are clock_monotonic_ns() values; 0 has passed and so means "do not wait".
 *
 * Failures: QUEUE_POISONED (any call after a violation), QUEUE_CORRUPT, QUEUE_BAD_TYPE, QUEUE_BAD_CREDIT,
 * QUEUE_REPLAY (the violation itself, once), QUEUE_FULL / QUEUE_EMPTY (the try_ forms), TIMED_OUT (deadline;
 * the queue stays good), PEER_CLOSED, QUEUE_UNSEALED and QUEUE_HELLO (set-up), ILLEGAL_STATE (the caller
 * broke a rule above; nothing was sent).
 */
#ifndef TROTH_ROOT_IPQ_H
#define TROTH_ROOT_IPQ_H

#include "base/bytes.h"
#include "base/result.h"
#include "base/span.h"
#include "object/report.h"
#include "root/ipq_layout.h"
#include "root/ipq_message.h"

struct ipq;

/* A received message: a private copy. 64 KiB, so keep one per queue rather than one per call. */
struct ipq_message {
	enum ipq_type type;
	uint32_t len;
	uint64_t id;
	_Alignas(8) uint8_t data[IPQ_MESSAGE_SLOTS_MAX * IPQ_SLOT_SIZE]; /* `len` bytes count */
};

static inline struct span ipq_payload(const struct ipq_message *message)
{
	return span_of(message->data, message->len);
}

/* Answered requests a host may have under way at once. */
enum { IPQ_PENDING_MAX = 64 };

/* How long to poll before sleeping; less on a machine with one CPU, where polling only delays the other end. */
enum { IPQ_SPIN_NS = 20000 };

/* Creates and seals this end's ring. NOT_SUPPORTED where the kernel has no memfd or FUTURE_WRITE seal; NO_MEMORY. */
NODISCARD result ipq_create(enum ipq_role role, struct ipq **out_queue);

/*
 * The same in profile `sealed`. `pairing`, IPQ_PAIRING_SIZE bytes that the two ends alone know, is copied and wiped with the
 * greeting. BAD_KEY for another size.
 */
enum { IPQ_PAIRING_SIZE = 32 };
NODISCARD result ipq_create_sealed(enum ipq_role role, struct span pairing, struct ipq **out_queue);
enum ipq_profile ipq_profile(const struct ipq *queue);

/* The ring to pass to the other end; borrowed. -1 after ipq_drop_fd, which closes it once it has been passed. */
int ipq_fd(const struct ipq *queue);
void ipq_drop_fd(struct ipq *queue);

/*
 * Maps the other end's ring read-only. QUEUE_UNSEALED unless `peer_fd` is a memfd of exactly IPQ_RING_SIZE bytes
 * with exactly the seals SHRINK, GROW, FUTURE_WRITE, SEAL (F_SEAL_EXEC may be there too);
 * QUEUE_HELLO for another version, profile or direction. ILLEGAL_STATE the second time.
 */
NODISCARD result ipq_attach(struct ipq *queue, int peer_fd);

/* Polling time before a sleep, nanoseconds; 0 sleeps at once. */
void ipq_set_spin(struct ipq *queue, uint64_t spin_ns);

/* Tells the other end, unmaps, closes, wipes. Accepts NULL and *queue NULL; for CLEANUP(ipq_free). */
void ipq_free(struct ipq **queue);

/* The greeting. boot_gen >= 1 counts starts of this secure processor and binds every request id to this one. */
NODISCARD result ipq_greet(struct ipq *queue, uint64_t deadline_ns, uint64_t *out_boot_gen);
NODISCARD result ipq_greet_reply(struct ipq *queue, uint64_t boot_gen, uint64_t deadline_ns);

/*
 * Profile sealed. The AP has its answer signed: `sign` fills hello->epoch_oid, gives the current epoch record and the
 * `queue hello` object over *hello; before there is a root it gives neither. The host has both judged: `judge` is
 * called when the pairing secret is known to be the same, with empty spans before there is a root. What it
 * refuses ends the queue. QUEUE_HELLO also for another pairing secret (host); an AP meets that as QUEUE_CORRUPT of
 * the first request.
 */
typedef result ipq_sign_hello(void *context, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object);
typedef result ipq_judge_hello(void *context, const struct queue_hello *hello, struct span record, struct span object);
NODISCARD result ipq_greet_sealed(struct ipq *queue, uint64_t deadline_ns, ipq_judge_hello *judge, void *context,
				  uint64_t *out_boot_gen);
NODISCARD result ipq_greet_reply_sealed(struct ipq *queue, uint64_t boot_gen, uint64_t deadline_ns, ipq_sign_hello *sign,
					void *context);

/*
 * Host: sends a request and gives the id its reply will carry. TOO_LARGE beyond IPQ_PAYLOAD_MAX; QUEUE_FULL with
 * IPQ_PENDING_MAX requests under way (receive first).
 */
NODISCARD result ipq_request(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t deadline_ns,
			     uint64_t *out_id);
NODISCARD result ipq_try_request(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t *out_id);

/* AP: answers the unanswered request whose id is `id` with the reply type of its row. */
NODISCARD result ipq_reply(struct ipq *queue, uint64_t id, struct span payload, uint64_t deadline_ns);

/* AP: answers it with ERROR {reason u32, text}. `text` is cut to IPQ_ERROR_TEXT_MAX bytes; NULL for none. */
enum { IPQ_ERROR_TEXT_MAX = 512 };
NODISCARD result ipq_reply_error(struct ipq *queue, uint64_t id, enum reason reason, const char *text,
				 uint64_t deadline_ns);

/* AP: sends an EVENT, which nobody answers. */
NODISCARD result ipq_event(struct ipq *queue, struct span payload, uint64_t deadline_ns);
NODISCARD result ipq_try_event(struct ipq *queue, struct span payload);

/* The next message of the other end, copied and checked. `data` may be scribbled on when it fails. */
NODISCARD result ipq_receive(struct ipq *queue, struct ipq_message *out, uint64_t deadline_ns);
NODISCARD result ipq_try_receive(struct ipq *queue, struct ipq_message *out);

/*
 * Host: request and reply in one. Replies to older calls that timed out are dropped; each EVENT that arrives
 * first goes to `on_event` (NULL drops it). An ERROR becomes its own reason with its text as context.
 */
typedef void ipq_event_handler(void *context, struct span payload);
NODISCARD result ipq_call(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t deadline_ns,
			  ipq_event_handler *on_event, void *context, struct ipq_message *out);

/* Reads the body of an ERROR: returns the reason with the text as context, QUEUE_CORRUPT if it is malformed. */
NODISCARD result ipq_error_of(const struct ipq_message *message);

/* The violation that poisoned the queue; OK while it is good. Never OK again once it was not. */
enum reason ipq_poisoned(const struct ipq *queue);

/* Thread-safe: makes the owner's present and later waits end with PEER_CLOSED within a second (the other end died). */
void ipq_interrupt(struct ipq *queue);

/*
 * Thread-safe: the owner's present wait for something to receive, or its next one that would sleep, ends early with TIMED_OUT,
 * so that it looks at what another thread has done. One that falls between the owner's last look and its sleep may be
 * missed until its deadline: whoever expects a nudge sets one of milliseconds.
 */
void ipq_nudge(struct ipq *queue);

/* Figures for HEALTH and tests. */
struct ipq_counters {
	uint64_t sent, received; /* messages */
	uint64_t sleeps, wakes;	 /* futex waits and wakes by this end */
};
struct ipq_counters ipq_counters(const struct ipq *queue);

#endif
