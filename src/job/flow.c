#include "job/flow_internal.h"
#include "job/history.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/random.h"
#include "enclave/broker.h"
#include "job/flow_remote.h"
#include "job/issuer.h"
#include "job/secret_source.h"
#include "root/host_evidence.h"

result run_alloc(struct run *run, size_t count, size_t size, void *out)
{
	void *at;
	TRY(arena_alloc(&run->arena, count ? count : 1, size, &at));
	memcpy(out, &at, sizeof(at));
	return OK;
}

struct stage_run *run_stage(const struct run *run, const char *name)
{
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (strcmp(run->stages[i].stage->name, name) == 0)
			return &run->stages[i];
	return NULL; /* an external peer */
}

/* ---- The plan ------------------------------------------------------------------------------------ */

static result load_command(struct run *run)
{
	const struct flow_request *request = run->request;
	const char **argv, **files;
	TRY(run_alloc(run, request->argc + 1, sizeof(*argv), &argv));
	TRY(run_alloc(run, request->file_count + 1, sizeof(*files), &files));
	for (size_t i = 0; i < request->argc; i++)
		argv[i] = request->argv[i].text;
	for (size_t i = 0; i < request->file_count; i++)
		files[i] = request->files[i].text;
	if (request->argc == 0)
		return fail(USAGE, "there is neither a job nor a command");
	struct job_command command = {
		.argv = argv,
		.folder = request->folder,
		.files = files,
		.with_stdin = request->input_count > 0,
	};
	return job_plan_command(&command, &run->plan);
}

/* Verified here, and as signed: for the enclaves, which verify them by themselves, and for the receipt. */
static result list_references(struct run *run)
{
	struct policy_reference_view set;
	TRY(job_plan_references(&run->plan, &run->verified));
	size_t count = policy_references_count(run->verified);
	TRY(run_alloc(run, count, sizeof(*run->references), &run->references));
	for (size_t i = 0; i < count; i++) {
		policy_references_at(run->verified, i, &set);
		run->references[i] = set.bytes;
	}
	return OK;
}

result run_load_plan(struct run *run)
{
	TRY(run->request->job[0] ? job_plan_load(run->request->job, &run->plan) : load_command(run));
	TRY(list_references(run));
	TRY(run_alloc(run, run->plan.stage_count, sizeof(*run->stages), &run->stages));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		run->stages[i] = (struct stage_run){.run = run, .stage = &run->plan.stages[i]};
	return remote_place(run);
}

/* ---- Roles: every input is given once, and nothing else is ---------------------------------------- */

static const struct flow_file *find_file(const struct flow_file *files, size_t count, const char *role)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(files[i].role, role) == 0)
			return &files[i];
	return NULL;
}

static result check_given(const struct run *run, const struct flow_file *files, size_t count, bool secret)
{
	const struct job *job = &run->plan.job;
	const char *option = secret ? "--sealed" : "--input";
	for (size_t f = 0; f < count; f++) {
		const struct job_input *input = NULL;
		for (size_t i = 0; i < job->input_count; i++)
			if (strcmp(job->inputs[i].role, files[f].role) == 0)
				input = &job->inputs[i];
		if (!input)
			return fail(UNKNOWN_ROLE, "%s %s: job '%s' has no such input", option, files[f].role, job->name);
		if (input->secret != secret)
			return fail(
				UNKNOWN_ROLE, "%s %s: this input is given with %s", option, files[f].role, secret ? "--input" : "--sealed");
		if (!run_stage(run, input->enclave)->here)
			return fail(UNKNOWN_ROLE, "%s %s: this input is of enclave '%s', which another host runs; it is given there", option,
				files[f].role, input->enclave);
		if (find_file(files, f, files[f].role))
			return fail(USAGE, "%s %s is given twice", option, files[f].role);
	}
	return OK;
}

/* A sealed object is read by the host itself, which must not wait for whoever holds the other end of a pipe. */
static result require_file(int fd, const char *what)
{
	struct stat at;
	if (fstat(fd, &at) != 0)
		return fail_errno("'%s'", what);
	return S_ISREG(at.st_mode) ? OK : fail(BAD_TYPE, "'%s' is not a regular file", what);
}

static result open_file(const struct run *run, const struct flow_file *file, bool secret, struct fd *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (file->has_fd && file->fd >= run->fd_count)
		return fail(BAD_VALUE, "'%s' names a descriptor that did not come", file->role);
	if (file->has_fd && secret)
		TRY(require_file(run->fds[file->fd], file->role));
	if (file->has_fd)
		return fd_duplicate(run->fds[file->fd], out);
	/* Not blocking: a FIFO in the path must not hold the host up. */
	TRY(file_open(file->path, O_RDONLY | O_NONBLOCK, 0, &fd));
	TRY(require_file(fd.n, file->path));
	*out = fd_move(&fd);
	return OK;
}

