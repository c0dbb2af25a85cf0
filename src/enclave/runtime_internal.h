/* What the files of the runtime share. runtime.h says what it does. */
#ifndef TROTH_ENCLAVE_RUNTIME_INTERNAL_H
#define TROTH_ENCLAVE_RUNTIME_INTERNAL_H

#include "crypto/hash.h"
#include "crypto/x509.h"
#include "enclave/control.h"
#include "enclave/dac.h"
#include "enclave/data_frame.h"
#include "enclave/iecp_anchor.h"
#include "enclave/iecp_channel.h"
#include "enclave/iecp_rekey.h"
#include "enclave/ring.h"
#include "enclave/sandbox.h"
#include "object/epoch_chain.h"
#include "object/seal.h"
#include "policy/references.h"
#include "policy/versions.h"
#include "policy/table.h"

enum {
	RUNTIME_REPLY_MS = 30 * 1000, /* the host answers within this */
	PIECE = DATA_CHUNK_MAX,	      /* bytes moved at once */
	RECEIVE_BUFFER = 4 * IECP_MAX_RECORD,
	TAIL_SIZE = 4096,	      /* of the program's stderr */
	MAX_POLICIES = 256,
	MAX_STATEMENTS = 256,
	KNOWN_EPOCHS = 8, /* a peer's records were launched under one of so many last ones */
	HOLD_MAX = 4 << 20, /* bytes of data read ahead of a re-handshake */
	MAX_OWN_RECORDS = 1 << 18,
	MAX_RECORDS = 1 << 18, /* of everybody, whatever the policy says */
	TIME_SKEW_MS = 60 * 1000,
};

/* What is to be written to a descriptor that may not take it at once. */
struct backlog {
	struct writer bytes;
	size_t at; /* written so far */
};

struct runtime;
struct input;
struct call_link;
struct calls;

/* A root of trust of another host, followed here. */
enum { FOREIGN_ROOTS_MAX = 64 };
struct foreign_root {
	struct epoch_chain *chain;
	uint64_t learned_ms;		/* of the head: wall clock */
	uint64_t rekey_by;		/* after it has moved on: steady ms; 0: none */
	enum reason stopped;		/* halted, forked, recovered since: nothing of it counts any more; OK: live */
	size_t place;			/* among the floors of a channel */
	struct key known[KNOWN_EPOCHS]; /* keys of epochs that records may name */
	size_t known_count;
};

/* What judges the other side of a channel: its root as it is now, own or another. */
struct root_view {
	const struct epoch_chain *chain;
	uint64_t learned_ms, rekey_by;
	size_t place;
};
struct epoch_floor {
	uint32_t era;
	uint64_t epoch;
};

/* Who the other end of a channel proved to be. */
struct channel_peer {
	uint8_t rot_id[OID_SIZE]; /* own, until it has shown another */
	char uri[URI_MAX_LEN + 1];
	uint8_t certificate[SHA256_SIZE];
	uint8_t core[SHA384_SIZE];
	uint8_t measurement[SHA384_SIZE];
	uint8_t launch_id[LAUNCH_ID_SIZE];
	uint8_t keys_hash[SHA256_SIZE];
	enum policy_confinement confinement;
	bool interpreter_open;
	unsigned level, factors;
	uint64_t evidence_time;
};

