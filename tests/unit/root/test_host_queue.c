/*
 * The host's end of a sealed queue: what a state folder stays with, the pairing secret, and whose key must have signed the
 * greeting. The secure processor is its real engine.
 */
#include "root/host_internal.h"

#include "ap_bench.h"
#include "groups.h"
#include "ipq_raw.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "root/ap.h"

static void a_folder_stays_with_its_profile(void **unused)
{
	char folder[] = "/tmp/troth-queue-XXXXXX", path[PATH_SIZE];
	enum ipq_profile profile = IPQ_PROFILE_SEALED;
	assert_non_null(mkdtemp(folder));
	assert_int_equal(host_queue_choose(folder, HOST_QUEUE_UNSAID, &profile), OK);
	assert_int_equal(profile, IPQ_PROFILE_LOCAL);
	assert_int_equal(host_queue_choose(folder, HOST_QUEUE_LOCAL, &profile), OK);
	assert_int_equal(profile, IPQ_PROFILE_LOCAL);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(host_queue_choose(folder, HOST_QUEUE_SEALED, &profile), OK);
		assert_int_equal(profile, IPQ_PROFILE_SEALED);
	}
	profile = IPQ_PROFILE_LOCAL;
	assert_int_equal(host_queue_choose(folder, HOST_QUEUE_UNSAID, &profile), OK);
	assert_int_equal(profile, IPQ_PROFILE_SEALED);
	/* Not even on demand: somebody who starts the host is not yet somebody who may change the folder. */
	assert_int_equal(host_queue_choose(folder, HOST_QUEUE_LOCAL, &profile), QUEUE_HELLO);
	assert_int_equal(path_join(path, folder, "queue"), OK);
	assert_int_equal(file_write_atomic(path, span_str("local\n"), 0600), OK);
	assert_int_equal(host_queue_choose(folder, HOST_QUEUE_UNSAID, &profile), BAD_VALUE);
	assert_int_equal(file_remove_tree(AT_FDCWD, folder), OK);
}

static void each_start_has_its_own_pairing_secret(void **unused)
{
	CLEANUP(secret_free) struct secret one = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret two = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret passed = SECRET_EMPTY;
	CLEANUP(fd_close) struct fd first = FD_NONE;
	CLEANUP(fd_close) struct fd second = FD_NONE;
	assert_int_equal(host_queue_pair(&one, &first), OK);
	assert_int_equal(host_queue_pair(&two, &second), OK);
	assert_int_equal(one.len, IPQ_PAIRING_SIZE);
	assert_false(secret_equal(secret_span(&one), secret_span(&two)));
	assert_int_equal(file_read_secret(first.n, IPQ_PAIRING_SIZE, &passed), OK);
	assert_true(secret_equal(secret_span(&one), secret_span(&passed)));
}

struct greeting_ap {
	struct ipq *queue;
	struct ap *ap;
	result greeted;
};

static void *greet_as_ap(void *context)
{
	struct greeting_ap *g = context;
	g->greeted = ipq_greet_reply_sealed(g->queue, ap_boot_gen(g->ap), soon(), ap_sign_queue_hello, g->ap);
	return NULL;
}

/* The queue between `host` and the engine, greeted. */
static struct ipq *greet(struct root_host *host, struct bench *b)
{
	static const uint8_t pairing[IPQ_PAIRING_SIZE] = {4};
	struct greeting_ap g = {.ap = b->ap};
	pthread_t thread;
	assert_int_equal(ipq_create_sealed(IPQ_HOST, SPAN_ARRAY(pairing), &host->queue), OK);
	assert_int_equal(ipq_create_sealed(IPQ_AP, SPAN_ARRAY(pairing), &g.queue), OK);
	assert_int_equal(ipq_attach(host->queue, ipq_fd(g.queue)), OK);
	assert_int_equal(ipq_attach(g.queue, ipq_fd(host->queue)), OK);
	assert_int_equal(pthread_create(&thread, NULL, greet_as_ap, &g), 0);
	assert_int_equal(host_queue_greet(host, soon()), OK);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(g.greeted, OK);
	assert_true(host->boot_gen == ap_boot_gen(b->ap));
	return g.queue;
}

