/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What softnic tells a program unasked: completion events, asynchronous events, and the queues
 * they are about. Run it as `softnic --devices 2 -- softnic_events`.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "softnic_rig.h"

static struct rig_end a, b;
static struct ibv_comp_channel *channel;

static void
set_up(unsigned int depth)
{
	struct ibv_context *context = rig_open(1);

	channel = ibv_create_comp_channel(context);
	rig_create(&a, &(struct rig_options){.device = 0, .depth = depth});
	rig_create(&b, &(struct rig_options){.device = 1, .depth = depth, .channel = channel});
	rig_connect(&a, &b, NULL);
}

static void
tear_down(void)
{
	rig_destroy(&a);
	rig_destroy(&b);
}

static bool
has_event(void)
{
	struct pollfd pfd = {.fd = channel->fd, .events = POLLIN};

	return poll(&pfd, 1, 50) > 0;
}

static bool
take_event(void)
{
	struct ibv_cq *cq;
	void *context;

	if (!has_event() || ibv_get_cq_event(channel, &cq, &context))
		return false;
	ibv_ack_cq_events(cq, 1);
	return cq == b.cq;
}

static void
send_message(bool solicited)
{
	struct ibv_sge sge = {(uintptr_t)a.buf, 8, a.mr->lkey};
	struct ibv_send_wr wr = {.sg_list = &sge,
				 .num_sge = 1,
				 .opcode = IBV_WR_SEND,
				 .send_flags =
					 IBV_SEND_SIGNALED | (solicited ? IBV_SEND_SOLICITED : 0)},
			   *bad;

	RIG_EQUAL(rig_post_recv(&b, 0, 64), 0);
	RIG_EQUAL(ibv_post_send(a.qp, &wr, &bad), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
}

/* ---- completion events ---- */

/* perftest's lat tests with -e arm before they poll, and count on this. */
static void
an_entry_is_announced_once(void)
{
	set_up(64);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0);
	send_message(false);
	RIG_CHECK(take_event());
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0); /* the entry is still unread */
	RIG_CHECK(!has_event());
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	send_message(false);
	RIG_CHECK(take_event());
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	tear_down();
}

static void
arming_finds_what_came_before_it(void)
{
	set_up(64);
	send_message(false);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0);
	RIG_CHECK(take_event());
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	send_message(false);
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0); /* all is read */
	RIG_CHECK(!has_event());
	tear_down();
}

static void
solicited_only_waits_for_solicited_or_failed(void)
{
	struct ibv_wc wc;

	set_up(64);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 1), 0);
	send_message(false);
	RIG_CHECK(!has_event());
	send_message(true);
	RIG_CHECK(take_event());
	while (rig_wait(b.cq, &wc, 20))
		;
	/* Armed for solicited ones, then for any: the wider wish holds. */
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 1), 0);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0);
	send_message(false);
	RIG_CHECK(take_event());
	RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 1), 0);
	RIG_EQUAL(rig_post_recv(&b, 0, 64), 0);
	RIG_EQUAL(rig_to_error(&b), 0);
	RIG_CHECK(take_event());
	tear_down();
}

/* ---- completion queues ---- */

static void
a_cq_is_resized_with_entries_in_it(void)
{
	static const int sizes[] = {500, 7, 63, 4000, 31};
	struct ibv_recv_wr wr = {0}, *bad;
	uint64_t next_posted = 0, next_polled = 0;
	struct ibv_wc wc;

	set_up(64);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* Some laps of the old ring, leaving 5 entries unread. */
		for (unsigned int k = 0; k < 300; k++) {
			wr.wr_id = next_posted++;
			RIG_EQUAL(ibv_post_recv(b.qp, &wr, &bad), 0);
			RIG_EQUAL(rig_post(&a, NULL, IBV_WR_SEND, 0, 0, 0), 0);
			RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
			if (k < 5)
				continue;
			RIG_CHECK(rig_wait(b.cq, &wc, 1000));
			RIG_EQUAL(wc.wr_id, next_polled++);
		}
		RIG_EQUAL(ibv_resize_cq(b.cq, sizes[i]), 0);
		RIG_CHECK(b.cq->cqe >= sizes[i]);
		while (next_polled != next_posted) {
			RIG_CHECK(rig_wait(b.cq, &wc, 1000));
			RIG_EQUAL(wc.status, IBV_WC_SUCCESS);
			RIG_EQUAL(wc.wr_id, next_polled++);
		}
	}
	/* What is unread has to fit. */
	for (unsigned int k = 0; k < 20; k++)
		send_message(false);
	RIG_EQUAL(ibv_resize_cq(b.cq, 15), EINVAL);
	RIG_EQUAL(ibv_resize_cq(b.cq, 63), 0);
	for (unsigned int k = 0; k < 20; k++)
		RIG_EQUAL(rig_status(b.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(ibv_req_notify_cq(b.cq, 0), 0);
	RIG_EQUAL(ibv_resize_cq(b.cq, 255), 0);
	RIG_CHECK(!has_event());
	tear_down();
}

int
main(void)
{
#define RUN(test) rig_run(#test, test)
	RUN(an_entry_is_announced_once);
	RUN(arming_finds_what_came_before_it);
	RUN(solicited_only_waits_for_solicited_or_failed);
	RUN(a_cq_is_resized_with_entries_in_it);
	return rig_finish();
}
