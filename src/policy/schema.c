/*
 * Reading is separate from encoding: the document becomes a form (compiled.h) whose lists are sorted and free
 * of repeats, and the form is written out. What the loader would refuse is refused here already, with the
 * place in the document.
 */
#include "policy/schema.h"

#include "base/clock.h"
#include "policy/compiled.h"
#include "policy/inherit.h"
#include "wire/cbor.h"
#include "wire/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const policy_fields[] = {"enclave_id", "caller_id", "guest_id", "allowed_communicators", "deny", "allow_level0",
	"max_dac_depth", "required_attestation_level", "min_confinement", "allow_interpreter", "rot_ids", "max_evidence_age_s",
	"required_factors", "not_before", "not_after", "author", "pq", "channels", "chain", "version", "inherits", NULL};
/* What others inherit: no subject, and no version, which is counted by the author of each. */
static const char *const default_fields[] = {"!default", "allowed_communicators", "deny", "allow_level0", "max_dac_depth",
	"required_attestation_level", "min_confinement", "allow_interpreter", "rot_ids", "max_evidence_age_s", "required_factors",
	"not_before", "not_after", "author", "pq", "channels", "chain", NULL};
static const char *const peer_fields[] = {
	"!id", "operations", "scopes", "direction", "cores", "reference", "rot_ids", "rate", "required_factors", NULL};
static const char *const channel_fields[] = {"sessions", "keyupdate_bytes", "rekey_s", "stall_s", NULL};
static const char *const chain_fields[] = {"records", "bytes", "path", "parents", "eager", "wait_s", NULL};
static const char *const rate_fields[] = {"!operations", "!per_s", "burst", NULL};
static const char *const reference_fields[] = {"!author", "!set", "min_svn", NULL};

/* The field that holds the id says what kind of subject it is. Index = enum policy_subject. */
static const char *const id_fields[] = {NULL, "enclave_id", "caller_id", "guest_id"};

/* A default that policies of the same document inherit from. */
struct base_policy {
	struct span name;
	const struct node *node;
	struct form_policy form;
};

struct schema {
	const struct document *document;
	struct arena arena; /* what forms point to, beside the document itself */
	struct base_policy *bases;
	size_t base_count;
};

static void schema_free(struct schema *schema)
{
	arena_free(&schema->arena);
}

/* A form has at most a fixed number of bytes for each node of the document, which is bounded itself. */
enum { FORM_MEMORY = 256 * 1024 * 1024 };
enum { MAX_BASES = 64 };

static struct schema schema_of(const struct document *document)
{
	return (struct schema){.document = document, .arena = arena_of(FORM_MEMORY)};
}

/* ---- Names ---------------------------------------------------------------------------------------------- */

typedef bool alphabet(struct span text, size_t *out_bad);

/* Says which character is wrong, by its number: letters of another alphabet look the same. */
static result wrong_character(const struct schema *s, const struct node *node, size_t bad, const char *letters)
{
	const uint8_t *at = (const uint8_t *)node->text;
	const uint8_t *stop = at + bad;
	unsigned position = 1;
	for (; at < stop; position++)
		utf8_next(&at);
	uint32_t code = utf8_next(&at);
	return document_fail(s->document, node, BAD_NAME, "\"%s\": character %u is U+%04" PRIX32 "; only %s are allowed", node->text,
		position, code, letters);
}

static result read_word(struct schema *s, const struct node *node, alphabet *is_ok, size_t max, const char *letters, struct span *out)
{
	const char *text;
	size_t bad;
	TRY(node_text(s->document, node, &text));
	struct span word = span_of(text, node->text_len);
	if (is_ok(word, &bad)) {
		*out = word;
		return OK;
	}
	if (word.len == 0)
		return document_fail(s->document, node, BAD_NAME, "an empty name");
	if (bad == max)
		return document_fail(s->document, node, BAD_NAME, "a name of %zu characters; at most %zu are allowed", word.len, max);
	return wrong_character(s, node, bad, letters);
}

