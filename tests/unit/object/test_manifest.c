/* Manifests: what the schema cannot say, and the two digests. */
#include "../expect.h"

#include "groups.h"
#include "samples.h"

struct fixture {
	struct sample_keys keys;
	struct sample samples[SAMPLE_COUNT];
	struct manifest manifest;
	struct manifest_file files[4];
	struct manifest_secret secret;
	struct manifest_output output;
	struct manifest_peer peers[2];
};

static void fixture_make(struct fixture *f)
{
	sample_keys_make(&f->keys);
	samples_make(&f->keys, f->samples);
	f->manifest = *sample_manifest;
	assert_int_equal(f->manifest.file_count, COUNT_OF(f->files));
	memcpy(f->files, f->manifest.files, sizeof(f->files));
	memcpy(f->peers, f->manifest.peers, sizeof(f->peers));
	f->secret = f->manifest.secrets[0];
	f->output = f->manifest.outputs[0];
	f->manifest.files = f->files;
	f->manifest.peers = f->peers;
	f->manifest.secrets = &f->secret;
	f->manifest.outputs = &f->output;
}

static struct manifest_file *file_at(struct fixture *f, const char *path)
{
	for (size_t i = 0; i < COUNT_OF(f->files); i++)
		if (strcmp(f->files[i].path, path) == 0)
			return &f->files[i];
	fail_msg("no file %s", path);
	return NULL;
}

/* Refused when written, and when read from bytes that somebody else's encoder wrote. */
static void refused(struct fixture *f, const char *what)
{
	struct arena arena = arena_of(1 << 20);
	CLEANUP(bytes_free) struct bytes written = BYTES_EMPTY, encoding = BYTES_EMPTY;
	struct manifest out;
	expect_ok(schema_sort(&manifest_file_schema, f->files, f->manifest.file_count));
	result made = manifest_encode(&f->manifest, &written);
	if (made != BAD_VALUE)
		fail_msg("%s: writing gave %s", what, reason_name(made));
	if (schema_encode(&manifest_schema, &f->manifest, &encoding) == OK) {
		result read = manifest_decode(bytes_span(&encoding), &arena, &out);
		if (read != BAD_VALUE)
			fail_msg("%s: reading gave %s", what, reason_name(read));
	}
	arena_free(&arena);
	sample_keys_free(&f->keys);
}

#define REFUSED(change)                                                                                                \
	do {                                                                                                           \
		struct fixture f;                                                                                      \
		fixture_make(&f);                                                                                      \
		change;                                                                                                \
		refused(&f, #change);                                                                                  \
	} while (0)

static void refuses_paths(void **unused)
{
	static const char *const bad[] = {"job/x", "/", "/a/", "/a//b", "/a/./b", "/a/../b", "/..", "/.", "//a"};
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		REFUSED(file_at(&f, "/usr/bin/sh")->path = bad[i]);
}

static void refuses_entries_that_contradict_themselves(void **unused)
{
	REFUSED(file_at(&f, "/usr/bin/sh")->mode = 0755);
	REFUSED(file_at(&f, "/usr/bin/sh")->mode = 0);
	REFUSED(file_at(&f, "/usr/bin/sh")->has_digest = false);
	REFUSED((file_at(&f, "/usr/bin/sh")->has_target = true, file_at(&f, "/usr/bin/sh")->target = "x"));
	REFUSED(file_at(&f, "/usr/bin/sh")->type = 0);
	REFUSED(file_at(&f, "/lib64")->mode = 0555);
	REFUSED(file_at(&f, "/lib64")->has_target = false);
	REFUSED(file_at(&f, "/lib64")->has_digest = true);
	REFUSED(file_at(&f, "/lib64")->size = 3);
	REFUSED(file_at(&f, "/job")->mode = 0444);
	REFUSED(file_at(&f, "/job")->size = 1);
	REFUSED(file_at(&f, "/job")->has_digest = true);
}

static void refuses_what_does_not_fit_together(void **unused)
{
	REFUSED(f.manifest.name = "IRE A");
	REFUSED(f.manifest.program = "/job/other.sh");
	REFUSED(f.manifest.interpreter = "half");
	REFUSED(f.secret.fd = 2);
	REFUSED(f.secret.name = "a b");
	REFUSED(f.output.path = "/job/out");
	REFUSED(f.output.path = "/tmp/../job/out");
	REFUSED(f.output.path = "/tmp");
	REFUSED(f.output.name = "a b");
	REFUSED(f.output.name = "");
	REFUSED(f.peers[0].name = "-x");
	REFUSED(f.peers[0].rot_rule = 0);
	REFUSED(f.peers[0].rot_rule = PEER_ROT_LISTED);
	REFUSED(f.peers[1].rot_rule = PEER_ROT_SAME);
	/* One path twice, as two entries that differ. */
	REFUSED((f.files[0] = *file_at(&f, "/job/decrypt.sh"), f.files[0].size = 1));
}

static void refuses_another_order(void **unused)
{
	struct fixture f;
	CLEANUP(bytes_free) struct bytes out = BYTES_EMPTY;
	fixture_make(&f);
	struct manifest_file first = f.files[0];
	f.files[0] = f.files[1];
	f.files[1] = first;
	expect(manifest_encode(&f.manifest, &out), BAD_VALUE);
	sample_keys_free(&f.keys);
}

static void core_leaves_out_the_peers_only(void **unused)
{
	struct fixture f;
	uint8_t core[SHA384_SIZE], other[SHA384_SIZE], measurement[SHA384_SIZE], changed[SHA384_SIZE];
	CLEANUP(bytes_free) struct bytes encoding = BYTES_EMPTY, second = BYTES_EMPTY;
	fixture_make(&f);
	expect_ok(manifest_encode(&f.manifest, &encoding));
	manifest_measurement(bytes_span(&encoding), measurement);
	expect_ok(manifest_core(&f.manifest, core));
	/* The core is the hash of the same map with one pair less. */
	struct arena arena = arena_of(1 << 16);
	struct span last;
	struct reader r = reader_of(bytes_span(&encoding));
	size_t pairs;
	expect_ok(cbor_read_map(&r, &pairs));
	assert_int_equal(pairs, 18);
	for (size_t i = 0; i < 2 * pairs - 2; i++)
		expect_ok(cbor_read_any(&r, &last));
	CLEANUP(writer_free) struct writer w = writer_growing(1 << 16);
	cbor_put_map(&w, 17);
	writer_put(&w, encoding.data + 1, (size_t)(r.at - encoding.data) - 1);
	sha384(span_of(w.data, w.len), other);
	assert_memory_equal(core, other, SHA384_SIZE);
	arena_free(&arena);
	/* Another peer: another measurement, the same core. Another file: both differ. */
	f.peers[0].core[0] ^= 1;
	expect_ok(manifest_encode(&f.manifest, &second));
	manifest_measurement(bytes_span(&second), changed);
	expect_ok(manifest_core(&f.manifest, other));
	assert_memory_not_equal(measurement, changed, SHA384_SIZE);
	assert_memory_equal(core, other, SHA384_SIZE);
	file_at(&f, "/usr/bin/sh")->digest[47] ^= 1;
	expect_ok(manifest_core(&f.manifest, other));
	assert_memory_not_equal(core, other, SHA384_SIZE);
	sample_keys_free(&f.keys);
}

int group_manifest(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_paths),
		cmocka_unit_test(refuses_entries_that_contradict_themselves),
		cmocka_unit_test(refuses_what_does_not_fit_together),
		cmocka_unit_test(refuses_another_order),
		cmocka_unit_test(core_leaves_out_the_peers_only),
	};
	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
