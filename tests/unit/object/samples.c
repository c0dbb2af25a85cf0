#include "samples.h"

#include "object/policy_version.h"
#include "wire/text.h"

#include <stdlib.h>

#include "crypto/x509.h"

static const uint64_t T0 = 1800000000000ULL; /* 2027-01-15T08:00:00Z */
static const char root_uri[] = "spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/IRE-A";
static const char peer_uri[] = "spiffe://aebagbafaydqqcikbmga2dqpcaireeyuculbogazdinryhi6d4qa.troth.internal/ire/IRE-B";

const char sample_policy_text[] =
	"{\"enclave_id\":\"IRE-A\",\"allowed_communicators\":[\"IRE-B\",\"IRE-C\"],\"max_dac_depth\":3,"
	"\"required_attestation_level\":\"Level-2\"}";

void sample_fill(void *out, size_t len, uint8_t first)
{
	uint8_t *bytes = out;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(first + i);
}

#define FILL(member, first) sample_fill(member, sizeof(member), first)

static void must(result done)
{
	if (done != OK) {
		fprintf(stderr, "samples: %s: %s\n", reason_name(done), failure_text());
		abort();
	}
}

static void make_key(uint8_t first, struct key *out)
{
	uint8_t scalar[SCALAR_SIZE];
	FILL(scalar, first);
	must(key_from_scalar(SPAN_ARRAY(scalar), out));
}

void sample_keys_make(struct sample_keys *out)
{
	make_key(0x01, &out->root_sign);
	make_key(0x21, &out->root_kem);
	make_key(0x41, &out->enclave_sign);
	make_key(0x61, &out->enclave_kem);
}

void sample_keys_free(struct sample_keys *keys)
{
	key_free(&keys->root_sign);
	key_free(&keys->root_kem);
	key_free(&keys->enclave_sign);
	key_free(&keys->enclave_kem);
}

/* ---- The structures ----------------------------------------------------------------------------- */

static struct register_value registers[REGISTER_COUNT];
static struct digest32 recovery_keys[2];

static struct launch launch = {.v = 1, .name = "IRE-A", .tier = "N", .isolation = "uid", .limits = "cgroup2",
	.secret_memory = "memfd_secret", .interpreter = "closed"};

static void fill_launch(const struct sample_keys *keys)
{
	FILL(launch.launch_id, 0x10);
	FILL(launch.run_id, 0x20);
	FILL(launch.core, 0x30);
	FILL(launch.measurement, 0x40);
	FILL(launch.policy_digest, 0x50);
	launch_keys_hash(keys->enclave_sign.point, keys->enclave_kem.point, launch.keys_hash);
}

static struct report launch_report = {.v = 1, .purpose = REPORT_LAUNCH, .epoch = 1, .boot_gen = 7, .seq = 2, .has_prev = true,
	.has_launch = true, .has_certificate = true, .registers = registers, .register_count = REGISTER_COUNT};
static struct report host_report = {.v = 1, .purpose = REPORT_HOST, .epoch = 1, .boot_gen = 7, .seq = 1,
	.registers = registers, .register_count = REGISTER_COUNT, .instrumented = true};

static void fill_report(struct report *report)
{
	static const uint8_t nonce[] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad,
		0xae, 0xaf};
	sample_fill(report->rot_id, OID_SIZE, 0x01);
	sample_fill(report->epoch_oid, OID_SIZE, 0x01);
	report->time = T0;
	if (report->has_prev)
		sample_fill(report->prev, OID_SIZE, 0x70);
	if (report->has_certificate)
		sample_fill(report->certificate, SHA256_SIZE, 0x80);
	if (report->has_launch)
		report->launch = launch;
	else
		report->challenge = SPAN_ARRAY(nonce);
}

