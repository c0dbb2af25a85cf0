#include "cmd/verb.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "job/state.h"
#include "wire/json.h"
#include "wire/text.h"

/* ---- Failures -------------------------------------------------------------------------------------- */

static void print_json(const struct reason_row *row, const char *text, const struct service_error *error)
{
	json_t *inner =
		json_pack("{s:s, s:i, s:s, s:s}", "reason", row->name, "code", (int)row->reason, "text", text, "sentence", row->sentence);
	if (inner && error && error->stage[0]) {
		const struct reason_row *cause = reason_row((enum reason)error->cause);
		char log[FLOW_LOG_TAIL + 1];
		snprintf(log, sizeof(log), "%.*s", (int)error->log.len, (const char *)error->log.data);
		json_object_set_new(inner, "stage", json_string(error->stage));
		json_object_set_new(inner, "cause", json_string(cause->name));
		json_object_set_new(inner, "advice", json_string(cause->sentence));
		json_object_set_new(inner, "stderr", utf8_valid(span_str(log)) ? json_string(log) : json_hex(span_str(log)));
	}
	json_t *outer = json_pack("{s:o}", "error", inner);
	if (!outer || json_print(stderr, outer) != OK)
		fprintf(stderr, "troth: %s\n", row->name);
	json_decref(outer);
}

/* Untrusted bytes: each line is made plain before it reaches a terminal. */
static void print_log(const char *stage, struct span log)
{
	while (log.len > 0) {
		const uint8_t *newline = memchr(log.data, '\n', log.len);
		size_t len = newline ? (size_t)(newline - log.data) : log.len;
		char line[512];
		snprintf(line, sizeof(line), "%.*s", (int)len, (const char *)log.data);
		for (char *tab = strchr(line, '\t'); tab; tab = strchr(tab, '\t'))
			*tab = ' ';
		text_make_plain(line);
		if (len > 0)
			fprintf(stderr, "  %s| %s\n", stage, line);
		size_t taken = newline ? len + 1 : len;
		log = span_of(log.data + taken, log.len - taken);
	}
}

/* A denial ends with its advice and a failed program's text with its last words. Both have lines of their own here, once. */
static void print_people(const struct reason_row *row, char *text, const struct service_error *error)
{
	bool staged = error && error->stage[0];
	const struct reason_row *cause = staged ? reason_row((enum reason)error->cause) : row;
	text_take_out(text, row->sentence);
	text_take_out(text, cause->sentence);
	char *words = staged && error->log.len > 0 ? strstr(text, "; its last words: ") : NULL;
	if (words)
		*words = '\0';
	fprintf(stderr, "troth: %s: %s\n", row->name, text);
	if (staged)
		print_log(error->stage, error->log);
	if (cause != row)
		fprintf(stderr, "  %s\n", cause->sentence);
	fprintf(stderr, "  %s\n", row->sentence);
}

int verb_end_with(result done, const struct service_error *error, int argc, char **argv)
{
	if (done == OK && fflush(stdout) != 0)
		done = fail_errno("writing the result");
	if (done == OK)
		return EXIT_OK;
	char text[1024];
	const struct reason_row *row = reason_row(done);
	snprintf(text, sizeof(text), "%s", failure_text());
	text_make_plain(text);
	(void)fflush(stdout);
	if (options_want_json(argc, argv))
		print_json(row, text, error);
	else
		print_people(row, text, error);
	return (int)row->exit;
}

int verb_end(result done, int argc, char **argv)
{
	return verb_end_with(done, NULL, argc, argv);
}

/* ---- Hosts ----------------------------------------------------------------------------------------- */

result verb_connect_with(const struct host_options *options, const struct client_options *special, struct client *out)
{
	char state[PATH_SIZE];
	TRY(state_path(options->state, state));
	if (options->passphrase_fd > INT_MAX || (options->passphrase_fd > 0 && options->passphrase_fd < 3))
		return fail(USAGE, "--passphrase-fd takes a descriptor from 3 on");
	struct client_options client = *special;
	client.state_dir = state;
	client.wrap = options->wrap;
	client.tpm = options->tpm;
	client.tpm_pcrs = options->tpm_pcrs;
	client.passphrase_fd = options->passphrase_fd ? (int)options->passphrase_fd : -1;
	client.first_uid = options->first_uid;
	client.confinement = options->confinement;
	client.tpm_head = options->tpm_head;
	return client_connect(&client, out);
}

result verb_connect(const struct host_options *options, bool create, const char *accept, struct client *out)
{
	return verb_connect_with(options, &(struct client_options){.create = create, .accept = accept}, out);
}

result verb_attach(const struct host_options *options, struct client *out)
{
	char state[PATH_SIZE];
	TRY(state_path(options->state, state));
	const struct client_options client = {.state_dir = state, .passphrase_fd = -1, .running_only = true};
	return client_connect(&client, out);
}

/* ---- Words ----------------------------------------------------------------------------------------- */

result verb_split(const char *option, const char *word, struct arena *arena, const char **out_role, const char **out_rest)
{
	const char *equals = strchr(word, '=');
	if (!equals || !equals[1])
		return fail(USAGE, "%s takes NAME=FILE, not '%s'", option, word);
	TRY(arena_string(arena, span_of(word, (size_t)(equals - word)), out_role));
	if (!name_is_valid(*out_role))
		return fail(BAD_NAME, "%s '%s'", option, word);
	*out_rest = equals + 1;
	return OK;
}

void verb_print_hex(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		printf("%02x", bytes.data[i]);
}

result verb_absolute(const char *path, char out[static PATH_SIZE])
{
	char here[PATH_SIZE];
	if (!path[0])
		return fail(USAGE, "a path is empty");
	if (path[0] == '/')
		return path_join(out, "", path);
	if (!getcwd(here, sizeof(here)))
		return fail_errno("the working folder");
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	return path_join(out, here, path);
}
