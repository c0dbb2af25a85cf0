#include "cmd/verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "job/plan.h"
#include "receipt/epochs.h"
#include "root/tcb.h"
#include "wire/json.h"
#include "wire/text.h"

/* `troth trust new`: what an auditor writes down before any run. Talks to no daemon; reads records, programs and job files. */

enum { MOST_ROOTS = 64, MOST_BUILDS = 16, MOST_KEYS = 32, INCEPTION_MAX = 16 * 1024, PEM_MAX = 64 * 1024, EPOCHS_MEMORY = 64 << 20 };

struct trust_words {
	struct words roots, recovery, epochs, files;
	const struct words *command; /* instead of a job: what `troth exec` ran */
	bool reads_input;
	struct words platforms; /* enrolments of TPMs */
	struct words authors; /* of reference sets */
	struct words operators; /* of revocation lists */
	bool allow_synthetic, require_tpm_head;
	struct words programs; /* folders */
	const char *reference, *domain, *confinement, *expires, *output;
	uint64_t max_run_s;
};

struct gathered {
	struct bytes records[MOST_ROOTS];
	struct span inceptions[MOST_ROOTS];
	struct digest32 keys[MOST_KEYS], authors[MOST_KEYS], operators[MOST_KEYS];
	struct arena arena; /* of what follows */
	struct span *spki; /* recovery keys, also of the histories */
	size_t spki_count;
	struct span *epochs; /* records and HALTs that the auditor knows of */
	size_t epoch_count;
	struct platform_trust platform;
	struct trust_tcb tcbs[MOST_BUILDS];
	size_t tcb_count;
	struct job_plan plan;
};

static void gathered_free(struct gathered *g)
{
	for (size_t i = 0; i < MOST_ROOTS; i++)
		bytes_free(&g->records[i]);
	arena_free(&g->arena);
	job_plan_free(&g->plan);
}

static result check_root(const char *path, struct span record)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	struct epoch epoch;
	uint8_t rot_id[OID_SIZE];
	result opened = epoch_open_inception(record, &arena, &epoch, rot_id);
	return opened == OK ? OK : fail_within(opened, "'%s' is no inception record", path);
}

static result read_roots(const struct trust_words *words, struct gathered *g)
{
	if (words->roots.count == 0)
		return fail(USAGE, "name at least one inception record: --root FILE (`troth host init` writes it)");
	if (words->roots.count > MOST_ROOTS)
		return fail(USAGE, "more than %d roots", MOST_ROOTS);
	for (size_t i = 0; i < words->roots.count; i++) {
		TRY(file_read(words->roots.items[i], INCEPTION_MAX, &g->records[i]));
		g->inceptions[i] = bytes_span(&g->records[i]);
		TRY(check_root(words->roots.items[i], g->inceptions[i]));
	}
	return OK;
}

/* One more; the lists are short, so a new one is made each time. */
static result append(struct arena *arena, struct span **list, size_t *count, struct span item)
{
	void *memory;
	struct span copy;
	for (size_t i = 0; i < *count; i++)
		if (span_equal((*list)[i], item))
			return OK;
	TRY(arena_copy(arena, item, &copy));
	if (*count % 64 == 0) {
		TRY(arena_alloc(arena, *count + 64, sizeof(copy), &memory));
		if (*count)
			memcpy(memory, *list, *count * sizeof(copy));
		*list = memory;
	}
	(*list)[(*count)++] = copy;
	return OK;
}

static result read_epochs(const struct trust_words *words, struct gathered *g)
{
	for (size_t i = 0; i < words->epochs.count; i++) {
		CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
		CLEANUP(arena_free) struct arena arena = arena_of(EPOCHS_MEMORY);
		struct epoch_history history;
		TRY(file_read(words->epochs.items[i], TRUST_FILE_MAX / 4, &file));
		result parsed = epochs_file_parse(bytes_span(&file), &arena, &history);
		if (parsed != OK)
			return fail_within(parsed, "'%s' is no epoch history, record or HALT", words->epochs.items[i]);
		for (size_t k = 0; k < history.object_count; k++)
			TRY(append(&g->arena, &g->epochs, &g->epoch_count, history.objects[k].bytes));
		for (size_t k = 0; k < history.key_count; k++)
			TRY(append(&g->arena, &g->spki, &g->spki_count, history.keys[k].bytes));
	}
	return OK;
}

