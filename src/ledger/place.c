#include "ledger/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "crypto/random.h"
#include "net/service_ca.h"
#include "wire/document.h"
#include "wire/text.h"

enum { FILE_MAX = 16 * 1024, HOSTS_MAX = 13, VALID_MS = 300 * 1000, TIME_BOUND_MS = 300 * 1000, SPOOL_BOUND_MS = 24 * 3600 * 1000 };

static const char default_url[] = "https://127.0.0.1:8443";

/* ---- Small files ------------------------------------------------------------------------------------ */

static result read_file(const char *dir, const char *name, struct bytes *out)
{
	char path[PATH_SIZE];
	TRY(path_join(path, dir, name));
	return file_read(path, FILE_MAX, out);
}

static result write_file(const char *dir, const char *name, struct span content, mode_t mode)
{
	char path[PATH_SIZE];
	TRY(path_join(path, dir, name));
	return file_write_atomic(path, content, mode);
}

static bool is_there(const char *dir, const char *name)
{
	char path[PATH_SIZE];
	return path_join(path, dir, name) == OK && access(path, F_OK) == 0;
}

static result read_key(const char *dir, const char *name, struct key *out)
{
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	char path[PATH_SIZE];
	struct stat status;
	TRY(path_join(path, dir, name));
	TRY(file_open(path, O_RDONLY, 0, &fd));
	if (fstat(fd.n, &status) != 0)
		return fail_errno("'%s'", path);
	if (status.st_mode & (S_IRWXG | S_IRWXO))
		return fail(NO_PERMISSION, "others may read '%s': chmod 600 it, or have a new one made when they have", path);
	TRY(file_read_secret(fd.n, FILE_MAX, &pem));
	return key_from_private_pem(secret_span(&pem), out);
}

static result write_key(const char *dir, const char *name, const struct key *key)
{
	CLEANUP(secret_free) struct secret pem = SECRET_EMPTY;
	TRY(key_to_private_pem(key, &pem));
	return write_file(dir, name, secret_span(&pem), 0600);
}

bool ledger_place_is_ledger(const char *path)
{
	return is_there(path, "log.vkey") && is_there(path, "service");
}

/* ---- Reading ---------------------------------------------------------------------------------------- */

static result read_conf(const char *dir, struct ledger_place *place)
{
	static const char *const fields[] = {"!url", "!chain", "writer", NULL};
	CLEANUP(document_free) struct document document = {0};
	char path[PATH_SIZE];
	const char *text;
	const struct node *node;
	TRY(path_join(path, dir, "ledger.conf"));
	TRY(document_load(path, FILE_MAX, &document));
	TRY(document_fields(&document, document.root, fields));
	TRY(node_text(&document, node_field(document.root, "url"), &text));
	if (strlen(text) > LEDGER_URL_MAX)
		return fail(TOO_LARGE, "the url in '%s'", path);
	snprintf(place->url, sizeof(place->url), "%s", text);
	TRY(node_hex(&document, node_field(document.root, "chain"), place->chain, CHAIN_ID_SIZE));
	node = node_field(document.root, "writer");
	if (!node)
		return OK;
	TRY(node_text(&document, node, &text));
	TRY(service_name_check(text));
	snprintf(place->writer, sizeof(place->writer), "%s", text);
	return OK;
}

/* Of a ledger's own folder: where its service listens, if one does. */
static result read_address(struct ledger_place *place)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	char service[PATH_SIZE];
	place->url[0] = '\0';
	TRY(path_join(service, place->ledger, "service"));
	if (!is_there(service, "address"))
		return OK;
	TRY(read_file(service, "address", &text));
	if (text.len < 2 || text.len > LEDGER_URL_MAX - 8 || text.data[text.len - 1] != '\n')
		return fail(BAD_VALUE, "'%s/address'", service);
	snprintf(place->url, sizeof(place->url), "https://%.*s", (int)(text.len - 1), (const char *)text.data);
	return OK;
}

