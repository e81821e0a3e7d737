/* SPDX-License-Identifier: BSD-3-Clause */
/* Past 300 lines: the one public header, and more than half of it is documentation. */
/**
 * @file kvr.h
 * @brief kvrail: moves contiguous KV-cache blocks between nodes, on all RDMA NICs at once.
 *
 * The order of calls:
 *
 *     rte_eal_init()            the caller's: lcores, devices, hugepages
 *     kvr_engine_create()       opens devices
 *     kvr_pool_create()         hugepages, cut into blocks, registered on each device
 *     kvr_engine_start()        pollers run on the worker lcores, the listener answers
 *     kvr_segment_open()        a peer's pool, lanes to it from every poller
 *     kvr_client_open()         one for each thread that submits
 *       kvr_batch_get() kvr_batch_add() kvr_submit() kvr_poll() kvr_batch_put()
 *     kvr_client_close() kvr_segment_close() kvr_engine_stop() kvr_engine_destroy()
 *
 * Errors: functions return 0 or -errno; burst functions return how many they took. Creators write
 * one line for an operator to `error` (may be NULL). A batch's fate is in its struct kvr_result.
 * Threads: set-up functions may be called from any thread and take a lock. A struct kvr_client and
 * its batches belong to one thread at a time; its functions take no lock.
 */
#ifndef KVR_H
#define KVR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kvr_engine;  /**< the node: devices, pollers, pools, peers */
struct kvr_pool;    /**< hugepage memory of one NUMA node, cut into blocks */
struct kvr_client;  /**< one thread's session: rings to every poller */
struct kvr_segment; /**< a pool as a peer sees it */
struct kvr_batch;   /**< transfers that end together */

/** What a set-up function has to say to an operator: one line, without a newline. */
struct kvr_error {
	char text[256];
};

/** @name Engine
 *  @{ */

struct kvr_engine_config {
	const char *name;   /**< node's name; NULL: hostname-pid */
	const char *listen; /**< HOST:PORT to be reached at, port 0 for any; NULL: not reachable */
	const char *device_names; /**< "mlx5_0,mlx5_1"; NULL: EAL's allow list, or every device */
	uint32_t timeout_ms;	  /**< a batch's deadline; 0: 5000 */
	uint32_t slice_bytes;	  /**< cut of large transfers; 0: 256 KiB */
	bool cross_numa;	  /**< let pollers of other NUMA nodes move a pool's memory */
};

/**
 * Opens the devices and makes a poller for each worker lcore of EAL; nothing runs yet.
 *
 * @param config  copied; strings too
 * @param engine  set on success; the caller owns it until kvr_engine_destroy()
 * @param error   why, on failure: names the value and the remedy
 * @return 0; -EINVAL bad config or EAL arguments; -ENODEV no usable device, or an unknown one is
 *         named; -ENOTSUP fewer than two lcores; -ENOMEM; -EBUSY a second engine in this process
 */
int kvr_engine_create(const struct kvr_engine_config *config, struct kvr_engine **engine,
		      struct kvr_error *error);

/**
 * Starts pollers, the control thread and, with a listen address, the listener.
 * @return 0; -EADDRINUSE, -EADDRNOTAVAIL or another -errno of bind(2); -EALREADY
 */
int kvr_engine_start(struct kvr_engine *engine, struct kvr_error *error);

/** The address peers reach this engine at, with the real port; "" when not listening. */
const char *kvr_engine_address(const struct kvr_engine *engine);

/** Stops pollers and control thread; segments and clients must be closed. 0 or -EBUSY. */
int kvr_engine_stop(struct kvr_engine *engine);

/** Frees everything, pools included. The engine must not be running. */
void kvr_engine_destroy(struct kvr_engine *engine);

/** One peer's connection to this engine. */
struct kvr_caller {
	const char *name; /**< as the peer calls itself */
	uint64_t id;	  /**< of this connection alone, while the engine lives */
};

/**
 * Answers a peer's kvr_segment_call(). Runs on the control thread, one call at a time.
 * @param request  JSON text, valid during the call
 * @param reply    set to a malloc()ed JSON text that the engine frees
 * @return 0, or -errno, which the caller of kvr_segment_call() gets
 */
typedef int (*kvr_call_handler)(void *ctx, const struct kvr_caller *caller, const char *request,
				char **reply);

/** Sets the handler; before kvr_engine_start(). */
void kvr_engine_on_call(struct kvr_engine *engine, kvr_call_handler handler, void *ctx);

/**
 * Says that a connection has ended, by a close or by a loss. The QPs that served it are destroyed
 * by then: what the caller was let write to, it reaches no more. Runs on the control thread, or in
 * kvr_engine_stop().
 */
typedef void (*kvr_gone_handler)(void *ctx, const struct kvr_caller *caller);

/** Sets the handler; before kvr_engine_start(). */
void kvr_engine_on_gone(struct kvr_engine *engine, kvr_gone_handler handler, void *ctx);
/** @} */
/** @name Pools and blocks
 *  @{ */