struct channel {
	struct runtime *runtime;
	struct control_channel spec;
	const struct manifest_peer *rule; /* of the manifest */
	struct fd socket;
	struct ring ring; /* between two IREs of one host: then the socket carries bells */
	char expected_name[URI_MAX_LEN + 1]; /* endorsed URI, or the local name of an external peer */
	struct key pin;
	struct iecp_pin pin_rule;
	struct iecp_ca ca_rule;
	struct iecp_anchor anchor;
	struct bytes path; /* what it shows, where that is more than the leaf */
	struct iecp *handshake;
	struct iecp_channel *open;
	struct channel_peer peer;
	/* Re-handshakes: what the next one will show, what the keys in use rest on, and when to start (steady ms). */
	unsigned shown, rests_on, noticed; /* numbers of re-issues */
	struct epoch_floor floors[1 + FOREIGN_ROOTS_MAX]; /* of evidence: each root's head when we asked for it; the own one first */
	uint64_t handshakes; /* finished on this channel */
	uint64_t ageing_at, renew_at, checked_at;
	uint64_t waits_since; /* the peer has taken nothing of `sending` since (steady ms); 0: it is empty */
	size_t pieces_sent; /* of platform evidence */
	uint64_t judged_seq; /* the revocation head by which its peer was judged last */
	struct backlog held; /* data that came before a re-handshake's messages and that nobody takes yet */
	uint8_t *received; /* RECEIVE_BUFFER bytes */
	struct span plain; /* of the record that is being taken apart; borrows from `received` */
	size_t received_from, received_len;
	struct backlog sending;
	struct data_receiver data;  /* responder */
	struct data_open opened;    /* responder: the peer's OPEN; initiator: ours */
	bool has_opened;
	bool closed_by_peer;	    /* its CLOSE came */
	bool vouched;		    /* responder: END was verified */
	bool ended;		    /* nothing more will come: the peer closed the connection */
	bool finished;		    /* END and CLOSE are in `sending`, or were verified */
	struct input *input;	    /* responder */
	struct product *product;    /* initiator */
	struct consumer *consumer;  /* initiator: our place among those of the product */
	struct call_link *link;	    /* NULL: it carries one stream, not calls */
};

struct input {
	const char *name; /* role, or the edge's name */
	const char *port;
	struct channel *channel; /* NULL: an external descriptor */
	struct fd source;
	uint8_t salt[DATA_SALT_SIZE];
	struct hmac hmac;
	uint8_t commit[SHA256_SIZE];
	uint64_t length;
	bool disclosed; /* salt goes into the receipt: a declared external input */
	bool complete;	/* all of it is here and vouched for */
	bool to_stdin;
	struct fd sink;  /* file in the scratch folder, or the program's stdin */
	struct fd spool; /* stdin, while the program waits for other inputs */
	bool sink_closed; /* the program takes no more */
	struct span pending; /* for stdin: borrowed from the receiver or `buffer` */
	uint8_t *buffer;
	uint64_t spooled, replayed; /* stdin before the program runs */
	struct record_parent supplier; /* the record that brought it in */
};

struct consumer {
	const char *name; /* of the edge or the declared output */
	struct channel *channel; /* NULL: a declared output */
	struct fd sink;
	struct backlog writing;
	/* Each has a commitment of its own, so that disclosing the salt of an output discloses nothing of an edge. */
	uint8_t salt[DATA_SALT_SIZE], commit[SHA256_SIZE];
	struct hmac hmac;
	bool statement;
	const char *media_type;
};

/* Something the program produces: stdout or a file it leaves. */
struct product {
	const char *port;
	const char *path; /* NULL: stdout */
	struct hash digest;
	uint8_t sha256[SHA256_SIZE];
	uint64_t length;
	bool stated;
	bool done;
	struct fd source;
	struct consumer consumers[CONTROL_MAX_EDGES];
	size_t consumer_count;
};

struct secret_row {
	const char *name;
	uint8_t fd;
	struct secret value;
	uint8_t salt[DATA_SALT_SIZE], commit[SHA256_SIZE];
	uint8_t grant_oid[OID_SIZE];
	struct span grant;
	struct record_parent supplier;
};

struct policy_row {
	uint8_t digest[SHA256_SIZE];
	struct span bytes;
	struct policy_table *table;
};

/* What a peer may still do under a rate of the policy. */
struct peer_meter {
	const char *peer; /* of the arena */
	struct policy_meter meter;
};

struct platform;

/* What is revoked, and how long that is known (runtime_revocation.c). */
struct revocations {
	uint64_t boot_gen, seq; /* of the last head; seq 0: there was none */
	uint32_t era;		/* in which it was signed */
	uint64_t epoch;
	uint64_t time_ms;	/* the latest of their times */
	uint32_t lease_ms;	/* 0: none */
	uint64_t until_ms;	/* steady */
	struct revocation_set set;
	struct span maps[REVOCATION_MAX_LISTS]; /* of its lists */
};

