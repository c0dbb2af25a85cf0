/*
 * The inter-processor queue between two processes pinned to two processors: round trip and one-way throughput, one
 * message at a time, every check of production on.
 *
 * Floors, measured beside it: for the round trip, two cache lines that are written in turn; for throughput, a
 * stream of cache lines that carry a sequence number and nothing else. Peers: ck_ring (pointers in shared memory,
 * no checks, no sleeping), a pipe, a Unix socket. Each figure is the best tenth of many short runs, taken in turns:
 * other load on the machine only ever adds, and it touches all alike.
 *
 * Profile sealed: 64-byte messages. Its floor for the round trip is that of the same messages in profile local and two
 * seals and two opens of the library's AES-256-GCM with a context that is kept; for throughput, the slower of the two (one
 * processor seals while the other opens).
 */
#include "bench.h"

#include "base/clock.h"
#include "root/ipq.h"

#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#if HAVE_CK
#include <ck_ring.h>
#endif

enum {
	TRIPS = 400,		/* round trips per run */
	SLOW_TRIPS = 40,	/* through the kernel */
	STREAM = 20000,	/* messages per run */
	WARM_UP = 2000,
	LINES = 2048,
	CK_ENTRIES = 2048,
	SEALED_SIZE = 64, /* payload of the rows of profile sealed and of what they are compared with */
	GCM_OPS = 2000,
};

#define NEVER UINT64_MAX

struct line {
	_Alignas(64) uint64_t word;
};

#if HAVE_CK
struct ck_way {
	ck_ring_t ring;
	_Alignas(64) ck_ring_buffer_t buffer[CK_ENTRIES];
};
#endif

/* Shared between the two processes; each experiment has its own part. */
struct shared {
	/* Apart, so that no processor fetches one with the other. */
	_Alignas(256) struct line ping;
	_Alignas(256) struct line pong;
	_Alignas(256) struct line credit;
	_Alignas(256) struct line command; /* the messages the child is to stream, set by the parent */
	_Alignas(256) struct line lines[LINES];
#if HAVE_CK
	struct ck_way there, back;
#endif
};

static struct shared *shared;
static struct ipq_message message;

static uint64_t get(const struct line *line)
{
	return __atomic_load_n(&line->word, __ATOMIC_ACQUIRE);
}

static void set(struct line *line, uint64_t value)
{
	__atomic_store_n(&line->word, value, __ATOMIC_RELEASE);
}

/* ---- an experiment: what the child does for ever, and one timed run of the parent ---- */

struct experiment {
	const char *name;
	void (*child)(int socket);
	void (*prepare)(int socket);	 /* parent, once */
	void (*run)(int socket, unsigned count);
	unsigned count;
	pid_t pid;
	int socket;
	double samples[512];
	size_t runs;
};

static void pass_fd(int socket, int fd)
{
	char byte = 0;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct cmsghdr *head = CMSG_FIRSTHDR(&header);
	*head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	BENCH_REQUIRE(sendmsg(socket, &header, 0) == 1);
}

static int take_fd(int socket)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	BENCH_REQUIRE(recvmsg(socket, &header, MSG_CMSG_CLOEXEC) == 1);
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
	return fd;
}

/* ---- floor: two cache lines ---- */

static uint64_t trip;

static void lines_child(int socket)
{
	for (uint64_t next = 1;; next++) {
		while (get(&shared->ping) != next)
			;
		set(&shared->pong, next);
	}
}

static void lines_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		set(&shared->ping, ++trip);
		while (get(&shared->pong) != trip)
			;
	}
}

/* ---- floor: a stream of lines ---- */

static uint64_t line_position;

/* Waits for the next order of the parent and returns the total to have streamed by then. */
static uint64_t next_order(uint64_t done)
{
	uint64_t total;
	while ((total = get(&shared->command)) == done)
		;
	return total;
}

static void stream_child(int socket)
{
	uint64_t credit = 0;
	for (uint64_t done = 0;;) {
		uint64_t total = next_order(done);
		for (; done < total; done++) {
			while (done - credit >= LINES)
				credit = get(&shared->credit);
			set(&shared->lines[done % LINES], done + 1);
		}
	}
}

