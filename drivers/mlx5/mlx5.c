/* SPDX-License-Identifier: BSD-3-Clause */
/* The mlx5 driver's ops table. */

#include "mlx5.h"

static int
mlx5dp_match(struct ibv_context *context)
{
	return mlx5dv_is_supported(context->device);
}

const struct kvr_driver kvr_driver_mlx5 = {
	.name = "mlx5",
	.match = mlx5dp_match,
	.cq_create = mlx5dp_cq_create,
	.cq_destroy = mlx5dp_cq_destroy,
	.sq_create = mlx5dp_sq_create,
	.sq_destroy = mlx5dp_sq_destroy,
	.sq_attach = mlx5dp_sq_attach,
	.sq_detach = mlx5dp_sq_detach,
	.reap = mlx5dp_reap,
};
