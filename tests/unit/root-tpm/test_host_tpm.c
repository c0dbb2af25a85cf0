/*
 * A host whose secure processor has a TPM: the real troth-ap on a simulated TPM. What the TPM adds (RO-14: a state put back
 * is noticed although the pin store was put back with it), what it vouches for, and what happens when it is gone, cleared,
 * exchanged or boots otherwise.
 */
#include "../expect.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../swtpm.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "crypto/tpm.h"
#include "evidence/credential.h"
#include "evidence/tpm.h"
#include "root/host.h"
#include "root/host_internal.h"
#include "root/host_tpm.h"
#include "root/pins.h"
#include "root/tcb.h"
#include "root/tpm_order.h"

struct machine {
	struct swtpm tpm;
	char folder[64], device[128];
	struct root_host *host;
	struct wrap_source wrap;
};

static result start_with(struct machine *m, bool recovery)
{
	const struct root_host_config config = {
		.state_dir = m->folder,
		.program_dir = getenv("TROTH_PROGRAMS"),
		.ap_uid = geteuid() == 0 ? 612900 : 0,
		.wrap = m->wrap,
		.recovery = recovery,
	};
	fd_close(&m->tpm.fd); /* a raw TPM has one user */
	return root_host_start(&config, &m->host);
}

static result start(struct machine *m)
{
	return start_with(m, false);
}

static void stop(struct machine *m)
{
	root_host_stop(m->host);
	m->host = NULL;
}

static void make_root(struct machine *m)
{
	const struct root_host_init init = {.valid_ms = 24 * 3600 * 1000, .trust_domain = "test.internal"};
	expect_ok(start(m));
	expect_ok(root_host_init(m->host, &init));
	m->wrap = (struct wrap_source){.passphrase_fd = -1}; /* from now on the folder says */
}

static void open_machine(struct machine *m)
{
	*m = (struct machine){0};
	if (!getenv("TROTH_PROGRAMS")) {
		print_message("no folder of programs in TROTH_PROGRAMS\n");
		skip();
	}
	swtpm_start(&m->tpm, SWTPM_EK_RSA);
	snprintf(m->folder, sizeof(m->folder), "/tmp/troth-host-XXXXXX");
	assert_non_null(mkdtemp(m->folder));
	snprintf(m->device, sizeof(m->device), "unix:%s", m->tpm.socket);
	m->wrap = (struct wrap_source){.kind = WRAP_TPM, .passphrase_fd = -1, .tpm = m->device};
}

static void close_machine(struct machine *m)
{
	stop(m);
	expect_ok(file_remove_tree(-100 /* AT_FDCWD */, m->folder));
	swtpm_stop(&m->tpm);
}

static void rotate(struct machine *m)
{
	const struct root_host_rotation rotation = {.reason = EPOCH_OPERATOR, .text = "test", .emergency = true};
	expect_ok(root_host_rotate(m->host, &rotation));
}

static uint64_t counter_of_head(struct machine *m)
{
	ROOT_IDENTITY_HELD root = root_host_hold(m->host);
	assert_non_null(root);
	assert_int_equal(root->epoch.counter.kind, COUNTER_TPM_NV);
	return root->epoch.counter.value;
}

static void copy_tree(const char *from, const char *to)
{
	DIR *folder = opendir(from);
	const struct dirent *entry;
	expect_ok(file_make_dirs(to, 0700));
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char source[PATH_SIZE], target[PATH_SIZE];
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
		snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
		if (entry->d_type == DT_DIR) {
			copy_tree(source, target);
		} else if (entry->d_type == DT_REG) {
			expect_ok(file_read(source, 64 << 20, &content));
			expect_ok(file_write_atomic(target, bytes_span(&content), 0600));
		}
	}
	closedir(folder);
}