struct runtime {
	int control;
	struct revocations revocations;
	bool awaits_reply; /* of the host: the next message is that, or news */
	struct arena arena;
	struct control_message prepare_message;
	struct control_prepare prepare;
	struct manifest manifest;
	uint8_t measurement[SHA384_SIZE], core[SHA384_SIZE];
	/* The root as it has moved on; and the epoch of the launch report, under which all records of this run stand. */
	struct epoch_chain *chain;
	uint64_t learned_ms; /* of the head: wall clock */
	struct epoch epoch;
	uint8_t epoch_oid[OID_SIZE];
	struct key root; /* that epoch's signing key, public */
	struct key known[KNOWN_EPOCHS]; /* keys of epochs that records may name */
	size_t known_count;
	struct foreign_root *foreign[FOREIGN_ROOTS_MAX]; /* of other hosts (runtime_foreign.c) */
	size_t foreign_count;
	struct platform *platform; /* what the TPMs of hosts say of their epochs (runtime_platform.c) */
	struct bytes_item pieces[16]; /* seen last, own and others' */
	size_t piece_next;
	struct span own_platform; /* what ours says of the epoch that we show; empty: nothing */
	struct sandbox sandbox;
	const char *limits;

	struct key sign, kem;
	uint8_t kem_pk[POINT_SIZE];
	uint8_t nonce[32]; /* n_ap */
	char uri[URI_MAX_LEN + 1];
	struct span certificate, report;
	uint8_t certificate_digest[SHA256_SIZE], report_oid[OID_SIZE];
	/* What handshakes show: the certificate of the launch, or the one re-issued last for the same keys. */
	struct span shown;
	struct iecp_epoch shown_epoch;
	unsigned reissues;
	uint64_t start_by, rekey_by; /* after a re-issue: steady ms; 0: none */

	struct policy_row policies[MAX_POLICIES]; /* the first is our own */
	size_t policy_count;
	/* The one in force: of the launch, or a signed version that follows it (runtime_policy.c). */
	const struct policy_table *policy;
	uint8_t policy_digest[SHA256_SIZE];
	uint64_t policy_version;
	uint64_t chain_limits[POLICY_CHAIN_LIMITS]; /* of it; 0: not said */
	struct policy_versions *versions; /* of our policy and of the peers' */
	struct peer_meter *meters; /* of the peers that asked for operations, or were asked */
	size_t meter_count, meter_cap;
	struct policy_references *references; /* sets that entries of these policies may name */
	struct secret_row secrets[SANDBOX_MAX_FDS];
	size_t secret_count;
	struct channel *channels[2 * CONTROL_MAX_EDGES];
	size_t channel_count;
	struct input inputs[CONTROL_MAX_EDGES];
	size_t input_count;
	struct product *products; /* stdout first, then the manifest's outputs */
	size_t product_count, place_count;

	struct dac *dac;
	uint64_t seq;
	struct bytes_item *records;
	size_t record_count, record_cap;
	struct calls *calls; /* NULL: the program has no descriptor for them */
	struct bytes_item statements[MAX_STATEMENTS];
	size_t statement_count;
	uint8_t derive_oid[OID_SIZE];
	uint8_t newest_oid[OID_SIZE], result_oid[OID_SIZE]; /* last record, last DERIVE or RESPONSE that was signed here */
	uint8_t accepted_oid[OID_SIZE]; /* last record of somebody else that was accepted here */
	bool has_newest, has_result, has_accepted;

	bool program_running, program_ended, derived;
	uint64_t handshakes_until_ns, settle_until_ns;
	struct sandbox_end end;
	struct fd errors; /* the program's stderr */
	uint8_t tail[TAIL_SIZE];
	size_t tail_len;
	uint64_t log_bytes;
	uint64_t output_bytes, input_bytes, progress_sent_at, progress_sent_sum;
	uint64_t deadline_ns; /* of the program */
	char cause[NAME_MAX_LEN + 1]; /* the peer that failed first */
};

