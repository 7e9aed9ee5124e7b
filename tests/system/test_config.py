# SPDX-License-Identifier: MIT
"""test_config - options from a file: run -c, check -c, and where `show config` says that a value came from"""
import pathlib
import unittest

from support import ANY_PORT, VANILLA, Case, Service, ask, helper


class FromFile(Service):
    """`vanilla run -c FILE`; the rest as in Service."""

    def __init__(self, text, *flags, folder, workers, env=None):
        path = pathlib.Path(folder) / "v.conf"
        path.write_text(text)
        self.path = path
        super().__init__(VANILLA, "run", "-c", path, "-s", f"{folder}/control.sock", *flags, folder=folder, env=env,
                         ready=False)
        self.workers_wanted = workers
        self.wait_ready()


class Config(Case):

    def run_from(self, text, *flags, workers, env=None):
        broker = FromFile(text, *flags, folder=self.folder(), workers=workers, env=env)
        self.addCleanup(broker.clean)
        return broker

    def check(self, text):
        path = pathlib.Path(self.folder()) / "v.conf"
        path.write_text(text)
        code, output = self.run_to_end(VANILLA, "check", "-c", path)
        return code, output.replace(str(path), "FILE")

    def test_a_service_from_a_file(self):
        broker = self.run_from(f'program = {{"{helper("probe")}", "-r", "web"}}\n'
                               f'workers = 2\nlisten = {{"web={ANY_PORT}"}}\n\ndepth = 5\nretries = 5\n',
                               "--depth", "7", workers=2, env={"VANILLA_RETRIES": "6", "VANILLA_DEPTH": "8"})
        with broker.connect() as client:
            self.assertEqual(ask(client, "echo here"), "here")
        shown = {c["name"]: (c["value"], c["source"], c["where"]) for c in broker.show("config")}
        self.assertEqual(shown["workers"], ("2", "file", f"{broker.path}:2"))
        self.assertEqual(shown["listen"], (f"web={ANY_PORT}", "file", f"{broker.path}:3"))
        self.assertEqual(shown["depth"], ("7", "flag", "--depth"))
        self.assertEqual(shown["retries"], ("6", "variable", "VANILLA_RETRIES"))
        self.assertEqual(shown["drain-timeout"], ("30s", "default", None))
        self.assertEqual(shown["program"], (f"{helper('probe')} -r web", "file", f"{broker.path}:1"))
        self.assertEqual(shown["config"], (str(broker.path), "flag", "--config"))
        text = broker.command("show config").splitlines()
        self.assertEqual(text[0].split(), ["name", "value", "source", "where"])
        self.assertEqual(len(text) - 3, len(shown))
        broker.stop()

    def test_the_command_line_names_another_program(self):
        broker = self.run_from('program = {"/nowhere"}\nworkers = 1\n', "--", helper("probe"), ANY_PORT, workers=1)
        shown = {c["name"]: c["source"] for c in broker.show("config")}
        self.assertEqual(shown["program"], "flag")
        broker.stop()

    def test_check_says_what_is_wrong_and_where(self):
        self.assertEqual(self.check('workers = 2\nprogram = {"x"}\n'), (0, "FILE: nothing is wrong with it\n"))
        code, output = self.check("workers = 2\n\ndepth = many\nwindow = 1\n")
        self.assertEqual(code, 78)
        self.assertEqual(output, "FILE:4: window wants a size from 4k to 64M, such as 256k, not '1'\n"
                                 "FILE:3: depth wants a number from 1 to 65535, not 'many'\n")
        self.assertEqual(self.check("\nwrokers = 2\n"), (78, "FILE:2: no such option 'wrokers'\n"))
        code, output = self.run_to_end(VANILLA, "check", "-c", "/nowhere/v.conf")
        self.assertEqual((code, output), (78, "/nowhere/v.conf: cannot be read: No such file or directory\n"))
        self.assertEqual(self.run_to_end(VANILLA, "check")[0], 2)
        self.assertEqual(self.run_to_end(VANILLA, "check", "--help")[0], 0)

    def test_run_refuses_a_bad_file_in_the_same_words(self):
        path = pathlib.Path(self.folder()) / "v.conf"
        path.write_text("depth = many\n")
        for argv, env in (("-c", path), None), ((), {"VANILLA_CONFIG": str(path)}):
            code, output = self.run_to_end(VANILLA, "run", *argv, "--", "/bin/true", env=env)
            self.assertEqual((code, output), (78, f"vanilla: {path}:1: depth wants a number from 1 to 65535, "
                                                  "not 'many'\n"))
        path.write_text("depth = 3\n")
        code, output = self.run_to_end(VANILLA, "run", "-c", path)
        self.assertEqual((code, output), (2, f"vanilla: no program to run: neither in {path} nor after '--'\n"))


if __name__ == "__main__":
    unittest.main()