static struct epoch inception = {.v = 1, .epoch = 1, .suite = SUITE_P256, .has_recovery = true,
	.recovery = {.k = 1, .n = 2, .keys = recovery_keys, .key_count = 2}, .grace_s = 60, .state = EPOCH_ACTIVE,
	.reason = EPOCH_INCEPTION};
static struct epoch without_recovery;

static void fill_epoch(const struct sample_keys *keys)
{
	memcpy(inception.sign_pk, keys->root_sign.point, POINT_SIZE);
	memcpy(inception.kem_pk, keys->root_kem.point, POINT_SIZE);
	FILL(inception.salt, 0x90);
	epoch_next_commitment(keys->enclave_sign.point, keys->enclave_kem.point, inception.salt, inception.next);
	FILL(recovery_keys[0].bytes, 0x11);
	FILL(recovery_keys[1].bytes, 0x22);
	inception.not_before = T0 - 300000;
	inception.not_after = T0 + 397ULL * 86400000;
	FILL(inception.measurement, 0xb0);
	without_recovery = inception;
	without_recovery.has_recovery = false;
}

static struct text_item arguments[] = {{"/job/decrypt.sh"}, {"--quiet"}};
static struct manifest_variable variables[] = {{"HOME", "/tmp"}, {"LC_ALL", "C.UTF-8"}};
static struct manifest_file files[] = {
	{.path = "/job", .type = FILE_DIRECTORY, .mode = 0555},
	{.path = "/lib64", .type = FILE_SYMLINK, .mode = 0777, .has_target = true, .target = "usr/lib64"},
	{.path = "/usr/bin/sh", .type = FILE_REGULAR, .mode = 0555, .size = 125640, .has_digest = true},
	{.path = "/job/decrypt.sh", .type = FILE_REGULAR, .mode = 0555, .size = 311, .has_digest = true},
};
static struct text_item permissions[] = {{"memfd"}};
static struct manifest_secret secrets[] = {{"rows-key", 3}};
static struct manifest_output outputs[] = {{"rejects", "/tmp/rejects.csv"}};
static struct digest32 listed[1];
static struct manifest_peer peers[] = {
	{.name = "IRE-B", .rot_rule = PEER_ROT_SAME},
	{.name = "partner", .rot_rule = PEER_ROT_LISTED, .rot_ids = listed, .rot_id_count = 1},
};
static struct manifest manifest = {.v = 1, .name = "IRE-A", .program = "/job/decrypt.sh", .arguments = arguments,
	.argument_count = COUNT_OF(arguments), .environment = variables, .environment_count = COUNT_OF(variables),
	.files = files, .file_count = COUNT_OF(files),
	.limits = {268435456, 67108864, 1073741824, 32, 256, 60000, 120000}, .permissions = permissions, .permission_count = 1,
	.secrets = secrets, .secret_count = 1, .outputs = outputs, .output_count = 1, .interpreter = "open",
	.backend = "process", .peers = peers, .peer_count = COUNT_OF(peers)};
const struct manifest *const sample_manifest = &manifest;

static void fill_manifest(void)
{
	FILL(files[2].digest, 0x01);
	sha384(span_str("#!/bin/sh\n"), files[3].digest);
	FILL(manifest.policy_digest, 0x50);
	FILL(peers[0].core, 0x60);
	FILL(listed[0].bytes, 0x01);
	must(schema_sort(&manifest_file_schema, files, COUNT_OF(files)));
}

static struct record_data stdout_data = {"stdout", {0}}, rows_data = {"rows", {0}}, edge_data = {"IRE-A-IRE-B", {0}};
static struct record_parent one_parent[1], two_parents[2];
static struct record origin = {.v = 1, .kind = RECORD_ORIGIN, .enclave = root_uri, .epoch = 1, .seq = 1, .operation = "input",
	.out = &rows_data, .out_count = 1, .has_ledger_ref = true};
