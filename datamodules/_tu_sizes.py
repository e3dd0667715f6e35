"""How large the graphs of TUDataset's collections are, so that splits by size are known before any file is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Collection:
    """A collection's name and kinds of nodes, and for each number of nodes "nodes:graphs/graphs/edges".

    The graphs are counted by class, labels in ascending order; edges are the most of any of them, both directions of
    each.
    """

    name: str
    node_labels: int
    text: str

    @cached_property
    def sizes(self) -> dict[int, tuple[int, int, int]]:
        """Number of nodes → graphs of the first and of the second class, most edges."""
        found = {}
        for entry in self.text.split():
            nodes, _, rest = entry.partition(":")
            first, second, edges = map(int, rest.split("/"))
            found[int(nodes)] = (first, second, edges)
        return found

    def graphs(self, low: int, high: int) -> tuple[int, int]:
        """How many graphs of each class have from `low` to `high` nodes."""
        own = [entry for nodes, entry in self.sizes.items() if low <= nodes <= high]
        return sum(entry[0] for entry in own), sum(entry[1] for entry in own)

    def largest(self, high: int) -> tuple[int, int]:
        """The most nodes and the most edges of graphs of at most `high` nodes."""
        own = [(nodes, entry[2]) for nodes, entry in self.sizes.items() if nodes <= high]
        return max(nodes for nodes, _ in own), max(edges for _, edges in own)


COLLECTIONS = {
    "mutag": Collection(
        "MUTAG",
        7,
        """
        10:2/0/20 11:14/0/22 12:7/6/26 13:14/3/28 14:7/0/30 15:2/5/34 16:9/7/36 17:1/17/38 18:0/4/40
        19:1/15/44 20:1/13/46 21:2/6/48 22:2/13/50 23:0/18/54 24:1/3/50 25:0/6/58 26:0/5/60 27:0/1/66
        28:0/3/66
        """,
    ),
    "proteins": Collection(
        "PROTEINS",
        3,
        """
        4:1/12/12 5:0/20/18 6:3/22/24 7:6/13/30 8:3/22/32 9:3/17/38 10:6/27/44 11:10/18/46 12:9/15/50
        13:4/13/60 14:15/14/64 15:9/18/68 16:13/14/76 17:11/11/76 18:12/12/78 19:14/6/84 20:21/18/88
        21:15/9/96 22:19/14/110 23:27/6/110 24:18/16/108 25:7/5/118 26:12/7/114 27:20/8/124 28:10/3/128
        29:5/5/140 30:21/3/144 31:13/2/136 32:14/6/156 33:8/6/156 34:14/7/160 35:6/3/150 36:15/5/172
        37:5/0/172 38:15/5/178 39:10/3/172 40:9/6/186 41:6/2/184 42:8/2/184 43:9/1/192 44:5/3/206
        45:3/3/194 46:5/5/192 47:5/2/188 48:8/0/222 49:1/0/206 50:8/1/232 51:3/1/230 52:5/2/228 53:1/3/228
        54:8/1/246 55:5/1/210 56:4/3/284 57:2/1/246 58:7/2/290 59:8/0/240 60:7/2/256 61:2/0/220 62:3/1/250
        63:3/1/296 64:3/2/258 65:0/1/226 66:5/1/312 67:2/0/228 68:1/0/286 69:4/0/290 70:4/1/304 71:3/0/306
        72:4/2/320 73:2/0/284 74:3/1/306 75:2/0/306 76:2/0/298 77:2/1/314 78:1/1/300 79:1/0/236 80:4/1/328
        81:1/0/288 82:4/0/362 83:1/0/370 84:3/1/354 85:2/0/360 86:1/0/340 87:2/0/300 88:5/0/420 89:1/0/286
        90:1/1/374 91:1/0/304 93:1/1/348 94:4/1/404 95:2/0/398 96:5/1/408 98:2/1/382 99:2/0/386
        100:1/0/408 101:2/0/440 102:1/0/420 103:1/0/366 105:2/0/356 108:3/0/486 109:0/1/290 111:1/0/396
        112:0/1/358 113:1/0/390 116:2/0/510 117:1/0/388 122:2/0/466 123:1/0/428 124:1/0/510 125:1/0/428
        126:3/0/576 131:1/0/460 133:2/0/466 134:1/0/400 136:2/0/512 139:1/0/632 140:0/1/366 144:1/0/438
        146:1/0/482 147:1/0/664 148:2/0/566 149:0/1/474 150:0/1/542 151:1/0/446 152:2/0/526 153:1/0/490
        154:1/0/562 156:1/0/508 157:1/0/566 159:1/0/628 162:1/0/594 168:1/0/744 170:1/0/646 180:2/0/598
        186:1/0/680 188:1/0/620 189:1/0/784 208:1/0/900 226:1/0/632 229:1/0/966 244:1/0/782 246:1/0/870
        273:1/0/1002 285:1/0/848 328:1/0/1082 336:1/0/1632 481:1/0/2024 504:1/0/1788 620:1/0/2098
        """,
    ),
}
