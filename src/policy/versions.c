#include "policy/versions.h"

#include <inttypes.h>
#include <stdlib.h>

#include "object/policy_version.h"
#include "wire/text.h"

struct kept {
	struct policy_version version;
	struct bytes object;
	struct policy_table *table;
};

struct policy_versions {
	struct kept items[POLICY_MAX_VERSIONS];
	size_t count;
};

/* ---- One object ----------------------------------------------------------------------------------------- */

static result load(struct span compiled, struct policy_table **out)
{
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	TRY(policy_set_join(&compiled, 1, &set));
	return policy_table_load(bytes_span(&set), out);
}

static result require_author(const struct policy_view *policy, const struct key *author)
{
	char hex[2 * POLICY_AUTHOR_SIZE + 1];
	if (span_equal(policy->author, SPAN_ARRAY(author->id)))
		return OK;
	hex_encode(SPAN_ARRAY(author->id), hex);
	return fail(POLICY_AUTHOR_WRONG, "the policy of %.*s version %" PRIu64 " does not name key %s as its author", (int)policy->id.len,
		(const char *)policy->id.data, policy->version, hex);
}

result policy_version_sign(struct span compiled_policy, const struct key *author, struct bytes *out)
{
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct policy_version_object body = {.v = 1, .policy = compiled_policy};
	struct policy_view view;
	TRY(load(compiled_policy, &table));
	policy_at(table, 0, &view);
	TRY(require_author(&view, author));
	memcpy(body.author_pk, author->point, POINT_SIZE);
	TRY(object_sign(KIND_POLICY_VERSION, &body, author, &object, NULL));
	if (object.len > POLICY_VERSION_MAX)
		return fail(TOO_LARGE, "a policy version of %zu bytes", object.len);
	*out = bytes_move(&object);
	return OK;
}

static void kept_free(struct kept *kept)
{
	bytes_free(&kept->object);
	policy_table_cleanup(&kept->table);
}

/* The signature is checked before anything of the policy is looked at. */
static result open_kept(struct kept *kept)
{
	CLEANUP(arena_free) struct arena arena = arena_of(2u * POLICY_VERSION_MAX);
	CLEANUP(key_free) struct key author = KEY_EMPTY;
	struct span object = bytes_span(&kept->object);
	struct policy_version_object body;
	TRY(object_peek(KIND_POLICY_VERSION, object, &arena, &body, kept->version.oid));
	TRY(key_from_point(SPAN_ARRAY(body.author_pk), &author));
	TRY(object_verify(KIND_POLICY_VERSION, object, &author));
	TRY(load(body.policy, &kept->table));
	kept->version.object = object;
	kept->version.table = kept->table;
	policy_at(kept->table, 0, &kept->version.policy);
	return require_author(&kept->version.policy, &author);
}

/* ---- A collection --------------------------------------------------------------------------------------- */

result policy_versions_new(struct policy_versions **out)
{
	struct policy_versions *versions = calloc(1, sizeof(*versions));
	if (!versions)
		return fail(NO_MEMORY, "policy versions");
	*out = versions;
	return OK;
}

void policy_versions_free(struct policy_versions *versions)
{
	if (!versions)
		return;
	for (size_t i = 0; i < versions->count; i++)
		kept_free(&versions->items[i]);
	free(versions);
}

void policy_versions_cleanup(struct policy_versions **versions)
{
	policy_versions_free(*versions);
	*versions = NULL;
}

const struct policy_version *policy_versions_find(const struct policy_versions *versions, const uint8_t digest[static POLICY_DIGEST_SIZE])
{
	for (size_t i = 0; versions && i < versions->count; i++)
		if (memcmp(versions->items[i].version.policy.digest, digest, POLICY_DIGEST_SIZE) == 0)
			return &versions->items[i].version;
	return NULL;
}

size_t policy_versions_count(const struct policy_versions *versions)
{
	return versions ? versions->count : 0;
}

const struct policy_version *policy_versions_at(const struct policy_versions *versions, size_t index)
{
	return &versions->items[index].version;
}

result policy_versions_add(struct policy_versions *versions, struct span object, const struct policy_version **out)
{
	CLEANUP(kept_free) struct kept kept = {.object = BYTES_EMPTY};
	if (object.len > POLICY_VERSION_MAX)
		return fail(TOO_LARGE, "a policy version of %zu bytes", object.len);
	TRY(bytes_copy(object, &kept.object));
	TRY(open_kept(&kept));
	const struct policy_version *there = policy_versions_find(versions, kept.version.policy.digest);
	if (!there && versions->count == POLICY_MAX_VERSIONS)
		return fail(TOO_LARGE, "more than %d versions of policies", POLICY_MAX_VERSIONS);
	if (!there) {
		versions->items[versions->count] = kept;
		there = &versions->items[versions->count++].version;
		kept = (struct kept){.object = BYTES_EMPTY}; /* transferred */
	}
	if (out)
		*out = there;
	return OK;
}

/* ---- May it follow? ------------------------------------------------------------------------------------- */

result policy_version_follows(const struct policy_view *launched, const struct policy_version *next, uint64_t floor)
{
	const struct policy_view *policy = &next->policy;
	int len = (int)policy->id.len;
	const char *id = (const char *)policy->id.data;
	uint64_t seen = floor > launched->version ? floor : launched->version;
	if (policy->kind != launched->kind || !span_equal(policy->id, launched->id))
		return fail(POLICY_FOREIGN, "it is the policy of %.*s, not of %.*s", len, id, (int)launched->id.len,
			(const char *)launched->id.data);
	if (launched->author.len == 0)
		return fail(POLICY_AUTHOR_WRONG, "the policy that %.*s was launched with names no author; nothing can replace it", len, id);
	if (!span_equal(policy->author, launched->author))
		return fail(POLICY_AUTHOR_WRONG, "version %" PRIu64 " is signed by another author than the one that %.*s was launched with",
			policy->version, len, id);
	if (policy->version <= seen)
		return fail(POLICY_OLD, "version %" PRIu64 " of the policy of %.*s; version %" PRIu64 " was seen", policy->version, len, id, seen);
	return OK;
}
