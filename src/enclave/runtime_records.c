/* What an IRE signs about the data it moved, and how it judges what others signed (constructions/dac.md). */
#include <stdio.h>
#include <stdlib.h>

#include "crypto/random.h"
#include "enclave/runtime_call.h"

/* ---- Policies ---------------------------------------------------------------------------------- */

static ptrdiff_t find_policy(const struct runtime *rt, const uint8_t digest[static SHA256_SIZE])
{
	for (size_t i = 0; i < rt->policy_count; i++)
		if (memcmp(rt->policies[i].digest, digest, SHA256_SIZE) == 0)
			return (ptrdiff_t)i;
	return -1;
}

result records_add_policy(struct runtime *rt, struct span compiled)
{
	uint8_t digest[SHA256_SIZE];
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	TRY(policy_digest(compiled, digest));
	if (find_policy(rt, digest) >= 0)
		return OK;
	if (rt->policy_count == MAX_POLICIES)
		return fail(DAC_TOO_LARGE, "more than %d policies", MAX_POLICIES);
	struct policy_row *row = &rt->policies[rt->policy_count];
	TRY(policy_set_join(&compiled, 1, &set));
	TRY(arena_copy(&rt->arena, compiled, &row->bytes));
	TRY(policy_table_load(bytes_span(&set), &row->table));
	memcpy(row->digest, digest, sizeof(digest));
	rt->policy_count++;
	return OK;
}

result records_policy(const struct runtime *rt, const uint8_t digest[static SHA256_SIZE], const char *whose, struct span *out)
{
	ptrdiff_t at = find_policy(rt, digest);
	if (at < 0)
		return fail(NO_POLICY, "the policy of %s is not known here", whose);
	*out = rt->policies[at].bytes;
	return OK;
}

result records_take_references(struct runtime *rt)
{
	struct span sets[POLICY_MAX_REFERENCES];
	for (size_t i = 0; i < rt->prepare.reference_count; i++)
		sets[i] = rt->prepare.references[i].bytes;
	return policy_references_load(sets, rt->prepare.reference_count, &rt->references);
}

/* Whose content does not matter: a record's policy is the one whose digest the record's launch report carries. */
static const struct policy_table *policy_by_digest(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct runtime *rt = ctx;
	ptrdiff_t at = find_policy(rt, digest);
	const struct policy_version *version = policy_versions_find(rt->versions, digest);
	if (at < 0)
		return version ? version->table : NULL;
	return rt->policies[at].table;
}

result records_find_policy(const struct runtime *rt, const uint8_t digest[static SHA256_SIZE], struct policy_view *out)
{
	ptrdiff_t at = find_policy(rt, digest);
	if (at < 0)
		return fail(NO_POLICY, "the policy of a launch is not known here");
	policy_at(rt->policies[at].table, 0, out);
	return OK;
}

/* ---- Signing ----------------------------------------------------------------------------------- */

/* By the policy in force, within what one enclave may hold at all. */
static struct dac_limits records_limits(const struct runtime *rt)
{
	const uint64_t *said = rt->chain_limits;
	const uint64_t records = said[CHAIN_RECORDS];
	return (struct dac_limits){
		.records = records && records < MAX_RECORDS ? (size_t)records : MAX_RECORDS,
		.bytes = (size_t)said[CHAIN_BYTES],
		.path = (size_t)said[CHAIN_PATH],
		.parents = (size_t)said[CHAIN_PARENTS],
	};
}

void records_limit(struct runtime *rt)
{
	const struct dac_limits limits = records_limits(rt);
	if (rt->dac)
		dac_limit(rt->dac, &limits);
}

result records_begin(struct runtime *rt)
{
	struct dac_config config = {
		.skew_ms = TIME_SKEW_MS,
		.run_id = rt->prepare.run_id,
		.limits = records_limits(rt),
		.own = rt->certificate_digest,
		.max_memory = (size_t)1 << 30,
		.threads = 1, /* no new threads after set-up */
		.policy = policy_by_digest,
		.follows = policy_follows,
		.policy_ctx = rt,
		.platform = rt->platform,
		.references = rt->references,
		.revocations = &rt->revocations.set,
	};
	TRY(dac_new(&config, &rt->dac));
	TRY(epoch_add_roots(rt));
	TRY(foreign_add_roots(rt));
	TRY(dac_add_certificate(rt->dac, rt->certificate, NULL));
	return dac_add_report(rt->dac, rt->report, NULL);
}

