/* Authorities as anchors: paths in the handshake, beside pinned keys and roots, and every wrong shape of them. */
#include "groups.h"
#include "iecp_pair.h"

#include "../ca_builder.h"

static struct key authority, middle;

static int make_keys(void **state)
{
	(void)state;
	return key_generate(&authority) == OK && key_generate(&middle) == OK ? 0 : -1;
}

static int free_keys(void **state)
{
	(void)state;
	key_free(&authority);
	key_free(&middle);
	return 0;
}

/* A side that shows a path, or some other bytes, as its certificate. */
struct shown {
	struct bytes chain;
};

static void show(struct pair_side *side, struct shown *shown, const struct span *certificates, size_t count)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	for (size_t i = 0; i < count; i++)
		writer_lv(&w, certificates[i]);
	bytes_free(&shown->chain);
	assert_int_equal(writer_take(&w, &shown->chain), OK);
	side->config.certificate = bytes_span(&shown->chain);
}

static struct bytes above_leaf(const struct pair_side *side, const char *names, const char *issuer, const struct key *issuer_key)
{
	struct ca_fields f = ca_good("issuer", &side->issuer_key, issuer, issuer_key, PAIR_NOW_MS);
	f.names = names;
	return ca_issue(&f);
}

static struct bytes good_above(const struct pair_side *side)
{
	return above_leaf(side, "critical,permitted;URI:test.example", "authority", &authority);
}

static void show_good(struct pair_side *side, struct shown *shown)
{
	CLEANUP(bytes_free) struct bytes above = good_above(side);
	const struct span path[] = {bytes_span(&side->certificate), bytes_span(&above)};
	show(side, shown, path, 2);
}

static struct iecp_ca rule;

/* `side` knows its peer by the authority alone. */
static void trust_authority(struct pair_side *side)
{
	rule = (struct iecp_ca){side->config.expected_name, &authority};
	side->anchor = (struct iecp_anchor){.cas = &rule, .ca_count = 1};
}

static result run_to_end(struct pair *pair)
{
	CLEANUP(pair_frames_free) struct pair_frames f = {0};
	struct bytes none = BYTES_EMPTY;

	pair_open(pair);
	TRY(pair_start(&pair->i, &f.m1));
	TRY(pair_receive(&pair->r, bytes_span(&f.m1), &f.m2));
	TRY(pair_receive(&pair->i, bytes_span(&f.m2), &f.m3));
	return pair_receive(&pair->r, bytes_span(&f.m3), &none);
}

/* One side by its authority, the other by a pinned key or root; in both roles; without and with an epoch pointer. */
static void beside_pins_and_roots(void **state)
{
	(void)state;
	for (int c = 0; c < 4; c++) {
		struct pair pair;
		struct shown shown = {0};
		bool rooted = c & 1;
		pair_init(&pair, rooted);
		struct pair_side *shows = c & 2 ? &pair.i : &pair.r, *judges = c & 2 ? &pair.r : &pair.i;
		show_good(shows, &shown);
		trust_authority(judges);
		judges->by_authority = true;
		assert_int_equal(run_to_end(&pair), OK);
		const struct iecp_peer *peer = iecp_peer(judges->handshake);
		assert_string_equal(peer->name, shows->config.own_name);
		assert_int_equal(peer->level, 0); /* a certificate alone, evidence or not */
		assert_int_equal(iecp_peer(shows->handshake)->level, rooted ? 1 : 0);
		bytes_free(&shown.chain);
		pair_free(&pair);
	}
}

static void three_certificates(void **state)
{
	struct pair pair;
	struct shown shown = {0};
	(void)state;

	pair_init(&pair, false);
	CLEANUP(bytes_free) struct bytes above = above_leaf(&pair.r, "critical,permitted;URI:.example", "middle", &middle);
	struct ca_fields f = ca_good("middle", &middle, "authority", &authority, PAIR_NOW_MS);
	f.constraints = "critical,CA:TRUE,pathlen:1";
	f.names = NULL;
	CLEANUP(bytes_free) struct bytes top = ca_issue(&f);
	const struct span path[] = {bytes_span(&pair.r.certificate), bytes_span(&above), bytes_span(&top), bytes_span(&top)};
	trust_authority(&pair.i);
	show(&pair.r, &shown, path, 3);
	assert_int_equal(run_to_end(&pair), OK);
	show(&pair.r, &shown, path, 4);
	assert_int_equal(run_to_end(&pair), CA_PATH);
	const struct span backwards[] = {path[0], path[2], path[1]};
	show(&pair.r, &shown, backwards, 3);
	assert_int_equal(run_to_end(&pair), CA_PATH);
	show(&pair.r, &shown, path, 2); /* the one in the middle is not known here */
	assert_int_equal(run_to_end(&pair), CERTIFICATE_FOREIGN);
	bytes_free(&shown.chain);
	pair_free(&pair);
}