static result read_name(struct schema *s, const struct node *node, struct span *out)
{
	return read_word(s, node, policy_name_ok, POLICY_NAME_MAX, "A-Z a-z 0-9 . _ -", out);
}

static result read_item(struct schema *s, const struct node *node, struct span *out)
{
	return read_word(s, node, policy_item_ok, POLICY_ITEM_MAX, "A-Z a-z 0-9 . _ - : /", out);
}

static result read_digest(struct schema *s, const struct node *node, size_t size, struct span *out)
{
	void *bytes;
	TRY(arena_alloc(&s->arena, 1, size, &bytes));
	TRY(node_hex(s->document, node, bytes, size));
	*out = span_of(bytes, size);
	return OK;
}

static result read_core(struct schema *s, const struct node *node, struct span *out)
{
	return read_digest(s, node, POLICY_CORE_SIZE, out);
}

static result read_rot_id(struct schema *s, const struct node *node, struct span *out)
{
	return read_digest(s, node, POLICY_ROT_ID_SIZE, out);
}

/* ---- Sets ----------------------------------------------------------------------------------------------- */

/* An element beside the place it came from, so that a repeat can be shown. */
struct element {
	struct span value;
	const struct node *node;
};

/* By value; equal values in the order of the document. */
static int compare_elements(const void *a, const void *b)
{
	const struct element *left = a, *right = b;
	int order = span_compare(left->value, right->value);
	return order ? order : (left->node > right->node) - (left->node < right->node);
}

static result expect_list(const struct schema *s, const struct node *node)
{
	if (node->kind != NODE_LIST)
		return document_fail(s->document, node, BAD_TYPE, "%s must be a list", node->key);
	if (node->count == 0)
		return document_fail(s->document, node, EMPTY_SET, "%s is empty; leave it out or name something", node->key);
	if (node->count > POLICY_MAX_RULES)
		return document_fail(
			s->document, node, TOO_LARGE, "%s has %zu entries, more than %d", node->key, node->count, POLICY_MAX_RULES);
	return OK;
}

static result sort_elements(const struct schema *s, struct element *elements, size_t count, const char *field)
{
	qsort(elements, count, sizeof(*elements), compare_elements);
	for (size_t i = 1; i < count; i++)
		if (span_equal(elements[i - 1].value, elements[i].value))
			return document_fail(s->document, elements[i].node, POLICY_CONFLICT,
				"this stands twice in %s, first at line %u; keep one", field, elements[i - 1].node->line);
	return OK;
}

typedef result element_read(struct schema *s, const struct node *node, struct span *out);

static result read_set(struct schema *s, const struct node *node, element_read *read, struct form_texts *out)
{
	void *memory;
	if (!node)
		return OK;
	TRY(expect_list(s, node));
	TRY(arena_alloc(&s->arena, node->count, sizeof(struct element), &memory));
	struct element *elements = memory;
	for (size_t i = 0; i < node->count; i++) {
		elements[i].node = &node->children[i];
		TRY(read(s, elements[i].node, &elements[i].value));
	}
	TRY(sort_elements(s, elements, node->count, node->key));
	TRY(arena_alloc(&s->arena, node->count, sizeof(struct span), &memory));
	*out = (struct form_texts){memory, node->count};
	for (size_t i = 0; i < node->count; i++)
		out->items[i] = elements[i].value;
	return OK;
}

/* "same", or the ids of the roots that may vouch. */
static result read_rot(struct schema *s, const struct node *node, struct form_rot *out)
{
	const char *text;
	if (!node)
		return OK;
	if (node->kind == NODE_SCALAR) {
		TRY(node_text(s->document, node, &text));
		if (strcmp(text, "same") != 0)
			return document_fail(s->document, node, BAD_VALUE, "rot_ids is \"%s\"; write same, or a list of root ids", text);
		out->kind = ROT_SAME;
		return OK;
	}
	out->kind = ROT_LISTED;
	return read_set(s, node, read_rot_id, &out->ids);
}

