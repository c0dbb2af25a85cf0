/*
 * A hostile peer of the inter-processor queue, played from a tape. The first byte chooses which end is under test;
 * then each operation either changes the peer's ring (a proper message, any byte, any word that matters) or lets the
 * end under test send, receive or answer. Whatever the tape: only the results that ipq.h names, poison for good, and an
 * own ring that holds nothing but whole messages under rising sequence numbers.
 */
#include "base/clock.h"
#include "root/ipq.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_OPERATIONS = 300, BOOT_GEN = 5 };

#define MUST(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

struct tape {
	const uint8_t *at, *end;
};

static struct ipq *victim;
static enum ipq_role role;
static uint8_t *ring;		 /* the peer's, writable here */
static const uint8_t *victim_ring;
static uint64_t produced, next_id, asked;
static struct ipq_message message;
static uint8_t bulk[IPQ_PAYLOAD_MAX];

/* Zero once the tape is over. */
static uint64_t take(struct tape *tape, int bytes)
{
	uint64_t value = 0;
	for (int i = 0; i < bytes; i++)
		value = value << 8 | (tape->at < tape->end ? *tape->at++ : 0);
	return value;
}

static uint8_t *slot_at(uint64_t position)
{
	return ring + IPQ_HEAD_SIZE + position % IPQ_SLOTS * IPQ_SLOT_SIZE;
}

static void put64(uint8_t *at, uint64_t value)
{
	__atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELEASE);
}

static uint64_t get64(const uint8_t *at)
{
	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void send_proper(unsigned type, uint64_t id, const uint8_t *body, size_t len)
{
	uint64_t slots = len <= 40 ? 1 : 1 + (len - 40 + 55) / 56;
	size_t done = len < 40 ? len : 40;
	uint8_t *slot = slot_at(produced);
	put64(slot + 8, (uint64_t)type | (uint64_t)len << 32);
	put64(slot + 16, id);
	memset(slot + 24, 0, 40);
	memcpy(slot + 24, body, done);
	for (uint64_t i = 1; i < slots; i++) {
		uint8_t *more = slot_at(produced + i);
		size_t here = len - done < 56 ? len - done : 56;
		memset(more + 8, 0, 56);
		memcpy(more + 8, body + done, here);
		put64(more, produced + i + 1);
		done += here;
	}
	put64(slot, produced + 1);
	produced += slots;
}

static void open_ring(int *out_fd)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	MUST(fd >= 0 && ftruncate(fd, IPQ_RING_SIZE) == 0);
	ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(ring != MAP_FAILED);
	memcpy(ring, "troth-q1\1\0", 10);
	ring[10] = role == IPQ_HOST ? IPQ_AP : IPQ_HOST;
	ring[11] = 1;
	ring[13] = IPQ_SLOTS >> 8;
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0);
	*out_fd = fd;
}

static void *answer_greeting(void *unused)
{
	uint8_t body[44] = {IPQ_VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, BOOT_GEN};
	const uint8_t *hello = victim_ring + IPQ_HEAD_SIZE;
	while (get64(hello) != 1)
		usleep(1);
	for (size_t i = 0; i < 32; i += 4) {
		const uint32_t *word = (const uint32_t *)(const void *)(hello + 24 + 4 + i);
		uint32_t value = __atomic_load_n(word, __ATOMIC_RELAXED);
		memcpy(body + 12 + i, &value, sizeof value);
	}
	send_proper(IPQ_HELLO_REPLY, 0, body, sizeof body);
	return NULL;
}

static void greet(void)
{
	uint64_t deadline = clock_monotonic_ns() + UINT64_C(20000000000);
	if (role == IPQ_AP) {
		static const uint8_t hello[36] = {IPQ_VERSION};
		send_proper(IPQ_HELLO, 0, hello, sizeof hello);
		MUST(ipq_greet_reply(victim, BOOT_GEN, deadline) == OK);
		return;
	}
	pthread_t thread;
	uint64_t boot_gen;
	ipq_set_spin(victim, UINT64_C(1000000000)); /* the helper rings no bell */
	MUST(pthread_create(&thread, NULL, answer_greeting, NULL) == 0);
	MUST(ipq_greet(victim, deadline, &boot_gen) == OK && boot_gen == BOOT_GEN);
	MUST(pthread_join(thread, NULL) == 0);
}

static bool is_violation(result outcome)
{
	return outcome == QUEUE_CORRUPT || outcome == QUEUE_BAD_TYPE || outcome == QUEUE_BAD_CREDIT ||
	       outcome == QUEUE_REPLAY;
}

/* A violation is named once and poisons; anything else does not. */
static void judge(result outcome, enum reason poison_before)
{
	if (poison_before != OK) {
		MUST(outcome == QUEUE_POISONED || outcome == ILLEGAL_STATE || outcome == QUEUE_FULL);
		MUST(ipq_poisoned(victim) == poison_before);
		return;
	}
	MUST(outcome == OK || outcome == QUEUE_EMPTY || outcome == QUEUE_FULL || outcome == TIMED_OUT ||
	     outcome == PEER_CLOSED || outcome == ILLEGAL_STATE || outcome == TOO_LARGE || is_violation(outcome));
	MUST(ipq_poisoned(victim) == (is_violation(outcome) ? outcome : OK));
}

