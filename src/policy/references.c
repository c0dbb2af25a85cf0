#include "policy/references.h"

#include <stdlib.h>

enum { REFERENCES_MEMORY = 64 << 20 };

struct kept_set {
	struct span bytes;
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE];
};

struct policy_references {
	struct arena arena;
	struct kept_set sets[POLICY_MAX_REFERENCES];
	size_t count;
};

static const struct kept_set *find_set(const struct policy_references *references, struct span author, struct span name)
{
	for (size_t i = 0; references && i < references->count; i++)
		if (span_equal(SPAN_ARRAY(references->sets[i].author), author) && span_equal(span_str(references->sets[i].set.name), name))
			return &references->sets[i];
	return NULL;
}

static result add_set(struct policy_references *references, struct span bytes)
{
	struct kept_set *kept = &references->sets[references->count];
	if (bytes.len > REFERENCE_SET_MAX)
		return fail(TOO_LARGE, "a reference set of %zu bytes", bytes.len);
	TRY(arena_copy(&references->arena, bytes, &kept->bytes));
	TRY(reference_set_open(kept->bytes, &references->arena, &kept->set, kept->author, NULL));
	if (find_set(references, SPAN_ARRAY(kept->author), span_str(kept->set.name)))
		return fail(POLICY_CONFLICT, "two reference sets '%s' of one author; keep the one that counts", kept->set.name);
	references->count++;
	return OK;
}

result policy_references_load(const struct span *sets, size_t count, struct policy_references **out)
{
	if (count > POLICY_MAX_REFERENCES)
		return fail(TOO_LARGE, "%zu reference sets, more than %d", count, POLICY_MAX_REFERENCES);
	CLEANUP(policy_references_cleanup) struct policy_references *references = calloc(1, sizeof(*references));
	if (!references)
		return fail(NO_MEMORY, "reference sets");
	references->arena = arena_of(REFERENCES_MEMORY);
	for (size_t i = 0; i < count; i++)
		TRY(add_set(references, sets[i]));
	*out = references;
	references = NULL; /* transferred */
	return OK;
}

void policy_references_free(struct policy_references *references)
{
	if (!references)
		return;
	arena_free(&references->arena);
	free(references);
}

void policy_references_cleanup(struct policy_references **references)
{
	policy_references_free(*references);
	*references = NULL;
}

size_t policy_references_count(const struct policy_references *references)
{
	return references ? references->count : 0;
}

void policy_references_at(const struct policy_references *references, size_t index, struct policy_reference_view *out)
{
	const struct kept_set *kept = &references->sets[index];
	*out = (struct policy_reference_view){
		.author = SPAN_ARRAY(kept->author),
		.set = span_str(kept->set.name),
		.bytes = kept->bytes,
		.version = kept->set.version,
	};
}

static const struct reference_row *find_row(const struct kept_set *kept, const struct policy_reference_question *question, uint32_t *out_least)
{
	if (question->core.len != SHA384_SIZE)
		return NULL;
	for (size_t i = 0; i < kept->set.entry_count; i++) {
		const struct reference_entry *entry = &kept->set.entries[i];
		if (!span_equal(span_str(entry->name), question->entry))
			continue;
		*out_least = entry->min_svn > question->min_svn ? entry->min_svn : question->min_svn;
		return reference_find(entry, REFERENCE_CORE, question->core.data);
	}
	return NULL;
}

enum reason policy_references_ask(const struct policy_references *references, const struct policy_reference_question *question,
	struct policy_reference_answer *out)
{
	const struct kept_set *kept = find_set(references, question->author, question->set);
	uint32_t least = 0;
	*out = (struct policy_reference_answer){.at_hand = kept};
	if (!kept)
		return REFERENCE_MISSING;
	if (question->now_ms < kept->set.not_before || question->now_ms > kept->set.not_after)
		return REFERENCE_EXPIRED;
	const struct reference_row *row = find_row(kept, question, &least);
	if (!row)
		return REFERENCE_MISSING;
	out->svn = row->svn;
	out->least = least;
	return row->svn >= least ? OK : SVN_TOO_LOW;
}
