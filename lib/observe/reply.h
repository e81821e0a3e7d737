/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Replies of the /kvrail endpoints. What rte_telemetry of 22.11 allows shapes them: no floats;
 * dicts nest, but rte_tel_data_add_array_container() takes arrays of values alone, so a list of
 * dicts is a dict whose keys are "0", "1" ...; 16 KiB a reply, so lists that may be longer come in
 * pages:
 * `,OFFSET` begins at that entry, `total` is their number and `next` the first one that is not in
 * the reply (`total`: none is left).
 */
#ifndef KVR_REPLY_H
#define KVR_REPLY_H

#include <stdint.h>

#include <rte_telemetry.h>

/* A dict inside of a dict; NULL without memory: that part of the reply is left out. */
struct rte_tel_data *kvr_reply_dict(struct rte_tel_data *parent, const char *key);
/* The same, as entry `idx` of a list. */
struct rte_tel_data *kvr_reply_entry(struct rte_tel_data *entries, uint64_t idx);

/* A list under way: entries are counted; those of the page are in the reply. */
struct kvr_reply_list {
	struct rte_tel_data *reply;
	struct rte_tel_data *entries;
	uint64_t offset; /* first entry of the page */
	uint64_t page;	 /* entries in it, at most */
	uint64_t total;	 /* entries so far */
};

/* Makes the reply a dict with a list in it. `params`: "" or NULL, or the offset. 0; -EINVAL;
 * -ENOMEM. */
int kvr_reply_list_start(struct kvr_reply_list *list, struct rte_tel_data *reply, const char *key,
			 const char *params, uint64_t page);
/* The dict of the next entry; NULL when it is not in the page. */
struct rte_tel_data *kvr_reply_list_add(struct kvr_reply_list *list);
/* Adds `total` and `next`. */
void kvr_reply_list_end(struct kvr_reply_list *list);

#endif
