#include "policy/compiled.h"

#include "wire/cbor.h"

#include <inttypes.h>

/* Keys of a policy. 16 and 18 to 26 are reserved for parts that policies of this format do not have yet. */
enum {
	KEY_FORMAT = 1,
	KEY_VERSION = 2,
	KEY_KIND = 3,
	KEY_ID = 4,
	KEY_MAX_DAC_DEPTH = 5,
	KEY_REQUIRED_LEVEL = 6,
	KEY_MIN_CONFINEMENT = 7,
	KEY_ALLOW_INTERPRETER = 8,
	KEY_ROT = 9,
	KEY_PEERS = 10,
	KEY_DENIED = 11,
	KEY_LEVEL0 = 12,
	KEY_MAX_AGE = 13,
	KEY_NOT_BEFORE = 14,
	KEY_NOT_AFTER = 15,
	KEY_FACTORS = 17,
	KEY_AUTHOR = 27,
	KEY_PQ = 28,
	KEY_CHANNELS = 29,
	KEY_CHAIN = 30, /* a map; its keys are those of enum policy_chain_limit, plus one */
	KEY_LAST = KEY_CHAIN, /* keys are counted in the bits of an unsigned */
};
enum { REQUIRED_KEYS = 0x3fe }; /* bits 1..9 */

/* Keys of a communicator, and of an entry of the deny list (which has only its id). */
enum {
	KEY_PEER_ID = 1,
	KEY_PEER_DIRECTIONS = 2,
	KEY_PEER_OPERATIONS = 3,
	KEY_PEER_SCOPES = 4,
	KEY_PEER_CORES = 5,
	KEY_PEER_ROT = 6,
	KEY_PEER_RATE = 7,
	KEY_PEER_FACTORS = 8,
	KEY_PEER_REFERENCE = 11, /* 9 and 10 are reserved */
};

enum { KEY_RATE_OPERATIONS = 1, KEY_RATE_PER = 2, KEY_RATE_BURST = 3, RATE_KEYS = 3 };
enum { RATE_MAX_OPERATIONS = POLICY_RATE_MAX, RATE_MAX_PER_S = POLICY_RATE_MAX_PER_S };

/* Keys of a reference: those of a seal's (object/reference.h). */
enum { KEY_REFERENCE_AUTHOR = 1, KEY_REFERENCE_SET = 2, KEY_REFERENCE_MIN_SVN = 3, REFERENCE_KEYS = 3 };

enum { ALL_DIRECTIONS = DIRECTION_SEND | DIRECTION_RECEIVE | DIRECTION_CONNECT | DIRECTION_ACCEPT };

/* The rot rule is 0 for "same", else an array of root ids. */
enum { ROT_RULE_SAME = 0 };

/* ---- Elements ------------------------------------------------------------------------------------------ */

typedef result element_read(struct reader *r, struct span *out);

static result read_name(struct reader *r, struct span *out)
{
	size_t bad;
	TRY(cbor_read_text(r, out));
	if (!policy_name_ok(*out, &bad))
		return fail(BAD_NAME, "an id of %zu bytes, wrong at byte %zu", out->len, bad);
	return OK;
}

static result read_item(struct reader *r, struct span *out)
{
	size_t bad;
	TRY(cbor_read_text(r, out));
	if (!policy_item_ok(*out, &bad))
		return fail(BAD_NAME, "an operation or scope of %zu bytes, wrong at byte %zu", out->len, bad);
	return OK;
}

static result read_fixed(struct reader *r, size_t len, struct span *out)
{
	TRY(cbor_read_bytes(r, out));
	if (out->len != len)
		return fail(BAD_VALUE, "a digest of %zu bytes where %zu are expected", out->len, len);
	return OK;
}

static result read_core(struct reader *r, struct span *out)
{
	return read_fixed(r, POLICY_CORE_SIZE, out);
}

static result read_rot_id(struct reader *r, struct span *out)
{
	return read_fixed(r, POLICY_ROT_ID_SIZE, out);
}

