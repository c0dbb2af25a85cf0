#include "dac_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "crypto/x509.h"
#include "policy/schema.h"
#include "wire/document.h"

static void must_(result done, const char *what)
{
	if (done == OK)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, reason_name(done), failure_text());
	abort();
}
#define must(call) must_((call), #call)

void world_new(struct world *world, uint8_t seed)
{
	*world = (struct world){.now = WORLD_T0, .arena = arena_of((size_t)1 << 30)};
	must(key_generate(&world->root_key));
	memset(world->root.rot_id, seed, OID_SIZE);
	memset(world->root.epoch_oid, seed, OID_SIZE);
	world->root.epoch = 1;
	world->root.not_before = WORLD_T0 - 3600000;
	world->root.not_after = WORLD_T0 + 86400000;
	world->root.key = &world->root_key;
	memset(world->run_id, 0x77, RUN_ID_SIZE);
	world->config = (struct dac_config){.roots = &world->root, .root_count = 1, .skew_ms = 60000, .run_id = world->run_id,
		.threads = 1, .policy = world_policy, .policy_ctx = world};
}

void world_free(struct world *world)
{
	for (size_t i = 0; i < world->enclave_count; i++) {
		struct world_enclave *e = &world->enclaves[i];
		key_free(&e->sign);
		key_free(&e->kem);
		bytes_free(&e->certificate);
		bytes_free(&e->report);
		policy_table_free(e->policy);
	}
	key_free(&world->root_key);
	arena_free(&world->arena);
}

static void put_tcb(const struct launch *launch, const uint8_t *epoch_oid, struct writer *w)
{
	cbor_put_map(w, 6);
	cbor_put_uint(w, 1);
	cbor_put_bytes(w, SPAN_ARRAY(launch->core));
	cbor_put_uint(w, 2);
	cbor_put_bytes(w, SPAN_ARRAY(launch->measurement));
	cbor_put_uint(w, 3);
	cbor_put_bytes(w, SPAN_ARRAY(launch->launch_id));
	cbor_put_uint(w, 4);
	cbor_put_bytes(w, span_of(epoch_oid, OID_SIZE));
	cbor_put_uint(w, 5);
	cbor_put_str(w, launch->tier);
	cbor_put_uint(w, 6);
	cbor_put_str(w, launch->isolation);
}

static void issue(struct world *world, struct world_enclave *e, uint64_t not_before, uint64_t not_after)
{
	uint8_t tcb[512];
	struct writer w = writer_fixed(tcb, sizeof(tcb));
	char label[ROT_LABEL_SIZE];
	struct certificate_fields fields = {.serial = {1, 2}, .uri = e->uri, .not_before = not_before, .not_after = not_after};
	put_tcb(&e->launch, world->root.epoch_oid, &w);
	must(writer_finish(&w, &fields.tcb_info));
	memcpy(fields.sign_point, e->sign.point, POINT_SIZE);
	memcpy(fields.kem_point, e->kem.point, POINT_SIZE);
	rot_label(world->root.rot_id, label);
	bytes_free(&e->certificate);
	must(certificate_issue(&fields, &world->root_key, label, &e->certificate));
	sha256(bytes_span(&e->certificate), e->certificate_digest);
}

void world_certify(struct world *world, size_t enclave, uint64_t not_before, uint64_t not_after)
{
	struct world_enclave *e = &world->enclaves[enclave];
	struct register_value registers[REGISTER_COUNT] = {0};
	struct report report = {.v = 1, .purpose = REPORT_LAUNCH, .epoch = 1, .boot_gen = 1, .seq = 1 + enclave, .time = WORLD_T0,
		.registers = registers, .register_count = REGISTER_COUNT, .launch = e->launch, .has_launch = true,
		.has_certificate = true};
	issue(world, e, not_before, not_after);
	memcpy(report.rot_id, world->root.rot_id, OID_SIZE);
	memcpy(report.epoch_oid, world->root.epoch_oid, OID_SIZE);
	memcpy(report.certificate, e->certificate_digest, SHA256_SIZE);
	bytes_free(&e->report);
	must(object_sign(KIND_REPORT, &report, &world->root_key, &e->report, e->report_oid));
}

static void load_policy(struct world_enclave *e, const char *rules)
{
	char text[1024];
	struct document document;
	CLEANUP(bytes_free) struct bytes compiled = BYTES_EMPTY;
	struct policy_view view;
	snprintf(text, sizeof(text), "enclave_id: %s\n%s", e->name, rules);
	must(document_parse(e->name, span_str(text), 1 << 20, &document));
	must(policy_compile(&document, &compiled));
	document_free(&document);
	must(policy_table_load(bytes_span(&compiled), &e->policy));
	must(policy_find(e->policy, SUBJECT_ENCLAVE, span_str(e->name), &view));
	memcpy(e->policy_digest, view.digest, SHA256_SIZE);
}

size_t world_endorse(struct world *world, const char *name, const char *policy)
{
	size_t at = world->enclave_count++;
	struct world_enclave *e = &world->enclaves[at];
	snprintf(e->name, sizeof(e->name), "%s", name);
	must(ire_uri(world->root.rot_id, "troth.internal", name, e->uri));
	must(key_generate(&e->sign));
	must(key_generate(&e->kem));
	load_policy(e, policy);
	e->launch = (struct launch){.v = 1, .name = e->name, .tier = "N", .isolation = "uid", .limits = "cgroup2",
		.secret_memory = "locked", .interpreter = "closed"};
	memset(e->launch.launch_id, (int)(at + 1), LAUNCH_ID_SIZE);
	memcpy(e->launch.run_id, world->run_id, RUN_ID_SIZE);
	memset(e->launch.core, (int)(0xc0 + at), SHA384_SIZE);
	memset(e->launch.measurement, (int)(0xd0 + at), SHA384_SIZE);
	memcpy(e->launch.policy_digest, e->policy_digest, SHA256_SIZE);
	launch_keys_hash(e->sign.point, e->kem.point, e->launch.keys_hash);
	world_certify(world, at, WORLD_T0 - 300000, WORLD_T0 + 3600000);
	return at;
}

