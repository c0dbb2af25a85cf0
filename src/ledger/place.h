/*
 * Where a ledger is, on disk: what `troth ledger init` makes, and what whoever asks a ledger has.
 *
 *   a ledger's folder     the engine's files (ledger/engine.h), and
 *     founder.key         P-256 PEM, 0600: first member and registrar of the configuration
 *     service/            ca.key ca.crt service.key service.crt, and `address` while a service runs: where it listens;
 *                         writers/NAME.crt of every writer, and `removed`: key ids and names of those who may not send any more
 *     client/             a client's folder, to copy
 *   a client's folder
 *     ledger.conf         url: https://HOST:PORT, chain: hex, writer: NAME (when it may write)
 *     ca.crt log.vkey     who vouches for the service's certificate; the log's verifier key
 *     writer.key, .crt    what sending needs; absent: it may only read
 *     head                the latest signed checkpoint that was seen from here (ledger/client.h)
 *     evidence/           two heads that do not fit: from then on this place is of no use
 *
 * Certificates are plain X.509 v3, P-256: the CA is made once and for ten years, and issues for nothing but this service and
 * its writers. A client knows the service by the CA and the host of its URL, the service knows a writer by the CA and its CN.
 */
#ifndef TROTH_LEDGER_PLACE_H
#define TROTH_LEDGER_PLACE_H

#include "base/file.h"
#include "ledger/engine.h"

enum { LEDGER_URL_MAX = 300, WRITER_NAME_MAX = 63 };

/* What a client's folder says. */
struct ledger_place {
	char path[PATH_SIZE]; /* of the client's folder */
	char ledger[PATH_SIZE]; /* of the ledger's own folder when the place is one, else "" */
	char url[LEDGER_URL_MAX + 1]; /* of a ledger's own folder: where its service listens now, "" when none does */
	char writer[WRITER_NAME_MAX + 1]; /* "" */
	uint8_t chain[CHAIN_ID_SIZE];
	struct note_key log;
	struct bytes ca_pem, certificate_pem; /* the writer's; empty */
	struct key key;
};
#define LEDGER_PLACE_EMPTY ((struct ledger_place){.key = {0}})

/* NOT_FOUND names what is missing and what makes it; BAD_VALUE, NO_PERMISSION (a writer.key that others may read). */
NODISCARD result ledger_place_read(const char *path, struct ledger_place *out);
void ledger_place_free(struct ledger_place *place);

/* Whether the folder is a ledger's own. */
bool ledger_place_is_ledger(const char *path);

/*
 * Everything that a ledger of its own needs: engine, founder's key (taken from `founder_pem` when there is one), CA, service
 * certificate for `names` (DNS names and IP addresses; localhost, 127.0.0.1 and ::1 always), client/ with a writer "first".
 * ALREADY_EXISTS. After a failure nothing is left in a folder that was not there.
 */
struct ledger_place_new {
	const char *dir;
	const char *log_name; /* NULL: "troth.invalid/" and 16 random hex digits */
	const char *url;      /* what client/ledger.conf says */
	const char *const *names;
	size_t name_count;
	const struct key *founder; /* NULL: a fresh one, written to founder.key */
	const struct point *processors; /* of the first configuration */
	size_t processor_count;
	uint64_t time_bound_ms, spool_bound_ms; /* 0: 5 minutes, 24 hours */
};
NODISCARD result ledger_place_init(const struct ledger_place_new *what);

/* One more client's folder, with a certificate for `name` ([A-Za-z0-9._-], WRITER_NAME_MAX); `name` NULL: it may only read. */
NODISCARD result ledger_place_add_client(const char *ledger, const char *name, const char *url, const char *out_dir);
/* Calls `each` with the names of all writers, in no order. */
typedef result ledger_writer_visit(void *arg, const char *name, bool removed);
NODISCARD result ledger_place_writers(const char *ledger, ledger_writer_visit *each, void *arg);
/* From the next second on a running service takes nothing more from this writer, for good: the name stays taken. NOT_FOUND. */
NODISCARD result ledger_place_remove_writer(const char *ledger, const char *name);

/* The ids of the keys that were removed. */
enum { LEDGER_REMOVED_MAX = 4096 };
struct ledger_removed {
	uint8_t (*keys)[KEY_ID_SIZE];
	size_t count;
};
NODISCARD result ledger_place_removed(const char *ledger, struct ledger_removed *out);
void ledger_removed_free(struct ledger_removed *removed);

/* A service certificate for these names besides those of this machine, from the same CA; for the service's next start. */
NODISCARD result ledger_place_renew(const char *ledger, const char *const *names, size_t name_count);

#endif