static result ascends(struct span previous, struct span next)
{
	if (!previous.data)
		return OK;
	int order = span_compare(previous, next);
	if (order == 0)
		return fail(POLICY_CONFLICT, "an element stands twice in one set");
	if (order > 0)
		return fail(NOT_DETERMINISTIC, "the elements of a set are not in order");
	return OK;
}

static result open_set(struct reader *r, struct compiled_list *out)
{
	TRY(cbor_read_array(r, &out->count));
	if (out->count == 0)
		return fail(EMPTY_SET, "an empty set; it must be left out");
	out->at = *r;
	return OK;
}

/* A set: at least one element, strictly ascending, so that one meaning has one encoding. */
static result read_set(struct reader *r, element_read *read, struct compiled_list *out)
{
	struct compiled_list list;
	struct span previous = SPAN_EMPTY;
	TRY(open_set(r, &list));
	for (size_t i = 0; i < list.count; i++) {
		struct span element;
		TRY(read(r, &element));
		TRY(ascends(previous, element));
		previous = element;
	}
	*out = list;
	return OK;
}

static result read_rot(struct reader *r, struct compiled_rot *out)
{
	enum cbor_type type;
	TRY(cbor_peek(r, &type));
	if (type == CBOR_ARRAY) {
		out->kind = ROT_LISTED;
		return read_set(r, read_rot_id, &out->ids);
	}
	uint64_t rule;
	TRY(cbor_read_uint(r, &rule));
	if (rule != ROT_RULE_SAME)
		return fail(BAD_VALUE, "rot rule %" PRIu64, rule);
	out->kind = ROT_SAME;
	return OK;
}

static result read_ranged(struct reader *r, uint64_t min, uint64_t max, uint64_t *out)
{
	TRY(cbor_read_uint(r, out));
	if (*out < min || *out > max)
		return fail(BAD_VALUE, "%" PRIu64 " lies outside %" PRIu64 "..%" PRIu64, *out, min, max);
	return OK;
}

/* Ascending numbers of factors, as bits. */
static result read_factors(struct reader *r, unsigned *out)
{
	struct compiled_list list;
	uint64_t previous = 0, number;
	unsigned factors = 0;
	TRY(open_set(r, &list));
	for (size_t i = 0; i < list.count; i++, previous = number) {
		TRY(read_ranged(r, 1, POLICY_FACTORS, &number));
		if (number == previous)
			return fail(POLICY_CONFLICT, "a factor stands twice");
		if (number < previous)
			return fail(NOT_DETERMINISTIC, "the factors are not in order");
		factors |= 1u << (number - 1);
	}
	*out = factors;
	return OK;
}

/* ---- A communicator ------------------------------------------------------------------------------------ */

static result read_rate_field(struct reader *r, int64_t key, struct compiled_rate *rate)
{
	uint64_t number;
	if (key < KEY_RATE_OPERATIONS || key > KEY_RATE_BURST)
		return fail(UNKNOWN_FIELD, "key %" PRId64 " of a rate; a newer Troth may know it", key);
	TRY(read_ranged(r, 1, key == KEY_RATE_PER ? RATE_MAX_PER_S : RATE_MAX_OPERATIONS, &number));
	*(key == KEY_RATE_OPERATIONS ? &rate->operations : key == KEY_RATE_PER ? &rate->per_s : &rate->burst) = (uint32_t)number;
	return OK;
}

static result read_rate(struct reader *r, struct compiled_rate *out)
{
	struct cbor_map map;
	size_t fields = 0;
	TRY(cbor_map_open(r, &map));
	for (;; fields++) {
		bool more;
		int64_t key;
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		TRY(read_rate_field(r, key, out));
	}
	return fields == RATE_KEYS ? OK : fail(MISSING_FIELD, "a rate without operations, seconds or burst");
}