static struct record derive = {.v = 1, .kind = RECORD_DERIVE, .enclave = root_uri, .epoch = 1, .seq = 2, .operation = "run",
	.parents = one_parent, .parent_count = 1, .in = &rows_data, .in_count = 1, .out = &edge_data, .out_count = 1};
static struct record request = {.v = 1, .kind = RECORD_REQUEST, .enclave = root_uri, .epoch = 1, .seq = 3, .operation = "rows",
	.parents = one_parent, .parent_count = 1, .target = peer_uri, .has_target = true, .has_call_id = true,
	.in = &edge_data, .in_count = 1};
static struct record response = {.v = 1, .kind = RECORD_RESPONSE, .enclave = peer_uri, .epoch = 1, .seq = 1,
	.operation = "rows", .parents = two_parents, .parent_count = 2, .target = root_uri, .has_target = true,
	.has_call_id = true, .in = &edge_data, .in_count = 1, .out = &stdout_data, .out_count = 1};

static void fill_record(struct record *record)
{
	sample_fill(record->certificate, SHA256_SIZE, 0x80);
	sample_fill(record->host_report, OID_SIZE, 0x81);
	sample_fill(record->rot_id, OID_SIZE, 0x01);
	record->time = T0 + 1000 * record->seq;
	if (record->has_call_id)
		sample_fill(record->call_id, CALL_ID_SIZE, 0xc0);
	if (record->has_ledger_ref)
		sample_fill(record->ledger_ref, OID_SIZE, 0xd0);
	sample_fill(record->policy_digest, SHA256_SIZE, 0x50);
	sample_fill(record->run_id, RUN_ID_SIZE, 0x20);
}

static void fill_records(void)
{
	FILL(stdout_data.commit, 0xe0);
	FILL(rows_data.commit, 0xe1);
	FILL(edge_data.commit, 0xe2);
	one_parent[0].enclave = root_uri;
	FILL(one_parent[0].oid, 0xf0);
	two_parents[0].enclave = root_uri;
	FILL(two_parents[0].oid, 0xf1);
	two_parents[1].enclave = peer_uri;
	FILL(two_parents[1].oid, 0xf2);
	fill_record(&origin);
	fill_record(&derive);
	fill_record(&request);
	fill_record(&response);
}

static struct statement statement = {.v = 1, .enclave = root_uri, .time = T0, .name = "summary", .media_type = "text/csv",
	.length = 4096};
static struct rot_challenge challenge = {.v = 1, .epoch = 1, .boot_gen = 7, .purpose = "attest", .time = T0,
	.registers = registers, .register_count = REGISTER_COUNT};
static struct derive_answer answer = {.v = 1, .id_i = "left", .id_r = "right", .purpose = "link"};
static struct queue_hello queue_hello = {.v = 1, .boot_gen = 7};
static uint8_t ciphertext[40];
static struct sealed sealed = {.v = 1, .policy = {.v = 1, .name = "IRE-A"}, .storage_key_version = 1,
	.ciphertext = {ciphertext, sizeof(ciphertext)}};
static struct sealed sealed_by_reference = {.v = 1,
	.policy = {.v = SEAL_BY_REFERENCE, .name = "IRE-A", .reference = {.set = "payroll", .min_svn = 2}}, .storage_key_version = 1,
	.ciphertext = {ciphertext, sizeof(ciphertext)}};
static struct reference_row program_rows[] = {{.svn = 1, .what = REFERENCE_PROGRAM}, {.svn = 2, .what = REFERENCE_PROGRAM}};
static struct reference_row enclave_rows[] = {{.svn = 2, .what = REFERENCE_CORE}, {.svn = 2, .what = REFERENCE_MEASUREMENT},
	{.svn = 3, .what = REFERENCE_MEASUREMENT}};
static struct reference_entry entries[] = {{"IRE-A", 2, enclave_rows, COUNT_OF(enclave_rows)},
	{"troth-ap", 1, program_rows, COUNT_OF(program_rows)}};
