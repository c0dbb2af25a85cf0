#include "cmd/ledger_making.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/verb.h"
#include "job/state.h"
#include "wire/text.h"

enum { PEM_MAX = 64 * 1024 };

/* ---- Who ------------------------------------------------------------------------------------------ */

result names_path(const char *state, char out[static PATH_SIZE])
{
	char folder[PATH_SIZE];
	TRY(state_path(state, folder));
	return path_join(out, folder, "names");
}

result names_of_state(const char *state, struct arena *arena, struct names *out)
{
	char path[PATH_SIZE];
	TRY(names_path(state, path));
	return names_load(path, arena, out);
}

static result point_of_file(const char *path, uint8_t out[static POINT_SIZE])
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY; /* it may be a private key */
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, PEM_MAX, &pem));
	if (key_from_pem(secret_span(&pem), &key) != OK)
		TRY(key_from_private_pem(secret_span(&pem), &key));
	memcpy(out, key.point, POINT_SIZE);
	return OK;
}

result point_read(const char *option, const char *word, uint8_t out[static POINT_SIZE])
{
	uint8_t id[KEY_ID_SIZE];
	if (strlen(word) == 2 * POINT_SIZE && hex_decode(span_str(word), out, POINT_SIZE) == OK)
		return point_key_id(span_of(out, POINT_SIZE), id);
	result read = point_of_file(word, out);
	return read == OK ? OK : fail_within(read, "%s '%s' is no P-256 key in a PEM file", option, word);
}

result person_read(const struct names *names, const char *option, const char *word, uint8_t out[static ADDRESS_SIZE])
{
	uint8_t point[POINT_SIZE];
	result found = names_resolve(names, span_str(word), out);
	if (found == NOT_FOUND && access(word, R_OK) == 0) {
		TRY(point_read(option, word, point));
		address_of(point, out);
		return OK;
	}
	return found == OK ? OK : fail_within(found, "%s", option);
}

result digest_read(const char *what, const char *word, uint8_t *out, size_t size)
{
	if (strlen(word) != 2 * size || hex_decode(span_str(word), out, size) != OK)
		return fail(BAD_VALUE, "%s takes %zu hex digits, not '%s'", what, 2 * size, word);
	return OK;
}

/* ---- Files ------------------------------------------------------------------------------------------ */

result grant_read(const char *path, struct arena *arena, struct bytes *out_file, struct grant_chain *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	TRY(file_read(path, GRANT_FILE_MAX, &file));
	result opened = grant_file_open(bytes_span(&file), arena, out);
	if (opened != OK)
		return fail_within(opened, "'%s'", path);
	*out_file = bytes_move(&file);
	return OK;
}

result output_write(const char *path, struct span content, mode_t mode)
{
	if (access(path, F_OK) == 0)
		return fail(ALREADY_EXISTS, "'%s' is there already; nothing is written over", path);
	return file_write_atomic(path, content, mode);
}

/* ---- Sending ----------------------------------------------------------------------------------------- */

result chain_read(const struct chain_options *options, uint8_t out[static CHAIN_ID_SIZE])
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	if (options->chain)
		return digest_read("--chain", options->chain, out, CHAIN_ID_SIZE);
	TRY(verb_ledger_open(&options->ledger, &client));
	memcpy(out, ledger_client_chain(client), CHAIN_ID_SIZE);
	return OK;
}

json_t *receipt_json(const struct ledger_receipt *receipt)
{
	json_t *json = json_pack("{s:o, s:i, s:s, s:b}", "txid", json_hex(SPAN_ARRAY(receipt->txid)), "code", (int)receipt->code, "reason",
		reason_name(receipt->code), "on_ledger", receipt->on_ledger);
	if (json && receipt->on_ledger) {
		json_object_set_new(json, "index", json_integer((json_int_t)receipt->index));
		json_object_set_new(json, "size", json_integer((json_int_t)receipt->size));
		json_object_set_new(json, "time", json_time(receipt->time));
	}
	if (json && receipt->text[0])
		json_object_set_new(json, "text", json_string(receipt->text));
	return json;
}