void world_commit(const char *name, uint8_t out[static SHA256_SIZE])
{
	sha256(span_str(name), out);
}

struct record world_record(struct world *world, size_t enclave, enum record_kind kind, const char *operation)
{
	struct world_enclave *e = &world->enclaves[enclave];
	struct record record = {.v = 1, .kind = (uint8_t)kind, .enclave = e->uri, .epoch = 1, .seq = ++e->seq, .time = ++world->now,
		.operation = operation};
	memcpy(record.certificate, e->certificate_digest, SHA256_SIZE);
	memcpy(record.host_report, e->report_oid, OID_SIZE);
	memcpy(record.rot_id, world->root.rot_id, OID_SIZE);
	memcpy(record.policy_digest, e->policy_digest, SHA256_SIZE);
	memcpy(record.run_id, world->run_id, RUN_ID_SIZE);
	return record;
}

/* A copy of `items` with room for one more. */
static void *grown(struct world *world, const void *items, size_t count, size_t size)
{
	void *larger;
	must(arena_alloc(&world->arena, count + 1, size, &larger));
	if (count)
		memcpy(larger, items, count * size);
	return larger;
}

void world_parent(struct world *world, struct record *record, const struct made *parent)
{
	record->parents = grown(world, record->parents, record->parent_count, sizeof(*record->parents));
	struct record_parent *added = &record->parents[record->parent_count++];
	added->enclave = parent->record.enclave;
	memcpy(added->oid, parent->oid, OID_SIZE);
}

static void add_data(struct world *world, struct record_data **list, size_t *count, const char *name)
{
	*list = grown(world, *list, *count, sizeof(**list));
	must(arena_string(&world->arena, span_str(name), &(*list)[*count].name));
	world_commit(name, (*list)[*count].commit);
	(*count)++;
}

static void add_words(struct world *world, struct record_data **list, size_t *count, const char *words)
{
	char word[64];
	for (const char *at = words; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");
		snprintf(word, sizeof(word), "%.*s", (int)len, at);
		add_data(world, list, count, word);
		at += len;
	}
}

void world_in(struct world *world, struct record *record, const char *name)
{
	add_words(world, &record->in, &record->in_count, name);
}

void world_out(struct world *world, struct record *record, const char *name)
{
	add_words(world, &record->out, &record->out_count, name);
}

void world_target(struct world *world, struct record *record, size_t enclave, uint8_t call)
{
	record->target = world->enclaves[enclave].uri;
	record->has_target = record->has_call_id = true;
	memset(record->call_id, call, CALL_ID_SIZE);
}

void world_sign_as(struct world *world, struct record *record, const struct key *key, struct made *out)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	must(schema_sort(&record_parent_schema, record->parents, record->parent_count));
	must(schema_sort(&record_data_schema, record->in, record->in_count));
	must(schema_sort(&record_data_schema, record->out, record->out_count));
	must(object_sign(KIND_RECORD, record, key, &object, out->oid));
	must(arena_copy(&world->arena, bytes_span(&object), &out->object));
	out->record = *record;
}

void world_sign(struct world *world, size_t enclave, struct record *record, struct made *out)
{
	world_sign_as(world, record, &world->enclaves[enclave].sign, out);
}

struct made world_origin(struct world *world, size_t enclave, const char *out)
{
	struct made made;
	struct record record = world_record(world, enclave, RECORD_ORIGIN, "input");
	world_out(world, &record, out);
	world_sign(world, enclave, &record, &made);
	return made;
}

struct made world_derive(struct world *world, size_t enclave, const char *in, const char *out, const struct made *parent)
{
	struct made made;
	struct record record = world_record(world, enclave, RECORD_DERIVE, "run");
	world_in(world, &record, in);
	world_out(world, &record, out);
	world_parent(world, &record, parent);
	world_sign(world, enclave, &record, &made);
	return made;
}

struct made world_request(struct world *world, size_t enclave, size_t target, uint8_t call, const char *in, const struct made *parent)
{
	struct made made;
	struct record record = world_record(world, enclave, RECORD_REQUEST, "rows");
	world_in(world, &record, in);
	world_parent(world, &record, parent);
	world_target(world, &record, target, call);
	world_sign(world, enclave, &record, &made);
	return made;
}

struct made world_response(struct world *world, size_t enclave, const struct made *request, const char *out,
	const struct made *own)
{
	struct made made;
	struct record record = world_record(world, enclave, RECORD_RESPONSE, request->record.operation);
	world_out(world, &record, out);
	world_parent(world, &record, request);
	if (own)
		world_parent(world, &record, own);
	record.target = request->record.enclave;
	record.has_target = record.has_call_id = true;
	memcpy(record.call_id, request->record.call_id, CALL_ID_SIZE);
	world_sign(world, enclave, &record, &made);
	return made;
}

void world_add_enclaves(const struct world *world, struct dac *dac)
{
	for (size_t i = 0; i < world->enclave_count; i++) {
		must(dac_add_certificate(dac, bytes_span(&world->enclaves[i].certificate), NULL));
		must(dac_add_report(dac, bytes_span(&world->enclaves[i].report), NULL));
	}
}

const struct policy_table *world_policy(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct world *world = ctx;
	for (size_t i = 0; i < world->enclave_count; i++)
		if (memcmp(world->enclaves[i].policy_digest, digest, SHA256_SIZE) == 0)
			return world->enclaves[i].policy;
	return NULL;
}