/* ---- Words ---------------------------------------------------------------------------------------------- */

struct choice {
	const char *word;
	unsigned value;
};

enum { MAX_CHOICES = 8 };

/* The value of one of `choices`, else an error that names the nearest. */
static result read_choice(const struct schema *s, const struct node *node, const struct choice *choices, size_t count, unsigned *out)
{
	const char *text, *words[MAX_CHOICES + 1] = {NULL};
	TRY(node_text(s->document, node, &text));
	for (size_t i = 0; i < count; i++) {
		words[i] = choices[i].word;
		if (strcmp(text, choices[i].word) == 0) {
			*out = choices[i].value;
			return OK;
		}
	}
	const char *nearest = document_nearest(text, words);
	return document_fail(s->document, node, BAD_VALUE, "%s is \"%s\"%s%s%s; it is one of %s to %s",
		node->key ? node->key : "this value", text, nearest ? "; did you mean \"" : "", nearest ? nearest : "",
		nearest ? "\"?" : "", words[0], words[count - 1]);
}

static result read_level(const struct schema *s, const struct node *node, unsigned *out)
{
	static const struct choice levels[] = {{"Level-0", 0}, {"Level-1", 1}, {"Level-2", 2}, {"Level-3", 3}};
	unsigned level;
	TRY(read_choice(s, node, levels, COUNT_OF(levels), &level));
	if (level == 0)
		return document_fail(s->document, node, BAD_VALUE,
			"Level-0 is accepted by name only: require Level-1 and list such peers in allow_level0");
	*out = level;
	return OK;
}

static result read_confinement(const struct schema *s, const struct node *node, enum policy_confinement *out)
{
	static const struct choice tiers[] = {{"L", CONFINEMENT_L}, {"N", CONFINEMENT_N}};
	unsigned tier;
	TRY(read_choice(s, node, tiers, COUNT_OF(tiers), &tier));
	*out = (enum policy_confinement)tier;
	return OK;
}

enum {
	MOVES = DIRECTION_SEND | DIRECTION_RECEIVE,
	MEETS = DIRECTION_CONNECT | DIRECTION_ACCEPT,
};

static result read_one_direction(const struct schema *s, const struct node *node, unsigned *out)
{
	static const struct choice directions[] = {{"send", DIRECTION_SEND}, {"receive", DIRECTION_RECEIVE}, {"both", MOVES},
		{"connect", DIRECTION_CONNECT}, {"accept", DIRECTION_ACCEPT}};
	return read_choice(s, node, directions, COUNT_OF(directions), out);
}

/* Sending and receiving is one question, connecting and accepting another: one that is not answered is open. */
static result read_direction(const struct schema *s, const struct node *node, unsigned *out)
{
	unsigned said = 0, word = 0;
	if (node && node->kind == NODE_SCALAR) {
		TRY(read_one_direction(s, node, &said));
	} else if (node) {
		TRY(expect_list(s, node));
		for (size_t i = 0; i < node->count; i++) {
			TRY(read_one_direction(s, &node->children[i], &word));
			if (said & word)
				return document_fail(
					s->document, &node->children[i], POLICY_CONFLICT, "this direction was said before; keep one");
			said |= word;
		}
	}
	*out = said | (said & MOVES ? 0 : MOVES) | (said & MEETS ? 0 : MEETS);
	return OK;
}

/* ---- Numbers and times ---------------------------------------------------------------------------------- */

static result read_number(const struct schema *s, const struct node *node, uint64_t max, uint64_t *out)
{
	TRY(node_uint(s->document, node, max, out));
	if (*out == 0)
		return document_fail(s->document, node, BAD_VALUE, "%s must be at least 1", node->key);
	return OK;
}

