/*
 * What a program tells its operator while it runs: one line per event, written with one write(2) so that
 * lines of several threads and processes do not mix. Human form or JSON lines. Every byte that could end a
 * line or steer a terminal is escaped, so that nobody forges a line by choosing a name. Secrets are never
 * logged: there is no field kind that takes one.
 *
 *     log_info("listening", LOG_TEXT("path", path), LOG_NUMBER("clients", 3));
 *
 * Thread-safe. Never fails: a line that cannot be written is dropped. A line is cut at LOG_LINE_MAX.
 */
#ifndef TROTH_BASE_LOG_H
#define TROTH_BASE_LOG_H

#include "base/result.h"
#include "base/span.h"

enum log_format { LOG_FORMAT_HUMAN, LOG_FORMAT_JSON };
enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR, LOG_LEVEL_OFF };
enum { LOG_LINE_MAX = 4096 };

enum log_kind { LOG_KIND_NONE, LOG_KIND_TEXT, LOG_KIND_NUMBER, LOG_KIND_HEX };

struct log_field {
	const char *key; /* an identifier chosen by the program */
	enum log_kind kind;
	struct span bytes; /* TEXT and HEX; borrowed until log_write returns */
	int64_t number;
};

#define LOG_TEXT(name, text) ((struct log_field){(name), LOG_KIND_TEXT, log_text_span_(text), 0})
#define LOG_NUMBER(name, value) ((struct log_field){(name), LOG_KIND_NUMBER, SPAN_EMPTY, (int64_t)(value)})
#define LOG_HEX(name, span) ((struct log_field){(name), LOG_KIND_HEX, (span), 0})

static inline struct span log_text_span_(const char *text)
{
	return span_str(text ? text : "(none)");
}

/* Once, before threads start. `program` must live as long as the process. Default: human, INFO, "troth", stderr. */
void log_configure(enum log_format format, enum log_level level, const char *program);
void log_to(int fd); /* borrowed; 2 by default */

/* "debug", "info", "warning", "error", "off". BAD_VALUE. */
NODISCARD result log_level_parse(const char *text, enum log_level *out);

bool log_wants(enum log_level level);
void log_write(enum log_level level, const char *message, const struct log_field *fields, size_t count);

/* The recorded failure of this thread: adds fields `reason` and `text`. */
void log_failure(enum log_level level, const char *message, result reason);

#define log_at_(level, message, ...)                                                                                                       \
	do {                                                                                                                               \
		if (log_wants(level)) {                                                                                                    \
			const struct log_field log_fields_[] = {(struct log_field){.key = NULL}, ##__VA_ARGS__};                           \
			log_write((level), (message), log_fields_ + 1, COUNT_OF(log_fields_) - 1);                                         \
		}                                                                                                                          \
	} while (0)
#define log_debug(message, ...) log_at_(LOG_LEVEL_DEBUG, message, ##__VA_ARGS__)
#define log_info(message, ...) log_at_(LOG_LEVEL_INFO, message, ##__VA_ARGS__)
#define log_warning(message, ...) log_at_(LOG_LEVEL_WARNING, message, ##__VA_ARGS__)
#define log_error(message, ...) log_at_(LOG_LEVEL_ERROR, message, ##__VA_ARGS__)

#endif
