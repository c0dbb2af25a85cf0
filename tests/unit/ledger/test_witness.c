/* A witness lets no log show two histories: by the words of c2sp.org/tlog-witness, and under every crash and failing call. */
#include "ledger/witness_store.h"

#include "../store/disk.h"
#include "groups.h"
#include "store/slots.h"

#include "expect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DASH "\xe2\x80\x94 "

/* ---- Known answers --------------------------------------------------------------------------------- */

static const char behind_the_sofa[] = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

/* The request that tlog-witness shows. */
static void request_of_the_specification(void **state)
{
	(void)state;
	static const char body[] =
		"old 20852014\n"
		"PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
		"jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
		"5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
		"/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
		"\n"
		"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
		"\n" DASH "example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n" DASH
		"example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
	struct witness_request request;
	expect_ok(witness_request_parse(span_str(body), &request));
	assert_int_equal(request.proof.old, 20852014);
	assert_int_equal(request.proof.path.count, 4);
	assert_int_equal(request.proof.path.hashes[3].bytes[0], 0xff);
	assert_int_equal(request.note.count, 2);
	assert_string_equal(request.checkpoint.origin, "example.com/behind-the-sofa");
	assert_int_equal(request.checkpoint.size, 20852163);
	/* The same bytes come out again. */
	CLEANUP(writer_free) struct writer w = writer_growing(WITNESS_REQUEST_MAX);
	expect_ok(consistency_proof_put(&request.proof, &w));
	expect_span(span_of(w.data, w.len), span_str(body));
	/* Cut anywhere before the end of a signature it is none. */
	size_t first_line = (size_t)(strstr(strstr(body, DASH), "\n") - body) + 1;
	for (size_t len = 0; len < sizeof(body) - 1; len++)
		if (len != first_line)
			assert_int_not_equal(witness_request_parse(span_of(body, len), &request), OK);
}

