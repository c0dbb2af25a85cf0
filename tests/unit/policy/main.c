#include "policy_test.h"

#include "wire/text.h"

const uint8_t root_a[POLICY_ROT_ID_SIZE] = {0xaa, 1}, root_b[POLICY_ROT_ID_SIZE] = {0xbb, 2};

struct bytes unhex(const char *hex)
{
	size_t len = strlen(hex) / 2;
	struct bytes bytes = {malloc(len ? len : 1), len};
	assert_non_null(bytes.data);
	expect_ok(hex_decode(span_str(hex), bytes.data, len));
	return bytes;
}

enum { DOCUMENT_MEMORY = 512 * 1024 * 1024 };

static result compile_text(const char *text, struct bytes *out)
{
	CLEANUP(document_free) struct document document = {0};
	TRY(document_parse("p", span_str(text), DOCUMENT_MEMORY, &document));
	return policy_compile(&document, out);
}

struct bytes compile(const char *text)
{
	struct bytes set = BYTES_EMPTY;
	expect_ok(compile_text(text, &set));
	return set;
}

result try_compile(const char *text)
{
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	failure_clear();
	result compiled = compile_text(text, &set);
	assert_true((compiled == OK) == (set.data != NULL)); /* nothing is half-loaded */
	return compiled;
}

struct policy_table *load(const char *text)
{
	CLEANUP(bytes_free) struct bytes set = compile(text);
	struct policy_table *table = NULL;
	expect_ok(policy_table_load(bytes_span(&set), &table));
	return table;
}

struct policy_request request_for(const char *own, const char *peer)
{
	return (struct policy_request){
		.subject_kind = SUBJECT_ENCLAVE,
		.state = STATE_RUNNING,
		.resource = RESOURCE_OPERATION,
		.direction = DIRECTION_SEND,
		.own = {span_str(own), PROOF_ENDORSED, SPAN_ARRAY(root_a), CONFINEMENT_N, false},
		.peer = {span_str(peer), PROOF_ENDORSED, SPAN_ARRAY(root_a), CONFINEMENT_N, false},
		.peer_level = 1,
		.evidence_time_ms = NOW - 1000,
		.operation = span_str("push"),
		.now_ms = NOW,
	};
}

int main(void)
{
	int failed = 0;
	failed += test_names();
	failed += test_schema();
	failed += test_table();
	failed += test_decision();
	failed += test_explain();
	failed += test_lint();
	failed += test_references();
	failed += test_render();
	failed += test_extended();
	failed += test_versions();
	failed += test_difference();
	return failed != 0;
}