static void counts_each_epoch(void **state)
{
	struct machine m;
	open_machine(&m);
	make_root(&m);
	uint64_t first = counter_of_head(&m);
	rotate(&m);
	assert_int_equal(counter_of_head(&m), first + 1);
	stop(&m);
	expect_ok(start(&m));
	assert_int_equal(counter_of_head(&m), first + 1);
	rotate(&m);
	assert_int_equal(counter_of_head(&m), first + 2);
	close_machine(&m);
}

/* RO-14: the whole folder, pin store and history included, of an epoch before. */
static void ro14_folder_put_back(void **state)
{
	struct machine m;
	char copy[128];
	open_machine(&m);
	make_root(&m);
	for (int i = 0; i < 4; i++)
		rotate(&m);
	stop(&m);
	snprintf(copy, sizeof(copy), "%s.copy", m.folder);
	copy_tree(m.folder, copy);
	expect_ok(start(&m));
	for (int i = 0; i < 4; i++)
		rotate(&m);
	stop(&m);
	expect_ok(file_remove_tree(-100, m.folder));
	copy_tree(copy, m.folder);
	expect_ok(file_remove_tree(-100, copy));
	expect(start(&m), ROLLBACK);
	/* For a recovery it starts, and endorses nothing. */
	expect_ok(start_with(&m, true));
	expect(root_host_refusal(m.host), ROLLBACK);
	close_machine(&m);
}

static void tpm_cleared_exchanged_or_gone(void **state)
{
	struct machine m, other;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	open_machine(&other);
	m.wrap.tpm = other.device;
	fd_close(&other.tpm.fd);
	expect(start(&m), TPM_FOREIGN);
	close_machine(&other);
	m.wrap.tpm = "unix:/nonexistent";
	expect(start(&m), TPM_UNAVAILABLE);
	m.wrap.tpm = "/dev/null-tpm";
	expect(start(&m), TPM_UNAVAILABLE);
	m.wrap.tpm = NULL;
	expect_ok(start(&m));
	stop(&m);
	swtpm_reconnect(&m.tpm);
	swtpm_clear(&m.tpm);
	expect(start(&m), TPM_FOREIGN);
	close_machine(&m);
}

/* The counter alone is taken away, by whoever has the owner's authorisation. */
static void counter_taken_away(void **state)
{
	struct machine m;
	struct tpm *tpm;
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes kept = BYTES_EMPTY;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	snprintf(path, sizeof(path), "%s/ap/wrap.tpm", m.folder);
	expect_ok(file_read(path, 4096, &kept));
	uint32_t index = (uint32_t)kept.data[4] << 24 | (uint32_t)kept.data[5] << 16 | (uint32_t)kept.data[6] << 8 | kept.data[7];
	swtpm_reconnect(&m.tpm);
	expect_ok(tpm_open(m.tpm.fd.n, &tpm));
	expect_ok(tpm_counter_remove(tpm, index));
	tpm_close(tpm);
	expect(start(&m), TAMPERED);
	close_machine(&m);
}

/* ---- The mirror of the pin store ---- */

/* These parts of the folder only; a folder in it with all that it holds. */
static void put_back(const struct machine *m, const char *copy, const char *const *names)
{
	for (; *names; names++) {
		char from[PATH_SIZE], to[PATH_SIZE];
		struct stat at;
		snprintf(from, sizeof(from), "%s/%s", copy, *names);
		snprintf(to, sizeof(to), "%s/%s", m->folder, *names);
		expect_ok(file_remove_tree(-100, to));
		assert_int_equal(stat(from, &at), 0);
		if (S_ISDIR(at.st_mode)) {
			copy_tree(from, to);
			continue;
		}
		CLEANUP(bytes_free) struct bytes content = BYTES_EMPTY;
		expect_ok(file_read(from, 1 << 20, &content));
		expect_ok(file_write_atomic(to, bytes_span(&content), 0600));
	}
}

static void expect_pins_named(struct machine *m, result reason)
{
	expect(start(m), reason);
	assert_non_null(strstr(failure_text(), "pin store"));
}

