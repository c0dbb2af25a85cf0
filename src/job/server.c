#include "job/server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "enclave/copies.h"
#include "enclave/limits.h"
#include "job/join.h"
#include "job/dac_query.h"
#include "job/keeper.h"
#include "job/listener.h"
#include "job/live_jobs.h"
#include "object/policy_version.h"
#include "job/service.h"
#include "job/state.h"
#include "root/host_evidence.h"
#include "root/host_upgrade.h"
#include "root/tcb.h"
#include "wire/text.h"

/*
 * Theory of operation. The main thread accepts, reaps and decides when to leave; a client's thread reads one request, does
 * it, replies. To end a client the main thread shuts down the reading half of its socket: a waiting read ends, a run sees
 * its cancel descriptor at its end, and the reply that says why can still be written. All signals are blocked in every
 * thread and arrive at the main thread's signalfd.
 */

enum {
	MAX_CLIENTS = 64,
	SEND_MS = 5000, /* a client that does not read for that long is dead */
	REQUEST_MS = 5000, /* for the rest of a request that has begun */
	FIRST_CLIENT_MS = 5 * 1000, /* a private host that nobody comes to leaves */
	REQUEST_MEMORY = 8 << 20,
	MOST_GRACE_S = 7 * 24 * 3600,
};

struct server;

struct client {
	struct server *server;
	struct fd fd;
	pthread_t thread;
	atomic_bool ended; /* the thread is about to return */
	bool used;
	bool leaving;
};

struct server {
	const struct server_config *config;
	struct state_folder state;
	char program_dir[PATH_SIZE];
	struct root_host *root;
	struct keeper *keeper;
	struct recorder *recorder;
	struct head_log *heads; /* NULL: the TPM holds no history */
	struct uid_pool uids;
	struct live *live;
	struct live_jobs *live_jobs;
	struct policies *policies;
	struct revocation_host *revocations;
	uid_t ap_uid;
	struct link_own own; /* for other hosts */
	struct listener *hosts;
	bool without_namespaces; /* tier L */
	char copies[PATH_SIZE]; /* then, of images */
	struct fd listener, wake, signals;
	struct client clients[MAX_CLIENTS];
	size_t client_count;
	atomic_size_t staying; /* clients that have not said BYE */
	bool had_client;
	bool stopping;
	atomic_int stop_reason; /* why runs are given up: RUN_ABORTED or AP_STOPPED */
	atomic_bool shutdown_asked;
};

/* ---- Replies ------------------------------------------------------------------------------------- */

/* One line that a terminal can show: a text may quote several lines of a program. */
static void one_line(char *text)
{
	size_t len = strlen(text);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		text[--len] = '\0';
	for (char *c = text; *c; c++)
		if (*c == '\n' || *c == '\t')
			*c = ' ';
	text_make_plain(text);
}

