#include "cmd/trothd.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/isolate.h"
#include "base/log.h"
#include "cmd/options.h"
#include "crypto/crypto.h"
#include "job/revocations.h"
#include "job/server.h"
#include "job/state.h"
#include "root/host_tpm.h"
#include "wire/text.h"

enum { PERIOD_S = 24 * 3600, MOST_PERIOD_S = 10 * 366 * 24 * 3600, BURST = 8 };

struct arguments {
	const char *state, *wrap, *tpm, *tpm_pcrs, *queue, *accept, *authorise, *log_level, *listen, *confinement;
	uint64_t passphrase_fd, ready_fd, first_uid, rotate_every_s, rotate_burst, lease_ms;
	bool create, private_host, recovery, log_json, tpm_head, no_standing;
};

static result configure_log(const struct arguments *arguments)
{
	enum log_level level;
	TRY(log_level_parse(arguments->log_level, &level));
	log_configure(arguments->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_HUMAN, level, "trothd host");
	return OK;
}

static result parse_queue(const char *profile, enum host_queue *out)
{
	bool sealed = strcmp(profile, "sealed") == 0;
	if (!sealed && strcmp(profile, "local") != 0)
		return fail(USAGE, "--queue is local or sealed, not '%s'", profile);
	*out = sealed ? HOST_QUEUE_SEALED : HOST_QUEUE_LOCAL;
	return OK;
}

static result serve(const struct arguments *arguments)
{
	char state[PATH_SIZE];
	uint8_t accept[SHA384_SIZE];
	CLEANUP(bytes_free) struct bytes authorise = BYTES_EMPTY;
	struct server_config config = {
		.state_dir = state,
		.create = arguments->create,
		.private_host = arguments->private_host,
		.ready_fd = arguments->ready_fd ? (int)arguments->ready_fd : -1,
		.first_uid = (uid_t)arguments->first_uid,
		.wrap = {WRAP_UNSAID, -1},
		.recovery = arguments->recovery,
		.confinement = arguments->confinement,
		.tpm_head = arguments->tpm_head,
		.schedule = schedule_defaults,
		.listen = arguments->listen,
		.no_standing = arguments->no_standing,
	};
	TRY(configure_log(arguments));
	TRY(state_path(arguments->state, state));
	if (arguments->first_uid > UINT32_MAX || arguments->ready_fd > INT_MAX || arguments->passphrase_fd > INT_MAX)
		return fail(USAGE, "a number is too large");
	if (arguments->rotate_every_s > MOST_PERIOD_S || arguments->rotate_burst > UINT32_MAX)
		return fail(USAGE, "--rotate-every takes at most %d s", MOST_PERIOD_S);
	config.schedule.period_ms = arguments->rotate_every_s * 1000;
	config.schedule.burst = (uint32_t)arguments->rotate_burst;
	if (arguments->lease_ms < REVOCATION_LEASE_LEAST_MS || arguments->lease_ms > REVOCATION_LEASE_MOST_MS)
		return fail(USAGE, "--revocation-lease takes %d to %d ms", REVOCATION_LEASE_LEAST_MS, REVOCATION_LEASE_MOST_MS);
	config.revocation_lease_ms = (uint32_t)arguments->lease_ms;
	if (arguments->wrap)
		TRY(wrap_kind_parse(arguments->wrap, &config.wrap.kind));
	if (arguments->tpm_pcrs)
		TRY(host_tpm_pcrs_parse(arguments->tpm_pcrs, &config.wrap.tpm_pcrs));
	config.wrap.tpm = arguments->tpm;
	if (arguments->queue)
		TRY(parse_queue(arguments->queue, &config.queue));
	if (arguments->passphrase_fd)
		config.wrap.passphrase_fd = (int)arguments->passphrase_fd;
	if (arguments->accept) {
		TRY(hex_decode(span_str(arguments->accept), accept, sizeof(accept)));
		config.accept_digest = accept;
	}
	if (arguments->authorise) {
		TRY(file_read(arguments->authorise, REFERENCE_SET_MAX, &authorise));
		config.authorise = bytes_span(&authorise);
	}
	TRY(isolate_no_dumps());
	return server_run(&config);
}

