/*
 * The host's end of the queue: its profile and the greeting. A state folder that was once started with profile `sealed` stays
 * with it: `ap/queue` says so, and a start that asks for less is refused, as is a secure processor that answers with less.
 */
#include <signal.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "crypto/random.h"
#include "object/object.h"
#include "root/host_internal.h"
#include "root/ipq_sealed.h"

static const char SEALED_WORD[] = "sealed\n";

static result is_marked(const char *path, bool *out)
{
	CLEANUP(bytes_free) struct bytes word = BYTES_EMPTY;
	result got = file_read(path, sizeof(SEALED_WORD), &word);
	*out = got == OK;
	if (got == NOT_FOUND)
		return OK;
	TRY(got);
	return span_equal_str(bytes_span(&word), SEALED_WORD) ? OK : fail(BAD_VALUE, "'%s' names no profile of the queue", path);
}

result host_queue_choose(const char *ap_dir, enum host_queue wanted, enum ipq_profile *out)
{
	char path[PATH_SIZE];
	bool marked;
	TRY(path_join(path, ap_dir, "queue"));
	TRY(is_marked(path, &marked));
	if (marked && wanted == HOST_QUEUE_LOCAL)
		return fail(QUEUE_HELLO, "this state folder's queue is sealed; remove '%s' to go back to profile local", path);
	if (!marked && wanted == HOST_QUEUE_SEALED)
		TRY(file_write_atomic(path, span_str(SEALED_WORD), 0600));
	*out = marked || wanted == HOST_QUEUE_SEALED ? IPQ_PROFILE_SEALED : IPQ_PROFILE_LOCAL;
	return OK;
}

result host_queue_pair(struct secret *out_pairing, struct fd *out_read)
{
	CLEANUP(secret_free) struct secret pairing = SECRET_EMPTY;
	CLEANUP(fd_close) struct fd read_end = FD_NONE;
	CLEANUP(fd_close) struct fd write_end = FD_NONE;
	struct fd ends[2];
	TRY(secret_new(IPQ_PAIRING_SIZE, &pairing));
	random_bytes(pairing.data, pairing.len);
	TRY(fd_pipe(ends));
	read_end = ends[0];
	write_end = ends[1];
	TRY(write_all(write_end.n, secret_span(&pairing)));
	*out_pairing = secret_move(&pairing);
	*out_read = fd_move(&read_end);
	return OK;
}

static result epoch_oid(struct span record, uint8_t out[static OID_SIZE])
{
	struct cose_sign sign;
	TRY(cose_strict_sign_parse(record, &sign));
	object_oid(KIND_EPOCH, sign.payload, out);
	return OK;
}

/*
 * The record may be a later one than the pinned, when a rotation was interrupted; so here only that its key signed this
 * greeting. Whether it is the root's is judged as ever, from HEALTH, which has to name the same record.
 */
static result judge_hello(void *context, const struct queue_hello *hello, struct span record, struct span object)
{
	struct root_host *host = context;
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	struct cose_sign sign;
	struct epoch epoch;
	host->greeted_with_root = record.len != 0;
	if (record.len == 0) {
		log_info("the sealed queue rests on the pairing secret alone: there is no root yet, and the first one is trusted on first use");
		return OK;
	}
	TRY(cose_strict_sign_parse(record, &sign));
	TRY(schema_decode(&epoch_schema, sign.payload, &arena, &epoch));
	TRY(epoch_oid(record, host->greeted_oid));
	TRY(key_from_point(SPAN_ARRAY(epoch.sign_pk), &key));
	return ipq_hello_verify(hello, object, &key, host->greeted_oid);
}

result host_queue_greet(struct root_host *host, uint64_t deadline_ns)
{
	if (ipq_profile(host->queue) == IPQ_PROFILE_SEALED)
		return ipq_greet_sealed(host->queue, deadline_ns, judge_hello, host, &host->boot_gen);
	return ipq_greet(host->queue, deadline_ns, &host->boot_gen);
}

result host_queue_check(const struct root_host *host, struct span record)
{
	uint8_t oid[OID_SIZE];
	if (ipq_profile(host->queue) != IPQ_PROFILE_SEALED)
		return OK;
	if (!host->greeted_with_root && record.len == 0)
		return OK;
	if (!host->greeted_with_root || record.len == 0)
		return fail(AP_UNTRUSTED, "it greeted %s a root and answers otherwise", host->greeted_with_root ? "with" : "without");
	TRY(epoch_oid(record, oid));
	if (memcmp(oid, host->greeted_oid, OID_SIZE) != 0)
		return fail(AP_UNTRUSTED, "it greeted with one record of its root and answers with another");
	return OK;
}

void host_queue_look(struct root_host *host)
{
	enum reason poison = ipq_poisoned(host->queue);
	if (poison == OK || host->queue_ended)
		return;
	host->queue_ended = true;
	log_error("the secure processor broke the rules of the queue and is ended; the next start has a new queue",
		LOG_TEXT("violation", reason_name(poison)), LOG_NUMBER("boot_generation", host->boot_gen));
	(void)!process_signal_group(&host->process, SIGKILL);
}

enum ipq_profile root_host_queue(const struct root_host *host)
{
	return ipq_profile(host->queue);
}
