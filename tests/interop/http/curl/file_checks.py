"""curl as a client of the server example: files, ranges, conditions, and paths that must not be served.

    python3 file_checks.py URL FOLDER_OF_SERVED_FILES
"""

import email.utils
import os
import pathlib
import sys
import tempfile
import time
import urllib.parse

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "peers")]
import curl as curl_command  # noqa: E402
import site_files  # noqa: E402
from checks import check, equal, run  # noqa: E402

BASE, ROOT = sys.argv[1].rstrip("/"), pathlib.Path(sys.argv[2])
# The peers over http and https run at the same time, with the same files.
CHANGING = f"changing-{urllib.parse.urlsplit(BASE).scheme}.txt"
DATA, COMPRESSED = site_files.data(), site_files.COMPRESSED


def curl(path, *options, **more):
    return curl_command.curl(f"{BASE}/files{path}", "--path-as-is", *options, **more)


def header(line):
    return "--header", line


@check("files have a type by their extension, a length, validators, and no other type")
def types():
    for name, content_type in (("page.html", "text/html; charset=utf-8"), ("data.bin", "application/octet-stream"),
                               ("data.json", "application/json; charset=utf-8"), ("folder/inner.txt", "text/plain; "
                               "charset=utf-8"), ("a..b", "application/octet-stream"), ("empty.txt", "text/plain; "
                               "charset=utf-8")):
        answer = curl(f"/{name}")
        equal((name, answer.status, answer.headers["content-type"]), (name, 200, content_type))
        equal(answer.body == (ROOT / name).read_bytes(), True)
        equal(int(answer.headers["content-length"]), len(answer.body))
        modified = email.utils.parsedate_to_datetime(answer.headers["last-modified"]).timestamp()
        equal(modified, int((ROOT / name).stat().st_mtime))
        equal((answer.headers["accept-ranges"], answer.headers["x-content-type-options"]), ("bytes", "nosniff"))
        equal(answer.headers["etag"].strip('"') != "", True)


@check("names with spaces, percent signs, plus signs and other scripts are found")
def names():
    for path in ("/with%20space/100%25%20caf%C3%A9%2B1.txt", "/with%20space/100%25%20caf%c3%a9+1.txt"):
        equal(curl(path).text, "named")
    equal(curl("/folder/inner.txt?version=2&x=%ff").text, "inner")
    equal(curl("/f%6flder/%69nner.txt").text, "inner")
    equal(curl("/.well-known/security.txt").text, "Contact: none")
    equal(curl("/link-within.txt").text, "inner")


@check("HEAD of a file has the headers of GET and no body")
def head():
    get, got = curl("/data.bin"), curl("/data.bin", "--head", *header("Range: bytes=0-9"))
    equal((got.status, got.report["size_download"]), (200, 0))
    for headers in (get.headers, got.headers):
        headers.pop("date")
    equal(got.headers, get.headers)


@check("one range of bytes is answered with 206")
def ranges():
    size = len(DATA)
    for value, first, last in (("0-0", 0, 0), ("100-199", 100, 199), ("-5", size - 5, size - 1),
                               (f"{size - 1}-", size - 1, size - 1), ("0-", 0, size - 1),
                               ("65536-1999999", 65536, 1999999), (f"10-{size * 2}", 10, size - 1),
                               (f"-{size * 2}", 0, size - 1), ("0-99999999999999999999999", 0, size - 1)):
        answer = curl("/data.bin", *header(f"Range: bytes={value}"))
        equal((value, answer.status, answer.headers["content-range"]), (value, 206, f"bytes {first}-{last}/{size}"))
        equal(answer.body == DATA[first : last + 1], True)


@check("range outside of the file is answered with 416 and the length")
def unsatisfiable():
    for name, value in (("data.bin", f"{len(DATA)}-"), ("data.bin", "-0"), ("empty.txt", "0-"), ("empty.txt", "-1")):
        answer = curl(f"/{name}", *header(f"Range: bytes={value}"))
        equal((answer.status, answer.headers["content-range"]), (416, f"bytes */{(ROOT / name).stat().st_size}"))


@check("several ranges, unknown units and malformed ranges are answered with the whole file")
def ignored_ranges():
    for value in ("bytes=0-1,5-6", "lines=0-1", "bytes=5-1", "bytes=x-y", "bytes=--5", "bytes"):
        answer = curl("/page.html", *header(f"Range: {value}"))
        equal((value, answer.status, answer.body), (value, 200, (ROOT / "page.html").read_bytes()))


@check("interrupted download is resumed")
def resumed():
    with tempfile.TemporaryDirectory() as folder:
        part = pathlib.Path(folder, "part")
        part.write_bytes(DATA[:1_234_567])
        report = curl_command.run("--continue-at", "-", "--output", str(part), "--write-out", "%{size_download}",
                                  f"{BASE}/files/data.bin")
        equal((int(report), part.read_bytes() == DATA), (len(DATA) - 1_234_567, True))


