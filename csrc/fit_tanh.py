"""Print the coefficients in tanh.h: python csrc/fit_tanh.py (needs mpmath).

Each approximation interpolates its function at the Chebyshev points of its interval in 60-digit
arithmetic, which comes within a small factor of the minimax error and needs no iteration.
Two pieces:

    |x| <  0.625    tanh x = x + x z R(z),  z = x^2,  R rational (float64) or a polynomial (float32)
    |x| >= 0.625    tanh x = 1 - 2 / (1 + e^{2x}),   e^r = 1 + r + r^2 Q(r) on |r| <= ln(2) / 2
"""

from mpmath import cos, exp, log, lu_solve, matrix, mp, mpf, pi, polyval, tanh

mp.dps = 60
SPLIT = mpf("0.625")


def chebyshev_points(n, a, b):
    return [(a + b) / 2 + (b - a) / 2 * cos((2 * k + 1) * pi / (2 * n)) for k in range(n)]


def fit(f, p, q, a, b):
    """Numerator of degree p, denominator of degree q with Q(0) = 1; lowest power first."""
    rows, rhs = [], []
    for x in chebyshev_points(p + q + 1, a, b):
        rows.append([x**k for k in range(p + 1)] + [-f(x) * x**k for k in range(1, q + 1)])
        rhs.append(f(x))
    solution = list(lu_solve(matrix(rows), matrix(rhs)))
    return solution[: p + 1], [mpf(1)] + solution[p + 1 :]


def error(f, num, den, weight, a, b):
    points = [a + (b - a) * mpf(k) / 2000 for k in range(1, 2000)]
    return max(abs((polyval(num[::-1], x) / polyval(den[::-1], x) - f(x)) * weight(x)) for x in points)


def small(z):
    x = z ** mpf("0.5")
    return (tanh(x) / x - 1) / z


def exp_tail(r):
    return (exp(r) - 1 - r) / r**2 if abs(r) > 1e-20 else mpf(1) / 2


def show(title, f, p, q, a, b, weight, digits):
    num, den = fit(f, p, q, a, b)
    print(f"{title}: weighted error {mp.nstr(error(f, num, den, weight, a, b), 3)}")
    for name, coefficients in (("numerator", num), ("denominator", den)):
        if len(coefficients) > 1:
            print(f"  {name}", ", ".join(mp.nstr(c, digits, strip_zeros=False) for c in coefficients))


if __name__ == "__main__":
    tiny, half_ln2 = mpf("1e-12"), log(2) / 2 * mpf("1.0001")
    show("float64 small", small, 2, 3, tiny, SPLIT**2, lambda z: z, 20)
    show("float64 exp", exp_tail, 9, 0, -half_ln2, half_ln2, lambda r: r**2, 20)
    show("float32 small", small, 4, 0, tiny, SPLIT**2, lambda z: z, 12)
    show("float32 exp", exp_tail, 4, 0, -half_ln2, half_ln2, lambda r: r**2, 12)
    ln2 = log(2)
    for name, bits in (("float64", 53 - 11), ("float32", 24 - 8)):
        hi = mpf(int(ln2 * 2**bits)) / 2**bits  # k * hi is exact for the |k| that can occur
        print(f"{name} ln2: hi {mp.nstr(hi, 25)} lo {mp.nstr(ln2 - hi, 20)}")