struct kvr_pool_config {
	const char *name;     /**< segment name that peers open; NULL: "pool0", "pool1" ... */
	uint64_t size_bytes;  /**< rounded up to whole blocks */
	uint64_t block_bytes; /**< 1 or more; blocks are adjacent, without padding */
	int numa_node;	      /**< -1: the node of the first device */
};

/** A run of adjacent blocks that its holder may use until it is freed. */
struct kvr_block {
	void *addr;
	uint32_t n_blocks;
	uint32_t first_idx; /**< index of the first block in its pool */
};

/**
 * Takes hugepages of the node, touches every page, and registers the region once for each device,
 * in parallel, relaxed-ordered for bulk data and strict for proofs. Before kvr_engine_start().
 * @return 0; -ENOMEM no hugepages (error names the command that reserves them); -EINVAL; -EBUSY
 */
int kvr_pool_create(struct kvr_engine *engine, const struct kvr_pool_config *config,
		    struct kvr_pool **pool, struct kvr_error *error);

/** First byte and length of the pool; block i is at base + i * block_bytes. */
void *kvr_pool_base(const struct kvr_pool *pool);
uint64_t kvr_pool_size_bytes(const struct kvr_pool *pool);

/** Allocates n single blocks, all or none. Any thread. @return 0 or -ENOSPC. */
int kvr_block_alloc_bulk(struct kvr_pool *pool, struct kvr_block **blocks, uint32_t n);

/** Allocates one run of n_blocks adjacent blocks. Any thread. @return 0, -ENOSPC or -EINVAL. */
int kvr_block_alloc_run(struct kvr_pool *pool, uint32_t n_blocks, struct kvr_block **run);

/** Frees blocks and runs. Any thread. Their batches must have ended. */
void kvr_block_free_bulk(struct kvr_pool *pool, struct kvr_block **blocks, uint32_t n);
/** @} */
/** @name Segments
 *  @{ */

/**
 * Connects to a peer (or reuses its connection), makes lanes from every poller, and finds one of
 * its segments. Blocks until done.
 *
 * @param address     HOST:PORT of the peer's listener
 * @param name        the segment's name; NULL: the peer's first
 * @param timeout_ms  for all of it; 0: 5000
 * @return 0; -EINVAL bad address; -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT unreachable; -EPROTO
 *         refused by the peer, whose reason is in error; -ENOENT no such segment
 */
int kvr_segment_open(struct kvr_engine *engine, const char *address, const char *name,
		     uint32_t timeout_ms, struct kvr_segment **segment, struct kvr_error *error);

/** Lets go of the segment; the last one of a peer closes its lanes. @return 0, or -EBUSY while
 *  batches to it are unfinished. */
int kvr_segment_close(struct kvr_segment *segment);

/**
 * Another segment of the same peer, over the same connection and lanes; closed by
 * kvr_segment_close(). kvr_segment_open() may find the peer restarted meanwhile.
 * @return 0; -ENOENT
 */
int kvr_segment_sibling(struct kvr_segment *segment, const char *name, struct kvr_segment **sibling,
			struct kvr_error *error);

uint64_t kvr_segment_size_bytes(const struct kvr_segment *segment);
const char *kvr_segment_name(const struct kvr_segment *segment);
/** The peer's name, as it calls itself. */
const char *kvr_segment_peer(const struct kvr_segment *segment);
/** The peer is lost: batches and calls fail until its segments are closed and opened again. */
bool kvr_segment_lost(const struct kvr_segment *segment);

/**
 * Sends a JSON text to the peer's kvr_call_handler and waits for the answer. Not for the data
 * path. @param reply malloc()ed text, the caller frees it; unset on failure.
 * @return 0; what the handler returned; -ETIMEDOUT; -ECONNRESET
 */
int kvr_segment_call(struct kvr_segment *segment, const char *request, uint32_t timeout_ms,
		     char **reply);
/** @} */
/** @name Clients and batches: the data path
 *  @{ */

struct kvr_client_config {
	uint32_t max_batches;	/**< batches in hand at once; 0: 64 */
	uint32_t max_transfers; /**< transfers of one batch; 0: 1024 */
};

/** Opens a session for the calling thread. Needs a started engine.
 *  @return 0; -ENOMEM; -EINVAL; -ENOSPC too many clients */
int kvr_client_open(struct kvr_engine *engine, const struct kvr_client_config *config,
		    struct kvr_client **client);

/** Closes the session and deregisters its memory. @return 0, or -EBUSY with batches in flight. */
int kvr_client_close(struct kvr_client *client);

/**
 * Registers memory of the client's own (not of a pool) on every device. It stays registered until
 * kvr_memory_deregister() or kvr_client_close(). Slow: not for the data path.
 * @return 0; -EFAULT not mapped; -EEXIST overlaps a region of this client; -ENOSPC; -ENOMEM
 */
