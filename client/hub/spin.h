/* SPDX-License-Identifier: MIT */
/*
 * Spin - how long a hub that has just been busy looks at its lanes before it sleeps
 *
 * A message that comes right after parking costs a wake-up, some microseconds; spinning that long first is
 * cheaper if there is a processor to spare. So the budget starts at nothing, grows when messages do come right
 * after parking, and is halved when spinning was in vain; a quarter when somebody else wanted the processor. It
 * stays nothing where there are two processors or fewer.
 */
#ifndef VN_HUB_SPIN_H
#define VN_HUB_SPIN_H

#include <stdbool.h>
#include <vanilla.h>

typedef struct vn_spin {
	vn_time limit; /* the most it may be; 0: never */
	vn_time budget;
	long n_preempted;
} vn_spin;

double vn_spin_processors(void); /* that this process may use; a cgroup's quota counts */
void vn_spin_init(vn_spin *s, double n_processors);
void vn_spin_open(vn_spin *s);           /* with as many as there are */
bool vn_spin_run(vn_spin *s, vn_hub *h); /* true if a hook was busy or made somebody ready */
void vn_spin_learn(vn_spin *s, vn_time slept);

#endif
