/*
 * What the verbs of `troth` share. A verb is one file: it parses (cmd/options.h), calls a library or the host, prints, and
 * returns the exit code of the program. argv begins behind the words of the verb.
 *
 *	int verb_example(int argc, char **argv)
 *	{
 *		CLEANUP(options_free) struct options options = {...};
 *		result done = options_parse(&options, argc, argv);
 *		if (done == OK && !options.help)
 *			done = example(...);
 *		return verb_end(done, argc, argv);
 *	}
 */
#ifndef TROTH_CMD_VERB_H
#define TROTH_CMD_VERB_H

#include "cmd/options.h"
#include "job/client.h"

/*
 * Prints the failure (if it is one) to stderr and returns the exit code:
 *	troth: REASON: context            or, with --json,   {"error":{"reason","code","text","sentence"}}
 *	  sentence that says what to do
 */
int verb_end(result done, int argc, char **argv);

/* As verb_end, with what a host's ERROR said beyond reason and text; `error` may be NULL. */
int verb_end_with(result done, const struct service_error *error, int argc, char **argv);

/* Options of every verb that talks to a host. Put HOST_ROWS(target) into its table. */
struct host_options {
	const char *state;
	const char *wrap;
	const char *tpm, *tpm_pcrs; /* of a wrap key in a TPM */
	uint64_t passphrase_fd; /* 0: none; stdin cannot be it */
	const char *first_uid;
	const char *confinement; /* `troth host init` */
	bool tpm_head; /* the same */
};
#define HOST_ROWS(target)                                                                                                                  \
	{"state", OPTION_TEXT, &(target)->state, "DIR", "state folder of the host (default: /var/lib/troth, or ~/.local/state/troth)"},    \
		{"passphrase-fd", OPTION_NUMBER, &(target)->passphrase_fd, "N",                                                            \
			"read the passphrase of the state folder from descriptor N"},                                                      \
		{"tpm", OPTION_TEXT, &(target)->tpm, "DEVICE",                                                                             \
			"where the TPM of the state folder is: /dev/tpmrm0, or unix:SOCKET"},                                              \
	{                                                                                                                                  \
		"first-uid", OPTION_TEXT, &(target)->first_uid, "UID", "as root: first of 1024 uids that nothing else uses (612000)"       \
	}

/* Connects to the host of the state folder, or to a private one. `accept` as in client_options. */
NODISCARD result verb_connect(const struct host_options *options, bool create, const char *accept, struct client *out);

/* As verb_connect, with whatever of `special` is not in the options of the verb. */
NODISCARD result verb_connect_with(const struct host_options *options, const struct client_options *special, struct client *out);

/* Only to a host that runs. HOST_NOT_RUNNING. */
NODISCARD result verb_attach(const struct host_options *options, struct client *out);

/* Reads what a person gives as ROLE=FILE. BAD_NAME, USAGE. `out_role` is copied into `arena`. */
NODISCARD result verb_split(const char *option, const char *word, struct arena *arena, const char **out_role, const char **out_rest);

/* Prints the digits, and nothing before or behind them. */
void verb_print_hex(struct span bytes);

/* The absolute path of a file that need not exist. */
NODISCARD result verb_absolute(const char *path, char out[static PATH_SIZE]);

int verb_host_init(int argc, char **argv);
int verb_tpm_believe(int argc, char **argv);
int verb_tpm_enrol(int argc, char **argv);
int verb_tpm_quote(int argc, char **argv);
int verb_tpm_verify(int argc, char **argv);
int verb_host_status(int argc, char **argv);
int verb_host_accept_ap(int argc, char **argv);
int verb_host_stop(int argc, char **argv);
int verb_host_enrol(int argc, char **argv);
int verb_host_peers(int argc, char **argv);
int verb_host_remove_peer(int argc, char **argv);
int verb_host_officers(int argc, char **argv);
int verb_host_approve(int argc, char **argv);
int verb_join(int argc, char **argv);
int verb_root_attest(int argc, char **argv);
int verb_root_ceremony(int argc, char **argv);
int verb_root_certify(int argc, char **argv);
int verb_root_export(int argc, char **argv);
int verb_root_halt(int argc, char **argv);
int verb_root_history(int argc, char **argv);
int verb_root_recover(int argc, char **argv);
int verb_root_rotate(int argc, char **argv);
int verb_root_set_recovery(int argc, char **argv);
int verb_root_status(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_exec(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_seal(int argc, char **argv);
int verb_trust_new(int argc, char **argv);
int verb_job_new(int argc, char **argv);
int verb_job_lint(int argc, char **argv);
int verb_key_new(int argc, char **argv);
int verb_key_show(int argc, char **argv);
int verb_grant_new(int argc, char **argv);
int verb_grant_delegate(int argc, char **argv);
int verb_grant_submit(int argc, char **argv);
int verb_grant_revoke(int argc, char **argv);
int verb_grant_list(int argc, char **argv);
int verb_grant_show(int argc, char **argv);
int verb_grant_explain(int argc, char **argv);
int verb_grant_names(int argc, char **argv);
int verb_ledger_submit(int argc, char **argv);
int verb_ledger_query(int argc, char **argv);
int verb_ledger_access(int argc, char **argv);
int verb_ledger_register(int argc, char **argv);
int verb_ledger_unregister(int argc, char **argv);
int verb_ledger_endorse(int argc, char **argv);
int verb_ledger_request(int argc, char **argv);
int verb_ledger_operation(int argc, char **argv);
int verb_ledger_config(int argc, char **argv);
int verb_ledger_apply(int argc, char **argv);
int verb_audit(int argc, char **argv);
int verb_ledger_certificate(int argc, char **argv);
int verb_ledger_checkpoint(int argc, char **argv);
int verb_ledger_init(int argc, char **argv);
int verb_ledger_prove(int argc, char **argv);
int verb_ledger_reindex(int argc, char **argv);
int verb_ledger_status(int argc, char **argv);
int verb_ledger_verify(int argc, char **argv);
int verb_ledger_verify_fork(int argc, char **argv);
int verb_ledger_witness(int argc, char **argv);
int verb_ledger_writer(int argc, char **argv);
int verb_ire_run(int argc, char **argv);
int verb_ire_list(int argc, char **argv);
int verb_channel_test(int argc, char **argv);
int verb_ire_stop(int argc, char **argv);
int verb_ire_measure(int argc, char **argv);
int verb_policy_lint(int argc, char **argv);
int verb_policy_explain(int argc, char **argv);
int verb_policy_diff(int argc, char **argv);
int verb_policy_test(int argc, char **argv);
int verb_policy_sign(int argc, char **argv);
int verb_policy_push(int argc, char **argv);
int verb_reference_new(int argc, char **argv);
int verb_reference_sign(int argc, char **argv);
int verb_reference_show(int argc, char **argv);
int verb_reference_lint(int argc, char **argv);
int verb_upgrade_plan(int argc, char **argv);
int verb_upgrade_authorise(int argc, char **argv);
int verb_upgrade_status(int argc, char **argv);
int verb_host_revocation_key(int argc, char **argv);
int verb_revoke_new(int argc, char **argv);
int verb_revoke_sign(int argc, char **argv);
int verb_revoke_load(int argc, char **argv);
int verb_revoke_list(int argc, char **argv);
int verb_revoke_show(int argc, char **argv);
int verb_host_backup(int argc, char **argv);
int verb_host_restore(int argc, char **argv);
int verb_root_verify_history(int argc, char **argv);
int verb_dac_get(int argc, char **argv);
int verb_dac_show(int argc, char **argv);
int verb_dac_verify(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_version(int argc, char **argv);

#endif