static result make_room(struct runtime *rt)
{
	if (rt->record_count < rt->record_cap)
		return OK;
	size_t cap = rt->record_cap ? 2 * rt->record_cap : 64;
	struct bytes_item *records = realloc(rt->records, cap * sizeof(*records));
	if (!records)
		return fail(NO_MEMORY, "records");
	rt->records = records;
	rt->record_cap = cap;
	return OK;
}

result records_sign(struct runtime *rt, struct record *record, uint8_t out_oid[static OID_SIZE])
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	if (rt->record_count == MAX_OWN_RECORDS)
		return fail(DAC_TOO_LARGE, "more than %d records of one enclave", MAX_OWN_RECORDS);
	TRY(make_room(rt));
	record->v = 1;
	record->enclave = rt->uri;
	record->era = rt->epoch.era;
	record->epoch = rt->epoch.epoch;
	record->seq = ++rt->seq;
	record->time = runtime_now_ms();
	memcpy(record->certificate, rt->certificate_digest, SHA256_SIZE);
	memcpy(record->host_report, rt->report_oid, OID_SIZE);
	memcpy(record->rot_id, rt->prepare.rot_id, OID_SIZE);
	memcpy(record->policy_digest, rt->policy_digest, SHA256_SIZE);
	memcpy(record->run_id, rt->prepare.run_id, RUN_ID_SIZE);
	TRY(schema_sort(&record_parent_schema, record->parents, record->parent_count));
	TRY(schema_sort(&record_data_schema, record->in, record->in_count));
	TRY(schema_sort(&record_data_schema, record->out, record->out_count));
	TRY(object_sign(KIND_RECORD, record, &rt->sign, &object, out_oid));
	struct bytes_item *kept = &rt->records[rt->record_count];
	TRY(arena_copy(&rt->arena, bytes_span(&object), &kept->bytes));
	rt->record_count++;
	memcpy(rt->newest_oid, out_oid, OID_SIZE);
	rt->has_newest = true;
	if (record->kind == RECORD_DERIVE || record->kind == RECORD_RESPONSE) {
		memcpy(rt->result_oid, out_oid, OID_SIZE);
		rt->has_result = true;
	}
	return dac_add_record(rt->dac, kept->bytes, NULL);
}

result records_origin(struct runtime *rt, const char *name, const char *operation, const uint8_t *commit,
	const uint8_t *ledger_ref, struct record_parent *out)
{
	struct record_data data = {.name = name};
	struct record record = {.kind = RECORD_ORIGIN, .operation = operation, .out = &data, .out_count = 1};
	memcpy(data.commit, commit, SHA256_SIZE);
	record.has_ledger_ref = ledger_ref != NULL;
	if (ledger_ref)
		memcpy(record.ledger_ref, ledger_ref, OID_SIZE);
	out->enclave = rt->uri;
	return records_sign(rt, &record, out->oid);
}

/* A program without any input still needs something to derive from: the empty stdin that it got. */
result records_origin_of_nothing(struct runtime *rt, struct record_parent *parent, struct record_data *data)
{
	uint8_t salt[DATA_SALT_SIZE];
	random_bytes(salt, sizeof(salt));
	data->name = "stdin";
	hmac_sha256(SPAN_ARRAY(salt), SPAN_EMPTY, data->commit);
	return records_origin(rt, "stdin", "none", data->commit, NULL, parent);
}

struct derivation {
	struct record_parent parents[CONTROL_MAX_EDGES + SANDBOX_MAX_FDS + 2];
	struct record_data in[CONTROL_MAX_EDGES + SANDBOX_MAX_FDS + 2], out[256];
	struct record record;
};

static void derive_from(struct derivation *d, const struct record_parent *supplier, const char *name, const uint8_t *commit)
{
	d->parents[d->record.parent_count++] = *supplier;
	d->in[d->record.in_count].name = name;
	memcpy(d->in[d->record.in_count++].commit, commit, SHA256_SIZE);
}

