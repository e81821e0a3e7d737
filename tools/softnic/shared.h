/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state that all processes of an instance share: one file, mapped by each.
 *
 * Nothing in it is a pointer. Every QP, MR and queue has one owner, a *member*: its slot and a
 * generation packed in a 64-bit id. An entry whose owner is no longer the slot's living member is
 * dead, whoever wrote it and whatever it says; so a kill -9 needs no clean-up here.
 *
 * Readers of QP and MR entries are inside their epoch (see grace.h), and an owner changes the
 * fields of an entry only while no reader can be looking: unpublish, wait one grace period, change.
 */
#ifndef SN_SHARED_H
#define SN_SHARED_H

#include <assert.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "device.h"
#include "faults.h"
#include "settings.h"

#define SN_SHM_MAGIC	     0x736f66746e696331u /* "softnic1"; another layout, another number */
#define SN_RING_SLOTS	     256
#define SN_PACKET_MAX_SGE    32
#define SN_PACKET_INLINE_MAX 256
#define SN_MR_MAX_EXTENTS    4
#define SN_HELD_LINES	     64

/* ---- members ---- */

enum sn_member_kind { SN_LAUNCHER = 1, SN_NIC };

struct sn_shm_member {
	/* Held by one thread of the member for as long as it lives. It is robust: when that thread
	 * ends in any way (exit, exec, kill -9) the kernel marks it, so pid reuse and zombies
	 * cannot deceive. */
	pthread_mutex_t pulse;
	pthread_mutex_t held_lock; /* of its port's held; robust */
	_Atomic uint64_t life;	   /* the member's id while it lives, else 0 */
	uint64_t generation;	   /* of the last member in this slot */
	int32_t pid;
	uint32_t kind;
	char name[16];
};

#define SN_ID_SLOT(id) ((uint32_t)((id) & (SN_MAX_MEMBERS - 1)))

static inline uint64_t
sn_id_make(uint64_t generation, uint32_t slot)
{
	return generation * SN_MAX_MEMBERS + slot;
}

/* ---- packets between NIC threads ---- */

enum sn_packet_type { SN_PKT_REQUEST = 1, SN_PKT_REPLY, SN_PKT_FAULT };

/* What became of a request. */
enum sn_fate {
	SN_DONE,
	SN_AGAIN,	/* not now: the peer's queue is full */
	SN_LOST,	/* nobody answers: the retry timer decides */
	SN_RNR,		/* no receive posted */
	SN_NAK_ACCESS,	/* rkey, bounds, rights */
	SN_NAK_INVALID, /* request too long, misaligned, not allowed */
	SN_NAK_REMOTE,	/* the responder could not do it */
};

struct sn_packet_sge {
	uint64_t addr; /* in the sender's address space */
	uint64_t len;
	uint32_t key; /* the sender's lkey */
	uint32_t reserved;
};

struct sn_packet {
	uint8_t type;
	uint8_t opcode; /* MLX5_OPCODE_* */
	uint8_t fate;	/* in a reply and a fault: enum sn_fate */
	uint8_t solicited;
	uint8_t rnr_timer; /* in a reply: the responder's min_rnr_timer */
	uint8_t is_inline; /* the payload is here, not at sge[] */
	uint16_t n_sge;
	uint32_t src_qpn;
	uint32_t dst_qpn;
	uint32_t psn;
	uint32_t n_psn;	     /* how many packets a wire would have needed */
	uint32_t attempt;    /* echoed: replies to an attempt given up are ignored */
	uint32_t connection; /* of the peer's QP, as it was: it may have been connected anew */
	uint32_t imm_be;
	uint32_t rkey;
	uint64_t src; /* member ids: a slot's next member ignores the last one's mail */
	uint64_t dst;
	uint64_t raddr;
	uint64_t len;
	uint64_t operand[2]; /* atomics: swap or add, compare; in a reply: [0] is the old value */
	uint32_t qkey;	     /* of a datagram, as its GRH */
	uint8_t grh[SN_GRH_BYTES];
	union {
		struct sn_packet_sge sge[SN_PACKET_MAX_SGE];
		uint8_t payload[SN_PACKET_INLINE_MAX];
	};
};

struct sn_ring_slot {
	alignas(64) _Atomic uint64_t word; /* lap, producer, state: ring.c */
	struct sn_packet packet;
};

/* Lines of relaxed-ordered memory that a member's devices were sent and have not written: held.c.
 * Changed under the member's held_lock; pages and next_due_ns are looked at without. */
struct sn_shm_line {
	uint64_t due_ns;
	uint64_t serial; /* of the region */
	uint32_t mr;	 /* its index */
	uint32_t qpn;	 /* the responder's */
	uint8_t device;
	uint8_t n_bytes;
	uint8_t bytes[64];
};

struct sn_shm_held {
	/* For each device, a bit for each page with lines, 64 sharing one. 0: it holds none. */
	alignas(64) _Atomic uint64_t pages[SN_MAX_DEVICES];
	alignas(64) _Atomic uint64_t next_due_ns;
	_Atomic uint64_t addr[SN_HELD_LINES]; /* in the member's address space; 0: free */
	struct sn_shm_line line[SN_HELD_LINES];
};

