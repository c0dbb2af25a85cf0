/*
 * What the verbs that sign for a ledger share: who is meant by a word, grant files, sending a transaction and printing what became of it.
 */
#ifndef TROTH_CMD_LEDGER_MAKING_H
#define TROTH_CMD_LEDGER_MAKING_H

#include "cmd/ledger_options.h"
#include "cmd/owner_key.h"
#include "ledger/grant_file.h"
#include "ledger/make.h"
#include "ledger/names.h"
#include "ledger/words.h"
#include "wire/json.h"

#define LEDGER_MAKING_MEMORY ((size_t)64 << 20)

/* The address book of the state folder (NULL: the default one). */
NODISCARD result names_path(const char *state, char out[static PATH_SIZE]);
NODISCARD result names_of_state(const char *state, struct arena *arena, struct names *out);

/* A name, an address, or a PEM file with the key (also a certificate). The failure names the option. */
NODISCARD result person_read(const struct names *names, const char *option, const char *word, uint8_t out[static ADDRESS_SIZE]);
/* The public key of a PEM file (a private one will do), a certificate, or its point in hex. */
NODISCARD result point_read(const char *option, const char *word, uint8_t out[static POINT_SIZE]);
/* Exactly `size` bytes in hex; the failure names `what`. BAD_VALUE. */
NODISCARD result digest_read(const char *what, const char *word, uint8_t *out, size_t size);

/* A grant file, opened; its bytes are borrowed by the chain. The failure names the file. */
NODISCARD result grant_read(const char *path, struct arena *arena, struct bytes *out_file, struct grant_chain *out);

/* Which ledger is signed for: --chain, for who works without a place, or the place's. */
struct chain_options {
	struct ledger_options ledger;
	const char *chain;
};
#define CHAIN_ROWS(target)                                                                                                                 \
	{"chain", OPTION_TEXT, &(target)->chain, "HEX", "the ledger's chain id, for signing without a place (`troth ledger status` shows it)"}, \
		LEDGER_ROWS(&(target)->ledger)
NODISCARD result chain_read(const struct chain_options *options, uint8_t out[static CHAIN_ID_SIZE]);

/* What becomes of a transaction that was made. */
struct sending_options {
	const char *tx;
	bool check;
};
#define SENDING_ROWS(target)                                                                                                               \
	{"tx", OPTION_TEXT, &(target)->tx, "FILE", "write the transaction there instead of sending it (then: `troth ledger submit`)"},        \
	{                                                                                                                                  \
		"check", OPTION_FLAG, &(target)->check, NULL, "ask what the ledger would say, and send nothing"                            \
	}

/*
 * Signs a transaction of `type` around `body`, and sends, checks or writes it as the options say. Prints the receipt, with
 * the fields of `about` (taken over; NULL: none) before it; `done` is what the people's line begins with. Whatever the ledger
 * refuses comes back as its reason.
 */
struct ledger_send {
	const struct chain_options *where;
	const struct sending_options *how;
	const struct key *sender;
	enum transaction_type type;
	const void *body;
	const char *done;
	json_t *about;
};
NODISCARD result ledger_send(const struct ledger_send *send, bool json);
/* The same for a transaction that is there already. */
NODISCARD result ledger_send_bytes(const struct chain_options *where, struct span tx, bool check, const char *done, json_t *about, bool json);

/* As every answer about a transaction: txid, code, reason, on_ledger, index, size, time, text. A new reference. */
json_t *receipt_json(const struct ledger_receipt *receipt);

/* Prints and gives the reference up. */
NODISCARD result print_json_of(json_t *json);
json_t *json_address(const uint8_t address[static ADDRESS_SIZE]);
/* Every field of a grant, its oid and issuer; `names` puts names beside addresses. */
json_t *grant_json(const struct names *names, const struct grant_link *link);
void grant_print(const struct names *names, const struct grant_link *link, const char *indent);

/* Writes a new file. ALREADY_EXISTS. */
NODISCARD result output_write(const char *path, struct span content, mode_t mode);

#endif