/* Made by another implementation of Ed25519 from the seed 07 07 .. 07 over the checkpoint of the specification. */
static void known_cosignature(void **state)
{
	(void)state;
	static const char vkey[] = "witness.example.com/w1+8122a5ab+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
	static const char line[] = DASH
		"witness.example.com/w1 gSKlqwAAAABkGFDLWr4Jea05CAgwNVtwky0Jgz6WfX0QJgM//FkB/W9BoT9TX0DkTxG+2cT4p/ViKNhUM/SnUwFcYQzugGFQ15LwDw==\n";
	static const char other_line[] = DASH
		"witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
	uint8_t seven[ED25519_SEED_SIZE], point[ED25519_PUBLIC_SIZE];
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer signed_line = writer_growing(NOTE_LINE_MAX), lines = writer_growing(NOTE_MAX);
	struct note_key witness, made;
	uint64_t time = 0;
	memset(seven, 7, sizeof(seven));
	expect_ok(secret_copy(SPAN_ARRAY(seven), &seed));
	expect_ok(ed25519_public(&seed, point));
	expect_ok(note_key_new("witness.example.com/w1", NOTE_KEY_COSIGNER, point, &made));
	expect_ok(note_key_parse(span_str(vkey), &witness));
	assert_memory_equal(&made, &witness, sizeof(made));
	expect_ok(note_sign(span_str(behind_the_sofa), &witness, &seed, 1679315147, &signed_line));
	expect_span(span_of(signed_line.data, signed_line.len), span_str(line));
	/* Among lines of others it is found, and only it goes on. */
	char answer[sizeof(line) + sizeof(other_line)];
	snprintf(answer, sizeof(answer), "%s%s", other_line, line);
	expect_ok(witness_answer_open(span_str(behind_the_sofa), span_str(answer), &witness, &lines, &time));
	expect_span(span_of(lines.data, lines.len), span_str(line));
	assert_int_equal(time, 1679315147);
	/* None of it, one of another text, one altered, a log's key, too much. */
	expect(witness_answer_open(span_str(behind_the_sofa), span_str(other_line), &witness, &lines, &time), NOT_SIGNED);
	expect(witness_answer_open(span_str("a\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), span_str(line), &witness, &lines, &time), BAD_SIGNATURE);
	snprintf(answer, sizeof(answer), "%s", line);
	answer[60] = answer[60] == 'A' ? 'B' : 'A';
	expect(witness_answer_open(span_str(behind_the_sofa), span_str(answer), &witness, &lines, &time), BAD_SIGNATURE);
	expect(witness_answer_open(span_str(behind_the_sofa), span_str("no line"), &witness, &lines, &time), TRUNCATED);
	expect(witness_answer_open(span_str(behind_the_sofa), span_str("no signature\n"), &witness, &lines, &time), BAD_VALUE);
	witness.type = NOTE_KEY_LOG;
	expect(witness_answer_open(span_str(behind_the_sofa), span_str(line), &witness, &lines, &time), UNSUPPORTED_ALGORITHM);
}

/* A store on a simulated disk. */
struct stand {
	struct disk disk;
	struct witness_store_options options;
	struct witness_store *store;
	struct note_key key;
};

static void stand_new(struct stand *stand)
{
	memset(stand, 0, sizeof(*stand));
	disk_init(&stand->disk);
	stand->options = (struct witness_store_options){.dir = "w", .io = &stand->disk.io};
	expect_ok(witness_store_init(&stand->options, "witness.example.org/w", &stand->key));
}

static void stand_free(struct stand *stand)
{
	witness_store_close(stand->store);
	assert_int_equal(disk_open_count(&stand->disk), 0);
	disk_free(&stand->disk);
}

/* Sends a request; a cosignature is checked, and is there for OK alone. */
static result send(struct stand *stand, struct span body, uint64_t *out_size)
{
	CLEANUP(writer_free) struct writer line = writer_growing(NOTE_MAX), kept = writer_growing(NOTE_MAX);
	struct witness_request request;
	uint64_t time;
	result done = witness_store_cosign(stand->store, body, 1700000000, &line, out_size);
	if (done != OK) {
		assert_int_equal(line.len, 0);
		return done;
	}
	expect_ok(witness_request_parse(body, &request));
	expect_ok(witness_answer_open(request.note.text, span_of(line.data, line.len), &stand->key, &kept, &time));
	assert_int_equal(time, 1700000000);
	assert_int_equal(*out_size, request.checkpoint.size);
	return OK;
}

static void expect_answer(struct stand *stand, const char *body, result wanted, int status, uint64_t size)
{
	uint64_t has = 77;
	result got = send(stand, span_str(body), &has);
	expect(got, wanted);
	assert_int_equal(witness_status(got), status);
	assert_int_equal(has, size);
}

/* A log of another project, whose heads, paths and signatures are published with another witness's tests. */
#define SIGSUM "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
#define HEAD_1 SIGSUM "\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n" DASH SIGSUM \
	" UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=\n"
#define HEAD_3 SIGSUM "\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n\n" DASH SIGSUM \
	" UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=\n"
#define HEAD_3_FORGED SIGSUM "\n3\nRcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=\n\n" DASH SIGSUM \
	" UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6gs=\n"
#define HEAD_5 SIGSUM "\n5\nQrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=\n\n" DASH SIGSUM \
	" UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=\n"
#define LEAF_1 "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
#define LEAF_2 "KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
#define LEAF_3 "KgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
#define LEAF_4 "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
#define NODE_01 "wgiIFdZfYNv6WU1OllBKsWnLYIS/DBMqt8Uh/S4OukE=\n"
#define NODE_23 "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=\n"
static const char sigsum_vkey[] = SIGSUM "+5202289b+Af/cLU2Y5BJNP+r3iMDC+av9eWCD0fBJVDfzAux5zxAP";

static void known_log(void **state)
{
	(void)state;
	struct stand *stand = calloc(1, sizeof(*stand));
	struct note_key log;
	assert_non_null(stand);
	stand_new(stand);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_ok(note_key_parse(span_str(sigsum_vkey), &log));
	expect_answer(stand, "old 0\n\n" HEAD_1, WITNESS_LOG_UNKNOWN, 404, 0);
	expect_ok(witness_store_add_log(&stand->options, NULL, &log));
	expect(witness_store_add_log(&stand->options, NULL, &log), ALREADY_EXISTS);
	expect_answer(stand, "old 0\n\n" HEAD_1, OK, 200, 1);
	expect_answer(stand, "old 1\n" LEAF_1 LEAF_2 "\n" HEAD_3_FORGED, BAD_SIGNATURE, 403, 1);
	expect_answer(stand, "old 1\n\n" HEAD_3, PROOF_INVALID, 422, 1);
	expect_answer(stand, "old 1\n" LEAF_1 LEAF_1 "\n" HEAD_3, PROOF_INVALID, 422, 1);
	expect_answer(stand, "old 1\n" LEAF_1 LEAF_2 LEAF_3 "\n" HEAD_3, PROOF_INVALID, 422, 1);
	expect_answer(stand, "old 4\n" LEAF_1 LEAF_2 "\n" HEAD_3, BAD_VALUE, 400, 1);
	expect_answer(stand, "old 0\n\n" HEAD_3, WITNESS_CONFLICT, 409, 1);
	expect_answer(stand, "old 1\n" LEAF_1 LEAF_2 "\n" HEAD_3, OK, 200, 3);
	expect_answer(stand, "old 1\n" LEAF_1 NODE_23 LEAF_4 "\n" HEAD_5, WITNESS_CONFLICT, 409, 3);
	/* The same again gives a fresh cosignature; an older one never. */
	expect_answer(stand, "old 3\n\n" HEAD_3, OK, 200, 3);
	expect_answer(stand, "old 3\n" LEAF_1 "\n" HEAD_3, PROOF_INVALID, 422, 3);
	expect_answer(stand, "old 1\n\n" HEAD_1, WITNESS_CONFLICT, 409, 3);
	expect_answer(stand, "old 0\n\n" HEAD_1, WITNESS_CONFLICT, 409, 3);
	/* It knows where it was after it was closed. */
	witness_store_close(stand->store);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_answer(stand, "old 0\n\n" HEAD_5, WITNESS_CONFLICT, 409, 3);
	expect_answer(stand, "old 3\n" LEAF_2 LEAF_3 NODE_01 LEAF_4 "\n" HEAD_5, OK, 200, 5);
	stand_free(stand);
	free(stand);
}

/* Go's checksum database: origin and name of the key differ. */
static void an_origin_that_is_no_key_name(void **state)
{
	(void)state;
	static const char vkey[] = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
	static const char body[] = "old 0\n\ngo.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n" DASH
				   "sum.golang.org Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n";
	struct stand *stand = calloc(1, sizeof(*stand));
	struct note_key log;
	assert_non_null(stand);
	stand_new(stand);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_ok(note_key_parse(span_str(vkey), &log));
	expect_ok(witness_store_add_log(&stand->options, NULL, &log));
	expect_answer(stand, body, WITNESS_LOG_UNKNOWN, 404, 0);
	expect_ok(witness_store_add_log(&stand->options, "go.sum database tree", &log));
	expect_answer(stand, body, OK, 200, 35225469);
	stand_free(stand);
	free(stand);
}

static void requests_that_are_none(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		result wanted;
	} rows[] = {
		{"", TRUNCATED},
		{"old 1", TRUNCATED},
		{"old 1\n", TRUNCATED},
		{"OLD 1\n\n" HEAD_3, BAD_VALUE},
		{"old  1\n\n" HEAD_3, BAD_VALUE},
		{"old\n\n" HEAD_3, BAD_VALUE},
		{"old \n\n" HEAD_3, BAD_VALUE},
		{"old 01\n\n" HEAD_3, BAD_VALUE},
		{"old +1\n\n" HEAD_3, BAD_VALUE},
		{"old -1\n\n" HEAD_3, BAD_VALUE},
		{"old 1 \n\n" HEAD_3, BAD_VALUE},
		{"old 1\r\n\r\n" HEAD_3, BAD_VALUE},
		{"old 9223372036854775808\n\n" HEAD_3, BAD_VALUE},
		{"old 99999999999999999999\n\n" HEAD_3, BAD_VALUE},
		{"old 1\nKgEA\n\n" HEAD_3, BAD_VALUE},
		{"old 1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n\n" HEAD_3, BAD_VALUE},
		{"old 1\n\n\n" HEAD_3, BAD_VALUE},
		{"old 1\n\n" SIGSUM "\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", NOT_SIGNED},
		{"old 1\n" HEAD_3, BAD_VALUE},
	};
	struct witness_request request;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		result got = witness_request_parse(span_str(rows[i].body), &request);
		if (got != rows[i].wanted)
			print_error("row %zu\n", i);
		expect(got, rows[i].wanted);
	}
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 20);
	writer_str(&w, "old 1\n");
	for (int i = 0; i < 64; i++)
		writer_str(&w, LEAF_1);
	writer_str(&w, "\n" HEAD_3);
	expect(witness_request_parse(span_of(w.data, w.len), &request), TOO_LARGE);
	while (w.len <= WITNESS_REQUEST_MAX)
		writer_str(&w, LEAF_1);
	expect(witness_request_parse(span_of(w.data, w.len), &request), TOO_LARGE);
}