static result read_time(const struct schema *s, const struct node *node, bool *out_said, uint64_t *out)
{
	const char *text;
	char again[CLOCK_TEXT_SIZE];
	uint64_t ms;
	if (!node)
		return OK;
	TRY(node_text(s->document, node, &text));
	bool is_time = clock_parse(text, &ms) == OK && ms > 0 && ms <= POLICY_TIME_MAX;
	if (is_time) {
		clock_format(ms, again); /* the 30th of February would come back as another day */
		is_time = strncmp(text, again, strlen("2026-11-21T15:47:31")) == 0;
	}
	if (!is_time)
		return document_fail(s->document, node, BAD_VALUE, "%s is \"%s\"; write a time like 2026-11-21T15:47:31Z", node->key, text);
	*out_said = true;
	*out = ms;
	return OK;
}

/* ---- A communicator ------------------------------------------------------------------------------------- */

/* Who says which code counts. It stands instead of a list of digests: both would be two answers. */
static result read_reference(struct schema *s, const struct node *peer, struct compiled_reference *out)
{
	const struct node *node = node_field(peer, "reference"), *svn;
	struct compiled_reference reference = {.min_svn = 1};
	uint64_t number;
	if (!node)
		return OK;
	if (node_field(peer, "cores"))
		return document_fail(
			s->document, node, POLICY_CONFLICT, "reference beside cores; either the list or the set says which code counts");
	TRY(document_fields(s->document, node, reference_fields));
	TRY(read_digest(s, node_field(node, "author"), POLICY_AUTHOR_SIZE, &reference.author));
	TRY(read_name(s, node_field(node, "set"), &reference.set));
	svn = node_field(node, "min_svn");
	if (svn) {
		TRY(read_number(s, svn, UINT32_MAX, &number));
		reference.min_svn = (uint32_t)number;
	}
	*out = reference;
	return OK;
}

static result read_rate(const struct schema *s, const struct node *node, struct compiled_rate *out)
{
	uint64_t operations, per_s, burst;
	const struct node *said;
	if (!node)
		return OK;
	TRY(document_fields(s->document, node, rate_fields));
	said = node_field(node, "burst");
	TRY(read_number(s, node_field(node, "operations"), POLICY_RATE_MAX, &operations));
	TRY(read_number(s, node_field(node, "per_s"), POLICY_RATE_MAX_PER_S, &per_s));
	burst = operations;
	if (said)
		TRY(read_number(s, said, POLICY_RATE_MAX, &burst));
	*out = (struct compiled_rate){(uint32_t)operations, (uint32_t)per_s, (uint32_t)burst};
	return OK;
}

static result read_pq(const struct schema *s, const struct node *node, enum policy_pq *out)
{
	static const struct choice words[] = {{"require", POLICY_PQ_REQUIRE}, {"prefer", POLICY_PQ_PREFER}, {"off", POLICY_PQ_OFF}};
	unsigned pq = POLICY_PQ_PREFER;
	if (node)
		TRY(read_choice(s, node, words, COUNT_OF(words), &pq));
	*out = (enum policy_pq)pq;
	return OK;
}

static result read_channel_number(const struct schema *s, const struct node *node, uint64_t min, uint64_t max, uint64_t *out)
{
	if (!node)
		return OK;
	TRY(read_number(s, node, max, out));
	return *out >= min ? OK : document_fail(s->document, node, BAD_VALUE, "%s must be at least %" PRIu64, node->key, min);
}