static struct reference_set reference_set = {.v = 1, .name = "payroll", .version = 3, .not_before = T0,
	.not_after = T0 + 31536000000, .entries = entries, .entry_count = COUNT_OF(entries)};
static struct backup_holder holders[] = {{.number = 1}, {.number = 2}, {.number = 3}};
static uint8_t backed_up[BACKUP_ROW_SIZE + AEAD_TAG_SIZE];
static struct backup backup = {.v = 1, .epoch = 4, .time = T0, .trust_domain = "troth.internal", .k = 2, .holders = holders,
	.holder_count = COUNT_OF(holders), .ciphertext = {backed_up, sizeof(backed_up)}};
static uint8_t revoked_values[3][SHA384_SIZE];
static struct revocation_entry revoked[] = {{REVOKE_MEASUREMENT, {revoked_values[0], SHA384_SIZE}, 0, "CVE-2026-1234"},
	{REVOKE_KEY, {revoked_values[1], KEY_ID_SIZE}, T0, ""}, {REVOKE_HOST, {revoked_values[2], OID_SIZE}, T0, "decommissioned"}};
static struct revocation_list revocation_list = {.v = 1, .version = 2, .time = T0, .not_after = T0 + 31536000000, .entries = revoked,
	.entry_count = COUNT_OF(revoked)};
static struct revocation_head_row head_rows[] = {{.version = 2}};
static struct revocation_head revocation_head = {.v = 1, .boot_gen = 7, .seq = 12, .time = T0, .steady = 86400000, .lease_ms = 5000,
	.lists = head_rows, .list_count = COUNT_OF(head_rows)};
static struct unseal_request unseal = {.v = 1};
static struct unseal_grant grant = {.v = 1};

static void fill_small(const struct sample_keys *keys)
{
	FILL(statement.certificate, 0x80);
	FILL(statement.run_id, 0x20);
	sha256(span_str("department,sum\n"), statement.digest);
	FILL(challenge.challenge, 0x07);
	FILL(challenge.epoch_oid, 0x01);
	FILL(challenge.rot_id, 0x01);
	FILL(answer.challenge_i, 0x31);
	FILL(answer.challenge_r, 0x32);
	memcpy(answer.ephemeral_i, keys->enclave_sign.point, POINT_SIZE);
	memcpy(answer.ephemeral_r, keys->enclave_kem.point, POINT_SIZE);
	FILL(answer.epoch_oid, 0x01);
	FILL(queue_hello.host_nonce, 0x33);
	FILL(queue_hello.ap_nonce, 0x34);
	memcpy(queue_hello.host_point, keys->enclave_sign.point, POINT_SIZE);
	memcpy(queue_hello.ap_point, keys->enclave_kem.point, POINT_SIZE);
	FILL(queue_hello.epoch_oid, 0x01);
	FILL(sealed.policy.rot_id, 0x01);
	FILL(sealed.policy.measurement, 0x40);
	FILL(sealed.box_hash, 0x33);
	FILL(sealed.salt, 0x34);
	FILL(sealed.epoch_oid, 0x01);
	FILL(ciphertext, 0x35);
	sealed_by_reference.ciphertext = SPAN_ARRAY(ciphertext);
	FILL(sealed_by_reference.policy.rot_id, 0x01);
	memcpy(sealed_by_reference.policy.reference.author, keys->root_sign.id, KEY_ID_SIZE);
	FILL(sealed_by_reference.box_hash, 0x33);
	FILL(sealed_by_reference.salt, 0x34);
	FILL(sealed_by_reference.epoch_oid, 0x01);
	for (size_t i = 0; i < COUNT_OF(program_rows); i++)
		FILL(program_rows[i].digest, (uint8_t)(0xa0 + i));
	for (size_t i = 0; i < COUNT_OF(enclave_rows); i++)
		FILL(enclave_rows[i].digest, (uint8_t)(0xa8 + i));
	memcpy(reference_set.author_pk, keys->root_sign.point, POINT_SIZE);
	for (size_t i = 0; i < COUNT_OF(revoked_values); i++)
		FILL(revoked_values[i], (uint8_t)(0xd0 + i));
	memcpy(revocation_list.operator_pk, keys->root_sign.point, POINT_SIZE);
	FILL(revocation_head.rot_id, 0x01);
	FILL(revocation_head.epoch_oid, 0x02);
	memcpy(head_rows[0].operator_id, keys->root_sign.id, KEY_ID_SIZE);
	FILL(head_rows[0].oid, 0xd8);
	for (size_t i = 0; i < COUNT_OF(holders); i++) {
		FILL(holders[i].key, (uint8_t)(0xb0 + i));
		FILL(holders[i].box, (uint8_t)(0xb8 + i));
	}
	FILL(backup.id, 0xc0);
	FILL(backup.rot_id, 0x01);
	FILL(backup.epoch_oid, 0x02);
	FILL(backed_up, 0xc1);
	FILL(unseal.seal_oid, 0x36);
	FILL(unseal.launch_id, 0x10);
	FILL(unseal.nonce, 0x37);
	FILL(grant.seal_oid, 0x36);
	FILL(grant.launch_id, 0x10);
	FILL(grant.nonce, 0x37);
	FILL(grant.box_hash, 0x38);
	FILL(grant.epoch_oid, 0x01);
}

