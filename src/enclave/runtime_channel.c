/*
 * One IECP channel of an IRE: certificates under the own root, evidence from the host's secure processor, and the policy
 * at each of its gates (constructions/iecp.md, objects.md "Evidence binder").
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"
#include "crypto/random.h"
#include "enclave/runtime_internal.h"

enum {
	GIVE_UP_MS = 300,
	SHORT_LIFE_MS = 60 * 1000, /* what is left of the peer's certificate; not worth a handshake */
	EVIDENCE_LEAD_MS = 10 * 1000,
	STALL_OUTSIDE_MS = 600 * 1000, /* a peer that is no enclave has no limit of time of its own */
};

/* The secure processor's report over this handshake and, for a peer on another host, what the TPM says of its epoch. */
struct evidence {
	struct span report;
	struct span platform;
};
static const struct field evidence_fields[] = {
	F_BYTES(struct evidence, 1, report, 1, 60 * 1024),
	F_BYTES_ABSENT(struct evidence, 2, platform, 0, 60 * 1024),
};
static const struct schema evidence_schema = SCHEMA(struct evidence, "evidence", SHAPE_MAP, evidence_fields);

bool backlog_is_empty(const struct backlog *backlog)
{
	return backlog->at == backlog->bytes.len;
}

void backlog_free(struct backlog *backlog)
{
	writer_free(&backlog->bytes);
}

/* ---- Certificate ------------------------------------------------------------------------------- */

static enum policy_confinement confinement_of(const char *tier)
{
	return strcmp(tier, "N") == 0 ? CONFINEMENT_N : strcmp(tier, "L") == 0 ? CONFINEMENT_L : CONFINEMENT_NONE;
}

/*
 * The full name of a peer of the own root is known beforehand. That of one on another host follows from the root it shows,
 * which the manifest allows, and from its own trust domain, which is a part of the name and proves nothing.
 */
static result settle_name(struct channel *channel, const char *uri, const uint8_t rot_id[static OID_SIZE])
{
	const struct runtime *rt = channel->runtime;
	char own[URI_MAX_LEN + 1];
	if (memcmp(rot_id, rt->prepare.rot_id, OID_SIZE) == 0) {
		TRY(ire_uri(rot_id, rt->prepare.trust_domain, channel->spec.peer, own));
		if (strcmp(own, uri) != 0)
			return fail(PEER_NAME_MISMATCH, "'%s' instead of '%s'", uri, own);
	}
	snprintf(channel->expected_name, sizeof(channel->expected_name), "%s", uri);
	return OK;
}

static result check_leaf(struct channel *channel, const struct certificate *certificate, const struct key *root,
	const uint8_t rot_id[static OID_SIZE], uint64_t now)
{
	const char *name;
	TRY(certificate_verify(certificate, root));
	TRY(certificate_valid_at(certificate, now));
	TRY(ire_uri_name(certificate->uri, rot_id, &name));
	if (strcmp(name, channel->spec.peer) != 0)
		return fail(PEER_NAME_MISMATCH, "'%s' instead of '%s'", certificate->uri, channel->spec.peer);
	if (certificate->tcb_info.len == 0)
		return fail(BAD_CERTIFICATE, "it does not say what was launched");
	return settle_name(channel, certificate->uri, rot_id);
}

static result keep_leaf(struct channel *channel, const struct certificate *certificate, const struct iecp_epoch *epoch,
	struct arena *arena, struct iecp_peer *out)
{
	struct tcb_info info;
	struct channel_peer *peer = &channel->peer;
	TRY(schema_decode(&tcb_info_schema, certificate->tcb_info, arena, &info));
	if (memcmp(info.epoch_oid, epoch->oid, OID_SIZE) != 0)
		return fail(CERTIFICATE_FOREIGN, "it was issued in another epoch");
	memcpy(peer->rot_id, epoch->rot_id, OID_SIZE);
	snprintf(peer->uri, sizeof(peer->uri), "%s", certificate->uri);
	memcpy(peer->certificate, certificate->digest, SHA256_SIZE);
	memcpy(peer->core, info.core, SHA384_SIZE);
	memcpy(peer->measurement, info.measurement, SHA384_SIZE);
	memcpy(peer->launch_id, info.launch_id, LAUNCH_ID_SIZE);
	launch_keys_hash(certificate->key.point, certificate->kem_point, peer->keys_hash);
	snprintf(out->name, sizeof(out->name), "%s", certificate->uri);
	memcpy(out->kem_point, certificate->kem_point, POINT_SIZE);
	memcpy(out->certificate_digest, certificate->digest, SHA256_SIZE);
	out->not_after = certificate->not_after;
	out->sign_key = key_ref(&certificate->key);
	return OK;
}

/*
 * Whose root may vouch for this peer says the manifest: the own one or those it lists. The engine has no say in names: it
 * compares with channel->expected_name, which check_leaf has settled by then.
 */