/* What `troth tpm enrol` wrote: whether a test platform counts is this file's word, not the enrolment's. */
static result read_platforms(const struct trust_words *words, struct gathered *g)
{
	struct platform_trust *all = &g->platform;
	void *roots, *enrolled;
	TRY(arena_alloc(&g->arena, 64 * words->platforms.count + 1, sizeof(*all->roots), &roots));
	TRY(arena_alloc(&g->arena, 64 * words->platforms.count + 1, sizeof(*all->enrolled), &enrolled));
	*all = (struct platform_trust){.roots = roots, .enrolled = enrolled, .allow_synthetic = words->allow_synthetic};
	for (size_t i = 0; i < words->platforms.count; i++) {
		CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
		struct platform_trust one;
		struct span kept;
		TRY(file_read(words->platforms.items[i], PLATFORM_TRUST_MAX, &file));
		TRY(arena_copy(&g->arena, bytes_span(&file), &kept));
		result parsed = schema_decode(&platform_trust_schema, kept, &g->arena, &one);
		if (parsed != OK || one.root_count > 64 || one.enrolled_count > 64)
			return fail_within(parsed == OK ? TOO_LARGE : parsed, "'%s' is no enrolment of `troth tpm enrol`", words->platforms.items[i]);
		memcpy(all->roots + all->root_count, one.roots, one.root_count * sizeof(*one.roots));
		memcpy(all->enrolled + all->enrolled_count, one.enrolled, one.enrolled_count * sizeof(*one.enrolled));
		all->root_count += one.root_count;
		all->enrolled_count += one.enrolled_count;
	}
	return OK;
}

static result read_keys(const struct trust_words *words, struct gathered *g)
{
	if (words->recovery.count > MOST_KEYS)
		return fail(USAGE, "more than %d recovery keys", MOST_KEYS);
	for (size_t i = 0; i < words->recovery.count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		struct key key;
		uint8_t spki[SPKI_SIZE];
		TRY(file_read(words->recovery.items[i], PEM_MAX, &pem));
		result read = key_from_pem(bytes_span(&pem), &key);
		if (read != OK)
			return fail_within(read, "%s", words->recovery.items[i]);
		memcpy(g->keys[i].bytes, key.id, KEY_ID_SIZE);
		key_spki(&key, spki);
		key_free(&key);
		TRY(append(&g->arena, &g->spki, &g->spki_count, SPAN_ARRAY(spki)));
	}
	return schema_sort(&digest32_schema, g->keys, words->recovery.count);
}

/* As `troth reference show` prints them, and as policies name them. */
static result read_authors(const struct trust_words *words, struct gathered *g)
{
	if (words->authors.count > MOST_KEYS)
		return fail(USAGE, "more than %d authors", MOST_KEYS);
	for (size_t i = 0; i < words->authors.count; i++)
		if (hex_decode(span_str(words->authors.items[i]), g->authors[i].bytes, KEY_ID_SIZE) != OK)
			return fail(USAGE, "--author takes the 64 hex digits of an author's key id, not '%s'", words->authors.items[i]);
	return OK;
}

/* The job that `troth exec` makes of a command, measured in the same way. */
static result plan_command(const struct trust_words *words, struct job_plan *out)
{
	char folder[PATH_SIZE];
	if (!getcwd(folder, sizeof(folder)))
		return fail_errno("the working folder");
	struct job_command command = {
		.argv = words->command->items,
		.folder = folder,
		.files = words->files.items,
		.with_stdin = words->reads_input,
	};
	return job_plan_command(&command, out);
}

