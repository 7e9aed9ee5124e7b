/* SPDX-License-Identifier: MIT */
/*
 * export.h - what the shared library shows to the world
 *
 * The library is compiled with hidden visibility. This file comes first in each of its sources (the Makefile
 * includes it) and declares what vanilla.h declares as visible; libvanilla.map then names each symbol once
 * more, with the version in which it appeared.
 */
#pragma GCC visibility push(default)
#include <vanilla.h>
#pragma GCC visibility pop
