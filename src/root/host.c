#include "root/host_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/seccomp.h"
#include "base/sock.h"
#include "crypto/random.h"
#include "root/host_tpm.h"
#include "root/host_upgrade.h"
#include "root/pins.h"
#include "root/program.h"
#include "root/rot_keys.h"
#include "root/state_file.h"
#include "store/slots.h"
#include "wire/text.h"

/* A TPM takes its time to make keys. */
enum { TPM_MS = 60 * 1000, START_MS = 15 * 1000, STOP_MS = 3000, LOCK_PAUSE_MS = 5 };

/* ---- Starting ---------------------------------------------------------------------------------- */

/* Whether there is no state yet, so that a wrap key may be made. */
static result is_fresh(const char *ap_dir, bool *out)
{
	char path[PATH_SIZE];
	struct stat at;
	TRY(path_join(path, ap_dir, "state"));
	*out = lstat(path, &at) != 0;
	return *out && errno != ENOENT ? fail_errno("'%s'", path) : OK;
}

static result open_state_file(const char *ap_dir, struct fd *out)
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(path_join(path, ap_dir, "state"));
	result opened = file_open(path, O_RDWR | O_NOFOLLOW, 0, &fd);
	if (opened == NOT_FOUND) {
		/* Formatted under another name first, so that a crash leaves no half-made state behind. */
		char fresh[PATH_SIZE];
		TRY(path_join(fresh, ap_dir, "state.new"));
		TRY(file_open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600, &fd));
		TRY(slots_format(fd.n, AP_STATE_SLOT));
		TRY(file_rename_durable(fresh, path, 0));
	} else {
		TRY(opened);
	}
	*out = fd_move(&fd);
	return OK;
}

/*
 * The lock belongs to the open file, which the secure processor inherits. So while one is alive, and be it for the moment
 * that it takes to die after its host, no second one writes over its state.
 */
static result lock_state(int fd, int timeout_ms)
{
	for (int waited = 0; waited < timeout_ms; waited += LOCK_PAUSE_MS) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return OK;
		if (errno != EWOULDBLOCK)
			return fail_errno("locking the state of the secure processor");
		nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_MS * 1000000}, NULL);
	}
	return fail(STATE_BUSY, "a secure processor of an earlier host still has it");
}

static result send_wrap_key(const char *ap_dir, const struct wrap_source *source, bool create, struct fd *out_read)
{
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	CLEANUP(fd_close) struct fd read_end = FD_NONE;
	CLEANUP(fd_close) struct fd write_end = FD_NONE;
	struct fd ends[2];
	enum wrap_kind kind;
	TRY(wrap_key_obtain(ap_dir, source, create, &key, &kind));
	TRY(fd_pipe(ends));
	read_end = ends[0];
	write_end = ends[1];
	TRY(write_all(write_end.n, secret_span(&key)));
	*out_read = fd_move(&read_end);
	return OK;
}

static result exchange_rings(struct root_host *host, struct span pairing, int bootstrap)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	if (pairing.len)
		TRY(ipq_create_sealed(IPQ_HOST, pairing, &host->queue));
	else
		TRY(ipq_create(IPQ_HOST, &host->queue));
	const int own[] = {ipq_fd(host->queue)};
	TRY(sock_send(bootstrap, span_str("ring"), own, 1, START_MS));
	result received = sock_receive(bootstrap, 16, 1, START_MS, &message);
	if (received == PEER_CLOSED)
		return fail(AP_STOPPED, "it ended while it started; its own message says why");
	TRY(received);
	if (message.fd_count != 1)
		return fail(AP_UNTRUSTED, "it sent %zu descriptors instead of its ring", message.fd_count);
	TRY(ipq_attach(host->queue, message.fds[0].n));
	ipq_drop_fd(host->queue);
	return OK;
}

