/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports that go down and devices that die, as the program sees it. Run it as
 * `softnic --devices 2 -- softnic_link`, with SOFTNIC_INSTANCE naming the instance.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "instance.h"
#include "link.h"
#include "softnic_rig.h"

static struct rig_end a, b;
static struct sn_instance instance;

static void
set_up(const struct rig_link *link)
{
	rig_create(&a, &(struct rig_options){.device = 0});
	rig_create(&b, &(struct rig_options){.device = 1});
	rig_connect(&a, &b, link);
}

static void
tear_down(void)
{
	rig_destroy(&a);
	rig_destroy(&b);
}

static void
set_link(unsigned int device, enum sn_link_state state)
{
	sn_link_set(instance.dir, instance.shm, device, state);
}

static bool
sysfs_says(const char *word)
{
	FILE *file = fopen("/sys/class/infiniband/mlx5_1/ports/1/state", "re");
	char text[32] = "";

	if (!file || !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	return strstr(text, word);
}

static void
a_port_that_is_down_says_so(void)
{
	struct ibv_port_attr port;

	set_up(NULL);
	set_link(1, SN_LINK_DOWN);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ERR);
	RIG_EQUAL(ibv_query_port(b.context, 1, &port), 0);
	RIG_EQUAL(port.state, IBV_PORT_DOWN);
	RIG_EQUAL(port.phys_state, 3);
	RIG_CHECK(sysfs_says("DOWN"));
	RIG_EQUAL(ibv_query_port(a.context, 1, &port), 0);
	RIG_EQUAL(port.state, IBV_PORT_ACTIVE);
	set_link(1, SN_LINK_UP);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_PORT_ACTIVE);
	RIG_EQUAL(ibv_query_port(b.context, 1, &port), 0);
	RIG_EQUAL(port.state, IBV_PORT_ACTIVE);
	RIG_EQUAL(port.phys_state, 5);
	RIG_CHECK(sysfs_says("ACTIVE"));
	tear_down();
}

/* Either end's port will do; a local one is no other than a remote one to the transport. */
static void
what_is_sent_over_a_dead_link_times_out(void)
{
	for (unsigned int device = 0; device < 2; device++) {
		set_up(NULL);
		set_link(device, SN_LINK_DOWN);
		RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
		RIG_EQUAL(rig_post_recv(&b, 0, 64), 0);
		RIG_EQUAL(rig_post(&b, NULL, IBV_WR_SEND, 0, 0, 64), 0);
		RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
		set_link(device, SN_LINK_UP);
		tear_down();
	}
}

static void
a_short_outage_is_ridden_out(void)
{
	set_up(&(struct rig_link){.timeout = 12, .retry_cnt = 7});
	rig_fill(a.buf, 4096, 3);
	set_link(1, SN_LINK_DOWN);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 4096), 0);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_READ, 8192, 0, 4096), 0);
	usleep(30000);
	RIG_CHECK(memcmp(a.buf, b.buf, 4096) != 0);
	set_link(1, SN_LINK_UP);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	RIG_CHECK(memcmp(a.buf, b.buf, 4096) == 0);
	RIG_CHECK(memcmp(a.buf + 8192, a.buf, 4096) == 0);
	tear_down();
}

static void
a_dead_device_flushes_and_refuses(void)
{
	struct ibv_wc wc;

	set_up(NULL);
	RIG_EQUAL(rig_post_recv(&b, 0, 64), 0);
	set_link(1, SN_LINK_DEAD);
	RIG_EQUAL(rig_async(b.context), IBV_EVENT_DEVICE_FATAL);
	RIG_CHECK(rig_wait(b.cq, &wc, 1000));
	RIG_EQUAL(wc.status, IBV_WC_WR_FLUSH_ERR);
	RIG_CHECK(!ibv_alloc_pd(b.context));
	RIG_EQUAL(errno, EIO);
	RIG_EQUAL(rig_to_error(&b), EIO);
	/* The peer hears nothing more of it; the other device serves on. */
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_RETRY_EXC_ERR);
	RIG_CHECK(sysfs_says("DOWN"));
	tear_down(); /* what there was can still be destroyed */
	set_link(1, SN_LINK_UP);
	set_up(NULL);
	RIG_EQUAL(rig_post(&a, &b, IBV_WR_RDMA_WRITE, 0, 0, 64), 0);
	RIG_EQUAL(rig_status(a.cq), IBV_WC_SUCCESS);
	tear_down();
}

int
main(void)
{
	const char *name = getenv("SOFTNIC_INSTANCE");

	if (!name || sn_instance_look(&instance, name)) {
		printf("set-up failed: no instance (run me under softnic)\n");
		return 1;
	}
#define RUN(test) rig_run(#test, test)
	RUN(a_port_that_is_down_says_so);
	RUN(what_is_sent_over_a_dead_link_times_out);
	RUN(a_short_outage_is_ridden_out);
	RUN(a_dead_device_flushes_and_refuses);
	sn_instance_unmap(&instance);
	return rig_finish();
}
