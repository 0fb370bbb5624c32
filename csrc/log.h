/* ln x for finite x >= 1, to some units in the last place; NaN and infinity become NaN.
 *
 * x = 2^e m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh s, s = (m - 1) / (m + 1), |s| <= 0.172, by its Taylor
 * series, whose first term left out is below 2^-57 of s. No branch: a loop over it becomes vector code. */
#ifndef RAE_LOG_H
#define RAE_LOG_H

#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) double rae_log(double x)
{
    int64_t bits, e, m_bits;
    double m;
    memcpy(&bits, &x, sizeof bits);
    e = (bits - INT64_C(0x3fe6a09e667f3bcd)) >> 52; /* sqrt(1/2) */
    m_bits = bits - e * (INT64_C(1) << 52);
    memcpy(&m, &m_bits, sizeof m);
    const double s = (m - 1) / (m + 1), q = s * s;
    const double series = 2 + q * (2.0 / 3 + q * (2.0 / 5 + q * (2.0 / 7 + q * (2.0 / 9 + q * (2.0 / 11 + q * (
        2.0 / 13 + q * (2.0 / 15 + q * (2.0 / 17 + q * (2.0 / 19 + q * (2.0 / 21))))))))));
    return (double)e * 0.69314718055994530942 + s * series + (x - x);
}

#endif
