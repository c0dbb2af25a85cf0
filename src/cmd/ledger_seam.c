/* Until the ledger's client is there, asking a ledger finds none; what works without one works. */
#include "cmd/ledger_options.h"
#include "ledger/place.h"

#define SEAM __attribute__((weak)) result

SEAM verb_ledger_open(const struct ledger_options *options, struct ledger_client **out)
{
	return fail(NOT_FOUND, "there is no ledger at '%s'; --chain signs without one", options->ledger ? options->ledger : "the state folder");
}
__attribute__((weak)) void ledger_client_free(struct ledger_client *client) {}
__attribute__((weak)) void ledger_client_cleanup(struct ledger_client **at) {}
__attribute__((weak)) const uint8_t *ledger_client_chain(const struct ledger_client *client)
{
	return NULL;
}
SEAM ledger_client_submit(struct ledger_client *client, struct span tx, struct ledger_receipt *out) { return NOT_FOUND; }
SEAM ledger_client_check(struct ledger_client *client, struct span tx, struct ledger_receipt *out) { return NOT_FOUND; }
SEAM ledger_client_find(struct ledger_client *client, const uint8_t txid[static OID_SIZE], struct ledger_receipt *out) { return NOT_FOUND; }
SEAM ledger_client_leaf(struct ledger_client *client, uint64_t index, struct bytes *out) { return NOT_FOUND; }
SEAM ledger_client_leaf_proof(struct ledger_client *client, uint64_t index, uint64_t size, struct bytes *out) { return NOT_FOUND; }
SEAM ledger_client_fact_proof(struct ledger_client *client, const uint8_t key[static SPARSE_KEY_SIZE], struct bytes *out) { return NOT_FOUND; }
SEAM ledger_client_fact(struct ledger_client *client, enum fact_type type, struct span id, struct arena *arena, void *out, bool *out_there,
	uint64_t *out_size)
{
	return NOT_FOUND;
}
SEAM ledger_client_config(struct ledger_client *client, struct arena *arena, struct ledger_config *out) { return NOT_FOUND; }
SEAM ledger_client_decide(struct ledger_client *client, const struct access_question *question, struct access_decision *out, uint64_t *out_size)
{
	return NOT_FOUND;
}
SEAM ledger_client_each(struct ledger_client *client, const struct ledger_filter *filter, ledger_visit *each, void *arg) { return NOT_FOUND; }
SEAM verb_ledger_place(const struct ledger_options *options, char out[static PATH_SIZE]) { return NOT_FOUND; }
__attribute__((weak)) const struct note_key *ledger_client_log_key(const struct ledger_client *client) { return NULL; }
__attribute__((weak)) bool ledger_place_is_ledger(const char *path) { return false; }
SEAM ledger_client_checkpoint(struct ledger_client *client, struct bytes *out_note, struct checkpoint *out) { return NOT_FOUND; }
SEAM ledger_client_checkpoint_at(struct ledger_client *client, uint64_t size, struct bytes *out_note, struct checkpoint *out) { return NOT_FOUND; }
SEAM ledger_client_consistency(struct ledger_client *client, struct span first_note, struct merkle_proof *out, struct bytes *out_second_note) { return NOT_FOUND; }
SEAM ledger_fork_evident(const struct note_key *log, struct span one, struct span other) { return NOT_FOUND; }
