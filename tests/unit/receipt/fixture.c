#include "fixture.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/writer.h"
#include "crypto/box.h"
#include "crypto/random.h"
#include "policy/schema.h"
#include "wire/text.h"
#include "root/boot_log.h"

static const uint64_t T0 = 1800000000000ULL;
const char summary_text[] = "department,total\nsales,100\n", rejects_text[] = "line 7: no salary\n", rows_text[] = "a,b,c\n";

/* ---- Host -------------------------------------------------------------------------------------------- */

static void keep_state(struct host *host, struct span state)
{
	bytes_free(&host->state);
	expect_ok(bytes_copy(state, &host->state));
}

static result keep_rotated(void *context, struct span state)
{
	keep_state(context, state);
	return OK;
}

static void ask(struct host *host, enum ipq_type type, const struct schema *schema, const void *request, const struct schema *reply_schema,
	void *reply)
{
	CLEANUP(writer_free) struct writer w = writer_growing(128 * 1024);
	struct ap_action action;
	struct span kept;
	if (ipq_message_row(type)->expects_epoch)
		ipq_put_expected(&w, (struct ipq_expected){host->era, host->epoch});
	if (schema)
		schema_put(schema, request, &w);
	ap_step(host->ap, type, span_of(w.data, w.len), host->now, &action);
	if (action.kind == AP_PERSIST) {
		keep_state(host, action.persist);
		ap_persisted(host->ap, OK, &action);
	}
	if (action.kind == AP_ROTATE) {
		struct ap_rotation *rotation = action.rotation;
		ap_rotation_run(rotation, keep_rotated, host);
		ap_rotated(host->ap, rotation, host->now, &action);
	}
	if (action.kind == AP_REPLY_ERROR)
		fail_msg("request %d: %s (%s)", type, reason_name(action.reason), action.text);
	if (!reply_schema)
		return;
	expect_ok(arena_copy(&host->arena, action.reply, &kept));
	expect_ok(schema_decode(reply_schema, kept, &host->arena, reply));
}

static void extend(struct host *host, uint8_t index, const char *name, uint8_t fill)
{
	struct ap_measured_program program = {.name = name};
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	uint8_t digest[SHA384_SIZE];
	memset(program.digest, fill, sizeof(program.digest));
	expect_ok(schema_encode(&ap_measured_program_schema, &program, &content));
	struct ap_extend request = {index, bytes_span(&content), true};
	struct ap_extended reply;
	ask(host, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &reply);
	sha384(bytes_span(&content), digest);
	register_extend(&host->registers[index], digest);
}

static void boot(struct host *host, uint8_t seed)
{
	struct ap_action action;
	struct ap_config config = {.state = bytes_span(&host->state), .wrap_key = &host->wrap, .secret_memory = "locked"};
	expect_ok(ap_new(&config, host->now, &host->ap, &action));
	keep_state(host, action.persist);
	ap_persisted(host->ap, OK, &action);
	memset(host->registers, 0, sizeof(host->registers));
	extend(host, REGISTER_AP, "troth-ap", seed);
	extend(host, REGISTER_HOST, "trothd", (uint8_t)(seed + 1));
}

/* What the host keeps of its newest record. */
static void use_record(struct host *host, struct span record)
{
	struct cose_sign object;
	struct epoch epoch;
	assert_true(host->epoch_count < COUNT_OF(host->epochs));
	host->epochs[host->epoch_count++] = record;
	expect_ok(cose_strict_sign_parse(record, &object));
	expect_ok(schema_decode(&epoch_schema, object.payload, &host->arena, &epoch));
	memcpy(host->kem_pk, epoch.kem_pk, POINT_SIZE);
	key_free(&host->root_sign);
	expect_ok(key_from_point(SPAN_ARRAY(epoch.sign_pk), &host->root_sign));
	host->era = epoch.era;
	host->epoch = epoch.epoch;
}

static void generate(struct host *host)
{
	struct ap_generate request = {.valid_ms = 397ULL * 86400000,
		.grace_s = 60,
		.trust_domain = "troth.internal",
		.has_recovery = true,
		.recovery = {.k = 1, .n = 1, .keys = &host->recovery, .key_count = 1}};
	struct ap_rot_available reply;
	struct epoch epoch;
	expect_ok(key_generate(&host->recovery_key));
	memcpy(host->recovery.bytes, host->recovery_key.id, sizeof(host->recovery.bytes));
	random_bytes(request.host_seed, sizeof(request.host_seed));
	ask(host, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &reply);
	host->inception = reply.epoch_record;
	expect_ok(epoch_open_inception(reply.epoch_record, &host->arena, &epoch, host->rot_id));
	use_record(host, reply.epoch_record);
}

static void drain(struct host *host)
{
	ask(host, IPQ_DRAIN, NULL, NULL, NULL, NULL);
}

void host_rotate(struct host *host)
{
	struct ap_rotate request = {.reason = EPOCH_OPERATOR, .grace_s = 60};
	struct ap_rot_available reply;
	random_bytes(request.request_id, sizeof(request.request_id));
	random_bytes(request.host_seed, sizeof(request.host_seed));
	ask(host, IPQ_ROTATE_ROT, &ap_rotate_schema, &request, &ap_rot_available_schema, &reply);
	use_record(host, reply.epoch_record);
	drain(host);
}

void host_recover(struct host *host, struct span base)
{
	uint8_t spki[SPKI_SIZE];
	struct ap_recover request = {
		.inception = host->inception, .base = base, .trust_domain = "troth.internal", .valid_ms = 86400000, .grace_s = 60, .era = host->era + 1};
	struct recovery_signature signature = {.spki = SPAN_ARRAY(spki)};
	struct ap_adopt_candidate adopt = {.signatures = &signature, .signature_count = 1};
	struct ap_candidate candidate;
	struct ap_rot_available reply;
	CLEANUP(bytes_free) struct bytes tbs = BYTES_EMPTY;
	random_bytes(request.host_seed, sizeof(request.host_seed));
	ask(host, IPQ_RECOVER, &ap_recover_schema, &request, &ap_candidate_schema, &candidate);
	expect_ok(cose_strict_sign_tbs(candidate.payload, "troth epoch", host->recovery_key.id, &tbs));
	expect_ok(key_sign(&host->recovery_key, bytes_span(&tbs), signature.signature));
	key_spki(&host->recovery_key, spki);
	sha256(candidate.payload, adopt.payload_digest);
	ask(host, IPQ_ADOPT_CANDIDATE, &ap_adopt_candidate_schema, &adopt, &ap_rot_available_schema, &reply);
	use_record(host, reply.epoch_record);
}

void host_halt(const struct host *host, struct bytes *out)
{
	struct halt halt = {.v = 1, .era = host->era, .epoch = host->epoch};
	const struct key *keys[] = {&host->recovery_key};
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	memcpy(halt.rot_id, host->rot_id, OID_SIZE);
	expect_ok(schema_encode(&halt_schema, &halt, &payload));
	expect_ok(cose_strict_sign_make(bytes_span(&payload), "troth halt", keys, 1, out));
}