static result rooted_certificate(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected_name,
	uint64_t now, struct iecp_peer *out)
{
	struct channel *channel = ctx;
	struct runtime *rt = channel->runtime;
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(certificate_free) struct certificate certificate = CERTIFICATE_EMPTY;
	CLEANUP(key_free) struct key root = {0};
	static const struct epoch_floor any;
	struct root_view view;
	(void)expected_name;
	if (!foreign_allows(rt, channel->rule, epoch->rot_id))
		return fail(channel->rule->rot_rule == PEER_ROT_SAME ? CERTIFICATE_FOREIGN : ROOT_NOT_EXPECTED,
			"'%s' belongs to another root of trust than the manifest has for it", channel->spec.peer);
	TRY(foreign_view(rt, epoch->rot_id, &view));
	/* A peer that heard of a rotation before us: our host is about to tell us too. */
	TRY(epoch_await(rt, view.chain, epoch->oid));
	TRY(foreign_view(rt, epoch->rot_id, &view));
	TRY(foreign_live_key(&view, epoch->oid, &any, &root));
	const struct epoch_link *link = epoch_chain_find(view.chain, epoch->oid);
	if (epoch->era != link->era || epoch->epoch != link->epoch)
		return fail(CERTIFICATE_FOREIGN, "the peer gives its epoch a wrong number");
	TRY(certificate_parse(chain, &arena, &certificate));
	TRY(check_leaf(channel, &certificate, &root, epoch->rot_id, now));
	TRY(keep_leaf(channel, &certificate, epoch, &arena, out));
	out->epoch = *epoch;
	return OK;
}

static result verify_certificate(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected_name,
	uint64_t now, struct iecp_peer *out)
{
	struct channel *channel = ctx;
	TRY(iecp_anchor_certificate(&channel->anchor, chain, epoch, expected_name, now, out));
	memcpy(channel->peer.certificate, out->certificate_digest, SHA256_SIZE);
	return OK;
}

/* ---- Evidence ---------------------------------------------------------------------------------- */

/* How long the host has: never past the end of the channel that is being renewed. */
static int patience(const struct channel *channel)
{
	uint64_t now = runtime_time().steady_ms, until = channel->open ? iecp_channel_until(channel->open) : UINT64_MAX;
	uint64_t left = until > now ? until - now : 0;
	return revocation_patience(channel->runtime, left < RUNTIME_REPLY_MS ? (int)left : RUNTIME_REPLY_MS);
}

static bool is_on_other_host(const struct channel *channel)
{
	return !channel->spec.external && memcmp(channel->peer.rot_id, channel->runtime->prepare.rot_id, OID_SIZE) != 0;
}

/* Asked of the host in the middle of a handshake; only news of the root may come on the control socket meanwhile. */
static result produce_evidence(void *ctx, const uint8_t bind[static IECP_BIND_SIZE], struct writer *out)
{
	struct channel *channel = ctx;
	struct runtime *rt = channel->runtime;
	CLEANUP(control_message_free) struct control_message message = CONTROL_MESSAGE_EMPTY;
	struct control_evidence request;
	struct control_evidence_reply reply;
	struct span unused;
	memcpy(request.bind, bind, IECP_BIND_SIZE);
	TRY(runtime_send(rt, CONTROL_EVIDENCE, &request));
	rt->awaits_reply = true;
	result replied = runtime_expect(rt, CONTROL_EVIDENCE_REPLY, patience(channel), &message, &reply);
	rt->awaits_reply = false;
	if (replied == TIMED_OUT)
		TRY(revocation_check_lease(rt));
	if (replied == TIMED_OUT)
		return fail(TIMED_OUT, "the host does not answer for the secure processor");
	TRY(replied);
	struct evidence evidence = {reply.report, is_on_other_host(channel) ? platform_to_show(rt) : SPAN_EMPTY};
	schema_put(&evidence_schema, &evidence, out);
	return writer_finish(out, &unused);
}

/* Live evidence: of the head, or of the one before for a moment; never older than the head was when we asked. */
static result open_report(struct channel *channel, struct span object, struct arena *arena, struct report *out)
{
	struct runtime *rt = channel->runtime;
	CLEANUP(key_free) struct key key = {0};
	struct root_view view;
	TRY(object_peek(KIND_REPORT, object, arena, out, NULL));
	if (memcmp(out->rot_id, channel->peer.rot_id, OID_SIZE) != 0)
		return fail(EVIDENCE_MISMATCH, "it is of another root than the certificate");
	TRY(foreign_view(rt, out->rot_id, &view));
	TRY(epoch_await(rt, view.chain, out->epoch_oid));
	TRY(foreign_view(rt, out->rot_id, &view));
	TRY(foreign_live_key(&view, out->epoch_oid, &channel->floors[view.place], &key));
	TRY(object_open(KIND_REPORT, object, &key, arena, out, NULL));
	const struct epoch_link *link = epoch_chain_find(view.chain, out->epoch_oid);
	if (out->era != link->era || out->epoch != link->epoch)
		return fail(EVIDENCE_MISMATCH, "it gives its epoch a wrong number");
	return OK;
}

static void set_floor(struct channel *channel)
{
	foreign_floors(channel->runtime, channel->floors);
}

