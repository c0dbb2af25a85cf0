/* The queue between two proper ends. */
#include "groups.h"
#include "ipq_raw.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct ipq_message message; /* 64 KiB: kept off the stack */
static struct ipq_message answer;

struct pair {
	struct ipq *host, *ap;
};

static int open_pair(void **state)
{
	struct pair *pair = calloc(1, sizeof *pair);
	pair_open(&pair->host, &pair->ap, 7);
	*state = pair;
	return 0;
}

static int close_pair(void **state)
{
	struct pair *pair = *state;
	ipq_free(&pair->host);
	ipq_free(&pair->ap);
	free(pair);
	return 0;
}

static void fill(uint8_t *data, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(1 + (i * 31 + seed) % 255);
}

static void table_is_consistent(void **state)
{
	for (size_t i = 0; i < ipq_message_table_len; i++) {
		const struct ipq_message_row *row = &ipq_message_table[i];
		assert_true(row->type > 0 && row->type < 256);
		assert_ptr_equal(ipq_message_row(row->type), row);
		if (i > 0)
			assert_true(ipq_message_table[i - 1].type < row->type);
		if (row->sender == IPQ_AP) {
			assert_int_equal(row->reply, IPQ_NONE);
			assert_false(row->expects_epoch);
			continue;
		}
		const struct ipq_message_row *reply = ipq_message_row(row->reply);
		assert_non_null(reply);
		assert_int_equal(reply->sender, IPQ_AP);
		assert_int_equal(reply->phase, row->phase);
	}
	assert_null(ipq_message_row(0));
	assert_null(ipq_message_row(255));
	assert_string_equal(ipq_message_name(IPQ_ENDORSE_FINISH), "ENDORSE_FINISH");
	assert_string_equal(ipq_message_name(250), "unknown");
}

/* The table of docs/PROTOCOL.ipq and that of the code are one. */
static void the_page_names_every_message(void **state)
{
	FILE *page = fopen(PROTOCOL_IPQ, "r");
	assert_non_null(page);
	char line[256], name[32], sender[8], phase[12], expected[8], reply[32];
	size_t rows = 0;
	unsigned number;
	while (fgets(line, sizeof line, page)) {
		if (sscanf(line, "  %u %31[A-Z_] %7s %11s %7s %31s", &number, name, sender, phase, expected, reply) != 6)
			continue;
		const struct ipq_message_row *row = ipq_message_row(number);
		assert_non_null(row);
		assert_string_equal(name, row->name);
		assert_string_equal(sender, row->sender == IPQ_HOST ? "HOST" : "AP");
		assert_string_equal(phase, row->phase == IPQ_PHASE_HELLO  ? "hello"
					   : row->phase == IPQ_PHASE_OPEN ? "open"
									  : "reserved");
		assert_string_equal(expected, row->expects_epoch ? "yes" : "-");
		assert_string_equal(reply, row->reply == IPQ_NONE ? "-" : ipq_message_name(row->reply));
		rows++;
	}
	fclose(page);
	assert_int_equal(rows, ipq_message_table_len);
}

static void expected_head_round_trips(void **state)
{
	uint8_t bytes[12];
	struct writer w = writer_fixed(bytes, sizeof bytes);
	ipq_put_expected(&w, (struct ipq_expected){.era = 0x01020304, .epoch = 0x05060708090a0b0c});
	struct span written;
	assert_int_equal(writer_finish(&w, &written), OK);
	assert_memory_equal(bytes, "\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c", 12);
	struct reader r = reader_of(written);
	struct ipq_expected expected = {0};
	assert_int_equal(ipq_take_expected(&r, &expected), OK);
	assert_true(expected.era == 0x01020304 && expected.epoch == 0x05060708090a0b0c);
	assert_int_equal(reader_finish(&r), OK);
	r = reader_of(span_of(bytes, 11));
	assert_int_equal(ipq_take_expected(&r, &expected), TRUNCATED);
	assert_int_equal(reader_left(&r), 11);
}

