/*
 * One IECP side over a Unix socket, for the outside client: iecp-partner ROLE SOCKET FOLDER PIN WISHES PQ
 * FOLDER holds sign.pem, kem.pem and leaf.der of this side; PIN is the public key that signed the peer's leaf.
 * It sends "from troth" and CLOSE, and prints what it gets until CLOSE. WISHES: u says KEYUPDATE and s starts a
 * re-handshake between its words. PQ: prefer, require or off. It tells the suite, and at the end how many re-handshakes
 * were finished. `iecp-partner has-suite-2` ends with 0 where OpenSSL has ML-KEM.
 */
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_rekey.h"

#include "base/clock.h"
#include "crypto/x509.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static void end(const char *what)
{
	fprintf(stderr, "iecp-partner: %s: %s\n", what, failure_text());
	exit(1);
}

static void must(result r, const char *what)
{
	if (r != OK) {
		fprintf(stderr, "iecp-partner: %s: %s (%s)\n", what, reason_name(r), failure_text());
		exit(1);
	}
}

static struct bytes read_file(const char *folder, const char *name)
{
	char path[4096];
	struct bytes bytes = {malloc(65536), 0};

	snprintf(path, sizeof path, "%s%s%s", folder, *name ? "/" : "", name);
	FILE *file = fopen(path, "rb");
	if (!file || !bytes.data)
		end(path);
	bytes.len = fread(bytes.data, 1, 65536, file);
	fclose(file);
	return bytes;
}

static result certificate(void *ctx, struct span chain, const struct iecp_epoch *epoch, const char *expected,
	uint64_t now, struct iecp_peer *out)
{
	return iecp_anchor_certificate(ctx, chain, epoch, expected, now, out);
}

static result appraise(void *ctx, struct span evidence, const uint8_t bind[static IECP_BIND_SIZE],
	struct iecp_peer *peer)
{
	(void)ctx;
	(void)bind;
	return iecp_appraise_pinned(evidence, peer);
}

/* The local rule of this test: whoever holds the pinned key may talk. */
static result decide(void *ctx, enum iecp_question question, const struct iecp_peer *peer)
{
	(void)ctx;
	(void)question;
	(void)peer;
	return OK;
}

static int meet(bool initiator, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 20};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
	if (initiator) {
		if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
			end("connect");
	} else {
		if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0)
			end("listen");
		fprintf(stderr, "ready\n");
		int peer = accept(fd, NULL, NULL);
		close(fd);
		fd = peer;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return fd;
}

static void put(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
		if (sent <= 0)
			end("send");
		bytes = span_of(bytes.data + sent, bytes.len - (size_t)sent);
	}
}

static bool get(int fd, uint8_t *out, size_t len)
{
	for (size_t have = 0; have < len;) {
		ssize_t got = recv(fd, out + have, len - have, 0);
		if (got <= 0)
			return false;
		have += (size_t)got;
	}
	return true;
}

static struct iecp_time now(void)
{
	return (struct iecp_time){clock_wall_ms(), clock_monotonic_ns() / 1000000};
}

/* One frame in, its answer out. */
static void step(struct iecp *h, int fd)
{
	static uint8_t frame[128 * 1024];
	struct writer answer = writer_growing(128 * 1024);
	struct span bytes;
	size_t total;

	if (!get(fd, frame, IECP_FRAME_HEADER))
		end("the peer closed");
	must(iecp_frame_size(h, span_of(frame, IECP_FRAME_HEADER), &total), "frame");
	if (!get(fd, frame + IECP_FRAME_HEADER, total - IECP_FRAME_HEADER))
		end("the peer closed");
	must(iecp_receive(h, span_of(frame, total), now(), &answer), "handshake");
	must(writer_finish(&answer, &bytes), "answer");
	put(fd, bytes);
	writer_free(&answer);
}

static struct iecp_channel *shake(struct iecp *h, bool initiator, int fd)
{
	struct iecp_channel *channel;
	struct writer m1 = writer_growing(32 * 1024);
	struct span bytes;

	if (initiator) {
		must(iecp_start(h, now(), &m1), "M1");
		must(writer_finish(&m1, &bytes), "M1");
		put(fd, bytes);
		writer_free(&m1);
	}
	while (!iecp_is_complete(h))
		step(h, fd);
	must(iecp_take_channel(h, &channel), "channel");
	return channel;
}

static void say(struct iecp_channel *channel, int fd, const char *text)
{
	uint8_t record[64];

	must(iecp_seal(channel, span_str(text), now().steady_ms, record), "seal");
	put(fd, span_of(record, strlen(text) + IECP_RECORD_OVERHEAD));
}