uint64_t runtime_now_ms(void); /* wall clock */
struct iecp_time runtime_time(void);
/* The next message. ABORT becomes its failure, REISSUED is dealt with; *out_have: it was neither. */
NODISCARD result runtime_next(struct runtime *rt, int timeout_ms, struct control_message *message, bool *out_have);
/* The next message, which must be of this type, decoded. */
NODISCARD result runtime_expect(struct runtime *rt, enum control_type type, int timeout_ms, struct control_message *message,
	void *out);
NODISCARD result runtime_send(struct runtime *rt, enum control_type type, const void *body);
/* Fails because of a peer: remembers who was first. */
void runtime_blame(struct runtime *rt, const char *peer);
const struct manifest_peer *runtime_peer(const struct runtime *rt, const char *name);

/* runtime_keys.c: keys, endorsement, secrets */
NODISCARD result runtime_make_keys(struct runtime *rt);
NODISCARD result runtime_endorse(struct runtime *rt);
NODISCARD result runtime_unseal(struct runtime *rt);
/* BI-10: it answers this very request. The grant is copied. EPOCH_*, GRANT_MISMATCH. */
NODISCARD result runtime_check_grant(struct runtime *rt, const struct unseal_request *request, struct span grant, struct span box,
	struct span *out_grant, uint8_t out_oid[static OID_SIZE]);
NODISCARD result runtime_open_granted(struct runtime *rt, const struct unseal_request *request, struct span box, struct secret *out);
/* Signed under any epoch of this root that is not void. */
NODISCARD result runtime_open_sealed(struct runtime *rt, struct span object, struct arena *arena, struct sealed *out,
	uint8_t out_oid[static OID_SIZE]);
/* Certificate and launch report are this launch's, under the key of epoch `oid`. */
NODISCARD result runtime_check_endorsed(struct runtime *rt, struct span certificate, struct span report,
	const uint8_t oid[static OID_SIZE], const struct key *root, uint8_t out_digest[static SHA256_SIZE],
	uint8_t out_report_oid[static OID_SIZE]);
/* The epoch that a launch report says it is of; nothing is checked. */
NODISCARD result runtime_report_epoch(struct runtime *rt, struct span report, uint8_t out[static OID_SIZE]);

/* runtime_epoch.c: the root as it moves on */
NODISCARD result epoch_begin(struct runtime *rt); /* of PREPARE */
/* From now on the launch stands under epoch `oid`, which must be live. */
NODISCARD result epoch_use(struct runtime *rt, const uint8_t oid[static OID_SIZE]);
/* The key of a live epoch: the head, or the one before for a short while. EPOCH_FOREIGN, EPOCH_TOO_OLD ... */
NODISCARD result epoch_live_key(struct runtime *rt, const uint8_t oid[static OID_SIZE], uint32_t floor_era, uint64_t floor_epoch,
	struct key *out);
/* The key of any epoch of the chain that is not void. */
NODISCARD result epoch_any_key(struct runtime *rt, const uint8_t oid[static OID_SIZE], struct key *out);
/* Waits for the host to tell of this epoch of a root, own or another, if it is not known yet. */
NODISCARD result epoch_await(struct runtime *rt, const struct epoch_chain *chain, const uint8_t oid[static OID_SIZE]);
/* Epochs that records may name, for the attestation chain. */
NODISCARD result epoch_add_roots(struct runtime *rt);
NODISCARD result epoch_reissued(struct runtime *rt, const struct control_message *message);

