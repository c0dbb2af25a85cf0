#include "ledger/witness.h"

#include "wire/text.h"

#include <inttypes.h>

enum { DIGITS_MAX = 19 };

result witness_log_new(const char *origin, const struct note_key *key, struct witness_log *out)
{
	struct witness_log log = {.keys = {*key}, .key_count = 1};
	if (!origin)
		origin = key->name;
	size_t len = strlen(origin);
	if (len < 1 || len > NOTE_NAME_MAX || strchr(origin, '\n') || !utf8_valid(span_str(origin)))
		return fail(BAD_NAME, "an origin is one line of 1 to %d bytes", NOTE_NAME_MAX);
	memcpy(log.origin, origin, len);
	/* Of a log that was never cosigned the empty tree is what has to be continued: its root is the hash of nothing. */
	sha256(SPAN_EMPTY, log.root.bytes);
	*out = log;
	return OK;
}

/* ---- Requests ---------------------------------------------------------------------------------- */

result witness_request_parse(struct span body, struct witness_request *out)
{
	struct witness_request request;
	if (body.len > WITNESS_REQUEST_MAX)
		return fail(TOO_LARGE, "a request of %zu bytes", body.len);
	TRY(consistency_proof_parse(body, &request.proof));
	if (request.proof.path.count > WITNESS_PROOF_MAX)
		return fail(TOO_LARGE, "a proof of %zu hashes; at most %d", request.proof.path.count, WITNESS_PROOF_MAX);
	TRY(note_parse(request.proof.checkpoint, &request.note));
	TRY(checkpoint_parse(request.note.text, &request.checkpoint));
	*out = request;
	return OK;
}

/* ---- Judging ----------------------------------------------------------------------------------- */

static result check_signature(const struct witness_log *log, const struct witness_request *request, const struct note_key **out)
{
	result checked = fail(NOT_SIGNED, "no key of '%s' is known here", log->origin);
	for (size_t i = 0; i < log->key_count; i++) {
		checked = note_verify(&request->note, &log->keys[i], NULL);
		if (checked != OK)
			continue;
		*out = &log->keys[i];
		return OK;
	}
	return checked;
}

const struct note_key *witness_signer(const struct witness_log *log, const struct witness_request *request)
{
	const struct note_key *signer;
	return check_signature(log, request, &signer) == OK ? signer : NULL;
}

static result check_continues(const struct witness_log *log, const struct witness_request *request)
{
	const struct checkpoint *next = &request->checkpoint;
	if (next->size == log->size) {
		if (memcmp(&next->root, &log->root, sizeof(log->root)) != 0)
			return fail(LEDGER_FORKED, "'%s' has signed two heads of size %" PRIu64, log->origin, log->size);
		return request->proof.path.count ? fail(PROOF_INVALID, "a proof between equal sizes is empty") : OK;
	}
	/* Every tree continues the empty one, and there is nothing to prove it with. */
	if (log->size == 0)
		return request->proof.path.count ? fail(PROOF_INVALID, "a proof from size 0 is empty") : OK;
	return merkle_verify_consistency(log->size, &log->root, next->size, &next->root, &request->proof.path);
}

result witness_judge(const struct witness_log *log, const struct witness_request *request)
{
	const struct note_key *signer;
	if (strcmp(log->origin, request->checkpoint.origin) != 0)
		return fail(WITNESS_LOG_UNKNOWN, "'%s'", request->checkpoint.origin);
	TRY(check_signature(log, request, &signer));
	if (request->proof.old > request->checkpoint.size)
		return fail(BAD_VALUE, "a checkpoint of size %" PRIu64 " continues none of size %" PRIu64, request->checkpoint.size,
			request->proof.old);
	if (request->proof.old != log->size)
		return fail(WITNESS_CONFLICT, "the last one that was cosigned has size %" PRIu64 ", not %" PRIu64, log->size, request->proof.old);
	return check_continues(log, request);
}

int witness_status(result judged)
{
	static const struct {
		result judged;
		int status;
	} rows[] = {
		{OK, 200},
		{BAD_VALUE, 400},
		{BAD_NAME, 400},
		{BAD_UTF8, 400},
		{TRUNCATED, 400},
		{TRAILING_BYTES, 400},
		{NOT_SIGNED, 403},
		{BAD_SIGNATURE, 403},
		{WITNESS_LOG_UNKNOWN, 404},
		{WITNESS_CONFLICT, 409},
		{LEDGER_FORKED, 409},
		{TOO_LARGE, 413},
		{PROOF_INVALID, 422},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].judged == judged)
			return rows[i].status;
	return 500;
}

/* ---- Answers ----------------------------------------------------------------------------------- */

static result take_line(struct span *rest, struct span *out)
{
	const uint8_t *end = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
	if (!end)
		return fail(TRUNCATED, "a line of the answer is missing");
	size_t len = (size_t)(end - rest->data);
	*out = span_of(rest->data, len);
	*rest = span_of(end + 1, rest->len - len - 1);
	return OK;
}

/* Decimal without leading zeros, below 2^63 as in checkpoints. */
static result parse_size(struct span text, uint64_t *out)
{
	uint64_t value = 0;
	if (text.len < 1 || text.len > DIGITS_MAX || (text.len > 1 && text.data[0] == '0'))
		return fail(BAD_VALUE, "a tree size of %zu characters", text.len);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < '0' || text.data[i] > '9')
			return fail(BAD_VALUE, "a tree size with other characters than digits");
		value = value * 10 + (uint64_t)(text.data[i] - '0');
	}
	if (value > INT64_MAX)
		return fail(BAD_VALUE, "a tree size above 2^63 - 1");
	*out = value;
	return OK;
}

result witness_size_parse(struct span body, uint64_t *out)
{
	struct span line;
	uint64_t size;
	TRY(take_line(&body, &line));
	TRY(parse_size(line, &size));
	if (body.len)
		return fail(TRAILING_BYTES, "after the size of a witness");
	*out = size;
	return OK;
}

/* One line of the answer as a note of its own, so that the lines of other keys do not go on. */
static result open_line(struct span text, struct span line, const struct note_key *witness, struct writer *out_lines, uint64_t *out_time_s)
{
	CLEANUP(writer_free) struct writer w = writer_growing(NOTE_MAX);
	struct note note;
	struct span all;
	writer_span(&w, text);
	writer_str(&w, "\n");
	writer_span(&w, line);
	writer_str(&w, "\n");
	TRY(writer_finish(&w, &all));
	TRY(note_parse(all, &note));
	result verified = note_verify(&note, witness, out_time_s);
	if (verified == NOT_SIGNED)
		return OK;
	TRY(verified);
	writer_span(out_lines, line);
	writer_str(out_lines, "\n");
	return OK;
}

result witness_answer_open(struct span text, struct span answer, const struct note_key *witness, struct writer *out_lines,
	uint64_t *out_time_s)
{
	size_t before = out_lines->len, lines = 0;
	if (witness->type != NOTE_KEY_COSIGNER)
		return fail(UNSUPPORTED_ALGORITHM, "the key of '%s' is not one of a witness", witness->name);
	while (answer.len) {
		struct span line;
		TRY(take_line(&answer, &line));
		if (++lines > NOTE_SIGNATURES_MAX)
			return fail(TOO_LARGE, "more than %d cosignatures", NOTE_SIGNATURES_MAX);
		TRY(open_line(text, line, witness, out_lines, out_time_s));
	}
	if (out_lines->len == before)
		return fail(NOT_SIGNED, "the answer has no cosignature of '%s'", witness->name);
	struct span all;
	return writer_finish(out_lines, &all);
}
