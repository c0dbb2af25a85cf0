/* troth: the command line. One table of verbs; each is a file of its own. */
#include <stdio.h>
#include <string.h>

#include "cmd/verb.h"
#include "crypto/crypto.h"

static const struct command {
	const char *noun, *verb; /* verb NULL: the noun stands alone */
	int (*run)(int argc, char **argv);
	const char *description;
} commands[] = {
	{"run", NULL, verb_run, "run a job; leaves its results and one receipt"},
	{"join", NULL, verb_join, "take part in a job that another host coordinates"},
	{"exec", NULL, verb_exec, "run one program; leaves a receipt"},
	{"verify", NULL, verb_verify, "check a receipt against a trust file, offline"},
	{"show", NULL, verb_show, "draw what a receipt says"},
	{"inspect", NULL, verb_inspect, "look into a receipt, an object or a job"},
	{"seal", NULL, verb_seal, "seal a secret to one enclave of a job"},
	{"trust", "new", verb_trust_new, "make a trust file from a root, a job and its files"},
	{"job", "new", verb_job_new, "turn a shell pipeline into a job file"},
	{"job", "lint", verb_job_lint, "check a job file and what it names"},
	{"ire", "measure", verb_ire_measure, "measure the enclaves of a job, or a command"},
	{"ire", "run", verb_ire_run, "launch a job's enclaves to stay"},
	{"ire", "list", verb_ire_list, "the enclaves that live on this host"},
	{"ire", "stop", verb_ire_stop, "end enclaves that stay"},
	{"channel", "test", verb_channel_test, "what both ends of a channel between two live enclaves say of it"},
	{"policy", "lint", verb_policy_lint, "check a trust policy"},
	{"policy", "explain", verb_policy_explain, "what policies say to a request, and why"},
	{"policy", "diff", verb_policy_diff, "what one version allows that another does not"},
	{"policy", "test", verb_policy_test, "check decisions against those expected"},
	{"policy", "sign", verb_policy_sign, "sign a newer version of a policy"},
	{"policy", "push", verb_policy_push, "put a signed version in force, also in live enclaves"},
	{"host", "init", verb_host_init, "make this host's root of trust"},
	{"host", "status", verb_host_status, "what this host is, and whether it answers"},
	{"host", "accept-ap", verb_host_accept_ap, "accept changed programs after an upgrade"},
	{"host", "backup", verb_host_backup, "back this host up to its recovery keys"},
	{"host", "restore", verb_host_restore, "bring a lost host back from its backup, as a new era"},
	{"host", "enrol", verb_host_enrol, "let another host take part in jobs with this one"},
	{"host", "peers", verb_host_peers, "the hosts that are enrolled here"},
	{"host", "remove-peer", verb_host_remove_peer, "take an enrolled host out"},
	{"host", "officers", verb_host_officers, "who must sign before a host is enrolled"},
	{"host", "approve", verb_host_approve, "sign an enrolment, as an officer, offline"},
	{"host", "revocation-key", verb_host_revocation_key, "whose revocation lists this host obeys: add, list, remove"},
	{"host", "stop", verb_host_stop, "end the host service"},
	{"tpm", "quote", verb_tpm_quote, "have this host's TPM vouch for its root now"},
	{"tpm", "verify", verb_tpm_verify, "judge a quote and an event log of any TPM, offline"},
	{"tpm", "enrol", verb_tpm_enrol, "make sure of this host's TPM and write it down for trust files"},
	{"tpm", "believe", verb_tpm_believe, "which TPMs, of other hosts too, the enclaves of this host believe"},
	{"upgrade", "plan", verb_upgrade_plan, "what an upgrade would change"},
	{"upgrade", "status", verb_upgrade_status, "whose reference sets count, and what they allow"},
	{"upgrade", "authorise", verb_upgrade_authorise, "allow the next versions of programs beforehand"},
	{"reference", "new", verb_reference_new, "make the source of a reference set"},
	{"reference", "sign", verb_reference_sign, "sign a reference set"},
	{"reference", "show", verb_reference_show, "what a signed reference set says"},
	{"reference", "lint", verb_reference_lint, "check the source of a reference set"},
	{"revoke", "new", verb_revoke_new, "make the source of a revocation list, or of its next version"},
	{"revoke", "sign", verb_revoke_sign, "sign a revocation list"},
	{"revoke", "load", verb_revoke_load, "give this host a signed list: what it revokes ends within a second"},
	{"revoke", "list", verb_revoke_list, "which lists this host obeys, and how fresh it knows them to be"},
	{"revoke", "show", verb_revoke_show, "what a signed revocation list says"},
	{"root", "verify-history", verb_root_verify_history, "check the epochs of a root of trust, offline"},
	{"root", "status", verb_root_status, "this host's root of trust: its epoch, what comes next, what was done"},
	{"root", "history", verb_root_history, "every epoch of the root, verified; the file that verifiers follow"},
	{"root", "export", verb_root_export, "the inception record, to hand out"},
	{"root", "certify", verb_root_certify, "have an authority outside vouch for this epoch, for peers who know that one"},
	{"root", "attest", verb_root_attest, "a signed answer to a challenge, the boot log replayed"},
	{"root", "rotate", verb_root_rotate, "the next epoch now"},
	{"root", "ceremony", verb_root_ceremony, "make k-of-n offline recovery keys"},
	{"root", "set-recovery", verb_root_set_recovery, "replace the recovery keys"},
	{"root", "recover", verb_root_recover, "start the root over after theft or loss"},
	{"root", "halt", verb_root_halt, "stop a root without its host"},
	{"dac", "get", verb_dac_get, "the complete attestation chain from an enclave that lives here"},
	{"dac", "verify", verb_dac_verify, "check a complete chain offline, record by record"},
	{"dac", "show", verb_dac_show, "draw a chain: tree, HTML, SVG"},
	{"key", "new", verb_key_new, "make a signing key"},
	{"key", "show", verb_key_show, "the address of a key"},
	{"grant", "new", verb_grant_new, "grant somebody operations on your data"},
	{"grant", "delegate", verb_grant_delegate, "pass on a part of a grant"},
	{"grant", "submit", verb_grant_submit, "put a grant on the ledger before it is used"},
	{"grant", "revoke", verb_grant_revoke, "end a grant and all that comes from it, for good"},
	{"grant", "list", verb_grant_list, "the grants that the ledger has seen, and what became of them"},
	{"grant", "show", verb_grant_show, "what a grant file says, checked link by link"},
	{"grant", "explain", verb_grant_explain, "whether it would be allowed, which rule or grant decides, what would change it"},
	{"grant", "names", verb_grant_names, "your address book: add, remove, list"},
	{"ledger", "access", verb_ledger_access, "replace your rules for a scope"},
	{"ledger", "request", verb_ledger_request, "an actor's request to a co-processor"},
	{"ledger", "operation", verb_ledger_operation, "record an operation, as its co-processor: decided when it is committed"},
	{"ledger", "register", verb_ledger_register, "register the measurement of a host or of code"},
	{"ledger", "endorse", verb_ledger_endorse, "endorse a measurement, as a registrar, offline"},
	{"ledger", "unregister", verb_ledger_unregister, "end a registration"},
	{"ledger", "config", verb_ledger_config, "the ledger's configuration: show, new, sign, send"},
	{"ledger", "submit", verb_ledger_submit, "send transactions that were signed before"},
	{"ledger", "query", verb_ledger_query, "what the ledger knows of one thing, proved"},
	{"ledger", "init", verb_ledger_init, "make a ledger, with all that its service and a first client need"},
	{"ledger", "witness", verb_ledger_witness, "witnesses, who let no log show two histories: new, add-log, list"},
	{"ledger", "certificate", verb_ledger_certificate, "another certificate for a ledger's service, for other names"},
	{"ledger", "writer", verb_ledger_writer, "who may send to a ledger: new, remove, list"},
	{"ledger", "status", verb_ledger_status, "where a ledger stands, and whether it continues what was seen"},
	{"ledger", "apply", verb_ledger_apply, "what the ledger's contract says to batches of transactions on stdin"},
	{"ledger", "checkpoint", verb_ledger_checkpoint, "the signed head of the log, to keep or to hand on"},
	{"ledger", "prove", verb_ledger_prove, "proofs that anybody can check with the log's key alone"},
	{"ledger", "verify", verb_ledger_verify, "judge proofs and checkpoints, offline"},
	{"ledger", "verify-fork", verb_ledger_verify_fork, "whether two signed heads show that a log was forked"},
	{"ledger", "reindex", verb_ledger_reindex, "make index, tree and snapshot of a ledger anew"},
	{"audit", NULL, verb_audit, "who did what on a ledger, and what it said"},
	{"doctor", NULL, verb_doctor, "what this machine can prove, and what would raise it"},
	{"version", NULL, verb_version, "version and build"},
};