static void wrong_paths(void **state)
{
	struct pair pair;
	struct shown shown = {0};
	(void)state;

	pair_init(&pair, false);
	CLEANUP(bytes_free) struct bytes above = good_above(&pair.r),
					 foreign = above_leaf(&pair.r, "critical,permitted;URI:test.example", "authority", &middle),
					 narrow = above_leaf(&pair.r, "critical,permitted;URI:other.example", "authority", &authority),
					 wide = above_leaf(&pair.r, NULL, "authority", &authority);
	struct span leaf = bytes_span(&pair.r.certificate);
	const struct {
		struct span path[2];
		size_t count;
		result expected;
	} cases[] = {
		{{leaf, bytes_span(&above)}, 2, OK},
		{{leaf}, 1, CA_PATH},
		{{bytes_span(&above), leaf}, 2, BAD_CERTIFICATE},
		{{leaf, leaf}, 2, BAD_CERTIFICATE},
		{{leaf, bytes_span(&foreign)}, 2, CERTIFICATE_FOREIGN},
		{{leaf, bytes_span(&narrow)}, 2, CA_NAME},
		{{leaf, bytes_span(&wide)}, 2, CA_NAME},
		{{leaf, SPAN_EMPTY}, 2, BAD_CERTIFICATE},
		{{leaf, span_of(above.data, above.len - 1)}, 2, BAD_CERTIFICATE},
	};
	trust_authority(&pair.i);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		show(&pair.r, &shown, cases[i].path, cases[i].count);
		assert_int_equal(run_to_end(&pair), cases[i].expected);
	}
	/* A leaf without its length; a path that is cut; a path to somebody who pins the key. */
	pair.r.config.certificate = leaf;
	assert_int_equal(run_to_end(&pair), CA_PATH);
	show_good(&pair.r, &shown);
	pair.r.config.certificate.len--;
	assert_int_equal(run_to_end(&pair), TRUNCATED);
	show_good(&pair.r, &shown);
	pair.i.anchor = (struct iecp_anchor){.pins = &pair.i.pin, .pin_count = 1};
	assert_int_equal(run_to_end(&pair), BAD_CERTIFICATE);
	/* Both kinds of rules: the form says which one applies. */
	pair.i.anchor.cas = &rule;
	pair.i.anchor.ca_count = 1;
	assert_int_equal(run_to_end(&pair), OK);
	pair.r.config.certificate = leaf;
	assert_int_equal(run_to_end(&pair), OK);
	bytes_free(&shown.chain);
	pair_free(&pair);
}

/* The authority vouches for the right host, but the caller asked for somebody else of it. */
static void another_name_of_the_same_authority(void **state)
{
	struct pair pair;
	struct shown shown = {0};
	(void)state;

	pair_init(&pair, false);
	trust_authority(&pair.i);
	pair_certify(&pair.r, "spiffe://test.example/ire/carol", PAIR_NOW_MS - 1, PAIR_NOW_MS + PAIR_DAY_MS);
	show_good(&pair.r, &shown);
	assert_int_equal(run_to_end(&pair), PEER_NAME_MISMATCH);
	pair.i.config.expected_name = "spiffe://test.example/ire/carol"; /* asked for, but no rule has it */
	assert_int_equal(run_to_end(&pair), PEER_NAME_MISMATCH);
	bytes_free(&shown.chain);
	pair_free(&pair);
}

/* The channel ends with the shortest certificate of the path, and renews its keys under the same rule. */
static void life_and_re_handshake(void **state)
{
	struct pair pair;
	struct shown shown = {0};
	CLEANUP(writer_free) struct writer m1 = writer_growing(1 << 20);
	(void)state;

	pair_init(&pair, false);
	struct ca_fields f = ca_good("issuer", &pair.r.issuer_key, "authority", &authority, PAIR_NOW_MS);
	f.not_after = PAIR_NOW_MS + 60000;
	CLEANUP(bytes_free) struct bytes above = ca_issue(&f);
	const struct span path[] = {bytes_span(&pair.r.certificate), bytes_span(&above)};
	show(&pair.r, &shown, path, 2);
	trust_authority(&pair.i);
	pair_channels(&pair);
	assert_int_equal(iecp_channel_until(pair.i.channel), PAIR_NOW.steady_ms + 60000);
	assert_int_equal(iecp_channel_peer(pair.i.channel)->not_after, PAIR_NOW_MS + 60000);
	bytes_free(&shown.chain);
	pair_free(&pair);
}

static void writing_a_path(void **state)
{
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	const struct span four[4] = {span_str("a"), span_str("b"), span_str("c"), span_str("d")};
	(void)state;

	assert_int_equal(iecp_chain_put(four, 1, &w), CA_PATH);
	assert_int_equal(iecp_chain_put(four, 4, &w), CA_PATH);
	assert_int_equal(iecp_chain_put(four, 3, &w), OK);
	assert_int_equal(w.len, 15);
}

int group_iecp_anchor(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(beside_pins_and_roots),
		cmocka_unit_test(three_certificates),
		cmocka_unit_test(wrong_paths),
		cmocka_unit_test(another_name_of_the_same_authority),
		cmocka_unit_test(life_and_re_handshake),
		cmocka_unit_test(writing_a_path),
	};
	return cmocka_run_group_tests_name("iecp anchor", tests, make_keys, free_keys);
}
