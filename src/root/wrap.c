#include "root/wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/random.h"
#include "crypto/stretch.h"
#include "root/rot_keys.h"

enum { KIND_MAX = 32, SALT_SIZE = 32, PASSPHRASE_MAX = 1024 };

static const char *const names[] = {"", "file", "keyring", "credential", "passphrase", "tpm"};

const char *wrap_kind_name(enum wrap_kind kind)
{
	return names[kind];
}

result wrap_kind_parse(const char *text, enum wrap_kind *out)
{
	for (size_t i = 1; i < COUNT_OF(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*out = (enum wrap_kind)i;
			return OK;
		}
	return fail(USAGE, "'%s' is no kind of wrap key; use file, keyring, credential, passphrase or tpm", text);
}

static result read_key_file(const char *path, struct secret *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(file_open(path, O_RDONLY | O_NOFOLLOW, 0, &fd));
	TRY(file_read_secret(fd.n, WRAP_KEY_SIZE, &key));
	if (key.len != WRAP_KEY_SIZE)
		return fail(NO_WRAP_KEY, "'%s' has %zu bytes instead of %d", path, key.len, WRAP_KEY_SIZE);
	*out = secret_move(&key);
	return OK;
}

static result new_key(struct secret *out)
{
	TRY(secret_new(WRAP_KEY_SIZE, out));
	random_bytes(out->data, out->len);
	return OK;
}

static result obtain_from_file(const char *ap_dir, bool create, struct secret *out)
{
	char path[PATH_SIZE];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	TRY(path_join(path, ap_dir, "wrap.key"));
	result found = read_key_file(path, &key);
	if (found == NOT_FOUND && create) {
		TRY(new_key(&key));
		TRY(file_write_atomic(path, secret_span(&key), 0600));
	} else if (found == NOT_FOUND) {
		return fail(NO_WRAP_KEY, "'%s' is missing", path);
	} else {
		TRY(found);
	}
	*out = secret_move(&key);
	return OK;
}

static result obtain_from_credential(struct secret *out)
{
	char path[PATH_SIZE];
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	if (!folder)
		return fail(NO_WRAP_KEY, "systemd gave no credentials folder; run as a unit with LoadCredentialEncrypted=troth-wrap:...");
	TRY(path_join(path, folder, "troth-wrap"));
	result read = read_key_file(path, out);
	return read == NOT_FOUND ? fail(NO_WRAP_KEY, "the unit has no credential troth-wrap") : read;
}

static result obtain_from_keyring(const char *ap_dir, bool create, struct secret *out)
{
	char description[PATH_SIZE];
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	snprintf(description, sizeof(description), "troth:%s", ap_dir);
	long id = syscall(SYS_request_key, "user", description, NULL, KEY_SPEC_USER_KEYRING);
	if (id < 0 && !create)
		return fail(NO_WRAP_KEY, "the user keyring has no key '%s'", description);
	if (id < 0) {
		TRY(new_key(&key));
		if (syscall(SYS_add_key, "user", description, key.data, key.len, KEY_SPEC_USER_KEYRING) < 0)
			return fail_errno("adding '%s' to the user keyring", description);
	} else {
		TRY(secret_new(WRAP_KEY_SIZE, &key));
		if (syscall(SYS_keyctl, KEYCTL_READ, id, key.data, key.len) != WRAP_KEY_SIZE)
			return fail(NO_WRAP_KEY, "the key '%s' of the user keyring is not %d bytes", description, WRAP_KEY_SIZE);
	}
	*out = secret_move(&key);
	return OK;
}

static result obtain_salt(const char *ap_dir, bool create, uint8_t out[static SALT_SIZE])
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes salt = BYTES_EMPTY;
	TRY(path_join(path, ap_dir, "wrap.salt"));
	result read = file_read(path, SALT_SIZE, &salt);
	if (read == NOT_FOUND && create) {
		random_bytes(out, SALT_SIZE);
		return file_write_atomic(path, span_of(out, SALT_SIZE), 0600);
	}
	TRY(read);
	if (salt.len != SALT_SIZE)
		return fail(NO_WRAP_KEY, "'%s' is damaged", path);
	memcpy(out, salt.data, SALT_SIZE);
	return OK;
}