static struct digest32 head_roots[1];
static struct receipt_section_row rows[] = {{.id = SECTION_RECORDS, .critical = true}, {.id = SECTION_SALTS, .critical = true}};
static struct receipt_head head = {.v = 1, .has_nonce = true, .boot_gen = 7, .seq = 3, .has_prev = true, .time = T0,
	.recorder = "journal", .roots = head_roots, .root_count = 1, .sections = rows, .section_count = COUNT_OF(rows)};

static struct job_enclave enclaves[] = {{.name = "IRE-A"}, {.name = "IRE-B"}};
static struct job_edge edges[] = {{"IRE-A-IRE-B", "IRE-A", "stdout", "IRE-B", "stdin", "rows"}};
static struct job_input inputs[] = {{"rows", "IRE-A", "stdin", false}, {"rows-key", "IRE-A", "rows-key", true}};
static struct job_output job_outputs[] = {{"summary", "IRE-B", "stdout", "summary.csv", true, "text/csv"}};
static struct job_external externals[] = {{.name = "partner"}};
static struct job job = {.v = 1, .name = "payroll", .enclaves = enclaves, .enclave_count = 2, .edges = edges, .edge_count = 1,
	.inputs = inputs, .input_count = 2, .outputs = job_outputs, .output_count = 1, .externals = externals,
	.external_count = 1};

static void fill_job(void)
{
	for (size_t i = 0; i < COUNT_OF(enclaves); i++) {
		FILL(enclaves[i].core, (uint8_t)(0x30 + i));
		FILL(enclaves[i].measurement, (uint8_t)(0x40 + i));
		FILL(enclaves[i].policy_digest, (uint8_t)(0x50 + i));
	}
	FILL(externals[0].spki, 0x77);
	must(schema_sort(&job_input_schema, inputs, COUNT_OF(inputs)));
}

static void fill_head(void)
{
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	must(schema_encode(&job_schema, &job, &encoding));
	job_digest(bytes_span(&encoding), head.job_digest);
	FILL(head.rand, 0x91);
	FILL(head.nonce, 0x92);
	run_id_compute(head.job_digest, SPAN_ARRAY(head.nonce), head.rand, head.run_id);
	FILL(head.rot_id, 0x01);
	FILL(head.epoch_oid, 0x01);
	FILL(head.prev, 0x93);
	FILL(head_roots[0].bytes, 0xf0);
	sha256(span_str("\x80"), rows[0].digest);
	sha256(span_str("\x80"), rows[1].digest);
}