static result read_reference_field(struct reader *r, int64_t key, struct compiled_reference *out)
{
	uint64_t number;
	switch (key) {
	case KEY_REFERENCE_AUTHOR:
		return read_fixed(r, POLICY_AUTHOR_SIZE, &out->author);
	case KEY_REFERENCE_SET:
		return read_name(r, &out->set);
	case KEY_REFERENCE_MIN_SVN:
		TRY(read_ranged(r, 1, UINT32_MAX, &number));
		out->min_svn = (uint32_t)number;
		return OK;
	default:
		return fail(UNKNOWN_FIELD, "key %" PRId64 " of a reference; a newer Troth may know it", key);
	}
}

static result read_reference(struct reader *r, struct compiled_reference *out)
{
	struct cbor_map map;
	size_t fields = 0;
	TRY(cbor_map_open(r, &map));
	for (;; fields++) {
		bool more;
		int64_t key;
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		TRY(read_reference_field(r, key, out));
	}
	return fields == REFERENCE_KEYS ? OK : fail(MISSING_FIELD, "a reference without author, set or min_svn");
}

static result read_peer_field(struct reader *r, int64_t key, struct compiled_peer *peer)
{
	uint64_t number;
	switch (key) {
	case KEY_PEER_ID:
		return read_name(r, &peer->id);
	case KEY_PEER_DIRECTIONS:
		TRY(read_ranged(r, 1, ALL_DIRECTIONS, &number));
		peer->directions = (unsigned)number;
		return OK;
	case KEY_PEER_OPERATIONS:
		return read_set(r, read_item, &peer->operations);
	case KEY_PEER_SCOPES:
		return read_set(r, read_item, &peer->scopes);
	case KEY_PEER_CORES:
		return read_set(r, read_core, &peer->cores);
	case KEY_PEER_ROT:
		return read_rot(r, &peer->rot);
	case KEY_PEER_RATE:
		return read_rate(r, &peer->rate);
	case KEY_PEER_FACTORS:
		return read_factors(r, &peer->factors);
	case KEY_PEER_REFERENCE:
		return read_reference(r, &peer->reference);
	default:
		return fail(UNKNOWN_FIELD, "key %" PRId64 " of a communicator; a newer Troth may know it", key);
	}
}

/* A rule that leaves no way to send or receive, or none to meet, could only be a mistake. */
static result check_directions(unsigned directions)
{
	if (!(directions & (DIRECTION_SEND | DIRECTION_RECEIVE)) || !(directions & (DIRECTION_CONNECT | DIRECTION_ACCEPT)))
		return fail(BAD_VALUE, "directions %u allow nothing", directions);
	return OK;
}

static result read_peer(struct reader *r, struct compiled_peer *out)
{
	struct cbor_map map;
	bool more;
	int64_t key;
	*out = (struct compiled_peer){0};
	TRY(cbor_map_open(r, &map));
	for (;;) {
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		TRY(read_peer_field(r, key, out));
	}
	if (!out->id.data || !out->directions)
		return fail(MISSING_FIELD, "a communicator without id or directions");
	if (out->cores.count && out->reference.author.data)
		return fail(POLICY_CONFLICT, "a communicator with cores and a reference; one of them says which code counts");
	return check_directions(out->directions);
}

/* The communicators: a set by their ids. */
static result read_peers(struct reader *r, const struct compiled_visitor *visitor, struct compiled_list *out)
{
	struct compiled_list list;
	struct span previous = SPAN_EMPTY;
	TRY(open_set(r, &list));
	for (size_t i = 0; i < list.count; i++) {
		struct compiled_peer peer;
		TRY(read_peer(r, &peer));
		TRY(ascends(previous, peer.id));
		previous = peer.id;
		if (visitor)
			TRY(visitor->peer(visitor->context, &peer));
	}
	*out = list;
	return OK;
}

static result read_denied(struct reader *r, struct span *out)
{
	size_t pairs;
	uint64_t key;
	TRY(cbor_read_map(r, &pairs));
	if (pairs != 1)
		return fail(UNKNOWN_FIELD, "an entry of the deny list with %zu fields", pairs);
	TRY(cbor_read_uint(r, &key));
	if (key != KEY_PEER_ID)
		return fail(MISSING_FIELD, "an entry of the deny list without id");
	return read_name(r, out);
}

/* ---- A policy ------------------------------------------------------------------------------------------ */

