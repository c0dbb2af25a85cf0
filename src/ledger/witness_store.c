#include "ledger/witness_store.h"

#include "base/file.h"
#include "store/slots.h"
#include "store/transfer.h"
#include "wire/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char key_name[] = "witness.key", vkey_name[] = "witness.vkey", lock_name[] = "witness.lock", add_lock_name[] = "logs.lock";
static const char head_word[] = "troth witness1\n";

enum {
	HEX_LEN = 32, /* of a log's name in the folder */
	FILE_NAME_MAX = HEX_LEN + 32,
	SLOT_SIZE = 2048,
	KEYS_MAX = NOTE_NAME_MAX + 1 + WITNESS_KEYS_MAX * (NOTE_VKEY_SIZE + 1),
	HEAD_MAX = SLOT_SIZE - SLOT_HEADER_SIZE,
};

struct witness_store {
	const struct store_io *io;
	char dir[PATH_SIZE];
	int folder, lock; /* -1: none */
	struct note_key key;
	struct secret seed;
	bool poisoned;
};

/* ---- Files ------------------------------------------------------------------------------------- */

static const struct store_io *io_of(const struct witness_store_options *options)
{
	return options->io ? options->io : &store_io_system;
}

/* A store without key and lock: what adding and listing need. */
static result open_folder(const struct witness_store_options *options, struct witness_store *out)
{
	*out = (struct witness_store){.io = io_of(options), .folder = -1, .lock = -1};
	if (snprintf(out->dir, sizeof(out->dir), "%s", options->dir) >= (int)sizeof(out->dir))
		return fail(TOO_LARGE, "the path of a witness");
	out->folder = out->io->open_at(out->io->ctx, AT_FDCWD, options->dir, O_RDONLY | O_DIRECTORY, 0);
	return out->folder < 0 ? fail_errno("the folder of a witness, %s", options->dir) : OK;
}

static void store_clear(struct witness_store *store)
{
	secret_free(&store->seed);
	if (store->lock >= 0)
		(void)store->io->close(store->io->ctx, store->lock);
	if (store->folder >= 0)
		(void)store->io->close(store->io->ctx, store->folder);
	store->lock = store->folder = -1;
}

static result open_file(const struct witness_store *store, const char *name, int flags, int *out)
{
	int fd = store->io->open_at(store->io->ctx, store->folder, name, flags, 0600);
	if (fd < 0)
		return fail_errno("opening %s", name);
	*out = fd;
	return OK;
}

static result read_file(const struct witness_store *store, const char *name, void *out, size_t max, size_t *out_len)
{
	int fd;
	TRY(open_file(store, name, O_RDONLY, &fd));
	result read = transfer_read_some(store->io, fd, out, max, 0, out_len);
	(void)store->io->close(store->io->ctx, fd);
	return read;
}

static result rename_durable(const struct witness_store *store, const char *from, const char *to)
{
	if (store->io->rename_at(store->io->ctx, store->folder, from, to) < 0)
		return fail_errno("naming %s", to);
	return store->io->sync(store->io->ctx, store->folder) < 0 ? fail_errno("making %s durable", to) : OK;
}

static result write_file(const struct witness_store *store, const char *name, struct span content)
{
	char temp[FILE_NAME_MAX + 8];
	int fd;
	snprintf(temp, sizeof(temp), "%s.tmp", name);
	TRY(open_file(store, temp, O_RDWR | O_CREAT | O_TRUNC, &fd));
	result written = transfer_write(store->io, fd, content, 0, "witness.write");
	if (written == OK && store->io->sync(store->io->ctx, fd) < 0)
		written = fail_errno("making %s durable", name);
	(void)store->io->close(store->io->ctx, fd);
	TRY(written);
	return rename_durable(store, temp, name);
}