static void put_written(struct writer *w, int fd)
{
	struct span bytes;

	must(writer_finish(w, &bytes), "records");
	put(fd, bytes);
	writer_free(w);
}

static void wish(struct iecp_channel *channel, int fd, char what)
{
	uint8_t record[IECP_RECORD_OVERHEAD];
	struct writer w = writer_growing(256 * 1024);

	if (what == 'u') {
		must(iecp_seal_keyupdate(channel, record), "keyupdate");
		put(fd, SPAN_ARRAY(record));
	} else {
		must(iecp_rekey_start(channel, now(), &w), "re-handshake");
		put_written(&w, fd);
	}
}

static void take(struct iecp_channel *channel, int fd, const struct iecp_record *got)
{
	struct writer w = writer_growing(256 * 1024);

	if (got->type == IECP_DATA)
		fwrite(got->plain.data, 1, got->plain.len, stdout);
	if (got->type != IECP_HS)
		return;
	must(iecp_rekey_receive(channel, got->plain, now(), &w), "re-handshake");
	put_written(&w, fd);
}

static void talk(struct iecp_channel *channel, int fd, const char *wishes)
{
	static uint8_t record[IECP_MAX_RECORD];
	struct iecp_record got = {0};

	say(channel, fd, "from ");
	for (; *wishes; wishes++)
		wish(channel, fd, *wishes);
	say(channel, fd, "troth");
	must(iecp_seal_close(channel, record), "close");
	put(fd, span_of(record, IECP_RECORD_OVERHEAD));
	while (got.type != IECP_CLOSE) {
		size_t total;
		if (!get(fd, record, IECP_HEADER_SIZE))
			must(iecp_channel_end(channel), "end");
		must(iecp_record_size(channel, span_of(record, IECP_HEADER_SIZE), &total), "record");
		if (!get(fd, record + IECP_HEADER_SIZE, total - IECP_HEADER_SIZE))
			must(iecp_channel_end(channel), "end");
		must(iecp_open(channel, span_of(record, total), now().steady_ms, record + IECP_HEADER_SIZE, &got), "open");
		take(channel, fd, &got);
	}
	fprintf(stderr, "%llu re-handshakes\n", (unsigned long long)iecp_rekey_count(channel));
}

static enum iecp_pq pq_of(const char *word)
{
	return strcmp(word, "off") == 0 ? IECP_PQ_OFF : strcmp(word, "require") == 0 ? IECP_PQ_REQUIRE : IECP_PQ_PREFER;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "has-suite-2") == 0)
		return mlkem_available() ? 0 : 1;
	if (argc != 7)
		return 2;
	bool initiator = argv[1][0] == 'i';
	struct bytes sign_pem = read_file(argv[3], "sign.pem"), kem_pem = read_file(argv[3], "kem.pem"),
		     leaf = read_file(argv[3], "leaf.der"), pin_pem = read_file(argv[4], "");
	struct key sign_key, kem_key, pin_key;
	must(key_from_private_pem(bytes_span(&sign_pem), &sign_key), "sign.pem");
	must(key_from_private_pem(bytes_span(&kem_pem), &kem_key), "kem.pem");
	must(key_from_pem(bytes_span(&pin_pem), &pin_key), "pin");

	struct iecp_pin pin = {"outside", &pin_key};
	struct iecp_anchor anchor = {.pins = &pin, .pin_count = 1};
	struct iecp_config config = {
		.role = initiator ? IECP_INITIATOR : IECP_RESPONDER,
		.pq = pq_of(argv[6]),
		.certificate = bytes_span(&leaf),
		.sign_key = &sign_key,
		.kem_key = &kem_key,
		.expected_name = "outside",
		.verifier = {&anchor, certificate, iecp_no_evidence, appraise, decide},
	};
	struct iecp *h;
	int fd = meet(initiator, argv[2]);
	must(iecp_new(&config, now(), &h), "configuration");
	struct iecp_channel *channel = shake(h, initiator, fd);
	must(iecp_rekey_configure(channel, &config), "configuration");
	fprintf(stderr, "suite %u\n", iecp_channel_suite(channel));
	talk(channel, fd, argv[5]);

	iecp_channel_free(channel);
	iecp_free(h);
	close(fd);
	key_free(&sign_key);
	key_free(&kem_key);
	key_free(&pin_key);
	bytes_free(&sign_pem);
	bytes_free(&kem_pem);
	bytes_free(&leaf);
	bytes_free(&pin_pem);
	return 0;
}
