/* SPDX-License-Identifier: BSD-3-Clause */
#include "peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app_message.h"

void
node_peers_init(struct node_peers *peers, struct kvr_engine *engine, uint32_t timeout_ms)
{
	*peers = (struct node_peers){.engine = engine, .timeout_ms = timeout_ms};
	pthread_mutex_init(&peers->lock, NULL);
}

static void
link_close(struct node_link *link)
{
	if (link == NULL)
		return;
	kvr_segment_close(link->segment);
	free(link);
}

/* ---- the list ---- */

/* The lock is held. Returns the link if nobody has it: the caller closes it, without the lock. */
static struct node_link *
retire(struct node_peer *peer)
{
	struct node_link *link = peer->link;

	peer->link = NULL;
	if (link == NULL)
		return NULL;
	link->current = false;
	return link->n_users == 0 ? link : NULL;
}

static struct node_peer *
find_address(struct node_peers *peers, const char *address)
{
	for (uint32_t i = 0; i < peers->n_peers; i++)
		if (strcmp(peers->peers[i].address, address) == 0)
			return &peers->peers[i];
	return NULL;
}

static bool
is_wanted(const struct node_options *options, const char *address)
{
	for (uint32_t i = 0; i < options->n_peers; i++)
		if (strcmp(options->peers[i], address) == 0)
			return true;
	return false;
}

int
node_peers_set(struct node_peers *peers, const struct node_options *options, uint32_t *n_new,
	       uint32_t *n_old)
{
	struct node_link *unused[NODE_MAX_PEERS];
	uint32_t n_unused = 0, kept = 0;
	int err = 0;

	*n_new = 0;
	*n_old = 0;
	pthread_mutex_lock(&peers->lock);
	for (uint32_t i = 0; i < peers->n_peers; i++) {
		if (is_wanted(options, peers->peers[i].address)) {
			peers->peers[kept++] = peers->peers[i];
			continue;
		}
		unused[n_unused++] = retire(&peers->peers[i]);
		free(peers->peers[i].address);
		*n_old += 1;
	}
	peers->n_peers = kept;
	for (uint32_t i = 0; err == 0 && i < options->n_peers; i++) {
		struct node_peer *peer = &peers->peers[peers->n_peers];

		if (find_address(peers, options->peers[i]) != NULL)
			continue;
		*peer = (struct node_peer){.address = strdup(options->peers[i])};
		if (peer->address == NULL) {
			err = -ENOMEM;
		} else {
			peers->n_peers++;
			*n_new += 1;
		}
	}
	pthread_mutex_unlock(&peers->lock);
	while (n_unused > 0)
		link_close(unused[--n_unused]);
	return err;
}

void
node_peers_free(struct node_peers *peers)
{
	while (peers->n_peers > 0) {
		struct node_peer *peer = &peers->peers[--peers->n_peers];

		link_close(peer->link);
		free(peer->address);
	}
	pthread_mutex_destroy(&peers->lock);
}

json_t *
node_peers_list(struct node_peers *peers)
{
	json_t *list = json_array();

	pthread_mutex_lock(&peers->lock);
	for (uint32_t i = 0; i < peers->n_peers; i++) {
		const struct node_peer *peer = &peers->peers[i];
		const char *state = peer->link == NULL			    ? "unused"
				    : kvr_segment_lost(peer->link->segment) ? "lost"
									    : "up";

		if (peer->link == NULL && peer->trouble[0] != '\0')
			state = "down";
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "address",
						      peer->address, "name", peer->name, "state",
						      state, "trouble", peer->trouble));
	}
	pthread_mutex_unlock(&peers->lock);
	return list;
}

/* ---- links ---- */

/* The lock is held. A link that is well, with one more user; NULL: there is none. A lost one goes
 * to *unused when nobody has it. */
static struct node_link *
link_reuse(struct node_peer *peer, struct node_link **unused)
{
	if (peer->link != NULL && kvr_segment_lost(peer->link->segment))
		*unused = retire(peer);
	if (peer->link != NULL)
		peer->link->n_users++;
	return peer->link;
}

/* The lock is held. Makes the segment a link of the peer's; if another thread was faster, the
 * segment, a second opening of the same, goes to *unused. NULL: no memory. */