static void copy_folder(const struct machine *m, const char *name, char out[static 128])
{
	snprintf(out, 128, "%s.%s", m->folder, name);
	copy_tree(m->folder, out);
}

static uint64_t epoch_of(struct machine *m)
{
	ROOT_IDENTITY_HELD root = root_host_hold(m->host);
	assert_non_null(root);
	return root->epoch.epoch;
}

/* RO-14: pin store and history of epoch 5 at epoch 9, with the secure processor's state as it is. */
static void pin_store_put_back(void **state)
{
	static const char *const pins[] = {"pins", NULL}, *const both[] = {"pins", "epochs", NULL}, *const history[] = {"epochs", NULL},
			  *const all[] = {"pins", "epochs", "ap", NULL};
	struct machine m;
	char former[128], now[128];
	open_machine(&m);
	make_root(&m);
	for (int i = 0; i < 4; i++)
		rotate(&m);
	stop(&m);
	copy_folder(&m, "former", former);
	expect_ok(start(&m));
	for (int i = 0; i < 4; i++)
		rotate(&m);
	stop(&m);
	copy_folder(&m, "now", now);
	put_back(&m, former, both);
	expect_pins_named(&m, PIN_STALE);
	expect_ok(start_with(&m, true));
	expect(root_host_refusal(m.host), PIN_STALE);
	stop(&m);
	put_back(&m, now, both);
	put_back(&m, former, pins); /* the history alone would say how it went on */
	expect_pins_named(&m, PIN_STALE);
	put_back(&m, now, both);
	put_back(&m, former, history);
	expect(start(&m), HISTORY_DAMAGED);
	put_back(&m, former, all);
	expect(start(&m), ROLLBACK);
	put_back(&m, now, all);
	expect_ok(start(&m));
	assert_int_equal(epoch_of(&m), 9);
	rotate(&m);
	expect_ok(file_remove_tree(-100, former));
	expect_ok(file_remove_tree(-100, now));
	close_machine(&m);
}

/* What is pinned once more without the TPM hearing of it. */
static void pin_again(const struct machine *m)
{
	CLEANUP(arena_free) struct arena arena = arena_of(128 * 1024);
	struct pins pins;
	expect_ok(pins_load(m->folder, &arena, &pins));
	expect_ok(pins_store(m->folder, &pins));
}

static void killed_between_pins_and_mirror(void **state)
{
	static const char *const names[] = {"pins", NULL};
	struct machine m;
	char former[128], next[128];
	open_machine(&m);
	make_root(&m);
	rotate(&m);
	stop(&m);
	copy_folder(&m, "former", former);
	pin_again(&m);
	copy_folder(&m, "next", next);
	expect_ok(start(&m)); /* mirrors it */
	stop(&m);
	put_back(&m, former, names);
	expect_pins_named(&m, PIN_STALE);
	put_back(&m, next, names);
	expect_ok(start(&m));
	rotate(&m);
	stop(&m);
	pin_again(&m);
	pin_again(&m); /* two writes are never missing */
	expect_pins_named(&m, PIN_STALE);
	expect_ok(file_remove_tree(-100, former));
	expect_ok(file_remove_tree(-100, next));
	close_machine(&m);
}

static void pin_store_altered(void **state)
{
	struct machine m;
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	snprintf(path, sizeof(path), "%s/pins", m.folder);
	expect_ok(file_read(path, 1 << 20, &file));
	for (size_t at = 0; at < file.len; at += file.len / 5) {
		file.data[at] ^= 1;
		expect_ok(file_write_atomic(path, bytes_span(&file), 0600));
		expect(start(&m), PIN_DAMAGED);
		file.data[at] ^= 1;
	}
	expect_ok(file_write_atomic(path, bytes_span(&file), 0600));
	expect_ok(start(&m));
	close_machine(&m);
}

