#include "expect.h"

#include "swtpm.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/sock.h"
#include "crypto/platform_key.h"

enum { START_MS = 20 * 1000, STEP_NS = 5 * 1000 * 1000 };

static const char *find(const char *name, char out[static PATH_SIZE])
{
	static const char *const places[] = {"/usr/bin", "/usr/local/bin"};
	for (size_t i = 0; i < COUNT_OF(places); i++) {
		snprintf(out, PATH_SIZE, "%s/%s", places[i], name);
		if (access(out, X_OK) == 0)
			return out;
	}
	return NULL;
}

bool swtpm_installed(void)
{
	char path[PATH_SIZE];
	return find("swtpm", path) && find("swtpm_setup", path) && find("swtpm_localca", path);
}

static void put_file(const struct swtpm *tpm, const char *name, const char *text)
{
	char path[PATH_SIZE];
	snprintf(path, sizeof(path), "%s/%s", tpm->folder, name);
	expect_ok(file_write_atomic(path, span_str(text), 0600));
}

static struct process start(const char *const *argv, bool quiet)
{
	CLEANUP(fd_close) struct fd null = FD_NONE;
	const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
	struct process process = PROCESS_NONE;
	expect_ok(file_open("/dev/null", 2 /* O_RDWR */, 0, &null));
	struct process_fd fds[] = {{null.n, 0}, {quiet ? null.n : 2, 1}, {quiet ? null.n : 2, 2}};
	struct process_spec spec = {.path = argv[0], .argv = argv, .env = env, .fds = fds, .fd_count = 3, .die_with_parent = true};
	expect_ok(process_start(&spec, &process));
	return process;
}

/* Writes the certificates' settings, so that nothing outside the folder is used or made. */
static void write_settings(const struct swtpm *tpm)
{
	char tool[PATH_SIZE], settings[2 * PATH_SIZE];
	const char *f = tpm->folder;
	snprintf(settings, sizeof(settings), "statedir = %s/ca\nsigningkey = %s/ca/signkey.pem\nissuercert = %s/ca/issuercert.pem\ncertserial = %s/ca/certserial\n",
		f, f, f, f);
	put_file(tpm, "ca.conf", settings);
	put_file(tpm, "ca.options", "--platform-manufacturer Troth\n--platform-version 1\n--platform-model test\n");
	snprintf(settings, sizeof(settings),
		"create_certs_tool = %s\ncreate_certs_tool_config = %s/ca.conf\ncreate_certs_tool_options = %s/ca.options\nactive_pcr_banks = sha256\n",
		find("swtpm_localca", tool), f, f);
	put_file(tpm, "setup.conf", settings);
}

static void manufacture(const struct swtpm *tpm, enum swtpm_ek ek)
{
	char tool[PATH_SIZE], settings[PATH_SIZE], state[PATH_SIZE];
	struct process_end end;
	snprintf(settings, sizeof(settings), "%s/setup.conf", tpm->folder);
	snprintf(state, sizeof(state), "%s/state", tpm->folder);
	expect_ok(file_make_dirs(state, 0700));
	const char *argv[] = {find("swtpm_setup", tool), "--tpm2", "--tpm-state", state, "--config", settings, NULL, NULL, NULL};
	if (ek != SWTPM_EK_NONE)
		argv[6] = "--create-ek-cert";
	if (ek == SWTPM_EK_P384)
		argv[7] = "--ecc";
	CLEANUP(process_free) struct process process = start(argv, true);
	expect_ok(process_wait(&process, START_MS, &end));
	assert_true(end.exited && end.code == 0);
}

void swtpm_reconnect(struct swtpm *tpm)
{
	result connected = NOT_FOUND;
	fd_close(&tpm->fd);
	for (int waited = 0; waited < START_MS && connected != OK; waited += STEP_NS / 1000000) {
		connected = sock_connect(tpm->socket, 1000, &tpm->fd);
		if (connected != OK)
			nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
	}
	expect_ok(connected);
}

