/* `troth dac get|verify|show`: complete chains, from an enclave that lives on this host, judged offline, drawn. */
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/epoch_files.h"
#include "cmd/revocation_files.h"
#include "cmd/root_client.h"
#include "cmd/verb.h"
#include "cmd/tpm_opinion.h"
#include "receipt/chain.h"
#include "receipt/picture.h"
#include "receipt/show.h"
#include "wire/json.h"
#include "wire/text.h"

enum { MOST_BESIDE = 64 }; /* hosts of one chain, as in a bundle */
enum { CALL_MS = 90 * 1000, VIEW_MEMORY = 1 << 30 };

static result parse_32(const char *option, const char *text, uint8_t out[static 32])
{
	return hex_decode(span_str(text), out, 32) == OK ? OK : fail(USAGE, "%s takes 64 hex digits", option);
}

/* ---- get ------------------------------------------------------------------------------------------------ */

struct get_words {
	struct host_options host;
	const char *record, *output, *nonce;
	bool tpm_head;
};

/* An even number of hex digits, at most 32 bytes. */
static result parse_nonce(const char *text, uint8_t buffer[static HEAD_NONCE_MAX], struct span *out)
{
	size_t len = text ? strlen(text) : 0;
	*out = SPAN_EMPTY;
	if (!text)
		return OK;
	if (len == 0 || len % 2 || len / 2 > HEAD_NONCE_MAX || hex_decode(span_str(text), buffer, len / 2) != OK)
		return fail(USAGE, "--nonce takes 2 to %d hex digits, two for each byte", 2 * HEAD_NONCE_MAX);
	*out = span_of(buffer, len / 2);
	return OK;
}

static result fetch(const struct get_words *words, const char *target, struct bytes *out)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct service_dac_get asked = {.target = target, .has_record = words->record != NULL};
	struct service_dac_got got;
	uint8_t nonce[HEAD_NONCE_MAX];
	if (words->record)
		TRY(parse_32("--record", words->record, asked.record));
	if (words->tpm_head != (words->nonce != NULL))
		return fail(USAGE, "--tpm-head and --nonce go together");
	TRY(parse_nonce(words->nonce, nonce, &asked.nonce));
	TRY(verb_attach(&words->host, &client));
	TRY(root_memory_file(SPAN_EMPTY, &fd));
	const struct client_call call = {.type = SERVICE_DAC_GET, .body = &asked, .fds = &fd.n, .fd_count = 1, .expected = SERVICE_DAC_GOT,
		.timeout_ms = CALL_MS};
	TRY(client_call(&client, &call, &arena, &got, NULL));
	if (lseek(fd.n, 0, SEEK_SET) != 0)
		return fail_errno("lseek");
	return file_read_fd(fd.n, BUNDLE_FILE_MAX, out);
}

static result get(const struct options *options, const struct get_words *words)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(VIEW_MEMORY);
	struct bundle bundle;
	if (!words->output && isatty(STDOUT_FILENO))
		return fail(USAGE, "say where the chain goes: --output FILE");
	TRY(fetch(words, options->operands.items[0], &bytes));
	TRY(bundle_decode(bytes_span(&bytes), &arena, &bundle));
	if (!words->output)
		return fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len ? OK : fail_errno("writing the chain");
	TRY(file_write_atomic(words->output, bytes_span(&bytes), 0644));
	char root[2 * OID_SIZE + 1];
	hex_encode(SPAN_ARRAY(bundle.roots[0].bytes), root);
	if (!options->json) {
		printf("%s: the chain of record %s: %zu records, %zu bytes. Nothing was verified.\n", words->output, root, bundle.record_count,
			bytes.len);
		return OK;
	}
	json_t *json = json_pack("{s:s,s:s,s:I,s:I}", "file", words->output, "record", root, "records", (json_int_t)bundle.record_count,
		"bytes", (json_int_t)bytes.len);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