/* Under the name of the edge or declared output that it goes to. */
static result derive_to(struct derivation *d, const struct consumer *consumer)
{
	if (d->record.out_count == COUNT_OF(d->out))
		return fail(TOO_LARGE, "more than %zu outputs and edges of one enclave", COUNT_OF(d->out));
	d->out[d->record.out_count].name = consumer->name;
	memcpy(d->out[d->record.out_count++].commit, consumer->commit, SHA256_SIZE);
	return OK;
}

result records_derive(struct runtime *rt)
{
	struct derivation d = {.record = {.kind = RECORD_DERIVE, .operation = "run"}};
	d.record.parents = d.parents;
	d.record.in = d.in;
	d.record.out = d.out;
	for (size_t i = 0; i < rt->input_count; i++)
		derive_from(&d, &rt->inputs[i].supplier, rt->inputs[i].name, rt->inputs[i].commit);
	for (size_t i = 0; i < rt->secret_count; i++)
		derive_from(&d, &rt->secrets[i].supplier, rt->secrets[i].name, rt->secrets[i].commit);
	if (d.record.parent_count == 0) {
		if (!call_origin(rt, &d.parents[0], &d.in[0]))
			TRY(records_origin_of_nothing(rt, &d.parents[0], &d.in[0]));
		d.record.parent_count = d.record.in_count = 1;
	}
	TRY(call_conclude_records(rt, &d.record, COUNT_OF(d.in)));
	if (d.record.parent_count > RECORD_MAX_PARENTS)
		return fail(TOO_LARGE, "%zu inputs of one enclave", d.record.parent_count);
	for (size_t p = 0; p < rt->product_count; p++)
		for (size_t c = 0; c < rt->products[p].consumer_count; c++)
			TRY(derive_to(&d, &rt->products[p].consumers[c]));
	return records_sign(rt, &d.record, rt->derive_oid);
}

/* ---- Handing over ------------------------------------------------------------------------------ */

/* What one END carries beside the record; lists live in the arena. */
static result list_new(struct runtime *rt, size_t max, struct bytes_item **out)
{
	void *memory;
	TRY(arena_alloc(&rt->arena, max ? max : 1, sizeof(struct bytes_item), &memory));
	*out = memory;
	return OK;
}

static void list_add(struct bytes_item *list, size_t *count, struct span bytes)
{
	for (size_t i = 0; i < *count; i++)
		if (list[i].bytes.data == bytes.data)
			return; /* named by several records, sent once */
	list[(*count)++].bytes = bytes;
}

static result add_node(struct runtime *rt, size_t index, const uint8_t self[static OID_SIZE], struct data_end *end)
{
	const struct record *record = dac_record(rt->dac, index);
	const struct policy_version *version = policy_versions_find(rt->versions, record->policy_digest);
	const struct report *report = dac_report_of(rt->dac, record->host_report);
	ptrdiff_t policy = find_policy(rt, version && report ? report->launch.policy_digest : record->policy_digest);
	if (policy < 0)
		return fail(NO_POLICY, "the policy of %s is not known here", record->enclave);
	if (version)
		list_add(end->versions, &end->version_count, version->object);
	list_add(end->policies, &end->policy_count, rt->policies[policy].bytes);
	list_add(end->certificates, &end->certificate_count, dac_certificate(rt->dac, record->certificate));
	list_add(end->reports, &end->report_count, dac_report(rt->dac, record->host_report));
	if (memcmp(dac_oid(rt->dac, index), self, OID_SIZE) != 0)
		list_add(end->records, &end->record_count, dac_bytes(rt->dac, index));
	return OK;
}

static void free_indices(size_t **indices)
{
	free(*indices);
}

static result fill_closure(struct runtime *rt, const uint8_t oid[static OID_SIZE], struct data_end *end)
{
	struct digest32 root;
	CLEANUP(free_indices) size_t *indices = NULL;
	size_t count = 0;
	memcpy(root.bytes, oid, OID_SIZE);
	TRY(dac_closure(rt->dac, &root, 1, &indices, &count));
	TRY(list_new(rt, count, &end->certificates));
	TRY(list_new(rt, count, &end->reports));
	TRY(list_new(rt, count, &end->policies));
	TRY(list_new(rt, count, &end->records));
	TRY(list_new(rt, count, &end->versions));
	for (size_t i = 0; i < count; i++)
		TRY(add_node(rt, indices[i], oid, end));
	end->has_versions = end->version_count > 0;
	return OK;
}

