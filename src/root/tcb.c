#include "root/tcb.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/seccomp.h"
#include "root/ap_message.h"
#include "root/boot_log.h"

void tcb_free(struct tcb *tcb)
{
	bytes_free(&tcb->ap_event);
	bytes_free(&tcb->host_event);
}

result file_measure(int fd, uint8_t out[static SHA384_SIZE])
{
	struct hash hash;
	uint8_t buffer[64 * 1024];
	uint64_t offset = 0;
	TRY(hash_start(&hash, HASH_SHA384));
	for (;;) {
		ssize_t got = pread(fd, buffer, sizeof(buffer), (off_t)offset);
		if (got < 0) {
			hash_free(&hash);
			return fail_errno("reading a program");
		}
		if (got == 0)
			break;
		hash_add(&hash, span_of(buffer, (size_t)got));
		offset += (uint64_t)got;
	}
	hash_finish(&hash, out);
	return OK;
}

static result measure_program(const char *folder, const char *name, uint8_t out[static SHA384_SIZE])
{
	char path[PATH_SIZE];
	CLEANUP(fd_close) struct fd fd = FD_NONE;
	TRY(path_join(path, folder, name));
	TRY(file_open(path, O_RDONLY, 0, &fd));
	return file_measure(fd.n, out);
}

result program_folder(char *out, size_t cap)
{
	ssize_t len = readlink("/proc/self/exe", out, cap - 1);
	if (len <= 0)
		return fail_errno("/proc/self/exe");
	out[len] = '\0';
	char *slash = strrchr(out, '/');
	if (!slash || slash == out)
		return fail(NOT_FOUND, "no folder in '%s'", out);
	*slash = '\0';
	return OK;
}

static result seccomp_digests(struct digest32 out[static SECCOMP_PROFILES])
{
	for (int profile = 0; profile < SECCOMP_PROFILES; profile++) {
		CLEANUP(writer_free) struct writer text = writer_growing(256 * 1024);
		struct span bytes;
		seccomp_list_text((enum seccomp_profile)profile, &text);
		TRY(writer_finish(&text, &bytes));
		sha256(bytes, out[profile].bytes);
	}
	return OK;
}

static void extend_content(struct register_value *value, struct span content)
{
	uint8_t digest[SHA384_SIZE];
	sha384(content, digest);
	register_extend(value, digest);
}

static result measure(const char *program_dir, const char *trust_domain, bool without_namespaces, struct tcb *tcb)
{
	struct digest32 lists[SECCOMP_PROFILES];
	TRY(measure_program(program_dir, "troth-ap", tcb->ap));
	TRY(measure_program(program_dir, "trothd", tcb->host));
	TRY(measure_program(program_dir, "troth-ire", tcb->ire));
	TRY(seccomp_digests(lists));
	struct ap_measured_program ap = {.name = "troth-ap"};
	struct ap_measured_host host = {
		.build_mode = seccomp_instrumented() ? "instrumented" : "release",
		.lists = lists,
		.list_count = SECCOMP_PROFILES,
		.trust_domain = trust_domain,
		.without_namespaces = without_namespaces,
	};
	memcpy(ap.digest, tcb->ap, SHA384_SIZE);
	memcpy(host.host, tcb->host, SHA384_SIZE);
	memcpy(host.ire, tcb->ire, SHA384_SIZE);
	TRY(schema_encode(&ap_measured_program_schema, &ap, &tcb->ap_event));
	TRY(schema_encode(&ap_measured_host_schema, &host, &tcb->host_event));
	extend_content(&tcb->registers[REGISTER_AP], bytes_span(&tcb->ap_event));
	extend_content(&tcb->registers[REGISTER_HOST], bytes_span(&tcb->host_event));
	return OK;
}

result tcb_measure(const char *program_dir, const char *trust_domain, bool without_namespaces, struct tcb *out)
{
	struct tcb tcb = {0};
	result measured = measure(program_dir, trust_domain, without_namespaces, &tcb);
	if (measured != OK) {
		tcb_free(&tcb);
		return measured;
	}
	*out = tcb;
	return OK;
}