static void every_request_has_its_reply(void **state)
{
	struct pair *pair = *state;
	uint64_t last = 0;
	for (size_t i = 0; i < ipq_message_table_len; i++) {
		const struct ipq_message_row *row = &ipq_message_table[i];
		uint64_t id = 0;
		result sent = ipq_try_request(pair->host, row->type, span_str(row->name), &id);
		if (row->sender != IPQ_HOST || row->phase != IPQ_PHASE_OPEN) {
			assert_int_equal(sent, ILLEGAL_STATE);
			continue;
		}
		assert_int_equal(sent, OK);
		assert_true(id > last && id >> 40 == 7);
		last = id;
		assert_int_equal(ipq_try_receive(pair->ap, &message), OK);
		assert_int_equal(message.type, row->type);
		assert_true(message.id == id);
		assert_true(span_equal_str(ipq_payload(&message), row->name));
		assert_int_equal(ipq_reply(pair->ap, id, span_str("done"), soon()), OK);
		assert_int_equal(ipq_try_receive(pair->host, &message), OK);
		assert_int_equal(message.type, row->reply);
		assert_true(message.id == id);
		assert_true(span_equal_str(ipq_payload(&message), "done"));
	}
}

static void all_sizes_arrive_whole(void **state)
{
	struct pair *pair = *state;
	static const size_t sizes[] = {0, 1, 7, 8, 9, 39, 40, 41, 95, 96, 97, 152, 153, 4096, 65535, 65536};
	static uint8_t data[IPQ_PAYLOAD_MAX + 1];
	for (unsigned lap = 0; lap < 8; lap++) {
		for (size_t i = 0; i < COUNT_OF(sizes); i++) {
			fill(data, sizes[i], lap + (unsigned)i);
			assert_int_equal(ipq_try_event(pair->ap, span_of(data, sizes[i])), OK);
			assert_int_equal(ipq_try_receive(pair->host, &message), OK);
			assert_int_equal(message.type, IPQ_EVENT);
			assert_true(span_equal(ipq_payload(&message), span_of(data, sizes[i])));
		}
	}
	assert_int_equal(ipq_try_event(pair->ap, span_of(data, IPQ_PAYLOAD_MAX + 1)), TOO_LARGE);
	assert_int_equal(ipq_try_receive(pair->host, &message), QUEUE_EMPTY);
	assert_int_equal(ipq_poisoned(pair->ap), OK);
}

static void full_ring_refuses_and_keeps_order(void **state)
{
	struct pair *pair = *state;
	uint64_t sent = 0;
	result outcome;
	while ((outcome = ipq_try_event(pair->ap, span_of(&sent, sizeof sent))) == OK)
		sent++;
	assert_int_equal(outcome, QUEUE_FULL);
	assert_true(sent == IPQ_SLOTS - 2); /* HELLO_REPLY took two slots and their credit is still owed */
	for (uint64_t i = 0; i < sent; i++) {
		assert_int_equal(ipq_try_receive(pair->host, &message), OK);
		assert_memory_equal(message.data, &i, sizeof i);
	}
	assert_int_equal(ipq_try_receive(pair->host, &message), QUEUE_EMPTY);
	assert_int_equal(ipq_try_event(pair->ap, span_of(&sent, sizeof sent)), OK);
}

static void largest_message_fits_an_emptied_ring(void **state)
{
	struct pair *pair = *state;
	static uint8_t data[IPQ_PAYLOAD_MAX];
	fill(data, sizeof data, 3);
	for (int i = 0; i < 3 * IPQ_SLOTS; i += 97) {
		for (int k = 0; k < 97; k++) {
			assert_int_equal(ipq_try_event(pair->ap, SPAN_EMPTY), OK);
			assert_int_equal(ipq_try_receive(pair->host, &message), OK);
		}
		assert_int_equal(ipq_try_event(pair->ap, SPAN_ARRAY(data)), OK);
		assert_int_equal(ipq_try_receive(pair->host, &message), OK);
		assert_true(span_equal(ipq_payload(&message), SPAN_ARRAY(data)));
	}
}