static result add_build(const struct trust_words *words, struct gathered *g, const char *folder)
{
	CLEANUP(tcb_free) struct tcb tcb = {0};
	struct trust_tcb *out = &g->tcbs[g->tcb_count++];
	TRY(tcb_measure(folder, words->domain ? words->domain : "troth.internal", words->confinement != NULL, &tcb));
	memcpy(out->register0, tcb.registers[REGISTER_AP].value, SHA384_SIZE);
	memcpy(out->register1, tcb.registers[REGISTER_HOST].value, SHA384_SIZE);
	return OK;
}

static result measure(const struct trust_words *words, struct gathered *g)
{
	char folder[PATH_SIZE];
	bool is_command = words->command->count > 0;
	if (is_command && words->reference)
		return fail(USAGE, "--reference JOB and a command behind -- exclude each other; a trust file is about one of them");
	if (!is_command && !words->reference)
		return fail(USAGE, "name what a receipt must be about: --reference JOB, or a command behind --");
	if (!is_command && (words->files.count || words->reads_input))
		return fail(USAGE, "--file and --with-input belong to a command behind --");
	if (words->programs.count > MOST_BUILDS)
		return fail(USAGE, "more than %d builds", MOST_BUILDS);
	if (words->programs.count == 0)
		TRY(program_folder(folder, sizeof(folder)));
	if (words->programs.count == 0)
		TRY(add_build(words, g, folder));
	for (size_t i = 0; i < words->programs.count; i++)
		TRY(add_build(words, g, words->programs.items[i]));
	return is_command ? plan_command(words, &g->plan) : job_plan_load(words->reference, &g->plan);
}

/* A public key, or the 64 digits of its id. */
static result read_operators(const struct trust_words *words, struct gathered *g)
{
	if (words->operators.count > MOST_KEYS)
		return fail(USAGE, "more than %d revocation keys", MOST_KEYS);
	for (size_t i = 0; i < words->operators.count; i++) {
		CLEANUP(bytes_free) struct bytes pem = BYTES_EMPTY;
		CLEANUP(key_free) struct key key = KEY_EMPTY;
		const char *word = words->operators.items[i];
		if (strlen(word) == 2 * KEY_ID_SIZE && hex_decode(span_str(word), g->operators[i].bytes, KEY_ID_SIZE) == OK)
			continue;
		TRY(file_read(word, 64 * 1024, &pem));
		TRY(key_from_pem(bytes_span(&pem), &key));
		memcpy(g->operators[i].bytes, key.id, KEY_ID_SIZE);
	}
	return OK;
}

static result compose(const struct trust_words *words, struct gathered *g, struct bytes *out)
{
	struct trust_parts parts = {
		.inceptions = g->inceptions,
		.inception_count = words->roots.count,
		.recovery_keys = g->keys,
		.recovery_key_count = words->recovery.count,
		.recovery_spki = g->spki,
		.recovery_spki_count = g->spki_count,
		.epochs = g->epochs,
		.epoch_count = g->epoch_count,
		.tcbs = g->tcbs,
		.tcb_count = g->tcb_count,
		.job = &g->plan.job,
		.require_tpm_head = words->require_tpm_head,
		.max_run_s = words->max_run_s,
		.expires = words->expires,
		.platform = words->platforms.count ? &g->platform : NULL,
		.authors = g->authors,
		.author_count = words->authors.count,
		.revocation_keys = g->operators,
		.revocation_key_count = words->operators.count,
	};
	memcpy(parts.job_digest, g->plan.digest, SHA256_SIZE);
	TRY(trust_write(&parts, out));
	/* What is written must be what a verifier would read. */
	struct trust trust;
	result parsed = trust_parse("trust file", bytes_span(out), &trust);
	if (parsed != OK)
		return fail_within(parsed, "the --root, --recovery and other options do not fit together");
	trust_free(&trust);
	return OK;
}

