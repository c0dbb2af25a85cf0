/*
 * Launching IREs, the host's side: starts troth-ire around a program, has what it measured EXTENDed and its keys endorsed
 * by the secure processor, hands over data and channels, and collects what the IRE signed (constructions/epochs.md LAUNCH,
 * ENDORSE, UNSEAL, START; docs/PROTOCOL.control).
 *
 *	launch_start		spawns troth-ire; from here on everything happens in launch_handle, when launch_fd is readable
 *	-> LAUNCH_READY		measured, endorsed, secrets released (all still inside troth-ire)
 *	launch_give_*, broker_*	data and channels; nothing else gets a descriptor
 *	launch_begin		once all launches of the run have theirs: channels open, then the program starts
 *	-> LAUNCH_RUNNING -> LAUNCH_FINISHED: launch_result		or at any time -> LAUNCH_FAILED: launch_failure
 *	launch_free		ends what is left: processes, control groups, the row in the secure processor
 *
 * When the root is rotated meanwhile, each live launch is re-issued its certificate and told of the new epochs by itself;
 * troth-ire re-handshakes its channels. A recovery, a HALT or an emergency ends the launch.
 *
 * A launch owns its process, its control group and its row in the secure processor. All of it belongs to one thread, but for
 * launch_post.
 * Nothing here sees plaintext: secrets pass as boxes, channels as ciphertext.
 */
#ifndef TROTH_ENCLAVE_LAUNCH_H
#define TROTH_ENCLAVE_LAUNCH_H

#include "base/file.h"
#include "enclave/launch_mail.h"
#include "object/receipt.h"
#include "object/record.h"
#include "root/host.h"

struct ire; /* one launch and what became of it */

enum launch_state {
	LAUNCH_PREPARING = 1, /* files are copied and hashed, keys are made */
	LAUNCH_ENDORSING,     /* extended; the keys are being endorsed */
	LAUNCH_UNSEALING,     /* endorsed; secrets are being released */
	LAUNCH_READY,	      /* waits for its inputs, outputs, channels and launch_begin */
	LAUNCH_STARTING,      /* handshakes, inputs that must be complete before the program starts */
	LAUNCH_RUNNING,	      /* the program runs */
	LAUNCH_FINISHED,
	LAUNCH_FAILED,
};
const char *launch_state_name(enum launch_state state);

struct launch_sealed {
	const char *name;   /* of the manifest's secret */
	struct span object; /* sealed object */
};

/* What one launch is made from; everything is borrowed during launch_start only. */
struct launch_spec {
	struct span manifest;		    /* encoding; its digest is what must be measured */
	const char *const *sources;	    /* host paths of the manifest's files in their order; NULL: the same paths */
	size_t source_count;
	struct span policy;		    /* compiled policy of this enclave */
	struct span policy_version;	    /* a newer signed version of it, or empty */
	const struct span *references;	    /* signed reference sets that policies of the job name */
	size_t reference_count;
	const struct launch_sealed *sealed; /* one per secret of the manifest */
	size_t sealed_count;
	const struct span *foreign;	    /* what this host knows of roots of other hosts, an epoch_history each; more than */
	size_t foreign_count;		    /* the manifest names do no harm */
	uint8_t run_id[RUN_ID_SIZE];
	uid_t uid; /* as root: an unallocated uid for this IRE; 0: one is picked. Else ignored */
	const char *copies; /* tier L: folder for copies of images (enclave/copies.h); NULL: tier N */
};

/* What the caller wants to hear of; all members may be NULL. Called from launch_handle. */
struct launch_events {
	void *ctx;
	void (*state)(void *ctx, struct ire *ire, enum launch_state state);
	void (*progress)(void *ctx, struct ire *ire, uint64_t bytes_in, uint64_t bytes_out);
	void (*log)(void *ctx, struct ire *ire, struct span text); /* what the program wrote to stderr; untrusted bytes */
};

/*
 * Starts. Failures here are of the host (troth-ire missing or changed: MEASUREMENT_WRONG; a malformed manifest); what the
 * IRE meets later turns up as LAUNCH_FAILED.
 */
NODISCARD result launch_start(struct root_host *host, const struct launch_spec *spec, const struct launch_events *events,
	struct ire **out);

const uint8_t *launch_run_id(const struct ire *ire);   /* RUN_ID_SIZE */
const char *launch_name(const struct ire *ire); /* the enclave's, from the manifest */
enum launch_state launch_state(const struct ire *ire);
const uint8_t *launch_measurement(const struct ire *ire); /* SHA384_SIZE */
/* Readable when launch_handle has something to do; -1 once finished or failed. */
int launch_fd(const struct ire *ire);
/* When launch_handle must be called although nothing is readable (monotonic ns); UINT64_MAX: never. */
uint64_t launch_deadline(const struct ire *ire);
/* Takes what waits, without blocking for more. A failed launch is not a failure of this call. */
void launch_handle(struct ire *ire);

/*
 * Drives several launches until all of them have reached `until` (or finished). Returns the first root cause as soon as
 * one has failed, its context beginning with the enclave's name. `cancel_fd` (-1: none): PEER_CLOSED when it is readable
 * or at its end. -1 waits as long as the launches' own deadlines allow. TIMED_OUT.
 */