static void too_many_requests_under_way(void **state)
{
	struct pair *pair = *state;
	uint64_t id = 0, first = 0;
	for (int i = 0; i < IPQ_PENDING_MAX; i++) {
		assert_int_equal(ipq_try_request(pair->host, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
		first = first ? first : id;
	}
	assert_int_equal(ipq_try_request(pair->host, IPQ_HEALTH, SPAN_EMPTY, &id), QUEUE_FULL);
	for (int i = 0; i < IPQ_PENDING_MAX; i++)
		assert_int_equal(ipq_try_receive(pair->ap, &message), OK);
	assert_int_equal(ipq_try_receive(pair->ap, &message), ILLEGAL_STATE);
	assert_int_equal(ipq_reply(pair->ap, first + IPQ_PENDING_MAX, SPAN_EMPTY, soon()), ILLEGAL_STATE);
	assert_int_equal(ipq_reply(pair->ap, first, SPAN_EMPTY, soon()), OK);
	assert_int_equal(ipq_reply(pair->ap, first, SPAN_EMPTY, soon()), ILLEGAL_STATE);
	assert_int_equal(ipq_try_receive(pair->host, &message), OK);
	assert_int_equal(ipq_try_request(pair->host, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
}

static void each_end_keeps_to_its_calls(void **state)
{
	struct pair *pair = *state;
	uint64_t id, boot_gen;
	assert_int_equal(ipq_event(pair->host, SPAN_EMPTY, 0), ILLEGAL_STATE);
	assert_int_equal(ipq_reply(pair->host, 0, SPAN_EMPTY, 0), ILLEGAL_STATE);
	assert_int_equal(ipq_request(pair->ap, IPQ_HEALTH, SPAN_EMPTY, 0, &id), ILLEGAL_STATE);
	assert_int_equal(ipq_greet(pair->host, 0, &boot_gen), ILLEGAL_STATE);
	assert_int_equal(ipq_greet_reply(pair->ap, 1, 0), ILLEGAL_STATE);
	assert_int_equal(ipq_attach(pair->host, ipq_fd(pair->ap)), ILLEGAL_STATE);

	struct ipq *fresh = NULL;
	assert_int_equal(ipq_create(IPQ_HOST, &fresh), OK);
	assert_int_equal(ipq_request(fresh, IPQ_HEALTH, SPAN_EMPTY, 0, &id), ILLEGAL_STATE);
	assert_int_equal(ipq_receive(fresh, &message, 0), ILLEGAL_STATE);
	assert_int_equal(ipq_greet(fresh, 0, &boot_gen), ILLEGAL_STATE);
	ipq_drop_fd(fresh);
	assert_int_equal(ipq_fd(fresh), -1);
	ipq_free(&fresh);
	assert_null(fresh);
	ipq_free(&fresh);
	ipq_free(NULL);
}

static void silence_ends_at_the_deadline(void **state)
{
	struct pair *pair = *state;
	uint64_t start = clock_monotonic_ns();
	assert_int_equal(ipq_call(pair->host, IPQ_HEALTH, SPAN_EMPTY, in_ms(30), NULL, NULL, &message), TIMED_OUT);
	assert_true(clock_monotonic_ns() - start >= 30 * UINT64_C(1000000));
	assert_int_equal(ipq_poisoned(pair->host), OK);

	/* The late reply is dropped by the next call. */
	uint64_t id;
	assert_int_equal(ipq_try_receive(pair->ap, &message), OK);
	assert_int_equal(ipq_reply(pair->ap, message.id, span_str("late"), soon()), OK);
	assert_int_equal(ipq_try_request(pair->host, IPQ_HEALTH, SPAN_EMPTY, &id), OK);
	assert_int_equal(ipq_try_receive(pair->ap, &message), OK);
	assert_int_equal(ipq_reply_error(pair->ap, message.id, NO_MEMORY, "tab\there", soon()), OK);
	assert_int_equal(ipq_try_receive(pair->host, &message), OK);
	assert_true(span_equal_str(ipq_payload(&message), "late"));
	assert_int_equal(ipq_try_receive(pair->host, &message), OK);
	assert_true(message.id == id);
	assert_int_equal(ipq_error_of(&message), NO_MEMORY);
	assert_string_equal(failure_text(), "secure processor: tab?here");
}

static void a_full_ring_ends_at_the_deadline(void **state)
{
	struct pair *pair = *state;
	while (ipq_try_event(pair->ap, SPAN_EMPTY) == OK)
		;
	assert_int_equal(ipq_event(pair->ap, SPAN_EMPTY, in_ms(5)), TIMED_OUT);
	assert_int_equal(ipq_event(pair->ap, SPAN_EMPTY, 0), TIMED_OUT);
	assert_int_equal(ipq_poisoned(pair->ap), OK);
}

static void malformed_errors_are_refused(void **state)
{
	static struct ipq_message bad = {.type = IPQ_ERROR, .len = 3};
	assert_int_equal(ipq_error_of(&bad), QUEUE_CORRUPT);
	bad.len = 4; /* reason 0 */
	assert_int_equal(ipq_error_of(&bad), QUEUE_CORRUPT);
	memcpy(bad.data, "\xff\xff\xff\xff", 4);
	assert_int_equal(ipq_error_of(&bad), QUEUE_CORRUPT);
	memcpy(bad.data, "\0\0\0\2", 4);
	assert_int_equal(ipq_error_of(&bad), NO_MEMORY);
	bad.len = 4 + IPQ_ERROR_TEXT_MAX + 1;
	assert_int_equal(ipq_error_of(&bad), QUEUE_CORRUPT);
	bad.len = 4;
	bad.type = IPQ_EVENT;
	assert_int_equal(ipq_error_of(&bad), QUEUE_CORRUPT);
}

static void what_was_sent_before_closing_arrives(void **state)
{
	struct pair *pair = *state;
	assert_int_equal(ipq_try_event(pair->ap, span_str("last words")), OK);
	ipq_free(&pair->ap);
	assert_int_equal(ipq_receive(pair->host, &message, soon()), OK);
	assert_true(span_equal_str(ipq_payload(&message), "last words"));
	assert_int_equal(ipq_receive(pair->host, &message, soon()), PEER_CLOSED);
	assert_int_equal(ipq_try_receive(pair->host, &message), PEER_CLOSED);
	assert_int_equal(ipq_call(pair->host, IPQ_HEALTH, SPAN_EMPTY, soon(), NULL, NULL, &message), PEER_CLOSED);
}

static void *interrupt(void *queue)
{
	ipq_interrupt(queue);
	return NULL;
}

static void an_interrupt_ends_the_wait(void **state)
{
	struct pair *pair = *state;
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, interrupt, pair->host), 0);
	assert_int_equal(ipq_receive(pair->host, &message, soon()), PEER_CLOSED);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(ipq_receive(pair->host, &message, soon()), PEER_CLOSED);
}

static void *nudge(void *queue)
{
	ipq_nudge(queue);
	return NULL;
}

static void a_nudge_ends_one_wait(void **state)
{
	struct pair *pair = *state;
	pthread_t thread;
	uint64_t begun = clock_monotonic_ns();
	assert_int_equal(pthread_create(&thread, NULL, nudge, pair->host), 0);
	assert_int_equal(ipq_receive(pair->host, &message, soon()), TIMED_OUT);
	assert_true(clock_monotonic_ns() < begun + UINT64_C(2000000000)); /* the slice of a missed one, not the deadline */
	assert_int_equal(pthread_join(thread, NULL), 0);
	/* The queue is good, and the next wait takes its time. */
	assert_int_equal(ipq_try_event(pair->ap, span_str("x")), OK);
	assert_int_equal(ipq_receive(pair->host, &message, soon()), OK);
	begun = clock_monotonic_ns();
	assert_int_equal(ipq_receive(pair->host, &message, begun + 5000000), TIMED_OUT);
	assert_true(clock_monotonic_ns() >= begun + 5000000);
}

/* A rotation is overtaken by what came after it. */
static void replies_come_in_any_order(void **state)
{
	static const size_t orders[][4] = {{3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}, {1, 2, 3, 0}, {0, 3, 1, 2}};
	static const enum ipq_type types[4] = {IPQ_ROTATE_ROT, IPQ_ATTEST, IPQ_SIGN, IPQ_HEALTH};
	struct pair *pair = *state;
	for (size_t round = 0; round < 3 * IPQ_PENDING_MAX; round++) { /* the table of requests wraps */
		const size_t *order = orders[round % COUNT_OF(orders)];
		uint64_t ids[4];
		for (size_t i = 0; i < 4; i++) {
			assert_int_equal(ipq_try_request(pair->host, types[i], SPAN_EMPTY, &ids[i]), OK);
			assert_int_equal(ipq_try_receive(pair->ap, &message), OK);
		}
		for (size_t i = 0; i < 4; i++) {
			assert_int_equal(ipq_reply(pair->ap, ids[order[i]], SPAN_EMPTY, soon()), OK);
			assert_int_equal(ipq_reply(pair->ap, ids[order[i]], SPAN_EMPTY, soon()), ILLEGAL_STATE); /* once */
			assert_int_equal(ipq_try_receive(pair->host, &message), OK);
			assert_true(message.id == ids[order[i]]);
			assert_int_equal(message.type, ipq_message_row(types[order[i]])->reply);
		}
	}
}

/* ---- two ends that run ---- */

static void serve(struct ipq *ap, struct ipq_message *request)
{
	for (;;) {
		if (ipq_receive(ap, request, soon()) != OK)
			return;
		if (request->type == IPQ_ATTEST && ipq_event(ap, ipq_payload(request), soon()) != OK)
			return;
		if (ipq_reply(ap, request->id, ipq_payload(request), soon()) != OK || request->type == IPQ_SHUTDOWN)
			return;
	}
}

static void *serve_thread(void *ap)
{
	serve(ap, &message);
	return NULL;
}

static void count_event(void *context, struct span payload)
{
	*(unsigned *)context += 1;
}

static void call_many(struct ipq *host, unsigned calls)
{
	static uint8_t data[3000];
	unsigned events = 0, attests = 0;
	for (unsigned i = 0; i < calls; i++) {
		size_t len = i % 50 == 0 ? i % sizeof data : i % 41;
		fill(data, len, i);
		enum ipq_type type = i % 7 == 0 ? IPQ_ATTEST : IPQ_HEALTH;
		attests += i % 7 == 0;
		assert_int_equal(ipq_call(host, type, span_of(data, len), soon(), count_event, &events, &answer), OK);
		assert_true(span_equal(ipq_payload(&answer), span_of(data, len)));
	}
	assert_int_equal(events, attests);
	assert_int_equal(ipq_call(host, IPQ_SHUTDOWN, SPAN_EMPTY, soon(), NULL, NULL, &answer), OK);
}

static void run_threads(struct pair *pair, uint64_t spin_ns, unsigned calls)
{
	ipq_set_spin(pair->host, spin_ns);
	ipq_set_spin(pair->ap, spin_ns);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, serve_thread, pair->ap), 0);
	call_many(pair->host, calls);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void threads_polling(void **state)
{
	run_threads(*state, IPQ_SPIN_NS, 3000);
}

static void threads_sleeping(void **state)
{
	struct pair *pair = *state;
	run_threads(pair, 0, 3000);
	assert_true(ipq_counters(pair->host).sleeps > 0 || ipq_counters(pair->ap).sleeps > 0);
}

struct stream {
	struct ipq *ap;
	uint64_t count;
	result outcome;
};

static void *stream_thread(void *context)
{
	struct stream *stream = context;
	for (uint64_t i = 0; i < stream->count && stream->outcome == OK; i++)
		stream->outcome = ipq_event(stream->ap, span_of(&i, sizeof i), soon());
	return NULL;
}

/* One sender, one receiver that also sleeps: nothing lost, repeated or out of order, over many laps. */
static void stream_is_first_in_first_out(void **state)
{
	struct pair *pair = *state;
	struct stream stream = {pair->ap, 100000, OK};
	ipq_set_spin(pair->host, 0);
	ipq_set_spin(pair->ap, 0);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, stream_thread, &stream), 0);
	for (uint64_t i = 0; i < stream.count; i++) {
		assert_int_equal(ipq_receive(pair->host, &answer, soon()), OK);
		assert_int_equal(answer.len, sizeof i);
		assert_memory_equal(answer.data, &i, sizeof i);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(stream.outcome, OK);
}

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
	if (sendmsg(socket, &header, 0) != 1)
		abort();
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
	if (recvmsg(socket, &header, MSG_CMSG_CLOEXEC) != 1)
		abort();
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof fd);
	return fd;
}

