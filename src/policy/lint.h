/*
 * What a policy says that its author probably did not mean: rules that can never apply, a peer both allowed
 * and denied, the subject as its own communicator, names that differ only in look. Findings do not stop a
 * policy from loading; errors of the schema do (policy_lint returns those as its result).
 */
#ifndef TROTH_POLICY_LINT_H
#define TROTH_POLICY_LINT_H

#include "base/result.h"
#include "wire/document.h"

enum lint_severity { LINT_NOTE, LINT_WARNING };

struct lint_finding {
	enum lint_severity severity;
	unsigned line, column;
	char text[256];
};

enum { LINT_MAX_FINDINGS = 1000 };

struct lint_findings {
	struct lint_finding *items;
	size_t count;
	bool cut; /* there were more than LINT_MAX_FINDINGS */
};

/* In the order of the document. Free with lint_findings_free. `now_ms` 0: do not judge validity windows. */
NODISCARD result policy_lint(const struct document *document, uint64_t now_ms, struct lint_findings *out);
void lint_findings_free(struct lint_findings *findings); /* accepts NULL */
const char *lint_severity_name(enum lint_severity severity);

#endif