static result check_program(struct root_host *host, const struct root_host_config *config, const struct pins *pins, bool *out_accept)
{
	bool changed = memcmp(pins->ap_digest, host->ap_digest, SHA384_SIZE) != 0;
	*out_accept = config->accept_digest && memcmp(config->accept_digest, host->ap_digest, SHA384_SIZE) == 0;
	result allowed = changed && !*out_accept ? host_upgrade_allows_ap(host->state_dir, host->ap_digest) : OK;
	if (allowed == SVN_TOO_LOW)
		return allowed; /* one that is known, and was forbidden since */
	if (allowed != OK) {
		char now[2 * SHA384_SIZE + 1];
		hex_encode(SPAN_ARRAY(host->ap_digest), now);
		return fail(AP_CHANGED, "troth-ap is now %s", now);
	}
	return OK;
}

/*
 * Before it is given the key of the state: a changed secure processor that nobody accepted or authorised would have the root's
 * secrets before it was refused. Whatever else is wrong is told by check_root.
 */
static result check_before_key(struct root_host *host, const struct root_host_config *config)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct pins pins;
	bool accept;
	if (config->recovery || pins_load(host->state_dir, &arena, &pins) != OK)
		return OK;
	return check_program(host, config, &pins, &accept);
}

static result start_process(struct root_host *host, const struct root_host_config *config)
{
	char ap_dir[PATH_SIZE], uid[24];
	CLEANUP(fd_close) struct fd program = FD_NONE;
	CLEANUP(fd_close) struct fd state = FD_NONE;
	CLEANUP(fd_close) struct fd wrap = FD_NONE;
	CLEANUP(fd_close) struct fd pairing_pipe = FD_NONE;
	CLEANUP(secret_free) struct secret pairing = SECRET_EMPTY;
	CLEANUP(fd_close) struct fd near_end = FD_NONE;
	CLEANUP(fd_close) struct fd far_end = FD_NONE;
	CLEANUP(fd_close) struct fd token = FD_NONE;
	CLEANUP(host_tpm_free) struct host_tpm tpm = HOST_TPM_NONE;
	struct fd pair[2];
	enum ipq_profile profile;
	enum wrap_kind kind;
	bool fresh, kept;
	TRY(path_join(ap_dir, config->state_dir, "ap"));
	TRY(file_make_dirs(ap_dir, 0700));
	TRY(host_queue_choose(ap_dir, config->queue, &profile));
	if (profile == IPQ_PROFILE_SEALED)
		TRY(host_queue_pair(&pairing, &pairing_pipe));
	TRY(program_copy(config->program_dir, "troth-ap", &program, host->ap_digest));
	TRY(check_before_key(host, config));
	TRY(host_token_start(host, &token));
	/* The key before the state: a start that fails in between is simply done again, while a state without its key is lost. */
	TRY(is_fresh(ap_dir, &fresh));
	TRY(wrap_kind_choose(ap_dir, &config->wrap, &kind, &kept));
	if (kind == WRAP_TPM)
		TRY(host_tpm_begin(ap_dir, &config->wrap, !kept, &tpm));
	else
		TRY(send_wrap_key(ap_dir, &config->wrap, fresh, &wrap));
	TRY(open_state_file(ap_dir, &state));
	TRY(lock_state(state.n, START_MS));
	TRY(sock_pair(pair));
	near_end = pair[0];
	far_end = pair[1];
	snprintf(uid, sizeof(uid), "%u", config->ap_uid);
	struct process_fd fds[] = {{2, 2}, {far_end.n, 3}, {state.n, 4}, {kind == WRAP_TPM ? tpm.order.n : wrap.n, 5}, {0, 0}, {0, 0}, {0, 0}};
	const char *argv[8] = {"troth-ap", "--serve-as", uid};
	size_t fd_count = 4, arguments = 3;
	if (pairing.len) {
		fds[fd_count++] = (struct process_fd){pairing_pipe.n, 6};
		argv[arguments++] = "--queue-sealed";
	}
	if (token.n >= 0) {
		fds[fd_count++] = (struct process_fd){token.n, 7};
		argv[arguments++] = "--token";
	}
	if (kind == WRAP_TPM) {
		fds[fd_count++] = (struct process_fd){tpm.device.n, 8};
		argv[arguments++] = "--tpm";
	}
	if (host->without_namespaces)
		argv[arguments++] = "--without-namespaces";
	struct process_spec spec = {
		.exec_fd = program.n,
		.argv = argv,
		.fds = fds,
		.fd_count = fd_count,
		.die_with_parent = true,
	};
	TRY(process_start(&spec, &host->process));
	fd_close(&far_end);
	fd_close(&token); /* the secure processor alone holds it, so that the worker ends with it */
	if (kind == WRAP_TPM)
		TRY(host_tpm_finish(ap_dir, &tpm, near_end.n, TPM_MS));
	TRY(exchange_rings(host, secret_span(&pairing), near_end.n));
	result greeted = host_queue_greet(host, host_deadline(START_MS));
	if (greeted == PEER_CLOSED || (greeted == TIMED_OUT && host_ap_has_ended(host)))
		return fail(AP_STOPPED, "it ended while it started (a wrong wrap key?); its own message says why");
	return greeted;
}