/* BI-01 to BI-05: this handshake, these keys, this launch, this run, the code that our manifest expects. */
static result check_evidence(const struct channel *channel, const struct report *report, const struct iecp_epoch *shown,
	const uint8_t bind[static IECP_BIND_SIZE])
{
	const struct runtime *rt = channel->runtime;
	const struct channel_peer *peer = &channel->peer;
	const struct launch *launch = &report->launch;
	if (report->purpose != REPORT_CHANNEL || !report->has_launch || !report->has_certificate)
		return fail(EVIDENCE_MISMATCH, "it was made for another purpose");
	if (!span_equal(report->challenge, span_of(bind, IECP_BIND_SIZE)))
		return fail(EVIDENCE_MISMATCH, "it was made for another channel");
	/* Between a rotation and its re-issue the two may name different certificates; the keys are the same. */
	bool same_epoch = memcmp(report->epoch_oid, shown->oid, OID_SIZE) == 0;
	if ((same_epoch && memcmp(report->certificate, peer->certificate, SHA256_SIZE) != 0) ||
		memcmp(launch->keys_hash, peer->keys_hash, SHA256_SIZE) != 0)
		return fail(EVIDENCE_MISMATCH, "it is about other keys than the peer's");
	if (memcmp(launch->launch_id, peer->launch_id, LAUNCH_ID_SIZE) != 0 ||
		memcmp(launch->core, peer->core, SHA384_SIZE) != 0 ||
		memcmp(launch->measurement, peer->measurement, SHA384_SIZE) != 0)
		return fail(EVIDENCE_MISMATCH, "it is about another launch than the peer's certificate");
	if (memcmp(launch->run_id, rt->prepare.run_id, RUN_ID_SIZE) != 0)
		return fail(EVIDENCE_MISMATCH, "the peer belongs to another run");
	if (strcmp(launch->name, channel->spec.peer) != 0)
		return fail(EVIDENCE_MISMATCH, "it is about '%s', not '%s'", launch->name, channel->spec.peer);
	if (memcmp(launch->core, channel->rule->core, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_NOT_ALLOWED, "'%s' runs other code than the manifest expects of it", launch->name);
	return OK;
}

static result appraise(void *ctx, struct span bytes, const uint8_t bind[static IECP_BIND_SIZE], struct iecp_peer *peer)
{
	struct channel *channel = ctx;
	CLEANUP(arena_free) struct arena arena = arena_of(256 * 1024);
	struct evidence evidence;
	struct report report;
	if (channel->spec.external)
		return channel->spec.uri ? iecp_appraise_by_authority(peer) : iecp_appraise_pinned(bytes, peer);
	TRY(schema_decode(&evidence_schema, bytes, &arena, &evidence));
	TRY(open_report(channel, evidence.report, &arena, &report));
	TRY(check_evidence(channel, &report, &peer->epoch, bind));
	TRY(platform_take_peer(channel->runtime, evidence.platform));
	channel->peer.confinement = confinement_of(report.launch.tier);
	channel->peer.interpreter_open = strcmp(report.launch.interpreter, "open") == 0;
	channel->peer.evidence_time = report.time;
	/* An instrumented build may be made to say anything (architecture.md). */
	channel->peer.level = platform_level_for(channel->runtime, &report);
	channel->peer.factors = policy_factors_of_level(channel->peer.level);
	peer->level = channel->peer.level;
	return OK;
}

/* ---- Policy ------------------------------------------------------------------------------------ */

static void fill_parties(const struct channel *channel, struct policy_request *request)
{
	const struct runtime *rt = channel->runtime;
	request->own = (struct policy_party){
		.name = span_str(rt->manifest.name),
		.proof = PROOF_ENDORSED,
		.rot_id = SPAN_ARRAY(rt->prepare.rot_id),
		.confinement = CONFINEMENT_N,
		.interpreter_open = strcmp(rt->manifest.interpreter, "open") == 0,
	};
	request->peer = (struct policy_party){.name = span_str(channel->spec.peer), .proof = PROOF_PINNED};
	if (channel->spec.external)
		return;
	request->peer.proof = PROOF_ENDORSED;
	request->peer.rot_id = SPAN_ARRAY(channel->peer.rot_id);
	request->peer.confinement = channel->peer.confinement;
	request->peer.interpreter_open = channel->peer.interpreter_open;
	request->peer_level = channel->peer.level;
	request->peer_factors = channel->peer.factors;
	request->peer_core = SPAN_ARRAY(channel->peer.core);
	request->references = rt->references;
	request->evidence_time_ms = channel->peer.evidence_time;
}

static result decide_at(const struct channel *channel, enum policy_resource resource, enum policy_direction direction,
	const char *operation, unsigned depth, uint64_t now_ms)
{
	struct span scope = span_str(channel->spec.edge);
	struct policy_decision decision;
	struct policy_request request = {
		.subject_kind = SUBJECT_ENCLAVE,
		.state = STATE_RUNNING,
		.resource = resource,
		.direction = direction,
		.operation = operation ? span_str(operation) : SPAN_EMPTY,
		.scopes = operation ? &scope : NULL,
		.scope_count = operation ? 1 : 0,
		.dac_depth = depth,
		.now_ms = now_ms,
	};
	fill_parties(channel, &request);
	if (resource == RESOURCE_OPERATION)
		TRY(policy_meter_of(channel->runtime, channel->spec.peer, &request));
	return policy_require(channel->runtime->policy, &request, &decision);
}

result channel_decide(const struct channel *channel, enum policy_resource resource, enum policy_direction direction,
	const char *operation, unsigned depth)
{
	return decide_at(channel, resource, direction, operation, depth, runtime_now_ms());
}

/* Whoever opened a channel connects, also when the other side renews its keys. */
static result decide_channel(const struct channel *channel, uint64_t now_ms)
{
	return decide_at(channel, RESOURCE_CHANNEL, channel->spec.initiator ? DIRECTION_CONNECT : DIRECTION_ACCEPT, NULL, 0, now_ms);
}

result channel_decide_again(const struct channel *channel)
{
	return decide_channel(channel, runtime_now_ms());
}

/*
 * Before evidence: would this peer be let in with the best it could show? Otherwise it gets no answer at all. What it
 * really shows is judged at the later gates.
 */
static result pre_check(const struct channel *channel)
{
	struct channel best = *channel;
	best.peer.level = 3;
	best.peer.factors = FACTOR_TPM | FACTOR_TEE;
	best.peer.confinement = CONFINEMENT_TEE;
	best.peer.evidence_time = runtime_now_ms();
	best.peer.interpreter_open = false;
	return decide_channel(&best, runtime_now_ms());
}

static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	struct channel *channel = ctx;
	TRY(revocation_check_peer(channel, peer));
	switch (question) {
	case IECP_MAY_ANSWER: set_floor(channel); return pre_check(channel);
	case IECP_MAY_REVEAL:
	case IECP_MAY_DELIVER: return decide_channel(channel, runtime_now_ms());
	}
	return fail(PEER_NOT_ALLOWED, "a question that nobody answers");
}