result run_check_roles(struct run *run)
{
	const struct flow_request *request = run->request;
	const struct job *job = &run->plan.job;
	TRY(check_given(run, request->inputs, request->input_count, false));
	TRY(check_given(run, request->sealed, request->sealed_count, true));
	TRY(run_alloc(run, job->input_count, sizeof(*run->inputs), &run->inputs));
	for (size_t i = 0; i < job->input_count; i++)
		run->inputs[i] = FD_NONE;
	for (size_t i = 0; i < job->input_count; i++) {
		const struct job_input *input = &job->inputs[i];
		if (!run_stage(run, input->enclave)->here)
			continue;
		const struct flow_file *file = input->secret ? find_file(request->sealed, request->sealed_count, input->role)
							     : find_file(request->inputs, request->input_count, input->role);
		if (!file)
			return fail(MISSING_INPUT, "'%s' of enclave '%s': add %s %s=FILE", input->role, input->enclave,
				input->secret ? "--sealed" : "--input", input->role);
		result opened = open_file(run, file, input->secret, &run->inputs[i]);
		if (opened != OK)
			return fail_within(opened, "input '%s'", input->role);
	}
	return OK;
}

/* ---- A place, a name and a permission -------------------------------------------------------------- */

result run_open_folder(struct run *run)
{
	char own[PATH_SIZE], name[32];
	uint8_t unique[8];
	if (run->request->out[0])
		return output_folder_begin(run->request->out, run->request->replace, &run->folder);
	random_bytes(unique, sizeof(unique));
	snprintf(name, sizeof(name), "run-%02x%02x%02x%02x%02x%02x%02x%02x", unique[0], unique[1], unique[2], unique[3], unique[4],
		unique[5], unique[6], unique[7]);
	TRY(path_join(own, run->host->scratch, name));
	return output_folder_begin(own, false, &run->folder);
}

static void name_run(struct run *run)
{
	random_bytes(run->rand, sizeof(run->rand));
	memcpy(run->nonce, run->request->nonce, sizeof(run->nonce));
	run->has_nonce = run->request->has_nonce;
	run_id_compute(run->plan.digest, run->has_nonce ? SPAN_ARRAY(run->nonce) : SPAN_EMPTY, run->rand, run->run_id);
}

result run_authorise(struct run *run)
{
	struct recorder_operation operation = {.v = 1, .job = run->plan.job.name, .time = clock_wall_ms()};
	memcpy(operation.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(operation.job_digest, run->plan.digest, SHA256_SIZE);
	TRY(recorder_authorise(run->host->recorder, &operation));
	run->authorised = true;
	return OK;
}

/* ---- Launch: prepare, measure, extend, endorse, unseal; every stage at once ------------------------- */

static void on_state(void *ctx, struct ire *launch, enum launch_state state)
{
	const struct stage_run *stage = ctx;
	const struct flow_listener *listener = stage->run->listener;
	(void)launch;
	if (listener->state)
		listener->state(listener->ctx, stage->stage->name, launch_state_name(state));
	remote_tell_progress(stage->run, stage->stage->name, launch_state_name(state), 0, 0);
}

static void on_progress(void *ctx, struct ire *launch, uint64_t bytes_in, uint64_t bytes_out)
{
	struct stage_run *stage = ctx;
	const struct flow_listener *listener = stage->run->listener;
	uint64_t now = clock_monotonic_ns();
	(void)launch;
	if (now - stage->progress_at < PROGRESS_EVERY_MS * 1000000ULL)
		return;
	stage->progress_at = now;
	if (listener->progress)
		listener->progress(listener->ctx, stage->stage->name, bytes_in, bytes_out);
	remote_tell_progress(stage->run, stage->stage->name, "", bytes_in, bytes_out);
}

/* Keeps the end of what the program says, for the message when it fails. */
static void on_log(void *ctx, struct ire *launch, struct span text)
{
	struct stage_run *stage = ctx;
	const struct flow_listener *listener = stage->run->listener;
	(void)launch;
	if (listener->log)
		listener->log(listener->ctx, stage->stage->name, text);
	if (text.len > FLOW_LOG_TAIL)
		text = span_of(text.data + text.len - FLOW_LOG_TAIL, FLOW_LOG_TAIL);
	size_t keep = FLOW_LOG_TAIL - text.len;
	if (stage->log_len > keep) {
		memmove(stage->log, stage->log + stage->log_len - keep, keep);
		stage->log_len = keep;
	}
	if (text.len > 0)
		memcpy(stage->log + stage->log_len, text.data, text.len);
	stage->log_len += text.len;
}

static result find_secrets(struct run *run, const struct job_stage *stage, struct launch_sealed **out, size_t *out_count)
{
	const struct job *job = &run->plan.job;
	struct sealed_file *files;
	size_t count = 0;
	TRY(run_alloc(run, job->input_count, sizeof(*files), &files));
	TRY(run_alloc(run, job->input_count, sizeof(**out), out));
	for (size_t i = 0; i < job->input_count; i++)
		files[i] = (struct sealed_file){job->inputs[i].role, run->inputs[i].n};
	ROOT_IDENTITY_HELD root = root_host_hold(run->host->root);
	const struct sealed_source source = sealed_source_new(root, files, job->input_count);
	for (size_t i = 0; i < job->input_count; i++) {
		const struct job_input *input = &job->inputs[i];
		if (!input->secret || strcmp(input->enclave, stage->name) != 0)
			continue;
		struct launch_sealed *sealed = &(*out)[count++];
		sealed->name = input->input;
		TRY(secret_source_sealed(&source.source, stage, input, &run->arena, &sealed->object));
	}
	*out_count = count;
	return OK;
}

static result launch_stage(struct run *run, struct stage_run *stage)
{
	struct launch_sealed *sealed;
	struct launch_spec spec = {
		.manifest = bytes_span(&stage->stage->encoding),
		.sources = stage->stage->sources,
		.source_count = stage->stage->manifest.file_count,
		.policy = stage->stage->policy,
		.references = run->references,
		.reference_count = policy_references_count(run->verified),
		.copies = run->host->copies,
	};
	TRY(find_secrets(run, stage->stage, &sealed, &spec.sealed_count));
	TRY(policies_newest(run->host->policies, spec.policy, &stage->policy_version));
	spec.policy_version = bytes_span(&stage->policy_version);
	TRY(uid_pool_take(run->host->uids, &stage->uid));
	stage->has_uid = true;
	spec.sealed = sealed;
	spec.uid = stage->uid;
	memcpy(spec.run_id, run->run_id, RUN_ID_SIZE);
	TRY(remote_foreign(run, &spec.foreign, &spec.foreign_count));
	stage->events = (struct launch_events){stage, on_state, on_progress, on_log};
	return launch_start(run->host->root, &spec, &stage->events, &stage->launch);
}

result run_wait(struct run *run, enum launch_state until)
{
	return run->remote ? remote_wait(run, until, 0, -1)
			   : launch_wait(run->launches, run->launch_count, until, run->listener->cancel_fd, -1);
}

/* From now on they can be asked for their chains. */
static result list_stages(struct run *run)
{
	const struct live_row info = {.job = run->plan.job.name, .since = clock_wall_ms(), .stays = run->stays};
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (run->stages[i].here)
			TRY(live_add(run->host->live, &info, run->stages[i].launch, &run->stages[i].listed));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (run->stages[i].here)
			TRY(policies_catch_up(run->host->policies, run->stages[i].launch, run->stages[i].stage->policy,
				bytes_span(&run->stages[i].policy_version)));
	return OK;
}

result run_launch_stages(struct run *run)
{
	TRY(run_alloc(run, run->plan.stage_count, sizeof(*run->launches), &run->launches));
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		if (!run->stages[i].here)
			continue;
		TRY(launch_stage(run, &run->stages[i]));
		run->launches[run->launch_count++] = run->stages[i].launch;
	}
	TRY(run_wait(run, LAUNCH_READY));
	return list_stages(run);
}

