#include "allocations.h"
#include "base/clock.h"
#include "base/sock.h"
#include "expect.h"
#include "groups.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOON = 5000 };

static struct fd ends[2];

static int pair(void **state)
{
	(void)state;
	return sock_pair(ends) != OK;
}

static int unpair(void **state)
{
	(void)state;
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	return 0;
}

static size_t open_fds(void)
{
	size_t count = 0;
	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void messages_arrive_whole(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "a", "hello", "0123456789"};
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		expect_ok(sock_send(ends[0].n, span_str(texts[i]), NULL, 0, SOON));
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
		expect_ok(sock_receive(ends[1].n, 10, 0, SOON, &message));
		expect_span(bytes_span(&message.data), span_str(texts[i]));
		assert_int_equal(message.fd_count, 0);
	}
	uint8_t raw[8];
	expect_ok(sock_send(ends[0].n, span_str("abcd"), NULL, 0, SOON));
	expect_ok(read_full(ends[1].n, raw, 8));
	assert_memory_equal(raw, "\0\0\0\4abcd", 8);
}

static void *send_large(void *arg)
{
	struct span data = span_of(arg, 1 << 20);
	return sock_send(ends[0].n, data, NULL, 0, SOON) == OK ? arg : NULL;
}

static void a_large_message_goes_in_pieces(void **state)
{
	(void)state;
	pthread_t sender;
	void *sent = NULL;
	uint8_t *data = malloc(1 << 20);
	for (size_t i = 0; i < 1 << 20; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	assert_int_equal(pthread_create(&sender, NULL, send_large, data), 0);
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	expect_ok(sock_receive(ends[1].n, 1 << 20, 0, SOON, &message));
	assert_int_equal(pthread_join(sender, &sent), 0);
	assert_ptr_equal(sent, data);
	expect_span(bytes_span(&message.data), span_of(data, 1 << 20));
	free(data);
}

static void descriptors_travel(void **state)
{
	(void)state;
	int fds[SOCK_MAX_FDS];
	size_t before = open_fds();
	for (size_t i = 0; i < SOCK_MAX_FDS; i++)
		fds[i] = ends[0].n;
	expect_ok(sock_send(ends[0].n, span_str("fds"), fds, SOCK_MAX_FDS, SOON));
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	expect_ok(sock_receive(ends[1].n, 10, SOCK_MAX_FDS, SOON, &message));
	assert_int_equal(message.fd_count, SOCK_MAX_FDS);
	assert_int_equal(open_fds(), before + SOCK_MAX_FDS);
	for (size_t i = 0; i < SOCK_MAX_FDS; i++)
		assert_int_equal(fcntl(message.fds[i].n, F_GETFD), FD_CLOEXEC);
	struct fd taken = fd_move(&message.fds[3]);
	sock_message_free(&message);
	assert_int_equal(open_fds(), before + 1);
	expect_ok(write_all(taken.n, span_str("through")));
	fd_close(&taken);
	expect(sock_send(ends[0].n, SPAN_EMPTY, fds, SOCK_MAX_FDS + 1, SOON), TOO_LARGE);
	expect_ok(sock_send(ends[0].n, SPAN_EMPTY, fds, 1, SOON)); /* with an empty message as well */
	char through[7];
	expect_ok(read_full(ends[1].n, through, 7));
	expect_ok(sock_receive(ends[1].n, 0, 1, SOON, &message));
	assert_int_equal(message.fd_count, 1);
	sock_message_free(&message);
	assert_int_equal(open_fds(), before);
}

static void unwanted_descriptors_are_closed(void **state)
{
	(void)state;
	int fds[3] = {ends[0].n, ends[0].n, ends[0].n};
	size_t before = open_fds();
	for (size_t wanted = 0; wanted < 3; wanted++) {
		struct sock_message message = SOCK_MESSAGE_EMPTY;
		expect_ok(sock_send(ends[0].n, SPAN_EMPTY, fds, 3, SOON));
		expect(sock_receive(ends[1].n, 10, wanted, SOON, &message), BAD_VALUE);
		assert_int_equal(message.fd_count, 0);
		assert_int_equal(open_fds(), before);
	}
}

/* Sends `data` with `count` descriptors as a hostile peer would, without our framing. */
static void send_raw(struct span data, size_t count)
{
	union {
		struct cmsghdr align;
		uint8_t bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = {0};
	struct iovec part = {(void *)(uintptr_t)data.data, data.len};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(count * sizeof(int));
		for (size_t i = 0; i < count; i++)
			memcpy(CMSG_DATA(header) + i * sizeof(int), &ends[0].n, sizeof(int));
	}
	assert_int_equal(sendmsg(ends[0].n, &message, 0), data.len);
}

static void truncated_control_data_is_refused(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	size_t before = open_fds();
	send_raw(span_of("\0\0\0\1x", 5), 40); /* more than there is room for */
	expect(sock_receive(ends[1].n, 10, SOCK_MAX_FDS, SOON, &message), BAD_VALUE);
	assert_int_equal(open_fds(), before);
}

static void descriptors_inside_a_message_are_refused(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	size_t before = open_fds();
	send_raw(span_of("\0\0\0\2x", 5), 0);
	send_raw(span_str("y"), 1);
	expect(sock_receive(ends[1].n, 10, SOCK_MAX_FDS, SOON, &message), BAD_VALUE);
	assert_int_equal(open_fds(), before);
}

static void lengths_are_capped(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	send_raw(span_of("\xff\xff\xff\xff", 4), 1);
	size_t before = open_fds();
	expect(sock_receive(ends[1].n, 1000, 1, SOON, &message), TOO_LARGE);
	assert_null(message.data.data);
	assert_int_equal(open_fds(), before); /* the descriptor that came along is closed */
}

static void the_end_is_told_apart(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	send_raw(span_of("\0\0\0\3x", 5), 0);
	fd_close(&ends[0]);
	expect(sock_receive(ends[1].n, 10, 0, SOON, &message), TRUNCATED);
	expect(sock_receive(ends[1].n, 10, 0, SOON, &message), PEER_CLOSED);
	expect(sock_send(ends[1].n, span_str("x"), NULL, 0, SOON), PEER_CLOSED); /* and no SIGPIPE */
}

static void the_end_after_a_prefix_is_inside(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	send_raw(span_of("\0\0\0\3", 4), 0);
	fd_close(&ends[0]);
	expect(sock_receive(ends[1].n, 10, 0, SOON, &message), TRUNCATED);
}

static void every_call_has_a_deadline(void **state)
{
	(void)state;
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	uint64_t started = clock_monotonic_ns();
	expect(sock_receive(ends[1].n, 10, 0, 0, &message), TIMED_OUT);
	expect(sock_receive(ends[1].n, 10, 0, 20, &message), TIMED_OUT);
	expect(sock_wait_readable(ends[1].n, 0), TIMED_OUT);
	assert_true(clock_monotonic_ns() - started >= 20000000);
	uint8_t *data = calloc(1, 8 << 20);
	expect(sock_send(ends[0].n, span_of(data, 8 << 20), NULL, 0, 20), TIMED_OUT);
	free(data);
	expect_ok(sock_wait_readable(ends[1].n, 0));
}

static char folder[PATH_SIZE];

static int make_folder(void **state)
{
	(void)state;
	const char *base = getenv("TMPDIR");
	snprintf(folder, sizeof(folder), "%s/test-sock-XXXXXX", base ? base : "/tmp");
	return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
	(void)state;
	return file_remove_tree(AT_FDCWD, folder) != OK;
}

static void listen_and_connect(const char *path)
{
	struct stat info;
	struct sock_peer peer;
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	CLEANUP(fd_close) struct fd client = FD_NONE;
	CLEANUP(fd_close) struct fd server = FD_NONE;
	expect_ok(sock_listen(path, &listener));
	assert_int_equal(stat(path, &info), 0);
	assert_true(S_ISSOCK(info.st_mode));
	assert_int_equal(info.st_mode & 07777, 0600);
	expect(sock_accept(listener.n, 0, &server), TIMED_OUT);
	expect_ok(sock_connect(path, SOON, &client));
	expect_ok(sock_accept(listener.n, SOON, &server));
	assert_int_equal(fcntl(server.n, F_GETFD), FD_CLOEXEC);
	assert_int_equal(fcntl(client.n, F_GETFD), FD_CLOEXEC);
	expect_ok(sock_peer(server.n, &peer));
	assert_int_equal(peer.pid, getpid());
	assert_int_equal(peer.uid, getuid());
	assert_int_equal(peer.gid, getgid());
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	expect_ok(sock_send(client.n, span_str("hi"), NULL, 0, SOON));
	expect_ok(sock_receive(server.n, 2, 0, SOON, &message));
	expect_span(bytes_span(&message.data), span_str("hi"));
}

static void a_path_of_any_length_works(void **state)
{
	(void)state;
	char path[PATH_SIZE], deep[PATH_SIZE];
	size_t before = open_fds();
	expect_ok(path_join(path, folder, "s"));
	listen_and_connect(path);
	listen_and_connect(path); /* the old socket is replaced */
	expect_ok(path_join(deep, folder,
		"a-folder-with-a-rather-long-name/that-is-nested-in-another-one/so-that-the-path-is-"
		"longer-than-sun_path-allows"));
	expect_ok(file_make_dirs(deep, 0700));
	expect_ok(path_join(path, deep, "socket"));
	assert_true(strlen(path) > 108);
	listen_and_connect(path);
	char name[200];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	expect_ok(path_join(path, deep, name));
	struct fd fd = FD_NONE;
	expect(sock_listen(path, &fd), TOO_LARGE);
	assert_int_equal(open_fds(), before);
}

static void what_is_there_is_not_replaced(void **state)
{
	(void)state;
	char path[PATH_SIZE];
	struct fd fd = FD_NONE;
	expect_ok(path_join(path, folder, "plain"));
	expect_ok(file_write_atomic(path, span_str("kept"), 0600));
	expect(sock_listen(path, &fd), ALREADY_EXISTS);
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	expect_ok(file_read(path, 10, &content));
	expect_span(bytes_span(&content), span_str("kept"));
	expect_ok(path_join(path, folder, "nobody"));
	expect(sock_connect(path, SOON, &fd), NOT_FOUND);
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	expect_ok(sock_listen(path, &listener));
	fd_close(&listener);
	expect(sock_connect(path, SOON, &fd), NOT_FOUND); /* the name is there, the listener is not */
	assert_int_equal(fd.n, -1);
}

static void a_full_queue_times_out(void **state)
{
	(void)state;
	char path[PATH_SIZE];
	static struct fd clients[256];
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	expect_ok(path_join(path, folder, "full"));
	expect_ok(sock_listen(path, &listener));
	size_t count = 0;
	result connected = OK;
	while (connected == OK && count < COUNT_OF(clients)) {
		connected = sock_connect(path, 1, &clients[count]);
		count += connected == OK;
	}
	expect(connected, TIMED_OUT);
	for (size_t i = 0; i < count; i++)
		fd_close(&clients[i]);
}

static void receiving_survives_no_memory(void **state)
{
	(void)state;
	int fds[1] = {ends[0].n};
	size_t before = open_fds();
	struct sock_message message = SOCK_MESSAGE_EMPTY;
	expect_ok(sock_send(ends[0].n, span_str("x"), fds, 1, SOON));
	allocations_fail(1);
	result received = sock_receive(ends[1].n, 10, 1, SOON, &message);
	allocations_restore();
	expect(received, NO_MEMORY);
	assert_int_equal(open_fds(), before);
}

int group_sock(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_arrive_whole, pair, unpair),
		cmocka_unit_test_setup_teardown(a_large_message_goes_in_pieces, pair, unpair),
		cmocka_unit_test_setup_teardown(descriptors_travel, pair, unpair),
		cmocka_unit_test_setup_teardown(unwanted_descriptors_are_closed, pair, unpair),
		cmocka_unit_test_setup_teardown(truncated_control_data_is_refused, pair, unpair),
		cmocka_unit_test_setup_teardown(descriptors_inside_a_message_are_refused, pair, unpair),
		cmocka_unit_test_setup_teardown(lengths_are_capped, pair, unpair),
		cmocka_unit_test_setup_teardown(the_end_is_told_apart, pair, unpair),
		cmocka_unit_test_setup_teardown(the_end_after_a_prefix_is_inside, pair, unpair),
		cmocka_unit_test_setup_teardown(every_call_has_a_deadline, pair, unpair),
		cmocka_unit_test_setup_teardown(receiving_survives_no_memory, pair, unpair),
		cmocka_unit_test(a_path_of_any_length_works),
		cmocka_unit_test(what_is_there_is_not_replaced),
		cmocka_unit_test(a_full_queue_times_out),
	};
	return cmocka_run_group_tests_name("sock", tests, make_folder, remove_folder);
}
