/* Messages of links, and what is kept of enrolled hosts. */
#include "expect.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "epoch_maker.h"
#include "folder.h"
#include "groups.h"
#include "job/link.h"
#include "job/peers.h"

static void every_type_has_a_name_and_a_form(void **state)
{
	size_t known = 0;
	(void)state;
	for (unsigned type = 0; type < 256; type++)
		if (link_schema((enum link_type)type)) {
			assert_string_not_equal(link_type_name((enum link_type)type), "unknown");
			known++;
		}
	assert_int_equal(known, 21);
	assert_string_equal(link_type_name((enum link_type)255), "unknown");
}

static void what_is_no_message_is_refused(void **state)
{
	static const uint8_t unknown_type[] = {0xa2, 0x01, 0x18, 0xc8, 0x02, 0x41, 0xa0};
	static const uint8_t trailing[] = {0xa2, 0x01, 0x03, 0x02, 0x44, 0xa1, 0x01, 0xf4, 0x00, 0x00};
	static const uint8_t alive[] = {0xa2, 0x01, 0x03, 0x02, 0x43, 0xa1, 0x01, 0xf4};
	enum link_type type;
	struct span body;
	(void)state;
	expect(link_parse(SPAN_ARRAY(unknown_type), &type, &body), WRONG_KIND);
	expect(link_parse(SPAN_ARRAY(trailing), &type, &body), TRAILING_BYTES);
	assert_int_not_equal(link_parse(SPAN_EMPTY, &type, &body), OK);
	expect_ok(link_parse(SPAN_ARRAY(alive), &type, &body));
	assert_int_equal(type, LINK_ALIVE);
}

/* Of a standing link: a head has a bound, a key id one length. */
static void messages_of_standing_links_have_one_form(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 << 10);
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	static const uint8_t head[REVOCATION_HEAD_MAX] = {1}, short_id[] = {0xa1, 0x01, 0x43, 1, 2, 3}, empty_head[] = {0xa1, 0x01, 0x40};
	const struct link_head body = {SPAN_ARRAY(head)};
	struct link_head decoded;
	struct link_want want;
	(void)state;
	expect_ok(schema_encode(link_schema(LINK_HEAD), &body, &encoding));
	expect_ok(schema_decode(link_schema(LINK_HEAD), bytes_span(&encoding), &arena, &decoded));
	assert_true(span_equal(decoded.head, body.head));
	assert_int_not_equal(schema_decode(link_schema(LINK_HEAD), SPAN_ARRAY(empty_head), &arena, &decoded), OK);
	encoding.data[4]++; /* one byte more than there may be, by its length */
	assert_int_not_equal(schema_decode(link_schema(LINK_HEAD), bytes_span(&encoding), &arena, &decoded), OK);
	assert_int_not_equal(schema_decode(link_schema(LINK_WANT), SPAN_ARRAY(short_id), &arena, &want), OK);
	assert_string_equal(link_type_name(LINK_STAND), "STAND");
}

/* ---- Enrolled hosts --------------------------------------------------------------------------------- */

static struct bytes history_of(const struct span *objects, size_t count)
{
	struct epoch_chain *chain;
	struct bytes history;
	expect_ok(epoch_chain_new(objects[0], &chain));
	for (size_t i = 1; i < count; i++)
		expect_ok(epoch_chain_learn(chain, objects[i]));
	expect_ok(epoch_chain_history(chain, &history));
	epoch_chain_free(chain);
	return history;
}

static const struct text_item at_north = {"north.example:7400"};

static result enrol(struct peers *peers, const char *name, struct span history)
{
	const struct peer_enrolment enrolment = {.name = name, .addresses = &at_north, .address_count = 1, .history = history, .now_ms = maker_time};
	return peers_enrol(peers, &enrolment);
}