static result read_number_field(struct reader *r, int64_t key, struct compiled_policy *policy)
{
	uint64_t number;
	switch (key) {
	case KEY_FORMAT:
		TRY(cbor_read_uint(r, &number));
		return number == POLICY_FORMAT ? OK : fail(UNKNOWN_VERSION, "policy format %" PRIu64, number);
	case KEY_VERSION:
		return read_ranged(r, 1, INT64_MAX, &policy->version);
	case KEY_KIND:
		TRY(read_ranged(r, SUBJECT_ENCLAVE, SUBJECT_GUEST, &number));
		policy->kind = (enum policy_subject)number;
		return OK;
	case KEY_MAX_DAC_DEPTH:
		TRY(read_ranged(r, 1, POLICY_MAX_DEPTH, &number));
		policy->max_dac_depth = (uint32_t)number;
		return OK;
	case KEY_REQUIRED_LEVEL:
		TRY(read_ranged(r, 1, POLICY_LEVEL_MAX, &number)); /* Level-0 is accepted by name only */
		policy->required_level = (unsigned)number;
		return OK;
	case KEY_MIN_CONFINEMENT:
		TRY(read_ranged(r, CONFINEMENT_L, CONFINEMENT_N, &number));
		policy->min_confinement = (enum policy_confinement)number;
		return OK;
	case KEY_MAX_AGE:
		policy->has_max_age = true;
		return read_ranged(r, 1, UINT32_MAX, &policy->max_age_s);
	case KEY_NOT_BEFORE:
		policy->has_not_before = true;
		return read_ranged(r, 1, POLICY_TIME_MAX, &policy->not_before);
	default:
		policy->has_not_after = true;
		return read_ranged(r, 1, POLICY_TIME_MAX, &policy->not_after);
	}
}

static result read_pq(struct reader *r, enum policy_pq *out)
{
	uint64_t number;
	TRY(read_ranged(r, POLICY_PQ_OFF, POLICY_PQ_REQUIRE, &number)); /* "prefer" is not written */
	*out = (enum policy_pq)number;
	return OK;
}

/* What a policy may say of its channels, in the order of their keys from 1 on. */
struct channel_number {
	size_t offset;
	uint64_t min, max;
};
static const struct channel_number channel_numbers[] = {
	{offsetof(struct policy_channels, sessions), 1, POLICY_SESSIONS_MAX},
	{offsetof(struct policy_channels, keyupdate_bytes), POLICY_KEYUPDATE_MIN, POLICY_KEYUPDATE_MAX},
	{offsetof(struct policy_channels, rekey_s), 1, POLICY_REKEY_MAX_S},
	{offsetof(struct policy_channels, stall_s), 1, POLICY_STALL_MAX_S},
};

static uint64_t channel_number_of(const struct policy_channels *channels, size_t which)
{
	uint64_t number;
	memcpy(&number, (const uint8_t *)channels + channel_numbers[which].offset, sizeof(number));
	return number;
}

static result read_channels(struct reader *r, struct policy_channels *out)
{
	struct cbor_map map;
	size_t fields = 0;
	TRY(cbor_map_open(r, &map));
	for (;; fields++) {
		bool more;
		int64_t key;
		uint64_t number;
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		if (key < 1 || key > (int64_t)COUNT_OF(channel_numbers))
			return fail(UNKNOWN_FIELD, "key %" PRId64 " of channels; a newer Troth may know it", key);
		const struct channel_number *row = &channel_numbers[key - 1];
		TRY(read_ranged(r, row->min, row->max, &number));
		memcpy((uint8_t *)out + row->offset, &number, sizeof(number));
	}
	return fields ? OK : fail(MISSING_FIELD, "channels of which nothing is said; leave them out");
}

static size_t channels_said(const struct policy_channels *channels)
{
	size_t said = 0;
	for (size_t i = 0; i < COUNT_OF(channel_numbers); i++)
		said += channel_number_of(channels, i) > 0;
	return said;
}