/* ---- Channels, inputs, outputs ---------------------------------------------------------------------- */

static const struct job_peer *external_of(const struct run *run, const char *name)
{
	for (size_t i = 0; i < run->plan.external_count; i++)
		if (strcmp(run->plan.externals[i].name, name) == 0)
			return &run->plan.externals[i];
	return NULL;
}

static result connect_edge(struct run *run, const struct job_edge *edge)
{
	struct stage_run *from = run_stage(run, edge->from), *to = run_stage(run, edge->to);
	struct broker_edge between = {edge->name, edge->operation, edge->output, edge->input};
	if (from && to && from->here && to->here)
		return broker_connect(from->launch, to->launch, &between);
	if (from && to)
		return OK; /* between hosts: remote_connect */
	if (!(from ? from : to)->here)
		return OK; /* another host's business */
	const struct job_peer *peer = external_of(run, from ? edge->to : edge->from);
	if (!peer)
		return fail(UNKNOWN_ENCLAVE, "edge '%s'", edge->name);
	struct broker_external external = {.name = peer->name, .socket = peer->socket, .uri = peer->uri};
	CLEANUP(bytes_free) struct bytes above = BYTES_EMPTY;
	memcpy(external.point, peer->key.point, POINT_SIZE);
	if (peer->shown_path) {
		ROOT_IDENTITY_HELD root = root_host_hold(run->host->root);
		TRY(issuer_find(run->host->issuers, root->epoch_oid, &above));
		external.above = bytes_span(&above);
	}
	return broker_connect_external(from ? from->launch : to->launch, &external, from != NULL, &between);
}

static result connect_edges(struct run *run)
{
	const struct job *job = &run->plan.job;
	for (size_t i = 0; i < job->edge_count; i++) {
		result connected = connect_edge(run, &job->edges[i]);
		if (connected != OK)
			return fail_within(connected, "edge '%s'", job->edges[i].name);
	}
	return OK;
}

static result give_inputs(struct run *run)
{
	const struct job *job = &run->plan.job;
	for (size_t i = 0; i < job->input_count; i++) {
		const struct job_input *input = &job->inputs[i];
		if (input->secret || !run_stage(run, input->enclave)->here)
			continue; /* is inside already, or on another host */
		TRY(launch_give_input(run_stage(run, input->enclave)->launch, input->role, input->input, run->inputs[i].n));
		fd_close(&run->inputs[i]);
	}
	return OK;
}

static result give_outputs(struct run *run)
{
	const struct job *job = &run->plan.job;
	for (size_t i = 0; i < job->output_count; i++) {
		const struct job_output *output = &job->outputs[i];
		CLEANUP(fd_close) struct fd fd = FD_NONE;
		if (!run_stage(run, output->enclave)->here)
			continue;
		TRY(output_folder_file(&run->folder, output->file, &fd));
		TRY(launch_give_output(run_stage(run, output->enclave)->launch, output->name, output->output, output->statement,
			output->media_type, fd.n));
	}
	return OK;
}

