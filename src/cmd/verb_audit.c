/*
 * troth audit: who did what on the ledger, when, and what it was told. Rows come from leaves that were proved to be in the log;
 * --deep applies the whole log again and believes nothing but its key.
 */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "ledger/place.h"
#include "ledger/replay.h"
#include "ledger/words.h"
#include "wire/text.h"

enum { DETAIL_SIZE = 512 };

struct audit_words {
	struct ledger_options ledger;
	const char *since, *until, *actor, *type;
	uint64_t limit;
	bool only_refused, csv, deep;
};

enum audit_form { FORM_TABLE, FORM_JSON, FORM_CSV };

struct auditing {
	const struct audit_words *words;
	enum audit_form form;
	struct ledger_filter filter;
	uint8_t actor[ADDRESS_SIZE];
	bool has_actor;
	struct arena memory; /* of the names */
	struct names names;
	uint64_t looked_at, shown, refused;
	bool full; /* as many as were asked for */
};

/* What one row says. Texts are plain: they came from strangers. */
struct audit_row {
	uint64_t index, time;
	const char *type;
	enum reason code;
	uint8_t txid[OID_SIZE], sender[ADDRESS_SIZE], actor[ADDRESS_SIZE];
	bool has_operation;
	char operation[OPERATION_NAME_SIZE], scope[SCOPE_MAX + 1], measurement[2 * SHA384_SIZE + 1];
	size_t grants;
	char detail[DETAIL_SIZE];
};

/* ---- What a transaction is about ------------------------------------------------------------------------ */

static PRINTF_LIKE(2, 3) void detail(struct audit_row *row, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(row->detail, sizeof(row->detail), format, args);
	va_end(args);
	row->detail[utf8_valid_prefix(span_str(row->detail))] = '\0';
	text_make_plain(row->detail);
}

enum { SHORT_HEX_SIZE = 2 * 8 + 3 + 1 };

static void short_hex(struct span bytes, char out[static SHORT_HEX_SIZE])
{
	char hex[2 * 8 + 1];
	hex_encode(span_of(bytes.data, bytes.len < 8 ? bytes.len : 8), hex);
	snprintf(out, SHORT_HEX_SIZE, "%s…", hex);
}

/* A table has names and the ends of addresses; what machines read has addresses. */
static void short_address(const struct auditing *auditing, const uint8_t address[static ADDRESS_SIZE], char out[static PERSON_TEXT_SIZE])
{
	char text[ADDRESS_TEXT_SIZE];
	const char *name = names_of(&auditing->names, address);
	address_format(address, text);
	if (auditing->form != FORM_TABLE)
		snprintf(out, PERSON_TEXT_SIZE, "%s", text);
	else if (name)
		snprintf(out, PERSON_TEXT_SIZE, "%s", name);
	else
		snprintf(out, PERSON_TEXT_SIZE, "%.12s…%s", text, text + strlen(text) - 4);
}

/* A scope with its owner as short_address has it. */
static void short_scope(const struct auditing *auditing, const char *scope, char out[static SCOPE_MAX + PERSON_TEXT_SIZE])
{
	uint8_t owner[ADDRESS_SIZE];
	char who[PERSON_TEXT_SIZE];
	const char *rest = strchr(scope, '/');
	if (scope_parse(scope, owner) != OK) {
		snprintf(out, SCOPE_MAX + PERSON_TEXT_SIZE, "(no scope)");
		return;
	}
	short_address(auditing, owner, who);
	snprintf(out, SCOPE_MAX + PERSON_TEXT_SIZE, "%s%s", who, rest ? rest : "");
}

struct telling {
	const struct auditing *auditing;
	struct arena *arena;
	struct audit_row *row;
};

static void tell_register(const struct telling *t, const void *body)
{
	const struct tx_register *b = body;
	char digest[SHORT_HEX_SIZE];
	short_hex(SPAN_ARRAY(b->digest), digest);
	detail(t->row, "%s %s \"%s\", endorsements: %zu", subject_name(b->subject), digest, b->label, b->endorsement_count);
}