/* ---- Measuring and judging ---------------------------------------------------------------------- */

static result check_denials(const struct ap_health *health)
{
	if (health->denial_count == 0)
		return fail(AP_NOT_CONFINED, "it tried nothing");
	if (health->instrumented && !seccomp_instrumented())
		return fail(AP_NOT_CONFINED, "it is an instrumented build");
	/* An instrumented pair may open files, for its findings; whatever it endorses is Level-0. */
	for (size_t i = 0; i < health->denial_count && !health->instrumented; i++)
		if (!health->denials[i].refused)
			return fail(AP_NOT_CONFINED, "it could %s", health->denials[i].name);
	return OK;
}

/* The kernel's own view from outside: the value of one line of /proc/<pid>/status. */
static bool status_is(const char *status, const char *key, const char *value)
{
	const char *at = strstr(status, key);
	if (!at)
		return false;
	at += strlen(key);
	at += strspn(at, ":\t ");
	return strncmp(at, value, strlen(value)) == 0 && (at[strlen(value)] == '\n' || at[strlen(value)] == '\0');
}

/* Process 1 of the secure processor's namespace is the only child of what was started. */
static result find_inner(pid_t outer, pid_t *out)
{
	char path[64], text[64] = "";
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", outer, outer);
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_stream(fd.n, sizeof(text) - 1, &content));
	memcpy(text, content.data, content.len);
	*out = (pid_t)strtol(text, NULL, 10);
	return *out > 0 ? OK : fail(AP_NOT_CONFINED, "it runs in no process namespace of its own");
}

static result check_from_outside(pid_t outer, bool without_namespaces)
{
	char path[64], text[8192];
	pid_t inner;
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	if (without_namespaces)
		inner = outer;
	else
		TRY(find_inner(outer, &inner));
	snprintf(path, sizeof(path), "/proc/%d/status", inner);
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_stream(fd.n, sizeof(text) - 1, &content));
	memcpy(text, content.data, content.len);
	text[content.len] = '\0';
	static const struct {
		const char *key, *value, *what;
	} expected[] = {
		{"\nSeccomp", "2", "has no system-call filter"},
		{"\nNoNewPrivs", "1", "may gain privileges"},
		{"\nCapEff", "0000000000000000", "has capabilities"},
		{"\nCapBnd", "0000000000000000", "could regain capabilities"},
	};
	/* An ordinary user cannot empty its bounding set outside a namespace of its own; NoNewPrivs makes it worth nothing. */
	size_t count = COUNT_OF(expected) - (without_namespaces && geteuid() != 0);
	for (size_t i = 0; i < count; i++)
		if (!status_is(text, expected[i].key, expected[i].value))
			return fail(AP_NOT_CONFINED, "it %s", expected[i].what);
	if (geteuid() == 0)
		return OK; /* root may look into everything; the uid of its own is the wall then */
	snprintf(path, sizeof(path), "/proc/%d/mem", inner);
	CLEANUP(fd_close) struct fd memory = FD_NONE;
	if (file_open(path, O_RDONLY, 0, &memory) == OK)
		return fail(AP_NOT_CONFINED, "its memory can be read from outside");
	return OK;
}

