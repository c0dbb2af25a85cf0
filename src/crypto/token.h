/*
 * Keys in a PKCS#11 token, reached through a worker process (troth-token), so that no other program loads foreign code.
 * docs/PROTOCOL.token has the bytes, docs/TOKENS.md what an operator sets up.
 *
 *   token_start   starts a worker, waits until it is logged in, and owns it
 *   token_launch  the same in two halves: the connected socket may go to another process (the secure processor),
 *   token_attach  which speaks through it with read, write and poll alone, if need be, and then ignores SIGPIPE
 *
 * A struct token may be used by several threads; requests go out one at a time. It is shared by the keys that came from it
 * (token_key) and by its owners: token_free gives one share up, the last ends the worker if there is one.
 *
 * Every request has a deadline of `timeout_ms`. TOKEN_UNAVAILABLE: the worker ended, does not answer in time, or the token
 * is gone; a late answer is thrown away and does no harm. TOKEN_PIN_WRONG and TOKEN_PIN_LOCKED come from the start alone:
 * do not start again with the same PIN, tokens lock after a few wrong ones.
 */
#ifndef TROTH_CRYPTO_TOKEN_H
#define TROTH_CRYPTO_TOKEN_H

#include "base/process.h"
#include "crypto/token_message.h"

struct token;

enum { TOKEN_TIMEOUT_MS = 30 * 1000, TOKEN_FOLDERS_MAX = 16 };

struct token_config {
	const char *program; /* troth-token, absolute, or NULL: `program_fd`, borrowed */
	int program_fd;
	const char *module; /* absolute path of the PKCS#11 module */
	const char *label, *serial; /* of the token; NULL: any, if there is only one */
	struct span pin; /* goes through a pipe; empty: none, or the token asks for it itself */
	bool network; /* for a token that is reached over a network */
	/* Folders that the module may write to; all else is read-only. Folders that it may not even see. NULL-terminated or NULL. */
	const char *const *writable, *const *hidden;
	/* "NAME=VALUE" that the module's configuration needs, such as SOFTHSM2_CONF. NULL-terminated; NULL: none. */
	const char *const *environment;
	uid_t uid; /* as root: the uid that the worker gets; 0: it keeps root's, without any capability */
	int timeout_ms; /* of each request; 0: TOKEN_TIMEOUT_MS */
};

/* BAD_VALUE; failures of process_start. The worker answers once it has logged in. */
NODISCARD result token_launch(const struct token_config *config, struct process *out_worker, struct fd *out_socket);
/* Takes the socket over. Makes no request and no system call that a confined process could not make later. */
NODISCARD result token_attach(struct fd *socket, int timeout_ms, struct token **out);
NODISCARD result token_start(const struct token_config *config, struct token **out);

struct token *token_ref(struct token *token);
void token_free(struct token *token); /* accepts NULL */

NODISCARD result token_info(struct token *token, struct token_info *out);
/* All P-256 keys; the caller frees the array. */
NODISCARD result token_list(struct token *token, struct token_key **out, size_t *out_count);
NODISCARD result token_find(struct token *token, const struct token_name *name, struct token_key *out);
/* The name needs both parts; ALREADY_EXISTS when the id is taken. */
NODISCARD result token_generate(struct token *token, const struct token_name *name, uint8_t uses, struct token_key *out);
NODISCARD result token_sign(struct token *token, const struct token_name *name, const uint8_t digest[static SHA256_SIZE],
	uint8_t out[static SIGNATURE_SIZE]);
/* `out` has room for ECDH_SIZE bytes of secret memory. */
NODISCARD result token_agree(struct token *token, const struct token_name *name, const uint8_t point[static POINT_SIZE],
	uint8_t out[static ECDH_SIZE]);
NODISCARD result token_destroy(struct token *token, const struct token_name *name);
NODISCARD result token_random(struct token *token, uint8_t *out, size_t len); /* at most TOKEN_RANDOM_MAX */

/*
 * A key of the token as any other private key: key_sign, object_sign, certificate_issue, key_agree go through the token.
 * NOT_FOUND. BAD_KEY when the token says that it can neither sign nor agree.
 */
NODISCARD result token_key(struct token *token, const struct token_name *name, struct key *out);
/* The same when the public half is known: makes no request. */
NODISCARD result token_key_known(struct token *token, const struct token_name *name, struct span point, struct key *out);

#endif
