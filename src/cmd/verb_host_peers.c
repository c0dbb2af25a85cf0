/* troth host enrol, peers, remove-peer: the other hosts that this one deals with. */
#include "cmd/verb.h"

#include <ctype.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/enrolment_files.h"
#include "cmd/recovery_files.h"
#include "net/tcp.h"
#include "object/epoch_chain.h"
#include "wire/json.h"
#include "wire/text.h"

enum { CALL_MS = 60 * 1000, HISTORY_MAX = SERVICE_MESSAGE_MAX / 2, ANSWER_SIZE = 256 };

struct arguments {
	struct host_options host;
	const char *inception, *fingerprint, *candidate;
	struct words addresses, signatures, keys;
};

static void chain_cleanup(struct epoch_chain **chain)
{
	epoch_chain_free(*chain);
}

/* Letters and digits alone, small: however it was read out or pasted. */
static void normalise(const char *text, char out[static ANSWER_SIZE])
{
	size_t len = 0;
	for (; *text && len < ANSWER_SIZE - 1; text++)
		if (isalnum((unsigned char)*text))
			out[len++] = (char)tolower((unsigned char)*text);
	out[len] = '\0';
}

/* The whole fingerprint, or the 64 hex digits of the root's id. */
static bool same_fingerprint(const uint8_t rot_id[static OID_SIZE], const char *told)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE], digits[2 * OID_SIZE + 1], own[ANSWER_SIZE], other[ANSWER_SIZE];
	rot_fingerprint(rot_id, fingerprint);
	hex_encode(span_of(rot_id, OID_SIZE), digits);
	normalise(fingerprint, own);
	normalise(told, other);
	return strcmp(own, other) == 0 || strcmp(digits, other) == 0;
}

/* What a person compares: over the telephone, on paper, not over the way that the record came. */
static result compare(const uint8_t rot_id[static OID_SIZE], const char *name, const char *told)
{
	char answer[ANSWER_SIZE], shown[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(rot_id, shown);
	if (told && !same_fingerprint(rot_id, told))
		return fail(FINGERPRINT_MISMATCH, "the record has %s", shown);
	if (told)
		return OK;
	if (!isatty(STDIN_FILENO))
		return fail(USAGE, "give the fingerprint that the operator of '%s' told you: --fingerprint", name);
	fprintf(stderr,
		"The inception record has the fingerprint\n\n    %s\n\nHave the operator of '%s' read theirs out over another way (`troth root status` there) and "
		"type what you hear\n(or nothing, to stop): ",
		shown, name);
	if (!fgets(answer, sizeof(answer), stdin) || !same_fingerprint(rot_id, answer))
		return fail(FINGERPRINT_MISMATCH, "what was typed is not the fingerprint of this record");
	return OK;
}

static const char *state_name(uint8_t state)
{
	return state == CHAIN_LIVE ? "live" : state == CHAIN_HALTED ? "HALTED" : "FORKED";
}

static void print_peer(const struct peer *peer)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE], time[CLOCK_TEXT_SIZE];
	rot_fingerprint(peer->rot_id, fingerprint);
	clock_format(peer->enrolled, time);
	printf("%s\n  %-12s %s\n  %-12s era %u, epoch %llu, %s\n  %-12s %.19s\n", peer->name, "fingerprint", fingerprint, "head", peer->era,
		(unsigned long long)peer->epoch, state_name(peer->state), "enrolled", time);
	for (size_t i = 0; i < peer->address_count; i++)
		printf("  %-12s %s\n", i == 0 ? "address" : "", peer->addresses[i].text);
}

static result print(const struct schema *schema, const void *object, bool json, void (*people)(const void *object))
{
	if (!json) {
		people(object);
		return OK;
	}
	json_t *value = schema_json(schema, object);
	if (!value)
		return fail(NO_MEMORY, "json");
	result printed = json_print(stdout, value);
	json_decref(value);
	return printed;
}

static void print_enrolled(const void *object)
{
	printf("Enrolled ");
	print_peer(object);
}

static result read_addresses(const struct words *words, struct arena *arena, struct service_enrol *out)
{
	void *list;
	if (words->count > PEER_ADDRESSES_MAX)
		return fail(USAGE, "at most %d addresses", PEER_ADDRESSES_MAX);
	TRY(arena_alloc(arena, words->count + 1, sizeof(struct text_item), &list));
	out->addresses = list;
	out->address_count = words->count;
	for (size_t i = 0; i < words->count; i++) {
		TRY(tcp_address_check(words->items[i]));
		out->addresses[i].text = words->items[i];
	}
	return OK;
}