static result extend(struct root_host *host, uint8_t index, struct span content)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct ap_extend request = {index, content, true};
	struct ap_extended reply;
	TRY(root_host_call(host, IPQ_EXTEND, &ap_extend_schema, &request, &ap_extended_schema, &arena, &reply));
	if (memcmp(reply.value, host->tcb.registers[index].value, SHA384_SIZE) != 0)
		return fail(AP_UNTRUSTED, "register %u is not what was extended", index);
	return OK;
}

/* A fresh challenge, signed under the pinned key: only the holder of the root answers it. */
result root_host_check(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct ap_attest request = {.purpose = "start"};
	struct ap_rot_available reply;
	struct rot_challenge answer;
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	random_bytes(request.challenge, sizeof(request.challenge));
	TRY(root_host_call(host, IPQ_ATTEST, &ap_attest_schema, &request, &ap_rot_available_schema, &arena, &reply));
	result opened = object_open(KIND_ROT_CHALLENGE, reply.challenge, &root->sign, &arena, &answer, NULL);
	if (opened != OK || memcmp(answer.challenge, request.challenge, sizeof(request.challenge)) != 0 ||
		memcmp(answer.epoch_oid, root->epoch_oid, OID_SIZE) != 0 || answer.boot_gen != host->boot_gen)
		return fail(AP_UNTRUSTED, "its answer to a challenge is not one of the pinned root");
	return OK;
}

/*
 * `init.pending` stands in the state folder from before GENERATE_ROT until the root is pinned, so that an init that was
 * killed in between is finished at the next start instead of leaving a root that nobody pinned.
 */
static result pending_path(const struct root_host *host, char out[static PATH_SIZE])
{
	return path_join(out, host->state_dir, "init.pending");
}

static bool init_was_interrupted(const struct root_host *host)
{
	char path[PATH_SIZE];
	return pending_path(host, path) == OK && access(path, F_OK) == 0;
}

/* Version 1 was of roots with one epoch and had no history: it begins with what was pinned. */
static result load_history(struct root_host *host, const struct pins *pins)
{
	snprintf(host->trust_domain, sizeof(host->trust_domain), "%s", pins->trust_domain);
	if (pins->v == 1)
		TRY(host_history_begin(host, pins->head));
	else
		TRY(host_history_load(host, &pins->history));
	if (memcmp(epoch_chain_rot_id(host->chain), pins->rot_id, OID_SIZE) != 0)
		return fail(HISTORY_DAMAGED, "the history is of another root than the pinned one");
	return host_put_chain_head(host);
}

/* The secure processor's record is not the head: is it older, newer, or another? */
static result follow_record(struct root_host *host, const struct ap_health *health)
{
	const struct epoch_link *head = epoch_chain_head(host->chain);
	struct history_note note = {1, clock_wall_ms(), head->era, head->epoch, EPOCH_OPERATOR, false,
		"found at the start: a change that was interrupted was finished"};
	bool changed, behind = health->era < head->era || (health->era == head->era && health->epoch < head->epoch);
	unsigned long long here = head->epoch, there = health->epoch;
	if (behind)
		return fail(STALE_STATE, "era %u epoch %llu is pinned, the secure processor has era %u epoch %llu", head->era, here,
			health->era, there);
	result followed = host_take_in(host, health->epoch_record, &note, NULL, 0, &changed);
	if (followed == EPOCH_FORKED || followed == EPOCH_HALTED || followed == DISK_FULL || followed == IO_ERROR)
		return followed;
	if (followed == EPOCH_SKIPPED)
		return fail(PIN_DAMAGED, "epoch %llu is pinned, the secure processor has epoch %llu: an old copy of the pin store was put back",
			here, there);
	if (followed != OK)
		return fail_within(AP_UNTRUSTED, "the secure processor's record is not the pinned one");
	if (changed)
		log_warning("an interrupted change of the root was finished", LOG_NUMBER("epoch", health->epoch));
	return host_put_chain_head(host);
}