/* ---- Life -------------------------------------------------------------------------------------- */

/* By the key that signed its certificate, or by an authority that vouches for one name. */
static result anchor_external(struct channel *channel)
{
	const struct control_channel *spec = &channel->spec;
	TRY(key_from_point(SPAN_ARRAY(spec->point), &channel->pin));
	snprintf(channel->expected_name, sizeof(channel->expected_name), "%s", spec->uri ? spec->uri : spec->peer);
	channel->pin_rule = (struct iecp_pin){channel->expected_name, &channel->pin};
	channel->ca_rule = (struct iecp_ca){channel->expected_name, &channel->pin};
	channel->anchor.pins = &channel->pin_rule;
	channel->anchor.pin_count = !spec->uri;
	channel->anchor.cas = &channel->ca_rule;
	channel->anchor.ca_count = spec->uri != NULL;
	return OK;
}

static result set_up(struct channel *channel)
{
	struct runtime *rt = channel->runtime;
	const struct control_channel *spec = &channel->spec;
	channel->rule = runtime_peer(rt, spec->peer);
	if (!channel->rule) {
		/* The manifest's peers are the policy's, so the policy has the better words for it. */
		TRY(pre_check(channel));
		return fail(PEER_NOT_ALLOWED, "'%s' is not among the peers of the manifest", spec->peer);
	}
	channel->anchor = (struct iecp_anchor){.root_ctx = channel};
	memcpy(channel->peer.rot_id, rt->prepare.rot_id, OID_SIZE);
	if (spec->external) {
		static const uint8_t zero[SHA384_SIZE];
		if (memcmp(channel->rule->core, zero, sizeof(zero)) != 0)
			return fail(PEER_NOT_ALLOWED, "'%s' is an enclave of the manifest, not an external peer", spec->peer);
		TRY(anchor_external(channel));
	} else {
		snprintf(channel->expected_name, sizeof(channel->expected_name), "%s", spec->peer);
		channel->anchor.root = rooted_certificate;
	}
	channel->received = malloc(RECEIVE_BUFFER);
	return channel->received ? OK : fail(NO_MEMORY, "channel");
}

result channel_new(struct runtime *rt, const struct control_channel *spec, struct fd *socket, struct fd *memory,
	struct channel **out)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	if (!channel)
		return fail(NO_MEMORY, "channel");
	channel->runtime = rt;
	channel->spec = *spec;
	channel->socket = fd_move(socket);
	channel->sending.bytes = writer_growing(64u << 20);
	channel->held.bytes = writer_growing(2 * HOLD_MAX);
	channel->data = data_receiver_new();
	result made = transport_attach(channel, memory);
	if (made == OK)
		made = set_up(channel);
	if (made != OK) {
		channel_free(channel);
		return made;
	}
	*out = channel;
	return OK;
}

void channel_free(struct channel *channel)
{
	if (!channel)
		return;
	iecp_free(channel->handshake);
	iecp_channel_free(channel->open);
	key_free(&channel->pin);
	backlog_free(&channel->sending);
	backlog_free(&channel->held);
	bytes_free(&channel->path);
	data_receiver_free(&channel->data);
	call_link_free(channel->link);
	if (channel->received)
		wipe(channel->received, RECEIVE_BUFFER);
	free(channel->received);
	transport_free(channel);
	free(channel);
}

static enum iecp_pq pq_of(const struct runtime *rt)
{
	static const enum iecp_pq by_policy[] = {
		[POLICY_PQ_PREFER] = IECP_PQ_PREFER, [POLICY_PQ_OFF] = IECP_PQ_OFF, [POLICY_PQ_REQUIRE] = IECP_PQ_REQUIRE};
	struct policy_view own;
	policy_at(rt->policies[0].table, 0, &own);
	return by_policy[own.pq];
}

/* What the policy in force says of channels. */
static struct policy_channels channel_limits(const struct runtime *rt)
{
	struct policy_view own;
	policy_at(rt->policy, 0, &own);
	return own.channels;
}

/* What goes above the leaf for a peer outside is the host's word. Whoever is shown it judges it; nothing that cannot fit is shown. */
static result check_above(const struct channel *channel, struct span path)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(certificate_free) struct certificate leaf = CERTIFICATE_EMPTY, issuer = CERTIFICATE_EMPTY, above = CERTIFICATE_EMPTY;
	struct certificate all[CERTIFICATE_PATH_MAX];
	struct certificate *const places[] = {&leaf, &issuer, &above};
	struct reader r = reader_of(path);
	size_t count = 0;
	for (; reader_left(&r) > 0; count++) {
		struct span der;
		if (count == CERTIFICATE_PATH_MAX)
			return fail(CA_PATH, "more than %d certificates", CERTIFICATE_PATH_MAX);
		TRY(reader_lv(&r, CERTIFICATE_MAX, &der));
		TRY(count ? certificate_parse_ca(der, &arena, places[count]) : certificate_parse(der, &arena, places[count]));
		all[count] = *places[count];
	}
	return certificate_path_verify(all, count, NULL, runtime_now_ms()) == OK
		? OK
		: fail_within(ISSUER_MISSING, "what '%s' is to be shown does not fit this epoch", channel->spec.peer);
}