/* ---- Ledger ------------------------------------------------------------------------------------ */

static struct grant ledger_grant;
static struct access_request access_request;
static struct operation operation;
static struct endorsement endorsement;
static struct transaction transaction;
static struct ledger_config ledger_config;

static void fill_ledger(const struct sample_keys *keys)
{
	static char scope[SCOPE_MAX + 1];
	static struct digest48 measurements[2];
	static struct point members[1], registrars[1];
	static struct cosigner cosigners[1];
	static struct bytes body;
	static uint8_t request_bytes[40]; /* stands for a signed object, whose bytes would differ each time */
	uint8_t owner[ADDRESS_SIZE];
	char text[ADDRESS_TEXT_SIZE];
	const uint64_t day = 24ULL * 3600 * 1000;
	address_of(keys->root_sign.point, owner);
	address_format(owner, text);
	snprintf(scope, sizeof(scope), "%s/hospital/admissions", text);
	FILL(measurements[0].bytes, 0x10);
	FILL(measurements[1].bytes, 0x20);
	ledger_grant = (struct grant){.v = 1, .scope = scope, .operations = 5, .measurements = {measurements, 2}, .has_measurements = true,
		.not_before = 1800000000000, .not_after = 1800000000000 + 30 * day, .max_uses = 100, .has_max_uses = true, .max_depth = 2};
	FILL(ledger_grant.chain, 0xc0);
	memcpy(ledger_grant.issuer, keys->root_sign.point, POINT_SIZE);
	address_of(keys->enclave_sign.point, ledger_grant.audience);
	FILL(ledger_grant.nonce, 0xa1);

	access_request = (struct access_request){.v = 1, .operation = 2, .scope = scope, .has_measurement = true, .not_after = 1800000300000};
	FILL(access_request.chain, 0xc0);
	memcpy(access_request.actor, keys->enclave_sign.point, POINT_SIZE);
	FILL(access_request.measurement, 0x10);
	FILL(access_request.nonce, 0xa2);
	FILL(request_bytes, 0xa8);
	operation = (struct operation){.v = 1, .request = SPAN_ARRAY(request_bytes), .time = 1800000100000, .has_result = true};
	FILL(operation.chain, 0xc0);
	memcpy(operation.processor, keys->root_sign.point, POINT_SIZE);
	FILL(operation.vmm, 0x30);
	FILL(operation.operation_id, 0xa3);
	FILL(operation.data_commitment, 0xa4);
	FILL(operation.measurement, 0x10);
	FILL(operation.result_commitment, 0xa5);

	endorsement = (struct endorsement){.v = 1, .subject = REGISTERED_ENCLAVE, .label = "sum 1.0", .not_before = 1800000000000, .not_after = 1800000000000 + 365 * day};
	FILL(endorsement.chain, 0xc0);
	memcpy(endorsement.registrar, keys->root_sign.point, POINT_SIZE);
	FILL(endorsement.digest, 0x10);

	struct tx_unregister unregister = {.subject = REGISTERED_ENCLAVE, .why = "replaced"};
	FILL(unregister.digest, 0x10);
	bytes_free(&body);
	must(schema_encode(&tx_unregister_schema, &unregister, &body));
	transaction = (struct transaction){.v = 1, .valid_until = 1800000600000, .type = TX_UNREGISTER, .body = bytes_span(&body)};
	FILL(transaction.chain, 0xc0);
	memcpy(transaction.sender, keys->root_sign.point, POINT_SIZE);
	FILL(transaction.nonce, 0xa6);

	memcpy(members[0].bytes, keys->root_sign.point, POINT_SIZE);
	memcpy(registrars[0].bytes, keys->enclave_sign.point, POINT_SIZE);
	cosigners[0] = (struct cosigner){.name = "witness.example/w1", .statement = STATEMENT_APPEND};
	FILL(cosigners[0].key, 0xb1);
	ledger_config = (struct ledger_config){.v = 1, .members = members, .member_count = 1, .quorum = 1, .registrars = registrars, .registrar_count = 1,
		.registrar_quorum = 1, .log_name = "example.com/ledger", .cosigners = cosigners, .cosigner_count = 1, .time_bound_ms = 300000,
		.spool_bound_ms = day};
	FILL(ledger_config.log_key, 0xb2);
}