static result check_chain(struct root_host *host, const struct ap_health *health)
{
	const struct epoch_link *head = epoch_chain_head(host->chain);
	if (health->epoch_record.len == 0)
		return fail(STALE_STATE, "epoch %llu is pinned, the secure processor has no root", (unsigned long long)head->epoch);
	if (memcmp(epoch_chain_rot_id(host->chain), health->rot_id, OID_SIZE) != 0)
		return fail(AP_UNTRUSTED, "the secure processor has another root than the pinned one");
	if (!span_equal(head->record, health->epoch_record))
		TRY(follow_record(host, health));
	return root_host_refusal(host); /* what stopped the chain earlier */
}

/* Old pins are believed in nothing; a recovery begins with what history there is. */
static result refuse_pins(struct root_host *host, const struct pins *pins, result reason)
{
	char text[512];
	snprintf(text, sizeof(text), "%s", failure_text());
	log_failure(LOG_LEVEL_WARNING, "the TPM does not confirm the pin store", reason);
	if (pins) {
		TRY(load_history(host, pins));
		host_stop_if_stopped(host);
	}
	return fail(reason, "%s", text);
}

/* What is pinned, what the history says and what the secure processor has must be one thing. */
static result check_root(struct root_host *host, const struct root_host_config *config, const struct ap_health *health, bool *out_accept)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct pins pins;
	*out_accept = false;
	result loaded = pins_load(host->state_dir, &arena, &pins);
	if (loaded == OK || loaded == NOT_FOUND) {
		result mirrored = host_check_mirror(host, loaded == OK ? &pins : NULL);
		if (mirrored != OK)
			return refuse_pins(host, loaded == OK ? &pins : NULL, mirrored);
	}
	if (loaded == NOT_FOUND && health->epoch_record.len == 0)
		return OK;
	if (loaded == NOT_FOUND && init_was_interrupted(host)) {
		snprintf(host->trust_domain, sizeof(host->trust_domain), "%s", health->trust_domain);
		TRY(host_history_begin(host, health->inception));
		return host_put_chain_head(host);
	}
	if (loaded == NOT_FOUND)
		return fail(PIN_DAMAGED, "the secure processor has a root, but the pin store is missing");
	TRY(loaded);
	TRY(load_history(host, &pins));
	if (!host->trust_domain[0])
		snprintf(host->trust_domain, sizeof(host->trust_domain), "%s", health->trust_domain);
	host_stop_if_stopped(host);
	TRY(check_chain(host, health));
	TRY(check_program(host, config, &pins, out_accept));
	TRY(host_put_chain_head(host));
	return pins.v == 1 || history_mark(host->history).count != pins.history.count ? host_pin(host) : OK;
}

static result export_inception(struct root_host *host)
{
	char path[PATH_SIZE];
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	TRY(path_join(path, host->state_dir, "inception.epoch"));
	return file_write_atomic(path, root->inception, 0644);
}

static result finish_init(struct root_host *host)
{
	char path[PATH_SIZE];
	TRY(pending_path(host, path));
	TRY(host_pin(host));
	TRY(export_inception(host));
	if (unlink(path) != 0 && errno != ENOENT)
		return fail_errno("removing '%s'", path);
	return file_sync_folder(host->state_dir);
}

