/* docs/PROTOCOL.objects carries the CDDL that the tables print; the two may not drift apart. */
#include "../expect.h"

#include <stdlib.h>

#include "base/file.h"
#include "groups.h"
#include "object/backup.h"
#include "object/cddl.h"
#include "object/epoch_chain.h"
#include "object/kind.h"
#include "object/ledger.h"
#include "object/receipt.h"
#include "object/seal.h"

static char *print(void)
{
	const struct schema *schemas[128];
	size_t count = 0, len;
	char *text;
	for (size_t i = 0; i < kind_table_len; i++)
		if (kind_schema(kind_table[i].kind))
			schemas[count++] = kind_schema(kind_table[i].kind);
	schemas[count++] = &seal_policy_schema;
	schemas[count++] = &restore_share_schema;
	schemas[count++] = &bytes_list_schema;
	schemas[count++] = &salt_list_schema;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	cddl_print(schemas, count, out);
	fclose(out);
	return text;
}

static void the_page_carries_the_cddl(void **unused)
{
	CLEANUP(bytes_free) struct bytes page = BYTES_EMPTY;
	char *expected = print();
	expect_ok(file_read(OBJECT_PAGES "/PROTOCOL.objects", 1 << 20, &page));
	const char *found = memmem(page.data, page.len, expected, strlen(expected));
	if (!found) {
		fprintf(stderr, "docs/PROTOCOL.objects lacks this block:\n%s[end]\n", expected);
		free(expected);
		_fail(__FILE__, __LINE__);
	}
	free(expected);
}

static void the_page_of_epochs_carries_its_cddl(void **unused)
{
	const struct schema *const schemas[] = {&epoch_schema, &halt_schema, &epoch_history_schema};
	CLEANUP(bytes_free) struct bytes page = BYTES_EMPTY;
	char *expected;
	size_t len;
	FILE *out = open_memstream(&expected, &len);
	assert_non_null(out);
	cddl_print(schemas, COUNT_OF(schemas), out);
	fclose(out);
	expect_ok(file_read(OBJECT_PAGES "/PROTOCOL.epochs", 1 << 20, &page));
	if (!memmem(page.data, page.len, expected, len)) {
		fprintf(stderr, "docs/PROTOCOL.epochs lacks this block:\n%s[end]\n", expected);
		free(expected);
		_fail(__FILE__, __LINE__);
	}
	free(expected);
}

static void the_page_of_the_ledger_carries_its_cddl(void **unused)
{
	const struct schema *schemas[TX_CONFIG + 1];
	CLEANUP(bytes_free) struct bytes page = BYTES_EMPTY;
	char *expected;
	size_t len, count = 0;
	for (unsigned type = TX_REGISTER; type <= TX_CONFIG; type++)
		if (type != TX_SPOOLED)
			schemas[count++] = transaction_body_schema(type);
	FILE *out = open_memstream(&expected, &len);
	assert_non_null(out);
	cddl_print(schemas, count, out);
	fclose(out);
	expect_ok(file_read(OBJECT_PAGES "/PROTOCOL.ledger", 1 << 20, &page));
	if (!memmem(page.data, page.len, expected, len)) {
		fprintf(stderr, "docs/PROTOCOL.ledger lacks this block:\n%s[end]\n", expected);
		free(expected);
		_fail(__FILE__, __LINE__);
	}
	free(expected);
}

static void the_page_names_every_kind(void **unused)
{
	CLEANUP(bytes_free) struct bytes page = BYTES_EMPTY;
	expect_ok(file_read(OBJECT_PAGES "/PROTOCOL.objects", 1 << 20, &page));
	for (size_t i = 0; i < kind_table_len; i++) {
		char row[128];
		snprintf(row, sizeof(row), "| %d | %s |", kind_table[i].kind, kind_table[i].label);
		if (!memmem(page.data, page.len, row, strlen(row)))
			fail_msg("docs/PROTOCOL.objects lacks the row \"%s\"", row);
	}
}

int group_cddl(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_page_carries_the_cddl),
		cmocka_unit_test(the_page_of_epochs_carries_its_cddl),
		cmocka_unit_test(the_page_of_the_ledger_carries_its_cddl),
		cmocka_unit_test(the_page_names_every_kind),
	};
	return cmocka_run_group_tests_name("cddl", tests, NULL, NULL);
}
