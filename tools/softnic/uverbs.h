/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's side of the uverbs ioctl: objects and their handles, attributes, dispatch.
 *
 * Every command runs with the NIC's lock held (nic.h), so that the NIC thread and commands never
 * see each other's half-done work. A command returns 0 or -errno.
 */
#ifndef SN_UVERBS_H
#define SN_UVERBS_H

#include <rdma/ib_user_ioctl_cmds.h>
#include <rdma/ib_user_verbs.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "device.h"
#include "event.h"

#define SN_MAX_UARS	   1024
#define SN_MAX_QUEUE	   32768 /* basic blocks of a send queue, WQEs of a receive queue */
#define SN_UAR_FILE_OFFSET (0x10000ull * 4096) /* of UAR page 0 in a context's memfd */

enum sn_kind { SN_PD = 1, SN_CQ, SN_QP, SN_SRQ, SN_MR, SN_AH, SN_UAR, SN_MW };

/* First member of every object that has a handle. */
struct sn_object {
	enum sn_kind kind;
	uint32_t handle;
	unsigned int n_users; /* objects made from it; destroying it meanwhile is EBUSY */
	struct sn_context *context;
	LIST_ENTRY(sn_object) link;
};

struct sn_pd {
	struct sn_object object;
};

/* One open of /dev/infiniband/uverbsN. */
struct sn_context {
	LIST_ENTRY(sn_context) link; /* in sn_contexts */
	int fd;
	unsigned int device;
	struct sn_event_queue *async; /* NULL until asked for */
	uint8_t *uar_map;
	struct sn_uar *uar[SN_MAX_UARS];
	LIST_HEAD(, sn_object) objects;
};

LIST_HEAD(sn_context_list, sn_context);
extern struct sn_context_list sn_contexts; /* all that are open */

/* Open and close as the program sees them. Returns a descriptor, or -1 with errno set. */
int sn_context_open(unsigned int device);
void sn_context_close(struct sn_context *context);

/* ioctl(2) on a device. Returns 0 or -errno. */
int sn_uverbs_ioctl(struct sn_context *context, struct ib_uverbs_ioctl_hdr *header);

/* ---- objects ---- */

/* A zeroed object of @bytes with a handle, or NULL. */
void *sn_object_create(struct sn_context *context, enum sn_kind kind, size_t bytes);
void *sn_object_find(struct sn_context *context, enum sn_kind kind, uint32_t handle);
void sn_object_free(void *object);
/* In a forked child: the handles were the parent's. */
void sn_object_forget_all(void);

/* ---- attributes of a command ---- */

struct sn_cmd {
	struct sn_context *context;
	struct ib_uverbs_ioctl_hdr *header;
	bool faulted; /* an output had no address */
};

/* The attribute's input of at least @min_bytes, or NULL. */
const void *sn_cmd_in(const struct sn_cmd *cmd, uint16_t id, size_t min_bytes);
/* A scalar input; @fallback if it is not given. */
uint64_t sn_cmd_in_scalar(const struct sn_cmd *cmd, uint16_t id, uint64_t fallback);
bool sn_cmd_has(const struct sn_cmd *cmd, uint16_t id);
/* Copy out what the caller has room for, and zero what it has more. */
void sn_cmd_out(struct sn_cmd *cmd, uint16_t id, const void *data, size_t bytes);
void sn_cmd_out_handle(const struct sn_cmd *cmd, uint16_t id, uint32_t handle);
/*
 * The memory of a queue and its doorbell record, made present as pinning would: -EFAULT if it is
 * not mapped, -EINVAL if it is not aligned as the hardware's must be. Lets go of the NIC's lock
 * meanwhile: to be called before anything is looked up.
 */
int sn_cmd_pin_queue(uint64_t buf_addr, uint64_t bytes, uint64_t db_addr);
/* The object whose handle is input @id, or NULL. */
void *sn_cmd_object(const struct sn_cmd *cmd, uint16_t id, enum sn_kind kind);

/* ---- the commands, by object ---- */

typedef int sn_cmd_fn(struct sn_cmd *cmd);

sn_cmd_fn sn_cmd_get_context, sn_cmd_query_port, sn_cmd_query_gid_table, sn_cmd_query_gid_entry,
	sn_cmd_query_device, sn_cmd_query_device_ex;
sn_cmd_fn sn_cmd_async_alloc, sn_cmd_channel_create;
sn_cmd_fn sn_cmd_pd_alloc, sn_cmd_pd_destroy, sn_cmd_ah_create, sn_cmd_ah_destroy;
sn_cmd_fn sn_cmd_uar_alloc, sn_cmd_uar_destroy;
sn_cmd_fn sn_cmd_mr_reg, sn_cmd_mr_destroy, sn_cmd_mr_advise;
sn_cmd_fn sn_cmd_mw_alloc, sn_cmd_mw_destroy;
sn_cmd_fn sn_cmd_cq_create, sn_cmd_cq_destroy, sn_cmd_cq_modify, sn_cmd_cq_resize;
sn_cmd_fn sn_cmd_srq_create, sn_cmd_srq_modify, sn_cmd_srq_query, sn_cmd_srq_destroy;
sn_cmd_fn sn_cmd_qp_create, sn_cmd_qp_modify, sn_cmd_qp_query, sn_cmd_qp_destroy;

/* What closing a context does to the objects left in it. */
void sn_qp_release(struct sn_object *object);
void sn_cq_release(struct sn_object *object);
void sn_srq_release(struct sn_object *object);
void sn_mr_release(struct sn_object *object);
void sn_uar_release(struct sn_object *object);

#endif