void host_history(const struct host *host, size_t first, struct span halt, struct bytes *out)
{
	struct bytes_item objects[COUNT_OF(host->epochs) + 1], key;
	struct epoch_history history = {.v = 1, .objects = objects, .keys = &key, .key_count = 1};
	uint8_t spki[SPKI_SIZE];
	for (size_t i = first; i < host->epoch_count; i++)
		objects[history.object_count++].bytes = host->epochs[i];
	if (halt.len)
		objects[history.object_count++].bytes = halt;
	key_spki(&host->recovery_key, spki);
	key.bytes = SPAN_ARRAY(spki);
	expect_ok(schema_encode(&epoch_history_schema, &history, out));
}

void host_new(struct host *host, uint8_t seed)
{
	*host = (struct host){.arena = arena_of(64 << 20), .now = T0};
	expect_ok(secret_new(32, &host->wrap));
	memset(host->wrap.data, 0x5a, 32);
	boot(host, seed);
	generate(host);
}

void host_clone(const struct host *from, uint8_t seed, struct host *out)
{
	*out = *from;
	out->arena = arena_of(64 << 20);
	out->state = BYTES_EMPTY;
	out->root_sign = key_ref(&from->root_sign);
	out->recovery_key = key_ref(&from->recovery_key);
	expect_ok(secret_copy(secret_span(&from->wrap), &out->wrap));
	expect_ok(bytes_copy(bytes_span(&from->state), &out->state));
	boot(out, seed);
}

void host_free(struct host *host)
{
	ap_free(host->ap);
	secret_free(&host->wrap);
	bytes_free(&host->state);
	key_free(&host->root_sign);
	key_free(&host->recovery_key);
	arena_free(&host->arena);
}

/* ---- Job ---------------------------------------------------------------------------------------------- */

static const char *const names[STAGES] = {"IRE-A", "IRE-B", "IRE-C"};

static struct span compile(struct job_fixture *job, const char *text)
{
	CLEANUP(document_free) struct document document = {0};
	CLEANUP(bytes_free) struct bytes compiled = BYTES_EMPTY;
	struct span kept;
	expect_ok(document_parse("policy", span_str(text), 1 << 20, &document));
	expect_ok(policy_compile_node(&document, document.root, &compiled));
	expect_ok(arena_copy(&job->arena, bytes_span(&compiled), &kept));
	return kept;
}

static struct span compile_reference(struct job_fixture *job)
{
	char text[512], author[2 * KEY_ID_SIZE + 1];
	hex_encode(SPAN_ARRAY(job->author.id), author);
	snprintf(text, sizeof(text),
		"{\"enclave_id\":\"IRE-B\",\"allowed_communicators\":[{\"id\":\"IRE-A\",\"reference\":{\"author\":\"%s\","
		"\"set\":\"payroll\",\"min_svn\":2}},\"IRE-C\"],\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\"}",
		author);
	return compile(job, text);
}

/* A policy of a stage that would take its neighbours from either host: where they run is the job's business. */
static struct span compile_for_hosts(struct job_fixture *job, int stage, const uint8_t *const roots[STAGES])
{
	char text[1024];
	int len = snprintf(text, sizeof(text),
		"{\"enclave_id\":\"%s\",\"max_dac_depth\":3,\"required_attestation_level\":\"Level-1\",\"allowed_communicators\":[", names[stage]);
	for (int p = stage - 1; p <= stage + 1; p += 2) {
		char a[2 * OID_SIZE + 1], b[2 * OID_SIZE + 1];
		if (p < 0 || p >= STAGES)
			continue;
		hex_encode(span_of(roots[A], OID_SIZE), a);
		hex_encode(span_of(roots[B], OID_SIZE), b);
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%s{\"id\":\"%s\",\"rot_ids\":[\"%s\",\"%s\"]}", p == stage + 1 && stage > 0 ? "," : "",
			names[p], a, b);
	}
	snprintf(text + len, sizeof(text) - (size_t)len, "]}");
	return compile(job, text);
}

static void compile_policies(struct job_fixture *job, enum shape shape)
{
	job->policies[A] = compile(job,
		"{\"enclave_id\":\"IRE-A\",\"allowed_communicators\":[\"IRE-B\"],\"max_dac_depth\":3,"
		"\"required_attestation_level\":\"Level-1\",\"allow_interpreter\":false}");
	job->policies[B] = compile(job,
		"{\"enclave_id\":\"IRE-B\",\"allowed_communicators\":[\"IRE-A\",\"IRE-C\"],\"max_dac_depth\":3,"
		"\"required_attestation_level\":\"Level-1\"}");
	if (shape == SHAPE_REFERENCE)
		job->policies[B] = compile_reference(job);
	if (shape == SHAPE_CALLS)
		job->policies[B] = compile(job, "{\"enclave_id\":\"IRE-B\",\"allowed_communicators\":[\"IRE-A\",\"IRE-C\"],\"max_dac_depth\":8,"
						"\"required_attestation_level\":\"Level-1\"}");
	job->policies[C] = compile(job, shape == SHAPE_CALLS ?
		"{\"enclave_id\":\"IRE-C\",\"allowed_communicators\":[\"IRE-B\"],\"max_dac_depth\":8,\"required_attestation_level\":\"Level-1\"}" :
		"{\"enclave_id\":\"IRE-C\",\"allowed_communicators\":[\"IRE-B\"],\"max_dac_depth\":3,"
		"\"required_attestation_level\":\"Level-1\",\"version\":4}");
}

static struct manifest manifest_of(struct job_fixture *job, int stage, uint8_t program_version, struct manifest_file *file)
{
	static struct text_item arguments[] = {{"/bin/x"}};
	static struct manifest_secret secret = {"key", 3};
	*file = (struct manifest_file){.path = "/bin/x", .type = FILE_REGULAR, .mode = 0555, .size = 9, .has_digest = true};
	memset(file->digest, stage + 16 * program_version, sizeof(file->digest));
	struct manifest manifest = {.v = 1,
		.name = names[stage],
		.program = "/bin/x",
		.arguments = arguments,
		.argument_count = 1,
		.files = file,
		.file_count = 1,
		.limits = {1 << 28, 1 << 26, 1 << 30, 32, 256, 60000, 120000},
		.interpreter = "closed",
		.backend = "process"};
	if (stage == A) {
		manifest.secrets = &secret;
		manifest.secret_count = 1;
	}
	static struct text_item permissions[] = {{MANIFEST_FABRIC_PERMISSION}};
	static struct manifest_variable environment[] = {{MANIFEST_FABRIC_VARIABLE, "9"}};
	if (job->has_calls) {
		manifest.permissions = permissions;
		manifest.environment = environment;
		manifest.permission_count = manifest.environment_count = 1;
	}
	expect_ok(policy_digest(job->policies[stage], manifest.policy_digest));
	return manifest;
}