static void stream_run(int socket, unsigned count)
{
	set(&shared->command, line_position + count);
	for (unsigned i = 0; i < count; i++) {
		while (get(&shared->lines[line_position % LINES]) != line_position + 1)
			;
		if (++line_position % (LINES / 8) == 0)
			set(&shared->credit, line_position);
	}
}

/* ---- the queue ---- */

static struct ipq *queue;

static struct ipq *join(int socket, enum ipq_role role)
{
	struct ipq *joined = NULL;
	BENCH_REQUIRE(ipq_create(role, &joined) == OK);
	pass_fd(socket, ipq_fd(joined));
	int fd = take_fd(socket);
	BENCH_REQUIRE(ipq_attach(joined, fd) == OK);
	close(fd);
	return joined;
}

static void ipq_prepare(int socket)
{
	uint64_t boot_gen;
	queue = join(socket, IPQ_HOST);
	BENCH_REQUIRE(ipq_greet(queue, NEVER, &boot_gen) == OK);
}

static void ipq_trip_child(int socket)
{
	struct ipq *ap = join(socket, IPQ_AP);
	BENCH_REQUIRE(ipq_greet_reply(ap, 1, NEVER) == OK);
	for (;;) {
		BENCH_REQUIRE(ipq_receive(ap, &message, NEVER) == OK);
		BENCH_REQUIRE(ipq_reply(ap, message.id, ipq_payload(&message), NEVER) == OK);
	}
}

static void ipq_trip_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		trip++;
		BENCH_REQUIRE(ipq_call(queue, IPQ_HEALTH, span_of(&trip, sizeof trip), NEVER, NULL, NULL, &message) == OK);
	}
}

static void ipq_stream_child(int socket)
{
	struct ipq *ap = join(socket, IPQ_AP);
	BENCH_REQUIRE(ipq_greet_reply(ap, 1, NEVER) == OK);
	for (uint64_t done = 0;;) {
		uint64_t total = next_order(done);
		for (; done < total; done++)
			BENCH_REQUIRE(ipq_event(ap, span_of(&done, sizeof done), NEVER) == OK);
	}
}

static uint64_t events;

static void ipq_stream_run(int socket, unsigned count)
{
	set(&shared->command, events + count);
	for (unsigned i = 0; i < count; i++) {
		BENCH_REQUIRE(ipq_receive(queue, &message, NEVER) == OK);
		uint64_t number;
		memcpy(&number, message.data, sizeof number);
		BENCH_REQUIRE(number == events++);
	}
}

/* ---- the queue, profile sealed, and what it is compared with ---- */

static uint8_t payload_64[SEALED_SIZE];
static const uint8_t pairing[IPQ_PAIRING_SIZE] = {7};

static result sign_nothing(void *context, struct queue_hello *hello, struct bytes *out_record, struct bytes *out_object)
{
	return OK;
}

static result judge_nothing(void *context, const struct queue_hello *hello, struct span record, struct span object)
{
	return OK;
}

static struct ipq *join_sealed(int socket, enum ipq_role role)
{
	struct ipq *joined = NULL;
	BENCH_REQUIRE(ipq_create_sealed(role, SPAN_ARRAY(pairing), &joined) == OK);
	pass_fd(socket, ipq_fd(joined));
	int fd = take_fd(socket);
	BENCH_REQUIRE(ipq_attach(joined, fd) == OK);
	close(fd);
	return joined;
}

static void sealed_prepare(int socket)
{
	uint64_t boot_gen;
	queue = join_sealed(socket, IPQ_HOST);
	BENCH_REQUIRE(ipq_greet_sealed(queue, NEVER, judge_nothing, NULL, &boot_gen) == OK);
}

static struct ipq *sealed_child(int socket)
{
	struct ipq *ap = join_sealed(socket, IPQ_AP);
	BENCH_REQUIRE(ipq_greet_reply_sealed(ap, 1, NEVER, sign_nothing, NULL) == OK);
	return ap;
}