/* Before own_side: the path, made anew with each leaf. */
static result make_path(struct channel *channel)
{
	CLEANUP(writer_free) struct writer w = writer_growing(CERTIFICATE_PATH_MAX * (CERTIFICATE_MAX + 4));
	struct span path;
	if (channel->spec.above.len == 0 || (channel->path.len && channel->shown == channel->runtime->reissues))
		return OK;
	writer_lv(&w, channel->runtime->shown);
	writer_span(&w, channel->spec.above);
	TRY(writer_finish(&w, &path));
	TRY(check_above(channel, path));
	bytes_free(&channel->path);
	return writer_take(&w, &channel->path);
}

static struct iecp_config own_side(struct channel *channel)
{
	struct runtime *rt = channel->runtime;
	channel->shown = rt->reissues;
	return (struct iecp_config){
		.role = channel->spec.initiator ? IECP_INITIATOR : IECP_RESPONDER,
		.pq = pq_of(rt),
		.certificate = channel->path.len ? bytes_span(&channel->path) : rt->shown,
		.sign_key = &rt->sign,
		.kem_key = &rt->kem,
		.epoch = rt->shown_epoch,
		.own_name = rt->uri,
		.expected_name = channel->expected_name,
		.verifier = {channel, verify_certificate, produce_evidence, appraise, decide},
	};
}

result channel_begin(struct channel *channel)
{
	TRY(make_path(channel));
	struct iecp_config config = own_side(channel);
	set_floor(channel);
	TRY(iecp_new(&config, runtime_time(), &channel->handshake));
	return channel->spec.initiator ? iecp_start(channel->handshake, runtime_time(), &channel->sending.bytes) : OK;
}

result channel_receive(struct channel *channel, bool *out_ended)
{
	*out_ended = false;
	if (channel->received_from) {
		memmove(channel->received, channel->received + channel->received_from, channel->received_len);
		channel->received_from = 0;
	}
	if (channel->received_len == RECEIVE_BUFFER)
		return OK;
	size_t got;
	TRY(transport_receive(channel, channel->received + channel->received_len, RECEIVE_BUFFER - channel->received_len, &got, out_ended));
	channel->received_len += got;
	return OK;
}

static struct span buffered(const struct channel *channel)
{
	return span_of(channel->received + channel->received_from, channel->received_len);
}

static void consume(struct channel *channel, size_t len)
{
	channel->received_from += len;
	channel->received_len -= len;
}

static uint32_t any_of(uint64_t count)
{
	uint32_t drawn;
	random_bytes(&drawn, sizeof(drawn));
	return count ? (uint32_t)(drawn % count) : 0;
}

/* New keys rest on what was shown for them. */
static void handshake_done(struct channel *channel)
{
	struct policy_channels limits = channel_limits(channel->runtime);
	uint64_t often = limits.rekey_s * 1000;
	iecp_channel_keyupdate_after(channel->open, limits.keyupdate_bytes);
	channel->rests_on = channel->shown;
	channel->noticed = channel->shown;
	uint64_t now = runtime_time().steady_ms, life = iecp_channel_until(channel->open) - now;
	channel->checked_at = now;
	/* An hour as a rule: at some time between minutes 45 and 55. */
	channel->ageing_at = life < SHORT_LIFE_MS ? UINT64_MAX : now + life / 4 * 3;
	channel->renew_at = life < SHORT_LIFE_MS ? UINT64_MAX : channel->ageing_at + any_of(life / 6);
	/* The policy's own time is when to begin; what ends a channel is the hour. */
	if (often && life >= SHORT_LIFE_MS && often < life / 4 * 3) {
		channel->ageing_at = now + often / 4 * 3;
		channel->renew_at = channel->ageing_at + any_of(often / 4);
	}
}

/*
 * Which channels a later quantum computer could open. The host's log has those that could have been better: this side has the
 * post-quantum suite, its policy wants it, and the peer has none. What a machine without it does is no news.
 */
static void note_suite(const struct channel *channel)
{
	struct runtime *rt = channel->runtime;
	unsigned suite = iecp_channel_suite(channel->open);
	char text[256];
	log_info(suite == IECP_SUITE_HYBRID ? "a channel is open, post-quantum hybrid" : "a channel is open, classical",
		LOG_TEXT("edge", channel->spec.edge), LOG_TEXT("peer", channel->spec.peer), LOG_NUMBER("suite", suite));
	if (suite == IECP_SUITE_HYBRID || pq_of(rt) == IECP_PQ_OFF || !mlkem_available())
		return;
	snprintf(text, sizeof(text), "edge '%s': '%s' has no ML-KEM, the channel is classical", channel->spec.edge, channel->spec.peer);
	struct control_note body = {PQ_CLASSICAL, text};
	if (control_send(rt->control, CONTROL_NOTE, &control_note_schema, &body, NULL, 0, 0) != OK)
		failure_clear();
}

static bool is_over(const struct channel *channel)
{
	return channel->ended || (channel->finished && channel->closed_by_peer);
}

