/* troth revoke new|sign|load|list|show: lists of what counts no more, and the host that obeys them (docs/REVOCATION.md). */
#include "cmd/token_options.h"
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "object/revocation_text.h"
#include "root/tcb.h"
#include "wire/json.h"
#include "wire/text.h"

enum { DAYS = 397, MOST_DAYS = 3660, PEM_MAX = 64 * 1024, SHOWN = 1000 };
#define MEMORY ((size_t)1 << 30)
#define DAY_MS (24ULL * 3600 * 1000)

static result print_json_of(json_t *object)
{
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

/* ---- What a list says ---------------------------------------------------------------------------------------- */

static json_t *row_json(const struct revocation_row *row)
{
	char why[REVOCATION_WHY_MAX + 1], from[CLOCK_TEXT_SIZE];
	snprintf(why, sizeof(why), "%.*s", (int)row->why.len, row->why.len ? (const char *)row->why.data : "");
	json_t *json = json_pack("{s:s, s:o, s:s}", "class", revocation_class_name(row->class), "value", json_hex(row->value), "why", why);
	clock_format(row->from, from);
	if (json && row->from)
		json_object_set_new(json, "from", json_string(from));
	return json;
}

static void print_row(const struct revocation_row *row)
{
	char why[REVOCATION_WHY_MAX + 1], from[CLOCK_TEXT_SIZE], hex[2 * 64 + 1];
	snprintf(why, sizeof(why), "%.*s", (int)row->why.len, row->why.len ? (const char *)row->why.data : "");
	text_make_plain(why);
	hex_encode(row->value, hex);
	clock_format(row->from, from);
	printf("  %-11s %s\n              since %s%s%s\n", revocation_class_name(row->class), hex, row->from ? from : "ever",
		why[0] ? ": " : "", why);
}

static result print_view(const struct revocation_view *view, bool json)
{
	char from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
	struct revocation_row row;
	clock_format(view->time, from);
	clock_format(view->not_after, to);
	if (json) {
		json_t *entries = json_array();
		for (size_t i = 0; i < view->count; i++) {
			revocation_row(view, i, &row);
			json_array_append_new(entries, row_json(&row));
		}
		return print_json_of(json_pack("{s:o, s:o, s:I, s:s, s:s, s:o}", "operator", json_hex(SPAN_ARRAY(view->operator_id)), "oid",
			json_hex(SPAN_ARRAY(view->oid)), "version", (json_int_t)view->version, "time", from, "not_after", to, "entries", entries));
	}
	printf("revocation list version %llu of %.19sZ, to be taken until %.10s, %zu entries\noperator ", (unsigned long long)view->version,
		from, to, view->count);
	verb_print_hex(SPAN_ARRAY(view->operator_id));
	printf(" (signature verified under this key; whether to trust it is yours to say)\n");
	for (size_t i = 0; i < view->count && i < SHOWN; i++) {
		revocation_row(view, i, &row);
		print_row(&row);
	}
	if (view->count > SHOWN)
		printf("  and %zu more (--json shows all)\n", view->count - SHOWN);
	return OK;
}

static result show(const char *path, bool json)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	TRY(file_read(path, REVOCATION_LIST_MAX, &file));
	result opened = revocation_open(bytes_span(&file), NULL, &view);
	return opened == OK ? print_view(&view, json) : fail_within(opened, "'%s'", path);
}