static struct ipq *join(int socket, enum ipq_role role)
{
	struct ipq *queue = NULL;
	if (ipq_create(role, &queue) != OK)
		abort();
	pass_fd(socket, ipq_fd(queue));
	ipq_drop_fd(queue);
	int fd = take_fd(socket);
	if (ipq_attach(queue, fd) != OK)
		abort();
	close(fd);
	return queue;
}

static void child_serves(int socket)
{
	struct ipq *ap = join(socket, IPQ_AP);
	ipq_set_spin(ap, 0);
	if (ipq_greet_reply(ap, 41, soon()) != OK)
		_exit(1);
	serve(ap, &message);
	ipq_free(&ap);
	_exit(0);
}

static void two_processes(void **state)
{
	int sockets[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		child_serves(sockets[1]);
	struct ipq *host = join(sockets[0], IPQ_HOST);
	ipq_set_spin(host, 0);
	uint64_t boot_gen;
	assert_int_equal(ipq_greet(host, soon(), &boot_gen), OK);
	assert_int_equal(boot_gen, 41);
	call_many(host, 2000);
	assert_int_equal(ipq_receive(host, &message, soon()), PEER_CLOSED);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	ipq_free(&host);
	close(sockets[0]);
	close(sockets[1]);
}

#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)

int test_ipq(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_consistent),
		cmocka_unit_test(the_page_names_every_message),
		cmocka_unit_test(expected_head_round_trips),
		cmocka_unit_test(malformed_errors_are_refused),
		PAIR_TEST(every_request_has_its_reply),
		PAIR_TEST(all_sizes_arrive_whole),
		PAIR_TEST(full_ring_refuses_and_keeps_order),
		PAIR_TEST(largest_message_fits_an_emptied_ring),
		PAIR_TEST(too_many_requests_under_way),
		PAIR_TEST(each_end_keeps_to_its_calls),
		PAIR_TEST(silence_ends_at_the_deadline),
		PAIR_TEST(a_full_ring_ends_at_the_deadline),
		PAIR_TEST(what_was_sent_before_closing_arrives),
		PAIR_TEST(an_interrupt_ends_the_wait),
		PAIR_TEST(a_nudge_ends_one_wait),
		PAIR_TEST(replies_come_in_any_order),
		PAIR_TEST(threads_polling),
		PAIR_TEST(threads_sleeping),
		PAIR_TEST(stream_is_first_in_first_out),
		cmocka_unit_test(two_processes),
	};
	return cmocka_run_group_tests_name("ipq", tests, NULL, NULL);
}
