"""The loops of the profile `fast`: integers of a matrix to bytes and back, in integers only.

Every function here runs on lists and memoryviews, and through `numba.njit` on arrays; both give
the same bytes (tested). Run as plain Python, this file is the definition of the coder. So: no
floats, no objects, no value beyond 62 bits, `//` and `>>` of negative numbers as Python rounds
(down), no exceptions. A decoder in C is `code_rows` with `decoding` = 1, line by line.

The arithmetic coder has an interval of 48 bits. `low` is its lower end when encoding; when
decoding it is what has been read less that end. `width` is its width, from which 16 bits leave at
a time, whenever it falls below 2^32. Three kinds of events are coded:

- a decision with an adaptive probability: a cell holds P(1) in 20 bits, and in 10 bits how often
  it was used, which says how fast it moves;
- one of 16 classes of magnitudes by cumulative frequencies of 15 bits, which are made anew from
  counts after 8, 16, 32, ... `LONGEST` uses (`renew`);
- bits as they are (`raw`).

What is expected of a weight: the mean magnitude of its column so far (and of its channel, where a
column is a tap of a kernel), times that of its row so far, over that of the matrix. All three are
means of magnitudes in 1/1024, and their logarithms, in 1/16 of an octave, are added.
"""

LOW, WIDTH, POS, END, DECODING, MEAN = range(6)  # of rc
SLACK = 4  # bytes that a decoder reads beyond the end of a complete stream, as zeros
FULL = 1 << 48  # the width of the whole interval
NARROW = 1 << 32  # of a width at which 16 bits leave
SPAN = 8  # columns after which the mean of a row is brought up to date; in kernels the taps
CAP = 511  # of a magnitude where means and neighbours are concerned
NEAR_STATES = 8  # of the magnitudes around
MOST_USES = 511  # of a cell: from there on it moves at one pace
LEVELS = 320  # of what is expected: 20 octaves
FLAGS = LEVELS // 8 * NEAR_STATES  # cells of "nonzero?"
SIGNS = 81 + 45  # cells of signs: of kernels, then of dense matrices
CLASSES = 16  # of magnitudes
TABLES = LEVELS // 8 * 5  # of classes
LONGEST = 512  # uses after which frequencies are made anew
FULLEST = 8192  # the sum of counts beyond which they are halved
COUNT = 16  # of one use
LAST = 129  # the least magnitude of the last class
BEYOND = 8 * 4096 + 16  # zeros behind the bytes to be read: a span may read so many before it ends


def carry(buf, place):
    """Add 1 to the bytes written, at `place` and before."""
    while buf[place] == 255:
        buf[place] = 0
        place -= 1
    buf[place] += 1


def raw(decoding, value, bits, low, width, buf, pos):
    """Code so many bits of a value, at most 15, each 0 or 1 with the same probability."""
    out = 0
    for shift in range(bits - 1, -1, -1):
        width >>= 1
        bit = (value >> shift) & 1
        if decoding:
            bit = 1 if low >= width else 0
        step = width if bit else 0
        low += -step if decoding else step
        out = 2 * out + bit
    if width < NARROW:
        width <<= 16
        if decoding:
            low = (low << 16) + buf[pos] * 256 + buf[pos + 1]
        else:
            if low >= FULL:
                low -= FULL
                carry(buf, pos - 1)
            buf[pos] = low >> 40
            buf[pos + 1] = (low >> 32) & 255
            low = (low & 0xFFFFFFFF) << 16
        pos += 2
    return out, low, width, pos


def far(decoding, value, low, width, buf, pos):
    """Code value >= 0: the length of value + 1 in 4 bits, less the first bit; the other bits."""
    length = 0
    while not decoding and (value + 1) >> (length + 1):
        length += 1
    length, low, width, pos = raw(decoding, length, 4, low, width, buf, pos)
    rest = value + 1 - (1 << length)
    rest, low, width, pos = raw(decoding, rest, length, low, width, buf, pos)
    return rest + (1 << length) - 1, low, width, pos


def renew(counts, cumulative, waits, table):
    """Make the frequencies of a table anew from its counts."""
    first = table * CLASSES
    total = 0
    for k in range(first, first + CLASSES):
        total += counts[k]
    below = 0
    for k in range(CLASSES):
        cumulative[first + table + k] = k + below * ((1 << 15) - CLASSES) // total
        below += counts[first + k]
        if total > FULLEST:
            counts[first + k] = (counts[first + k] + 1) >> 1
    cumulative[first + table + CLASSES] = 1 << 15
    waits[2 * table + 1] = min(2 * waits[2 * table + 1], LONGEST)
    waits[2 * table] = waits[2 * table + 1]


