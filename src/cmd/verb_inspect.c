#include "cmd/verb.h"

#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cmd/describe.h"

static const char unverified[] = "nothing in it was verified", judge[] = ": `troth verify` does that";

struct inspect_words {
	const char *file, *section;
	bool raw;
};

static result print_section(const struct options *options, const struct inspect_words *words, struct span bytes)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct receipt receipt;
	struct span section;
	uint16_t id;
	json_t *json;
	TRY(receipt_decode(bytes, &arena, &receipt));
	TRY(describe_section_bytes(&receipt, words->section, &section, &id));
	if (words->raw)
		return write_all(STDOUT_FILENO, section);
	TRY(describe_section(id, section, &json));
	if (options->json)
		json = json_pack("{s:s,s:b,s:o}", "section", words->section, "verified", 0, "content", json);
	else
		fprintf(stderr, "section %s of %s; %s%s\n", words->section, words->file, unverified, judge);
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "section");
	json_decref(json);
	return printed;
}

static result inspect(const struct options *options, const struct inspect_words *words)
{
	CLEANUP(bytes_free) struct bytes bytes = BYTES_EMPTY;
	enum file_kind kind;
	json_t *json;
	if (words->raw && !words->section)
		return fail(USAGE, "--raw needs --section NAME");
	TRY(file_read(words->file, RECEIPT_FILE_MAX, &bytes));
	TRY(describe_kind(words->file, bytes_span(&bytes), &kind));
	if (words->section && kind != FILE_RECEIPT)
		return fail(USAGE, "%s is a %s; only receipts have sections", words->file, file_kind_name(kind));
	if (words->section)
		return print_section(options, words, bytes_span(&bytes));
	TRY(describe_file(words->file, bytes_span(&bytes), &json));
	if (options->json)
		json = json_pack("{s:s,s:b,s:o}", "file", file_kind_name(kind), "verified", 0, "content", json);
	else
		printf("%s: %s; %s%s\n", words->file, file_kind_name(kind), unverified, kind == FILE_RECEIPT ? judge : "");
	result printed = OK;
	if (!json)
		printed = fail(NO_MEMORY, "description");
	else if (!options->json && json_is_string(json))
		fputs(json_string_value(json), stdout);
	else if (options->json)
		printed = json_print(stdout, json);
	else if (json_dumpf(json, stdout, JSON_INDENT(2)) != 0 || fputc('\n', stdout) == EOF)
		printed = fail_errno("writing the result");
	json_decref(json);
	return printed;
}

int verb_inspect(int argc, char **argv)
{
	struct inspect_words words = {0};
	const struct option_row rows[] = {
		{"section", OPTION_TEXT, &words.section, "NAME", "of a receipt: only this section, or head"},
		{"raw", OPTION_FLAG, &words.raw, NULL, "its bytes as they are signed or hashed, to stdout"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "inspect",
		.usage = "FILE [--section NAME [--raw]]",
		.description = "Says what a file is - receipt, epoch record or history, HALT, signed object, certificate, trust, job or policy file - and\n"
			       "prints it decoded. Verifies nothing.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 1,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help) {
		words.file = options.operands.items[0];
		done = inspect(&options, &words);
	}
	return verb_end(done, argc, argv);
}
