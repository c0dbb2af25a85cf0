#include "enclave/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/isolate.h"
#include "base/log.h"
#include "base/process.h"
#include "crypto/random.h"
#include "enclave/control.h"
#include "enclave/copies.h"
#include "enclave/launch_revocation.h"
#include "enclave/limits.h"
#include "object/manifest.h"
#include "root/host_evidence.h"
#include "root/host_upgrade.h"
#include "root/program.h"
#include "wire/text.h"

/*
 * Theory of operation. A launch is a state machine over the messages of troth-ire: the table `moves` says which message is
 * taken in which state and by whom. Whatever goes wrong ends in launch_fail, which ends the process; the rest of the
 * cleaning up is done by launch_free, on every path.
 *
 * A change of the root is heard of in the thread that made it: that rings the bell, and the launch's own thread does the
 * rest (hear_change). What the secure processor signed may be of a newer epoch than the bell has told of, so the
 * runtime is told of all records before it is given anything signed (tell_epochs).
 */

enum {
	CALL_MS = 20 * 1000,	    /* a message from troth-ire that has begun arrives within this */
	PREPARE_MS = 300 * 1000,    /* copying and hashing all files */
	ENDORSE_MS = 60 * 1000,
	STOP_MS = 2000,
	ROOT_CAUSE_MS = 2000,	    /* how long launch_wait looks for who failed first */
	AFTER_WALL_MS = 3600 * 1000, /* the runtime bounds the program itself; this is for a runtime that does not */
	MESSAGES_AT_ONCE = 32,
	OTHERS_MS = 500,
	REVOCATION_NEWS = 1 << 16, /* a bit of `changes`, beside those of enum root_change */
	PICKED_UID_FIRST = 0x70000000, PICKED_UIDS = 1 << 20,
};

struct ire {
	struct root_host *host;
	struct launch_events events;
	const struct launch_backend *backend;
	enum launch_state state;
	struct arena arena;
	struct manifest manifest;
	uint8_t measurement[SHA384_SIZE], core[SHA384_SIZE];
	uint8_t launch_id[LAUNCH_ID_SIZE], run_id[RUN_ID_SIZE];
	struct launch_sealed *sealed;
	size_t sealed_count;
	struct process process;
	struct fd control;
	struct limits_group group;
	bool has_group;
	bool is_across; /* of a run on several hosts */
	bool extended; /* the secure processor has a row for it */
	bool endorsed; /* and has endorsed its keys */
	struct root_subscription subscription;
	struct fd bell, ready; /* ready: control or bell is readable */
	struct mailbox mail;   /* questions of other threads */
	atomic_int changes;    /* bits 1 << enum root_change that were rung for */
	struct launch_revocation revocation;
	size_t told;	       /* epoch records that the runtime knows */
	struct control_prepared prepared;
	uint64_t deadline_ns;
	struct launch_result result;
	struct launch_failure failure;
	char text[CONTROL_TEXT_MAX + NAME_MAX_LEN + 4], cause[NAME_MAX_LEN + 1];
	char folder[PATH_SIZE]; /* tier L: of the copy; "" */
};

const char *launch_state_name(enum launch_state state)
{
	static const char *const names[] = {"?", "preparing", "endorsing", "unsealing", "ready", "starting", "running",
		"finished", "failed"};
	return (size_t)state < COUNT_OF(names) ? names[state] : names[0];
}

static void set_deadline(struct ire *ire, uint64_t ms)
{
	ire->deadline_ns = ms ? clock_monotonic_ns() + ms * 1000000 : UINT64_MAX;
}

static void enter(struct ire *ire, enum launch_state state, uint64_t deadline_ms)
{
	ire->state = state;
	set_deadline(ire, deadline_ms);
	if (ire->events.state)
		ire->events.state(ire->events.ctx, ire, state);
}

static bool has_ended(const struct ire *ire)
{
	return ire->state == LAUNCH_FINISHED || ire->state == LAUNCH_FAILED;
}

static void launch_fail(struct ire *ire, enum reason reason, const char *text, const char *cause)
{
	if (has_ended(ire))
		return;
	snprintf(ire->text, sizeof(ire->text), "%s: %s", ire->manifest.name, text);
	snprintf(ire->cause, sizeof(ire->cause), "%s", cause);
	ire->failure = (struct launch_failure){reason, ire->text, ire->cause};
	mailbox_close(&ire->mail, ire->text);
	ire->backend->stop(ire);
	enter(ire, LAUNCH_FAILED, 0);
}

static result send_to(struct ire *ire, enum control_type type, const void *body)
{
	return control_send(ire->control.n, type, control_schema(type), body, NULL, 0, CALL_MS);
}

/* ---- The root moves on -------------------------------------------------------------------------- */

/* In the thread that changed the root. */
static void ring(void *ctx, enum root_change change, const struct root_identity *now)
{
	struct ire *ire = ctx;
	uint64_t one = 1;
	(void)now;
	atomic_fetch_or(&ire->changes, 1 << change);
	ssize_t written = write(ire->bell.n, &one, sizeof(one));
	(void)written; /* a full counter rings too */
}

/* In the thread that has news of what is revoked. */
static void ring_revocation(void *ctx)
{
	struct ire *ire = ctx;
	uint64_t one = 1;
	atomic_fetch_or(&ire->changes, REVOCATION_NEWS);
	ssize_t written = write(ire->bell.n, &one, sizeof(one));
	(void)written; /* a full counter rings too */
}

static result watch_both(struct ire *ire, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	if (epoll_ctl(ire->ready.n, EPOLL_CTL_ADD, fd, &event) != 0)
		return fail_errno("watching a launch");
	return OK;
}

static result hang_bell(struct ire *ire)
{
	ire->bell.n = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ire->ready.n = epoll_create1(EPOLL_CLOEXEC);
	if (ire->bell.n < 0 || ire->ready.n < 0)
		return fail_errno("a bell");
	TRY(watch_both(ire, ire->bell.n));
	launch_revocation_begin(&ire->revocation, root_host_revocations(ire->host), ring_revocation, ire);
	ire->subscription = (struct root_subscription){.changed = ring, .ctx = ire};
	root_host_subscribe(ire->host, &ire->subscription);
	return OK;
}