/* ---- A log of our own, which lies ------------------------------------------------------------------- */

struct liar {
	struct note_key key;
	struct secret seed;
	struct merkle_tree trees[2]; /* two histories that part after three leaves */
};

static void liar_new(struct liar *liar)
{
	uint8_t point[ED25519_PUBLIC_SIZE];
	*liar = (struct liar){.trees = {MERKLE_TREE_EMPTY, MERKLE_TREE_EMPTY}};
	expect_ok(ed25519_generate(&liar->seed));
	expect_ok(ed25519_public(&liar->seed, point));
	expect_ok(note_key_new("log.example.org/liar", NOTE_KEY_LOG, point, &liar->key));
	for (uint8_t i = 0; i < 20; i++)
		for (uint8_t history = 0; history < 2; history++) {
			uint8_t data[2] = {i, i < 3 ? 0 : history};
			struct merkle_hash leaf;
			merkle_leaf(SPAN_ARRAY(data), &leaf);
			expect_ok(merkle_append(&liar->trees[history], &leaf));
		}
}

static void liar_free(struct liar *liar)
{
	merkle_free(&liar->trees[0]);
	merkle_free(&liar->trees[1]);
	secret_free(&liar->seed);
}

/* The request of one history from one size to another, signed and proved. */
static struct bytes liar_asks(const struct liar *liar, int history, uint64_t from, uint64_t to)
{
	CLEANUP(writer_free) struct writer text = writer_growing(4096), w = writer_growing(65536);
	struct checkpoint checkpoint = {.size = to};
	struct consistency_proof proof = {.old = from};
	struct bytes out = BYTES_EMPTY;
	strcpy(checkpoint.origin, liar->key.name);
	expect_ok(merkle_root(&liar->trees[history], to, &checkpoint.root));
	if (from && from < to)
		expect_ok(merkle_prove_consistency(&liar->trees[history], from, to, &proof.path));
	checkpoint_put(&checkpoint, &text);
	size_t body = text.len;
	CLEANUP(writer_free) struct writer line = writer_growing(4096);
	expect_ok(note_sign(span_of(text.data, body), &liar->key, &liar->seed, 0, &line));
	writer_str(&text, "\n");
	writer_put(&text, line.data, line.len);
	proof.checkpoint = span_of(text.data, text.len);
	expect_ok(consistency_proof_put(&proof, &w));
	expect_ok(writer_take(&w, &out));
	return out;
}

