# SPDX-License-Identifier: GPL-2.0-only
"""A container's only program: makes sockets when told to, and hands them out.

They stay in the container's cgroup and network namespace, whoever uses them.
"""

import array
import os
import socket

orders = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
orders.connect(os.path.join(os.path.dirname(os.path.abspath(__file__)), "orders"))
while words := orders.recv(100).split():
    try:
        with socket.socket(*map(int, words)) as made:
            orders.sendmsg([b"made"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", [made.fileno()]))])
    except OSError as error:
        orders.send(str(error).encode())