static void measure(struct job_fixture *job, struct job_enclave *enclaves, uint8_t program_version)
{
	struct manifest manifests[STAGES];
	struct manifest_file files[STAGES];
	for (int s = 0; s < STAGES; s++) {
		manifests[s] = manifest_of(job, s, program_version, &files[s]);
		enclaves[s].name = names[s];
		expect_ok(manifest_core(&manifests[s], enclaves[s].core));
		memcpy(enclaves[s].policy_digest, manifests[s].policy_digest, SHA256_SIZE);
	}
	for (int s = 0; s < STAGES; s++) {
		struct manifest_peer peers[2];
		struct digest32 root; /* B's neighbours have the same */
		CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
		size_t count = 0;
		for (int p = s - 1; p <= s + 1; p += 2) {
			if (p < 0 || p >= STAGES)
				continue;
			peers[count] = (struct manifest_peer){.name = names[p], .rot_rule = PEER_ROT_SAME};
			if (job->roots[p]) {
				memcpy(root.bytes, job->roots[p], OID_SIZE);
				peers[count].rot_rule = PEER_ROT_LISTED;
				peers[count].rot_ids = &root;
				peers[count].rot_id_count = 1;
			}
			memcpy(peers[count++].core, enclaves[p].core, SHA384_SIZE);
		}
		manifests[s].peers = peers;
		manifests[s].peer_count = count;
		expect_ok(manifest_encode(&manifests[s], &encoding));
		manifest_measurement(bytes_span(&encoding), enclaves[s].measurement);
		expect_ok(arena_copy(&job->arena, bytes_span(&encoding), &job->manifests[s]));
	}
}

static void fixture_new(struct job_fixture *job, enum shape shape, uint8_t program_version, const struct host *here, const struct host *there)
{
	static struct job_host hosts[2];
	static struct job_enclave enclaves[STAGES];
	static struct job_edge plain[] = {
		{"A-B", "IRE-A", "stdout", "IRE-B", "stdin", "rows"}, {"B-C", "IRE-B", "stdout", "IRE-C", "stdin", "sums"}};
	static struct job_edge calls[] = {{"A-B", "IRE-A", "stdout", "IRE-B", "stdin", "rows"}, {"B-C", "IRE-B", "stdout", "IRE-C", "stdin", "sums"},
		{.name = "C-B", .from = "IRE-C", .output = "fabric", .to = "IRE-B", .input = "fabric", .operation = "lookup", .call = true}};
	static struct job_edge external[] = {{"A-B", "IRE-A", "stdout", "IRE-B", "stdin", "rows"},
		{"B-C", "IRE-B", "stdout", "IRE-C", "stdin", "sums"}, {"feed", "source", "stdout", "IRE-A", "feed", "feed"},
		{"push", "IRE-C", "stdout", "sink", "stdin", "push"}};
	static struct job_input inputs[] = {{"rows-key", "IRE-A", "key", true}, {"rows", "IRE-A", "stdin", false}};
	static struct job_output outputs[] = {{"rejects", "IRE-A", "rejects", "rejects.csv", false, "text/csv"},
		{"summary", "IRE-C", "stdout", "summary.csv", true, "text/csv"}};
	static struct job_external externals[] = {{.name = "sink"}, {.name = "source"}};
	*job = (struct job_fixture){.arena = arena_of(4 << 20), .stages = shape == SHAPE_SINGLE ? 1 : STAGES};
	job->has_calls = shape == SHAPE_CALLS;
	if (shape == SHAPE_REFERENCE)
		expect_ok(key_generate(&job->author));
	if (there) {
		job->roots[A] = job->roots[C] = here->rot_id;
		job->roots[B] = there->rot_id;
		hosts[0].name = "here";
		hosts[1].name = "there";
		memcpy(hosts[0].rot_id, here->rot_id, OID_SIZE);
		memcpy(hosts[1].rot_id, there->rot_id, OID_SIZE);
	}
	compile_policies(job, shape);
	for (int s = 0; there && s < STAGES; s++)
		job->policies[s] = compile_for_hosts(job, s, job->roots);
	struct job_enclave *kept;
	void *memory;
	expect_ok(arena_alloc(&job->arena, STAGES, sizeof(*kept), &memory));
	kept = memory;
	memset(enclaves, 0, sizeof(enclaves));
	measure(job, enclaves, program_version);
	for (int s = 0; there && s < STAGES; s++)
		enclaves[s].host = hosts[s == B].name;
	memcpy(kept, enclaves, sizeof(enclaves));
	bool plain_shape = shape != SHAPE_EXTERNAL && shape != SHAPE_PUSH_ONLY;
	job->job = (struct job){.v = 1,
		.name = "payroll",
		.enclaves = kept,
		.enclave_count = (size_t)job->stages,
		.edges = plain_shape ? plain : external,
		.edge_count = plain_shape ? COUNT_OF(plain) : COUNT_OF(external),
		.inputs = inputs,
		.input_count = shape == SHAPE_NO_INPUT ? 0 : COUNT_OF(inputs),
		.outputs = outputs,
		.output_count = COUNT_OF(outputs),
		.externals = externals,
		.external_count = plain_shape ? 0 : COUNT_OF(externals),
		.hosts = hosts,
		.host_count = there ? COUNT_OF(hosts) : 0};
	if (shape == SHAPE_CALLS) {
		job->job.edges = calls;
		job->job.edge_count = COUNT_OF(calls);
	}
	if (shape == SHAPE_SINGLE) {
		job->job.edge_count = 0;
		job->job.output_count = 1;
	}
	if (shape == SHAPE_PUSH_ONLY)
		job->job.output_count = 1; /* that of A */
	expect_ok(schema_sort(&job_edge_schema, job->job.edges, job->job.edge_count));
	expect_ok(schema_sort(&job_external_schema, externals, COUNT_OF(externals)));
	expect_ok(schema_sort(&job_input_schema, inputs, COUNT_OF(inputs)));
	expect_ok(schema_sort(&job_output_schema, outputs, COUNT_OF(outputs)));
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	expect_ok(schema_encode(&job_schema, &job->job, &encoding));
	expect_ok(arena_copy(&job->arena, bytes_span(&encoding), &job->encoding));
	job_digest(job->encoding, job->digest);
}

void job_fixture_new(struct job_fixture *job, enum shape shape, uint8_t program_version)
{
	fixture_new(job, shape, program_version, NULL, NULL);
}

void job_fixture_new_hosts(struct job_fixture *job, const struct host *here, const struct host *there)
{
	fixture_new(job, SHAPE_PLAIN, 1, here, there);
}

void job_fixture_refer(struct job_fixture *job, const struct key *author, uint32_t svn, uint64_t not_before, uint64_t not_after)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct reference_row row = {.svn = svn, .what = REFERENCE_CORE};
	struct reference_entry entry = {names[A], 1, &row, 1};
	struct reference_set set = {.name = "payroll", .version = 1, .not_before = not_before, .not_after = not_after, .entries = &entry, .entry_count = 1};
	memcpy(row.digest, job->job.enclaves[A].core, SHA384_SIZE);
	expect_ok(reference_set_sign(&set, author, &object, NULL));
	expect_ok(arena_copy(&job->arena, bytes_span(&object), &job->references[job->reference_count++]));
}