static result start_programs(struct run *run)
{
	for (size_t i = 0; i < run->launch_count; i++)
		TRY(launch_begin(run->launches[i]));
	return OK;
}

/* ---- What the run left: a chain of records that must verify before anybody sees it ------------------ */

static const struct policy_table *policy_of(void *ctx, const uint8_t digest[static SHA256_SIZE])
{
	const struct run *run = ctx;
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (memcmp(run->plan.stages[i].policy_digest, digest, SHA256_SIZE) == 0)
			return run->policies;
	const struct policy_version *version = policy_versions_find(run->versions, digest);
	return version ? version->table : NULL;
}

static result policy_follows(void *ctx, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE])
{
	const struct run *run = ctx;
	const struct policy_version *version = policy_versions_find(run->versions, named);
	struct policy_view view;
	if (!version)
		return fail(DAC_REPORT_MISMATCH, "a record names a policy that no enclave gave");
	for (size_t i = 0; i < policy_count(run->policies); i++) {
		policy_at(run->policies, i, &view);
		if (memcmp(view.digest, launched, SHA256_SIZE) == 0)
			return policy_version_follows(&view, version, 0);
	}
	return fail(NO_POLICY, "the policy of a launch");
}

static result collect_versions(struct run *run)
{
	TRY(policy_versions_new(&run->versions));
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		const struct launch_result *left = run->stages[i].left;
		for (size_t k = 0; k < left->version_count; k++)
			TRY(policy_versions_add(run->versions, left->versions[k].bytes, NULL));
	}
	return OK;
}

static result join_policies(struct run *run)
{
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	struct span *policies;
	TRY(run_alloc(run, run->plan.stage_count, sizeof(*policies), &policies));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		policies[i] = run->plan.stages[i].policy;
	TRY(policy_set_join(policies, run->plan.stage_count, &set));
	return policy_table_load(bytes_span(&set), &run->policies);
}

/* The results that a receipt stands for: of each enclave that gives an output or hands nothing on; a call hands nothing on. */
static bool is_result(const struct job *job, const char *enclave)
{
	bool gives = false, sink = true;
	for (size_t i = 0; i < job->output_count; i++)
		gives |= strcmp(job->outputs[i].enclave, enclave) == 0;
	for (size_t i = 0; i < job->edge_count; i++)
		for (size_t e = 0; !job->edges[i].call && strcmp(job->edges[i].from, enclave) == 0 && e < job->enclave_count; e++)
			sink &= strcmp(job->enclaves[e].name, job->edges[i].to) != 0;
	return gives || sink;
}

static result collect_roots(struct run *run)
{
	TRY(run_alloc(run, run->plan.stage_count, sizeof(*run->roots), &run->roots));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (is_result(&run->plan.job, run->stages[i].stage->name))
			memcpy(run->roots[run->root_count++].bytes, run->stages[i].left->root, OID_SIZE);
	return schema_sort(&digest32_schema, run->roots, run->root_count);
}

static result collect_stage(struct run *run, const struct launch_result *left)
{
	TRY(dac_add_certificate(run->dac, left->certificate, NULL));
	TRY(dac_add_report(run->dac, left->report, NULL));
	for (size_t i = 0; i < left->record_count; i++)
		TRY(dac_add_record(run->dac, left->records[i].bytes, NULL));
	return OK;
}

/* Every epoch of which something of this run may be: from the one it began under to the head. */
static result find_roots(struct run *run, struct dac_root **out, size_t *out_count)
{
	ROOT_IDENTITY_HELD now = root_host_hold(run->host->root);
	size_t first = run->began_under->records - 1, count = now->records - first;
	struct span *records;
	struct dac_root *roots;
	TRY(root_host_records(run->host->root, first, now->records, &run->arena, &records));
	TRY(run_alloc(run, count, sizeof(*run->epoch_keys), &run->epoch_keys));
	TRY(run_alloc(run, count, sizeof(*roots), &roots));
	for (size_t i = 0; i < count; i++) {
		struct cose_sign object;
		struct epoch epoch;
		struct key *key = &run->epoch_keys[run->epoch_key_count];
		TRY(cose_strict_sign_parse(records[i], &object));
		TRY(schema_decode(&epoch_schema, object.payload, &run->arena, &epoch));
		TRY(key_from_point(SPAN_ARRAY(epoch.sign_pk), key));
		run->epoch_key_count++;
		roots[i] = (struct dac_root){.era = epoch.era, .epoch = epoch.epoch, .not_before = epoch.not_before,
			.not_after = epoch.not_after, .key = key};
		memcpy(roots[i].rot_id, now->rot_id, OID_SIZE);
		object_oid(KIND_EPOCH, object.payload, roots[i].epoch_oid);
	}
	*out = roots;
	*out_count = count;
	return OK;
}

