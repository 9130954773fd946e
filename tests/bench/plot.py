#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The figures of `make bench` as one picture: clatch beside its peers, and its cost against the
number of latches.

  plot.py BENCH.json PICTURE.svg
"""

import json
import pathlib
import subprocess
import sys

PEERS = {"empty": "empty pair", "clatch": "clatch", "clatch_identity": "clatch, identity and rule",
         "clatch_dev": "clatch, device too", "nft": "nftables"}
COLOURS = "#bbbbbb", "#0072b2", "#56b4e9", "#009e73", "#d55e00"
GROWN = {"udp": "UDP round trip", "tcp": "TCP round trip", "lookup": "one lookup of any latch"}

HEAD = """\
set terminal svg size 960,400 font "sans,12" background "white"
set output "{out}"
set multiplot layout 1,2
set logscale y
set ytics nomirror
set xtics nomirror
set grid ytics lc rgb "#dddddd"
set border 3
"""

BESIDE = """\
set title "A round trip over ESP: instructions more than without"
set style data histograms
set style histogram clustered gap 1
set style fill solid border -1
set key top left samplen 1
set bmargin 4
set yrange [50:100000]
"""

GROWTH = """\
set title "clatch's instructions, by the number of latches"
set style data linespoints
set logscale x
set xrange [500:2000000]
set xlabel "latches"
set format x "%.0s%c"
set key top left samplen 2
plot {}
"""


def block(name, rows):
    lines = "\n".join(" ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in row)
                      for row in rows)
    return f"${name} << EOD\n{lines}\nEOD\n"


def beside(trips):
    """Of a round trip: what each costs more than none."""
    rows = [(kind.replace(", ", "\\n"), *(cases[p] - cases["none"] for p in PEERS))
            for kind, cases in trips.items()]
    columns = (f'$beside using {i + 2}:xtic(1) title "{title}" lc rgb "{COLOURS[i]}"'
               for i, title in enumerate(PEERS.values()))
    return block("beside", rows) + BESIDE + "plot " + ", ".join(columns) + "\n"


def growth(found):
    rows = [(int(latches), *(of[g] - found["none"].get(g, 0) for g in GROWN))
            for latches, of in found["latches"].items()]
    columns = (f'$growth using 1:{i + 2} title "{title}" lw 2 pt 7 lc rgb "{colour}"'
               for i, (title, colour) in enumerate(zip(GROWN.values(), COLOURS[1:])))
    return block("growth", rows) + GROWTH.format(", ".join(columns))


def main(data, out):
    found = json.loads(pathlib.Path(data).read_text())
    script = HEAD.format(out=out) + beside(found["round_trip"]) + growth(found["growth_counted"])
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
