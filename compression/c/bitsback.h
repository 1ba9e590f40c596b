/* bitsback.h: the numbers of a compressed network, in portable C99.
 *
 * Define BB_IMPLEMENTATION in one file before you include this header. The entropy coder uses
 * integers only; nothing is allocated; a damaged file is refused. docs/c-decoder.md says how to
 * use it, and docs/format.md what it reads. The Python decoder is the definition.
 */
#ifndef BITSBACK_H
#define BITSBACK_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

enum { BB_OK, BB_CORRUPT, BB_MEMORY, BB_VERSION, BB_OTHER_NETWORK };
enum { BB_WEIGHT, BB_BIAS, BB_RAW, BB_MASK };      /* roles of tensors */
enum { BB_UNIFORM, BB_CODEBOOK, BB_SHIFTED };      /* kinds of grids */
enum { BB_RANGE, BB_HUFFMAN, BB_PREDICTING };      /* coders; the last is BB_RANGE from version 15 */
enum { BB_LENT_BY_LAST = -1, BB_CODED_RAW = 65536 }; /* raw bytes up to which the coder has them */

/* What is known of a tensor before the file is read. Python makes a table of them for a network. */
typedef struct {
    const char *name;
    const uint16_t *lender; /* the weights, by their places among the weights, whose units are the
                               columns of this weight or mask */
    uint32_t shape[8];
    int16_t lenders; /* how many; BB_LENT_BY_LAST: the units are those of the weight before */
    uint8_t axes, role;
    uint8_t item;    /* bytes of an element of the roles raw and mask */
    uint8_t swapped; /* whether the range coder takes axis 1 for the output units */
} bb_tensor;

typedef struct {
    const bb_tensor *tensors;
    uint32_t count;
    uint32_t architecture; /* CRC-32 of the architecture in the file */
} bb_network;

/* What integers of a weight or bias mean. Patterns are the upper halves of float32 numbers. */
typedef struct {
    const uint8_t *shifts;               /* of BB_SHIFTED: for each unit; its step is step << shift */
    const uint16_t *positive, *negative; /* of BB_CODEBOOK: rising magnitudes */
    uint32_t positives, negatives;       /* how many */
    uint32_t groups;                     /* in how many groups the rows are sorted; 0: they are not */
    uint16_t step;                       /* of BB_UNIFORM and BB_SHIFTED: the pattern */
    uint8_t kind;
    uint8_t swapped; /* whether the integers stand with axis 1 before axis 0 */
} bb_grid;

/* Room that the caller gives, aligned for 64-bit integers. `most` says how much was needed. */
typedef struct {
    uint8_t *bytes;
    size_t size, used, most;
} bb_memory;

/* Read a whole file. data[i] receives tensor i: int32_t for weights and biases, bytes in the
 * file's order (little-endian) for raw tensors and masks. grids[i] receives what they mean; it
 * points into `memory`, which has to stay. Returns BB_OK or what is wrong. */
int bb_decode(const bb_network *network, const uint8_t *file, size_t size, void *const *data,
              bb_grid *grids, bb_memory *memory);

/* The same for the coded stream alone, behind its header and the plain tensors. */
int bb_decode_stream(const bb_tensor *tensors, uint32_t count, const uint8_t *stream, size_t size,
                     int coder, int sorted, void *const *data, bb_grid *grids, bb_memory *memory);

/* Lay the tensors one behind the other: data[i] becomes the place of tensor i in `bytes`, aligned for
 * 64-bit integers. Returns how many bytes they take; with no `bytes` it does no more than that. */
size_t bb_lay_out(const bb_network *network, uint8_t *bytes, void **data);

/* Integers as float32 values in the order of the tensor's own axes. In place where not swapped. */
void bb_floats(const bb_tensor *tensor, const bb_grid *grid, const int32_t *integers, float *values);