static result liar_sends(struct stand *stand, const struct liar *liar, int history, uint64_t from, uint64_t to, uint64_t *out_size)
{
	CLEANUP(bytes_free) struct bytes body = liar_asks(liar, history, from, to);
	return send(stand, bytes_span(&body), out_size);
}

static void a_fork_is_not_cosigned(void **state)
{
	(void)state;
	struct stand *stand = calloc(1, sizeof(*stand));
	struct liar liar;
	uint64_t size;
	assert_non_null(stand);
	stand_new(stand);
	liar_new(&liar);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_ok(witness_store_add_log(&stand->options, NULL, &liar.key));
	expect_ok(liar_sends(stand, &liar, 0, 0, 7, &size));
	/* The other history: of the size that is known, of a greater one, of a smaller one, and as if from the start. */
	expect(liar_sends(stand, &liar, 1, 7, 7, &size), LEDGER_FORKED);
	assert_int_equal(size, 7);
	for (uint64_t to = 8; to <= 20; to++) {
		expect(liar_sends(stand, &liar, 1, 7, to, &size), PROOF_INVALID);
		expect(liar_sends(stand, &liar, 1, 0, to, &size), WITNESS_CONFLICT);
		expect(liar_sends(stand, &liar, 1, 3, to, &size), WITNESS_CONFLICT);
	}
	expect(liar_sends(stand, &liar, 1, 3, 5, &size), WITNESS_CONFLICT);
	/* The first goes on. */
	expect_ok(liar_sends(stand, &liar, 0, 7, 20, &size));
	expect(liar_sends(stand, &liar, 1, 20, 20, &size), LEDGER_FORKED);
	stand_free(stand);
	liar_free(&liar);
	free(stand);
}

/* ---- Durable --------------------------------------------------------------------------------------- */

enum { SAID_MAX = 16 };

struct said {
	uint64_t size;
	size_t op_count; /* operations of the disk when it was said */
};