static void enrolled_hosts_are_kept(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct peers *peers;
	struct peer peer, *list;
	struct epoch_maker north, other;
	size_t count;
	epoch_maker_begin(&north, 1, 0, 0);
	epoch_maker_begin(&other, 2, 0, 0);
	expect_ok(peers_open(*state, &peers));
	expect_ok(enrol(peers, "north", bytes_span(&north.record)));
	expect(enrol(peers, "north", bytes_span(&other.record)), PEER_EXISTS);
	expect(enrol(peers, "other", bytes_span(&north.record)), PEER_EXISTS);
	expect(enrol(peers, "../x", bytes_span(&other.record)), BAD_NAME);
	expect(enrol(peers, "", bytes_span(&other.record)), BAD_NAME);
	assert_int_not_equal(enrol(peers, "junk", span_str("junk")), OK);
	peers_close(peers);
	expect_ok(peers_open(*state, &peers));
	expect_ok(peers_list(peers, &arena, &list, &count));
	assert_int_equal(count, 1);
	expect_ok(peers_find(peers, north.rot_id, &arena, &peer));
	assert_string_equal(peer.name, "north");
	assert_string_equal(peer.addresses[0].text, at_north.text);
	expect(peers_find(peers, other.rot_id, &arena, &peer), PEER_UNKNOWN);
	expect_ok(peers_remove(peers, "north"));
	expect(peers_remove(peers, "north"), PEER_UNKNOWN);
	peers_close(peers);
	expect_ok(peers_open(*state, &peers));
	expect(peers_find_name(peers, "north", &arena, &peer), PEER_UNKNOWN);
	peers_close(peers);
	epoch_maker_free(&north);
	epoch_maker_free(&other);
}

static void what_is_known_of_a_root_only_grows(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct peers *peers;
	struct peer peer;
	struct epoch_maker north;
	struct bytes first, second, old, news;
	uint8_t oid1[OID_SIZE];
	bool changed;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	epoch_maker_begin(&north, 1, 0, 0);
	memcpy(oid1, north.oid, OID_SIZE);
	expect_ok(bytes_copy(bytes_span(&north.record), &first));
	epoch_maker_rotate(&north);
	expect_ok(bytes_copy(bytes_span(&north.record), &second));
	const struct span both[] = {bytes_span(&first), bytes_span(&second)};
	old = history_of(both, 1);
	news = history_of(both, 2);
	expect_ok(peers_open(*state, &peers));
	expect(peers_follow(peers, bytes_span(&news), maker_time, &changed), PEER_UNKNOWN);
	expect_ok(enrol(peers, "north", bytes_span(&first)));
	expect(peers_judge(peers, north.rot_id, north.oid, maker_time, &key), EPOCH_FOREIGN);
	expect_ok(peers_follow(peers, bytes_span(&news), maker_time, &changed));
	assert_true(changed);
	uint64_t version = peers_version(peers);
	expect_ok(peers_follow(peers, bytes_span(&old), maker_time, &changed));
	assert_false(changed);
	assert_int_equal(peers_version(peers), version);
	peers_close(peers);
	expect_ok(peers_open(*state, &peers));
	expect_ok(peers_find(peers, north.rot_id, &arena, &peer));
	assert_int_equal(peer.epoch, 2);
	expect_ok(peers_judge(peers, north.rot_id, north.oid, maker_time + 1, &key));
	assert_memory_equal(key.point, north.epoch.sign_pk, POINT_SIZE);
	key_free(&key);
	/* The epoch before counts for its grace alone. */
	assert_int_not_equal(peers_judge(peers, north.rot_id, oid1, maker_time + 10 * 60 * 1000, &key), OK);
	peers_close(peers);
	epoch_maker_free(&north);
	bytes_free(&first);
	bytes_free(&second);
	bytes_free(&old);
	bytes_free(&news);
}