def expect(columns, taps, column_means, channel_means, level, log):
    """level[column] = the logarithm of what the rows before expect of it."""
    for column in range(columns):
        mean = column_means[column]
        level[column] = log[mean] if mean < 4096 else log[mean >> 8] + 128
    if taps > 1:
        for channel in range(columns // taps):
            mean = channel_means[channel]
            three = 3 * (log[mean] if mean < 4096 else log[mean >> 8] + 128)
            for column in range(channel * taps, (channel + 1) * taps):
                level[column] = (level[column] + three) >> 2


def follow(columns, pad, pace, column_means, row):
    """Move the means of the columns towards the magnitudes of a row."""
    for column in range(columns):
        seen = abs(row[pad + column]) << 10
        column_means[column] += (seen - column_means[column]) * pace >> 16


def code_rows(
    rc, buf, codes, columns, taps, line, first_row, last_row, flags, signs, cumulative, counts,
    waits, column_means, channel_means, column_signs, level, row, near, least, bits, log, rate,
):  # fmt: skip
    """Code the rows first_row..last_row - 1 of a matrix: integers, flat; the last may be shorter.

    Columns are channels x taps, taps in lines of `line`. `row` is scratch for the integers of one
    row, -511..511, behind max(taps, 3) zeros; `level` for what is expected of them. Tables: states
    by the magnitudes around, the least magnitude and the raw bits of each class, logarithms, rates.

    Decisions and classes are coded in place: a call for each would take longer than the rest.
    """
    low, width, pos, end = rc[LOW], rc[WIDTH], rc[POS], rc[END]
    decoding, mean = rc[DECODING], rc[MEAN]
    pad = max(taps, 3)
    span = taps if taps > 1 else SPAN
    for number in range(first_row, last_row):
        base = (number - first_row) * columns
        here = min(columns, len(codes) - base)
        pace = rate[min(number, 60)]
        of_matrix = log[mean] if mean < 4096 else log[mean >> 8] + 128
        of_row = mean
        weight = 8
        sign_mean = total = left = left2 = 0
        expect(here, taps, column_means, channel_means, level, log)
        for first in range(0, here, span):
            last = min(first + span, here)
            found = 0
            shift = (log[of_row] if of_row < 4096 else log[of_row >> 8] + 128) - of_matrix
            for column in range(first, last):
                place = pad + column
                expected = min(max(level[column] + shift, 0), LEVELS - 1)
                if taps > 1:
                    above = row[place - line] if column >= first + line else 0
                    before = row[place - taps]
                    around = 2 * abs(left) + abs(left2) + 2 * abs(above) + abs(before)
                else:
                    around = 2 * abs(left) + abs(left2) + 2 * abs(row[place - 3])
                cell = (expected >> 3) * NEAR_STATES + near[min(around, 16)]

                # Is it nonzero?
                code = codes[base + column]
                state = flags[cell]
                bound = (width >> 16) * min(max(state >> 14, 4), 65532)
                symbol = (1 if low < bound else 0) if decoding else (1 if code != 0 else 0)
                if symbol:
                    width = bound
                else:
                    width -= bound
                    low += -bound if decoding else bound
                if width < NARROW:
                    width <<= 16
                    if decoding:
                        low = (low << 16) + buf[pos] * 256 + buf[pos + 1]
                    else:
                        if low >= FULL:
                            low -= FULL
                            carry(buf, pos - 1)
                        buf[pos] = low >> 40
                        buf[pos + 1] = (low >> 32) & 255
                        low = (low & 0xFFFFFFFF) << 16
                    pos += 2
                used, chance = state & MOST_USES, state >> 10
                chance += ((symbol << 20) - chance) * rate[used] >> 16
                flags[cell] = (chance << 10) + min(used + 1, MOST_USES)
                value = 0
                if symbol:
                    # Its sign, given those around it or those of its row and column.
                    if taps > 1:
                        corner = row[place - line - 1] if column > first + line else left2
                        cell = 40 + 27 * ((left > 0) - (left < 0)) + 9 * ((above > 0) - (above < 0))
                        cell += 3 * ((before > 0) - (before < 0)) + (corner > 0) - (corner < 0)
                    else:
                        cell = 103 + 5 * min(max((sign_mean + 512) >> 10, -4), 4)
                        cell += min(max((column_signs[column] + 512) >> 10, -2), 2)
                    state = signs[cell]
                    bound = (width >> 16) * min(max(state >> 14, 4), 65532)
                    sign = (1 if low < bound else 0) if decoding else (1 if code > 0 else 0)
                    if sign:
                        width = bound
                    else:
                        width -= bound
                        low += -bound if decoding else bound
                    if width < NARROW:
                        width <<= 16
                        if decoding:
                            low = (low << 16) + buf[pos] * 256 + buf[pos + 1]
                        else:
                            if low >= FULL:
                                low -= FULL
                                carry(buf, pos - 1)
                            buf[pos] = low >> 40
                            buf[pos + 1] = (low >> 32) & 255
                            low = (low & 0xFFFFFFFF) << 16
                        pos += 2
                    used, chance = state & MOST_USES, state >> 10
                    chance += ((sign << 20) - chance) * rate[used] >> 16
                    signs[cell] = (chance << 10) + min(used + 1, MOST_USES)
                    if taps == 1:
                        push = 16384 if sign else -16384
                        sign_mean += (push - sign_mean) >> 5
                        column_signs[column] += (push - column_signs[column]) >> 4

                    # The class of its magnitude, and the magnitude within the class.
                    table = (expected >> 3) * 5
                    if around:
                        around *= 146 if taps > 1 else 170
                        around = log[around] if around < 4096 else log[around >> 8] + 128
                        around -= expected
                        table += 1 + (around >= -12) + (around >= 4) + (around >= 20)
                    place = table * (CLASSES + 1)
                    unit = width >> 15
                    if decoding:
                        kind = 8 if low >= unit * cumulative[place + 8] else 0
                        kind += 4 if low >= unit * cumulative[place + kind + 4] else 0
                        kind += 2 if low >= unit * cumulative[place + kind + 2] else 0
                        kind += 1 if low >= unit * cumulative[place + kind + 1] else 0
                    else:
                        code = abs(code)
                        kind = min(code, 8) - 1
                        while kind < CLASSES - 1 and code >= least[kind + 1]:
                            kind += 1
                    below = unit * cumulative[place + kind]
                    width = unit * cumulative[place + kind + 1] - below
                    low += -below if decoding else below
                    if width < NARROW:
                        width <<= 16
                        if decoding:
                            low = (low << 16) + buf[pos] * 256 + buf[pos + 1]
                        else:
                            if low >= FULL:
                                low -= FULL
                                carry(buf, pos - 1)
                            buf[pos] = low >> 40
                            buf[pos + 1] = (low >> 32) & 255
                            low = (low & 0xFFFFFFFF) << 16
                        pos += 2
                    counts[table * CLASSES + kind] += COUNT
                    waits[2 * table] -= 1
                    if waits[2 * table] == 0:
                        renew(counts, cumulative, waits, table)
                    value = least[kind]
                    more = code - value
                    if kind == CLASSES - 1:
                        more, low, width, pos = far(decoding, more, low, width, buf, pos)
                        value += more
                    elif bits[kind]:
                        more, low, width, pos = raw(
                            decoding, more, bits[kind], low, width, buf, pos
                        )
                        value += more
                    if decoding:
                        codes[base + column] = value if sign else -value
                    value = min(value, CAP)
                    found += value
                    value = value if sign else -value
                left2 = left
                left = value
                row[pad + column] = value
            weight = min(weight + last - first, 120)
            found <<= 10
            of_row = max(of_row + ((found - (last - first) * of_row) * rate[weight] >> 16), 0)
            total += found
            if taps > 1:
                channel = first // taps
                channel_means[channel] += (found // taps - channel_means[channel]) * pace >> 16
            if decoding and pos > end + SLACK:
                rc[POS] = pos
                return
        follow(here, pad, pace, column_means, row)
        mean += (total // here - mean) * rate[min(number, 20)] >> 16
    rc[LOW], rc[WIDTH], rc[POS], rc[MEAN] = low, width, pos, mean


# Called by those that loop.
SHARED = (carry, raw, far, renew, expect, follow)
