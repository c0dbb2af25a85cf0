/* What an IRE signs about calls, and how it judges what the other side signed (constructions/dac.md; docs/PROTOCOL.dac "Calls"). */
#include <stdlib.h>

#include "enclave/runtime_call.h"

/* ---- What a peer has already --------------------------------------------------------------------- */

static void free_indices(size_t **indices)
{
	free(*indices);
}

/* The peer has it, and whatever it depends on; or may ask for it. */
static bool peer_has(void *link, const uint8_t oid[static OID_SIZE])
{
	return id_set_has(&((struct call_link *)link)->known, oid);
}

/* A record and its ancestors that the peer was not known to have, parents first. */
static result lacking_of(struct runtime *rt, struct call_link *link, const uint8_t oid[static OID_SIZE], size_t **out, size_t *out_count)
{
	const struct dac_walk how = {.stop = peer_has, .context = link};
	return dac_walk(rt->dac, oid, &how, out, out_count);
}

/* What records name; of the records themselves only the id when they are owed. */
static result mark_named(struct runtime *rt, struct call_link *link, const struct record *record)
{
	const struct report *report = dac_report_of(rt->dac, record->host_report);
	TRY(id_set_add(&link->known, record->certificate));
	TRY(id_set_add(&link->known, record->host_report));
	TRY(id_set_add(&link->known, record->policy_digest));
	return report ? id_set_add(&link->known, report->launch.policy_digest) : OK;
}

static result mark_known(struct runtime *rt, struct call_link *link, const size_t *indices, size_t count, size_t owed)
{
	for (size_t i = 0; i < count; i++) {
		TRY(id_set_add(&link->known, dac_oid(rt->dac, indices[i])));
		if (i >= owed)
			TRY(mark_named(rt, link, dac_record(rt->dac, indices[i])));
	}
	return OK;
}

/* ---- Handing over: the record, and what the peer lacks ------------------------------------------------- */

static void list_add(struct bytes_item *list, size_t *count, struct span bytes)
{
	for (size_t i = 0; i < *count; i++)
		if (list[i].bytes.data == bytes.data)
			return;
	list[(*count)++].bytes = bytes;
}

/* What the record names, unless the peer has it. */
static result add_named(struct runtime *rt, struct call_link *link, const struct record *record, struct data_end *end)
{
	const struct report *report = dac_report_of(rt->dac, record->host_report);
	const struct policy_version *version = policy_versions_find(rt->versions, record->policy_digest);
	const uint8_t *launched = version && report ? report->launch.policy_digest : record->policy_digest;
	struct span policy;
	if (version && !id_set_has(&link->known, record->policy_digest))
		list_add(end->versions, &end->version_count, version->object);
	if (!id_set_has(&link->known, launched)) {
		TRY(records_policy(rt, launched, record->enclave, &policy));
		list_add(end->policies, &end->policy_count, policy);
	}
	if (!id_set_has(&link->known, record->certificate))
		list_add(end->certificates, &end->certificate_count, dac_certificate(rt->dac, record->certificate));
	if (!id_set_has(&link->known, record->host_report))
		list_add(end->reports, &end->report_count, dac_report(rt->dac, record->host_report));
	return mark_named(rt, link, record);
}

static result list_new(struct runtime *rt, size_t max, struct bytes_item **out)
{
	void *memory;
	TRY(arena_alloc(&rt->arena, max ? max : 1, sizeof(struct bytes_item), &memory));
	*out = memory;
	return OK;
}

result call_fill_nodes(struct runtime *rt, struct call_link *link, const size_t *indices, size_t count, struct data_end *out)
{
	TRY(list_new(rt, count, &out->certificates));
	TRY(list_new(rt, count, &out->reports));
	TRY(list_new(rt, count, &out->policies));
	TRY(list_new(rt, count, &out->records));
	TRY(list_new(rt, count, &out->versions));
	for (size_t i = 0; i < count; i++) {
		TRY(add_named(rt, link, dac_record(rt->dac, indices[i]), out));
		out->records[out->record_count++].bytes = dac_bytes(rt->dac, indices[i]);
	}
	out->has_versions = out->version_count > 0;
	return OK;
}