/* What is in ap/wrap.tpm: the wrap key and where the mirror is. */
static struct tpm *open_sealed(struct machine *m, struct tpm_order *out_order, struct bytes *file, struct secret *out)
{
	struct tpm *tpm;
	char path[PATH_SIZE];
	snprintf(path, sizeof(path), "%s/ap/wrap.tpm", m->folder);
	expect_ok(file_read(path, 4096, file));
	expect_ok(tpm_order_read(bytes_span(file), out_order));
	swtpm_reconnect(&m->tpm);
	expect_ok(tpm_open(m->tpm.fd.n, &tpm));
	expect_ok(tpm_unseal(tpm, out_order->sealed, out));
	assert_int_equal(out->len, 36);
	return tpm;
}

static void mirror_taken_away(void **state)
{
	struct machine m;
	struct tpm_order order;
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret content = SECRET_EMPTY;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	struct tpm *tpm = open_sealed(&m, &order, &file, &content);
	const uint8_t *at = content.data + 32;
	expect_ok(tpm_record_remove(tpm, (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]));
	tpm_close(tpm);
	expect_pins_named(&m, TAMPERED);
	expect_pins_named(&m, TAMPERED); /* nobody makes it anew */
	close_machine(&m);
}

/* A root of before there was a mirror has the key alone sealed, and goes on as it did. */
static void root_without_a_mirror(void **state)
{
	static const char *const names[] = {"pins", NULL};
	struct machine m;
	struct tpm_order order;
	char path[PATH_SIZE], former[128];
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY, sealed = BYTES_EMPTY;
	CLEANUP(secret_free) struct secret content = SECRET_EMPTY;
	CLEANUP(writer_free) struct writer w = writer_growing(4096);
	struct span order_bytes;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	struct tpm *tpm = open_sealed(&m, &order, &file, &content);
	expect_ok(tpm_seal(tpm, HOST_TPM_PCRS, span_of(content.data, 32), &sealed));
	tpm_close(tpm);
	tpm_order_put_sealed(&w, order.counter_index, bytes_span(&sealed));
	expect_ok(writer_finish(&w, &order_bytes));
	snprintf(path, sizeof(path), "%s/ap/wrap.tpm", m.folder);
	expect_ok(file_write_atomic(path, order_bytes, 0600));
	expect_ok(start(&m));
	stop(&m);
	copy_folder(&m, "former", former);
	expect_ok(start(&m));
	rotate(&m);
	stop(&m);
	put_back(&m, former, names);
	expect_ok(start(&m)); /* the history leads on; nothing knows that there was a newer pin store */
	assert_int_equal(epoch_of(&m), 2);
	expect_ok(file_remove_tree(-100, former));
	close_machine(&m);
}

/* What a recovery pins is the latest, whatever was found. */
static void pin_for_a_recovery(struct machine *m)
{
	expect_pins_named(m, PIN_STALE);
	expect_ok(start_with(m, true));
	uint64_t mirrored = m->host->mirrored_seq;
	pthread_mutex_lock(&m->host->change_lock);
	expect_ok(host_pin(m->host));
	pthread_mutex_unlock(&m->host->change_lock);
	assert_int_equal(m->host->mirrored_seq, mirrored + 1);
	stop(m);
	expect_ok(start(m));
	assert_int_equal(epoch_of(m), 3);
}

static void recovery_pins_beyond_the_mirror(void **state)
{
	static const char *const names[] = {"pins", NULL};
	struct machine m;
	char former[128];
	open_machine(&m);
	make_root(&m);
	stop(&m);
	copy_folder(&m, "former", former);
	expect_ok(start(&m));
	rotate(&m);
	rotate(&m);
	stop(&m);
	put_back(&m, former, names);
	pin_for_a_recovery(&m);
	stop(&m);
	pin_again(&m);
	pin_again(&m);
	pin_for_a_recovery(&m);
	expect_ok(file_remove_tree(-100, former));
	close_machine(&m);
}