static result read_channels(const struct schema *s, const struct node *node, struct policy_channels *out)
{
	if (!node)
		return OK;
	TRY(document_fields(s->document, node, channel_fields));
	if (node->count == 0)
		return document_fail(s->document, node, MISSING_FIELD, "channels says nothing; leave it out");
	TRY(read_channel_number(s, node_field(node, "sessions"), 1, POLICY_SESSIONS_MAX, &out->sessions));
	TRY(read_channel_number(s, node_field(node, "keyupdate_bytes"), POLICY_KEYUPDATE_MIN, POLICY_KEYUPDATE_MAX, &out->keyupdate_bytes));
	TRY(read_channel_number(s, node_field(node, "rekey_s"), 1, POLICY_REKEY_MAX_S, &out->rekey_s));
	return read_channel_number(s, node_field(node, "stall_s"), 1, POLICY_STALL_MAX_S, &out->stall_s);
}

static result read_chain(const struct schema *s, const struct node *node, uint64_t out[static POLICY_CHAIN_LIMITS])
{
	size_t said = 0;
	if (!node)
		return OK;
	TRY(document_fields(s->document, node, chain_fields));
	for (size_t i = 0; i < POLICY_CHAIN_LIMITS; i++) {
		const struct node *limit = node_field(node, chain_limit_rows[i].field);
		if (!limit)
			continue;
		TRY(read_number(s, limit, chain_limit_rows[i].most, &out[i]));
		said++;
	}
	return said ? OK : document_fail(s->document, node, EMPTY_SET, "chain is empty; leave it out or name a limit");
}

static result read_factors(const struct schema *s, const struct node *node, unsigned *out)
{
	static const struct choice factors[] = {{"tpm", FACTOR_TPM}, {"tee", FACTOR_TEE}};
	unsigned all = 0, factor = 0;
	if (!node)
		return OK;
	TRY(expect_list(s, node));
	for (size_t i = 0; i < node->count; i++) {
		TRY(read_choice(s, &node->children[i], factors, COUNT_OF(factors), &factor));
		if (all & factor)
			return document_fail(s->document, &node->children[i], POLICY_CONFLICT, "this factor was said before; keep one");
		all |= factor;
	}
	*out = all;
	return OK;
}

static result read_detail(struct schema *s, const struct node *node, const struct form_detail **out)
{
	struct form_detail detail = {0};
	void *memory;
	TRY(read_set(s, node_field(node, "operations"), read_item, &detail.operations));
	TRY(read_set(s, node_field(node, "scopes"), read_item, &detail.scopes));
	TRY(read_set(s, node_field(node, "cores"), read_core, &detail.cores));
	TRY(read_rot(s, node_field(node, "rot_ids"), &detail.rot));
	TRY(read_reference(s, node, &detail.reference));
	TRY(read_rate(s, node_field(node, "rate"), &detail.rate));
	TRY(read_factors(s, node_field(node, "required_factors"), &detail.factors));
	TRY(arena_alloc(&s->arena, 1, sizeof(detail), &memory));
	memcpy(memory, &detail, sizeof(detail));
	*out = memory;
	return OK;
}

static result read_peer(struct schema *s, const struct node *node, struct form_peer *out)
{
	struct form_peer peer = {.place = node};
	if (node->kind == NODE_SCALAR) {
		TRY(read_name(s, node, &peer.id));
		TRY(read_direction(s, NULL, &peer.directions));
		*out = peer;
		return OK;
	}
	TRY(document_fields(s->document, node, peer_fields));
	TRY(read_name(s, node_field(node, "id"), &peer.id));
	TRY(read_direction(s, node_field(node, "direction"), &peer.directions));
	TRY(read_detail(s, node, &peer.detail));
	*out = peer;
	return OK;
}

static int compare_peers(const void *a, const void *b)
{
	const struct form_peer *left = a, *right = b;
	int order = span_compare(left->id, right->id);
	return order ? order : (left->place > right->place) - (left->place < right->place);
}

