/*
 * What troth-token and its one client say to each other (docs/PROTOCOL.token): a request, then its reply, over a
 * connected socket, each a u32 length and that many bytes. Both sides read and write through this file alone.
 *
 * Everything lives in the structures; nothing is allocated. A decoder refuses what is too long, unknown or left over:
 * TRUNCATED, TRAILING_BYTES, TOO_LARGE, BAD_VALUE, UNKNOWN_VERSION, NOT_SUPPORTED (a request of an unknown type).
 */
#ifndef TROTH_CRYPTO_TOKEN_MESSAGE_H
#define TROTH_CRYPTO_TOKEN_MESSAGE_H

#include "base/writer.h"
#include "crypto/hash.h"
#include "crypto/key.h"

enum {
	TOKEN_REQUEST_MAX = 1024,
	TOKEN_REPLY_MAX = 8 * 1024,
	TOKEN_ID_MAX = 32,
	TOKEN_LABEL_MAX = 64,
	TOKEN_LIST_MAX = 32, /* keys in one reply */
	TOKEN_RANDOM_MAX = 1024,
	TOKEN_TEXT_MAX = 512,
};

enum token_request_type {
	TOKEN_INFO = 1,
	TOKEN_LIST,
	TOKEN_FIND,
	TOKEN_GENERATE,
	TOKEN_SIGN,
	TOKEN_AGREE,
	TOKEN_DESTROY,
	TOKEN_RANDOM,
	TOKEN_CLOSE,
};

/* How a key is named: CKA_ID, CKA_LABEL or both; what is given must match, and match one key only. */
struct token_name {
	uint8_t id[TOKEN_ID_MAX];
	uint8_t id_len;
	char label[TOKEN_LABEL_MAX + 1]; /* printable ASCII */
};

enum token_ability {
	TOKEN_SIGNS = 1,
	TOKEN_AGREES = 2,
	TOKEN_KEEPS = 4, /* sensitive and not extractable, says the token */
	TOKEN_MADE = 8,	 /* generated in the token, says the token */
};

struct token_key {
	struct token_name name;
	uint8_t abilities; /* bits of enum token_ability */
	uint8_t point[POINT_SIZE];
};

/* What of the confinement is in force around the module. */
enum token_confinement {
	TOKEN_IN_NAMESPACES = 1,   /* own user, mount, pid, ipc and uts namespaces */
	TOKEN_WITHOUT_NETWORK = 2, /* own, empty network namespace */
	TOKEN_READ_ONLY = 4,	   /* files are read-only but for the folders that were named */
	TOKEN_CALLS_DENIED = 8,	   /* the list of denied system calls */
};

struct token_info {
	char label[33], manufacturer[33], model[17], serial[17]; /* without the padding; printable ASCII */
	uint8_t abilities; /* TOKEN_SIGNS, TOKEN_AGREES by mechanism, TOKEN_MADE: it generates P-256 keys */
	uint8_t confinement;
};

struct token_request {
	uint8_t type;
	uint32_t number; /* chosen by the client, comes back in the reply */
	struct token_name name; /* FIND, GENERATE, SIGN, AGREE, DESTROY */
	uint8_t uses;		/* GENERATE: TOKEN_SIGNS or TOKEN_AGREES or both */
	uint16_t first;		/* LIST: how many to leave out */
	uint16_t size;		/* RANDOM */
	uint8_t digest[SHA256_SIZE]; /* SIGN */
	uint8_t point[POINT_SIZE];   /* AGREE */
};

struct token_reply {
	uint8_t type; /* that of the request */
	uint32_t number;
	enum reason reason; /* OK, or why not: `text` */
	char text[TOKEN_TEXT_MAX + 1];
	struct token_info info;
	uint16_t total; /* LIST: keys in the token */
	uint8_t count;	/* LIST: how many of them follow */
	struct token_key keys[TOKEN_LIST_MAX]; /* LIST; FIND and GENERATE: the first */
	uint8_t signature[SIGNATURE_SIZE];     /* SIGN */
	uint8_t shared[ECDH_SIZE];	       /* AGREE */
	uint16_t size;			       /* RANDOM */
	uint8_t random[TOKEN_RANDOM_MAX];
};

/* A name from texts, of which either may be NULL: `id` in hexadecimal. BAD_VALUE. */
NODISCARD result token_name_from_text(const char *id_hex, const char *label, struct token_name *out);
/* Neither part holds anything that a name may not hold, and one of them is there. BAD_VALUE. */
NODISCARD result token_name_check(const struct token_name *name);
bool token_name_equal(const struct token_name *a, const struct token_name *b);
/* For people: "label 'x'", "id 0a0b", or both. */
enum { TOKEN_NAME_TEXT_SIZE = TOKEN_LABEL_MAX + 2 * TOKEN_ID_MAX + 24 };
void token_name_text(const struct token_name *name, char out[static TOKEN_NAME_TEXT_SIZE]);

void token_request_put(const struct token_request *request, struct writer *w);
NODISCARD result token_request_decode(struct span bytes, struct token_request *out);
void token_reply_put(const struct token_reply *reply, struct writer *w);
NODISCARD result token_reply_decode(struct span bytes, struct token_reply *out);

#endif