static result ask_officers(struct client *client, struct arena *arena, struct service_officers *out)
{
	const struct service_officers ask = {.has_officers = false};
	const struct client_call call = {
		.type = SERVICE_OFFICERS, .body = &ask, .expected = SERVICE_OFFICERS_ARE, .timeout_ms = CALL_MS};
	return client_call(client, &call, arena, out, NULL);
}

static result enrol(const struct arguments *arguments, const char *name, bool json, struct arena *arena, struct service_error *error)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes approval = BYTES_EMPTY;
	CLEANUP(chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_enrol body = {.name = name};
	struct service_officers officers;
	struct peer peer;
	if (!arguments->inception)
		return fail(USAGE, "name the other host's inception record: --inception FILE (`troth root export` writes it there)");
	TRY(file_read(arguments->inception, HISTORY_MAX, &file));
	result read = epoch_chain_of_history(bytes_span(&file), &chain);
	if (read != OK)
		return fail_within(read, "'%s' is no inception record or history", arguments->inception);
	TRY(read_addresses(&arguments->addresses, arena, &body));
	TRY(compare(epoch_chain_rot_id(chain), name, arguments->fingerprint));
	body.history = bytes_span(&file);
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(ask_officers(&client, arena, &officers));
	if (officers.has_officers && arguments->signatures.count == 0)
		return enrolment_candidate(&officers, &body, epoch_chain_rot_id(chain), arguments->candidate);
	if (arguments->signatures.count) {
		TRY(enrolment_approval(&officers, arguments->candidate, &arguments->signatures, &arguments->keys, arena, &approval));
		body.approval = bytes_span(&approval);
	}
	const struct client_call call = {.type = SERVICE_ENROL, .body = &body, .expected = SERVICE_ENROLLED, .timeout_ms = CALL_MS};
	TRY(client_call(&client, &call, arena, &peer, error));
	return print(&peer_schema, &peer, json, print_enrolled);
}