static void put_channels(struct writer *w, const struct policy_channels *channels)
{
	size_t said = channels_said(channels);
	if (said == 0)
		return;
	cbor_put_uint(w, KEY_CHANNELS);
	cbor_put_map(w, said);
	for (size_t i = 0; i < COUNT_OF(channel_numbers); i++)
		if (channel_number_of(channels, i) > 0) {
			cbor_put_uint(w, i + 1);
			cbor_put_uint(w, channel_number_of(channels, i));
		}
}

const struct chain_limit_row chain_limit_rows[POLICY_CHAIN_LIMITS] = {
	[CHAIN_RECORDS] = {"records", "chain.records", 1 << 20},
	[CHAIN_BYTES] = {"bytes", "chain.bytes", UINT32_MAX},
	[CHAIN_PATH] = {"path", "chain.path", 1 << 20},
	[CHAIN_PARENTS] = {"parents", "chain.parents", 64},
	[CHAIN_EAGER] = {"eager", "chain.eager", 4096},
	[CHAIN_WAIT_S] = {"wait_s", "chain.wait_s", 3600},
};

static result read_chain(struct reader *r, uint64_t out[static POLICY_CHAIN_LIMITS])
{
	struct cbor_map map;
	size_t fields = 0;
	TRY(cbor_map_open(r, &map));
	for (;; fields++) {
		bool more;
		int64_t key;
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		if (key < 1 || key > POLICY_CHAIN_LIMITS)
			return fail(UNKNOWN_FIELD, "key %" PRId64 " of chain; a newer Troth may know it", key);
		TRY(read_ranged(r, 1, chain_limit_rows[key - 1].most, &out[key - 1]));
	}
	return fields ? OK : fail(EMPTY_SET, "chain without a limit");
}

static result read_field(struct reader *r, int64_t key, const struct compiled_visitor *visitor, struct compiled_policy *policy)
{
	switch (key) {
	case KEY_ID:
		return read_name(r, &policy->id);
	case KEY_ALLOW_INTERPRETER:
		return cbor_read_bool(r, &policy->allow_interpreter);
	case KEY_ROT:
		return read_rot(r, &policy->rot);
	case KEY_PEERS:
		return read_peers(r, visitor, &policy->peers);
	case KEY_DENIED:
		return read_set(r, read_denied, &policy->denied);
	case KEY_LEVEL0:
		return read_set(r, read_name, &policy->level0);
	case KEY_FACTORS:
		return read_factors(r, &policy->factors);
	case KEY_AUTHOR:
		return read_fixed(r, POLICY_AUTHOR_SIZE, &policy->author);
	case KEY_PQ:
		return read_pq(r, &policy->pq);
	case KEY_CHANNELS:
		return read_channels(r, &policy->channels);
	case KEY_CHAIN:
		return read_chain(r, policy->chain);
	default:
		break;
	}
	if (key < KEY_FORMAT || key > KEY_NOT_AFTER) /* of the rest; 17 and those from 27 on were above */
		return fail(UNKNOWN_FIELD, "key %" PRId64 " of a policy; a newer Troth may know it", key);
	return read_number_field(r, key, policy);
}

result compiled_decode(struct reader *r, const struct compiled_visitor *visitor, struct compiled_policy *out)
{
	struct compiled_policy policy = {0};
	const uint8_t *start = r->at;
	struct cbor_map map;
	unsigned seen = 0;
	TRY(cbor_map_open(r, &map));
	for (;;) {
		bool more;
		int64_t key;
		TRY(cbor_map_next(r, &map, &more, &key));
		if (!more)
			break;
		TRY(read_field(r, key, visitor, &policy));
		seen |= 1u << key; /* at most KEY_LAST: other keys are refused */
	}
	if ((seen & REQUIRED_KEYS) != REQUIRED_KEYS)
		return fail(MISSING_FIELD, "a policy lacks one of the keys 1 to 9");
	if (policy.has_not_before && policy.has_not_after && policy.not_before >= policy.not_after)
		return fail(BAD_VALUE, "not_before is not before not_after");
	policy.bytes = span_of(start, (size_t)(r->at - start));
	*out = policy;
	return OK;
}