/* What a crashed witness knows: at least what it said, at most what it was asked for. */
static void check_after_crash(const struct stand *before, const struct liar *liar, const struct said *said, size_t count, size_t op_count,
	uint64_t seed)
{
	struct stand *stand = calloc(1, sizeof(*stand));
	uint64_t floor = 0, size = 0;
	assert_non_null(stand);
	disk_crash(&before->disk, op_count, seed, &stand->disk);
	stand->options = (struct witness_store_options){.dir = "w", .io = &stand->disk.io};
	stand->key = before->key;
	for (size_t i = 0; i < count; i++)
		if (said[i].op_count <= op_count)
			floor = said[i].size;
	expect_ok(witness_store_open(&stand->options, &stand->store));
	result asked = liar_sends(stand, liar, 1, 20, 20, &size);
	if (asked == WITNESS_LOG_UNKNOWN) {
		assert_int_equal(floor, 0);
	} else {
		expect(asked, size == 20 ? LEDGER_FORKED : WITNESS_CONFLICT);
		assert_true(size >= floor);
		/* The other history stays out wherever they have parted, and the first goes on. */
		if (size > 3 && size < 20)
			expect(liar_sends(stand, liar, 1, size, 20, &size), PROOF_INVALID);
		expect_ok(liar_sends(stand, liar, 0, size, 20, &size));
		expect(liar_sends(stand, liar, 1, 20, 20, &size), LEDGER_FORKED);
	}
	stand_free(stand);
	free(stand);
}

static void every_crash(void **state)
{
	(void)state;
	struct stand *stand = calloc(1, sizeof(*stand));
	struct said said[SAID_MAX];
	struct liar liar;
	size_t count = 0;
	assert_non_null(stand);
	stand_new(stand);
	liar_new(&liar);
	size_t born = stand->disk.op_count;
	expect_ok(witness_store_add_log(&stand->options, NULL, &liar.key));
	expect_ok(witness_store_open(&stand->options, &stand->store));
	static const uint64_t sizes[] = {2, 5, 6, 6, 11, 19};
	for (uint64_t i = 0, last = 0; i < COUNT_OF(sizes); last = sizes[i++]) {
		expect_ok(liar_sends(stand, &liar, 0, last, sizes[i], &said[count].size));
		said[count++].op_count = stand->disk.op_count;
	}
	for (size_t op_count = born; op_count <= stand->disk.op_count; op_count++)
		for (uint64_t seed = 0; seed < 12; seed++)
			check_after_crash(stand, &liar, said, count, op_count, seed < 2 ? seed : op_count * 16 + seed);
	stand_free(stand);
	liar_free(&liar);
	free(stand);
}

/* Whichever call fails, nothing is said that a crash could take back; after a failed sync nothing more is said at all. */
static void every_failing_call(void **state)
{
	(void)state;
	struct liar liar;
	liar_new(&liar);
	for (int persistent = 0; persistent < 2; persistent++)
		for (unsigned at = 1; at < 40; at++) {
			struct stand *stand = calloc(1, sizeof(*stand));
			uint64_t last = 0, size;
			assert_non_null(stand);
			stand_new(stand);
			expect_ok(witness_store_add_log(&stand->options, NULL, &liar.key));
			expect_ok(witness_store_open(&stand->options, &stand->store));
			stand->disk.countdown = at;
			stand->disk.error = at % 2 ? EIO : ENOSPC;
			stand->disk.persistent = persistent;
			for (uint64_t to = 4; to <= 19; to += 5) {
				result done = liar_sends(stand, &liar, 0, last, to, &size);
				if (done == OK)
					last = to;
			}
			struct said said = {.size = last, .op_count = stand->disk.op_count};
			check_after_crash(stand, &liar, &said, 1, stand->disk.op_count, 0);
			stand_free(stand);
			free(stand);
		}
	liar_free(&liar);
}

