/* SPDX-License-Identifier: MIT */
/*
 * Ctl - `vanilla ctl`: one line to the control socket, its answers to standard output
 */
#ifndef VN_BROKER_CTL_H
#define VN_BROKER_CTL_H

int vn_ctl_main(int argc, char **argv); /* argv[0] is the subcommand; the exit code */

#endif