static void sealed_trip_child(int socket)
{
	struct ipq *ap = sealed_child(socket);
	for (;;) {
		BENCH_REQUIRE(ipq_receive(ap, &message, NEVER) == OK);
		BENCH_REQUIRE(ipq_reply(ap, message.id, ipq_payload(&message), NEVER) == OK);
	}
}

static void trip_64_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		trip++;
		memcpy(payload_64, &trip, sizeof trip);
		BENCH_REQUIRE(ipq_call(queue, IPQ_HEALTH, SPAN_ARRAY(payload_64), NEVER, NULL, NULL, &message) == OK);
	}
}

static void sealed_stream_child(int socket)
{
	struct ipq *ap = sealed_child(socket);
	for (uint64_t done = 0;;) {
		uint64_t total = next_order(done);
		for (; done < total; done++) {
			memcpy(payload_64, &done, sizeof done);
			BENCH_REQUIRE(ipq_event(ap, SPAN_ARRAY(payload_64), NEVER) == OK);
		}
	}
}

/* One message and its head sealed, and opened, as the library alone does it: what either end cannot do without. */
static EVP_CIPHER_CTX *gcm;
static uint8_t gcm_cipher_text[SEALED_SIZE], gcm_tag[16], gcm_aad[33];
static EVP_CIPHER *gcm_cipher;

static void gcm_prepare(int socket)
{
	static const uint8_t key[32] = {9};
	gcm_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	gcm = EVP_CIPHER_CTX_new();
	BENCH_REQUIRE(gcm && EVP_CipherInit_ex2(gcm, gcm_cipher, key, NULL, true, NULL));
}

static void gcm_child(int socket)
{
	pause();
}

static void gcm_seal_one(const uint8_t nonce[static 12])
{
	int len;
	BENCH_REQUIRE(EVP_EncryptInit_ex2(gcm, NULL, NULL, nonce, NULL) && EVP_EncryptUpdate(gcm, NULL, &len, gcm_aad, sizeof gcm_aad) &&
		EVP_EncryptUpdate(gcm, gcm_cipher_text, &len, payload_64, SEALED_SIZE) && EVP_EncryptFinal_ex(gcm, gcm_tag, &len) &&
		EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_GET_TAG, sizeof gcm_tag, gcm_tag));
}

static void gcm_seal_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t nonce[12] = {0};
		trip++;
		memcpy(nonce + 4, &trip, sizeof trip);
		gcm_seal_one(nonce);
	}
}

/* Always the same message, which costs what others cost. */
static void gcm_open_prepare(int socket)
{
	static const uint8_t nonce[12] = {1};
	gcm_prepare(socket);
	gcm_seal_one(nonce);
	BENCH_REQUIRE(EVP_DecryptInit_ex2(gcm, NULL, NULL, NULL, NULL));
}

static void gcm_open_run(int socket, unsigned count)
{
	static const uint8_t nonce[12] = {1};
	uint8_t plain[SEALED_SIZE];
	for (unsigned i = 0; i < count; i++) {
		int len;
		BENCH_REQUIRE(EVP_DecryptInit_ex2(gcm, NULL, NULL, nonce, NULL) &&
			EVP_DecryptUpdate(gcm, NULL, &len, gcm_aad, sizeof gcm_aad) &&
			EVP_DecryptUpdate(gcm, plain, &len, gcm_cipher_text, SEALED_SIZE) &&
			EVP_CIPHER_CTX_ctrl(gcm, EVP_CTRL_AEAD_SET_TAG, sizeof gcm_tag, gcm_tag) && EVP_DecryptFinal_ex(gcm, plain, &len));
	}
}

/* ---- peers ---- */

#if HAVE_CK
static void ck_trip_child(int socket)
{
	void *entry;
	for (;;) {
		while (!ck_ring_dequeue_spsc(&shared->there.ring, shared->there.buffer, &entry))
			;
		while (!ck_ring_enqueue_spsc(&shared->back.ring, shared->back.buffer, entry))
			;
	}
}

static void ck_trip_run(int socket, unsigned count)
{
	void *entry = NULL;
	for (unsigned i = 0; i < count; i++) {
		while (!ck_ring_enqueue_spsc(&shared->there.ring, shared->there.buffer, &trip))
			;
		while (!ck_ring_dequeue_spsc(&shared->back.ring, shared->back.buffer, &entry))
			;
	}
	BENCH_REQUIRE(entry == &trip);
}

