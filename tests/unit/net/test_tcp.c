#include "net_test.h"

#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "net/tcp.h"

#include <poll.h>

static uint64_t soon(void)
{
	return clock_monotonic_ns() + UINT64_C(5000000000);
}

static void addresses_have_one_form(void **state)
{
	static const char *const good[] = {"192.0.2.1:4711", "north.example:1", "[2001:db8::1]:65535", "localhost:0"};
	static const char *const bad[] = {"", ":", "x", "x:", ":1", "x:65536", "x:1a", "2001:db8::1:5", "[::1:5", "a b:1", "a/b:1", "x:000001", "x\n:1"};
	char longest[TCP_ADDRESS_MAX + 3];
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++)
		expect_ok(tcp_address_check(good[i]));
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		expect(tcp_address_check(bad[i]), BAD_VALUE);
	memset(longest, 'a', sizeof(longest));
	memcpy(longest + TCP_ADDRESS_MAX, ":1", 3);
	expect(tcp_address_check(longest), BAD_VALUE);
}

static void bytes_go_both_ways(void **state)
{
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	CLEANUP(fd_close) struct fd here = FD_NONE;
	CLEANUP(fd_close) struct fd there = FD_NONE;
	char address[TCP_ADDRESS_MAX + 1], remote[TCP_ADDRESS_MAX + 1];
	uint8_t got[5];
	(void)state;
	expect_ok(tcp_listen("127.0.0.1:0", &listener));
	tcp_local(listener.n, address);
	expect(tcp_accept(listener.n, &there), TIMED_OUT);
	expect_ok(tcp_connect(address, 2000, &here));
	expect_ok(tcp_wait(listener.n, POLLIN, soon()));
	expect_ok(tcp_accept(listener.n, &there));
	tcp_remote(here.n, remote);
	assert_string_equal(remote, address);
	expect_ok(tcp_send(here.n, span_str("hello"), soon()));
	expect_ok(tcp_peek(there.n, got, 5, soon()));
	memset(got, 0, sizeof(got));
	expect_ok(tcp_receive(there.n, got, 5, soon()));
	expect_span(SPAN_ARRAY(got), span_str("hello"));
	expect(tcp_receive(there.n, got, 1, clock_monotonic_ns()), TIMED_OUT);
	expect_ok(tcp_send(here.n, span_str("h"), soon()));
	expect(tcp_peek(there.n, got, 5, clock_monotonic_ns() + 20000000), TIMED_OUT);
	fd_close(&here);
	expect(tcp_peek(there.n, got, 5, clock_monotonic_ns() + 20000000), TIMED_OUT);
	expect_ok(tcp_receive(there.n, got, 1, soon()));
	expect(tcp_receive(there.n, got, 1, soon()), PEER_CLOSED);
}

static void nobody_there_is_said(void **state)
{
	CLEANUP(fd_close) struct fd listener = FD_NONE;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	char address[TCP_ADDRESS_MAX + 1];
	(void)state;
	expect_ok(tcp_listen("127.0.0.1:0", &listener));
	tcp_local(listener.n, address);
	fd_close(&listener);
	expect(tcp_connect(address, 2000, &fd), PEER_UNREACHABLE);
	expect(tcp_connect("no-such-host.invalid:1", 2000, &fd), PEER_UNREACHABLE);
	assert_int_equal(fd.n, -1);
}

int test_tcp(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_have_one_form),
		cmocka_unit_test(bytes_go_both_ways),
		cmocka_unit_test(nobody_there_is_said),
	};
	return cmocka_run_group_tests_name("tcp", tests, NULL, NULL);
}
