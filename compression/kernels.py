"""The coder's hot loops, in integers only: one source for plain Python and for numba.

Every function here runs on lists and memoryviews, and through `numba.njit` on arrays; both give
the same bytes (tested). So: no floats, no objects, no value beyond 63 bits, `//` and `>>` as Python
rounds (down), and all of it in one file, because numba's cache looks only at that. Nothing is
raised: a compiled function that raises never frees its arrays. `rc[STATUS]` says what is wrong.

Fixed point: probabilities and information ("seen") have 16 fractional bits, log odds ("theta",
in nats) and feature weights 24. `rc` is the state of the arithmetic coder, named below; `buf`
the bytes written or read. Matrices are flat, row by row. A `line` is scratch for one row and one
cell behind it that stays 0, which is where the neighbours beyond the edge are looked up.

The model of every binary decision is online logistic regression on a few indicators (this row,
this column, this state of the neighbourhood, ...): log odds are the sum of their thetas, and
each theta moves by error / (stiffness + information seen), the step that a Bayesian with a
Gaussian prior of precision `stiffness` takes. `seen` starts as the stiffness.
"""

LOW, RANGE, POS, CODE, DECODING, END, LEFT, STATUS = range(8)
FINE, SHORT, SPENT = range(3)  # of rc[STATUS]: the stream is over, or rc[LEFT] decisions are made
TOP = 40  # bits of the coder's interval; a byte leaves when its width falls below 2^32
SLACK = 4  # bytes that a decoder reads beyond the end of a complete stream, as zeros
SQUASH_HALF = 3072  # squash[i] is the probability at log odds (i - SQUASH_HALF) / 256
AROUND = 17  # neighbours of a column: 4 near ones known, 4 ahead, 8 far ones known, 1 in the
# group before; see geometry.Geometry
NEAR_STATES = 10  # of the 4 nearest known neighbours, and of the group before
FAR_STATES = 5  # of the 8 known neighbours around those
SIGN_STATES = 25  # of the signs around: -2..2 near by -2..2 far
NODES = 128  # nodes of the magnitude tree that have statistics of their own
LEAVES = NODES + 32  # the nodes beyond share one for each depth
LIKE_STATES = 5  # of the magnitudes around
CROWD_STATES = 6  # of the number of nonzero neighbours
PREDICTED_STATES = 11  # of the weight that its neighbours predict, in the direction of its sign
NEIGHBOURS = 13  # of the prediction: 4 near ones, 8 far ones, the same place in the group before
# `linear` holds the weights of these neighbours; then the sum of their squares, the mean magnitude
# and 2^24 / (that + 1/2); then the slope of the sign's log odds in the prediction, and what it has
# seen.
ENERGY, MEAN, INVERSE, SLOPE, SLOPE_SEEN = range(NEIGHBOURS, NEIGHBOURS + 5)
NEARBY = 2 << 16  # of a neighbour, in mean magnitudes, 16 fractional bits
DISTANT = 5 << 16  # of a weight that is to be predicted
LIMIT = 4 << 24  # of a learned weight, so that no product leaves 63 bits
LENT = 64 << 24  # of what rows lend: with a weight beyond 1 it would grow from row to row


def bit(rc, buf, symbol, probability):
    """Encode `symbol` (0 or 1), or decode and return it, at P(1) = probability / 2^16."""
    bound = (rc[RANGE] >> 16) * probability
    rc[LEFT] -= 1
    if rc[DECODING]:
        if rc[LEFT] < 0:
            rc[STATUS] = SPENT
        symbol = 1 if rc[CODE] < bound else 0
    if symbol:
        rc[RANGE] = bound
    else:
        rc[RANGE] -= bound
        if rc[DECODING]:
            rc[CODE] -= bound
        else:
            rc[LOW] += bound
            if rc[LOW] >> TOP:  # carry into the bytes already written
                rc[LOW] -= 1 << TOP
                place = rc[POS] - 1
                while buf[place] == 255:
                    buf[place] = 0
                    place -= 1
                buf[place] += 1
    while rc[RANGE] < 1 << 32:
        rc[RANGE] <<= 8
        if rc[DECODING]:
            if rc[POS] >= rc[END] + SLACK:
                rc[STATUS] = SHORT
            rc[CODE] <<= 8
            if rc[POS] < rc[END]:
                rc[CODE] += buf[rc[POS]]
        else:
            buf[rc[POS]] = rc[LOW] >> 32
            rc[LOW] = (rc[LOW] & 0xFFFFFFFF) << 8
        rc[POS] += 1
    return symbol


