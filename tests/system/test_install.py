# SPDX-License-Identifier: MIT
"""test_install - what `make install` puts into a system can be used from there, by C and by C++"""
import os
import pathlib
import re
import subprocess
import unittest

from support import BUILD, ROOT, SANITIZED, Case

C_PROGRAM = r"""
#include <stdio.h>
#include <vanilla.h>

static int
produce(vn_hub *h, void *arg)
{
	vn_tx *tx = arg;

	(void)h;
	for (int i = 1; i <= 4; i++)
		vn_send(tx, &i);
	return vn_close(tx);
}

int
main(void)
{
	vn_hub *h = vn_hub_new();
	vn_pair p = vn_pipe(h, int);
	int item, sum = 0;

	vn_spawn(h, produce, p.tx);
	while (vn_recv(p.rx, &item) == 0)
		sum += item;
	vn_close(p.rx);
	vn_hub_free(h);
	printf("sum %d of version %s\n", sum, VN_VERSION);
}
"""

CPP_PROGRAM = r"""
#include <cstdio>
#include <csignal>
#include <vanilla.h>

static int
everything_else(vn_hub *h)
{
	vn_group *g = vn_group_new(h);
	vn_pair p = vn_queue(h, int, 4);
	int closed = 1, item = 0, n = 0, rc = 0;
	vn_rx *signals = vn_signals(h, SIGHUP, SIGUSR1);
	vn_rx *twice;

	vn_on_close(p.tx, [](void *arg, int how) { *static_cast<int *>(arg) = how; }, &closed);
	twice = vn_map(p.rx, int, [](const void *in, void *out, void *) {
		*static_cast<int *>(out) = 2 * *static_cast<const int *>(in);
		return 0;
	}, nullptr);
	rc |= vn_group_spawn(g, [](vn_hub *, void *arg) {
		vn_tx *tx = vn_dup(static_cast<vn_tx *>(arg));
		int rc = vn_adopt(tx);
		for (int i = 1; i <= 3 && rc == 0; i++)
			rc = vn_send(tx, &i);
		vn_close(tx);
		return rc;
	}, p.tx);
	rc |= vn_group_wait(g);
	rc |= vn_close(p.tx);
	while (vn_select_random(h, VN_RECV(twice, &item), VN_RECV(signals, &rc)) == 0 && vn_selected(h) == 0)
		n += item;
	rc |= vn_close(twice) | vn_close(signals);
	vn_group_free(g);
	return rc == 0 && closed == 0 && n == 12 ? 0 : 1000;
}

int
main()
{
	vn_hub *h = vn_hub_new();
	vn_pair p = vn_pipe(h, int);
	int item = 0;
	int rc = vn_spawn(h, [](vn_hub *, void *tx) {
		int ten = 10;
		vn_send(static_cast<vn_tx *>(tx), &ten);
		return vn_close(static_cast<vn_tx *>(tx));
	}, p.tx);
	rc += vn_select(h, VN_RECV(p.rx, &item), VN_AFTER(VN_SEC));
	vn_close(p.rx);
	rc += everything_else(h);
	vn_hub_free(h);
	std::printf("sum %d of version %s\n", item + rc, VN_VERSION);
}
"""

# Compiled with VN_DEBUG, by C and by C++. The numbers of the lines that must be told stand in them.
DEBUG_PROGRAM = r"""
#include <vanilla.h>

static int
waits(vn_hub *h, void *arg)
{
	(void)arg;
	return vn_sleep(h, 60 * VN_SEC);
}

int
main(void)
{
	vn_hub *h = vn_hub_new();
	vn_pair p = vn_pipe(h, int); /* open */
	vn_pair q = vn_queue(h, int, 3);
	vn_rx *hup;
	vn_rx *listener;

	vn_close(q.rx); vn_close(q.tx);
	hup = vn_signals(h, 1, 2); /* open */
	listener = vn_listen(h, "tcp://127.0.0.1:0", 0); /* open */
	vn_spawn(h, waits, NULL); /* runs */
	vn_spawn_later(h, 60 * VN_SEC, waits, NULL);
	vn_sleep(h, VN_MS);
	vn_close(p.tx);
	vn_hub_free(h);
	return hup == NULL || listener == NULL;
}
"""


def run(argv, **options):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **options)
    if done.returncode:
        raise AssertionError(f"{argv}: {done.returncode}\n{done.stdout}")
    return done.stdout


