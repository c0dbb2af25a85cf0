#include "ledger/names.h"

#include <stdio.h>

#include "base/file.h"
#include "base/writer.h"

static const char blanks[] = " \t\r";

static bool name_ok(struct span name)
{
	if (name.len < 1 || name.len > 63 || name.data[0] == '.' || name.data[0] == '-')
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool begins_as_address(struct span word)
{
	return word.len >= 6 && memcmp(word.data, "troth1", 6) == 0;
}

static const struct names_row *find(const struct names *names, struct span name)
{
	for (size_t i = 0; names && i < names->count; i++)
		if (span_equal_str(name, names->rows[i].name))
			return &names->rows[i];
	return NULL;
}

/* ---- The file ----------------------------------------------------------------------------------- */

static struct span take_word(struct span *line)
{
	size_t from = 0, to;
	while (from < line->len && strchr(blanks, line->data[from]) && line->data[from])
		from++;
	for (to = from; to < line->len && !(strchr(blanks, line->data[to]) && line->data[to]); to++)
		;
	struct span word = span_of(line->data + from, to - from);
	*line = span_of(line->data + to, line->len - to);
	return word;
}

static struct span take_line(struct span *text)
{
	const uint8_t *end = memchr(text->data, '\n', text->len);
	size_t len = end ? (size_t)(end - text->data) : text->len;
	struct span line = span_of(text->data, len);
	*text = span_of(text->data + len + (end ? 1 : 0), text->len - len - (end ? 1 : 0));
	return line;
}

static result read_row(struct span line, struct names *names, struct arena *arena)
{
	uint8_t address[ADDRESS_SIZE];
	const char *name;
	struct span first = take_word(&line), second = take_word(&line), third = take_word(&line);
	if (first.len == 0 || first.data[0] == '#')
		return OK;
	if (second.len == 0 || (third.len > 0 && third.data[0] != '#'))
		return fail(BAD_SYNTAX, "a line is a name and an address");
	TRY(address_parse(second, address));
	TRY(arena_string(arena, first, &name));
	if (find(names, first))
		return fail(DUPLICATE_KEY, "'%s' stands there twice", name);
	return names_add(names, name, address, arena);
}

static result make_room(struct arena *arena, struct names *out)
{
	void *rows;
	TRY(arena_alloc(arena, NAMES_MAX, sizeof(*out->rows), &rows));
	*out = (struct names){rows, 0};
	return OK;
}

result names_parse(const char *name, struct span text, struct arena *arena, struct names *out)
{
	struct names names;
	TRY(make_room(arena, &names));
	for (size_t number = 1; text.len > 0; number++) {
		result row = read_row(take_line(&text), &names, arena);
		if (row != OK)
			return fail_within(row, "%s:%zu", name, number);
	}
	*out = names;
	return OK;
}

result names_load(const char *path, struct arena *arena, struct names *out)
{
	CLEANUP(bytes_free) struct bytes file = BYTES_EMPTY;
	result read = file_read(path, NAMES_FILE_MAX, &file);
	if (read != OK && read != NOT_FOUND)
		return read;
	return names_parse(path, bytes_span(&file), arena, out);
}

result names_save(const char *path, const struct names *names)
{
	CLEANUP(writer_free) struct writer w = writer_growing(NAMES_FILE_MAX);
	struct span text;
	for (size_t i = 0; i < names->count; i++) {
		char address[ADDRESS_TEXT_SIZE];
		address_format(names->rows[i].address, address);
		writer_str(&w, names->rows[i].name);
		writer_str(&w, " ");
		writer_str(&w, address);
		writer_str(&w, "\n");
	}
	TRY(writer_finish(&w, &text));
	return file_write_atomic(path, text, 0600);
}

result names_add(struct names *names, const char *name, const uint8_t address[static ADDRESS_SIZE], struct arena *arena)
{
	const struct names_row *there = find(names, span_str(name));
	struct names_row row;
	if (!name_ok(span_str(name)) || begins_as_address(span_str(name)))
		return fail(BAD_NAME, "'%s' cannot be a name: 1..63 letters, digits, '.', '_' and '-', and no address", name);
	if (there && memcmp(there->address, address, ADDRESS_SIZE) != 0)
		return fail(ALREADY_EXISTS, "'%s' stands for another address; remove it first", name);
	if (there)
		return OK;
	if (names->count >= NAMES_MAX)
		return fail(TOO_LARGE, "an address book holds %d names", NAMES_MAX);
	TRY(arena_string(arena, span_str(name), &row.name));
	memcpy(row.address, address, ADDRESS_SIZE);
	names->rows[names->count++] = row;
	return OK;
}

result names_remove(struct names *names, const char *name)
{
	size_t kept = 0, before = names->count;
	for (size_t i = 0; i < before; i++)
		if (strcmp(names->rows[i].name, name) != 0)
			names->rows[kept++] = names->rows[i];
	names->count = kept;
	return kept < before ? OK : fail(NOT_FOUND, "nobody is called '%s' here", name);
}

/* ---- Names and addresses -------------------------------------------------------------------------- */

result names_resolve(const struct names *names, struct span word, uint8_t out[static ADDRESS_SIZE])
{
	const struct names_row *row = find(names, word);
	if (begins_as_address(word))
		return address_parse(word, out);
	if (!row)
		return fail(NOT_FOUND, "'%.*s' is no address, and nobody in the address book is called so", (int)(word.len > 80 ? 80 : word.len),
			(const char *)word.data);
	memcpy(out, row->address, ADDRESS_SIZE);
	return OK;
}

const char *names_of(const struct names *names, const uint8_t address[static ADDRESS_SIZE])
{
	for (size_t i = 0; names && i < names->count; i++)
		if (memcmp(names->rows[i].address, address, ADDRESS_SIZE) == 0)
			return names->rows[i].name;
	return NULL;
}

void names_person(const struct names *names, const uint8_t address[static ADDRESS_SIZE], char out[static PERSON_TEXT_SIZE])
{
	char text[ADDRESS_TEXT_SIZE];
	const char *name = names_of(names, address);
	address_format(address, text);
	if (name)
		snprintf(out, PERSON_TEXT_SIZE, "%s (%s)", name, text);
	else
		snprintf(out, PERSON_TEXT_SIZE, "%s", text);
}

result names_scope(const struct names *names, const char *word, const uint8_t *own, char out[static SCOPE_MAX + 1])
{
	uint8_t address[ADDRESS_SIZE], owner[ADDRESS_SIZE];
	char owner_text[ADDRESS_TEXT_SIZE], scope[SCOPE_MAX + 1];
	size_t first = strcspn(word, "/");
	if (first == 0 && !own)
		return fail(BAD_NAME, "'%s': a scope begins with its owner", word);
	if (first == 0)
		memcpy(address, own, ADDRESS_SIZE);
	else
		TRY(names_resolve(names, span_of(word, first), address));
	address_format(address, owner_text);
	int len = snprintf(scope, sizeof(scope), "%s%s", owner_text, strcmp(word, "/") == 0 ? "" : word + first);
	if (len < 0 || (size_t)len >= sizeof(scope))
		return fail(TOO_LARGE, "a scope has at most %d bytes", SCOPE_MAX);
	TRY(scope_parse(scope, owner));
	memcpy(out, scope, (size_t)len + 1);
	return OK;
}