result host_read_health(struct root_host *host, struct arena *arena, struct ap_health *out)
{
	return root_host_call(host, IPQ_HEALTH, NULL, NULL, &ap_health_schema, arena, out);
}

static result accept_measurements(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(4096);
	struct ap_done done;
	TRY(root_host_call(host, IPQ_ACCEPT_MEASUREMENTS, NULL, NULL, &ap_done_schema, &arena, &done));
	log_warning("the operator accepted changed programs", LOG_HEX("troth_ap", SPAN_ARRAY(host->ap_digest)));
	return host_pin(host);
}

/* A file that was not touched is not hashed again. */
static void look_at_programs(const struct root_host *host, struct host_program out[static HOST_PROGRAMS])
{
	static const char *const names[HOST_PROGRAMS] = {"troth-ap", "trothd", "troth-ire"};
	for (size_t i = 0; i < HOST_PROGRAMS; i++) {
		char path[PATH_SIZE];
		struct stat at;
		out[i] = (struct host_program){0};
		if (path_join(path, host->program_dir, names[i]) == OK && stat(path, &at) == 0)
			out[i] = (struct host_program){at.st_dev, at.st_ino, at.st_size, at.st_mtim, at.st_ctim};
	}
}

result host_measure_phases(struct root_host *host, const char *trust_domain)
{
	if (host->measured)
		return OK;
	look_at_programs(host, host->programs);
	TRY(tcb_measure(host->program_dir, trust_domain, host->without_namespaces, &host->tcb));
	if (memcmp(host->tcb.ap, host->ap_digest, SHA384_SIZE) != 0)
		return fail(AP_CHANGED, "troth-ap was exchanged while it was started");
	TRY(extend(host, REGISTER_AP, bytes_span(&host->tcb.ap_event)));
	TRY(extend(host, REGISTER_HOST, bytes_span(&host->tcb.host_event)));
	host->measured = true;
	return OK;
}

result root_host_check_programs(struct root_host *host)
{
	CLEANUP(tcb_free) struct tcb now = {0};
	struct host_program programs[HOST_PROGRAMS];
	look_at_programs(host, programs);
	if (memcmp(programs, host->programs, sizeof(programs)) == 0)
		return OK;
	TRY(tcb_measure(host->program_dir, host->trust_domain, host->without_namespaces, &now));
	if (memcmp(now.ap, host->tcb.ap, SHA384_SIZE) != 0 || memcmp(now.host, host->tcb.host, SHA384_SIZE) != 0 ||
		memcmp(now.ire, host->tcb.ire, SHA384_SIZE) != 0)
		return fail(MEASUREMENT_WRONG, "a program in '%s' is not the one that was measured when the host started", host->program_dir);
	memcpy(host->programs, programs, sizeof(programs));
	return OK;
}

/* A root that cannot go on is told, or kept for its recovery. */
static result stop_here(struct root_host *host, const struct root_host_config *config, const struct ap_health *health, result why)
{
	if (!config->recovery || why == DISK_FULL || why == IO_ERROR || why == NO_MEMORY || why == AP_STOPPED)
		return why;
	log_failure(LOG_LEVEL_WARNING, "started for a recovery only", why);
	host_refuse(host, why, failure_text());
	host_set_expected(host, (struct ipq_expected){health->era, health->epoch});
	return OK;
}

/* The set that was given with this start, if the phases do not match without it. */
static result authorise_measured(struct root_host *host, struct span set)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ap_authorise request = {.set = set};
	struct ap_authorised reply;
	return root_host_authorise(host, &request, &arena, &reply);
}

/* A changed secure processor that is ready was accepted or authorised: from now on it is the pinned one. */
static result pin_upgraded(struct root_host *host)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct pins pins;
	TRY(pins_load(host->state_dir, &arena, &pins));
	if (memcmp(pins.ap_digest, host->ap_digest, SHA384_SIZE) == 0)
		return OK;
	log_warning("an authorised upgrade runs now", LOG_HEX("troth_ap", SPAN_ARRAY(host->ap_digest)));
	return host_pin(host);
}

