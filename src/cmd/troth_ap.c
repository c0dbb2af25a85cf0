/*
 * troth-ap: the secure processor as a confined process. It inherits these descriptors and nothing else:
 *   3  bootstrap socket: our ring goes out, the host's ring comes in; closed after that
 *   4  state file (two slots, store/slots.h)
 *   5  pipe with the wrap key; closed after reading
 *   6  with --queue-sealed: pipe with the pairing secret of the queue; closed after reading
 *   7  with --token: socket of the worker of a PKCS#11 token (crypto/token.h), in which the signing keys lie
 *   8  with --tpm: the TPM, which holds the wrap key then; the pipe says how (root/tpm_order.h)
 * With --without-namespaces (tier L) its call filter alone confines it: it opens, connects and starts nothing either way.
 * In this order (constructions/objects.md): own uid, own namespaces, empty root, no capabilities, undumpable; only then
 * the wrap key is read, the filter is installed, and the first byte of the queue is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/isolate.h"
#include "base/log.h"
#include "base/seccomp.h"
#include "base/sock.h"
#include "crypto/crypto.h"
#include "crypto/token.h"
#include "root/ap_tpm.h"
#include "root/ap_worker.h"
#include "root/ipq.h"
#include "root/rot_keys.h"
#include "root/state_file.h"
#include "root/tpm_order.h"
#include "store/slots.h"

enum { BOOTSTRAP_FD = 3, STATE_FD = 4, WRAP_FD = 5, PAIRING_FD = 6, TOKEN_FD = 7, TPM_FD = 8, TOKEN_MS = 8 * 1000, BOOTSTRAP_MS = 10 * 1000 };

#ifdef TROTH_INSTRUMENTED
/* The leak checker stops the world with ptrace, which nothing here may do; tests of the engines look for leaks. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

static result confine(uid_t uid, bool without_namespaces)
{
	if (without_namespaces)
		TRY(isolate_drop_bounds());
	TRY(isolate_drop_uid(uid));
	if (!without_namespaces) {
		TRY(isolate_enter_namespaces());
		TRY(isolate_enter_pid_namespace());
	}
	/* After the last fork: nothing secret, and no context of the library that may hold some, crosses one. */
	crypto_warm_up();
	if (!without_namespaces)
		TRY(isolate_empty_root());
	TRY(isolate_drop_capabilities());
	return isolate_no_dumps();
}

static result exchange_rings(struct ipq *queue)
{
	CLEANUP(sock_message_free) struct sock_message message = SOCK_MESSAGE_EMPTY;
	const int own[] = {ipq_fd(queue)};
	TRY(sock_send(BOOTSTRAP_FD, span_str("ring"), own, 1, BOOTSTRAP_MS));
	TRY(sock_receive(BOOTSTRAP_FD, 16, 1, BOOTSTRAP_MS, &message));
	if (message.fd_count != 1)
		return fail(BAD_VALUE, "the host sent %zu descriptors instead of its ring", message.fd_count);
	TRY(ipq_attach(queue, message.fds[0].n));
	ipq_drop_fd(queue);
	close(BOOTSTRAP_FD);
	return OK;
}

/* What a confined secure processor must not be able to do; each is tried, not looked up. */
static bool denied_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) < 0;
}
static bool denied_socket(void)
{
	return syscall(SYS_socket, AF_INET, SOCK_STREAM, 0) < 0;
}
static bool denied_unix_socket(void)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) < 0;
}
static bool denied_exec(void)
{
	return syscall(SYS_execve, "/bin/true", NULL, NULL) < 0;
}
static bool denied_fork(void)
{
	long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0)
		syscall(SYS_exit_group, 0);
	return child < 0;
}
static bool denied_ptrace(void)
{
	return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0) < 0;
}
static bool denied_kill(void)
{
	return syscall(SYS_kill, -1, 0) < 0;
}
static bool denied_mount(void)
{
	return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL) < 0;
}
static bool denied_unshare(void)
{
	return syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */) < 0;
}
static bool denied_dumpable(void)
{
	return syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0) < 0;
}