static void tell_unregister(const struct telling *t, const void *body)
{
	const struct tx_unregister *b = body;
	char digest[SHORT_HEX_SIZE];
	short_hex(SPAN_ARRAY(b->digest), digest);
	detail(t->row, "%s %s: \"%s\"", subject_name(b->subject), digest, b->why);
}

static void tell_access(const struct telling *t, const void *body)
{
	const struct tx_access *b = body;
	char scope[SCOPE_MAX + PERSON_TEXT_SIZE];
	short_scope(t->auditing, b->scope, scope);
	detail(t->row, "version %" PRIu64 " of the rules of %s, %zu of them", b->version, scope, b->rule_count);
}

static void tell_grant(const struct telling *t, const void *body)
{
	const struct tx_grant *b = body;
	struct grant grant;
	char scope[SCOPE_MAX + PERSON_TEXT_SIZE], to[PERSON_TEXT_SIZE], what[OPERATIONS_TEXT_SIZE];
	if (object_peek(KIND_GRANT, b->links[b->link_count - 1].bytes, t->arena, &grant, NULL) != OK) {
		detail(t->row, "a chain of %zu that cannot be read", b->link_count);
		return;
	}
	short_scope(t->auditing, grant.scope, scope);
	short_address(t->auditing, grant.audience, to);
	operations_text(grant.operations, what);
	detail(t->row, "to %s: %.120s on %s (link %zu)", to, what, scope, b->link_count);
}

static void tell_revoke(const struct telling *t, const void *body)
{
	const struct tx_revoke *b = body;
	char target[SHORT_HEX_SIZE];
	short_hex(SPAN_ARRAY(b->target), target);
	detail(t->row, "grant %s", target);
}

static void tell_operation(const struct telling *t, const void *body)
{
	const struct tx_operation *b = body;
	struct operation operation;
	struct access_request request;
	struct audit_row *row = t->row;
	char scope[SCOPE_MAX + PERSON_TEXT_SIZE], actor[PERSON_TEXT_SIZE];
	uint8_t owner[ADDRESS_SIZE];
	row->grants = b->link_count;
	if (object_peek(KIND_OPERATION, b->operation, t->arena, &operation, NULL) != OK ||
		object_peek(KIND_ACCESS_REQUEST, operation.request, t->arena, &request, NULL) != OK) {
		detail(row, "an operation that cannot be read");
		return;
	}
	row->has_operation = true;
	address_of(request.actor, row->actor);
	operation_name(request.operation, row->operation);
	hex_encode(SPAN_ARRAY(operation.measurement), row->measurement);
	if (scope_parse(request.scope, owner) == OK)
		snprintf(row->scope, sizeof(row->scope), "%s", request.scope);
	short_scope(t->auditing, request.scope, scope);
	short_address(t->auditing, row->actor, actor);
	detail(row, "%s: %s on %s, grants shown: %zu", actor, row->operation, scope, b->link_count);
}

static void tell_secure_mode(const struct telling *t, const void *body)
{
	const struct tx_secure_mode *b = body;
	char digest[SHORT_HEX_SIZE];
	short_hex(SPAN_ARRAY(b->measurement), digest);
	detail(t->row, "%s %s", b->enter ? "enter" : "leave", digest);
}

static void tell_event(const struct telling *t, const void *body)
{
	static const char *const names[] = {"nothing", "hsm grant", "hsm denial", "violation"};
	const struct tx_event *b = body;
	detail(t->row, "%s: \"%s\"", names[b->event_class < COUNT_OF(names) ? b->event_class : 0], b->subject);
}

static void tell_epoch(const struct telling *t, const void *body)
{
	const struct tx_epoch *b = body;
	detail(t->row, "a record of %zu bytes", b->record.len);
}

static void tell_floor(const struct telling *t, const void *body)
{
	static const char *const names[] = {"nothing", "definition", "policy", "revocation list"};
	const struct tx_floor *b = body;
	detail(t->row, "%s \"%s\" from version %" PRIu64, names[b->floor_class < COUNT_OF(names) ? b->floor_class : 0], b->id, b->version);
}

static void tell_config(const struct telling *t, const void *body)
{
	(void)body;
	detail(t->row, "members, registrars, co-processors, log");
}

