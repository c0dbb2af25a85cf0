#include "job/policies.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "object/policy_version.h"
#include "wire/text.h"

enum { ASK_MS = 5000, MOST_ROWS = 4096, ROW_TEXT_MAX = 4096 };

static const char name_label[] = "troth policy subject1"; /* hashed with its NUL */

static const struct field row_fields[] = {
	F_TEXT(struct policies_row, 1, name, 1, NAME_MAX_LEN),
	F_TEXT(struct policies_row, 2, job, 0, NAME_MAX_LEN),
	F_FIXED(struct policies_row, 3, run_id),
	F_UINT(struct policies_row, 4, reason, 0),
	F_TEXT(struct policies_row, 5, text, 0, ROW_TEXT_MAX),
	F_UINT(struct policies_row, 6, version, 0),
	F_UINT(struct policies_row, 7, closed, 0),
};
static const struct schema row_schema = SCHEMA(struct policies_row, "enclave", SHAPE_MAP, row_fields);

static const struct field pushed_fields[] = {
	F_FIXED(struct policies_pushed, 1, digest),
	F_TEXT(struct policies_pushed, 2, id, 1, NAME_MAX_LEN),
	F_UINT(struct policies_pushed, 3, version, 0),
	F_LIST(struct policies_pushed, 4, rows, row_count, &row_schema, 0, 0, MOST_ROWS),
};
const struct schema policies_pushed_schema = SCHEMA(struct policies_pushed, "pushed policy version", SHAPE_MAP, pushed_fields);

struct policies {
	pthread_mutex_t lock;
	char folder[PATH_SIZE];
};

/* ---- The folder ----------------------------------------------------------------------------------------- */

result policies_new(const char *state_dir, struct policies **out)
{
	struct policies *policies = calloc(1, sizeof(*policies));
	if (!policies)
		return fail(NO_MEMORY, "policy versions");
	snprintf(policies->folder, sizeof(policies->folder), "%s/policies", state_dir);
	pthread_mutex_init(&policies->lock, NULL);
	*out = policies;
	return OK;
}

void policies_free(struct policies *policies)
{
	if (!policies)
		return;
	pthread_mutex_destroy(&policies->lock);
	free(policies);
}

/* One file for an author and subject, whatever letters their names have. */
static result path_of(const struct policies *policies, const struct policy_view *policy, char out[static PATH_SIZE])
{
	uint8_t digest[SHA256_SIZE], kind = (uint8_t)policy->kind;
	char hex[2 * SHA256_SIZE + 1];
	struct hash hash = {0};
	TRY(hash_start(&hash, HASH_SHA256));
	hash_add(&hash, SPAN_ARRAY(name_label));
	hash_add(&hash, policy->author);
	hash_add(&hash, span_of(&kind, 1));
	hash_add(&hash, policy->id);
	hash_finish(&hash, digest);
	hex_encode(SPAN_ARRAY(digest), hex);
	int len = snprintf(out, PATH_SIZE, "%s/%s", policies->folder, hex);
	return len < PATH_SIZE ? OK : fail(TOO_LARGE, "the path of the state folder");
}

/* What is kept of this author and subject, verified again; *out_kept NULL: nothing. */
static result read_kept(const struct policies *policies, const struct policy_view *policy, struct policy_versions *into,
	const struct policy_version **out_kept)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	char path[PATH_SIZE];
	TRY(path_of(policies, policy, path));
	*out_kept = NULL;
	result read = file_read(path, POLICY_VERSION_MAX, &object);
	if (read == NOT_FOUND)
		return OK;
	if (read == OK)
		read = policy_versions_add(into, bytes_span(&object), out_kept);
	if (read == OK && ((*out_kept)->policy.kind != policy->kind || !span_equal((*out_kept)->policy.id, policy->id) ||
				  !span_equal((*out_kept)->policy.author, policy->author)))
		read = fail(POLICY_FOREIGN, "it is the policy of another");
	return read == OK ? OK : fail_within(read, "the policy version that this host keeps, '%s'", path);
}

static result make_folder(const struct policies *policies)
{
	if (mkdir(policies->folder, 0700) != 0 && errno != EEXIST)
		return fail_errno("'%s'", policies->folder);
	return OK;
}

/* The floor: never lower than what was seen, and one content for one version. */
static result keep(const struct policies *policies, struct policy_versions *versions, const struct policy_version *version)
{
	const struct policy_version *kept;
	char path[PATH_SIZE];
	TRY(read_kept(policies, &version->policy, versions, &kept));
	if (kept == version)
		return OK; /* the very same */
	if (kept && kept->policy.version >= version->policy.version)
		return fail(POLICY_OLD, "version %" PRIu64 " of the policy of %.*s; version %" PRIu64 " was seen here", version->policy.version,
			(int)version->policy.id.len, (const char *)version->policy.id.data, kept->policy.version);
	TRY(make_folder(policies));
	TRY(path_of(policies, &version->policy, path));
	return file_write_atomic(path, version->object, 0600);
}