static struct node_link *
link_publish(struct node_peer *peer, struct kvr_segment *segment, struct kvr_segment **unused)
{
	if (peer->link != NULL) {
		*unused = segment;
	} else {
		peer->link = calloc(1, sizeof(*peer->link));
		if (peer->link == NULL) {
			*unused = segment;
			return NULL;
		}
		*peer->link = (struct node_link){.segment = segment, .current = true};
		snprintf(peer->name, sizeof(peer->name), "%s", kvr_segment_peer(segment));
		peer->trouble[0] = '\0';
	}
	peer->link->n_users++;
	return peer->link;
}

/* Connects to an address of the list. */
static int
connect_to(struct node_peers *peers, const char *address, struct node_link **link,
	   struct kvr_error *error)
{
	struct kvr_segment *segment, *unused = NULL;
	struct node_peer *peer;
	int err =
		kvr_segment_open(peers->engine, address, NULL, peers->timeout_ms, &segment, error);

	pthread_mutex_lock(&peers->lock);
	peer = find_address(peers, address);
	if (err != 0 && peer != NULL) {
		snprintf(peer->trouble, sizeof(peer->trouble), "%s", error->text);
	} else if (err == 0 && peer == NULL) {
		unused = segment;
		err = app_fail(error, -ENOENT, "peer %s is no peer of this node any more", address);
	} else if (err == 0) {
		*link = link_publish(peer, segment, &unused);
		if (*link == NULL)
			err = app_fail(error, -ENOMEM, "out of memory");
	}
	pthread_mutex_unlock(&peers->lock);
	if (unused != NULL)
		kvr_segment_close(unused);
	return err;
}

/* A link to the peer at an address of the list: the one there is, or a new one. */
static int
get_address(struct node_peers *peers, const char *address, struct node_link **link,
	    struct kvr_error *error)
{
	struct node_link *unused = NULL;
	struct node_peer *peer;

	pthread_mutex_lock(&peers->lock);
	peer = find_address(peers, address);
	*link = peer != NULL ? link_reuse(peer, &unused) : NULL;
	pthread_mutex_unlock(&peers->lock);
	link_close(unused);
	return *link != NULL ? 0 : connect_to(peers, address, link, error);
}

/* Copies the address of peer i, and whether it is the one meant. False: there are no more. */
static bool
peer_at(struct node_peers *peers, uint32_t i, const char *who, char *address, size_t size,
	bool *is_meant, bool *is_named)
{
	bool there;

	pthread_mutex_lock(&peers->lock);
	there = i < peers->n_peers;
	if (there) {
		const struct node_peer *peer = &peers->peers[i];

		snprintf(address, size, "%s", peer->address);
		*is_named = peer->name[0] != '\0';
		*is_meant = strcmp(peer->address, who) == 0 || strcmp(peer->name, who) == 0;
	}
	pthread_mutex_unlock(&peers->lock);
	return there;
}

int
node_peers_get(struct node_peers *peers, const char *who, struct node_link **link,
	       struct kvr_error *error)
{
	struct kvr_error trouble = {""};
	char address[256];
	bool is_meant, is_named;

	for (uint32_t i = 0; peer_at(peers, i, who, address, sizeof(address), &is_meant, &is_named);
	     i++)
		if (is_meant)
			return get_address(peers, address, link, error);
	/* Perhaps a name that is not known yet. */
	for (uint32_t i = 0; peer_at(peers, i, who, address, sizeof(address), &is_meant, &is_named);
	     i++) {
		if (is_named || get_address(peers, address, link, &trouble) != 0)
			continue;
		if (strcmp(kvr_segment_peer((*link)->segment), who) == 0)
			return 0;
		node_peers_put(peers, *link, NULL);
	}
	return app_fail(error, -ENOENT,
			"no peer '%s': give its HOST:PORT, one of this node's --peer%s%s", who,
			trouble.text[0] != '\0' ? "; not reached: " : "", trouble.text);
}

void
node_peers_put(struct node_peers *peers, struct node_link *link, const char *trouble)
{
	bool last;

	pthread_mutex_lock(&peers->lock);
	for (uint32_t i = 0; trouble != NULL && i < peers->n_peers; i++)
		if (peers->peers[i].link == link) {
			snprintf(peers->peers[i].trouble, sizeof(peers->peers[i].trouble), "%s",
				 trouble);
			peers->peers[i].link = NULL;
		}
	if (trouble != NULL)
		link->current = false;
	last = --link->n_users == 0 && !link->current;
	pthread_mutex_unlock(&peers->lock);
	if (last)
		link_close(link);
}