/* One NIC's mailbox and what its peers watch. */
struct sn_shm_port {
	alignas(64) _Atomic uint64_t epoch;  /* odd: inside a remote access; written by its NIC */
	alignas(64) _Atomic uint32_t asleep; /* futex; set by its NIC, cleared by who wakes it */
	alignas(64) _Atomic uint64_t ring_head; /* free-running, moved by producers */
	alignas(64) uint64_t ring_tail;		/* free-running, moved by its NIC */
	struct sn_ring_slot ring[SN_RING_SLOTS];
	struct sn_shm_held held;
};

/* ---- queue pairs and memory regions ---- */

/* What a requester must know of the QP it talks to. */
struct sn_shm_qp {
	alignas(64) _Atomic uint64_t owner; /* 0: free */
	_Atomic uint32_t qpn;		    /* 0: not published */
	_Atomic uint32_t state;		    /* enum ibv_qp_state */
	_Atomic uint32_t access;	    /* qp_access_flags */
	_Atomic uint32_t rx_psn;	    /* next expected; moved by who executes the request */
	uint32_t dest_qpn;
	uint32_t pd;
	uint8_t type; /* enum ib_uverbs_qp_type */
	uint8_t device;
	uint8_t mtu_log2;
	uint8_t max_dest_rd_atomic;
	uint32_t generation; /* of the last QPN given for this index */
	uint32_t connection; /* counts the times it went to RTR */
};

/* A piece of an MR that lies in a shareable file. */
struct sn_mr_extent {
	uint64_t addr; /* in the owner's address space */
	uint64_t len;
	uint64_t file_offset;
	uint64_t file_dev;
	uint64_t file_ino;
	uint64_t vma_start; /* one VMA of it: names the file under /proc/<pid>/map_files */
	uint64_t vma_end;
};

struct sn_shm_mr {
	alignas(64) _Atomic uint64_t owner; /* 0: free */
	_Atomic uint64_t serial;	    /* 0: not published; never used twice */
	uint32_t key;
	uint32_t access;
	uint32_t pd;
	uint32_t device;
	uint64_t start; /* where the bytes are */
	uint64_t iova;	/* how requests name them */
	uint64_t len;
	/* A window, which is published while it is bound: */
	bool is_window;
	uint32_t qpn;		/* type 2: the only QP it is for */
	uint32_t parent;	/* index of the region it lies in, and */
	uint64_t parent_serial; /* that region's serial: it ends with it */
	uint32_t n_extents;	/* 0: private memory, reached by process_vm_writev */
	struct sn_mr_extent extent[SN_MR_MAX_EXTENTS];
};

/* A port number of rdma_cm that an id has (cm_address.c). */
struct sn_shm_cm_port {
	_Atomic uint64_t owner; /* 0: free */
	uint64_t listener;	/* the serial of the listening id; 0: only bound */
	uint8_t addr[16];	/* IPv4 is mapped; all zeros, or the mapped 0.0.0.0: any */
	uint16_t space;		/* enum rdma_ucm_port_space */
	uint16_t port;
	bool reusable;
};

/* See pace.h. */
struct sn_shm_pace {
	alignas(64) _Atomic uint64_t bytes_per_s; /* 0: no limit */
	_Atomic uint64_t delay_ns;		  /* of what it sends */
	alignas(64) _Atomic uint64_t tx_free_ns;
	alignas(64) _Atomic uint64_t rx_free_ns;
};

struct sn_shm_device {
	alignas(64) _Atomic uint64_t counter[SN_N_COUNTERS];
	alignas(64) _Atomic uint64_t flushed_ns; /* when its sysfs files were last written */
	_Atomic uint32_t link;			 /* link.h; zeroed it is up */
	struct sn_shm_pace pace;
};

struct sn_shm {
	uint64_t magic;
	uint64_t bytes;
	struct sn_fabric fabric;
	_Atomic uint64_t step_clock_ns; /* the time, with --step: moved by every member's steps */
	_Atomic uint32_t n_members;	/* slots ever used */
	_Atomic uint64_t next_serial;
	_Atomic uint32_t qp_hint; /* where the search for a free entry starts */
	_Atomic uint32_t mr_hint;
	_Atomic uint32_t faulty;       /* SN_FAULTY_* */
	_Atomic uint32_t qpn_to_break; /* by its owner, who then writes 0 */
	struct sn_shm_faults faults[SN_MAX_DEVICES];
	struct sn_shm_device device[SN_MAX_DEVICES];
	pthread_mutex_t cm_lock;     /* robust: of all writes to cm_port */
	_Atomic uint32_t n_cm_ports; /* entries ever used */
	struct sn_shm_cm_port cm_port[SN_MAX_CM_PORTS];
	struct sn_shm_member member[SN_MAX_MEMBERS];
	struct sn_shm_qp qp[SN_MAX_QPS];
	struct sn_shm_mr mr[SN_MAX_MRS];
	struct sn_shm_port port[SN_MAX_MEMBERS];
};

static_assert(sizeof(struct sn_shm_qp) == 64, "a QP lookup touches one cache line");
static_assert(sizeof(struct sn_ring_slot) <= 1024, "a mailbox stays at 256 KiB");

/* True while the member with this id lives, as far as anybody has noticed. */
static inline bool
sn_member_lives(struct sn_shm *shm, uint64_t id)
{
	return atomic_load_explicit(&shm->member[SN_ID_SLOT(id)].life, memory_order_acquire) == id;
}

#endif
