/*
 * The whole verifier and the drawing: u32 length and text of a trust file, then a receipt. The checksum is made right, so
 * that changes reach what stands behind it. Nothing but the seed itself may ever be accepted.
 */
#include "receipt/verify.h"
#include "base/reader.h"
#include "receipt/show.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHECKSUM = 32, MAX_INPUT = 1 << 20 };

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void try_verify(const struct trust *trust, struct span receipt)
{
	struct verify_report report;
	struct verify_options options = {.trust = trust, .receipt = receipt, .threads = 1};
	if (receipt_verify(&options, &report) != OK)
		return;
	must((report.verdict == VERDICT_ACCEPTED) == (verify_first_failure(&report) == NULL));
	must(report.check_count > 0);
	/* Accepted means signed: another root's head, or a changed one, cannot be. */
	if (report.verdict == VERDICT_ACCEPTED)
		must(memcmp(report.head.job_digest, trust->job_digest, SHA256_SIZE) == 0 &&
			dac_count(report.dac) >= trust->job.enclave_count);
	verify_report_free(&report);
}

static void try_show(struct span receipt)
{
	struct receipt_view view;
	struct show_options options = {.unicode = true};
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	if (receipt_view_open(receipt, &view) != OK)
		return;
	if (receipt_show(&view, &options, &text) == OK)
		for (size_t i = 0; i < text.len; i++)
			must(text.data[i] == '\n' || text.data[i] >= ' ');
	receipt_view_free(&view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader reader = reader_of(span_of(data, size));
	struct trust trust;
	struct span text;
	if (size > MAX_INPUT || reader_lv(&reader, MAX_INPUT, &text) != OK)
		return 0;
	struct bytes receipt;
	if (bytes_copy(span_of(reader.at, (size_t)(data + size - reader.at)), &receipt) != OK)
		return 0;
	if (receipt.len > CHECKSUM + 2)
		sha256(span_of(receipt.data, receipt.len - CHECKSUM - 2), receipt.data + receipt.len - CHECKSUM);
	try_show(bytes_span(&receipt));
	if (trust_parse("trust.json", text, &trust) == OK) {
		try_verify(&trust, bytes_span(&receipt));
		trust_free(&trust);
	}
	bytes_free(&receipt);
	return 0;
}