/* Never over something that is there: a trust file is the auditor's word. */
static result write_new(const char *path, struct span text)
{
	char temporary[PATH_SIZE];
	struct stat status;
	if (lstat(path, &status) == 0)
		return fail(ALREADY_EXISTS, "%s", path);
	if (snprintf(temporary, sizeof(temporary), "%s.%d.tmp", path, (int)getpid()) >= (int)sizeof(temporary))
		return fail(TOO_LARGE, "%s", path);
	TRY(file_write_atomic(temporary, text, 0644));
	result renamed = file_rename_durable(temporary, path, RENAME_NOREPLACE);
	if (renamed != OK)
		unlink(temporary);
	return renamed;
}

static bool is_given(const struct trust_words *words, const struct gathered *g, const uint8_t *rot_id)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	for (size_t i = 0; i < words->roots.count; i++) {
		struct epoch epoch;
		uint8_t given[OID_SIZE];
		if (epoch_open_inception(g->inceptions[i], &arena, &epoch, given) == OK && memcmp(given, rot_id, OID_SIZE) == 0)
			return true;
	}
	return false;
}

/* The job says which root each of its hosts has. A file that lacks one is whole, and refuses every receipt. */
static void tell_hosts(const struct trust_words *words, const struct gathered *g)
{
	const struct job *job = &g->plan.job;
	for (size_t i = 0; i < job->host_count; i++) {
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		rot_fingerprint(job->hosts[i].rot_id, fingerprint);
		if (is_given(words, g, job->hosts[i].rot_id))
			fprintf(stderr, "host %s has root %s\n", job->hosts[i].name, fingerprint);
		else
			fprintf(stderr, "host %s has root %s, which no --root names: receipts of this job will be refused (TRUST_ROOT_MISSING)\n",
				job->hosts[i].name, fingerprint);
	}
}

static result tell(const struct options *options, const struct trust_words *words, const struct gathered *g)
{
	CLEANUP(arena_free) struct arena arena = arena_of(1 << 20);
	json_t *roots = json_array();
	for (size_t i = 0; i < words->roots.count; i++) {
		struct epoch epoch;
		uint8_t rot_id[OID_SIZE];
		char fingerprint[EPOCH_FINGERPRINT_SIZE];
		TRY(epoch_open_inception(g->inceptions[i], &arena, &epoch, rot_id));
		rot_fingerprint(rot_id, fingerprint);
		json_array_append_new(roots, json_string(fingerprint));
		if (!options->json)
			printf("root %s\n", fingerprint);
	}
	if (!options->json) {
		json_decref(roots);
		size_t enclaves = g->plan.job.enclave_count, outputs = g->plan.job.output_count;
		printf("job  %s, %zu enclave%s, %zu output%s\n%s written; compare each root with what the host's owner tells you by "
		       "another way\n",
			g->plan.job.name, enclaves, enclaves == 1 ? "" : "s", outputs, outputs == 1 ? "" : "s", words->output);
		return OK;
	}
	json_t *json = json_pack("{s:s,s:o,s:s,s:o}", "written", words->output, "roots", roots, "job", g->plan.job.name, "job_digest",
		json_hex(SPAN_ARRAY(g->plan.digest)));
	result printed = json ? json_print(stdout, json) : fail(NO_MEMORY, "result");
	json_decref(json);
	return printed;
}

static result trust_new(const struct options *options, const struct trust_words *words)
{
	CLEANUP(gathered_free) struct gathered g = {.arena = arena_of(EPOCHS_MEMORY)};
	uint64_t expires;
	if (words->expires && clock_parse(words->expires, &expires) != OK)
		return fail(USAGE, "--expires takes a time like 2027-11-21T15:47:31Z");
	if (words->confinement && strcmp(words->confinement, "L") != 0)
		return fail(USAGE, "--confinement takes L; without it hosts must be confined by namespaces");
	if (words->max_run_s == 0)
		return fail(USAGE, "--max-run takes a second or more");
	CLEANUP(bytes_free) struct bytes text = BYTES_EMPTY;
	struct stat status;
	if (words->output && lstat(words->output, &status) == 0)
		return fail(ALREADY_EXISTS, "%s", words->output);
	TRY(read_roots(words, &g));
	TRY(read_keys(words, &g));
	TRY(read_epochs(words, &g));
	TRY(read_platforms(words, &g));
	TRY(read_authors(words, &g));
	TRY(read_operators(words, &g));
	TRY(measure(words, &g));
	TRY(compose(words, &g, &text));
	tell_hosts(words, &g);
	if (!words->output) {
		bool whole = fwrite(text.data, 1, text.len, stdout) == text.len && fputc('\n', stdout) != EOF;
		return whole ? OK : fail_errno("writing the trust file");
	}
	TRY(write_new(words->output, bytes_span(&text)));
	return tell(options, words, &g);
}