static size_t eager_of(const struct runtime *rt)
{
	uint64_t said = rt->chain_limits[CHAIN_EAGER];
	return said ? (size_t)said : NODES_MAX_RECORDS;
}

static result fill_end(struct runtime *rt, struct call_link *link, const uint8_t oid[static OID_SIZE], struct data_end *end)
{
	CLEANUP(free_indices) size_t *indices = NULL;
	size_t count = 0, from = 0;
	TRY(lacking_of(rt, link, oid, &indices, &count));
	TRY(fetch_leave_out(&link->giver, rt->dac, indices, count, eager_of(rt), &from));
	end->more = from > 0;
	TRY(call_fill_nodes(rt, link, indices + from, count - from, end));
	end->record = end->records[--end->record_count].bytes; /* the last: what is handed over */
	end->has_record = true;
	return mark_known(rt, link, indices, count, from);
}

/* ---- Signing -------------------------------------------------------------------------------------- */

struct draft {
	struct record_parent parents[RECORD_MAX_PARENTS];
	struct record_data in[RECORD_MAX_PARENTS], out[1];
	struct record record;
};

static void draft_begin(struct draft *d, enum record_kind kind, const char *operation)
{
	d->record = (struct record){.kind = (uint8_t)kind, .operation = operation, .parents = d->parents, .in = d->in, .out = d->out};
}

static result add_parent(struct draft *d, const struct record_parent *parent)
{
	if (d->record.parent_count == RECORD_MAX_PARENTS)
		return fail(TOO_LARGE, "a record with more than %d parents", RECORD_MAX_PARENTS);
	d->parents[d->record.parent_count++] = *parent;
	return OK;
}

static void add_data(struct record_data *list, size_t *count, const char *name, const uint8_t *commit)
{
	list[*count].name = name;
	memcpy(list[(*count)++].commit, commit, SHA256_SIZE);
}

static result add_cause(struct draft *d, const struct cause *cause)
{
	TRY(add_parent(d, &cause->parent));
	if (cause->has_data)
		add_data(d->in, &d->record.in_count, cause->name, cause->commit);
	return OK;
}

static bool has_inputs(const struct runtime *rt)
{
	return rt->input_count + rt->secret_count > 0;
}

static result derive_base(struct runtime *rt)
{
	struct draft d;
	draft_begin(&d, RECORD_DERIVE, "base");
	for (size_t i = 0; i < rt->input_count; i++) {
		TRY(add_parent(&d, &rt->inputs[i].supplier));
		add_data(d.in, &d.record.in_count, rt->inputs[i].name, rt->inputs[i].commit);
	}
	for (size_t i = 0; i < rt->secret_count; i++) {
		TRY(add_parent(&d, &rt->secrets[i].supplier));
		add_data(d.in, &d.record.in_count, rt->secrets[i].name, rt->secrets[i].commit);
	}
	rt->calls->base.enclave = rt->uri;
	return records_sign(rt, &d.record, rt->calls->base.oid);
}

/* One record for all that was given to the program before it called anybody. */
static result need_base(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	struct record_data data;
	if (calls->has_base)
		return OK;
	if (has_inputs(rt)) {
		TRY(derive_base(rt));
	} else {
		TRY(records_origin_of_nothing(rt, &calls->base, &data));
		memcpy(calls->base_commit, data.commit, SHA256_SIZE);
		calls->base_is_origin = true;
	}
	calls->has_base = true;
	return OK;
}

/* Whatever the program does from then on may rest on what it unsealed. */
static result add_unsealed(const struct runtime *rt, struct draft *d)
{
	return rt->calls->has_unsealed ? add_cause(d, &rt->calls->unsealed) : OK;
}

