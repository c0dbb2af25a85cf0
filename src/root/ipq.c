/*
 * Memory order. A message becomes visible by the release store of its first slot's sequence number and is taken
 * after an acquire load of it; credit goes the other way by the same pair. No stronger order is needed between
 * two running ends.
 *
 * Sleep and wake need one: the waker stores (slot or credit), then loads `asleep`; the sleeper stores `asleep`, then
 * looks for the slot or credit. Were both loads to overtake the stores, nobody would wake the sleeper. A
 * fence after every send costs more than the send, so the sleeper alone pays: membarrier(GLOBAL_EXPEDITED)
 * is a full barrier on every running thread of processes that registered for it, as both ends do when they
 * can. An end that cannot run it says so in its ring's head, and then the other end fences. From then to the futex
 * call the `bell` takes over: it is read before `asleep` is stored and moves before each wake, so a sleep that would
 * begin too late does not begin. model/ipq.pml checks this with store buffers, and that each part is needed.
 */
#include "root/ipq.h"

#include "base/clock.h"
#include "base/fence.h"
#include "base/writer.h"
#include "root/ipq_ring.h"
#include "root/ipq_sealed.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define cpu_relax() __builtin_ia32_pause()
/* The compiler's own prefetch for writing falls back to one for reading on the oldest x86-64, which does harm here. */
#define prefetch_for_writing(at) __asm__ volatile("prefetchw %0" : : "m"(*(const char *)(at)))
#else
#define cpu_relax() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define prefetch_for_writing(at) __builtin_prefetch((at), 1)
#endif

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COLD __attribute__((noinline, cold))

enum { STATE_OPEN = 0, STATE_CLOSED = 1, STATE_POISONED = 2 };

/* A request id is boot_gen mod 2^24, then a 40-bit count: at a million requests a second it lasts twelve days. */
enum { ID_COUNT_BITS = 40, ID_GEN_MASK = 0xffffff };
#define ID_COUNT_MASK ((UINT64_C(1) << ID_COUNT_BITS) - 1)

/* Profile local. HELLO: version, profile, two zero bytes, nonce. HELLO_REPLY: version, profile, two zero bytes, boot_gen, nonce. */
enum { NONCE_SIZE = 32 };

enum {
	INLINE_WORDS = IPQ_SLOT_INLINE / 8,
	MORE_WORDS = IPQ_SLOT_MORE / 8,
	POLLS_BEFORE_CLOCK = 512,     /* about a microsecond: the peer's usual answer comes before a clock is read */
	POLLS_PER_CLOCK = 32,
	STREAM_REST_NS = 2000,
	/* Slots fetched ahead of need, by the sender for writing and by the receiver of a stream for reading: the way from
	 * one processor to the other takes as long as a dozen messages. */
	WRITE_AHEAD = 16,
	READ_AHEAD = 16,
	TYPES = 256,
};

#define SLEEP_SLICE_NS UINT64_C(1000000000)	     /* at most one idle wake-up a second */
#define SLEEP_SLICE_UNBARRIERED_NS UINT64_C(10000000) /* the barrier was refused: look again soon */

struct pending {
	uint64_t id;
	enum ipq_type reply;
};

struct ipq {
	/* Private copies of everything that matters; the shared rings are never read for these. */
	uint8_t *own;
	const uint8_t *peer;
	uint64_t produced;    /* slots written to the own ring */
	uint64_t peer_credit; /* slots of it that the peer has taken, as last believed */
	uint64_t consumed;    /* slots taken from the peer's ring */
	uint64_t credited;    /* of these, told to the peer */
	uint64_t last_id;     /* host: last id given out; AP: last id received */
	uint64_t boot_gen;    /* 0 before the greeting */
	uint32_t woken;	      /* the peer's sleep that was last ended by a wake */
	uint32_t sleep;	      /* number of the own last sleep */
	uint32_t bell;
	uint8_t accepts; /* bit of type_flags that a received type must have */
	bool fences;	 /* the peer cannot run the barrier for us, or we are not registered for it */
	bool barrier;
	bool interrupted; /* atomic */
	bool nudged;	  /* atomic */
	bool streaming;	  /* took a message and has sent none since: more of the same is likely */
	struct ipq_sealed *sealed; /* NULL: profile local */
	enum ipq_role role;
	enum reason poison;
	uint64_t spin_ns;
	size_t pending_first, pending_count;
	struct pending pending[IPQ_PENDING_MAX];
	struct ipq_counters counters;
	int fd;
};

/* Who may receive a type, by role and phase of the receiver. */
enum { HOST_HELLO = 1, HOST_OPEN = 2, AP_HELLO = 4, AP_OPEN = 8 };

#define RECEIVER_HOST(phase) AP_##phase
#define RECEIVER_AP(phase) HOST_##phase
enum { HOST_RESERVED = 0, AP_RESERVED = 0 };

static const uint8_t type_flags[TYPES] = {
#define IPQ_MESSAGE(number, name, sender, phase, expects, reply) [number] = RECEIVER_##sender(phase),
#include "root/ipq_message.def"
#undef IPQ_MESSAGE
};

/* What answers a request; IPQ_NONE for what is none. */
static const uint8_t type_reply[TYPES] = {
#define IPQ_MESSAGE(number, name, sender, phase, expects, reply) [number] = IPQ_##reply,
#include "root/ipq_message.def"
#undef IPQ_MESSAGE
};

/* ---- shared words ---- */

static uint32_t *own_word32(struct ipq *q, size_t at)
{
	return (uint32_t *)(void *)(q->own + at);
}

static const uint32_t *peer_word32(const struct ipq *q, size_t at)
{
	return (const uint32_t *)(const void *)(q->peer + at);
}

static uint64_t *own_slot(struct ipq *q, uint64_t position)
{
	return (uint64_t *)(void *)(q->own + IPQ_HEAD_SIZE + (position & (IPQ_SLOTS - 1)) * IPQ_SLOT_SIZE);
}

static const uint64_t *peer_slot(const struct ipq *q, uint64_t position)
{
	return (const uint64_t *)(const void *)(q->peer + IPQ_HEAD_SIZE +
						 (position & (IPQ_SLOTS - 1)) * IPQ_SLOT_SIZE);
}