/* runtime_foreign.c: roots of other hosts */
NODISCARD result foreign_begin(struct runtime *rt); /* of PREPARE. ROOT_HISTORY_REFUSED */
NODISCARD result foreign_news(struct runtime *rt, const struct control_message *message);
/* May this peer stand under this root? By the measured manifest. */
bool foreign_allows(const struct runtime *rt, const struct manifest_peer *rule, const uint8_t rot_id[static OID_SIZE]);
/* A root as it is now, the own one or another. ROOT_UNKNOWN, OTHER_ROOT_STOPPED. */
NODISCARD result foreign_view(const struct runtime *rt, const uint8_t rot_id[static OID_SIZE], struct root_view *out);
/* The key of an epoch of it that may vouch now. As epoch_chain_judge_live. */
NODISCARD result foreign_live_key(const struct root_view *view, const uint8_t oid[static OID_SIZE], const struct epoch_floor *floor,
	struct key *out);
/* The heads of all roots, as floors of the evidence that is asked for now. */
void foreign_floors(const struct runtime *rt, struct epoch_floor floors[static 1 + FOREIGN_ROOTS_MAX]);
/* For the attestation chain. */
NODISCARD result foreign_add_roots(struct runtime *rt);
/* Records that were accepted stand under roots that still do. OTHER_ROOT_STOPPED */
NODISCARD result foreign_require_standing(const struct runtime *rt, const size_t *records, size_t count);
/* The same of a record and all its ancestors. */
NODISCARD result foreign_require_all_standing(const struct runtime *rt, const uint8_t oid[static OID_SIZE]);
void foreign_free(struct runtime *rt);

/* runtime_channel.c: one IECP channel with evidence and policy */
/* Takes both descriptors over; `memory` may be none. */
NODISCARD result channel_new(struct runtime *rt, const struct control_channel *spec, struct fd *socket, struct fd *memory,
	struct channel **out);
void channel_free(struct channel *channel);
NODISCARD result channel_begin(struct channel *channel); /* starts the handshake */
/* Reads what is there, without blocking. *out_ended: the peer has closed the connection. */
NODISCARD result channel_receive(struct channel *channel, bool *out_ended);
/* Moves the handshake on with what was received; the channel is open once it has completed. */
NODISCARD result channel_handshake(struct channel *channel);
/* The next record: DATA's plaintext, borrowed until the next call; *out_have false when none is whole. CLOSE sets closed_by_peer. */
NODISCARD result channel_next(struct channel *channel, bool *out_have, struct span *out_plain);
NODISCARD result channel_send(struct channel *channel, struct span plain); /* into `sending` */
NODISCARD result channel_send_chunk(struct channel *channel, struct span bytes);
NODISCARD result channel_close(struct channel *channel);
/* Writes what the socket takes. */
NODISCARD result channel_flush(struct channel *channel);
/* Tells the peer that and why this side gives up; best effort. */
void channel_give_up(struct channel *channel, enum reason reason, const char *cause);
/* New keys when they are due: after a re-issue, before the hour is over, before evidence is too old. */
NODISCARD result channel_keep_fresh(struct channel *channel);
/* When channel_keep_fresh has something to do (steady ms); UINT64_MAX: never. */
uint64_t channel_due(const struct channel *channel);
/* How many it has sent. */
uint64_t channel_keyupdates(const struct channel *channel);
/* Does it want to receive although nobody takes data now? */
bool channel_reads_ahead(const struct channel *channel);
/* Sets aside data for the sake of the handshake messages behind it. */
NODISCARD result channel_read_ahead(struct channel *channel);
/* May the channel stay, by the policy in force? */
NODISCARD result channel_decide_again(const struct channel *channel);
/* Asks the own policy about this peer. */
NODISCARD result channel_decide(const struct channel *channel, enum policy_resource resource, enum policy_direction direction,
	const char *operation, unsigned depth);
bool backlog_is_empty(const struct backlog *backlog);
void backlog_free(struct backlog *backlog);

/* runtime_transport.c: how a channel's bytes travel; nothing blocks */
NODISCARD result transport_attach(struct channel *channel, struct fd *memory); /* of the ring, or none */
void transport_free(struct channel *channel);
NODISCARD result transport_receive(struct channel *channel, uint8_t *out, size_t room, size_t *out_len, bool *out_ended);
/* *out_len 0: not now. PEER_CLOSED. */
NODISCARD result transport_send(struct channel *channel, struct span bytes, size_t *out_len);
/* What to poll the channel's socket for; 0: nothing. To be asked anew before each wait. */
short transport_events(struct channel *channel, bool wants_data, bool wants_room);