static result read_place(const char *path, struct ledger_place *place)
{
	CLEANUP(bytes_free) struct bytes vkey = BYTES_EMPTY;
	char client[PATH_SIZE];
	TRY(path_join(place->path, "", path));
	if (ledger_place_is_ledger(path)) {
		TRY(path_join(place->ledger, "", path));
		TRY(path_join(client, path, "client"));
		TRY(path_join(place->path, "", client));
	}
	if (!is_there(place->path, "ledger.conf"))
		return fail(NOT_FOUND, "'%s' is no ledger's folder and no client's: `troth ledger init` makes one, --ledger names another", path);
	TRY(read_conf(place->path, place));
	if (place->ledger[0])
		TRY(read_address(place));
	TRY(read_file(place->path, "ca.crt", &place->ca_pem));
	TRY(read_file(place->path, "log.vkey", &vkey));
	if (vkey.len < 2 || vkey.data[vkey.len - 1] != '\n')
		return fail(BAD_VALUE, "'%s/log.vkey'", place->path);
	TRY(note_key_parse(span_of(vkey.data, vkey.len - 1), &place->log));
	if (!is_there(place->path, "writer.key"))
		return OK;
	TRY(read_file(place->path, "writer.crt", &place->certificate_pem));
	return read_key(place->path, "writer.key", &place->key);
}

result ledger_place_read(const char *path, struct ledger_place *out)
{
	CLEANUP(ledger_place_free) struct ledger_place place = LEDGER_PLACE_EMPTY;
	TRY(read_place(path, &place));
	*out = place;
	place = LEDGER_PLACE_EMPTY; /* transferred */
	return OK;
}

void ledger_place_free(struct ledger_place *place)
{
	if (!place)
		return;
	bytes_free(&place->ca_pem);
	bytes_free(&place->certificate_pem);
	key_free(&place->key);
	*place = LEDGER_PLACE_EMPTY;
}

/* ---- A client's folder ------------------------------------------------------------------------------ */

static result write_conf(const char *dir, const char *url, const char *writer, const uint8_t chain[static CHAIN_ID_SIZE])
{
	char hex[2 * CHAIN_ID_SIZE + 1], line[128] = "", text[1024];
	hex_encode(span_of(chain, CHAIN_ID_SIZE), hex);
	if (writer)
		snprintf(line, sizeof(line), "writer: %s\n", writer);
	int len = snprintf(text, sizeof(text),
		"# A client's folder of a ledger of Troth. Copy it whole to where the ledger is asked from; writer.key is secret.\n"
		"url: %s\nchain: %s\n%s", url, hex, line);
	if (len < 0 || (size_t)len >= sizeof(text))
		return fail(TOO_LARGE, "the url '%.80s'", url);
	return write_file(dir, "ledger.conf", span_of(text, (size_t)len), 0644);
}

static result issue_to(const char *ledger, const struct service_certificate *what, const struct key *subject, const char *out_dir, const char *out_name)
{
	CLEANUP(bytes_free) struct bytes ca = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key ca_key = KEY_EMPTY;
	char service[PATH_SIZE];
	TRY(path_join(service, ledger, "service"));
	TRY(read_file(service, "ca.crt", &ca));
	TRY(read_key(service, "ca.key", &ca_key));
	TRY(service_ca_issue(&ca_key, bytes_span(&ca), what, subject, &pem));
	return write_file(out_dir, out_name, bytes_span(&pem), 0644);
}

static result copy_file(const char *from, const char *name, const char *to)
{
	CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
	TRY(read_file(from, name, &content));
	return write_file(to, name, bytes_span(&content), 0644);
}

/* Every writer's certificate stays here: by it he can be removed, and his name is his for good. */
static result note_writer(const char *service, const char *name, const char *client_dir)
{
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	char writers[PATH_SIZE], file[WRITER_NAME_MAX + 8];
	TRY(path_join(writers, service, "writers"));
	TRY(file_make_dirs(writers, 0700));
	TRY(read_file(client_dir, "writer.crt", &pem));
	snprintf(file, sizeof(file), "%s.crt", name);
	return write_file(writers, file, bytes_span(&pem), 0644);
}

static result check_new_writer(const char *ledger, const char *name)
{
	char path[PATH_SIZE], file[WRITER_NAME_MAX + 32];
	TRY(service_name_check(name));
	snprintf(file, sizeof(file), "service/writers/%s.crt", name);
	TRY(path_join(path, ledger, file));
	return access(path, F_OK) == 0 ? fail(ALREADY_EXISTS, "there is a writer '%s', or was one", name) : OK;
}

static result fill_client(const char *ledger, const char *name, const char *url, const uint8_t chain[static CHAIN_ID_SIZE], const char *dir)
{
	char service[PATH_SIZE];
	TRY(path_join(service, ledger, "service"));
	TRY(copy_file(service, "ca.crt", dir));
	TRY(copy_file(ledger, "log.vkey", dir));
	if (name) {
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		const struct service_certificate what = {.name = name};
		TRY(key_generate(&key));
		TRY(issue_to(ledger, &what, &key, dir, "writer.crt"));
		TRY(write_key(dir, "writer.key", &key));
		TRY(note_writer(service, name, dir));
	}
	/* Last: without it the folder is none. */
	return write_conf(dir, url, name, chain);
}