static struct transport_key transport = {.v = 1, .purpose = TRANSPORT_LINK, .not_before = T0, .not_after = T0 + 3600000};
static struct text_item peer_addresses[] = {{"north.example:4711"}};
static struct host_enrolment enrolment = {.v = 1, .name = "north", .addresses = peer_addresses, .address_count = 1, .time = T0};

static void fill_transport(void)
{
	FILL(transport.spki, 0xd0);
	FILL(transport.rot_id, 0x01);
	FILL(transport.epoch_oid, 0x02);
	FILL(enrolment.rot_id, 0x01);
	FILL(enrolment.peer, 0xd1);
}

/* Version 2 of IRE-A's policy, whose author is the root key of the samples. */
static struct policy_version_object policy_version = {.v = 1};
static uint8_t version_policy[128];

static void fill_policy_version(const struct sample_keys *keys)
{
	static const char start[] = "ab01010202030104654952452d4105030601070208f509000a82a201654952452d42020fa201654952452d43020f181b5820";
	size_t len = strlen(start) / 2;
	must(hex_decode(span_str(start), version_policy, len));
	memcpy(version_policy + len, keys->root_sign.id, KEY_ID_SIZE);
	memcpy(policy_version.author_pk, keys->root_sign.point, POINT_SIZE);
	policy_version.policy = span_of(version_policy, len + KEY_ID_SIZE);
}

/* What the TPM says is carried as it is: no reader of this kind looks into it. */
static struct head_statement head_statement = {.v = 1, .boot_gen = 7, .seq = 3, .time = T0, .index = 0x01860000};

static void fill_head_statement(void)
{
	FILL(head_statement.rot_id, 0x01);
	FILL(head_statement.epoch_oid, 0x02);
	head_statement.nonce = span_str("nonce");
	head_statement.ak_public = span_str("TPMT_PUBLIC");
	head_statement.attest = span_str("TPMS_ATTEST");
	head_statement.signature = span_str("TPMT_SIGNATURE");
}

