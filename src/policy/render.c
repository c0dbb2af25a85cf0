/* Compiled policy to JSON for people: the words of the schema, defaults left out. */
#include "policy/schema.h"

#include "base/clock.h"
#include "policy/compiled.h"
#include "wire/text.h"

#include <jansson.h>
#include <stdlib.h>

static void json_cleanup(json_t **json)
{
	json_decref(*json);
}

static json_t *text_of(struct span text)
{
	return json_stringn((const char *)text.data, text.len);
}

static json_t *hex_of(struct span bytes)
{
	char hex[2 * POLICY_CORE_SIZE + 1];
	hex_encode(bytes, hex);
	return json_string(hex);
}

static json_t *time_of(uint64_t ms)
{
	char text[CLOCK_TEXT_SIZE];
	clock_format(ms, text);
	return json_string(text);
}

/* jansson's *_new functions take over their argument, also when they fail; a NULL argument is a failure. */
typedef bool next_element(struct compiled_list *list, struct span *out);

static json_t *list_of(struct compiled_list list, next_element *next, json_t *(*show)(struct span))
{
	json_t *array = json_array();
	struct span element;
	while (array && next(&list, &element)) {
		if (json_array_append_new(array, show(element)) == 0)
			continue;
		json_decref(array);
		return NULL;
	}
	return array;
}

static int put_list(json_t *object, const char *field, struct compiled_list list, next_element *next, json_t *(*show)(struct span))
{
	return list.count ? json_object_set_new(object, field, list_of(list, next, show)) : 0;
}

static int put_rot(json_t *object, const struct compiled_rot *rot)
{
	if (rot->kind == ROT_LISTED)
		return put_list(object, "rot_ids", rot->ids, compiled_next_bytes, hex_of);
	return json_object_set_new(object, "rot_ids", json_string("same"));
}

/* ---- A communicator ------------------------------------------------------------------------------------- */

enum {
	MOVES = DIRECTION_SEND | DIRECTION_RECEIVE,
	MEETS = DIRECTION_CONNECT | DIRECTION_ACCEPT,
};

/* Only what is restricted is said: an axis that is open both ways is the default. */
static json_t *directions_of(unsigned directions)
{
	json_t *list = json_array();
	unsigned said = ((directions & MOVES) == MOVES ? 0 : directions & MOVES) | ((directions & MEETS) == MEETS ? 0 : directions & MEETS);
	for (unsigned bit = DIRECTION_SEND; list && bit <= DIRECTION_ACCEPT; bit <<= 1) {
		if (!(said & bit) || json_array_append_new(list, json_string(policy_direction_name((enum policy_direction)bit))) == 0)
			continue;
		json_decref(list);
		return NULL;
	}
	return list;
}

static json_t *reference_of(const struct compiled_reference *reference)
{
	return json_pack("{s:o, s:o, s:I}", "author", hex_of(reference->author), "set", text_of(reference->set), "min_svn",
		(json_int_t)reference->min_svn);
}

static json_t *rate_of(const struct compiled_rate *rate)
{
	return json_pack("{s:I, s:I, s:I}", "operations", (json_int_t)rate->operations, "per_s", (json_int_t)rate->per_s, "burst",
		(json_int_t)rate->burst);
}

static int put_factors(json_t *object, unsigned factors)
{
	if (!factors)
		return 0;
	json_t *list = json_array();
	int failed = json_object_set_new(object, "required_factors", list);
	for (unsigned factor = 1; factor < 1u << POLICY_FACTORS; factor <<= 1)
		if (factors & factor && !failed)
			failed = json_array_append_new(list, json_string(policy_factor_name((enum policy_factor)factor)));
	return failed;
}

