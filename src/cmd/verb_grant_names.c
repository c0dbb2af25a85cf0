/* troth grant names add|remove|list: what this person calls the addresses of others. Kept in the state folder, shown to nobody. */
#include "cmd/ledger_making.h"
#include "cmd/verb.h"

#include <stdio.h>

static result print_list(const struct names *names, bool json)
{
	json_t *list = json ? json_array() : NULL;
	for (size_t i = 0; i < names->count; i++) {
		char text[ADDRESS_TEXT_SIZE];
		address_format(names->rows[i].address, text);
		if (json)
			json_array_append_new(list, json_pack("{s:s, s:s}", "name", names->rows[i].name, "address", text));
		else
			printf("%-20s %s\n", names->rows[i].name, text);
	}
	if (json)
		return print_json_of(list);
	if (names->count == 0)
		printf("The address book is empty: troth grant names add NAME ADDRESS|FILE\n");
	return OK;
}

static result print_done(const char *done, const char *name, const uint8_t address[static ADDRESS_SIZE], bool json)
{
	char text[ADDRESS_TEXT_SIZE];
	address_format(address, text);
	if (json)
		return print_json_of(json_pack("{s:s, s:s, s:s}", "done", done, "name", name, "address", text));
	printf("%s: %s is %s\n", done, name, text);
	return OK;
}

static result add(const char *path, struct names *names, struct arena *arena, const struct words *words, bool json)
{
	uint8_t address[ADDRESS_SIZE];
	char folder[PATH_SIZE];
	TRY(person_read(names, words->items[1], words->items[2], address));
	TRY(names_add(names, words->items[1], address, arena));
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	TRY(file_make_dirs(folder, 0700));
	TRY(names_save(path, names));
	return print_done("kept", words->items[1], address, json);
}

static result take_out(const char *path, struct names *names, const char *name, bool json)
{
	uint8_t address[ADDRESS_SIZE];
	TRY(names_resolve(names, span_str(name), address));
	TRY(names_remove(names, name));
	TRY(names_save(path, names));
	return print_done("removed", name, address, json);
}

static result dispatch(const char *state, const struct words *words, bool json)
{
	CLEANUP(arena_free) struct arena arena = arena_of(LEDGER_MAKING_MEMORY);
	char path[PATH_SIZE];
	struct names names;
	const char *step = words->items[0];
	TRY(names_path(state, path));
	TRY(names_load(path, &arena, &names));
	if (strcmp(step, "list") == 0 && words->count == 1)
		return print_list(&names, json);
	if (strcmp(step, "add") == 0 && words->count == 3)
		return add(path, &names, &arena, words, json);
	if (strcmp(step, "remove") == 0 && words->count == 2)
		return take_out(path, &names, words->items[1], json);
	return fail(USAGE, "add NAME WHO, remove NAME, or list");
}

int verb_grant_names(int argc, char **argv)
{
	const char *state = NULL;
	const struct option_row rows[] = {
		{"state", OPTION_TEXT, &state, "DIR", "state folder (default: /var/lib/troth, or ~/.local/state/troth)"}};
	CLEANUP(options_free)
	struct options options = {
		.verb = "grant names",
		.usage = "add NAME ADDRESS|FILE | remove NAME | list",
		.description = "Your address book: a name may then stand wherever an address is asked for. FILE is somebody's public key or certificate.\n"
			       "Names stay in the state folder, in the text file `names`; what is signed holds addresses.",
		.rows = rows,
		.row_count = COUNT_OF(rows),
		.min_operands = 1,
		.max_operands = 3,
	};
	result done = options_parse(&options, argc, argv);
	if (done == OK && !options.help)
		done = dispatch(state, &options.operands, options.json);
	return verb_end(done, argc, argv);
}
