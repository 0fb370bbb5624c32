/* Constants of the vector tanh for both element types; the fits are printed by csrc/fit_tanh.py.
 *
 *     |x| <  0.625    tanh x = x + x z P(z) / Q(z),  z = x^2
 *     |x| >= 0.625    tanh x = 1 - 2 / (1 + e^{2x}),  e^r = 1 + r + r^2 T(r),  |r| <= ln(2) / 2
 *
 * Why <= 2 ULP: the first piece adds a correction of at most 0.12 x, so its own rounding errors
 * count an eighth. In the second 2 / (1 + e^{2x}) <= 0.446 and its relative error of about 2.8
 * half-ULPs shrinks by that factor before the last subtraction adds half a unit.
 */
#ifndef RAE_TANH_H
#define RAE_TANH_H

/* From here on 2 / (1 + e^{2x}) is below half an ULP of 1 (x >= 19.07, 9.02). */
#define LIMIT_F64 20.0
#define LIMIT_F32 10.0f

/* e^x is a normal number down to here. */
#define EXP_LOW_F64 -708.0
#define EXP_LOW_F32 -87.0f

/* 1.5 * 2^(mantissa bits): the sum with a small number has that number, rounded, in its low bits. */
#define MAGIC_F64 6755399441055744.0
#define MAGIC_F32 12582912.0f
#define BIAS_F64 1023
#define BIAS_F32 127
#define MANTISSA_BITS_F64 52
#define MANTISSA_BITS_F32 23
#define LOG2_E_F64 1.4426950408889634
#define LOG2_E_F32 1.44269504f

/* ln 2 in two parts; k * HI is exact for every k that occurs. */
#define LN2_HI_F64 0.693147180559890330187045
#define LN2_LO_F64 5.4979230187083711747e-14
#define LN2_HI_F32 0.693145751953125f
#define LN2_LO_F32 1.4286068203e-6f

#define SMALL_P_F64(z)                                                                             \
    (-0.33333333333333332707 + (z) * (-0.020498799708498836525 + (z) * -0.00019917804358612710024))
#define SMALL_Q_F64(z)                                                                             \
    (1.0 + (z) * (0.46149639912549303580                                                           \
                  + (z) * (0.023291331876298810774 + (z) * 0.00020653373748750078514)))
#define SMALL_P_F32(z)                                                                             \
    (-0.333333289441f                                                                              \
     + (z) * (0.133327697370f                                                                      \
              + (z) * (-0.0538509095785f + (z) * (0.0209971789991f + (z) * -0.00609671416590f))))
#define SMALL_Q_F32(z) ((z) - (z) + 1.0f)

/* Pairs of terms instead of Horner's chain: half the latency, which is what a short vector costs. */
#define EXP_TAIL_F64(r)                                                                            \
    ((0.50000000000000010221 + (r) * 0.16666666666666667453)                                       \
     + (r) * (r) * (0.041666666666624127873 + (r) * 0.0083333333333300618325)                      \
     + (r) * (r) * ((r) * (r))                                                                     \
           * ((0.0013888888917213716901 + (r) * 0.00019841269863053616878)                         \
              + (r) * (r) * (0.000024801521295954375131 + (r) * 2.7557268459997064772e-6)          \
              + (r) * (r) * ((r) * (r)) * (2.7620088445409748161e-7 + (r) * 2.5100385495510319078e-8)))
#define EXP_TAIL_F32(r)                                                                            \
    ((0.5f + (r) * 0.166665769897f)                                                                \
     + (r) * (r) * (0.0416665546172f + (r) * 0.00836317905272f)                                    \
     + (r) * (r) * ((r) * (r)) * 0.00139261835877f)

#endif
