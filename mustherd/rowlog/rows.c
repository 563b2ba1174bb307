/* Lines of unsigned decimal numbers into columns, in one pass, and columns into what Parquet keeps of them: what
 * mustherd/rowlog has Arrow do where this is not built. It uses no library, so that one build serves every Linux of its
 * kind of processor. */

#include <stdint.h>

/* How many newlines there are in `size` bytes at `text`. */
int64_t mustherd_lines(const unsigned char *text, int64_t size)
{
    int64_t lines = 0;

    while (size > 0) {
        /* As many as a byte can count: the compiler makes one step of sixteen. */
        int64_t some = size < 240 ? size : 240;
        unsigned char found = 0;

        for (int64_t k = 0; k < some; k++)
            found += text[k] == '\n';
        lines += found;
        text += some;
        size -= some;
    }
    return lines;
}

/* Reads `size` bytes at `text`: lines of `columns` numbers of 1 to 20 digits that fit 64 bits, one space between two, a
 * newline after the last. The number of line r in column c goes to columns_out[c * lines + r]; `lines` is how many there
 * is room for. Gives how many lines were read, or -1 where a byte is no part of such lines; columns_out then holds
 * nothing of use. */
int64_t mustherd_rows(const unsigned char *text, int64_t size, int64_t columns, int64_t lines, uint64_t *columns_out)
{
    const unsigned char *at = text, *end = text + size;
    int64_t line = 0;

    /* The last byte is a newline, so that no loop below runs past the end: each stops at what is no digit. */
    if (size == 0)
        return 0;
    if (end[-1] != '\n')
        return -1;
    for (; at < end; line++) {
        uint64_t *out = columns_out + line;

        if (line >= lines)
            return -1;
        for (int64_t column = 0; column < columns; column++, out += lines) {
            const unsigned char *begin = at;
            uint64_t value = (unsigned)*at - '0';
            unsigned digit;

            if (value > 9)
                return -1;
            while ((digit = (unsigned)*++at - '0') <= 9)
                value = value * 10 + digit;
            /* 19 digits always fit, and of 20 those that did not run over: then they begin with 1, and are no less. */
            if (at - begin > 19 && (at - begin > 20 || *begin > '1' || (*begin == '1' && value < 10000000000000000000u)))
                return -1;
            if (*at != (column == columns - 1 ? '\n' : ' '))
                return -1;
            at++;
            *out = value;
        }
    }
    return line;
}

enum { BLOCK = 128, MINI = 32, MINIS = BLOCK / MINI };

static unsigned char *put_number(unsigned char *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        *out++ = (unsigned char)(value | 128);
    *out++ = (unsigned char)value;
    return out;
}

static unsigned char *put_signed(unsigned char *out, uint64_t value)
{
    return put_number(out, value << 1 ^ -(value >> 63));
}

/* MINI values of `width` bits each, the lowest bit first. */
static unsigned char *put_mini(unsigned char *out, const uint64_t *values, unsigned width)
{
    uint64_t word = 0;
    unsigned filled = 0;

    if (width == 0)
        return out;
    for (int k = 0; k < MINI; k++) {
        word |= values[k] << filled;
        filled += width;
        if (filled >= 64) {
            for (int byte = 0; byte < 8; byte++)
                out[byte] = (unsigned char)(word >> 8 * byte);
            out += 8;
            filled -= 64;
            /* What did not fit; all of it where the word was full before. */
            word = filled ? values[k] >> (width - filled) : 0;
        }
    }
    for (; filled > 0; filled -= 8, word >>= 8)
        *out++ = (unsigned char)word;
    return out;
}

/* Whether each number is as far from the one before it as the second is from the first. */
static int is_even(const uint64_t *const *pieces, const int64_t *counts, int64_t total, uint64_t first, uint64_t step)
{
    uint64_t next = first;

    for (int64_t piece = 0; total > 0; total -= counts[piece++])
        for (int64_t k = 0; k < counts[piece]; k++, next += step)
            if (pieces[piece][k] != next)
                return 0;
    return 1;
}

/* Numbers as Parquet's DELTA_BINARY_PACKED has them, in `out`, which has room for 10 bytes a number and 400 more; gives
 * how many bytes they took. The numbers come in `pieces`, piece p of counts[p], `total` in all, at least one. */
int64_t mustherd_pack(const uint64_t *const *pieces, const int64_t *counts, int64_t total, unsigned char *out)
{
    unsigned char *begin = out;
    int64_t piece = 0, at = 0, left = total - 1;
    int64_t block = BLOCK;
    uint64_t last, second, steps[BLOCK];

    while (counts[piece] == 0)
        piece++;
    last = second = pieces[piece][at++];
    for (int64_t p = piece, k = 1; left > 0; p++, k = 0)
        if (k < counts[p]) {
            second = pieces[p][k];
            break;
        }
    /* What always grows by the same, or never, is one block without a bit. */
    if (is_even(pieces + piece, counts + piece, total, last, second - last))
        block = (left / BLOCK + 1) * BLOCK;
    out = put_number(out, (uint64_t)block);
    out = put_number(out, MINIS);
    out = put_number(out, (uint64_t)total);
    out = put_signed(out, last);
    if (block > BLOCK) {
        out = put_signed(out, second - last);
        for (int mini = 0; mini < MINIS; mini++)
            *out++ = 0;
        return out - begin;
    }
    while (left > 0) {
        int here = left < BLOCK ? (int)left : BLOCK, filled = 0;
        unsigned char *widths;
        int64_t least;

        left -= here;
        while (filled < here) {
            const uint64_t *values = pieces[piece] + at;
            int64_t some = counts[piece] - at < here - filled ? counts[piece] - at : here - filled;

            if (some > 0) {
                steps[filled] = values[0] - last;
                for (int64_t k = 1; k < some; k++)
                    steps[filled + k] = values[k] - values[k - 1];
                last = values[some - 1];
                filled += (int)some;
                at += some;
            }
            if (at == counts[piece])
                piece++, at = 0;
        }
        least = (int64_t)steps[0];
        for (int k = 1; k < here; k++)
            least = (int64_t)steps[k] < least ? (int64_t)steps[k] : least;
        out = put_signed(out, (uint64_t)least);
        for (int k = 0; k < here; k++)
            steps[k] -= (uint64_t)least;
        for (int k = here; k < BLOCK; k++)
            steps[k] = 0;
        widths = out;
        out += MINIS;
        for (int mini = 0; mini < MINIS; mini++) {
            uint64_t any = 0;

            for (int k = 0; k < MINI; k++)
                any |= steps[mini * MINI + k];
            widths[mini] = any ? (unsigned char)(64 - __builtin_clzll(any)) : 0;
            /* Those beyond the last number have no values. */
            if (mini * MINI < here)
                out = put_mini(out, steps + mini * MINI, widths[mini]);
        }
    }
    return out - begin;
}