/* runtime_records.c: what is signed about data */
NODISCARD result records_begin(struct runtime *rt); /* after endorsement */
NODISCARD result records_add_policy(struct runtime *rt, struct span compiled);
/* The sets that came with PREPARE, each verified. The host may choose which, but not what they say. */
NODISCARD result records_take_references(struct runtime *rt);
NODISCARD result records_origin(struct runtime *rt, const char *name, const char *operation, const uint8_t *commit,
	const uint8_t *ledger_ref, struct record_parent *out);
NODISCARD result records_derive(struct runtime *rt);
/* Signs the REQUEST of one edge and appends END and CLOSE to its channel. */
NODISCARD result records_hand_over(struct runtime *rt, struct channel *channel);
/* Judges what came with END: the record and all it depends on. */
NODISCARD result records_accept(struct runtime *rt, struct input *input, const struct data_end *end);
NODISCARD result records_statements(struct runtime *rt);
/* Asks the policy in force again about all that came in and is still to be built on. */
NODISCARD result records_decide_inputs(struct runtime *rt);
/* The policy of this digest, out of any launch at hand. */
NODISCARD result records_find_policy(const struct runtime *rt, const uint8_t digest[static SHA256_SIZE], struct policy_view *out);
/* For calls: fills in what every own record has, sorts its lists, signs it and keeps it. */
NODISCARD result records_sign(struct runtime *rt, struct record *record, uint8_t out_oid[static OID_SIZE]);
NODISCARD result records_origin_of_nothing(struct runtime *rt, struct record_parent *parent, struct record_data *data);
NODISCARD result records_policy(const struct runtime *rt, const uint8_t digest[static SHA256_SIZE], const char *whose, struct span *out);
/* Everything of END or NODES but the records. */
NODISCARD result records_add_named(struct runtime *rt, const struct data_end *end);
/* The bounds of the policy in force. */
void records_limit(struct runtime *rt);
NODISCARD result records_add_closure(struct runtime *rt, const struct data_end *end, uint8_t out_oid[static OID_SIZE]);
NODISCARD result records_require_no_extra(struct runtime *rt, const struct data_end *end, const uint8_t oid[static OID_SIZE]);
NODISCARD result records_finished(struct runtime *rt, struct control_finished *out);

/* runtime_bundle.c: answers BUNDLE. A question that cannot be answered is no failure of the run. */
NODISCARD result bundle_asked(struct runtime *rt, const struct control_message *message);
/* runtime_channel_test.c */
NODISCARD result channel_asked(struct runtime *rt, const struct control_message *message);

/* runtime_pump.c: data in and out of the program, until everything has arrived */
NODISCARD result pump_accept(struct runtime *rt, struct control_message *message); /* CHANNEL, INPUT, OUTPUT */
NODISCARD result pump_run(struct runtime *rt);

/* ---- runtime_policy.c: the policy while the enclave lives */

/* PREPARE: the policy of the launch, and the version that the host has of it. */
NODISCARD result policy_begin(struct runtime *rt);
/* The host brings a newer version, or thinks so. Fails when a channel that this run needs is not allowed any more. */
NODISCARD result policy_received(struct runtime *rt, const struct control_message *message);
/* Of a peer's records: kept if its signature holds; it counts for launches that name its author. */
NODISCARD result policy_add_version(struct runtime *rt, struct span object);
/* For dac_config. */
NODISCARD result policy_follows(void *rt, const uint8_t launched[static SHA256_SIZE], const uint8_t named[static SHA256_SIZE]);
/* The versions that our own records name, for FINISHED. */
NODISCARD result policy_versions_used(struct runtime *rt, struct control_finished *out);
/* The meter of this peer, whichever channel it comes on, and the clock for it; they outlive every change of the policy. */
NODISCARD result policy_meter_of(struct runtime *rt, const char *peer, struct policy_request *request);
/* ---- runtime_revocation.c */

