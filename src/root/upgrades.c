#include "root/upgrades.h"

#include <stdio.h>

/* ---- At rest --------------------------------------------------------------------------------------- */

struct stored_set {
	uint8_t author[KEY_ID_SIZE];
	const char *name;
	uint64_t version;
	uint8_t oid[OID_SIZE];
};
struct stored_upgrades {
	uint8_t v;
	struct upgrade_author *authors;
	size_t author_count;
	struct stored_set *sets;
	size_t set_count;
	struct upgrade_row *rows;
	size_t row_count;
	uint32_t min_ap, min_host, min_ire;
};

static const struct field author_fields[] = {F_FIXED(struct upgrade_author, 1, id)};
static const struct schema author_schema = SCHEMA(struct upgrade_author, "author", SHAPE_BARE, author_fields);

static const struct field set_fields[] = {
	F_FIXED(struct stored_set, 1, author),
	F_TEXT(struct stored_set, 2, name, 1, REFERENCE_NAME_MAX),
	F_UINT(struct stored_set, 3, version, 0),
	F_FIXED(struct stored_set, 4, oid),
};
static const struct schema set_schema = SCHEMA(struct stored_set, "set seen", SHAPE_ARRAY, set_fields);

static const struct field row_fields[] = {
	F_UINT(struct upgrade_row, 1, set, UPGRADE_MAX_SETS - 1),
	F_UINT(struct upgrade_row, 2, program, UPGRADE_PROGRAMS - 1),
	F_UINT(struct upgrade_row, 3, svn, 0),
	F_FIXED(struct upgrade_row, 4, digest),
};
static const struct schema row_schema = SCHEMA(struct upgrade_row, "program allowed", SHAPE_ARRAY, row_fields);

static const struct field upgrades_fields[] = {
	F_VERSION(struct stored_upgrades, 1, v, 1),
	F_LIST(struct stored_upgrades, 2, authors, author_count, &author_schema, 0, 0, UPGRADE_MAX_AUTHORS),
	F_LIST(struct stored_upgrades, 3, sets, set_count, &set_schema, 0, 0, UPGRADE_MAX_SETS),
	F_LIST(struct stored_upgrades, 4, rows, row_count, &row_schema, 0, 0, UPGRADE_MAX_PROGRAMS),
	F_UINT(struct stored_upgrades, 5, min_ap, 0),
	F_UINT(struct stored_upgrades, 6, min_host, 0),
	F_UINT(struct stored_upgrades, 7, min_ire, 0),
};
static const struct schema upgrades_schema = SCHEMA(struct stored_upgrades, "upgrades", SHAPE_MAP, upgrades_fields);

result upgrades_decode(struct span bytes, struct upgrades *out)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct stored_upgrades stored;
	struct upgrades upgrades = {0};
	if (bytes.len > 0) {
		TRY(schema_decode(&upgrades_schema, bytes, &arena, &stored));
		upgrades.author_count = stored.author_count;
		upgrades.set_count = stored.set_count;
		upgrades.row_count = stored.row_count;
		for (size_t i = 0; i < stored.author_count; i++)
			upgrades.authors[i] = stored.authors[i];
		for (size_t i = 0; i < stored.row_count; i++) {
			upgrades.rows[i] = stored.rows[i];
			if (stored.rows[i].set >= stored.set_count)
				return fail(BAD_VALUE, "a program allowed by no set");
		}
		for (size_t i = 0; i < stored.set_count; i++) {
			struct upgrade_set *set = &upgrades.sets[i];
			memcpy(set->author, stored.sets[i].author, KEY_ID_SIZE);
			memcpy(set->oid, stored.sets[i].oid, OID_SIZE);
			set->version = stored.sets[i].version;
			snprintf(set->name, sizeof(set->name), "%s", stored.sets[i].name);
		}
		upgrades.min_svn[UPGRADE_AP] = stored.min_ap;
		upgrades.min_svn[UPGRADE_HOST] = stored.min_host;
		upgrades.min_svn[UPGRADE_IRE] = stored.min_ire;
	}
	*out = upgrades;
	return OK;
}

result upgrades_encode(const struct upgrades *upgrades, struct bytes *out)
{
	struct stored_set sets[UPGRADE_MAX_SETS];
	for (size_t i = 0; i < upgrades->set_count; i++) {
		memcpy(sets[i].author, upgrades->sets[i].author, KEY_ID_SIZE);
		memcpy(sets[i].oid, upgrades->sets[i].oid, OID_SIZE);
		sets[i].version = upgrades->sets[i].version;
		sets[i].name = upgrades->sets[i].name;
	}
	const struct stored_upgrades stored = {
		.v = 1,
		.authors = (struct upgrade_author *)upgrades->authors,
		.author_count = upgrades->author_count,
		.sets = sets,
		.set_count = upgrades->set_count,
		.rows = (struct upgrade_row *)upgrades->rows,
		.row_count = upgrades->row_count,
		.min_ap = upgrades->min_svn[UPGRADE_AP],
		.min_host = upgrades->min_svn[UPGRADE_HOST],
		.min_ire = upgrades->min_svn[UPGRADE_IRE],
	};
	return schema_encode(&upgrades_schema, &stored, out);
}

/* ---- Rules ------------------------------------------------------------------------------------------ */

const char *upgrade_program_name(enum upgrade_program program)
{
	static const char *const names[] = {"troth-ap", "trothd", "troth-ire"};
	return (size_t)program < COUNT_OF(names) ? names[program] : "?";
}

bool upgrades_knows(const struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE])
{
	for (size_t i = 0; i < upgrades->author_count; i++)
		if (memcmp(upgrades->authors[i].id, author, KEY_ID_SIZE) == 0)
			return true;
	return false;
}