void samples_make(const struct sample_keys *keys, struct sample out[static SAMPLE_COUNT])
{
	for (size_t i = 0; i < REGISTER_COUNT; i++)
		FILL(registers[i].value, (uint8_t)i);
	fill_launch(keys);
	fill_report(&launch_report);
	fill_report(&host_report);
	fill_epoch(keys);
	fill_manifest();
	fill_records();
	fill_small(keys);
	fill_job();
	fill_head();
	fill_ledger(keys);
	fill_transport();
	fill_head_statement();
	fill_policy_version(keys);
	const struct sample samples[SAMPLE_COUNT] = {
		{"launch report", KIND_REPORT, &report_schema, &launch_report, false},
		{"host report", KIND_REPORT, &report_schema, &host_report, false},
		{"inception", KIND_EPOCH, &epoch_schema, &inception, false},
		{"inception without recovery", KIND_EPOCH, &epoch_schema, &without_recovery, false},
		{"manifest", KIND_MANIFEST, &manifest_schema, &manifest, false},
		{"origin", KIND_RECORD, &record_schema, &origin, true},
		{"derive", KIND_RECORD, &record_schema, &derive, true},
		{"request", KIND_RECORD, &record_schema, &request, true},
		{"response", KIND_RECORD, &record_schema, &response, true},
		{"launch", KIND_LAUNCH, &launch_schema, &launch, false},
		{"sealed object", KIND_SEALED, &sealed_schema, &sealed, false},
		{"unseal request", KIND_UNSEAL_REQUEST, &unseal_request_schema, &unseal, true},
		{"unseal grant", KIND_UNSEAL_GRANT, &unseal_grant_schema, &grant, false},
		{"rot challenge", KIND_ROT_CHALLENGE, &rot_challenge_schema, &challenge, false},
		{"derive answer", KIND_DERIVE_ANSWER, &derive_answer_schema, &answer, false},
		{"queue hello", KIND_QUEUE_HELLO, &queue_hello_schema, &queue_hello, false},
		{"statement", KIND_STATEMENT, &statement_schema, &statement, true},
		{"receipt head", KIND_RECEIPT_HEAD, &receipt_head_schema, &head, false},
		{"job", KIND_JOB, &job_schema, &job, false},
		{"sealed object by reference", KIND_SEALED, &sealed_schema, &sealed_by_reference, false},
		{"reference set", KIND_REFERENCE_SET, &reference_set_schema, &reference_set, false},
		{"backup", KIND_BACKUP, &backup_schema, &backup, false},
		{"revocation list", KIND_REVOCATION_LIST, &revocation_list_schema, &revocation_list, false},
		{"revocation head", KIND_REVOCATION_HEAD, &revocation_head_schema, &revocation_head, false},
		{"grant", KIND_GRANT, &grant_schema, &ledger_grant, false},
		{"access request", KIND_ACCESS_REQUEST, &access_request_schema, &access_request, true},
		{"operation", KIND_OPERATION, &operation_schema, &operation, false},
		{"registration", KIND_REGISTRATION, &endorsement_schema, &endorsement, false},
		{"transaction", KIND_TRANSACTION, &transaction_schema, &transaction, false},
		{"ledger configuration", KIND_LEDGER_CONFIG, &ledger_config_schema, &ledger_config, false},
		{"transport key", KIND_TRANSPORT_KEY, &transport_key_schema, &transport, false},
		{"enrolment", KIND_ENROLMENT, &enrolment_schema, &enrolment, false},
		{"policy version", KIND_POLICY_VERSION, &policy_version_schema, &policy_version, false},
		{"head proof", KIND_HEAD_PROOF, &head_statement_schema, &head_statement, false},
	};
	memcpy(out, samples, sizeof(samples));
}

void sample_certificate(const struct sample_keys *keys, struct bytes *out)
{
	CLEANUP(writer_free) struct writer tcb = writer_growing(512);
	uint8_t oid[OID_SIZE];
	char label[ROT_LABEL_SIZE];
	sample_fill(oid, sizeof(oid), 0x01);
	rot_label(oid, label);
	cbor_put_map(&tcb, 6);
	cbor_put_uint(&tcb, 1);
	cbor_put_bytes(&tcb, SPAN_ARRAY(launch.core));
	cbor_put_uint(&tcb, 2);
	cbor_put_bytes(&tcb, SPAN_ARRAY(launch.measurement));
	cbor_put_uint(&tcb, 3);
	cbor_put_bytes(&tcb, SPAN_ARRAY(launch.launch_id));
	cbor_put_uint(&tcb, 4);
	cbor_put_bytes(&tcb, SPAN_ARRAY(oid));
	cbor_put_uint(&tcb, 5);
	cbor_put_str(&tcb, launch.tier);
	cbor_put_uint(&tcb, 6);
	cbor_put_str(&tcb, launch.isolation);
	struct certificate_fields fields = {.uri = root_uri, .not_before = T0 - 300000, .not_after = T0 + 86400000};
	must(writer_finish(&tcb, &fields.tcb_info));
	FILL(fields.serial, 0x05);
	memcpy(fields.sign_point, keys->enclave_sign.point, POINT_SIZE);
	memcpy(fields.kem_point, keys->enclave_kem.point, POINT_SIZE);
	must(certificate_issue(&fields, &keys->root_sign, label, out));
}