static result judge(struct root_host *host, const struct root_host_config *config)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct ap_health health;
	bool accept;
	TRY(host_read_health(host, &arena, &health));
	TRY(host_queue_check(host, health.epoch_record));
	TRY(check_denials(&health));
	TRY(check_from_outside(host->process.pid, host->without_namespaces));
	host->has_tpm = health.has_tpm;
	result checked = check_root(host, config, &health, &accept);
	if (health.refusal != OK) /* the TPM knows better than what lies on disk */
		checked = fail(reason_row((enum reason)health.refusal)->reason, "%s", health.failure);
	if (checked != OK)
		return stop_here(host, config, &health, checked);
	if (health.epoch_record.len == 0)
		return OK; /* measured at root_host_init or at a recovery, when the trust domain is known */
	TRY(root_host_check(host));
	TRY(host_measure_phases(host, health.trust_domain));
	TRY(host_read_health(host, &arena, &health));
	if (health.state == AP_FAILED && accept) {
		TRY(accept_measurements(host));
		TRY(host_read_health(host, &arena, &health));
	}
	if (health.state == AP_FAILED && config->authorise.len) {
		TRY(authorise_measured(host, config->authorise));
		TRY(host_read_health(host, &arena, &health));
	}
	if (health.state != AP_READY)
		return fail(MEASUREMENT_WRONG, "%s", health.failure);
	return init_was_interrupted(host) ? finish_init(host) : pin_upgraded(host);
}

static void host_free(struct root_host *host)
{
	process_free(&host->process);
	host_token_stop(host);
	ipq_free(&host->queue);
	tcb_free(&host->tcb);
	host_head_free(host);
	turns_destroy(&host->turns);
	pthread_mutex_destroy(&host->change_lock);
	bytes_free(&host->evidence.bytes);
	pthread_mutex_destroy(&host->head_lock);
	pthread_mutex_destroy(&host->list_lock);
	free(host);
}

static void make_locks(struct root_host *host)
{
	turns_init(&host->turns);
	pthread_mutex_init(&host->change_lock, NULL);
	pthread_mutex_init(&host->head_lock, NULL);
	pthread_mutex_init(&host->list_lock, NULL);
}

result root_host_start(const struct root_host_config *config, struct root_host **out)
{
	struct root_host *host = calloc(1, sizeof(*host));
	if (!host)
		return fail(NO_MEMORY, "host");
	host->process = PROCESS_NONE;
	host->token = PROCESS_NONE;
	make_locks(host);
	snprintf(host->state_dir, sizeof(host->state_dir), "%s", config->state_dir);
	snprintf(host->program_dir, sizeof(host->program_dir), "%s", config->program_dir);
	host->without_namespaces = config->without_namespaces;
	result started = config->authorise.len ? host_upgrade_take(config->state_dir, config->authorise, clock_wall_ms()) : OK;
	if (started == OK)
		started = start_process(host, config);
	if (started == OK)
		started = judge(host, config);
	if (started != OK) {
		host_free(host);
		return started;
	}
	*out = host;
	return OK;
}

void root_host_stop(struct root_host *host)
{
	struct process_end end;
	if (!host)
		return;
	/* Asked first, so that it writes the latest time it saw. */
	if (!host_ap_has_ended(host) &&
		ipq_call(host->queue, IPQ_SHUTDOWN, SPAN_EMPTY, host_deadline(STOP_MS), NULL, NULL, &host->message) == OK &&
		process_wait(&host->process, STOP_MS, &end) != OK)
		log_warning("the secure processor did not end in time");
	host_free(host);
}

/* ---- Initialisation ------------------------------------------------------------------------------ */