/* ---- Walking lists that were checked -------------------------------------------------------------------- */

static bool next(struct compiled_list *list, element_read *read, struct span *out)
{
	if (list->count == 0 || read(&list->at, out) != OK)
		return false;
	list->count--;
	return true;
}

bool compiled_next_peer(struct compiled_list *peers, struct compiled_peer *out)
{
	if (peers->count == 0 || read_peer(&peers->at, out) != OK)
		return false;
	peers->count--;
	return true;
}

bool compiled_next_denied(struct compiled_list *denied, struct span *out_id)
{
	return next(denied, read_denied, out_id);
}

bool compiled_next_text(struct compiled_list *texts, struct span *out)
{
	return next(texts, cbor_read_text, out);
}

bool compiled_next_bytes(struct compiled_list *items, struct span *out)
{
	return next(items, cbor_read_bytes, out);
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

static void put_texts(struct writer *w, uint64_t key, const struct form_texts *texts)
{
	if (texts->count == 0)
		return;
	cbor_put_uint(w, key);
	cbor_put_array(w, texts->count);
	for (size_t i = 0; i < texts->count; i++)
		cbor_put_text(w, texts->items[i]);
}

static void put_digests(struct writer *w, const struct form_texts *digests)
{
	cbor_put_array(w, digests->count);
	for (size_t i = 0; i < digests->count; i++)
		cbor_put_bytes(w, digests->items[i]);
}

static void put_rot(struct writer *w, uint64_t key, const struct form_rot *rot)
{
	if (rot->kind == ROT_UNSAID)
		return;
	cbor_put_uint(w, key);
	if (rot->kind == ROT_SAME)
		cbor_put_uint(w, ROT_RULE_SAME);
	else
		put_digests(w, &rot->ids);
}

static void put_reference(struct writer *w, const struct compiled_reference *reference)
{
	if (!reference->author.data)
		return;
	cbor_put_uint(w, KEY_PEER_REFERENCE);
	cbor_put_map(w, REFERENCE_KEYS);
	cbor_put_uint(w, KEY_REFERENCE_AUTHOR);
	cbor_put_bytes(w, reference->author);
	cbor_put_uint(w, KEY_REFERENCE_SET);
	cbor_put_text(w, reference->set);
	cbor_put_uint(w, KEY_REFERENCE_MIN_SVN);
	cbor_put_uint(w, reference->min_svn);
}

static void put_factors(struct writer *w, uint64_t key, unsigned factors)
{
	if (!factors)
		return;
	cbor_put_uint(w, key);
	cbor_put_array(w, (size_t)__builtin_popcount(factors));
	for (unsigned number = 1; number <= POLICY_FACTORS; number++)
		if (factors & 1u << (number - 1))
			cbor_put_uint(w, number);
}

static void put_pair(struct writer *w, uint64_t key, uint64_t value)
{
	cbor_put_uint(w, key);
	cbor_put_uint(w, value);
}

static void put_rate(struct writer *w, const struct compiled_rate *rate)
{
	if (!rate->operations)
		return;
	cbor_put_uint(w, KEY_PEER_RATE);
	cbor_put_map(w, RATE_KEYS);
	put_pair(w, KEY_RATE_OPERATIONS, rate->operations);
	put_pair(w, KEY_RATE_PER, rate->per_s);
	put_pair(w, KEY_RATE_BURST, rate->burst);
}

static void put_peer(struct writer *w, const struct form_peer *peer)
{
	static const struct form_detail nothing;
	const struct form_detail *detail = peer->detail ? peer->detail : &nothing;
	cbor_put_map(w,
		2u + (detail->operations.count > 0) + (detail->scopes.count > 0) + (detail->cores.count > 0) +
			(detail->rot.kind != ROT_UNSAID) + (detail->rate.operations > 0) + (detail->factors > 0) +
			(detail->reference.author.data != NULL));
	cbor_put_uint(w, KEY_PEER_ID);
	cbor_put_text(w, peer->id);
	cbor_put_uint(w, KEY_PEER_DIRECTIONS);
	cbor_put_uint(w, peer->directions);
	put_texts(w, KEY_PEER_OPERATIONS, &detail->operations);
	put_texts(w, KEY_PEER_SCOPES, &detail->scopes);
	if (detail->cores.count) {
		cbor_put_uint(w, KEY_PEER_CORES);
		put_digests(w, &detail->cores);
	}
	put_rot(w, KEY_PEER_ROT, &detail->rot);
	put_rate(w, &detail->rate);
	put_factors(w, KEY_PEER_FACTORS, detail->factors);
	put_reference(w, &detail->reference);
}

static void put_peers(struct writer *w, const struct form_policy *form)
{
	if (form->peer_count == 0)
		return;
	cbor_put_uint(w, KEY_PEERS);
	cbor_put_array(w, form->peer_count);
	for (size_t i = 0; i < form->peer_count; i++)
		put_peer(w, &form->peers[i]);
}

static void put_denied(struct writer *w, const struct form_texts *denied)
{
	if (denied->count == 0)
		return;
	cbor_put_uint(w, KEY_DENIED);
	cbor_put_array(w, denied->count);
	for (size_t i = 0; i < denied->count; i++) {
		cbor_put_map(w, 1);
		cbor_put_uint(w, KEY_PEER_ID);
		cbor_put_text(w, denied->items[i]);
	}
}

static size_t count_chain(const struct form_policy *form)
{
	size_t count = 0;
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++)
		count += form->chain[i] != 0;
	return count;
}