static result newest(const struct policies *policies, struct span compiled, struct bytes *out)
{
	CLEANUP(policy_versions_cleanup) struct policy_versions *versions = NULL;
	CLEANUP(policy_table_cleanup) struct policy_table *table = NULL;
	CLEANUP(bytes_free) struct bytes set = BYTES_EMPTY;
	const struct policy_version *kept;
	struct policy_view launched;
	TRY(policy_set_join(&compiled, 1, &set));
	TRY(policy_table_load(bytes_span(&set), &table));
	policy_at(table, 0, &launched);
	if (launched.author.len == 0)
		return OK;
	TRY(policy_versions_new(&versions));
	TRY(read_kept(policies, &launched, versions, &kept));
	if (!kept || kept->policy.version <= launched.version)
		return OK;
	TRY(policy_version_follows(&launched, kept, 0));
	return bytes_copy(kept->object, out);
}

result policies_newest(struct policies *policies, struct span compiled, struct bytes *out)
{
	pthread_mutex_lock(&policies->lock);
	result found = newest(policies, compiled, out);
	pthread_mutex_unlock(&policies->lock);
	return found;
}

/* ---- Pushing -------------------------------------------------------------------------------------------- */

static result ask(struct live *live, const struct live_row *at, struct span object, struct arena *arena, struct policies_row *out)
{
	const struct control_policy body = {object};
	struct control_policy_taken taken;
	CLEANUP(bytes_free) struct bytes answer = BYTES_EMPTY;
	char target[NAME_MAX_LEN + 2 * RUN_ID_SIZE + 2], run[2 * RUN_ID_SIZE + 1];
	struct span kept;
	hex_encode(SPAN_ARRAY(at->run_id), run);
	snprintf(target, sizeof(target), "%s@%s", at->name, run);
	TRY(live_ask(live, target, CONTROL_POLICY, &body, CONTROL_POLICY_TAKEN, ASK_MS, &answer));
	TRY(arena_copy(arena, bytes_span(&answer), &kept));
	TRY(schema_decode(&control_policy_taken_schema, kept, arena, &taken));
	out->reason = taken.reason;
	out->text = taken.text;
	out->version = taken.version;
	out->closed = taken.closed;
	return OK;
}

static result tell(struct live *live, const struct live_row *at, const struct policy_version *version, struct arena *arena,
	struct policies_row *row)
{
	*row = (struct policies_row){.name = at->name, .job = at->job, .text = ""};
	memcpy(row->run_id, at->run_id, RUN_ID_SIZE);
	failure_clear();
	result asked = ask(live, at, version->object, arena, row);
	if (asked != OK) { /* it has ended, or does not answer: a row that says so */
		row->reason = (uint32_t)asked;
		TRY(arena_string(arena, span_str(failure_text()), &row->text));
	}
	if (row->reason == POLICY_OLD && row->version == version->policy.version)
		row->reason = OK; /* it got the very same at its launch */
	return OK;
}

static result tell_all(struct live *live, const struct policy_version *version, struct arena *arena, struct policies_pushed *out)
{
	struct live_row *rows;
	size_t count;
	void *list;
	if (version->policy.kind != SUBJECT_ENCLAVE)
		return OK;
	TRY(live_list(live, arena, &rows, &count));
	TRY(arena_alloc(arena, count + 1, sizeof(struct policies_row), &list));
	out->rows = list;
	for (size_t i = 0; i < count && out->row_count < MOST_ROWS; i++)
		if (span_equal(version->policy.id, span_str(rows[i].name)))
			TRY(tell(live, &rows[i], version, arena, &out->rows[out->row_count++]));
	return OK;
}

result policies_push(struct policies *policies, struct live *live, struct span object, struct arena *arena, struct policies_pushed *out)
{
	CLEANUP(policy_versions_cleanup) struct policy_versions *versions = NULL;
	const struct policy_version *version;
	struct policies_pushed pushed = {.row_count = 0};
	TRY(policy_versions_new(&versions));
	TRY(policy_versions_add(versions, object, &version));
	pthread_mutex_lock(&policies->lock);
	result kept = keep(policies, versions, version);
	pthread_mutex_unlock(&policies->lock);
	TRY(kept);
	memcpy(pushed.digest, version->policy.digest, SHA256_SIZE);
	pushed.version = version->policy.version;
	TRY(arena_string(arena, version->policy.id, &pushed.id));
	log_info("a newer version of a policy", LOG_TEXT("subject", pushed.id), LOG_NUMBER("version", pushed.version));
	TRY(tell_all(live, version, arena, &pushed));
	*out = pushed;
	return OK;
}

result policies_catch_up(struct policies *policies, struct ire *launch, struct span compiled, struct span launched_with)
{
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct letter *letter = NULL;
	TRY(policies_newest(policies, compiled, &object));
	if (object.len == 0 || span_equal(bytes_span(&object), launched_with))
		return OK;
	const struct control_policy body = {bytes_span(&object)};
	TRY(launch_post(launch, CONTROL_POLICY, &body, CONTROL_POLICY_TAKEN, &letter));
	letter_free(letter);
	return OK;
}