/* Records [from, to) of the chain as a list of a message. */
static result list_records(struct ire *ire, size_t from, size_t to, struct arena *arena, struct bytes_item **out)
{
	struct span *records;
	void *items;
	TRY(arena_alloc(arena, to - from + 1, sizeof(struct bytes_item), &items));
	*out = items;
	if (from == to)
		return OK;
	TRY(root_host_records(ire->host, from, to, arena, &records));
	for (size_t i = 0; i < to - from; i++)
		(*out)[i].bytes = records[i];
	return OK;
}

static result list_spans(const struct span *spans, size_t count, struct arena *arena, struct bytes_item **out)
{
	void *items;
	TRY(arena_alloc(arena, count + 1, sizeof(struct bytes_item), &items));
	*out = items;
	for (size_t i = 0; i < count; i++)
		(*out)[i].bytes = spans[i];
	return OK;
}

/* Of those that signed any record of the chain. */
static result list_keys(struct ire *ire, struct arena *arena, struct bytes_item **out, size_t *out_count)
{
	struct span *keys;
	void *items;
	TRY(root_host_recovery_keys(ire->host, arena, &keys, out_count));
	TRY(arena_alloc(arena, *out_count + 1, sizeof(struct bytes_item), &items));
	*out = items;
	for (size_t i = 0; i < *out_count; i++)
		(*out)[i].bytes = keys[i];
	return OK;
}

/*
 * For the live decisions of policies that ask for Level-2: evidence of this host and what its operator believes. Without
 * either of them, or while the TPM does not answer, decisions are made with Level-1.
 */
static result take_platform(struct ire *ire, const struct root_identity *root, struct arena *arena, struct span *out, struct span *out_trust)
{
	*out = *out_trust = SPAN_EMPTY;
	/* A host without a TPM may still say whose to believe: peers on other hosts have theirs, and may believe ours. */
	if (!root_host_has_tpm(ire->host) && !ire->is_across)
		return OK;
	TRY(root_host_platform_trust(ire->host, arena, out_trust));
	if (!root_host_has_tpm(ire->host) || (out_trust->len == 0 && !ire->is_across))
		return OK;
	result made = root_host_evidence(ire->host, root, arena, out);
	if (made == TPM_UNAVAILABLE || made == EPOCH_OLD) {
		log_failure(LOG_LEVEL_WARNING, "no platform evidence for a launch", made);
		return OK;
	}
	return made;
}

static result judge_certificate(struct ire *ire, struct span certificate)
{
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	return launch_revocation_judge_certificate(&ire->revocation, certificate, ire->prepared.sign_pk, root ? root->epoch_oid : NULL);
}

/* The same keys under the current epoch: nothing is asked of the runtime. */
static result reissue(struct ire *ire, struct arena *arena, struct control_reissued *out)
{
	struct ap_reissue request;
	struct ap_endorsed reply;
	TRY(launch_revocation_judge(&ire->revocation));
	memcpy(request.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	TRY(root_host_call(ire->host, IPQ_REISSUE, &ap_reissue_schema, &request, &ap_endorsed_schema, arena, &reply));
	out->certificate = reply.certificate;
	out->report = reply.report;
	return judge_certificate(ire, reply.certificate);
}

/* Tells the runtime of epochs that it does not know yet, with what they mean for its certificate. */
static result tell_epochs(struct ire *ire, bool emergency)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 << 20);
	struct control_reissued body = {.emergency = emergency};
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	if (!root || (root->records <= ire->told && !emergency))
		return OK;
	if (root->records > ire->told) {
		TRY(list_records(ire, ire->told, root->records, &arena, &body.records));
		TRY(list_keys(ire, &arena, &body.recovery_keys, &body.recovery_key_count));
		body.record_count = root->records - ire->told;
		ire->told = root->records;
	}
	if (ire->endorsed && !emergency) {
		struct span unused;
		TRY(reissue(ire, &arena, &body));
		TRY(take_platform(ire, root, &arena, &body.platform, &unused));
	}
	result sent = send_to(ire, CONTROL_REISSUED, &body);
	/* One that has just ended has said so, or will be found to be gone. */
	return sent == PEER_CLOSED ? OK : sent;
}

/* One that is revoked tells its peers why, and ends itself. */
static result tell_revocations(struct ire *ire)
{
	TRY(tell_epochs(ire, false));
	TRY(launch_revocation_send(&ire->revocation, ire->control.n, CALL_MS));
	if (launch_revocation_judge(&ire->revocation) != OK)
		launch_revocation_condemn(&ire->revocation);
	return OK;
}

/* Was the last rotation an emergency? */
static bool was_emergency(struct ire *ire)
{
	struct root_note notes[ROOT_NOTES];
	return root_host_notes(ire->host, notes) > 0 && notes[0].emergency;
}

static void hear_change(struct ire *ire)
{
	uint64_t rung;
	if (has_ended(ire) || read(ire->bell.n, &rung, sizeof(rung)) != (ssize_t)sizeof(rung))
		return;
	int changes = atomic_exchange(&ire->changes, 0);
	result told = OK; /* rung for mail alone: there is nothing to tell */
	if (changes & 1 << ROOT_STOPPED)
		launch_fail(ire, EPOCH_HALTED, "the root of this host was halted or has forked", "");
	else if (changes & 1 << ROOT_RECOVERED)
		launch_fail(ire, ROTATED_EMERGENCY, "a recovery has begun a new era of the root", "");
	else if (changes & 1 << ROOT_ROTATED)
		told = tell_epochs(ire, was_emergency(ire));
	if (told == OK && changes & REVOCATION_NEWS && !has_ended(ire))
		told = tell_revocations(ire);
	if (told != OK)
		launch_fail(ire, told, failure_text(), "");
}

/* ---- The process backend ------------------------------------------------------------------------ */

static const char *process_tier(void)
{
	return "N";
}

