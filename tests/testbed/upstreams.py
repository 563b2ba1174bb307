"""What hosts of a test bed fetch: the upstreams' own sources where somebody gave them, else stand-ins built likewise.

`SOURCES=folder` names a folder with `mutilate` (its repository, or its files), `memcached-VERSION.tar.gz`, or both.
`python -m tests.testbed.upstreams` ends with 2 and says which of them is missing.
"""

import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

from mustherd.testbed.bed import Bed
from mustherd.testbed.images import BedError, run

SERVER = """
import socket, sys
if "--version" in sys.argv:
    print("memcached 9.9.9")
    sys.exit()
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
server = socket.create_server((given["-l"], int(given["-p"])))
while True:
    server.accept()[0].close()
"""
CONFIGURE = """#!/bin/sh
cat > Makefile <<'END'
memcached: memcached.py
	printf '#!/usr/bin/python3\\n' > memcached && cat memcached.py >> memcached && chmod 755 memcached
test: memcached
	./memcached --version
install: memcached
	install -m 755 memcached /usr/local/bin/memcached
END
"""
SCONSTRUCT = """#!/usr/bin/python
import os
env = Environment(ENV = os.environ)
print "Checking for gengetopt...",
if env.Execute("@which gengetopt &> /dev/null"):
    print "not found (required)"
    Exit(1)
else: print "found"
env.Program(target='mutilate', source=['mutilate.cc', 'Generator.cc'])
"""
GENERATOR = """#include <cstring>
#include <cstdlib>
double parameters(char *a_ptr) {
  char *saveptr = NULL;
  char *s1 = strtok_r(a_ptr, ",", &saveptr);
  char *s2 = strtok_r(NULL, ",", &saveptr);
  char *s3 = strtok_r(NULL, ",", &saveptr);
  return (s1 ? atof(s1) : 0) + (s2 ? atof(s2) : 0) + (s3 ? atof(s3) : 0);
}
"""
MUTILATE = r"""#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
double parameters(char *a_ptr);
static std::string given(int count, char **words, const char *name, const char *otherwise) {
  std::string start = std::string("--") + name + "=";
  for (int k = 1; k < count; k++)
    if (!strncmp(words[k], start.c_str(), start.size())) return words[k] + start.size();
  return otherwise;
}
static bool has(int count, char **words, const char *name) {
  for (int k = 1; k < count; k++)
    if (!strncmp(words[k], name, strlen(name))) return true;
  return false;
}
int main(int count, char **words) {
  if (has(count, words, "--version")) { printf("mutilate 0.1 %g\n", parameters(NULL)); return 0; }
  if (has(count, words, "--loadonly")) return 0;
  if (has(count, words, "--agentmode")) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    sockaddr_in any = {};
    any.sin_family = AF_INET;
    any.sin_port = htons(5556);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (sockaddr *)&any, sizeof any) || listen(listener, 8)) return 1;
    for (;;) close(accept(listener, NULL, NULL));
  }
  double seconds = atof(given(count, words, "time", "1").c_str());
  double qps = atof(given(count, words, "qps", "1000").c_str());
  double own = atof(given(count, words, "measure_qps", "0").c_str());
  usleep((useconds_t)(1e6 * (1.5 + atof(given(count, words, "warmup", "0").c_str()))));
  timeval now;
  gettimeofday(&now, NULL);
  fprintf(stderr, "mutilate.cc(979): started at %ld.%06ld\n", (long)now.tv_sec, (long)now.tv_usec);
  usleep((useconds_t)(1e6 * seconds));
  if (own) fprintf(stderr, "mutilate.cc(740): Local QPS = %.1f (%.0f / %.1fs)\n", own, own * seconds, seconds);
  std::string save = given(count, words, "save", "");
  if (!save.empty()) {
    FILE *file = fopen(save.c_str(), "w");
    for (int k = 0; k < 1000; k++) fprintf(file, "%d.5 %d.5\n", k, 100 + k % 97);
    fclose(file);
  }
  printf("#type       avg     std     min     5th    10th    90th    95th    99th\n"
         "read      181.6   553.9    11.9    19.6    25.2   134.3   602.2   931.8\n"
         "update    181.6   553.9    11.9    19.6    25.2   134.3   602.2   931.8\n"
         "op_q        1.0     0.0     1.0     1.0     1.0     1.1     1.1     1.1\n\n"
         "Total QPS = %.1f (%.0f / %.1fs)\n\nMisses = 0 (0.0%%)\nSkipped TXs = 0 (0.0%%)\n\n"
         "RX   24613056 bytes :    4.7 MB/s\nTX    3587328 bytes :    0.7 MB/s\n", qps, qps * seconds, seconds);
}
"""
"""Answers as mutilate would, and loads nothing: what is around it is real."""
FILES = {"SConstruct": SCONSTRUCT, "Generator.cc": GENERATOR, "mutilate.cc": MUTILATE}


