/* troth ledger register|unregister|endorse: which measurements of hosts and code are known, and which are authorised. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>

#include "base/clock.h"

#define DEFAULT_LIFE "365d"
enum { ENDORSEMENT_MAX = 20 * 1024, ENDORSEMENTS_MAX = 32 };

struct arguments {
	struct owner_options owner;
	struct chain_options where;
	struct sending_options how;
	const char *label, *from, *until, *output;
	struct words endorsements;
	bool endorse;
};

/* ---- What is registered ----------------------------------------------------------------------------- */

static result read_subject(const struct words *words, struct tx_register *out)
{
	if (words->count != 2)
		return fail(USAGE, "SUBJECT (vmm, host, enclave, security-enclave) and DIGEST (96 hex digits)");
	TRY(subject_parse(words->items[0], &out->subject));
	return digest_read("DIGEST", words->items[1], out->digest, SHA384_SIZE);
}

static result read_terms(const struct arguments *arguments, struct tx_register *out)
{
	uint64_t now = clock_wall_ms();
	out->label = arguments->label ? arguments->label : "";
	out->not_before = now - 60 * 1000; /* for clocks that differ */
	if (arguments->from)
		TRY(when_parse(arguments->from, now, &out->not_before));
	return when_parse(arguments->until ? arguments->until : DEFAULT_LIFE, now, &out->not_after);
}

static json_t *terms_json(const struct tx_register *body)
{
	return json_pack("{s:s, s:o, s:s, s:o, s:o}", "subject", subject_name(body->subject), "digest", json_hex(SPAN_ARRAY(body->digest)), "label",
		body->label, "not_before", json_time(body->not_before), "not_after", json_time(body->not_after));
}

/* ---- endorse ------------------------------------------------------------------------------------------ */

static result endorse(const struct arguments *arguments, const struct words *words, bool json)
{
	CLEANUP(key_free) struct key registrar = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct tx_register body = {.label = ""};
	uint8_t chain[CHAIN_ID_SIZE];
	if (!arguments->output)
		return fail(USAGE, "--output is missing");
	TRY(read_subject(words, &body));
	TRY(read_terms(arguments, &body));
	TRY(owner_key_open(&arguments->owner, &registrar));
	TRY(chain_read(&arguments->where, chain));
	TRY(make_endorsement(chain, &body, &registrar, &object));
	TRY(output_write(arguments->output, bytes_span(&object), 0644));
	if (!json) {
		printf("%s written; other registrars endorse the same with `troth ledger endorse --endorsement %s`, then `troth ledger register`\n",
			arguments->output, arguments->output);
		return OK;
	}
	json_t *about = terms_json(&body);
	if (about)
		json_object_set_new(about, "output", json_string(arguments->output));
	return print_json_of(about);
}

/* ---- register ----------------------------------------------------------------------------------------- */

struct endorsed {
	struct bytes files[ENDORSEMENTS_MAX + 1];
	struct bytes_item items[ENDORSEMENTS_MAX + 1];
	size_t count;
};

static void endorsed_free(struct endorsed *endorsed)
{
	for (size_t i = 0; i <= ENDORSEMENTS_MAX; i++)
		bytes_free(&endorsed->files[i]);
}

static bool same_terms(const struct tx_register *body, const struct endorsement *e)
{
	return body->subject == e->subject && memcmp(body->digest, e->digest, SHA384_SIZE) == 0 && strcmp(body->label, e->label) == 0 &&
		body->not_before == e->not_before && body->not_after == e->not_after;
}