static void tell(const struct telling *t, const struct transaction *tx)
{
	static void (*const rows[])(const struct telling *t, const void *body) = {
		[TX_REGISTER] = tell_register,	   [TX_UNREGISTER] = tell_unregister, [TX_ACCESS] = tell_access,
		[TX_GRANT] = tell_grant,	   [TX_REVOKE] = tell_revoke,	      [TX_OPERATION] = tell_operation,
		[TX_SPOOLED] = tell_operation,	   [TX_SECURE_MODE] = tell_secure_mode, [TX_EVENT] = tell_event,
		[TX_EPOCH] = tell_epoch,	   [TX_FLOOR] = tell_floor,	      [TX_CONFIG] = tell_config,
	};
	const struct schema *schema = transaction_body_schema(tx->type);
	void *body;
	if (!schema || tx->type >= COUNT_OF(rows) || arena_alloc(t->arena, 1, schema->struct_size, &body) != OK ||
		schema_decode(schema, tx->body, t->arena, body) != OK) {
		detail(t->row, "a body that is not in its form");
		return;
	}
	rows[tx->type](t, body);
}

/* ---- Rows ------------------------------------------------------------------------------------------------ */

static void print_padded(const char *text, int width)
{
	const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
	printf("%s", text);
	for (; at < end; width--)
		(void)utf8_next(&at);
	printf("%*s", width > 0 ? width + 1 : 1, "");
}

/* Seconds are enough for a table. */
static void print_table(const struct auditing *auditing, const struct audit_row *row)
{
	char time[CLOCK_TEXT_SIZE], who[PERSON_TEXT_SIZE];
	clock_format(row->time, time);
	time[10] = ' ';
	short_address(auditing, row->sender, who);
	if (auditing->shown == 0)
		printf("%-19s %6s  %-12s %-17s %-18s %s\n", "TIME (UTC)", "LEAF", "TYPE", "SENT BY", "VERDICT", "WHAT");
	printf("%.19s %6" PRIu64 "  ", time, row->index);
	print_padded(row->type, 12);
	print_padded(who, 17);
	print_padded(reason_name(row->code), 18);
	printf("%s\n", row->detail);
}

static result print_row_json(const struct auditing *auditing, const struct audit_row *row)
{
	char sender[ADDRESS_TEXT_SIZE], actor[ADDRESS_TEXT_SIZE];
	address_format(row->sender, sender);
	address_format(row->actor, actor);
	json_t *json = json_pack("{s:I, s:o, s:s, s:i, s:s, s:o, s:s, s:s}", "index", (json_int_t)row->index, "time", json_time(row->time), "type",
		row->type, "code", (int)row->code, "reason", reason_name(row->code), "txid", json_hex(SPAN_ARRAY(row->txid)), "sender", sender,
		"what", row->detail);
	if (json && row->has_operation) {
		json_object_set_new(json, "actor", json_string(actor));
		json_object_set_new(json, "operation", json_string(row->operation));
		json_object_set_new(json, "scope", row->scope[0] ? json_string(row->scope) : json_null());
		json_object_set_new(json, "measurement", json_string(row->measurement));
		json_object_set_new(json, "grants", json_integer((json_int_t)row->grants));
	}
	if (!json)
		return fail(NO_MEMORY, "json");
	printf("%s\n", auditing->shown ? "," : "");
	int dumped = json_dumpf(json, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	json_decref(json);
	return dumped == 0 ? OK : fail_errno("writing the rows");
}

/* RFC 4180; every text in quotes, those within doubled. */
static void put_csv(const char *text, bool last)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	fputs(last ? "\"\r\n" : "\",", stdout);
}

static void print_csv(const struct audit_row *row)
{
	char sender[ADDRESS_TEXT_SIZE], actor[ADDRESS_TEXT_SIZE] = "", time[CLOCK_TEXT_SIZE], txid[2 * OID_SIZE + 1];
	address_format(row->sender, sender);
	if (row->has_operation)
		address_format(row->actor, actor);
	clock_format(row->time, time);
	hex_encode(SPAN_ARRAY(row->txid), txid);
	printf("%s,%" PRIu64 ",", time, row->index);
	put_csv(row->type, false);
	printf("%d,", (int)row->code);
	const char *const texts[] = {reason_name(row->code), txid, sender, actor, row->operation, row->scope, row->measurement};
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		put_csv(texts[i], false);
	printf("%zu,", row->grants);
	put_csv(row->detail, true);
}

