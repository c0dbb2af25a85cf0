/* troth root ceremony: makes k-of-n recovery keys, as files of which each goes to another holder. */
#include "cmd/token_options.h"
#include "cmd/verb.h"

#include <stdio.h>
#include <unistd.h>

#include "crypto/random.h"
#include "root/tcb.h"
#include "wire/json.h"

enum { MOST_KEYS = 32 };

struct arguments {
	uint64_t k, n;
	const char *out, *label;
	struct token_options token;
};

static result key_paths(const struct arguments *arguments, size_t number, char private_path[static PATH_SIZE], char public_path[static PATH_SIZE])
{
	char name[32];
	snprintf(name, sizeof(name), "recovery-%zu.pem", number);
	TRY(path_join(private_path, arguments->out, name));
	snprintf(name, sizeof(name), "recovery-%zu.pub", number);
	return path_join(public_path, arguments->out, name);
}

static result check_fresh(const struct arguments *arguments)
{
	for (size_t i = 1; i <= arguments->n; i++) {
		char private_path[PATH_SIZE], public_path[PATH_SIZE];
		TRY(key_paths(arguments, i, private_path, public_path));
		if (access(private_path, F_OK) == 0 || access(public_path, F_OK) == 0)
			return fail(ALREADY_EXISTS, "'%s' has recovery keys already; a key is never written over", arguments->out);
	}
	return OK;
}

static result make_key(const struct arguments *arguments, size_t number, json_t *list)
{
	char private_path[PATH_SIZE], public_path[PATH_SIZE];
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(secret_free) struct secret private_pem = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes public_pem = BYTES_EMPTY;
	TRY(key_paths(arguments, number, private_path, public_path));
	TRY(key_generate(&key));
	TRY(key_to_private_pem(&key, &private_pem));
	TRY(key_to_pem(&key, &public_pem));
	TRY(file_write_atomic(private_path, secret_span(&private_pem), 0600));
	TRY(file_write_atomic(public_path, bytes_span(&public_pem), 0644));
	json_array_append_new(
		list, json_pack("{s:s, s:s, s:o}", "private", private_path, "public", public_path, "id", json_hex(SPAN_ARRAY(key.id))));
	return OK;
}

static void print_people(const struct arguments *arguments, const json_t *list)
{
	printf("%zu recovery keys were made in '%s'; any %llu of them together can start a root over, set other recovery keys, or halt it.\n",
		json_array_size(list), arguments->out, (unsigned long long)arguments->k);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *row = json_array_get(list, i);
		printf("  %zu  %s\n     key id %s\n", i + 1, json_string_value(json_object_get(row, "private")),
			json_string_value(json_object_get(row, "id")));
	}
	printf("Each holder keeps: their one .pem file, where nobody else can read it and not on this host; its key id on paper; and the\n"
	       "fingerprint of the root, to compare before they sign. Take the .pem files off this machine and erase them here: whoever has\n"
	       "%llu of them owns the root. Keys that holders make by themselves count the same:\n"
	       "  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out recovery.pem && openssl pkey -in recovery.pem -pubout\n"
	       "Next: troth host init --recovery %llu",
		(unsigned long long)arguments->k, (unsigned long long)arguments->k);
	for (size_t i = 0; i < json_array_size(list); i++)
		printf(" %s", json_string_value(json_object_get(json_array_get(list, i), "public")));
	printf("\n");
}

/* ---- In a token ------------------------------------------------------------------------------------------- */

static result start_token(const struct arguments *arguments, struct arena *arena, struct token **out)
{
	char folder[PATH_SIZE], program[PATH_SIZE];
	struct token_source source;
	struct token_config config;
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	TRY(token_options_source(&arguments->token, arena, &source));
	TRY(program_folder(folder, sizeof(folder)));
	TRY(path_join(program, folder, "troth-token"));
	if (source.pin_file)
		TRY(token_source_pin(source.pin_file, &pin));
	TRY(token_source_config(&source, &pin, &config));
	config.program = program;
	return token_start(&config, out);
}

static result make_in_token(struct token *token, const char *label, struct token_key *out)
{
	struct token_name name, by_label;
	uint8_t id[16];
	TRY(token_name_from_text(NULL, label, &by_label));
	result there = token_find(token, &by_label, out);
	if (there != NOT_FOUND)
		return there == OK || there == BAD_VALUE ? fail(ALREADY_EXISTS, "the token holds a key labelled '%s'; choose another --key", label) : there;
	random_bytes(id, sizeof(id));
	name = by_label;
	name.id_len = sizeof(id);
	memcpy(name.id, id, sizeof(id));
	return token_generate(token, &name, TOKEN_SIGNS, out);
}

