/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "softnic.h"
#include "softnic_step.h"

void
fuzz_take(struct fuzz_input *in, void *to, size_t bytes)
{
	size_t n = bytes < in->left ? bytes : in->left;

	memset(to, 0, bytes);
	memcpy(to, in->at, n);
	in->at += n;
	in->left -= n;
}

uint8_t
fuzz_u8(struct fuzz_input *in)
{
	uint8_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

uint16_t
fuzz_u16(struct fuzz_input *in)
{
	uint16_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

uint32_t
fuzz_u32(struct fuzz_input *in)
{
	uint32_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

/* What softnic would have set; before softnic sees its first path. */
__attribute__((constructor(101))) static void
launch(void)
{
	char instance[32];

	snprintf(instance, sizeof(instance), "fuzz-%d", (int)getpid());
	setenv(SN_ENV_INSTANCE, instance, 1);
	setenv(SN_ENV_SETTINGS, fuzz_settings, 1);
	/* libmlx5 tells of each error completion on standard error. */
	setenv("MLX5_DEBUG_FILE", "/dev/null", 1);
}

void
fuzz_run_nic(unsigned int max_steps)
{
	while (max_steps-- && softnic_step() > 0)
		;
}

void
fuzz_connect(struct ibv_qp *qp, const struct ibv_qp *peer, const union ibv_gid *gid)
{
	bool ud = qp->qp_type == IBV_QPT_UD, rc = qp->qp_type == IBV_QPT_RC;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qkey = 0x1234,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE |
				   (rc ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC : 0),
	};

	FUZZ_MUST(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
					(ud ? IBV_QP_QKEY : IBV_QP_ACCESS_FLAGS)) == 0);
	attr = (struct ibv_qp_attr){
		.qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = peer->qp_num,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 1,
		.ah_attr = {.is_global = 1,
			    .port_num = 1,
			    .grh = {.dgid = *gid, .sgid_index = 3, .hop_limit = 1}},
	};
	FUZZ_MUST(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE |
					(ud ? 0
					    : IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
							 IBV_QP_RQ_PSN) |
					(rc ? IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER
					    : 0)) == 0);
	attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
				    .timeout = 1,
				    .retry_cnt = 1,
				    .rnr_retry = 1,
				    .max_rd_atomic = 4};
	FUZZ_MUST(ibv_modify_qp(qp, &attr,
				IBV_QP_STATE | IBV_QP_SQ_PSN |
					(rc ? IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
							 IBV_QP_MAX_QP_RD_ATOMIC
					    : 0)) == 0);
}
