#include "cmd/epoch_files.h"
#include "cmd/revocation_files.h"
#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "receipt/show.h"
#include "wire/json.h"
#include "wire/text.h"

/*
 * Needs the receipt, the trust file and the files to compare: no network, no daemon, no state folder. What it prints comes
 * from checks alone; facts of a receipt whose head was not verified are not shown.
 */

enum { MOST_FILES = 256 };

struct verify_words {
	const char *receipt, *trust, *nonce, *at;
	struct words outputs, inputs, epochs, revocations;
};

struct opened {
	struct trust trust;
	struct bytes receipt;
	struct verify_file files[MOST_FILES];
	size_t file_count;
	uint8_t nonce[32];
	struct epoch_files epochs;
	struct revocation_files revocations;
};

static void opened_free(struct opened *opened)
{
	for (size_t i = 0; i < opened->file_count; i++) {
		struct fd fd = fd_of(opened->files[i].fd);
		fd_close(&fd);
	}
	epoch_files_free(&opened->epochs);
	revocation_files_free(&opened->revocations);
	bytes_free(&opened->receipt);
	trust_free(&opened->trust);
}

/* ---- Files ------------------------------------------------------------------------------------------ */

static result add_file(struct opened *opened, const char *name, const char *path, bool is_input)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	struct stat status;
	if (opened->file_count == MOST_FILES)
		return fail(USAGE, "more than %d files", MOST_FILES);
	TRY(file_open(path, O_RDONLY | O_NONBLOCK, 0, &fd));
	if (fstat(fd.n, &status) != 0)
		return fail_errno("%s", path);
	if (!S_ISREG(status.st_mode))
		return fail(BAD_TYPE, "%s is not a regular file", path);
	opened->files[opened->file_count++] = (struct verify_file){name, fd_move(&fd).n, is_input};
	return OK;
}

static const struct job_output *output_named(const struct job *job, struct span name)
{
	for (size_t i = 0; i < job->output_count; i++)
		if (span_equal_str(name, job->outputs[i].name))
			return &job->outputs[i];
	return NULL;
}

/* A bare file is the output that is published under its name, or the only one there is. */
static const struct job_output *output_of_file(const struct job *job, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	for (size_t i = 0; i < job->output_count; i++)
		if (strcmp(job->outputs[i].file, base) == 0)
			return &job->outputs[i];
	return job->output_count == 1 ? &job->outputs[0] : NULL;
}

static result add_output(struct opened *opened, const char *word)
{
	const struct job *job = &opened->trust.job;
	const char *equals = strchr(word, '=');
	const struct job_output *output = equals ? output_named(job, span_of(word, (size_t)(equals - word))) : NULL;
	if (output)
		return add_file(opened, output->name, equals + 1, false);
	if (equals && access(word, F_OK) != 0)
		return fail(UNKNOWN_ROLE, "'%.*s': no output of the job '%s'", (int)(equals - word), word, job->name);
	output = output_of_file(job, word);
	if (!output)
		return fail(UNKNOWN_ROLE, "'%s': the job '%s' has several outputs and none of this name; say --output NAME=FILE", word,
			job->name);
	return add_file(opened, output->name, word, false);
}

static result add_input(struct opened *opened, const char *word)
{
	const struct job *job = &opened->trust.job;
	const char *equals = strchr(word, '=');
	if (!equals)
		return fail(USAGE, "--input takes NAME=FILE, not '%s'", word);
	for (size_t i = 0; i < job->input_count; i++)
		if (span_equal_str(span_of(word, (size_t)(equals - word)), job->inputs[i].role))
			return add_file(opened, job->inputs[i].role, equals + 1, true);
	return fail(UNKNOWN_ROLE, "'%.*s': no input of the job '%s'", (int)(equals - word), word, job->name);
}