static void print_receipt(const struct ledger_receipt *receipt, const char *done, bool check)
{
	char time[CLOCK_TEXT_SIZE];
	clock_format(receipt->time, time);
	if (receipt->code != OK)
		return;
	if (check) {
		printf("%s: the ledger would accept it now\n", done);
		return;
	}
	printf("%s: leaf %" PRIu64 " at %.19sZ, in every checkpoint from size %" PRIu64 " on\ntransaction ", done, receipt->index, time, receipt->size);
	verb_print_hex(SPAN_ARRAY(receipt->txid));
	printf("\n");
}

/* The ledger's refusal as this program's own. */
static result verdict(const struct ledger_receipt *receipt, bool check)
{
	char text[sizeof(receipt->text)], place[48] = "";
	if (receipt->code == OK)
		return OK;
	snprintf(text, sizeof(text), "%s", receipt->text[0] ? receipt->text : "the ledger refused it");
	if (receipt->on_ledger && !check)
		snprintf(place, sizeof(place), " (refused in leaf %" PRIu64 ")", receipt->index);
	return fail(receipt->code, "%s%s", text, place);
}

static result finish(const struct ledger_receipt *receipt, const char *done, json_t *about, bool check, bool json)
{
	if (!json) {
		print_receipt(receipt, done, check);
		return verdict(receipt, check);
	}
	json_t *all = about ? json_incref(about) : json_object(), *said = receipt_json(receipt);
	if (said)
		json_object_update(all, said);
	json_decref(said);
	TRY(print_json_of(all));
	return verdict(receipt, check);
}

static result send_with(struct ledger_client *client, struct span tx, bool check, const char *done, json_t *about, bool json)
{
	struct ledger_receipt receipt;
	TRY(check ? ledger_client_check(client, tx, &receipt) : ledger_client_submit(client, tx, &receipt));
	return finish(&receipt, done, about, check, json);
}

result ledger_send_bytes(const struct chain_options *where, struct span tx, bool check, const char *done, json_t *about, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	result sent = verb_ledger_open(&where->ledger, &client);
	if (sent == OK)
		sent = send_with(client, tx, check, done, about, json);
	json_decref(about);
	return sent;
}

static result write_tx(const struct ledger_send *send, struct span tx, const uint8_t txid[static OID_SIZE], bool json)
{
	TRY(output_write(send->how->tx, tx, 0644));
	if (!json) {
		printf("%s written; it is good for %d minutes: troth ledger submit %s\ntransaction ", send->how->tx, TX_LIFETIME_MS / 60000, send->how->tx);
		verb_print_hex(span_of(txid, OID_SIZE));
		printf("\n");
		return OK;
	}
	json_t *all = send->about ? json_incref(send->about) : json_object();
	json_object_set_new(all, "tx", json_string(send->how->tx));
	json_object_set_new(all, "txid", json_hex(span_of(txid, OID_SIZE)));
	return print_json_of(all);
}

static result make_and_send(const struct ledger_send *send, bool json)
{
	CLEANUP(ledger_client_cleanup) struct ledger_client *client = NULL;
	CLEANUP(bytes_free) struct bytes tx = BYTES_EMPTY;
	uint8_t chain[CHAIN_ID_SIZE], txid[OID_SIZE];
	struct transaction_frame frame = {.chain = chain, .sender = send->sender, .now_ms = clock_wall_ms()};
	if (send->how->tx && send->how->check)
		return fail(USAGE, "--tx writes the transaction, --check asks about it: one of them");
	if (send->how->tx) {
		TRY(chain_read(send->where, chain));
	} else {
		TRY(verb_ledger_open(&send->where->ledger, &client));
		memcpy(chain, ledger_client_chain(client), CHAIN_ID_SIZE);
	}
	TRY(make_transaction(&frame, send->type, send->body, &tx, txid));
	if (send->how->tx)
		return write_tx(send, bytes_span(&tx), txid, json);
	return send_with(client, bytes_span(&tx), send->how->check, send->done, send->about, json);
}