static result write_public(const struct arguments *arguments, const struct key *key, char path[static PATH_SIZE])
{
	char name[64];
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	snprintf(name, sizeof(name), "recovery-%02x%02x%02x%02x.pub", key->id[0], key->id[1], key->id[2], key->id[3]);
	TRY(path_join(path, arguments->out, name));
	TRY(key_to_pem(key, &pem));
	return file_write_atomic(path, bytes_span(&pem), 0644);
}

/* One holder's key, in that holder's token. */
static result token_ceremony(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	const char *label = arguments->label ? arguments->label : "troth recovery";
	struct token *token;
	struct token_key made;
	char path[PATH_SIZE];
	if (!arguments->out)
		return fail(USAGE, "--out DIR is needed");
	TRY(file_make_dirs(arguments->out, 0700));
	TRY(start_token(arguments, &arena, &token));
	result done = make_in_token(token, label, &made);
	token_free(token);
	TRY(done);
	TRY(key_from_point(SPAN_ARRAY(made.point), &key));
	TRY(write_public(arguments, &key, path));
	if (json) {
		json_t *object = json_pack("{s:s, s:s, s:o, s:o}", "public", path, "label", label, "token_key_id",
			json_hex(span_of(made.name.id, made.name.id_len)), "id", json_hex(SPAN_ARRAY(key.id)));
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("A recovery key was made in the token, which it does not leave.\n  label      %s\n  public key %s\n  key id     ", label, path);
	verb_print_hex(SPAN_ARRAY(key.id));
	printf("\nIts holder keeps the token and its PIN, not on the host, and the key id on paper. Each holder does this with their own token;\n"
	       "then: troth host init --recovery K %s ...\nTo sign: troth root recover sign --pkcs11-module M --token T --key '%s' ...\n",
		path, label);
	return OK;
}

static result ceremony(const struct arguments *arguments, bool json)
{
	if (token_options_given(&arguments->token) || arguments->label)
		return token_ceremony(arguments, json);
	if (arguments->n < 1 || arguments->n > MOST_KEYS || arguments->k < 1 || arguments->k > arguments->n)
		return fail(USAGE, "-k from 1 to n, -n from 1 to %d", MOST_KEYS);
	if (!arguments->out)
		return fail(USAGE, "--out DIR is needed");
	TRY(file_make_dirs(arguments->out, 0700));
	TRY(check_fresh(arguments));
	json_t *list = json_array();
	result made = OK;
	for (size_t i = 1; i <= arguments->n && made == OK; i++)
		made = make_key(arguments, i, list);
	if (made == OK && json) {
		json_t *object = json_pack("{s:I, s:I, s:O}", "k", (json_int_t)arguments->k, "n", (json_int_t)arguments->n, "keys", list);
		made = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
	} else if (made == OK) {
		print_people(arguments, list);
	}
	json_decref(list);
	return made;
}

int verb_root_ceremony(int argc, char **argv)
{
	struct arguments arguments = {.k = 2, .n = 3};
	const struct option_row rows[] = {
		{"k", OPTION_NUMBER, &arguments.k, "K", "how many must sign together (2)"},
		{"n", OPTION_NUMBER, &arguments.n, "N", "how many there are (3)"},
		{"out", OPTION_TEXT, &arguments.out, "DIR", "where the files go; made when missing"},
		TOKEN_ROWS(&arguments.token),
		{"key", OPTION_TEXT, &arguments.label, "LABEL", "in a token: what the one key that is made there is called (troth recovery)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root ceremony",
		.usage = "--k K --n N --out DIR | --pkcs11-module FILE --token LABEL --pin-file FILE --out DIR",
		.description = "Makes offline recovery keys: P-256, PEM (PKCS#8), each private file 0600, each public one beside it. Do it on a\n"
			       "machine that is not the host and has no network. Keys made by openssl alone are as good.\n"
			       "With --pkcs11-module it makes one key in the token of one holder; only its public half becomes a file.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = ceremony(&arguments, options.json);
	return verb_end(done, argc, argv);
}