static result read_peers(struct schema *s, const struct node *node, struct form_policy *form)
{
	void *memory;
	if (!node)
		return OK;
	TRY(expect_list(s, node));
	TRY(arena_alloc(&s->arena, node->count, sizeof(struct form_peer), &memory));
	struct form_peer *peers = memory;
	for (size_t i = 0; i < node->count; i++)
		TRY(read_peer(s, &node->children[i], &peers[i]));
	qsort(peers, node->count, sizeof(*peers), compare_peers);
	for (size_t i = 1; i < node->count; i++)
		if (span_equal(peers[i - 1].id, peers[i].id)) {
			const struct node *first = peers[i - 1].place;
			return document_fail(s->document, peers[i].place, POLICY_CONFLICT,
				"%s stands twice in %s, first at line %u; make it one entry", peers[i].id.data, node->key, first->line);
		}
	form->peers = peers;
	form->peer_count = node->count;
	return OK;
}

/* ---- A policy ------------------------------------------------------------------------------------------- */

static result read_subject(struct schema *s, const struct node *node, struct form_policy *form)
{
	const struct node *id = NULL;
	for (unsigned kind = SUBJECT_ENCLAVE; kind <= SUBJECT_GUEST; kind++) {
		const struct node *field = node_field(node, id_fields[kind]);
		if (!field)
			continue;
		if (id)
			return document_fail(
				s->document, field, POLICY_CONFLICT, "%s beside %s; a policy has one subject", field->key, id->key);
		id = field;
		form->kind = (enum policy_subject)kind;
	}
	if (!id)
		return document_fail(s->document, node, MISSING_FIELD, "the field \"enclave_id\" is missing");
	return read_name(s, id, &form->id);
}

static result read_limits(struct schema *s, const struct node *node, struct form_policy *form)
{
	const struct node *age = node_field(node, "max_evidence_age_s"), *version = node_field(node, "version");
	const struct node *most = node_field(node, "max_dac_depth"), *level = node_field(node, "required_attestation_level");
	uint64_t depth = 0;
	if (most)
		TRY(read_number(s, most, POLICY_MAX_DEPTH, &depth));
	form->max_dac_depth = (uint32_t)depth;
	if (level)
		TRY(read_level(s, level, &form->required_level));
	if (age)
		TRY(read_number(s, age, UINT32_MAX, &form->max_age_s));
	form->has_max_age = age;
	if (version)
		TRY(read_number(s, version, INT64_MAX, &form->version));
	return OK;
}

static result read_window(struct schema *s, const struct node *node, struct form_policy *form)
{
	const struct node *after = node_field(node, "not_after");
	TRY(read_time(s, node_field(node, "not_before"), &form->has_not_before, &form->not_before));
	TRY(read_time(s, after, &form->has_not_after, &form->not_after));
	if (form->has_not_before && form->has_not_after && form->not_before >= form->not_after)
		return document_fail(s->document, after, POLICY_CONFLICT, "not_after is not later than not_before");
	return OK;
}

/* What policies and defaults have in common. Fields that are not there keep what *form says. */
static result read_rules(struct schema *s, const struct node *node, struct form_policy *form)
{
	TRY(read_limits(s, node, form));
	TRY(read_window(s, node, form));
	const struct node *confinement = node_field(node, "min_confinement"), *open = node_field(node, "allow_interpreter");
	const struct node *author = node_field(node, "author");
	if (confinement)
		TRY(read_confinement(s, confinement, &form->min_confinement));
	if (open)
		TRY(node_bool(s->document, open, &form->allow_interpreter));
	if (author)
		TRY(read_digest(s, author, POLICY_AUTHOR_SIZE, &form->author));
	TRY(read_factors(s, node_field(node, "required_factors"), &form->factors));
	TRY(read_pq(s, node_field(node, "pq"), &form->pq));
	TRY(read_chain(s, node_field(node, "chain"), form->chain));
	TRY(read_channels(s, node_field(node, "channels"), &form->channels));
	form->rot.kind = ROT_SAME;
	TRY(read_rot(s, node_field(node, "rot_ids"), &form->rot));
	TRY(read_peers(s, node_field(node, "allowed_communicators"), form));
	TRY(read_set(s, node_field(node, "deny"), read_name, &form->denied));
	return read_set(s, node_field(node, "allow_level0"), read_name, &form->level0);
}

