#include "job/join.h"

#include "base/clock.h"
#include "job/flow_remote.h"
#include "receipt/trust.h"
#include "receipt/verify.h"
#include "root/host_evidence.h"
#include "root/tcb.h"

enum { MOST_BUILDS = 64, RUN_S = 7 * 86400 };

/* What this host believes about the run: its own plan of the job, its own programs, and the roots that the job names. */
struct belief {
	struct span inceptions[2 + 64];
	size_t inception_count;
	struct trust_tcb tcbs[MOST_BUILDS];
	size_t tcb_count;
};

static void add_tcb(struct belief *belief, const struct trust_tcb *tcb)
{
	for (size_t i = 0; i < belief->tcb_count; i++)
		if (memcmp(&belief->tcbs[i], tcb, sizeof(*tcb)) == 0)
			return;
	if (belief->tcb_count < MOST_BUILDS)
		belief->tcbs[belief->tcb_count++] = *tcb;
}

/*
 * Which builds of Troth the other hosts run is judged by policies and by whoever reads the receipt with a trust file of
 * their own; here any build of an enrolled host will do.
 */
static result take_builds(struct run *run, struct belief *belief)
{
	struct receipt receipt;
	struct bytes_list reports;
	TRY(receipt_decode(bytes_span(&run->receipt), &run->arena, &receipt));
	for (size_t s = 0; s < receipt.section_count; s++) {
		if (receipt.sections[s].id != SECTION_REPORTS)
			continue;
		TRY(schema_decode(&bytes_list_schema, receipt.sections[s].bytes, &run->arena, &reports));
		for (size_t i = 0; i < reports.count; i++) {
			struct report report;
			struct trust_tcb tcb;
			TRY(object_peek(KIND_REPORT, reports.items[i].bytes, &run->arena, &report, NULL));
			memcpy(tcb.register0, report.registers[REGISTER_AP].value, SHA384_SIZE);
			memcpy(tcb.register1, report.registers[REGISTER_HOST].value, SHA384_SIZE);
			add_tcb(belief, &tcb);
		}
	}
	return OK;
}

static result add_history(struct run *run, struct belief *belief, struct span bytes)
{
	struct epoch_history history;
	TRY(schema_decode(&epoch_history_schema, bytes, &run->arena, &history));
	if (history.object_count == 0 || belief->inception_count == COUNT_OF(belief->inceptions))
		return fail(BAD_VALUE, "an empty history");
	belief->inceptions[belief->inception_count++] = history.objects[0].bytes;
	return OK;
}

static result take_roots(struct run *run, struct belief *belief)
{
	const struct span *histories;
	size_t count = 0;
	belief->inceptions[belief->inception_count++] = run->began_under->inception;
	TRY(remote_foreign(run, &histories, &count));
	for (size_t i = 0; i < count; i++)
		TRY(add_history(run, belief, histories[i]));
	return OK;
}

static result list_authors(struct run *run, struct digest32 **out, size_t *out_count)
{
	size_t count = policy_references_count(run->verified);
	TRY(run_alloc(run, count, sizeof(**out), out));
	for (size_t i = 0; i < count; i++) {
		struct policy_reference_view set;
		bool known = false;
		policy_references_at(run->verified, i, &set);
		for (size_t a = 0; a < *out_count; a++)
			known |= memcmp((*out)[a].bytes, set.author.data, KEY_ID_SIZE) == 0;
		if (!known)
			memcpy((*out)[(*out_count)++].bytes, set.author.data, KEY_ID_SIZE);
	}
	return schema_sort(&digest32_schema, *out, *out_count);
}

/* Those that the roots name: a trust file has all of them. */
static result list_recovery(struct run *run, const struct belief *belief, struct digest32 **out, size_t *out_count)
{
	size_t most = 0;
	struct epoch *epochs;
	TRY(run_alloc(run, belief->inception_count, sizeof(*epochs), &epochs));
	for (size_t i = 0; i < belief->inception_count; i++) {
		uint8_t rot_id[OID_SIZE];
		TRY(epoch_open_inception(belief->inceptions[i], &run->arena, &epochs[i], rot_id));
		most += epochs[i].has_recovery ? epochs[i].recovery.key_count : 0;
	}
	TRY(run_alloc(run, most, sizeof(**out), out));
	for (size_t i = 0; i < belief->inception_count; i++)
		for (size_t k = 0; epochs[i].has_recovery && k < epochs[i].recovery.key_count; k++) {
			bool known = false;
			for (size_t o = 0; o < *out_count; o++)
				known |= memcmp((*out)[o].bytes, epochs[i].recovery.keys[k].bytes, KEY_ID_SIZE) == 0;
			if (!known)
				(*out)[(*out_count)++] = epochs[i].recovery.keys[k];
		}
	return schema_sort(&digest32_schema, *out, *out_count);
}

