"""Trees that forget, compiled: how a forest is grown, kept true under inserts and deletes, and asked.

Every choice is a pure function of a secret seed, the place of a node (tree and path) and the *set* of rows at the node
(keyed randomness), so a forest without tags is a function of (seed, rows), whatever its past:

- a row lives in ``k`` of ``T`` trees, drawn by its key (OCC(q) of DynFrs, arXiv 2410.01588, with q = k / T);
- a node looks at ``p`` columns, drawn by its place, and in each at the ``s`` values of smallest priority
  ``mix(place and column, value)`` among those that its rows have; a bit of the place says whether a cut puts its own
  value left or right, and another where missing values go;
- the best cut is found from integers; ties fall to the smaller column, then to the smaller value.

Each split node keeps, per column, up to ``s`` and some spare values of smallest priority with what lies left of them. A
delete subtracts along ``k`` paths; where another cut is the best now, the subtree below is dropped and its node tagged,
to be grown again when it is asked (``grow``). A cut at a value goes with the last row that has it, so no deleted value
stays; nodes and rows that are given back are overwritten.

All kernels are in one file because numba's cache of a function knows only the file that the function is in. They take
few, wide arrays and no slices of them, which halves the time to compile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LEAF, SPLIT, TAGGED = 0, 1, 2
# Columns of Trees.known, Trees.linked and Trees.node; from TOTALS on a node counts its rows, W numbers.
TARGET, KEY = 0, 1
AFTER, BEFORE = 0, 1
STATE, LEFT, RIGHT, COLUMN, CUT, MISSING_LEFT, HEAD, BLOCK, DEPTH, PLACE_LOW, PLACE_HIGH, TOTALS = range(12)
TAIL = RIGHT  # a node without children has a list of rows, from HEAD to here
# Columns of Trees.block: which column, how many values, flags; then per value: it, its rows, W left.
WHICH, HELD, FLAGS, VALUES = range(4)
# Flags: the values held are all; a cut's own value goes right; missing numbers go right; the column holds categories.
ALL, OWN_RIGHT, MISSING_RIGHT, CATEGORIES = 1, 2, 4, 8
# Trees.info: counters, settings, and from NAMED on whether each column holds categories.
NODES, NODE_FREE, BLOCKS, BLOCK_FREE, PENDING, SHORT = range(6)
TREES, PER_ROW, PICKED, CUTS, ROOM, DEEPEST, SPLIT_ROWS, LEAF_ROWS, NUMBERS, NAMED = range(6, 16)
MISSING = -(2**31)  # the code of a missing number; below all codes of numbers
DIGIT = 14  # a number is counted in three signed digits of so many bits, so that sums stay exact in 32 bits
DIGITS = 3
_LAST = 2**31 - 1
_HOT = ("_rows_at", "_seen", "_side", "_may_split", "_set_cut", "_count_node", "_update", "_best_cut")
_DIRECT = 10_000  # up to so many rows the products of two gains fit 63 bits: n**5 / 16


class Trees(NamedTuple):
    """All state of a forest, as arrays with room to grow; an occurrence is ``row * k + j``, a row in its j-th tree.

    A node counts rows per class (W = classes), or rows and the three digits of the sum of targets (W = 4).
    """

    codes: np.ndarray  # int32 [rows, d]; values in an order-keeping code, categories as hashes
    known: np.ndarray  # int64 [rows, 2]; class, or target in fixed point; keyed hash of the row's id
    linked: np.ndarray  # int32 [rows * k, 2]; next and previous occurrence in the list of its leaf, at its ends ~node
    node: np.ndarray  # int32 [nodes, TOTALS + W]
    block: np.ndarray  # int32 [blocks, p, VALUES + room * (2 + W)]
    info: np.ndarray  # int64 [NAMED + d]


def _compiled(function: Any) -> Any:
    """Compile for calls from here at the first call; keep the code on disk where there is a place to write to."""
    inside = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True} if function.__name__.startswith("_") else {}
    if function.__name__ in _HOT:  # a call passes every field of every array
        inside["forceinline"] = True
    try:
        return numba.njit(cache=True, error_model="numpy", **inside)(function)
    except RuntimeError:  # numba's "no locator available": neither the package nor the user's cache can be written
        return numba.njit(error_model="numpy", **inside)(function)


@intrinsic
def _fetch(context: Any, address: Any) -> Any:
    """Let the processor load the 64 bytes around an address while it goes on; nothing changes."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        where, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [where, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [where], kind)
        builder.call(fetch, [builder.inttoptr(args[0], where), number(1), number(3), number(1)])  # to write to, as data
        return context.get_dummy_value()

    return types.void(types.uintp), code