void job_fixture_free(struct job_fixture *job)
{
	key_free(&job->author);
	arena_free(&job->arena);
}

/* Who launches a stage. */
static struct host *host_of(const struct run *run, int stage)
{
	bool elsewhere = run->there && stage == B && run->tweak != HOSTS_WRONG_HOST;
	return elsewhere ? run->there : run->host;
}

/* ---- Launches ----------------------------------------------------------------------------------------- */

static void launch(struct run *run, int stage)
{
	struct stage_run *s = &run->stages[stage];
	const struct job_enclave *enclave = &run->job->job.enclaves[stage];
	struct ap_launch_extended reply;
	expect_ok(key_generate(&s->sign));
	expect_ok(key_generate(&s->kem));
	s->launch = (struct launch){.v = 1,
		.name = names[stage],
		.tier = "N",
		.isolation = stage == B ? "weak" : "uid",
		.limits = "cgroup2",
		.secret_memory = "locked",
		.interpreter = "closed"};
	if (run->tweak == TIER_L && (stage == B || run->job->stages == 1))
		s->launch.tier = "L";
	if (run->tweak == OPEN_INTERPRETER)
		s->launch.interpreter = "open";
	random_bytes(s->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(s->launch.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(s->launch.core, enclave->core, SHA384_SIZE);
	memcpy(s->launch.measurement, enclave->measurement, SHA384_SIZE);
	memcpy(s->launch.policy_digest, enclave->policy_digest, SHA256_SIZE);
	if (run->tweak == OTHER_PROGRAM && stage == B)
		s->launch.measurement[0] ^= 1;
	launch_keys_hash(s->sign.point, s->kem.point, s->launch.keys_hash);
	ask(host_of(run, stage), IPQ_EXTEND_LAUNCH, &launch_schema, &s->launch, &ap_launch_extended_schema, &reply);
	memcpy(s->nonce, reply.nonce, 32);
}

static void use_certificate(struct run *run, int stage, const struct ap_endorsed *endorsed)
{
	struct stage_run *s = &run->stages[stage];
	struct report report;
	assert_true(run->certificate_count < COUNT_OF(run->certificates));
	s->certificate = run->certificates[run->certificate_count] = endorsed->certificate;
	s->report = run->reports[run->certificate_count++] = endorsed->report;
	sha256(s->certificate, s->certificate_digest);
	expect_ok(object_peek(KIND_REPORT, s->report, &run->arena, &report, s->report_oid));
	s->era = report.era;
	s->epoch = report.epoch;
}

static void endorse(struct run *run, int stage)
{
	struct stage_run *s = &run->stages[stage];
	struct ap_endorse_begin begin;
	struct ap_endorse_challenge challenge;
	struct ap_endorse_finish finish;
	struct ap_endorsed endorsed;
	CLEANUP(secret_free) struct secret c = SECRET_EMPTY;
	uint8_t message[14 + 16 + 32 + 64], proof[10 + 32 + 64];
	memcpy(begin.launch_id, s->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(begin.sign_pk, s->sign.point, POINT_SIZE);
	memcpy(begin.kem_pk, s->kem.point, POINT_SIZE);
	memcpy(message, "troth endorse1", 14);
	memcpy(message + 14, s->launch.launch_id, 16);
	memcpy(message + 30, s->nonce, 32);
	sha256(SPAN_ARRAY(s->sign.point), message + 62);
	sha256(SPAN_ARRAY(s->kem.point), message + 94);
	expect_ok(key_sign(&s->sign, SPAN_ARRAY(message), begin.signature));
	ask(host_of(run, stage), IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &begin, &ap_endorse_challenge_schema, &challenge);
	expect_ok(box_open(&s->kem, "pop", SPAN_ARRAY(s->launch.launch_id), challenge.box, &c));
	memcpy(finish.launch_id, s->launch.launch_id, LAUNCH_ID_SIZE);
	memcpy(proof, "troth pop1", 10);
	memcpy(proof + 10, c.data, 32);
	sha256(SPAN_ARRAY(s->sign.point), proof + 42);
	sha256(SPAN_ARRAY(s->kem.point), proof + 74);
	sha256(SPAN_ARRAY(proof), finish.proof);
	ask(host_of(run, stage), IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &finish, &ap_endorsed_schema, &endorsed);
	use_certificate(run, stage, &endorsed);
	expect_ok(ire_uri(host_of(run, stage)->rot_id, "troth.internal", names[stage], s->uri));
}

static void reissue(struct run *run, int stage)
{
	struct ap_reissue request;
	struct ap_endorsed endorsed;
	memcpy(request.launch_id, run->stages[stage].launch.launch_id, LAUNCH_ID_SIZE);
	ask(host_of(run, stage), IPQ_REISSUE, &ap_reissue_schema, &request, &ap_endorsed_schema, &endorsed);
	use_certificate(run, stage, &endorsed);
}

/* A second launch with the keys and the code of the first. */
static void launch_again(struct run *run, int stage)
{
	struct stage_run *s = &run->stages[stage];
	struct ap_launch_extended reply;
	random_bytes(s->launch.launch_id, LAUNCH_ID_SIZE);
	ask(host_of(run, stage), IPQ_EXTEND_LAUNCH, &launch_schema, &s->launch, &ap_launch_extended_schema, &reply);
	memcpy(s->nonce, reply.nonce, 32);
	endorse(run, stage);
}

static void unseal(struct run *run, uint8_t *out_grant_oid)
{
	struct stage_run *s = &run->stages[A];
	struct seal_policy policy = {.v = 1, .name = names[A]};
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct ap_signed sealed;
	struct ap_unsealed unsealed;
	uint8_t box[128];
	static const char secret[] = "open sesame";
	memcpy(policy.rot_id, run->host->rot_id, OID_SIZE);
	memcpy(policy.measurement, s->launch.measurement, SHA384_SIZE);
	expect_ok(schema_encode(&seal_policy_schema, &policy, &encoding));
	expect_ok(box_seal(SPAN_ARRAY(run->host->kem_pk), "seal-in", bytes_span(&encoding), span_str(secret), box));
	struct ap_seal seal = {bytes_span(&encoding), span_of(box, strlen(secret) + BOX_OVERHEAD)};
	ask(run->host, IPQ_SEAL, &ap_seal_schema, &seal, &ap_signed_schema, &sealed);
	struct sealed decoded;
	struct unseal_request request = {.v = 1};
	expect_ok(object_open(KIND_SEALED, sealed.object, &run->host->root_sign, &run->arena, &decoded, request.seal_oid));
	memcpy(request.launch_id, s->launch.launch_id, LAUNCH_ID_SIZE);
	random_bytes(request.nonce, sizeof(request.nonce));
	expect_ok(object_sign(KIND_UNSEAL_REQUEST, &request, &s->sign, &object, NULL));
	struct ap_unseal message = {sealed.object, bytes_span(&object)};
	ask(run->host, IPQ_UNSEAL, &ap_unseal_schema, &message, &ap_unsealed_schema, &unsealed);
	struct unseal_grant grant;
	expect_ok(object_open(KIND_UNSEAL_GRANT, unsealed.grant, &run->host->root_sign, &run->arena, &grant, out_grant_oid));
	run->grants[run->grant_count++] = unsealed.grant;
}

/* ---- Records ------------------------------------------------------------------------------------------ */

static void add_salt(struct run *run, const uint8_t commit[static 32], const uint8_t salt[static 32])
{
	memcpy(run->salts[run->salt_count].commit, commit, 32);
	memcpy(run->salts[run->salt_count++].salt, salt, 32);
}

static struct record_data commit_to(struct run *run, const char *name, const char *data, bool disclosed)
{
	struct record_data row = {.name = name};
	uint8_t salt[32];
	random_bytes(salt, sizeof(salt));
	hmac_sha256(SPAN_ARRAY(salt), span_str(data), row.commit);
	if (disclosed)
		add_salt(run, row.commit, salt);
	return row;
}

static struct record record_of(struct run *run, int stage, enum record_kind kind, const char *operation)
{
	struct stage_run *s = &run->stages[stage];
	struct record record = {.v = 1,
		.kind = (uint8_t)kind,
		.enclave = s->uri,
		.era = s->era,
		.epoch = s->epoch,
		.seq = ++s->seq,
		.time = run->host->now,
		.operation = operation};
	if (run->tweak == LATE_RECORD && stage == A && kind == RECORD_ORIGIN)
		record.time -= 25 * 3600 * 1000;
	memcpy(record.certificate, s->certificate_digest, SHA256_SIZE);
	memcpy(record.host_report, s->report_oid, OID_SIZE);
	memcpy(record.rot_id, host_of(run, stage)->rot_id, OID_SIZE);
	memcpy(record.policy_digest, s->launch.policy_digest, SHA256_SIZE);
	memcpy(record.run_id, run->run_id, RUN_ID_SIZE);
	return record;
}

static void sign_record(struct run *run, int stage, const struct record *record, uint8_t out_oid[static OID_SIZE])
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	expect_ok(object_sign(KIND_RECORD, record, &run->stages[stage].sign, &object, out_oid));
	expect_ok(arena_copy(&run->arena, bytes_span(&object), &run->records[run->record_count++]));
}

/* What one enclave takes in, before its DERIVE. */
struct intake {
	struct record_parent parents[8];
	size_t parent_count;
	struct record_data in[8];
	size_t in_count;
};

static void take_origin(
	struct run *run, int stage, const char *operation, struct record_data data, const uint8_t *grant, struct intake *intake)
{
	struct record record = record_of(run, stage, RECORD_ORIGIN, operation);
	record.out = &data;
	record.out_count = 1;
	if (grant) {
		memcpy(record.ledger_ref, grant, OID_SIZE);
		record.has_ledger_ref = true;
	}
	struct record_parent *parent = &intake->parents[intake->parent_count++];
	parent->enclave = run->stages[stage].uri;
	sign_record(run, stage, &record, parent->oid);
	intake->in[intake->in_count++] = data;
}

/* It is no input of the job: a parent, and nothing in `in`. */
static void take_unsealed(struct run *run, int stage, const uint8_t *secrets_grant, struct intake *intake)
{
	enum tweak tweak = run->tweak;
	uint8_t grant[OID_SIZE];
	if (tweak < UNSEALED || tweak > UNSEALED_AS_ANOTHER || stage != (tweak == UNSEALED_BY_ANOTHER ? C : A))
		return;
	unseal(run, grant);
	if (tweak == UNSEALED_BY_SECRETS_GRANT)
		memcpy(grant, secrets_grant, OID_SIZE);
	if (tweak == UNSEALED_UNNAMED)
		return;
	take_origin(run, stage, "unseal", commit_to(run, tweak == UNSEALED_AS_ANOTHER ? "other" : "unsealed", "kept", false),
		tweak == UNSEALED_WITHOUT_GRANT ? NULL : grant, intake);
	intake->in_count--;
}

static void take_inputs(struct run *run, struct intake *intake)
{
	uint8_t grant[OID_SIZE];
	unseal(run, grant);
	take_origin(
		run, A, "secret", commit_to(run, "key", "open sesame", false), run->tweak == SECRET_WITHOUT_GRANT ? NULL : grant, intake);
	take_origin(run, A, "input", commit_to(run, "rows", rows_text, run->tweak != INPUT_FOR_EDGE_SALT),
		run->tweak == PLAIN_INPUT_WITH_GRANT ? grant : NULL, intake);
	if (run->tweak == UNUSED_INPUT)
		intake->in_count--;
	if (run->tweak == EXTRA_INPUT) {
		intake->in[intake->in_count] = intake->in[intake->in_count - 1];
		intake->in[intake->in_count++].name = "again";
	}
	take_unsealed(run, A, grant, intake);
	if (run->tweak == EXTRA_RECORD)
		take_origin(run, A, "input", commit_to(run, "more", "more", false), NULL, intake);
	if (run->job->job.external_count)
		take_origin(run, A, "external", commit_to(run, "feed", "from outside", false), NULL, intake);
	if (run->tweak == GRANT_TWICE)
		unseal(run, grant);
	if (run->tweak == GRANT_LEFT_OUT)
		run->grant_count = 0;
}

static void take_from(struct run *run, int from, struct intake *intake)
{
	const struct stage_run *sender = &run->stages[from];
	struct record_parent *parent = &intake->parents[intake->parent_count++];
	parent->enclave = sender->uri;
	memcpy(parent->oid, sender->request, OID_SIZE);
	intake->in[intake->in_count++] = sender->edge;
}

static void send_on(struct run *run, int stage, const char *edge, const char *target, const char *operation, uint8_t *out_oid)
{
	struct stage_run *s = &run->stages[stage];
	struct record record = record_of(run, stage, RECORD_REQUEST, operation);
	struct record_parent parent = {.enclave = s->uri};
	struct record_data sent = s->edge;
	memcpy(parent.oid, s->derive, OID_SIZE);
	sent.name = edge;
	record.parents = &parent;
	record.parent_count = 1;
	record.in = &sent;
	record.in_count = 1;
	record.target = target;
	record.has_target = record.has_call_id = true;
	random_bytes(record.call_id, CALL_ID_SIZE);
	sign_record(run, stage, &record, out_oid);
}

static void derive(struct run *run, int stage, struct intake *intake, struct record_data *out, size_t out_count)
{
	struct record record = record_of(run, stage, RECORD_DERIVE, "run");
	expect_ok(schema_sort(&record_parent_schema, intake->parents, intake->parent_count));
	expect_ok(schema_sort(&record_data_schema, intake->in, intake->in_count));
	expect_ok(schema_sort(&record_data_schema, out, out_count));
	record.parents = intake->parents;
	record.parent_count = intake->parent_count;
	record.in = intake->in;
	record.in_count = intake->in_count;
	record.out = out;
	record.out_count = out_count;
	sign_record(run, stage, &record, run->stages[stage].derive);
}

static void run_a(struct run *run)
{
	struct intake intake = {0};
	if (run->job->job.input_count)
		take_inputs(run, &intake);
	else
		take_origin(run, A, "none", commit_to(run, "stdin", "", false), NULL, &intake);
	if (run->tweak == SPEAKS_UNDER_BOTH || run->tweak == LAUNCHED_TWICE)
		host_rotate(run->host);
	if (run->tweak == SPEAKS_UNDER_BOTH)
		reissue(run, A);
	if (run->tweak == LAUNCHED_TWICE)
		launch_again(run, A);
	bool alone = run->job->stages == 1;
	struct record_data out[] = {
		commit_to(run, "rejects", rejects_text, run->tweak != EDGE_SALT && run->tweak != MISSING_SALT),
		commit_to(run, "A-B", "rows",
			run->tweak == EDGE_SALT || run->tweak == EXTRA_SALT || run->tweak == INPUT_FOR_EDGE_SALT),
	};
	run->stages[A].edge = out[1];
	derive(run, A, &intake, out, alone ? 1 : 2);
	if (!alone)
		send_on(run, A, "A-B", run->stages[B].uri, "rows", run->stages[A].request);
}

static void run_b(struct run *run)
{
	struct intake intake = {0};
	take_from(run, A, &intake);
	struct record_data out[] = {commit_to(run, "B-C", "sums", false), commit_to(run, "leak", "sums", false)};
	run->stages[B].edge = out[0];
	derive(run, B, &intake, out, run->tweak == EXTRA_OUTPUT ? 2 : 1);
	send_on(run, B, "B-C", run->stages[C].uri, run->tweak == WRONG_OPERATION ? "rows" : "sums", run->stages[B].request);
}

static void state_summary(struct run *run)
{
	struct stage_run *s = &run->stages[run->tweak == STATEMENT_BY_ANOTHER ? B : C];
	struct stage_run *signer = &run->stages[run->tweak == FORGED_STATEMENT ? B : run->tweak == STATEMENT_BY_ANOTHER ? B : C];
	struct statement statement = {.v = 1,
		.enclave = s->uri,
		.time = run->host->now,
		.name = "summary",
		.media_type = "text/csv",
		.length = strlen(summary_text)};
	if (run->tweak == LATE_STATEMENT)
		statement.time += 3600 * 1000;
	if (run->tweak == STATEMENT_TYPE)
		statement.media_type = "text/plain";
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	memcpy(statement.certificate, s->certificate_digest, SHA256_SIZE);
	memcpy(statement.run_id, run->run_id, RUN_ID_SIZE);
	statement.run_id[0] ^= run->tweak == STATEMENT_OF_ANOTHER_RUN;
	sha256(span_str(run->tweak == OTHER_STATEMENT ? rows_text : summary_text), statement.digest);
	expect_ok(object_sign(KIND_STATEMENT, &statement, &signer->sign, &object, NULL));
	expect_ok(arena_copy(&run->arena, bytes_span(&object), &run->statements[run->statement_count++]));
}

/* A question and its answer, which C's last record rests on. */
static void ask_and_answer(struct run *run, struct intake *last)
{
	enum tweak tweak = run->tweak;
	bool back = tweak == CALL_THE_OTHER_WAY;
	int asks = back ? B : C, answers = back ? C : B;
	const char *asked_about = tweak == CALL_ON_NO_EDGE ? "B-A" : tweak == CALL_ON_A_FLOW ? "B-C" : "C-B";
	struct record_data asked = commit_to(run, asked_about, "who?", false), answer = commit_to(run, tweak == ANSWER_ON_NO_EDGE ? "C-A" : "C-B", "me", false);
	struct intake intake = {0};
	uint8_t request[OID_SIZE], response[OID_SIZE];
	take_from(run, asks - 1, &intake);
	struct record step = record_of(run, asks, RECORD_DERIVE, "call");
	step.parents = intake.parents;
	step.in = intake.in;
	step.out = &asked;
	step.parent_count = step.in_count = step.out_count = 1;
	struct record_parent by_step = {.enclave = run->stages[asks].uri}, by_request = by_step;
	sign_record(run, asks, &step, by_step.oid);
	struct record question = record_of(run, asks, RECORD_REQUEST, tweak == CALL_FOR_ANOTHER_OPERATION ? "delete" : "lookup");
	question.parents = &by_step;
	question.in = &asked;
	question.parent_count = question.in_count = 1;
	question.target = run->stages[answers].uri;
	question.has_target = question.has_call_id = true;
	random_bytes(question.call_id, CALL_ID_SIZE);
	sign_record(run, asks, &question, request);
	memcpy(by_request.oid, request, OID_SIZE);
	struct record reply = record_of(run, answers, RECORD_RESPONSE, question.operation);
	reply.parents = &by_request;
	reply.in = &asked;
	reply.out = &answer;
	reply.parent_count = reply.in_count = reply.out_count = 1;
	reply.target = run->stages[asks].uri;
	reply.has_target = reply.has_call_id = true;
	memcpy(reply.call_id, question.call_id, CALL_ID_SIZE);
	sign_record(run, answers, &reply, response);
	struct record_parent *parent = &last->parents[last->parent_count++];
	parent->enclave = run->stages[answers].uri;
	memcpy(parent->oid, response, OID_SIZE);
}

static void run_c(struct run *run)
{
	struct intake intake = {0};
	take_from(run, B, &intake);
	if (run->tweak == CHANGED_EDGE) {
		struct record_data own = commit_to(run, "B-C", "other sums", false);
		intake.in_count = 0;
		take_origin(run, C, "input", own, NULL, &intake);
	}
	take_unsealed(run, C, NULL, &intake);
	if (run->job->has_calls)
		ask_and_answer(run, &intake);
	bool pushes = run->job->job.external_count > 0, leaves_summary = run->job->job.output_count > 1;
	struct record_data out[2];
	size_t count = 0;
	if (leaves_summary)
		out[count++] = commit_to(run, "summary", summary_text, true);
	if (pushes)
		out[count++] = commit_to(run, "push", "for outside", false);
	derive(run, C, &intake, out, count);
	if (leaves_summary && run->tweak != NO_STATEMENT)
		state_summary(run);
}

/* ---- The receipt -------------------------------------------------------------------------------------- */

static void add_root(struct run *run, const uint8_t oid[static OID_SIZE])
{
	memcpy(run->roots[run->root_count++].bytes, oid, OID_SIZE);
}

static void find_roots(struct run *run)
{
	bool without_c = run->tweak == FAILED_STAGE || run->tweak == PREFIX_OF_RUN;
	add_root(run, run->stages[A].derive);
	if (run->job->stages > 1)
		add_root(run, run->stages[without_c ? B : C].derive);
	if (run->tweak == ROOT_TOO_MANY)
		add_root(run, run->stages[B].derive);
	expect_ok(schema_sort(&digest32_schema, run->roots, run->root_count));
}

static void list_root(const struct host *host, struct receipt_foreign *rows, size_t *count)
{
	struct receipt_foreign *row = &rows[(*count)++];
	*row = (struct receipt_foreign){.epochs = host->epochs, .epoch_count = host->epoch_count};
	memcpy(row->rot_id, host->rot_id, OID_SIZE);
}

static void list_foreign(const struct run *run, struct receipt_foreign *rows, struct receipt_parts *parts)
{
	parts->foreign = rows;
	if (!run->there || run->tweak == HOSTS_NO_ROOTS)
		return;
	list_root(run->tweak == HOSTS_OTHER_ROOT ? run->third : run->there, rows, &parts->foreign_count);
	if (run->tweak == HOSTS_OTHER_CHAIN)
		rows[0].epochs = run->third->epochs;
	if (run->tweak == HOSTS_EXTRA_ROOT)
		list_root(run->third, rows, &parts->foreign_count);
	if (run->tweak == HOSTS_HEAD_TWICE)
		list_root(run->host, rows, &parts->foreign_count);
}

static void make_sections(struct run *run, const struct host *told)
{
	const struct job_fixture *job = run->job;
	struct dac *dac;
	struct dac_config config = {.threads = 1};
	struct span manifests[STAGES];
	uint8_t spki[SPKI_SIZE];
	struct span keys[] = {SPAN_ARRAY(spki), SPAN_ARRAY(spki)};
	key_spki(&run->host->recovery_key, spki);
	expect_ok(dac_new(&config, &dac));
	for (int s = 0; s < job->stages; s++) {
		manifests[s] = job->manifests[run->tweak == MANIFESTS_SWAPPED ? STAGES - 1 - s : s];
	}
	for (size_t i = 0; i < run->certificate_count; i++) {
		expect_ok(dac_add_certificate(dac, run->certificates[i], NULL));
		expect_ok(dac_add_report(dac, run->reports[i], NULL));
	}
	for (size_t i = 0; i < run->record_count; i++)
		expect_ok(dac_add_record(dac, run->records[i], NULL));
	struct receipt_parts parts = {.dac = dac,
		.roots = run->roots,
		.root_count = run->root_count,
		.epochs = told->epochs,
		.epoch_count = told->epoch_count - (run->tweak == HEAD_WITHOUT_ITS_EPOCH),
		.recovery_keys = keys,
		.recovery_key_count = run->host->era ? 2 : 0,
		.manifests = manifests,
		.manifest_count = (size_t)job->stages,
		.policies = job->policies,
		.policy_count = (size_t)job->stages - (run->tweak == POLICY_LEFT_OUT),
		.grants = run->grants,
		.grant_count = run->grant_count,
		.statements = run->statements,
		.statement_count = run->statement_count,
		.salts = run->salts,
		.salt_count = run->salt_count,
		.job = job->encoding,
		.references = job->references,
		.reference_count = job->reference_count};
	struct receipt_foreign foreign[3];
	list_foreign(run, foreign, &parts);
	expect_ok(receipt_sections_make(&parts, &run->sections));
	dac_free(dac);
}

static void replace_section(struct run *run, enum section_id id, struct span bytes)
{
	struct receipt_sections *s = &run->sections;
	struct bytes copy;
	expect_ok(bytes_copy(bytes, &copy));
	bytes_free(&s->bytes[id - 1]);
	s->bytes[id - 1] = copy;
	s->sections[id - 1].bytes = bytes_span(&copy);
	sha256(bytes, s->rows[id - 1].digest);
}

static void change_items(struct bytes_list *list, enum list_change change)
{
	static uint8_t damaged[64 * 1024];
	struct bytes_item first = list->items[0];
	switch (change) {
	case SWAP_FIRST_TWO:
		list->items[0] = list->items[1];
		list->items[1] = first;
		break;
	case DOUBLE_FIRST:
		list->items[list->count++] = first;
		break;
	case DAMAGE_FIRST:
		assert_true(first.bytes.len <= sizeof(damaged));
		memcpy(damaged, first.bytes.data, first.bytes.len);
		damaged[first.bytes.len / 2] ^= 4;
		list->items[0].bytes.data = damaged;
		break;
	case DROP_FIRST:
		list->items[0] = list->items[--list->count];
		break;
	case EMPTY_LIST:
		list->count = 0;
		break;
	case ADD_JUNK:
		list->items[list->count++].bytes = span_str("\xff junk");
		break;
	case LIST_CHANGES:
		break;
	}
}

static void change_list(struct run *run, enum section_id section, enum list_change change)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4 << 20);
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	struct bytes_list list;
	struct bytes_item items[64];
	expect_ok(schema_decode(&bytes_list_schema, run->sections.sections[section - 1].bytes, &arena, &list));
	assert_true(list.count > 0 && list.count < COUNT_OF(items));
	memcpy(items, list.items, list.count * sizeof(*items));
	list.items = items;
	if (change != SWAP_FIRST_TWO || list.count > 1)
		change_items(&list, change);
	else
		change_items(&list, DOUBLE_FIRST);
	expect_ok(schema_encode(&bytes_list_schema, &list, &encoded));
	replace_section(run, section, bytes_span(&encoded));
}