static result read_all(const struct verify_words *words, struct opened *opened, struct verify_options *options)
{
	if (!words->trust)
		return fail(USAGE, "say what to trust: --trust FILE (`troth trust new` writes one)");
	TRY(trust_load(words->trust, &opened->trust));
	TRY(file_read(words->receipt, RECEIPT_FILE_MAX, &opened->receipt));
	for (size_t i = 0; i < words->outputs.count; i++)
		TRY(add_output(opened, words->outputs.items[i]));
	for (size_t i = 0; i < words->inputs.count; i++)
		TRY(add_input(opened, words->inputs.items[i]));
	TRY(epoch_files_read(&words->epochs, &opened->epochs));
	TRY(revocation_files_read(&words->revocations, &opened->trust, &opened->revocations));
	*options = (struct verify_options){
		.epochs = &opened->epochs.history,
		.trust = &opened->trust,
		.receipt = bytes_span(&opened->receipt),
		.files = opened->files,
		.file_count = opened->file_count,
		.revocations = words->revocations.count ? &opened->revocations.set : NULL,
		.at_ms = clock_wall_ms(),
	};
	if (words->nonce) {
		if (hex_decode(span_str(words->nonce), opened->nonce, sizeof(opened->nonce)) != OK)
			return fail(USAGE, "--nonce takes 64 hex digits");
		options->nonce = SPAN_ARRAY(opened->nonce);
	}
	if (words->at && clock_parse(words->at, &options->at_ms) != OK)
		return fail(USAGE, "--at takes a time like 2027-11-21T15:47:31Z");
	return OK;
}

/* ---- For people --------------------------------------------------------------------------------------- */

/* Checks by the beginning of their names, in the order in which they run. */
static const struct {
	const char *prefix, *title;
} groups[] = {
	{"trust.", "trust file in force"},
	{"receipt.", "form and checksum"},
	{"head.", "head signed by a trusted root"},
	{"section", "sections as the head names them"},
	{"epochs.", "root of trust"},
	{"host", "roots of the other hosts"},
	{"job.", "the expected job"},
	{"manifests.", "manifests"},
	{"enclave.measurement", "measurements of programs"},
	{"policies", "policies"},
	{"chain.", "attestation chain closed"},
	{"record", "records signed, in order, allowed"},
	{"flow.", "data flowed as the job says"},
	{"launches.", "launch reports"},
	{"enclave.launch", "enclaves launched as measured"},
	{"grant", "secrets released by grants"},
	{"statements.", "statements"},
	{"output.statement", "outputs signed by enclaves"},
	{"salts", "disclosed salts"},
	{"output.file", "output files compared"},
	{"input.file", "input files compared"},
};

static size_t group_of(const struct verify_check *check)
{
	for (size_t g = 0; g < COUNT_OF(groups); g++)
		if (strncmp(check->name, groups[g].prefix, strlen(groups[g].prefix)) == 0)
			return g;
	return COUNT_OF(groups);
}

static void print_failure(const struct verify_check *check)
{
	char text[1200];
	snprintf(text, sizeof(text), "%s%s%s: %s: %s", check->name, check->object[0] ? " " : "", check->object, reason_name(check->reason),
		check->text);
	text_make_plain(text);
	text_take_out(text, reason_row(check->reason)->sentence);
	printf("          %s\n          %s\n", text, reason_row(check->reason)->sentence);
}

static void print_group(const struct verify_report *report, size_t group, const char *title)
{
	enum { MOST_SHOWN = 10 };
	size_t count = 0, failed = 0;
	for (size_t i = 0; i < report->check_count; i++)
		if (group_of(&report->checks[i]) == group) {
			count++;
			failed += !report->checks[i].ok;
		}
	if (count == 0)
		return;
	if (failed == 0) {
		printf("  ok      %s (%zu)\n", title, count);
		return;
	}
	printf("  FAILED  %s (%zu of %zu)\n", title, failed, count);
	size_t shown = 0;
	for (size_t i = 0; i < report->check_count && shown < MOST_SHOWN; i++)
		if (!report->checks[i].ok && group_of(&report->checks[i]) == group) {
			print_failure(&report->checks[i]);
			shown++;
		}
	if (failed > MOST_SHOWN)
		printf("          and %zu more: --json lists them all\n", failed - MOST_SHOWN);
}