static result spawn(struct ire *ire)
{
	CLEANUP(fd_close) struct fd program = FD_NONE;
	CLEANUP(fd_close) struct fd far_end = FD_NONE;
	CLEANUP(fd_close) struct fd null = FD_NONE;
	struct fd pair[2];
	uint8_t digest[SHA384_SIZE];
	TRY(program_copy(root_host_program_dir(ire->host), "troth-ire", &program, digest));
	if (memcmp(digest, root_host_ire_digest(ire->host), sizeof(digest)) != 0)
		return fail(MEASUREMENT_WRONG, "troth-ire is not the program that was measured when the host started");
	/* 0 and 1 are taken: else its first input and output would get these numbers, and a stray line an output's place. */
	TRY(file_open("/dev/null", O_RDWR, 0, &null));
	TRY(sock_pair(pair));
	ire->control = pair[0];
	far_end = pair[1];
	TRY(watch_both(ire, ire->control.n));
	const char *const argv[] = {"troth-ire", "--serve", NULL};
	const struct process_fd fds[] = {{null.n, 0}, {null.n, 1}, {2, 2}, {far_end.n, 3}};
	struct process_spec spec = {
		.exec_fd = program.n,
		.argv = argv,
		.fds = fds,
		.fd_count = COUNT_OF(fds),
		.die_with_parent = true,
	};
	return process_start(&spec, &ire->process);
}

static uid_t pick_uid(const struct ire *ire, uid_t wanted)
{
	if (!isolate_is_root())
		return 0;
	if (wanted)
		return wanted;
	uint32_t number;
	memcpy(&number, ire->launch_id, sizeof(number));
	return (uid_t)(PICKED_UID_FIRST + number % PICKED_UIDS);
}

static result make_group(struct ire *ire)
{
	char name[2 * LAUNCH_ID_SIZE + 1];
	hex_encode(SPAN_ARRAY(ire->launch_id), name);
	TRY(limits_group_new(name, &ire->manifest.limits, &ire->group));
	ire->has_group = true;
	return OK;
}