static void multiply_records(struct run *run)
{
	enum { RECORDS = 100 * 1000 };
	CLEANUP(bytes_free) struct bytes encoded = BYTES_EMPTY;
	struct bytes_list list = {calloc(RECORDS, sizeof(struct bytes_item)), RECORDS};
	assert_non_null(list.items);
	for (size_t i = 0; i < RECORDS; i++)
		list.items[i].bytes = run->records[0];
	expect_ok(schema_encode(&bytes_list_schema, &list, &encoded));
	free(list.items);
	replace_section(run, SECTION_RECORDS, bytes_span(&encoded));
}

static void change_sections(struct run *run, const struct run *other)
{
	static const enum section_id of_run[] = {
		SECTION_CERTIFICATES, SECTION_REPORTS, SECTION_RECORDS, SECTION_GRANTS, SECTION_STATEMENTS, SECTION_SALTS};
	for (size_t i = 0; run->tweak == OLD_RECORDS && i < COUNT_OF(of_run); i++)
		replace_section(run, of_run[i], bytes_span(&other->sections.bytes[of_run[i] - 1]));
	if (run->tweak == FOREIGN_EPOCHS)
		replace_section(run, SECTION_EPOCHS, bytes_span(&other->sections.bytes[SECTION_EPOCHS - 1]));
	if (run->tweak == RECORDS_SHUFFLED)
		change_list(run, SECTION_RECORDS, SWAP_FIRST_TWO);
	if (run->tweak == LIST_CHANGED)
		change_list(run, run->changed, run->change);
	if (run->tweak == MANY_RECORDS)
		multiply_records(run);
}