/* Held until the descriptor is closed. BUSY. */
static result take_lock(const struct witness_store *store, const char *name, int *out)
{
	int fd;
	TRY(open_file(store, name, O_RDWR | O_CREAT, &fd));
	if (store->io->lock(store->io->ctx, fd) == 0) {
		*out = fd;
		return OK;
	}
	result failed = errno == EWOULDBLOCK ? fail(BUSY, "another program works on the witness in %s", store->dir) : fail_errno("locking %s", name);
	(void)store->io->close(store->io->ctx, fd);
	return failed;
}

static void log_hex(const char *origin, char out[static HEX_LEN + 1])
{
	uint8_t digest[SHA256_SIZE];
	sha256(span_str(origin), digest);
	hex_encode(span_of(digest, HEX_LEN / 2), out);
}

static void log_file(const char *origin, const char *what, char out[static FILE_NAME_MAX])
{
	char hex[HEX_LEN + 1];
	log_hex(origin, hex);
	snprintf(out, FILE_NAME_MAX, "log-%s.%s", hex, what);
}

/* ---- The witness's key --------------------------------------------------------------------------- */

static result make_key(const struct witness_store *store, const char *name, struct note_key *out)
{
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	uint8_t point[ED25519_PUBLIC_SIZE];
	char text[NOTE_VKEY_SIZE], line[NOTE_VKEY_SIZE + 1];
	struct note_key key;
	TRY(ed25519_generate(&seed));
	TRY(ed25519_public(&seed, point));
	TRY(note_key_new(name, NOTE_KEY_COSIGNER, point, &key));
	note_key_format(&key, text);
	snprintf(line, sizeof(line), "%s\n", text);
	TRY(write_file(store, key_name, secret_span(&seed)));
	TRY(write_file(store, vkey_name, span_str(line)));
	*out = key;
	return OK;
}

static result read_key(struct witness_store *store)
{
	char text[NOTE_VKEY_SIZE + 8];
	uint8_t point[ED25519_PUBLIC_SIZE];
	CLEANUP(secret_free) struct secret seed = SECRET_EMPTY;
	size_t len;
	TRY(secret_new(ED25519_SEED_SIZE + 1, &seed));
	TRY(read_file(store, vkey_name, text, sizeof(text), &len));
	if (len == 0 || text[len - 1] != '\n' || note_key_parse(span_of(text, len - 1), &store->key) != OK || store->key.type != NOTE_KEY_COSIGNER)
		return fail(WITNESS_DAMAGED, "%s is not a witness's public key", vkey_name);
	TRY(read_file(store, key_name, seed.data, seed.len, &len));
	if (len == ED25519_SEED_SIZE)
		TRY(secret_copy(span_of(seed.data, len), &store->seed));
	if (len != ED25519_SEED_SIZE || ed25519_public(&store->seed, point) != OK || memcmp(point, store->key.public_key, sizeof(point)) != 0)
		return fail(WITNESS_DAMAGED, "%s is not the key of %s", key_name, vkey_name);
	return OK;
}

static result init_in(struct witness_store *store, const char *name, struct note_key *out)
{
	uint8_t any;
	size_t len;
	TRY(take_lock(store, lock_name, &store->lock));
	result there = read_file(store, vkey_name, &any, sizeof(any), &len);
	if (there == OK)
		return fail(ALREADY_EXISTS, "there is a witness in %s", store->dir);
	return there == NOT_FOUND ? make_key(store, name, out) : there;
}

result witness_store_init(const struct witness_store_options *options, const char *name, struct note_key *out)
{
	struct witness_store store;
	if (!options->io)
		TRY(file_make_dirs(options->dir, 0700));
	TRY(open_folder(options, &store));
	result done = init_in(&store, name, out);
	store_clear(&store);
	return done;
}