int verb_revoke_show(int argc, char **argv)
{
	CLEANUP(options_free)
	struct options options = {
		.verb = "revoke show",
		.usage = "FILE",
		.description = "Shows a signed revocation list, after checking its signature under the key that it names.",
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(options.operands.items[0], options.json);
	return verb_end(done, argc, argv);
}

/* ---- new ------------------------------------------------------------------------------------------------------- */

struct new_arguments {
	const char *base, *output, *why, *from;
	struct words values[REVOKE_CLASSES], lifted;
	uint64_t days;
};

struct draft {
	struct arena arena;
	struct bytes base;
	struct revocation_list list;
	size_t room;
};

static void draft_free(struct draft *draft)
{
	bytes_free(&draft->base);
	arena_free(&draft->arena);
}

static result copy_view(struct draft *draft, const struct revocation_view *view)
{
	for (size_t i = 0; i < view->count; i++) {
		struct revocation_entry *entry = &draft->list.entries[draft->list.entry_count++];
		struct revocation_row row;
		revocation_row(view, i, &row);
		*entry = (struct revocation_entry){.class = (uint8_t)row.class, .value = row.value, .from = row.from};
		TRY(arena_string(&draft->arena, row.why, &entry->why));
	}
	draft->list.version = view->version + 1;
	return OK;
}

static result make_room(struct draft *draft, size_t count)
{
	void *entries;
	TRY(arena_alloc(&draft->arena, count + 1, sizeof(*draft->list.entries), &entries));
	draft->list.entries = entries;
	draft->room = count;
	return OK;
}

/* The list before, signed or as source. */
static result read_base(struct draft *draft, const char *path, size_t more)
{
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	struct revocation_list list;
	TRY(file_read(path, REVOCATION_LIST_MAX, &draft->base));
	result opened = revocation_open(bytes_span(&draft->base), NULL, &view);
	if (opened == OK) {
		TRY(make_room(draft, view.count + more));
		return copy_view(draft, &view);
	}
	if (draft->base.len > 0 && draft->base.data[0] == 0xd2) /* a signed object, then */
		return fail_within(opened, "'%s'", path);
	TRY(revocation_text_parse(path, bytes_span(&draft->base), &draft->arena, &list));
	TRY(make_room(draft, list.entry_count + more));
	memcpy(draft->list.entries, list.entries, list.entry_count * sizeof(*list.entries));
	draft->list.entry_count = list.entry_count;
	draft->list.version = list.version + 1;
	return OK;
}

/* Digits, or for a key the file of its public half. */
static result read_value(enum revocation_class class, const char *word, uint8_t out[static 64])
{
	size_t size = revocation_class_size(class);
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	if (strlen(word) == 2 * size && hex_decode(span_str(word), out, size) == OK)
		return OK;
	if (class != REVOKE_KEY)
		return fail(USAGE, "--%s takes %zu hex digits, not '%s'", revocation_class_name(class), 2 * size, word);
	TRY(file_read(word, PEM_MAX, &pem));
	TRY(key_from_pem(bytes_span(&pem), &key));
	memcpy(out, key.id, KEY_ID_SIZE);
	return OK;
}

static struct revocation_entry *find_entry(struct draft *draft, enum revocation_class class, struct span value)
{
	for (size_t i = 0; i < draft->list.entry_count; i++)
		if (draft->list.entries[i].class == class && span_equal(draft->list.entries[i].value, value))
			return &draft->list.entries[i];
	return NULL;
}

static result add_value(struct draft *draft, enum revocation_class class, const char *word, const char *why, uint64_t from)
{
	uint8_t value[64];
	struct revocation_entry entry = {.class = (uint8_t)class, .from = from, .why = why ? why : ""};
	TRY(read_value(class, word, value));
	struct span bytes = span_of(value, revocation_class_size(class));
	struct revocation_entry *there = find_entry(draft, class, bytes);
	TRY(arena_copy(&draft->arena, bytes, &entry.value));
	*(there ? there : &draft->list.entries[draft->list.entry_count++]) = entry;
	return OK;
}

static result lift_value(struct draft *draft, const char *word)
{
	size_t kept = 0, before = draft->list.entry_count;
	uint8_t value[64];
	size_t len = strlen(word) / 2;
	if (len > sizeof(value) || hex_decode(span_str(word), value, len) != OK)
		return fail(USAGE, "--lift takes the hex digits of an entry, not '%s'", word);
	for (size_t i = 0; i < before; i++)
		if (!span_equal(draft->list.entries[i].value, span_of(value, len)))
			draft->list.entries[kept++] = draft->list.entries[i];
	draft->list.entry_count = kept;
	return kept < before ? OK : fail(NOT_FOUND, "no entry revokes '%s'", word);
}

static result fill(struct draft *draft, const struct new_arguments *arguments)
{
	uint64_t from = 0;
	size_t more = 0;
	for (int class = REVOKE_MEASUREMENT; class < REVOKE_CLASSES; class++)
		more += arguments->values[class].count;
	if (arguments->why && strlen(arguments->why) > REVOCATION_WHY_MAX)
		return fail(USAGE, "--why takes at most %d bytes", REVOCATION_WHY_MAX);
	if (arguments->from && clock_parse(arguments->from, &from) != OK)
		return fail(USAGE, "--from takes a time like 2027-11-21T15:47:31Z");
	draft->list.version = 1;
	TRY(arguments->base ? read_base(draft, arguments->base, more) : make_room(draft, more));
	draft->list.not_after = clock_wall_ms() + arguments->days * DAY_MS;
	for (size_t i = 0; i < arguments->lifted.count; i++)
		TRY(lift_value(draft, arguments->lifted.items[i]));
	for (int class = REVOKE_MEASUREMENT; class < REVOKE_CLASSES; class++)
		for (size_t i = 0; i < arguments->values[class].count; i++)
			TRY(add_value(draft, (enum revocation_class)class, arguments->values[class].items[i], arguments->why, from));
	return OK;
}

static result make_new(const struct new_arguments *arguments, bool json)
{
	CLEANUP(draft_free) struct draft draft = {.arena = arena_of(MEMORY)};
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (arguments->days < 1 || arguments->days > MOST_DAYS)
		return fail(USAGE, "--valid takes 1 to %d days", MOST_DAYS);
	TRY(fill(&draft, arguments));
	TRY(revocation_text_write(&draft.list, &text));
	if (!arguments->output) {
		TRY(write_all(STDOUT_FILENO, bytes_span(&text)));
		return write_all(STDOUT_FILENO, span_str("\n"));
	}
	TRY(file_write_atomic(arguments->output, bytes_span(&text), 0644));
	if (json)
		return print_json_of(json_pack("{s:s, s:I, s:I}", "source", arguments->output, "version", (json_int_t)draft.list.version,
			"entries", (json_int_t)draft.list.entry_count));
	printf("%s written: version %llu, %zu entries; check it, then sign it with `troth revoke sign`\n", arguments->output,
		(unsigned long long)draft.list.version, draft.list.entry_count);
	return OK;
}

int verb_revoke_new(int argc, char **argv)
{
	struct new_arguments arguments = {.days = DAYS};
	const struct option_row rows[] = {
		{"base", OPTION_TEXT, &arguments.base, "FILE", "the list before, signed or as source: its entries stay, its version rises"},
		{"measurement", OPTION_LIST, &arguments.values[REVOKE_MEASUREMENT], "HEX", "of an enclave, or its core (repeat)"},
		{"key", OPTION_LIST, &arguments.values[REVOKE_KEY], "HEX|FILE", "of an enclave or an external peer: key id, or the public key (repeat)"},
		{"certificate", OPTION_LIST, &arguments.values[REVOKE_CERTIFICATE], "HEX", "SHA-256 of its DER (repeat)"},
		{"host", OPTION_LIST, &arguments.values[REVOKE_HOST], "HEX", "fingerprint of its root of trust (repeat)"},
		{"epoch", OPTION_LIST, &arguments.values[REVOKE_EPOCH], "HEX", "oid of the epoch record (repeat)"},
		{"policy", OPTION_LIST, &arguments.values[REVOKE_POLICY], "HEX", "digest of the compiled policy (repeat)"},
		{"why", OPTION_TEXT, &arguments.why, "TEXT", "for people; stands in logs"},
		{"from", OPTION_TEXT, &arguments.from, "TIME", "since when; what was signed before stays good (always was revoked)"},
		{"lift", OPTION_LIST, &arguments.lifted, "HEX", "take the entry of this value out of the base (repeat)"},
		{"valid", OPTION_NUMBER, &arguments.days, "DAYS", "how long hosts may take the list (397)"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the source goes (stdout)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "revoke new",
		.usage = "[--base FILE] [--measurement HEX]... [--key HEX|FILE]... [--output FILE]",
		.description = "Writes the source of a revocation list, or of the next version of one. A list is always the whole list: what a new\n"
			       "version does not name is not revoked by it any more.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make_new(&arguments, options.json);
	return verb_end(done, argc, argv);
}

/* ---- sign ------------------------------------------------------------------------------------------------------ */

struct sign_arguments {
	const char *source, *key, *key_id, *output;
	struct token_options token;
};

static result open_signer(const struct sign_arguments *arguments, struct arena *arena, struct key *out)
{
	struct token_source token;
	char folder[PATH_SIZE];
	struct signer_source signer = {.program_dir = folder};
	TRY(program_folder(folder, sizeof(folder)));
	if (token_options_given(&arguments->token) || arguments->key_id) {
		TRY(token_options_source(&arguments->token, arena, &token));
		signer.token = &token;
		signer.key_label = arguments->key;
		signer.key_id = arguments->key_id;
	} else {
		signer.pem_file = arguments->key;
	}
	return signer_open(&signer, out);
}

static result sign(const struct sign_arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(MEMORY);
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY, object = BYTES_EMPTY;
	CLEANUP(key_free) struct key operator = KEY_EMPTY;
	CLEANUP(revocation_view_free) struct revocation_view view = REVOCATION_VIEW_EMPTY;
	struct revocation_list list;
	if (!(arguments->key || arguments->key_id) || !arguments->output)
		return fail(USAGE, "--key and --output are needed");
	TRY(file_read(arguments->source, REVOCATION_TEXT_MAX, &file));
	TRY(revocation_text_parse(arguments->source, bytes_span(&file), &arena, &list));
	list.time = clock_wall_ms();
	if (list.not_after <= list.time)
		return fail(REVOCATION_EXPIRED, "'not_after' of '%s' is past", arguments->source);
	TRY(open_signer(arguments, &arena, &operator));
	TRY(revocation_list_sign(&list, &operator, &object, NULL));
	TRY(revocation_open(bytes_span(&object), &operator, &view));
	TRY(file_write_atomic(arguments->output, bytes_span(&object), 0644));
	TRY(print_view(&view, json));
	if (!json)
		printf("%s written\n", arguments->output);
	return OK;
}

int verb_revoke_sign(int argc, char **argv)
{
	struct sign_arguments arguments = {NULL};
	const struct option_row rows[] = {
		{"key", OPTION_TEXT, &arguments.key, "FILE", "the operator's private key (PEM, P-256), or its label in a token"},
		{"key-id", OPTION_TEXT, &arguments.key_id, "HEX", "the id of the key in a token, with or without its label"},
		TOKEN_ROWS(&arguments.token),
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the signed list goes"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "revoke sign",
		.usage = "SOURCE --key FILE --output FILE",
		.description = "Signs a revocation list. Every host that pinned this key obeys it: sign each version once, and never two lists of one\n"
			       "version.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		arguments.source = options.operands.items[0];
		done = sign(&arguments, options.json);
	}
	return verb_end(done, argc, argv);
}

/* ---- load ------------------------------------------------------------------------------------------------------ */

static result print_outcome(const struct revocation_outcome *outcome, bool dry_run, bool json)
{
	if (json) {
		json_t *object = schema_json(&revocation_outcome_schema, outcome);
		if (object)
			json_object_set_new(object, "dry_run", json_boolean(dry_run));
		return print_json_of(object);
	}
	printf("Operator '%s': version %llu with %llu entries", outcome->label, (unsigned long long)outcome->version,
		(unsigned long long)outcome->entries);
	if (outcome->before && outcome->changed)
		printf(" after version %llu with %llu", (unsigned long long)outcome->before, (unsigned long long)outcome->entries_before);
	printf(outcome->changed ? dry_run ? " would be taken.\n" : " is in force.\n" : " was in force already; nothing changed.\n");
	for (size_t i = 0; i < outcome->hit_count; i++) {
		printf("  %s enclave '%s' of run ", dry_run ? "would end" : "ends", outcome->hits[i].enclave);
		verb_print_hex(span_of(outcome->hits[i].run_id, 4));
		printf(".. and its channels: %s\n", outcome->hits[i].text);
	}
	if (outcome->hit_total > outcome->hit_count)
		printf("  and %llu more\n", (unsigned long long)(outcome->hit_total - outcome->hit_count));
	if (outcome->hit_total == 0)
		printf("  No enclave of this host is revoked by it. Channels to peers elsewhere that it names %s closed by the enclaves.\n",
			dry_run ? "would be" : "are");
	return OK;
}

static result load(const struct host_options *host, const char *path, bool dry_run, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(fd_close) struct fd file = FD_NONE;
	struct service_revoke ask = {dry_run};
	struct revocation_outcome outcome;
	TRY(file_open(path, O_RDONLY, 0, &file));
	const struct client_call call = {
		.type = SERVICE_REVOKE, .body = &ask, .fds = &file.n, .fd_count = 1, .expected = SERVICE_REVOKED, .timeout_ms = 120 * 1000};
	TRY(verb_connect(host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &outcome, NULL));
	return print_outcome(&outcome, dry_run, json);
}

int verb_revoke_load(int argc, char **argv)
{
	struct host_options host = {0};
	bool dry_run = false;
	const struct option_row rows[] = {
		{"dry-run", OPTION_FLAG, &dry_run, NULL, "show what would be closed, and change nothing"},
		HOST_ROWS(&host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "revoke load",
		.usage = "FILE [--dry-run] [--state DIR]",
		.description = "Gives a signed revocation list to this host, which must have pinned its operator's key. Within a second nothing that it\n"
			       "revokes is launched or given secrets any more, and channels of what it revokes are closed.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = load(&host, options.operands.items[0], dry_run, options.json);
	return verb_end(done, argc, argv);
}

/* ---- list ------------------------------------------------------------------------------------------------------ */

static void print_listed(const struct revocation_listed *row)
{
	char to[CLOCK_TEXT_SIZE];
	clock_format(row->not_after, to);
	printf("  %s  key ", row->label[0] ? row->label : "(no label)");
	verb_print_hex(SPAN_ARRAY(row->operator_id));
	if (row->version == 0) {
		printf("\n    no list yet\n");
		return;
	}
	printf("\n    version %llu, %llu entries%s%.10s\n", (unsigned long long)row->version, (unsigned long long)row->entries,
		row->not_after < clock_wall_ms() ? "; ENDED, ask for a newer one (it stays in force): " : ", to be taken until ", to);
}

/* What `troth revoke new` would be given to end it. */
static void print_live(const struct revocation_live *live)
{
	const struct {
		const char *name;
		struct span value;
	} values[] = {
		{"measurement", SPAN_ARRAY(live->measurement)},
		{"core", SPAN_ARRAY(live->core)},
		{"key", SPAN_ARRAY(live->key)},
		{"certificate", SPAN_ARRAY(live->certificate)},
		{"policy", SPAN_ARRAY(live->policy)},
		{"epoch", SPAN_ARRAY(live->epoch)},
	};
	printf("  live: enclave '%s' of run ", live->enclave);
	verb_print_hex(span_of(live->run_id, 4));
	printf("..\n");
	for (size_t i = 0; i < COUNT_OF(values); i++) {
		printf("    %-11s ", values[i].name);
		verb_print_hex(values[i].value);
		printf("\n");
	}
}

static result list(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct revocation_status status;
	char at[CLOCK_TEXT_SIZE];
	const struct client_call call = {.type = SERVICE_REVOCATIONS, .expected = SERVICE_REVOCATIONS_ARE, .timeout_ms = 60 * 1000};
	TRY(verb_connect(host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &status, NULL));
	if (json)
		return print_json_of(schema_json(&revocation_status_schema, &status));
	if (status.list_count == 0) {
		printf("This host obeys no operator: nothing is revoked here, and channels have no lease.\n");
		for (size_t i = 0; i < status.live_count; i++)
			print_live(&status.live[i]);
		return OK;
	}
	clock_format(status.head_time, at);
	printf("This host obeys %zu operator(s). Channels live %u ms without a fresh head; the last one is number %llu of %s.\n",
		status.list_count, status.lease_ms, (unsigned long long)status.head_seq, at);
	if (status.last_failure[0])
		printf("NO HEAD COULD BE SIGNED: %s\n", status.last_failure);
	for (size_t i = 0; i < status.list_count; i++)
		print_listed(&status.lists[i]);
	for (size_t i = 0; i < status.live_count; i++)
		print_live(&status.live[i]);
	if (status.conflicts)
		printf("%llu list(s) in the folder `revocations` prove that an operator's key signed two lists of one version: ask the operator.\n",
			(unsigned long long)status.conflicts);
	return OK;
}

int verb_revoke_list(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "revoke list",
		.usage = "[--state DIR]",
		.description = "Shows which operators' lists this host obeys, which versions are in force, and the last head of the secure processor.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = list(&host, options.json);
	return verb_end(done, argc, argv);
}
