/* trothd ledger --witness: a witness of logs, for ledgers and for any other log of the same form (docs/PROTOCOL.ledger). */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/isolate.h"
#include "base/log.h"
#include "cmd/witness_options.h"
#include "job/state.h"
#include "ledger/witness_service.h"

struct arguments {
	const char *dir, *state, *listen, *log_level;
	uint64_t ready_fd;
	bool witness, log_json;
};

static result configure_log(const struct arguments *arguments)
{
	enum log_level level;
	TRY(log_level_parse(arguments->log_level, &level));
	log_configure(arguments->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_HUMAN, level, "trothd witness");
	return OK;
}

static result find_dir(const struct arguments *arguments, char out[static PATH_SIZE])
{
	char state[PATH_SIZE];
	if (arguments->dir)
		return path_join(out, "", arguments->dir);
	TRY(state_path(arguments->state, state));
	return path_join(out, state, "witness");
}

/* WITNESS/service/address, while it serves. */
static result write_address(const char *dir, const struct witness_service *service, char path[static PATH_SIZE])
{
	char text[PATH_SIZE];
	TRY(path_join(path, dir, "service/address"));
	snprintf(text, sizeof(text), "%s\n", witness_service_address(service));
	return file_write_atomic(path, span_str(text), 0644);
}

static result tell_ready(const struct arguments *arguments, const struct witness_service *service)
{
	char line[PATH_SIZE];
	if (!arguments->ready_fd)
		return OK;
	snprintf(line, sizeof(line), "%s\n", witness_service_address(service));
	TRY(write_all((int)arguments->ready_fd, span_str(line)));
	(void)close((int)arguments->ready_fd);
	return OK;
}

static result serve(const struct arguments *arguments)
{
	CLEANUP(witness_service_cleanup) struct witness_service *service = NULL;
	char dir[PATH_SIZE], address[PATH_SIZE];
	TRY(configure_log(arguments));
	if (arguments->ready_fd > INT_MAX)
		return fail(USAGE, "--ready-fd is too large");
	TRY(find_dir(arguments, dir));
	TRY(isolate_no_dumps());
	TRY(witness_service_open(dir, arguments->listen, &service));
	TRY(write_address(dir, service, address));
	log_info("listening", LOG_TEXT("address", witness_service_address(service)), LOG_TEXT("witness", witness_service_key(service)->name));
	result served = tell_ready(arguments, service);
	if (served == OK)
		served = witness_service_run(service);
	(void)unlink(address);
	return served;
}

int trothd_witness(int argc, char **argv)
{
	struct arguments arguments = {.listen = "127.0.0.1:8444", .log_level = "info"};
	const struct option_row rows[] = {
		{"witness", OPTION_FLAG, &arguments.witness, NULL, "be a witness, not a ledger"},
		{"dir", OPTION_TEXT, &arguments.dir, "DIR", "the witness's folder, as `troth ledger witness new` made it (default: `witness` in the state folder)"},
		{"state", OPTION_TEXT, &arguments.state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"},
		{"listen", OPTION_TEXT, &arguments.listen, "ADDR:PORT", "where to serve (127.0.0.1:8444); port 0 picks one"},
		{"ready-fd", OPTION_NUMBER, &arguments.ready_fd, "N", "write the address to descriptor N when serving begins"},
		{"log-level", OPTION_TEXT, &arguments.log_level, "LEVEL", "debug, info, warning, error or off (info)"},
		{"log-json", OPTION_FLAG, &arguments.log_json, NULL, "log lines are JSON"},
	};
	CLEANUP(options_free)
	struct options options = {
		.program = "trothd",
		.verb = "ledger --witness",
		.usage = "[--dir DIR] [--listen ADDR:PORT]",
		.description = "A witness of logs (c2sp.org/tlog-witness): cosigns a log's checkpoint when it continues the last one that was cosigned, so\n"
			       "that the log cannot show two histories. `troth ledger witness add-log` names the logs, also while it runs. Run it on another\n"
			       "machine, and by other people, than the log. SIGTERM ends it cleanly.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result served = options_parse(&options, argc, argv);
	if (served == OK && !options.help)
		served = serve(&arguments);
	if (served != OK)
		fprintf(stderr, "trothd: %s: %s\n  %s\n", reason_name(served), failure_text(), reason_row(served)->sentence);
	return (int)reason_row(served)->exit;
}