result witness_store_open(const struct witness_store_options *options, struct witness_store **out)
{
	struct witness_store *store = malloc(sizeof(*store));
	if (!store)
		return fail(NO_MEMORY, "a witness");
	result opened = open_folder(options, store);
	if (opened == OK)
		opened = read_key(store);
	if (opened == OK)
		opened = take_lock(store, lock_name, &store->lock);
	if (opened != OK) {
		witness_store_close(store);
		return opened == NOT_FOUND ? fail_within(opened, "there is no witness in %s; `troth ledger witness new` makes one", options->dir)
					   : opened;
	}
	*out = store;
	return OK;
}

void witness_store_close(struct witness_store *store)
{
	if (!store)
		return;
	store_clear(store);
	free(store);
}

void witness_store_cleanup(struct witness_store **at)
{
	witness_store_close(*at);
	*at = NULL;
}

const struct note_key *witness_store_key(const struct witness_store *store)
{
	return &store->key;
}

/* ---- The keys of a log --------------------------------------------------------------------------- */

static result damaged(const char *name, const char *why)
{
	return fail(WITNESS_DAMAGED, "%s %s", name, why);
}

static result parse_keys(struct span text, const char *name, struct witness_log *out)
{
	struct witness_log log = {0};
	char origin[NOTE_NAME_MAX + 1] = "";
	for (bool first = true; text.len; first = false) {
		struct note_key key;
		const uint8_t *end = memchr(text.data, '\n', text.len);
		if (!end)
			return damaged(name, "ends within a line");
		struct span line = span_of(text.data, (size_t)(end - text.data));
		text = span_of(end + 1, text.len - line.len - 1);
		if (first && line.len >= 1 && line.len <= NOTE_NAME_MAX && !memchr(line.data, '\0', line.len))
			memcpy(origin, line.data, line.len);
		else if (first || log.key_count == WITNESS_KEYS_MAX || note_key_parse(line, &key) != OK || key.type != NOTE_KEY_LOG)
			return damaged(name, "is not an origin and keys of its log");
		else if (log.key_count)
			log.keys[log.key_count++] = key;
		else
			TRY(witness_log_new(origin, &key, &log));
	}
	if (log.key_count == 0)
		return damaged(name, "names no key");
	*out = log;
	return OK;
}

/* WITNESS_LOG_UNKNOWN when there is no such file. */
static result read_keys(const struct witness_store *store, const char *name, struct witness_log *out)
{
	char text[KEYS_MAX + 1];
	size_t len;
	result read = read_file(store, name, text, sizeof(text), &len);
	if (read == NOT_FOUND)
		return fail(WITNESS_LOG_UNKNOWN, "no log of this origin was added");
	TRY(read);
	if (len > KEYS_MAX)
		return damaged(name, "is too long");
	return parse_keys(span_of(text, len), name, out);
}

static result write_keys(const struct witness_store *store, const struct witness_log *log)
{
	char name[FILE_NAME_MAX], text[NOTE_VKEY_SIZE];
	CLEANUP(writer_free) struct writer w = writer_growing(KEYS_MAX);
	struct span all;
	writer_str(&w, log->origin);
	writer_str(&w, "\n");
	for (size_t i = 0; i < log->key_count; i++) {
		note_key_format(&log->keys[i], text);
		writer_str(&w, text);
		writer_str(&w, "\n");
	}
	TRY(writer_finish(&w, &all));
	log_file(log->origin, "keys", name);
	return write_file(store, name, all);
}

/* ---- The head of a log ----------------------------------------------------------------------------- */

/*
 * The head stands there, durable, before the keys do: a log with keys and no head has lost it. One that is there is kept, also
 * without keys: it may know what was cosigned.
 */
static result make_head(const struct witness_store *store, const char *origin)
{
	char name[FILE_NAME_MAX], temp[FILE_NAME_MAX + 8];
	int fd;
	log_file(origin, "head", name);
	snprintf(temp, sizeof(temp), "%s.tmp", name);
	result there = open_file(store, name, O_RDONLY, &fd);
	if (there == OK)
		(void)store->io->close(store->io->ctx, fd);
	if (there != NOT_FOUND)
		return there;
	TRY(open_file(store, temp, O_RDWR | O_CREAT | O_TRUNC, &fd));
	result made = slots_format_io(store->io, fd, SLOT_SIZE);
	(void)store->io->close(store->io->ctx, fd);
	TRY(made);
	return rename_durable(store, temp, name);
}

