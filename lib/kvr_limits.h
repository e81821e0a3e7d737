/* SPDX-License-Identifier: BSD-3-Clause */
/* Every fixed limit of the engine, in one place. */
#ifndef KVR_LIMITS_H
#define KVR_LIMITS_H

#define KVR_MAX_DEVICES	     16	  /* RDMA ports of one node */
#define KVR_MAX_POLLERS	     64	  /* worker lcores of one node */
#define KVR_MAX_LANES	     32	  /* lanes of one poller to one peer */
#define KVR_MAX_NODES	     16	  /* NUMA nodes of one machine */
#define KVR_MAX_POOLS	     16	  /* pools of one node */
#define KVR_MAX_SEGMENTS     16	  /* segments of one peer */
#define KVR_MAX_REGIONS	     1024 /* memory regions one client can reach */
#define KVR_MAX_RUNS	     16	  /* changes of segment within one batch, and one */
#define KVR_MAX_PARTS	     (KVR_MAX_RUNS + KVR_MAX_POLLERS) /* parts of one batch */
#define KVR_MAX_CLIENTS	     256			      /* client sessions of one engine */
#define KVR_MAX_PEERS	     1024			      /* connected peers, both directions */
#define KVR_MAX_POLLER_LANES 1024 /* lanes of one poller, to all peers */
#define KVR_NAME_BYTES	     64	  /* node, segment and device names, with the final 0 */
#define KVR_CACHE_LINE	     64

#define KVR_SQ_SLOTS	  512	/* slices in flight on one lane; a power of two */
#define KVR_CQ_SLOTS	  32768 /* CQEs of one poller on one device: 64 lanes' worst flush */
#define KVR_BURST	  64	/* slices sprayed, CQEs reaped and batches inhaled a turn */
#define KVR_VISITS	  8	/* parts that spray visits a turn */
#define KVR_VISIT_SLICES  32	/* slices placed in one visit, so that no part starves another */
#define KVR_QUANTUM_BYTES (64 << 10) /* placed on one lane before the next best is looked for */
#define KVR_SIGNAL_BYTES  (1 << 20)  /* of a lane's slices that one CQE reports, or a little more */
#define KVR_SHARE_BYTES                                                                            \
	(1 << 20) /* a batch is divided among pollers in shares of at least this                   \
		   */
#define KVR_SLICE_BYTES	  (256 << 10) /* the default cut of a large transfer */
#define KVR_LANE_BYTES	  (8 << 20)   /* in flight on a lane: several times bandwidth x delay */
#define KVR_PROBE_BYTES	  (128 << 10) /* in flight at least for a lane's rate to be measured */
#define KVR_TIMEOUT_MS	  5000	      /* the default deadline of a batch */
#define KVR_SPIN_US	  200  /* a poller with nothing in hand pauses so long before it sleeps */
#define KVR_TICK_US	  500  /* the poller's housekeeping */
#define KVR_FLUSH_MS	  1000 /* a QP in ERR that has not flushed by then is reset */
#define KVR_FENCE_MS	  100  /* a peer that has not fenced a lane by then: docs/ordering.md */
#define KVR_MESSAGE_BYTES (1 << 20) /* one control message, at most */
#define KVR_PROTOCOL	  2	    /* version of the handshake */

#endif