/* Only a peer that has shown who it is is told that there is no room for it. */
static result check_sessions(const struct channel *channel)
{
	const struct runtime *rt = channel->runtime;
	uint64_t limit = channel_limits(rt).sessions, open = 0;
	for (size_t i = 0; i < rt->channel_count; i++)
		open += rt->channels[i]->open && !is_over(rt->channels[i]);
	if (limit == 0 || open <= limit)
		return OK;
	runtime_blame(channel->runtime, channel->runtime->manifest.name);
	return fail(TOO_MANY_SESSIONS, "edge '%s' with '%s' would be channel %llu, the policy allows %llu", channel->spec.edge, channel->spec.peer,
		(unsigned long long)open, (unsigned long long)limit);
}

static result opened(struct channel *channel)
{
	TRY(check_sessions(channel));
	handshake_done(channel);
	note_suite(channel);
	TRY(make_path(channel));
	struct iecp_config config = own_side(channel);
	return iecp_rekey_configure(channel->open, &config);
}

result channel_handshake(struct channel *channel)
{
	while (!channel->open) {
		size_t size;
		if (iecp_is_complete(channel->handshake)) {
			TRY(iecp_take_channel(channel->handshake, &channel->open));
			iecp_free(channel->handshake);
			channel->handshake = NULL;
			return opened(channel);
		}
		TRY(iecp_frame_size(channel->handshake, buffered(channel), &size));
		if (size == 0 || size > channel->received_len)
			return OK;
		struct span frame = span_of(buffered(channel).data, size);
		TRY(iecp_receive(channel->handshake, frame, runtime_time(), &channel->sending.bytes));
		consume(channel, size);
	}
	return OK;
}

static result peer_alert(struct channel *channel, uint16_t alert)
{
	const struct reason_row *row = reason_row((enum reason)alert);
	if (row->reason == REVOKED || row->reason == LEASE_ENDED)
		return revocation_closed_by_peer(channel, row->reason);
	runtime_blame(channel->runtime, channel->spec.peer);
	return fail(PEER_ALERT, "'%s' gave up on edge '%s': %s", channel->spec.peer, channel->spec.edge, row->name);
}

/* ---- Re-handshakes ------------------------------------------------------------------------------ */

/* Its keys rest on another certificate than the one we show now. */
static bool is_stale(const struct channel *channel)
{
	return channel->rests_on != channel->runtime->reissues;
}

/* Its root has moved on, and it has not shown that yet. */
static bool is_peer_behind(const struct channel *channel)
{
	struct root_view view;
	if (channel->spec.external || foreign_view(channel->runtime, channel->peer.rot_id, &view) != OK)
		return false;
	return memcmp(iecp_channel_peer(channel->open)->epoch.oid, epoch_chain_head(view.chain)->oid, OID_SIZE) != 0;
}

/* Both ends of a channel have their grace from when they heard; a root that was stopped has none. */
static result require_standing(struct channel *channel)
{
	struct root_view view;
	if (channel->spec.external)
		return OK;
	result standing = foreign_view(channel->runtime, channel->peer.rot_id, &view);
	if (standing != OK) {
		runtime_blame(channel->runtime, channel->spec.peer);
		return fail_within(standing, "edge '%s' with '%s'", channel->spec.edge, channel->spec.peer);
	}
	if (is_stale(channel) && channel->runtime->rekey_by)
		iecp_channel_end_by(channel->open, channel->runtime->rekey_by);
	if (is_peer_behind(channel) && view.rekey_by)
		iecp_channel_end_by(channel->open, view.rekey_by);
	return OK;
}

/* As is_stale, or the peer has not shown its own new one yet. */
static bool is_behind(const struct channel *channel)
{
	return is_stale(channel) || is_peer_behind(channel);
}

/* What we show may only change between two re-handshakes. */
static result show_latest(struct channel *channel)
{
	if (channel->shown == channel->runtime->reissues || iecp_rekey_is_running(channel->open))
		return OK;
	TRY(make_path(channel));
	struct iecp_config config = own_side(channel);
	return iecp_rekey_configure(channel->open, &config);
}

static void note_finished(struct channel *channel)
{
	if (iecp_rekey_count(channel->open) == channel->handshakes)
		return;
	channel->handshakes = iecp_rekey_count(channel->open);
	handshake_done(channel);
	log_info("a channel was re-keyed in place", LOG_TEXT("edge", channel->spec.edge), LOG_TEXT("peer", channel->spec.peer),
		LOG_NUMBER("generation", iecp_channel_generation(channel->open, true)),
		LOG_NUMBER("epoch", iecp_channel_peer(channel->open)->epoch.epoch));
}

/* Each re-handshake is a generation of its own, all others began with KEYUPDATE. */
uint64_t channel_keyupdates(const struct channel *channel)
{
	return channel->open ? iecp_channel_generation(channel->open, true) - channel->handshakes : 0;
}

static result take_piece(struct channel *channel, struct span piece)
{
	TRY(show_latest(channel));
	result taken = iecp_rekey_receive(channel->open, piece, runtime_time(), &channel->sending.bytes);
	return taken == OK ? OK : fail_within(taken, "re-handshake of '%s' with '%s'", channel->spec.edge, channel->spec.peer);
}

static result start_renewal(struct channel *channel)
{
	TRY(show_latest(channel));
	set_floor(channel);
	result started = iecp_rekey_start(channel->open, runtime_time(), &channel->sending.bytes);
	if (started == ILLEGAL_STATE) { /* the peer's M1 is arriving */
		channel->renew_at = runtime_time().steady_ms + 1000;
		return OK;
	}
	return started == OK ? OK : fail_within(started, "re-handshake of '%s' with '%s'", channel->spec.edge, channel->spec.peer);
}