int kvr_memory_register(struct kvr_client *client, void *addr, size_t length_bytes);

/** @param addr  as it was registered. @return 0; -ENOENT; -EBUSY a batch refers to it. */
int kvr_memory_deregister(struct kvr_client *client, void *addr);

enum kvr_op {
	KVR_OP_READ,  /**< from the segment to local memory */
	KVR_OP_WRITE, /**< from local memory to the segment */
};

/** Pollers serve every latency batch before a bulk one. */
enum kvr_class {
	KVR_CLASS_BULK,
	KVR_CLASS_LATENCY,
};

/** What the end of a batch says of its writes. Reads have always arrived. */
enum kvr_level {
	KVR_LEVEL_VISIBLE, /**< the peer's CPU, and any device, sees them: docs/ordering.md */
	KVR_LEVEL_SENT,	   /**< the peer's NIC has accepted them; local memory may be reused */
};

/** One contiguous piece: length_bytes between `local` and the segment's `offset`. */
struct kvr_transfer {
	void *local;		     /**< in a pool, or in memory the client registered */
	struct kvr_segment *segment; /**< group transfers by segment */
	uint64_t offset;	     /**< bytes from the segment's first */
	uint64_t length_bytes;	     /**< 1 or more */
	enum kvr_op op;
};

struct kvr_batch_options {
	enum kvr_class priority;
	enum kvr_level level;
	uint32_t timeout_ms; /**< 0: the engine's */
	void *cookie;	     /**< handed back in struct kvr_result */
};

/** How a batch ended. */
struct kvr_result {
	int status;		  /**< 0; -ETIMEDOUT; -ECONNRESET peer lost; -EIO by syndrome */
	uint8_t syndrome;	  /**< the device's first CQE syndrome (PRM, CQE), 0: none */
	uint8_t vendor_syndrome;  /**< beside it */
	bool remote_undetermined; /**< writes failed, and the peer could not confirm their end */
	const char *device;  /**< where it failed first, NULL: nowhere; lives with the engine */
	uint64_t bytes;	     /**< payload, when status is 0 */
	uint64_t latency_ns; /**< from kvr_submit() to the poller's last completion */
	void *cookie;
};

/** Takes an empty batch. @return NULL when max_batches are in hand. */
struct kvr_batch *kvr_batch_get(struct kvr_client *client, const struct kvr_batch_options *options);

/**
 * Adds transfers and checks them.
 * @return 0, or nothing is added and: -EFAULT local memory is not registered; -ERANGE outside of
 *         the segment; -EINVAL no length; -E2BIG more than max_transfers, or more than 16 changes
 * of segment: group transfers by segment
 */
int kvr_batch_add(struct kvr_batch *batch, const struct kvr_transfer *transfers, uint32_t n);

/** Gives the batch back. Never one that is submitted and not yet polled. */
void kvr_batch_put(struct kvr_batch *batch);

/** Hands batches to the pollers. @return how many were taken, fewer when a ring is full; the
 *  rest stay the caller's. An empty batch is taken and completes at once. */
uint32_t kvr_submit(struct kvr_client *client, struct kvr_batch **batches, uint32_t n);

/** Takes batches that have ended; those of one poller in the order of their end.
 *  @return how many, 0 to n. */
uint32_t kvr_poll(struct kvr_client *client, struct kvr_batch **batches, uint32_t n);

/** Valid from kvr_poll() to kvr_batch_put(). */
void kvr_batch_result(const struct kvr_batch *batch, struct kvr_result *result);
/** @} */
/** @name Counters. Any thread; monotonic while the engine lives.
 *  @{ */

struct kvr_device_stats {
	char name[64];
	char bdf[16];
	int numa_node;
	uint64_t tx_bytes; /**< payload of successful writes this node initiated */
	uint64_t rx_bytes; /**< payload of successful reads this node initiated */
	uint64_t tx_slices;
	uint64_t rx_slices;
	uint64_t failed_bytes; /**< payload of transfers that failed */
	uint64_t proofs;       /**< READs that proved writes visible */
	uint64_t wqes;
	uint64_t doorbells;
	uint64_t cqes;
	uint64_t errors; /**< error CQEs */
};

struct kvr_lcore_stats {
	unsigned int lcore;
	int numa_node;
	uint64_t polls;
	uint64_t empty_polls;
	uint64_t busy_ns; /**< in turns that did work */
	uint64_t idle_ns; /**< in turns that did not, sleeps included */
	uint64_t batches; /**< parts of batches ended here */
	uint64_t transfers;
};

/** Fill up to n entries. @return how many there are. */
uint32_t kvr_stats_devices(const struct kvr_engine *engine, struct kvr_device_stats *stats,
			   uint32_t n);
uint32_t kvr_stats_lcores(const struct kvr_engine *engine, struct kvr_lcore_stats *stats,
			  uint32_t n);
/** @} */

#ifdef __cplusplus
}
#endif
#endif