/* How many elements a tensor has. */
size_t bb_elements(const bb_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif

#ifdef BB_IMPLEMENTATION
#include <string.h>

/* ---- Memory, bytes, integers -------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) /* so that the sanitizer sees steps from one array to the next */
#include <sanitizer/asan_interface.h>
#define BB_HIDE(at, size) __asan_poison_memory_region(at, size)
#define BB_SHOW(at, size) __asan_unpoison_memory_region(at, size)
enum { BB_GAP = 16 };
#else
#define BB_HIDE(at, size) ((void)0)
#define BB_SHOW(at, size) ((void)0)
enum { BB_GAP = 0 };
#endif

static void *bb_take(bb_memory *m, size_t count, size_t each, int *status) {
    size_t bytes, at = (m->used + BB_GAP + 7) & ~(size_t)7;
    if (each && count > (SIZE_MAX / 2 - at) / each) { *status = BB_MEMORY; return NULL; }
    bytes = count * each;
    if (at + bytes > m->most) m->most = at + bytes;
    if (at + bytes > m->size) { *status = BB_MEMORY; return NULL; }
    m->used = at + bytes;
    BB_SHOW(m->bytes + at, bytes);
    memset(m->bytes + at, 0, bytes);
    return m->bytes + at;
}

static void bb_release(bb_memory *m, size_t used) {
    m->used = used;
    BB_HIDE(m->bytes + used, m->size - used);
}

static int64_t bb_shr(int64_t x, int n) { return x >= 0 ? x >> n : ~(~x >> n); }

static int64_t bb_div(int64_t x, int64_t y) { return x >= 0 ? x / y : -((y - 1 - x) / y); }

static int64_t bb_clip(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}

static void bb_product(uint64_t a, uint64_t b, uint64_t *high, uint64_t *low) {
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (uint32_t)middle;
    *high = a1 * b1 + (middle >> 32) + (other >> 32);
    *low = other << 32 | (uint32_t)(a0 * b0);
}

static uint32_t bb_crc(const uint8_t *data, size_t size) {
    uint32_t value = 0xFFFFFFFFu, bit;
    for (size_t i = 0; i < size; i++) {
        value ^= data[i];
        for (bit = 0; bit < 8; bit++) value = value >> 1 ^ (0xEDB88320u & (0u - (value & 1)));
    }
    return ~value;
}

static int bb_bits(uint64_t value) { int n = 0; while (value) { n++; value >>= 1; } return n; }

static uint32_t bb_root(uint32_t value) {
    uint32_t root = 0, bit;
    for (bit = 1u << 15; bit; bit >>= 1)
        if ((uint64_t)(root + bit) * (root + bit) <= value) root += bit;
    return root;
}

size_t bb_elements(const bb_tensor *tensor) {
    size_t total = 1;
    for (int i = 0; i < tensor->axes; i++) total *= tensor->shape[i];
    return total;
}

/* ---- The range decoder -------------------------------------------------------------------- */

enum { BB_SQUASH_HALF = 3072, BB_SLACK = 4, BB_GRID_DECISION = 16 };

typedef struct {
    uint64_t range, code;
    int64_t left;        /* decisions that the stream's size allows */
    const uint8_t *data; /* the stream */
    size_t size, at, begin; /* begin: the bytes before are not of this part */
    uint8_t *front;      /* bytes to read before data[at], at the end of a buffer */
    size_t room, front_at;
    size_t past;         /* zeros read behind the end */
    int padded;          /* whether zeros may be left at the end */
    int status;
    uint16_t *squash;    /* P(1) of 2^16 at log odds i / 256, i = 0..3072 */
} bb_range;

static uint32_t bb_next(bb_range *r) {
    if (r->front_at < r->room) return r->front[r->front_at++];
    if (r->at < r->size) return r->data[r->at++];
    r->past++;
    return 0;
}

static void bb_begin(bb_range *r) {
    r->range = (uint64_t)1 << 40;
    r->code = 0;
    r->past = 0;
    for (int i = 0; i < 5; i++) r->code = r->code << 8 | bb_next(r);
}

static void bb_squash(uint16_t *table) { /* 2^16 / (1 + exp(-i / 256)) by integers */
    uint64_t power = (uint64_t)1 << 63, low;
    for (int i = 0; i <= BB_SQUASH_HALF; i++) {
        uint64_t whole = ((uint64_t)1 << 48) + (power >> 15), p = UINT64_MAX / whole;
        p += UINT64_MAX % whole == whole - 1;
        table[i] = (uint16_t)(p > 65520 ? 65520 : p);
        bb_product(power, 18374827034086858296u, &power, &low); /* exp(-1 / 256) x 2^64 */
    }
}

static int bb_bit(bb_range *r, uint32_t probability) {
    uint64_t bound = (r->range >> 16) * probability;
    int symbol = r->code < bound;
    if (--r->left < 0) r->status = BB_CORRUPT;
    if (symbol) {
        r->range = bound;
    } else {
        r->range -= bound;
        r->code -= bound;
    }
    while (r->range < (uint64_t)1 << 32) {
        r->range <<= 8;
        if (r->past >= BB_SLACK) r->status = BB_CORRUPT;
        r->code = r->code << 8 | bb_next(r);
    }
    return symbol;
}

/* One decision, whose log odds are extra + the thetas that are active; returns twice the error
 * plus the decision. */
static int64_t bb_learned(bb_range *r, int64_t *theta, int64_t *seen, const uint32_t *active,
                          int count, int64_t extra) {
    int64_t total = extra, place, p, error, information, push;
    int symbol;
    for (int k = 0; k < count; k++) total += theta[active[k]];
    place = bb_clip(bb_shr(total, 16), -BB_SQUASH_HALF, BB_SQUASH_HALF);
    p = place < 0 ? 65536 - r->squash[-place] : r->squash[place];
    symbol = bb_bit(r, (uint32_t)p);
    error = ((int64_t)symbol << 16) - p;
    information = p * (65536 - p) >> 16;
    push = error * ((int64_t)1 << 24);
    for (int k = 0; k < count; k++) {
        seen[active[k]] += information;
        theta[active[k]] += bb_div(push, seen[active[k]]);
    }
    return 2 * error + symbol;
}

/* How many bytes end a part of the stream. */
static size_t bb_tail(const bb_range *r) { return r->range >= (uint64_t)1 << 33 ? 1 : 2; }

static void bb_check_end(bb_range *r) {
    int fits = r->code >> 32 == 0;
    if (!r->padded) {
        fits = fits && r->past == BB_SLACK;
    } else {
        fits = fits && r->past <= BB_SLACK && r->at == r->size;
        for (size_t i = r->front_at + r->past - BB_SLACK; fits && i < r->room; i++)
            fits = r->front[i] == 0;
    }
    if (!fits) r->status = BB_CORRUPT;
}

/* ---- Big numbers: lowest limb first ------------------------------------------------------- */

typedef struct {
    uint32_t *limb;
    size_t count, room;
} bb_big;

static void bb_set(bb_big *a, uint32_t value) { a->limb[0] = value; a->count = value != 0; }

static void bb_times(bb_big *a, uint32_t factor) {
    uint64_t carry = 0;
    for (size_t i = 0; i < a->count; i++) {
        carry += (uint64_t)a->limb[i] * factor;
        a->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry && a->count < a->room) a->limb[a->count++] = (uint32_t)carry;
    while (a->count && !a->limb[a->count - 1]) a->count--;
}

static void bb_divide(bb_big *a, uint32_t divisor) {
    uint64_t rest = 0;
    for (size_t i = a->count; i--;) {
        rest = rest << 32 | a->limb[i];
        a->limb[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    while (a->count && !a->limb[a->count - 1]) a->count--;
}

static void bb_plus(bb_big *a, const bb_big *b) {
    uint64_t carry = 0;
    size_t i;
    for (i = 0; i < b->count || carry; i++) {
        if (i == a->room) return;
        if (i == a->count) a->limb[a->count++] = 0;
        carry += (uint64_t)a->limb[i] + (i < b->count ? b->limb[i] : 0);
        a->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

static void bb_copy(bb_big *a, const bb_big *b) {
    a->count = b->count;
    memcpy(a->limb, b->limb, b->count * sizeof(uint32_t));
}

static void bb_multiply(bb_big *a, const bb_big *b, bb_big *scratch) { /* a *= b */
    size_t total = a->count + b->count;
    memset(scratch->limb, 0, total * sizeof(uint32_t));
    for (size_t i = 0; i < a->count; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < b->count || carry; j++) {
            carry += (uint64_t)scratch->limb[i + j] +
                     (j < b->count ? (uint64_t)a->limb[i] * b->limb[j] : 0);
            scratch->limb[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
    }
    scratch->count = total;
    while (scratch->count && !scratch->limb[scratch->count - 1]) scratch->count--;
    bb_copy(a, scratch);
}

static bb_big bb_big_of(bb_memory *m, size_t limbs, int *status) {
    bb_big made = {NULL, 0, limbs};
    made.limb = (uint32_t *)bb_take(m, limbs, sizeof(uint32_t), status);
    return made;
}

/* ---- Rows that are sorted: their order stands for bytes ------------------------------------ */

typedef struct {
    int32_t *codes;
    uint32_t columns, *density, *order, *number, *left;
} bb_rows;

static int bb_compare(const bb_rows *t, uint32_t a, uint32_t b) {
    const int32_t *x = t->codes + (size_t)a * t->columns, *y = t->codes + (size_t)b * t->columns;
    if (t->density[a] != t->density[b]) return t->density[a] > t->density[b] ? -1 : 1;
    for (uint32_t i = 0; i < t->columns; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

/* order[first..] becomes the places of these rows when they are sorted; number[] which of the
 * distinct rows each is, left[] how many there are of each. Returns how many are distinct. */
static uint32_t bb_sort(bb_rows *t, uint32_t first, uint32_t count) {
    uint32_t *order = t->order + first, distinct = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t low = 0, high = i;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            if (bb_compare(t, order[middle], first + i) <= 0) low = middle + 1;
            else high = middle;
        }
        memmove(order + low + 1, order + low, (i - low) * sizeof(uint32_t));
        order[low] = first + i;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!i || bb_compare(t, order[i - 1], order[i])) t->left[distinct++] = 0;
        t->left[distinct - 1]++;
        t->number[order[i]] = distinct - 1;
    }
    return distinct;
}

/* Which of the orders of its members a group stands in, and how many orders there are. */
static void bb_rank(bb_rows *t, uint32_t first, uint32_t count, uint32_t distinct, bb_big *place,
                    bb_big *total, bb_big *part) {
    uint32_t done = 0;
    bb_set(total, 1);
    for (uint32_t i = 0; i < distinct; i++)
        for (uint32_t j = 1; j <= t->left[i]; j++) {
            bb_times(total, ++done);
            bb_divide(total, j);
        }
    bb_set(place, 0);
    bb_copy(part + 1, total);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t member = t->number[first + i], below = 0;
        for (uint32_t j = 0; j < member; j++) below += t->left[j];
        bb_copy(part, part + 1);
        bb_times(part, below);
        bb_divide(part, count - i);
        bb_plus(place, part);
        bb_times(part + 1, t->left[member]);
        bb_divide(part + 1, count - i);
        t->left[member]--;
    }
}

static void bb_arrange(bb_rows *t, uint32_t rows) { /* the rows in their sorted order */
    for (uint32_t i = 0; i < rows; i++) {
        uint32_t from = t->order[i];
        while (from < i) from = t->order[from]; /* where the row has been moved to */
        if (from == i) continue;
        for (uint32_t j = 0; j < t->columns; j++) {
            int32_t *a = t->codes + (size_t)i * t->columns + j;
            int32_t *b = t->codes + (size_t)from * t->columns + j, c = *a;
            *a = *b;
            *b = c;
        }
    }
}

/* Bytes that the order of so many rows can stand for, at most. */
static size_t bb_hidden(uint32_t rows, uint32_t size) {
    return ((size_t)rows * (size_t)bb_bits(size) + 7) / 8;
}

/* Go on with the bytes that quotient x total + place stands for, and what follows. */
static void bb_reveal(bb_range *r, bb_big *total, const bb_big *place) {
    size_t count, back = 5 - bb_tail(r), part;
    uint32_t quotient = 0;
    bb_big one = {&quotient, 1, 1};
    int is_one = total->count == 1 && total->limb[0] == 1;
    quotient = 1;
    for (size_t i = 0; i < total->count; i++) { /* total - 1, whose bytes count */
        if (total->limb[i]--) break;
    }
    while (total->count && !total->limb[total->count - 1]) total->count--;
    count = total->count ? (total->count - 1) * 4 + (size_t)(bb_bits(total->limb[total->count - 1]) + 7) / 8 : 0;
    bb_plus(total, &one);
    back -= !is_one;
    if (r->past > back) { r->status = BB_CORRUPT; return; }
    back -= r->past;
    part = back < r->at - r->begin ? back : r->at - r->begin;
    r->at -= part;
    r->front_at -= back - part;
    if (!is_one) {
        quotient = r->at > r->begin ? r->data[r->at - 1] : r->front[r->front_at - 1];
        bb_times(total, quotient);
    } else {
        bb_set(total, 0);
    }
    bb_plus(total, place);
    if (r->at > r->begin) {
        r->front_at = r->room;
        r->begin = r->at;
    }
    r->padded |= r->at == r->size && r->front_at == r->room;
    if (count > r->front_at) { r->status = BB_CORRUPT; return; }
    r->front_at -= count;
    for (size_t i = 0; i < total->count * 4; i++) {
        uint32_t byte = total->limb[i / 4] >> 8 * (i % 4) & 255;
        if (i < count) r->front[r->front_at + i] = (uint8_t)byte;
        else if (byte) r->status = BB_CORRUPT;
    }
    for (size_t i = total->count * 4; i < count; i++) r->front[r->front_at + i] = 0;
    bb_begin(r);
}

static void bb_sorted(bb_range *r, int32_t *codes, uint32_t rows, uint32_t columns, uint32_t size,
                      bb_memory *m) {
    size_t limbs = bb_hidden(rows, size) / 4 + 4, few = bb_hidden(size, size) / 4 + 4;
    bb_rows t = {codes, columns, NULL, NULL, NULL, NULL};
    bb_big place = bb_big_of(m, limbs, &r->status), total = bb_big_of(m, limbs, &r->status);
    bb_big scratch = bb_big_of(m, limbs + few, &r->status), group[4];
    for (int i = 0; i < 4; i++) group[i] = bb_big_of(m, few, &r->status);
    t.density = (uint32_t *)bb_take(m, rows, 4, &r->status);
    t.order = (uint32_t *)bb_take(m, rows, 4, &r->status);
    t.number = (uint32_t *)bb_take(m, rows, 4, &r->status);
    t.left = (uint32_t *)bb_take(m, size, 4, &r->status);
    if (r->status) return;
    for (size_t i = 0; i < (size_t)rows * columns; i++) t.density[i / columns] += codes[i] != 0;
    bb_set(&total, 1);
    for (uint32_t first = 0; first < rows; first += size) {
        uint32_t count = rows - first < size ? rows - first : size;
        uint32_t distinct = bb_sort(&t, first, count);
        bb_rank(&t, first, count, distinct, &group[0], &group[1], &group[2]);
        bb_multiply(&place, &group[1], &scratch);
        bb_plus(&place, &group[0]);
        bb_multiply(&total, &group[1], &scratch);
    }
    bb_arrange(&t, rows);
    bb_reveal(r, &total, &place);
}

/* ---- Where columns lie --------------------------------------------------------------------- */

enum { BB_AROUND = 17, BB_MOST_COLUMNS = 1 << 18, BB_NEAR = 10, BB_FAR = 5, BB_SIGNS = 25,
       BB_NODES = 128, BB_LEAVES = BB_NODES + 32, BB_LIKE = 5, BB_CROWD = 6, BB_STATES = 11 };

typedef struct {
    uint32_t groups, taps, columns, width;
    const uint8_t *kept; /* which of all columns are there; NULL: they all are */
    int spatial;
    uint32_t *around; /* of each column its neighbours; `columns` stands for none */
    uint32_t *group;  /* of each column */
} bb_geometry;

/* Fill in `around`, and `group` where it is read. */
static void bb_place(bb_geometry *g, int lent, bb_memory *m, int *status) {
    static const int8_t steps[16][2] = {
        {0, -1}, {-1, 0}, {-1, -1}, {-1, 1}, {0, 1}, {1, 0}, {1, 1}, {1, -1},
        {0, -2}, {-2, 0}, {-1, -2}, {-1, 2}, {-2, -1}, {-2, 1}, {-2, -2}, {-2, 2}};
    uint32_t full = g->groups * g->taps, column = 0, *place;
    g->spatial = g->taps > 1 && g->columns <= BB_MOST_COLUMNS;
    if (lent || (g->spatial && g->groups > 1))
        g->group = (uint32_t *)bb_take(m, g->columns, 4, status);
    place = (uint32_t *)bb_take(m, g->spatial ? full : 0, 4, status);
    g->around = (uint32_t *)bb_take(m, g->spatial ? (size_t)g->columns * BB_AROUND : 0, 4, status);
    if (*status) return;
    for (uint32_t p = 0; (g->spatial || g->group) && p < full; p++) {
        int there = !g->kept || g->kept[p];
        if (g->spatial) place[p] = there ? column : g->columns;
        if (there && g->group) g->group[column] = p / g->taps;
        column += (uint32_t)there;
    }
    column = 0;
    for (uint32_t p = 0; g->spatial && p < full; p++) {
        uint32_t tap = p % g->taps, *around = g->around + (size_t)column * BB_AROUND;
        int64_t y = tap / g->width, x = tap % g->width;
        if (g->kept && !g->kept[p]) continue;
        for (int k = 0; k < 16; k++) {
            int64_t ny = y + steps[k][0], nx = x + steps[k][1];
            int inside = ny >= 0 && ny * g->width < g->taps && nx >= 0 && nx < g->width;
            int64_t other = (int64_t)p + (int64_t)steps[k][0] * g->width + steps[k][1];
            around[k] = inside && other < full ? place[other] : g->columns;
        }
        around[16] = p >= g->taps ? place[p - g->taps] : g->columns;
        column++;
    }
}

static bb_geometry bb_flat(uint32_t columns, uint32_t units, const uint8_t *kept, uint32_t left) {
    bb_geometry g = {1, 0, left, 0, kept, 0, NULL, NULL};
    uint32_t root = bb_root(columns / 3);
    if (units && columns % units == 0) g.groups = units;
    else if (columns && columns % 3 == 0 && root * root == columns / 3) g.groups = 3;
    g.taps = columns / g.groups;
    root = bb_root(g.taps);
    g.width = root * root == g.taps ? root : g.taps;
    return g;
}

/* ---- What the range decoder knows: positions, values, bytes -------------------------------- */

static int64_t bb_log(uint64_t value) { /* of an integer >= 1, in nats, 24 fractional bits */
    int exponent = bb_bits(value) - 1, carry;
    uint64_t mantissa = (value << (62 - exponent)), fraction = 0, high, low;
    for (int i = 0; i < 24; i++) {
        bb_product(mantissa, mantissa, &high, &low);
        mantissa = high << 2 | low >> 62;
        carry = (int)(mantissa >> 63);
        fraction = 2 * fraction + (uint64_t)carry;
        mantissa >>= carry;
    }
    return (int64_t)((((uint64_t)exponent << 24) + fraction) * 11629080 >> 24);
}

static void bb_fill(int64_t *seen, size_t count, int64_t stiffness) {
    for (size_t i = 0; i < count; i++) seen[i] = stiffness;
}

static int64_t bb_step(int64_t weight, int64_t rate, int64_t feature) {
    return bb_clip(weight + bb_shr(rate * bb_shr(feature, 16), 24), -(4 << 24), 4 << 24);
}

/* Which entries of a matrix are not zero: codes becomes 0 or 1. */
static void bb_positions(bb_range *r, int role, int32_t *codes, uint32_t rows,
                         const bb_geometry *g, const int32_t *degree, bb_memory *m) {
    uint32_t columns = g->columns, active[6];
    int one_line = rows == 1 && !g->spatial, grouped = g->spatial && g->groups > 1, count = 3;
    uint32_t first_far = 1 + BB_NEAR, the_row = first_far + BB_FAR, first_column = the_row + 1;
    uint32_t first_group = first_column + (one_line ? 1 : columns + 1);
    size_t size = (size_t)first_group + (grouped ? g->groups : 0);
    int64_t *theta = (int64_t *)bb_take(m, size, 8, &r->status);
    int64_t *seen = (int64_t *)bb_take(m, size, 8, &r->status);
    int64_t *smooth = (int64_t *)bb_take(m, g->spatial ? columns : 0, 8, &r->status);
    int32_t *line = (int32_t *)bb_take(m, g->spatial ? columns + 1 : 0, 4, &r->status);
    int64_t weights[4] = {25165824, 13421773, 8388608, 201327}, inherited = 0, around = 0;
    if (r->status) return;
    theta[0] = role == BB_WEIGHT ? -2 * (1 << 24) : role == BB_BIAS ? 3 << 24 : 0;
    for (int k = 0; k < BB_NEAR; k++) theta[1 + k] = 11744051 * (k % 5);
    for (int k = 0; k < BB_FAR; k++) theta[first_far + (uint32_t)k] = 1677722 * k;
    bb_fill(seen, 1, 52429);
    bb_fill(seen + 1, BB_NEAR, 78643);
    bb_fill(seen + first_far, BB_FAR, 229376);
    bb_fill(seen + the_row, 1, 327680);
    bb_fill(seen + first_column, first_group - first_column, 458752);
    bb_fill(seen + first_group, size - first_group, 98304);
    active[0] = 0;
    active[1] = the_row;
    active[2] = first_column;
    for (uint32_t row = 0; row < rows; row++) {
        int32_t *here = codes + (size_t)row * columns;
        if (row) {
            inherited = theta[the_row] + bb_shr(weights[2] * inherited, 24);
            inherited = bb_clip(inherited, -((int64_t)64 << 24), (int64_t)64 << 24);
            theta[the_row] = 0;
            seen[the_row] = 327680;
        }
        for (uint32_t c = 0; g->spatial && c < columns; c++) {
            int64_t total = 0;
            for (int k = 0; k < 8; k++)
                total += theta[first_column + g->around[(size_t)c * BB_AROUND + (size_t)k]];
            smooth[c] = bb_shr(total, 3);
            line[c] = 0;
        }
        for (uint32_t c = 0; c < columns; c++) {
            int64_t units = degree ? degree[g->group[c]] : 0, extra, outcome, rate;
            if (one_line) {
                theta[first_column] = 0;
                seen[first_column] = 458752;
            } else {
                active[2] = first_column + c;
            }
            if (g->spatial) {
                const uint32_t *near_by = g->around + (size_t)c * BB_AROUND;
                int32_t near = 5 * line[near_by[16]], far = 0;
                for (int k = 0; k < 4; k++) near += line[near_by[k]];
                for (int k = 8; k < 16; k++) far += line[near_by[k]];
                around = smooth[c];
                active[3] = 1 + (uint32_t)near;
                active[4] = first_far + (uint32_t)(far < BB_FAR ? far : BB_FAR - 1);
                count = 5;
            }
            if (grouped) {
                active[5] = first_group + g->group[c];
                count = 6;
            }
            extra = weights[0] * around + weights[1] * units + weights[2] * inherited;
            outcome = bb_learned(r, theta, seen, active, count, bb_shr(extra, 24));
            if (r->status) return;
            here[c] = (int32_t)(outcome & 1);
            if (g->spatial) line[c] = here[c];
            rate = bb_shr(outcome, 1) * weights[3];
            weights[0] = bb_step(weights[0], rate, around);
            weights[1] = bb_step(weights[1], rate, units);
            weights[2] = bb_step(weights[2], rate, inherited);
        }
    }
}

/* States of what is known around a nonzero entry: signs, magnitudes, how many are nonzero. */
static void bb_surroundings(const int32_t *line, const uint32_t *around, int64_t levels,
                            uint32_t state[3]) {
    int64_t near = 0, total = 0, crowd = 0, far = 0, like = 0;
    for (int k = 0; k < 16; k++) {
        int32_t code = line[around[k]];
        int sign = (code > 0) - (code < 0);
        if (k < 4) {
            near += sign;
            total += sign * code;
        }
        if (k < 8) crowd += sign != 0;
        else far += sign;
        if (k == 3 && crowd)
            like = 1 + bb_clip((4 * total - 2 * crowd) / (crowd * levels), 0, 3);
    }
    state[0] = (uint32_t)(12 + 5 * bb_clip(near, -2, 2) + bb_clip(far, -2, 2));
    state[1] = (uint32_t)like;
    state[2] = (uint32_t)(crowd < BB_CROWD ? crowd : BB_CROWD - 1);
}

/* A weight is predicted from its known neighbours, in units of the mean magnitude. */
enum { BB_NEIGHBOURS = 13, BB_NEARBY = 2 << 16, BB_DISTANT = 5 << 16, BB_LIMIT = 4 << 24 };

typedef struct {
    int64_t weight[BB_NEIGHBOURS], nearby[BB_NEIGHBOURS]; /* 24 and 16 fractional bits */
    int64_t energy, mean, inverse, slope, slope_seen, prediction;
} bb_linear;

static void bb_linear_of(bb_linear *p, int64_t levels) {
    memset(p, 0, sizeof *p);
    p->weight[0] = p->weight[1] = 1 << 22;
    p->weight[2] = -838861;
    p->weight[12] = 1677722;
    p->energy = (int64_t)20 * BB_NEIGHBOURS * 65536;
    p->mean = levels << 14;
    p->slope = 3 << 24;
    p->slope_seen = 3 << 16;
}

static void bb_predict(bb_linear *p, const int32_t *line, const uint32_t *around) {
    int64_t total = 0;
    p->inverse = ((int64_t)1 << 40) / (p->mean + 32768);
    for (int k = 0; k < BB_NEIGHBOURS; k++) {
        int64_t code = line[around[k < 4 ? k : k + 4]];
        p->nearby[k] = bb_clip(bb_shr(code * p->inverse, 8), -BB_NEARBY, BB_NEARBY);
        total += p->weight[k] * p->nearby[k];
    }
    p->prediction = bb_clip(bb_shr(total, 16), -BB_LIMIT, BB_LIMIT);
}

/* Learn from a weight that is known now. */
static void bb_follow(bb_linear *p, int64_t code) {
    int64_t found = bb_clip(bb_shr(code * p->inverse, 8), -BB_DISTANT, BB_DISTANT), rate;
    for (int k = 0; k < BB_NEIGHBOURS; k++) p->energy += p->nearby[k] * p->nearby[k] >> 16;
    rate = bb_div((found * 256 - p->prediction) * 65536 * BB_NEIGHBOURS, p->energy);
    for (int k = 0; k < BB_NEIGHBOURS; k++)
        p->weight[k] = bb_clip(p->weight[k] + bb_shr(rate * p->nearby[k], 16), -BB_LIMIT, BB_LIMIT);
    p->mean += bb_shr((code < 0 ? -code : code) * 65536 - p->mean, 7);
}

/* Learn from a sign; `outcome` is that of bb_learned. */
static void bb_steeper(bb_linear *p, int64_t outcome) {
    int64_t error = bb_shr(outcome, 1), chance = (outcome & 1) * 65536 - error;
    int64_t feature = bb_shr(p->prediction, 8), slope;
    p->slope_seen += (chance * (65536 - chance) >> 16) * (feature * feature >> 16) >> 16;
    slope = p->slope + bb_div(error * feature * 256, p->slope_seen);
    p->slope = bb_clip(slope, -2 * BB_LIMIT, 2 * BB_LIMIT);
}

/* The nonzero entries of a matrix, which are 1 before. */
static void bb_values(bb_range *r, int32_t *codes, uint32_t rows, const bb_geometry *g,
                      uint32_t negative, uint32_t positive, int predicts, bb_memory *m) {
    enum { LEAF = 1 + BB_SIGNS, SIDE = LEAF + BB_LEAVES, ALIKE = SIDE + 2 * BB_LEAVES,
           CROWDED = ALIKE + BB_LIKE * BB_LEAVES, ROW = CROWDED + BB_CROWD * BB_LEAVES,
           PREDICTED = ROW + 1 };
    size_t size = PREDICTED + (predicts ? BB_STATES * BB_LEAVES : 0);
    int64_t *theta = (int64_t *)bb_take(m, size, 8, &r->status);
    int64_t *seen = (int64_t *)bb_take(m, size, 8, &r->status);
    int32_t *line = (int32_t *)bb_take(m, g->spatial ? g->columns + 1 : 0, 4, &r->status);
    uint32_t active[5], state[3] = {0, 0, 0}, leaves[5] = {0}, levels;
    bb_linear linear;
    if (r->status) return;
    levels = negative > positive ? negative : positive;
    bb_linear_of(&linear, levels);
    bb_fill(seen, 1, 65536);
    bb_fill(seen + 1, BB_SIGNS, 22938);
    bb_fill(seen + LEAF, BB_LEAVES, 65536);
    bb_fill(seen + SIDE, 2 * BB_LEAVES, 393216);
    bb_fill(seen + ALIKE, BB_LIKE * BB_LEAVES, 262144);
    bb_fill(seen + CROWDED, BB_CROWD * BB_LEAVES, 393216);
    bb_fill(seen + PREDICTED, size - PREDICTED, 196608);
    for (int k = 0; k < BB_SIGNS; k++)
        theta[1 + k] = (int64_t)30198989 * (k / 5 - 2) + 5033165 * (k % 5 - 2);
    for (uint32_t row = 0; row < rows; row++) {
        int32_t *here = codes + (size_t)row * g->columns;
        theta[ROW] = 0;
        seen[ROW] = 1310720;
        if (g->spatial) memcpy(line, here, (size_t)g->columns * 4);
        for (uint32_t c = 0; c < g->columns; c++) {
            uint32_t sign = positive > 0, low = 1, high, node = 1, depth = 0;
            if (!here[c]) continue;
            if (g->spatial)
                bb_surroundings(line, g->around + (size_t)c * BB_AROUND, levels, state);
            if (predicts) bb_predict(&linear, line, g->around + (size_t)c * BB_AROUND);
            if (negative && positive) {
                int64_t extra = bb_shr(linear.slope * linear.prediction, 24), outcome;
                active[0] = 0;
                active[1] = ROW;
                active[2] = 1 + state[0];
                outcome = bb_learned(r, theta, seen, active, 2 + g->spatial - predicts, extra);
                sign = (uint32_t)outcome & 1;
                if (predicts) bb_steeper(&linear, outcome);
            }
            leaves[0] = LEAF;
            leaves[1] = SIDE + sign * BB_LEAVES;
            leaves[2] = ALIKE + state[1] * BB_LEAVES;
            leaves[3] = CROWDED + state[2] * BB_LEAVES;
            if (predicts) {
                int64_t ahead = 3 * (sign ? linear.prediction : -linear.prediction) + (7 << 23);
                leaves[4] = PREDICTED + (uint32_t)bb_clip(bb_shr(ahead, 24), 0, BB_STATES - 1) * BB_LEAVES;
            }
            high = sign ? positive : negative;
            while (low < high) {
                uint32_t middle = (low + high) >> 1, leaf = node < BB_NODES ? node : BB_NODES + depth;
                int count = 2 + 2 * g->spatial + predicts, above;
                for (int k = 0; k < count; k++) active[k] = leaves[k] + leaf;
                above = (int)(bb_learned(r, theta, seen, active, count, 0) & 1);
                if (above) low = middle + 1;
                else high = middle;
                node = 2 * node + (uint32_t)above;
                depth++;
            }
            if (r->status) return;
            here[c] = sign ? (int32_t)low : -(int32_t)low;
            if (g->spatial) line[c] = here[c];
            if (predicts) bb_follow(&linear, here[c]);
        }
    }
}

static void bb_octets(bb_range *r, uint8_t *data, size_t count, uint32_t stride, bb_memory *m) {
    int64_t *theta = (int64_t *)bb_take(m, (size_t)stride * 256, 8, &r->status);
    int64_t *seen = (int64_t *)bb_take(m, (size_t)stride * 256, 8, &r->status);
    if (r->status) return;
    bb_fill(seen, (size_t)stride * 256, 19661);
    for (size_t i = 0; i < count && !r->status; i++) {
        uint32_t node = 1, active;
        for (int bit = 0; bit < 8; bit++) {
            active = (uint32_t)(i % stride) * 256 + node;
            node = 2 * node + (uint32_t)(bb_learned(r, theta, seen, &active, 1, 0) & 1);
        }
        data[i] = (uint8_t)node;
    }
}

/* ---- Grids ---------------------------------------------------------------------------------- */

enum { BB_KIND, BB_FIRST, BB_SHIFT, BB_EXTENT, BB_LEVELS, BB_RISE, BB_SORTED, BB_MANTISSA, BB_NUMBERS };
enum { BB_PREFIX = 32, BB_MOST_LEVELS = 65536, BB_LOWEST = 0x80, BB_END = 0x7F80 };

typedef struct {
    bb_range range;
    bb_memory *memory;
    int64_t (*theta)[2 * BB_PREFIX], (*seen)[2 * BB_PREFIX]; /* of each kind of numbers */
    int64_t pattern;                                          /* of the last grid */
    int predicts, unit; /* whether weights are predicted; how many low bits of patterns are 0 */
    int32_t *units; /* weights of each unit of the layer before */
    uint32_t unit_count;
    const uint8_t *kept; /* the choice made behind that layer */
    uint32_t kept_count;
    int32_t **lent; /* those of each weight so far, and how many */
    uint32_t *lent_count, weights;
} bb_model;

static int bb_decide(bb_range *r, int64_t *theta, int64_t *seen, uint32_t place) {
    r->left -= BB_GRID_DECISION - 1;
    return (int)(bb_learned(r, theta, seen, &place, 1, 0) & 1);
}

/* An integer 0..limit, by Exp-Golomb. */
static uint32_t bb_number(bb_model *d, int kind, uint32_t limit) {
    bb_range *r = &d->range;
    int length = 0, most = bb_bits(limit);
    uint32_t found = 1;
    while (bb_decide(r, d->theta[kind], d->seen[kind], (uint32_t)length)) {
        if (++length > most || r->status) { r->status = BB_CORRUPT; return 0; }
    }
    for (int shift = length - 1; shift >= 0; shift--) {
        int64_t plain = 0, one = 1;
        int bit = shift == length - 1
            ? bb_decide(r, d->theta[kind], d->seen[kind], BB_PREFIX + (uint32_t)length)
            : bb_decide(r, &plain, &one, 0);
        found = 2 * found + (uint32_t)bit;
    }
    if (found - 1 > limit) r->status = BB_CORRUPT;
    return r->status ? 0 : found - 1;
}

static uint16_t bb_first(bb_model *d) { /* a pattern near that of the last grid */
    int64_t folded = bb_number(d, BB_FIRST, BB_MOST_LEVELS), unit = (int64_t)1 << d->unit;
    d->pattern = ((d->pattern >> d->unit) + (folded % 2 ? -(folded + 1) / 2 : folded / 2)) * unit;
    if (d->pattern < BB_LOWEST || d->pattern >= BB_END) d->range.status = BB_CORRUPT;
    return (uint16_t)d->pattern;
}

static const uint16_t *bb_side(bb_model *d, uint32_t *count) {
    uint16_t *side;
    int64_t value = 0;
    *count = bb_number(d, BB_LEVELS, BB_MOST_LEVELS);
    side = (uint16_t *)bb_take(d->memory, *count, 2, &d->range.status);
    for (uint32_t i = 0; i < *count && !d->range.status; i++) {
        if (i) value += (1 + (int64_t)bb_number(d, BB_RISE, BB_MOST_LEVELS)) << d->unit;
        else value = bb_first(d);
        if (value >= BB_END) d->range.status = BB_CORRUPT;
        side[i] = (uint16_t)value;
    }
    return side;
}

/* Of a tensor of so many units; `bounds` receives the greatest -integer and integer in use. */
static void bb_grid_of(bb_model *d, bb_grid *grid, uint32_t units, int axes, uint32_t bounds[2]) {
    int *status = &d->range.status;
    grid->kind = (uint8_t)bb_number(d, BB_KIND, BB_SHIFTED);
    if (d->predicts) d->unit = 7 - (int)bb_number(d, BB_MANTISSA, 7);
    if (grid->kind == BB_CODEBOOK) {
        grid->positive = bb_side(d, &grid->positives);
        grid->negative = bb_side(d, &grid->negatives);
        bounds[0] = grid->negatives;
        bounds[1] = grid->positives;
        return;
    }
    grid->step = bb_first(d);
    if (grid->kind == BB_SHIFTED && !*status) {
        uint8_t *shifts = (uint8_t *)bb_take(d->memory, units, 1, status);
        int least = 12;
        for (uint32_t i = 0; i < units && !*status; i++) {
            shifts[i] = (uint8_t)bb_number(d, BB_SHIFT, 12);
            if (shifts[i] < least) least = shifts[i];
        }
        if (units && (least || axes < 2)) *status = *status ? *status : BB_CORRUPT;
        grid->shifts = shifts;
    }
    bounds[0] = bb_number(d, BB_EXTENT, BB_MOST_LEVELS);
    bounds[1] = bb_number(d, BB_EXTENT, BB_MOST_LEVELS);
}

/* Whether all integers are within their grid. */
static int bb_within(const bb_tensor *t, const bb_grid *grid, const int32_t *codes) {
    size_t count = bb_elements(t), inner = 1;
    int64_t low = -BB_MOST_LEVELS, high = BB_MOST_LEVELS;
    if (grid->kind == BB_CODEBOOK) {
        low = -(int64_t)grid->negatives;
        high = grid->positives;
    }
    for (int i = 1 + grid->swapped; i < t->axes; i++) inner *= t->shape[i];
    for (size_t i = 0; i < count; i++) {
        int64_t value = codes[i];
        if (grid->kind == BB_SHIFTED)
            value *= (int64_t)1 << grid->shifts[i / inner % t->shape[0]];
        if (value < low || value > high) return 0;
    }
    return 1;
}

/* ---- The tensors of a range-coded stream ----------------------------------------------------- */

static void bb_borrow(bb_model *d, const bb_tensor *t) {
    size_t count = 0;
    if (t->lenders == BB_LENT_BY_LAST) return;
    for (int i = 0; i < t->lenders; i++) {
        if (t->lender[i] >= d->weights) { d->range.status = BB_CORRUPT; return; }
        count += d->lent_count[t->lender[i]];
    }
    d->units = (int32_t *)bb_take(d->memory, count, 4, &d->range.status);
    d->unit_count = 0;
    for (int i = 0; i < t->lenders && !d->range.status; i++) {
        uint32_t n = d->lent_count[t->lender[i]];
        if (n) memcpy(d->units + d->unit_count, d->lent[t->lender[i]], (size_t)n * 4);
        d->unit_count += n;
    }
}

/* Log odds that the units before lend their columns, 24 fractional bits. */
static const int32_t *bb_degrees(bb_model *d) {
    int32_t *degree = (int32_t *)bb_take(d->memory, d->unit_count, 4, &d->range.status);
    uint64_t total = 0, units = d->unit_count;
    int64_t mean;
    if (d->range.status) return NULL;
    for (uint32_t i = 0; i < units; i++) total += (uint64_t)d->units[i];
    mean = bb_log(2 * units + total) - bb_log(units);
    for (uint32_t i = 0; i < units; i++)
        degree[i] = (int32_t)(bb_log(2 + (uint64_t)d->units[i]) - mean);
    return degree;
}

static bb_geometry bb_geometry_of(const bb_model *d, const bb_tensor *t, const uint32_t *shape) {
    uint32_t columns = t->axes > 1 ? shape[1] : t->axes ? shape[0] : 1, left = 0;
    bb_geometry g;
    if (t->axes > 2) {
        g = bb_flat(0, 0, NULL, 0);
        g.groups = columns;
        g.taps = 1;
        for (int i = 2; i < t->axes; i++) g.taps *= shape[i];
        g.columns = g.groups * g.taps;
        g.width = shape[t->axes - 1];
        return g;
    }
    if (t->role != BB_WEIGHT) return bb_flat(columns, columns, NULL, columns);
    for (uint32_t i = 0; d->kept && i < d->kept_count; i++) left += d->kept[i];
    if (d->kept && left == columns) return bb_flat(d->kept_count, d->unit_count, d->kept, columns);
    return bb_flat(columns, d->unit_count, NULL, columns);
}

/* The integers of a weight or bias; axis 0 of `shape` are the rows. */
static void bb_matrix(bb_model *d, const bb_tensor *t, int32_t *codes, const uint32_t *shape,
                      const uint32_t bounds[2], int sorted, bb_grid *grid) {
    uint32_t rows = t->axes > 1 ? shape[0] : 1, size = 0;
    bb_geometry g = bb_geometry_of(d, t, shape);
    int is_weight = t->role == BB_WEIGHT, *status = &d->range.status;
    int lent = is_weight && d->unit_count && g.groups == d->unit_count;
    size_t count = (size_t)rows * g.columns, some = 0, mark;
    if (is_weight && sorted && rows > 1) {
        uint32_t halvings = bb_number(d, BB_SORTED, 16);
        grid->groups = (uint32_t)1 << halvings >> 1;
        size = grid->groups ? (rows + grid->groups - 1) / grid->groups : 0;
        if (size && (size < 2 || size > 1024 || rows > 65536)) *status = BB_CORRUPT;
    }
    if (*status) return;
    mark = d->memory->used;
    bb_place(&g, lent, d->memory, status);
    if (!*status)
        bb_positions(&d->range, t->role, codes, rows, &g, lent ? bb_degrees(d) : NULL, d->memory);
    for (size_t i = 0; !*status && i < count; i++) some += codes[i] != 0;
    if (some && !*status) {
        if (!bounds[0] && !bounds[1]) *status = BB_CORRUPT;
        else bb_values(&d->range, codes, rows, &g, bounds[0], bounds[1], d->predicts && g.spatial,
                       d->memory);
    }
    bb_release(d->memory, mark);
    if (size && !*status) bb_sorted(&d->range, codes, rows, g.columns, size, d->memory);
    bb_release(d->memory, mark);
}

static void bb_quantised(bb_model *d, const bb_tensor *t, int32_t *codes, int sorted,
                         bb_grid *grid) {
    uint32_t shape[8], bounds[2], rows;
    size_t count = bb_elements(t);
    int32_t *units = NULL;
    if (t->role == BB_WEIGHT) bb_borrow(d, t);
    memcpy(shape, t->shape, sizeof shape);
    bb_grid_of(d, grid, t->axes > 1 ? shape[0] : 1, t->axes, bounds);
    grid->swapped = t->swapped;
    if (t->swapped) {
        shape[0] = t->shape[1];
        shape[1] = t->shape[0];
    }
    rows = t->axes > 1 ? shape[0] : 1;
    if (t->role == BB_WEIGHT) units = (int32_t *)bb_take(d->memory, rows, 4, &d->range.status);
    if (count && !d->range.status) bb_matrix(d, t, codes, shape, bounds, sorted, grid);
    if (!d->range.status && !bb_within(t, grid, codes)) d->range.status = BB_CORRUPT;
    if (t->role != BB_WEIGHT || d->range.status) return;
    for (size_t i = 0; i < count; i++) units[i / (count / rows)] += codes[i] != 0;
    d->units = d->lent[d->weights] = units;
    d->unit_count = d->lent_count[d->weights++] = rows;
    d->kept = NULL;
}

static void bb_mask(bb_model *d, const bb_tensor *t, uint8_t *mask) {
    uint32_t count = (uint32_t)bb_elements(t);
    bb_geometry g;
    int32_t *codes;
    size_t mark;
    bb_borrow(d, t);
    g = bb_flat(count, d->unit_count, NULL, count);
    mark = d->memory->used;
    codes = (int32_t *)bb_take(d->memory, count, 4, &d->range.status);
    if (count) bb_place(&g, 0, d->memory, &d->range.status);
    if (count && !d->range.status)
        bb_positions(&d->range, BB_MASK, codes, 1, &g, NULL, d->memory);
    for (uint32_t i = 0; i < count && !d->range.status; i++) mask[i] = (uint8_t)codes[i];
    bb_release(d->memory, mark);
    d->kept = mask;
    d->kept_count = count;
}

static int bb_is_plain(const bb_tensor *t) { /* whether it stands before the stream as it is */
    return t->role == BB_RAW && bb_elements(t) * t->item > BB_CODED_RAW;
}

static int bb_range_stream(const bb_tensor *tensors, uint32_t count, const uint8_t *stream,
                           size_t size, int sorted, int predicts, void *const *data,
                           bb_grid *grids, bb_memory *m) {
    bb_model d = {0};
    bb_range *r = &d.range;
    size_t weights = 0, most = 22800 * size, other = ((size_t)1 << 22) + 4096 * size;
    for (uint32_t i = 0; i < count; i++) {
        const bb_tensor *t = tensors + i;
        weights += t->role == BB_WEIGHT;
        if (sorted && t->role == BB_WEIGHT && t->axes > 1) {
            uint32_t rows = t->shape[t->swapped];
            r->room += bb_hidden(rows, rows < 1024 ? rows : 1024) + 1;
        }
    }
    r->data = stream;
    r->size = size;
    r->left = (int64_t)(most < other ? most : other);
    r->squash = (uint16_t *)bb_take(m, BB_SQUASH_HALF + 1, 2, &r->status);
    r->front = (uint8_t *)bb_take(m, r->room, 1, &r->status);
    r->front_at = r->room;
    d.memory = m;
    d.pattern = 0x3D80;
    d.predicts = predicts;
    d.theta = (int64_t(*)[2 * BB_PREFIX])bb_take(m, BB_NUMBERS, sizeof *d.theta, &r->status);
    d.seen = (int64_t(*)[2 * BB_PREFIX])bb_take(m, BB_NUMBERS, sizeof *d.seen, &r->status);
    d.lent = (int32_t **)bb_take(m, weights, sizeof *d.lent, &r->status);
    d.lent_count = (uint32_t *)bb_take(m, weights, 4, &r->status);
    if (r->status) return r->status;
    bb_fill(d.seen[0], BB_NUMBERS * 2 * BB_PREFIX, 19661);
    bb_squash(r->squash);
    bb_begin(r);
    for (uint32_t i = 0; i < count && !r->status; i++) {
        const bb_tensor *t = tensors + i;
        size_t bytes = bb_elements(t) * t->item, mark = m->used;
        if (bb_is_plain(t)) continue;
        if (t->role == BB_MASK) {
            bb_mask(&d, t, (uint8_t *)data[i]);
        } else if (t->role == BB_RAW) {
            bb_octets(r, (uint8_t *)data[i], bytes, t->item, m);
            bb_release(m, mark);
        } else {
            bb_quantised(&d, t, (int32_t *)data[i], sorted, grids + i);
        }
    }
    if (!r->status) bb_check_end(r);
    return r->status;
}

/* ---- The Huffman coder ------------------------------------------------------------------------ */

enum { BB_LONGEST = 31 };

typedef struct {
    const uint8_t *data;
    uint64_t at, end; /* bits */
    int status;
} bb_bitstream;

static uint32_t bb_read(bb_bitstream *b, int width) {
    uint32_t value = 0;
    if (b->end - b->at < (uint64_t)width) { b->status = BB_CORRUPT; return 0; }
    for (; width; width--, b->at++)
        value = value << 1 | (b->data[b->at / 8] >> (7 - b->at % 8) & 1);
    return value;
}

static void bb_admit(bb_bitstream *b, uint64_t bits) {
    if (bits > b->end - b->at) b->status = BB_CORRUPT;
}

/* A canonical prefix code: how many codes there are of each length, and their symbols in order. */
typedef struct {
    uint32_t count[BB_LONGEST + 1], *symbol;
} bb_code;

static void bb_code_of(bb_bitstream *b, bb_code *code, uint32_t alphabet, bb_memory *m) {
    uint8_t *length;
    uint32_t used = 0, start[BB_LONGEST + 2] = {0};
    uint64_t total = 0;
    memset(code->count, 0, sizeof code->count);
    bb_admit(b, alphabet);
    if (b->status) return;
    code->symbol = (uint32_t *)bb_take(m, alphabet, 4, &b->status);
    length = (uint8_t *)bb_take(m, alphabet, 1, &b->status);
    if (b->status) return;
    for (uint32_t i = 0; i < alphabet; i++) length[i] = (uint8_t)bb_read(b, 1);
    for (uint32_t i = 0; i < alphabet; i++)
        if (length[i]) {
            length[i] = (uint8_t)bb_read(b, 5);
            code->count[length[i]]++;
        }
    code->count[0] = 0;
    for (int n = 1; n <= BB_LONGEST; n++) {
        start[n + 1] = start[n] + code->count[n];
        total += (uint64_t)code->count[n] << (BB_LONGEST - n);
        used += code->count[n];
    }
    if (used > 1 ? total != (uint64_t)1 << BB_LONGEST : used && !code->count[1])
        b->status = BB_CORRUPT;
    for (uint32_t i = 0; i < alphabet; i++)
        if (length[i]) code->symbol[start[length[i]]++] = i;
}

static uint32_t bb_symbol(bb_bitstream *b, const bb_code *code) {
    uint32_t value = 0, first = 0, index = 0;
    for (int n = 1; n <= BB_LONGEST && !b->status; n++) {
        value = value << 1 | bb_read(b, 1);
        first <<= 1;
        if (value >= first && value - first < code->count[n])
            return code->symbol[index + value - first];
        index += code->count[n];
        first += code->count[n];
    }
    b->status = BB_CORRUPT;
    return 0;
}

static uint16_t bb_pattern(bb_bitstream *b) {
    uint32_t value = bb_read(b, 16);
    if (value < BB_LOWEST || value >= BB_END) b->status = BB_CORRUPT;
    return (uint16_t)value;
}

static const uint16_t *bb_huffman_side(bb_bitstream *b, uint32_t *count, bb_memory *m) {
    uint16_t *side;
    *count = bb_read(b, 17);
    if (*count > BB_MOST_LEVELS) b->status = BB_CORRUPT;
    bb_admit(b, 16 * (uint64_t)*count);
    if (b->status) return NULL;
    side = (uint16_t *)bb_take(m, *count, 2, &b->status);
    for (uint32_t i = 0; i < *count && !b->status; i++) {
        side[i] = bb_pattern(b);
        if (i && side[i] <= side[i - 1]) b->status = BB_CORRUPT;
    }
    return side;
}

/* Nonzero entries: distances first, then what stands there. */
static void bb_sparse(bb_bitstream *b, const bb_tensor *t, int32_t *codes, int64_t low,
                      int64_t high, bb_memory *m) {
    size_t size = bb_elements(t), mark = m->used;
    uint64_t place = 0;
    uint32_t count = bb_read(b, 32);
    bb_code gaps = {{0}, NULL}, values = {{0}, NULL};
    bb_bitstream before;
    bb_admit(b, 2 * (uint64_t)count);
    if (!b->status) bb_code_of(b, &gaps, t->axes > 2 ? 256 : 32, m);
    if (!b->status) bb_code_of(b, &values, (uint32_t)(high - low + 1), m);
    memset(codes, 0, size * 4);
    before = *b;
    for (uint32_t i = 0; i < count && !b->status; i++) bb_symbol(b, &gaps);
    for (uint32_t i = 0; i < count && !b->status; i++, place++) {
        place += bb_symbol(&before, &gaps);
        int64_t value = low + (int64_t)bb_symbol(b, &values);
        if (place >= size) b->status = BB_CORRUPT;
        else codes[place] = (int32_t)value;
    }
    bb_release(m, mark);
}

static void bb_huffman_tensor(bb_bitstream *b, const bb_tensor *t, int32_t *codes, bb_grid *grid,
                              bb_memory *m) {
    size_t size = bb_elements(t);
    int64_t low, high;
    int width;
    grid->kind = (uint8_t)(bb_read(b, 1) ? BB_CODEBOOK : BB_UNIFORM);
    if (grid->kind == BB_CODEBOOK) {
        grid->positive = bb_huffman_side(b, &grid->positives, m);
        grid->negative = bb_huffman_side(b, &grid->negatives, m);
        low = -(int64_t)grid->negatives;
        high = grid->positives;
    } else {
        grid->step = bb_pattern(b);
        low = -(int64_t)bb_read(b, 17);
        high = bb_read(b, 17);
    }
    if (b->status) return;
    width = bb_bits((uint64_t)(high - low));
    if (t->role == BB_WEIGHT) {
        bb_sparse(b, t, codes, low, high, m);
    } else {
        bb_admit(b, (uint64_t)size * (uint64_t)width);
        for (size_t i = 0; i < size && !b->status; i++)
            codes[i] = (int32_t)(low + (int64_t)bb_read(b, width));
    }
    if (!b->status && !bb_within(t, grid, codes)) b->status = BB_CORRUPT;
}

static int bb_huffman_stream(const bb_tensor *tensors, uint32_t count, const uint8_t *stream,
                             size_t size, void *const *data, bb_grid *grids, bb_memory *m) {
    bb_bitstream b = {stream, 0, 8 * (uint64_t)size, BB_OK};
    for (uint32_t i = 0; i < count && !b.status; i++) {
        const bb_tensor *t = tensors + i;
        uint8_t *bytes = (uint8_t *)data[i];
        int is_mask = t->role == BB_MASK;
        if (t->role == BB_WEIGHT || t->role == BB_BIAS) {
            bb_huffman_tensor(&b, t, (int32_t *)data[i], grids + i, m);
        } else if (!bb_is_plain(t)) {
            size_t n = bb_elements(t) * (is_mask ? 1 : t->item);
            bb_admit(&b, (uint64_t)n * (is_mask ? 1 : 8));
            for (size_t k = 0; k < n && !b.status; k++)
                bytes[k] = (uint8_t)bb_read(&b, is_mask ? 1 : 8);
        }
    }
    if (b.status) return b.status;
    if (b.end - b.at >= 8 || bb_read(&b, (int)(b.end - b.at))) return BB_CORRUPT;
    return b.status;
}

/* ---- Streams and files -------------------------------------------------------------------------- */

int bb_decode_stream(const bb_tensor *tensors, uint32_t count, const uint8_t *stream, size_t size,
                     int coder, int sorted, void *const *data, bb_grid *grids, bb_memory *memory) {
    int status = BB_CORRUPT;
    memory->most = 0;
    bb_release(memory, 0);
    memset(grids, 0, count * sizeof *grids);
    if (coder == BB_RANGE || coder == BB_PREDICTING)
        status = bb_range_stream(tensors, count, stream, size, sorted, coder == BB_PREDICTING, data,
                                 grids, memory);
    else if (coder == BB_HUFFMAN && !sorted)
        status = bb_huffman_stream(tensors, count, stream, size, data, grids, memory);
    BB_SHOW(memory->bytes, memory->size);
    return status;
}

int bb_decode(const bb_network *network, const uint8_t *file, size_t size, void *const *data,
              bb_grid *grids, bb_memory *memory) {
    uint32_t number = 0, version, crc;
    size_t at = 4, length;
    int coder;
    if (size < 9 || memcmp(file, "\x9c" "bb", 3)) return BB_CORRUPT;
    size -= 4;
    crc = bb_crc(file, size);
    for (int i = 0; i < 4; i++)
        if (file[size + (size_t)i] != (crc >> 8 * i & 255)) return BB_CORRUPT;
    version = file[3];
    coder = version > 14 ? BB_PREDICTING : BB_RANGE;
    if (coder == BB_PREDICTING) version -= 14;
    if (version < 1 || version > 9 || version == 5) return BB_VERSION; /* newer profiles: here */
    for (int k = 0; k < 4; k++) {
        if (at >= size) return BB_CORRUPT;
        number |= (uint32_t)(file[at] & 127) << 7 * k;
        if (file[at++] < 128) break;
        if (k == 3) return BB_CORRUPT;
    }
    if (number & 1) {
        if (coder == BB_PREDICTING) return BB_CORRUPT;
        coder = BB_HUFFMAN;
    }
    length = number / 2;
    if (length > size - at) return BB_CORRUPT;
    if (bb_crc(file + at, length) != network->architecture) return BB_OTHER_NETWORK;
    at += length;
    for (uint32_t i = 0; i < network->count; i++) {
        const bb_tensor *t = network->tensors + i;
        size_t bytes = bb_elements(t) * t->item;
        if (!bb_is_plain(t)) continue;
        if (bytes > size - at) return BB_CORRUPT;
        memcpy(data[i], file + at, bytes);
        at += bytes;
    }
    return bb_decode_stream(network->tensors, network->count, file + at, size - at, coder,
                            version > 5, data, grids, memory);
}

void bb_floats(const bb_tensor *t, const bb_grid *grid, const int32_t *integers, float *values) {
    size_t count = bb_elements(t), inner = 1;
    for (int i = 2; i < t->axes; i++) inner *= t->shape[i];
    for (size_t i = 0; i < count; i++) {
        size_t from = i, unit = t->axes > 1 ? i / (count / t->shape[0]) : 0;
        uint32_t bits = (uint32_t)grid->step << 16;
        int64_t code;
        int32_t integer;
        float value;
        if (grid->swapped) {
            size_t column = i / inner % t->shape[1];
            from = (column * t->shape[0] + unit) * inner + i % inner;
        }
        memcpy(&integer, integers + from, 4); /* the same bytes may be floats a moment later */
        code = integer;
        if (grid->kind == BB_CODEBOOK) {
            uint32_t sign = code < 0 ? 0x80000000u : 0;
            bits = !code ? 0 : sign | (uint32_t)(code < 0 ? grid->negative[-code - 1]
                                                          : grid->positive[code - 1]) << 16;
            code = 1;
        }
        memcpy(&value, &bits, 4);
        if (grid->kind == BB_SHIFTED) code *= (int64_t)1 << grid->shifts[unit];
        value *= (float)code;
        memcpy(values + i, &value, 4);
    }
}

size_t bb_lay_out(const bb_network *network, uint8_t *bytes, void **data) {
    size_t at = 0;
    for (uint32_t i = 0; i < network->count; i++) {
        const bb_tensor *t = network->tensors + i;
        if (bytes) data[i] = bytes + at;
        at += (bb_elements(t) * (t->item ? t->item : 4) + 7) & ~(size_t)7;
    }
    return at;
}
#endif
