/* troth root attest: a signed answer to a challenge, and whether the event log leads to the registers in it. */
#include "cmd/root_client.h"
#include "cmd/root_describe.h"

#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "crypto/random.h"
#include "root/boot_log.h"
#include "wire/json.h"
#include "wire/text.h"

enum { MOST_TRIES = 20, AGAIN_MS = 50 };

struct arguments {
	struct host_options host;
	const char *challenge, *output;
	bool verify;
};

struct facts {
	struct service_attested attested;
	struct rot_challenge answer;
	struct epoch_link epoch;
	uint64_t events; /* replayed until the registers were met */
};

static result ask(struct client *client, const struct arguments *arguments, struct arena *arena, struct facts *out)
{
	CLEANUP(epoch_chain_cleanup) struct epoch_chain *chain = NULL;
	CLEANUP(key_free) struct key sign = KEY_EMPTY;
	struct service_attest request;
	struct rot_challenge peeked;
	const struct client_call call = {.type = SERVICE_ATTEST, .body = &request, .expected = SERVICE_ATTESTED, .timeout_ms = 60 * 1000};
	random_bytes(request.challenge, sizeof(request.challenge));
	if (arguments->challenge && hex_decode(span_str(arguments->challenge), request.challenge, sizeof(request.challenge)) != OK)
		return fail(USAGE, "--challenge takes 64 hex digits");
	TRY(client_call(client, &call, arena, &out->attested, NULL));
	TRY(object_peek(KIND_ROT_CHALLENGE, out->attested.challenge, arena, &peeked, NULL));
	const struct epoch_link *link = NULL;
	/* An epoch that has just begun answers a moment before the host has made it durable and gives it out. */
	for (int tries = 0; !link && tries < MOST_TRIES; tries++) {
		epoch_chain_free(chain);
		chain = NULL;
		TRY(root_fetch(client, &chain, NULL));
		link = epoch_chain_find(chain, peeked.epoch_oid);
		if (!link)
			(void)poll(NULL, 0, AGAIN_MS);
	}
	if (!link || link->is_void)
		return fail(AP_UNTRUSTED, "the answer is of an epoch that is not on the root's chain");
	TRY(key_from_point(SPAN_ARRAY(link->sign_pk), &sign));
	TRY(object_open(KIND_ROT_CHALLENGE, out->attested.challenge, &sign, arena, &out->answer, NULL));
	if (memcmp(out->answer.challenge, request.challenge, sizeof(request.challenge)) != 0)
		return fail(AP_UNTRUSTED, "the answer is to another challenge");
	out->epoch = *link;
	out->epoch.record = SPAN_EMPTY;
	return OK;
}

static bool registers_met(const struct register_value *now, const struct rot_challenge *answer)
{
	return answer->register_count == REGISTER_COUNT && memcmp(now, answer->registers, REGISTER_COUNT * sizeof(*now)) == 0;
}

/* The log may have grown since the answer: some beginning of it must lead to the registers that were signed. */
static result replay(struct client *client, const struct rot_challenge *answer, uint64_t *out_events)
{
	struct register_value registers[REGISTER_COUNT] = {{{0}}};
	bool met = registers_met(registers, answer);
	for (uint64_t number = 0;;) {
		CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
		struct service_events request = {number};
		struct ap_measurements page;
		const struct client_call call = {
			.type = SERVICE_EVENTS, .body = &request, .expected = SERVICE_EVENTS_ARE, .timeout_ms = 60 * 1000};
		TRY(client_call(client, &call, &arena, &page, NULL));
		for (size_t i = 0; i < page.event_count && !met; i++) {
			struct span content;
			uint8_t index;
			TRY(boot_log_replay(registers, number, page.events[i].bytes, &content, &index));
			number++;
			met = registers_met(registers, answer);
		}
		if (met || page.event_count == 0 || number >= page.total) {
			*out_events = number;
			return met ? OK : fail(MEASUREMENT_WRONG, "the event log does not lead to the registers that were signed");
		}
	}
}

static result print_json(const struct facts *facts, const struct arguments *arguments)
{
	json_t *registers = json_array();
	for (size_t i = 0; i < facts->answer.register_count; i++)
		json_array_append_new(registers, json_hex(SPAN_ARRAY(facts->answer.registers[i].value)));
	json_t *json = json_pack("{s:o, s:I, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:b}", "challenge", json_hex(SPAN_ARRAY(facts->answer.challenge)),
		"era", (json_int_t)facts->answer.era, "epoch", (json_int_t)facts->answer.epoch, "epoch_oid",
		json_hex(SPAN_ARRAY(facts->answer.epoch_oid)), "boot_gen", (json_int_t)facts->answer.boot_gen, "time",
		json_time(facts->answer.time), "registers", registers, "answer", json_hex(facts->attested.challenge), "epoch_record",
		json_hex(facts->attested.epoch_record), "instrumented", facts->answer.instrumented);
	if (json && arguments->verify) {
		json_object_set_new(json, "replayed", json_true());
		json_object_set_new(json, "events", json_integer((json_int_t)facts->events));
	}
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "json");
	json_decref(json);
	return printed;
}

static void print_people(const struct facts *facts, const struct arguments *arguments)
{
	char time[CLOCK_TEXT_SIZE];
	clock_format(facts->answer.time, time);
	printf("Answered under era %u, epoch %llu at %.19s, boot generation %llu.\n", facts->answer.era,
		(unsigned long long)facts->answer.epoch, time, (unsigned long long)facts->answer.boot_gen);
	for (size_t i = 0; i < facts->answer.register_count; i++) {
		printf("  register %zu  ", i);
		verb_print_hex(SPAN_ARRAY(facts->answer.registers[i].value));
		printf("\n");
	}
	if (arguments->verify)
		printf("The event log leads to these registers: %llu events replayed.\n", (unsigned long long)facts->events);
}

static result attest(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	CLEANUP(client_close) struct client client = CLIENT_NONE;
	struct facts facts = {.events = 0};
	TRY(verb_connect(&arguments->host, false, NULL, &client));
	TRY(ask(&client, arguments, &arena, &facts));
	if (arguments->verify)
		TRY(replay(&client, &facts.answer, &facts.events));
	if (arguments->output)
		TRY(file_write_atomic(arguments->output, facts.attested.challenge, 0644));
	if (json)
		return print_json(&facts, arguments);
	print_people(&facts, arguments);
	return OK;
}

int verb_root_attest(int argc, char **argv)
{
	struct arguments arguments = {.challenge = NULL};
	const struct option_row rows[] = {
		{"challenge", OPTION_TEXT, &arguments.challenge, "HEX", "32 bytes of whoever wants to know (drawn here)"},
		{"verify", OPTION_FLAG, &arguments.verify, NULL, "replay the event log and compare it with the signed registers"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "write the signed answer"},
		HOST_ROWS(&arguments.host),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "root attest",
		.usage = "[--challenge HEX] [--verify] [--output FILE]",
		.description = "Lets the secure processor sign a challenge together with its registers, boot generation and epoch, and checks the\n"
			       "signature under the root's chain. With --verify the event log of the measured boot is replayed as well.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = attest(&arguments, options.json);
	return verb_end(done, argc, argv);
}
