/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices' places on the PCI bus, as sysfs shows them. */
#ifndef SN_PCI_H
#define SN_PCI_H

#include "tree.h"

#define SN_PCI_ROOT "pci" SN_PCI_DOMAIN ":00"

/* Where the function of mlx5_@device is, below the root of the tree. */
void sn_pci_path(char *path, size_t bytes, unsigned int device);

/* The function at tree->fn, and the bridge before it. */
void sn_pci_put(struct sn_tree *tree, unsigned int device);

/* The machine's own functions beside ours, for who walks over all. */
void sn_pci_put_others(struct sn_tree *tree);

#endif