static result add_client(const char *ledger, const char *name, const char *url, const uint8_t chain[static CHAIN_ID_SIZE], const char *dir)
{
	if (name)
		TRY(check_new_writer(ledger, name));
	if (strlen(url) > LEDGER_URL_MAX || strncmp(url, "https://", 8) != 0 || strpbrk(url, " \t\r\n\"'#\\"))
		return fail(BAD_VALUE, "'%.80s' is no URL of the form https://HOST[:PORT]", url);
	if (is_there(dir, "ledger.conf"))
		return fail(ALREADY_EXISTS, "'%s' is a client's folder already", dir);
	bool was_there = access(dir, F_OK) == 0;
	TRY(file_make_dirs(dir, 0700));
	result filled = fill_client(ledger, name, url, chain, dir);
	if (filled != OK && !was_there) {
		char text[512];
		snprintf(text, sizeof(text), "%s", failure_text());
		(void)!file_remove_tree(AT_FDCWD, dir);
		return fail(filled, "%s", text);
	}
	return filled;
}

result ledger_place_add_client(const char *ledger, const char *name, const char *url, const char *out_dir)
{
	CLEANUP(ledger_place_free) struct ledger_place own = LEDGER_PLACE_EMPTY;
	char client[PATH_SIZE];
	if (!ledger_place_is_ledger(ledger))
		return fail(NOT_FOUND, "'%s' is no ledger's own folder: certificates are made there alone", ledger);
	TRY(path_join(client, ledger, "client"));
	TRY(ledger_place_read(client, &own));
	return add_client(ledger, name, url ? url : own.url, own.chain, out_dir);
}

/* ---- Writers ---------------------------------------------------------------------------------------- */

void ledger_removed_free(struct ledger_removed *removed)
{
	if (!removed)
		return;
	free(removed->keys);
	*removed = (struct ledger_removed){0};
}

/* A line is the key's id in hex, a space and the writer's name. */
static result take_removed(struct span *rest, uint8_t key[static KEY_ID_SIZE], struct span *out_name)
{
	const uint8_t *end = memchr(rest->data, '\n', rest->len);
	size_t len = end ? (size_t)(end - rest->data) : 0;
	if (len < 2 * KEY_ID_SIZE + 2 || rest->data[2 * KEY_ID_SIZE] != ' ' || hex_decode(span_of(rest->data, 2 * KEY_ID_SIZE), key, KEY_ID_SIZE) != OK)
		return fail(BAD_SYNTAX, "service/removed");
	*out_name = span_of(rest->data + 2 * KEY_ID_SIZE + 1, len - 2 * KEY_ID_SIZE - 1);
	*rest = span_of(rest->data + len + 1, rest->len - len - 1);
	return OK;
}

static result read_removed(const char *ledger, struct bytes *out)
{
	char path[PATH_SIZE];
	TRY(path_join(path, ledger, "service/removed"));
	result read = file_read(path, (size_t)LEDGER_REMOVED_MAX * 160, out);
	return read == NOT_FOUND ? OK : read;
}

result ledger_place_removed(const char *ledger, struct ledger_removed *out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	CLEANUP(ledger_removed_free) struct ledger_removed removed = {0};
	TRY(read_removed(ledger, &text));
	removed.keys = calloc(LEDGER_REMOVED_MAX, KEY_ID_SIZE);
	if (!removed.keys)
		return fail(NO_MEMORY, "removed writers");
	for (struct span rest = bytes_span(&text), name; rest.len > 0; removed.count++) {
		if (removed.count == LEDGER_REMOVED_MAX)
			return fail(TOO_LARGE, "service/removed has more than %d writers", LEDGER_REMOVED_MAX);
		TRY(take_removed(&rest, removed.keys[removed.count], &name));
	}
	*out = removed;
	removed = (struct ledger_removed){0}; /* transferred */
	return OK;
}

static result is_removed(const char *ledger, const char *name, bool *out)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	uint8_t key[KEY_ID_SIZE];
	TRY(read_removed(ledger, &text));
	*out = false;
	for (struct span rest = bytes_span(&text), at; rest.len > 0 && !*out;) {
		TRY(take_removed(&rest, key, &at));
		*out = span_equal_str(at, name);
	}
	return OK;
}

