/*
 * Genuine receipts without processes: the engine of the secure processor, and three "enclaves" whose keys, launches,
 * records and statements are made here step by step, as the runtime makes them. Each tweak is one lie or one omission of a
 * host or enclave, signed by the right keys all the same; what it yields must be refused for what it is.
 */
#ifndef TROTH_TESTS_RECEIPT_FIXTURE_H
#define TROTH_TESTS_RECEIPT_FIXTURE_H

#include "expect.h"
#include "object/job.h"
#include "object/manifest.h"
#include "object/reference.h"
#include "receipt/build.h"
#include "receipt/show.h"
#include "receipt/trust.h"
#include "receipt/verify.h"
#include "root/ap.h"

struct host {
	struct ap *ap;
	struct secret wrap;
	struct bytes state;
	struct arena arena;
	uint64_t now;
	uint32_t era;
	uint64_t epoch;
	struct key root_sign; /* public, of the current epoch */
	struct span inception;
	struct span epochs[16]; /* every record, in order */
	size_t epoch_count;
	uint8_t rot_id[OID_SIZE], kem_pk[POINT_SIZE];
	struct key recovery_key; /* 1 of 1 */
	struct digest32 recovery;
	struct register_value registers[REGISTER_COUNT];
};

/* `seed` makes hosts differ: the measured programs carry it. */
void host_new(struct host *host, uint8_t seed);
void host_free(struct host *host);
/* The same state folder a second time; `from` must outlive it. */
void host_clone(const struct host *from, uint8_t seed, struct host *out);

/* The next epoch; drained at once. */
void host_rotate(struct host *host);
/* The next era, from the record `base`. */
void host_recover(struct host *host, struct span base);
/* A HALT of the current era and epoch, signed by the recovery key. */
void host_halt(const struct host *host, struct bytes *out);
/* Records, then HALT (may be empty), then the recovery key: what an auditor was given. The caller frees *out. */
void host_history(const struct host *host, size_t first, struct span halt, struct bytes *out);

/* The job's programs and policies: the same for every run. */
enum { A, B, C, STAGES };
struct job_fixture {
	struct arena arena;
	struct job job;
	struct span encoding;
	uint8_t digest[SHA256_SIZE];
	struct span manifests[STAGES], policies[STAGES];
	int stages; /* of the three that the job has */
	struct key author; /* SHAPE_REFERENCE: whom B's policy names */
	bool has_calls; /* SHAPE_CALLS */
	const uint8_t *roots[STAGES]; /* of a job on two hosts; else NULL */
	struct span references[2]; /* what its receipts carry: tests fill it in */
	size_t reference_count;
};

enum shape {
	SHAPE_PLAIN, /* rows and a secret -> A -> B -> C -> summary (stated); A also leaves rejects */
	SHAPE_NO_INPUT, /* the same without rows and secret */
	SHAPE_SINGLE, /* rows and a secret -> A -> rejects; nobody else judges A */
	SHAPE_EXTERNAL, /* `feed` comes to A from the external peer "source"; C pushes to the external peer "sink" */
	SHAPE_REFERENCE, /* SHAPE_PLAIN; B takes only what set "payroll" lists for A with SVN 2 or more */
	SHAPE_CALLS, /* SHAPE_PLAIN, and C may ask B "lookup" */
	SHAPE_PUSH_ONLY, /* as SHAPE_EXTERNAL, and what goes to "sink" is all that C puts out */
};
void job_fixture_new(struct job_fixture *job, enum shape shape, uint8_t program_version);
/* SHAPE_PLAIN, and B runs on a host of its own. */
void job_fixture_new_hosts(struct job_fixture *job, const struct host *here, const struct host *there);
void job_fixture_free(struct job_fixture *job);
/* A set "payroll" in which A has its core, as one more reference of the job. */
void job_fixture_refer(struct job_fixture *job, const struct key *author, uint32_t svn, uint64_t not_before, uint64_t not_after);

