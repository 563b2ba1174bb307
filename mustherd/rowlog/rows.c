/* Lines of unsigned decimal numbers into columns, in one pass: what mustherd/rowlog/parse.py does by Arrow's CSV reader
 * where this is not built. It uses no library, so that one build serves every Linux of its kind of processor. */

#include <stdint.h>

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
