"""What the checks of the documentation share: pages, their programs and commands, and the report."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "docs"
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Report:
    """Counts checks, and prints a line for each."""

    def __init__(self):
        self.passed = self.failed = 0

    def ok(self, text):
        self.passed += 1
        print(f"ok      {text}", flush=True)

    def bad(self, text):
        self.failed += 1
        print(f"FAILED  {text}", flush=True)

    def judge(self, text, problems):
        """One check, which lists what it finds."""
        if problems:
            self.bad(text)
            for problem in problems:
                print(f"        {problem}", flush=True)
        else:
            self.ok(text)

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def pages():
    """The texts for newcomers, by path."""
    paths = [ROOT / "README.md", ROOT / "examples/README.md", *sorted((ROOT / "src/guide").glob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def blocks(text, *languages):
    """The code blocks of a page in one of the languages."""
    return [code for info, code in BLOCK.findall(text) if info.split(",")[0].strip() in languages]


def programs(text):
    """The Rust programs of a page. Blocks without a language are Rust, as rustdoc has it."""
    return blocks(text, "rust", "no_run", "")


def commands(text):
    """Lines of shell blocks, and commands of cargo in backticks, which may be wrapped."""
    lines = [line for code in blocks(text, "sh", "console", "bash") for line in code.splitlines() if line.strip()]
    inline = re.findall(r"`((?:[A-Z_]+=\S+ )*cargo\s[^`]+)`", BLOCK.sub("", text))
    return lines + [" ".join(command.split()) for command in inline]


def complete(program):
    """The program with the lines that rustdoc hides and a `main`, without conditions on features of its own crate."""
    lines, is_excluded = [], False
    for line in program.splitlines():
        if line.startswith("# #[cfg(not("):
            is_excluded = True
        elif is_excluded:
            is_excluded = False
        elif not line.startswith("# #[cfg("):
            lines.append("" if line == "#" else line.removeprefix("# "))
    text = "\n".join(lines) + "\n"
    if "fn main()" in text:
        return text
    result = " -> Result<(), Box<dyn std::error::Error>>" if "\nOk::<" in text else ""
    return f"fn main(){result} {{\n{text}}}\n"


def features(program):
    """The features that a program is conditional on."""
    return set(re.findall(r'feature = "([^"]+)"', "\n".join(
        line for line in program.splitlines() if line.startswith("# #[cfg("))))


def run(command, folder=ROOT, seconds=600, **environment):
    """Runs a command to its end: the process and what it printed."""
    return subprocess.run(
        command, cwd=folder, shell=isinstance(command, str), timeout=seconds, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, "CARGO_TARGET_DIR": str(TARGET), "CARGO_TERM_COLOR": "never", **environment})


def last_lines(text, count=12):
    return [line for line in text.splitlines() if line.strip()][-count:]