static result parse_head(struct span payload, const char *name, struct witness_log *log)
{
	size_t word = sizeof(head_word) - 1;
	struct witness_request seen = {0};
	if (payload.len == 0)
		return OK; /* nothing was cosigned yet */
	if (payload.len < word || memcmp(payload.data, head_word, word) != 0)
		return damaged(name, "is not what a witness wrote");
	if (note_parse(span_of(payload.data + word, payload.len - word), &seen.note) != OK ||
		checkpoint_parse(seen.note.text, &seen.checkpoint) != OK || strcmp(seen.checkpoint.origin, log->origin) != 0 ||
		!witness_signer(log, &seen))
		return damaged(name, "holds no checkpoint that a key of this log signed");
	log->size = seen.checkpoint.size;
	log->root = seen.checkpoint.root;
	return OK;
}

/* `out_payload` (may be NULL): the last checkpoint behind head_word. */
static result read_head(const struct slots *slots, const char *name, struct witness_log *log, struct bytes *out_payload)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	if (slots->sequence == 0)
		return damaged(name, "is empty");
	TRY(slots_read(slots, &payload));
	TRY(parse_head(bytes_span(&payload), name, log));
	if (out_payload)
		*out_payload = bytes_move(&payload);
	return OK;
}

static result open_head(const struct witness_store *store, const char *name, int flags, int *out_fd, struct slots *out)
{
	int fd;
	result opened = open_file(store, name, flags, &fd);
	if (opened == NOT_FOUND)
		return damaged(name, "is missing");
	TRY(opened);
	result read = slots_open_io(store->io, fd, SLOT_SIZE, out);
	if (read == OK) {
		*out_fd = fd;
		return OK;
	}
	(void)store->io->close(store->io->ctx, fd);
	return read == JOURNAL_DAMAGED ? damaged(name, "is damaged in both its slots") : read;
}

/* The checkpoint with the log's own signature and no other. */
static result put_head(const struct witness_request *request, const struct note_key *signer, struct writer *w)
{
	struct span all;
	writer_str(w, head_word);
	writer_span(w, request->note.text);
	writer_str(w, "\n");
	for (size_t i = 0; i < request->note.count; i++) {
		const struct note_signature *signature = &request->note.signatures[i];
		uint8_t blob[NOTE_KEY_ID_SIZE + sizeof(signature->bytes)];
		char text[BASE64_LENGTH(sizeof(blob)) + 1];
		if (!span_equal(signature->name, span_str(signer->name)) || memcmp(signature->id, signer->id, NOTE_KEY_ID_SIZE) != 0)
			continue;
		memcpy(blob, signature->id, NOTE_KEY_ID_SIZE);
		memcpy(blob + NOTE_KEY_ID_SIZE, signature->bytes, signature->len);
		base64_encode(span_of(blob, NOTE_KEY_ID_SIZE + signature->len), text);
		writer_str(w, "\xe2\x80\x94 ");
		writer_str(w, signer->name);
		writer_str(w, " ");
		writer_str(w, text);
		writer_str(w, "\n");
		break;
	}
	return writer_finish(w, &all);
}

/* Both slots, so that there is never only one that knows what was said. */
static result remember(struct witness_store *store, struct slots *slots, struct span head)
{
	result written = slots_write(slots, head);
	if (written == OK)
		written = slots_write(slots, head);
	store->poisoned = slots->poisoned;
	return written;
}

/* ---- Evidence ---------------------------------------------------------------------------------------- */

