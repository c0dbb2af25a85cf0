/* troth grant list: the grants that a ledger has seen, with what became of each. */
#include "cmd/grant_status.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

enum { LIMIT = 1000, SEEN_MAX = 1 << 20 };

struct arguments {
	struct ledger_options ledger;
	const char *issuer, *audience, *scope;
	uint64_t limit;
	bool live;
};

struct listing {
	const struct arguments *arguments;
	struct ledger_client *client;
	struct arena arena; /* what is kept */
	struct names names;
	uint8_t issuer[ADDRESS_SIZE], audience[ADDRESS_SIZE];
	char scope[SCOPE_MAX + 1];
	bool by_issuer, by_audience;
	struct found {
		struct grant_link link;
		struct grant_status status;
	} *rows;
	size_t count;
	uint8_t (*seen)[OID_SIZE]; /* open addressing, zero: free */
	size_t seen_room, seen_count;
};

static void listing_free(struct listing *listing)
{
	ledger_client_free(listing->client);
	arena_free(&listing->arena);
	free(listing->seen);
}

/* ---- Each once ------------------------------------------------------------------------------------------- */

static bool put_seen(uint8_t (*table)[OID_SIZE], size_t room, const uint8_t oid[static OID_SIZE])
{
	size_t at = 0;
	for (size_t i = 0; i < sizeof(size_t); i++)
		at = at << 8 | oid[i];
	for (at %= room; !span_is_zero(SPAN_ARRAY(table[at])); at = (at + 1) % room)
		if (memcmp(table[at], oid, OID_SIZE) == 0)
			return false;
	memcpy(table[at], oid, OID_SIZE);
	return true;
}

static result grow_seen(struct listing *listing)
{
	size_t room = listing->seen_room ? 2 * listing->seen_room : 1024;
	uint8_t(*table)[OID_SIZE] = calloc(room, OID_SIZE);
	if (!table)
		return fail(NO_MEMORY, "grants");
	for (size_t i = 0; i < listing->seen_room; i++)
		if (!span_is_zero(SPAN_ARRAY(listing->seen[i])))
			put_seen(table, room, listing->seen[i]);
	free(listing->seen);
	listing->seen = table;
	listing->seen_room = room;
	return OK;
}

static result is_new(struct listing *listing, const uint8_t oid[static OID_SIZE], bool *out)
{
	if (2 * listing->seen_count >= listing->seen_room)
		TRY(grow_seen(listing));
	*out = put_seen(listing->seen, listing->seen_room, oid);
	listing->seen_count += *out;
	return OK;
}

/* ---- From the log ------------------------------------------------------------------------------------------ */

static bool is_wanted(const struct listing *listing, const struct grant_link *link)
{
	if (listing->by_issuer && memcmp(link->issuer, listing->issuer, ADDRESS_SIZE) != 0)
		return false;
	if (listing->by_audience && memcmp(link->grant.audience, listing->audience, ADDRESS_SIZE) != 0)
		return false;
	return !listing->scope[0] || scope_covers(link->grant.scope, listing->scope) || scope_covers(listing->scope, link->grant.scope);
}

static result keep(struct listing *listing, const struct grant_link *link, struct span bytes)
{
	struct found *row = &listing->rows[listing->count];
	struct span kept;
	if (listing->count >= listing->arguments->limit)
		return fail(TOO_LARGE, "more than %" PRIu64 " grants; narrow it, or say --limit", listing->arguments->limit);
	struct grant_status status;
	TRY(grant_status_ask(listing->client, link->oid, &status));
	if (listing->arguments->live && strncmp(grant_status_word(&link->grant, &status, clock_wall_ms()), "live", 4) != 0)
		return OK;
	TRY(arena_copy(&listing->arena, bytes, &kept));
	TRY(object_peek(KIND_GRANT, kept, &listing->arena, &row->link.grant, row->link.oid));
	memcpy(row->link.issuer, link->issuer, ADDRESS_SIZE);
	row->status = status;
	listing->count++;
	return OK;
}

static result take_links(struct listing *listing, const struct bytes_item *links, size_t count, struct arena *arena)
{
	for (size_t i = 0; i < count; i++) {
		struct grant_link link;
		bool fresh;
		TRY(object_peek(KIND_GRANT, links[i].bytes, arena, &link.grant, link.oid));
		address_of(link.grant.issuer, link.issuer);
		TRY(is_new(listing, link.oid, &fresh));
		if (fresh && is_wanted(listing, &link))
			TRY(keep(listing, &link, links[i].bytes));
	}
	return OK;
}