static void machine_that_booted_otherwise(void **state)
{
	struct machine m;
	struct tpm *tpm;
	const uint8_t digest[SHA256_SIZE] = {3};
	open_machine(&m);
	make_root(&m);
	stop(&m);
	swtpm_reconnect(&m.tpm);
	expect_ok(tpm_open(m.tpm.fd.n, &tpm));
	expect_ok(tpm_pcr_extend(tpm, 7, digest));
	tpm_close(tpm);
	expect(start(&m), TPM_STATE_CHANGED);
	swtpm_reconnect(&m.tpm);
	swtpm_reboot(&m.tpm);
	expect_ok(start(&m));
	close_machine(&m);
}

/* A TPM that dies in the middle: nothing is endorsed that was not counted, and the next start goes on. */
static void tpm_dies_before_it_counts(void **state)
{
	struct machine m;
	open_machine(&m);
	make_root(&m);
	uint64_t first = counter_of_head(&m);
	swtpm_kill(&m.tpm);
	const struct root_host_rotation rotation = {.reason = EPOCH_OPERATOR, .text = "test", .emergency = true};
	expect(root_host_rotate(m.host, &rotation), TPM_UNAVAILABLE);
	assert_int_equal(counter_of_head(&m), first);
	stop(&m);
	swtpm_reboot_dead(&m.tpm);
	expect_ok(start(&m));
	/* Before the write the TPM was asked for randomness, so no record was made. */
	assert_int_equal(counter_of_head(&m), first);
	rotate(&m);
	assert_int_equal(counter_of_head(&m), first + 1);
	close_machine(&m);
}

static void ask(struct machine *m, enum ipq_type type, const struct schema *schema, const void *request, const struct schema *reply_schema,
	struct arena *arena, void *reply)
{
	expect_ok(root_host_call(m->host, type, schema, request, reply_schema, arena, reply));
}

static void evidence_of_level_2(void **state)
{
	struct machine m;
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(credential_free) struct credential challenge = {0};
	struct ap_enrolled who, answered;
	struct ap_quoted quoted;
	struct tpm_public ek, ak;
	struct platform_key ek_key;
	uint8_t secret[32], name[TPM_NAME_MAX];
	size_t name_len;
	struct tpm_enrolled enrolled;
	struct tpm_verdict verdict;
	struct tcb tcb;

	open_machine(&m);
	make_root(&m);
	/* The auditor: certificate, challenge, enrolment. */
	ask(&m, IPQ_ENROL, &ap_enrol_schema, &(struct ap_enrol){0}, &ap_enrolled_schema, &arena, &who);
	expect_ok(tpm_public_parse(who.ek_public, &ek));
	expect_ok(tpm_public_parse(who.ak_public, &ak));
	random_bytes(secret, sizeof(secret));
	expect_ok(credential_make(&ek, &ak, SPAN_ARRAY(secret), &challenge));
	struct ap_enrol request = {bytes_span(&challenge.object), bytes_span(&challenge.encrypted)};
	ask(&m, IPQ_ENROL, &ap_enrol_schema, &request, &ap_enrolled_schema, &arena, &answered);
	expect_span(answered.answer, SPAN_ARRAY(secret));
	expect_ok(tpm_public_name(&ak, name, &name_len));
	sha256(span_of(name, name_len), enrolled.ak_name);
	expect_ok(tpm_public_key(&ek, &ek_key));
	memcpy(enrolled.ek_id, ek_key.id, SHA256_SIZE);
	platform_key_free(&ek_key);
	/* The evidence. */
	ask(&m, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){span_str("nonce")}, &ap_quoted_schema, &arena, &quoted);
	CLEANUP(bytes_free) struct bytes issuer = swtpm_issuer(&m.tpm);
	const struct span roots[] = {bytes_span(&issuer)};
	struct tpm_trust trust = {.roots = roots, .root_count = 1, .enrolled = &enrolled, .enrolled_count = 1, .allow_synthetic = true};
	ROOT_IDENTITY_HELD root = root_host_hold(m.host);
	uint64_t boot_gen = root_host_boot_gen(m.host);
	const struct tpm_expectation expected = {.at_ms = clock_wall_ms(), .max_age_ms = 60 * 1000, .epoch_oid = root->epoch_oid, .boot_gen = &boot_gen,
		.nonce = span_str("nonce")};
	expect_ok(tpm_evidence_verify(quoted.evidence, &trust, &expected, &arena, &verdict));
	assert_int_equal(verdict.level, 2);
	assert_true(verdict.synthetic);
	expect_ok(tcb_measure(getenv("TROTH_PROGRAMS"), "test.internal", false, &tcb));
	assert_memory_equal(verdict.registers, tcb.registers, 2 * sizeof(tcb.registers[0]));
	tcb_free(&tcb);
	trust.allow_synthetic = false;
	expect_ok(tpm_evidence_verify(quoted.evidence, &trust, &expected, &arena, &verdict));
	assert_int_equal(verdict.level, 1);
	trust.root_count = 0;
	expect(tpm_evidence_verify(quoted.evidence, &trust, &expected, &arena, &verdict), EK_UNTRUSTED);
	/* Evidence of one start and epoch is not that of another. */
	trust.root_count = 1;
	rotate(&m);
	ROOT_IDENTITY_HELD next = root_host_hold(m.host);
	struct tpm_expectation later = expected;
	later.epoch_oid = next->epoch_oid;
	expect(tpm_evidence_verify(quoted.evidence, &trust, &later, &arena, &verdict), TPM_NONCE_MISMATCH);
	ask(&m, IPQ_QUOTE, &ap_quote_schema, &(struct ap_quote){span_str("nonce")}, &ap_quoted_schema, &arena, &quoted);
	expect_ok(tpm_evidence_verify(quoted.evidence, &trust, &later, &arena, &verdict));
	assert_int_equal(verdict.seq, 2);
	close_machine(&m);
}