@check("If-None-Match with the entity tag is answered with 304 and no body")
def if_none_match():
    first = curl("/data.bin")
    tag = first.headers["etag"]
    for value in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = curl("/data.bin", *header(f"If-None-Match: {value}"))
        equal((value, answer.status, answer.body, answer.headers["etag"]), (value, 304, b"", tag))
        equal({"content-type", "content-encoding"} & set(answer.headers), set())
    equal(curl("/data.bin", *header('If-None-Match: "other"')).body == DATA, True)
    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder, "tag")
        equal(curl("/data.bin", "--etag-save", str(saved)).status, 200)
        equal(curl("/data.bin", "--etag-compare", str(saved)).status, 304)


@check("If-Modified-Since, as curl sends it, is answered with 304 unless the file is newer")
def if_modified_since():
    file = ROOT / CHANGING
    file.write_text("first")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    equal(curl(f"/{CHANGING}", "--time-cond", "Sun, 09 Sep 2001 01:46:40 GMT").status, 304)
    equal(curl(f"/{CHANGING}", "--time-cond", "Sun, 09 Sep 2001 01:46:39 GMT").text, "first")
    equal(curl(f"/{CHANGING}", "--time-cond", "Sun, 09 Sep 2001 01:46:41 GMT").status, 304)
    # If-None-Match counts before the date.
    answer = curl(f"/{CHANGING}", *header('If-None-Match: "other"'),
                  *header("If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"))
    equal(answer.status, 200)


@check("If-Match and If-Unmodified-Since that fail are answered with 412")
def preconditions():
    tag = curl("/data.bin").headers["etag"]
    for line, status in ((f"If-Match: {tag}", 200), ("If-Match: *", 200), ('If-Match: "other"', 412),
                         ("If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT", 412),
                         (f"If-Unmodified-Since: {email.utils.formatdate(time.time() + 60, usegmt=True)}", 200)):
        equal((line, curl("/data.bin", *header(line)).status), (line, status))


@check("range counts only if If-Range names the file as it is")
def if_range():
    first = curl("/data.bin")
    tag, date = first.headers["etag"], first.headers["last-modified"]
    for value, status in ((tag, 206), (date, 206), ('"other"', 200), (f"W/{tag}", 200),
                          ("Sun, 09 Sep 2001 01:46:40 GMT", 200)):
        answer = curl("/data.bin", *header(f"If-Range: {value}"), *header("Range: bytes=4-7"))
        equal((value, answer.status), (value, status))
        equal(answer.body == (DATA[4:8] if status == 206 else DATA), True)


@check("changed file has another entity tag, and its new content")
def changed():
    file = ROOT / CHANGING
    file.write_text("first")
    tag = curl(f"/{CHANGING}").headers["etag"]
    file.write_text("other")
    answer = curl(f"/{CHANGING}", *header(f"If-None-Match: {tag}"))
    equal((answer.status, answer.text, answer.headers["etag"] != tag), (200, "other", True))


@check("compressed neighbours are sent to clients that accept them, and decoded by curl")
def compressed():
    for accepted, coding in (("br", "br"), ("gzip", "gzip"), ("gzip, br", "br"), ("GZIP;q=0.5", "gzip"),
                             ("br;q=0, gzip", "gzip"), ("deflate", None), ("identity", None), ("br;q=0", None),
                             ("gzip ; q=0.000", None), ("gzip;Q=0", None)):
        answer = curl("/app.js", "--compressed", *header(f"Accept-Encoding: {accepted}"))
        equal((accepted, answer.status, answer.headers.get("content-encoding")), (accepted, 200, coding))
        equal((answer.text, answer.headers["vary"]), (COMPRESSED, "Accept-Encoding"))
        equal("javascript" in answer.headers["content-type"], True)
        equal(answer.report["size_download"] < len(COMPRESSED), coding is not None)
    answer = curl("/app.js", "--compressed")
    equal((answer.headers["content-encoding"], answer.text), ("br", COMPRESSED))
    answer = curl("/only-gzip.css", "--compressed")
    equal((answer.headers["content-encoding"], answer.text), ("gzip", COMPRESSED))


@check("each coding has its own entity tag and its own ranges")
def coded_ranges():
    plain, coded = curl("/app.js"), curl("/app.js", *header("Accept-Encoding: gzip"))
    equal(plain.headers["etag"] != coded.headers["etag"], True)
    part = curl("/app.js", *header("Accept-Encoding: gzip"), *header("Range: bytes=2-9"),
                *header(f"If-Range: {coded.headers['etag']}"))
    equal((part.status, part.body), (206, (ROOT / "app.js.gz").read_bytes()[2:10]))
    answer = curl("/app.js", *header("Accept-Encoding: gzip"), *header(f"If-None-Match: {coded.headers['etag']}"))
    equal((answer.status, answer.headers["vary"]), (304, "Accept-Encoding"))
    equal(curl("/app.js", *header(f"If-None-Match: {coded.headers['etag']}")).status, 200)