static void print_facts(const struct verify_report *report, const struct trust *trust)
{
	char time[CLOCK_TEXT_SIZE], fingerprint[EPOCH_FINGERPRINT_SIZE], run_id[2 * RUN_ID_SIZE + 1];
	if (!report->has_head)
		return;
	clock_format(report->head.time, time);
	rot_fingerprint(report->head.rot_id, fingerprint);
	hex_encode(SPAN_ARRAY(report->head.run_id), run_id);
	printf("  job     %s\n  root    %s\n  epoch   %u.%llu\n  time    %s\n  run     %s\n", report->has_job ? trust->job.name : "(another)", fingerprint,
		epoch_chain_head(verify_epochs(report)->chain)->era, (unsigned long long)epoch_chain_head(verify_epochs(report)->chain)->epoch, time,
		run_id);
}

/* Of a run on several hosts each counts for itself, and no more than the weakest of them as a whole. */
static void print_hosts(const struct verify_report *report)
{
	for (size_t i = 0; report->roots.count > 1 && i < report->roots.count; i++) {
		const struct receipt_root *root = &report->roots.roots[i];
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(root->trusted->rot_id, fingerprint);
		printf("  host    %-16s root %s, %zu enclave%s at Level-%u\n", *root->name ? root->name : "(coordinator)", fingerprint, root->enclaves,
			root->enclaves == 1 ? "" : "s", root->level);
	}
}

/* What the machine's TPM adds, or why it adds nothing. */
static void print_platform(const struct verify_report *report)
{
	if (report->has_platform && report->platform.synthetic)
		printf("The TPM's root is none of a known maker: a simulated or self-made platform, named as a test root by the trust file.\n");
	if (report->has_platform && report->level < 2 && report->platform.refused != OK)
		printf("Its platform evidence adds nothing: %s: %s.\n", reason_name(report->platform.refused), report->platform.text);
}

static void print_limits(const struct verify_report *report, const struct trust *trust, size_t output_files)
{
	const char *recorder = report->has_head ? recorder_sentence(report->head.recorder) : NULL;
	printf("%s\n", level_sentence(report->level));
	print_platform(report);
	if (recorder)
		printf("Recorder journal: %s.\n", recorder);
	if (report->without_namespaces)
		printf("%s.\n", tier_l_sentence);
	if (report->weakest_isolation && strcmp(report->weakest_isolation, "uid") != 0)
		printf("%s.\n", weak_isolation_sentence);
	if (report->interpreter_open)
		printf("%s.\n", open_interpreter_sentence);
	if (trust->job.output_count && output_files == 0)
		printf("No output file was compared: this is about the run, not about a file you hold; give --output FILE.\n");
}

static void print_people(const struct verify_report *report, const struct opened *opened, const char *path)
{
	static const char *const verdicts[] = {"ACCEPTED", "REFUSED", "CANNOT JUDGE"};
	size_t outputs = 0;
	for (size_t i = 0; i < opened->file_count; i++)
		outputs += !opened->files[i].is_input;
	printf("%s\n", path);
	print_facts(report, &opened->trust);
	if (report->verdict == VERDICT_ACCEPTED)
		print_hosts(report);
	for (size_t g = 0; g < COUNT_OF(groups); g++)
		print_group(report, g, groups[g].title);
	print_group(report, COUNT_OF(groups), "other checks");
	if (report->verdict == VERDICT_ACCEPTED)
		print_limits(report, &opened->trust, outputs);
	else
		print_platform(report);
	printf("%s\n", verdicts[report->verdict]);
}

/* ---- For programs ------------------------------------------------------------------------------------- */