static void another_wrap_is_told(void **state)
{
	struct machine m;
	open_machine(&m);
	make_root(&m);
	stop(&m);
	m.wrap.kind = WRAP_FILE;
	expect(start(&m), USAGE);
	m.wrap.kind = WRAP_UNSAID;
	char path[PATH_SIZE];
	snprintf(path, sizeof(path), "%s/ap/wrap.tpm", m.folder);
	CLEANUP(bytes_free) struct bytes kept = BYTES_EMPTY;
	expect_ok(file_read(path, 4096, &kept));
	for (size_t i = 0; i < kept.len; i += 31) {
		kept.data[i] ^= 4;
		expect_ok(file_write_atomic(path, bytes_span(&kept), 0600));
		assert_true(start(&m) != OK);
		kept.data[i] ^= 4;
	}
	assert_int_equal(unlink(path), 0);
	expect(start(&m), NO_WRAP_KEY);
	close_machine(&m);
}

int test_ap_platform(void);

#ifdef UNDER_TSAN
static void confinement(void **state)
{
	(void)state;
	print_message("the secure processor's namespaces need a process of one thread\n");
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(confinement)};
	return cmocka_run_group_tests_name("root on a TPM", tests, NULL, NULL) + test_ap_platform();
}
#else
int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_each_epoch),
		cmocka_unit_test(ro14_folder_put_back),
		cmocka_unit_test(tpm_cleared_exchanged_or_gone),
		cmocka_unit_test(counter_taken_away),
		cmocka_unit_test(pin_store_put_back),
		cmocka_unit_test(killed_between_pins_and_mirror),
		cmocka_unit_test(pin_store_altered),
		cmocka_unit_test(mirror_taken_away),
		cmocka_unit_test(root_without_a_mirror),
		cmocka_unit_test(recovery_pins_beyond_the_mirror),
		cmocka_unit_test(machine_that_booted_otherwise),
		cmocka_unit_test(tpm_dies_before_it_counts),
		cmocka_unit_test(evidence_of_level_2),
		cmocka_unit_test(another_wrap_is_told),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("root on a TPM", tests, NULL, NULL) + test_ap_platform();
}
#endif
