#include "crypto/token_uri.h"

#include <stdio.h>
#include <strings.h>

static const char scheme[] = "pkcs11:";
enum { VALUE_MAX = 1024 };

bool token_uri_is(const char *word)
{
	return strncasecmp(word, scheme, sizeof(scheme) - 1) == 0;
}

static int digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What percent signs stand for; none of it is a NUL. */
static result decode(struct span text, uint8_t out[static VALUE_MAX], size_t *out_len, bool bytes)
{
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		int value = text.data[i];
		if (value == '%') {
			bool there = text.len - i > 2;
			int high = there ? digit(text.data[i + 1]) : -1, low = there ? digit(text.data[i + 2]) : -1;
			if (high < 0 || low < 0)
				return fail(BAD_SYNTAX, "a percent sign is followed by two hex digits");
			value = high << 4 | low;
			i += 2;
		}
		if (len >= VALUE_MAX - 1 || (value == 0 && !bytes))
			return fail(BAD_VALUE, "a value is too long, or holds a NUL");
		out[len++] = (uint8_t)value;
	}
	*out_len = len;
	return OK;
}

static result take_text(struct span value, struct arena *arena, const char **out)
{
	uint8_t text[VALUE_MAX];
	size_t len;
	TRY(decode(value, text, &len, false));
	return arena_string(arena, span_of(text, len), out);
}

static result take_id(struct span value, struct arena *arena, const char **out)
{
	uint8_t id[VALUE_MAX];
	char hex[2 * VALUE_MAX + 1];
	size_t len;
	TRY(decode(value, id, &len, true));
	for (size_t i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	return arena_string(arena, span_of(hex, 2 * len), out);
}

static result take_path(struct span value, struct arena *arena, const char **out)
{
	const char *text;
	TRY(take_text(value, arena, &text));
	if (strncmp(text, "file:", 5) != 0) {
		*out = text;
		return OK;
	}
	text += strncmp(text, "file:///", 8) == 0 ? 7 : 5;
	return arena_string(arena, span_str(text), out);
}

static result take(struct span name, struct span value, bool query, struct arena *arena, struct token_uri *uri)
{
	const struct {
		const char *name;
		bool query;
		const char **target;
		result (*read)(struct span value, struct arena *arena, const char **out);
	} rows[] = {
		{"token", false, &uri->token, take_text},
		{"serial", false, &uri->serial, take_text},
		{"object", false, &uri->object, take_text},
		{"id", false, &uri->id_hex, take_id},
		{"module-path", true, &uri->module, take_path},
		{"pin-source", true, &uri->pin_file, take_path},
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (rows[i].query != query || !span_equal_str(name, rows[i].name))
			continue;
		if (*rows[i].target)
			return fail(DUPLICATE_KEY, "'%s' stands there twice", rows[i].name);
		return rows[i].read(value, arena, rows[i].target);
	}
	if (span_equal_str(name, "pin-value"))
		return fail(BAD_VALUE, "a PIN does not belong on a command line: write it into a file and say pin-source=FILE");
	if (!query && span_equal_str(name, "type") && span_equal_str(value, "private"))
		return OK;
	return fail(UNKNOWN_FIELD, "'%.*s' is not understood in a PKCS#11 URI", (int)(name.len > 40 ? 40 : name.len), (const char *)name.data);
}

static result take_all(struct span part, char between, bool query, struct arena *arena, struct token_uri *uri)
{
	while (part.len > 0) {
		const uint8_t *end = memchr(part.data, between, part.len);
		struct span row = span_of(part.data, end ? (size_t)(end - part.data) : part.len);
		const uint8_t *equals = row.len ? memchr(row.data, '=', row.len) : NULL;
		if (!equals)
			return fail(BAD_SYNTAX, "a PKCS#11 URI is made of name=value");
		struct span name = span_of(row.data, (size_t)(equals - row.data));
		TRY(take(name, span_of(equals + 1, row.len - name.len - 1), query, arena, uri));
		size_t taken = row.len + (end ? 1 : 0);
		part = span_of(part.data + taken, part.len - taken);
	}
	return OK;
}

result token_uri_parse(const char *word, struct arena *arena, struct token_uri *out)
{
	struct token_uri uri = {NULL};
	if (!token_uri_is(word))
		return fail(BAD_SYNTAX, "a PKCS#11 URI begins with '%s'", scheme);
	const char *path = word + sizeof(scheme) - 1;
	size_t path_len = strcspn(path, "?");
	TRY(take_all(span_of(path, path_len), ';', false, arena, &uri));
	if (path[path_len])
		TRY(take_all(span_str(path + path_len + 1), '&', true, arena, &uri));
	*out = uri;
	return OK;
}