static json_t *peer_of(const struct compiled_peer *peer)
{
	bool open = peer->directions == (MOVES | MEETS);
	bool bare = open && !peer->operations.count && !peer->scopes.count && !peer->cores.count && peer->rot.kind == ROT_UNSAID &&
		!peer->reference.author.data && !peer->rate.operations && !peer->factors;
	if (bare)
		return text_of(peer->id);
	json_t *object = json_object();
	int failed = json_object_set_new(object, "id", text_of(peer->id));
	if (!open)
		failed |= json_object_set_new(object, "direction", directions_of(peer->directions));
	failed |= put_list(object, "operations", peer->operations, compiled_next_text, text_of);
	failed |= put_list(object, "scopes", peer->scopes, compiled_next_text, text_of);
	failed |= put_list(object, "cores", peer->cores, compiled_next_bytes, hex_of);
	if (peer->reference.author.data)
		failed |= json_object_set_new(object, "reference", reference_of(&peer->reference));
	if (peer->rot.kind != ROT_UNSAID)
		failed |= put_rot(object, &peer->rot);
	if (peer->rate.operations)
		failed |= json_object_set_new(object, "rate", rate_of(&peer->rate));
	failed |= put_factors(object, peer->factors);
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static int put_peers(json_t *object, struct compiled_list peers)
{
	struct compiled_peer peer;
	if (peers.count == 0)
		return 0;
	json_t *list = json_array();
	int failed = json_object_set_new(object, "allowed_communicators", list);
	while (!failed && compiled_next_peer(&peers, &peer))
		failed = json_array_append_new(list, peer_of(&peer));
	return failed;
}

/* ---- A policy ------------------------------------------------------------------------------------------- */

static int put_subject(json_t *object, const struct compiled_policy *policy)
{
	static const char *const fields[] = {NULL, "enclave_id", "caller_id", "guest_id"};
	return json_object_set_new(object, fields[policy->kind], text_of(policy->id));
}

static int put_channels(json_t *object, const struct policy_channels *channels)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {{"sessions", channels->sessions}, {"keyupdate_bytes", channels->keyupdate_bytes}, {"rekey_s", channels->rekey_s},
		{"stall_s", channels->stall_s}};
	json_t *said = json_object();
	int failed = 0;
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].value)
			failed |= json_object_set_new(said, rows[i].name, json_integer((json_int_t)rows[i].value));
	if (failed || json_object_size(said) == 0) {
		json_decref(said);
		return failed;
	}
	return json_object_set_new(object, "channels", said);
}

static int put_chain(json_t *object, const struct compiled_policy *policy)
{
	json_t *chain = json_object();
	int failed = 0;
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++)
		if (policy->chain[i])
			failed |= json_object_set_new(chain, chain_limit_rows[i].field, json_integer((json_int_t)policy->chain[i]));
	if (json_object_size(chain))
		return failed | json_object_set_new(object, "chain", chain);
	json_decref(chain);
	return failed;
}

static int put_limits(json_t *object, const struct compiled_policy *policy)
{
	char level[] = "Level-0";
	level[sizeof(level) - 2] = (char)('0' + policy->required_level);
	int failed = json_object_set_new(object, "max_dac_depth", json_integer(policy->max_dac_depth));
	failed |= json_object_set_new(object, "required_attestation_level", json_string(level));
	if (policy->min_confinement != CONFINEMENT_N)
		failed |= json_object_set_new(object, "min_confinement", json_string(policy_confinement_name(policy->min_confinement)));
	if (!policy->allow_interpreter)
		failed |= json_object_set_new(object, "allow_interpreter", json_false());
	if (policy->rot.kind == ROT_LISTED)
		failed |= put_rot(object, &policy->rot);
	if (policy->has_max_age)
		failed |= json_object_set_new(object, "max_evidence_age_s", json_integer((json_int_t)policy->max_age_s));
	if (policy->has_not_before)
		failed |= json_object_set_new(object, "not_before", time_of(policy->not_before));
	if (policy->has_not_after)
		failed |= json_object_set_new(object, "not_after", time_of(policy->not_after));
	failed |= put_factors(object, policy->factors);
	if (policy->pq != POLICY_PQ_PREFER)
		failed |= json_object_set_new(object, "pq", json_string(policy->pq == POLICY_PQ_OFF ? "off" : "require"));
	failed |= put_channels(object, &policy->channels);
	failed |= put_chain(object, policy);
	if (policy->author.data)
		failed |= json_object_set_new(object, "author", hex_of(policy->author));
	if (policy->version != 1)
		failed |= json_object_set_new(object, "version", json_integer((json_int_t)policy->version));
	return failed;
}

result policy_render_json(struct span compiled_policy, struct bytes *out_json)
{
	CLEANUP(json_cleanup) json_t *object = json_object();
	struct reader r = reader_of(compiled_policy);
	struct compiled_policy policy;
	TRY(compiled_decode(&r, NULL, &policy));
	TRY(reader_finish(&r));
	int failed = put_subject(object, &policy);
	failed |= put_peers(object, policy.peers);
	failed |= put_list(object, "deny", policy.denied, compiled_next_denied, text_of);
	failed |= put_list(object, "allow_level0", policy.level0, compiled_next_text, text_of);
	failed |= put_limits(object, &policy);
	if (failed)
		return fail(NO_MEMORY, "a policy as JSON");
	char *text = json_dumps(object, JSON_INDENT(2));
	if (!text)
		return fail(NO_MEMORY, "a policy as JSON");
	struct writer w = writer_growing(4u * POLICY_MAX_COMPILED);
	writer_str(&w, text);
	writer_u8(&w, '\n');
	free(text);
	result taken = writer_take(&w, out_json);
	writer_free(&w);
	return taken;
}
