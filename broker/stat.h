/* SPDX-License-Identifier: MIT */
/*
 * Stat - `vanilla stat`
 */
#ifndef VN_BROKER_STAT_H
#define VN_BROKER_STAT_H

int vn_stat_main(int argc, char **argv);

#endif