/* The first endorsement says what is registered; the others must say the same. */
static result read_endorsement(const char *path, struct endorsed *endorsed, struct arena *arena, struct tx_register *body)
{
	struct bytes *file = &endorsed->files[endorsed->count];
	struct endorsement e;
	TRY(file_read(path, ENDORSEMENT_MAX, file));
	result peeked = object_peek(KIND_REGISTRATION, bytes_span(file), arena, &e, NULL);
	if (peeked != OK)
		return fail_within(peeked, "'%s' is no endorsement", path);
	if (endorsed->count == 0) {
		*body = (struct tx_register){.subject = e.subject, .label = e.label, .not_before = e.not_before, .not_after = e.not_after};
		memcpy(body->digest, e.digest, SHA384_SIZE);
	} else if (!same_terms(body, &e)) {
		return fail(REQUEST_MISMATCH, "'%s' endorses something else than the first one: subject, digest, label and times must be equal", path);
	}
	endorsed->items[endorsed->count++] = (struct bytes_item){bytes_span(file)};
	return OK;
}

static result read_body(const struct arguments *arguments, const struct words *words, struct endorsed *endorsed, struct arena *arena,
	struct tx_register *body)
{
	if (arguments->endorsements.count > ENDORSEMENTS_MAX)
		return fail(USAGE, "at most %d endorsements", ENDORSEMENTS_MAX);
	for (size_t i = 0; i < arguments->endorsements.count; i++)
		TRY(read_endorsement(arguments->endorsements.items[i], endorsed, arena, body));
	if (endorsed->count && (words->count || arguments->label || arguments->from || arguments->until))
		return fail(USAGE, "an endorsement says all that is registered: leave SUBJECT, DIGEST, --label, --from and --until out");
	if (endorsed->count)
		return OK;
	TRY(read_subject(words, body));
	return read_terms(arguments, body);
}

/* This sender's own endorsement beside those of others. */
static result add_own(const struct arguments *arguments, struct endorsed *endorsed, const struct key *sender, const struct tx_register *body)
{
	uint8_t chain[CHAIN_ID_SIZE];
	struct bytes *file = &endorsed->files[endorsed->count];
	TRY(chain_read(&arguments->where, chain));
	TRY(make_endorsement(chain, body, sender, file));
	endorsed->items[endorsed->count++] = (struct bytes_item){bytes_span(file)};
	return OK;
}

static result send_register(const struct arguments *arguments, const struct words *words, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(endorsed_free) struct endorsed endorsed = {.count = 0};
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	struct tx_register body = {.label = ""};
	TRY(read_body(arguments, words, &endorsed, &arena, &body));
	TRY(owner_key_open(&arguments->owner, &sender));
	if (arguments->endorse)
		TRY(add_own(arguments, &endorsed, &sender, &body));
	body.endorsements = endorsed.items;
	body.endorsement_count = endorsed.count;
	const struct ledger_send send = {
		&arguments->where, &arguments->how, &sender, TX_REGISTER, &body, "registered", json ? terms_json(&body) : NULL};
	return ledger_send(&send, json);
}

/* Endorsing what another registrar has endorsed. */
static result endorse_like(const struct arguments *arguments, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	CLEANUP(endorsed_free) struct endorsed endorsed = {.count = 0};
	CLEANUP(key_free) struct key registrar = KEY_EMPTY;
	CLEANUP(bytes_free) struct bytes object = BYTES_EMPTY;
	struct tx_register body;
	uint8_t chain[CHAIN_ID_SIZE];
	if (!arguments->output || arguments->endorsements.count != 1)
		return fail(USAGE, "--output is missing, or more than one --endorsement was given");
	TRY(read_endorsement(arguments->endorsements.items[0], &endorsed, &arena, &body));
	TRY(owner_key_open(&arguments->owner, &registrar));
	TRY(chain_read(&arguments->where, chain));
	TRY(make_endorsement(chain, &body, &registrar, &object));
	TRY(output_write(arguments->output, bytes_span(&object), 0644));
	json_t *about = terms_json(&body);
	if (about)
		json_object_set_new(about, "output", json_string(arguments->output));
	if (json)
		return print_json_of(about);
	json_decref(about);
	printf("%s written: %s '%s'\n", arguments->output, subject_name(body.subject), body.label);
	return OK;
}

