/*
 * A certificate authority for one service: it issues for that service and for its clients, and for nothing else. Plain X.509 v3,
 * P-256, ecdsa-with-SHA256, so that any TLS client can be used; who someone is says the CN of a client, the names of a server.
 * Not to be confused with the endorsement of enclaves (crypto/x509.h).
 */
#ifndef TROTH_NET_SERVICE_CA_H
#define TROTH_NET_SERVICE_CA_H

#include "base/bytes.h"
#include "crypto/key.h"

enum { SERVICE_NAME_MAX = 63, SERVICE_CA_DAYS = 3653 };

/* Issues for itself; path length 0; valid for SERVICE_CA_DAYS from a day ago. `name` is for people. */
NODISCARD result service_ca_new(const struct key *key, const char *name, struct bytes *out_pem);

struct service_certificate {
	const char *name; /* CN: [A-Za-z0-9._-], not starting with '.' or '-', SERVICE_NAME_MAX; BAD_NAME */
	const char *const *hosts; /* DNS names and IP addresses, for a server; NULL: for a client. BAD_NAME */
	size_t host_count;
};
/* Valid as long as the CA. BAD_CERTIFICATE, BAD_KEY when `ca_pem` is not one of `ca_key`. */
NODISCARD result service_ca_issue(const struct key *ca_key, struct span ca_pem, const struct service_certificate *what,
	const struct key *subject, struct bytes *out_pem);

/* BAD_NAME. */
NODISCARD result service_name_check(const char *name);

#endif