enum tweak {
	NO_TWEAK,
	FAILED_STAGE, /* C never ran */
	PREFIX_OF_RUN, /* C ran; its records are left out */
	EXTRA_RECORD, /* A took in something that the job does not have */
	WRONG_OPERATION, /* an edge used for another operation */
	EDGE_SALT, /* the salt of an edge is disclosed */
	EXTRA_SALT, /* the same, beside all that belong there */
	MISSING_SALT,
	INPUT_FOR_EDGE_SALT, /* the salt of an edge instead of an input's: as many as there should be */
	OTHER_STATEMENT, /* about other bytes than were put out */
	NO_STATEMENT,
	LATE_STATEMENT,
	STATEMENT_TYPE, /* another media type than the job's */
	STATEMENT_OF_ANOTHER_RUN,
	FORGED_STATEMENT, /* in C's name, by B's key */
	STATEMENT_BY_ANOTHER, /* B states what C put out */
	PLAIN_INPUT_WITH_GRANT,
	EXTRA_OUTPUT, /* B put out more than the job has */
	EXTRA_INPUT, /* A took in its rows under a second name */
	SECRET_WITHOUT_GRANT,
	GRANT_LEFT_OUT,
	GRANT_TWICE, /* a second, genuine grant that no record names */
	OTHER_PROGRAM, /* launched with another measurement under the same name */
	TIER_L,
	SLOW_RUN, /* the head came a day and a half hour after the launches, 23 hours and a half after the records */
	OPEN_INTERPRETER,
	LATE_RECORD, /* dated a day before the head */
	CHANGED_EDGE, /* C took in what B did not send: it brought it in itself */
	UNUSED_INPUT, /* A never took in its rows */
	UNKNOWN_CRITICAL_SECTION,
	UNKNOWN_SECTION,
	POLICY_LEFT_OUT,
	MANIFESTS_SWAPPED,
	RECORDS_SHUFFLED,
	OLD_RECORDS, /* records, certificates, reports, grants and statements of `other` under a new head */
	FOREIGN_EPOCHS, /* the epochs section of `other` */
	WITH_NONCE,
	OTHER_RECORDER,
	MISSING_SECTION,
	MANY_RECORDS, /* the records section holds a hundred thousand copies */
	LIST_CHANGED, /* see run_make_changed */
	ROOT_TOO_MANY, /* B's result among the head's roots */
	ROTATED_BEFORE_HEAD, /* nothing but the head is of the new epoch */
	ROTATED_AFTER_A, /* records go on naming the certificates of the launches */
	ROTATED_AFTER_LAUNCH, /* of A: B, C and the grant are of the next epoch */
	ROTATED_OFTEN, /* in all three places */
	SPEAKS_UNDER_BOTH, /* A's later records name a certificate made anew */
	EPOCHS_OF_OTHER, /* the epochs section is built from those of `other`'s host */
	HEAD_WITHOUT_ITS_EPOCH, /* ... or ends before it */
	LAUNCHED_TWICE, /* after a rotation A has another launch of the same code and keys */
	HOSTS_ROTATED, /* the other host's root, once B was launched */
	HOSTS_WRONG_HOST, /* B ran here */
	HOSTS_NO_ROOTS, /* no section of other roots */
	HOSTS_OTHER_ROOT, /* ... with a third host's instead */
	HOSTS_OTHER_CHAIN, /* ... with a third host's epochs under the right id */
	HOSTS_EXTRA_ROOT, /* ... with a third host's beside it */
	HOSTS_HEAD_TWICE, /* ... with the head's root beside it */
	CALLS, /* C asks B, B answers: what follows is the same, signed anew, with one thing that the job does not have */
	CALL_ON_NO_EDGE, /* the question is about an edge of another name */
	CALL_ON_A_FLOW, /* ... about an edge that is no call */
	CALL_FOR_ANOTHER_OPERATION,
	CALL_THE_OTHER_WAY, /* B asks C */
	ANSWER_ON_NO_EDGE,
	UNSEALED, /* CALLS, and A got back what it had sealed */
	UNSEALED_WITHOUT_GRANT,
	UNSEALED_BY_SECRETS_GRANT, /* one grant for the secret and for what was unsealed */
	UNSEALED_BY_ANOTHER, /* C under A's grant */
	UNSEALED_UNNAMED, /* a genuine grant more than there are records */
	UNSEALED_AS_ANOTHER, /* under another name */
};

/* What happens to one section that is a list, before the head is signed over it. */
enum list_change { SWAP_FIRST_TWO, DOUBLE_FIRST, DAMAGE_FIRST, DROP_FIRST, EMPTY_LIST, ADD_JUNK, LIST_CHANGES };

struct stage_run {
	struct key sign, kem;
	struct launch launch;
	uint8_t nonce[32];
	char uri[URI_MAX_LEN + 1];
	struct span certificate, report;
	uint8_t certificate_digest[SHA256_SIZE], report_oid[OID_SIZE];
	uint32_t era; /* of certificate and report */
	uint64_t epoch;
	uint64_t seq;
	uint8_t derive[OID_SIZE], request[OID_SIZE];
	struct record_data edge; /* what it sends on */
};

struct run {
	struct host *host;
	struct host *there, *third; /* of a job on two hosts: where B runs; a host that has nothing to do with it */
	const struct job_fixture *job;
	enum tweak tweak;
	enum section_id changed; /* LIST_CHANGED */
	enum list_change change;
	struct arena arena;
	uint8_t run_id[RUN_ID_SIZE], rand[32], nonce[32];
	bool has_nonce;
	struct stage_run stages[STAGES];
	struct span records[32];
	size_t record_count;
	struct span certificates[4 * STAGES], reports[4 * STAGES]; /* all there were */
	size_t certificate_count;
	struct span grants[4], statements[4];
	size_t grant_count, statement_count;
	struct salt_row salts[16];
	size_t salt_count;
	struct digest32 roots[STAGES];
	size_t root_count;
	struct receipt_sections sections;
	struct bytes receipt;
};

void run_make(struct host *host, const struct job_fixture *job, enum tweak tweak, const struct run *other, struct run *out);
void run_make_changed(struct host *host, const struct job_fixture *job, enum section_id section, enum list_change change, struct run *out);
void run_make_hosts(struct host *here, struct host *there, struct host *third, const struct job_fixture *job, enum tweak tweak, struct run *out);
void run_free(struct run *run);

extern const char summary_text[], rejects_text[], rows_text[];

/* The trust file that an auditor of this host and job writes; read back. */
struct bytes trust_text(const struct host *host, const struct job_fixture *job);
struct bytes trust_text_of(const struct host *const *hosts, size_t count, const struct job_fixture *job);
void trust_make_of(const struct host *const *hosts, size_t count, const struct job_fixture *job, struct trust *out);
void trust_make(const struct host *host, const struct job_fixture *job, struct trust *out);

/* A regular file with this content, without a name. */
int file_with(const char *text);

#endif