static void power_on(struct swtpm *tpm)
{
	char tool[PATH_SIZE], state[PATH_SIZE], server[PATH_SIZE];
	snprintf(state, sizeof(state), "dir=%s/state", tpm->folder);
	snprintf(server, sizeof(server), "type=unixio,path=%s", tpm->socket);
	const char *argv[] = {find("swtpm", tool), "socket", "--tpm2", "--tpmstate", state, "--server", server, "--flags", "not-need-init,startup-clear", NULL};
	tpm->process = start(argv, true);
	swtpm_reconnect(tpm);
}

void swtpm_start(struct swtpm *tpm, enum swtpm_ek ek)
{
	if (!swtpm_installed()) {
		print_message("swtpm is not installed\n");
		skip();
	}
	*tpm = (struct swtpm){.process = PROCESS_NONE, .fd = FD_NONE};
	snprintf(tpm->folder, sizeof(tpm->folder), "/tmp/troth-swtpm-XXXXXX");
	assert_non_null(mkdtemp(tpm->folder));
	snprintf(tpm->socket, sizeof(tpm->socket), "%s/socket", tpm->folder);
	write_settings(tpm);
	manufacture(tpm, ek);
	power_on(tpm);
}

void swtpm_kill(struct swtpm *tpm)
{
	process_free(&tpm->process);
}

void swtpm_reboot_dead(struct swtpm *tpm)
{
	unlink(tpm->socket);
	power_on(tpm);
}

void swtpm_reboot(struct swtpm *tpm)
{
	/* As a shutdown does it, so that the simulator keeps what it holds: TPM2_Shutdown(CLEAR). */
	static const uint8_t shutdown[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0};
	uint8_t response[64];
	struct pollfd wait = {.fd = tpm->fd.n, .events = POLLIN};
	expect_ok(write_all(tpm->fd.n, SPAN_ARRAY(shutdown)));
	assert_int_equal(poll(&wait, 1, START_MS), 1);
	assert_int_equal(read(tpm->fd.n, response, sizeof(response)), 10);
	swtpm_kill(tpm);
	swtpm_reboot_dead(tpm);
}

void swtpm_clear(struct swtpm *tpm)
{
	static const uint8_t clear[] = {0x80, 0x02, 0, 0, 0, 27, 0, 0, 0x01, 0x26, 0x40, 0, 0, 0x0c, /* platform */
		0, 0, 0, 9, 0x40, 0, 0, 0x09, 0, 0, 0, 0, 0};
	uint8_t response[64];
	struct pollfd wait = {.fd = tpm->fd.n, .events = POLLIN};
	expect_ok(write_all(tpm->fd.n, SPAN_ARRAY(clear)));
	assert_int_equal(poll(&wait, 1, START_MS), 1);
	assert_true(read(tpm->fd.n, response, sizeof(response)) >= 10);
	assert_memory_equal(response + 6, "\0\0\0\0", 4);
}

void swtpm_stop(struct swtpm *tpm)
{
	fd_close(&tpm->fd);
	process_free(&tpm->process);
	if (tpm->folder[0])
		expect_ok(file_remove_tree(-100 /* AT_FDCWD */, tpm->folder));
	tpm->folder[0] = '\0';
}

static struct bytes certificate(const struct swtpm *tpm, const char *name)
{
	char path[PATH_SIZE];
	CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
	struct bytes der = BYTES_EMPTY;
	snprintf(path, sizeof(path), "%s/ca/%s", tpm->folder, name);
	expect_ok(file_read(path, 64 * 1024, &pem));
	struct span text = bytes_span(&pem);
	expect_ok(certificate_next_from_pem(&text, &der));
	return der;
}

struct bytes swtpm_issuer(const struct swtpm *tpm)
{
	return certificate(tpm, "issuercert.pem");
}

struct bytes swtpm_root(const struct swtpm *tpm)
{
	return certificate(tpm, "swtpm-localca-rootca-cert.pem");
}