int verb_host_enrol(int argc, char **argv)
{
	struct arguments arguments = {0};
	struct service_error error = {.stage = ""};
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	const struct option_row rows[] = {
		{"inception", OPTION_TEXT, &arguments.inception, "FILE", "the other host's inception record, or its history"},
		{"address", OPTION_LIST, &arguments.addresses, "HOST:PORT", "where it listens; several are tried in their order"},
		{"fingerprint", OPTION_TEXT, &arguments.fingerprint, "TEXT", "what its operator told you over another way; asked for on a terminal"},
		{"candidate", OPTION_TEXT, &arguments.candidate, "FILE", "with officers: what they sign (written; read with --signature)"},
		{"signature", OPTION_LIST, &arguments.signatures, "FILE", "an officer's signature over the candidate"},
		{"key", OPTION_LIST, &arguments.keys, "FILE", "an officer's public key (PEM)"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host enrol",
		.usage = "NAME --inception FILE --address HOST:PORT [--fingerprint TEXT]",
		.description =
			"Enrols another host: from then on this one runs jobs together with it, under the root of trust of that record. Compare\n"
			"the fingerprint with the one that its operator reads out to you over another way than the record came. Where officers\n"
			"are set (troth host officers), the first call writes what they sign, the second brings their signatures.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = enrol(&arguments, options.operands.items[0], options.json, &arena, &error);
	return verb_end_with(done, &error, argc, argv);
}

/* ---- peers, remove-peer ----------------------------------------------------------------------------- */

static void print_link(const struct standing_row *link)
{
	char since[CLOCK_TEXT_SIZE];
	clock_format(link->since, since);
	printf("  %-12s %s", "link", standing_state_name(link->state));
	if (link->state == STANDING_UP)
		printf(" since %.19s, %s", since, link->called ? "made there" : "made here");
	else if (link->state == STANDING_WAITING)
		printf(", called again in %llu s", (unsigned long long)(link->next_ms / 1000 + 1));
	else if (link->state == STANDING_AWAITED)
		printf(": no address is known here, it has to call");
	if (link->state != STANDING_UP && link->why[0])
		printf("; last: %s", link->why);
	printf("\n");
	for (size_t i = 0; i < link->operator_count; i++) {
		const struct standing_operator *row = &link->operators[i];
		char digits[2 * KEY_ID_SIZE + 1];
		hex_encode(SPAN_ARRAY(row->operator_id), digits);
		printf("  %-12s operator %.16s: version %llu there, %llu here\n", i == 0 ? "obeys" : "", digits, (unsigned long long)row->there,
			(unsigned long long)row->here);
	}
}

static void print_peers(const void *object)
{
	const struct service_peers *peers = object;
	printf("%s%s\n", peers->listen[0] ? "Reached by other hosts at " : "Not reached by other hosts (trothd host --listen).", peers->listen);
	if (peers->peer_count == 0)
		printf("No host is enrolled here (troth host enrol).\n");
	for (size_t i = 0; i < peers->peer_count; i++) {
		print_peer(&peers->peers[i]);
		for (size_t l = 0; l < peers->link_count; l++)
			if (strcmp(peers->links[l].name, peers->peers[i].name) == 0)
				print_link(&peers->links[l]);
	}
}

static result show_peers(const struct host_options *host, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(8 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_peers peers;
	const struct client_call call = {.type = SERVICE_PEERS, .expected = SERVICE_PEERS_ARE, .timeout_ms = CALL_MS};
	TRY(verb_connect(host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &peers, NULL));
	return print(&service_peers_schema, &peers, json, print_peers);
}

int verb_host_peers(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host peers",
		.usage = "[--state DIR]",
		.description = "Lists the hosts that are enrolled here, where they are reached, how far their roots of trust are known, whether the\n"
			       "standing link with them is up, and which revocation lists they obey.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show_peers(&host, options.json);
	return verb_end(done, argc, argv);
}

static result remove_peer(const struct host_options *host, const char *name)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	const struct service_name body = {name};
	const struct client_call call = {.type = SERVICE_REMOVE_PEER, .body = &body, .expected = SERVICE_DONE, .timeout_ms = CALL_MS};
	TRY(verb_connect(host, false, NULL, &client));
	return client_call(&client, &call, &arena, NULL, NULL);
}

int verb_host_remove_peer(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host remove-peer",
		.usage = "NAME [--state DIR]",
		.description = "Takes an enrolled host out: no job runs together with it any more. Runs under way go on. What was known of its root\n"
			       "is forgotten, forks and halts too; enrol it again only from a history that you have compared.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = remove_peer(&host, options.operands.items[0]);
	return verb_end(done, argc, argv);
}

/* ---- officers --------------------------------------------------------------------------------------- */

static void print_officers(const void *object)
{
	const struct service_officers *set = object;
	if (!set->has_officers)
		printf("No officers: whoever may use this host enrols others (troth host officers K FILE...).\n");
	else
		printf("Other hosts are enrolled with the signatures of any %u of %u officers:\n", set->officers.k, set->officers.n);
	for (size_t i = 0; set->has_officers && i < set->officers.key_count; i++) {
		char digits[2 * KEY_ID_SIZE + 1];
		hex_encode(SPAN_ARRAY(set->officers.keys[i].bytes), digits);
		printf("  %s\n", digits);
	}
}

static result officers(const struct host_options *host, const struct words *operands, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_officers ask = {.has_officers = operands->count > 0}, answer;
	if (ask.has_officers)
		TRY(recovery_read_set(operands, &arena, &ask.officers));
	const struct client_call call = {
		.type = SERVICE_OFFICERS, .body = &ask, .expected = SERVICE_OFFICERS_ARE, .timeout_ms = CALL_MS};
	TRY(verb_connect(host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &answer, NULL));
	return print(&service_officers_schema, &answer, json, print_officers);
}

int verb_host_officers(int argc, char **argv)
{
	struct host_options host = {0};
	const struct option_row rows[] = {HOST_ROWS(&host)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host officers",
		.usage = "[K FILE...] [--state DIR]",
		.description = "Shows who must sign before another host is enrolled; with operands, pins it, once and for all: any K of the officers\n"
			       "whose public keys (PEM) the files hold. They sign offline, with `troth host approve` or with openssl.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = OFFICERS_MAX + 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = officers(&host, &options.operands, options.json);
	return verb_end(done, argc, argv);
}

int verb_host_approve(int argc, char **argv)
{
	const char *key = NULL, *output = NULL;
	const struct option_row rows[] = {
		{"key", OPTION_TEXT, &key, "FILE", "the officer's private key (PEM)"},
		{"output", OPTION_TEXT, &output, "FILE", "the signature"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host approve",
		.usage = "CANDIDATE --key FILE --output FILE",
		.description = "An officer of a host signs what `troth host enrol --candidate` has written there: that this other host may be\n"
			       "enrolled. Shows what is signed. Talks to no host.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = enrolment_sign(options.operands.items[0], key, output);
	return verb_end(done, argc, argv);
}