static const struct {
	const char *name;
	bool (*try)(void);
	bool instrumented_may; /* on the list of instrumented builds: not tried there, as it would succeed and stay */
} denials[] = {
	{"open a path", denied_open, true},
	{"make a network socket", denied_socket},
	{"make a Unix socket", denied_unix_socket},
	{"execute a program", denied_exec},
	{"make a process", denied_fork, true},
	{"ptrace", denied_ptrace, true},
	{"signal other processes", denied_kill},
	{"mount", denied_mount},
	{"enter new namespaces", denied_unshare},
	{"become dumpable", denied_dumpable, true},
};

static bool provoke_denials(struct ap_denial out[static COUNT_OF(denials)])
{
	bool all = true;
	for (size_t i = 0; i < COUNT_OF(denials); i++) {
		bool may = denials[i].instrumented_may && seccomp_instrumented();
		out[i] = (struct ap_denial){denials[i].name, !may && denials[i].try()};
		all &= out[i].refused;
	}
	return all;
}

struct processor {
	struct ipq *queue;
	struct slots slots; /* of this thread, or of the worker while it has a rotation */
	struct ap *ap;
	struct token *token; /* NULL: keys from seeds */
	struct ap_worker *worker;
	struct ap_tpm tpm;
	bool has_tpm;
	bool rotating;
	uint64_t rotation_id; /* the request that began it, and is answered when it is done */
	struct ipq_message message;
};

static result write_state(void *slots, struct span state)
{
	return slots_write(slots, state);
}

static void nudge_queue(void *processor)
{
	struct processor *p = processor;
	ipq_nudge(p->queue);
}

static result reply(struct processor *p, uint64_t id, const struct ap_action *action)
{
	if (action->kind == AP_REPLY)
		return ipq_reply(p->queue, id, action->reply, UINT64_MAX);
	return ipq_reply_error(p->queue, id, action->reason, action->text, UINT64_MAX);
}

/* The epoch changes here, between two requests. */
static result finish_rotation(struct processor *p, struct ap_rotation *rotation)
{
	struct ap_action action;
	if (!rotation)
		return OK;
	p->rotating = false;
	ap_rotated(p->ap, rotation, clock_wall_ms(), &action);
	return reply(p, p->rotation_id, &action);
}

/* Where its keys come from and what lies between it and the host. */
struct start {
	uid_t uid;
	bool queue_sealed, token, tpm, without_namespaces;
};

static result start_engine(struct processor *p, const struct start *start, const struct secret *wrap_key, const struct ap_denial *tried)
{
	CLEANUP(bytes_free) struct bytes state = BYTES_EMPTY;
	struct ap_action action;
	TRY(slots_read(&p->slots, &state));
	struct ap_config config = {
		.state = bytes_span(&state),
		.wrap_key = wrap_key,
		.instrumented = seccomp_instrumented(),
		.without_namespaces = start->without_namespaces,
		.secret_memory = secret_memory_name(secret_memory()),
		.token = p->token,
		.denials = tried,
		.denial_count = COUNT_OF(denials),
		.platform = p->has_tpm ? &p->tpm.platform : NULL,
	};
	TRY(ap_new(&config, clock_wall_ms(), &p->ap, &action));
	ap_persisted(p->ap, slots_write(&p->slots, action.persist), &action);
	if (action.kind == AP_REPLY_ERROR)
		return fail(action.reason, "counting this start: %s", action.text);
	uint64_t deadline = clock_monotonic_ns() + BOOTSTRAP_MS * 1000000ULL;
	if (ipq_profile(p->queue) == IPQ_PROFILE_SEALED)
		return ipq_greet_reply_sealed(p->queue, ap_boot_gen(p->ap), deadline, ap_sign_queue_hello, p->ap);
	return ipq_greet_reply(p->queue, ap_boot_gen(p->ap), deadline);
}

/* While a rotation is under way it is looked for at least this often, should its nudge be missed. */
static const uint64_t LOOK_NS = 1000 * 1000;