static void ck_stream_child(int socket)
{
	for (uint64_t done = 0;;) {
		uint64_t total = next_order(done);
		for (; done < total; done++)
			while (!ck_ring_enqueue_spsc(&shared->back.ring, shared->back.buffer, (void *)(uintptr_t)(done + 1)))
				;
	}
}

static uint64_t ck_events;

static void ck_stream_run(int socket, unsigned count)
{
	set(&shared->command, ck_events + count);
	for (unsigned i = 0; i < count; i++) {
		void *entry;
		while (!ck_ring_dequeue_spsc(&shared->back.ring, shared->back.buffer, &entry))
			;
		BENCH_REQUIRE((uintptr_t)entry == ++ck_events);
	}
}
#endif

/* The child's ends of the pipes, or the same socket twice. */
static void echo(int in, int out)
{
	uint64_t word;
	while (read(in, &word, sizeof word) == sizeof word)
		BENCH_REQUIRE(write(out, &word, sizeof word) == sizeof word);
}

static int pipe_there[2], pipe_back[2];

static void pipe_child(int socket)
{
	echo(pipe_there[0], pipe_back[1]);
}

static void pipe_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t word = ++trip;
		BENCH_REQUIRE(write(pipe_there[1], &word, sizeof word) == sizeof word);
		BENCH_REQUIRE(read(pipe_back[0], &word, sizeof word) == sizeof word && word == trip);
	}
}

static void socket_child(int socket)
{
	echo(socket, socket);
}

static void socket_run(int socket, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t word = ++trip;
		BENCH_REQUIRE(write(socket, &word, sizeof word) == sizeof word);
		BENCH_REQUIRE(read(socket, &word, sizeof word) == sizeof word && word == trip);
	}
}

/* ---- running them in turns ---- */

/* A child spins while its experiment is not on; stopped ones leave the processor to the one that is. */
static void start(struct experiment *e)
{
	int sockets[2];
	BENCH_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
	memset(shared, 0, sizeof *shared);
#if HAVE_CK
	ck_ring_init(&shared->there.ring, CK_ENTRIES);
	ck_ring_init(&shared->back.ring, CK_ENTRIES);
#endif
	trip = line_position = events = 0;
#if HAVE_CK
	ck_events = 0;
#endif
	fflush(stdout);
	e->pid = fork();
	BENCH_REQUIRE(e->pid >= 0);
	if (e->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		BENCH_REQUIRE(bench_pin(1));
		e->child(sockets[1]);
		_exit(0);
	}
	BENCH_REQUIRE(bench_pin(0));
	close(sockets[1]);
	e->socket = sockets[0];
	if (e->prepare)
		e->prepare(e->socket);
	e->run(e->socket, e->count < WARM_UP ? WARM_UP : e->count);
}

static void finish(struct experiment *e)
{
	kill(e->pid, SIGKILL);
	BENCH_REQUIRE(waitpid(e->pid, NULL, 0) == e->pid);
	close(e->socket);
	ipq_free(&queue);
}

/* One turn: a fresh child, then `runs` timed runs. */
static void take_turn(struct experiment *e, unsigned runs)
{
	start(e);
	for (unsigned i = 0; i < runs && e->runs < COUNT_OF(e->samples); i++) {
		uint64_t begin = clock_monotonic_ns();
		e->run(e->socket, e->count);
		e->samples[e->runs++] = (double)(clock_monotonic_ns() - begin) / e->count;
	}
	finish(e);
}

static double nanoseconds(struct experiment *e)
{
	return e->runs ? bench_quantile(e->samples, e->runs, 0.1) : 0;
}

/* Millions a second. */
static double rate(struct experiment *e)
{
	double each = nanoseconds(e);
	return each > 0 ? 1000 / each : 0;
}

