/*
 * The worker of the token in which the signing keys lie. It is started before the secure processor, which gets its socket. A PIN
 * that was refused is not tried again before its file changes, also by a service that is started again and again:
 * `ap/token.refused` says which file it was.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "root/host_internal.h"
#include "root/program.h"
#include "root/token_settings.h"

enum { MARK_SIZE = 160, TOKEN_START_MS = 60 * 1000 };

/* What tells one content of the PIN file from another without saying anything about the PIN. */
static result mark_of(const char *pin_file, char out[static MARK_SIZE])
{
	struct stat info;
	if (stat(pin_file, &info) != 0)
		return fail_errno("the PIN file %s", pin_file);
	snprintf(out, MARK_SIZE, "%llu %llu %lld.%09ld %lld.%09ld\n", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino,
		(long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec, (long long)info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
	return OK;
}

static result mark_path(const struct root_host *host, char out[static PATH_SIZE])
{
	char ap_dir[PATH_SIZE];
	TRY(path_join(ap_dir, host->state_dir, "ap"));
	return path_join(out, ap_dir, "token.refused");
}

static result check_not_refused(const struct root_host *host, const char *pin_file)
{
	char path[PATH_SIZE], mark[MARK_SIZE];
	CLEANUP(bytes_free) struct bytes before = BYTES_EMPTY;
	TRY(mark_path(host, path));
	TRY(mark_of(pin_file, mark));
	result got = file_read(path, MARK_SIZE, &before);
	if (got == NOT_FOUND)
		return OK;
	TRY(got);
	if (span_equal_str(bytes_span(&before), mark))
		return fail(TOKEN_PIN_WRONG, "the PIN in %s was refused before, and the file has not changed", pin_file);
	return OK;
}

static result note_refusal(const struct root_host *host, const char *pin_file)
{
	char path[PATH_SIZE], mark[MARK_SIZE];
	TRY(mark_path(host, path));
	TRY(mark_of(pin_file, mark));
	return file_write_atomic(path, span_str(mark), 0600);
}

/* Asks once, so that whoever started the host is told what is wrong with the token. The socket stays as it is. */
static result greet_worker(int socket, struct token_info *out)
{
	CLEANUP(fd_close) struct fd copy = FD_NONE;
	struct token *token;
	TRY(fd_duplicate(socket, &copy));
	TRY(token_attach(&copy, TOKEN_START_MS, &token));
	result answered = token_info(token, out);
	token_free(token);
	return answered;
}

static void tell(const struct token_info *info, const struct token_source *source)
{
	log_info("signing keys lie in a token", LOG_TEXT("token", info->label), LOG_TEXT("serial", info->serial),
		LOG_TEXT("module", source->module));
	if (!(info->confinement & TOKEN_IN_NAMESPACES))
		log_warning("the PKCS#11 module runs without namespaces of its own: it sees all files of this uid");
}

static result launch(struct root_host *host, const struct token_source *source, struct fd *out_socket)
{
	struct token_config config;
	struct token_info info;
	uint8_t digest[SHA384_SIZE];
	const char *const hidden[] = {host->state_dir, NULL};
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	CLEANUP(fd_close) struct fd program = FD_NONE;
	CLEANUP(fd_close) struct fd socket = FD_NONE;
	if (source->pin_file)
		TRY(token_source_pin(source->pin_file, &pin));
	TRY(token_source_config(source, &pin, &config));
	TRY(program_copy(host->program_dir, "troth-token", &program, digest));
	config.program_fd = program.n;
	config.hidden = hidden;
	TRY(token_launch(&config, &host->token, &socket));
	result greeted = greet_worker(socket.n, &info);
	if (greeted != OK)
		return greeted;
	if (!(info.abilities & TOKEN_SIGNS) || !(info.abilities & TOKEN_MADE))
		return fail(NOT_SUPPORTED, "the token '%s' cannot make P-256 keys and sign with them", info.label);
	tell(&info, source);
	*out_socket = fd_move(&socket);
	return OK;
}

result host_token_start(struct root_host *host, struct fd *out_socket)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	struct token_source source;
	result loaded = token_settings_load(host->state_dir, &arena, &source);
	if (loaded == NOT_FOUND)
		return OK;
	TRY(loaded);
	if (source.pin_file)
		TRY(check_not_refused(host, source.pin_file));
	result launched = launch(host, &source, out_socket);
	if (launched == TOKEN_PIN_WRONG && source.pin_file) {
		char text[512];
		snprintf(text, sizeof(text), "%s", failure_text());
		if (note_refusal(host, source.pin_file) != OK)
			log_failure(LOG_LEVEL_WARNING, "the refused PIN could not be noted; do not start again before it is corrected", launched);
		return fail(TOKEN_PIN_WRONG, "%s; the PIN comes from %s", text, source.pin_file);
	}
	return launched;
}

result host_token_check_init(const struct root_host *host)
{
	bool wanted = token_settings_there(host->state_dir), running = host->token.pid != 0;
	if (wanted == running)
		return OK;
	return fail(NOT_READY, "where signing keys lie was changed after this host was started; run `troth host stop` and start again");
}

void host_token_stop(struct root_host *host)
{
	struct process_end end;
	/* Its socket is closed with the secure processor, and that ends it. */
	if (host->token.pid && process_wait(&host->token, 3000, &end) != OK)
		failure_clear();
	process_free(&host->token);
}