static result next_request(struct processor *p)
{
	for (;;) {
		if (p->rotating)
			TRY(finish_rotation(p, ap_worker_take(p->worker)));
		uint64_t deadline = p->rotating ? clock_monotonic_ns() + LOOK_NS : UINT64_MAX;
		result got = ipq_receive(p->queue, &p->message, deadline);
		if (got != TIMED_OUT)
			return got;
	}
}

static result answer(struct processor *p)
{
	struct ap_action action;
	/* Its state is the last one written: after a rotation, not beside one. */
	if (p->rotating && p->message.type == IPQ_SHUTDOWN)
		TRY(finish_rotation(p, ap_worker_await(p->worker)));
	ap_tick(p->ap, clock_monotonic_ns() / 1000000);
	ap_step(p->ap, p->message.type, ipq_payload(&p->message), clock_wall_ms(), &action);
	wipe(p->message.data, p->message.len);
	if (action.kind == AP_ROTATE) {
		p->rotating = true;
		p->rotation_id = p->message.id;
		ap_worker_give(p->worker, action.rotation);
		return OK;
	}
	if (action.kind == AP_PERSIST)
		ap_persisted(p->ap, slots_write(&p->slots, action.persist), &action);
	return reply(p, p->message.id, &action);
}

static result serve(struct processor *p)
{
	do {
		TRY(next_request(p));
		TRY(answer(p));
	} while (p->message.type != IPQ_SHUTDOWN);
	return OK;
}

static result start_worker(struct processor *p)
{
	struct ap_worker_config config = {
		.write = write_state,
		.write_context = &p->slots,
		.wake = nudge_queue,
		.wake_context = p,
	};
	return ap_worker_start(&config, &p->worker);
}

/* After the last fork: the kernel knows by process who takes part in the queue's memory barriers. */
static result open_queue(bool sealed, struct ipq **out)
{
	CLEANUP(secret_free) struct secret pairing = SECRET_EMPTY;
	if (!sealed)
		return ipq_create(IPQ_AP, out);
	TRY(file_read_secret(PAIRING_FD, IPQ_PAIRING_SIZE, &pairing));
	close(PAIRING_FD);
	return ipq_create_sealed(IPQ_AP, secret_span(&pairing), out);
}

/* A worker that ended is an answer like others, not a signal. */
static result open_token(struct processor *p)
{
	struct fd socket = fd_of(TOKEN_FD);
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return fail_errno("SIGPIPE");
	return token_attach(&socket, TOKEN_MS, &p->token);
}

/* The wrap key out of the TPM. The host hears how it went before it hears anything else. */
static result obtain_from_tpm(struct processor *p, struct secret *out)
{
	CLEANUP(secret_free) struct secret order = SECRET_EMPTY;
	CLEANUP(bytes_free) struct bytes keep = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer answer = writer_growing(2 * TPM_ORDER_MAX);
	struct span bytes;
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return fail_errno("SIGPIPE");
	TRY(file_read_secret(WRAP_FD, TPM_ORDER_MAX, &order));
	result opened = ap_tpm_open(TPM_FD, secret_span(&order), &p->tpm, out, &keep);
	p->has_tpm = opened == OK;
	tpm_answer_put(&answer, opened, opened == OK ? bytes_span(&keep) : span_str(failure_text()));
	TRY(writer_finish(&answer, &bytes));
	TRY(sock_send(BOOTSTRAP_FD, bytes, NULL, 0, BOOTSTRAP_MS));
	return opened;
}

static result obtain_wrap_key(struct processor *p, bool tpm, struct secret *out)
{
	if (tpm)
		TRY(obtain_from_tpm(p, out));
	else
		TRY(file_read_secret(WRAP_FD, WRAP_KEY_SIZE, out));
	if (out->len != WRAP_KEY_SIZE)
		return fail(TRUNCATED, "a wrap key of %zu bytes", out->len);
	close(WRAP_FD);
	return OK;
}

