/* troth host backup: the storage keys of this host, readable by its recovery keys together (docs/BACKUP.md). */
#include "cmd/verb.h"

#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "object/backup.h"
#include "wire/json.h"

enum { KEY_FILE_MAX = 64 * 1024 };

struct arguments {
	struct host_options host;
	struct words recovery;
	const char *output;
};

static result read_keys(const struct words *files, struct arena *arena, struct ap_backup *out)
{
	void *items, *spkis;
	if (files->count < 1 || files->count > BACKUP_MAX_HOLDERS)
		return fail(USAGE, "--recovery takes the public keys of the whole recovery set, %d at most", BACKUP_MAX_HOLDERS);
	TRY(arena_alloc(arena, files->count, sizeof(struct bytes_item), &items));
	TRY(arena_alloc(arena, files->count, SPKI_SIZE, &spkis));
	*out = (struct ap_backup){items, files->count};
	for (size_t i = 0; i < files->count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		uint8_t *spki = (uint8_t *)spkis + i * SPKI_SIZE;
		result read = file_read(files->items[i], KEY_FILE_MAX, &pem);
		if (read == OK)
			read = key_from_pem(bytes_span(&pem), &key);
		if (read != OK)
			return fail_within(read, "recovery key '%s'", files->items[i]);
		key_spki(&key, spki);
		out->keys[i].bytes = span_of(spki, SPKI_SIZE);
	}
	return OK;
}

static result tell(const struct backup *backup, const char *path, bool json)
{
	char fingerprint[EPOCH_FINGERPRINT_SIZE];
	rot_fingerprint(backup->rot_id, fingerprint);
	if (json) {
		json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:o, s:I, s:I}", "written", path, "fingerprint", fingerprint, "era",
			(json_int_t)backup->era, "epoch", (json_int_t)backup->epoch, "time", json_time(backup->time), "k", (json_int_t)backup->k, "n",
			(json_int_t)backup->holder_count);
		result printed = object ? json_print(stdout, object) : fail(NO_MEMORY, "json");
		json_decref(object);
		return printed;
	}
	printf("%s written: any %u of the %zu recovery keys together can restore it.\n", path, backup->k, backup->holder_count);
	printf("Keep with it the history of this root (`troth root history --output FILE`): a restore needs both. Back up again after a\n"
	       "recovery; rotations need no new backup.\n");
	return OK;
}

static result back_up(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct ap_backup request;
	struct ap_backed_up reply;
	struct backup backup;
	struct stat status;
	uint8_t oid[OID_SIZE];
	const struct client_call call = {.type = SERVICE_BACKUP, .body = &request, .expected = SERVICE_BACKED_UP, .timeout_ms = 60 * 1000};
	if (!arguments->output)
		return fail(USAGE, "--output is needed");
	if (lstat(arguments->output, &status) == 0)
		return fail(ALREADY_EXISTS, "%s", arguments->output);
	TRY(read_keys(&arguments->recovery, &arena, &request));
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(client_call(&client, &call, &arena, &reply, NULL));
	TRY(backup_peek(reply.object, &arena, &backup, oid));
	TRY(file_write_atomic(arguments->output, reply.object, 0600));
	return tell(&backup, arguments->output, json);
}

int verb_host_backup(int argc, char **argv)
{
	struct arguments arguments = {.output = NULL};
	const struct option_row rows[] = {
		{"recovery", OPTION_WORDS, &arguments.recovery, "FILE...", "public keys (PEM) of the whole recovery set, in any order"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the backup goes, never over an existing file"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "host backup",
		.usage = "--recovery FILE... --output FILE [--state DIR]",
		.description = "Backs up what sealed secrets rest under, encrypted so that only a quorum of the recovery keys together can read it,\n"
			       "and only for a host that they recover. It holds no key that signs: a restored host begins a new era.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = back_up(&arguments, options.json);
	return verb_end(done, argc, argv);
}