/* One piece more, unless there is no TPM or it does not answer: the run goes on, at Level-1. */
result run_take_platform(struct run *run, const struct root_identity *root)
{
	struct span piece;
	result made = root_host_evidence(run->host->root, root, &run->arena, &piece);
	if (made == TPM_UNAVAILABLE)
		log_failure(LOG_LEVEL_WARNING, "no platform evidence for a receipt", made);
	if (made == TPM_UNAVAILABLE || made == EPOCH_OLD || (made == OK && piece.len == 0))
		return OK;
	TRY(made);
	run->platform[run->platform_count++] = piece;
	return OK;
}

/* As the enclaves judged it, so that no record of theirs is refused here for a level that they saw. */
static result judge_platform(struct run *run)
{
	struct platform_trust trust;
	struct span encoded;
	const struct platform_expectation expected = {.trust = &trust, .at_ms = clock_wall_ms()};
	run->judged = (struct platform){0};
	TRY(root_host_platform_trust(run->host->root, &run->arena, &encoded));
	if (encoded.len == 0)
		return OK;
	TRY(schema_decode(&platform_trust_schema, encoded, &run->arena, &trust));
	for (size_t i = 0; i < run->platform_count; i++)
		TRY(platform_add(&run->judged, run->platform[i], &expected));
	for (size_t i = 0; i < run->platform_other_count; i++)
		TRY(platform_add(&run->judged, run->platform_others[i], &expected));
	return OK;
}

static result verify_chain(struct run *run)
{
	struct dac_root *roots;
	size_t root_count;
	TRY(find_roots(run, &roots, &root_count));
	struct dac_config config = {
		.roots = roots,
		.root_count = root_count,
		.skew_ms = SKEW_MS,
		.run_id = run->run_id,
		.policy = policy_of,
		.follows = policy_follows,
		.policy_ctx = run,
		.references = run->verified,
		.platform = &run->judged,
	};
	struct dac_summary summary;
	TRY(judge_platform(run));
	TRY(join_policies(run));
	TRY(collect_versions(run));
	TRY(dac_new(&config, &run->dac));
	if (remote_roots(run))
		TRY(foreign_roots_add_dac(remote_roots(run), run->dac));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		TRY(collect_stage(run, run->stages[i].left));
	TRY(dac_verify(run->dac, &summary));
	for (size_t i = 0; i < dac_count(run->dac); i++)
		TRY(dac_require(run->dac, dac_oid(run->dac, i)));
	TRY(collect_roots(run));
	return dac_require_closed(run->dac, run->roots, run->root_count);
}

/* ---- The receipt ------------------------------------------------------------------------------------ */

static result list_versions(struct run *run, struct receipt_parts *parts)
{
	size_t count = policy_versions_count(run->versions);
	struct span *versions;
	TRY(run_alloc(run, count, sizeof(*versions), &versions));
	for (size_t i = 0; i < count; i++)
		versions[i] = policy_versions_at(run->versions, i)->object;
	parts->versions = versions;
	parts->version_count = count;
	return OK;
}

/* All grants, statements and salts of the run's stages. */
static result gather(struct run *run, struct receipt_parts *parts)
{
	size_t grants = 0, statements = 0, salts = 0;
	struct span *grant, *statement;
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		const struct launch_result *left = run->stages[i].left;
		grants += left->grant_count;
		statements += left->statement_count;
		salts += left->salt_count;
	}
	TRY(run_alloc(run, grants, sizeof(*grant), &grant));
	TRY(run_alloc(run, statements, sizeof(*statement), &statement));
	TRY(run_alloc(run, salts, sizeof(*parts->salts), &parts->salts));
	parts->grants = grant;
	TRY(list_versions(run, parts));
	parts->statements = statement;
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		const struct launch_result *left = run->stages[i].left;
		for (size_t g = 0; g < left->grant_count; g++)
			grant[parts->grant_count++] = left->grants[g].bytes;
		for (size_t s = 0; s < left->statement_count; s++)
			statement[parts->statement_count++] = left->statements[s].bytes;
		for (size_t s = 0; s < left->salt_count; s++)
			parts->salts[parts->salt_count++] = left->salts[s];
	}
	return OK;
}

/* `head` is the epoch that will sign: the chain in the receipt ends with it. */
static result make_sections(struct run *run, const struct root_identity *head, struct receipt_sections *out)
{
	const struct job *job = &run->plan.job;
	struct span *manifests, *policies, *epochs, *keys;
	size_t key_count;
	TRY(root_host_records(run->host->root, 0, head->records, &run->arena, &epochs));
	TRY(root_host_recovery_keys(run->host->root, &run->arena, &keys, &key_count));
	TRY(run_alloc(run, job->enclave_count, sizeof(*manifests), &manifests));
	TRY(run_alloc(run, job->enclave_count, sizeof(*policies), &policies));
	for (size_t i = 0; i < job->enclave_count; i++) {
		const struct job_stage *stage = job_plan_stage(&run->plan, job->enclaves[i].name);
		manifests[i] = bytes_span(&stage->encoding);
		policies[i] = stage->policy;
	}
	struct span *platform;
	TRY(run_alloc(run, run->platform_count + run->platform_other_count, sizeof(*platform), &platform));
	memcpy(platform, run->platform, run->platform_count * sizeof(*platform));
	if (run->platform_other_count)
		memcpy(platform + run->platform_count, run->platform_others, run->platform_other_count * sizeof(*platform));
	struct receipt_parts parts = {
		.dac = run->dac,
		.roots = run->roots,
		.root_count = run->root_count,
		.epochs = epochs,
		.epoch_count = head->records,
		.recovery_keys = keys,
		.recovery_key_count = key_count,
		.manifests = manifests,
		.manifest_count = job->enclave_count,
		.policies = policies,
		.policy_count = job->enclave_count,
		.job = bytes_span(&run->plan.encoding),
		.platform = platform,
		.platform_count = run->platform_count + run->platform_other_count,
		.references = run->references,
		.reference_count = policy_references_count(run->verified),
	};
	if (remote_roots(run))
		TRY(foreign_roots_put(remote_roots(run), &parts));
	TRY(gather(run, &parts));
	return receipt_sections_make(&parts, out);
}