result ledger_place_remove_writer(const char *ledger, const char *name)
{
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	char path[PATH_SIZE], file[WRITER_NAME_MAX + 32], hex[2 * KEY_ID_SIZE + 1];
	struct writer w = writer_growing((size_t)LEDGER_REMOVED_MAX * 160);
	bool removed;
	TRY(service_name_check(name));
	snprintf(file, sizeof(file), "service/writers/%s.crt", name);
	TRY(path_join(path, ledger, file));
	if (access(path, F_OK) != 0)
		return fail(NOT_FOUND, "'%s' has no writer '%s'", ledger, name);
	TRY(is_removed(ledger, name, &removed));
	if (removed)
		return OK;
	TRY(file_read(path, FILE_MAX, &pem));
	TRY(key_from_pem(bytes_span(&pem), &key));
	TRY(read_removed(ledger, &text));
	hex_encode(SPAN_ARRAY(key.id), hex);
	writer_span(&w, bytes_span(&text));
	writer_str(&w, hex);
	writer_str(&w, " ");
	writer_str(&w, name);
	writer_str(&w, "\n");
	struct span lines;
	result written = writer_finish(&w, &lines);
	if (written == OK)
		written = write_file(ledger, "service/removed", lines, 0600);
	writer_free(&w);
	return written;
}

static void close_folder(DIR **at)
{
	if (*at)
		(void)closedir(*at);
}

result ledger_place_writers(const char *ledger, ledger_writer_visit *each, void *arg)
{
	char path[PATH_SIZE], name[WRITER_NAME_MAX + 1];
	const struct dirent *entry;
	if (!ledger_place_is_ledger(ledger))
		return fail(NOT_FOUND, "'%s' is no ledger's own folder", ledger);
	TRY(path_join(path, ledger, "service/writers"));
	CLEANUP(close_folder) DIR *folder = opendir(path);
	if (!folder)
		return fail_errno("'%s'", path);
	while ((entry = readdir(folder))) {
		size_t len = strlen(entry->d_name);
		bool removed;
		if (len <= 4 || len - 4 > WRITER_NAME_MAX || strcmp(entry->d_name + len - 4, ".crt") != 0)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)(len - 4), entry->d_name);
		TRY(is_removed(ledger, name, &removed));
		TRY(each(arg, name, removed));
	}
	return OK;
}

/* ---- A ledger's folder ------------------------------------------------------------------------------ */

static result issue_service(const char *ledger, const char *const *names, size_t name_count)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	const char *hosts[HOSTS_MAX + 3] = {"localhost", "127.0.0.1", "::1"};
	char service[PATH_SIZE];
	size_t count = 3;
	if (name_count > HOSTS_MAX)
		return fail(TOO_LARGE, "at most %d names of a service", HOSTS_MAX);
	for (size_t i = 0; i < name_count; i++)
		hosts[count++] = names[i];
	const struct service_certificate what = {.name = "ledger", .hosts = hosts, .host_count = count};
	TRY(path_join(service, ledger, "service"));
	TRY(key_generate(&key));
	TRY(issue_to(ledger, &what, &key, service, "service.crt.new"));
	TRY(write_key(service, "service.key.new", &key));
	/* Both have been made: a certificate beside another key would be of no use. */
	char from[PATH_SIZE], to[PATH_SIZE];
	TRY(path_join(from, service, "service.key.new"));
	TRY(path_join(to, service, "service.key"));
	TRY(file_rename_durable(from, to, 0));
	TRY(path_join(from, service, "service.crt.new"));
	TRY(path_join(to, service, "service.crt"));
	return file_rename_durable(from, to, 0);
}

result ledger_place_renew(const char *ledger, const char *const *names, size_t name_count)
{
	if (!ledger_place_is_ledger(ledger))
		return fail(NOT_FOUND, "'%s' is no ledger's own folder", ledger);
	return issue_service(ledger, names, name_count);
}

struct genesis {
	const struct ledger_place_new *what;
	const struct key *founder;
	uint8_t chain[CHAIN_ID_SIZE];
};

static result genesis_config(struct genesis *genesis, const struct note_key *log, struct bytes *out_object)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	const struct ledger_place_new *what = genesis->what;
	const struct key *signers[] = {genesis->founder};
	struct point founder;
	memcpy(founder.bytes, genesis->founder->point, POINT_SIZE);
	struct ledger_config config = {.v = 1, .members = &founder, .member_count = 1, .quorum = 1, .registrars = &founder,
		.registrar_count = 1, .registrar_quorum = 1, .log_name = log->name,
		.time_bound_ms = what->time_bound_ms ? what->time_bound_ms : TIME_BOUND_MS,
		.spool_bound_ms = what->spool_bound_ms ? what->spool_bound_ms : SPOOL_BOUND_MS};
	CLEANUP(arena_free) struct arena arena = arena_of(FILE_MAX);
	if (what->processor_count) {
		void *copy;
		TRY(arena_alloc(&arena, what->processor_count, sizeof(struct point), &copy));
		memcpy(copy, what->processors, what->processor_count * sizeof(struct point));
		config.processors = copy;
		config.processor_count = what->processor_count;
		TRY(schema_sort(&point_schema, config.processors, config.processor_count));
	}
	memcpy(config.log_key, log->public_key, sizeof(config.log_key));
	TRY(schema_encode(&ledger_config_schema, &config, &payload));
	ledger_chain_id(bytes_span(&payload), genesis->chain);
	return cose_strict_sign_make(bytes_span(&payload), kind_label(KIND_LEDGER_CONFIG), signers, 1, out_object);
}