static void put_chain(struct writer *w, const struct form_policy *form)
{
	if (count_chain(form) == 0)
		return;
	cbor_put_uint(w, KEY_CHAIN);
	cbor_put_map(w, count_chain(form));
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++)
		if (form->chain[i])
			put_pair(w, i + 1, form->chain[i]);
}

void compiled_encode(const struct form_policy *form, struct writer *w)
{
	cbor_put_map(w,
		9u + (form->peer_count > 0) + (form->denied.count > 0) + (form->level0.count > 0) + form->has_max_age +
			form->has_not_before + form->has_not_after + (form->factors > 0) + (form->author.data != NULL) + (form->pq != POLICY_PQ_PREFER) +
			(channels_said(&form->channels) > 0) + (count_chain(form) > 0));
	put_pair(w, KEY_FORMAT, POLICY_FORMAT);
	put_pair(w, KEY_VERSION, form->version);
	put_pair(w, KEY_KIND, form->kind);
	cbor_put_uint(w, KEY_ID);
	cbor_put_text(w, form->id);
	put_pair(w, KEY_MAX_DAC_DEPTH, form->max_dac_depth);
	put_pair(w, KEY_REQUIRED_LEVEL, form->required_level);
	put_pair(w, KEY_MIN_CONFINEMENT, form->min_confinement);
	cbor_put_uint(w, KEY_ALLOW_INTERPRETER);
	cbor_put_bool(w, form->allow_interpreter);
	put_rot(w, KEY_ROT, &form->rot);
	put_peers(w, form);
	put_denied(w, &form->denied);
	put_texts(w, KEY_LEVEL0, &form->level0);
	if (form->has_max_age)
		put_pair(w, KEY_MAX_AGE, form->max_age_s);
	if (form->has_not_before)
		put_pair(w, KEY_NOT_BEFORE, form->not_before);
	if (form->has_not_after)
		put_pair(w, KEY_NOT_AFTER, form->not_after);
	put_factors(w, KEY_FACTORS, form->factors);
	if (form->author.data) {
		cbor_put_uint(w, KEY_AUTHOR);
		cbor_put_bytes(w, form->author);
	}
	if (form->pq != POLICY_PQ_PREFER)
		put_pair(w, KEY_PQ, form->pq);
	put_channels(w, &form->channels);
	put_chain(w, form);
}

int compiled_order(enum policy_subject kind_a, struct span id_a, enum policy_subject kind_b, struct span id_b)
{
	if (kind_a != kind_b)
		return kind_a < kind_b ? -1 : 1;
	return span_compare(id_a, id_b);
}