int trothd_host(int argc, char **argv)
{
	struct arguments arguments = {
		.log_level = "info", .first_uid = UID_POOL_FIRST, .rotate_every_s = PERIOD_S, .rotate_burst = BURST,
		.lease_ms = REVOCATION_LEASE_MS};
	const struct option_row rows[] = {
		{"state", OPTION_TEXT, &arguments.state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"},
		{"create", OPTION_FLAG, &arguments.create, NULL, "make the folder when it is missing; for `troth host init`"},
		{"private", OPTION_FLAG, &arguments.private_host, NULL, "leave with the last client"},
		{"wrap", OPTION_TEXT, &arguments.wrap, "KIND",
			"where the key of the state comes from: file, keyring, credential, passphrase, tpm"},
		{"tpm", OPTION_TEXT, &arguments.tpm, "DEVICE", "where the TPM is: /dev/tpmrm0, or unix:SOCKET (as when the root was made)"},
		{"tpm-pcrs", OPTION_TEXT, &arguments.tpm_pcrs, "LIST", "PCRs that a new key is sealed to (7)"},
		{"passphrase-fd", OPTION_NUMBER, &arguments.passphrase_fd, "N", "read the passphrase from descriptor N"},
		{"queue", OPTION_TEXT, &arguments.queue, "PROFILE",
			"local or sealed: payloads to the secure processor are encrypted on their way; a folder once sealed stays so"},
		{"accept-ap", OPTION_TEXT, &arguments.accept, "DIGEST", "accept a changed secure processor with this SHA-384"},
		{"rotate-every", OPTION_NUMBER, &arguments.rotate_every_s, "SECONDS",
			"rotate the root of trust after so long (86400); 0: only on events, on request and before its validity ends"},
		{"rotate-burst", OPTION_NUMBER, &arguments.rotate_burst, "N",
			"rotations on request or on events at once, one more each minute (8); 0: not limited"},
		{"confinement", OPTION_TEXT, &arguments.confinement, "TIER",
			"N, or L where namespaces are refused, as in many containers: weaker, only for policies that accept it (kept in the folder)"},
		{"tpm-head", OPTION_FLAG, &arguments.tpm_head, NULL,
			"let the TPM of the root hold the head of the history of what enclaves sign here (kept in the folder; docs/TPM.md)"},
		{"revocation-lease", OPTION_NUMBER, &arguments.lease_ms, "MS",
			"how long channels of enclaves live without a fresh word of what is revoked (5000); see docs/REVOCATION.md"},
		{"recovery", OPTION_FLAG, &arguments.recovery, NULL,
			"start also where the root of trust cannot go on, for `troth root recover`; nothing is endorsed then"},
		{"authorise", OPTION_TEXT, &arguments.authorise, "FILE", "signed reference set that lists the programs as they are now"},
		{"first-uid", OPTION_NUMBER, &arguments.first_uid, "UID", "as root: first of 1024 uids that nothing else uses (612000)"},
		{"listen", OPTION_TEXT, &arguments.listen, "ADDR:PORT",
			"let other hosts in here, those that are enrolled (troth host enrol); port 0 picks one. Without it none are"},
		{"no-standing", OPTION_FLAG, &arguments.no_standing, NULL,
			"keep no link to enrolled hosts between runs: what is revoked there is heard of here in runs alone"},
		{"ready-fd", OPTION_NUMBER, &arguments.ready_fd, "N", "tell descriptor N when serving has begun, or why not"},
		{"log-level", OPTION_TEXT, &arguments.log_level, "LEVEL", "debug, info, warning, error or off (info)"},
		{"log-json", OPTION_FLAG, &arguments.log_json, NULL, "log lines are JSON"},
	};
	CLEANUP(options_free)
	struct options options = {
		.program = "trothd",
		.verb = "host",
		.usage = "[OPTIONS]",
		.description =
			"The host service: owns a state folder, starts and attests the secure processor, launches enclaves and runs\n"
			"jobs for the clients that connect to the socket in its state folder. SIGTERM ends it cleanly.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result served = options_parse(&options, argc, argv);
	if (served == OK && !options.help)
		served = serve(&arguments);
	/* Whoever started a private host has been told on the ready descriptor. */
	if (served != OK && (!arguments.private_host || !arguments.ready_fd))
		fprintf(stderr, "trothd: %s: %s\n  %s\n", reason_name(served), failure_text(), reason_row(served)->sentence);
	return (int)reason_row(served)->exit;
}