int verb_dac_get(int argc, char **argv)
{
	struct get_words words = {.record = NULL};
	const struct option_row rows[] = {
		{"record", OPTION_TEXT, &words.record, "OID", "of this record instead of the enclave's newest result"},
		{"tpm-head", OPTION_FLAG, &words.tpm_head, NULL, "with a proof of the host's whole history by its TPM (docs/TPM.md)"},
		{"nonce", OPTION_TEXT, &words.nonce, "HEX", "that this proof is to be over: random, of whoever will verify it"},
		{"output", OPTION_TEXT, &words.output, "FILE", "where the chain goes (stdout)"},
		HOST_ROWS(&words.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "dac get",
		.usage = "IRE [--record OID] [--nonce HEX --tpm-head] [--output FILE]",
		.description = "Asks an enclave that lives on this host for the complete attestation chain of its newest result: its records, all that\n"
			       "they depend on, and what is needed to judge them offline. IRE is the enclave's name, or NAME@RUN with the beginning of\n"
			       "a run's id. Every enclave that a record has reached gives the same bytes for it. Judge it with `troth dac verify`.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = get(&options, &words);
	return verb_end(done, argc, argv);
}

/* ---- verify ----------------------------------------------------------------------------------------------- */

struct verify_words {
	const char *trust, *at, *run, *nonce, *since, *tpm;
	bool require_head;
	struct words epochs, revocations, heads_of, beside;
};

struct judged {
	struct tpm_opinion opinion;
	struct trust trust;
	struct epoch_files epochs;
	struct revocation_files revocations;
	struct bytes bundle, earlier;
	struct bytes beside[MOST_BESIDE];
	struct span beside_bytes[MOST_BESIDE];
	size_t beside_count;
	uint8_t nonce[HEAD_NONCE_MAX];
	uint8_t run_id[RUN_ID_SIZE];
	struct chain_report report;
};

static void judged_free(struct judged *judged)
{
	tpm_opinion_end(&judged->opinion);
	chain_report_free(&judged->report);
	bytes_free(&judged->earlier);
	for (size_t i = 0; i < judged->beside_count; i++)
		bytes_free(&judged->beside[i]);
	revocation_files_free(&judged->revocations);
	bytes_free(&judged->bundle);
	epoch_files_free(&judged->epochs);
	trust_free(&judged->trust);
}

static result read_beside(const struct words *paths, struct judged *judged)
{
	if (paths->count > MOST_BESIDE)
		return fail(USAGE, "more than %d --beside", MOST_BESIDE);
	for (size_t i = 0; i < paths->count; i++) {
		TRY(file_read(paths->items[i], BUNDLE_FILE_MAX, &judged->beside[i]));
		judged->beside_count++;
		judged->beside_bytes[i] = bytes_span(&judged->beside[i]);
	}
	return OK;
}

static result judge(const char *path, const struct verify_words *words, struct judged *judged)
{
	struct chain_options options = {.trust = &judged->trust, .at_ms = clock_wall_ms()};
	TRY(trust_load(words->trust, &judged->trust));
	TRY(file_read(path, BUNDLE_FILE_MAX, &judged->bundle));
	TRY(epoch_files_read(&words->epochs, &judged->epochs));
	options.bundle = bytes_span(&judged->bundle);
	options.epochs = &judged->epochs.history;
	options.require_head = words->require_head;
	options.heads_of = (const char *const *)words->heads_of.items;
	options.head_of_count = words->heads_of.count;
	TRY(read_beside(&words->beside, judged));
	options.beside = judged->beside_bytes;
	options.beside_count = judged->beside_count;
	TRY(revocation_files_read(&words->revocations, &judged->trust, &judged->revocations));
	options.revocations = words->revocations.count ? &judged->revocations.set : NULL;
	TRY(parse_nonce(words->nonce, judged->nonce, &options.nonce));
	if (words->since)
		TRY(file_read(words->since, BUNDLE_FILE_MAX, &judged->earlier));
	options.earlier = bytes_span(&judged->earlier);
	if (words->run) {
		if (hex_decode(span_str(words->run), judged->run_id, RUN_ID_SIZE) != OK)
			return fail(USAGE, "--run takes the %d hex digits of a run's id", 2 * RUN_ID_SIZE);
		options.run_id = judged->run_id;
	}
	if (words->at && clock_parse(words->at, &options.at_ms) != OK)
		return fail(USAGE, "--at takes a time like 2027-11-21T15:47:31Z");
	TRY(tpm_opinion_begin(&judged->opinion, words->tpm));
	if (words->tpm)
		options.threads = 1; /* it does one thing at a time */
	TRY(chain_verify(&options, &judged->report));
	return tpm_opinion_check(&judged->opinion);
}

static const struct verify_check *first_failure(const struct chain_report *report)
{
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok)
			return &report->checks[i];
	return NULL;
}

static struct picture picture_of(const struct chain_report *report)
{
	return (struct picture){report->dac, report->bundle.roots, report->bundle.root_count, report->verdicts,
		verify_verdict_name(report->verdict)};
}

static json_t *checks_json(const struct chain_report *report)
{
	json_t *list = json_array();
	for (size_t i = 0; i < report->check_count; i++) {
		const struct verify_check *check = &report->checks[i];
		char text[1024];
		snprintf(text, sizeof(text), "%s", check->text);
		text_make_plain(text);
		json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:s?,s:s?}", "name", check->name, "object", check->object, "ok", check->ok,
			"reason", check->ok ? NULL : reason_name(check->reason), "text", check->ok ? NULL : text));
	}
	return list;
}