static inline void put_word(uint64_t *at, uint64_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELAXED);
}

static inline uint64_t get_word(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* ---- system calls ---- */

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void futex_wake(const uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Returns when woken, at `until_ns`, when *word is not `value`, or for no reason: the caller looks again. */
static void futex_wait(const uint32_t *word, uint32_t value, uint64_t until_ns)
{
	struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
	(void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* ---- waking the other end ---- */

static COLD void ring_bell(struct ipq *q)
{
	__atomic_store_n(own_word32(q, IPQ_AT_BELL), ++q->bell, __ATOMIC_RELEASE);
	q->counters.wakes++;
	futex_wake(own_word32(q, IPQ_AT_BELL));
}

/* After anything the other end may wait for. Each of its sleeps is ended once, however much follows. */
static inline void wake_sleeper(struct ipq *q)
{
	if (UNLIKELY(q->fences))
		full_fence();
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST); /* the sleeper's membarrier makes a fence of it */
	uint32_t asleep = __atomic_load_n(peer_word32(q, IPQ_AT_ASLEEP), __ATOMIC_RELAXED);
	if (LIKELY(asleep == 0 || asleep == q->woken))
		return;
	q->woken = asleep;
	ring_bell(q);
}

static COLD void set_state(struct ipq *q, uint32_t state)
{
	__atomic_store_n(own_word32(q, IPQ_AT_STATE), state, __ATOMIC_RELEASE);
	ring_bell(q);
}

/* ---- poison ---- */

static COLD void poison_queue(struct ipq *q, enum reason reason)
{
	q->poison = reason;
	set_state(q, STATE_POISONED);
}

#define poison(q, reason, ...) (poison_queue((q), (reason)), fail((reason), __VA_ARGS__))

static COLD result refuse_poisoned(const struct ipq *q)
{
	return fail(QUEUE_POISONED, "the queue was poisoned by %s", reason_name(q->poison));
}

enum reason ipq_poisoned(const struct ipq *queue)
{
	return queue->poison;
}

/* ---- credit ---- */

static inline uint64_t room(const struct ipq *q)
{
	return IPQ_SLOTS - (q->produced - q->peer_credit);
}

static result refresh_credit(struct ipq *q)
{
	const uint64_t *shared = (const uint64_t *)(const void *)(q->peer + IPQ_AT_CREDIT);
	uint64_t credit = __atomic_load_n(shared, __ATOMIC_ACQUIRE);
	if (credit < q->peer_credit)
		return poison(q, QUEUE_BAD_CREDIT, "credit went back from %llu to %llu",
			      (unsigned long long)q->peer_credit, (unsigned long long)credit);
	if (credit > q->produced)
		return poison(q, QUEUE_BAD_CREDIT, "credit %llu exceeds the %llu slots written",
			      (unsigned long long)credit, (unsigned long long)q->produced);
	q->peer_credit = credit;
	return OK;
}

static void publish_credit(struct ipq *q)
{
	q->credited = q->consumed;
	__atomic_store_n((uint64_t *)(void *)(q->own + IPQ_AT_CREDIT), q->consumed, __ATOMIC_RELEASE);
	wake_sleeper(q);
}

/* ---- waiting ---- */

/* What the sequence number of the next slot to take reads until the peer writes that slot. */
static inline uint64_t stale_seq(uint64_t position)
{
	return position < IPQ_SLOTS ? 0 : position + 1 - IPQ_SLOTS;
}

/* Whether a receiver (need == 0) or a sender of `need` slots has a reason to look; it then judges by itself. */
static inline bool worth_looking(const struct ipq *q, uint64_t need)
{
	if (need == 0)
		return __atomic_load_n(peer_slot(q, q->consumed), __ATOMIC_ACQUIRE) != stale_seq(q->consumed);
	const uint64_t *shared = (const uint64_t *)(const void *)(q->peer + IPQ_AT_CREDIT);
	uint64_t credit = __atomic_load_n(shared, __ATOMIC_ACQUIRE);
	return q->produced - credit > IPQ_SLOTS || IPQ_SLOTS - (q->produced - credit) >= need;
}

static inline bool peer_gone(const struct ipq *q)
{
	return __atomic_load_n(peer_word32(q, IPQ_AT_STATE), __ATOMIC_ACQUIRE) != STATE_OPEN ||
	       __atomic_load_n(&q->interrupted, __ATOMIC_ACQUIRE);
}

/*
 * A receiver that keeps up with a stream would look at each line while the sender writes it, and every message would
 * cost a transfer there and back. Looking away for a moment lets many lines fill. Whoever waits for a
 * reply looks at once.
 */
static void look_away(void)
{
	uint64_t end = clock_monotonic_ns() + STREAM_REST_NS;
	while (clock_monotonic_ns() < end)
		cpu_relax();
}

static inline bool poll_briefly(const struct ipq *q, uint64_t need, uint64_t deadline_ns)
{
	if (q->spin_ns == 0)
		return false;
	if (q->streaming && need == 0)
		look_away();
	for (int i = 0; i < POLLS_BEFORE_CLOCK; i++)
		if (worth_looking(q, need))
			return true;
	uint64_t now = clock_monotonic_ns();
	uint64_t end = now + q->spin_ns < deadline_ns ? now + q->spin_ns : deadline_ns;
	while (now < end) {
		for (int i = 0; i < POLLS_PER_CLOCK; i++) {
			cpu_relax();
			if (worth_looking(q, need))
				return true;
		}
		now = clock_monotonic_ns();
	}
	return false;
}

static bool order_before_sleep(const struct ipq *q)
{
	if (q->barrier && membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) == 0)
		return true;
	full_fence();
	return !q->barrier; /* without it announced, the peer fences as well */
}

/* One sleep, ended by a wake, by `deadline_ns`, or after a slice. */
static void sleep_once(struct ipq *q, uint64_t need, uint64_t now, uint64_t deadline_ns)
{
	if (++q->sleep == 0)
		q->sleep = 1;
	/*
	 * The bell is read before the sleep is told: the wake that this sleep gets, its only one, then always differs from
	 * `rung`. Read later, a wake on account of something older could pass unseen (model/ipq.weak-bell-late.pml).
	 */
	const uint32_t *bell = peer_word32(q, IPQ_AT_BELL);
	uint32_t rung = __atomic_load_n(bell, __ATOMIC_ACQUIRE);
	__atomic_store_n(own_word32(q, IPQ_AT_ASLEEP), q->sleep, __ATOMIC_RELEASE);
	uint64_t slice = order_before_sleep(q) ? SLEEP_SLICE_NS : SLEEP_SLICE_UNBARRIERED_NS;
	if (!worth_looking(q, need) && !peer_gone(q) && !__atomic_load_n(&q->nudged, __ATOMIC_ACQUIRE)) {
		q->counters.sleeps++;
		futex_wait(bell, rung, deadline_ns - now < slice ? deadline_ns : now + slice);
	}
	__atomic_store_n(own_word32(q, IPQ_AT_ASLEEP), 0, __ATOMIC_RELAXED);
}

/* OK when there is something to look at, TIMED_OUT, PEER_CLOSED. */
static __attribute__((noinline)) result wait_for(struct ipq *q, uint64_t need, uint64_t deadline_ns)
{
	if (poll_briefly(q, need, deadline_ns))
		return OK;
	if (q->credited != q->consumed)
		publish_credit(q);
	for (;;) {
		bool gone = peer_gone(q);
		if (worth_looking(q, need))
			return OK;
		if (gone)
			return fail(PEER_CLOSED, "the other end of the queue has closed it");
		uint64_t now = clock_monotonic_ns();
		if (now >= deadline_ns || __atomic_exchange_n(&q->nudged, false, __ATOMIC_ACQUIRE))
			return fail(TIMED_OUT, "the other end of the queue did not move in time");
		sleep_once(q, need, now, deadline_ns);
	}
}

/* ---- sending ---- */

static inline uint64_t slots_of(size_t len)
{
	return len <= IPQ_SLOT_INLINE ? 1 : 1 + (len - IPQ_SLOT_INLINE + IPQ_SLOT_MORE - 1) / IPQ_SLOT_MORE;
}

/* `len` < 8 bytes as a word, padded with zero. */
static inline uint64_t part_word(const uint8_t *at, size_t len)
{
	uint64_t word = 0;
	for (size_t i = 0; i < len; i++)
		word |= (uint64_t)at[i] << (8 * i);
	return word;
}

/* Writes `words` words of a slot from the next bytes of a payload, zero beyond its end. */
static inline void write_words(uint64_t *to, size_t words, struct span from)
{
	size_t whole = from.len / 8 < words ? from.len / 8 : words;
	for (size_t w = 0; w < whole; w++) {
		uint64_t word;
		memcpy(&word, from.data + w * 8, sizeof word);
		put_word(to + w, word);
	}
	if (whole == words)
		return;
	put_word(to + whole, part_word(from.data + whole * 8, from.len % 8));
	for (size_t w = whole + 1; w < words; w++)
		put_word(to + w, 0);
}

static __attribute__((noinline)) void write_more(struct ipq *q, uint64_t slots, struct span rest)
{
	for (uint64_t i = 1; i < slots; i++) {
		uint64_t *slot = own_slot(q, q->produced + i);
		write_words(slot + 1, MORE_WORDS, rest);
		put_word(slot, q->produced + i + 1);
		if (rest.len > IPQ_SLOT_MORE)
			rest = span_of(rest.data + IPQ_SLOT_MORE, rest.len - IPQ_SLOT_MORE);
	}
}

/* The second word of a message's first slot. */
static inline uint64_t head_word(enum ipq_type type, unsigned profile, size_t len)
{
	return (uint64_t)type | (uint64_t)profile << 16 | (uint64_t)len << 32;
}

/* The first slot is published last, so a message is there whole or not at all. */
static inline void write_message(struct ipq *q, uint64_t head, uint64_t id, struct span payload, uint64_t slots)
{
	uint64_t *slot = own_slot(q, q->produced);
	write_words(slot + IPQ_SLOT_AT_PAYLOAD / 8, INLINE_WORDS, payload);
	put_word(slot + 1, head);
	put_word(slot + 2, id);
	if (UNLIKELY(slots > 1))
		write_more(q, slots, span_of(payload.data + IPQ_SLOT_INLINE, payload.len - IPQ_SLOT_INLINE));
	__atomic_store_n(slot, q->produced + 1, __ATOMIC_RELEASE);
	q->produced += slots;
}

static __attribute__((noinline)) result wait_for_room(struct ipq *q, uint64_t slots, const uint64_t *deadline_ns)
{
	TRY(refresh_credit(q));
	while (room(q) < slots) {
		if (!deadline_ns)
			return QUEUE_FULL;
		TRY(wait_for(q, slots, *deadline_ns));
		TRY(refresh_credit(q));
	}
	return OK;
}

static COLD result refuse_size(size_t len)
{
	return fail(TOO_LARGE, "a message of %zu bytes does not fit the queue", len);
}

static inline void signal_message(struct ipq *q)
{
	q->streaming = false;
	q->counters.sent++;
	wake_sleeper(q);
}

/* The greeting itself is sent in the clear and is what the keys are made from; these types pass in no other phase. */
static inline bool is_greeting(enum ipq_type type)
{
	return type == IPQ_HELLO || type == IPQ_HELLO_REPLY;
}

/* Profile sealed: the payload is sealed into memory of this process, and only the ciphertext goes to the ring. */
static __attribute__((noinline)) result send_sealed(struct ipq *q, enum ipq_type type, uint64_t id, struct span payload,
						    const uint64_t *deadline_ns)
{
	size_t len = payload.len + (is_greeting(type) ? 0 : AEAD_TAG_SIZE);
	uint64_t slots = slots_of(len);
	if (UNLIKELY(room(q) < slots))
		TRY(wait_for_room(q, slots, deadline_ns));
	const uint64_t head[3] = {q->produced + 1, head_word(type, IPQ_PROFILE_SEALED, len), id};
	if (!is_greeting(type)) {
		TRY(ipq_sealed_seal(q->sealed, head, payload, q->sealed->buffer));
		payload = span_of(q->sealed->buffer, len);
	}
	write_message(q, head[1], id, payload, slots);
	signal_message(q);
	return OK;
}

static inline __attribute__((always_inline)) result send_message(struct ipq *q, enum ipq_type type, uint64_t id, struct span payload,
				  const uint64_t *deadline_ns)
{
	if (UNLIKELY(q->poison != OK))
		return refuse_poisoned(q);
	if (UNLIKELY(payload.len > IPQ_PAYLOAD_MAX))
		return refuse_size(payload.len);
	if (UNLIKELY(q->sealed != NULL))
		return send_sealed(q, type, id, payload, deadline_ns);
	uint64_t slots = slots_of(payload.len);
	if (UNLIKELY(room(q) < slots))
		TRY(wait_for_room(q, slots, deadline_ns));
	prefetch_for_writing(own_slot(q, q->produced + WRITE_AHEAD));
	write_message(q, head_word(type, IPQ_PROFILE_LOCAL, payload.len), id, payload, slots);
	signal_message(q);
	return OK;
}

/* ---- receiving ---- */

/*
 * Bits of a word that lie beyond `len` bytes of payload, for the word that begins at byte `at`. The table spares the
 * short message, which is nearly every one, a loop with branches.
 */
#define BEYOND(len, at)                                                                                                \
	((len) >= (at) + 8 ? UINT64_C(0) : (len) <= (at) ? ~UINT64_C(0) : ~UINT64_C(0) << (8 * (((len) - (at)) & 7)))
#define BEYOND_ROW(len) {BEYOND(len, 0), BEYOND(len, 8), BEYOND(len, 16), BEYOND(len, 24), BEYOND(len, 32)}
#define BEYOND_ROWS(len)                                                                                               \
	BEYOND_ROW(len), BEYOND_ROW((len) + 1), BEYOND_ROW((len) + 2), BEYOND_ROW((len) + 3), BEYOND_ROW((len) + 4),   \
		BEYOND_ROW((len) + 5), BEYOND_ROW((len) + 6), BEYOND_ROW((len) + 7)

static const uint64_t beyond_inline[IPQ_SLOT_INLINE + 1][INLINE_WORDS] = {
	BEYOND_ROWS(0), BEYOND_ROWS(8), BEYOND_ROWS(16), BEYOND_ROWS(24), BEYOND_ROWS(32), BEYOND_ROW(40),
};

/* Copies the payload of a first slot, each word read once, and gives what lies beyond `len` <= 40 bytes of it. */
static inline uint64_t copy_inline(const uint64_t *slot, size_t len, uint8_t *out)
{
	const uint64_t *mask = beyond_inline[len];
	uint64_t padding = 0;
	for (size_t w = 0; w < INLINE_WORDS; w++) {
		uint64_t word = get_word(slot + IPQ_SLOT_AT_PAYLOAD / 8 + w);
		memcpy(out + w * 8, &word, sizeof word);
		padding |= word & mask[w];
	}
	return padding;
}

/* The same for a further slot and `len` <= 56 bytes. */
static inline uint64_t copy_further(const uint64_t *slot, size_t len, uint8_t *out)
{
	uint64_t padding = 0;
	for (size_t w = 0; w < MORE_WORDS; w++) {
		uint64_t word = get_word(slot + IPQ_SLOT_AT_MORE / 8 + w);
		memcpy(out + w * 8, &word, sizeof word);
		if (w >= len / 8)
			padding |= w == len / 8 ? word >> (8 * (len % 8)) : word;
	}
	return padding;
}

static COLD result refuse_padding(struct ipq *q)
{
	return poison(q, QUEUE_CORRUPT, "the bytes after a message are not zero");
}

/* Copies the further slots of a message, `left` bytes, and checks their sequence numbers and padding. */
static __attribute__((noinline)) result copy_more(struct ipq *q, uint64_t slots, size_t left, uint8_t *out)
{
	uint64_t padding = 0;
	for (uint64_t i = 1; i < slots; i++) {
		const uint64_t *slot = peer_slot(q, q->consumed + i);
		if (get_word(slot) != q->consumed + i + 1)
			return poison(q, QUEUE_CORRUPT, "slot %llu of a message is not there",
				      (unsigned long long)i);
		size_t here = left < IPQ_SLOT_MORE ? left : IPQ_SLOT_MORE;
		padding |= copy_further(slot, here, out);
		left -= here;
		out += IPQ_SLOT_MORE;
	}
	return padding == 0 ? OK : refuse_padding(q);
}

static inline void take_slots(struct ipq *q, uint64_t slots)
{
	q->consumed += slots;
	q->streaming = true;
	q->counters.received++;
	if (UNLIKELY(q->consumed - q->credited >= IPQ_CREDIT_STEP))
		publish_credit(q);
}

static void add_pending(struct ipq *q, enum ipq_type request, uint64_t id)
{
	size_t at = (q->pending_first + q->pending_count++) % IPQ_PENDING_MAX;
	q->pending[at] = (struct pending){.id = id, .reply = (enum ipq_type)type_reply[request]};
	q->last_id = id;
}

/* The place of a request under way, counted from the oldest, which it nearly always is; pending_count when there is none. */
static inline size_t find_pending(const struct ipq *q, uint64_t id)
{
	size_t at = 0;
	while (at < q->pending_count && q->pending[(q->pending_first + at) % IPQ_PENDING_MAX].id != id)
		at++;
	return at;
}

static inline enum ipq_type pending_reply(const struct ipq *q, size_t at)
{
	return q->pending[(q->pending_first + at) % IPQ_PENDING_MAX].reply;
}

/* Those older than it move up by one. */
static inline void drop_pending(struct ipq *q, size_t at)
{
	for (; UNLIKELY(at > 0); at--)
		q->pending[(q->pending_first + at) % IPQ_PENDING_MAX] = q->pending[(q->pending_first + at - 1) % IPQ_PENDING_MAX];
	q->pending_first = (q->pending_first + 1) % IPQ_PENDING_MAX;
	q->pending_count--;
}

/* A request must carry an id of this boot that is higher than all before. */
static result judge_request(struct ipq *q, enum ipq_type type, uint64_t id)
{
	if (id >> ID_COUNT_BITS != (q->boot_gen & ID_GEN_MASK))
		return poison(q, QUEUE_REPLAY, "request %#llx belongs to another start of the secure processor",
			      (unsigned long long)id);
	if (id <= q->last_id)
		return poison(q, QUEUE_REPLAY, "request %#llx comes after %#llx", (unsigned long long)id,
			      (unsigned long long)q->last_id);
	add_pending(q, type, id);
	return OK;
}

/* A reply must be one that a request under way is waiting for. */
static result judge_reply(struct ipq *q, enum ipq_type type, uint64_t id)
{
	if (type == IPQ_EVENT) {
		if (id != 0)
			return poison(q, QUEUE_REPLAY, "an event carries id %#llx", (unsigned long long)id);
		return OK;
	}
	size_t at = find_pending(q, id);
	if (at == q->pending_count)
		return poison(q, QUEUE_REPLAY, "no request waits for reply %#llx", (unsigned long long)id);
	if (type != pending_reply(q, at) && type != IPQ_ERROR)
		return poison(q, QUEUE_BAD_TYPE, "%s answers a request that only %s answers", ipq_message_name(type),
			      ipq_message_name(pending_reply(q, at)));
	drop_pending(q, at);
	return OK;
}

static inline result judge_id(struct ipq *q, enum ipq_type type, uint64_t id)
{
	if (LIKELY(q->boot_gen != 0))
		return q->role == IPQ_HOST ? judge_reply(q, type, id) : judge_request(q, type, id);
	if (id != 0)
		return poison(q, QUEUE_REPLAY, "the greeting carries id %#llx", (unsigned long long)id);
	return OK;
}

/* Why a slot was not taken: the slow half of take_message, which has found the fault in its private copy. */
static COLD result refuse_sequence(struct ipq *q, uint64_t seq)
{
	return poison(q, QUEUE_CORRUPT, "slot %llu carries sequence number %llu", (unsigned long long)q->consumed,
		      (unsigned long long)seq);
}

static COLD result refuse_head(struct ipq *q, uint64_t head)
{
	unsigned type = (unsigned)(head & 0xffff);
	if ((head >> 16 & 0xffff) != (q->sealed ? IPQ_PROFILE_SEALED : IPQ_PROFILE_LOCAL))
		return poison(q, QUEUE_CORRUPT, "a slot is of another profile or has reserved bits set");
	if (head >> 32 > IPQ_PAYLOAD_MAX || (q->sealed && head >> 32 < AEAD_TAG_SIZE))
		return poison(q, QUEUE_CORRUPT, "a message claims %u bytes", (unsigned)(head >> 32));
	return poison(q, QUEUE_BAD_TYPE, "message %u (%s) is not allowed here", type, ipq_message_name(type));
}

/* Known type that may be received now, profile local, reserved byte zero, length within the limit. */
static inline bool head_is_good(const struct ipq *q, uint64_t head)
{
	return (head & 0xffffff00) == 0 && head >> 32 <= IPQ_PAYLOAD_MAX && (type_flags[head & 0xff] & q->accepts);
}

/* The same in profile sealed, where only the greeting comes without a tag. */
static inline bool sealed_head_is_good(const struct ipq *q, uint64_t head)
{
	enum ipq_type type = (enum ipq_type)(head & 0xff);
	uint64_t len = head >> 32, tag = is_greeting(type) ? 0 : AEAD_TAG_SIZE;
	return (head & 0xffffff00) == (uint64_t)IPQ_PROFILE_SEALED << 16 && len >= tag && len - tag <= IPQ_PAYLOAD_MAX &&
	       (type_flags[type] & q->accepts);
}

/* Profile sealed: the ciphertext is copied whole, and opened where only this process can reach it. */
static __attribute__((noinline)) result take_sealed(struct ipq *q, const uint64_t *slot, struct ipq_message *out)
{
	const uint64_t head[3] = {q->consumed + 1, get_word(slot + 1), get_word(slot + 2)};
	if (UNLIKELY(!sealed_head_is_good(q, head[1])))
		return refuse_head(q, head[1]);
	enum ipq_type type = (enum ipq_type)(head[1] & 0xff);
	size_t len = (size_t)(head[1] >> 32);
	uint64_t slots = slots_of(len);
	if (UNLIKELY(copy_inline(slot, len < IPQ_SLOT_INLINE ? len : IPQ_SLOT_INLINE, out->data) != 0))
		return refuse_padding(q);
	if (slots > 1)
		TRY(copy_more(q, slots, len - IPQ_SLOT_INLINE, out->data + IPQ_SLOT_INLINE));
	if (!is_greeting(type)) {
		if (UNLIKELY(ipq_sealed_open(q->sealed, head, span_of(out->data, len), out->data) != OK))
			return poison(q, QUEUE_CORRUPT, "message %u in slot %llu does not open under the key of this queue",
				      (unsigned)type, (unsigned long long)q->consumed);
		len -= AEAD_TAG_SIZE;
	}
	if (type != IPQ_EVENT || head[2] != 0)
		TRY(judge_id(q, type, head[2]));
	out->type = type;
	out->len = (uint32_t)len;
	out->id = head[2];
	take_slots(q, slots);
	return OK;
}

/* One look at the next slot. QUEUE_EMPTY, a violation, or the message. */
static inline __attribute__((always_inline)) result take_message(struct ipq *q, struct ipq_message *out)
{
	const uint64_t *slot = peer_slot(q, q->consumed);
	uint64_t seq = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	if (UNLIKELY(seq != q->consumed + 1))
		return seq == stale_seq(q->consumed) ? QUEUE_EMPTY : refuse_sequence(q, seq);
	if (q->streaming)
		__builtin_prefetch(peer_slot(q, q->consumed + READ_AHEAD));
	else /* an answer is likely to follow: its slot is fetched while this message is judged */
		prefetch_for_writing(own_slot(q, q->produced));
	if (UNLIKELY(q->sealed != NULL))
		return take_sealed(q, slot, out);
	uint64_t head = get_word(slot + 1);
	uint64_t id = get_word(slot + 2);
	if (UNLIKELY(!head_is_good(q, head)))
		return refuse_head(q, head);

	enum ipq_type type = (enum ipq_type)(head & 0xff);
	size_t len = (size_t)(head >> 32);
	uint64_t slots = slots_of(len);
	if (UNLIKELY(copy_inline(slot, len < IPQ_SLOT_INLINE ? len : IPQ_SLOT_INLINE, out->data) != 0))
		return refuse_padding(q);
	if (UNLIKELY(slots > 1))
		TRY(copy_more(q, slots, len - IPQ_SLOT_INLINE, out->data + IPQ_SLOT_INLINE));
	if (type != IPQ_EVENT || id != 0)
		TRY(judge_id(q, type, id));

	out->type = type;
	out->len = (uint32_t)len;
	out->id = id;
	take_slots(q, slots);
	return OK;
}

static COLD result refuse_receive(const struct ipq *q)
{
	if (q->poison != OK)
		return refuse_poisoned(q);
	if (!q->peer)
		return fail(ILLEGAL_STATE, "the other end's ring was not attached");
	return fail(ILLEGAL_STATE, "%d requests wait for their answer", (int)IPQ_PENDING_MAX);
}

static inline bool may_receive(const struct ipq *q)
{
	return LIKELY(q->poison == OK && q->peer && !(q->role == IPQ_AP && q->pending_count == IPQ_PENDING_MAX));
}

result ipq_try_receive(struct ipq *queue, struct ipq_message *out)
{
	if (UNLIKELY(!may_receive(queue)))
		return refuse_receive(queue);
	bool gone = peer_gone(queue);
	result taken = take_message(queue, out);
	if (UNLIKELY(taken == QUEUE_EMPTY && gone))
		return fail(PEER_CLOSED, "the other end of the queue has closed it");
	return taken;
}

result ipq_receive(struct ipq *queue, struct ipq_message *out, uint64_t deadline_ns)
{
	if (UNLIKELY(!may_receive(queue)))
		return refuse_receive(queue);
	for (;;) {
		result taken = take_message(queue, out);
		if (LIKELY(taken != QUEUE_EMPTY))
			return taken;
		TRY(wait_for(queue, 0, deadline_ns));
	}
}

/* ---- host ---- */

static inline result request(struct ipq *q, enum ipq_type type, struct span payload, const uint64_t *deadline_ns,
			     uint64_t *out_id)
{
	if (UNLIKELY(q->role != IPQ_HOST || q->boot_gen == 0))
		return fail(ILLEGAL_STATE, "requests are sent by a host that has greeted");
	if (UNLIKELY((unsigned)type >= TYPES || !(type_flags[type] & AP_OPEN)))
		return fail(ILLEGAL_STATE, "message %u (%s) is no request", (unsigned)type, ipq_message_name(type));
	if (UNLIKELY(q->pending_count == IPQ_PENDING_MAX))
		return fail(QUEUE_FULL, "%d requests are under way", (int)IPQ_PENDING_MAX);
	if (UNLIKELY((q->last_id & ID_COUNT_MASK) == ID_COUNT_MASK))
		return fail(QUEUE_FULL, "the request ids of this start of the secure processor are used up");
	uint64_t id = q->last_id + 1;
	TRY(send_message(q, type, id, payload, deadline_ns));
	add_pending(q, type, id);
	*out_id = id;
	return OK;
}

result ipq_request(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t deadline_ns, uint64_t *out_id)
{
	return request(queue, type, payload, &deadline_ns, out_id);
}

result ipq_try_request(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t *out_id)
{
	return request(queue, type, payload, NULL, out_id);
}

/* Printable ASCII of a text that the other end wrote. */
static void clean_text(struct span text, char out[static IPQ_ERROR_TEXT_MAX + 1])
{
	size_t len = text.len < IPQ_ERROR_TEXT_MAX ? text.len : IPQ_ERROR_TEXT_MAX;
	for (size_t i = 0; i < len; i++)
		out[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
	out[len] = 0;
}

result ipq_error_of(const struct ipq_message *message)
{
	struct reader r = reader_of(ipq_payload(message));
	uint32_t number;
	if (message->type != IPQ_ERROR || message->len > 4 + IPQ_ERROR_TEXT_MAX || reader_u32(&r, &number) != OK)
		return fail(QUEUE_CORRUPT, "an ERROR without a reason");
	char text[IPQ_ERROR_TEXT_MAX + 1];
	clean_text(span_of(r.at, reader_left(&r)), text);
	const struct reason_row *row = reason_row((enum reason)number);
	if (number == OK || (uint32_t)row->reason != number)
		return fail(QUEUE_CORRUPT, "an ERROR with the unknown reason %u", number);
	return fail(row->reason, "secure processor: %s", text);
}

static result end_call(struct ipq *q, const struct ipq_message *reply)
{
	if (reply->type != IPQ_ERROR)
		return OK;
	result reason = ipq_error_of(reply);
	if (reason == QUEUE_CORRUPT)
		poison_queue(q, QUEUE_CORRUPT);
	return reason;
}

result ipq_call(struct ipq *queue, enum ipq_type type, struct span payload, uint64_t deadline_ns,
		ipq_event_handler *on_event, void *context, struct ipq_message *out)
{
	uint64_t id;
	TRY(ipq_request(queue, type, payload, deadline_ns, &id));
	for (;;) {
		TRY(ipq_receive(queue, out, deadline_ns));
		if (out->type == IPQ_EVENT) {
			if (on_event)
				on_event(context, ipq_payload(out));
		} else if (out->id == id) {
			return end_call(queue, out);
		}
	}
}

/* ---- secure processor ---- */

static inline result reply(struct ipq *q, uint64_t id, bool is_error, struct span payload, uint64_t deadline_ns)
{
	size_t at = find_pending(q, id);
	if (UNLIKELY(q->role != IPQ_AP || at == q->pending_count))
		return fail(ILLEGAL_STATE, "no request waits for an answer with this id");
	TRY(send_message(q, is_error ? IPQ_ERROR : pending_reply(q, at), id, payload, &deadline_ns));
	drop_pending(q, at);
	return OK;
}

result ipq_reply(struct ipq *queue, uint64_t id, struct span payload, uint64_t deadline_ns)
{
	return reply(queue, id, false, payload, deadline_ns);
}

result ipq_reply_error(struct ipq *queue, uint64_t id, enum reason reason, const char *text, uint64_t deadline_ns)
{
	uint8_t body[4 + IPQ_ERROR_TEXT_MAX];
	struct writer w = writer_fixed(body, sizeof body);
	writer_u32(&w, (uint32_t)reason);
	size_t len = text ? strnlen(text, IPQ_ERROR_TEXT_MAX) : 0;
	writer_put(&w, text, len);
	struct span payload;
	TRY(writer_finish(&w, &payload));
	return reply(queue, id, true, payload, deadline_ns);
}

static COLD result refuse_event(void)
{
	return fail(ILLEGAL_STATE, "events are sent by a secure processor that was greeted");
}

static inline result event(struct ipq *q, struct span payload, const uint64_t *deadline_ns)
{
	if (UNLIKELY(q->role != IPQ_AP || q->boot_gen == 0))
		return refuse_event();
	return send_message(q, IPQ_EVENT, 0, payload, deadline_ns);
}

result ipq_event(struct ipq *queue, struct span payload, uint64_t deadline_ns)
{
	return event(queue, payload, &deadline_ns);
}

result ipq_try_event(struct ipq *queue, struct span payload)
{
	return event(queue, payload, NULL);
}

/* ---- greeting ---- */

static void open_queue(struct ipq *q, uint64_t boot_gen)
{
	q->boot_gen = boot_gen;
	q->accepts = q->role == IPQ_HOST ? HOST_OPEN : AP_OPEN;
	q->last_id = (boot_gen & ID_GEN_MASK) << ID_COUNT_BITS;
}

static result check_greeting(const struct ipq *q, enum ipq_role role, bool sealed)
{
	if (q->role != role || q->boot_gen != 0 || !q->peer || (q->sealed != NULL) != sealed)
		return fail(ILLEGAL_STATE, "the greeting comes once, after attaching, from its own end");
	return OK;
}

/* HELLO has no reader of its own kind of failure: whatever is wrong with it, the ends do not match. */
static result read_greeting_head(struct reader *r)
{
	uint8_t version, profile;
	uint16_t zero;
	TRY(reader_u8(r, &version));
	TRY(reader_u8(r, &profile));
	TRY(reader_u16(r, &zero));
	return version == IPQ_VERSION && profile == IPQ_PROFILE_LOCAL && zero == 0 ? OK : QUEUE_HELLO;
}

static void write_greeting_head(struct writer *w)
{
	writer_u8(w, IPQ_VERSION);
	writer_u8(w, IPQ_PROFILE_LOCAL);
	writer_u16(w, 0);
}

static result read_hello_reply(struct span body, struct span nonce, uint64_t *out_boot_gen)
{
	struct reader r = reader_of(body);
	uint64_t boot_gen;
	struct span echo;
	TRY(read_greeting_head(&r));
	TRY(reader_u64(&r, &boot_gen));
	TRY(reader_take(&r, NONCE_SIZE, &echo));
	TRY(reader_finish(&r));
	if (boot_gen == 0 || !span_equal(echo, nonce))
		return QUEUE_HELLO;
	*out_boot_gen = boot_gen;
	return OK;
}

static result read_hello(struct span body, uint8_t out_nonce[static NONCE_SIZE])
{
	struct reader r = reader_of(body);
	TRY(read_greeting_head(&r));
	TRY(reader_copy(&r, out_nonce, NONCE_SIZE));
	return reader_finish(&r);
}

static void free_message(struct ipq_message **message)
{
	free(*message);
}

static result new_message(struct ipq_message **out)
{
	*out = (struct ipq_message *)malloc(sizeof **out);
	return *out ? OK : fail(NO_MEMORY, "a message buffer");
}

result ipq_greet(struct ipq *queue, uint64_t deadline_ns, uint64_t *out_boot_gen)
{
	TRY(check_greeting(queue, IPQ_HOST, false));
	CLEANUP(free_message) struct ipq_message *message = NULL;
	TRY(new_message(&message));
	uint8_t nonce[NONCE_SIZE];
	if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
		return fail_errno("a nonce for the greeting");

	uint8_t body[4 + NONCE_SIZE];
	struct writer w = writer_fixed(body, sizeof body);
	write_greeting_head(&w);
	writer_put(&w, nonce, sizeof nonce);
	struct span hello;
	TRY(writer_finish(&w, &hello));
	TRY(send_message(queue, IPQ_HELLO, 0, hello, &deadline_ns));
	TRY(ipq_receive(queue, message, deadline_ns));

	uint64_t boot_gen;
	if (read_hello_reply(ipq_payload(message), SPAN_ARRAY(nonce), &boot_gen) != OK)
		return poison(queue, QUEUE_HELLO, "the secure processor's greeting is not the one expected");
	open_queue(queue, boot_gen);
	*out_boot_gen = boot_gen;
	return OK;
}

result ipq_greet_reply(struct ipq *queue, uint64_t boot_gen, uint64_t deadline_ns)
{
	TRY(check_greeting(queue, IPQ_AP, false));
	if (boot_gen == 0)
		return fail(ILLEGAL_STATE, "starts of the secure processor are counted from 1");
	CLEANUP(free_message) struct ipq_message *message = NULL;
	TRY(new_message(&message));
	TRY(ipq_receive(queue, message, deadline_ns));
	uint8_t nonce[NONCE_SIZE];
	if (read_hello(ipq_payload(message), nonce) != OK)
		return poison(queue, QUEUE_HELLO, "the host's greeting is not the one expected");

	uint8_t body[4 + 8 + NONCE_SIZE];
	struct writer w = writer_fixed(body, sizeof body);
	write_greeting_head(&w);
	writer_u64(&w, boot_gen);
	writer_put(&w, nonce, sizeof nonce);
	struct span hello;
	TRY(writer_finish(&w, &hello));
	open_queue(queue, boot_gen);
	return send_message(queue, IPQ_HELLO_REPLY, 0, hello, &deadline_ns);
}

result ipq_greet_sealed(struct ipq *queue, uint64_t deadline_ns, ipq_judge_hello *judge, void *context, uint64_t *out_boot_gen)
{
	TRY(check_greeting(queue, IPQ_HOST, true));
	CLEANUP(free_message) struct ipq_message *message = NULL;
	TRY(new_message(&message));
	uint8_t hello[IPQ_SEALED_HELLO_SIZE];
	TRY(ipq_sealed_hello(queue->sealed, hello));
	TRY(send_message(queue, IPQ_HELLO, 0, SPAN_ARRAY(hello), &deadline_ns));
	TRY(ipq_receive(queue, message, deadline_ns));

	uint64_t boot_gen;
	result judged = ipq_sealed_finish(queue->sealed, ipq_payload(message), judge, context, &boot_gen);
	if (judged != OK) {
		poison_queue(queue, QUEUE_HELLO);
		return judged;
	}
	open_queue(queue, boot_gen);
	*out_boot_gen = boot_gen;
	return OK;
}

result ipq_greet_reply_sealed(struct ipq *queue, uint64_t boot_gen, uint64_t deadline_ns, ipq_sign_hello *sign, void *context)
{
	TRY(check_greeting(queue, IPQ_AP, true));
	if (boot_gen == 0)
		return fail(ILLEGAL_STATE, "starts of the secure processor are counted from 1");
	CLEANUP(free_message) struct ipq_message *message = NULL;
	CLEANUP(bytes_free) struct bytes reply = BYTES_EMPTY;
	TRY(new_message(&message));
	TRY(ipq_receive(queue, message, deadline_ns));
	result answered = ipq_sealed_answer(queue->sealed, ipq_payload(message), boot_gen, sign, context, &reply);
	if (answered != OK) {
		poison_queue(queue, QUEUE_HELLO);
		return answered;
	}
	open_queue(queue, boot_gen);
	return send_message(queue, IPQ_HELLO_REPLY, 0, bytes_span(&reply), &deadline_ns);
}

/* ---- life ---- */

/* Processors of the machine, not of this process: the other end may be pinned elsewhere. */
static bool one_cpu(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) == 1;
}

/* Registers this process, so that the other end's barrier reaches it, and tells whether it can run one itself. */
static bool register_barrier(void)
{
	long commands = membarrier(MEMBARRIER_CMD_QUERY);
	return commands >= 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED) &&
	       membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

static result create(enum ipq_role role, struct ipq_sealed **sealed, struct ipq **out_queue)
{
	CLEANUP(ipq_free) struct ipq *q = (struct ipq *)aligned_alloc(IPQ_SLOT_SIZE, (sizeof *q + 63) / 64 * 64);
	if (!q)
		return fail(NO_MEMORY, "a queue");
	*q = (struct ipq){.role = role, .fd = -1, .spin_ns = one_cpu() ? 0 : IPQ_SPIN_NS};
	q->accepts = role == IPQ_HOST ? HOST_HELLO : AP_HELLO;
	q->barrier = register_barrier();
	TRY(ipq_ring_create(role, *sealed ? IPQ_PROFILE_SEALED : IPQ_PROFILE_LOCAL, q->barrier, &q->fd, &q->own));
	q->sealed = *sealed;
	*sealed = NULL; /* transferred */
	*out_queue = q;
	q = NULL; /* transferred */
	return OK;
}

result ipq_create(enum ipq_role role, struct ipq **out_queue)
{
	struct ipq_sealed *none = NULL;
	return create(role, &none, out_queue);
}

result ipq_create_sealed(enum ipq_role role, struct span pairing, struct ipq **out_queue)
{
	CLEANUP(ipq_sealed_free) struct ipq_sealed *sealed = NULL;
	TRY(ipq_sealed_new(role, pairing, &sealed));
	return create(role, &sealed, out_queue);
}

enum ipq_profile ipq_profile(const struct ipq *queue)
{
	return queue->sealed ? IPQ_PROFILE_SEALED : IPQ_PROFILE_LOCAL;
}

int ipq_fd(const struct ipq *queue)
{
	return queue->fd;
}

void ipq_drop_fd(struct ipq *queue)
{
	if (queue->fd >= 0)
		close(queue->fd);
	queue->fd = -1;
}

result ipq_attach(struct ipq *queue, int peer_fd)
{
	if (queue->peer)
		return fail(ILLEGAL_STATE, "the other end's ring is attached already");
	bool peer_barrier;
	enum ipq_role owner = queue->role == IPQ_HOST ? IPQ_AP : IPQ_HOST;
	TRY(ipq_ring_attach(peer_fd, owner, ipq_profile(queue), &queue->peer, &peer_barrier));
	queue->fences = !(peer_barrier && queue->barrier);
	return OK;
}

void ipq_set_spin(struct ipq *queue, uint64_t spin_ns)
{
	queue->spin_ns = spin_ns;
}

void ipq_interrupt(struct ipq *queue)
{
	__atomic_store_n(&queue->interrupted, true, __ATOMIC_RELEASE);
	if (queue->peer)
		futex_wake(peer_word32(queue, IPQ_AT_BELL));
}

void ipq_nudge(struct ipq *queue)
{
	__atomic_store_n(&queue->nudged, true, __ATOMIC_RELEASE);
	if (queue->peer)
		futex_wake(peer_word32(queue, IPQ_AT_BELL));
}

struct ipq_counters ipq_counters(const struct ipq *queue)
{
	return queue->counters;
}

void ipq_free(struct ipq **queue)
{
	struct ipq *q = queue ? *queue : NULL;
	if (!q)
		return;
	if (q->own && q->poison == OK)
		set_state(q, STATE_CLOSED);
	ipq_ring_unmap(q->own);
	ipq_ring_unmap(q->peer);
	ipq_sealed_free(&q->sealed);
	ipq_drop_fd(q);
	free(q);
	*queue = NULL;
}