NODISCARD result launch_wait(struct ire *const *launches, size_t count, enum launch_state until, int cancel_fd,
	int timeout_ms);

/* ---- LAUNCH_READY: what it works on. Descriptors are borrowed; the IRE has its own copy on return. ------------- */

/* `input`: "stdin", or a name: it appears as /tmp/in/<name> before the program starts. `fd` is open for reading. */
NODISCARD result launch_give_input(struct ire *ire, const char *role, const char *input, int fd);

/*
 * `output`: "stdout" or a name of the manifest's outputs. What arrives in `fd` counts only after LAUNCH_FINISHED of
 * every enclave of the run.
 */
NODISCARD result launch_give_output(struct ire *ire, const char *name, const char *output, bool statement,
	const char *media_type, int fd);

/* One end of an edge. Whoever sends the data is the initiator of its channel. */
struct launch_channel {
	const char *edge;
	const char *peer;      /* enclave, or external peer */
	const char *operation;
	const char *port;      /* initiator: "stdout" or an output; responder: "stdin" or an input's name */
	bool initiator;
	bool external;
	uint8_t point[POINT_SIZE]; /* external: the pinned key, which signed its certificate, or that of the authority */
	const char *uri; /* external: whom that authority may vouch for; NULL: it is a pinned key */
	struct span above; /* external: certificates that go with the leaf, as lv each; empty: none */
};
/* The connected socket, and for a peer on this host the memory of a ring (enclave/ring.h) or -1. */
NODISCARD result launch_give_channel(struct ire *ire, const struct launch_channel *channel, int fd, int memory);

/*
 * A root of another host has moved on, was halted or has forked: its history as it is known now. At any time until the launch
 * has ended, in the thread of the launch. The runtime believes records, not this host.
 */
NODISCARD result launch_tell_foreign(struct ire *ire, const struct span *histories, size_t count);

/* START: channels are opened and the program runs. */
NODISCARD result launch_begin(struct ire *ire);

/* ---- from LAUNCH_READY on: questions, from any thread (enclave/launch_mail.h) --------------------------------------- */

/* The caller waits for the letter and frees it. It is sent once the launch is READY. */
NODISCARD result launch_post(struct ire *ire, enum control_type type, const void *body, enum control_type reply, struct letter **out);

/* ---- the end --------------------------------------------------------------------------------------------------- */

/* Everything that this IRE signed or was given about itself. Borrowed; lives as long as the launch. */
struct launch_result {
	struct span certificate; /* DER */
	struct span report;	 /* launch report */
	struct bytes_item *records; /* own DAC records, in the order of their seq */
	size_t record_count;
	struct bytes_item *statements;
	size_t statement_count;
	struct bytes_item *grants; /* of its secrets */
	size_t grant_count;
	struct salt_row *salts; /* of declared external inputs and outputs; sorted by commit */
	size_t salt_count;
	uint8_t root[OID_SIZE]; /* its final DERIVE */
	uint64_t bytes_in, bytes_out;
	uint64_t cpu_ms, max_rss;
	uint64_t rekeys;   /* re-handshakes of its channels, in place */
	struct bytes_item *versions; /* signed versions of its policy that its records name */
	size_t version_count;
	uint64_t keyupdates; /* that its channels sent */
	uint64_t reissues; /* certificates under later epochs; records name the first one */
};
/* NULL before LAUNCH_FINISHED. */
const struct launch_result *launch_result(const struct ire *ire);

struct launch_failure {
	enum reason reason;
	const char *text;  /* begins with the enclave's name */
	const char *cause; /* name of the peer that failed first, as far as this IRE can tell; "" when it is this one */
};
/* NULL unless LAUNCH_FAILED. */
const struct launch_failure *launch_failure(const struct ire *ire);

/* Its program, if it serves calls, is told that nobody comes any more; best effort. */
void launch_tell_stop(struct ire *ire);

/* Ends it now; it becomes LAUNCH_FAILED with this reason unless it has an end already. */
void launch_abort(struct ire *ire, enum reason reason, const char *text);

void launch_free(struct ire *ire); /* accepts NULL */

/* ---- backends -------------------------------------------------------------------------------------------------- */

/*
 * How a program is isolated; a manifest names its backend. `process` is the one of this version; `vm` and `tee` come
 * beside it. The steps are those of one launch in their order.
 */
struct launch_backend {
	const char *name; /* manifest.backend */
	/* Tier that this backend reaches when nothing is missing, "N". */
	const char *(*tier)(void);
	/* Brings up the runtime and gives it what it is to measure. */
	result (*prepare)(struct ire *ire, const struct launch_spec *spec);
	/* Compares what the runtime measured with the manifest and EXTENDs it. */
	result (*measure)(struct ire *ire);
	result (*start)(struct ire *ire);
	/* OK when it has ended. TIMED_OUT. */
	result (*wait)(struct ire *ire, int timeout_ms);
	/* Ends everything that prepare brought up. */
	void (*stop)(struct ire *ire);
};
/* NOT_SUPPORTED. */
NODISCARD result launch_backend_find(const char *name, const struct launch_backend **out);

#endif