static json_t *checks_json(const struct verify_report *report)
{
	json_t *list = json_array();
	for (size_t i = 0; i < report->check_count; i++) {
		const struct verify_check *check = &report->checks[i];
		char object[320], text[1024];
		snprintf(object, sizeof(object), "%s", check->object);
		snprintf(text, sizeof(text), "%s", check->text);
		text_make_plain(object);
		text_make_plain(text);
		json_array_append_new(list,
			check->ok ? json_pack("{s:s,s:s,s:b,s:n}", "name", check->name, "object", object, "ok", 1, "reason")
				  : json_pack("{s:s,s:s,s:b,s:s,s:s,s:s}", "name", check->name, "object", object, "ok", 0, "reason",
					    reason_name(check->reason), "text", text, "sentence", reason_row(check->reason)->sentence));
	}
	return list;
}

/* Only of a run on several. */
static json_t *hosts_json(const struct verify_report *report)
{
	json_t *list = json_array();
	for (size_t i = 0; i < report->roots.count; i++) {
		const struct receipt_root *root = &report->roots.roots[i];
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(root->trusted->rot_id, fingerprint);
		json_array_append_new(list,
			json_pack("{s:s,s:s,s:I,s:i,s:b}", "name", root->name, "root", fingerprint, "enclaves", (json_int_t)root->enclaves, "level",
				(int)root->level, "coordinator", i == 0));
	}
	return list;
}

/* The sentences that stand under an accepted receipt. */
static json_t *limits_json(const struct verify_report *report)
{
	const char *recorder = recorder_sentence(report->head.recorder);
	json_t *list = json_pack("[s]", level_sentence(report->level));
	if (recorder)
		json_array_append_new(list, json_string(recorder));
	if (report->without_namespaces)
		json_array_append_new(list, json_string(tier_l_sentence));
	if (strcmp(report->weakest_isolation, "uid") != 0)
		json_array_append_new(list, json_string(weak_isolation_sentence));
	if (report->interpreter_open)
		json_array_append_new(list, json_string(open_interpreter_sentence));
	return list;
}

static bool is_used(const struct verify_report *report, const struct epoch_link *link)
{
	for (const struct used_epoch *used = verify_epochs(report)->used; used; used = used->next)
		if (used->link == link)
			return true;
	return false;
}

/* The chain from the inception to the epoch that signed the head; `used`: something in the receipt is signed under it. */
static json_t *epochs_json(const struct verify_report *report)
{
	const struct epoch_chain *chain = verify_epochs(report)->chain;
	json_t *list = json_array();
	for (size_t i = 0; i < epoch_chain_count(chain); i++) {
		const struct epoch_link *link = epoch_chain_at(chain, i);
		json_array_append_new(list,
			json_pack("{s:i,s:I,s:o,s:o,s:o,s:b,s:b}", "era", (int)link->era, "epoch", (json_int_t)link->epoch, "oid",
				json_hex(SPAN_ARRAY(link->oid)), "not_before", json_time(link->not_before), "not_after",
				json_time(link->not_after), "void", link->is_void, "used", is_used(report, link)));
	}
	return list;
}

static json_t *platform_json(const struct verify_report *report)
{
	if (!report->has_platform)
		return json_null();
	return json_pack("{s:s,s:b,s:s?,s:s?}", "type", "tpm", "synthetic", report->platform.synthetic, "refused",
		report->platform.refused != OK ? reason_name(report->platform.refused) : NULL, "text",
		report->platform.refused != OK ? report->platform.text : NULL);
}

