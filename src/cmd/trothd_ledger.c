#include "cmd/trothd.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/isolate.h"
#include "base/log.h"
#include "cmd/ledger_options.h"
#include "cmd/witness_options.h"
#include "crypto/crypto.h"
#include "ledger/service.h"

enum { RATE = 20000, BURST = 40000, CONNECTIONS_MOST = 100000 };

static const char default_listen[] = "127.0.0.1:8443";

struct arguments {
	const char *dir, *state, *listen, *log_level;
	uint64_t ready_fd, connections, rate, burst, workers;
	bool log_json;
	struct witness_options witnesses;
};

static result configure_log(const struct arguments *arguments)
{
	enum log_level level;
	TRY(log_level_parse(arguments->log_level, &level));
	log_configure(arguments->log_json ? LOG_FORMAT_JSON : LOG_FORMAT_HUMAN, level, "trothd ledger");
	return OK;
}

static result check(const struct arguments *arguments)
{
	if (arguments->ready_fd > INT_MAX || arguments->connections > CONNECTIONS_MOST || arguments->rate > UINT32_MAX ||
		arguments->burst > UINT32_MAX || arguments->workers > 64)
		return fail(USAGE, "a number is too large");
	if (arguments->connections < 1 || arguments->workers < 1)
		return fail(USAGE, "--connections and --workers take 1 or more");
	if (arguments->rate && !arguments->burst)
		return fail(USAGE, "--burst takes 1 or more");
	return OK;
}

/* Whoever started us waits for the line; what is written there has no other reader. */
static result tell_ready(const struct arguments *arguments, const struct ledger_service *service)
{
	char line[400];
	log_info("serving", LOG_TEXT("address", ledger_service_address(service)));
	if (!arguments->ready_fd)
		return OK;
	int len = snprintf(line, sizeof(line), "%s\n", ledger_service_address(service));
	TRY(write_all((int)arguments->ready_fd, span_of(line, (size_t)len)));
	(void)close((int)arguments->ready_fd);
	return OK;
}

static result serve(const struct arguments *arguments)
{
	CLEANUP(witness_asker_cleanup) struct witness_asker *asker = NULL; /* outlives the service */
	CLEANUP(ledger_service_cleanup) struct ledger_service *service = NULL;
	const struct ledger_options place = {.ledger = arguments->dir, .state = arguments->state};
	char dir[PATH_SIZE];
	TRY(configure_log(arguments));
	TRY(check(arguments));
	TRY(verb_ledger_place(&place, dir));
	TRY(witness_options_open(&arguments->witnesses, &asker));
	TRY(isolate_no_dumps());
	crypto_warm_up();
	const struct ledger_service_config config = {
		.dir = dir,
		.listen = arguments->listen,
		.connections = (unsigned)arguments->connections,
		.workers = (unsigned)arguments->workers,
		.rate = (unsigned)arguments->rate,
		.burst = (unsigned)arguments->burst,
		.confined = true,
		.asks_others = asker != NULL,
		.after_batch = asker ? witness_asker_after_batch : NULL,
		.after_batch_arg = asker,
	};
	TRY(ledger_service_open(&config, &service));
	TRY(tell_ready(arguments, service));
	TRY(ledger_service_run(service));
	log_info("stopped");
	return OK;
}

/* Another role, with options of its own. */
static bool is_witness(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--witness") == 0)
			return true;
	return false;
}

int trothd_ledger(int argc, char **argv)
{
	if (is_witness(argc, argv))
		return trothd_witness(argc, argv);
	struct arguments arguments = {
		.listen = default_listen, .log_level = "info", .connections = 1024, .rate = RATE, .burst = BURST, .workers = 2};
	const struct option_row rows[] = {
		{"dir", OPTION_TEXT, &arguments.dir, "DIR", "the ledger's folder (default: $TROTH_LEDGER, or `ledger` in the state folder)"},
		{"state", OPTION_TEXT, &arguments.state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"},
		{"listen", OPTION_TEXT, &arguments.listen, "ADDR:PORT", "where to serve (127.0.0.1:8443); port 0 picks a free one"},
		{"connections", OPTION_NUMBER, &arguments.connections, "N", "connections at once (1024); whoever idles longest makes room"},
		{"workers", OPTION_NUMBER, &arguments.workers, "N", "threads that make proofs and answer questions (2)"},
		{"rate", OPTION_NUMBER, &arguments.rate, "N", "transactions per second of one writer (20000); 0: not limited"},
		{"burst", OPTION_NUMBER, &arguments.burst, "N", "transactions of one writer at once (40000)"},
		WITNESS_ROWS(&arguments.witnesses),
		{"ready-fd", OPTION_NUMBER, &arguments.ready_fd, "N", "write the address to descriptor N when serving begins"},
		{"log-level", OPTION_TEXT, &arguments.log_level, "LEVEL", "debug, info, warning, error or off (info)"},
		{"log-json", OPTION_FLAG, &arguments.log_json, NULL, "log lines are JSON"},
	};
	CLEANUP(options_free)
	struct options options = {
		.program = "trothd",
		.verb = "ledger",
		.usage = "[OPTIONS]",
		.description =
			"Serves a ledger that `troth ledger init` made, over HTTPS (docs/PROTOCOL.ledger, \"Service\"): whoever has a\n"
			"writer's certificate may send, anybody may read and check. SIGTERM ends it after what was taken is durable.\n"
			"`trothd ledger --witness --help`: being a witness of ledgers instead.",
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