static result sign_request(struct runtime *rt, const struct channel *channel, uint8_t out_oid[static OID_SIZE])
{
	struct record_parent parent = {.enclave = rt->uri};
	struct record_data in = {.name = channel->spec.edge};
	struct record record = {
		.kind = RECORD_REQUEST,
		.operation = channel->spec.operation,
		.parents = &parent,
		.parent_count = 1,
		.target = channel->expected_name,
		.has_target = true,
		.has_call_id = true,
		.in = &in,
		.in_count = 1,
	};
	memcpy(parent.oid, rt->derive_oid, OID_SIZE);
	memcpy(in.commit, channel->consumer->commit, SHA256_SIZE);
	memcpy(record.call_id, channel->opened.call_id, CALL_ID_SIZE);
	return records_sign(rt, &record, out_oid);
}

result records_hand_over(struct runtime *rt, struct channel *channel)
{
	CLEANUP(writer_free) struct writer frame = writer_growing(DATA_FRAME_MAX + FRAME_HEADER_SIZE);
	struct data_end end = {.length = channel->product->length};
	uint8_t oid[OID_SIZE];
	struct span bytes;
	if (!channel->spec.external) {
		TRY(sign_request(rt, channel, oid));
		end.record = rt->records[rt->record_count - 1].bytes;
		end.has_record = true;
		TRY(fill_closure(rt, oid, &end));
		platform_put(channel, &end);
	}
	TRY(data_put_end(&end, &frame));
	TRY(writer_finish(&frame, &bytes));
	TRY(channel_send(channel, bytes));
	TRY(channel_close(channel));
	channel->finished = true;
	return OK;
}

/* ---- Accepting --------------------------------------------------------------------------------- */

result records_add_named(struct runtime *rt, const struct data_end *end)
{
	for (size_t i = 0; i < end->certificate_count; i++)
		TRY(dac_add_certificate(rt->dac, end->certificates[i].bytes, NULL));
	for (size_t i = 0; i < end->report_count; i++)
		TRY(dac_add_report(rt->dac, end->reports[i].bytes, NULL));
	for (size_t i = 0; i < end->policy_count; i++)
		TRY(records_add_policy(rt, end->policies[i].bytes));
	for (size_t i = 0; i < end->version_count; i++)
		TRY(policy_add_version(rt, end->versions[i].bytes));
	for (size_t i = 0; i < end->platform_count; i++)
		TRY(platform_take_peer(rt, end->platforms[i].bytes));
	return OK;
}

result records_add_closure(struct runtime *rt, const struct data_end *end, uint8_t out_oid[static OID_SIZE])
{
	TRY(records_add_named(rt, end));
	for (size_t i = 0; i < end->record_count; i++)
		TRY(dac_add_record(rt->dac, end->records[i].bytes, NULL));
	return dac_add_record(rt->dac, end->record, out_oid);
}

/* The peer sends what its record depends on and nothing else. */
result records_require_no_extra(struct runtime *rt, const struct data_end *end, const uint8_t oid[static OID_SIZE])
{
	struct digest32 root;
	CLEANUP(free_indices) size_t *indices = NULL;
	size_t count = 0, named = 0;
	memcpy(root.bytes, oid, OID_SIZE);
	TRY(dac_closure(rt->dac, &root, 1, &indices, &count));
	TRY(foreign_require_standing(rt, indices, count));
	for (size_t i = 0; i < end->record_count; i++) {
		struct record record;
		uint8_t ancestor[OID_SIZE];
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		TRY(object_peek(KIND_RECORD, end->records[i].bytes, &arena, &record, ancestor));
		size_t at = dac_find(rt->dac, ancestor);
		bool found = false;
		for (size_t c = 0; c < count && !found; c++)
			found = indices[c] == at;
		named += found;
	}
	if (named != end->record_count)
		return fail(DAC_EXTRA_NODE, "%zu records that '%s' does not build on", end->record_count - named,
			dac_record(rt->dac, dac_find(rt->dac, oid))->operation);
	return OK;
}