result call_note_unsealed(struct runtime *rt, const struct cause *origin)
{
	struct calls *calls = rt->calls;
	struct draft d;
	if (!calls->has_unsealed) {
		calls->unsealed = *origin;
		calls->has_unsealed = true;
		return OK;
	}
	draft_begin(&d, RECORD_DERIVE, "fold");
	TRY(add_unsealed(rt, &d));
	TRY(add_cause(&d, origin));
	calls->unsealed = (struct cause){.parent.enclave = rt->uri};
	return records_sign(rt, &d.record, calls->unsealed.parent.oid);
}

/* A local step: what the program was given, put out under `name`. */
static result derive(struct runtime *rt, const char *operation, const struct cause *causes, size_t count, const char *name,
	const uint8_t *commit, uint8_t out_oid[static OID_SIZE])
{
	struct draft d;
	draft_begin(&d, RECORD_DERIVE, operation);
	if (has_inputs(rt) || count == 0) {
		TRY(need_base(rt));
		TRY(add_parent(&d, &rt->calls->base));
	}
	for (size_t i = 0; i < count; i++)
		TRY(add_cause(&d, &causes[i]));
	TRY(add_unsealed(rt, &d));
	if (name)
		add_data(d.out, &d.record.out_count, name, commit);
	return records_sign(rt, &d.record, out_oid);
}

static void address(const struct call *call, struct record *record)
{
	record->target = call->channel->expected_name;
	record->has_target = true;
	record->has_call_id = true;
	memcpy(record->call_id, call->call_id, CALL_ID_SIZE);
}

result call_sign_request(struct runtime *rt, struct call *call, struct data_end *end)
{
	struct draft d;
	struct record_parent step = {.enclave = rt->uri};
	const struct control_channel *spec = &call->channel->spec;
	TRY(derive(rt, "call", call->causes, call->cause_count, spec->edge, call->out.commit, step.oid));
	draft_begin(&d, RECORD_REQUEST, spec->operation);
	address(call, &d.record);
	TRY(add_parent(&d, &step));
	add_data(d.in, &d.record.in_count, spec->edge, call->out.commit);
	call->ours.enclave = rt->uri;
	TRY(records_sign(rt, &d.record, call->ours.oid));
	call->has_ours = true;
	platform_put(call->channel, end);
	return fill_end(rt, call->channel->link, call->ours.oid, end);
}

result call_sign_response(struct runtime *rt, struct call *call, struct data_end *end)
{
	struct draft d;
	const struct control_channel *spec = &call->channel->spec;
	draft_begin(&d, RECORD_RESPONSE, spec->operation);
	address(call, &d.record);
	TRY(add_parent(&d, &call->theirs));
	add_data(d.in, &d.record.in_count, spec->edge, call->in.commit);
	if (has_inputs(rt)) {
		TRY(need_base(rt));
		TRY(add_parent(&d, &rt->calls->base));
	}
	if (rt->calls->has_unsealed)
		TRY(add_parent(&d, &rt->calls->unsealed.parent));
	/* Answers that this one was made with. */
	for (size_t i = 0; i < call->cause_count; i++)
		TRY(add_parent(&d, &call->causes[i].parent));
	add_data(d.out, &d.record.out_count, spec->edge, call->out.commit);
	call->ours.enclave = rt->uri;
	TRY(records_sign(rt, &d.record, call->ours.oid));
	call->has_ours = true;
	platform_put(call->channel, end);
	return fill_end(rt, call->channel->link, call->ours.oid, end);
}

result call_fold_causes(struct runtime *rt, struct call *call)
{
	struct cause folded = {.parent.enclave = rt->uri};
	TRY(derive(rt, "fold", call->causes, call->cause_count, NULL, NULL, folded.parent.oid));
	call->causes[0] = folded;
	call->cause_count = 1;
	return OK;
}

result call_record(struct runtime *rt, const struct cause *causes, size_t count, const char *name,
	const uint8_t commit[static SHA256_SIZE], uint8_t out_oid[static OID_SIZE])
{
	return derive(rt, "record", causes, count, name, commit, out_oid);
}

