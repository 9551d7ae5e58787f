"""The heap of a process with glibc's allocator, read chunk by chunk.

Each chunk begins with 8 bytes of the chunk before it and with its own length, whose lowest bit tells whether the chunk
before it is in use (https://sourceware.org/glibc/wiki/MallocInternals). Freed chunks in the cache of a thread count as
in use.
"""

import struct

SMALLEST_CHUNK = 32


def freed_bytes(process):
    """Resident bytes of the heap that the program has freed: glibc keeps them to allocate them again. It returns only
    what lies above the last chunk in use, and that only if it is more than a threshold, which glibc raises to twice the
    largest block that was ever freed, up to 64 MiB."""
    heap, resident = heap_range(process)
    return resident - in_use(process, heap) if heap else 0


def heap_range(process):
    """The addresses of the heap, and its resident bytes."""
    heap = None
    with open(f"/proc/{process}/smaps") as smaps:
        for line in smaps:
            if line.rstrip().endswith("[heap]"):
                heap = [int(address, 16) for address in line.split()[0].split("-")]
            elif heap and line.startswith("Rss:"):
                return heap, int(line.split()[1]) * 1024
    return None, 0


def in_use(process, heap):
    """Bytes of the chunks in use."""
    start, end = heap
    with open(f"/proc/{process}/mem", "rb", 0) as memory:
        memory.seek(start)
        contents = memory.read(end - start)
    at, length, used = 0, 0, 0
    while at + 16 <= len(contents):
        before = length
        (field,) = struct.unpack_from("<Q", contents, at + 8)
        length = field & ~7
        used += before if field & 1 else 0
        if length < SMALLEST_CHUNK or at + length > len(contents):
            raise AssertionError(f"no chunk at {at:#x} of the heap")
        at += length
    return used
