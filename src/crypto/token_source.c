#include "crypto/token_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { PIN_MAX = 256, PEM_MAX = 64 * 1024, VALUE_MAX = 4096 };

/* HOME is where most of them look for a configuration of the user's. */
static const char *const known_variables[] = {"SOFTHSM2_CONF", "OPENSC_CONF", "PCSCLITE_CSOCK_NAME", "TPM2_PKCS11_STORE",
	"YUBIHSM_PKCS11_CONF", "ChrystokiConfigurationPath", "CS_PKCS11_R3_CFG", "CS_PKCS11_R2_CFG", "NFAST_HOME", "CKNFAST_LOADSHARING",
	"KRYOPTIC_CONF", "HOME"};

result token_source_environment(struct arena *arena, const char *const **out)
{
	void *list;
	size_t count = 0;
	TRY(arena_alloc(arena, COUNT_OF(known_variables) + 1, sizeof(char *), &list));
	const char **lines = list;
	for (size_t i = 0; i < COUNT_OF(known_variables); i++) {
		const char *value = getenv(known_variables[i]);
		size_t len = strlen(known_variables[i]) + 1 + (value ? strlen(value) : 0) + 1;
		void *line;
		if (!value || len > VALUE_MAX)
			continue;
		TRY(arena_alloc(arena, len, 1, &line));
		snprintf(line, len, "%s=%s", known_variables[i], value);
		lines[count++] = line;
	}
	lines[count] = NULL;
	*out = lines;
	return OK;
}

/* A pipe or terminal has no other readers; a file may have. */
static result check_readers(int fd, const char *path)
{
	struct stat info;
	if (fstat(fd, &info) != 0)
		return fail_errno("the PIN file %s", path);
	if (S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)))
		return fail(NO_PERMISSION, "others than its owner may use the PIN file %s; run `chmod 600` on it", path);
	return OK;
}

result token_source_pin(const char *pin_file, struct secret *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	result opened = file_open(pin_file, O_RDONLY, 0, &fd);
	if (opened != OK)
		return fail_within(opened, "the PIN file %s", pin_file);
	TRY(check_readers(fd.n, pin_file));
	result got = file_read_secret(fd.n, PIN_MAX, &pin);
	size_t len = pin.len;
	if (got == OK && pin.data[len - 1] == '\n')
		len--;
	if (got == OK && len == 0)
		got = fail(BAD_VALUE, "it is empty");
	if (got != OK)
		return fail_within(got, "the PIN file %s", pin_file);
	return secret_copy(span_of(pin.data, len), out);
}

result token_source_config(const struct token_source *source, const struct secret *pin, struct token_config *out)
{
	if (!source->module || source->module[0] != '/')
		return fail(BAD_VALUE, "the PKCS#11 module %s has no absolute path", source->module ? source->module : "(none)");
	*out = (struct token_config){
		.program_fd = -1,
		.module = source->module,
		.label = source->label,
		.serial = source->serial,
		.pin = secret_span(pin),
		.network = source->network,
		.writable = source->writable,
		.environment = source->environment,
	};
	return OK;
}

static result open_in_token(const struct signer_source *source, struct key *out)
{
	char program[PATH_SIZE];
	struct token_name name;
	struct token_config config;
	struct token *token;
	CLEANUP(secret_free) struct secret pin = SECRET_EMPTY;
	TRY(token_name_from_text(source->key_id, source->key_label, &name));
	TRY(path_join(program, source->program_dir, "troth-token"));
	if (source->token->pin_file)
		TRY(token_source_pin(source->token->pin_file, &pin));
	TRY(token_source_config(source->token, &pin, &config));
	config.program = program;
	TRY(token_start(&config, &token));
	result found = token_key(token, &name, out);
	token_free(token); /* the key has its own share */
	if (found == OK)
		return OK;
	char text[TOKEN_NAME_TEXT_SIZE];
	token_name_text(&name, text);
	return fail_within(found, "the key with %s", text);
}

static result open_pem(const char *path, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY, 0, &fd));
	TRY(file_read_secret(fd.n, PEM_MAX, &pem));
	return key_from_private_pem(secret_span(&pem), out);
}

result signer_open(const struct signer_source *source, struct key *out)
{
	if ((source->pem_file != NULL) == (source->token != NULL))
		return fail(USAGE, "a signing key is either a file or in a token");
	if (source->token)
		return open_in_token(source, out);
	result opened = open_pem(source->pem_file, out);
	return opened == OK ? OK : fail_within(opened, "the key file %s", source->pem_file);
}