static result evidence_path(const struct witness_store *store, const struct witness_log *log, char out[static PATH_SIZE])
{
	char folder[PATH_SIZE], hex[HEX_LEN + 1];
	log_hex(log->origin, hex);
	TRY(path_join(folder, store->dir, "evidence"));
	return path_join(out, folder, hex);
}

static result write_evidence(const char *folder, const char *name, struct span content)
{
	char path[PATH_SIZE];
	TRY(path_join(path, folder, name));
	return file_write_atomic(path, content, 0600);
}

/* The first that a log gave, as a client keeps it (ledger/client.h): one.checkpoint, other.checkpoint, log.vkey, why.txt. */
static result keep_evidence(const struct witness_store *store, const struct witness_log *log, const struct witness_request *request,
	struct span head)
{
	CLEANUP(writer_free) struct writer other = writer_growing(HEAD_MAX + 64);
	char folder[PATH_SIZE], vkey[NOTE_VKEY_SIZE + 1], why[NOTE_NAME_MAX + 128];
	const struct note_key *signer = witness_signer(log, request);
	size_t word = sizeof(head_word) - 1;
	if (store->io != &store_io_system || head.len <= word || !signer)
		return OK;
	TRY(evidence_path(store, log, folder));
	if (access(folder, F_OK) == 0)
		return OK;
	TRY(file_make_dirs(folder, 0700));
	TRY(put_head(request, signer, &other));
	note_key_format(signer, vkey);
	snprintf(vkey + strlen(vkey), 2, "\n");
	snprintf(why, sizeof(why), "'%s' has signed two heads of size %" PRIu64 " with different roots.\n", log->origin, log->size);
	TRY(write_evidence(folder, "one.checkpoint", span_of(head.data + word, head.len - word)));
	TRY(write_evidence(folder, "other.checkpoint", span_of(other.data + word, other.len - word)));
	TRY(write_evidence(folder, "log.vkey", span_str(vkey)));
	return write_evidence(folder, "why.txt", span_str(why));
}

/* ---- Cosigning ----------------------------------------------------------------------------------------- */

static result cosign_under(struct witness_store *store, const struct witness_request *request, const char *name, struct slots *slots,
	struct witness_log *log, uint64_t now_s, struct writer *out_line, uint64_t *out_size)
{
	CLEANUP(bytes_free) struct bytes payload = BYTES_EMPTY;
	CLEANUP(writer_free) struct writer head = writer_growing(HEAD_MAX), line = writer_growing(NOTE_LINE_MAX);
	struct span text;
	TRY(read_head(slots, name, log, &payload));
	*out_size = log->size;
	result judged = witness_judge(log, request);
	if (judged == LEDGER_FORKED) {
		TRY(keep_evidence(store, log, request, bytes_span(&payload)));
		return fail(LEDGER_FORKED, "'%s' has signed two heads of size %" PRIu64, log->origin, log->size);
	}
	TRY(judged);
	TRY(put_head(request, witness_signer(log, request), &head));
	/* Made before it is remembered: what cannot be signed is not moved on to. */
	TRY(note_sign(request->note.text, &store->key, &store->seed, now_s, &line));
	TRY(remember(store, slots, span_of(head.data, head.len)));
	*out_size = request->checkpoint.size;
	writer_put(out_line, line.data, line.len);
	return writer_finish(out_line, &text);
}

static result cosign_request(struct witness_store *store, const struct witness_request *request, uint64_t now_s, struct writer *out_line,
	uint64_t *out_size)
{
	struct witness_log log;
	struct slots slots;
	char keys[FILE_NAME_MAX], head[FILE_NAME_MAX];
	int fd;
	log_file(request->checkpoint.origin, "keys", keys);
	log_file(request->checkpoint.origin, "head", head);
	TRY(read_keys(store, keys, &log));
	TRY(open_head(store, head, O_RDWR, &fd, &slots));
	result done = cosign_under(store, request, head, &slots, &log, now_s, out_line, out_size);
	(void)store->io->close(store->io->ctx, fd);
	return done;
}