static result check_generated(struct root_host *host, const struct ap_generate *request, const struct ap_rot_available *reply,
	struct arena *arena)
{
	struct ap_health health;
	struct rot_challenge answer;
	TRY(host_read_health(host, arena, &health));
	if (!span_equal(health.epoch_record, reply->epoch_record))
		return fail(AP_UNTRUSTED, "it answered with one record and reports another");
	snprintf(host->trust_domain, sizeof(host->trust_domain), "%s", health.trust_domain);
	TRY(host_history_begin(host, health.epoch_record));
	TRY(host_put_chain_head(host));
	ROOT_IDENTITY_HELD root = root_host_hold(host);
	TRY(object_open(KIND_ROT_CHALLENGE, reply->challenge, &root->sign, arena, &answer, NULL));
	if (memcmp(answer.challenge, request->challenge, sizeof(request->challenge)) != 0 ||
		memcmp(answer.epoch_oid, root->epoch_oid, OID_SIZE) != 0)
		return fail(AP_UNTRUSTED, "its first answer is not over this challenge");
	if (memcmp(root->epoch.measurement, host->ap_digest, SHA384_SIZE) != 0)
		return fail(AP_UNTRUSTED, "its record names another measurement");
	return OK;
}

static void wipe_generate(struct ap_generate *request)
{
	wipe(request->host_share, sizeof(request->host_share));
	wipe(request->host_seed, sizeof(request->host_seed));
}

static result make_root(struct root_host *host, const struct root_host_init *init)
{
	ROOT_IDENTITY_HELD existing = root_host_hold(host);
	if (existing)
		return fail(ROOT_EXISTS, "epoch %llu", (unsigned long long)existing->epoch.epoch);
	TRY(host_token_check_init(host));
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(wipe_generate) struct ap_generate request = {
		.recovery = init->recovery,
		.has_recovery = init->has_recovery,
		.valid_ms = init->valid_ms,
		.grace_s = init->grace_s,
		.trust_domain = init->trust_domain,
	};
	struct ap_rot_available reply;
	char pending[PATH_SIZE];
	random_bytes(request.challenge, sizeof(request.challenge));
	random_bytes(request.host_seed, sizeof(request.host_seed));
	random_bytes(request.host_share, sizeof(request.host_share));
	TRY(host_measure_phases(host, init->trust_domain));
	/* The share is durable before the secure processor wraps anything with it. */
	TRY(host_keep_share(host, request.host_share));
	TRY(pending_path(host, pending));
	TRY(file_write_atomic(pending, SPAN_EMPTY, 0600));
	TRY(root_host_call(host, IPQ_GENERATE_ROT, &ap_generate_schema, &request, &ap_rot_available_schema, &arena, &reply));
	TRY(check_generated(host, &request, &reply, &arena));
	return finish_init(host);
}

result root_host_init(struct root_host *host, const struct root_host_init *init)
{
	pthread_mutex_lock(&host->change_lock);
	result made = make_root(host, init);
	pthread_mutex_unlock(&host->change_lock);
	TRY(made);
	host_publish(host, ROOT_MADE);
	return OK;
}

uint64_t root_host_boot_gen(const struct root_host *host)
{
	return host->boot_gen;
}

const uint8_t *root_host_ap_digest(const struct root_host *host)
{
	return host->ap_digest;
}

const uint8_t *root_host_ire_digest(const struct root_host *host)
{
	return host->tcb.ire;
}

const char *root_host_program_dir(const struct root_host *host)
{
	return host->program_dir;
}

int root_host_fd(const struct root_host *host)
{
	return host->process.pidfd.n;
}

pid_t root_host_pid(const struct root_host *host)
{
	return host->process.pid;
}

void root_host_set_revocations(struct root_host *host, struct revocation_feed *feed)
{
	host->revocations = feed;
}

struct revocation_feed *root_host_revocations(const struct root_host *host)
{
	return host->revocations;
}
