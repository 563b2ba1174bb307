/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for the instrumented driver's statistics, for machines without its card: the same files, made when the
 * module is loaded, whose reading brings the kernel down as it does there when no card is bound.
 */
#include <linux/cpumask.h>
#include <linux/kernel.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int standin_show(struct seq_file *file, void *unused)
{
	panic("stand-in: statistics read without a card");
}

static void standin_init(void)
{
	char name[32];
	unsigned int core;

	proc_mkdir("ixgbe_stats", NULL);
	proc_mkdir("ixgbe_stats/core", NULL);
	for_each_possible_cpu(core) {
		snprintf(name, sizeof(name), "ixgbe_stats/core/%u", core);
		proc_create_single(name, 0444, NULL, standin_show);
	}
}

static void standin_exit(void)
{
	remove_proc_subtree("ixgbe_stats", NULL);
}
