#include "job/issuer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "crypto/x509.h"
#include "object/epoch.h"
#include "object/report.h"
#include "wire/text.h"

enum { KEPT_MAX = 2 * (CERTIFICATE_MAX + 4) };

result issuer_host(const struct issuer_epoch *epoch, char out[static ISSUER_HOST_SIZE])
{
	char label[ROT_LABEL_SIZE];
	rot_label(epoch->rot_id, label);
	int len = snprintf(out, ISSUER_HOST_SIZE, "%s.%s", label, epoch->trust_domain);
	return len < ISSUER_HOST_SIZE ? OK : fail(TOO_LARGE, "the name of this host");
}

/* ---- do they fit ---- */

struct path {
	struct certificate certificates[CERTIFICATE_PATH_MAX];
	struct bytes leaf;
	size_t count;
};

static void path_free(struct path *path)
{
	for (size_t i = 0; i < path->count; i++)
		certificate_free(&path->certificates[i]);
	bytes_free(&path->leaf);
}

/* As the secure processor issues them, but for the key: names are what is compared with it. */
static result model_leaf(const struct issuer_epoch *epoch, struct arena *arena, struct path *path)
{
	CLEANUP(key_free) struct key key = KEY_EMPTY;
	char label[ROT_LABEL_SIZE], uri[URI_MAX_LEN + 1];
	struct certificate_fields fields = {.serial = {1}, .uri = uri, .not_before = epoch->link->not_before, .not_after = epoch->link->not_after};
	rot_label(epoch->rot_id, label);
	TRY(ire_uri(epoch->rot_id, epoch->trust_domain, "any", uri));
	TRY(key_generate(&key));
	memcpy(fields.sign_point, key.point, POINT_SIZE);
	memcpy(fields.kem_point, key.point, POINT_SIZE);
	TRY(certificate_issue(&fields, &key, label, &path->leaf));
	TRY(certificate_parse(bytes_span(&path->leaf), arena, &path->certificates[0]));
	path->count = 1;
	return OK;
}

static result check_key(const struct certificate *issuer, const struct epoch_link *link)
{
	if (memcmp(issuer->key.point, link->sign_pk, POINT_SIZE) != 0)
		return fail(CA_PATH, "the first certificate is for another key than that of era %u epoch %llu", link->era, (unsigned long long)link->epoch);
	if (issuer->not_after > link->not_after)
		return fail(CA_PATH, "the authority's word lasts longer than the epoch");
	return OK;
}

result issuer_check(const struct span *certificates, size_t count, const struct issuer_epoch *epoch, uint64_t now_ms, uint64_t *out_until)
{
	CLEANUP(arena_free) struct arena arena = arena_of(64 * 1024);
	CLEANUP(path_free) struct path path = {.count = 0};
	uint64_t until = UINT64_MAX;
	if (count < 1 || count >= CERTIFICATE_PATH_MAX)
		return fail(CA_PATH, "%zu certificates above the leaf", count);
	TRY(model_leaf(epoch, &arena, &path));
	for (size_t i = 0; i < count; i++) {
		struct certificate *next = &path.certificates[path.count];
		TRY(certificate_parse_ca(certificates[i], &arena, next));
		path.count++;
		if (i > 0)
			TRY(certificate_verify(next - 1, &next->key));
		until = next->not_after < until ? next->not_after : until;
	}
	TRY(check_key(&path.certificates[1], epoch->link));
	TRY(certificate_path_names(path.certificates, path.count));
	for (size_t i = 1; i < path.count; i++)
		TRY(certificate_valid_at(&path.certificates[i], now_ms));
	*out_until = until;
	return OK;
}

/* ---- the folder ---- */

static result file_of(const char *folder, const uint8_t epoch_oid[static OID_SIZE], char out[static PATH_SIZE])
{
	char name[2 * OID_SIZE + 1];
	hex_encode(span_of(epoch_oid, OID_SIZE), name);
	return path_join(out, folder, name);
}

result issuer_keep(const char *folder, const uint8_t epoch_oid[static OID_SIZE], const struct span *certificates, size_t count)
{
	CLEANUP(writer_free) struct writer w = writer_growing(KEPT_MAX);
	char path[PATH_SIZE];
	struct span bytes;
	for (size_t i = 0; i < count; i++)
		writer_lv(&w, certificates[i]);
	TRY(writer_finish(&w, &bytes));
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return fail_errno("'%s'", folder);
	TRY(file_of(folder, epoch_oid, path));
	return file_write_atomic(path, bytes, 0600);
}

result issuer_find(const char *folder, const uint8_t epoch_oid[static OID_SIZE], struct bytes *out)
{
	char path[PATH_SIZE];
	TRY(file_of(folder, epoch_oid, path));
	result read = file_read(path, KEPT_MAX, out);
	if (read == NOT_FOUND)
		return fail(ISSUER_MISSING, "no authority has certified the epoch in force");
	return read == OK ? OK : fail_within(read, "'%s'", path);
}