/* The secure processor says when, which epoch, and after which head; the host only what the run is. */
static result sign_head(struct run *run, const struct root_identity *identity, const struct receipt_sections *sections)
{
	struct ap_sign_head request = {
		.recorder = run->host->recorder->backend->name,
		.roots = run->roots,
		.root_count = run->root_count,
		.sections = (struct receipt_section_row *)sections->rows,
		.section_count = sections->count,
		.has_nonce = run->has_nonce,
	};
	struct receipt_head head;
	memcpy(request.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(request.rand, run->rand, sizeof(request.rand));
	memcpy(request.job_digest, run->plan.digest, SHA256_SIZE);
	if (run->has_nonce)
		memcpy(request.nonce, run->nonce, sizeof(request.nonce));
	TRY(root_host_sign_as(
		run->host->root, identity, KIND_RECEIPT_HEAD, &ap_sign_head_schema, &request, &run->arena, &run->head));
	return object_open(KIND_RECEIPT_HEAD, run->head, &identity->sign, &run->arena, &head, run->head_oid);
}

static result make_receipt_under(struct run *run, const struct root_identity *head)
{
	CLEANUP(receipt_sections_free) struct receipt_sections sections = {0};
	bool rotated = memcmp(head->epoch_oid, run->began_under->epoch_oid, OID_SIZE) != 0;
	run->platform_count = run->platform_count ? 1 : 0;
	if (rotated && run->platform_count)
		TRY(run_take_platform(run, head));
	TRY(make_sections(run, head, &sections));
	TRY(sign_head(run, head, &sections));
	return receipt_encode(run->head, sections.sections, sections.count, &run->receipt);
}

/* A rotation between the sections and the signature begins it anew. */
static result make_receipt(struct run *run)
{
	for (int tries = 0;; tries++) {
		ROOT_IDENTITY_HELD head = root_host_hold(run->host->root);
		result made = make_receipt_under(run, head);
		if (made != EPOCH_OLD || tries == MOST_RETRIES)
			return made;
		root_host_catch_up(run->host->root);
	}
}

result run_record(struct run *run)
{
	struct recorder_entry entry = {.v = 1, .head = run->head, .time = clock_wall_ms()};
	memcpy(entry.run_id, run->run_id, RUN_ID_SIZE);
	memcpy(entry.head_oid, run->head_oid, OID_SIZE);
	sha256(bytes_span(&run->receipt), entry.receipt_digest);
	return recorder_record(run->host->recorder, &entry);
}

/* Of each enclave that ran here, in the order of the job; before anybody sees what they made. */
result run_enter_history(struct run *run)
{
	for (size_t i = 0; run->host->heads && i < run->plan.stage_count; i++)
		if (run->stages[i].here)
			TRY(history_enter(run->host->heads, run->stages[i].left));
	return OK;
}

result run_publish(struct run *run)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(output_folder_file(&run->folder, "receipt.troth", &fd));
	TRY(write_all(fd.n, bytes_span(&run->receipt)));
	return output_folder_publish(&run->folder);
}

/*
 * An enclave may refuse what it is given and end at once, so that the next thing cannot be handed to it. What counts then is
 * why it ended, which it has told already.
 */
static result hand_over_and_start(struct run *run)
{
	TRY(connect_edges(run));
	TRY(remote_connect(run));
	TRY(give_inputs(run));
	TRY(give_outputs(run));
	TRY(remote_start(run));
	return start_programs(run);
}

result run_set_going(struct run *run)
{
	char text[FLOW_TEXT_MAX];
	result started = hand_over_and_start(run);
	if (started != PEER_CLOSED)
		return started;
	snprintf(text, sizeof(text), "%s", failure_text());
	result cause = launch_wait(run->launches, run->launch_count, LAUNCH_FINISHED, run->listener->cancel_fd, LAST_WORDS_MS);
	return cause != OK && cause != TIMED_OUT ? cause : fail(started, "%s", text);
}

result run_collect(struct run *run)
{
	TRY(run_wait(run, LAUNCH_FINISHED));
	for (size_t i = 0; i < run->plan.stage_count; i++)
		if (run->stages[i].here)
			run->stages[i].left = launch_result(run->stages[i].launch);
	return OK;
}

/* ---- The run ---------------------------------------------------------------------------------------- */