static result take_row(void *arg, const struct ledger_row *row)
{
	struct listing *listing = arg;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct transaction tx;
	struct tx_grant grant;
	struct tx_operation operation;
	TRY(object_peek(KIND_TRANSACTION, row->leaf->tx, &arena, &tx, NULL));
	if (tx.type == TX_GRANT) {
		TRY(schema_decode(&tx_grant_schema, tx.body, &arena, &grant));
		return take_links(listing, grant.links, grant.link_count, &arena);
	}
	TRY(schema_decode(&tx_operation_schema, tx.body, &arena, &operation));
	return take_links(listing, operation.links, operation.link_count, &arena);
}

static result collect(struct listing *listing)
{
	const unsigned types[] = {TX_GRANT, TX_OPERATION, TX_SPOOLED};
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		const struct ledger_filter filter = {.type = types[i], .only_ok = true};
		TRY(ledger_client_each(listing->client, &filter, take_row, listing));
	}
	return OK;
}

/* ---- The verb ------------------------------------------------------------------------------------------------ */

static result read_filters(struct listing *listing)
{
	const struct arguments *a = listing->arguments;
	listing->by_issuer = a->issuer != NULL;
	listing->by_audience = a->audience != NULL;
	if (a->issuer)
		TRY(person_read(&listing->names, "--issuer", a->issuer, listing->issuer));
	if (a->audience)
		TRY(person_read(&listing->names, "--audience", a->audience, listing->audience));
	if (a->scope)
		TRY(names_scope(&listing->names, a->scope, NULL, listing->scope));
	return OK;
}

static void print_row(const struct listing *listing, const struct found *row)
{
	char issuer[PERSON_TEXT_SIZE], audience[PERSON_TEXT_SIZE], operations[OPERATIONS_TEXT_SIZE];
	names_person(&listing->names, row->link.issuer, issuer);
	names_person(&listing->names, row->link.grant.audience, audience);
	operations_text(row->link.grant.operations, operations);
	printf("  ");
	verb_print_hex(SPAN_ARRAY(row->link.oid));
	printf("  %s\n    %s on %s\n    from %s to %s, used %" PRIu64 "%s\n", grant_status_word(&row->link.grant, &row->status, clock_wall_ms()), operations,
		row->link.grant.scope, issuer, audience, row->status.uses, row->status.uses == 1 ? " time" : " times");
}

static result print_list(const struct listing *listing, bool json)
{
	json_t *list = json ? json_array() : NULL;
	for (size_t i = 0; i < listing->count; i++) {
		const struct found *row = &listing->rows[i];
		if (!json) {
			print_row(listing, row);
			continue;
		}
		json_t *one = grant_json(&listing->names, &row->link);
		if (one)
			json_object_set_new(one, "ledger", grant_status_json(&row->link.grant, &row->status, clock_wall_ms()));
		json_array_append_new(list, one);
	}
	if (json)
		return print_json_of(list);
	printf("%zu grant%s that the ledger has seen%s\n", listing->count, listing->count == 1 ? "" : "s",
		listing->count == 0 ? "; one that was never used nor put on it is in its file alone" : "");
	return OK;
}

static result list(const struct arguments *arguments, bool json)
{
	CLEANUP(listing_free) struct listing listing = {.arguments = arguments, .arena = arena_of((size_t)1 << 30)};
	void *rows;
	if (arguments->limit < 1 || arguments->limit > SEEN_MAX)
		return fail(USAGE, "--limit takes 1 to %d", SEEN_MAX);
	TRY(arena_alloc(&listing.arena, arguments->limit + 1, sizeof(*listing.rows), &rows));
	listing.rows = rows;
	TRY(names_of_state(arguments->ledger.state, &listing.arena, &listing.names));
	TRY(read_filters(&listing));
	TRY(verb_ledger_open(&arguments->ledger, &listing.client));
	TRY(collect(&listing));
	return print_list(&listing, json);
}

int verb_grant_list(int argc, char **argv)
{
	struct arguments arguments = {.limit = LIMIT};
	const struct option_row rows[] = {
		{"issuer", OPTION_TEXT, &arguments.issuer, "WHO", "only those that they issued"},
		{"audience", OPTION_TEXT, &arguments.audience, "WHO", "only those that are for them"},
		{"scope", OPTION_TEXT, &arguments.scope, "SCOPE", "only those that are about it or a part of it"},
		{"live", OPTION_FLAG, &arguments.live, NULL, "only those that could be used now"},
		{"limit", OPTION_NUMBER, &arguments.limit, "N", "how many at most (1000)"},
		LEDGER_ROWS(&arguments.ledger),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant list",
		.usage = "[--issuer WHO] [--audience WHO] [--scope SCOPE] [--live]",
		.description = "Lists the grants that the ledger has seen: those that were put on it, and those that were shown with an operation. For each,\n"
			       "how often it was used and whether it is live, revoked, ended or used up.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = list(&arguments, options.json);
	return verb_end(done, argc, argv);
}
