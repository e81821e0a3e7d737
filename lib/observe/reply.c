/* SPDX-License-Identifier: BSD-3-Clause */
#include "reply.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct rte_tel_data *
kvr_reply_dict(struct rte_tel_data *parent, const char *key)
{
	struct rte_tel_data *child = rte_tel_data_alloc();

	if (child == NULL)
		return NULL;
	rte_tel_data_start_dict(child);
	if (rte_tel_data_add_dict_container(parent, key, child, 0) != 0) {
		rte_tel_data_free(child);
		return NULL;
	}
	return child;
}

struct rte_tel_data *
kvr_reply_entry(struct rte_tel_data *entries, uint64_t idx)
{
	char key[24];

	snprintf(key, sizeof(key), "%" PRIu64, idx);
	return kvr_reply_dict(entries, key);
}

int
kvr_reply_list_start(struct kvr_reply_list *list, struct rte_tel_data *reply, const char *key,
		     const char *params, uint64_t page)
{
	char *end = NULL;

	*list = (struct kvr_reply_list){.reply = reply, .page = page};
	if (params != NULL && *params != '\0') {
		if (!isdigit((unsigned char)*params))
			return -EINVAL;
		list->offset = strtoull(params, &end, 10);
		if (*end != '\0')
			return -EINVAL;
	}
	rte_tel_data_start_dict(reply);
	list->entries = kvr_reply_dict(reply, key);
	return list->entries == NULL ? -ENOMEM : 0;
}

struct rte_tel_data *
kvr_reply_list_add(struct kvr_reply_list *list)
{
	uint64_t idx = list->total++;

	if (idx < list->offset || idx - list->offset >= list->page)
		return NULL;
	return kvr_reply_entry(list->entries, idx);
}

void
kvr_reply_list_end(struct kvr_reply_list *list)
{
	uint64_t left = list->total > list->offset ? list->total - list->offset : 0;

	rte_tel_data_add_dict_u64(list->reply, "total", list->total);
	rte_tel_data_add_dict_u64(list->reply, "next",
				  left > list->page ? list->offset + list->page : list->total);
}