/* What `remote_` does concerns the other hosts of the job; where there are none, it does nothing. join.c is their side of it. */
static result run_job(struct run *run)
{
	TRY(run_load_plan(run));
	TRY(run_check_roles(run));
	TRY(run_open_folder(run));
	name_run(run);
	TRY(run_authorise(run));
	TRY(remote_invite(run));
	TRY(run_take_platform(run, run->began_under));
	TRY(remote_launch(run));
	TRY(run_launch_stages(run));
	TRY(remote_ready(run));
	TRY(run_set_going(run));
	TRY(run_collect(run));
	TRY(remote_collect(run));
	TRY(verify_chain(run));
	TRY(make_receipt(run));
	TRY(run_enter_history(run));
	TRY(remote_deliver(run));
	TRY(run_record(run));
	TRY(run_publish(run));
	return remote_commit(run);
}

/* ---- The end ---------------------------------------------------------------------------------------- */

bool run_is_cancelled(const struct run *run)
{
	struct pollfd poller = {.fd = run->listener->cancel_fd, .events = POLLIN | POLLRDHUP};
	return poller.fd >= 0 && poll(&poller, 1, 0) > 0;
}

/* The stage that a launch's failure names first in its text. */
static struct stage_run *stage_named_in(struct run *run, const char *text)
{
	for (size_t i = 0; run->stages && i < run->plan.stage_count; i++) {
		const char *name = run->stages[i].stage->name;
		size_t len = strlen(name);
		if (strncmp(text, name, len) == 0 && (text[len] == ':' || text[len] == ' '))
			return &run->stages[i];
	}
	return NULL;
}

bool run_launch_failed(const struct run *run)
{
	for (size_t i = 0; i < run->launch_count; i++)
		if (launch_state(run->launches[i]) == LAUNCH_FAILED)
			return true;
	return false;
}

static result explain_failure(struct run *run, result failed, struct flow_failure *out)
{
	char text[FLOW_TEXT_MAX];
	if (run_is_cancelled(run))
		return fail(RUN_ABORTED, "whoever asked for the run went away");
	if (remote_explains(run, failed, out))
		return out->stage[0] ? STAGE_FAILED : failed;
	snprintf(text, sizeof(text), "%s", failure_text());
	struct stage_run *stage = run_launch_failed(run) ? stage_named_in(run, text) : NULL;
	if (!stage)
		return failed;
	snprintf(out->stage, sizeof(out->stage), "%s", stage->stage->name);
	out->cause = failed;
	memcpy(out->log, stage->log, stage->log_len);
	out->log[stage->log_len] = '\0';
	return fail(STAGE_FAILED, "stage %s: %s: %s", stage->stage->name, reason_name(failed),
		text + strlen(stage->stage->name) + 1 + strspn(text + strlen(stage->stage->name) + 1, " "));
}

static void record_refusal(struct run *run, result failed, const char *text)
{
	struct recorder_refusal refusal = {.v = 1, .reason = failed, .text = text, .time = clock_wall_ms()};
	memcpy(refusal.run_id, run->run_id, RUN_ID_SIZE);
	result refused = recorder_refuse(run->host->recorder, &refusal);
	if (refused != OK)
		log_failure(LOG_LEVEL_WARNING, "a refusal was not recorded", refused);
}

static result tell_outcome(struct run *run, struct arena *arena, struct flow_outcome *out)
{
	const struct job *job = &run->plan.job;
	void *at;
	memcpy(out->run_id, run->run_id, RUN_ID_SIZE);
	memcpy(out->head_oid, run->head_oid, OID_SIZE);
	TRY(arena_string(arena, span_str(job->name), &out->job));
	TRY(arena_string(arena, span_str(run->folder.target), &out->out));
	TRY(arena_alloc(arena, run->plan.stage_count, sizeof(*out->stages), &at));
	out->stages = at;
	TRY(arena_alloc(arena, job->output_count, sizeof(*out->outputs), &at));
	out->outputs = at;
	for (size_t i = 0; i < run->plan.stage_count; i++) {
		const struct launch_result *left = run->stages[i].left;
		if (!left)
			continue; /* another host's, which told the coordinator alone */
		struct flow_stage_use *use = &out->stages[out->stage_count++];
		TRY(arena_string(arena, span_str(run->stages[i].stage->name), &use->name));
		use->bytes_in = left->bytes_in;
		use->bytes_out = left->bytes_out;
		use->cpu_ms = left->cpu_ms;
		use->max_rss = left->max_rss;
		use->rekeys = left->rekeys;
		use->reissues = left->reissues;
		use->keyupdates = left->keyupdates;
		out->records += left->record_count;
	}
	for (size_t i = 0; i < job->output_count; i++) {
		if (!run_stage(run, job->outputs[i].enclave)->here)
			continue;
		struct flow_output *output = &out->outputs[out->output_count++];
		struct stat file;
		char path[PATH_SIZE];
		TRY(arena_string(arena, span_str(job->outputs[i].name), &output->name));
		TRY(arena_string(arena, span_str(job->outputs[i].file), &output->file));
		TRY(path_join(path, run->folder.target, output->file));
		if (lstat(path, &file) == 0)
			output->bytes = (uint64_t)file.st_size;
	}
	return OK;
}