static result check_handed_over(const struct runtime *rt, const struct input *input, const struct record *record)
{
	const struct channel *channel = input->channel;
	if (record->kind != RECORD_REQUEST)
		return fail(DAC_KIND_RULE, "a %s was sent instead of a REQUEST", record_kind_name(record->kind));
	/*
	 * DA-03, DA-10: whoever speaks on the channel is who signed. Records name the certificate of the launch; the channel may
	 * show one that was re-issued for the same keys.
	 */
	const struct report *report = dac_report_of(rt->dac, record->host_report);
	if (!report || memcmp(report->launch.keys_hash, channel->peer.keys_hash, SHA256_SIZE) != 0)
		return fail(DAC_SPLICED, "the record was signed by %s, not by the peer", record->enclave);
	if (strcmp(record->target, rt->uri) != 0)
		return fail(DAC_SPLICED, "the record is addressed to %s", record->target);
	if (strcmp(record->operation, channel->opened.operation) != 0 ||
		memcmp(record->call_id, channel->opened.call_id, CALL_ID_SIZE) != 0)
		return fail(DAC_KIND_RULE, "the record is about another call than the one that was opened");
	if (record->in_count != 1 || strcmp(record->in[0].name, channel->spec.edge) != 0)
		return fail(DAC_COMMITMENT, "the record is not about edge '%s'", channel->spec.edge);
	if (!secret_equal(SPAN_ARRAY(record->in[0].commit), SPAN_ARRAY(input->commit)))
		return fail(DAC_COMMITMENT, "the data that arrived is not what the record says");
	if (record->time > runtime_now_ms() + TIME_SKEW_MS)
		return fail(DAC_TIME, "the record is dated in the future");
	return OK;
}

static result accept_record(struct runtime *rt, struct input *input, const struct data_end *end)
{
	struct dac_summary summary;
	uint8_t oid[OID_SIZE];
	struct channel *channel = input->channel;
	if (!end->has_record)
		return fail(INPUT_INCOMPLETE, "no record came with it");
	TRY(records_add_closure(rt, end, oid));
	TRY(dac_verify(rt->dac, &summary));
	TRY(dac_require(rt->dac, oid));
	size_t index = dac_find(rt->dac, oid);
	const struct record *record = dac_record(rt->dac, index);
	TRY(check_handed_over(rt, input, record));
	TRY(records_require_no_extra(rt, end, oid));
	/* What we derive from it is one call deeper. */
	TRY(channel_decide(channel, RESOURCE_RECORD, DIRECTION_RECEIVE, record->operation, dac_verdict(rt->dac, index).level + 1));
	input->supplier.enclave = record->enclave;
	memcpy(input->supplier.oid, oid, OID_SIZE);
	memcpy(rt->accepted_oid, oid, OID_SIZE);
	rt->has_accepted = true;
	return OK;
}

static result decide_input(struct runtime *rt, const struct input *input)
{
	size_t index = dac_find(rt->dac, input->supplier.oid);
	if (!input->channel || !input->complete || index == SIZE_MAX)
		return OK;
	const struct record *record = dac_record(rt->dac, index);
	unsigned depth = dac_verdict(rt->dac, index).level + 1;
	result decided = input->channel->spec.external ?
		channel_decide_again(input->channel) :
		channel_decide(input->channel, RESOURCE_RECORD, DIRECTION_RECEIVE, record->operation, depth);
	return decided == OK ? OK : fail_within(decided, "edge '%s' from '%s', which has come in", input->name, input->channel->spec.peer);
}

result records_decide_inputs(struct runtime *rt)
{
	for (size_t i = 0; i < rt->input_count && !rt->derived; i++)
		TRY(decide_input(rt, &rt->inputs[i]));
	return OK;
}

result records_accept(struct runtime *rt, struct input *input, const struct data_end *end)
{
	result accepted;
	if (input->channel->spec.external) {
		/* Level-0: it has no records; what comes from it enters here. */
		accepted = end->has_record || end->record_count ? fail(EVIDENCE_UNEXPECTED, "records of an external peer") :
			records_origin(rt, input->name, "external", input->commit, NULL, &input->supplier);
	} else {
		accepted = accept_record(rt, input, end);
	}
	return accepted == OK ? OK : fail_within(accepted, "edge '%s' from '%s'", input->name, input->channel->spec.peer);
}