static int usage(FILE *to, const char *noun, int code)
{
	fprintf(to, "usage: troth %s [OPTIONS]\n\nTroth lets a computation prove what it was.\n\n", noun ? noun : "COMMAND");
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		char name[32];
		if (noun && strcmp(commands[i].noun, noun) != 0)
			continue;
		snprintf(name, sizeof(name), "%s%s%s", commands[i].noun, commands[i].verb ? " " : "",
			commands[i].verb ? commands[i].verb : "");
		fprintf(to, "  %-20s %s\n", name, commands[i].description);
	}
	fprintf(to,
		"\ntroth COMMAND --help shows the options of a command. Exit codes: 0 done, 1 refused, 2 usage, 3 environment,\n"
		"4 cannot judge, 5 a bug.\n");
	return code;
}

static bool is_help(const char *word)
{
	return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static const char *find_noun(const char *word)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (commands[i].verb && strcmp(commands[i].noun, word) == 0)
			return commands[i].noun;
	return NULL;
}

static int unknown(int argc, char **argv)
{
	const char *noun = find_noun(argv[1]);
	if (noun && argc == 2)
		return usage(stderr, noun, EXIT_USAGE);
	if (noun && is_help(argv[2]))
		return usage(stdout, noun, EXIT_OK);
	if (noun)
		return verb_end(fail(USAGE, "there is no command '%s %s'", argv[1], argv[2]), argc, argv);
	return verb_end(fail(USAGE, "there is no command '%s'", argv[1]), argc, argv);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr, NULL, EXIT_USAGE);
	if (is_help(argv[1]))
		return usage(stdout, NULL, EXIT_OK);
	if (strcmp(argv[1], "--version") == 0)
		return verb_version(argc - 2, argv + 2);
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		const struct command *command = &commands[i];
		if (strcmp(command->noun, argv[1]) != 0)
			continue;
		if (!command->verb)
			return command->run(argc - 2, argv + 2);
		if (argc > 2 && strcmp(command->verb, argv[2]) == 0)
			return command->run(argc - 3, argv + 3);
	}
	return unknown(argc, argv);
}