static void run_end(struct run *run)
{
	for (size_t i = 0; run->stages && i < run->plan.stage_count; i++) {
		live_remove(run->host->live, run->stages[i].listed);
		launch_free(run->stages[i].launch);
		bytes_free(&run->stages[i].policy_version);
		if (run->stages[i].has_uid)
			uid_pool_give_back(run->host->uids, run->stages[i].uid);
	}
	for (size_t i = 0; run->inputs && i < run->plan.job.input_count; i++)
		fd_close(&run->inputs[i]);
	output_folder_discard(&run->folder);
	dac_free(run->dac);
	for (size_t i = 0; i < run->epoch_key_count; i++)
		key_free(&run->epoch_keys[i]);
	policy_table_free(run->policies);
	policy_references_free(run->verified);
	policy_versions_free(run->versions);
	bytes_free(&run->receipt);
	remote_free(run->remote);
	job_plan_free(&run->plan);
	arena_free(&run->arena);
}

result run_main(const struct flow_host *host, const struct flow_request *request, const char *coordinator, const int *fds, size_t fd_count,
	const struct flow_listener *listener, result (*body)(struct run *run), struct arena *arena, struct flow_outcome *out,
	struct flow_failure *out_failure)
{
	struct flow_outcome outcome = {0};
	struct run run = {
		.host = host,
		.request = request,
		.coordinator = coordinator,
		.listener = listener,
		.fds = fds,
		.fd_count = fd_count,
		.arena = arena_of(RUN_MEMORY),
		.began = clock_monotonic_ns(),
		.folder = OUTPUT_FOLDER_NONE,
	};
	ROOT_IDENTITY_HELD root = root_host_hold(host->root);
	char text[FLOW_TEXT_MAX];
	*out_failure = (struct flow_failure){.cause = OK};
	if (!root)
		return fail(NO_ROOT, "the state folder of this host");
	run.began_under = root;
	result ran = body(&run);
	if (ran == OK)
		ran = tell_outcome(&run, arena, &outcome);
	else
		ran = explain_failure(&run, ran, out_failure);
	/* Tidying up may fail in its own ways; what is told is why the run failed. */
	snprintf(text, sizeof(text), "%s", ran == OK ? "" : failure_text());
	remote_end(&run, ran, text, out_failure);
	if (ran != OK && run.authorised)
		record_refusal(&run, ran, text);
	outcome.elapsed_ms = (clock_monotonic_ns() - run.began) / 1000000;
	run_end(&run);
	if (ran != OK)
		return fail(ran, "%s", text);
	*out = outcome;
	return OK;
}

result flow_run(const struct flow_host *host, const struct flow_request *request, const int *fds, size_t fd_count,
	const struct flow_listener *listener, struct arena *arena, struct flow_outcome *out, struct flow_failure *out_failure)
{
	return run_main(host, request, NULL, fds, fd_count, listener, run_job, arena, out, out_failure);
}

/* ---- A job that stays ------------------------------------------------------------------------------- */

enum { STOP_GRACE_MS = 5000 };

static result bring_up(struct run *run, const struct flow_stay *stay)
{
	TRY(run_load_plan(run));
	if (run->plan.job.host_count)
		return fail(NOT_SUPPORTED, "enclaves that stay on several hosts");
	TRY(run_check_roles(run));
	TRY(run_open_folder(run));
	name_run(run);
	TRY(run_authorise(run));
	TRY(run_launch_stages(run));
	TRY(run_set_going(run));
	TRY(run_wait(run, LAUNCH_RUNNING));
	stay->up(stay->ctx, run->plan.job.name, run->run_id);
	return run_wait(run, LAUNCH_FINISHED);
}

/* Programs that serve are told that nobody comes any more; the others have the same time. */
static void bring_down(struct run *run)
{
	for (size_t i = 0; run->launches && i < run->launch_count; i++)
		launch_tell_stop(run->launches[i]);
	if (run->launch_count && launch_wait(run->launches, run->launch_count, LAUNCH_FINISHED, -1, STOP_GRACE_MS) != OK)
		log_debug("enclaves that stayed did not end by themselves", LOG_TEXT("job", run->plan.job.name));
}

result flow_stay(const struct flow_host *host, const struct flow_request *request, const struct flow_stay *stay,
	struct flow_failure *out_failure)
{
	struct flow_request own = *request;
	const struct flow_listener listener = {.cancel_fd = stay->stop_fd};
	struct run run = {
		.host = host,
		.request = &own,
		.listener = &listener,
		.arena = arena_of(RUN_MEMORY),
		.began = clock_monotonic_ns(),
		.folder = OUTPUT_FOLDER_NONE,
		.stays = true,
	};
	ROOT_IDENTITY_HELD root = root_host_hold(host->root);
	char text[FLOW_TEXT_MAX];
	own.out = "";
	own.has_nonce = false;
	*out_failure = (struct flow_failure){.cause = OK};
	if (!root)
		return fail(NO_ROOT, "the state folder of this host");
	run.began_under = root;
	result stayed = bring_up(&run, stay);
	if (stayed != OK && run_is_cancelled(&run)) {
		bring_down(&run);
		stayed = OK;
	} else if (stayed != OK)
		stayed = explain_failure(&run, stayed, out_failure);
	snprintf(text, sizeof(text), "%s", stayed == OK ? "" : failure_text());
	run_end(&run);
	return stayed == OK ? OK : fail(stayed, "%s", text);
}