static result print_json(const struct verify_report *report, const struct trust *trust)
{
	json_t *json = json_pack("{s:s,s:o}", "verdict", verify_verdict_name(report->verdict), "checks", checks_json(report));
	if (!json)
		return fail(NO_MEMORY, "result");
	if (report->has_head) {
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(report->head.rot_id, fingerprint);
		json_object_set_new(json, "run_id", json_hex(SPAN_ARRAY(report->head.run_id)));
		json_object_set_new(json, "job", report->has_job ? json_string(trust->job.name) : json_null());
		json_object_set_new(json, "root", json_string(fingerprint));
		json_object_set_new(json, "epochs", epochs_json(report));
		json_object_set_new(json, "time", json_time(report->head.time));
		json_object_set_new(json, "recorder", json_string(report->head.recorder));
		json_object_set_new(json, "platform", platform_json(report));
	}
	if (report->verdict == VERDICT_ACCEPTED && report->roots.count > 1)
		json_object_set_new(json, "hosts", hosts_json(report));
	if (report->verdict == VERDICT_ACCEPTED) {
		json_object_set_new(json, "level", json_integer((json_int_t)report->level));
		json_object_set_new(json, "tier", json_string(report->without_namespaces ? "L" : "N"));
		json_object_set_new(json, "isolation", json_string(report->weakest_isolation));
		json_object_set_new(json, "interpreter", json_string(report->interpreter_open ? "open" : "closed"));
		json_object_set_new(json, "limits", limits_json(report));
	}
	result printed = json_print(stdout, json);
	json_decref(json);
	return printed;
}

/* ---- The verb ----------------------------------------------------------------------------------------- */

/* What the program ends with: the first thing that failed. */
static result judgement(const struct verify_report *report)
{
	const struct verify_check *first = verify_first_failure(report);
	if (!first)
		return report->verdict == VERDICT_ACCEPTED ? OK : fail(RECEIPT_REFUSED, "the checks could not be noted");
	char text[1024];
	snprintf(text, sizeof(text), "%s%s%s: %s: %s", first->name, first->object[0] ? " " : "", first->object, reason_name(first->reason),
		first->text);
	if (report->verdict == VERDICT_CANNOT_JUDGE)
		return fail(RECEIPT_UNJUDGED, "%s", text);
	return fail(RECEIPT_REFUSED, "%s", text);
}

static result verify(const struct options *options, const struct verify_words *words)
{
	CLEANUP(opened_free) struct opened opened = {0};
	CLEANUP(verify_report_free) struct verify_report report = {0};
	struct verify_options verify_options;
	TRY(read_all(words, &opened, &verify_options));
	TRY(receipt_verify(&verify_options, &report));
	if (options->json)
		TRY(print_json(&report, &opened.trust));
	else
		print_people(&report, &opened, words->receipt);
	return judgement(&report);
}

int verb_verify(int argc, char **argv)
{
	struct verify_words words = {0};
	const struct option_row rows[] = {
		{"trust", OPTION_TEXT, &words.trust, "FILE", "the trust file to judge by; nothing in the receipt is trusted"},
		{"output", OPTION_LIST, &words.outputs, "[NAME=]FILE", "a file that must be this output of the run"},
		{"input", OPTION_LIST, &words.inputs, "NAME=FILE", "a file that must be this input of the run"},
		{"epochs", OPTION_LIST, &words.epochs, "FILE", "what you know of the root since: a history, a record or a HALT (repeat)"},
		{"revocations", OPTION_LIST, &words.revocations, "FILE", "a signed revocation list of an operator whom the trust file names (repeat)"},
		{"nonce", OPTION_TEXT, &words.nonce, "HEX", "32 bytes that the receipt must carry"},
		{"at", OPTION_TEXT, &words.at, "TIME", "judge the trust file's expiry at this time instead of now"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "verify",
		.usage = "RECEIPT --trust FILE [--output [NAME=]FILE]... [--input NAME=FILE]... [--epochs FILE]... [--nonce HEX] [--at TIME]",
		.description = "Checks a receipt offline: needs no network, no daemon and no state.\n"
			       "Exit code 0: accepted. 1: refused. 4: cannot be judged: something critical in it is not known to this version,\n"
			       "or its root was halted or recovered since.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		words.receipt = options.operands.items[0];
		done = verify(&options, &words);
	}
	return verb_end(done, argc, argv);
}