static json_t *heads_json(const struct chain_report *report)
{
	json_t *list = json_array();
	for (size_t i = 0; i < report->head_count; i++) {
		const struct head_verdict *head = &report->heads[i];
		char fingerprint[EPOCH_FINGERPRINT_SIZE], begun[CLOCK_TEXT_SIZE], said[CLOCK_TEXT_SIZE];
		rot_fingerprint(head->rot_id, fingerprint);
		clock_format(head->proof.birth.time, begun);
		clock_format(head->statement.time, said);
		json_array_append_new(list, json_pack("{s:s,s:I,s:s,s:I,s:s,s:I,s:b}", "root", fingerprint, "entries", (json_int_t)head->proof.log_count - 1,
			"begun", begun, "begun_in_start", (json_int_t)head->proof.birth.boot_gen, "time", said, "start",
			(json_int_t)head->statement.boot_gen, "enrolled", head->enrolled));
	}
	return list;
}

static void print_heads(const struct chain_report *report)
{
	for (size_t i = 0; i < report->head_count; i++) {
		const struct head_verdict *head = &report->heads[i];
		char fingerprint[EPOCH_FINGERPRINT_SIZE], begun[CLOCK_TEXT_SIZE], said[CLOCK_TEXT_SIZE];
		rot_fingerprint(head->rot_id, fingerprint);
		clock_format(head->proof.birth.time, begun);
		clock_format(head->statement.time, said);
		printf("  history of %s: %zu entries since %s, whole at %s by %s\n", fingerprint, head->proof.log_count - 1, begun, said,
			head->enrolled ? "its TPM" : "a TPM that only its secure processor vouches for");
	}
}

