/* troth root certify: what a certification authority says of this host's epoch (docs/PROTOCOL.certificate, "Authorities"). */
#include "cmd/root_client.h"

#include <stdio.h>

#include "base/clock.h"
#include "crypto/x509.h"
#include "job/issuer.h"
#include "job/state.h"
#include "object/epoch.h"
#include "wire/json.h"

enum { CERTIFICATES_MAX = CERTIFICATE_PATH_MAX - 1 };

struct arguments {
	struct host_options host;
	const char *request;
};

/* The root as it is now. */
struct now {
	struct epoch_chain *chain;
	const char *trust_domain;
	struct issuer_epoch epoch;
	char host[ISSUER_HOST_SIZE], name[ROT_LABEL_SIZE];
};

static void now_free(struct now *now)
{
	epoch_chain_cleanup(&now->chain);
}

static result look(const struct arguments *arguments, struct arena *arena, struct now *out)
{
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct service_status status;
	const struct client_call call = {.type = SERVICE_STATUS, .expected = SERVICE_STATUS_IS, .timeout_ms = 60 * 1000};
	TRY(root_connect(&arguments->host, false, &client));
	TRY(client_call(&client, &call, arena, &status, NULL));
	TRY(root_fetch(&client, &out->chain, NULL));
	TRY(arena_string(arena, span_str(status.health.trust_domain), &out->trust_domain));
	out->epoch = (struct issuer_epoch){epoch_chain_rot_id(out->chain), out->trust_domain, epoch_chain_head(out->chain)};
	rot_label(out->epoch.rot_id, out->name);
	return issuer_host(&out->epoch, out->host);
}

/* ---- what an authority needs ---- */

static result print_request(const struct now *now, const char *file, bool json)
{
	const struct epoch_link *head = now->epoch.link;
	char until[CLOCK_TEXT_SIZE];
	clock_format(head->not_after, until);
	if (json) {
		json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:I, s:o, s:o}", "file", file, "subject", now->name, "host", now->host, "era",
			(json_int_t)head->era, "epoch", (json_int_t)head->epoch, "not_after", json_time(head->not_after), "epoch_oid", json_hex(SPAN_ARRAY(head->oid)));
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("%s is the public key of era %u epoch %llu. An authority certifies it with\n"
	       "  subject            CN=%s   (UTF8String)\n"
	       "  valid until        %s at most\n"
	       "  basicConstraints   critical,CA:TRUE,pathlen:0\n"
	       "  keyUsage           critical,keyCertSign\n"
	       "  nameConstraints    critical,permitted;URI:%s\n",
		file, head->era, (unsigned long long)head->epoch, now->name, until, now->host);
	return OK;
}

static result request(const struct now *now, const char *file, bool json)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	TRY(key_from_point(SPAN_ARRAY(now->epoch.link->sign_pk), &key));
	TRY(key_to_pem(&key, &pem));
	TRY(file_write_atomic(file, bytes_span(&pem), 0644));
	return print_request(now, file, json);
}

/* ---- what it wrote ---- */

static result take(const struct arguments *arguments, const struct now *now, const struct words *files, bool json)
{
	struct bytes der[CERTIFICATES_MAX] = {BYTES_EMPTY, BYTES_EMPTY};
	struct span certificates[CERTIFICATES_MAX];
	char state[PATH_SIZE], folder[PATH_SIZE], text[CLOCK_TEXT_SIZE];
	uint64_t until = 0;
	result taken = OK;
	for (size_t i = 0; i < files->count && taken == OK; i++) {
		taken = file_read(files->items[i], CERTIFICATE_MAX, &der[i]);
		certificates[i] = bytes_span(&der[i]);
	}
	if (taken == OK)
		taken = issuer_check(certificates, files->count, &now->epoch, clock_wall_ms(), &until);
	if (taken == OK)
		taken = state_path(arguments->host.state, state);
	if (taken == OK)
		taken = path_join(folder, state, "issuers");
	if (taken == OK)
		taken = issuer_keep(folder, now->epoch.link->oid, certificates, files->count);
	for (size_t i = 0; i < files->count; i++)
		bytes_free(&der[i]);
	TRY(taken);
	clock_format(until, text);
	if (!json) {
		printf("Kept for era %u epoch %llu, until %s. Enclaves show it to peers for which their job says `show: path`.\n", now->epoch.link->era,
			(unsigned long long)now->epoch.link->epoch, text);
		return OK;
	}
	json_t *object = json_pack("{s:I, s:I, s:i, s:o}", "era", (json_int_t)now->epoch.link->era, "epoch", (json_int_t)now->epoch.link->epoch,
		"certificates", (int)files->count, "until", json_time(until));
	result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
	json_decref(object);
	return printed;
}

static result certify(const struct arguments *arguments, const struct words *files, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(now_free) struct now now = {.chain = NULL};
	if (!arguments->request == !files->count)
		return fail(USAGE, "either --request FILE, or the certificates that the authority wrote");
	TRY(look(arguments, &arena, &now));
	return arguments->request ? request(&now, arguments->request, json) : take(arguments, &now, files, json);
}

int verb_root_certify(int argc, char **argv)
{
	struct arguments arguments = {.request = NULL};
	const struct option_row rows[] = {
		{"request", OPTION_TEXT, &arguments.request, "FILE", "write the public key of the epoch (PEM) and say what an authority has to certify"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root certify",
		.usage = "--request FILE | ISSUER.der [ABOVE.der]",
		.description = "For peers outside who know an authority and not this root: the authority certifies the key that issues the certificates\n"
			       "of enclaves, for the epoch in force and no longer. ISSUER is what it wrote (DER), ABOVE the certificate of an authority\n"
			       "between the two, if there is one. After a rotation there is a new key, and this is to be done again.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = CERTIFICATES_MAX,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = certify(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