/* A re-issue is answered within half the grace, each channel at a time of its own. */
static void notice_reissue(struct channel *channel, uint64_t now)
{
	const struct runtime *rt = channel->runtime;
	if (!is_stale(channel) || channel->noticed == rt->reissues)
		return;
	channel->noticed = rt->reissues;
	uint64_t at = now + (rt->start_by > now ? any_of(rt->start_by - now) : 0);
	if (at < channel->renew_at)
		channel->renew_at = at;
}

/* Evidence that the policy will not take much longer. */
static void notice_age(struct channel *channel, uint64_t now)
{
	if (channel->spec.external || now < channel->checked_at + EVIDENCE_LEAD_MS / 2)
		return;
	channel->checked_at = now;
	if (decide_channel(channel, runtime_now_ms() + EVIDENCE_LEAD_MS) == EVIDENCE_TOO_OLD && now < channel->renew_at)
		channel->renew_at = now;
}

/* ---- Peers that take nothing ----------------------------------------------------------------------- */

/* Another enclave may well be busy for as long as its own limits let it, unless the policy has less patience. */
static uint64_t stalled_at(const struct channel *channel)
{
	uint64_t patience = channel_limits(channel->runtime).stall_s * 1000;
	if (patience == 0 && channel->spec.external)
		patience = STALL_OUTSIDE_MS;
	return patience && channel->waits_since ? channel->waits_since + patience : UINT64_MAX;
}

static result check_stall(const struct channel *channel, uint64_t now)
{
	if (now < stalled_at(channel))
		return OK;
	runtime_blame(channel->runtime, channel->spec.peer);
	return fail(PEER_STALLED, "'%s' has taken nothing of edge '%s' for %llu ms; %zu bytes wait for it", channel->spec.peer, channel->spec.edge,
		(unsigned long long)(now - channel->waits_since), channel->sending.bytes.len - channel->sending.at);
}

static void note_taken(struct channel *channel, size_t sent)
{
	if (backlog_is_empty(&channel->sending))
		channel->waits_since = 0;
	else if (sent || channel->waits_since == 0)
		channel->waits_since = runtime_time().steady_ms;
}

result channel_keep_fresh(struct channel *channel)
{
	uint64_t now = runtime_time().steady_ms;
	if (!channel->open || is_over(channel))
		return OK;
	TRY(require_standing(channel));
	TRY(revocation_keep(channel));
	TRY(check_stall(channel, now));
	if (now >= iecp_channel_until(channel->open)) {
		runtime_blame(channel->runtime, channel->spec.peer);
		return fail(REKEY_NEEDED, "edge '%s': no re-handshake with '%s' was finished in time", channel->spec.edge,
			channel->spec.peer);
	}
	notice_reissue(channel, now);
	notice_age(channel, now);
	if (now < channel->renew_at || iecp_rekey_is_running(channel->open))
		return OK;
	return start_renewal(channel);
}

uint64_t channel_due(const struct channel *channel)
{
	if (!channel->open || is_over(channel))
		return UINT64_MAX;
	uint64_t until = iecp_channel_until(channel->open), lease = revocation_due(channel->runtime);
	until = lease < until ? lease : until;
	until = stalled_at(channel) < until ? stalled_at(channel) : until;
	return !iecp_rekey_is_running(channel->open) && channel->renew_at < until ? channel->renew_at : until;
}

/* ---- Records ------------------------------------------------------------------------------------- */

/* What a record says to the channel itself; DATA is the caller's. */
static result take_record(struct channel *channel, const struct iecp_record *record)
{
	switch (record->type) {
	case IECP_ALERT: return peer_alert(channel, record->alert);
	case IECP_HS: return take_piece(channel, record->plain);
	case IECP_CLOSE: channel->closed_by_peer = true; return OK;
	case IECP_SWITCH: note_finished(channel); return OK;
	case IECP_DATA:
	case IECP_KEYUPDATE: return OK;
	}
	return fail(INTERNAL, "a record of type %d", (int)record->type);
}

/* The next record that is here whole, of any type. */
static result next_record(struct channel *channel, bool *out_have, struct iecp_record *out)
{
	size_t size;
	*out_have = false;
	TRY(iecp_record_size(channel->open, buffered(channel), &size));
	if (size == 0 || size > channel->received_len)
		return OK;
	uint8_t *at = channel->received + channel->received_from;
	TRY(iecp_open(channel->open, span_of(at, size), runtime_time().steady_ms, at + IECP_HEADER_SIZE, out));
	consume(channel, size);
	*out_have = true;
	return take_record(channel, out);
}

result channel_next(struct channel *channel, bool *out_have, struct span *out_plain)
{
	struct backlog *held = &channel->held;
	*out_have = !backlog_is_empty(held);
	if (*out_have) {
		*out_plain = span_of(held->bytes.data + held->at, held->bytes.len - held->at);
		held->at = held->bytes.len;
		return OK;
	}
	while (!channel->closed_by_peer || !channel->finished) {
		struct iecp_record record;
		bool have;
		TRY(next_record(channel, &have, &record));
		if (!have || record.type == IECP_CLOSE)
			return OK;
		if (record.type == IECP_DATA) {
			*out_have = true;
			*out_plain = record.plain;
			return OK;
		}
	}
	return OK;
}

bool channel_reads_ahead(const struct channel *channel)
{
	if (!channel->open || is_over(channel) || channel->held.bytes.len - channel->held.at >= HOLD_MAX)
		return false;
	return iecp_rekey_is_running(channel->open) || is_behind(channel) ||
		runtime_time().steady_ms >= channel->ageing_at;
}