static result obtain_from_passphrase(const char *ap_dir, int fd, bool create, struct secret *out)
{
	uint8_t salt[SALT_SIZE];
	CLEANUP(secret_free) struct secret passphrase = SECRET_EMPTY;
	CLEANUP(secret_free) struct secret key = SECRET_EMPTY;
	if (fd < 0)
		return fail(NO_WRAP_KEY, "this root is wrapped with a passphrase; give it with --passphrase-fd N");
	TRY(file_read_secret(fd, PASSPHRASE_MAX, &passphrase));
	struct span text = secret_span(&passphrase);
	while (text.len && text.data[text.len - 1] == '\n')
		text.len--;
	if (text.len == 0)
		return fail(NO_WRAP_KEY, "the passphrase is empty");
	TRY(obtain_salt(ap_dir, create, salt));
	TRY(secret_new(WRAP_KEY_SIZE, &key));
	TRY(stretch_passphrase(text, SPAN_ARRAY(salt), key.data, key.len));
	*out = secret_move(&key);
	return OK;
}

/* The kind that the folder was made with; WRAP_UNSAID for a new one. */
static result read_kind(const char *ap_dir, enum wrap_kind *out)
{
	char path[PATH_SIZE], text[KIND_MAX + 1] = "";
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	TRY(path_join(path, ap_dir, "wrap.kind"));
	result read = file_read(path, KIND_MAX, &content);
	*out = WRAP_UNSAID;
	if (read == NOT_FOUND)
		return OK;
	TRY(read);
	memcpy(text, content.data, content.len);
	text[strcspn(text, "\n")] = '\0';
	return wrap_kind_parse(text, out);
}

result wrap_kind_keep(const char *ap_dir, enum wrap_kind kind)
{
	char path[PATH_SIZE], text[KIND_MAX];
	TRY(path_join(path, ap_dir, "wrap.kind"));
	snprintf(text, sizeof(text), "%s\n", wrap_kind_name(kind));
	return file_write_atomic(path, span_str(text), 0600);
}

result wrap_kind_choose(const char *ap_dir, const struct wrap_source *source, enum wrap_kind *out, bool *out_stored)
{
	enum wrap_kind stored;
	TRY(read_kind(ap_dir, &stored));
	if (stored != WRAP_UNSAID && source->kind != WRAP_UNSAID && source->kind != stored)
		return fail(USAGE, "this state folder is wrapped with '%s', not '%s'", wrap_kind_name(stored),
			wrap_kind_name(source->kind));
	*out = stored != WRAP_UNSAID ? stored : source->kind != WRAP_UNSAID ? source->kind : WRAP_FILE;
	*out_stored = stored != WRAP_UNSAID;
	return OK;
}

result wrap_key_obtain(const char *ap_dir, const struct wrap_source *source, bool create, struct secret *out,
	enum wrap_kind *out_kind)
{
	enum wrap_kind kind;
	bool stored;
	TRY(wrap_kind_choose(ap_dir, source, &kind, &stored));
	switch (kind) {
	case WRAP_UNSAID:
	case WRAP_FILE: TRY(obtain_from_file(ap_dir, create, out)); break;
	case WRAP_KEYRING: TRY(obtain_from_keyring(ap_dir, create, out)); break;
	case WRAP_CREDENTIAL: TRY(obtain_from_credential(out)); break;
	case WRAP_PASSPHRASE: TRY(obtain_from_passphrase(ap_dir, source->passphrase_fd, create, out)); break;
	case WRAP_TPM: return fail(ILLEGAL_STATE, "the key that a TPM holds is not for the host");
	}
	*out_kind = kind;
	if (!stored && create) {
		result written = wrap_kind_keep(ap_dir, kind);
		if (written != OK)
			secret_free(out);
		return written;
	}
	return OK;
}