/* ---- The end ----------------------------------------------------------------------------------- */

static result sign_statement(struct runtime *rt, const struct product *product, const struct consumer *consumer)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	if (rt->statement_count == MAX_STATEMENTS)
		return fail(TOO_LARGE, "more than %d statements of one enclave", MAX_STATEMENTS);
	struct statement statement = {
		.v = 1,
		.enclave = rt->uri,
		.time = runtime_now_ms(),
		.name = consumer->name,
		.media_type = consumer->media_type,
		.length = product->length,
	};
	memcpy(statement.certificate, rt->certificate_digest, SHA256_SIZE);
	memcpy(statement.run_id, rt->prepare.run_id, RUN_ID_SIZE);
	memcpy(statement.digest, product->sha256, SHA256_SIZE);
	TRY(object_sign(KIND_STATEMENT, &statement, &rt->sign, &object, NULL));
	TRY(arena_copy(&rt->arena, bytes_span(&object), &rt->statements[rt->statement_count].bytes));
	rt->statement_count++;
	return OK;
}

result records_statements(struct runtime *rt)
{
	for (size_t p = 0; p < rt->product_count; p++)
		for (size_t c = 0; c < rt->products[p].consumer_count; c++)
			if (rt->products[p].consumers[c].statement)
				TRY(sign_statement(rt, &rt->products[p], &rt->products[p].consumers[c]));
	return OK;
}

static void add_salt(struct control_finished *out, const uint8_t *commit, const uint8_t *salt)
{
	struct salt_row *row = &out->salts[out->salt_count++];
	memcpy(row->commit, commit, SHA256_SIZE);
	memcpy(row->salt, salt, DATA_SALT_SIZE);
}

static size_t count_outputs(const struct runtime *rt)
{
	size_t count = 0;
	for (size_t p = 0; p < rt->product_count; p++)
		count += rt->products[p].consumer_count;
	return count;
}

/* Salts of what enters and leaves the job by declaration; those of edges and secrets stay here. */
static result collect_salts(struct runtime *rt, struct control_finished *out)
{
	void *memory;
	TRY(arena_alloc(&rt->arena, rt->input_count + count_outputs(rt) + 1, sizeof(struct salt_row), &memory));
	out->salts = memory;
	for (size_t i = 0; i < rt->input_count; i++)
		if (rt->inputs[i].disclosed)
			add_salt(out, rt->inputs[i].commit, rt->inputs[i].salt);
	for (size_t p = 0; p < rt->product_count; p++)
		for (size_t c = 0; c < rt->products[p].consumer_count; c++)
			if (!rt->products[p].consumers[c].channel)
				add_salt(out, rt->products[p].consumers[c].commit, rt->products[p].consumers[c].salt);
	return schema_sort(&salt_row_schema, out->salts, out->salt_count);
}

result records_finished(struct runtime *rt, struct control_finished *out)
{
	void *grants;
	*out = (struct control_finished){
		.records = rt->records,
		.record_count = rt->record_count,
		.statements = rt->statements,
		.statement_count = rt->statement_count,
		.in = rt->input_bytes,
		.out = rt->output_bytes,
		.cpu_ms = rt->end.cpu_ms,
		.max_rss = rt->end.max_rss,
		.reissues = rt->reissues,
	};
	for (size_t i = 0; i < rt->channel_count; i++) {
		out->rekeys += rt->channels[i]->handshakes;
		out->keyupdates += channel_keyupdates(rt->channels[i]);
	}
	TRY(arena_alloc(&rt->arena, rt->secret_count + MAX_GRANTS + 1, sizeof(struct bytes_item), &grants));
	out->grants = grants;
	for (size_t i = 0; i < rt->secret_count; i++)
		out->grants[out->grant_count++].bytes = rt->secrets[i].grant;
	for (size_t i = 0; rt->calls && i < rt->calls->released_count; i++)
		if (rt->calls->released[i].entered)
			out->grants[out->grant_count++].bytes = rt->calls->released[i].grant;
	memcpy(out->root, rt->derive_oid, OID_SIZE);
	TRY(policy_versions_used(rt, out));
	return collect_salts(rt, out);
}
