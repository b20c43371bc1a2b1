"""Runs a program under a seccomp profile, as a container runtime would:
`sandbox.py PROFILE PROGRAM ARGUMENT...`.

The profile is in the format that Docker, Podman and containerd share. It is loaded
through libseccomp, which is what they use as well, and the process then becomes the
program, so its pid stays the same.
"""

import ctypes
import errno
import json
import os
import sys

# include/seccomp.h of libseccomp.
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
OPERATIONS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [
        ("index", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def library():
    found = ctypes.CDLL("libseccomp.so.2")
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Comparison),
    ]
    found.seccomp_load.argtypes = [ctypes.c_void_p]
    return found


def must(code, text):
    if code < 0:
        raise OSError(-code, f"{text}: {os.strerror(-code)}")


def action(name, error):
    if name == "SCMP_ACT_ALLOW":
        return ALLOW
    if name == "SCMP_ACT_ERRNO":
        return ERRNO | error
    raise ValueError(f"the action {name} is not known here")


def load(profile):
    """From here on the process may do what the profile allows. Nothing undoes it."""
    seccomp = library()
    context = seccomp.seccomp_init(action(profile["defaultAction"], profile["defaultErrnoRet"]))
    for rule in profile["syscalls"]:
        verdict = action(rule["action"], rule.get("errnoRet", errno.EPERM))
        arguments = [
            Comparison(
                argument["index"],
                OPERATIONS[argument["op"]],
                argument["value"],
                argument.get("valueTwo", 0),
            )
            for argument in rule.get("args", ())
        ]
        comparisons = (Comparison * len(arguments))(*arguments)
        for name in rule["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            # Negative: a call of another architecture, or newer than the library.
            if number >= 0:
                code = seccomp.seccomp_rule_add_array(
                    context, verdict, number, len(arguments), comparisons
                )
                must(code, f"a rule for {name}")
    must(seccomp.seccomp_load(context), "loading the filter")


def main():
    with open(sys.argv[1]) as file:
        profile = json.load(file)
    load(profile)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