static result send_prepare(struct ire *ire, const struct launch_spec *spec)
{
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	int procs[LIMITS_MAX_GROUPS];
	void *sources, *sealed, *references;
	struct bytes_item *foreign;
	struct bytes_item *history, *keys;
	size_t key_count;
	TRY(list_records(ire, 0, root->records - 1, &ire->arena, &history));
	TRY(list_keys(ire, &ire->arena, &keys, &key_count));
	ire->told = root->records;
	struct span platform, platform_trust;
	ire->is_across = spec->foreign_count > 0;
	TRY(take_platform(ire, root, &ire->arena, &platform, &platform_trust));
	TRY(arena_alloc(&ire->arena, spec->source_count + 1, sizeof(struct text_item), &sources));
	TRY(arena_alloc(&ire->arena, spec->sealed_count + 1, sizeof(struct control_sealed), &sealed));
	TRY(arena_alloc(&ire->arena, spec->reference_count + 1, sizeof(struct bytes_item), &references));
	TRY(list_spans(spec->foreign, spec->foreign_count, &ire->arena, &foreign));
	struct control_prepare prepare = {
		.v = 1,
		.manifest = spec->manifest,
		.sources = sources,
		.source_count = spec->sources ? spec->source_count : 0,
		.uid = pick_uid(ire, spec->uid),
		.epoch_record = root->epoch_record,
		.trust_domain = root->trust_domain,
		.policy = spec->policy,
		.sealed = sealed,
		.sealed_count = spec->sealed_count,
		.limits_kind = (uint8_t)ire->group.kind,
		.group_memory = ire->group.memory,
		.group_processes = ire->group.processes,
		.history = history,
		.history_count = root->records - 1,
		.recovery_keys = keys,
		.recovery_key_count = key_count,
		.platform = platform,
		.platform_trust = platform_trust,
		.references = references,
		.reference_count = spec->reference_count,
		.foreign = foreign,
		.foreign_count = spec->foreign_count,
		.folder = ire->folder,
		.has_folder = ire->folder[0] != '\0',
	};
	prepare.policy_version = spec->policy_version;
	prepare.has_policy_version = spec->policy_version.len != 0;
	for (size_t i = 0; i < spec->reference_count; i++)
		prepare.references[i].bytes = spec->references[i];
	memcpy(prepare.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	memcpy(prepare.run_id, ire->run_id, RUN_ID_SIZE);
	memcpy(prepare.rot_id, root->rot_id, OID_SIZE);
	for (size_t i = 0; i < prepare.source_count; i++)
		prepare.sources[i].text = spec->sources[i] ? spec->sources[i] : "";
	for (size_t i = 0; i < spec->sealed_count; i++)
		prepare.sealed[i] = (struct control_sealed){spec->sealed[i].name, spec->sealed[i].object};
	for (size_t i = 0; i < ire->group.count; i++)
		procs[i] = ire->group.procs[i].n;
	return control_send(ire->control.n, CONTROL_PREPARE, &control_prepare_schema, &prepare, procs, ire->group.count, CALL_MS);
}

static result process_prepare(struct ire *ire, const struct launch_spec *spec)
{
	TRY(make_group(ire));
	if (spec->copies)
		TRY(copies_new(spec->copies, ire->launch_id, pick_uid(ire, spec->uid), ire->folder));
	TRY(spawn(ire));
	return send_prepare(ire, spec);
}

static result judge_launch(struct ire *ire, const struct launch *launch)
{
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	if (!root)
		return fail(NO_ROOT, "a launch");
	TRY(launch_revocation_judge_launch(&ire->revocation, launch, root->rot_id, root->epoch_oid));
	return launch_revocation_send(&ire->revocation, ire->control.n, CALL_MS);
}

/* The secure processor may answer out of an epoch whose record this host is still making durable: the runtime must hear of it first. */
static void catch_up(struct ire *ire, const uint8_t epoch_oid[static OID_SIZE])
{
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	if (root && memcmp(root->epoch_oid, epoch_oid, OID_SIZE) != 0)
		root_host_catch_up(ire->host);
}

/* What runs is what the plan says: compared here, by the host, and only then recorded. */
static result process_measure(struct ire *ire)
{
	const struct control_prepared *prepared = &ire->prepared;
	if (memcmp(prepared->measurement, ire->measurement, SHA384_SIZE) != 0 ||
		memcmp(prepared->core, ire->core, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_MISMATCH, "the runtime measured another manifest than the plan has");
	struct launch launch = {
		.v = 1,
		.name = ire->manifest.name,
		.tier = prepared->tier,
		.isolation = prepared->isolation,
		.limits = limits_kind_name(ire->group.kind),
		.secret_memory = prepared->secret_memory,
		.interpreter = ire->manifest.interpreter,
	};
	memcpy(launch.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	memcpy(launch.run_id, ire->run_id, RUN_ID_SIZE);
	memcpy(launch.core, ire->core, SHA384_SIZE);
	memcpy(launch.measurement, ire->measurement, SHA384_SIZE);
	memcpy(launch.policy_digest, ire->manifest.policy_digest, SHA256_SIZE);
	launch_keys_hash(prepared->sign_pk, prepared->kem_pk, launch.keys_hash);
	TRY(judge_launch(ire, &launch));
	struct ap_launch_extended extended;
	TRY(root_host_call(ire->host, IPQ_EXTEND_LAUNCH, &launch_schema, &launch, &ap_launch_extended_schema, &ire->arena,
		&extended));
	ire->extended = true;
	catch_up(ire, extended.epoch_oid);
	TRY(tell_epochs(ire, false));
	struct control_launched launched;
	memcpy(launched.nonce, extended.nonce, sizeof(launched.nonce));
	memcpy(launched.epoch_oid, extended.epoch_oid, OID_SIZE);
	return send_to(ire, CONTROL_LAUNCHED, &launched);
}

static result process_begin(struct ire *ire)
{
	static const struct control_empty nothing;
	return send_to(ire, CONTROL_START, &nothing);
}

static result process_await(struct ire *ire, int timeout_ms)
{
	struct process_end end;
	if (ire->process.pid == 0)
		return OK;
	return process_wait(&ire->process, timeout_ms, &end);
}

static void process_end_all(struct ire *ire)
{
	fd_close(&ire->control);
	process_free(&ire->process);
	ire->process = PROCESS_NONE;
}

static const struct launch_backend process_backend = {
	"process", process_tier, process_prepare, process_measure, process_begin, process_await, process_end_all};

result launch_backend_find(const char *name, const struct launch_backend **out)
{
	if (strcmp(name, process_backend.name) != 0)
		return fail(NOT_SUPPORTED, "backend '%s'; this version has 'process'", name);
	*out = &process_backend;
	return OK;
}

/* ---- Messages of troth-ire ---------------------------------------------------------------------- */

static result on_prepared(struct ire *ire, const struct control_message *message)
{
	struct span kept;
	TRY(arena_copy(&ire->arena, message->body, &kept));
	TRY(schema_decode(&control_prepared_schema, kept, &ire->arena, &ire->prepared));
	enter(ire, LAUNCH_ENDORSING, ENDORSE_MS);
	return ire->backend->measure(ire);
}

static result on_endorse(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct control_endorse body;
	struct ap_endorse_begin request;
	struct ap_endorse_challenge reply;
	TRY(control_decode(message, &arena, &body));
	memcpy(request.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	memcpy(request.sign_pk, ire->prepared.sign_pk, POINT_SIZE);
	memcpy(request.kem_pk, ire->prepared.kem_pk, POINT_SIZE);
	memcpy(request.signature, body.signature, SIGNATURE_SIZE);
	TRY(root_host_call(ire->host, IPQ_ENDORSE_BEGIN, &ap_endorse_begin_schema, &request, &ap_endorse_challenge_schema,
		&arena, &reply));
	struct control_challenge challenge = {reply.box};
	return send_to(ire, CONTROL_CHALLENGE, &challenge);
}

static result on_proof(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct control_proof body;
	struct ap_endorse_finish request;
	struct ap_endorsed reply;
	TRY(control_decode(message, &arena, &body));
	memcpy(request.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	memcpy(request.proof, body.proof, sizeof(request.proof));
	TRY(root_host_call(ire->host, IPQ_ENDORSE_FINISH, &ap_endorse_finish_schema, &request, &ap_endorsed_schema, &arena,
		&reply));
	TRY(arena_copy(&ire->arena, reply.certificate, &ire->result.certificate));
	TRY(arena_copy(&ire->arena, reply.report, &ire->result.report));
	TRY(judge_certificate(ire, reply.certificate));
	struct control_endorsed endorsed = {reply.certificate, reply.report};
	TRY(tell_epochs(ire, false));
	ire->endorsed = true;
	enter(ire, LAUNCH_UNSEALING, ENDORSE_MS);
	return send_to(ire, CONTROL_ENDORSED, &endorsed);
}

static const struct launch_sealed *find_sealed(const struct ire *ire, const char *name)
{
	for (size_t i = 0; i < ire->sealed_count; i++)
		if (strcmp(ire->sealed[i].name, name) == 0)
			return &ire->sealed[i];
	return NULL;
}

/* A secret that is sealed by reference opens with its author's set, which the host keeps. */
static result add_reference(const struct ire *ire, struct span object, struct arena *arena, struct span *out)
{
	struct sealed sealed;
	TRY(object_peek(KIND_SEALED, object, arena, &sealed, NULL));
	if (sealed.policy.v != SEAL_BY_REFERENCE)
		return OK;
	return root_host_reference(ire->host, &sealed.policy.reference, arena, out);
}

/* Both ways ciphertext: the request is signed, the answer boxed to a key that never left the IRE. */
static result on_unseal(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_unseal body;
	struct ap_unsealed reply;
	TRY(control_decode(message, &arena, &body));
	const struct launch_sealed *sealed = find_sealed(ire, body.name);
	if (!sealed)
		return fail(NOT_DECLARED, "it asks for secret '%s'", body.name);
	TRY(launch_revocation_judge(&ire->revocation));
	struct ap_unseal request = {.sealed = sealed->object, .request = body.request};
	TRY(add_reference(ire, sealed->object, &arena, &request.reference));
	result unsealed = root_host_call(ire->host, IPQ_UNSEAL, &ap_unseal_schema, &request, &ap_unsealed_schema, &arena, &reply);
	if (unsealed != OK)
		return fail_within(unsealed, "secret '%s'", body.name);
	struct control_unsealed answer = {body.name, reply.grant, reply.box};
	TRY(tell_epochs(ire, false));
	return send_to(ire, CONTROL_UNSEALED, &answer);
}

/* What its program asks for: a refusal is for the program, and ends nothing. */
static result answer_seal(struct ire *ire, result outcome, struct control_seal_answer *answer)
{
	char text[CONTROL_TEXT_MAX] = "";
	answer->reason = (uint32_t)outcome;
	answer->text = text;
	if (outcome != OK) {
		snprintf(text, sizeof(text), "%s", failure_text());
		answer->object = answer->box = SPAN_EMPTY;
	}
	TRY(tell_epochs(ire, false));
	return send_to(ire, CONTROL_SEAL_ANSWER, answer);
}

static result on_seal(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_seal body;
	struct control_seal_answer answer = {.reason = 0};
	struct ap_signed reply = {SPAN_EMPTY};
	TRY(control_decode(message, &arena, &body));
	result sealed = launch_revocation_judge(&ire->revocation);
	struct ap_seal request = {.policy = body.policy, .box = body.box};
	if (sealed == OK)
		sealed = root_host_call(ire->host, IPQ_SEAL, &ap_seal_schema, &request, &ap_signed_schema, &arena, &reply);
	answer.object = reply.object;
	return answer_seal(ire, sealed, &answer);
}

/* Of this root, for this very enclave, by its measurement: the secure processor would refuse all else, and be kept busy. */
static result judge_value(struct ire *ire, struct span object, struct arena *arena)
{
	struct sealed sealed;
	ROOT_IDENTITY_HELD root = root_host_hold(ire->host);
	TRY(launch_revocation_judge(&ire->revocation));
	TRY(object_peek(KIND_SEALED, object, arena, &sealed, NULL));
	if (!root || memcmp(sealed.policy.rot_id, root->rot_id, OID_SIZE) != 0)
		return fail(SEAL_FOREIGN, "it was sealed under another root");
	return sealed.policy.v == SEAL_BY_MEASUREMENT && strcmp(sealed.policy.name, ire->manifest.name) == 0 &&
			memcmp(sealed.policy.measurement, ire->measurement, SHA384_SIZE) == 0 ?
		OK : fail(SEAL_FOREIGN, "it was sealed for '%s', or for another measurement of it", sealed.policy.name);
}

static result on_unseal_value(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_unseal_value body;
	struct control_seal_answer answer = {.reason = 0};
	struct ap_unsealed reply = {SPAN_EMPTY, SPAN_EMPTY};
	TRY(control_decode(message, &arena, &body));
	struct ap_unseal request = {.sealed = body.sealed, .request = body.request};
	result unsealed = judge_value(ire, body.sealed, &arena);
	if (unsealed == OK)
		unsealed = root_host_call(ire->host, IPQ_UNSEAL, &ap_unseal_schema, &request, &ap_unsealed_schema, &arena, &reply);
	answer.object = reply.grant;
	answer.box = reply.box;
	return answer_seal(ire, unsealed, &answer);
}

static result on_ready(struct ire *ire, const struct control_message *message)
{
	(void)message;
	enter(ire, LAUNCH_READY, 0);
	return mailbox_send(&ire->mail, ire->control.n, CALL_MS);
}

static result on_evidence(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct control_evidence body;
	struct control_evidence_reply reply;
	TRY(control_decode(message, &arena, &body));
	struct ap_sign_report request = {.has_launch_id = true, .challenge = SPAN_ARRAY(body.bind)};
	memcpy(request.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	TRY(root_host_sign(ire->host, KIND_REPORT, &ap_sign_report_schema, &request, &arena, &reply.report));
	TRY(tell_epochs(ire, false));
	return send_to(ire, CONTROL_EVIDENCE_REPLY, &reply);
}

static result on_started(struct ire *ire, const struct control_message *message)
{
	(void)message;
	uint64_t wall = ire->manifest.limits.wall_ms;
	enter(ire, LAUNCH_RUNNING, wall && wall < UINT64_C(1) << 40 ? wall + AFTER_WALL_MS : 0);
	return OK;
}

static result on_progress(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct control_progress body;
	TRY(control_decode(message, &arena, &body));
	if (ire->events.progress)
		ire->events.progress(ire->events.ctx, ire, body.in, body.out);
	return OK;
}

static result on_log(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct control_log body;
	TRY(control_decode(message, &arena, &body));
	if (ire->events.log)
		ire->events.log(ire->events.ctx, ire, body.text);
	return OK;
}

static result on_note(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct control_note body;
	char line[CONTROL_LOG_MAX];
	TRY(control_decode(message, &arena, &body));
	enum reason reason = reason_row((enum reason)body.reason)->reason;
	log_warning("a note of an enclave", LOG_TEXT("enclave", ire->manifest.name), LOG_TEXT("reason", reason_name(reason)),
		LOG_TEXT("text", body.text));
	int len = snprintf(line, sizeof(line), "troth: %s: %s\n", reason_name(reason), body.text);
	if (ire->events.log && len > 0)
		ire->events.log(ire->events.ctx, ire, span_of(line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1));
	return OK;
}

static result on_finished(struct ire *ire, const struct control_message *message)
{
	struct span kept;
	struct control_finished body;
	TRY(arena_copy(&ire->arena, message->body, &kept));
	TRY(schema_decode(&control_finished_schema, kept, &ire->arena, &body));
	struct launch_result *out = &ire->result;
	out->records = body.records;
	out->record_count = body.record_count;
	out->statements = body.statements;
	out->statement_count = body.statement_count;
	out->grants = body.grants;
	out->grant_count = body.grant_count;
	out->salts = body.salts;
	out->salt_count = body.salt_count;
	out->versions = body.versions;
	out->version_count = body.version_count;
	memcpy(out->root, body.root, OID_SIZE);
	out->rekeys = body.rekeys;
	out->reissues = body.reissues;
	out->keyupdates = body.keyupdates;
	out->bytes_in = body.in;
	out->bytes_out = body.out;
	out->cpu_ms = body.cpu_ms;
	out->max_rss = body.max_rss;
	mailbox_close(&ire->mail, "it has ended");
	enter(ire, LAUNCH_FINISHED, 0);
	return OK;
}

/* A kill without a word is most often the kernel's, and the group knows why. */
static bool ran_out_of_memory(const struct ire *ire, enum reason reason)
{
	uint64_t kills = 0, forks = 0;
	if (ire->has_group)
		limits_group_events(&ire->group, &kills, &forks);
	return kills > 0 && (reason == PROGRAM_FAILED || reason == ENCLAVE_STOPPED);
}

static result on_failed(struct ire *ire, const struct control_message *message)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct control_failed body;
	TRY(control_decode(message, &arena, &body));
	enum reason reason = reason_row((enum reason)body.reason)->reason;
	if (ran_out_of_memory(ire, reason)) {
		char text[96];
		snprintf(text, sizeof(text), "more than the %llu bytes of memory that the manifest allows",
			(unsigned long long)ire->manifest.limits.memory);
		launch_fail(ire, LIMIT_EXCEEDED, text, "");
		return OK;
	}
	launch_fail(ire, reason == OK ? INTERNAL : reason, body.text, body.cause);
	if (reason == REVOKED || reason == LEASE_ENDED)
		log_warning("an enclave was ended", LOG_TEXT("enclave", ire->manifest.name), LOG_TEXT("reason", reason_name(reason)),
			LOG_TEXT("text", ire->text));
	return OK;
}

enum { BEFORE_END = 1 << LAUNCH_STARTING | 1 << LAUNCH_RUNNING, ANY = -1 };

static const struct {
	enum control_type type;
	int states; /* bits */
	result (*take)(struct ire *ire, const struct control_message *message);
} moves[] = {
	{CONTROL_PREPARED, 1 << LAUNCH_PREPARING, on_prepared},
	{CONTROL_ENDORSE, 1 << LAUNCH_ENDORSING, on_endorse},
	{CONTROL_PROOF, 1 << LAUNCH_ENDORSING, on_proof},
	{CONTROL_UNSEAL, 1 << LAUNCH_UNSEALING, on_unseal},
	{CONTROL_READY, 1 << LAUNCH_UNSEALING, on_ready},
	{CONTROL_EVIDENCE, BEFORE_END, on_evidence}, /* of a re-handshake too */
	{CONTROL_SEAL, BEFORE_END, on_seal},
	{CONTROL_UNSEAL_VALUE, BEFORE_END, on_unseal_value},
	{CONTROL_STARTED, 1 << LAUNCH_STARTING, on_started},
	{CONTROL_PROGRESS, BEFORE_END, on_progress},
	{CONTROL_LOG, BEFORE_END, on_log},
	{CONTROL_NOTE, ANY, on_note},
	{CONTROL_FINISHED, 1 << LAUNCH_RUNNING, on_finished},
	{CONTROL_FAILED, ANY, on_failed},
};

static result take(struct ire *ire, const struct control_message *message)
{
	bool is_answer;
	TRY(mailbox_take(&ire->mail, message, &is_answer));
	if (is_answer)
		return OK;
	for (size_t i = 0; i < COUNT_OF(moves); i++)
		if (moves[i].type == message->type && (moves[i].states & 1 << ire->state))
			return moves[i].take(ire, message);
	return fail(ILLEGAL_STATE, "the runtime sent %s while %s", control_type_name(message->type),
		launch_state_name(ire->state));
}

/* The socket ended without a word: the process says what it can. */
static void runtime_is_gone(struct ire *ire)
{
	struct process_end end;
	char text[PROCESS_END_TEXT_SIZE + 64] = "its runtime closed the control socket", how[PROCESS_END_TEXT_SIZE];
	if (process_wait(&ire->process, STOP_MS, &end) == OK) {
		process_end_text(&end, how);
		snprintf(text, sizeof(text), "its runtime ended with %s", how);
	}
	launch_fail(ire, ENCLAVE_STOPPED, text, "");
}

static void handle_one(struct ire *ire)
{
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	result received = control_receive(ire->control.n, CALL_MS, &message);
	if (received == PEER_CLOSED) {
		runtime_is_gone(ire);
		return;
	}
	if (received == OK)
		received = take(ire, &message);
	if (received != OK)
		launch_fail(ire, received, failure_text(), "");
}

static bool is_readable(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	return fd >= 0 && poll(&wait, 1, 0) > 0;
}

/* A runtime that is gone has said why, or will be found to be gone. */
static void send_mail(struct ire *ire)
{
	if (ire->state < LAUNCH_READY || has_ended(ire))
		return;
	result sent = mailbox_send(&ire->mail, ire->control.n, CALL_MS);
	if (sent != OK && sent != PEER_CLOSED)
		launch_fail(ire, sent, failure_text(), "");
}

result launch_post(struct ire *ire, enum control_type type, const void *body, enum control_type reply, struct letter **out)
{
	uint64_t one = 1;
	TRY(mailbox_post(&ire->mail, type, body, reply, out));
	ssize_t written = write(ire->bell.n, &one, sizeof(one));
	(void)written; /* a full counter rings too */
	return OK;
}

/* Its runtime did not, within the moment that it had. */
static void end_revoked(struct ire *ire)
{
	if (has_ended(ire))
		return;
	launch_fail(ire, REVOKED, ire->revocation.text, "");
	log_warning("an enclave was ended", LOG_TEXT("enclave", ire->manifest.name), LOG_TEXT("reason", reason_name(REVOKED)),
		LOG_TEXT("text", ire->text));
}

void launch_handle(struct ire *ire)
{
	hear_change(ire);
	send_mail(ire);
	for (int i = 0; i < MESSAGES_AT_ONCE && !has_ended(ire) && is_readable(ire->control.n); i++)
		handle_one(ire);
	if (launch_revocation_is_overdue(&ire->revocation))
		end_revoked(ire);
	if (!has_ended(ire) && clock_monotonic_ns() >= ire->deadline_ns) {
		char text[96];
		snprintf(text, sizeof(text), "it took too long while %s", launch_state_name(ire->state));
		launch_fail(ire, TIMED_OUT, text, "");
	}
}

/* ---- Start and end ------------------------------------------------------------------------------ */

static result keep_spec(struct ire *ire, const struct launch_spec *spec)
{
	struct span manifest;
	void *sealed;
	TRY(arena_copy(&ire->arena, spec->manifest, &manifest));
	TRY(manifest_decode(manifest, &ire->arena, &ire->manifest));
	manifest_measurement(manifest, ire->measurement);
	TRY(manifest_core(&ire->manifest, ire->core));
	TRY(arena_alloc(&ire->arena, spec->sealed_count + 1, sizeof(struct launch_sealed), &sealed));
	ire->sealed = sealed;
	for (size_t i = 0; i < spec->sealed_count; i++) {
		struct launch_sealed *row = &ire->sealed[ire->sealed_count++];
		TRY(arena_string(&ire->arena, span_str(spec->sealed[i].name), &row->name));
		TRY(arena_copy(&ire->arena, spec->sealed[i].object, &row->object));
	}
	memcpy(ire->run_id, spec->run_id, RUN_ID_SIZE);
	random_bytes(ire->launch_id, LAUNCH_ID_SIZE);
	return launch_backend_find(ire->manifest.backend, &ire->backend);
}

result launch_start(struct root_host *host, const struct launch_spec *spec, const struct launch_events *events,
	struct ire **out)
{
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	if (!root)
		return fail(NO_ROOT, "a launch");
	struct ire *ire = calloc(1, sizeof(*ire));
	if (!ire)
		return fail(NO_MEMORY, "launch");
	ire->host = host;
	ire->arena = arena_of((size_t)512 << 20);
	ire->control = FD_NONE;
	ire->bell = ire->ready = FD_NONE;
	ire->process = PROCESS_NONE;
	ire->state = LAUNCH_PREPARING;
	if (events)
		ire->events = *events;
	set_deadline(ire, PREPARE_MS);
	result started = mailbox_init(&ire->mail);
	if (started == OK)
		started = hang_bell(ire);
	if (started == OK)
		started = keep_spec(ire, spec);
	if (started == OK)
		started = ire->backend->prepare(ire, spec);
	if (started != OK) {
		launch_free(ire);
		return started;
	}
	*out = ire;
	return OK;
}

const char *launch_name(const struct ire *ire)
{
	return ire->manifest.name;
}

const uint8_t *launch_run_id(const struct ire *ire)
{
	return ire->run_id;
}

enum launch_state launch_state(const struct ire *ire)
{
	return ire->state;
}

const uint8_t *launch_measurement(const struct ire *ire)
{
	return ire->measurement;
}

int launch_fd(const struct ire *ire)
{
	return has_ended(ire) ? -1 : ire->ready.n;
}

uint64_t launch_deadline(const struct ire *ire)
{
	uint64_t overdue = launch_revocation_deadline(&ire->revocation);
	if (has_ended(ire))
		return UINT64_MAX;
	return overdue < ire->deadline_ns ? overdue : ire->deadline_ns;
}

const struct launch_result *launch_result(const struct ire *ire)
{
	return ire->state == LAUNCH_FINISHED ? &ire->result : NULL;
}

const struct launch_failure *launch_failure(const struct ire *ire)
{
	return ire->state == LAUNCH_FAILED ? &ire->failure : NULL;
}

void launch_tell_stop(struct ire *ire)
{
	static const struct control_empty nothing;
	if ((ire->state == LAUNCH_RUNNING || ire->state == LAUNCH_STARTING) && send_to(ire, CONTROL_STOP, &nothing) != OK)
		log_debug("an enclave could not be told to stop", LOG_TEXT("enclave", ire->manifest.name));
}

void launch_abort(struct ire *ire, enum reason reason, const char *text)
{
	launch_fail(ire, reason, text, "");
}

static void end_row(struct ire *ire)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct ap_end_launch request;
	struct ap_done done;
	if (!ire->extended)
		return;
	memcpy(request.launch_id, ire->launch_id, LAUNCH_ID_SIZE);
	result ended = root_host_call(ire->host, IPQ_END_LAUNCH, &ap_end_launch_schema, &request, &ap_done_schema, &arena, &done);
	if (ended != OK)
		log_failure(LOG_LEVEL_WARNING, "a launch could not be ended in the secure processor", ended);
}

void launch_free(struct ire *ire)
{
	if (!ire)
		return;
	if (ire->subscription.changed)
		root_host_unsubscribe(ire->host, &ire->subscription);
	launch_revocation_end(&ire->revocation);
	if (ire->state == LAUNCH_FINISHED && ire->backend->wait(ire, STOP_MS) != OK)
		log_warning("a runtime did not end by itself", LOG_TEXT("enclave", ire->manifest.name));
	if (ire->backend)
		ire->backend->stop(ire);
	end_row(ire);
	if (ire->has_group && limits_group_remove(&ire->group) != OK)
		log_warning("a control group could not be removed", LOG_TEXT("why", failure_text()));
	if (ire->folder[0])
		copies_remove(ire->folder);
	fd_close(&ire->ready);
	fd_close(&ire->bell);
	mailbox_free(&ire->mail);
	arena_free(&ire->arena);
	free(ire);
}

/* ---- What it works on --------------------------------------------------------------------------- */

static result give_all(struct ire *ire, enum control_type type, const void *body, const int *fds, size_t count)
{
	if (ire->state != LAUNCH_READY)
		return fail(ILLEGAL_STATE, "%s while '%s' is %s", control_type_name(type), ire->manifest.name,
			launch_state_name(ire->state));
	return control_send(ire->control.n, type, control_schema(type), body, fds, count, CALL_MS);
}

static result give(struct ire *ire, enum control_type type, const void *body, int fd)
{
	return give_all(ire, type, body, &fd, 1);
}

result launch_give_input(struct ire *ire, const char *role, const char *input, int fd)
{
	struct control_input body = {role, input};
	return give(ire, CONTROL_INPUT, &body, fd);
}

result launch_give_output(struct ire *ire, const char *name, const char *output, bool statement, const char *media_type, int fd)
{
	struct control_output body = {name, output, statement, media_type && media_type[0] ? media_type : "application/octet-stream"};
	return give(ire, CONTROL_OUTPUT, &body, fd);
}

result launch_give_channel(struct ire *ire, const struct launch_channel *channel, int fd, int memory)
{
	const int fds[] = {fd, memory};
	struct control_channel body = {
		.edge = channel->edge,
		.peer = channel->peer,
		.operation = channel->operation,
		.port = channel->port,
		.initiator = channel->initiator,
		.external = channel->external,
	};
	if (channel->external) {
		memcpy(body.point, channel->point, POINT_SIZE);
		body.uri = channel->uri;
		body.above = channel->above;
	}
	return give_all(ire, CONTROL_CHANNEL, &body, fds, memory < 0 ? 1 : 2);
}

result launch_begin(struct ire *ire)
{
	if (ire->state != LAUNCH_READY)
		return fail(ILLEGAL_STATE, "START while '%s' is %s", ire->manifest.name, launch_state_name(ire->state));
	enter(ire, LAUNCH_STARTING, 0);
	return ire->backend->start(ire);
}

result launch_tell_foreign(struct ire *ire, const struct span *histories, size_t count)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct control_foreign body = {.history_count = count};
	if (count == 0 || has_ended(ire))
		return OK;
	TRY(list_spans(histories, count, &arena, &body.histories));
	result sent = send_to(ire, CONTROL_FOREIGN, &body);
	/* One that has just ended has said so, or will be found to be gone. */
	return sent == PEER_CLOSED ? OK : sent;
}

/* ---- Several at once ---------------------------------------------------------------------------- */

static struct ire *failed_of(struct ire *const *launches, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (launches[i]->state == LAUNCH_FAILED)
			return launches[i];
	return NULL;
}

/* A failure with a cause points at the enclave that failed first; follows it as far as it is known. */
static struct ire *root_cause(struct ire *const *launches, size_t count, struct ire *from)
{
	for (size_t steps = 0; steps < count && from->failure.cause[0]; steps++) {
		struct ire *next = NULL;
		for (size_t i = 0; i < count; i++)
			if (strcmp(launches[i]->manifest.name, from->failure.cause) == 0)
				next = launches[i];
		if (!next || next->state != LAUNCH_FAILED)
			break;
		from = next;
	}
	return from;
}

static bool all_reached(struct ire *const *launches, size_t count, enum launch_state until)
{
	for (size_t i = 0; i < count; i++)
		if (launches[i]->state < until)
			return false;
	return true;
}

static uint64_t earliest(struct ire *const *launches, size_t count, uint64_t deadline)
{
	for (size_t i = 0; i < count; i++)
		if (launch_deadline(launches[i]) < deadline)
			deadline = launch_deadline(launches[i]);
	return deadline;
}

enum { MAX_AT_ONCE = 256 };

static result turn(struct ire *const *launches, size_t count, int cancel_fd, uint64_t deadline)
{
	struct pollfd fds[MAX_AT_ONCE + 1];
	for (size_t i = 0; i < count; i++)
		fds[i] = (struct pollfd){.fd = launch_fd(launches[i]), .events = POLLIN};
	fds[count] = (struct pollfd){.fd = cancel_fd, .events = POLLIN};
	uint64_t now = clock_monotonic_ns(), until = earliest(launches, count, deadline);
	uint64_t ms = until > now ? (until - now) / 1000000 + 1 : 0;
	if (poll(fds, count + 1, ms > 60000 ? 60000 : (int)ms) < 0 && errno != EINTR)
		return fail_errno("waiting for enclaves");
	if (fds[count].revents)
		return fail(PEER_CLOSED, "the run was given up");
	for (size_t i = 0; i < count; i++)
		launch_handle(launches[i]);
	return OK;
}

static bool all_ended(struct ire *const *launches, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!has_ended(launches[i]))
			return false;
	return true;
}

/* Both ends of a channel say why they closed it, before the run is over. */
static void hear_the_others(struct ire *const *launches, size_t count, int cancel_fd)
{
	uint64_t deadline = clock_monotonic_ns() + OTHERS_MS * UINT64_C(1000000);
	enum reason reason = failed_of(launches, count)->failure.reason;
	if (reason != REVOKED && reason != LEASE_ENDED)
		return;
	while (!all_ended(launches, count) && clock_monotonic_ns() < deadline)
		if (turn(launches, count, cancel_fd, deadline) != OK)
			return;
}

/* Who failed first may still be about to say so. */
static struct ire *find_root_cause(struct ire *const *launches, size_t count, int cancel_fd)
{
	hear_the_others(launches, count, cancel_fd);
	uint64_t deadline = clock_monotonic_ns() + ROOT_CAUSE_MS * UINT64_C(1000000);
	struct ire *cause = root_cause(launches, count, failed_of(launches, count));
	while (cause->failure.cause[0] && clock_monotonic_ns() < deadline) {
		bool is_known = false;
		for (size_t i = 0; i < count; i++)
			is_known |= strcmp(launches[i]->manifest.name, cause->failure.cause) == 0 && !has_ended(launches[i]);
		if (!is_known || turn(launches, count, cancel_fd, deadline) != OK)
			break;
		cause = root_cause(launches, count, cause);
	}
	return cause;
}

result launch_wait(struct ire *const *launches, size_t count, enum launch_state until, int cancel_fd, int timeout_ms)
{
	uint64_t deadline = timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
	if (count > MAX_AT_ONCE)
		return fail(TOO_LARGE, "%zu enclaves at once", count);
	while (!all_reached(launches, count, until) && !failed_of(launches, count)) {
		if (clock_monotonic_ns() >= deadline)
			return fail(TIMED_OUT, "waiting until enclaves are %s", launch_state_name(until));
		TRY(turn(launches, count, cancel_fd, deadline));
	}
	if (!failed_of(launches, count))
		return OK;
	struct ire *cause = find_root_cause(launches, count, cancel_fd);
	return fail(cause->failure.reason, "%s", cause->failure.text);
}