static result run(struct processor *p, const struct start *start)
{
	CLEANUP(secret_free) struct secret wrap_key = SECRET_EMPTY;
	CLEANUP(seccomp_filter_free) struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	static struct ap_denial tried[COUNT_OF(denials)];
	TRY(seccomp_filter_new(SECCOMP_AP, 0, &filter));
	TRY(confine(start->uid, start->without_namespaces));
	TRY(open_queue(start->queue_sealed, &p->queue));
	if (start->token)
		TRY(open_token(p));
	TRY(start_worker(p));
	/* From here on, secrets. Memory for them is mapped now, while the calls for it are still allowed. */
	TRY(obtain_wrap_key(p, start->tpm, &wrap_key));
	TRY(exchange_rings(p->queue));
	TRY(slots_open(STATE_FD, AP_STATE_SLOT, &p->slots));
	TRY(seccomp_install(&filter));
	if (!provoke_denials(tried))
		log_warning("something was not refused; the host will not trust this process");
	TRY(start_engine(p, start, &wrap_key, tried));
	secret_free(&wrap_key);
	result served = serve(p);
	return served == PEER_CLOSED ? OK : served;
}

/* For people: what of the confinement works here. Uses no key and no state. */
static int selftest(void)
{
	struct ap_denial tried[COUNT_OF(denials)];
	CLEANUP(seccomp_filter_free) struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	result confined = seccomp_filter_new(SECCOMP_AP, 0, &filter);
	if (confined == OK)
		confined = confine(isolate_is_root() ? 65532 : 0, false);
	if (confined == OK)
		confined = seccomp_install(&filter);
	if (confined != OK) {
		fprintf(stderr, "troth-ap: %s: %s\n", reason_name(confined), failure_text());
		return reason_row(confined)->exit;
	}
	bool all = provoke_denials(tried);
	for (size_t i = 0; i < COUNT_OF(denials); i++) {
		/* Not stdio: it asks for more calls than the filter allows. */
		char line[80];
		int len = snprintf(line, sizeof(line), "%-24s %s\n", tried[i].name, tried[i].refused ? "refused" : "ALLOWED");
		if (write_all(STDOUT_FILENO, span_of(line, (size_t)len)) != OK)
			return EXIT_ENVIRONMENT;
	}
	return all ? EXIT_OK : EXIT_REFUSED;
}

static int usage(int code)
{
	fprintf(code ? stderr : stdout,
		"usage: troth-ap --selftest\n"
		"The secure processor. `trothd host` starts it; by hand only its self-test is of use:\n"
		"it confines itself and shows that what must be refused is refused.\n");
	return code;
}

static bool read_start(int argc, char **argv, struct start *out)
{
	if (argc < 3 || strcmp(argv[1], "--serve-as") != 0 || strspn(argv[2], "0123456789") != strlen(argv[2]))
		return false;
	out->uid = (uid_t)strtoul(argv[2], NULL, 10);
	for (int i = 3; i < argc; i++) {
		bool sealed = strcmp(argv[i], "--queue-sealed") == 0, token = strcmp(argv[i], "--token") == 0, tpm = strcmp(argv[i], "--tpm") == 0;
		bool alone = strcmp(argv[i], "--without-namespaces") == 0;
		out->queue_sealed |= sealed;
		out->token |= token;
		out->tpm |= tpm;
		out->without_namespaces |= alone;
		if (!sealed && !token && !tpm && !alone)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	static struct processor processor;
	struct start start = {0};
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "troth-ap");
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(EXIT_OK);
	if (argc == 2 && strcmp(argv[1], "--selftest") == 0)
		return selftest();
	if (!read_start(argc, argv, &start))
		return usage(EXIT_USAGE);
	result ran = run(&processor, &start);
	if (ran != OK)
		log_failure(LOG_LEVEL_ERROR, "stopped", ran);
	ap_worker_stop(processor.worker);
	ap_free(processor.ap);
	if (processor.has_tpm)
		ap_tpm_close(&processor.tpm);
	token_free(processor.token);
	ipq_free(&processor.queue);
	return reason_row(ran)->exit;
}