int verb_trust_new(int argc, char **argv)
{
	struct trust_words words = {.max_run_s = 86400};
	const struct option_row rows[] = {
		{"root", OPTION_LIST, &words.roots, "FILE", "inception record of a trusted host (repeat for several)"},
		{"recovery", OPTION_LIST, &words.recovery, "FILE", "public recovery key that those records must name, PEM (repeat)"},
		{"epochs", OPTION_LIST, &words.epochs, "FILE", "what is known of those hosts since: a history, a record or a HALT (repeat)"},
		{"tpm", OPTION_LIST, &words.platforms, "FILE", "enrolment of a host's TPM (`troth tpm enrol`): its evidence counts as Level-2 (repeat)"},
		{"author", OPTION_LIST, &words.authors, "KEYID", "whose reference sets count where a policy names one: 64 hex digits (repeat)"},
		{"revocation-key", OPTION_LIST, &words.operators, "FILE|KEYID", "whose revocation lists count: a public key, or its id (repeat)"},
		{"require-tpm-head", OPTION_FLAG, &words.require_tpm_head, NULL,
			"chains (`troth dac verify`) must prove the whole history of their hosts by a TPM"},
		{"allow-synthetic", OPTION_FLAG, &words.allow_synthetic, NULL, "let simulated or self-made platforms count as Level-2; for tests"},
		{"reference", OPTION_TEXT, &words.reference, "JOB", "job file that receipts must be about; its programs are measured here"},
		{"file", OPTION_LIST, &words.files, "PATH", "with a command: a file that it reads or starts, as given to `troth exec` (repeat)"},
		{"with-input", OPTION_FLAG, &words.reads_input, NULL, "with a command: `troth exec` gave it an --input"},
		{"programs", OPTION_LIST, &words.programs, "DIR",
			"folder of the host's programs (default: that of this program); repeat for each build that is good"},
		{"trust-domain", OPTION_TEXT, &words.domain, "NAME", "trust domain of those hosts (troth.internal)"},
		{"confinement", OPTION_TEXT, &words.confinement, "TIER",
			"L: those hosts do without namespaces (`trothd host --confinement L`), which is weaker"},
		{"expires", OPTION_TEXT, &words.expires, "TIME", "do not judge by this file after, as 2027-11-21T15:47:31Z"},
		{"max-run", OPTION_NUMBER, &words.max_run_s, "SECONDS", "how long a run may take (86400)"},
		{"output", OPTION_TEXT, &words.output, "FILE", "write here, never over an existing file (default: stdout)"},
	};
	CLEANUP(options_free)
	struct options options = {
		.verb = "trust new",
		.usage = "--root FILE... [--recovery FILE]... [--epochs FILE]... (--reference JOB | -- COMMAND [ARGUMENT]...) [--output FILE]",
		.description = "Writes a trust file: the roots, programs and job that receipts are judged by. Needs no daemon.\n"
			       "Do this where you trust the machine: what is measured here is what will be believed.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.max_operands = SIZE_MAX,
		.command = true,
	};
	result done = options_parse(&options, argc, argv);
	words.command = &options.operands;
	if (done == OK && !options.help)
		done = trust_new(&options, &words);
	return verb_end(done, argc, argv);
}