@check("compressed neighbour that is a FIFO or leads outside is not sent")
def bad_neighbours():
    answer = curl("/page.html", *header("Accept-Encoding: gzip"))
    equal((answer.status, answer.body), (200, (ROOT / "page.html").read_bytes()))
    equal(curl("/link-out.js", *header("Accept-Encoding: gzip")).text, "not compressed")


@check("folder is redirected to its path with a slash, and answered with its index.html")
def folders():
    for path, page in (("/folder", "Folder"), ("", "Files"), ("/folder?x=1", "Folder")):
        answer = curl(path)
        equal(answer.status, 301)
        followed = curl(path, "--location", "--max-redirs", "3")
        equal((followed.status, followed.text), (200, f"<title>{page}</title>"))
    equal(curl("/folder/").text, "<title>Folder</title>")
    equal(curl("/folder/", "--head").status, 200)


@check("folder without index.html, and a file with a slash, are answered with 404")
def no_index():
    for path in ("/empty%20folder", "/empty%20folder/", "/index.html/", "/folder/inner.txt/", "/index.html/x",
                 "/missing", "/missing/"):
        equal((path, curl(path).status), (path, 404))


TRAVERSALS = [
    "/../secret.txt", "/../../secret.txt", "/folder/../../secret.txt", "/./../secret.txt", "/%2e%2e/secret.txt",
    "/.%2e/secret.txt", "/%2E./secret.txt", "/..%2fsecret.txt", "/%2e%2e%2fsecret.txt", "/..%5csecret.txt",
    "/..\\secret.txt", "/%252e%252e/secret.txt", "/..%252fsecret.txt", "/..;/secret.txt", "/..%00/secret.txt",
    "/%c0%ae%c0%ae/secret.txt", "/..%c0%afsecret.txt", "/%uff0e%uff0e/secret.txt", "/folder/..%2f..%2fsecret.txt",
    "/../root-beside/secret.txt", "/../root/index.html", "/folder/../index.html", "/folder/%2e/inner.txt",
    "/%2f..%2fsecret.txt", "//etc/passwd", "/%2fetc%2fpasswd", "/folder//inner.txt", "/C:/secret.txt",
    "/index.html%00.txt", "/index.html%0a", "/.env", "/%2eenv", "/.hidden/config", "/.hidden/", "/.hidden",
    "/link-out.txt", "/link-out-absolute.txt", "/link-out-folder/secret.txt", "/link-out-folder", "/link-out-folder/",
    "/link-beside/secret.txt", "/link-to-itself", "/link-to-nothing", "/link-to-itself/x", "/link-out.js.gz",
]


@check("paths out of the root, hidden names, and links to the outside are answered with 404 or 400")
def traversals():
    served = []
    for path in TRAVERSALS:
        answer = curl(path)
        if answer.status not in (400, 404) or site_files.SECRET.encode() in answer.body or b"root:" in answer.body:
            served.append((path, answer.status))
    equal(served, [])


@check("paths above the files' own, encoded or not, reach no file")
def outside_of_prefix():
    for target in ("/files/../files/index.html", "/../files/index.html", "/./files/index.html", "/files%2findex.html",
                   "/x/../files/index.html", "//files/index.html", "/files/..", "/files/../"):
        answer = curl_command.curl(BASE + target, "--path-as-is")
        equal((target, answer.status), (target, 404))


@check("FIFO is answered with 404 at once")
def fifo():
    started = time.monotonic()
    for method in ("GET", "HEAD"):
        equal(curl("/fifo", *(["--head"] if method == "HEAD" else [])).status, 404)
    equal(curl("/page.html.gz").status, 404)
    equal(time.monotonic() - started < 10, True)
    equal(curl_command.curl(f"{BASE}/health").text, "ok")


@check("names and paths that are too long are answered with 404")
def long_names():
    name = "%C3%BC" * len(site_files.LONG_NAME)
    for path in ("/" + "a" * 255, "/" + "a" * 256, "/" + "a" * 3000, f"/{name}", "/a" * 2000, f"/folder/{name}/x",
                 "/" + "/".join(["a" * 255] * 15)):
        answer = curl(path)
        equal((path[:10], len(path), answer.status), (path[:10], len(path), 404))


@check("100 files are sent on one connection, whatever was answered before")
def many():
    names = ["data.json", "folder/", "missing", "app.js", "empty.txt", "link-out.txt"]
    urls = [f"{BASE}/files/{names[number % len(names)]}" for number in range(100)]
    output = [option for _ in urls for option in ("--output", "/dev/null")]
    report = curl_command.run("--write-out", "%{http_code} %{num_connects}\n", *output, *urls).splitlines()
    equal(sum(int(line.split()[1]) for line in report), 1)
    equal([line.split()[0] for line in report[:6]], ["200", "200", "404", "200", "200", "404"])


run("files-https" if BASE.startswith("https") else "files")