MUTILATE_IS = "mutilate (a clone of its repository, or a folder with its SConstruct)"
MEMCACHED_IS = "memcached-VERSION.tar.gz (a release of it)"


def missing(folder: Path | None) -> list[str]:
    """What `folder` lacks of the sources that a rehearsal builds from, as text for a message."""
    if folder is None:
        return [MUTILATE_IS, MEMCACHED_IS]
    there = folder / "mutilate"
    mutilate = any((there / name).exists() for name in (".git", "HEAD", "SConstruct"))
    memcached = any(file.is_file() for file in folder.glob("memcached-*.tar.gz"))
    return [text for text, found in ((MUTILATE_IS, mutilate), (MEMCACHED_IS, memcached)) if not found]


def sources() -> Path | None:
    """The folder that SOURCES names, None where it names none.

    Raises BedError for one that has nothing of what is looked for: stand-ins would pass for what was meant.
    """
    if not os.environ.get("SOURCES"):
        return None
    folder = Path(os.environ["SOURCES"]).resolve()
    if len(missing(folder)) == len(missing(None)):
        raise BedError(f"SOURCES={folder}: nothing to build from; fix: put {' or '.join(missing(folder))} there")
    return folder


def main() -> int:
    """Say what is missing of the sources; 2 where anything is."""
    given = os.environ.get("SOURCES")
    lacks = missing(Path(given).resolve() if given else None)
    if lacks:
        where = f"SOURCES={given}" if given else "SOURCES is not given"
        print(f"{where}: missing {', '.join(lacks)}; fix: make test-sources SOURCES=folder with them", file=sys.stderr)
    return 2 if lacks else 0


class Upstreams:
    """Served by a bed's mirror."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._folder = sources()

    def mutilate(self) -> dict[str, Any]:
        """The variables that have the role build it."""
        given = self._folder / "mutilate" if self._folder is not None else None
        bare = self._bed.files / "mutilate.git"
        if given is not None and ((given / ".git").exists() or (given / "HEAD").exists()):
            run("git", "clone", "--quiet", "--bare", str(given), str(bare))
        else:
            tree = self._bed.folder / "mutilate"
            if given is not None and given.is_dir():
                shutil.copytree(given, tree)
            else:
                tree.mkdir()
                for name, text in {
                    "SConstruct": SCONSTRUCT,
                    "Generator.cc": GENERATOR,
                    "mutilate.cc": MUTILATE,
                }.items():
                    (tree / name).write_text(text)
            git = ("git", "-C", str(tree), "-c", "user.name=t", "-c", "user.email=t@example.org")
            run(*git, "init", "--quiet")
            run(*git, "add", "--force", ".")
            run(*git, "commit", "--quiet", "--message", "As given")
            run("git", "clone", "--quiet", "--bare", str(tree), str(bare))
        run("git", "-C", str(bare), "update-server-info")
        return {
            "memcached_mutilate_repository": f"{self._bed.mirror.url}/mutilate.git",
            "memcached_mutilate_revision": run("git", "-C", str(bare), "rev-parse", "HEAD").stdout.strip(),
        }

    def memcached(self) -> dict[str, Any]:
        """The variables that have the role build it, or else take the distribution's package."""
        given = sorted(self._folder.glob("memcached-*.tar.gz")) if self._folder is not None else []
        if not given:
            return {"memcached_mutilate_memcached": "package"}
        shutil.copy(given[-1], self._bed.files / given[-1].name)
        return {
            "memcached_mutilate_version": given[-1].name.removeprefix("memcached-").removesuffix(".tar.gz"),
            "memcached_mutilate_url": f"{self._bed.mirror.url}/{given[-1].name}",
            "memcached_mutilate_checksum": f"sha256:{hashlib.sha256(given[-1].read_bytes()).hexdigest()}",
            "memcached_mutilate_run_tests": False,
        }

    def tarball(self, name: str, files: dict[str, str]) -> str:
        """Serve NAME.tar.gz with these files, all executable; gives its SHA-256."""
        tree = self._bed.folder / name
        for path, text in files.items():
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        served = self._bed.files / f"{name}.tar.gz"
        with tarfile.open(served, "w:gz") as tar:
            tar.add(tree, arcname=name)
        return hashlib.sha256(served.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
