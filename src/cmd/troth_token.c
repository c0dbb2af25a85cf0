/*
 * troth-token: loads one PKCS#11 module and serves one client with the keys of one token (crypto/token.h starts it). The
 * module is foreign code, so this process holds nothing else: it inherits
 *   3  the client's socket
 *   4  a pipe with the PIN; closed after reading
 * and takes away its own rights before the module is loaded, as far as an unknown module lets it: own namespaces without
 * a network, files read-only but for named folders, no capabilities, no dumps, a list of denied calls. What of this is in
 * force is told to the client. Where the machine refuses namespaces the rest still holds.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/isolate.h"
#include "base/log.h"
#include "base/seccomp.h"
#include "crypto/crypto.h"
#include "crypto/token.h"
#include "crypto/token_worker.h"

enum { CLIENT_FD = 3, PIN_FD = 4, PIN_BYTES_MAX = 256 };

#ifdef TROTH_INSTRUMENTED
/* The leak checker needs ptrace, and foreign modules leak. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

struct settings {
	struct token_module_config module;
	const char *writable[TOKEN_FOLDERS_MAX + 1], *hidden[TOKEN_FOLDERS_MAX + 1];
	size_t writable_count, hidden_count;
	bool network;
	uid_t uid;
};

static result drop_uid(uid_t uid)
{
	/* Namespaces need a dumpable process for their maps, which isolate_drop_uid sees to. */
	return uid ? isolate_drop_uid(uid) : OK;
}

/* Every step is tried; what the machine refuses is told, not hidden. */
static result confine(const struct settings *settings, uint8_t *out_in_force)
{
	CLEANUP(seccomp_filter_free) struct seccomp_filter filter = SECCOMP_FILTER_NONE;
	uint8_t in_force = 0;
	TRY(seccomp_foreign_filter_new(settings->network, &filter));
	TRY(drop_uid(settings->uid));
	result namespaces = isolate_enter_namespaces_with(settings->network);
	if (namespaces == OK) {
		TRY(isolate_enter_pid_namespace());
		TRY(isolate_limit_files(settings->writable, settings->hidden));
		in_force |= TOKEN_IN_NAMESPACES | TOKEN_READ_ONLY | (settings->network ? 0 : TOKEN_WITHOUT_NETWORK);
	} else {
		log_failure(LOG_LEVEL_WARNING, "the module runs without namespaces of its own", namespaces);
	}
	TRY(isolate_drop_capabilities());
	TRY(isolate_no_dumps());
	TRY(seccomp_install(&filter));
	*out_in_force = in_force | TOKEN_CALLS_DENIED;
	return OK;
}

/* A hanging module must not outlive its deadline; process 1 of a namespace ignores SIGALRM unless it has a handler. */
static void give_up(int signal)
{
	_exit(EXIT_ENVIRONMENT);
}

static result set_signals(void)
{
	struct sigaction alarm_action = {.sa_handler = give_up}, ignore = {.sa_handler = SIG_IGN};
	struct sigaction end = {.sa_handler = give_up};
	if (sigaction(SIGALRM, &alarm_action, NULL) != 0 || sigaction(SIGTERM, &end, NULL) != 0 || sigaction(SIGPIPE, &ignore, NULL) != 0)
		return fail_errno("signal handlers");
	return OK;
}

/* What the module prints goes nowhere; our own lines go where standard error went. */
static result redirect_output(void)
{
	CLEANUP(fd_close) struct fd nothing = FD_NONE;
	struct fd own = FD_NONE;
	TRY(fd_duplicate(STDERR_FILENO, &own));
	log_to(own.n); /* open until the end */
	TRY(file_open("/dev/null", O_RDWR, 0, &nothing));
	if (dup2(nothing.n, STDERR_FILENO) < 0)
		return fail_errno("standard error");
	return OK;
}

/* file_read_secret refuses an empty file, which here means that there is no PIN. */
static result read_pin(struct secret *out)
{
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	result got = file_read_secret(PIN_FD, PIN_BYTES_MAX, &pin);
	close(PIN_FD);
	if (got == BAD_VALUE)
		return OK;
	TRY(got);
	*out = secret_move(&pin);
	return OK;
}

static result open_module(struct settings *settings, struct token_module **out)
{
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	TRY(read_pin(&pin));
	settings->module.pin = secret_span(&pin);
	alarm(TOKEN_CALL_SECONDS);
	result opened = token_module_open(&settings->module, out);
	alarm(0);
	settings->module.pin = SPAN_EMPTY;
	return opened;
}

static result serve(struct settings *settings)
{
	struct token_module *module = NULL;
	uint8_t confinement = 0;
	result ready = confine(settings, &confinement);
	if (ready == OK)
		ready = set_signals();
	if (ready == OK)
		ready = redirect_output();
	if (ready == OK) {
		crypto_warm_up();
		ready = open_module(settings, &module);
	}
	if (ready != OK) {
		token_worker_refuse(CLIENT_FD, ready);
		return ready;
	}
	result served = token_worker_serve(CLIENT_FD, module, confinement);
	token_module_close(module);
	return served;
}

static int usage(int code)
{
	fprintf(code ? stderr : stdout,
		"usage: troth-token --serve MODULE [--uid N] [--token LABEL] [--serial NUMBER] [--network]\n"
		"                   [--writable FOLDER]... [--hidden FOLDER]...\n"
		"The worker around one PKCS#11 module. Programs of Troth start it, with their socket and\n"
		"the PIN as inherited descriptors; by hand it is of no use.\n");
	return code;
}

static bool take_folder(const char *value, const char **list, size_t *count)
{
	if (*count == TOKEN_FOLDERS_MAX || value[0] != '/')
		return false;
	list[(*count)++] = value;
	return true;
}

static bool take_uid(const char *value, uid_t *out)
{
	if (value[0] == '\0' || strlen(value) > 9 || strspn(value, "0123456789") != strlen(value))
		return false;
	*out = (uid_t)strtoul(value, NULL, 10);
	return true;
}

static bool take_option(const char *option, const char *value, struct settings *s)
{
	if (strcmp(option, "--serve") == 0 && value[0] == '/') {
		s->module.path = value;
		return true;
	}
	if (strcmp(option, "--token") == 0)
		return (s->module.label = value) != NULL;
	if (strcmp(option, "--serial") == 0)
		return (s->module.serial = value) != NULL;
	if (strcmp(option, "--uid") == 0)
		return take_uid(value, &s->uid);
	if (strcmp(option, "--writable") == 0)
		return take_folder(value, s->writable, &s->writable_count);
	return strcmp(option, "--hidden") == 0 && take_folder(value, s->hidden, &s->hidden_count);
}

static bool read_settings(int argc, char **argv, struct settings *out)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--network") == 0)
			out->network = true;
		else if (i + 1 < argc && take_option(argv[i], argv[i + 1], out))
			i++;
		else
			return false;
	}
	return out->module.path != NULL;
}

int main(int argc, char **argv)
{
	static struct settings settings;
	log_configure(LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "troth-token");
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(EXIT_OK);
	if (!read_settings(argc, argv, &settings) || fcntl(CLIENT_FD, F_GETFD) < 0 || fcntl(PIN_FD, F_GETFD) < 0)
		return usage(EXIT_USAGE);
	result served = serve(&settings);
	if (served != OK)
		log_failure(LOG_LEVEL_ERROR, "stopped", served);
	return reason_row(served)->exit;
}
