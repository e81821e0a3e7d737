/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's side of rdma_cm: what /dev/infiniband/rdma_cm answers librdmacm(7) (rdma_user_cm.h).
 *
 *	cm.c		opened channels, ids, the commands of write(2)
 *	cm_event.c	what GET_EVENT gives
 *	cm_address.c	whose address it is; port numbers, in the instance's shared state
 *	cm_route.c	binding, resolving, queries
 *	cm_connect.c	REQ, REP, RTU, REJ, DREQ, DREP and SIDR (IBA volume 1, chapter 12)
 *	cm_qp.c		what a QP needs for each step
 *	cm_link.c	what carries all that between the processes of the instance; its thread
 *
 * Everything here is done with the NIC's lock held, as all commands are, but for waiting.
 */
#ifndef SN_CM_H
#define SN_CM_H

#include <netinet/in.h>
#include <rdma/rdma_user_cm.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#define SN_CM_MAX_IDS  65536	  /* librdmacm indexes its ids with 16 bits */
#define SN_CM_UDP_QKEY 0x01234567 /* of every UD id: RDMA_UDP_QKEY */

struct sn_cm_link;
struct sn_cm_event;
struct sn_shm_cm_port;

/* ---- what the processes say to each other ---- */

enum sn_cm_message_type {
	SN_CM_REQ = 1,
	SN_CM_REP,
	SN_CM_RTU,
	SN_CM_REJ,
	SN_CM_DREQ,
	SN_CM_DREP,
	SN_CM_SIDR_REQ,
	SN_CM_SIDR_REP,
};

/* Why, in a REJ (IBA 12.6.7.2) and in a SIDR_REP (12.11.2.1). */
#define SN_CM_REJ_TIMEOUT	  4
#define SN_CM_REJ_INVALID_SERVICE 8
#define SN_CM_REJ_CONSUMER	  28
#define SN_CM_SIDR_UNSUPPORTED	  1
#define SN_CM_SIDR_REJECT	  2

struct sn_cm_message {
	uint32_t type;
	uint32_t status;
	uint64_t member; /* who sends it */
	uint64_t to_member;
	uint64_t from; /* serials of the ids; 0: none */
	uint64_t to;
	/* In requests and replies. */
	struct sockaddr_in6 src, dst; /* or sockaddr_in */
	uint8_t sgid[16], dgid[16];
	struct rdma_ucm_ece ece;
	uint32_t psn;
	uint8_t mtu_code;
	uint8_t tos;
	uint16_t space;
	struct rdma_ucm_conn_param param; /* the sender's, with its private data */
};

/* ---- channels and ids ---- */

/* One open of /dev/infiniband/rdma_cm. */
struct sn_cm_channel {
	int fd; /* an eventfd: readable as long as there are events */
	TAILQ_HEAD(, sn_cm_event) events;
};

enum sn_cm_state {
	SN_CM_IDLE,
	SN_CM_BOUND,
	SN_CM_LISTENING,
	SN_CM_ADDR_RESOLVED,
	SN_CM_ROUTE_RESOLVED,
	SN_CM_CONNECTING, /* REQ or SIDR_REQ sent */
	SN_CM_ANSWERED,	  /* REP received, RTU to be sent */
	SN_CM_REQUESTED,  /* REQ or SIDR_REQ received */
	SN_CM_ACCEPTED,	  /* REP sent, RTU to be received */
	SN_CM_CONNECTED,
	SN_CM_DISCONNECTING, /* DREQ sent */
	SN_CM_CLOSING,	     /* DREQ received */
	SN_CM_TIMEWAIT,
	SN_CM_ENDED,
};

struct sn_cm_id {
	struct sn_cm_channel *channel;
	uint32_t handle;
	uint64_t serial; /* the handle in its low 16 bits; never used twice */
	uint64_t uid;	 /* the program's; 0: it does not know this id yet */
	enum sn_cm_state state;
	uint16_t space; /* enum rdma_ucm_port_space */
	uint8_t qp_type;
	uint32_t n_events_given;

	int device; /* -1: not bound to one */
	struct sockaddr_in6 src, dst;
	struct sn_shm_cm_port *port; /* NULL: none */
	unsigned int backlog;	     /* listening: how many requests may wait */
	unsigned int n_requests;     /* listening: how many do */
	bool reuse_address;
	bool v6_only;
	uint8_t tos;
	uint8_t ack_timeout; /* 0: the default */

	/* The connection. */
	struct sn_cm_link *link;
	uint64_t peer; /* the serial of the id at the other end */
	uint64_t deadline_ns;
	uint8_t peer_gid[16];
	uint32_t peer_qpn;
	uint32_t psn; /* chosen by the active side, for both directions */
	uint8_t mtu_code;
	uint8_t responder_resources;
	uint8_t initiator_depth;
	uint8_t retry_count;
	uint8_t rnr_retry_count;
};

/* ---- for the libc functions ---- */

/* Open the device: a descriptor, or -1 with errno set. */
int sn_cm_open(void);
void sn_cm_close(struct sn_cm_channel *channel);
/* write(2): a command. @bytes or -errno. */
ssize_t sn_cm_write(int fd, const void *buf, size_t bytes);

/* ---- ids ---- */

