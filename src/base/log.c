#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
	enum log_format format;
	enum log_level level;
	const char *program;
	int fd;
} settings = {LOG_FORMAT_HUMAN, LOG_LEVEL_INFO, "troth", STDERR_FILENO};

static const char *const level_names[] = {"debug", "info", "warning", "error", "off"};

/* A line under construction. It keeps room for its end, so that a line that is cut is still well-formed. */
struct line {
	char text[LOG_LINE_MAX];
	size_t len;
	bool full;
};

enum { ROOM_FOR_END = 16 };

void log_configure(enum log_format format, enum log_level level, const char *program)
{
	settings.format = format;
	settings.level = level;
	settings.program = program;
}

void log_to(int fd)
{
	settings.fd = fd;
}

result log_level_parse(const char *text, enum log_level *out)
{
	for (size_t i = 0; i < COUNT_OF(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return OK;
		}
	}
	return fail(BAD_VALUE, "'%s' is not one of debug, info, warning, error, off", text);
}

bool log_wants(enum log_level level)
{
	return level >= settings.level && level < LOG_LEVEL_OFF;
}

static void line_put(struct line *line, const char *text, size_t len)
{
	if (line->full || len > sizeof(line->text) - ROOM_FOR_END - line->len) {
		line->full = true;
		return;
	}
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void line_str(struct line *line, const char *text)
{
	line_put(line, text, strlen(text));
}

/* What ends a line; always fits. */
static void line_end(struct line *line, const char *text)
{
	size_t len = strlen(text);
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

/* Length of the well-formed UTF-8 character at `at` that may be shown as it is; 0 when it must be escaped. */
static size_t printable_utf8(const uint8_t *at, size_t left)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > left)
		return 0;
	uint32_t point = at[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (at[i] & 0x3fu);
	}
	bool surrogate = point >= 0xd800 && point < 0xe000;
	bool control = point < 0xa0;
	/* Line and paragraph separators, and marks that reverse the direction of what follows. */
	bool steering = (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
		(point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
	return point < smallest[len] || point > 0x10ffff || surrogate || control || steering ? 0 : len;
}

static void put_escaped_byte(struct line *line, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";
	char hex[2] = {digits[byte >> 4], digits[byte & 15]};
	/* JSON has no escape for a byte; U+00xx stands for it there. */
	char text[6] = {'\\', 'u', '0', '0', hex[0], hex[1]};
	if (settings.format == LOG_FORMAT_JSON)
		line_put(line, text, sizeof(text));
	else
		line_put(line, (char[]){'\\', 'x', hex[0], hex[1]}, 4);
}

static void put_escaped(struct line *line, struct span bytes)
{
	for (size_t i = 0; i < bytes.len && !line->full;) {
		uint8_t c = bytes.data[i];
		size_t wide = printable_utf8(bytes.data + i, bytes.len - i);
		if (wide) {
			line_put(line, (const char *)bytes.data + i, wide);
			i += wide;
			continue;
		}
		if (c == '"' || c == '\\')
			line_put(line, (char[]){'\\', (char)c}, 2);
		else if (c >= 0x20 && c < 0x7f)
			line_put(line, (const char *)&bytes.data[i], 1);
		else
			put_escaped_byte(line, c);
		i++;
	}
}

static void put_quoted(struct line *line, struct span bytes)
{
	line_str(line, "\"");
	put_escaped(line, bytes);
	/* Not line_put: the quote belongs to text that was cut as well. */
	line_end(line, "\"");
}

static void put_hex(struct line *line, struct span bytes)
{
	for (size_t i = 0; i < bytes.len && !line->full; i++) {
		char text[3];
		snprintf(text, sizeof(text), "%02x", bytes.data[i]);
		line_put(line, text, 2);
	}
}

/* A word needs no quotes in the human form. */
static bool is_word(struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++) {
		uint8_t c = bytes.data[i];
		if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=')
			return false;
	}
	return bytes.len > 0;
}

static void put_value(struct line *line, const struct log_field *field)
{
	bool json = settings.format == LOG_FORMAT_JSON;
	char number[24];
	switch (field->kind) {
	case LOG_KIND_NUMBER:
		snprintf(number, sizeof(number), "%" PRId64, field->number);
		line_str(line, number);
		break;
	case LOG_KIND_HEX:
		line_str(line, json ? "\"" : "");
		put_hex(line, field->bytes);
		if (json)
			line_end(line, "\"");
		break;
	case LOG_KIND_TEXT:
		if (!json && is_word(field->bytes))
			put_escaped(line, field->bytes);
		else
			put_quoted(line, field->bytes);
		break;
	case LOG_KIND_NONE:
		line_str(line, json ? "null" : "-");
		break;
	}
}

/* A field is begun only if its key and a short value fit whole. */
static bool field_fits(const struct line *line, const struct log_field *field)
{
	return !line->full && strlen(field->key) + 64 < sizeof(line->text) - ROOM_FOR_END - line->len;
}

static void put_field(struct line *line, const struct log_field *field)
{
	if (!field_fits(line, field)) {
		line->full = true;
		return;
	}
	if (settings.format == LOG_FORMAT_JSON) {
		line_str(line, ",");
		put_quoted(line, span_str(field->key));
		line_str(line, ":");
	} else {
		line_str(line, " ");
		line_str(line, field->key);
		line_str(line, "=");
	}
	put_value(line, field);
}

static void put_start(struct line *line, enum log_level level, const char *message)
{
	char now[CLOCK_TEXT_SIZE];
	struct span program = span_of(settings.program, strnlen(settings.program, 64));
	clock_format(clock_wall_ms(), now);
	if (settings.format == LOG_FORMAT_JSON) {
		line_str(line, "{\"time\":\"");
		line_str(line, now);
		line_str(line, "\",\"level\":\"");
		line_str(line, level_names[level]);
		line_str(line, "\",\"program\":");
		put_quoted(line, program);
		line_str(line, ",\"message\":");
		put_quoted(line, span_str(message));
	} else {
		line_str(line, now);
		line_str(line, " ");
		line_str(line, level_names[level]);
		line_str(line, " ");
		put_escaped(line, program);
		line_str(line, ": ");
		put_escaped(line, span_str(message));
	}
}

void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count)
{
	if (!log_wants(level))
		return;
	int saved = errno;
	struct line line;
	line.len = 0;
	line.full = false;
	put_start(&line, level, message);
	for (size_t i = 0; i < count; i++)
		put_field(&line, &fields[i]);
	if (settings.format == LOG_FORMAT_JSON)
		line_end(&line, line.full ? ",\"cut\":true}\n" : "}\n");
	else
		line_end(&line, line.full ? " ...\n" : "\n");
	ssize_t wrote;
	do
		wrote = write(settings.fd, line.text, line.len);
	while (wrote < 0 && errno == EINTR);
	errno = saved;
}

void log_failure(enum log_level level, const char *message, result reason)
{
	const struct log_field fields[] = {
		LOG_TEXT("reason", reason_name(reason)),
		LOG_TEXT("text", failure_text()),
	};
	log_write(level, message, fields, COUNT_OF(fields));
}