static struct span record_of(struct bench *b)
{
	struct ap_health health;
	health_of(b, &health);
	return health.epoch_record;
}

static void the_greeting_is_signed_by_the_epoch_that_health_names(void **unused)
{
	struct bench b, other;
	bench_new(&b);
	bench_new(&other);
	struct root_host host = {0};
	struct ipq *queue = greet(&host, &b);
	assert_true(host.greeted_with_root);
	assert_memory_equal(host.greeted_oid, b.epoch_oid, OID_SIZE);
	assert_int_equal(host_queue_check(&host, record_of(&b)), OK);
	/* It greets with its own root and then reports the pinned one, or none. */
	assert_int_equal(host_queue_check(&host, record_of(&other)), AP_UNTRUSTED);
	assert_int_equal(host_queue_check(&host, SPAN_EMPTY), AP_UNTRUSTED);
	ipq_free(&host.queue);
	ipq_free(&queue);

	/* After a rotation it is the new epoch's key. */
	rotate(&b);
	host = (struct root_host){0};
	queue = greet(&host, &b);
	assert_memory_equal(host.greeted_oid, b.epoch_oid, OID_SIZE);
	assert_int_equal(host_queue_check(&host, record_of(&b)), OK);
	ipq_free(&host.queue);
	ipq_free(&queue);
	bench_free(&b);
	bench_free(&other);
}

static void before_there_is_a_root_nothing_is_signed(void **unused)
{
	struct bench b, rooted;
	bench_empty(&b);
	bench_new(&rooted);
	struct root_host host = {0};
	struct ipq *queue = greet(&host, &b);
	assert_false(host.greeted_with_root);
	assert_int_equal(host_queue_check(&host, SPAN_EMPTY), OK);
	assert_int_equal(host_queue_check(&host, record_of(&rooted)), AP_UNTRUSTED);
	ipq_free(&host.queue);
	ipq_free(&queue);
	bench_free(&b);
	bench_free(&rooted);
}

/* Also one that would rather stay: the queue is never used again, so it is ended. */
static void a_secure_processor_that_breaks_the_rules_is_ended(void **unused)
{
	static struct ipq_message message;
	static const char *const argv[] = {"sleep", "1000", NULL};
	const struct process_spec spec = {.path = "/bin/sleep", .argv = argv, .die_with_parent = true};
	struct root_host host = {.boot_gen = 3};
	struct process_end end;
	struct raw peer;
	assert_int_equal(process_start(&spec, &host.process), OK);
	host.queue = raw_victim(&peer, IPQ_HOST, 3);
	host_queue_look(&host); /* nothing is wrong yet */
	assert_int_equal(process_wait(&host.process, 0, &end), TIMED_OUT);
	raw_send(&peer, IPQ_HEALTH_REPLY, 77, SPAN_EMPTY);
	assert_int_equal(ipq_try_receive(host.queue, &message), QUEUE_REPLAY);
	host_queue_look(&host);
	assert_int_equal(process_wait(&host.process, 10000, &end), OK);
	assert_false(end.exited);
	assert_int_equal(end.code, SIGKILL);
	host_queue_look(&host); /* once */
	ipq_free(&host.queue);
	raw_close(&peer);
	process_free(&host.process);
}

int test_host_queue(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_stays_with_its_profile),
		cmocka_unit_test(each_start_has_its_own_pairing_secret),
		cmocka_unit_test(the_greeting_is_signed_by_the_epoch_that_health_names),
		cmocka_unit_test(before_there_is_a_root_nothing_is_signed),
		cmocka_unit_test(a_secure_processor_that_breaks_the_rules_is_ended),
	};
	return cmocka_run_group_tests_name("host: its end of a sealed queue", tests, NULL, NULL);
}