/* Whose TPMs count is this operator's word, as for the enclaves here. */
static result list_platforms(struct run *run, struct platform_trust *trust, const struct platform_trust **out)
{
	struct span encoded;
	TRY(root_host_platform_trust(run->host->root, &run->arena, &encoded));
	if (encoded.len == 0)
		return OK;
	TRY(schema_decode(&platform_trust_schema, encoded, &run->arena, trust));
	*out = trust;
	return OK;
}

static result make_trust(struct run *run, struct trust *out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	struct belief *belief;
	struct digest32 *authors, *recovery;
	size_t author_count = 0, recovery_count = 0;
	struct platform_trust platform_trust;
	const struct platform_trust *platform = NULL;
	TRY(run_alloc(run, 1, sizeof(*belief), &belief));
	TRY(take_roots(run, belief));
	TRY(list_recovery(run, belief, &recovery, &recovery_count));
	TRY(list_platforms(run, &platform_trust, &platform));
	TRY(take_builds(run, belief));
	TRY(list_authors(run, &authors, &author_count));
	struct trust_parts parts = {
		.inceptions = belief->inceptions,
		.inception_count = belief->inception_count,
		.recovery_keys = recovery,
		.recovery_key_count = recovery_count,
		.platform = platform,
		.tcbs = belief->tcbs,
		.tcb_count = belief->tcb_count,
		.job = &run->plan.job,
		.max_run_s = RUN_S,
		.skew_s = SKEW_MS / 1000,
		.authors = authors,
		.author_count = author_count,
	};
	memcpy(parts.job_digest, run->plan.digest, SHA256_SIZE);
	TRY(trust_write(&parts, &text));
	return trust_parse("this host", bytes_span(&text), out);
}

/* The receipt is about this run, and signed by the host that coordinates. */
static result check_head(struct run *run, const struct verify_report *report)
{
	if (!report->has_head || memcmp(report->head.run_id, run->run_id, RUN_ID_SIZE) != 0)
		return fail(RECEIPT_REFUSED, "it is about another run");
	run->head = report->receipt.head;
	uint8_t oid[OID_SIZE];
	struct cose_sign1 head;
	TRY(cose_strict_sign1_parse(run->head, &head));
	object_oid(KIND_RECEIPT_HEAD, head.payload, oid);
	memcpy(run->head_oid, oid, OID_SIZE);
	return OK;
}

static result judge(struct run *run, const struct trust *trust)
{
	CLEANUP(verify_report_free) struct verify_report report = {0};
	const struct verify_options options = {
		.trust = trust,
		.receipt = bytes_span(&run->receipt),
		.nonce = run->has_nonce ? SPAN_ARRAY(run->nonce) : SPAN_EMPTY,
		.at_ms = clock_wall_ms(),
	};
	TRY(receipt_verify(&options, &report));
	const struct verify_check *failed = verify_first_failure(&report);
	if (report.verdict != VERDICT_ACCEPTED)
		return fail(failed ? failed->reason : RECEIPT_REFUSED, "the receipt that the coordinator made does not convince this host: %s%s%s: %s",
			failed ? failed->name : "", failed && failed->object[0] ? " of " : "", failed ? failed->object : "", failed ? failed->text : "");
	TRY(check_head(run, &report));
	return arena_copy(&run->arena, run->head, &run->head);
}

static result verify_receipt(struct run *run)
{
	CLEANUP(trust_free) struct trust trust = {0};
	TRY(make_trust(run, &trust));
	return judge(run, &trust);
}

/* The other side of flow.c's run_job. */
static result take_part(struct run *run)
{
	TRY(run_load_plan(run));
	TRY(run_check_roles(run));
	TRY(run_open_folder(run));
	TRY(remote_join(run));
	TRY(run_authorise(run));
	TRY(run_take_platform(run, run->began_under));
	TRY(remote_launch(run));
	TRY(run_launch_stages(run));
	TRY(remote_ready(run));
	TRY(run_set_going(run));
	TRY(run_collect(run));
	TRY(remote_collect(run));
	TRY(remote_receipt(run, &run->receipt));
	TRY(verify_receipt(run));
	TRY(run_enter_history(run));
	TRY(remote_convinced(run));
	TRY(run_record(run));
	TRY(run_publish(run));
	remote_published(run);
	return OK;
}

result join_run(const struct flow_host *host, const struct join_request *request, const int *fds, size_t fd_count,
	const struct flow_listener *listener, struct arena *arena, struct flow_outcome *out, struct flow_failure *out_failure)
{
	if (!request->run.job[0])
		return fail(USAGE, "a command runs on one host; a job with `hosts` can be joined");
	return run_main(host, &request->run, request->coordinator, fds, fd_count, listener, take_part, arena, out, out_failure);
}