#define TERM_ROWS(a)                                                                                                                       \
	{"label", OPTION_TEXT, &(a)->label, "TEXT", "what people call it"},                                                                \
		{"from", OPTION_TEXT, &(a)->from, "TIME", "from when it is valid (now)"},                                                  \
	{                                                                                                                                  \
		"until", OPTION_TEXT, &(a)->until, "TIME", "until when (365d)"                                                             \
	}

int verb_ledger_register(int argc, char **argv)
{
	struct arguments arguments = {.label = NULL};
	const struct option_row rows[] = {
		TERM_ROWS(&arguments),
		{"endorsement", OPTION_LIST, &arguments.endorsements, "FILE", "of a registrar (repeat); says what is registered, in place of the words"},
		{"endorse", OPTION_FLAG, &arguments.endorse, NULL, "whoever sends it endorses it too, as a registrar"},
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "who sends it"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger register",
		.usage = "SUBJECT DIGEST --key KEY [--label TEXT] [--endorse] | --endorsement FILE... --key KEY",
		.description = "Registers the measurement of a vmm, host, enclave or security-enclave. It is *observed* by whoever sends it, and *authorised*\n"
			       "with as many registrars' endorsements as the ledger's configuration asks for: only such code may work on anybody's data.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = send_register(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}

int verb_ledger_endorse(int argc, char **argv)
{
	struct arguments arguments = {.label = NULL};
	const struct option_row rows[] = {
		TERM_ROWS(&arguments),
		{"endorsement", OPTION_LIST, &arguments.endorsements, "FILE", "endorse the same as this one of another registrar, in place of the words"},
		{"output", OPTION_TEXT, &arguments.output, "FILE", "where the endorsement goes"},
		OWNER_ROWS(&arguments.owner, "the registrar"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger endorse",
		.usage = "SUBJECT DIGEST --key KEY --output FILE [--label TEXT] | --endorsement FILE --key KEY --output FILE",
		.description = "Endorses a measurement as a registrar, offline. The endorsements of all go together into `troth ledger register`.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = arguments.endorsements.count && !options.operands.count ? endorse_like(&arguments, options.json) :
										  endorse(&arguments, &options.operands, options.json);
	return verb_end(done, argc, argv);
}

/* ---- unregister ------------------------------------------------------------------------------------------- */

static result send_unregister(const struct arguments *arguments, const struct words *words, const char *why, bool json)
{
	CLEANUP(key_free) struct key sender = KEY_EMPTY;
	struct tx_register subject = {.label = ""};
	struct tx_unregister body = {.why = why ? why : ""};
	TRY(read_subject(words, &subject));
	body.subject = subject.subject;
	memcpy(body.digest, subject.digest, SHA384_SIZE);
	TRY(owner_key_open(&arguments->owner, &sender));
	json_t *about = json ? json_pack("{s:s, s:o, s:s}", "subject", subject_name(body.subject), "digest", json_hex(SPAN_ARRAY(body.digest)), "why",
				       body.why) :
			       NULL;
	const struct ledger_send send = {&arguments->where, &arguments->how, &sender, TX_UNREGISTER, &body, "not registered any more", about};
	return ledger_send(&send, json);
}

int verb_ledger_unregister(int argc, char **argv)
{
	struct arguments arguments = {.label = NULL};
	const char *why = NULL;
	const struct option_row rows[] = {
		{"why", OPTION_TEXT, &why, "TEXT", "for people; stands on the ledger"},
		SENDING_ROWS(&arguments.how),
		OWNER_ROWS(&arguments.owner, "a registrar, a member, or who registered it"),
		CHAIN_ROWS(&arguments.where),
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "ledger unregister",
		.usage = "SUBJECT DIGEST --key KEY [--why TEXT]",
		.description = "Ends the registration of a measurement: from the next decision on no operation by it counts.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 2,
		.max_operands = 2,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = send_unregister(&arguments, &options.operands, why, options.json);
	return verb_end(done, argc, argv);
}