static const struct upgrade_set *find_set(const struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE], const char *name)
{
	for (size_t i = 0; i < upgrades->set_count; i++)
		if (memcmp(upgrades->sets[i].author, author, KEY_ID_SIZE) == 0 && strcmp(upgrades->sets[i].name, name) == 0)
			return &upgrades->sets[i];
	return NULL;
}

uint64_t upgrades_floor(const struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE], const char *name)
{
	const struct upgrade_set *set = find_set(upgrades, author, name);
	return set ? set->version : 0;
}

static result enrol_author(struct upgrades *upgrades, const uint8_t author[static KEY_ID_SIZE])
{
	if (upgrades->author_count == UPGRADE_MAX_AUTHORS)
		return fail(TOO_LARGE, "%d authors are enrolled already", UPGRADE_MAX_AUTHORS);
	memcpy(upgrades->authors[upgrades->author_count++].id, author, KEY_ID_SIZE);
	return OK;
}

/* The place of the set, made when it is new. */
static result note_set(struct upgrades *upgrades, const struct reference_set *set, const uint8_t author[static KEY_ID_SIZE],
	const uint8_t oid[static OID_SIZE], size_t *out_place, bool *out_known)
{
	const struct upgrade_set *known = find_set(upgrades, author, set->name);
	size_t place = known ? (size_t)(known - upgrades->sets) : upgrades->set_count;
	*out_known = known && known->version == set->version && memcmp(known->oid, oid, OID_SIZE) == 0;
	if (known && known->version >= set->version && !*out_known)
		return fail(REFERENCE_OLD, "set '%s' version %llu; %s", set->name, (unsigned long long)set->version,
			known->version == set->version ? "another set of this version is known" : "a higher one is known");
	if (place == UPGRADE_MAX_SETS)
		return fail(TOO_LARGE, "%d sets are known already", UPGRADE_MAX_SETS);
	struct upgrade_set *row = &upgrades->sets[place];
	memcpy(row->author, author, KEY_ID_SIZE);
	memcpy(row->oid, oid, OID_SIZE);
	snprintf(row->name, sizeof(row->name), "%s", set->name);
	row->version = set->version;
	if (!known)
		upgrades->set_count++;
	*out_place = place;
	return OK;
}

static void drop_rows(struct upgrades *upgrades, size_t place)
{
	size_t kept = 0;
	for (size_t i = 0; i < upgrades->row_count; i++)
		if (upgrades->rows[i].set != place)
			upgrades->rows[kept++] = upgrades->rows[i];
	upgrades->row_count = kept;
}

static result add_rows(struct upgrades *upgrades, size_t place, enum upgrade_program program, const struct reference_entry *entry)
{
	if (entry->min_svn > upgrades->min_svn[program])
		upgrades->min_svn[program] = entry->min_svn;
	for (size_t i = 0; i < entry->row_count; i++) {
		if (entry->rows[i].what != REFERENCE_PROGRAM)
			continue;
		if (upgrades->row_count == UPGRADE_MAX_PROGRAMS)
			return fail(TOO_LARGE, "more than %d programs; leave old versions out of the set", UPGRADE_MAX_PROGRAMS);
		struct upgrade_row *row = &upgrades->rows[upgrades->row_count++];
		*row = (struct upgrade_row){(uint8_t)place, (uint8_t)program, entry->rows[i].svn, {0}};
		memcpy(row->digest, entry->rows[i].digest, SHA384_SIZE);
	}
	return OK;
}

static result take(struct upgrades *upgrades, const struct reference_set *set, const uint8_t author[static KEY_ID_SIZE],
	const uint8_t oid[static OID_SIZE])
{
	size_t place;
	bool known;
	TRY(note_set(upgrades, set, author, oid, &place, &known));
	if (known)
		return OK;
	drop_rows(upgrades, place);
	for (int program = 0; program < UPGRADE_PROGRAMS; program++) {
		const struct reference_entry *entry = reference_set_entry(set, upgrade_program_name((enum upgrade_program)program));
		if (entry)
			TRY(add_rows(upgrades, place, (enum upgrade_program)program, entry));
	}
	return OK;
}

result upgrades_take(struct upgrades *upgrades, struct span bytes, bool enrol, uint64_t now_ms, struct arena *arena,
	struct reference_set *out_set)
{
	struct upgrades changed = *upgrades;
	struct reference_set set;
	uint8_t author[KEY_ID_SIZE], oid[OID_SIZE];
	TRY(reference_set_open(bytes, arena, &set, author, oid));
	TRY(reference_set_valid_at(&set, now_ms));
	if (!upgrades_knows(&changed, author)) {
		if (!enrol)
			return fail(AUTHOR_UNKNOWN, "set '%s' is signed by the key %02x%02x%02x%02x...", set.name, author[0], author[1],
				author[2], author[3]);
		TRY(enrol_author(&changed, author));
	}
	TRY(take(&changed, &set, author, oid));
	*upgrades = changed;
	*out_set = set;
	return OK;
}

result upgrades_allow(const struct upgrades *upgrades, enum upgrade_program program, const uint8_t digest[static SHA384_SIZE])
{
	const char *name = upgrade_program_name(program);
	uint32_t least = upgrades->min_svn[program], best = 0;
	bool listed = false;
	for (size_t i = 0; i < upgrades->row_count; i++) {
		const struct upgrade_row *row = &upgrades->rows[i];
		if (row->program != program || memcmp(row->digest, digest, SHA384_SIZE) != 0)
			continue;
		listed = true;
		best = row->svn > best ? row->svn : best;
	}
	if (!listed)
		return fail(REFERENCE_MISSING, "no authorised set lists this %s", name);
	return best >= least ? OK : fail(SVN_TOO_LOW, "%s has SVN %u, %u is the least allowed", name, best, least);
}
