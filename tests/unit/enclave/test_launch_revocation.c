/* A launch whose host hears of a revocation: what it is refused from then on, before its runtime has said a word. */
#include "../expect.h"

#include "base/clock.h"
#include "enclave/launch_revocation.h"
#include "groups.h"

/* A launch as it is when it asks for a secret or is to be endorsed anew: endorsed, with a certificate and keys. */
struct world {
	struct revocation_feed *feed;
	struct launch_revocation rev;
	struct key operator, sign;
	struct launch launch;
	uint8_t rot_id[OID_SIZE], epoch[OID_SIZE], next_epoch[OID_SIZE], certificate[SHA256_SIZE];
	uint64_t version;
	unsigned rings;
};

static void ring(void *ctx)
{
	struct world *w = ctx;
	w->rings++;
}

static struct span der(void)
{
	return span_str("a certificate");
}

static void begin(struct world *w)
{
	*w = (struct world){.launch = {.name = "A"}};
	expect_ok(key_generate(&w->operator));
	expect_ok(key_generate(&w->sign));
	expect_ok(revocation_feed_new(&w->feed));
	memset(w->launch.measurement, 1, SHA384_SIZE);
	memset(w->launch.core, 2, SHA384_SIZE);
	memset(w->launch.policy_digest, 3, SHA256_SIZE);
	memset(w->rot_id, 4, OID_SIZE);
	memset(w->epoch, 5, OID_SIZE);
	memset(w->next_epoch, 6, OID_SIZE);
	sha256(der(), w->certificate);
	launch_revocation_begin(&w->rev, w->feed, ring, w);
	expect_ok(launch_revocation_judge_launch(&w->rev, &w->launch, w->rot_id, w->epoch));
	expect_ok(launch_revocation_judge_certificate(&w->rev, der(), w->sign.point, w->epoch));
	expect_ok(launch_revocation_judge(&w->rev));
}

static void end(struct world *w)
{
	launch_revocation_end(&w->rev);
	revocation_feed_free(w->feed);
	key_free(&w->operator);
	key_free(&w->sign);
}

/* A list of one entry takes the place of the one before. */
static void publish(struct world *w, enum revocation_class class, const uint8_t *value, uint64_t from)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct revocation_snapshot *snapshot;
	struct revocation_entry entry = {(uint8_t)class, span_of(value, revocation_class_size(class)), from, "why"};
	uint64_t now = clock_wall_ms();
	struct revocation_list list = {.version = ++w->version, .time = now, .not_after = now + 60000, .entries = &entry, .entry_count = 1};
	expect_ok(revocation_list_sign(&list, &w->operator, &object, NULL));
	struct span span = bytes_span(&object);
	expect_ok(revocation_snapshot_new(&span, 1, &snapshot));
	expect_ok(revocation_feed_publish(w->feed, snapshot, span_str("head"), now));
}

/* What stands before UNSEAL, SEAL and REISSUE in launch.c. */
static void every_class_refuses_secrets_and_a_new_certificate(void **state)
{
	struct world w;
	(void)state;
	begin(&w);
	const struct {
		enum revocation_class class;
		const uint8_t *value;
	} rows[] = {
		{REVOKE_MEASUREMENT, w.launch.measurement}, {REVOKE_MEASUREMENT, w.launch.core}, {REVOKE_KEY, w.sign.id},
		{REVOKE_CERTIFICATE, w.certificate}, {REVOKE_HOST, w.rot_id}, {REVOKE_EPOCH, w.epoch},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t neighbour[SHA384_SIZE];
		memcpy(neighbour, rows[i].value, revocation_class_size(rows[i].class));
		neighbour[0] ^= 1;
		publish(&w, rows[i].class, neighbour, 0);
		expect_ok(launch_revocation_judge(&w.rev));
		publish(&w, rows[i].class, rows[i].value, clock_wall_ms() + 60000);
		expect_ok(launch_revocation_judge(&w.rev));
		publish(&w, rows[i].class, rows[i].value, 0);
		expect(launch_revocation_judge(&w.rev), REVOKED);
	}
	assert_int_equal(w.rings, 3 * COUNT_OF(rows));
	end(&w);
}

/* Its policy may have a newer version in force: that is the runtime's to judge. */
static void a_policy_is_left_to_the_runtime(void **state)
{
	struct world w;
	(void)state;
	begin(&w);
	publish(&w, REVOKE_POLICY, w.launch.policy_digest, 0);
	expect_ok(launch_revocation_judge(&w.rev));
	end(&w);
}

/* A re-issue takes a launch out of a revoked epoch, and into one. */
static void a_new_certificate_is_judged_under_its_own_epoch(void **state)
{
	struct world w;
	(void)state;
	begin(&w);
	publish(&w, REVOKE_EPOCH, w.epoch, 0);
	expect(launch_revocation_judge(&w.rev), REVOKED);
	expect_ok(launch_revocation_judge_certificate(&w.rev, span_str("another"), w.sign.point, w.next_epoch));
	expect_ok(launch_revocation_judge(&w.rev));
	publish(&w, REVOKE_EPOCH, w.next_epoch, 0);
	expect(launch_revocation_judge(&w.rev), REVOKED);
	expect(launch_revocation_judge_certificate(&w.rev, span_str("a third"), w.sign.point, w.next_epoch), REVOKED);
	end(&w);
}

static void one_that_is_condemned_has_a_moment_and_no_more(void **state)
{
	struct world w;
	(void)state;
	begin(&w);
	assert_false(launch_revocation_is_overdue(&w.rev));
	assert_true(launch_revocation_deadline(&w.rev) == UINT64_MAX);
	publish(&w, REVOKE_KEY, w.sign.id, 0);
	expect(launch_revocation_judge(&w.rev), REVOKED);
	launch_revocation_condemn(&w.rev);
	uint64_t first = launch_revocation_deadline(&w.rev);
	assert_true(first < UINT64_MAX);
	assert_non_null(strstr(w.rev.text, "why"));
	launch_revocation_condemn(&w.rev);
	assert_true(launch_revocation_deadline(&w.rev) == first);
	end(&w);
}

/* A host that obeys no operator. */
static void without_a_feed_nothing_is_judged(void **state)
{
	struct launch_revocation rev;
	const struct launch launch = {.name = "A"};
	const uint8_t zero[OID_SIZE] = {0};
	(void)state;
	launch_revocation_begin(&rev, NULL, ring, NULL);
	expect_ok(launch_revocation_judge_launch(&rev, &launch, zero, zero));
	expect_ok(launch_revocation_judge(&rev));
	expect_ok(launch_revocation_send(&rev, -1, 0));
	launch_revocation_end(&rev);
}

int group_launch_revocation(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_class_refuses_secrets_and_a_new_certificate),
		cmocka_unit_test(a_policy_is_left_to_the_runtime),
		cmocka_unit_test(a_new_certificate_is_judged_under_its_own_epoch),
		cmocka_unit_test(one_that_is_condemned_has_a_moment_and_no_more),
		cmocka_unit_test(without_a_feed_nothing_is_judged),
	};
	return cmocka_run_group_tests_name("launch_revocation", tests, NULL, NULL);
}