class Install(Case):

    def setUp(self):
        self.place = pathlib.Path(self.folder())
        # The make that runs these tests must not pass its own job slots and variables on.
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
        run(["make", "-C", ROOT, "install", f"BUILD={BUILD}", f"DESTDIR={self.place}", "PREFIX=/opt/vn"], env=env)
        self.top = self.place / "opt/vn"
        self.env = {**os.environ, "PKG_CONFIG_PATH": str(self.top / "lib/pkgconfig"),
                    "PKG_CONFIG_SYSROOT_DIR": str(self.place), "LD_LIBRARY_PATH": str(self.top / "lib")}

    def pkg_config(self, *options):
        return run(["pkg-config", *options, "vanilla"], env=self.env).split()

    def build(self, compiler, name, text, *link):
        source = self.place / name
        source.write_text(text)
        program = self.place / "program"
        run([*compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source, *self.pkg_config("--cflags"), *link],
            env=self.env)
        return program

    def test_c_program(self):
        for compiler in (["gcc", "-std=gnu11"], ["gcc", "-std=c11", "-pedantic"], ["clang", "-std=gnu11"]):
            with self.subTest(compiler):
                program = self.build(compiler, "a.c", C_PROGRAM, *self.pkg_config("--libs"))
                self.assertEqual(run([program], env=self.env), "sum 10 of version 0.1.0\n")
                self.assertIn("libvanilla.so.0", run(["ldd", program], env=self.env))

    def test_cpp_program(self):
        for compiler in (["g++", "-std=c++11"], ["g++", "-std=c++20"], ["clang++", "-std=c++17"]):
            with self.subTest(compiler):
                program = self.build(compiler, "a.cc", CPP_PROGRAM, *self.pkg_config("--libs"))
                self.assertEqual(run([program], env=self.env), "sum 10 of version 0.1.0\n")

    def test_debug_program_is_told_what_it_left_open(self):
        rows = DEBUG_PROGRAM.split("\n")
        expected = {(number, what) for number, row in enumerate(rows, 1) for what in ("open", "runs")
                    if f"/* {what} */" in row}
        self.assertEqual(len(expected), 4)
        for compiler, name in ((["gcc", "-std=gnu11"], "d.c"), (["g++", "-std=c++17"], "d.cc")):
            with self.subTest(compiler):
                program = self.build([*compiler, "-DVN_DEBUG"], name, DEBUG_PROGRAM, *self.pkg_config("--libs"))
                told = re.findall(rf"^vanilla: \S*{name}:(\d+): .* (open|runs)$", run([program], env=self.env), re.M)
                self.assertEqual(sorted((int(n), what) for n, what in told), sorted(expected))
        program = self.build(["gcc"], "d.c", DEBUG_PROGRAM, *self.pkg_config("--libs"))
        self.assertEqual(run([program], env=self.env), "")

    def test_static_library(self):
        program = self.build(["gcc"], "a.c", C_PROGRAM, self.top / "lib/libvanilla.a",
                             "-Wl,--as-needed", *[o for o in self.pkg_config("--static", "--libs")
                                                  if o != "-lvanilla"])
        self.assertEqual(run([program]), "sum 10 of version 0.1.0\n")
        self.assertNotIn("libvanilla", run(["ldd", program]))

    def test_shared_library_shows_the_header_and_nothing_else(self):
        rows = run(["nm", "-D", "--defined-only", self.top / "lib/libvanilla.so"]).splitlines()
        shown = {row.split()[2].split("@")[0] for row in rows if " A " not in row}
        mapped = set(re.findall(r"\b(vn_\w+);", (ROOT / "scripts/libvanilla.map").read_text()))
        self.assertEqual(shown, mapped)
        self.assertIn("libvanilla.so.0", run(["objdump", "-p", self.top / "lib/libvanilla.so.0"]))

    def test_no_library_of_ours_brings_in_cpp(self):
        for thing in ("bin/vanilla", "lib/libvanilla.so"):
            self.assertNotIn("libstdc++", run(["ldd", self.top / thing]))

    def test_installed_program_runs(self):
        self.assertIn("0.1.0", run([self.top / "bin/vanilla", "--version"]))

    def test_pkg_config_knows_version_and_folders(self):
        self.assertEqual(self.pkg_config("--modversion"), ["0.1.0"])
        self.assertEqual(self.pkg_config("--cflags"), [f"-I{self.top}/include"])
        self.assertIn("prefix=/opt/vn\n", (self.top / "lib/pkgconfig/vanilla.pc").read_text())


def load_tests(loader, tests, _pattern):
    """Programs of users are built without sanitizers, so they cannot link a library that has them."""
    return unittest.TestSuite() if SANITIZED else tests


if __name__ == "__main__":
    unittest.main()