static result print_row(struct auditing *auditing, const struct audit_row *row)
{
	if (auditing->form == FORM_JSON)
		TRY(print_row_json(auditing, row));
	else if (auditing->form == FORM_CSV)
		print_csv(row);
	else
		print_table(auditing, row);
	auditing->shown++;
	auditing->refused += row->code != OK;
	return ferror(stdout) ? fail_errno("writing the rows") : OK;
}

static bool is_wanted(const struct auditing *auditing, const struct audit_row *row)
{
	if (auditing->words->only_refused && row->code == OK)
		return false;
	return !auditing->has_actor || memcmp(row->sender, auditing->actor, ADDRESS_SIZE) == 0 ||
	       (row->has_operation && memcmp(row->actor, auditing->actor, ADDRESS_SIZE) == 0);
}

static result visit(void *arg, const struct ledger_row *leaf)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct auditing *auditing = arg;
	struct audit_row row = {.index = leaf->index, .time = leaf->time, .code = leaf->leaf->code};
	struct transaction tx;
	TRY(object_peek(KIND_TRANSACTION, leaf->leaf->tx, &arena, &tx, row.txid));
	row.type = transaction_type_name(tx.type);
	address_of(tx.sender, row.sender);
	tell(&(struct telling){auditing, &arena, &row}, &tx);
	auditing->looked_at++;
	if (!is_wanted(auditing, &row))
		return OK;
	TRY(print_row(auditing, &row));
	auditing->full = auditing->words->limit && auditing->shown == auditing->words->limit;
	return auditing->full ? fail(TOO_LARGE, "as many rows as were asked for") : OK;
}

/* ---- The whole --------------------------------------------------------------------------------------------- */

/* A date, or a date and a time. */
static result parse_time(const char *option, const char *word, uint64_t *out)
{
	char text[CLOCK_TEXT_SIZE];
	if (strlen(word) == 10) {
		snprintf(text, sizeof(text), "%sT00:00:00Z", word);
		word = text;
	}
	if (clock_parse(word, out) != OK)
		return fail(USAGE, "%s takes a date or a time in UTC: 2027-11-21, or 2027-11-21T15:47:31Z", option);
	return OK;
}

static result parse_type(const char *word, unsigned *out)
{
	char wanted[32];
	snprintf(wanted, sizeof(wanted), "%s", word);
	for (char *dash = strchr(wanted, '-'); dash; dash = strchr(dash, '-'))
		*dash = ' ';
	for (unsigned type = TX_REGISTER; type <= TX_CONFIG; type++) {
		char name[32];
		snprintf(name, sizeof(name), "%s", transaction_type_name(type));
		for (char *dash = strchr(name, '-'); dash; dash = strchr(dash, '-'))
			*dash = ' ';
		if (strcmp(name, wanted) == 0) {
			*out = type;
			return OK;
		}
	}
	return fail(USAGE, "--type takes the name of a type of transactions: register, access, grant, revoke, operation, ... not '%.40s'", word);
}

static result prepare(struct auditing *auditing, bool json)
{
	const struct audit_words *words = auditing->words;
	if (json && words->csv)
		return fail(USAGE, "--json or --csv");
	auditing->form = json ? FORM_JSON : words->csv ? FORM_CSV : FORM_TABLE;
	if (words->since)
		TRY(parse_time("--since", words->since, &auditing->filter.since_ms));
	if (words->until)
		TRY(parse_time("--until", words->until, &auditing->filter.until_ms));
	if (words->type)
		TRY(parse_type(words->type, &auditing->filter.type));
	TRY(names_of_state(words->ledger.state, &auditing->memory, &auditing->names));
	if (!words->actor)
		return OK;
	auditing->has_actor = true;
	return names_resolve(&auditing->names, span_str(words->actor), auditing->actor);
}

static result go_deep(const struct audit_words *words, struct ledger_client *client, struct ledger_audit *out)
{
	char place[PATH_SIZE];
	TRY(verb_ledger_place(&words->ledger, place));
	if (ledger_place_is_ledger(place))
		return ledger_engine_audit(&(struct ledger_engine_options){.dir = place}, AUDIT_EVERYTHING, out);
	return ledger_replay_from(client, out);
}

