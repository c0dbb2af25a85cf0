#include "cmd/next_set.h"

#include "base/file.h"
#include "job/plan.h"
#include "root/tcb.h"

enum { MEMORY = 8 << 20 };
#define DAY_MS (24ULL * 3600 * 1000)

void next_set_free(struct next_set *next)
{
	arena_free(&next->arena);
}

result reference_read(const char *path, struct arena *arena, struct reference_set *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	struct span kept;
	uint8_t author[KEY_ID_SIZE];
	TRY(file_read(path, REFERENCE_TEXT_MAX, &file));
	TRY(arena_copy(arena, bytes_span(&file), &kept));
	bool is_signed = kept.len > 0 && kept.data[0] == 0xd2; /* COSE_Sign1's tag; no text begins so */
	result read = is_signed ? reference_set_open(kept, arena, out, author, NULL) : reference_text_parse(path, kept, arena, out);
	return read == OK || !is_signed ? read : fail_within(read, "'%s'", path);
}

/* Lists with room for what may come; their strings stay where they are. */
static result make_room(struct next_set *next)
{
	void *entries, *rows;
	struct reference_set *set = &next->set;
	TRY(arena_alloc(&next->arena, REFERENCE_MAX_ENTRIES, sizeof(*set->entries), &entries));
	if (set->entry_count)
		memcpy(entries, set->entries, set->entry_count * sizeof(*set->entries));
	set->entries = entries;
	for (size_t i = 0; i < set->entry_count; i++) {
		TRY(arena_alloc(&next->arena, REFERENCE_MAX_ROWS, sizeof(struct reference_row), &rows));
		memcpy(rows, set->entries[i].rows, set->entries[i].row_count * sizeof(struct reference_row));
		set->entries[i].rows = rows;
	}
	return OK;
}

result next_set_begin(const struct next_set_options *options, struct next_set *out)
{
	out->arena = arena_of(MEMORY);
	out->set = (struct reference_set){.v = 1, .name = options->name};
	out->has_base = options->base != NULL;
	if (options->base)
		TRY(reference_read(options->base, &out->arena, &out->set));
	if (options->base && options->name && strcmp(options->name, out->set.name) != 0)
		return fail(USAGE, "the set of '%s' is called '%s', not '%s'", options->base, out->set.name, options->name);
	if (!out->set.name)
		return fail(USAGE, "a new set needs a name: --name NAME");
	out->set.version++;
	out->set.not_before = options->now_ms - options->now_ms % 1000;
	out->set.not_after = out->set.not_before + options->days * DAY_MS;
	return make_room(out);
}

static result find_entry(struct next_set *next, const char *name, struct reference_entry **out)
{
	struct reference_set *set = &next->set;
	void *rows;
	*out = (struct reference_entry *)reference_set_entry(set, name);
	if (*out)
		return OK;
	if (set->entry_count == REFERENCE_MAX_ENTRIES)
		return fail(TOO_LARGE, "more than %d entries", REFERENCE_MAX_ENTRIES);
	struct reference_entry *entry = &set->entries[set->entry_count];
	TRY(arena_alloc(&next->arena, REFERENCE_MAX_ROWS, sizeof(struct reference_row), &rows));
	*entry = (struct reference_entry){.min_svn = 1, .rows = rows};
	TRY(arena_string(&next->arena, span_str(name), &entry->name));
	set->entry_count++;
	*out = entry;
	return OK;
}

static uint32_t highest_svn(const struct reference_entry *entry, enum reference_what what)
{
	uint32_t highest = 0;
	for (size_t i = 0; i < entry->row_count; i++)
		if (entry->rows[i].what == what && entry->rows[i].svn > highest)
			highest = entry->rows[i].svn;
	return highest;
}

static result add_row(struct reference_entry *entry, enum reference_what what, const uint8_t digest[static SHA384_SIZE],
	const struct next_rule *rule)
{
	if (entry->row_count == REFERENCE_MAX_ROWS)
		return fail(TOO_LARGE, "'%s' has %d rows already; take old ones out of the source", entry->name, REFERENCE_MAX_ROWS);
	struct reference_row *row = &entry->rows[entry->row_count++];
	*row = (struct reference_row){.svn = rule->svn ? rule->svn : highest_svn(entry, what) + 1, .what = (uint8_t)what};
	if (rule->svn == 0 && row->svn < entry->min_svn)
		row->svn = entry->min_svn;
	memcpy(row->digest, digest, SHA384_SIZE);
	return OK;
}

result next_set_add(struct next_set *next, const char *name, enum reference_what what, const uint8_t digest[static SHA384_SIZE],
	const struct next_rule *rule)
{
	struct reference_entry *entry;
	TRY(find_entry(next, name, &entry));
	const struct reference_row *row = reference_find(entry, what, digest);
	bool known = row != NULL;
	if (!known) {
		TRY(add_row(entry, what, digest, rule));
		row = &entry->rows[entry->row_count - 1];
	}
	if (rule->forbid_older && row->svn > entry->min_svn)
		entry->min_svn = row->svn;
	if (next->value_count == NEXT_MAX_CHANGES)
		return fail(TOO_LARGE, "more than %d values", NEXT_MAX_CHANGES);
	struct next_value *value = &next->values[next->value_count++];
	*value = (struct next_value){.name = entry->name, .what = what, .svn = row->svn, .known = known};
	memcpy(value->digest, digest, SHA384_SIZE);
	return OK;
}

result next_set_add_programs(struct next_set *next, const char *folder, const struct next_rule *rule)
{
	CLEANUP(tcb_free) struct tcb tcb = {0};
	TRY(tcb_measure(folder, "troth.internal", false, &tcb));
	TRY(next_set_add(next, "troth-ap", REFERENCE_PROGRAM, tcb.ap, rule));
	TRY(next_set_add(next, "trothd", REFERENCE_PROGRAM, tcb.host, rule));
	return next_set_add(next, "troth-ire", REFERENCE_PROGRAM, tcb.ire, rule);
}

result next_set_add_job(struct next_set *next, const char *path, const struct next_rule *rule)
{
	CLEANUP(job_plan_free) struct job_plan plan = {.stage_count = 0};
	TRY(job_plan_load(path, &plan));
	for (size_t i = 0; i < plan.stage_count; i++) {
		TRY(next_set_add(next, plan.stages[i].name, REFERENCE_CORE, plan.stages[i].core, rule));
		TRY(next_set_add(next, plan.stages[i].name, REFERENCE_MEASUREMENT, plan.stages[i].measurement, rule));
	}
	return OK;
}

result next_set_write(struct next_set *next, struct bytes *out)
{
	struct reference_set *set = &next->set;
	if (set->entry_count == 0)
		return fail(EMPTY_SET, "the set lists nothing; give --programs or --job");
	/* In the order that signing gives them, so that a source and its signed set are shown alike. */
	for (size_t i = 0; i < set->entry_count; i++)
		TRY(schema_sort(&reference_row_schema, set->entries[i].rows, set->entries[i].row_count));
	TRY(schema_sort(&reference_entry_schema, set->entries, set->entry_count));
	TRY(reference_set_check(set));
	return reference_text_write(set, out);
}