/* ---- Judging -------------------------------------------------------------------------------------- */

static bool names_parent(const struct record *record, const uint8_t oid[static OID_SIZE])
{
	for (size_t i = 0; i < record->parent_count; i++)
		if (memcmp(record->parents[i].oid, oid, OID_SIZE) == 0)
			return true;
	return false;
}

static result check_kind(const struct call *call, const struct record *record)
{
	const struct control_channel *spec = &call->channel->spec;
	enum record_kind kind = call->we_ask ? RECORD_RESPONSE : RECORD_REQUEST;
	const struct record_data *data = call->we_ask ? record->out : record->in;
	size_t count = call->we_ask ? record->out_count : record->in_count;
	if (record->kind != kind)
		return fail(DAC_KIND_RULE, "a %s was sent instead of a %s", record_kind_name((enum record_kind)record->kind),
			record_kind_name(kind));
	/* DA-11: an answer belongs to the very question that was asked. */
	if (call->we_ask && !names_parent(record, call->ours.oid))
		return fail(DAC_SPLICED, "the answer is one to another question");
	if (strcmp(record->operation, spec->operation) != 0 || memcmp(record->call_id, call->call_id, CALL_ID_SIZE) != 0)
		return fail(DAC_KIND_RULE, "the record is about another call than the one that was opened");
	if (count != 1 || strcmp(data[0].name, spec->edge) != 0)
		return fail(DAC_COMMITMENT, "the record is not about edge '%s'", spec->edge);
	if (!secret_equal(SPAN_ARRAY(data[0].commit), SPAN_ARRAY(call->in.commit)))
		return fail(DAC_COMMITMENT, "the data that arrived is not what the record says");
	return OK;
}

static result check_signer(const struct runtime *rt, const struct call *call, const struct record *record)
{
	/* Records name the certificate of the launch; the channel may show one that was re-issued for the same keys. */
	const struct report *report = dac_report_of(rt->dac, record->host_report);
	if (!report || memcmp(report->launch.keys_hash, call->channel->peer.keys_hash, SHA256_SIZE) != 0)
		return fail(DAC_SPLICED, "the record was signed by %s, not by the peer", record->enclave);
	if (!record->has_target || strcmp(record->target, rt->uri) != 0)
		return fail(DAC_SPLICED, "the record is addressed to %s", record->has_target ? record->target : "nobody");
	if (record->time > runtime_now_ms() + TIME_SKEW_MS)
		return fail(DAC_TIME, "the record is dated in the future");
	return OK;
}

result call_take_nodes(struct runtime *rt, struct call_link *link, const struct data_end *nodes)
{
	uint8_t oid[OID_SIZE];
	TRY(records_add_named(rt, nodes));
	for (size_t i = 0; i < nodes->record_count; i++) {
		TRY(dac_add_record(rt->dac, nodes->records[i].bytes, oid));
		TRY(fetch_note(&link->taker, oid));
	}
	return OK;
}

result call_take_records(struct runtime *rt, struct call_link *link, const struct data_end *end)
{
	uint8_t oid[OID_SIZE];
	TRY(dac_add_record(rt->dac, end->record, oid));
	fetch_begin(&link->taker, oid, end->more);
	return call_take_nodes(rt, link, end);
}

