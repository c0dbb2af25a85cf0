/* troth key new|show: the keys that people and services sign with, and the addresses that they are known by. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>
#include <unistd.h>

#include "wire/text.h"

static result print_key(const struct key *key, const char *file, const char *public_file, bool json)
{
	uint8_t address[ADDRESS_SIZE];
	char text[ADDRESS_TEXT_SIZE], id[2 * KEY_ID_SIZE + 1], point[2 * POINT_SIZE + 1];
	address_of(key->point, address);
	address_format(address, text);
	hex_encode(SPAN_ARRAY(key->id), id);
	hex_encode(SPAN_ARRAY(key->point), point);
	if (!json) {
		if (file)
			printf("%s written (keep it to yourself)%s%s\n", file, public_file ? "; to hand out: " : "", public_file ? public_file : "");
		printf("address  %s\nkey id   %s\n", text, id);
		return OK;
	}
	json_t *out = json_pack("{s:s, s:s, s:s}", "address", text, "id", id, "point", point);
	if (out && file)
		json_object_set_new(out, "private", json_string(file));
	if (out && public_file)
		json_object_set_new(out, "public", json_string(public_file));
	return print_json_of(out);
}

/* ---- new ---------------------------------------------------------------------------------------- */

static result make_new(const char *path, const char *public_path, bool json)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes public_pem = BYTES_EMPTY;
	if (access(path, F_OK) == 0)
		return fail(ALREADY_EXISTS, "'%s' is there already; a key is never written over", path);
	TRY(key_generate(&key));
	TRY(key_to_private_pem(&key, &pem));
	TRY(key_to_pem(&key, &public_pem));
	if (public_path)
		TRY(output_write(public_path, bytes_span(&public_pem), 0644));
	TRY(file_write_atomic(path, secret_span(&pem), 0600));
	return print_key(&key, path, public_path, json);
}

int verb_key_new(int argc, char **argv)
{
	const char *public_path = NULL;
	const struct option_row rows[] = {{"public", OPTION_TEXT, &public_path, "FILE", "write the public half there, to hand out"}};
	CLEANUP(options_free)
	struct options options = {
		.verb = "key new",
		.usage = "FILE [--public FILE]",
		.description = "Makes a signing key (P-256, PEM without a passphrase, mode 0600) and shows its address. The same as\n"
			       "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`; a key in a token is made by the token's own tools.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = make_new(options.operands.items[0], public_path, options.json);
	return verb_end(done, argc, argv);
}

/* ---- show --------------------------------------------------------------------------------------- */

static result show(const struct words *words, const struct owner_options *owner, bool json)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	uint8_t point[POINT_SIZE];
	if ((words->count == 1) == owner_key_given(owner))
		return fail(USAGE, "a FILE or --key: one of them");
	if (words->count == 0) {
		TRY(owner_key_open(owner, &key));
		return print_key(&key, NULL, NULL, json);
	}
	TRY(point_read("FILE", words->items[0], point));
	TRY(key_from_point(SPAN_ARRAY(point), &key));
	return print_key(&key, NULL, NULL, json);
}

int verb_key_show(int argc, char **argv)
{
	struct owner_options owner = {NULL};
	const struct option_row rows[] = {OWNER_ROWS(&owner, "the key")};
	CLEANUP(options_free)
	struct options options = {
		.verb = "key show",
		.usage = "FILE | --key KEY",
		.description = "Shows the address and the id of a key: a PEM file with its private or public half, a certificate, or a key in a token.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&options.operands, &owner, options.json);
	return verb_end(done, argc, argv);
}