static result print_json(const struct chain_report *report, unsigned long long asked)
{
	json_t *json = NULL;
	if (report->verdicts) {
		struct picture picture = picture_of(report);
		TRY(picture_json(&picture, &json));
	} else {
		json = json_object();
	}
	json_object_set_new(json, "verdict", json_string(verify_verdict_name(report->verdict)));
	json_object_set_new(json, "checks", checks_json(report));
	json_object_set_new(json, "accepted", json_integer((json_int_t)report->accepted));
	json_object_set_new(json, "refused", json_integer((json_int_t)report->refused));
	json_object_set_new(json, "depth", json_integer(report->depth));
	json_object_set_new(json, "tpm_verified", json_integer((json_int_t)asked));
	json_object_set_new(json, "histories", heads_json(report));
	if (report->verdict == VERDICT_ACCEPTED)
		json_object_set_new(json, "level", json_integer(report->level));
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static void print_failure(const struct verify_check *check)
{
	char text[1200];
	snprintf(text, sizeof(text), "%s%s%s: %s: %s", check->name, check->object[0] ? " " : "", check->object, reason_name(check->reason),
		check->text);
	text_make_plain(text);
	text_take_out(text, reason_row(check->reason)->sentence);
	printf("  FAILED  %s\n", text);
}

static result print_people(const struct chain_report *report, const char *path)
{
	static const char *const verdicts[] = {"ACCEPTED", "REFUSED", "CANNOT JUDGE"};
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	printf("%s\n", path);
	for (size_t i = 0; i < report->check_count; i++)
		if (!report->checks[i].ok)
			print_failure(&report->checks[i]);
	if (report->verdicts) {
		struct picture picture = picture_of(report);
		printf("  %zu records accepted, %zu refused, depth %u\n", report->accepted, report->refused, report->depth);
		if (report->refused) {
			TRY(picture_text(&picture, false, false, &text));
			fwrite(text.data, 1, text.len, stdout);
		}
	}
	print_heads(report);
	if (report->verdict == VERDICT_ACCEPTED) {
		printf("%s\n", level_sentence(report->level));
		if (!report->compared)
			printf("The trust file names no job: which programs these enclaves ran was not compared with anything.\n");
	}
	printf("%s\n", verdicts[report->verdict]);
	return OK;
}

static result end_of(const struct chain_report *report)
{
	const struct verify_check *first = first_failure(report);
	if (!first)
		return OK;
	char text[1200];
	snprintf(text, sizeof(text), "%s%s%s: %s: %s", first->name, first->object[0] ? " " : "", first->object, reason_name(first->reason),
		first->text);
	if (report->verdict == VERDICT_CANNOT_JUDGE)
		return fail(RECEIPT_UNJUDGED, "%s", text);
	return fail(DAC_REFUSED, "%s", text);
}

static result verify(const struct options *options, const struct verify_words *words)
{
	CLEANUP(judged_free) struct judged judged = {.opinion = TPM_OPINION_NONE};
	if (!words->trust)
		return fail(USAGE, "say what to trust: --trust FILE (`troth trust new` writes one)");
	TRY(judge(options->operands.items[0], words, &judged));
	TRY(options->json ? print_json(&judged.report, judged.opinion.asked) : print_people(&judged.report, options->operands.items[0]));
	return end_of(&judged.report);
}

#define JUDGE_ROWS(words)                                                                                                                  \
	{"trust", OPTION_TEXT, &(words)->trust, "FILE", "the trust file (`troth trust new`)"},                                             \
		{"epochs", OPTION_LIST, &(words)->epochs, "FILE", "what else you know of a root: a history, record or HALT"},             \
		{"run", OPTION_TEXT, &(words)->run, "HEX", "the run that the records must be of"},                                        \
		{"nonce", OPTION_TEXT, &(words)->nonce, "HEX", "that a proof of a host's history must be over (`troth dac get --nonce`)"},  \
		{"tpm-verify", OPTION_TEXT, &(words)->tpm, "DEVICE", "a TPM of yours checks every signature of an object too; slow"},        \
		{"require-tpm-head", OPTION_FLAG, &(words)->require_head, NULL, "every root must prove its host's whole history"},         \
		{"tpm-head-of", OPTION_LIST, &(words)->heads_of, "HOST", "this one must: a host of the trust file's job, its root's id or fingerprint (repeat)"}, \
		{"beside", OPTION_LIST, &(words)->beside, "BUNDLE", "the same chain from another host, for the proof of that host's history (repeat)"}, \
		{"revocations", OPTION_LIST, &(words)->revocations, "FILE", "a signed revocation list of an operator whom the trust file names (repeat)"}, \
		{"since", OPTION_TEXT, &(words)->since, "BUNDLE", "accepted earlier, whose host's history this one must go on from"},                                        \
	{                                                                                                                                  \
		"at", OPTION_TEXT, &(words)->at, "TIME", "judge as of this time"                                                           \
	}

int verb_dac_verify(int argc, char **argv)
{
	struct verify_words words = {.trust = NULL};
	const struct option_row rows[] = {JUDGE_ROWS(&words)};
	CLEANUP(options_free)
	struct options options = {
		.verb = "dac verify",
		.usage = "BUNDLE --trust FILE [--epochs FILE]... [--run HEX] [--revocations FILE]... [--nonce HEX] [--beside BUNDLE]... [--since BUNDLE]",
		.description = "Judges a complete chain offline, each record with its own verdict: a broken one fails itself and what was built on it,\n"
			       "and nothing else. Accepted only if nothing is missing, nothing is there that nobody needs, and every record counts.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = verify(&options, &words);
	return verb_end(done, argc, argv);
}

/* ---- show --------------------------------------------------------------------------------------------------- */

struct show_words {
	struct verify_words judge;
	const char *format, *output;
	bool all;
};

static result write_out(const struct show_words *words, const struct bytes *text)
{
	if (words->output)
		return file_write_atomic(words->output, bytes_span(text), 0644);
	return fwrite(text->data, 1, text->len, stdout) == text->len ? OK : fail_errno("writing the result");
}

static result draw(const struct options *options, const struct show_words *words, const struct picture *picture)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	const char *format = options->json ? "json" : words->format ? words->format : "tree";
	setlocale(LC_CTYPE, "");
	if (strcmp(format, "tree") == 0)
		TRY(picture_text(picture, strcmp(nl_langinfo(CODESET), "UTF-8") == 0 && !words->output, words->all, &text));
	else if (strcmp(format, "svg") == 0)
		TRY(picture_svg(picture, &text));
	else if (strcmp(format, "html") == 0)
		TRY(picture_html(picture, &text));
	else if (strcmp(format, "json") != 0)
		return fail(USAGE, "--format takes tree, html, svg or json, not '%s'", format);
	if (strcmp(format, "json") != 0)
		return write_out(words, &text);
	json_t *json;
	TRY(picture_json(picture, &json));
	json_object_set_new(json, "verdict", picture->verdicts ? json_string(picture->verdict) : json_null());
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

static result show_judged(const struct options *options, const struct show_words *words)
{
	CLEANUP(judged_free) struct judged judged = {.opinion = TPM_OPINION_NONE};
	TRY(judge(options->operands.items[0], &words->judge, &judged));
	if (!judged.report.verdicts)
		return end_of(&judged.report);
	struct picture picture = picture_of(&judged.report);
	TRY(draw(options, words, &picture));
	return end_of(&judged.report);
}

static void dac_cleanup(struct dac **dac)
{
	dac_free(*dac);
}

/* Unjudged: whatever can be read is drawn. */
static result show_bundle(const struct options *options, const struct show_words *words, struct span bytes)
{
	CLEANUP(dac_cleanup) struct dac *dac = NULL;
	CLEANUP(arena_free) struct arena arena = arena_of(VIEW_MEMORY);
	struct dac_config config = {.threads = 1};
	struct bundle bundle;
	TRY(bundle_decode(bytes, &arena, &bundle));
	TRY(dac_new(&config, &dac));
	TRY(bundle_load(&bundle, dac));
	struct picture picture = {.dac = dac, .roots = bundle.roots, .root_count = bundle.root_count};
	return draw(options, words, &picture);
}

static result show_receipt(const struct options *options, const struct show_words *words, struct span bytes)
{
	CLEANUP(receipt_view_free) struct receipt_view view = {0};
	if (words->judge.trust)
		return fail(USAGE, "a receipt is judged by `troth verify`; --trust is for bundles");
	TRY(receipt_view_open(bytes, &view));
	struct picture picture = {.dac = view.dac, .roots = view.head.roots, .root_count = view.head.root_count};
	return draw(options, words, &picture);
}

static result show(const struct options *options, const struct show_words *words)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(VIEW_MEMORY);
	struct receipt receipt;
	TRY(file_read(options->operands.items[0], BUNDLE_FILE_MAX, &bytes));
	/* A receipt ends with a checksum of itself: nothing else passes for one. */
	if (receipt_decode(bytes_span(&bytes), &arena, &receipt) == OK)
		return show_receipt(options, words, bytes_span(&bytes));
	if (words->judge.trust)
		return show_judged(options, words);
	return show_bundle(options, words, bytes_span(&bytes));
}

int verb_dac_show(int argc, char **argv)
{
	struct show_words words = {.format = NULL};
	const struct option_row rows[] = {
		{"format", OPTION_TEXT, &words.format, "FORMAT", "tree (default), html, svg or json"},
		{"output", OPTION_TEXT, &words.output, "FILE", "where the picture goes (stdout)"},
		{"all", OPTION_FLAG, &words.all, NULL, "every record, however many (tree)"},
		JUDGE_ROWS(&words.judge),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "dac show",
		.usage = "BUNDLE|RECEIPT [--format tree|html|svg|json] [--output FILE] [--trust FILE]",
		.description = "Draws a chain: as a tree, or as one page or picture that needs nothing else. Verifies nothing, and says so, unless\n"
			       "--trust is given with a bundle: then every record carries its verdict. Many records are drawn in groups.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = show(&options, &words);
	return verb_end(done, argc, argv);
}
