/*
 * tier: prints as JSON what this machine's confinement reaches (src/enclave/tier.h), as `troth doctor` finds it out. For
 * tests below the command line, and for machines to which nothing else of Troth was copied.
 */
#include "base/isolate.h"
#include "enclave/tier.h"

#include <jansson.h>
#include <stdio.h>

enum { UID_OF_AN_ENCLAVE = 65533 };

static json_t *denials(const struct tier_report *report)
{
	json_t *rows = json_array();
	for (size_t i = 0; i < report->denial_count; i++)
		json_array_append_new(rows, json_pack("{s:s, s:s, s:b}", "name", report->denials[i].name, "mechanism",
			report->denials[i].mechanism, "refused", report->denials[i].refused));
	return rows;
}

int main(void)
{
	struct tier_report report;
	result detected = tier_detect(isolate_is_root() ? UID_OF_AN_ENCLAVE : 0, &report);
	if (detected != OK) {
		fprintf(stderr, "tier: %s: %s\n", reason_name(detected), failure_text());
		return reason_row(detected)->exit;
	}
	json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:s, s:o}", "tier", report.tier, "isolation", report.isolation, "limits",
		report.limits, "secret_memory", report.secret_memory, "landlock_abi", report.landlock_abi, "instrumented",
		report.instrumented, "missing", report.missing, "denials", denials(&report));
	if (!root || json_dumpf(root, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF || fflush(stdout) != 0)
		return EXIT_INTERNAL;
	json_decref(root);
	return EXIT_OK;
}