static result send_error(int fd, result reason, const char *message, const struct flow_failure *failure)
{
	char text[FLOW_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", message);
	one_line(text);
	struct service_error error = {.reason = reason, .text = text, .stage = ""};
	if (failure && failure->stage[0]) {
		error.stage = failure->stage;
		error.cause = failure->cause;
		error.log = span_str(failure->log);
	}
	return service_send(fd, SERVICE_ERROR, &error, NULL, 0, SEND_MS);
}

static result send_failure(int fd, result reason)
{
	char text[FLOW_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	return send_error(fd, reason, text, NULL);
}

/* ---- Requests. Each sends its reply, or fails and the failure is sent. ----------------------------- */

struct request {
	struct client *client;
	struct server *server;
	const struct service_message *message;
	const void *body;
	struct arena arena;
	struct flow_failure failure;
	bool replied;
};

static result reply(struct request *request, enum service_type type, const void *body)
{
	request->replied = true;
	return service_send(request->client->fd.n, type, body, NULL, 0, SEND_MS);
}

static result handle_status(struct request *request)
{
	struct server *server = request->server;
	struct service_status status = {
		.pid = (uint32_t)getpid(),
		.private_host = server->config->private_host,
		.clients = atomic_load(&server->staying),
		.state_dir = server->state.path,
		.program_dir = server->program_dir,
		.queue = root_host_queue(server->root) == IPQ_PROFILE_SEALED ? "sealed" : "local",
	};
	memcpy(status.ap_digest, root_host_ap_digest(server->root), SHA384_SIZE);
	TRY(root_host_call(server->root, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &request->arena, &status.health));
	return reply(request, SERVICE_STATUS_IS, &status);
}

static result handle_init(struct request *request)
{
	const struct service_init *body = request->body;
	struct root_host_init init = {
		.recovery = body->recovery,
		.has_recovery = body->has_recovery,
		.valid_ms = body->valid_ms,
		.grace_s = body->grace_s,
		.trust_domain = body->trust_domain,
	};
	if (body->grace_s > MOST_GRACE_S)
		return fail(BAD_VALUE, "a grace of %u s; at most a week", body->grace_s);
	TRY(root_host_init(request->server->root, &init));
	log_info("a root of trust was made");
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_attest(struct request *request)
{
	const struct service_attest *body = request->body;
	struct ap_attest ask = {.purpose = "status"};
	struct ap_rot_available answer;
	memcpy(ask.challenge, body->challenge, sizeof(ask.challenge));
	TRY(root_host_call(request->server->root, IPQ_ATTEST, &ap_attest_schema, &ask, &ap_rot_available_schema, &request->arena, &answer));
	struct service_attested attested = {answer.epoch_record, answer.challenge};
	return reply(request, SERVICE_ATTESTED, &attested);
}

static result handle_seal(struct request *request)
{
	const struct service_seal *body = request->body;
	struct ap_seal ask = {body->policy, body->box};
	struct ap_signed answer;
	TRY(root_host_call(request->server->root, IPQ_SEAL, &ap_seal_schema, &ask, &ap_signed_schema, &request->arena, &answer));
	struct service_sealed sealed = {answer.object};
	return reply(request, SERVICE_SEALED, &sealed);
}

static result handle_events(struct request *request)
{
	const struct service_events *body = request->body;
	struct ap_read_measurements ask = {body->from};
	struct ap_measurements answer;
	TRY(root_host_call(request->server->root, IPQ_READ_MEASUREMENTS, &ap_read_measurements_schema, &ask, &ap_measurements_schema,
		&request->arena, &answer));
	return reply(request, SERVICE_EVENTS_ARE, &answer);
}

/* ---- The root ---------------------------------------------------------------------------------------- */

static result copy_notes(struct request *request, struct service_root *out)
{
	struct root_note notes[ROOT_NOTES];
	size_t count = root_host_notes(request->server->root, notes);
	void *list;
	TRY(arena_alloc(&request->arena, count + 1, sizeof(struct service_note), &list));
	out->notes = list;
	for (size_t i = 0; i < count; i++) {
		struct service_note *note = &out->notes[out->note_count++];
		*note = (struct service_note){notes[i].time, notes[i].era, notes[i].epoch, notes[i].reason, notes[i].emergency, ""};
		TRY(arena_string(&request->arena, span_str(notes[i].text), &note->text));
	}
	return OK;
}

static result reply_root(struct request *request)
{
	struct server *server = request->server;
	ROOT_IDENTITY_HELD identity = root_host_hold(server->root);
	struct service_root root = {.refusal_text = "", .last_failure = ""};
	struct keeper_status kept;
	struct ap_health health;
	root.refusal = root_host_refusal(server->root);
	if (root.refusal != OK)
		TRY(arena_string(&request->arena, span_str(failure_text()), &root.refusal_text));
	if (identity) {
		root.inception = identity->inception;
		root.head = identity->epoch_record;
		root.records = identity->records;
	}
	keeper_status(server->keeper, &kept);
	root.draining = kept.draining;
	root.drain_in_ms = kept.drain_in_ms;
	root.has_next = kept.has_next && root.refusal == OK;
	root.next_in_ms = kept.next_in_ms;
	root.period_ms = kept.period_ms;
	root.rotations = kept.rotations;
	root.failures = kept.failures;
	root.last_failure = kept.last_failure;
	TRY(root_host_call(server->root, IPQ_HEALTH, NULL, NULL, &ap_health_schema, &request->arena, &health));
	root.candidate = health.candidate;
	TRY(copy_notes(request, &root));
	return reply(request, SERVICE_ROOT_IS, &root);
}

static result handle_root(struct request *request)
{
	return reply_root(request);
}

static result handle_rotate(struct request *request)
{
	const struct service_rotate *body = request->body;
	TRY(keeper_rotate(request->server->keeper, body->emergency, body->text[0] ? body->text : "operator"));
	return reply_root(request);
}

static result one_descriptor(const struct request *request, int *out)
{
	if (request->message->raw.fd_count != 1)
		return fail(BAD_VALUE, "%zu descriptors instead of one", request->message->raw.fd_count);
	*out = request->message->raw.fds[0].n;
	return OK;
}

static result handle_history(struct request *request)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	int fd;
	TRY(one_descriptor(request, &fd));
	TRY(root_host_history(request->server->root, &history));
	TRY(write_all(fd, bytes_span(&history)));
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_set_recovery(struct request *request)
{
	const struct service_set_recovery *body = request->body;
	const struct root_host_set_recovery wanted = {body->recovery, body->has_recovery};
	struct service_candidate candidate = {0};
	ROOT_IDENTITY_HELD base = root_host_hold(request->server->root);
	TRY(root_host_set_recovery(request->server->root, &wanted, &request->arena, &candidate.payload));
	candidate.base = base->epoch_record;
	log_warning("a candidate with other recovery keys waits for signatures");
	return reply(request, SERVICE_CANDIDATE, &candidate);
}

static result find_base(struct request *request, struct span payload, struct span *out)
{
	struct epoch epoch;
	struct epoch_link base;
	TRY(schema_decode(&epoch_schema, payload, &request->arena, &epoch));
	TRY(root_host_find(request->server->root, epoch.prev, &base));
	*out = base.record;
	return OK;
}

static result handle_recover(struct request *request)
{
	const struct service_recover *body = request->body;
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	struct root_host_recover wanted = {body->from_head, body->era, body->epoch, SPAN_EMPTY, body->trust_domain, body->valid_ms};
	struct service_candidate candidate = {0};
	if (body->has_history) {
		int fd;
		TRY(one_descriptor(request, &fd));
		TRY(file_read_fd(fd, EPOCH_HISTORY_MAX, &history));
		wanted.history = bytes_span(&history);
	}
	TRY(root_host_recover(request->server->root, &wanted, &request->arena, &candidate.payload));
	TRY(find_base(request, candidate.payload, &candidate.base));
	log_warning("a candidate of a new era waits for signatures");
	return reply(request, SERVICE_CANDIDATE, &candidate);
}

static result handle_adopt(struct request *request)
{
	const struct service_adopt *body = request->body;
	TRY(root_host_adopt(request->server->root, body->payload, body->signatures, body->signature_count));
	return reply_root(request);
}

static result handle_take(struct request *request)
{
	CLEANUP(bytes_free) struct bytes history = BYTES_EMPTY;
	struct service_taken taken = {.refusal_text = ""};
	int fd;
	TRY(one_descriptor(request, &fd));
	TRY(file_read_fd(fd, EPOCH_HISTORY_MAX, &history));
	TRY(root_host_take(request->server->root, bytes_span(&history), &taken.changed));
	taken.refusal = root_host_refusal(request->server->root);
	if (taken.refusal != OK) {
		TRY(arena_string(&request->arena, span_str(failure_text()), &taken.refusal_text));
		log_error("this root endorses nothing any more", LOG_TEXT("why", taken.refusal_text));
	}
	return reply(request, SERVICE_TAKEN, &taken);
}

/* ---- Upgrades, backups --------------------------------------------------------------------------------- */

static result handle_authorise(struct request *request)
{
	struct ap_authorised answer;
	TRY(root_host_authorise(request->server->root, request->body, &request->arena, &answer));
	return reply(request, SERVICE_AUTHORISED, &answer);
}

static result handle_tpm(struct request *request)
{
	struct ap_enrolled answer;
	TRY(root_host_enrol(request->server->root, request->body, &request->arena, &answer));
	return reply(request, SERVICE_TPM_IS, &answer);
}

static result handle_tpm_quote(struct request *request)
{
	const struct ap_quote *asked = request->body;
	struct ap_quoted answer;
	ROOT_IDENTITY_HELD root = root_host_hold(request->server->root);
	if (!root)
		return fail(NO_ROOT, "the state folder of this host");
	TRY(root_host_quote(request->server->root, root, asked->nonce, &request->arena, &answer.evidence));
	return reply(request, SERVICE_QUOTED, &answer);
}

static result handle_backup(struct request *request)
{
	struct ap_backed_up answer;
	TRY(root_host_backup(request->server->root, request->body, &request->arena, &answer));
	return reply(request, SERVICE_BACKED_UP, &answer);
}

static result handle_restore(struct request *request)
{
	TRY(root_host_restore(request->server->root, request->body, &request->arena));
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_policy_push(struct request *request)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct policies_pushed pushed;
	int fd;
	TRY(one_descriptor(request, &fd));
	TRY(file_read_fd(fd, POLICY_VERSION_MAX, &object));
	TRY(policies_push(request->server->policies, request->server->live, bytes_span(&object), &request->arena, &pushed));
	return reply(request, SERVICE_POLICY_PUSHED, &pushed);
}

/* ---- Revocation ----------------------------------------------------------------------------------------- */

static result handle_revoke(struct request *request)
{
	const struct service_revoke *body = request->body;
	CLEANUP(bytes_free) struct bytes list = BYTES_EMPTY;
	struct revocation_outcome outcome;
	int fd;
	TRY(one_descriptor(request, &fd));
	TRY(file_read_fd(fd, REVOCATION_LIST_MAX, &list));
	TRY(revocations_load(request->server->revocations, bytes_span(&list), body->dry_run, &request->arena, &outcome));
	return reply(request, SERVICE_REVOKED, &outcome);
}

static result handle_revocations(struct request *request)
{
	struct revocation_status status;
	TRY(revocations_status(request->server->revocations, &request->arena, &status));
	return reply(request, SERVICE_REVOCATIONS_ARE, &status);
}

static result handle_revocation_key(struct request *request)
{
	const struct service_revocation_key *body = request->body;
	struct revocation_host *host = request->server->revocations;
	if (!body->take_out && body->point.len != POINT_SIZE)
		return fail(BAD_VALUE, "a point of %zu bytes", body->point.len);
	TRY(body->take_out ? revocations_unpin(host, body->id) : revocations_pin(host, body->point.data, body->label));
	log_warning(body->take_out ? "an operator's revocation key was taken out" : "an operator's revocation key was pinned",
		LOG_TEXT("label", body->label));
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_shutdown(struct request *request)
{
	atomic_store(&request->server->shutdown_asked, true);
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_bye(struct request *request)
{
	struct service_farewell farewell = {true};
	if (!request->client->leaving)
		farewell.stays = atomic_fetch_sub(&request->server->staying, 1) > 1 || !request->server->config->private_host;
	request->client->leaving = true;
	return reply(request, SERVICE_FAREWELL, &farewell);
}

static result handle_dac_get(struct request *request)
{
	struct service_dac_got got;
	int fd;
	TRY(one_descriptor(request, &fd));
	const struct flow_host host = {.root = request->server->root, .live = request->server->live, .heads = request->server->heads};
	TRY(dac_query(&host, request->body, fd, &got));
	return reply(request, SERVICE_DAC_GOT, &got);
}

static result handle_channel_test(struct request *request)
{
	struct service_channel_tested tested;
	TRY(channel_query(request->server->live, request->body, &request->arena, &tested));
	return reply(request, SERVICE_CHANNEL_TESTED, &tested);
}

/* ---- RUN ------------------------------------------------------------------------------------------- */

/* What is told on the way is never worth waiting for: a client that does not read misses it. */
static void tell(const struct client *client, enum service_type type, const void *body)
{
	struct pollfd poller = {.fd = client->fd.n, .events = POLLOUT};
	if (poll(&poller, 1, 0) == 1 && (poller.revents & POLLOUT) && service_send(client->fd.n, type, body, NULL, 0, SEND_MS) != OK)
		(void)shutdown(client->fd.n, SHUT_RDWR); /* out of step: the run is given up */
}

static void tell_state(void *ctx, const char *stage, const char *state)
{
	struct service_progress progress = {.stage = stage, .state = state};
	tell(ctx, SERVICE_PROGRESS, &progress);
}

static void tell_progress(void *ctx, const char *stage, uint64_t bytes_in, uint64_t bytes_out)
{
	struct service_progress progress = {.stage = stage, .state = "", .bytes_in = bytes_in, .bytes_out = bytes_out};
	tell(ctx, SERVICE_PROGRESS, &progress);
}

static void tell_log(void *ctx, const char *stage, struct span text)
{
	struct service_log log = {.stage = stage, .text = text};
	tell(ctx, SERVICE_LOG, &log);
}

/* What an enclave was denied by a policy, as against what a person mistyped. */
static bool is_violation(enum reason reason)
{
	return (reason >= PEER_NOT_ALLOWED && reason <= STATE_NOT_ALLOWED) && reason != POLICY_NOT_VALID_NOW;
}

/* A run that failed may be a reason to leave this epoch. The failure's text stays as it is. */
static void tell_keeper(struct server *server, result ran, const struct flow_failure *failure)
{
	char text[FLOW_TEXT_MAX];
	enum reason cause = ran == STAGE_FAILED ? failure->cause : (enum reason)ran;
	if (ran == OK)
		return;
	snprintf(text, sizeof(text), "%s", failure_text());
	if (is_violation(cause))
		keeper_event(server->keeper, SCHEDULE_VIOLATION, text);
	else if (cause == MEASUREMENT_WRONG)
		keeper_event(server->keeper, SCHEDULE_MEASUREMENT, text);
	(void)fail(ran, "%s", text); /* what is told is still why the run failed */
}

/* A run of this host or, as a participant, of another one. */
static result do_run(struct request *request, const struct join_request *join)
{
	struct server *server = request->server;
	const struct sock_message *raw = &request->message->raw;
	struct flow_host host = {
		.root = server->root,
		.recorder = server->recorder,
		.uids = &server->uids,
		.scratch = server->state.scratch,
		.live = server->live,
		.policies = server->policies,
		.listener = server->hosts,
		.heads = server->heads,
		.copies = server->without_namespaces ? server->copies : NULL,
		.issuers = server->state.issuers,
	};
	struct flow_listener listener = {request->client, tell_state, tell_progress, tell_log, request->client->fd.n};
	struct flow_outcome outcome;
	int fds[SOCK_MAX_FDS];
	result ran;
	for (size_t i = 0; i < raw->fd_count; i++)
		fds[i] = raw->fds[i].n;
	keeper_begin(server->keeper);
	if (join)
		ran = join_run(&host, join, fds, raw->fd_count, &listener, &request->arena, &outcome, &request->failure);
	else
		ran = flow_run(&host, request->body, fds, raw->fd_count, &listener, &request->arena, &outcome, &request->failure);
	keeper_end(server->keeper);
	tell_keeper(server, ran, &request->failure);
	enum reason stop = (enum reason)atomic_load(&server->stop_reason);
	if (ran == RUN_ABORTED && stop == AP_STOPPED)
		return fail(AP_STOPPED, "while the job ran");
	if (ran == RUN_ABORTED && stop == RUN_ABORTED)
		return fail(RUN_ABORTED, "the host was told to stop");
	TRY(ran);
	return reply(request, SERVICE_RAN, &outcome);
}

static result handle_run(struct request *request)
{
	return do_run(request, NULL);
}

static result handle_join(struct request *request)
{
	return do_run(request, request->body);
}

/* ---- Other hosts ----------------------------------------------------------------------------------- */

static result handle_peers(struct request *request)
{
	struct service_peers answer = {.listen = listener_address(request->server->hosts)};
	TRY(peers_list(request->server->own.peers, &request->arena, &answer.peers, &answer.peer_count));
	TRY(standing_status(request->server->own.standing, &request->arena, &answer.links, &answer.link_count));
	return reply(request, SERVICE_PEERS_ARE, &answer);
}

static result handle_enrol(struct request *request)
{
	const struct service_enrol *body = request->body;
	ROOT_IDENTITY_HELD own = root_host_hold(request->server->root);
	const struct peer_enrolment enrolment = {
		.name = body->name,
		.addresses = body->addresses,
		.address_count = body->address_count,
		.history = body->history,
		.approval = body->approval,
		.own_rot = own->rot_id,
		.now_ms = clock_wall_ms(),
	};
	struct peer peer;
	TRY(peers_enrol(request->server->own.peers, &enrolment));
	TRY(peers_find_name(request->server->own.peers, body->name, &request->arena, &peer));
	standing_refresh(request->server->own.standing);
	log_info("a host was enrolled", LOG_TEXT("name", peer.name), LOG_HEX("root", SPAN_ARRAY(peer.rot_id)));
	return reply(request, SERVICE_ENROLLED, &peer);
}

static result handle_remove_peer(struct request *request)
{
	const struct service_name *body = request->body;
	TRY(peers_remove(request->server->own.peers, body->name));
	standing_refresh(request->server->own.standing);
	log_info("a host is not enrolled any more", LOG_TEXT("name", body->name));
	return reply(request, SERVICE_DONE, NULL);
}

static result handle_officers(struct request *request)
{
	const struct service_officers *body = request->body;
	struct service_officers answer = {0};
	ROOT_IDENTITY_HELD own = root_host_hold(request->server->root);
	if (body->has_officers)
		TRY(peers_set_officers(request->server->own.peers, &body->officers));
	TRY(peers_officers(request->server->own.peers, &request->arena, &answer.officers));
	answer.has_officers = answer.officers.k > 0;
	memcpy(answer.rot_id, own->rot_id, OID_SIZE);
	return reply(request, SERVICE_OFFICERS_ARE, &answer);
}

/* ---- Enclaves that stay ----------------------------------------------------------------------------- */

static result handle_ire_run(struct request *request)
{
	struct server *server = request->server;
	struct service_ire_up up;
	if (server->config->private_host)
		return fail(IRE_NEEDS_HOST, "'%s' is served by a private host", server->state.path);
	TRY(live_jobs_start(server->live_jobs, request->message->body, &request->arena, &up, &request->failure));
	return reply(request, SERVICE_IRE_UP, &up);
}

static result handle_ire_list(struct request *request)
{
	struct service_ires ires;
	TRY(live_jobs_list(request->server->live_jobs, &request->arena, &ires));
	return reply(request, SERVICE_IRES_ARE, &ires);
}

static result handle_ire_stop(struct request *request)
{
	const struct service_ire_stop *body = request->body;
	struct service_ire_stopped stopped = {0};
	TRY(live_jobs_stop(request->server->live_jobs, body->all ? NULL : body->name, &stopped.count));
	return reply(request, SERVICE_IRE_STOPPED, &stopped);
}

/* ---- One client -------------------------------------------------------------------------------------- */

static const struct {
	enum service_type type;
	bool needs_root;
	result (*handle)(struct request *request);
} handlers[] = {
	{SERVICE_STATUS, false, handle_status},
	{SERVICE_INIT, false, handle_init},
	{SERVICE_ATTEST, true, handle_attest},
	{SERVICE_SEAL, true, handle_seal},
	{SERVICE_RUN, true, handle_run},
	{SERVICE_JOIN, true, handle_join},
	{SERVICE_PEERS, true, handle_peers},
	{SERVICE_ENROL, true, handle_enrol},
	{SERVICE_REMOVE_PEER, true, handle_remove_peer},
	{SERVICE_OFFICERS, true, handle_officers},
	{SERVICE_EVENTS, false, handle_events},
	{SERVICE_ROTATE, true, handle_rotate},
	{SERVICE_ROOT, false, handle_root},
	{SERVICE_HISTORY, true, handle_history},
	{SERVICE_SET_RECOVERY, true, handle_set_recovery},
	{SERVICE_RECOVER, false, handle_recover},
	{SERVICE_ADOPT, true, handle_adopt},
	{SERVICE_TAKE, true, handle_take},
	{SERVICE_AUTHORISE, true, handle_authorise},
	{SERVICE_BACKUP, true, handle_backup},
	{SERVICE_RESTORE, true, handle_restore},
	{SERVICE_TPM, true, handle_tpm},
	{SERVICE_QUOTE, true, handle_tpm_quote},
	{SERVICE_POLICY_PUSH, true, handle_policy_push},
	{SERVICE_DAC_GET, true, handle_dac_get},
	{SERVICE_CHANNEL_TEST, false, handle_channel_test},
	{SERVICE_REVOKE, true, handle_revoke},
	{SERVICE_REVOCATIONS, true, handle_revocations},
	{SERVICE_REVOCATION_KEY, true, handle_revocation_key},
	{SERVICE_IRE_RUN, true, handle_ire_run},
	{SERVICE_IRE_LIST, false, handle_ire_list},
	{SERVICE_IRE_STOP, false, handle_ire_stop},
	{SERVICE_SHUTDOWN, false, handle_shutdown},
	{SERVICE_BYE, false, handle_bye},
};

static result check_root(struct server *server)
{
	ROOT_IDENTITY_HELD root = root_host_hold(server->root);
	return root ? OK : fail(NO_ROOT, "'%s'", server->state.path);
}

static result dispatch(struct request *request)
{
	union {
		struct service_init init;
		struct service_attest attest;
		struct service_seal seal;
		struct service_events events;
		struct ap_authorise authorise;
		struct ap_backup backup;
		struct ap_restore restore;
		struct service_empty empty;
		struct service_rotate rotate;
		struct service_revoke revoke;
		struct service_revocation_key revocation_key;
		struct service_set_recovery set_recovery;
		struct service_recover recover;
		struct service_adopt adopt;
		struct service_dac_get dac_get;
		struct service_channel_test channel_test;
		struct flow_request run;
		struct join_request join;
		struct service_enrol enrol;
		struct service_name name;
		struct service_officers officers;
		struct service_ire_run ire_run;
		struct service_ire_stop ire_stop;
	} body;
	for (size_t i = 0; i < COUNT_OF(handlers); i++) {
		if (handlers[i].type != request->message->type)
			continue;
		TRY(service_decode(request->message, &request->arena, &body));
		request->body = &body;
		if (handlers[i].needs_root)
			TRY(check_root(request->server));
		return handlers[i].handle(request);
	}
	return fail(WRONG_KIND, "%s is no request", service_type_name(request->message->type));
}

/* One request and its reply. A failure ends the connection. */
static result serve_request(struct client *client)
{
	CLEANUP(service_message_free) struct service_message message = SERVICE_MESSAGE_EMPTY;
	CLEANUP(arena_free) struct arena arena = arena_of(REQUEST_MEMORY);
	TRY(sock_wait_readable(client->fd.n, -1));
	TRY(service_receive(client->fd.n, REQUEST_MS, &message));
	struct request request = {
		.client = client,
		.server = client->server,
		.message = &message,
		.arena = arena,
	};
	result handled = dispatch(&request);
	arena = request.arena; /* grown there, freed here */
	if (handled == OK || request.replied)
		return handled;
	char text[FLOW_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", failure_text());
	return send_error(client->fd.n, handled, text, &request.failure);
}

static void *client_main(void *arg)
{
	struct client *client = arg;
	result served = service_send(client->fd.n, SERVICE_DONE, NULL, NULL, 0, SEND_MS);
	while (served == OK)
		served = serve_request(client);
	if (served != PEER_CLOSED)
		log_failure(LOG_LEVEL_DEBUG, "a client was let go", served);
	(void)shutdown(client->fd.n, SHUT_RDWR);
	atomic_store(&client->ended, true);
	uint64_t one = 1;
	if (write(client->server->wake.n, &one, sizeof(one)) != (ssize_t)sizeof(one))
		log_warning("the main thread could not be woken");
	return NULL;
}

/* ---- The main thread ---------------------------------------------------------------------------------- */

static result check_peer(int fd)
{
	struct sock_peer peer;
	TRY(sock_peer(fd, &peer));
	return peer.uid == geteuid() ? OK : fail(NO_PERMISSION, "uid %u", peer.uid);
}

static struct client *free_slot(struct server *server)
{
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (!server->clients[i].used)
			return &server->clients[i];
	return NULL;
}

static result admit(struct server *server, struct fd *fd)
{
	struct client *client = free_slot(server);
	if (!client)
		return fail(BUSY, "%d clients are served already", MAX_CLIENTS);
	*client = (struct client){.server = server, .fd = fd_move(fd), .used = true};
	atomic_fetch_add(&server->staying, 1);
	if (pthread_create(&client->thread, NULL, client_main, client) != 0) {
		*fd = fd_move(&client->fd);
		client->used = false;
		atomic_fetch_sub(&server->staying, 1);
		return fail(NO_MEMORY, "a thread for a client");
	}
	server->client_count++;
	server->had_client = true;
	return OK;
}

static void accept_client(struct server *server)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	result accepted = sock_accept(server->listener.n, 0, &fd);
	if (accepted == TIMED_OUT)
		return;
	if (accepted == OK)
		accepted = check_peer(fd.n);
	/* Even one that is gone before it is greeted was the client that a private host waited for. */
	server->had_client |= accepted == OK;
	if (accepted == OK)
		accepted = admit(server, &fd);
	if (accepted == OK)
		return;
	log_failure(LOG_LEVEL_WARNING, "a client was turned away", accepted);
	if (fd.n >= 0 && send_failure(fd.n, accepted) != OK)
		log_debug("and was not told");
}

static void reap_clients(struct server *server)
{
	uint64_t count;
	if (read(server->wake.n, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_warning("eventfd");
	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		struct client *client = &server->clients[i];
		if (!client->used || !atomic_load(&client->ended))
			continue;
		pthread_join(client->thread, NULL);
		if (!client->leaving)
			atomic_fetch_sub(&server->staying, 1);
		fd_close(&client->fd);
		client->used = false;
		server->client_count--;
	}
}

static void stop(struct server *server, enum reason why)
{
	if (server->stopping)
		return;
	server->stopping = true;
	atomic_store(&server->stop_reason, (int)why);
	(void)unlink(server->state.socket);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (server->clients[i].used)
			(void)shutdown(server->clients[i].fd.n, SHUT_RD);
}

static void handle_signal(struct server *server)
{
	struct signalfd_siginfo info;
	if (read(server->signals.n, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	log_info("told to stop", LOG_NUMBER("signal", info.ssi_signo));
	stop(server, RUN_ABORTED);
}

/* A private host whose last client has gone serves whoever connected meanwhile, and nobody after that. */
static bool may_leave(struct server *server)
{
	if (server->client_count > 0)
		return false;
	if (server->stopping)
		return true;
	if (!server->config->private_host || !server->had_client)
		return false;
	stop(server, OK);
	accept_client(server);
	return server->client_count == 0;
}

static result serve(struct server *server)
{
	enum { LISTENER, WAKE, SIGNALS, AP, FDS };
	while (!may_leave(server)) {
		struct pollfd fds[FDS] = {
			[LISTENER] = {.fd = server->stopping ? -1 : server->listener.n, .events = POLLIN},
			[WAKE] = {.fd = server->wake.n, .events = POLLIN},
			[SIGNALS] = {.fd = server->signals.n, .events = POLLIN},
			[AP] = {.fd = atomic_load(&server->stop_reason) == AP_STOPPED ? -1 : root_host_fd(server->root), .events = POLLIN},
		};
		bool alone = server->config->private_host && !server->had_client;
		int ready = poll(fds, FDS, alone ? FIRST_CLIENT_MS : -1);
		if (ready < 0 && errno != EINTR)
			return fail_errno("poll");
		if (ready == 0)
			stop(server, OK);
		if (ready <= 0)
			continue;
		if (fds[SIGNALS].revents)
			handle_signal(server);
		if (fds[AP].revents) {
			atomic_store(&server->stop_reason, AP_STOPPED);
			log_error("the secure processor has ended");
			stop(server, AP_STOPPED);
		}
		if (fds[WAKE].revents)
			reap_clients(server);
		if (atomic_load(&server->shutdown_asked))
			stop(server, RUN_ABORTED);
		if (fds[LISTENER].revents && !server->stopping)
			accept_client(server);
	}
	if (atomic_load(&server->stop_reason) == AP_STOPPED)
		return fail(AP_STOPPED, "'%s'", server->state.path);
	return OK;
}

/* ---- Start and end ------------------------------------------------------------------------------------ */

static result watch_signals(struct server *server)
{
	sigset_t set;
	sigfillset(&set);
	/* What a bug raises in a thread must end it there. */
	static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	for (size_t i = 0; i < COUNT_OF(kept); i++)
		sigdelset(&set, kept[i]);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGHUP);
	server->signals = fd_of(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
	return server->signals.n < 0 ? fail_errno("signalfd") : OK;
}

static result start_root(struct server *server)
{
	struct root_host_config config = {
		.state_dir = server->state.path,
		.program_dir = server->program_dir,
		.ap_uid = server->ap_uid,
		.wrap = server->config->wrap,
		.queue = server->config->queue,
		.authorise = server->config->authorise,
		.accept_digest = server->config->accept_digest,
		.recovery = server->config->recovery,
		.without_namespaces = server->without_namespaces,
	};
	return root_host_start(&config, &server->root);
}

/* The secure processor keeps its uid as long as the host lives, IREs as long as they do. */
static result divide_uids(struct server *server)
{
	TRY(uid_pool_init(&server->uids, server->config->first_uid));
	return uid_pool_take(&server->uids, &server->ap_uid);
}

/* Links to other hosts, and the port where they find this one. */
static result start_hosts(struct server *server)
{
	server->own.root = server->root;
	server->own.revocations = server->revocations;
	TRY(peers_open(server->state.path, &server->own.peers));
	TRY(tls_identity_new(&server->own.identity));
	/* A host that is there for one client has nothing to say between runs. */
	if (!server->config->private_host && !server->config->no_standing)
		TRY(standing_start(&server->own, &server->own.standing));
	return listener_start(&server->own, server->config->listen, &server->hosts);
}

/* Kept in the folder: what was begun with a history goes on with it. */
static result start_history(struct server *server)
{
	bool kept;
	TRY(state_tpm_head(server->state.path, server->config->tpm_head, &kept));
	if (!kept)
		return OK;
	if (!root_host_has_tpm(server->root))
		return fail(HEAD_NOT_KEPT, "--tpm-head");
	return head_log_open(server->root, server->state.journal, &server->heads);
}

static result start(struct server *server)
{
	TRY(program_folder(server->program_dir, sizeof(server->program_dir)));
	TRY(watch_signals(server));
	TRY(divide_uids(server));
	TRY(state_folder_open(server->config->state_dir, server->config->create, &server->state));
	TRY(state_confinement(server->state.path, server->config->confinement, &server->without_namespaces));
	if (server->without_namespaces)
		TRY(copies_open(server->state.path, server->state.scratch, server->copies));
	limits_sweep(); /* control groups of hosts that were killed */
	TRY(start_root(server));
	TRY(keeper_start(server->root, &server->config->schedule, &server->keeper));
	TRY(live_new(&server->live));
	TRY(policies_new(server->state.path, &server->policies));
	TRY(revocations_start(server->root, server->state.path, server->config->revocation_lease_ms, &server->revocations));
	TRY(recorder_journal_open(server->state.journal, &server->recorder));
	TRY(start_history(server));
	TRY(start_hosts(server));
	const struct flow_host host = {
		.root = server->root,
		.recorder = server->recorder,
		.uids = &server->uids,
		.scratch = server->state.scratch,
		.live = server->live,
		.policies = server->policies,
		.heads = server->heads,
		.copies = server->without_namespaces ? server->copies : NULL,
		.issuers = server->state.issuers,
	};
	TRY(live_jobs_new(&host, &server->live_jobs));
	server->wake = fd_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (server->wake.n < 0)
		return fail_errno("eventfd");
	return sock_listen(server->state.socket, &server->listener);
}

static void server_end(struct server *server)
{
	if (server->listener.n >= 0 && !server->stopping)
		(void)unlink(server->state.socket);
	fd_close(&server->listener);
	listener_stop(server->hosts);
	standing_stop(server->own.standing);
	tls_identity_free(server->own.identity);
	peers_close(server->own.peers);
	live_jobs_free(server->live_jobs);
	keeper_stop(server->keeper);
	recorder_close(server->recorder);
	head_log_close(server->heads);
	policies_free(server->policies);
	live_free(server->live);
	revocations_stop(server->revocations);
	root_host_stop(server->root);
	fd_close(&server->wake);
	fd_close(&server->signals);
	uid_pool_close(&server->uids);
	copies_close(server->copies);
	state_folder_close(&server->state); /* last: whoever waits for the lock finds everything gone */
}

/* False when whoever started this host has gone meanwhile. */
static bool tell_ready(const struct server_config *config, result started)
{
	if (config->ready_fd < 0)
		return true;
	result told = started == OK ? service_send(config->ready_fd, SERVICE_DONE, NULL, NULL, 0, SEND_MS)
				    : send_failure(config->ready_fd, started);
	if (told != OK)
		log_debug("whoever started this host has gone");
	close(config->ready_fd);
	return told == OK;
}

result server_run(const struct server_config *config)
{
	static struct server server;
	server = (struct server){
		.config = config,
		.state = STATE_FOLDER_NONE,
		.uids = {.marks = FD_NONE},
		.listener = {-1},
		.wake = {-1},
		.signals = {-1},
	};
	result served = start(&server);
	bool wanted = tell_ready(config, served) || !config->private_host;
	if (served == OK && wanted) {
		log_debug("serving", LOG_TEXT("state", server.state.path));
		served = serve(&server);
	}
	char text[FLOW_TEXT_MAX];
	snprintf(text, sizeof(text), "%s", served == OK ? "" : failure_text());
	server_end(&server);
	return served == OK ? OK : fail(served, "%s", text);
}