/* What was handed out and not taken goes back. */
static void take_back(struct channel *channel)
{
	struct backlog *held = &channel->held;
	if (channel->plain.len == 0 && !backlog_is_empty(held))
		return;
	bool is_held = held->bytes.len && channel->plain.data >= held->bytes.data &&
		channel->plain.data <= held->bytes.data + held->bytes.len;
	if (is_held && channel->plain.len)
		memmove(held->bytes.data, channel->plain.data, channel->plain.len);
	held->bytes.len = is_held ? channel->plain.len : 0;
	held->at = 0;
	if (!is_held)
		writer_span(&held->bytes, channel->plain);
	channel->plain = SPAN_EMPTY;
}

result channel_read_ahead(struct channel *channel)
{
	bool have = true;
	take_back(channel);
	while (have && !is_over(channel)) {
		struct iecp_record record;
		TRY(next_record(channel, &have, &record));
		if (have && record.type == IECP_DATA)
			writer_span(&channel->held.bytes, record.plain);
	}
	return channel->held.bytes.failed ? fail(channel->held.bytes.failed, "data held back of '%s'", channel->spec.peer) : OK;
}

static result reserve(struct channel *channel, size_t len, uint8_t **out)
{
	struct writer *w = &channel->sending.bytes;
	if (backlog_is_empty(&channel->sending)) {
		w->len = 0;
		channel->sending.at = 0;
	}
	*out = writer_reserve(w, len);
	return *out ? OK : fail(w->failed, "sending to '%s'", channel->spec.peer);
}

/* The keys of this direction have carried as much as they may. */
static result update_keys(struct channel *channel, size_t len)
{
	uint8_t *out;
	if (!iecp_keyupdate_due(channel->open, len))
		return OK;
	TRY(reserve(channel, IECP_RECORD_OVERHEAD, &out));
	return iecp_seal_keyupdate(channel->open, out);
}

result channel_send(struct channel *channel, struct span plain)
{
	while (plain.len) {
		size_t len = plain.len < IECP_MAX_PLAIN ? plain.len : IECP_MAX_PLAIN;
		uint8_t *out;
		TRY(update_keys(channel, len));
		TRY(reserve(channel, len + IECP_RECORD_OVERHEAD, &out));
		TRY(iecp_seal(channel->open, span_of(plain.data, len), runtime_time().steady_ms, out));
		plain = span_of(plain.data + len, plain.len - len);
	}
	return OK;
}

/* The frame is built where it is sealed: one copy of the data. */
result channel_send_chunk(struct channel *channel, struct span bytes)
{
	uint8_t *out;
	struct span frame;
	size_t room = DATA_CHUNK_OVERHEAD + bytes.len;
	TRY(update_keys(channel, room));
	TRY(reserve(channel, room + IECP_RECORD_OVERHEAD, &out));
	struct writer plain = writer_fixed(out + IECP_HEADER_SIZE, room);
	TRY(data_put_chunk(bytes, &plain));
	TRY(writer_finish(&plain, &frame));
	TRY(iecp_seal(channel->open, frame, runtime_time().steady_ms, out));
	channel->sending.bytes.len -= room - frame.len;
	return OK;
}

result channel_close(struct channel *channel)
{
	uint8_t *out;
	TRY(reserve(channel, IECP_RECORD_OVERHEAD, &out));
	return iecp_seal_close(channel->open, out);
}

result channel_flush(struct channel *channel)
{
	struct backlog *sending = &channel->sending;
	while (!backlog_is_empty(sending)) {
		size_t sent;
		result r = transport_send(channel, span_of(sending->bytes.data + sending->at, sending->bytes.len - sending->at), &sent);
		if (r == PEER_CLOSED && !channel->spec.initiator && channel->finished) {
			/* A sender that has handed over everything need not wait for our CLOSE. */
			sending->at = sending->bytes.len;
			return OK;
		}
		if (r != OK) {
			runtime_blame(channel->runtime, channel->spec.peer);
			return r == PEER_CLOSED ? fail(r, "'%s' closed edge '%s'", channel->spec.peer, channel->spec.edge) : r;
		}
		sending->at += sent;
		note_taken(channel, sent);
		if (sent == 0)
			return OK;
	}
	return OK;
}

static result put_last_words(struct channel *channel, enum reason reason, const char *cause)
{
	if (!channel->spec.initiator || channel->link) {
		uint8_t *out;
		TRY(reserve(channel, IECP_ALERT_RECORD, &out));
		return iecp_seal_alert(channel->open, reason, out);
	}
	/* Not the text: it may quote what the program wrote, which was not meant for this peer. */
	struct data_abort abort = {(uint32_t)reason, reason_name(reason), cause[0] ? cause : channel->runtime->manifest.name};
	CLEANUP(writer_free) struct writer frame = writer_growing(64 * 1024);
	struct span bytes;
	TRY(data_put_abort(&abort, &frame));
	TRY(writer_finish(&frame, &bytes));
	TRY(channel_send(channel, bytes));
	return channel_close(channel);
}

void channel_give_up(struct channel *channel, enum reason reason, const char *cause)
{
	if (!channel->open || channel->finished || put_last_words(channel, reason, cause) != OK)
		return;
	for (int tries = 0; tries < 8 && channel_flush(channel) == OK && !backlog_is_empty(&channel->sending); tries++) {
		struct pollfd wait = {.fd = channel->socket.n, .events = transport_events(channel, false, true)};
		if (poll(&wait, 1, GIVE_UP_MS / 8) < 0)
			return;
	}
}