/* A slot that rots leaves the other, which is as new; a log whose head is lost is not begun again. */
static void rot_and_loss(void **state)
{
	(void)state;
	struct stand *stand = calloc(1, sizeof(*stand));
	struct liar liar;
	uint64_t size;
	char head[DISK_NAME] = "", keys[DISK_NAME] = "";
	assert_non_null(stand);
	stand_new(stand);
	liar_new(&liar);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_ok(witness_store_add_log(&stand->options, NULL, &liar.key));
	expect_ok(liar_sends(stand, &liar, 0, 0, 7, &size));
	for (size_t i = 0; i < stand->disk.now.name_count; i++) {
		const char *name = stand->disk.now.names[i].text;
		if (strstr(name, ".head") && !strstr(name, ".tmp"))
			snprintf(head, sizeof(head), "%s", name);
		if (strstr(name, ".keys") && !strstr(name, ".tmp"))
			snprintf(keys, sizeof(keys), "%s", name);
	}
	struct disk_file *file = disk_find(&stand->disk, head);
	assert_non_null(file);
	for (size_t i = 0; i < file->size; i++) {
		file->data[i] ^= 0x10;
		expect(liar_sends(stand, &liar, 1, 7, 7, &size), LEDGER_FORKED);
		assert_int_equal(size, 7);
		file->data[i] ^= 0x10;
	}
	/* Both slots. */
	size_t half = file->size / 2;
	file->data[40] ^= 1;
	file->data[half + 40] ^= 1;
	expect(liar_sends(stand, &liar, 0, 7, 8, &size), WITNESS_DAMAGED);
	file->data[40] ^= 1;
	file->data[half + 40] ^= 1;
	/* Without its keys it is unknown; added again it knows where it was. */
	disk_remove(&stand->disk, keys);
	expect(liar_sends(stand, &liar, 0, 7, 8, &size), WITNESS_LOG_UNKNOWN);
	expect_ok(witness_store_add_log(&stand->options, NULL, &liar.key));
	expect(liar_sends(stand, &liar, 1, 0, 8, &size), WITNESS_CONFLICT);
	disk_remove(&stand->disk, head);
	expect(liar_sends(stand, &liar, 0, 0, 8, &size), WITNESS_DAMAGED);
	stand_free(stand);
	liar_free(&liar);
	free(stand);
}

static void one_folder_one_witness(void **state)
{
	(void)state;
	struct stand *stand = calloc(1, sizeof(*stand));
	struct witness_store *second;
	struct note_key key;
	assert_non_null(stand);
	stand_new(stand);
	expect(witness_store_init(&stand->options, "another.example.org/w", &key), ALREADY_EXISTS);
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect(witness_store_open(&stand->options, &second), BUSY);
	assert_string_equal(witness_store_key(stand->store)->name, "witness.example.org/w");
	struct disk_file *seed = disk_find(&stand->disk, "witness.key");
	witness_store_close(stand->store);
	stand->store = NULL;
	seed->data[3] ^= 1;
	expect(witness_store_open(&stand->options, &second), WITNESS_DAMAGED);
	seed->data[3] ^= 1;
	/* A witness's key is no log's, and a log has only so many. */
	expect(witness_store_add_log(&stand->options, NULL, &stand->key), UNSUPPORTED_ALGORITHM);
	struct liar liar[WITNESS_KEYS_MAX + 1];
	for (size_t i = 0; i < COUNT_OF(liar); i++) {
		liar_new(&liar[i]);
		expect(witness_store_add_log(&stand->options, NULL, &liar[i].key), i < WITNESS_KEYS_MAX ? OK : TOO_LARGE);
	}
	/* Any of them speaks for the log. */
	uint64_t size;
	expect_ok(witness_store_open(&stand->options, &stand->store));
	expect_ok(liar_sends(stand, &liar[1], 0, 0, 4, &size));
	expect_ok(liar_sends(stand, &liar[3], 0, 4, 9, &size));
	expect(liar_sends(stand, &liar[0], 1, 9, 9, &size), LEDGER_FORKED);
	expect(liar_sends(stand, &liar[WITNESS_KEYS_MAX], 0, 9, 10, &size), NOT_SIGNED);
	for (size_t i = 0; i < COUNT_OF(liar); i++)
		liar_free(&liar[i]);
	stand_free(stand);
	free(stand);
}

int group_witness(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_of_the_specification),
		cmocka_unit_test(known_cosignature),
		cmocka_unit_test(known_log),
		cmocka_unit_test(an_origin_that_is_no_key_name),
		cmocka_unit_test(requests_that_are_none),
		cmocka_unit_test(a_fork_is_not_cosigned),
		cmocka_unit_test(every_crash),
		cmocka_unit_test(every_failing_call),
		cmocka_unit_test(rot_and_loss),
		cmocka_unit_test(one_folder_one_witness),
	};
	return cmocka_run_group_tests_name("witness", tests, NULL, NULL);
}