/* NULL: too many, or no memory. */
struct sn_cm_id *sn_cm_id_create(struct sn_cm_channel *channel, uint16_t space, uint8_t qp_type);
/* With a farewell to the other end. */
void sn_cm_id_destroy(struct sn_cm_id *id);
struct sn_cm_id *sn_cm_id_of_serial(uint64_t serial);
/* The first id whose handle is not below @handle; NULL: no more. For walking over all. */
struct sn_cm_id *sn_cm_id_next(uint32_t handle);

/* ---- a command ---- */

struct sn_cm_cmd {
	struct sn_cm_channel *channel;
	const void *in;
	size_t in_bytes;
	size_t out_bytes;
};

/* Copy the request, as much as was given, over zeros. */
#define SN_CM_TAKE(cmd, req)                                                                       \
	do {                                                                                       \
		memset(&(req), 0, sizeof(req));                                                    \
		memcpy(&(req), (cmd)->in, SN_MIN(sizeof(req), (cmd)->in_bytes));                   \
	} while (0)

/* -ENOSPC if the caller has no room for @min_bytes. */
int sn_cm_respond(const struct sn_cm_cmd *cmd, uint64_t response, const void *data, size_t bytes,
		  size_t min_bytes);

/* The channel's id with this handle, or NULL; the command is then -ENOENT. */
struct sn_cm_id *sn_cm_cmd_id(const struct sn_cm_cmd *cmd, uint32_t handle);

typedef int sn_cm_cmd_fn(struct sn_cm_cmd *cmd);

sn_cm_cmd_fn sn_cm_get_event, sn_cm_migrate;
sn_cm_cmd_fn sn_cm_bind_ip, sn_cm_bind, sn_cm_resolve_ip, sn_cm_resolve_addr, sn_cm_resolve_route;
sn_cm_cmd_fn sn_cm_query_route, sn_cm_query;
sn_cm_cmd_fn sn_cm_connect, sn_cm_listen, sn_cm_accept, sn_cm_reject, sn_cm_disconnect,
	sn_cm_init_qp_attr, sn_cm_notify;

/* ---- events ---- */

/* enum rdma_cm_event_type of rdma_cma.h, which is librdmacm's. */
enum sn_cm_event_type {
	SN_CM_EVENT_ADDR_RESOLVED,
	SN_CM_EVENT_ADDR_ERROR,
	SN_CM_EVENT_ROUTE_RESOLVED,
	SN_CM_EVENT_ROUTE_ERROR,
	SN_CM_EVENT_CONNECT_REQUEST,
	SN_CM_EVENT_CONNECT_RESPONSE,
	SN_CM_EVENT_CONNECT_ERROR,
	SN_CM_EVENT_UNREACHABLE,
	SN_CM_EVENT_REJECTED,
	SN_CM_EVENT_ESTABLISHED,
	SN_CM_EVENT_DISCONNECTED,
	SN_CM_EVENT_TIMEWAIT_EXIT = 15,
};

/*
 * Queue an event about @id: its type, 0 or what went wrong, and what the other end
 * said (NULL: nothing). @child is the new id of a CONNECT_REQUEST, else NULL.
 */
void sn_cm_event_push(struct sn_cm_id *id, enum sn_cm_event_type type, int status,
		      const struct sn_cm_message *message, struct sn_cm_id *child);
/* Drop what the program has not read about @id; requests are refused. */
void sn_cm_event_purge(struct sn_cm_id *id);

/* ---- addresses and ports ---- */

/* The device that an address means; -1: any. 0, -EADDRNOTAVAIL if it is not here, -EAFNOSUPPORT. */
int sn_cm_address_device(const struct sockaddr_in6 *addr, int *device);
/* Give the id a port, and the address it is bound to. 0 or -errno. */
int sn_cm_address_bind(struct sn_cm_id *id, const struct sockaddr_in6 *addr);
/* Let others find it: -EADDRINUSE if somebody listens there. */
int sn_cm_port_listen(struct sn_cm_id *id);
void sn_cm_port_release(struct sn_cm_id *id);
/* Who listens at @dst: the member, and the serial of its id; false: nobody. */
bool sn_cm_port_find(uint16_t space, const struct sockaddr_in6 *dst, uint64_t *member,
		     uint64_t *serial);
/* The GID by which connections of a device are made. */
#define SN_CM_GID_INDEX 3
void sn_cm_gid(unsigned int device, uint8_t gid[16]);
/* The address handle to @gid. */
void sn_cm_path(const struct sn_cm_id *id, const uint8_t gid[16], struct ib_uverbs_ah_attr *ah);

/* ---- the protocol ---- */

void sn_cm_receive(struct sn_cm_link *link, const struct sn_cm_message *message);
/* The process at the other end is gone. */
void sn_cm_link_lost(struct sn_cm_link *link);
/* What is due: give up waiting. */
void sn_cm_expire(struct sn_cm_id *id);
void sn_cm_farewell(struct sn_cm_id *id);

/* ---- carrying ---- */

/* Start the thread and take a place where others find this process. 0 or -errno. Idempotent. */
int sn_cm_carrier_start(void);
/* Before the instance is left; and in a forked child, which shares nothing of it. */
void sn_cm_carrier_stop(void);
void sn_cm_carrier_forget(void);
/* A way to a member, or NULL. */
struct sn_cm_link *sn_cm_link_to(uint64_t member);
void sn_cm_send(struct sn_cm_link *link, struct sn_cm_message *message);
/* An id's deadline was set. */
void sn_cm_carrier_wake(void);

/* In a forked child: the ids were the parent's. */
void sn_cm_forget_all(void);

#endif