result ledger_send(const struct ledger_send *send, bool json)
{
	result sent = make_and_send(send, json);
	json_decref(send->about);
	return sent;
}

/* ---- Showing ------------------------------------------------------------------------------------------- */

result print_json_of(json_t *json)
{
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

json_t *json_address(const uint8_t address[static ADDRESS_SIZE])
{
	char text[ADDRESS_TEXT_SIZE];
	address_format(address, text);
	return json_string(text);
}

static void set_name(json_t *json, const char *field, const struct names *names, const uint8_t address[static ADDRESS_SIZE])
{
	const char *name = names_of(names, address);
	if (name)
		json_object_set_new(json, field, json_string(name));
}

json_t *grant_json(const struct names *names, const struct grant_link *link)
{
	const struct grant *grant = &link->grant;
	json_t *json = json_pack("{s:o, s:o, s:o, s:s, s:o}", "oid", json_hex(SPAN_ARRAY(link->oid)), "issuer", json_address(link->issuer), "audience",
		json_address(grant->audience), "scope", grant->scope, "operations", operations_json(grant->operations));
	json_t *measurements = grant->has_measurements ? json_array() : json_null();
	if (!json)
		return NULL;
	for (size_t i = 0; grant->has_measurements && i < grant->measurements.count; i++)
		json_array_append_new(measurements, json_hex(SPAN_ARRAY(grant->measurements.items[i].bytes)));
	json_object_set_new(json, "measurements", measurements);
	json_object_set_new(json, "not_before", json_time(grant->not_before));
	json_object_set_new(json, "not_after", json_time(grant->not_after));
	json_object_set_new(json, "max_uses", grant->has_max_uses ? json_integer((json_int_t)grant->max_uses) : json_null());
	json_object_set_new(json, "max_depth", json_integer(grant->max_depth));
	json_object_set_new(json, "parent", grant->has_parent ? json_hex(SPAN_ARRAY(grant->parent)) : json_null());
	json_object_set_new(json, "chain", json_hex(SPAN_ARRAY(grant->chain)));
	set_name(json, "issuer_name", names, link->issuer);
	set_name(json, "audience_name", names, grant->audience);
	return json;
}

void grant_print(const struct names *names, const struct grant_link *link, const char *indent)
{
	const struct grant *grant = &link->grant;
	char issuer[PERSON_TEXT_SIZE], audience[PERSON_TEXT_SIZE], operations[OPERATIONS_TEXT_SIZE], from[CLOCK_TEXT_SIZE], to[CLOCK_TEXT_SIZE];
	names_person(names, link->issuer, issuer);
	names_person(names, grant->audience, audience);
	operations_text(grant->operations, operations);
	clock_format(grant->not_before, from);
	clock_format(grant->not_after, to);
	printf("%sgrant ", indent);
	verb_print_hex(SPAN_ARRAY(link->oid));
	printf("\n%s  from   %s\n%s  to     %s\n%s  may    %s\n%s  on     %s\n%s  time   %.19sZ to %.19sZ\n", indent, issuer, indent, audience, indent,
		operations, indent, grant->scope, indent, from, to);
	printf("%s  uses   ", indent);
	if (grant->has_max_uses)
		printf("%" PRIu64 " at most\n", grant->max_uses);
	else
		printf("any number\n");
	printf("%s  depth  %s", indent, grant->max_depth ? "" : "may not be delegated\n");
	if (grant->max_depth)
		printf("may be delegated %u deep\n", grant->max_depth);
	for (size_t i = 0; i < grant->measurements.count; i++) {
		printf("%s  code   ", indent);
		verb_print_hex(SPAN_ARRAY(grant->measurements.items[i].bytes));
		printf("\n");
	}
}