static struct form_policy form_new(void)
{
	return (struct form_policy){.version = 1, .min_confinement = CONFINEMENT_N, .allow_interpreter = true};
}

static result find_base(struct schema *s, const struct node *inherits, const struct base_policy **out)
{
	struct span name;
	TRY(read_name(s, inherits, &name));
	for (size_t i = 0; i < s->base_count; i++)
		if (span_equal(s->bases[i].name, name)) {
			*out = &s->bases[i];
			return OK;
		}
	return document_fail(s->document, inherits, BAD_VALUE, "this file has no default named %s", inherits->text);
}

static result inherit(struct schema *s, const struct node *node, struct form_policy *form)
{
	const struct node *inherits = node_field(node, "inherits");
	const struct inherit_side own = {node, form};
	const struct base_policy *base;
	if (!inherits)
		return OK;
	TRY(find_base(s, inherits, &base));
	const struct inherit_side from = {base->node, &base->form};
	TRY(policy_inherit(s->document, &own, &from, &s->arena, form));
	if (form->has_not_before && form->has_not_after && form->not_before >= form->not_after)
		return document_fail(s->document, inherits, POLICY_CONFLICT,
			"with default %s at line %u this is valid at no time", inherits->text, base->node->line);
	return OK;
}

static result require_limits(const struct schema *s, const struct node *node, const struct form_policy *form)
{
	if (form->max_dac_depth == 0)
		return document_fail(s->document, node, MISSING_FIELD, "the field \"max_dac_depth\" is missing");
	if (form->required_level == 0)
		return document_fail(s->document, node, MISSING_FIELD, "the field \"required_attestation_level\" is missing");
	return OK;
}

static result read_policy(struct schema *s, const struct node *node, struct form_policy *out)
{
	struct form_policy form = form_new();
	TRY(document_fields(s->document, node, policy_fields));
	TRY(read_subject(s, node, &form));
	TRY(read_rules(s, node, &form));
	TRY(inherit(s, node, &form));
	TRY(require_limits(s, node, &form));
	*out = form;
	return OK;
}

static bool is_default(const struct node *node)
{
	return node->kind == NODE_MAP && node_field(node, "default");
}

static result read_base(struct schema *s, const struct node *node)
{
	struct base_policy base = {.node = node, .form = form_new()};
	TRY(document_fields(s->document, node, default_fields));
	TRY(read_name(s, node_field(node, "default"), &base.name));
	TRY(read_rules(s, node, &base.form));
	for (size_t i = 0; i < s->base_count; i++)
		if (span_equal(s->bases[i].name, base.name))
			return document_fail(s->document, node_field(node, "default"), POLICY_CONFLICT,
				"a second default of this name; the first begins at line %u", s->bases[i].node->line);
	s->bases[s->base_count++] = base;
	return OK;
}

static result read_bases(struct schema *s, const struct node *nodes, size_t count)
{
	size_t bases = 0;
	void *memory;
	for (size_t i = 0; i < count; i++)
		bases += is_default(&nodes[i]);
	if (bases == count)
		return document_fail(s->document, &nodes[0], EMPTY_SET, "the file holds no policy, only what one could inherit");
	if (bases > MAX_BASES)
		return document_fail(s->document, &nodes[0], TOO_LARGE, "%zu defaults, more than %d", bases, MAX_BASES);
	TRY(arena_alloc(&s->arena, bases, sizeof(struct base_policy), &memory));
	s->bases = memory;
	for (size_t i = 0; i < count; i++)
		if (is_default(&nodes[i]))
			TRY(read_base(s, &nodes[i]));
	return OK;
}

/* ---- A document ----------------------------------------------------------------------------------------- */