def learned_bit(rc, buf, symbol, theta, seen, active, count, extra, squash):
    """Code one decision whose log odds are `extra` + the thetas at active[:count]; learn.

    Returns twice the error (symbol - probability, 16 fractional bits), plus the symbol.
    """
    total = extra
    for k in range(count):
        total += theta[active[k]]
    place = (total >> 16) + SQUASH_HALF
    if place < 0 or place > 2 * SQUASH_HALF:  # faster in Python than calls of min and max
        place = 0 if place < 0 else 2 * SQUASH_HALF
    probability = squash[place]
    symbol = bit(rc, buf, symbol, probability)
    error = (symbol << 16) - probability
    information = probability * (65536 - probability) >> 16
    push = error << 24
    for k in range(count):
        place = active[k]
        seen[place] += information
        theta[place] += push // seen[place]
    return 2 * error + symbol


def smoothed(theta, first, cols, around, smooth):
    """smooth[col] = the mean theta[first + ...] of the 8 columns around, 0 for those missing."""
    for col in range(cols):
        total = 0
        for k in range(col * AROUND, col * AROUND + 8):
            total += theta[first + around[k]]
        smooth[col] = total >> 3


def copy_row(matrix, start, cols, line):
    """Copy a row to where its neighbours are looked at."""
    for col in range(cols):
        line[col] = matrix[start + col]


def positions(
    rc, buf, flags, line, rows, cols, groups, spatial, lent, group, around, degree,
    theta, seen, weights, active, smooth, squash,
):  # fmt: skip
    """Code which entries of a matrix are nonzero: flags, rows x cols, 0 or 1.

    Indicators, in the order of theta and seen: one for all; how many of the near and of the far
    known neighbours are nonzero; the row; the column; and where columns form several groups of
    several taps (kernels, feature maps) the group. Neighbours only if the matrix is `spatial`.
    Features with learned weights: the mean theta of the columns around (`smooth`, scratch), the
    `degree` of the column if it is `lent` one, and what the rows before lend to this one.

    Rows share one cell, which starts anew, and so do the columns of a single row.
    """
    first_far = 1 + NEAR_STATES
    the_row = first_far + FAR_STATES
    first_col = the_row + 1
    one_line = rows == 1 and not spatial
    first_group = first_col + (1 if one_line else cols + 1)
    grouped = spatial and groups > 1
    row_stiffness = seen[the_row]
    col_stiffness = seen[first_col]
    active[0] = 0
    active[1] = the_row
    active[2] = first_col
    count = 3
    inherited = 0
    around_here = 0
    units_here = 0
    for row in range(rows):
        start = row * cols
        if row:
            inherited = theta[the_row] + (weights[2] * inherited >> 24)
            inherited = min(max(inherited, -LENT), LENT)
            theta[the_row] = 0
            seen[the_row] = row_stiffness
        if spatial:
            smoothed(theta, first_col, cols, around, smooth)
            copy_row(flags, start, cols, line)
        for col in range(cols):
            if one_line:
                theta[first_col] = 0
                seen[first_col] = col_stiffness
            else:
                active[2] = first_col + col
            if spatial:
                here = col * AROUND
                around_here = smooth[col]
                near = 5 * line[around[here + 16]]
                for k in range(here, here + 4):
                    near += line[around[k]]
                far = 0
                for k in range(here + 8, here + 16):
                    far += line[around[k]]
                active[3] = 1 + near
                active[4] = first_far + min(far, FAR_STATES - 1)
                count = 5
            if grouped:
                active[5] = first_group + group[col]
                count = 6
            if lent:
                units_here = degree[col]
            extra = weights[0] * around_here + weights[1] * units_here + weights[2] * inherited
            outcome = learned_bit(
                rc, buf, flags[start + col], theta, seen, active, count, extra >> 24, squash
            )
            if rc[STATUS]:
                return
            flags[start + col] = outcome & 1
            if spatial:
                line[col] = outcome & 1
            rate = (outcome >> 1) * weights[3]
            weights[0] = learned(weights[0], rate, around_here)
            weights[1] = learned(weights[1], rate, units_here)
            weights[2] = learned(weights[2], rate, inherited)