NODISCARD result revocation_told(struct runtime *rt, const struct control_message *message);
/* LEASE_ENDED. */
NODISCARD result revocation_check_lease(struct runtime *rt);
/* When the lease ends (steady ms); UINT64_MAX: there is none. */
uint64_t revocation_due(const struct runtime *rt);
/* As long as may be waited while channels are open: `ms`, or what is left of the lease. */
int revocation_patience(const struct runtime *rt, int ms);
/* In a handshake, with what is known of the peer by then. REVOKED, LEASE_ENDED. */
NODISCARD result revocation_check_peer(const struct channel *channel, const struct iecp_peer *peer);
/* Of an open channel, again and again. REVOKED, LEASE_ENDED: it is to be closed, and the logs say so. */
NODISCARD result revocation_keep(struct channel *channel);
/* The peer closed it for one of these reasons: it heard first what this side is about to hear, so it is not to blame. */
NODISCARD result revocation_closed_by_peer(const struct channel *channel, enum reason reason);
void revocation_free(struct runtime *rt);

/* ---- runtime_call.c, runtime_fabric.c, runtime_call_records.c: calls (runtime_call.h) */

NODISCARD result calls_begin(struct runtime *rt); /* of the manifest */
void calls_free(struct runtime *rt);
NODISCARD result call_accept_channel(struct runtime *rt, struct channel *channel);
void call_link_free(struct call_link *link);
bool call_wants_to_receive(const struct channel *channel);
/* A channel that breaks once it is open fails its calls, not this. */
NODISCARD result call_serve(struct runtime *rt, struct channel *channel, short events);
/* With what fail() noted. */
void call_channel_failed(struct runtime *rt, struct channel *channel, enum reason reason);
bool call_is_settled(const struct channel *channel);
/* Once in each turn: moves what can be moved, ends what took too long. */
void calls_turn(struct runtime *rt);
uint64_t calls_due_ns(const struct runtime *rt); /* monotonic; UINT64_MAX: never */
/* The program has ended: finishes what it began. Once *out_ready nothing about calls is signed any more. */
NODISCARD result calls_conclude(struct runtime *rt, bool *out_ready);
/* From now on nobody new is served; the program is told once it has accepted what waits. */
void calls_stop(struct runtime *rt);
/* Makes the descriptor: when process 1 is on its way, and before the list of system calls is shortened. */
NODISCARD result fabric_prepare(struct runtime *rt);
/* The program's end of it, under the number of the manifest. */
void fabric_open(struct runtime *rt, struct fd *out_end, int *out_number);
int fabric_fd(const struct runtime *rt); /* -1: none */
short fabric_events(const struct runtime *rt);
NODISCARD result fabric_serve(struct runtime *rt, void *what, short events);
/* Adds to the last record what it rests on by calls. */
NODISCARD result call_conclude_records(struct runtime *rt, struct record *record, size_t in_cap);
/* The ORIGIN of an enclave without inputs, when calls needed it before. */
bool call_origin(const struct runtime *rt, struct record_parent *parent, struct record_data *data);
/* One more own record that the last one must rest on. */
NODISCARD result records_note(struct runtime *rt, const uint8_t oid[static OID_SIZE]);

/* ---- runtime_platform.c */

/* Platform evidence of the host, judged by what its operator believes; a piece that does not count is logged. */
NODISCARD result platform_take(struct runtime *rt, struct span piece);
void platform_free(struct runtime *rt);
/* The same of another host's, which came with a peer's evidence. */
NODISCARD result platform_take_peer(struct runtime *rt, struct span piece);
/* What is known of hosts, for those who judge the ancestors of what is handed over; nothing in a run on one host. */
void platform_put(struct channel *channel, struct data_end *end);
/* What goes with our own evidence to a peer on another host; empty: nothing, or too much for a channel. */
struct span platform_to_show(const struct runtime *rt);
/* 0 to 2: what a report counts as. */
unsigned platform_level_for(const struct runtime *rt, const struct report *report);

#endif
