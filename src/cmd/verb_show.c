#include "cmd/verb.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cmd/describe.h"

struct show_words {
	const char *receipt, *trust;
};

/* Judges by the trust file, without any output file. */
static result judge(const char *path, struct span receipt, struct verify_report *out)
{
	CLEANUP(trust_free) struct trust trust = {0};
	TRY(trust_load(path, &trust));
	struct verify_options options = {.trust = &trust, .receipt = receipt, .at_ms = clock_wall_ms()};
	return receipt_verify(&options, out);
}

static result print_tree(const struct receipt_view *view)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	setlocale(LC_CTYPE, "");
	struct show_options options = {.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0};
	TRY(receipt_show(view, &options, &text));
	return fwrite(text.data, 1, text.len, stdout) == text.len ? OK : fail_errno("writing the result");
}

static result print_json(const struct receipt_view *view, const struct verify_report *report)
{
	json_t *content;
	TRY(describe_receipt(view, &content));
	json_t *json = json_pack(
		"{s:o,s:o}", "verdict", report ? json_string(verify_verdict_name(report->verdict)) : json_null(), "receipt", content);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "result");
	json_decref(json);
	return printed;
}

static result end_with(const struct verify_report *report)
{
	const struct verify_check *first = verify_first_failure(report);
	if (!first)
		return OK;
	return fail_within(report->verdict == VERDICT_CANNOT_JUDGE ? fail(RECEIPT_UNJUDGED, "%s", first->text)
								   : fail(RECEIPT_REFUSED, "%s", first->text),
		"%s %s", first->name, first->object);
}

static result show(const struct options *options, const struct show_words *words)
{
	CLEANUP(bytes_free) struct bytes receipt = BYTES_EMPTY;
	CLEANUP(receipt_view_free) struct receipt_view view = {0};
	CLEANUP(verify_report_free) struct verify_report report = {0};
	TRY(file_read(words->receipt, RECEIPT_FILE_MAX, &receipt));
	TRY(receipt_view_open(bytes_span(&receipt), &view));
	if (words->trust)
		TRY(judge(words->trust, bytes_span(&receipt), &report));
	if (options->json) {
		TRY(print_json(&view, words->trust ? &report : NULL));
		return words->trust ? end_with(&report) : OK;
	}
	if (words->trust)
		printf("Verified under %s: %s\n\n", words->trust, verify_verdict_name(report.verdict));
	else
		printf("Not verified: this is what the file says; --trust FILE judges it\n\n");
	TRY(print_tree(&view));
	return words->trust ? end_with(&report) : OK;
}

int verb_show(int argc, char **argv)
{
	struct show_words words = {0};
	const struct option_row rows[] = {
		{"trust", OPTION_TEXT, &words.trust, "FILE", "verify it first, and say the verdict"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "show",
		.usage = "RECEIPT [--trust FILE]",
		.description = "Draws a receipt: who ran what and when, and the chain from its results back to the inputs.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		words.receipt = options.operands.items[0];
		done = show(&options, &words);
	}
	return verb_end(done, argc, argv);
}
