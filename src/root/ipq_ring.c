#include "root/ipq_ring.h"

#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux 6.3; on such kernels a memfd may be required to be not executable (sysctl vm.memfd_noexec). */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

/* SEAL keeps the set as it is; FUTURE_WRITE leaves the one mapping that exists as the only writable one for ever. */
enum { RING_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL };

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static void unmap_own(uint8_t **ring)
{
	ipq_ring_unmap(*ring);
}

void ipq_ring_unmap(const uint8_t *ring)
{
	if (ring)
		munmap((void *)(uintptr_t)ring, IPQ_RING_SIZE);
}

static result new_memfd(int *out_fd)
{
	int fd = memfd_create("troth-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("troth-queue", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fail_errno("memfd_create for the queue");
	*out_fd = fd;
	return OK;
}

static void write_head(uint8_t *ring, enum ipq_role owner, enum ipq_profile profile, bool barrier)
{
	memcpy(ring + IPQ_AT_MAGIC, IPQ_MAGIC, 8);
	ring[IPQ_AT_VERSION] = IPQ_VERSION;
	ring[IPQ_AT_PROFILE] = (uint8_t)profile;
	ring[IPQ_AT_DIRECTION] = (uint8_t)owner;
	ring[IPQ_AT_BARRIER] = barrier;
	uint32_t slots = IPQ_SLOTS;
	memcpy(ring + IPQ_AT_SLOTS, &slots, sizeof slots);
}

/* Populated at once, so that no later touch can meet a lack of memory. A fork inherits no second writer. */
static result map_ring(int fd, int protection, uint8_t **out_ring)
{
	void *ring = mmap(NULL, IPQ_RING_SIZE, protection, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (ring == MAP_FAILED)
		return fail_errno("mapping a ring of the queue");
	if (madvise(ring, IPQ_RING_SIZE, MADV_DONTFORK) != 0) {
		result reason = fail_errno("keeping the queue out of forked children");
		munmap(ring, IPQ_RING_SIZE);
		return reason;
	}
	*out_ring = (uint8_t *)ring;
	return OK;
}

result ipq_ring_create(enum ipq_role owner, enum ipq_profile profile, bool barrier, int *out_fd, uint8_t **out_ring)
{
	CLEANUP(close_fd) int fd = -1;
	CLEANUP(unmap_own) uint8_t *ring = NULL;
	TRY(new_memfd(&fd));
	if (ftruncate(fd, IPQ_RING_SIZE) != 0)
		return fail_errno("sizing a ring of the queue");
	TRY(map_ring(fd, PROT_READ | PROT_WRITE, &ring));
	write_head(ring, owner, profile, barrier);
	if (fcntl(fd, F_ADD_SEALS, RING_SEALS) != 0)
		return fail(NOT_SUPPORTED, "sealing the queue needs Linux 5.1 or newer: %s", strerror(errno));
	*out_fd = fd;
	fd = -1; /* transferred */
	*out_ring = ring;
	ring = NULL; /* transferred */
	return OK;
}

static result check_memfd(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0)
		return fail(QUEUE_UNSEALED, "what was passed as a ring is no memfd");
	if ((seals & ~F_SEAL_EXEC) != RING_SEALS)
		return fail(QUEUE_UNSEALED, "the ring has seals %#x instead of %#x", (unsigned)seals,
			    (unsigned)RING_SEALS);
	struct stat status;
	if (fstat(fd, &status) != 0)
		return fail_errno("looking at the passed ring");
	if (!S_ISREG(status.st_mode) || status.st_size != IPQ_RING_SIZE)
		return fail(QUEUE_UNSEALED, "the ring has %lld bytes instead of %d", (long long)status.st_size,
			    (int)IPQ_RING_SIZE);
	return OK;
}

/* Atomic loads, because the compiler may read plain memory a second time where it sees no reason not to. */
static void copy_line(const uint8_t *ring, uint8_t out[static IPQ_SLOT_SIZE])
{
	const uint64_t *words = (const uint64_t *)(const void *)ring;
	for (size_t i = 0; i < IPQ_SLOT_SIZE / sizeof *words; i++) {
		uint64_t word = __atomic_load_n(words + i, __ATOMIC_RELAXED);
		memcpy(out + i * sizeof word, &word, sizeof word);
	}
}

/* `head` is a private copy: the owner may change the ring while this looks. */
static result check_head(const uint8_t head[static IPQ_SLOT_SIZE], enum ipq_role owner, enum ipq_profile profile)
{
	uint32_t slots;
	memcpy(&slots, head + IPQ_AT_SLOTS, sizeof slots);
	if (memcmp(head, IPQ_MAGIC, 8) != 0 || head[IPQ_AT_VERSION] != IPQ_VERSION || slots != IPQ_SLOTS)
		return fail(QUEUE_HELLO, "the ring is of another version of the queue");
	if (head[IPQ_AT_PROFILE] != profile)
		return fail(QUEUE_HELLO, "the ring is of profile %u, this end speaks `%s` and nothing else", head[IPQ_AT_PROFILE],
			    profile == IPQ_PROFILE_SEALED ? "sealed" : "local");
	if (head[IPQ_AT_DIRECTION] != owner)
		return fail(QUEUE_HELLO, "the ring is not one of the other end");
	if (head[IPQ_AT_BARRIER] > 1)
		return fail(QUEUE_HELLO, "the head of the ring has an unknown flag");
	for (size_t i = IPQ_AT_SLOTS + sizeof slots; i < IPQ_SLOT_SIZE; i++)
		if (head[i] != 0)
			return fail(QUEUE_HELLO, "reserved byte %zu of the ring's head is not zero", i);
	return OK;
}

result ipq_ring_attach(int fd, enum ipq_role owner, enum ipq_profile profile, const uint8_t **out_ring, bool *out_barrier)
{
	CLEANUP(unmap_own) uint8_t *ring = NULL;
	TRY(check_memfd(fd));
	TRY(map_ring(fd, PROT_READ, &ring));
	uint8_t head[IPQ_SLOT_SIZE];
	copy_line(ring, head);
	TRY(check_head(head, owner, profile));
	*out_barrier = head[IPQ_AT_BARRIER] == 1;
	*out_ring = ring;
	ring = NULL; /* transferred */
	return OK;
}