static struct experiment trip_floor = {"lines", lines_child, NULL, lines_run, TRIPS};
static struct experiment trip_ipq = {"ipq", ipq_trip_child, ipq_prepare, ipq_trip_run, TRIPS};
static struct experiment trip_pipe = {"pipe", pipe_child, NULL, pipe_run, SLOW_TRIPS};
static struct experiment trip_socket = {"socket", socket_child, NULL, socket_run, SLOW_TRIPS};
static struct experiment stream_floor = {"lines", stream_child, NULL, stream_run, STREAM};
static struct experiment stream_ipq = {"ipq", ipq_stream_child, ipq_prepare, ipq_stream_run, STREAM};
static struct experiment trip_64 = {"ipq 64", ipq_trip_child, ipq_prepare, trip_64_run, TRIPS};
static struct experiment trip_sealed = {"sealed", sealed_trip_child, sealed_prepare, trip_64_run, TRIPS};
static struct experiment stream_sealed = {"sealed", sealed_stream_child, sealed_prepare, ipq_stream_run, STREAM / 4};
static struct experiment gcm_seal = {"seal", gcm_child, gcm_prepare, gcm_seal_run, GCM_OPS};
static struct experiment gcm_open = {"open", gcm_child, gcm_open_prepare, gcm_open_run, GCM_OPS};
#if HAVE_CK
static struct experiment trip_ck = {"ck", ck_trip_child, NULL, ck_trip_run, TRIPS};
static struct experiment stream_ck = {"ck", ck_stream_child, NULL, ck_stream_run, STREAM};
#endif

static struct experiment *const experiments[] = {
	&trip_floor, &trip_ipq,
#if HAVE_CK
	&trip_ck,
#endif
	&trip_pipe, &trip_socket, &stream_floor, &stream_ipq, &trip_64, &trip_sealed, &stream_sealed, &gcm_seal, &gcm_open,
#if HAVE_CK
	&stream_ck,
#endif
};

static void report(const char *name, const char *unit, double value, double floor, double peer, const char *peer_name)
{
	bench_row(&(struct bench_row){name, value, unit, floor, peer, peer_name});
}

int main(int argc, char **argv)
{
	bench_open(argc, argv, "ipq: queue to the secure processor, two pinned processes");
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BENCH_REQUIRE(shared != MAP_FAILED);
	BENCH_REQUIRE(pipe(pipe_there) == 0 && pipe(pipe_back) == 0);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		fprintf(stderr, "two processors are needed to measure the queue\n");
		return 1;
	}
	cpu_set_t all;
	BENCH_REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
	for (unsigned turn = 0; turn < (bench_quick() ? 1 : 8); turn++) {
		for (size_t i = 0; i < COUNT_OF(experiments); i++) {
			sched_setaffinity(0, sizeof all, &all); /* a child finds its own processor */
			take_turn(experiments[i], 60);
		}
	}

	double trip_least = nanoseconds(&trip_floor), own_trip = nanoseconds(&trip_ipq);
	double stream_least = rate(&stream_floor), own_stream = rate(&stream_ipq);
#if HAVE_CK
	report("ipq round trip", "ns", own_trip, trip_least, nanoseconds(&trip_ck), "ck_ring");
#endif
	report("ipq round trip", "ns", own_trip, trip_least, nanoseconds(&trip_pipe), "pipe");
	report("ipq round trip", "ns", own_trip, trip_least, nanoseconds(&trip_socket), "unix socket");
#if HAVE_CK
	report("ipq one way", "M/s", own_stream, stream_least, rate(&stream_ck), "ck_ring");
#else
	report("ipq one way", "M/s", own_stream, stream_least, 0, NULL);
	bench_note("ck_ring was not there to compare with: install libck-dev");
#endif
	double seal = nanoseconds(&gcm_seal), open = nanoseconds(&gcm_open), slower = seal > open ? seal : open;
	double sealed_trip = nanoseconds(&trip_sealed), sealed_least = nanoseconds(&trip_64) + 2 * seal + 2 * open;
	report("ipq.sealed_round_trip_64", "ns", sealed_trip, sealed_least, nanoseconds(&trip_64), "profile local, 64 B");
	report("ipq.sealed_one_way_64", "M/s", rate(&stream_sealed), slower > 0 ? 1000 / slower : 0, own_stream, "profile local, 8 B");
	bench_close();
	return 0;
}