result witness_store_cosign(struct witness_store *store, struct span body, uint64_t now_s, struct writer *out_line, uint64_t *out_size)
{
	struct witness_request request;
	*out_size = 0;
	if (store->poisoned)
		return fail(JOURNAL_POISONED, "a write of this witness failed before; look at the disk and start it again");
	TRY(witness_request_parse(body, &request));
	return cosign_request(store, &request, now_s, out_line, out_size);
}

/* ---- Logs ------------------------------------------------------------------------------------------------ */

static bool has_key(const struct witness_log *log, const struct note_key *key)
{
	for (size_t i = 0; i < log->key_count; i++)
		if (memcmp(log->keys[i].public_key, key->public_key, sizeof(key->public_key)) == 0 && strcmp(log->keys[i].name, key->name) == 0)
			return true;
	return false;
}

static result add_to(const struct witness_store *store, const char *origin, const struct note_key *key)
{
	struct witness_log log, known;
	char name[FILE_NAME_MAX];
	TRY(witness_log_new(origin, key, &log));
	log_file(log.origin, "keys", name);
	result read = read_keys(store, name, &known);
	if (read == WITNESS_LOG_UNKNOWN) {
		TRY(make_head(store, log.origin));
		return write_keys(store, &log);
	}
	TRY(read);
	if (has_key(&known, key))
		return fail(ALREADY_EXISTS, "this witness has the log '%s' with this key", log.origin);
	if (known.key_count == WITNESS_KEYS_MAX)
		return fail(TOO_LARGE, "a log has at most %d keys", WITNESS_KEYS_MAX);
	known.keys[known.key_count++] = *key;
	return write_keys(store, &known);
}

result witness_store_add_log(const struct witness_store_options *options, const char *origin, const struct note_key *key)
{
	struct witness_store store;
	if (key->type != NOTE_KEY_LOG)
		return fail(UNSUPPORTED_ALGORITHM, "'%s' is not the key of a log", key->name);
	TRY(open_folder(options, &store));
	result done = read_key(&store);
	if (done == OK)
		done = take_lock(&store, add_lock_name, &store.lock);
	if (done == OK)
		done = add_to(&store, origin, key);
	store_clear(&store);
	return done;
}

static void view_head(const struct witness_store *store, struct witness_view *view)
{
	char name[FILE_NAME_MAX], folder[PATH_SIZE];
	struct slots slots;
	int fd;
	log_file(view->log.origin, "head", name);
	view->state = open_head(store, name, O_RDONLY, &fd, &slots);
	if (view->state != OK)
		return;
	view->state = read_head(&slots, name, &view->log, NULL);
	(void)store->io->close(store->io->ctx, fd);
	view->forked = evidence_path(store, &view->log, folder) == OK && access(folder, F_OK) == 0;
}

static result view_each(const struct witness_store *store, DIR *listing, witness_visit *each, void *arg)
{
	for (struct dirent *entry; (entry = readdir(listing));) {
		struct witness_view view = {0};
		const char *dot = strrchr(entry->d_name, '.');
		if (strncmp(entry->d_name, "log-", 4) != 0 || !dot || strcmp(dot, ".keys") != 0)
			continue;
		TRY(read_keys(store, entry->d_name, &view.log));
		view_head(store, &view);
		TRY(each(arg, &view));
	}
	return OK;
}

result witness_store_each(const struct witness_store_options *options, witness_visit *each, void *arg)
{
	struct witness_store store;
	if (options->io)
		return fail(NOT_SUPPORTED, "only a real folder can be listed");
	TRY(open_folder(options, &store));
	DIR *listing = opendir(options->dir);
	result done = listing ? view_each(&store, listing, each, arg) : fail_errno("listing %s", options->dir);
	if (listing)
		closedir(listing);
	store_clear(&store);
	return done;
}
