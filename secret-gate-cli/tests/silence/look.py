"""Looks for byte strings in a process, in every way that the system offers to whoever runs this.

Usage: look.py PID [memory]. The strings come on standard input, in hex, one a line. It prints a line for each thing tried,
`shut WHAT ERROR` or `open WHAT BYTES`, and after it `found WHAT COUNT NUMBER` for each string that stands there. With
`memory`, nothing but the memory is read.
"""

import ctypes
import errno
import os
import stat
import sys

PIECE = 1 << 20
PTRACE_SEIZE, PTRACE_DETACH, PIDFD_OPEN, PIDFD_GETFD = 0x4206, 17, 434, 438

pid = int(sys.argv[1])
strings = [bytes.fromhex(line) for line in sys.stdin]
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def shut(what, number):
    print("shut", what, errno.errorcode.get(number, number))


def opened(what, pieces):
    """Searches pieces that follow each other; a string may lie across two of them."""
    size, rest, counts = 0, b"", [0] * len(strings)
    longest = max(map(len, strings))
    for piece in pieces:
        size += len(piece)
        both = rest + piece
        for number, text in enumerate(strings):
            # what lies wholly in the rest was counted with the piece before
            counts[number] += both.count(text) - rest.count(text)
        rest = both[-(longest - 1):]
    print("open", what, size)
    for number, count in enumerate(counts):
        if count:
            print("found", what, count, number)


def file_pieces(descriptor):
    for _ in range(16):
        try:
            piece = os.read(descriptor, PIECE)
        except OSError:
            return
        if not piece:
            return
        yield piece


def try_file(path, what):
    try:
        is_file = stat.S_ISREG(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        return shut(what, error.errno)
    with os.fdopen(descriptor, "rb"):
        # what stands in a pipe is not taken away from whom it is for
        opened(what, file_pieces(descriptor) if is_file else [])


def try_files():
    top = f"/proc/{pid}"

    def no_folder(error):
        shut(os.path.relpath(error.filename, top), error.errno)

    for folder, _, names in os.walk(top, onerror=no_folder):
        for name in sorted(names):
            # the first is tried as memory, the others hold no content
            if name not in ("mem", "pagemap", "clear_refs"):
                path = os.path.join(folder, name)
                try_file(path, os.path.relpath(path, top))


def regions():
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            span, mode, *_ = line.split()
            if mode[0] == "r":
                start, end = (int(part, 16) for part in span.split("-"))
                yield start, end, line.split()[-1] if line.count("/") or "[" in line else "memory"


def region_pieces(descriptor, start, end):
    at = start
    while at < end:
        try:
            piece = os.pread(descriptor, min(PIECE, end - at), at)
        except OSError:
            return
        if not piece:
            return
        at += len(piece)
        yield piece


def try_memory():
    try:
        descriptor = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        spans = list(regions())
    except OSError as error:
        return shut("mem", error.errno)
    with os.fdopen(descriptor, "rb"):
        print("open mem", len(spans))
        for start, end, name in spans:
            if not name.startswith("[v"):
                opened(f"mem:{name}:{start:x}-{end:x}".replace(" ", "_"), region_pieces(descriptor, start, end))


def attempt(what, result):
    if result < 0:
        shut(what, ctypes.get_errno())
        return False
    print("open", what, 0)
    return True


def try_calls():
    class Span(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(PIECE)
    try:
        spans = [(start, end) for start, end, _ in regions()]
    except OSError:
        spans = []
    here = Span(ctypes.addressof(buffer), 8)
    # without a map any address does: who may not look is told so first
    there = Span(spans[0][0] if spans else 0x1000, 8)
    attempt("process_vm_readv", libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0))
    handle = libc.syscall(PIDFD_OPEN, pid, 0)
    if attempt("pidfd_open", handle):
        attempt("pidfd_getfd", libc.syscall(PIDFD_GETFD, handle, 0, 0))
    if attempt("ptrace", libc.ptrace(PTRACE_SEIZE, pid, None, None)):
        libc.ptrace(PTRACE_DETACH, pid, None, None)


try_memory()
if sys.argv[2:] != ["memory"]:
    try_files()
    try_calls()
