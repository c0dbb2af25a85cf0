/* troth ledger operation: a co-processor records that it carried an actor's request out; the ledger decides whether it may count. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/random.h"

enum { REQUEST_MAX = 20 * 1024, SALT_SIZE = 32, CHUNK = 64 * 1024 };

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
	const char *request, *vmm, *measurement, *data, *result, *salt, *data_commitment, *result_commitment, *grant, *id, *time;
	bool spooled;
};

/* ---- Commitments ------------------------------------------------------------------------------------ */

static result hash_file(const char *path, uint8_t out[static SHA256_SIZE])
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	uint8_t chunk[CHUNK];
	struct hash hash;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(hash_start(&hash, HASH_SHA256));
	for (;;) {
		ssize_t got = read(fd.n, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fail_errno("reading '%s'", path);
		if (got == 0)
			break;
		hash_add(&hash, span_of(chunk, (size_t)got));
	}
	hash_finish(&hash, out);
	return OK;
}

/* The salt of the file, which is made when it is not there: without it nobody can open the commitment again. */
static result read_salt(const char *path, uint8_t out[static SALT_SIZE])
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	if (!path)
		return fail(USAGE, "--salt is missing: a plain hash of the data would say too much; FILE is made when it is not there, keep it");
	result read = file_read(path, SALT_SIZE + 1, &file);
	if (read == NOT_FOUND) {
		random_bytes(out, SALT_SIZE);
		return file_write_atomic(path, span_of(out, SALT_SIZE), 0600);
	}
	TRY(read);
	if (file.len != SALT_SIZE)
		return fail(BAD_VALUE, "'%s' is no salt of %d bytes", path, SALT_SIZE);
	memcpy(out, file.data, SALT_SIZE);
	return OK;
}

static result commit(const struct arguments *arguments, const char *what, const char *file, const char *hex, uint8_t out[static SHA256_SIZE],
	bool *out_there)
{
	uint8_t salt[SALT_SIZE], digest[SHA256_SIZE];
	if (file && hex)
		return fail(USAGE, "--%s is a file, --%s-commitment is made already: one of them", what, what);
	*out_there = file || hex;
	if (hex)
		return digest_read("a commitment", hex, out, SHA256_SIZE);
	if (!file)
		return OK;
	TRY(read_salt(arguments->salt, salt));
	TRY(hash_file(file, digest));
	make_commitment(salt, digest, out);
	return OK;
}

/* ---- The record --------------------------------------------------------------------------------------- */

static result fill(const struct arguments *arguments, struct operation *out)
{
	bool there;
	TRY(digest_read("--vmm", arguments->vmm, out->vmm, SHA384_SIZE));
	TRY(digest_read("--measurement", arguments->measurement, out->measurement, SHA384_SIZE));
	if (arguments->id)
		TRY(digest_read("--id", arguments->id, out->operation_id, sizeof(out->operation_id)));
	TRY(commit(arguments, "data", arguments->data, arguments->data_commitment, out->data_commitment, &there));
	if (!there)
		return fail(USAGE, "--data or --data-commitment is missing: what the operation was carried out on");
	TRY(commit(arguments, "result", arguments->result, arguments->result_commitment, out->result_commitment, &out->has_result));
	out->time = clock_wall_ms();
	if (arguments->time && clock_parse(arguments->time, &out->time) != OK)
		return fail(USAGE, "--time takes a time like 2027-11-21T15:47:31Z");
	return chain_read(&arguments->where, out->chain);
}

static result record(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(key_free) struct key processor = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes request = BYTES_EMPTY, object = BYTES_EMPTY, grant_file = BYTES_EMPTY;
	struct grant_chain chain = {.count = 0};
	struct operation operation = {.v = 1};
	uint8_t oid[OID_SIZE];
	if (!arguments->request || !arguments->vmm || !arguments->measurement)
		return fail(USAGE, "--request, --vmm and --measurement are needed");
	TRY(file_read(arguments->request, REQUEST_MAX, &request));
	operation.request = bytes_span(&request);
	if (arguments->grant)
		TRY(grant_read(arguments->grant, &arena, &grant_file, &chain));
	TRY(owner_key_open(&arguments->owner, &processor));
	TRY(fill(arguments, &operation));
	result made = make_operation(&operation, &processor, &object, oid);
	if (made != OK)
		return fail_within(made, "'%s'", arguments->request);
	const struct tx_operation body = {bytes_span(&object), chain.items, chain.count};
	json_t *about = json ? json_pack("{s:o, s:o, s:o}", "operation", json_hex(SPAN_ARRAY(oid)), "data_commitment",
					 json_hex(SPAN_ARRAY(operation.data_commitment)), "result_commitment",
					 operation.has_result ? json_hex(SPAN_ARRAY(operation.result_commitment)) : json_null()) :
			       NULL;
	const struct ledger_send send = {
		&arguments->where, &arguments->how, &processor, arguments->spooled ? TX_SPOOLED : TX_OPERATION, &body, "allowed and recorded", about};
	return ledger_send(&send, json);
}

int verb_ledger_operation(int argc, char **argv)
{
	struct arguments arguments = {.request = NULL};
	const struct option_row rows[] = {
		{"request", OPTION_TEXT, &arguments.request, "FILE", "what the actor signed (`troth ledger request`)"},
		{"grant", OPTION_TEXT, &arguments.grant, "FILE", "the grant that allows it, when no rule does"},
		{"vmm", OPTION_TEXT, &arguments.vmm, "HEX", "measurement of the host, as registered"},
		{"measurement", OPTION_TEXT, &arguments.measurement, "HEX", "of the code that ran, as registered"},
		{"data", OPTION_TEXT, &arguments.data, "FILE", "what it ran on: a salted commitment of it is recorded, never the data"},
		{"result", OPTION_TEXT, &arguments.result, "FILE", "what came out: the same"},
		{"salt", OPTION_TEXT, &arguments.salt, "FILE", "32 bytes that open the commitments later; made when it is not there"},
		{"data-commitment", OPTION_TEXT, &arguments.data_commitment, "HEX", "a commitment that was made elsewhere, instead of --data"},
		{"result-commitment", OPTION_TEXT, &arguments.result_commitment, "HEX", "the same for --result"},
		{"id", OPTION_TEXT, &arguments.id, "HEX", "32 bytes that name the operation (random)"},
		{"time", OPTION_TEXT, &arguments.time, "TIME", "when it ran (now)"},
		{"spooled", OPTION_FLAG, &arguments.spooled, NULL, "it ran before it could be committed; marked so, and taken for longer"},
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "the co-processor"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger operation",
		.usage = "--key KEY --request FILE --vmm HEX --measurement HEX --data FILE --salt FILE [--grant FILE]",
		.description = "Records an operation, signed by a co-processor that the ledger knows. The ledger decides when it commits it: only then, and only\n"
			       "when this command ends with 0, may the result be given out. A use is charged to the grant and to all that it comes from.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = record(&arguments, options.json);
	return verb_end(done, argc, argv);
}