/* The same state folder, used twice: both of what came of it are kept, and neither counts any more, whatever is shown later. */
static void a_fork_is_kept(void **state)
{
	struct peers *peers;
	struct epoch_maker north, twin;
	struct bytes first, here, there, one, two;
	bool changed;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	epoch_maker_begin(&north, 1, 0, 0);
	expect_ok(bytes_copy(bytes_span(&north.record), &first));
	epoch_maker_clone(&north, 7, &twin);
	epoch_maker_rotate(&north);
	epoch_maker_rotate(&twin);
	here = history_of((const struct span[]){bytes_span(&first), bytes_span(&north.record)}, 2);
	there = history_of((const struct span[]){bytes_span(&first), bytes_span(&twin.record)}, 2);
	expect_ok(bytes_copy(bytes_span(&here), &one));
	expect_ok(bytes_copy(bytes_span(&there), &two));
	expect_ok(peers_open(*state, &peers));
	expect_ok(enrol(peers, "north", bytes_span(&one)));
	expect_ok(peers_judge(peers, north.rot_id, north.oid, maker_time + 1, &key));
	key_free(&key);
	expect(peers_follow(peers, bytes_span(&two), maker_time, &changed), EPOCH_FORKED);
	peers_close(peers);
	expect_ok(peers_open(*state, &peers));
	expect(peers_follow(peers, bytes_span(&one), maker_time, &changed), EPOCH_FORKED);
	expect(peers_judge(peers, north.rot_id, north.oid, maker_time + 1, &key), EPOCH_FORKED);
	peers_close(peers);
	epoch_maker_free(&north);
	epoch_maker_free(&twin);
	struct bytes *all[] = {&first, &here, &there, &one, &two};
	for (size_t i = 0; i < COUNT_OF(all); i++)
		bytes_free(all[i]);
}

static void a_damaged_file_is_no_forgotten_peer(void **state)
{
	struct peers *peers;
	struct epoch_maker north;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	epoch_maker_begin(&north, 1, 0, 0);
	expect_ok(peers_open(*state, &peers));
	expect_ok(enrol(peers, "north", bytes_span(&north.record)));
	peers_close(peers);
	expect_ok(file_read(folder_path(*state, "peers/north"), 1 << 16, &file));
	file.data[file.len / 2] ^= 1;
	expect_ok(file_write_atomic(folder_path(*state, "peers/north"), bytes_span(&file), 0600));
	assert_int_not_equal(peers_open(*state, &peers), OK);
	epoch_maker_free(&north);
}

static void officers_are_pinned_once(void **state)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct peers *peers;
	struct epoch_maker north;
	struct digest32 keys[] = {{{1}}, {{2}}};
	struct epoch_recovery two = {.k = 2, .n = 2, .keys = keys, .key_count = 2}, none = {0}, read;
	epoch_maker_begin(&north, 1, 0, 0);
	expect_ok(peers_open(*state, &peers));
	expect(peers_set_officers(peers, &none), BAD_VALUE);
	expect_ok(peers_officers(peers, &arena, &read));
	assert_int_equal(read.k, 0);
	expect_ok(peers_set_officers(peers, &two));
	expect(peers_set_officers(peers, &two), PEER_EXISTS);
	expect(enrol(peers, "north", bytes_span(&north.record)), ENROLMENT_QUORUM);
	peers_close(peers);
	expect_ok(peers_open(*state, &peers));
	expect_ok(peers_officers(peers, &arena, &read));
	assert_int_equal(read.k, 2);
	peers_close(peers);
	epoch_maker_free(&north);
}

int group_link(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_has_a_name_and_a_form),
		cmocka_unit_test(what_is_no_message_is_refused),
		cmocka_unit_test(messages_of_standing_links_have_one_form),
		cmocka_unit_test_setup_teardown(enrolled_hosts_are_kept, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(what_is_known_of_a_root_only_grows, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_fork_is_kept, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_no_forgotten_peer, folder_setup, folder_teardown),
		cmocka_unit_test_setup_teardown(officers_are_pinned_once, folder_setup, folder_teardown),
	};
	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