static void sign_and_encode(struct run *run, const struct run *other)
{
	struct receipt_section sections[RECEIPT_SECTIONS_MAX + 1];
	struct receipt_section_row rows[RECEIPT_SECTIONS_MAX + 1];
	size_t count = run->sections.count;
	memcpy(sections, run->sections.sections, sizeof(run->sections.sections));
	memcpy(rows, run->sections.rows, sizeof(run->sections.rows));
	if (run->tweak == UNKNOWN_SECTION || run->tweak == UNKNOWN_CRITICAL_SECTION) {
		sections[count] = (struct receipt_section){SECTION_LEDGER, span_str("from the future")};
		rows[count] = (struct receipt_section_row){.id = SECTION_LEDGER, .critical = run->tweak == UNKNOWN_CRITICAL_SECTION};
		sha256(sections[count].bytes, rows[count].digest);
		count++;
	}
	if (run->tweak == MISSING_SECTION)
		count--;
	struct ap_sign_head head = {.recorder = run->tweak == OTHER_RECORDER ? "ledger" : "journal",
		.roots = run->roots,
		.root_count = run->tweak == OLD_RECORDS ? other->root_count : run->root_count,
		.sections = rows,
		.section_count = count,
		.has_nonce = run->has_nonce};
	if (run->tweak == OLD_RECORDS)
		memcpy(run->roots, other->roots, sizeof(run->roots));
	memcpy(head.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(head.rand, run->rand, 32);
	memcpy(head.nonce, run->nonce, 32);
	memcpy(head.job_digest, run->job->digest, SHA256_SIZE);
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	struct ap_signed reply;
	expect_ok(schema_encode(&ap_sign_head_schema, &head, &body));
	struct ap_sign request = {KIND_RECEIPT_HEAD, bytes_span(&body)};
	ask(run->host, IPQ_SIGN, &ap_sign_schema, &request, &ap_signed_schema, &reply);
	expect_ok(receipt_encode(reply.object, sections, count, &run->receipt));
}

static void make(struct run *run, const struct run *other)
{
	struct host *host = run->host;
	const struct job_fixture *job = run->job;
	enum tweak tweak = run->tweak;
	run->arena = arena_of(4 << 20);
	run->has_nonce = tweak == WITH_NONCE;
	random_bytes(run->rand, sizeof(run->rand));
	memset(run->nonce, run->has_nonce ? 0x11 : 0, sizeof(run->nonce));
	run_id_compute(job->digest, run->has_nonce ? SPAN_ARRAY(run->nonce) : SPAN_EMPTY, run->rand, run->run_id);
	for (int s = 0; s < job->stages; s++) {
		if (tweak == FAILED_STAGE && s == C) {
			expect_ok(ire_uri(host->rot_id, "troth.internal", names[C], run->stages[C].uri));
			continue;
		}
		launch(run, s);
		endorse(run, s);
		if (s == A && (tweak == ROTATED_AFTER_LAUNCH || tweak == ROTATED_OFTEN))
			host_rotate(host);
		if (s == B && tweak == HOSTS_ROTATED)
			host_rotate(run->there);
	}
	host->now += tweak == SLOW_RUN ? 3600 * 1000 : 0;
	run_a(run);
	if (tweak == ROTATED_AFTER_A || tweak == ROTATED_OFTEN)
		host_rotate(host);
	if (job->stages > 1)
		run_b(run);
	if (job->stages > 1 && tweak != FAILED_STAGE && tweak != PREFIX_OF_RUN)
		run_c(run);
	host->now += tweak == SLOW_RUN ? 23 * 3600 * 1000 + 1800 * 1000 : 0;
	find_roots(run);
	if (tweak == ROTATED_BEFORE_HEAD || tweak == ROTATED_OFTEN || tweak == HEAD_WITHOUT_ITS_EPOCH)
		host_rotate(host);
	make_sections(run, tweak == EPOCHS_OF_OTHER ? other->host : host);
	change_sections(run, other);
	sign_and_encode(run, other);
	for (int s = 0; s < STAGES; s++) {
		struct ap_end_launch end;
		memcpy(end.launch_id, run->stages[s].launch.launch_id, LAUNCH_ID_SIZE);
		if (run->stages[s].certificate.len)
			ask(host_of(run, s), IPQ_END_LAUNCH, &ap_end_launch_schema, &end, NULL, NULL);
	}
	host->now += 1000;
}

void run_make(struct host *host, const struct job_fixture *job, enum tweak tweak, const struct run *other, struct run *out)
{
	*out = (struct run){.host = host, .job = job, .tweak = tweak};
	make(out, other);
}

void run_make_hosts(struct host *here, struct host *there, struct host *third, const struct job_fixture *job, enum tweak tweak, struct run *out)
{
	*out = (struct run){.host = here, .there = there, .third = third, .job = job, .tweak = tweak};
	make(out, NULL);
}

void run_make_changed(struct host *host, const struct job_fixture *job, enum section_id section, enum list_change change, struct run *out)
{
	*out = (struct run){.host = host, .job = job, .tweak = LIST_CHANGED, .changed = section, .change = change};
	make(out, NULL);
}

void run_free(struct run *run)
{
	for (int s = 0; s < STAGES; s++) {
		key_free(&run->stages[s].sign);
		key_free(&run->stages[s].kem);
	}
	receipt_sections_free(&run->sections);
	bytes_free(&run->receipt);
	arena_free(&run->arena);
}

/* ---- Trust, files --------------------------------------------------------------------------------------- */

struct bytes trust_text_of(const struct host *const *hosts, size_t count, const struct job_fixture *job)
{
	enum { MOST = 4 };
	struct trust_tcb tcbs[MOST];
	struct span inceptions[MOST];
	struct digest32 recovery[MOST];
	struct bytes text;
	assert_true(count <= MOST);
	for (size_t i = 0; i < count; i++) {
		memcpy(tcbs[i].register0, hosts[i]->registers[0].value, SHA384_SIZE);
		memcpy(tcbs[i].register1, hosts[i]->registers[1].value, SHA384_SIZE);
		inceptions[i] = hosts[i]->inception;
		recovery[i] = hosts[i]->recovery;
	}
	struct trust_parts parts = {.inceptions = inceptions,
		.inception_count = count,
		.recovery_keys = recovery,
		.recovery_key_count = count,
		.tcbs = tcbs,
		.tcb_count = count,
		.job = &job->job};
	memcpy(parts.job_digest, job->digest, SHA256_SIZE);
	expect_ok(trust_write(&parts, &text));
	return text;
}

struct bytes trust_text(const struct host *host, const struct job_fixture *job)
{
	return trust_text_of(&host, 1, job);
}

void trust_make_of(const struct host *const *hosts, size_t count, const struct job_fixture *job, struct trust *out)
{
	CLEANUP(bytes_free) struct bytes text = trust_text_of(hosts, count, job);
	expect_ok(trust_parse("trust.json", bytes_span(&text), out));
}

void trust_make(const struct host *host, const struct job_fixture *job, struct trust *out)
{
	CLEANUP(bytes_free) struct bytes text = trust_text(host, job);
	expect_ok(trust_parse("trust.json", bytes_span(&text), out));
}

int file_with(const char *text)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}