# --- keyed choices -----------------------------------------------------------------------------------------------


@_compiled
def _mix(z: np.uint64) -> np.uint64:
    """Return a one-to-one scramble of 64 bits (the finaliser of SplitMix64)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@_compiled
def _keyed(key: np.uint64, item: np.int64) -> np.uint64:
    """Return 64 bits that depend on a key and a number; one-to-one in the number."""
    return _mix(_mix(key + np.uint64(0x9E3779B97F4A7C15)) ^ (np.uint64(item) + np.uint64(0xD1B54A32D192ED03)))


@_compiled
def _rank(key: np.uint64, value: np.int64) -> np.uint64:
    """Return the priority of a value in a column at a place; different for different values."""
    return _mix(key ^ np.uint64(np.uint32(value)))


@_compiled
def _trees_of(key: np.int64, trees: int, chosen: np.ndarray) -> None:
    """Draw ``len(chosen)`` of ``trees`` trees without replacement, by the key of a row (Floyd's sampling)."""
    for j in range(len(chosen)):
        last = trees - len(chosen) + j
        draw = np.int64(_keyed(np.uint64(key), np.int64(j)) % np.uint64(last + 1))
        for i in range(j):
            if chosen[i] == draw:
                draw = last
                break
        chosen[j] = draw


@_compiled
def _place(t: Trees, v: int) -> np.uint64:
    low, high = np.uint64(np.uint32(t.node[v, PLACE_LOW])), np.uint64(np.uint32(t.node[v, PLACE_HIGH]))
    return low | (high << np.uint64(32))


@_compiled
def _column_key(t: Trees, v: int, c: int) -> np.uint64:
    """Return the key of a column at a node: its bits 1 and 2 are those of the flags."""
    return _keyed(_place(t, v), np.int64(2 + c))


@_compiled
def _seen(code: int, flags: int) -> int:
    """Return a code with a missing number put at its end of the order."""
    if code == MISSING and flags & (MISSING_RIGHT | CATEGORIES) == MISSING_RIGHT:
        return _LAST
    return code


@_compiled
def _pick_columns(t: Trees, v: int, b: int, score: np.ndarray) -> None:
    """Draw the columns that a node looks at: those of smallest priority at its place. ``score``: scratch [d]."""
    for c in range(len(score)):
        score[c] = _column_key(t, v, c)
    for a in range(t.info[PICKED]):
        least = 0
        for c in range(1, len(score)):
            if score[c] < score[least]:
                least = c
        t.block[b, a, WHICH] = least
        flags = _column_key(t, v, least) & np.uint64(OWN_RIGHT | MISSING_RIGHT)
        t.block[b, a, FLAGS] = np.int64(flags) | (CATEGORIES if t.info[NAMED + least] else 0)
        score[least] = np.uint64(0xFFFFFFFFFFFFFFFF)


# --- which cut is the best ---------------------------------------------------------------------------------------


@_compiled
def _compare(a: np.int64, b: np.int64, c: np.int64, d: np.int64, n: int) -> int:
    """Return the sign of a / b - c / d for positive integers, exactly."""
    if n <= _DIRECT:
        one, other = a * d, c * b
        return 1 if one > other else (-1 if one < other else 0)
    sign = 1
    while True:  # as continued fractions, by Euclid
        p, q = a // b, c // d
        if p != q:
            return sign if p > q else -sign
        a, c = a - p * b, c - q * d
        if a == 0 or c == 0:
            return sign * ((1 if a else 0) - (1 if c else 0))
        a, b, c, d, sign = b, a, d, c, -sign


@_compiled
def _rows_at(t: Trees, v: int) -> np.int64:
    """Return how many rows a node has."""
    n = np.int64(t.node[v, TOTALS])
    if not t.info[NUMBERS]:
        for w in range(TOTALS + 1, t.node.shape[1]):
            n += t.node[v, w]
    return n


@_compiled
def _gap(t: Trees, v: int, b: int, a: int, i: int, n: np.int64) -> float:
    """Return ``sum(left) * n - sum(all) * n_left`` of a cut; exact but for the last rounding."""
    n_left, out = np.int64(t.block[b, a, i]), 0.0
    for w in range(DIGITS, 0, -1):
        part = np.int64(t.block[b, a, i + w]) * n - np.int64(t.node[v, TOTALS + w]) * n_left
        out = out * 2.0**DIGIT + part
    return out


@_compiled
def _best_cut(t: Trees, v: int, b: int) -> int:
    """Return ``a * room + e`` of the best cut, at the e-th value of the a-th column; -1 where none parts the rows.

    Classes: largest ``sum(left**2) / n_left + sum(right**2) / n_right`` (Gini); top and bottom are exact, and where
    quotients round to one number, integers decide. Numbers: largest ``gap**2 / (n_left * n_right)`` (squared error),
    one expression of exact integers, rounded as IEEE 754 says.
    """
    n, width, least = _rows_at(t, v), t.node.shape[1] - TOTALS, t.info[LEAF_ROWS]
    best, best_column, best_value = -1, 0, 0
    best_top, best_bottom, best_gain = np.int64(0), np.int64(1), 0.0
    first, second = np.int64(t.node[v, TOTALS]), np.int64(t.node[v, TOTALS + 1]) if width > 1 else np.int64(0)
    numbers, cuts, room = t.info[NUMBERS], t.info[CUTS], t.info[ROOM]
    at, step, left_at, other = np.uintp(b), np.uintp(2 + width), np.uintp(2), np.uintp(3)
    for a in range(t.info[PICKED]):
        part, i = np.uintp(a), np.uintp(VALUES)  # unsigned, so that no index is counted from the end
        column = t.block[at, part, WHICH]
        for e in range(min(np.int64(t.block[at, part, HELD]), cuts)):
            value = t.block[at, part, i]
            top, bottom, n_left = np.int64(0), np.int64(1), np.int64(0)
            if numbers:
                n_left = np.int64(t.block[at, part, i + left_at])
                gap = _gap(t, v, b, a, np.int64(i + left_at), n)
                gain = gap * gap / (n_left * (n - n_left))
            else:
                left, right = np.int64(0), np.int64(0)
                if width == 2:  # where a delete spends most of its time
                    one, two = np.int64(t.block[at, part, i + left_at]), np.int64(t.block[at, part, i + other])
                    n_left, left = one + two, one * one + two * two
                    right = (first - one) * (first - one) + (second - two) * (second - two)
                else:
                    for w in range(width):
                        here = np.int64(t.block[at, part, i + left_at + np.uintp(w)])
                        rest = t.node[v, TOTALS + w] - here
                        n_left += here
                        left += here * here
                        right += rest * rest
                top, bottom = left * (n - n_left) + right * n_left, n_left * (n - n_left)
                gain = top / bottom
            i += step
            if n_left < least or n - n_left < least or gain < best_gain or gain == 0:
                continue
            if gain == best_gain:  # a total order of cuts, so that the order of visits does not matter
                sign = 0 if numbers else _compare(top, bottom, best_top, best_bottom, n)
                if sign < 0 or (sign == 0 and (column > best_column or (column == best_column and value > best_value))):
                    continue
            best, best_column, best_value = a * room + e, column, value
            best_top, best_bottom, best_gain = top, bottom, gain
    return best


@_compiled
def _may_split(t: Trees, v: int) -> bool:
    """Return whether a node is to be split if a cut can be found."""
    if t.node[v, DEPTH] >= t.info[DEEPEST] or _rows_at(t, v) < t.info[SPLIT_ROWS]:
        return False
    kinds = 0
    for w in range(TOTALS, t.node.shape[1]):
        kinds += 1 if t.node[v, w] > 0 else 0
    return kinds > 1 or t.info[NUMBERS] != 0


# --- lists of rows, places for nodes -----------------------------------------------------------------------------


@_compiled
def _relink(t: Trees, before: int, after: int, one: int, other: int) -> None:
    """Let the neighbours of a place in a list point to ``one`` (from before) and ``other`` (from after)."""
    if before < 0:
        t.node[~before, HEAD] = one
    else:
        t.linked[before, AFTER] = one
    if after < 0:
        t.node[~after, TAIL] = other
    else:
        t.linked[after, BEFORE] = other


@_compiled
def _push(t: Trees, o: int, v: int) -> None:
    first = t.node[v, HEAD]
    t.linked[o, AFTER], t.linked[o, BEFORE] = first, ~v
    _relink(t, ~v, first, o, o)


@_compiled
def _clear_node(t: Trees, v: int, keep: int) -> None:
    """Make a node a leaf without rows; what is counted, depth and place stay where ``keep`` says so."""
    for w in range(DEPTH if keep else t.node.shape[1]):
        t.node[v, w] = 0
    t.node[v, HEAD], t.node[v, TAIL], t.node[v, BLOCK] = ~v, ~v, -1


@_compiled
def _new_node(t: Trees, place: np.uint64, depth: int) -> int:
    v = t.info[NODE_FREE]
    if v >= 0:
        t.info[NODE_FREE] = t.node[v, HEAD]
    else:
        v = t.info[NODES]
        t.info[NODES] += 1
    _clear_node(t, v, 0)
    t.node[v, DEPTH] = depth
    t.node[v, PLACE_LOW] = np.int32(np.uint32(place & np.uint64(0xFFFFFFFF)))
    t.node[v, PLACE_HIGH] = np.int32(np.uint32(place >> np.uint64(32)))
    return v


@_compiled
def _free_block(t: Trees, b: int) -> None:
    """Give a block back, overwritten."""
    step = 2 + t.node.shape[1] - TOTALS
    for a in range(t.block.shape[1]):
        for i in range(VALUES + t.block[b, a, HELD] * step):  # behind them it is overwritten already
            t.block[b, a, i] = 0
    t.block[b, 0, WHICH] = t.info[BLOCK_FREE]
    t.info[BLOCK_FREE] = b


@_compiled
def _new_block(t: Trees) -> int:
    b = t.info[BLOCK_FREE]
    if b >= 0:
        t.info[BLOCK_FREE] = t.block[b, 0, WHICH]
        return b
    t.info[BLOCKS] += 1
    return t.info[BLOCKS] - 1


@_compiled
def _has_room(t: Trees) -> bool:
    """Return whether there is room for one more split: two nodes and a block."""
    if t.info[BLOCK_FREE] < 0 and t.info[BLOCKS] == len(t.block):
        return False
    free, left = t.info[NODE_FREE], len(t.node) - t.info[NODES]
    if free < 0:
        return left >= 2
    return left >= 1 or t.node[free, HEAD] >= 0


@_compiled
def _listed(t: Trees, v: int, out: np.ndarray) -> int:
    """Write the occurrences below a node to ``out``; return their number."""
    stack = np.empty(t.info[DEEPEST] + 2, np.int64)
    stack[0] = v
    height, n = 1, 0
    while height:
        height -= 1
        u = stack[height]
        o = t.node[u, HEAD]
        while o >= 0:
            out[n] = o
            n += 1
            o = t.linked[o, AFTER]
        if t.node[u, STATE] == SPLIT:
            stack[height], stack[height + 1] = t.node[u, LEFT], t.node[u, RIGHT]
            height += 2
    return n


@_compiled
def _collect(t: Trees, v: int, state: int) -> None:
    """Drop what is below a node and make it a leaf, or a tagged node, that holds the rows itself.

    Lists are joined end to end: a row is not looked at.
    """
    stack = np.empty(t.info[DEEPEST] + 2, np.int64)
    stack[0] = v
    height, first, last = 1, ~v, ~v
    while height:
        height -= 1
        u = stack[height]
        if t.node[u, STATE] == SPLIT:
            stack[height], stack[height + 1] = t.node[u, LEFT], t.node[u, RIGHT]
            height += 2
            _free_block(t, t.node[u, BLOCK])
        elif t.node[u, HEAD] >= 0:
            here = t.node[u, HEAD]
            if last < 0:
                first = here
            else:
                t.linked[last, AFTER] = here
            t.linked[here, BEFORE] = last
            last = t.node[u, TAIL]
        if t.node[u, STATE] == TAGGED:
            t.info[PENDING] -= 1
        _clear_node(t, u, 1 if u == v else 0)
        if u != v:
            t.node[u, HEAD], t.node[u, TAIL] = t.info[NODE_FREE], 0
            t.info[NODE_FREE] = u
    if last >= 0:
        t.linked[last, AFTER] = ~v
    t.node[v, HEAD], t.node[v, TAIL], t.node[v, STATE] = first, last, state
    if state == TAGGED:
        t.info[PENDING] += 1


# --- growing -----------------------------------------------------------------------------------------------------


@_compiled
def _count_node(t: Trees, v: int, target: np.int64, sign: int) -> None:
    """Put a row into, or take it out of, what a node counts."""
    if not t.info[NUMBERS]:
        t.node[v, TOTALS + target] += sign
        return
    t.node[v, TOTALS] += sign
    for w in range(1, DIGITS + 1):
        digit = _digit(target)
        t.node[v, TOTALS + w] += sign * digit
        target = (target - digit) >> DIGIT


@_compiled
def _count_left(t: Trees, b: int, a: int, i: int, target: np.int64, sign: int) -> None:
    """Put a row into, or take it out of, what is counted left of a cut."""
    if not t.info[NUMBERS]:
        t.block[b, a, i + 2 + target] += sign
        return
    t.block[b, a, i + 2] += sign
    for w in range(1, DIGITS + 1):
        digit = _digit(target)
        t.block[b, a, i + 2 + w] += sign * digit
        target = (target - digit) >> DIGIT


@_compiled
def _digit(target: np.int64) -> np.int64:
    """Return the lowest digit of a number, in [-2**13, 2**13)."""
    half = np.int64(1) << (DIGIT - 1)
    return ((target + half) & ((np.int64(1) << DIGIT) - 1)) - half


@_compiled
def _scan(t: Trees, v: int, b: int, a: int, listed: np.ndarray, n: int) -> None:
    """Find the values of smallest priority of one column among ``n`` rows of a node, and count what is left of each.

    ``listed``: occurrences, of which the first ``n`` count.
    """
    c, room, per_row, step = t.block[b, a, WHICH], t.info[ROOM], t.info[PER_ROW], 2 + t.node.shape[1] - TOTALS
    key, flags, held, every = _column_key(t, v, c), t.block[b, a, FLAGS] & ~ALL, 0, ALL
    named = flags & CATEGORIES
    xs, rank, value, at = (
        np.empty(n, np.int32),
        np.empty(room, np.uint64),
        np.empty(room, np.int32),
        np.empty(room, np.int32),
    )
    for i in range(n):
        x = _seen(t.codes[listed[i] // per_row, c], flags)
        xs[i] = x
        here = _rank(key, x)
        if held == room and here > rank[held - 1]:
            every = 0
            continue
        low = 0
        while low < held and rank[low] < here:
            low += 1
        if low < held and rank[low] == here:
            continue
        if held == room:
            every = 0
        else:
            held += 1
        for e in range(held - 1, low, -1):
            rank[e], value[e] = rank[e - 1], value[e - 1]
        rank[low], value[low] = here, x
    for i in range(VALUES, VALUES + max(held, np.int64(t.block[b, a, HELD])) * step):
        t.block[b, a, i] = 0
    t.block[b, a, HELD], t.block[b, a, FLAGS] = held, flags | every
    for e in range(held):  # at: the values in their order
        t.block[b, a, VALUES + e * step] = value[e]
        i = e
        while i > 0 and value[at[i - 1]] > value[e]:
            at[i] = at[i - 1]
            i -= 1
        at[i] = e
    for i in range(n):
        x, low, high = xs[i], 0, held
        xs[i] = 0
        while low < high:
            middle = (low + high) // 2
            if value[at[middle]] < x:
                low = middle + 1
            else:
                high = middle
        if low < held and value[at[low]] == x:
            t.block[b, a, VALUES + at[low] * step + 1] += 1
            if flags & (OWN_RIGHT | CATEGORIES) == OWN_RIGHT:
                low += 1
        elif named:
            continue
        if low < held:
            _count_left(t, b, a, VALUES + at[low] * step, t.known[listed[i] // per_row, TARGET], 1)
    if not named:
        for i in range(1, held):
            for w in range(2, step):
                t.block[b, a, VALUES + at[i] * step + w] += t.block[b, a, VALUES + at[i - 1] * step + w]
    for e in range(room):  # what is freed may not hold values of rows
        rank[e], value[e] = np.uint64(0), 0


@_compiled
def _set_cut(t: Trees, v: int, b: int, cut: int) -> bool:
    """Split a node by a cut of its block: left is ``code <= CUT``, of categories ``==``; return whether it was so."""
    a, e = cut // t.info[ROOM], cut % t.info[ROOM]
    c, value = t.block[b, a, WHICH], t.block[b, a, VALUES + e * (2 + t.node.shape[1] - TOTALS)]
    flags = t.block[b, a, FLAGS]
    if flags & (OWN_RIGHT | CATEGORIES) == OWN_RIGHT:
        value -= 1
    same = t.node[v, STATE] == SPLIT and t.node[v, COLUMN] == c and t.node[v, CUT] == value
    t.node[v, STATE], t.node[v, BLOCK], t.node[v, COLUMN], t.node[v, CUT] = SPLIT, b, c, value
    t.node[v, MISSING_LEFT] = 0 if flags & MISSING_RIGHT else 1
    return same


@_compiled
def _side(t: Trees, v: int, code: int) -> int:
    """Return the child of a split node that a code goes to."""
    if t.info[NAMED + t.node[v, COLUMN]]:
        left = code == t.node[v, CUT]
    elif code == MISSING:
        left = t.node[v, MISSING_LEFT] != 0
    else:
        left = code <= t.node[v, CUT]
    return t.node[v, LEFT] if left else t.node[v, RIGHT]


@_compiled
def _split(t: Trees, v: int, listed: np.ndarray, n: int, score: np.ndarray) -> bool:
    """Split a node by its best cut, if there is one, and make its children. ``score``: scratch [d]."""
    b, width = _new_block(t), t.node.shape[1] - TOTALS
    _pick_columns(t, v, b, score)
    for a in range(t.info[PICKED]):
        _scan(t, v, b, a, listed, n)
    cut = _best_cut(t, v, b)
    if cut < 0:
        _free_block(t, b)
        return False
    left = _new_node(t, _keyed(_place(t, v), np.int64(0)), t.node[v, DEPTH] + 1)
    right = _new_node(t, _keyed(_place(t, v), np.int64(1)), t.node[v, DEPTH] + 1)
    i = VALUES + (cut % t.info[ROOM]) * (2 + width) + 2
    for w in range(width):
        here = t.block[b, cut // t.info[ROOM], i + w]
        t.node[left, TOTALS + w], t.node[right, TOTALS + w] = here, t.node[v, TOTALS + w] - here
    t.node[v, LEFT], t.node[v, RIGHT] = left, right
    _set_cut(t, v, b, cut)
    return True


@_compiled
def grow(t: Trees, tagged: np.ndarray) -> None:
    """Grow the subtrees of these tagged nodes; where room ends, nodes stay tagged and SHORT is set."""
    per_row = t.info[PER_ROW]
    score = np.empty(len(t.info) - NAMED, np.uint64)
    stack = np.empty((t.info[DEEPEST] + 2, 3), np.int64)
    t.info[SHORT] = 0
    for root in tagged:
        if t.info[SHORT]:
            return
        n = _rows_at(t, root)
        listed = np.empty(n, np.int32)
        _listed(t, root, listed)
        _clear_node(t, root, 1)
        t.info[PENDING] -= 1
        stack[0, 0], stack[0, 1], stack[0, 2] = root, 0, n
        height = 1
        while height:
            height -= 1
            v, low, high = stack[height, 0], stack[height, 1], stack[height, 2]
            if _may_split(t, v):
                if not _has_room(t):
                    t.info[SHORT], t.node[v, STATE] = 1, TAGGED
                    t.info[PENDING] += 1
                elif _split(t, v, listed[low:high], high - low, score):
                    left, middle = t.node[v, LEFT], low
                    for i in range(low, high):
                        o = listed[i]
                        if _side(t, v, t.codes[o // per_row, t.node[v, COLUMN]]) == left:
                            listed[i], listed[middle] = listed[middle], o
                            middle += 1
                    stack[height, 0], stack[height, 1], stack[height, 2] = left, low, middle
                    stack[height + 1, 0], stack[height + 1, 1], stack[height + 1, 2] = t.node[v, RIGHT], middle, high
                    height += 2
                    continue
            for i in range(low, high):
                _push(t, listed[i], v)


@_compiled
def plant(t: Trees, seed: np.uint64) -> None:
    """Make the roots of all trees, without rows; root of tree i is node i."""
    t.info[NODE_FREE], t.info[BLOCK_FREE] = -1, -1
    for tree in range(t.info[TREES]):
        _new_node(t, _keyed(_keyed(seed, np.int64(-1)), np.int64(tree)), 0)


# --- rows come and go --------------------------------------------------------------------------------------------


@_compiled
def spread(keys: np.ndarray, trees: int, per_row: int) -> np.ndarray:
    """Return how many of the rows with these keys fall to each tree."""
    out, chosen = np.zeros(trees, np.int64), np.empty(per_row, np.int64)
    for key in keys:
        _trees_of(key, trees, chosen)
        for tree in chosen:
            out[tree] += 1
    return out


@_compiled
def _scan_again(t: Trees, v: int, b: int, a: int, o: int, sign: int) -> None:
    """Search a column anew: among the rows below a node, and with or without (``sign``) one that comes or goes."""
    listed = np.empty(_rows_at(t, v) + 1, np.int32)
    n = _listed(t, v, listed)
    if sign > 0:
        listed[n] = o
        n += 1
    else:
        for i in range(n):
            if listed[i] == o:
                listed[i] = listed[n - 1]
                n -= 1
                break
    _scan(t, v, b, a, listed, n)


@_compiled
def _update(t: Trees, v: int, o: int, sign: int) -> None:
    """Put one row into, or take it out of, what a split node knows of its columns."""
    b, row, step = t.node[v, BLOCK], o // t.info[PER_ROW], 2 + t.node.shape[1] - TOTALS
    target, numbers = t.known[row, TARGET], t.info[NUMBERS]
    at, stride, kind = np.uintp(b), np.uintp(step), np.uintp(2 + target)
    for a in range(t.info[PICKED]):
        part, i = np.uintp(a), np.uintp(VALUES)
        c, held, flags = t.block[b, a, WHICH], t.block[b, a, HELD], t.block[b, a, FLAGS]
        x, same, named = _seen(t.codes[row, c], flags), -1, flags & CATEGORIES
        limit = x - (0 if flags & OWN_RIGHT else 1)  # rows left of a cut: below its value, or also at it
        for _ in range(held):
            value = np.int64(t.block[at, part, i])
            same = np.int64(i) if x == value else same
            if numbers:
                if x == value if named else limit < value:
                    _count_left(t, b, a, np.int64(i), target, sign)
            elif named:
                t.block[at, part, i + kind] += np.int32(sign & -np.int64(x == value))
            else:  # no branch, since nobody could guess it
                t.block[at, part, i + kind] += np.int32(sign & -np.int64(limit < value))
            i += stride
        if same >= 0:
            t.block[b, a, same + 1] += sign
            if t.block[b, a, same + 1] == 0:  # the last row with this value
                end = VALUES + held * step
                for i in range(same, end - step):
                    t.block[b, a, i] = t.block[b, a, i + step]
                for i in range(end - step, end):
                    t.block[b, a, i] = 0
                t.block[b, a, HELD] = held - 1
                if held - 1 < t.info[CUTS] and not flags & ALL:
                    _scan_again(t, v, b, a, o, sign)
        elif sign > 0:
            key, last = _column_key(t, v, c), t.block[b, a, VALUES + (held - 1) * step]
            if flags & ALL or _rank(key, x) < _rank(key, last):
                _scan_again(t, v, b, a, o, sign)


@_compiled
def _pass(t: Trees, v: int, o: int, sign: int) -> int:
    """Put an occurrence into, or take it out of, a tree from its root; return the node in whose list it is."""
    row = o // t.info[PER_ROW]
    while True:
        _count_node(t, v, t.known[row, TARGET], sign)
        if t.node[v, STATE] != SPLIT:
            break
        _update(t, v, o, sign)
        cut = _best_cut(t, v, t.node[v, BLOCK]) if _may_split(t, v) else -1
        if cut < 0:
            _collect(t, v, LEAF)
            return v
        if not _set_cut(t, v, t.node[v, BLOCK], cut):
            _collect(t, v, TAGGED)
            return v
        v = _side(t, v, t.codes[row, t.node[v, COLUMN]])
    if t.node[v, STATE] == LEAF and _may_split(t, v):  # what kept it a leaf may hold no longer
        t.node[v, STATE] = TAGGED
        t.info[PENDING] += 1
    return v


@_compiled
def _fetch_paths(t: Trees, row: int, chosen: np.ndarray, at: np.ndarray) -> None:
    """Load what lies on the paths of a row. ``chosen``: its trees [k]; ``at``: scratch [k].

    A forest is larger than the caches, and a path is a chain in which one node names the next: trees take turns, so
    that their waits overlap.
    """
    nodes, blocks = np.uintp(t.node.ctypes.data), np.uintp(t.block.ctypes.data)
    one_node, one_block = np.uintp(t.node.strides[0]), np.uintp(t.block.strides[0])
    for j in range(len(chosen)):
        at[j] = chosen[j]
        _fetch(nodes + np.uintp(at[j]) * one_node)
    going = len(chosen)
    while going:
        going = 0
        for j in range(len(chosen)):
            v = at[j]
            if v < 0:
                continue
            at[j] = -1
            if t.node[v, STATE] == SPLIT:
                going += 1
                at[j] = _side(t, v, t.codes[row, t.node[v, COLUMN]])
                _fetch(nodes + np.uintp(at[j]) * one_node)
                here = blocks + np.uintp(t.node[v, BLOCK]) * one_block
                for line in range(0, t.block.strides[0], 64):
                    _fetch(here + np.uintp(line))


@_compiled
def change(t: Trees, rows: np.ndarray, held: int, sign: int, anew: bool) -> None:
    """Put rows [m] in (``sign`` 1), or take them out of ``held`` (-1).

    Of rows taken out, sorted, the last goes first, and the row at the end moves to the free place. ``anew`` drops all
    trees and tags their roots before: the way to put in many.
    """
    chosen, at = np.empty(t.info[PER_ROW], np.int64), np.empty(t.info[PER_ROW], np.int64)
    if anew:
        for v in range(t.info[TREES]):
            _collect(t, v, TAGGED)
    for i in range(len(rows) - 1, -1, -1):
        row = rows[i]
        _trees_of(t.known[row, KEY], t.info[TREES], chosen)
        _fetch_paths(t, row, chosen, at)
        for j in range(len(chosen)):
            o = row * len(chosen) + j
            v = _pass(t, chosen[j], o, sign)
            if sign > 0:
                _push(t, o, v)
            else:
                before, after = t.linked[o, BEFORE], t.linked[o, AFTER]
                _relink(t, before, after, after, before)
        if sign < 0:
            held -= 1
            _move(t, held, row)


@_compiled
def _move(t: Trees, last: int, row: int) -> None:
    """Move the last row to a place that is free, and overwrite where it was."""
    per_row = t.info[PER_ROW]
    for c in range(t.codes.shape[1]):
        t.codes[row, c] = t.codes[last, c]
        t.codes[last, c] = 0
    for c in range(2):
        t.known[row, c] = t.known[last, c]
        t.known[last, c] = 0
    for j in range(per_row):
        old, new = last * per_row + j, row * per_row + j
        if last != row:
            before, after = t.linked[old, BEFORE], t.linked[old, AFTER]
            t.linked[new, BEFORE], t.linked[new, AFTER] = before, after
            _relink(t, before, after, new, new)
        t.linked[old, BEFORE], t.linked[old, AFTER] = 0, 0


# --- asking ------------------------------------------------------------------------------------------------------


@_compiled
def _end(t: Trees, tree: int, codes: np.ndarray, i: int) -> int:
    """Return the node where a row ends that comes in at a root."""
    v = tree
    while t.node[v, STATE] == SPLIT:
        v = _side(t, v, codes[i, t.node[v, COLUMN]])
    return v


@_compiled
def asked(t: Trees, codes: np.ndarray) -> np.ndarray:
    """Return, for each node, whether it is tagged and one of these rows [m, d] needs it."""
    out = np.zeros(t.info[NODES], np.bool_)
    for tree in range(t.info[TREES]):
        for i in range(len(codes)):
            v = _end(t, tree, codes, i)
            out[v] = t.node[v, STATE] == TAGGED
    return out


@_compiled
def answer(t: Trees, codes: np.ndarray, out: np.ndarray) -> int:
    """Add to ``out`` what the leaf of each tree says of each row: shares [m, W], or mean digits [m, W] of targets.

    Returns the number of trees that hold rows, to divide by.
    """
    trees = 0
    for tree in range(t.info[TREES]):
        if _rows_at(t, tree) == 0:
            continue
        trees += 1
        for i in range(len(codes)):
            v = _end(t, tree, codes, i)
            n = _rows_at(t, v)
            for w in range(out.shape[1]):
                out[i, w] += t.node[v, TOTALS + w] / n
    return trees


@_compiled
def written(t: Trees, out: np.ndarray) -> int:
    """Write all nodes to ``out``, tree by tree, parents first, left before right; return their number.

    Per node [5 + W]: split or leaf, depth, column, cut, whether missing values go left; and what it counts. What tells
    where they lie in memory is left out.
    """
    n, stack = 0, np.empty(t.info[DEEPEST] + 2, np.int64)
    for tree in range(t.info[TREES]):
        stack[0] = tree
        height = 1
        while height:
            height -= 1
            v = stack[height]
            out[n, 0], out[n, 1] = t.node[v, STATE], t.node[v, DEPTH]
            out[n, 2], out[n, 3], out[n, 4] = t.node[v, COLUMN], t.node[v, CUT], t.node[v, MISSING_LEFT]
            for w in range(TOTALS, t.node.shape[1]):
                out[n, 5 + w - TOTALS] = t.node[v, w]
            if t.node[v, STATE] == SPLIT:
                stack[height], stack[height + 1] = t.node[v, RIGHT], t.node[v, LEFT]
                height += 2
            n += 1
    return n