struct placed_policy {
	struct form_policy form;
	const struct node *node;
};

static int compare_policies(const void *a, const void *b)
{
	const struct placed_policy *left = a, *right = b;
	int order = compiled_order(left->form.kind, left->form.id, right->form.kind, right->form.id);
	return order ? order : (left->node > right->node) - (left->node < right->node);
}

static result sort_policies(const struct schema *s, struct placed_policy *policies, size_t count)
{
	qsort(policies, count, sizeof(*policies), compare_policies);
	for (size_t i = 1; i < count; i++)
		if (compiled_order(policies[i - 1].form.kind, policies[i - 1].form.id, policies[i].form.kind, policies[i].form.id) == 0)
			return document_fail(s->document, policies[i].node, POLICY_CONFLICT,
				"a second policy for %s; the first begins at line %u", policies[i].form.id.data,
				policies[i - 1].node->line);
	return OK;
}

/* One policy, or a list of them. */
static result policies_of(const struct document *document, const struct node **out_nodes, size_t *out_count)
{
	const struct node *root = document->root;
	if (!root)
		return fail(MISSING_FIELD, "%s: the file holds no policy", document->name);
	if (root->kind == NODE_MAP) {
		*out_nodes = root;
		*out_count = 1;
		return OK;
	}
	if (root->kind != NODE_LIST)
		return document_fail(document, root, BAD_TYPE, "a policy is a map of fields, or a list of such maps");
	if (root->count == 0)
		return document_fail(document, root, EMPTY_SET, "the file holds no policy");
	if (root->count > POLICY_MAX_POLICIES)
		return document_fail(document, root, TOO_LARGE, "%zu policies, more than %d", root->count, POLICY_MAX_POLICIES);
	*out_nodes = root->children;
	*out_count = root->count;
	return OK;
}

result policy_compile(const struct document *document, struct bytes *out_set)
{
	CLEANUP(schema_free) struct schema s = schema_of(document);
	CLEANUP(writer_free) struct writer w = writer_growing(POLICY_MAX_COMPILED);
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	const struct node *nodes = NULL;
	size_t count = 0;
	void *memory;
	TRY(policies_of(document, &nodes, &count));
	TRY(arena_alloc(&s.arena, count, sizeof(struct placed_policy), &memory));
	struct placed_policy *policies = memory;
	TRY(read_bases(&s, nodes, count));
	size_t listed = count;
	count = 0;
	for (size_t i = 0; i < listed; i++) {
		if (is_default(&nodes[i]))
			continue;
		policies[count].node = &nodes[i];
		TRY(read_policy(&s, &nodes[i], &policies[count++].form));
	}
	TRY(sort_policies(&s, policies, count));
	cbor_put_array(&w, count);
	for (size_t i = 0; i < count; i++)
		compiled_encode(&policies[i].form, &w);
	TRY(writer_take(&w, &set));
	result checked = policy_set_check(bytes_span(&set));
	if (checked != OK)
		return fail_within(checked, "%s", document->name);
	*out_set = bytes_move(&set);
	return OK;
}

result policy_compile_node(const struct document *document, const struct node *node, struct bytes *out_policy)
{
	CLEANUP(schema_free) struct schema s = schema_of(document);
	CLEANUP(writer_free) struct writer w = writer_growing(POLICY_MAX_COMPILED);
	struct form_policy form;
	TRY(read_policy(&s, node, &form));
	compiled_encode(&form, &w);
	return writer_take(&w, out_policy);
}

result policy_load_document(const struct document *document, struct policy_table **out)
{
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	TRY(policy_compile(document, &set));
	return policy_table_load(bytes_span(&set), out);
}

result policy_load_file(const char *path, struct policy_table **out)
{
	CLEANUP(document_free) struct document document = {0};
	TRY(document_load(path, POLICY_MAX_FILE, &document));
	return policy_load_document(&document, out);
}