result call_judge(struct runtime *rt, struct call *call)
{
	CLEANUP(free_indices) size_t *indices = NULL;
	struct call_link *link = call->channel->link;
	const uint8_t *oid = link->taker.root;
	struct dac_summary summary;
	size_t count = 0;
	TRY(dac_verify(rt->dac, &summary));
	TRY(fetch_require_root(&link->taker, rt->dac));
	size_t index = dac_find(rt->dac, oid);
	const struct record *record = dac_record(rt->dac, index);
	TRY(check_signer(rt, call, record));
	TRY(check_kind(call, record));
	TRY(foreign_require_all_standing(rt, oid));
	TRY(fetch_require_no_extra(&link->taker, rt->dac, &link->known));
	/* What we derive from a question is one call deeper; from an answer it is as deep as the answer. */
	unsigned level = dac_verdict(rt->dac, index).level;
	TRY(channel_decide(call->channel, RESOURCE_RECORD, call->we_ask ? DIRECTION_SEND : DIRECTION_RECEIVE, record->operation,
		call->we_ask ? level : level + 1));
	TRY(lacking_of(rt, link, oid, &indices, &count));
	TRY(mark_known(rt, link, indices, count, 0));
	call->theirs.enclave = record->enclave;
	memcpy(call->theirs.oid, oid, OID_SIZE);
	call->has_theirs = true;
	return OK;
}

result call_accept(struct runtime *rt, struct call *call, const struct data_end *end)
{
	if (!end->has_record)
		return fail(INPUT_INCOMPLETE, "no record came with it");
	TRY(call_take_records(rt, call->channel->link, end));
	return call_judge(rt, call);
}

/* ---- The end: everything hangs together ------------------------------------------------------------------ */

static result fold(struct runtime *rt)
{
	struct calls *calls = rt->calls;
	struct cause folded = {.parent.enclave = rt->uri};
	TRY(derive(rt, "fold", calls->leaves, calls->leaf_count, NULL, NULL, folded.parent.oid));
	calls->leaves[0] = folded;
	calls->leaf_count = 1;
	return OK;
}

static result add_leaf(struct runtime *rt, const struct cause *leaf)
{
	if (rt->calls->leaf_count == FOLD_AT)
		TRY(fold(rt));
	rt->calls->leaves[rt->calls->leaf_count++] = *leaf;
	return OK;
}

/* The latest of its records: an answer stands for its question. */
result call_note(struct runtime *rt, struct call *call)
{
	struct cause leaf = {.name = call->channel ? call->channel->spec.edge : NULL};
	bool theirs_last = call->we_ask ? call->has_theirs : !call->has_ours;
	if (call->noted || !(call->has_theirs || call->has_ours))
		return OK;
	call->noted = true;
	leaf.parent = theirs_last ? call->theirs : call->ours;
	leaf.has_data = theirs_last && leaf.name;
	memcpy(leaf.commit, call->in.commit, SHA256_SIZE);
	return add_leaf(rt, &leaf);
}

result records_note(struct runtime *rt, const uint8_t oid[static OID_SIZE])
{
	struct cause leaf = {.parent.enclave = rt->uri};
	memcpy(leaf.parent.oid, oid, OID_SIZE);
	return add_leaf(rt, &leaf);
}

result call_conclude_records(struct runtime *rt, struct record *record, size_t in_cap)
{
	struct calls *calls = rt->calls;
	size_t room = record->parent_count + 1 < RECORD_MAX_PARENTS ? RECORD_MAX_PARENTS - record->parent_count - 1 : 0;
	if (!calls)
		return OK;
	if (calls->has_unsealed)
		TRY(add_leaf(rt, &calls->unsealed));
	if (calls->leaf_count > room || record->in_count + calls->leaf_count > in_cap)
		TRY(fold(rt));
	if (calls->has_base && !calls->base_is_origin)
		record->parents[record->parent_count++] = calls->base;
	for (size_t i = 0; i < calls->leaf_count; i++) {
		record->parents[record->parent_count++] = calls->leaves[i].parent;
		if (calls->leaves[i].has_data)
			add_data(record->in, &record->in_count, calls->leaves[i].name, calls->leaves[i].commit);
	}
	return OK;
}

bool call_origin(const struct runtime *rt, struct record_parent *parent, struct record_data *data)
{
	const struct calls *calls = rt->calls;
	if (!calls || !calls->has_base || !calls->base_is_origin)
		return false;
	*parent = calls->base;
	data->name = "stdin";
	memcpy(data->commit, calls->base_commit, SHA256_SIZE);
	return true;
}