static void print_head(const struct auditing *auditing)
{
	if (auditing->form == FORM_JSON)
		printf("{\"transactions\":[");
	if (auditing->form == FORM_CSV)
		printf("time,index,type,code,reason,txid,sender,actor,operation,scope,measurement,grants,what\r\n");
}

static result print_end(const struct auditing *auditing, const struct checkpoint *head, const struct ledger_audit *deep)
{
	if (auditing->form == FORM_CSV)
		return OK;
	if (auditing->form == FORM_JSON) {
		printf("%s],\"shown\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"size\":%" PRIu64 ",\"origin\":\"%s\",\"more\":%s,\"applied_again\":%s}\n",
			auditing->shown ? "\n" : "", auditing->shown, auditing->refused, head->size, head->origin, auditing->full ? "true" : "false",
			deep ? "true" : "false");
		return OK;
	}
	printf("%s%" PRIu64 " transaction%s, %" PRIu64 " of them refused%s; the log of %s has %" PRIu64 " leaves\n", auditing->shown ? "\n" : "",
		auditing->shown, auditing->shown == 1 ? "" : "s", auditing->refused, auditing->full ? " (there may be more: --limit)" : "", head->origin, head->size);
	if (deep)
		printf("All %" PRIu64 " transactions up to leaf %" PRIu64 " were applied again, every signature verified: each verdict and every state is the one in the log.\n",
			deep->transactions, deep->size - 1);
	else
		printf("Each row is in the log. That none was left out, and that each verdict is the contract's, is what --deep shows.\n");
	return OK;
}

static result audit(struct auditing *auditing)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	struct ledger_audit deep;
	struct checkpoint head;
	TRY(verb_ledger_open(&auditing->words->ledger, &client));
	if (auditing->words->deep)
		TRY(go_deep(auditing->words, client, &deep));
	TRY(ledger_client_checkpoint(client, NULL, &head));
	print_head(auditing);
	result visited = ledger_client_each(client, &auditing->filter, visit, auditing);
	if (visited != OK && !auditing->full)
		return visited;
	return print_end(auditing, &head, auditing->words->deep ? &deep : NULL);
}

int verb_audit(int argc, char **argv)
{
	struct audit_words words = {.since = NULL};
	CLEANUP(options_free) struct options options = {0};
	struct auditing auditing = {.words = &words, .memory = arena_of(16 << 20)};
	const struct option_row rows[] = {
		{"since", OPTION_TEXT, &words.since, "TIME", "from this time on, a date or a time in UTC"},
		{"until", OPTION_TEXT, &words.until, "TIME", "up to this time"},
		{"actor", OPTION_TEXT, &words.actor, "WHO", "sent by this address or name, or operations that it asked for"},
		{"type", OPTION_TEXT, &words.type, "TYPE", "register, unregister, access, grant, revoke, operation, ..."},
		{"only-refused", OPTION_FLAG, &words.only_refused, NULL, "what the ledger said no to"},
		{"limit", OPTION_NUMBER, &words.limit, "N", "the first N rows"},
		{"csv", OPTION_FLAG, &words.csv, NULL, "comma-separated (RFC 4180), with nothing shortened"},
		{"deep", OPTION_FLAG, &words.deep, NULL, "first apply the whole log again and compare everything; takes a while"},
		LEDGER_ROWS(&words.ledger),
	};
	options = (struct options){
		.verb = "audit",
		.usage = "[--since TIME] [--until TIME] [--actor WHO] [--type TYPE] [--only-refused] [--json|--csv] [--deep]",
		.description = "Lists what was sent to a ledger, with its verdict. Each row's leaf is proved to be in the log. --deep goes through the log from its\n"
			       "beginning without believing anything but the log's key: every hash, every signature, every verdict and every state is\n"
			       "computed again. A transaction that was turned away left no trace and is not listed.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		done = prepare(&auditing, options.json);
		if (done == OK)
			done = audit(&auditing);
	}
	arena_free(&auditing.memory);
	return verb_end(done, argc, argv);
}