static void receive(bool waiting)
{
	enum reason before = ipq_poisoned(victim);
	result outcome = waiting ? ipq_receive(victim, &message, 0) : ipq_try_receive(victim, &message);
	judge(outcome, before);
	if (outcome != OK)
		return;
	MUST(message.len <= IPQ_PAYLOAD_MAX);
	const struct ipq_message_row *row = ipq_message_row(message.type);
	MUST(row && row->sender != role && row->phase == IPQ_PHASE_OPEN);
	if (role == IPQ_AP) {
		MUST(message.id >> 40 == BOOT_GEN && message.id > asked);
		asked = message.id;
	} else if (message.type == IPQ_ERROR) {
		MUST(ipq_error_of(&message) != OK);
	}
}

static void send(uint64_t choice, size_t len)
{
	enum reason before = ipq_poisoned(victim);
	struct span payload = span_of(bulk, len % (IPQ_PAYLOAD_MAX + 1));
	uint64_t id;
	if (role == IPQ_HOST)
		judge(ipq_try_request(victim, (enum ipq_type)(choice % 64), payload, &id), before);
	else if (choice % 3 == 0)
		judge(ipq_try_event(victim, payload), before);
	else if (choice % 3 == 1)
		judge(ipq_reply(victim, asked, payload, 0), before);
	else
		judge(ipq_reply_error(victim, asked, BAD_VALUE, "no", 0), before);
}

static void step(struct tape *tape)
{
	switch (take(tape, 1) % 12) {
	case 0: /* a proper message with the id that is due */
		next_id++;
		send_proper((unsigned)take(tape, 1), (uint64_t)BOOT_GEN << 40 | next_id, bulk, (size_t)take(tape, 1));
		break;
	case 1: /* any length, any id */
		send_proper((unsigned)take(tape, 1), take(tape, 8), bulk, (size_t)take(tape, 2));
		break;
	case 2: /* an event */
		send_proper(IPQ_EVENT, 0, bulk, (size_t)take(tape, 1));
		break;
	case 3: /* any byte near the slots in use */
		slot_at(produced - take(tape, 1) % 8)[take(tape, 1) % 64] ^= (uint8_t)take(tape, 1);
		break;
	case 4: /* any byte at all */
		ring[take(tape, 3) % IPQ_RING_SIZE] ^= (uint8_t)take(tape, 1);
		break;
	case 5: /* a sequence number */
		put64(slot_at(produced + take(tape, 1) % 4), produced + take(tape, 1) - 8);
		break;
	case 6: /* credit: near or anything */
		put64(ring + IPQ_AT_CREDIT, take(tape, 1) % 2 ? take(tape, 8) : take(tape, 2));
		break;
	case 7: /* the wait line */
		put64(ring + IPQ_AT_ASLEEP + take(tape, 1) % 2 * 8, take(tape, 8));
		break;
	case 8: /* a slot of anything */
		for (size_t i = 8; i < 64; i++)
			slot_at(produced)[i] = (uint8_t)take(tape, 1);
		put64(slot_at(produced), produced + 1);
		produced++;
		break;
	case 9:
		receive(take(tape, 1) % 8 == 0);
		break;
	case 10:
		receive(false);
		break;
	default:
		send(take(tape, 1), (size_t)take(tape, 2));
	}
}

/* Slots of the own ring hold their sequence number or that of the lap before, the newest where the count says. */
static void check_own_ring(void)
{
	uint64_t newest = 0;
	for (uint64_t i = 0; i < IPQ_SLOTS; i++) {
		uint64_t seq = get64(victim_ring + IPQ_HEAD_SIZE + i * IPQ_SLOT_SIZE);
		MUST(seq == 0 || (seq - 1) % IPQ_SLOTS == i);
		newest = seq > newest ? seq : newest;
	}
	MUST(newest >= ipq_counters(victim).sent);
	MUST(memcmp(victim_ring, "troth-q1\1\0", 10) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tape tape = {data, data + size};
	int fd;
	role = take(&tape, 1) % 4 == 0 ? IPQ_HOST : IPQ_AP;
	produced = next_id = asked = 0;
	for (size_t i = 0; i < sizeof bulk; i++)
		bulk[i] = (uint8_t)(i | 1);
	open_ring(&fd);
	MUST(ipq_create(role, &victim) == OK && ipq_attach(victim, fd) == OK);
	victim_ring = mmap(NULL, IPQ_RING_SIZE, PROT_READ, MAP_SHARED, ipq_fd(victim), 0);
	MUST(victim_ring != MAP_FAILED);
	greet();
	ipq_set_spin(victim, 0);
	for (int i = 0; i < MAX_OPERATIONS && tape.at < tape.end; i++)
		step(&tape);
	check_own_ring();
	ipq_free(&victim);
	munmap(ring, IPQ_RING_SIZE);
	munmap((void *)(uintptr_t)victim_ring, IPQ_RING_SIZE);
	close(fd);
	return 0;
}