static result genesis_transaction(void *arg, const struct note_key *log, uint64_t now_ms, struct bytes *out_tx)
{
	struct genesis *genesis = arg;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	CLEANUP(bytes_free) struct bytes body = BYTES_EMPTY;
	TRY(genesis_config(genesis, log, &object));
	const struct tx_config config = {.config = bytes_span(&object)};
	TRY(schema_encode(&tx_config_schema, &config, &body));
	struct transaction tx = {.v = 1, .valid_until = now_ms + VALID_MS, .type = TX_CONFIG, .body = bytes_span(&body)};
	memcpy(tx.chain, genesis->chain, CHAIN_ID_SIZE);
	memcpy(tx.sender, genesis->founder->point, POINT_SIZE);
	random_bytes(tx.nonce, sizeof(tx.nonce));
	return object_sign(KIND_TRANSACTION, &tx, genesis->founder, out_tx, NULL);
}

static result make_ca(const char *dir, const char *log_name)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	char service[PATH_SIZE], name[64];
	TRY(path_join(service, dir, "service"));
	TRY(file_make_dirs(service, 0700));
	TRY(key_generate(&key));
	snprintf(name, sizeof(name), "CA of %.50s", log_name);
	TRY(service_ca_new(&key, name, &pem));
	TRY(write_key(service, "ca.key", &key));
	return write_file(service, "ca.crt", bytes_span(&pem), 0644);
}

static result fill_ledger(const struct ledger_place_new *what, const char *log_name)
{
	CLEANUP(key_free) struct key fresh = KEY_EMPTY;
	struct genesis genesis = {.what = what, .founder = what->founder};
	const struct ledger_engine_options engine = {.dir = what->dir};
	char client[PATH_SIZE];
	if (!genesis.founder) {
		TRY(key_generate(&fresh));
		TRY(write_key(what->dir, "founder.key", &fresh));
		genesis.founder = &fresh;
	}
	TRY(make_ca(what->dir, log_name));
	TRY(issue_service(what->dir, what->names, what->name_count));
	TRY(ledger_engine_init(&engine, log_name, genesis_transaction, &genesis));
	TRY(path_join(client, what->dir, "client"));
	return add_client(what->dir, "first", what->url ? what->url : default_url, genesis.chain, client);
}

/* Nothing of a ledger that was not made whole stays, so that it can be made again. */
static void take_back(const char *dir, bool was_there)
{
	static const char *const made[] = {"service", "client", "founder.key", "log.key", "log.vkey", "log.head", "log.lock", "log-00000001.log"};
	char path[PATH_SIZE];
	if (!was_there)
		(void)!file_remove_tree(AT_FDCWD, dir);
	for (size_t i = 0; was_there && i < COUNT_OF(made); i++)
		if (path_join(path, dir, made[i]) == OK)
			(void)!file_remove_tree(AT_FDCWD, path);
}

result ledger_place_init(const struct ledger_place_new *what)
{
	char name[NOTE_NAME_MAX + 1], hex[17], text[512];
	uint8_t random[8];
	bool was_there = access(what->dir, F_OK) == 0;
	random_bytes(random, sizeof(random));
	hex_encode(SPAN_ARRAY(random), hex);
	snprintf(name, sizeof(name), "troth.invalid/%s", hex);
	static const char *const there[] = {"log.key", "log.vkey", "log.head", "service", "client", "founder.key"};
	for (size_t i = 0; i < COUNT_OF(there); i++)
		if (is_there(what->dir, there[i]))
			return fail(ALREADY_EXISTS, "'%s' has '%s' already", what->dir, there[i]);
	TRY(file_make_dirs(what->dir, 0700));
	result filled = fill_ledger(what, what->log_name ? what->log_name : name);
	if (filled == OK)
		return OK;
	snprintf(text, sizeof(text), "%s", failure_text());
	take_back(what->dir, was_there);
	return fail(filled, "%s", text);
}