def learned(weight, rate, feature):
    """A feature's weight after a step of its gradient; `rate` is error x learning rate."""
    return min(max(weight + (rate * (feature >> 16) >> 24), -LIMIT), LIMIT)


def rank(rc, buf, code, count, highest, leaves, theta, seen, active, squash):
    """Code the rank 1..highest of abs(code) by halving the interval of the ranks that are left.

    Node k of that tree uses the statistics leaves[:count] + k.
    """
    low = 1
    high = highest
    node = 1
    depth = 0
    code = abs(code)
    while low < high:
        middle = (low + high) >> 1
        leaf = node if node < NODES else NODES + depth
        for k in range(count):
            active[k] = leaves[k] + leaf
        above = 1 if code > middle else 0
        above = learned_bit(rc, buf, above, theta, seen, active, count, 0, squash) & 1
        if above:
            low = middle + 1
        else:
            high = middle
        node = 2 * node + above
        depth += 1
    return low


def surroundings(line, here, around, levels):
    """What is known of the neighbours of a nonzero entry, as the numbers of three states.

    The state of their signs; of the near magnitudes, 0 if there are none; and how many of the 8
    entries around are nonzero, those ahead included, of which no more is known.
    """
    near = 0
    total = 0
    crowd = 0
    for k in range(here, here + 4):
        code = line[around[k]]
        if code != 0:
            near += 1 if code > 0 else -1
            total += abs(code)
            crowd += 1
    like = 1 + min((4 * total - 2 * crowd) // (crowd * levels), 3) if crowd else 0
    for k in range(here + 4, here + 8):
        if line[around[k]] != 0:
            crowd += 1
    far = 0
    for k in range(here + 8, here + 16):
        code = line[around[k]]
        far += (1 if code > 0 else 0) - (1 if code < 0 else 0)
    signs = 12 + 5 * min(max(near, -2), 2) + min(max(far, -2), 2)
    return signs, like, min(crowd, CROWD_STATES - 1)


def predicted(line, here, around, linear, nearby):
    """What the known neighbours predict of a weight, in mean magnitudes, 24 fractional bits.

    nearby[k] becomes neighbour k in the same unit, 16 fractional bits.
    """
    linear[INVERSE] = (1 << 40) // (linear[MEAN] + 32768)
    total = 0
    for k in range(NEIGHBOURS):
        code = line[around[here + (k if k < 4 else k + 4)]]
        nearby[k] = 0
        if code != 0:
            nearby[k] = min(max(code * linear[INVERSE] >> 8, -NEARBY), NEARBY)
            total += linear[k] * nearby[k]
    return min(max(total >> 16, -LIMIT), LIMIT)


def follow(code, prediction, linear, nearby):
    """Move the weights of the neighbours towards a code that is known now: least mean squares."""
    found = min(max(code * linear[INVERSE] >> 8, -DISTANT), DISTANT)
    for k in range(NEIGHBOURS):
        linear[ENERGY] += nearby[k] * nearby[k] >> 16
    rate = ((found << 8) - prediction << 16) * NEIGHBOURS // linear[ENERGY]
    for k in range(NEIGHBOURS):
        if nearby[k] != 0:
            weight = linear[k] + (rate * nearby[k] >> 16)
            linear[k] = min(max(weight, -LIMIT), LIMIT)
    linear[MEAN] += ((abs(code) << 16) - linear[MEAN]) >> 7


def steeper(outcome, prediction, linear):
    """Move the slope of the sign's log odds after a sign; `outcome` is that of `learned_bit`."""
    error = outcome >> 1
    probability = ((outcome & 1) << 16) - error
    information = probability * (65536 - probability) >> 16
    feature = prediction >> 8
    linear[SLOPE_SEEN] += information * (feature * feature >> 16) >> 16
    slope = linear[SLOPE] + (error * feature << 8) // linear[SLOPE_SEEN]
    linear[SLOPE] = min(max(slope, -2 * LIMIT), 2 * LIMIT)


def values(
    rc, buf, codes, line, rows, cols, spatial, predicts, negative, positive, around, theta, seen,
    active, leaves, linear, nearby, squash,
):  # fmt: skip
    """Code the nonzero entries of codes, rows x cols. When decoding, those not yet known are 1.

    A sign, given its row and the signs around it; then the rank 1..n of the magnitude among the n
    of that sign, given the magnitudes and the number of the entries around. If the model `predicts`
    (only where the matrix is `spatial`), the sign is given its row and the prediction, and the
    magnitude the prediction, too.
    """
    first_leaf = 1 + SIGN_STATES
    first_side = first_leaf + LEAVES
    first_like = first_side + 2 * LEAVES
    first_crowd = first_like + LIKE_STATES * LEAVES
    the_row = first_crowd + CROWD_STATES * LEAVES
    first_predicted = the_row + 1
    row_stiffness = seen[the_row]
    levels = max(negative, positive)
    signs = like = crowd = prediction = 0
    leaves[0] = first_leaf
    count = 2 + 2 * spatial + predicts
    for row in range(rows):
        start = row * cols
        theta[the_row] = 0
        seen[the_row] = row_stiffness
        if spatial:
            copy_row(codes, start, cols, line)
        for col in range(cols):
            code = codes[start + col]
            if code == 0:
                continue
            if spatial:
                signs, like, crowd = surroundings(line, col * AROUND, around, levels)
            if predicts:
                prediction = predicted(line, col * AROUND, around, linear, nearby)
            sign = 1 if code > 0 else 0
            if negative > 0 and positive > 0:
                active[0] = 0
                active[1] = the_row
                active[2] = 1 + signs
                outcome = learned_bit(
                    rc, buf, sign, theta, seen, active, 2 + spatial - predicts,
                    linear[SLOPE] * prediction >> 24, squash,
                )  # fmt: skip
                sign = outcome & 1
                if predicts:
                    steeper(outcome, prediction, linear)
            else:
                sign = 1 if positive > 0 else 0
            leaves[1] = first_side + sign * LEAVES
            leaves[2] = first_like + like * LEAVES
            leaves[3] = first_crowd + crowd * LEAVES
            if predicts:
                ahead = 3 * (prediction if sign else -prediction) + (7 << 23) >> 24
                ahead = min(max(ahead, 0), PREDICTED_STATES - 1)
                leaves[4] = first_predicted + ahead * LEAVES
            highest = positive if sign else negative
            code = rank(rc, buf, code, count, highest, leaves, theta, seen, active, squash)
            if rc[STATUS]:
                return
            code = code if sign else -code
            codes[start + col] = code
            if spatial:
                line[col] = code
            if predicts:
                follow(code, prediction, linear, nearby)


def octets(rc, buf, data, stride, theta, seen, active, squash):
    """Code bytes, each bit given those before it and the byte's place in its `stride`."""
    for k in range(len(data)):
        node = 1
        for shift in range(7, -1, -1):
            active[0] = (k % stride) * 256 + node
            symbol = (data[k] >> shift) & 1
            symbol = learned_bit(rc, buf, symbol, theta, seen, active, 1, 0, squash) & 1
            node = 2 * node + symbol
        if rc[STATUS]:
            return
        data[k] = node & 255


# Called by those that loop.
SHARED = (
    bit, learned_bit, learned, smoothed, copy_row, rank, surroundings, predicted, follow, steeper,
)  # fmt: skip
